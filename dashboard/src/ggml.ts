// Values of the blocks of GGUF files, by the table of docs/format.md.
import { bf16, half } from "./numbers";

interface BlockType {
  elements: number;
  bytes: number;
  /** Value `i` of the block at `at`. */
  value: (v: DataView, at: number, i: number) => number;
}

const G = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
const F = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

const f16 = (v: DataView, at: number) => half(v.getUint16(at, true));
const nibble = (byte: number, high: boolean) => (high ? byte >> 4 : byte & 15);
const div = (a: number, b: number) => Math.floor(a / b);

const n16 = (v: DataView, at: number, i: number) => nibble(v.getUint8(at + (i % 16)), i >= 16);
const h4 = (v: DataView, at: number, i: number) => (v.getUint32(at, true) >>> i) & 1;
const h32 = (v: DataView, at: number, i: number) => (v.getUint8(at + (i % 32)) >> div(i, 32)) & 1;
const t64 = (v: DataView, at: number, i: number) => (v.getUint8(at + 32 * div(i, 128) + (i % 32)) >> (2 * div(i % 128, 32))) & 3;
const f128 = (v: DataView, at: number, i: number) => nibble(v.getUint8(at + 32 * div(i, 64) + (i % 32)), div(i, 32) % 2 === 1);
const l128 = (v: DataView, at: number, i: number) => nibble(v.getUint8(at + 64 * div(i, 128) + (i % 64)), i % 128 >= 64);

/** Q3_K's scale `j` of 12 bytes. */
function scale3(v: DataView, at: number, j: number): number {
  const low = nibble(v.getUint8(at + (j % 8)), j >= 8);
  return low + 16 * ((v.getUint8(at + 8 + (j % 4)) >> (2 * div(j, 4))) & 3);
}

/** Q4_K's and Q5_K's scale and minimum `j` of 12 bytes. */
function scale4(v: DataView, at: number, j: number): [number, number] {
  const b = (k: number) => v.getUint8(at + k);
  if (j < 4) return [b(j) & 63, b(j + 4) & 63];
  return [(b(j + 4) & 15) + 16 * (b(j - 4) >> 6), (b(j + 4) >> 4) + 16 * (b(j) >> 6)];
}

export const BLOCKS: Record<string, BlockType> = {
  F32: { elements: 1, bytes: 4, value: (v, at) => v.getFloat32(at, true) },
  F16: { elements: 1, bytes: 2, value: f16 },
  BF16: { elements: 1, bytes: 2, value: (v, at) => bf16(v.getUint16(at, true)) },
  Q4_0: { elements: 32, bytes: 18, value: (v, at, i) => (n16(v, at + 2, i) - 8) * f16(v, at) },
  Q4_1: { elements: 32, bytes: 20, value: (v, at, i) => n16(v, at + 4, i) * f16(v, at) + f16(v, at + 2) },
  Q5_0: { elements: 32, bytes: 22, value: (v, at, i) => (n16(v, at + 6, i) + 16 * h4(v, at + 2, i) - 16) * f16(v, at) },
  Q5_1: { elements: 32, bytes: 24, value: (v, at, i) => (n16(v, at + 8, i) + 16 * h4(v, at + 4, i)) * f16(v, at) + f16(v, at + 2) },
  Q8_0: { elements: 32, bytes: 34, value: (v, at, i) => v.getInt8(at + 2 + i) * f16(v, at) },
  IQ4_NL: { elements: 32, bytes: 18, value: (v, at, i) => f16(v, at) * G[n16(v, at + 2, i)] },
  MXFP4: { elements: 32, bytes: 17, value: (v, at, i) => 2 ** (v.getUint8(at) - 128) * F[n16(v, at + 1, i)] },
  Q2_K: {
    elements: 256,
    bytes: 84,
    value: (v, at, i) => {
      const s = v.getUint8(at + div(i, 16));
      return f16(v, at + 80) * (s & 15) * t64(v, at + 16, i) - f16(v, at + 82) * (s >> 4);
    },
  },
  Q3_K: {
    elements: 256,
    bytes: 110,
    value: (v, at, i) => f16(v, at + 108) * (scale3(v, at + 96, div(i, 16)) - 32) * (t64(v, at + 32, i) + 4 * h32(v, at, i) - 4),
  },
  Q4_K: {
    elements: 256,
    bytes: 144,
    value: (v, at, i) => {
      const [s, u] = scale4(v, at + 4, div(i, 32));
      return f16(v, at) * s * f128(v, at + 16, i) - f16(v, at + 2) * u;
    },
  },
  Q5_K: {
    elements: 256,
    bytes: 176,
    value: (v, at, i) => {
      const [s, u] = scale4(v, at + 4, div(i, 32));
      return f16(v, at) * s * (f128(v, at + 48, i) + 16 * h32(v, at + 16, i)) - f16(v, at + 2) * u;
    },
  },
  Q6_K: {
    elements: 256,
    bytes: 210,
    value: (v, at, i) => f16(v, at + 208) * v.getInt8(at + 192 + div(i, 16)) * (l128(v, at, i) + 16 * t64(v, at + 128, i) - 32),
  },
};

/** All values of the blocks in `view`, one after the other. */
export function blockValues(type: string, view: DataView): Float64Array {
  const { elements, bytes, value } = BLOCKS[type];
  const values = new Float64Array(div(view.byteLength, bytes) * elements);
  for (let at = 0, k = 0; k < values.length; at += bytes) for (let i = 0; i < elements; ++i) values[k++] = value(view, at, i);
  return values;
}
