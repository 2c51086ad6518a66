"""Makes training_goldens.json: transformers' Llama trained by PyTorch's own AdamW, step by step.

Run by hand when a training method's definition changes: build/venv/bin/python tests/engine/make_training_goldens.py.
Weights and texts are made by formulas that wave_llama.h repeats.
"""
import json
import math
import pathlib

import torch
from transformers import LlamaConfig, LlamaForCausalLM

SIZES = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4, "vocab_size": 32,
         "rms_norm_eps": 1e-5, "max_position_embeddings": 64, "tie_word_embeddings": True}
SEQUENCES, POSITIONS, SEED = 33, 12, 5  # two of them are held out
COMPARED = ["model.layers.0.self_attn.v_proj.weight", "model.layers.1.mlp.down_proj.weight", "model.layers.0.input_layernorm.weight"]
STEPS = {"steps": 6, "batch": 4, "learning_rate": 0.02, "decay": "cosine", "warmup": 0.34, "weight_decay": 0.0, "clip": 0.0,
         "vectors": False, "rank": 0, "alpha": 16.0}


def model_of(blocks, phase):
    model = LlamaForCausalLM(LlamaConfig(**SIZES, num_hidden_layers=blocks, attn_implementation="eager")).float()
    with torch.no_grad():
        for number, (name, value) in enumerate(model.named_parameters()):
            places = torch.arange(value.numel(), dtype=torch.float64)
            wave = torch.sin(1.618 * places + number + phase)
            value.copy_((1 + 0.1 * wave if value.dim() == 1 else 0.4 * wave).float().reshape(value.shape))
    return model


def texts():
    return torch.tensor([[(7 * s * s + 3 * p * (s + 1) + p * p) % SIZES["vocab_size"] for p in range(POSITIONS)] for s in range(SEQUENCES)])


def rate(params, step):
    warmup = int(params["warmup"] * params["steps"])
    if step < warmup:
        return params["learning_rate"] * (step + 1) / (warmup + 1)
    t = (step - warmup) / max(1, params["steps"] - 1 - warmup)
    left = {"constant": 1.0, "linear": 1 - t, "cosine": 0.5 * (1 + math.cos(math.pi * t))}[params["decay"]]
    return params["learning_rate"] * (1.0 if params["decay"] == "constant" else 0.1 + 0.9 * left)


def batches(params, ids):
    """Sequences of each step: epochs in an order of their own."""
    sequences, order, epoch = ids[:-(len(ids) // 16)], None, -1
    for step in range(params["steps"]):
        rows = []
        for i in range(step * params["batch"], (step + 1) * params["batch"]):
            if i // len(sequences) != epoch:
                epoch = i // len(sequences)
                order = torch.randperm(len(sequences), generator=torch.Generator().manual_seed(SEED + epoch))
            rows.append(sequences[order[i % len(sequences)]])
        yield torch.stack(rows)


def targets(model):
    return [(name, module) for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and name != "lm_head"]


class Adapter(torch.nn.Module):
    def __init__(self, linear, params, generator):
        super().__init__()
        out, width = linear.weight.shape
        self.a = torch.nn.Parameter(torch.randn(params["rank"], width, generator=generator) / math.sqrt(width))
        self.b = torch.nn.Parameter(torch.zeros(out, params["rank"]))
        self.share = params["alpha"] / params["rank"]

    def forward(self, weight):
        return weight + self.share * self.b @ self.a


class Mask(torch.nn.Module):
    def __init__(self, weight):
        super().__init__()
        self.keep = torch.ones_like(weight)

    def forward(self, weight):
        return weight * self.keep


def cross_entropy(logits, ids):
    return torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, logits.shape[-1]), ids[:, 1:].reshape(-1))


def distillation(params, student, teacher, ids):
    with torch.no_grad():
        taught = teacher(ids, output_hidden_states=True)
    learned = student(ids, output_hidden_states=True)
    t = params["temperature"]
    loss = params["logits"] * t * t * torch.nn.functional.kl_div(
        torch.log_softmax(learned.logits / t, -1).flatten(0, 1), torch.log_softmax(taught.logits / t, -1).flatten(0, 1),
        reduction="batchmean", log_target=True)
    loss = loss + params["labels"] * cross_entropy(learned.logits, ids)
    return loss, learned, taught


def hidden_states(model, ids):
    """After each block, before the last norm."""
    kept = []
    hooks = [block.register_forward_hook(lambda m, i, o: kept.append(o[0] if isinstance(o, tuple) else o)) for block in model.model.layers]
    model(ids)
    for hook in hooks:
        hook.remove()
    return kept


def train(case):
    params = {**STEPS, **case["params"]}
    student, teacher = model_of(2, 0.0), model_of(case.get("teacher_blocks", 2), 0.7)
    for value in student.parameters():
        value.requires_grad_(False)
    generator, trained, masks = torch.Generator().manual_seed(SEED), [], []
    for _, module in targets(student):
        if params["rank"]:
            adapter = Adapter(module, params, generator)
            torch.nn.utils.parametrize.register_parametrization(module, "weight", adapter)
            trained += [adapter.a, adapter.b]
        else:
            module.weight.requires_grad_(True)
            trained.append(module.weight)
    if params["vectors"]:
        gains = [value for value in student.parameters() if value.dim() == 1]
        for gain in gains:
            gain.requires_grad_(True)
        trained += gains
    if case["method"] == "gradual-magnitude":
        for _, module in targets(student):
            torch.nn.utils.parametrize.register_parametrization(module, "weight", Mask(module.weight))
            masks.append((module.parametrizations.weight.original, module.parametrizations.weight[0]))
    optimizer = torch.optim.AdamW(trained, lr=1.0, weight_decay=params["weight_decay"])
    losses = []
    for step, ids in enumerate(batches(params, texts())):
        if masks:
            update_masks(params, step, masks)
        before = [(weight, weight.detach().clone(), mask.keep.clone()) for weight, mask in masks]
        if case["method"] == "distill":
            loss, _, _ = distillation(params, student, teacher, ids)
            if params["hidden"]:
                with torch.no_grad():
                    taught = hidden_states(teacher, ids)
                learned = hidden_states(student, ids)
                beside = [taught[max(1, (i + 1) * len(taught) // len(learned)) - 1] for i in range(len(learned))]
                loss = loss + params["hidden"] * sum(((a - b)**2).mean() / (b**2).mean() for a, b in zip(learned, beside)) / len(learned)
        else:
            loss = cross_entropy(student(ids).logits, ids)
        loss.backward()
        if params["clip"]:
            torch.nn.utils.clip_grad_norm_(trained, params["clip"])
        for group in optimizer.param_groups:
            group["lr"] = rate(params, step)
        optimizer.step()
        optimizer.zero_grad()
        with torch.no_grad():
            for weight, old, keep in before:
                weight.copy_(torch.where(keep != 0, weight, old))
        losses.append(loss.item())
    weights = dict(student.named_parameters())
    compared = {name: weights[name].detach() if name in weights else student.get_submodule(name.removesuffix(".weight")).weight.detach()
                for name in COMPARED}
    return {**case, "params": params, "losses": losses, "weights": {name: [round(x, 7) for x in value.reshape(-1).tolist()]
                                                                    for name, value in compared.items()}}


def update_masks(params, step, masks):
    first, last = int(params["begin"] * params["steps"]), min(int(params["end"] * params["steps"]), params["steps"] - 1)
    if not (step == last or (first <= step < last and (step - first) % params["interval"] == 0)):
        return
    share = params["sparsity"] if step >= last else params["sparsity"] * (1 - (1 - (step - first) / (last - first))**params["exponent"])
    for weight, mask in masks:
        dropped = int(share * weight.numel())
        order = torch.argsort(weight.detach().abs().reshape(-1), stable=True)
        keep = torch.ones(weight.numel())
        keep[order[:dropped]] = 0
        mask.keep = keep.reshape(weight.shape)


DISTILL = {"logits": 1.0, "temperature": 1.0, "hidden": 0.0, "labels": 0.0}
GRADUAL = {"sparsity": 0.7, "begin": 0.0, "end": 0.7, "interval": 2, "exponent": 3.0, "scope": "layer"}
CASES = [
    {"method": "finetune", "params": {}},
    {"method": "finetune", "params": {"weight_decay": 0.1, "clip": 0.5, "decay": "linear", "warmup": 0.0, "vectors": True}},
    {"method": "finetune", "params": {"rank": 3, "alpha": 6.0, "decay": "constant", "steps": 10}},
    {"method": "distill", "params": DISTILL},
    {"method": "distill", "teacher_blocks": 5, "params": {**DISTILL, "temperature": 2.0, "hidden": 0.5, "labels": 0.3}},
    {"method": "distill", "teacher_blocks": 1, "params": {**DISTILL, "hidden": 1.0}},
    {"method": "gradual-magnitude", "params": {**GRADUAL, "steps": 10, "weight_decay": 0.1}},
]

if __name__ == "__main__":
    torch.set_num_threads(1)
    goldens = {"config": SIZES, "seed": SEED, "sequences": SEQUENCES, "positions": POSITIONS, "cases": [train(case) for case in CASES]}
    pathlib.Path(__file__).with_name("training_goldens.json").write_text(json.dumps(goldens, separators=(",", ":")) + "\n", encoding="utf-8")
