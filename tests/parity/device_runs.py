#!/usr/bin/env python3
"""Runs a recipe of each model family on a device with wring-engine, compares with the CPU's result, and runs out of memory.

    device_runs.py --device cuda:0 [--bin build/release/bin]
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
import transformers  # noqa: E402

from random_models import TEXT, make_decoder, make_encoder  # noqa: E402

engine = device = None  # set by main()

DECODER = """
stages: [{method: gptq, params: {bits: 4, group_size: 32, samples: 8, sequence_length: 64}}]
evaluations: [{suite: perplexity, params: {window: 64, windows: 8}}]
"""
ENCODER = """
stages: [{method: rtn, params: {bits: 4, group_size: 32}}]
evaluations: [{suite: similarity, params: {sentences: 32}}]
"""
TOO_LARGE = "evaluations: [{suite: latency, params: {batch: 4096, length: 8192, repeats: 1, decode_tokens: 0}}]"


class Device(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        (self.folder / "text.txt").write_text("\n".join(TEXT * 50))

    def run_on(self, where, recipe):
        file = self.folder / "recipe.yaml"
        file.write_text(recipe)
        out = self.folder / f"out-{where.replace(':', '')}"
        command = [engine, "run", file, "--model", self.folder / "model", "--device", where, "--out", out, "--json", "--quiet",
                   "--data", f"calibration={self.folder / 'text.txt'}", "--data", f"test={self.folder / 'text.txt'}"]
        return subprocess.run(list(map(str, command)), capture_output=True, text=True)

    def value(self, where, recipe, suite, metric):
        result = self.run_on(where, recipe)
        self.assertEqual(result.returncode, 0, result.stderr)
        return next(row["value"] for row in json.loads(result.stdout)["evaluations"]
                    if (row["suite"], row["metric"], row["when"]) == (suite, metric, "after"))

    def test_a_decoder(self):
        make_decoder(self.folder / "model")
        there, here = (self.value(where, DECODER, "perplexity", "perplexity") for where in (device, "cpu"))
        self.assertAlmostEqual(there / here, 1, delta=0.02)

    def test_an_encoder(self):
        make_encoder(self.folder / "model")
        there, here = (self.value(where, ENCODER, "similarity", "cosine_mean") for where in (device, "cpu"))
        self.assertAlmostEqual(there, here, delta=1e-3)

    def test_too_little_memory_is_an_error_of_a_resource(self):
        if device == "cpu":
            self.skipTest("would take this machine's memory")
        make_decoder(self.folder / "model", hidden_size=1024, intermediate_size=4096, max_position_embeddings=8192)
        result = self.run_on(device, TOO_LARGE)
        self.assertEqual(result.returncode, 4, result.stderr)
        self.assertIn("memory", result.stderr)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, default=ROOT / "build/release/bin")
    parser.add_argument("--device", required=True)
    options = parser.parse_args()
    engine, device = options.bin.resolve() / "wring-engine", options.device
    transformers.utils.logging.disable_progress_bar()
    unittest.main(argv=[sys.argv[0]], verbosity=2)
