#!/usr/bin/env python3
"""Compares wring-engine's logits (encoders: hidden states) and greedy text with transformers' in fp32.

    model_parity.py [--bin build/release/bin] [--device cpu] [--wikitext] [NAME_PART...]

Models: the real ones of scripts/models, and random ones with other sizes, heads, biases, rope scalings and storage. The
largest difference allowed is 2e-4. Exit status 1 where a model differs; a real model that is absent is said and counted.
"""
import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))
import torch  # noqa: E402
import transformers  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from random_models import make_decoder, make_encoder  # noqa: E402

TOLERANCE = 2e-4
MODELS, DATA = ROOT / "build/models", ROOT / "build/data"

LLAMA3_ROPE = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 64}
YARN_ROPE = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": 128}
DECODERS = {
    "llama, untied head, 2 query heads a KV head": {},
    "llama, tied head": dict(tie_word_embeddings=True),
    "llama, as many KV heads as heads": dict(num_key_value_heads=4),
    "llama, one KV head": dict(num_key_value_heads=1),
    "llama, odd sizes": dict(vocab_size=301, hidden_size=72, intermediate_size=100, num_attention_heads=6, num_key_value_heads=3, num_hidden_layers=1),
    "llama, head size not hidden / heads": dict(head_dim=24),
    "llama, attention biases": dict(attention_bias=True),
    "llama, MLP biases": dict(mlp_bias=True),
    "llama, other rope base and epsilon": dict(rope_parameters={"rope_type": "default", "rope_theta": 500000.0}, rms_norm_eps=1e-3),
    "llama, linear rope scaling": dict(rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}),
    "llama, llama3 rope scaling": dict(rope_parameters=LLAMA3_ROPE),
    "llama, yarn rope scaling": dict(rope_parameters=YARN_ROPE),
    "llama, dynamic rope scaling beyond the trained length": dict(
        rope_parameters={"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0}, max_position_embeddings=24),
    "llama, stored in bf16": dict(dtype=torch.bfloat16),
    "llama, stored in fp16 shards": dict(dtype=torch.float16, shard="60KB"),
    "mistral": dict(family="mistral", sliding_window=None, head_dim=16),
    "qwen2": dict(family="qwen2"),
    "qwen2, tied head": dict(family="qwen2", tie_word_embeddings=True),
}
ENCODERS = {
    "bert": {},
    "bert, odd sizes": dict(vocab_size=257, hidden_size=72, intermediate_size=100, num_attention_heads=6, num_hidden_layers=1, type_vocab_size=1),
    "bert, tanh gelu": dict(hidden_act="gelu_new"),
    "bert, stored in bf16": dict(dtype=torch.bfloat16),
}


def ours(engine, model, ids, mask, device):
    with tempfile.TemporaryDirectory() as folder:
        request, out = Path(folder) / "ids.json", Path(folder) / "out.safetensors"
        request.write_text(json.dumps({"input_ids": ids.tolist(), "attention_mask": mask.tolist()}))
        where = [] if device == "cpu" else ["--device", device]
        subprocess.run([engine, "logits", model, "--ids", request, "--out", out, *where], check=True)
        return load_file(out)["logits"]


def random_ids(vocabulary, length, padded):
    """Three sequences; in `padded` ones the second and third are shorter."""
    ids = torch.randint(0, vocabulary, (3, length), generator=torch.Generator().manual_seed(length))
    mask = torch.ones_like(ids)
    if padded:
        for row, real in ((1, length // 2), (2, 1)):
            mask[row, real:] = 0
            ids[row, real:] = 0
    return ids, mask


class Comparison:
    def __init__(self, engine, device, parts):
        self.engine, self.device, self.parts = engine, device, parts
        self.passed = self.failed = self.skipped = 0

    def wanted(self, name):
        return not self.parts or any(part in name for part in self.parts)

    def judge(self, name, good, what):
        self.passed += good
        self.failed += not good
        print(f"{'ok    ' if good else 'FAILED'} {name}: {what}", flush=True)

    def skip(self, name, why):
        self.skipped += 1
        print(f"skip   {name}: {why}", flush=True)

    def compare(self, name, model, reference, ids, mask):
        """`reference` is transformers' model; padded positions do not count."""
        with torch.no_grad():
            output = reference(input_ids=ids, attention_mask=mask)
        expected = output.logits if hasattr(output, "logits") else output.last_hidden_state
        try:
            got = ours(self.engine, model, ids, mask, self.device)
        except subprocess.CalledProcessError as error:
            return self.judge(name, False, f"wring-engine logits ended with {error.returncode}")
        if got.shape != expected.shape:
            return self.judge(name, False, f"shape {tuple(got.shape)}, transformers' {tuple(expected.shape)}")
        difference = (got.float() - expected)[mask.bool()].abs().max().item()
        spread = expected[mask.bool()].std().item()
        self.judge(name, difference <= TOLERANCE, f"largest difference {difference:.1e} (at most {TOLERANCE:.0e}; values of {spread:.2g})")

    def compare_text(self, name, model, reference, tokenizer, prompt, count):
        ids = tokenizer(prompt, add_special_tokens=False, return_tensors="pt").input_ids
        with torch.no_grad():
            expected = reference.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, do_sample=False,
                                          pad_token_id=tokenizer.eos_token_id or 0)[0, ids.shape[1]:]
        result = subprocess.run([self.engine, "generate", model, "--prompt", prompt, "--tokens", str(count), "--device", self.device, "--json"],
                                capture_output=True, text=True)
        if result.returncode:
            return self.judge(name, False, f"wring-engine generate ended with {result.returncode}: {result.stderr.strip()}")
        text, wanted = json.loads(result.stdout)["text"], tokenizer.decode(expected, skip_special_tokens=True)
        self.judge(name, text == wanted, f"{count} tokens" if text == wanted else f"{text!r} is not {wanted!r}")


def random_models(comparison):
    for name, options in {**DECODERS, **ENCODERS}.items():
        if not comparison.wanted(name):
            continue
        encoder = name in ENCODERS
        with tempfile.TemporaryDirectory() as folder:
            (make_encoder if encoder else make_decoder)(folder, seed=len(name), **options)
            loader = transformers.AutoModel if encoder else transformers.AutoModelForCausalLM
            reference = loader.from_pretrained(folder, dtype=torch.float32).eval()
            ids, mask = random_ids(reference.config.vocab_size, 96, padded=encoder)
            comparison.compare(name, folder, reference, ids, mask)
            if name in ("llama, untied head, 2 query heads a KV head", "qwen2"):
                tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
                comparison.compare_text(f"{name}: greedy text", folder, reference, tokenizer, "The quick brown", 24)


def real_decoder(comparison):
    name, folder = "SmolLM2-135M-Instruct (GGUF)", MODELS / "smollm2"
    if not comparison.wanted(name):
        return
    file = folder / "SmolLM2-135M-Instruct.Q4_1.gguf"
    if not file.is_file():
        return comparison.skip(name, "run scripts/models")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=file.name)
    reference = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=file.name, dtype=torch.float32).eval()
    text = (DATA / "test.txt").read_text(encoding="utf-8")[:20000]
    ids = tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids[0, :1024].view(2, 512)
    comparison.compare(name, file, reference, ids, torch.ones_like(ids))
    comparison.compare_text(f"{name}: greedy text", file, reference, tokenizer, "The state of the Union is", 40)
    plain = MODELS / "smollm2-offgrid"
    if plain.is_dir():
        reference = transformers.AutoModelForCausalLM.from_pretrained(plain, dtype=torch.float32).eval()
        comparison.compare("smollm2-offgrid (folder)", plain, reference, ids, torch.ones_like(ids))


def perplexity_of(reference, ids, window):
    losses = []
    with torch.no_grad():
        for part in ids[:len(ids) // window * window].view(-1, window):
            logits = reference(part[None]).logits[0, :-1]
            losses.append(torch.nn.functional.cross_entropy(logits, part[1:], reduction="sum").item())
    return math.exp(sum(losses) / (len(losses) * (window - 1)))


def dense_perplexity(comparison, wikitext):
    """Two windows beside transformers, which multiplies a GGUF's values as they are; of WikiText-2 the protocol of docs/results/main-job.md, where transformers has 23.940."""
    name, folder = "SmolLM2-135M-Instruct: perplexity", MODELS / "smollm2"
    file = folder / "SmolLM2-135M-Instruct.Q4_1.gguf"
    if not comparison.wanted(name) or not file.is_file():
        return
    windows, text = (32, Path(os.environ["WRING_DATA"]) / "wikitext2/wiki.test.raw") if wikitext else (2, DATA / "test.txt")
    if wikitext:
        expected = 23.940
    else:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, gguf_file=file.name)
        reference = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=file.name, dtype=torch.float32).eval()
        ids = tokenizer(text.read_text(encoding="utf-8"), add_special_tokens=False, return_tensors="pt").input_ids[0, :windows * 1024]
        expected = perplexity_of(reference, ids, 1024)
    output = subprocess.run([comparison.engine, "eval", file, "--suite", "perplexity", "--data", text, "--window", "1024", "--windows", str(windows),
                             "--param", "arithmetic=fp32", "--device", comparison.device, "--json"], check=True, capture_output=True, text=True).stdout
    got = next(row["value"] for row in json.loads(output)["evaluations"] if row["metric"] == "perplexity")
    comparison.judge(name, abs(got / expected - 1) < 1e-3, f"{got:.3f}, transformers {expected:.3f} ({windows} windows of 1024)")


def real_encoder(comparison):
    name, folder = "all-MiniLM-L6-v2", MODELS / "minilm"
    if not comparison.wanted(name):
        return
    if not folder.is_dir():
        return comparison.skip(name, "run scripts/models")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    reference = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    sentences = (DATA / "sentences.txt").read_text(encoding="utf-8").splitlines()[:32]
    batch = tokenizer(sentences, padding=True, truncation=True, max_length=128, return_tensors="pt")
    comparison.compare(name, folder, reference, batch.input_ids, batch.attention_mask)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, default=ROOT / "build/release/bin")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--wikitext", action="store_true", help="perplexity over 32 windows of WikiText-2 (minutes), which WRING_DATA has")
    parser.add_argument("parts", nargs="*", help="only models whose name contains one of these")
    options = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    comparison = Comparison(options.bin / "wring-engine", options.device, options.parts)
    random_models(comparison)
    real_decoder(comparison)
    dense_perplexity(comparison, options.wikitext)
    real_encoder(comparison)
    print(f"model parity: {comparison.passed} passed, {comparison.failed} failed, {comparison.skipped} skipped")
    return 1 if comparison.failed or not comparison.passed else 0


if __name__ == "__main__":
    sys.exit(main())
