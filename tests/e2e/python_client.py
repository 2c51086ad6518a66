"""The Python client through a real service: what it submits, waits for, lists and is refused."""
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

from service import DEADLINE

ROOT = Path(__file__).resolve().parents[2]


class PythonClientTests:
    """client/python as a user installs it, in a process of its own."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        source = cls.folder / "source"  # a build leaves files beside its setup.py
        shutil.copytree(ROOT / "client/python", source / "client/python", ignore=shutil.ignore_patterns("build", "*.egg-info"))
        shutil.copytree(ROOT / "proto", source / "proto")
        cls.installed = cls.folder / "installed"
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", cls.installed,
                        source / "client/python"], check=True)

    def python(self, code, **environment):
        environment = os.environ | {"PYTHONPATH": str(self.installed), "WRING_SERVER": self.service.grpc} | environment
        result = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env=environment, capture_output=True, text=True, timeout=DEADLINE)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
        return json.loads(result.stdout)

    def test_the_server_and_token_of_client_yaml(self):
        (self.folder / "wring").mkdir()
        file = self.folder / "wring/client.yaml"
        ask = """
            import json, wring
            try:
                with wring.Client() as client:
                    print(json.dumps(len(client.evals())))
            except wring.WringError as error:
                print(json.dumps([error.reason, str(error)]))"""
        for text, wanted in ((f"server: {self.service.grpc}\n", None), ("sever: x\n", "sever"), ("[", "client.yaml")):
            file.write_text(text)
            answer = self.python(ask, WRING_SERVER="", XDG_CONFIG_HOME=str(self.folder))
            if wanted is None:
                self.assertIsInstance(answer, int)
            else:
                self.assertEqual((answer[0], wanted in answer[1]), ("BAD_CLIENT_CONFIG", True), answer)

    def test_submit_watch_get_and_evals(self):
        recipe = "{stages: [{method: rtn, params: {bits: 4, group_size: 32}}], evaluations: [{suite: size}]}"
        answer = self.python(f"""
            import json, wring
            with wring.Client() as client:
                job = client.submit({recipe!r}, model={str(self.scratch() / "tiny")!r})
                types = [event.type for event in client.watch(job.id)]
                digest = client.get(job.id, {str(self.folder / "fetched")!r})
                print(json.dumps([types, digest, client.evals(job=job.id)]))""")
        types, digest, rows = answer
        self.assertEqual((types[0], types[-1]), ("queued", "succeeded"))
        self.assertEqual(digest, self.local(recipe, self.scratch() / "tiny")["artifact_digest"])
        self.assertTrue((self.folder / "fetched/config.json").is_file())
        self.assertTrue(any(row["suite"] == "size" for row in rows))

    def test_the_weights_beside_an_onnx_file_go_along_as_the_command_takes_them(self):
        for ends in (".data", "_data"):
            net = self.folder / f"net{ends}.onnx"
            net.write_bytes(b"nodes" + ends.encode())
            alone = self.service.cli("put", net, "--kind", "model", "--json").json["digest"]
            net.with_name(net.name + ends).write_bytes(b"weights")
            both = self.service.cli("put", net, "--kind", "model", "--json").json["digest"]
            self.assertNotEqual(both, alone)
            self.assertEqual(both, self.python(f"""
                import json, wring
                with wring.Client() as client:
                    print(json.dumps(client.put({str(net)!r}, "model")))"""))

    def test_a_sweep_from_its_submit_to_its_front(self):
        path = self.folder / "sweep.yaml"
        path.write_text(f"recipe: {{stages: [rtn], evaluations: [size]}}\nmodel: {self.scratch() / 'tiny'}\n"
                        "space: {stages.rtn.bits: [4, 8], stages.rtn.group_size: [32]}\nobjectives: [weight_bytes]\n")
        state, values, front = self.python(f"""
            import json, wring
            with wring.Client() as client:
                sweep = client.wait_sweep(client.submit_sweep({str(path)!r}).id)
                trials = client.trials(sweep.id)
                fronts = [client.front(sweep.id), client.front(sweep.id, {{"size/weight_bytes": "max"}}), client.front(sweep.id, at_most={{"weight_bytes": "1%"}})]
                print(json.dumps([sweep.state, [list(trial.values_json) for trial in trials], [[trial.number for trial in front.trials] for front in fronts]]))""")
        self.assertEqual((state, values, front), (5, [["4", "32"], ["8", "32"]], [[0], [1], []]))

    def test_what_the_server_refuses_is_an_exception_with_its_code(self):
        answer = self.python(f"""
            import json, wring
            with wring.Client() as client:
                try:
                    client.submit("gtpq(bits=4)", model={str(self.scratch() / "tiny")!r})
                except wring.WringError as error:
                    print(json.dumps([error.code, error.message, error.reason, error.field, error.hint]))""")
        code, message, reason, field, hint = answer
        self.assertEqual((code, reason, field), ("INVALID_ARGUMENT", "UNKNOWN_METHOD", "stages[0].method"))
        self.assertIn("gtpq", message)
        self.assertIn("gptq", hint)

    def test_limits_at_submit_pauses_and_what_becomes_of_the_result(self):
        answer = self.python(f"""
            import json, time, wring
            with wring.Client() as client:
                client.pause_project("calm")
                spec = dict(model={str(self.scratch() / "tiny")!r}, project="calm", seed=77, priority=7, max_attempts=2, memory_bytes=1 << 32)
                late = client.submit("rtn(bits=4, group_size=32)", queued_timeout_seconds=0.5, **spec)
                job = client.submit("rtn(bits=8, group_size=32)", expire_after_seconds=3600, total_timeout_seconds=500, **spec)
                client.pause_job(job.id)
                projects = {{p.name: (p.paused, p.queued) for p in client.projects()}}
                waiting = client.job(job.id)
                assert (waiting.spec.priority, waiting.spec.retry.max_attempts, waiting.spec.total_timeout_seconds) == (7, 2, 500)
                assert waiting.paused and waiting.waiting_reason.startswith("paused"), waiting.waiting_reason
                client.cancel(late.id)
                client.delete_job(late.id)
                client.resume_project("calm")
                client.resume_job(job.id)
                ended = client.wait(job.id)
                artifact = client.artifact(ended.result)
                kept = artifact.expire_time.seconds - ended.end_time.seconds
                client.retain(ended.result, pin=True)
                try:
                    client.discard(ended.result)
                except wring.WringError as error:
                    refused = error.reason
                client.retain(ended.result)
                client.discard(ended.result)
                left = [a.digest for a in client.artifacts(limit=0)]
                print(json.dumps([projects["calm"], kept, artifact.created_by_job == job.id, refused, ended.result in left,
                                  [j.id for j in client.jobs(states=["succeeded"], project="calm", model=job.spec.model)] == [job.id],
                                  client.workers()[0].devices[0].kind, client.validate("rtn(bits=4)")["stages"][0]["method"]]))""")
        self.assertEqual(answer, [[True, 2], 3600, True, "ARTIFACT_PINNED", False, True, "cpu", "rtn"])

    def test_a_job_has_the_name_that_its_recipe_gives_it(self):
        named, unnamed = self.folder / "r1.yaml", self.folder / "r2.yaml"
        named.write_text("name: small\nstages: [rtn]\n")
        unnamed.write_text("stages: [rtn]\n")
        names = self.python(f"""
            import json, wring
            with wring.Client() as client:
                print(json.dumps([client.submit(recipe, model={str(self.scratch() / "tiny")!r}).spec.name
                                  for recipe in ({str(named)!r}, {str(unnamed)!r})]))""")
        self.assertEqual(names, ["small", "r2"])
        for recipe, name in ((named, "small"), (unnamed, "r2")):
            answer = self.service.cli("submit", recipe, "--model", self.scratch() / "tiny", "--json")
            self.assertEqual(answer.json["name"], name)
