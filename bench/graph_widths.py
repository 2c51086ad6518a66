#!/usr/bin/env python3
"""What narrower layers gain in onnxruntime on one thread: ResNet-20 with other channels inside its blocks, a width for each stage.

    graph_widths.py [--inner 8,16,32 7,15,30 ...]
"""
import argparse
import tempfile
from pathlib import Path

import numpy
import torch
from torch import nn

from graph_int8 import times
from graphs import engine, export, figures, net


def narrowed(widths):
    model = net()
    for layer, width in zip((model.layer1, model.layer2, model.layer3), widths):
        for block in layer:
            block.conv1 = nn.Conv2d(block.conv1.in_channels, width, 3, block.conv1.stride, 1, bias=False)
            block.bn1 = nn.BatchNorm2d(width)
            block.conv2 = nn.Conv2d(width, block.conv2.out_channels, 3, 1, 1, bias=False)
    return model.eval()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inner", nargs="+", default=["16,16,32", "8,16,32", "8,15,30", "7,15,30", "4,16,32"])
    names = parser.parse_args().inner
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as work:
        paths = {name: Path(work) / f"{i}.onnx" for i, name in enumerate(["16,32,64", *names])}
        for name, path in paths.items():
            export(narrowed([int(width) for width in name.split(",")]), (3, 32, 32), path)
        macs = {name: figures(engine("eval", path, "--suite", "size", "--threads", 1))["size", "macs", "before"]["value"] for name, path in paths.items()}
        images = numpy.random.default_rng(0).normal(size=(64, 3, 32, 32)).astype(numpy.float32)
        seconds = {batch: times(paths, {"image": images[:batch]}, 200 // batch + 20) for batch in (1, 64)}
        for name in paths:
            print(f"{name:10} {macs['16,32,64'] / macs[name]:.2f}x fewer multiply-adds" +
                  "".join(f"  batch {batch}: {each['16,32,64'] / each[name]:.2f}x" for batch, each in seconds.items()))


if __name__ == "__main__":
    main()
