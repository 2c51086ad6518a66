"""One connection to a Wring server."""

from wring.administration import Administration
from wring.artifacts import Artifacts
from wring.jobs import Jobs
from wring.sweeps import Sweeps


class Client(Jobs, Artifacts, Sweeps, Administration):
    """Calls of a server at "HOST:PORT" (default: $WRING_SERVER, client.yaml, or what `wring up` runs here). Errors are WringError.

    with Client("127.0.0.1:7433") as wring:
        job = wring.submit("gptq(bits=4)", model="model/", data={"calibration": "train.txt"}, expire_after_seconds=7 * 86400)
        for event in wring.watch(job.id): ...
        wring.get(job.id, "compressed/")
    """
