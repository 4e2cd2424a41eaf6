#!/bin/bash
# tests/e2e/bench.sh - `midre bench`: families, compositions, what it refuses, and that its figures come from work:
# a few steps of the demo's networks, no speed is judged.  TAP; needs MIDRE_BIN, TEST_TMP.
set -u
: "${MIDRE_BIN:?}" "${TEST_TMP:=$(mktemp -d)}"
export TMPDIR=$TEST_TMP
out=$TEST_TMP/bench.out err=$TEST_TMP/bench.err n=0
check() { # name, condition already evaluated in $?
    local rc=$?
    n=$((n + 1))
    if [ $rc -eq 0 ]; then echo "ok $n - $1"; else
        echo "not ok $n - $1"
        echo "# out: $(head -c 600 "$out" | tr '\n' '~') err: $(head -c 600 "$err" | tr '\n' '~')"
    fi
}
b() { "$MIDRE_BIN" bench "$@" >"$out" 2>"$err" </dev/null; }
demo=$PWD/assets/demo-attacks.ini
small() { b "$@" --json --rounds 1 --seconds 0.1 --batch 8 --device cpu --spec "$demo"; }
above() { # the figure of `ours` is above $1
    awk -v least="$1" 'match($0, /"value": [0-9.e+-]+/) { v = substr($0, RSTART + 9, RLENGTH - 9) } END { exit !(v + 0 > least) }' "$out"
}

b --help && grep -q '^  attacks' "$out" && grep -q '^  defenses' "$out" && grep -q '^  models' "$out"
check "help lists the families"
small defenses midre:fill=mean+nls && above 0.2 && grep -q '"x none"' "$out"; check "a composition with settings is measured"
small defense/dp && above 0.5; check "a defense with gradients of its own is measured"
code() { local want=$1 rc; shift; b "$@"; rc=$?; [ $rc -eq "$want" ]; }
code 3 defenses midree && grep -q 'did you mean "midre"' "$err"; check "an unknown defense: suggestion, 3"
code 3 defenses midre:fil=mean && grep -q 'did you mean "fill"' "$err"; check "an unknown setting: suggestion, 3"
code 3 defenses nls+nls && grep -q twice "$err"; check "nonsense is refused with the reason, 3"
code 3 defenses midre:mean && grep -q '"midre:mean": "mean": a setting.*NAME=VALUE' "$err"; check "a setting without its value: 3"
code 2 defenses none,midre && grep -q 'is a list' "$err"; check "several at once: 2"
small gmi/invert && above 0; check "an inversion is measured"
small brepmi/queries && above 0 && grep -q 'queries/s' "$out"; check "questions are counted: labels"
small rlbmi/queries && above 0 && grep -q 'queries/s' "$out"; check "questions are counted: probabilities"
code 2 gmi/queries && grep -q neither "$err"; check "a white-box attack has no such work: 2"
echo "echo '{\"missing\": \"not here\"}'" >"$TEST_TMP/peer.sh"
b gmi/invert --rounds 1 --seconds 0.1 --batch 2 --spec "$demo" --peer "$TEST_TMP/peer.sh" --python bash
grep -q 'no twin (not here)' "$out"
check "a peer that does not know a work is named"
! compgen -G "$TEST_TMP/midre-bench-*" >/dev/null; check "no folder stays behind"
echo "1..$n"
