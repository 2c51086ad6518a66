#!/usr/bin/env python3
"""Structured pruning of ResNet-20 on CIFAR-10 beside Torch-Pruning: the same weights, multiply-adds, images, steps and seeds.

    torch_pruning_compare.py FOLDER [--steps 400] [--seeds 0 1 2] [--speedup 2.1] [--divisible 1] [--only NAME...]

Needs torch-pruning beside the packages of build/venv; FOLDER as `bench/graphs.py prepare FOLDER` leaves it. Torch-Pruning leaves the residual stream
alone, whose shortcuts pad channels by a fixed number; Wring cuts it as well. Both fine-tune with SGD (momentum 0.9, weight decay 1e-4, cosine to
a tenth after a warm-up of 2 %, images moved by up to 4 pixels and mirrored), and onnxruntime runs all files on one thread.
"""
import argparse
import json
import math
import sys
import tempfile
import time
from pathlib import Path

import numpy
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from graph_int8 import normalised, run, session, times  # noqa: E402
from graphs import MEAN, STD, decoded, engine, export, figures, net  # noqa: E402

BATCH, PEAK = 64, 0.02


def rate(step, steps):
    warmup = int(0.02 * steps)
    if step < warmup:
        return PEAK * (step + 1) / (warmup + 1)
    return PEAK * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * min(1, (step - warmup) / max(1, steps - 1 - warmup)))))


def varied(pixels, random):
    """Bytes [n, 32, 32, 3] moved by up to 4 pixels each way, black where they end, and mirrored half of the time."""
    padded = numpy.pad(pixels, ((0, 0), (4, 4), (4, 4), (0, 0)))
    moves, mirrored = random.integers(0, 9, (len(pixels), 2)), random.random(len(pixels)) < 0.5
    images = numpy.stack([image[y:y + 32, x:x + 32] for image, (y, x) in zip(padded, moves)])
    images[mirrored] = images[mirrored][:, :, ::-1]
    return torch.tensor(normalised(images))


def fine_tune(model, images, labels, steps, seed):
    random = numpy.random.default_rng(seed)
    torch.manual_seed(seed)
    optimiser = torch.optim.SGD(model.parameters(), PEAK, momentum=0.9, weight_decay=1e-4)
    order, labels = numpy.empty(0, int), torch.tensor(labels)
    model.train()
    for step in range(steps):
        if len(order) < BATCH:
            order = numpy.concatenate([order, random.permutation(len(images))])
        part, order = order[:BATCH], order[BATCH:]
        optimiser.param_groups[0]["lr"] = rate(step, steps)
        optimiser.zero_grad()
        F.cross_entropy(model(varied(images[part], random)), labels[part]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5)
        optimiser.step()
    return model.eval()


def theirs(importance, global_pruning, images, labels, options, seed):
    """Torch-Pruning's net, and how many seconds it trained."""
    import torch_pruning
    model, example = net(), torch.zeros(1, 3, 32, 32)
    dense = torch_pruning.utils.count_ops_and_params(model, example)[0]
    blocks = [block for layer in (model.layer1, model.layer2, model.layer3) for block in layer]
    ignored = [model.conv1, model.linear, *(block.conv2 for block in blocks)]
    if importance == "taylor":
        score, part = torch_pruning.importance.GroupTaylorImportance(), numpy.random.default_rng(seed).permutation(len(images))[:1024]
    else:
        score = torch_pruning.importance.GroupMagnitudeImportance(p=2)
    pruner = torch_pruning.pruner.BasePruner(model, example, importance=score, global_pruning=global_pruning, pruning_ratio=0.95, max_pruning_ratio=0.95,
                                             iterative_steps=400, ignored_layers=ignored, round_to=options.divisible if options.divisible > 1 else None)
    if importance == "taylor":
        F.cross_entropy(model(torch.tensor(normalised(images[part]))), torch.tensor(labels[part])).backward()
    while torch_pruning.utils.count_ops_and_params(model, example)[0] > dense / options.speedup:
        pruner.step()
    start = time.perf_counter()
    model.zero_grad()
    return fine_tune(model, images, labels, options.steps, seed), time.perf_counter() - start


def wring(folder, method, options, seed, out):
    """The engine's net: the least share of units that leaves no more multiply-adds, then training."""
    shared = f"mean={MEAN}, std={STD}"
    model, data = folder / "resnet20.onnx", ["--data", f"train={folder / 'train.npz'}", "--seed", seed]

    def stage(share):
        return method.replace("(", f"(target_group_sparsity={share}, group_divisible={options.divisible}, ", 1).replace("SHARED", shared)

    low, high = 0.0, 0.95
    for _ in range(9):
        share = (low + high) / 2
        with tempfile.TemporaryDirectory() as made:
            rows = figures(engine("run", f"{stage(share)} | size", "--model", model, *data, "--out", f"{made}/out"))
        macs = rows["size", "macs", "after"]
        low, high = (low, share) if macs["value"] <= macs["baseline_value"] / options.speedup else (share, high)
    training = f"train-classifier(steps={options.steps}, batch={BATCH}, learning_rate={PEAK}, shift=4, mirror=true, {shared})"
    result = engine("run", f"{stage(high)} | {training} | size", "--model", model, *data, "--out", out)
    return out / "resnet20.onnx", sum(stage["seconds"] for stage in result["stages"] if stage["name"] == "train-classifier")


def multiply_adds(path):
    return figures(engine("eval", path, "--suite", "size"))["size", "macs", "before"]["value"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--speedup", type=float, default=2.1, help="dense multiply-adds over those that are left, at least")
    parser.add_argument("--divisible", type=int, default=1, help="what widths are a multiple of")
    parser.add_argument("--only", nargs="+", help="some of the methods")
    options = parser.parse_args()
    torch.set_num_threads(1)
    folder = options.folder
    images, labels = decoded(folder, "train")
    test, answers = decoded(folder, "test")
    x = normalised(test)
    methods = {
        "wring l2": lambda seed, out: wring(folder, "magnitude-units(norm=l2)", options, seed, out),
        "wring taylor": lambda seed, out: wring(folder, "taylor-units(SHARED)", options, seed, out),
        "torch-pruning l2": lambda seed, out: exported(theirs("l2", False, images, labels, options, seed), out),
        "torch-pruning l2 global": lambda seed, out: exported(theirs("l2", True, images, labels, options, seed), out),
        "torch-pruning taylor global": lambda seed, out: exported(theirs("taylor", True, images, labels, options, seed), out),
    }

    def exported(trained, out):
        model, seconds = trained
        out.mkdir(parents=True)
        export(model, (3, 32, 32), out / "resnet20.onnx")
        return out / "resnet20.onnx", seconds

    dense = folder / "resnet20.onnx"
    all_macs = multiply_adds(dense)
    right = run(session(dense), {"image": x}, 500).argmax(1) == answers
    print(f"dense top-1 {right.mean():.4f}, {all_macs / 1e6:.1f} M multiply-adds", flush=True)
    with tempfile.TemporaryDirectory() as work:
        for seed in options.seeds:
            paths = {"dense": dense}
            seconds = {}
            for name in options.only or methods:
                paths[name], seconds[name] = methods[name](seed, Path(work) / f"{name}-{seed}".replace(" ", "-"))
            took = {batch: times(paths, {"image": x[:batch]}, 400 // batch + 20) for batch in (1, 64)}
            for name, path in list(paths.items())[1:]:
                right = run(session(path), {"image": x}, 500).argmax(1) == answers
                print(json.dumps({"seed": seed, "method": name, "top1": round(float(right.mean()), 4), "macs": round(all_macs / multiply_adds(path), 3), "seconds": round(seconds[name]),
                                  **{f"batch {batch}": f"{1000 * each[name]:.3f} ms, {each['dense'] / each[name]:.2f}x" for batch, each in took.items()}}), flush=True)


if __name__ == "__main__":
    main()
