"""Clients that submit, look, cancel and upload until they are done, and write down what they were told."""
import http.client
import json
import random
import subprocess
import tempfile
import threading
import time
import uuid

from history import TERMINAL

TIMEOUT = 5       # seconds of one call
OPEN_JOBS = 6     # of one client at a time
RECIPES = [f"rtn(bits={bits}, group_size={group})" for bits in (3, 4, 8) for group in (16, 32)]


def undisturbed(programs, model):
    """The digest that each recipe gives."""
    digests = {}
    for recipe in RECIPES:
        with tempfile.TemporaryDirectory() as folder:
            result = subprocess.run([programs / "wring", "run", "--local", recipe, "--model", model, "--out", f"{folder}/out", "--json"],
                                    check=True, capture_output=True, text=True)
            digests[recipe] = json.loads(result.stdout)["artifact_digest"]
    return digests


class Unknown(Exception):
    """No answer, or one that says nothing about whether the call was carried out."""


class Client(threading.Thread):
    """One client with `jobs` jobs to submit; its history goes to the file `log`."""

    def __init__(self, number, seed, jobs, http_address, put, model, recipes, log):
        super().__init__(name=f"client-{number}", daemon=True)
        self.random = random.Random(f"{seed}/{number}")
        self.jobs, self.http_address, self.put, self.model, self.recipes = jobs, http_address, put, model, recipes
        self.log = open(log, "w", buffering=1)
        self.open, self.ended, self.given_up = set(), 0, 0
        self.failure = None

    def run(self):
        try:
            for _ in range(self.jobs):
                while len(self.open) >= OPEN_JOBS:
                    self.look()
                if self.random.random() < 0.1:
                    self.upload()
                self.submit()
            while self.open:
                self.look()
        except Exception as error:  # told by the main thread
            self.failure = error

    def note(self, kind, **entry):
        self.log.write(json.dumps({"kind": kind, **entry}) + "\n")

    def call(self, method, path, body=None):
        host, port = self.http_address.rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=TIMEOUT)
        try:
            connection.request(method, "/api/v1" + path, body and json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise Unknown(str(error)) from None
        finally:
            connection.close()
        if response.status >= 500 or response.status in (408, 429, 507):
            raise Unknown(f"{response.status} {answer.decode(errors='replace')}")
        return response.status, json.loads(answer)

    def submit(self):
        """Asks until it is answered; now and then gives up after a call whose outcome is not known, or asks twice."""
        request, recipe = str(uuid.UUID(int=self.random.getrandbits(128), version=4)), self.random.choice(self.recipes)
        body = {"request_id": request, "spec": {"recipe": recipe, "model": self.model, "retry": {"max_attempts": 1000}}}
        self.note("asked", request=request, recipe=recipe)
        for _ in range(1 + (self.random.random() < 0.2)):
            job = self.ask("POST", "/jobs", body)
            if job is None:
                return
            self.note("submitted", request=request, job=job["id"])
            self.open.add(job["id"])
        if self.random.random() < 0.05:
            self.cancel(job["id"])

    def ask(self, method, path, body):
        while True:
            try:
                status, answer = self.call(method, path, body)
            except Unknown:
                if self.random.random() < 0.02:
                    self.given_up += 1
                    return None
                time.sleep(0.2)
                continue
            if status != 200:
                raise AssertionError(f"{method} {path}: {status} {answer}")
            return answer

    def cancel(self, job):
        try:
            status, answer = self.call("POST", f"/jobs/{job}/cancel", {})
        except Unknown:
            return
        if status == 200:
            self.note("cancelled", job=job)
            self.see(answer)

    def see(self, job):
        """Notes the state of a job that the server told; returns it."""
        state = job["state"].removeprefix("JOB_STATE_")
        self.note("seen", job=job["id"], state=state, result=job["result"])
        return state

    def look(self):
        for job in sorted(self.open):
            time.sleep(0.05)
            try:
                status, answer = self.call("GET", f"/jobs/{job}")
            except Unknown:
                continue
            if status != 200:
                raise AssertionError(f"job {job}: {status} {answer}")
            if self.see(answer) in TERMINAL:
                self.open.discard(job)
                self.ended += 1

    def upload(self):
        """A file of its own, once; the CLI goes on where it was cut off, and may give up."""
        content = self.random.randbytes(self.random.randint(1, 300_000))
        digest = self.put(self.name, content)
        if digest:
            self.note("put", digest=digest)


def put_by_cli(command, folder, seconds=20):
    """A function that uploads bytes with `command` and gives their artifact's digest, or nothing."""
    def put(name, content):
        file = folder / f"{name}.bin"
        file.write_bytes(content)
        try:
            result = subprocess.run([*command, "put", file, "--kind", "dataset", "--json"], capture_output=True, text=True, timeout=seconds)
        except subprocess.TimeoutExpired:
            return None
        return json.loads(result.stdout)["digest"] if result.returncode == 0 else None

    return put
