"""What the service adds to a job: `wring run --local` and the same through a server and a worker, in turns, inputs in the store.

Each turn has a seed of its own, so that no stage is answered from the worker's cache. In the cold turns the worker is a new
one with an empty cache: the inputs are fetched from the server.
"""
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WRING = Path("build/release/bin/wring").resolve()
MODEL = "build/models/smollm2-offgrid"
TURNS, COLD = int(os.environ.get("TURNS", "7")), int(os.environ.get("COLD", "3"))
RECIPE = os.environ.get("RECIPE", "gptq(bits=4, group_size=64, samples=16, sequence_length=512)")
DATA = "calibration=build/data/calibration.txt"


def timed(argv):
    start = time.perf_counter()
    output = subprocess.run([str(a) for a in argv], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    return time.perf_counter() - start, json.loads(output)


class Service:
    """`wring up` on `data`; its address in `server`."""

    def __init__(self, data):
        self.data = data
        self.start()

    def start(self):
        subprocess.run([WRING, "up", "--data", self.data, "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--detach"], check=True,
                       stdout=subprocess.DEVNULL)
        self.server = json.loads((self.data / "endpoints.json").read_text())["grpc"]

    def stop(self):
        subprocess.run([WRING, "down", "--data", self.data], check=True, stdout=subprocess.DEVNULL)

    def forget_cache(self):
        self.stop()
        for cache in self.data.glob("worker*"):
            shutil.rmtree(cache)
        self.start()


def turn(service, folder, seed):
    """Seconds alone and through the service."""
    alone, local = timed([WRING, "run", "--local", RECIPE, "--model", MODEL, "--data", DATA, "--out", folder / f"out{seed}",
                          "--seed", seed, "--json"])
    served, job = timed([WRING, "--server", service.server, "submit", RECIPE, "--model", MODEL, "--data", DATA, "--wait", "--json",
                         "--seed", seed])
    assert local["artifact_digest"] == job["artifact_digest"], (local["artifact_digest"], job["artifact_digest"])
    print(f"local {alone:7.2f} s   service {served:7.2f} s   {served - alone:+.2f} s ({served / alone - 1:+.1%})", flush=True)
    return alone, served


def summary(name, turns):
    """Whether the median turn is within the bound."""
    over = [served - alone - (0.02 * alone + 1) for alone, served in turns]
    added = statistics.median(served - alone for alone, served in turns)
    print(f"{name}: median of the differences {added:+.2f} s; allowed: 2 % + 1 s, {sum(o > 0 for o in over)} of {len(over)} turns above; "
          "equal digests")
    return statistics.median(over) <= 0


def main():
    with tempfile.TemporaryDirectory(prefix="wring-bench-") as folder:
        folder = Path(folder)
        service = Service(folder / "data")
        try:
            for path in (MODEL, DATA.partition("=")[2]):  # the inputs
                timed([WRING, "--server", service.server, "put", path, "--json"])
            good = summary("inputs in the worker's cache", [turn(service, folder, seed) for seed in range(1, TURNS + 1)])
            cold = []
            for seed in range(TURNS + 1, TURNS + 1 + COLD):
                service.forget_cache()
                cold.append(turn(service, folder, seed))
            return int(not (good & summary("inputs fetched", cold)))
        finally:
            service.stop()


if __name__ == "__main__":
    sys.exit(main())
