#!/usr/bin/env python3
"""Sweep strategies beside Optuna and pymoo: the same spaces, the same number of trials, the best value found over seeds.

    scripts/bench strategies [--seeds 20]

tpe: the best of 100 trials, one after the other, on Branin (2 ranges), Hartmann (6 ranges) and a mixed space (a range by ratio, a
range, whole numbers, unordered choices); medians over seeds and quartiles, and of how many pairs of seeds Wring's value is below.
nsga2: hypervolume of the front of 1,000 trials in generations of 50 on ZDT1 and ZDT2 with 10 ranges, reference (1.1, 1.1).
Prints a table in Markdown.
"""
import argparse
import json
import math
import random
import statistics
import subprocess
import sys
from pathlib import Path

import numpy
import optuna
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.problem import ElementwiseProblem
from pymoo.indicators.hv import HV
from pymoo.optimize import minimize

PROGRAM = Path(__file__).resolve().parents[1] / "build/release/bin/wring_strategy_bench"
TRIALS, GENERATION, GENERATIONS = 100, 50, 20


def branin(x):
    a, b = 15 * x[0] - 5, 15 * x[1]
    return [(b - 5.1 / (4 * math.pi**2) * a**2 + 5 / math.pi * a - 6) ** 2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(a) + 10]


def hartmann(x):
    alpha = [1.0, 1.2, 3.0, 3.2]
    a = [[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]]
    p = [[0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886], [0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991],
         [0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650], [0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381]]
    return [-sum(w * math.exp(-sum(r * (v - c) ** 2 for r, v, c in zip(row, x, centre))) for w, row, centre in zip(alpha, a, p))]


def mixed(x):
    """Least, 0, at a rate of 0.003, a share of 0.7, depth 5 and kind c; the kinds move where the best rate is."""
    rate, share, depth, kind = x
    best_rate, extra = {"a": (0.1, 0.5), "b": (0.03, 0.3), "c": (0.003, 0), "d": (0.0005, 0.4)}[kind]
    return [math.log10(rate / best_rate) ** 2 + 4 * (share - 0.7) ** 2 + 0.1 * abs(depth - 5) + extra]


def zdt(shape):
    def function(x):
        g = 1 + 9 * sum(x[1:]) / (len(x) - 1)
        return [x[0], g * shape(x[0] / g)]

    return function


UNIT = {"low": 0, "high": 1}
SINGLE = {"Branin": (branin, [UNIT] * 2), "Hartmann 6": (hartmann, [UNIT] * 6),
          "mixed": (mixed, [{"low": 1e-5, "high": 1, "log": True}, UNIT, {"low": 1, "high": 12, "whole": True},
                            {"values": ["a", "b", "c", "d"], "ordered": False}])}
DOUBLE = {"ZDT1": (zdt(lambda r: 1 - math.sqrt(r)), [UNIT] * 10), "ZDT2": (zdt(lambda r: 1 - r**2), [UNIT] * 10)}


def wring(strategy, function, space, seed, trials, *options):
    """Losses of all trials, by a strategy of Wring's."""
    command = [PROGRAM, strategy, str(seed), json.dumps(space), *map(str, options)]
    losses, waiting = [], []
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            values = json.loads(line)
            if values is not None:
                waiting.append(function(values))
                losses.append(waiting[-1])
                continue
            if len(losses) >= trials:
                break
            print(json.dumps(waiting.pop(0)), file=process.stdin, flush=True)
        process.kill()
    return losses[:trials]


def suggested(trial, space):
    values = []
    for i, d in enumerate(space):
        if "values" in d:
            values.append(trial.suggest_categorical(str(i), d["values"]))
        elif d.get("whole"):
            values.append(trial.suggest_int(str(i), d["low"], d["high"]))
        else:
            values.append(trial.suggest_float(str(i), d["low"], d["high"], log=d.get("log", False)))
    return values


def with_optuna(sampler, function, space, trials, objectives=1):
    study = optuna.create_study(directions=["minimize"] * objectives, sampler=sampler)
    study.optimize(lambda trial: tuple(function(suggested(trial, space))), n_trials=trials)
    return [trial.values for trial in study.trials]


def with_pymoo(function, space, seed):
    losses = []

    class Problem(ElementwiseProblem):
        def __init__(self):
            super().__init__(n_var=len(space), n_obj=2, xl=numpy.zeros(len(space)), xu=numpy.ones(len(space)))

        def _evaluate(self, x, out):
            losses.append(function(list(x)))
            out["F"] = losses[-1]

    minimize(Problem(), NSGA2(pop_size=GENERATION), ("n_gen", GENERATIONS), seed=seed)
    return losses


def by_chance(function, space, seed, trials):
    rng = random.Random(seed)

    def draw(d):
        if "values" in d:
            return rng.choice(d["values"])
        if d.get("whole"):
            return rng.randint(d["low"], d["high"])
        return math.exp(rng.uniform(math.log(d["low"]), math.log(d["high"]))) if d.get("log") else rng.uniform(d["low"], d["high"])

    return [function([draw(d) for d in space]) for _ in range(trials)]


def quartiles(values):
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.4g} ({low:.4g} to {high:.4g})"


def show(name, columns, better):
    """`better(a, b)`: whether Wring's `a` beats the other's `b`."""
    ours = columns["Wring"]
    cells = []
    for other, values in columns.items():
        wins = sum(better(a, b) for a in ours for b in values) / (len(ours) * len(values))
        cells.append(quartiles(values) + ("" if other == "Wring" else f", {wins:.0%}"))
    print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=20)
    seeds = range(parser.parse_args().seeds)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print(f"optuna {optuna.__version__}, pymoo {__import__('pymoo').__version__}, {len(seeds)} seeds", file=sys.stderr)
    print(f"\n| the best of {TRIALS} trials, least first | Wring tpe | Optuna TPESampler | by chance |\n|---|---|---|---|")
    for name, (function, space) in SINGLE.items():
        best = {"Wring": [], "Optuna": [], "chance": []}
        for seed in seeds:
            best["Wring"].append(min(wring("tpe", function, space, seed, TRIALS))[0])
            best["Optuna"].append(min(with_optuna(optuna.samplers.TPESampler(seed=seed), function, space, TRIALS))[0])
            best["chance"].append(min(by_chance(function, space, seed, TRIALS))[0])
        show(name, best, lambda a, b: a < b)
    volume = HV(ref_point=numpy.array([1.1, 1.1]))
    trials = GENERATION * GENERATIONS
    print(f"\n| hypervolume of {trials} trials, most first | Wring nsga2 | pymoo NSGA2 | Optuna NSGAIISampler | by chance |\n|---|---|---|---|---|")
    for name, (function, space) in DOUBLE.items():
        found = {"Wring": [], "pymoo": [], "Optuna": [], "chance": []}
        for seed in seeds:
            options = ["--population", GENERATION, "--parallel", GENERATION]
            sampler = optuna.samplers.NSGAIISampler(population_size=GENERATION, seed=seed)
            for key, losses in (("Wring", wring("nsga2", function, space, seed, trials, *options)), ("pymoo", with_pymoo(function, space, seed)),
                                ("Optuna", with_optuna(sampler, function, space, trials, 2)), ("chance", by_chance(function, space, seed, trials))):
                found[key].append(float(volume(numpy.array(losses, dtype=float))))
        show(name, found, lambda a, b: a > b)


if __name__ == "__main__":
    main()
