"""What the export tests share: the engine's commands, claims compared with values, and weights packed and unpacked in numpy.

Layouts are written from the formats' descriptions, not from the engine's code.
"""
import argparse
import hashlib
import importlib.metadata
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from random_models import make_decoder  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
MODELS, DATA = ROOT / "build/models", ROOT / "build/data"
TOLERANCE = 2e-4  # both sides multiply the same fp32 values, in another order; logits are below 50
HARD_TEXT = ("Hello  wörld,\tI'll pay 1234567 € — naïve?\r\n\n\n  'tis  日本語 Ω≈ç√ 🏳️‍🌈 e\u0301 \u00a0x\u200by "
             "<|endoftext|> <|im_start|>user\n x_1+=a[0];  {\"k\": null}  \n\t\t end   ")
SHAPES = {
    "2 query heads a KV head": {},
    "tied head": dict(tie_word_embeddings=True),
    "qwen2 (biases)": dict(family="qwen2"),
    "head size not hidden / heads": dict(head_dim=24),
    "odd sizes": dict(vocab_size=301, hidden_size=72, intermediate_size=100, num_attention_heads=6, num_key_value_heads=3),
    "qwen2, tied head": dict(family="qwen2", tie_word_embeddings=True),
}
AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]  # nibble slot k of a word holds this column of its eight


def command_line(description):
    """-> the engine of --bin, and the arguments that are unittest's."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, default=ROOT / "build/release/bin")
    options, rest = parser.parse_known_args()
    InFolder.engine = Engine(options.bin / "wring-engine")
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    return InFolder.engine, rest


whole_models = unittest.skipUnless(os.environ.get("WRING_EXPORTS") == "whole", "whole models: scripts/prove exports")


class InFolder(unittest.TestCase):
    """Each test has an empty folder of its own."""

    engine = None  # set by command_line()

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)


class Engine:
    def __init__(self, path):
        self.path = Path(path).resolve()

    def call(self, *arguments):
        return subprocess.run([str(self.path), *map(str, arguments)], capture_output=True, text=True)

    def run(self, *arguments):
        result = self.call(*arguments)
        assert result.returncode == 0, f"wring-engine {' '.join(map(str, arguments))}: {result.returncode}\n{result.stderr}"
        return result.stdout

    def compress(self, recipe, model, out, *arguments):
        self.run("run", recipe, "--model", model, "--out", out, *arguments, "--quiet", "--json")
        return out

    def export(self, model, to, out):
        """-> the export's report, with its claims."""
        claims = out.with_name(out.name + ".claims.json")
        report = json.loads(self.run("export", model, "--to", to, "--out", out, "--claims", claims, "--no-score", "--json"))
        return report | {"claims": json.loads(claims.read_text()), "claims_file": claims}

    def logits(self, model, ids):
        """fp32 [batch, positions, vocabulary], or an encoder's hidden states."""
        folder = Path(model).parent
        request, out = folder / "ids.json", folder / "logits.safetensors"
        request.write_text(json.dumps({"input_ids": ids.tolist()}))
        self.run("logits", model, "--ids", request, "--out", out)
        return load_file(out)["logits"].float()

    def tokens(self, model, text, folder):
        (folder / "text.txt").write_text(text, encoding="utf-8")
        return json.loads(self.run("tokenize", model, folder / "text.txt"))


def version(*packages):
    return ", ".join(f"{package} {importlib.metadata.version(package)}" for package in packages)


class Exports(InFolder):
    def row(self, loaders, what):
        print(f"ok     {version(*loaders)}: {what}", flush=True)

    def model(self, **options):
        make_decoder(self.folder / "model", seed=len(options), **options)
        return self.folder / "model"

    def load(self, path, kind=transformers.AutoModelForCausalLM, **options):
        """transformers' model; every tensor of it was in the files, and the other way round."""
        model, info = kind.from_pretrained(path, output_loading_info=True, **{"dtype": torch.float32} | options)
        self.assertEqual({what: keys for what, keys in info.items() if keys}, {})
        return model.eval()

    def assert_claimed(self, report, values):
        self.assertEqual(unclaimed(report["claims"], values), [])

    def assert_same_outputs(self, model, source, vocabulary):
        """`source`: what the engine reads."""
        ids = torch.randint(0, vocabulary, (2, 48), generator=torch.Generator().manual_seed(5))
        with torch.no_grad():
            output = model(input_ids=ids)
        expected = output.logits if hasattr(output, "logits") else output.last_hidden_state
        difference = (self.engine.logits(source, ids) - expected.float()).abs().max().item()
        self.assertLessEqual(difference, TOLERANCE)
        return f"logits within {difference:.0e}"


def digest(values):
    """The SHA-256 of the SHA-256s of pieces: as many rows of fp32 values as 65,536 values have room for."""
    rows = np.ascontiguousarray(values, np.float32).reshape(len(values), -1)
    at_once = max(1, 65536 // rows.shape[1])
    pieces = (rows[first:first + at_once].tobytes() for first in range(0, len(rows), at_once))
    return hashlib.sha256(b"".join(hashlib.sha256(piece).digest() for piece in pieces)).hexdigest()


def unclaimed(claims, values):
    """Names of tensors {name: array} that are not what `claims` says, or that one of the two lacks."""
    meant = {f"{layer}.weight": sha for layer, sha in claims["weights"].items()} | claims["tensors"]
    found = {name: digest(array) for name, array in values.items()}
    return sorted(name for name in meant.keys() | found.keys() if meant.get(name) != found.get(name))


def state_of(model):
    """{name: fp32 array} of a transformers model. A tied head is no tensor of its own; what compressed-tensors keeps beside a
    weight that it has decompressed is left out."""
    return {name: value.detach().float().numpy() for name, value in model.named_parameters()
            if not name.endswith(("weight_scale", "weight_global_scale", "weight_zero_point", "weight_shape", "input_scale", "input_zero_point"))}


def bits_of(words, bits, count):
    """int32 [rows, words] -> uint8 [rows, count]: values of `bits` bits, the lowest first."""
    stream = np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=1, bitorder="little")[:, :count * bits]
    return (stream.reshape(len(words), count, bits) << np.arange(bits, dtype=np.uint8)).sum(2).astype(np.uint8)


def packed_bytes(codes, bits):
    """uint8 [rows, n] -> uint8 [rows, ceil(n * bits / 8)], as a Wring artifact stores them."""
    stream = (codes[:, :, None] >> np.arange(bits, dtype=np.uint8)) & 1
    return np.packbits(stream.reshape(len(codes), -1), axis=1, bitorder="little")


def compressed_weight(tensors, layer, bits):
    """[out, in] in fp32 of a pack-quantized layer."""
    rows, columns = tensors[f"{layer}.weight_shape"].tolist()
    scales = tensors[f"{layer}.weight_scale"].float().numpy()
    codes = bits_of(tensors[f"{layer}.weight_packed"].numpy(), bits, columns).astype(np.float32)
    zeros = np.full(scales.shape, 1 << (bits - 1), np.float32)
    if f"{layer}.weight_zero_point" in tensors:
        zeros = bits_of(tensors[f"{layer}.weight_zero_point"].numpy().T, bits, rows).T.astype(np.float32)
    group = columns // scales.shape[1]
    return (codes - zeros.repeat(group, 1)) * scales.repeat(group, 1)


def gptq_weight(tensors, layer, bits, offset):
    """[out, in] in fp32 of a GPTQ checkpoint's layer; `offset`: 1 where qzeros hold a zero point less one."""
    words, zeros, scales = (tensors[f"{layer}.{part}"].numpy() for part in ("qweight", "qzeros", "scales"))
    columns = len(words) * 32 // bits
    codes = bits_of(words.T, bits, columns).T.astype(np.float32)
    zero = ((bits_of(zeros, bits, words.shape[1]).astype(np.int32) + offset) % (1 << bits)).astype(np.float32)
    group = tensors[f"{layer}.g_idx"].numpy()
    return ((codes - zero[group]) * scales.astype(np.float32)[group]).T


def awq_columns(words):
    """int32 [n, out / 8] -> [n, out]."""
    nibbles = (words[:, :, None].view(np.uint32) >> np.arange(0, 32, 4, dtype=np.uint32)) & 15
    columns = np.empty_like(nibbles)
    columns[:, :, AWQ_ORDER] = nibbles
    return columns.reshape(len(words), -1).astype(np.float32)


def awq_weight(tensors, layer):
    codes, zeros = (awq_columns(tensors[f"{layer}.{part}"].numpy()) for part in ("qweight", "qzeros"))
    scales = tensors[f"{layer}.scales"].numpy().astype(np.float32)
    group = len(codes) // len(scales)
    return ((codes - zeros.repeat(group, 0)) * scales.repeat(group, 0)).T


def write_artifact(plain, folder, layers):
    """The Wring artifact of the Hugging Face folder `plain` whose `layers` {name: {bits, codes, scales, zeros}} are quantised;
    zeros are None where the grid is symmetric."""
    folder.mkdir()
    for file in plain.iterdir():
        if file.suffix == ".json":
            (folder / file.name).write_bytes(file.read_bytes())
    tensors, described = load_file(plain / "model.safetensors"), {}
    for name, grid in layers.items():
        del tensors[f"{name}.weight"]
        tensors[f"{name}.codes"] = torch.from_numpy(packed_bytes(grid["codes"], grid["bits"]))
        tensors[f"{name}.scales"] = torch.from_numpy(grid["scales"])
        if grid["zeros"] is not None:
            tensors[f"{name}.zeros"] = torch.from_numpy(packed_bytes(grid["zeros"], grid["bits"]))
        group = grid["codes"].shape[1] // grid["scales"].shape[1]
        described[name] = {"rep": "packed-int",
                           "attributes": {"bits": grid["bits"], "group_size": group, "symmetric": grid["zeros"] is None}}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    (folder / "wring.json").write_text(json.dumps({"format_version": 1, "family": "llama", "kind": "decoder-lm",
                                                   "layers": described, "lineage": {}}))
    return folder


# The values of NF4 (QLoRA, appendix E).
NF4 = np.array([-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
                -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
                0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0], np.float32)


def nf4(weight, name, rng, dtype, nested, block=64, outer=256):
    """-> the tensors that bitsandbytes stores of a weight [out, in], codes drawn and scales near the weight's, and the fp32 values they mean."""
    count = weight.size
    blocks = -(-count // block)
    codes, state = rng.integers(0, 16, count + count % 2, np.uint8), {"quant_type": "nf4", "blocksize": block, "dtype": dtype, "shape": list(weight.shape)}
    tensors = {f"{name}.quant_map": NF4}
    if nested:
        table, places = np.sort(rng.uniform(-1, 1, 256)).astype(np.float32), rng.integers(0, 256, blocks, np.uint8)
        outers, offset = rng.uniform(0.01, 0.05, -(-blocks // outer)).astype(np.float32), 0.0625
        scales = table[places] * outers.repeat(outer)[:blocks] + np.float32(offset)
        state |= {"nested_blocksize": outer, "nested_dtype": "float32", "nested_offset": offset}
        tensors |= {f"{name}.absmax": places, f"{name}.nested_quant_map": table, f"{name}.nested_absmax": outers}
    else:
        scales = rng.uniform(0.05, 0.2, blocks).astype(np.float32)
        tensors[f"{name}.absmax"] = scales
    packed = (codes[0::2] << 4 | codes[1::2])[:, None]
    tensors |= {name: packed, f"{name}.quant_state.bitsandbytes__nf4": np.frombuffer(json.dumps(state).encode(), np.uint8)}
    return tensors, (NF4[codes[:count]] * scales.repeat(block)[:count]).reshape(weight.shape)


def random_grid(rng, shape, bits, group, symmetric):
    rows, groups = shape[0], shape[1] // group
    return {"bits": bits, "codes": rng.integers(0, 1 << bits, shape, np.uint8),
            "scales": rng.uniform(0.001, 0.1, (rows, groups)).astype(np.float16),
            "zeros": None if symmetric else rng.integers(0, 1 << bits, (rows, groups), np.uint8)}


def grid_values(grid):
    group = grid["codes"].shape[1] // grid["scales"].shape[1]
    zeros = np.full(grid["scales"].shape, 1 << (grid["bits"] - 1)) if grid["zeros"] is None else grid["zeros"]
    return ((grid["codes"].astype(np.float32) - zeros.repeat(group, 1).astype(np.float32)) *
            grid["scales"].astype(np.float32).repeat(group, 1))
