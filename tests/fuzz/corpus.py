"""corpus.py DIR - small seeds for every fuzz target, DIR/<target>/*; plain Python, nothing else needed."""
import io
import os
import pickle
import struct
import sys
import types
import zipfile
import zlib
from collections import OrderedDict


def torch_names():
    """Names of PyTorch for the pickler to refer to; what stands behind them is never called."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    for name in ("Float", "Long", "Half", "Char", "Bool"):
        cls = type(name + "Storage", (), {"__module__": "torch"})
        setattr(torch, name + "Storage", cls)

    def _rebuild_tensor_v2(*args):
        raise NotImplementedError

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    sys.modules.update({"torch": torch, "torch._utils": utils})
    return torch, utils


torch, utils = torch_names()


class Storage:
    def __init__(self, kind, key, count):
        self.kind, self.key, self.count = kind, key, count


class Tensor:
    def __init__(self, kind="Float", key="0", count=16, shape=(4, 4), stride=(4, 1), offset=0):
        self.args = (Storage(kind, key, count), offset, shape, stride, False, OrderedDict())

    def __reduce__(self):
        return utils._rebuild_tensor_v2, self.args


class Pickler(pickle._Pickler):
    legacy = False

    def persistent_id(self, obj):
        if not isinstance(obj, Storage):
            return None
        out = ("storage", getattr(torch, obj.kind + "Storage"), obj.key, "cuda:0", obj.count)
        return out + (None,) if self.legacy else out


def pickled(obj, protocol=2, legacy=False):
    out = io.BytesIO()
    p = Pickler(out, protocol)
    p.legacy = legacy
    p.dump(obj)
    return out.getvalue()


def states():
    state = OrderedDict([("conv.weight", Tensor()), ("conv.bias", Tensor(shape=(3,), stride=(5,), offset=1)),
                         ("steps", Tensor("Long", "1", 8, (), ())), ("none", Tensor("Half", "2", 32, (0, 3), (3, 1)))])
    wrapped = OrderedDict(("module.model._orig_mod." + k, v) for k, v in state.items())
    yield state
    yield {"state_dict": wrapped, "epoch": 3, "acc": 0.5, "big": 1 << 70, "neg": -300, "config": {"a": [1, None, True]},
           "optimizer": {"state": {0: {"step": Tensor("Char", "3", 64)}}, "param_groups": [{"lr": 0.1}]}}
    yield dict(state)


def zipped(pkl, crc=False):
    raw = struct.pack("<16f", *range(16))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as z:
        z.writestr("a/data.pkl", pkl)
        for i in range(4):
            z.writestr(f"a/data/{i}", raw)
        z.writestr("a/version", b"3\n")
    data = bytearray(out.getvalue())
    at = data.find(b"PK\1\2")
    while not crc and at >= 0:
        data[at + 16:at + 20] = b"\0\0\0\0"
        at = data.find(b"PK\1\2", at + 4)
    return bytes(data)


def png():
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    for depth, colour, row in ((8, 2, 9), (8, 0, 3), (8, 6, 12), (1, 0, 1), (16, 2, 18)):
        head = struct.pack(">IIBBBBB", 3, 3, depth, colour, 0, 0, 0)
        rows = b"".join(b"\0" + bytes(range(row)) for _ in range(3))
        yield b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def jpeg():
    """An 8x8 grey square: one quantisation table of ones, one code each for DC and AC, an empty block."""
    def part(kind, body):
        return b"\xff" + bytes([kind]) + struct.pack(">H", len(body) + 2) + body

    tables = part(0xdb, b"\0" + b"\1" * 64) + part(0xc4, b"\0" + b"\1" + b"\0" * 15 + b"\0") + \
        part(0xc4, b"\x10" + b"\1" + b"\0" * 15 + b"\0")
    return b"\xff\xd8" + tables + part(0xc0, b"\x08\0\x08\0\x08\1\1\x11\0") + part(0xda, b"\1\1\0\0\x3f\0") + b"\x3f\xff\xd9"


JOURNAL = b"""{"t":"run","v":1,"at":1,"id":"1","name":"x","cells":[{"id":"a","model":"m","defense":"none","attack":"gmi"}],"stages":[{"id":"s","kind":"target","title":"T","cells":["a"]}]}
{"t":"stage","v":1,"at":2,"stage":"s","kind":"target","state":"start","fingerprint":"f","title":"T"}
{"t":"progress","v":1,"at":3,"stage":"s","phase":"train","done":1,"total":9,"unit":"steps","rate":2.5,"eta":3}
{"t":"scalars","v":1,"at":3,"stage":"s","step":1,"x":0.5,"values":{"loss/train":1.2}}
{"t":"rewind","v":1,"at":3,"stage":"s","step":0}
{"t":"atlas","v":1,"at":4,"name":"r","kind":"recon","cell":"a","file":"p.png","tile":8,"cols":2,"rows":1,"labels":[1,2],"step":1,"final":true}
{"t":"recon","v":1,"at":4,"cell":"a","row":0,"col":1,"label":1,"judge":2,"confidence":0.5,"hit":false,"distance":1.5}
{"t":"score","v":1,"at":5,"cell":"a","attacc":0.5,"acc":90}
{"t":"load","v":1,"at":5,"cpu":50,"rss_mb":100}
{"t":"log","v":1,"at":5,"level":"warn","text":"hi"}
{"t":"state","v":1,"at":6,"state":"done"}
"""
INI = b"[run]\nname = x ; note\nseed=1\n# all\n[attack.gmi]\niterations = 25\nlabel = \"a;b\"\n"


def seeds():
    for n, state in enumerate(states()):
        for protocol in (2, 4):
            yield "pickle", pickled(state, protocol)
        yield "checkpoint", zipped(pickled(state), n == 0)
    old = OrderedDict([("w", Tensor(key="0")), ("v", Tensor(key="1", shape=(2,), stride=(3,)))])
    legacy = b"\x80\x02M\xe9\x03." + pickled({"protocol_version": 1001, "little_endian": True}) + \
        pickled({"state_dict": old}, legacy=True) + pickled(["0", "1"]) + (struct.pack("<Q", 16) + bytes(64)) * 2
    yield "legacy", legacy
    yield "checkpoint", bytes.fromhex("80028a0a6cfc9c46f9206aa850192e") + legacy
    header = b'{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2,2,3],"data_offsets":[0,48]},' \
             b'"b":{"dtype":"I64","shape":[],"data_offsets":[48,56]},"c":{"dtype":"BOOL","shape":[8],"data_offsets":[56,64]}}'
    yield "safetensors", header
    yield "checkpoint", struct.pack("<Q", len(header)) + header + bytes(64)
    for image in (*png(), jpeg()):
        yield "image", image
    yield "journal", JOURNAL
    yield "ini", INI


def main():
    for i, (target, data) in enumerate(seeds()):
        folder = os.path.join(sys.argv[1], target)
        os.makedirs(folder, exist_ok=True)
        with open(os.path.join(folder, f"seed{i:02}"), "wb") as f:
            f.write(data)


main()
