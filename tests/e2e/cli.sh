#!/bin/bash
# tests/e2e/cli.sh - the command line from outside: help, suggestions, exit codes, the table of a fabricated workspace,
# pictures of a fabricated run, refusals before and by the engine.  TAP; needs MIDRE_BIN, ENGINE_BIN, TEST_TMP.
set -u
: "${MIDRE_BIN:?}" "${TEST_TMP:=$(mktemp -d)}"
W=$TEST_TMP/cli-ws
export MIDRE_WORKSPACE=$W XDG_CONFIG_HOME=$TEST_TMP/no-config TERM=dumb COLUMNS=80
rm -rf "$W"
cd "$TEST_TMP" || exit 2
n=0
check() { # name, condition already evaluated in $?
    local rc=$?
    n=$((n + 1))
    if [ $rc -eq 0 ]; then echo "ok $n - $1"; else
        echo "not ok $n - $1"
        echo "# rc=${rc_:-} out: $(head -c 600 "$TEST_TMP/out" | tr '\n' '~')"
        echo "# err: $(head -c 600 "$TEST_TMP/err" | tr '\n' '~')"
    fi
}
skip() { n=$((n + 1)); echo "ok $n - $1 # SKIP $2"; }
m() { "$MIDRE_BIN" "$@" >"$TEST_TMP/out" 2>"$TEST_TMP/err" </dev/null; rc_=$?; return $rc_; }
code() { local want=$1; shift; m "$@"; [ $rc_ -eq "$want" ]; }
out() { grep -qF -- "$1" "$TEST_TMP/out"; }
err() { grep -qF -- "$1" "$TEST_TMP/err"; }
quiet_err() { [ ! -s "$TEST_TMP/err" ]; }
one_line_err() { [ "$(wc -l <"$TEST_TMP/err")" -eq 1 ]; }

# ---- help ---------------------------------------------------------------------------------------------------------------
m help && out "midre COMMAND" && out "Exit codes" && quiet_err; check "help lists usage and exit codes"
m --help && out "table" && quiet_err; check "--help is help"
m --version && [ "$(wc -l <"$TEST_TMP/out")" -eq 1 ] && out "midre "; check "--version is one line"
bad=
for c in $("$MIDRE_BIN" help | sed -n 's/^  \([a-z]*\) .*/\1/p'); do
    m help "$c" && out "usage: midre $c" || bad="$bad $c"
    m "$c" --help && out "usage: midre $c" || bad="$bad $c--help"
done
[ -z "$bad" ]; check "every command explains itself${bad:+ (not:$bad)}"
m help && [ "$(wc -L <"$TEST_TMP/out")" -le 80 ]; check "help fits 80 columns"
m help settings && out "[target]" && out "epochs =" && out "1..100000"; check "help settings lists keys, defaults and ranges"
m attacks && out "gmi" && m attacks show gmi && out "[attack.gmi]" && out "iterations ="; check "attacks show gmi"
m defenses show midre && out "area_low" && out "TMLR"; check "defenses show midre names its paper"
m models && out "vgg16" && m metrics && m data list && out "synthfaces"; check "models, metrics, data list"

# ---- did you mean, exit codes --------------------------------------------------------------------------------------------
code 2 tabel && err 'did you mean "table"' && one_line_err; check "unknown command: suggestion, 2"
code 2 help rnu && err 'did you mean "run"'; check "help of an unknown command: 2"
code 2 table --formt csv && err 'did you mean --format'; check "unknown option: suggestion, 2"
code 2 table --format cvs && err 'did you mean "csv"'; check "unknown format: 2"
code 2 table --format && err "needs a value"; check "option without its value: 2"
code 2 stop && err "usage: midre stop"; check "missing word: usage, 2"
code 2 run --demo --until atack && err 'did you mean "attack"'; check "unknown stage: 2"
code 3 table --sort atacc && err 'did you mean "attacc"'; check "unknown column: 3"
code 3 attacks show gmy && err 'did you mean "gmi"'; check "unknown attack: 3"
code 3 run --demo --dry-run attack.gmi.iteratons=5 && err 'did you mean "iterations"'; check "unknown key on the command line: 3"
code 3 run --demo --dry-run targt.epochs=5 && err 'target'; check "unknown section: 3"
printf '[defense]\nname = midree\n' >bad.ini
code 3 run bad.ini && err 'midre' && one_line_err; check "unknown defense in a spec: 3"
printf '[defense.midre]\narea_high = 1.7\n' >ratio.ini
code 3 run ratio.ini && err "area_high" && err "1.7"; check "erase ratio out of range: 3, names key and value"
printf '[run\nname' >torn.ini
code 3 run torn.ini && err "torn.ini"; check "broken ini: 3, names the file"
code 4 run nosuch.ini && err "nosuch.ini"; check "missing spec: 4"
code 4 show 7 && err "no run"; check "missing run: 4"
code 2 show seven && err "seven"; check "not a run number: 2"
touch plain-file
code 6 ls -w plain-file/ws && err "plain-file"; check "workspace that cannot be made: 6, names it"
code 6 -w plain-file/ws ls; check "--workspace before the command"
if [ "$(id -u)" != 0 ]; then
    mkdir -p ro && chmod 500 ro
    code 6 ls -w ro/ws; check "read-only workspace: 6"
else skip "read-only workspace: 6" "root may write everywhere"; fi

# ---- data ----------------------------------------------------------------------------------------------------------------
code 4 data check celeba && err "root"; check "celeba without a root: 4"
mkdir -p half/img_align_celeba
touch half/img_align_celeba/000001.jpg
code 4 data check celeba root=half; check "missing identity file: 4"
grep -qi identity "$TEST_TMP/out" "$TEST_TMP/err"; check "... and it is named"
code 3 data check celeba rot=half && err 'did you mean "root"'; check "unknown dataset setting: 3"
code 4 run --demo data.name=celeba data.celeba.root=half && [ ! -e "$W/runs/0001" ]; check "run refuses missing data before making a run"
mkdir -p flat && : >flat/a.png
code 3 run --demo data.public=flat data.flat.root=flat && err "does not say who" && [ ! -e "$W/runs/0001" ]; check "start weights from nameless photos are refused before a run folder is made"
code 3 run --demo --dry-run target.init=x.pth && err "pretrained = yes and init"; check "start weights from two places: 3, already checking"
mkdir -p cfg/midre && printf '[data.celeba]\nroot = %s/nowhere\n' "$TEST_TMP" >cfg/midre/midre.ini
XDG_CONFIG_HOME=$TEST_TMP/cfg code 4 data check celeba && err "nowhere"; check "midre.ini gives the dataset's root"
XDG_CONFIG_HOME=$TEST_TMP/cfg code 4 data check celeba root=elsewhere && err "elsewhere"; check "... and the command line wins"
printf '[data.celeba]\nrot = x\n' >cfg/midre/midre.ini
XDG_CONFIG_HOME=$TEST_TMP/cfg code 3 data check celeba && err 'did you mean "root"'; check "unknown key in midre.ini: 3"

# ---- spec ----------------------------------------------------------------------------------------------------------------
m run --demo --dry-run run.seed=9 && out "seed = 9" && [ ! -e "$W/runs/0001" ]; check "--dry-run prints the resolved spec and makes nothing"
cp out full.ini && m run full.ini --dry-run && cmp -s out full.ini; check "the resolved spec resolves to itself"

# ---- a fabricated workspace -----------------------------------------------------------------------------------------------
fabricate() { # number, seed, attack accuracy of the defended row
    local d=$W/runs/$1
    mkdir -p "$d/pictures"
    printf '[run]\nname = fixture\n[defense.midre]\narea_high = 0.8\n' >"$d/spec.ini"
    local row='"attack":"gmi","data":"synthfaces","judge":"quickres@64","precision":"fp32","device":"cpu","identities":2,"images":4,"resolution":64,"synthetic":true'
    cat >"$d/journal.jsonl" <<EOF
{"v":1,"at":1700000000,"t":"run","id":"x$1","name":"fixture","pid":1,"version":"0.1.0","torch":"x","device":"cpu","threads":2,"precision":"fp32","seed":$2,"synthetic":true,"cells":[{"id":"quick/none/gmi","model":"quick","defense":"none","attack":"gmi"},{"id":"quick/midre/gmi","model":"quick","defense":"midre","attack":"gmi"}],"stages":[{"id":"score.a","kind":"score","title":"Score a","cells":["quick/none/gmi"]}]}
{"v":1,"at":1700000001,"t":"stage","stage":"score.a","kind":"score","state":"start","fingerprint":"ab","title":"Score a"}
{"v":1,"at":1700000002,"t":"atlas","name":"photo","kind":"photo","cell":"quick/none/gmi","file":"pictures/photo.png","tile":8,"cols":2,"rows":2,"labels":[3,5],"step":0,"final":true}
{"v":1,"at":1700000002,"t":"atlas","name":"r0","kind":"recon","cell":"quick/none/gmi","file":"pictures/r0.png","tile":8,"cols":2,"rows":2,"labels":[3,5],"step":0,"final":true}
{"v":1,"at":1700000002,"t":"atlas","name":"r1","kind":"recon","cell":"quick/midre/gmi","file":"pictures/r1.png","tile":16,"cols":2,"rows":2,"labels":[3,5],"step":0,"final":true}
{"v":1,"at":1700000003,"t":"recon","cell":"quick/none/gmi","row":0,"col":0,"label":3,"judge":3,"confidence":0.5,"hit":true,"distance":12.0}
{"v":1,"at":1700000003,"t":"recon","cell":"quick/none/gmi","row":0,"col":1,"label":3,"judge":3,"confidence":0.97,"hit":true,"distance":10.0}
{"v":1,"at":1700000003,"t":"recon","cell":"quick/midre/gmi","row":0,"col":0,"label":3,"judge":1,"confidence":0.31,"hit":false,"distance":40.0}
{"v":1,"at":1700000004,"t":"score","cell":"quick/none/gmi","model":"quick","defense":"none",$row,"acc":91.5,"attacc":62.25,"attacc_std":3.5,"seed":$2}
{"v":1,"at":1700000004,"t":"score","cell":"quick/midre/gmi","model":"quick","defense":"midre",$row,"acc":87.5,"attacc":$3,"attacc_std":2.25,"seed":$2}
{"v":1,"at":1700000005,"t":"stage","stage":"score.a","kind":"score","state":"done","fingerprint":"ab","title":"Score a","seconds":2}
{"v":1,"at":1700000006,"t":"state","state":"done"}
{"v":1,"at":1700000007,"t":"sco
EOF
}
mkdir -p "$W"
fabricate 0001 0 22.25
fabricate 0002 1 82.25
m table && out "synthfaces, 64 px (synthetic)" && out "10.00" && out "-5.00" && quiet_err; check "table: measured trade-offs per seed, torn line skipped, marked synthetic"
[ "$(wc -L <"$TEST_TMP/out")" -le 80 ] && out "run 0001"; check "table fits and names the run"
m table --run 2 && out "82.25" && ! out "22.25"; check "table --run"
m table --defense midre --format csv && [ "$(wc -l <"$TEST_TMP/out")" -eq 3 ] && out "0.8"; check "table --defense, CSV, variant of the defense"
m table --format csv --sort attacc --desc && [ "$(sed -n 2p "$TEST_TMP/out" | grep -c 82.25)" -eq 1 ]; check "table --sort --desc"
m table --format markdown && out "--:|" && out "| 62.25 ±3.50 |"; check "table markdown"
m table --format latex && out '\begin{tabular}' && out '62.25 $\pm$3.50' && out '(synthetic)'; check "table latex"
m table --published --attack gmi --data celeba && out "Tab. B.2" && out "20.07" && ! out "run 0001"; check "table --published with filters"
m table --published && out "run 0001" && [ "$(grep -n 'synthfaces' "$TEST_TMP/out" | head -1 | cut -d: -f1)" -lt "$(grep -n 'facescrub' "$TEST_TMP/out" | head -1 | cut -d: -f1)" ]; check "measured groups come first"
m ls && [ "$(grep -c fixture "$TEST_TMP/out")" -eq 2 ] && out "done" && out "(synthetic)"; check "ls"
code 3 resume 1 && err "finished"; check "resume of a finished run: 3"
code 4 stop 1 && err "no engine"; check "stop without an engine: 4"
m attach 1 --plain && out "62.25"; check "attach --plain tells a finished run's story and ends"

py=
for p in python3 /usr/bin/python3; do [ -z "$py" ] && "$p" -c 'import PIL' 2>/dev/null && py=$p; done
code 4 show 1 --png grid.png && err "photo.png" && [ ! -e grid.png ]; check "show of a run whose pictures are gone: 4, names one"
if [ -n "$py" ]; then
    "$py" - "$W/runs/0001/pictures" <<'EOF'
import sys
from PIL import Image
d = sys.argv[1]
def sheet(name, tile, colours):
    im = Image.new("RGB", (2 * tile, 2 * tile))
    for i, c in enumerate(colours):
        im.paste(c, ((i % 2) * tile, (i // 2) * tile, (i % 2 + 1) * tile, (i // 2 + 1) * tile))
    im.save(f"{d}/{name}.png")
sheet("photo", 8, [(255, 0, 0), (200, 0, 0), (150, 0, 0), (100, 0, 0)])
sheet("r0", 8, [(0, 255, 0), (0, 200, 0), (0, 150, 0), (0, 100, 0)])
sheet("r1", 16, [(0, 0, 255), (0, 0, 200), (0, 0, 150), (0, 0, 100)])
EOF
    tiles() { "$py" -c 'import sys; from PIL import Image; im=Image.open(sys.argv[1]); print(im.size, [im.getpixel((x*8+4,y*8+4)) for y in (0,1) for x in (0,1,2)])' "$1"; }
    m show 1 --png grid.png && [ "$(tiles grid.png)" = "(24, 16) [(255, 0, 0), (0, 255, 0), (0, 0, 255), (150, 0, 0), (0, 150, 0), (0, 0, 150)]" ]
    check "show --png: photo, then each cell, a row a person"
    out "LEAKED: judge says 3, 50 %" && out "missed: judge says 1, 31 %" && out "not judged"; check "show captions carry the judge's words"
    m show 1 --best --png best.png && [ "$(tiles best.png | cut -d']' -f1)" = "(24, 16) [(200, 0, 0), (0, 200, 0), (0, 0, 255), (150, 0, 0), (0, 150, 0), (0, 0, 150)" ] && out "97 %"
    check "show --best picks the judge's favourite and its nearest photo"
    m show 1 --rows 1 --images half && grep -q $'\033\\[' "$TEST_TMP/out"; check "show --images half draws in text"
    head -c 40 "$W/runs/0001/pictures/r0.png" >cut.png && cp cut.png "$W/runs/0001/pictures/r0.png"
    code 3 show 1 && err "r0.png"; check "show of a damaged picture: 3, names it"
else
    skip "show pictures" "python3 with PIL is not here"
fi
m rm 2 && [ ! -e "$W/runs/0002" ] && m ls && [ "$(grep -c fixture "$TEST_TMP/out")" -eq 1 ]; check "rm"

# ---- with the engine --------------------------------------------------------------------------------------------------------
small="data.size=32 data.synthfaces.identities=4 data.synthfaces.photos=6 data.synthfaces.public_identities=4"
if "$ENGINE_BIN" doctor 2>/dev/null | grep -qi 'cuda.*ok\|NVIDIA'; then
    skip "a GPU asked for but absent: 5" "this machine has one"
else
    # shellcheck disable=SC2086
    code 5 run --demo run.device=cuda $small && err "cuda"; check "a GPU asked for but absent: 5"
fi
# shellcheck disable=SC2086
m run --demo --until data $small && out "done"; check "run --until data ends after the data"
r=$(ls "$W/runs" | tail -1)
[ "$(cat "$W/runs/$r/until")" = data ]; check "the last stage stays with the run"
m doctor && out "workspace" && out "engine"; check "doctor"
echo "1..$n"
