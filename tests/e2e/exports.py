"""Exports through real processes: kept, checked and measured as artifacts of their own, or refused with the field."""
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from safetensors.torch import load_file

SCORER = b"/proc/self/exe\0job\0"  # how an engine starts what scores its exports; a worker's engine has a path


def kill_scorer(below):
    """Kills the first process that scores an export somewhere below the process `below`, as soon as it is there."""
    parents = {}
    for _ in range(6000):
        for process in Path("/proc").glob("[0-9]*"):
            try:
                parents[int(process.name)] = int((process / "stat").read_text().rsplit(")", 1)[1].split()[1])
                if (process / "cmdline").read_bytes() != SCORER:
                    continue
                above = int(process.name)
                while above not in (0, below):
                    above = parents.get(above, 0)
                if above == below:
                    os.kill(int(process.name), signal.SIGKILL)
                    return
            except OSError:  # it has ended
                continue
        time.sleep(0.01)
    raise AssertionError("nothing scored an export")


class ExportTests:
    """To be mixed into run.py's WithService, with `scratch` (its folder of models) and `local` (a run without a service)."""

    def test_exports_are_artifacts_of_their_own_that_hold_what_the_result_holds(self):
        recipe = "rtn(bits=4, group_size=32) | compressed-tensors | gguf(type=F16) | onnx"
        job = self.service.cli("submit", recipe, "--model", self.scratch() / "tiny", "--wait", "--json").json
        self.succeeded(job)
        digests = {row["when"]: row["artifact"] for row in job["evaluations"] if row["suite"] == "export"}
        exports = ["export: compressed-tensors", "export: gguf(type=F16)", "export: onnx"]
        self.assertEqual(set(digests), set(exports))
        self.assertEqual([stage["name"] for stage in job["stages"]], ["rtn", *exports])
        plan = self.succeeded(self.service.cli("submit", recipe, "--model", self.scratch() / "tiny", "--plan", "--json").json)
        forecast = {stage["name"]: stage["forecast_bytes_after"] for stage in job["stages"]}
        for stage in plan["stages"][1:]:  # nothing is left to do for the first
            self.assertGreater(forecast[stage["name"]], 0)
            self.assertLess(abs(stage["forecast_bytes_after"] / forecast[stage["name"]] - 1), 0.01, stage["name"])
        for when, digest in digests.items():  # the recipe brings no text
            scores = {row["metric"]: row for row in job["evaluations"] if row["when"] == when and row["suite"] == "perplexity"}
            self.assertEqual({row["details"].get("data") for row in scores.values()}, {"own-text"}, when)
            self.assertEqual(set(scores), {"perplexity", "nll", "kl_mean", "kl_p99", "kl_max", "top1_agreement"})
            self.assertGreater(scores["perplexity"]["change_stderr"], 0)
            self.assertGreater(scores["kl_mean"]["value"], 0)  # beside the model that was handed in
        for when, digest in digests.items():
            out = self.folder / when.replace(": ", "-").split("(")[0]
            self.assertEqual(self.service.cli("get", digest, "--out", out).status, 0)
            shown = self.service.cli("artifact", "show", digest)
            self.assertIn("bits_per_weight", shown.out, str(shown))
            self.assertIn(": a fresh process read back ", shown.out)
            self.assertIn("export", [row["suite"] for row in self.service.cli("artifact", "show", digest, "--json").json["evaluations"]])
        ids = self.folder / "ids.json"
        ids.write_text(json.dumps({"input_ids": [[1, 2, 3, 4, 5, 6, 7, 8]]}))
        result = self.folder / "result"
        self.service.cli("get", job["artifact_digest"], "--out", result)
        ours = self.logits(result, ids)
        self.assertLess((ours - self.logits(self.folder / "export-compressed-tensors", ids)).abs().max(), 1e-2)
        self.assertLess((ours - self.logits(self.folder / "export-gguf", ids)).abs().max(), 1e-2)
        self.assertLess((ours - self.logits(self.folder / "export-onnx", ids)).abs().max(), 1e-4)

    def test_what_the_store_holds_is_exported_by_a_job_whose_report_stays(self):
        made = self.succeeded(self.service.cli("submit", "rtn(bits=4, group_size=32)", "--model", self.scratch() / "tiny", "--wait", "--json").json)
        arguments = ["export", made["id"], "--to", "compressed-tensors", "--to", "gguf(type=F16)", "--data", self.scratch() / "text.txt", "--windows", "2"]
        out = self.folder / "of-the-store"
        answer = self.service.cli(*arguments, "--out", out, "--json")
        self.assertEqual(answer.status, 0, str(answer))
        reports = answer.json["exports"]
        self.assertEqual([(one["format"], one["path"]) for one in reports], [(name, str(out / name)) for name in ("compressed-tensors", "gguf")])
        for one in reports:
            shown = self.service.cli("artifact", "show", one["artifact"], "--json").json
            self.assertEqual((shown["format"], shown["created_by_job"]), (one["format"], one["job"]))
            self.assertEqual(shown["manifest"]["metadata"]["lineage"][-1]["input"], made["artifact_digest"])
            stored = {row["metric"]: row["value"] for row in shown["evaluations"]}
            self.assertEqual(stored["bits_per_weight"], one["bits_per_weight"])
            told = {row["metric"]: row["value"] for row in one["evaluations"]}
            self.assertIn("kl_mean", told)
            self.assertEqual(told, {metric: value for metric, value in stored.items() if metric in told})
            self.assertLess(told["kl_mean"], 1e-3)
        local = subprocess.run([self.service.programs / "wring", "export", out / "compressed-tensors", "--to", "gguf(type=F16)", "--out", self.folder / "here", "--json"],
                               capture_output=True, text=True, check=True)
        exported = json.loads(local.stdout)["exports"][0]
        self.assertEqual((exported["format"], sum(exported["tensor_types"].values()) > 20), ("gguf", True))
        perplexity = next(row for row in exported["evaluations"] if row["metric"] == "perplexity")
        self.assertEqual(perplexity["details"]["data"], "own-text")
        self.assertLess(abs(perplexity["value"] - perplexity["baseline_value"]), 1e-2 * perplexity["value"])
        self.assertGreater(perplexity["change_stderr"], 0)
        again = self.service.cli(*arguments, "--out", out)
        self.assertEqual(again.status, 2, str(again))
        self.assertIn("is there already", again.err)
        listed = {row["digest"]: row["format"] for row in self.service.cli("artifacts", "--json").json["artifacts"]}
        self.assertEqual({listed[one["artifact"]] for one in reports}, {"compressed-tensors", "gguf"})
        self.assertEqual(listed[made["artifact_digest"]], "wring")

    def test_a_gguf_is_scored_as_llama_computes_and_what_is_made_of_it_beside_its_values(self):
        def exported(model, to, out):
            command = [self.service.programs / "wring", "export", model, "--to", to, "--out", self.folder / out, "--json"]
            report = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["exports"][0]
            return {row["metric"]: row for row in report["evaluations"]}

        blocks = exported(self.scratch() / "tiny", "gguf(type=Q8_0)", "blocks")
        self.assertEqual(blocks["perplexity"]["details"]["arithmetic"], "llama.cpp")
        values = exported(self.folder / "blocks", "huggingface(dtype=float32)", "values")
        self.assertNotIn("arithmetic", values["perplexity"]["details"])
        self.assertEqual(values["perplexity"]["value"], values["perplexity"]["baseline_value"])
        self.assertLess(values["kl_mean"]["value"], 1e-9)
        self.assertNotEqual(values["perplexity"]["value"], blocks["perplexity"]["value"])  # by the rounding of inputs alone
        text = self.scratch() / "text.txt"
        measured = {}
        for what in ("auto", "fp32", "runtime"):
            command = [self.service.programs / "wring-engine", "eval", self.folder / "blocks", "--data", text, "--window", "64", "--windows", "2",
                       "--param", f"arithmetic={what}", "--json", "--quiet"]
            row = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["evaluations"][0]
            self.assertEqual(row["n"], 2 * 63)  # --param leaves the other flags as they are
            measured[what] = row["value"]
        self.assertEqual(measured["auto"], measured["runtime"])
        self.assertNotEqual(measured["fp32"], measured["runtime"])

    def test_an_export_is_scored_by_a_process_of_its_own_whose_end_is_told(self):
        out = self.folder / "unscored"
        command = [self.service.programs / "wring", "export", self.scratch() / "tiny", "--to", "gguf(type=F16)", "--out", out / "gguf"]
        with subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True) as export:
            kill_scorer(export.pid)
            said = export.communicate()[1]
        self.assertEqual(export.returncode, 1, said)
        self.assertIn("ended by signal 9", said)
        self.assertEqual(list(out.iterdir()), [])
        with subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True, start_new_session=True) as export:
            while not list(out.iterdir()) and export.poll() is None:
                time.sleep(0.01)
            os.killpg(export.pid, signal.SIGINT)  # as a terminal does
            said = export.communicate()[1]
        self.assertEqual((export.returncode, list(out.iterdir())), (6, []), said)
        with subprocess.Popen(list(map(str, command)), stderr=subprocess.DEVNULL) as export:
            while not list(out.iterdir()) and export.poll() is None:
                time.sleep(0.01)
            export.terminate()  # the engine hears of it as its parent ends
        self.assertEqual(export.returncode, -signal.SIGTERM)
        for _ in range(6000):
            if not list(out.iterdir()):
                break
            time.sleep(0.01)
        self.assertEqual(list(out.iterdir()), [])
        model = self.folder / "of-many-files"  # so that what a scorer is told is more than a pipe holds
        shutil.copytree(self.scratch() / "tiny", model)
        for i in range(800):
            (model / f"note-{i}.txt").write_text(f"note {i}")
        submitted = self.service.cli("submit", "rtn(bits=4, group_size=32) | gguf(type=F16)", "--model", model, "--json").json
        kill_scorer(self.service.workers["worker"].pid)
        job = self.succeeded(self.service.cli("watch", submitted["id"], "--json").json)
        self.assertGreater(job["attempt"], 1)

    def test_an_export_that_cannot_be_is_refused_when_it_is_submitted(self):
        for recipe, field in (("rtn(bits=5, group_size=32) | gptq-checkpoint", "exports[0]"),
                              ("rtn(bits=4, group_size=32) | round-inputs | gguf", "exports[0]"),
                              ("fp8 | huggingface | gptq-checkpoint", "exports[1]"),
                              ("rtn(bits=4, group_size=32) | gguf(type=Q9)", "exports[0].params.type"),
                              ("rtn(bits=4, group_size=32) | gguf(imatrix=here.gguf)", "exports[0].params.imatrix")):
            answer = self.service.cli("submit", recipe, "--model", self.scratch() / "tiny")
            self.assertEqual(answer.status, 2, str(answer))
            self.assertIn(field, answer.err)

    def test_a_model_in_levels_is_exported_in_the_size_that_is_asked_for(self):
        out, data = self.folder / "levels", f"calibration={self.scratch() / 'text.txt'}"
        job = self.succeeded(self.service.cli("submit", "bitstack(levels=4, samples=8, sequence_length=32, order_samples=1)", "--model",
                                              self.scratch() / "tiny", "--data", data, "--wait", "--json").json)
        self.assertEqual(self.service.cli("get", job["artifact_digest"], "--out", out).status, 0)
        whole = (out / "model.safetensors").stat().st_size

        def export(size, model=out):
            folder = self.folder / f"levels-{size}"
            command = [self.service.programs / "wring", "export", model, "--to", "wring", "--size", size, "--out", folder, "--json"]
            return folder, subprocess.run(list(map(str, command)), capture_output=True, text=True)

        folder, made = export(f"{whole - 5000}B")
        self.assertEqual(made.returncode, 0, made.stderr)
        self.assertLessEqual((folder / "model.safetensors").stat().st_size, whole - 5000)
        for size, model, reason in (("1kB", out, "SIZE_TOO_SMALL"), ("1GB", self.scratch() / "tiny", "NO_LEVELS")):
            folder, made = export(size, model)
            self.assertEqual((made.returncode, folder.exists()), (2, False), made.stderr)
            self.assertIn("to.params.size", made.stderr, reason)

    def test_an_export_that_fails_leaves_a_local_run_its_result_and_the_exports_before_it(self):
        out = self.folder / "kept-result"
        stage = {"method": "rtn", "params": {"bits": 3, "group_size": 32}, "targets": ["re:.*_proj"]}
        recipe = self.folder / "fails-late.yaml"
        recipe.write_text(json.dumps({"stages": [stage], "exports": ["huggingface", "awq-checkpoint"]}))
        command = [self.service.programs / "wring", "run", "--local", recipe, "--model", self.scratch() / "tiny", "--out", out, "--json"]
        run = subprocess.run(command, capture_output=True, text=True)
        self.assertEqual(run.returncode, 2, run.stderr)
        result = json.loads(run.stdout)
        self.assertEqual(result["error"]["reason"], "NOT_EXPRESSIBLE")
        self.assertIn("4 bits", run.stderr)
        self.assertEqual([made["format"] for made in result["exports"]], ["huggingface"])
        alone = self.folder / "no-exports.yaml"
        alone.write_text(json.dumps({"stages": [stage]}))
        self.assertEqual(result["artifact_digest"], self.local(alone, self.scratch() / "tiny")["artifact_digest"])
        self.assertTrue((out / "model.safetensors").exists())

    def logits(self, model, ids):
        out = self.folder / f"{model.name}.safetensors"
        subprocess.run([self.service.programs / "wring-engine", "logits", model, "--ids", ids, "--out", out], check=True)
        return load_file(out)["logits"]
