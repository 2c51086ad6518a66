#!/usr/bin/env python3
"""Damages ONNX exports and sees `wring-engine verify` and the importer refuse them, and asks for exports that cannot be.

    onnx_damage.py [--bin build/release/bin] [-v] [TEST...]     e.g. onnx_damage.py Damage
"""
import os
import sys
import unittest
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import numpy as np  # noqa: E402
import onnx  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from onnx import numpy_helper  # noqa: E402

import export_support as support  # noqa: E402
import onnx_parity  # noqa: E402
from export_support import DATA  # noqa: E402
from onnx_parity import MODEL, Onnx  # noqa: E402
from random_models import make_encoder, randomise, save, wordpiece_tokenizer  # noqa: E402

engine = None  # set by main(), there too
LAYER = "model.layers.1.mlp.down_proj"
# Artifact's recipe: initializers of which a bit is flipped.
DAMAGED = {
    "rtn(bits=4, group_size=32, symmetric=false)": [f"{LAYER}.codes", f"{LAYER}.scales", f"{LAYER}.zeros", "model.embed_tokens.weight",
                                                   "model.norm.weight", "model.layers.2.self_attn.q_proj.bias", "lm_head.weight_t"],
    "rtn(bits=8, group_size=-1)": [f"{LAYER}.codes_t"],
    "svd(rank=8)": [f"{LAYER}.b_t"],
}


class Damage(Onnx):
    def verify(self, claims):
        return engine.call("verify", self.folder / "export", "--claims", claims)

    def refused(self, claims, what):
        result = self.verify(claims)
        self.assertIn(result.returncode, (1, 2), what + result.stdout + result.stderr)  # no signal
        self.assertTrue(result.stderr.startswith("error: "), result.stderr)
        print(f"ok     onnx: {what}: {' '.join(result.stderr.split())[:120]}", flush=True)

    def test_another_scale_or_zero_point_of_inputs_is_found(self):
        small = engine.compress("rtn(bits=8, group_size=-1) | static-inputs(samples=4, sequence_length=16, range=minmax)", self.decoder(),
                                self.folder / "small", "--data", f"calibration={DATA / 'calibration.txt'}")
        report, file = self.export(small, weights=False), self.folder / "export" / MODEL
        whole = file.read_bytes()
        nodes = onnx.load_from_string(whole).graph.node
        [product] = [node for node in nodes if node.name.startswith(LAYER) and node.op_type == "MatMul"]
        [rounding] = [node for node in nodes if product.input[0] in node.output]
        for name in rounding.input[1:]:
            with self.subTest(name):
                model = onnx.load_from_string(whole)
                tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
                tensor.raw_data = bytes([tensor.raw_data[0] ^ 1]) + tensor.raw_data[1:]
                file.write_bytes(model.SerializeToString())
                self.refused(report["claims_file"], f"the lowest bit of {name} flipped")
        file.write_bytes(whole)
        self.assertEqual(self.verify(report["claims_file"]).returncode, 0)

    def test_changes_of_what_is_rounded_that_no_claim_sees_are_found(self):
        """Nothing of these is a claimed tensor: the graph's run alone tells."""
        def number(name, value):
            def change(graph):
                tensor = next(tensor for tensor in graph.initializer if tensor.name == name)
                tensor.CopyFrom(numpy_helper.from_array(np.array(value, numpy_helper.to_array(tensor).dtype), name))
            return change

        def operation(before, after, which=slice(None)):
            def change(graph):
                for node in [node for node in graph.node if node.op_type == before][which]:
                    node.op_type = after
            return change

        def another_s_codes(graph):
            reader = next(node for node in graph.node if node.op_type == "MatMulInteger" and "layers.1.mlp.up_proj" in node.name)
            other = next(node for node in graph.node if node.op_type == "MatMulInteger" and "layers.0.mlp.up_proj" in node.name)
            reader.input[0] = other.input[0]

        data = ["--data", f"calibration={DATA / 'calibration.txt'}"]
        for recipe, to, changes in (("rtn(bits=8, group_size=-1) | round-inputs", "onnx", {
                "zero points of 127": number("byte_128", 127), "a step of 1 / 127": number("float32_127.5", 127), "clipped at 124": number("float32_127.0", 124),
                "nothing rounded": operation("Round", "Identity"), "rounded down": operation("Round", "Floor", slice(1)),
                "another activation": operation("Sigmoid", "Tanh", slice(1)), "another layer's codes": another_s_codes}),
                ("rtn(bits=8, group_size=-1) | round-inputs", "onnx(dtype=float16)", {
                    "a step of 1 / 127": number("float32_127.5", 127), "nothing rounded": operation("Round", "Identity", slice(1)),
                    "another activation": operation("Sigmoid", "Tanh", slice(1))}),
                ("rtn(bits=8, group_size=-1) | static-inputs(samples=4, sequence_length=16, range=minmax)", "onnx", {
                    "another activation": operation("Sigmoid", "Tanh", slice(1))})):
            self.setUp()
            small = engine.compress(recipe, self.decoder(), self.folder / "small", *data)
            report, file = self.export(small, to, weights=False), self.folder / "export" / MODEL
            whole = file.read_bytes()
            for what, change in changes.items():
                with self.subTest(what, recipe=recipe, to=to):
                    model = onnx.load_from_string(whole)
                    change(model.graph)
                    file.write_bytes(model.SerializeToString())
                    self.assertNotEqual(model.SerializeToString(), onnx.load_from_string(whole).SerializeToString())
                    self.refused(report["claims_file"], what)
            file.write_bytes(whole)
            self.assertEqual(self.verify(report["claims_file"]).returncode, 0)

    def test_a_flipped_bit_is_found(self):
        for recipe, names in DAMAGED.items():
            self.setUp()
            small = engine.compress(recipe, self.decoder(family="qwen2"), self.folder / "small")
            report, file = self.export(small, weights=False), self.folder / "export" / MODEL
            whole = file.read_bytes()
            model = onnx.load_from_string(whole)
            raw = {tensor.name: tensor.raw_data for tensor in model.graph.initializer}
            for name in names:
                with self.subTest(name):
                    self.assertEqual(whole.count(raw[name]), 1)
                    flipped = bytearray(whole)
                    flipped[whole.index(raw[name]) + len(raw[name]) // 2] ^= 1
                    file.write_bytes(flipped)
                    self.refused(report["claims_file"], f"a bit of {name} flipped")
            file.write_bytes(whole)
            self.assertEqual(self.verify(report["claims_file"]).returncode, 0)

    def test_a_changed_graph_is_found(self):
        """Names and weights are all there; what the graph computes is another thing."""
        small = engine.compress("rtn(bits=4, group_size=32)", self.decoder(), self.folder / "small")
        report, file = self.export(small), self.folder / "export" / MODEL

        def first(model, operation, scope=""):
            return next(node for node in model.graph.node if node.op_type == operation and scope in node.name)

        def swap(model):
            q, k = (next(node for node in model.graph.node if f"self_attn.{x}_proj.codes" in " ".join(node.input)) for x in ("q", "k"))
            q.name, k.name = k.name, q.name
            rotated = [node for node in model.graph.node if node.op_type == "Split"]
            rotated[0].output[0], rotated[0].output[1] = rotated[0].output[1], rotated[0].output[0]

        changes = {
            "block_size of a MatMulNBits": lambda m: setattr(next(a for a in first(m, "MatMulNBits").attribute if a.name == "block_size"), "i", 16),
            "a shape": lambda m: m.graph.initializer[[t.name for t in m.graph.initializer].index(f"{LAYER}.codes")].dims.__setitem__(0, 32),
            "halves of a rotation": swap,
            "Sin for Cos": lambda m: setattr(first(m, "Cos"), "op_type", "Sin"),
            "the epsilon's node": lambda m: setattr(first(m, "Sqrt"), "op_type", "Exp"),
        }
        for what, change in changes.items():
            with self.subTest(what):
                model = onnx.load(self.folder / "export" / MODEL)
                whole = file.read_bytes()
                change(model)
                onnx.save(model, file)
                self.refused(report["claims_file"], what)
                file.write_bytes(whole)
        self.assertEqual(self.verify(report["claims_file"]).returncode, 0)

    def test_a_changed_head_of_an_encoder_is_found(self):
        make_encoder(self.folder / "model")
        kind = transformers.BertForSequenceClassification
        model = randomise(kind(transformers.BertConfig.from_pretrained(self.folder / "model", num_labels=12)), 2)
        save(model, wordpiece_tokenizer(300), self.folder / "bert", torch.float32, "1GB")
        report, file = self.export(self.folder / "bert"), self.folder / "export" / MODEL

        def reader(model, name):
            return next(node for node in model.graph.node if name in node.input)

        def without_kinds(model):
            gather = reader(model, "token_type_ids")
            gather.input[list(gather.input).index("token_type_ids")] = "no_kinds"
            zeros = onnx.helper.make_node("Sub", ["token_type_ids", "token_type_ids"], ["no_kinds"], name="no_kinds")
            model.graph.node.insert(0, zeros)

        def without_bias(model):
            node = reader(model, "classifier.bias")
            node.op_type = "Sub"

        changes = {"Sigmoid for the pooler's Tanh": lambda m: setattr(next(n for n in m.graph.node if n.op_type == "Tanh"), "op_type", "Sigmoid"),
                   "one kind of tokens for all": without_kinds, "the classifier's bias taken away": without_bias}
        for what, change in changes.items():
            with self.subTest(what):
                whole, changed = file.read_bytes(), onnx.load(file)
                change(changed)
                onnx.save(changed, file)
                self.refused(report["claims_file"], what)
                file.write_bytes(whole)
        self.assertEqual(self.verify(report["claims_file"]).returncode, 0)

    def test_an_initializer_too_many_is_found(self):
        report, file = self.export(self.decoder()), self.folder / "export" / MODEL
        model = onnx.load(file)
        model.graph.initializer.append(numpy_helper.from_array(np.zeros(4, np.float32), "stray"))
        onnx.save(model, file)
        result = self.verify(report["claims_file"])
        self.assertEqual(result.returncode, 1, result.stdout + result.stderr)
        self.assertIn("stray", result.stderr)

    def test_damage_beside_the_graph_is_found(self):
        report = self.export(self.decoder(), "onnx(inline_bytes=0)")
        data = self.folder / "export" / (MODEL + ".data")
        whole = data.read_bytes()
        for what, bytes_ in (("a bit of the external data flipped", whole[:1000] + bytes([whole[1000] ^ 1]) + whole[1001:]),
                             ("external data cut off", whole[:-64])):
            data.write_bytes(bytes_)
            self.refused(report["claims_file"], what)


# Recipe, --to, and what the error must say: where, what, and the way out.
REFUSED = [
    ("rtn(bits=4, group_size=8)", "onnx", ["model.layers.0.self_attn.q_proj", "groups of 8", "weights=plain"]),
    ("fp8() | round-inputs(type=float8_e4m3)", "onnx", ["model.layers.0.self_attn.q_proj", "float8_e4m3", "compressed-tensors"]),
    ("fp8() | static-inputs(type=float8_e4m3, samples=4, sequence_length=16)", "onnx", ["model.layers.0.self_attn.q_proj", "float8_e4m3", "static-inputs"]),
    ("rtn(bits=4, group_size=32)", "onnx(dtype=bfloat16)", ["dtype", "float16"]),
    ("rtn(bits=4, group_size=32)", "onnx(accuracy_level=5)", ["accuracy_level", "4"]),
    ("rtn(bits=4, group_size=32)", "onnx(inline_bytes=3000000000)", ["inline_bytes", "1900000000"]),
    ("rtn(bits=4, group_size=32)", "onnx(opset=21)", ["opset"]),
]


class BadInput(Onnx):
    def test_what_onnx_cannot_hold_is_refused_and_nothing_is_left(self):
        source, made = self.decoder(), {}
        for recipe, to, expected in REFUSED:
            with self.subTest(recipe, to=to):
                small = made.setdefault(recipe, self.folder / f"small-{len(made)}")
                if not small.exists():
                    engine.compress(recipe, source, small, "--data", f"calibration={DATA / 'calibration.txt'}")
                (self.folder / "here").mkdir(exist_ok=True)
                result = engine.call("export", small, "--to", to, "--out", self.folder / "here/export")
                self.assertEqual(result.returncode, 2, result.stderr)
                for text in expected:
                    self.assertIn(text, result.stderr)
                self.assertEqual(list((self.folder / "here").iterdir()), [])
                print(f"ok     {to} of {recipe}: {' '.join(result.stderr.split())[:150]}", flush=True)

    def test_a_part_of_a_head_without_the_rest_is_named(self):
        make_encoder(self.folder / "model")
        whole = support.load_file(self.folder / "model/model.safetensors")
        for name in ("cls.seq_relationship.weight", "cls.predictions.decoder.weight"):
            with self.subTest(name):
                tensors = {key: value for key, value in whole.items() if "pooler" not in key}
                support.save_file(tensors | {name: torch.ones(2, 64)}, self.folder / "model/model.safetensors", {"format": "pt"})
                result = engine.call("export", self.folder / "model", "--to", "onnx", "--out", self.folder / "export")
                self.assertEqual(result.returncode, 2, result.stderr)
                self.assertIn(name, result.stderr)
                self.assertFalse((self.folder / "export").exists())

    def test_values_beyond_fp16_are_named(self):
        source = self.decoder()
        tensors = support.load_file(source / "model.safetensors")
        tensors["model.layers.1.mlp.up_proj.weight"][3, 4] = 1e6
        support.save_file(tensors, source / "model.safetensors", {"format": "pt"})
        result = engine.call("export", source, "--to", "onnx(dtype=float16)", "--out", self.folder / "export")
        self.assertEqual(result.returncode, 2)
        self.assertIn("model.layers.1.mlp.up_proj.weight", result.stderr)


if __name__ == "__main__":
    onnx_parity.engine, rest = support.command_line(__doc__)
    engine = onnx_parity.engine
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    unittest.main(argv=[sys.argv[0], *rest])
