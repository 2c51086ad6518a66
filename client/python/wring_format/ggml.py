"""ggml's blocks as fp32 (block layouts: ggml; docs/format.md tells them)."""

import numpy as np

IQ4_NL_GRID = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32)
FP4_GRID = np.array([0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12], np.float32)
SHIFTS = np.array([0, 2, 4, 6], np.uint8)

# Every decoder below: b uint8 [n, bytes of a block] -> fp32 [n, elements of a block].


def half(b, at):
    """The fp16 at a byte of each block, [n, 1]."""
    return np.ascontiguousarray(b[:, at:at + 2]).view("<f2").astype(np.float32)


def nibbles(b):
    """Low nibbles of all bytes, then their high ones."""
    return np.concatenate([b & 15, b >> 4], axis=1)


def fifth_bits(b, at):
    return np.unpackbits(b[:, at:at + 4], axis=1, bitorder="little") << 4


def signed(codes, zero):
    return codes.astype(np.float32) - np.float32(zero)


def f32(b):
    return b.view("<f4").astype(np.float32)


def f16(b):
    return half(b, 0)


def bf16(b):
    return (b.view("<u2").astype(np.uint32) << 16).view(np.float32)


def q4_0(b):
    return signed(nibbles(b[:, 2:]), 8) * half(b, 0)


def q4_1(b):
    return nibbles(b[:, 4:]).astype(np.float32) * half(b, 0) + half(b, 2)


def q5_0(b):
    return signed(nibbles(b[:, 6:]) | fifth_bits(b, 2), 16) * half(b, 0)


def q5_1(b):
    return (nibbles(b[:, 8:]) | fifth_bits(b, 4)).astype(np.float32) * half(b, 0) + half(b, 2)


def q8_0(b):
    return b[:, 2:].view(np.int8).astype(np.float32) * half(b, 0)


def iq4_nl(b):
    return half(b, 0) * IQ4_NL_GRID[nibbles(b[:, 2:])]


def mxfp4(b):
    exponent = b[:, :1].astype(np.uint32)  # of twice the scale: the grid is doubled
    bits = np.where(exponent < 2, np.uint32(0x00200000) << exponent, (exponent - 1) << 23)
    return bits.astype(np.uint32).view(np.float32) * FP4_GRID[nibbles(b[:, 1:])]


def two_bits(qs):
    """64 bytes -> [n, 8, 32]: each 32 bytes hold four runs of 32."""
    return (qs.reshape(-1, 2, 1, 32) >> SHIFTS[:, None] & 3).reshape(-1, 8, 32)


def four_bits(qs):
    """128 bytes -> [n, 8, 32]: each 32 bytes hold two runs of 32."""
    return (qs.reshape(-1, 4, 1, 32) >> SHIFTS[::2, None] & 15).reshape(-1, 8, 32)


def scaled(d, scales, codes):
    """(d * scale) * code, by runs: scales [n, runs], codes of 256 -> [n, runs, 256 / runs]."""
    runs = scales.shape[1]
    return (d * scales.astype(np.float32))[:, :, None] * codes.reshape(-1, runs, 256 // runs).astype(np.float32)


def less_minimum(values, d, minima):
    return (values - (d * minima.astype(np.float32))[:, :, None]).reshape(-1, 256)


def six_bit_pairs(s):
    """Scales and minima, each [n, 8], of Q4_K's and Q5_K's 12 bytes."""
    first, second, both = s[:, :4], s[:, 4:8], s[:, 8:]
    scales = np.concatenate([first & 63, both & 15 | first >> 6 << 4], axis=1)
    return scales, np.concatenate([second & 63, both >> 4 | second >> 6 << 4], axis=1)


def q2_k(b):
    values = scaled(half(b, 80), b[:, :16] & 15, two_bits(b[:, 16:80]))
    return less_minimum(values, half(b, 82), b[:, :16] >> 4)


def q3_k(b):
    present = b[:, None, :32] >> np.arange(8, dtype=np.uint8)[:, None] & 1
    codes = two_bits(b[:, 32:96]).astype(np.int8) - np.where(present, 0, 4).astype(np.int8)
    high = (b[:, None, 104:108] >> SHIFTS[:, None] & 3).reshape(-1, 16)
    scales = (nibbles(b[:, 96:104]) | high << 4).astype(np.int8) - np.int8(32)
    return scaled(half(b, 108), scales, codes).reshape(-1, 256)


def q4_k(b):
    scales, minima = six_bit_pairs(b[:, 4:16])
    return less_minimum(scaled(half(b, 0), scales, four_bits(b[:, 16:])), half(b, 2), minima)


def q5_k(b):
    scales, minima = six_bit_pairs(b[:, 4:16])
    high = b[:, None, 16:48] >> np.arange(8, dtype=np.uint8)[:, None] & 1
    return less_minimum(scaled(half(b, 0), scales, four_bits(b[:, 48:]) | high << 4), half(b, 2), minima)


def q6_k(b):
    low = (b[:, :128].reshape(-1, 2, 1, 64) >> SHIFTS[::2, None] & 15).reshape(-1, 8, 32)
    codes = (low | two_bits(b[:, 128:192]) << 4).astype(np.int8) - np.int8(32)
    return scaled(half(b, 208), b[:, 192:208].view(np.int8), codes).reshape(-1, 256)


# Name -> its id, elements and bytes of a block, and the decoder.
TYPES = {"F32": (0, 1, 4, f32), "F16": (1, 1, 2, f16), "BF16": (30, 1, 2, bf16), "Q4_0": (2, 32, 18, q4_0),
         "Q4_1": (3, 32, 20, q4_1), "Q5_0": (6, 32, 22, q5_0), "Q5_1": (7, 32, 24, q5_1), "Q8_0": (8, 32, 34, q8_0),
         "Q2_K": (10, 256, 84, q2_k), "Q3_K": (11, 256, 110, q3_k), "Q4_K": (12, 256, 144, q4_k),
         "Q5_K": (13, 256, 176, q5_k), "Q6_K": (14, 256, 210, q6_k), "IQ4_NL": (20, 32, 18, iq4_nl),
         "MXFP4": (39, 32, 17, mxfp4)}


def dequantize(blocks: np.ndarray, type_name: str) -> np.ndarray:
    """uint8 [rows, bytes of a row], whole blocks -> fp32 [rows, columns]."""
    _, elements, size, decode = TYPES[type_name]
    rows, row_bytes = blocks.shape
    return decode(np.ascontiguousarray(blocks).reshape(-1, size)).reshape(rows, row_bytes // size * elements)
