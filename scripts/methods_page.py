"""Turns the catalogue (JSON on standard input) into the Markdown page docs/methods.md."""
import json
import re
import sys
from pathlib import Path

import yaml


def allowed(parameter):
    if parameter.get("choices"):
        return ", ".join(str(choice) for choice in parameter["choices"])
    low, high = parameter.get("min"), parameter.get("max")
    if low is not None and high is not None:
        return f"{low:g} to {high:g}" + (f" but {parameter['except']:g}" if "except" in parameter else "")
    return parameter["type"]


def section(spec):
    lines = [f"### {spec['name']}", "", spec["summary"]]
    for paper in spec["papers"]:
        arxiv = f", arXiv {paper['arxiv']}" if "arxiv" in paper else ""
        lines.append(f"{paper['title']} ({paper['venue']}{arxiv}).")
    facts = [f"takes {', '.join(spec['takes'])}"]
    if spec["needs"]:
        facts.append(f"needs {', '.join(spec['needs'])}")
    if spec["produces"]:
        facts.append(f"produces {spec['produces']}")
    lines += ["", f"Version {spec['version']}; {'; '.join(facts)}; determinism: {spec['determinism']}."]
    if spec["parameters"]:
        lines += ["", "| parameter | default | allowed | unit | meaning |", "|---|---|---|---|---|"]
    for p in spec["parameters"]:
        default = "required" if p["default"] is None else json.dumps(p["default"])
        lines.append(f"| `{p['name']}` | {default} | {allowed(p)} | {p['unit']} | {p['help'].replace('|', chr(92) + '|')} |")
    if spec.get("metrics"):
        words = {"lower": "lower is better", "higher": "higher is better", "neither": "neither is better"}
        lines += ["", "Reports " + ", ".join(f"`{metric}` ({words[better]})" for metric, better in spec["metrics"].items()) + "."]
    return "\n".join(lines)


def methods_of(stages):
    return {re.match(r"[\w-]+", stage)[0] if isinstance(stage, str) else stage["method"] for stage in stages}


class ConformanceFile:
    def __init__(self, path):
        spec = yaml.safe_load(path.read_text(encoding="utf-8"))
        self.name, self.about = path.stem, spec["method"]
        self.runs = set().union(*map(methods_of, spec["runs"].values()))
        words = set(re.split(r"[\s:]+", " ".join(spec["claims"])))
        self.claimed = {self.about} | set().union(*(methods_of(stages) for run, stages in spec["runs"].items() if run in words))


def measured_in(name, files):
    """Pages of results that speak of the method, or are about a file that runs it."""
    word = re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])")
    ran = {file.name for file in files if name in file.runs}
    return [path for path in sorted(Path("docs/results").glob("*.md"))
            if path.stem not in ("proofs", "scheduler") and (path.stem in ran or word.search(path.read_text(encoding="utf-8")))]


def index(specs):
    files = [ConformanceFile(path) for path in sorted(Path("tests/conformance").glob("*.yaml"))]
    lines = ["| method | kind | its own claims | stands in claims of | measured in |", "|---|---|---|---|---|"]
    for spec in specs:
        def links(chosen):
            return ", ".join(f"[{file.name}](../tests/conformance/{file.name}.yaml)" for file in chosen)
        own = links(file for file in files if file.about == spec["name"])
        other = links(file for file in files if file.about != spec["name"] and spec["name"] in file.claimed)
        measured = ", ".join(f"[{path.stem}](results/{path.name})" for path in measured_in(spec["name"], files))
        lines.append(f"| [{spec['name']}](#{spec['name']}) | {spec['kind']} | {own} | {other} | {measured} |")
    return "\n".join(lines)


catalogue = json.load(sys.stdin)
methods, suites, formats = catalogue["methods"], catalogue["suites"], catalogue["formats"]
print("# Methods\n\nMade from the specs beside the code by `scripts/generate_docs`; do not edit.\n\n## Compression\n")
print(index(methods) + "\n")
print("\n\n".join(section(s) for s in methods))
print("\n## Evaluation suites\n")
print("\n\n".join(section(s) for s in suites))
print("\n## Export formats\n")
print("\n\n".join(section(s) for s in formats))
