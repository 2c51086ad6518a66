#!/usr/bin/env python3
"""Compares the kv-perplexity suite with transformers, whose cache is pruned here in numpy.

    kv_parity.py [--bin build/release/bin] [--device cpu]

SmolLM2 in fp32, a window of the test text, a token at a time: its negative log-likelihood within 5e-4 nats a token, without a policy and with Mustafar's and StreamingLLM's (which here masks what it dropped).
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
ROOT = Path(__file__).resolve().parents[2]
import numpy  # noqa: E402
import torch  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache  # noqa: E402

MODEL, TEXT = ROOT / "build/models/smollm2-fp32", ROOT / "build/data/test.txt"
PREFILL, SCORED, WINDOWS, WINDOW, CHUNK, SINKS, BUDGET = 128, 24, 1, 32, 64, 4, 100
POLICIES = {
    "mustafar": f"mustafar(k_sparsity=0.7, v_sparsity=0.5, window={WINDOW}, chunk={CHUNK}, value_dtype=float32)",
    "streaming-llm": f"streaming-llm(budget={BUDGET}, sinks={SINKS}, value_dtype=float32)",
}


def keep_largest(tensor, first, last, keep):
    """All but the `keep` largest of each vector to zero, of equal ones the first."""
    x = tensor[:, :, first:last].numpy()
    order = numpy.argsort(-numpy.abs(x), axis=-1, kind="stable")
    numpy.put_along_axis(x, order[..., keep:], 0, axis=-1)


@torch.inference_mode()
def reference(model, ids, policy):
    """Summed negative log-likelihood of a window's scored tokens."""
    cache, pruned, total = DynamicCache(), 0, 0.0
    for first in (0, *range(PREFILL, PREFILL + SCORED)):
        count = PREFILL if first == 0 else 1
        mask = torch.ones(1, first + count, dtype=torch.long)
        if policy == "streaming-llm" and first + count > BUDGET + 1 and first:
            mask[0, SINKS:first - (BUDGET - SINKS)] = 0
        logits = model(ids[None, first:first + count], past_key_values=cache, attention_mask=mask,
                       position_ids=torch.arange(first, first + count)[None]).logits[0, -1].double()
        if first:
            total -= torch.log_softmax(logits, -1)[ids[first + 1]].item()
        due = (first + count - WINDOW - pruned) // CHUNK * CHUNK
        if policy == "mustafar" and due > 0:
            for layer in cache.layers:
                keep_largest(layer.keys, pruned, pruned + due, 64 - 44)
                keep_largest(layer.values, pruned, pruned + due, 64 - 32)
            pruned += due
    return total


def ours(arguments, policy, work):
    """Of windows, before the policy and after it."""
    recipe = {"name": "kv", "stages": [policy],
              "evaluations": [f"kv-perplexity(prefill={PREFILL}, scored={SCORED}, step=1, windows={WINDOWS})"]}
    path = work / "recipe.json"
    path.write_text(json.dumps(recipe))
    command = [arguments.bin / "wring-engine", "run", path, "--model", MODEL, "--data", f"test={TEXT}", "--device", arguments.device, "--json", "-q",
               "--out", work / "out"]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(result.stderr)
    rows = [row for row in json.loads(result.stdout)["evaluations"] if row["metric"] == "perplexity"]
    return [row["details"]["window_nll"] for row in rows]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, default=ROOT / "build/release/bin")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    if not MODEL.is_dir():
        print("SmolLM2 is absent: scripts/models\n0 passed, 0 failed, 1 skipped")
        return 0
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()
    size = PREFILL + SCORED + 1
    ids = torch.tensor(AutoTokenizer.from_pretrained(MODEL)(TEXT.read_text(encoding="utf-8")[:40000])["input_ids"])
    failed, all_found = 0, {}
    for name, policy in POLICIES.items():
        with tempfile.TemporaryDirectory() as work:
            all_found["full"], all_found[name] = ours(arguments, policy, Path(work))
    for name, found in all_found.items():
        expected = [reference(model, ids[w * size:(w + 1) * size], name) for w in range(WINDOWS)]
        apart = max(abs(a - b) for a, b in zip(found, expected, strict=True)) / SCORED
        failed += apart > 5e-4
        print(f"{'ok    ' if apart <= 5e-4 else 'FAILED'} {name}: {[round(x / SCORED, 5) for x in found]}, {apart:.2g} nats a token apart")
    print(f"{len(all_found) - failed} passed, {failed} failed, 0 skipped")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
