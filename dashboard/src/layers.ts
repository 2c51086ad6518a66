// Layers as the reports of stages, and artifacts, tell of them.
import type { Stage } from "./api";

/** What stages say of a layer: each what it has changed. */
export interface LayerReport {
  layer: string;
  error?: number;
  sparsity?: number; // also the share of its heads, channels or units that was cut away
  bits?: number;
  change?: number; // of its weights in training
  cosine?: number; // of a block's input and output
  levels?: number;
  shape?: number[];
}

export type Metric = "error" | "sparsity" | "bits" | "change" | "cosine" | "levels";
export const METRICS: { value: Metric; label: string; most: string }[] = [
  { value: "error", label: "Error", most: "Layers that lost most" },
  { value: "sparsity", label: "Sparsity", most: "Sparsest layers" },
  { value: "bits", label: "Bits", most: "Layers with most bits" },
  { value: "change", label: "Change", most: "Layers that changed most" },
  { value: "cosine", label: "Cosine", most: "Blocks that do least" },
  { value: "levels", label: "Levels", most: "Layers with most levels" },
];

/** Those that some layer has a value of; the first is what to begin with. */
export const metricsOf = (reports: LayerReport[]) => METRICS.filter(({ value }) => reports.some((report) => report[value] !== undefined));

/** A line of a report, in whose words the method has it: "kv_heads": 2 "of": 3 are a third cut away. */
function reportOf(line: Record<string, unknown>): LayerReport {
  const number = (key: string) => (typeof line[key] === "number" ? (line[key] as number) : undefined);
  const kept = number("channels") ?? number("kv_heads") ?? number("units");
  const of = number("of");
  return {
    layer: String(line.layer),
    error: number("error") ?? number("relative_error"),
    sparsity: number("sparsity") ?? (kept !== undefined && of ? 1 - kept / of : undefined),
    bits: number("bits"),
    change: number("change"),
    cosine: number("cosine"),
    levels: number("levels"),
    shape: line.shape as number[] | undefined,
  };
}

export function layerReports(stage: Stage): LayerReport[] {
  if (!stage.report_json) return [];
  try {
    return (JSON.parse(stage.report_json).layers ?? []).map(reportOf);
  } catch {
    return [];
  }
}

/** Of several stages, one after the other: of each layer what was last said of each metric. */
export function lastReports(reports: LayerReport[]): Map<string, LayerReport> {
  const all = new Map<string, LayerReport>();
  for (const report of reports) {
    const known = Object.entries(report).filter(([, value]) => value !== undefined);
    all.set(report.layer, { ...all.get(report.layer), ...(Object.fromEntries(known) as unknown as LayerReport) });
  }
  return all;
}

/** "model.layers.3.mlp.up_proj" -> block 3, kind "mlp.up_proj" (a GGUF file: "blk.3.ffn_up"); layers outside of blocks have block -1. */
export function place(layer: string): { block: number; kind: string } {
  const whole = /^block (\d+)$/.exec(layer);
  if (whole) return { block: Number(whole[1]), kind: "block" };
  const match = /(?:^|\.)(?:layers?|h|blk|blocks?)\.(\d+)\.(.+)$/.exec(layer);
  return match ? { block: Number(match[1]), kind: match[2] } : { block: -1, kind: layer };
}

export const ALL_LAYERS = "all layers";

/** Where charts draw layers: by block, a line each kind; those of a net that has no blocks one after the other. Layers outside of blocks are in tables alone. */
export function placed(reports: LayerReport[]): { report: LayerReport; kind: string; at: number }[] {
  const inBlocks = reports.map((report) => ({ report, ...place(report.layer) })).filter(({ block }) => block >= 0);
  if (inBlocks.length > 0) return inBlocks.map(({ report, kind, block }) => ({ report, kind, at: block }));
  return reports.map((report, at) => ({ report, kind: ALL_LAYERS, at }));
}

/** A logarithmic axis about these values alone, with round marks; undefined where not all are above 0. */
export function logAxis(values: number[]): { min: number; max: number; marks: number[] } | undefined {
  if (values.length === 0 || values.some((value) => value <= 0)) return undefined;
  const min = Math.min(...values) / 1.2;
  const max = Math.max(...values) * 1.3;
  const digits = max / min > 200 ? [1] : max / min > 30 ? [1, 3] : [1, 2, 5];
  const marks: number[] = [];
  for (let power = Math.floor(Math.log10(min)); 10 ** power <= max; ++power) marks.push(...digits.map((digit) => Number(`${digit}e${power}`)));
  return { min, max, marks: marks.filter((mark) => mark >= min && mark <= max) };
}

// What a GGUF file calls the layers that reports name as Hugging Face does: of decoders, and of encoders.
const GGUF_PARTS: Record<string, string> = {
  "self_attn.q_proj": "attn_q",
  "self_attn.k_proj": "attn_k",
  "self_attn.v_proj": "attn_v",
  "self_attn.o_proj": "attn_output",
  "mlp.gate_proj": "ffn_gate",
  "mlp.up_proj": "ffn_up",
  "mlp.down_proj": "ffn_down",
  "attention.self.query": "attn_q",
  "attention.self.key": "attn_k",
  "attention.self.value": "attn_v",
  "attention.output.dense": "attn_output",
  "intermediate.dense": "ffn_up",
  "output.dense": "ffn_down",
};
const GGUF_WHOLE: Record<string, string> = {
  "model.embed_tokens": "token_embd",
  lm_head: "output",
  "embeddings.word_embeddings": "token_embd",
  "embeddings.position_embeddings": "position_embd",
  "embeddings.token_type_embeddings": "token_types",
};

/** The layer's name in a GGUF file; the same where it has none there. */
export function ggufName(layer: string): string {
  const name = layer.replace(/^bert\./, "");
  const match = /^(?:model\.layers|encoder\.layer)\.(\d+)\.(.+)$/.exec(name);
  const part = match && GGUF_PARTS[match[2]];
  return part ? `blk.${match[1]}.${part}` : (GGUF_WHOLE[name] ?? layer);
}
