"""Gabor fits of planted filters, their colour, and their order."""

import numpy as np
import pytest

from deep_restoration.priors import filters


def planted(size, frequency, degrees, phase, along=2.0, across=3.0, middle=None):
    """A Gabor function by its formula, size x size."""
    row, column = middle or ((size - 1) / 2, (size - 1) / 2)
    result = np.empty((size, size))
    angle = np.radians(degrees)
    for i in range(size):
        for j in range(size):
            u = (j - column) * np.cos(angle) + (i - row) * np.sin(angle)
            v = (i - row) * np.cos(angle) - (j - column) * np.sin(angle)
            window = np.exp(-(u**2) / (2 * along**2) - v**2 / (2 * across**2))
            result[i, j] = window * np.cos(2 * np.pi * frequency * u + phase)
    return result


def between(first, second):
    """Of two orientations in degrees."""
    return abs((first - second + 90) % 180 - 90)


def described(plane, channels=1):
    (row,) = filters.describe(np.repeat(plane[None, None], channels, 1), np.array([0.5]))
    return dict(zip(filters.COLUMNS, row, strict=True))


# ------------------------------------------------------------------------------ planted functions


@pytest.mark.parametrize("phase", [0.0, 0.7, np.pi / 2, 3.0])
@pytest.mark.parametrize(
    ("frequency", "degrees"), [(0.15, 0), (0.2, 30), (0.25, 90), (0.3, 135), (0.4, 160)]
)
def test_planted_gabors_are_recovered(frequency, degrees, phase):
    found = described(planted(12, frequency, degrees, phase))
    assert found["explained"] > 0.99
    assert found["frequency"] == pytest.approx(frequency, abs=0.01)
    assert between(found["orientation"], degrees) < 2
    assert found["width"] == pytest.approx(2.0, rel=0.1)
    assert found["length"] == pytest.approx(3.0, rel=0.1)
    assert 0 <= found["orientation"] <= 180


@pytest.mark.parametrize("middle", [(3.0, 8.5), (8.0, 2.5), (5.0, 5.0)])
@pytest.mark.parametrize("scale", [-1e-3, 1.0, 1e4])
def test_place_and_scale_do_not_matter(middle, scale):
    parameters, explained = filters.fit(scale * planted(12, 0.25, 60, 1.0, 1.5, 2.0, middle))
    assert explained > 0.99
    np.testing.assert_allclose(parameters[:2], middle, atol=0.2)
    assert parameters[2] == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("phase", [0.0, 1.0, np.pi / 2])
@pytest.mark.parametrize("spread", [0.7, 1.0, 5.0])
def test_small_and_large_windows_are_found(spread, phase):
    found = described(planted(16, 0.3, 25, phase, spread, spread, (4.0, 10.0)))
    assert found["explained"] > 0.99


def test_a_planted_gabor_under_some_noise_is_recovered():
    noise = 0.1 * np.random.default_rng(0).standard_normal((12, 12))
    found = described(planted(12, 0.25, 45, 0.5) + noise)
    assert 0.8 < found["explained"] < 0.99
    assert found["frequency"] == pytest.approx(0.25, abs=0.02)
    assert between(found["orientation"], 45) < 5


def test_the_parts_of_a_gabor_are_its_formula():
    angle, spreads = np.radians(25), np.log([1.5, 2.5])
    cosine, sine = filters.gabor(np.array([3.0, 4.5, 0.2, angle, *spreads]), 9)
    np.testing.assert_allclose(cosine, planted(9, 0.2, 25, 0, 1.5, 2.5, (3.0, 4.5)), atol=1e-12)
    expected = planted(9, 0.2, 25, -np.pi / 2, 1.5, 2.5, (3.0, 4.5))
    np.testing.assert_allclose(sine, expected, atol=1e-12)


def test_a_blob_is_a_gabor_of_almost_no_frequency():
    found = described(planted(12, 0.0, 0, 0.0, 2.0, 2.0))
    assert found["explained"] > 0.99
    assert found["frequency"] < 0.08


def test_a_flat_pattern_is_explained_by_a_wide_window():
    found = described(np.full((8, 8), 0.3))
    assert found["explained"] > 0.95
    assert found["frequency"] < 0.05


def test_noise_is_explained_little():
    rng = np.random.default_rng(0)
    explained = [filters.fit(rng.standard_normal((12, 12)))[1] for _ in range(12)]
    assert 0 < np.mean(explained) < 0.3
    assert max(explained) < filters.GOOD / 2


def test_explained_is_the_share_of_the_energy_beside_the_best_phase():
    plane = np.random.default_rng(1).standard_normal((8, 8))
    parameters, explained = filters.fit(plane)
    basis = np.stack([part.ravel() for part in filters.gabor(parameters, 8)], 1)
    rest = plane.ravel() - basis @ np.linalg.lstsq(basis, plane.ravel())[0]
    assert explained == pytest.approx(1 - np.sum(rest**2) / np.sum(plane**2), abs=1e-4)


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_small_planes_do_not_fail(size):
    plane = np.random.default_rng(size).standard_normal((size, size))
    found = described(plane)
    assert all(np.isfinite(list(found.values())))
    assert 0 <= found["explained"] <= 1 + 1e-9


def test_an_empty_pattern_is_explained_by_nothing():
    found = described(np.zeros((6, 6)), channels=3)
    assert (found["explained"], found["frequency"], found["colour"]) == (0, 0, 0)


# ------------------------------------------------------------------------------ colour


def test_grey_patterns_have_no_colour():
    plane = planted(8, 0.2, 40, 0.0)
    planes, colours = filters.luminance(np.stack([plane] * 3)[None])
    assert colours == pytest.approx([0], abs=1e-12)
    expected = np.sqrt(3) * plane * np.sign(plane.ravel() @ planes[0].ravel())
    np.testing.assert_allclose(planes[0], expected, atol=1e-12)


def test_patterns_of_one_channel_are_grey():
    plane = planted(8, 0.2, 40, 0.0)
    planes, colours = filters.luminance(plane[None, None])
    assert colours == pytest.approx([0], abs=1e-12)
    np.testing.assert_allclose(np.abs(planes[0]), np.abs(plane), atol=1e-12)


def test_red_against_green_is_all_colour():
    plane = planted(8, 0.2, 40, 0.0)
    _, colours = filters.luminance(np.stack([plane, -plane, 0 * plane])[None])
    assert colours == pytest.approx([1])


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_colour_is_the_share_of_energy_across_grey(share):
    grey = np.sqrt((1 - share) / 3) * np.ones((3, 1, 1)) * planted(8, 0.2, 40, 0.0)
    colour = np.array([1, -2, 1]).reshape(3, 1, 1) / np.sqrt(6) * planted(8, 0.2, 40, 0.0)
    _, colours = filters.luminance((grey + np.sqrt(share) * colour)[None])
    assert colours == pytest.approx([share])


def test_a_coloured_gabor_is_found_along_its_colour():
    plane = planted(12, 0.2, 70, 0.3)
    pattern = np.stack([plane, -0.5 * plane, 0.1 * plane])[None]
    (row,) = filters.describe(pattern.astype(np.float32), np.array([2.0]))
    found = dict(zip(filters.COLUMNS, row, strict=True))
    assert found["explained"] > 0.99
    assert found["frequency"] == pytest.approx(0.2, abs=0.01)
    assert found["alpha"] == 2
    assert found["colour"] > 0.5


def test_rows_are_in_the_order_of_the_patterns():
    patterns = np.stack([planted(12, f, 0, 0.0) for f in (0.3, 0.1, 0.2)])[:, None]
    rows = filters.describe(patterns, np.array([1.0, 2.0, 3.0]))
    assert [row[:2] for row in rows] == [(0, 1.0), (1, 2.0), (2, 3.0)]
    assert [row[2] for row in rows] == pytest.approx([0.3, 0.1, 0.2], abs=0.01)


# ------------------------------------------------------------------------------ order


def test_order_is_a_permutation():
    rng = np.random.default_rng(0)
    frequencies, colours = rng.uniform(0, 0.7, 50), rng.uniform(0, 1, 50)
    frequencies[:3] = 0
    found = filters.order(frequencies, rng.uniform(0, 180, 50), colours)
    assert sorted(found.tolist()) == list(range(50))


def test_order_is_by_colour_then_frequency_then_orientation():
    rows = [
        (0.40, 10, 0.9),
        (0.40, 50, 0.0),
        (0.10, 90, 0.2),
        (0.39, 20, 0.1),
        (0.00, 170, 0.0),
        (0.10, 30, 0.6),
    ]
    assert filters.order(*np.array(rows).T).tolist() == [4, 2, 3, 1, 5, 0]
