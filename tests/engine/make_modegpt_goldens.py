"""Makes modegpt_goldens.json: MoDeGPT in float64 on a small random Llama, step by step as its card has it.

Run by hand when the method's definition changes: python3 tests/engine/make_modegpt_goldens.py (numpy only). Roots of second moments
are taken by eigendecomposition, down projections refitted by least squares on the tokens themselves, channels rotated as complex
numbers; none of it is the engine's code.
"""

import json
import pathlib

import numpy as np

HIDDEN, HEADS, KV_HEADS, HEAD_DIM, FFN, VOCABULARY, BLOCKS = 24, 4, 2, 8, 20, 48, 4
SEQUENCES, POSITIONS, EPSILON, THETA = 12, 14, 1e-5, 100.0
GROUP, PAIRS = HEADS // KV_HEADS, HEAD_DIM // 2
CHANNEL, QUERY, VALUE = 3 * HIDDEN, HIDDEN * (HEADS + KV_HEADS), HIDDEN * (HEADS + KV_HEADS)  # weights of a channel of each module
WEIGHTS = FFN * CHANNEL + HEAD_DIM * (QUERY + VALUE)


def make_model(seed):
    rng = np.random.default_rng(seed)

    def matrix(out, width, spread):
        rows, columns = np.exp(spread * rng.standard_normal((out, 1))), np.exp(spread * rng.standard_normal(width))
        return np.float32(rng.standard_normal((out, width)) / np.sqrt(width) * columns * rows)

    blocks = []
    for i in range(BLOCKS):
        size = (0.3, 1.0, 0.6, 0.8)[i]  # blocks that matter more and less
        blocks.append({
            "norm": np.float32(1 + 0.3 * rng.standard_normal(HIDDEN)), "mlp_norm": np.float32(1 + 0.3 * rng.standard_normal(HIDDEN)),
            "q": matrix(HEADS * HEAD_DIM, HIDDEN, 0.4), "k": matrix(KV_HEADS * HEAD_DIM, HIDDEN, 0.4),
            "v": matrix(KV_HEADS * HEAD_DIM, HIDDEN, 0.4), "o": size * matrix(HIDDEN, HEADS * HEAD_DIM, 0.4),
            "gate": matrix(FFN, HIDDEN, 0.4), "up": matrix(FFN, HIDDEN, 0.4), "down": size * matrix(HIDDEN, FFN, 0.4)})
    return {"embedding": matrix(VOCABULARY, HIDDEN, 0.0), "blocks": blocks}, rng.integers(0, VOCABULARY, (SEQUENCES, POSITIONS))


def rms_norm(x, gain):
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + EPSILON) * gain


def rotate(x, pairs):
    """x [positions, 2 n], whose channels i and i + n are the model's pair pairs[i]."""
    n = len(pairs)
    angle = np.arange(len(x))[:, None] * np.array([THETA ** (-2 * p / HEAD_DIM) for p in pairs])[None, :]
    turned = (x[:, :n] + 1j * x[:, n:]) * np.exp(1j * angle)
    return np.concatenate([turned.real, turned.imag], axis=1)


def run_block(block, hidden):
    """Outputs [sequences, positions, HIDDEN], and of all tokens the attention's input, rotated queries and keys by head, down's input."""
    seen = {"x": [], "q": [], "k": [], "inner": []}
    outputs = []
    pairs = block.get("pairs", [list(range(PAIRS))] * KV_HEADS)
    wide, tall = 2 * len(pairs[0]), len(block["v"]) // KV_HEADS
    for h in hidden:
        x = rms_norm(h, block["norm"])
        q, k, v = x @ block["q"].T, x @ block["k"].T, x @ block["v"].T
        queries = [rotate(q[:, i * wide:(i + 1) * wide], pairs[i // GROUP]) for i in range(HEADS)]
        keys = [rotate(k[:, i * wide:(i + 1) * wide], pairs[i]) for i in range(KV_HEADS)]
        mixed = []
        for i in range(HEADS):
            scores = queries[i] @ keys[i // GROUP].T / np.sqrt(HEAD_DIM)
            scores[np.triu_indices(len(scores), 1)] = -np.inf
            weights = np.exp(scores - scores.max(-1, keepdims=True))
            mixed.append(weights / weights.sum(-1, keepdims=True) @ v[:, i // GROUP * tall:(i // GROUP + 1) * tall])
        middle = h + np.concatenate(mixed, axis=1) @ block["o"].T
        y = rms_norm(middle, block["mlp_norm"])
        gate = y @ block["gate"].T
        inner = gate / (1 + np.exp(-gate)) * (y @ block["up"].T)
        outputs.append(middle + inner @ block["down"].T)
        for name, value in (("x", x), ("q", np.stack(queries)), ("k", np.stack(keys)), ("inner", inner)):
            seen[name].append(value)
    return np.stack(outputs), {name: np.concatenate(value, axis=-2) for name, value in seen.items()}


def as_double(block):
    return {name: value.astype(np.float64) for name, value in block.items()}


def run(model, hidden):
    for block in model["blocks"]:
        hidden, _ = run_block(block, hidden)
    return hidden


def influences(model, hidden):
    result = []
    for block in model["blocks"]:
        after, _ = run_block(as_double(block), hidden)
        cosine = (hidden * after).sum(-1) / np.linalg.norm(hidden, axis=-1) / np.linalg.norm(after, axis=-1)
        result.append(1 - cosine.mean())
        hidden = after
    return result


def allocate(s, params):
    """phi = L ratio softmax(-s / temperature), clamped, the excess to the others in proportion, until none exceeds."""
    if params["allocation"] == "uniform":
        return [params["ratio"]] * len(s)
    soft = np.exp(-np.array(s) / params["temperature"])
    phi = len(s) * params["ratio"] * soft / soft.sum()
    while (phi > params["most"] + 1e-12).any():
        over = phi >= params["most"]
        excess = (phi[over] - params["most"]).sum()
        phi[over] = params["most"]
        phi[~over] += excess * phi[~over] / phi[~over].sum()
    return list(phi)


def to_multiple(width, multiple):
    return int(np.floor(width / multiple + 0.5)) * multiple


def choose_widths(phi, params):
    widths, owed = [], 0.0
    for share in phi:
        wanted = (1 - share) * (
            FFN * CHANNEL * ("mlp" in params["modules"]) + HEAD_DIM * QUERY * ("qk" in params["modules"])
            + HEAD_DIM * VALUE * ("vo" in params["modules"])) + owed
        query, value = (to_multiple((1 - share) * HEAD_DIM, params["head_multiple"]) if name in params["modules"] else HEAD_DIM
                        for name in ("qk", "vo"))
        spent = query * QUERY * ("qk" in params["modules"]) + value * VALUE * ("vo" in params["modules"])
        ffn = FFN
        if "mlp" in params["modules"]:
            ffn = min(FFN, max(params["multiple"], to_multiple((wanted - spent) / CHANNEL, params["multiple"])))
            spent += ffn * CHANNEL
        if params["allocation"] == "influence":
            owed = wanted - spent
        widths.append((ffn, query, value))
    return widths


def narrow_mlp(block, inner, k, params):
    tokens = len(inner)
    c = inner.T @ inner / tokens
    ridge = params["leverage_ridge"] * np.trace(c) / FFN
    scores = np.diag(c @ np.linalg.inv(c + ridge * np.eye(FFN)))
    kept = sorted(np.argsort(-scores, kind="stable")[:k])
    wanted = inner @ block["down"].T
    down = np.linalg.lstsq(inner[:, kept], wanted, rcond=None)[0].T if params["refit"] else block["down"][:, kept]
    error = ((wanted - inner[:, kept] @ down.T) ** 2).sum() / (wanted**2).sum()
    return block | {"gate": block["gate"][kept], "up": block["up"][kept], "down": down}, [int(j) for j in kept], error


def narrow_queries(block, q, k, width):
    q_squares, k_squares = (q**2).mean(1), (k**2).mean(1)  # [heads, HEAD_DIM]
    pairs, q_rows, k_rows = [], [], []
    for head in range(KV_HEADS):
        scores = np.zeros(PAIRS)
        for query in range(head * GROUP, (head + 1) * GROUP):
            product = q_squares[query] * k_squares[head]
            scores += product[:PAIRS] + product[PAIRS:]
        chosen = sorted(int(p) for p in np.argsort(-np.sqrt(scores), kind="stable")[:width // 2])
        pairs.append(chosen)
        both = chosen + [p + PAIRS for p in chosen]
        k_rows += [head * HEAD_DIM + channel for channel in both]
    for query in range(HEADS):
        chosen = pairs[query // GROUP]
        q_rows += [query * HEAD_DIM + channel for channel in chosen + [p + PAIRS for p in chosen]]
    return block | {"q": block["q"][q_rows], "k": block["k"][k_rows], "pairs": pairs}


def narrow_values(block, x, width, params):
    c = x.T @ x / len(x)
    values, vectors = np.linalg.eigh(c)
    values = np.maximum(values, 0) + params["value_ridge"] * values.mean()
    root, inverse_root = (vectors * np.sqrt(values)) @ vectors.T, (vectors / np.sqrt(values)) @ vectors.T
    v_rows, o_columns, lost, whole = [], [], 0.0, 0.0
    for head in range(KV_HEADS):
        w_v = block["v"][head * HEAD_DIM:(head + 1) * HEAD_DIM].T
        queries = range(head * GROUP, (head + 1) * GROUP)
        w_o = np.concatenate([block["o"][:, i * HEAD_DIM:(i + 1) * HEAD_DIM].T for i in queries], axis=1)
        u, s, vt = np.linalg.svd(root @ w_v, full_matrices=False)
        u2, s2, vt2 = np.linalg.svd(np.diag(s) @ vt @ w_o, full_matrices=False)
        new_v, new_o = inverse_root @ u @ u2[:, :width], np.diag(s2[:width]) @ vt2[:width]
        v_rows.append(new_v.T)
        o_columns += [new_o[:, i * HIDDEN:(i + 1) * HIDDEN].T for i in range(GROUP)]
        # The best that any matrix of that rank can do (Eckart and Young), from the whole product.
        singular = np.linalg.svd(root @ w_v @ w_o, compute_uv=False)
        optimum = (singular[width:]**2).sum()
        reached = ((root @ (w_v @ w_o - new_v @ new_o)) ** 2).sum()
        assert abs(optimum - reached) <= 1e-6 * (singular**2).sum()
        lost, whole = lost + optimum, whole + (singular**2).sum()
    return block | {"v": np.concatenate(v_rows), "o": np.concatenate(o_columns, axis=1)}, lost / whole


def modegpt(model, ids, params):
    hidden = model["embedding"][ids].astype(np.float64)
    s = influences(model, hidden)
    phi = allocate(s, params)
    widths = choose_widths(phi, params)
    narrowed, lines, start = [], [], hidden
    for block, (ffn, query, value) in zip(model["blocks"], widths):
        dense = as_double(block)
        after, seen = run_block(dense, hidden)
        block, line = dense, {"ffn": ffn, "query_width": query, "value_width": value}
        if ffn < FFN:
            block, line["channels"], line["mlp_error"] = narrow_mlp(block, seen["inner"], ffn, params)
        if query < HEAD_DIM:
            block = narrow_queries(block, seen["q"], seen["k"], query)
            line["pairs"] = block["pairs"]
        if value < HEAD_DIM:
            block, line["values_error"] = narrow_values(block, seen["x"], value, params)
        narrowed.append(block)
        lines.append(line)
        hidden = after if params["propagate"] == "dense" else run_block(block, hidden)[0]
    outputs = run({"blocks": narrowed}, start[:1])
    return {"influence": rounded(s), "phi": rounded(phi), "blocks": lines, "outputs": rounded(outputs)}


def rounded(array):
    return [float(f"{value:.9g}") for value in np.asarray(array, dtype=np.float64).ravel()]


def cases():
    base = {"ratio": 0.3, "modules": "mlp-qk-vo", "allocation": "influence", "temperature": 0.1, "most": 0.8, "leverage_ridge": 0.01,
            "value_ridge": 1e-4, "refit": True, "multiple": 1, "head_multiple": 2, "propagate": "dense"}
    for changes in ({}, {"ratio": 0.5}, {"allocation": "uniform"}, {"propagate": "compressed"}, {"refit": False},
                    {"temperature": 0.01, "ratio": 0.5, "most": 0.7}, {"modules": "mlp"}, {"modules": "qk-vo", "ratio": 0.5},
                    {"modules": "mlp-vo", "multiple": 4, "head_multiple": 4}, {"value_ridge": 0.1, "leverage_ridge": 1.0, "ratio": 0.4}):
        yield base | changes


def main():
    model, ids = make_model(5)
    sizes = {"hidden_size": HIDDEN, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM,
             "intermediate_size": FFN, "vocab_size": VOCABULARY, "num_hidden_layers": BLOCKS, "rms_norm_eps": EPSILON,
             "rope_theta": THETA, "tie_word_embeddings": True, "model_type": "llama", "max_position_embeddings": 64}
    golden = {"config": sizes, "ids": ids.tolist(), "embedding": rounded(model["embedding"]),
              "blocks": [{name: rounded(value) for name, value in block.items()} for block in model["blocks"]],
              "cases": [{"params": params} | modegpt(model, ids, params) for params in cases()]}
    path = pathlib.Path(__file__).with_name("modegpt_goldens.json")
    path.write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
