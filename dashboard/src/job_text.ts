// What can be said of a job in a line: how far it is, how long it will take, how long it took.
import type { Evaluation, Job, Stage } from "./api";
import { direction, duration, figure, measured, metricName } from "./format";

/** The name of jobs that only sample, for the page Try it. */
export const TRIED = "try it";

/** "gptq → svd": what was done to the model, without what was only measured or written. */
export const methodsOf = (job: Job) =>
  job.stages
    .filter((stage) => !/^(evaluate|export|statistics): /.test(stage.name))
    .map((stage) => stage.name)
    .join(" → ");

/** "98.4 MB → 73.1 MB · Perplexity 23.94 → 24.61": bytes of weights, and the first quality whose better end is known. */
export function outcomeOf({ evaluations }: { evaluations: Evaluation[] }): string {
  const size = evaluations.find((row) => row.metric === "weight_bytes" && row.when === "after");
  const quality = evaluations.find((row) => row.when === "after" && row.suite !== "size" && !row.text && direction(row.metric) !== 0);
  const told = (row?: Evaluation) => {
    if (!row) return "";
    const before = evaluations.find((one) => one.suite === row.suite && one.metric === row.metric && one.when === "before")?.value ?? row.baseline_value;
    const now = measured(row.value, row.unit, row.metric);
    const name = row === size ? "" : metricName(row.metric) + " ";
    // Against the model itself: it agrees with itself wholly.
    const trivial = before === row.value || before === 0 || (before === 1 && row.unit !== "bytes");
    return before === undefined || trivial ? name + now : `${name}${measured(before, row.unit, row.metric)} → ${now}`;
  };
  return [told(size), told(quality)].filter(Boolean).join(" · ");
}

export const runningStage = (job: Job): Stage | undefined => job.stages.find((stage) => stage.state === "running");

/** Seconds that are left by what the engine expects, and whether stages without a forecast come on top. */
export function remaining(job: Job): { seconds: number; more: boolean } | null {
  const running = runningStage(job);
  if (!running) return null;
  let seconds = 0;
  let more = false;
  for (const stage of job.stages) {
    if (stage.state === "running") {
      if (stage.progress && stage.progress.eta_seconds > 0) seconds += stage.progress.eta_seconds;
      else more = true;
    }
    if (stage.state === "pending") {
      if (stage.forecast_seconds > 0) seconds += stage.forecast_seconds;
      else more = true;
    }
  }
  return seconds > 0 ? { seconds, more } : null;
}

export function remainingText(job: Job): string {
  const left = remaining(job);
  return left ? `${left.more ? "at least" : "about"} ${duration(left.seconds)} left` : "";
}

export function stageProgress(stage: Stage): number | null {
  const total = Number(stage.progress?.total ?? 0);
  return total > 0 ? Number(stage.progress!.done) / total : null;
}

export function progressText(stage: Stage): string {
  const p = stage.progress;
  if (!p) return "";
  return `${p.done}/${p.total} ${p.unit}${p.metric ? ` · ${p.metric} ${figure(p.value)}` : ""}`;
}

/** "3 jobs go first"; counted no further than `most`. */
export function aheadText(ahead: number, most: number): string {
  if (ahead === 0) return "";
  return `${ahead >= most ? `${most.toLocaleString("en")} or more` : ahead} ${ahead === 1 ? "job goes" : "jobs go"} first`;
}

/** Seconds that the newest attempt took or has taken. */
export function seconds(job: Pick<Job, "start_time" | "end_time">, now: number): number | null {
  if (!job.start_time) return null;
  return ((job.end_time ? Date.parse(job.end_time) : now) - Date.parse(job.start_time)) / 1000;
}
