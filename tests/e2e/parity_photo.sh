#!/bin/bash
# Crops, colours and blur beside torchvision's on the same parameters, Telea inpainting beside OpenCV's.  Each is skipped
# where its library is absent; PARITY_PYTHON names a python to ask first.
cd "$(dirname "$0")/../.." || exit 2
tool=${BUILD:-build}/tests/engine/tool_photo
dir=$(mktemp -d "${TEST_TMP:-/tmp}/photo.XXXXXX") || exit 2
trap 'rm -rf "$dir"' EXIT
script=scripts/parity/photo_reference.py
n=0
compare() { # library, name
    n=$((n + 1))
    python=
    for p in ${PARITY_PYTHON:+"$PARITY_PYTHON"} python3 /usr/bin/python3; do
        [ -z "$python" ] && "$p" "$script" probe "$1" >/dev/null 2>&1 && python=$p
    done
    if [ -z "$python" ]; then
        echo "ok $n - $2 # SKIP no python3 with $1"
    elif "$python" "$script" "$1" "$tool" "$dir" 2>"$dir/err"; then
        echo "ok $n - $2"
    else
        echo "not ok $n - $2"
        sed 's/^/# /' "$dir/err" | tail -5
    fi
}
compare torchvision "random crops, colour changes and blur equal torchvision's"
compare cv2 "Telea inpainting equals OpenCV's within a grey level"
echo "1..$n"
