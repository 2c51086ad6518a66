"""Makes float_goldens.json: textbook float64 versions of fp8, fp4 and gptq-float on a small random layer.

Run by hand when a method's definition changes: python3 tests/engine/make_float_goldens.py (numpy only).
A float is the nearest of a list of all that the format has; the walk is that of the paper, with an explicit inverse.
"""

import json
import pathlib

import numpy as np

ROWS, COLUMNS, TOKENS = 3, 160, 80
DAMPING = 0.02

E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6])
E4M3 = np.array([(code % 8) * 2.0**-9 if code < 8 else (1 + code % 8 / 8) * 2.0 ** (code // 8 - 7) for code in range(127)])


def nearest(values, floats):
    """values [...] to +-floats, which ascend: of two that are as near the one with the even index."""
    size = np.abs(values)[..., None]
    distance = np.abs(size - floats)
    best = distance.min(axis=-1, keepdims=True)
    index = np.where(distance == best, np.arange(len(floats)) % 2, 2).argmin(axis=-1)
    return np.sign(values) * floats[index]


def make_layer(seed):
    rng = np.random.default_rng(seed)
    weight = rng.standard_normal((ROWS, COLUMNS)) * np.exp(rng.standard_normal((ROWS, COLUMNS)))
    mixing = rng.standard_normal((COLUMNS, COLUMNS)) * np.geomspace(0.3, 2.0, COLUMNS)
    inputs = rng.standard_normal((TOKENS, COLUMNS)) @ mixing / 4 + 0.3
    return (0.1 * weight).astype(np.float32), np.round(inputs, 3).astype(np.float32)


def fp8_scales(w, block):
    """[rows, columns]: what each weight is divided by."""
    rows, columns = (1, COLUMNS) if block < 0 else (block, block)
    scale = np.empty_like(w)
    for r in range(0, ROWS, rows):
        for c in range(0, COLUMNS, columns):
            tile = w[r : r + rows, c : c + columns]
            scale[r : r + rows, c : c + columns] = np.float32(np.abs(tile).max() / 448)
    return scale


def nvfp4_scales(w):
    largest = np.abs(w).reshape(ROWS, -1, 16).max(axis=2)
    return np.repeat(nearest(largest / 6 * 256, E4M3) / 256, 16, axis=1)


def mxfp4_scales(w):
    groups = w.reshape(ROWS, -1, 32)
    low = 2.0 ** (np.floor(np.log2(np.abs(groups).max(axis=2, keepdims=True))) - 2)
    error = [((nearest(groups / scale, E2M1) * scale - groups) ** 2).sum(axis=2, keepdims=True) for scale in (low, 2 * low)]
    return np.repeat(np.where(error[1] < error[0], 2 * low, low)[..., 0], 32, axis=1)


def gptq(w, scale, floats, inputs, activation_order):
    x = inputs.astype(np.float64)
    h = 2.0 / len(x) * x.T @ x
    order = np.argsort(-np.diag(h), kind="stable") if activation_order else np.arange(COLUMNS)
    h = h[np.ix_(order, order)] + DAMPING * np.mean(np.diag(h)) * np.eye(COLUMNS)
    u = np.linalg.cholesky(np.linalg.inv(h)).T
    w, scale = w[:, order], scale[:, order]
    for i in range(COLUMNS):
        q = nearest(w[:, i] / scale[:, i], floats) * scale[:, i]
        w[:, i + 1 :] -= np.outer((w[:, i] - q) / u[i, i], u[i, i + 1 :])
        w[:, i] = q
    return w[:, np.argsort(order)]


def cases(weight, inputs):
    w = weight.astype(np.float64)
    for form, block, scale, floats in [
        ("fp8", -1, fp8_scales(w, -1), E4M3),
        ("fp8", 2, fp8_scales(w, 2), E4M3),
        ("nvfp4", -1, nvfp4_scales(w), E2M1),
        ("mxfp4", -1, mxfp4_scales(w), E2M1),
    ]:
        tiles = {"block": block, "scale_dtype": "float32"}
        yield ("fp8", tiles) if form == "fp8" else ("fp4", {"format": form}), nearest(w / scale, floats) * scale
        for order in (False, True):
            params = tiles | {"format": form, "activation_order": order, "damping": DAMPING}
            yield ("gptq-float", params), gptq(w.copy(), scale, floats, inputs, order)


def main():
    weight, inputs = make_layer(11)
    golden = {
        "rows": ROWS,
        "columns": COLUMNS,
        "tokens": TOKENS,
        "weight": [float(f"{v:.9g}") for v in weight.ravel()],
        "inputs": [float(f"{v:.3f}") for v in inputs.ravel()],
        "cases": [{"method": m, "params": p, "values": [float(f"{x:.7g}") for x in v.ravel()]} for (m, p), v in cases(weight, inputs)],
    }
    path = pathlib.Path(__file__).with_name("float_goldens.json")
    path.write_text(json.dumps(golden, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
