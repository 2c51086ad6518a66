// Where an artifact came from, and under which licence it stands.
import { type Artifact, fileBytes, get, type Job, type Manifest, Problem } from "./api";

const DEEPEST = 8;

export interface Ancestor {
  artifact: Artifact;
  job?: Job; // that made it
}

/** undefined: it was deleted. */
const ifThere = (error: unknown) => {
  if (error instanceof Problem && error.status === 404) return undefined;
  throw error;
};

/** The chain down to the artifact: what it was made from, by which job, and so on. The first has a job where that one's model was deleted. */
export async function ancestors(artifact: Artifact): Promise<Ancestor[]> {
  const chain: Ancestor[] = [{ artifact }];
  while (chain.length < DEEPEST) {
    const last = chain[chain.length - 1];
    if (!last.artifact.created_by_job) break;
    last.job = await get<Job>(`jobs/${last.artifact.created_by_job}`).catch(ifThere);
    const model = last.job && (await get<Artifact>(`artifacts/${last.job.spec.model}`).catch(ifThere));
    if (!model) break;
    chain.push({ artifact: model });
  }
  return chain.reverse();
}

/** As the artifact, or the model card among its files, says; empty: neither does. */
export async function licence(artifact: Artifact): Promise<string> {
  const { files, metadata } = JSON.parse(artifact.manifest_json) as Manifest;
  if (typeof metadata?.license === "string") return metadata.license;
  if (!files.some((file) => file.path === "README.md" && file.size > 0 && file.size < 1_000_000)) return "";
  const card = new TextDecoder().decode(await fileBytes(artifact.digest, "README.md"));
  const front = /^---\r?\n([\s\S]*?)\r?\n---/.exec(card)?.[1] ?? "";
  return /^license:[ \t]*["']?([^"'\r\n]+)/m.exec(front)?.[1].trim() ?? "";
}
