#!/bin/bash
# Our networks beside PyTorch's own: same random weights, same input; outputs, gradients and BatchNorm statistics must
# agree to 1e-4 (or to what PyTorch's own float32 kernels agree to), and the file we save must load in PyTorch with strict=True.  Skipped where there is no torch.
cd "$(dirname "$0")/../.." || exit 2
tool=${BUILD:-build}/tests/engine/tool_parity
dir=$(mktemp -d "${TEST_TMP:-/tmp}/parity.XXXXXX") || exit 2
trap 'rm -rf "$dir"' EXIT
script=tests/e2e/parity_torch.py
python=
for p in python3 /usr/bin/python3; do
    "$p" "$script" probe >/dev/null 2>&1 && python=$p && break
done

n=0
for case in "vgg16 64 eval" "vgg16 64 train" "resnet18 64 eval" "resnet18 96 train"; do
    read -r net size mode <<<"$case"
    n=$((n + 1))
    name="$net at $size px, $mode"
    if [ -z "$python" ]; then
        echo "ok $n - $name # SKIP no python3 with torch and torchvision"
        continue
    fi
    if "$python" "$script" make "$net" "$size" "$mode" "$dir/in" && "$tool" "$net" "$size" "$mode" "$dir/in" "$dir/out" &&
        "$python" "$script" check "$net" "$size" "$dir/in" "$dir/out"; then
        echo "ok $n - $name"
    else
        echo "not ok $n - $name"
    fi
done
echo "1..$n"
