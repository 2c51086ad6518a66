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
