"""A real SLURM cluster on this machine: one controller, two nodes without and two with pretended GPUs."""

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

CONFIGURATION = Path("/etc/slurm")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel", "srun")
NODES = ("n1", "n2", "g1", "g2")

SLURM_CONF = """\
ClusterName=onebox
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort=26817
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/sock
CredType=cred/munge
StateSaveLocation={folder}/ctld
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd.%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/log/jobcomp.txt
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,sched_min_interval=100000,batch_sched_delay=0
GresTypes=gpu
ReturnToService=2
SlurmdTimeout=10
InactiveLimit=0
KillWait=2
OverTimeLimit=0
MinJobAge=14400
MessageTimeout=10
# Nodes may have more than this machine: nothing is enforced, only counted.
SlurmdParameters=config_overrides
NodeName=n1,n2 NodeHostname={host} NodeAddr=127.0.0.1 Port=27001,27002 {size}
NodeName=g1,g2 NodeHostname={host} NodeAddr=127.0.0.1 Port=27003,27004 {size} Gres=gpu:h100:2
PartitionName=cpu Nodes=n1,n2 Default=YES MaxTime=INFINITE DefMemPerCPU=200 State=UP
PartitionName=gpu Nodes=g1,g2 MaxTime=INFINITE DefMemPerCPU=200 State=UP
"""
SIZE = "Sockets=1 CoresPerSocket=8 ThreadsPerCore=1 RealMemory=64000"
GRES_CONF = "NodeName=g1,g2 Name=gpu Type=h100 File={folder}/dev/nvidia[0-1]\n"


def reason_to_skip() -> str | None:
    """Why no cluster can be started here, if so."""
    if missing := [
        program for program in PROGRAMS if not shutil.which(program, path=search_path())
    ]:
        return f"no {', '.join(missing)}: the Debian packages slurm-wlm and munge are not installed"
    if os.geteuid():
        return "only root can start SLURM's daemons and make devices"
    return None


def search_path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def run(*command: str, check: bool = True) -> str:
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"PATH": search_path()},
        timeout=120,
    )
    assert not check or done.returncode == 0, f"{' '.join(command)}: {done.stdout}"
    return done.stdout


def wait_for(what, condition, seconds: float = 120, pause: float = 0.2):
    """The condition's first true value; fails with `what` when it stays false for so many seconds."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(pause)
    return value


class Cluster:
    """The daemons and what they know. Everything they write lies in a private folder; slurm.conf and
    gres.conf must be at their default place, where they are links while the cluster runs."""

    def __init__(self):
        # Not below pytest's folder: munged wants one that everybody may enter.
        self.folder = Path(tempfile.mkdtemp(prefix="slurm-"))
        # Two clusters would share ports and links.
        self.lock = os.open("/tmp/deep-restoration-slurm.lock", os.O_RDWR | os.O_CREAT)
        self.links: list[Path] = []

    def start(self) -> None:
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        folder = self.folder
        for name in ("munge", "ctld", "spool", "log", "run", "dev"):
            (folder / name).mkdir()
        for path in (folder, folder / "munge"):
            path.chmod(0o755)
        (folder / "ctld").chmod(0o700)
        key = folder / "munge/key"
        key.touch(0o600)
        key.write_bytes(os.urandom(1024))
        for index in (0, 1):  # the null device stands in for a GPU: it has a number and is there
            os.mknod(folder / f"dev/nvidia{index}", 0o20666, os.makedev(1, 3))
        host = socket.gethostname().split(".")[0]
        texts = {
            "slurm.conf": SLURM_CONF.format(folder=folder, host=host, size=SIZE),
            "gres.conf": GRES_CONF.format(folder=folder),
        }
        CONFIGURATION.mkdir(exist_ok=True)
        for name, text in texts.items():
            (folder / name).write_text(text)
            link = CONFIGURATION / name
            if link.is_symlink() and not link.exists():
                link.unlink()  # of a test that was killed
            elif link.exists():
                link.rename(link.with_name(f"{name}.aside"))
            link.symlink_to(folder / name)
            self.links.append(link)
        munge = folder / "munge"
        run(
            "munged",
            f"--key-file={key}",
            f"--socket={munge / 'sock'}",
            f"--pid-file={munge / 'pid'}",
            f"--log-file={munge / 'log'}",
            f"--seed-file={munge / 'seed'}",
        )
        run("slurmctld", "-c")
        for node in NODES:
            self.start_node(node)
        wait_for(
            "four idle nodes", lambda: run("sinfo", "-hNo%T", check=False).split() == ["idle"] * 4
        )

    def stop(self) -> None:
        """Cancel all jobs, end the daemons, put the old configuration back."""
        if (self.folder / "run/slurmctld.pid").exists():
            run("scancel", "--user=root", check=False)
            try:
                wait_for("the end of all jobs", lambda: not run("squeue", "-h", check=False), 30)
            except AssertionError as error:
                print(error)
        pid_files = [*(self.folder / "run").glob("slurmd.*.pid"), *self.pid_files()]
        for path in pid_files:
            self.end(path)
        for link in self.links:
            link.unlink()
            aside = link.with_name(f"{link.name}.aside")
            if aside.exists():
                aside.rename(link)
        shutil.rmtree(self.folder)
        os.close(self.lock)

    def pid_files(self) -> list[Path]:
        return [self.folder / "run/slurmctld.pid", self.folder / "munge/pid"]

    @staticmethod
    def end(pid_file: Path, number: int = signal.SIGTERM) -> None:
        """End the daemon of a pid file and wait until it is gone."""
        try:
            pid = int(pid_file.read_text())
            os.kill(pid, number)
        except (OSError, ValueError):
            return
        wait_for(f"the end of {pid_file.stem}", lambda: not Path(f"/proc/{pid}").exists())

    def stop_controller(self) -> None:
        self.end(self.folder / "run/slurmctld.pid")

    def start_controller(self) -> None:
        run("slurmctld")  # without -c, it reads the jobs again

    def start_node(self, node: str) -> None:
        run("slurmd", "-N", node)

    def kill_node(self, node: str) -> None:
        """What a power cut does: the daemon and every process of its jobs are gone at once."""
        daemon = self.folder / f"run/slurmd.{node}.pid"
        victims = processes_of([job for job, where in self.running().items() if where == node])
        self.end(daemon, signal.SIGKILL)
        for pid in victims:
            send(pid, signal.SIGKILL)
        daemon.unlink()

    def running(self) -> dict[str, str]:
        """Running job -> its node."""
        lines = run("squeue", "-h", "--states=running", "-o%i %N").splitlines()
        return dict(line.split() for line in lines)

    def jobs(self) -> list[dict[str, str]]:
        """What the controller knows of every job, ended or not: its words for names and values."""
        lines = run("scontrol", "--oneliner", "show", "job").splitlines()
        jobs = [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]
        return [job for job in jobs if "JobId" in job]


def minutes(limit: str) -> int:
    """A job's time limit as SLURM writes it, [days-]hours:minutes:seconds."""
    days, _, time = limit.rpartition("-")
    hours, minutes, _ = map(int, time.split(":"))
    return int(days or 0) * 1440 + hours * 60 + minutes


def processes_of(jobs: list[str]) -> dict[int, str]:
    """The processes of running jobs on this machine, with their command lines: SLURM's step daemons and
    all that descends from them."""
    parents, commands = {}, {}
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # ended meanwhile
            status = (process / "stat").read_text().rsplit(")", 1)[1].split()
            commands[int(process.name)] = (
                (process / "cmdline").read_bytes().decode(errors="replace")
            )
            parents[int(process.name)] = int(status[1])
    steps = tuple(f"slurmstepd: [{job}." for job in jobs)
    found = {pid for pid, command in commands.items() if command.startswith(steps)}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return {pid: commands[pid] for pid in sorted(found)}


def programs_of(job: str) -> list[int]:
    """What a job runs, without SLURM's own step daemons."""
    return [pid for pid, command in processes_of([job]).items() if "slurmstepd" not in command]


def send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
