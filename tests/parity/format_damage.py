#!/usr/bin/env python3
"""Damages Wring folders: wring_format refuses them by name of file and tensor, or reads the weights that were there.

    format_damage.py [-v] [TEST...]
"""
import json
import random
import tracemalloc
import unittest

import numpy as np

from format_parity import InFolder, wring_format  # it knows where the package is
from drawn_folders import Drawn, ggml_layer, low_rank, masked, packed_int, residual, summed
from wring_format import FormatError


def mixed(rng, blocks=1):
    """Every rep in a folder of a few KB."""
    return Drawn(3, 32, {"model.layers.0.mlp.up_proj": packed_int(3, 32, 3, 8, False, "F16", rng),
                         "model.layers.0.mlp.gate_proj": masked(3, 32, 0.5, "BF16", rng),
                         "model.layers.0.self_attn.q_proj": ggml_layer("Q4_1", 2, 32, rng),
                         "model.layers.0.self_attn.k_proj": packed_int(2, 32, 4, 32, True, "F32", rng),
                         "model.layers.0.self_attn.v_proj": summed(packed_int(2, 32, 4, 8, False, "F16", rng),
                                                                   low_rank(2, 32, 1, "F16", rng))})


class Damaged(InFolder):
    def setUp(self):
        super().setUp()
        self.drawn = mixed(np.random.default_rng(5))

    def refused(self, file, tensor, why, damage=None, change=lambda header: None):
        folder = self.drawn.write(self.new(), change=change)
        if damage:
            damage(folder)
        with self.assertRaises(FormatError) as caught:
            dict(wring_format.read(folder).tensors())
        self.assertEqual((caught.exception.file, caught.exception.tensor), (file, tensor), caught.exception)
        self.assertIn(why, str(caught.exception))
        self.drawn = mixed(np.random.default_rng(5))

    def test_headers_that_lie_are_refused_with_the_tensors_name(self):
        file, codes = "model.safetensors", "model.layers.0.mlp.up_proj.codes"

        def entry(**members):
            return lambda header: header[codes].update(members)

        self.refused(file, codes, "its shape needs", change=entry(shape=[1 << 60, 12]))
        self.refused(file, codes, "no list of at most 16", change=entry(shape=[1 << 64, 0]))
        self.refused(file, codes, "no list of at most 16", change=entry(shape=[3, -12]))
        self.refused(file, codes, "no list of at most 16", change=entry(shape=[3, 12.0]))
        self.refused(file, codes, "no list of at most 16", change=entry(shape=[True, 36]))
        self.refused(file, codes, "its dtype is", change=entry(dtype="U4"))
        self.refused(file, codes, "its shape is [12, 3], not [3, 12]", change=entry(shape=[12, 3]))
        self.refused(file, codes, "outside the file", change=entry(data_offsets=[0, 1 << 70]))
        first = next(iter(self.drawn.tensors))
        self.refused(file, first, "needs", change=lambda header: header[first].update(data_offsets=[0, 4]))
        self.refused(file, "", "behind its last tensor", lambda f: (f / file).write_bytes((f / file).read_bytes() + b"x"))
        self.refused(file, "", "is shorter than", lambda f: (f / file).write_bytes(b"abc"))
        self.refused(file, "", "claims", lambda f: (f / file).write_bytes(b"\xff" * 8 + b"{}"))
        self.refused(file, "", "claims", lambda f: (f / file).write_bytes((99_999_999).to_bytes(8, "little") + b"{}"))
        self.refused(file, "", "is not JSON", lambda f: (f / file).write_bytes((200_000).to_bytes(8, "little") + b"{\"a\":" + b"[" * 199_995))
        self.refused(file, "", "is missing", lambda f: (f / file).unlink())
        self.refused(file, "", "no regular file", lambda f: ((f / file).unlink(), (f / file).mkdir()))

    def test_holes_and_overlaps(self):
        self.drawn.tensors["x"] = self.drawn.tensors["y"] = ("F32", (2,), bytes(8))
        at = {name: sum(len(t[2]) for t in list(self.drawn.tensors.values())[:i]) for i, name in enumerate(self.drawn.tensors)}
        self.refused("model.safetensors", "y", "overlap", change=lambda header: header["y"].update(data_offsets=[at["x"] + 4, at["x"] + 12]))
        self.drawn.tensors["x"] = self.drawn.tensors["y"] = ("F32", (2,), bytes(8))
        self.refused("model.safetensors", "y", "hole", change=lambda header: header.pop("x"))

    def test_a_description_that_does_not_fit_is_refused_with_the_layers_name(self):
        up, gate, q = ("model.layers.0." + name for name in ("mlp.up_proj", "mlp.gate_proj", "self_attn.q_proj"))

        def attribute(layer, **members):
            self.drawn.description["layers"][layer]["attributes"].update(members)

        for bits in (0, 9, -1, True, 3.0, "3", 1 << 70):
            attribute(up, bits=bits)
            self.refused("wring.json", up, "'bits'")
        attribute(up, group_size=1 << 31)
        self.refused("model.safetensors", f"{up}.codes", "its shape is")
        attribute(up, symmetric=True)
        self.refused("wring.json", up, "symmetric")
        del self.drawn.tensors[f"{up}.zeros"]
        self.refused("wring.json", up, "symmetric")
        attribute(gate, columns=31)
        self.refused("wring.json", f"{gate}.weight", "is [3, 31], config.json says [3, 32]")
        self.drawn.description["family"] = "llama-of-another-time"
        attribute(gate, columns=31)
        self.refused("model.safetensors", f"{gate}.mask", "past the last one")
        attribute(gate, columns=1 << 40)
        self.refused("wring.json", gate, "'columns'")
        attribute(q, type="Q4_K")
        self.refused("wring.json", q, "type_id")
        attribute(q, type="Q5_1", type_id=7)
        self.refused("model.safetensors", f"{q}.blocks", "bytes a row")
        v = "model.layers.0.self_attn.v_proj"
        for parts, why in (([], "a sum of 0 parts"), ([{"rep": "dense", "attributes": {}}] * 17, "a sum of 17 parts"), ({}, "'parts'"),
                           ([{"rep": "sum", "attributes": {}}] * 2, "'sum' is none of"), ([7, 7], "no member 'rep'")):
            attribute(v, parts=parts)
            self.refused("wring.json", v, why)
        for name, shape, why in ((f"{v}.1.b", (1, 2), "its rank is 2, the other factor's 1"), (f"{v}.1.a", (4, 8), "its rank is")):
            dtype, _, data = self.drawn.tensors[name]
            self.drawn.tensors[name] = (dtype, shape, data)
            self.refused("model.safetensors", f"{v}.1.b", why)
        self.drawn.tensors[f"{v}.1.b"] = ("F16", (3, 1), bytes(6))
        self.refused("wring.json", v, "its parts have the shapes [2, 32], [3, 32]")
        del self.drawn.tensors[f"{v}.1.a"]
        self.refused("wring.json", v, f"its tensor {v}.1.a is missing")
        self.drawn.description["layers"][q]["rep"] = "codebook"
        self.refused("wring.json", q, "none of dense, masked")
        del self.drawn.description["layers"][q]
        self.refused("model.safetensors", f"{q}.blocks", "no layer of wring.json has it")
        self.drawn.description["format_version"] = 2
        self.refused("wring.json", "", "format_version 2")
        self.drawn.config["intermediate_size"] = 4
        self.refused("wring.json", "model.layers.0.mlp.down_proj.weight", "is [32, 3], config.json says [32, 4]")
        del self.drawn.tensors["model.norm.weight"]
        self.refused("wring.json", "model.norm.weight", "is missing")
        self.drawn.tensors["lm_head.weight"] = ("F32", (3, 32), bytes(384))
        self.refused("wring.json", "lm_head.weight", "has no such tensor")
        self.refused("wring.json", "", "a member stands twice", lambda f: (f / "wring.json").write_text('{"a": 1, "a": 1}'))

    def test_levels_that_do_not_fit_are_refused(self):
        up = "model.layers.0.mlp.up_proj"

        def damaged(file, tensor, why, order=None, **tensors):
            rep, attributes, stored = residual(3, 10, 2, 1, np.random.default_rng(9))
            drawn = Drawn(3, 10, {up: (rep, {"order": order or attributes["order"]}, stored)})
            for suffix, change in tensors.items():
                drawn.tensors[f"{up}.{suffix}"] = change(*drawn.tensors[f"{up}.{suffix}"])
            self.drawn = drawn
            self.refused(file, tensor, why)

        for order in ([0], [0, 0], [3, 1], [-1, 0], [0, True], [0, 1.0]):
            damaged("wring.json", up, "the order of its 2 levels", order=order)
        damaged("model.safetensors", f"{up}.signs", "past the last", signs=lambda dtype, shape, data: (dtype, shape, data[:-1] + b"\xff"))
        damaged("model.safetensors", f"{up}.u", "NaN", u=lambda dtype, shape, data: (dtype, shape, b"\x00\x7c" + data[2:]))
        damaged("model.safetensors", f"{up}.u", "no F16", u=lambda dtype, shape, data: ("BF16", shape, data))
        damaged("model.safetensors", f"{up}.v", "beside a factor of", v=lambda dtype, shape, data: (dtype, (1, 2, 10), data))
        damaged("model.safetensors", f"{up}.signs", "not the bits", signs=lambda dtype, shape, data: (dtype, (2, 2, 3), data))

    def test_values_that_cannot_be_are_refused(self):
        up, gate = "model.layers.0.mlp.up_proj", "model.layers.0.mlp.gate_proj"
        dtype, shape, data = self.drawn.tensors[f"{up}.scales"]
        self.drawn.tensors[f"{up}.scales"] = (dtype, shape, b"\x00\x7c" + data[2:])
        self.refused("model.safetensors", f"{up}.scales", "NaN or infinite")
        dtype, shape, data = self.drawn.tensors[f"{gate}.mask"]
        self.drawn.tensors[f"{gate}.mask"] = (dtype, shape, bytes([data[0] ^ 1]) + data[1:])
        self.refused("model.safetensors", f"{gate}.mask", "values, but")

    def test_matrices_without_values_take_no_memory(self):
        up, gate = "model.layers.0.mlp.up_proj", "model.layers.0.mlp.gate_proj"
        for layer, suffix in ((up, "scales"), (gate, "mask")):
            dtype, _, _ = self.drawn.tensors[f"{layer}.{suffix}"]
            self.drawn.tensors[f"{layer}.{suffix}"] = (dtype, (1 << 62, 0), b"")
            self.refused("model.safetensors", f"{layer}.{suffix}", "no matrix")

    def test_shards_and_their_index_must_agree(self):
        def refused(tensor, file, why, damage):
            folder = self.drawn.write(self.new(), shards=2)
            index = json.loads((folder / "model.safetensors.index.json").read_text())
            damage(folder, index["weight_map"])
            (folder / "model.safetensors.index.json").write_text(json.dumps(index))
            with self.assertRaises(FormatError) as caught:
                wring_format.read(folder)
            self.assertEqual((caught.exception.file, caught.exception.tensor), (file, tensor), caught.exception)
            self.assertIn(why, str(caught.exception))

        index, second, name = "model.safetensors.index.json", "model-00002-of-00002.safetensors", "model.norm.weight"
        refused(name, index, "its file is", lambda folder, places: places.update({name: "../model.safetensors"}))
        refused(name, second, "is not where", lambda folder, places: places.pop(name))
        refused("x", second, "is missing, though", lambda folder, places: places.update(x=second))
        refused("", second, "is missing", lambda folder, places: (folder / second).unlink())

    def test_a_mutated_description_or_header_gives_an_error_or_the_same_weights(self):
        folder = self.drawn.write(self.new())
        artifact = wring_format.read(folder)
        before = {name: values.tobytes() for name, values in artifact.tensors()}
        files = ("wring.json", "config.json", "model.safetensors")
        whole = {file: (folder / file).read_bytes() for file in files}
        end = {file: len(data) for file, data in whole.items()}
        end["model.safetensors"] = 8 + int.from_bytes(whole["model.safetensors"][:8], "little")
        rng = random.Random(6)
        outcomes = {"refused": 0, "same": 0}

        def attempt(file, data, what):
            (folder / file).unlink()  # to truncate it instead waits for the disk
            (folder / file).write_bytes(data)
            try:
                after = {name: values.tobytes() for name, values in wring_format.read(folder).tensors()}
            except FormatError:
                outcomes["refused"] += 1
            else:
                self.assertTrue(after == before, f"{file}: {what} gave other weights")
                outcomes["same"] += 1

        for file in files:
            data = whole[file]
            for at in range(end[file]):  # every byte of them
                for byte in (data[at] ^ 1 << rng.randrange(8), rng.randrange(256), rng.choice(b'0129"{}[],:.-e \\u')):
                    attempt(file, data[:at] + bytes([byte]) + data[at + 1:], f"byte {at} as {byte}")
            attempt(file, data, "nothing")
        tracemalloc.start()
        for file in files:
            data = whole[file]
            for _ in range(70):
                at, length = rng.randrange(end[file]), rng.randrange(1, 40)
                attempt(file, data[:at] + data[at + length:], f"{length} bytes less at {at}")
                attempt(file, data[:at] + data[at:at + length] + data[at:], f"{length} bytes twice at {at}")
                attempt(file, data[:at], f"cut at {at}")
            attempt(file, data, "nothing")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        print(f"\n{outcomes['refused']} mutations refused, {outcomes['same']} without effect, at most {peak / 1e3:.0f} kB", flush=True)
        self.assertLess(peak, 1e6)
        self.assertGreater(min(outcomes.values()), 50)


if __name__ == "__main__":
    unittest.main()
