"""What the service adds to a job: `wring run --local` and the same through a server and a worker, in turns, inputs in the store.

Each turn has a seed of its own, so that no stage is answered from the worker's cache.
"""
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WRING = Path("build/release/bin/wring").resolve()
MODEL, TURNS = "build/models/smollm2-offgrid", int(os.environ.get("TURNS", "7"))
RECIPE = os.environ.get("RECIPE", "gptq(bits=4, group_size=64, samples=16, sequence_length=512)")
DATA = "calibration=build/data/calibration.txt"


def timed(argv):
    start = time.perf_counter()
    output = subprocess.run([str(a) for a in argv], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    return time.perf_counter() - start, json.loads(output)


def main():
    with tempfile.TemporaryDirectory(prefix="wring-bench-") as folder:
        data = Path(folder) / "data"
        subprocess.run([WRING, "up", "--data", data, "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--detach"], check=True,
                       stdout=subprocess.DEVNULL)
        try:
            server = json.loads((data / "endpoints.json").read_text())["grpc"]
            return compare(server, Path(folder))
        finally:
            subprocess.run([WRING, "down", "--data", data], check=True)


def compare(server, folder):
    submit = [WRING, "--server", server, "submit", RECIPE, "--model", MODEL, "--data", DATA, "--wait", "--json"]
    for path in (MODEL, DATA.partition("=")[2]):  # the inputs
        timed([WRING, "--server", server, "put", path, "--json"])
    turns = []
    for seed in range(1, TURNS + 1):
        alone, local = timed([WRING, "run", "--local", RECIPE, "--model", MODEL, "--data", DATA, "--out", folder / f"out{seed}",
                              "--seed", seed, "--json"])
        served, job = timed([*submit, "--seed", seed])
        assert local["artifact_digest"] == job["artifact_digest"], (local["artifact_digest"], job["artifact_digest"])
        turns.append((alone, served))
        print(f"local {alone:7.2f} s   service {served:7.2f} s   {served - alone:+.2f} s ({served / alone - 1:+.1%})", flush=True)
    over = [served - alone - (0.02 * alone + 1) for alone, served in turns]
    added = statistics.median(served - alone for alone, served in turns)
    print(f"median of the differences: {added:+.2f} s; allowed: 2 % + 1 s, {sum(o > 0 for o in over)} of {len(over)} turns above; equal digests")
    return int(statistics.median(over) > 0)


if __name__ == "__main__":
    sys.exit(main())
