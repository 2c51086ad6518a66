#!/usr/bin/env python3
"""Quantises small made-up models with llama.cpp's llama_model_quantize and with wring, and compares the files' tensors.

    gguf_mix_parity.py --library build/release/tests/libwring_gguf_parity.so --llama FOLDER/libllama.so [--golden FILE]

libllama.so is any build of llama.cpp (llama-cpp-python installs one; only one compiled with -ffp-contract=off and
without FMA must give the same bytes, so --types-only leaves them out). Every file type, with and without an
importance matrix in both its forms, over models with grouped heads, tied heads, experts, and rows that no block
divides. --golden writes what llama.cpp chose, for the unit tests. Exit status 1 where anything differs.
"""
import argparse
import ctypes
import json
import struct
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np

FILE_TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q5_1": 9, "Q2_K": 10, "Q3_K_S": 11,
              "Q3_K_M": 12, "Q3_K_L": 13, "Q4_K_S": 14, "Q4_K_M": 15, "Q5_K_S": 16, "Q5_K_M": 17, "Q6_K": 18,
              "Q2_K_S": 21, "IQ4_NL": 25, "BF16": 32, "MXFP4_MOE": 38}

# A tensor's type in the golden file.
LETTERS = {"F32": "f", "F16": "h", "BF16": "b", "Q4_0": "w", "Q4_1": "x", "Q5_0": "y", "Q5_1": "z", "Q8_0": "8", "Q2_K": "2",
           "Q3_K": "3", "Q4_K": "4", "Q5_K": "5", "Q6_K": "6", "IQ4_NL": "n", "MXFP4": "m"}

MODELS = {
    "grouped": {"architecture": "llama", "blocks": 20, "heads": 8, "kv": 2, "columns": 256, "tied": False},
    "tied": {"architecture": "llama", "blocks": 9, "heads": 4, "kv": 4, "columns": 256, "tied": True},
    "narrow": {"architecture": "llama", "blocks": 30, "heads": 9, "kv": 3, "columns": 96, "tied": True},
    "odd": {"architecture": "llama", "blocks": 2, "heads": 4, "kv": 2, "columns": 40, "tied": False},
    "large": {"architecture": "llama", "blocks": 80, "heads": 64, "kv": 8, "columns": 256, "tied": False},
    "mixtral": {"architecture": "llama", "blocks": 10, "heads": 8, "kv": 2, "columns": 256, "tied": False, "experts": 8},
    "moe": {"architecture": "llama", "blocks": 10, "heads": 4, "kv": 4, "columns": 256, "tied": False, "experts": 4},
    "falcon": {"architecture": "falcon", "blocks": 17, "heads": 8, "kv": 1, "columns": 256, "tied": False},
    "qwen2": {"architecture": "qwen2", "blocks": 80, "heads": 8, "kv": 4, "columns": 256, "tied": False},
}


def tensors_of(model, rng):
    """Few rows of the names that the rules look at; shapes need not fit each other to be quantised."""
    columns, experts = model["columns"], model.get("experts", 0)
    names = ["token_embd.weight", "output_norm.weight"] + ([] if model["tied"] else ["output.weight"])
    for block in range(model["blocks"]):
        attention = ["attn_qkv", "attn_output"] if model["architecture"] == "falcon" else ["attn_q", "attn_k", "attn_v", "attn_output"]
        names += [f"blk.{block}.{name}.weight" for name in [*attention, "attn_norm", "ffn_norm"]]
        if experts:
            names += [f"blk.{block}.{name}.weight" for name in ["ffn_gate_inp", "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"]]
        else:
            names += [f"blk.{block}.{name}.weight" for name in ["ffn_gate", "ffn_up", "ffn_down"]]
    for name in names:
        shape = (columns,) if "norm" in name else (experts, 2, columns) if "exps" in name else (2, columns)
        yield name, (rng.standard_normal(shape) * 0.02).astype(np.float32)


def write_model(path, model, rng):
    writer = gguf.GGUFWriter(path, model["architecture"])
    writer.add_context_length(64)
    writer.add_embedding_length(model["columns"])
    writer.add_block_count(model["blocks"])
    writer.add_feed_forward_length(model["columns"])
    writer.add_head_count(model["heads"])
    writer.add_head_count_kv(model["kv"])
    writer.add_layer_norm_eps(1e-5) if model["architecture"] == "falcon" else writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(2)
    if "experts" in model:
        writer.add_expert_count(model["experts"])
        writer.add_expert_used_count(2)
    for name, values in tensors_of(model, rng):
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_imatrix(path, rows, binary):
    if binary:
        text = struct.pack("<i", len(rows))
        for name, values in rows.items():
            text += struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", 1, values.size) + values.tobytes()
        path.write_bytes(text + struct.pack("<ii", 1, 4) + b"text")
        return
    writer = gguf.GGUFWriter(path, "")
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", ["text"])
    writer.add_uint32("imatrix.chunk_count", 1)
    writer.add_uint32("imatrix.chunk_size", 512)
    for name, values in rows.items():
        writer.add_tensor(name + ".in_sum2", values)
        writer.add_tensor(name + ".counts", np.ones((values.shape[0], 1), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class QuantiseParams(ctypes.Structure):
    _fields_ = [("nthread", ctypes.c_int32), ("ftype", ctypes.c_int), ("output_tensor_type", ctypes.c_int),
                ("token_embedding_type", ctypes.c_int), ("flags", ctypes.c_bool * 6), ("imatrix", ctypes.c_void_p),
                ("kv_overrides", ctypes.c_void_p), ("tt_overrides", ctypes.c_void_p), ("prune_layers", ctypes.c_void_p),
                ("max_buf_size", ctypes.c_size_t)]


class Override(ctypes.Structure):
    _fields_ = [("pattern", ctypes.c_char_p), ("type", ctypes.c_int)]


class ImatrixRow(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("data", ctypes.c_void_p), ("size", ctypes.c_size_t)]


LOGGER = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


class Llama:
    def __init__(self, path):
        self.library = ctypes.CDLL(str(path))
        self.library.llama_model_quantize_default_params.restype = QuantiseParams
        self.silence = LOGGER(lambda level, text, data: None)
        self.library.llama_log_set(self.silence, None)
        self.library.llama_backend_init()

    def quantise(self, source, target, file_type, rows, overrides):
        params = self.library.llama_model_quantize_default_params()
        params.nthread, params.ftype = 1, FILE_TYPES[file_type]
        keep = [(ImatrixRow * (len(rows) + 1))(*[ImatrixRow(name.encode(), values.ctypes.data, values.size)
                                                 for name, values in rows.items()]),
                (Override * (len(overrides) + 1))(*[Override(pattern.encode(), int(gguf.GGMLQuantizationType[kind]))
                                                    for pattern, kind in overrides])]
        params.imatrix = ctypes.cast(keep[0], ctypes.c_void_p) if rows else None
        params.tt_overrides = ctypes.cast(keep[1], ctypes.c_void_p) if overrides else None
        return self.library.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(params))


def read_tensors(path):
    return {tensor.name: (tensor.tensor_type.name, bytes(np.ascontiguousarray(tensor.data))) for tensor in gguf.GGUFReader(path).tensors}


class Comparison:
    def __init__(self, arguments, folder):
        self.llama = Llama(arguments.llama)
        self.wring = ctypes.CDLL(str(arguments.library)).wring_quantise_gguf
        self.types_only, self.folder = arguments.types_only, folder
        self.counts = {"files": 0, "tensors": 0, "types differ": 0, "bytes differ": 0}
        self.golden = {}

    def run(self, name, file_type, rows=None, binary=False, overrides=()):
        source, ours, theirs, imatrix = (self.folder / file for file in [f"{name}.gguf", "ours", "theirs", "imatrix"])
        if rows:
            write_imatrix(imatrix, rows, binary)
        refused = self.llama.quantise(source, theirs, file_type, rows or {}, overrides)
        lines = "\n".join(f"{pattern}={kind}" for pattern, kind in overrides)
        status = self.wring(str(source).encode(), str(ours).encode(), file_type.encode(),
                            str(imatrix).encode() if rows else b"", lines.encode())
        if bool(refused) != bool(status):
            print(f"{name} {file_type}: llama.cpp {refused}, wring {status}")
            self.counts["types differ"] += 1
        if refused or status:
            return
        mine, reference = read_tensors(ours), read_tensors(theirs)
        self.counts["files"] += 1
        if not overrides:
            kinds = "".join(LETTERS[reference[tensor][0]] for tensor in sorted(reference))
            self.golden.setdefault(name, {})[file_type + ("+imatrix" if rows else "")] = kinds
        for tensor, (kind, data) in reference.items():
            self.counts["tensors"] += 1
            if mine[tensor][0] != kind:
                self.counts["types differ"] += 1
                print(f"{name} {file_type} {tensor}: {mine[tensor][0]}, llama.cpp {kind}")
            elif mine[tensor][1] != data and not self.types_only:
                self.counts["bytes differ"] += 1
                print(f"{name} {file_type} {tensor}: bytes differ")


def write_golden(path, types):
    """By model and file type: a letter a tensor, by name. Of the models with many blocks, two types alone."""
    golden = {"letters": {letter: kind for kind, letter in LETTERS.items()}, "models": {}}
    for name, model in MODELS.items():
        kept = {kind: letters for kind, letters in types[name].items() if model["blocks"] < 50 or kind in ("Q3_K_S", "Q4_K_M")}
        golden["models"][name] = model | {"types": kept}
    path.write_text(json.dumps(golden, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", type=Path, required=True)
    parser.add_argument("--llama", type=Path, required=True)
    parser.add_argument("--types-only", action="store_true")
    parser.add_argument("--golden", type=Path)
    arguments = parser.parse_args()
    if not arguments.llama.exists():
        print(f"skipped: there is no {arguments.llama}")
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        comparison = Comparison(arguments, folder)
        for number, (name, model) in enumerate(MODELS.items()):
            rng = np.random.default_rng(number)
            write_model(folder / f"{name}.gguf", model, rng)
            rows = {tensor: rng.uniform(0, 1, (values.shape[0] if values.ndim > 2 else 1, model["columns"])).astype(np.float32)
                    for tensor, values in tensors_of(model, rng) if values.ndim > 1 and "embd" not in tensor}
            for file_type in FILE_TYPES:
                comparison.run(name, file_type)
                comparison.run(name, file_type, rows, binary="experts" in model and file_type.endswith("M"))
            comparison.run(name, "Q4_K_M", overrides=[("attn_v", "Q8_0"), (r"blk\.(0|1)\..*ffn", "IQ4_NL"), ("attn", "Q3_K")])
        print(", ".join(f"{count} {what}" for what, count in comparison.counts.items()))
        if arguments.golden:
            write_golden(arguments.golden, comparison.golden)
    return 1 if comparison.counts["types differ"] + comparison.counts["bytes differ"] else 0


if __name__ == "__main__":
    sys.exit(main())
