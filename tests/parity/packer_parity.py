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
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "AR_LOG_LEVEL": "ERROR"}
sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]
import torch  # noqa: E402
from auto_round.export.export_to_awq.utils import WQLinear_GEMM  # noqa: E402
from auto_round_extension.torch import qlinear_torch, qlinear_torch_zp  # noqa: E402

import export_support as support  # noqa: E402
from packers import SIZES, compare, linear_of, of_grid  # noqa: E402


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
