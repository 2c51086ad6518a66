#!/usr/bin/env python3
"""Runs onnx's own test cases of the operators that wring supports: what they come to stands in the onnx package.

    operator_parity.py [--tool build/release/bin/wring_graph] [NAME_PART...]

Cases of newer opsets are taken at 21, of older ones at 9, where onnx's checker and its reference hold them to the same outputs there.
What is refused must say UNSUPPORTED, and be what operator_refused.txt names.
"""
import argparse
import json
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy
import onnx
from onnx.backend.test.case.node import collect_testcases
from onnx.reference import ReferenceEvaluator
from safetensors.numpy import load_file, save_file

ROOT = Path(__file__).resolve().parents[2]
REFUSED = Path(__file__).with_name("operator_refused.txt")
warnings.filterwarnings("ignore")


# onnx divides by the size before it is rounded down, onnxruntime, and so wring, by the one that is.
OTHERWISE = {"test_resize_downsample_scales_linear_align_corners", "test_resize_downsample_scales_cubic_align_corners"}
# Which elements these drop hangs on NumPy's seeds; wring drops in training runs alone.
OTHERWISE |= {f"test_training_dropout{ratio}{mask}" for ratio in ("", "_default") for mask in ("", "_mask")}


def operators(tool):
    rows = subprocess.run([tool, "--operators"], check=True, capture_output=True, text=True).stdout.splitlines()
    return {name.strip() for row in rows for name in row.split("|")[2].split(",")}


def usable(case, known):
    """Cases of supported operators on plain tensors."""
    graph = case.model.graph
    if case.name in OTHERWISE or any(node.op_type not in known | {"Constant"} or node.domain for node in graph.node) or case.model.functions:
        return False
    values = [value for inputs, outputs in case.data_sets for value in (*inputs, *outputs)]
    plain = {"float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"}
    return all(isinstance(value, (numpy.ndarray, numpy.generic)) and str(value.dtype) in plain for value in values) and at_known_opset(case)


def at_known_opset(case):
    """Whether the case holds at an opset from 9 to 21; it is moved there."""
    entry = next(entry for entry in case.model.opset_import if not entry.domain)
    if 9 <= entry.version <= 21:
        return True
    entry.version = min(max(entry.version, 9), 21)
    case.model.ir_version = min(case.model.ir_version, 10)
    inputs, outputs = case.data_sets[0]
    try:
        onnx.checker.check_model(case.model, full_check=True)
        found = ReferenceEvaluator(case.model).run(None, {value.name: data for value, data in zip(case.model.graph.input, inputs)})
    except Exception:  # noqa: BLE001 - what onnx refuses or cannot run at this opset is no case there
        return False
    return all(numpy.shape(a) == numpy.shape(b) and close(case, numpy.asarray(a), numpy.asarray(b)) for a, b in zip(found, outputs))


def close(case, found, expected):
    least = 1e-3 if expected.dtype == numpy.float16 else 1e-5
    return numpy.allclose(found.astype(numpy.float64), expected.astype(numpy.float64), rtol=max(case.rtol, 1e-4), atol=max(case.atol, least), equal_nan=True)


def write_case(folder, case):
    folder.mkdir()
    onnx.save(case.model, folder / "net.onnx")
    inputs, _ = case.data_sets[0]
    # Where an optional input is left out the graph's inputs are those with names.
    named = {value.name: numpy.ascontiguousarray(data).reshape(numpy.shape(data)) for value, data in zip(case.model.graph.input, inputs)}
    save_file(named, folder / "inputs.safetensors")
    (folder / "case.json").write_text("{}")


def judge(folder, case):
    """None: as expected; else what is wrong."""
    if (folder / "error.json").is_file():
        error = json.loads((folder / "error.json").read_text())
        return f"{error['reason']}: {error['message']}"
    got = load_file(folder / "outputs.safetensors")
    for value, expected in zip(case.model.graph.output, case.data_sets[0][1]):
        found = got["output." + value.name]
        if found.shape != numpy.shape(expected) or found.dtype != expected.dtype:
            return f"{value.name} is {found.dtype}{found.shape}, not {expected.dtype}{numpy.shape(expected)}"
        if not close(case, found, expected):
            return f"{value.name} is off by {numpy.abs(found.astype(numpy.float64) - expected.astype(numpy.float64)).max():.1e}"
    return None


def report_refused(refused):
    """How many cases are refused that should not be, or the other way round."""
    pinned = set(REFUSED.read_text().split())
    for name in sorted(pinned ^ set(refused)):
        print(f"FAILED {name}: {'no longer refused' if name in pinned else 'refused'} (see {REFUSED.name})")
    return len(pinned ^ set(refused))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", type=Path, default=ROOT / "build/release/bin/wring_graph")
    parser.add_argument("parts", nargs="*", help="only cases whose name contains one of these")
    options = parser.parse_args()
    known = operators(options.tool)
    cases = [case for case in collect_testcases(None) if usable(case, known)]
    if options.parts:
        cases = [case for case in cases if any(part in case.name for part in options.parts)]
    passed = failed = 0
    refused = []
    with tempfile.TemporaryDirectory() as work:
        folders = [Path(work) / str(i) for i in range(len(cases))]
        for folder, case in zip(folders, cases):
            write_case(folder, case)
        subprocess.run([options.tool, *folders], check=True)
        for folder, case in zip(folders, cases):
            wrong = judge(folder, case)
            if wrong is None:
                passed += 1
            elif wrong.startswith("UNSUPPORTED"):
                refused.append(case.name)
                if options.parts:
                    print(f"refused {case.name}: {wrong}")
            else:
                failed += 1
                print(f"FAILED {case.name}: {wrong}")
    if not options.parts:
        failed += report_refused(refused)
    seen = {node.op_type for case in cases if case.name not in refused for node in case.model.graph.node}
    print(f"operators: onnx's cases of {len(known & seen)} of {len(known)} operators; without one: {', '.join(sorted(known - seen))}; refused by name: {len(refused)}")
    print(f"operator parity: {passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
