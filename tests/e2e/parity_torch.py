"""The PyTorch side of parity_torch.sh.   probe NET | make NET SIZE MODE FILE | check NET SIZE FILE OURS | row NET SIZE MODE LOG

probe  tells whether the packages a network needs are there
make   random weights, input and labels of a network and what PyTorch computes from them in float64, as one file; beside
       each number how far PyTorch's own float32 is from it (the worst of three ways to run it) and a limit for ours:
       1e-4, or ten times PyTorch's own but at most 0.05 (a ReLU that rounds to the other side of zero changes gradients
       visibly; a wrong layer changes them altogether, and the comparison in float64 shows it)
check  loads the file our program saved with strict=True and compares it with PyTorch's state after the same pass
row    what check and tool_parity printed, as a line of the table in docs/PARITY.md
Safetensors are an 8-byte length, a JSON header and raw bytes: a few lines each way, no package needed.
"""
import copy, ctypes, json, os, re, struct, sys
import torch
import torch.nn.functional as F

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '..', '..', 'scripts', 'golden'))
import inceptions
import models
import references

CLASSES, BATCH = 17, 4


def write(path, tensors):
    head, body, at = {}, [], 0
    for name, t in tensors.items():
        t = t.detach().contiguous()
        body.append(ctypes.string_at(t.data_ptr(), t.numel() * t.element_size()))
        head[name] = {'dtype': {torch.float32: 'F32', torch.float64: 'F64', torch.int64: 'I64'}[t.dtype],
                      'shape': list(t.shape), 'data_offsets': [at, at + len(body[-1])]}
        at += len(body[-1])
    text = json.dumps(head).encode()
    text += b' ' * (-len(text) % 8)
    with open(path, 'wb') as f:
        f.write(struct.pack('<Q', len(text)) + text)
        f.writelines(body)


def read(path):
    with open(path, 'rb') as f:
        data = f.read()
    n = struct.unpack('<Q', data[:8])[0]
    out = {}
    for name, e in json.loads(data[8:8 + n]).items():
        if name != '__metadata__':
            raw = data[8 + n + e['data_offsets'][0]:8 + n + e['data_offsets'][1]]
            kind = {'F32': torch.float32, 'F64': torch.float64, 'I64': torch.int64}[e['dtype']]
            out[name] = torch.frombuffer(bytearray(raw), dtype=kind).reshape(e['shape'])
    return out


OWN = {'maxvit_t': lambda: inceptions.maxvit(CLASSES, True),
       'maxvit_t,head_bias=no': lambda: inceptions.maxvit(CLASSES, False),
       'inception_v3': lambda: inceptions.inception_v3(CLASSES, True),
       'inception_v3,transform_input=no': lambda: inceptions.inception_v3(CLASSES, False),
       'inception_fid': lambda: inceptions.inception_fid(CLASSES),
       'inception_resnet_v1': lambda: inceptions.inception_resnet_v1(CLASSES),
       'densenet121': lambda: models.ResNet('densenet121', CLASSES, 'classifier'),
       'densenet169': lambda: models.ResNet('densenet169', CLASSES, 'classifier'),
       'resnest101': lambda: references.resnest(CLASSES),
       'resnet50_mirror': lambda: references.Mirror(CLASSES),
       'efficientnet_b0': lambda: references.LommaNet('efficientnet_b0', CLASSES),
       'efficientnet_b1': lambda: references.LommaNet('efficientnet_b1', CLASSES),
       'efficientnet_b2': lambda: references.LommaNet('efficientnet_b2', CLASSES)}


IR_UNITS = {'facenet64': (3, 4, 14, 3), 'facenet112': (3, 4, 14, 3), 'ir152': (3, 8, 36, 3)}


def build(net, size):
    if net == 'vgg16':
        return models.VGG16(CLASSES, size)
    if net in IR_UNITS:
        return models.IR(CLASSES, size, IR_UNITS[net], net == 'facenet112')
    if net in OWN:
        return OWN[net]()
    return models.ResNet(net, CLASSES)


def inner(net):  # the module whose state_dict carries the public names
    return getattr(net, 'net', net)


def make(name, size, mode, path):
    torch.manual_seed(11)
    net = build(name, size)
    with torch.no_grad():  # statistics and slopes away from their special first values
        for key, t in inner(net).state_dict().items():
            if key.endswith('running_var'): t.uniform_(0.5, 1.5)
            elif key.endswith('running_mean'): t.normal_(0, 0.1)
            elif key.endswith('position_bias_table'): t.normal_(0, 0.5)
            elif t.dim() == 1: t.add_(torch.randn_like(t) * 0.1)
            # few ReLUs then sit at zero, where rounding alone decides on a gradient; `eval` has them all over
            if mode == 'train' and key.endswith('.bias') and key[:-4] + 'running_mean' in inner(net).state_dict():
                t.add_(3.0)
    out = {'net.' + k: v.clone() for k, v in inner(net).state_dict().items()}
    x = torch.rand(BATCH, 3, size, size)
    y = torch.randint(0, CLASSES, (BATCH,))
    net.train(mode == 'train')
    exact, state, norms, after = results(net, x, y, torch.float64, torch.contiguous_format)
    runs = [results(net, x, y, torch.float32, layout)[:2] for layout in (torch.contiguous_format, torch.channels_last)]
    with torch.backends.mkldnn.flags(enabled=False):
        runs.append(results(net, x, y, torch.float32, torch.contiguous_format)[:2])
    out.update({'input': x, 'labels': y, 'norms': norms})
    noise = {k: max(off(r[0][k], v) for r in runs) for k, v in exact.items()}
    worst = max(v for k, v in noise.items() if 'grad' in k)  # a kink shows in one gradient or in another
    limit = {k: 10 * (worst if 'grad' in k else v) for k, v in noise.items()}
    noise['statistics'] = max(off(r[1][k], v) for r in runs for k, v in state.items())
    limit['statistics'] = 10 * noise['statistics']
    for k, v in exact.items():
        out['expect.' + k] = v
    for k, v in state.items():
        out['state.' + k] = v
    for k, v in noise.items():
        out['noise.' + k] = torch.tensor(v)
        out['limit.' + k] = torch.tensor(max(1e-4, min(0.05, limit[k])))
    write(path, out)
    write(path + '.after', {k: v.float() if v.is_floating_point() else v for k, v in after.items()})


def off(ours, exact):
    """Relative L2 deviation."""
    return ((ours - exact).norm() / exact.norm()).item()


def results(net, x, y, dtype, layout):
    """What the pass gives and the running statistics it leaves, in float64, the norm of every gradient, the state."""
    net = copy.deepcopy(net).to(dtype).to(memory_format=layout)
    x = x.detach().clone().to(dtype).to(memory_format=layout).requires_grad_(True)
    feature, logits, _ = net(x)
    aux = getattr(net, 'aux', None)
    loss = F.cross_entropy(logits, y) if aux is None else F.cross_entropy(logits, y) + F.cross_entropy(aux, y)
    loss.backward()
    grads = {k: p.grad for k, p in inner(net).named_parameters() if p.grad is not None}
    keys = list(grads)
    # of a BatchNorm's bias nothing may be left behind the next BatchNorm: a weight's gradient is never only rounding
    middle = [k for k, g in grads.items() if g.dim() > 1][len(keys) // 6]
    out = {'logits': logits, 'feature': feature, 'loss': loss, 'grad_input': x.grad}
    if aux is not None:
        out['aux'] = aux
    out.update({'grad.' + k: grads[k] for k in (keys[0], middle, keys[-2], keys[-1])})
    norms = torch.tensor([g.double().norm().item() for g in grads.values()], dtype=torch.float64)
    after = inner(net).state_dict()
    state = {k: v.double() for k, v in after.items() if '.running_' in k}
    return {k: v.detach().double() for k, v in out.items()}, state, norms, after


def check(name, size, path, ours):
    net = inner(build(name, size))
    net.load_state_dict(read(ours), strict=True)
    after = read(path + '.after')
    assert list(net.state_dict()) == list(after)
    for key, t in net.state_dict().items():
        far = (t.double() - after[key].double()).norm() / (after[key].double().norm() + 1e-12)
        assert far <= 1e-4, '%s deviates by %g' % (key, far)
    print('# %d tensors load with strict=True' % len(after))


def row(name, size, mode, log):
    """float32: ours / PyTorch's own; float64: ours, and the worst of all quantities."""
    text = open(log).read()
    keys = re.search(r'# (\d+) tensors load with strict=True', text)
    single = {k: (ours, own) for k, ours, own in re.findall(r'^# f32 (\S+) +(\S+)  PyTorch\'s own (\S+)', text, re.M)}
    exact = {k: v for k, v in re.findall(r'^# f64 (.*?)  +(\S+)  limit', text, re.M)}
    cells = [name.replace(',', ', '), size, mode, keys.group(1) if keys else 'no']
    cells += ['%s / %s / %s' % (*single[k], exact[k]) for k in ('logits', 'feature', 'grad_input')]
    print('| ' + ' | '.join(cells + [max(exact.values(), key=float)]) + ' |')


if sys.argv[1] == 'probe':
    if 'inception_resnet_v1' in sys.argv[2:]: import facenet_pytorch
elif sys.argv[1] == 'make':
    make(sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5])
elif sys.argv[1] == 'check':
    check(sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5])
elif sys.argv[1] == 'row':
    row(*sys.argv[2:6])
