#!/bin/bash
# Our networks beside PyTorch's own: same random weights, same input; outputs, gradients and BatchNorm statistics must
# agree to 1e-9 in float64, to 1e-4 (or to what PyTorch's own float32 kernels agree to) in float32, and the file we save
# must load in PyTorch with strict=True.
# PARITY_ALL=1 takes every architecture (tests/long), PARITY_PYTHON names the python to ask first, PARITY_TABLE a file
# that gets the lines of the table in docs/PARITY.md, PARITY_ONLY a pattern of cases ("resnet18 *").
# A network is skipped where no python has the package that defines it; the golden numbers are compared everywhere.
cd "$(dirname "$0")/../.." || exit 2
tool=${BUILD:-build}/tests/engine/tool_parity
dir=$(mktemp -d "${TEST_TMP:-/tmp}/parity.XXXXXX") || exit 2
trap 'rm -rf "$dir"' EXIT
script=tests/e2e/parity_torch.py

cases=("vgg16 64 eval" "vgg16 64 train" "resnet18 64 eval" "resnet18 96 train")
# NETWORK[,SETTING=VALUE...] SIZE MODE
[ -n "$PARITY_ALL" ] && cases+=(
    "ir152 64 eval" "ir152 64 train" "facenet64 64 eval" "facenet64 64 train" "facenet112 112 eval"
    "facenet112 112 train" "resnet50 64 eval" "resnet50 64 train" "resnet101 64 eval" "resnet101 64 train"
    "resnet152 64 eval" "resnet152 64 train" "densenet121 64 eval" "densenet121 64 train" "densenet169 64 eval"
    "densenet169 64 train" "maxvit_t 224 eval" "maxvit_t,head_bias=no 224 train"
    "resnest101 64 eval" "resnest101 64 train" "inception_resnet_v1 96 eval" "inception_resnet_v1 160 train"
    "resnet50_mirror 96 eval" "resnet50_mirror 96 train"
    "inception_v3 75 eval" "inception_v3,transform_input=no 75 eval" "inception_v3 299 train" "inception_fid 75 eval"
    "efficientnet_b0 64 eval" "efficientnet_b0 64 train" "efficientnet_b1 64 eval" "efficientnet_b1 64 train"
    "efficientnet_b2 64 eval" "efficientnet_b2 64 train")

python_for() { # NETWORK: the first python that has what it needs
    local p
    for p in $PARITY_PYTHON python3 /usr/bin/python3; do
        "$p" "$script" probe "$1" >/dev/null 2>&1 && echo "$p" && return
    done
}

one_case() { # PYTHON NETWORK SIZE MODE
    local part
    IFS=, read -r -a part <<<"$2" # the network, then settings
    "$1" "$script" make "$2" "$3" "$4" "$dir/in" &&
        "$tool" "${part[0]}" "$3" "$4" "$dir/in" "$dir/out" "${part[@]:1}" &&
        "$1" "$script" check "$2" "$3" "$dir/in" "$dir/out"
}

n=0
for case in "${cases[@]}"; do
    # shellcheck disable=SC2053
    [ -n "$PARITY_ONLY" ] && [[ $case != $PARITY_ONLY ]] && continue
    read -r net size mode <<<"$case"
    n=$((n + 1))
    name="$net at $size px, $mode"
    python=$(python_for "$net")
    if [ -z "$python" ]; then
        echo "ok $n - $name # SKIP no python3 with the PyTorch package of $net"
        continue
    fi
    one_case "$python" "$net" "$size" "$mode" >"$dir/log" && verdict=ok || verdict="not ok"
    cat "$dir/log"
    echo "$verdict $n - $name"
    [ -n "$PARITY_TABLE" ] && "$python" "$script" row "$net" "$size" "$mode" "$dir/log" >>"$PARITY_TABLE"
done
echo "1..$n"
