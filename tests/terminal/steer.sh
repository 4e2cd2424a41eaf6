#!/bin/bash
# A real engine steered from the screens: start, leave and find again, pause, stop, resume, and an engine that dies.
. "$(dirname "$0")/lib.sh"
need tmux
engine=$(dirname "$MIDRE_BIN")/midre-engine
[ -x "$engine" ] || { skip "steering a run" "no midre-engine beside midre"; echo "1..$n"; exit 0; }
pid_of() { cat "$tmp/ws/runs/0001/lock" 2>/dev/null | tr -dc 0-9; }
cleanup() { # only the engine of this test's own workspace
    local p
    p=$(pid_of)
    [ -n "$p" ] && grep -qs midre-engine "/proc/$p/cmdline" && kill -9 "$p" 2>/dev/null
    finish
}
trap cleanup EXIT

cat >"$tmp/long.ini" <<'I'
[run]
name = steered
checkpoint_every = 1
[data]
size = 32
[data.synthfaces]
identities = 4
photos = 10
public_identities = 4
[target]
epochs = 100000
batch = 8
[judge]
epochs = 1
[attack]
identities = 2
restarts = 1
I
ARGS=$tmp/long.ini
start 80 24 OMP_NUM_THREADS=1
expect "the spec given is in the form" "[1 Setup]" "100000 epochs" "[ Start ]"
keys Enter
expect "Enter starts it and shows it" "[2 Live]" "run 0001" "steered"
if sees "RUNNING" 180 && sees "img/s" 180; then ok "it trains"; else bad "it trains" "$(screen)"; fi
keys q
expect "leaving asks" "Quit while run 0001 is going?" "leave it running" "Esc     stay"
keys Escape
if leaves "Quit while"; then ok "Esc stays"; else bad "Esc stays" "$(screen)"; fi
keys q; sees "Quit while"; keys Enter
expect "Enter leaves" "EXIT 0"
p=$(pid_of)
if [ -n "$p" ] && kill -0 "$p" 2>/dev/null; then ok "the run goes on without a screen"; else bad "the run goes on without a screen" "pid ${p:-none}"; fi

ARGS=
start 80 24
expect "it is offered on the next start" "Run 0001 is running"
keys Enter
expect "and found again" "[2 Live]" "run 0001" "RUNNING"
keys p
if sees "PAUSED" 180; then ok "pause"; else bad "pause" "$(screen)"; fi
keys p
if sees "RUNNING" 180; then ok "go on"; else bad "go on" "$(screen)"; fi
keys x
expect "stopping asks" "Stop run 0001?"
keys s
if sees "STOPPED" 180; then ok "stopped"; else bad "stopped" "$(screen)"; fi
keys 5
expect "the list says so" "stopped"
keys r
if sees "[2 Live]" && sees "RUNNING" 180; then ok "resumed"; else bad "resumed" "$(screen)"; fi
p=$(pid_of)
kill -9 "$p"
if sees "DIED" 180; then ok "an engine that was killed is called DIED"; else bad "an engine that was killed is called DIED" "$(screen)"; fi
keys 5
keys D
expect "deleting asks for the number" "type the run's number"
keys -l 7; keys Enter
expect "a wrong number deletes nothing" "nothing deleted"
keys D; sees "type the run"; keys -l 1; keys Enter
expect "the right one deletes" "run 0001 deleted" "No runs yet"
if [ ! -e "$tmp/ws/runs/0001" ]; then ok "its folder is gone"; else bad "its folder is gone"; fi
keys q
expect "leaves" "EXIT 0"
