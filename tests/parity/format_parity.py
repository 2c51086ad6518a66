#!/usr/bin/env python3
"""Compares wring_format's reading of Wring folders with the engine's, and docs/format.md's examples with both.

    format_parity.py [-v] [TEST...]     WRING_BIN=DIR says where wring-engine is (build/release/bin)

Folders come from `wring-engine run`, and from drawn_folders.py, whose writers know nothing but docs/format.md: they have what no method
makes yet (1 and 7 bits, every ggml type, shards). Weights must have the bits of `wring-engine export --to huggingface(dtype=float32)`;
products of factors, whose sums are in no fixed order, may differ by their rounding.
"""
import contextlib
import copy
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import unittest
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/parity"), str(ROOT / "client/python")]
import gguf  # noqa: E402
import numpy as np  # noqa: E402
import safetensors  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

import wring_format  # noqa: E402
from drawn_folders import Drawn, ggml_blocks, ggml_layer, low_rank, masked, packed_int, residual, summed  # noqa: E402
from random_models import TEXT, make_decoder, make_encoder  # noqa: E402
from wring_format import FormatError, ggml  # noqa: E402

ENGINE = Path(os.environ.get("WRING_BIN", ROOT / "build/release/bin")) / "wring-engine"
SMOLLM2 = ROOT / "build/models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
DOCUMENT = (ROOT / "docs/format.md").read_text(encoding="utf-8")
TOLERANCE = 2e-4
MEMORY = Path("/dev/shm")  # the engine waits until what it wrote is on the disk
SCRATCH = MEMORY if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 2 << 30 else None
SIZES = {"F32": 4, "F16": 2, "BF16": 2, "U8": 1}


def engine(*arguments):
    result = subprocess.run([ENGINE, *map(str, arguments)], capture_output=True, text=True)
    if result.returncode:
        raise AssertionError(f"wring-engine {arguments[0]} ended with {result.returncode}: {result.stderr}")
    return result.stdout


def document(kind):
    return [json.loads(text) for text in re.findall(rf"```json {re.escape(kind)}\n(.*?)```", DOCUMENT, re.S)]


class InFolder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(dir=SCRATCH)
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.counter = 0

    def new(self):
        self.counter += 1
        return self.folder / str(self.counter)

    def assert_equal_to_export(self, artifact, rounding=0):
        """`rounding`: by how much a value may differ, as a share of its tensor's largest."""
        out = self.new()
        engine("export", artifact, "--to", "huggingface(dtype=float32)", "--out", out, "--threads", "2")
        expected, read = load_file(out / "model.safetensors"), wring_format.read(artifact)
        self.assertEqual(read.names(), sorted(expected))
        for name, values in read.tensors():
            wanted = expected.pop(name).numpy()
            self.assertEqual((values.dtype, values.shape), (np.float32, wanted.shape), name)
            if rounding:
                self.assertLessEqual(np.abs(values - wanted).max(), rounding * np.abs(wanted).max(), name)
            elif not np.array_equal(values.view(np.uint32), wanted.view(np.uint32)):
                self.fail(f"{name}: {np.count_nonzero(values != wanted)} of {values.size} values differ")
        return read, out

    def assert_logits(self, artifact, ids, mask):
        model = wring_format.load_transformers(artifact)
        with torch.no_grad():  # in float64: float32 sums differ by machine, and twice where both sides are such
            output = copy.deepcopy(model).double()(input_ids=ids, attention_mask=mask)
        theirs = output.logits if hasattr(output, "logits") else output.last_hidden_state
        request, out = self.new(), self.new().with_suffix(".safetensors")
        request.write_text(json.dumps({"input_ids": ids.tolist(), "attention_mask": mask.tolist()}))
        engine("logits", artifact, "--ids", request, "--out", out)
        self.assertLessEqual((load_file(out)["logits"] - theirs)[mask.bool()].abs().max().item(), TOLERANCE)
        return model


class EngineWrote(InFolder):
    """What `wring-engine run` writes."""

    DECODERS = [
        ("rtn(bits=2, group_size=32)", {}),
        ("rtn(bits=3, group_size=-1, symmetric=false)", dict(hidden_size=72, intermediate_size=100, num_attention_heads=6,
                                                             num_key_value_heads=3, tie_word_embeddings=True)),
        ("rtn(bits=4, group_size=32, symmetric=false, scale_dtype=float32)", dict(family="qwen2")),
        ("rtn(bits=5, group_size=16, scale_dtype=bfloat16)", dict(dtype=torch.bfloat16, attention_bias=True)),
        ("rtn(bits=6, group_size=32, symmetric=false)", dict(family="mistral", sliding_window=None, head_dim=16)),
        ("rtn(bits=8, group_size=-1)", dict(dtype=torch.float16, shard="60KB")),
        ("magnitude(pattern=0.5)", dict(hidden_size=72, intermediate_size=100, num_attention_heads=6, num_key_value_heads=3)),
        ("magnitude(pattern=2:4, value_dtype=bfloat16)", dict(mlp_bias=True)),
        ("fp8(block=48, scale_dtype=bfloat16)", dict(family="qwen2")),
        ("fp4()", {}),
        ("fp4(format=mxfp4)", dict(dtype=torch.bfloat16)),
        ("svd(rank=24)", dict(attention_bias=True)),
        ("rtn(bits=3, group_size=32) | svd-compensation(rank=4)", dict(dtype=torch.bfloat16)),
        ("magnitude(pattern=2:4) | svd-compensation(bits=2, factor_dtype=float32) | svd-compensation(rank=1)", {}),
        ("{stages: [{method: magnitude, params: {pattern: 0.9}, targets: ['re:.*mlp.*']}, "
         "{method: rtn, params: {bits: 3, group_size: 16}, targets: ['re:.*self_attn.*', Embedding]}]}",
         dict(dtype=torch.bfloat16, tie_word_embeddings=True)),
    ]
    ENCODERS = [("rtn(bits=4, group_size=32)", {}), ("magnitude(pattern=0.7, value_dtype=float16)", dict(dtype=torch.bfloat16))]

    def run_recipe(self, recipe, model, *arguments):
        if recipe.startswith("{"):
            file = self.new().with_suffix(".yaml")
            file.write_text(recipe)
            recipe = file
        out = self.new()
        return out, json.loads(engine("run", recipe, "--model", model, "--out", out, "--threads", "2", "--json", *arguments))

    def check(self, make, recipe, options):
        model = self.new()
        make(model, seed=len(recipe), **options)
        artifact, _ = self.run_recipe(recipe, model)
        read, _ = self.assert_equal_to_export(artifact, rounding=1e-6 if "svd" in recipe else 0)
        self.assertTrue({layer.rep for layer in read.layers.values()} - {"dense"})
        ids = torch.randint(0, read.config["vocab_size"], (2, 24), generator=torch.Generator().manual_seed(1))
        mask = torch.ones_like(ids)
        if make is make_encoder:
            mask[1, 12:] = 0
        loaded = self.assert_logits(artifact, ids, mask)
        self.assertEqual({x.device.type for x in [*loaded.parameters(), *loaded.buffers()]}, {"cpu"})

    def test_decoders_have_the_weights_of_the_export_and_the_logits_of_the_engine(self):
        for recipe, options in self.DECODERS:
            with self.subTest(recipe, **options):
                self.check(make_decoder, recipe, options)

    def test_layers_that_round_their_inputs_round_in_transformers_too(self):
        """Not to the bit: a value half-way between two points of its grid goes up or down by the last bit of a sum."""
        for weights, inputs, most in (("fp8(block=16)", "round-inputs(type=float8_e4m3, group_size=16)", 0.3), ("rtn(bits=8, group_size=32)", "round-inputs()", 0.6),
                                      ("rtn(bits=8, group_size=-1)", "static-inputs(samples=8, sequence_length=32)", 0.6),
                                      ("fp8()", "static-inputs(type=float8_e4m3, samples=8, sequence_length=32)", 0.6)):
            model, text = self.new(), self.new().with_suffix(".txt")
            make_decoder(model, seed=3)
            text.write_text("\n".join(TEXT))
            rounded, plain = (self.run_recipe(recipe, model, "--data", f"calibration={text}")[0] for recipe in (f"{weights} | {inputs}", weights))
            ids = torch.randint(0, 256, (2, 24), generator=torch.Generator().manual_seed(1))
            with torch.no_grad():
                theirs, without = (wring_format.load_transformers(artifact)(input_ids=ids).logits for artifact in (rounded, plain))
            request, out = self.new(), self.new().with_suffix(".safetensors")
            request.write_text(json.dumps({"input_ids": ids.tolist()}))
            engine("logits", rounded, "--ids", request, "--out", out)
            between, effect = ((a - theirs).square().mean().sqrt().item() for a in (load_file(out)["logits"], without))
            self.assertGreater(effect, 20 * TOLERANCE)
            self.assertLess(between, most * effect)

    def test_encoders_have_the_weights_of_the_export_and_the_hidden_states_of_the_engine(self):
        for recipe, options in self.ENCODERS:
            with self.subTest(recipe, **options):
                self.check(make_encoder, recipe, options)

    def prune(self, recipe, make, **options):
        model, text = self.new(), self.new().with_suffix(".txt")
        make(model, **options)
        text.write_text("\n".join(TEXT))
        return self.run_recipe(recipe, model, "--data", f"calibration={text}")[0]

    def test_levels_of_any_number_have_the_weights_and_logits_of_the_engine(self):
        whole = self.prune("bitstack(levels=4, samples=16, sequence_length=16) | rtn(bits=8, group_size=32, targets=Embedding)",
                           make_decoder, tie_word_embeddings=True, attention_bias=True)
        size = (whole / "model.safetensors").stat().st_size
        levels = []
        for less in (0, 25_000, 60_000):
            artifact = self.new()
            engine("export", whole, "--to", f"wring(size={size - less + 20_000})", "--out", artifact)
            self.assertLessEqual((artifact / "model.safetensors").stat().st_size, size - less + 20_000)
            read, _ = self.assert_equal_to_export(artifact, rounding=1e-5)
            levels.append(sum(len(layer.attributes["order"]) for layer in read.layers.values() if layer.rep == "residual"))
            ids = torch.randint(0, 384, (2, 24), generator=torch.Generator().manual_seed(3))
            self.assert_logits(artifact, ids, torch.ones_like(ids))
        self.assertEqual(levels[0], 4 * 7 * read.config["num_hidden_layers"])
        self.assertEqual(levels, sorted(set(levels), reverse=True))

    def test_blocks_that_were_pruned_alike_have_the_logits_of_the_engine_biases_and_all(self):
        flap = "flap(ratio=0.4, structure=UL-UM, samples=16, sequence_length=16)"
        for recipe, options in ((flap, {}), (flap, dict(tie_word_embeddings=True, attention_bias=True)),
                                ("magnitude-sp(ratio=0.4)", dict(family="qwen2")), ("wanda-sp(ratio=0.4, samples=16, sequence_length=16)",
                                                                                  dict(family="mistral", sliding_window=None)),
                                ("block-drop(samples=16, sequence_length=16)", {})):
            with self.subTest(recipe, **options):
                artifact = self.prune(recipe, make_decoder, **options)
                ids = torch.randint(0, 384, (2, 24), generator=torch.Generator().manual_seed(2))
                self.assert_logits(artifact, ids, torch.ones_like(ids))
                exported = self.new()
                engine("export", artifact, "--to", "huggingface(dtype=float32)", "--out", exported)
                written, loaded = self.new(), wring_format.load_transformers(artifact).state_dict()
                wring_format.write_dense(artifact, written)
                for folder in (exported, written):
                    model, info = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, output_loading_info=True)
                    self.assertFalse(info["missing_keys"] or info["unexpected_keys"] or info["mismatched_keys"], info)
                    self.assertTrue(all(torch.equal(value, loaded[name]) for name, value in model.state_dict().items()))
                if recipe is flap:
                    self.assertEqual(wring_format.read(artifact).config["intermediate_size"], model.config.intermediate_size)
                    self.assertLess(model.config.intermediate_size, 160)

    def test_blocks_that_differ_are_read_and_refused_for_transformers(self):
        for make in (make_decoder, make_encoder):
            for keep in (1, 0):
                artifact = self.prune(f"flap(ratio=0.8, min_keep={keep}, samples=16, sequence_length=16)", make)
                read = wring_format.read(artifact)
                widths = [shape[1] for name in sorted(read.names()) if name.endswith(("down_proj.weight", "r.0.output.dense.weight"))
                          for shape in [read.shape(name)]]
                self.assertTrue(set(widths) <= set(read.config["intermediate_size_per_layer"]))
                with self.assertRaisesRegex(FormatError, "per_layer"):
                    wring_format.load_transformers(artifact)
                with self.assertRaisesRegex(AssertionError, "per_layer"):
                    engine("export", artifact, "--to", "huggingface", "--out", self.new())
                sizes = read.config["intermediate_size_per_layer"]
                changed = self.new()
                shutil.copytree(artifact, changed)
                (changed / "config.json").write_text(json.dumps(read.config | {"intermediate_size_per_layer": sizes[1:] + [7]}))
                with self.assertRaises(FormatError):
                    wring_format.read(changed)
                with self.assertRaises(AssertionError):
                    engine("export", changed, "--to", "huggingface", "--out", self.new())

    def test_narrow_heads_give_what_transformers_gives_with_zeros_in_their_place(self):
        for options in ({}, dict(family="qwen2"), dict(num_key_value_heads=4, attention_bias=True, head_dim=24)):
            with self.subTest(**options):
                artifact = self.prune("modegpt(ratio=0.5, allocation=uniform, samples=16, sequence_length=16)", make_decoder, **options)
                read = wring_format.read(artifact)
                config = {key: value for key, value in read.config.items() if not key.endswith("_per_layer")}
                heads, kv_heads, size = (config[key] for key in ("num_attention_heads", "num_key_value_heads", "head_dim"))
                self.assertLess(max(read.config["qk_head_dim_per_layer"] + read.config["v_head_dim_per_layer"]), size)
                tensors = {name: torch.from_numpy(np.array(values)) for name, values in read.tensors()}
                for block in range(config["num_hidden_layers"]):
                    prefix = f"model.layers.{block}.self_attn."
                    pairs = tensors.pop(prefix + "rope_pairs").long()
                    self.assertEqual(pairs.shape, (kv_heads, read.config["qk_head_dim_per_layer"][block] // 2))
                    for part, count in (("q", heads), ("k", kv_heads), ("v", kv_heads), ("o", heads)):
                        for kind in ("weight", "bias"):
                            narrow = tensors.get(f"{prefix}{part}_proj.{kind}")
                            if narrow is None or (part, kind) == ("o", "bias"):
                                continue
                            narrow = narrow.T if part == "o" else narrow
                            narrow = narrow.reshape(count, -1, *narrow.shape[1:])
                            wide = torch.zeros(count, size, *narrow.shape[2:])
                            for head in range(count):
                                kept = pairs[head * kv_heads // count]
                                rows = torch.cat([kept, kept + size // 2]) if part in "qk" else torch.arange(narrow.shape[1])
                                wide[head, rows] = narrow[head]
                            wide = wide.flatten(0, 1)
                            tensors[f"{prefix}{part}_proj.{kind}"] = (wide.T if part == "o" else wide).contiguous()
                folder, ids = self.new(), torch.randint(0, 384, (2, 40), generator=torch.Generator().manual_seed(2))
                folder.mkdir()
                (folder / "config.json").write_text(json.dumps(config))
                save_file(tensors, folder / "model.safetensors", {"format": "pt"})
                model, info = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, output_loading_info=True)
                self.assertFalse(info["missing_keys"] or info["unexpected_keys"] or info["mismatched_keys"], info)
                with torch.no_grad():
                    theirs = model(input_ids=ids).logits
                request, out = self.new(), self.new().with_suffix(".safetensors")
                request.write_text(json.dumps({"input_ids": ids.tolist()}))
                engine("logits", artifact, "--ids", request, "--out", out)
                self.assertLessEqual((load_file(out)["logits"] - theirs).abs().max().item(), TOLERANCE)
                for refused, how in ((FormatError, lambda: wring_format.load_transformers(artifact)),
                                     (AssertionError, lambda: engine("export", artifact, "--to", "huggingface", "--out", self.new()))):
                    with self.assertRaisesRegex(refused, "head_dim_per_layer"):
                        how()
                without = self.new()
                shutil.copytree(artifact, without)
                widths = read.config["qk_head_dim_per_layer"]
                (without / "config.json").write_text(json.dumps(read.config | {"qk_head_dim_per_layer": widths[:-1] + [widths[-1] - 2]}))
                with self.assertRaises(FormatError):
                    wring_format.read(without)

    def test_a_gguf_with_some_layers_left_in_its_blocks(self):
        if not SMOLLM2.is_file():
            self.skipTest("run scripts/models")
        artifact, report = self.run_recipe("rtn(bits=4, group_size=64, targets=['re:.*layers.[0-3].self_attn.*'])", SMOLLM2)
        read, export = self.assert_equal_to_export(artifact)
        self.assertEqual({(x.rep, x.attributes.get("type")) for x in read.layers.values()},
                         {("ggml", "Q4_1"), ("ggml", "Q8_0"), ("packed-int", None)})
        shutil.rmtree(export)
        ids = torch.randint(0, 49152, (1, 48), generator=torch.Generator().manual_seed(0))
        model = self.assert_logits(artifact, ids, torch.ones_like(ids))
        self.assertIs(model.lm_head.weight, model.model.embed_tokens.weight)
        self.assertEqual(digest_of_folder(artifact, {"source_name": "Smollm2 135M 8k Lc100K Mix1 Ep2", "license": "apache-2.0"}),
                         report["artifact_digest"])

    def test_the_digest_is_what_the_document_says(self):
        for make, family in ((make_decoder, "llama"), (make_encoder, "bert")):
            model = self.new()
            make(model, hidden_size=192, intermediate_size=2048)
            artifact, report = self.run_recipe("magnitude(pattern=0.3)", model)
            self.assertEqual(json.loads((artifact / "wring.json").read_text())["family"], family)
            self.assertEqual(digest_of_folder(artifact, {}), report["artifact_digest"])

    def test_wring_json_has_the_members_of_the_document(self):
        model = self.new()
        make_decoder(model)
        artifact, _ = self.run_recipe("rtn(group_size=32)", model)
        written, [told] = json.loads((artifact / "wring.json").read_text()), document("wring.json")
        self.assertEqual(list(written), sorted(told))
        self.assertEqual([sorted(entry) for entry in written["lineage"]], [sorted(entry) for entry in told["lineage"]])
        self.assertEqual({tuple(sorted(x)) for x in written["layers"].values()}, {("attributes", "rep")})
        data = (artifact / "model.safetensors").read_bytes()
        self.assertEqual((8 + int.from_bytes(data[:8], "little")) % 64, 0)

    def test_the_command_prints_a_table_and_writes_what_transformers_loads(self):
        model, out = self.new(), self.new()
        make_decoder(model, tie_word_embeddings=True)
        artifact, _ = self.run_recipe("rtn(bits=4, group_size=32)", model)
        command = [sys.executable, "-m", "wring_format", artifact]
        environment = os.environ | {"PYTHONPATH": str(ROOT / "client/python")}
        table = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
        self.assertRegex(table, r"\nmodel\.layers\.0\.mlp\.up_proj +packed-int +4\.50  160 x 64\n")
        self.assertRegex(table, r"\nmodel\.embed_tokens +dense +32\.00  384 x 64\n")
        subprocess.run([*command, "--to", out], env=environment, check=True)
        written, expected = load_file(out / "model.safetensors"), wring_format.load_transformers(artifact).state_dict()
        self.assertEqual(set(written), set(expected) - {"lm_head.weight"})
        self.assertTrue(all(torch.equal(written[name], expected[name]) for name in written))
        loaded = transformers.AutoModelForCausalLM.from_pretrained(out, dtype=torch.float32).state_dict()
        self.assertTrue(all(torch.equal(loaded[name], expected[name]) for name in expected))
        self.assertTrue((out / "tokenizer.json").is_file())
        again = subprocess.run([*command, "--to", out], env=environment, capture_output=True, text=True)
        self.assertEqual((again.returncode, again.stderr), (2, f"error: {out} exists\n"))
        wring_format.write_dense(artifact, self.folder / "sharded", shard_bytes=100_000)
        loaded = transformers.AutoModelForCausalLM.from_pretrained(self.folder / "sharded", dtype=torch.float32).state_dict()
        self.assertTrue(all(torch.equal(loaded[name], expected[name]) for name in expected))


    def test_the_example_of_the_package_runs(self):
        model = self.new()
        make_decoder(model)
        artifact, _ = self.run_recipe("rtn(bits=4, group_size=32)", model)
        lines = wring_format.__doc__.replace("small/", str(artifact)).splitlines()
        code = textwrap.dedent("\n".join(line for line in lines if line.startswith("    ")))
        names = {}
        with contextlib.redirect_stdout(io.StringIO()) as out:
            exec(code, names)
        self.assertEqual((out.getvalue(), names["up"].shape, names["model"].dtype), ("packed-int\n", (160, 64), torch.bfloat16))


def tensor_starts(data):
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + length])
    return sorted(8 + length + entry["data_offsets"][0] for name, entry in header.items() if name != "__metadata__")


def chunk_sizes(size, starts):
    pieces = np.diff(sorted({0, size, *(start for start in starts if start < size)})).tolist()
    sizes, joins = [], False
    for piece in pieces:
        if joins and piece < 64 << 10 and sizes[-1] + piece < 1 << 20:
            sizes[-1] += piece
            continue
        joins = piece <= 16 << 20
        sizes += [16 << 20] * ((piece - 1) >> 24) + [piece - (((piece - 1) >> 24) << 24)]
    return sizes


def manifest(folder, kind, metadata):
    files = []
    for path in sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: str(path.relative_to(folder)).encode()):
        data, at, chunks = path.read_bytes(), 0, []
        for size in chunk_sizes(len(data), tensor_starts(data) if path.suffix == ".safetensors" else []):
            chunks.append({"sha256": hashlib.sha256(data[at:at + size]).hexdigest(), "size": size})
            at += size
        files.append({"path": str(path.relative_to(folder)), "size": len(data), "chunks": chunks})
    whole = {"version": 1, "kind": kind, "files": files, "metadata": metadata}
    return json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest_of_folder(folder, said):
    description = json.loads((folder / "wring.json").read_text())
    metadata = {"format": "wring"} | {key: description[key] for key in ("family", "kind", "lineage")} | said
    return hashlib.sha256(manifest(folder, "model", metadata).encode()).hexdigest()


class Document(InFolder):
    """The examples of docs/format.md."""

    def test_each_reps_example_holds_in_reader_and_engine(self):
        examples = document("example")
        self.assertEqual({example["rep"] for example in examples}, {"masked", "packed-int", "ggml", "low-rank", "residual", "sum", "float8", "float4"})
        for example in examples:
            tensors = {suffix: (dtype, shape, bytes.fromhex(data)) for suffix, (dtype, shape, data) in example["tensors"].items()}
            weight = np.array(example["weight"], np.float32)
            name = "model.layers.0.mlp.up_proj"
            drawn = Drawn(*weight.shape, {name: (example["rep"], example["attributes"], tensors)})
            with self.subTest(example["rep"]):
                read, _ = self.assert_equal_to_export(drawn.write(self.new()))
                self.assertTrue(np.array_equal(read.weight(f"{name}.weight"), weight))

    def test_the_example_of_rounded_inputs(self):
        examples = document("rounded-input")
        self.assertEqual(len(examples), 2)
        for example in examples:
            tensors = {suffix: (dtype, shape, bytes.fromhex(data)) for suffix, (dtype, shape, data) in example["tensors"].items()}
            name, weight = "model.layers.0.mlp.up_proj", np.array(example["weight"], np.float32)
            artifact = Drawn(*weight.shape, {name: (example["rep"], example["attributes"], tensors)}).write(self.new())
            self.assertTrue(np.array_equal(wring_format.read(artifact).weight(f"{name}.weight"), weight))
            with self.assertRaisesRegex(FormatError, "inputs are rounded"):
                wring_format.write_dense(artifact, self.new())
            result = subprocess.run([ENGINE, "export", artifact, "--to", "huggingface", "--out", self.new()], capture_output=True, text=True)
            self.assertEqual((result.returncode, "rounds its inputs to int8" in result.stderr), (2, True), result.stderr)

    def test_input_scales_that_are_none_are_refused(self):
        for scale, zero in ((0.0, 0), (-1.0, 0), (1e60, 0), (10**400, 0), ("1", 0), (1.0, 128), (1.0, 0.5), (1.0, None)):
            attributes = {"type": "int8", "scale": scale, "zero": zero, "rep": "dense", "attributes": {}}
            with self.subTest(scale=str(scale)[:10], zero=zero), self.assertRaises(FormatError):
                artifact = Drawn(2, 2, {"model.layers.0.mlp.up_proj": ("rounded-input", attributes, {"weight": ("F16", [2, 2], bytes(8))})}).write(self.new())
                wring_format.read(artifact).weight("model.layers.0.mlp.up_proj.weight")

    def test_the_safetensors_example_is_one_to_the_reference_too(self):
        [example] = document("safetensors")
        length, header = bytes.fromhex(example["length"]), example["header"].encode()
        data = length + header.ljust(int.from_bytes(length, "little")) + bytes.fromhex(example["data"])
        [(name, entry)] = safetensors.deserialize(data)
        self.assertEqual((entry["dtype"], entry["shape"]), ("F32", [2]))
        self.assertEqual({name: np.frombuffer(entry["data"], "<f4").tolist()}, example["tensors"])
        self.new().mkdir()
        (self.folder / "1/model.safetensors").write_bytes(data)
        [tensor] = wring_format.files.read_tensors(wring_format.files.Folder(self.folder / "1")).values()
        self.assertEqual({tensor.name: tensor.float32().tolist()}, example["tensors"])

    def test_the_manifest_example_has_its_digest(self):
        [example] = document("manifest")
        for path, content in example["files"].items():
            (self.folder / path).parent.mkdir(exist_ok=True)
            (self.folder / path).write_text(content)
        self.assertEqual(manifest(self.folder, "model", {"format": "wring"}), example["canonical"])
        self.assertEqual(hashlib.sha256(example["canonical"].encode()).hexdigest(), example["sha256"])

    def test_the_chunks_example(self):
        [example] = document("chunks")
        self.assertEqual(chunk_sizes(example["size"], example["tensor_starts"]), example["chunks"])


class DrawnFolders(InFolder):
    """What no method makes yet, written from docs/format.md; the engine reads it too."""

    def test_packed_int_of_every_width(self):
        rng = np.random.default_rng(1)
        for columns, group in ((35, 5), (16, 16), (9, 1)):
            kinds = [(bits, symmetric) for bits in range(1, 9) for symmetric in (True, False)]
            layers = {}
            for i, (bits, symmetric) in enumerate(kinds):
                dtype = ("F32", "F16", "BF16")[i % 3]
                layers[f"model.layers.{i // 2}.mlp.{('gate', 'up')[i % 2]}_proj"] = packed_int(7, columns, bits, group, symmetric, dtype, rng)
            self.assert_equal_to_export(Drawn(7, columns, layers, blocks=8).write(self.new()))

    def test_masks_of_odd_columns_that_keep_none_some_and_all(self):
        rng = np.random.default_rng(2)
        for columns in (1, 8, 13):
            kinds = [(share, dtype) for share in (0, 0.4, 1) for dtype in ("F32", "F16", "BF16")] + [(0.9, "F32")]
            layers = {f"model.layers.{i // 2}.mlp.{('gate', 'up')[i % 2]}_proj": masked(5, columns, *kind, rng) for i, kind in enumerate(kinds)}
            self.assert_equal_to_export(Drawn(5, columns, layers, blocks=5).write(self.new()))

    def test_products_and_sums_of_every_rep(self):
        rng = np.random.default_rng(7)
        parts = [packed_int(6, 32, 3, 8, False, "F16", rng), masked(6, 32, 0.5, "F32", rng), ggml_layer("Q4_0", 6, 32, rng),
                 ("dense", {}, {"weight": ("F32", (6, 32), rng.standard_normal((6, 32)).astype("<f4").tobytes())})]
        kinds = [low_rank(6, 32, 1, "F32", rng), low_rank(6, 32, 9, "F16", rng), summed(*parts)]
        kinds += [summed(part, low_rank(6, 32, 2, "F16", rng)) for part in parts] + [summed(*parts, *parts, *parts, *parts)]
        layers = {f"model.layers.{i // 2}.mlp.{('gate', 'up')[i % 2]}_proj": kind for i, kind in enumerate(kinds)}
        read, _ = self.assert_equal_to_export(Drawn(6, 32, layers, blocks=4).write(self.new()), rounding=1e-6)
        self.assertEqual(sum(layer.rep == "sum" for layer in read.layers.values()), 6)

    def test_levels_of_every_rank_and_of_odd_columns(self):
        rng = np.random.default_rng(8)
        for columns in (1, 16, 77):
            kinds = [residual(6, columns, levels, rank, rng) for levels, rank in ((1, 1), (3, 2), (16, 5))]
            kinds.append(summed(kinds[0], low_rank(6, columns, 1, "F16", rng)))
            layers = {f"model.layers.{i // 2}.mlp.{('gate', 'up')[i % 2]}_proj": kind for i, kind in enumerate(kinds)}
            self.assert_equal_to_export(Drawn(6, columns, layers, blocks=2).write(self.new()), rounding=1e-5)

    def test_every_ggml_type(self):
        rng = np.random.default_rng(3)
        layers = {f"model.layers.{i // 2}.mlp.{('gate', 'up')[i % 2]}_proj": ggml_layer(name, 6, 512, rng) for i, name in enumerate(ggml.TYPES)}
        read, _ = self.assert_equal_to_export(Drawn(6, 512, layers, blocks=8).write(self.new()))
        self.assertEqual(sum(layer.rep == "ggml" for layer in read.layers.values()), 15)

    def test_shards(self):
        rng = np.random.default_rng(4)
        drawn = Drawn(4, 8, {"model.layers.0.mlp.up_proj": packed_int(4, 8, 3, 4, False, "F16", rng)})
        self.assert_equal_to_export(drawn.write(self.new(), shards=3))


class Ggml(unittest.TestCase):
    def test_every_type_has_the_values_of_the_gguf_package(self):
        for name in ggml.TYPES:
            rng = np.random.default_rng(ggml.TYPES[name][0])
            blocks = ggml_blocks(name, 8, 256 * 50, rng)
            with self.subTest(name), np.errstate(all="ignore"):
                expected = gguf.dequantize(blocks, gguf.GGMLQuantizationType[name])
                values = ggml.dequantize(blocks, name)
                self.assertEqual((values.dtype, values.shape), (np.float32, (8, 256 * 50)))
                differing = np.count_nonzero(values != expected)
                self.assertEqual(differing, 0, f"{differing} of {values.size} values differ")


if __name__ == "__main__":
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    unittest.main()
