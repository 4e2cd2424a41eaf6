#!/bin/bash
# tests/long/demo_seeds.sh - the demo from nothing, three seeds: prints every row and checks what the demo promises.
# What it promises: an able judge (>= 90 %), an attack that works on the undefended target (>= 60 %), a defended target
# that still classifies (at most 5 points lost), and less of an attack on it: at least 5 points over the three seeds.
# Times are printed for the reader and not judged.
set -u
: "${MIDRE_BIN:?}" "${TEST_TMP:=$(mktemp -d)}"
n=0 bad=0
check() { # name, value, comparison, bound
    n=$((n + 1))
    if awk "BEGIN { exit !($2 $3 $4) }"; then echo "ok $n - $1: $2 $3 $4"; else bad=1; echo "not ok $n - $1: $2 $3 $4"; fi
}
field() { # journal, defense, key
    grep '"t":"score"' "$1" | grep "\"defense\":\"$2" | tail -n 1 | grep -o "\"$3\":[0-9.]*" | cut -d: -f2
}
for seed in 0 1 2; do
    ws=$TEST_TMP/demo$seed
    start=$SECONDS
    "$MIDRE_BIN" --workspace "$ws" run --demo --plain run.seed=$seed data.synthfaces.seed=$seed >"$TEST_TMP/demo$seed.log" 2>&1
    rc=$? n=$((n + 1)) journal=$ws/runs/0001/journal.jsonl
    if [ $rc -ne 0 ]; then bad=1; echo "not ok $n - demo with seed $seed"; tail -n 5 "$TEST_TMP/demo$seed.log" | sed 's/^/# /'; continue; fi
    echo "ok $n - demo with seed $seed ends ($((SECONDS - start)) s)"
    "$MIDRE_BIN" --workspace "$ws" table | sed 's/^/# /'
    none=$(field "$journal" none acc) midre=$(field "$journal" midre acc) judge=$(field "$journal" none judge_acc)
    attacc=$(field "$journal" none attacc)
    check "seed $seed: the judge knows the people" "${judge:-0}" ">=" 90
    check "seed $seed: the attack on the undefended target" "${attacc:-0}" ">=" 60
    drop=$(awk "BEGIN { print ${drop:-0} + (${attacc:-0} - $(field "$journal" midre attacc)) / 3 }")
    check "seed $seed: accuracy lost by erasing" "$(awk "BEGIN { print ${none:-0} - ${midre:-100} }")" "<=" 5
done
check "points of attack accuracy that erasing takes, mean" "${drop:-0}" ">=" 5
echo "1..$n"
exit $bad
