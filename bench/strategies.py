"""Wring's strategies beside Optuna's and pymoo's: the same functions, as many trials, medians over SEEDS seeds.

One loss: regret, the best loss found less the least there is. Two: the hypervolume that a front leaves out of the best one's. A ratio
is Wring's figure by the peer's: below 1 Wring is nearer to the best. Functions: Branin, Hartmann 6, Ackley, Rosenbrock (Surjanovic,
Bingham's library), ZDT 1 to 3 (Zitzler, Deb, Thiele 2000) and bench/minilm_rtn_grid.csv, 48 trials of all-MiniLM-L6-v2 by `rtn` as
`wring sweep run` made them. Arguments: names of strategies; default: all.
"""
import csv
import json
import math
import os
import statistics
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import optuna
from optuna.samplers import NSGAIISampler, RandomSampler, TPESampler
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.core.problem import ElementwiseProblem
from pymoo.indicators.hv import HV
from pymoo.operators.sampling.lhs import LHS
from pymoo.optimize import minimize

PROGRAM = os.environ.get("PROGRAM", "build/release/bin/wring_strategies_bench")
SEEDS = int(os.environ.get("SEEDS", "21"))
TRIALS, FRONT_TRIALS, POPULATION, CONFIGURATIONS = 100, 300, 20, 81
GRID_TRIALS, GRID_POPULATION = 15, 6  # of 48 points
LOW, HIGH, ETA = 1, 27, 3  # of the fidelity
optuna.logging.set_verbosity(optuna.logging.ERROR)
warnings.filterwarnings("ignore")


def ranges(*bounds):
    return {f"x{i:02}": {"low": float(low), "high": float(high)} for i, (low, high) in enumerate(bounds)}


def branin(x):
    a, b = x
    return (b - 5.1 / (4 * math.pi ** 2) * a * a + 5 / math.pi * a - 6) ** 2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(a) + 10


def hartmann6(x):
    alpha = np.array([1.0, 1.2, 3.0, 3.2])
    a = np.array([[10, 3, 17, 3.5, 1.7, 8], [0.05, 10, 17, 0.1, 8, 14], [3, 3.5, 1.7, 10, 17, 8], [17, 8, 0.05, 10, 0.1, 14]])
    p = 1e-4 * np.array([[1312, 1696, 5569, 124, 8283, 5886], [2329, 4135, 8307, 3736, 1004, 9991],
                         [2348, 1451, 3522, 2883, 3047, 6650], [4047, 8828, 8732, 5743, 1091, 381]])
    return -float(alpha @ np.exp(-np.sum(a * (np.asarray(x) - p) ** 2, axis=1)))


def ackley(x):
    x = np.asarray(x)
    return float(-20 * np.exp(-0.2 * np.sqrt(np.mean(x * x))) - np.exp(np.mean(np.cos(2 * np.pi * x))) + 20 + np.e)


def rosenbrock(x):
    return sum(100 * (b - a * a) ** 2 + (1 - a) ** 2 for a, b in zip(x, x[1:]))


def zdt(kind):
    def f(x):
        g = 1 + 9 * sum(x[1:]) / (len(x) - 1)
        share = x[0] / g
        return x[0], g * {1: 1 - math.sqrt(share), 2: 1 - share * share,
                          3: 1 - math.sqrt(share) - share * math.sin(10 * math.pi * x[0])}[kind]
    return f


def recorded():
    rows = list(csv.DictReader(open(Path(__file__).parent / "minilm_rtn_grid.csv")))
    names = [name for name in rows[0] if name not in ("cosine_mean", "artifact_bytes")]
    space = {name: [json.loads(v) for v in dict.fromkeys(row[name] for row in rows)] for name in names}
    names = sorted(space)  # Wring orders dimensions by their names
    table = {tuple(json.loads(row[name]) for name in names): (1 - float(row["cosine_mean"]), float(row["artifact_bytes"]) / 1e8) for row in rows}
    return {name: space[name] for name in names}, table


GRID, TABLE = recorded()
# name: (space, function, least loss)
ONE = {"branin": (ranges((-5, 10), (0, 15)), branin, 0.397887),
       "hartmann 6": (ranges(*[(0, 1)] * 6), hartmann6, -3.32237),
       "ackley 5": (ranges(*[(-32.768, 32.768)] * 5), ackley, 0.0),
       "rosenbrock 4": (ranges(*[(-5, 10)] * 4), rosenbrock, 0.0),
       # a byte of a tenth of the dense model's is worth 1 % of the cosine
       "minilm rtn": (GRID, lambda x: sum(TABLE[tuple(x)]), min(map(sum, TABLE.values())))}
# name: (space, function, the point that volumes are measured to, the volume of the best front)
TWO = {}
for kind in (1, 2, 3):
    TWO[f"zdt {kind}"] = (ranges(*[(0, 1)] * 6), zdt(kind), (1.1, 10.0))
TWO["minilm rtn"] = (GRID, lambda x: TABLE[tuple(x)], (1.0, 1.0))


def best_volume(name, point):
    if name == "minilm rtn":
        return HV(point)(np.array(list(TABLE.values())))
    a = np.linspace(0, 1, 20001)
    kind = int(name[-1])
    b = {1: 1 - np.sqrt(a), 2: 1 - a * a, 3: 1 - np.sqrt(a) - a * np.sin(10 * np.pi * a)}[kind]
    return HV(point)(np.stack([a, b], 1))


def play(strategy, seed, space, trials, objectives, f, fidelity=None, population=POPULATION):
    """Wring's trials: [(values, rung, losses)]."""
    game = {"strategy": strategy, "seed": seed, "space": space, "trials": trials, "objectives": objectives, "population": population}
    if fidelity:
        game["fidelity"] = dict(zip(("low", "high", "eta"), fidelity))
    played = []
    with subprocess.Popen([PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        say = lambda line: (program.stdin.write(json.dumps(line) + "\n"), program.stdin.flush())  # noqa: E731
        say(game)
        while fidelity or len(played) < trials:
            line = program.stdout.readline()
            if not line:
                break
            asked = json.loads(line)
            losses = f(asked["values"], asked["rung"])
            played.append((asked["values"], asked["rung"], losses))
            say(losses)
        program.stdin.close()
        program.stdout.read()
    return played


def suggested(trial, space):
    return [trial.suggest_categorical(name, d) if isinstance(d, list) and isinstance(d[0], str | bool) else
            d[trial.suggest_int(name, 0, len(d) - 1)] if isinstance(d, list) else trial.suggest_float(name, d["low"], d["high"])
            for name, d in space.items()]


def optuna_losses(sampler, space, trials, f, directions=1):
    study = optuna.create_study(sampler=sampler, directions=["minimize"] * directions)
    losses = []

    def objective(trial):
        losses.append(f(suggested(trial, space)))
        return losses[-1]

    study.optimize(objective, n_trials=trials)
    return losses


def from_unit(at, space):
    return [d[min(len(d) - 1, int(u * len(d)))] if isinstance(d, list) else d["low"] + u * (d["high"] - d["low"])
            for u, d in zip(at, space.values())]


def pymoo_lhs(seed, space, trials, f):
    problem = ElementwiseProblem(n_var=len(space), n_obj=1, xl=0, xu=1)
    try:
        points = LHS().do(problem, trials, random_state=np.random.default_rng(seed)).get("X")
    except TypeError:  # pymoo before 0.6.1.5 draws from numpy's own state
        np.random.seed(seed)
        points = LHS().do(problem, trials).get("X")
    return [f(from_unit(at, space)) for at in points]


def pymoo_nsga2(seed, space, trials, f, population):
    losses = []

    class Problem(ElementwiseProblem):
        def _evaluate(self, x, out):
            losses.append(f(from_unit(x, space)))
            out["F"] = losses[-1]

    minimize(Problem(n_var=len(space), n_obj=2, xl=0, xu=1), NSGA2(pop_size=population), ("n_eval", trials), seed=seed + 1, verbose=False)
    return losses[:trials]


def medians(runs):
    return statistics.median(runs)


def ratio(ours, theirs):
    return f"{ours / theirs:.2f}" if theirs > 0 else "1.00" if ours <= 1e-12 else "inf"


def one_loss(strategy):
    peers = {"random": [("Optuna", lambda seed, *rest: optuna_losses(RandomSampler(seed=seed), *rest))],
             "latin-hypercube": [("pymoo", pymoo_lhs)],
             "tpe": [("Optuna", lambda seed, *rest: optuna_losses(TPESampler(seed=seed), *rest)),
                     ("Optuna, univariate", lambda seed, *rest: optuna_losses(TPESampler(seed=seed, multivariate=False), *rest))]}[strategy]
    seeds = range(SEEDS if strategy == "tpe" else 5 * SEEDS)  # luck alone differs more
    for name, (space, f, least) in ONE.items():
        trials = TRIALS if name != "minilm rtn" else GRID_TRIALS
        ours = medians(min(loss[0] for _, _, loss in play(strategy, seed, space, trials, 1, lambda x, _: [f(x)])) - least
                       for seed in seeds)
        for peer, run in peers:
            theirs = medians(min(run(seed, space, trials, f)) - least for seed in seeds)
            print(f"| {strategy} | {name} | {trials} | {ours:.4g} | {peer} {theirs:.4g} | {ratio(ours, theirs)} |", flush=True)


def two_losses():
    for name, (space, f, point) in TWO.items():
        trials, population = (FRONT_TRIALS, POPULATION) if name != "minilm rtn" else (2 * GRID_TRIALS, GRID_POPULATION)
        best, volume = best_volume(name, point), HV(np.array(point))
        missing = lambda losses: max(0.0, best - volume(np.array(losses)))  # noqa: E731
        ours = medians(missing([loss for _, _, loss in play("nsga2", seed, space, trials, 2, lambda x, _: list(f(x)), population=population)])
                       for seed in range(SEEDS))
        for peer, run in (("pymoo", lambda seed: pymoo_nsga2(seed, space, trials, f, population)),
                          ("Optuna", lambda seed: optuna_losses(NSGAIISampler(population_size=population, seed=seed), space, trials, f, 2))):
            theirs = medians(missing(run(seed)) for seed in range(SEEDS))
            print(f"| nsga2 | {name} | {trials} | {ours:.4g} | {peer} {theirs:.4g} | {ratio(ours, theirs)} |", flush=True)


def at_fidelity(f, x, resource, scale):
    """What training has not brought down yet: more of it for some points than for others."""
    return f(x) + scale * (1 + math.sin(7 * sum(x))) * (1 / resource - 1 / HIGH)


def optuna_asha(seed, space, f, scale):
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=LOW, reduction_factor=ETA)
    study = optuna.create_study(sampler=RandomSampler(seed=seed), pruner=pruner)
    whole, spent = [], [0]

    def objective(trial):
        x, before = suggested(trial, space), 0
        for resource in (LOW * ETA ** k for k in range(1 + round(math.log(HIGH / LOW, ETA)))):
            loss = at_fidelity(f, x, resource, scale)
            spent[0] += resource - before
            before = resource
            trial.report(loss, resource)
            if resource < HIGH and trial.should_prune():
                raise optuna.TrialPruned
        whole.append(loss)
        return loss

    study.optimize(objective, n_trials=CONFIGURATIONS)
    return min(whole, default=math.inf), spent[0]


def wring_halving(strategy, seed, space, f, scale):
    resources = [LOW * ETA ** k for k in range(1 + round(math.log(HIGH / LOW, ETA)))]
    played = play(strategy, seed, space, CONFIGURATIONS, 1, lambda x, rung: [at_fidelity(f, x, resources[rung], scale)], (LOW, HIGH, ETA))
    spent = sum(resources[rung] - (resources[rung - 1] if rung else 0) for _, rung, _ in played)
    return min((loss[0] for _, rung, loss in played if rung == len(resources) - 1), default=math.inf), spent


def halving():
    for name in ("branin", "hartmann 6"):
        space, f, least = ONE[name]
        scale = {"branin": 30.0, "hartmann 6": 1.0}[name]
        runs = [wring_halving("asha", seed, space, f, scale) for seed in range(SEEDS)]
        peers = [optuna_asha(seed, space, f, scale) for seed in range(SEEDS)]
        ours, theirs = (medians(loss - least for loss, _ in side) for side in (runs, peers))
        spent, theirs_spent = (medians(cost for _, cost in side) for side in (runs, peers))
        print(f"| asha | {name} | {CONFIGURATIONS} configurations, {spent:.0f} beside {theirs_spent:.0f} units | {ours:.4g} | "
              f"Optuna {theirs:.4g} | {ratio(ours, theirs)} |", flush=True)


if __name__ == "__main__":
    asked = sys.argv[1:] or ["random", "latin-hypercube", "tpe", "nsga2", "asha"]
    print("| strategy | function | trials | Wring | peer | ratio |\n|---|---|---|---|---|---|", flush=True)
    for strategy in asked:
        if strategy == "nsga2":
            two_losses()
        elif strategy == "asha":
            halving()
        elif strategy in ("random", "latin-hypercube", "tpe"):
            one_loss(strategy)
        else:
            sys.exit(f"no bench of the strategy '{strategy}'; known: random, latin-hypercube, tpe, nsga2, asha")
