"""The door, through real processes: a server with TLS on an address that other machines can reach, tokens, tenants, quotas;
and a hostile client of gRPC."""
import concurrent.futures
import contextlib
import hashlib
import http.client
import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import unittest
import uuid
from pathlib import Path

import google.api.annotations_pb2
import grpc

from service import Answer, Service, mount_small

ROOT = Path(__file__).resolve().parents[2]
programs = scratch = None  # set by run.py


def own_address():
    """An address of this machine that is not loopback, where there is one."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing
        return probe.getsockname()[0]
    return "127.0.0.1"


class SecureService(Service):
    """With certificates and tokens, on all addresses."""

    def __init__(self, programs, folder):
        super().__init__(programs, folder)
        self.host = own_address()
        self.grpc, self.http = (f"{self.host}:{address.split(':')[1]}" for address in (self.grpc, self.http))
        made = self.init("--host", self.host)
        self.ca, self.admin = made["ca"], made["token"]

    def init(self, *arguments):
        result = subprocess.run([self.programs / "wring-server", "init", *arguments, "--data", self.folder / "data", "--json"],
                                capture_output=True, text=True, check=True)
        return json.loads(result.stdout)

    def start_server(self):
        grpc_port, http_port = (address.split(":")[1] for address in (self.grpc, self.http))
        self.server = self._start("server", ["wring-server", "--data", str(self.folder / "data"), "--grpc", f"0.0.0.0:{grpc_port}",
                                              "--http", f"0.0.0.0:{http_port}", "--lease-seconds", "5", "--heartbeat-seconds", "1"])
        self.wait_for("the server", lambda: self.cli("workers", "--json").status == 0)

    def start_worker(self, name="vm-a"):
        folder = self.init("worker", name)["folder"]
        self.workers[name] = self._start(name, ["wring-worker", "--server", self.grpc, "--cache", str(self.folder / name), "--tls", folder])
        self.wait_for("the worker", lambda: self.cli("workers", "--json").json["workers"])

    def cli(self, *arguments, token=None, ca=None):
        command = [self.programs / "wring", "--server", self.grpc, *map(str, arguments)]
        environment = os.environ | {"WRING_CA": self.ca if ca is None else str(ca), "WRING_TOKEN": self.admin if token is None else token}
        return Answer(subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment))

    def token(self, *arguments):
        answer = self.cli("tokens", "create", *arguments, "--json")
        assert answer.status == 0, str(answer)
        return answer.json["secret"], answer.json["id"]

    def tenant(self, project, scope="submitter"):
        return self.token("--scope", scope, "--project", project)[0]

    def audit(self):
        lines = subprocess.run([self.programs / "wring-server", "audit", "--data", self.folder / "data", "--json"], capture_output=True,
                               text=True, check=True).stdout
        return [json.loads(line) for line in lines.splitlines()]


class Door(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Path(tempfile.mkdtemp(dir=scratch, prefix="Door"))
        cls.service = SecureService(programs, cls.folder)
        cls.addClassCleanup(cls.service.stop)
        cls.service.start_server()
        cls.service.start_worker()

    def refused(self, answer, reason):
        self.assertEqual(answer.json["error"]["reason"], reason, str(answer))

    def test_what_init_made_is_this_users_alone(self):
        files = [path for path in (self.folder / "data/tls").rglob("*") if path.is_file()]
        self.assertGreaterEqual(len(files), 7)
        self.assertEqual({path.stat().st_mode & 0o777 for path in files}, {0o600})

    def test_plain_text_and_a_wrong_authority_come_to_nothing(self):
        other = SecureService(programs, Path(tempfile.mkdtemp(dir=scratch)))
        self.refused(self.service.cli("jobs", "--json", ca=""), "SERVER_AWAY")
        self.refused(self.service.cli("jobs", "--json", ca=other.ca), "SERVER_AWAY")
        self.assertEqual(self.service.cli("jobs", "--json").status, 0)

    def test_plain_text_is_refused_where_others_can_listen_unless_asked_for(self):
        command = [programs / "wring-server", "--data", self.folder / "open", "--grpc", "0.0.0.0:0", "--http", "127.0.0.1:0"]
        result = subprocess.run(command, capture_output=True, text=True, timeout=30)
        self.assertEqual(result.returncode, 2)
        self.assertIn("--insecure-plaintext", result.stderr)

    def test_up_ends_as_the_server_that_refuses_to_start(self):
        command = [programs / "wring", "up", "--data", self.folder / "up", "--grpc", "0.0.0.0:0", "--http", "127.0.0.1:0", "--detach"]
        for _ in range(2):  # the second time with a log that is there
            result = subprocess.run(command, capture_output=True, text=True, timeout=60)
            self.assertEqual(result.returncode, 2, result.stderr)
            self.assertEqual(result.stderr.count("can be reached from other machines"), 1, result.stderr)

    def test_tokens_that_are_missing_unknown_expired_or_revoked(self):
        cli = self.service.cli
        self.refused(cli("jobs", "--json", token=""), "NO_TOKEN")
        self.refused(cli("jobs", "--json", token="wring_nonsense"), "BAD_TOKEN")
        expiring, _ = self.service.token("--scope", "viewer", "--project", "a", "--expires", "1s")
        time.sleep(1.1)
        self.refused(cli("jobs", "--json", token=expiring), "TOKEN_EXPIRED")
        secret, name = self.service.token("--scope", "viewer", "--project", "a", "--expires", "20d")
        self.assertEqual(cli("jobs", "--json", token=secret).status, 0)
        found, seen = ({finding["what"]: finding["found"] for finding in cli("doctor", "--json", **who).json["findings"]}
                       for who in ({}, {"token": secret}))
        self.assertRegex(found["tokens"], r"^[0-9]+ valid, [1-9][0-9]* for less than 30 days$")
        self.assertIn("no admin's", seen["tokens"])
        self.assertEqual(cli("tokens", "revoke", name).status, 0)
        self.refused(cli("jobs", "--json", token=secret), "TOKEN_REVOKED")
        listed = {token["id"]: token for token in cli("tokens", "list", "--json").json["tokens"]}
        self.assertIsNotNone(listed[name]["revoke_time"])
        self.assertNotIn(secret, json.dumps(listed))

    def test_a_tenants_job_runs_and_another_tenant_finds_nothing_of_it(self):
        a, b, viewer = self.service.tenant("a"), self.service.tenant("b"), self.service.tenant("a", "viewer")
        submit = ("submit", "rtn(bits=4, group_size=32)", "--json", "--model")
        answer = self.service.cli(*submit, scratch / "tiny", "--wait", token=a)
        self.assertEqual(answer.status, 0, f"{answer}\n{self.service.logs()}")
        job, result, model = (answer.json[key] for key in ("id", "artifact_digest", "model"))
        self.assertEqual(answer.json["project"], "a")
        self.refused(self.service.cli(*submit, model, token=viewer), "SCOPE")
        self.refused(self.service.cli(*submit, model, token=b), "ARTIFACT_NOT_FOUND")
        self.assertEqual(self.service.cli("get", result, "--out", self.folder / "result", token=viewer).status, 0)
        for arguments in (("job", job), ("cancel", job), ("watch", job), ("evals", "--job", job), ("artifact", result),
                          ("get", model, "--out", self.folder / "stolen")):
            answer = self.service.cli(*arguments, "--json", token=b)
            self.assertEqual(answer.status, 3, str(answer))
        self.assertEqual(self.service.cli("jobs", "--json", token=b).json["jobs"], [])
        self.assertEqual(self.service.cli("artifacts", "--json", token=b).json["artifacts"], [])
        put = [self.service.cli("put", scratch / "tiny", "--json", token=token).json for token in (a, b, b)]
        self.assertEqual([each["digest"] for each in put], [model] * 3)
        self.assertEqual(put[0]["sent_bytes"], 0)
        self.assertGreater(put[1]["sent_bytes"], 0, "another tenant's bytes are not offered")
        self.assertEqual(put[2]["sent_bytes"], 0)
        rows = [(row["method"], row["scope"], row["project"], row["outcome"]) for row in self.service.audit() if row["object"] in (job, "")]
        self.assertIn(("Jobs/SubmitJob", "viewer", "a", "SCOPE"), rows)
        self.assertIn(("Jobs/SubmitJob", "submitter", "a", "OK"), rows)
        self.assertIn(("Workers/FinishAttempt", "worker", "", "OK"), rows)

    def test_a_quota_names_the_number_and_the_limit(self):
        c = self.service.tenant("c")
        self.assertEqual(self.service.cli("pause", "project", "c", token=c).status, 0)
        self.assertEqual(self.service.cli("quota", "c", "--queued", "1").status, 0)
        arguments = ("submit", "rtn(bits=4)", "--model", scratch / "tiny", "--json")
        self.assertEqual(self.service.cli(*arguments, token=c).status, 0)
        answer = self.service.cli(*arguments, token=c)
        self.refused(answer, "QUOTA_QUEUED")
        self.assertEqual(answer.status, 4)
        self.assertIn("has 1 jobs queued, and may have 1", answer.err)
        self.refused(self.service.cli("quota", "c", "--queued", "9", "--json", token=c), "SCOPE")
        self.assertEqual(self.service.cli("quota", "c", "--bytes", "300KB").status, 0)
        (self.folder / "large").write_bytes(os.urandom(400_000))
        self.refused(self.service.cli("put", self.folder / "large", "--json", token=c), "QUOTA_BYTES")

    def test_a_worker_needs_a_certificate_that_is_not_revoked(self):
        def start(*arguments):
            command = [programs / "wring-worker", "--server", self.service.grpc, "--cache", tempfile.mkdtemp(dir=scratch), "--once", *arguments]
            return subprocess.run(command, capture_output=True, text=True, timeout=60)

        folder = Path(self.service.init("worker", "vm-b")["folder"])
        self.assertEqual(self.service.cli("tokens", "revoke", "worker:vm-b").status, 0)
        result = start("--tls", folder)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("revoked", result.stderr)
        (folder / "worker.crt").write_text("")
        (folder / "worker.key").write_text("")
        result = start("--tls", folder, "--token", self.service.admin)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("may not call Workers/RegisterWorker", result.stderr)

    def test_the_servers_own_certificate_is_no_workers(self):
        ca, *server = ((self.folder / "data/tls" / name).read_bytes() for name in ("ca.crt", "server.key", "server.crt"))
        folder = Path(self.service.init("worker", "vm-c")["folder"])
        worker = [(folder / name).read_bytes() for name in ("worker.key", "worker.crt")]
        for pair, code in ((server, "UNAVAILABLE"), (worker, "PERMISSION_DENIED")):
            with grpc.secure_channel(self.service.grpc, grpc.ssl_channel_credentials(ca, *pair)) as channel:
                with self.assertRaises(grpc.RpcError) as caught:
                    channel.unary_unary("/wring.v1.Jobs/ListJobs")(b"", timeout=10)
                self.assertEqual(caught.exception.code().name, code)

    def request(self, method, path, body=None, service=None, **headers):
        """Status, headers and body."""
        service = service or self.service
        host, port = service.http.split(":")
        context = ssl.create_default_context(cafile=service.ca)
        with contextlib.closing(http.client.HTTPSConnection(host, int(port), context=context, timeout=10)) as connection:
            connection.request(method, path, json.dumps(body) if body is not None else None, {"Content-Type": "application/json"} | headers)
            response = connection.getresponse()
            return response.status, response.headers, response.read().decode()

    def test_a_browser_logs_in_for_a_cookie(self):
        d, reader = self.service.tenant("d"), self.service.token("--scope", "viewer", "--all-projects")[0]
        self.assertEqual(self.request("GET", "/api/v1/jobs")[0], 401)
        session = json.loads(self.request("GET", "/api/v1/session")[2])
        self.assertEqual(session, {"login": True, "caller": "", "scope": "", "project": ""})
        self.assertEqual(self.request("POST", "/api/v1/login", {"token": "wring_nonsense"})[0], 401)
        self.assertEqual(self.request("POST", "/api/v1/login", {"token": d}, Origin="https://evil.example")[0], 403)
        status, headers, body = self.request("POST", "/api/v1/login", {"token": d})
        session = json.loads(body)
        self.assertEqual((status, session["scope"], session["project"]), (200, "submitter", "d"))
        for part in ("HttpOnly", "SameSite=Strict", "Secure"):
            self.assertIn(part, headers["Set-Cookie"])
        cookie = headers["Set-Cookie"].split(";")[0]
        status, _, body = self.request("GET", "/api/v1/jobs", Cookie=cookie)
        self.assertEqual((status, json.loads(body)["jobs"]), (200, []))
        self.assertEqual(self.request("GET", "/api/v1/jobs", Authorization=f"Bearer {d}")[0], 200)
        self.assertIn("Max-Age=0", self.request("POST", "/api/v1/logout", {}, Cookie=cookie)[1]["Set-Cookie"])
        self.assertEqual(self.request("GET", "/metrics", Cookie=cookie)[0], 403)
        self.assertIn("wring_", self.request("GET", "/metrics", Authorization=f"Bearer {reader}")[2])

    def test_a_full_disk_is_said_at_once_to_who_has_a_token(self):
        folder = Path(tempfile.mkdtemp(dir=scratch, prefix="FullDoor"))
        data = mount_small(self, folder / "data")
        service = SecureService(programs, folder)
        self.addCleanup(service.stop)
        service.start_server()
        with contextlib.suppress(OSError), (data / "ballast").open("wb", buffering=0) as ballast:
            while True:
                ballast.write(bytes(4096))
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(service.cli, "pause", "project", "a")  # accepted before the server knows: it waits for space
            service.wait_for("a full disk", lambda: "commits wait" in service.logs(), 60)
            for _ in range(8):  # the server has four threads for HTTP
                status, _, body = self.request("POST", "/api/v1/projects/b/pause", {}, service, Authorization=f"Bearer {service.admin}")
                self.assertEqual((status, json.loads(body)["reason"]), (429, "DISK_FULL"))
            self.assertEqual(self.request("GET", "/healthz", service=service)[0], 200)
            (data / "ballast").unlink()
            self.assertEqual(waiting.result().status, 0)
        service.wait_for("the rows of the audit log", lambda: [row["outcome"] for row in service.audit()].count("DISK_FULL") == 8, 60)
        self.assertEqual(self.request("POST", "/api/v1/projects/b/pause", {}, service, Authorization=f"Bearer {service.admin}")[0], 200)


class HostileClient(unittest.TestCase):
    """Whatever comes in: an error that says what is wrong, and a server that serves on."""

    @classmethod
    def setUpClass(cls):
        cls.folder = Path(tempfile.mkdtemp(dir=scratch, prefix="Hostile"))
        generated = cls.folder / "generated"
        generated.mkdir()
        protos = sorted((ROOT / "proto/wring/v1").glob("*.proto"))
        googleapis = Path(google.api.annotations_pb2.__file__).parents[2]
        subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}", f"-I{googleapis}", f"--python_out={generated}",
                        f"--grpc_python_out={generated}", *protos], check=True)
        sys.path.insert(0, str(generated))
        from wring.v1 import artifacts_pb2, artifacts_pb2_grpc, jobs_pb2, jobs_pb2_grpc
        cls.artifacts, cls.jobs = artifacts_pb2, jobs_pb2
        cls.service = Service(programs, cls.folder)
        cls.addClassCleanup(cls.service.stop)
        cls.service.start_server()
        cls.channel = grpc.insecure_channel(cls.service.grpc, options=[("grpc.max_send_message_length", -1)])
        cls.addClassCleanup(cls.channel.close)
        cls.artifacts_stub, cls.jobs_stub = artifacts_pb2_grpc.ArtifactsStub(cls.channel), jobs_pb2_grpc.JobsStub(cls.channel)

    def tearDown(self):
        self.jobs_stub.ListJobs(self.jobs.ListJobsRequest(), timeout=10)  # it serves on
        self.assertIsNone(self.service.server.poll())

    def refusal(self, call):
        with self.assertRaises(grpc.RpcError) as caught:
            call()
        return caught.exception.code().name, caught.exception.details()

    def write(self, *messages):
        return self.artifacts_stub.WriteBlob(iter(messages), timeout=10)

    def message(self, blob, start, end, upload="u"):
        return self.artifacts.WriteBlobRequest(digest=hashlib.sha256(blob).hexdigest(), size=len(blob), upload_id=upload, write_offset=start,
                                               data=blob[start:end])

    def resident_bytes(self):
        return int(Path(f"/proc/{self.service.server.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def test_a_message_that_is_too_large(self):
        request = self.jobs.SubmitJobRequest(spec={"recipe": "x" * (81 << 20)})
        self.assertEqual(self.refusal(lambda: self.jobs_stub.SubmitJob(request, timeout=30))[0], "RESOURCE_EXHAUSTED")
        request.spec.recipe = "x" * (2 << 20)
        self.assertEqual(self.refusal(lambda: self.jobs_stub.SubmitJob(request, timeout=30)),
                         ("INVALID_ARGUMENT", "a recipe of more than 1 MiB"))

    def test_a_message_that_grows_when_it_is_unpacked(self):
        bomb = self.jobs.SubmitJobRequest(spec={"recipe": "x" * (512 << 20)})  # half a megabyte on the way
        before = self.resident_bytes()
        code, details = self.refusal(lambda: self.jobs_stub.SubmitJob(bomb, timeout=60, compression=grpc.Compression.Gzip))
        self.assertEqual(code, "UNIMPLEMENTED", details)
        self.assertLess(self.resident_bytes() - before, 100 << 20)

    def test_bytes_that_are_no_message(self):
        call = self.channel.unary_unary("/wring.v1.Jobs/SubmitJob", request_serializer=bytes, response_deserializer=bytes)
        self.assertIn(self.refusal(lambda: call(b"\xff" * 1000, timeout=10))[0], ("INTERNAL", "INVALID_ARGUMENT"))
        self.assertEqual(self.refusal(lambda: self.channel.unary_unary("/wring.v1.Jobs/Nothing")(b"", timeout=10))[0], "UNIMPLEMENTED")

    def test_an_enum_that_is_none(self):
        code, details = self.refusal(lambda: self.jobs_stub.ListJobs(self.jobs.ListJobsRequest(states=[99]), timeout=10))
        self.assertEqual((code, details), ("INVALID_ARGUMENT", "99 is no state"))

    def test_connections_that_say_nothing_or_half_are_closed(self):
        opened = []
        for address, limit in ((self.service.grpc, 20), (self.service.http, 30)):  # seconds, as docs/operations.md says
            host, port = address.split(":")
            for words in (b"", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n",
                          b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nhalf", os.urandom(500)):
                for _ in range(25):
                    connection = socket.create_connection((host, int(port)), timeout=5)
                    self.addCleanup(connection.close)
                    with contextlib.suppress(OSError):
                        connection.sendall(words)
                    opened.append((connection, f"{words[:20]} to {address}", time.monotonic() + limit + 10))
        self.jobs_stub.ListJobs(self.jobs.ListJobsRequest(), timeout=10)
        for connection, what, until in opened:
            self.wait_for_end(connection, what, until)

    def wait_for_end(self, connection, what, until):
        """What the server says is read until it closes the connection."""
        while True:
            connection.settimeout(max(until - time.monotonic(), 0.1))
            try:
                if not connection.recv(4096):
                    return
            except TimeoutError:
                self.fail(f"{what}: still open")
            except ConnectionError:
                return

    def test_uploads_that_never_go_on(self):
        blob = os.urandom(2000)
        calls = [self.artifacts_stub.WriteBlob.future(self.slowly(self.message(blob, 0, 1000, f"slow{i}")), timeout=3) for i in range(50)]
        self.jobs_stub.ListJobs(self.jobs.ListJobsRequest(), timeout=10)
        for call in calls:
            self.assertEqual(call.exception().code().name, "DEADLINE_EXCEEDED")

    @staticmethod
    def slowly(message):
        yield message
        time.sleep(4)

    def test_chunks_that_are_sent_again(self):
        blob = os.urandom(3000)
        first, second, third = (self.message(blob, at, at + 1000) for at in (0, 1000, 2000))
        self.assertEqual(self.refusal(lambda: self.write(first, second, second))[0], "OUT_OF_RANGE")
        status = self.artifacts_stub.QueryWriteStatus(self.artifacts.QueryWriteStatusRequest(digest=first.digest, upload_id="u"))
        self.assertEqual((status.committed_size, status.complete), (2000, False))
        self.assertEqual(self.refusal(lambda: self.write(first))[0], "OUT_OF_RANGE")
        self.assertEqual(self.write(third).committed_size, 3000)
        self.assertEqual(self.write(first, second, third).committed_size, 3000)  # it is there: nothing is written
        pieces = self.artifacts_stub.ReadBlob(self.artifacts.ReadBlobRequest(digest=first.digest))
        self.assertEqual(b"".join(piece.data for piece in pieces), blob)

    def test_bytes_that_are_not_their_digest(self):
        message = self.message(os.urandom(1000), 0, 1000)
        message.data = os.urandom(1000)
        self.assertEqual(self.refusal(lambda: self.write(message))[0], "DATA_LOSS")
        message.upload_id = "../../evil"
        self.assertEqual(self.refusal(lambda: self.write(message))[0], "INVALID_ARGUMENT")
        message.upload_id, message.digest = "u", "../" * 20
        self.assertEqual(self.refusal(lambda: self.write(message))[0], "INVALID_ARGUMENT")

    def test_manifests_that_would_leave_their_folder(self):
        blob = uuid.uuid4().bytes
        self.write(self.message(blob, 0, len(blob)))
        chunk = {"sha256": hashlib.sha256(blob).hexdigest(), "size": len(blob)}

        def commit(**file):
            manifest = {"kind": "model", "metadata": {}, "version": 1, "files": [{"chunks": [chunk], "size": len(blob)} | file]}
            return self.artifacts_stub.CommitArtifact(self.artifacts.CommitArtifactRequest(manifest_json=json.dumps(manifest)), timeout=10)

        for path in ("../evil", "/etc/evil", "a/../../evil", "a//b", "./a", "a\\b", "a\0b", "", "a" * 2000):
            code, details = self.refusal(lambda: commit(path=path))
            self.assertEqual(code, "INVALID_ARGUMENT", f"{path[:20]!r}: {details}")
        self.assertEqual(self.refusal(lambda: commit(path="link", symlink="/etc/passwd"))[0], "INVALID_ARGUMENT")
        self.assertEqual(commit(path="good").file_count, 1)
