"""Turns the catalogue (JSON on standard input) into the Markdown page docs/methods.md."""
import json
import re
import sys
from pathlib import Path


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


def links(name, folder, pattern, above):
    """The files of `folder` that speak of the method, as links from docs/."""
    word = re.compile(rf"(?<![\w-]){re.escape(name)}(?![\w-])")
    return ", ".join(f"[{path.stem}]({above}{path.name})" for path in sorted(Path(folder).glob(pattern))
                     if path.stem not in ("proofs", "scheduler") and word.search(path.read_text(encoding="utf-8")))


def index(specs):
    lines = ["| method | kind | held to its claims by | measured in |", "|---|---|---|---|"]
    for spec in specs:
        claims = links(spec["name"], "tests/conformance", "*.yaml", "../tests/conformance/")
        measured = links(spec["name"], "docs/results", "*.md", "results/")
        lines.append(f"| [{spec['name']}](#{spec['name']}) | {spec['kind']} | {claims} | {measured} |")
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
