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
