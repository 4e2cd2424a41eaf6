#!/bin/bash
# tests/long/kill_attacks.sh - kill -9 in every stage of every low-resolution attack, at random instants, KILLS= times each
# (4): labels, GANs, students, descents, searches and agents go on and end with the very same bytes.
set -u
cd "$(dirname "$0")/../e2e" || exit 2
. ./lib_engine.sh
RANDOM=${SEED:-411}
gan="gan_steps = 40
gan_batch = 16
gan_width = 8
n_critic = 2"
kedmi="mbd_kernels = 4
mbd_dim = 4
iterations = 120
$gan"
students="students = quick:width=8, quick:width=16, quickres:width=8
student_steps = 80"
attacks_spec() { # run folder: the tiny experiment with all attacks on one target
    sed -i 's/^name = none, midre$/name = none/; s/^name = gmi$/name = gmi, kedmi, lomma_gmi, lomma_kedmi, plgmi, brepmi, rlbmi/
            s/^gan_width = 16$/gan_width = 8\nn_critic = 2/; s/^gan_steps = 12$/gan_steps = 40/
            s/^iterations = 25$/iterations = 120/' "$1/spec.ini"
    cat >>"$1/spec.ini" <<SPEC
[attack.kedmi]
$kedmi
[attack.lomma_gmi]
iterations = 120
$students
$gan
[attack.lomma_kedmi]
$students
$kedmi
[attack.plgmi]
per_class = 10
z_dim = 16
iterations = 120
$gan
[attack.brepmi]
points = 4
max_iters = 30
max_radius = 5
init_rounds = 20
$gan
[attack.rlbmi]
episodes = 150
hidden = 16
batch = 8
warmup = 8
$gan
SPEC
}
whole=$TEST_TMP/whole cut=$TEST_TMP/cut
ref=$(new_run "$whole") run=$(new_run "$cut")
attacks_spec "$ref"
attacks_spec "$run"
"$ENGINE_BIN" run "$ref" >"$TEST_TMP/whole.log" 2>&1
check "the reference ends" [ $? -eq 0 ]
stages=$(grep '"t":"stage"' "$ref/journal.jsonl" | grep -oE '"stage":"(prior|students|attack)[^"]*"' | awk '!seen[$0]++')
for stage in $stages; do
    before=$killed
    for _ in $(seq "${KILLS:-4}"); do kill_in "$run" "$stage" "$stage.*\"state\":\"(done|cached)\""; done
    check "killed in $stage: $((killed - before))" [ $((killed - before)) -ge 1 ]
done
"$ENGINE_BIN" run "$run" >>"$TEST_TMP/cut.log" 2>&1
check "the last session ends by itself" [ $? -eq 0 ]
check "$(grep -c '"state":"resume"' "$run/journal.jsonl") stages were resumed" grep -q '"state":"resume"' "$run/journal.jsonl"
check "the same products, byte for byte" diff <(product_sums "$whole") <(product_sums "$cut")
check "the same verdicts and rows" diff <(rows "$ref") <(rows "$run")
check "no work in progress is left" [ -z "$(find "$cut/cache" -name '*.work')" ]
echo "1..$n"
exit $bad
