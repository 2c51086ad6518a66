// How the values of a layer's first rows are spread, read by range requests.
import { fileBytes } from "./api";
import { BLOCKS } from "./ggml";
import type { ModelLayer } from "./model_layers";
import { firstValues } from "./reps";
import type { Tensor } from "./safetensors";

const MOST = 1_000_000; // values; products of factors are computed, not read
const MOST_OF_FACTORS = 250_000;

export interface Spread {
  from: number;
  step: number;
  counts: number[];
  read: number; // of `all` values
  all: number;
  odd: number; // of those read: not finite, in no bar and no figure
  mean: number;
  deviation: number;
  zeros: number; // share
  drawn: boolean; // whether zeros are counted in a bar: many would hide all else
}

export function spreadOf(read: ArrayLike<number>, all: number, bins = 60): Spread {
  const values = Array.prototype.every.call(read, Number.isFinite) ? read : Array.prototype.filter.call(read, Number.isFinite);
  let [low, high, sum, squares, zeros] = [Infinity, -Infinity, 0, 0, 0];
  for (let i = 0; i < values.length; ++i) {
    low = Math.min(low, values[i]);
    high = Math.max(high, values[i]);
    sum += values[i];
    squares += values[i] ** 2;
    zeros += values[i] === 0 ? 1 : 0;
  }
  const both = low < 0 && high > 0; // then zero is in the middle of a bar
  const step = (high - low) / (both ? bins - 1 : bins) || 1;
  const from = both ? (Math.floor(low / step + 0.5) - 0.5) * step : low;
  const counts = new Array<number>(bins).fill(0);
  const drawn = zeros <= 0.2 * values.length;
  for (let i = 0; i < values.length; ++i)
    if (drawn || values[i] !== 0) ++counts[Math.min(bins - 1, Math.floor((values[i] - from) / step))];
  const mean = sum / values.length;
  return {
    from,
    step,
    counts,
    read: read.length,
    all,
    odd: read.length - values.length,
    mean,
    deviation: Math.sqrt(Math.max(0, squares / values.length - mean ** 2)),
    zeros: zeros / values.length,
    drawn,
  };
}

/** Blocks lie along the last axis, however many axes there are before it. */
function rowsOfBlocks(tensor?: Tensor): Tensor | undefined {
  if (!tensor || !(tensor.dtype in BLOCKS)) return tensor;
  const columns = tensor.shape.at(-1) ?? 1;
  return { ...tensor, shape: [tensor.shape.reduce((a, b) => a * b, 1) / columns, columns] };
}

/** null: of no storage that is decoded here. */
export async function weightSpread(digest: string, layer: ModelLayer): Promise<Spread | null> {
  const find = (suffix: string): Tensor | undefined => {
    const tensor = layer.tensors.find((one) => one.name === `${layer.name}.${suffix}`);
    const alone = suffix === "weight" && !layer.stored && layer.tensors.length === 1 ? layer.tensors[0] : undefined;
    return rowsOfBlocks(tensor ?? alone);
  };
  const read = async (suffix: string, rows: number, from = 0) => {
    const { at, bytes, shape } = find(suffix)!;
    const row = bytes / (shape.length === 0 ? 1 : shape[0]);
    const start = at!.offset + row * from;
    return new DataView(await fileBytes(digest, at!.path, start, start + Math.round(row * rows)));
  };
  const parts = { find: (suffix: string) => (find(suffix)?.at && find(suffix)!.bytes > 0 ? find(suffix) : undefined), read };
  const most = ["low-rank", "residual", "sum"].includes(layer.rep) ? MOST_OF_FACTORS : MOST;
  const values = await firstValues(layer.stored ? layer.rep : "dense", layer.attributes, parts, most);
  return values && spreadOf(values.values, values.all);
}
