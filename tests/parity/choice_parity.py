#!/usr/bin/env python3
"""Compares the multiple-choice suite with transformers: which candidate is likeliest, item by item.

    choice_parity.py [--bin build/release/bin] [--device cpu]

SmolLM2 in fp32; MMLU and PIQA from WRING_DATA (skipped without). The prompts are written here again, from the data
sets' own descriptions, and every candidate is scored by a forward of its own. An answer may differ only where two candidates are
nearer than 1e-3 nats to each other.
"""
import argparse
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
ROOT = Path(__file__).resolve().parents[2]
import torch  # noqa: E402
from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: E402

MODEL = ROOT / "build/models/smollm2-fp32"
TIE = 1e-3


def mmlu(folder, shots, count):
    """(prompt, candidates, right) of subjects in turn."""
    read = lambda path: list(csv.reader(path.open(encoding="utf-8", newline="")))  # noqa: E731
    subjects = sorted(path.name[:-len("_test.csv")] for path in folder.glob("test/*_test.csv"))
    tests = {subject: read(folder / f"test/{subject}_test.csv") for subject in subjects}
    order = [(subject, i) for i in range(max(map(len, tests.values()))) for subject in subjects if i < len(tests[subject])]
    for subject, i in order[:count]:
        shown = lambda row: row[0] + "".join(f"\n{letter}. {text}" for letter, text in zip("ABCD", row[1:5])) + "\nAnswer:"  # noqa: E731
        prompt = f"The following are multiple choice questions (with answers) about {subject.replace('_', ' ')}.\n\n"
        for row in read(folder / f"dev/{subject}_dev.csv")[:shots]:
            prompt += f"{shown(row)} {row[5]}\n\n"
        row = tests[subject][i]
        yield row, prompt + shown(row), [" A", " B", " C", " D"], "ABCD".index(row[5])


def mmlu_answers(folder, count):
    for row, _, _, right in mmlu(folder, 0, count):
        yield row, f"Question: {row[0]}\nAnswer:", [f" {text}" for text in row[1:5]], right


def piqa(folder, count):
    labels = (folder / "valid-labels.lst").read_text().split()
    for line, label in list(zip((folder / "valid.jsonl").open(encoding="utf-8"), labels))[:count]:
        item = json.loads(line)
        yield item, f"Question: {item['goal']}\nAnswer:", [f" {item['sol1']}", f" {item['sol2']}"], int(label)


class Reference:
    def __init__(self):
        self.tokenizer = AutoTokenizer.from_pretrained(MODEL)
        self.model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()

    @torch.inference_mode()
    def likelihood(self, prompt, candidate):
        start = len(self.tokenizer(prompt)["input_ids"])
        ids = torch.tensor([self.tokenizer(prompt + candidate)["input_ids"]])
        count = ids.shape[1] - start
        logits = torch.log_softmax(self.model(ids, logits_to_keep=count + 1).logits[0, :-1].double(), -1)
        return logits.gather(1, ids[0, start:, None]).sum().item()

    def compare(self, name, items, rows):
        found = {row["metric"]: row for row in rows}
        likelihoods = [[self.likelihood(prompt, candidate) for candidate in candidates] for _, prompt, candidates, _ in items]
        failures = 0
        for metric, norm in ((f"{name}_accuracy", False), (f"{name}_accuracy_norm", True)):
            if metric not in found:
                continue
            answers, hits = found[metric]["details"]["answers"], 0
            if len(answers) != len(items):
                print(f"FAILED {metric}: {len(answers)} answers for {len(items)} items")
                return 1
            for (_, prompt, candidates, right), answer, sums in zip(items, answers, likelihoods):
                scores = [value / (len(c) - 1 if norm else 1) for value, c in zip(sums, candidates)]
                hits += int(answer) == right
                if max(scores) - scores[int(answer)] > TIE:
                    print(f"FAILED {metric}: {prompt[-60:]!r}: {answer}, reference {scores}")
                    failures += 1
            if abs(found[metric]["value"] - hits / len(items)) > 1e-12:
                print(f"FAILED {metric}: {found[metric]['value']} is not {hits} of {len(items)}")
                failures += 1
            print(f"{'ok    ' if not failures else 'FAILED'} {metric}: {hits} of {len(items)}")
        return failures


def ours(arguments, parameters, data):
    command = [arguments.bin / "wring-engine", "eval", MODEL, "--suite", "multiple-choice", "--data", f"questions={data}",
               *(f"--param={name}={value}" for name, value in parameters.items()), "--device", arguments.device, "--json", "-q"]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(result.stderr)
    return json.loads(result.stdout)["evaluations"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, default=ROOT / "build/release/bin")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    if not MODEL.is_dir():
        print("SmolLM2 is absent: scripts/models\n0 passed, 0 failed, 1 skipped")
        return 0
    data = Path(os.environ.get("WRING_DATA", ROOT.parent / "shared/data"))
    if not (data / "mmlu").is_dir():
        print("MMLU and PIQA are absent (WRING_DATA)\n0 passed, 0 failed, 1 skipped")
        return 0
    reference = Reference()
    failures, checks = 0, 0
    for name, items, parameters, folder in (
            ("mmlu", list(mmlu(data / "mmlu/data", 1, 6)), {"shots": 1, "items": 6}, data / "mmlu"),
            ("mmlu-answers", list(mmlu_answers(data / "mmlu/data", 12)), {"items": 12}, data / "mmlu"),
            ("piqa", list(piqa(data / "piqa", 16)), {"items": 16}, data / "piqa")):
        rows = ours(arguments, {"task": name, **parameters}, folder)
        failures += bool(reference.compare(name.replace("-", "_"), items, rows))
        checks += 1
    print(f"{checks - failures} passed, {failures} failed")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
