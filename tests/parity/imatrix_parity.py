#!/usr/bin/env python3
"""Compares `wring-engine imatrix` with squared inputs gathered by hooks on transformers' linear layers, and uses it.

    imatrix_parity.py [--bin build/release/bin]
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
import gguf  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

from random_models import TEXT, make_decoder  # noqa: E402

CHUNKS, LENGTH = 3, 40
NAMES = {"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output", "gate_proj": "ffn_gate",
         "up_proj": "ffn_up", "down_proj": "ffn_down"}
engine = None  # set by main


class Imatrix(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        make_decoder(self.folder / "model")
        self.text = self.folder / "text.txt"
        self.text.write_text("\n".join(TEXT * 20))
        self.file = self.folder / "imatrix.gguf"
        self.run_engine("imatrix", self.folder / "model", "--data", self.text, "--out", self.file, "--chunks", CHUNKS,
                        "--length", LENGTH, "--quiet")

    def run_engine(self, *arguments):
        result = subprocess.run([str(engine), *map(str, arguments)], capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stderr)
        return result.stdout

    def test_sums_are_those_of_transformers(self):
        ids = json.loads(self.run_engine("tokenize", self.folder / "model", self.text))[:CHUNKS * LENGTH]
        model = transformers.AutoModelForCausalLM.from_pretrained(self.folder / "model", dtype=torch.float32).eval()
        sums = {}
        for name, module in model.named_modules():
            if isinstance(module, torch.nn.Linear) and name != "lm_head":
                parts = name.split(".")
                key = f"blk.{parts[2]}.{NAMES[parts[-1]]}.weight"
                module.register_forward_pre_hook(lambda _, x, key=key: sums.__setitem__(
                    key, sums.get(key, 0) + x[0].reshape(-1, x[0].shape[-1]).double().square().sum(0)))
        with torch.inference_mode():
            for chunk in torch.tensor(ids).reshape(CHUNKS, LENGTH):
                model(chunk[None])
        read = {t.name: np.array(t.data) for t in gguf.GGUFReader(self.file).tensors}
        self.assertEqual({name.removesuffix(".in_sum2") for name in read if name.endswith(".in_sum2")}, set(sums))
        for key, expected in sums.items():
            np.testing.assert_allclose(read[key + ".in_sum2"].reshape(-1), expected.numpy(), rtol=1e-4, err_msg=key)
            self.assertEqual(read[key + ".counts"].reshape(-1).tolist(), [CHUNKS * LENGTH])

    def test_it_changes_what_is_exported_and_the_export_still_reads_back_as_meant(self):
        sizes = {}
        for name, more in (("plain", ""), ("weighted", f", imatrix={self.file}")):
            out = self.folder / name / "same"
            self.run_engine("export", self.folder / "model", "--to", f"gguf(type=Q4_0{more})", "--out", out)
            sizes[name] = next(out.glob("*.gguf")).read_bytes()
        self.assertEqual(len(sizes["plain"]), len(sizes["weighted"]))
        self.assertNotEqual(sizes["plain"], sizes["weighted"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, default=ROOT / "build/release/bin")
    engine = parser.parse_args().bin.resolve() / "wring-engine"
    transformers.utils.logging.disable_progress_bar()
    unittest.main(argv=[sys.argv[0]], verbosity=2)
