"""A Wring folder as the weights it means."""

from dataclasses import dataclass, field

import numpy as np

from wring_format import families
from wring_format.errors import FormatError
from wring_format.files import FLOATS, Folder, member, read_tensors
from wring_format.reps import Dense, read_rep

FORMAT_VERSION = 1
FILE = "wring.json"


@dataclass(frozen=True)
class Layer:
    """A matrix [out, in]: `rep` as docs/format.md names it, `bits` stored for each weight, scales and all."""

    name: str
    rep: str
    attributes: dict
    shape: tuple
    bits: float
    decode: object = field(repr=False)  # () -> fp32 [out, in]


@dataclass(frozen=True)
class Zeros:
    shape: tuple

    def float32(self):
        return np.zeros(self.shape, np.float32)


def make_layer(name: str, entry, tensors: dict) -> Layer:
    """Takes the layer's tensors out of `tensors`."""
    taken = []

    def take(suffix):
        tensor = tensors.pop(f"{name}.{suffix}", None)
        if tensor is None and not suffix.endswith("zeros"):
            raise FormatError(FILE, name, f"its tensor {name}.{suffix} is missing")
        taken.append(tensor.bytes if tensor else 0)
        return tensor

    stored = read_rep(name, entry, take)
    bits = 8 * sum(taken) / (stored.shape[0] * stored.shape[1])
    return Layer(name, entry["rep"], entry["attributes"], stored.shape, bits, stored.decode)


class Artifact:
    """`config` (config.json), `description` (wring.json) and `layers` {name: Layer}, those of matrices that are stored plainly too.

    Only headers and sizes have been read. Values are read anew at each call, so memory is one tensor's; several threads may.
    """

    def __init__(self, path):
        folder = Folder(path)
        self.path = folder.path
        self.description = folder.json(FILE)
        version = member(self.description, "format_version", int, FILE)
        if version != FORMAT_VERSION:
            raise FormatError(FILE, "", f"format_version {repr(version)[:40]}, this reader knows {FORMAT_VERSION}")
        self.kind = member(self.description, "kind", str, FILE)
        self.config = folder.json("config.json")
        tensors = read_tensors(folder)
        listed = member(self.description, "layers", dict, FILE)
        self.layers = {name: make_layer(name, entry, tensors) for name, entry in listed.items()}
        self._plain = tensors
        for name, tensor in tensors.items():
            if tensor.dtype not in (("I64",) if name.endswith(".rope_pairs") else FLOATS) or 0 in tensor.shape:
                tensor.refuse(f"is {tensor.dtype} {list(tensor.shape)}, and no layer of {FILE} has it")
            if name.endswith(".weight") and len(tensor.shape) == 2:
                layer = name[:-len(".weight")]
                if layer in listed:
                    tensor.refuse(f"stands there twice: {FILE} has the layer in another rep")
                self.layers[layer] = Layer(layer, "dense", {}, tensor.shape, 8 * tensor.bytes / np.prod(tensor.shape, dtype=float),
                                           Dense(layer, {}, tensor).decode)
        families.check(member(self.description, "family", str, FILE), self.config, {name: self.shape(name) for name in self.names()})

    def names(self):
        """Hugging Face's names of all dense tensors, sorted."""
        return sorted({f"{layer}.weight" for layer in self.layers} | set(self._plain))

    def add_zeros(self, name: str, shape: tuple):
        """A tensor that another tool wants and the folder does not store."""
        self._plain[name] = Zeros(shape)

    def _layer(self, name):
        return self.layers.get(name[:-len(".weight")]) if name.endswith(".weight") else None

    def shape(self, name: str) -> tuple:
        layer = self._layer(name)
        return layer.shape if layer else self._plain[name].shape

    def weight(self, name: str) -> np.ndarray:
        """The tensor `name` of names(), fp32. FormatError where its stored values are damaged, KeyError where there is none."""
        layer = self._layer(name)
        return layer.decode() if layer else self._plain[name].float32()

    def tensors(self):
        """(name, fp32 values) of all of names(), one at a time."""
        for name in self.names():
            yield name, self.weight(name)


def read(folder) -> Artifact:
    """Opens a Wring folder. FormatError names the file, the tensor and what is wrong."""
    return Artifact(folder)
