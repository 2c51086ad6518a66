#!/usr/bin/env python3
"""Breaks the code on purpose, one patch of tests/SUITE/mutants at a time, and demands that SUITE's program finds out.

    tests/mutants.py sim|crash [--build DIR] [--seeds N] [NAME...]

DIR (build/release) holds a built wring_sim or wring_crash. A mutant's changed files are compiled as DIR compiles them, into
DIR/mutants, and linked with what DIR has of the rest. Prints what caught it (sim: which seed and which invariant); fails where
one survives (sim: N, 2000, seeds), or a patch no longer applies.
"""
import argparse
import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SECONDS = 300  # of a mutant's run, at most
EVERY, STRIDE = 97, 36  # of the calls that change a file; their beginnings lie far from each other


class Build:
    """How a build folder compiles a program's sources and links them."""

    def __init__(self, folder, program):
        self.folder = folder.resolve()
        self.program, self.compiles = program, {}
        for entry in json.loads((self.folder / "compile_commands.json").read_text()):
            unit = Path(entry["file"])
            several = re.findall(r'^#include "(.+)"', unit.read_text(), re.M) if unit.parent.name == "Unity" else []
            for source in several or [entry["file"]]:
                # One source may belong to two libraries: the program's own object is the one to replace.
                if source not in self.compiles or program in entry["command"]:
                    self.compiles[source] = unit, shlex.split(entry["command"])
        listed = subprocess.run(["ninja", "-C", self.folder, "-t", "commands", f"bin/{program}"], check=True, capture_output=True, text=True)
        link = next(line for line in listed.stdout.splitlines()[::-1] if f"-o bin/{program}" in line)
        self.link = shlex.split(link.removeprefix(": && ").removesuffix(" && :"))

    def compile(self, sources, scratch):
        """Those below `scratch` in place of the sources. -> {object of the build: its new one}"""
        units, objects = {}, {}
        for source in sources:
            unit, command = self.compiles[str(ROOT / source)]
            units.setdefault(unit, (command, []))[1].append(source)
        for unit, (command, changed) in units.items():
            mutated, text = scratch / changed[0], unit.read_text()
            if unit != ROOT / changed[0]:  # one that includes several
                for source in changed:
                    text = text.replace(f'"{ROOT / source}"', f'"{scratch / source}"')
                mutated = (scratch / changed[0]).with_suffix(".unit.cc")  # units of two programs have one name
                mutated.write_text(text)
            target = mutated.with_suffix(".o")
            objects[command[command.index("-o") + 1]] = target
            words = [str(mutated) if word == str(unit) else word for word in command]
            words[words.index("-o") + 1] = str(target)
            subprocess.run([*words, "-w"], cwd=self.folder, check=True)
        return objects

    def link_with(self, objects, target):
        """An object that the link names is replaced; one in a library is put before it, and so wins."""
        command = [str(objects[word]) if word in objects else word for word in self.link]
        front = [str(new) for old, new in objects.items() if old not in self.link]
        at = next(i for i, word in enumerate(command) if word.endswith(".o"))
        command[at:at] = front
        command[command.index("-o") + 1] = str(target)
        subprocess.run(command, cwd=self.folder, check=True)


def build_mutant(build, patch, scratch):
    text = patch.read_text()
    sources = re.findall(r"^--- a/(\S+)", text, re.M)
    for source in sources:
        (scratch / source).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / source, scratch / source)
    subprocess.run(["patch", "-p1", "--silent", "--fuzz=0", "-d", scratch], input=text, text=True, check=True, stdout=subprocess.DEVNULL)
    build.link_with(build.compile(sources, scratch), scratch / build.program)


def verdict(binary, seeds):
    if binary.name == "wring_sim":
        return outcome([binary, "--seeds", str(seeds), "--brief", "--twice", "0", "--stop"], SECONDS)
    start = time.monotonic()
    for first in range(EVERY):  # each time the whole scenario, at other calls: what it does late is broken as often as what it does first
        left = SECONDS - (time.monotonic() - start)
        caught = outcome([binary, "--every", str(EVERY), "--first", str(first * STRIDE % EVERY), "--stop"], left) if left > 0 else None
        if caught or left <= 0:
            return caught
    return None


def outcome(command, seconds):
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return None
    if found := re.search(r"^FAILED seed (\d+): ([\w-]+):", run.stdout, re.M):
        return f"caught at seed {found[1]} by {found[2]}"
    if found := re.search(r"^VIOLATION at call (.*)\n +(.*)", run.stdout, re.M):
        return f"caught at call {found[1][:90]}: {found[2][:90]}"
    return f"caught: it ends by signal {-run.returncode}" if run.returncode < 0 else None


def try_mutant(build, patch, seeds):
    scratch = build.folder / "mutants" / patch.stem
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    try:
        build_mutant(build, patch, scratch)
    except subprocess.CalledProcessError as error:
        return False, f"cannot be built: {shlex.join(map(str, error.cmd[:1]))} failed"
    caught = verdict(scratch / build.program, seeds)
    return bool(caught), caught or "SURVIVED"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("suite", choices=("sim", "crash"))
    parser.add_argument("names", nargs="*", help="of patches, without .patch (all)")
    parser.add_argument("--build", type=Path, default=ROOT / "build/release")
    parser.add_argument("--seeds", type=int, default=2000)
    options = parser.parse_args()
    folder = ROOT / "tests" / options.suite / "mutants"
    patches = [folder / f"{name}.patch" for name in options.names] or sorted(folder.glob("*.patch"))
    build = Build(options.build, f"wring_{options.suite}")
    start, passed = time.monotonic(), 0
    for patch in patches:
        caught, text = try_mutant(build, patch, options.seeds)
        passed += caught
        print(f"{'ok    ' if caught else 'FAILED'} {patch.stem:40} {text}", flush=True)
    print(f"{len(patches)} mutants in {time.monotonic() - start:.0f} s")
    print(f"{passed} passed, {len(patches) - passed} failed")
    return int(passed < len(patches))


if __name__ == "__main__":
    sys.exit(main())
