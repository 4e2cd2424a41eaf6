#!/bin/bash
# BREPMI's rounds and RLB-MI's rewards and learning steps against numpy and PyTorch, on the same numbers.
# Needs a Python with torch and numpy ($PARITY_PYTHON, $PYTHON_TORCH or /usr/bin/python3); skipped without one.
set -u
cd "$(dirname "$0")/../.." || exit 2
python=${PARITY_PYTHON:-${PYTHON_TORCH:-/usr/bin/python3}}
tool=${BUILD:-build}/tests/engine/tool_blackbox_parity
tmp=${TEST_TMP:-$(mktemp -d)}
if ! "$python" -c 'import numpy, torch' 2>/dev/null; then
    echo "ok 1 - BREPMI and RLB-MI equal their references # SKIP no torch and numpy for $python"
    exit 0
fi
if ! "$tool" "$tmp/blackbox_parity.safetensors"; then
    echo "not ok 1 - $tool writes its numbers"
    exit 1
fi
"$python" scripts/parity/blackbox_reference.py "$tmp/blackbox_parity.safetensors"
rc=$?
rm -f "$tmp/blackbox_parity.safetensors"
exit $rc
