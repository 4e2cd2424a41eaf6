#!/bin/bash
# GMI against PyTorch: losses with gradient penalty, gradients, inversion steps, on the same weights and numbers.
# Needs a Python with torch ($PYTHON_TORCH or /usr/bin/python3); skipped without one.
set -u
cd "$(dirname "$0")/../.." || exit 2
python=${PYTHON_TORCH:-/usr/bin/python3}
tool=${BUILD:-build}/tests/engine/tool_gmi_parity
tmp=${TEST_TMP:-$(mktemp -d)}
if ! "$python" -c 'import torch' 2>/dev/null; then
    echo "ok 1 - GMI equals PyTorch # SKIP no torch for $python"
    exit 0
fi
if ! "$tool" "$tmp/gmi_parity.safetensors"; then
    echo "not ok 1 - $tool writes its numbers"
    exit 1
fi
"$python" scripts/parity/gmi_reference.py "$tmp/gmi_parity.safetensors"
rc=$?
rm -f "$tmp/gmi_parity.safetensors"
exit $rc
