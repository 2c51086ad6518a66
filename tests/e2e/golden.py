"""What each method makes of one small model, by its bytes: other bytes need another version, so that caches do not mix them."""
import hashlib
import os
import subprocess
import tempfile
import unittest
from pathlib import Path

programs = scratch = None  # set by run.py

CALIBRATED = "samples=8, sequence_length=32"
# What libraries choose by the processor, kept from them: every x86-64 makes the same bytes then.
PORTABLE = {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"}

# recipe: SHA-256 of its weights, 16 digits.
GOLDEN = {
    "rtn(bits=4, group_size=32)": "f144b6d662c505a5",
    "fp8": "ae6c8fd928a090e9",
    "fp4": "bbb8020851727193",
    "magnitude(pattern=0.5)": "e79907ecb38050d1",
    "svd(rank=4)": "7eeb418a94eac593",
    "round-inputs": "178b666280b8f81d",
    f"wanda(pattern=2:4, {CALIBRATED})": "1e275d39e8c970f6",
    f"sparsegpt(pattern=0.5, {CALIBRATED})": "547f3c95a8167baf",
    f"gptq(bits=4, group_size=32, {CALIBRATED})": "712d7bc4033a19a6",
    f"awq-scaling(group_size=16, {CALIBRATED}) | rtn(bits=4, group_size=16)": "cc0a580bfc6cd2e5",
    f"flap(ratio=0.2, {CALIBRATED})": "11ac9993110ed719",
    f"block-drop(blocks=1, {CALIBRATED})": "0992af82c0dfc31c",
    f"modegpt(ratio=0.3, {CALIBRATED})": "dc073a3763cb9425",
}


class Golden(unittest.TestCase):
    def weights_of(self, recipe):
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            command = [programs / "wring", "run", "--local", recipe, "--model", scratch / "tiny", "--out", f"{folder}/out", "--threads", "1"]
            if CALIBRATED in recipe:
                command += ["--data", f"calibration={scratch}/text.txt"]
            run = subprocess.run(command, capture_output=True, text=True, env=os.environ | PORTABLE)
            self.assertEqual(run.returncode, 0, run.stderr)
            digest = hashlib.sha256()
            for file in sorted(Path(folder, "out").rglob("*.safetensors")):
                digest.update(file.read_bytes())
            return digest.hexdigest()[:16]

    def test_the_same_versions_make_the_same_bytes(self):
        for recipe, golden in GOLDEN.items():
            with self.subTest(recipe=recipe):
                self.assertEqual(self.weights_of(recipe), golden,
                                 "if that is meant: raise the method's `version` in its spec, or kNumericsVersion, and note the new digest")
