// What can be said of a sweep and its trials without a screen.
import type { Objective, Sweep, Trial } from "./api";

export const ended = (sweep: Sweep) => Number(sweep.succeeded) + Number(sweep.failed) + Number(sweep.cancelled);

/** Share of the trials that are expected that have ended; null where nobody knows how many there will be. */
export function progress(sweep: Sweep): number | null {
  const expected = Number(sweep.expected_trials);
  return expected > 0 ? ended(sweep) / expected : null;
}

export function valueOf(trial: Trial, objective: { metric: string; suite: string }): number | undefined {
  return trial.metrics.find((m) => m.metric === objective.metric && (!objective.suite || m.suite === objective.suite))?.value;
}

/** A dimension's last word is what tells it from the others, as long as no two share it. */
export function dimensionNames(paths: string[]): string[] {
  const last = paths.map((path) => path.split(".").at(-1)!);
  return paths.map((path, i) => (last.filter((word) => word === last[i]).length > 1 ? path : last[i]));
}

/** The best value up to each trial that has one, by number: how far the search has come. */
export function bestSoFar(trials: Trial[], objective: Objective): [number, number][] {
  let best: number | undefined;
  return trials.flatMap((trial): [number, number][] => {
    const value = trial.feasible ? valueOf(trial, objective) : undefined;
    if (value === undefined) return [];
    best = best === undefined ? value : objective.maximise ? Math.max(best, value) : Math.min(best, value);
    return [[Number(trial.number), best]];
  });
}

/** Why it ended, in words for people. */
export function endWords(sweep: Sweep): string {
  const bound = /^bounds\.(trials|bytes|seconds) is reached$/.exec(sweep.end_reason)?.[1];
  if (bound === "trials") return `all ${Number(sweep.bounds?.trials ?? sweep.trials)} trials that it may make were made`;
  if (bound === "bytes") return "its results are as large as they may be";
  return bound ? "its time was over" : sweep.end_reason;
}

/** How many trials each fidelity has had, from the lowest. Empty where the strategy knows none. */
export function rungs(trials: Trial[]): { fidelity: string; trials: number; ended: number }[] {
  const all: { fidelity: string; trials: number; ended: number }[] = [];
  for (const trial of trials) {
    if (!trial.fidelity_json) continue;
    const rung = (all[trial.rung] ??= { fidelity: trial.fidelity_json, trials: 0, ended: 0 });
    ++rung.trials;
    if (trial.state === "SUCCEEDED" || trial.state === "FAILED") ++rung.ended;
  }
  return all.filter(Boolean);
}
