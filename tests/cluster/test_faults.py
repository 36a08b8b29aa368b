"""What befalls jobs on a cluster: cancelled, out of time, killed, their node or the controller lost, and
Snakemake itself killed. Each time the study must end well, with the bytes of an undisturbed run."""

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster import slurm
from tests.tree import TINY, Tree

TARGET = "results/priors/ica.safetensors"
LOG = "logs/train_prior/ica.log"


class Run:
    """The slow training on the cluster, as a user starts it."""

    def __init__(self, tree: Tree, cluster: slurm.Cluster):
        self.tree, self.cluster = tree, cluster
        self.output = tree.root / "snakemake.txt"
        self.start()

    def command(self) -> list[str]:
        quick = ["--cores", "2", "--slurm-init-seconds-before-status-checks", "1"]
        start = [sys.executable, "workflow/profiles/slurm/start", TARGET, *quick]
        return [*start, "--latency-wait", "5", "--configfile", TINY, "slow.yaml"]

    def start(self) -> None:
        with self.output.open("a") as output:
            self.process = subprocess.Popen(
                self.command(),
                cwd=self.tree.root,
                env=self.tree.environment(RESTORATION_CHECKPOINT_SECONDS="0.5"),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def jobs(self) -> list[dict[str, str]]:
        return [job for job in self.cluster.jobs() if job["WorkDir"] == str(self.tree.root)]

    def training(self) -> str:
        """The job, as soon as its training has left a checkpoint."""
        checkpoint = Path(f"{self.tree.root / TARGET}.checkpoint")

        def ready():
            assert self.process.poll() is None, self.output.read_text()[-3000:]
            return checkpoint.exists()

        slurm.wait_for("a checkpoint", ready, 1800)
        (job,) = [job["JobId"] for job in self.jobs() if job["JobState"] == "RUNNING"]
        return job

    def finish(self) -> None:
        try:
            assert self.process.wait(1800) == 0, self.output.read_text()[-5000:]
        finally:
            self.end()

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if jobs := [job["JobId"] for job in self.jobs()]:
            slurm.run("scancel", *jobs, check=False)

    def log(self) -> str:
        return (self.tree.root / LOG).read_text()


@pytest.fixture
def run(cluster, prepared, undisturbed, tmp_path):
    tree = Tree(tmp_path / "tree")
    shutil.copytree(prepared.root, tree.root, symlinks=True)
    run = Run(tree, cluster)
    yield run
    run.end()


def cancel(cluster, job):
    slurm.run("scancel", job)


def kill_processes(cluster, job):
    """As the kernel does when memory runs out."""
    for pid in slurm.programs_of(job):
        slurm.send(pid, signal.SIGKILL)


def reach_time_limit(cluster, job):
    """The job hangs, and a minute is all it has."""
    for pid in slurm.programs_of(job):
        slurm.send(pid, signal.SIGSTOP)
    slurm.run("scontrol", "update", f"jobid={job}", "timelimit=1")


FAULTS = {
    "cancelled": (cancel, "CANCELLED"),
    "killed": (kill_processes, "FAILED"),
    "out of time": (reach_time_limit, "TIMEOUT"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_job_that_ends_badly_starts_again_where_it_was(run, undisturbed, fault):
    strike, state = FAULTS[fault]
    strike(run.cluster, run.training())
    run.finish()
    first, second = run.jobs()
    assert (first["JobState"], second["JobState"]) == (state, "COMPLETED")
    assert "continuing from" in run.log()
    assert (run.tree.root / TARGET).read_bytes() == undisturbed.read_bytes()
    # The second attempt asks for twice the memory and time.
    assert (first["MinMemoryNode"], second["MinMemoryNode"]) == ("4000M", "8000M")
    assert second["TimeLimit"] == "08:00:00"


def test_a_job_whose_node_is_lost_goes_on_elsewhere(run, undisturbed):
    job = run.training()
    node = run.cluster.running()[job]
    try:
        run.cluster.kill_node(node)
        slurm.wait_for("the job back in the queue", lambda: run.jobs()[0]["JobState"] == "PENDING")
        slurm.run("scontrol", "update", f"jobid={job}", "starttime=now")  # SLURM waits two minutes
        run.finish()
    finally:
        run.cluster.start_node(node)
    (only,) = run.jobs()
    assert (only["JobState"], only["Restarts"]) == ("COMPLETED", "1")
    assert only["NodeList"] != node
    assert "continuing from" in run.log()
    assert (run.tree.root / TARGET).read_bytes() == undisturbed.read_bytes()


def test_a_controller_away_for_half_a_minute_is_waited_for(run, undisturbed):
    run.training()
    run.cluster.stop_controller()
    try:
        time.sleep(30)
        assert run.process.poll() is None
    finally:
        run.cluster.start_controller()
    run.finish()
    (only,) = run.jobs()
    assert only["JobState"] == "COMPLETED"
    assert (run.tree.root / TARGET).read_bytes() == undisturbed.read_bytes()


def test_after_a_killed_snakemake_the_same_command_goes_on(run, undisturbed, tmp_path):
    job = run.training()
    # A job of another directory, by the same name: not to be touched.
    other = tmp_path / "other" / ".snakemake"
    other.mkdir(parents=True)
    name = next(j for j in run.jobs() if j["JobId"] == job)["JobName"]
    options = (f"--job-name={name}", f"--output={other}/log", "--wrap=sleep 900")
    bystander = slurm.run("sbatch", "--parsable", *options).strip()

    again = subprocess.run(run.command(), cwd=run.tree.root, capture_output=True, text=True)
    assert again.returncode == 1
    assert "Snakemake is at work in" in again.stderr
    assert {j["JobState"] for j in run.jobs()} == {"RUNNING"}

    run.process.kill()
    run.process.wait()
    assert job in run.cluster.running()  # the job knows nothing of it
    run.start()
    run.finish()
    assert f"cancelling 1 jobs of an earlier run: {job}" in run.output.read_text()
    first, second = run.jobs()
    assert (first["JobId"], first["JobState"], second["JobState"]) == (
        job,
        "CANCELLED",
        "COMPLETED",
    )
    assert first["EndTime"] <= second["StartTime"]  # never two at once
    assert "continuing from" in run.log()
    assert (run.tree.root / TARGET).read_bytes() == undisturbed.read_bytes()
    assert bystander in run.cluster.running()
    slurm.run("scancel", bystander)
