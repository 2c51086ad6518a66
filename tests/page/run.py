#!/usr/bin/env python3
"""The dashboard in a real headless Chromium, before a real server and worker that do real small jobs.

    run.py [--bin build/release/bin] [TEST...]    TEST: a part of a test's name; all where none is given
    run.py --jobs 2                               all, in so many browsers at a time, each before a server of its own
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


# Where a block has its fp16 numbers; all other bytes may be anything.
HALVES = {"F16": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "IQ4_NL": [0], "Q2_K": [80, 82], "Q3_K": [108],
          "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}


def golden_blocks(path):
    """Blocks of random bytes, of each type that the page decodes, and their values by the package gguf."""
    random = numpy.random.default_rng(7)
    golden = {}
    for name in ("F32", "F16", "BF16", "MXFP4", *HALVES):
        kind = gguf.GGMLQuantizationType[name]
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        blocks = random.integers(0, 256, (4096 // elements, size), dtype=numpy.uint8)
        for at in HALVES.get(name, []):
            blocks[:, at:at + 2] = random.standard_normal(len(blocks)).astype("<f2").view(numpy.uint8).reshape(-1, 2)
        if name in ("F32", "BF16"):
            floats = random.standard_normal(len(blocks)).astype("<f4").view(numpy.uint8).reshape(-1, 4)
            blocks = floats[:, -size:].copy()
        if name == "MXFP4":
            blocks[:, 0] = random.integers(100, 140, len(blocks))
        values = gguf.quants.dequantize(blocks.reshape(-1), kind)
        golden[name] = {"hex": blocks.tobytes().hex(), "values": [float(value) for value in values]}
    path.write_text(json.dumps(golden))


def other_files(service, folder):
    """A GGUF file and an ONNX graph in the store, with the rows that the page has of their layers, largest first, and how one's weights are spread."""
    random = numpy.random.default_rng(5)
    weights = random.standard_normal((96, 64)).astype(numpy.float32) + 1
    writer = gguf.GGUFWriter(folder / "net.gguf", "llama")
    writer.add_array("tokenizer.ggml.tokens", ["a", "bc"] * 20000)
    writer.add_uint32("llama.block_count", 1)
    writer.add_license("other")
    writer.add_license_name("Example Licence 1.0")
    writer.add_license_link("https://example.org/licence")
    writer.add_tensor("blk.0.ffn_up.weight", gguf.quants.quantize(weights, gguf.GGMLQuantizationType.Q8_0), raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    writer.add_tensor("output_norm.weight", weights[0])
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file, writer.close):
        step()
    value = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("Gemm", ["x", "fc.weight", "fc.bias"], ["y"], name="fc", transB=1)
    graph = onnx.helper.make_graph([node], "net", [value("x", onnx.TensorProto.FLOAT, [1, 64])], [value("y", onnx.TensorProto.FLOAT, [1, 96])],
                                   [onnx.numpy_helper.from_array(weights, "fc.weight"), onnx.numpy_helper.from_array(weights[:, 0].copy(), "fc.bias")])
    onnx.save(onnx.helper.make_model(graph), folder / "net.onnx")
    rows = {"net.gguf": [["blk.0.ffn_up", "Q8_0 8.5 bits", "96 × 64", "8.5", "6.5 kB", "96.2 %"],
                         ["output_norm", "dense 32 bits", "64", "32", "256 B", "3.8 %"]],
            "net.onnx": [["fc", "dense 32 bits", "96 × 64", "32", "25.0 kB", "100.0 %"]]}
    put = {name: service.cli("put", folder / name, "--kind", "model", "--json") for name in rows}
    for answer in put.values():
        assert answer.status == 0, str(answer)
    spread = {"mean": float(weights.mean()), "deviation": float(weights.std())}
    layers = {"net.gguf": "blk.0.ffn_up", "net.onnx": "fc"}
    licences = {"net.gguf": "Example Licence 1.0", "net.onnx": "it does not say"}
    return [{"digest": put[name].json["digest"], "rows": rows[name], "layer": layers[name], "licence": licences[name], **spread} for name in rows]


def orphan(service, folder):
    """A result whose model was deleted since."""
    make_decoder(folder / "parent", seed=3)
    job = service.wait_for_end(service.submit(recipe(folder, "orphan", "- rtn(bits=4, group_size=32)"), folder / "parent", "--data", f"test={folder}/text.txt"))
    assert job["state"] == "SUCCEEDED", service.logs()
    assert service.cli("discard", job["model"]).status == 0
    return job["artifact_digest"]


def prepare(service, folder):
    """Ended jobs of every kind that the tests look at. Returns what they need to know."""
    make_decoder(folder / "tiny", seed=1)
    (folder / "tiny/README.md").write_text("---\nlicense: apache-2.0\n---\nRandom weights.\n")
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
            "jobs": jobs, "sweep": submitted.json["id"], "tried": tried, "others": other_files(service, folder), "orphan": orphan(service, folder), "long": str(long), "result": ended["gptq"]["artifact_digest"], "hostile": HOSTILE, "slow": str(folder / "slow"), "text": str(text)}


def run_shard(options):
    """The tests in a browser, those of options.shard alone. Returns how many of the files had one that failed."""
    with tempfile.TemporaryDirectory(prefix="wring-page-") as scratch:
        folder = Path(scratch)
        service = Service(options.bin.resolve(), folder)
        others = {}
        for name in ("closed", "closing", "shutting"):
            (folder / name).mkdir()
            others[name] = Service(options.bin.resolve(), folder / name)
        closed = others["closed"]
        try:
            for other in others.values():
                other.start_server()
            assert closed.cli("pause", "project", "resting").status == 0  # one that is listed though it has no job
            service.start_server()
            service.start_worker()
            facts = folder / "facts.json"
            token = closed.cli("tokens", "create", "--scope", "admin", "--json").json["secret"]
            facts.write_text(json.dumps(prepare(service, folder) | {"closed": {"address": f"http://{closed.http}", "token": token}, "shard": options.shard,
                                                                     **{name: f"http://{others[name].http}" for name in ("closing", "shutting")}}))
            failed = [file for file in ("page_test.mjs", "forms_test.mjs") if subprocess.run(["node", HERE / file, facts, *options.tests]).returncode]
            if failed:
                print(service.logs())
        finally:
            service.stop()
            for other in others.values():
                other.stop()
    return len(failed)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default=ROOT / "build/release/bin", type=Path, help="folder of the programs")
    parser.add_argument("--jobs", type=int, default=1, help="browsers at a time")
    parser.add_argument("--shard", type=int, nargs=2, help=argparse.SUPPRESS)  # K N: the K-th of every N tests, from 0
    parser.add_argument("tests", nargs="*")
    options = parser.parse_args()
    if options.shard:
        return run_shard(options)
    if not (HERE / "node_modules/playwright-core").is_dir():
        subprocess.run(["npm", "ci", "--prefix", HERE, "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"], check=True)
    subprocess.run(["node", HERE / "job_list_test.mjs"], check=True)
    subprocess.run(["node", HERE / "words_test.mjs"], check=True)
    with tempfile.NamedTemporaryFile(prefix="wring-page-", suffix=".json") as blocks:
        golden_blocks(Path(blocks.name))
        subprocess.run(["node", HERE / "weights_test.mjs", blocks.name], check=True)
    shards = [subprocess.Popen([sys.executable, __file__, "--bin", options.bin, "--shard", str(k), str(options.jobs), "--", *options.tests])
              for k in range(options.jobs)]
    return sum(shard.wait() != 0 for shard in shards)


if __name__ == "__main__":
    sys.exit(main())
