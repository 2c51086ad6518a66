// Where an artifact came from, and under which licence it stands.
import { type Artifact, type Evaluation, fileBytes, get, type Job, listed, type Manifest, Problem } from "./api";
import { ggufLicence } from "./gguf";

const DEEPEST = 100;

export interface Ancestor {
  artifact: Artifact;
  job?: Job; // that made it
  data: { name: string; artifact: Artifact }[]; // what that job read besides: data sets, teachers
}

/** undefined: it was deleted. */
const ifThere = (error: unknown) => {
  if (error instanceof Problem && error.status === 404) return undefined;
  throw error;
};
const artifactOf = (digest: string) => get<Artifact>(`artifacts/${digest}`).catch(ifThere);
const jobOf = (id: string) => get<Job>(`jobs/${id}`).catch(ifThere);

async function dataOf(job: Job) {
  const all = Object.entries(job.spec.data).map(async ([name, digest]) => ({ name, artifact: await artifactOf(digest) }));
  return (await Promise.all(all)).flatMap(({ name, artifact }) => (artifact ? [{ name, artifact }] : []));
}

/** The chain down to the artifact: what it was made from, by which job, and so on. The first has a job where that one's model was deleted. */
export async function ancestors(artifact: Artifact): Promise<Ancestor[]> {
  const chain: Ancestor[] = [{ artifact, data: [] }];
  while (chain.length < DEEPEST) {
    const last = chain[chain.length - 1];
    if (!last.artifact.created_by_job) break;
    last.job = await jobOf(last.artifact.created_by_job);
    if (last.job) last.data = await dataOf(last.job);
    const model = last.job && (await artifactOf(last.job.spec.model));
    if (!model) break;
    chain.push({ artifact: model, data: [] });
  }
  return chain.reverse();
}

/** All that was measured of it, oldest first. */
export const measurements = async (digest: string): Promise<Evaluation[]> =>
  (await listed<Evaluation>("evaluations", "evaluations", { artifact: digest }, Infinity)).all;

/** What jobs made of it, newest first: of those that measured it before they began. `more`: there may be more than `most`. */
export async function descendants(rows: Evaluation[], most: number): Promise<{ made: { artifact: Artifact; job: Job }[]; more: boolean }> {
  const ids = [...new Set(rows.filter((row) => row.when === "before").map((row) => row.job_id))].reverse();
  const made: { artifact: Artifact; job: Job }[] = [];
  while (ids.length > 0 && made.length < most) {
    const some = ids.splice(0, most).map(async (id) => {
      const job = await jobOf(id);
      const artifact = job?.result && job.result !== job.spec.model ? await artifactOf(job.result) : undefined;
      return job && artifact ? [{ artifact, job }] : [];
    });
    made.push(...(await Promise.all(some)).flat());
  }
  return { made: made.slice(0, most), more: ids.length > 0 || made.length > most };
}

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
