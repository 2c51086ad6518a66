#!/usr/bin/env python3
"""End to end: real server, worker, engine and CLI on loopback, with models made by the test.

    run.py [--bin build/release/bin] [-v] [TEST...]     e.g. run.py Crashes.test_a_killed_engine
    run.py --jobs 3                                     all, three classes at a time
"""
import argparse
import io
import json
import multiprocessing
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/e2e")]
import torch  # noqa: E402
import transformers  # noqa: E402
import yaml  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

import bad_input  # noqa: E402
import door  # noqa: E402
import golden  # noqa: E402
import operations  # noqa: E402
from bad_input import BadInputTests  # noqa: E402
from door import Door, HostileClient  # noqa: E402, F401
from exports import ExportTests  # noqa: E402
from goals import GoalTests  # noqa: E402
from golden import Golden  # noqa: E402, F401
from graphs import GraphTests  # noqa: E402
from metrics import MetricsTests  # noqa: E402
from operations import Operations  # noqa: E402, F401
from python_client import PythonClientTests  # noqa: E402
from random_models import TEXT, make_decoder, make_encoder  # noqa: E402
from rest import RestTests  # noqa: E402
from service import DEADLINE, SLOW_RECIPE, Service, mount_small  # noqa: E402
from sweeps import SweepTests  # noqa: E402

PROGRAMS = ROOT / "build/release/bin"
MINILM = ROOT / "build/models/minilm"
scratch = None  # folder of this run; set by main()


def make_models(folder):
    """tiny: a decoder of 0.2 MB; slow: one that keeps two cores busy for some seconds a stage; encoder: a tiny BERT."""
    make_decoder(folder / "tiny", seed=1)
    make_decoder(folder / "slow", seed=2, hidden_size=256, intermediate_size=512, num_hidden_layers=16, num_attention_heads=8,
                 num_key_value_heads=4)
    make_encoder(folder / "encoder", seed=3)
    (folder / "text.txt").write_text("\n".join(TEXT * 200))
    (folder / "empty.txt").write_text(" \n\n")


def local(recipe, model, *arguments):
    """{artifact_digest, stages, evaluations} of `wring run --local`."""
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        command = [PROGRAMS / "wring", "run", "--local", recipe, "--model", model, "--out", f"{folder}/out", *arguments, "--json"]
        result = subprocess.run(list(map(str, command)), capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)


class WithService(unittest.TestCase):
    """One service a class; a test that kills a part of it starts it again."""

    local = staticmethod(local)

    def scratch(self):
        """Where the models of make_models() are."""
        return scratch

    @classmethod
    def setUpClass(cls):
        cls.folder = Path(tempfile.mkdtemp(dir=scratch, prefix=cls.__name__))
        cls.service = Service(PROGRAMS, cls.folder)
        cls.addClassCleanup(cls.service.stop)
        cls.start()

    @classmethod
    def start(cls):
        cls.service.start_server()
        cls.service.start_worker()

    def only_workers(self, *names):
        """These instead of the others; they share what took no time, too."""
        for other in list(self.service.workers):
            self.service.kill_worker(other)
        self.service.workers.clear()
        for name in names:
            self.service.start_worker(name, "--share-seconds", "0")

    def succeeded(self, job):
        self.assertEqual(job["state"], "SUCCEEDED", f"{json.dumps(job, indent=1)}\n{self.service.logs()}")
        return job


class Jobs(WithService):
    def wait_and_compare(self, recipe, model, *arguments):
        expected = local(recipe, model, *arguments)["artifact_digest"]
        for _ in range(2):
            answer = self.service.cli("submit", recipe, "--model", model, *arguments, "--wait", "--json")
            self.assertEqual(answer.status, 0, str(answer))
            self.assertEqual(answer.json["artifact_digest"], expected)
        return answer.json

    def test_a_decoder_through_the_service_is_what_it_is_locally(self):
        self.wait_and_compare("rtn(bits=4, group_size=32)", scratch / "tiny")

    def test_an_encoder_through_the_service_is_what_it_is_locally(self):
        self.wait_and_compare("rtn(bits=8, group_size=32)", scratch / "encoder")

    @unittest.skipUnless(MINILM.is_dir(), "all-MiniLM-L6-v2 is absent: scripts/models")
    def test_minilm_through_the_service_is_what_it_is_locally(self):
        self.wait_and_compare("rtn(bits=4, group_size=32)", MINILM)

    def test_a_calibrated_job_is_what_it_is_locally(self):
        self.wait_and_compare("gptq(bits=4, group_size=32, samples=8, sequence_length=64)", scratch / "tiny",
                              "--data", f"calibration={scratch / 'text.txt'}")

    def test_a_recipe_file_with_evaluations_reports_before_and_after(self):
        recipe = self.folder / "recipe.yaml"
        recipe.write_text("stages:\n- {method: rtn, params: {bits: 3, group_size: 32}}\n"
                          "evaluations:\n- {suite: perplexity, params: {window: 64, windows: 8}}\n- {suite: size}\n")
        job = self.wait_and_compare(recipe, scratch / "tiny", "--data", f"test={scratch / 'text.txt'}")
        rows = {(row["metric"], row["when"]): row["value"] for row in job["evaluations"] if row["suite"] == "perplexity"}
        self.assertGreater(rows[("perplexity", "before")], 1)
        self.assertNotEqual(rows[("perplexity", "before")], rows[("perplexity", "after")])

    def test_the_peak_of_a_step_is_none_of_the_steps_before_it(self):
        job = self.service.cli("submit", "perplexity(window=256, windows=16) | size", "--model", scratch / "slow",
                               "--data", f"test={scratch / 'text.txt'}", "--wait", "--json").json
        scored, sized = self.succeeded(job)["stages"]
        self.assertLess(sized["peak_bytes"], scored["peak_bytes"])

    def test_two_evaluations_of_one_suite_are_compared_each_with_itself(self):
        recipe = self.folder / "recipe.yaml"
        recipe.write_text("stages: ['rtn(bits=3, group_size=32)']\n"
                          "evaluations: ['perplexity(window=64, windows=8)', 'perplexity(window=32, windows=2)', 'in-context(items=8, facts=4)']\n")
        job = self.service.cli("submit", recipe, "--model", scratch / "tiny", "--data", f"test={scratch / 'text.txt'}", "--wait", "--json").json
        self.succeeded(job)
        before, after = ([row for row in job["evaluations"] if row["metric"] in ("perplexity", "open_book_accuracy") and row["when"] == when]
                         for when in ("before", "after"))
        self.assertEqual(len(before), 3)
        self.assertNotEqual(before[0]["value"], before[1]["value"])
        self.assertEqual([row["baseline_value"] for row in after], [row["value"] for row in before])
        change = next(row for row in job["evaluations"] if row["metric"] == "open_book_accuracy_change")
        self.assertAlmostEqual(change["value"], after[2]["value"] - before[2]["value"])

    def test_a_stage_whose_reference_is_another_gives_what_it_gives_behind_that_one_as_the_input(self):
        text = ["--data", f"calibration={scratch / 'text.txt'}"]
        cut = "flap(ratio=0.3, samples=8, sequence_length=64)"
        lossy = "rtn(bits=3, group_size=-1)"
        path = "eora(rank={}, samples=8, sequence_length=64{})"
        first = self.wait_and_compare(f"{cut} | {lossy} | {path.format(2, ', reference=flap')}", scratch / "tiny", *text)
        self.assertEqual([stage["cached_in"] for stage in first["stages"]], ["skipped", "skipped", "worker"], "the second time")
        # The stage before it is at hand, and so is its reference, which is not before that one.
        job = self.wait_and_compare(f"{cut} | {lossy} | {path.format(4, ', reference=0')}", scratch / "tiny", *text)
        folders = [self.folder / name for name in ("cut", "chained", "apart")]
        run = [PROGRAMS / "wring", "run", "--local", *text, "--quiet"]
        subprocess.run([*run, cut, "--model", scratch / "tiny", "--out", folders[0]], check=True, capture_output=True)
        subprocess.run([*run, f"{lossy} | {path.format(4, '')}", "--model", folders[0], "--out", folders[2]], check=True, capture_output=True)
        self.assertEqual(self.service.cli("get", job["artifact_digest"], "--out", folders[1]).status, 0)
        chained, apart = (load_file(folder / "model.safetensors") for folder in folders[1:])
        self.assertEqual(chained.keys(), apart.keys())
        self.assertEqual([name for name in apart if not torch.equal(chained[name], apart[name])], [])
        lineage = json.loads((folders[1] / "wring.json").read_text())["lineage"]
        self.assertEqual(lineage[-1]["params"]["reference"], "flap")

    def test_a_result_that_is_fetched_loads_and_scores_the_same(self):
        answer = self.service.cli("submit", "rtn(bits=4, group_size=32)", "--model", scratch / "tiny", "--wait", "--json")
        out = self.folder / "fetched"
        fetched = self.service.cli("get", answer.json["artifact_digest"], "--out", out)
        self.assertEqual(fetched.status, 0, str(fetched))
        kept = self.folder / "kept"
        subprocess.run([PROGRAMS / "wring", "run", "--local", "rtn(bits=4, group_size=32)", "--model", scratch / "tiny", "--out", kept, "--json"],
                       check=True, capture_output=True)
        scores = []
        for folder in (out, kept):
            result = subprocess.run([PROGRAMS / "wring", "eval", folder, "--local", "--suite", "perplexity", "--data", scratch / "text.txt",
                                     "--window", "64", "--windows", "4", "--json"], check=True, capture_output=True, text=True)
            scores.append([row["value"] for row in json.loads(result.stdout)["evaluations"] if row["metric"] == "perplexity"])
        self.assertTrue(scores[0])
        self.assertEqual(scores[0], scores[1])

    def test_an_artifact_is_shown_with_what_it_lost(self):
        recipe = self.folder / "recipe.yaml"
        recipe.write_text("stages: ['rtn(bits=2, group_size=32)']\nevaluations: ['perplexity(window=64, windows=4)']\n")
        job = self.succeeded(self.service.cli("submit", recipe, "--model", scratch / "tiny", "--data", f"test={scratch / 'text.txt'}", "--wait", "--json").json)
        before, after = (next(row for row in job["evaluations"] if row["metric"] == "perplexity" and row["when"] == when) for when in ("before", "after"))
        apart = [(x - y) / n for x, y, n in zip(after["details"]["window_nll"], before["details"]["window_nll"], after["details"]["window_scored"])]
        error = after["value"] * statistics.stdev(apart) / len(apart) ** 0.5
        rise = f"perplexity {after['value'] - before['value']:+.4f} +- {error:.4f} beside the input, paired by window"
        self.assertIn(rise, self.service.cli("artifact", "show", job["artifact_digest"]).out)

    def test_a_plan_makes_nothing_and_says_what_the_job_then_takes_and_what_is_at_hand(self):
        arguments = ["gptq(bits=4, group_size=32, samples=9, sequence_length=64, propagate=dense)", "--model", scratch / "tiny", "--data", f"calibration={scratch / 'text.txt'}"]
        plan = self.succeeded(self.service.cli("submit", *arguments, "--plan", "--json").json)
        self.assertEqual([(stage["name"], stage["state"]) for stage in plan["stages"]], [("statistics: hessian", "pending"), ("gptq", "pending")])
        self.assertEqual((plan["artifact_digest"], plan["evaluations"]), ("", []))
        stage = plan["stages"][1]
        self.assertGreater(stage["forecast_seconds"], 0)
        self.assertGreater(stage["forecast_bytes_before"], stage["forecast_bytes_after"])
        job = self.succeeded(self.service.cli("submit", *arguments, "--wait", "--json").json)
        self.assertEqual([made["key"] for made in job["stages"]], [planned["key"] for planned in plan["stages"]])
        self.assertEqual([made["forecast_bytes_after"] for made in job["stages"]], [planned["forecast_bytes_after"] for planned in plan["stages"]])
        self.assertLess(abs(job["stages"][1]["peak_bytes"] - stage["forecast_peak_bytes"]), job["stages"][1]["peak_bytes"])
        again = self.service.cli("submit", *arguments, "--plan")
        self.assertEqual(again.status, 0, str(again))
        self.assertEqual(again.out.count("at hand"), 2, str(again))

    def test_the_same_request_id_gives_the_same_job(self):
        request = ("submit", "rtn(bits=4, group_size=32)", "--model", scratch / "tiny", "--request-id",
                   "9c1f3ad8-54f6-4b0e-8a3f-3a2f62c7f001", "--json")
        first, second = self.service.cli(*request), self.service.cli(*request)
        self.assertEqual(first.json["id"], second.json["id"])


class Sweeps(GoalTests, SweepTests, WithService):
    pass


class Exports(ExportTests, WithService):
    pass


class Graphs(GraphTests, WithService):
    pass


class Metrics(MetricsTests, WithService):
    pass


class Rest(RestTests, WithService):
    pass


class PythonClient(PythonClientTests, WithService):
    pass


class SlowJobs(WithService):
    """Jobs of two stages that take long enough to be disturbed."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.data = ["--data", f"calibration={scratch / 'text.txt'}"]
        cls.serial = 100

    def in_second_stage(self):
        """A job of its own seed, so of its own stage keys, that is in its second stage."""
        type(self).serial += 1
        arguments = [*self.data, "--seed", str(self.serial)]
        job = self.service.submit(SLOW_RECIPE, scratch / "slow", *arguments)
        self.service.wait_for_stage(job, 1, ["running"])
        self.service.wait_for("an engine", self.service.engines)
        return job, arguments

    def finished_blocks(self):
        """Of the stage that the worker's engine is in, by its snapshot."""
        finished = 0
        for state in (self.folder / "worker/snapshots").glob("*/*/state.json"):
            try:
                finished = max(finished, json.loads(state.read_text())["state"]["blocks"])
            except FileNotFoundError:  # the stage has just ended
                pass
        return finished

    def completes(self, job, arguments):
        ended = self.succeeded(self.service.wait_for_end(job))
        self.assertEqual(ended["artifact_digest"], local(SLOW_RECIPE, scratch / "slow", *arguments)["artifact_digest"])
        return ended


class Crashes(SlowJobs):
    """kill -9 in mid-job: the job completes with the digest of an undisturbed run, and finished stages are kept."""

    def test_a_killed_engine_goes_on_after_its_last_block(self):
        job, arguments = self.in_second_stage()
        self.service.wait_for("five blocks", lambda: self.finished_blocks() >= 5)
        finished = self.finished_blocks()
        self.service.kill_engine()
        ended = self.completes(job, arguments)
        self.assertEqual(ended["stages"][0]["state"], "cached")
        self.assertGreater(ended["attempt"], 1)
        report = ended["stages"][1]["report"]
        self.assertGreaterEqual(report["resumed_at_block"], finished)
        self.assertEqual(len(report["layers"]), 16 * 7)
        self.assertEqual(list((self.folder / "worker/snapshots").glob("*/*")), [], "snapshots of a job that is over")

    def test_a_killed_worker_leaves_no_engine_and_its_job_goes_on(self):
        job, arguments = self.in_second_stage()
        engines = self.service.engines()
        self.service.kill_worker()
        self.service.wait_for("the orphaned engine's end", lambda: not any(Path(f"/proc/{pid}").exists() for pid in engines), 10)
        del self.service.workers["worker"]
        self.service.workers["worker"] = self.service._start("worker", ["wring-worker", "--server", self.service.grpc, "--cache",
                                                                       str(self.folder / "worker")])
        ended = self.completes(job, arguments)
        self.assertEqual(ended["stages"][0]["state"], "cached")

    def test_a_killed_server_finds_its_jobs_again_and_a_watch_goes_on(self):
        job, arguments = self.in_second_stage()
        watch = subprocess.Popen([PROGRAMS / "wring", "--server", self.service.grpc, "watch", job, "--json"], stdout=subprocess.PIPE, text=True)
        self.addCleanup(watch.kill)
        time.sleep(1)
        self.service.kill_server()
        self.service.start_server()
        self.completes(job, arguments)
        self.assertEqual(json.loads(watch.communicate(timeout=DEADLINE)[0])["state"], "SUCCEEDED")
        self.assertEqual(watch.returncode, 0)

    def test_a_job_that_waited_while_the_server_was_killed_is_run(self):
        first, _ = self.in_second_stage()
        waiting = self.service.submit("rtn(bits=4, group_size=32)", scratch / "tiny", "--seed", "77")
        self.service.kill_server()
        self.service.start_server()
        self.succeeded(self.service.wait_for_end(first))
        self.succeeded(self.service.wait_for_end(waiting))

    def test_cancel_ends_the_engine_and_retry_completes_with_finished_stages_kept(self):
        job, arguments = self.in_second_stage()
        self.assertEqual(self.service.cli("cancel", job).status, 0)
        self.assertEqual(self.service.wait_for_end(job)["state"], "CANCELLED")
        self.service.wait_for("the engine's end", lambda: not self.service.engines(), 5)
        self.assertEqual(list((self.folder / "worker/snapshots").glob("*/*")), [], "snapshots of a cancelled job")
        self.assertEqual(self.service.cli("watch", job).status, 6)
        self.assertEqual(self.service.cli("retry", job).status, 0)
        ended = self.completes(job, arguments)
        self.assertEqual(ended["stages"][0]["state"], "cached")


class Processes(SlowJobs):
    """A job in several processes: one digest, and none of them outlives the others."""

    def helpers(self):
        return self.service.engines(set(self.service.engines()))

    def in_two_processes(self):
        type(self).serial += 1
        arguments = [*self.data, "--seed", str(self.serial), "--threads", "1"]
        return self.service.submit(SLOW_RECIPE, scratch / "slow", *arguments, "--processes", "2"), arguments

    def calibrating(self, job):
        self.service.wait_for_stage(job, 1, ["running"])
        self.service.wait_for("three blocks", lambda: self.finished_blocks() >= 3)
        return self.helpers()

    def test_one_two_and_four_of_a_thread_each_make_one_artifact(self):
        recipe = " | ".join(f"{stage}, samples=16, sequence_length=64)"
                            for stage in ("awq-scaling(group_size=32", "sparsegpt(pattern=0.5", "gptq(group_size=32"))
        arguments = [*self.data, "--threads", "1"]
        runs = [local(recipe, scratch / "tiny", *arguments, "--processes", n) for n in (1, 2, 4)]
        self.assertEqual(len({run["artifact_digest"] for run in runs}), 1, [run["artifact_digest"] for run in runs])

    def test_all_processes_compare_with_the_stage_that_is_the_reference(self):
        recipe = "flap(ratio=0.3, samples=16, sequence_length=64) | rtn(bits=3, group_size=-1) | eora(rank=4, samples=16, sequence_length=64, reference=flap)"
        runs = [local(recipe, scratch / "tiny", *self.data, "--threads", "1", "--processes", n) for n in (1, 2)]
        self.assertEqual(runs[0]["artifact_digest"], runs[1]["artifact_digest"])

    def test_a_killed_process_ends_the_attempt_and_the_next_one_goes_on(self):
        job, arguments = self.in_two_processes()
        helpers = self.calibrating(job)
        self.assertEqual(len(helpers), 1)
        os.kill(helpers[0], signal.SIGKILL)
        ended = self.completes(job, arguments)
        self.assertGreater(ended["attempt"], 1)
        self.assertGreaterEqual(ended["stages"][1]["report"]["resumed_at_block"], 3)
        self.assertIn("process 2 of the job's 2 was ended by signal 9", (self.folder / "worker.log").read_text())

    def test_killed_first_cancelled_or_without_a_worker_none_is_left(self):
        def gone(pids):
            self.service.wait_for("the processes' end", lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), 10)

        job, arguments = self.in_two_processes()
        helpers = self.calibrating(job)
        self.service.kill_engine()
        gone(helpers)
        self.completes(job, arguments)
        job, _ = self.in_two_processes()
        processes = self.calibrating(job) + self.service.engines()
        self.assertEqual(len(processes), 2)
        self.service.cli("cancel", job)
        gone(processes)
        job, arguments = self.in_two_processes()
        processes = self.calibrating(job) + self.service.engines()
        self.service.kill_worker()
        gone(processes)
        self.service.workers.clear()
        self.service.start_worker()
        self.completes(job, arguments)

    def test_what_cannot_be_split_so_is_refused_with_the_field(self):
        answer = self.service.cli("submit", SLOW_RECIPE, "--model", scratch / "slow", *self.data, "--processes", "3")
        self.assertEqual(answer.status, 2, str(answer))
        self.assertIn("spec.resources.processes: a job has 1, 2, 4 or 8 processes, not 3", answer.err)
        answer = self.service.cli("run", "--local", "rtn", "--model", scratch / "tiny", "--out", self.folder / "out", "--processes", "16")
        self.assertEqual(answer.status, 2, str(answer))
        self.assertIn("processes: a job has 1, 2, 4 or 8 processes, not 16", answer.err)


class Scheduling(WithService):
    """Who is served next."""

    def test_projects_take_turns_however_many_jobs_each_has_queued(self):
        serial = iter(range(900, 1000))

        def submit(project):
            return self.service.submit("rtn(bits=4, group_size=32)", scratch / "tiny", "--seed", str(next(serial)), "--project", project)

        first = self.service.submit(SLOW_RECIPE, scratch / "slow", "--data", f"calibration={scratch / 'text.txt'}", "--project", "first")
        self.service.wait_for_stage(first, 0, ["running"])  # the worker is busy while the others are queued
        jobs = [submit(project) for project in ("many", "many", "many", "few")]
        self.assertEqual(self.service.cli("cancel", first).status, 0)
        ended = [self.succeeded(self.service.wait_for_end(job)) for job in jobs]
        by_start = sorted(ended, key=lambda job: job["start_time"])
        self.assertEqual([job["id"] for job in by_start], [jobs[0], jobs[3], jobs[1], jobs[2]])
        listed = self.service.cli("jobs", "--project", "many", "--json").json["jobs"]
        self.assertEqual([(job["id"], job["project"]) for job in listed], [(job, "many") for job in jobs[2::-1]])
        tiny = self.service.cli("jobs", "--model", ended[0]["model"][:16], "--project", "few", "--json").json["jobs"]
        self.assertEqual([job["id"] for job in tiny], [jobs[3]])
        self.assertEqual(self.service.cli("jobs", "--model", "0" * 64, "--json").json["jobs"], [])
        self.assertEqual(self.service.cli("jobs", "--model", "0123456789").status, 3)
        answer = self.service.cli("submit", "rtn(bits=4)", "--model", scratch / "tiny", "--project", "Mine")
        self.assertEqual(answer.status, 2, str(answer))
        self.assertIn("spec.project", answer.err)


class Pauses(SlowJobs):
    """What is paused rests, over restarts too, and goes on from where it was."""

    def test_a_running_job_that_is_paused_leaves_its_engine_and_goes_on_when_resumed(self):
        job, arguments = self.in_second_stage()
        start = time.monotonic()
        answer = self.service.cli("pause", "job", job, "--json")
        self.assertEqual((answer.status, answer.json["state"], answer.json["paused"]), (0, "QUEUED", True), str(answer))
        self.service.wait_for("the engine's end", lambda: not self.service.engines(), 5)
        print(f"the engine was gone {time.monotonic() - start:.1f} s after the pause", file=sys.stderr)
        self.service.kill_server()
        self.service.start_server()
        time.sleep(1)
        paused = self.service.job(job)
        self.assertEqual((paused["state"], paused["stages"][0]["state"]), ("QUEUED", "done"))
        self.assertIn("paused: the job", paused["waiting_reason"])
        self.assertEqual(self.service.cli("resume", "job", job).status, 0)
        ended = self.completes(job, arguments)
        self.assertEqual((ended["stages"][0]["state"], ended["attempt"]), ("cached", 1))

    def test_jobs_wait_while_their_project_or_the_worker_is_paused(self):
        for kind, name in (("project", "resting"), ("worker", self.service.cli("workers", "--json").json["workers"][0]["name"])):
            type(self).serial += 1
            self.assertEqual(self.service.cli("pause", kind, name).status, 0)
            job = self.service.submit("rtn(bits=4, group_size=32)", scratch / "tiny", "--project", "resting", "--seed", str(self.serial))
            time.sleep(1)
            waiting = self.service.job(job)
            self.assertEqual(waiting["state"], "QUEUED")
            self.assertTrue(waiting["waiting_reason"].startswith("paused: "), waiting["waiting_reason"])
            self.assertEqual(self.service.cli("resume", kind, name).status, 0)
            self.succeeded(self.service.wait_for_end(job))
        answer = self.service.cli("pause", "worker", "nobody")
        self.assertEqual(answer.status, 3, str(answer))


class SharedStages(SlowJobs):
    """Two workers, each with a cache of its own, and the project's stages between them."""

    def test_the_second_workers_job_takes_its_first_stage_from_the_store(self):
        self.only_workers("one")
        arguments = [*self.data, "--seed", "500"]
        self.succeeded(self.service.wait_for_end(self.service.submit(SLOW_RECIPE.split(" | ")[0], scratch / "slow", *arguments)))
        self.service.wait_for("a shared stage", lambda: self.service.metrics()["wring_stage_outputs"] >= 1)
        self.only_workers("two")
        job = self.completes(self.service.submit(SLOW_RECIPE, scratch / "slow", *arguments), arguments)
        first, second = job["stages"]
        self.assertEqual((first["state"], first["cached_in"], second["state"]), ("cached", "project", "done"))
        self.assertGreater(first["cached_bytes"], 10e6)
        self.assertGreater(first["saved_seconds"], first["seconds"])
        metrics = self.service.metrics()
        self.assertEqual(metrics['wring_stages_total{source="project"}'], 1)
        self.assertEqual(metrics["wring_stage_saved_bytes_total"], first["cached_bytes"])
        self.assertEqual(metrics["wring_stages_differed_total"], 0)
        self.assertIn("1 of others", self.service.cli("job", job["id"]).out)
        self.service.wait_for("both stages shared", lambda: self.service.metrics()["wring_stage_outputs"] >= 2)
        self.only_workers("three")
        again = self.completes(self.service.submit(SLOW_RECIPE, scratch / "slow", *arguments), arguments)
        self.assertEqual([stage["cached_in"] for stage in again["stages"]], ["skipped", "project"])
        self.assertEqual(again["stages"][0]["cached_bytes"], 0)
        self.assertIn("1 not needed", self.service.cli("job", again["id"]).out)
        stranger = self.service.submit(SLOW_RECIPE, scratch / "slow", *arguments, "--project", "stranger")
        self.only_workers("four")
        self.assertEqual([stage["state"] for stage in self.succeeded(self.service.wait_for_end(stranger))["stages"]], ["done", "done"])


class CalibrationText(SlowJobs):
    """What is handed in as data is nobody's to read in logs, events or errors."""

    MARKER = "quizzaciously"

    def test_is_in_no_log_event_or_error(self):
        text = self.folder / "secret.txt"
        text.write_text("\n".join(f"{self.MARKER} {line}" for line in TEXT * 200))
        broken = self.folder / "broken.txt"
        broken.write_bytes(self.MARKER.encode() + b" \xff\xfe " + self.MARKER.encode())
        short = self.folder / "short.txt"
        short.write_text(self.MARKER)
        for recipe, file in (("gptq(bits=4, group_size=32, samples=4, sequence_length=32)", text),
                             ("gptq(bits=4, group_size=32, samples=4, sequence_length=32)", broken),
                             ("gptq(bits=4, group_size=32, samples=4, sequence_length=512)", short)):
            self.service.wait_for_end(self.service.submit(recipe, scratch / "tiny", "--data", f"calibration={file}"))
        crashing = self.service.submit(SLOW_RECIPE, scratch / "slow", "--data", f"calibration={text}", "--max-attempts", "1")
        self.service.wait_for_stage(crashing, 1, ["running"])
        for pid in self.service.engines():
            os.kill(pid, signal.SIGSEGV)
        self.assertEqual(self.service.wait_for_end(crashing)["error"]["signal"], signal.SIGSEGV)
        shown = "".join(self.service.cli(*call).out + self.service.cli(*call).err
                        for job in self.service.cli("jobs", "--json").json["jobs"]
                        for call in (("job", job["id"], "--json"), ("watch", job["id"], "--json"), ("job", job["id"])))
        self.assertNotIn(self.MARKER, shown)
        inputs = {file.resolve() for folder in ("data/blobs", "worker/blobs") for file in (self.folder / folder).rglob("*")}
        holders = [file for file in self.folder.rglob("*") if file.is_file() and file not in {text, broken, short}
                   and self.MARKER.encode() in file.read_bytes()]
        self.assertTrue(holders, "the text itself is in the store")
        self.assertEqual([file for file in holders if file.resolve() not in inputs], [])


class BadInput(BadInputTests, WithService):
    pass


class Load(unittest.TestCase):
    JOBS = 500

    def test_of_sixty_four_clients_at_once_each_job_is_made_once_and_run_once(self):
        service = Service(PROGRAMS, Path(tempfile.mkdtemp(dir=scratch)))
        self.addCleanup(service.stop)
        service.start_server()
        (service.folder / "text.txt").write_text("what the jobs read")
        model = service.cli("put", service.folder / "text.txt", "--json").json["digest"]
        bench = [PROGRAMS / "wring_bench", "--server", service.grpc, "--clients", "64", "--seconds", str(DEADLINE)]
        for load in (["submit", "--model", model, "--count", str(self.JOBS)], ["workers"]):  # it fails where a job comes twice
            result = subprocess.run([*bench, *load], capture_output=True, text=True, timeout=DEADLINE)
            self.assertEqual(result.returncode, 0, result.stdout + result.stderr + service.logs())
        self.assertIn(f"ended {self.JOBS}", result.stdout)
        ended = service.cli("jobs", "--limit", "1000", "--json").json["jobs"]
        self.assertEqual([job["state"] for job in ended], ["SUCCEEDED"] * self.JOBS)
        self.assertEqual({job["attempt"] for job in ended}, {1})
        self.assertNotIn("lock", service.logs())


class Retention(unittest.TestCase):
    def test_what_is_discarded_is_gone_from_the_disk_and_what_is_pinned_is_not(self):
        folder = Path(tempfile.mkdtemp(dir=scratch, prefix="Retention"))
        service = Service(PROGRAMS, folder)
        self.addCleanup(service.stop)
        service.start_server()
        digests = []
        for name in ("gone", "pinned", "expired"):
            (folder / name).write_text(name * 1000)
            digests.append(service.cli("put", folder / name, "--json").json["digest"])
        gone, pinned, expired = digests
        self.assertTrue(service.cli("retain", pinned, "--pin", "--json").json["pinned"])
        self.assertEqual(service.cli("retain", expired, "--expire-after", "1s").status, 0)
        self.assertEqual(service.cli("discard", gone).status, 0)
        refused = service.cli("discard", pinned)
        self.assertEqual(refused.status, 2, str(refused))
        self.assertIn("pinned", refused.err)
        time.sleep(1)
        service.stop()
        result = subprocess.run([PROGRAMS / "wring-server", "gc", "--data", folder / "data", "--grace-hours", "0", "--json"],
                                capture_output=True, text=True, check=True)
        report = json.loads(result.stdout)
        self.assertEqual((report["expired_artifacts"], report["deleted_blobs"], report["kept_blobs"]), (1, 2, 1))
        left = [path for path in (folder / "data/blobs").rglob("*") if path.is_file()]
        self.assertEqual([path.read_text() for path in left], ["pinned" * 1000])


class FullDisk(unittest.TestCase):
    """The store on a file system of 24 MB: an upload that does not fit is refused, what was stored is served on, and with
    more space the same upload succeeds."""

    def test_a_full_blob_store_says_so_and_serves_on(self):
        folder = Path(tempfile.mkdtemp(dir=scratch, prefix="full"))
        data = mount_small(self, folder / "data")
        service = Service(PROGRAMS, folder)
        self.addCleanup(service.stop)
        service.start_server()
        service.start_worker()
        stored = service.cli("put", scratch / "tiny", "--json")
        self.assertEqual(stored.status, 0, str(stored))
        answer = service.cli("put", scratch / "slow", "--json")
        self.assertEqual(answer.status, 4, str(answer))
        self.assertIn("disk", answer.err.lower() + answer.out.lower())
        self.assertEqual(service.cli("jobs", "--json").status, 0)
        answer = service.cli("get", stored.json["digest"], "--out", folder / "tiny")
        self.assertEqual(answer.status, 0, str(answer))
        subprocess.run(["mount", "-o", "remount,size=256m", data], check=True)
        answer = service.cli("put", scratch / "slow", "--json")
        self.assertEqual(answer.status, 0, str(answer))
        answer = service.cli("submit", "rtn(bits=4, group_size=32)", "--model", scratch / "tiny", "--wait", "--json")
        self.assertEqual(answer.status, 0, str(answer))


def prepare(bin, folder):
    """Where this process's tests find the programs and the models."""
    global PROGRAMS, scratch
    PROGRAMS, scratch = bin, folder
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(2)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that services end with a run that is stopped
    for part in (door, bad_input, golden, operations):
        part.programs, part.scratch = PROGRAMS, scratch


def run_class(name):
    """(what its tests printed, passed, failed, skipped), in one of the processes of run_classes()."""
    said = io.StringIO()
    result = unittest.TextTestRunner(said, verbosity=2).run(unittest.defaultTestLoader.loadTestsFromName(name, sys.modules[__name__]))
    bad = len(result.failures) + len(result.errors)
    return said.getvalue(), result.testsRun - bad - len(result.skipped), bad, len(result.skipped)


def run_classes(jobs, bin, folder):
    """All classes, `jobs` at a time, those of slow jobs and of most tests first. Returns whether all passed."""
    tests = {name: unittest.defaultTestLoader.loadTestsFromTestCase(kind).countTestCases()
             for name, kind in globals().items() if isinstance(kind, type) and issubclass(kind, unittest.TestCase)}
    names = sorted(filter(tests.get, tests), key=lambda name: (not issubclass(globals()[name], SlowJobs), -tests[name]))
    totals = [0, 0, 0]
    with multiprocessing.get_context("spawn").Pool(jobs, prepare, (bin, folder)) as pool:
        for said, *counts in pool.imap_unordered(run_class, names):
            print(said, flush=True)
            totals = [sum(pair) for pair in zip(totals, counts)]
        pool.close()
        pool.join()
    print("of all classes {} passed; {} failed; {} skipped".format(*totals))  # not in the words that scripts/test adds up: each class has said its own
    return totals[1] == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, default=PROGRAMS)
    parser.add_argument("--keep", action="store_true", help="leave the folder of the run, with all logs")
    parser.add_argument("--jobs", type=int, help="all classes, so many at a time, each beside a service of its own")
    parser.add_argument("-v", action="store_true", help="name each test")
    parser.add_argument("tests", nargs="*")
    options = parser.parse_args()
    folder = tempfile.TemporaryDirectory(prefix="wring-e2e-")
    if options.keep:
        folder._finalizer.detach()
        print(folder.name, file=sys.stderr)
    prepare(options.bin.resolve(), Path(folder.name))
    make_models(scratch)
    if options.jobs:
        sys.exit(not run_classes(options.jobs, PROGRAMS, scratch))
    unittest.main(argv=[sys.argv[0], *options.tests], verbosity=2 if options.v else 1)


if __name__ == "__main__":
    main()
