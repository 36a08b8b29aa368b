"""Statistics of feature maps against slow, literal formulas in float64."""

import itertools

import numpy as np
import pytest

from deep_restoration import statistics
from deep_restoration.statistics import FeatureStatistics, gini, window


def rng():
    return np.random.default_rng(0)


# ------------------------------------------------------------------------------ Gini


def gini_by_loops(values):
    c = sorted(abs(float(v)) for v in values)
    total, n = sum(c), len(c)
    result = 1.0
    for k in range(1, n + 1):
        result -= 2 * c[k - 1] / total * (n - k + 0.5) / n
    return result


def gini_by_pairs(values):
    """Half the relative mean absolute difference, another definition of the same index."""
    c = [abs(float(v)) for v in values]
    differences = sum(abs(a - b) for a, b in itertools.product(c, c))
    return differences / (2 * len(c) * sum(c))


@pytest.mark.parametrize("n", [1, 2, 5, 100])
def test_gini_of_equal_values_is_0(n):
    assert gini(np.full(n, -3.0)) == pytest.approx(0, abs=1e-14)


@pytest.mark.parametrize("n", [1, 2, 5, 100])
def test_gini_of_a_single_value_is_1_minus_1_over_n(n):
    assert gini(np.eye(n)[0]) == pytest.approx(1 - 1 / n, abs=1e-14)


def test_gini_of_zeros_is_0():
    assert gini(np.zeros((2, 4))).tolist() == [0, 0]


@pytest.mark.parametrize("definition", [gini_by_loops, gini_by_pairs])
def test_gini_is_the_textbook_formula(definition):
    values = rng().normal(size=(3, 4, 11))
    values[values < 0.2] = 0
    values[0, 0, 0] = -1.0
    found = gini(values)
    assert found.shape == (3, 4)
    for index in np.ndindex(3, 4):
        assert found[index] == pytest.approx(definition(values[index]), abs=1e-13)


def test_gini_ignores_scale_sign_and_order():
    values = rng().normal(size=20)
    assert gini(-7 * values[::-1]) == pytest.approx(gini(values), abs=1e-14)


# ------------------------------------------------------------------------------ window


@pytest.mark.parametrize("most", [4, 5, 9, 24, 1024])
@pytest.mark.parametrize(
    ("height", "width"),
    [(1, 1), (1, 7), (7, 1), (2, 3), (5, 5), (13, 13), (3, 400), (400, 3), (55, 55), (1, 5000)],
)
def test_window_is_central_within_the_map_and_the_bound(height, width, most):
    rows, columns = window(height, width, most)
    tall, wide = rows.stop - rows.start, columns.stop - columns.start
    assert 1 <= tall * wide <= most
    assert rows.start >= 0
    assert columns.start >= 0
    assert abs(rows.start - (height - rows.stop)) <= 1
    assert abs(columns.start - (width - columns.stop)) <= 1
    if height * width <= most:
        assert (tall, wide) == (height, width)
    else:
        assert tall * wide > most / 2


def test_window_of_a_large_square_map_is_square():
    rows, columns = window(100, 100, 1024)
    assert rows == columns == slice(34, 66)


# ------------------------------------------------------------------------------ FeatureStatistics


def measured(maps, most=1024, batches=3):
    found = FeatureStatistics(*maps.shape[1:], most)
    for part in np.array_split(maps, batches):
        found.add(part)
    return found


def some_maps(shape=(7, 4, 3, 5)):
    return np.maximum(rng().normal(0.3, 1, size=shape), 0).astype(np.float32)


def test_covariance_is_that_of_the_stacked_channels():
    maps = some_maps()
    stacked = np.array([channel.ravel() for image in maps for channel in image], np.float64)
    assert np.allclose(measured(maps).covariance, np.cov(stacked.T, bias=True), atol=1e-12)


def test_covariance_of_a_large_map_is_that_of_its_window():
    maps = some_maps((6, 3, 6, 9))
    found = measured(maps, most=12)
    rows, columns = window(6, 9, 12)
    stacked = maps[:, :, rows, columns].reshape(18, -1).astype(np.float64)
    assert found.shape == (rows.stop - rows.start, columns.stop - columns.start)
    assert np.allclose(found.covariance, np.cov(stacked.T, bias=True), atol=1e-12)


def test_gram_by_loops():
    maps = some_maps()
    n, channels, height, width = maps.shape
    expected = np.zeros((channels, channels))
    for image in maps.astype(np.float64):
        for a in range(channels):
            for b in range(channels):
                for y in range(height):
                    for x in range(width):
                        expected[a, b] += image[a, y, x] * image[b, y, x] / (height * width) / n
    assert np.allclose(measured(maps).gram, expected, atol=1e-12)


def test_sparsity_of_images_and_channels_by_loops():
    maps = some_maps()
    maps[2, 1] = 0
    found = measured(maps)
    images = [gini_by_loops(image.ravel()) for image in maps]
    channels = [
        np.mean([gini_by_loops(c.ravel()) if c.any() else 0 for c in maps[:, channel]])
        for channel in range(maps.shape[1])
    ]
    assert found.count == len(maps)
    assert np.allclose(found.gini_images, images)
    assert np.allclose(found.gini_channels, channels)
    assert found.zeros == pytest.approx(sum(v == 0 for v in maps.ravel()) / maps.size)


def test_batches_make_no_difference():
    maps = some_maps()
    one, many = measured(maps, batches=1), measured(maps, batches=7)
    for name in ("covariance", "gram", "gini_channels", "zeros", "gini_images"):
        assert np.allclose(getattr(one, name), getattr(many, name), atol=1e-13)


def test_vectors_have_statistics_of_one_position():
    maps = some_maps((5, 8, 1, 1))
    found = measured(maps)
    assert found.covariance.shape == (1, 1)
    assert found.covariance[0, 0] == pytest.approx(maps.astype(np.float64).var())
    assert np.allclose(found.gini_channels, 0)


# ------------------------------------------------------------------------------ inverse and rank


def test_pseudo_inverse_fulfils_the_four_conditions():
    factor = rng().normal(size=(6, 3))
    a = factor @ factor.T
    b = statistics.pseudo_inverse(a)
    assert np.allclose(b, np.linalg.pinv(a))
    assert np.allclose(a @ b @ a, a)
    assert np.allclose(b @ a @ b, b)
    assert np.allclose((a @ b).T, a @ b)
    assert np.allclose((b @ a).T, b @ a)


def test_pseudo_inverse_of_a_regular_matrix_is_its_inverse():
    a = np.diag([1.0, 2.0, 4.0])
    assert np.allclose(statistics.pseudo_inverse(a), np.diag([1, 0.5, 0.25]))


@pytest.mark.parametrize("n", [1, 2, 17])
def test_effective_rank_of_the_identity_is_n(n):
    assert statistics.effective_rank(3 * np.eye(n)) == pytest.approx(n)


def test_effective_rank_of_a_projection_is_its_rank():
    basis = np.linalg.qr(rng().normal(size=(9, 4)))[0]
    assert statistics.effective_rank(basis @ basis.T) == pytest.approx(4)


def test_effective_rank_is_exp_of_the_entropy():
    values = [5.0, 2.0, 0.5]
    entropy = -sum(v / 7.5 * np.log(v / 7.5) for v in values)
    assert statistics.effective_rank(np.diag(values)) == pytest.approx(np.exp(entropy))
