#!/usr/bin/env python3
"""The job database on a real PostgreSQL 15 (on this machine): what the store's tests promise, and two servers of which one leads.

    run.py [unittest's arguments]        prints how long each takeover took
"""
import http.client
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1", "GOMP_SPINCOUNT": "10000"}
ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests/e2e"), str(ROOT / "tests/chaos"), str(ROOT / "tests/pg")]
import postgres  # noqa: E402
from clients import RECIPES, Client, put_by_cli, undisturbed  # noqa: E402
from history import PHASES, check, read_history  # noqa: E402
from pair import LEASE_SECONDS, Pair, Wire  # noqa: E402

PROGRAMS = ROOT / "build/release/bin"
# Suites of wring_server_test whose database is that of WRING_TEST_POSTGRESQL.
CONTRACT = ["Store", "Postgres", "DatabasePlace", "Collecting", "Artifacts", "Closed", "Errors", "Evaluations", "Http", "HttpSweeps", "Jobs", "Methods",
            "Retained", "Service", "ServiceMetrics", "StageOutputsTest", "SweepsApi"]


class OnPostgres(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if postgres.why_not():
            raise AssertionError(postgres.why_not())
        cls.scratch = Path(tempfile.mkdtemp(prefix="wring-pg-"))
        cls.scratch.chmod(0o755)  # PostgreSQL runs as another user
        cls.addClassCleanup(shutil.rmtree, cls.scratch, ignore_errors=True)
        cls.postgres = postgres.Postgres(cls.scratch / "pg")
        cls.addClassCleanup(cls.postgres.remove)
        cls.postgres.start()


class Contract(OnPostgres):
    def test_a_store_is_what_a_store_promises(self):
        url = self.postgres.create("contract")
        pattern = ":".join(f"{suite}.*" for suite in CONTRACT)
        result = subprocess.run([PROGRAMS / "wring_server_test", f"--gtest_filter={pattern}", "--gtest_brief=1"],
                                env=os.environ | {"WRING_TEST_POSTGRESQL": url}, capture_output=True, text=True)
        told = [line for line in result.stdout.splitlines() if not line.startswith("[20")]  # what the server logs
        self.assertEqual(result.returncode, 0, "\n".join(told))
        skipped = result.stdout.count("of a database file")
        passed = next(line for line in told if "PASSED" in line)
        print(f"\n{passed} {skipped} of a database file alone were left out")


class OnTwoServers(OnPostgres):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        from random_models import make_decoder
        make_decoder(cls.scratch / "tiny", seed=1)
        cls.expected = undisturbed(PROGRAMS, cls.scratch / "tiny")

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="pair-", dir=self.scratch))
        self.url = self.postgres.create(self.folder.name.replace("-", "_").lower())
        self.pair = Pair(PROGRAMS, self.folder, self.url)
        self.addCleanup(self.pair.stop)
        self.pair.start_both()

    def rows(self):
        """As tests/chaos/history.py reads them from a file."""
        read = lambda sql: self.postgres.rows(self.url, sql)  # noqa: E731
        return {"jobs": [dict(json.loads(row["record"]), fence_n=row["fence_n"]) for row in read("SELECT record, fence_n FROM jobs")],
                "requests": [{"request": row["request_id"], "job": row["job_id"]} for row in read("SELECT request_id, job_id FROM requests")],
                "events": [{"job": row["job_id"], **row} for row in
                           read("SELECT job_id, number, type, attempt, phase FROM events ORDER BY job_id, number")],
                "artifacts": [row["digest"] for row in read("SELECT digest FROM artifacts")]}

    def epoch(self):
        return self.postgres.rows(self.url, "SELECT value FROM meta WHERE key = 'epoch'")[0]["value"]

    def submit(self, count):
        return [(recipe, self.pair.submit(recipe, self.scratch / "tiny")) for recipe in (RECIPES[i % len(RECIPES)] for i in range(count))]

    def check_ends(self, jobs):
        for recipe, job in jobs:
            ended = self.pair.wait_for_end(job)
            self.assertEqual((ended["state"], ended["artifact_digest"]), ("SUCCEEDED", self.expected[recipe]), self.pair.logs())
        ends = {}
        for event in self.rows()["events"]:
            if PHASES[event["phase"]] in ("SUCCEEDED", "FAILED", "CANCELLED"):
                ends[event["job"]] = ends.get(event["job"], 0) + 1
        self.assertEqual(ends, {job: 1 for _, job in jobs})


class Takeover(OnTwoServers):
    def test_a_standby_takes_over_from_a_leader_that_is_killed(self):
        self.pair.start_worker()
        self.assertEqual(self.pair.status_of("b", "healthz"), (200, "ok"))
        jobs, seconds = self.submit(4), []
        for _ in range(4):
            leader = self.pair.current()
            before = self.epoch()
            jobs += self.submit(2)
            self.pair.servers[leader].kill()
            seconds.append(self.pair.seconds_until_it_leads(self.pair.other(leader)))
            self.assertGreater(self.epoch(), before)
            self.pair.wait_for("the balancer", lambda: self.pair.leader == self.pair.other(leader))
            self.pair.start_one(leader)
            self.pair.wait_for("a standby", lambda: self.pair.status_of(leader) == (503, "standby"))
        self.check_ends(jobs)
        print(f"\ntakeovers from killed leaders: {', '.join(f'{s:.2f}' for s in seconds)} s")
        self.assertLess(max(seconds), 60)

    def test_a_leader_that_was_stopped_past_its_lease_leads_no_longer(self):
        self.pair.start_worker()
        jobs = self.submit(4)
        stopped = self.pair.current()
        other = self.pair.other(stopped)
        model = self.pair.cli("put", self.scratch / "tiny", "--json").json["digest"]
        os.kill(self.pair.servers[stopped].pid, signal.SIGSTOP)
        seconds = self.pair.seconds_until_it_leads(other)
        epoch = self.epoch()
        self.pair.wait_for("the balancer", lambda: self.pair.leader == other)
        late = http.client.HTTPConnection(self.pair.ports[stopped][1], timeout=60)  # the kernel takes it in for the stopped one
        late.request("POST", "/api/v1/jobs", json.dumps({"spec": {"name": "late", "recipe": RECIPES[0], "model": model}}),
                     {"Content-Type": "application/json"})
        jobs += self.submit(2)
        os.kill(self.pair.servers[stopped].pid, signal.SIGCONT)
        self.assertNotEqual(self.pair.servers[stopped].wait(60), 0)
        try:
            self.assertNotEqual(late.getresponse().status, 200)
        except (http.client.HTTPException, OSError):
            pass  # it ended without an answer
        self.assertEqual(len(self.rows()["jobs"]), len(jobs))
        log = (self.folder / f"{stopped}.log").read_text()
        self.assertTrue("no longer leads" in log or "another server leads: the epoch is" in log, log[-3000:])
        self.check_ends(jobs)
        self.assertEqual(self.epoch(), epoch)
        print(f"\ntakeover from a stopped leader: {seconds:.2f} s with a lease of {LEASE_SECONDS} s; it ended: {log.strip().splitlines()[-1]}")

    def test_a_leader_that_is_cut_off_from_its_database_leads_no_longer(self):
        for mode in ("hold", "cut"):
            with self.subTest(mode=mode):
                self.cut_off(mode)

    def cut_off(self, mode):
        folder = self.folder / mode
        folder.mkdir()
        wire = self.pair.proxies._call(Wire.between(folder, self.postgres.folder / ".s.PGSQL.5432"))
        far = self.pair.current()
        near = self.pair.other(far)
        self.pair.databases[far] = self.url.replace(f"host={self.postgres.folder}", f"host={folder}")
        self.pair.databases.pop(near, None)
        for gone, heir in ((far, near), (near, far)):  # so that `far` leads over the wire, and `near` stands by
            self.pair.servers[gone].terminate()
            self.pair.seconds_until_it_leads(heir)
            self.pair.servers[gone].wait(60)
            self.pair.start_one(gone)
            self.pair.wait_for("a standby", lambda: self.pair.status_of(gone) == (503, "standby"))
        model = self.pair.cli("put", self.scratch / "tiny", "--json", server=self.pair.ports[far][0]).json["digest"]
        before, epoch = len(self.rows()["jobs"]), self.epoch()
        self.pair.proxies.set(wire, mode)
        begin = time.monotonic()
        late = http.client.HTTPConnection(self.pair.ports[far][1], timeout=60)
        try:
            late.request("POST", "/api/v1/jobs", json.dumps({"spec": {"name": "late", "recipe": RECIPES[0], "model": model}}), {"Content-Type": "application/json"})
            self.assertNotEqual(late.getresponse().status, 200)
        except (http.client.HTTPException, OSError):
            pass  # it ended without an answer
        late.close()
        self.pair.seconds_until_it_leads(near)
        seconds = time.monotonic() - begin
        self.assertNotEqual(self.pair.servers[far].wait(60), 0)
        self.pair.proxies.set(wire, "pass")  # what was held arrives now
        self.pair.wait_for("the end of its connections", lambda: not wire.open_ends())
        self.assertEqual(len(self.rows()["jobs"]), before)
        self.assertGreater(self.epoch(), epoch)
        log = (self.folder / f"{far}.log").read_text().strip().splitlines()[-1]
        print(f"\ntakeover from a leader whose connections {'hang' if mode == 'hold' else 'are cut'}: {seconds:.2f} s; it ended: {log}")
        self.pair.start_one(far)
        self.pair.wait_for("a standby", lambda: self.pair.status_of(far) == (503, "standby"))

    def test_a_sweep_has_each_trial_once_over_two_takeovers(self):
        self.pair.start_worker()
        path = self.folder / "sweep.yaml"
        path.write_text(f"recipe: {{stages: ['rtn(bits=4, group_size=32)'], evaluations: [size]}}\nmodel: {self.scratch / 'tiny'}\n"
                        "space: {stages.rtn.bits: [2, 3, 4, 5, 6, 8], stages.rtn.group_size: [16, 32]}\nobjectives: [weight_bytes]\nparallel: 2\n")
        sweep = self.pair.cli("sweep", "submit", path, "--json").json["id"]
        shown = lambda: self.pair.cli("sweep", "show", sweep, "--json")  # noqa: E731
        for made in (3, 7):
            self.pair.wait_for(f"{made} trials", lambda: (answer := shown()).status == 0 and answer.json["trials"] >= made)
            leader = self.pair.current()
            self.pair.servers[leader].kill()
            self.pair.seconds_until_it_leads(self.pair.other(leader))
            self.pair.start_one(leader)
            self.pair.wait_for("a standby", lambda: self.pair.status_of(leader) == (503, "standby"))
        self.pair.wait_for("its end", lambda: (answer := shown()).status == 0 and answer.json["end_time"])
        ended = shown().json
        self.assertEqual((ended["state"], ended["trials"], ended["succeeded"]), ("SUCCEEDED", 12, 12), self.pair.logs())
        trials = self.postgres.rows(self.url, "SELECT n, job FROM trials ORDER BY n")
        self.assertEqual(([row["n"] for row in trials], len({row["job"] for row in trials})), (list(range(12)), 12))
        self.assertEqual(len(self.rows()["jobs"]), 12)

    def test_a_write_under_an_earlier_epoch_is_refused_and_ends_the_server(self):
        leader = self.pair.current()
        self.submit(1)
        self.postgres.execute(self.url, "UPDATE meta SET value = value + 1 WHERE key = 'epoch'")
        late = self.pair.cli("submit", RECIPES[0], "--model", self.scratch / "tiny", "--name", "late", server=self.pair.ports[leader][0])
        self.assertNotEqual(late.status, 0, str(late))
        self.assertNotEqual(self.pair.servers[leader].wait(60), 0)
        self.assertIn("another server leads: the epoch is", (self.folder / f"{leader}.log").read_text())
        self.assertEqual(len(self.rows()["jobs"]), 1)

    def test_a_leader_that_is_told_to_stop_hands_over_at_once(self):
        leader = self.pair.current()
        self.pair.servers[leader].terminate()
        seconds = self.pair.seconds_until_it_leads(self.pair.other(leader))
        self.assertEqual(self.pair.servers[leader].wait(60), 0)
        print(f"\nhand-over: {seconds:.2f} s")

    def test_a_standby_that_is_told_to_stop_does(self):
        standby = self.pair.other(self.pair.current())
        self.pair.servers[standby].terminate()
        self.assertEqual(self.pair.servers[standby].wait(60), 0)

    def test_a_server_whose_database_goes_away_ends_and_goes_on_after_it(self):
        self.pair.start_worker()
        jobs = self.submit(4)
        self.postgres.stop("immediate")
        self.addCleanup(self.postgres.start)
        for server in self.pair.servers.values():
            self.assertNotEqual(server.wait(60), 0)
        refused = subprocess.run([PROGRAMS / "wring-server", "--data", self.folder / "a"], capture_output=True, text=True)
        self.assertEqual(refused.returncode, 5)
        self.assertRegex(refused.stderr, "database.yaml: job database: connection .* failed")
        self.postgres.start()
        self.pair.start_one("a")
        self.pair.wait_for("the server", lambda: self.pair.leader == "a" and self.pair.cli("workers", "--json").status == 0)
        self.check_ends(jobs)

    def test_verbs_of_a_database_file_are_refused_and_the_others_work(self):
        self.submit(1)
        for verb in (["backup", "--to", self.folder / "x"], ["restore", "--from", self.folder / "x"]):
            refused = subprocess.run([PROGRAMS / "wring-server", verb[0], "--data", self.folder / "a", *verb[1:]], capture_output=True, text=True)
            self.assertNotEqual(refused.returncode, 0)
            if verb[0] == "backup":
                self.assertIn("pg_dump", refused.stderr)
        verb = lambda *words: subprocess.run([PROGRAMS / "wring-server", *words], capture_output=True, text=True)  # noqa: E731
        self.assertIn("Jobs/SubmitJob", verb("audit", "--data", self.folder / "b").stdout)
        for server in self.pair.servers.values():
            server.terminate()
            server.wait(60)
        fsck = verb("fsck", "--data", self.folder / "a", "--json")
        self.assertEqual(fsck.returncode, 0, fsck.stdout + fsck.stderr)
        self.assertGreater(json.loads(fsck.stdout)["blobs"], 0)
        collected = verb("gc", "--data", self.folder / "b", "--json")
        self.assertEqual(collected.returncode, 0, collected.stderr)


class Chaos(OnTwoServers):
    """A cut of tests/chaos: the same clients and the same judge; what dies are leaders, standbys, workers and PostgreSQL."""
    JOBS, CLIENTS, FAULTS = 60, 3, 14

    def fault(self, choice):
        leader = self.pair.current()
        kind = choice.choice(["leader_dies", "leader_dies", "leader_stops", "standby_dies", "worker_dies", "postgresql_dies"])
        if kind in ("leader_dies", "standby_dies"):
            process = self.pair.servers[leader if kind == "leader_dies" else self.pair.other(leader)]
            process.kill()
            process.wait()
        elif kind == "leader_stops":
            process = self.pair.servers[leader]
            process.send_signal(signal.SIGSTOP)
            self.pair.seconds_until_it_leads(self.pair.other(leader))
            process.send_signal(signal.SIGCONT)
            process.wait(60)
        elif kind == "worker_dies":
            self.pair.kill_worker()
            self.pair.start_worker()
        else:
            self.postgres.stop("immediate")
            self.postgres.start()
        for name, server in self.pair.servers.items():
            if kind == "postgresql_dies":
                server.wait(60)
            if server.poll() is not None:
                self.pair.start_one(name)
        self.pair.wait_for("a leader and a standby", lambda: sorted(str(self.pair.status_of(name)[0]) for name in "ab") == ["200", "503"])
        return kind

    def test_nothing_is_lost_or_doubled(self):
        seed = int(os.environ.get("WRING_CHAOS_SEED") or time.time())
        print(f"\nseed {seed}")
        self.pair.start_worker()
        model = self.pair.cli("put", self.scratch / "tiny", "--kind", "model", "--json").json["digest"]
        put = put_by_cli([PROGRAMS / "wring", "--server", self.pair.grpc], self.folder)
        clients = [Client(i, seed, self.JOBS // self.CLIENTS, self.pair.http, put, model, RECIPES, self.folder / f"client-{i}.jsonl")
                   for i in range(self.CLIENTS)]
        for client in clients:
            client.start()
        choice, made = random.Random(seed), []
        for number in range(self.FAULTS):
            self.pair.wait_for("progress", lambda: sum(c.ended for c in clients) >= self.JOBS * number // (self.FAULTS + 4)
                               or any(c.failure for c in clients))
            made.append(self.fault(choice))
        for client in clients:
            client.join(300)
            if client.failure:
                raise client.failure
            self.assertFalse(client.is_alive(), self.pair.logs())
        self.pair.wait_for("the end of all jobs", lambda: all(job["phase"] >= 4 for job in self.rows()["jobs"]))
        rows, history = self.rows(), read_history(self.folder.glob("client-*.jsonl"))
        self.assertEqual(check(history, rows, self.expected), [])
        failed = [job for job in rows["jobs"] if PHASES[job["phase"]] == "FAILED"]
        self.assertEqual(failed, [])
        for client in clients:
            client.log.close()
        print(f"{len(rows['jobs'])} jobs, {len(made)} faults ({', '.join(f'{made.count(k)} {k}' for k in sorted(set(made)))}): none lost, none doubled")


if __name__ == "__main__":
    unittest.main()
