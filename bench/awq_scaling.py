"""Tries AWQ's scaling before the engine has it: SmolLM2 with norms and the columns they feed rescaled, the same function.

    build/venv/bin/python bench/awq_scaling.py ALPHA TEXT OUT     e.g. 0.25 calibration.txt build/awq/m0.25

s_j = (mean |x_j|)^ALPHA of each norm's output on TEXT (Lin et al., MLSys 2024, section 3.2), divided by sqrt(max s * min s); the norm's
gain is divided by s and the readers' columns are multiplied by it. OUT is then quantised like any model.
"""
import os
import sys
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

SOURCE, SEQUENCES, LENGTH = "build/models/smollm2-fp32", 16, 512
alpha, text, out = float(sys.argv[1]), Path(sys.argv[2]).read_text(encoding="utf-8"), sys.argv[3]
tokenizer = AutoTokenizer.from_pretrained(SOURCE)
model = AutoModelForCausalLM.from_pretrained(SOURCE, dtype=torch.float32).eval()
ids = torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"][:SEQUENCES * LENGTH]).reshape(SEQUENCES, LENGTH)


def pairs(block):
    yield block.input_layernorm, (block.self_attn.q_proj, block.self_attn.k_proj, block.self_attn.v_proj)
    yield block.post_attention_layernorm, (block.mlp.gate_proj, block.mlp.up_proj)


sums = {}
hooks = [readers[0].register_forward_pre_hook(
    lambda _, x, norm=norm: sums.__setitem__(norm, sums.get(norm, 0) + x[0].abs().reshape(-1, x[0].shape[-1]).sum(0)))
    for block in model.model.layers for norm, readers in pairs(block)]
with torch.inference_mode():
    for sequence in ids:
        model(sequence[None])
for hook in hooks:
    hook.remove()
with torch.no_grad():
    for block in model.model.layers:
        for norm, readers in pairs(block):
            s = sums[norm].clamp_min(1e-6).pow(alpha)
            s = s / (s.max() * s.min()).sqrt()
            norm.weight.div_(s)
            for reader in readers:
                reader.weight.mul_(s)
model.save_pretrained(out)
tokenizer.save_pretrained(out)
