"""A GPTQ grid (bits x group size x damping) through the service beside runs of its trials one by one.

A run of its own is `wring run --local`: no server, no cache, all cores. ALONE of the trials are run so, spread over the grid;
their mean stands for all where that is fewer. The sweep's time is from its submission, with the inputs in the store, to its end.
WORKERS of the sweep run side by side and share the cores: the digests are then those of runs on as many threads, which are
not timed. Processor seconds are those of all programs of a side: what other work on the machine makes of the time changes
them least. Fails where a digest differs or a goal is missed.
"""
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from service import WRING, timed

MODEL = os.environ.get("MODEL", "build/models/smollm2-offgrid")
DATA = {"calibration": "build/data/calibration.txt", "test": "build/data/test.txt"}
TRIALS, ALONE = int(os.environ.get("TRIALS", "32")), int(os.environ.get("ALONE", "4"))
# With propagate: compressed only the input's evaluation is shared, so its goal can be met only where that is much of a run.
DEFAULTS = {"dense": {"SAMPLES": 128, "WINDOWS": 16, "WORKERS": 1}, "halving": {"SAMPLES": 128, "WINDOWS": 16, "WORKERS": 1},
            "compressed": {"SAMPLES": 4, "WINDOWS": 8, "WORKERS": 2}}
GRID = {"bits": [3, 4, 5, 8], "group_size": [32, 64, 96, 192], "damping": [0.01, 0.1]}
GOALS = {"dense": 0.40, "halving": 0.35, "compressed": 0.75}


def setting(name, mode):
    return int(os.environ.get(name, DEFAULTS[mode][name]))


def recipe(mode):
    propagate = "compressed" if mode == "compressed" else "dense"
    return {"stages": [{"method": "gptq", "params": {"samples": setting("SAMPLES", mode), "propagate": propagate}}],
            "evaluations": [{"suite": "perplexity", "params": {"windows": setting("WINDOWS", mode)}}, {"suite": "size"}]}


def sweep_of(mode):
    sweep = {"name": f"grid-{mode}", "recipe": recipe(mode), "model": MODEL, "data": DATA, "parallel": 8,
             "space": {f"stages.gptq.{name}": values for name, values in GRID.items()}, "objectives": ["kl_mean"],
             "bounds": {"trials": TRIALS}}
    if mode == "halving":  # what a rung made of the weights the next one takes from the cache
        windows = setting("WINDOWS", mode)
        sweep["strategy"] = {"name": "successive-halving", "configurations": TRIALS,
                             "fidelity": {"path": "evaluations.perplexity.windows", "low": max(1, windows // 9), "high": windows, "eta": 3}}
        del sweep["bounds"]
    return sweep


def seconds_of_service(folder):
    """Processor seconds of the server and the workers, and of the engines that have ended."""
    ticks = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder) in (process / "cmdline").read_text():
                ticks += sum(map(int, (process / "stat").read_text().rsplit(")", 1)[1].split()[11:15]))
        except OSError:
            continue
    return ticks / os.sysconf("SC_CLK_TCK")


def cores():
    return json.loads(subprocess.run([WRING.parent / "wring-engine", "devices"], check=True, capture_output=True, text=True).stdout)["devices"][0]["threads"]


def seconds_of_children():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def run_sweep(server, mode, folder):
    path = folder / f"{mode}.yaml"
    path.write_text(json.dumps(sweep_of(mode)))
    seconds, sweep = timed([WRING, "--server", server, "sweep", "submit", path, "--wait", "--json"])
    trials = timed([WRING, "--server", server, "sweep", "trials", sweep["id"], "--json"])[1]["trials"]
    assert all(trial["state"] == "SUCCEEDED" for trial in trials), trials
    return seconds, trials


def run_alone(mode, values, folder, threads=0):
    parameters = {name.removeprefix("stages.gptq."): value for name, value in values.items() if name.startswith("stages.gptq.")}
    alone = recipe(mode)
    alone["stages"][0]["params"] |= parameters
    path = folder / "alone.yaml"
    path.write_text(json.dumps(alone))
    with tempfile.TemporaryDirectory(dir=folder) as out:
        data = [argument for name, value in DATA.items() for argument in ("--data", f"{name}={value}")]
        seconds, job = timed([WRING, "run", "--local", path, "--model", MODEL, *data, "--threads", threads, "--out", Path(out) / "model", "--json"])
    return seconds, job["artifact_digest"]


def spread(trials, count):
    """So many trials of different points, from all over the grid; a prime step visits every value of every axis."""
    finest = {json.dumps({k: v for k, v in trial["values"].items() if k.startswith("stages.")}, sort_keys=True): trial for trial in trials}
    points = [finest[key] for key in sorted(finest)]
    return [points[i * 11 % len(points)] for i in range(min(count, len(points)))]


def compare(server, mode, folder):
    load, before = os.getloadavg()[0], seconds_of_service(folder)
    seconds, trials = run_sweep(server, mode, folder)
    processor = seconds_of_service(folder) - before
    sizes = ", ".join(f"{name}={setting(name, mode)}" for name in DEFAULTS[mode])
    print(f"{mode} ({sizes}): {len(trials)} trials in {seconds:.0f} s, {processor:.0f} s of the processor (load before it {load:.1f}, after it"
          f" {os.getloadavg()[0]:.1f})", flush=True)
    alone, alone_processor, workers = [], [], setting("WORKERS", mode)
    for trial in spread(trials, ALONE):
        before = seconds_of_children()
        took, digest = run_alone(mode, trial["values"], folder)
        alone_processor.append(seconds_of_children() - before)
        if workers > 1:  # calibration sums in another order on as many threads
            first = digest
            digest = run_alone(mode, trial["values"], folder, max(1, cores() // workers))[1]
        job = timed([WRING, "--server", server, "job", trial["job"], "--json"])[1]
        assert digest == job["artifact_digest"], (digest, job["artifact_digest"])
        if workers > 1:
            print(f"  the timed run, on all threads, made {'the same digest' if first == digest else 'another digest'}", flush=True)
        alone.append(took)
        print(f"  alone {took:6.1f} s, {alone_processor[-1]:.1f} s of the processor, the same digest: {trial['values']} (load {os.getloadavg()[0]:.1f})", flush=True)
    share = seconds / (statistics.mean(alone) * TRIALS)
    processor_share = processor / (statistics.mean(alone_processor) * TRIALS)
    met = share <= GOALS[mode]
    print(f"  {share:.1%} of {TRIALS} separate runs of {statistics.mean(alone):.1f} s, of which {len(alone)} were run"
          f" (goal {GOALS[mode]:.0%}: {'met' if met else 'missed'}); {processor_share:.1%} of their processor time", flush=True)
    return met


def main():
    modes = sys.argv[1:] or list(GOALS)
    met = []
    for mode in modes:  # each on a service of its own: nothing is cached
        with tempfile.TemporaryDirectory(prefix="wring-bench-", dir=os.environ.get("FOLDER")) as folder:
            data = Path(folder) / "data"
            subprocess.run([WRING, "up", "--data", data, "--grpc", "127.0.0.1:0", "--http", "127.0.0.1:0", "--workers", str(setting("WORKERS", mode)),
                            "--detach"], check=True,
                           stdout=subprocess.DEVNULL)
            try:
                server = json.loads((data / "endpoints.json").read_text())["grpc"]
                for path in (MODEL, *DATA.values()):
                    timed([WRING, "--server", server, "put", path, "--json"])
                met.append(compare(server, mode, Path(folder)))
            finally:
                subprocess.run([WRING, "down", "--data", data], check=True)
    return int(not all(met))


if __name__ == "__main__":
    sys.exit(main())
