#!/usr/bin/env python3
"""The dashboard in a real headless Chromium, before a real server and worker that do real small jobs.

    run.py [--bin build/release/bin] [TEST...]    TEST: a part of a test's name; all where none is given
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/e2e")]

import gguf  # noqa: E402
import numpy  # noqa: E402
import onnx  # noqa: E402
from random_models import TEXT, make_decoder  # noqa: E402
from service import Service  # noqa: E402

HOSTILE = "<script>alert(1)</script>"


def recipe(folder, name, stages):
    path = folder / "recipe.yaml"
    path.write_text(f"name: {json.dumps(name)}\nstages:\n{stages}\nevaluations:\n- perplexity(window=64, windows=4)\n- size\n")
    return path


SWEEP = """
name: {name}
recipe:
  stages: ['{stage}']
  evaluations: ['perplexity(window=64, windows=4)', size]
model: {model}
data: {{{data}}}
space: {{{space}}}
strategy: {strategy}
objectives: [kl_mean, weight_bytes]
bounds: {{trials: {trials}}}
parallel: 2
"""


def sweep(folder, **members):
    path = folder / f"{members['name']}.yaml"
    names = ["test", "calibration"] if members["stage"].startswith("gptq") else ["test"]
    path.write_text(SWEEP.format(data=", ".join(f"{name}: {folder}/text.txt" for name in names), **members))
    return path


def other_files(service, folder):
    """A GGUF file and an ONNX graph in the store, with the rows that the page has of their layers, largest first."""
    ones = numpy.ones((96, 64), dtype=numpy.float32)
    writer = gguf.GGUFWriter(folder / "net.gguf", "llama")
    writer.add_array("tokenizer.ggml.tokens", ["a", "bc"] * 20000)
    writer.add_uint32("llama.block_count", 1)
    writer.add_tensor("blk.0.ffn_up.weight", gguf.quants.quantize(ones, gguf.GGMLQuantizationType.Q8_0), raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("output_norm.weight", ones[0])
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        step()
    value = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("Gemm", ["x", "fc.weight", "fc.bias"], ["y"], name="fc", transB=1)
    graph = onnx.helper.make_graph([node], "net", [value("x", onnx.TensorProto.FLOAT, [1, 64])], [value("y", onnx.TensorProto.FLOAT, [1, 96])],
                                   [onnx.numpy_helper.from_array(ones, "fc.weight"), onnx.numpy_helper.from_array(ones[:, 0].copy(), "fc.bias")])
    onnx.save(onnx.helper.make_model(graph), folder / "net.onnx")
    rows = {"net.gguf": [["blk.0.ffn_up", "Q8_0 8.5 bits", "96 × 64", "6.5 kB"], ["output_norm", "dense 32 bits", "64", "256 B"]],
            "net.onnx": [["fc", "dense 32 bits", "96 × 64", "25.0 kB"]]}
    put = {name: service.cli("put", folder / name, "--kind", "model", "--json") for name in rows}
    for answer in put.values():
        assert answer.status == 0, str(answer)
    return [{"digest": put[name].json["digest"], "rows": rows[name]} for name in rows]


def prepare(service, folder):
    """Ended jobs of every kind that the tests look at. Returns what they need to know."""
    make_decoder(folder / "tiny", seed=1)
    make_decoder(folder / "slow", seed=2, hidden_size=256, intermediate_size=1024, num_hidden_layers=8, num_attention_heads=8)
    text = folder / "text.txt"
    text.write_text("\n".join(TEXT * 200))
    data = ["--data", f"test={text}", "--data", f"calibration={text}"]
    jobs = {
        "rtn-3bit": service.submit(recipe(folder, "rtn-3bit", "- rtn(bits=3, group_size=32)"), folder / "tiny", *data[:2]),
        "rtn-8bit": service.submit(recipe(folder, "rtn-8bit", "- rtn(bits=8, group_size=32)"), folder / "tiny", *data[:2], "--seed", "7", "--threads", "1"),
        "gptq": service.submit(recipe(folder, "gptq", "- gptq(bits=4, group_size=32, samples=4, sequence_length=64)"), folder / "tiny", *data),
        "failed": service.submit(recipe(folder, HOSTILE, "- rtn(bits=4, group_size=48)"), folder / "tiny", *data[:2]),
    }
    ended = {name: service.wait_for_end(job) for name, job in jobs.items()}
    for name, job in ended.items():
        wanted = "FAILED" if name == "failed" else "SUCCEEDED"
        assert job["state"] == wanted, f"{name}: {json.dumps(job, indent=1)}\n{service.logs()}"
    grid = sweep(folder, name="bits", stage="rtn(bits=4, group_size=32)", model=folder / "tiny", strategy="random", trials=3,
                 space="stages.rtn.bits: [2, 3, 4, 5, 6, 8], stages.rtn.group_size: [16, 32]")
    submitted = service.cli("sweep", "submit", grid, "--json")
    assert submitted.status == 0, str(submitted)
    waited = service.cli("sweep", "wait", submitted.json["id"], "--json")
    assert waited.status == 0, str(waited)
    long = sweep(folder, name="long", stage="gptq(bits=4, group_size=32, samples=4096, sequence_length=256)", model=folder / "slow",
                 strategy="grid", trials=4, space="stages.gptq.bits: [2, 3, 4, 8]")
    (folder / "sample.yaml").write_text("evaluations: ['sample(tokens=5)']\n")
    tried = [service.submit(folder / "sample.yaml", model) for model in (folder / "tiny", ended["gptq"]["artifact_digest"])]
    for job in tried:
        assert service.wait_for_end(job)["state"] == "SUCCEEDED", service.logs()
    assert service.cli("pause", "project", "resting").status == 0  # one that is listed though it has no job
    out = folder / "out"
    fetched = service.cli("get", ended["gptq"]["artifact_digest"], "--out", out)
    assert fetched.status == 0, str(fetched)
    # For the tests to submit while a page watches.
    recipe(folder, "live", "- gptq(bits=4, group_size=32, samples=96, sequence_length=128)").rename(folder / "live.yaml")
    recipe(folder, "endless", "- gptq(bits=4, group_size=32, samples=4096, sequence_length=256)").rename(folder / "endless.yaml")
    return {"address": f"http://{service.http}", "grpc": service.grpc, "wring": str(service.programs / "wring"), "folder": str(folder), "out": str(out),
            "jobs": jobs, "sweep": submitted.json["id"], "tried": tried, "others": other_files(service, folder), "long": str(long), "result": ended["gptq"]["artifact_digest"], "hostile": HOSTILE, "slow": str(folder / "slow"), "text": str(text)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default=ROOT / "build/release/bin", type=Path, help="folder of the programs")
    parser.add_argument("tests", nargs="*")
    options = parser.parse_args()
    if not (HERE / "node_modules/playwright-core").is_dir():
        subprocess.run(["npm", "ci", "--prefix", HERE, "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], check=True)
    subprocess.run(["node", HERE / "job_list_test.mjs"], check=True)
    with tempfile.TemporaryDirectory(prefix="wring-page-") as scratch:
        folder = Path(scratch)
        service = Service(options.bin.resolve(), folder)
        for name in ("closed", "closing"):
            (folder / name).mkdir()
        closed, closing = (Service(options.bin.resolve(), folder / name) for name in ("closed", "closing"))
        try:
            closed.start_server()
            closing.start_server()
            assert closed.cli("pause", "project", "resting").status == 0  # one that is listed though it has no job
            service.start_server()
            service.start_worker()
            facts = folder / "facts.json"
            token = closed.cli("tokens", "create", "--scope", "admin", "--json").json["secret"]
            facts.write_text(json.dumps(prepare(service, folder) | {"closed": {"address": f"http://{closed.http}", "token": token},
                                                                     "closing": f"http://{closing.http}"}))
            result = subprocess.run(["node", HERE / "page_test.mjs", facts, *options.tests])
            if result.returncode:
                print(service.logs())
        finally:
            service.stop()
            closed.stop()
            closing.stop()
    return result.returncode


if __name__ == "__main__":
    sys.exit(main())
