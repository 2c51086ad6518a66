"""Sweeps through real processes: exactly the trials that were asked for, whatever dies, each what a run of its own gives."""
import csv
import io
import json
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

GRID = """
name: grid
recipe:
  stages: ['rtn(bits=4, group_size=32)']
  evaluations: ['perplexity(window=64, windows=4)', size]
model: {model}
data: {{test: {text}}}
space:
  stages.rtn.bits: [3, 4, 8]
  stages.rtn.group_size: [16, 32]
objectives: [kl_mean, weight_bytes]
parallel: 2
"""


class SweepTests:
    """To be mixed into run.py's WithService, with `scratch` (its folder of models) and `local` (a run without a service)."""

    def write(self, text):
        path = self.folder / f"sweep-{time.monotonic_ns()}.yaml"
        path.write_text(text)
        return path

    def grid(self):
        return self.write(GRID.format(model=self.scratch() / "tiny", text=self.scratch() / "text.txt"))

    def submit(self, path, *arguments):
        answer = self.service.cli("sweep", "submit", path, *arguments, "--json")
        self.assertEqual(answer.status, 0, str(answer))
        return answer.json["id"]

    def sweep(self, sweep):
        return self.service.cli("sweep", "show", sweep, "--json").json

    def trials(self, sweep):
        return self.service.cli("sweep", "trials", sweep, "--json").json["trials"]

    def wait(self, sweep):
        self.service.wait_for(f"the end of sweep {sweep}", lambda: self.sweep(sweep)["end_time"])
        return self.sweep(sweep)

    def test_a_grid_makes_each_trial_once_whatever_dies_and_each_is_what_it_is_alone(self):
        sweep = self.submit(self.grid())
        for made in (2, 4):
            self.service.wait_for(f"{made} trials", lambda: self.sweep(sweep)["trials"] >= made)
            self.service.kill_server()
            self.service.start_server()
        ended = self.wait(sweep)
        self.assertEqual((ended["state"], ended["trials"], ended["succeeded"]), ("SUCCEEDED", 6, 6), f"{ended}\n{self.service.logs()}")
        trials = self.trials(sweep)
        self.assertEqual([trial["number"] for trial in trials], list(range(6)))
        points = {(t["values"]["stages.rtn.bits"], t["values"]["stages.rtn.group_size"]) for t in trials}
        self.assertEqual(points, {(bits, size) for bits in (3, 4, 8) for size in (16, 32)})
        jobs = [job for job in self.service.cli("jobs", "--all", "--json").json["jobs"] if job["name"].startswith("grid/")]
        self.assertEqual(sorted(job["id"] for job in jobs), sorted(trial["job"] for trial in trials))
        for trial in trials:
            values = trial["values"]
            alone = self.local(f"rtn(bits={values['stages.rtn.bits']}, group_size={values['stages.rtn.group_size']})", self.scratch() / "tiny")
            self.assertEqual(trial["artifact_digest"], alone["artifact_digest"], trial)

    def test_the_front_the_best_and_the_table_are_those_of_the_measured_rows(self):
        path = self.grid()
        answer = self.service.cli("sweep", "submit", path, "--wait")
        self.assertEqual(answer.status, 0, str(answer))
        self.assertIn("kl_mean", answer.out)
        sweep = self.service.cli("sweep", "list", "--json").json["sweeps"][0]["id"]
        trials = self.trials(sweep)
        value = lambda trial, metric: next(m["value"] for m in trial["metrics"] if m["metric"] == metric)  # noqa: E731
        points = {t["number"]: (value(t, "kl_mean"), value(t, "weight_bytes")) for t in trials}
        beaten = lambda p: any(q != p and q[0] <= p[0] and q[1] <= p[1] for q in points.values())  # noqa: E731
        front = self.service.cli("sweep", "front", sweep, "--json").json["trials"]
        self.assertEqual({t["number"] for t in front}, {n for n, p in points.items() if not beaten(p)})
        limit = sorted(p[1] for p in points.values())[2]
        best = self.service.cli("sweep", "best", sweep, "--at-most", f"weight_bytes={limit}", "--json").json["trials"]
        self.assertEqual(points[best[0]["number"]][0], min(kl for kl, size in points.values() if size <= limit))
        rows = list(csv.DictReader(io.StringIO(self.service.cli("sweep", "trials", sweep, "--csv").out)))
        self.assertEqual({int(r["trial"]): (float(r["perplexity/kl_mean"]), float(r["size/weight_bytes"])) for r in rows}, points)
        none = self.service.cli("sweep", "best", sweep, "--at-most", "kl_mean=-1")
        self.assertEqual(none.status, 3, str(none))
        self.assertIn("nearest", none.out)

    def test_two_texts_measured_by_one_suite_are_two_objectives(self):
        text = self.scratch() / "text.txt"
        other = self.folder / "other.txt"
        other.write_text(text.read_text()[::-1])
        path = self.write("recipe: {stages: ['rtn(bits=4, group_size=32)'], evaluations: ['perplexity(window=64, windows=4)', size, "
                          f"'perplexity(window=64, windows=4, data=other)']}}\nmodel: {self.scratch() / 'tiny'}\ndata: {{test: {text}, other: {other}}}\n"
                          "space: {stages.rtn.bits: [3, 8]}\nobjectives: [{metric: kl_mean, suite: 'perplexity[1]'}]\n")
        sweep = self.submit(path)
        self.assertEqual(self.wait(sweep)["succeeded"], 2, self.service.logs())
        for trial in self.trials(sweep):
            rows = [row["value"] for row in self.service.job(trial["job"])["evaluations"] if (row["metric"], row["when"]) == ("kl_mean", "after")]
            figures = {m["suite"]: m["value"] for m in trial["metrics"] if m["metric"] == "kl_mean"}
            self.assertEqual(figures, {"perplexity[0]": rows[0], "perplexity[1]": rows[1]})
            self.assertNotEqual(rows[0], rows[1])
        best = self.service.cli("sweep", "best", sweep, "--metric", "perplexity[0]/kl_mean", "--at-most", "perplexity[1]/kl_mean=10", "--json")
        self.assertEqual(best.json["trials"][0]["values"]["stages.rtn.bits"], 8)

    def test_strategies_that_look_at_results_make_the_same_trials_whatever_dies(self):
        base = (f"recipe: {{stages: ['rtn(bits=4, group_size=32)'], evaluations: ['perplexity(window=64, windows=2)', size]}}\nmodel: {self.scratch() / 'tiny'}\n"
                f"data: {{test: {self.scratch() / 'text.txt'}}}\nspace: {{stages.rtn.bits: [2, 3, 4, 5, 6, 8], stages.rtn.group_size: [8, 16, 32]}}\nparallel: 2\n")
        strategies = {
            "tpe": "strategy: {name: tpe, seed: 3, startup: 4}\nbounds: {trials: 8}\nobjectives: [kl_mean]\n",
            "nsga2": "strategy: {name: nsga2, seed: 3, population: 4}\nbounds: {trials: 8}\nobjectives: [kl_mean, weight_bytes]\n",
            "halving": "strategy: {name: successive-halving, seed: 3, configurations: 9, fidelity: {path: evaluations.perplexity.windows, low: 1, high: 9, eta: 3}}\n"
                       "objectives: [kl_mean]\n",
            "asha": "strategy: {name: asha, seed: 3, configurations: 9, fidelity: {path: evaluations.perplexity.windows, low: 1, high: 9, eta: 3}}\nobjectives: [kl_mean]\n"}
        paths = {name: self.write(f"name: {name}\n{base}{strategy}") for name, strategy in strategies.items()}
        begun = {name: self.submit(path) for name, path in paths.items()}
        for ended in (6, 20):
            self.service.wait_for(f"{ended} trials", lambda: sum(self.sweep(sweep)["succeeded"] for sweep in begun.values()) >= ended)
            self.service.kill_server()
            self.service.start_server()
        made = {}
        for name, sweep in begun.items():
            self.assertEqual(self.wait(sweep)["state"], "SUCCEEDED", self.service.logs())
            made[name] = self.trials(sweep)
            self.assertEqual([trial["number"] for trial in made[name]], list(range(len(made[name]))), name)
        self.assertEqual([len(made["tpe"]), len(made["nsga2"])], [8, 8])
        rungs = [trial["rung"] for trial in made["halving"]]
        self.assertEqual([rungs.count(rung) for rung in range(3)], [9, 3, 1])
        kl = lambda trial: next(m["value"] for m in trial["metrics"] if m["metric"] == "kl_mean")  # noqa: E731
        first = sorted((trial for trial in made["halving"] if trial["rung"] == 0), key=kl)
        self.assertEqual({trial["parent"] for trial in made["halving"] if trial["rung"] == 1}, {trial["number"] for trial in first[:3]})
        parents = [trial["parent"] for trial in made["asha"] if trial["rung"] > 0]
        self.assertEqual((len(parents) > 0, len(parents)), (True, len(set(parents))), "nobody goes on twice")
        again = {name: self.submit(paths[name]) for name in ("tpe", "nsga2", "halving")}  # undisturbed, mostly from the cache
        for name, sweep in again.items():
            self.wait(sweep)
            self.assertEqual([trial["values"] for trial in self.trials(sweep)], [trial["values"] for trial in made[name]], name)

    def test_a_fidelity_of_training_steps_trains_the_better_ones_longer(self):
        path = self.write(f"recipe: {{stages: ['finetune(batch=2, samples=16, sequence_length=32)'], evaluations: ['perplexity(window=64, windows=2)']}}\n"
                          f"model: {self.scratch() / 'tiny'}\ndata: {{calibration: {self.scratch() / 'text.txt'}, test: {self.scratch() / 'text.txt'}}}\n"
                          "space: {stages.finetune.learning_rate: [0.00001, 0.001, 0.003]}\nobjectives: [perplexity]\n"
                          "strategy: {name: successive-halving, configurations: 3, fidelity: {path: stages.finetune.steps, low: 3, high: 9, eta: 3}}\n")
        sweep = self.submit(path)
        self.assertEqual(self.wait(sweep)["state"], "SUCCEEDED", self.service.logs())
        trials = self.trials(sweep)
        self.assertEqual([trial["fidelity"] for trial in trials], [3, 3, 3, 9])
        reached = lambda trial: next(m["value"] for m in trial["metrics"] if m["metric"] == "perplexity")  # noqa: E731
        self.assertEqual(trials[3]["parent"], min(trials[:3], key=reached)["number"])
        for trial in trials:
            job = self.service.cli("job", trial["job"], "--json").json
            self.assertEqual(next(stage for stage in job["stages"] if stage["name"] == "finetune")["report"]["training"]["steps"], trial["fidelity"])
        self.assertLess(reached(trials[3]), reached(trials[trials[3]["parent"]]))

    def test_workers_of_one_machine_share_its_cores_unless_told_otherwise(self):
        cores = json.loads(subprocess.run([self.service.programs / "wring-engine", "devices"], check=True, capture_output=True, text=True).stdout)["devices"][0]["threads"]
        for arguments, threads in ((["--workers", "2"], max(1, cores // 2)), (["--workers", "2", "--threads", "3"], 3), ([], cores)):
            data = self.folder / f"up-{len(arguments)}"
            up = self.service.cli("up", "--data", data, *arguments, "--detach", "--json")
            self.addCleanup(self.service.cli, "down", "--data", data)
            self.assertEqual(up.status, 0, str(up))
            workers = self.service.cli("workers", "--json", server=up.json["grpc"]).json["workers"]
            self.assertEqual([device["threads"] for worker in workers for device in worker["devices"] if device["kind"] == "cpu"],
                             [threads] * (2 if arguments else 1))
            self.assertEqual(self.service.cli("down", "--data", data).status, 0)

    def test_every_example_is_a_sweep_that_could_be_submitted(self):
        for path in sorted((ROOT / "examples/sweeps").glob("*.yaml")):
            text = path.read_text().replace("build/models/minilm", str(self.scratch() / "tiny")).replace("build/data/sentences.txt", str(self.scratch() / "text.txt"))
            answer = self.service.cli("sweep", "submit", self.write(text), "--validate", "--json")
            self.assertEqual(answer.status, 0, f"{path.name}: {answer}")

    def test_pause_resume_stop_extend_and_cancel_are_different_verbs(self):
        path = self.write(f"recipe: 'rtn(bits=4, group_size=32)'\nmodel: {self.scratch() / 'slow'}\nspace: {{seed: {{low: 1, high: 1000}}}}\n"
                          "strategy: random\nbounds: {trials: 30}\nparallel: 2\n")
        sweep = self.submit(path)
        verb = lambda name, *more: self.service.cli("sweep", name, sweep, *more, "--json").json  # noqa: E731
        self.service.wait_for("a trial", lambda: self.sweep(sweep)["succeeded"] >= 1)
        made = verb("pause")["trials"]
        self.service.wait_for("quiet", lambda: not self.sweep(sweep)["queued"] + self.sweep(sweep)["running"])
        time.sleep(1.5)
        self.assertEqual((self.sweep(sweep)["state"], self.sweep(sweep)["trials"]), ("PAUSED", made))
        verb("resume")
        self.service.wait_for("more trials", lambda: self.sweep(sweep)["trials"] > made)
        verb("stop")
        stopped = self.wait(sweep)
        self.assertEqual((stopped["state"], stopped["cancelled"]), ("STOPPED", 0))
        self.assertLess(stopped["trials"], 30)
        self.assertEqual(verb("extend", "--trials", "2")["bounds"]["trials"], 32)
        self.service.wait_for("trials after the extension", lambda: self.sweep(sweep)["trials"] > stopped["trials"])
        verb("cancel")
        cancelled = self.wait(sweep)
        self.assertEqual(cancelled["state"], "CANCELLED")
        self.assertEqual(cancelled["trials"], cancelled["succeeded"] + cancelled["cancelled"])
        self.assertGreater(cancelled["cancelled"], 0)
        self.assertEqual(self.service.cli("sweep", "resume", sweep).status, 2)
        self.assertEqual(self.service.cli("sweep", "delete", sweep).status, 0)
        self.assertEqual(self.service.cli("sweep", "show", sweep).status, 3)

    def test_a_sweep_that_cannot_be_is_refused_with_the_field_before_anything_is_sent(self):
        path = self.grid()
        path.write_text(path.read_text().replace("[3, 4, 8]", "[3, 4, 77]").replace("tiny", "absent"))
        answer = self.service.cli("sweep", "submit", path)
        self.assertEqual(answer.status, 2, str(answer))
        self.assertIn("space.stages.rtn.bits", answer.err)
        self.assertIn("77", answer.err)
        answer = self.service.cli("sweep", "submit", self.grid(), "--processes", "3", "--validate")
        self.assertEqual(answer.status, 2, str(answer))
        self.assertIn("processes", answer.err)

    def test_first_stages_that_trials_share_are_computed_once_by_two_workers(self):
        self.only_workers("first", "second")
        path = self.write(f"recipe:\n  stages:\n  - 'wanda(pattern=0.5, samples=32, sequence_length=128)'\n  - 'rtn(bits=4, group_size=32)'\n"
                          f"model: {self.scratch() / 'slow'}\ndata: {{calibration: {self.scratch() / 'text.txt'}}}\n"
                          "space: {stages.rtn.bits: [2, 3, 4, 8]}\nparallel: 4\n")
        sweep = self.submit(path)
        self.assertEqual(self.wait(sweep)["succeeded"], 4, self.service.logs())
        first = [self.service.job(trial["job"])["stages"][0] for trial in self.trials(sweep)]
        self.assertEqual(sorted(stage["state"] for stage in first), ["cached"] * 3 + ["done"], first)

    def test_statistics_and_baselines_that_trials_share_are_computed_once_by_two_workers(self):
        self.only_workers("first", "second")
        stage = "gptq(bits=4, group_size=32, samples=16, sequence_length=64, propagate=dense, damping={})"
        path = self.write(f"recipe:\n  stages: ['{stage.format(0.01)}']\n  evaluations: ['perplexity(window=64, windows=4)']\n"
                          f"model: {self.scratch() / 'tiny'}\ndata: {{calibration: {self.scratch() / 'text.txt'}, test: {self.scratch() / 'text.txt'}}}\n"
                          "space: {stages.gptq.damping: [0.01, 0.02, 0.05, 0.1]}\nobjectives: [kl_mean]\nparallel: 4\n")
        sweep = self.submit(path)
        self.assertEqual(self.wait(sweep)["succeeded"], 4, self.service.logs())
        trials = self.trials(sweep)
        jobs = [self.service.job(trial["job"]) for trial in trials]
        self.assertEqual(len({job["worker"] for job in jobs}), 2)
        names = [step["name"] for step in jobs[0]["stages"]]
        self.assertEqual(names, ["evaluate: perplexity (before)", "statistics: hessian", "gptq", "evaluate: perplexity (after)"])
        for step in names[:2]:
            states = [stage["state"] for job in jobs for stage in job["stages"] if stage["name"] == step]
            self.assertEqual(sorted(states), ["cached"] * 3 + ["done"], step)
        for trial in trials:
            alone = self.local(stage.format(trial["values"]["stages.gptq.damping"]), self.scratch() / "tiny",
                               "--data", f"calibration={self.scratch() / 'text.txt'}")
            self.assertEqual(trial["artifact_digest"], alone["artifact_digest"], trial)
