"""The cluster that these tests share, and a study for it to work on."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import slurm
from tests.tree import Tree


@pytest.fixture(scope="session")
def cluster() -> Iterator[slurm.Cluster]:
    if reason := slurm.reason_to_skip():
        pytest.skip(reason)
    cluster = slurm.Cluster()
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """A tree that lacks nothing but a slow training."""
    tree = Tree.fresh(tmp_path_factory.mktemp("prepared"))
    tree.snakemake("results/priors/ica.safetensors", "--cores", "2")
    tree.config("slow.yaml", "priors: {ica: {steps: 6000, batch: 1000}}")
    return tree


@pytest.fixture(scope="session")
def undisturbed(prepared: Tree, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the slow training writes when nothing happens to it, on this machine itself."""
    tree = Tree(tmp_path_factory.mktemp("undisturbed") / "tree")
    shutil.copytree(prepared.root, tree.root, symlinks=True)
    tree.snakemake("results/priors/ica.safetensors", "--cores", "2", configs=("slow.yaml",))
    return tree.root / "results/priors/ica.safetensors"
