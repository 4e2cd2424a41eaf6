#!/usr/bin/python3
"""PLG-MI's conditional GAN, its losses and one optimiser step of each network, its random views and the inversion with
PyTorch alone, compared with what tool_plg_parity computed.

    plg_reference.py FILE.safetensors        prints TAP

The networks and formulas are written out here from their published description, the discriminator from PyTorch's own
layers and spectral norm; views are cut, resized, mirrored and turned one image at a time as the publication's
augmentation library defines them.  Weights, inputs, parameters of views and results come from the file.  Numbers must
agree to 1e-4 of their norm with PyTorch in float64; a gradient through kinks (ReLU, hinge, clamp) may be four times as
far from it as PyTorch's own float32 is.
"""
import sys

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch.nn.utils import spectral_norm

from lowres import Tap, batch_norm, part, read_safetensors

GREY = torch.tensor([0.299, 0.587, 0.114])


# ---- networks ----------------------------------------------------------------------------------------------------


def class_norm(w, name, x, y, train):
    """BatchNorm without scale and shift of its own; those are rows of tables."""
    x = F.batch_norm(x, w[name + ".running_mean"], w[name + ".running_var"], None, None, train, 0.1, 1e-5)
    return w[name + ".weights.weight"][y][:, :, None, None] * x + w[name + ".biases.weight"][y][:, :, None, None]


def twice(x):
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def generator(w, z, y, train):
    h = F.linear(z, w["l1.weight"], w["l1.bias"]).view(len(z), -1, 4, 4)
    i = 2
    while f"block{i}.c1.weight" in w:
        name = f"block{i}"
        m = F.conv2d(twice(F.relu(class_norm(w, name + ".b1", h, y, train))), w[name + ".c1.weight"],
                     w[name + ".c1.bias"], 1, 1)
        m = F.conv2d(F.relu(class_norm(w, name + ".b2", m, y, train)), w[name + ".c2.weight"], w[name + ".c2.bias"], 1, 1)
        h = m + F.conv2d(twice(h), w[name + ".c_sc.weight"], w[name + ".c_sc.bias"])
        i += 1
    h = F.relu(batch_norm(h, w, f"b{i}", train))
    return torch.tanh(F.conv2d(h, w[f"conv{i}.weight"], w[f"conv{i}.bias"]))


class Block(nn.Module):
    def __init__(self, w, name, first, power):
        super().__init__()
        out, mid = w[name + ".c2.weight_orig"].shape[:2]
        inner = w[name + ".c1.weight_orig"].shape[1]
        self.first = first
        self.c1 = spectral_norm(nn.Conv2d(inner, mid, 3, padding=1), n_power_iterations=power)
        self.c2 = spectral_norm(nn.Conv2d(mid, out, 3, padding=1), n_power_iterations=power)
        self.c_sc = spectral_norm(nn.Conv2d(inner, out, 1), n_power_iterations=power)

    def forward(self, x):
        m = self.c1(x if self.first else F.relu(x))
        m = F.avg_pool2d(self.c2(F.relu(m)), 2)
        if self.first:
            return m + self.c_sc(F.avg_pool2d(x, 2))
        return m + F.avg_pool2d(self.c_sc(x), 2)


class Discriminator(nn.Module):
    """Residual blocks, sum over positions, one linear output plus the projection on the class's row."""

    def __init__(self, w, power):
        super().__init__()
        self.blocks = sum(1 for k in w if k.endswith(".c1.weight_orig"))
        for i in range(1, self.blocks + 1):
            setattr(self, f"block{i}", Block(w, f"block{i}", i == 1, power))
        classes, width = w["l_y.weight_orig"].shape
        setattr(self, f"l{self.blocks + 1}", spectral_norm(nn.Linear(width, 1), n_power_iterations=power))
        self.l_y = spectral_norm(nn.Embedding(classes, width), n_power_iterations=power)
        self.to(w["l_y.weight_orig"].dtype)
        self.load_state_dict(w, strict=True)

    def forward(self, x, y):
        for i in range(1, self.blocks + 1):
            x = getattr(self, f"block{i}")(x)
        h = F.relu(x).sum((2, 3))
        return getattr(self, f"l{self.blocks + 1}")(h)[:, 0] + (self.l_y(y) * h).sum(1)


def target(w, x):
    return F.linear(F.avg_pool2d(x, 4).flatten(1), w["linear.weight"], w["linear.bias"])


# ---- views and losses --------------------------------------------------------------------------------------------


def contrast(x, c):
    grey = (x * GREY.to(x.dtype)[:, None, None]).sum(0).mean()
    return (x * c + grey * (1 - c)).clamp(0, 1)


def brightness(x, b):
    return (x * b).clamp(0, 1)


def turn(x, angle):
    """Anticlockwise about the middle of the image; what comes from outside is black."""
    c, s = torch.cos(angle), torch.sin(angle)
    zero = torch.zeros_like(c)
    theta = torch.stack([torch.stack([c, -s, zero]), torch.stack([s, c, zero])])[None]
    grid = F.affine_grid(theta, x[None].shape, align_corners=True)
    return F.grid_sample(x[None], grid, mode="bilinear", padding_mode="zeros", align_corners=True)[0]


def views(x, parameters):
    out = []
    for image, row in zip(x, parameters.to(x.dtype)):
        side, left, top = [int(v) for v in row[:3]]
        v = image[None, :, top : top + side, left : left + side]
        v = F.interpolate(v, size=x.shape[2:], mode="bilinear", align_corners=True)[0]
        if row[3] > 0:
            first_b = brightness(v, row[5]) if row[8] == 0 else contrast(v, row[6])
            v = contrast(first_b, row[6]) if row[8] == 0 else brightness(first_b, row[5])
        if row[4] > 0:
            v = v.flip(2)
        if row[7] != 0:
            v = turn(v, row[7])
        out.append(v)
    return torch.stack(out)


def margin(logits, y):
    best = logits.topk(2, 1)
    other = torch.where(best.indices[:, 0] == y, best.values[:, 1], best.values[:, 0])
    return other - logits.gather(1, y[:, None])[:, 0]


def hinge(score, n):
    return F.relu(1 - score[:n]).mean() + F.relu(1 + score[n:]).mean()


# ---- comparison --------------------------------------------------------------------------------------------------


def relative(got, want):
    return ((got.double() - want).norm() / (want.norm() + 1e-30)).item()


def compare_step(tap, word, weights, narrow, file, cancels):
    """Gradients of every weight, and the weights after one step of Adam as in the published training.

    weights: name -> float64 leaf with its gradient; narrow: the same in float32, for the allowance.
    """
    for name, weight in weights.items():
        grad, after = file[f"{word}.grad.{name}"], file[f"{word}.after.{name}"].double()
        if cancels(name):  # a shift in front of a batch's norm: rounding noise, whatever Adam makes of it
            tap.check_zero(f"{word} gradient of {name}", grad)
            continue
        own = relative(narrow[name].grad, weight.grad)
        tap.check(f"{word} gradient of {name}, PyTorch's float32 {own:.0e}", weight.grad, grad, max(1e-4, 4 * own))
        # Adam from the file's own gradient: its first step is lr * sign, which would blow up what differs near zero.
        trained = weight.detach().clone().requires_grad_()
        adam = torch.optim.Adam([trained], lr=2e-4, betas=(0.0, 0.9))
        trained.grad = grad.double()
        adam.step()
        tap.check(f"{word} step of {name}", trained.detach() - weight.detach(), after - weight.detach(), 1e-3)
        tap.check(f"{word} {name} after it", trained, after)


def generator_step(tap, file, wide):
    def losses(numbers):
        g, t = part(numbers, "G.", True), part(numbers, "T.")
        d = Discriminator(part(numbers, "D."), 1).requires_grad_(False)
        x = generator(g, numbers["z"], numbers["y"], True)
        adversarial = -d(x, numbers["y"]).mean()
        identity = margin(target(t, views(x, file["generator.views"])), numbers["y"]).mean()
        (adversarial + 0.2 * identity).backward()
        return g, d, adversarial, identity

    g, d, adversarial, identity = losses(wide)
    narrow = losses(file)[0]
    tap.check("generator's adversarial loss", adversarial, file["generator.adversarial"])
    tap.check("its identity loss", identity, file["generator.identity"])
    weights = {k: v for k, v in g.items() if v.requires_grad}
    compare_step(tap, "generator", weights, narrow, file, lambda n: n.endswith((".c1.bias", ".c2.bias", ".c_sc.bias")))
    for name in g:
        if "running" in name:
            tap.check(f"generator's {name}", g[name], file["G2." + name])
    state = d.state_dict()
    for name in state:
        if name.endswith(("_u", "_v")):
            tap.check(f"discriminator's {name} after one iteration", state[name], file["D1." + name])


def discriminator_step(tap, file, wide):
    def loss(numbers):
        d = Discriminator(part(numbers, "DS."), 2)
        score = d(torch.cat([numbers["real"], numbers["fake"]]), torch.cat([numbers["real_y"], numbers["y"]]))
        value = hinge(score, len(numbers["real"]))
        value.backward()
        return d, score, value

    d, score, value = loss(wide)
    narrow = dict(loss(file)[0].named_parameters())
    real = score.detach()[: len(file["real"])]
    tap.line(bool((real < 1).any() and (real > 1).any()), "real scores lie within the hinge and beyond it")
    tap.check("discriminator's scores", score, file["discriminator.score"])
    tap.check("hinge loss", value, file["discriminator.loss"])
    compare_step(tap, "discriminator", dict(d.named_parameters()), narrow, file, lambda n: False)
    state = d.state_dict()
    for name in state:
        if name.endswith(("_u", "_v")):
            tap.check(f"discriminator's {name} after two more", state[name], file["D2." + name])


def chosen_views(tap, file, wide):
    for word in ("views.brightness", "views.contrast"):
        x = wide[word + ".x"].clone().requires_grad_()
        y = views(x, file[word + ".parameters"])
        (y * wide[word + ".w"]).sum().backward()
        tap.check(f"{word} first, the views", y, file[word + ".y"])
        tap.check(f"{word} first, their gradient", x.grad, file[word + ".grad"])


def inversion(tap, file, wide):
    g, t, y = part(wide, "G2."), part(wide, "T."), file["y"]
    tap.check("generated images", generator(g, wide["invert.z0"], y, False), file["invert.x0"])
    walked = wide["invert.z0"].clone().requires_grad_()
    adam = torch.optim.Adam([walked], lr=0.1)
    for i in (1, 2, 3):
        z = wide[f"invert.z{i - 1}"].clone().requires_grad_()
        x = generator(g, z, y, False)
        loss = sum(margin(target(t, views(x, file[f"invert.views{i}.{k}"])), y) for k in (0, 1))
        (loss.sum() / 60).backward()
        tap.check(f"inversion loss {i}", loss, file[f"invert.loss{i}"])
        tap.check_images(f"inversion gradient {i}", z.grad, file[f"invert.grad{i}"])
        walked.grad = wide[f"invert.grad{i}"].clone()
        adam.step()
        tap.check(f"latents after step {i}", walked, file[f"invert.z{i}"])


def main():
    torch.set_num_threads(1)
    tap = Tap()
    file = read_safetensors(sys.argv[1])
    wide = {k: v.double() if v.is_floating_point() else v for k, v in file.items()}
    generator_step(tap, file, wide)
    discriminator_step(tap, file, wide)
    chosen_views(tap, file, wide)
    inversion(tap, file, wide)
    return tap.end()


if __name__ == "__main__":
    sys.exit(main())
