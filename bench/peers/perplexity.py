"""Tokens a second of fp32 perplexity: transformers' forward and ours, on the same ids and threads, in turns."""
import json
import math
import os
import statistics
import subprocess
import time
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

MODEL = "build/models/smollm2-fp32"
WINDOW, WINDOWS, TURNS = 1024, int(os.environ.get("WINDOWS", "8")), 3
folder = Path(os.environ.get("WRING_DATA", "../shared/data")) / "wikitext2"
TEXT = folder / "wiki.test.raw" if folder.is_dir() else Path("build/data/test.txt")

torch.set_num_threads(2)
tokenizer = AutoTokenizer.from_pretrained(MODEL)
model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()
ids = tokenizer(TEXT.read_bytes().decode(), add_special_tokens=False)["input_ids"]


def theirs():
    nll, start = 0.0, time.perf_counter()
    with torch.inference_mode():
        for w in range(WINDOWS):
            x = torch.tensor(ids[w * WINDOW:(w + 1) * WINDOW]).unsqueeze(0)
            logits = model(input_ids=x, use_cache=False).logits[0, :-1]
            nll += torch.nn.functional.cross_entropy(logits, x[0, 1:], reduction="sum").double().item()
    return time.perf_counter() - start, math.exp(nll / (WINDOWS * (WINDOW - 1)))


def evaluate(windows):
    start = time.perf_counter()
    output = subprocess.run(["build/release/bin/wring-engine", "eval", MODEL, "--data", TEXT, "--windows", str(windows),
                             "--threads", "2", "--json", "--quiet"], check=True, stdout=subprocess.PIPE).stdout
    seconds = time.perf_counter() - start
    rows = json.loads(output)["evaluations"]
    return seconds, next(r["value"] for r in rows if r["metric"] == "perplexity")


def ours():
    """Less a run of one window, so that neither side's time holds its loading and tokenising."""
    seconds, perplexity = evaluate(WINDOWS)
    return (seconds - evaluate(1)[0]) * WINDOWS / (WINDOWS - 1), perplexity


theirs()
turns = [(theirs(), ours()) for _ in range(TURNS)]
there, here = (statistics.median(turn[side][0] for turn in turns) for side in (0, 1))
tokens = WINDOWS * WINDOW
print(f"transformers {tokens / there:7.0f} tokens/s  perplexity {turns[0][0][1]:.4f}")
print(f"wring        {tokens / here:7.0f} tokens/s  perplexity {turns[0][1][1]:.4f}  ratio {there / here:.2f}")
