#!/usr/bin/env python3
"""Writes a run folder for terminal tests: a journal and picture sheets with known, invented content.

Usage: fixture.py WORKSPACE RUN [running|done|fresh|huge]

Test data only: the numbers are formulas, the "faces" are coloured ovals, so that tests can say exactly what a screen
must show.  Uses the standard library alone.  "running" leaves the run in the middle of an attack; nobody holds its
lock, so screens call it DIED unless the test holds the lock itself.
"""
import json
import math
import os
import struct
import sys
import time
import zlib

TILE, PEOPLE, TRIES = 64, 20, 5
CELLS = [("quick/none/gmi", "none"), ("quick/midre/gmi", "midre")]


def png(path, width, height, pixel):
    rows = bytearray()
    for y in range(height):
        rows.append(0)
        for x in range(width):
            rows += bytes(pixel(x, y))
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) +
                chunk(b"IDAT", zlib.compress(bytes(rows), 1)) + chunk(b"IEND", b""))


def face(person, blur):
    """A coloured oval with eyes; `blur` in 0..1 fades it towards grey."""
    skin = (200 - 7 * person % 90, 150 - 11 * person % 80, 110 + 13 * person % 60)
    def pixel(x, y):
        u, v = (x - 32) / 20, (y - 34) / 26
        inside = u * u + v * v < 1
        c = skin if inside else (40 + 9 * person % 120, 60, 120)
        if inside and abs(abs(u) - 0.4) < 0.13 and abs(v + 0.2) < 0.1:
            c = (20, 20, 30)
        if inside and abs(v - 0.5) < 0.07 and abs(u) < 0.4:
            c = (150, 40, 40)
        return [int(k * (1 - blur) + 128 * blur) for k in c]
    return pixel


def sheet(path, cols, rows, blur):
    faces = [[face(r, blur(r, c)) for c in range(cols)] for r in range(rows)]
    png(path, cols * TILE, rows * TILE, lambda x, y: faces[y // TILE][x // TILE](x % TILE, y % TILE))


def main():
    workspace, run, kind = sys.argv[1], int(sys.argv[2]), (sys.argv[3:] or ["done"])[0]
    folder = os.path.join(workspace, "runs", "%04d" % run)
    os.makedirs(os.path.join(folder, "pictures"), exist_ok=True)
    with open(os.path.join(folder, "spec.ini"), "w") as f:
        f.write("[run]\nname = fixture\n")
    events, start = [], 1700000000.0

    def put(t, **more):
        events.append(dict(v=1, at=start + len(events) * 0.5, t=t, **more))

    stages = [("data", "data", "synthfaces 64"), ("target-none", "target", "target quick, no defense"),
              ("target-midre", "target", "target quick, midre"), ("judge", "judge", "judge quickres"),
              ("prior", "prior", "prior gmi"), ("attack-none", "attack", "gmi on quick, no defense"),
              ("attack-midre", "attack", "gmi on quick, midre"), ("score-none", "score", "score no defense"),
              ("score-midre", "score", "score midre")]
    put("run", id="fixture", name="fixture", pid=1, version="0.1.0", torch="1.13.1", device="cpu", threads=2,
        precision="fp32", seed=0, synthetic=True,
        cells=[dict(id=c, model="quick", defense=d, attack="gmi") for c, d in CELLS],
        stages=[dict(id=i, kind=k, title=t, cells=[]) for i, k, t in stages])
    put("state", state="running")
    epochs = 400 if kind == "huge" else 30
    for i, k, t in stages[:5]:
        put("stage", stage=i, kind=k, state="start", fingerprint="0" * 64, title=t)
        if k == "data":
            put("stage", stage=i, kind=k, state="cached", fingerprint="0" * 64, title=t)
            continue
        for e in range(1, epochs + 1):
            x = e / epochs
            values = {"loss/train": 3.2 * math.exp(-3 * x) + 0.05, "loss/test": 3.2 * math.exp(-2.5 * x) + 0.3,
                      "acc/train": 100 * (1 - math.exp(-4 * x)), "acc/test": 95 * (1 - math.exp(-3.5 * x)),
                      "lr": 0.01 * (1 - x)}
            if k == "prior":
                values = {"loss/generator": 2 + math.sin(9 * x), "loss/critic": -3 + math.cos(7 * x)}
            put("scalars", stage=i, step=e * 10, x=e, values=values)
            put("progress", stage=i, phase="epoch", done=e, total=epochs, unit="epochs", rate=2.5, eta=(epochs - e) / 2.5,
                epoch=e, epochs=epochs)
            put("load", cpu=50 + 40 * math.sin(e / 3), rss_mb=812)
        put("stage", stage=i, kind=k, state="done", fingerprint="0" * 64, title=t, seconds=12.5)
        put("log", level="info", text="%s done" % t)
    sheet(os.path.join(folder, "pictures", "photo.png"), 3, PEOPLE, lambda r, c: 0)
    put("atlas", name="photo", kind="photo", stage="data", file="pictures/photo.png", tile=TILE, cols=3, rows=PEOPLE,
        labels=list(range(PEOPLE)), step=0, final=True)
    sheet(os.path.join(folder, "pictures", "prior.png"), 8, 4, lambda r, c: 0.2)
    put("atlas", name="prior", kind="samples", stage="prior", file="pictures/prior.png", tile=TILE, cols=8, rows=4,
        step=600, final=True)
    put("log", level="warn", text="kernel note shown once \x1b[31mnot red\x1b[0m")
    if kind != "fresh":
        for n, (cell, defense) in enumerate(CELLS):
            stage = "attack-" + defense
            file = "pictures/recon-%s.png" % defense
            sheet(os.path.join(folder, file), TRIES, PEOPLE, lambda r, c: 0.1 + 0.05 * c if n == 0 else 0.7 + 0.04 * c)
            put("stage", stage=stage, kind="attack", state="start", fingerprint="1" * 64, title="gmi, " + defense)
            put("progress", stage=stage, phase="invert", done=240, total=600, unit="steps", rate=31, eta=11)
            put("atlas", name="recon " + cell, kind="recon", cell=cell, stage=stage, file=file, tile=TILE, cols=TRIES,
                rows=PEOPLE, labels=list(range(PEOPLE)), step=600, final=kind == "done")
            for s in range(1, 60):
                put("scalars", stage=stage, step=s * 10, x=s * 10, values={"loss/identity": 8 / s, "loss/prior": 1 / s,
                                                                           "acc/target": 100 * (1 - 1 / s)})
            if kind == "running" and n == 1:
                break
            put("stage", stage=stage, kind="attack", state="done", fingerprint="1" * 64, title="gmi, " + defense, seconds=20)
            hits = 0
            for r in range(PEOPLE):
                for c in range(TRIES):
                    hit = (r + c) % 4 != 0 if n == 0 else (r + c) % 9 == 0
                    hits += hit
                    put("recon", cell=cell, row=r, col=c, label=r, judge=r if hit else (r + 3) % PEOPLE,
                        confidence=0.97 if hit else 0.22, hit=hit, distance=0.61 if hit else 1.04)
            score = "score-" + defense
            put("stage", stage=score, kind="score", state="start", fingerprint="2" * 64, title="score " + defense)
            put("score", stage=score, cell=cell, model="quick", defense=defense, attack="gmi", data="synthfaces", judge="quickres",
                acc=91.85 if n == 0 else 89.5, attacc=100.0 * hits / (PEOPLE * TRIES), attacc_std=1.5, knn=1200 + 300 * n,
                judge_acc=95.0, synthetic=True, seed=0, identities=PEOPLE, images=PEOPLE * TRIES, resolution=64,
                precision="fp32", device="cpu")
            put("stage", stage=score, kind="score", state="done", fingerprint="2" * 64, title="score " + defense, seconds=1)
    if kind == "done":
        put("state", state="done")
    with open(os.path.join(folder, "journal.jsonl"), "w") as f:
        for e in events:
            f.write(json.dumps(e) + "\n")
        f.write('{"v":1,"t":"log","level":"info","te')  # a torn last line, as a crash leaves it
    return 0


if __name__ == "__main__":
    sys.exit(main())
