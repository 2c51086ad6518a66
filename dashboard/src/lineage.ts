// Where an artifact came from, and under which licence it stands.
import { type Artifact, fileBytes, get, type Job, type Manifest } from "./api";

const DEEPEST = 8;

export interface Ancestor {
  artifact: Artifact;
  job?: Job;
}

/** Up the chain: the artifact, the job that made it, that job's model, and so on. */
export async function ancestors(artifact: Artifact): Promise<Ancestor[]> {
  const chain: Ancestor[] = [{ artifact }];
  while (chain.length < DEEPEST) {
    const last = chain[chain.length - 1];
    if (!last.artifact.created_by_job) break;
    last.job = await get<Job>(`jobs/${last.artifact.created_by_job}`).catch(() => undefined); // it may be deleted
    if (!last.job) break;
    chain.push({ artifact: await get<Artifact>(`artifacts/${last.job.spec.model}`) });
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
