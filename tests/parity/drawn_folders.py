"""Wring folders as docs/format.md describes them, written without the engine: random values in every rep, type and width."""
import json
import math

import numpy as np

from wring_format import ggml


def safetensors_bytes(tensors, change=lambda header: None):
    """tensors: {name: (dtype, shape, bytes)}."""
    header, at = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + len(data)]}
        at += len(data)
    change(header)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"".join(data for _, _, data in tensors.values())


def decoder_config(rows, columns, blocks=1):
    return {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "hidden_size": columns,
            "intermediate_size": rows, "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 2, "vocab_size": 3,
            "num_hidden_layers": blocks, "tie_word_embeddings": True, "max_position_embeddings": 8, "torch_dtype": "float32"}


class Drawn:
    """A llama whose gate and up projections, [rows, columns], are as given; the rest is dense. layers: {name: (rep, attributes, tensors)}."""

    def __init__(self, rows, columns, layers, blocks=1):
        self.config = decoder_config(rows, columns, blocks)
        self.description = {"format_version": 1, "family": "llama", "kind": "decoder-lm", "lineage": [],
                            "layers": {name: {"rep": rep, "attributes": attributes} for name, (rep, attributes, _) in layers.items()}}
        rng = np.random.default_rng(0)
        shapes = {"model.embed_tokens": (3, columns), "model.norm": (columns,)}
        for i in range(blocks):
            block = f"model.layers.{i}."
            shapes |= {f"{block}input_layernorm": (columns,), f"{block}post_attention_layernorm": (columns,)}
            shapes |= {f"{block}self_attn.{x}_proj": (2, columns) for x in "qkv"} | {f"{block}self_attn.o_proj": (columns, 2)}
            shapes |= {f"{block}mlp.{x}_proj": (rows, columns) for x in ("gate", "up")} | {f"{block}mlp.down_proj": (columns, rows)}
        self.tensors = {f"{name}.weight": ("F32", shape, rng.standard_normal(shape).astype("<f4").tobytes())
                        for name, shape in shapes.items() if name not in layers}
        for name, (_, _, tensors) in layers.items():
            self.tensors |= {f"{name}.{suffix}": tensor for suffix, tensor in tensors.items()}

    def write(self, folder, shards=1, change=lambda header: None):
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(self.config))
        (folder / "wring.json").write_text(json.dumps(self.description))
        if shards == 1:
            (folder / "model.safetensors").write_bytes(safetensors_bytes(self.tensors, change))
            return folder
        names, places = list(self.tensors), {}
        for i in range(shards):
            file = f"model-{i + 1:05}-of-{shards:05}.safetensors"
            part = names[i::shards]
            (folder / file).write_bytes(safetensors_bytes({name: self.tensors[name] for name in part}))
            places |= dict.fromkeys(part, file)
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": 0}, "weight_map": places}))
        return folder


def packed_bytes(codes, bits):
    """Each row as one little-endian number."""
    return b"".join(sum(int(code) << (i * bits) for i, code in enumerate(row)).to_bytes(math.ceil(len(row) * bits / 8), "little")
                    for row in codes)


def packed_int(rows, columns, bits, group, symmetric, dtype, rng):
    groups = columns // group
    codes = rng.integers(0, 1 << bits, (rows, columns))
    scales = rng.standard_normal((rows, groups)).astype("<f4")
    stored = {"F32": scales.tobytes(), "F16": scales.astype("<f2").tobytes(), "BF16": scales.view("<u2")[:, 1::2].tobytes()}[dtype]
    tensors = {"codes": ("U8", (rows, math.ceil(columns * bits / 8)), packed_bytes(codes, bits)), "scales": (dtype, (rows, groups), stored)}
    if not symmetric:
        zeros = rng.integers(0, 1 << bits, (rows, groups))
        tensors["zeros"] = ("U8", (rows, math.ceil(groups * bits / 8)), packed_bytes(zeros, bits))
    return "packed-int", {"bits": bits, "group_size": group, "symmetric": symmetric}, tensors


def masked(rows, columns, share, dtype, rng):
    keep = rng.random((rows, columns)) < share
    mask = np.packbits(keep, axis=1, bitorder="little")
    values = rng.standard_normal(int(keep.sum())).astype("<f4")
    stored = {"F32": values.tobytes(), "F16": values.astype("<f2").tobytes(), "BF16": values.view("<u2")[1::2].tobytes()}[dtype]
    return "masked", {"columns": columns}, {"mask": ("U8", mask.shape, mask.tobytes()), "values": (dtype, (len(values),), stored)}


def low_rank(rows, columns, rank, dtype, rng):
    factors = {"a": rng.standard_normal((rank, columns)), "b": rng.standard_normal((rows, rank))}
    kind = {"F32": "<f4", "F16": "<f2"}[dtype]
    return "low-rank", {}, {name: (dtype, factor.shape, factor.astype(kind).tobytes()) for name, factor in factors.items()}


def residual(rows, columns, levels, rank, rng):
    signs = np.packbits(rng.random((levels, rows, columns)) < 0.5, axis=2, bitorder="little")
    factors = {"u": rng.standard_normal((levels, rows, rank)), "v": rng.standard_normal((levels, rank, columns))}
    return "residual", {"order": [5 * i for i in range(levels)]}, {
        "signs": ("U8", signs.shape, signs.tobytes()),
        **{name: ("F16", factor.shape, factor.astype("<f2").tobytes()) for name, factor in factors.items()}}


def summed(*parts):
    attributes = {"parts": [{"rep": rep, "attributes": attributes} for rep, attributes, _ in parts]}
    return "sum", attributes, {f"{i}.{suffix}": tensor for i, (_, _, tensors) in enumerate(parts) for suffix, tensor in tensors.items()}


# Where a block's halves are.
HALVES = {"F16": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
          "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0]}


def ggml_blocks(name, rows, columns, rng):
    """Random bits whose scales are finite; both zeros, subnormals and the largest halves among them."""
    _, elements, size, _ = ggml.TYPES[name]
    if name == "F32":
        return rng.standard_normal((rows, columns)).astype("<f4").view(np.uint8)
    if name == "BF16":
        return np.ascontiguousarray(rng.standard_normal((rows, columns)).astype("<f4").view("<u2")[:, 1::2]).view(np.uint8)
    blocks = rng.integers(0, 256, (rows * columns // elements, size), np.uint8)
    for at in HALVES.get(name, []):
        bits = rng.integers(0, 0x7c00, len(blocks)).astype("<u2") | rng.integers(0, 2, len(blocks)).astype("<u2") << 15
        bits[::7], bits[3::7] = 0x8000, 1
        blocks[:, at:at + 2] = bits.astype("<u2")[:, None].view(np.uint8)
    return blocks.reshape(rows, -1)


def ggml_layer(name, rows, columns, rng):
    blocks = ggml_blocks(name, rows, columns, rng)
    if name == "MXFP4":  # the engine refuses a model with values beyond fp32
        blocks.reshape(-1, ggml.TYPES[name][2])[:, 0] &= 0x7f
    return "ggml", {"type": name, "type_id": ggml.TYPES[name][0], "columns": columns}, {"blocks": ("U8", blocks.shape, blocks.tobytes())}
