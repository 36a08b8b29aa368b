"""Shards: whole batches that cover everything once, and files that gathered are those of one job."""

import filecmp
from itertools import pairwise

import numpy as np
import pytest
import torch

from deep_restoration.evaluation import time_to_quality
from deep_restoration.files.atomic import StorageError
from deep_restoration.files.hdf5 import create_dataset, create_hdf5, write_names
from deep_restoration.files.tables import read_rows, write_csv
from deep_restoration.jobs import shards
from deep_restoration.statistics import streaming
from tests.tree import same_content


@pytest.mark.parametrize("samples", [0, 1, 7, 64, 65, 2000])
@pytest.mark.parametrize("batch", [1, 4, 64])
@pytest.mark.parametrize("number", [1, 2, 3, 9])
def test_shards_are_whole_batches_and_cover_all_samples_in_order(samples, batch, number):
    parts = [
        range(samples)[shards.part(samples, batch, {"shard": str(k + 1), "shards": str(number)})]
        for k in range(number)
    ]
    assert [index for part in parts for index in part] == list(range(samples))
    assert all(part.start % batch == 0 for part in parts if part)
    sizes = [-(-len(part) // batch) for part in parts]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    ("samples", "batch", "most", "expected"),
    [(2000, 64, 8, 8), (2000, 64, 100, 32), (8, 64, 4, 1), (0, 64, 4, 1), (65, 64, 2, 2)],
)
def test_there_are_no_more_shards_than_batches(samples, batch, most, expected):
    assert shards.count(samples, batch, most) == expected


def test_without_a_shard_all_samples_are_meant():
    assert shards.part(5, 2, {"layer": "conv1"}) == slice(0, 5)


def write(path, names, arrays):
    """A file of the stage `restarts`: name -> (array, axis of samples)."""
    with create_hdf5(path, "restarts", {"settings": {"seed": 3}}) as file:
        for key, (array, axis) in arrays.items():
            data = create_dataset(file, key, array.shape, array.dtype, "0..1", samples=axis)
            data[...] = array
        write_names(file, names)
    return path


@pytest.mark.parametrize("cuts", [(0, 5, 7), (0, 3, 3, 6, 7), (0, 7)])
def test_gathered_arrays_are_those_of_one_job_bit_for_bit(tmp_path, cuts):
    draw = np.random.default_rng(0)
    # So large that a chunk holds some samples of the first, and parts end within chunks.
    images = draw.random((2, 7, 150, 150, 3)).astype(np.float32)
    pixels = draw.integers(256, size=(7, 9, 9, 3)).astype(np.uint8)
    names = [f"image {index} \udcff" for index in range(7)]
    whole = write(tmp_path / "whole.h5", names, {"images": (images, 1), "originals": (pixels, 0)})
    parts = []
    for number, (start, stop) in enumerate(pairwise(cuts)):
        part = {"images": (images[:, start:stop], 1), "originals": (pixels[start:stop], 0)}
        parts.append(write(tmp_path / f"{number}.h5", names[start:stop], part))
    assert shards.gather_arrays(parts, tmp_path / "gathered.h5", "restarts") == 7
    assert same_content(whole, tmp_path / "gathered.h5", "restarts")


def test_a_shard_of_another_stage_is_refused(tmp_path):
    path = write(tmp_path / "a.h5", ["a"], {"images": (np.zeros((1, 2)), 0)})
    with pytest.raises(StorageError, match="stage 'reconstructions' is needed"):
        shards.gather_arrays([path], tmp_path / "b.h5", "reconstructions")


def test_gathered_traces_tell_the_time_of_all(tmp_path):
    paths = []
    for number, (batch, images, seconds) in enumerate([(0, 64, 10.0), (64, 32, 6.0)]):
        rows = [(batch, 1, "ssim", 0.2, 1.0), (batch, 9, "ssim", 0.1 + batch / 100, seconds)]
        paths.append(tmp_path / f"{number}.csv")
        write_csv(paths[-1], shards.TRACE, [*rows, shards.time_row(seconds, images)])
    shards.gather_traces(paths, tmp_path / "all.csv", 96)
    rows = read_rows(tmp_path / "all.csv")
    assert [row["batch"] for row in rows] == ["0", "0", "64", "64", "0"]
    assert list(rows[-1].values()) == ["0", "0", "seconds per image", str(16 / 96), "16.0"]
    (iterations, value, clock), count = time_to_quality.curve(rows)
    assert (count, iterations.tolist()) == (96, [1, 9])
    assert value.tolist() == pytest.approx([0.2, (64 * 0.1 + 32 * 0.74) / 96])
    assert clock[-1] == pytest.approx(16 / 96)


def test_gathered_rows_stand_as_they_stood(tmp_path):
    tables = [[("1e-07", "a,b"), ("0.10", "")], [("nan", "c\udcff")]]
    for number, rows in enumerate(tables):
        write_csv(tmp_path / f"{number}.csv", ("x", "name"), rows)
    shards.gather_rows([tmp_path / "0.csv", tmp_path / "1.csv"], tmp_path / "all.csv")
    write_csv(tmp_path / "whole.csv", ("x", "name"), [*tables[0], *tables[1]])
    assert filecmp.cmp(tmp_path / "all.csv", tmp_path / "whole.csv", shallow=False)


def test_sums_of_shards_are_the_sums_of_all_but_for_rounding(tmp_path):
    maps = torch.randn(70, 3, 9, 8, generator=torch.Generator().manual_seed(0)).numpy()
    whole, paths = streaming.measure(maps, range(70), positions=30), []
    for shard in ("1", "2", "3"):
        mine = range(70)[shards.part(70, 1, {"shard": shard, "shards": "3"})]
        paths.append(tmp_path / f"{shard}.h5")
        with create_hdf5(paths[-1], "statistics", {}) as file:
            streaming.write_sums(file, streaming.measure(maps, mine, positions=30))
    found = streaming.read_sums(paths[0])
    for path in paths[1:]:
        found.merge(streaming.read_sums(path))
    assert found.kind == whole.kind
    assert np.array_equal(found.of_images, whole.of_images)
    for name, value in whole.sums.items():
        size = value.abs().max().item()
        assert torch.allclose(found.sums[name], value, rtol=1e-12, atol=1e-13 * size), name
