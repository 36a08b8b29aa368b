"""A study on the cluster gives what it gives on this machine, and its jobs are where they belong."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster import slurm
from tests.tree import TINY, Tree, rows_of

ON_GPUS = {
    *("classifier", "denoise", "discrimination", "discrimination_of_maps", "evaluate"),
    *("evaluate_inverters", "feature_statistics", "features", "fit_surrogates", "linear_inverse"),
    *("measure_restarts", "paper_measures", "reconstruct", "reconstruct_restarts", "search"),
    *("select_priors", "train_feature_prior", "train_inverter", "train_prior", "visualise"),
}


@pytest.fixture(scope="module")
def study(cluster: slurm.Cluster, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """The tiny study, run on the cluster. Cores as on this machine, because sums depend on the threads."""
    tree = Tree.fresh(tmp_path_factory.mktemp("study"))
    options = ["--cores", "2", "--jobs", "4", "--slurm-init-seconds-before-status-checks", "1"]
    start = [sys.executable, "workflow/profiles/slurm/start", *options]
    done = subprocess.run(
        [*start, "--latency-wait", "5", "--configfile", TINY],
        cwd=tree.root,
        env=tree.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    return tree


@pytest.fixture(scope="module")
def jobs(cluster: slurm.Cluster, study: Tree) -> dict[str, dict[str, str]]:
    """Rule -> what the controller knows of its last job."""
    mine = [job for job in cluster.jobs() if job["WorkDir"] == str(study.root)]
    names = [job["Comment"].removeprefix("rule_").split("_wildcards_")[0] for job in mine]
    return dict(zip(names, mine, strict=True))


def without_seconds(path: Path) -> list[dict[str, str]]:
    rows = rows_of(path)
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def test_results_are_those_of_this_machine(study, tmp_path):
    here = Tree(tmp_path / "here")
    shutil.copytree(study.root, here.root, symlinks=True)
    shutil.rmtree(here.root / "results")
    here.snakemake("--cores", "2")
    made = [
        path.relative_to(here.root)
        for path in sorted((here.root / "results").rglob("*"))
        # The time that an optimisation took is drawn, too.
        if path.suffix in (".h5", ".safetensors", ".png")
        and path.name not in ("traces.png", "time_to_quality.png")
    ]
    assert len(made) >= 80
    for path in made:
        assert (study.root / path).read_bytes() == (here.root / path).read_bytes(), path
    tables = [tree.root / "results/tables/reconstruction.csv" for tree in (study, here)]
    assert without_seconds(tables[0]) == without_seconds(tables[1])


def test_afterwards_there_is_nothing_to_do_on_this_machine_either(study):
    done = study.snakemake("--dry-run")
    assert "Nothing to be done" in done.stdout


def test_jobs_get_a_gpu_where_their_rule_wants_one(jobs):
    wanting = {rule for rule, job in jobs.items() if job["Partition"] == "gpu"}
    assert wanting == ON_GPUS
    for rule, job in jobs.items():
        assert job["JobState"] == "COMPLETED"
        assert job.get("TresPerJob") == ("gres:gpu:1" if rule in ON_GPUS else None), rule
        assert job["NodeList"][0] == ("g" if rule in ON_GPUS else "n")


GROUPED = {  # rule -> figures that the tiny study has of it
    "plot_details": 2,
    "plot_discrimination_of_maps": 2,
    "plot_reconstructions": 2,
    "plot_statistics": 2,
    "plot_visualisations": 5,
}


def test_figures_of_one_rule_share_a_job_with_time_for_all_of_them(study, jobs):
    for rule, count in GROUPED.items():
        assert rule not in jobs
        job = jobs[f"{rule}_{rule}"]  # its group is named after the rule
        assert (job["NumCPUs"], job["MinMemoryNode"]) == ("1", "1500M")
        assert slurm.minutes(job["TimeLimit"]) == count * 10
    assert not any(rule in name for rule in GROUPED for name in jobs if name != f"{rule}_{rule}")
    assert (study.root / "logs/plot_prior/foe.log").exists()
    assert (study.root / "logs/plot_reconstructions/alexnet/conv1.log").exists()
