#!/bin/bash
# tests/long/kill_many.sh - the kill and resume proof with many kills: three different series of random instants, six
# kills in every kind of stage each.
set -u
here=$(dirname "$0")
bad=0 n=0
for seed in 1 2 3; do
    n=$((n + 1))
    TEST_TMP=$(mktemp -d "$TEST_TMP/kills.XXXXXX") SEED=$seed KILLS=6 \
        bash "$here/../e2e/resume_kill.sh" >"$TEST_TMP/kills.$seed.log" 2>&1 &&
        echo "ok $n - series $seed: $(grep -o 'engines were killed ([0-9]*)' "$TEST_TMP/kills.$seed.log")" ||
        { bad=1; echo "not ok $n - series $seed"; grep '^not ok' "$TEST_TMP/kills.$seed.log" | sed 's/^/# /'; }
done
echo "1..$n"
exit $bad
