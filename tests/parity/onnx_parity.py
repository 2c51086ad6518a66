#!/usr/bin/env python3
"""Runs what `wring-engine export --to onnx` writes in onnxruntime: outputs as the engine's own, weights as claimed, the cache.

    onnx_parity.py [--bin build/release/bin] [-v] [TEST...]     e.g. onnx_parity.py Decoder

Weights are unpacked in numpy after onnxruntime's description of MatMulNBits and DequantizeLinear, not after the engine's code.
"""
import importlib.metadata
import json
import os
import sys
import unittest
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import numpy as np  # noqa: E402
import onnx  # noqa: E402
import onnxruntime  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from onnx import numpy_helper  # noqa: E402

import export_support as support  # noqa: E402
from export_support import DATA, MODELS  # noqa: E402
from random_models import make_decoder, make_encoder, randomise, save, wordpiece_tokenizer  # noqa: E402

TOLERANCE = 3e-4  # fp32: both sides multiply the same values, in another order; logits are below 50
HALF = 0.02       # fp16, over the root mean square of the outputs: 2^-11 a value, and products here are fp32's
MODEL = "model.onnx"
engine = None  # set by main()

SHAPES = {
    "tied head, no grouping": dict(tie_word_embeddings=True, num_key_value_heads=4),
    "qwen2 (biases), head size not hidden / heads": dict(family="qwen2", head_dim=24),
    "odd sizes": dict(vocab_size=301, hidden_size=72, intermediate_size=100, num_attention_heads=6, num_key_value_heads=3),
}
ROPES = {
    "dynamic": dict(rope_type="dynamic", factor=4.0),
    "yarn": dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16),
}
# Recipe, and what the nodes of its layers are.
QUANTISED = {
    "rtn(bits=4, group_size=32)": "MatMulNBits",
    "rtn(bits=3, group_size=-1)": "MatMulNBits",
    "rtn(bits=2, group_size=32, symmetric=false)": "MatMulNBits",  # in fp16, as each third
    "rtn(bits=5, group_size=16, symmetric=false)": "MatMulNBits",
    "rtn(bits=8, group_size=-1, symmetric=false)": "DequantizeLinear",
}


def tokens(vocabulary, batch=2, count=40):
    return torch.randint(0, vocabulary, (batch, count), generator=torch.Generator().manual_seed(5))


def relative(found, expected):
    return float(np.sqrt(np.square(found - expected).mean() / np.square(expected).mean()))


def open_session(folder, rounding=False, precise=False):
    """`rounding`: by default onnxruntime rounds to int8 what is multiplied by int8 weights of DequantizeLinear. `precise`: sums of int8 by
    uint8 do not saturate on x86 without VNNI; it fails on rows of 8 bits that are multiplied in floats."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    if precise:
        options.add_session_config_entry("session.x64quantprecision", "1")
    if not rounding:
        options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    return onnxruntime.InferenceSession(str(folder / MODEL), options, providers=["CPUExecutionProvider"])


class Session:
    """A decoder as its users run it: names and shapes are those of Hugging Face Optimum's exports."""

    def __init__(self, folder, rounding=False, precise=False):
        self.run = open_session(folder, rounding, precise)
        self.inputs = {given.name: given for given in self.run.get_inputs()}
        self.outputs = [made.name for made in self.run.get_outputs()]

    def empty(self, batch):
        types = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
        return {name: np.zeros([batch, given.shape[1], 0, given.shape[3]], types[given.type])
                for name, given in self.inputs.items() if name.startswith("past_key_values.")}

    def step(self, ids, mask, positions, past):
        """-> logits, and the cache with these ids in it."""
        made = dict(zip(self.outputs, self.run.run(None, {"input_ids": ids, "attention_mask": mask, "position_ids": positions, **past})))
        return made["logits"], {name: made[name.replace("past_key_values", "present")] for name in past}

    def logits(self, ids, mask=None):
        ids = np.asarray(ids)
        mask = np.ones_like(ids) if mask is None else mask
        positions = np.maximum(mask.cumsum(1) - 1, 0)
        return self.step(ids, mask, positions, self.empty(len(ids)))[0]

    def stepwise(self, ids, first):
        """`first` tokens at once, then one at a time."""
        ids = np.asarray(ids)
        past, made = self.empty(len(ids)), []
        for begin, end in [(0, first)] + [(i, i + 1) for i in range(first, ids.shape[1])]:
            positions = np.broadcast_to(np.arange(begin, end), (len(ids), end - begin)).copy()
            logits, past = self.step(ids[:, begin:end], np.ones((len(ids), end), np.int64), positions, past)
            made.append(logits)
        return np.concatenate(made, 1)


def read(folder):
    model = onnx.load(folder / MODEL)
    onnx.checker.check_model(str(folder / MODEL))
    return model


def weights_of(model):
    """{Hugging Face's name: fp32 array} of a file's initializers, as its nodes read them."""
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes = {name: node for node in reversed(model.graph.node) for name in node.input}

    def part(name):
        if f"{name}.codes" in stored:
            values = {a.name: a.i for a in nodes[f"{name}.codes"].attribute}
            rows, columns, bits, block = (values[key] for key in ("N", "K", "bits", "block_size"))
            unpack = lambda array, count: support.bits_of(array.reshape(rows, -1), bits, count).astype(np.float32)  # noqa: E731
            zeros = unpack(stored[f"{name}.zeros"], columns // block) if f"{name}.zeros" in stored else np.float32(1 << (bits - 1))
            zeros = np.broadcast_to(zeros, (rows, columns // block)).repeat(block, 1)
            scales = stored[f"{name}.scales"].astype(np.float32).reshape(rows, -1).repeat(block, 1)
            return (unpack(stored[f"{name}.codes"], columns) - zeros) * scales
        if f"{name}.codes_t" in stored:
            reader = next(node for node in model.graph.node if f"{name}.codes_t" in node.input)
            zero = reader.input[3 if reader.op_type == "MatMulInteger" else 2] if len(reader.input) > (3 if reader.op_type == "MatMulInteger" else 2) else None
            zeros = stored[zero].astype(np.float32) if zero else np.float32(0)
            return ((stored[f"{name}.codes_t"].astype(np.float32) - zeros) * stored[f"{name}.scales"]).T
        return None

    values = {}
    for name, array in stored.items():
        layer = name.rpartition(".")[0]
        if name.endswith((".codes", ".codes_t")):
            values[f"{layer}.weight"] = part(layer)
        elif name.endswith((".weight", ".bias")):
            values[name] = array.astype(np.float32)
        elif name.endswith((".weight_t", ".bias_t")):
            values[name[:-2]] = array.astype(np.float32).T
    return values


class Onnx(support.InFolder):
    def row(self, what):
        print(f"ok     onnxruntime {onnxruntime.__version__}: {what}", flush=True)

    def decoder(self, **options):
        make_decoder(self.folder / "model", seed=len(options), **options)
        return self.folder / "model"

    def export(self, source, to="onnx", weights=True):
        """-> the report; the weights in the file are the claimed ones."""
        report = engine.export(source, to, self.folder / "export")
        self.assertIn("graph_distance", report)
        if weights:
            self.assertEqual(support.unclaimed(report["claims"], weights_of(read(self.folder / "export"))), [])
        return report

    def assert_decodes(self, source, what, most=TOLERANCE, half=False):
        """All at once, in steps, and beside padding; `source`: what the engine reads."""
        run = Session(self.folder / "export")
        ids = tokens(json.loads((self.folder / "export/config.json").read_text())["vocab_size"])
        expected = engine.logits(source, ids).numpy()
        whole, steps = run.logits(ids), run.stepwise(ids, 33)
        padded = np.concatenate([np.zeros((2, 5), np.int64), ids.numpy()], 1)
        beside = run.logits(padded, np.concatenate([np.zeros((2, 5), np.int64), np.ones(ids.shape, np.int64)], 1))[:, 5:]
        apart = relative if half else lambda a, b: float(np.abs(a - b).max())
        off = [apart(logits, expected) for logits in (whole, steps, beside)]
        self.assertLessEqual(max(off), most, off)
        self.row(f"{what}: logits within {off[0]:.0e}, token by token {off[1]:.0e}, padded {off[2]:.0e}"
                 f"{' of their root mean square' if half else ''}")
        return run


class Decoder(Onnx):
    def test_shapes_in_fp32(self):
        for shape, options in SHAPES.items():
            with self.subTest(shape=shape):
                self.setUp()
                self.export(self.decoder(**options))
                self.assert_decodes(self.folder / "model", f"fp32, {shape}")

    def test_rotary_scalings(self):
        for kind, scaling in ROPES.items():
            with self.subTest(kind=kind):
                self.setUp()
                self.export(self.decoder(rope_parameters=scaling | {"rope_theta": 10000.0}, max_position_embeddings=512 if kind != "dynamic" else 24))
                session = Session(self.folder / "export")
                ids = tokens(384)
                off = float(np.abs(session.logits(ids) - engine.logits(self.folder / "model", ids).numpy()).max())
                self.assertLessEqual(off, TOLERANCE)
                self.row(f"rope {kind}: logits within {off:.0e}")

    def test_fp16(self):
        self.export(self.decoder(family="qwen2", tie_word_embeddings=True), "onnx(dtype=float16)")
        run = self.assert_decodes(self.folder / "model", "fp16, qwen2 with a tied head", HALF, half=True)
        self.assertEqual(run.inputs["past_key_values.0.key"].type, "tensor(float16)")

    def test_integers_stay_integers(self):
        for number, (recipe, operator) in enumerate(QUANTISED.items()):
            half = number % 3 == 2
            with self.subTest(recipe):
                self.setUp()
                small = engine.compress(recipe, self.decoder(), self.folder / "small")
                report = self.export(small, "onnx(dtype=float16)" if half else "onnx")
                operators = [node.op_type for node in read(self.folder / "export").graph.node]
                self.assertGreaterEqual(operators.count(operator), 3 * 7)
                self.assert_decodes(small, f"{recipe}{', fp16' if half else ''}: {operator}, {report['bits_per_weight']:.2f} bits a weight",
                                    HALF if half else TOLERANCE, half)
                if operator == "DequantizeLinear":
                    self.check_default_rounding(small)

    def check_default_rounding(self, small):
        ids = tokens(384)
        off = relative(Session(self.folder / "export", rounding=True).logits(ids), engine.logits(small, ids).numpy())
        self.assertGreater(off, TOLERANCE)
        self.assertLessEqual(off, HALF)
        self.row(f"the same with the default session.qdq_matmulnbits_accuracy_level, 4: logits {off:.1g} of their root mean square apart")

    def test_groups_that_are_no_power_of_two_are_blocks_of_one_scale(self):
        small = engine.compress("rtn(bits=4, group_size=48)", self.decoder(hidden_size=96, intermediate_size=144), self.folder / "small")
        self.export(small)
        blocks = {a.i for node in read(self.folder / "export").graph.node for a in node.attribute if a.name == "block_size"}
        self.assertEqual(blocks, {16})
        self.assert_decodes(small, "groups of 48 as blocks of 16")

    def test_plain_values_of_an_artifact(self):
        small = engine.compress("rtn(bits=4, group_size=4)", self.decoder(), self.folder / "small")
        self.export(small, "onnx(weights=plain)")
        self.assert_decodes(small, "groups of 4 as values")

    def test_thin_factors_and_sums_stay_what_they_are(self):
        source = self.decoder()
        thin = engine.compress("svd(rank=12)", source, self.folder / "thin")
        self.export(thin, weights=False)
        self.assertEqual([node.op_type for node in read(self.folder / "export").graph.node].count("MatMul"), 3 * (2 * 7 + 2) + 1)
        self.assert_decodes(thin, "svd of rank 12: two products a layer")
        compensated = engine.compress("rtn(bits=4, group_size=32) | svd-compensation(rank=8)", source, self.folder / "sum")
        (self.folder / "export").rename(self.folder / "first")
        self.export(compensated, weights=False)
        operators = [node.op_type for node in read(self.folder / "export").graph.node]
        self.assertGreaterEqual(operators.count("MatMulNBits"), 3 * 7)
        self.assert_decodes(compensated, "4 bits and a low-rank path of rank 8")

    def test_int8_inputs_are_multiplied_as_integers(self):
        """What rounding does to the logits is as large in onnxruntime. A value half-way between two codes goes up or down by the
        last bit of a sum, and each token's largest lies so; roundings that had nothing in common would be 1.4 times the effect apart."""
        ids, stages = tokens(384), ["{method: rtn, params: {bits: 8, group_size: -1}, targets: ['re:.*self_attn.*']}",
                                    "{method: rtn, params: {bits: 4, group_size: 32}, targets: ['re:.*mlp.*']}"]
        for name, more in (("plain", []), ("small", ["{method: round-inputs}"])):
            (self.folder / f"{name}.yaml").write_text("stages:\n" + "".join(f"  - {stage}\n" for stage in stages + more))
        source = self.decoder()
        plain, small = (engine.compress(self.folder / f"{name}.yaml", source, self.folder / name) for name in ("plain", "small"))
        self.export(small)
        operators = [node.op_type for node in read(self.folder / "export").graph.node]
        self.assertEqual((operators.count("MatMulInteger"), operators.count("MatMulNBits")), (3 * 4, 3 * 3))
        theirs = Session(self.folder / "export").logits(ids)
        ours, without = (engine.logits(path, ids).numpy() for path in (small, plain))
        size = lambda a, b: float(np.sqrt(np.square(a - b).mean()))  # noqa: E731
        effect, there, between = size(ours, without), size(theirs, without), size(ours, theirs)
        self.assertGreater(effect, 20 * TOLERANCE)
        self.assertLess(abs(there / effect - 1), 0.1)
        self.assertLess(between, 0.8 * effect)
        self.row(f"rows of 8 bits, blocks of 4 bits, round-inputs(): rounding moves logits by {effect:.3g} here, {there:.3g} there, {between:.1g} apart")

    def test_inputs_on_one_scale_are_quantize_and_dequantize_nodes(self):
        """Static int8: once for the layers that share an input, in fp16 too; and read back, the scales and zero points are the same."""
        ids, source = tokens(384), self.decoder()
        for weights, to, products in (("rtn(bits=8, group_size=-1)", "onnx", "MatMul"), ("rtn(bits=8, group_size=-1)", "onnx(dtype=float16)", "MatMul"),
                                      ("rtn(bits=8, group_size=-1, symmetric=false)", "onnx", "MatMul"), ("rtn(bits=8, group_size=-1)", "onnx(products=fast)", "MatMul"),
                                      ("rtn(bits=4, group_size=32)", "onnx", "MatMulNBits"), ("svd(rank=12)", "onnx", "MatMul")):
            with self.subTest(weights, to=to):
                folder = self.folder
                self.setUp()
                small = engine.compress(f"{weights} | static-inputs(samples=8, sequence_length=32)", source, self.folder / "small", "--data",
                                        f"calibration={DATA / 'calibration.txt'}")
                plain = engine.compress(weights, source, self.folder / "plain")
                self.assertLess(self.export(small, to, weights=False)["graph_distance"], 2e-3 if "16" in to else 1e-5)
                graph = read(self.folder / "export").graph
                makers = {name: node for node in graph.node for name in node.output}
                operators = [node.op_type for node in graph.node]
                self.assertEqual(operators.count("QuantizeLinear"), 3 * 4)  # q, k and v share one; gate and up
                self.assertEqual(len({node.input[0] for node in graph.node if node.op_type == products and node.input[0].endswith("/rounded")}), 3 * 7)
                rounded = [node for node in graph.node if node.op_type == products and node.input[0].endswith("/rounded")]
                self.assertEqual(len(rounded), 3 * 7)
                for node in rounded:
                    made = makers[node.input[0]]
                    made = makers[made.input[0]] if made.op_type == "Cast" else made
                    self.assertEqual((made.op_type, makers[made.input[0]].op_type), ("DequantizeLinear", "QuantizeLinear"))
                    self.assertEqual(made.input[1:], makers[made.input[0]].input[1:])
                fast = "fast" in to
                theirs = Session(self.folder / "export", precise=fast).logits(ids)
                ours, without, back = (engine.logits(path, ids).numpy() for path in (small, plain, self.folder / "export"))
                size = lambda a, b: float(np.sqrt(np.square(a - b).mean()))  # noqa: E731
                effect, there, between = size(ours, without), size(theirs, without), size(ours, theirs)
                self.assertGreater(effect, 20 * TOLERANCE)
                self.assertLess(abs(there / effect - 1), 0.1)
                # A value near a midpoint may fall on its other side, which its token feels and those after it; in fp16 most tokens do. 1.4: nothing in common.
                if "16" not in to:
                    self.assertLess(np.quantile(np.abs(ours - theirs).max(-1), 0.25), TOLERANCE)
                most = 1.2 if "16" in to else 0.8
                self.assertLess(between, most * effect)
                self.assertLess(size(ours, back), most * effect)
                self.row(f"{weights}, static-inputs(), {to}: rounding moves logits by {effect:.3g} here, {there:.3g} there, {between:.1g} apart")
                if fast:  # as the processor has it: nothing is asked of it
                    self.row(f"{weights}, {to}, session.x64quantprecision at its default: {size(Session(self.folder / 'export').logits(ids), without):.3g}")
                self.folder = folder

    def test_layers_that_round_one_input_in_different_ways(self):
        stages = ["{method: rtn, params: {bits: 8, group_size: -1}}",
                  "{method: round-inputs, targets: ['re:.*k_proj']}",
                  "{method: static-inputs, params: {samples: 8, sequence_length: 32}, targets: ['re:.*q_proj']}",
                  "{method: static-inputs, params: {samples: 8, sequence_length: 32, range: minmax}, targets: ['re:.*v_proj', 're:.*mlp.*']}"]
        (self.folder / "recipe.yaml").write_text("stages:\n" + "".join(f"  - {stage}\n" for stage in stages))
        small = engine.compress(self.folder / "recipe.yaml", self.decoder(), self.folder / "small", "--data",
                                f"calibration={DATA / 'calibration.txt'}")
        self.export(small, weights=False)
        operators = [node.op_type for node in read(self.folder / "export").graph.node]
        self.assertEqual((operators.count("QuantizeLinear"), operators.count("MatMulInteger")), (3 * 4, 3))  # q; v; gate and up; down
        layers = json.loads((small / "wring.json").read_text())["layers"]
        kinds = {name.rsplit(".", 1)[1]: sorted(layer["attributes"]) for name, layer in layers.items() if layer["rep"] == "rounded-input"}
        self.assertEqual({name for name, keys in kinds.items() if "scale" in keys}, {"q_proj", "v_proj", "gate_proj", "up_proj", "down_proj"})
        ids = tokens(384)
        self.assertLess(relative(Session(self.folder / "export").logits(ids), engine.logits(small, ids).numpy()), 0.05)

    def test_widths_that_differ_by_block(self):
        source, cut = self.decoder(family="qwen2", num_hidden_layers=5, num_key_value_heads=4), self.folder / "cut"
        engine.run("run", "flap(ratio=0.45, samples=8, sequence_length=32, min_keep=0)", "--model", source, "--data",
                   f"calibration={DATA / 'calibration.txt'}", "--out", cut, "--quiet")
        config = json.loads((cut / "config.json").read_text())
        self.assertIn("intermediate_size_per_layer", config)
        self.export(cut)
        session = self.assert_decodes(cut, f"flap, heads {config.get('num_attention_heads_per_layer')}, widths {config['intermediate_size_per_layer']}")
        prompt, made = list(range(3, 9)), self.greedy(session, list(range(3, 9)))
        here = engine.logits(cut, torch.tensor([prompt + made]))[0, len(prompt) - 1:-1].argmax(-1).tolist()
        self.assertEqual(made, here)
        packed = engine.compress("rtn(bits=8, group_size=-1)", cut, self.folder / "packed")
        (self.folder / "export").rename(self.folder / "first")
        self.export(packed)
        self.assert_decodes(packed, "the same with rows of 8 bits")

    def greedy(self, session, prompt, count=12):
        ids = new = np.array([prompt])
        past, made = session.empty(1), []
        for _ in range(count):
            length = ids.shape[1]
            logits, past = session.step(new, np.ones((1, length), np.int64), np.arange(length - new.shape[1], length)[None], past)
            new = logits[:, -1:].argmax(-1)
            ids = np.concatenate([ids, new], 1)
            made.append(int(new[0, 0]))
        return made

    def test_tensors_beside_the_graph(self):
        self.export(self.decoder(), "onnx(inline_bytes=0)")
        self.assertLess((self.folder / "export" / MODEL).stat().st_size, 150_000)
        offsets = [int(entry.value) for tensor in onnx.load(self.folder / "export" / MODEL, load_external_data=False).graph.initializer
                   for entry in tensor.external_data if entry.key == "offset"]
        self.assertTrue(offsets and all(offset % 64 == 0 for offset in offsets))
        self.assert_decodes(self.folder / "export", "external data, and the engine reads it back")

    def test_what_was_exported_is_read_as_a_model_and_as_a_graph(self):
        small = engine.compress("rtn(bits=4, group_size=32)", self.decoder(), self.folder / "small")
        self.export(small)
        ids = tokens(384)
        self.assertTrue(torch.equal(engine.logits(small, ids), engine.logits(self.folder / "export", ids)))
        result = engine.call("eval", self.folder / "export" / MODEL, "--suite", "size", "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        rows = {row["metric"]: row["value"] for row in json.loads(result.stdout)["evaluations"]}
        self.assertGreater(rows["parameters"], 0)

    def test_names_are_those_of_optimum(self):
        self.export(self.decoder())
        session = Session(self.folder / "export")
        past = [f"{i}.{part}" for i in range(3) for part in ("key", "value")]
        self.assertEqual(list(session.inputs), ["input_ids", "attention_mask", "position_ids", *(f"past_key_values.{name}" for name in past)])
        self.assertEqual(session.outputs, ["logits", *(f"present.{name}" for name in past)])
        model = read(self.folder / "export")
        self.assertEqual([(entry.domain, entry.version) for entry in model.opset_import], [("", 17)])


class Encoder(Onnx):
    def outputs(self, ids, mask=None, types=None):
        ids, run = np.asarray(ids), open_session(self.folder / "export")
        given = {"input_ids": ids, "attention_mask": np.ones_like(ids) if mask is None else np.asarray(mask),
                 "token_type_ids": np.zeros_like(ids) if types is None else np.asarray(types)}
        return dict(zip([made.name for made in run.get_outputs()], run.run(None, given)))

    def check(self, kind, names, pooler=False, **options):
        """Names that transformers' own output has, and pooler_output; padding and two kinds of tokens. `pooler`: one that the
        class does not read."""
        make_encoder(self.folder / "made")
        model = kind(transformers.BertConfig.from_pretrained(self.folder / "made", **options))
        if pooler:
            model.bert.pooler = transformers.models.bert.modeling_bert.BertPooler(model.config)
        model = randomise(model, 1)
        save(model, wordpiece_tokenizer(300), self.folder / "bert", torch.float32, "1GB")
        self.export(self.folder / "bert")
        ids, types = tokens(300), torch.zeros(2, 40, dtype=torch.long)
        types[:, 20:] = 1
        mask = torch.ones_like(ids)
        mask[1, 30:] = 0
        made = self.outputs(ids, mask, types)
        with torch.no_grad():
            expected = model(input_ids=ids, attention_mask=mask, token_type_ids=types, output_hidden_states=True)
            hidden = expected.hidden_states[-1]
            theirs = dict(expected) | {"last_hidden_state": hidden}
            pooler = getattr(getattr(model, "bert", model), "pooler", None)
            if pooler is not None:
                theirs["pooler_output"] = pooler(hidden)
        self.assertEqual(sorted(made), sorted(names))
        off = {}
        for name in names:
            keep = mask.bool().numpy() if made[name].shape[:2] == ids.shape else slice(None)
            off[name] = relative(made[name][keep], theirs[name].numpy()[keep])
        self.assertLessEqual(max(off.values()), TOLERANCE, off)
        self.row(f"{kind.__name__}: {', '.join(f'{name} within {d:.0e}' for name, d in off.items())} of transformers'")

    def test_heads(self):
        hidden, pooled = "last_hidden_state", "pooler_output"
        for kind, names, options in ((transformers.BertModel, [hidden, pooled], {}),
                                     (transformers.BertForSequenceClassification, [hidden, pooled, "logits"], dict(num_labels=5)),
                                     (transformers.BertForTokenClassification, [hidden, "logits"], dict(num_labels=3)),
                                     (transformers.BertForTokenClassification, [hidden, pooled, "logits"], dict(num_labels=3, pooler=True)),
                                     (transformers.BertForQuestionAnswering, [hidden, "start_logits", "end_logits"], {}),
                                     (transformers.BertForMaskedLM, [hidden, "logits"], dict(hidden_act="gelu_new"))):
            with self.subTest(kind.__name__):
                self.setUp()
                self.check(kind, names, **options)

    def test_integers_and_fp16(self):
        for recipe, to, most in (("rtn(bits=8, group_size=-1)", "onnx", TOLERANCE),
                                 ("rtn(bits=4, group_size=32)", "onnx(dtype=float16)", HALF),
                                 ("rtn(bits=8, group_size=-1) | round-inputs()", "onnx", 0.05),
                                 ("rtn(bits=8, group_size=-1) | static-inputs(samples=8, sequence_length=32)", "onnx", 0.05)):
            with self.subTest(recipe, to=to):
                self.setUp()
                make_encoder(self.folder / "model")
                small = engine.compress(recipe, self.folder / "model", self.folder / "small", "--data", f"calibration={DATA / 'calibration.txt'}")
                report = self.export(small, to)
                ids = tokens(300)
                off = relative(self.outputs(ids)["last_hidden_state"], engine.logits(small, ids).numpy())
                self.assertLessEqual(off, most)
                self.row(f"BERT, {recipe}, {to}: hidden states within {off:.0e} of their root mean square, {report['bits_per_weight']:.2f} bits a weight")

    def test_widths_that_differ_by_block(self):
        make_encoder(self.folder / "model", num_hidden_layers=4)
        engine.run("run", "flap(ratio=0.45, samples=8, sequence_length=32, min_keep=0)", "--model", self.folder / "model", "--data",
                   f"calibration={DATA / 'calibration.txt'}", "--out", self.folder / "cut", "--quiet")
        self.export(self.folder / "cut")
        ids = tokens(300)
        off = relative(self.outputs(ids)["last_hidden_state"], engine.logits(self.folder / "cut", ids).numpy())
        self.assertLessEqual(off, TOLERANCE)
        config = json.loads((self.folder / "cut/config.json").read_text())
        self.row(f"flap of a BERT, heads {config.get('num_attention_heads_per_layer')}, widths {config.get('intermediate_size_per_layer')}: "
                 f"hidden states within {off:.0e}")


class StaticRounding(Onnx):
    """Activations in int8 on ranges that were seen before: the graph method ptq on an exported graph. onnxruntime computes the
    products of what lies between QuantizeLinear and DequantizeLinear in integers."""

    def calibrate(self, feeds, options="examples=16"):
        np.savez(self.folder / "examples.npz", **feeds)
        engine.run("run", f"ptq({options})", "--model", self.folder / "export" / MODEL, "--data",
                   f"calibration={self.folder / 'examples.npz'}", "--out", self.folder / "static", "--quiet")
        return next((self.folder / "static").glob("*.onnx"))

    def check(self, what, file, feeds, most):
        """Other inputs than those that gave the ranges: as far from the plain graph as rounding explains, and not less."""
        model, run = onnx.load(file), onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        operators = [node.op_type for node in model.graph.node]
        scales = {tensor.name for tensor in model.graph.initializer}
        self.assertTrue(all(node.input[1] in scales for node in model.graph.node if node.op_type == "QuantizeLinear"))  # static
        self.assertGreater(operators.count("QuantizeLinear"), 3 * 6)
        plain = onnxruntime.InferenceSession(str(self.folder / "export" / MODEL), providers=["CPUExecutionProvider"])
        name = plain.get_outputs()[0].name
        [theirs], [without] = run.run([name], feeds), plain.run([name], feeds)
        off = relative(theirs, without)
        self.assertGreater(off, 1e-4)
        self.assertLess(off, most)
        self.row(f"{what}: static int8, {operators.count('QuantizeLinear')} values rounded, {name} {off:.3f} of their root mean square "
                 f"from fp32, {file.stat().st_size / (self.folder / 'export' / MODEL).stat().st_size:.2f} of the file")

    def test_an_encoder(self):
        make_encoder(self.folder / "model")
        self.export(self.folder / "model")
        feeds = [{"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
                 for ids in tokens(300, 32, 24).numpy().reshape(2, 16, 24)]
        # Seven bits: onnxruntime's sums of two products of eight overflow 16 bits on processors without VNNI.
        self.check("BERT", self.calibrate(feeds[0], "examples=16, weight_bits=7"), feeds[1], 0.05)

    def decoder_feeds(self, ids, past):
        """The last of `ids` behind the cache of the first `past`."""
        session, count = Session(self.folder / "export"), ids.shape[1]
        positions = np.broadcast_to(np.arange(count), ids.shape)
        _, cache = session.step(ids[:, :past], np.ones((len(ids), past), np.int64), positions[:, :past].copy(), session.empty(len(ids)))
        return {"input_ids": ids[:, past:].copy(), "attention_mask": np.ones_like(ids), "position_ids": positions[:, past:].copy()} | cache

    def test_a_decoder_with_its_cache(self):
        self.export(self.decoder())
        first, second = tokens(384, 32, 24).numpy().reshape(2, 16, 24)
        self.check("decoder", self.calibrate(self.decoder_feeds(first, 8)), self.decoder_feeds(second, 8), 0.2)

    def test_a_cache_that_is_always_empty_is_named(self):
        self.export(self.decoder())
        ids = tokens(384, 16, 24).numpy()
        np.savez(self.folder / "examples.npz", input_ids=ids, attention_mask=np.ones_like(ids), position_ids=np.arange(24)[None].repeat(16, 0),
                 **Session(self.folder / "export").empty(16))
        result = engine.call("run", "ptq(examples=16)", "--model", self.folder / "export" / MODEL, "--data",
                             f"calibration={self.folder / 'examples.npz'}", "--out", self.folder / "static", "--quiet")
        self.assertEqual(result.returncode, 2, result.stderr)
        for text in ("past_key_values.0.", "no elements", "earlier tokens"):
            self.assertIn(text, result.stderr)


@support.whole_models
class Large(Onnx):
    """More than protobuf's 2 GiB: weights in model.onnx.data."""

    def test_a_decoder_of_two_and_a_half_gigabytes(self):
        source = self.decoder(hidden_size=2048, intermediate_size=8192, num_hidden_layers=9, num_attention_heads=16, num_key_value_heads=8,
                              dtype=torch.bfloat16)
        report = self.export(source, weights=False)
        inline, beside = ((self.folder / "export" / name).stat().st_size for name in (MODEL, f"{MODEL}.data"))
        self.assertGreater(beside, 1 << 31)
        onnx.checker.check_model(str(self.folder / "export" / MODEL))
        self.assert_decodes(source, f"{beside / 1e9:.2f} GB beside a graph of {inline / 1e3:.0f} KB, {report['weights']} weights")


@support.whole_models
class MiniLM(Onnx):
    """The encoder that the project measures with; the decoder: onnx_perplexity.py."""

    def test_static_rounding(self):
        """Embeddings of sentences, means over their tokens, beside those of fp32."""
        if not (MODELS / "minilm").is_dir():
            self.skipTest("run scripts/models")
        self.export(MODELS / "minilm", weights=False)
        tokenizer = transformers.AutoTokenizer.from_pretrained(MODELS / "minilm")
        lines = (DATA / "calibration.txt").read_text(encoding="utf-8").split(". ")[:64]
        others = [line for line in (DATA / "sentences.txt").read_text(encoding="utf-8").splitlines() if line][:64]

        def feeds(texts):
            made = tokenizer(texts, padding="max_length", truncation=True, max_length=48, return_tensors="np")
            return {name: made[name].astype(np.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}

        file = StaticRounding.calibrate(self, feeds(lines), "examples=64")
        inputs, means = feeds(others), []
        for path in (file, self.folder / "export" / MODEL):
            hidden = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(["last_hidden_state"], inputs)[0]
            keep = inputs["attention_mask"][..., None]
            means.append((hidden * keep).sum(1) / keep.sum(1))
        cosine = (means[0] * means[1]).sum(1) / np.linalg.norm(means[0], axis=1) / np.linalg.norm(means[1], axis=1)
        self.row(f"all-MiniLM-L6-v2, static int8 by ptq on 64 sentences: cosine of embeddings with fp32's {cosine.mean():.4f} on average, "
                 f"{cosine.min():.4f} at least, {file.stat().st_size / 1e6:.1f} MB")
        self.assertGreater(cosine.mean(), 0.9)

    def test_rows_of_8_bits(self):
        if not (MODELS / "minilm").is_dir():
            self.skipTest("run scripts/models")
        small = engine.compress("rtn(bits=8, group_size=-1)", MODELS / "minilm", self.folder / "small")
        report, ids = self.export(small), tokens(30000, 2, 64)
        off = relative(Encoder.outputs(self, ids)["last_hidden_state"], engine.logits(small, ids).numpy())
        self.assertLessEqual(off, TOLERANCE)
        self.row(f"all-MiniLM-L6-v2, rows of 8 bits: hidden states within {off:.0e}, {report['file_bytes'] / 1e6:.1f} MB")


if __name__ == "__main__":
    engine, rest = support.command_line(__doc__)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    unittest.main(argv=[sys.argv[0], *rest])
