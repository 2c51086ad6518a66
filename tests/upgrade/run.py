#!/usr/bin/env python3
"""Upgrade: the data, the worker and the CLI of an earlier release go on under this server.

    run.py --old DIR [-v] [TEST...]     DIR holds the earlier wring-server, wring-worker, wring-engine and wring
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
import uuid
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/e2e")]
import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from random_models import TEXT, make_decoder  # noqa: E402
from service import Service  # noqa: E402

NEW = ROOT / "build/release/bin"
QUICK = "rtn(bits=4, group_size=32)"
CALIBRATED = "wanda(pattern=0.5, samples=8, sequence_length=64)"
NEWER = "gptq(bits=4, group_size=32, samples=8, sequence_length=64)"  # a later version of the method than the old worker's
SLOW = ("wanda(pattern=0.5, samples=32, sequence_length=128) | "
        "gptq(bits=4, group_size=32, samples=32, sequence_length=128)")
old = scratch = None  # folders; set by main()


def weights(folder):
    """{name: tensor}. Lineage and configuration may say more under a later release, so digests of folders differ."""
    return {name: tensor for file in sorted(Path(folder).glob("*.safetensors")) for name, tensor in load_file(file).items()}


def local(programs, recipe, model, *arguments):
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        command = [programs / "wring", "run", "--local", recipe, "--model", model, "--out", f"{folder}/out", *arguments, "--json"]
        subprocess.run(command, check=True, capture_output=True, text=True)
        return weights(f"{folder}/out")


class Upgrade(unittest.TestCase):
    """Each test begins with the old server and worker on an empty data folder."""

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(dir=scratch))
        self.service = Service(old, self.folder)
        self.addCleanup(self.service.stop)
        self.service.start_server()
        self.service.start_worker("old")
        self.data = f"calibration={scratch / 'text.txt'}"

    def start_new_server(self):
        self.service.kill_server()
        self.service.programs = NEW
        self.service.start_server()

    def ended_well(self, job):
        job = self.service.wait_for_end(job)
        self.assertEqual(job["state"], "SUCCEEDED", f"{json.dumps(job, indent=1)}\n{self.service.logs()}")
        return job

    def assert_weights(self, job, expected):
        """Of the job's result, fetched."""
        folder = Path(tempfile.mkdtemp(dir=self.folder)) / "out"
        fetched = self.service.cli("get", job["artifact_digest"], "--out", folder)
        self.assertEqual(fetched.status, 0, str(fetched))
        found = weights(folder)
        self.assertTrue(found)
        self.assertEqual(found.keys(), expected.keys())
        for name, tensor in found.items():
            self.assertTrue(torch.equal(tensor, expected[name]), name)

    def check_data(self):
        self.service.stop()
        fsck = subprocess.run([NEW / "wring-server", "fsck", "--data", self.folder / "data", "--json"], capture_output=True, text=True)
        self.assertEqual(fsck.returncode, 0, fsck.stdout + fsck.stderr)

    def test_what_the_old_server_held_is_there(self):
        done = self.ended_well(self.service.submit(QUICK, scratch / "tiny"))
        self.service.kill_worker("old")
        request = ("submit", QUICK, "--model", scratch / "tiny", "--name", "waits", "--request-id", str(uuid.uuid4()), "--json")
        waiting = self.service.cli(*request).json["id"]
        self.start_new_server()
        after = self.service.job(done["id"])
        for field in ("state", "artifact_digest", "evaluations"):
            self.assertEqual(after[field], done[field])
        self.assertEqual(self.service.job(waiting)["state"], "QUEUED")
        self.service.programs = old  # its CLI sends the same bytes
        self.assertEqual(self.service.cli(*request).json["id"], waiting)
        self.service.programs = NEW
        self.service.workers.clear()
        self.service.start_worker("new")
        expected = local(old, QUICK, scratch / "tiny")
        for job in (done, self.ended_well(waiting)):
            self.assert_weights(job, expected)
        self.check_data()

    def test_the_old_worker_takes_jobs_from_the_new_server(self):
        self.start_new_server()
        for recipe, model, arguments in ((QUICK, scratch / "tiny", ()), (CALIBRATED, scratch / "tiny", ("--data", self.data))):
            with self.subTest(recipe):
                job = self.ended_well(self.service.submit(recipe, model, *arguments))
                self.assert_weights(job, local(old, recipe, model, *arguments))
        self.check_data()

    def test_a_method_of_a_later_version_waits_for_a_new_worker_and_says_so(self):
        self.start_new_server()
        job = self.service.submit(NEWER, scratch / "tiny", "--data", self.data)
        self.service.wait_for("the reason why it waits", lambda: "gptq@" in self.service.job(job)["waiting_reason"])
        self.service.start_worker("new")
        self.assertEqual(self.ended_well(job)["attempt"], 1)
        self.check_data()

    def test_a_job_that_the_old_worker_runs_goes_on_through_the_change_of_servers(self):
        job = self.service.submit(SLOW, scratch / "slow", "--data", self.data)
        self.service.wait_for_stage(job, 1, ("running",))
        self.start_new_server()
        self.assertEqual(self.ended_well(job)["attempt"], 1)
        self.check_data()

    def test_old_and_new_workers_serve_one_queue(self):
        self.start_new_server()
        self.service.start_worker("new")
        jobs = [self.ended_well(job) for job in [self.service.submit(QUICK, scratch / "tiny", "--seed", seed) for seed in range(6)]]
        self.assertEqual(len({job["worker"] for job in jobs}), 2, "one worker took all jobs")
        self.check_data()

    def test_the_old_cli_speaks_to_the_new_server(self):
        self.start_new_server()
        self.service.programs = old
        answer = self.service.cli("submit", QUICK, "--model", scratch / "tiny", "--wait", "--json")
        self.assertEqual(answer.status, 0, str(answer))
        self.assertEqual(self.service.cli("get", answer.json["artifact_digest"], "--out", self.folder / "fetched").status, 0)
        self.check_data()


def main():
    global old, scratch
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--old", type=Path, required=True)
    parser.add_argument("-v", action="store_true")
    parser.add_argument("tests", nargs="*")
    args = parser.parse_args()
    old, scratch = args.old.resolve(), Path(tempfile.mkdtemp(prefix="wring-upgrade-"))
    make_decoder(scratch / "tiny", seed=1)
    make_decoder(scratch / "slow", seed=2, hidden_size=256, intermediate_size=1024, num_hidden_layers=16, num_attention_heads=8,
                 num_key_value_heads=4)
    (scratch / "text.txt").write_text("\n".join(TEXT * 200))
    try:
        unittest.main(argv=[sys.argv[0], *args.tests], verbosity=2 if args.v else 1)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
