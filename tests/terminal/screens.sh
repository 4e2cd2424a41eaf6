#!/bin/bash
# Every screen shows its landmarks at 80x24, and something usable at all other sizes; help, keys and quitting work.
. "$(dirname "$0")/lib.sh"
need tmux python3
trap finish EXIT
python3 "$here/fixture.py" "$tmp/ws" 1 done && python3 "$here/fixture.py" "$tmp/ws" 2 running || { bad "fixture"; exit 1; }

start 80 24
expect "setup at 80x24" "[1 Setup]" "Architecture" "Private data" "Defense" "area high" "[ Start ]" "Enter starts the experiment" "Published for this choice"
keys Up; keys Up
expect "focus moves and help follows" "in a file: [run] device"
keys a
expect "all settings" "All settings" "checkpoint every" "deterministic"
keys Escape
expect "Esc comes back, does not quit" "[ Start ]"
keys Tab Tab Tab Tab
keys 5
expect "runs" "[5 Runs]" "0001" "0002" "done" "DIED" "fixture"
keys Down Enter
expect "live at 80x24" "[2 Live]" "run 0001" "DONE" "loss" "acc" "latest" "machine" "events" "synthetic"
keys Up Up Up Up
expect "another stage" "target quick, midre" "loss/train" "acc/test" "epoch 30/30"
keys s y
expect "smoothing and log axis" "log ema .6"
keys 3
expect "gallery" "[3 Gallery]" "identity 0" "private photo" "no defense: gmi on quick" "midre: gmi on quick" "judge: 3 22% miss" "judge: 0 97% HIT" "feat dist 0.61" "75/100" "11/100"
expect "pictures are half blocks here" "▀▀▀▀▀▀▀▀▀▀"
keys Right
expect "next identity" "identity 1"
keys n
expect "next hit" "identity 2"
keys Down
expect "next candidate" "candidate 2 of 5"
keys i
expect "image mode cycles" "images: ascii"
keys i
expect "images off is still usable" "images: off" "judge:"
keys f
expect "whole sheets" "Whole sheets" "samples"
keys 4
expect "table" "[4 Table]" "defense" "AttAcc" "91.85" "75.00" "11.00" "27.23" "Tab. B" "lower right is better"
keys /
expect "filter asks" "Rows that contain"
keys -l "celeba"
keys Enter
expect "filter works" "filter: celeba"
if screen | grep -q synthfaces; then bad "filtered rows are gone" "$(screen)"; else ok "filtered rows are gone"; fi
keys Right Right Right Right s
expect "sorting" "sort: Acc"
keys m
expect "means over seeds" "rows, means"
keys 6
expect "log" "[6 Log]" "kernel note shown once" "level: all"
keys L
expect "log level" "level: warnings"
keys '?'
expect "help lists this screen first" "Log screen" "follow the newest line" "Everywhere"
keys / ; keys -l quit; keys Enter
expect "help is searchable" "quit (asks while a run is going)"
keys Escape
keys q
expect "q leaves when nothing runs" "EXIT 0"
if [ -s "$tmp/err" ]; then bad "nothing on stderr" "$(cat "$tmp/err")"; else ok "nothing on stderr"; fi

for size in 160x48 120x36 60x16 40x10 39x9 20x5; do
    start "${size%x*}" "${size#*x}"
    case $size in 39x9 | 20x5) expect "size $size says what it needs" "need 40x10" ;; *)
        expect "setup at $size" "1 Setup" "Architecture"
        keys 5; sees "0001"
        keys Down Enter
        expect "live at $size" "2 Live" "run 0001" "DONE"
        keys 3
        expect "gallery at $size" "3 Gallery" "identity 0" "private ph"
        keys 4
        expect "table at $size" "4 Table" "91.85" ;;
    esac
    keys q
    expect "leaves at $size" "EXIT 0"
done

start 80 24
sees "[1 Setup]"; keys 5; sees 0001; keys Down Enter; sees "[2 Live]"; keys 3
fine=1
for size in "160 48" "40 10" "30 6" "200 12" "60 16" "41 100" "80 24"; do
    tm resize-window -t t -x ${size% *} -y ${size#* }
    sleep 0.3
done
expect "survives resizing" "[3 Gallery]" "private photo" "75/100"
keys C-l
expect "repaints" "private photo"
keys C-c
expect "Ctrl-C leaves when nothing runs" "EXIT 0"

# Dataset folders of midre.ini count in the workbench too, unless the spec says otherwise.
mkdir -p "$tmp/here"
printf '[data.folder]\nroot = /srv/people\npublic_root = /srv/others\n' >"$tmp/here/midre.ini"
printf '[data]\nname = folder\n[data.folder]\npublic_root = /elsewhere\n' >"$tmp/here/spec.ini"
tm kill-session -t t 2>/dev/null
tm new-session -d -s t -x 80 -y 24 -c "$tmp/here" \
    "env MIDRE_WORKSPACE=$tmp/ws MIDRE_ASSETS=$root/assets LC_ALL=C.UTF-8 $MIDRE_BIN spec.ini; echo EXIT \$?; sleep 600"
sees "[1 Setup]"
keys w; sees "Save experiment"; keys Enter
expect "saves the experiment" "saved to"
if grep -qx 'root = /srv/people' "$tmp/here/experiment.ini" && grep -qx 'public_root = /elsewhere' "$tmp/here/experiment.ini"; then
    ok "with the dataset folder of midre.ini"
else
    bad "with the dataset folder of midre.ini" "$(cat "$tmp/here/experiment.ini")"
fi
keys S
expect "missing photos are named before a run is made" "/srv/people"
if [ -e "$tmp/ws/runs/0003" ]; then bad "and no run is made" "$(ls "$tmp/ws/runs")"; else ok "and no run is made"; fi
keys q; sees "EXIT 0"
