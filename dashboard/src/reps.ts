// A weight's first rows from the tensors that store it, rep by rep, as docs/format.md defines them.
import { BLOCKS, blockValues } from "./ggml";
import { decode, e2m1, e4m3, WIDTH } from "./numbers";

export interface Part {
  dtype: string;
  shape: number[];
}
/** A weight's tensors by their suffix. */
export interface Parts {
  find: (suffix: string) => Part | undefined;
  read: (suffix: string, rows: number, from?: number) => Promise<DataView>; // of its first axis, which may be cut within a row
}
export type Attributes = Record<string, unknown>;

interface Rep {
  /** [rows, columns]; undefined: it lacks a tensor, or one is of a type that is not known here. */
  shape: (parts: Parts, a: Attributes) => [number, number] | undefined;
  values: (parts: Parts, a: Attributes, rows: number, columns: number) => Promise<Float64Array>;
}

const product = (shape: number[]) => shape.reduce((a, b) => a * b, 1);
const bytesOf = (view: DataView, rows: number, r: number) => {
  const width = view.byteLength / rows;
  return new Uint8Array(view.buffer, view.byteOffset + width * r, width);
};
const known = (part?: Part) => (part && part.dtype in WIDTH ? part : undefined);
const inner = (parts: Parts, prefix: string): Parts => ({
  find: (suffix) => parts.find(prefix + suffix),
  read: (suffix, rows, from) => parts.read(prefix + suffix, rows, from),
});

/** Code i of a row is bits [i bits, (i + 1) bits) of its bytes. */
function codes(row: Uint8Array, count: number, bits: number): number[] {
  return Array.from({ length: count }, (_, i) => {
    const at = i * bits;
    const two = row[at >> 3] | ((row[(at >> 3) + 1] ?? 0) << 8);
    return (two >> (at & 7)) & ((1 << bits) - 1);
  });
}

const dense: Rep = {
  shape: (parts) => {
    const part = parts.find("weight");
    if (!part || part.dtype === "F8_E4M3" || !(part.dtype in WIDTH || part.dtype in BLOCKS)) return undefined;
    return [part.shape[0] ?? 1, product(part.shape.slice(1))];
  },
  values: async (parts, _, rows) => {
    const { dtype } = parts.find("weight")!;
    const view = await parts.read("weight", rows);
    return dtype in WIDTH ? decode(dtype, view) : blockValues(dtype, view);
  },
};

const masked: Rep = {
  shape: (parts, a) => {
    const mask = parts.find("mask");
    return mask && known(parts.find("values")) ? [mask.shape[0], Number(a.columns)] : undefined;
  },
  values: async (parts, _, rows, columns) => {
    const mask = await parts.read("mask", rows);
    const bits = Array.from({ length: rows }, (_, r) => codes(bytesOf(mask, rows, r), columns, 1)).flat();
    const count = bits.reduce((sum, bit) => sum + bit, 0);
    const kept = count === 0 ? [] : decode(parts.find("values")!.dtype, await parts.read("values", count));
    let next = 0;
    return Float64Array.from(bits, (bit) => (bit ? kept[next++] : 0));
  },
};

const packedInt: Rep = {
  shape: (parts, a) => {
    const scales = known(parts.find("scales"));
    return scales && parts.find("codes") ? [scales.shape[0], scales.shape[1] * Number(a.group_size)] : undefined;
  },
  values: async (parts, a, rows, columns) => {
    const [bits, size] = [Number(a.bits), Number(a.group_size)];
    const groups = columns / size;
    const [code, scale, zero] = await Promise.all(["codes", "scales", ...(a.symmetric ? [] : ["zeros"])].map((s) => parts.read(s, rows)));
    const scales = decode(parts.find("scales")!.dtype, scale);
    const values = new Float64Array(rows * columns);
    for (let r = 0; r < rows; ++r) {
      const zeros = zero && codes(bytesOf(zero, rows, r), groups, bits);
      codes(bytesOf(code, rows, r), columns, bits).forEach((c, i) => {
        const group = Math.floor(i / size);
        values[r * columns + i] = (c - (zeros ? zeros[group] : 2 ** (bits - 1))) * scales[r * groups + group];
      });
    }
    return values;
  },
};

const ggml: Rep = {
  shape: (parts, a) => {
    const blocks = parts.find("blocks");
    return blocks && String(a.type) in BLOCKS ? [blocks.shape[0], Number(a.columns)] : undefined;
  },
  values: async (parts, a, rows) => blockValues(String(a.type), await parts.read("blocks", rows)),
};

/** values[r, c] += the sum over k of left[r, k] * right[k, c], times the sign where there is one. */
function addProduct(values: Float64Array, left: Float64Array, right: Float64Array, columns: number, sign?: (r: number, c: number) => number) {
  const rank = right.length / columns;
  for (let i = 0; i < values.length; ++i) {
    const [r, c] = [Math.floor(i / columns), i % columns];
    let sum = 0;
    for (let k = 0; k < rank; ++k) sum += left[r * rank + k] * right[k * columns + c];
    values[i] += sign ? sign(r, c) * sum : sum;
  }
}

const lowRank: Rep = {
  shape: (parts) => {
    const [a, b] = [known(parts.find("a")), known(parts.find("b"))];
    return a && b ? [b.shape[0], a.shape[1]] : undefined;
  },
  values: async (parts, _, rows, columns) => {
    const [a, b] = [parts.find("a")!, parts.find("b")!];
    const right = decode(a.dtype, await parts.read("a", a.shape[0]));
    const left = decode(b.dtype, await parts.read("b", rows));
    const values = new Float64Array(rows * columns);
    addProduct(values, left, right, columns);
    return values;
  },
};

const residual: Rep = {
  shape: (parts) => {
    const [u, v] = [known(parts.find("u")), known(parts.find("v"))];
    return parts.find("signs") && u && v ? [u.shape[1], v.shape[2]] : undefined;
  },
  values: async (parts, _, rows, columns) => {
    const [u, v] = [parts.find("u")!, parts.find("v")!];
    const [levels, all] = u.shape;
    const width = Math.ceil(columns / 8);
    const values = new Float64Array(rows * columns);
    for (let level = 0; level < levels; ++level) {
      const [signs, left, right] = await Promise.all([parts.read("signs", rows / all, level), parts.read("u", rows / all, level), parts.read("v", 1, level)]);
      addProduct(values, decode(u.dtype, left), decode(v.dtype, right), columns, (r, c) => ((signs.getUint8(r * width + (c >> 3)) >> (c & 7)) & 1 ? -1 : 1));
    }
    return values;
  },
};

const float8: Rep = {
  shape: (parts) => (parts.find("values")?.dtype === "F8_E4M3" && known(parts.find("scales")) ? (parts.find("values")!.shape as [number, number]) : undefined),
  values: async (parts, a, rows, columns) => {
    const [high, wide] = [Number(a.block_rows), Number(a.block_columns)];
    const tiles = parts.find("scales")!;
    const scales = decode(tiles.dtype, await parts.read("scales", Math.ceil(rows / high)));
    return decode("F8_E4M3", await parts.read("values", rows)).map(
      (value, i) => value * scales[Math.floor(i / columns / high) * tiles.shape[1] + Math.floor((i % columns) / wide)],
    );
  },
};

const float4: Rep = {
  shape: (parts) => {
    const part = parts.find("codes");
    return part && parts.find("scales") ? [part.shape[0], part.shape[1] * 2] : undefined;
  },
  values: async (parts, a, rows, columns) => {
    const scaled = parts.find("scales")!;
    const groups = scaled.shape[1];
    const [code, scale] = await Promise.all([parts.read("codes", rows), parts.read("scales", rows)]);
    const scaleAt = (i: number) => (scaled.dtype === "U8" ? 2 ** (scale.getUint8(i) - 127) : e4m3(scale.getUint8(i)));
    return Float64Array.from({ length: rows * columns }, (_, i) => {
      const byte = code.getUint8(i >> 1);
      const group = Math.floor(((i % columns) * groups) / columns);
      return (e2m1(i % 2 ? byte >> 4 : byte) * scaleAt(Math.floor(i / columns) * groups + group)) / Number(a.global_scale);
    });
  },
};

interface Stored {
  rep: string;
  attributes: Attributes;
}

const roundedInput: Rep = {
  shape: (parts, a) => REPS[String(a.rep)]?.shape(parts, a.attributes as Attributes),
  values: (parts, a, rows, columns) => REPS[String(a.rep)].values(parts, a.attributes as Attributes, rows, columns),
};

const sum: Rep = {
  shape: (parts, a) => {
    const shapes = (a.parts as Stored[]).map(({ rep, attributes }, i) => REPS[rep]?.shape(inner(parts, `${i}.`), attributes));
    return shapes.every(Boolean) ? shapes[0] : undefined;
  },
  values: async (parts, a, rows, columns) => {
    const all = await Promise.all(
      (a.parts as Stored[]).map(({ rep, attributes }, i) => REPS[rep].values(inner(parts, `${i}.`), attributes, rows, columns)),
    );
    return all[0].map((_, i) => all.reduce((total, values) => total + values[i], 0));
  },
};

const REPS: Record<string, Rep> = {
  dense,
  masked,
  "packed-int": packedInt,
  ggml,
  "low-rank": lowRank,
  residual,
  float8,
  float4,
  "rounded-input": roundedInput,
  sum,
};

/** [rows, columns] of a weight; undefined: it is not stored as any rep that is known here. */
export const weightShape = (rep: string, attributes: Attributes, find: Parts["find"]) =>
  REPS[rep]?.shape({ find, read: () => Promise.reject(new Error("only its shape is asked for")) }, attributes);

/** The first rows of a weight, `most` values where there are more, of `all`; null: it is not stored as any rep that is known here. */
export async function firstValues(rep: string, attributes: Attributes, parts: Parts, most: number) {
  const shape = REPS[rep]?.shape(parts, attributes);
  if (!shape) return null;
  const [all, columns] = shape;
  const rows = Math.min(all, Math.max(1, Math.floor(most / columns)));
  return { values: await REPS[rep].values(parts, attributes, rows, columns), all: all * columns };
}
