// What can be said of a job in a line: how far it is, how long it will take, how long it took.
import { type Evaluation, type Job, serverNow, type Stage } from "./api";
import { changeText, direction, duration, figure, measured, shortName } from "./format";

/** The name of jobs that only sample, for the page Try it. */
export const TRIED = "try it";

/** "gptq → svd": what was done to the model, without what was only measured or written. */
export const methodsOf = (job: Job) =>
  job.stages
    .filter((stage) => !/^(evaluate|export|statistics): /.test(stage.name))
    .map((stage) => stage.name)
    .join(" → ");

/** A figure of a result: "perplexity", "24.61", "23.94", "+2.8 %". */
export interface Outcome {
  name: string;
  now: string;
  before: string; // of what was handed in; empty, with `change`: it says nothing
  change: string;
}

/** Bytes of weights, and the first quality whose better end is known. */
export function outcomeOf({ evaluations }: { evaluations: Evaluation[] }): { size?: Outcome; quality?: Outcome } {
  const told = (row?: Evaluation): Outcome | undefined => {
    if (!row) return undefined;
    const before = evaluations.find((one) => one.suite === row.suite && one.metric === row.metric && one.when === "before")?.value ?? row.baseline_value;
    // Against the model itself: it agrees with itself wholly, but for rounding.
    const trivial = before === undefined || before === row.value || before === 0 || (Math.abs(before - 1) < 1e-4 && row.unit !== "bytes");
    return {
      name: shortName(row.metric),
      now: measured(row.value, row.unit, row.metric),
      before: trivial ? "" : measured(before, row.unit, row.metric),
      change: trivial ? "" : changeText(before, row.value),
    };
  };
  const after = evaluations.filter((row) => row.when === "after");
  return {
    size: told(after.find((row) => row.metric === "weight_bytes")),
    quality: told(after.find((row) => row.suite !== "size" && !row.text && direction(row.metric) !== 0)),
  };
}

export const runningStage = (job: Job): Stage | undefined => job.stages.find((stage) => stage.state === "running");

/** Seconds that are left by what the engine expects, and whether they are the least: stages without a forecast come on top. */
export function remaining(job: Job, now = serverNow()): { seconds: number; more: boolean } | null {
  const running = runningStage(job);
  if (!running) return null;
  let seconds = 0;
  let more = false;
  for (const stage of job.stages) {
    if (stage.state === "running") {
      if (stage.progress && stage.progress.eta_seconds > 0) {
        seconds += stage.progress.eta_seconds;
      } else {
        more = true;
        // Of what the attempt has taken, that which its ended stages did not; those of an earlier attempt are counted with them.
        const before = job.stages.reduce((sum, one) => sum + (one.state === "done" ? one.seconds : 0), 0);
        const gone = job.start_time ? (now - Date.parse(job.start_time)) / 1000 - before : 0;
        seconds += Math.max(0, stage.forecast_seconds - Math.max(0, gone));
      }
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

/** Seconds that the newest attempt took or has taken; of a job that waits, for the first time or again, none. */
export function seconds(job: Pick<Job, "state" | "start_time" | "end_time">, now: number): number | null {
  if (!job.start_time || job.state === "QUEUED") return null;
  return ((job.end_time ? Date.parse(job.end_time) : now) - Date.parse(job.start_time)) / 1000;
}
