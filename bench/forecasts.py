"""What each stage of examples/recipes was expected to take, beside what it took, without the recipes' evaluations and exports.

Memory is the engine's own peak of resident bytes while the stage ran. The engine's CPU seconds tell a busy machine from a slow stage.
GRAPHS names a folder that bench/graphs.py prepared: its network goes through the recipes of graphs, in STEPS steps (400; the recipe has more).
"""
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

WRING, RECIPES = Path("build/release/bin/wring").resolve(), Path("examples/recipes")
MODELS = [Path("build/models") / name for name in os.environ.get("MODELS", "minilm smollm2 smollm2-offgrid").split()]
CALIBRATION = {"calibration": "build/data/calibration.txt"}
GRAPHS = os.environ.get("GRAPHS")


def is_encoder(model):
    config = model / "config.json"
    return config.exists() and "BertModel" in json.loads(config.read_text()).get("architectures", [])


def measure(recipe, model, data, folder):
    spec = yaml.safe_load(recipe.read_text())
    if model.suffix == ".onnx":
        for stage in spec["stages"]:
            stage["params"]["steps"] = int(os.environ.get("STEPS", 400))
    stages = folder / "stages.yaml"
    stages.write_text(yaml.safe_dump({"name": spec["name"], "stages": spec["stages"]}))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    output = subprocess.run([WRING, "run", "--local", stages, "--model", model, *(word for name, path in data.items() for word in ("--data", f"{name}={path}")), "--out", folder / "out", "--quiet", "--json"],
                            check=True, stdout=subprocess.PIPE).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    for stage in json.loads(output)["stages"]:
        memory, seconds = stage["forecast_peak_bytes"] / stage["peak_bytes"], stage["forecast_seconds"] / stage["seconds"]
        within = 1 <= memory <= 1.15 and abs(seconds - 1) <= 0.3
        print(f"| {recipe.stem} on {model.name}: {stage['name']} | {stage['forecast_seconds']:.1f} / {stage['seconds']:.1f} | {seconds:.2f} | "
              f"{stage['forecast_peak_bytes'] / 1e6:.0f} / {stage['peak_bytes'] / 1e6:.0f} | {memory:.2f} | {'yes' if within else 'no'} |", flush=True)
    print(f"  {recipe.stem}: {cpu:.1f} CPU s in all, load {os.getloadavg()[0]:.1f}", file=sys.stderr)


def main():
    wanted = sys.argv[1:] or sorted(path.stem for path in RECIPES.glob("*.yaml"))
    print("| stage | seconds | ratio | peak MB | ratio | in the band |\n|---|---|---|---|---|---|")
    for name in wanted:
        if name.startswith("cnn"):
            inputs = [(Path(GRAPHS) / "resnet20.onnx", {"train": Path(GRAPHS) / "train"})] if GRAPHS else []
        else:
            inputs = [(model, CALIBRATION) for model in MODELS if is_encoder(model) == name.startswith("minilm")]
        for model, data in inputs:
            with tempfile.TemporaryDirectory(prefix="wring-bench-") as folder:
                measure(RECIPES / f"{name}.yaml", model, data, Path(folder))


main()
