#!/usr/bin/python3
"""RLB-MI's rewards and learning steps with PyTorch, BREPMI's rounds with numpy, against tool_blackbox_parity.

    blackbox_reference.py FILE.safetensors

Prints TAP.  Each learner is trained alone, as its own pair of networks with torch.optim.Adam, in the order of the
published algorithm; the stacked learners of the file must have walked the same way, to 1e-4 of the norm of what they
moved.  Sums are float64.
"""
import json
import math
import struct
import sys

import numpy as np
import torch
import torch.nn.functional as F

TOLERANCE = 1e-4
TYPES = {"F32": np.float32, "F64": np.float64, "I64": np.int64}


def read_safetensors(path):
    raw = open(path, "rb").read()
    (n,) = struct.unpack("<Q", raw[:8])
    out = {}
    for name, info in json.loads(raw[8 : 8 + n]).items():
        if name != "__metadata__":
            lo, hi = info["data_offsets"]
            flat = np.frombuffer(raw[8 + n + lo : 8 + n + hi], dtype=TYPES[info["dtype"]])
            out[name] = flat.reshape(info["shape"])
    return out


count = failed = 0


def check(name, got, want):
    global count, failed
    count += 1
    got, want = np.asarray(got, dtype=np.float64), np.asarray(want, dtype=np.float64)
    error = float(np.linalg.norm(got - want) / (np.linalg.norm(want) + 1e-30)) if got.shape == want.shape else math.inf
    ok = error < TOLERANCE
    failed += not ok
    print(f"{'ok' if ok else 'not ok'} {count} - {name} (relative difference {error:.1e})")


class Learner:
    """One agent: two hidden layers for actor and critics, a temperature, all in float64."""

    def __init__(self, file, form, index, lr, box, gamma=0.99, tau=0.01):
        def part(which):
            prefix = f"{form}.0.{which}."
            return {
                k[len(prefix) :]: torch.tensor(v[index].astype(np.float64), requires_grad=which != "target")
                for k, v in file.items()
                if k.startswith(prefix)
            }

        self.actor, self.critic, self.target = part("actor"), part("critic"), part("target")
        self.log_t = part("temperature")["log"]
        self.box, self.gamma, self.tau = box, gamma, tau
        self.opt = {
            "actor": torch.optim.Adam(self.actor.values(), lr),
            "temperature": torch.optim.Adam([self.log_t], lr),
        }
        self.critics = sorted({k.split(".")[0] for k in self.critic})
        for q in self.critics:
            self.opt[q] = torch.optim.Adam([v for k, v in self.critic.items() if k.startswith(q)], lr)

    @staticmethod
    def dense(w, name, x):
        return x @ w[name + ".weight"] + w[name + ".bias"]

    def policy(self, s, e):
        h = F.relu(self.dense(self.actor, "fc2", F.relu(self.dense(self.actor, "fc1", s))))
        sigma = self.dense(self.actor, "log_sigma", h).clamp(-20, 2).exp()
        t = torch.tanh(self.dense(self.actor, "mu", h) + e * sigma)
        density = torch.distributions.Normal(0.0, 1.0).log_prob(e) - sigma.log() - torch.log(1 - t * t + 1e-6)
        return self.box * t, density.mean(-1)

    def q(self, w, which, s, a):
        x = torch.cat([s, a], -1)
        x = F.relu(self.dense(w, f"{which}.fc2", F.relu(self.dense(w, f"{which}.fc1", x))))
        return self.dense(w, f"{which}.fc3", x).squeeze(-1)

    def step(self, s, a, r, following, done, e_next, e):
        heat = self.log_t.exp().detach()
        y = r
        if self.target:
            with torch.no_grad():
                a_next, logp = self.policy(following, e_next)
                least = torch.stack([self.q(self.target, q, following, a_next) for q in self.critics]).min(0).values
                y = r + self.gamma * (1 - done) * (least - heat * logp)
        losses = {"critic": 0.0}
        for q in self.critics:
            loss = 0.5 * F.mse_loss(self.q(self.critic, q, s, a), y)
            losses["critic"] += loss.item()
            self.descend(q, loss)
        a_pi, logp = self.policy(s, e)
        goal = -(self.log_t * (logp - a.shape[-1]).detach()).mean()
        losses["temperature"] = goal.item()
        self.descend("temperature", goal)
        loss = (heat * logp - self.q(self.critic, "q1", s, a_pi)).mean()
        losses["actor"] = loss.item()
        self.descend("actor", loss)
        for k, v in self.target.items():
            v.mul_(1 - self.tau).add_(self.critic[k].detach(), alpha=self.tau)
        return losses

    def descend(self, which, loss):
        self.opt[which].zero_grad()
        loss.backward()
        self.opt[which].step()


def learning(file, form, lr, box):
    learners = [Learner(file, form, i, lr, box) for i in range(2)]
    start = {k: v for k, v in file.items() if k.startswith(f"{form}.0.")}
    for step in (1, 2, 3):
        get = lambda what: torch.tensor(file[f"{form}.{what}{step}"].astype(np.float64))
        e, e_next, done = get("e")[0], get("e_next")[0], get("done")
        told = [
            w.step(get("s")[i], get("a")[i], get("r")[i], get("next")[i], done, e_next, e)
            for i, w in enumerate(learners)
        ]
        for what in ("critic", "temperature", "actor"):
            mean = np.mean([t[what] for t in told])
            check(f"{form}: {what} loss {step}", mean, file[f"{form}.loss.{what}{step}"])
    for part in ("actor", "critic", "target"):
        for name in getattr(learners[0], part):
            mine = np.stack([getattr(w, part)[name].detach().numpy() for w in learners])
            check(f"{form}: {part} {name} after three steps", mine, file[f"{form}.3.{part}.{name}"])
    # The way gone is much shorter than the weights: over all of a network it must agree as well, as far as float32
    # can tell weights apart.
    for part in ("actor", "critic"):
        names = list(getattr(learners[0], part))
        mine = [np.stack([getattr(w, part)[n].detach().numpy() for w in learners]) for n in names]
        began = [start[f"{form}.0.{part}.{n}"].astype(np.float64) for n in names]
        ended = [file[f"{form}.3.{part}.{n}"].astype(np.float64) for n in names]
        flat = lambda parts: np.concatenate([p.ravel() for p in parts])
        check(f"{form}: {part}'s way", flat(mine) - flat(began), flat(ended) - flat(began))
    heat = np.stack([w.log_t.detach().numpy() for w in learners])
    check(f"{form}: log temperature after three steps", heat, file[f"{form}.3.temperature.log"])


def rewards(file):
    p, q, y = (file["reward." + k] for k in ("p", "q", "y"))
    p, q = p.astype(np.float64), q.astype(np.float64)
    want = []
    for i, k in enumerate(y[:, 0]):
        margin = p[i, k] - max(v for j, v in enumerate(p[i]) if j != k)
        want.append(2 * math.log(p[i, k]) + 2 * math.log(q[i, k]) + 8 * math.log(max(1e-7, margin)))
    check("rewards", file["reward.r"], want)


def rounds(file):
    """The published loop: R, c, z and the latent of the last accepted growth, from recorded directions and labels."""
    u, labels, path = file["brep.u"].astype(np.float64), file["brep.labels"], file["brep.path"]
    n = u.shape[1]
    z, radius, c, rejected, kept = path[0].astype(np.float64), 2.0, 0, 0, np.zeros(path.shape[1])
    walked, told, grown = [z], [], 0
    for i in range(len(u)):
        inside = labels[i, :n] > 0
        size = min(radius / 3, 3)
        move = -u[i][~inside].sum(0) / n
        grow = np.where(inside, 1, -1).sum() > 0.75 * n
        if grow:
            radius, c, grown, move = radius * 1.3, 0, grown + 1, move / 1.3
        following = np.clip(z + size * move, -1.5, 1.5)
        if labels[i, n]:
            z, rejected = following, 0
            kept, c = (z, c) if grow else (kept, c + 1)
        else:
            rejected += 1
        walked.append(z)
        told.append([radius, c, rejected])
    check(f"BREPMI: {len(u)} latents, {grown} growths", path, np.stack(walked))
    check("BREPMI: radius, count and rejections", file["brep.told"], np.array(told))
    check("BREPMI: latent of the last accepted growth", file["brep.best"], kept)


def main():
    torch.set_num_threads(1)
    file = read_safetensors(sys.argv[1])
    learning(file, "published", 5e-4, 1)
    learning(file, "steps", 5e-4, 1)
    learning(file, "coordinate", 2e-3, 2)
    rewards(file)
    rounds(file)
    print(f"1..{count}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
