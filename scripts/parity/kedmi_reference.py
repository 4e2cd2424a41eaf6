#!/usr/bin/python3
"""KedMI's GAN losses, one optimiser step of each network and the distributional recovery with PyTorch alone, compared
with what tool_lowres_parity computed.

    kedmi_reference.py FILE.safetensors        prints TAP

The networks and formulas are written out here from their published description; weights, inputs and results come from
the file.  Numbers must agree to 1e-4 of their norm with PyTorch in float64; a gradient through kinks (leaky ReLU, the
absolute values of feature matching and minibatch discrimination) may be four times as far from it as PyTorch's own
float32 is.
"""
import sys

import torch
import torch.nn.functional as F

from lowres import Tap, generator, part, read_safetensors, vgg16


def phi(w, x):
    """Convolutions of stride 2 with instance norm on every one; the flattened last map is the feature."""
    i = 1
    while f"layer{i}.0.weight" in w:
        kernel = w[f"layer{i}.0.weight"]
        x = F.conv2d(x, kernel, w[f"layer{i}.0.bias"], 2, kernel.shape[2] // 2)
        x = F.instance_norm(x, weight=w[f"layer{i}.1.weight"], bias=w[f"layer{i}.1.bias"], eps=1e-5)
        x = F.leaky_relu(x, 0.2)
        i += 1
    return x.flatten(1)


def company(w, f):
    """Minibatch discrimination: how near each image is to the others of its batch, kernel by kernel."""
    t = w["mbd1.T"]
    m = (f @ t.flatten(1)).view(len(f), t.shape[1], t.shape[2])
    apart = (m[None] - m[:, None]).abs().sum(3)
    return torch.exp(-apart).sum(0) - 1


def head(w, f, alone=False):
    o = f.new_zeros(len(f), w["mbd1.T"].shape[1]) if alone else company(w, f)
    return F.linear(torch.cat([f, o], 1), w["fc_layer.weight"], w["fc_layer.bias"])


def discriminate(w, x, alone=False):
    return head(w, phi(w, x), alone)


def discriminator_loss(d, file, target):
    soft = vgg16(target, file["labelled"])[1].softmax(1).detach()
    supervised = -(soft * discriminate(d, file["labelled"]).log_softmax(1)).sum(1).mean()
    real = discriminate(d, file["unlabelled"]).logsumexp(1)
    fake = discriminate(d, file["fake"]).logsumexp(1)
    unsupervised = 0.5 * ((F.softplus(real) - real).mean() + F.softplus(fake).mean())
    return soft, supervised, unsupervised


def generator_loss(g, d, file):
    f = phi(d, generator(g, file["z"], True))
    match = (f.mean(0) - phi(d, file["matched"]).mean(0).detach()).abs().mean()
    p = head(d, f).softmax(1)
    entropy = -(p * p.log()).sum(1).mean() * 64
    return match + 1e-4 * entropy


def weights_of(net):
    return {k: v for k, v in net.items() if v.requires_grad}


def compare_step(tap, word, net, narrow, file):
    """Gradients of every weight, and the weights after one step of Adam as in the published training.

    net: float64, gradients there; narrow: the same in float32, for the allowance.
    """
    for name, weight in weights_of(net).items():
        grad, after = file[f"{word}.grad.{name}"], file[f"{word}.after.{name}"].double()
        if word == "discriminator" and name.endswith(".0.bias"):
            # A shift in front of an instance norm cancels: rounding noise around zero, whatever Adam makes of it.
            tap.check_zero(f"{word} gradient of {name}", grad)
            continue
        own = ((narrow[name].grad.double() - weight.grad).norm() / weight.grad.norm()).item()
        tap.check(f"{word} gradient of {name}, PyTorch's float32 {own:.0e}", weight.grad, grad, max(1e-4, 4 * own))
        # Adam from the file's own gradient: its first step is lr * sign, which would blow up what differs near zero.
        trained = weight.detach().clone().requires_grad_()
        adam = torch.optim.Adam([trained], lr=2e-4, betas=(0.5, 0.999))
        trained.grad = grad.double()
        adam.step()
        moved = trained.detach() - weight.detach()
        tap.check(f"{word} step of {name}", moved, (after - weight.detach()), 1e-3)
        tap.check(f"{word} {name} after it", trained, after)


def recovery(tap, file):
    g, d, t = [part(file, p, double=True) for p in ("G2.", "D2.", "T.")]
    y, steps = file["recover.y"], 3
    walked = None
    for step in range(1, steps + 1):
        noise = file[f"recover.noise{step}"].double()

        def loss_at(p, clamp):
            mu, s = p.chunk(2, 1)
            z = mu + (s / 2).exp() * noise
            x = generator(g, z.clamp(-1, 1) if clamp else z, False)
            a = discriminate(d, x, alone=True).logsumexp(1)
            prior = F.softplus(a) - a
            return prior, F.cross_entropy(vgg16(t, x)[1], y, reduction="none")

        leaf = file[f"recover.p{step - 1}"].double().requires_grad_()
        prior, identity = loss_at(leaf, file["recover.clamp"].item() > 0)
        loss = (prior + 100 * identity).sum() / 60
        loss.backward()
        tap.check(f"recovery prior {step}", prior, file[f"recover.prior{step}"])
        tap.check(f"recovery loss {step}", loss, file[f"recover.loss{step}"])
        tap.check_images(f"recovery gradient {step}", leaf.grad, file[f"recover.grad{step}"])
        if walked is None:
            walked = file["recover.p0"].double().requires_grad_()
            adam = torch.optim.Adam([walked], lr=0.02)
        walked.grad = file[f"recover.grad{step}"].double()
        adam.step()
        tap.check(f"distributions after step {step}", walked, file[f"recover.p{step}"])


def main():
    torch.set_num_threads(1)
    tap = Tap()
    file = read_safetensors(sys.argv[1])
    wide = {k: v.double() if v.is_floating_point() else v for k, v in file.items()}
    g, d, t = part(wide, "G.", True), part(wide, "D.", True), part(wide, "T.")
    g32, d32, t32 = part(file, "G.", True), part(file, "D.", True), part(file, "T.")

    soft, supervised, unsupervised = discriminator_loss(d, wide, t)
    (supervised + unsupervised).backward()
    sum(discriminator_loss(d32, file, t32)[1:]).backward()
    tap.check("soft labels", soft, file["soft"])
    tap.check("supervised loss", supervised, file["discriminator.supervised"])
    tap.check("unsupervised loss", unsupervised, file["discriminator.unsupervised"])
    compare_step(tap, "discriminator", d, d32, file)

    loss = generator_loss(g, part(wide, "D."), wide)
    loss.backward()
    generator_loss(g32, part(file, "D."), file).backward()
    tap.check("generator loss", loss, file["generator.loss"])
    compare_step(tap, "generator", g, g32, file)

    # Images that nearly coincide wake the minibatch discrimination up.
    d, d32 = part(wide, "D.", True), part(file, "D.", True)
    near = wide["near"]
    tap.line(bool(company(d, phi(d, near)).min() > 1e-3), "near images do keep company")
    logits = head(d, phi(d, near))
    tap.check("logits of near images", logits, file["near.logits"])
    (slope,) = torch.autograd.grad(logits.square().sum(), d["mbd1.T"])
    (own,) = torch.autograd.grad(head(d32, phi(d32, file["near"])).square().sum(), d32["mbd1.T"])
    own = ((own.double() - slope).norm() / slope.norm()).item()
    name = f"gradient of the minibatch discrimination, PyTorch's float32 {own:.0e}"
    tap.check(name, slope, file["near.grad"], max(1e-4, 4 * own))

    recovery(tap, file)
    return tap.end()


if __name__ == "__main__":
    sys.exit(main())
