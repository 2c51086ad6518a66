#!/usr/bin/env python3
"""ResNet-20 on CIFAR-10: prepares net and images, measures the dense net with PyTorch, and compares methods at equal steps.

    graphs.py prepare FOLDER            writes resnet20.onnx and unpacks the images; both come from WRING_DATA
    graphs.py dense FOLDER              accuracy and loss of PyTorch on the pixels that Pillow decodes, beside `wring-engine eval`
    graphs.py compare FOLDER [--steps 400] [--target 0.3] [--seeds 0 1 2] [--examples 2000]
"""
import argparse
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/conformance"))
from image_fixtures import DATA, decoded, export  # noqa: E402

ENGINE = ROOT / "build/release/bin/wring-engine"
MEAN, STD = "[0.485, 0.456, 0.406]", "[0.229, 0.224, 0.225]"


def net():
    import graph_nets
    return graph_nets.NETS["resnet-20, trained"][0]().eval()


def prepare(folder):
    folder.mkdir(parents=True, exist_ok=True)
    export(net(), (3, 32, 32), folder / "resnet20.onnx")
    with tarfile.open(DATA / "cifar10/cifar10-jpg.tar.gz") as archive:
        archive.extractall(folder, filter="data")


def engine(*arguments):
    result = subprocess.run([str(a) for a in (ENGINE, *arguments, "--json", "--quiet")], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(result.stdout)


def figures(result):
    return {(row["suite"], row["metric"], row["when"]): row for row in result["evaluations"]}


def dense(folder):
    images, labels = decoded(folder, "test")
    pixels, labels = torch.tensor(images).permute(0, 3, 1, 2), torch.tensor(labels)
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["prepare", "dense", "compare"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--target", type=float, default=0.3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--examples", type=int, default=2000)
    options = parser.parse_args()
    if options.what == "compare":
        return compare(options.folder, options.steps, options.target, options.seeds, options.examples)
    {"prepare": prepare, "dense": dense}[options.what](options.folder)


if __name__ == "__main__":
    main()
