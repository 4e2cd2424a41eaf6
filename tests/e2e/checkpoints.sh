#!/bin/bash
# Checkpoints between PyTorch and midre, both ways and both formats of torch.save, and hostile ones: read bit for bit or
# refused with the entry's name; nothing in a file is ever executed.  Skipped where there is no torch.
cd "$(dirname "$0")/../.." || exit 2
: "${ENGINE_BIN:?}"
tool=${BUILD:-build}/tests/engine/tool_archive
script=tests/e2e/checkpoints.py
for p in ${PARITY_PYTHON:-python3 /usr/bin/python3}; do
    if "$p" "$script" probe >/dev/null 2>&1; then
        dir=$(mktemp -d "${TEST_TMP:-/tmp}/checkpoints.XXXXXX") || exit 2
        trap 'rm -rf "$dir"' EXIT
        "$p" -W ignore "$script" check "$dir" "$tool" "$ENGINE_BIN"
        exit $?
    fi
done
echo "ok 1 - checkpoints of PyTorch # SKIP no python3 with torch"
echo "1..1"
