#!/usr/bin/env python3
"""A long grid of short trials while processes are killed: each trial ends once, whatever dies.

    trials.py [--trials 10000] [--workers 8] [--every 5] [--seed N] [--keep]

The engine is wring-engine-null: it loads no libtorch and sleeps for 50 ms, so what is measured is the service. Every `--every`
seconds (0: never) the server, a worker or an engine gets SIGKILL; the first two are started again. Prints what a trial costs beside its
50 ms, by the clock and of the processor, and the server's memory.
"""
import argparse
import json
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/e2e"), str(ROOT / "tests/chaos")]
from history import PHASES, check_events, check_leases, read_database  # noqa: E402
from service import Service  # noqa: E402

PROGRAMS = ROOT / "build/release/bin"
WORK_SECONDS = 0.05
BITS, SYMMETRIC = [2, 3, 4, 8], [True, False]
MOST_GROWTH = 64 << 20  # bytes by which the server may grow over the last half of the trials
# Nothing of the input is evaluated: that is a first step which trials share and wait for, and the null engine makes none.
SWEEP = """
name: trials
recipe: {{stages: [rtn], evaluations: [{{suite: size, when: [after]}}]}}
model: {model}
space:
  stages.rtn.bits: {bits}
  stages.rtn.symmetric: {symmetric}
  stages.rtn.group_size: {{low: 1, high: {groups}, step: 1}}
objectives: [artifact_bytes]
parallel: 64
"""


class ServiceThatDies(Service):
    def __init__(self, folder, workers):
        super().__init__(PROGRAMS, folder)
        self.names = [f"worker-{number}" for number in range(workers)]

    def launch_worker(self, name):
        self.workers[name] = self._start(name, ["wring-worker", "--server", self.grpc, "--cache", str(self.folder / name), "--threads", "1",
                                                "--name", name, "--engine", str(PROGRAMS / "wring-engine-null")])

    def kill_something(self, choice):
        """Returns what was killed; None where there was no engine to kill."""
        kind = choice.choice(["server", "worker", "engine"])
        if kind == "server":
            self.kill_server()
            self.start_server()
        elif kind == "worker":
            name = choice.choice(self.names)
            self.kill_worker(name)
            self.launch_worker(name)
        else:
            engines = self.engines()
            if not engines:
                return None
            try:
                os.kill(choice.choice(engines), signal.SIGKILL)
            except ProcessLookupError:  # it has ended meanwhile
                return None
        return kind

    def server_bytes(self):
        pages = int(Path(f"/proc/{self.server.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


def sweep_text(model, trials):
    groups = trials // (len(BITS) * len(SYMMETRIC))
    return SWEEP.format(model=model, bits=BITS, symmetric=json.dumps(SYMMETRIC), groups=groups), groups * len(BITS) * len(SYMMETRIC)


def run_trials(service, sweep, trials, args):
    """Kills until all trials have ended. Returns (seconds, what was killed, [(trials that had ended, server's bytes)])."""
    choice, killed, memory = random.Random(args.seed), Counter(), []
    began = shown = time.monotonic()
    while True:
        time.sleep(args.every or 0.1)
        answer = service.cli("sweep", "show", sweep, "--json")
        if answer.status == 0:
            ended = answer.json.get("succeeded", 0) + answer.json.get("failed", 0)
            memory.append((ended, service.server_bytes()))
            if time.monotonic() - shown > 60:
                shown = time.monotonic()
                print(f"{ended} of {trials} trials after {shown - began:.0f} s", flush=True)
            if answer.json["end_time"]:
                return time.monotonic() - began, killed, memory
        if time.monotonic() - began > args.patience:
            raise AssertionError(f"only {memory[-1]} of {trials} trials after {args.patience} s\n{service.logs()}")
        kind = service.kill_something(choice) if args.every else None
        if kind:
            killed[kind] += 1


def audit(database, trials):
    """Sentences, one a violation."""
    rows = read_database(database)
    jobs = {job["id"]: job for job in rows["jobs"]}
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        made = connection.execute("SELECT n, job, point FROM trials ORDER BY n").fetchall()
    found = check_events(rows, jobs) + check_leases(rows["jobs"])
    if [n for n, _, _ in made] != list(range(trials)):
        found.append(f"{len(made)} trials are stored, numbered up to {made[-1][0] if made else None}, of {trials}")
    if len({point for _, _, point in made}) != len(made):
        found.append("doubled: a point has two trials")
    if sorted(job for _, job, _ in made) != sorted(jobs):
        found.append(f"{len(jobs)} jobs are stored for {len(made)} trials")
    ends = Counter(PHASES[job["phase"]] for job in jobs.values())
    if ends != {"SUCCEEDED": trials}:
        found.append(f"the jobs ended as {dict(ends)}")
        found += [f"job {job['id']}: {json.dumps(job['error'])[:400]}" for job in jobs.values() if PHASES[job["phase"]] == "FAILED"][:5]
    results = [job["result"] for job in jobs.values()]
    if len(set(results)) != trials:  # each names its own stage
        found.append(f"{len(set(results))} different results of {trials} trials")
    lost = set(results) - set(rows["artifacts"])
    if lost:
        found.append(f"lost: {len(lost)} results")
    return found, sum(job["attempt"] for job in jobs.values())


def prove(args, folder):
    from random_models import make_decoder
    make_decoder(folder / "tiny", seed=1)
    text, trials = sweep_text(folder / "tiny", args.trials)
    (folder / "sweep.yaml").write_text(text)
    service = ServiceThatDies(folder, args.workers)
    before = os.times()
    try:
        service.start_server()
        for name in service.names:
            service.launch_worker(name)
        answer = service.cli("sweep", "submit", folder / "sweep.yaml", "--json")
        assert answer.status == 0, str(answer)
        seconds, killed, memory = run_trials(service, answer.json["id"], trials, args)
    finally:
        service.stop()
    found, attempts = audit(folder / "data/wring.db", trials)
    half = [size for ended, size in memory if ended >= trials / 2]
    if half and half[-1] - half[0] > MOST_GROWTH:
        found.append(f"the server grew from {half[0] >> 20} to {half[-1] >> 20} MiB over the last half of the trials")
    each, used = seconds * args.workers / trials, os.times()
    processor = used.children_user + used.children_system - before.children_user - before.children_system
    print(f"{trials} trials in {attempts} attempts that count, {seconds:.0f} s, {args.workers} workers on {os.cpu_count()} cores; a worker takes "
          f"{1000 * each:.0f} ms a trial, {1000 * (each - WORK_SECONDS):.0f} ms of them beside the engine's {1000 * WORK_SECONDS:.0f}; server, "
          f"workers and engines together {1000 * processor / trials:.0f} ms of the processor a trial, their starts and ends in it")
    print(f"killed: {', '.join(f'{n} {kind}' for kind, n in sorted(killed.items()))}; server's memory "
          f"{memory[0][1] >> 20} MiB at {memory[0][0]} trials, at most {max(size for _, size in memory) >> 20} MiB")
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--every", type=float, default=5, help="seconds between kills; 0: none")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--patience", type=float, default=3600, help="seconds that all of it may take")
    parser.add_argument("--keep", action="store_true", help="keep logs and data")
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="wring-trials-"))
    try:
        found = prove(args, folder)
    finally:
        if not args.keep:
            shutil.rmtree(folder, ignore_errors=True)
    for violation in found:
        print(f"VIOLATION {violation}")
    print(f"{int(not found)} passed, {int(bool(found))} failed")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
