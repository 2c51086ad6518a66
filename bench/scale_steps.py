"""How the cost of a scheduler's step grows with the cluster, in instructions, which neither caches nor other work on the machine change.

`wring_scale_bench` under valgrind's callgrind, which counts what is executed inside `step()`; each cluster in a process of its own. The
clusters have as many workers as told and 10 trials for each, all queued at once, a tenth of the workers' number of first stages among them. What is
counted is what a step's input makes of the state, and of a tick the leases that have ended, which are more where workers are.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

BENCH = Path("build/release/bin/wring_scale_bench").resolve()


def kinds():
    """The names of the inputs, in the order of the variant."""
    text = Path("server/scheduler/scheduler.h").read_text()
    inputs = re.search(r"using SchedulerInput =\s*std::variant<(.*?)>;", text, re.S)[1]
    return [name.strip().removesuffix("Input").lower() for name in inputs.split(",")]


def counts(profile):
    """Of each kind of step (steps, instructions): what step() calls, by its place in the variant."""
    names, found, inside, place, calls = {}, {}, False, None, 0
    for line in profile.read_text().splitlines():
        if match := re.match(r"(c?)fn=\((\d+)\)(?: (.*))?", line):
            name = names.setdefault(match[2], match[3])
            visit = re.search(r"integer_sequence<unsigned long, (\d+)ul> >::__visit_invoke", name)
            if not match[1]:
                inside = name.startswith("wring::step(")
            place = int(visit[1]) if match[1] and visit else None
        elif match := re.match(r"calls=(\d+)", line):
            calls = int(match[1])
        elif calls:
            if inside and place is not None:
                steps, instructions = found.get(place, (0, 0))
                found[place] = steps + calls, instructions + int(line.split()[-1])
            calls = 0
    return found


def run(workers, trials_each, folder):
    profile = folder / f"{workers}.out"
    subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={profile}", "--toggle-collect=wring::step*", BENCH, "--one",
                    "--workers", str(workers), "--trials", str(workers * trials_each), "--parents", str(max(1, workers // 10))], check=True, stdout=subprocess.DEVNULL)
    return counts(profile)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[100, 1000, 10000])
    parser.add_argument("--trials-each", type=int, default=10, help="trials for each worker")
    args = parser.parse_args()
    if not shutil.which("valgrind"):
        sys.exit("valgrind is not installed: apt-get install valgrind")
    with tempfile.TemporaryDirectory(prefix="wring-bench-", dir=os.environ.get("FOLDER")) as folder:
        found = [run(workers, args.trials_each, Path(folder)) for workers in args.workers]
    if not all(found):
        sys.exit("the profile has no step: is std::visit compiled otherwise?")
    print(f"{'instructions a step':20}" + "".join(f"{f'{workers:,} workers':>18}" for workers in args.workers) + "   growth")
    for place, kind in enumerate(kinds()):
        if not all(place in of for of in found):
            continue
        each = [of[place][1] / of[place][0] for of in found]
        growth = ", ".join(f"{after / before:.2f}" for before, after in zip(each, each[1:]))
        print(f"{kind:20}" + "".join(f"{value:18,.0f}" for value in each) + f"   {growth}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
