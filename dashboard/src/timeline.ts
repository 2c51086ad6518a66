// The history of a job from its events: attempts, and in each the time that every step took.
import type { Job, JobEvent } from "./api";

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
      now.ending = [event.type, said.reason ?? said.error?.message ?? ""].filter(Boolean).join(": ");
      for (const span of now.spans) if (span.end === null) Object.assign(span, { end: time, state: "broken off" });
    }
  }
  return all;
}

/** From the first lease to the end, or to now. */
export function extent(job: Job, all: Attempt[], now: number): [number, number] {
  const start = all[0]?.start ?? now;
  const end = job.end_time ? Date.parse(job.end_time) : now;
  return [start, Math.max(end, start + 1000)];
}

/** Round distances for a time axis: at most `most` of them fit into `seconds`. */
export function tick(seconds: number, most = 8): number {
  for (const step of [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400])
    if (seconds / step <= most) return step;
  return 86400 * Math.ceil(seconds / most / 86400);
}
