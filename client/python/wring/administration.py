"""Calls about projects, workers, tokens and the catalogue of methods."""

import json
import time

from wring.connection import Connection
from wring.v1 import methods_pb2, projects_pb2, tokens_pb2, workers_pb2


class Administration(Connection):
    def projects(self) -> list:
        """Project messages of those that have jobs which have not ended, are paused or have a quota."""
        return self._all(self._projects.ListProjects, projects_pb2.ListProjectsRequest(), "projects")

    def pause_project(self, name: str):
        """Leases none of the project's jobs until resume_project(); what runs goes on."""
        return self._call(self._projects.PauseProject, projects_pb2.PauseProjectRequest(name=name))

    def resume_project(self, name: str):
        return self._call(self._projects.ResumeProject, projects_pb2.ResumeProjectRequest(name=name))

    def set_quota(self, name: str, queued: int = 0, running: int = 0, blob_bytes: int = 0):
        """Limits what a project may have, in place of its limits before; 0: no limit."""
        quota = projects_pb2.Quota(queued=queued, running=running, bytes=blob_bytes)
        return self._call(self._projects.SetQuota, projects_pb2.SetQuotaRequest(name=name, quota=quota))

    def workers(self) -> list:
        """All Worker messages, by id."""
        return self._all(self._workers.ListWorkers, workers_pb2.ListWorkersRequest(), "workers")

    def pause_worker(self, id_or_name: str):
        """Leases the worker nothing more until resume_worker(); a job that it runs goes on."""
        return self._call(self._workers.PauseWorker, workers_pb2.PauseWorkerRequest(id=id_or_name))

    def resume_worker(self, id_or_name: str):
        return self._call(self._workers.ResumeWorker, workers_pb2.ResumeWorkerRequest(id=id_or_name))

    def create_token(self, scope: str, project: str = "", name: str = "", expires_after_seconds: float = 0):
        """A CreateTokenResponse, whose `secret` is told here and never again. scope: "viewer", "submitter", "admin" or
        "worker"; project: empty for all."""
        request = tokens_pb2.CreateTokenRequest(scope=scope, project=project, name=name)
        if expires_after_seconds:
            request.expire_time.FromMilliseconds(int(1000 * (time.time() + expires_after_seconds)))
        return self._call(self._tokens.CreateToken, request)

    def tokens(self) -> list:
        """All Token messages, by id."""
        return self._all(self._tokens.ListTokens, tokens_pb2.ListTokensRequest(), "tokens")

    def revoke_token(self, token_id: str):
        """Ends a token at once; "worker:NAME" shuts out that worker's certificate."""
        return self._call(self._tokens.RevokeToken, tokens_pb2.RevokeTokenRequest(id=token_id))

    def methods(self) -> list:
        """Method messages of all methods, then all suites; `spec_json` has the parameters."""
        return self._all(self._methods.ListMethods, methods_pb2.ListMethodsRequest(), "methods")

    def validate(self, recipe: str) -> dict:
        """The recipe's normal form. Raises WringError with the offending field."""
        request = methods_pb2.ValidateRecipeRequest(recipe=recipe)
        return json.loads(self._call(self._methods.ValidateRecipe, request).normal_form_json)
