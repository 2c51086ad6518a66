#!/usr/bin/env python3
"""Blobs in a bucket of a real S3 service (Swift with its s3api, on this machine): what shelf_test.cc promises, and the service on it."""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "GOMP_SPINCOUNT": "10000"}
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/e2e"), str(ROOT / "tests/s3")]
import swift  # noqa: E402
from service import Service  # noqa: E402

PROGRAMS = ROOT / "build/release/bin"
RECIPE = "rtn(bits=4, group_size=32)"


class Bucket(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if swift.why_not():
            raise AssertionError(f"Swift is needed: {swift.why_not()}")
        from random_models import make_decoder
        cls.scratch = Path(tempfile.mkdtemp(prefix="wring-s3-"))
        cls.addClassCleanup(shutil.rmtree, cls.scratch, ignore_errors=True)
        cls.swift = swift.Swift(cls.scratch / "swift")
        cls.addClassCleanup(cls.swift.stop)
        cls.swift.start()
        cls.swift.make_bucket("wring")
        os.environ |= {"AWS_ACCESS_KEY_ID": swift.KEY_ID, "AWS_SECRET_ACCESS_KEY": swift.SECRET}
        make_decoder(cls.scratch / "tiny", seed=1)

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="service-", dir=self.scratch))
        self.service = Service(PROGRAMS, self.folder)
        self.addCleanup(self.service.stop)
        (self.folder / "data").mkdir()
        self.write_place(self.folder / "data", prefix=self.folder.name)

    def write_place(self, data, **more):
        keys = {"endpoint": self.swift.endpoint, "bucket": "wring", **more}
        (data / "blobs.yaml").write_text("s3:\n" + "".join(f"  {key}: {value}\n" for key, value in keys.items()))

    def start(self):
        self.service.start_server()
        self.service.start_worker()

    def verb(self, *arguments):
        return subprocess.run([PROGRAMS / "wring-server", *map(str, arguments)], capture_output=True, text=True)

    def alone(self):
        result = self.service.cli("run", "--local", RECIPE, "--model", self.scratch / "tiny", "--out", self.folder / "alone", "--json")
        return result.json["artifact_digest"]

    def test_a_shelf_is_what_a_shelf_promises(self):
        self.write_place(self.folder, prefix="shelf-test")
        result = subprocess.run([PROGRAMS / "wring_server_test", "--gtest_filter=*Shelf*/bucket", "--gtest_brief=1"],
                                env=os.environ | {"WRING_TEST_S3": str(self.folder)}, capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertIn("6 tests", result.stdout)
        self.assertNotIn("SKIPPED", result.stdout)

    def test_a_job_gives_what_it_gives_alone_and_its_files_come_back(self):
        self.start()
        job = self.service.wait_for_end(self.service.submit(RECIPE, self.scratch / "tiny"))
        self.assertEqual((job["state"], job["artifact_digest"]), ("SUCCEEDED", self.alone()), self.service.logs())
        self.assertFalse((self.folder / "data/blobs").exists())
        got = self.service.cli("get", job["artifact_digest"], "--out", self.folder / "got")
        self.assertEqual(got.status, 0, str(got))
        for path in (self.folder / "alone").rglob("*"):
            if path.is_file():
                self.assertEqual((self.folder / "got" / path.relative_to(self.folder / "alone")).read_bytes(), path.read_bytes())

    def test_a_service_that_is_away_is_told_and_passes(self):
        self.start()
        self.swift.stop_proxy()
        try:
            refused = self.service.cli("put", self.scratch / "tiny", "--kind", "model", "--json")
            self.assertNotEqual(refused.status, 0)
        finally:
            self.swift.start_proxy()
        job = self.service.wait_for_end(self.service.submit(RECIPE, self.scratch / "tiny"))
        self.assertEqual((job["state"], job["artifact_digest"]), ("SUCCEEDED", self.alone()), self.service.logs())

    def test_a_damaged_object_is_found_set_aside_and_comes_again(self):
        before = set(self.swift.objects())
        self.start()
        put = self.service.cli("put", self.scratch / "tiny", "--kind", "model", "--json")
        self.assertEqual(put.status, 0, str(put))
        self.service.stop()
        largest = max(set(self.swift.objects()) - before, key=lambda path: path.stat().st_size)
        content = bytearray(largest.read_bytes())
        content[100] ^= 1
        attributes = {name: os.getxattr(largest, name) for name in os.listxattr(largest)}
        largest.write_bytes(content)
        for name, value in attributes.items():
            os.setxattr(largest, name, value)
        found = self.verb("fsck", "--data", self.folder / "data", "--json")
        self.assertNotEqual(found.returncode, 0, found.stdout)
        self.service.start_server()
        again = self.service.cli("put", self.scratch / "tiny", "--kind", "model", "--json")
        self.assertEqual(again.json["digest"], put.json["digest"])
        self.service.stop()
        self.assertEqual(self.verb("fsck", "--data", self.folder / "data", "--json").returncode, 0)

    def test_unused_blobs_are_deleted_and_a_backup_holds_the_others(self):
        self.start()
        kept = self.service.cli("put", self.scratch / "tiny", "--kind", "model", "--json").json["digest"]
        job = self.service.wait_for_end(self.service.submit(RECIPE, self.scratch / "tiny"))
        self.assertEqual(self.service.cli("delete", job["id"]).status, 0)
        discarded = self.service.cli("discard", job["artifact_digest"])
        self.assertEqual(discarded.status, 0, str(discarded))
        self.service.stop()
        collected = self.verb("gc", "--data", self.folder / "data", "--grace-hours", "0", "--json")
        self.assertIn('"deleted_blobs"', collected.stdout, collected.stderr)
        self.assertEqual(self.verb("fsck", "--data", self.folder / "data").returncode, 0)
        copied = self.verb("backup", "--data", self.folder / "data", "--to", self.folder / "backup")
        self.assertEqual(copied.returncode, 0, copied.stderr)
        restored = self.verb("restore", "--from", self.folder / "backup", "--data", self.folder / "restored")
        self.assertEqual(restored.returncode, 0, restored.stderr)
        manifest = self.verb("fsck", "--data", self.folder / "restored", "--json")
        self.assertEqual(manifest.returncode, 0, manifest.stdout)
        self.assertTrue((self.folder / "restored/blobs").is_dir(), kept)


if __name__ == "__main__":
    unittest.main()
