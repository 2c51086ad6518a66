"""Makes method_goldens.json: textbook float64 versions of the one-shot methods on small random layers.

Run by hand when a method's definition changes: python3 tests/engine/make_method_goldens.py (numpy only).
Each is written from its paper with plain loops and an explicit inverse, not from the engine's code.
"""

import json
import pathlib

import numpy as np

ROWS, COLUMNS, TOKENS = 17, 48, 96


def make_layer(seed):
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((ROWS, COLUMNS)).astype(np.float32)
    mixing = rng.standard_normal((COLUMNS, COLUMNS)) * np.geomspace(2.0, 0.2, COLUMNS)
    inputs = (rng.standard_normal((TOKENS, COLUMNS)) @ mixing / 4 + 0.3).astype(np.float32)
    return weight, inputs


def hessian(inputs):
    x = inputs.astype(np.float64)
    return 2.0 / len(x) * x.T @ x


def inverse_upper(h, damping):
    """U with H^-1 = U^T U: the upper Cholesky factor of the inverse."""
    damped = h + damping * np.mean(np.diag(h)) * np.eye(len(h))
    return np.linalg.cholesky(np.linalg.inv(damped)).T


def minmax_grid(group, bits, symmetric):
    """group [rows, n] -> scale, zero [rows]; scales rounded to float16."""
    top = 2**bits - 1
    if symmetric:
        scale = 2 * np.abs(group).max(axis=1) / top
        zero = np.full(len(group), 2.0 ** (bits - 1))
        return np.float16(scale).astype(np.float64), zero
    low, high = np.minimum(group.min(axis=1), 0), np.maximum(group.max(axis=1), 0)
    scale = np.float16((high - low) / top).astype(np.float64)
    return scale, np.clip(np.round(-low / scale), 0, top)


def to_grid(column, scale, zero, bits):
    code = np.clip(np.round(column / scale) + zero, 0, 2**bits - 1)
    return (code - zero) * scale


def rtn(weight, bits, group_size, symmetric):
    w = weight.astype(np.float64)
    out = np.empty_like(w)
    for start in range(0, COLUMNS, group_size):
        scale, zero = minmax_grid(w[:, start : start + group_size], bits, symmetric)
        for j in range(start, start + group_size):
            out[:, j] = to_grid(w[:, j], scale, zero, bits)
    return out


def gptq(weight, h, bits, group_size, symmetric, activation_order, damping):
    w = weight.astype(np.float64)
    order = np.argsort(-np.diag(h), kind="stable") if activation_order else np.arange(COLUMNS)
    grids = {g: minmax_grid(w[:, g * group_size : (g + 1) * group_size], bits, symmetric) for g in range(COLUMNS // group_size)}
    u = inverse_upper(h[np.ix_(order, order)], damping)
    w = w[:, order]
    for i in range(COLUMNS):
        if not activation_order and i % group_size == 0:
            grids[i // group_size] = minmax_grid(w[:, i : i + group_size], bits, symmetric)
        scale, zero = grids[order[i] // group_size]
        q = to_grid(w[:, i], scale, zero, bits)
        error = (w[:, i] - q) / u[i, i]
        w[:, i] = q
        w[:, i + 1 :] -= np.outer(error, u[i, i + 1 :])
    return w[:, np.argsort(order)]


def drop_smallest(score, count):
    keep = np.ones(score.size, dtype=bool)
    keep[np.argsort(score, axis=None, kind="stable")[:count]] = False
    return keep.reshape(score.shape)


def n_of_m(score, n, m):
    return np.concatenate(
        [np.stack([drop_smallest(row, n) for row in score[:, j : j + m]]) for j in range(0, score.shape[1], m)], axis=1
    )


def magnitude(weight, pattern):
    score = np.abs(weight)
    keep = n_of_m(score, *pattern) if isinstance(pattern, tuple) else drop_smallest(score, int(pattern * score.size))
    return weight * keep


def wanda(weight, inputs, pattern):
    score = np.abs(weight) * np.sqrt((inputs.astype(np.float64) ** 2).sum(axis=0))
    if isinstance(pattern, tuple):
        return weight * n_of_m(score, *pattern)
    return weight * np.stack([drop_smallest(row, int(pattern * COLUMNS)) for row in score])


def sparsegpt(weight, h, pattern, block_size, damping):
    w = weight.astype(np.float64)
    u = inverse_upper(h, damping)
    keep = np.ones(w.shape, dtype=bool)
    for j in range(COLUMNS):
        span = pattern[1] if isinstance(pattern, tuple) else block_size
        if j % span == 0:
            score = w[:, j : j + span] ** 2 / np.diag(u)[j : j + span] ** 2
            keep[:, j : j + span] = (
                n_of_m(score, *pattern) if isinstance(pattern, tuple) else drop_smallest(score, int(pattern * score.size))
            )
        q = w[:, j] * keep[:, j]
        error = (w[:, j] - q) / u[j, j]
        w[:, j] = q
        w[:, j + 1 :] -= np.outer(error, u[j, j + 1 :])
    return w


def truncated(matrix, rank):
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    return u[:, :rank] * s[:rank] @ vt[:rank]


def eora(weight, base, inputs, rank):
    """By the projection into the inputs' eigenspace and back, with its inverse square roots."""
    x = inputs.astype(np.float64)
    values, vectors = np.linalg.eigh(x.T @ x)
    values[values <= 0] = values[values > 0].min()
    into = vectors * np.sqrt(values)
    back = (vectors / np.sqrt(values)).T
    return base + truncated((weight - base) @ into, rank) @ back


def act_s(weight, base, inputs, rank):
    scale = np.abs(inputs.astype(np.float64)).mean(axis=0)
    return base + truncated((weight - base) * scale, rank) / scale


def pattern_text(pattern):
    return f"{pattern[0]}:{pattern[1]}" if isinstance(pattern, tuple) else pattern


def compensations(weight, inputs):
    """(method, parameters, base, values): the base is what an earlier stage made of the weight."""
    for base in (np.float32(rtn(weight, 3, 16, True)), np.float32(wanda(weight, inputs, (2, 4)))):
        for rank in (1, 4, 16):
            stored = {"rank": rank, "bits": 0, "factor_dtype": "float32"}
            yield "eora", stored | {"weighting": "eigenspace"}, base, eora(weight, base, inputs, rank)
            yield "eora", stored | {"weighting": "activation"}, base, act_s(weight, base, inputs, rank)
            yield "svd-compensation", stored, base, base + truncated(np.float64(weight - base), rank)


def cases(weight, inputs):
    h = hessian(inputs)
    for rank in (1, 5, 17):
        yield "svd", {"rank": rank, "bits": 0, "factor_dtype": "float32"}, truncated(weight.astype(np.float64), rank)
    for bits, group, symmetric in [(4, 16, True), (4, 16, False), (2, 48, False), (3, 24, True), (8, 48, True)]:
        grid = {"bits": bits, "group_size": group, "symmetric": symmetric, "scale_dtype": "float16", "scale_search": "minmax"}
        yield "rtn", grid, rtn(weight, bits, group, symmetric)
        for order in (False, True):
            params = grid | {"activation_order": order, "damping": 0.02}
            yield "gptq", params, gptq(weight, h, bits, group, symmetric, order, 0.02)
    for pattern in (0.5, 0.3, (2, 4), (3, 8)):
        params = {"pattern": pattern_text(pattern), "value_dtype": "source"}
        yield "magnitude", params, magnitude(weight, pattern)
        yield "wanda", params, wanda(weight, inputs, pattern)
        for block in (16, 48):
            more = params | {"damping": 0.01, "block_size": block}
            yield "sparsegpt", more, sparsegpt(weight, h, pattern, block, 0.01)


def rounded(array):
    return [float(f"{value:.6g}") for value in np.asarray(array, dtype=np.float64).ravel()]


def main():
    weight, inputs = make_layer(7)
    golden = {
        "rows": ROWS,
        "columns": COLUMNS,
        "tokens": TOKENS,
        "weight": [float(f"{v:.9g}") for v in weight.ravel()],
        "inputs": [float(f"{v:.9g}") for v in inputs.ravel()],
        "cases": [{"method": m, "params": p, "values": rounded(v)} for m, p, v in cases(weight, inputs)],
        "compensations": [
            {"method": m, "params": p, "base": [float(f"{v:.9g}") for v in b.ravel()], "values": rounded(v)}
            for m, p, b, v in compensations(weight, inputs)
        ],
    }
    path = pathlib.Path(__file__).with_name("method_goldens.json")
    path.write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
