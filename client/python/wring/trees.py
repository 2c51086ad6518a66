"""Folders as artifacts: manifests with chunk boundaries, as formats/manifest.h defines them."""

import hashlib
import json
import os
import pathlib
import struct
from dataclasses import dataclass

MANIFEST_FILE = ".wring-manifest.json"
MOST_BYTES = 16 << 20   # a longer piece is split
LEAST_BYTES = 1 << 20   # small pieces are joined to the chunk before them while that stays below
OWN_BYTES = 64 << 10    # a piece of so many begins a chunk


@dataclass(frozen=True)
class Piece:
    """Some bytes of a file."""

    path: pathlib.Path
    offset: int
    size: int

    def read(self) -> bytes:
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


def read_tree(path: pathlib.Path, kind: str):
    """The canonical manifest (JSON text) of a folder or file, and its chunks by digest."""
    files, pieces = [], {}
    for name, file in _files(path):
        chunks, offset = [], 0
        for size in _chunk_sizes(file.stat().st_size, _tensor_starts(file)):
            piece = Piece(file, offset, size)
            digest = hashlib.sha256(piece.read()).hexdigest()
            pieces[digest] = piece
            chunks.append({"sha256": digest, "size": size})
            offset += size
        files.append({"chunks": chunks, "path": name, "size": offset})
    kept = path / MANIFEST_FILE
    metadata = {}
    if kept.is_file():
        manifest = json.loads(kept.read_text(encoding="utf-8"))
        if manifest["kind"] == kind and manifest["files"] == files:
            metadata = manifest["metadata"]
    manifest = {"files": files, "kind": kind, "metadata": metadata, "version": 1}
    return json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False), pieces


def write_tree(manifest: dict, folder: pathlib.Path, read_blob) -> None:
    """Writes the files of a manifest below `folder`; each chunk is verified."""
    for entry in manifest["files"]:
        target = folder / entry["path"]
        if not target.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"unsafe path in the manifest: {entry['path']}")
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(target, "wb") as file:
            for chunk in entry["chunks"]:
                data = read_blob(chunk["sha256"])
                if hashlib.sha256(data).hexdigest() != chunk["sha256"]:
                    raise ValueError(f"what the server sent of {entry['path']} is not the chunk {chunk['sha256']}")
                file.write(data)


def _files(path: pathlib.Path):
    if path.is_file():
        weights = [path.with_name(path.name + end) for end in (".data", "_data")] if path.suffix == ".onnx" else []
        return [(file.name, file) for file in [path, *weights] if file.is_file()]
    found = []
    for folder, folders, names in os.walk(path):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            file = pathlib.Path(folder, name)
            if not name.startswith(".") and file.is_file():
                found.append((file.relative_to(path).as_posix(), file))
    return sorted(found, key=lambda entry: entry[0].encode())


def _chunk_sizes(size: int, starts):
    """Sizes of the chunks of a file of `size` bytes that is cut at `starts`."""
    edges = sorted({0, size, *(start for start in starts if 0 < start < size)})
    sizes = []
    joinable = False  # the last size is a whole piece, not the rest of a split one
    for begin, end in zip(edges, edges[1:]):
        piece = end - begin
        if joinable and piece < OWN_BYTES and sizes[-1] + piece < LEAST_BYTES:
            sizes[-1] += piece
            continue
        joinable = piece <= MOST_BYTES
        sizes += [MOST_BYTES] * ((piece - 1) // MOST_BYTES)
        sizes.append(piece - (piece - 1) // MOST_BYTES * MOST_BYTES)
    return sizes


def _tensor_starts(file: pathlib.Path):
    """Where tensors begin in a safetensors file; other files are cut by size alone."""
    if file.suffix != ".safetensors" or file.stat().st_size < 8:
        return []
    with open(file, "rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        if length > file.stat().st_size - 8:
            return []
        header = json.loads(stream.read(length))
    return [8 + length + entry["data_offsets"][0] for name, entry in header.items() if name != "__metadata__"]
