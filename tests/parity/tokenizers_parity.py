#!/usr/bin/env python3
"""Compares wring's token ids and decoded text with Hugging Face `tokenizers`, on texts chosen to break tokenizers.

    tokenizers_parity.py --tool build/release/bin/wring_tokenize [--model FILE.gguf|FOLDER]... [--text FILE]

Each --model is a GGUF (reference: transformers on that file) or a folder with tokenizer.json. Besides them the script
trains vocabularies of its own on the text, with the pre-tokenisers of GPT-2, Llama-3, SmolLM2 and Qwen2 and with
unusual added tokens. --text is WikiText-2's test split by default ($WRING_DATA, left out where absent); models encode
all of it at once, and the script's own vocabularies 200,000 characters. Exit status 1
where anything differs; the differences are printed.
"""
import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import unicodedata
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
GPT4O = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")

SOME = 200_000  # characters of a long text that the script's own vocabularies encode; the models get all of it

HARD = [
    "", " ", "  ", "\n", "\t", "\r\n", "\r", "\x00", "a\x00b", "\x0b\x0c\x1c\x1d\x85", "\u00a0\u1680\u180e\u2000\u200b\u2028\u2029\u202f\u205f\u3000\ufeff",
    "Hello, world!", "Hello,world!  Two  spaces   three", "   leading", "trailing   ", " \n \n\n  \t\t x", "a\n\n\n  b\r\n\r\nc\t\td",
    "I'm you're he's we'll they've I'd don't CAN'T WE'LL I'M it'S 'tis ''ve '\u017ft \u2019s", "it's'll've 're", "'", "''", "'s", " 's",
    "0 1 12 123 1234 12345 1234567890 3.14159 1,000,000 1e-5 0x1F 2024-01-31 \u0661\u0662\u0663 \u00bd\u00b2\u2460\u2167 \u4e00\u4e8c 1a2b3c a  2 x   2000",
    "na\u00efve caf\u00e9 cafe\u0301 A\u030a \u212b \u1e69 s\u0323\u0307 s\u0307\u0323 \u0344 \u0958 \ufb01 \u00df \u1e9e \u0130 \u0131 i\u0307",
    "e\u0301\u0302\u0303\u0304\u0305\u0306 Z\u0351\u036b\u0343a\u0322l\u0321g\u0353o\u033c", "\u0301 starts with a mark", "\u1100\u1161\u11a8 \uac01 \u110b\u1161\u11ab\u1102\u1167\u11bc",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u0419\u043e\u0433 \u0418\u0306", "\u0393\u03b5\u03b9\u03ac \u03c3\u03bf\u03c5 \u039a\u03cc\u03c3\u03bc\u03b5 \u03a3\u03a3 \u1f88\u03c2", "\u05e9\u05dc\u05d5\u05b9\u05dd \u05e2\u05d5\u05b9\u05dc\u05b8\u05dd", "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645\u060c \u0661\u0662\u0663 \u0644\u0652\u0644\u064e\u0651\u0647",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e \u0915\u094d\u0937\u093f", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01", "\u4f60\u597d\uff0c\u4e16\u754c\uff01\u8fd9\u662f\u4e2d\u6587\u3002", "\u3053\u3093\u306b\u3061\u306f\u4e16\u754c\u3001\u30ab\u30bf\u30ab\u30ca\u3001\uff76\uff9e \u304b\u3099", "\uc548\ub155\ud558\uc138\uc694 \uc138\uacc4", "\u10d2\u10d0\u10db\u10d0\u10e0\u10ef\u10dd\u10d1\u10d0 \u1c90\u1c91", "\u1208\u120b\u121d \u1361 \u12d3\u1208\u121d", "\U00010400\U00010428 \U0001d54f\U0001d518 \U00020000\U0002a700\U0002b820 \U000e0001",
    "\U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f44d\U0001f3fd \U0001f1e9\U0001f1ea \u2764\ufe0f 1\ufe0f\u20e3 \U0001f3f4\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "\U0001f9d1\u200d\U0001f4bb x\U0001f680y",
    "def f(x):\n    return {k: v**2 for k, v in x.items() if k != '__init__'}\n\n\n\tif (a&&b||!c) { x->y::z<T>(); } // 100%\n", "#include <stdio.h>\r\nint main(){return 0;}\r\n", "<html><body class=\"a\">&nbsp;</body></html>", "SELECT * FROM t WHERE a='b';--", "https://example.org/a?b=c&d=%20#frag user@host.tld C:\\dir\\file.txt ~/x/../y", "$x_1^{2}$ \\alpha\\beta \u2211\u222b\u221e \u2260 \u2264", "snake_case camelCase PascalCase SCREAMING_CASE kebab-case HTTPServer iPhone",
    "...!!!???---___===+++***///\\\\\\|||~~~```@@@###", "\u2026\u2014\u2013\u201c\u201d\u2018\u2019\u00ab\u00bb\u00bf\u00a1\u00a7\u00b6\u2020\u2021\u2022\u00b7\u20ac\u00a3\u00a5\u00a2\u00a9\u00ae\u2122\u00b0", "a.b,c;d:e!f?g(h)i[j]k{l}m<n>o", "@-@ , <unk> = = Title = =",
    "x" * 99, "x" * 100, "x" * 101, "ab" * 700, " " * 257, "\n" * 130, "a" + " " * 64 + "b", "\u00e9" * 100, "\u00e9" * 101, "supercalifragilisticexpialidocious" * 3, "\u4e2d" * 90, "-" * 500, "1" * 300, "z " * 300,
    "<|endoftext|>", "a<|endoftext|>b", "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", " <|im_end|> <|im_end|>", "<|endoftext|", "|endoftext|>", "<|endoftext|><|endoftext|>", "<<|im_end|>>", "<|ENDOFTEXT|>", "<repo_name>x<file_sep>y<filename>z", "<repo_name", "[CLS] a [SEP] [MASK] [PAD] [UNK] [cls] [ MASK ] x[MASK]y",
    "  <left>  x", "x <left>", "<right>  y", "a <both>  b<both>", "word wordy sword word", "word", " word ", "\u00e9word word\u00e9 word\u0301 _word word_ word1 -word-", "NoRm norm \u0041\u0300x \u00c0x", "<left><right><left> <both> <right>  <left>", "<in><inner><inn",
    "\u200d\u200c\u00ad\u2060\u061c\u202e\ufffd\ufffe\uffff\U0010ffff \ue000\U000f0000 \u0378 \u0b00", "a\u00adb\u200bc\ufeffd", "\u00b4\u00a8\u00b8 \uff21\uff42\uff11 \u33a1 \u2163 \u1d2c", "Unaffable UNAFFABLE unaffable\u0301",
]

POOL = (["a", "b", "the", "The", "THE", "'s", "'LL", "1", "42", "007", " ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "-", "...", "_", "'", "\"", "(", "\u00e9", "e\u0301", "\u0301", "\u0323",
         "\u00df", "\u0130", "\u043b", "\u03c3", "\u4e2d", "\u3042", "\ud55c", "\u1112\u1161\u11ab", "\u0928\u093f", "\u0661", "\u00bd", "\U0001f600", "\u200d", "\ufe0f", "\U0001f3fd", "<|endoftext|>", "<|im_end|>", "<left>", "<right>", "<both>",
         "word", "[MASK]", "\x00", "\x7f", "\u2028", "\u0085", "\u200b", "\ufffd", "$", "+", "\u20ac", "ing", "ed", "tion"])


def is_old(text):
    """Whether all code points were assigned by Unicode 3.2."""
    return all(unicodedata.ucd_3_2_0.category(c) != "Cn" for c in text)


def random_texts(count, seed=7):
    rng = random.Random(seed)
    texts = ["".join(rng.choice(POOL) for _ in range(rng.randint(1, 24))) for _ in range(count)]
    for _ in range(count):
        code_points = (rng.choice([rng.randint(0, 0x7F), rng.randint(0x80, 0x24FF), rng.randint(0x2500, 0xD7FF),
                                   rng.randint(0xE000, 0x1FFFF)]) for _ in range(rng.randint(1, 20)))
        texts.append("".join(c for c in map(chr, code_points) if unicodedata.category(c) != "Cn"))
    return texts


def train(path, pre_tokenizer, corpus, normalizer=None, ignore_merges=False, template=False):
    """A tokenizer.json at `path` with 6,000 byte-level tokens and added tokens of every kind."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    if normalizer:
        tokenizer.normalizer = normalizer
    trainer = trainers.BpeTrainer(vocab_size=6000, special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.add_tokens([
        AddedToken("<left>", lstrip=True, normalized=False), AddedToken("<right>", rstrip=True, normalized=False),
        AddedToken("<both>", lstrip=True, rstrip=True), AddedToken("word", single_word=True, normalized=False),
        AddedToken("<in>", normalized=False), AddedToken("<inner>", normalized=False),
        AddedToken("A\u0300x", normalized=True)])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    if template:
        tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
            single="<|im_start|> $A <|im_end|>", special_tokens=[("<|im_start|>", 1), ("<|im_end|>", 2)])])
    data = json.loads(tokenizer.to_str())
    data["model"]["ignore_merges"] = ignore_merges
    path.mkdir()
    (path / "tokenizer.json").write_text(json.dumps(data, ensure_ascii=False))
    return path


def train_all(folder, corpus):
    split = lambda regex, behavior="isolated", invert=False: pre_tokenizers.Split(Regex(regex), behavior, invert)
    byte_level = lambda **kwargs: pre_tokenizers.ByteLevel(**{"add_prefix_space": False, "use_regex": False, **kwargs})
    sequence = pre_tokenizers.Sequence
    yield train(folder / "gpt2", byte_level(use_regex=True), corpus)
    yield train(folder / "gpt2-prefix-space", byte_level(use_regex=True, add_prefix_space=True), corpus)
    yield train(folder / "llama3", sequence([split(LLAMA3), byte_level()]), corpus, ignore_merges=True, template=True)
    yield train(folder / "smollm2", sequence([pre_tokenizers.Digits(True), byte_level(use_regex=True)]), corpus)
    yield train(folder / "qwen2", sequence([split(QWEN2), byte_level()]), corpus, normalizers.NFC())
    yield train(folder / "gpt4o", sequence([split(GPT4O), byte_level()]), corpus)
    yield train(folder / "nfkd-lower", sequence([pre_tokenizers.Digits(False), byte_level(use_regex=True)]), corpus,
                normalizers.Sequence([normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]))
    for behavior in ("removed", "merged_with_previous", "merged_with_next", "contiguous"):
        for invert in (False, True):
            pre = sequence([split(r"\s|\w\b|[^\w\s]", behavior, invert), byte_level()])
            yield train(folder / f"{behavior}-{invert}", pre, corpus[:200])


def reference(model):
    """(name, tokenizers.Tokenizer) for a GGUF or a folder with tokenizer.json, without truncation and padding."""
    if model.suffix == ".gguf":
        from transformers import AutoTokenizer
        return AutoTokenizer.from_pretrained(model.parent, gguf_file=model.name).backend_tokenizer
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def answers(tool, model, requests):
    lines = "".join(json.dumps(request) + "\n" for request in requests)
    run = subprocess.run([tool, str(model)], input=lines, capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"{model}: {run.stderr}")
    return [json.loads(line) for line in run.stdout.split("\n") if line]


def compare(tool, model, tokenizer, texts):
    """Number of texts on which ids (with and without special tokens) or the decoded text differ."""
    requests = [{"text": text, "special": special} for special in (False, True) for text in texts]
    got = answers(tool, model, requests)
    assert len(got) == len(requests), f"{model}: {len(got)} answers to {len(requests)} requests"
    wanted = [encoding.ids for special in (False, True)
              for encoding in tokenizer.encode_batch(texts, add_special_tokens=special)]
    wrong = 0
    for request, answer, ids in zip(requests, got, wanted):
        text = tokenizer.decode(ids, skip_special_tokens=True)
        if answer["ids"] == ids and answer["text"] == text:
            continue
        wrong += 1
        if wrong <= 5:
            print(f"  {ascii(request['text'][:120])}\n    wanted {ids[:24]} {ascii(text[:80])}"
                  f"\n    got    {answer['ids'][:24]} {ascii(answer['text'][:80])}")
    longest = max(got, key=lambda answer: len(answer["ids"]))
    print(f"{model.name}: {len(requests)} requests, {wrong} differ; the longest: {len(longest['ids'])} ids in "
          f"{1000 * longest['seconds']:.0f} ms")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", required=True)
    parser.add_argument("--model", type=Path, action="append", default=[])
    parser.add_argument("--text", type=Path, default=Path(os.environ.get("WRING_DATA", ".")) / "wikitext2/wiki.test.raw")
    options = parser.parse_args()
    texts, long = HARD + random_texts(1500), []
    if options.text.exists():
        whole = options.text.read_bytes().decode()
        texts += whole.splitlines()[:2000]
        long = [whole]
    else:
        print(f"{options.text} is not there: its part is left out")
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        corpus = [text for text in texts[-2000:] + HARD if len(text) < 4000]
        for model in options.model:
            wrong += compare(options.tool, model, reference(model), texts + long)
        for model in train_all(Path(folder), corpus):
            old = model.name == "nfkd-lower"  # StripAccents knows marks that its tables of Unicode 9 lack
            some = texts + [text[:SOME] for text in long]
            wrong += compare(options.tool, model, reference(model), list(filter(is_old, some)) if old else some)
        for gguf in (model for model in options.model if model.suffix == ".gguf"):
            written = Path(folder) / "from-gguf"
            written.mkdir()
            text = subprocess.run([options.tool, "--tokenizer-json", str(gguf)], check=True, capture_output=True).stdout
            (written / "tokenizer.json").write_bytes(text)
            Tokenizer.from_str(text.decode())
            wrong += compare(options.tool, written, reference(gguf), texts + long)
            wrong += compare(options.tool, gguf, reference(written), HARD)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
