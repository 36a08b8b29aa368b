"""Patches against literal formulas."""

import numpy as np
import pytest

from deep_restoration import patches
from deep_restoration.patches import Moments, Whitening


def rng():
    return np.random.default_rng(0)


# ------------------------------------------------------------------------------ plan, gather


def test_plan_draws_the_count_within_the_positions():
    shares = patches.plan(1000, 7, 30, rng())
    assert len(shares) == 7
    assert sum(map(len, shares)) == 1000
    assert all(share.min() >= 0 and share.max() < 30 for share in shares)


def test_plan_is_uniform_over_maps_and_positions():
    counts = np.zeros((6, 20))
    source = rng()
    for _ in range(400):
        for index, share in enumerate(patches.plan(60, 6, 20, source)):
            np.add.at(counts[index], share, 1)
    expected = 400 * 60 / counts.size
    statistic = np.square(counts - expected).sum() / expected
    assert statistic < 119 + 4 * np.sqrt(2 * 119)  # chi-square with 119 degrees of freedom
    assert counts.sum() == 24_000


def test_plan_repeats_no_position_while_they_last():
    for share in patches.plan(200, 10, 100, rng()):
        assert len(set(share.tolist())) == len(share)


def test_plan_of_few_patches_leaves_maps_empty():
    shares = patches.plan(3, 50, 10, rng())
    assert sum(map(len, shares)) == 3
    assert sum(len(share) == 0 for share in shares) >= 47


def test_plan_repeats_positions_where_they_run_out():
    shares = patches.plan(100, 2, 5, rng())
    assert sum(map(len, shares)) == 100


@pytest.mark.parametrize(("shape", "size"), [((3, 7, 9), 3), ((2, 5, 5), 5), ((4, 6, 3), 1)])
def test_gather_slices(shape, size):
    maps = rng().normal(size=shape)
    columns = shape[2] - size + 1
    positions = np.arange((shape[1] - size + 1) * columns)[::-1]
    found = patches.gather(maps, size, positions)
    assert found.shape == (len(positions), shape[0], size, size)
    for patch, position in zip(found, positions, strict=True):
        row, column = position // columns, position % columns
        assert np.array_equal(patch, maps[:, row : row + size, column : column + size])


def test_gather_of_no_position_is_empty():
    found = patches.gather(np.ones((3, 5, 5)), 2, np.empty(0, np.int64))
    assert found.shape == (0, 3, 2, 2)


# ------------------------------------------------------------------------------ DC


@pytest.mark.parametrize("mode", patches.DC_MODES)
def test_remove_dc_subtracts_the_mean(mode):
    batch = rng().normal(5, 1, size=(4, 3, 2, 2))
    found = patches.remove_dc(batch, mode).reshape(batch.shape)
    for patch, result in zip(batch, found, strict=True):
        for channel in range(3):
            mean = {"patch": patch.mean(), "channel": patch[channel].mean(), "none": 0}[mode]
            assert np.allclose(result[channel], patch[channel] - mean)


@pytest.mark.parametrize("mode", patches.DC_MODES)
def test_dc_matrix_is_remove_dc(mode):
    batch = rng().normal(size=(9, 3, 4, 4))
    matrix = patches.dc_matrix((3, 4, 4), mode)
    assert np.allclose(batch.reshape(9, -1) @ matrix.T, patches.remove_dc(batch, mode))
    assert np.allclose(matrix @ matrix, matrix)


def test_unknown_dc_names_what_is_allowed():
    with pytest.raises(ValueError, match="'mean'; allowed: patch, channel, none"):
        patches.remove_dc(np.ones((1, 1, 2, 2)), "mean")


# ------------------------------------------------------------------------------ moments, whitening


def samples(count=500, dimensions=6):
    source = rng()
    return (
        source.normal(size=(count, dimensions)) @ source.normal(size=(dimensions, dimensions)) + 3
    )


def test_streamed_moments_are_those_of_the_whole():
    data, moments = samples(), Moments(6)
    for part in np.array_split(data, 7):
        moments.add(part.astype(np.float64))
    assert moments.count == 500
    assert np.allclose(moments.mean, data.mean(axis=0))
    assert np.allclose(moments.covariance, np.cov(data.T, bias=True))


def test_moments_of_float32_are_summed_in_float64():
    data = np.full((1000, 1), 16_777_217 / 16_777_216, np.float32) * np.float32(0.1)
    moments = Moments(1)
    moments.add(data)
    assert moments.total[0] == pytest.approx(float(data[0, 0]) * 1000, rel=1e-13)


@pytest.mark.parametrize("dimensions", [1, 4, 6])
def test_whitened_data_have_identity_covariance(dimensions):
    data, moments = samples(), Moments(6)
    moments.add(data)
    whitening = Whitening.fit(moments)
    white = (data - whitening.mean) @ whitening.matrix(dimensions).T
    assert white.shape == (500, dimensions)
    assert np.allclose(white.mean(axis=0), 0)
    assert np.allclose(np.cov(white.T, bias=True), np.eye(dimensions))


def test_eigenvectors_rebuild_the_covariance_largest_first():
    moments = Moments(6)
    moments.add(samples())
    whitening = Whitening.fit(moments)
    rows = whitening.eigenvectors
    assert np.all(np.diff(whitening.eigenvalues) <= 0)
    assert np.allclose(rows @ rows.T, np.eye(6))
    assert np.allclose(rows.T @ np.diag(whitening.eigenvalues) @ rows, moments.covariance)
    assert all(row[np.abs(row).argmax()] > 0 for row in rows)


def test_rank_counts_the_dimensions_that_vary():
    moments = Moments(12)
    moments.add(patches.remove_dc(rng().normal(size=(300, 3, 2, 2)), "channel"))
    whitening = Whitening.fit(moments)
    assert whitening.rank() == 9
    assert np.all(whitening.eigenvalues >= 0)
    assert np.isfinite(whitening.matrix(9)).all()


@pytest.mark.parametrize("dimensions", [0, 10, 13])
def test_more_dimensions_than_the_data_span_are_refused(dimensions):
    moments = Moments(12)
    moments.add(patches.remove_dc(rng().normal(size=(300, 3, 2, 2)), "channel"))
    with pytest.raises(ValueError, match=f"{dimensions} dimensions; the data span 9"):
        Whitening.fit(moments).matrix(dimensions)
