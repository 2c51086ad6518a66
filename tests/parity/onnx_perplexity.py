#!/usr/bin/env python3
"""Scores ONNX exports in onnxruntime: perplexity and KL divergence beside the engine's own logits of the same weights.

    onnx_perplexity.py [--bin build/release/bin] [--model build/models/smollm2-offgrid] [--window 512] [--windows 3] [CASE...]     e.g. 2 4

Perplexities may differ by 0.1 %: sums in another order, or in fp16; where onnxruntime rounds inputs to int8 (accuracy_level 4, and its default for int8 weights), or a value that is rounded falls on the other side, by 2 %. Exit status 1 where they differ by more.
"""
import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))
import export_support as support  # noqa: E402
from export_support import DATA, MODELS, ROOT  # noqa: E402
from onnx_parity import Session  # noqa: E402

EXACT, ROUNDED = 1e-3, 2e-2
# Recipe, export, whether onnxruntime rounds, and the most that perplexities may differ.
CASES = [("", "onnx", False, EXACT), ("", "onnx(dtype=float16)", False, EXACT),
         ("rtn(bits=4, group_size=64)", "onnx", False, EXACT), ("rtn(bits=4, group_size=64)", "onnx(dtype=float16)", False, EXACT),
         ("rtn(bits=4, group_size=64)", "onnx(accuracy_level=4)", False, ROUNDED),
         ("rtn(bits=8, group_size=-1)", "onnx", False, EXACT), ("rtn(bits=8, group_size=-1)", "onnx", True, ROUNDED),
         ("rtn(bits=8, group_size=-1) | round-inputs", "onnx", True, ROUNDED),
         ("rtn(bits=8, group_size=-1) | static-inputs(samples=32)", "onnx", True, ROUNDED),
         ("rtn(bits=8, group_size=-1) | static-inputs(samples=32, ignore=[re:.*down_proj])", "onnx", False, ROUNDED)]


def log_shares(logits):
    return torch.log_softmax(torch.from_numpy(np.asarray(logits)).double(), -1)


def score(ours, theirs, ids):
    """-> perplexity of both, and the mean KL divergence of theirs from ours in nats a token."""
    kl = (ours.exp() * (ours - theirs)).sum(-1).mean().item()
    losses = [-shares[:, :-1].gather(2, torch.from_numpy(ids)[:, 1:, None]).mean() for shares in (ours, theirs)]
    return *(loss.exp().item() for loss in losses), kl


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, default=ROOT / "build/release/bin")
    parser.add_argument("--model", type=Path, default=MODELS / "smollm2-offgrid")
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--windows", type=int, default=3)
    parser.add_argument("cases", nargs="*", type=int, metavar="CASE", help=f"0 to {len(CASES) - 1}")
    options = parser.parse_args()
    wanted = options.cases or list(range(len(CASES)))
    engine, good = support.Engine(options.bin / "wring-engine"), 0
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        text = (DATA / "test.txt").read_text(encoding="utf-8")[:8 * options.window * options.windows]
        ids = np.array(engine.tokens(options.model, text, scratch)[:options.window * options.windows]).reshape(options.windows, -1)
        for number in wanted:
            recipe, to, rounding, most = CASES[number]
            text = ["--data", f"calibration={DATA / 'calibration.txt'}"]
            source = engine.compress(recipe, options.model, scratch / f"small-{number}", *text) if recipe else options.model
            report = engine.export(source, to, scratch / f"export-{number}")
            session = Session(scratch / f"export-{number}", rounding)
            shares, seconds = [], []
            for row in ids:
                began = time.perf_counter()
                logits = session.logits(row[None])
                seconds.append(time.perf_counter() - began)
                shares.append((log_shares(engine.logits(scratch / f"export-{number}", torch.from_numpy(row[None]))), log_shares(logits)))
            ours, theirs = (torch.cat(pair) for pair in zip(*shares))
            here, there, kl = score(ours, theirs, ids)
            off = abs(there / here - 1)
            good += off <= most
            print(f"{'ok    ' if off <= most else 'FAILED'} {recipe or 'dense'}, {to}{', inputs rounded' if rounding else ''}: perplexity {there:.4f}, ours {here:.4f}, "
                  f"{off:.3%} (at most {most:.1%}), KL {kl:.2g}; {report['file_bytes'] / 1e6:.1f} MB, {report['bits_per_weight']:.3f} bits a weight, "
                  f"graph {report['graph_distance']:.1g} off, {statistics.median(seconds):.2f} s a window there", flush=True)
    print(f"onnx: {good} passed, {len(wanted) - good} failed")
    return 0 if good == len(wanted) else 1


if __name__ == "__main__":
    sys.exit(main())
