#!/bin/bash
# Setup shows training photos under a defense: the picture and its words, which defense, refusals; an engine that is
# stopped, that is waited for elsewhere, that ends with the screens.  Neither processes nor folders stay behind.
. "$(dirname "$0")/lib.sh"
need tmux
engine=$(dirname "$MIDRE_BIN")/midre-engine
[ -x "$engine" ] || { skip "a preview on Setup" "no midre-engine beside midre"; echo "1..$n"; exit 0; }
# The engine that makes a preview for this test's own workspace: one of its words is the folder (grep's own is not).
pid_of() { grep -lszx -- "$tmp/w[s]" /proc/[0-9]*/cmdline | cut -d/ -f3; }
cleanup() {
    local p
    for p in $(pid_of); do kill -9 "$p" 2>/dev/null; done
    finish
}
trap cleanup EXIT
freeze() { # stops the engine in its tracks, so that it works as long as the test needs
    local end=$((SECONDS + 90))
    while [ $SECONDS -le $end ]; do
        p=$(pid_of)
        [ -n "$p" ] && kill -STOP "$p" 2>/dev/null && return 0
        sleep 0.1
    done
    return 1
}
no_trace() { # NAME: the process is gone and so is its folder
    local end=$((SECONDS + 90))
    while [ $SECONDS -le $end ]; do
        [ -z "$(pid_of)" ] && [ -z "$(ls "$tmp/tmp")" ] && { ok "$1"; return; }
        sleep 0.1
    done
    bad "$1" "process $(pid_of), folders $(ls "$tmp/tmp")"
}
spec() { # FILE IDENTITIES PHOTOS DEFENSES
    printf '[run]\nthreads = 1\n[data]\nsize = 32\n[data.synthfaces]\nidentities = %s\nphotos = %s\npublic_identities = 4\n' "$2" "$3"
    printf '[defense]\nname = %s\n' "$4"
} >"$1"
run() { # COLS ROWS SPEC [VAR=value...]
    local cols=$1 rows=$2
    ARGS="--images=ascii $3"
    shift 3
    start "$cols" "$rows" OMP_NUM_THREADS=1 TMPDIR="$tmp/tmp" "$@"
    sees "1 Setup"
}
mkdir "$tmp/tmp"
spec "$tmp/tiny.ini" 4 10 "midre, none"
spec "$tmp/refused.ini" 4 10 "none, dp+bido"
spec "$tmp/big.ini" 300 100 midre

run 80 24 "$tmp/tiny.ini"
expect "the status row offers it" "p preview" "The paper has no rows"
before=$(screen | head -23)
keys p
expect "the last defense without a choice" "Training photos without a defense (one of midre, none)" "none, quick: synthfaces at 32 px" "left: the stored photo; then 4 epochs of training" "images: ascii"
shades() { screen | grep -cE '[-.:=+*#%@]{20}'; } # rows of the picture; it is sent when keys rest
for ((try = 0; try < 600 && $(shades) < 10; try++)); do sleep 0.1; done
shades=$(shades)
if [ "$shades" -ge 10 ]; then ok "a picture of $shades rows"; else bad "a picture" "$(screen)"; fi
no_trace "the engine and its folder are gone by then"
keys i
expect "i: pictures off" "images: off" "Pictures are off"
keys i
expect "i: another image mode" "images: half" "▀▀▀▀▀▀▀▀▀▀"
keys Escape
if leaves "Training photos" && sees "The paper has no rows" && [ "$(screen | head -23)" = "$before" ]; then ok "Esc closes, the form is whole"; else bad "Esc closes, the form is whole" "$(screen)"; fi
keys g Down Down Down Down Down Down
sees "in a file: [defense.midre]" # of the first of its settings
keys p
expect "a setting's own defense" "Training photos under midre (one of midre, none)" "midre: erases 25.0 %"
keys p
if leaves "Training photos"; then ok "p closes too"; else bad "p closes too" "$(screen)"; fi
keys p 6 # in one go: the engine has no time to be ready on Setup
expect "elsewhere it is said" "[6 Log]" "the preview of midre is ready: p on Setup shows it"
keys 1
expect "and waits on Setup" "the preview of midre is ready (p shows it)"
keys p
expect "until it is asked for" "Training photos under midre"
keys Enter
leaves "Training photos"
keys q
expect "leaves" "EXIT 0"

run 80 24 "$tmp/refused.ini"
keys p
expect "a refused composition: the engine's words" " dp and bido do not compose: bido ties the photos"
if screen | grep -q midre-engine; then bad "without its name" "$(screen)"; else ok "without its name"; fi
no_trace "a failure leaves nothing"
keys q; sees "EXIT 0"

run 80 24 "$tmp/big.ini"
keys p
expect "it is said what is going on" "making the preview of midre ... (p again stops it)" "[ Start ]"
if freeze; then ok "an engine works"; else bad "an engine works" "$(screen)"; fi
keys Up
expect "the screens are alive" "in a file: [run] seed" "making the preview of midre"
keys p
expect "p again asks it to stop" "stopping the preview of midre"
kill -CONT "$p"
expect "and says when it has" "the preview of midre was stopped"
no_trace "a stopped engine leaves nothing"
if ls "$tmp"/ws/cache/packs/*.tmp.* >/dev/null 2>&1; then bad "not even half a pack" "$(ls "$tmp"/ws/cache/packs)"; else ok "not even half a pack"; fi
keys p
if freeze && [ -n "$(ls "$tmp/tmp")" ]; then ok "at work again"; else bad "at work again" "$(screen)"; fi
keys q
expect "leaving meanwhile does not wait" "EXIT 0"
no_trace "and takes the engine and its folder along"
if [ -s "$tmp/err" ]; then bad "nothing on stderr" "$(cat "$tmp/err")"; else ok "nothing on stderr"; fi

for size in 160x48 60x16 40x10; do
    run "${size%x*}" "${size#*x}" "$tmp/tiny.ini"
    keys p
    expect "a picture at $size" "Training photos" "Esc close"
    keys q; leaves "Training photos"
    keys q
    expect "leaves at $size" "EXIT 0"
done
