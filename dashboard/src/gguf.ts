// The head of a GGUF file (version 2 or 3, little-endian): which tensors it holds, of what type, and how many bytes they take;
// and the licence among its keys.
import { Cursor } from "./ranges";
import type { Tensor } from "./safetensors";

// ggml's types by number: name, elements and bytes of a block.
const TYPES: Record<number, [string, number, number]> = {
  0: ["F32", 1, 4],
  1: ["F16", 1, 2],
  2: ["Q4_0", 32, 18],
  3: ["Q4_1", 32, 20],
  6: ["Q5_0", 32, 22],
  7: ["Q5_1", 32, 24],
  8: ["Q8_0", 32, 34],
  10: ["Q2_K", 256, 84],
  11: ["Q3_K", 256, 110],
  12: ["Q4_K", 256, 144],
  13: ["Q5_K", 256, 176],
  14: ["Q6_K", 256, 210],
  16: ["IQ2_XXS", 256, 66],
  17: ["IQ2_XS", 256, 74],
  18: ["IQ3_XXS", 256, 98],
  19: ["IQ1_S", 256, 50],
  20: ["IQ4_NL", 32, 18],
  21: ["IQ3_S", 256, 110],
  22: ["IQ2_S", 256, 82],
  23: ["IQ4_XS", 256, 136],
  24: ["I8", 1, 1],
  25: ["I16", 1, 2],
  26: ["I32", 1, 4],
  27: ["I64", 1, 8],
  28: ["F64", 1, 8],
  30: ["BF16", 1, 2],
  39: ["MXFP4", 32, 17],
};
const SCALAR = [1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8]; // bytes of a key's value by its type; 8: text, 9: an array
const TEXT = 8;
const ARRAY = 9;
const MOST = 1_000_000; // of tensors, keys and dimensions: what is more is no model
const LICENCE = ["general.license", "general.license.name", "general.license.link"];
const LONGEST_LICENCE = 1000; // bytes of such a key: some files hold the whole text

/** A file whose cursor is at its first key. */
async function opened(digest: string, path: string, size: number) {
  const file = new Cursor(digest, path, size);
  const u32 = async () => (await file.take(4)).getUint32(0, true);
  const u64 = async () => Number((await file.take(8)).getBigUint64(0, true));
  const text = async () => file.text(await u64());
  const bounded = (count: number) => {
    if (count > MOST) throw new Error(`${path} is no GGUF file of a model`);
    return count;
  };
  const skip = async (type: number): Promise<void> => {
    if (type === TEXT) {
      const length = await u64();
      file.at += length;
    } else if (type === ARRAY) {
      const of = await u32();
      const count = bounded(await u64());
      if (SCALAR[of]) file.at += SCALAR[of] * count;
      else for (let i = 0; i < count; ++i) await skip(of);
    } else if (SCALAR[type]) {
      file.at += SCALAR[type];
    } else {
      throw new Error(`${path} has a key of type ${type}`);
    }
  };
  if ((await file.text(4)) !== "GGUF") throw new Error(`${path} is no GGUF file`);
  const version = await u32();
  if (version !== 2 && version !== 3) throw new Error(`${path} is of GGUF version ${version}`);
  const tensors = bounded(await u64());
  const keys = bounded(await u64());
  return { file, u32, u64, text, bounded, skip, tensors, keys };
}

export async function ggufTensors(digest: string, path: string, size: number): Promise<Tensor[]> {
  const { file, u32, u64, text, bounded, skip, tensors, keys } = await opened(digest, path, size);
  let alignment = 32;
  for (let i = 0; i < keys; ++i) {
    const key = await text();
    const type = await u32();
    if (key === "general.alignment" && type === 4) alignment = await u32();
    else await skip(type);
  }
  const all: Tensor[] = [];
  for (let i = 0; i < tensors; ++i) {
    const name = await text();
    const shape: number[] = [];
    for (let axes = bounded(await u32()); axes > 0; --axes) shape.unshift(await u64()); // ggml's first axis is the innermost
    const type = await u32();
    const offset = await u64();
    const [dtype, elements, bytes] = TYPES[type] ?? [`type ${type}`, 1, 0];
    all.push({ name, dtype, shape, bytes: (shape.reduce((a, b) => a * b, 1) / elements) * bytes, at: { path, offset } });
  }
  const data = Math.ceil(file.at / alignment) * alignment;
  for (const tensor of all) tensor.at!.offset += data;
  return all;
}

/** What its keys general.license, general.license.name and general.license.link say; empty: nothing. */
export async function ggufLicence(digest: string, path: string, size: number): Promise<{ id: string; name: string; link: string }> {
  const { file, u32, u64, skip, text, keys } = await opened(digest, path, size);
  const said = new Map<string, string>();
  for (let i = 0; i < keys; ++i) {
    const key = await text();
    const type = await u32();
    if (said.size > 0 && !key.startsWith("general.")) break; // writers keep these together, and thousands of words follow
    if (type !== TEXT || !LICENCE.includes(key)) {
      await skip(type);
      continue;
    }
    const length = await u64();
    if (length <= LONGEST_LICENCE) said.set(key, (await file.text(length)).trim());
    else file.at += length;
  }
  const [id, name, link] = LICENCE.map((key) => said.get(key) ?? "");
  return { id, name, link };
}
