// The weights of an ONNX graph with the nodes that read them, from the wire format of its protobuf; the weights themselves are skipped.
import { Cursor } from "./ranges";
import type { Tensor } from "./safetensors";

// TensorProto.DataType: name and bits of an element.
const TYPES: Record<number, [string, number]> = {
  1: ["F32", 32],
  2: ["U8", 8],
  3: ["I8", 8],
  4: ["U16", 16],
  5: ["I16", 16],
  6: ["I32", 32],
  7: ["I64", 64],
  9: ["BOOL", 8],
  10: ["F16", 16],
  11: ["F64", 64],
  12: ["U32", 32],
  13: ["U64", 64],
  16: ["BF16", 16],
  17: ["F8_E4M3", 8],
  18: ["F8_E4M3FNUZ", 8],
  19: ["F8_E5M2", 8],
  20: ["F8_E5M2FNUZ", 8],
  21: ["U4", 4],
  22: ["I4", 4],
};
const VARINT = 0;
const BYTES = 2;

export async function onnxTensors(digest: string, path: string, size: number): Promise<Tensor[]> {
  const file = new Cursor(digest, path, size);

  async function varint(): Promise<number> {
    let value = 0;
    for (let place = 1; place < 2 ** 63; place *= 128) {
      const byte = (await file.take(1)).getUint8(0);
      value += (byte & 127) * place;
      if (byte < 128) return value;
    }
    throw new Error(`${path} is no ONNX file`);
  }

  /** The fields of a message that ends at `end`: a number's value, or the length of what begins at the cursor. */
  async function message(end: number, on: (field: number, value: number, type: number) => Promise<void>) {
    while (file.at < end) {
      const tag = await varint();
      const type = tag & 7;
      if (type === VARINT || type === BYTES) {
        const value = await varint();
        const next = type === BYTES ? file.at + value : file.at;
        if (next > end) throw new Error(`${path} is no ONNX file`);
        await on(Math.floor(tag / 8), value, type);
        file.at = next;
      } else if (type === 1 || type === 5) {
        file.at += type === 1 ? 8 : 4;
      } else {
        throw new Error(`${path} is no ONNX file`);
      }
    }
  }

  const all: Tensor[] = [];
  const readers = new Map<string, string>();

  async function entry(end: number, entries: Record<string, string>) {
    const words = ["", "", ""];
    await message(end, async (field, length) => {
      if (field === 1 || field === 2) words[field] = await file.text(length);
    });
    entries[words[1]] = words[2];
  }

  async function tensor(end: number) {
    const shape: number[] = [];
    let [name, type] = ["", 0];
    let at: Tensor["at"];
    const external: Record<string, string> = {};
    await message(end, async (field, value, kind) => {
      if (field === 1 && kind === VARINT) shape.push(value);
      if (field === 1 && kind === BYTES) for (const last = file.at + value; file.at < last; ) shape.push(await varint()); // packed
      if (field === 2) type = value;
      if (field === 8) name = await file.text(value);
      if (field === 9 || (field === 4 && kind === BYTES)) at = { path, offset: file.at }; // its bytes, or packed floats
      if (field === 13) await entry(file.at + value, external);
    });
    // Weights in a file beside it are named from its own folder.
    if (external.location) at = { path: path.slice(0, path.lastIndexOf("/") + 1) + external.location, offset: Number(external.offset ?? 0) };
    const [dtype, bits] = TYPES[type] ?? [`type ${type}`, 0];
    all.push({ name, dtype, shape, bytes: Math.ceil((shape.reduce((a, b) => a * b, 1) * bits) / 8), at });
  }

  async function node(end: number) {
    const inputs: string[] = [];
    let operation = "";
    await message(end, async (field, length) => {
      if (field === 1) inputs.push(await file.text(length));
      if (field === 4) operation = await file.text(length);
    });
    for (const input of inputs) if (!readers.has(input)) readers.set(input, operation);
  }

  await message(size, async (field, length) => {
    if (field !== 7) return; // the graph
    await message(file.at + length, async (inner, inside) => {
      if (inner === 1) await node(file.at + inside);
      if (inner === 5) await tensor(file.at + inside);
    });
  });
  return all.map((one) => ({ ...one, operation: readers.get(one.name) }));
}
