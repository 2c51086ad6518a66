"""Makes structured_goldens.json: float64 versions of the structured methods on a small random Llama.

Run by hand when a method's definition changes: python3 tests/engine/make_structured_goldens.py (numpy only).
Each is written from its paper with plain loops over a model of dictionaries, not from the engine's code.
"""

import json
import pathlib

import numpy as np

HIDDEN, HEADS, KV_HEADS, HEAD_DIM, FFN, VOCABULARY, BLOCKS = 16, 6, 3, 4, 20, 24, 4
SEQUENCES, POSITIONS, EPSILON, THETA = 5, 14, 1e-5, 10000.0
GROUP = HEADS // KV_HEADS * HEAD_DIM  # columns of o_proj that a KV head answers for
CHANNEL_COST, HEAD_COST = 3 * HIDDEN, 2 * HIDDEN * (GROUP + HEAD_DIM)


def make_model(seed):
    rng = np.random.default_rng(seed)

    def matrix(out, width, spread=1.0):
        # Uneven columns, so that scores differ by orders, as those of trained models do.
        columns = np.exp(spread * rng.standard_normal(width))
        return np.float32(rng.standard_normal((out, width)) / np.sqrt(width) * columns)

    blocks = []
    for _ in range(BLOCKS):
        blocks.append({
            "norm": np.float32(1 + 0.3 * rng.standard_normal(HIDDEN)), "mlp_norm": np.float32(1 + 0.3 * rng.standard_normal(HIDDEN)),
            "q": matrix(HEADS * HEAD_DIM, HIDDEN, 0.2), "k": matrix(KV_HEADS * HEAD_DIM, HIDDEN, 0.2),
            "v": matrix(KV_HEADS * HEAD_DIM, HIDDEN, 0.2), "o": matrix(HIDDEN, HEADS * HEAD_DIM),
            "gate": matrix(FFN, HIDDEN, 0.3), "up": matrix(FFN, HIDDEN, 0.3), "down": matrix(HIDDEN, FFN)})
    return {"embedding": matrix(VOCABULARY, HIDDEN, 0.0), "blocks": blocks}, rng.integers(0, VOCABULARY, (SEQUENCES, POSITIONS))


def rms_norm(x, gain):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + EPSILON) * gain


def rotate(x):
    """x [positions, HEAD_DIM], halves layout."""
    half = HEAD_DIM // 2
    angle = np.arange(len(x))[:, None] * THETA ** (-np.arange(half) / half)[None, :]
    a, b = x[:, :half], x[:, half:]
    return np.concatenate([a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)], axis=1)


def run_block(block, hidden):
    """hidden [sequences, positions, HIDDEN] -> outputs, inputs of o and of down [tokens, n]; of any number of heads and channels."""
    outputs, o_inputs, down_inputs = [], [], []
    kv_heads = len(block["k"]) // HEAD_DIM
    for h in hidden:
        x = rms_norm(h, block["norm"])
        q, k, v = x @ block["q"].T, x @ block["k"].T, x @ block["v"].T
        mixed = []
        for head in range(len(block["q"]) // HEAD_DIM):
            kv = head // (HEADS // KV_HEADS)
            assert kv < kv_heads
            query, key = (rotate(t[:, i * HEAD_DIM:(i + 1) * HEAD_DIM]) for t, i in ((q, head), (k, kv)))
            scores = query @ key.T / np.sqrt(HEAD_DIM)
            scores[np.triu_indices(len(scores), 1)] = -np.inf
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            mixed.append(weights / weights.sum(-1, keepdims=True) @ v[:, kv * HEAD_DIM:(kv + 1) * HEAD_DIM])
        mixed = np.concatenate(mixed, axis=1)
        middle = h + mixed @ block["o"].T + block.get("o_bias", 0)
        x = rms_norm(middle, block["mlp_norm"])
        gate = x @ block["gate"].T
        inner = gate / (1 + np.exp(-gate)) * (x @ block["up"].T)
        outputs.append(middle + inner @ block["down"].T + block.get("down_bias", 0))
        o_inputs.append(mixed)
        down_inputs.append(inner)
    return np.stack(outputs), np.concatenate(o_inputs), np.concatenate(down_inputs)


def columns_of(heads):
    return [c for g in heads for c in range(g * GROUP, (g + 1) * GROUP)]


def cut(block, heads, channels):
    rows = [r for g in heads for r in range(g * HEAD_DIM, (g + 1) * HEAD_DIM)]
    return block | {"q": block["q"][columns_of(heads)], "k": block["k"][rows], "v": block["v"][rows], "o": block["o"][:, columns_of(heads)],
                    "gate": block["gate"][channels], "up": block["up"][channels], "down": block["down"][:, channels]}


def as_double(block):
    return {name: value.astype(np.float64) for name, value in block.items()}


def remove_worst(units, budget):
    """units: (score, cost, key), as many of the worst as come nearest to the budget. Returns the keys and what they cost."""
    gone, cost = [], 0
    for score, price, key in sorted(units, key=lambda unit: unit[0]):
        if abs(cost + price - budget) >= abs(cost - budget):
            break
        gone.append(key)
        cost += price
    return gone, cost


def candidates(scores, kind, block, min_keep, multiple):
    """Units of a module that may go: all but the best `min_keep` heads, or the best lot of channels."""
    ranked = sorted(range(len(scores)), key=lambda j: -scores[j])
    if kind == "heads":
        return [(scores[j], HEAD_COST, (block, kind, (j,))) for j in ranked[min_keep:]]
    lots = [tuple(ranked[first:first + multiple]) for first in range(multiple if min_keep else 0, len(ranked), multiple)]
    return [(np.mean([scores[j] for j in lot]), len(lot) * CHANNEL_COST, (block, kind, lot)) for lot in lots]


def choose(scores, params, scopes, together):
    """scores: {(block, kind): [...]}; scopes: lists of blocks that share a budget. Returns what goes, {(block, kind): set}."""
    gone = {key: set() for key in scores}
    for blocks in scopes:
        pool = {kind: [unit for b in blocks for unit in candidates(scores[b, kind], kind, b, params["min_keep"], params["multiple"])]
                for kind in ("heads", "channels")}
        weights = {"heads": len(blocks) * KV_HEADS * HEAD_COST, "channels": len(blocks) * FFN * CHANNEL_COST}
        budget = params["ratio"] * (weights["heads"] + weights["channels"])
        if together:
            out, _ = remove_worst(pool["heads"] + pool["channels"], budget)
        else:
            share = params["ratio"] if params["attention_ratio"] < 0 else params["attention_ratio"]
            out, cost = remove_worst(pool["heads"], share * weights["heads"])
            out += remove_worst(pool["channels"], budget - cost)[0]
        for block, kind, items in out:
            gone[block, kind] |= set(items)
    return gone


def flap(model, ids, params):
    hidden, scores, means = model["embedding"][ids].astype(np.float64), {}, {}
    for b, block in enumerate(model["blocks"]):
        hidden, *inputs = run_block(as_double(block), hidden)
        for kind, x, weight in (("heads", inputs[0], block["o"]), ("channels", inputs[1], block["down"])):
            w = weight.astype(np.float64)
            variance = ((x - x.mean(0)) ** 2).mean(0)
            score = {"WIFV": variance * (w**2).sum(0), "IFV": variance,
                     "WIFN": np.abs(w).mean(0) * np.sqrt((x**2).sum(0))}[params["metric"]]
            if kind == "heads" and params["square_attention"]:
                score = score**2
            score = (score - score.mean()) / score.std(ddof=1)
            scores[b, kind] = score.reshape(KV_HEADS, GROUP).mean(1) if kind == "heads" else score
            means[b, kind] = x.mean(0)
    structure = params["structure"]
    if structure == "UL-UM":
        params = params | {"attention_ratio": params["ratio"]}
    scopes = [[b] for b in range(BLOCKS)] if structure.startswith("UL") else [list(range(BLOCKS))]
    gone = choose(scores, params, scopes, structure == "AL-AM")
    result = []
    for b, block in enumerate(model["blocks"]):
        heads = [j for j in range(KV_HEADS) if j not in gone[b, "heads"]]
        channels = [j for j in range(FFN) if j not in gone[b, "channels"]]
        line = {"heads": heads, "channels": channels}
        if params["bias"]:
            out, lost = columns_of(sorted(gone[b, "heads"])), sorted(gone[b, "channels"])
            for name, weight, removed, mean in (("o_bias", block["o"], out, means[b, "heads"]),
                                                ("down_bias", block["down"], lost, means[b, "channels"])):
                bias = sum((weight[:, j].astype(np.float64) * mean[j] for j in removed), np.zeros(HIDDEN))
                line[name] = [float(f"{value:.6g}") for value in bias] if removed else None
        result.append(line)
    return result


def one_block(block, scores, params):
    """Kept heads and channels where every block has the budget."""
    gone = choose({(0, kind): score for kind, score in scores.items()}, params, [[0]], False)
    return ([j for j in range(KV_HEADS) if j not in gone[0, "heads"]], [j for j in range(FFN) if j not in gone[0, "channels"]])


def wanda_sp(model, ids, params):
    hidden, result = model["embedding"][ids].astype(np.float64), []
    for block in model["blocks"]:
        block = as_double(block)
        dense, o_input, down_input = run_block(block, hidden)
        head_scores = np.abs(block["o"]).mean(0) * np.sqrt((o_input**2).sum(0))
        scores = {"heads": head_scores.reshape(KV_HEADS, GROUP).sum(1),
                  "channels": np.abs(block["down"]).mean(0) * np.sqrt((down_input**2).sum(0))}
        heads, channels = one_block(block, scores, params)
        result.append({"heads": heads, "channels": channels})
        hidden = dense if params["propagate"] == "dense" else run_block(cut(block, heads, channels), hidden)[0]
    return result


def magnitude_sp(model, ids, params):
    result = []
    for block in model["blocks"]:
        block = as_double(block)
        scores = {"heads": np.sqrt((block["o"]**2).sum(0)).reshape(KV_HEADS, GROUP).sum(1), "channels": np.sqrt((block["down"]**2).sum(0))}
        heads, channels = one_block(block, scores, params)
        result.append({"heads": heads, "channels": channels})
    return result


def cosines(model, ids):
    hidden, result = model["embedding"][ids].astype(np.float64), []
    for block in model["blocks"]:
        after, _, _ = run_block(as_double(block), hidden)
        result.append(np.mean((hidden * after).sum(-1) / np.linalg.norm(hidden, axis=-1) / np.linalg.norm(after, axis=-1)))
        hidden = after
    return result


def rounded(array):
    return [float(f"{value:.9g}") for value in np.asarray(array, dtype=np.float64).ravel()]


def cases(model, ids):
    base = {"attention_ratio": -1.0, "min_keep": 1, "multiple": 1}
    for ratio in (0.0, 0.1, 0.2, 0.35, 0.5, 0.7):
        for structure in ("AL-AM", "AL-MM", "UL-MM", "UL-UM"):
            for metric in ("WIFV", "IFV", "WIFN"):
                for square in (True, False):
                    params = base | {"ratio": ratio, "structure": structure, "metric": metric, "square_attention": square, "bias": True}
                    if structure.endswith("MM"):
                        params["attention_ratio"] = 0.34
                    yield "flap", params, flap(model, ids, params)
        for attention in (-1.0, 0.0, 0.34):
            params = base | {"ratio": ratio, "attention_ratio": attention}
            yield "magnitude-sp", params, magnitude_sp(model, ids, params)
            for propagate in ("compressed", "dense"):
                more = params | {"propagate": propagate}
                yield "wanda-sp", more, wanda_sp(model, ids, more)
    flap_params = {"structure": "AL-AM", "metric": "WIFV", "square_attention": True, "attention_ratio": -1.0}
    for more in ({"ratio": 0.5, "min_keep": 1, "multiple": 6, "bias": False}, {"ratio": 0.85, "min_keep": 0, "multiple": 1, "bias": True},
                 {"ratio": 0.4, "min_keep": 2, "multiple": 4, "bias": True}):
        yield "flap", flap_params | more, flap(model, ids, flap_params | more)


def main():
    model, ids = make_model(11)
    sizes = {"hidden_size": HIDDEN, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM,
             "intermediate_size": FFN, "vocab_size": VOCABULARY, "num_hidden_layers": BLOCKS, "rms_norm_eps": EPSILON,
             "rope_theta": THETA, "tie_word_embeddings": True, "model_type": "llama", "max_position_embeddings": 64}
    golden = {"config": sizes, "ids": ids.tolist(), "embedding": rounded(model["embedding"]),
              "blocks": [{name: rounded(value) for name, value in block.items()} for block in model["blocks"]],
              "cosines": rounded(cosines(model, ids)),
              "cases": [{"method": m, "params": p, "blocks": b} for m, p, b in cases(model, ids)]}
    path = pathlib.Path(__file__).with_name("structured_goldens.json")
    path.write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
