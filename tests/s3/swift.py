"""An S3 service on this machine, for tests: OpenStack Swift with its s3api, one copy of everything, in a folder of its own.

Needs Debian's swift-proxy, swift-account, swift-container and swift-object (the daemons that their packages start are not used), and a
folder whose file system has extended attributes.
"""
import hashlib
import hmac
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from service import end, free_port

KEY_ID, SECRET = "test:tester", "testing"
PROGRAMS = ("swift-proxy-server", "swift-account-server", "swift-container-server", "swift-object-server", "swift-ring-builder")
COMMON = """
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
user = root
swift_dir = {folder}
devices = {folder}/devices
mount_check = false
workers = 1
disable_fallocate = true
log_address = {folder}/no-log
"""
STORAGE = COMMON + """
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""
PROXY = COMMON + """
account_autocreate = true
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck cache listing_formats s3api tempauth copy slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:healthcheck]
use = egg:swift#healthcheck
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:1
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:copy]
use = egg:swift#copy
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
"""


def why_not():
    """What is missing here; empty: nothing."""
    missing = [program for program in PROGRAMS if not shutil.which(program)]
    return f"not installed: {', '.join(missing)}" if missing else "needs root" if os.geteuid() else ""


class Swift:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.processes = {}
        self.ports = {kind: free_port() for kind in ("account", "container", "object", "proxy")}
        self.endpoint = f"http://127.0.0.1:{self.ports['proxy']}"

    def start(self):
        (self.folder / "devices/d1").mkdir(parents=True)
        (self.folder / "swift.conf").write_text("[swift-hash]\nswift_hash_path_prefix = wring\nswift_hash_path_suffix = test\n")
        for kind in ("account", "container", "object"):
            ring = self.folder / f"{kind}.builder"
            for arguments in (["create", "4", "1", "1"], ["add", f"r1z1-127.0.0.1:{self.ports[kind]}/d1", "1"], ["rebalance"]):
                subprocess.run(["swift-ring-builder", ring, *arguments], check=True, capture_output=True)
            (self.folder / f"{kind}.conf").write_text(STORAGE.format(port=self.ports[kind], folder=self.folder, kind=kind))
            self._spawn(kind)
        (self.folder / "proxy.conf").write_text(PROXY.format(port=self.ports["proxy"], folder=self.folder))
        self.start_proxy()

    def start_proxy(self):
        """Where it was stopped: what it has is there again."""
        self._spawn("proxy")
        end = time.monotonic() + 60
        while not self._answers():
            if time.monotonic() > end:
                raise AssertionError(f"Swift does not answer\n{self.logs()}")
            time.sleep(0.1)

    def make_bucket(self, name):
        self.ask("PUT", f"/{name}")

    def ask(self, method, path, query="", body=b""):
        """The answer to a signed request. `query`: encoded, its names in order."""
        host, digest = self.endpoint.removeprefix("http://"), hashlib.sha256(body).hexdigest()
        now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": now}
        names = ";".join(headers)
        request = "\n".join([method, path, query, *(f"{key}:{value}" for key, value in headers.items()), "", names, digest])
        scope = f"{now[:8]}/us-east-1/s3/aws4_request"
        key = f"AWS4{SECRET}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        text = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        headers["Authorization"] = f"AWS4-HMAC-SHA256 Credential={KEY_ID}/{scope}, SignedHeaders={names}, Signature={signature}"
        url = f"{self.endpoint}{path}" + (f"?{query}" if query else "")
        with urllib.request.urlopen(urllib.request.Request(url, body or None, headers, method=method)) as answer:
            return answer.read()

    def stop_proxy(self):
        self._end("proxy")

    def _answers(self):
        try:
            return urllib.request.urlopen(f"{self.endpoint}/healthcheck", timeout=5).status == 200
        except (urllib.error.URLError, OSError):
            return False

    def _spawn(self, kind):
        with open(self.folder / f"{kind}.log", "ab") as log:
            self.processes[kind] = subprocess.Popen([f"swift-{kind}-server", self.folder / f"{kind}.conf"], stdout=log, stderr=log,
                                                    env=os.environ | {"SWIFT_DIR": str(self.folder)}, start_new_session=True)

    def _end(self, kind):
        end(self.processes.pop(kind))

    def stop(self):
        for kind in list(self.processes):
            self._end(kind)

    def logs(self):
        return "".join(f"--- {log.name}\n{log.read_text(errors='replace')[-2000:]}" for log in sorted(self.folder.glob("*.log")))

    def objects(self):
        """The files in which objects lie."""
        return sorted(path for path in (self.folder / "devices").rglob("*.data"))
