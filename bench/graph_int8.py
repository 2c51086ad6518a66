#!/usr/bin/env python3
"""int8 of graphs: `ptq` beside onnxruntime's quantize_static on the same calibration examples, both run by onnxruntime on one thread.

    graph_int8.py resnet FOLDER [--examples 256] [--seeds 0 1 2]    ResNet-20 on CIFAR-10's test images (`graphs.py prepare FOLDER` first)
    graph_int8.py minilm FOLDER [--examples 128] [--scored 1000]    all-MiniLM-L6-v2 of build/models, exported here, on build/data/sentences.txt
    --ranges minmax percentile entropy                              how both take the values' ranges, all three by default

Of MiniLM onnxruntime makes two files: as it does by itself, where the sum with the attention mask (-3e38) is rounded as well, and with nothing
but products rounded. Accuracies are paired by image; times are medians over rounds in which the models take turns.
"""
import argparse
import json
import statistics
import subprocess
import time
from pathlib import Path

import numpy
import onnxruntime
import torch
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from graphs import ENGINE, MEAN, ROOT, STD, decoded

METHODS = {"minmax": CalibrationMethod.MinMax, "percentile": CalibrationMethod.Percentile, "entropy": CalibrationMethod.Entropy}


class Reader(CalibrationDataReader):
    def __init__(self, batches):
        self.batches = iter(batches)

    def get_next(self):
        return next(self.batches, None)


def session(path, threads=1):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(runner, inputs, batch):
    count = len(next(iter(inputs.values())))
    return numpy.concatenate([runner.run(None, {name: values[i:i + batch] for name, values in inputs.items()})[0] for i in range(0, count, batch)])


def times(paths, inputs, rounds):
    """Median seconds of each, taking turns."""
    runners = {name: session(path) for name, path in paths.items()}
    seconds = {name: [] for name in paths}
    for turn in range(-2, rounds):
        for name, runner in runners.items():
            start = time.perf_counter()
            runner.run(None, inputs)
            if turn >= 0:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def ours(model, data, recipe, out, seed=0):
    command = [ENGINE, "run", recipe, "--model", model, "--data", f"calibration={data}", "--seed", seed, "--threads", 1, "--out", out, "--json", "--quiet"]
    subprocess.run(["rm", "-rf", out], check=True)
    result = json.loads(subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, text=True, check=True).stdout)
    return next(stage for stage in result["stages"] if stage["name"] == "ptq"), next(Path(out).glob("*.onnx"))


def theirs(model, inputs, method, out, at_once=32, operators=None):
    prepared = out.with_suffix(".prepared.onnx")
    quant_pre_process(str(model), str(prepared), skip_symbolic_shape=True)
    count = len(next(iter(inputs.values())))
    batches = [{name: values[i:i + at_once] for name, values in inputs.items()} for i in range(0, count, at_once)]
    start = time.perf_counter()
    quantize_static(str(prepared), str(out), Reader(batches), quant_format=QuantFormat.QDQ, per_channel=True, activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8, calibrate_method=METHODS[method], op_types_to_quantize=operators)
    return time.perf_counter() - start


def normalised(pixels):
    mean, std = (numpy.array(json.loads(text), numpy.float32) for text in (MEAN, STD))
    return ((pixels.astype(numpy.float32) / 255 - mean) / std).transpose(0, 3, 1, 2).astype(numpy.float32).copy()


def paired(right, other):
    """Mean difference of two columns of right and wrong, and its standard error."""
    difference = right.astype(float) - other.astype(float)
    return difference.mean(), difference.std(ddof=1) / len(difference) ** 0.5


def resnet(folder, examples, seeds, ranges):
    train, train_labels = decoded(folder, "train")
    test, labels = decoded(folder, "test")
    x, model = normalised(test), folder / "resnet20.onnx"
    dense = run(session(model), {"image": x}, 500).argmax(1) == labels
    print(f"fp32 top-1 {dense.mean():.4f} of {len(labels)} images, {model.stat().st_size / 1e6:.2f} MB")
    for seed in seeds:
        chosen = numpy.random.default_rng(seed).permutation(len(train))[:examples]
        numpy.savez(folder / "calibration.npz", images=train[chosen], labels=train_labels[chosen])
        paths = {"fp32": model}
        for method in ranges:
            _, paths[f"wring {method}"] = ours(model, folder / "calibration.npz", f"ptq(examples={examples}, range={method}, mean={MEAN}, std={STD})", folder / f"ptq-{method}", seed)
            paths[f"onnxruntime {method}"] = folder / f"ort-{method}.onnx"
            theirs(model, {"image": normalised(train[chosen])}, method, paths[f"onnxruntime {method}"])
        right = {name: run(session(path), {"image": x}, 500).argmax(1) == labels for name, path in paths.items()}
        seconds = {batch: times(paths, {"image": x[:batch]}, 400 // batch + 20) for batch in (1, 64)}
        for name, path in paths.items():
            text = f"seed {seed}  {name:24} top-1 {right[name].mean():.4f}  {path.stat().st_size / 1e6:.2f} MB"
            if name != "fp32":
                text += "  beside fp32 {:+.4f} +- {:.4f}".format(*paired(right[name], right["fp32"]))
            if name.startswith("wring"):
                text += "  beside onnxruntime {:+.4f} +- {:.4f}".format(*paired(right[name], right[name.replace("wring", "onnxruntime")]))
            print(text + "".join(f"  batch {batch}: {1000 * each[name]:.3f} ms, {each['fp32'] / each[name]:.2f}x" for batch, each in seconds.items()), flush=True)


class Embedding(torch.nn.Module):
    """Mean over the tokens, as sentence-transformers takes it, of length 1."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, ids, mask):
        hidden = self.net(input_ids=ids, attention_mask=mask).last_hidden_state
        weight = mask.unsqueeze(-1).to(hidden.dtype)
        return torch.nn.functional.normalize((hidden * weight).sum(1) / weight.sum(1), dim=1)


def neighbours(embeddings, count=10):
    similar = embeddings @ embeddings.T
    numpy.fill_diagonal(similar, -2)
    return numpy.argsort(-similar, 1)[:, :count]


def minilm(folder, examples, ranges, scored, length=64):
    from transformers import AutoTokenizer, BertModel
    folder.mkdir(parents=True, exist_ok=True)
    source = ROOT / "build/models/minilm"
    sentences = (ROOT / "build/data/sentences.txt").read_text().splitlines()
    order = numpy.random.default_rng(0).permutation(len(sentences))
    tokens = AutoTokenizer.from_pretrained(source)([sentences[i] for i in order[:examples + scored]], padding="max_length", truncation=True, max_length=length, return_tensors="np")
    inputs = {"ids": tokens["input_ids"].astype(numpy.int64), "mask": tokens["attention_mask"].astype(numpy.int64)}
    net, model = Embedding(BertModel.from_pretrained(source, attn_implementation="eager")).eval(), folder / "minilm.onnx"
    torch.onnx.export(net, (torch.tensor(inputs["ids"][:2]), torch.tensor(inputs["mask"][:2])), str(model), input_names=["ids", "mask"], output_names=["embedding"],
                      opset_version=17, dynamo=False, dynamic_axes={name: {0: "batch"} for name in ("ids", "mask", "embedding")})
    calibration, rest = ({name: values[part] for name, values in inputs.items()} for part in (slice(0, examples), slice(examples, None)))
    numpy.savez(folder / "calibration.npz", **calibration)
    paths = {"fp32": model}
    for method in ranges:
        _, paths[f"wring {method}"] = ours(model, folder / "calibration.npz", f"ptq(examples={examples}, range={method})", folder / f"ptq-{method}")
        for name, operators in ((method, None), (f"{method} products", ["MatMul", "Gemm"])):
            out = folder / f"ort-{name.replace(' ', '-')}.onnx"
            try:
                theirs(model, calibration, method, out, operators=operators)
                paths[f"onnxruntime {name}"] = out
            except ValueError as error:
                print(f"onnxruntime {name}: no file: {error}", flush=True)
    made = {name: run(session(path), rest, 50) for name, path in paths.items()}
    seconds = {batch: times(paths, {name: values[:batch] for name, values in rest.items()}, 40 // batch + 10) for batch in (1, 16)}
    near = neighbours(made["fp32"])
    for name, path in paths.items():
        cosines = (made[name] * made["fp32"]).sum(1)
        overlap = statistics.fmean(len(set(a) & set(b)) / 10 for a, b in zip(near, neighbours(made[name])))
        print(f"{name:32} cosine to fp32 {cosines.mean():.4f} +- {cosines.std() / len(cosines) ** 0.5:.5f}, least {cosines.min():.4f}  neighbours kept {overlap:.4f}  {path.stat().st_size / 1e6:.1f} MB" +
              "".join(f"  batch {batch}: {1000 * each[name]:.2f} ms, {each['fp32'] / each[name]:.2f}x" for batch, each in seconds.items()), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["resnet", "minilm"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--examples", type=int)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--scored", type=int, default=1000, help="MiniLM: sentences, others than those calibrated on")
    parser.add_argument("--ranges", choices=METHODS, nargs="+", default=list(METHODS))
    options = parser.parse_args()
    if options.what == "resnet":
        return resnet(options.folder, options.examples or 256, options.seeds, options.ranges)
    minilm(options.folder, options.examples or 128, options.ranges, options.scored)


if __name__ == "__main__":
    main()
