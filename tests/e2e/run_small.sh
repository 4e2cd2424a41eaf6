#!/bin/bash
# tests/e2e/run_small.sh - one tiny experiment from spec to score, then the same again from the cache.
set -u
cd "$(dirname "$0")" || exit 2
. ./lib_engine.sh
ws=$TEST_TMP/run_small
run=$(new_run "$ws")
journal=$run/journal.jsonl
count() { grep -c "$1" "$journal"; }

"$ENGINE_BIN" run "$run" >"$TEST_TMP/run_small.log" 2>&1
rc=$?
[ $rc -eq 0 ] && ok "the run ends with exit code 0" || not_ok "the run ends with exit code 0" "$rc: $(tail -n 2 "$TEST_TMP/run_small.log")"
check "the last state is done" grep -q '"state":"done"' <(tail -n 1 "$journal")
check "two rows of the table" [ "$(count '"t":"score"')" = 2 ]
check "a verdict on every image" [ "$(count '"t":"recon"')" = 12 ]
check "one judge for both targets" [ "$(count '"kind":"judge","state":"done"')" = 1 ]
check "one prior for both targets" [ "$(count '"kind":"prior","state":"done"')" = 1 ]
check "two targets" [ "$(count '"kind":"target","state":"done"')" = 2 ]
check "numbers are labelled synthetic" [ "$(grep '"t":"score"' "$journal" | grep -c '"synthetic":true')" = 2 ]
check "the defended row has a trade-off" grep -q '"defense":"midre".*"overpriced":' "$journal"
check "queries are counted: 3 ids x 2 restarts x 25 steps" grep -q '"t":"score".*"queries":150' "$journal"
check "FID says whose features and how few images" grep -q '"t":"score".*"fid":[0-9].*"fid_features":"quickres@32".*"note":"FID of fewer' "$journal"
check "curves are written" grep -q '"t":"scalars".*"loss/train"' "$journal"
check "the judge learned" awk -F'"judge_acc":' '/"t":"score"/ { split($2, a, ","); good = a[1] > 50 } END { exit !good }' "$journal"
for kind in train samples recon photo; do
    file=$(grep "\"t\":\"atlas\".*\"kind\":\"$kind\"" "$journal" | tail -n 1 | sed 's/.*"file":"\([^"]*\)".*/\1/')
    check "a picture of kind $kind" [ "$(head -c 4 "$run/$file" | od -An -tx1 | tr -d ' ')" = 89504e47 ]
done
check "no work in progress is left" [ -z "$(find "$ws/cache" -name '*.work')" ]
check "no checkpoints are left" [ -z "$(find "$ws/cache" -name 'ckpt-*')" ]

before=$(rows "$run") curves=$(count '"t":"scalars"')
"$ENGINE_BIN" run "$run" >>"$TEST_TMP/run_small.log" 2>&1
check "again: everything is found in the cache" [ "$(count '"state":"cached"')" = 8 ]
check "again: nothing is made twice" [ "$(count '"kind":"target","state":"done"')" = 2 ]
check "again: the same rows and verdicts" [ "$(rows "$run")" = "$before" ]
check "again: curves are shown again" [ "$(count '"t":"scalars"')" -ge $((curves + curves / 2)) ]

# A row says where it was attacked, not who found it in the cache.
mkdir -p "$ws/runs/0006"
sed 's/^threads = 2$/threads = 7/' "$run/spec.ini" >"$ws/runs/0006/spec.ini"
"$ENGINE_BIN" run "$ws/runs/0006" >>"$TEST_TMP/run_small.log" 2>&1
device() { grep "\"t\":\"$1\"" "$2" | head -n 1 | sed 's/.*"device":"\([^"]*\)".*/\1/'; }
check "another run of it computes with other threads" [ "$(device run "$ws/runs/0006/journal.jsonl")" != "$(device run "$journal")" ]
check "and its rows name those of the first" [ "$(device score "$ws/runs/0006/journal.jsonl")" = "$(device run "$journal")" ]
check "so they are the same measurement" [ "$("$MIDRE_BIN" --workspace "$ws" table -f csv | grep -c '^synthfaces')" = 2 ]
check "shown again if all are asked for" [ "$("$MIDRE_BIN" --workspace "$ws" table --all -f csv | grep -c '^synthfaces')" = 4 ]

# What a score needs is asked for before anything runs.
mkdir -p "$ws/runs/0005"
{ cat "$run/spec.ini"; printf '[score]\nfid = inception\n'; } >"$ws/runs/0005/spec.ini"
"$ENGINE_BIN" run "$ws/runs/0005" >>"$TEST_TMP/run_small.log" 2>&1
check "FID in a network without its weights is refused" [ $? = 3 ]
check "and names the setting" grep -q fid_weights "$TEST_TMP/run_small.log"

# A damaged product is named, set aside and made again, with the same bytes.
judge=$(find "$ws/cache/judge" -name model.safetensors)
sum=$(sha256sum <"$judge")
printf 'x' | dd of="$judge" bs=1 seek=5000 conv=notrunc 2>/dev/null
check "the damage is real" [ "$(sha256sum <"$judge")" != "$sum" ]
"$ENGINE_BIN" run "$run" >>"$TEST_TMP/run_small.log" 2>&1
check "a damaged product is named in the journal" grep -q '"level":"warn","text":"judge.*damaged' "$journal"
check "and made again, byte for byte" [ "$(sha256sum <"$judge")" = "$sum" ]

# Finished weights and a finished prior can be used instead of training.
target=$(dirname "$(grep -l '"defense": "none"' "$ws"/cache/target/*/product.json)")
prior=$(echo "$ws"/cache/prior/*/prior.safetensors)
mkdir -p "$ws/runs/0004"
sed "s#^model = quick\$#model = quick\ncheckpoint = $target/model.safetensors#; s/none, midre/none/
     s#^\[attack\]#[prior]\nfile = $prior\n[attack]#" "$run/spec.ini" >"$ws/runs/0004/spec.ini"
"$ENGINE_BIN" run "$ws/runs/0004" >>"$TEST_TMP/run_small.log" 2>&1
given=$ws/runs/0004/journal.jsonl
check "given weights and prior: the run ends" grep -q '"state":"done"' <(tail -n 1 "$given")
check "nothing is trained" [ "$(grep -c 'loss/train' <(grep '"stage":"target' "$given"))" = 0 ]
acc_of() { grep '"t":"score".*"defense":"none"' "$1" | tail -n 1 | sed 's/.*"acc":\([0-9.]*\).*/\1/'; }
check "the given target measures the same" [ "$(acc_of "$given")" = "$(acc_of "$journal")" ]

# Settings behind a defense's name: a row each; equal values are the target that is there already.
mkdir -p "$ws/runs/0006"
sed 's/^name = none, midre$/name = none, midre:area_high=0.4, midre:area_high=0.8/' "$run/spec.ini" >"$ws/runs/0006/spec.ini"
"$ENGINE_BIN" run "$ws/runs/0006" --until target >>"$TEST_TMP/run_small.log" 2>&1
check "settings of its own: the run ends" [ $? -eq 0 ]
own=$ws/runs/0006/journal.jsonl
check "equal values are found in the cache" grep -q '"stage":"target.quick.midre:area_high=0.4".*"state":"cached"' "$own"
check "other values are another target" grep -q '"stage":"target.quick.midre:area_high=0.8".*"state":"done"' "$own"
check "which was trained with them" grep -q '"text":".*erases 4[45]\.[0-9] %' <(grep 'area_high=0.8' "$own")

# Start weights learnt on the public people: one network for all targets, another for the judge, said in every row.
mkdir -p "$ws/runs/0007" "$ws/runs/0008"
cp "$run/spec.ini" "$ws/runs/0007/spec.ini"
pretrain_spec "$ws/runs/0007" target judge
sed -i 's/^name = none, midre$/name = none, tldmi/' "$ws/runs/0007/spec.ini"
"$ENGINE_BIN" run "$ws/runs/0007" >>"$TEST_TMP/run_small.log" 2>&1
check "start weights: the run ends" [ $? -eq 0 ]
pre=$ws/runs/0007/journal.jsonl
check "one network for both targets, one for the judge" [ "$(grep -c '"kind":"pretrain","state":"done"' "$pre")" = 2 ]
check "the rows say what the targets began with" [ "$(grep '"t":"score"' "$pre" | grep -c '"init":"100 public people ([0-9a-f]\{6\})"')" = 2 ]
check "and the defended one is compared with the undefended" grep -q '"t":"score".*"defense":"tldmi".*"overpriced":' "$pre"
target_of() { sed -n "s/.*\"stage\":\"target.$2\",.*\"state\":\"done\",\"fingerprint\":\"\([0-9a-f]*\)\".*/\1/p" "$1"; }
started=$(target_of "$pre" quick.none) scratch=$(target_of "$journal" quick.none | head -n 1)
check "a target from them is another product" [ -n "$started" ] && [ "$started" != "$scratch" ]
cp "$ws/runs/0007/spec.ini" "$ws/runs/0008/spec.ini"
sed -i "s#^pretrained = yes#&\ninit = $target/model.safetensors#" "$ws/runs/0008/spec.ini"
"$ENGINE_BIN" run "$ws/runs/0008" 2>"$TEST_TMP/err" >/dev/null
check "start weights from two places are refused" [ $? = 3 ]
check "and both are named" grep -q 'pretrained = yes and init' "$TEST_TMP/err"

# In a quick run each network of start weights is timed by itself, and defenses that look at them find them.
mkdir -p "$ws/runs/0009"
sed 's/^seed = 4$/seed = 5\nminutes = 0.25/; s/^epochs = 25$/epochs = 5000/' "$ws/runs/0007/spec.ini" >"$ws/runs/0009/spec.ini"
"$ENGINE_BIN" run "$ws/runs/0009" >>"$TEST_TMP/run_small.log" 2>&1
check "a quick run with start weights ends" [ $? -eq 0 ]
cut=$ws/runs/0009/shortened.json
check "each network has its own number of epochs" [ "$(grep -o '"pretrain.epochs(pretrain.[a-z]*.32)":{"value":[0-9]*,"of":5000}' "$cut" | wc -l)" = 2 ]
"$ENGINE_BIN" run "$ws/runs/0009" >>"$TEST_TMP/run_small.log" 2>&1
check "resumed, it finds what it made" [ "$(grep -c '"kind":"\(pretrain\|target\|judge\)","state":"cached"' "$ws/runs/0009/journal.jsonl")" = 5 ]

# Errors speak: wrong folder, wrong spec.
"$ENGINE_BIN" run "$TEST_TMP/nowhere" 2>"$TEST_TMP/err"
check "a missing run folder exits with 4" [ $? -eq 4 ]
check "and is named" grep -q nowhere "$TEST_TMP/err"
mkdir -p "$ws/runs/0002"
sed 's/quickres/quickrez/' "$run/spec.ini" >"$ws/runs/0002/spec.ini"
"$ENGINE_BIN" run "$ws/runs/0002" 2>"$TEST_TMP/err"
check "a wrong spec exits with 3" [ $? -eq 3 ]
check "with a guess what was meant" grep -q 'quickres' "$TEST_TMP/err"
check "and the run's journal says failed" grep -q '"state":"failed"' "$ws/runs/0002/journal.jsonl"
mkdir -p "$ws/runs/0003"
sed 's/difficulty = 0.2/difficulty = 0.21/' "$run/spec.ini" >"$ws/runs/0003/spec.ini"
"$ENGINE_BIN" run "$ws/runs/0003" --until target 2>"$TEST_TMP/err"
check "a run may end after its targets" [ $? -eq 0 ]
check "and then trains no judge" [ "$(grep -c '"kind":"judge"' "$ws/runs/0003/journal.jsonl")" = 0 ]
echo "1..$n"
exit $bad
