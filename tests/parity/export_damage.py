#!/usr/bin/env python3
"""Damages exports byte by byte and sees `wring-engine verify` refuse them, and asks for exports that cannot be.

    export_damage.py [--bin build/release/bin] [-v] [TEST...]
"""
import json
import os
import shutil
import struct
import sys
import tempfile
import unittest
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from gguf import GGUFReader, GGUFValueType  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

import export_support as support  # noqa: E402
from random_models import make_decoder, make_encoder  # noqa: E402

engine = models = None  # set by main(): a folder of models and artifacts

LAYER = "model.layers.1.mlp.down_proj"
# Format: (artifact, tensors of which one bit in the middle is flipped).
DAMAGED = {
    "huggingface": ("decoder", [f"{LAYER}.weight", "model.norm.weight", "model.layers.0.input_layernorm.weight",
                                "model.layers.2.self_attn.q_proj.bias"]),
    "compressed-tensors": ("rtn4-asymmetric", [f"{LAYER}.weight_packed", f"{LAYER}.weight_scale", f"{LAYER}.weight_zero_point",
                                               f"{LAYER}.weight_shape", "model.norm.weight", "model.embed_tokens.weight",
                                               "model.layers.2.self_attn.q_proj.bias"]),
    "compressed-tensors(dtype=float32)": ("w8a8", [f"{LAYER}.weight", f"{LAYER}.weight_scale"]),
    "compressed-tensors(shard_bytes=5000000000)": ("static", [f"{LAYER}.weight", f"{LAYER}.input_scale", f"{LAYER}.input_zero_point"]),
    "compressed-tensors(dtype=bfloat16)": ("fp8", [f"{LAYER}.weight", f"{LAYER}.weight_scale"]),
    "compressed-tensors(dtype=float16)": ("fp4", [f"{LAYER}.weight_packed", f"{LAYER}.weight_scale", f"{LAYER}.weight_global_scale"]),
    "gptq-checkpoint": ("rtn4-asymmetric", [f"{LAYER}.qweight", f"{LAYER}.qzeros", f"{LAYER}.scales", f"{LAYER}.g_idx",
                                            "model.norm.weight"]),
    "awq-checkpoint": ("rtn4-asymmetric", [f"{LAYER}.qweight", f"{LAYER}.qzeros", f"{LAYER}.scales", "model.norm.weight"]),
    "wring": ("rtn4-asymmetric", [f"{LAYER}.codes", f"{LAYER}.scales", f"{LAYER}.zeros", "model.norm.weight",
                                  "model.layers.2.self_attn.q_proj.bias"]),
    "gguf(type=Q4_0)": ("decoder", ["blk.1.ffn_down.weight", "blk.0.attn_q.weight", "output_norm.weight",
                                    "blk.2.attn_q.bias"]),
    "gguf(type=Q4_K_M)": ("wide", ["blk.1.ffn_up.weight", "blk.0.attn_v.weight", "token_embd.weight"]),
    "gguf(type=IQ4_NL, tensor_types=ffn=MXFP4)": ("wide", ["blk.1.ffn_down.weight", "blk.0.attn_k.weight"]),
    "gguf(type=F16)": ("decoder", ["blk.1.ffn_down.weight", "token_embd.weight", "output.weight"]),
    "gguf(type=Q8_0)": ("encoder", ["blk.1.ffn_down.weight", "blk.0.attn_q.bias", "blk.2.layer_output_norm.bias", "token_embd.weight",
                                    "position_embd.weight", "token_types.weight", "token_embd_norm.weight"]),
}


def make_models(folder):
    make_decoder(folder / "decoder", seed=1, family="qwen2")
    make_decoder(folder / "narrow", seed=2, intermediate_size=100)
    make_decoder(folder / "wide", seed=5, hidden_size=256, intermediate_size=512, num_hidden_layers=2)
    make_encoder(folder / "encoder", seed=3)
    make_encoder(folder / "tanh-encoder", seed=3, hidden_act="gelu_new")
    shutil.copytree(folder / "encoder", folder / "cased")
    tokenizer = json.loads((folder / "cased/tokenizer.json").read_text())
    tokenizer["normalizer"]["lowercase"] = False
    (folder / "cased/tokenizer.json").write_text(json.dumps(tokenizer))
    shutil.copytree(folder / "encoder", folder / "classifier")
    classifier = transformers.BertForSequenceClassification(transformers.BertConfig.from_pretrained(folder / "encoder"))
    classifier.save_pretrained(folder / "classifier")
    make_decoder(folder / "foreign-tokenizer", seed=4)
    tokenizer = json.loads((folder / "foreign-tokenizer/tokenizer.json").read_text())
    tokenizer["added_tokens"].append(tokenizer["added_tokens"][0] | {"id": 384, "content": "<|beyond|>"})
    (folder / "foreign-tokenizer/tokenizer.json").write_text(json.dumps(tokenizer))
    for name, recipe, model in [
            ("rtn4-asymmetric", "rtn(bits=4, group_size=32, symmetric=false)", "decoder"),
            ("w8a8", "rtn(bits=8, group_size=-1) | round-inputs()", "decoder"),
            ("static", "rtn(bits=8, group_size=-1) | static-inputs(samples=4, sequence_length=16, range=minmax)", "decoder"),
            ("fp8", "fp8(block=16) | round-inputs(type=float8_e4m3, group_size=16)", "decoder"),
            ("fp4", "fp4()", "decoder"),
            ("rtn5", "rtn(bits=5, group_size=32)", "decoder"),
            ("rtn4-narrow", "rtn(bits=4, group_size=4)", "narrow"),
            ("rtn4-encoder", "rtn(bits=4, group_size=32)", "encoder")]:
        engine.compress(recipe, folder / model, folder / name, "--data", f"calibration={support.DATA / 'calibration.txt'}")
    rng = np.random.default_rng(5)  # its zero points are 0 to 15
    grids = {name.removesuffix(".weight"): support.random_grid(rng, tuple(weight.shape), 4, 32, False)
             for name, weight in load_file(folder / "decoder/model.safetensors").items() if name.endswith("proj.weight")}
    support.write_artifact(folder / "decoder", folder / "zero-of-0", grids)
    partly = folder / "partly.yaml"
    partly.write_text("stages:\n  - {method: rtn, params: {bits: 4, group_size: 32}, ignore: [model.layers.1.mlp.up_proj]}\n")
    engine.compress(partly, folder / "decoder", folder / "rtn4-partly")
    mixed = folder / "mixed.yaml"
    mixed.write_text("stages:\n  - {method: rtn, params: {bits: 4, group_size: 32}, ignore: ['re:.*up_proj']}\n"
                     "  - {method: rtn, params: {bits: 4, group_size: 16}, targets: ['re:.*up_proj']}\n")
    engine.compress(mixed, folder / "decoder", folder / "rtn4-mixed")


def place(folder, name):
    """(file, offset, bytes) of a tensor of an export."""
    file = next(path for path in folder.iterdir() if path.suffix in (".safetensors", ".gguf"))
    if file.suffix == ".gguf":
        tensor = next(tensor for tensor in GGUFReader(file).tensors if tensor.name == name)
        return file, int(tensor.data_offset), int(tensor.n_bytes)
    with file.open("rb") as stream:
        length = struct.unpack("<Q", stream.read(8))[0]
        begin, end = json.loads(stream.read(length))[name]["data_offsets"]
    return file, 8 + length + begin, end - begin


def names_of(stored):
    """How the error may call a tensor of an export: by its layer, or, in a GGUF, by Hugging Face's or GGUF's name."""
    layer = stored.rsplit(".", 1)[0]
    if not stored.startswith(("blk.", "token_", "position_", "output")):
        return [layer]
    _, block, part = layer.split(".") if layer.startswith("blk.") else (None, None, None)
    return [stored] + ([f"layers.{block}.", f"layer.{block}."] if block else ["embed", "norm", "lm_head"])


class Damage(support.InFolder):
    def verify(self, folder, claims):
        return engine.call("verify", folder, "--claims", claims)

    def check(self, to):
        source, names = DAMAGED[to]
        report = engine.export(models / source, to, self.folder / "export")
        claims = report["claims_file"]
        self.assertEqual(self.verify(self.folder / "export", claims).returncode, 0)
        for name in names:
            with self.subTest(to=to, tensor=name):
                file, offset, size = place(self.folder / "export", name)
                whole = file.read_bytes()
                flipped = bytearray(whole)
                # A shape's middle byte is one of a 64-bit number's high ones: its lowest says more.
                at = offset if name.endswith("weight_shape") else offset + size // 2
                flipped[at] ^= 1
                file.write_bytes(flipped)
                result = self.verify(self.folder / "export", claims)
                file.write_bytes(whole)
                self.assertIn(result.returncode, (1, 2), result.stdout + result.stderr)  # no signal
                self.assertTrue(result.stderr.startswith("error: "), result.stderr)
                self.assertTrue(any(part in result.stderr for part in names_of(name)), f"{name}: {result.stderr}")
                print(f"ok     {to}: a bit of {name} flipped: {' '.join(result.stderr.split())[:110]}", flush=True)
        self.assertEqual(self.verify(self.folder / "export", claims).returncode, 0)

    def test_a_flipped_bit_is_found_in_every_format(self):
        for to in DAMAGED:
            with self.subTest(to=to):
                self.setUp()
                self.check(to)

    def test_a_changed_configuration_is_found(self):
        report = engine.export(models / "decoder", "huggingface", self.folder / "export")
        file = self.folder / "export/config.json"
        whole = file.read_text()
        for key, value, name in (("rms_norm_eps", 1e-3, "epsilon"), ("rope_parameters", {"rope_type": "default", "rope_theta": 5000.0}, "rotary"),
                                 ("max_position_embeddings", 100, "positions")):
            with self.subTest(key):
                config = json.loads(whole)
                self.assertNotEqual(config.get(key), value)
                config[key] = value
                file.write_text(json.dumps(config))
                result = self.verify(self.folder / "export", report["claims_file"])
                self.assertEqual(result.returncode, 1, result.stdout + result.stderr)
                self.assertIn(f"config: {name}", result.stderr)
                print(f"ok     {key} changed: {' '.join(result.stderr.split())[:110]}", flush=True)

    def test_a_changed_key_of_a_gguf_is_found(self):
        report = engine.export(models / "decoder", "gguf(type=Q8_0)", self.folder / "export")
        file = next((self.folder / "export").glob("*.gguf"))
        for key, name in (("attention.layer_norm_rms_epsilon", "epsilon"), ("rope.freq_base", "rotary")):
            with self.subTest(key):
                whole = file.read_bytes()
                place = whole.index(f"qwen2.{key}".encode()) + len(f"qwen2.{key}") + 4  # behind the type
                [value] = struct.unpack("<f", whole[place:place + 4])
                file.write_bytes(whole[:place] + struct.pack("<f", 2 * value) + whole[place + 4:])
                result = self.verify(self.folder / "export", report["claims_file"])
                file.write_bytes(whole)
                self.assertEqual(result.returncode, 1, result.stdout + result.stderr)
                self.assertIn(f"config: {name}", result.stderr)

    def test_a_flipped_bit_of_a_gguf_s_tokenizer_or_another_key_is_found(self):
        for model, keys in (("decoder", ["general.file_type", "qwen2.vocab_size", "tokenizer.ggml.model", "tokenizer.ggml.pre", "tokenizer.ggml.tokens",
                                         "tokenizer.ggml.token_type", "tokenizer.ggml.merges", "tokenizer.ggml.bos_token_id",
                                         "tokenizer.ggml.eos_token_id"]),
                            ("encoder", ["bert.attention.causal", "tokenizer.ggml.tokens", "tokenizer.ggml.token_type_count"])):
            report = engine.export(models / model, "gguf(type=Q8_0)", self.folder / model)
            file = next((self.folder / model).glob("*.gguf"))
            fields = GGUFReader(file).fields
            for key in keys:
                with self.subTest(model=model, key=key):
                    whole = file.read_bytes()
                    field = fields[key]
                    # The last byte of a string, of a number the first, which is its lowest; of lists, that of the middle one.
                    part = field.data[len(field.data) // 2]
                    size = len(field.parts[part].tobytes())
                    at = field.offset + sum(len(one.tobytes()) for one in field.parts[:part]) + (size - 1 if field.types[-1] == GGUFValueType.STRING else 0)
                    flipped = bytearray(whole)
                    flipped[at] ^= 1
                    file.write_bytes(flipped)
                    result = self.verify(self.folder / model, report["claims_file"])
                    file.write_bytes(whole)
                    self.assertIn(result.returncode, (1, 2), result.stdout + result.stderr)  # 2: the reader refuses it by itself
                    self.assertIn(key, result.stderr)
                    print(f"ok     {model}: a bit of {key} flipped: {' '.join(result.stderr.split())[:110]}", flush=True)

    def test_a_changed_or_missing_tokenizer_of_a_folder_is_found(self):
        report = engine.export(models / "decoder", "huggingface", self.folder / "export")
        for name in ("tokenizer.json", "tokenizer_config.json"):
            file = self.folder / "export" / name
            whole = file.read_bytes()
            for damaged in (whole[:len(whole) // 2] + bytes([whole[len(whole) // 2] ^ 1]) + whole[len(whole) // 2 + 1:], None):
                with self.subTest(name=name, missing=damaged is None):
                    file.unlink() if damaged is None else file.write_bytes(damaged)
                    result = self.verify(self.folder / "export", report["claims_file"])
                    file.write_bytes(whole)
                    self.assertEqual(result.returncode, 1, result.stdout + result.stderr)
                    self.assertIn(name, result.stderr)
        self.assertEqual(self.verify(self.folder / "export", report["claims_file"]).returncode, 0)

    def test_a_cut_file_and_a_tensor_too_many_are_found(self):
        report = engine.export(models / "decoder", "huggingface", self.folder / "export")
        file = self.folder / "export/model.safetensors"
        file.write_bytes(file.read_bytes()[:-64])
        self.assertGreater(self.verify(self.folder / "export", report["claims_file"]).returncode, 0)
        report = engine.export(models / "decoder", "huggingface", self.folder / "again")
        file = self.folder / "again/model.safetensors"
        save_file(load_file(file) | {"model.layers.0.self_attn.rotary.inv_freq": torch.zeros(4)}, file, {"format": "pt"})
        result = self.verify(self.folder / "again", report["claims_file"])
        self.assertIn("model.layers.0.self_attn.rotary.inv_freq", result.stderr)
        self.assertEqual(result.returncode, 1)

    def test_more_bytes_than_claimed_are_found(self):
        report = engine.export(models / "decoder", "gguf(type=Q8_0)", self.folder / "export")
        claims = report["claims"] | {"bytes": report["claims"]["bytes"] * 98 // 100}
        (self.folder / "claims.json").write_text(json.dumps(claims))
        result = self.verify(self.folder / "export", self.folder / "claims.json")
        self.assertEqual(result.returncode, 1)
        self.assertIn("claims.bytes", result.stderr)


# Model, --to, and what the error must say: where, what, and the way out.
REFUSED = [
    ("decoder", "ggufs", ["to", "gguf"]),
    ("decoder", "compressed_tensor", ["compressed-tensors"]),
    ("decoder", "gguf(typ=Q4_0)", ["typ", "type"]),
    ("decoder", "gguf(type=Q4_9)", ["to.params.type", "Q4_9", "Q4_0"]),
    ("decoder", "gguf(tensor_types=attn_v)", ["to.params.tensor_types", "attn_v", "q6_K"]),
    ("decoder", "gguf(tensor_types=attn_v=Q7)", ["to.params.tensor_types", "Q7", "Q8_0"]),
    ("decoder", "gguf(tensor_types=attn_w=Q6_K)", ["to.params.tensor_types", "attn_w", "blk.0."]),
    ("decoder", "huggingface(dtype=float8)", ["dtype", "bfloat16"]),
    ("decoder", "huggingface(shard_bytes=10)", ["shard_bytes", "1000000"]),
    ("decoder", "huggingface(", ["to"]),
    ("decoder", "gptq-checkpoint", ["to", "rtn("]),
    ("decoder", "awq-checkpoint", ["to", "rtn("]),
    ("decoder", "compressed-tensors", ["to", "rtn("]),
    ("classifier", "gguf", ["classifier.", "would be lost", "onnx"]),
    ("tanh-encoder", "gguf", ["config.json.hidden_act", "gelu"]),
    ("cased", "gguf", ["tokenizer.json.normalizer", "llama.cpp"]),
    ("rtn4-encoder", "gptq-checkpoint", ["to", "encoder"]),
    ("foreign-tokenizer", "gguf", ["tokenizer.json", "<|beyond|>", "384"]),
    ("rtn5", "gptq-checkpoint", ["model.layers.0.", "5-bit", "compressed-tensors"]),
    ("rtn5", "awq-checkpoint", ["model.layers.0.", "4 bits"]),
    ("rtn4-narrow", "gptq-checkpoint", ["model.layers.0.mlp", "100", "compressed-tensors"]),
    ("rtn4-narrow", "awq-checkpoint", ["model.layers.0.mlp", "100", "ignore"]),
    ("zero-of-0", "gptq-checkpoint", ["model.layers.0.self_attn.q_proj", "zero point", "gptq_v2"]),
    ("rtn4-partly", "gptq-checkpoint", ["model.layers.1.mlp.up_proj", "compressed-tensors"]),
    ("rtn4-mixed", "gptq-checkpoint", ["up_proj", "group size", "compressed-tensors"]),
    ("rtn4-mixed", "awq-checkpoint", ["up_proj", "group size", "compressed-tensors"]),
]


class BadInput(unittest.TestCase):
    def refused(self, model, to, expected, code=2, out="export", arguments=()):
        with tempfile.TemporaryDirectory() as folder:
            result = engine.call("export", model, "--to", to, "--out", Path(folder) / out, *arguments)
            self.assertEqual(result.returncode, code, result.stderr)
            for text in expected:
                self.assertIn(text, result.stderr)
            self.assertEqual(list(Path(folder).iterdir()), [])
            print(f"ok     {to} of {Path(model).name}: {' '.join(result.stderr.split())[:150]}", flush=True)

    def test_what_a_format_cannot_hold_is_refused_and_nothing_is_left(self):
        for model, to, expected in REFUSED:
            with self.subTest(model=model, to=to):
                self.refused(models / model, to, expected)

    def test_tokens_that_the_embedding_has_no_row_for(self):
        with tempfile.TemporaryDirectory() as folder:
            model = Path(folder) / "mismatched"
            shutil.copytree(models / "decoder", model)
            rows = json.loads((model / "config.json").read_text())["vocab_size"]
            for tokenizer in ({"model": {"vocab": {"a": 0, "b": rows}}}, {"added_tokens": [{"id": rows, "content": "b"}]}):
                (model / "tokenizer.json").write_text(json.dumps(tokenizer))
                for to in ("huggingface", "compressed-tensors", "onnx", "wring"):
                    self.refused(model, to, ["tokenizer.json", f"has the id {rows}", f"{rows} rows"])

    def test_an_importance_matrix_that_is_not_there(self):
        self.refused(models / "decoder", "gguf(imatrix=nowhere.dat)", ["to.params.imatrix", "nowhere.dat"], code=3)

    def test_a_model_that_is_not_there(self):
        self.refused(models / "nowhere", "huggingface", ["nowhere"], code=3)

    def test_a_folder_that_is_there_already_is_left_as_it_is(self):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "kept").write_text("mine")
            result = engine.call("export", models / "decoder", "--to", "huggingface", "--out", folder)
            self.assertEqual(result.returncode, 2)
            self.assertIn("out", result.stderr)
            self.assertEqual([path.name for path in Path(folder).iterdir()], ["kept"])


if __name__ == "__main__":
    engine, rest = support.command_line(__doc__)
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as made:
        models = Path(made)
        make_models(models)
        unittest.main(argv=[sys.argv[0], *rest])
