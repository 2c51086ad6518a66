// Numbers as tensor files store them, little-endian.

export function half(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
}

const word = new DataView(new ArrayBuffer(4));
export function bf16(bits: number): number {
  word.setUint32(0, bits * 65536);
  return word.getFloat32(0);
}

/** A sign, four bits of exponent with bias 7, three of mantissa. */
export function e4m3(bits: number): number {
  const sign = bits & 128 ? -1 : 1;
  const exponent = (bits >> 3) & 15;
  const mantissa = bits & 7;
  if (exponent === 15 && mantissa === 7) return NaN;
  return sign * (exponent === 0 ? mantissa * 2 ** -9 : (8 + mantissa) * 2 ** (exponent - 10));
}

/** Two exponent bits, one of mantissa, by the lower four bits. */
export const e2m1 = (bits: number): number => (bits & 8 ? -1 : 1) * [0, 0.5, 1, 1.5, 2, 3, 4, 6][bits & 7];

export const WIDTH: Record<string, number> = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  F8_E4M3: 1,
};

const READ: Record<string, (view: DataView, at: number) => number> = {
  F64: (v, at) => v.getFloat64(at, true),
  F32: (v, at) => v.getFloat32(at, true),
  F16: (v, at) => half(v.getUint16(at, true)),
  BF16: (v, at) => bf16(v.getUint16(at, true)),
  F8_E4M3: (v, at) => e4m3(v.getUint8(at)),
};

export function decode(dtype: string, view: DataView): Float64Array {
  const width = WIDTH[dtype];
  const read = READ[dtype];
  const values = new Float64Array(view.byteLength / width);
  for (let i = 0; i < values.length; ++i) values[i] = read(view, i * width);
  return values;
}
