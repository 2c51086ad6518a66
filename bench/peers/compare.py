"""Both sides on one model, one calibration text, one scorer; a table of figures and ratios (Wring / peer)."""
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

MODEL = Path(os.environ.get("MODEL", "build/models/smollm2-offgrid"))
SAMPLES, LENGTH = 32, 512
WINDOWS = os.environ.get("WINDOWS", "32")
CALIBRATED = f"samples={SAMPLES}, sequence_length={LENGTH}"
CASES = {
    "wanda50": f"wanda(pattern=0.5, {CALIBRATED})",
    "sparsegpt50": f"sparsegpt(pattern=0.5, {CALIBRATED})",
    "sparsegpt24": f"sparsegpt(pattern=2:4, {CALIBRATED})",
    # Scales as the peer keeps them, in the model's own type: where weights lie halfway between two points of the grid, as
    # most of the plain model's do, a scale that is rounded moves a whole group the same way.
    "rtn_g64": "rtn(bits=4, group_size=64, scale_dtype=float32)",
    "gptq_g64": f"gptq(bits=4, group_size=64, {CALIBRATED})",
    "gptq_g192": f"gptq(bits=4, group_size=192, {CALIBRATED})",
}


def texts():
    folder = Path(os.environ.get("WRING_DATA", "../shared/data")) / "wikitext2"
    if folder.is_dir():
        return folder / "wiki.valid.raw", folder / "wiki.test.raw"
    return Path("build/data/calibration.txt"), Path("build/data/test.txt")


def run(argv):
    """The JSON that a program prints last."""
    output = subprocess.run([str(a) for a in argv], check=True, stdout=subprocess.PIPE).stdout.decode()
    return json.loads(output[output.rindex("\n{") + 1:] if "\n{" in output else output)


def score(model, test):
    """Perplexity, its window sums and how many tokens each scored, KL divergence to the dense model."""
    rows = run(["build/release/bin/wring-engine", "eval", model, "--reference", MODEL, "--data", test, "--windows", WINDOWS,
                "--threads", 2, "--json", "--quiet"])["evaluations"]
    ppl, kl = (next(r for r in rows if r["metric"] == metric) for metric in ("perplexity", "kl_mean"))
    return ppl["value"], ppl["details"]["window_nll"], ppl["details"]["window_scored"], kl["value"]


def paired(ours, theirs, scored):
    """Mean difference of NLL per token and its standard error over windows."""
    per = [(a - b) / n for a, b, n in zip(ours, theirs, scored)]
    mean = sum(per) / len(per)
    spread = math.sqrt(sum((x - mean) ** 2 for x in per) / (len(per) - 1) / len(per)) if len(per) > 1 else 0.0
    return mean, spread


def compare(case, calibration, test, folder):
    peer = run([sys.executable, "bench/peers/llm_compressor.py", MODEL, folder / "peer", case, calibration, SAMPLES, LENGTH])
    data = [] if case.startswith("rtn") else ["--data", f"calibration={calibration}"]
    ours = run(["build/release/bin/wring-engine", "run", CASES[case], "--model", MODEL, *data, "--out", folder / "ours",
                "--threads", 2, "--json", "--quiet"])["stages"][0]
    our_ppl, our_nll, scored, our_kl = score(folder / "ours", test)
    peer_ppl, peer_nll, _, peer_kl = score(folder / "peer", test)
    difference, error = paired(our_nll, peer_nll, scored)
    return {"case": case, "seconds": (ours["seconds"], peer["seconds"]), "peak_bytes": (ours["peak_bytes"], peer["peak_bytes"]),
            "ppl": (our_ppl, peer_ppl), "kl": (our_kl, peer_kl), "nll_difference": difference, "nll_error": error,
            "not_worse": difference <= error}


def main():
    calibration, test = texts()
    rows = []
    print(f"{'case':12} {'s ours/peer':>16} {'ratio':>6} {'peak MB':>12} {'ratio':>6} {'ppl ours/peer':>16} "
          f"{'KL ours/peer':>14} {'dNLL +- se':>18}")
    for case in sys.argv[1:] or CASES:
        folder = Path(tempfile.mkdtemp(prefix="wring-bench-"))
        try:
            r = compare(case, calibration, test, folder)
        finally:
            shutil.rmtree(folder)
        rows.append(r)
        (s, t), (m, n), (p, q), (k, l) = r["seconds"], r["peak_bytes"], r["ppl"], r["kl"]
        print(f"{case:12} {s:7.1f}/{t:8.1f} {s / t:6.2f} {m / 1e6:5.0f}/{n / 1e6:6.0f} {m / n:6.2f} {p:7.3f}/{q:8.3f} "
              f"{k:6.4f}/{l:7.4f} "
              f"{r['nll_difference']:+8.4f} +-{r['nll_error']:.4f}", flush=True)
    Path("build/bench").mkdir(exist_ok=True)
    Path("build/bench/peers.json").write_text(json.dumps(rows, indent=1))
    worse = [r["case"] for r in rows if not r["not_worse"]]
    print("perplexity worse than the peer's by more than a paired standard error: " + (", ".join(worse) or "none"))
    return bool(worse)


sys.exit(main())
