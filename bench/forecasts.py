"""What each stage of examples/recipes was expected to take, beside what it took, without the recipes' evaluations and exports.

Memory is the engine's own peak of resident bytes while the stage ran. The engine's CPU seconds tell a busy machine from a slow stage.
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
DATA = "calibration=build/data/calibration.txt"


def is_encoder(model):
    config = model / "config.json"
    return config.exists() and "BertModel" in json.loads(config.read_text()).get("architectures", [])


def measure(recipe, model, folder):
    spec = yaml.safe_load(recipe.read_text())
    stages = folder / "stages.yaml"
    stages.write_text(yaml.safe_dump({"name": spec["name"], "stages": spec["stages"]}))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    output = subprocess.run([WRING, "run", "--local", stages, "--model", model, "--data", DATA, "--out", folder / "out", "--quiet", "--json"],
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
        for model in MODELS:
            if is_encoder(model) == name.startswith("minilm"):
                with tempfile.TemporaryDirectory(prefix="wring-bench-") as folder:
                    measure(RECIPES / f"{name}.yaml", model, Path(folder))


main()
