#!/usr/bin/env python3
"""Loads what `wring-engine export` writes with the loaders that its formats are for: values, logits, token ids.

    export_parity.py [--bin build/release/bin] [-v] [TEST...]     e.g. export_parity.py HuggingFace

Values must equal the export's claims (SHA-256 of fp32 values) to the bit, logits wring-engine's own on the exported files
within TOLERANCE. GPTQ and AWQ checkpoints are unpacked in numpy after their layouts' description: transformers loads them with
gptqmodel, in a venv of its own, in checkpoint_parity.py, which scripts/prove exports runs.
"""
import json
import os
import shutil
import sys
import unittest
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from compressed_tensors.compressors import BaseCompressor  # noqa: E402
from compressed_tensors.compressors.pack_quantized import pack_to_int32  # noqa: E402
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme  # noqa: E402
from compressed_tensors.quantization.utils import calculate_qparams  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

import export_support as support  # noqa: E402
from export_support import DATA, HARD_TEXT, MODELS, SHAPES, TOLERANCE, Exports  # noqa: E402
from random_models import TEXT, make_decoder, make_encoder  # noqa: E402

engine = None  # set by main()


def load_compressed(test, path, symmetric, **options):
    """compressed-tensors 0.19 loads no asymmetric pack-quantized model, not even its own, but by dequantising at load: on
    the meta device it packs the weights and not the zero points."""
    if not symmetric:
        options["quantization_config"] = transformers.CompressedTensorsConfig(dequantize=True)
    return test.load(path, **options)


class CompressedTensors(Exports):
    def check(self, shape, bits, group, symmetric):
        source = self.model(**SHAPES[shape])
        if "odd" in shape and group > 0:
            group = 4
        recipe = f"rtn(bits={bits}, group_size={group}, symmetric={str(symmetric).lower()})"
        small = engine.compress(recipe, source, self.folder / "small")
        # Dequantising at load computes in the type of the scales: in fp32 nothing is rounded.
        to = "compressed-tensors" if symmetric else "compressed-tensors(dtype=float32)"
        report = engine.export(small, to, self.folder / "export")
        model = load_compressed(self, self.folder / "export", symmetric)
        logits = self.assert_same_outputs(model, self.folder / "export", model.config.vocab_size)  # decompresses at its first forward
        self.assert_claimed(report, support.state_of(model))
        self.row(["transformers", "compressed-tensors"], f"{to}, {recipe}, {shape}: weights equal, {logits}")

    def test_weights_are_equal_and_logits_agree_at_every_width(self):
        """Group and channel, symmetric and not, in turn and on shapes in turn; PackedTensors has all combinations."""
        shapes = list(SHAPES)
        for number, bits in enumerate((2, 3, 4, 5, 6, 8)):
            for group, symmetric in ((32, number % 2 == 0), (-1, number % 2 == 1)):
                shape = shapes[(number + 3 * (group < 0)) % len(shapes)]
                with self.subTest(bits=bits, group=group, symmetric=symmetric, shape=shape):
                    self.setUp()
                    self.check(shape, bits, group, symmetric)

    def test_values_in_the_type_of_the_scales_are_rounded_once(self):
        for dtype in (torch.float16, torch.bfloat16):
            with self.subTest(dtype=dtype):
                self.setUp()
                name = str(dtype).removeprefix("torch.")
                small = engine.compress("rtn(bits=5, group_size=32, symmetric=false)", self.model(), self.folder / "small")
                report = engine.export(small, f"compressed-tensors(dtype={name})", self.folder / "export")
                model = load_compressed(self, self.folder / "export", False, dtype="auto")
                tensors = load_file(self.folder / "export/model.safetensors")
                exact = {f"{layer}.weight": support.compressed_weight(tensors, layer, 5) for layer in
                         (name.removesuffix(".weight_packed") for name in tensors if name.endswith(".weight_packed"))}
                exact |= {name: value.float().numpy() for name, value in tensors.items() if name.endswith(".weight")}
                self.assert_claimed(report, exact)
                for layer, rounded in model.named_parameters():
                    self.assertEqual(rounded.dtype, dtype)
                    self.assertTrue(torch.equal(rounded, torch.from_numpy(exact[layer]).to(dtype)), layer)
                self.row(["transformers", "compressed-tensors"], f"compressed-tensors in {name}: weights rounded once")

    def check_rounded(self, recipe, wanted_format, most):
        """What rounding does to the logits is as large in transformers, and at most the share `most` of it lies between: a value
        half-way between two points of its grid goes up or down by the last bit of a sum. int8's largest always lies so."""
        source = self.model()
        small = engine.compress(recipe, source, self.folder / "small", *self.calibration(recipe))
        plain = engine.compress(recipe.split(" | ")[0], source, self.folder / "plain")
        report = engine.export(small, "compressed-tensors(dtype=float32)", self.folder / "export")
        config = json.loads((self.folder / "export/config.json").read_text())["quantization_config"]
        self.assertEqual(config["format"], wanted_format)
        model = self.load(self.folder / "export")
        ids = torch.randint(0, model.config.vocab_size, (2, 48), generator=torch.Generator().manual_seed(5))
        with torch.no_grad():
            theirs = model(input_ids=ids).logits.float()
        self.assert_claimed(report, support.state_of(model))
        ours, without = engine.logits(self.folder / "export", ids), engine.logits(plain, ids)
        between, their_effect, our_effect = ((a - b).square().mean().sqrt().item() for a, b in ((theirs, ours), (theirs, without), (ours, without)))
        self.assertGreater(our_effect, 20 * TOLERANCE)
        self.assertLess(abs(their_effect / our_effect - 1), 0.1)
        self.assertLess(between, most * our_effect)
        self.row(["transformers", "compressed-tensors"], f"{recipe}, {wanted_format}: weights equal, rounding moves logits by {our_effect:.3g} here, "
                 f"{their_effect:.3g} there, {between:.1g} apart")

    def test_inputs_that_are_rounded_as_they_come(self):
        for recipe, wanted, most in (("fp8() | round-inputs(type=float8_e4m3)", "float-quantized", 0.3),
                                     ("fp8(block=16) | round-inputs(type=float8_e4m3, group_size=16)", "float-quantized", 0.3),
                                     ("rtn(bits=8, group_size=-1) | round-inputs()", "int-quantized", 0.6),
                                     ("rtn(bits=4, group_size=32) | round-inputs()", "pack-quantized", 0.6)):
            with self.subTest(recipe):
                self.setUp()
                self.check_rounded(recipe, wanted, most)

    def test_inputs_that_are_rounded_on_one_scale(self):
        inputs = "static-inputs(samples=8, sequence_length=32, {})".format
        for recipe, wanted in ((f"rtn(bits=8, group_size=-1) | {inputs('scale_dtype=float32')}", "int-quantized"),
                               (f"rtn(bits=8, group_size=-1) | {inputs('symmetric=true')}", "int-quantized"),
                               (f"fp8() | {inputs('type=float8_e4m3')}", "float-quantized"),
                               (f"fp8(block=0) | {inputs('type=float8_e4m3')}", "float-quantized"),
                               (f"rtn(bits=4, group_size=32) | {inputs('range=minmax')}", "pack-quantized")):
            with self.subTest(recipe):
                self.setUp()
                self.check_rounded(recipe, wanted, 0.05)

    def test_ranges_of_inputs_give_the_reference_s_scales_and_zero_points(self):
        """compressed-tensors' calculate_qparams on the least and greatest inputs that transformers' layers see of the same tokens. Here values are
        rounded to bfloat16 before their range is taken."""
        source, text = self.model(), "\n".join(TEXT * 200)
        recipe = "static-inputs(samples=8, sequence_length=32, range=minmax, scale_dtype=float32, propagate=dense)"
        small = engine.compress(recipe, source, self.folder / "small", *self.calibration(recipe))
        ids = torch.tensor(engine.tokens(source, text, self.folder)[:8 * 32]).reshape(8, 32)
        model, seen = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32), {}
        for name, module in model.named_modules():
            if isinstance(module, torch.nn.Linear) and name != "lm_head":
                module.register_forward_pre_hook(lambda _, inputs, name=name: seen.update({name: torch.aminmax(inputs[0])}))
        with torch.no_grad():
            model(input_ids=ids)
        layers = json.loads((small / "wring.json").read_text())["layers"]
        made = {name: layer["attributes"] for name, layer in layers.items() if layer["rep"] == "rounded-input"}
        self.assertEqual(set(made), set(seen))
        self.assertEqual(len(made), 3 * 7)
        for name, (low, high) in seen.items():
            scale, zero = calculate_qparams(low.reshape(1), high.reshape(1), QuantizationArgs(num_bits=8, type="int", symmetric=False, strategy="tensor"))
            self.assertAlmostEqual(made[name]["scale"] / scale.item(), 1, delta=2**-8, msg=name)
            self.assertLessEqual(abs(made[name]["zero"] - zero.item()), 1, name)
        self.assertGreater(max(abs(layer["zero"]) for layer in made.values()), 5)
        self.row(["compressed-tensors"], f"static-inputs: {len(made)} scales and zero points as calculate_qparams gives them for what transformers' layers see")

    def test_a_scale_that_the_type_does_not_hold_is_refused(self):
        recipe = "rtn(bits=8, group_size=-1) | static-inputs(samples=8, sequence_length=32, scale_dtype=float32)"
        small = engine.compress(recipe, self.model(), self.folder / "small", *self.calibration(recipe))
        result = engine.call("export", small, "--to", "compressed-tensors", "--out", self.folder / "export")
        self.assertEqual(result.returncode, 2, result.stderr)
        for part in ("model.layers.0.self_attn.q_proj", "float16", "scale_dtype"):
            self.assertIn(part, result.stderr)

    def calibration(self, recipe):
        text = self.folder / "text.txt"
        text.write_text("\n".join(TEXT * 200))
        return ["--data", f"calibration={text}"] if "samples" in recipe else []

    def test_weights_in_eight_bit_floats(self):
        for recipe in ("fp8(scale_dtype=bfloat16)", "fp8(block=0)", "fp8(block=48)", "fp8(block=128)",
                       "gptq-float(format=fp8, block=48, samples=8, sequence_length=32)"):
            with self.subTest(recipe):
                self.setUp()
                small = engine.compress(recipe, self.model(), self.folder / "small", *self.calibration(recipe))
                report = engine.export(small, "compressed-tensors(dtype=float32)", self.folder / "export")
                model = self.load(self.folder / "export")
                logits = self.assert_same_outputs(model, self.folder / "export", model.config.vocab_size)
                self.assert_claimed(report, support.state_of(model))
                self.row(["transformers", "compressed-tensors"], f"{recipe}: weights equal, {logits}")

    def test_weights_in_four_bit_floats(self):
        """compressed-tensors decompresses them to bfloat16, which holds each exactly."""
        plain = transformers.AutoModelForCausalLM.from_pretrained(self.model(), dtype=torch.float32).eval()
        walk = "gptq-float(format={}, samples=8, sequence_length=32)".format
        for recipe, wanted in (("fp4()", "nvfp4-pack-quantized"), ("fp4(format=mxfp4)", "mxfp4-pack-quantized"),
                               (walk("nvfp4"), "nvfp4-pack-quantized"), (walk("mxfp4"), "mxfp4-pack-quantized")):
            with self.subTest(recipe):
                name = recipe.partition("(")[0] + wanted.partition("-")[0]
                small = engine.compress(recipe, self.folder / "model", self.folder / name, *self.calibration(recipe))
                report = engine.export(small, "compressed-tensors", self.folder / f"{name}-export")
                config = json.loads((self.folder / f"{name}-export/config.json").read_text())["quantization_config"]
                self.assertEqual(config["format"], wanted)
                model = self.load(self.folder / f"{name}-export", dtype="auto")
                self.assertEqual(model.dtype, torch.bfloat16)
                with torch.no_grad():
                    model(input_ids=torch.zeros(1, 2, dtype=torch.long))  # decompresses
                self.assert_claimed(report, support.state_of(model))
                plain.load_state_dict({key: value.float() for key, value in model.state_dict().items() if key in plain.state_dict()})
                logits = self.assert_same_outputs(plain, self.folder / f"{name}-export", model.config.vocab_size)
                self.row(["transformers", "compressed-tensors"], f"{recipe}, {wanted}: weights equal, {logits}")

    def test_layers_that_loaders_fuse_share_the_divisor_of_their_scales(self):
        """Where one of them has a large weight, and a divisor of its own in the artifact."""
        source, layer = self.model(), "model.layers.1.self_attn"
        tensors = load_file(source / "model.safetensors")
        tensors[f"{layer}.k_proj.weight"][3, 5] = 40
        save_file(tensors, source / "model.safetensors", {"format": "pt"})
        small = engine.compress("fp4()", source, self.folder / "small")
        report = engine.export(small, "compressed-tensors(dtype=bfloat16)", self.folder / "export")
        written = load_file(self.folder / "export/model.safetensors")
        divisors = {name: value.item() for name, value in written.items() if name.endswith("weight_global_scale")}
        self.assertEqual({divisors[f"{layer}.{part}_proj.weight_global_scale"] for part in "qkv"}, {64.0})
        self.assertEqual(divisors[f"{layer}.o_proj.weight_global_scale"], 256.0)
        self.assertEqual(divisors["model.layers.0.self_attn.q_proj.weight_global_scale"], 256.0)
        model = self.load(self.folder / "export", dtype=torch.bfloat16)
        with torch.no_grad():
            model(input_ids=torch.zeros(1, 2, dtype=torch.long))  # decompresses
        self.assert_claimed(report, support.state_of(model))
        self.row(["transformers", "compressed-tensors"], "fp4() with a weight of 40 in one of q, k and v: one divisor for the three, weights equal")

    def test_groups_of_several_formats(self):
        file = self.folder / "mixed.yaml"
        file.write_text("stages:\n  - {method: fp8, targets: ['re:.*mlp.*']}\n"
                        "  - {method: rtn, params: {bits: 4, group_size: 32}, targets: ['re:.*self_attn.*']}\n")
        small = engine.compress(file, self.model(), self.folder / "small")
        report = engine.export(small, "compressed-tensors(dtype=float32)", self.folder / "export")
        model = self.load(self.folder / "export")
        logits = self.assert_same_outputs(model, self.folder / "export", model.config.vocab_size)
        self.assert_claimed(report, support.state_of(model))
        self.row(["transformers", "compressed-tensors"], f"mixed-precision, fp8 and 4 bits: weights equal, {logits}")

    def test_an_encoder(self):
        make_encoder(self.folder / "model")
        small = engine.compress("rtn(bits=4, group_size=32)", self.folder / "model", self.folder / "small")
        report = engine.export(small, "compressed-tensors", self.folder / "export")
        model = self.load(self.folder / "export", transformers.AutoModel)
        states = self.assert_same_outputs(model, self.folder / "export", 300)
        self.assert_claimed(report, support.state_of(model))
        self.row(["transformers", "compressed-tensors"], f"compressed-tensors, BERT: weights equal, hidden states: {states}")


def nibbles_of(packed):
    """Codes of four-bit floats, a negative zero as a positive one."""
    codes = torch.stack([packed & 15, packed >> 4], -1)
    return torch.where(codes == 8, torch.zeros_like(codes), codes)


class PackedTensors(Exports):
    """Artifacts made here of random codes, so that every width and shape occurs; nothing is quantised by the engine."""

    # hidden, ffn, heads, KV heads, head size, groups of a row of hidden / heads * size / ffn values
    SIZES = [(64, 96, 4, 2, 16), (63, 101, 3, 1, 22), (40, 33, 5, 5, 6), (35, 7, 7, 7, 2), (96, 160, 2, 1, 50)]

    def artifact(self, number, symmetric):
        hidden, ffn, heads, kv_heads, head_dim = self.SIZES[number]
        plain, rng = self.folder / "plain", np.random.default_rng([number, symmetric])
        make_decoder(plain, hidden_size=hidden, intermediate_size=ffn, num_attention_heads=heads, num_key_value_heads=kv_heads,
                     head_dim=head_dim, num_hidden_layers=4)
        layers = {}
        for name, weight in load_file(plain / "model.safetensors").items():
            if weight.dim() != 2 or "embed" in name or "lm_head" in name:
                continue
            divisors = [n for n in range(2, weight.shape[1] + 1) if weight.shape[1] % n == 0]
            layers[name.removesuffix(".weight")] = support.random_grid(rng, tuple(weight.shape), 1 + len(layers) % 8,
                                                                       int(rng.choice(divisors)), symmetric)
        return support.write_artifact(plain, self.folder / "artifact", layers), layers

    def test_equal_the_reference_packer_byte_for_byte_and_what_it_unpacks(self):
        matrices = 0
        for number in range(len(self.SIZES)):
            for symmetric in (True, False):
                self.setUp()
                artifact, layers = self.artifact(number, symmetric)
                engine.export(artifact, "compressed-tensors", self.folder / "export")
                written = load_file(self.folder / "export" / "model.safetensors")
                for name, grid in layers.items():
                    self.check(name, grid, {part: written.get(f"{name}.{part}") for part in
                                            ("weight_packed", "weight_scale", "weight_zero_point", "weight_shape")})
                    matrices += 1
        self.assertGreaterEqual(matrices, 200)
        self.row(["compressed-tensors"], f"pack-quantized, 1 to 8 bits: {matrices} matrices equal pack_to_int32's bytes")

    def test_bytes_and_small_floats_equal_the_reference_compressors(self):
        """What compressed-tensors unpacks and packs again is what was written, but for the sign of zero in four bits."""
        for recipe in ("rtn(bits=8, group_size=-1) | round-inputs()", "fp8() | round-inputs(type=float8_e4m3)", "fp8(block=0)", "fp8(block=16)", "fp8(block=128)",
                       "fp4()", "fp4(format=mxfp4)"):
            matrices = 0
            odd = 64 if "fp4" in recipe else 67  # groups divide rows, not columns
            for number, (hidden, ffn, heads) in enumerate(((64, 96, {}), (96, 160, {}),
                                                           (32, odd, {"head_dim": 18, "num_attention_heads": 16, "num_key_value_heads": 1}))):
                self.setUp()
                plain = self.model(num_hidden_layers=10, hidden_size=hidden, intermediate_size=ffn, vocab_size=300 + number, **heads)
                small = engine.compress(recipe, plain, self.folder / "small")
                engine.export(small, "compressed-tensors", self.folder / "export")
                written = load_file(self.folder / "export/model.safetensors")
                config = json.loads((self.folder / "export/config.json").read_text())["quantization_config"]
                [group] = config["config_groups"].values()
                scheme = QuantizationScheme(**group)
                for layer in (name.removesuffix(".weight_scale") for name in written if name.endswith(".weight_scale")):
                    with self.subTest(recipe, layer=layer):
                        self.check_packed_again(scheme, {part: written[f"{layer}.{part}"] for part in
                                                         ("weight", "weight_packed", "weight_scale", "weight_global_scale")
                                                         if f"{layer}.{part}" in written})
                        matrices += 1
            self.assertGreaterEqual(matrices, 200)
            self.row(["compressed-tensors"], f"{config['format']}, {recipe}: {matrices} matrices equal its compressor's bytes")

    def check_packed_again(self, scheme, stored):
        compressor = BaseCompressor.get_value_from_registry(scheme.format)
        plain = {"weight": compressor.decompress(dict(stored), scheme)["weight"].float(), "weight_scale": stored["weight_scale"].float()}
        if "weight_global_scale" in stored:
            plain["weight_global_scale"] = stored["weight_global_scale"]
        if scheme.format == "mxfp4-pack-quantized":
            plain["weight_scale"] = torch.exp2(plain["weight_scale"] - 127)
        packed = compressor.compress(plain, scheme)
        for part in stored.keys() & {"weight", "weight_packed"}:
            ours, theirs = (nibbles_of(tensors[part]) if part == "weight_packed" else tensors[part].float() for tensors in (stored, packed))
            self.assertEqual(stored[part].dtype, packed[part].dtype)
            self.assertTrue(torch.equal(ours, theirs), part)

    def check(self, name, grid, stored):
        bits, middle = grid["bits"], 1 << (grid["bits"] - 1)
        signed = torch.from_numpy((grid["codes"].astype(np.int16) - middle).astype(np.int8))
        self.assertTrue(torch.equal(stored["weight_packed"], pack_to_int32(signed, bits)), name)
        self.assertEqual(stored["weight_shape"].tolist(), list(signed.shape))
        symmetric = grid["zeros"] is None
        self.assertEqual(stored["weight_zero_point"] is None, symmetric)
        if not symmetric:
            zeros = torch.from_numpy((grid["zeros"].astype(np.int16) - middle).astype(np.int8))
            self.assertTrue(torch.equal(stored["weight_zero_point"], pack_to_int32(zeros, bits, packed_dim=0)), name)
        group = grid["codes"].shape[1] // grid["scales"].shape[1]
        scheme = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(num_bits=bits, symmetric=symmetric,
                                                                                 strategy="group", group_size=group))
        tensors = {part: value for part, value in stored.items() if value is not None}
        tensors["weight_scale"] = tensors["weight_scale"].float()
        values = BaseCompressor.get_value_from_registry("pack-quantized").decompress(tensors, scheme)["weight"]
        self.assertTrue(np.array_equal(values.numpy(), support.grid_values(grid)), name)

    def test_a_model_of_many_schemes_loads(self):
        artifact, _ = self.artifact(1, True)
        report = engine.export(artifact, "compressed-tensors", self.folder / "export")
        config = json.loads((self.folder / "export/config.json").read_text())["quantization_config"]
        self.assertGreater(len(config["config_groups"]), 8)
        model = self.load(self.folder / "export")
        logits = self.assert_same_outputs(model, self.folder / "export", 384)
        self.assert_claimed(report, support.state_of(model))
        self.row(["transformers", "compressed-tensors"], f"compressed-tensors, {len(config['config_groups'])} groups: "
                 f"weights equal, {logits}")


class HuggingFace(Exports):
    def check(self, what, to, kind=transformers.AutoModelForCausalLM, shards=1, **options):
        source = self.folder / "model"
        if not source.exists():
            self.model(**options)
        report = engine.export(source, to, self.folder / "export")
        self.assertEqual(len(list((self.folder / "export").glob("*.safetensors"))), shards)
        model = self.load(self.folder / "export", kind)
        self.assert_claimed(report, support.state_of(model))
        outputs = self.assert_same_outputs(model, self.folder / "export", model.config.vocab_size)
        self.row(["transformers"], f"{to}, {what}: weights equal, {outputs}")

    def test_fp32(self):
        self.check("head size not hidden / heads", "huggingface(dtype=float32)", head_dim=24)

    def test_bf16(self):
        self.check("qwen2, tied head", "huggingface", family="qwen2", tie_word_embeddings=True)

    def test_fp16_of_an_artifact(self):
        plain = self.model()
        engine.compress("rtn(bits=4, group_size=32)", plain, self.folder / "small")
        plain.rename(self.folder / "plain")
        (self.folder / "small").rename(plain)
        self.check("rtn, 4 bits", "huggingface(dtype=float16)")

    def test_shards(self):
        self.check("vocabulary of 6000", "huggingface(dtype=float32, shard_bytes=1000000)", shards=4, vocab_size=6000)

    def test_an_encoder_keeps_its_pooler_through_an_artifact(self):
        make_encoder(self.folder / "model")
        self.check("BERT", "huggingface(dtype=float32)", transformers.AutoModel)
        self.setUp()
        make_encoder(self.folder / "plain")
        engine.compress("rtn(bits=8, group_size=32)", self.folder / "plain", self.folder / "model")
        self.check("BERT, rtn", "huggingface(dtype=float32)", transformers.AutoModel)

    def test_a_head_that_is_not_known_is_named(self):
        make_encoder(self.folder / "model")
        file = self.folder / "model/model.safetensors"
        save_file(load_file(file) | {"regressor.weight": torch.ones(1, 64), "embeddings.position_ids": torch.arange(4)}, file, {"format": "pt"})
        report = engine.export(self.folder / "model", "huggingface(dtype=float32)", self.folder / "export")
        self.assertEqual(report["not_read"], ["regressor.weight"])
        ran = json.loads(engine.run("run", "rtn(bits=8, group_size=-1) | magnitude(pattern=0.5)", "--model", self.folder / "model", "--out",
                                    self.folder / "small", "--quiet", "--json"))
        self.assertEqual([stage["report"].get("not_read") for stage in ran["stages"]], [["regressor.weight"], None])

    def test_a_classifier_keeps_its_head(self):
        make_encoder(self.folder / "bert")
        config = transformers.BertConfig.from_pretrained(self.folder / "bert", num_labels=5)
        torch.manual_seed(0)
        made = transformers.BertForSequenceClassification(config)
        made.save_pretrained(self.folder / "model")
        transformers.AutoTokenizer.from_pretrained(self.folder / "bert").save_pretrained(self.folder / "model")
        report = engine.export(self.folder / "model", "huggingface(dtype=float32)", self.folder / "export")
        model = self.load(self.folder / "export", transformers.AutoModelForSequenceClassification)
        self.assert_claimed(report, support.state_of(model))
        ids = torch.arange(5, 40)[None]
        with torch.no_grad():
            self.assertTrue(torch.equal(model(ids).logits, made.eval()(ids).logits))
        self.row(["transformers"], "huggingface, BERT with a classifier: logits equal to the bit")


class GptqAndAwq(Exports):
    def check(self, to, recipe, shape, weight_of):
        small = engine.compress(recipe, self.model(**SHAPES[shape]), self.folder / "small")
        report = engine.export(small, to, self.folder / "export")
        tensors = load_file(self.folder / "export/model.safetensors")
        config = json.loads((self.folder / "export/config.json").read_text())["quantization_config"]
        layers = {name.removesuffix(".qweight") for name in tensors if name.endswith(".qweight")}
        values = {f"{layer}.weight": weight_of(tensors, layer, config) for layer in layers}
        values |= {name: value.float().numpy() for name, value in tensors.items() if name.endswith((".weight", ".bias"))}
        self.assert_claimed(report, values)
        print(f"ok     numpy {np.__version__}: {to}, {recipe}, {shape}: {len(layers)} weights equal", flush=True)
        return config

    def test_gptq(self):
        shapes = ["2 query heads a KV head", "qwen2 (biases)", "qwen2, tied head", "tied head"]
        for number, bits in enumerate((2, 3, 4, 8)):
            for checkpoint, symmetric, group in (("gptq", number % 2 == 0, 32), ("gptq_v2", number % 2 == 1, -1)):
                with self.subTest(bits=bits, checkpoint=checkpoint, symmetric=symmetric, group=group):
                    self.setUp()
                    offset = {"gptq": 1, "gptq_v2": 0}[checkpoint]
                    config = self.check(
                        f"gptq-checkpoint(checkpoint_format={checkpoint})",
                        f"rtn(bits={bits}, group_size={group}, symmetric={str(symmetric).lower()})", shapes[number],
                        lambda tensors, layer, config: support.gptq_weight(tensors, layer, config["bits"], offset))
                    self.assertEqual((config["bits"], config["sym"], config["group_size"], config["checkpoint_format"]),
                                     (bits, symmetric, group, checkpoint))
                    self.assertEqual(json.loads((self.folder / "export/quantize_config.json").read_text()), config)

    def test_awq(self):
        for shape, symmetric, group in (("qwen2, tied head", False, 32), ("2 query heads a KV head", True, 16)):
            with self.subTest(shape=shape):
                self.setUp()
                config = self.check("awq-checkpoint", f"rtn(bits=4, group_size={group}, symmetric={str(symmetric).lower()})",
                                       shape, lambda tensors, layer, config: support.awq_weight(tensors, layer))
                self.assertEqual((config["bits"], config["group_size"], config["version"]), (4, group, "gemm"))

    def test_transformers_reads_the_configurations(self):
        for to in ("gptq-checkpoint", "awq-checkpoint"):
            self.setUp()
            small = engine.compress("rtn(bits=4, group_size=32)", self.model(), self.folder / "small")
            engine.export(small, to, self.folder / "export")
            config = transformers.AutoConfig.from_pretrained(self.folder / "export").quantization_config
            parsed = transformers.quantizers.AutoQuantizationConfig.from_dict(config)
            self.assertEqual((parsed.bits, parsed.group_size), (4, 32))


class BitsAndBytes(Exports):
    """Folders as bitsandbytes writes them, made in numpy; nothing here quantises."""

    def check(self, dtype, nested, **options):
        plain, rng = self.model(**options), np.random.default_rng(nested)
        tensors, stored, meant = load_file(plain / "model.safetensors"), {}, {}
        for name, weight in tensors.items():
            if name.endswith("proj.weight"):
                made, values = support.nf4(weight.numpy(), name, rng, dtype, nested)
                stored |= {key: torch.from_numpy(np.ascontiguousarray(value).copy()) for key, value in made.items()}
                meant[name] = torch.from_numpy(values).to(getattr(torch, dtype))
            else:
                stored[name] = meant[name] = weight
        for folder, content in (("nf4", stored), ("dense", meant)):
            shutil.copytree(plain, self.folder / folder)
            save_file(content, self.folder / folder / "model.safetensors", {"format": "pt"})
        config = json.loads((plain / "config.json").read_text())
        config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4",
                                         "bnb_4bit_use_double_quant": nested, "bnb_4bit_compute_dtype": dtype}
        (self.folder / "nf4/config.json").write_text(json.dumps(config))
        report = engine.export(self.folder / "nf4", "huggingface(dtype=float32)", self.folder / "export")
        self.assert_claimed(report, {name: value.float().numpy() for name, value in meant.items()})
        ids = torch.arange(40)[None]
        self.assertTrue(torch.equal(engine.logits(self.folder / "nf4", ids), engine.logits(self.folder / "dense", ids)))
        print(f"ok     numpy {np.__version__}: bitsandbytes nf4, {dtype}{', double quantisation' if nested else ''}: weights equal", flush=True)

    def test_nf4(self):
        self.check("bfloat16", False)

    def test_double_quantisation_with_blocks_across_rows(self):
        self.check("float32", True, hidden_size=72, intermediate_size=101, num_attention_heads=6, num_key_value_heads=3)


@support.whole_models
class SmolLM2(Exports):
    """The model of 135 million weights that the project measures with; its GPTQ and AWQ checkpoints: scripts/prove exports."""

    def setUp(self):
        super().setUp()
        self.source = MODELS / "smollm2-offgrid"
        if not self.source.is_dir():
            self.skipTest("run scripts/models --offgrid")

    def ids(self):
        tokenizer = transformers.AutoTokenizer.from_pretrained(self.source)
        text = (DATA / "test.txt").read_text(encoding="utf-8")[:4000]
        return tokenizer(text, add_special_tokens=False, return_tensors="pt").input_ids[:, :128]

    def compare(self, loaders, to, source, **options):
        """`source`: what is exported. -> the folder and its report."""
        folder = self.folder / to.split("(")[0]
        report = engine.export(source, to, folder)
        if "gguf" in to:
            options["gguf_file"] = next(folder.glob("*.gguf")).name
        model, ids = self.load(folder, **options), self.ids()
        with torch.no_grad():
            expected = model(input_ids=ids).logits
        self.assert_claimed(report, support.state_of(model))
        difference = (engine.logits(folder, ids) - expected).abs().max().item()
        self.assertLessEqual(difference, TOLERANCE)
        self.row(loaders, f"{to} of smollm2-offgrid: weights equal, logits within {difference:.0e}, "
                 f"{report['bits_per_weight']:.3f} bits a weight")

    def test_huggingface(self):
        self.compare(["transformers"], "huggingface", self.source)

    def test_gguf(self):
        self.compare(["transformers", "gguf"], "gguf(type=Q4_K_M)", self.source)
        file = next((self.folder / "gguf").glob("*.gguf"))
        tokenizer = transformers.AutoTokenizer.from_pretrained(self.source)
        self.assertEqual(engine.tokens(file, HARD_TEXT, self.folder), tokenizer(HARD_TEXT, add_special_tokens=False).input_ids)

    def test_compressed_tensors(self):
        small = engine.compress("rtn(bits=4, group_size=64)", self.source, self.folder / "small")
        self.compare(["transformers", "compressed-tensors"], "compressed-tensors", small)


if __name__ == "__main__":
    engine, rest = support.command_line(__doc__)
    unittest.main(argv=[sys.argv[0], *rest])
