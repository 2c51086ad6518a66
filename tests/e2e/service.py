"""A real server and its workers on loopback, and the CLI beside them, for tests that kill and restart them."""
import json
import multiprocessing.util
import os
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

DEADLINE = 300  # seconds that anything may take at most, on a busy machine
# Two stages, each of some seconds on the model "slow": there is time to kill something in the second.
SLOW_RECIPE = ("wanda(pattern=0.5, samples=16, sequence_length=128) | "
               "gptq(bits=4, group_size=32, samples=16, sequence_length=128)")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def end(process):
    """As an operator would: SIGTERM, and SIGKILL for one that cannot end now."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


class Answer:
    """What a run of the CLI left: its exit status, standard output (`json` where it is JSON) and standard error."""

    def __init__(self, result):
        self.status, self.out, self.err = result.returncode, result.stdout, result.stderr

    @property
    def json(self):
        try:
            return json.loads(self.out)
        except json.JSONDecodeError:
            raise AssertionError(f"no JSON (status {self.status}): {self.out!r}\n{self.err}") from None

    def __str__(self):
        return f"status {self.status}\n{self.out}\n{self.err}"


def mount_small(test, folder):
    """Makes the folder, on a file system of 24 MB until the test ends; skips the test where none may be mounted."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "wring-test", folder], capture_output=True, text=True)
    if mounted.returncode:
        test.skipTest(f"no small file system here: {mounted.stderr.strip()}")
    test.addCleanup(subprocess.run, ["umount", folder], check=True)
    return folder


class Service:
    def __init__(self, programs, folder):
        self.programs, self.folder = Path(programs), Path(folder)
        self.grpc, self.http = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        self.server = None
        self.workers = {}
        multiprocessing.util.Finalize(None, self.stop, exitpriority=1)  # also where the run itself is stopped, or a process of it

    def _start(self, name, arguments):
        with open(self.folder / f"{name}.log", "ab") as log:
            return subprocess.Popen([self.programs / arguments[0], *arguments[1:]], stdout=log, stderr=log, start_new_session=True)

    def start_server(self, *arguments, lease_seconds=5):
        self.server = self._start("server", ["wring-server", "--data", str(self.folder / "data"), "--grpc", self.grpc, "--http", self.http,
                                              "--lease-seconds", str(lease_seconds), "--heartbeat-seconds", "1", *arguments])
        self.wait_for("the server", lambda: self.cli("workers", "--json").status == 0)

    def start_worker(self, name="worker", *arguments):
        self.workers[name] = self._start(name, ["wring-worker", "--server", self.grpc, "--cache", str(self.folder / name), *arguments])
        self.wait_for("the worker", lambda: len(self.cli("workers", "--json").json["workers"]) >= len(self.workers))

    def kill_server(self):
        self.server.kill()
        self.server.wait()

    def kill_worker(self, name="worker"):
        """Kills the agent alone: its engine must notice by itself."""
        self.workers[name].kill()
        self.workers[name].wait()

    def engines(self, agents=None):
        """Process ids of this service's engines: those whose parent is one of its workers (or of the `agents`)."""
        agents = agents or {worker.pid for worker in self.workers.values()}
        found = []
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                name, rest = stat.read_text().split("(", 1)[1].rsplit(")", 1)
            except (OSError, IndexError):
                continue
            if name.startswith("wring-engine") and int(rest.split()[1]) in agents:
                found.append(int(stat.parent.name))
        return found

    def kill_engine(self):
        for pid in self.engines():
            os.kill(pid, signal.SIGKILL)

    def stop(self):
        for process in [*self.workers.values(), self.server]:
            if process and process.poll() is None:
                end(process)

    def cli(self, *arguments, server=None):
        command = [self.programs / "wring", "--server", server or self.grpc, *map(str, arguments)]
        return Answer(subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE))

    def metrics(self):
        """{"name{labels}": value} of GET /metrics."""
        with urllib.request.urlopen(f"http://{self.http}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}

    def submit(self, recipe, model, *arguments):
        """Submits and returns the job's id."""
        answer = self.cli("submit", recipe, "--model", model, *arguments, "--json")
        assert answer.status == 0, str(answer)
        return answer.json["id"]

    def job(self, job):
        return self.cli("job", job, "--json").json

    def wait_for(self, what, done, seconds=DEADLINE):
        start = time.monotonic()
        while not done():
            waited = time.monotonic() - start
            if waited > seconds:
                raise AssertionError(f"{what}: not within {seconds} s; logs in {self.folder}\n{self.logs()}")
            time.sleep(min(max(waited / 10, 0.02), 0.2))  # each look may be a program of its own, beside the engine that is waited for

    def wait_for_end(self, job, seconds=DEADLINE):
        last = {}

        def ended():
            last.update(self.job(job))
            return last["state"] in ("SUCCEEDED", "FAILED", "CANCELLED")

        self.wait_for(f"the end of job {job}", ended, seconds)
        return last

    def wait_for_stage(self, job, index, states):
        def reached():
            stages = self.job(job)["stages"]
            return len(stages) > index and stages[index]["state"] in states

        self.wait_for(f"stage {index} of job {job} {'/'.join(states)}", reached)

    def logs(self):
        return "".join(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}" for log in sorted(self.folder.glob("*.log")))
