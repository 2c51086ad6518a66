"""Networks and labelled images for conformance files and bench/graphs.py: each is written into a folder from WRING_DATA.

A fixture gives the network's file and files of data by name, or raises FileNotFoundError that says what is missing.
"""
import gzip
import os
import sys
import tarfile
from pathlib import Path

import numpy
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[2]
DATA = Path(os.environ.get("WRING_DATA", ROOT.parent / "shared/data"))
sys.path.insert(0, str(ROOT / "tests/parity"))


def export(net, shape, path):
    torch.onnx.export(net, torch.zeros(2, *shape), str(path), input_names=["image"], output_names=["scores"], opset_version=17, dynamo=False,
                      dynamic_axes={"image": {0: "batch"}, "scores": {0: "batch"}}, do_constant_folding=False, training=torch.onnx.TrainingMode.PRESERVE)


def conv(inputs, outputs, kernel=3, stride=1, groups=1):
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class DigitsNet(nn.Module):
    """A residual sum, a norm behind a concatenation, a depthwise convolution, a squeeze-excite gate, flatten and dense (card C1)."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(conv(1, 16, stride=2), nn.MaxPool2d(2))
        self.inner = nn.Sequential(conv(16, 24), nn.Conv2d(24, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16))
        self.left, self.right = nn.Conv2d(16, 16, 3, 1, 1, bias=False), nn.Conv2d(16, 16, 1, bias=False)
        self.joined = nn.BatchNorm2d(32)
        self.depthwise = nn.Sequential(conv(32, 32, groups=32), conv(32, 32, kernel=1))
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(32, 8, 1), nn.ReLU(), nn.Conv2d(8, 32, 1), nn.Sigmoid())
        self.head = nn.Linear(32 * 9, 10)

    def forward(self, x):
        x = self.stem(x)
        x = torch.relu(x + self.inner(x))
        x = torch.relu(self.joined(torch.cat([self.left(x), self.right(x)], 1)))
        x = self.depthwise(x)
        return self.head(nn.functional.max_pool2d(x * self.gate(x), 2).flatten(1))


class PlainNet(nn.Sequential):
    """Six convolutions without norms or skips (card C3's collapse)."""

    def __init__(self):
        layers, width = [], 1
        for stride in (2, 1, 2, 1, 2, 1):
            layers += [nn.Conv2d(width, 16, 3, stride, 1), nn.ReLU()]
            width = 16
        super().__init__(*layers, nn.Flatten(), nn.Linear(16 * 16, 10))


def mnist(folder):
    """MNIST's 10,000 test images: 8,000 to train on and 2,000 to score, drawn by seed 0."""
    def read(name, start):
        return numpy.frombuffer(gzip.decompress((DATA / "mnist-t10k" / name).read_bytes()), numpy.uint8, offset=start)

    images, labels = read("t10k-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28), read("t10k-labels-idx1-ubyte.gz", 8).astype(numpy.int64)
    order = numpy.random.default_rng(0).permutation(len(labels))
    files = {name: folder / f"{name}.npz" for name in ("train", "test")}
    for name, part in (("train", order[:8000]), ("test", order[8000:])):
        numpy.savez(files[name], images=images[part], labels=labels[part])
    return files


def digits(folder):
    """A fresh net and MNIST's images."""
    files = mnist(folder)
    torch.manual_seed(0)
    export(DigitsNet().train(), (1, 28, 28), folder / "digits.onnx")
    return folder / "digits.onnx", files


def bottleneck(folder):
    """A plain net trained on MNIST's images; then its third layer's weights are 0.05 of what they were and the fourth's 20 times: the same
    function, through channels of small norm that all else hangs on."""
    files = mnist(folder)
    arrays = numpy.load(files["train"])
    images, labels = (torch.tensor(arrays["images"])[:, None] / 255 - 0.13) / 0.31, torch.tensor(arrays["labels"])
    torch.manual_seed(0)
    net = PlainNet()
    optimiser = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(4):
        for part in torch.randperm(len(labels)).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(images[part]), labels[part]).backward()
            optimiser.step()
    with torch.no_grad():
        net[4].weight *= 0.05
        net[4].bias *= 0.05
        net[6].weight *= 20
    export(net.eval(), (1, 28, 28), folder / "bottleneck.onnx")
    return folder / "bottleneck.onnx", files


def decoded(folder, part):
    """CIFAR-10's images [n, 32, 32, 3] as Pillow decodes them, and labels; kept in PART.npz."""
    from PIL import Image
    kept = folder / f"{part}.npz"
    if not kept.is_file():
        images = []
        with tarfile.open(DATA / "cifar10/cifar10-jpg.tar.gz") as archive:
            for member in archive:
                if member.isfile() and member.name.startswith(f"{part}/") and member.name.endswith(".jpg"):
                    images.append((member.name, numpy.array(Image.open(archive.extractfile(member)))))
        images.sort(key=lambda pair: pair[0])
        names = [Path(name).parent.name for name, _ in images]
        classes = sorted(set(names))
        numpy.savez(kept, images=numpy.stack([pixels for _, pixels in images]), labels=numpy.array([classes.index(name) for name in names]))
    arrays = numpy.load(kept)
    return arrays["images"], arrays["labels"]


def resnet20(folder):
    """With its CIFAR-10 weights; 4,000 of the training images, drawn by seed 0, and the test images."""
    import graph_nets
    images, labels = decoded(folder, "train")
    order = numpy.random.default_rng(0).permutation(len(labels))[:4000]
    numpy.savez(folder / "some.npz", images=images[order], labels=labels[order])
    decoded(folder, "test")
    export(graph_nets.resnet20().eval(), (3, 32, 32), folder / "resnet20.onnx")
    return folder / "resnet20.onnx", {"train": folder / "some.npz", "calibration": folder / "some.npz", "test": folder / "test.npz"}


FIXTURES = {"digits": digits, "bottleneck": bottleneck, "resnet20": resnet20}
