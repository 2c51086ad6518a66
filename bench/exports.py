#!/usr/bin/env python3
"""How fast exports write their files, beside a copy of the same bytes; and how fast GGUF's types are encoded, beside llama.cpp on as many threads.

    exports.py [--bin build/release/bin] [--model build/models/smollm2-bf16] [--threads 2] [--runs 5] [--llama FOLDER] [FORMAT...]

First table: each export from its largest file's creation to its rename, with fsync, in turn with the copy. The time is that of strace (Debian's package
of that name); the copy is of the export's own largest file, as dd makes it with conv=fsync. What an export does besides, claims before and the reading back
after, is in the last column. A file whose types are searched for (Q4_0, Q4_K, ...) is written as it is encoded.

Second table: the encoders alone, ggml_encode and llama.cpp's ggml_quantize_chunk, on the weights of all down_proj, rows shared out among the threads as both
programs do it. llama.cpp's are compiled as its own release builds are (-O3 -march=native), from the package of llama-cpp-python: --llama names the unpacked
one, else pip fetches it.
"""
import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests/parity"))
import ggml_parity  # noqa: E402
import numpy as np  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

FORMATS = ["huggingface(dtype=bfloat16)", "huggingface(dtype=float32)", "onnx", "gguf(type=F32)", "gguf(type=F16)", "gguf(type=BF16)", "gguf(type=Q8_0)",
           "gguf(type=Q4_0)", "gguf(type=Q4_K_M)"]
RELEASE = ["-O3", "-DNDEBUG", "-march=native"]


def seconds_of_export(options, form, folder):
    """-> (the largest file, seconds of its writing, of the whole)"""
    trace = folder / "trace"
    command = ["strace", "-f", "--seccomp-bpf", "-ttt", "-e", "trace=openat,rename", "-o", trace, options.bin / "wring-engine", "export", options.model,
               "--to", form, "--threads", str(options.threads), "--out", folder / "out"]
    os.sync()  # what was written before is not to be waited for
    start = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    whole = time.monotonic() - start
    largest = max((folder / "out").rglob("*.*"), key=lambda path: path.stat().st_size)
    created = renamed = None
    for line in trace.read_text(errors="replace").splitlines():
        match = re.match(r"\d+\s+(\d+\.\d+) (\w+)\((.*)", line)
        if match and f".{largest.name}." in match[3]:  # its temporary name
            if match[2] == "openat" and "O_CREAT" in match[3]:
                created = float(match[1])
            elif match[2] == "rename":
                renamed = float(match[1])
    return largest, renamed - created, whole


def seconds_of_copy(file, to):
    os.sync()
    start = time.monotonic()
    subprocess.run(["dd", f"if={file}", f"of={to}", "bs=1M", "conv=fsync"], check=True, stderr=subprocess.DEVNULL)
    took = time.monotonic() - start
    to.unlink()
    return took


def write_exports(options):
    print(f"medians of {options.runs}, {options.threads} threads\n"
          f"{'export':30} {'MB':>7} {'written':>10} {'copied':>10} {'beside a copy':>14} {'in all':>8}")
    for form in options.formats or FORMATS:
        wrote, copied, whole = [], [], []
        for _ in range(options.runs):
            with tempfile.TemporaryDirectory(dir=ROOT / "build") as scratch:
                folder = Path(scratch)
                file, seconds, all_of_it = seconds_of_export(options, form, folder)
                size = file.stat().st_size / 1e6
                wrote.append(size / seconds)
                whole.append(all_of_it)
                copied.append(size / seconds_of_copy(file, folder / "copy"))
        ours, theirs = statistics.median(wrote), statistics.median(copied)
        print(f"{form:30} {size:7.1f} {ours:5.0f} MB/s {theirs:5.0f} MB/s {ours / theirs:14.2f} {statistics.median(whole):6.2f} s", flush=True)


def encode(options, encoders):
    weights = load_file(options.model / "model.safetensors")
    values = np.concatenate([weight.float().numpy() for name, weight in weights.items() if name.endswith("down_proj.weight")])
    rows = np.array_split(np.arange(len(values)), options.threads)
    pieces = [values[part[0]:part[-1] + 1] for part in rows]
    print(f"\nencoding {values.size / 1e6:.1f} million weights, {options.threads} threads, least of {options.runs}\n"
          f"{'type':8} {'here':>9} {'llama.cpp':>9} {'llama.cpp over here':>20}")
    with ThreadPoolExecutor(options.threads) as threads:
        for name in ggml_parity.TYPES:
            if name in ggml_parity.SKIPPED:
                continue
            out = [ggml_parity.room(name, piece.shape) for piece in pieces]
            took = {}
            for _ in range(options.runs):
                for side in (encoders.ours, encoders.theirs):
                    start = time.perf_counter()
                    list(threads.map(lambda piece, room: side(name, piece, None, room), pieces, out))
                    took[side] = min(took.get(side, np.inf), time.perf_counter() - start)
            ours, theirs = took[encoders.ours], took[encoders.theirs]
            print(f"{name:8} {ours:7.3f} s {theirs:7.3f} s {theirs / ours:20.2f}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, default=ROOT / "build/release/bin")
    parser.add_argument("--model", type=Path, default=ROOT / "build/models/smollm2-bf16")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--llama", type=Path)
    parser.add_argument("formats", nargs="*", metavar="FORMAT")
    options = parser.parse_args()
    if not shutil.which("strace"):
        sys.exit("strace is not installed: apt-get install strace")
    write_exports(options)
    with tempfile.TemporaryDirectory() as scratch:
        source = options.llama or ggml_parity.unpacked_package(Path(scratch))
        if source is None:
            sys.exit("pip cannot download the source package of llama-cpp-python: no encoders to compare with")
        library = options.bin.parent / "tests/libwring_gguf_parity.so"
        encode(options, ggml_parity.Encoders(library, ggml_parity.compiled_reference(source, Path(scratch), RELEASE)))


if __name__ == "__main__":
    main()
