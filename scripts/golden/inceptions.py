"""MaxViT-T, Inception-V3 and Inception-ResNet-V1 as the parity tests and golden numbers use them.

The networks are torchvision's and facenet-pytorch's own, opened before their last layer.  Inception-V3 stands as its
judges were published: the last layer replaced, the auxiliary head at 1000 outputs.  `aux` holds that head's logits of
the last training pass.  The form FID uses is put together from torchvision's layers with the pooling it is known for.
"""
import importlib.util

import torch
import torchvision
from torch import nn
import torch.nn.functional as F


class Opened(nn.Module):
    """net: keys stay its own; head: name of the layer whose input is the feature."""
    def __init__(self, net, head):
        super().__init__()
        self.net, self.head, self.aux = net, head, None

    def forward(self, x):
        seen = []
        hook = self.net.get_submodule(self.head).register_forward_pre_hook(lambda m, a: seen.append(a[0]))
        logits = self.net(x)
        hook.remove()
        self.aux = None
        if isinstance(logits, tuple):
            logits, self.aux = logits
        return seen[0], logits, []

    def state_dict(self, *a, **k):
        return self.net.state_dict(*a, **k)

    def named_parameters(self, *a, **k):
        return self.net.named_parameters(*a, **k)


def maxvit(classes, bias):
    net = torchvision.models.maxvit_t(num_classes=classes)
    for module in net.modules():
        if isinstance(module, torchvision.ops.StochasticDepth):
            module.p = 0.0
    if bias:
        net.classifier[5] = nn.Linear(512, classes)
    return Opened(net, 'classifier.5')


def inception_v3(classes, transform):
    net = torchvision.models.inception_v3(weights=None, init_weights=False, aux_logits=True, dropout=0.0,
                                          transform_input=transform)
    net.fc = nn.Linear(2048, classes)
    return Opened(net, 'fc')


def inception_resnet_v1(classes):
    from facenet_pytorch import InceptionResnetV1
    return Opened(InceptionResnetV1(classify=True, num_classes=classes, dropout_prob=0.0), 'logits')


plain_mean = F.avg_pool2d


def inside_mean(x, **k):
    """3x3 mean of what lies inside the map: the padded mean, divided by the share of pixels that are there."""
    mean = lambda t: plain_mean(t, kernel_size=3, stride=1, padding=1)
    return mean(x) / mean(torch.ones_like(x[:1, :1]))


def repooled(module, pool):
    """Gives a module torchvision's forward with another pooling of the same 3x3 neighbourhood."""
    base = type(module)

    def forward(self, x):
        F.avg_pool2d = pool
        try:
            return base.forward(self, x)
        finally:
            F.avg_pool2d = plain_mean
    module.__class__ = type('Repooled' + base.__name__, (base,), {'forward': forward})


def inception_fid(classes):
    net = torchvision.models.inception_v3(weights=None, init_weights=False, aux_logits=False, num_classes=classes,
                                          dropout=0.0, transform_input=False)
    for name, module in net.named_children():
        if hasattr(module, 'branch_pool'):
            repooled(module, (lambda t, **k: F.max_pool2d(t, 3, 1, 1)) if name == 'Mixed_7c' else inside_mean)
    return Opened(net, 'fc')


# as NETS of models.py; a name carries the settings that differ from our defaults
NETS = {
    'maxvit_t': (lambda: maxvit(1000, True), 224, 0, '', '', '', '', 0, 0),
    'maxvit_t,head_bias=no': (lambda: maxvit(1000, False), 224, 1.0, 'stem.0.0', 'classifier.5', 'stem.0.1',
                              'blocks.3.layers.1.layers.MBconv.layers.conv_b.1', 0, 1),
    'inception_v3': (lambda: inception_v3(1000, True), 299, 1.5, 'Conv2d_1a_3x3.conv', 'fc', '', '', 0, 2),
    'inception_v3,transform_input=no': (lambda: inception_v3(1000, False), 299, 1.5, 'Conv2d_1a_3x3.conv', 'fc',
                                        'Conv2d_1a_3x3.bn', 'Mixed_7c.branch_pool.bn', None, 1),
    'inception_fid': (lambda: inception_fid(1008), 139, 1.5, 'Conv2d_1a_3x3.conv', 'fc', '', '', 0, 2),
}
if importlib.util.find_spec('facenet_pytorch'):
    NETS['inception_resnet_v1'] = (lambda: inception_resnet_v1(8631), 160, 1.25, 'conv2d_1a.conv', 'logits',
                                   'conv2d_1a.bn', 'last_bn', 0, 1)
