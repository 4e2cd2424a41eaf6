#!/bin/bash
# A checkpoint checked from the screens: Runs, c, a file; it is recognised and the check is on the Live screen.
. "$(dirname "$0")/lib.sh"
need tmux
engine=$(dirname "$MIDRE_BIN")/midre-engine
[ -x "$engine" ] || { skip "checking a file" "no midre-engine beside midre"; echo "1..$n"; exit 0; }
pid_of() { cat "$tmp/ws/runs/0002/lock" 2>/dev/null | tr -dc 0-9; }
cleanup() { # only the engine of this test's own workspace
    local p
    p=$(pid_of)
    [ -n "$p" ] && grep -qs midre-engine "/proc/$p/cmdline" && kill -9 "$p" 2>/dev/null
    finish
}
trap cleanup EXIT
cat >"$tmp/tiny.ini" <<'I'
[run]
threads = 1
[data]
size = 32
[data.synthfaces]
identities = 4
photos = 10
public_identities = 40
[target]
epochs = 1
batch = 8
[defense]
name = none
[judge]
epochs = 1
size = 32
batch = 8
I
MIDRE_WORKSPACE=$tmp/ws OMP_NUM_THREADS=1 "$MIDRE_BIN" train "$tmp/tiny.ini" --plain >"$tmp/log" 2>&1 ||
    { bad "a target to check" "$(tail -5 "$tmp/log")"; exit 1; }
cp "$tmp"/ws/cache/target/*/model.safetensors "$tmp/handed.safetensors"
ARGS=$tmp/tiny.ini
start 90 28 OMP_NUM_THREADS=1
sees "[1 Setup]" 60
keys 5
expect "the list of runs offers a check" "[5 Runs]" "check"
keys c
expect "it asks for the file and names the data" "Check a checkpoint" "synthfaces"
keys -l "$tmp/nosuch.safetensors"; keys Enter
expect "a missing file is said" "cannot open"
keys c; sees "Check a checkpoint"
keys -l "$tmp/handed.safetensors"; keys Enter
if sees "[2 Live]" 60 && sees "run 0002" 60; then ok "the check is on the Live screen"; else bad "the check is on the Live screen" "$(screen)"; fi
if grep -q '^minutes = 5' "$tmp/ws/runs/0002/spec.ini"; then ok "its spec has the time"; else bad "its spec has the time"; fi
if grep -q '^identities = 4' "$tmp/ws/runs/0002/spec.ini"; then ok "and the data of Setup"; else bad "and the data of Setup"; fi
sees "ETA" 120 # its engine listens
keys x; sees "Stop run 0002?" 30 && keys s
if sees "STOPPED" 90; then ok "it can be stopped"; else bad "it can be stopped" "$(screen)"; fi
keys q
sees "Quit while" 2 && keys Enter # its engine may still be closing
expect "leaves" "EXIT 0"
