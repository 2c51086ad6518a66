// What the server says, as proto/wring/v1 defines it, and the calls that ask for it. 64-bit integers come as strings.

export type State = "QUEUED" | "RUNNING" | "CANCELLING" | "SUCCEEDED" | "FAILED" | "CANCELLED";

export type SweepState = "RUNNING" | "PAUSED" | "STOPPING" | "CANCELLING" | "SUCCEEDED" | "FAILED" | "STOPPED" | "CANCELLED";

export interface Progress {
  stage: number;
  done: string;
  total: string;
  unit: string;
  metric: string;
  value: number;
  eta_seconds: number;
}
export interface Stage {
  index: number;
  name: string;
  state: "pending" | "running" | "done" | "cached";
  seconds: number;
  peak_bytes: string;
  key: string;
  report_json: string;
  progress?: Progress;
  forecast_seconds: number;
  forecast_peak_bytes: string;
  forecast_bytes_before: string; // of the weights that it is to change
  forecast_bytes_after: string;
  cached_in: string; // where a cached step's output came from: "worker", "project"; "skipped": nothing needed it
  cached_bytes: string;
  saved_seconds: number;
}
export interface Evaluation {
  job_id: string;
  artifact: string;
  suite: string;
  metric: string;
  value: number;
  unit: string;
  n: string;
  stderr?: number;
  baseline_value?: number;
  change_stderr?: number; // of value - baseline_value, paired by window
  hardware: string;
  when: string;
  text: string;
}
export interface JobSpec {
  name: string;
  recipe: string;
  model: string;
  data: Record<string, string>;
  seed: string;
  priority: number;
  project: string;
  plan_only: boolean; // it ends where its first stage would begin
  resources?: { device: string; device_count: number; memory_bytes: string; threads: number; processes: number; worker_class?: string };
  retry?: { max_attempts: number };
  max_runtime_seconds: number;
  queued_timeout_seconds: number;
  total_timeout_seconds: number;
  retention?: { pinned: boolean; expire_after_seconds: number };
}
export interface JobError {
  code: string;
  reason: string;
  message: string;
  field: string;
  hint: string;
  stage: number;
  signal: number;
  last_log: string;
}
export interface Job {
  id: string;
  spec: JobSpec;
  state: State;
  etag: string;
  create_time?: string;
  start_time?: string;
  end_time?: string;
  attempt: number;
  worker: string;
  waiting_reason: string;
  stages: Stage[];
  result: string;
  error?: JobError;
  recipe_digest: string;
  evaluations: Evaluation[];
  paused: boolean;
  sweep: string; // whose trial it is; empty: none's
  trial: string;
  ahead: number; // while queued: jobs of its project with the same needs that go first; 1,000 at most, in lists 100
}
export interface JobEvent {
  number: string;
  time: string;
  type: string;
  state: string;
  attempt: number;
  payload_json: string;
}
export interface LogLine {
  number: string;
  time: string;
  text: string;
}
export interface Objective {
  metric: string;
  suite: string;
  maximise: boolean;
}
export interface Sweep {
  id: string;
  spec: { name: string; sweep: string; recipe: string; project: string };
  state: SweepState;
  etag: string;
  create_time?: string;
  end_time?: string;
  strategy: string;
  strategy_state: string;
  dimensions: string[];
  objectives: Objective[];
  constraints: { metric: string; suite: string; minimum?: number; maximum?: number; of_input: boolean }[];
  bounds?: { trials: string; seconds: number; bytes: string };
  parallel: string;
  expected_trials: string;
  trials: string;
  queued: string;
  running: string;
  succeeded: string;
  failed: string;
  cancelled: string;
  bytes: string;
  waiting_reason: string;
  exhausted: boolean;
  end_reason: string;
  models: string[]; // what its inputs name
  datasets: string[];
}
export interface Trial {
  number: string;
  job_id: string;
  state: State;
  values_json: string[]; // of the sweep's dimensions
  rung: number;
  fidelity_json: string;
  parent: string;
  metrics: { suite: string; metric: string; value: number; stderr?: number; unit: string }[];
  feasible: boolean;
  result: string;
  bytes: string;
  seconds: number;
  error?: JobError;
}
export interface Front {
  trials: Trial[];
  objectives: Objective[];
  any_feasible: boolean;
  nearest?: Trial;
}
export interface Savings {
  stages: string;
  cached: string; // of them
  bytes: string;
  seconds: number;
}
export interface Artifact {
  digest: string;
  kind: string;
  total_bytes: string;
  file_count: number;
  create_time: string;
  manifest_json: string;
  name: string;
  created_by_job: string;
  pinned: boolean;
  expire_time?: string;
  project: string;
  format: string;
}
export interface Manifest {
  files: { path: string; size: number; chunks: { sha256: string; size: number }[] }[];
  kind: string;
  metadata: Record<string, unknown>;
}
export interface Worker {
  id: string;
  name: string;
  classes?: string[]; // of machines, which jobs may ask for
  devices: { kind: string; index: number; name: string; memory_bytes: string; threads: number }[];
  methods: string[];
  version: string;
  last_seen: string;
  jobs: string[];
  draining: boolean;
  paused: boolean;
  use?: WorkerUse;
}
export interface WorkerUse {
  devices: { kind: string; index: number; memory_bytes?: string; total_memory_bytes?: string; busy?: number }[];
  cache_bytes: string;
  cache_limit_bytes: string;
  cache_claimed_bytes: string; // of blobs that jobs needed
  cache_missed_bytes: string; // of them, those that were fetched
}
export interface System {
  version: string;
  start_time: string;
  stored_bytes: string;
  disk_free_bytes: string; // "0", both, to callers of one project
  disk_bytes: string;
  stage_outputs: string;
  stage_output_bytes: string;
  stages?: { made: string; from_worker: string; from_project: string; skipped: string }; // of all projects, since the server's start
}
export interface Quota {
  queued: string; // 0: no limit
  running: string;
  bytes: string;
}
export interface Project {
  name: string;
  paused: boolean;
  queued: string;
  running: string;
  bytes: string;
  quota?: Quota;
}
export interface Token {
  id: string;
  name: string;
  scope: string;
  project: string; // empty: all
  create_time: string;
  expire_time?: string;
  revoke_time?: string;
}
export interface Session {
  login: boolean; // whether the server asks for a token
  caller: string; // empty: not logged in
  scope: string;
  project: string; // empty: all
}
export type Value = string | number | boolean | null | Value[] | { [key: string]: Value };
export interface Parameter {
  name: string;
  type: string;
  unit: string;
  default: Value;
  min?: number;
  max?: number;
  choices?: Value[];
  help: string;
}
export interface MethodSpec {
  name: string;
  version: number;
  kind: string;
  summary: string;
  papers: { title: string; venue: string; arxiv?: string }[];
  takes: string[];
  needs: string[];
  parameters: Parameter[];
}
export interface NormalForm {
  name: string;
  stages: { method: string; version: number; params: Record<string, Value>; targets: string[]; ignore: string[] }[];
  evaluations: { suite: string; version: number; params: Record<string, Value>; when: string[] }[];
  exports?: { format: string; version: number; params: Record<string, Value> }[];
}

/** An answer that is no success: RFC 9457, with the field and the way out. */
export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly reason: string,
    message: string,
    readonly field = "",
    readonly hint = "",
  ) {
    super(message);
  }
}

/** Whether the server knows of no such thing: asked again, it would not either. */
export const isGone = (error: unknown) => error instanceof Problem && error.status === 404;

/** For refetchInterval: how often to ask, until it is gone. */
export const unlessGone =
  <T>(every: (data?: T) => number | false) =>
  ({ state }: { state: { data?: T; error: unknown } }) =>
    isGone(state.error) ? false : every(state.data);

const unreachable = () =>
  new Problem(0, "UNREACHABLE", "The server does not answer.", "", "Is wring-server running? This page goes on by itself when it is back.");

// How many milliseconds the browser's clock is ahead of the server's; 0 where whole seconds and the answer's way explain it.
let ahead = 0;
let newest = 0; // of the server's times: what the browser kept has an old one

function noteTime(date: string | null) {
  const time = Date.parse(date ?? "");
  if (!(time >= newest)) return;
  newest = time;
  const away = Date.now() - time;
  ahead = away > 5000 || away < -2000 ? away : 0;
}

/** The time by the server's clock, which all times of its answers are of. */
export const serverNow = () => Date.now() - ahead;

async function ask(path: string, init?: RequestInit): Promise<Response> {
  const response = await fetch(path, init).catch(() => {
    throw unreachable();
  });
  noteTime(response.headers.get("Date"));
  if (response.ok) return response;
  const text = await response.text();
  let problem: { reason?: string; detail?: string; field?: string; hint?: string } = {};
  try {
    problem = JSON.parse(text);
  } catch {
    // not ours: a proxy's page
  }
  throw new Problem(
    response.status,
    problem.reason ?? "HTTP_" + response.status,
    problem.detail ?? "The server answered " + response.status + ".",
    problem.field,
    problem.hint,
  );
}

const PATIENCE = 30_000; // milliseconds, to the answer's end: a server may also take a call and say nothing

/** The text of an answer that is to come soon. */
async function askSoon(path: string, init?: RequestInit): Promise<string> {
  const late = new AbortController();
  const stop = () => late.abort();
  const timer = setTimeout(stop, PATIENCE);
  init?.signal?.addEventListener("abort", stop);
  try {
    const response = await ask(path, { ...init, signal: late.signal });
    return await response.text();
  } catch (error) {
    throw error instanceof Problem ? error : unreachable();
  } finally {
    clearTimeout(timer);
    init?.signal?.removeEventListener("abort", stop);
  }
}

// Names of states without their prefix.
function parse<T>(text: string): T {
  return JSON.parse(text, (key, value) => (key === "state" && typeof value === "string" ? value.replace(/^(JOB|SWEEP)_STATE_/, "") : value));
}

export type Query = Record<string, string | number | string[] | undefined>;

/** "queued,failed" as the query says it. */
export const stateNames = (states: string) =>
  states
    .split(",")
    .filter(Boolean)
    .map((state) => "JOB_STATE_" + state.toUpperCase());

/** GET. The browser keeps the answer under its ETag and asks again with If-None-Match. */
export async function get<T>(path: string, query: Query = {}, signal?: AbortSignal): Promise<T> {
  const words = Object.entries(query).flatMap(([key, value]) =>
    (Array.isArray(value) ? value : value === undefined || value === "" ? [] : [value]).map((one) => `${key}=${encodeURIComponent(one)}`),
  );
  return parse<T>(await askSoon(`/api/v1/${path}${words.length ? "?" + words.join("&") : ""}`, { signal }));
}

export async function post<T>(path: string, body: unknown): Promise<T> {
  const init = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  return parse<T>(await askSoon("/api/v1/" + path, init));
}

export async function remove(path: string): Promise<void> {
  await askSoon("/api/v1/" + path, { method: "DELETE" });
}

export function fileUrl(digest: string, path: string): string {
  return `/api/v1/artifacts/${digest}/files/${path.split("/").map(encodeURIComponent).join("/")}`;
}

/** A part of an artifact's file: [from, to) in bytes. */
export async function fileBytes(digest: string, path: string, from?: number, to?: number): Promise<ArrayBuffer> {
  const headers: Record<string, string> = from === undefined ? {} : { Range: `bytes=${from}-${(to ?? from + 1) - 1}` };
  return (await ask(fileUrl(digest, path), { headers })).arrayBuffer();
}

const MOST_LISTED = 10_000;

/** All pages of a list; `more`: there are others beside these. */
export async function listed<T>(path: string, key: string, query: Query = {}, most = MOST_LISTED): Promise<{ all: T[]; more: boolean }> {
  const all: T[] = [];
  for (let page_token = ""; ; ) {
    const page = await get<Record<string, unknown>>(path, { ...query, page_size: 1000, page_token });
    all.push(...(page[key] as T[]));
    page_token = page.next_page_token as string;
    if (!page_token || all.length >= most) return { all, more: Boolean(page_token) };
  }
}

/** The job's events after that number. */
export async function events(id: string, after: string): Promise<JobEvent[]> {
  const all: JobEvent[] = [];
  for (;;) {
    const page = await get<{ events: JobEvent[] }>(`jobs/${id}/events`, { after: all.at(-1)?.number ?? after });
    all.push(...page.events);
    if (page.events.length < 1000) return all;
  }
}

export async function methodSpecs(): Promise<MethodSpec[]> {
  const page = await get<{ methods: { spec_json: string }[] }>("methods", { page_size: 1000 });
  return page.methods.map((method) => JSON.parse(method.spec_json));
}

/** As the server reads a recipe: every parameter with its value. */
export async function normalForm(recipe: string): Promise<NormalForm> {
  return JSON.parse((await post<{ normal_form_json: string }>("recipes/validate", { recipe })).normal_form_json);
}

export const isActive = (state: State) => state === "QUEUED" || state === "RUNNING" || state === "CANCELLING";

export const goesOn = (state: SweepState) => state === "RUNNING" || state === "PAUSED" || state === "STOPPING" || state === "CANCELLING";

/** Random, version 4; crypto.randomUUID is absent where the page came over plain HTTP from another machine. */
export function uuid(): string {
  const b = crypto.getRandomValues(new Uint8Array(16));
  b[6] = (b[6] & 15) | 64;
  b[8] = (b[8] & 63) | 128;
  const hex = [...b].map((x) => x.toString(16).padStart(2, "0")).join("");
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}
