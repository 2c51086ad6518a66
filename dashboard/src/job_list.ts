// The newest part of a list of jobs, as far as it was scrolled: put together from the server's pages, which are asked for
// again where they are on the screen, in any order.
import type { Job, Stage, State } from "./api";
import { methodsOf, remainingText, runningStage } from "./job_text";

export interface Page {
  jobs: Job[];
  next_page_token: string;
}

/** What a row shows of a job; the job itself, with its stages, would be too much for 100,000 of them. */
export interface JobLine {
  id: string;
  name: string;
  project: string;
  model: string;
  methods: string; // "gptq → svd"
  measured: boolean;
  state: State;
  waiting: string;
  ahead: number; // at most 100
  error: string;
  steps: number;
  cached: number;
  running?: Stage;
  left: string;
  made: number; // milliseconds, as create_time
  create_time?: string;
  start_time?: string;
  end_time?: string;
}

/** One page of the server's: the rows from `start` to the next chunk's. */
interface Chunk {
  token: string;
  start: number;
}

/** How many rows are asked for from `start` on: far down, where each page has a long list copied, fewer and larger ones. */
export const pageSize = (start: number) => (start < 1000 ? 50 : 200);

/** Asks the server for the page of a token. */
type Ask = (token: string, size: number) => Promise<Page>;

export interface JobList {
  lines: JobLine[]; // newest first
  chunks: Chunk[]; // by start; the first is the list's head
  next: string; // the token of what comes after, empty at the end
  projects: string[]; // whose jobs were listed
}

export const NOTHING: JobList = { lines: [], chunks: [], next: "", projects: [] };

/** With those of some lines; the same list where none is new. */
function joined(projects: string[], lines: JobLine[]): string[] {
  const others = new Set(lines.map((line) => line.project).filter((name) => !projects.includes(name)));
  return others.size > 0 ? [...projects, ...others] : projects;
}

function line(job: Job): JobLine {
  return {
    id: job.id,
    name: job.spec.name,
    project: job.spec.project,
    model: job.spec.model,
    methods: methodsOf(job),
    measured: job.stages.some((stage) => stage.name.startsWith("evaluate: ")),
    state: job.state,
    waiting: job.waiting_reason,
    ahead: job.ahead,
    error: job.error?.message ?? "",
    steps: job.stages.length,
    cached: job.stages.filter((stage) => stage.state === "cached").length,
    running: runningStage(job),
    left: remainingText(job),
    made: Date.parse(job.create_time ?? ""),
    create_time: job.create_time,
    start_time: job.start_time,
    end_time: job.end_time,
  };
}

/** The chunk that holds the row. */
export function chunkAt(list: JobList, row: number): number {
  let low = 0;
  for (let high = list.chunks.length; low + 1 < high; ) {
    const middle = (low + high) >> 1;
    if (list.chunks[middle].start <= row) low = middle;
    else high = middle;
  }
  return low;
}

/** The page's jobs, but for those that the rows before `start` end with: they moved between two calls. */
function linesOf(page: Page, lines: JobLine[], start: number): JobLine[] {
  const earlier = new Set(lines.slice(Math.max(0, start - page.jobs.length), start).map((one) => one.id));
  return page.jobs.filter((job) => !earlier.has(job.id)).map(line);
}

/** The rows on the screen: [first, last]. */
export interface Shown {
  first: number;
  last: number;
}

/**
 * Asks again for the head of the list and for all that is on the screen, from the top down, and for what follows as far
 * as `last`.
 */
export async function renew(list: JobList, shown: Shown, last: number, ask: Ask): Promise<JobList> {
  if (list.chunks.length === 0) list = append(list, await ask("", pageSize(0)));
  else list = refresh(list, 0, await ask("", pageSize(0)));
  for (let index = Math.max(1, chunkAt(list, shown.first)); index < list.chunks.length && list.chunks[index].start <= shown.last; ++index) {
    const { token, start } = list.chunks[index];
    list = refresh(list, index, await ask(token, pageSize(start)));
  }
  while (list.next && list.lines.length <= last) list = append(list, await ask(list.next, pageSize(list.lines.length)));
  return list;
}

/** Adds the page that follows the list. */
export function append(list: JobList, page: Page): JobList {
  const fresh = linesOf(page, list.lines, list.lines.length);
  return {
    lines: list.lines.concat(fresh),
    projects: joined(list.projects, fresh),
    chunks: list.chunks.concat({ token: list.next, start: list.lines.length }),
    next: page.next_page_token,
  };
}

/** Lines are flat but for the stage that runs. */
function isSame(a: JobLine, b: JobLine): boolean {
  return (Object.keys(a) as (keyof JobLine)[]).every((key) => a[key] === b[key] || (key === "running" && JSON.stringify(a[key]) === JSON.stringify(b[key])));
}

/**
 * Puts the chunk's page, asked for again, in the place of the rows that it is about. What follows on the page begins a
 * chunk of its own, in the place of those that began within.
 */
export function refresh(list: JobList, index: number, page: Page): JobList {
  const { start } = list.chunks[index];
  const fresh = linesOf(page, list.lines, start).map((one, i) => {
    const known = list.lines.at(start + i);
    return known && isSame(one, known) ? known : one;
  });
  // Where nothing has changed the list is what it was: a copy of 100,000 rows would be drawn anew.
  const follows = list.chunks.at(index + 1);
  if (
    page.next_page_token === (follows ? follows.token : list.next) &&
    start + fresh.length === (follows ? follows.start : list.lines.length) &&
    fresh.every((one, i) => one === list.lines[start + i])
  )
    return list;
  const before = list.lines.slice(0, start);
  const projects = joined(list.projects, fresh);
  const chunks = list.chunks.slice(0, index + 1);
  if (!page.next_page_token) return { lines: before.concat(fresh), chunks, next: "", projects };
  const ids = new Set(fresh.map((one) => one.id));
  const oldest = fresh.at(-1)?.made ?? 0;
  let end = start; // of those rows: what is newer than the page's last job and not on the page fits the filter no more
  for (let i = start; i < list.lines.length && list.lines[i].made >= oldest; ++i)
    if (ids.has(list.lines[i].id) || list.lines[i].made > oldest) end = i + 1;
  if (end === list.lines.length) return { lines: before.concat(fresh), chunks, next: page.next_page_token, projects };
  chunks.push({ token: page.next_page_token, start: start + fresh.length });
  const moved = start + fresh.length - end;
  for (const chunk of list.chunks) if (chunk.start > end) chunks.push({ ...chunk, start: chunk.start + moved });
  return { lines: before.concat(fresh, list.lines.slice(end)), chunks, next: list.next, projects };
}
