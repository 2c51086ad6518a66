#!/usr/bin/env python3
"""Compares the tensors of GPTQ and AWQ checkpoints with those of auto-round's packers, byte by byte, on random codes.

    packer_parity.py [--bin build/release/bin]     run by build/venv-peer/bin/python (scripts/bench peers makes it)

auto-round packs as GPTQModel (checkpoint formats gptq and gptq_v2) and AutoAWQ (GEMM) do, in plain torch. Exit status 1 where
a tensor differs.
"""
import argparse
import importlib.metadata
import os
import sys
import tempfile
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "AR_LOG_LEVEL": "ERROR"}
sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]
import numpy as np  # noqa: E402
import torch  # noqa: E402
from auto_round.export.export_to_awq.utils import WQLinear_GEMM  # noqa: E402
from auto_round_extension.torch import qlinear_torch, qlinear_torch_zp  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

import export_support as support  # noqa: E402
from random_models import make_decoder  # noqa: E402

# hidden, ffn, heads, KV heads, head size: what whole words of 3 bits leave of odd shapes
SIZES = [(32, 96, 1, 1, 32), (96, 224, 3, 1, 32), (160, 32, 5, 5, 64), (64, 352, 2, 1, 96)]


def linear_of(grid):
    linear = torch.nn.Linear(*reversed(grid["codes"].shape), bias=False)
    linear.weight.data = torch.from_numpy(support.grid_values(grid))
    return linear


def of_grid(grid):
    zeros = np.full(grid["scales"].shape, 1 << (grid["bits"] - 1)) if grid["zeros"] is None else grid["zeros"]
    return (grid["codes"].shape[1] // grid["scales"].shape[1], torch.from_numpy(grid["scales"].astype(np.float32)),
            torch.from_numpy(zeros.astype(np.int32)))


def gptq(module):
    def pack(grid):
        group, scales, zeros = of_grid(grid)
        rows, columns = grid["codes"].shape
        packed = module.QuantLinear(grid["bits"], group, columns, rows, False, g_idx=True)
        packed.device = torch.device("cpu")
        packed.pack(linear_of(grid), scales, zeros, device="cpu")
        return {part: getattr(packed, part) for part in ("qweight", "qzeros", "scales", "g_idx")}
    return pack


def awq(grid):
    group, scales, zeros = of_grid(grid)
    packed = WQLinear_GEMM.from_linear(linear_of(grid), 4, group, scales=scales.t().contiguous(), zeros=zeros.t().contiguous(),
                                       device="cpu")
    return {part: getattr(packed, part) for part in ("qweight", "qzeros", "scales")}


def artifact(folder, size, bits, symmetric, rng):
    hidden, ffn, heads, kv_heads, head_dim = size
    make_decoder(folder / "plain", hidden_size=hidden, intermediate_size=ffn, num_attention_heads=heads,
                 num_key_value_heads=kv_heads, head_dim=head_dim, num_hidden_layers=2)
    layers = {}
    for name, weight in load_file(folder / "plain/model.safetensors").items():
        if weight.dim() == 2 and "embed" not in name and "lm_head" not in name:
            grid = support.random_grid(rng, tuple(weight.shape), bits, 32, symmetric)
            if not symmetric:  # a zero point less one must not be negative
                grid["zeros"] = np.maximum(grid["zeros"], 1)
            layers[name.removesuffix(".weight")] = grid
    return support.write_artifact(folder / "plain", folder / "artifact", layers), layers


def compare(engine, to, pack, size, bits, symmetric):
    """-> (matrices, names of tensors that differ)"""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        source, layers = artifact(folder, size, bits, symmetric, np.random.default_rng([bits, symmetric, *size]))
        engine.export(source, to, folder / "export")
        written = load_file(folder / "export/model.safetensors")
        wrong = [f"{name}.{part}" for name, grid in layers.items() for part, expected in pack(grid).items()
                 if not (written[f"{name}.{part}"].dtype == expected.dtype and torch.equal(written[f"{name}.{part}"], expected))]
        return len(layers), wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, default=support.ROOT / "build/release/bin")
    engine = support.Engine(parser.parse_args().bin / "wring-engine")
    formats = {"gptq-checkpoint": (gptq(qlinear_torch_zp), (2, 3, 4, 8)),
               "gptq-checkpoint(checkpoint_format=gptq_v2)": (gptq(qlinear_torch), (2, 3, 4, 8)), "awq-checkpoint": (awq, (4,))}
    failed = 0
    for to, (pack, widths) in formats.items():
        for bits in widths:
            matrices, wrong = 0, []
            for size in SIZES:
                for symmetric in (True, False):
                    count, differing = compare(engine, to, pack, size, bits, symmetric)
                    matrices, wrong = matrices + count, wrong + differing
            failed += bool(wrong)
            print(f"{'FAILED' if wrong else 'ok    '} auto-round {importlib.metadata.version('auto-round')}: {to}, {bits} bits: "
                  f"{matrices} matrices{', differing: ' + ', '.join(wrong[:5]) if wrong else ' equal'}", flush=True)
    print(f"packers: {9 - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
