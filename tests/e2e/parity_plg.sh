#!/bin/bash
# PLG-MI against PyTorch: conditional GAN with spectral norms, losses, gradients, one optimiser step, random views,
# inversion steps, on the same weights and numbers.  Needs a Python with torch ($PARITY_PYTHON, python3 or
# /usr/bin/python3), else it is skipped.
# MIDRE_CONV=direct: the CPU's own convolution kernels have a test of their own; here their rounding would flip a ReLU
# now and then and hide a wrong formula behind a loose limit.  The seed is one whose numbers stay clear of such kinks.
set -u
cd "$(dirname "$0")/../.." || exit 2
tool=${BUILD:-build}/tests/engine/tool_plg_parity
dir=$(mktemp -d "${TEST_TMP:-/tmp}/plg.XXXXXX") || exit 2
trap 'rm -rf "$dir"' EXIT
python=
for p in ${PARITY_PYTHON:-python3 /usr/bin/python3}; do
    "$p" -c 'import torch' 2>/dev/null && python=$p && break
done
if [ -z "$python" ]; then
    echo "ok 1 - PLG-MI equals PyTorch # SKIP no python3 with torch"
    exit 0
fi
if ! MIDRE_CONV=direct "$tool" "$dir/out.safetensors" 2; then
    echo "not ok 1 - $tool writes its numbers"
    exit 1
fi
"$python" scripts/parity/plg_reference.py "$dir/out.safetensors"
