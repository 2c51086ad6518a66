// The history of a job from its events: attempts, and in each the time that every step took.
import { isActive, type Job, type JobEvent } from "./api";

export interface Span {
  index: number;
  name: string;
  start: number;
  end: number | null; // null: still running
  state: "done" | "cached" | "running" | "broken off";
}
export interface Attempt {
  number: number;
  worker: string;
  start: number;
  end: number | null;
  ending: string; // "", or the event that ended it with its reason
  spans: Span[];
}

interface Payload {
  worker?: string;
  index?: number;
  name?: string;
  state?: string;
  reason?: string;
  error?: { message?: string; reason?: string };
}

export function payload(event: JobEvent): Payload {
  try {
    return JSON.parse(event.payload_json) ?? {};
  } catch {
    return {};
  }
}

/** What went wrong, before what was made of it ("attempt failed"). */
export const why = (said: Payload) => said.error?.message ?? said.reason ?? "";

const ENDINGS = ["released", "paused", "succeeded", "failed", "cancelled"];

export function attempts(events: JobEvent[]): Attempt[] {
  const all: Attempt[] = [];
  for (const event of events) {
    const time = Date.parse(event.time);
    const said = payload(event);
    const now = all.at(-1);
    if (event.type === "leased") {
      all.push({ number: event.attempt, worker: said.worker ?? "", start: time, end: null, ending: "", spans: [] });
    } else if (!now) {
      continue;
    } else if (event.type === "stage_started") {
      now.spans.push({ index: said.index ?? 0, name: said.name ?? "", start: time, end: null, state: "running" });
    } else if (event.type === "stage_done") {
      const state = said.state === "cached" ? "cached" : "done";
      const span = now.spans.findLast((s) => s.index === said.index && s.end === null);
      if (span) Object.assign(span, { end: time, state });
      else now.spans.push({ index: said.index ?? 0, name: said.name ?? "", start: time, end: time, state });
    } else if (ENDINGS.includes(event.type) && now.end === null) {
      now.end = time;
      now.ending = [event.type, why(said)].filter(Boolean).join(": ");
      for (const span of now.spans) if (span.end === null) Object.assign(span, { end: time, state: "broken off" });
    }
  }
  return all;
}

/** When each step of a running attempt that has not ended is expected to run, one after the other; those that nobody has forecast take no time. */
export function outlook(job: Job, newest: Attempt | undefined, now: number): Map<number, [number, number]> {
  const ahead = new Map<number, [number, number]>();
  if (!newest || newest.end !== null || !isActive(job.state)) return ahead;
  let at = now;
  for (const { index, forecast_seconds, progress } of job.stages) {
    const span = newest.spans.findLast((one) => one.index === index);
    if (span && span.end !== null) continue;
    const from = span?.start ?? at;
    const eta = (span && progress?.eta_seconds) || 0;
    at = Math.max(at, eta > 0 ? now + eta * 1000 : from + Math.max(0, forecast_seconds) * 1000);
    if (at > from && (eta > 0 || forecast_seconds > 0)) ahead.set(index, [from, at]);
  }
  return ahead;
}

/** From the first lease to the end; to what is expected of it while it runs. */
export function extent(job: Job, all: Attempt[], ahead: Map<number, [number, number]>, now: number): [number, number] {
  const start = all[0]?.start ?? now;
  const end = job.end_time ? Date.parse(job.end_time) : Math.max(now, ...[...ahead.values()].map(([, to]) => to));
  return [start, Math.max(end, start + 1000)];
}

/** Round distances for a time axis: at most `most` of them fit into `seconds`. */
export function tick(seconds: number, most = 8): number {
  for (const step of [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400])
    if (seconds / step <= most) return step;
  return 86400 * Math.ceil(seconds / most / 86400);
}
