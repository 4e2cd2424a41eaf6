#!/usr/bin/python3
"""One training step under NLS, BiDO and MID with PyTorch alone, compared with what tool_defense_parity computed.

    defense_reference.py FILE.safetensors

Prints TAP.  The network (convolution, BatchNorm, ReLU and pool per stage, a linear embedding, BatchNorm1d, a linear
head) and the losses are written out here from their formulas; HSIC in its one-sided form and with distances taken
pair by pair, which is not how the program computes it.  Weights, batch and noise come from the file.  Losses,
gradients and weights after the step must agree to 1e-4 of their norm, and every regulariser must matter.
"""
import json
import struct
import sys

import torch
import torch.nn.functional as F

TOLERANCE = 1e-4
TYPES = {"F32": torch.float32, "F64": torch.float64, "I64": torch.int64, "I32": torch.int32}
LR, MOMENTUM, DECAY = 0.05, 0.9, 1e-3


def read_safetensors(path):
    """A safetensors file: 8 bytes header length, JSON header, raw little-endian data."""
    raw = open(path, "rb").read()
    (n,) = struct.unpack("<Q", raw[:8])
    out = {}
    for name, info in json.loads(raw[8 : 8 + n]).items():
        if name == "__metadata__":
            continue
        lo, hi = info["data_offsets"]
        out[name] = torch.frombuffer(bytearray(raw[8 + n + lo : 8 + n + hi]), dtype=TYPES[info["dtype"]]).reshape(info["shape"])
    return out


def norm(w, name, x):
    mean, var = w[name + ".running_mean"], w[name + ".running_var"]  # both move in place
    return F.batch_norm(x, mean, var, w[name + ".weight"], w[name + ".bias"], True, 0.1, 1e-5)


def network(w, x):
    """Taps: three stages after their pool, and the feature."""
    h = F.max_pool2d(F.relu(norm(w, "stem.1", F.conv2d(x, w["stem.0.weight"], None, 2, 1))), 2)
    taps = []
    for s in (1, 2, 3):
        h = F.relu(norm(w, f"stage{s}.1", F.conv2d(h, w[f"stage{s}.0.weight"], None, 1, 1)))
        h = F.max_pool2d(h, 2)
        taps.append(h)
    f = F.linear(h.flatten(1), w["embed.weight"])
    if "bn.weight" in w:
        f = norm(w, "bn", f)
    return taps + [f]


def smoothed(logits, y, alpha):
    p = F.log_softmax(logits, 1)
    return ((1 - alpha) * -p.gather(1, y[:, None])[:, 0] + alpha * -p.mean(1)).mean()


def gauss(z, sigma=5.0):
    z = z.flatten(1).double()
    far = ((z[:, None] - z[None]) ** 2).sum(2)
    return torch.exp(-far / (2 * sigma**2 * z.shape[1]))


def hsic(ka, kb):
    m = len(ka)
    h = torch.eye(m, dtype=torch.float64) - 1.0 / m

    def r(k):
        kh = k @ h
        return kh @ torch.inverse(kh + 1e-5 * m * torch.eye(m, dtype=torch.float64))

    return torch.trace(r(ka) @ r(kb))


def coco(ka, kb, spectral):
    m = len(ka)
    h = torch.eye(m, dtype=torch.float64) - 1.0 / m
    a, b = h @ ka @ h, h @ kb @ h
    if spectral:  # a is constant here: the eigenvalues of L'bL, L L' = a, are those of ab
        value, vector = torch.linalg.eigh(a)
        root = vector * value.clamp(min=0).sqrt()
        size = torch.linalg.eigvalsh(root.t() @ b @ root)[-1]
    else:
        size = torch.linalg.norm(a @ b)
    return torch.sqrt(size + 1e-12) / m


def dependence(measure, lx, ly, x, y, taps):
    kx, ky = gauss(x), F.one_hot(y).double() @ F.one_hot(y).double().t()
    total = 0
    for z in taps:
        k = gauss(z)
        total = total + lx * measure(kx, k) - (ly * measure(ky, k) if ly else 0)
    return total


def loss_of(case, w, x, y, noise):
    taps = network(w, x)
    if case == "mid":
        h = F.linear(taps[3], w["st_layer.weight"], w["st_layer.bias"])
        mu, sigma = h.chunk(2, 1)
        sigma = F.softplus(sigma - 5)
        logits = F.linear(mu + sigma * noise, w["fc_layer.weight"], w["fc_layer.bias"])
        kl = 0.5 * (mu**2 + sigma**2 - 1 - 2 * torch.log(sigma)).sum(1).mean()
        return F.cross_entropy(logits, y) + 0.01 * kl
    logits = F.linear(taps[3], w["fc_layer.weight"], w["fc_layer.bias"])
    if case == "none":
        return F.cross_entropy(logits, y)
    if case == "nls":
        return smoothed(logits, y, -0.5)
    if case == "nls_hsic":
        return smoothed(logits, y, -0.05) + dependence(hsic, 3, 0.5, x, y, [taps[1], taps[3]])
    if case == "hsic":
        return F.cross_entropy(logits, y) + dependence(hsic, 3, 2, x, y, taps)
    ly = 200 if case == "coco" else 0
    measure = lambda a, b: coco(a, b, case == "spectral")
    return F.cross_entropy(logits, y) + dependence(measure, 300, ly, x, y, taps)


def off(got, want):
    return float(torch.linalg.norm(got.double() - want.double()) / (torch.linalg.norm(want.double()) + 1e-12))


def check(tensors, case, plain):
    w = {k[len(case) + 3 :]: v.clone() for k, v in tensors.items() if k.startswith(case + ".w.")}
    trainable = [k for k in w if "running" not in k]
    for k in trainable:
        w[k].requires_grad_()
    loss = loss_of(case, w, tensors["x"], tensors["y"], tensors["noise"])
    grads = dict(zip(trainable, torch.autograd.grad(loss, [w[k] for k in trainable])))
    worst = {"loss": abs(float(loss) - float(tensors[case + ".loss"])) / max(1, abs(float(loss)))}
    # A gradient that cancels to rounding (in front of a BatchNorm) is measured by the size of all together.
    size = torch.sqrt(sum((g.double() ** 2).sum() for g in grads.values())) / len(grads) ** 0.5
    ours = {k: tensors[f"{case}.grad.{k}"] for k in trainable}
    error = lambda k: float((ours[k].double() - grads[k].double()).norm() / max(grads[k].double().norm(), 1e-3 * size))
    worst["gradient"] = max(error(k) for k in trainable)
    after = {k: (v - LR * (grads[k] + DECAY * v) if k in grads else v).detach() for k, v in w.items()}
    worst["weights after"] = max(off(tensors[f"{case}.after.{k}"], v) for k, v in after.items())
    share = 0
    if plain is not None:
        same = [k for k in plain if k in grads and plain[k].shape == grads[k].shape]
        apart = sum(((grads[k] - plain[k]) ** 2).sum() for k in same)
        share = float(torch.sqrt(apart / sum((plain[k] ** 2).sum() for k in same)))
    good = max(worst.values()) < TOLERANCE and (plain is None or share > 0.05)
    print(f"{'ok' if good else 'not ok'} {case} step equals PyTorch")
    print("#  " + ", ".join(f"{k} {v:.1e}" for k, v in worst.items()) + f"; gradient differs from plain by {share:.2f}")
    return good, grads


def main():
    torch.set_num_threads(2)
    tensors = read_safetensors(sys.argv[1])
    good, plain = check(tensors, "none", None)
    for case in ("nls", "hsic", "coco", "spectral", "mid", "nls_hsic"):
        good = check(tensors, case, plain)[0] and good
    sys.exit(0 if good else 1)


main()
