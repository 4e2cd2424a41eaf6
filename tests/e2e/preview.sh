#!/bin/bash
# tests/e2e/preview.sh - `midre preview` from outside: a PNG of the right size for every defense that changes photos,
# settings on the line, drawing as text, refusals.  TAP; needs MIDRE_BIN, TEST_TMP.
set -u
: "${MIDRE_BIN:?}" "${TEST_TMP:=$(mktemp -d)}"
W=$TEST_TMP/preview-ws
export MIDRE_WORKSPACE=$W XDG_CONFIG_HOME=$TEST_TMP/no-config TERM=dumb COLUMNS=80
rm -rf "$W"
mkdir -p "$TEST_TMP/preview" && cd "$TEST_TMP/preview" || exit 2
rm -f ./*.png
n=0
check() { # name, condition already evaluated in $?
    local rc=$?
    n=$((n + 1))
    if [ $rc -eq 0 ]; then echo "ok $n - $1"; else
        echo "not ok $n - $1"
        echo "# rc=${rc_:-} out: $(head -c 600 out | tr '\n' '~') err: $(head -c 600 err | tr '\n' '~')"
    fi
}
m() { "$MIDRE_BIN" "$@" >out 2>err </dev/null; rc_=$?; return $rc_; }
code() { local want=$1; shift; m "$@"; [ $rc_ -eq "$want" ]; }
out() { grep -qF -- "$1" out; }
err() { grep -qF -- "$1" err; }
size() { # width and height out of a PNG's header
    od -An -tu1 -j16 -N8 "$1" | awk '{print $1*16777216+$2*65536+$3*256+$4, $5*16777216+$6*65536+$7*256+$8}'
}
small="data.size=32 data.synthfaces.identities=4 data.synthfaces.photos=6 data.synthfaces.public_identities=4"
# shellcheck disable=SC2086
{
    m preview --defense midre --rows 3 --cols 4 -o a.png $small && [ "$(size a.png)" = "128 96" ]
    check "a picture of rows x columns photos"
    out "erases 25." && out "wrote a.png"; check "... and what the settings come to"
    m preview --defense midre --rows 3 --cols 4 $small && [ -f preview.png ] && cmp -s a.png preview.png
    check "without a terminal it goes to preview.png; equal settings, equal bytes"
    m preview --defense midre --rows 3 --cols 4 -o b.png $small defense.midre.fill=telea run.seed=1 && ! cmp -s a.png b.png
    check "settings on the line count"
    m preview --defense midre:fill=telea --rows 3 --cols 4 -o b2.png $small run.seed=1 && cmp -s b.png b2.png
    check "... and so do those behind the name"
    m preview --defense fe+blur+cutmix --rows 2 --cols 3 -o c.png $small target.recipe=ppa && [ "$(size c.png)" = "96 64" ]
    check "compositions, with a recipe's crops and colours"
    printf '[data]\nsize = 32\n[data.synthfaces]\nidentities = 4\nphotos = 6\npublic_identities = 4\n[defense]\nname = none, ee\n' >s.ini
    m preview s.ini --rows 2 --cols 2 -o d.png && out "ee: leaves out 20 %"; check "a spec's last defense is the default"
    m preview s.ini --defense patches --rows 2 --cols 2 --images half -o e.png && grep -q $'\033\\[' out
    check "--images draws in text"
    code 3 preview --defense midree $small && err 'midre'; check "unknown defense: 3, with a suggestion"
    code 3 preview --defense crop $small defense.crop.low=0.9 defense.crop.high=0.8 && err "low"
    check "contradicting settings: the engine's words and code"
    code 2 preview --rows 0 $small && err "rows"; check "a count out of range: 2"
    code 4 preview nosuch.ini && err "nosuch.ini"; check "missing spec: 4"
    code 4 preview --defense none -o nowhere/x.png $small && err "nowhere/x.png"; check "a folder that is not there: 4, names the file"
}
m help recipes && out "ppa" && out "milestones = 75,90"; check "help recipes lists what they set"
echo "1..$n"
