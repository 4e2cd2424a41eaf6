"""Checkpoints as PyTorch writes them, beside what midre's readers make of them (see checkpoints.sh).

    checkpoints.py probe                     exit 0 when torch can be imported
    checkpoints.py corpus DIR                small files of every layout, for mutations
    checkpoints.py check DIR TOOL ENGINE     TAP lines; TOOL is tool_archive, ENGINE midre-engine
"""
import argparse
import collections
import io
import json
import os
import pickle
import subprocess
import sys
import zipfile
import zlib

import torch

TYPES = {torch.float32: "F32", torch.float64: "F64", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
         torch.int32: "I32", torch.int16: "I32", torch.int8: "I32", torch.uint8: "U8", torch.bool: "BOOL"}


def network():
    torch.manual_seed(7)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Flatten(),
                               torch.nn.Linear(16, 5))


def prefixed(prefix, state):
    return collections.OrderedDict((prefix + k, v) for k, v in state.items())


def cast(state, dtype):
    return collections.OrderedDict((k, v.to(dtype) if v.is_floating_point() else v) for k, v in state.items())


def objects():
    """name -> (what is saved, the state dict a reader should find in it, metadata it should find)"""
    net = network()
    state = net.state_dict()
    adam = torch.optim.Adam(net.parameters())
    net(torch.randn(2, 3, 4, 4)).sum().backward()
    adam.step()
    grid = torch.arange(24.0).reshape(4, 6)
    views = {"turned": grid.t(), "slice": grid[1:3, ::2], "whole": grid, "row": grid[2], "wide": torch.ones(1).expand(3, 4)}
    types = {str(d).split(".")[1]: torch.arange(0, 5).to(d) for d in TYPES}
    types.update(negative=torch.tensor([-3, 4], dtype=torch.int8), short=torch.tensor([-300, 7], dtype=torch.int16),
                 scalar=torch.tensor(2.5), empty=torch.zeros(0, 3))
    many = {f"w{i}": torch.full((2,), float(i)) for i in range(2301)}
    config = {"num_classes": 5, "lr": 0.1, "arch": "vgg16", "done": True, "args": argparse.Namespace(seed=3)}
    return {
        "bare": (state, state, {}),
        "plain": (dict(state), state, {}),
        "kedmi": ({"state_dict": prefixed("module.", state)}, state, {}),
        "ppa": ({"epoch": 3, "model_state_dict": prefixed("model._orig_mod.", state),
                 "optimizer_state_dict": adam.state_dict()}, state, {"epoch": "3"}),
        "mibench": ({"state_dict": state, "config": config, "model_name": "vgg"}, state,
                    {"model_name": "vgg", "config.num_classes": "5", "config.lr": "0.1", "config.arch": "vgg16",
                     "config.done": "true", "config.args.seed": "3"}),
        "inner": ({"net": prefixed("module.model._orig_mod.", state), "optim": adam.state_dict()}, state, {}),
        "ema": ({"model_ema": {k: v + 1 for k, v in state.items()}, "model": state}, state, {}),
        "half": (cast(state, torch.float16), cast(state, torch.float16), {}),
        "bf16": (cast(state, torch.bfloat16), cast(state, torch.bfloat16), {}),
        "double": (cast(state, torch.float64), cast(state, torch.float64), {}),
        "views": (views, views, {}),
        "types": (types, types, {}),
        "many": (many, many, {}),
        "parameters": ({"w": torch.nn.Parameter(grid), "n": torch.ones(2)},) * 2 + ({},),
        "one": ({"w": grid},) * 2 + ({},),
    }


def values(tensor):
    t = tensor.detach().contiguous()
    if t.dtype in (torch.int8, torch.int16):
        t = t.to(torch.int32)
    t = t.clone() if t.dim() else t.reshape(1).clone()
    if t.dtype == torch.bfloat16:
        t = t.view(torch.int16)
    return t.numpy().tobytes()


def described(state):
    return {k: [TYPES[v.dtype], list(v.shape), zlib.crc32(values(v))] for k, v in state.items()}


def save_all(folder):
    made = {}
    for name, (saved, state, meta) in objects().items():
        for form, new in ((".pth", True), (".old.pth", False)):
            path = os.path.join(folder, name + form)
            torch.save(saved, path, _use_new_zipfile_serialization=new)
            made[path] = (state, meta)
    return made


def retagged(path, out):
    """The file as a GPU would have written it: every storage's location is cuda:0."""
    with open(path, "rb") as f:
        data = f.read()
    old, new = b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0"
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as z, zipfile.ZipFile(out, "w") as w:
            for name in z.namelist():
                w.writestr(name, z.read(name).replace(old, new))
    else:
        with open(out, "wb") as f:
            f.write(data.replace(old, new))
    with open(out, "rb") as f:
        assert b"cuda:0" in f.read()


class Harness:
    def __init__(self, tool):
        self.tool, self.n = tool, 0

    def ok(self, good, name, why=""):
        self.n += 1
        print(f"{'ok' if good else 'not ok'} {self.n} - {name}", flush=True)
        if not good:
            print(f"# {why}", flush=True)

    def read(self, paths):
        lines = subprocess.run([self.tool, *paths], capture_output=True, check=True, timeout=120).stdout
        return [json.loads(x) for x in lines.decode().splitlines()]

    def refuses(self, files, folder, name, parts):
        """files: bytes of each; all must be refused with code 3 and the file's name; parts[i]: words of the message."""
        paths = []
        for i, data in enumerate(files):
            paths.append(os.path.join(folder, f"bad{i}.pth"))
            with open(paths[-1], "wb") as f:
                f.write(data)
        wrong = []
        for i, got in enumerate(self.read(paths)):
            text = got.get("refused", "accepted")
            if got.get("code") != 3 or "bad%d.pth" % i not in text or (parts and parts[i] not in text):
                wrong.append(f"{i}: {text}")
        self.ok(len(wrong) == 0, name, "; ".join(wrong[:5]))
        for p in paths:
            os.unlink(p)


def check_reading(h, folder):
    made = save_all(folder)
    for form in (".pth", ".old.pth"):
        for base in ("kedmi", "ppa"):
            path = os.path.join(folder, "gpu-" + base + form)
            retagged(os.path.join(folder, base + form), path)
            made[path] = made[os.path.join(folder, base + form)]
    for path, got in zip(made, h.read(list(made))):
        state, meta = made[path]
        name = os.path.basename(path)
        want = described(state)
        if "refused" in got:
            h.ok(False, "read " + name, got["refused"])
            continue
        bad = [k for k in set(want) | set(got["tensors"]) if want.get(k) != got["tensors"].get(k)]
        bad += [k for k in meta if got["meta"].get(k) != meta[k]]
        h.ok(not bad, f"read {name}: {len(want)} tensors equal", f"{bad[:5]} {got['meta']}")
    return made


def check_writing(h, folder, engine, made):
    for name in ("bare", "views", "types", "ppa", "many"):
        out = os.path.join(folder, "out.pth")
        subprocess.run([engine, "convert", os.path.join(folder, name + ".old.pth"), out], check=True, capture_output=True)
        for safe in (False, True):
            try:
                back = torch.load(out, weights_only=safe)
            except TypeError:  # an old PyTorch
                back = torch.load(out)
            want = made[os.path.join(folder, name + ".old.pth")][0]
            good = list(back) == list(want) and isinstance(back, collections.OrderedDict)
            good = good and all(torch.equal(back[k].double(), want[k].double()) for k in want)
            h.ok(good, f"PyTorch reads {name} as we write it, weights_only={safe}")
    half = os.path.join(folder, "half.pt")
    subprocess.run([engine, "convert", os.path.join(folder, "kedmi.pth"), half, "--half", "--strip", "3."], check=True,
                   capture_output=True)
    state = made[os.path.join(folder, "kedmi.pth")][0]
    want = cast(state, torch.float16)
    back = torch.load(half)
    good = {k.replace("3.", ""): v for k, v in want.items()}
    h.ok(set(back) == set(good) and all(torch.equal(back[k], good[k]) for k in good), "--half and --strip")
    net = network()
    tensors = os.path.join(folder, "t.safetensors")
    subprocess.run([engine, "convert", os.path.join(folder, "bare.pth"), tensors], check=True, capture_output=True)
    subprocess.run([engine, "convert", tensors, half], check=True, capture_output=True)
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
    net.load_state_dict(torch.load(half), strict=True)
    same = all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), state.values()))
    h.ok(same, "through safetensors and back, load_state_dict(strict=True)")


class Evil:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def saved(obj, new=True):
    b = io.BytesIO()
    torch.save(obj, b, _use_new_zipfile_serialization=new)
    return b.getvalue()


def rezipped(data, change=lambda name, body: body, compress=zipfile.ZIP_STORED, more=()):
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as z, zipfile.ZipFile(out, "w", compress) as w:
        for name in z.namelist():
            w.writestr(name, change(name, z.read(name)))
        for name, body in more:
            w.writestr(name, body)
    return out.getvalue()


def check_hostile(h, folder, engine):
    state = network().state_dict()
    for new in (True, False):
        whole = saved({"state_dict": state, "epoch": 1}, new)
        h.refuses([whole[:len(whole) * i // 64] for i in range(64)], folder,
                  f"cut at every 1/64 ({'zip' if new else 'legacy'})", None)
    zip_file, old = saved(state), saved(state, False)
    mark = os.path.join(folder, "executed")
    h.refuses([saved(Evil("touch " + mark)), saved(Evil("touch " + mark), False)], folder,
              "a pickle that would call os.system", ["nothing of it is executed"] * 2)
    harmless = [saved({"w": torch.ones(2), "x": Evil("touch " + mark)}, new) for new in (True, False)]
    paths = []
    for i, data in enumerate(harmless):
        paths.append(os.path.join(folder, f"evil{i}.pth"))
        with open(paths[-1], "wb") as f:
            f.write(data)
    h.ok(all(list(g.get("tensors", {})) == ["w"] for g in h.read(paths)), "one beside the weights is left alone")
    h.ok(not os.path.exists(mark), "and nothing was executed")
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("archive/data.pkl", b"\0" * (64 << 20))
        z.writestr("archive/version", b"3\n")
    tower = []
    for _ in range(200):
        tower = [tower]
    cycle = []
    cycle.append(cycle)
    pkl = lambda new: (lambda name, body: new if name.endswith("data.pkl") else body)
    count = lambda name, body: body.replace(b"K\x10tq", b"Jzzz\x7ftq") if name.endswith("data.pkl") else body
    h.refuses([bomb.getvalue(), rezipped(zip_file, compress=zipfile.ZIP_DEFLATED), saved({"a": tower}),
               saved({"loop": cycle}), rezipped(zip_file, pkl(b"\x80\x02.")), rezipped(zip_file, pkl(b"")),
               rezipped(zip_file, more=[("archive/byteorder", b"big")]), rezipped(zip_file, lambda n, b: b[:-1] if "/data/" in n else b),
               rezipped(saved({"w": torch.zeros(16)}), count), old + b"x", old.replace(b"FloatStorage", b"WeirdStorage"),
               saved({"a": 1}), saved(torch.ones(3)), saved(network()),
               saved({"q": torch.quantize_per_tensor(torch.ones(4), 0.1, 0, torch.qint8), "w": torch.ones(1)})],
              folder, "bombs, towers, cycles, lies, leftovers, other things",
              ["compressed", "compressed", "nested", "holds no dictionary", "byte", "byte", "byteorder", "tensor '0.weight'",
               "storage claims more", "bytes at the end", "element type", "no dictionary", "without a name",
               "pickled object", "tensor 'q'"])
    bad = os.path.join(folder, "bad.pth")
    with open(bad, "wb") as f:
        f.write(rezipped(zip_file, lambda n, b: b[:-1] if "/data/" in n else b))
    out = os.path.join(folder, "never.pth")
    r = subprocess.run([engine, "convert", bad, out], capture_output=True, text=True)
    h.ok(r.returncode == 3 and "0.weight" in r.stderr and not os.path.exists(out), "convert: exit code 3, nothing written",
         r.stderr)


def main():
    if sys.argv[1] == "probe":
        return
    if sys.argv[1] == "corpus":
        for path in save_all(sys.argv[2]):
            if os.path.getsize(path) > 100000:
                os.unlink(path)
        return
    folder, tool, engine = sys.argv[2:5]
    h = Harness(tool)
    made = check_reading(h, folder)
    check_writing(h, folder, engine, made)
    check_hostile(h, folder, engine)
    print(f"1..{h.n}")


main()
