#!/usr/bin/env python3
"""ResNet-20 on CIFAR-10, and a small net on digits: the dense net beside PyTorch, and methods beside each other at equal steps.

    graphs.py prepare FOLDER            writes resnet20.onnx and unpacks the images; both come from WRING_DATA
    graphs.py dense FOLDER              accuracy and loss of PyTorch on the pixels that Pillow decodes, beside `wring-engine eval`
    graphs.py compare FOLDER [--steps 400] [--target 0.3] [--seeds 0 1 2] [--examples 2000]
    graphs.py digits FOLDER [--steps 470] [--target 0.6] [--lambda 1] [--seeds 0 1 2] [--only NAME...]
                                        otov2 and hesso beside their baselines on MNIST's test images, 8,000 to train on and
                                        2,000 to score, drawn by seed 0; a net with every structure of card C1
"""
import argparse
import gzip
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/parity"))
ENGINE = ROOT / "build/release/bin/wring-engine"
DATA = Path(os.environ.get("WRING_DATA", ROOT.parent / "shared/data"))
MEAN, STD = "[0.485, 0.456, 0.406]", "[0.229, 0.224, 0.225]"


def net():
    import graph_nets
    return graph_nets.NETS["resnet-20, trained"][0]().eval()


def prepare(folder):
    folder.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(net(), torch.zeros(2, 3, 32, 32), str(folder / "resnet20.onnx"), input_names=["image"], output_names=["scores"], opset_version=17,
                      dynamo=False, dynamic_axes={"image": {0: "batch"}, "scores": {0: "batch"}}, do_constant_folding=False,
                      training=torch.onnx.TrainingMode.PRESERVE)
    with tarfile.open(DATA / "cifar10/cifar10-jpg.tar.gz") as archive:
        archive.extractall(folder, filter="data")


def engine(*arguments):
    result = subprocess.run([str(a) for a in (ENGINE, *arguments, "--json", "--quiet")], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(result.stdout)


def figures(result):
    return {(row["suite"], row["metric"], row["when"]): row for row in result["evaluations"]}


def dense(folder):
    from PIL import Image
    files = sorted((folder / "test").glob("*/*.jpg"))
    classes = sorted({file.parent.name for file in files})
    labels = torch.tensor([classes.index(file.parent.name) for file in files])
    pixels = torch.tensor(numpy.stack([numpy.array(Image.open(file)) for file in files])).permute(0, 3, 1, 2)
    model, mean, std = net(), *(torch.tensor(json.loads(text)).view(3, 1, 1) for text in (MEAN, STD))
    with torch.no_grad():
        logits = torch.cat([model((part / 255 - mean) / std) for part in pixels.split(500)])
    ours = figures(engine("eval", folder / "resnet20.onnx", "--suite", "accuracy", "--data", folder / "test", "--param", f"mean={MEAN}", "--param", f"std={STD}"))
    print("PyTorch:", (logits.argmax(1) == labels).float().mean().item(), torch.nn.functional.cross_entropy(logits, labels).item())
    print("Wring:  ", *(ours["accuracy", metric, "before"]["value"] for metric in ("top1", "cross_entropy")))


def compare(folder, steps, target, seeds, examples):
    shared = f"mean={MEAN}, std={STD}"
    training = f"steps={steps}, batch=64, learning_rate=0.02, shift=4, mirror=true, {shared}"
    methods = {
        "one-shot": f"magnitude-units(target_group_sparsity={target})",
        "one-shot, fine-tuned": f"magnitude-units(target_group_sparsity={target}) | train-classifier({training})",
        "hesso": f"hesso(target_group_sparsity={target}, {training})",
        "hesso-cric": f"hesso-cric(target_group_sparsity={target}, max_cycle_period=3, sampling_steps=20, {training})",
    }
    for seed in seeds:
        for name, recipe in methods.items():
            if name == "one-shot" and seed != seeds[0]:
                continue
            with tempfile.TemporaryDirectory() as out:
                result = engine("run", f"{recipe} | accuracy({shared}, examples={examples}) | size | latency(batch=64)", "--model", folder / "resnet20.onnx",
                                "--data", f"train={folder / 'train'}", "--data", f"test={folder / 'test'}", "--seed", seed, "--out", f"{out}/out")
            rows = figures(result)
            top1, macs, parameters, seconds = (rows[key + ("after",)] for key in (("accuracy", "top1"), ("size", "macs"), ("size", "parameters"), ("latency", "forward_seconds")))
            print(f"seed {seed}  {name:22} top-1 {top1['value']:.4f} +- {top1['stderr']:.4f} (dense {top1['baseline_value']:.4f})  "
                  f"MACs {macs['value'] / macs['baseline_value']:.3f}  parameters {parameters['value'] / parameters['baseline_value']:.3f}  "
                  f"latency {seconds['value'] / seconds['baseline_value']:.2f}  {sum(stage['seconds'] for stage in result['stages']):.0f} s", flush=True)


def conv(inputs, outputs, kernel=3, stride=1, groups=1):
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs), nn.ReLU())


class DigitsNet(nn.Module):
    """A residual sum, a norm behind a concatenation, a depthwise convolution, a squeeze-excite gate, flatten and dense."""

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


def prepare_digits(folder):
    folder.mkdir(parents=True, exist_ok=True)
    read = lambda name, start: numpy.frombuffer(gzip.decompress((DATA / "mnist-t10k" / name).read_bytes()), numpy.uint8, offset=start)  # noqa: E731
    images, labels = read("t10k-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28), read("t10k-labels-idx1-ubyte.gz", 8).astype(numpy.int64)
    order = numpy.random.default_rng(0).permutation(len(labels))
    for name, part in (("train", order[:8000]), ("test", order[8000:])):
        numpy.savez(folder / f"{name}.npz", images=images[part], labels=labels[part])
    torch.manual_seed(0)
    torch.onnx.export(DigitsNet().train(), torch.zeros(2, 1, 28, 28), str(folder / "digits.onnx"), input_names=["image"], output_names=["scores"], opset_version=17,
                      dynamo=False, dynamic_axes={"image": {0: "batch"}, "scores": {0: "batch"}}, do_constant_folding=False,
                      training=torch.onnx.TrainingMode.PRESERVE)


def digits(folder, steps, target, penalty, seeds, only):
    prepare_digits(folder)
    shared = "mean=0.13, std=0.31"

    def training(count):
        return f"steps={count}, batch=64, learning_rate=0.1, {shared}"

    dense, half = f"train-classifier({training(steps)})", f"train-classifier({training(steps // 2)})"
    methods = {
        "dense": dense,
        "one-shot by family": f"{dense} | magnitude-units(target_group_sparsity={target})",
        "one-shot global": f"{dense} | magnitude-units(target_group_sparsity={target}, scope=global)",
        "one-shot, fine-tuned": f"{half} | magnitude-units(target_group_sparsity={target}) | {half}",
        "otov2": f"otov2(target_group_sparsity={target}, lambda={penalty}, {training(steps)})",
        "hesso": f"hesso(target_group_sparsity={target}, {training(steps)})",
    }
    for seed in seeds:
        for name in only or methods:
            with tempfile.TemporaryDirectory() as out:
                result = engine("run", f"{methods[name]} | accuracy({shared}) | size | latency(batch=64)", "--model", folder / "digits.onnx",
                                "--data", f"train={folder / 'train.npz'}", "--data", f"test={folder / 'test.npz'}", "--seed", seed, "--out", f"{out}/out")
            rows = figures(result)
            top1, parameters, seconds = (rows[key + ("after",)] for key in (("accuracy", "top1"), ("size", "parameters"), ("latency", "forward_seconds")))
            cut = next((stage["report"] for stage in result["stages"] if "removed" in stage.get("report", {})), {"units": 0, "removed": 0, "difference": 0})
            held_out = next((stage["report"]["training"]["held_out_accuracy_after"] for stage in reversed(result["stages"])
                             if "training" in stage.get("report", {})), 0)
            print(f"seed {seed}  {name:20} removed {cut['removed']} of {cut['units']}  difference {cut['difference']:.1e}  held-out {held_out:.4f}  "
                  f"top-1 {top1['value']:.4f}  parameters {parameters['value'] / parameters['baseline_value']:.3f}  "
                  f"latency {seconds['value'] / seconds['baseline_value']:.2f}  {sum(stage['seconds'] for stage in result['stages']):.0f} s", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["prepare", "dense", "compare", "digits"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--target", type=float)
    parser.add_argument("--lambda", dest="penalty", type=float, default=1)
    parser.add_argument("--only", nargs="+", help="some of the methods")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--examples", type=int, default=2000)
    options = parser.parse_args()
    if options.what == "compare":
        return compare(options.folder, options.steps or 400, options.target or 0.3, options.seeds, options.examples)
    if options.what == "digits":
        return digits(options.folder, options.steps or 470, options.target or 0.6, options.penalty, options.seeds, options.only)
    {"prepare": prepare, "dense": dense}[options.what](options.folder)


if __name__ == "__main__":
    main()
