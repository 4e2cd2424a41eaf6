#!/bin/bash
# tests/e2e/resume_kill.sh - kill -9 in every phase, resume, and end with the very same bytes.
#
# A reference run is left alone.  The other is killed once or more while each kind of stage is at work, at a random
# instant, and started again; it must end by itself with identical products, verdicts and table rows.
# KILLS= kills a stage (1).
set -u
cd "$(dirname "$0")" || exit 2
. ./lib_engine.sh
kills=${KILLS:-1}
RANDOM=${SEED:-20260}
whole=$TEST_TMP/whole cut=$TEST_TMP/cut
ref=$(new_run "$whole") run=$(new_run "$cut")
pretrain_spec "$ref" target
pretrain_spec "$run" target
journal=$run/journal.jsonl
"$ENGINE_BIN" run "$ref" >"$TEST_TMP/whole.log" 2>&1
check "the reference ends" [ $? -eq 0 ]

for kind in data pretrain target prior judge attack score; do
    for _ in $(seq "$kills"); do kill_in "$run" "\"kind\":\"$kind\""; done
done
check "engines were killed ($killed)" [ "$killed" -ge 4 ]
"$ENGINE_BIN" run "$run" >>"$TEST_TMP/cut.log" 2>&1
check "the last session ends by itself" [ $? -eq 0 ]
check "some stage was resumed" grep -q '"state":"resume"' "$journal"
check "the same products, byte for byte" diff <(product_sums "$whole") <(product_sums "$cut")
check "the same verdicts and rows" diff <(rows "$ref") <(rows "$run")
check "no work in progress is left" [ -z "$(find "$cut/cache" -name '*.work')" ]

# SIGTERM is a stop: the step is finished and saved, the state is told, and it goes on later.
gentle=$(new_run "$TEST_TMP/gentle")
pretrain_spec "$gentle" target
"$ENGINE_BIN" run "$gentle" >"$TEST_TMP/gentle.log" 2>&1 &
pid=$!
while kill -0 $pid 2>/dev/null && ! grep -q '"kind":"prior","state":"start"' "$gentle/journal.jsonl" 2>/dev/null; do sleep 0.02; done
kill -TERM $pid 2>/dev/null
wait $pid
check "a stopped engine exits with 0" [ $? -eq 0 ]
check "and says stopped" grep -q '"state":"stopped"' <(tail -n 1 "$gentle/journal.jsonl")
"$ENGINE_BIN" run "$gentle" >>"$TEST_TMP/gentle.log" 2>&1
check "then goes on to the end" grep -q '"state":"done"' <(tail -n 1 "$gentle/journal.jsonl")
check "with the same products" diff <(product_sums "$whole") <(product_sums "$TEST_TMP/gentle")
echo "1..$n"
exit $bad
