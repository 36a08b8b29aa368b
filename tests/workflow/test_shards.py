"""Shards through Snakemake: the files of one job."""

import shutil

import pytest
import yaml

from tests.tree import TINY, Tree, rows_of, same_content

pytestmark = pytest.mark.slow

DEFAULT = "config/everything.yaml"  # the study over which the tiny one is laid

RECONSTRUCTIONS = [f"results/reconstructions/alexnet/conv1/{r}.h5" for r in ("tv", "pure")]
STARTS = "results/restarts/alexnet/conv1/pure.h5"
STATISTICS = "results/statistics/alexnet/conv1.h5"
EVALUATION = "results/evaluation/alexnet/conv1.csv"
MAPS = "results/evaluation/alexnet/conv1.statistics.csv"
FILES = [*RECONSTRUCTIONS, STARTS, STATISTICS, EVALUATION, MAPS]
WHOLE = {"feature_statistics", "reconstruct", "reconstruct_restarts", "evaluate"}
GATHERING = {"gather_statistics", "gather_reconstructions", "gather_restarts", "gather_evaluation"}


@pytest.fixture(scope="module")
def split(finished, tmp_path_factory):
    """A copy of the finished study in which these files were made again, in two shards each."""
    tree = Tree(tmp_path_factory.mktemp("split") / "copy")
    shutil.copytree(finished.root, tree.root, symlinks=True)
    for path in FILES:
        (tree.root / path).unlink()
    tree.config("shards.yaml", "shards: 2")
    tree.snakemake(*FILES, configs=("shards.yaml",))
    return tree


def test_each_shard_is_a_job(split):
    for name in ("1-of-2", "2-of-2"):
        for stage in ("reconstruct", "reconstruct_restarts"):
            assert (split.root / f"logs/{stage}/alexnet/conv1/pure.shards/{name}.log").exists()
        for stage in ("statistics", "evaluate"):
            assert (split.root / f"logs/{stage}/alexnet/conv1.shards/{name}.log").exists()
    assert not list((split.root / "results").rglob("*.shards"))  # what is gathered is gone


@pytest.mark.parametrize("path", [*RECONSTRUCTIONS, STARTS])
def test_reconstructed_images_are_those_of_one_job_bit_for_bit(finished, split, path):
    assert same_content(finished.root / path, split.root / path, path.split("/")[1])


@pytest.mark.parametrize("recipe", ["tv", "pure"])
def test_traces_differ_in_the_clock_alone(finished, split, recipe):
    path = f"results/reconstructions/alexnet/conv1/{recipe}.trace.csv"
    one, several = (rows_of(tree.root / path) for tree in (finished, split))
    assert {row["batch"] for row in one} == {"0", "1"}
    told = [[(r["batch"], r["iteration"], r["term"]) for r in rows] for rows in (one, several)]
    assert told[0] == told[1]
    values = [[row["value"] for row in rows[:-1]] for rows in (one, several)]
    assert values[0] == values[1]


def test_measures_are_those_of_one_job(finished, split):
    one, several = (rows_of(tree.root / EVALUATION) for tree in (finished, split))
    for row in one + several:
        del row["seconds"]
    assert one == several
    one, several = (rows_of(tree.root / MAPS) for tree in (finished, split))
    keys = ("classifier", "layer", "recipe", "measure")
    assert [[r[k] for k in keys] for r in one] == [[r[k] for k in keys] for r in several]
    for key in ("reference", "other", "distance"):
        values = ([float(row[key]) for row in rows] for rows in (one, several))
        assert next(values) == pytest.approx(next(values), rel=1e-6, abs=1e-9, nan_ok=True)


def test_statistics_are_those_of_one_job_but_for_rounding(finished, split):
    import numpy as np

    from deep_restoration.files.hdf5 import open_hdf5

    found = []
    for tree in (finished, split):
        with open_hdf5(tree.root / STATISTICS, "statistics") as file:
            found.append({key: file["sums"][key][...] for key in file["sums"]})
            found[-1]["covariance"] = file["covariance"][...]
    assert found[0].keys() == found[1].keys()
    for key, value in found[0].items():
        assert np.allclose(value, found[1][key], rtol=1e-11, atol=1e-12 * np.abs(value).max()), key


def test_shards_that_are_gone_are_not_made_again(split):
    done = split.snakemake("--dry-run", *FILES, configs=("shards.yaml",))
    assert "Nothing to be done" in done.stdout


def test_there_are_no_more_shards_than_batches_or_recipes(finished):
    jobs = finished.planned(finished.config("change.yaml", "shards: 8"))
    studies = [yaml.safe_load((finished.root / file).read_text()) for file in (DEFAULT, TINY)]
    recipes = len({name for study in studies for name in study["recipes"]})
    batches, layers = 2, 2
    assert jobs["reconstruct_shard"] == batches * recipes * layers
    assert jobs["gather_reconstructions"] == recipes * layers
    assert (jobs["evaluate_shard"], jobs["gather_evaluation"]) == (16, 2)
    assert not set(jobs) & WHOLE
