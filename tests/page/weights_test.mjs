// The page decodes weights as docs/format.md's examples say, blocks of GGUF files as the package gguf does: weights_test.mjs BLOCKS.json
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));
const { buildSync } = createRequire(root + "dashboard/package.json")("esbuild");

async function load(name) {
  const built = buildSync({ entryPoints: [`${root}dashboard/src/${name}`], bundle: true, format: "esm", write: false });
  return import("data:text/javascript;base64," + Buffer.from(built.outputFiles[0].contents).toString("base64"));
}
const { firstValues } = await load("reps.ts");
const { BLOCKS, blockValues } = await load("ggml.ts");
const { spreadOf } = await load("weights.ts");

const view = (hex) => new DataView(Uint8Array.from(Buffer.from(hex.replaceAll(" ", ""), "hex")).buffer);
const near = (got, wanted, what) => {
  assert.equal(got.length, wanted.length, what);
  got.forEach((value, i) => assert.ok(Math.abs(value - wanted[i]) <= 1e-6 * Math.abs(wanted[i]), `${what}: value ${i} is ${value}, not ${wanted[i]}`));
};

/** The tensors of an example, read as the page reads them: only what was asked for. */
const partsOf = (tensors) => ({
  find: (suffix) => tensors[suffix] && { dtype: tensors[suffix][0], shape: tensors[suffix][1] },
  read: async (suffix, rows, from = 0) => {
    const [, shape, hex] = tensors[suffix];
    const all = view(hex);
    const row = all.byteLength / shape[0];
    return new DataView(all.buffer, row * from, Math.round(row * rows));
  },
});

const examples = [...readFileSync(`${root}docs/format.md`, "utf8").matchAll(/^```json (?:example|rounded-input)\n([\s\S]*?)^```/gm)].map((m) => JSON.parse(m[1]));
const reps = new Set(examples.map((example) => example.rep));
assert.deepEqual([...reps].sort(), ["float4", "float8", "ggml", "low-rank", "masked", "packed-int", "residual", "rounded-input", "sum"]);
for (const { rep, attributes, tensors, weight } of examples) {
  const columns = weight[0].length;
  const whole = await firstValues(rep, attributes, partsOf(tensors), 1000);
  near([...whole.values], weight.flat(), rep);
  assert.equal(whole.all, weight.length * columns);
  const first = await firstValues(rep, attributes, partsOf(tensors), columns);
  near([...first.values], weight[0], `the first row of ${rep}`);
  const lost = Object.fromEntries(Object.entries(tensors).slice(1));
  assert.equal(await firstValues(rep, attributes, partsOf(lost), 1000), null, `${rep} without a tensor`);
}
assert.equal(await firstValues("of tomorrow", {}, partsOf({}), 1000), null);
for (const [dtype, hex] of [
  ["F64", "000000000000f8bf"],
  ["F32", "0000c0bf"],
  ["F16", "00be"],
  ["BF16", "c0bf"],
])
  near([...(await firstValues("dense", {}, partsOf({ weight: [dtype, [1, 1], hex] }), 9)).values], [-1.5], dtype);
assert.equal(await firstValues("dense", {}, partsOf({ weight: ["I32", [1, 1], "01000000"] }), 9), null); // codes, not weights

const golden = JSON.parse(readFileSync(process.argv[2], "utf8"));
assert.deepEqual(Object.keys(golden).sort(), Object.keys(BLOCKS).sort());
for (const [type, { hex, values }] of Object.entries(golden)) near([...blockValues(type, view(hex))], values, type);

// As engine/model/gguf_names.cc has them.
const { ggufName } = await load("layers.ts");
const table = readFileSync(`${root}engine/model/gguf_names.cc`, "utf8");
const names = [...table.matchAll(/\{"([\w.]+)", "(\w+)"\}/g)].map(([, hf, gguf]) => [hf, gguf]).filter(([, gguf]) => !/norm/.test(gguf));
assert.equal(names.length, 18);
for (const [hf, gguf] of names) {
  const blocks = /^(self_attn|mlp)/.test(hf) ? "model.layers.12." : /^(attention|intermediate|output)/.test(hf) ? "encoder.layer.12." : "";
  assert.equal(ggufName(blocks + hf), blocks ? `blk.12.${gguf}` : gguf);
}
assert.equal(ggufName("bert.encoder.layer.0.output.dense"), "blk.0.ffn_down");
assert.equal(ggufName("pooler.dense"), "pooler.dense");

const half = spreadOf([0, 0, 1, 2], 8, 2);
assert.deepEqual([half.zeros, half.drawn, half.counts, half.mean], [0.5, false, [0, 2], 0.75]);
assert.deepEqual(spreadOf([0, 1, 2, 3, 4], 5, 2).counts, [2, 3]);
// What is no finite number is counted, and spoils no figure.
const odd = spreadOf(Float64Array.of(NaN, 1, 3, Infinity, 2, -Infinity), 6, 2);
assert.deepEqual([odd.odd, odd.read, odd.counts, odd.from, odd.mean], [3, 6, [1, 2], 1, 2]);
assert.deepEqual([spreadOf([NaN, NaN], 2).odd, spreadOf([], 0).odd], [2, 0]);
console.log(`ok              ${examples.length} examples of docs/format.md, blocks of ${Object.keys(golden).length} types`);
