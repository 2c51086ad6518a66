"""Runs the conformance files of methods through a real service: does each method beat its baselines at an equal budget?

    run.py [--cut] [--bin FOLDER] [--work FOLDER] [--minutes N] [--out FILE] [--cache FOLDER] METHOD...      METHOD.yaml beside this file; without names: all

A file names a model, data, runs (stages of a recipe each), evaluations, budgets that must be equal and claims:

    method: eora                          # of the spec
    card: D4                              # of the paper's card
    model: smollm2-offgrid                # folder of build/models
    models: {small: tiny-88}              # of runs that have others
    data: {calibration: calibration.txt, test: test.txt}      # files of build/data
    fixture: resnet20                     # in place of model and data: a network and images of image_fixtures.py
    seeds: [0, 1, 2]
    drawn: [eora]                         # runs that a seed alters; others have the first alone (default: all)
    minutes: 30                           # limit of the whole, on a machine that nothing else needs
    evaluations: ["perplexity(window=512, windows=16)", size]
    runs: {eora: ["gptq(bits=3)", "eora(rank=32)"], none: ["gptq(bits=3)"]}
    equal: [{metric: size.parameters, of: [a, b], within: 0.002}]
    claims: ["perplexity.perplexity: eora < svd <= none"]     # suite.metric: a chain
    unmet: ["..."]                        # the card's claims that did not come out; said again each time
    cut: {runs: [eora, none], evaluations: [...], replace: {samples: 8}}  # what CI runs: replace overrides parameters;
                                          # runs may be stages of their own: {eora: [...], none: [...]}

In claims "dense" is the model that was handed in, and a run's name may be followed by what is taken off its values: "trained - 0.01 <= otov2". "a < b": the mean over seeds is lower by more than the difference's standard error. "a <= b": not higher by more than that. Where perplexities are
compared the difference is that of the negative log-likelihood, paired by window, each window's the mean over seeds. Exits with 1 where a claim or budget does not hold.
"""
import argparse
import json
import math
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
sys.path.insert(0, str(HERE))
import image_fixtures  # noqa: E402
from service import Service  # noqa: E402


class Conformance:
    def __init__(self, path, cut):
        self.spec = yaml.safe_load(path.read_text(encoding="utf-8"))
        self.cut = self.spec.get("cut") if cut else None
        self.runs, self.evaluations, self.seeds = self.spec["runs"], self.spec["evaluations"], self.spec["seeds"]
        if self.cut:
            own = self.cut["runs"]
            self.runs = own if isinstance(own, dict) else {name: self.runs[name] for name in own}
            self.evaluations, self.seeds = self.cut["evaluations"], self.seeds[:1]
        self.drawn = self.spec.get("drawn", self.runs)
        self.jobs = {}  # (run, seed) -> job
        if "fixture" not in self.spec:
            self.model, self.data = ROOT / "build/models" / self.spec["model"], {key: ROOT / "build/data" / name for key, name in self.spec["data"].items()}

    def model_of(self, name):
        other = self.spec.get("models", {}).get(name)
        return ROOT / "build/models" / other if other else self.model

    def seeds_of(self, name):
        return self.seeds if name in self.drawn else self.seeds[:1]

    def recipe(self, name):
        replace = (self.cut or {}).get("replace", {})
        stages = [self.replaced(stage, replace) for stage in self.runs[name]]
        return yaml.safe_dump({"name": f"{self.spec['method']}-{name}", "stages": stages, "evaluations": self.evaluations})

    @staticmethod
    def replaced(stage, replace):
        """Of a one-line stage those parameters that it has."""
        if isinstance(stage, str):
            for key, value in replace.items():
                stage = re.sub(rf"\b{key}=[^,)]+", f"{key}={value}", stage)
            return stage
        params = stage.get("params", {})
        return {**stage, "params": {**params, **{key: value for key, value in replace.items() if key in params}}}

    def run(self, service, work, minutes=None):
        if "fixture" in self.spec:
            self.model, self.data = image_fixtures.FIXTURES[self.spec["fixture"]](work)
        end = time.monotonic() + 60 * (minutes or self.spec["minutes"])
        for name in self.runs:
            for seed in self.seeds_of(name):
                recipe = work / f"{name}.yaml"
                recipe.write_text(self.recipe(name), encoding="utf-8")
                valid = service.cli("validate", recipe, "--json")
                if valid.status:
                    raise AssertionError(f"run {name}: {valid.err.strip()}")
                data = [argument for key in valid.json["data"] for argument in ("--data", f"{key}={self.data[key]}")]
                job = service.submit(recipe, self.model_of(name), "--seed", seed, *data)
                service.wait_for(f"run {name}", lambda: self.ended(service, name, seed, job), max(1, end - time.monotonic()))
                if self.jobs[name, seed]["state"] != "SUCCEEDED":
                    raise AssertionError(f"run {name}, seed {seed}: {json.dumps(self.jobs[name, seed].get('error'))}")
                print(f"  {name}, seed {seed}: " + ", ".join(f"{stage['name']} {stage['seconds']:.1f} s"
                                                             for stage in self.jobs[name, seed]["stages"]), flush=True)

    def ended(self, service, name, seed, job):
        """Keeps the job as it ended. A call that a busy machine answers too late is made again."""
        self.jobs[name, seed] = service.job(job)
        return self.jobs[name, seed].get("state") in ("SUCCEEDED", "FAILED", "CANCELLED")

    def row(self, run, seed, metric):
        if run == "dense" and run not in self.runs:
            row = self.row(next(iter(self.runs)), seed, metric)
            if row.get("baseline_value") is None:
                raise AssertionError(f"the row {metric} says nothing of the model that was handed in")
            return {"value": row["baseline_value"], "stderr": row.get("stderr")}
        suite, name = metric.split(".", 1)
        rows = [row for row in self.jobs[run, seed if seed in self.seeds_of(run) else self.seeds[0]]["evaluations"]
                if row["suite"] == suite and row["metric"] == name and row["when"] == "after"]
        if not rows:
            raise AssertionError(f"run {run} has no row {metric}")
        return rows[-1]

    def value(self, run, metric):
        return statistics.fmean(self.row(run, seed, metric)["value"] for seed in self.seeds)

    def difference(self, a, b, metric):
        """Mean of a - b and its standard error, over windows where both have them, else over what the rows say."""
        means, variances, windowed = [], [], []
        for seed in max(self.seeds_of(a), self.seeds_of(b), key=len):
            rows = [self.row(run, seed, metric) for run in (a, b)]
            windows = [(row.get("details") or {}).get("window_nll") for row in rows]
            if metric.endswith("perplexity.perplexity") and all(windows):
                scored = rows[0]["details"]["window_scored"]
                windowed.append([(x - y) / n for x, y, n in zip(*windows, scored, strict=True)])
                means.append(statistics.fmean(windowed[-1]))
            else:
                means.append(rows[0]["value"] - rows[1]["value"])
                variances.append(sum((row.get("stderr") or 0.0) ** 2 for row in rows))
        if windowed:  # the windows are the same for all seeds
            by_window = [statistics.fmean(of_seeds) for of_seeds in zip(*windowed, strict=True)]
            within = statistics.variance(by_window) / len(by_window) if len(by_window) > 1 else 0.0
        else:
            within = sum(variances) / len(variances) ** 2
        between = statistics.variance(means) / len(means) if len(means) > 1 else 0.0
        return statistics.fmean(means), math.sqrt(max(within, between))

    def budgets(self):
        for budget in self.spec.get("equal", []):
            names = [name for name in budget["of"] if name in self.runs]
            if len(names) < 2:
                continue
            values = [self.value(name, budget["metric"]) for name in names]
            apart = max(abs(value / values[0] - 1) for value in values)
            yield {"budget": f"{budget['metric']} of {', '.join(names)}", "apart": apart, "holds": apart <= budget["within"]}

    @staticmethod
    def operand(text):
        """A run's name, and what is taken off its values."""
        name, _, less = text.partition(" - ")
        return name, float(less or 0)

    def claims(self, key):
        for claim in self.spec.get(key, []):
            metric, chain = (part.strip() for part in claim.split(":", 1))
            words = re.split(r"\s+(<=?)\s+", chain)
            if len(words) < 3:
                raise ValueError(f"{claim}: neither < nor <= in it")
            for left, sign, right in zip(words[::2], words[1::2], words[2::2]):
                (a, less), (b, more) = (self.operand(word) for word in (left, right))
                unknown = [name for name in (a, b) if name not in self.runs and name != "dense"]
                if unknown:
                    if self.cut:
                        continue
                    raise ValueError(f"{claim}: no run {unknown[0]}")
                mean, error = self.difference(a, b, metric)
                mean += more - less
                yield {"claim": f"{metric}: {left} {sign} {right}", "values": [self.value(a, metric), self.value(b, metric)],
                       "difference": mean, "stderr": error, "holds": mean < -error if sign == "<" else mean <= error}


def metrics_of(conformance):
    """One line a run: each metric of the rows after the stages (mean, and of each seed), time and peak memory of the stages."""
    for name in conformance.runs:
        seeds = conformance.seeds_of(name)
        rows = conformance.jobs[name, seeds[0]]["evaluations"]
        metrics = sorted({f"{row['suite']}.{row['metric']}" for row in rows if row["when"] == "after" and row["suite"] != "sample"})
        stages = [stage for seed in seeds for stage in conformance.jobs[name, seed]["stages"]
                  if not stage["name"].startswith("evaluate")]
        by_seed = {metric: [conformance.row(name, seed, metric)["value"] for seed in seeds] for metric in metrics}
        yield name, {**{metric: conformance.value(name, metric) for metric in metrics}, **({"by_seed": by_seed} if len(seeds) > 1 else {}),
                     "seconds": sum(stage["seconds"] for stage in stages) / len(seeds),
                     "peak_bytes": max((stage["peak_bytes"] for stage in stages), default=0),
                     "artifact": conformance.jobs[name, seeds[0]].get("artifact_digest")}


def run_file(path, arguments):
    conformance = Conformance(path, arguments.cut)
    print(f"== {path.stem}" + (" (cut)" if arguments.cut else ""), flush=True)
    if arguments.cut and not conformance.cut:
        raise AssertionError("no cut in the file")
    work = arguments.work / path.stem
    subprocess.run(["rm", "-rf", work], check=True)
    work.mkdir(parents=True)
    if arguments.cache:
        arguments.cache.mkdir(parents=True, exist_ok=True)
        (work / "worker").symlink_to(arguments.cache.resolve())
    service = Service(arguments.bin.resolve(), work)
    started = time.monotonic()
    try:
        service.start_server(lease_seconds=600)  # nobody dies here, and a busy machine may be late
        service.start_worker("worker", "--threads", str(len(os.sched_getaffinity(0))))  # 0 would be all that the machine has
        conformance.run(service, work, arguments.minutes)
    finally:
        service.stop()
        subprocess.run(["rm", "-rf", work / "data", work / "worker"], check=True)
    result = {"method": path.stem, "cut": arguments.cut, "seconds": time.monotonic() - started, "seeds": conformance.seeds,
              "runs": dict(metrics_of(conformance)), "budgets": list(conformance.budgets()), "claims": list(conformance.claims("claims")), "unmet": list(conformance.claims("unmet"))}
    for name, metrics in result["runs"].items():
        print(f"  {name:24}", ", ".join(f"{key.split('.')[-1]} {value:.6g}" for key, value in metrics.items() if isinstance(value, (int, float))))
    for line in result["budgets"]:
        print(f"  {'ok    ' if line['holds'] else 'FAILED'} {line['budget']}: {100 * line['apart']:.3f} % apart")
    for key, words in (("claims", ("ok    ", "FAILED")), ("unmet", ("came out now", "not met"))):
        for line in result[key]:
            print(f"  {words[not line['holds']]} {line['claim']}: {line['values'][0]:.6g}, {line['values'][1]:.6g} "
                  f"(difference {line['difference']:+.5f} +- {line['stderr']:.5f})")
    if not result["claims"]:
        raise AssertionError("no claim was checked")
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", metavar="METHOD")
    parser.add_argument("--cut", action="store_true", help="the small part that CI runs")
    parser.add_argument("--bin", type=Path, default=ROOT / "build/release/bin", help="a copy lets a build go on beside a long run")
    parser.add_argument("--work", type=Path, default=ROOT / "build/conformance")
    parser.add_argument("--minutes", type=float, help="another limit than the files', where the machine is busy")
    parser.add_argument("--cache", type=Path, help="the worker's, kept: a stage that an earlier file's runs have had is not run again")
    parser.add_argument("--out", type=Path, help="results as JSON")
    arguments = parser.parse_args()
    files = [HERE / f"{name}.yaml" for name in arguments.methods] or sorted(HERE.glob("*.yaml"))
    results, failed, skipped = [], 0, 0
    for path in files:
        if "fixture" in yaml.safe_load(path.read_text(encoding="utf-8")) and not image_fixtures.DATA.is_dir():
            print(f"skipped {path.stem}: {image_fixtures.DATA} (WRING_DATA) is absent")
            skipped += 1
            continue
        try:
            results.append(run_file(path, arguments))
            failed += not all(line["holds"] for line in results[-1]["claims"] + results[-1]["budgets"])
        except (AssertionError, ValueError, KeyError, OSError, subprocess.SubprocessError, yaml.YAMLError) as error:
            print(f"FAILED {path.stem}: {error}", flush=True)
            failed += 1
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    unmet = sum(not line["holds"] for result in results for line in result["unmet"])
    if unmet:
        print(f"conformance: {unmet} claims are not met, as their files say")
    print(f"conformance: {len(files) - failed - skipped} passed, {failed} failed, {skipped} skipped")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
