#!/usr/bin/env python3
"""Compares graphs that wring runs, trains one step and writes with onnxruntime and PyTorch.

    graph_parity.py [--tool build/release/bin/wring_graph] [NAME_PART...]

For each network of graph_nets.py: outputs as onnxruntime's, gradients of one training step as PyTorch's, and what is written
before and after the step, run by onnxruntime, as PyTorch's. Largest differences allowed: 1e-4 of values up to 1, or of the
largest value. The networks inside rapidocr-onnxruntime and silero-vad: outputs, and what is written again.
"""
import argparse
import json
import logging
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy
import onnxruntime
import torch
from safetensors.numpy import load_file, save_file

from graph_nets import FAMILIES, NETS, SEGMENTS

ROOT = Path(__file__).resolve().parents[2]
TOLERANCE = 1e-4
RATE = 0.01
MOST_OF_ROUNDING = 0.5
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)


def session(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run_onnx(path, inputs):
    runner = session(path)
    names = [output.name for output in runner.get_outputs()]
    return dict(zip(names, runner.run(names, inputs)))


def difference(got, expected):
    """Largest, relative where values are above 1."""
    got, expected = numpy.asarray(got, dtype=numpy.float64), numpy.asarray(expected, dtype=numpy.float64)
    if got.shape != expected.shape:
        return float("inf")
    if got.size == 0:
        return 0.0
    away = numpy.abs(got - expected).max() / max(1.0, numpy.abs(expected).max())
    return float("inf") if numpy.isnan(away) else away


def export(name, net, inputs, opset, path):
    names = [f"in{i}" for i in range(len(inputs))]
    dynamic = {key: dict(enumerate(f"{key}_{i}" for i in range(value.dim()))) for key, value in zip(names, inputs)} if "dynamic" in name else None
    dynamo = name.startswith("dynamo")
    options = {} if dynamo else dict(training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False)
    if dynamo:
        options = dict(optimize=False, verbose=False)
    torch.onnx.export(net, tuple(inputs), str(path), input_names=names, output_names=["out"], opset_version=opset, dynamo=dynamo, external_data=False, dynamic_axes=dynamic, **options)
    return dict(zip(names, (value.numpy() for value in inputs)))


def write_case(folder, inputs, **options):
    folder.mkdir(exist_ok=True)
    save_file({name: numpy.array(value, order="C") for name, value in inputs.items()}, folder / "inputs.safetensors")
    (folder / "case.json").write_text(json.dumps(options))


def cut_checks(folder, inputs):
    """Units at zero and units cut, which onnxruntime runs too; then the report."""
    cut, report = load_file(folder / "cut.safetensors"), json.loads((folder / "cut.json").read_text())
    names = [name.removeprefix("cut.") for name in cut if name.startswith("cut.")]
    again = run_onnx(folder / "cut.onnx", inputs)
    return [("families cut", report["difference"]), ("segments erased", report["segment_difference"]), ("all cut", max(difference(cut["cut." + name], cut["zeroed." + name]) for name in names)),
            ("by onnxruntime", max(difference(again[name], cut["zeroed." + name]) for name in names))], report


def int8_checks(folder, inputs, dense):
    """Int8 by onnxruntime beside the engine's own run of the same file: their difference as a share of what rounding costs, of which a
    code that falls on the other side of a half is a small part."""
    if not (folder / "int8.onnx").is_file():
        return
    ours, theirs = load_file(folder / "int8.safetensors")["output.out"], run_onnx(folder / "int8.onnx", inputs)["out"]
    def size(values):  # noqa: E306
        return numpy.sqrt(numpy.square(values, dtype=numpy.float64).mean())
    print(f"       int8 {size(ours - dense) / size(dense):.1e} of the outputs, apart {size(ours - theirs) / size(ours - dense):.2f} of it")
    yield "int8", 0 if size(ours - theirs) <= MOST_OF_ROUNDING * size(ours - dense) else float("inf")


class Net:
    """One network of graph_nets.py: cases for wring_graph, and what they must come to."""

    def __init__(self, name, folder, seed):
        make, inputs, self.opset = NETS[name]
        torch.manual_seed(seed)
        self.name, self.net, self.plain, self.trained = name, make(), folder / "plain", folder / "trained"
        self.tensors = inputs()
        with torch.no_grad():
            self.net.train()(*self.tensors)
            for parameter in self.net.parameters():
                if parameter.dim() == 1:
                    parameter += torch.randn(parameter.shape) * 0.2  # shifts that are not 0
            self.net(*self.tensors)  # running statistics that are not 0 and 1; lazy layers
        for self_folder in (self.plain, self.trained):
            self_folder.mkdir(parents=True)
        self.inputs = export(name, self.net.eval(), self.tensors, self.opset, self.plain / "net.onnx")
        (self.trained / "net.onnx").symlink_to(self.plain / "net.onnx")
        with torch.no_grad():
            self.dense = self.net(*self.tensors).numpy()
        self.cotangent = torch.randn(self.dense.shape)
        write_case(self.plain, self.inputs, cut=0.5, alone=True, int8=self.opset >= 13)
        write_case(self.trained, self.inputs | {"cotangent.out": self.cotangent.numpy()}, training=True, learning_rate=RATE)

    def folders(self):
        return [self.plain, self.trained]

    def checks(self):
        """Pairs of what is compared and how far it is off."""
        plain, trained = load_file(self.plain / "outputs.safetensors"), load_file(self.trained / "outputs.safetensors")
        yield "onnxruntime", difference(plain["output.out"], run_onnx(self.plain / "net.onnx", self.inputs)["out"])
        yield "written", difference(run_onnx(self.plain / "after.onnx", self.inputs)["out"], self.dense)
        checks, self.report = cut_checks(self.plain, self.inputs)
        yield from checks
        yield from int8_checks(self.plain, self.inputs, plain["output.out"])
        self.net.train()
        out = self.net(*self.tensors)
        (out * self.cotangent).sum().backward()
        yield "training", difference(trained["output.out"], out.detach().numpy())
        yield "gradients", max(self.gradient_differences(trained))
        with torch.no_grad():
            for parameter in self.net.parameters():
                parameter -= RATE * parameter.grad
            stepped = self.net.eval()(*self.tensors).numpy()
        yield "stepped", difference(run_onnx(self.trained / "after.onnx", self.inputs)["out"], stepped)
        yield "unmoved", 0 if difference(stepped, self.dense) > 10 * TOLERANCE else float("inf")

    def gradient_differences(self, trained):
        yield 0.0
        for name, parameter in self.net.named_parameters():
            got = trained.get("gradient." + name)
            yield float("inf") if got is None else difference(got, parameter.grad.numpy())


class File:
    """A network that lies in a package: outputs, and what is written again, as onnxruntime's."""

    def __init__(self, name, path, inputs, folder):
        self.name, self.path, self.inputs, self.folder = name, path, inputs, folder
        folder.mkdir(parents=True)
        (folder / "net.onnx").symlink_to(path)
        write_case(folder, inputs, cut=0.1)

    def folders(self):
        return [self.folder]

    def checks(self):
        got = load_file(self.folder / "outputs.safetensors")
        expected, again = run_onnx(self.path, self.inputs), run_onnx(self.folder / "after.onnx", self.inputs)
        yield "onnxruntime", max(difference(got["output." + name], value) for name, value in expected.items())
        yield "written", max(difference(again[name], value) for name, value in expected.items())
        checks, self.report = cut_checks(self.folder, self.inputs)
        yield from checks


def package_files():
    random = numpy.random.default_rng(7)

    def image(*shape):
        return {"x": random.standard_normal(shape).astype(numpy.float32)}

    def voice(length, rate=True):
        inputs = {"input": random.standard_normal((2, length)).astype(numpy.float32) * 0.1,
                  "state": random.standard_normal((2, 2, 128)).astype(numpy.float32)}
        return inputs | ({"sr": numpy.array(16000 if length == 576 else 8000, dtype=numpy.int64)} if rate else {})

    models = [next(Path(p).glob(f"{package}/{folder}"), None) for package, folder in (("rapidocr_onnxruntime", "models"), ("silero_vad", "data")) for p in sys.path if (Path(p) / package).is_dir()]
    files = {path.name: path for folder in models if folder for path in folder.glob("*.onnx")}
    wanted = {"ch_PP-OCRv4_det_infer.onnx": image(1, 3, 96, 160), "ch_PP-OCRv4_rec_infer.onnx": image(2, 3, 48, 96), "ch_ppocr_mobile_v2.0_cls_infer.onnx": image(2, 3, 48, 192),
              "silero_vad.onnx": voice(576), "silero_vad_16k_op15.onnx": voice(576), "silero_vad_half.onnx": voice(576, False), "silero_vad_op18_ifless.onnx": voice(288)}
    return {name: (files.get(name), inputs) for name, inputs in wanted.items()}


def judge(case):
    """Whether all of a case holds, and the line that says so."""
    for folder in case.folders():
        if (folder / "error.json").is_file():
            error = json.loads((folder / "error.json").read_text())
            return False, f"{error.get('field')}: {error.get('message')}"
    results = list(case.checks())
    good = all(value <= TOLERANCE for _, value in results)
    line = ", ".join(f"{what} {value:.1e}" for what, value in results if value)
    if report := getattr(case, "report", None):
        if report["families"] < FAMILIES[case.name]:
            return False, f"{report['families']} families of units, not {FAMILIES[case.name]}: a rule bars too much"
        if report["segments"] < SEGMENTS.get(case.name, 0):
            return False, f"{report['segments']} segments, not {SEGMENTS[case.name]}: a rule bars too much"
        line += "; {cut} of {units} units in {families} families cut: {parameters} to {left} parameters; {segments} segments".format(**report)
    return good, line


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", type=Path, default=ROOT / "build/release/bin/wring_graph")
    parser.add_argument("parts", nargs="*", help="only networks whose name contains one of these")
    options = parser.parse_args()
    wanted = lambda name: not options.parts or any(part in name for part in options.parts)  # noqa: E731
    torch.set_num_threads(1)
    passed = failed = skipped = 0
    with tempfile.TemporaryDirectory() as work:
        cases = []
        for i, name in enumerate(NETS):
            if wanted(name):
                cases.append(Net(name, Path(work) / f"net{i}", seed=i))
        if "resnet-20, trained" not in NETS:
            skipped += 1
            print("skip   resnet-20, trained: its weights are not in WRING_DATA")
        for i, (name, (path, inputs)) in enumerate(package_files().items()):
            if path is None:
                skipped += 1
                print(f"skip   {name}: its package is not installed (scripts/bootstrap --tests)")
            elif wanted(name):
                cases.append(File(name, path, inputs, Path(work) / f"file{i}"))
        subprocess.run([options.tool, *(folder for case in cases for folder in case.folders())], check=True)
        for case in cases:
            good, what = judge(case)
            passed, failed = passed + good, failed + (not good)
            print(f"{'ok    ' if good else 'FAILED'} {case.name}: {what}", flush=True)
    print(f"graph parity: {passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
