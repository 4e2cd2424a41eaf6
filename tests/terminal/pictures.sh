#!/bin/bash
# Sixel pictures: what goes over the line decodes to the run's pictures, and shows on a real terminal emulator.
. "$(dirname "$0")/lib.sh"
need python3
trap finish EXIT
python3 "$here/fixture.py" "$tmp/ws" 1 done || { bad "fixture"; exit 1; }
export MIDRE_WORKSPACE=$tmp/ws MIDRE_ASSETS=$root/assets LC_ALL=C.UTF-8 TERM=xterm-256color
script=5,0.3,Enter,0.3,3,1.5,mark:shown,Right,1.0,mark:next,?,0.5,mark:help,Esc,0.8,1,0.5,mark:left,q

python3 "$here/fixture_drive.py" -s 24x80 -a sixel -o "$tmp/rec" "$script" -- "$MIDRE_BIN" >/dev/null
rc=$?
if [ $rc = 0 ]; then ok "a session with pictures ends well"; else bad "a session with pictures ends well" "exit $rc"; fi
cat >"$tmp/cut.py" <<'P'
import re, sys
data = open(sys.argv[1], "rb").read()
marks = [int(open(sys.argv[1] + "." + m).read()) for m in ("shown", "next", "help", "left")]
parts = list(re.finditer(rb"\x1b\[(\d+);(\d+)H(\x1bP[0-9;]*q.*?\x1b\\)", data, re.S))
count = lambda a, b: sum(a <= p.start() < b for p in parts)
print(count(0, marks[0]), count(marks[0], marks[1]), count(marks[1], marks[2]), count(marks[2], marks[3]))
print(max(int(p.group(1)) for p in parts) if parts else 99)
for k, p in enumerate(parts[:3]):
    open(sys.argv[1] + ".%d.six" % k, "wb").write(p.group(3))
P
out=$(python3 "$tmp/cut.py" "$tmp/rec")
set -- $(echo "$out" | head -1)
if [ "$1" = 3 ]; then ok "three pictures are sent, once each"; else bad "three pictures are sent, once each" "$out"; fi
if [ "$2" = 3 ]; then ok "another identity sends three more"; else bad "another identity sends three more" "$out"; fi
if [ "$3" = 0 ]; then ok "none under the help"; else bad "none under the help" "$out"; fi
if [ "$4" = 3 ]; then ok "they come back after the help"; else bad "they come back after the help" "$out"; fi

if command -v sixel2png >/dev/null && command -v compare >/dev/null; then
    k=0
    for file in photo recon-none recon-midre; do
        sixel2png -i "$tmp/rec.$k.six" -o "$tmp/$k.png" 2>/dev/null
        size=$(identify -format '%w' "$tmp/$k.png" 2>/dev/null)
        convert "$tmp/ws/runs/0001/pictures/$file.png" -crop 64x64+0+0 +repage -filter point -resize "${size:-1}x" "$tmp/want.png"
        convert "$tmp/$k.png" -crop "${size:-1}x${size:-1}+0+0" +repage "$tmp/got.png" 2>/dev/null
        db=$(compare -metric PSNR "$tmp/want.png" "$tmp/got.png" null: 2>&1 | sed 's/ .*//')
        if [ "$db" = inf ] || [ "${db%.*}" -ge 25 ] 2>/dev/null; then ok "$file survives the line ($db dB)"; else bad "$file survives the line" "PSNR ${db:-none}"; fi
        k=$((k + 1))
    done
else
    skip "decoded pictures equal the run's" "sixel2png or ImageMagick is not installed"
fi

if ! command -v Xvfb >/dev/null || ! command -v xterm >/dev/null || ! command -v import >/dev/null; then
    skip "pictures on a real terminal" "Xvfb, xterm or ImageMagick is not installed"
    exit 0
fi
display=$((200 + $$ % 500))
Xvfb ":$display" -screen 0 1024x768x24 >/dev/null 2>&1 &
xvfb=$!
trap 'kill $xvfb 2>/dev/null; finish' EXIT
sleep 1
DISPLAY=:$display xterm -u8 -geometry 80x24+0+0 -ti vt340 -bg black -fg white -xrm 'XTerm*allowWindowOps: true' \
    -e python3 "$here/fixture_drive.py" "5,0.3,Enter,0.3,3,90.0,q" -- "$MIDRE_BIN" 2>/dev/null &
xt=$!
found=0
for ((try = 0; try < 80; try++)); do
    sleep 1
    DISPLAY=:$display import -window root "$tmp/shot.png" 2>/dev/null || continue
    # The first photo has a plain blue ground nothing else on screen has: count its pixels.
    blue=$(convert "$tmp/shot.png" -fuzz 4% -fill black +opaque 'rgb(40,60,120)' -fill white -opaque 'rgb(40,60,120)' \
        -format '%[fx:int(mean*w*h)]' info: 2>/dev/null)
    [ "${blue:-0}" -gt 3000 ] && found=1 && break
done
kill $xt 2>/dev/null
if [ $found = 1 ]; then ok "xterm shows the photo ($blue pixels of its ground)"; else bad "xterm shows the photo" "pixels: ${blue:-none}"; fi
