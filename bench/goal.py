"""A goal, "bytes<=22%, kl=min", on smollm2-offgrid's bf16 folder: the pick beside the best uniform level, also at no more than that one's bytes, and its time beside
one run of the pick.

LEVELS says what a layer may become and so which uniform levels there are; UNIFORM of them and PLANS plans are verified. FIRST is a stage before all of them, uniform
levels, too (awq-scaling, say). The second goal takes the first one's
sensitivity from the cache. A run of the pick is `wring run --local`. Fails where the pick is not better than the best uniform level, or the goal took more than
10 runs of it.
"""
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from service import WRING, Service, timed

MODEL = os.environ.get("MODEL", "build/models/smollm2-offgrid-bf16")
BYTES = os.environ.get("BYTES", "22%")
DATA = ["--data", "calibration=build/data/calibration.txt", "--data", "test=build/data/test.txt"]
ALL = ", targets=[Linear, Embedding], ignore=[])"
LEVELS = os.environ.get("LEVELS", " | ".join(f"gptq({level}{ALL}" for level in (
    "bits=2, group_size=32", "bits=3, group_size=48", "bits=3, group_size=64, symmetric=false", "bits=4, group_size=64", "bits=6, group_size=64")))
SAMPLES, WINDOWS = int(os.environ.get("SAMPLES", "32")), int(os.environ.get("WINDOWS", "8"))
FIRST = os.environ.get("FIRST")
PLANS, UNIFORM = int(os.environ.get("PLANS", "2")), int(os.environ.get("UNIFORM", "2"))
MOST_RUNS = 10


def value(trial, metric):
    return next(row["value"] for row in trial["metrics"] if row["metric"] == metric)


def line(trial):
    return (f"{trial['values']['plan']}: {value(trial, 'artifact_bytes'):,.0f} bytes, KL {value(trial, 'kl_mean'):.4g},"
            f" {'holds' if trial['feasible'] else 'does not hold'} the bound, {trial['seconds']:.0f} s")


def compress(service, folder, bound, plans, uniform):
    """(seconds, answer, trials that measured a plan)"""
    recipe = folder / "evaluations.yaml"
    recipe.write_text(json.dumps({"stages": [FIRST] if FIRST else [], "evaluations": [f"perplexity(windows={WINDOWS})", "size"]}))
    seconds, answer = timed([WRING, "--server", service.server, "compress", MODEL, "--goal", f"bytes<={bound}, kl=min", *DATA, "--levels", LEVELS,
                             "--samples", SAMPLES, "--sequence-length", "256", "--plans", plans, "--uniform", uniform, "--recipe", recipe,
                             "--recipe-out", folder / "pick.json", "--wait", "--json"])
    trials = timed([WRING, "--server", service.server, "sweep", "trials", answer["sweep"]["id"], "--json"])[1]["trials"]
    print(f"bytes<={bound}, kl=min: {seconds:.0f} s (load {os.getloadavg()[0]:.1f}); {answer['reason']}", flush=True)
    trials = [trial for trial in trials[1:] if trial["state"] == "SUCCEEDED"]
    for trial in trials:
        print(f"  {line(trial)}", flush=True)
    return seconds, answer, trials


def run_pick(folder, digest):
    seconds, job = timed([WRING, "run", "--local", folder / "pick.json", "--model", MODEL, *DATA, "--out", folder / "pick", "--json"])
    assert job["artifact_digest"] == digest, (job["artifact_digest"], digest)
    return seconds


def measure(service, folder):
    for path in (MODEL, *(text.partition("=")[2] for text in DATA if "=" in text)):
        timed([WRING, "--server", service.server, "put", path, "--json"])
    seconds, answer, trials = compress(service, folder, BYTES, PLANS, UNIFORM)
    alone = run_pick(folder, answer["pick"]["artifact_digest"])
    print(f"  {seconds / alone:.1f} runs of the pick, which took {alone:.0f} s (goal {MOST_RUNS})", flush=True)
    uniform = [trial for trial in trials if trial["feasible"] and trial["values"]["plan"].startswith("uniform")]
    if not uniform:
        print("  no uniform level holds the bound: nothing to compare with")
        return False
    best = min(uniform, key=lambda trial: value(trial, "kl_mean"))
    equal = compress(service, folder, f"{value(best, 'artifact_bytes'):.0f}", 1, 0)[1]["pick"]
    for name, pick in (("within the bound", answer["pick"]), ("at no more bytes", equal)):
        print(f"  {name}: KL {value(pick, 'kl_mean') / value(best, 'kl_mean') - 1:+.1%} beside {best['values']['plan']}", flush=True)
    return seconds <= MOST_RUNS * alone and max(value(answer["pick"], "kl_mean"), value(equal, "kl_mean")) < value(best, "kl_mean")


def main():
    with tempfile.TemporaryDirectory(prefix="wring-bench-", dir=os.environ.get("FOLDER")) as folder:
        service = Service(Path(folder) / "data")
        try:
            met = measure(service, Path(folder))
        except subprocess.CalledProcessError as error:
            print(f"{error.cmd[:4]} ended with status {error.returncode}")
            met = False
        finally:
            service.stop()
    return int(not met)


if __name__ == "__main__":
    sys.exit(main())
