"""What the figures of errors show."""

import numpy as np
import pytest
from matplotlib import pyplot

from deep_restoration.figures import closeups, galleries, inverters, maps
from deep_restoration.figures.style import absolute_difference, signed_difference


@pytest.fixture(autouse=True)
def close():
    yield
    pyplot.close("all")


# ------------------------------------------------------------------------------ signed errors


def drawn_by_errors(truth, reconstructed):
    return galleries.errors(truth, {"tv": reconstructed}, "title").axes[3]


def drawn_by_details(truth, reconstructed):
    figure = closeups.details(truth[None], {"tv": reconstructed[None]}, {}, {}, 8, "title")
    return next(a for a in figure.axes if a.get_subplotspec() and a.get_subplotspec().num1 == 5)


def drawn_by_inversions(truth, reconstructed):
    return inverters.inversions(truth, {"joint": [reconstructed]}, ["conv1"], "title").axes[3]


def drawn_by_linear_reconstructions(truth, reconstructed):
    return maps.linear_reconstructions(truth, reconstructed[None], ["optimal"], "title").axes[3]


DRAWN = [drawn_by_errors, drawn_by_details, drawn_by_inversions, drawn_by_linear_reconstructions]


@pytest.mark.parametrize("drawn", DRAWN)
@pytest.mark.parametrize("channel", range(3))
def test_an_image_with_too_little_of_a_colour_has_an_error_of_that_colour(drawn, channel):
    """Harder 2017: if the reconstructed image has less blue in it, the measure will be blue."""
    truth = np.random.default_rng(0).uniform(0.3, 0.9, (24, 24, 3))
    reconstructed = truth.copy()
    reconstructed[:12, :, channel] -= 0.1
    shown = drawn(truth, reconstructed).images[0].get_array()
    assert shown.shape == truth.shape
    assert (shown[:12, :, channel] > 0.85).all()
    others = [c for c in range(3) if c != channel]
    np.testing.assert_array_equal(shown[:12][..., others], 0.5)
    np.testing.assert_array_equal(shown[12:], 0.5)


def test_signed_differences_beyond_a_limit_are_black_or_white():
    truth, reconstructed = np.array([0.5, 0.5, 0.5, 0.5]), np.array([0.5, 0.4, 0.0, 1.0])
    found = signed_difference(truth, reconstructed, 0.2)
    assert found == pytest.approx([0.5, 0.75, 1, 0])
    assert signed_difference(truth, reconstructed) == pytest.approx([0.5, 0.6, 1, 0])


def test_equal_images_are_grey():
    truth = np.random.default_rng(0).random((4, 4, 3))
    np.testing.assert_array_equal(signed_difference(truth, truth), 0.5)
    np.testing.assert_array_equal(absolute_difference(truth, truth), 0)
