#!/usr/bin/env python3
"""Loads the GGUF files that `wring-engine export` writes with gguf-py and transformers, and has them read back by the engine.

    gguf_parity.py [--bin build/release/bin] [-v] [TEST...]     e.g. gguf_parity.py EncoderGguf

Values must equal the export's claims to the bit, logits wring-engine's own within TOLERANCE. llama.cpp itself: llama_parity.py.
"""
import json
import os
import shutil
import sys
import unicodedata
import unittest
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import numpy as np  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402
from gguf import GGUFReader, GGUFValueType, GGUFWriter, dequantize  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

import export_support as support  # noqa: E402
from export_support import DATA, HARD_TEXT, MODELS, SHAPES, TOLERANCE, Exports  # noqa: E402
from random_models import make_encoder  # noqa: E402

engine = None  # set by main()

# Parameters, and a type of tensor that must be among the file's.
GGUF_TYPES = {"F32": "F32", "F16": "F16", "BF16": "BF16", "Q8_0": "Q8_0", "Q4_0": "Q4_0", "Q4_1": "Q4_1", "Q5_0": "Q5_0",
              "Q5_1": "Q5_1", "Q2_K": "Q2_K", "Q3_K_M": "Q3_K", "Q4_K_M": "Q4_K", "Q5_K_M": "Q5_K", "Q6_K": "Q6_K",
              "IQ4_NL": "IQ4_NL", "Q8_0, tensor_types=ffn=MXFP4": "MXFP4",
              'Q8_0, tensor_types="blk.[0-9]{1,2}.ffn=q4_0,attn_v=q5_0"': "Q5_0"}
GGUF_PARTS = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
              "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
              "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}


def name_of(stored):
    whole = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight",
             "output.weight": "lm_head.weight"}
    if stored in whole:
        return whole[stored]
    _, block, part, kind = stored.split(".")
    return f"model.layers.{block}.{GGUF_PARTS[part]}.{kind}"


def in_halves(array, stored, config):
    """Rows of the tensor `stored`; of llama's q and k back in the order of halves."""
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(stored.split(".")[-2])
    if config.model_type != "llama" or not heads:
        return array
    half = len(array) // heads // 2
    return array.reshape(heads, half, 2, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)


def read_gguf(file, config):
    """{Hugging Face's name: fp32 array} by gguf-py."""
    return {name_of(tensor.name): in_halves(dequantize(tensor.data, tensor.tensor_type).astype(np.float32), tensor.name, config)
            for tensor in GGUFReader(file).tensors}


class Gguf(Exports):
    def check(self, what, kind, source):
        folder = self.folder / f"export-{len(kind)}-{kind[:6]}"
        report = engine.export(source, f"gguf(type={kind})", folder)
        file = next(folder.glob("*.gguf"))
        config = transformers.AutoConfig.from_pretrained(source)
        self.assert_claimed(report, read_gguf(file, config))
        model = self.load(file.parent, gguf_file=file.name)
        self.assert_claimed(report, support.state_of(model))
        logits = self.assert_same_outputs(model, file, config.vocab_size)
        text = HARD_TEXT
        if config.model_type == "qwen2":  # transformers composes characters for it, as Qwen's tokenizer does and the model's does not
            text = unicodedata.normalize("NFC", text)
        tokenizer = transformers.AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
        ids = transformers.AutoTokenizer.from_pretrained(source)(text, add_special_tokens=False).input_ids
        self.assertEqual(tokenizer(text, add_special_tokens=False).input_ids, ids)
        self.assertEqual(engine.tokens(file, text, self.folder), ids)
        types = sorted({tensor.tensor_type.name for tensor in GGUFReader(file).tensors if len(tensor.shape) == 2})
        self.row(["transformers", "gguf"], f"gguf {kind} ({' '.join(types)}), {what}: weights equal, {logits}, token ids equal")
        return types

    def test_every_file_type(self):
        source = self.model(hidden_size=256, intermediate_size=512, num_hidden_layers=2)
        for kind, tensor_type in GGUF_TYPES.items():
            with self.subTest(kind=kind):
                self.assertIn(tensor_type, self.check("rows of 256", kind, source))

    def test_shapes_of_models(self):
        for number, (shape, options) in enumerate(SHAPES.items()):
            with self.subTest(shape=shape):
                self.setUp()
                self.check(shape, ["F32", "Q8_0", "Q4_0"][number % 3], self.model(**options))


class GgufToGguf(Exports):
    """What a GGUF says of its model and no config.json or tokenizer.json holds stays with it, through a stage too."""

    def test_keys_are_carried_over(self):
        source = self.model()
        engine.export(source, "gguf(type=F32)", self.folder / "first")
        first = GGUFReader(next((self.folder / "first").glob("*.gguf")))
        self.write_with(first, self.folder / "second.gguf", {"tokenizer.ggml.pre": "smollm", "general.license": "apache-2.0",
                                                            "general.author": "somebody", "tokenizer.ggml.unknown_token_id": 0})
        small = engine.compress("rtn(bits=8, group_size=32)", self.folder / "second.gguf", self.folder / "small")
        for what, path in (("file", self.folder / "second.gguf"), ("artifact", small)):
            with self.subTest(what):
                engine.export(path, "gguf(type=Q8_0)", self.folder / what)
                reader = GGUFReader(next((self.folder / what).glob("*.gguf")))
                self.assertEqual({key: field(reader, key) for key in ("tokenizer.ggml.pre", "general.license", "general.author",
                                                                     "tokenizer.ggml.unknown_token_id")},
                                 {"tokenizer.ggml.pre": "smollm", "general.license": "apache-2.0", "general.author": "somebody",
                                  "tokenizer.ggml.unknown_token_id": 0})
                self.assertEqual(field(reader, "general.file_type"), 7)
        self.row(["gguf"], "GGUF to GGUF, at once and through a stage: pre-tokeniser, unknown token, licence and author are carried over")

    def write_with(self, reader, path, more):
        writer = GGUFWriter(path, "llama")
        for key, found in reader.fields.items():
            if key.startswith("GGUF.") or key == "general.architecture" or key in more:
                continue
            kind = found.types[0]
            writer.add_key_value(key, found.contents(), kind, found.types[1] if kind == GGUFValueType.ARRAY else None)
        for key, value in more.items():
            writer.add_string(key, value) if isinstance(value, str) else writer.add_uint32(key, value)
        for tensor in reader.tensors:
            writer.add_tensor(tensor.name, tensor.data)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


# GGUF's names of a BERT's modules, after llama.cpp's constants.
ENCODER_WHOLE = {"token_embd": "embeddings.word_embeddings", "position_embd": "embeddings.position_embeddings",
                 "token_types": "embeddings.token_type_embeddings", "token_embd_norm": "embeddings.LayerNorm"}
ENCODER_PARTS = {"attn_q": "attention.self.query", "attn_k": "attention.self.key", "attn_v": "attention.self.value",
                 "attn_output": "attention.output.dense", "attn_output_norm": "attention.output.LayerNorm",
                 "ffn_up": "intermediate.dense", "ffn_down": "output.dense", "layer_output_norm": "output.LayerNorm"}


def encoder_name(stored):
    module, kind = stored.rsplit(".", 1)
    if module in ENCODER_WHOLE:
        return f"{ENCODER_WHOLE[module]}.{kind}"
    _, block, part = module.split(".")
    return f"encoder.layer.{block}.{ENCODER_PARTS[part]}.{kind}"


def field(reader, key):
    found = reader.fields[key]
    return found.contents()


def longest_pieces(tokens, words, unknown):
    """Ids of words as llama.cpp cuts them: U+2581 before each, then the longest token that fits, over and over."""
    ids, known = [], {token: number for number, token in enumerate(tokens)}
    for word in words:
        rest, found = "\u2581" + word, []
        while rest:
            size = next((size for size in range(len(rest), 0, -1) if rest[:size] in known), None)
            if size is None:
                found = [unknown]
                break
            found.append(known[rest[:size]])
            rest = rest[size:]
        ids += found
    return ids


class EncoderGguf(Exports):
    """transformers reads no GGUF of a BERT: its BertModel gets what gguf-py makes of the tensors."""

    def check(self, what, kind, source, text=HARD_TEXT, left_out=()):
        folder = self.folder / f"export-{kind}"
        report = engine.export(source, f"gguf(type={kind})", folder)
        self.assertEqual(sorted(report.get("left_out", [])), sorted(left_out))
        file = next(folder.glob("*.gguf"))
        reader, config = GGUFReader(file), transformers.AutoConfig.from_pretrained(source)
        values = {encoder_name(tensor.name): dequantize(tensor.data, tensor.tensor_type).astype(np.float32) for tensor in reader.tensors}
        self.assert_claimed(report, values)
        model = transformers.BertModel(config, add_pooling_layer=False).eval()
        model.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in values.items()})
        logits = self.assert_same_outputs(model, file, config.vocab_size)
        self.check_keys(reader, config)
        self.check_tokens(reader, source, file, text)
        types = sorted({tensor.tensor_type.name for tensor in reader.tensors if len(tensor.shape) == 2})
        self.row(["gguf", "transformers"], f"gguf {kind} ({' '.join(types)}), {what}: weights and keys equal, "
                 f"{logits.replace('logits', 'hidden states')}, token ids equal, {report['bits_per_weight']:.2f} bits a weight")
        return reader

    def check_keys(self, reader, config):
        expected = {"general.architecture": "bert", "bert.context_length": config.max_position_embeddings,
                    "bert.embedding_length": config.hidden_size, "bert.block_count": config.num_hidden_layers,
                    "bert.feed_forward_length": config.intermediate_size, "bert.attention.head_count": config.num_attention_heads,
                    "bert.attention.layer_norm_epsilon": float(np.float32(config.layer_norm_eps)), "bert.attention.causal": False,
                    "tokenizer.ggml.model": "bert", "tokenizer.ggml.token_type_count": config.type_vocab_size}
        self.assertEqual({key: field(reader, key) for key in expected}, expected)

    def check_tokens(self, reader, source, file, text):
        tokenizer, pieces = transformers.AutoTokenizer.from_pretrained(source), field(reader, "tokenizer.ggml.tokens")
        whole, ids = tokenizer(text).input_ids, tokenizer(text, add_special_tokens=False).input_ids
        self.assertEqual(engine.tokens(file, text, self.folder), ids)
        named = {name: field(reader, f"tokenizer.ggml.{name}_token_id") for name in ("bos", "seperator", "unknown", "padding", "mask")}
        self.assertEqual([named["bos"], named["seperator"]], [whole[0], whole[-1]])
        self.assertEqual([named["unknown"], named["padding"], named["mask"]],
                         [tokenizer.unk_token_id, tokenizer.pad_token_id, tokenizer.mask_token_id])
        self.assertEqual(len(pieces), len(field(reader, "tokenizer.ggml.token_type")))
        backend = tokenizer.backend_tokenizer
        words = [word for word, _ in backend.pre_tokenizer.pre_tokenize_str(backend.normalizer.normalize_str(text))]
        self.assertEqual(longest_pieces(pieces, words, named["unknown"]), ids)

    def test_file_types_and_mixes(self):
        source = self.folder / "model"
        make_encoder(source, hidden_size=256, intermediate_size=512, num_hidden_layers=2)
        for kind, tensor_type in {"F32": "F32", "F16": "F16", "Q8_0": "Q8_0", "Q4_0": "Q4_0", "Q4_K_M": "Q4_K", "Q6_K": "Q6_K"}.items():
            with self.subTest(kind=kind):
                reader = self.check("rows of 256", kind, source, left_out=["pooler.dense.weight", "pooler.dense.bias"])
                self.assertIn(tensor_type, {tensor.tensor_type.name for tensor in reader.tensors})

    def test_a_compressed_encoder_with_odd_sizes_and_its_own_prefix(self):
        make_encoder(self.folder / "made", vocab_size=301, hidden_size=72, intermediate_size=100, num_attention_heads=6, type_vocab_size=3,
                     max_position_embeddings=80, layer_norm_eps=1e-5)
        prefixed = transformers.BertForMaskedLM(transformers.BertConfig.from_pretrained(self.folder / "made"))
        prefixed.bert.load_state_dict(transformers.BertModel.from_pretrained(self.folder / "made").state_dict(), strict=False)
        source = self.folder / "prefixed"
        shutil.copytree(self.folder / "made", source)
        save_file({f"bert.{name}": value.clone() for name, value in prefixed.bert.state_dict().items() if value.is_floating_point()},
                  source / "model.safetensors", {"format": "pt"})
        small = engine.compress("rtn(bits=8, group_size=-1)", source, self.folder / "small")
        self.check("rtn of a checkpoint under 'bert.'", "F16", small)

    def test_in_again(self):
        source, read = self.folder / "model", self.folder / "read"
        make_encoder(source, layer_norm_eps=1e-6)
        (source / "modules.json").write_text(json.dumps([{"path": "", "type": "sentence_transformers.models.Transformer"},
                                                         {"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]))
        (source / "1_Pooling").mkdir()
        (source / "1_Pooling/config.json").write_text(json.dumps({"pooling_mode_mean_tokens": False, "pooling_mode_cls_token": True}))
        engine.export(source, "gguf(type=F32)", self.folder / "gguf")
        file = next((self.folder / "gguf").glob("*.gguf"))
        self.assertEqual(field(GGUFReader(file), "bert.pooling_type"), 2)
        report = engine.export(file, "huggingface(dtype=float32)", read)
        model, info = transformers.BertModel.from_pretrained(read, add_pooling_layer=False, output_loading_info=True)
        self.assertEqual({what: keys for what, keys in info.items() if keys}, {})
        self.assert_claimed(report, support.state_of(model))
        ids = torch.arange(40)[None]
        with torch.no_grad():
            theirs = transformers.BertModel.from_pretrained(source).eval()(ids).last_hidden_state
            self.assertTrue(torch.equal(model.eval()(ids).last_hidden_state, theirs))
        was, now = (transformers.AutoConfig.from_pretrained(path) for path in (source, read))
        for key in ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings", "vocab_size",
                    "type_vocab_size", "hidden_act", "pad_token_id"):
            self.assertEqual(getattr(was, key), getattr(now, key), key)
        self.assertAlmostEqual(was.layer_norm_eps, now.layer_norm_eps, delta=1e-12)
        first, second = (transformers.AutoTokenizer.from_pretrained(path) for path in (source, read))
        self.assertEqual(first(HARD_TEXT).input_ids, second(HARD_TEXT).input_ids)
        self.assertEqual(first.get_vocab(), second.get_vocab())
        self.row(["transformers"], "BERT to gguf and back to a folder: outputs equal to the bit, configuration and vocabulary equal")


class Padding(Exports):
    """Blocks of different widths, some without attention or FFN, made equal with zeros."""

    def cut(self, source, recipe="flap(ratio=0.45, samples=8, sequence_length=32, min_keep=0)"):
        engine.run("run", recipe, "--model", source, "--data", f"calibration={DATA / 'calibration.txt'}", "--out", self.folder / "cut",
                   "--quiet")
        config = json.loads((self.folder / "cut/config.json").read_text())
        self.assertTrue([key for key in config if key.endswith("_per_layer")])
        return self.folder / "cut"

    def assert_generates(self, model, cut):
        """transformers' greedy tokens are the engine's on the model before it was padded."""
        prompt = torch.arange(3, 9)[None]
        made = model.generate(prompt, do_sample=False, max_new_tokens=16, min_new_tokens=16, pad_token_id=0)
        self.assertEqual(engine.logits(cut, made)[0, prompt.shape[1] - 1:-1].argmax(-1).tolist(), made[0, prompt.shape[1]:].tolist())

    def check(self, what, cut, to, **options):
        folder = self.folder / "export"
        report = engine.export(cut, to, folder)
        if "gguf" in to:
            options["gguf_file"] = next(folder.glob("*.gguf")).name
        model = self.load(folder, **options)
        self.assert_claimed(report, support.state_of(model))
        logits = self.assert_same_outputs(model, cut, model.config.vocab_size)
        self.assert_generates(model, cut)
        self.row(["transformers"], f"{to} of {what}: {logits} of the unpadded model's, 16 tokens equal")

    def test_folder_with_the_biases_that_pruning_made(self):
        source = self.model(num_hidden_layers=5, num_attention_heads=8, num_key_value_heads=4)
        self.check("flap", self.cut(source), "huggingface(dtype=float32, pad=true)")

    def test_gguf(self):
        source = self.model(num_hidden_layers=5, num_attention_heads=8, num_key_value_heads=4, tie_word_embeddings=True)
        cut = self.cut(source, "flap(ratio=0.45, samples=8, sequence_length=32, min_keep=0, bias=false)")
        self.check("flap without biases, a tied head", cut, "gguf(type=F32, pad=true)")

    def test_gguf_with_biases_is_read_back_the_same(self):
        cut = self.cut(self.model(num_hidden_layers=5, num_attention_heads=8, num_key_value_heads=4))
        engine.export(cut, "gguf(type=F32, pad=true)", self.folder / "export")
        file, ids = next((self.folder / "export").glob("*.gguf")), torch.arange(40)[None]
        self.assertTrue(any(tensor.name.endswith("attn_output.bias") for tensor in GGUFReader(file).tensors))
        self.assertLessEqual((engine.logits(file, ids) - engine.logits(cut, ids)).abs().max().item(), TOLERANCE)

    def test_an_encoder(self):
        make_encoder(self.folder / "model", num_hidden_layers=4)
        cut = self.cut(self.folder / "model")
        report = engine.export(cut, "huggingface(dtype=float32, pad=true)", self.folder / "export")
        model = self.load(self.folder / "export", transformers.AutoModel)
        self.assert_claimed(report, support.state_of(model))
        self.row(["transformers"], f"a padded BERT: {self.assert_same_outputs(model, cut, 300)} of the unpadded model's")


class Llama3Rope(Exports):
    def test_its_factors_go_out_as_a_table_and_come_back(self):
        """The table as Llama 3's scaling is described; transformers' own reading of a GGUF leaves it out."""
        scaling = dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                       original_max_position_embeddings=128)
        source = self.model(head_dim=64, rope_parameters=scaling, max_position_embeddings=1024)
        engine.export(source, "gguf(type=F32)", self.folder / "export")
        file = next((self.folder / "export").glob("*.gguf"))
        [table] = [tensor.data for tensor in GGUFReader(file).tensors if tensor.name == "rope_freqs.weight"]
        wavelengths = 2 * np.pi * 500000.0 ** (np.arange(32) / 32)
        smooth = np.clip((128 / wavelengths - 1) / (4 - 1), 0, 1)
        self.assertTrue(np.allclose(table, 1 / ((1 - smooth) / 8 + smooth), rtol=1e-5))
        self.assertGreater(len(set(np.round(table, 3))), 4)  # 1, 8 and a ramp
        ids = torch.randint(0, 384, (2, 300), generator=torch.Generator().manual_seed(5))
        with torch.no_grad():
            theirs = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()(ids).logits
        difference = (engine.logits(file, ids) - theirs).abs().max().item()
        self.assertLessEqual(difference, TOLERANCE)
        engine.export(file, "huggingface(dtype=float32)", self.folder / "back")
        model = self.load(self.folder / "back")
        self.assertEqual(model.config.rope_parameters["rope_type"], "llama3")
        with torch.no_grad():
            self.assertLessEqual((model(ids).logits - theirs).abs().max().item(), TOLERANCE)
        self.row(["gguf", "transformers"], f"rope llama3 as rope_freqs.weight, out and in: logits within {difference:.0e} at 300 positions")


@support.whole_models
class MiniLM(EncoderGguf):
    """The encoder that the project measures with."""

    def test_file_types_and_mixes(self):
        source = MODELS / "minilm"
        if not source.is_dir():
            self.skipTest("run scripts/models")
        for kind in ("F32", "Q4_K_M"):
            with self.subTest(kind=kind):
                reader = self.check("all-MiniLM-L6-v2", kind, source, left_out=["pooler.dense.weight", "pooler.dense.bias"])
                self.assertEqual(field(reader, "bert.pooling_type"), 1)

    test_a_compressed_encoder_with_odd_sizes_and_its_own_prefix = test_in_again = None


if __name__ == "__main__":
    engine, rest = support.command_line(__doc__)
    unittest.main(argv=[sys.argv[0], *rest])
