// What the page says without a screen: what came of a job, what is to come of its steps, an artifact's descendants, axes.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const dashboard = fileURLToPath(new URL("../../dashboard/", import.meta.url));
const { buildSync } = createRequire(dashboard + "package.json")("esbuild");
async function load(name) {
  const built = buildSync({ entryPoints: [`${dashboard}src/${name}`], bundle: true, format: "esm", write: false });
  return import("data:text/javascript;base64," + Buffer.from(built.outputFiles[0].contents).toString("base64"));
}
const { outcomeOf, remaining, seconds } = await load("job_text.ts");
const { attempts, outlook } = await load("timeline.ts");
const { layersOf } = await load("model_layers.ts");
const { spreadOf } = await load("weights.ts");
const { renamed } = await load("recipe_text.ts");
const { lastReports, layerReports, logAxis, metricsOf, placed } = await load("layers.ts");
const { cellsOf, firstModel, licence, lineageOf, measurements, moreText } = await load("lineage.ts");

// A cosine to the model itself is 1 but for rounding: that says nothing.
const row = (metric, when, value, unit = "") => ({ suite: unit === "bytes" ? "size" : "similarity", metric, when, value, unit, text: "" });
const rows = [
  row("cosine_mean", "before", 0.99999994),
  row("cosine_mean", "after", 0.99971),
  row("weight_bytes", "before", 98.4e6, "bytes"),
  row("weight_bytes", "after", 73.1e6, "bytes"),
];
assert.deepEqual(outcomeOf({ evaluations: rows }), {
  size: { name: "weights", now: "73.1 MB", before: "98.4 MB", change: "−26 %" },
  quality: { name: "cosine", now: "0.9997", before: "", change: "" },
});
const perplexity = [row("perplexity", "before", 23.94), row("perplexity", "after", 24.61)];
assert.deepEqual(outcomeOf({ evaluations: perplexity }).quality, { name: "perplexity", now: "24.61", before: "23.94", change: "+2.8 %" });
assert.deepEqual(outcomeOf({ evaluations: [] }), { size: undefined, quality: undefined });

// What runs ends when it says, or as it was forecast; what follows begins then. Nothing is expected of an attempt that has ended.
const stage = (index, forecast_seconds, eta_seconds) => ({ index, forecast_seconds, progress: eta_seconds && { eta_seconds } });
const span = (index, start, end) => ({ index, start, end });
const job = (...stages) => ({ state: "RUNNING", stages });
const attempt = (end, ...spans) => ({ end, spans });
const times = (...all) => Object.fromEntries(outlook(...all));
assert.deepEqual(times(job(stage(0, 5), stage(1, 10), stage(2, 4)), attempt(null, span(0, 0, 4000), span(1, 4000, null)), 6000), { 1: [4000, 14000], 2: [14000, 18000] });
assert.deepEqual(times(job(stage(0, 10, 3), stage(1, 0), stage(2, 4)), attempt(null, span(0, 0, null)), 6000), { 0: [0, 9000], 2: [9000, 13000] });
assert.deepEqual(times(job(stage(0, 2)), attempt(null, span(0, 0, null)), 6000), { 0: [0, 6000] }); // later than was expected
assert.deepEqual(times(job(stage(0, 10)), attempt(5000, span(0, 0, 5000)), 6000), {});

// The running stage has had what the attempt took, less what the stages before it did.
const at = (ms) => new Date(ms).toISOString();
const later = { state: "RUNNING", start_time: at(0), stages: [{ state: "done", seconds: 100 }, { state: "running", forecast_seconds: 50 }] };
assert.deepEqual(remaining(later, 120_000), { seconds: 30, more: true });

// A job that waits again takes no time meanwhile.
assert.equal(seconds({ state: "RUNNING", start_time: at(0) }, 5000), 5);
assert.equal(seconds({ state: "QUEUED", start_time: at(0) }, 5000), null);

// An attempt that was given back says what went wrong, not that it did.
const event = (type, payload) => ({ type, time: at(0), attempt: 1, payload_json: JSON.stringify(payload) });
const [broken] = attempts([event("leased", { worker: "w" }), event("released", { reason: "attempt failed", error: { message: "the engine was killed" } })]);
assert.equal(broken.ending, "released: the engine was killed");

// Layers, in whose words a method tells of them.
const told = (...layers) => layerReports({ report_json: JSON.stringify({ layers }) });
const cut = told({ layer: "model.layers.0.mlp.down_proj", channels: 3, of: 4 }, { layer: "model.layers.1.self_attn.o_proj", kv_heads: 1, of: 4 });
assert.deepEqual(cut.map(({ sparsity }) => sparsity), [0.25, 0.75]);
assert.deepEqual(metricsOf(cut).map(({ value }) => value), ["sparsity"]);
assert.equal(told({ layer: "conv1.weight", relative_error: 0.01, bits: 8 })[0].error, 0.01);
assert.deepEqual(placed(told({ layer: "block 3", cosine: 0.9 })).map(({ at, kind }) => [at, kind]), [[3, "block"]]);
assert.deepEqual(placed(told({ layer: "conv1" }, { layer: "fc" })).map(({ at, kind }) => [at, kind]), [[0, "all layers"], [1, "all layers"]]);
const both = lastReports([...told({ layer: "a", error: 0.1, bits: 4 }), ...told({ layer: "a", change: 0.02 })]).get("a");
assert.deepEqual([both.error, both.bits, both.change], [0.1, 4, 0.02]);

// The parts of a sum are one layer.
const tensor = (name, dtype, shape) => ({ name, dtype, shape, bytes: 4 });
const sum = { rep: "sum", attributes: { parts: [{ rep: "packed-int", attributes: { bits: 3, group_size: 8 } }, { rep: "low-rank", attributes: {} }] } };
const up = "model.layers.0.mlp.up_proj";
const parts = [tensor(`${up}.0.codes`, "U8", [4, 3]), tensor(`${up}.0.scales`, "F16", [4, 1]), tensor(`${up}.1.a`, "F16", [2, 8]), tensor(`${up}.1.b`, "F16", [4, 2])];
const held = layersOf([...parts, tensor("model.norm.weight", "F32", [8])], { [up]: sum });
assert.deepEqual(held.map(({ name, rep, bytes, shape, bits }) => [name, rep, bytes, shape, bits]), [
  [up, "sum", 16, [4, 8], 4],
  ["model.norm", "dense", 4, [8], 4],
]);
assert.deepEqual(layersOf(parts.slice(0, 1), { [up]: sum })[0].shape, []); // of a file that is damaged

// Zero lies in the middle of a bar.
const lopsided = spreadOf([-1, -0.5, 0.001, 0.5, 2], 5, 10);
const bar = (value) => (value - lopsided.from) / lopsided.step;
assert.ok(Math.abs((bar(0) % 1) - 0.5) < 1e-9 && bar(2) < 10 && bar(-1) >= 0, JSON.stringify(lopsided));
assert.equal(lopsided.counts.reduce((all, count) => all + count), 5);

// The form's name and the recipe's are one, where the recipe says one.
assert.equal(renamed("# mine\nname: old\nstages: []\n", "new"), "# mine\nname: new\nstages: []\n");
assert.equal(renamed("name: old\nstages: []\n", ""), "stages: []\n");
assert.equal(renamed("stages: []\n", "new"), "stages: []\n");
assert.equal(renamed("name: [", "new"), "name: [");

// Errors within a decade fill their axis.
const axis = logAxis([0.0011, 0.002, 0.0048]);
assert.ok(axis.max / axis.min < 8 && axis.min < 0.0011 && axis.max > 0.0048);
assert.deepEqual(axis.marks, [0.001, 0.002, 0.005]);
assert.equal(logAxis([0, 1]), undefined);

// What went in and what was made, by jobs that a service would have: [job, model, result, data].
const answer = (value) => new Response(JSON.stringify(value));
const gone = () => new Response("{}", { status: 404 });
function serve(jobs, deleted = [], page = Infinity) {
  const all = jobs.map(([id, model, result, data = {}]) => ({ id, spec: { model, data, name: id }, result, stages: [] }));
  globalThis.fetch = async (path) => {
    const url = new URL(path, "http://localhost");
    const [kind, id] = url.pathname.split("/").slice(3);
    if (kind === "artifacts") return deleted.includes(id) ? gone() : answer({ digest: id, name: id, created_by_job: all.find((job) => job.result === id)?.id ?? "" });
    if (id) return answer(all.find((job) => job.id === id));
    assert.deepEqual(url.searchParams.getAll("states"), ["JOB_STATE_SUCCEEDED"]);
    const made = all.filter((job) => job.spec.model === url.searchParams.get("model")).reverse(); // newest first
    return answer({ jobs: made.slice(0, page), next_page_token: made.length > page ? "next" : "" });
  };
}
const levelsOf = ({ nodes }) => Object.fromEntries(nodes.map(({ digest, level }) => [digest, level]));
const linesOf = ({ edges }) => edges.map(({ from, to, data, jobs }) => [from, to, data, jobs.map(({ id }) => id).join()].filter(Boolean).join(" ")).sort();
const artifact = (digest, job) => ({ digest, name: digest, created_by_job: job });
serve(
  [
    ["j0", "dense", "teacher"],
    ["j1", "dense", "pruned", { calibration: "text", teacher: "teacher" }],
    ["j2", "pruned", "own", { calibration: "text" }],
    ["j3", "own", "b"],
    ["j4", "own", "b"], // the same once more
    ["j5", "own", "lost"],
    ["j6", "own", "gone"],
    ["j7", "gone", "late", { calibration: "text", teacher: "b" }],
    ["j8", "own", "own"], // it was evaluated
    ["j9", "own", ""],
  ],
  ["lost", "gone"],
);
const lineage = await lineageOf(artifact("own", "j2"));
assert.deepEqual(levelsOf(lineage), { dense: -3, text: -2, teacher: -2, pruned: -1, own: 0, b: 1, gone: 1, late: 2 });
assert.deepEqual(linesOf(lineage), [
  "b late teacher j7",
  "dense pruned j1",
  "dense teacher j0",
  "gone late j7",
  "own b j4,j3",
  "own gone j6",
  "pruned own j2",
  "teacher pruned teacher j1",
  "text own calibration j2",
  "text pruned calibration j1",
]);
assert.deepEqual([lineage.cut, lineage.nodes.some(({ more }) => more)], [false, false]);
assert.equal(lineage.nodes.find(({ digest }) => digest === "gone").artifact, undefined);
assert.equal((await firstModel(artifact("own", "j2"))).digest, "dense");
serve([["j1", "dense", "own"]], ["dense"]);
assert.deepEqual(levelsOf(await lineageOf(artifact("own", "j1"))), { dense: -1, own: 0 });
assert.equal((await firstModel(artifact("own", "j1"))).digest, "own");
serve([]);
assert.deepEqual(levelsOf(await lineageOf(artifact("own", ""))), { own: 0 });

// Of what many jobs made the newest of each, and how many more there are as far as was asked.
const trials = Array.from({ length: 120 }, (_, i) => [`t${i}`, "own", `r${i}`]);
const further = trials.flatMap(([, , result]) => Array.from({ length: 3 }, (_, i) => [`${result}j${i}`, result, `${result}-${i}`]));
serve([...trials, ...further], [], 100);
const wide = await lineageOf(artifact("own", ""));
const level = (n) => wide.nodes.filter((node) => node.level === n);
assert.deepEqual([1, 2, 3, 4].map((n) => level(n).length), [12, 12, 0, 0]);
assert.deepEqual(wide.nodes[0].more, { count: 88, open: true });
assert.equal(moreText(wide.nodes[0].more), "88+ more");
assert.deepEqual(level(1).map(({ digest }) => digest), Array.from({ length: 12 }, (_, i) => `r${119 - i}`));
assert.deepEqual(new Set(level(1).map(({ more }) => moreText(more))), new Set(["2 more"])); // one of each was shown
assert.ok(level(2).every(({ digest, more }) => digest.endsWith("-2") && !more));

// In a drawing what was made stands beside what it was made from.
serve([["j1", "own", "a"], ["j2", "own", "b"], ["j3", "a", "a1"], ["j4", "a", "a2"], ["j5", "b", "b1"]]);
const cells = cellsOf(await lineageOf(artifact("own", "")));
const places = cells.map(({ node, column, row }) => `${node.digest} ${column} ${row}`);
assert.deepEqual(places, ["own 0 0", "b 1 -0.5", "a 1 0.5", "b1 2 -1", "a2 2 0", "a1 2 1"]);

// A chain of more than fits is cut where it is farthest.
const chain = Array.from({ length: 60 }, (_, i) => [`j${i}`, `m${i}`, `m${i + 1}`]);
serve(chain);
const middle = await lineageOf(artifact("m29", "j28"));
assert.deepEqual([middle.cut, middle.nodes.length, middle.nodes[0].digest], [true, 50, "m10"]);
assert.deepEqual(middle.nodes.at(-1).more, { count: 1, open: false });

// All that was measured, over several pages.
const JOBS = 2500;
globalThis.fetch = async (path) => {
  const from = Number(new URL(path, "http://localhost").searchParams.get("page_token") ?? 0);
  const evaluations = Array.from({ length: Math.min(1000, JOBS - from) }, (_, i) => ({ job_id: `j${from + i}`, when: "before" }));
  return answer({ evaluations, next_page_token: from + 1000 < JOBS ? String(from + 1000) : "" });
};
assert.equal((await measurements("m")).length, JOBS);

// A licence is the manifest's, the card's or the GGUF file's, as far as one of them says it.
const words = (text) => {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(Buffer.byteLength(text)));
  return Buffer.concat([length, Buffer.from(text)]);
};
const u32 = (value) => Buffer.from(Uint32Array.of(value).buffer);
const u64 = (value) => Buffer.from(BigUint64Array.of(BigInt(value)).buffer);
const WORDS = [u32(9), u32(8), u64(3), words("the"), words("a"), words("of")]; // an array of texts
const ggufOf = (...keys) => Buffer.concat([Buffer.from("GGUF"), u32(3), u64(0), u64(keys.length), ...keys.flatMap(([key, ...value]) => [words(key), ...value])]);
async function licenceOf(files, metadata = {}) {
  globalThis.fetch = async (path, { headers } = {}) => {
    const range = /^bytes=(\d+)-(\d+)$/.exec(headers?.Range ?? "");
    const file = Buffer.from(files[path.split("/").at(-1)]);
    return new Response(range ? file.subarray(Number(range[1]), Number(range[2]) + 1) : file);
  };
  const all = Object.entries(files).map(([path, content]) => ({ path, size: content.length, chunks: [] }));
  return licence({ digest: "d", manifest_json: JSON.stringify({ files: all, metadata }) });
}
const says = (key, text) => [key, u32(8), words(text)];
const named = { id: "other", name: "llama3.1", link: "https://example.org/licence" };
const keys = [says("general.license", "other"), says("general.license.name", "llama3.1"), says("general.license.link", named.link)];
const before = [["general.alignment", u32(4), u32(64)], says("general.name", "a model")];
const after = [["tokenizer.ggml.tokens", ...WORDS], says("tokenizer.ggml.model", "gpt2")];
assert.deepEqual(await licenceOf({ "m.gguf": ggufOf(...before, ...keys, ...after) }), named);
assert.deepEqual(await licenceOf({ "m.gguf": ggufOf(...after, keys[0]) }), { id: "other", name: "", link: "" }); // wherever it stands
assert.equal(await licenceOf({ "m.gguf": ggufOf(...before, ...after) }), null);
assert.equal(await licenceOf({ "m.gguf": ggufOf(says("general.license", "word ".repeat(1000)), ["general.license", u32(4), u32(1)]) }), null);
assert.deepEqual(await licenceOf({ "m.gguf": ggufOf(...keys), "README.md": "---\nlicense: mit\n---\n" }), { id: "mit", name: "", link: "" });
assert.deepEqual(await licenceOf({ "m.gguf": ggufOf(...keys), "README.md": "no front matter" }), named);
assert.deepEqual(await licenceOf({ "m.gguf": ggufOf(...keys) }, { license: "apache-2.0" }), { id: "apache-2.0", name: "", link: "" });
assert.equal(await licenceOf({ "model.safetensors": "" }), null);
// Of a list all pages, or as many as are allowed with word that there are more.
const { get, listed } = await load("api.ts");
const numbered = async (path) => {
  const from = Number(new URL(path, "http://localhost").searchParams.get("page_token") ?? 0);
  const workers = Array.from({ length: Math.min(1000, JOBS - from) }, (_, i) => ({ id: from + i }));
  return new Response(JSON.stringify({ workers, next_page_token: from + 1000 < JOBS ? String(from + 1000) : "" }));
};
globalThis.fetch = numbered;
const every = await listed("workers", "workers");
assert.deepEqual([every.all.length, every.all.at(-1).id, every.more], [JOBS, JOBS - 1, false]);
const some = await listed("workers", "workers", {}, 2000);
assert.deepEqual([some.all.length, some.more], [2000, true]);

// A server that takes a call and says nothing, or not all of it, is one that does not answer.
const timeout = globalThis.setTimeout;
globalThis.setTimeout = (call, ms) => timeout(call, ms / 1000);
const silent = (signal) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
globalThis.fetch = (_, { signal }) => silent(signal);
await assert.rejects(get("jobs"), { reason: "UNREACHABLE" });
globalThis.fetch = async (_, { signal }) => ({ ok: true, text: () => silent(signal) });
await assert.rejects(get("jobs"), { reason: "UNREACHABLE" });
globalThis.setTimeout = timeout;
const left = new AbortController();
globalThis.fetch = (_, { signal }) => silent(signal);
const given = get("jobs", {}, left.signal);
left.abort();
await assert.rejects(given);

// Times below a second have a figure, too.
const { duration, parseBytes } = await load("format.ts");
assert.deepEqual(["60 MB", "1.5gb", "512MiB", "2000", "5ib", "many"].map(parseBytes), [60e6, 1.5e9, 512 * 2 ** 20, 2000, undefined, undefined]);
assert.deepEqual([0, 0.04, 0.3, 0.95, 7, 65, 3725].map(duration), ["0:00", "< 0.1 s", "0.3 s", "0:01", "0:07", "1:05", "1:02:05"]);

// What lies within a standard error of the difference from the best is as good; where that are all, none is marked.
const { bestOf, freeOf, pairsApart } = await load("compare.ts");
const values = (...pairs) => pairs.map(([value, stderr]) => ({ value, stderr }));
const best = (rows, sign) => bestOf(rows, sign).map(({ value }) => value);
assert.deepEqual(best(values([3, 0.3], [3.4, 0.4], [3.6, 0.4]), -1), [3, 3.4]); // 0.5 apart
assert.deepEqual(best(values([3, 0.3], [3.4, 0.4]), -1), []);
assert.deepEqual(best(values([3], [4], [4]), 1), [4, 4]);
assert.deepEqual(best(values([3], [4]), 0), []);
assert.deepEqual(best([], 1), []);
assert.equal(pairsApart(values([3, 0.3], [3.4, 0.4], [3.6, 0.4])), 1); // 0.6 by 0.5
assert.equal(pairsApart(values([3], [4, 0.1])), 0); // nobody knows

// A name makes room for those that are there, by as much as it takes, and for nothing beside it.
const box = (x, y) => ({ x, y, width: 10, height: 5 });
assert.deepEqual(freeOf([box(0, 0), box(3, -5)], box(5, 2), -1), box(5, -10));
assert.deepEqual(freeOf([box(0, 0), box(3, 5)], box(5, 2), 1), box(5, 10));
assert.deepEqual(freeOf([box(0, 0)], box(10, 0), -1), box(10, 0));

// Words on any ground have the contrast that WCAG's AA asks of small ones.
const { inkOn } = await load("colors.ts");
const light = (...rgb) => rgb.map((c) => (c <= 10.31475 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4)).reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
for (let r = 0; r < 256; r += 15)
  for (let g = 0; g < 256; g += 15)
    for (let b = 0; b < 256; b += 15) {
      const ink = inkOn(`rgb(${r}, ${g}, ${b})`) === "rgb(0, 0, 0)" ? 0 : 1;
      const [dark, bright] = [ink, light(r, g, b)].sort((a, c) => a - c);
      assert.ok((bright + 0.05) / (dark + 0.05) >= 4.5, `${r} ${g} ${b}`);
    }

// A change of the form leaves the comments and the order of the YAML.
const { rewritten } = await load("recipe_text.ts");
const step = (key, name, params = {}) => ({ key, name, params });
const was = { name: "", stages: [step("a", "gptq", { bits: 3 }), step("b", "eora")], evaluations: [step("c", "perplexity")], exports: [] };
const text = "# what we ship\nstages:\n  - method: gptq # the good one\n    params: {bits: 3, group_size: 64}\n  - eora\nevaluations: [perplexity] # all\n";
const [gptq, eora] = was.stages;
assert.equal(rewritten(text, was, { ...was, stages: [{ ...gptq, params: { bits: 4, damping: 0.1 } }, eora] }), text.replace("bits: 3, group_size: 64", "bits: 4, group_size: 64, damping: 0.1"));
assert.equal(rewritten(text, was, { ...was, stages: [gptq, { ...eora, params: { rank: 8 } }] }), text.replace("- eora", "- method: eora\n    params: {rank: 8}"));
assert.equal(rewritten(text, was, { ...was, stages: [gptq], exports: [step("d", "gguf")] }), text.replace("  - eora\n", "") + "exports:\n  - format: gguf\n");
assert.equal(rewritten(text, was, { ...was, evaluations: [] }), text.slice(0, text.indexOf("evaluations")));
assert.equal(rewritten("# a\nversion: 2\nstages:\n  # for b\n  - gptq\n  - eora\n", was, { ...was, stages: [eora], evaluations: was.evaluations }), "stages:\n  - method: eora\nevaluations:\n  - suite: perplexity\n"); // it has none of the evaluations that the form says
const alone = { ...was, evaluations: [] };
assert.equal(rewritten("version: 2\nseed: 9007199254740993\nstages:\n  # for b\n  - gptq\n  - eora\n", alone, { ...alone, stages: [eora] }), "version: 2\nseed: 9007199254740993\nstages:\n  - eora\n");
assert.equal(rewritten("stages: [gptq, eora] # both\n", alone, { ...alone, stages: [] }), "");
assert.match(rewritten("default_stage: # llm-compressor's\n  m: {}\n", alone, { ...alone, exports: [step("d", "gguf")] }), /^stages:\n  - method: gptq\n/);
assert.match(rewritten("gptq(bits=3) | eora # one line", was, { ...was, exports: [step("d", "gguf")] }), /^stages:\n  - method: gptq\n    params: \{bits: 3\}/);

// What a job asks for, as a form has it and back.
const { limitsOf, limitsText, parseSeconds, specOf, wrongIn } = await load("limits.ts");
const asked = {
  resources: { device: "cuda", device_count: 0, memory_bytes: "4000000000", threads: 2, processes: 4, worker_class: "fast" },
  retry: { max_attempts: 3 },
  max_runtime_seconds: 5400,
  queued_timeout_seconds: 0,
  total_timeout_seconds: 172800,
  retention: { pinned: false, expire_after_seconds: 604800 },
};
const limits = limitsOf(asked);
assert.deepEqual(limits, { device: "cuda", processes: "4", threads: "2", memory: "4GB", runtime: "90m", queued: "", total: "2d", attempts: "3", kept: "7d" });
assert.deepEqual(specOf(limits), { ...asked, resources: { ...asked.resources, worker_class: "" } }); // the form has no field for it
assert.deepEqual(specOf(limits, asked), asked);
const bare = { max_runtime_seconds: 0, queued_timeout_seconds: 0, total_timeout_seconds: 0 };
assert.deepEqual(JSON.parse(JSON.stringify(specOf(limitsOf(bare), bare))), bare);
assert.equal(limitsText(limitsOf(bare)), "");
assert.equal(limitsText(limits), "cuda, 4 processes, 2 threads each, 4GB of memory, 90m an attempt, 2d in all, 3 attempts, results kept 7d");
assert.equal(limitsOf({ ...bare, resources: { memory_bytes: String(3 * 2 ** 29) } }).memory, "1536MiB");
assert.deepEqual(["90s", "1.5h", "2 d", "2", "h", "-1s"].map(parseSeconds), [90, 5400, 172800, undefined, undefined, undefined]);
assert.deepEqual(Object.keys(wrongIn({ ...limits, threads: "two", memory: "4 gold", queued: "soon" })), ["threads", "queued", "memory"]);
console.log("ok      what the page says without a screen");
