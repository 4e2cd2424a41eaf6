#!/bin/bash
# Ten thousand broken checkpoints through the readers, from the forged seeds and, where there is a PyTorch, its own files:
# no crash, no hang, every refusal names its file.  With MUTATIONS=N another number.
cd "$(dirname "$0")/../.." || exit 2
tool=${BUILD:-build}/tests/engine/tool_mutate
dir=$(mktemp -d "${TEST_TMP:-/tmp}/mutate.XXXXXX") || exit 2
trap 'rm -rf "$dir"' EXIT
for p in ${PARITY_PYTHON:-python3 /usr/bin/python3}; do
    "$p" -W ignore tests/e2e/checkpoints.py corpus "$dir" 2>/dev/null && break
done
files=("$dir"/*.pth)
[ -e "${files[0]}" ] || files=()
if "$tool" "${MUTATIONS:-10000}" "${files[@]}"; then
    echo "ok 1 - ${MUTATIONS:-10000} mutations of ${#files[@]} files of PyTorch and the forged ones"
else
    echo "not ok 1 - mutations"
fi
echo "1..1"
