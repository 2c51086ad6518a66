// The values of a layer's first rows, where their storage is one that this page decodes, and how they are spread.
import { fileBytes } from "./api";
import type { ModelLayer } from "./model_layers";
import type { Tensor } from "./safetensors";

const MOST = 1_000_000; // values

const WIDTH: Record<string, number> = { F32: 4, F16: 2, BF16: 2, F64: 8, I8: 1, U8: 1 };

function half(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
}

function decode(dtype: string, view: DataView): Float64Array {
  const width = WIDTH[dtype];
  const values = new Float64Array(view.byteLength / width);
  const word = new DataView(new ArrayBuffer(4));
  const read: Record<string, (at: number) => number> = {
    F32: (at) => view.getFloat32(at, true),
    F64: (at) => view.getFloat64(at, true),
    F16: (at) => half(view.getUint16(at, true)),
    BF16: (at) => (word.setUint32(0, view.getUint16(at, true) * 65536), word.getFloat32(0)),
    I8: (at) => view.getInt8(at),
    U8: (at) => view.getUint8(at),
  };
  for (let i = 0; i < values.length; ++i) values[i] = read[dtype](i * width);
  return values;
}

/** Of the first `rows` of a tensor's first axis. */
async function firstRows(digest: string, tensor: Tensor, rows: number): Promise<DataView> {
  const { path, offset } = tensor.at!;
  const size = (tensor.bytes / tensor.shape[0]) * rows;
  return new DataView(await fileBytes(digest, path, offset, offset + size));
}

const product = (shape: number[]) => shape.reduce((a, b) => a * b, 1);

export interface Spread {
  from: number;
  step: number;
  counts: number[];
  read: number; // of `all` values
  all: number;
  mean: number;
  deviation: number;
  zeros: number; // share
}

export function spreadOf(values: ArrayLike<number>, all: number, bins = 60): Spread {
  let [low, high, sum, squares, zeros] = [Infinity, -Infinity, 0, 0, 0];
  for (let i = 0; i < values.length; ++i) {
    low = Math.min(low, values[i]);
    high = Math.max(high, values[i]);
    sum += values[i];
    squares += values[i] ** 2;
    zeros += values[i] === 0 ? 1 : 0;
  }
  const step = (high - low) / bins || 1;
  const counts = new Array<number>(bins).fill(0);
  for (let i = 0; i < values.length; ++i) ++counts[Math.min(bins - 1, Math.floor((values[i] - low) / step))];
  const mean = sum / values.length;
  return {
    from: low,
    step,
    counts,
    read: values.length,
    all,
    mean,
    deviation: Math.sqrt(Math.max(0, squares / values.length - mean ** 2)),
    zeros: zeros / values.length,
  };
}

/** Code i of a row is bits [i bits, (i + 1) bits) of its bytes. */
function codes(row: Uint8Array, count: number, bits: number): number[] {
  return Array.from({ length: count }, (_, i) => {
    const at = i * bits;
    const two = row[at >> 3] | ((row[(at >> 3) + 1] ?? 0) << 8);
    return (two >> (at & 7)) & ((1 << bits) - 1);
  });
}

async function packed(digest: string, layer: ModelLayer, part: (suffix: string) => Tensor | undefined): Promise<Spread> {
  const { bits, group_size, symmetric } = layer.attributes as { bits: number; group_size: number; symmetric: boolean };
  const [code, scale, zero] = [part("codes")!, part("scales")!, symmetric ? undefined : part("zeros")];
  const [all, groups] = scale.shape;
  const columns = groups * group_size;
  const rows = Math.min(all, Math.max(1, Math.floor(MOST / columns)));
  const [codeBytes, scaleBytes, zeroBytes] = await Promise.all([code, scale, zero].map((t) => t && firstRows(digest, t, rows)));
  const scales = decode(scale.dtype, scaleBytes!);
  const row = (view: DataView, r: number) =>
    new Uint8Array(view.buffer, view.byteOffset + (view.byteLength / rows) * r, view.byteLength / rows);
  const values = new Float64Array(rows * columns);
  for (let r = 0; r < rows; ++r) {
    const zeros = zeroBytes ? codes(row(zeroBytes, r), groups, bits) : undefined;
    codes(row(codeBytes!, r), columns, bits).forEach((c, i) => {
      const group = Math.floor(i / group_size);
      values[r * columns + i] = (c - (zeros ? zeros[group] : 2 ** (bits - 1))) * scales[r * groups + group];
    });
  }
  return spreadOf(values, all * columns);
}

/** null: of no storage that is decoded here. */
export async function weightSpread(digest: string, layer: ModelLayer): Promise<Spread | null> {
  const part = (suffix: string) => layer.tensors.find((tensor) => tensor.name === `${layer.name}.${suffix}`);
  if (layer.rep === "packed-int" && part("codes") && part("scales")) return packed(digest, layer, part);
  const weight = layer.rep === "masked" ? part("values") : layer.rep === "dense" ? (part("weight") ?? layer.tensors[0]) : undefined;
  if (!weight?.at || !(weight.dtype in WIDTH) || weight.bytes === 0) return null;
  const rows = Math.min(weight.shape[0] ?? 1, Math.max(1, Math.floor(MOST / product(weight.shape.slice(1)))));
  return spreadOf(decode(weight.dtype, await firstRows(digest, weight.shape.length ? weight : { ...weight, shape: [1] }, rows)), product(weight.shape));
}
