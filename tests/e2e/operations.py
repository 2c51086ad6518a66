"""The commands of docs/operations.md, run as they are written there, but for paths, ports and names of what a reader has."""
import os
import re
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from service import DEADLINE, Answer, end, free_port

ROOT = Path(__file__).resolve().parents[2]
programs = scratch = None  # set by run.py

# What takes another machine, an installed service or its packages; tests/deploy, tests/pg and scripts/fresh run them.
ELSEWHERE = {"Install", "Blobs on another disk, or in a bucket", "The job database on PostgreSQL, and a standby"}


def sections():
    """{heading: [command]} of the document's blocks; a line with several of them, three spaces apart, gives several."""
    found, heading, before = {}, "", ""
    for line in (ROOT / "docs/operations.md").read_text().splitlines():
        if line.startswith("## "):
            heading = line[3:]
        begins = before == "" or before.startswith("    ")
        if line.startswith("    ") and begins and not line.strip().endswith(":") and not re.match(r"\s+(server|ca|token): ", line):
            text = re.sub(r"\s{2,}#.*", "", line.strip())
            commands = found.setdefault(heading, [])
            if commands and commands[-1].endswith("|"):
                commands[-1] += " " + text
            else:
                commands += re.split(r"\s{3,}", text) if text.startswith("wring ") else [text]
        else:
            line = line if not line.startswith("    ") else "-"
        before = line
    return found


class Operations(unittest.TestCase):
    """One machine after the other's way: a server alone, its backup, then one with certificates and tokens."""

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(dir=scratch, prefix="Operations"))
        self.grpc, self.http = free_port(), free_port()
        self.named, self.running, self.environment, self.variables = {}, [], {}, ""
        self.addCleanup(self.stop)
        self.done = set()

    def stop(self):
        while self.running:
            end(self.running.pop())

    def here(self, command):
        """The command with this test's paths, ports and ids."""
        for there, here in [("/var/lib/wring", self.folder / "data"), ("/var/cache/wring", self.folder / "cache"),
                            ("/backup/wring", self.folder / "backup"), ("/etc/wring/tls", self.folder / "data/tls/workers/vm-a"),
                            ("wring.example.org:", "localhost:"), ("wring.example.org", "localhost"), (":7433", f":{self.grpc}"),
                            (":7480", f":{self.http}"), *self.named.items()]:
            command = command.replace(there, str(here))
        return command

    def run_here(self, command):
        text = self.here(command)
        if re.match(r"\w+=", text):
            self.variables += text + "\n"
            return None
        environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "WRING_SERVER": f"localhost:{self.grpc}"} | self.environment
        answer = Answer(subprocess.run(["bash", "-ec", self.variables + text], capture_output=True, text=True, timeout=DEADLINE,
                                       env=environment, cwd=self.folder))
        self.assertEqual(answer.status, 0, f"{text}\n{answer}")
        self.assertNotIn('"reason"', answer.out, text)
        return answer

    def serve(self, command):
        with open(self.folder / "log", "ab") as log:
            self.running.append(subprocess.Popen(["bash", "-c", "exec " + self.here(command)], stdout=log, stderr=log,
                                                 env=os.environ | {"PATH": f"{programs}:{os.environ['PATH']}"}))

    def section(self, heading, change=lambda command: command):
        self.done.add(heading)
        for command in sections()[heading]:
            if re.match(r"wring-(server --data|worker)", command):
                self.serve(command)
                self.wait_until_up("wring-worker" in command)
            elif command := change(command):
                self.run_here(command)

    def wait_until_up(self, with_worker):
        wanted = '"devices"' if with_worker else "{"
        ask = "wring workers --json"
        environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "WRING_SERVER": f"localhost:{self.grpc}"} | self.environment
        until = time.monotonic() + 60
        while True:
            answer = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, env=environment)
            if answer.returncode == 0 and wanted in answer.stdout:
                return
            self.assertLess(time.monotonic(), until, answer.stderr + (self.folder / "log").read_text()[-2000:])
            time.sleep(0.1)

    def wait_for_job(self, job):
        until = time.monotonic() + 60
        while True:
            found = self.run_here(f"wring job {job} --json").json
            if found["state"] in ("SUCCEEDED", "FAILED", "CANCELLED"):
                return found
            self.assertLess(time.monotonic(), until)
            time.sleep(0.1)

    def test_every_command_of_the_document_does_what_it_says(self):
        model = scratch / "tiny"
        (self.folder / "FILE").write_text("some text")
        self.section("Start")
        recipe = "rtn(bits=4, group_size=32)"
        first = self.run_here(f"wring submit '{recipe}' --model {model} --json").json["id"]
        self.wait_for_job(first)
        etag = self.run_here(f"curl -s http://127.0.0.1:{self.http}/api/v1/jobs/{first}").json["etag"]
        self.named |= {"k3f9": first, "etag=7": f"etag={etag}", "RECIPE": f"'{recipe}'", "MODEL": str(model)}
        sweep = self.folder / "sweep.yaml"
        sweep.write_text(f"recipe: {{stages: [rtn], evaluations: [size]}}\nmodel: {model}\nspace: {{stages.rtn.bits: [4]}}\n"
                         "objectives: [artifact_bytes]\n")
        self.named["p2x8"] = self.run_here(f"wring sweep submit {sweep} --json").json["id"]
        self.section("HTTP")
        kept = self.wait_for_job(self.run_here(f"wring submit '{recipe}' --model {model} --json").json["id"])
        self.named["4be1f00d"] = kept["artifact_digest"]
        self.section("Backup, restore, check", lambda command: command if " backup " in command else None)
        commands = sections()["What is kept, and what is deleted"]
        for command in commands[:-1]:
            self.run_here(command)
        self.stop()
        self.run_here(commands[-1])
        self.assertIn("operator ()  wring-server gc", self.run_here("wring-server audit --data /var/lib/wring").out)
        self.done.add("What is kept, and what is deleted")
        self.section("Backup, restore, check", lambda command: None if " backup " in command else command)
        self.assertIn("operator ()  wring-server restore", self.run_here("wring-server audit --data /var/lib/wring-2").out)

        made = self.run_here(sections()["Let other machines in"][0] + " --json").json
        self.environment = {"WRING_CA": made["ca"], "WRING_TOKEN": made["token"]}
        self.section("Let other machines in", lambda command: None if " --host " in command else command)
        self.named |= {"7h2m4k9x0c3d": self.run_here("wring tokens create --scope viewer --project vision --json").json["id"]}
        self.section("Tokens, tenants, quotas")
        waits = self.run_here(f"wring submit '{recipe}' --model {model} --device cuda --project vision --json").json["id"]
        self.named["k3f9"] = waits
        workers = self.run_here("wring workers --json").json["workers"]
        self.named["vm-a"] = workers[0]["name"]
        self.section("Pause and resume")
        commanded = {heading for heading, commands in sections().items()
                     if any(re.match(r"(wring|curl|jq|sudo|scripts)", command) for command in commands)}
        self.assertEqual(commanded - self.done - ELSEWHERE, set(), "a section with commands that no test runs")
