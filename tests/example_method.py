"""Puts the files of a worked example into a tree: example_method.py PAGE.md FOLDER

A file is a fenced block behind a line `PATH`: of its own. Exit status 1 where the page holds none or a path is taken.
"""
import re
import sys
from pathlib import Path

page, folder = Path(sys.argv[1]).read_text(encoding="utf-8"), Path(sys.argv[2])
files = re.findall(r"^`([\w./-]+)`:\n\n```\w+\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
if not files:
    sys.exit(f"{sys.argv[1]}: no file in it")
for path, text in files:
    if (folder / path).exists():
        sys.exit(f"{path} is there already")
    (folder / path).write_text(text, encoding="utf-8")
    print(path)
