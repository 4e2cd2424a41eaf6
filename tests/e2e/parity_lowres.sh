#!/bin/bash
# KedMI and LOMMA against PyTorch: networks, losses, gradients, one optimiser step, recovery steps, the adaptive masks,
# on the same weights and numbers.  Needs a Python with torch ($PARITY_PYTHON, python3 or /usr/bin/python3), else it is
# skipped.
# MIDRE_CONV=direct: the CPU's own convolution kernels have a test of their own; here their rounding would flip a leaky
# ReLU now and then and hide a wrong formula behind a loose limit.
set -u
cd "$(dirname "$0")/../.." || exit 2
tool=${BUILD:-build}/tests/engine/tool_lowres_parity
dir=$(mktemp -d "${TEST_TMP:-/tmp}/lowres.XXXXXX") || exit 2
trap 'rm -rf "$dir"' EXIT
python=
for p in ${PARITY_PYTHON:-python3 /usr/bin/python3}; do
    "$p" -c 'import torch' 2>/dev/null && python=$p && break
done
if [ -z "$python" ]; then
    echo "ok 1 - KedMI and LOMMA equal PyTorch # SKIP no python3 with torch"
    exit 0
fi
if ! MIDRE_CONV=direct "$tool" "$dir/out.safetensors" 1; then
    echo "not ok 1 - $tool writes its numbers"
    exit 1
fi
rc=0
for method in kedmi lomma; do
    "$python" scripts/parity/${method}_reference.py "$dir/out.safetensors" |
        sed "s/^\(ok\|not ok\) \([0-9]*\) - /\1 \2 - $method: /; /^1\.\./d"
    [ "${PIPESTATUS[0]}" -eq 0 ] || rc=1
done
exit $rc
