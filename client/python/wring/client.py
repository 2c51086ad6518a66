"""One connection to a Wring server."""

import json
import os
import re
import pathlib
import shutil
import tempfile
import time
import uuid

import grpc
from google.rpc import error_details_pb2, status_pb2

from wring import trees
from wring.config import config
from wring.v1 import (artifacts_pb2, artifacts_pb2_grpc, evaluations_pb2, evaluations_pb2_grpc, jobs_pb2,
                      jobs_pb2_grpc, methods_pb2, methods_pb2_grpc, sweeps_pb2, sweeps_pb2_grpc)

TERMINAL = {jobs_pb2.JOB_STATE_SUCCEEDED, jobs_pb2.JOB_STATE_FAILED, jobs_pb2.JOB_STATE_CANCELLED}
DEADLINE_SECONDS = 60
WRITE_BYTES = 1 << 20  # of one WriteBlob message


class WringError(Exception):
    """What the server refused: `code` (INVALID_ARGUMENT, ...), `reason` (a stable word for programs), `message` (a
    sentence for people), `field` (the path of the offending value, or empty) and `hint` (the way out, or empty)."""

    def __init__(self, code: str, message: str, reason: str = "", field: str = "", hint: str = ""):
        super().__init__(f"{code}: " + (f"{field}: " if field else "") + message + (f" ({hint})" if hint else ""))
        self.code = code
        self.reason = reason
        self.message = message
        self.field = field
        self.hint = hint


class JobFailed(WringError):
    """A job that ended without a result; `job` is as it ended."""

    def __init__(self, job):
        error = job.error
        super().__init__(error.code or "CANCELLED", error.message or f"job {job.id} was cancelled", error.reason, error.field,
                         error.hint)
        self.job = job


class Client:
    """Calls of a server at "HOST:PORT" (default: $WRING_SERVER, client.yaml, or what `wring up` runs here). Errors are WringError.

    with Client("127.0.0.1:7433") as wring:
        job = wring.submit("gptq(bits=4)", model="model/", data={"calibration": "train.txt"})
        for event in wring.watch(job.id): ...
        wring.get(job.id, "compressed/")
    """

    def __init__(self, server: str = "", token: str = "", ca: str = ""):
        """token: default $WRING_TOKEN; ca: PEM file of the server's authority, for TLS (default $WRING_CA); both also from
        client.yaml. Without a ca: plain text."""
        try:
            found = config(server, token, ca)
        except ValueError as error:
            raise WringError("INVALID_ARGUMENT", str(error), "BAD_CLIENT_CONFIG") from None
        if not found.server:
            raise WringError("INVALID_ARGUMENT", "no server: give HOST:PORT, or set WRING_SERVER")
        self._metadata = [("authorization", f"Bearer {found.token}")] if found.token else []
        if found.ca:
            credentials = grpc.ssl_channel_credentials(pathlib.Path(found.ca).read_bytes())
            self._channel = grpc.secure_channel(found.server, credentials)
        else:
            self._channel = grpc.insecure_channel(found.server)
        self._jobs = jobs_pb2_grpc.JobsStub(self._channel)
        self._artifacts = artifacts_pb2_grpc.ArtifactsStub(self._channel)
        self._evaluations = evaluations_pb2_grpc.EvaluationsStub(self._channel)
        self._methods = methods_pb2_grpc.MethodsStub(self._channel)
        self._sweeps = sweeps_pb2_grpc.SweepsStub(self._channel)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._channel.close()

    def submit(self, recipe: str, model: str, data: dict = None, name: str = "", seed: int = 0, device: str = "cpu",
               request_id: str = "", project: str = ""):
        """Creates a job and returns it (a Job message).

        recipe: YAML text, one line, or the path of a YAML file. model and the values of data: paths, which are
        uploaded, or digests. name: default the recipe's, else its file's. project: whose share of the
        workers the job takes (default: "default"). The same request_id (a UUID) with the same
        content gives the same job.
        """
        label = ""
        if os.path.isfile(recipe):
            label = pathlib.Path(recipe).stem
            recipe = pathlib.Path(recipe).read_text(encoding="utf-8")
        valid = self._call(self._methods.ValidateRecipe, methods_pb2.ValidateRecipeRequest(recipe=recipe))
        # Scripts give every recipe the same two.
        data = {key: value for key, value in (data or {}).items() if key in valid.data_names or key not in ("calibration", "test")}
        for key in data:  # before anything large is sent
            if key not in valid.data_names:
                raise WringError("INVALID_ARGUMENT", f"the recipe reads no data '{key}'", "UNKNOWN_DATA", f"data[{key!r}]",
                                 f"It reads: {', '.join(valid.data_names) or 'none'}.")
        if not name and not json.loads(valid.normal_form_json)["name"]:  # the server takes the recipe's
            name = label
        spec = jobs_pb2.JobSpec(name=name, recipe=recipe, seed=seed, project=project, model=self._input(model, "model"))
        spec.resources.device = device
        for key, value in data.items():
            spec.data[key] = self._input(value, "dataset")
        request = jobs_pb2.SubmitJobRequest(request_id=request_id or str(uuid.uuid4()), spec=spec)
        return self._call(self._jobs.SubmitJob, request)

    def job(self, job_id: str):
        """The job with its stages and evaluations."""
        return self._call(self._jobs.GetJob, jobs_pb2.GetJobRequest(id=job_id))

    def watch(self, job_id: str, after_event: int = 0, patience_seconds: float = 300):
        """Yields the job's events until it has ended; goes on from the last one when the server was away."""
        away_since = None
        while True:
            try:
                request = jobs_pb2.WatchJobRequest(id=job_id, after_event=after_event)
                for event in self._jobs.WatchJob(request, metadata=self._metadata):
                    away_since = None
                    after_event = event.number or after_event
                    yield event
                    if event.state in TERMINAL:
                        return
                if self.job(job_id).state in TERMINAL:
                    return
            except (grpc.RpcError, WringError) as error:
                code = error.code if isinstance(error, WringError) else error.code().name
                away_since = away_since or time.monotonic()
                if code != "UNAVAILABLE" or time.monotonic() - away_since > patience_seconds:
                    raise _as_wring_error(error) from None
                time.sleep(0.5)

    def wait(self, job_id: str):
        """The job once it has succeeded. Raises JobFailed where it ended otherwise."""
        for _ in self.watch(job_id):
            pass
        job = self.job(job_id)
        if job.state != jobs_pb2.JOB_STATE_SUCCEEDED:
            raise JobFailed(job)
        return job

    def cancel(self, job_id: str):
        return self._call(self._jobs.CancelJob, jobs_pb2.CancelJobRequest(id=job_id))

    def submit_sweep(self, sweep: str, recipe: str = "", name: str = "", project: str = "", request_id: str = ""):
        """Creates a sweep and returns it (a Sweep message); the server makes its trials.

        sweep: YAML text or the path of a YAML file (docs/sweeps.md). recipe: text or path; takes the place of the one in
        the sweep, and must be given where that is a path. Models and data that the sweep names are uploaded where they
        are paths.
        """
        sweep, recipe = (pathlib.Path(text).read_text(encoding="utf-8") if os.path.isfile(text) else text for text in (sweep, recipe))
        request = sweeps_pb2.SubmitSweepRequest(request_id=request_id or str(uuid.uuid4()), validate_only=True)
        request.spec.sweep, request.spec.recipe, request.spec.name, request.spec.project = sweep, recipe, name, project
        checked = self._call(self._sweeps.SubmitSweep, request)  # before anything large is sent
        for text in checked.models:
            request.spec.inputs[text] = self._input(text, "model")
        for text in checked.datasets:
            request.spec.inputs[text] = self._input(text, "dataset")
        request.validate_only = False
        return self._call(self._sweeps.SubmitSweep, request)

    def sweep(self, sweep_id: str):
        return self._call(self._sweeps.GetSweep, sweeps_pb2.GetSweepRequest(id=sweep_id))

    def wait_sweep(self, sweep_id: str):
        """The sweep once it has ended, however it did."""
        while True:
            sweep = self.sweep(sweep_id)
            if sweep.state >= sweeps_pb2.SWEEP_STATE_SUCCEEDED:
                return sweep
            time.sleep(0.5)

    def trials(self, sweep_id: str) -> list:
        """All Trial messages of a sweep, by number."""
        request, trials = sweeps_pb2.ListTrialsRequest(id=sweep_id, page_size=1000), []
        while True:
            page = self._call(self._sweeps.ListTrials, request)
            trials += page.trials
            if not page.next_page_token:
                return trials
            request.page_token = page.next_page_token

    def front(self, sweep_id: str):
        """The trials that no other one is better than in all of the sweep's objectives (QueryFrontResponse)."""
        return self._call(self._sweeps.QueryFront, sweeps_pb2.QueryFrontRequest(id=sweep_id))

    def cancel_sweep(self, sweep_id: str):
        return self._call(self._sweeps.CancelSweep, sweeps_pb2.CancelSweepRequest(id=sweep_id))

    def evals(self, job: str = "", artifact: str = "", suite: str = "", metric: str = "") -> list:
        """Measured rows as dictionaries; each empty argument matches everything."""
        request = evaluations_pb2.QueryEvaluationsRequest(job_id=job, artifact=artifact, suite=suite, metric=metric,
                                                          page_size=1000)
        rows = []
        while True:
            page = self._call(self._evaluations.QueryEvaluations, request)
            rows += [_row(evaluation) for evaluation in page.evaluations]
            if not page.next_page_token:
                return rows
            request.page_token = page.next_page_token

    def get(self, digest_or_job: str, out: str) -> str:
        """Downloads an artifact, or a job's result, to the folder `out`, which must not exist; returns its digest."""
        target = pathlib.Path(out)
        if target.exists():
            raise WringError("ALREADY_EXISTS", f"{out} is there already")
        digest = digest_or_job if len(digest_or_job) >= 64 else self.job(digest_or_job).result
        if not digest:
            raise WringError("FAILED_PRECONDITION", f"job {digest_or_job} has no result")
        artifact = self._call(self._artifacts.GetArtifact, artifacts_pb2.GetArtifactRequest(digest=digest))
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
            raise _as_wring_error(error) from None

    def _call(self, method, request):
        try:
            return method(request, timeout=DEADLINE_SECONDS, metadata=self._metadata)
        except grpc.RpcError as error:
            raise _as_wring_error(error) from None


def _as_wring_error(error) -> WringError:
    if isinstance(error, WringError):
        return error
    reason = field = hint = ""
    metadata = dict(error.trailing_metadata() or ())
    for detail in status_pb2.Status.FromString(metadata.get("grpc-status-details-bin", b"")).details:
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        if detail.Unpack(info):
            reason, hint = info.reason, info.metadata.get("hint", "")
        elif detail.Unpack(bad) and bad.field_violations:
            field = bad.field_violations[0].field
    return WringError(error.code().name, error.details(), reason, field, hint)


def _row(evaluation) -> dict:
    row = {"job": evaluation.job_id}
    for key in ("artifact", "suite", "metric", "value", "unit", "n", "seed", "hardware", "when", "text"):
        row[key] = getattr(evaluation, key)
    for key in ("stderr", "baseline_value"):
        row[key] = getattr(evaluation, key) if evaluation.HasField(key) else None
    return row
