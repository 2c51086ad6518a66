"""One llm-compressor run on a Hugging Face folder: dense fp32 weights out, seconds and peak memory as JSON.

usage: llm_compressor.py MODEL OUT CASE CALIBRATION_TEXT SAMPLES LENGTH
"""
import json
import os
import resource
import sys
import time

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.pruning import SparseGPTModifier, WandaPruningModifier
from llmcompressor.modifiers.quantization import GPTQModifier, QuantizationModifier
from transformers import AutoModelForCausalLM, AutoTokenizer

IGNORE = ["re:.*lm_head"]


def four_bits(group):
    weights = dict(num_bits=4, type="int", symmetric=True, strategy="group", group_size=group)
    return {"group_0": dict(targets=["Linear"], weights=weights)}


CASES = {
    "wanda50": lambda: WandaPruningModifier(sparsity=0.5, ignore=IGNORE),
    "sparsegpt50": lambda: SparseGPTModifier(sparsity=0.5, ignore=IGNORE),
    "sparsegpt24": lambda: SparseGPTModifier(sparsity=0.5, mask_structure="2:4", ignore=IGNORE),
    "rtn_g64": lambda: QuantizationModifier(config_groups=four_bits(64), ignore=["lm_head"]),
    "gptq_g64": lambda: GPTQModifier(config_groups=four_bits(64), ignore=["lm_head"]),
    "gptq_g192": lambda: GPTQModifier(config_groups=four_bits(192), ignore=["lm_head"]),
}

model_path, out, case, text, samples, length = sys.argv[1:4] + sys.argv[4:5] + [int(sys.argv[5]), int(sys.argv[6])]
torch.set_num_threads(2)
tokenizer = AutoTokenizer.from_pretrained(model_path)
model = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32)
with open(text, encoding="utf-8", newline="") as file:
    ids = tokenizer(file.read(), add_special_tokens=False)["input_ids"]
rows = [ids[i * length:(i + 1) * length] for i in range(samples)]
data = Dataset.from_dict({"input_ids": rows, "attention_mask": [[1] * length] * samples})
arguments = {} if case.startswith("rtn") else dict(dataset=data, max_seq_length=length, num_calibration_samples=samples)
start = time.time()
oneshot(model=model, recipe=CASES[case](), **arguments)
seconds = time.time() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
for name, module in model.named_modules():  # the values that a loader would compute with, as plain weights
    scheme = getattr(module, "quantization_scheme", None)
    if scheme is not None and getattr(module, "weight_scale", None) is not None:
        from compressed_tensors.quantization.lifecycle.forward import fake_quantize
        module.weight.data = fake_quantize(module.weight.data, module.weight_scale, module.weight_zero_point,
                                           scheme.weights)
state = {k: v for k, v in model.state_dict().items() if not k.endswith(("_scale", "_zero_point", "_g_idx"))}
plain = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32)
plain.load_state_dict(state, strict=False)

plain.save_pretrained(out)
tokenizer.save_pretrained(out)
print(json.dumps({"seconds": seconds, "peak_bytes": peak}))
