"""The channel to a server, and how calls go over it."""

import pathlib

import grpc

from wring.config import config
from wring.errors import WringError, as_wring_error
from wring.v1 import (artifacts_pb2_grpc, evaluations_pb2_grpc, jobs_pb2_grpc, methods_pb2_grpc, projects_pb2_grpc, sweeps_pb2_grpc,
                      tokens_pb2_grpc, workers_pb2_grpc)

DEADLINE_SECONDS = 60


class Connection:
    """What all calls of a client share."""

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
        self._projects = projects_pb2_grpc.ProjectsStub(self._channel)
        self._sweeps = sweeps_pb2_grpc.SweepsStub(self._channel)
        self._tokens = tokens_pb2_grpc.TokensStub(self._channel)
        self._workers = workers_pb2_grpc.WorkersStub(self._channel)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._channel.close()

    def _call(self, method, request):
        try:
            return method(request, timeout=DEADLINE_SECONDS, metadata=self._metadata)
        except grpc.RpcError as error:
            raise as_wring_error(error) from None

    def _all(self, method, request, member: str, limit: int = 0) -> list:
        """The messages in `member` of all pages; of a limit, no more."""
        found = []
        while True:
            request.page_size = min(1000, limit - len(found)) if limit else 1000
            page = self._call(method, request)
            found += getattr(page, member)
            if not page.next_page_token or (limit and len(found) >= limit):
                return found
            request.page_token = page.next_page_token
