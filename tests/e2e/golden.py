"""What each method makes of one small model, by its bytes: other bytes need another version, so that caches do not mix them."""
import hashlib
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

import numpy
import torch
from graphs import make_images, make_net
from torch import nn

programs = scratch = None  # set by run.py

CALIBRATED = "samples=8, sequence_length=32, forward_dtype=float32"
TRAINED = "steps=6, batch=2, sequence_length=32, learning_rate=0.001, forward_dtype=float32"
# What libraries choose by the processor, kept from them: every x86-64 makes the same bytes then.
PORTABLE = {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "ONEDNN_MAX_CPU_ISA": "SSE41",
            "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX2,-FMA,-FMA4"}

# recipe: SHA-256 of its weights, 16 digits.
TRANSFORMERS = {
    "rtn(bits=4, group_size=32)": "f144b6d662c505a5",
    "fp8": "ae6c8fd928a090e9",
    "fp4": "bbb8020851727193",
    "magnitude(pattern=0.5)": "e79907ecb38050d1",
    "svd(rank=4)": "7eeb418a94eac593",
    "round-inputs": "178b666280b8f81d",
    f"static-inputs({CALIBRATED}) | gptq(bits=4, group_size=32, {CALIBRATED})": "12d7263606071f4f",  # the scales by what they make of the next inputs
    f"wanda(pattern=2:4, {CALIBRATED})": "5a57c7a3862889f4",
    f"sparsegpt(pattern=0.5, {CALIBRATED})": "8e34e1470c6c7fde",
    f"gptq(bits=4, group_size=32, {CALIBRATED})": "f6d775fca7536a09",
    f"gptq-float(format=fp8, block=16, {CALIBRATED})": "69975c05a8425870",
    f"gptq-float(format=nvfp4, {CALIBRATED})": "c914770942f3bc7c",
    f"gptq-float(format=mxfp4, {CALIBRATED})": "787a8d107b5db73b",
    f"awq-scaling(group_size=16, {CALIBRATED}) | rtn(bits=4, group_size=16)": "c0c5b228bc1378ef",
    f"flap(ratio=0.2, {CALIBRATED})": "d64b090f737240d4",
    f"block-drop(blocks=1, {CALIBRATED})": "0992af82c0dfc31c",
    f"modegpt(ratio=0.3, {CALIBRATED})": "9ea893e060819ddd",
    f"wanda-sp(ratio=0.2, {CALIBRATED})": "260626d3e8be5280",
    "magnitude-sp(ratio=0.2)": "ea813205c5641c40",
    f"rtn(bits=3, group_size=16) | svd-compensation(rank=4) | eora(rank=4, {CALIBRATED})": "1fbf52faea64c4ec",
    f"mixed-levels(levels='gptq(bits=3, group_size=32, targets=re:.*mlp.*) | rtn(bits=4, group_size=32)', {CALIBRATED})": "31250160250b8585",
    f"bitstack(levels=3, order_samples=1, {CALIBRATED}) | fit-size(size=280000)": "e31753bcf03e3a9e",
    f"finetune({TRAINED})": "1988b0fbdfbd1716",
    f"magnitude(pattern=0.5) | distill(hidden=1, {TRAINED})": "56de59bac19fb82e",
    f"gradual-magnitude(interval=2, {TRAINED})": "2baa181b4d3f321b",
    f"compresso(prefinetune=0, {TRAINED})": "1645e13c6f3e9b0c",
}

# Of graphs: the net of graphs.py for what needs convolutions and runs none, a perceptron for the rest.
STEPS = "steps=12, batch=16, learning_rate=0.05"
CONVOLUTIONS = {
    "magnitude-units(target_group_sparsity=0.3)": "ddcfa4b6d1e94094",
    "udfc": "5d9dc35dbf477819",
}
PERCEPTRON = {
    f"train-classifier({STEPS})": "f867184b64112376",
    f"magnitude-units(target_group_sparsity=0.3) | distill-classifier({STEPS})": "ed15d968424bb321",
    "taylor-units(target_group_sparsity=0.3, examples=64, batch=16)": "b1e343469805f8ec",
    f"hesso(target_group_sparsity=0.3, pruning_periods=2, {STEPS})": "0ba5f5b031cb879a",
    f"hesso-cric(target_group_sparsity=0.3, sampling_steps=10, max_cycle_period=2, {STEPS})": "5c2e20454e8e2659",
    f"otov2(target_group_sparsity=0.3, lambda=1, {STEPS})": "4a273af8d3d53d7f",
    "surgeon-units(target_group_sparsity=0.3, examples=64, data=train)": "db409fc82eea0f63",
    "ptq(examples=32, data=train)": "1e28f1deb559895a",
    f"qat(examples=32, {STEPS})": "2f6f107c08fabc88",
}


class Perceptron(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(144, 24), nn.ReLU(), nn.Linear(24, 16), nn.ReLU(), nn.Linear(16, 3))


class Golden(unittest.TestCase):
    def weights_of(self, recipe, model, data):
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            command = [programs / "wring", "run", "--local", recipe, "--model", model, "--out", f"{folder}/out", "--threads", "1"]
            for name, path in data.items():
                command += ["--data", f"{name}={path}"]
            run = subprocess.run(command, capture_output=True, text=True, env=os.environ | PORTABLE)
            self.assertEqual(run.returncode, 0, run.stderr)
            digest = hashlib.sha256()
            for file in sorted(file for file in Path(folder, "out").rglob("*") if file.suffix in (".safetensors", ".onnx")):
                digest.update(file.read_bytes())
            return digest.hexdigest()[:16]

    def expect(self, golden, recipe, model, data):
        self.assertEqual(self.weights_of(recipe, model, data), golden,
                         "if that is meant: raise the method's `version` in its spec, or kNumericsVersion, and note the new digest")

    def test_the_same_versions_make_the_same_bytes(self):
        for recipe, golden in TRANSFORMERS.items():
            with self.subTest(recipe=recipe):
                data = {"calibration": scratch / "text.txt"} if "sequence_length" in recipe else {}
                self.expect(golden, recipe, scratch / "tiny", data)

    def test_of_graphs_too(self):
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            folder = Path(folder)
            make_net(folder / "net.onnx")
            torch.manual_seed(0)
            torch.onnx.export(Perceptron().eval(), torch.zeros(2, 1, 12, 12), folder / "perceptron.onnx", dynamo=False, input_names=["x"],
                              output_names=["y"], opset_version=17, dynamic_axes={"x": {0: "batch"}, "y": {0: "batch"}})
            images, labels = make_images(96, 1)
            numpy.savez(folder / "train.npz", images=images, labels=labels)
            for recipe, golden in CONVOLUTIONS.items():
                with self.subTest(recipe=recipe):
                    self.expect(golden, recipe, folder / "net.onnx", {})
            for recipe, golden in PERCEPTRON.items():
                with self.subTest(recipe=recipe):
                    self.expect(golden, recipe, folder / "perceptron.onnx", {"train": folder / "train.npz"})
