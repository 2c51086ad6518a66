"""Unit tests of run.py's arithmetic, on rows that no service made."""
import statistics
import tempfile
import unittest
from pathlib import Path

import run
import yaml

SPEC = {"method": "m", "model": "none", "data": {}, "seeds": [3, 4], "drawn": ["a"], "minutes": 1, "evaluations": ["perplexity"],
        "runs": {"a": ["m(samples=64)"], "b": [{"method": "n", "params": {"samples": 64}}]}, "claims": ["perplexity.perplexity: a < b"],
        "cut": {"runs": {"a": ["m(samples=64, blocks=2)"]}, "evaluations": ["size"], "replace": {"samples": 8}}}


def conformance(cut=False):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.yaml"
        path.write_text(yaml.safe_dump(SPEC), encoding="utf-8")
        return run.Conformance(path, cut)


def job(*window_nll):
    return {"evaluations": [{"suite": "perplexity", "metric": "perplexity", "when": "after", "value": 1.0,
                             "details": {"window_nll": window_nll, "window_scored": [10] * len(window_nll)}}]}


class Difference(unittest.TestCase):
    def test_is_of_windows_means_over_the_seeds_of_the_run_that_is_drawn(self):
        c = conformance()
        c.jobs = {("a", 3): job(10, 20, 40), ("a", 4): job(14, 24, 34), ("b", 3): job(20, 20, 50)}
        mean, error = c.difference("a", "b", "perplexity.perplexity")
        by_window = [(1.0 + 1.4) / 2 - 2, (2.0 + 2.4) / 2 - 2, (4.0 + 3.4) / 2 - 5]
        self.assertAlmostEqual(mean, statistics.fmean(by_window))
        self.assertAlmostEqual(error, statistics.stdev(by_window) / 3 ** 0.5)

    def test_has_the_spread_of_seeds_where_that_is_wider(self):
        c = conformance()
        c.jobs = {("a", 3): job(10, 10), ("a", 4): job(30, 30), ("b", 3): job(40, 40)}
        mean, error = c.difference("a", "b", "perplexity.perplexity")
        self.assertAlmostEqual(mean, -2)
        self.assertAlmostEqual(error, 1)


    def test_with_what_was_handed_in_needs_its_value(self):
        c = conformance()
        c.jobs = {("a", 3): job(10, 20)}
        with self.assertRaisesRegex(AssertionError, "handed in"):
            c.row("dense", 3, "perplexity.perplexity")

    def test_is_of_as_many_windows_on_both_sides(self):
        c = conformance()
        c.jobs = {("a", 3): job(10, 20), ("a", 4): job(10, 20), ("b", 3): job(40)}
        with self.assertRaises(ValueError):
            c.difference("a", "b", "perplexity.perplexity")


class Runs(unittest.TestCase):
    def test_that_no_seed_alters_have_the_first_alone(self):
        c = conformance()
        self.assertEqual([c.seeds_of(name) for name in ("a", "b")], [[3, 4], [3]])

    def test_may_begin_with_models_of_their_own(self):
        c = conformance()
        c.spec["models"] = {"b": "small"}
        self.assertEqual([c.model_of(name).name for name in ("a", "b")], ["none", "small"])

    def test_of_a_cut_may_be_its_own(self):
        c = conformance(cut=True)
        self.assertEqual(yaml.safe_load(c.recipe("a"))["stages"], ["m(samples=8, blocks=2)"])
        self.assertEqual((list(c.runs), c.evaluations, c.seeds), (["a"], ["size"], [3]))


if __name__ == "__main__":
    unittest.main()
