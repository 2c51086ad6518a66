"""A proxy before an S3 service that counts requests and, asked to, damages, cuts or holds them."""
import http.client
import re
import socket
import struct
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


def kind_of(method, target, headers):
    """What is asked for: "part 2", "begin", "complete", "abort", "uploads" and "parts" (lists), "copy", "PUT blob", else the method."""
    url = urlsplit(target)
    query = parse_qs(url.query, keep_blank_values=True)
    if "partNumber" in query:
        return f"part {query['partNumber'][0]}"
    if "uploads" in query:
        return {"POST": "begin", "GET": "uploads"}[method]
    if "uploadId" in query:
        return {"POST": "complete", "DELETE": "abort", "GET": "parts"}[method]
    if "x-amz-copy-source" in headers:
        return "copy"
    return f"{method} blob" if re.search("/blobs/[0-9a-f]{64}$", url.path) else method


class Proxy:
    """`requests` counts by kind, `refused` those of a status from 400 on. A fault of `faults` ({kind: [fault, ...]}) meets one request each:

    "damage": a byte of the body is another one; "cut": the connection is reset once the request is here, which goes no further;
    "lose": the service answers, and the answer is lost; "gone": NoSuchUpload, as most services say of what was completed (Swift
    remembers it); "hold": it waits (`held` is set then) until release(), and is cut.
    """

    def __init__(self, target):
        self.target = target.removeprefix("http://")
        self.requests, self.refused, self.faults = Counter(), Counter(), {}
        self.held, self._released = threading.Event(), threading.Event()
        self._lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def handle_one_request(self):
                try:
                    super().handle_one_request()
                except OSError:  # the other side is gone, as it may
                    self.close_connection = True

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = lambda self: proxy._pass(self)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = "http://127.0.0.1:%d" % self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def parts(self):
        """{number: how often it was sent}."""
        return {int(kind.split()[1]): count for kind, count in self.requests.items() if kind.startswith("part ")}

    def release(self):
        self._released.set()

    def stop(self):
        self.release()
        self._server.shutdown()
        self._server.server_close()

    def _next_fault(self, kind):
        with self._lock:
            self.requests[kind] += 1
            faults = self.faults.get(kind)
            return faults.pop(0) if faults else None

    def _pass(self, handler):
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        kind = kind_of(handler.command, handler.path, handler.headers)
        fault = self._next_fault(kind)
        if fault == "hold":
            self.held.set()
            self._released.wait(300)
        if fault in ("hold", "cut"):
            return self._cut(handler)
        if fault == "gone":
            return self._answer(handler, 404, [], b"<Error><Code>NoSuchUpload</Code></Error>")
        if fault == "damage":
            body = bytes([body[0] ^ 1]) + body[1:]
        status, headers, content = self._ask(handler, body)
        if status >= 400:
            self.refused[kind] += 1
        if fault == "lose":
            return self._cut(handler)
        self._answer(handler, status, headers, content)

    def _answer(self, handler, status, headers, content):
        handler.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                handler.send_header(name, value)
        length = dict((name.lower(), value) for name, value in headers).get("content-length") if handler.command == "HEAD" else len(content)
        handler.send_header("Content-Length", length or 0)
        handler.end_headers()
        handler.wfile.write(content)

    def _ask(self, handler, body):
        connection = http.client.HTTPConnection(self.target, timeout=60)
        try:
            connection.putrequest(handler.command, handler.path, skip_host=True, skip_accept_encoding=True)
            for name, value in handler.headers.items():
                if name.lower() not in ("expect", "connection"):
                    connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, answer.getheaders(), answer.read()
        finally:
            connection.close()

    def _cut(self, handler):
        handler.close_connection = True
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        handler.connection.shutdown(socket.SHUT_RDWR)
