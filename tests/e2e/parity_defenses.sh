#!/bin/bash
# One training step under NLS, BiDO (HSIC, COCO) and MID against PyTorch: losses, gradients, weights afterwards.
# Needs a Python with torch ($PARITY_PYTHON, else the first of python3 and /usr/bin/python3 that has it); skipped without.
set -u
cd "$(dirname "$0")/../.." || exit 2
tool=${BUILD:-build}/tests/engine/tool_defense_parity
tmp=$(mktemp -d "${TEST_TMP:-/tmp}/defenses.XXXXXX") || exit 2
trap 'rm -rf "$tmp"' EXIT
python=
for p in ${PARITY_PYTHON:-python3 /usr/bin/python3}; do
    "$p" -c 'import torch' 2>/dev/null && python=$p && break
done
if [ -z "$python" ]; then
    echo "ok 1 - defenses equal PyTorch # SKIP no python3 with torch"
    exit 0
fi
if ! "$tool" "$tmp/steps.safetensors"; then
    echo "not ok 1 - $tool writes its numbers"
    exit 1
fi
"$python" scripts/parity/defense_reference.py "$tmp/steps.safetensors"
