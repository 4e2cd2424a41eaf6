#!/usr/bin/python3
"""GMI's losses and inversion steps with PyTorch alone, compared with what tool_gmi_parity computed.

    gmi_reference.py FILE.safetensors

Prints TAP.  The networks are written out here from their published description (5x5 transposed convolutions and
batch norm; 5x5 convolutions and instance norm; VGG16-BN with a BatchNorm1d in front of its linear layer); weights,
inputs and results come from the file.  Numbers must agree to 1e-4 of their norm.
"""
import json
import struct
import sys

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


def part(tensors, prefix, grad):
    """The tensors under a prefix, prefix removed; real ones may ask for a gradient."""
    own = {k[len(prefix) :]: v.clone() for k, v in tensors.items() if k.startswith(prefix)}
    for name, t in own.items():
        if grad and t.is_floating_point() and "running" not in name:
            t.requires_grad_()
    return own


def batch_norm(x, w, name, train=False):
    mean, var = w[name + ".running_mean"], w[name + ".running_var"]
    return F.batch_norm(x, mean, var, w[name + ".weight"], w[name + ".bias"], train, 0.1, 1e-5)


def generator(w, z, train):
    x = F.relu(batch_norm(F.linear(z, w["l1.0.weight"]), w, "l1.1", train))
    x = x.view(len(z), -1, 4, 4)
    i = 0
    while f"l2_5.{i}.0.weight" in w:
        x = F.conv_transpose2d(x, w[f"l2_5.{i}.0.weight"], None, 2, 2, 1)
        x = F.relu(batch_norm(x, w, f"l2_5.{i}.1", train))
        i += 1
    return torch.sigmoid(F.conv_transpose2d(x, w[f"l2_5.{i}.weight"], w[f"l2_5.{i}.bias"], 2, 2, 1))


def critic(w, x):
    x = F.leaky_relu(F.conv2d(x, w["ls.0.weight"], w["ls.0.bias"], 2, 2), 0.2)
    i = 2
    while f"ls.{i}.0.weight" in w:
        x = F.conv2d(x, w[f"ls.{i}.0.weight"], w[f"ls.{i}.0.bias"], 2, 2)
        x = F.instance_norm(x, weight=w[f"ls.{i}.1.weight"], bias=w[f"ls.{i}.1.bias"], eps=1e-5)
        x = F.leaky_relu(x, 0.2)
        i += 1
    return F.conv2d(x, w[f"ls.{i}.weight"], w[f"ls.{i}.bias"]).view(-1)


def vgg16(w, x):
    for i in range(0, 44):
        if i in (6, 13, 23, 33, 43):
            x = F.max_pool2d(x, 2)
        elif f"feature.{i}.running_mean" in w:
            x = F.relu(batch_norm(x, w, f"feature.{i}"))
        elif f"feature.{i}.weight" in w:
            x = F.conv2d(x, w[f"feature.{i}.weight"], w[f"feature.{i}.bias"], 1, 1)
    x = batch_norm(x.flatten(1), w, "bn")
    return F.linear(x, w["fc_layer.weight"], w["fc_layer.bias"])


count = failed = 0


def check(name, got, want):
    global count, failed
    count += 1
    got, want = got.detach().double(), want.double()
    error = ((got - want).norm() / (want.norm() + 1e-30)).item()
    ok = got.shape == want.shape and error < TOLERANCE
    failed += not ok
    print(f"{'ok' if ok else 'not ok'} {count} - {name} (relative difference {error:.1e})")


def check_images(name, got, want):
    """Rows are images: a quarter of them must agree, and none be far off."""
    global count, failed
    count += 1
    error = (got - want.double()).norm(dim=1) / want.double().norm(dim=1)
    best, worst = error.quantile(0.25).item(), error.max().item()
    ok = got.shape == want.shape and best < TOLERANCE and worst < 0.2
    failed += not ok
    print(f"{'ok' if ok else 'not ok'} {count} - {name} (relative difference {best:.1e}, worst image {worst:.1e})")


def check_zero(name, got):
    global count, failed
    count += 1
    ok = got.abs().max().item() < 1e-4
    failed += not ok
    print(f"{'ok' if ok else 'not ok'} {count} - {name} is zero ({got.abs().max().item():.1e})")


def main():
    torch.set_num_threads(1)
    file = read_safetensors(sys.argv[1])
    g, d, t = part(file, "G.", True), part(file, "D.", True), part(file, "T.", False)

    real, fake, mix, z = file["real"], file["fake"], file["mix"], file["z"]
    h = (real + mix * (fake - real)).requires_grad_()
    (slope,) = torch.autograd.grad(critic(d, h).sum(), h, create_graph=True)
    penalty = ((slope.flatten(1).norm(2, 1) - 1) ** 2).mean()
    loss = critic(d, fake).mean() - critic(d, real).mean() + 10 * penalty
    loss.backward()
    check("gradient penalty", penalty, file["critic.penalty"])
    check("critic loss", loss, file["critic.loss"])
    for name, weight in d.items():
        # A shift in front of an instance norm, or of the score itself, cancels: rounding noise around zero.
        idle = name.endswith(".0.bias") and name != "ls.0.bias" or name == "ls.5.bias"
        if idle:
            check_zero(f"critic gradient of {name}", file["critic.grad." + name])
        else:
            check(f"critic gradient of {name}", weight.grad, file["critic.grad." + name])

    loss = -critic(d, generator(g, z, True)).mean()
    loss.backward()
    check("generator loss", loss, file["generator.loss"])
    for name, weight in g.items():
        if weight.requires_grad:
            check(f"generator gradient of {name}", weight.grad, file["generator.grad." + name])
    check("running variance after a generator step", g["l2_5.0.1.running_var"], file["generator.running_var"])

    # The latents walk on in float64 from the same start.  The gradient is compared at the file's own latents and image
    # by image: a ReLU network's gradient jumps where a rounding error crosses a kink (PyTorch's own float32 differs
    # from its float64 by 1e-2 on such an image), so the best quarter counts, and all must be near.
    zi, v, y = file["invert.z0"].double(), torch.zeros_like(file["invert.z0"]).double(), file["invert.y"]
    g, d, t = [{k: x.detach().double() if x.is_floating_point() else x for k, x in w.items()} for w in (g, d, t)]

    def slope_at(latents):
        leaf = latents.clone().requires_grad_()
        image = generator(g, leaf, False)
        loss = (100 * F.cross_entropy(vgg16(t, image), y, reduction="sum") - critic(d, image).sum()) / 60
        return loss, torch.autograd.grad(loss, leaf)[0]

    for step in (1, 2, 3):
        loss, slope = slope_at(file[f"invert.z{step - 1}"].double())
        check(f"inversion loss {step}", loss, file[f"invert.loss{step}"])
        check_images(f"inversion gradient {step}", slope, file[f"invert.grad{step}"])
        new = 0.9 * v - 0.02 * slope_at(zi)[1]
        zi = torch.clamp(zi - 0.9 * v + 1.9 * new, -1, 1)
        v = new
        check(f"latents after step {step}", zi, file[f"invert.z{step}"])
    print(f"1..{count}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
