// The layers of a model artifact with their storage and bytes: from the heads of its tensor files, and wring.json beside them.
import { type Artifact, fileBytes, type Manifest } from "./api";
import { ggufTensors } from "./gguf";
import { place } from "./layers";
import { onnxTensors } from "./onnx";
import { weightShape } from "./reps";
import { type Tensor, tensors } from "./safetensors";

export interface ModelLayer {
  name: string;
  group: string; // "block 3", or in a graph the operation
  kind: string;
  rep: string;
  bits: number | null; // that are stored of a weight, scales too; null where the count of weights is not known
  shape: number[]; // empty: it is not known
  bytes: number;
  attributes: Record<string, number | string | boolean>;
  stored: boolean; // as wring.json says; else its weight is a tensor of the file
  tensors: Tensor[];
}

interface Stored {
  rep: string;
  attributes: Record<string, number | string | boolean>;
}

async function json<T>(digest: string, path: string): Promise<T> {
  return JSON.parse(new TextDecoder().decode(await fileBytes(digest, path))) as T;
}

/** null: it has no files of tensors. */
export async function modelOf(artifact: Artifact): Promise<ModelLayer[] | null> {
  const { files } = JSON.parse(artifact.manifest_json) as Manifest;
  const all: Tensor[] = [];
  for (const { path, size } of files) {
    if (path.endsWith(".safetensors")) all.push(...(await tensors(artifact.digest, path)));
    if (path.endsWith(".gguf")) all.push(...(await ggufTensors(artifact.digest, path, size)));
    if (path.endsWith(".onnx")) all.push(...(await onnxTensors(artifact.digest, path, size)));
  }
  if (all.length === 0) return null;
  const wring = files.some((file) => file.path === "wring.json")
    ? await json<{ layers?: Record<string, Stored> }>(artifact.digest, "wring.json")
    : {};
  return layersOf(all, wring.layers ?? {});
}

/** Of "a.b.weight" the layer "a.b"; of a sum's "a.b.0.codes" too, where wring.json has that. */
function layerOf(tensor: string, stored: Record<string, Stored>): string {
  const names = [...tensor.matchAll(/\./g)].map(({ index }) => tensor.slice(0, index));
  return names.findLast((name) => name in stored) ?? (names.at(-1) || tensor);
}

const sum = (tensors: Tensor[]) => tensors.reduce((all, tensor) => all + tensor.bytes, 0);

/** Tensors of one layer together. */
export function layersOf(all: Tensor[], stored: Record<string, Stored>): ModelLayer[] {
  const groups = new Map<string, Tensor[]>();
  for (const tensor of all) {
    const name = layerOf(tensor.name, stored);
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name)!.push(tensor);
  }
  return [...groups].map(([name, group]) => {
    const weight = group.find((tensor) => tensor.name.endsWith(".weight")) ?? group[0];
    const plain = /^[FBIU]F?\d+$/.test(weight.dtype); // else blocks of a GGUF file's
    const { rep, attributes } = stored[name] ?? { rep: plain ? "dense" : weight.dtype, attributes: {} };
    const one = name in stored && rep !== "dense" ? undefined : weight; // that is the weight
    const shape = one?.shape ?? weightShape(rep, attributes, (suffix) => group.find((tensor) => tensor.name === `${name}.${suffix}`)) ?? [];
    const count = one || shape.length > 0 ? shape.reduce((a, b) => a * b, 1) : 0;
    const held = one ? one.bytes : sum(group.filter((tensor) => !tensor.name.endsWith(".bias")));
    const { block, kind } = place(name);
    return {
      name,
      group: block >= 0 ? `block ${block}` : (weight.operation ?? "other"),
      kind,
      rep,
      bits: count ? (held * 8) / count : null,
      shape,
      bytes: sum(group),
      attributes,
      stored: name in stored,
      tensors: group,
    };
  });
}
