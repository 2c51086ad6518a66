// What a job asks for beside its recipe: where it runs, how long it may take, how long its results are kept. As the texts of a form, and as a job has them.
import type { JobSpec } from "./api";
import { parseBytes } from "./format";

/** Empty: as the server or the worker has it. */
export interface Limits {
  device: string;
  processes: string;
  threads: string;
  memory: string;
  runtime: string;
  queued: string;
  total: string;
  attempts: string;
  kept: string; // "pinned", or how long after its success
}

const SECONDS: [string, number][] = [
  ["d", 86400],
  ["h", 3600],
  ["m", 60],
  ["s", 1],
];

/** "90s", "10m", "2h", "30d"; undefined: it is no time. */
export function parseSeconds(text: string): number | undefined {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([smhd])\s*$/.exec(text);
  return match ? Number(match[1]) * SECONDS.find(([unit]) => unit === match[2])![1] : undefined;
}

/** The other way, exactly: in the largest unit of which it is a whole number. */
function secondsText(seconds = 0): string {
  const [unit, length] = SECONDS.find(([, length]) => seconds % length === 0) ?? SECONDS[3];
  return seconds > 0 ? `${seconds / length}${unit}` : "";
}

const SIZES: [string, number][] = [
  ["GB", 1e9],
  ["GiB", 1024 ** 3],
  ["MB", 1e6],
  ["MiB", 1024 ** 2],
  ["kB", 1e3],
  ["B", 1],
];

function sizeText(bytes = 0): string {
  const [unit, size] = SIZES.find(([, size]) => bytes % size === 0)!;
  return bytes > 0 ? `${bytes / size}${unit}` : "";
}

const countText = (count?: number) => (count ? String(count) : "");

export function limitsOf(spec?: JobSpec): Limits {
  const { resources, retry, retention } = spec ?? {};
  return {
    device: resources?.device || "cpu",
    processes: String(resources?.processes || 1),
    threads: countText(resources?.threads),
    memory: sizeText(Number(resources?.memory_bytes ?? 0)),
    runtime: secondsText(spec?.max_runtime_seconds),
    queued: secondsText(spec?.queued_timeout_seconds),
    total: secondsText(spec?.total_timeout_seconds),
    attempts: countText(retry?.max_attempts),
    kept: retention?.pinned ? "pinned" : secondsText(retention?.expire_after_seconds),
  };
}

const isCount = (text: string) => /^\s*\d*\s*$/.test(text);

/** What is wrong with which of them. */
export function wrongIn(limits: Limits): Partial<Record<keyof Limits, string>> {
  const wrong: Partial<Record<keyof Limits, string>> = {};
  for (const key of ["threads", "attempts"] as const) if (!isCount(limits[key])) wrong[key] = "A whole number, or nothing.";
  for (const key of ["runtime", "queued", "total"] as const)
    if (limits[key].trim() && parseSeconds(limits[key]) === undefined) wrong[key] = "A number and a unit: 90s, 10m, 2h or 1d.";
  if (limits.memory.trim() && parseBytes(limits.memory) === undefined) wrong.memory = "A number and a unit: 4GB or 512MiB.";
  return wrong;
}

const FIELDS: Record<string, keyof Limits> = {
  "spec.resources.device": "device",
  "spec.resources.processes": "processes",
  "spec.resources.threads": "threads",
  "spec.resources.memory_bytes": "memory",
  "spec.max_runtime_seconds": "runtime",
  "spec.queued_timeout_seconds": "queued",
  "spec.total_timeout_seconds": "total",
  "spec.retry.max_attempts": "attempts",
};
/** Which of them a field of the API is. */
export const limitOf = (field: string): keyof Limits | undefined => FIELDS[field] ?? (field.startsWith("spec.retention") ? "kept" : undefined);

/** The members of a job's spec, where nothing is wrong; what was left as it was in `start` says the same. */
export function specOf(limits: Limits, start?: JobSpec): Partial<JobSpec> {
  const was = limitsOf(start);
  const same = (...keys: (keyof Limits)[]) => keys.every((key) => limits[key] === was[key]);
  const seconds = (text: string) => parseSeconds(text) ?? 0;
  const kept = limits.kept === "pinned" ? { pinned: true, expire_after_seconds: 0 } : { pinned: false, expire_after_seconds: seconds(limits.kept) };
  return {
    resources: same("device", "processes", "threads", "memory")
      ? start?.resources
      : {
          device: limits.device,
          device_count: 0,
          memory_bytes: String(parseBytes(limits.memory) ?? 0),
          threads: Number(limits.threads),
          processes: Number(limits.processes),
          worker_class: start?.resources?.worker_class ?? "",
        },
    retry: same("attempts") ? start?.retry : { max_attempts: Number(limits.attempts) },
    max_runtime_seconds: seconds(limits.runtime),
    queued_timeout_seconds: seconds(limits.queued),
    total_timeout_seconds: seconds(limits.total),
    retention: same("kept") ? start?.retention : kept,
  };
}

/** "cuda, 2 processes, 4GB": what differs from a worker's own way, in few words; empty: nothing. */
export function limitsText(limits: Limits): string {
  return [
    limits.device !== "cpu" && limits.device,
    limits.processes !== "1" && `${limits.processes} processes`,
    limits.threads && `${limits.threads} ${limits.threads === "1" ? "thread" : "threads"}${limits.processes === "1" ? "" : " each"}`,
    limits.memory && `${limits.memory} of memory`,
    limits.runtime && `${limits.runtime} an attempt`,
    limits.queued && `waits at most ${limits.queued}`,
    limits.total && `${limits.total} in all`,
    limits.attempts && `${limits.attempts} ${limits.attempts === "1" ? "attempt" : "attempts"}`,
    limits.kept && (limits.kept === "pinned" ? "results pinned" : `results kept ${limits.kept}`),
  ]
    .filter(Boolean)
    .join(", ");
}
