#!/usr/bin/env python3
"""Structured pruning of ResNet-20 on CIFAR-10 beside Torch-Pruning: the same weights, multiply-adds, images, steps and seeds.

    torch_pruning_compare.py FOLDER [METHOD...] [--score validation] [--steps 300] [--seeds 0 1 2] [--speedup 2.1]

FOLDER as `bench/graphs.py prepare FOLDER` leaves it. A METHOD is "wring STAGE", as in "wring taylor-units(group_divisible=4)", whose share is
searched for; "wring-recipe RECIPE" with {data} for mean and std, and {steps} where it trains itself (else it is fine-tuned), which must leave few
enough multiply-adds; or "torch-pruning l2|bn-scale|taylor [global|isomorphic] [round_to=N] [distilled=TEMPERATURE,LOGITS,LABELS]", the last fine-tuned by what
the dense net says as `distill-classifier` does. Both train on some of the first 45,000 of the shuffled training images;
what is tuned is tuned on the other 5,000 (--score validation). Torch-Pruning leaves the residual stream alone, whose shortcuts pad channels by
a fixed number; Wring cuts it as well, and with "wring-inner STAGE" does not: its file then has barriers on the stream, taken out at the end. Both fine-tune with SGD (momentum 0.9, weight decay 1e-4, cosine to a tenth after a
warm-up of 2 %, images moved by up to 4 pixels and mirrored), and onnxruntime runs all files on one thread.
"""
import argparse
import json
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy
import onnx
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from graph_int8 import normalised, paired, run, session, times  # noqa: E402
from graphs import MEAN, STD, decoded, engine, export, figures, net  # noqa: E402

BATCH, PEAK = 64, 0.02
METHODS = ["wring-inner magnitude-units()", "wring-inner taylor-units()", "wring taylor-units()", "torch-pruning l2", "torch-pruning l2 global", "torch-pruning taylor global"]


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


def loss_of(logits, inputs, labels, teacher, distilled):
    """The labels' loss, or of a teacher as `distill-classifier` has it: distilled is (temperature, weight of logits, weight of labels)."""
    if teacher is None:
        return F.cross_entropy(logits, labels)
    temperature, weight, labelled = distilled
    with torch.no_grad():
        taught = F.log_softmax(teacher(inputs) / temperature, 1)
    divergence = F.kl_div(F.log_softmax(logits / temperature, 1), taught, reduction="batchmean", log_target=True)
    return weight * temperature ** 2 * divergence + labelled * F.cross_entropy(logits, labels)


def fine_tune(model, images, labels, steps, seed, teacher=None, distilled=()):
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
        inputs = varied(images[part], random)
        loss_of(model(inputs), inputs, labels[part], teacher, distilled).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5)
        optimiser.step()
    return model.eval()


def bar_stream(source, path):
    """Adds nothing to each stage's last sum, by way of a maximum over channels: along such an axis no unit is cut."""
    model = onnx.load(source)
    sums = [node.output[0] for node in model.graph.node if node.op_type == "Relu" and any(node.input[0] in other.output and other.op_type == "Add" for other in model.graph.node)]
    model.graph.initializer.append(onnx.numpy_helper.from_array(numpy.zeros(1, numpy.float32), "barrier.zero"))
    for value in sums[2::3]:
        for node in model.graph.node:
            node.input[:] = [f"{value}.barred" if name == value else name for name in node.input]
        place = next(i for i, node in enumerate(model.graph.node) if value in node.output) + 1
        for i, node in enumerate([onnx.helper.make_node("ReduceMax", [value], [f"{value}.most"], axes=[1], keepdims=1),
                                  onnx.helper.make_node("Mul", [f"{value}.most", "barrier.zero"], [f"{value}.nothing"]),
                                  onnx.helper.make_node("Add", [value, f"{value}.nothing"], [f"{value}.barred"])]):
            model.graph.node.insert(place + i, node)
    onnx.save(model, path)


def unbar_stream(path):
    model = onnx.load(path)
    kept = [node for node in model.graph.node if not node.output[0].endswith((".most", ".nothing", ".barred"))]
    assert len(kept) == len(model.graph.node) - 9
    for node in kept:
        node.input[:] = [name.removesuffix(".barred") for name in node.input]
    weights = [tensor for tensor in model.graph.initializer if tensor.name != "barrier.zero"]
    del model.graph.node[:], model.graph.initializer[:]
    model.graph.node.extend(kept)
    model.graph.initializer.extend(weights)
    onnx.save(model, path)


class Comparison:
    def __init__(self, options, work):
        self.options, self.folder, self.work = options, options.folder, work
        images, labels = decoded(options.folder, "train")
        order = numpy.random.default_rng(0).permutation(len(labels))
        part, rest = order[:options.train], order[45000:]
        self.images, self.labels = images[part], labels[part]
        numpy.savez(work / "train.npz", images=self.images, labels=self.labels)
        scored, answers = decoded(options.folder, "test") if options.score == "test" else (images[rest], labels[rest])
        chosen = numpy.random.default_rng(0).permutation(len(answers))[:options.examples]
        self.scored, self.answers = scored[chosen], answers[chosen]
        self.x = normalised(self.scored)
        self.dense = options.folder / "resnet20.onnx"
        self.macs = self.multiply_adds(self.dense)

    @staticmethod
    def multiply_adds(path):
        return figures(engine("eval", path, "--suite", "size", "--threads", 1))["size", "macs", "before"]["value"]

    def right(self, path):
        return run(session(path), {"image": self.x}, 500).argmax(1) == self.answers

    def theirs(self, method, seed, out):
        """Torch-Pruning's net, fine-tuned, and how many seconds that took."""
        import torch_pruning
        kind, *others = method.split()
        multiple = next((int(word.removeprefix("round_to=")) for word in others if word.startswith("round_to=")), None)
        distilled = next((tuple(map(float, word.removeprefix("distilled=").split(","))) for word in others if word.startswith("distilled=")), None)
        model, example = net(), torch.zeros(1, 3, 32, 32)
        dense = torch_pruning.utils.count_ops_and_params(model, example)[0]
        blocks = [block for layer in (model.layer1, model.layer2, model.layer3) for block in layer]
        score = {"l2": torch_pruning.importance.GroupMagnitudeImportance, "bn-scale": torch_pruning.importance.BNScaleImportance,
                 "taylor": torch_pruning.importance.GroupTaylorImportance}[kind]()
        pruner = torch_pruning.pruner.BasePruner(
            model, example, importance=score, global_pruning=bool({"global", "isomorphic"} & set(others)), isomorphic="isomorphic" in others, pruning_ratio=0.95,
            max_pruning_ratio=0.95, iterative_steps=100, ignored_layers=[model.conv1, model.linear, *(block.conv2 for block in blocks)], round_to=multiple)
        if kind == "taylor":
            part = numpy.random.default_rng(seed).permutation(len(self.images))[:1024]
            for some in numpy.split(part, 16):
                (F.cross_entropy(model(torch.tensor(normalised(self.images[some]))), torch.tensor(self.labels[some])) / 16).backward()
        while torch_pruning.utils.count_ops_and_params(model, example)[0] > dense / self.options.speedup:
            pruner.step()
        model.zero_grad()
        start = time.perf_counter()
        fine_tune(model, self.images, self.labels, self.options.steps, seed, net() if distilled else None, distilled)
        seconds = time.perf_counter() - start
        out.mkdir()
        export(model, (3, 32, 32), out / "resnet20.onnx")
        return out / "resnet20.onnx", seconds

    def wring_inner(self, stage, seed, out):
        barred = self.work / "barred/resnet20.onnx"
        barred.parent.mkdir(exist_ok=True)
        bar_stream(self.dense, barred)
        path, seconds = self.wring(stage, seed, out, barred)
        unbar_stream(path)
        return path, seconds

    def wring(self, stage, seed, out, model=None):
        """The engine's net, fine-tuned: of shares of units the least found that leaves no more multiply-adds."""
        shared, steps = f"mean={MEAN}, std={STD}", self.options.steps
        name, _, parameters = stage.removesuffix(")").partition("(")
        reads = name != "magnitude-units"
        data = ["--data", f"train={self.work / 'train.npz'}"]

        def pruned(share):
            words = [f"target_group_sparsity={share}", *([parameters] if parameters else []), *([shared] if reads else [])]
            return f"{name}({', '.join(words)})"

        low, high, share, cut = 0.0, 0.95, 0.35, out.with_suffix(".cut")
        while True:
            result = engine("run", pruned(share), "--model", model or self.dense, *(data if reads else []), "--seed", seed, "--threads", 1, "--out", out)
            macs = result["stages"][0]["report"]["macs"]
            speedup = macs["before"] / macs["after"]
            low, high = (low, share) if speedup >= self.options.speedup else (share, high)
            if share == high:
                subprocess.run(["rm", "-rf", cut], check=True)
                out.rename(cut)
            else:
                subprocess.run(["rm", "-rf", out], check=True)
            if high - low < 0.005 or 1 <= speedup / self.options.speedup < 1.01:
                break
            share = (low + high) / 2 if high < 0.95 else share + 0.1
        training = f"train-classifier(steps={steps}, batch={BATCH}, learning_rate={PEAK}, shift=4, mirror=true, {shared})"
        result = engine("run", training, "--model", cut / "resnet20.onnx", *data, "--seed", seed, "--threads", 1, "--out", out)
        return out / "resnet20.onnx", result["stages"][0]["seconds"]

    def wring_recipe(self, recipe, seed, out):
        """The engine's net by a whole recipe, whose stages share the steps."""
        shared, steps = f"mean={MEAN}, std={STD}", self.options.steps
        training = f"batch={BATCH}, learning_rate={PEAK}, shift=4, mirror=true, {shared}"
        if "{steps}" not in recipe:
            recipe += " | train-classifier(steps={steps}, {training})"
        filled = recipe.replace("{steps}", str(steps)).replace("{training}", training).replace("{data}", shared)
        result = engine("run", filled, "--model", self.dense, "--data", f"train={self.work / 'train.npz'}", "--seed", seed, "--threads", 1, "--out", out)
        speedup = self.macs / self.multiply_adds(out / "resnet20.onnx")
        if speedup < self.options.speedup:
            sys.exit(f"{recipe} leaves too many multiply-adds: {speedup:.3f}x fewer, not {self.options.speedup}x")
        return out / "resnet20.onnx", sum(stage["seconds"] for stage in result["stages"])

    def measure(self, seed):
        """A line a method; what each got right."""
        paths, seconds = {"dense": self.dense}, {}
        for i, method in enumerate(self.options.methods):
            tool, _, rest = method.partition(" ")
            make = {"wring": self.wring, "wring-recipe": self.wring_recipe, "wring-inner": self.wring_inner, "torch-pruning": self.theirs}[tool]
            paths[method], seconds[method] = make(rest, seed, self.work / f"{seed}-{i}")
        took = {batch: times(paths, {"image": self.x[:batch]}, 100 // batch + 20) for batch in (1, 64)}
        right = {name: self.right(path) for name, path in paths.items()}
        for name in self.options.methods:
            print(json.dumps({"seed": seed, "method": name, "top1": round(float(right[name].mean()), 4), "macs": round(self.macs / self.multiply_adds(paths[name]), 3),
                              "tuned s": round(seconds[name]), **{f"batch {batch}": f"{1000 * each[name]:.3f} ms, {each['dense'] / each[name]:.2f}x" for batch, each in took.items()}}), flush=True)
        return right


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("methods", nargs="*", default=METHODS)
    parser.add_argument("--score", choices=["test", "validation"], default="test")
    parser.add_argument("--examples", type=int, help="how many images are scored; all")
    parser.add_argument("--train", type=int, default=45000, help="how many of the training images both sides have")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--speedup", type=float, default=2.1, help="dense multiply-adds over those that are left, at least")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        comparison = Comparison(options, Path(work))
        print(f"dense top-1 {comparison.right(comparison.dense).mean():.4f} of {len(comparison.answers)} {options.score} images, {comparison.macs / 1e6:.1f} M multiply-adds", flush=True)
        all_right = [comparison.measure(seed) for seed in options.seeds]
    for name in options.methods:
        mean = numpy.mean([right[name] for right in all_right], 0)
        print(f"{name}: top-1 {mean.mean():.4f} over {len(all_right)} seeds" + "".join(
            "; beside {} {:+.4f} +- {:.4f}".format(other, *paired(mean, numpy.mean([right[other] for right in all_right], 0)))
            for other in options.methods if name.startswith("wring") and other.startswith("torch-pruning")))


if __name__ == "__main__":
    main()
