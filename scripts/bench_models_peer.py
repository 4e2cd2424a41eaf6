#!/usr/bin/env python3
"""The twins of midre's architectures in PyTorch, for `midre bench models --peer scripts/bench_models_peer.py`.

    bench_models_peer.py NAME/train|NAME/infer --size S --classes C --batch N [--threads N] [--seconds S] [--device D]

Builds the network from torchvision, timm or facenet-pytorch, whichever has it; VGG16 for 64 px is torchvision's features
with the head of the model-inversion papers.  Same work as midre's: training is forward, cross entropy, backward and Adam
in fp32; inference a forward pass in evaluation mode.  Random weights and data: only the arithmetic is timed.  Prints one
JSON line; a twin that is not installed prints {"missing": "why"}, which the bench shows as "no twin".
"""
import argparse
import json
import resource
import time

import torch
from torch import nn
import torch.nn.functional as F


def vision(name, **more):
    def build(classes):
        import torchvision
        return getattr(torchvision.models, name)(num_classes=classes, **more)
    return build


def timm_net(name):
    def build(classes):
        import timm
        return timm.create_model(name, pretrained=False, num_classes=classes)
    return build


def facenet(classes):
    from facenet_pytorch import InceptionResnetV1
    return InceptionResnetV1(classify=True, num_classes=classes)


def vgg16(classes):
    import torchvision

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.feature = torchvision.models.vgg16_bn().features
            self.bn = nn.BatchNorm1d(2048)
            self.fc_layer = nn.Linear(2048, classes)

        def forward(self, x):
            return self.fc_layer(self.bn(self.feature(x).flatten(1)))
    return Net()


class Unit(nn.Module):
    """A residual unit of the IR networks: BN, 3x3, PReLU, 3x3 with the stride, BN; the shortcut subsamples or projects."""

    def __init__(self, a, b, stride):
        super().__init__()
        self.stride = stride
        self.short = nn.Sequential(nn.Conv2d(a, b, 1, stride, bias=False), nn.BatchNorm2d(b)) if a != b else None
        self.res = nn.Sequential(nn.BatchNorm2d(a), nn.Conv2d(a, b, 3, 1, 1, bias=False), nn.PReLU(b),
                                 nn.Conv2d(b, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b))

    def forward(self, x):
        skip = self.short(x) if self.short else x[:, :, :: self.stride, :: self.stride]
        return skip + self.res(x)


def ir(units, side):
    def build(classes):
        widths, layers, a = (64, 128, 256, 512), [], 64
        for n, b in zip(units, widths):
            layers += [Unit(a, b, 2)] + [Unit(b, b, 1) for _ in range(n - 1)]
            a = b
        return nn.Sequential(nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64), *layers,
                             nn.BatchNorm2d(512), nn.Dropout(0.5), nn.Flatten(), nn.Linear(512 * side * side, 512),
                             nn.BatchNorm1d(512), nn.Linear(512, classes))
    return build


TWINS = {
    "vgg16": vgg16, "ir152": ir((3, 8, 36, 3), 4), "facenet64": ir((3, 4, 14, 3), 4), "facenet112": ir((3, 4, 14, 3), 7),
    "resnet18": vision("resnet18"), "resnet50": vision("resnet50"), "resnet101": vision("resnet101"),
    "resnet152": vision("resnet152"), "densenet121": vision("densenet121"), "densenet169": vision("densenet169"),
    "maxvit": vision("maxvit_t"), "maxvit_t": vision("maxvit_t"),
    "inception_v3": vision("inception_v3", init_weights=False), "inceptionv3": vision("inception_v3", init_weights=False),
    "efficientnet_b0": vision("efficientnet_b0"), "efficientnet_b1": vision("efficientnet_b1"),
    "efficientnet_b2": vision("efficientnet_b2"), "resnest101": timm_net("resnest101e"),
    "inception_resnet_v1": facenet, "inception_v1": facenet, "inceptionv1": facenet, "facenet": facenet,
}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("work")
    p.add_argument("--device", default="cpu")
    p.add_argument("--threads", type=int, default=0)
    p.add_argument("--seconds", type=float, default=10)
    for name in ("size", "classes", "batch"):
        p.add_argument("--" + name, type=int, required=True)
    p.add_argument("--frozen", action="store_true", help="taken for compatibility with other peers; no effect")
    a = p.parse_args()
    if a.threads:
        torch.set_num_threads(a.threads)
    name, mode = a.work.rsplit("/", 1)
    try:
        net = TWINS[name](a.classes)
    except (ImportError, AttributeError, KeyError, RuntimeError) as why:
        print(json.dumps({"missing": f"{type(why).__name__}: {why}"}))
        return
    dev, train = torch.device(a.device), mode == "train"
    net = net.to(dev).train(train)
    x = torch.rand(a.batch, 3, a.size, a.size, device=dev)
    y = torch.randint(0, a.classes, (a.batch,), device=dev)
    opt = torch.optim.Adam(net.parameters(), 1e-3) if train else None

    def step():
        if not train:
            with torch.no_grad():
                net(x)
            return
        opt.zero_grad()
        out = net(x)
        out = out[0] if isinstance(out, tuple) else out
        F.cross_entropy(out, y).backward()
        opt.step()

    def timed():
        start = time.perf_counter()
        step()
        if dev.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    for _ in range(3):
        timed()
    times, start = [], time.perf_counter()
    while time.perf_counter() - start < a.seconds or len(times) < 3:
        times.append(timed())
    times.sort()
    print(json.dumps({"work": a.work, "value": a.batch / times[len(times) // 2], "unit": "images/s", "steps": len(times),
                      "torch": torch.__version__, "precision": "fp32", "threads": torch.get_num_threads(),
                      "device": torch.cuda.get_device_name(dev) if dev.type == "cuda" else "cpu",
                      "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}))


if __name__ == "__main__":
    main()
