// The layers of a model artifact with their storage and bytes: wring.json beside the headers of the tensor files.
import { type Artifact, fileBytes, type Manifest } from "./api";
import { place } from "./layers";
import { type Tensor, tensors } from "./safetensors";

export interface ModelLayer {
  name: string;
  block: number;
  kind: string;
  rep: string;
  bits: number | null; // a stored weight with its scales; null where the count of weights is not known
  shape: string;
  bytes: number;
}

interface Stored {
  rep: string;
  attributes: Record<string, number | string | boolean>;
}
export interface LineageStep {
  input?: string;
  method?: string;
  params?: Record<string, unknown>;
}
export interface Model {
  layers: ModelLayer[];
  lineage: LineageStep[];
}

async function json<T>(digest: string, path: string): Promise<T> {
  return JSON.parse(new TextDecoder().decode(await fileBytes(digest, path))) as T;
}

/** null: it has no tensor files that this page reads (a GGUF). */
export async function modelOf(artifact: Artifact): Promise<Model | null> {
  const manifest = JSON.parse(artifact.manifest_json) as Manifest;
  const files = manifest.files.map((file) => file.path);
  const weights = files.filter((path) => path.endsWith(".safetensors"));
  if (weights.length === 0) return null;
  const all = (await Promise.all(weights.map((path) => tensors(artifact.digest, path)))).flat();
  const wring = files.includes("wring.json")
    ? await json<{ layers: Record<string, Stored>; lineage?: LineageStep[] }>(artifact.digest, "wring.json")
    : { layers: {} };
  return { layers: layersOf(all, wring.layers), lineage: ("lineage" in wring && wring.lineage) || [] };
}

/** Tensors of one layer together: "a.b.weight" and "a.b.scales" belong to layer "a.b". */
export function layersOf(all: Tensor[], stored: Record<string, Stored>): ModelLayer[] {
  const groups = new Map<string, Tensor[]>();
  for (const tensor of all) {
    const name = tensor.name.slice(0, tensor.name.lastIndexOf(".")) || tensor.name;
    groups.set(name, [...(groups.get(name) ?? []), tensor]);
  }
  return [...groups].map(([name, group]) => {
    const { rep, attributes } = stored[name] ?? { rep: "dense", attributes: {} };
    const total = group.reduce((sum, tensor) => sum + tensor.bytes, 0);
    const weight = group.find((tensor) => tensor.name.endsWith(".weight")) ?? group[0];
    const dense = rep === "dense";
    const details = Object.entries(attributes).map(([key, value]) => `${key} ${value}`);
    const count = dense ? weight.shape.reduce((a, b) => a * b, 1) : null;
    const bits = typeof attributes.bits === "number" ? attributes.bits : count ? (weight.bytes * 8) / count : null;
    return { name, ...place(name), rep, bits, shape: dense ? weight.shape.join(" × ") : details.join(", "), bytes: total };
  });
}
