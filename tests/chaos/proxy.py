"""A TCP proxy on loopback whose connections can be cut, held or let through."""
import asyncio
import threading


class Proxies:
    """Runs proxies on a thread of their own. Any thread may call."""

    def __init__(self):
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    def to(self, target):
        """A proxy to "HOST:PORT"."""
        return self._call(Proxy.start(target))

    def set(self, proxy, mode):
        """`mode`: "pass"; "cut": connections are reset and new ones refused; "hold": bytes wait, both ways."""
        self._call(proxy.set(mode))

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)


class Proxy:
    def __init__(self, target):
        self._host, port = target.rsplit(":", 1)
        self._port = int(port)
        self._mode = "pass"
        self._flows = asyncio.Event()
        self._flows.set()
        self._writers = set()

    @classmethod
    async def start(cls, target):
        proxy = cls(target)
        server = await asyncio.start_server(proxy._connected, "127.0.0.1", 0)
        proxy.address = "127.0.0.1:%d" % server.sockets[0].getsockname()[1]
        return proxy

    async def set(self, mode):
        self._mode = mode
        self._flows.clear() if mode == "hold" else self._flows.set()
        if mode == "cut":
            for writer in self._writers:
                writer.transport.abort()

    def open_ends(self):
        return len(self._writers)

    def _reach(self):
        return asyncio.open_connection(self._host, self._port)

    async def _connected(self, reader, writer):
        if self._mode == "cut":
            return writer.transport.abort()
        try:
            away_reader, away_writer = await self._reach()
        except OSError:
            return writer.transport.abort()
        both = {writer, away_writer}
        self._writers |= both
        await asyncio.gather(self._pump(reader, away_writer), self._pump(away_reader, writer))
        self._writers -= both

    async def _pump(self, reader, writer):
        try:
            while data := await reader.read(1 << 16):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.close()
