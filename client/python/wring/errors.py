"""What calls of a Wring server raise."""

from google.rpc import error_details_pb2, status_pb2


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


def as_wring_error(error) -> WringError:
    """Of a grpc.RpcError, whose details are the server's."""
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
