"""Photographs on their way into a file: what is kept, what is named, what is refused."""

import logging

import numpy as np
import pytest

from deep_restoration.data import images, preparation
from deep_restoration.files.hdf5 import create_hdf5, open_hdf5, read_names

PIXELS = np.random.default_rng(0).integers(0, 256, (4, 5, 5, 3), dtype=np.uint8)
STREAM = [
    ("a", PIXELS[0]),
    ("b", images.UnusableImage("too dark")),
    ("c", PIXELS[1]),
    ("d", PIXELS[2]),
]


def stored(path, stream):
    with create_hdf5(path, "images", {}) as file:
        found = preparation.store(file, stream, len(stream), 5)
    with open_hdf5(path, "images") as file:
        return found, file["images"][...], file["mean"][...], read_names(file)


def test_usable_images_are_stored_in_order_with_their_mean(tmp_path):
    (kept, rejected), pixels, mean, names = stored(tmp_path / "x.h5", STREAM)
    assert kept == names == ["a", "c", "d"]
    assert rejected == ["b: too dark"]
    np.testing.assert_array_equal(pixels, PIXELS[:3])
    np.testing.assert_allclose(mean, PIXELS[:3].mean(0) / 255, rtol=1e-6)
    assert mean.dtype == np.float32
    np.testing.assert_allclose(images.originals(tmp_path / "x.h5", 2), PIXELS[:2] / 255, rtol=1e-6)


def test_of_no_usable_image_nothing_is_stored(tmp_path):
    (kept, rejected), pixels, _, _ = stored(tmp_path / "x.h5", STREAM[1:2])
    assert (kept, len(rejected), pixels.shape) == ([], 1, (0, 5, 5, 3))


def test_unusable_images_are_refused_or_named(caplog):
    preparation.require(["a"], [], "refuse", 9, "the study")
    with pytest.raises(ValueError, match=r"1 of 3 images .*\n  b: dark\nmend them"):
        preparation.require(["a", "c"], ["b: dark"], "refuse")
    with pytest.raises(ValueError, match="1 of 1 images"):
        preparation.require([], ["b: dark"], "skip")
    with caplog.at_level(logging.WARNING):
        preparation.require(["a", "c"], ["b: dark"], "skip", 2, "the study")
    assert "b: dark" in caplog.text
    with pytest.raises(ValueError, match=r"b: dark\nthe study needs at least 3: add images"):
        preparation.require(["a", "c"], ["b: dark"], "skip", 3, "the study")


def test_a_message_names_the_first_ones():
    with pytest.raises(ValueError, match=r"\n  image 19\n  \.\.\.\nmend") as error:
        preparation.require(["a"], [f"image {i}" for i in range(21)], "refuse")
    assert "image 20" not in str(error.value)


def test_planes_are_colours_or_grey():
    np.testing.assert_array_equal(images.planes(PIXELS[0], "images")[1], PIXELS[0][..., 1])
    (plane,) = images.planes(PIXELS[0], "grey")
    np.testing.assert_allclose(plane, PIXELS[0] @ [0.299, 0.587, 0.114], atol=0.51)
