"""A Slurm of two nodes on this machine, for tests: its own munge key, ports and folder; nothing of it outlives the test.

Needs root and Debian's slurmctld, slurmd, slurm-client and munge (the daemons that their packages start are not used).
"""
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from service import end

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol", "sinfo")
NODES = ("n1", "n2")
CONFIG = """
ClusterName=wring
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SwitchType=switch/none
MpiDefault=none
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
ReturnToService=2
MaxArraySize=3
KillWait=10
EnforcePartLimits=ALL
MessageTimeout=10
MinJobAge=10
{nodes}
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
GresTypes=gpu
PartitionName=main Nodes=ALL Default=YES MaxTime=60 State=UP PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=60 State=UP PriorityTier=2
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=2 RealMemory=4000 Gres=gpu:1 State=UNKNOWN"


def why_not():
    """What is missing here; empty: nothing."""
    missing = [program for program in PROGRAMS if not find(program)]
    return f"not installed: {', '.join(missing)}" if missing else "needs root" if os.geteuid() else ""


def find(program):
    return shutil.which(program, path=os.environ["PATH"] + ":/usr/sbin:/sbin")


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


class Cluster:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.processes = {}
        host = socket.gethostname().split(".")[0]
        ports = free_ports(1 + len(NODES))
        nodes = "\n".join(NODE.format(name=name, host=host, port=port) for name, port in zip(NODES, ports[1:]))
        (self.folder / "state").mkdir(parents=True)
        for name in NODES:
            (self.folder / f"spool-{name}").mkdir()
        self.config = self.folder / "slurm.conf"
        self.config.write_text(CONFIG.format(host=host, ports=ports, folder=self.folder, nodes=nodes))
        # No GPU is behind it.
        (self.folder / "gres.conf").write_text("".join(f"NodeName={name} Name=gpu File=/dev/null\n" for name in NODES))
        self.environment = os.environ | {"SLURM_CONF": str(self.config)}

    def start(self):
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        self._spawn("munged", "--foreground", "--force", f"--key-file={key}", f"--socket={self.folder}/munge.socket",
                    f"--pid-file={self.folder}/munged.pid", f"--log-file={self.folder}/munged.log", f"--seed-file={self.folder}/munge.seed")
        self.wait_for("munged", lambda: (self.folder / "munge.socket").exists())
        self.start_controller()
        for name in NODES:
            self._spawn(name, "-D", "-f", str(self.config), "-N", name, program="slurmd")
        self.wait_for("idle nodes", lambda: set(self.run("sinfo", "--noheader", "--format=%T").split()) == {"idle"})

    def start_controller(self):
        self._spawn("slurmctld", "-D", "-f", str(self.config))
        self.wait_for("slurmctld", lambda: "UP" in self.run("scontrol", "ping", check=False))

    def stop_controller(self):
        self._end("slurmctld")

    def _spawn(self, name, *arguments, program=None):
        with open(self.folder / f"{name}.out", "ab") as log:
            self.processes[name] = subprocess.Popen([find(program or name), *arguments], stdout=log, stderr=log, env=self.environment,
                                                    start_new_session=True)

    def _end(self, name):
        end(self.processes.pop(name))

    def run(self, program, *arguments, check=True):
        result = subprocess.run([find(program), *arguments], env=self.environment, capture_output=True, text=True, timeout=60)
        if check and result.returncode:
            raise AssertionError(f"{program} {arguments}: {result.stderr}\n{self.logs()}")
        return result.stdout

    def jobs(self):
        """[{id, state, node, name}] of all that have not ended."""
        lines = self.run("squeue", "--noheader", "--array", "--format=%i|%T|%N|%j").splitlines()
        return [dict(zip(("id", "state", "node", "name"), line.split("|"))) for line in lines]

    def empty(self):
        self.run("scancel", "--user=root")
        self.wait_for("an empty queue", lambda: not self.jobs())

    def wait_for(self, what, done, seconds=60):
        end = time.monotonic() + seconds
        while not done():
            if time.monotonic() > end:
                raise AssertionError(f"{what}: not within {seconds} s\n{self.logs()}")
            time.sleep(0.1)

    def stop(self):
        if "slurmctld" in self.processes:
            self.run("scancel", "--user=root", check=False)
            time.sleep(1)
        for name in [*NODES, "slurmctld", "munged"]:
            if name in self.processes:
                self._end(name)
        self.end_steps()

    def end_steps(self):
        """slurmstepd outlives slurmd by design; those of this cluster are known by their environment."""
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                ours = f"SLURM_CONF={self.config}".encode() in (folder / "environ").read_bytes().split(b"\0")
                if ours and (folder / "comm").read_text().strip() == "slurmstepd":
                    os.kill(int(folder.name), signal.SIGKILL)
            except (OSError, ProcessLookupError):
                continue

    def logs(self):
        logs = [*self.folder.glob("*.log"), *self.folder.glob("*.out")]
        return "".join(f"--- {log.name}\n{log.read_text(errors='replace')[-2000:]}" for log in sorted(logs))
