#!/bin/bash
# tests/long/attacks_sanity.sh - does an attack owe its success to what it claims?  At demo size: with a trained prior
# and its target every attack is far above chance; with a prior of (almost) random weights, a GAN of one step, it falls near
# chance.  A target whose answers are shuffled is in tests/engine/test_kedmi.c.
set -u
: "${MIDRE_BIN:?}" "${TEST_TMP:=$(mktemp -d)}"
cd "$(dirname "$0")/../.." || exit 2
n=0 bad=0 ws=$TEST_TMP/sanity
check() { # name, value, comparison, bound
    n=$((n + 1))
    if [ -n "$2" ] && awk "BEGIN { exit !($2 $3 $4) }"; then
        echo "ok $n - $1: $2 $3 $4"
    else
        bad=1
        echo "not ok $n - $1: $2 $3 $4"
    fi
}
attacc() { # journal, attack
    grep '"t":"score"' "$1" | grep "\"attack\":\"$2\"" | tail -n 1 | grep -o '"attacc":[0-9.]*' | cut -d: -f2
}
go() { # run number, overrides...
    local number=$1
    shift
    local log=$TEST_TMP/sanity$number.log
    "$MIDRE_BIN" --workspace "$ws" run assets/demo-attacks.ini --plain defense.name=none "$@" >"$log" 2>&1 ||
        { tail -n 5 "$log" | sed 's/^/# /'; return 1; }
    journal=$ws/runs/$(printf %04d "$number")/journal.jsonl
}
go 1 attack.name=gmi,kedmi,lomma_gmi,lomma_kedmi || bad=1
for attack in gmi kedmi lomma_gmi lomma_kedmi; do # 24 people: chance is 4.2 %, one sd of 120 images 1.8 points
    check "$attack with its prior" "$(attacc "$journal" $attack)" ">=" 20
done
go 2 attack.name=kedmi,gmi attack.kedmi.gan_steps=1 attack.gmi.gan_steps=1 || bad=1
for attack in gmi kedmi; do check "$attack with an untrained prior" "$(attacc "$journal" $attack)" "<=" 12; done
exit $bad
