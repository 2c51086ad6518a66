#!/usr/bin/env python3
"""Slurm for real: a service without workers submits them, loses half, ends them when nothing is left, and says what is refused.

    run.py [--bin build/release/bin] [--keep] [-v] [TEST...]     exit status 77 where Slurm is not installed
"""
import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
import unittest.mock
import urllib.request
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/e2e"), str(ROOT / "tests/slurm")]
from cluster import NODES, Cluster, why_not  # noqa: E402
from random_models import TEXT, make_decoder  # noqa: E402
from service import Service  # noqa: E402

PROVISION = """
partition: {partition}
cpus: 1
memory: 1500MB
time_limit: 30m
max: {max}
idle_seconds: 8
poll_seconds: 1
cache: {folder}/cache
logs: {folder}/logs
"""
SWEEP = """
name: grid
recipe: {{stages: ['gptq(bits=4, group_size=32, samples=32, sequence_length=128)'], evaluations: [size]}}
objectives: [weight_bytes]
model: {scratch}/slow
data: {{calibration: {scratch}/text.txt}}
space: {{stages.gptq.bits: [3, 4, 8], stages.gptq.damping: [0.01, 0.02, 0.05, 0.1]}}
parallel: 4
"""
GOAL = """
goal: 'speedup>=0.05x on node, ppl<=+400%'
model: {scratch}/tiny
data: {{calibration: {scratch}/text.txt, test: {scratch}/text.txt}}
recipe: {{evaluations: ['perplexity(window=64, windows=4)', 'latency(repeats=3)', size]}}
strategy: {{levels: 'gptq(bits=4, group_size=32) | gptq(bits=8, group_size=32)', samples: 8, sequence_length: 64, plans: 1, uniform: 1}}
"""
programs = scratch = cluster = None  # set by main()


def local(recipe, model):
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        command = [programs / "wring", "run", "--local", recipe, "--model", model, "--data", f"calibration={scratch / 'text.txt'}",
                   "--out", f"{folder}/out", "--json"]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["artifact_digest"]


class WithCluster(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(dir=scratch))
        (self.folder / "logs").mkdir()
        self.service = Service(programs, self.folder)
        self.addCleanup(cluster.empty)
        self.addCleanup(self.service.stop)
        self.provision = self.folder / "provision.yaml"
        self.configure()

    def configure(self, partition="main", most=4):
        self.provision.write_text(PROVISION.format(partition=partition, max=most, folder=self.folder))

    def start(self):
        self.service.start_server("--provision", "slurm", "--provision-config", str(self.provision))

    def jobs(self, *states):
        return [job for job in cluster.jobs() if not states or job["state"] in states]

    def workers(self):
        """Those that are connected now."""
        return [w for w in self.service.cli("workers", "--json").json["workers"] if w["slurm_job"] and not w["draining"]]

    def health(self):
        with urllib.request.urlopen(f"http://{self.service.http}/healthz") as answer:
            return json.load(answer)["provisioner"]

    def sweep_file(self):
        path = self.folder / "sweep.yaml"
        path.write_text(SWEEP.format(scratch=scratch))
        return path

    def sweep(self):
        answer = self.service.cli("sweep", "submit", self.sweep_file(), "--json")
        self.assertEqual(answer.status, 0, str(answer))
        return answer.json["id"]

    def shown(self, sweep):
        return self.service.cli("sweep", "show", sweep, "--json").json

    def wait_for(self, what, done, seconds=300):
        try:
            self.service.wait_for(what, done, seconds)
        except AssertionError as error:
            workers = "".join(f"--- {log.name}\n{log.read_text()[-1500:]}" for log in sorted((self.folder / "logs").glob("*")))
            raise AssertionError(f"{error}\n{workers}\n{cluster.logs()}") from None

    def wait_until_all_workers_have_gone(self):
        self.wait_for("an empty queue of Slurm", lambda: not self.jobs(), 90)
        self.wait_for("no worker", lambda: not self.workers(), 10)


class Sweeps(WithCluster):
    def test_a_sweep_starts_workers_on_both_nodes_and_does_not_mind_that_half_of_them_are_cancelled(self):
        self.start()
        self.assertEqual((self.jobs(), self.workers()), ([], []))
        sweep = self.sweep()
        self.wait_for("workers on both nodes", lambda: {w["name"] for w in self.workers()} == set(NODES))
        self.wait_for("two trials", lambda: self.shown(sweep)["succeeded"] >= 2)
        running = self.jobs("RUNNING")
        self.assertLessEqual(len(running), 4)
        victims = [job["id"] for job in running][::2]
        print(f"\n  {len(running)} workers on {sorted({job['node'] for job in running})}; scancel {' '.join(victims)}", flush=True)
        cluster.run("scancel", *victims)
        self.wait_for("the end of the sweep", lambda: self.shown(sweep)["end_time"])
        ended = self.shown(sweep)
        self.assertEqual((ended["state"], ended["trials"], ended["succeeded"]), ("SUCCEEDED", 12, 12), self.service.logs())
        self.check_trials(sweep)
        self.wait_until_all_workers_have_gone()
        metrics = self.service.metrics()
        print(f"  {metrics['wring_provision_submitted_total']:.0f} workers submitted for 12 trials; the idle queue has ended all", flush=True)
        self.assertGreaterEqual(metrics["wring_provision_submitted_total"], 4 + len(victims))
        self.assertEqual(metrics["wring_provision_up"], 1)

    def test_a_worker_whose_time_is_nearly_over_drains_and_its_job_goes_on_in_another(self):
        self.provision.write_text(self.provision.read_text().replace("time_limit: 30m", "time_limit: 1m\nnotice: 30").replace("max: 4", "max: 2"))
        self.start()
        sweep = self.sweep()
        logs = lambda: "".join(log.read_text() for log in (self.folder / "logs").glob("*"))  # noqa: E731
        self.wait_for("a drain", lambda: "draining" in logs())
        self.wait_for("the end of the sweep", lambda: self.shown(sweep)["end_time"])
        self.assertEqual(self.shown(sweep)["succeeded"], 12, self.service.logs())
        self.assertNotIn("DUE TO TIME LIMIT", logs())
        self.assertEqual(self.service.metrics().get('wring_attempts_total{outcome="retried",reason="LEASE_EXPIRED"}', 0), 0)
        self.wait_until_all_workers_have_gone()

    def test_a_worker_that_a_more_urgent_partition_takes_the_node_from_drains_and_comes_back(self):
        self.provision.write_text(self.provision.read_text().replace("max: 4", "max: 1"))
        self.start()
        sweep = self.sweep()
        self.wait_for("a trial", lambda: self.shown(sweep)["succeeded"] >= 1)
        (victim,) = self.jobs("RUNNING")
        cluster.run("sbatch", "--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 5")
        self.wait_for("the preemption", lambda: any(job["name"] == "wrap" and job["state"] == "RUNNING" for job in self.jobs()))
        self.assertIn("draining", (self.folder / "logs" / f"worker-{victim['id']}.log").read_text())
        self.assertEqual([job["id"] for job in self.jobs("PENDING")], [victim["id"]])
        before = self.shown(sweep)["succeeded"]
        self.wait_for("another trial", lambda: self.shown(sweep)["succeeded"] > before)
        self.assertEqual([job["id"] for job in self.jobs("RUNNING")], [victim["id"]])
        self.service.cli("sweep", "cancel", sweep)
        self.assertEqual(self.service.metrics().get('wring_attempts_total{outcome="retried",reason="LEASE_EXPIRED"}', 0), 0)
        self.wait_until_all_workers_have_gone()

    def test_workers_get_the_gpus_of_a_node_and_are_of_the_class_of_the_file(self):
        self.provision.write_text(self.provision.read_text() + "gres: 'gpu:1'\nclass: of-slurm\n")
        self.start()
        waits = self.service.submit("rtn(bits=4, group_size=32)", scratch / "tiny", "--class", "another")
        job = self.service.submit("rtn(bits=4, group_size=32)", scratch / "tiny", "--class", "of-slurm")
        self.wait_for("a worker", lambda: self.jobs("RUNNING"))
        self.assertIn("gpu:1", cluster.run("scontrol", "show", "job", self.jobs("RUNNING")[0]["id"]))
        self.assertEqual(self.service.wait_for_end(job)["state"], "SUCCEEDED")
        self.assertEqual(self.service.job(waits)["waiting_reason"], "no connected worker is of class another")
        self.assertEqual(self.service.metrics()["wring_provision_submitted_total"], 1)
        self.wait_until_all_workers_have_gone()

    def check_trials(self, sweep):
        trials = self.service.cli("sweep", "trials", sweep, "--json").json["trials"]
        self.assertEqual([trial["number"] for trial in trials], list(range(12)))
        jobs = [job["id"] for job in self.service.cli("jobs", "--all", "--json").json["jobs"]]
        self.assertEqual(sorted(jobs), sorted(trial["job"] for trial in trials))
        attempts = 0
        for trial in trials:
            job = self.service.job(trial["job"])
            attempts += job["attempt"]
            bits, damping = trial["values"]["stages.gptq.bits"], trial["values"]["stages.gptq.damping"]
            alone = local(f"gptq(bits={bits}, group_size=32, samples=32, sequence_length=128, damping={damping})", scratch / "slow")
            self.assertEqual(trial["artifact_digest"], alone, trial)
        print(f"  12 trials, once each, {attempts} attempts, digests as 12 runs without a service", flush=True)


class Secure(WithCluster):
    def init(self, *arguments):
        command = [programs / "wring-server", "init", *arguments, "--data", self.folder / "data", "--json"]
        return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    def processes(self):
        """(command line, environment) of this service's workers."""
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                command = (folder / "cmdline").read_bytes().decode().split("\0")
                if command[0].endswith("wring-worker") and str(self.folder / "cache") in command:
                    yield command, (folder / "environ").read_bytes().decode()
            except OSError:
                continue

    def test_workers_bring_a_certificate_and_neither_slurm_nor_their_processes_show_a_secret(self):
        made = self.init()
        self.provision.write_text(self.provision.read_text() + f"tls: {self.init('worker', 'slurm')['folder']}\n")
        with unittest.mock.patch.dict(os.environ, {"WRING_CA": made["ca"], "WRING_TOKEN": made["token"]}):
            self.start()
            job = self.service.submit("gptq(bits=4, group_size=32, samples=32, sequence_length=128)", scratch / "slow", "--data",
                                      f"calibration={scratch / 'text.txt'}")
            self.wait_for("the worker", self.workers)
            self.assertEqual(self.service.cli("workers", "--json").json["workers"][0]["name"], self.jobs("RUNNING")[0]["node"])
            number = self.jobs("RUNNING")[0]["id"]
            shown = cluster.run("scontrol", "show", "job", number) + cluster.run("scontrol", "write", "batch_script", number, "-")
            ((command, environment),) = self.processes()
            self.assertEqual(self.service.wait_for_end(job)["state"], "SUCCEEDED")
        self.assertIn("--tls", command)
        for text in (shown, " ".join(command), environment):
            self.assertNotIn(made["token"], text)
        self.assertNotIn("WRING_", environment)


class Allocation(WithCluster):
    """wring sweep run --slurm: no daemon runs before or after."""

    def test_a_sweep_runs_in_an_allocation_of_two_nodes_and_goes_on_in_the_next_one(self):
        out = self.folder / "results"
        command = [programs / "wring", "sweep", "run", self.sweep_file(), "--out", out, "--slurm", "--nodes", "2", "--cpus", "2",
                   "--worker-memory", "1500MB", "--time", "30m", "--cache", self.folder / "cache", "--json"]
        job = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["slurm_job"]
        log = out / "slurm.log"
        self.wait_for("three trials", lambda: log.exists() and " 3 of 12 trials" in log.read_text())
        cluster.run("scancel", "--batch", "--signal=TERM", job)  # as at the end of its time
        self.wait_for("another beginning", lambda: self.jobs("PENDING"), 60)
        self.assertFalse((out / "sweep.json").exists())
        self.wait_for("the results", lambda: (out / "sweep.json").exists() and not self.jobs())
        sweep = json.loads((out / "sweep.json").read_text())
        self.assertEqual((sweep["state"], sweep["trials"], sweep["succeeded"]), ("SUCCEEDED", 12, 12))
        with open(out / "trials.csv", newline="") as file:
            trials = list(csv.DictReader(file))
        self.assertEqual([int(trial["trial"]) for trial in trials], list(range(12)))
        with open(out / "front.csv", newline="") as file:
            front = [trial["trial"] for trial in csv.DictReader(file)]
        self.assertTrue(front)
        self.assertEqual(sorted(front), sorted(folder.name for folder in (out / "front").iterdir()))
        self.assertTrue(all((folder / "config.json").exists() for folder in (out / "front").iterdir()))
        workers = (out / "data/logs/workers.log").read_text()
        self.assertTrue(all(f"({name})" in workers for name in NODES), workers)
        self.assertIn("draining", workers)
        self.assertNotIn("Killed", workers)

    def test_a_refusal_names_the_option_that_asked_for_it(self):
        command = [programs / "wring", "sweep", "run", self.sweep_file(), "--out", self.folder / "results", "--slurm", "--cache", self.folder / "cache"]
        for options, named in ((["--time", "2d"], "--time"), (["--partition", "nope"], "--partition"), (["--gres", "fpga:1"], "--gres"),
                               (["--sbatch=--constraint=x"], "--sbatch")):
            refused = subprocess.run([*command, *options], capture_output=True, text=True)
            self.assertEqual((refused.returncode, self.jobs()), (2, []), refused.stderr)
            self.assertIn(f"error: {named}: Slurm says:", refused.stderr)

    def test_a_goal_on_speed_is_measured_on_nodes_that_the_run_says_are_of_its_class(self):
        path, out = self.folder / "goal.yaml", self.folder / "results"
        path.write_text(GOAL.format(scratch=scratch))
        command = [programs / "wring", "sweep", "run", path, "--out", out, "--slurm", "--worker-memory", "1500MB", "--cache", self.folder / "cache", "--json"]
        refused = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual((refused.returncode, self.jobs()), (2, []), refused.stderr)
        self.assertIn("--class node says that its workers are", refused.stderr)
        subprocess.run([*command, "--class", "node"], check=True, capture_output=True)
        self.wait_for("the results", lambda: (out / "sweep.json").exists() and not self.jobs())
        reason = json.loads((out / "sweep.json").read_text())["end_reason"]
        self.assertTrue(reason.startswith("met: "), f"{reason}\n{(out / 'slurm.log').read_text()}")

    def test_a_sweep_whose_user_cancels_it_does_not_come_back(self):
        out = self.folder / "results"
        command = [programs / "wring", "sweep", "run", self.sweep_file(), "--out", out, "--slurm", "--worker-memory", "1500MB", "--cache",
                   self.folder / "cache", "--json"]
        job = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["slurm_job"]
        log = out / "slurm.log"
        self.wait_for("a trial", lambda: log.exists() and " 1 of 12 trials" in log.read_text())
        cluster.run("scancel", job)
        self.wait_for("its end", lambda: "JobState=CANCELLED" in cluster.run("scontrol", "show", "job", job))
        self.wait_for("an empty queue", lambda: not self.jobs())
        time.sleep(2)
        self.assertEqual(self.jobs(), [])


class Faults(WithCluster):
    def test_a_refused_partition_is_named_with_those_that_there_are_and_the_server_does_not_start(self):
        self.configure(partition="large")
        result = subprocess.run([programs / "wring-server", "--data", self.folder / "data", "--grpc", self.service.grpc, "--http", self.service.http,
                                 "--provision", "slurm", "--provision-config", self.provision], capture_output=True, text=True, timeout=60)
        self.assertEqual(result.returncode, 2, result.stderr)
        self.assertRegex(result.stderr, r"error: provision\.partition: Slurm says: .*partition")
        self.assertIn("This cluster has: main, urgent.", result.stderr)
        print("\n  " + result.stderr.strip().splitlines()[-2].strip(), flush=True)

    def test_other_refusals_name_their_key_too(self):
        for key, line, named in (("gres", "gres: 'fpga:1'", "gres"), ("time_limit", "time_limit: 2d", "time_limit"), ("memory", "memory: 64GB", "cpus"),
                                 ("sbatch", "sbatch: ['--constraint=x']", "sbatch")):
            lines = [kept for kept in PROVISION.splitlines() if not kept.startswith(f"{key}:")]
            self.provision.write_text("\n".join([*lines, line]).format(partition="main", max=4, folder=self.folder))
            result = subprocess.run([programs / "wring-server", "--data", self.folder / "data", "--grpc", self.service.grpc, "--http",
                                     self.service.http, "--provision", "slurm", "--provision-config", self.provision], capture_output=True,
                                    text=True, timeout=60)
            self.assertEqual(result.returncode, 2, result.stderr)
            self.assertIn(f"provision.{named}: Slurm says:", result.stderr)

    def test_a_partition_that_goes_away_is_said_by_health_metrics_and_the_jobs_that_wait_until_it_is_back(self):
        self.start()
        self.assertEqual(self.health(), "ok")
        cluster.run("scontrol", "update", "PartitionName=main", "State=INACTIVE")
        self.addCleanup(cluster.run, "scontrol", "update", "PartitionName=main", "State=UP")
        job = self.service.submit("rtn(bits=4, group_size=32)", scratch / "tiny")
        self.wait_for("the refusal", lambda: self.health() != "ok", 30)
        self.assertIn("Slurm says:", self.service.job(job)["waiting_reason"])
        self.assertEqual(self.service.metrics()["wring_provision_up"], 0)
        cluster.run("scontrol", "update", "PartitionName=main", "State=UP")
        self.assertEqual(self.service.wait_for_end(job)["state"], "SUCCEEDED")
        self.wait_for("health", lambda: self.health() == "ok", 30)
        self.wait_until_all_workers_have_gone()

    def test_a_controller_that_is_down_is_waited_for(self):
        self.start()
        cluster.stop_controller()
        job = self.service.submit("rtn(bits=4, group_size=32)", scratch / "tiny")
        self.wait_for("the error", lambda: self.health() == "SLURM_AWAY", 60)
        cluster.start_controller()
        self.assertEqual(self.service.wait_for_end(job)["state"], "SUCCEEDED")
        self.wait_until_all_workers_have_gone()

    def test_a_server_that_is_killed_finds_its_batch_jobs_again_and_makes_no_more_than_max(self):
        self.configure(most=5)  # two nodes of two CPUs: one has to wait
        self.start()
        sweep = self.sweep()
        most = 0
        for _ in range(3):
            self.wait_for("batch jobs", lambda: len(self.jobs()) >= 4)
            self.service.kill_server()
            most = max(most, len(self.jobs()))
            self.start()
        while not self.shown(sweep)["end_time"]:
            most = max(most, len(self.jobs()))
            time.sleep(0.3)
        self.assertLessEqual(most, 5)
        self.assertEqual(self.shown(sweep)["succeeded"], 12)
        self.wait_until_all_workers_have_gone()

    def test_workers_that_cannot_start_are_not_submitted_for_ever(self):
        self.provision.write_text(self.provision.read_text() + f"worker: {self.folder}/absent\n")
        self.start()
        job = self.service.submit("rtn(bits=4, group_size=32)", scratch / "tiny")
        self.wait_for("the suspicion", lambda: self.health() == "WORKERS_END", 60)
        self.assertIn("end without having taken a job", self.service.job(job)["waiting_reason"])
        before = self.service.metrics()["wring_provision_submitted_total"]
        time.sleep(5)
        self.assertEqual(self.service.metrics()["wring_provision_submitted_total"], before)


def main():
    global programs, scratch, cluster
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, default=ROOT / "build/release/bin")
    parser.add_argument("--keep", action="store_true", help="leave the folder of the run, with all logs")
    parser.add_argument("-v", action="store_true")
    parser.add_argument("tests", nargs="*")
    options = parser.parse_args()
    if reason := why_not():
        print(f"skip   slurm: {reason}")
        sys.exit(77)
    programs, scratch = options.bin.resolve(), Path(tempfile.mkdtemp(prefix="wring-slurm-"))
    make_decoder(scratch / "tiny", seed=1)
    make_decoder(scratch / "slow", seed=2, hidden_size=256, intermediate_size=1024, num_hidden_layers=8, num_attention_heads=8, num_key_value_heads=4)
    (scratch / "text.txt").write_text("\n".join(TEXT * 200))
    cluster = Cluster(scratch / "slurm")
    os.environ["SLURM_CONF"] = str(cluster.config)
    try:
        cluster.start()
        unittest.main(argv=[sys.argv[0], *options.tests], verbosity=2 if options.v else 1)
    finally:
        cluster.stop()
        if options.keep:
            print(scratch, file=sys.stderr)
        else:
            shutil.rmtree(scratch, ignore_errors=True)


if __name__ == "__main__":
    main()
