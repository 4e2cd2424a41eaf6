#!/usr/bin/env python3
"""Writes tests/golden/{*.keys.tsv,summary.tsv,forward.tsv} with PyTorch: what the C networks are held against.

    scripts/golden/models.py OUT_DIR [network ...]       needs torch and torchvision (Debian: python3-torchvision)

The ResNets are torchvision's; VGG16 and the IR networks are put together here from nn modules under the names their
published checkpoints use.  Weights, input and labels follow the recipe of tests/golden/README.md, so no random
generator is involved and any PyTorch gives the same float64 values.
"""
import hashlib, sys
import numpy as np
import torch
import torchvision
from torch import nn
import torch.nn.functional as F

import inceptions
import references

BN = nn.BatchNorm2d


class VGG16(nn.Module):
    """feature -> bn (bias fixed) -> fc_layer; `blocks`: the five-block naming of the BiDO code, returns its hiddens."""
    PLAN = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))

    def __init__(self, classes, size, blocks=False):
        super().__init__()
        flat, parts, c = [], [], 3
        for width, convs in self.PLAN:
            part = []
            for _ in range(convs):
                part += [nn.Conv2d(c, width, 3, 1, 1), BN(width), nn.ReLU()]
                c = width
            parts.append(part + [nn.MaxPool2d(2, 2)])
            flat += parts[-1]
        self.blocks = blocks
        if blocks:
            for i, part in enumerate(parts):
                setattr(self, 'layer%d' % (i + 1), nn.Sequential(*part))
        else:
            self.feature = nn.Sequential(*flat)
        width = 512 * (size // 32) ** 2
        self.bn = nn.BatchNorm1d(width)
        self.bn.bias.requires_grad_(False)
        self.fc_layer = nn.Linear(width, classes)

    def forward(self, x):
        hidden = []
        if self.blocks:
            for i in range(5):
                x = getattr(self, 'layer%d' % (i + 1))(x)
                hidden.append(x)
        else:
            x = self.feature(x)
        f = self.bn(x.flatten(1))
        return f, self.fc_layer(f), hidden[:4] + [f] if self.blocks else []


class Unit(nn.Module):
    def __init__(self, a, b, s):
        super().__init__()
        if a != b:
            self.shortcut_layer = nn.Sequential(nn.Conv2d(a, b, 1, s, bias=False), BN(b))
        else:
            self.shortcut_layer = nn.MaxPool2d(1, s)
        self.res_layer = nn.Sequential(BN(a), nn.Conv2d(a, b, 3, 1, 1, bias=False), nn.PReLU(b),
                                       nn.Conv2d(b, b, 3, s, 1, bias=False), BN(b))

    def forward(self, x):
        return self.shortcut_layer(x) + self.res_layer(x)


class IR(nn.Module):
    def __init__(self, classes, size, units, inside):
        super().__init__()
        embed = nn.Sequential(BN(512), nn.Dropout(0.0), nn.Flatten(), nn.Linear(512 * (size // 16) ** 2, 512),
                              nn.BatchNorm1d(512))
        body, a = [], 64
        for stage, n in enumerate(units):
            for i in range(n):
                body.append(Unit(a, 64 << stage, 2 if i == 0 else 1))
                a = 64 << stage
        self.feature = nn.Module()
        self.feature.input_layer = nn.Sequential(nn.Conv2d(3, 64, 3, 1, 1, bias=False), BN(64), nn.PReLU(64))
        if inside:
            self.feature.output_layer = embed
        self.feature.body = nn.Sequential(*body)
        if not inside:
            self.output_layer = embed
        self.inside = inside
        self.fc_layer = nn.Linear(512, classes)

    def forward(self, x):
        x = self.feature.body(self.feature.input_layer(x))
        f = (self.feature.output_layer if self.inside else self.output_layer)(x)
        return f, self.fc_layer(f), []


class ResNet(nn.Module):
    """torchvision's network, opened before its last layer; keys stay torchvision's."""
    def __init__(self, name, classes, head='fc'):
        super().__init__()
        self.net = getattr(torchvision.models, name)(num_classes=classes)
        self.head = head

    def forward(self, x):
        seen = []
        hook = getattr(self.net, self.head).register_forward_pre_hook(lambda m, a: seen.append(a[0]))
        logits = self.net(x)
        hook.remove()
        return seen[0], logits, []

    def state_dict(self, *a, **k):
        return self.net.state_dict(*a, **k)

    def named_parameters(self, *a, **k):
        return self.net.named_parameters(*a, **k)


# name: (builder, size, gain, first weight, head weight, first BN, last BN, has a key file, has forward numbers: 2 = eval)
NETS = {
    'resnet18': (lambda: ResNet('resnet18', 1000), 224, 1.25, 'conv1', 'fc', 'bn1', 'layer4.1.bn2', 1, 1),
    'resnet50': (lambda: ResNet('resnet50', 1000), 224, 1.0, 'conv1', 'fc', 'bn1', 'layer4.2.bn3', 0, 1),
    'resnet101': (lambda: ResNet('resnet101', 1000), 224, 0, '', '', '', '', 0, 0),
    'resnet152': (lambda: ResNet('resnet152', 1000), 224, 0, '', '', '', '', 0, 0),
    'vgg16': (lambda: VGG16(1000, 64), 64, 1.5, 'feature.0', 'fc_layer', 'feature.1', 'bn', 1, 1),
    'vgg16_bido': (lambda: VGG16(1000, 64, True), 64, 1.5, 'layer1.0', 'fc_layer', 'layer1.1', 'bn', None, 1),
    'ir152': (lambda: IR(1000, 64, (3, 8, 36, 3), False), 64, 0, '', '', '', '', 0, 0),
    'facenet64': (lambda: IR(1000, 64, (3, 4, 14, 3), False), 64, 0.5, 'feature.input_layer.0', 'fc_layer',
                  'feature.input_layer.1', 'output_layer.4', 0, 1),
    'facenet112': (lambda: IR(1000, 112, (3, 4, 14, 3), True), 112, 0.5, 'feature.input_layer.0', 'fc_layer',
                   'feature.input_layer.1', 'feature.body.23.res_layer.4', 1, 1),
    'densenet121': (lambda: ResNet('densenet121', 1000, 'classifier'), 96, 1.5, 'features.conv0', 'classifier',
                    'features.norm0', 'features.norm5', 0, 1),
    'densenet169': (lambda: ResNet('densenet169', 1000, 'classifier'), 64, 1.5, 'features.conv0', 'classifier',
                    'features.norm0', 'features.norm5', 0, 1),
    'resnest101': (lambda: references.ResNeSt(1000), 96, 1.0, 'conv1.0', 'fc', 'conv1.1', 'layer4.2.bn3', 0, 1),
    'resnet50_mirror': (lambda: references.Mirror(1000), 96, 1.0, 'conv1_7x7_s2', 'classifier', 'conv1_7x7_s2_bn',
                        'conv5_3_1x1_increase_bn', 0, 1),
}
for b in range(3):
    NETS['efficientnet_b%d' % b] = (lambda b=b: references.LommaNet('efficientnet_b%d' % b, 1000), 64, 1.5,
                                    'feature.0.0.0', 'fc_layer', 'feature.0.0.1', 'feature.0.8.1', 0, 1)

NETS.update(inceptions.NETS)


def units(key, n):
    """n values in [-1,1): splitmix64's finaliser over FNV-1a of the key plus the element number."""
    h = 0xcbf29ce484222325
    for c in key.encode():
        h = ((h ^ c) * 0x100000001b3) & (2 ** 64 - 1)
    with np.errstate(over='ignore'):
        z = np.arange(n, dtype=np.uint64) + np.uint64((h + 0x9E3779B97F4A7C15) & (2 ** 64 - 1))
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    u = (z >> np.uint64(11)).astype(np.float64) * 2.0 ** -53 * 2 - 1
    return torch.frombuffer(bytearray(u.tobytes()), dtype=torch.float64)


def fill(net, gain):
    for key, t in net.state_dict().items():
        last = key.rsplit('.', 1)[-1]
        if last in ('num_batches_tracked', 'relative_position_index'):
            if last == 'num_batches_tracked': t.zero_()
            continue
        u = units(key, t.numel()).reshape(t.shape)
        if last == 'relative_position_bias_table': v = 0.5 * u
        elif last == 'running_mean': v = 0.1 * u
        elif last == 'running_var': v = 1 + 0.25 * u
        elif t.dim() >= 2: v = gain * (3.0 / (t.numel() / t.shape[0])) ** 0.5 * u
        elif last == 'weight': v = 1 + 0.25 * u
        else: v = 0.1 * u
        t.copy_(v)


def measure(name, variant, dtype, layout=torch.contiguous_format):
    build, size, gain, first, head, bn_first, bn_last = NETS[name][:7]
    net, n = build().to(dtype).to(memory_format=layout), 2 if variant == 'eval' else 4
    net.train(variant == 'train')
    with torch.no_grad():
        fill(net, gain)
    for _, p in net.named_parameters():
        p.requires_grad_(True)
    x = units('input', n * 3 * size * size).reshape(n, 3, size, size).to(dtype).to(memory_format=layout).requires_grad_(True)
    f, logits, hidden = net(x)
    classes = logits.shape[1]
    y, aux = torch.tensor([(37 * i + 11) % classes for i in range(n)]), getattr(net, 'aux', None)
    loss = F.cross_entropy(logits, y) if aux is None else F.cross_entropy(logits, y) + F.cross_entropy(aux, y)
    loss.backward()
    norm = lambda t: t.detach().double().norm().item()
    grads = {k: norm(p.grad) for k, p in net.named_parameters() if p.grad is not None}
    out = [('logits[%d][%d]' % (i, c), logits[i, c].item()) for i, c in ((0, 0), (0, 1), (0, 2), (n - 1, classes - 1))]
    out += [('logits_sum', logits.detach().double().sum().item()), ('logits_l2', norm(logits)),
            ('feature_dim', f.shape[1]), ('feature_l2', norm(f))]
    out += [('hidden%d_l2' % i, norm(h)) for i, h in enumerate(hidden)]
    out += [] if aux is None else [('aux_logits_l2', norm(aux))]
    out += [('loss', loss.item()), ('grad_input_l2', norm(x.grad)),
            ('grad_l2 %s.weight' % first, grads[first + '.weight']),
            ('grad_l2 %s.weight' % head, grads[head + '.weight']),
            ('grad_all_l2', sum(g * g for g in grads.values()) ** 0.5)]
    if variant == 'train':
        state = net.state_dict()
        out += [('l2 %s.%s' % (b, s), norm(state['%s.%s' % (b, s)])) for b in (bn_first, bn_last)
                for s in ('running_mean', 'running_var')]
    return n, size, classes, gain, out


def float32_runs(name, variant):
    """The same pass by different kernels: how much of a number is rounding."""
    runs = [measure(name, variant, torch.float32, layout)[4] for layout in (torch.contiguous_format, torch.channels_last)]
    with torch.backends.mkldnn.flags(enabled=False):
        runs.append(measure(name, variant, torch.float32)[4])
    return runs


def main():
    out_dir, wanted = sys.argv[1], sys.argv[2:] or list(NETS)
    summary = ['# network\tclasses\tsize\tkeys\tparam_elements\tsha256 of "key<TAB>dtype<TAB>shape<LF>" over all keys in order']
    forward = ['# forward and backward numbers with synthetic weights (README.md)',
               '# network\tvariant\tgain\tN\tsize\tclasses\tquantity\tfloat64 value\tlargest relative deviation of float32 runs']
    for name in wanted:
        net = NETS[name][0]()
        params = dict(net.named_parameters())
        rows, digest = [], hashlib.sha256()
        for i, (key, t) in enumerate(net.state_dict().items()):
            dtype, shape = ('i64' if t.dtype == torch.int64 else 'f32'), 'x'.join(map(str, t.shape)) or 'scalar'
            digest.update(('%s\t%s\t%s\n' % (key, dtype, shape)).encode())
            p = params.get(key)
            rows.append('%d\t%s\t%d\t%s\t%s\t%s' % (i, 'buffer' if p is None else 'param',
                                                    p is not None and p.requires_grad, dtype, shape, key))
        if NETS[name][7] is not None:
            summary.append('%s\t%d\t%d\t%d\t%d\t%s' % (name, list(params.values())[-1].shape[0], NETS[name][1], len(rows),
                                                        sum(p.numel() for p in params.values()), digest.hexdigest()))
        if NETS[name][7]:
            with open('%s/%s.keys.tsv' % (out_dir, name), 'w') as f:
                f.write('# state_dict of %s at 1000 classes, in order\n# index\tkind\ttrainable\tdtype\tshape\tkey\n' % name)
                f.write('\n'.join(rows) + '\n')
        for variant in {0: (), 1: ('eval', 'train'), 2: ('eval',)}[NETS[name][8]]:
            n, size, classes, gain, exact = measure(name, variant, torch.float64)
            single = float32_runs(name, variant)
            for i, (q, v) in enumerate(exact):
                forward.append('%s\t%s\t%g\t%d\t%d\t%d\t%s\t%.15g\t%.1e' % (name, variant, gain, n, size, classes, q, v,
                                                                            max(abs(r[i][1] - v) / abs(v) for r in single)))
    for file, lines in (('summary.tsv', summary), ('forward.tsv', forward)):
        with open('%s/%s' % (out_dir, file), 'w') as f:
            f.write('\n'.join(lines) + '\n')


if __name__ == '__main__':
    main()
