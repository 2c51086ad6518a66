"""What a real server and worker show Prometheus and write into their logs, and that rules and dashboards ask for nothing else."""
import json
import re
import shutil
import subprocess
import tempfile
import unittest
import urllib.error
import urllib.request
from pathlib import Path

from service import free_port

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"


def promtool(*arguments, **more):
    """Skips where Debian's package prometheus is not installed; scripts/prove metrics demands it."""
    if not shutil.which("promtool"):
        raise unittest.SkipTest("promtool is not installed")
    result = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, **more)
    return result.returncode, result.stdout + result.stderr


def dashboard_queries():
    for file in (DEPLOY / "grafana").glob("*.json"):
        for panel in json.loads(file.read_text())["panels"]:
            yield from (target["expr"] for target in panel["targets"])


class MetricsTests:
    """To be mixed into run.py's WithService, with `scratch` (its folder of models)."""

    @classmethod
    def start(cls):
        cls.worker_address = f"127.0.0.1:{free_port()}"
        cls.service.start_server("--log-format", "json", "--log-level", "debug")
        cls.service.start_worker("worker", "--metrics", cls.worker_address, "--log-format", "json")

    def jobs(self):
        """The ends of one that succeeds and one that fails."""
        ended = []
        for recipe in ("rtn(bits=4, group_size=32)", "rtn(bits=4, group_size=48)"):
            ended.append(self.service.wait_for_end(self.service.submit(recipe, self.scratch() / "tiny")))
        self.assertEqual([job["state"] for job in ended], ["SUCCEEDED", "FAILED"], self.service.logs())
        return ended

    def exposition(self):
        urllib.request.urlopen(f"http://{self.service.http}/api/v1/jobs").close()
        texts = []
        for address in (self.service.http, self.worker_address):
            with urllib.request.urlopen(f"http://{address}/metrics") as answer:
                texts.append(answer.read().decode())
        return texts

    def test_rules_and_dashboards_ask_for_what_is_there_and_promtool_finds_no_fault_in_it(self):
        succeeded = 'wring_attempts_total{outcome="succeeded",reason="none"}'
        before = self.service.metrics().get(succeeded, 0)
        ended = self.jobs()
        self.assertEqual(self.service.cli("pause", "project", "held").status, 0)
        self.service.submit("rtn(bits=4, group_size=32)", self.scratch() / "tiny", "--project", "held")
        held = 'wring_project_jobs_queued{device="cpu",project="held"}'
        self.service.wait_for("a job that waits", lambda: self.service.metrics().get(held) == 1, 10)
        texts = self.exposition()
        families = dict(re.findall(r"^# TYPE (\w+) (\w+)$", "\n".join(texts), re.MULTILINE))
        served = set(families) | {f"{name}_{part}" for name, kind in families.items() if kind == "histogram" for part in ("bucket", "sum", "count")}
        asked = [*dashboard_queries(), *(file.read_text() for file in (DEPLOY / "prometheus").glob("*.yml"))]
        names = set(re.findall(r"\bwring_[a-z_]+", " ".join(asked)))
        self.assertGreater(len(names), 20)
        self.assertEqual(names - served, set())
        samples = self.service.metrics()
        self.assertEqual(samples[succeeded] - before, 1)
        reason = ended[1]["error"]["reason"]
        self.assertEqual(samples[f'wring_attempts_total{{outcome="failed",reason="{reason}"}}'], 1)
        self.assertIn('wring_worker_attempts_total{outcome="failed"} 1', texts[1])
        for text in texts:
            self.assertEqual(promtool("check", "metrics", input=text), (0, ""))

    def test_promtool_takes_the_configuration_its_rules_behave_and_dashboards_parse(self):
        status, said = promtool("check", "config", DEPLOY / "prometheus/prometheus.yml")
        self.assertEqual(status, 0, said)
        status, said = promtool("test", "rules", DEPLOY / "prometheus/alerts_test.yml")
        self.assertEqual(status, 0, said)
        with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
            rules = [{"record": f"panel:{i}", "expr": query} for i, query in enumerate(dashboard_queries())]
            json.dump({"groups": [{"name": "panels", "rules": rules}]}, file)  # JSON is YAML
            file.flush()
            status, said = promtool("check", "rules", file.name)
        self.assertEqual(status, 0, said)

    def test_log_lines_are_objects_with_the_ids_of_what_they_are_about(self):
        job = self.service.submit("rtn(bits=4, group_size=32)", self.scratch() / "tiny")
        self.service.wait_for_end(job)

        def lines(name):
            return [json.loads(line) for line in (self.folder / f"{name}.log").read_text().splitlines()]

        server, worker = lines("server"), lines("worker")
        for line in server + worker:
            self.assertLessEqual({"time", "level", "program", "message"}, line.keys())
        self.assertTrue(any(line.get("job") == job and "attempt 1" in line["message"] for line in worker), worker)
        self.assertTrue(any(line.get("job") == job and "succeeded" in line["message"] for line in server), server)
        submits = [line for line in server if line.get("job") == job and line["message"].startswith("Jobs/SubmitJob")]
        self.assertEqual([(line["level"], line["message"]) for line in submits], [("info", f"Jobs/SubmitJob {job} by local: OK")])
        request = submits[0]["request"]
        self.assertTrue(any(line.get("request") == request and "Jobs/SubmitJob OK" in line["message"] for line in server), server)
        self.assertEqual({line.get("request") for line in worker if line.get("job") == job}, {request})
        for name in (job, "no%0Aid"):
            asked = urllib.request.Request(f"http://{self.service.http}/api/v1/jobs/{name}", method="DELETE", headers={"X-Request-Id": "from-a-page"})
            try:
                urllib.request.urlopen(asked).close()
            except urllib.error.HTTPError as error:
                self.assertEqual((name, error.code), ("no%0Aid", 404))
                error.close()
        self.assertIn("Jobs/DeleteJob no?id by local: JOB_NOT_FOUND", [line["message"] for line in lines("server")])
        deleted = [line for line in lines("server") if line.get("request") == "from-a-page" and line.get("job") == job]
        self.assertEqual([line["message"] for line in deleted if line["level"] == "info"], [f"Jobs/DeleteJob {job} by local: OK"])
