"""Fixtures shared by all tests; the environment that every job has."""

import os
from pathlib import Path

import pytest

from tests.tree import Tree

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real weights and photographs that RESTORATION_DATA names."""
    folder = os.environ.get("RESTORATION_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("RESTORATION_DATA names no folder of real weights and photographs")
    return Path(folder)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """A copy of the tree in which the tiny study was run from end to end."""
    tree = Tree.fresh(tmp_path_factory.mktemp("finished"))
    tree.snakemake()
    return tree
