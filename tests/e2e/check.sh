#!/bin/bash
# tests/e2e/check.sh - a checkpoint handed over: recognised, measured, attacked within a time, in the table as quick;
# wrapped names, a wrong head, another architecture; killed and resumed.  TAP; needs MIDRE_BIN, ENGINE_BIN, TEST_TMP.
set -u
. "$(dirname "$0")/lib_engine.sh"
root=$(cd "$(dirname "$0")/../.." && pwd)
: "${MIDRE_BIN:?}"
export MIDRE_WORKSPACE=$TEST_TMP/check-ws XDG_CONFIG_HOME=$TEST_TMP/no-config TERM=dumb COLUMNS=200
rm -rf "$MIDRE_WORKSPACE"
cd "$TEST_TMP" || exit 2
m() { "$MIDRE_BIN" "$@" >out 2>err </dev/null; rc_=$?; return $rc_; }
says() { grep -qF -- "$1" out || { echo "# out: $(head -c 900 out | tr '\n' '~')"; echo "# err: $(head -c 300 err)"; return 1; }; }
complains() { grep -qF -- "$1" err || { echo "# err: $(head -c 600 err)"; return 1; }; }
small="data.synthfaces.identities=6 data.synthfaces.photos=20 data.synthfaces.public_identities=20 data.synthfaces.difficulty=0.2"
quick="judge.batch=16 judge.size=32 judge.epochs=4 attack.gmi.gan_batch=16 attack.gmi.gan_width=8 attack.gmi.gan_steps=40
       attack.gmi.iterations=60 run.threads=2 run.precision=fp32 run.device=cpu"

printf '[data]\nsize=32\n[target]\nepochs=4\nbatch=16\n[defense]\nname=none\n' >tiny.ini
m train tiny.ini --plain run.threads=2 run.precision=fp32 run.device=cpu $small
file=$(ls "$MIDRE_WORKSPACE"/cache/target/*/model.safetensors 2>/dev/null | head -1)
check "a target to hand over" test -s "$file"
cp "$file" handed.safetensors

# ---- facts -------------------------------------------------------------------------------------------------------------
"$ENGINE_BIN" recognise handed.safetensors >out 2>err
check "the engine answers in JSON" says '"model": "quick"'
"$ENGINE_BIN" recognise nosuch.safetensors >out 2>err
check "a missing file: 4" test $? -eq 4
head -c 3000 /dev/urandom >noise.pth
m check noise.pth
check "noise is refused: 3" test "$rc_" -eq 3
m check handed.safetensors --arch resnet18
check "the wrong architecture: 3" test "$rc_" -eq 3
check "... and what is missing is listed" says "missing"
m check handed.safetensors --arch qick
check "a mistyped architecture: 3, with a suggestion" complains 'did you mean "quick"'
m check handed.safetensors data.sise=3
check "an unknown setting: 3" test "$rc_" -eq 3

# ---- the whole check ---------------------------------------------------------------------------------------------------
m check handed.safetensors --minutes 0.3 --plain $small $quick
check "check runs to the end" test "$rc_" -eq 0
check "architecture is said" says "architecture  quick"
check "classes are said" says "classes       6"
check "resolution is said, and that it is known" says "32 px, as the file's shapes say"
check "accuracy is measured" says "natural accuracy"
check "a verdict is given" says "verdict (quick)"
m table
check "its row is marked quick" says "quick 0002"
m table --format csv
check "... in every format" says "quick 0002"
check "the journal says so" grep -q '"t":"score".*"quick":true' "$MIDRE_WORKSPACE/runs/0002/journal.jsonl"
m check handed.safetensors --minutes 0.3 --plain $small $quick
check "a second check finds judge and prior in the cache" test "$(grep -c 'taken from the cache' out)" -ge 3

epochs="attack.gmi.gan_steps=0 attack.gmi.gan_epochs=100000 attack.gmi.gan_batch=2 run.seed=5"
m check handed.safetensors --minutes 0.05 --plain $small $quick $epochs
check "a prior of which no epoch fits is cut to steps" grep -q '"attack.gmi.gan_steps"' "$MIDRE_WORKSPACE/runs/0004/shortened.json"
m check handed.safetensors --minutes 0.05 --plain $small $quick $epochs
check "... which a second check finds" says "an earlier quick run made it with attack.gmi.gan_steps"

# ---- shortened, stopped, resumed ---------------------------------------------------------------------------------------
long="attack.gmi.iterations=1000000 run.checkpoint_every=0"
m check handed.safetensors --minutes 0.2 --detach $small $quick $long
for _ in $(seq 300); do grep -q '"stage":"attack.*"state":"start"' "$MIDRE_WORKSPACE/runs/0006/journal.jsonl" 2>/dev/null && break; sleep 0.1; done
sleep 1
pid=$(tr -dc 0-9 <"$MIDRE_WORKSPACE/runs/0006/lock")
[ -n "$pid" ] && kill -9 "$pid"
was=$(cat "$MIDRE_WORKSPACE/runs/0006/shortened.json" 2>/dev/null)
case $was in *attack.gmi.iterations*1000000*) ok "a million iterations are cut to the time" ;; *) not_ok "a million iterations are cut to the time" "$was" ;; esac
( "$ENGINE_BIN" run "$MIDRE_WORKSPACE/runs/0006" >out 2>err ) &
engine=$!
sleep 4
"$MIDRE_BIN" stop 6 >out 2>err
wait $engine
check "a resumed check keeps its decision" test "$(cat "$MIDRE_WORKSPACE/runs/0006/shortened.json")" = "$was"
check "... and goes on from its checkpoint" grep -q 'continues at step' "$MIDRE_WORKSPACE/runs/0006/journal.jsonl"

# ---- a target of a size that the attack's GAN does not make ------------------------------------------------------------
printf '[data]\nsize=96\n[target]\nepochs=1\nbatch=16\n[defense]\nname=none\n' >odd.ini
m run odd.ini --plain run.threads=2 $small
check "a size that an attack cannot make is refused before anything is trained: 3" test "$rc_" -eq 3
check "... and what to set is said" complains "set attack.size"
check "... no target was begun" test "$(grep -c '"stage":"target' "$MIDRE_WORKSPACE/runs/0007/journal.jsonl")" = 0
m run odd.ini --until target --plain run.threads=2 run.precision=fp32 run.device=cpu $small attack.size=64
odd=$(grep -l '"size": *96' "$MIDRE_WORKSPACE"/cache/target/*/product.json | head -1)
check "a target of 96 px" test -n "$odd"
m check "$(dirname "$odd")/model.safetensors" --minutes 0.3 --plain $small $quick
check "its check runs to the end" test "$rc_" -eq 0
m show
check "... and its row says at which size it was attacked" says "attacked with images of 64 px"
journal=$(ls "$MIDRE_WORKSPACE"/runs/*/journal.jsonl | tail -1)
check "... which the images have" grep -q '"kind":"recon".*"tile":64' "$journal"
check "... while the row is of the target's size" grep -q '"t":"score".*"resolution":96' "$journal"

# ---- files written by PyTorch ------------------------------------------------------------------------------------------
python=${PARITY_PYTHON:-/usr/bin/python3}
if "$python" -c 'import torch, torchvision' 2>/dev/null; then
    PYTHONPATH=$root/scripts/golden "$python" - <<'P' 2>/dev/null
import re, torch, torchvision
import models
net = torchvision.models.resnet18(num_classes=7)
torch.save({"epoch": 3, "state_dict": {"module." + k: v for k, v in net.state_dict().items()}, "acc": 0.5}, "kedmi.pth")
torch.save({"epoch": 1, "model_state_dict": {"model._orig_mod." + k: v.half() if v.is_floating_point() else v
                                             for k, v in net.state_dict().items()}}, "ppa.pth")
torch.save({"state_dict": {"module." + k: v for k, v in models.VGG16(6, 64, True).state_dict().items()}}, "bido.tar")
old = re.compile(r"(denselayer\d+\.(?:norm|conv))([12])")
torch.save({old.sub(r"\1.\2", k): v for k, v in torchvision.models.densenet121(num_classes=5).state_dict().items()
            if "num_batches" not in k}, "old.pth")
P
    m check kedmi.pth
    check "a nested, wrapped .pth is a resnet18" says "architecture  resnet18"
    check "... of 7 classes" says "classes       7"
    check "... whose resolution is assumed" says "224 px, assumed"
    check "... and without data only facts are printed" says "--data NAME"
    m check ppa.pth --size 64
    check "a compiled half-precision .pth is a resnet18" says "architecture  resnet18"
    check "... in f16" says "f16"
    m check bido.tar
    check "BiDO's names are a vgg16's" says "architecture  vgg16"
    check "... of 6 classes" says "classes       6"
    m check old.pth
    check "the old names of DenseNet are understood" says "architecture  densenet121"
    check "... without a missing tensor" says "classes       5"
else
    for t in "a nested, wrapped .pth" "a compiled half-precision .pth" "BiDO's names" "DenseNet's old names"; do n=$((n + 1)); echo "ok $n - $t # SKIP no python with torch and torchvision"; done
fi
echo "1..$n"
exit $bad
