#!/usr/bin/env python3
"""Runs a program on its own terminal line and plays keys to it.

Usage: fixture_drive.py [-s ROWSxCOLS] [-o RECORD] [-a ANSWERS] KEYS -- COMMAND...

KEYS is a comma separated list: text typed as it is, or 0.5 (wait half a second), Enter, Esc, Up, Down, Left, Right,
Tab, CtrlC, CtrlL, CtrlZ, mark:NAME (writes the number of bytes recorded so far to RECORD.NAME).
If standard output is a terminal, everything is passed on to it (and its answers back), so that a real terminal
emulator can show it; otherwise ANSWERS=sixel plays a terminal that knows sixel with cells of 10x20 pixels.
The exit code is the program's.  Standard library alone.
"""
import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import time
import tty

NAMES = {"Enter": "\r", "Esc": "\x1b", "Up": "\x1bOA", "Down": "\x1bOB", "Right": "\x1bOC", "Left": "\x1bOD", "Tab": "\t",
         "CtrlC": "\x03", "CtrlL": "\x0c", "CtrlZ": "\x1a"}


def answer(data, out):
    """Plays a sixel terminal: replies to the questions found in `data`."""
    for m in re.finditer(rb"\x1b\[(>q|\?1;1;0S|16t|c|5n)|\x1b\]11;\?", data):
        what = m.group(1)
        reply = {b">q": b"\x1bP>|Test(1)\x1b\\", b"?1;1;0S": b"\x1b[?1;0;256S", b"16t": b"\x1b[6;20;10t",
                 b"c": b"\x1b[?62;4c", b"5n": b"\x1b[0n", None: b"\x1b]11;rgb:0000/0000/0000\x1b\\"}[what]
        os.write(out, reply)


def main():
    args, size, record, answers = sys.argv[1:], None, None, None
    while args[0].startswith("-"):
        flag, value = args[0], args[1]
        args = args[2:]
        if flag == "-s":
            size = [int(v) for v in value.split("x")]
        elif flag == "-o":
            record = value
        elif flag == "-a":
            answers = value
    keys = [k for k in args[0].split(",") if k]
    command = args[args.index("--") + 1:]
    shown = os.isatty(1)
    pid, master = pty.fork()
    if pid == 0:
        time.sleep(0.1)
        os.execvp(command[0], command)
    if shown:
        window = fcntl.ioctl(1, termios.TIOCGWINSZ, b"\0" * 8)
        tty.setraw(0)
    else:
        rows, cols = size or [24, 80]
        window = struct.pack("HHHH", rows, cols, cols * 10, rows * 20)
    fcntl.ioctl(master, termios.TIOCSWINSZ, window)
    out = open(record, "wb") if record else None
    total, due = 0, time.time() + 0.8
    while True:
        ready, _, _ = select.select([master] + ([0] if shown else []), [], [], 0.02)
        if master in ready:
            try:
                data = os.read(master, 65536)
            except OSError:
                break
            if not data:
                break
            total += len(data)
            if out:
                out.write(data)
                out.flush()
            if shown:
                os.write(1, data)
            elif answers == "sixel":
                answer(data, master)
        if shown and 0 in ready:
            os.write(master, os.read(0, 4096))
        if keys and time.time() >= due:
            k = keys.pop(0)
            if k.startswith("mark:"):
                with open(record + "." + k[5:], "w") as f:
                    f.write("%d" % total)
            elif re.fullmatch(r"\d+\.\d+", k):
                due = time.time() + float(k)
                continue
            else:
                os.write(master, NAMES.get(k, k).encode())
            due = time.time() + 0.15
        elif not keys and not shown and time.time() > due + 30:
            os.kill(pid, 9)  # a program that does not end by itself fails its test
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main() & 0xff)
