#!/bin/bash
# Poor terminals, no colours, no UTF-8, no terminal at all; signals, suspension, a terminal that vanishes.
. "$(dirname "$0")/lib.sh"
need tmux python3
trap finish EXIT
python3 "$here/fixture.py" "$tmp/ws" 1 done || { bad "fixture"; exit 1; }

colours() { tm capture-pane -p -e -t t | grep -cP '\x1b\[[0-9;]*(3[0-8]|9[0-7])(;|m)'; }

start 80 24 NO_COLOR=1
expect "NO_COLOR: setup" "[1 Setup]" "[ Start ]"
if [ "$(colours)" = 0 ]; then ok "NO_COLOR: no colour on screen"; else bad "NO_COLOR: no colour on screen" "$(tm capture-pane -p -e -t t)"; fi
keys q; sees EXIT
start 80 24 COLORTERM=
sees "[1 Setup]"
if [ "$(colours)" -gt 0 ]; then ok "colours where they are wanted"; else bad "colours where they are wanted"; fi
keys t t t
expect "theme mono" "theme: mono"
if [ "$(colours)" = 0 ]; then ok "mono theme: no colour"; else bad "mono theme: no colour" "$(tm capture-pane -p -e -t t)"; fi
keys q; sees EXIT

LOC=C start 80 24
expect "C locale: setup" "[1 Setup]" "[ Start ]" "+ Experiment" "+--------"
keys 5; sees 0001; keys Enter; sees "[2 Live]"; keys 3
expect "C locale: gallery in ascii" "images: ascii" "****"
if screen | LC_ALL=C grep -q '[^ -~]'; then bad "C locale: plain characters only" "$(screen | LC_ALL=C grep '[^ -~]')"; else ok "C locale: plain characters only"; fi
keys q; sees EXIT

start 80 24 TERM=vt100
expect "vt100" "[1 Setup]" "[ Start ]"
keys q
expect "vt100: leaves" "EXIT 0"
start 80 24 TERM=no-such-terminal
expect "an unknown terminal is an error, not a crash" "EXIT 2"
says "the unknown terminal is named" "no-such-terminal"
start 80 24 TERM=dumb
expect "dumb terminal is refused" "EXIT 2"
says "dumb terminal: says what to do" "midre run"
ARGS=--color=pink start 80 24
expect "a wrong colour word is refused" "EXIT 2"
says "and named" "pink"
unset ARGS

MIDRE_WORKSPACE=$tmp/ws MIDRE_ASSETS=$root/assets "$MIDRE_BIN" </dev/null >"$tmp/out" 2>&1
rc=$?
if [ $rc = 2 ] && ! grep -q $'\x1b' "$tmp/out"; then ok "no terminal: a message, no control codes"; else bad "no terminal: a message, no control codes" "$rc $(cat -v "$tmp/out")"; fi

drive() { MIDRE_WORKSPACE=$tmp/ws MIDRE_ASSETS=$root/assets LC_ALL=C.UTF-8 TERM=xterm-256color python3 "$here/fixture_drive.py" "$@"; }

# The terminal vanishes: the program must end by itself, soon, without spinning.
cat >"$tmp/hup.py" <<'P'
import os, pty, sys, time
pid, master = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
os.read(master, 1)  # its first byte: it is up
time.sleep(1.2)
os.close(master)
for _ in range(600):
    done, status = os.waitpid(pid, os.WNOHANG)
    if done:
        print("gone", os.waitstatus_to_exitcode(status))
        sys.exit(0)
    time.sleep(0.1)
os.kill(pid, 9)
print("still there")
P
out=$(MIDRE_WORKSPACE=$tmp/ws MIDRE_ASSETS=$root/assets LC_ALL=C.UTF-8 TERM=xterm-256color python3 "$tmp/hup.py" "$MIDRE_BIN")
if [ "$out" = "gone 0" ]; then ok "the terminal vanishes: exit 0"; else bad "the terminal vanishes: exit 0" "$out"; fi

start 80 24
sees "[1 Setup]"
keys C-z
sleep 0.5
kill -CONT $(tm list-panes -t t -F '#{pane_pid}') 2>/dev/null
keys 5
expect "after Ctrl-Z and continuing it answers" "[5 Runs]" "0001"

# A crash: the shell after it has its line settings, its screen and its cursor; the exit code tells the signal.
tm kill-session -t t 2>/dev/null
tm new-session -d -s t -x 80 -y 24 "stty -a >$tmp/line.before; echo \$\$ >$tmp/shell; \
    env MIDRE_WORKSPACE=$tmp/ws MIDRE_ASSETS=$root/assets LC_ALL=C.UTF-8 ASAN_OPTIONS=handle_segv=0 $MIDRE_BIN; \
    echo EXIT \$?; stty -a >$tmp/line.after; sleep 600"
sees "[1 Setup]"
kill -SEGV $(cat "/proc/$(cat "$tmp/shell")/task/"*/children)
expect "after a crash the shell's screen is back, with a word" "EXIT 139" "the screens crashed"
for ((try = 0; try < 600; try++)); do [ -s "$tmp/line.after" ] && break; sleep 0.1; done
if cmp -s "$tmp/line.before" "$tmp/line.after" && [ "$(tm display -p -t t '#{alternate_on}#{cursor_flag}')" = 01 ]; then
    ok "and its line settings and cursor"
else
    bad "and its line settings and cursor" "$(diff "$tmp/line.before" "$tmp/line.after")"
fi

# What an idle program costs: bytes to the terminal and processor time in five seconds.
drive -s 24x80 -o "$tmp/rec" "1.0,5,0.3,Enter,0.5,2,4.0,mark:a,5.0,mark:b,q" -- bash -c 'TIMEFORMAT="%U %S"; time '"$MIDRE_BIN" >/dev/null
a=$(cat "$tmp/rec.a") b=$(cat "$tmp/rec.b")
if [ $((b - a)) -lt 2000 ]; then ok "idle for five seconds: $((b - a)) bytes"; else bad "idle for five seconds: under 2000 bytes" "$((b - a))"; fi
