"""Calls about jobs: submit, watch, cancel, pause, and what they measured."""

import json
import os
import pathlib
import time
import uuid

import grpc

from wring.connection import Connection
from wring.errors import JobFailed, WringError, as_wring_error
from wring.v1 import evaluations_pb2, jobs_pb2, methods_pb2

TERMINAL = {jobs_pb2.JOB_STATE_SUCCEEDED, jobs_pb2.JOB_STATE_FAILED, jobs_pb2.JOB_STATE_CANCELLED}


def set_limits(spec, device="cpu", threads=0, processes=0, memory_bytes=0, max_attempts=0, priority=0, max_runtime_seconds=0.0,
               worker_class="", expire_after_seconds=0.0, pin=False):
    """What submit() and submit_sweep() let say of a job, or of a sweep's jobs."""
    spec.resources.device, spec.resources.threads, spec.resources.memory_bytes = device, threads, memory_bytes
    spec.resources.processes = processes
    spec.resources.worker_class = worker_class
    spec.retry.max_attempts = max_attempts
    spec.priority = priority
    spec.max_runtime_seconds = max_runtime_seconds
    if expire_after_seconds or pin:
        spec.retention.expire_after_seconds, spec.retention.pinned = expire_after_seconds, pin


class Jobs(Connection):
    def submit(self, recipe: str, model: str, data: dict = None, name: str = "", seed: int = 0, request_id: str = "",
               project: str = "", queued_timeout_seconds: float = 0, total_timeout_seconds: float = 0, **limits):
        """Creates a job and returns it (a Job message).

        recipe: YAML text, one line, or the path of a YAML file. model and the values of data: paths, which are
        uploaded, or digests. name: default the recipe's, else its file's. project: whose share of the
        workers the job takes (default: "default"). The same request_id (a UUID) with the same
        content gives the same job.

        queued_timeout_seconds: longest wait for a worker, each time; total_timeout_seconds: from here to the end.
        limits: device ("cpu" or "cuda"), threads (of each process), processes (that share calibration and training), memory_bytes, max_attempts, priority (-100 to 100), max_runtime_seconds of
        one attempt; worker_class (only workers that were started with that --class run it); expire_after_seconds (the server deletes what the job makes that long after its success) or pin (nobody
        can discard it). 0 is the server's default, or no limit.
        """
        label = ""
        if os.path.isfile(recipe):
            label = pathlib.Path(recipe).stem
            recipe = pathlib.Path(recipe).read_text(encoding="utf-8")
        valid = self._call(self._methods.ValidateRecipe, methods_pb2.ValidateRecipeRequest(recipe=recipe))
        # Scripts give every recipe the same ones.
        data = {key: value for key, value in (data or {}).items() if key in valid.data_names or key not in ("calibration", "train", "test")}
        for key in data:  # before anything large is sent
            if key not in valid.data_names:
                raise WringError("INVALID_ARGUMENT", f"the recipe reads no data '{key}'", "UNKNOWN_DATA", f"data[{key!r}]",
                                 f"It reads: {', '.join(valid.data_names) or 'none'}.")
        if not name and not json.loads(valid.normal_form_json)["name"]:  # the server takes the recipe's
            name = label
        spec = jobs_pb2.JobSpec(name=name, recipe=recipe, seed=seed, project=project, queued_timeout_seconds=queued_timeout_seconds,
                                total_timeout_seconds=total_timeout_seconds)
        set_limits(spec, **limits)
        spec.model = self._input(model, "model")
        for key, value in data.items():
            spec.data[key] = self._input(value, "dataset")
        request = jobs_pb2.SubmitJobRequest(request_id=request_id or str(uuid.uuid4()), spec=spec)
        return self._call(self._jobs.SubmitJob, request)

    def job(self, job_id: str):
        """The job with its stages and evaluations."""
        return self._call(self._jobs.GetJob, jobs_pb2.GetJobRequest(id=job_id))

    def jobs(self, states=(), name_contains: str = "", project: str = "", limit: int = 50, model: str = "",
             sweep: str = "", no_trials: bool = False) -> list:
        """Job messages, newest first, without recipes and evaluations. states: "QUEUED", "RUNNING", ...; none: all.
        model: digest of what they were given. sweep: only its trials; no_trials: only jobs that are none. limit 0: all jobs."""
        request = jobs_pb2.ListJobsRequest(states=[jobs_pb2.JobState.Value("JOB_STATE_" + state.upper()) for state in states],
                                           name_contains=name_contains, project=project, model=model,
                                           sweep=sweep, no_trials=no_trials)
        return self._all(self._jobs.ListJobs, request, "jobs", limit)

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
                    raise as_wring_error(error) from None
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

    def retry(self, job_id: str):
        """Puts a failed or cancelled job back in the queue; finished stages are kept."""
        return self._call(self._jobs.RetryJob, jobs_pb2.RetryJobRequest(id=job_id))

    def pause_job(self, job_id: str):
        """Keeps the job from being leased until resume_job(); one that runs goes back to the queue."""
        return self._call(self._jobs.PauseJob, jobs_pb2.PauseJobRequest(id=job_id))

    def resume_job(self, job_id: str):
        return self._call(self._jobs.ResumeJob, jobs_pb2.ResumeJobRequest(id=job_id))

    def delete_job(self, job_id: str) -> None:
        """Removes an ended job and its events; its artifacts stay."""
        self._call(self._jobs.DeleteJob, jobs_pb2.DeleteJobRequest(id=job_id))

    def evals(self, job: str = "", artifact: str = "", suite: str = "", metric: str = "") -> list:
        """Measured rows as dictionaries; each empty argument matches everything."""
        request = evaluations_pb2.QueryEvaluationsRequest(job_id=job, artifact=artifact, suite=suite, metric=metric)
        return [_row(row) for row in self._all(self._evaluations.QueryEvaluations, request, "evaluations")]


def _row(evaluation) -> dict:
    row = {"job": evaluation.job_id}
    for key in ("artifact", "suite", "metric", "value", "unit", "n", "seed", "hardware", "when", "text"):
        row[key] = getattr(evaluation, key)
    for key in ("stderr", "baseline_value", "change_stderr"):
        row[key] = getattr(evaluation, key) if evaluation.HasField(key) else None
    return row
