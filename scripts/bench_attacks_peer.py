#!/usr/bin/env python3
"""The attacks at 64x64 in plain PyTorch, for `midre bench attacks --peer scripts/bench_attacks_peer.py`.

    bench_attacks_peer.py NAME/prior|invert|queries|alone [--batch N] [--threads N] [--seconds S] [--device D] [--frozen]

The arithmetic of the published programs, written anew from their description: VGG16-BN target of 1000 people, 60
identities in a descent, batch 64 in a GAN.  As published, a descent leaves the weights of all networks requiring
gradients (--frozen switches that off) and D steps send their gradient into G; minibatch discrimination is computed
although it is zero.  PLG-MI's augmentations act on each sample by one affine grid, fewer operations than the
library the original calls.  Attacks that only ask go one identity at a time, as the originals do, whether the other side
calls it queries or alone; no graph is kept there.  Random weights and data: only the time matters.

A step is a whole GAN cycle (five D steps and a G step), an iteration, or a round of questions.  Prints one JSON line with
units over the mean step; a work it does not know prints {"missing": "why"}.
"""
import argparse
import json
import math
import resource
import time

import torch
from torch import nn
import torch.nn.functional as F

CLASSES, SIZE, CRITIC = 1000, 64, 5


# ---- networks -----------------------------------------------------------------------------------------------------

class Vgg16(nn.Module):
    def __init__(self):
        super().__init__()
        from torchvision.models import vgg16_bn
        self.body = vgg16_bn().features
        self.norm = nn.BatchNorm1d(2048)
        self.head = nn.Linear(2048, CLASSES)

    def forward(self, x):
        f = self.norm(self.body(x).flatten(1))
        return self.head(f), f


class Student(nn.Module):
    def __init__(self, name, width):
        super().__init__()
        import torchvision
        net = getattr(torchvision.models, name)()
        self.body, self.head = net.features, nn.Linear(width, CLASSES)

    def forward(self, x):
        f = self.body(x).mean((2, 3))
        return self.head(f), f


def students():
    return [Student("efficientnet_b0", 1280), Student("efficientnet_b1", 1280), Student("efficientnet_b2", 1408)]


class Generator(nn.Module):
    """GMI's and KedMI's: 100 numbers to 64x64."""

    def __init__(self):
        super().__init__()
        w = (512, 256, 128, 64)
        self.first = nn.Sequential(nn.Linear(100, 8192, bias=False), nn.BatchNorm1d(8192), nn.ReLU())
        up = []
        for a, b in zip(w, w[1:]):
            up += [nn.ConvTranspose2d(a, b, 5, 2, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
        self.up = nn.Sequential(*up, nn.ConvTranspose2d(64, 3, 5, 2, 2, 1), nn.Sigmoid())

    def forward(self, z):
        return self.up(self.first(z).view(-1, 512, 4, 4))


def down(a, b, norm=True, k=5):
    return [nn.Conv2d(a, b, k, 2, k // 2)] + ([nn.InstanceNorm2d(b, affine=True)] if norm else []) + [nn.LeakyReLU(0.2)]


def critic():
    return nn.Sequential(*down(3, 64, False), *down(64, 128), *down(128, 256), *down(256, 512), nn.Conv2d(512, 1, 4), nn.Flatten(0))


class KedD(nn.Module):
    """KedMI's discriminator: soft labels, features and minibatch discrimination."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(*down(3, 64), *down(64, 128), *down(128, 256), *down(256, 256, True, 3), nn.Flatten())
        self.kernels = nn.Parameter(torch.randn(4096, 64 * 50))
        self.head = nn.Linear(4096 + 64, CLASSES)

    def forward(self, x):
        phi = self.body(x)
        m = (phi @ self.kernels).view(-1, 64, 50)
        apart = (m.unsqueeze(0) - m.unsqueeze(1)).abs().sum(3)
        o = torch.exp(-apart).sum(1) - 1
        return phi, self.head(torch.cat([phi, o], 1))


class CondNorm(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.norm = nn.BatchNorm2d(c, affine=False)
        self.w, self.b = nn.Embedding(CLASSES, c), nn.Embedding(CLASSES, c)
        nn.init.ones_(self.w.weight)
        nn.init.zeros_(self.b.weight)

    def forward(self, x, y):
        return self.w(y)[:, :, None, None] * self.norm(x) + self.b(y)[:, :, None, None]


class UpBlock(nn.Module):
    def __init__(self, a, b):
        super().__init__()
        self.n1, self.n2 = CondNorm(a), CondNorm(b)
        self.c1, self.c2, self.short = nn.Conv2d(a, b, 3, 1, 1), nn.Conv2d(b, b, 3, 1, 1), nn.Conv2d(a, b, 1)

    def forward(self, x, y):
        def grow(t):
            return F.interpolate(t, scale_factor=2, mode="bilinear", align_corners=False)
        h = self.c1(grow(F.relu(self.n1(x, y))))
        return self.c2(F.relu(self.n2(h, y))) + self.short(grow(x))


class PlgG(nn.Module):
    def __init__(self):
        super().__init__()
        w = (1024, 512, 256, 128, 64)
        self.first = nn.Linear(128, 1024 * 16)
        self.blocks = nn.ModuleList(UpBlock(a, b) for a, b in zip(w, w[1:]))
        self.last = nn.Sequential(nn.BatchNorm2d(64), nn.ReLU(), nn.Conv2d(64, 3, 1), nn.Tanh())

    def forward(self, z, y):
        h = self.first(z).view(-1, 1024, 4, 4)
        for b in self.blocks:
            h = b(h, y)
        return self.last(h)


def spectral(m):
    return nn.utils.spectral_norm(m)


class DownBlock(nn.Module):
    def __init__(self, a, b, first=False):
        super().__init__()
        mid = b if first else a
        self.first = first
        self.c1, self.c2 = spectral(nn.Conv2d(a, mid, 3, 1, 1)), spectral(nn.Conv2d(mid, b, 3, 1, 1))
        self.short = spectral(nn.Conv2d(a, b, 1))

    def forward(self, x):
        h = F.avg_pool2d(self.c2(F.relu(self.c1(x if self.first else F.relu(x)))), 2)
        return h + (self.short(F.avg_pool2d(x, 2)) if self.first else F.avg_pool2d(self.short(x), 2))


class PlgD(nn.Module):
    def __init__(self):
        super().__init__()
        w = (3, 64, 128, 256, 512, 1024)
        self.blocks = nn.Sequential(*(DownBlock(a, b, a == 3) for a, b in zip(w, w[1:])))
        self.line, self.emb = spectral(nn.Linear(1024, 1)), spectral(nn.Embedding(CLASSES, 1024))

    def forward(self, x, y):
        h = F.relu(self.blocks(x)).sum((2, 3))
        return self.line(h)[:, 0] + (self.emb(y) * h).sum(1)


# ---- losses -------------------------------------------------------------------------------------------------------

def realness(logits):
    """-log p(real) with a = logsumexp."""
    a = torch.logsumexp(logits, 1)
    return F.softplus(a) - a


def margin(logits, y):
    top = logits.topk(2, 1)
    own = logits.gather(1, y[:, None])[:, 0]
    other = torch.where(top.indices[:, 0] == y, top.values[:, 1], top.values[:, 0])
    return (other - own).mean()


def augment(x, p_jitter):
    """Crop, jitter, mirror, rotation; a sample's crop, mirror and rotation in one grid."""
    n = x.shape[0]
    side = (0.8 + 0.2 * torch.rand(n)).sqrt()
    at = (1 - side)[:, None] * (2 * torch.rand(n, 2) - 1)
    turn = (torch.rand(n) < 0.5) * (torch.rand(n) * 2 - 1) * math.radians(5)
    flip = 1 - 2 * (torch.rand(n) < 0.5).float()
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0], theta[:, 0, 1] = side * flip * turn.cos(), -side * turn.sin()
    theta[:, 1, 0], theta[:, 1, 1] = side * flip * turn.sin(), side * turn.cos()
    theta[:, :, 2] = at
    b, c = 0.8 + 0.4 * torch.rand(n, 1, 1, 1), 0.8 + 0.4 * torch.rand(n, 1, 1, 1)
    on = (torch.rand(n, 1, 1, 1) < p_jitter).to(x.device)
    grey = torch.tensor([0.299, 0.587, 0.114], device=x.device).view(1, 3, 1, 1)
    h = (x * b.to(x.device)).clamp(0, 1)
    m = (h * grey).sum(1, keepdim=True).mean((2, 3), keepdim=True)
    h = (h * c.to(x.device) + m * (1 - c.to(x.device))).clamp(0, 1)
    h = torch.where(on, h, x)
    grid = F.affine_grid(theta.to(x.device), list(x.shape), align_corners=True)
    return F.grid_sample(h, grid, align_corners=True)


# ---- works: each returns step() and the units of a step ------------------------------------------------------------

class Works:
    def __init__(self, batch, dev, frozen):
        self.batch, self.dev, self.frozen = batch, dev, frozen

    def still(self, *nets):
        for m in nets:
            m.to(self.dev).eval().requires_grad_(not self.frozen)
        return nets

    def photos(self, n):
        return torch.rand(n, 3, SIZE, SIZE, device=self.dev)

    def normal(self, n, d=100):
        return torch.randn(n, d, device=self.dev)

    @staticmethod
    def adam(betas, *nets):
        return [torch.optim.Adam(m.parameters(), 2e-4, betas=betas) for m in nets]

    def gmi_prior(self):
        n = self.batch or 64
        g, d = Generator().to(self.dev), critic().to(self.dev)
        og, od = self.adam((0.5, 0.999), g, d)
        x = self.photos(n)

        def step():
            for _ in range(CRITIC):
                fake = g(self.normal(n)).detach()
                a = torch.rand(n, 1, 1, 1, device=self.dev)
                h = (x + a * (fake - x)).requires_grad_(True)
                grad, = torch.autograd.grad(d(h).sum(), h, create_graph=True)
                loss = d(fake).mean() - d(x).mean() + 10 * ((grad.flatten(1).norm(2, 1) - 1) ** 2).mean()
                od.zero_grad()
                loss.backward()
                od.step()
            og.zero_grad()
            (-d(g(self.normal(n))).mean()).backward()
            og.step()
        return step, CRITIC * n

    def kedmi_prior(self):
        n = self.batch or 64
        t, g, d = Vgg16().to(self.dev).eval(), Generator().to(self.dev), KedD().to(self.dev)
        og, od = self.adam((0.5, 0.999), g, d)
        x, u, v = self.photos(n), self.photos(n), self.photos(n)

        def step():
            for _ in range(CRITIC):
                fake = g(self.normal(n))
                with torch.no_grad():
                    soft = F.softmax(t(x)[0], 1)
                on_x, on_u, on_f = d(x)[1], d(u)[1], d(fake)[1]
                sup = -(soft * F.log_softmax(on_x, 1)).sum(1).mean()
                unsup = 0.5 * (realness(on_u).mean() + F.softplus(torch.logsumexp(on_f, 1)).mean())
                od.zero_grad()
                (sup + unsup).backward()
                od.step()
            phi, on_f = d(g(self.normal(n)))
            with torch.no_grad():
                real = d(v)[0].mean(0)
            p = F.softmax(on_f, 1)
            entropy = -(p * F.log_softmax(on_f, 1)).sum()
            og.zero_grad()
            ((phi.mean(0) - real).abs().mean() + 1e-4 * entropy).backward()
            og.step()
        return step, CRITIC * n

    def plgmi_prior(self):
        n = self.batch or 64
        t, = self.still(Vgg16())
        g, d = PlgG().to(self.dev), PlgD().to(self.dev)
        og, od = self.adam((0.0, 0.9), g, d)
        x = self.photos(n)

        def labels():
            return torch.randint(0, CLASSES, (n,), device=self.dev)

        def step():
            y = labels()
            fake = g(self.normal(n, 128), y)
            loss = -d(fake, y).mean() + 0.2 * margin(t(augment(fake, 0.5))[0], y)
            og.zero_grad()
            loss.backward()
            og.step()
            for _ in range(CRITIC):
                y, real_y = labels(), labels()
                fake = g(self.normal(n, 128), y)
                noisy = x + torch.rand_like(x) / 256
                loss = F.relu(1 - d(noisy, real_y)).mean() + F.relu(1 + d(fake, y)).mean()
                od.zero_grad()
                loss.backward()
                od.step()
        return step, CRITIC * n

    def descend(self, prior, models, reg, gmi):
        """GMI's look-ahead momentum on z, or KedMI's Adam on a Gaussian."""
        n = self.batch or 60
        g, d = prior
        nets = self.still(g, d, *models)[2:]
        y = torch.arange(n, device=self.dev)
        mean = torch.zeros(2048, device=self.dev)

        def identity(x):
            outs = [m(x) for m in nets]
            if reg is None:
                return F.cross_entropy(outs[0][0], y)
            own = sum(-o[0].gather(1, y[:, None]).mean() for o in outs) / len(outs)
            return own + reg * ((outs[0][1] - mean) ** 2).mean()

        if gmi:
            z = self.normal(n).requires_grad_(True)
            v = torch.zeros_like(z)

            def step():
                nonlocal v
                if z.grad is not None:
                    z.grad.zero_()
                x = g(z)
                (-d(x).mean() + 100 * identity(x)).backward()
                with torch.no_grad():
                    new = 0.9 * v - 0.02 * z.grad
                    z.add_(-0.9 * v + 1.9 * new).clamp_(-1, 1)
                    v = new
            return step, 1
        mu = torch.zeros(n, 100, device=self.dev, requires_grad=True)
        s = torch.zeros(n, 100, device=self.dev, requires_grad=True)
        opt = torch.optim.Adam([mu, s], 0.02)

        def step():
            z = mu + (s / 2).exp() * self.normal(n)
            x = g(z.clamp(-1, 1) if reg is not None else z)
            opt.zero_grad()
            (realness(d(x)[1]).mean() + 100 * identity(x)).backward()
            opt.step()
        return step, 1

    def gmi_invert(self):
        return self.descend((Generator(), critic()), [Vgg16()], None, True)

    def kedmi_invert(self):
        return self.descend((Generator(), KedD()), [Vgg16()], None, False)

    def lomma_gmi_invert(self):
        return self.descend((Generator(), critic()), [Vgg16()] + students(), 1.0, True)

    def lomma_kedmi_invert(self):
        return self.descend((Generator(), KedD()), [Vgg16()] + students(), 1.0, False)

    def plgmi_invert(self):
        n = self.batch or 60
        g, t = self.still(PlgG(), Vgg16())
        z, y = self.normal(n, 128).requires_grad_(True), torch.arange(n, device=self.dev)
        opt = torch.optim.Adam([z], 0.1)

        def step():
            x = g(z, y)
            opt.zero_grad()
            sum(margin(t(augment(x, 1))[0], y) for _ in range(2)).backward()
            opt.step()
        return step, 1

    def brepmi_alone(self, points=32):
        g, t = self.still(Generator(), Vgg16())
        z = self.normal(1).clamp(-1.5, 1.5)[0]

        @torch.no_grad()
        def ask(latents):
            return t(g(latents))[0].argmax(1)
        y = ask(z[None])

        def step():
            nonlocal z
            u = self.normal(points)
            u = u / u.norm(dim=1, keepdim=True)
            inside = ask(z + 2 * u) == y
            move = -(u * ~inside[:, None]).sum(0) / points
            new = (z + 2 / 3 * move).clamp(-1.5, 1.5)
            if (ask(new[None]) == y).item():
                z = new
        return step, points + 1

    brepmi_queries = brepmi_alone

    def rlbmi_alone(self, memory=3000, n=256, d=100, h=256):
        g, t = self.still(Generator(), Vgg16())

        def net(i, o):
            return nn.Sequential(nn.Linear(i, h), nn.ReLU(), nn.Linear(h, h), nn.ReLU(), nn.Linear(h, o)).to(self.dev)
        actor, q1, q2, t1, t2 = net(d, 2 * d), net(2 * d, 1), net(2 * d, 1), net(2 * d, 1), net(2 * d, 1)
        heat = torch.zeros(1, device=self.dev, requires_grad=True)
        oa, o1, o2, oh = (torch.optim.Adam(p, 5e-4) for p in (actor.parameters(), q1.parameters(), q2.parameters(), [heat]))
        y, used = 0, n + 1
        ms, ma = torch.randn(memory, d, device=self.dev), torch.rand(memory, d, device=self.dev) * 2 - 1
        mr = torch.randn(memory, 1, device=self.dev)

        def policy(s):
            mu, log_sigma = actor(s).split(d, 1)
            log_sigma = log_sigma.clamp(-20, 2)
            e = torch.randn((), device=self.dev)
            a = torch.tanh(mu + e * log_sigma.exp())
            logp = (-e * e / 2 - log_sigma - 0.5 * math.log(2 * math.pi) - (1 - a * a + 1e-6).log()).mean(1, keepdim=True)
            return a, logp

        @torch.no_grad()
        def ask(latent):
            return F.softmax(t(g(latent))[0], 1)

        def reward(p, q):
            gap = p[0, y] - torch.cat([p[0, :y], p[0, y + 1:]]).max()
            return 2 * p[0, y].clamp_min(1e-40).log() + 2 * q[0, y].clamp_min(1e-40).log() + 8 * gap.clamp_min(1e-7).log()

        def learn():
            at = torch.randperm(used)[:n].to(self.dev)
            s, a, r = ms[at], ma[at], mr[at]
            with torch.no_grad():
                next_a, next_logp = policy(a)
                both = torch.cat([a, next_a], 1)
                value = torch.min(t1(both), t2(both)) - heat.exp() * next_logp
                want = r + 0.99 * 0 * value  # every step is the last one of its episode
            sa = torch.cat([s, a], 1)
            for q, o in ((q1, o1), (q2, o2)):
                o.zero_grad()
                (0.5 * ((q(sa) - want) ** 2).mean()).backward()
                o.step()
            warmth = heat.exp().detach()
            act, logp = policy(s)
            oh.zero_grad()
            (-(heat * (logp.detach() - d)).mean()).backward()
            oh.step()
            oa.zero_grad()
            (warmth * logp - q1(torch.cat([s, act], 1))).mean().backward()
            oa.step()
            with torch.no_grad():
                for old, new in ((t1, q1), (t2, q2)):
                    for x, w in zip(old.parameters(), new.parameters()):
                        x.lerp_(w, 0.01)

        def step():
            nonlocal used
            s = self.normal(1)
            with torch.no_grad():
                a = policy(s)[0]
            r = reward(ask(a), ask(a))  # next state and action, both asked about as in the original
            ms[used], ma[used], mr[used] = s[0], a[0], r
            used = used + 1 if used + 1 < memory else n + 1
            learn()
            with torch.no_grad():
                ask(policy(self.normal(1))[0])
        return step, 3

    rlbmi_queries = rlbmi_alone


def main():
    p = argparse.ArgumentParser()
    p.add_argument("work")
    p.add_argument("--device", default="cpu")
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--seconds", type=float, default=10)
    p.add_argument("--batch", type=int, default=0)
    p.add_argument("--frozen", action="store_true", help="descents without weight gradients")
    a = p.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    dev = torch.device(a.device)
    make = getattr(Works(a.batch, dev, a.frozen), a.work.replace("/", "_"), None)
    if not make:
        print(json.dumps({"missing": "this script does not know " + a.work}))
        return
    step, units = make()

    def done():
        if dev.type == "cuda":
            torch.cuda.synchronize()
    step()
    done()
    n, start = 0, time.perf_counter()
    while n < 1 or time.perf_counter() - start < a.seconds:
        step()
        done()
        n += 1
    each = (time.perf_counter() - start) / n
    print(json.dumps({"work": a.work, "value": units / each, "steps": n, "torch": torch.__version__, "precision": "fp32",
                      "threads": torch.get_num_threads(),
                      "device": torch.cuda.get_device_name(dev) if dev.type == "cuda" else "cpu",
                      "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}))


if __name__ == "__main__":
    main()
