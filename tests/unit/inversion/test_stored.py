"""Images reconstructed batch by batch, and from several restarts, on their way into a file."""

import math

import numpy as np
import pytest
import torch

from deep_restoration.data.images import as_tensor
from deep_restoration.evaluation.restarts import seed_of_restart
from deep_restoration.files.hdf5 import create_hdf5, open_hdf5, read_names
from deep_restoration.inversion import stored
from deep_restoration.inversion.preimage import Result
from deep_restoration.runtime.checkpoints import Checkpoint
from deep_restoration.runtime.memo import Memo

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)
NAMES = list("abcde")


class Reconstructor:
    """Gives the images back, darker by its seed, and remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def reconstruct(self, recipe, truth, names, seed, checkpoint, watched=True):
        self.asked.append((recipe, tuple(names), seed, checkpoint, watched))
        return Result(truth / (1 + seed), [(1, "image", 0.5, 2.0)], 3.0)


def test_batches_are_reconstructed_in_order_each_with_its_checkpoint(tmp_path):
    reconstructor, made = Reconstructor(), []

    def checkpoint(number):
        made.append(number)
        own = Checkpoint(tmp_path / f"{number}", [], math.inf)
        own.path.write_text("a state")
        return own

    parts = stored.batches(reconstructor, {"r": 1}, NAMES, PIXELS, 2, 0, 10, checkpoint)
    for index, (number, part, result) in enumerate(parts):
        assert (number, part) == (10 + 2 * index, slice(2 * index, 2 * index + 2))
        assert torch.equal(result.images, as_tensor(PIXELS[part]))
        assert (tmp_path / f"{number}.checkpoint").exists()  # until its images are taken
    assert made == [10, 12, 14]
    assert [names for _, names, *_ in reconstructor.asked] == [("a", "b"), ("c", "d"), ("e",)]
    assert not list(tmp_path.iterdir())


def test_reconstructed_images_are_written_with_names_traces_and_time(tmp_path):
    results = [
        (10, slice(0, 3), Result(as_tensor(PIXELS[:3]), [(0, "a", 1.0, 2.0)], 1.5)),
        (13, slice(3, 6), Result(as_tensor(PIXELS[3:]), [(0, "a", 3.0, 4.0)], 2.0)),
    ]
    with create_hdf5(tmp_path / "x.h5", "reconstructions", {}) as file:
        rows, seconds = stored.write_reconstructed(file, results, PIXELS.shape, NAMES)
    assert (rows, seconds) == ([(10, 0, "a", 1.0, 2.0), (13, 0, "a", 3.0, 4.0)], 3.5)
    with open_hdf5(tmp_path / "x.h5", "reconstructions") as file:
        np.testing.assert_allclose(file["images"][...], PIXELS / 255, rtol=1e-6)
        assert file["images"].dtype == np.float32
        assert read_names(file) == NAMES


@pytest.mark.parametrize("size", [2, 9])
def test_further_starts_have_seeds_of_their_own_and_are_reconstructed_once(size, tmp_path):
    reconstructor, done = Reconstructor(), Memo(tmp_path / "out", "key")
    found = np.full((3, *PIXELS.shape), np.nan, np.float32)
    arguments = (reconstructor, {}, NAMES, PIXELS, size, 7, 3, 20, done)
    for start, part, images in stored.further_restarts(*arguments):
        found[start, part] = images
    assert np.isnan(found[0]).all()
    for start in (1, 2):
        expected = PIXELS / 255 / (1 + seed_of_restart(7, start))
        np.testing.assert_allclose(found[start], expected, rtol=1e-5)
    batches = -(-5 // size)
    assert len(reconstructor.asked) == 2 * batches
    assert not any(watched for *_, watched in reconstructor.asked)
    again = [images for *_, images in stored.further_restarts(*arguments)]
    assert len(reconstructor.asked) == 2 * batches
    np.testing.assert_array_equal(np.concatenate(again[:batches]), found[1])
    assert "start 1, images from 20" in done.facts


def test_starts_are_written_behind_the_one_that_is_there(tmp_path):
    own, other = np.random.default_rng(1).random((2, *PIXELS.shape), np.float32)
    further = [(1, slice(0, 4), other[:4]), (1, slice(4, 8), other[4:])]
    with create_hdf5(tmp_path / "x.h5", "restarts", {}) as file:
        stored.write_restarts(file, own, further, 2, PIXELS, NAMES)
    with open_hdf5(tmp_path / "x.h5", "restarts") as file:
        np.testing.assert_array_equal(file["images"][...], np.stack([own, other]))
        np.testing.assert_array_equal(file["originals"][...], PIXELS)
        assert (file["images"].attrs["samples"], read_names(file)) == (1, NAMES)
