#!/usr/bin/python3
"""LOMMA's logit loss, model augmentation, distillation and the adaptive attacker's masks with PyTorch alone, compared
with what tool_lowres_parity computed.

    lomma_reference.py FILE.safetensors        prints TAP

Written from the published formulas; weights, inputs and results come from the file.  Agreement to 1e-4 of the norm.
"""
import sys

import torch
import torch.nn.functional as F

from lowres import Tap, batch_norm, critic, generator, part, read_safetensors, vgg16


def student(w, x):
    """The small plain network: stem, three stages of convolution, BatchNorm, ReLU, pool; linear, BatchNorm, linear."""
    x = F.relu(batch_norm(F.conv2d(x, w["stem.0.weight"], None, 2, 1), w, "stem.1"))
    x = F.max_pool2d(x, 2)
    for s in (1, 2, 3):
        x = F.relu(batch_norm(F.conv2d(x, w[f"stage{s}.0.weight"], None, 1, 1), w, f"stage{s}.1"))
        x = F.max_pool2d(x, 2)
    f = batch_norm(F.linear(x.flatten(1), w["embed.weight"]), w, "bn")
    return F.linear(f, w["fc_layer.weight"], w["fc_layer.bias"])


def identity(t, students, x, y, mean):
    """(1/4) sum of -logit_y over four models + mean square distance of T's features to the public mean, per image."""
    f, logits = vgg16(t, x)
    own = -logits.gather(1, y[:, None])[:, 0]
    for s in students:
        own = own - student(s, x).gather(1, y[:, None])[:, 0]
    return own / (1 + len(students)) + (f - mean).square().mean(1)


def main():
    torch.set_num_threads(1)
    tap = Tap()
    file = read_safetensors(sys.argv[1])
    t = part(file, "T.", double=True)
    students = [part(file, f"S{i}.", double=True) for i in (1, 2, 3)]
    y = file["recover.y"]

    f, _ = vgg16(t, file["public"].double())
    tap.check("mean of public features", f.mean(0), file["lomma.mean"])
    tap.check("their standard deviation", f.std(0), file["lomma.std"])
    mean = file["lomma.mean"].double()

    g, d = part(file, "G2.", double=True), part(file, "C.", double=True)
    z = file["lomma.z"].double().requires_grad_()
    x = generator(g, z, False)
    per_image = identity(t, students, x, y, mean)
    tap.check("identity loss", per_image, file["lomma.identity"])
    prior = -critic(d, x)
    loss = (prior + 100 * per_image).sum() / 60
    loss.backward()
    tap.check("whole loss on GMI's base", loss, file["lomma.loss"])
    tap.check_images("its gradient", z.grad, file["lomma.grad"])
    v = -0.02 * file["lomma.grad"].double()
    after = (file["lomma.z"].double() + 1.9 * v).clamp(-1, 1)
    tap.check("latents after one step", after, file["lomma.after"])

    x = generator(g, file["lomma.z"].double(), False)
    ce = sum(F.cross_entropy(l, y, reduction="none") for l in [vgg16(t, x)[1]] + [student(s, x) for s in students]) / 4
    tap.check("cross entropy over four models", ce, file["lomma.ce"])

    # Distillation at a temperature, as the batch-mean KL divergence divided by tau^2.
    teacher, pupil = file["distil.teacher"].double(), file["distil.student"].double().requires_grad_()
    tau = 2.5
    kl = F.kl_div((pupil / tau).log_softmax(1), (teacher / tau).softmax(1), reduction="batchmean") / tau**2
    tap.check("distillation loss", kl, file["distil.loss"])
    tap.check("its gradient", torch.autograd.grad(kl, pupil)[0], file["distil.grad"])

    # The adaptive attacker: the erased views are in the file; loss and gradient are their mean over masks.
    n, masks = len(y), file["adaptive.views"].shape[0] // len(y)
    x = file["adaptive.x"].double().requires_grad_()
    keep = (file["adaptive.views"].view(masks, n, 3, *x.shape[2:]) == file["adaptive.x"]).all(2, keepdim=True)
    fill = torch.tensor([0.485, 0.456, 0.406]).double().view(1, 1, 3, 1, 1)
    views = torch.where(keep, x[None].expand(masks, -1, -1, -1, -1), fill)
    tap.check("erased views", views.flatten(0, 1), file["adaptive.views"])
    area = 1 - keep.double().mean((2, 3, 4))
    inside = bool((area > 0.08).all() and (area < 0.43).all())
    tap.line(inside, f"erased shares lie in the range ({area.min():.2f}..{area.max():.2f})")
    each = identity(t, students, views.flatten(0, 1), y.repeat(masks), mean).view(masks, n).mean(0)
    tap.check("adaptive identity loss", each, file["adaptive.identity"])
    slope = torch.autograd.grad(each.sum(), x)[0]
    tap.check_images("its gradient", slope.flatten(1), file["adaptive.grad"].flatten(1))
    hidden = (~keep).all(0).expand(-1, 3, -1, -1)
    tap.line(bool((file["adaptive.grad"][hidden] == 0).all()), "pixels erased in every view have no gradient")
    return tap.end()


if __name__ == "__main__":
    sys.exit(main())
