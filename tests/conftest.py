"""Fixtures shared by all tests; the environment that every job has; which tests run beside which."""

import fcntl
import os
import shutil
import sys
from pathlib import Path

import pytest

from tests.tree import Tree

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
PARALLEL = "PYTEST_XDIST_WORKER" in os.environ
if PARALLEL:  # the other core is the other worker's
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files for two workers, each of which takes one after the other.

    One begins with the chain, and so with the tiny study, the other with unit tests; what else needs the
    study comes last, the longest file of it first.
    """

    def order(item: pytest.Item) -> int:
        if item.path.name == "test_chain.py":
            return 0
        if "unit" in item.path.parts:
            return 1
        return 2 if item.path.name == "test_rerun_settings.py" else 3

    items.sort(key=order)


@pytest.fixture(autouse=True)
def _close_figures():
    """Close what a test drew: matplotlib warns, and warnings are errors, once more than twenty are open."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real weights and photographs that RESTORATION_DATA names."""
    folder = os.environ.get("RESTORATION_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("RESTORATION_DATA names no folder of real weights and photographs")
    return Path(folder)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """A copy of the tree in which the tiny study was run from end to end: once, with a copy per worker."""
    if not PARALLEL:
        return _run(Tree.fresh(tmp_path_factory.mktemp("finished")))
    shared = tmp_path_factory.getbasetemp().parent / "finished"
    with open(f"{shared}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a worker that waits for the study to be run
        if not shared.is_dir():
            _run(Tree.fresh(shared.with_name("running"))).root.rename(shared)
    mine = tmp_path_factory.mktemp("finished") / "tree"
    return Tree(shutil.copytree(shared, mine, symlinks=True))


def _run(tree: Tree) -> Tree:
    tree.snakemake()
    return tree
