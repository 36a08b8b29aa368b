"""What the profile books on the cluster is what jobs use: groups, which run one after another, and
several GPUs, which belong to one start of one script on one node."""

import json
import subprocess
import sys
import time
from collections import defaultdict
from types import SimpleNamespace

import pytest

from tests.cluster import slurm
from tests.tree import Tree

# Rules by names that the profile knows, with a script that tells when and with what it ran.
WORKFLOW = """
rule all:
    input:
        expand("figures/{layer}.txt", layer=range(12)),
        "inverter.txt",

rule plot_statistics:
    output:
        "figures/{layer}.txt",
    resources:
        mem_mb=300,
        runtime=2,
    script:
        "witness.py"

rule train_inverter:
    output:
        "inverter.txt",
    resources:
        gpu=1,
        mem_mb=500,
        runtime=5,
    script:
        "witness.py"
"""
WITNESS = """
import json, os, time
from pathlib import Path

start = time.time()
time.sleep(1)
names = ("SLURM_JOB_ID", "SLURM_STEP_NUM_TASKS", "CUDA_VISIBLE_DEVICES")
seen = {name: os.environ.get(name) for name in names}
line = {"rule": snakemake.rule, "start": start, "end": time.time(), **seen}
with open("starts.jsonl", "a") as file:
    file.write(json.dumps(line) + "\\n")
Path(snakemake.output[0]).touch()
"""
MEMORY, MINUTES = 300, 2  # of a figure, as in the workflow


@pytest.fixture(scope="module")
def ran(cluster: slurm.Cluster, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """The workflow on the cluster, two GPUs for a training, which is submitted while one GPU of each node is
    taken: `starts` of scripts by rule, and the cluster's `jobs` by number."""
    tree = Tree.fresh(tmp_path_factory.mktemp("bookings"))
    (tree.root / "jobs.smk").write_text(WORKFLOW)
    (tree.root / "witness.py").write_text(WITNESS)
    taken = []
    for node in ("g1", "g2"):
        options = (f"--nodelist={node}", "--partition=gpu", "--gpus=1", "--output=/dev/null")
        taken.append(slurm.run("sbatch", "--parsable", *options, "--wrap=sleep 900").strip())
    slurm.wait_for("GPUs to be taken", lambda: {*taken} <= cluster.running().keys())

    def mine() -> dict[str, dict[str, str]]:
        return {j["JobId"]: j for j in cluster.jobs() if j["WorkDir"] == str(tree.root)}

    start = [sys.executable, "workflow/profiles/slurm/start", "--snakefile", "jobs.smk"]
    quick = ["--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "5"]
    profile = "workflow/profiles/slurm/config.yaml"
    with (
        tree.edited(profile, "training_gpus: 1", "training_gpus: 2"),
        subprocess.Popen(
            [*start, *quick],
            cwd=tree.root,
            env=tree.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process,
    ):
        slurm.wait_for(
            "the training in the queue",
            lambda: any("train_inverter" in job["Comment"] for job in mine().values()),
            600,
        )
        time.sleep(5)  # SLURM looks every two seconds for what it can start
        slurm.run("scancel", *taken)
        output, _ = process.communicate()
    assert process.returncode == 0, output[-6000:]
    starts = defaultdict(list)
    for line in (tree.root / "starts.jsonl").read_text().splitlines():
        start = json.loads(line)
        starts[start["rule"]].append(start)
    return SimpleNamespace(starts=starts, jobs=mine())


def most_at_once(starts: list[dict]) -> int:
    """How many of them ran at a time."""
    changes = sorted([(s["start"], 1) for s in starts] + [(s["end"], -1) for s in starts])
    running = most = 0
    for _, change in changes:
        running += change
        most = max(most, running)
    return most


def test_a_group_has_the_cores_memory_and_time_that_its_jobs_need(ran):
    groups = defaultdict(list)
    for start in ran.starts["plot_statistics"]:
        groups[start["SLURM_JOB_ID"]].append(start)
    assert sorted(map(len, groups.values())) == [2, 10]
    for number, starts in groups.items():
        job, beside = ran.jobs[number], most_at_once(starts)
        assert job["JobState"] == "COMPLETED"
        assert int(job["NumCPUs"]) == beside
        assert job["MinMemoryNode"] == f"{beside * MEMORY}M"
        assert beside * slurm.minutes(job["TimeLimit"]) == len(starts) * MINUTES


def test_a_training_on_two_gpus_is_one_start_on_one_node_that_sees_both(ran):
    (start,) = ran.starts["train_inverter"]
    assert (start["SLURM_STEP_NUM_TASKS"], start["CUDA_VISIBLE_DEVICES"]) == ("1", "0,1")
    job = ran.jobs[start["SLURM_JOB_ID"]]
    assert (job["NumNodes"], job["TresPerJob"]) == ("1", "gres:gpu:2")
    # No attempt failed, as it does where the two GPUs are of two nodes.
    assert [j["JobState"] for j in ran.jobs.values()] == ["COMPLETED"] * 3
