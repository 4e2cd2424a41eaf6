"""What the low-resolution parity scripts share: reading safetensors, the generator, VGG16, TAP lines.

Written from the published descriptions of the networks; weights and inputs come from the file a parity tool wrote.
"""
import json
import struct

import torch
import torch.nn.functional as F

TOLERANCE = 1e-4
TYPES = {"F32": torch.float32, "F64": torch.float64, "I64": torch.int64, "I32": torch.int32}


def read_safetensors(path):
    """A safetensors file: 8 bytes header length, JSON header, raw little-endian data."""
    raw = open(path, "rb").read()
    (n,) = struct.unpack("<Q", raw[:8])
    out = {}
    for name, info in json.loads(raw[8 : 8 + n]).items():
        if name == "__metadata__":
            continue
        lo, hi = info["data_offsets"]
        data = bytearray(raw[8 + n + lo : 8 + n + hi])
        out[name] = torch.frombuffer(data, dtype=TYPES[info["dtype"]]).reshape(info["shape"])
    return out


def part(tensors, prefix, grad=False, double=False):
    """The tensors under a prefix, prefix removed; real ones may ask for a gradient or be widened."""
    own = {k[len(prefix) :]: v.clone() for k, v in tensors.items() if k.startswith(prefix)}
    for name, t in own.items():
        if double and t.is_floating_point():
            own[name] = t = t.double()
        if grad and t.is_floating_point() and "running" not in name:
            t.requires_grad_()
    return own


def batch_norm(x, w, name, train=False):
    mean, var = w[name + ".running_mean"], w[name + ".running_var"]
    return F.batch_norm(x, mean, var, w[name + ".weight"], w[name + ".bias"], train, 0.1, 1e-5)


def generator(w, z, train):
    """Linear to 4x4, then 5x5 transposed convolutions that double the side; BatchNorm and ReLU; sigmoid."""
    x = F.relu(batch_norm(F.linear(z, w["l1.0.weight"]), w, "l1.1", train))
    x = x.view(len(z), -1, 4, 4)
    i = 0
    while f"l2_5.{i}.0.weight" in w:
        x = F.conv_transpose2d(x, w[f"l2_5.{i}.0.weight"], None, 2, 2, 1)
        x = F.relu(batch_norm(x, w, f"l2_5.{i}.1", train))
        i += 1
    return torch.sigmoid(F.conv_transpose2d(x, w[f"l2_5.{i}.weight"], w[f"l2_5.{i}.bias"], 2, 2, 1))


def critic(w, x):
    """GMI's: 5x5 convolutions of stride 2, instance norm on all but the first, one number."""
    x = F.leaky_relu(F.conv2d(x, w["ls.0.weight"], w["ls.0.bias"], 2, 2), 0.2)
    i = 2
    while f"ls.{i}.0.weight" in w:
        x = F.conv2d(x, w[f"ls.{i}.0.weight"], w[f"ls.{i}.0.bias"], 2, 2)
        x = F.instance_norm(x, weight=w[f"ls.{i}.1.weight"], bias=w[f"ls.{i}.1.bias"], eps=1e-5)
        x = F.leaky_relu(x, 0.2)
        i += 1
    return F.conv2d(x, w[f"ls.{i}.weight"], w[f"ls.{i}.bias"]).view(-1)


def vgg16(w, x):
    """Features [N,2048] and logits."""
    for i in range(0, 44):
        if i in (6, 13, 23, 33, 43):
            x = F.max_pool2d(x, 2)
        elif f"feature.{i}.running_mean" in w:
            x = F.relu(batch_norm(x, w, f"feature.{i}"))
        elif f"feature.{i}.weight" in w:
            x = F.conv2d(x, w[f"feature.{i}.weight"], w[f"feature.{i}.bias"], 1, 1)
    f = batch_norm(x.flatten(1), w, "bn")
    return f, F.linear(f, w["fc_layer.weight"], w["fc_layer.bias"])


class Tap:
    """Counts and prints TAP lines."""

    def __init__(self):
        self.count = self.failed = 0
        self.worst = 0.0

    def line(self, ok, text):
        self.count += 1
        self.failed += not ok
        print(f"{'ok' if ok else 'not ok'} {self.count} - {text}")

    def check(self, name, got, want, limit=TOLERANCE):
        got, want = got.detach().double(), want.double()
        error = ((got - want).norm() / (want.norm() + 1e-30)).item() if got.shape == want.shape else float("inf")
        self.worst = max(self.worst, error)
        self.line(error < limit, f"{name} (relative difference {error:.1e})")

    def check_zero(self, name, got, limit=1e-4):
        most = got.abs().max().item()
        self.line(most < limit, f"{name} is zero ({most:.1e})")

    def check_images(self, name, got, want):
        """Rows are images: a ReLU network's gradient jumps where rounding crosses a kink (PyTorch's own float32 differs
        from its float64 by 1e-2 on such an image), so a quarter must agree closely and none be far off."""
        error = (got.detach().double() - want.double()).norm(dim=1) / want.double().norm(dim=1)
        best, worst = error.quantile(0.25).item(), error.max().item()
        ok = got.shape == want.shape and best < TOLERANCE and worst < 0.2
        self.line(ok, f"{name} (relative difference {best:.1e}, worst image {worst:.1e})")

    def end(self):
        print(f"# worst relative difference {self.worst:.1e}")
        print(f"1..{self.count}")
        return 1 if self.failed else 0
