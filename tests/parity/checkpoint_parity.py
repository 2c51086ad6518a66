#!/usr/bin/env python3
"""Loads GPTQ and AWQ checkpoints of `wring-engine export` in transformers, on gptqmodel's CPU layers in plain torch, and compares its packers.

    checkpoint_parity.py [--bin build/release/bin] [-v] [TEST...]     run by build/venv-gptq/bin/python (scripts/prove exports makes it)

What the layers unpack must equal the export's claims to the bit where their scales are widened to fp32, and logits then agree
within TOLERANCE. As loaded, the layers unpack in the fp16 of their scales: each weight is rounded once to 11 bits, and logits agree
within TOLERANCE with the engine's on weights that it rounded to fp16 itself. AWQ's layers round inputs and outputs to fp16 too.
"""
import contextlib
import io
import json
import os
import shutil
import sys
import unittest
from pathlib import Path

# Without torch.compile, which would have a C++ compiler make each layer's unpacking; without gptqmodel's packer in C++.
os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "TORCHDYNAMO_DISABLE": "1", "GPTQMODEL_DISABLE_PACK_EXT": "1"}
sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]
import torch  # noqa: E402
import transformers  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

with contextlib.redirect_stdout(io.StringIO()):  # a banner
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.nn_modules.qlinear.torch_awq import AwqTorchLinear
    from gptqmodel.quantization.awq.utils.packing_utils import dequantize_gemm
    from gptqmodel.utils.logger import setup_logger
    from gptqmodel.utils.model import convert_gptq_v2_to_v1_format_module

import export_support as support  # noqa: E402
from export_support import SHAPES, TOLERANCE, Exports  # noqa: E402
from packers import SIZES, compare, linear_of, of_grid  # noqa: E402

engine = None  # set by main()
LOADERS = ["transformers", "gptqmodel", "optimum"]
FORMATS = {"gptq": "gptq-checkpoint", "gptq_v2": "gptq-checkpoint(checkpoint_format=gptq_v2)", "awq": "awq-checkpoint"}
# Of the logits' root mean square. fp16 is off by up to 2^-11 of a value, about 2^-12 on average. GPTQ's layers round weights;
# AWQ's round weights, inputs and outputs, at each of 21 layers.
ROUNDING = {"gptq": 2**-10, "gptq_v2": 2**-10, "awq": 2**-9}


def size_of(values):
    return values.square().mean().sqrt().item()


def packed_layers(model):
    return {name: module for name, module in model.named_modules() if isinstance(module, (TorchLinear, AwqTorchLinear))}


def values_of(model):
    """{name: array} of a loaded model as its layers unpack it with scales in fp32."""
    values = support.state_of(model)
    for name, layer in packed_layers(model).items():
        if isinstance(layer, TorchLinear):
            layer.scales = layer.scales.float()
            weight = layer.dequantize_weight()
        else:
            weight = dequantize_gemm(layer.qweight, layer.qzeros, layer.scales.float(), layer.bits, layer.group_size)
        values[f"{name}.weight"] = weight.t().numpy()
        if layer.bias is not None:
            values[f"{name}.bias"] = layer.bias.float().numpy()
    return values


class Checkpoints(Exports):
    def load_packed(self, folder, bits, awq):
        config = (transformers.AwqConfig(bits=bits, backend="torch_awq") if awq else transformers.GPTQConfig(bits=bits, backend="torch"))
        model = self.load(folder, quantization_config=config)
        kinds = {type(layer) for layer in packed_layers(model).values()}
        self.assertEqual(kinds, {AwqTorchLinear if awq else TorchLinear})
        self.assertEqual(len(packed_layers(model)), 7 * model.config.num_hidden_layers)
        return model

    def exported(self, checkpoint, recipe, **options):
        small = engine.compress(recipe, self.model(**options), self.folder / "small")
        return engine.export(small, FORMATS[checkpoint], self.folder / "export")

    def check(self, checkpoint, bits, symmetric, group, shape):
        recipe = f"rtn(bits={bits}, group_size={group}, symmetric={str(symmetric).lower()})"
        report = self.exported(checkpoint, recipe, **SHAPES[shape])
        model = self.load_packed(self.folder / "export", bits, checkpoint == "awq")
        ids = torch.randint(0, model.config.vocab_size, (2, 48), generator=torch.Generator().manual_seed(5))
        ours = engine.logits(self.folder / "export", ids)
        with torch.no_grad():
            rounded = model(input_ids=ids).logits
            self.assert_claimed(report, values_of(model))
            what = [f"{FORMATS[checkpoint]}, {recipe}, {shape}: weights equal"]
            if checkpoint != "awq":
                engine.export(self.folder / "export", "huggingface(dtype=float16)", self.folder / "half")
                in_half = (engine.logits(self.folder / "half", ids) - rounded).abs().max().item()
                exact = (ours - model(input_ids=ids).logits).abs().max().item()
                self.assertLessEqual(in_half, TOLERANCE)
                self.assertLessEqual(exact, TOLERANCE)
                what += [f"logits within {exact:.0e}, of weights in fp16 within {in_half:.0e}"]
        apart = size_of(rounded - ours) / size_of(ours)
        self.assertLess(apart, ROUNDING[checkpoint])
        largest = (rounded - ours).abs().max().item()
        self.row(LOADERS, ", ".join(what + [f"as loaded {apart:.1e} of the logits' size apart, {largest:.1e} at most"]))


class Gptq(Checkpoints):
    def test_each_width_loads_with_either_kind_of_zero_points_symmetric_and_not(self):
        """Small groups have zero points of 0, which the first format refuses."""
        shapes = ["2 query heads a KV head", "qwen2 (biases)", "qwen2, tied head", "tied head"]
        groups = {("gptq", True): (16, 32, -1, 16), ("gptq", False): (-1, 32, -1, 32),
                  ("gptq_v2", True): (32, -1, 16, -1), ("gptq_v2", False): (16, -1, 32, 16)}
        for (checkpoint, symmetric), of_widths in groups.items():
            for number, (bits, group) in enumerate(zip((2, 3, 4, 8), of_widths)):
                with self.subTest(bits=bits, checkpoint=checkpoint, symmetric=symmetric, group=group):
                    self.setUp()
                    self.check(checkpoint, bits, symmetric, group, shapes[(number + symmetric) % 4])


class Awq(Checkpoints):
    def test_each_grid_loads(self):
        for shape, symmetric, group in (("qwen2, tied head", False, 32), ("2 query heads a KV head", True, 16), ("qwen2 (biases)", True, 32),
                                        ("tied head", False, 16), ("head size not hidden / heads", False, 16)):
            with self.subTest(shape=shape, symmetric=symmetric, group=group):
                self.setUp()
                self.check("awq", 4, symmetric, group, shape)


class Damage(Checkpoints):
    """The checks above find what they are for."""

    def test_a_flipped_bit_of_each_kind_of_tensor_is_found(self):
        layer = "model.layers.1.mlp.up_proj"
        for checkpoint in FORMATS:
            self.setUp()
            report = self.exported(checkpoint, "rtn(bits=4, group_size=32, symmetric=false)")
            for part in ("qweight", "qzeros", "scales"):
                with self.subTest(checkpoint=checkpoint, part=part):
                    damaged = shutil.copytree(self.folder / "export", self.folder / part)
                    tensors = load_file(damaged / "model.safetensors")
                    tensors[f"{layer}.{part}"].view(-1)[5:6].view(torch.uint8)[0] ^= 1
                    save_file(tensors, damaged / "model.safetensors", {"format": "pt"})
                    found = support.unclaimed(report["claims"], values_of(self.load_packed(damaged, 4, checkpoint == "awq")))
                    self.assertEqual(found, [f"{layer}.weight"])
            self.row(LOADERS, f"{FORMATS[checkpoint]}: a flipped bit of codes, zero points and scales found")

    def test_zero_points_of_the_other_format_are_found(self):
        for checkpoint, other in (("gptq", "gptq_v2"), ("gptq_v2", "gptq")):
            with self.subTest(checkpoint=checkpoint):
                self.setUp()
                report = self.exported(checkpoint, "rtn(bits=4, group_size=32)")
                for file in (self.folder / "export/config.json", self.folder / "export/quantize_config.json"):
                    config = json.loads(file.read_text())
                    config.get("quantization_config", config)["checkpoint_format"] = other
                    file.write_text(json.dumps(config))
                found = support.unclaimed(report["claims"], values_of(self.load_packed(self.folder / "export", 4, False)))
                self.assertEqual(len(found), 21)
        self.row(LOADERS, "checkpoint_format of the other zero points: all 21 layers found")


def packed_by(kind, bits, grid):
    group, scales, zeros = of_grid(grid)
    rows, columns = grid["codes"].shape
    return kind(bits=bits, group_size=group, sym=grid["zeros"] is None, desc_act=False, in_features=columns, out_features=rows), scales, zeros


def gptq_packer(bits, first_format):
    def pack(grid):
        layer, scales, zeros = packed_by(TorchLinear, bits, grid)
        order = torch.arange(layer.in_features, dtype=torch.int32) // layer.group_size
        layer.pack(linear_of(grid), scales, zeros, order)
        if first_format:
            convert_gptq_v2_to_v1_format_module(layer, layer)  # of a configuration it reads bits and pack_dtype
        return {part: getattr(layer, part) for part in ("qweight", "qzeros", "scales", "g_idx")}
    return pack


def awq_packer(grid):
    layer, scales, zeros = packed_by(AwqTorchLinear, 4, grid)
    layer.pack(linear_of(grid), scales, zeros)
    return {part: getattr(layer, part) for part in ("qweight", "qzeros", "scales")}


class Packers(Exports):
    def check(self, checkpoint, bits, pack, whole, what):
        matrices, wrong = 0, []
        for size in SIZES:
            for symmetric in (True, False):
                count, differing = compare(engine, FORMATS[checkpoint], pack, size, bits, symmetric, whole, layers=4)
                matrices, wrong = matrices + count, wrong + differing
        self.assertEqual(wrong, [])
        self.assertGreaterEqual(matrices, 200)
        self.row(["gptqmodel"], f"{FORMATS[checkpoint]}, {bits} bits, sides in multiples of {whole}: {matrices} matrices equal {what}'s bytes")

    def test_gptq_tensors_equal_byte_for_byte(self):
        """Sides are multiples of 32: neither side takes others."""
        for bits in (2, 3, 4, 8):
            for checkpoint in ("gptq", "gptq_v2"):
                with self.subTest(bits=bits, checkpoint=checkpoint):
                    self.check(checkpoint, bits, gptq_packer(bits, checkpoint == "gptq"), 32, "TorchLinear.pack")

    def test_awq_tensors_equal_byte_for_byte(self):
        self.check("awq", 4, awq_packer, 16, "AwqTorchLinear.pack")


def main():
    global engine
    engine, rest = support.command_line(__doc__)
    setup_logger().setLevel("ERROR")
    unittest.main(argv=[sys.argv[0], *rest], warnings="ignore")


if __name__ == "__main__":
    main()
