"""PyTorch references of the networks torchvision does not have, or has in another form, under their published names.

ResNeSt    the authors' ResNeSt-101 (timm's resnest101e has the same keys)
Mirror     MIRROR's ResNet-50, an import of a Caffe network with flat names
LommaNet   torchvision's EfficientNet trunk with one linear layer, as LOMMA's augmented models

Each call returns feature, logits, [].  Dropout and stochastic depth are off: what is compared has to be the same.
"""
import torch
import torchvision
from torch import nn
import torch.nn.functional as F

BN = nn.BatchNorm2d


class SplitAttention(nn.Module):
    def __init__(self, w):
        super().__init__()
        q = max(w // 2, 32)
        self.conv = nn.Conv2d(w, 2 * w, 3, 1, 1, groups=2, bias=False)
        self.bn0 = BN(2 * w)
        self.fc1 = nn.Conv2d(w, q, 1)
        self.bn1 = BN(q)
        self.fc2 = nn.Conv2d(q, 2 * w, 1)

    def forward(self, x):
        maps = torch.stack(F.relu(self.bn0(self.conv(x))).chunk(2, 1), 1)  # [N,2,w,H,W]
        share = self.fc2(F.relu(self.bn1(self.fc1(maps.sum(1).mean((2, 3), keepdim=True)))))
        share = share.reshape(maps.shape[:3]).softmax(1)[..., None, None]
        return (maps * share).sum(1)


class SplitBlock(nn.Module):
    def __init__(self, a, w, s, projects):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(a, w, 1, bias=False), BN(w)
        self.conv2 = SplitAttention(w)
        self.conv3, self.bn3 = nn.Conv2d(w, 4 * w, 1, bias=False), BN(4 * w)
        self.s = s
        if projects:
            pool = nn.AvgPool2d(s, s, ceil_mode=True, count_include_pad=False)
            self.downsample = nn.Sequential(pool, nn.Conv2d(a, 4 * w, 1, bias=False), BN(4 * w))

    def forward(self, x):
        h = self.conv2(F.relu(self.bn1(self.conv1(x))))
        if self.s == 2:
            h = F.avg_pool2d(h, 3, 2, 1)
        skip = self.downsample(x) if hasattr(self, 'downsample') else x
        return F.relu(self.bn3(self.conv3(h)) + skip)


class ResNeSt(nn.Module):
    def __init__(self, classes, blocks=(3, 4, 23, 3)):
        super().__init__()
        conv = lambda a, b, s: nn.Conv2d(a, b, 3, s, 1, bias=False)
        self.conv1 = nn.Sequential(conv(3, 64, 2), BN(64), nn.ReLU(), conv(64, 64, 1), BN(64), nn.ReLU(), conv(64, 128, 1))
        self.bn1 = BN(128)
        a = 128
        for l, n in enumerate(blocks):
            w, layer = 64 << l, []
            for i in range(n):
                layer.append(SplitBlock(a, w, 2 if l and not i else 1, i == 0))
                a = 4 * w
            setattr(self, 'layer%d' % (l + 1), nn.Sequential(*layer))
        self.fc = nn.Linear(a, classes)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        f = self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3))
        return f, self.fc(f), []


def resnest(classes):
    """timm's network where timm is installed, else the one above."""
    try:
        from timm.models import resnest as timm_resnest
    except ImportError:
        return ResNeSt(classes)

    class Opened(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = timm_resnest.resnest101e(num_classes=classes)

        def forward(self, x):
            f = self.net.global_pool(self.net.forward_features(x))
            return f, self.net.fc(f), []

    return Opened()


class Mirror(nn.Module):
    """Input is in the network's own domain, 0..255 less a mean colour."""
    STAGES = (3, 4, 6, 3)

    def __init__(self, classes):
        super().__init__()
        self.add('conv1_7x7_s2', 3, 64, 7, 2, 3)
        a = 64
        for stage, n in enumerate(self.STAGES, 2):
            w = 16 << stage
            for j in range(1, n + 1):
                s = 2 if stage > 2 and j == 1 else 1
                name = 'conv%d_%d_' % (stage, j)
                self.add(name + '1x1_reduce', a, w, 1, s, 0)
                self.add(name + '3x3', w, w, 3, 1, 1)
                self.add(name + '1x1_increase', w, 4 * w, 1, 1, 0)
                if j == 1:
                    self.add(name + '1x1_proj', a, 4 * w, 1, s, 0)
                a = 4 * w
        self.classifier = nn.Conv2d(a, classes, 1)

    def add(self, name, a, b, k, s, p):
        self.add_module(name, nn.Conv2d(a, b, k, s, p, bias=False))
        self.add_module(name + '_bn', BN(b))

    def unit(self, name, x):
        return getattr(self, name + '_bn')(getattr(self, name)(x))

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.unit('conv1_7x7_s2', x)), 3, 2, 0, ceil_mode=True)
        for stage, n in enumerate(self.STAGES, 2):
            for j in range(1, n + 1):
                name = 'conv%d_%d_' % (stage, j)
                h = F.relu(self.unit(name + '1x1_reduce', x))
                h = self.unit(name + '1x1_increase', F.relu(self.unit(name + '3x3', h)))
                x = F.relu(h + (self.unit(name + '1x1_proj', x) if j == 1 else x))
        pooled = F.avg_pool2d(x, x.shape[-1], 1)  # 7x7 at 224 px, as published
        return pooled.flatten(1), self.classifier(pooled).flatten(1), []


class LommaNet(nn.Module):
    def __init__(self, name, classes):
        super().__init__()
        net = getattr(torchvision.models, name)(stochastic_depth_prob=0.0)
        self.feature = nn.Sequential(net.features, net.avgpool)
        self.fc_layer = nn.Linear(net.classifier[1].in_features, classes)

    def forward(self, x):
        f = self.feature(x).flatten(1)
        return f, self.fc_layer(f), []
