#!/usr/bin/env python3
"""Compares ggml_encode with llama.cpp's own quantisers, byte by byte, on matrices that are chosen to break quantisers.

    ggml_parity.py --library build/release/tests/libwring_gguf_parity.so [--source FOLDER] [--matrices 200] [--bench]
                   [--golden FILE]

The reference is ggml_quantize_chunk of the llama.cpp that the source package of llama-cpp-python holds (--source: the
unpacked package; without it, pip downloads it), compiled here with the flags of a release build and
-ffp-contract=off. Each matrix is compared with and without an importance matrix. --bench times both, one thread,
best of five. --golden writes the small file of rows and blocks that the unit tests read. Exit status 1 where a byte
differs, 0 with a message where the package cannot be had.
"""
import argparse
import ctypes
import json
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

import numpy as np

# Type id, elements and bytes of a block.
TYPES = {"F32": (0, 1, 4), "F16": (1, 1, 2), "BF16": (30, 1, 2), "Q4_0": (2, 32, 18), "Q4_1": (3, 32, 20),
         "Q5_0": (6, 32, 22), "Q5_1": (7, 32, 24), "Q8_0": (8, 32, 34), "Q2_K": (10, 256, 84), "Q3_K": (11, 256, 110),
         "Q4_K": (12, 256, 144), "Q5_K": (13, 256, 176), "Q6_K": (14, 256, 210), "IQ4_NL": (20, 32, 18),
         "MXFP4": (39, 32, 17)}
FLAGS = ["-O3", "-DNDEBUG", "-ffp-contract=off"]
SKIPPED = {"F32"}  # ggml copies them


def unpacked_package(folder):
    """The package's folder below `folder`, downloaded by pip; None where pip cannot have it."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", "llama-cpp-python",
               "--dest", str(folder), "llama-cpp-python"]
    if subprocess.run(command, capture_output=True).returncode:
        return None
    with tarfile.open(next(folder.glob("llama_cpp_python-*.tar.gz"))) as package:
        package.extractall(folder, filter="data")
    return next(path for path in folder.iterdir() if path.is_dir())


def compiled_reference(source, folder, flags=FLAGS):
    """ggml_quantize_chunk and what it needs, without ggml's build system and the rest of the library."""
    ggml = source / "vendor" / "llama.cpp" / "ggml"
    (folder / "ggml-version.h").write_text('#define GGML_VERSION "parity"\n#define GGML_COMMIT "parity"\n')
    includes = ["-D_GNU_SOURCE", "-I", ggml / "include", "-I", ggml / "src", "-I", folder]
    fixed = ["-fPIC", "-w", "-ffunction-sections", "-fdata-sections"]
    objects = []
    for name in ["ggml.c", "ggml-quants.c", "ggml-threading.cpp"]:
        target = folder / (name + ".o")
        compiler = ["cc", "-std=gnu11"] if name.endswith(".c") else ["c++", "-std=c++17"]
        subprocess.run([*compiler, *flags, *fixed, *includes, "-c", ggml / "src" / name, "-o", target], check=True)
        objects.append(target)
    library, exports = folder / "libggml_reference.so", folder / "exports"
    exports.write_text("{ global: ggml_quantize_chunk; local: *; };")
    subprocess.run(["c++", "-shared", "-o", library, *objects, "-Wl,--gc-sections", f"-Wl,--version-script={exports}",
                    "-lm", "-lpthread"], check=True)
    return ctypes.CDLL(str(library))


def pointer(array):
    return None if array is None else array.ctypes.data_as(ctypes.c_void_p)


class Encoders:
    def __init__(self, library, reference):
        self.wring = ctypes.CDLL(str(library)).wring_ggml_encode
        self.wring.argtypes = [ctypes.c_uint32, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_void_p,
                               ctypes.c_void_p]
        self.wring.restype = None
        self.chunk = reference.ggml_quantize_chunk
        self.chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64,
                               ctypes.c_int64, ctypes.c_void_p]
        self.chunk.restype = ctypes.c_size_t

    def ours(self, name, values, importance, out):
        self.wring(TYPES[name][0], pointer(values), *values.shape, pointer(importance), pointer(out))

    def theirs(self, name, values, importance, out):
        self.chunk(TYPES[name][0], pointer(values), pointer(out), 0, *values.shape, pointer(importance))


def room(name, shape):
    _, elements, size = TYPES[name]
    return np.zeros((shape[0], shape[1] // elements * size), np.uint8)


def matrix(number, columns, rng):
    """Values of one kind out of many, by `number`."""
    rows = int(rng.integers(1, 5))
    shape = (rows, columns)
    normal = rng.standard_normal(shape).astype(np.float32)
    kinds = [
        lambda: normal,
        lambda: normal * np.float32(0.02),
        lambda: rng.uniform(-1, 1, shape),
        lambda: rng.uniform(0, 1, shape),  # one sign
        lambda: -np.abs(normal),
        lambda: normal + 10,  # far from zero
        lambda: rng.standard_t(2, shape),  # heavy tails
        lambda: np.where(rng.random(shape) < 0.01, 100 * normal, normal),  # outliers
        lambda: np.where(rng.random(shape) < 0.9, 0, normal),  # pruned
        lambda: np.where(rng.random(shape) < 0.5, -0.0, 0.0),
        lambda: np.zeros(shape),
        lambda: np.full(shape, rng.standard_normal()),  # constant
        lambda: np.full(shape, rng.standard_normal()) * np.sign(normal),  # two values, ties of magnitude
        lambda: normal * np.float32(1e30),
        lambda: normal * np.float32(5e37),
        lambda: normal * np.float32(1e-12),
        lambda: normal * np.float32(1e-30),
        lambda: normal * np.float32(1e-41),  # subnormal
        lambda: rng.integers(-8, 8, shape),  # whole numbers: ties of rounding
        lambda: rng.integers(-16, 17, shape) / 32,
        lambda: 2.0 ** rng.integers(-30, 30, shape) * np.sign(normal),
        lambda: normal * 10.0 ** rng.integers(-6, 6, shape),
        lambda: np.sort(normal, axis=1),
        lambda: np.repeat(normal[:, ::32], 32, axis=1) if columns % 32 == 0 else normal,  # constant blocks
        lambda: np.where(np.arange(columns) // 32 % 2 == 0, 0, normal),  # blocks of zeros between
    ]
    values = kinds[number % len(kinds)]()
    return np.ascontiguousarray(np.asarray(values, np.float32))


def importance_for(number, columns, rng):
    kinds = [
        lambda: rng.uniform(0, 1, columns),
        lambda: rng.standard_normal(columns) ** 2 * 10.0 ** rng.integers(-4, 5, columns),
        lambda: np.where(rng.random(columns) < 0.5, 0, rng.uniform(0, 1, columns)),
        lambda: np.full(columns, 1e-8),
        lambda: np.zeros(columns),
    ]
    return np.ascontiguousarray(kinds[number % len(kinds)](), np.float32)


def compare(encoders, matrices):
    """Prints equal / compared by type; returns how many matrices differ."""
    differing = 0
    print(f"{'':8}{'without imatrix':>18}{'with imatrix':>18}")
    for name, (_, elements, size) in TYPES.items():
        if name in SKIPPED:
            continue
        equal = [0, 0]
        for number in range(matrices):
            rng = np.random.default_rng([number, size])
            block = max(elements, 32)
            values = matrix(number, block * int(rng.integers(1, 8)), rng)
            for index, importance in enumerate([None, importance_for(number // 3, values.shape[1], rng)]):
                ours, theirs = room(name, values.shape), room(name, values.shape)
                encoders.ours(name, values, importance, ours)
                encoders.theirs(name, values, importance, theirs)
                if np.array_equal(ours, theirs):
                    equal[index] += 1
                else:
                    differing += 1
                    where = np.argwhere(ours != theirs)
                    print(f"{name} matrix {number} {values.shape} importance {index}: {len(where)} bytes differ, "
                          f"first {where[0]}: {ours[tuple(where[0])]} for {theirs[tuple(where[0])]}")
        print(f"{name:8}{f'{equal[0]} / {matrices}':>18}{f'{equal[1]} / {matrices}':>18}")
    return differing


def bench(encoders):
    values = np.random.default_rng(1).standard_normal((256, 4096)).astype(np.float32)
    importance = importance_for(0, 4096, np.random.default_rng(2))

    def speed(encode, name, weights):
        out = room(name, values.shape)
        best = min(timed(lambda: encode(name, values, weights, out)) for _ in range(5))
        return values.nbytes / best / 1e6

    print(f"MB/s of fp32, one thread: wring, llama.cpp, ratio\n{'':8}{'without imatrix':>28}{'with imatrix':>28}")
    for name in TYPES:
        if name in SKIPPED:
            continue
        cells = []
        for weights in [None, importance]:
            ours, theirs = speed(encoders.ours, name, weights), speed(encoders.theirs, name, weights)
            cells.append(f"{ours:9.1f}{theirs:9.1f}{ours / theirs:8.2f}x")
        print(f"{name:8}{cells[0]:>28}{cells[1]:>28}")


def timed(body):
    start = time.perf_counter()
    body()
    return time.perf_counter() - start


def write_golden(encoders, path):
    """Two rows a type, of the reference: values as fp32 bits, importance likewise, and the blocks."""
    golden = {}
    for name, (kind, elements, _) in TYPES.items():
        rng = np.random.default_rng(kind)
        columns = max(elements, 32)
        values = np.stack([rng.standard_normal(columns), rng.standard_t(2, columns) * 0.02 + 0.01]).astype(np.float32)
        importance = importance_for(1, columns, rng)
        plain, weighted = room(name, values.shape), room(name, values.shape)
        encoders.theirs(name, values, None, plain)
        encoders.theirs(name, values, importance, weighted)
        golden[name] = {"values": values.astype(">f4").tobytes().hex(),
                        "importance": importance.astype(">f4").tobytes().hex(), "blocks": plain.tobytes().hex(),
                        "weighted": weighted.tobytes().hex()}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in golden.items())
    path.write_text("{\n" + lines + "\n}\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", type=Path, required=True)
    parser.add_argument("--source", type=Path)
    parser.add_argument("--matrices", type=int, default=200)
    parser.add_argument("--bench", action="store_true")
    parser.add_argument("--golden", type=Path)
    parser.add_argument("--flags", help="instead of -O3 -DNDEBUG -ffp-contract=off, for the reference")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        source = arguments.source or unpacked_package(folder)
        if source is None:
            print("skipped: pip cannot download the source package of llama-cpp-python")
            return 0
        flags = arguments.flags.split() if arguments.flags else FLAGS
        encoders = Encoders(arguments.library, compiled_reference(source, folder, flags))
        if arguments.golden:
            write_golden(encoders, arguments.golden)
        differing = compare(encoders, arguments.matrices)
        if arguments.bench:
            bench(encoders)
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
