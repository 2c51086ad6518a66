"""Load on a server of its own: submits, dispatch, lists, workers and transfers, each beside its goal (docs/results/scheduler.md).

    service_load.py [submit|workers|lists|transfer...]    default: all of them
FOLDER=DIR holds the server's data (default: build/); JOBS=100000 are queued for dispatch, LISTED=1000000 listed.
"""
import json
import os
import random
import signal
import sqlite3
import struct
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = Path("build/release/bin").resolve()
JOBS, LISTED = int(os.environ.get("JOBS", "100000")), int(os.environ.get("LISTED", "1000000"))
EACH, CLIENTS = os.environ.get("EACH", "10"), (1, 8, 64)
PROJECTS = 10
SUCCEEDED = 4  # a job's phase
ALL = ("submit", "workers", "lists", "transfer")


class Server:
    """A server on `folder`/data, as it would run: no option but its ports and no limit on one caller's rate."""

    def __init__(self, folder):
        self.folder, self.data, self.token, self.process = folder, folder / "data", None, None

    def start(self):
        with open(self.folder / "server.log", "ab") as log:
            start = time.monotonic()
            self.process = subprocess.Popen([PROGRAMS / "wring-server", "--data", self.data, "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0",
                                             "--calls-per-second", "0", "--lease-seconds", "60"], stdout=log, stderr=log)
            while not (self.data / "endpoints.json").exists():
                assert self.process.poll() is None, (self.folder / "server.log").read_text()
                time.sleep(0.02)
        self.grpc = json.loads((self.data / "endpoints.json").read_text())["grpc"]
        print(f"server ready after {time.monotonic() - start:.1f} s", flush=True)

    def stop(self, how=signal.SIGTERM):
        self.process.send_signal(how)
        self.process.wait()
        (self.data / "endpoints.json").unlink(missing_ok=True)

    def bench(self, *arguments, clients=1, token=None):
        who = ["--token", token] if token else []
        command = [PROGRAMS / "wring_bench", "--server", self.grpc, "--pid", self.process.pid, "--clients", clients, "--seconds", EACH, *who]
        subprocess.run(list(map(str, [*command, *arguments])), check=True)

    def cli(self, *arguments, token=None):
        out = subprocess.run([PROGRAMS / "wring", "--server", self.grpc, *map(str, arguments), "--json"], check=True, capture_output=True,
                             text=True, env=os.environ | ({"WRING_TOKEN": token} if token else {})).stdout
        return json.loads(out)

    def put_model(self):
        (self.folder / "model.txt").write_text("what jobs name as their model and data")
        return self.cli("put", self.folder / "model.txt")["digest"]

    def query(self, sql):
        with sqlite3.connect(self.data / "wring.db") as database:
            return database.execute(sql).fetchone()[0]


@contextmanager
def fresh_server():
    with tempfile.TemporaryDirectory(prefix="load-", dir=os.environ.get("FOLDER", "build")) as folder:
        server = Server(Path(folder).resolve())
        server.start()
        try:
            yield server
        finally:
            if server.process.poll() is None:
                server.stop()
            text = (server.folder / "server.log").read_text()
            assert "locked" not in text and "[error]" not in text, text


def submit():
    with fresh_server() as server:
        model = server.put_model()
        for clients in CLIENTS:
            server.bench("submit", "--model", model, clients=clients)
        before = server.query("SELECT count(*) FROM jobs")
        server.stop(signal.SIGKILL)
        server.start()
        print(f"{before} jobs before the server was killed, {server.query('SELECT count(*) FROM jobs')} after", flush=True)


def workers():
    with fresh_server() as server:
        model = server.put_model()
        server.bench("submit", "--model", model, "--count", JOBS, clients=64)
        for seconds in (0.5, 0):
            print(f"{server.query('SELECT count(*) FROM jobs WHERE phase = 1')} queued, jobs of {seconds} s", flush=True)
            server.bench("workers", "--job-seconds", seconds, clients=64)


def message(fields):
    """Bytes of a protobuf message: {number: text, float or small integer}."""
    out = b""
    for number, value in fields.items():
        if isinstance(value, float):
            out += bytes([number << 3 | 1]) + struct.pack("<d", value)
        elif isinstance(value, int):
            out += bytes([number << 3, value])
        else:
            out += bytes([number << 3 | 2, len(value)]) + value.encode()
    return out


STEPS = ("gptq", "evaluate: size (before)", "evaluate: size (after)")
SIZES = {"before": 98.4e6, "after": 73.1e6}


def steps_of(job):
    """A succeeded job's rows of stages, as StageStatus."""
    return [(job, i, "done", message(({1: i} if i else {}) | {2: name, 3: "done", 4: 1.5})) for i, name in enumerate(STEPS)]


def sizes_of(job, model):
    """What it measured, as Evaluation: the page asks for it row by row."""
    return [(job, i + 1, model, "size", "weight_bytes", size, message({1: job, 2: model, 3: "size", 4: "weight_bytes", 5: size, 6: "bytes", 12: when}))
            for i, (when, size) in enumerate(SIZES.items())]


def fill(server, model, count):
    """Copies a job into `count` rows of PROJECTS projects as the server would have written them: 95 of 100 have ended, those that succeeded
    with their steps and what they measured."""
    seed = server.cli("submit", "gptq(bits=4, group_size=64, samples=16, sequence_length=512)", "--model", model, "--data", f"calibration={model}")["id"]
    server.stop()
    database = sqlite3.connect(server.data / "wring.db")
    database.executescript("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -1000000")
    columns = "name, phase, record, spec, normal_form, recipe_digest, fence_n"
    _, _, record, spec, normal, digest, fence = database.execute(f"SELECT {columns} FROM jobs WHERE id = ?", (seed,)).fetchone()
    record, draw = json.loads(record), random.Random(0)
    ids = sorted("".join(draw.choices("0123456789abcdefghjkmnpqrstvwxyz", k=12)) for _ in range(count))  # so that rows come in their order
    sequences = list(range(2, count + 2))
    draw.shuffle(sequences)
    phases = draw.choices((1, SUCCEEDED, 5, 6), (5, 85, 5, 5), k=count)

    def row(job, i, phase):
        project = f"p{i % PROJECTS}"
        entry = record | {"id": job, "sequence": i, "phase": phase, "project": project, "create_time": record["create_time"] + i, "end_time": record["create_time"] + i + 1}
        leased = phase == SUCCEEDED
        if leased:
            entry |= {"fence": [record["fence"][0], 1], "attempt": 1, "start_time": entry["create_time"]}
        return (job, i, f"load {i} ", phase, json.dumps(entry, separators=(",", ":")), spec, normal, digest, 1 if leased else fence, project)

    (trigger,) = database.execute("SELECT sql FROM sqlite_master WHERE name = 'job_gets_name'").fetchone()
    database.execute("DROP TRIGGER job_gets_name")  # the index of names takes rows in order alone at speed
    with database:
        database.executemany("INSERT OR IGNORE INTO jobs(id, sequence, name, phase, record, spec, normal_form, recipe_digest, fence_n, project) "
                             "VALUES(?,?,?,?,?,?,?,?,?,?)", map(row, ids, sequences, phases))
        done = [job for job, phase in zip(ids, phases) if phase == SUCCEEDED]
        for job in done:
            database.executemany("INSERT INTO stages(job_id, idx, state, status) VALUES(?,?,?,?)", steps_of(job))
            database.executemany("INSERT INTO evaluations(job_id, stage, artifact, suite, metric, value, message) VALUES(?,?,?,?,?,?,?)", sizes_of(job, model))
        database.execute("INSERT INTO job_names(rowid, name) SELECT sequence, name FROM jobs WHERE sequence > 1 ORDER BY sequence")
        database.execute(trigger)
        database.execute("INSERT OR REPLACE INTO shares VALUES('p0', 'cpu', 1)")  # a lease was given
    database.close()
    server.start()


def lists():
    with fresh_server() as server:
        fill(server, server.put_model(), LISTED)
        admin = server.cli("tokens", "create", "--scope", "admin", "--name", "admin")["secret"]
        tenant = server.cli("tokens", "create", "--scope", "viewer", "--project", "p3", "--name", "tenant", token=admin)["secret"]
        print(f"{server.query('SELECT count(*) FROM jobs')} jobs; an admin", flush=True)
        server.bench("lists", "--project", "p3", token=admin)
        print("a viewer of one project", flush=True)
        server.bench("lists", "--project", "p3", token=tenant)


def transfer():
    with fresh_server() as server:
        server.bench("transfer", "--folder", server.folder / "files")


def main():
    wanted = sys.argv[1:] or ALL
    for name in wanted:
        print(f"{name}: load average {os.getloadavg()[0]:.1f}", flush=True)
        {"submit": submit, "workers": workers, "lists": lists, "transfer": transfer}[name]()


if __name__ == "__main__":
    main()
