"""Makes compresso_goldens.json: transformers' Llama with gates on its activations, pruned by PyTorch's own autograd and AdamW.

Run by hand when the method's definition changes: build/venv/bin/python tests/engine/make_compresso_goldens.py.
Model and texts are those of make_training_goldens.py. Gates stand where the paper has them, on activations; a tied head reads the embedding's
matrix with its gates. The expected size is summed matrix by matrix over outer products.
"""
import json
import math
import pathlib

import torch
from make_training_goldens import POSITIONS, SEED, SEQUENCES, SIZES, Adapter, batches, cross_entropy, model_of, texts

T, LEFT, RIGHT, EPSILON = 2 / 3, -0.1, 1.1, 1e-6
STREAM = 0x9E3779B97F4A7C15
BLOCKS, HEADS, KV, WIDTH = 2, SIZES["num_attention_heads"], SIZES["num_key_value_heads"], SIZES["head_dim"]
FFN, HIDDEN = SIZES["intermediate_size"], SIZES["hidden_size"]
PARAMS = {"ratio": 0.45, "types": "heads-intermediate-hidden", "steps": 50, "prefinetune": 0.1, "recovery": 0.2, "ramp": 0.5, "drop_rate": 0.01,
          "gate_learning_rate": 0.5, "multiplier_learning_rate": 0.03, "tolerance": 0.005, "multiple": 1, "hidden_multiple": 1,
          "batch": 4, "learning_rate": 0.01, "recovery_learning_rate": 0.02, "clip": 0.5, "rank": 3, "alpha": 6.0,
          "adapters": "q-v"}


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def keep(a):
    closed = torch.sigmoid(T * math.log(-LEFT / RIGHT) - a)
    return 1 - closed.clamp(EPSILON, 1 - EPSILON)


def left_over(heads, ffn, hidden):
    """Of all matrices of all blocks."""
    rows = hidden.double()
    left = 0
    for kv, channels in zip(heads, ffn):
        key, query = kv.double().repeat_interleave(WIDTH), kv.double().repeat_interleave(WIDTH * HEADS // KV)
        for columns in (query, key, key, query, channels.double(), channels.double(), channels.double()):
            left = left + torch.outer(rows, columns).sum()
    return left


def sparsity(p):
    whole = left_over([torch.ones(KV)] * BLOCKS, [torch.ones(FFN)] * BLOCKS, torch.ones(HIDDEN))
    return 1 - left_over(p[0:4:2], p[1:4:2], p[4]) / whole


class Gated:
    def __init__(self, model):
        self.z = None  # heads, channels of block 0, of block 1, hidden
        inner, hidden = model.model, lambda module, inputs, out: out if self.z is None else out * self.z[4]
        inner.embed_tokens.register_forward_hook(hidden)
        for i, block in enumerate(inner.layers):
            heads = lambda module, x, i=i: x if self.z is None else (x[0] * self.z[2 * i].repeat_interleave(WIDTH * HEADS // KV),)
            channels = lambda module, x, i=i: x if self.z is None else (x[0] * self.z[2 * i + 1],)
            block.self_attn.o_proj.register_forward_pre_hook(heads)
            block.self_attn.o_proj.register_forward_hook(hidden)
            block.mlp.down_proj.register_forward_pre_hook(channels)
            block.mlp.down_proj.register_forward_hook(hidden)
        model.lm_head.register_forward_pre_hook(lambda module, x: x if self.z is None else (x[0] * self.z[4],))


def fixed(a, target):
    """Rounded counts, then FFN channels one by one; soft survivors."""
    order = [torch.argsort(part, stable=True, descending=True) for part in a]
    counts = [min(max(round(keep(part).double().sum().item()), 1), len(part)) for part in a]

    def gone(counts):
        return sparsity([torch.arange(len(part)) < count for part, count in zip(a, counts)]).item()

    rounded, moved = gone(counts), 0
    while True:
        now = gone(counts)
        less = now < target
        places = [(a[i][order[i][counts[i] - less]].item(), i) for i in (1, 3) if (counts[i] > 1 if less else counts[i] < FFN)]
        if not places:
            break
        i = (min if less else max)(places, key=lambda place: place[0])[1]
        tried = [count + (0 if j != i else -1 if less else 1) for j, count in enumerate(counts)]
        if abs(gone(tried) - target) >= abs(now - target):
            break
        counts, moved = tried, moved + 1
    z = []
    for part, ranks, count in zip(a, order, counts):
        z.append(torch.zeros(len(part)))
        z[-1][ranks[:count]] = torch.sigmoid(0.8 * part[ranks[:count]] / T)
    return z, {"rounded": rounded, "settled_groups": moved, "final": gone(counts)}, counts


def train(params):
    model = model_of(BLOCKS, 0.0)
    for value in model.parameters():
        value.requires_grad_(False)
    generator, adapters = seeded(SEED), []
    for block in model.model.layers:
        for module in (block.self_attn.q_proj, block.self_attn.v_proj):
            adapter = Adapter(module, params, generator)
            torch.nn.utils.parametrize.register_parametrization(module, "weight", adapter)
            adapters += [adapter.a, adapter.b]
    gated, generator = Gated(model), seeded(SEED ^ STREAM)
    begin = math.log((1 - params["drop_rate"]) / params["drop_rate"])
    a = [torch.randn(count, generator=generator) * 0.01 + mean
         for count, mean in ((KV, 10), (FFN, begin), (KV, 10), (FFN, begin), (HIDDEN, 10))]
    a = [part.requires_grad_(True) for part in a]
    multipliers = torch.zeros(2, requires_grad=True)
    first, last = int(params["prefinetune"] * params["steps"]), params["steps"] - int(params["recovery"] * params["steps"])
    ramp, target = int(params["ramp"] * (last - first)), params["ratio"]
    of_adapters = torch.optim.AdamW(adapters, lr=params["learning_rate"], weight_decay=0)
    of_gates = torch.optim.AdamW(a, lr=params["gate_learning_rate"], weight_decay=0)
    of_multipliers = torch.optim.AdamW([multipliers], lr=params["multiplier_learning_rate"], weight_decay=0, maximize=True)
    losses, curve, chosen, chosen_step, ending = [], [], a, -1, None
    for step, ids in enumerate(batches(params, texts())):
        drawing = first <= step < last
        if drawing:
            generator = seeded((SEED ^ STREAM) + 1 + step)
            gated.z = []
            for part in a:
                u = torch.rand(len(part), generator=generator) * (1 - 2 * EPSILON) + EPSILON
                y = torch.sigmoid((u.log() - (1 - u).log() + part) / T)
                gated.z.append((y * (RIGHT - LEFT) + LEFT).clamp(0, 1))
        elif step == last:
            gated.z, ending, counts = fixed([part.detach() for part in chosen], target)
        loss = cross_entropy(model(ids).logits, ids)
        if drawing:
            over = sparsity([keep(part) for part in a]) - target * min(1, (step - first) / ramp)
            loss = loss + (multipliers[0] * over + multipliers[1] * over**2).float()
        loss.backward()
        if step >= last:
            t = (step - last) / max(1, params["steps"] - last - 1)
            of_adapters.param_groups[0]["lr"] = params["recovery_learning_rate"] * (0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * t)))
        for values in (adapters, a, [multipliers]):
            if values[0].grad is not None:
                torch.nn.utils.clip_grad_norm_(values, params["clip"])
        for optimizer in (of_adapters, of_gates, of_multipliers):
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.item())
        if drawing:
            with torch.no_grad():
                for part in a:
                    part.clamp_(math.log(0.01), math.log(100))
                curve.append(sparsity([keep(part) for part in a]).item())
            if step - first >= ramp and abs(curve[-1] - target) <= params["tolerance"]:
                chosen, chosen_step = [part.detach().clone() for part in a], step
    with torch.no_grad():
        held_out = texts()[-(SEQUENCES // 16):]
        after = cross_entropy(model(held_out).logits, held_out).item()
    return {"params": params, "losses": losses, "curve": curve, "chosen_step": chosen_step, "held_out_after": after, "kept": counts, **ending}


if __name__ == "__main__":
    torch.set_num_threads(1)
    goldens = {"config": SIZES, "seed": SEED, "sequences": SEQUENCES, "positions": POSITIONS, **train(PARAMS)}
    pathlib.Path(__file__).with_name("compresso_goldens.json").write_text(json.dumps(goldens, separators=(",", ":")) + "\n", encoding="utf-8")
