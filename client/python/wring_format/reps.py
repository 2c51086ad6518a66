"""How a layer's weight is stored, and the way back to its values: one class a rep, checked before a byte is read."""

import numpy as np

from wring_format import ggml
from wring_format.errors import FormatError
from wring_format.files import FLOATS, integer, member

VALUES = {"F32", "F16", "BF16"}
MOST = 1 << 31  # of a group, and of groups in a row
MOST_PRODUCT = 1 << 32
MOST_PARTS = 16
MOST_LEVELS = 64
ELEMENTS_AT_ONCE = 1 << 20
FILE = "wring.json"
LARGEST = float(np.finfo(np.float32).max)
ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(1, dtype=np.uint8)  # bits set in a byte


def by_rows(rows: int, columns: int, decode) -> np.ndarray:
    """fp32 [rows, columns], a few rows at a time: decode(first, last) gives those of [first, last)."""
    values = np.empty((rows, columns), np.float32)
    step = max(1, ELEMENTS_AT_ONCE // columns)
    with np.errstate(all="ignore"):  # any scale may be stored
        for first in range(0, rows, step):
            values[first:first + step] = decode(first, min(first + step, rows))
    return values


def unpack(packed: np.ndarray, count: int, bits: int) -> np.ndarray:
    """uint8 [rows, ceil(count * bits / 8)] -> the first `count` codes of each row, uint8."""
    if bits == 8:
        return packed[:, :count]
    rows, row_bytes = packed.shape
    eights = -(-count // 8)  # eight codes are `bits` whole bytes
    padded = np.zeros((rows, eights * bits), np.uint8)
    padded[:, :row_bytes] = packed
    padded = padded.reshape(rows, eights, bits)
    words = padded[..., 0].astype(np.uint64)
    for byte in range(1, bits):
        words |= padded[..., byte].astype(np.uint64) << np.uint64(8 * byte)
    codes = np.empty((rows, eights, 8), np.uint8)
    for k in range(8):
        codes[..., k] = words >> np.uint64(k * bits) & np.uint64((1 << bits) - 1)
    return codes.reshape(rows, eights * 8)[:, :count]


def check_matrix(tensor, dtypes, shape=None):
    if tensor.dtype not in dtypes:
        tensor.refuse(f"its dtype is {tensor.dtype}, not {' or '.join(sorted(dtypes))}")
    if len(tensor.shape) != 2 or 0 in tensor.shape:
        tensor.refuse(f"its shape is {list(tensor.shape)}, no matrix of at least one value")
    if shape is not None and tensor.shape != shape:
        tensor.refuse(f"its shape is {list(tensor.shape)}, not {list(shape)}")


class LowRank:
    suffixes = ("a", "b")

    def __init__(self, layer, attributes, a, b):
        for factor in (a, b):
            check_matrix(factor, VALUES)
        if b.shape[1] != a.shape[0]:
            b.refuse(f"its rank is {b.shape[1]}, the other factor's {a.shape[0]}")
        self.shape, self.a, self.b = (b.shape[0], a.shape[1]), a, b
        if self.shape[0] * self.shape[1] > MOST_PRODUCT:
            b.refuse(f"makes a product of {list(self.shape)}, more than 2^32 values")

    def decode(self):
        with np.errstate(all="ignore"):
            return self.b.float32() @ self.a.float32()


class Sum:
    def __init__(self, layer, parts):
        self.shape, self.parts = parts[0].shape, parts
        if any(part.shape != self.shape for part in parts):
            raise FormatError(FILE, layer, f"its parts have the shapes {', '.join(str(list(part.shape)) for part in parts)}")

    def decode(self):
        total = self.parts[0].decode()
        with np.errstate(all="ignore"):
            for part in self.parts[1:]:
                total = total + part.decode()
        return total


class Residual:
    suffixes = ("signs", "u", "v")

    def __init__(self, layer, attributes, signs, u, v):
        for factor in (u, v):
            if factor.dtype != "F16" or len(factor.shape) != 3 or 0 in factor.shape:
                factor.refuse("is no F16 of shape [levels, rows, columns]")
        levels, rows, rank = u.shape
        if v.shape[:2] != (levels, rank) or levels > MOST_LEVELS:
            v.refuse(f"its shape is {list(v.shape)} beside a factor of {list(u.shape)}")
        self.shape, self.signs, self.u, self.v = (rows, v.shape[2]), signs, u, v
        if signs.dtype != "U8" or signs.shape != (levels, rows, -(-self.shape[1] // 8)):
            signs.refuse("is not the bits of its levels' signs")
        order = member(attributes, "order", list, FILE, layer)
        rises = all(type(place) is int for place in order) and all(a < b for a, b in zip([-1, *order], order))
        if len(order) != levels or not rises:
            raise FormatError(FILE, layer, f"the order of its {levels} levels is {repr(order)[:40]}")

    def decode(self):
        signs, u, v = self.signs.raw(), self.u.float32(), self.v.float32()
        for name, factor in (("u", u), ("v", v)):
            if not np.isfinite(factor).all():
                getattr(self, name).refuse("a value is NaN or infinite")
        columns = self.shape[1]
        if columns % 8 and (signs[..., -1] >> (columns % 8)).any():
            self.signs.refuse("has bits past the last column")

        def decode(first, last):
            total = np.zeros((last - first, columns), np.float32)
            for level in range(len(u)):
                size = u[level, first:last] @ v[level]
                negative = np.unpackbits(signs[level, first:last], axis=1, bitorder="little", count=columns).view(bool)
                total += np.where(negative, -size, size)
            return total

        return by_rows(*self.shape, decode)


class Dense:
    suffixes = ("weight",)

    def __init__(self, layer, attributes, weight):
        check_matrix(weight, FLOATS)
        self.shape, self.weight = weight.shape, weight

    def decode(self):
        return self.weight.float32()


class Masked:
    suffixes = ("mask", "values")

    def __init__(self, layer, attributes, mask, values):
        columns = integer(attributes, "columns", 1, MOST * 8, FILE, layer)
        check_matrix(mask, {"U8"})
        if mask.shape[1] != -(-columns // 8):
            mask.refuse(f"has {mask.shape[1]} bytes a row, not those of {columns} bits")
        if values.dtype not in VALUES or len(values.shape) != 1:
            values.refuse("is no list of F32, F16 or BF16")
        self.shape, self.mask, self.values = (mask.shape[0], columns), mask, values

    def decode(self):
        rows, columns = self.shape
        mask, values = self.mask.raw(), self.values.float32()
        if columns % 8 and (mask[:, -1] >> (columns % 8)).any():
            self.mask.refuse("keeps columns past the last one")
        at = np.concatenate([[0], np.cumsum(ONES[mask].sum(1, dtype=np.int64))])  # of each row's first value, and the end
        if at[-1] != len(values):
            self.mask.refuse(f"keeps {at[-1]} values, but {len(values)} are stored")

        def decode(first, last):
            keep = np.unpackbits(mask[first:last], axis=1, bitorder="little", count=columns).view(bool)
            out = np.zeros(keep.shape, np.float32)
            out[keep] = values[at[first]:at[last]]
            return out

        return by_rows(rows, columns, decode)


class PackedInt:
    suffixes = ("codes", "scales", "zeros")

    def __init__(self, layer, attributes, codes, scales, zeros=None):
        self.bits = integer(attributes, "bits", 1, 8, FILE, layer)
        self.group = integer(attributes, "group_size", 1, MOST, FILE, layer)
        if member(attributes, "symmetric", bool, FILE, layer) != (zeros is None):
            raise FormatError(FILE, layer, "has zeros and is symmetric, or neither")
        check_matrix(scales, VALUES)
        rows, groups = scales.shape
        check_matrix(codes, {"U8"}, (rows, -(-groups * self.group * self.bits // 8)))
        if zeros is not None:
            check_matrix(zeros, {"U8"}, (rows, -(-groups * self.bits // 8)))
        self.shape, self.codes, self.scales, self.zeros = (rows, groups * self.group), codes, scales, zeros

    def decode(self):
        codes, scales = self.codes.raw(), self.scales.float32()
        if not np.isfinite(scales).all():
            self.scales.refuse("a scale is NaN or infinite")
        zeros = None if self.zeros is None else self.zeros.raw()
        groups = scales.shape[1]

        def decode(first, last):
            values = unpack(codes[first:last], self.shape[1], self.bits).astype(np.float32).reshape(-1, groups, self.group)
            if zeros is None:
                values -= np.float32(1 << (self.bits - 1))
            else:
                values -= unpack(zeros[first:last], groups, self.bits).astype(np.float32)[..., None]
            values *= scales[first:last, :, None]
            return values.reshape(last - first, -1)

        return by_rows(*self.shape, decode)


def e4m3(byte):
    """The value of a float8_e4m3fn."""
    sign, exponent, mantissa = -1.0 if byte & 0x80 else 1.0, byte >> 3 & 15, byte & 7
    if exponent == 15 and mantissa == 7:
        return np.nan
    return sign * (mantissa / 8 * 2.0 ** -6 if exponent == 0 else (1 + mantissa / 8) * 2.0 ** (exponent - 7))


E4M3 = np.array([e4m3(byte) for byte in range(256)], np.float32)


class Float8:
    suffixes = ("values", "scales")

    def __init__(self, layer, attributes, values, scales):
        check_matrix(values, {"F8_E4M3"})
        self.shape, self.values, self.scales = values.shape, values, scales
        self.block = tuple(integer(attributes, f"block_{axis}", 1, size, FILE, layer) for axis, size in zip(("rows", "columns"), values.shape))
        check_matrix(scales, VALUES, tuple(-(-size // block) for size, block in zip(values.shape, self.block)))

    def decode(self):
        values, scales = E4M3[self.values.raw()], self.scales.float32()
        if not np.isfinite(scales).all():
            self.scales.refuse("a scale is NaN or infinite")
        if np.isnan(values).any():
            self.values.refuse("a value is NaN")
        for axis, (size, block) in enumerate(zip(self.shape, self.block)):
            scales = np.repeat(scales, block, axis).take(range(size), axis)
        return values * scales


E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)


class Float4:
    suffixes = ("codes", "scales")

    def __init__(self, layer, attributes, codes, scales):
        check_matrix(codes, {"U8"})
        check_matrix(scales, {"F8_E4M3", "U8"})
        self.shape, self.codes, self.scales = (codes.shape[0], 2 * codes.shape[1]), codes, scales
        if scales.shape[0] != codes.shape[0] or self.shape[1] % scales.shape[1]:
            scales.refuse(f"its shape is {list(scales.shape)}, which are no groups of rows of {self.shape[1]}")
        scale = attributes.get("global_scale")
        valid = isinstance(scale, (int, float)) and not isinstance(scale, bool) and 0 < scale < np.inf
        if not valid or scales.dtype == "U8" and scale != 1:
            raise FormatError(FILE, layer, f"its global_scale is {repr(scale)[:40]}")
        self.global_scale = np.float32(scale)

    def decode(self):
        codes, scales = self.codes.raw(), self.scales.raw()
        wrong = scales == 255 if self.scales.dtype == "U8" else np.isnan(E4M3[scales])
        if wrong.any():
            self.scales.refuse("a scale is NaN")
        if self.scales.dtype == "U8":
            plain = np.exp2(scales.astype(np.float32) - np.float32(127)).astype(np.float32)
        else:
            plain = E4M3[scales] / self.global_scale
        values = E2M1[np.stack([codes & 15, codes >> 4], -1)].reshape(*scales.shape, -1)
        return (values * plain[..., None]).reshape(self.shape)


class Ggml:
    suffixes = ("blocks",)

    def __init__(self, layer, attributes, blocks):
        self.type = member(attributes, "type", str, FILE, layer)
        if self.type not in ggml.TYPES:
            raise FormatError(FILE, layer, f"its ggml type {repr(self.type)[:40]} is none that is read")
        number, elements, size, _ = ggml.TYPES[self.type]
        if member(attributes, "type_id", int, FILE, layer) != number:
            raise FormatError(FILE, layer, f"its type_id is not {self.type}'s, {number}")
        columns = integer(attributes, "columns", 1, MOST * 8, FILE, layer)
        check_matrix(blocks, {"U8"})
        if columns % elements or blocks.shape[1] != columns // elements * size:
            blocks.refuse(f"has {blocks.shape[1]} bytes a row, not those of {columns} values of {self.type}")
        self.shape, self.blocks = (blocks.shape[0], columns), blocks

    def decode(self):
        blocks = self.blocks.raw()
        return by_rows(*self.shape, lambda first, last: ggml.dequantize(blocks[first:last], self.type))


REPS = {"dense": Dense, "masked": Masked, "packed-int": PackedInt, "ggml": Ggml, "low-rank": LowRank, "residual": Residual, "float8": Float8, "float4": Float4}
INPUT_TYPES = ("int8", "float8_e4m3")


def read_part(layer, entry, take):
    """What `entry` describes, no sum, made of the tensors that take(suffix) gives; None where there is none."""
    rep = member(entry, "rep", str, FILE, layer)
    if rep not in REPS:
        raise FormatError(FILE, layer, f"its rep {repr(rep)[:40]} is none of {', '.join(REPS)}")
    attributes = member(entry, "attributes", dict, FILE, layer)
    return REPS[rep](layer, attributes, **{suffix: take(suffix) for suffix in REPS[rep].suffixes})


def read_rep(layer, entry, take):
    """The same, also sums, whose part i's tensors are take("i.suffix"), and weights whose layer rounds its inputs."""
    if member(entry, "rep", str, FILE, layer) == "rounded-input":
        attributes = member(entry, "attributes", dict, FILE, layer)
        if member(attributes, "rep", str, FILE, layer) == "rounded-input":
            raise FormatError(FILE, layer, "its inputs are rounded twice")
        if member(attributes, "type", str, FILE, layer) not in INPUT_TYPES:
            raise FormatError(FILE, layer, f"its inputs' type is none of {', '.join(INPUT_TYPES)}")
        weight = read_rep(layer, attributes, take)
        if "scale" in attributes:
            scale = member(attributes, "scale", (int, float), FILE, layer)
            if not scale <= LARGEST or not np.float32(scale) > 0:
                raise FormatError(FILE, layer, f"its inputs' scale {repr(scale)[:40]} is no positive number of float32")
            zeros = (-128, 127) if attributes["type"] == "int8" else (0, 0)
            integer(attributes, "zero", *zeros, FILE, layer)
            return weight
        group = integer(attributes, "group_size", -1, MOST, FILE, layer)
        if group == 0 or group > 0 and weight.shape[1] % group:
            raise FormatError(FILE, layer, f"its inputs' group_size {group} does not divide {weight.shape[1]}")
        return weight
    if member(entry, "rep", str, FILE, layer) != "sum":
        return read_part(layer, entry, take)
    parts = member(member(entry, "attributes", dict, FILE, layer), "parts", list, FILE, layer)
    if not 2 <= len(parts) <= MOST_PARTS:
        raise FormatError(FILE, layer, f"is a sum of {len(parts)} parts, not 2 to {MOST_PARTS}")
    return Sum(layer, [read_part(layer, part, lambda suffix, i=i: take(f"{i}.{suffix}")) for i, part in enumerate(parts)])
