"""Two servers on one database and one folder of blobs, and what stands before them as a load balancer would."""
import asyncio
import threading
import time
import urllib.error
import urllib.request

from proxy import Proxies, Proxy
from service import DEADLINE, Service, free_port

LEASE_SECONDS = 2  # of leadership


class Front(Proxy):
    """Leads to one of several targets; connections to another one than the newest are cut."""

    async def turn_to(self, target):
        host, port = target.rsplit(":", 1)
        self._host, self._port = host, int(port)
        for writer in list(self._writers):
            writer.transport.abort()

    @classmethod
    async def nowhere(cls):
        return await cls.start(f"127.0.0.1:{free_port()}")


class Wire(Proxy):
    """From a Unix socket of its own, in `folder`, to that of a database."""

    def __init__(self, path):
        super().__init__("nowhere:0")
        self._path = path

    @classmethod
    async def between(cls, folder, path):
        wire = cls(path)
        await asyncio.start_unix_server(wire._connected, folder / path.name)
        return wire

    def _reach(self):
        return asyncio.open_unix_connection(self._path)


class Pair(Service):
    """A service whose `grpc` and `http` are those of the balancer: it asks each server for /readyz."""

    def __init__(self, programs, folder, database):
        super().__init__(programs, folder)
        self.database = database
        self.databases = {}  # of servers that reach it another way
        (folder / "blobs").mkdir()
        self.servers, self.ports = {}, {}
        self.proxies = Proxies()
        self.fronts = [self.proxies._call(Front.nowhere()) for _ in range(2)]
        self.grpc, self.http = (front.address for front in self.fronts)
        self.leader = None
        self.watching = True
        threading.Thread(target=self._watch, daemon=True).start()

    def start_one(self, name, *arguments):
        data = self.folder / name
        data.mkdir(exist_ok=True)
        (data / "database.yaml").write_text(f'postgresql: "{self.databases.get(name, self.database)}"\nlease_seconds: {LEASE_SECONDS}\n')
        (data / "blobs.yaml").write_text(f"folder: {self.folder / 'blobs'}\n")
        ports = self.ports.setdefault(name, (f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"))
        self.servers[name] = self._start(name, ["wring-server", "--data", str(data), "--grpc", ports[0], "--http", ports[1],
                                                 "--lease-seconds", "10", "--heartbeat-seconds", "1", *arguments])

    def start_both(self):
        self.start_one("a")
        self.wait_for("a leader", lambda: self.leader == "a")
        self.start_one("b")
        self.wait_for("a standby", lambda: self.status_of("b") == (503, "standby"))

    def status_of(self, name, probe="readyz"):
        try:
            with urllib.request.urlopen(f"http://{self.ports[name][1]}/{probe}", timeout=1) as answer:
                return answer.status, "ok"
        except urllib.error.HTTPError as error:
            return error.code, "standby" if b"standby" in error.read() else "?"
        except OSError:
            return None, "away"

    def _watch(self):
        while self.watching:
            ready = [name for name in list(self.ports) if self.status_of(name)[0] == 200]
            if not ready:
                self.leader = None
            elif self.leader not in ready:
                for front, address in zip(self.fronts, self.ports[ready[0]]):
                    self.proxies._call(front.turn_to(address))
                self.leader = ready[0]
            time.sleep(0.1)

    def current(self):
        self.wait_for("a leader", lambda: self.leader)
        return self.leader

    def other(self, name):
        return "b" if name == "a" else "a"

    def seconds_until_it_leads(self, name):
        """From now on, until the server answers as the leader."""
        begin = time.monotonic()
        while self.status_of(name)[0] != 200:
            if time.monotonic() - begin > DEADLINE:
                raise AssertionError(f"{name} does not lead: {self.logs()}")
            time.sleep(0.02)
        return time.monotonic() - begin

    def stop(self):
        self.watching = False
        super().stop()
        for server in self.servers.values():
            if server.poll() is None:
                server.kill()
                server.wait()
