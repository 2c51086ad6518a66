// The header of a .safetensors file: which tensors it holds, of what shape, and where. Read by a range request.
import { fileBytes } from "./api";

export interface Tensor {
  name: string;
  dtype: string;
  shape: number[];
  bytes: number;
  at?: { path: string; offset: number }; // where its values lie, where that is known
  operation?: string; // in a graph: of the node that reads it, "Conv"
}

const LARGEST = 50_000_000; // bytes of a header; a model of 100,000 tensors has about 12,000,000

export async function tensors(digest: string, path: string): Promise<Tensor[]> {
  const length = Number(new DataView(await fileBytes(digest, path, 0, 8)).getBigUint64(0, true));
  if (length > LARGEST) throw new Error(`${path} has a header of ${length} bytes`);
  const header = JSON.parse(new TextDecoder().decode(await fileBytes(digest, path, 8, 8 + length))) as Record<
    string,
    { dtype: string; shape: number[]; data_offsets: [number, number] }
  >;
  return Object.entries(header)
    .filter(([name]) => name !== "__metadata__")
    .map(([name, t]) => ({
      name,
      dtype: t.dtype,
      shape: t.shape,
      bytes: t.data_offsets[1] - t.data_offsets[0],
      at: { path, offset: 8 + length + t.data_offsets[0] },
    }));
}
