#!/usr/bin/env python3
"""Chaos: a real service under load, killed, stopped, cut off and starved of disk; then its history is checked against its database.

    run.py [--jobs 200] [--faults 50] [--workers 3] [--clients 4] [--seed N] [--keep]
"""
import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "GOMP_SPINCOUNT": "10000"}
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/e2e"), str(ROOT / "tests/chaos")]
from clients import RECIPES, Client, put_by_cli, undisturbed  # noqa: E402
from faults import Faults, SmallDisks  # noqa: E402
from history import PHASES, check, read_database, read_history  # noqa: E402
from injections import INJECTIONS, not_found  # noqa: E402
from proxy import Proxies  # noqa: E402
from service import Service  # noqa: E402

PROGRAMS = ROOT / "build/release/bin"
IO_FAULTS = ROOT / "build/release/tests/libwring_io_faults.so"
IO_FAILS_ONE_IN = 200  # of the server's calls on files, while its disk is ill


class ChaoticService(Service):
    """The server and the workers behind proxies, on small disks, the server's I/O with a switch."""

    def __init__(self, folder, seed):
        super().__init__(PROGRAMS, folder)
        self.seed, self.data, self.io_switch = seed, folder / "data", folder / "io-fails"
        self.disks, self.proxies = SmallDisks(), Proxies()
        self.disks.mount(self.data)
        self.client_proxy, self.upload_proxy = self.proxies.to(self.http), self.proxies.to(self.grpc)
        self.worker_proxies, self.starts = {}, 0

    def _start(self, name, arguments):
        self.starts += 1
        environment = dict(os.environ)
        if name == "server":
            environment |= {"LD_PRELOAD": str(IO_FAULTS), "WRING_IO_FAULTS": f"{self.data}:{self.io_switch}:{IO_FAILS_ONE_IN}:{self.seed + self.starts}"}
        with open(self.folder / f"{name}.log", "ab") as log:
            return subprocess.Popen([self.programs / arguments[0], *arguments[1:]], stdout=log, stderr=log, start_new_session=True, env=environment)

    def add_worker(self, name):
        self.disks.mount(self.folder / name)
        self.worker_proxies[name] = self.proxies.to(self.grpc)
        self.launch_worker(name)

    def launch_worker(self, name):
        self.workers[name] = self._start(name, ["wring-worker", "--server", self.worker_proxies[name].address, "--cache", str(self.folder / name),
                                                "--threads", "1", "--name", name])

    def restart_server_where_dead(self):
        if self.server.poll() is not None:
            self.start_server()

    def engines_of(self, worker):
        return self.engines({self.workers[worker].pid})


def run_load(service, args, model, folder):
    """Returns the faults that were made, once the clients are done, and how many submits were given up."""
    put = put_by_cli([PROGRAMS / "wring", "--server", service.upload_proxy.address], folder)
    share = [args.jobs // args.clients + (i < args.jobs % args.clients) for i in range(args.clients)]
    clients = [Client(i, args.seed, jobs, service.client_proxy.address, put, model, RECIPES, folder / f"client-{i}.jsonl")
               for i, jobs in enumerate(share)]
    faults = Faults(service, random.Random(args.seed), args.faults, lambda: sum(client.ended for client in clients) / args.jobs)
    for thread in [*clients, faults]:
        thread.start()
    faults.join()
    end = time.monotonic() + args.patience
    while any(client.is_alive() for client in clients) and time.monotonic() < end:
        time.sleep(0.1)
    for client in clients:
        if client.failure:
            raise client.failure
    return faults.made, sum(client.given_up for client in clients)


def wait_for_quiet(service, seconds):
    """Jobs that no client knows of end, too."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if all(PHASES[job["phase"]] in ("SUCCEEDED", "FAILED", "CANCELLED") for job in read_database(service.data / "wring.db")["jobs"]):
            return
        time.sleep(0.2)


def audit(service, folder, expected, kills):
    """Violations, once everything has stopped."""
    rows, history = read_database(service.data / "wring.db"), read_history(folder.glob("client-*.jsonl"))
    found = check(history, rows, expected)
    if not found:
        missed = not_found(history, rows, expected)
        print(f"the checker finds {len(INJECTIONS) - len(missed)} of {len(INJECTIONS)} lies told about this history")
        found = [f"the checker does not find: {name}" for name in missed]
    failed = [job for job in rows["jobs"] if PHASES[job["phase"]] == "FAILED"]
    for job in failed:  # the one end other than success that the service may choose: an engine that was killed twice in one place
        error = job["error"]
        if error["reason"] != "ENGINE_CRASH" or kills < 2:
            found.append(f"job {job['id']} failed: {json.dumps(error)[:600]}")
    fsck = subprocess.run([PROGRAMS / "wring-server", "fsck", "--data", service.data, "--json"], capture_output=True, text=True)
    if fsck.returncode != 0:
        found.append(f"fsck: {fsck.stdout}{fsck.stderr}")
    if service.engines():
        found.append(f"engines are left: {service.engines()}")
    return found, rows


def chaos(args, folder):
    from random_models import make_decoder
    make_decoder(folder / "tiny", seed=1)
    expected = undisturbed(PROGRAMS, folder / "tiny")
    service = ChaoticService(folder, args.seed)
    try:
        service.start_server()
        for number in range(args.workers):
            service.add_worker(f"worker-{number}")
        model = service.cli("put", folder / "tiny", "--kind", "model", "--json").json["digest"]
        made, given_up = run_load(service, args, model, folder)
        wait_for_quiet(service, args.patience)
        service.stop()
        found, rows = audit(service, folder, expected, made.count("engine_dies"))
        logs = service.logs() if found else ""
    finally:
        service.stop()
        service.disks.unmount()
    ends = Counter(PHASES[job["phase"]] for job in rows["jobs"])
    attempts = sum(job["attempt"] for job in rows["jobs"])
    print(f"{len(rows['jobs'])} jobs ({', '.join(f'{n} {state}' for state, n in sorted(ends.items()))}) in {attempts} attempts that count, "
          f"{len(made)} faults, {given_up} submits given up, {len(rows['artifacts'])} artifacts")
    print("faults: " + ", ".join(f"{n} {kind}" for kind, n in sorted(Counter(made).items())))
    return found, logs


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("jobs", 200), ("faults", 50), ("workers", 3), ("clients", 4)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--patience", type=float, default=180, help="seconds that jobs may take once the faults are over")
    parser.add_argument("--keep", action="store_true", help="keep logs and histories")
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    folder, began = Path(tempfile.mkdtemp(prefix="wring-chaos-")), time.monotonic()
    try:
        found, logs = chaos(args, folder)
    finally:
        if not args.keep:
            shutil.rmtree(folder, ignore_errors=True)
    for violation in found:
        print(f"VIOLATION {violation}")
    if found:
        print(logs)
    print(f"seed {args.seed}: {time.monotonic() - began:.0f} s")
    print(f"{int(not found)} passed, {int(bool(found))} failed")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
