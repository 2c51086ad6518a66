"""Files of a folder, read within bounds: JSON, and safetensors headers checked against the file before they are believed."""

import json
import os
import re
import stat
from dataclasses import dataclass

import numpy as np

from wring_format.errors import FormatError

MOST_JSON = 64 << 20
MOST_HEADER = 100_000_000
MOST_DIMENSIONS = 16
MOST_ELEMENTS = (1 << 63) - 1
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARD = re.compile(r"model-[0-9]{5,}-of-[0-9]{5,}\.safetensors")

# Little-endian in the file. numpy has no bfloat16 and no float8: their bits.
DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
          "U8": "u1", "BOOL": "u1", "F8_E4M3": "u1"}
FLOATS = {"F64", "F32", "F16", "BF16"}


def member(object_, key: str, types, file: str, where: str = ""):
    """object_[key], of one of `types` exactly (true is no integer)."""
    if type(object_) is not dict or key not in object_:
        raise FormatError(file, where, f"has no member {key!r}")
    value = object_[key]
    if type(value) not in (types if isinstance(types, tuple) else (types,)):
        raise FormatError(file, where, f"the member {key!r} is {repr(value)[:40]}")
    return value


def integer(object_, key: str, low: int, high: int, file: str, where: str = "") -> int:
    value = member(object_, key, int, file, where)
    if not low <= value <= high:
        raise FormatError(file, where, f"the member {key!r} is {repr(value)[:40]}, not {low} to {high}")
    return value


def parse_json(data: bytes, file: str) -> dict:
    """An object; members that stand twice, names that cannot be printed, NaN and too deep nesting are refused."""

    def unique(pairs):
        result = dict(pairs)
        if len(result) != len(pairs):
            raise FormatError(file, "", "a member stands twice")
        for key in result:
            if not key.isprintable():
                raise FormatError(file, "", f"a member's name cannot be printed: {repr(key)[:40]}")
        return result

    def refuse(constant):
        raise FormatError(file, "", f"holds {constant}")

    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=unique, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise FormatError(file, "", f"is not JSON: {error}") from None
    if type(value) is not dict:
        raise FormatError(file, "", "is no JSON object")
    return value


class Folder:
    """A folder's own files, by name."""

    def __init__(self, path):
        self.path = os.fspath(path)
        if not os.path.isdir(self.path):
            raise FormatError(self.path, "", "is no folder")

    def size(self, file: str) -> int:
        """-1 where there is none."""
        try:
            status = os.stat(os.path.join(self.path, file))
        except (FileNotFoundError, NotADirectoryError):
            return -1
        except OSError as error:
            raise FormatError(file, "", f"cannot be read: {error.strerror}") from None
        if not stat.S_ISREG(status.st_mode):
            raise FormatError(file, "", "is no regular file")
        return status.st_size

    def read(self, file: str, offset: int, count: int) -> bytes:
        """The caller has compared `count` with size()."""
        try:
            with open(os.path.join(self.path, file), "rb") as stream:
                stream.seek(offset)
                data = stream.read(count)
        except OSError as error:
            raise FormatError(file, "", f"cannot be read: {error.strerror}") from None
        if len(data) != count:
            raise FormatError(file, "", f"ends within bytes {offset} to {offset + count}")
        return data

    def json(self, file: str) -> dict:
        size = self.size(file)
        if size < 0:
            raise FormatError(file, "", "is missing")
        if size > MOST_JSON:
            raise FormatError(file, "", f"has {size} bytes, more than 64 MiB")
        return parse_json(self.read(file, 0, size), file)


@dataclass(frozen=True)
class Tensor:
    """A tensor in a file: `dtype` as safetensors names it."""

    folder: Folder
    file: str
    name: str
    dtype: str
    shape: tuple
    offset: int
    bytes: int

    def refuse(self, why: str):
        raise FormatError(self.file, self.name, why)

    def raw(self) -> np.ndarray:
        """As stored; BF16 as uint16."""
        return np.frombuffer(self.folder.read(self.file, self.offset, self.bytes), DTYPES[self.dtype]).reshape(self.shape)

    def float32(self) -> np.ndarray:
        values = self.raw()
        if self.dtype == "BF16":
            return (values.astype(np.uint32) << 16).view(np.float32)
        with np.errstate(over="ignore"):
            return values.astype(np.float32)


def parse_entry(folder: Folder, file: str, name: str, entry, start: int, size: int) -> Tensor:
    dtype = member(entry, "dtype", str, file, name)
    if dtype not in DTYPES:
        raise FormatError(file, name, f"its dtype is {repr(dtype)[:40]}")
    shape = member(entry, "shape", list, file, name)
    if len(shape) > MOST_DIMENSIONS or any(type(n) is not int or not 0 <= n <= MOST_ELEMENTS for n in shape):
        raise FormatError(file, name, "its shape is no list of at most 16 whole numbers")
    need = np.dtype(DTYPES[dtype]).itemsize
    for n in shape:
        need *= n
    offsets = member(entry, "data_offsets", list, file, name)
    if len(offsets) != 2 or any(type(n) is not int for n in offsets) or not 0 <= offsets[0] <= offsets[1] <= size - start:
        raise FormatError(file, name, "its data lie outside the file")
    if offsets[1] - offsets[0] != need:
        raise FormatError(file, name, f"its shape needs {need} bytes, its offsets hold {offsets[1] - offsets[0]}")
    return Tensor(folder, file, name, dtype, tuple(shape), start + offsets[0], need)


def read_header(folder: Folder, file: str) -> list:
    """The tensors of a safetensors file, which cover it without hole or overlap."""
    size = folder.size(file)
    if size < 8:
        raise FormatError(file, "", "is missing" if size < 0 else "is shorter than its 8-byte length")
    length = int.from_bytes(folder.read(file, 0, 8), "little")
    if length > min(MOST_HEADER, size - 8):
        raise FormatError(file, "", f"its header claims {length} bytes, the file has {size}")
    text = folder.read(file, 8, length)
    if not text.startswith(b"{"):
        raise FormatError(file, "", "its header does not begin with '{'")
    header = parse_json(text, file)
    metadata = header.pop("__metadata__", {})
    if type(metadata) is not dict or any(type(value) is not str for value in metadata.values()):
        raise FormatError(file, "__metadata__", "is no object of strings")
    tensors = [parse_entry(folder, file, name, entry, 8 + length, size) for name, entry in header.items()]
    tensors.sort(key=lambda tensor: (tensor.offset, tensor.bytes))
    end = 8 + length
    for tensor in tensors:
        if tensor.offset != end:
            tensor.refuse("its data overlap another tensor's" if tensor.offset < end else "there is a hole before its data")
        end += tensor.bytes
    if end != size:
        raise FormatError(file, "", f"has {size - end} bytes behind its last tensor")
    return tensors


def read_tensors(folder: Folder) -> dict:
    """All tensors of a folder by name: model.safetensors, or the shards that the index names."""
    if folder.size(SINGLE) >= 0:
        return {tensor.name: tensor for tensor in read_header(folder, SINGLE)}
    if folder.size(INDEX) < 0:
        raise FormatError(SINGLE, "", f"is missing, and so is {INDEX}")
    places = member(folder.json(INDEX), "weight_map", dict, INDEX)
    for name, file in places.items():
        if type(file) is not str or not SHARD.fullmatch(file):
            raise FormatError(INDEX, name, f"its file is {repr(file)[:60]}")
    tensors = {}
    for file in sorted(set(places.values())):
        for tensor in read_header(folder, file):
            if places.get(tensor.name) != file:
                tensor.refuse(f"is not where {INDEX} has it")
            tensors[tensor.name] = tensor
    for name in places:
        if name not in tensors:
            raise FormatError(places[name], name, f"is missing, though {INDEX} has it there")
    return tensors
