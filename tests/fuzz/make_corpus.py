#!/usr/bin/env python3
"""Writes the seed corpora of the fuzz targets: a few small valid inputs each, and the lies worth starting from."""

import gzip
import hashlib
import io
import json
import pathlib
import struct
import zipfile
import zlib

CORPUS = pathlib.Path(__file__).parent / "corpus"


def safetensors(header: dict | bytes, data: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype: str, shape: list[int], begin: int, end: int) -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def safetensors_seeds() -> dict[str, bytes]:
    one = entry("F32", [2], 0, 8)
    return {
        "one": safetensors({"a": one}, bytes(8)),
        "two": safetensors({"__metadata__": {"format": "pt"}, "a": one, "b": entry("BF16", [1, 2], 8, 12)}, bytes(12)),
        "scalar": safetensors({"s": entry("I64", [], 0, 8)}, bytes(8)),
        "empty": safetensors({"e": entry("U8", [0, 3], 0, 0)}, b""),
        "overlap": safetensors({"a": one, "b": entry("F32", [2], 4, 12)}, bytes(12)),
        "hole": safetensors({"a": one, "b": entry("F32", [1], 12, 16)}, bytes(16)),
        "twice": safetensors(b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{}}', bytes(1)),
        "lying": struct.pack("<Q", 1 << 62) + b"{}",
    }


def string(text: str) -> bytes:
    return struct.pack("<Q", len(text)) + text.encode()


def gguf(keys: list[bytes], tensors: list[tuple[str, list[int], int, bytes]]) -> bytes:
    out = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)) + b"".join(keys)
    data = b""
    for name, shape, kind, values in tensors:
        out += string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, len(data))
        data += values + bytes(-len(values) % 32)
    return out + bytes(-len(out) % 32) + data


# Type id: elements and bytes of a block (ggml).
BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84),
          11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 20: (32, 18), 30: (1, 2), 39: (32, 17)}


def gguf_seeds() -> dict[str, bytes]:
    keys = [
        string("general.architecture") + struct.pack("<I", 8) + string("llama"),
        string("general.alignment") + struct.pack("<II", 4, 32),
        string("tokens") + struct.pack("<IIQ", 9, 8, 2) + string("a") + string("b"),
        string("scores") + struct.pack("<IIQ2f", 9, 6, 2, 0.5, 1.5),
        string("flag") + struct.pack("<IB", 7, 1),
    ]
    blocks = [(f"t{kind}", [elements], kind, bytes(size)) for kind, (elements, size) in BLOCKS.items()]
    return {
        "none": gguf([], []),
        "keys": gguf(keys, []),
        "blocks": gguf(keys[:1], blocks),
        "twice": gguf([], [("a", [1], 0, bytes(4)), ("a", [1], 0, bytes(4))]),
        "counts": b"GGUF" + struct.pack("<IQQ", 3, 1 << 60, 1 << 60),
    }


def imatrix_seeds() -> dict[str, bytes]:
    def entry(name: str, calls: int, values: list[float]) -> bytes:
        return struct.pack("<i", len(name)) + name.encode() + struct.pack(f"<ii{len(values)}f", calls, len(values), *values)

    binary = struct.pack("<i", 2) + entry("a.weight", 2, [1.0, 2.0]) + entry("b.weight", 0, [0.5])
    keys = [
        string("general.type") + struct.pack("<I", 8) + string("imatrix"),
        string("imatrix.datasets") + struct.pack("<IIQ", 9, 8, 1) + string("text"),
        string("imatrix.chunk_count") + struct.pack("<II", 4, 3),
        string("imatrix.chunk_size") + struct.pack("<II", 4, 512),
    ]
    tensors = [("e.in_sum2", [2, 2], 0, struct.pack("<4f", 1, 2, 3, 4)), ("e.counts", [1, 2], 0, struct.pack("<2f", 2, 0))]
    return {
        "binary": binary,
        "named": binary + struct.pack("<ii", 7, 4) + b"text",
        "gguf": gguf(keys, tensors),
        "uneven": gguf(keys[:1], [tensors[0], ("e.counts", [3], 0, bytes(12))]),
        "counts": struct.pack("<i", 2**31 - 1) + bytes(64),
    }


def ggml_encode_seeds() -> dict[str, bytes]:
    values = {"normal": [0.1, -0.7, 1.3, -2.1, 0.01], "zero": [0.0, -0.0], "infinite": [1.0, float("inf")],
              "nan": [float("nan"), 1.0], "tiny": [1e-40, -1e-38], "huge": [3.4e38, -3.4e38, 1.0]}
    return {name: struct.pack(f"<{len(row)}f", *row) for name, row in values.items()}


def manifest_seeds() -> dict[str, bytes]:
    digest = hashlib.sha256(b"abc").hexdigest()
    file = {"path": "a/b.bin", "size": 3, "chunks": [{"sha256": digest, "size": 3}]}
    base = {"version": 1, "kind": "model", "metadata": {"format": "safetensors"}, "files": [file]}
    variants = {
        "one": base,
        "empty": base | {"files": []},
        "unsafe": base | {"files": [file | {"path": "../b"}]},
        "sum": base | {"files": [file | {"size": 4}]},
    }
    return {name: json.dumps(value, sort_keys=True, separators=(",", ":")).encode() for name, value in variants.items()}


def s3_answers_seeds() -> dict[str, bytes]:
    def answer(root: str, inside: str) -> bytes:
        return f'<?xml version="1.0"?><{root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inside}</{root}>'.encode()

    def page(inside: str) -> bytes:
        return answer("ListBucketResult", inside)

    objects = "".join(f"<Contents><Key>blobs/{c * 64}</Key><Size>3</Size></Contents>" for c in "ab")
    upload = "<Upload><Key>blobs/a</Key><UploadId>x</UploadId><Initiated>2026-11-30T13:39:24.000Z</Initiated></Upload>"
    part = '<Part><PartNumber>1</PartNumber><ETag>"0123"</ETag><Size>8388608</Size></Part>'
    return {"last": page(objects + "<IsTruncated>false</IsTruncated>"), "none": page(""), "deep": b"<a>" * 100,
            "more": page(objects + "<IsTruncated>true</IsTruncated><NextContinuationToken>1/a=&amp;</NextContinuationToken>"),
            "uploads": answer("ListMultipartUploadsResult", upload + "<IsTruncated>true</IsTruncated><NextKeyMarker>blobs/a</NextKeyMarker>"
                              "<NextUploadIdMarker>x</NextUploadIdMarker>"),
            "begun": answer("InitiateMultipartUploadResult", "<UploadId>x</UploadId>"), "parts": answer("ListPartsResult", part * 2)}


def csv_seeds() -> dict[str, bytes]:
    return {"plain": b"a,b\nc,d\n", "quoted": b'"a,b","say ""hi""","two\nlines"\r\n,\n', "endless": b'a,"b', "behind": b'"a"b,c\n'}


def recipe_seeds() -> dict[str, bytes]:
    texts = {
        "line": "gptq(bits=4, group_size=64) | rtn(bits=8, targets=Embedding)",
        "list": 'wanda(sparsity="2:4", targets=[Linear, "re:model.*"], ignore=[lm_head])',
        "yaml": "name: a\nstages:\n  - method: sparsegpt\n    params: {sparsity: 0.5}\n    targets: [\"re:.*mlp.*\"]\n"
        "evaluations:\n  - suite: perplexity\n    params: {windows: 2}\n    when: [before, each]\n",
        "calls": "stages:\n  - gptq(bits=4)\nevaluations: [size, 'sample(prompt=\"a | b\", tokens=3)']\n",
        "anchor": "stages: &a [rtn]\nevaluations: *a\n",
        "large": "rtn(bits=1e300)",
    }
    return {name: text.encode() for name, text in texts.items()}


def tokenizer_json_seeds() -> dict[str, bytes]:
    added = [{"id": 7, "content": "[CLS]", "special": True, "normalized": False, "lstrip": False, "rstrip": False, "single_word": False}]
    bpe = {"added_tokens": added, "normalizer": None, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
           "post_processor": None, "decoder": {"type": "ByteLevel"},
           "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "\u0120": 3, "\u0120a": 4, "1": 5, "2": 6},
                     "merges": ["a b", "\u0120 a"]}}
    split = {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True},
                                                   {"type": "Split", "pattern": {"Regex": "\\p{L}+|\\s+"}, "behavior": "Isolated", "invert": False}]}
    wordpiece = {"added_tokens": added, "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                                                       "strip_accents": None, "lowercase": True},
                 "pre_tokenizer": {"type": "BertPreTokenizer"}, "post_processor": None, "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
                 "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
                           "vocab": {"[UNK]": 0, "a": 1, "##b": 2, "don": 3}}}
    seeds = {"bpe": bpe, "split": {**bpe, "pre_tokenizer": split}, "wordpiece": wordpiece}
    return {name: json.dumps(seed, separators=(",", ":")).encode() for name, seed in seeds.items()}


def array(kind: int, values: list[bytes]) -> bytes:
    return struct.pack("<IQ", kind, len(values)) + b"".join(values)


def gguf_vocabulary_seeds() -> dict[str, bytes]:
    def key(name: str, kind: int, value: bytes) -> bytes:
        return string(name) + struct.pack("<I", kind) + value

    tokens = [string(text) for text in ("a", "b", "ab", "\u0120", "1", "<|im_end|>")]
    keys = [key("tokenizer.ggml.model", 8, string("gpt2")), key("tokenizer.ggml.pre", 8, string("smollm")),
            key("tokenizer.ggml.tokens", 9, array(8, tokens)), key("tokenizer.ggml.merges", 9, array(8, [string("a b")])),
            key("tokenizer.ggml.token_type", 9, array(5, [struct.pack("<i", t) for t in (1, 1, 1, 1, 1, 3)])),
            key("tokenizer.ggml.eos_token_id", 4, struct.pack("<I", 5))]
    pieces = [string(text) for text in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "\u2581a", "b", "\u2581[PAD6]")]
    words = [key("tokenizer.ggml.model", 8, string("bert")), key("tokenizer.ggml.tokens", 9, array(8, pieces)),
             key("tokenizer.ggml.token_type", 9, array(5, [struct.pack("<i", t) for t in (3, 3, 3, 3, 1, 1, 5)]))]
    words += [key(f"tokenizer.ggml.{name}_token_id", 4, struct.pack("<I", number))
              for name, number in (("bos", 2), ("seperator", 3), ("unknown", 1), ("padding", 0))]
    return {"bert": gguf(words, []), "gpt2": gguf(keys, []), "no_merges": gguf(keys[:3], []), "other": gguf([key("tokenizer.ggml.model", 8, string("llama"))], [])}


def sweep_seeds() -> dict[str, bytes]:
    texts = {
        "grid": "recipe: 'gptq(bits=4)'\nmodel: m\ndata: {calibration: c}\nspace: {'stages[0].bits': [3, 4], stages.gptq.damping: {low: 0.1, high: 0.2, step: 0.05}}\n",
        "asha": "recipe: {stages: [rtn], evaluations: ['similarity(sentences=8)', size]}\nmodels: [a, b]\ndata: {test: t}\n"
        "space: {'stages[0]': ['rtn(bits=8)', 'gptq(data=test)'], 'stages[0].group_size': {low: 16, high: 256, log: true}}\n"
        "strategy: {name: asha, seed: 3, fidelity: {path: evaluations.similarity.sentences, low: 4, high: 64, eta: 4}}\n"
        "objectives: [{metric: cosine_mean, goal: max}, weight_bytes]\nconstraints: [{metric: weight_bytes, max: '50%'}]\nbounds: {trials: 9}\n",
        "empty": "recipe: rtn\nmodel: m\nspace: {seed: {low: 2, high: 1}}\n",
    }
    return {name: text.encode() for name, text in texts.items()}


def goal_seeds() -> dict[str, bytes]:
    texts = {"size": "bytes<=22%, kl=min", "loss": "ppl<=+2%", "speed": "speedup>=1.5x on epyc, top1>=0.9", "encoder": "weights<=28MB,cosine=max, memory<=-60% on a",
             "contradictory": "bytes<=50%, bytes>=60%"}
    return {name: text.encode() for name, text in texts.items()}


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = b""
    while value >= 128:
        out, value = out + bytes([value % 128 + 128]), value // 128
    return out + bytes([value])


def field(number: int, value: int | str | bytes) -> bytes:
    """A field of a protocol buffer: a number, or bytes with their length."""
    if isinstance(value, int):
        return varint(number * 8) + varint(value)
    content = value.encode() if isinstance(value, str) else value
    return varint(number * 8 + 2) + varint(len(content)) + content


def onnx_seeds() -> dict[str, bytes]:
    def tensor(name: str, kind: int, dims: list[int], values: bytes) -> bytes:
        return field(8, name) + field(2, kind) + b"".join(field(1, d) for d in dims) + values

    def value(name: str) -> bytes:
        return field(1, name) + field(2, field(1, field(1, 1) + field(2, field(1, field(1, 2)) + field(1, field(2, "n")))))

    def node(operation: str, inputs: list[str], output: str, attributes: list[bytes] = ()) -> bytes:
        return b"".join(field(1, i) for i in inputs) + field(2, output) + field(4, operation) + b"".join(field(5, a) for a in attributes)

    def model(nodes: list[bytes], tensors: list[bytes]) -> bytes:
        graph = b"".join(field(1, n) for n in nodes) + field(2, "g") + b"".join(field(5, t) for t in tensors)
        return field(1, 8) + field(8, field(1, "") + field(2, 17)) + field(7, graph + field(11, value("x")) + field(12, value("y")))

    def external(location: str) -> bytes:
        entries = {"location": location, "offset": "0", "length": "8"}
        return b"".join(field(13, field(1, k) + field(2, v)) for k, v in entries.items()) + field(14, 1)

    axis = field(1, "axis") + field(20, 2) + field(3, -1)
    inner = field(1, node("Identity", ["x"], "z")) + field(2, "then") + field(12, field(1, "z"))
    branch = field(1, "then_branch") + field(20, 5) + field(6, inner)
    constant = field(1, "value") + field(20, 4) + field(5, tensor("", 7, [2], field(7, varint(1) + varint(-1))))
    return {
        "conv": model([node("Conv", ["x", "w"], "y", [field(1, "pads") + field(20, 7) + field(8, 1) + field(8, 1)])], [tensor("w", 1, [1, 1, 1], field(9, bytes(4)))]),
        "typed": model([node("Add", ["x", "w"], "y", [axis])], [tensor("w", 1, [2], field(4, bytes(8))), tensor("h", 10, [1], field(5, varint(15360))), tensor("q", 22, [3], field(5, varint(33) + varint(3)))]),
        "external": model([node("Relu", ["w"], "y")], [tensor("w", 1, [2], external("m.onnx"))]),
        "outside": model([node("Relu", ["w"], "y")], [tensor("w", 1, [2], external("../m"))]),
        "branches": model([node("If", ["x"], "y", [branch]), node("Constant", [], "c", [constant])], []),
        "large": model([], [tensor("w", 1, [1 << 40, 1 << 40], b"")]),
    }


def dataset_seeds() -> dict[str, bytes]:
    """Pictures and arrays by the standard library alone; a JPEG of one grey block from its tables."""
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    def png(colour: int, bits: int, row: bytes, *more: bytes) -> bytes:
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, bits, colour, 0, 0, 0)) + b"".join(more) + chunk(b"IDAT", zlib.compress(2 * (b"\0" + row))) + chunk(b"IEND", b"")

    def segment(marker: int, data: bytes) -> bytes:
        return bytes([255, marker]) + struct.pack(">H", len(data) + 2) + data

    jpeg = b"\xff\xd8" + segment(0xdb, b"\0" + bytes([1] * 64)) + segment(0xc0, struct.pack(">BHHBBBB", 8, 8, 8, 1, 1, 0x11, 0))
    jpeg += segment(0xc4, b"\0" + bytes([1] + [0] * 15) + b"\0") + segment(0xc4, b"\x10" + bytes([1] + [0] * 15) + b"\0") + segment(0xda, bytes([1, 1, 0, 0, 63, 0])) + b"\x3f\xff\xd9"
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (2, 3), }"
    npy = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(6)
    archives = {}
    for name, method in (("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED)):
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w", method) as archive:
            archive.writestr(zipfile.ZipInfo("x.npy"), npy, method)
        archives[name] = content.getvalue()
    idx = b"\0\0\x08\x02" + struct.pack(">II", 2, 3) + bytes(6)
    return {"grey": png(0, 8, b"\0\xff"), "colour": png(2, 8, bytes(6)), "alpha": png(6, 16, bytes(16)), "palette": png(3, 1, b"\x40", chunk(b"PLTE", bytes(6))),
            "jpeg": jpeg, "idx": idx, "idx-gz": gzip.compress(idx, mtime=0), **archives}


def main() -> None:
    groups = {"safetensors": safetensors_seeds(), "gguf": gguf_seeds(), "manifest": manifest_seeds(), "recipe": recipe_seeds(),
              "imatrix": imatrix_seeds(), "ggml_encode": ggml_encode_seeds(), "csv": csv_seeds(), "s3_answers": s3_answers_seeds(),
              "tokenizer_json": tokenizer_json_seeds(), "gguf_vocabulary": gguf_vocabulary_seeds(), "sweep": sweep_seeds(), "goal": goal_seeds(), "onnx": onnx_seeds(), "dataset": dataset_seeds()}
    for group, seeds in groups.items():
        folder = CORPUS / group
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in seeds.items():
            (folder / name).write_bytes(content)


if __name__ == "__main__":
    main()
