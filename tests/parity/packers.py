"""What the comparisons with packers of GPTQ and AWQ checkpoints share: random codes, exported by the engine and packed by another."""
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import numpy as np
import torch
from safetensors.torch import load_file

import export_support as support
from random_models import make_decoder

# hidden, ffn, heads, KV heads, head size, in the fewest values that fill whole words
SIZES = [(1, 3, 1, 1, 1), (3, 7, 3, 1, 1), (5, 1, 5, 5, 2), (2, 11, 2, 1, 3)]


def linear_of(grid):
    linear = torch.nn.Linear(*reversed(grid["codes"].shape), bias=False)
    linear.weight.data = torch.from_numpy(support.grid_values(grid))
    return linear


def of_grid(grid):
    """-> values of a group, scales and zero points [out, groups]"""
    zeros = np.full(grid["scales"].shape, 1 << (grid["bits"] - 1)) if grid["zeros"] is None else grid["zeros"]
    return (grid["codes"].shape[1] // grid["scales"].shape[1], torch.from_numpy(grid["scales"].astype(np.float32)),
            torch.from_numpy(zeros.astype(np.int32)))


def artifact(folder, size, bits, symmetric, whole, layers):
    """-> a folder whose dimensions are `size` times `whole`, in groups of `whole`, and {name: grid} of its matrices."""
    hidden, ffn, heads, kv_heads, head_dim = size
    make_decoder(folder / "plain", hidden_size=hidden * whole, intermediate_size=ffn * whole, num_attention_heads=heads,
                 num_key_value_heads=kv_heads, head_dim=head_dim * whole, num_hidden_layers=layers)
    rng, grids = np.random.default_rng([bits, symmetric, *(value * whole for value in size)]), {}
    for name, weight in load_file(folder / "plain/model.safetensors").items():
        if weight.dim() == 2 and "embed" not in name and "lm_head" not in name:
            grid = support.random_grid(rng, tuple(weight.shape), bits, whole, symmetric)
            if not symmetric:  # a zero point less one must not be negative
                grid["zeros"] = np.maximum(grid["zeros"], 1)
            grids[name.removesuffix(".weight")] = grid
    return support.write_artifact(folder / "plain", folder / "artifact", grids), grids


def compare(engine, to, pack, size, bits, symmetric, whole=32, layers=2):
    """`pack`: grid -> {part: tensor}. -> (matrices, names of tensors that differ)"""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        source, grids = artifact(folder, size, bits, symmetric, whole, layers)
        engine.export(source, to, folder / "export")
        written = load_file(folder / "export/model.safetensors")
        wrong = [f"{name}.{part}" for name, grid in grids.items() for part, expected in pack(grid).items()
                 if not (written[f"{name}.{part}"].dtype == expected.dtype and torch.equal(written[f"{name}.{part}"], expected))]
        return len(grids), wrong
