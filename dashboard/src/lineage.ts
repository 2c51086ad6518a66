// Where an artifact came from and what was made of it, and under which licence it stands.
import { type Artifact, type Evaluation, fileBytes, get, isGone, type Job, listed, type Manifest, stateNames } from "./api";
import { ggufLicence } from "./gguf";

const DEEPEST = 100; // jobs from a model to the first
const MOST = 50; // artifacts in a lineage
const MOST_ABOVE = 20; // of them, those that went in
const MOST_IN_LEVEL = 12; // of them, those that are equally far from the artifact, among what was made
const JOBS_ASKED = 100; // of each model

export interface LineageNode {
  digest: string;
  artifact?: Artifact; // undefined: it was deleted
  level: number; // 0: the artifact itself; below: what went in; above: what was made
  more?: { count: number; open: boolean }; // what else was made of it; open: and perhaps yet more
}

/** Jobs that made the one from the other. */
export interface LineageEdge {
  from: string;
  to: string;
  data: string; // the name of their input; empty: their model
  jobs: Job[]; // newest first
}

export interface Lineage {
  nodes: LineageNode[]; // by level
  edges: LineageEdge[];
  cut: boolean; // whether more went in than is here
}

const ifThere = (error: unknown) => {
  if (isGone(error)) return undefined; // it was deleted
  throw error;
};
const artifactOf = (digest: string) => get<Artifact>(`artifacts/${digest}`).catch(ifThere);
const jobOf = (id: string) => get<Job>(`jobs/${id}`).catch(ifThere);

type Nodes = Map<string, LineageNode>; // by digest

/** What went in: models, data sets and teachers, what these were made from, and so on. Returns whether that was all. */
async function addAncestors(nodes: Nodes, edges: LineageEdge[], root: LineageNode): Promise<boolean> {
  let level = [root];
  while (level.length > 0) {
    const makers = await Promise.all(level.map(({ artifact }) => (artifact?.created_by_job ? jobOf(artifact.created_by_job) : undefined)));
    const inputs = level.flatMap((node, i): LineageEdge[] => {
      const job = makers[i];
      if (!job) return [];
      const all = [["", job.spec.model], ...Object.entries(job.spec.data)];
      return all.map(([data, from]) => ({ from, to: node.digest, data, jobs: [job] }));
    });
    const fresh = [...new Set(inputs.map(({ from }) => from))].filter((digest) => !nodes.has(digest));
    const taken = fresh.slice(0, MOST_ABOVE - nodes.size);
    level = await Promise.all(taken.map(async (digest) => ({ digest, artifact: await artifactOf(digest), level: level[0].level - 1 })));
    for (const node of level) nodes.set(node.digest, node);
    edges.push(...inputs.filter(({ from }) => nodes.has(from)));
    if (taken.length < fresh.length) return false;
  }
  return true;
}

/** What jobs made of a model. */
interface Made {
  results: [digest: string, Job[]][]; // newest first
  open: boolean; // whether there are more jobs than were asked for
}

async function madeOf(model: string): Promise<Made> {
  const asked = { model, states: stateNames("succeeded"), page_size: JOBS_ASKED };
  const { jobs, next_page_token } = await get<{ jobs: Job[]; next_page_token: string }>("jobs", asked);
  const results = new Map<string, Job[]>();
  for (const job of jobs) if (job.result && job.result !== model) results.set(job.result, [...(results.get(job.result) ?? []), job]);
  return { results: [...results], open: next_page_token !== "" };
}

/** The first of each list, then the second of each, and so on. */
function inTurn<T>(lists: T[][]): T[] {
  const longest = Math.max(0, ...lists.map((list) => list.length));
  return Array.from({ length: longest }, (_, turn) => lists.flatMap((list) => list.slice(turn, turn + 1))).flat();
}

/** What jobs made of it, and of that: the newest of each. Those that were deleted are left out, unless something was made of them. */
async function addDescendants(nodes: Nodes, edges: LineageEdge[], root: LineageNode) {
  const asked = new Map<string, Promise<Made>>();
  const made = (digest: string) => {
    if (!asked.has(digest)) asked.set(digest, madeOf(digest));
    return asked.get(digest)!;
  };
  const known = async (digest: string, level: number): Promise<LineageNode | undefined> => {
    const artifact = await artifactOf(digest);
    return artifact || (await made(digest)).results.length > 0 ? { digest, artifact, level } : undefined;
  };
  for (let level = [root]; level.length > 0; ) {
    const all = await Promise.all(level.map(({ digest }) => made(digest)));
    const line = inTurn(level.map((from, i) => all[i].results.map(([to, jobs]) => ({ from, to, jobs }))));
    const next: LineageNode[] = [];
    const room = () => Math.min(MOST_IN_LEVEL - next.length, MOST - nodes.size);
    while (line.length > 0 && room() > 0) {
      const some = line.splice(0, room());
      const these = await Promise.all(some.map(({ from, to }) => nodes.get(to) ?? known(to, from.level + 1)));
      some.forEach(({ from, to, jobs }, i) => {
        const node = these[i];
        if (!node) return;
        edges.push({ from: from.digest, to, data: "", jobs });
        if (nodes.has(to)) return;
        nodes.set(to, node);
        next.push(node);
      });
    }
    level.forEach((node, i) => {
      const count = line.filter(({ from }) => from === node).length;
      if (count > 0 || all[i].open) node.more = { count, open: all[i].open };
    });
    level = next;
  }
}

/** What was made of it may have taught what else was. Data that went in is not looked for there: it would lead to all. */
function addTeachers(nodes: Nodes, edges: LineageEdge[]) {
  const isMade = (digest: string) => (nodes.get(digest)?.level ?? -1) >= 0;
  for (const { to, jobs } of edges.filter((edge) => isMade(edge.from)))
    for (const [data, from] of Object.entries(jobs[0].spec.data)) if (isMade(from)) edges.push({ from, to, data, jobs: jobs.slice(0, 1) });
}

/** Puts what went into several artifacts before the first of them, and what was made of several behind the last. */
function spread(nodes: Nodes, edges: LineageEdge[]) {
  for (let pass = 0; pass < nodes.size; ++pass)
    for (const edge of edges) {
      const [from, to] = [nodes.get(edge.from)!, nodes.get(edge.to)!];
      if (from.level >= to.level && to.level > 0) to.level = from.level + 1;
      else if (from.level >= to.level && from.level < 0) from.level = to.level - 1;
    }
}

export async function lineageOf(artifact: Artifact): Promise<Lineage> {
  const root: LineageNode = { digest: artifact.digest, artifact, level: 0 };
  const nodes: Nodes = new Map([[root.digest, root]]);
  const edges: LineageEdge[] = [];
  const whole = await addAncestors(nodes, edges, root);
  await addDescendants(nodes, edges, root);
  addTeachers(nodes, edges);
  spread(nodes, edges);
  return { nodes: [...nodes.values()].sort((a, b) => a.level - b.level), edges, cut: !whole };
}

/** Where an artifact stands in a drawing. */
export interface Cell {
  node: LineageNode;
  column: number;
  row: number; // the rows of each column lie around the middle: halves, too
}

/** A column a level, from what went in on the left; what was made in the order of what it was made from. */
export function cellsOf({ nodes, edges }: Lineage): Cell[] {
  const rows = new Map<string, number>();
  const before = (node: LineageNode) =>
    node.level > 0 ? Math.min(...edges.filter(({ to }) => to === node.digest).map(({ from }) => rows.get(from) ?? Infinity)) : 0;
  const levels = [...new Set(nodes.map((node) => node.level))].sort((a, b) => a - b);
  return levels.flatMap((level, column) => {
    const here = nodes.filter((node) => node.level === level).map((node) => ({ node, before: before(node) }));
    here.sort((a, b) => a.before - b.before);
    return here.map(({ node }, i) => {
      rows.set(node.digest, i - (here.length - 1) / 2);
      return { node, column, row: rows.get(node.digest)! };
    });
  });
}

/** "12 more", or "12+ more" where nobody has counted them. */
export const moreText = ({ count, open }: { count: number; open: boolean }) => (count > 0 ? `${count}${open ? "+" : ""} more` : "more");

/** The model that nothing was done to yet, as far back as it is known. */
export async function firstModel(artifact: Artifact): Promise<Artifact> {
  let first = artifact;
  for (let step = 0; step < DEEPEST && first.created_by_job; ++step) {
    const job = await jobOf(first.created_by_job);
    const model = job && (await artifactOf(job.spec.model));
    if (!model) break;
    first = model;
  }
  return first;
}

/** All that was measured of it, oldest first. */
export const measurements = async (digest: string): Promise<Evaluation[]> =>
  (await listed<Evaluation>("evaluations", "evaluations", { artifact: digest }, Infinity)).all;

/** As it is written: its SPDX id or "other", its name, where it is to be read; each may be empty. */
export interface LicenceWords {
  id: string;
  name: string;
  link: string;
}

/** As the artifact, the model card among its files, or its GGUF file says; null: none does. */
export async function licence({ digest, manifest_json }: Artifact): Promise<LicenceWords | null> {
  const { files, metadata } = JSON.parse(manifest_json) as Manifest;
  const card = files.find((file) => file.path === "README.md" && file.size > 0 && file.size < 1_000_000);
  const id = typeof metadata?.license === "string" ? metadata.license : card ? await cardsLicence(digest) : "";
  if (id) return { id, name: "", link: "" };
  const gguf = files.find(({ path }) => path.endsWith(".gguf"));
  const said = gguf && (await ggufLicence(digest, gguf.path, gguf.size));
  return said && (said.id || said.name || said.link) ? said : null;
}

async function cardsLicence(digest: string): Promise<string> {
  const card = new TextDecoder().decode(await fileBytes(digest, "README.md"));
  const front = /^---\r?\n([\s\S]*?)\r?\n---/.exec(card)?.[1] ?? "";
  return /^license:[ \t]*["']?([^"'\r\n]+)/m.exec(front)?.[1].trim() ?? "";
}
