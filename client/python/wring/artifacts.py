"""Calls about artifacts: up, down, how long they are kept."""

import json
import os
import pathlib
import re
import shutil
import tempfile
import time
import uuid

import grpc

from wring import trees
from wring.connection import Connection
from wring.errors import WringError, as_wring_error
from wring.v1 import artifacts_pb2

WRITE_BYTES = 1 << 20  # of one WriteBlob message


class Artifacts(Connection):
    def get(self, digest_or_job: str, out: str) -> str:
        """Downloads an artifact, or a job's result, to the folder `out`, which must not exist; returns its digest."""
        target = pathlib.Path(out)
        if target.exists():
            raise WringError("ALREADY_EXISTS", f"{out} is there already")
        digest = digest_or_job if len(digest_or_job) >= 64 else self.job(digest_or_job).result
        if not digest:
            raise WringError("FAILED_PRECONDITION", f"job {digest_or_job} has no result")
        artifact = self.artifact(digest)
        target.absolute().parent.mkdir(parents=True, exist_ok=True)
        half = pathlib.Path(tempfile.mkdtemp(prefix=".wring-", dir=target.absolute().parent))
        try:
            trees.write_tree(json.loads(artifact.manifest_json), half, self._read_blob)
            (half / trees.MANIFEST_FILE).write_text(artifact.manifest_json, encoding="utf-8")
            half.chmod(0o755)
            half.rename(target)
        except BaseException:
            shutil.rmtree(half, ignore_errors=True)
            raise
        return artifact.digest

    def put(self, path: str, kind: str, name: str = "") -> str:
        """Uploads a folder or a file as an artifact ("model", "dataset", ...); returns its digest."""
        manifest, pieces = trees.read_tree(pathlib.Path(path), kind)
        request = artifacts_pb2.CommitArtifactRequest(manifest_json=manifest, name=name or pathlib.Path(path).name)
        for last in (False, False, False, True):
            self._send_missing(pieces)
            try:
                return self._call(self._artifacts.CommitArtifact, request).digest
            except WringError as error:  # what the store had when it was asked may be collected by now
                if error.reason != "MISSING_BLOBS" or last:
                    raise

    def artifact(self, digest: str):
        """An Artifact message with its manifest, by digest or a unique prefix of at least 4 digits."""
        return self._call(self._artifacts.GetArtifact, artifacts_pb2.GetArtifactRequest(digest=digest))

    def artifacts(self, kind: str = "", limit: int = 50, name_contains: str = "") -> list:
        """Artifact messages, newest first, without manifests. limit 0: all."""
        request = artifacts_pb2.ListArtifactsRequest(kind=kind, name_contains=name_contains)
        return self._all(self._artifacts.ListArtifacts, request, "artifacts", limit)

    def retain(self, digest: str, expire_after_seconds: float = 0, pin: bool = False, project: str = ""):
        """How long the server keeps the artifact: so long from now on, pinned, or (neither) until it is discarded.
        `project`: whose copy; by default the caller's project's, for an admin the only one that there is."""
        request = artifacts_pb2.SetRetentionRequest(digest=digest, pinned=pin, project=project)
        if expire_after_seconds:
            request.expire_time.FromMilliseconds(int(1000 * (time.time() + expire_after_seconds)))
        return self._call(self._artifacts.SetRetention, request)

    def discard(self, digest: str, project: str = "") -> None:
        """Deletes the artifact from the server; `project` as in retain()."""
        digest = self.artifact(digest).digest
        self._call(self._artifacts.DeleteArtifact, artifacts_pb2.DeleteArtifactRequest(digest=digest, project=project))

    def _send_missing(self, pieces):
        digests = sorted(pieces)
        for start in range(0, len(digests), 10_000):
            request = artifacts_pb2.FindMissingBlobsRequest(digests=digests[start:start + 10_000])
            for digest in self._call(self._artifacts.FindMissingBlobs, request).missing:
                self._write_blob(digest, pieces[digest].read())

    def _input(self, text: str, kind: str) -> str:
        if os.path.exists(text):
            return self.put(text, kind)
        if not re.fullmatch(r"(sha256:)?[0-9a-f]{4,64}", text):
            raise WringError("NOT_FOUND", f"there is no path {text}, and it is no digest", "NO_SUCH_PATH", kind)
        return text

    def _write_blob(self, digest: str, data: bytes):
        upload = str(uuid.uuid4())

        def messages():
            for offset in range(0, len(data), WRITE_BYTES):
                message = artifacts_pb2.WriteBlobRequest(write_offset=offset, data=data[offset:offset + WRITE_BYTES])
                if offset == 0:
                    message.digest, message.size, message.upload_id = digest, len(data), upload
                yield message

        self._call(self._artifacts.WriteBlob, messages())

    def _read_blob(self, digest: str) -> bytes:
        request = artifacts_pb2.ReadBlobRequest(digest=digest)
        try:
            return b"".join(part.data for part in self._artifacts.ReadBlob(request, metadata=self._metadata))
        except grpc.RpcError as error:
            raise as_wring_error(error) from None
