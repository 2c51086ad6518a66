#!/usr/bin/env python3
"""Loads GGUF exports in llama.cpp: its perplexity beside `wring-engine eval`, its tokenizer's ids beside ours.

    llama_parity.py --llama build/llama [--bin build/release/bin] [--model build/models/smollm2-offgrid] [TYPE...]

`--llama` holds source/ (the unpacked package llama-cpp-python) and bin/libllama.so, as scripts/prove exports builds them. The
perplexities may differ by 0.1 % for F32, F16 and BF16 (llama.cpp rounds activations to the type of the weights) and by 0.5 %
for quantised files (it rounds them to 8 bits). Where that rounding alone costs more, llama.cpp is compared with transformers
on the same file, activations rounded as llama.cpp rounds them. Exit status 1 where they differ by more, or token ids differ.
"""
import argparse
import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parent))
from export_support import DATA, MODELS, ROOT, Engine  # noqa: E402

EXACT, QUANTISED = 1e-3, 5e-3
TYPES = {"F32": EXACT, "F16": EXACT, "BF16": EXACT, "Q8_0": QUANTISED, "Q4_0": QUANTISED, "Q4_K_M": QUANTISED, "Q5_K_M": QUANTISED,
         "Q6_K": QUANTISED, "IQ4_NL": QUANTISED, "Q8_0, tensor_types=blk=MXFP4": QUANTISED}
HARD_TEXT = ("Hello  wörld,\tI'll pay 1234567 € — naïve?\r\n\n\n  'tis  日本語 Ω≈ç√ 🏳️‍🌈 \u00a0x\u200by <|endoftext|> "
             "<|im_start|>user\n x_1+=a[0];  {\"k\": null}  \n\t\t end   ")


class Llama:
    def __init__(self, folder, scratch):
        source, library = folder / "source/vendor/llama.cpp", scratch / "libshim.so"
        subprocess.run(["c++", "-std=c++17", "-O2", "-shared", "-fPIC", "-I", source / "include", "-I", source / "ggml/include",
                        Path(__file__).with_name("llama_shim.cc"), "-o", library, "-L", folder / "bin", "-lllama", "-lggml",
                        "-lggml-base", f"-Wl,-rpath,{(folder / 'bin').resolve()}"], check=True)
        self.library = ctypes.CDLL(str(library))
        self.library.parity_load.restype = ctypes.c_void_p
        self.library.parity_score.restype = ctypes.c_double
        self.library.parity_score.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int, ctypes.c_int]
        self.library.parity_tokenize.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_int]
        self.library.parity_free.argtypes = [ctypes.c_void_p]

    def load(self, file):
        model = self.library.parity_load(str(file).encode())
        if not model:
            raise RuntimeError(f"llama.cpp does not load {file}")
        return model

    def perplexity(self, model, windows):
        windows = np.ascontiguousarray(windows, np.int32)
        total = self.library.parity_score(model, windows.ctypes.data, *windows.shape, os.cpu_count())
        if total < 0:
            raise RuntimeError("llama_decode failed")
        return float(np.exp(total / (windows.shape[0] * (windows.shape[1] - 1))))

    def tokens(self, model, text):
        ids, data = np.zeros(4 * len(text), np.int32), text.encode()
        return ids[:self.library.parity_tokenize(model, data, len(data), ids.ctypes.data, len(ids))].tolist()


def rounded(module, arguments):
    """A linear layer's inputs as Q8_0 holds them: 8 bits with an fp16 scale for each 32."""
    blocks = arguments[0].reshape(-1, 32)
    scale = blocks.abs().amax(1, keepdim=True) / 127
    codes = torch.where(scale > 0, blocks / scale, 0).round()
    return ((codes * scale.half().float()).reshape(arguments[0].shape),)


@torch.no_grad()
def rounded_perplexity(file, windows):
    """transformers' on the GGUF `file`, with 8-bit activations."""
    model = transformers.AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_pre_hook(rounded)
    losses = []
    for window in torch.from_numpy(windows):
        log_p = torch.log_softmax(model(window[None]).logits[0].double(), -1)
        losses.append(-log_p[:-1].gather(1, window[1:, None]))
    return torch.cat(losses).mean().exp().item()


def compare(engine, llama, options, kind, text, scratch):
    """-> whether the export of the type `kind` agrees."""
    folder = scratch / "export"
    engine.export(options.model, f"gguf(type={kind})", folder)
    file = next(folder.glob("*.gguf"))
    rows = json.loads(engine.run("eval", file, "--data", text, "--window", options.window, "--windows", options.windows, "--json",
                                 "--quiet"))["evaluations"]
    ours = next(row["value"] for row in rows if row["metric"] == "perplexity")
    ids = engine.tokens(file, text.read_text(encoding="utf-8"), scratch)
    windows = np.array(ids[:options.windows * options.window]).reshape(options.windows, options.window)
    model = llama.load(file)
    theirs = llama.perplexity(model, windows)
    hard = [llama.tokens(model, part) == engine.tokens(file, part, scratch) for part in (HARD_TEXT, text.read_text(encoding="utf-8"))]
    llama.library.parity_free(model)
    difference, why = abs(theirs / ours - 1), ""
    if difference > TYPES[kind] == QUANTISED:
        expected = rounded_perplexity(file, windows)
        why = f"; with activations of 8 bits {expected:.4f}, {(difference := abs(theirs / expected - 1)):.3%}"
    shutil.rmtree(folder)
    good = difference <= TYPES[kind] and all(hard)
    print(f"{'ok    ' if good else 'FAILED'} {options.version}: gguf {kind}: perplexity {theirs:.4f}, ours {ours:.4f}, "
          f"{abs(theirs / ours - 1):.3%}{why} (at most {TYPES[kind]:.1%}); token ids {'equal' if all(hard) else 'differ'}", flush=True)
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama", type=Path, required=True)
    parser.add_argument("--bin", type=Path, default=ROOT / "build/release/bin")
    parser.add_argument("--model", type=Path, default=MODELS / "smollm2-offgrid")
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--windows", type=int, default=3)
    parser.add_argument("types", nargs="*", metavar="TYPE")
    options = parser.parse_args()
    transformers.utils.logging.disable_progress_bar()
    names = [line for line in (options.llama / "source/PKG-INFO").read_text().splitlines() if line.startswith("Version: ")]
    options.version = f"llama.cpp of llama-cpp-python {names[0].removeprefix('Version: ')}"
    wanted = options.types or list(TYPES)
    with tempfile.TemporaryDirectory() as temporary:
        scratch = Path(temporary)
        text = scratch / "test.txt"
        text.write_text((DATA / "test.txt").read_text(encoding="utf-8")[:8 * options.window * options.windows], encoding="utf-8")
        engine, llama = Engine(options.bin / "wring-engine"), Llama(options.llama, scratch)
        good = sum(compare(engine, llama, options, kind, text, scratch) for kind in wanted)
    print(f"llama.cpp: {good} passed, {len(wanted) - good} failed")
    return 0 if good == len(wanted) else 1


if __name__ == "__main__":
    sys.exit(main())
