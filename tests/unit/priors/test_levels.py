"""Denoisers at each noise level: which images, which noise, and what the rows say."""

import math

import numpy as np
import pytest
import torch

from deep_restoration.data import images, splits
from deep_restoration.evaluation import intervals
from deep_restoration.files.hdf5 import create_hdf5, write_array, write_names
from deep_restoration.priors import levels
from deep_restoration.priors.levels import Crops
from deep_restoration.priors.material import HALVES
from deep_restoration.runtime import seeds

pytestmark = pytest.mark.usefixtures("one_thread")


def pixels(count, side=5, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def some(count, seed=0):
    names = [f"{chr(97 + i)}.png" for i in range(count)]
    return Crops(names, pixels(count, seed=seed).transpose(0, 3, 1, 2))


class Halving:
    """A denoiser that tells the level."""

    def __init__(self):
        self.asked = []

    def denoise(self, x, sigma):
        self.asked.append((len(x), sigma))
        return 0.5 * x + 0.1 * sigma


class ByHeart:
    """It knows its training images, and answers with the nearest."""

    def __init__(self, learned):
        self.known = torch.from_numpy(learned.planes).float() / 255

    def denoise(self, x, sigma):
        distances = (x[:, None] - self.known).square().sum((2, 3, 4))
        return self.known[distances.argmin(1)]


@pytest.fixture
def file(tmp_path):
    data, names = pixels(40), [f"{i:02}.png" for i in range(40)]
    with create_hdf5(tmp_path / "train.h5", "images", {}) as file:
        write_array(file, "images", data, "units")
        write_names(file, names)
    return tmp_path / "train.h5", data, names


@pytest.mark.parametrize("of", ["images", "grey"])
@pytest.mark.parametrize("share", [0.2, 0.5])
def test_as_many_training_images_are_taken_as_are_held_out(of, share, file):
    path, data, names = file
    held, learned = levels.crops(path, of, share)
    chosen = splits.held_out(40, share)
    assert held.names == [name for name, kept in zip(names, chosen, strict=True) if kept]
    assert len(learned.names) == len(set(learned.names)) == len(held.names)
    assert not set(learned.names) & set(held.names)
    for name, planes in zip(
        held.names + learned.names, [*held.planes, *learned.planes], strict=True
    ):
        image = data[names.index(name)]
        expected = images.grey(image)[None] if of == "grey" else image.transpose(2, 0, 1)
        assert np.array_equal(planes, expected)


def test_no_more_images_are_taken_than_the_most(file, monkeypatch):
    monkeypatch.setattr(levels, "MOST", 3)
    held, learned = levels.crops(file[0], "images", 0.5)
    assert len(held.names) == len(learned.names) == 3
    assert len(held.planes) == len(learned.planes) == 3


def test_each_image_has_a_noise_of_its_own_at_each_level():
    """More images than a batch, against one after the other."""
    parts, prior = some(levels.BATCH + 2), Halving()
    for level in (0.1, 2.0):
        found = levels.psnr_at(prior, parts, level, 7)
        for name, plane, value in zip(*parts, found, strict=True):
            draw = seeds.generator(7, "denoising", f"{name} at {level:g}")
            truth = plane / 255
            noisy = truth + level * torch.randn(plane.shape, generator=draw).numpy()
            error = np.mean((np.clip(0.5 * noisy + 0.1 * level, 0, 1) - truth) ** 2)
            assert value == pytest.approx(-10 * math.log10(error), rel=1e-5)
    assert prior.asked == [(levels.BATCH, 0.1), (2, 0.1), (levels.BATCH, 2.0), (2, 2.0)]


def test_a_row_per_level_tells_the_means_and_their_interval():
    held, learned, prior = some(6), some(6, seed=1), Halving()
    rows = list(levels.measured(prior, held, learned, 3))
    assert [row[0] for row in rows] == list(levels.LEVELS)
    for row in rows:
        found = dict(zip(levels.COLUMNS, row, strict=True))
        ours = levels.psnr_at(prior, held, found["level"], 3)
        assert (found["images"], found["photographs"]) == (6, 6)
        assert found["psnr"] == pytest.approx(ours.mean())
        limits = intervals.bootstrap_interval(ours, held.names, 3)
        assert (found["low"], found["high"]) == limits
        assert found["low"] < found["psnr"] < found["high"]
        theirs = levels.psnr_at(prior, learned, found["level"], 3)
        assert found["psnr_training"] == pytest.approx(theirs.mean())


def test_what_was_learned_by_heart_shows():
    held, learned = some(5), some(5, seed=1)
    rows = list(levels.measured(ByHeart(learned), held, learned, 0))
    least = dict(zip(levels.COLUMNS, rows[0], strict=True))
    assert least["psnr_training"] > 100
    assert least["psnr"] < 12


def test_images_of_the_same_half_are_taken(file):
    path, _, names = file
    known = [set(levels.crops(path, "images", 0.2, half)[1].names) for half in HALVES]
    held = set(levels.crops(path, "images", 0.2)[0].names)
    for part, start in zip(known, (0, 1), strict=True):
        assert part <= set(names[start::2]) - held
        assert len(part) == len(held)


class Other(Halving):
    def denoise(self, x, sigma):
        return 0.5 * x + 0.12 * sigma + 0.01


def test_denoisers_of_halves_are_compared_with_each_other_and_with_the_truth():
    held = some(levels.BATCH + 2)
    rows = list(levels.agreement(Halving(), Other(), held, 3))
    assert [row[0] for row in rows] == list(levels.LEVELS)
    for row in rows:
        found = dict(zip(levels.AGREEMENT[2:], row, strict=True))
        level, between = found["level"], []
        for name, plane in zip(*held, strict=True):
            draw = seeds.generator(3, "denoising", f"{name} at {level:g}")
            noisy = plane / 255 + level * torch.randn(plane.shape, generator=draw).numpy()
            one, other = 0.5 * noisy + 0.1 * level, 0.5 * noisy + 0.12 * level + 0.01
            error = np.mean((one.clip(0, 1) - other.clip(0, 1)) ** 2)
            between.append(-10 * math.log10(error))
        assert found["psnr_between"] == pytest.approx(np.mean(between), rel=1e-4)
        limits = intervals.bootstrap_interval(np.array(between), held.names, 3)
        assert (found["low"], found["high"]) == pytest.approx(limits, rel=1e-4)
        for key, prior in (("psnr_first", Halving()), ("psnr_second", Other())):
            assert found[key] == pytest.approx(levels.psnr_at(prior, held, level, 3).mean())
        assert (found["images"], found["photographs"]) == (levels.BATCH + 2, levels.BATCH + 2)


def test_few_photographs_have_no_interval():
    for row in levels.measured(Halving(), some(3), some(3, seed=1), 0):
        found = dict(zip(levels.COLUMNS, row, strict=True))
        assert (found["low"], found["high"]) == ("", "")
