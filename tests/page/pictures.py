#!/usr/bin/env python3
"""Pictures of every view of the dashboard into docs/dashboard, of jobs that run here and now: about 16 minutes on two quiet cores.

SmolLM2-135M-Instruct and all-MiniLM-L6-v2 (scripts/models), with few samples and windows: the figures say nothing of the methods.

    pictures.py [--bin build/release/bin] [--out docs/dashboard] [VIEW...]    VIEW: as screenshots.mjs names it; all where none is given
"""
import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/e2e")]

from service import Service  # noqa: E402

SMOLLM2, MINILM = ROOT / "build/models/smollm2", ROOT / "build/models/minilm"
DATA = ROOT / "build/data"
SUITES = {SMOLLM2: "evaluations: ['perplexity(windows=8)', size]\n", MINILM: "evaluations: [similarity, size]\n"}
TEXT = {SMOLLM2: DATA / "test.txt", MINILM: DATA / "sentences.txt"}
LONG = 1800  # seconds, on a busy machine
FEW = "samples=8, sequence_length=256"

RECIPES = {  # name: project, model, stages
    "rtn, 4 bits": ("language", SMOLLM2, ["rtn(bits=4, group_size=64)"]),
    "rtn, 3 bits": ("language", SMOLLM2, ["rtn(bits=3, group_size=64)"]),
    "gptq, 4 bits": ("language", SMOLLM2, [f"gptq(bits=4, group_size=64, {FEW})"]),
    "gptq, 3 bits": ("language", SMOLLM2, [f"gptq(bits=3, group_size=64, {FEW})"]),
    "3 bits and eora": ("language", SMOLLM2, [f"gptq(bits=3, group_size=64, {FEW})", f"eora(rank=32, {FEW})"]),
    "a fifth fewer": ("language", SMOLLM2, [f"flap(ratio=0.2, {FEW})", f"gptq(bits=4, group_size=64, {FEW})"]),
    "search, int8": ("search", MINILM, ["rtn(bits=8, group_size=-1)"]),
    "groups of 100": ("language", SMOLLM2, ["rtn(bits=4, group_size=100)"]),  # it fails
}
SWEEP = """name: bits and groups
recipe: {{stages: ['rtn(bits=4, group_size=64)'], evaluations: ['perplexity(windows=4)', size]}}
model: {model}
data: {{test: {test}}}
space: {{stages.rtn.bits: [2, 3, 4, 5, 6, 8], stages.rtn.group_size: [32, 64, 192]}}
objectives: [kl_mean, weight_bytes]
bounds: {{trials: 18}}
"""


def recipe(folder, name, text):
    path = folder / "recipe.yaml"
    path.write_text(f"name: {name}\n{text}")
    return path


def submit(service, folder, name, project, model, stages):
    data = ["--data", f"test={TEXT[model]}"]
    if any("samples" in stage for stage in stages):
        data += ["--data", f"calibration={DATA}/calibration.txt"]
    return service.submit(recipe(folder, name, f"stages: {stages}\n{SUITES[model]}"), model, *data, "--project", project)


def run_jobs(service, folder):
    """All that is to have ended."""
    jobs = {name: submit(service, folder, name, *asked) for name, asked in RECIPES.items()}
    for name, job in jobs.items():
        if name == "gptq, 3 bits":  # its engine dies once, and it goes on
            service.wait_for("the engine", lambda job=job: service.job(job)["state"] == "RUNNING", LONG)
            time.sleep(4)
            service.kill_engine()
        service.wait_for_end(job, LONG)
    sweep = folder / "sweep.yaml"
    sweep.write_text(SWEEP.format(model=SMOLLM2.relative_to(ROOT), test=TEXT[SMOLLM2].relative_to(ROOT)))  # it is shown as it is written
    number = service.cli("sweep", "submit", sweep, "--json").json["id"]
    service.wait_for("the sweep", lambda: service.cli("sweep", "show", number, "--json").json["state"] == "SUCCEEDED", LONG)
    made = service.job(jobs["gptq, 3 bits"])["artifact_digest"]
    for model in (SMOLLM2, made):  # as the page asks
        prompt = '{"name":"try it","evaluations":[{"suite":"sample","params":{"prompt":"The state of the Union is","tokens":40,"temperature":0},"when":["before"]}]}'
        (folder / "try.json").write_text(prompt)
        service.wait_for_end(service.submit(folder / "try.json", model))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", default=ROOT / "build/release/bin", type=Path, help="folder of the programs")
    parser.add_argument("--out", default=ROOT / "docs/dashboard", type=Path, help="folder of the pictures")
    parser.add_argument("views", nargs="*")
    options = parser.parse_args()
    programs, pictures = options.bin.resolve(), options.out.resolve()
    os.chdir(ROOT)  # paths in what is shown are the repository's
    with tempfile.TemporaryDirectory(prefix="wring-pictures-") as scratch:
        folder = Path(scratch)
        (folder / "closed").mkdir()
        service, closed = Service(programs, folder), Service(programs, folder / "closed")
        try:
            service.start_server()
            service.start_worker("bench")
            run_jobs(service, folder)

            def take(*views, **environment):
                command = ["node", HERE / "screenshots.mjs", f"http://{service.http}", pictures, *views]
                return subprocess.run(command, env=os.environ | environment).returncode

            failed = "submit-plan" in (options.views or ["submit-plan"]) and take("submit-plan")  # while the worker is free
            for name in ("overnight", "overnight, too", "and one more"):  # one runs, two wait
                submit(service, folder, name, "language", SMOLLM2, ["gptq(bits=4, group_size=64, samples=2048, sequence_length=512)"])
            closed.start_server()
            for project, queued in (("language", "200"), ("search", "50")):
                closed.cli("quota", project, "--queued", queued)
            admin = closed.cli("tokens", "create", "--scope", "admin", "--json").json["secret"]
            for name, scope in (("dashboard on the wall", "viewer"), ("nightly sweeps", "submitter")):
                closed.cli("tokens", "create", "--scope", scope, "--name", name, "--project", "language", "--token", admin)
            return take(*options.views, WRING_CLOSED=f"http://{closed.http}", WRING_TOKEN=admin) or failed
        finally:
            service.stop()
            closed.stop()


if __name__ == "__main__":
    sys.exit(main())
