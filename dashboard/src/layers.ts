// Layers as the reports of stages, and artifacts, tell of them.
import type { Stage } from "./api";

export interface LayerReport {
  layer: string;
  error?: number;
  sparsity?: number;
  bits?: number;
  shape?: number[];
}

export function layerReports(stage: Stage): LayerReport[] {
  if (!stage.report_json) return [];
  try {
    return JSON.parse(stage.report_json).layers ?? [];
  } catch {
    return [];
  }
}

/** "model.layers.3.mlp.up_proj" -> block 3, kind "mlp.up_proj" (a GGUF file: "blk.3.ffn_up"); layers outside of blocks have block -1. */
export function place(layer: string): { block: number; kind: string } {
  const match = /(?:^|\.)(?:layers?|h|blk|blocks?)\.(\d+)\.(.+)$/.exec(layer);
  return match ? { block: Number(match[1]), kind: match[2] } : { block: -1, kind: layer };
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
