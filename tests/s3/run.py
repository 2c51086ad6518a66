#!/usr/bin/env python3
"""Blobs in a bucket of a real S3 service (Swift with its s3api, on this machine): what shelf_test.cc promises, and the service on it."""
import hashlib
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest
import urllib.error
import urllib.request
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "GOMP_SPINCOUNT": "10000"}
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/e2e"), str(ROOT / "tests/s3")]
import swift  # noqa: E402
from proxy import Proxy  # noqa: E402
from service import Service  # noqa: E402

PROGRAMS = ROOT / "build/release/bin"
RECIPE = "rtn(bits=4, group_size=32)"
PIECE, PART = 3 << 20, 8 << 20  # bytes of an upload over HTTP, and of one to the bucket


class OnSwift(unittest.TestCase):
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

    def verb(self, *arguments):
        return subprocess.run([PROGRAMS / "wring-server", *map(str, arguments)], capture_output=True, text=True)


class Bucket(OnSwift):
    def start(self):
        self.service.start_server()
        self.service.start_worker()

    def alone(self):
        result = self.service.cli("run", "--local", RECIPE, "--model", self.scratch / "tiny", "--out", self.folder / "alone", "--json")
        return result.json["artifact_digest"]

    def test_a_shelf_is_what_a_shelf_promises(self):
        self.write_place(self.folder, prefix="shelf-test")
        result = subprocess.run([PROGRAMS / "wring_server_test", "--gtest_filter=*Shelf*/bucket", "--gtest_brief=1"],
                                env=os.environ | {"WRING_TEST_S3": str(self.folder)}, capture_output=True, text=True)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        self.assertIn("7 tests", result.stdout)
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
        self.assertGreater(json.loads(collected.stdout)["deleted_blobs"], 0, collected.stderr)
        self.assertEqual(self.verb("fsck", "--data", self.folder / "data").returncode, 0)
        copied = self.verb("backup", "--data", self.folder / "data", "--to", self.folder / "backup")
        self.assertEqual(copied.returncode, 0, copied.stderr)
        restored = self.verb("restore", "--from", self.folder / "backup", "--data", self.folder / "restored")
        self.assertEqual(restored.returncode, 0, restored.stderr)
        manifest = self.verb("fsck", "--data", self.folder / "restored", "--json")
        self.assertEqual(manifest.returncode, 0, manifest.stdout)
        self.assertTrue((self.folder / "restored/blobs").is_dir(), kept)


class Parts(OnSwift):
    """Blobs that go to the bucket in parts, by way of a proxy that counts them and gets in their way."""

    def setUp(self):
        super().setUp()
        self.proxy = Proxy(self.swift.endpoint)
        self.addCleanup(self.proxy.stop)
        self.write_place(self.folder / "data", endpoint=self.proxy.endpoint, prefix=self.folder.name)
        self.service.start_server()

    def blob(self, size):
        """Bytes that nobody has had: the bucket is that of all tests."""
        content = random.randbytes(size)
        return content, hashlib.sha256(content).hexdigest()

    def http(self, method, path, body=None):
        """(status, body)"""
        headers = {"Content-Type": "application/octet-stream"} if body is not None else {}
        request = urllib.request.Request(f"http://{self.service.http}/api/v1/blobs/{path}", body, headers, method=method)
        try:
            with urllib.request.urlopen(request) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def send(self, content, digest, upload="one"):
        """Uploads the blob from where the server has it; returns the status of the last piece. What is whole there, and not in the bucket, is asked for by an empty one."""
        at = int(json.loads(self.http("GET", f"{digest}/uploads/{upload}")[1]).get("committed_size", 0))
        while True:
            path = f"{digest}?size={len(content)}&upload_id={upload}&write_offset={at}"
            status, answer = self.http("PUT", path, content[at:at + PIECE])
            at += PIECE
            if status != 200 or at >= len(content):
                return status, answer

    def assert_sent(self, content, digest, **how):
        status, answer = self.send(content, digest, **how)
        self.assertEqual(status, 200, f"{answer}\n{self.service.logs()}")
        self.assert_there(digest)

    def assert_there(self, digest):
        status, content = self.http("GET", digest)
        self.assertEqual((status, hashlib.sha256(content).hexdigest()), (200, digest))

    def send_until_held(self, content, digest):
        """Sends, on a thread of its own, until the proxy holds a request."""
        def send():
            try:
                self.send(content, digest)
            except OSError:  # the server was killed
                pass

        sender = threading.Thread(target=send, daemon=True)
        sender.start()
        self.assertTrue(self.proxy.held.wait(120), self.service.logs())
        return sender

    def kill_while(self, kind, content, digest):
        """kill -9 of the server while its request waits."""
        self.proxy.faults = {kind: ["hold"]}
        sender = self.send_until_held(content, digest)
        self.assertEqual(self.http("GET", digest)[0], 404, "it is visible before it is whole")
        self.service.kill_server()
        self.proxy.release()
        sender.join(60)

    def begun(self):
        """Ids of the uploads of this test that were begun and not ended."""
        listed = self.swift.ask("GET", "/wring", f"prefix={self.folder.name}%2F&uploads=").decode()
        return re.findall("<UploadId>(.*?)</UploadId>", listed)

    def collect(self, grace_hours):
        collected = self.verb("gc", "--data", self.folder / "data", "--grace-hours", grace_hours, "--json")
        self.assertEqual(collected.returncode, 0, collected.stderr)
        return json.loads(collected.stdout)["forgotten_unfinished_blobs"]

    def test_a_blob_of_several_parts_arrives_whole_and_a_small_one_in_one_request(self):
        self.assert_sent(*self.blob(2 * PART + 5))
        self.assertEqual(self.proxy.parts(), {1: 1, 2: 1, 3: 1})
        self.assertEqual((self.proxy.requests["begin"], self.proxy.requests["complete"], self.proxy.requests["PUT blob"]), (1, 1, 0))
        self.assertEqual(self.begun(), [])
        self.assert_sent(*self.blob(PART))
        self.assertEqual((self.proxy.requests["begin"], self.proxy.requests["PUT blob"]), (1, 1))

    def test_a_server_that_was_killed_sends_the_parts_that_had_not_arrived(self):
        content, digest = self.blob(5 * PART)
        self.kill_while("part 3", content, digest)
        self.assertEqual(self.proxy.parts(), {1: 1, 2: 1, 3: 1})
        self.proxy.requests.clear()
        self.service.start_server()
        self.assert_sent(content, digest)
        self.assertEqual(self.proxy.parts(), {3: 1, 4: 1, 5: 1})
        self.assertEqual((self.proxy.requests["begin"], self.begun()), (0, []))

    def test_what_another_upload_id_sent_counts_too(self):
        content, digest = self.blob(3 * PART)
        self.kill_while("part 3", content, digest)
        self.proxy.requests.clear()
        self.service.start_server()
        self.assert_sent(content, digest, upload="two")
        self.assertEqual(self.proxy.parts(), {3: 1})

    def test_what_broke_off_goes_on_from_the_parts_that_arrived(self):
        content, digest = self.blob(3 * PART)
        self.proxy.faults = {"part 2": ["cut"] * 20}  # libcurl, too, asks again
        status, answer = self.send(content, digest)
        self.assertEqual((status, json.loads(answer)["reason"]), (503, "S3_AWAY"))
        self.proxy.faults.clear()
        self.proxy.requests.clear()
        self.assert_sent(content, digest)
        self.assertEqual((self.proxy.parts(), self.proxy.requests["begin"]), ({2: 1, 3: 1}, 0))

    def test_a_part_that_was_damaged_on_its_way_is_refused_and_sent_again(self):
        self.proxy.faults = {"part 2": ["damage"]}
        self.assert_sent(*self.blob(3 * PART))
        self.assertEqual(self.proxy.parts(), {1: 1, 2: 2, 3: 1})
        self.assertEqual(self.proxy.refused["part 2"], 1)

    def test_answers_that_were_lost_cost_no_part(self):
        self.proxy.faults = {"begin": ["lose"], "part 2": ["lose"], "complete": ["lose"]}
        self.assert_sent(*self.blob(3 * PART))
        self.assertEqual(self.proxy.parts(), {1: 1, 2: 2, 3: 1})  # it cannot know that the second one came

    def test_an_upload_that_is_gone_because_it_was_completed_is_not_made_again(self):
        self.proxy.faults = {"complete": ["lose", "gone"]}
        self.assert_sent(*self.blob(2 * PART))
        self.assertEqual((self.proxy.parts(), self.proxy.requests["begin"]), ({1: 1, 2: 1}, 1))

    def test_a_part_in_the_bucket_counts_only_where_it_is_the_blobs(self):
        content, digest = self.blob(3 * PART)
        key = f"/wring/{self.folder.name}/blobs/{digest}"
        upload = re.search("<UploadId>(.*?)</UploadId>", self.swift.ask("POST", key, "uploads=").decode())[1]
        for number, part in ((1, random.randbytes(PART)), (2, content[PART:2 * PART])):
            self.swift.ask("PUT", key, f"partNumber={number}&uploadId={upload}", part)
        self.assert_sent(content, digest)
        self.assertEqual(self.proxy.parts(), {1: 1, 3: 1})

    def test_uploads_that_nobody_finishes_are_aborted_after_the_grace_period(self):
        content, digest = self.blob(3 * PART)
        before = set(self.swift.objects())
        self.kill_while("part 3", content, digest)
        self.assertEqual(len(self.begun()), 1)
        self.assertEqual((self.collect(1), len(self.begun())), (0, 1))
        self.assertEqual((self.collect(0), self.begun()), (1, []))
        parts = [path for path in set(self.swift.objects()) - before if path.stat().st_size == PART]
        self.assertEqual(parts, [])
        self.proxy.requests.clear()
        self.service.start_server()
        self.assert_sent(content, digest)
        self.assertEqual(self.proxy.parts(), {1: 1, 2: 1, 3: 1})

    def test_an_upload_that_is_aborted_while_it_is_sent_begins_anew(self):
        content, digest = self.blob(3 * PART)
        self.proxy.faults = {"part 2": ["hold"]}
        sender = self.send_until_held(content, digest)
        self.swift.ask("DELETE", f"/wring/{self.folder.name}/blobs/{digest}", f"uploadId={self.begun()[0]}")
        self.proxy.release()
        sender.join(120)
        self.assert_there(digest)
        self.assertEqual((self.proxy.requests["begin"], self.begun()), (2, []))

    def test_two_uploads_of_one_blob_at_once_make_it(self):
        content, digest = self.blob(4 * PART)
        answers = []
        senders = [threading.Thread(target=lambda upload=upload: answers.append(self.send(content, digest, upload))) for upload in ("one", "two")]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join(120)
        self.assertEqual([status for status, _ in answers], [200, 200], answers)
        self.assert_there(digest)


if __name__ == "__main__":
    unittest.main()
