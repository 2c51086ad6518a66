#!/usr/bin/env python3
"""How fast exports write their files, beside a copy of the same bytes; and how fast GGUF's types are encoded, beside llama.cpp on as many threads.

    exports.py [--bin build/release/bin] [--model build/models/smollm2-bf16] [--threads 2] [--runs 5] [--llama FOLDER] [FORMAT...]

First table: each export's largest file, in turn with a copy of it as dd makes it with conv=fsync. "Written" is what the file's own calls took (write, fsync
and rename, by strace, Debian's package of that name); "with encoding" is from its creation to its rename: types whose scales are searched for are encoded
in between, whose time the second table compares. What an export does besides, claims before and the reading back after, is in the last column.

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
    """-> (the largest file, seconds of the calls that write it, from its creation to its rename, of the whole)"""
    trace = folder / "trace"
    command = ["strace", "-f", "--seccomp-bpf", "-ttt", "-T", "-y", "-s", "0", "-e", "trace=openat,write,pwrite64,writev,fsync,fdatasync,rename", "-o", trace, options.bin / "wring-engine", "export", options.model,
               "--to", form, "--threads", str(options.threads), "--no-score", "--out", folder / "out"]
    os.sync()  # what was written before is not to be waited for
    start = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    whole = time.monotonic() - start
    largest = max((folder / "out").rglob("*.*"), key=lambda path: path.stat().st_size)
    created, renamed, calls, begun = None, None, 0.0, {}
    for line in trace.read_text(errors="replace").splitlines():
        thread, rest = line.split(None, 1)
        if "<unfinished ...>" in rest:
            begun[thread] = rest
            continue
        if " resumed>" in rest:  # named where it began
            rest = begun.pop(thread) + rest
        match = re.match(r"(\d+\.\d+) (\w+)\((.*)<(\d+\.\d+)>$", rest)
        if not match or largest.name not in match[3]:
            continue
        if match[2] == "openat":
            created = created or (float(match[1]) if "O_CREAT" in match[3] else None)
            continue
        calls += float(match[4])
        if match[2] == "rename":
            renamed = float(match[1]) + float(match[4])
            break
    return largest, calls, renamed - created, whole


def seconds_of_copy(file, to):
    os.sync()
    start = time.monotonic()
    subprocess.run(["dd", f"if={file}", f"of={to}", "bs=1M", "conv=fsync"], check=True, stderr=subprocess.DEVNULL)
    took = time.monotonic() - start
    to.unlink()
    return took


def write_exports(options):
    print(f"medians of {options.runs}, {options.threads} threads\n"
          f"{'export':30} {'MB':>7} {'written':>10} {'copied':>10} {'beside a copy':>14} {'with encoding':>14} {'in all':>8}")
    for form in options.formats or FORMATS:
        wrote, made, copied, whole = [], [], [], []
        for _ in range(options.runs):
            with tempfile.TemporaryDirectory(dir=ROOT / "build") as scratch:
                folder = Path(scratch)
                file, calls, seconds, all_of_it = seconds_of_export(options, form, folder)
                size = file.stat().st_size / 1e6
                wrote.append(size / calls)
                made.append(size / seconds)
                whole.append(all_of_it)
                copied.append(size / seconds_of_copy(file, folder / "copy"))
        ours, encoded, theirs = (statistics.median(speeds) for speeds in (wrote, made, copied))
        print(f"{form:30} {size:7.1f} {ours:5.0f} MB/s {theirs:5.0f} MB/s {ours / theirs:14.2f} {encoded / theirs:14.2f} "
              f"{statistics.median(whole):6.2f} s", flush=True)


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
