"""What Snakemake's command line asks for, and the environment that jobs get."""

import os
import subprocess
from pathlib import Path

import pytest

from deep_restoration.jobs import launch

LIBRARY = str(Path(launch.__file__).parents[2])


@pytest.mark.parametrize(
    "line",
    [
        "-n",
        "-np",
        "-pn",
        "-kn",
        "-nF",
        "--dry-run",
        "--dryrun",
        "results/report.html -n --cores 2",
        "--configfile config/paper.yaml --dry-run",
        "-j 2 -n",
        "-nj2",
        "-npc4",
        "-nR all",
        "--dry-r",
        "-e dryrun",
        "--executor=dryrun",
    ],
)
def test_a_plan_is_asked_for(line):
    assert launch.is_dry_run(line.split())


@pytest.mark.parametrize(
    "line",
    [
        "",
        "--nolock",
        "--no-hooks",
        "-j2",
        "-c 2",
        "--config n=1",
        "-C n=1",
        "-Rname",
        "-R name",
        "-Un",
        "-dn",
        "-p",
        "--configfile",
        "--configfile config-n.yaml",
        "config-n.yaml",
        "n",
        "dry-run",
        "--touch",
        "--snakefile n",
        "--keep-incomplete",
        "-",
        "--",
    ],
)
def test_no_plan_is_asked_for(line):
    assert not launch.is_dry_run(line.split())


def test_jobs_import_the_library_of_this_tree(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["/elsewhere", LIBRARY]))
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    for _ in range(2):  # a second time changes nothing
        launch.prepare_environment()
        assert os.environ["PYTHONPATH"] == os.pathsep.join([LIBRARY, "/elsewhere"])
        assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"


def test_a_wait_policy_of_the_users_stays(monkeypatch):
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    launch.prepare_environment()
    assert os.environ["PYTHONPATH"] == LIBRARY
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"


def test_folders_that_cannot_be_written_to_are_found(small_disk):
    (small_disk / "results/priors").mkdir(parents=True)
    tops = (str(small_disk / "results"), str(small_disk / "logs"))
    assert launch.closed_folders(*tops) == []
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert launch.closed_folders(*tops) == [tops[0], f"{tops[0]}/priors"]
