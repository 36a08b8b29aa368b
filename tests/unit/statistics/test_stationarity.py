"""Distances from stationary against loops, and of fields planted to be stationary or not."""

import functools
import itertools
import math

import numpy as np
import pytest

from deep_restoration.statistics import stationarity
from deep_restoration.statistics.spatial import SpatialMoments
from deep_restoration.statistics.stationarity import (
    COLUMNS,
    FORMS,
    curve,
    distance,
    inner,
    toeplitz,
)
from deep_restoration.statistics.streaming import BLOCKS, FeatureStatistics

SHAPES = [(1, 1), (1, 4), (4, 1), (2, 3), (4, 3), (3, 5)]
FIGURES = COLUMNS[3:]


def rng():
    return np.random.default_rng(0)


def some_matrix(shape):
    size = math.prod(shape)
    return rng().normal(1, 1, size=(size, size))


def places(shape):
    return list(itertools.product(range(shape[0]), range(shape[1])))


def toeplitz_by_loops(matrix, shape):
    """Each entry is the mean over all pairs of positions of the same displacement."""
    result, where = np.zeros_like(matrix), places(shape)
    for i, (y, x) in enumerate(where):
        for j, (v, u) in enumerate(where):
            alike = [
                matrix[k, l]
                for k, (b, a) in enumerate(where)
                for l, (d, c) in enumerate(where)  # noqa: E741
                if (d - b, c - a) == (v - y, u - x)
            ]
            result[i, j] = sum(alike) / len(alike)
    return result


def distance_by_loops(matrix, shape, border=0):
    keep = [
        i
        for i, (y, x) in enumerate(places(shape))
        if border <= y < shape[0] - border and border <= x < shape[1] - border
    ]
    part = np.array([[matrix[i, j] for j in keep] for i in keep])
    deviation = part - toeplitz_by_loops(part, (shape[0] - 2 * border, shape[1] - 2 * border))
    return math.sqrt((deviation**2).sum() / (part**2).sum())


def stationary_matrix(shape, autocovariance):
    where = places(shape)
    return np.array([[autocovariance(v - y, u - x) for v, u in where] for y, x in where])


# ------------------------------------------------------------------------------ the projection


@pytest.mark.parametrize("shape", SHAPES)
def test_toeplitz_is_the_mean_over_pairs_of_the_same_displacement(shape):
    matrix = some_matrix(shape)
    assert np.allclose(toeplitz(matrix, shape), toeplitz_by_loops(matrix, shape), atol=1e-14)


@pytest.mark.parametrize("shape", SHAPES)
def test_toeplitz_is_an_orthogonal_projection(shape):
    matrix = some_matrix(shape)
    found = toeplitz(matrix, shape)
    assert np.allclose(toeplitz(found, shape), found, atol=1e-14)
    steps = [range(1 - side, side) for side in shape]
    for down, across in itertools.product(*steps):
        basis = stationary_matrix(shape, lambda dy, dx, d=(down, across): float((dy, dx) == d))
        assert ((matrix - found) * basis).sum() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_toeplitz_of_a_symmetric_matrix_is_symmetric(shape):
    matrix = some_matrix(shape)
    found = toeplitz(matrix + matrix.T, shape)
    assert np.allclose(found, found.T, atol=1e-14)


@pytest.mark.parametrize("shape", SHAPES)
def test_toeplitz_leaves_a_stationary_matrix_as_it_is(shape):
    matrix = stationary_matrix(shape, lambda dy, dx: math.sin(3 * dy) + math.cos(dy * dx + 2 * dx))
    assert np.allclose(toeplitz(matrix, shape), matrix, atol=1e-14)


def test_blocks_of_toeplitz_are_toeplitz_and_so_are_their_places():
    blocks = toeplitz(some_matrix((3, 4)), (3, 4)).reshape(3, 4, 3, 4).transpose(0, 2, 1, 3)
    assert np.array_equal(blocks[:-1, :-1], blocks[1:, 1:])
    assert np.array_equal(blocks[..., :-1, :-1], blocks[..., 1:, 1:])


def test_rows_and_columns_are_not_confused():
    matrix = stationary_matrix((2, 6), lambda dy, dx: 5.0 * (dy == 0) + dx)
    assert np.allclose(toeplitz(matrix, (2, 6)), matrix, atol=1e-14)
    assert not np.allclose(toeplitz(matrix, (6, 2)), matrix, atol=0.1)


def test_no_other_stationary_matrix_is_nearer():
    shape = (3, 4)
    matrix = some_matrix(shape)
    found = toeplitz(matrix, shape)
    nearest = np.linalg.norm(matrix - found)
    for seed in range(20):
        table = np.random.default_rng(seed).normal(size=(5, 7))
        step = stationary_matrix(shape, lambda dy, dx, t=table: t[dy + 2, dx + 3])
        for size in (1e-3, 0.1, 1):
            assert np.linalg.norm(matrix - found - size * step) > nearest


# ------------------------------------------------------------------------------ distance


@pytest.mark.parametrize("border", [0, 1, 2, 3])
@pytest.mark.parametrize("shape", [*SHAPES, (5, 6)])
def test_inner_are_the_positions_away_from_the_edges(shape, border):
    expected = [
        i
        for i, (y, x) in enumerate(places(shape))
        if min(y, shape[0] - 1 - y, x, shape[1] - 1 - x) >= border
    ]
    assert inner(shape, border).tolist() == expected


@pytest.mark.parametrize(("shape", "border"), [((2, 3), 0), ((4, 5), 0), ((4, 5), 1), ((6, 7), 2)])
def test_distance_is_the_literal_formula(shape, border):
    matrix = some_matrix(shape)
    assert distance(matrix, shape, border) == pytest.approx(
        distance_by_loops(matrix, shape, border), rel=1e-12
    )


def test_distance_ignores_scale():
    matrix = some_matrix((3, 4))
    assert distance(-7 * matrix, (3, 4)) == pytest.approx(distance(matrix, (3, 4)), rel=1e-12)


def test_distance_ignores_what_is_outside_the_border():
    matrix = some_matrix((5, 4))
    changed = matrix.copy()
    outside = np.setdiff1d(np.arange(20), inner((5, 4), 1))
    changed[outside] = 100
    changed[:, outside] = -100
    assert distance(changed, (5, 4), 1) == distance(matrix, (5, 4), 1)


@pytest.mark.parametrize(
    ("shape", "border"),
    [((1, 1), 0), ((1, 5), 0), ((5, 1), 0), ((3, 6), 1), ((6, 3), 1), ((4, 4), 2), ((3, 3), 5)],
)
def test_distance_of_fewer_than_two_positions_on_a_side_is_nan(shape, border):
    assert math.isnan(distance(some_matrix(shape), shape, border))


def test_distance_of_nothing_is_nan():
    assert math.isnan(distance(np.zeros((9, 9)), (3, 3)))


# ------------------------------------------------------------------------------ planted fields

SHAPE = (6, 5)
KERNEL = np.array([[1, 2, 1], [2, 3, 2], [1, 2, 1]]) / 5
LEVELS = np.array([0.0, 1.0, 2.0, 5.0])
RAMP = np.linspace(0.5, 1.5, SHAPE[0])[:, None] * np.ones(SHAPE[1])


def planted(count, ramp=1.0, levels=LEVELS, seed=0):
    """White noise blurred, without the rim that the blur has too little to draw from."""
    height, width = SHAPE
    source = np.random.default_rng(seed)
    noise = source.normal(size=(count, len(levels), height + 2, width + 2))
    maps = np.zeros((count, len(levels), height, width))
    for y, x in np.ndindex(KERNEL.shape):
        maps += KERNEL[y, x] * noise[:, :, y : y + height, x : x + width]
    return maps * ramp + levels[:, None, None]


def true_covariance(form, ramp=1.0):
    def kernel(dy, dx):
        return sum(
            KERNEL[y, x] * KERNEL[y + dy, x + dx]
            for y, x in np.ndindex(KERNEL.shape)
            if 0 <= y + dy < 3 and 0 <= x + dx < 3
        )

    scale = (ramp * np.ones(SHAPE)).ravel()
    within = stationary_matrix(SHAPE, kernel) * np.outer(scale, scale)
    return within if form == "within" else within + LEVELS.var()


def statistics_of(maps):
    found = FeatureStatistics(*maps.shape[1:])
    found.add(maps)
    return found


def moments_of_covariances(*covariances, shape):
    """Blocks of one image and one channel of these covariances, which are not to be shrunk."""
    products = np.array(covariances)
    count, size, _ = products.shape
    norm = np.square(products.sum(0) / count).sum()
    maps, cubic = np.zeros((count, 1, size)), np.zeros((count, size))
    return SpatialMoments(shape, np.ones(count), maps, products, cubic, np.full(count, norm))


@functools.cache
def rows_of(kind):
    """Rows of a planted field, by form and border, in order of the images."""
    ramp = RAMP if kind == "ramp" else 1.0
    moments = statistics_of(planted(1280, ramp)).spatial_moments()
    rows = curve(moments, replicates=20)
    return {
        (form, border): [row for row in rows if (row["form"], row["border"]) == (form, border)]
        for form in FORMS
        for border in (0, 1)
    }


@pytest.mark.parametrize("form", ["covariance", "within"])
@pytest.mark.parametrize("border", [0, 1])
def test_stationary_field_is_stationary_within_the_interval(form, border):
    assert distance(true_covariance(form), SHAPE, border) == pytest.approx(0, abs=1e-14)
    for row in rows_of("stationary")[form, border]:
        assert row["noise_free_low"] == 0
        assert row["noise_free_high"] > 0
        assert row["expected"] == 0


@pytest.mark.parametrize("form", ["covariance", "within"])
@pytest.mark.parametrize("border", [0, 1])
def test_distance_falls_with_the_images(form, border):
    found = [row["distance"] for row in rows_of("stationary")[form, border]]
    assert all(a > b for a, b in itertools.pairwise(found))


@pytest.mark.parametrize("form", ["covariance", "within"])
def test_distance_of_a_stationary_field_is_noise(form):
    """Its square falls as one over the number of images."""
    rows = rows_of("stationary")[form, 0]
    ratio = rows[0]["distance"] / rows[-1]["distance"]
    assert ratio == pytest.approx(math.sqrt(rows[-1]["images"] / rows[0]["images"]), rel=0.4)


@pytest.mark.parametrize("form", ["covariance", "within"])
@pytest.mark.parametrize("border", [0, 1])
def test_field_of_growing_variance_is_as_far_as_it_truly_is(form, border):
    true = distance(true_covariance(form, RAMP), SHAPE, border)
    row = rows_of("ramp")[form, border][-1]
    assert row["noise_free_low"] > 0.7 * true
    width = row["noise_free_high"] - row["noise_free_low"]  # 4 standard deviations
    assert row["noise_free"] == pytest.approx(true, abs=width)
    assert row["noise_free"] < row["distance"]


def test_noise_free_of_few_images_is_right_on_average_where_distance_is_not():
    true, rows = distance(true_covariance("within", RAMP), SHAPE), []
    for seed in range(12):
        moments = statistics_of(planted(32, RAMP, seed=seed)).spatial_moments()
        rows.append(curve(moments, [0], forms=["within"], replicates=10)[-1])
    plain, free = (np.mean([row[name] for row in rows]) for name in ("distance", "noise_free"))
    assert plain > 1.05 * true
    assert abs(free - true) < 0.3 * (plain - true)


def test_levels_of_channels_flatter_the_covariance_but_not_within():
    rows = rows_of("ramp")
    assert rows["covariance", 0][-1]["noise_free"] < 0.2 * rows["within", 0][-1]["noise_free"]


@pytest.mark.parametrize(("border", "tolerance"), [(0, 0.1), (1, 0.3)])
def test_expected_is_what_the_precision_of_a_stationary_field_shows(border, tolerance):
    true = distance(np.linalg.inv(true_covariance("covariance")), SHAPE, border)
    row = rows_of("stationary")["precision", border][-1]
    assert true > 0.05
    assert row["expected"] == pytest.approx(true, rel=tolerance)
    assert row["distance"] == pytest.approx(row["expected"], rel=tolerance)
    assert row["noise_free"] == pytest.approx(row["expected"], rel=tolerance)


@pytest.mark.parametrize("border", [0, 1])
def test_precision_of_a_field_of_growing_variance_is_farther_than_expected(border):
    row = rows_of("ramp")["precision", border][-1]
    assert row["noise_free_low"] > 1.3 * row["expected"]


def test_expected_is_inside_the_interval_of_nearly_every_stationary_field():
    """In the row of all images. With the nearest Toeplitz matrix in place of the most likely one it is so of
    every third field."""
    inside = []
    for seed in range(20):
        moments = statistics_of(planted(200, seed=seed)).spatial_moments()
        draw = np.random.default_rng(seed)
        draws = {BLOCKS: [stationarity._draw(draw, BLOCKS, BLOCKS) for _ in range(20)]}
        measured = stationarity._precision(moments, "precision", [0], draws)[0][BLOCKS]
        row = stationarity._interval(np.array(measured), 0.95)
        expected = distance(stationarity._expected(moments, draws)[BLOCKS], SHAPE)
        inside.append(row["noise_free_low"] <= expected <= row["noise_free_high"])
    assert sum(inside) >= 18


# ------------------------------------------------------------------------------ the most likely field


def log_likelihood(field, covariance):
    """Of a Gaussian field, for a sample, but for a constant."""
    return -np.linalg.slogdet(field)[1] - np.trace(np.linalg.solve(field, covariance))


def step_by_loops(power, covariance, shape):
    """One step of expectation maximisation by the transform of every place of the torus, written out.

    Of samples y = P x of the whole torus x, the mean of |X(k)|^2 given y, over all y, is the new power.
    """
    height, width = power.shape
    torus = places((height, width))
    fourier = np.array(
        [
            [np.exp(-2j * np.pi * (k * y / height + m * x / width)) for y, x in torus]
            for k, m in torus
        ]
    ) / math.sqrt(height * width)
    whole = (fourier.conj().T * power.ravel()) @ fourier
    seen = [torus.index(place) for place in places(shape)]
    gain = whole[:, seen] @ np.linalg.inv(whole[np.ix_(seen, seen)])
    given = whole - gain @ whole[seen]  # covariance of x given y
    mean = gain @ covariance @ gain.conj().T + given
    found = np.einsum("ki,ij,kj->k", fourier, mean, fourier.conj())
    return found.real.reshape(height, width)


def periodogram(covariance, shape):
    """Its mean over samples of this covariance, on a torus of twice the height and width."""
    height, width = 2 * shape[0], 2 * shape[1]
    power = np.zeros((height, width))
    for k, m in np.ndindex(height, width):
        wave = [np.exp(-2j * np.pi * (k * y / height + m * x / width)) for y, x in places(shape)]
        power[k, m] = (np.array(wave) @ covariance @ np.conj(wave)).real / len(wave)
    return power


def window(power, shape):
    """The covariance of a field of this power on a window of its torus."""
    kernel = np.fft.ifft2(power).real
    return stationary_matrix(shape, lambda dy, dx: kernel[dy, dx])


def some_covariance(shape):
    root = rng().normal(size=(math.prod(shape), 2 * math.prod(shape)))
    ramp = np.linspace(0.5, 2, math.prod(shape))
    return np.outer(ramp, ramp) * (root @ root.T) / root.shape[1]


@pytest.mark.parametrize("shape", [(1, 3), (2, 2), (2, 3)])
def test_steps_to_the_most_likely_field_are_the_literal_ones(shape):
    covariance = some_covariance(shape)
    power = periodogram(covariance, shape)
    for iterations in range(3):
        found = stationarity.most_likely(covariance, shape, iterations)
        np.testing.assert_allclose(found, window(power, shape), rtol=1e-9, atol=1e-12)
        power = step_by_loops(power, covariance, shape)


@pytest.mark.parametrize("shape", [(2, 3), (4, 4)])
def test_every_step_makes_the_field_more_likely_than_the_nearest_is(shape):
    covariance = some_covariance(shape)
    fields = [stationarity.most_likely(covariance, shape, n) for n in (0, 1, 2, 5, 20, 100)]
    likelihoods = [log_likelihood(field, covariance) for field in fields]
    assert all(a < b for a, b in itertools.pairwise(likelihoods))
    nearest = toeplitz(covariance, shape)
    if np.linalg.eigvalsh(nearest)[0] > 0:
        assert likelihoods[-1] > log_likelihood(nearest, covariance)
    for field in fields:
        assert np.linalg.eigvalsh(field)[0] > 0
        assert np.allclose(field, toeplitz(field, shape), rtol=0, atol=1e-12)


def test_the_most_likely_field_is_positive_where_the_nearest_matrix_is_not():
    vector = np.array([1.0, -2.0, 0.0, 3.0])
    covariance = np.outer(vector, vector) + 0.05 * np.eye(4)
    assert np.linalg.eigvalsh(toeplitz_by_loops(covariance, (2, 2)))[0] < 0
    assert np.linalg.eigvalsh(stationarity.most_likely(covariance, (2, 2)))[0] > 0


def test_of_a_stationary_covariance_it_is_that_covariance():
    true = true_covariance("covariance")
    found = stationarity.most_likely(true, SHAPE)
    assert np.linalg.norm(found - true) < 1e-3 * np.linalg.norm(true)
    inverse, expected = np.linalg.inv(found), np.linalg.inv(true)
    assert distance(inverse, SHAPE) == pytest.approx(distance(expected, SHAPE), rel=0.02)


def test_the_most_likely_field_varies_less_than_the_nearest():
    """So that its inverse says what that of the true field does: the root mean square error is less than
    half of what the nearest one leaves."""
    true = distance(np.linalg.inv(true_covariance("covariance")), SHAPE)
    errors = []
    for seed in range(8):
        samples = planted(200, seed=seed).reshape(-1, 30)
        covariance = np.cov(samples.T, bias=True)
        fields = toeplitz(covariance, SHAPE), stationarity.most_likely(covariance, SHAPE)
        errors.append([distance(np.linalg.inv(field), SHAPE) - true for field in fields])
    nearest, likely = np.sqrt(np.square(errors).mean(0))
    assert likely < 0.5 * nearest


def test_stationary_precision_is_the_inverse_of_the_shrunk_field():
    field = true_covariance("covariance")
    shrunk = 0.7 * field + 0.3 * np.trace(field) / 30 * np.eye(30)
    found = stationarity.stationary_precision(field, 0.3)
    assert np.allclose(found, np.linalg.inv(shrunk), rtol=1e-9, atol=1e-12)


def test_constant_maps_have_no_precision():
    zeros = np.zeros((6, 6))
    assert not stationarity.most_likely(zeros, (2, 3)).any()
    assert not stationarity.stationary_precision(zeros, 0.5, 4).any()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "covariance",
    [
        np.ones((16, 16)),  # constant over positions
        np.outer(*2 * [np.cos(np.arange(16) * np.pi / 2)]),  # one wave
        np.diag([0.0] * 15 + [1.0]),  # one live position
        1e-30 * np.eye(16),
    ],
)
def test_fields_of_few_waves_have_finite_precisions(covariance):
    field = stationarity.most_likely(covariance, (4, 4))
    assert np.trace(field) == pytest.approx(np.trace(covariance), rel=1e-4)
    for share in (0.0, 0.1):
        assert np.isfinite(stationarity.stationary_precision(field, share, 20)).all()


def test_expected_is_the_distance_of_the_precision_of_the_most_likely_field():
    covariance = true_covariance("covariance", RAMP) + np.eye(30)
    moments = moments_of_covariances(covariance, covariance, shape=SHAPE)
    field = stationarity.most_likely(covariance, SHAPE)
    for row in curve(moments, [0, 1, 3], forms=["precision"], replicates=1)[:2]:
        expected = distance_by_loops(np.linalg.inv(field), SHAPE, row["border"])
        assert row["expected"] == pytest.approx(expected, rel=1e-9)


# ------------------------------------------------------------------------------ rows against formulas


@pytest.mark.parametrize("count", [3, 12, 32, 75])
@pytest.mark.parametrize("border", [0, 1])
def test_distance_of_all_images_is_that_of_their_matrix(count, border):
    found = statistics_of(planted(count))
    moments = found.spatial_moments()
    samples = planted(count).reshape(count, 4, 30)
    centred = (samples - samples.mean(0)).reshape(-1, 30)
    expected = {
        "covariance": found.covariance,
        "within": centred.T @ centred / len(centred),
        "precision": moments.sum().precision(),
    }
    rows = curve(moments, [border], replicates=3)
    last = {row["form"]: row for row in rows}
    assert list(last) == list(expected)
    for form, matrix in expected.items():
        assert last[form]["images"] == count
        assert last[form]["distance"] == pytest.approx(distance(matrix, SHAPE, border), rel=1e-9)


@pytest.mark.parametrize("form", ["covariance", "precision"])
def test_noise_free_of_two_blocks_is_the_product_of_their_deviations(form):
    maps = planted(2)
    moments = statistics_of(maps).spatial_moments()
    mean = maps.reshape(-1, 30).mean(0)
    halves = []
    for image in maps:
        centred = image.reshape(-1, 30) - mean
        alone = statistics_of(image[None]).spatial_moments().sum()
        halves.append(centred.T @ centred if form == "covariance" else alone.precision())
    deviations = [half - toeplitz_by_loops(half, SHAPE) for half in halves]
    expected = (deviations[0] * deviations[1]).sum() / (halves[0] * halves[1]).sum()
    (row,) = curve(moments, [0], forms=[form], replicates=4)
    assert row["noise_free"] == pytest.approx(math.sqrt(max(expected, 0)), rel=1e-9)


@pytest.mark.parametrize("form", ["covariance", "within"])
def test_opposite_deviations_are_noise_and_the_same_ones_are_not(form):
    rising = np.diag(np.linspace(0.5, 1.5, 6))
    falling, options = rising[::-1, ::-1], {"forms": [form], "replicates": 2}
    (row,) = curve(moments_of_covariances(rising, falling, shape=(2, 3)), [0], **options)
    assert (row["distance"], row["noise_free"]) == (0, 0)
    (row,) = curve(moments_of_covariances(rising, 2 * rising, shape=(2, 3)), [0], **options)
    expected = distance_by_loops(rising, (2, 3))
    assert row["distance"] == pytest.approx(expected, rel=1e-9)
    assert row["noise_free"] == pytest.approx(expected, rel=1e-9)


def test_images_double_until_all_are_there():
    found = curve(statistics_of(planted(5)).spatial_moments(), [0], forms=["within"], replicates=2)
    assert [row["images"] for row in found] == [2, 4, 5]
    found = curve(statistics_of(planted(64)).spatial_moments(), [0], forms=["within"], replicates=2)
    assert [row["images"] for row in found] == [4, 8, 16, 32, 64]
    assert len(found) == BLOCKS.bit_length() - 1


def test_rows_are_those_of_the_forms_and_borders_asked_for():
    moments = statistics_of(planted(8)).spatial_moments()
    rows = curve(moments, [2, 0], forms=["precision", "within"], replicates=2)
    expected = [(f, b, n) for f in ("precision", "within") for b in (2, 0) for n in (2, 4, 8)]
    assert [(row["form"], row["border"], row["images"]) for row in rows] == expected
    assert all(tuple(row) == COLUMNS for row in rows)
    kinds = {type(row[name]) for row in rows for name in FIGURES}
    assert all(issubclass(kind, float) for kind in kinds)


def test_borders_are_0_and_1_unless_asked_otherwise():
    rows = curve(statistics_of(planted(4)).spatial_moments(), replicates=1)
    assert {row["border"] for row in rows} == {0, 1}
    assert {row["form"] for row in rows} == set(FORMS)


def test_same_seed_gives_the_same_rows():
    moments = statistics_of(planted(20)).spatial_moments()
    rows = curve(moments, replicates=3, seed=5)
    assert curve(moments, replicates=3, seed=5) == rows
    assert curve(moments, replicates=3, seed=6) != rows


def test_other_forms_and_borders_leave_a_row_as_it_is():
    moments = statistics_of(planted(20)).spatial_moments()
    alone = curve(moments, [1], forms=["precision"], replicates=3)
    rows = curve(moments, [0, 1, 2], replicates=3)
    assert [row for row in rows if (row["form"], row["border"]) == ("precision", 1)] == alone


@pytest.mark.parametrize("name", ["distance", "noise_free"])
def test_intervals_widen_with_their_level(name):
    moments = statistics_of(planted(64, RAMP)).spatial_moments()
    widths = []
    for level in (0.5, 0.95):
        row = curve(moments, [0], forms=["within"], level=level)[-1]
        assert row[f"{name}_low"] <= row[name] <= row[f"{name}_high"]
        widths.append(row[f"{name}_high"] - row[f"{name}_low"])
    assert 0 < widths[0] < widths[1]


def test_intervals_of_a_stationary_covariance_narrow_with_the_images():
    found = [row["noise_free_high"] for row in rows_of("stationary")["within", 0]]
    assert found[-1] < 0.6 * found[0]


# ------------------------------------------------------------------------------ little to go by


@pytest.mark.parametrize("count", [2, 3, BLOCKS - 1])
@pytest.mark.parametrize("form", FORMS)
def test_few_images_have_rows_of_figures(count, form):
    rows = curve(statistics_of(planted(count)).spatial_moments(), forms=[form], replicates=3)
    assert rows[-1]["images"] == count
    assert all(math.isfinite(row[name]) for row in rows for name in FIGURES)


@pytest.mark.parametrize("form", FORMS)
def test_one_image_has_no_halves(form):
    rows = curve(statistics_of(planted(1)).spatial_moments(), forms=[form], replicates=3)
    assert [row["images"] for row in rows] == [1, 1]
    assert all(math.isnan(row[name]) for row in rows for name in COLUMNS[6:9])
    if form != "within":  # a channel's only map is its mean
        assert all(math.isfinite(row["distance"]) for row in rows)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [(1, 1), (1, 4), (4, 1)])
@pytest.mark.parametrize("count", [2, 40])
def test_grid_without_two_positions_on_a_side_says_nothing(form, size, count):
    maps = planted(count)[:, :, : size[0], : size[1]]
    rows = curve(statistics_of(maps).spatial_moments(), [0, 1, 3], forms=[form], replicates=2)
    assert {row["border"] for row in rows} == {0, 1, 3}
    assert all(math.isnan(row[name]) for row in rows for name in FIGURES[:-1])


@pytest.mark.parametrize("form", FORMS)
def test_border_that_leaves_nothing_says_nothing_and_spoils_no_other(form):
    moments = statistics_of(planted(6)).spatial_moments()
    rows = curve(moments, [0, 2, 9], forms=[form], replicates=2)
    for row in rows:
        finite = [math.isfinite(row[name]) for name in FIGURES[:-1]]
        assert all(finite) if row["border"] == 0 else not any(finite)


@pytest.mark.parametrize("value", [0.0, 3.0])
@pytest.mark.parametrize("form", FORMS)
def test_constant_maps_say_nothing(form, value):
    moments = statistics_of(np.full((6, 3, 4, 4), value)).spatial_moments()
    rows = curve(moments, forms=[form], replicates=2)
    assert all(math.isnan(row[name]) for row in rows for name in FIGURES[:-1])


def test_moments_of_one_block_are_those_of_one_image():
    """A sum of blocks has no halves either."""
    moments = statistics_of(planted(40)).spatial_moments().sum()
    assert isinstance(moments, SpatialMoments)
    (row,) = curve(moments, [0], forms=["covariance"], replicates=2)
    assert row["images"] == 40
    assert math.isfinite(row["distance"])
    assert math.isnan(row["noise_free"])


# ------------------------------------------------------------------------------ inverses of few samples


def exponential(shape, length):
    """The covariance exp(-distance / length): a stationary field."""
    return stationary_matrix(shape, lambda dy, dx: math.exp(-math.hypot(dy, dx) / length))


def test_attenuation_is_the_literal_fixed_point():
    own, added, samples = np.array([0.1, 1.0, 2.5, 7.0]), 0.4, 9.0
    delta = 0.0
    for _ in range(500):
        delta = sum(a / (a / (1 + delta) + added) for a in own) / samples
    found = stationarity._attenuation(own, added, samples)
    assert found == pytest.approx(1 / (1 + delta), rel=1e-9)
    assert 0.5 < found < 0.9
    assert stationarity._attenuation(own, 0.0, samples) == 1
    assert stationarity._attenuation(own, added, math.inf) == 1
    assert stationarity._attenuation(0 * own, added, samples) == 1


@pytest.mark.parametrize("samples", [15, 25, 60])
def test_few_samples_shrink_the_mean_of_inverses(samples):
    """Against the mean over drawn covariances, each shrunk by the same share."""
    shape, share = (3, 4), 0.3
    true = exponential(shape, 2.0)
    draws = rng().standard_normal((8000, samples, 12)) @ np.linalg.cholesky(true).T
    covariances = draws.transpose(0, 2, 1) @ draws / samples
    mean = np.linalg.inv((1 - share) * covariances + share * np.eye(12)).mean(0)
    errors = [
        np.linalg.norm(stationarity.stationary_precision(true, share, count) - mean)
        for count in (samples, math.inf)
    ]
    assert errors[1] > 0.04 * np.linalg.norm(mean)
    assert errors[0] < 0.15 * errors[1]


def test_channels_that_are_alike_count_once():
    draw = rng().standard_normal((400, 6, 1, 9)) @ np.linalg.cholesky(exponential((3, 3), 1.0)).T
    worth = {
        name: stationarity._samples_an_image(statistics_of(maps).spatial_moments())
        for name, maps in {
            "independent": draw.reshape(400, 6, 3, 3),
            "equal": np.tile(draw[:, :1], (1, 6, 1, 1)).reshape(400, 6, 3, 3),
            "levels": draw.reshape(400, 6, 3, 3) + 9 * np.arange(6.0)[:, None, None],
        }.items()
    }
    assert worth["independent"] == pytest.approx(6, rel=0.25)
    assert worth["equal"] == pytest.approx(1, rel=0.25)
    assert worth["levels"] == pytest.approx(worth["independent"])
