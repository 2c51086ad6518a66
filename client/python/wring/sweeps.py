"""Calls about sweeps: submit, trials, fronts, bounds."""

import os
import pathlib
import time
import uuid

from wring.connection import Connection
from wring.jobs import set_limits
from wring.v1 import sweeps_pb2


class Sweeps(Connection):
    def submit_sweep(self, sweep: str, recipe: str = "", name: str = "", project: str = "", request_id: str = "", **limits):
        """Creates a sweep and returns it (a Sweep message); the server makes its trials.

        sweep: YAML text or the path of a YAML file (docs/sweeps.md). recipe: text or path; takes the place of the one in
        the sweep, and must be given where that is a path. Models and data that the sweep names are uploaded where they
        are paths. limits: of each trial, those of submit().
        """
        sweep, recipe = (pathlib.Path(text).read_text(encoding="utf-8") if os.path.isfile(text) else text for text in (sweep, recipe))
        request = sweeps_pb2.SubmitSweepRequest(request_id=request_id or str(uuid.uuid4()), validate_only=True)
        request.spec.sweep, request.spec.recipe, request.spec.name, request.spec.project = sweep, recipe, name, project
        set_limits(request.spec, **limits)
        checked = self._call(self._sweeps.SubmitSweep, request)  # before anything large is sent
        for text in checked.models:
            request.spec.inputs[text] = self._input(text, "model")
        for text in checked.datasets:
            request.spec.inputs[text] = self._input(text, "dataset")
        request.validate_only = False
        return self._call(self._sweeps.SubmitSweep, request)

    def sweep(self, sweep_id: str):
        return self._call(self._sweeps.GetSweep, sweeps_pb2.GetSweepRequest(id=sweep_id))

    def sweeps(self, project: str = "", limit: int = 50) -> list:
        """Sweep messages, newest first, without their texts. limit 0: all."""
        return self._all(self._sweeps.ListSweeps, sweeps_pb2.ListSweepsRequest(project=project), "sweeps", limit)

    def wait_sweep(self, sweep_id: str):
        """The sweep once it has ended, however it did."""
        while True:
            sweep = self.sweep(sweep_id)
            if sweep.state >= sweeps_pb2.SWEEP_STATE_SUCCEEDED:
                return sweep
            time.sleep(0.5)

    def trials(self, sweep_id: str) -> list:
        """All Trial messages of a sweep, by number."""
        return self._all(self._sweeps.ListTrials, sweeps_pb2.ListTrialsRequest(id=sweep_id), "trials")

    def front(self, sweep_id: str, objectives: dict | None = None, at_most: dict | None = None, at_least: dict | None = None):
        """The trials that no other one is better than in all objectives (QueryFrontResponse).

        objectives: "min" or "max" by metric ("kl_mean", or "perplexity[1]/kl_mean"); None: the sweep's own. at_most, at_least:
        further constraints by metric, numbers or shares of what the input has ("30%").
        """
        request = sweeps_pb2.QueryFrontRequest(id=sweep_id)
        for name, goal in (objectives or {}).items():
            if goal not in ("min", "max"):
                raise ValueError(f"objectives: {name} is to be min or max, not {goal!r}")
            suite, _, metric = name.rpartition("/")
            request.objectives.add(metric=metric, suite=suite, maximise=goal == "max")
        for bound, constraints in (("maximum", at_most), ("minimum", at_least)):
            for name, value in (constraints or {}).items():
                suite, _, metric = name.rpartition("/")
                share = isinstance(value, str) and value.endswith("%")
                number = float(value[:-1]) / 100 if share else float(value)
                request.constraints.add(metric=metric, suite=suite, of_input=share, **{bound: number})
        return self._call(self._sweeps.QueryFront, request)

    def pause_sweep(self, sweep_id: str):
        """Makes no trials until resume_sweep(); those made already go on."""
        return self._call(self._sweeps.PauseSweep, sweeps_pb2.PauseSweepRequest(id=sweep_id))

    def resume_sweep(self, sweep_id: str):
        return self._call(self._sweeps.ResumeSweep, sweeps_pb2.ResumeSweepRequest(id=sweep_id))

    def stop_sweep(self, sweep_id: str):
        """Makes no more trials; ends once those made have."""
        return self._call(self._sweeps.StopSweep, sweeps_pb2.StopSweepRequest(id=sweep_id))

    def cancel_sweep(self, sweep_id: str):
        """Makes no more trials, and cancels those that have not ended."""
        return self._call(self._sweeps.CancelSweep, sweeps_pb2.CancelSweepRequest(id=sweep_id))

    def extend_sweep(self, sweep_id: str, trials: int = 0, seconds: float = 0, result_bytes: int = 0):
        """Adds to the sweep's bounds; one that had ended at them goes on."""
        more = sweeps_pb2.SweepBounds(trials=trials, seconds=seconds, bytes=result_bytes)
        return self._call(self._sweeps.ExtendSweep, sweeps_pb2.ExtendSweepRequest(id=sweep_id, more=more))

    def delete_sweep(self, sweep_id: str) -> None:
        """Removes an ended sweep; its trials' jobs and artifacts stay."""
        self._call(self._sweeps.DeleteSweep, sweeps_pb2.DeleteSweepRequest(id=sweep_id))
