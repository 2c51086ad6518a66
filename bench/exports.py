#!/usr/bin/env python3
"""How fast exports write their files, beside a copy of the same bytes: each from its file's creation to its rename, with fsync, in turn.

    exports.py [--bin build/release/bin] [--model build/models/smollm2-bf16] [--runs 5] [FORMAT...]

The time is that of strace (Debian's package of that name), between the file's open and its rename; the copy is of the export's own largest file, as dd
makes it with conv=fsync. What an export does besides, claims before and the reading back after, is in the last column.
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
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FORMATS = ["huggingface(dtype=bfloat16)", "huggingface(dtype=float32)", "gguf(type=BF16)", "gguf(type=Q8_0)", "gguf(type=Q4_0)", "onnx"]


def seconds_of_export(options, form, folder):
    """-> (the largest file, seconds of its writing, of the whole)"""
    trace = folder / "trace"
    command = ["strace", "-f", "--seccomp-bpf", "-ttt", "-e", "trace=openat,rename", "-o", trace, options.bin / "wring-engine", "export", options.model,
               "--to", form, "--threads", "1", "--out", folder / "out"]
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


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, default=ROOT / "build/release/bin")
    parser.add_argument("--model", type=Path, default=ROOT / "build/models/smollm2-bf16")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("formats", nargs="*", metavar="FORMAT")
    options = parser.parse_args()
    if not shutil.which("strace"):
        sys.exit("strace is not installed: apt-get install strace")
    print(f"medians of {options.runs}\n{'export':30} {'MB':>7} {'written':>10} {'copied':>10} {'beside a copy':>14} {'in all':>8}")
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


if __name__ == "__main__":
    main()
