#!/usr/bin/env python3
"""Loads GGUF exports in llama.cpp: decoders' perplexity and logits, an encoder's embeddings, the tokenizers' ids, all beside ours.

    llama_parity.py --llama build/llama [--bin build/release/bin] [--model build/models/smollm2-offgrid] [CHECK...]

`--llama` holds source/ (the unpacked package llama-cpp-python) and bin/libllama.so, as scripts/prove exports builds them. A CHECK
is a type to export `--model` as, or one of those that --list prints. Exit status 1 where token ids differ, or values by more than this:

- Perplexity, beside `wring-engine eval`: 0.1 % for F32, F16 and BF16 (llama.cpp rounds activations to the type of the weights), 0.5 %
  for quantised files, whose inputs both round to 8 bits. What that rounding costs is told beside it (the engine with arithmetic=fp32).
  With --rounded the engine stands beside transformers with activations rounded in Python, too.
- Each quantised type in all layers of a small decoder: logits of most short texts within TOLERANCE of transformers with activations
  rounded so. In the others a sum in another order turned a code, which is worth as much as the rounding.
- Decoders in fp32, also pruned ones that were padded: 16 greedy tokens equal, logits within TOLERANCE of the unpadded model's.
- all-MiniLM-L6-v2: cosine of sentence embeddings with transformers' on the file's weights, 0.9999 in fp32 (llama.cpp takes gelu from a
  table of its tanh formula in fp16), 0.999 in quantised files (activations of 8 bits leave about 0.9995 in transformers, too).
"""
import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from gguf import GGUFReader, dequantize  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parent))
import export_support as support  # noqa: E402
from export_support import DATA, MODELS, ROOT, SHAPES, TOLERANCE, Engine  # noqa: E402
from gguf_parity import encoder_name, in_halves, name_of  # noqa: E402
from random_models import make_decoder  # noqa: E402

EXACT, QUANTISED = 1e-3, 5e-3
TYPES = {"F32": EXACT, "F16": EXACT, "BF16": EXACT, "Q8_0": QUANTISED, "Q4_0": QUANTISED, "Q4_1": QUANTISED, "Q5_0": QUANTISED,
         "Q5_1": QUANTISED, "Q2_K": QUANTISED, "Q2_K, tensor_types=ffn_down=Q2_K": QUANTISED, "Q3_K_S": QUANTISED, "Q3_K_M": QUANTISED, "Q4_K_M": QUANTISED,
         "Q5_K_M": QUANTISED, "Q6_K": QUANTISED, "IQ4_NL": QUANTISED, "Q8_0, tensor_types=blk=MXFP4": QUANTISED}
# Weights of these types are multiplied by activations of 8 bits, each scale for as many of them.
BLOCKS = dict.fromkeys(["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL", "MXFP4"], 32) | dict.fromkeys(
    ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"], 256)
ENCODERS = {"F32": 0.9999, "Q8_0": 0.999, "Q4_K_M": 0.999}
HARD_TEXT = ("Hello  wörld,\tI'll pay 1234567 € — naïve?\r\n\n\n  'tis  日本語 Ω≈ç√ 🏳️‍🌈 \u00a0x\u200by <|endoftext|> "
             "<|im_start|>user\n x_1+=a[0];  {\"k\": null}  \n\t\t end   ")
FLAP = "flap(ratio=0.45, samples=8, sequence_length=32, min_keep=0)"
WITHOUT_BIASES = FLAP.replace(")", ", bias=false)")
EIGHT_HEADS = dict(num_hidden_layers=5, num_attention_heads=8, num_key_value_heads=4)
SCALED = dict(factor=8.0, rope_theta=10000.0, original_max_position_embeddings=128)
ROPES = {"linear": dict(factor=8.0, rope_theta=10000.0), "yarn": SCALED, "llama3": SCALED | dict(low_freq_factor=1.0, high_freq_factor=4.0)}
# Fields of the config, and what is done to the model before it is exported.
DECODERS = {f"a decoder, {what}": (options, None) for what, options in SHAPES.items()}
DECODERS |= {f"a decoder, rope {kind}": (dict(head_dim=64, rope_parameters={"rope_type": kind} | rope), None)
             for kind, rope in ROPES.items()}
DECODERS |= {
    "a decoder, mistral": (dict(family="mistral"), None),
    "what flap left, with biases": (EIGHT_HEADS, FLAP),
    "what flap left, with biases, tied head": (EIGHT_HEADS | dict(tie_word_embeddings=True), FLAP),
    "what flap left, without biases": (EIGHT_HEADS, WITHOUT_BIASES),
    "what flap left, without biases, tied head": (EIGHT_HEADS | dict(tie_word_embeddings=True), WITHOUT_BIASES),
}


class Llama:
    def __init__(self, folder, scratch):
        source, library = folder / "source/vendor/llama.cpp", scratch / "libshim.so"
        subprocess.run(["c++", "-std=c++17", "-O2", "-shared", "-fPIC", "-I", source / "include", "-I", source / "ggml/include",
                        Path(__file__).with_name("llama_shim.cc"), "-o", library, "-L", folder / "bin", "-lllama", "-lggml",
                        "-lggml-base", f"-Wl,-rpath,{(folder / 'bin').resolve()}"], check=True)
        pointer, number = ctypes.c_void_p, ctypes.c_int
        self.library = ctypes.CDLL(str(library))
        for name, result, *arguments in (
                ("load", pointer, ctypes.c_char_p), ("free", None, pointer), ("vocabulary", number, pointer), ("width", number, pointer),
                ("score", ctypes.c_double, pointer, pointer, number, number, number),
                ("generate", ctypes.c_bool, pointer, pointer, number, number, number, pointer),
                ("embed", ctypes.c_bool, pointer, pointer, number, number, pointer),
                ("tokenize", number, pointer, ctypes.c_char_p, number, pointer, number, ctypes.c_bool)):
            function = getattr(self.library, f"parity_{name}")
            function.restype, function.argtypes = result, arguments

    def load(self, file):
        model = self.library.parity_load(str(file).encode())
        if not model:
            raise RuntimeError(f"llama.cpp does not load {file}")
        return model

    def free(self, model):
        self.library.parity_free(model)

    def perplexity(self, model, windows):
        windows = np.ascontiguousarray(windows, np.int32)
        total = self.library.parity_score(model, windows.ctypes.data, *windows.shape, torch.get_num_threads())
        if total < 0:
            raise RuntimeError("llama_decode failed")
        return float(np.exp(total / (windows.shape[0] * (windows.shape[1] - 1))))

    def generate(self, model, prompt, more):
        """-> the prompt with `more` greedy tokens, and the logits [tokens - 1, vocabulary] before each but the first."""
        ids = np.array(prompt + more * [0], np.int32)
        logits = np.empty((len(ids) - 1, self.library.parity_vocabulary(model)), np.float32)
        if not self.library.parity_generate(model, ids.ctypes.data, len(prompt), more, 1, logits.ctypes.data):
            raise RuntimeError("llama_decode failed")
        return ids.tolist(), torch.from_numpy(logits)

    def embedding(self, model, ids):
        ids, values = np.array(ids, np.int32), np.empty(self.library.parity_width(model), np.float32)
        if not self.library.parity_embed(model, ids.ctypes.data, len(ids), 1, values.ctypes.data):
            raise RuntimeError("llama.cpp gives no embedding")
        return torch.from_numpy(values)

    def tokens(self, model, text, whole=False):
        ids, data = np.zeros(4 * len(text) + 2, np.int32), text.encode()
        return ids[:self.library.parity_tokenize(model, data, len(data), ids.ctypes.data, len(ids), whole)].tolist()


def product(layer, size, minima, inputs):
    """A linear layer's outputs as llama.cpp makes them from inputs in 8 bits with a scale for each `size`: Q8_0 and Q8_1 have an fp16
    one for 32, Q8_K an fp32 one for 256. `minima` [out, blocks] of a weight whose codes count from there meet Q8_1's sums, in fp16 too."""
    blocks = inputs.reshape(*inputs.shape[:-1], -1, size)
    scale = blocks.abs().amax(-1, keepdim=True) / 127
    codes = torch.where(scale > 0, blocks / scale, 0).round()
    taken = codes * (scale.half().float() if size == 32 else scale)
    outputs = torch.nn.functional.linear(taken.reshape(inputs.shape), layer.weight, layer.bias)
    if minima is not None:
        outputs += ((codes * scale).sum(-1).half().float() - taken.sum(-1)) @ minima.T
    return outputs


def minima_of(tensor, config):
    size = {"Q4_1": 20, "Q5_1": 24}.get(tensor.tensor_type.name)
    if not size:
        return None
    stored = tensor.data.reshape(len(tensor.data), -1, size)[:, :, 2:4]
    return torch.from_numpy(in_halves(np.ascontiguousarray(stored).view(np.float16)[..., 0].astype(np.float32), tensor.name, config))


def table_gelu(_, arguments, __):
    """An activation's output as llama.cpp takes it from its table: the tanh formula, fp16 in and out."""
    return torch.nn.functional.gelu(arguments[0].half().float(), approximate="tanh").half().float()


def round_inputs(model, file, name):
    """`model` computes as llama.cpp does on `file`, whose tensors are called `name`(tensor) there."""
    tensors = {name(tensor.name): tensor for tensor in GGUFReader(file).tensors}
    for path, module in model.named_modules():
        tensor = tensors.get(f"{path}.weight") or tensors.get("model.embed_tokens.weight")
        if isinstance(module, torch.nn.Linear) and tensor.tensor_type.name in BLOCKS:
            module.forward = partial(product, module, BLOCKS[tensor.tensor_type.name], minima_of(tensor, model.config))
    return model


def decoder_of(file):
    return transformers.AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32).eval()


@torch.no_grad()
def rounded_perplexity(file, windows):
    """transformers' on the GGUF `file`, with 8-bit activations."""
    model, losses = round_inputs(decoder_of(file), file, name_of), []
    for window in torch.from_numpy(windows):
        log_p = torch.log_softmax(model(window[None]).logits[0].double(), -1)
        losses.append(-log_p[:-1].gather(1, window[1:, None]))
    return torch.cat(losses).mean().exp().item()


def types_of(file):
    return " ".join(sorted({tensor.tensor_type.name for tensor in GGUFReader(file).tensors if len(tensor.shape) == 2}))


class Checks:
    """Each gives whether the export agrees, and what to say of it."""

    def __init__(self, options, llama, scratch):
        self.options, self.llama, self.scratch = options, llama, scratch
        self.engine = Engine(options.bin / "wring-engine")

    def export(self, model, to):
        self.engine.export(model, to, self.scratch / "export")
        return next((self.scratch / "export").glob("*.gguf"))

    def perplexity(self, kind):
        window, windows = self.options.window, self.options.windows
        text = self.scratch / "test.txt"
        text.write_text((DATA / "test.txt").read_text(encoding="utf-8")[:8 * window * windows], encoding="utf-8")
        file = self.export(self.options.model, f"gguf(type={kind})")
        def evaluated(*parameters):
            rows = json.loads(self.engine.run("eval", file, "--data", text, "--window", window, "--windows", windows, "--json",
                                              "--quiet", *parameters))["evaluations"]
            return next(row["value"] for row in rows if row["metric"] == "perplexity")

        ours = evaluated()
        parts = [text.read_text(encoding="utf-8"), HARD_TEXT]
        ids = [self.engine.tokens(file, part, self.scratch) for part in parts]
        scored = np.array(ids[0][:windows * window]).reshape(windows, window)
        model = self.llama.load(file)
        theirs = self.llama.perplexity(model, scored)
        same = [self.llama.tokens(model, part) for part in parts] == ids
        self.llama.free(model)
        difference, why = abs(theirs / ours - 1), ""
        if TYPES[kind] == QUANTISED:
            exact = evaluated("--param", "arithmetic=fp32")
            why = f"; without rounded inputs {exact:.4f}, {abs(theirs / exact - 1):.3%}"
            if self.options.rounded:
                expected = rounded_perplexity(file, scored)
                why += f"; transformers with rounded inputs {expected:.4f}, {abs(ours / expected - 1):.3%} from ours"
        return difference <= TYPES[kind] and same, (
            f"{kind} ({types_of(file)}): perplexity {theirs:.4f}, ours {ours:.4f}, {difference:.3%}{why} "
            f"(at most {TYPES[kind]:.1%}); token ids {'equal' if same else 'differ'}")

    @torch.no_grad()
    def encoder(self, kind):
        source = MODELS / "minilm"
        file, tokenizer = self.export(source, f"gguf(type={kind})"), transformers.AutoTokenizer.from_pretrained(source)
        texts = (DATA / "sentences.txt").read_text(encoding="utf-8").splitlines()[::250] + [support.HARD_TEXT]
        ids, more = [tokenizer(text).input_ids for text in texts], (DATA / "test.txt").read_text(encoding="utf-8")[:200000]
        loaded = self.llama.load(file)
        same = [self.llama.tokens(loaded, text, whole=True) for text in texts + [more]] == [*ids, tokenizer(more).input_ids]
        same &= self.engine.tokens(file, support.HARD_TEXT, self.scratch) == ids[-1][1:-1]
        theirs = torch.stack([self.llama.embedding(loaded, whole) for whole in ids])
        self.llama.free(loaded)
        model = transformers.BertModel.from_pretrained(source, add_pooling_layer=False, dtype=torch.float32).eval()

        def means():
            return torch.stack([model(torch.tensor([whole])).last_hidden_state[0].mean(0) for whole in ids])

        def cosine(some, others):
            return torch.cosine_similarity(some.double(), others.double()).min().item()

        whole = means()
        model.load_state_dict({encoder_name(tensor.name): torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).astype(np.float32))
                               for tensor in GGUFReader(file).tensors})
        plain = means()
        for layer in round_inputs(model, file, encoder_name).encoder.layer:
            layer.intermediate.intermediate_act_fn.register_forward_hook(table_gelu)
        expected, found = means(), cosine(theirs, plain)
        return same and found >= ENCODERS[kind], (
            f"all-MiniLM-L6-v2 as {kind} ({types_of(file)}), {len(ids)} texts: cosine {found:.6f} at least (>= {ENCODERS[kind]}) with "
            f"transformers on these weights, {cosine(theirs, expected):.6f} with gelu and activations rounded there, which alone leaves "
            f"{cosine(plain, expected):.6f}; {cosine(theirs, whole):.6f} with the model's; token ids {'equal' if same else 'differ'}")

    def decoder(self, what):
        options, recipe = DECODERS[what]
        source, cut = self.scratch / "model", self.scratch / "cut"
        make_decoder(source, seed=len(what), **options)
        if recipe:
            self.engine.run("run", recipe, "--model", source, "--data", f"calibration={DATA / 'calibration.txt'}", "--out", cut,
                            "--quiet")
        else:
            source.rename(cut)
        file = self.export(cut, "gguf(type=F32, pad=true)")
        model = self.llama.load(file)
        prompt = torch.randint(0, 300, (200,), generator=torch.Generator().manual_seed(5)).tolist()
        ids, theirs = self.llama.generate(model, prompt, 16)
        same = self.llama.tokens(model, HARD_TEXT) == self.engine.tokens(cut, HARD_TEXT, self.scratch)
        self.llama.free(model)
        ours = self.engine.logits(cut, torch.tensor([ids]))[0, :-1]
        chosen = ours[len(prompt) - 1:].argmax(-1).tolist() == ids[len(prompt):]
        difference = (theirs - ours).abs().max().item()
        biases = sum(tensor.name.endswith(".bias") for tensor in GGUFReader(file).tensors)
        uneven = {key.removesuffix("_per_layer"): sizes for key, sizes in json.loads((cut / "config.json").read_text()).items()
                  if key.endswith("_per_layer")}
        assert bool(uneven) == bool(recipe), "flap leaves blocks of different widths"
        return difference <= TOLERANCE and chosen and same, (
            f"F32 of {what}{f' {uneven}, padded' if uneven else ''}: 16 tokens {'equal' if chosen else 'differ'}, logits within "
            f"{difference:.0e}; {biases} biases; token ids {'equal' if same else 'differ'}")

    @torch.no_grad()
    def all_layers(self, kind):
        make_decoder(self.scratch / "model", hidden_size=256, intermediate_size=512, num_hidden_layers=2)
        file = self.export(self.scratch / "model", f'gguf(type=Q8_0, tensor_types=".={kind}")')
        loaded, prompts = self.llama.load(file), torch.randint(0, 384, (40, 4), generator=torch.Generator().manual_seed(5))
        made, theirs = zip(*(self.llama.generate(loaded, prompt, 2) for prompt in prompts.tolist()))
        self.llama.free(loaded)
        model, ids, theirs = decoder_of(file), torch.tensor(made)[:, :-1], torch.stack(theirs)
        plain = model(ids).logits
        expected = round_inputs(model, file, name_of)(ids).logits
        moved, off = ((some - expected).abs().amax((1, 2)) for some in (plain, theirs))
        near = (off <= TOLERANCE).sum().item()
        return near > len(ids) / 2 and moved.min() > 10 * TOLERANCE, (
            f"{kind} in all layers ({types_of(file)}): rounded activations move logits by {moved.min():.3f} to {moved.max():.3f}; those "
            f"of {near} of {len(ids)} texts are within {TOLERANCE:.0e} of transformers' with such activations, half within {off.median():.0e}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llama", type=Path, required=True)
    parser.add_argument("--bin", type=Path, default=ROOT / "build/release/bin")
    parser.add_argument("--model", type=Path, default=MODELS / "smollm2-offgrid")
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--windows", type=int, default=16)
    parser.add_argument("--rounded", action="store_true", help="also transformers with activations rounded in Python")
    parser.add_argument("--list", action="store_true", help="print the checks that are no types")
    parser.add_argument("checks", nargs="*", metavar="CHECK")
    options = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    checks = {kind: (Checks.perplexity, kind) for kind in TYPES}
    checks |= {f"encoder {kind}": (Checks.encoder, kind) for kind in ENCODERS}
    checks |= {what: (Checks.decoder, what) for what in DECODERS}
    checks |= {f"{kind} in all layers": (Checks.all_layers, kind) for kind in BLOCKS}
    if options.list:
        print("\n".join(name for name in checks if name not in TYPES))
        return 0
    package = (options.llama / "source/PKG-INFO").read_text().splitlines()
    version = next(line.removeprefix("Version: ") for line in package if line.startswith("Version: "))
    wanted, good = options.checks or list(checks), 0
    with tempfile.TemporaryDirectory() as built:
        llama = Llama(options.llama, Path(built))
        for name in wanted:
            check, argument = checks[name]
            with tempfile.TemporaryDirectory() as scratch:
                agrees, what = check(Checks(options, llama, Path(scratch)), argument)
            good += agrees
            print(f"{'ok    ' if agrees else 'FAILED'} llama.cpp of llama-cpp-python {version}: gguf {what}", flush=True)
    print(f"llama.cpp: {good} passed, {len(wanted) - good} failed")
    return 0 if good == len(wanted) else 1


if __name__ == "__main__":
    sys.exit(main())
