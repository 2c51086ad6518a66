#!/usr/bin/env python3
"""Writes ggml_golden.json: two random blocks of every ggml type that Wring reads, decoded by the `gguf` package.

Values are given as the eight hex digits of their fp32 bits, so a test compares them exactly.
"""

import json
import pathlib

import gguf
import numpy

TYPES = ["F32", "F16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "BF16",
         "IQ4_NL", "MXFP4"]
# Byte offsets of the half-precision scales in a block: kept finite and small.
HALVES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
          "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
          "IQ4_NL": [0]}


def random_blocks(name: str, random: numpy.random.Generator) -> numpy.ndarray:
    elements, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]]
    if name == "F32":
        return random.standard_normal(8).astype("<f4").view("u1").reshape(1, -1)
    if name == "F16":
        values = [0.0, -0.0, 2.0**-24, -(2.0**-15), 65504.0, -1.5, 0.1, 3.0]
        return numpy.array(values, "<f2").view("u1").reshape(1, -1)
    if name == "BF16":
        return (random.standard_normal(8).astype("<f4").view("<u4") >> 16).astype("<u2").view("u1").reshape(1, -1)
    blocks = random.integers(0, 256, (2, size), dtype="u1")
    if name == "MXFP4":
        blocks[:, 0] = [0, 125]  # exponents, the least among them
        return blocks
    for at in HALVES[name]:
        scales = random.uniform(-0.1, 0.1, 2).astype("<f2")
        blocks[:, at : at + 2] = scales.view("u1").reshape(2, 2)
    return blocks


def main() -> None:
    random = numpy.random.default_rng(20)
    golden = {}
    for name in TYPES:
        kind = gguf.GGMLQuantizationType[name]
        blocks = random_blocks(name, random)
        values = gguf.quants.dequantize(blocks, kind).astype("<f4").ravel()
        golden[name] = {"id": int(kind), "blocks": blocks.tobytes().hex(), "values": values.astype(">f4").tobytes().hex()}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in golden.items())
    (pathlib.Path(__file__).parent / "ggml_golden.json").write_text("{\n" + lines + "\n}\n")


if __name__ == "__main__":
    main()
