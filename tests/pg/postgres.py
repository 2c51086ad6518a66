"""A PostgreSQL 15 of its own in a folder, reached by a Unix socket alone, for tests. Needs Debian's postgresql-15."""
import json
import os
import pwd
import shutil
import subprocess
from pathlib import Path

BIN = Path("/usr/lib/postgresql/15/bin")
USER = "postgres"  # who runs it where this process is root, which PostgreSQL refuses


def why_not():
    """What is missing; nothing where it can be started."""
    if not (BIN / "initdb").exists():
        return "there is no PostgreSQL 15 here (scripts/bootstrap --postgresql)"
    return ""


class Postgres:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.data, self.log = self.folder / "data", self.folder / "log"
        self.folder.mkdir(parents=True)
        self.as_user = []
        if os.geteuid() == 0:
            user = pwd.getpwnam(USER)
            os.chown(self.folder, user.pw_uid, user.pw_gid)
            self.as_user = ["runuser", "-u", USER, "--"]
        self._run("initdb", "-D", self.data, "-U", "wring", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8")

    def _run(self, program, *arguments):
        command = [*self.as_user, BIN / program, *map(str, arguments)]
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/")
        if result.returncode != 0:
            raise AssertionError(f"{program}: {result.stdout}")

    def start(self):
        if (self.data / "postmaster.pid").exists():
            return
        self._run("pg_ctl", "-D", self.data, "-l", self.log, "-w", "-o", f"-k {self.folder} -c listen_addresses=''", "start")

    def stop(self, mode="fast"):
        if (self.data / "postmaster.pid").exists():
            self._run("pg_ctl", "-D", self.data, "-m", mode, "-w", "stop")

    def remove(self):
        self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def create(self, database):
        self._run("createdb", "-h", self.folder, "-U", "wring", database)
        return f"postgresql:///{database}?host={self.folder}&user=wring"

    def execute(self, url, sql):
        subprocess.run([BIN / "psql", url, "-XqAtc", sql], check=True, capture_output=True)

    def rows(self, url, sql):
        """The rows of a query as dictionaries."""
        result = subprocess.run([BIN / "psql", url, "-AtXc", f"SELECT coalesce(json_agg(q), '[]') FROM ({sql}) q"], capture_output=True, text=True)
        if result.returncode != 0:
            raise AssertionError(result.stderr)
        return json.loads(result.stdout)
