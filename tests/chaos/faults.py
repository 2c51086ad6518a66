"""What is done to a service under load: each fault is made, lasts a while, and is mended."""
import contextlib
import os
import signal
import subprocess
import threading
import time

from service import end

DISK = "96m"  # of the server's data folder and of each worker's cache


class SmallDisks:
    """File systems of their own for folders that are to become full, where this process may mount."""

    def __init__(self):
        self.mounted = []

    def mount(self, folder):
        folder.mkdir()
        if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "none", folder], capture_output=True).returncode == 0:
            self.mounted.append(folder)

    def unmount(self):
        for folder in self.mounted:
            subprocess.run(["umount", "-l", folder], check=False)


@contextlib.contextmanager
def full(folder):
    """The disk of `folder` has no byte left."""
    ballast, size = folder / "ballast", 1 << 20
    with open(ballast, "wb") as file:
        while size:
            try:
                os.posix_fallocate(file.fileno(), file.tell(), size)
                file.seek(size, os.SEEK_CUR)
            except OSError:
                size //= 2
    try:
        yield
    finally:
        ballast.unlink()


@contextlib.contextmanager
def stopped(pids):
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


class Faults:
    """Makes `count` faults, the n-th once `progress()` (0 to 1) says that it is its turn; two at a time, of different targets."""

    PATIENCE = 6  # seconds without progress, after which the next one comes all the same

    def __init__(self, service, random, count, progress):
        self.service, self.count, self.progress = service, count, progress
        kinds = [(self.server_dies, "server"), (self.server_ends, "server"), (self.server_stops, "server"), (self.server_io_fails, "server"),
                 (self.worker_dies, "worker"), (self.worker_drains, "worker"), (self.worker_stops, "worker"), (self.engine_dies, "worker"),
                 (self.engine_stops, "worker"), (self.worker_is_cut, "worker"), (self.worker_is_held, "worker"), (self.clients_are_cut, "clients"),
                 (self.clients_are_held, "clients")]
        if service.data in service.disks.mounted:
            kinds += [(self.server_disk_is_full, "server"), (self.worker_disk_is_full, "worker")]
        self.plan = []
        while len(self.plan) < count:  # each kind before one comes again
            round_of_kinds = list(kinds)
            random.shuffle(round_of_kinds)
            for fault, target in round_of_kinds[:count - len(self.plan)]:
                worker = random.choice(sorted(service.workers)) if target == "worker" else None
                self.plan.append((fault, worker or target, random.uniform(0.2, 1) * (8 if random.random() < 0.3 else 3)))
        self.locks = {name: threading.Lock() for name in ["server", "clients", *service.workers]}
        self.made, self.failure, self._turn = [], None, threading.Lock()
        self.threads = [threading.Thread(target=self._run, daemon=True) for _ in range(2)]

    def start(self):
        for thread in self.threads:
            thread.start()

    def join(self):
        for thread in self.threads:
            thread.join()
        if self.failure:
            raise self.failure

    def _next(self):
        with self._turn:
            if not self.plan or self.failure:
                return None
            end = time.monotonic() + self.PATIENCE
            while self.progress() < (self.count - len(self.plan)) / self.count and time.monotonic() < end:
                time.sleep(0.05)
            return self.plan.pop(0)

    def _run(self):
        try:
            while step := self._next():
                fault, target, seconds = step
                with self.locks[target]:
                    began = time.monotonic()
                    fault(target, seconds)
                    self.made.append(fault.__name__)
                    print(f"fault {len(self.made):3}  {fault.__name__.replace('_', ' '):20} {target:9} {time.monotonic() - began:5.1f} s", flush=True)
        except Exception as error:
            self.failure = error

    def server_dies(self, _, seconds):
        self.service.kill_server()
        time.sleep(seconds / 4)
        self.service.start_server()

    def server_ends(self, _, seconds):
        end(self.service.server)
        time.sleep(seconds / 4)
        self.service.start_server()

    def server_stops(self, _, seconds):
        with stopped([self.service.server.pid]):
            time.sleep(seconds)

    def server_io_fails(self, _, seconds):
        """Where the server gives up it is started again once the disk works."""
        self.service.io_switch.touch()
        time.sleep(seconds)
        self.service.io_switch.unlink()
        self.service.restart_server_where_dead()

    def server_disk_is_full(self, _, seconds):
        with full(self.service.data):
            time.sleep(seconds)
        self.service.restart_server_where_dead()

    def worker_dies(self, worker, seconds):
        self.service.kill_worker(worker)
        time.sleep(seconds / 4)
        self.service.launch_worker(worker)

    def worker_drains(self, worker, seconds):
        end(self.service.workers[worker])
        time.sleep(seconds / 4)
        self.service.launch_worker(worker)

    def worker_stops(self, worker, seconds):
        """Past its lease, too: another worker then has its job, and the first one comes back with a stale lease."""
        with stopped([self.service.workers[worker].pid]):
            time.sleep(2 * seconds)

    def engine_dies(self, worker, seconds):
        """Waits for one to be there."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for pid in self.service.engines_of(worker):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                return
            time.sleep(0.02)

    def engine_stops(self, worker, seconds):
        with stopped(self.service.engines_of(worker)):
            time.sleep(seconds)

    def worker_is_cut(self, worker, seconds):
        self._network(self.service.worker_proxies[worker], "cut", seconds)

    def worker_is_held(self, worker, seconds):
        self._network(self.service.worker_proxies[worker], "hold", 2 * seconds)

    def clients_are_cut(self, _, seconds):
        self._network(self.service.client_proxy, "cut", seconds)

    def clients_are_held(self, _, seconds):
        self._network(self.service.client_proxy, "hold", seconds)

    def worker_disk_is_full(self, worker, seconds):
        with full(self.service.folder / worker):
            time.sleep(seconds)

    def _network(self, proxy, mode, seconds):
        self.service.proxies.set(proxy, mode)
        time.sleep(seconds)
        self.service.proxies.set(proxy, "pass")
