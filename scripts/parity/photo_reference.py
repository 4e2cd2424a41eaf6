"""Our photo operations beside torchvision's (crop, colours, blur) and OpenCV's (Telea inpainting).

    photo_reference.py probe torchvision|cv2     exit 0 when it can be imported
    photo_reference.py torchvision TOOL DIR      random parameters; prints the greatest differences
    photo_reference.py cv2 TOOL DIR              holes on structured pictures; prints the share within a grey level
    photo_reference.py golden DIR                writes tests/golden/telea-*.png from the PNGs in DIR (cv2)

Own code; the pictures are noise passed through blurs, no photographs.
"""
import subprocess
import sys

import numpy as np


class Jobs:
    """Operations collected for one start of the tool."""

    def __init__(self, tool, folder):
        self.tool, self.folder, self.lines, self.checks = tool, folder, [], []

    def add(self, what, size, data, words, check):
        """check(result as float32 or uint8 array [size,size,3]) is called after run()."""
        name = f"{self.folder}/{len(self.lines)}"
        with open(name + ".in", "wb") as f:
            f.write(data)
        self.lines.append(" ".join(map(str, [what, size, name + ".in", name + ".out", *words])))
        self.checks.append((name + ".out", np.uint8 if what == "telea" else np.float32, size, check))

    def run(self):
        with open(self.folder + "/jobs", "w") as f:
            f.write("\n".join(self.lines) + "\n")
        subprocess.run([self.tool, self.folder + "/jobs"], check=True)
        for path, kind, size, check in self.checks:
            check(np.fromfile(path, kind).reshape(size, size, 3))


def picture(rng, size):
    """Smooth colours with edges: what a face crop looks like to these operations."""
    y, x = np.mgrid[:size, :size] / size
    im = np.zeros((size, size, 3))
    for c in range(3):
        for _ in range(6):
            cy, cx, r = rng.random(), rng.random(), 0.1 + 0.3 * rng.random()
            im[..., c] += (rng.random() - 0.3) * (((y - cy) ** 2 + (x - cx) ** 2) < r * r)
            im[..., c] += 0.3 * rng.random() * np.sin(6 * (rng.random() * x + rng.random() * y))
    im -= im.min()
    return (im / im.max() * 255).astype(np.uint8)


def compare_torchvision(tool, folder):
    import torch
    import torchvision.transforms.functional as F

    torch.set_num_threads(1)
    rng = np.random.default_rng(1)
    worst = {"crop": 0.0, "jitter": 0.0, "blur": 0.0}
    jobs = Jobs(tool, folder)

    def expect(key, want):
        def check(got):
            d = np.abs(got - want.permute(1, 2, 0).numpy()).max()
            worst[key] = max(worst[key], float(d))

        return check

    for trial in range(12):
        size = (64, 96, 160)[trial % 3]
        im = picture(rng, size)
        x = torch.from_numpy(im).permute(2, 0, 1).float().div(255)
        side = int(round(size * np.sqrt(rng.uniform(0.5, 1))))
        top, left = rng.integers(0, size - side + 1, 2)
        flip = trial % 2
        want = F.resized_crop(x, int(top), int(left), side, side, [size, size], F.InterpolationMode.BILINEAR)
        want = F.hflip(want) if flip else want
        jobs.add("show", size, im.tobytes(), [top, left, side, side, flip], expect("crop", want))

        shown = want.contiguous()
        floats = shown.permute(1, 2, 0).contiguous().numpy().tobytes()
        amount = [rng.uniform(0.8, 1.2), rng.uniform(0.8, 1.2), rng.uniform(0.9, 1.1), rng.uniform(-0.1, 0.1)]
        order = rng.permutation(4)
        ops = [F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue]
        want = shown
        for k in order:
            want = ops[k](want, float(np.float32(amount[k])))
        jobs.add("jitter", size, floats, [*amount, "".join(map(str, order))], expect("jitter", want))

        sigma = rng.uniform(0.1, 2)
        want = F.gaussian_blur(shown, [23, 23], [sigma, sigma])
        jobs.add("blur", size, floats, [23, sigma], expect("blur", want))
    jobs.run()
    print("# greatest differences from torchvision: " + ", ".join(f"{k} {v:.2e}" for k, v in worst.items()))
    return all(v < 2e-5 for v in worst.values())


def holes(rng, size):
    """A square of random portion, anywhere; now and then at the rim, with a second hole, or scattered."""
    mask = np.zeros((size, size), np.uint8)
    side = int(round(np.sqrt(rng.uniform(0.1, 0.8)) * size))
    top, left = rng.integers(0, size - side + 1, 2)
    kind = rng.integers(0, 5)
    if kind == 0:
        top = 0
    mask[top : top + side, left : left + side] = 255
    if kind == 1:
        mask[3:15, 5:19] = 255
    if kind == 2:
        mask = ((rng.random((size, size)) < 0.3) * 255).astype(np.uint8)
    return mask


def compare_cv2(tool, folder):
    import cv2

    rng = np.random.default_rng(2)
    tally = {"near": 0, "same": 0, "all": 0, "most": 0}
    jobs = Jobs(tool, folder)

    def expect(want, mask):
        def check(got):
            d = np.abs(got.astype(int) - want).max(2)
            tally["near"] += int((d <= 1)[mask > 0].sum())
            tally["same"] += int((d == 0)[mask > 0].sum())
            tally["all"] += int((mask > 0).sum())
            tally["most"] = max(tally["most"], int(d.max()))

        return check

    for trial in range(30):
        size = (64, 96, 160)[trial % 3]
        im, mask = picture(rng, size), holes(rng, size)
        radius = (3, 3, 5, 1)[trial % 4]
        want = cv2.inpaint(im, mask, radius, cv2.INPAINT_TELEA).astype(int)
        jobs.add("telea", size, im.tobytes() + mask.tobytes(), [radius], expect(want, mask))
    jobs.run()
    near, same = tally["near"] / tally["all"], tally["same"] / tally["all"]
    print(f"# OpenCV {cv2.__version__}: {100 * near:.3f} % within a grey level, {100 * same:.3f} % equal, greatest "
          f"difference {tally['most']}")
    return near >= 0.99


def golden(folder):
    import cv2

    boxes = {"a": (20, 14, 36, 36), "b": (0, 30, 26, 26), "c": (9, 4, 51, 51)}
    for name, (top, left, height, width) in boxes.items():
        im = cv2.imread(f"{folder}/{name}.png")
        mask = np.zeros(im.shape[:2], np.uint8)
        mask[top : top + height, left : left + width] = 255
        cv2.imwrite(f"tests/golden/telea-{name}-in.png", im)
        cv2.imwrite(f"tests/golden/telea-{name}-out.png", cv2.inpaint(im, mask, 3, cv2.INPAINT_TELEA))
    return True


if __name__ == "__main__":
    what = sys.argv[1]
    if what == "probe":
        __import__(sys.argv[2])
        if sys.argv[2] == "torchvision":
            import torchvision.transforms.functional  # noqa: F401
        sys.exit(0)
    works = {"torchvision": compare_torchvision, "cv2": compare_cv2, "golden": golden}
    sys.exit(0 if works[what](*sys.argv[2:]) else 1)
