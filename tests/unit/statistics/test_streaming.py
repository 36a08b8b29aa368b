"""Statistics of feature maps against slow, literal formulas in float64."""

import functools
import io
import itertools
import math

import h5py
import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
from sklearn.covariance import ledoit_wolf

from deep_restoration.files.hdf5 import create_hdf5, open_hdf5, read_arrays
from deep_restoration.statistics import comparison, spatial, streaming
from deep_restoration.statistics.comparison import compare, style_distance
from deep_restoration.statistics.sparsity import gini, hoyer, kurtosis, treves_rolls
from deep_restoration.statistics.spatial import SpatialMoments
from deep_restoration.statistics.streaming import (
    BLOCKS,
    CHANNEL_MEASURES,
    IMAGE_MEASURES,
    FeatureStatistics,
    Grid,
)


def rng():
    return np.random.default_rng(0)


def some_maps(shape=(7, 4, 3, 5), signed=False):
    """Smooth noise of unequal channels, with the zeros of a ReLU."""
    source = rng()
    count, channels, height, width = shape
    noise = source.normal(size=(count, channels, height + 1, width))
    noise = noise[:, :, 1:] + 0.8 * noise[:, :, :-1]
    scales, levels = (source.uniform(*ends, (channels, 1, 1)) for ends in ((0.5, 2), (-0.4, 0.6)))
    noise = scales * noise + levels
    return noise if signed else np.maximum(noise, 0)


def measured(maps, batches=1, **options):
    found, first = FeatureStatistics(*maps.shape[1:], **options), 0
    for part in np.array_split(maps, batches):
        found.add(part, first=first)
        first += len(part)
    return found


def close(found, expected, relative=1e-9):
    np.testing.assert_allclose(found, expected, rtol=relative, atol=1e-12)


# ------------------------------------------------------------------------------ literal formulas


def grid_by_loops(height, width, most):
    """Row-major (row, column) of the positions on the grid."""
    step = 1
    while math.ceil(height / step) * math.ceil(width / step) > most:
        step += 1
    sides = []
    for side in (height, width):
        left_over = (side - 1) % step
        sides.append(range(left_over // 2, side, step))
    return list(itertools.product(*sides))


def gini_by_loops(values):
    c = sorted(abs(float(v)) for v in values)
    total, n = sum(c), len(c)
    if total == 0:
        return 0.0
    result = 1.0
    for k in range(1, n + 1):
        result -= 2 * c[k - 1] / total * (n - k + 0.5) / n
    return result


def gini_by_pairs(values):
    """Half the relative mean absolute difference, another definition of the same index."""
    c = [abs(float(v)) for v in values]
    differences = sum(abs(a - b) for a, b in itertools.product(c, c))
    return differences / (2 * len(c) * sum(c))


def hoyer_by_loops(values):
    n, l1, l2 = len(values), sum(abs(v) for v in values), math.sqrt(sum(v * v for v in values))
    return (math.sqrt(n) - l1 / l2) / (math.sqrt(n) - 1) if n > 1 and l2 > 0 else 0.0


def treves_rolls_by_loops(values):
    n = len(values)
    mean, square = sum(abs(v) for v in values) / n, sum(v * v for v in values) / n
    return (1 - mean**2 / square) / (1 - 1 / n) if n > 1 and square > 0 else 0.0


def kurtosis_by_loops(values):
    mean = sum(values) / len(values)
    second, fourth = (sum((v - mean) ** power for v in values) / len(values) for power in (2, 4))
    return fourth / second**2 - 3 if second > 0 else math.nan


def covariance_by_loops(samples):
    mean = sum(samples) / len(samples)
    return sum(np.outer(sample - mean, sample - mean) for sample in samples) / len(samples)


def grams_by_loops(image):
    """F F' / (H W) of one image, raw and with the means of its channels taken out."""
    rows = image.reshape(len(image), -1)
    centred = np.array([row - row.sum() / len(row) for row in rows])
    return [np.array([[a @ b for b in f] for a in f]) / rows.shape[1] for f in (rows, centred)]


def spread_by_pairs(grams):
    found = [((a - b) ** 2).sum() / (4 * len(a) ** 2) for a, b in itertools.combinations(grams, 2)]
    return sum(found) / len(found) if found else math.nan


def autocovariance_by_loops(maps, grid, radius):
    _, channels, height, width = maps.shape
    mean = maps.mean((0, 2, 3))
    result = np.full((2 * radius + 1, 2 * radius + 1, channels, channels), np.nan)
    for dy, dx in itertools.product(range(radius + 1), range(-radius, radius + 1)):
        if dy == 0 and dx < 0:
            continue
        pairs = [
            np.outer(image[:, y, x] - mean, image[:, y + dy, x + dx] - mean)
            for image in maps
            for y, x in grid
            if y + dy < height and 0 <= x + dx < width
        ]
        if pairs:
            result[radius + dy, radius + dx] = sum(pairs) / len(pairs)
            result[radius - dy, radius - dx] = (sum(pairs) / len(pairs)).T
    return result


def literal(maps, positions=400, radius=2):
    """Every property by its definition."""
    maps = maps.astype(np.float64)
    count, channels, height, width = maps.shape
    grid = grid_by_loops(height, width, positions)
    seen = np.array([[[channel[p] for p in grid] for channel in image] for image in maps])
    grams = [grams_by_loops(image) for image in maps]
    of_images = [
        (
            gini_by_loops(seen[i].ravel()),
            hoyer_by_loops(image.ravel()),
            sum(v == 0 for v in image.ravel()) / image.size,
            kurtosis_by_loops(image.ravel()),
            np.mean([treves_rolls_by_loops(v) for v in image.reshape(channels, -1).T]),
        )
        for i, image in enumerate(maps)
    ]
    of_channels = [
        (
            np.mean([gini_by_loops(seen[i, c]) for i in range(count)]),
            hoyer_by_loops(maps[:, c].ravel()),
            sum(v == 0 for v in maps[:, c].ravel()) / (count * height * width),
            kurtosis_by_loops(maps[:, c].ravel()),
            treves_rolls_by_loops(maps[:, c].ravel()),
        )
        for c in range(channels)
    ]
    return {
        "count": count,
        "covariance": covariance_by_loops(seen.reshape(count * channels, -1)),
        "channel_means": maps.mean((0, 2, 3)),
        "channel_covariance": covariance_by_loops(
            [image[:, y, x] for image in maps for y in range(height) for x in range(width)]
        ),
        "autocovariance": autocovariance_by_loops(
            maps, grid_by_loops(height, width, max(1, positions // 4)), radius
        ),
        "gram": sum(raw for raw, _ in grams) / count,
        "gram_centred": sum(centred for _, centred in grams) / count,
        "style_spread": tuple(spread_by_pairs([pair[k] for pair in grams]) for k in (0, 1)),
        "of_images": np.array(of_images),
        "of_channels": np.array(of_channels),
    }


CASES = {
    "small": {"shape": (7, 4, 3, 5)},
    "signed": {"shape": (6, 3, 4, 5), "signed": True},
    "grid of every second": {"shape": (5, 3, 7, 10), "positions": 20},
    "grid of every third": {"shape": (5, 2, 2, 11), "positions": 4, "radius": 1},
    "grid of one": {"shape": (5, 3, 4, 3), "positions": 1},
    "tall, radius 0": {"shape": (6, 3, 9, 2), "positions": 10, "radius": 0},
    "radius beyond the map": {"shape": (4, 3, 2, 3), "radius": 4},
    "vectors": {"shape": (9, 6, 1, 1)},
    "one channel": {"shape": (5, 1, 4, 4)},
    "one image": {"shape": (1, 3, 4, 5)},
}
RUNS = [(name, "float64") for name in CASES]
RUNS += [(name, "float32") for name in ("small", "signed", "grid of every second", "vectors")]
NAMES = "count covariance channel_means channel_covariance autocovariance gram gram_centred style_spread"


@functools.cache
def case(name, dtype):
    """Statistics of a case by the module and by literal formulas."""
    options = dict(CASES[name])
    maps = some_maps(options.pop("shape"), options.pop("signed", False)).astype(dtype)
    return measured(maps, **options), literal(maps, **options)


# ------------------------------------------------------------------------------ the properties


@pytest.mark.parametrize("property_name", NAMES.split())
@pytest.mark.parametrize(("name", "dtype"), RUNS)
def test_property_is_the_literal_formula(name, property_name, dtype):
    found, expected = case(name, dtype)
    close(getattr(found, property_name), expected[property_name])


@pytest.mark.parametrize("measure", IMAGE_MEASURES)
@pytest.mark.parametrize(("name", "dtype"), RUNS)
def test_measure_of_images_is_the_literal_formula(name, measure, dtype):
    found, expected = case(name, dtype)
    column = IMAGE_MEASURES.index(measure)
    assert found.of_images.shape == expected["of_images"].shape
    close(found.of_images[:, column], expected["of_images"][:, column])


@pytest.mark.parametrize("measure", CHANNEL_MEASURES)
@pytest.mark.parametrize(("name", "dtype"), RUNS)
def test_measure_of_channels_is_the_literal_formula(name, measure, dtype):
    found, expected = case(name, dtype)
    column = CHANNEL_MEASURES.index(measure)
    assert found.of_channels.shape == expected["of_channels"].shape
    close(found.of_channels[:, column], expected["of_channels"][:, column])


@pytest.mark.parametrize("name", CASES)
def test_autocovariance_is_transposed_at_the_opposite_displacement(name):
    found = case(name, "float64")[0].autocovariance
    close(found[::-1, ::-1].transpose(0, 1, 3, 2), found)


def test_autocovariance_at_0_is_the_channel_covariance_where_the_grid_is_the_map():
    found = case("small", "float64")[0]
    close(found.autocovariance[2, 2], found.channel_covariance)


def test_autocovariance_beyond_the_map_is_nan():
    missing = np.isnan(case("radius beyond the map", "float64")[0].autocovariance).all((2, 3))
    there = np.zeros((9, 9), bool)
    there[3:6, 2:7] = True
    assert np.array_equal(missing, ~there)


@pytest.mark.parametrize("name", ["small", "grid of every second", "vectors", "signed"])
def test_summary_is_made_of_the_literal_properties(name):
    found, expected = case(name, "float64")
    row, samples = found.summary(), expected["covariance"]
    channels, height, width = found.shape
    assert row["images"] == expected["count"]
    assert (row["channels"], row["height"], row["width"]) == (channels, height, width)
    assert row["grid_height"] * row["grid_width"] == len(samples)
    assert row["effective_rank"] == pytest.approx(rank_by_entropy(samples), rel=1e-7)
    ranks = rank_by_entropy(expected["channel_covariance"])
    assert row["channel_effective_rank"] == pytest.approx(ranks, rel=1e-7)
    values = np.linalg.eigvalsh(found.spatial_moments().sum().shrunk())
    assert row["condition_shrunk"] == pytest.approx(values[-1] / values[0], rel=1e-7)
    close((row["style_spread"], row["style_spread_centred"]), expected["style_spread"])
    for column, measure in enumerate(CHANNEL_MEASURES):
        expected_mean = expected["of_channels"][:, column].mean()
        assert row[f"{measure}_channel"] == pytest.approx(expected_mean, rel=1e-9)
    for column, measure in enumerate(IMAGE_MEASURES):
        expected_mean = expected["of_images"][:, column].mean()
        assert row[f"{measure}_image"] == pytest.approx(expected_mean, rel=1e-9)
    assert all(type(value) in (int, float) for value in row.values())


def rank_by_entropy(covariance):
    values = [v for v in np.linalg.eigvalsh(covariance) if v > 1e-15]
    return math.exp(-sum(v / sum(values) * math.log(v / sum(values)) for v in values))


def test_summary_leaves_out_channels_that_are_dead():
    maps = some_maps()
    maps[:, 2] = 0
    row = measured(maps).summary()
    kept = [kurtosis_by_loops(maps[:, c].ravel()) for c in (0, 1, 3)]
    assert row["kurtosis_channel"] == pytest.approx(np.mean(kept), rel=1e-9)
    assert row["zeros_channel"] == pytest.approx((maps == 0).mean(), rel=1e-9)


def test_dead_layer_has_figures_without_a_warning():
    found = measured(np.zeros((3, 4, 2, 3)))
    row = found.summary()
    for name in ("covariance", "channel_covariance", "autocovariance", "gram", "gram_centred"):
        values = getattr(found, name)
        assert not values[np.isfinite(values)].any()
    assert found.style_spread == (0, 0)
    assert np.array_equal(found.of_images[:, [0, 1, 2, 4]], [[0, 0, 1, 0]] * 3)
    assert np.isnan(found.of_channels[:, 3]).all()
    assert row["effective_rank"] == 0
    assert row["shrinkage"] == 0
    assert math.isnan(row["kurtosis_channel"])


# ------------------------------------------------------------------------------ sums that add up


def same(found, expected, tolerance=1e-12):
    assert found.count == expected.count
    for name in expected.sums:
        scale = float(expected.sums[name].abs().max())
        difference = float((found.sums[name] - expected.sums[name]).abs().max())
        assert difference <= tolerance * scale, name
    close(found.of_images, expected.of_images, tolerance)


def kinds_of_maps():
    return some_maps((11, 3, 5, 4))


@pytest.mark.parametrize("batches", [2, 3, 11])
def test_batches_make_no_difference(batches):
    maps = kinds_of_maps()
    same(measured(maps, batches, positions=6), measured(maps, positions=6))


@pytest.mark.parametrize("cached", [1, 64, 1 << 30])
def test_size_of_the_cache_makes_no_difference(monkeypatch, cached):
    maps = kinds_of_maps()
    expected = measured(maps, positions=6)
    monkeypatch.setattr(streaming, "CACHED", cached)
    same(measured(maps, positions=6), expected)


@pytest.mark.parametrize("cuts", [(4,), (1, 2), (3, 3, 10), (0, 11), tuple(range(1, 11))])
def test_merged_parts_are_the_whole(cuts):
    maps = kinds_of_maps()
    edges = (0, *cuts, len(maps))
    parts = []
    for start, stop in itertools.pairwise(edges):
        parts.append(FeatureStatistics(3, 5, 4, positions=6))
        parts[-1].add(maps[start:stop], first=start)
    whole = parts[0]
    for part in parts[1:]:
        whole.merge(part)
    same(whole, measured(maps, positions=6))


def test_parts_are_merged_in_any_order():
    maps = some_maps((70, 2, 3, 3))
    parts = [FeatureStatistics(2, 3, 3) for _ in range(4)]
    for number, image in enumerate(maps):
        parts[number * 7 % 4].add(image[None], first=number)
    for part in parts[:-1]:
        parts[-1].merge(part)
    expected = measured(maps)
    rows = np.lexsort(parts[-1].of_images.T), np.lexsort(expected.of_images.T)
    close(parts[-1].of_images[rows[0]], expected.of_images[rows[1]], 1e-12)
    expected._of_images = parts[-1]._of_images
    same(parts[-1], expected)


def test_image_number_chooses_the_block():
    found = FeatureStatistics(2, 2, 2)
    maps = some_maps((3, 2, 2, 2))
    found.add(maps, first=2 * BLOCKS - 1)
    assert found.sums["images"].nonzero().flatten().tolist() == [0, 1, BLOCKS - 1]
    close(found.sums["maps"][BLOCKS - 1], maps[0].reshape(2, 4))
    close(found.sums["maps"][1], maps[2].reshape(2, 4))


def test_merging_leaves_the_other_part_as_it_is():
    one, two = measured(kinds_of_maps()), measured(kinds_of_maps()[:4])
    one.merge(two)
    same(two, measured(kinds_of_maps()[:4]), 0)


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((4, 5, 4), {}),
        ((3, 4, 5), {}),
        ((3, 5, 4), {"positions": 6}),
        ((3, 5, 4), {"radius": 1}),
    ],
)
def test_parts_of_different_kinds_are_not_merged(shape, options):
    found, expected = measured(kinds_of_maps()), measured(kinds_of_maps())
    with pytest.raises(ValueError, match="cannot be merged"):
        found.merge(FeatureStatistics(*shape, **options))
    same(found, expected, 0)


@pytest.mark.parametrize("shape", [(2, 4, 5, 4), (2, 3, 4, 5), (3, 5, 4), (2, 3, 20)])
def test_maps_of_another_shape_are_refused(shape):
    found = FeatureStatistics(3, 5, 4)
    with pytest.raises(ValueError, match=r"\(3, 5, 4\) was announced"):
        found.add(np.ones(shape))
    assert found.count == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_maps_that_are_not_finite_are_refused_by_number(value):
    maps = kinds_of_maps()
    maps[2, 1, 3, 3] = value
    with pytest.raises(ValueError, match="the feature maps of image 42 are not finite"):
        FeatureStatistics(3, 5, 4, positions=1).add(maps, first=40)


def test_refused_image_leaves_the_sums_as_they_were():
    maps = kinds_of_maps()
    found = measured(maps)
    with pytest.raises(ValueError, match="image 11"):
        found.add(np.full((1, 3, 5, 4), np.nan), first=11)
    same(found, measured(maps), 0)
    found.add(maps[:2], first=11)
    same(found, measured(np.concatenate([maps, maps[:2]])))


def test_refused_image_leaves_all_sums_with_the_same_images():
    maps = kinds_of_maps()
    maps[3, 0, 0, 0] = np.inf
    found = FeatureStatistics(3, 5, 4)
    with pytest.raises(ValueError, match="image 3"):
        found.add(maps)
    same(found, measured(maps[: found.count]))


def test_order_in_memory_makes_no_difference():
    maps = torch.from_numpy(some_maps((6, 4, 3, 5)))
    found = FeatureStatistics(4, 3, 5, positions=4)
    found.add(maps.to(memory_format=torch.channels_last))
    same(found, measured(maps.numpy(), positions=4))


def test_sums_do_not_grow_with_the_images():
    sizes = []
    for count in (1, 100):
        found = measured(some_maps((count, 3, 5, 4)))
        sizes.append({name: (value.shape, value.dtype) for name, value in found.sums.items()})
    assert sizes[0] == sizes[1]
    assert {dtype for _, dtype in sizes[0].values()} == {torch.float64}


# ------------------------------------------------------------------------------ saved and reconstructed


def through_npz(state):
    file = io.BytesIO()
    np.savez(file, **state)
    file.seek(0)
    return dict(np.load(file))


def through_h5(state):
    with h5py.File(io.BytesIO(), "w") as file:
        for name, value in state.items():
            file[name] = value
        return {name: value[...] for name, value in file.items()}


@pytest.mark.parametrize("through", [dict, through_npz, through_h5])
@pytest.mark.parametrize("name", ["small", "grid of every second", "grid of one", "vectors"])
def test_state_reconstructs_everything(through, name):
    expected = case(name, "float64")[0]
    found = FeatureStatistics.from_state(through(expected.state()))
    for part in ("shape", "grid", "radius"):
        assert getattr(found, part) == getattr(expected, part)
    same(found, expected, 0)
    for property_name in NAMES.split():
        ours, theirs = getattr(found, property_name), getattr(expected, property_name)
        assert np.array_equal(ours, theirs, equal_nan=True)


def test_reconstructed_part_goes_on_by_itself():
    maps = kinds_of_maps()
    part = measured(maps[:5], positions=6)
    found = FeatureStatistics.from_state(part.state())
    found.add(maps[5:], first=5)
    same(found, measured(maps, positions=6))
    same(part, measured(maps[:5], positions=6), 0)


def test_reconstructed_parts_are_merged():
    maps = kinds_of_maps()
    parts = []
    for start, stop in ((0, 4), (4, 11)):
        part = FeatureStatistics(3, 5, 4, positions=6)
        part.add(maps[start:stop], first=start)
        parts.append(FeatureStatistics.from_state(through_npz(part.state())))
    parts[0].merge(parts[1])
    same(parts[0], measured(maps, positions=6))


def test_state_of_nothing_is_reconstructed():
    found = FeatureStatistics.from_state(through_npz(FeatureStatistics(3, 5, 4).state()))
    assert found.count == 0
    found.add(kinds_of_maps())
    same(found, measured(kinds_of_maps()), 0)


# ------------------------------------------------------------------------------ grid


@pytest.mark.parametrize("most", [1, 4, 5, 9, 24, 400])
@pytest.mark.parametrize(
    ("height", "width"),
    [(1, 1), (1, 7), (7, 1), (2, 3), (5, 5), (13, 13), (3, 400), (400, 3), (55, 55), (1, 5000)],
)
def test_grid_covers_the_map_centred_with_the_smallest_step(height, width, most):
    grid = Grid.of(height, width, most)
    assert grid.positions == math.prod(grid.shape) <= most
    assert grid.shape == (len(grid.rows), len(grid.columns))
    for side, places in ((height, list(grid.rows)), (width, list(grid.columns))):
        assert all(b - a == grid.step for a, b in itertools.pairwise(places))
        before, after = places[0], side - 1 - places[-1]
        assert 0 <= after - before <= 1
        assert before + after < grid.step
    if grid.step > 1:
        assert Grid(height, width, grid.step - 1).positions > most
    if height * width <= most:
        assert (grid.step, grid.shape) == (1, (height, width))


@pytest.mark.parametrize("most", [1, 4, 6, 20, 70])
def test_grid_takes_positions_row_by_row(most):
    maps = torch.arange(2 * 3 * 7 * 9).reshape(2, 3, 7, 9)
    expected = [[[int(c[p]) for p in grid_by_loops(7, 9, most)] for c in image] for image in maps]
    assert Grid.of(7, 9, most).take(maps).tolist() == expected


@pytest.mark.parametrize("radius", [0, 1, 3])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5), (4, 1), (2, 3), (9, 9)])
def test_displacements_are_one_of_each_pair(radius, height, width):
    found = streaming.displacements(radius, height, width)
    down, across = min(radius, height - 1), min(radius, width - 1)
    every = itertools.product(range(-down, down + 1), range(-across, across + 1))
    assert found[0] == (0, 0)
    assert len(set(found)) == len(found)
    assert set(found) | {(-y, -x) for y, x in found} == set(every)
    assert set(found) & {(-y, -x) for y, x in found} == {(0, 0)}


# ------------------------------------------------------------------------------ spatial moments


def stacked(maps):
    return maps.reshape(len(maps) * maps.shape[1], -1)


@pytest.mark.parametrize(
    ("shape", "signed"),
    [((40, 3, 3, 4), False), ((40, 3, 3, 4), True), ((3, 2, 4, 4), True), ((300, 4, 2, 2), True)],
)
def test_shrinkage_is_that_of_scikit_learn(shape, signed):
    maps = some_maps(shape, signed)
    moments = measured(maps).spatial_moments().sum()
    shrunk, shrinkage = ledoit_wolf(stacked(maps))
    assert moments.shrinkage == pytest.approx(shrinkage, rel=1e-9)
    close(moments.shrunk(), shrunk)
    close(moments.covariance, np.cov(stacked(maps).T, bias=True))
    close(moments.mean, stacked(maps).mean(0))
    assert moments.count == len(stacked(maps))


def test_multiple_of_the_identity_is_not_shrunk():
    corners = np.concatenate([np.eye(4), -np.eye(4)]).reshape(8, 1, 2, 2)  # covariance I / 4
    moments = measured(corners).spatial_moments().sum()
    assert moments.shrinkage == 0
    close(moments.shrunk(), np.eye(4) / 4)


def test_shrinkage_of_a_single_position_is_0():
    assert measured(some_maps((6, 5, 1, 1))).spatial_moments().sum().shrinkage == 0


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_share_of_the_identity_can_be_chosen(share):
    moments = measured(some_maps((40, 3, 2, 3))).spatial_moments().sum()
    covariance = moments.covariance
    expected = (1 - share) * covariance + share * np.trace(covariance) / 6 * np.eye(6)
    close(moments.shrunk(share), expected)
    close(moments.precision(share) @ expected, np.eye(6))


def test_precision_is_the_inverse_of_the_shrunk_covariance():
    maps = some_maps((3, 2, 4, 4))
    moments = measured(maps).spatial_moments().sum()
    assert np.linalg.matrix_rank(moments.covariance) < 16
    close(moments.precision() @ ledoit_wolf(stacked(maps))[0], np.eye(16))


def test_precision_of_constant_maps_is_0():
    moments = measured(np.full((4, 3, 2, 2), 3.0)).spatial_moments().sum()
    assert np.array_equal(moments.precision(), np.zeros((4, 4)))


def test_precision_of_a_singular_covariance_is_its_pseudo_inverse():
    moments = measured(some_maps((2, 3, 4, 5), signed=True)).spatial_moments().sum()
    expected = np.linalg.pinv(moments.covariance, hermitian=True)
    close(moments.precision(0.0), expected, 1e-6)


def test_blocks_without_images_are_left_out():
    found = measured(some_maps((5, 3, 2, 3)))
    moments = found.spatial_moments()
    assert moments.images.tolist() == [1] * 5
    assert moments.shape == (2, 3)
    for name in ("maps", "products", "cubic", "quartic"):
        assert len(getattr(moments, name)) == 5
    close(moments.covariance, found.covariance)


@pytest.mark.parametrize("weights", [[1, 2, 0, 1, 3], [0, 0, 1, 0, 0], [1, 1, 1, 1, 1]])
def test_weights_repeat_images(weights):
    maps = some_maps((5, 3, 2, 3), signed=True)
    found = measured(maps).spatial_moments().sum(weights)
    expected = measured(np.repeat(maps, weights, axis=0)).spatial_moments().sum()
    for name in ("images", "maps", "products", "cubic", "quartic", "covariance", "shrinkage"):
        close(getattr(found, name), getattr(expected, name), 1e-12)
    close(found.precision(), expected.precision())


def test_sum_without_weights_takes_each_block_once():
    moments = measured(some_maps((5, 3, 2, 3))).spatial_moments()
    assert isinstance(moments.sum(), SpatialMoments)
    close(moments.sum().products, moments.sum(np.ones(5)).products, 0)


# ------------------------------------------------------------------------------ inverse and rank


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_pseudo_inverse_fulfils_the_four_conditions(rank):
    factor = rng().normal(size=(6, rank))
    a = factor @ factor.T
    b = spatial.pseudo_inverse(a)
    close(a @ b @ a, a)
    close(b @ a @ b, b)
    close((a @ b).T, a @ b)
    close((b @ a).T, b @ a)


def test_pseudo_inverse_of_a_regular_matrix_is_its_inverse():
    close(spatial.pseudo_inverse(np.diag([1.0, 2.0, 4.0])), np.diag([1, 0.5, 0.25]))


@pytest.mark.parametrize("n", [1, 2, 17])
def test_effective_rank_of_the_identity_is_n(n):
    assert spatial.effective_rank(3 * np.eye(n)) == pytest.approx(n)


def test_effective_rank_of_a_projection_is_its_rank():
    basis = np.linalg.qr(rng().normal(size=(9, 4)))[0]
    assert spatial.effective_rank(basis @ basis.T) == pytest.approx(4)


def test_effective_rank_is_exp_of_the_entropy():
    values = [5.0, 2.0, 0.5]
    entropy = -sum(v / 7.5 * math.log(v / 7.5) for v in values)
    assert spatial.effective_rank(np.diag(values)) == pytest.approx(math.exp(entropy))


def test_effective_rank_of_nothing_is_0():
    assert spatial.effective_rank(np.zeros((3, 3))) == 0


def test_condition_number_is_largest_over_smallest():
    turn = np.linalg.qr(rng().normal(size=(3, 3)))[0]
    assert spatial.condition_number(turn @ np.diag([0.5, 2, 8]) @ turn.T) == pytest.approx(16)


@pytest.mark.parametrize("values", [[1.0, 0.0], [1.0, 1e-17], [1.0, -1e-3], [0.0, 0.0]])
def test_condition_number_of_a_singular_matrix_is_infinite(values):
    assert spatial.condition_number(np.diag(values)) == math.inf


# ------------------------------------------------------------------------------ Gram matrices


def test_style_distance_is_that_of_gatys():
    """Eq. (3) and (4) of Gatys et al. 2015: N channels of M positions, Gram matrices F F'."""
    first, second = (maps.reshape(4, 15) for maps in some_maps((2, 4, 3, 5)))
    N, M = first.shape
    energy = 0.0
    for i, j in itertools.product(range(N), range(N)):
        G = sum(first[i, k] * first[j, k] for k in range(M))
        A = sum(second[i, k] * second[j, k] for k in range(M))
        energy += (G - A) ** 2 / (4 * N**2 * M**2)
    found = style_distance(first @ first.T / M, second @ second.T / M)
    assert found == pytest.approx(energy, rel=1e-12)


def test_style_spread_is_the_style_distance_of_two_images():
    maps = some_maps((2, 4, 3, 5))
    grams = [measured(image[None]).gram for image in maps]
    assert measured(maps).style_spread[0] == pytest.approx(style_distance(*grams), rel=1e-9)


# ------------------------------------------------------------------------------ sparsity


@pytest.mark.parametrize("n", [1, 2, 5, 100])
def test_gini_of_equal_values_is_0(n):
    assert float(gini(torch.full((n,), -3.0))) == pytest.approx(0, abs=1e-14)


@pytest.mark.parametrize("n", [1, 2, 5, 100])
def test_gini_of_a_single_value_is_1_minus_1_over_n(n):
    assert float(gini(torch.eye(n)[0])) == pytest.approx(1 - 1 / n, abs=1e-14)


def test_gini_of_zeros_is_0():
    assert gini(torch.zeros(2, 4)).tolist() == [0, 0]


@pytest.mark.parametrize("definition", [gini_by_loops, gini_by_pairs])
def test_gini_is_the_textbook_formula(definition):
    values = rng().normal(size=(3, 4, 11))
    values[values < 0.2] = 0
    values[:, :, 0] = -1.0
    found = gini(torch.from_numpy(values))
    assert found.shape == (3, 4)
    for index in np.ndindex(3, 4):
        assert float(found[index]) == pytest.approx(definition(values[index]), abs=1e-13)


def test_gini_ignores_scale_sign_and_order():
    values = torch.from_numpy(rng().normal(size=20))
    assert float(gini(-7 * values.flip(0))) == pytest.approx(float(gini(values)), abs=1e-14)


def of_values(measure, values):
    values = torch.as_tensor(values, dtype=torch.float64)
    return float(measure(values.abs().sum(), values.square().sum(), len(values)))


@pytest.mark.parametrize("measure", [hoyer, treves_rolls])
@pytest.mark.parametrize("n", [2, 5, 100])
def test_sparseness_is_0_for_equal_and_1_for_single_values(measure, n):
    assert of_values(measure, [-3.0] * n) == pytest.approx(0, abs=1e-14)
    assert of_values(measure, [5.0] + [0.0] * (n - 1)) == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize("measure", [hoyer, treves_rolls])
@pytest.mark.parametrize("values", [[0.0] * 4, [0.0], [3.0]])
def test_sparseness_of_zeros_or_one_value_is_0(measure, values):
    assert of_values(measure, values) == 0


@pytest.mark.parametrize(
    ("measure", "definition"), [(hoyer, hoyer_by_loops), (treves_rolls, treves_rolls_by_loops)]
)
def test_sparseness_is_the_textbook_formula(measure, definition):
    values = rng().normal(size=30)
    assert of_values(measure, values) == pytest.approx(definition(values), rel=1e-12)
    assert of_values(measure, -9 * values) == pytest.approx(definition(values), rel=1e-12)


def powers(values):
    return torch.from_numpy(np.stack([(values**k).sum(-1) for k in (1, 2, 3, 4)], -1))


def test_kurtosis_is_that_of_scipy():
    values = np.stack([rng().exponential(size=50), rng().normal(3, 1, 50)])
    close(kurtosis(powers(values), 50).numpy(), scipy.stats.kurtosis(values, axis=1))


def test_kurtosis_of_a_gaussian_is_about_0():
    values = rng().normal(2, 3, 200_000)
    assert abs(float(kurtosis(powers(values), len(values)))) < 0.05


@pytest.mark.parametrize("value", [0.0, 0.1, -7.3])
def test_kurtosis_of_a_constant_is_nan(value):
    assert math.isnan(float(kurtosis(powers(np.full(30, value)), 30)))


# ------------------------------------------------------------------------------ comparison

FIGURES = [f"{m}_image" for m in IMAGE_MEASURES] + [f"{m}_channel" for m in CHANNEL_MEASURES]
MATRICES = ["mean", "covariance", "precision", "channel_covariance", "autocovariance", "gram"]
MATRICES += ["gram_centred", "frechet", "style"]


def distances(reference, other, **options):
    rows = compare(measured(reference, **options), measured(other, **options))
    return {row["measure"]: row["distance"] for row in rows}


def reference_maps():
    return some_maps((40, 3, 4, 5))


def test_comparison_covers_all_measures():
    rows = compare(measured(reference_maps()), measured(reference_maps()))
    assert [row["measure"] for row in rows] == [*comparison.DISTANCES, *FIGURES]
    assert list(comparison.DISTANCES) == MATRICES
    assert all(set(row) == {"measure", "reference", "other", "distance"} for row in rows)


@pytest.mark.parametrize("positions", [400, 6])
def test_set_is_at_no_distance_from_itself(positions):
    maps = reference_maps()
    for measure, distance in distances(maps, maps, positions=positions).items():
        assert distance == pytest.approx(0, abs=1e-9), measure


def shifted(maps):
    return maps + 0.75


def with_channels_permuted(maps):
    return maps[:, [2, 0, 1]]


def with_positions_shuffled(maps):
    order = rng().permutation(maps[0, 0].size)
    return maps.reshape(*maps.shape[:2], -1)[..., order].reshape(maps.shape)


def with_images_reversed(maps):
    return maps[::-1].copy()


def doubled(maps):
    return 2 * maps


@pytest.mark.parametrize(
    ("change", "changed"),
    [
        (
            shifted,
            "mean gram frechet style gini_image hoyer_image zeros_image population_image gini_channel"
            " hoyer_channel zeros_channel lifetime_channel",
        ),
        (
            with_channels_permuted,
            "mean channel_covariance autocovariance gram gram_centred frechet style",
        ),
        (with_positions_shuffled, "covariance precision autocovariance"),
        (with_images_reversed, ""),
        (
            doubled,
            "mean covariance precision channel_covariance autocovariance gram gram_centred frechet style",
        ),
    ],
)
def test_change_of_the_maps_shows_in_the_measures_it_changes(change, changed):
    maps = reference_maps()
    found = distances(maps, change(maps))
    for measure, distance in found.items():
        if measure in changed.split():
            assert abs(distance) > 0.01, measure
        else:
            assert distance == pytest.approx(0, abs=1e-9), measure


def test_distance_of_doubled_maps_is_that_of_their_powers():
    maps = reference_maps()
    found = distances(maps, 2 * maps)
    assert found["mean"] == pytest.approx(1)
    assert found["precision"] == pytest.approx(3 / 4)
    for measure in ("covariance", "channel_covariance", "autocovariance", "gram", "gram_centred"):
        assert found[measure] == pytest.approx(3)


def test_shift_of_the_mean_is_its_frechet_distance():
    maps = reference_maps()
    found = measured(maps)
    assert comparison.frechet(found, measured(maps + 0.75)) == pytest.approx(3 * 0.75**2)


def test_distances_are_the_literal_formulas():
    first, second = reference_maps(), 1.5 * some_maps((9, 3, 4, 5)) + 0.2
    one, two = literal(first), literal(second)
    rows = {row["measure"]: row for row in compare(measured(first), measured(second))}
    pairs = {
        name: (one[key], two[key])
        for name, key in (
            ("mean", "channel_means"),
            ("covariance", "covariance"),
            ("channel_covariance", "channel_covariance"),
            ("autocovariance", "autocovariance"),
            ("gram", "gram"),
            ("gram_centred", "gram_centred"),
        )
    }
    pairs["precision"] = tuple(np.linalg.inv(ledoit_wolf(stacked(m))[0]) for m in (first, second))
    for name, (a, b) in pairs.items():
        norms = [math.sqrt((matrix**2).sum()) for matrix in (a, b)]
        expected = math.sqrt(((a - b) ** 2).sum()) / norms[0]
        close((rows[name]["reference"], rows[name]["other"]), norms)
        assert rows[name]["distance"] == pytest.approx(expected, rel=1e-9)

    covariances = one["channel_covariance"], two["channel_covariance"]
    between = scipy.linalg.sqrtm(covariances[0] @ covariances[1])
    frechet = ((one["channel_means"] - two["channel_means"]) ** 2).sum()
    frechet += np.trace(covariances[0] + covariances[1] - 2 * between.real)
    variance = np.trace(covariances[0])
    assert rows["frechet"]["distance"] == pytest.approx(frechet / variance, rel=1e-8)
    assert rows["frechet"]["reference"] == pytest.approx(variance, rel=1e-9)

    style = ((one["gram"] - two["gram"]) ** 2).sum() / (4 * 3**2)
    assert rows["style"]["distance"] == pytest.approx(style / one["style_spread"][0], rel=1e-9)
    assert rows["style"]["reference"] == pytest.approx(one["style_spread"][0], rel=1e-9)
    for scope, names in (("image", IMAGE_MEASURES), ("channel", CHANNEL_MEASURES)):
        for column, name in enumerate(names):
            a, b = (result[f"of_{scope}s"][:, column].mean() for result in (one, two))
            row = rows[f"{name}_{scope}"]
            assert row["reference"] == pytest.approx(a, rel=1e-9)
            assert row["distance"] == pytest.approx(b - a, rel=1e-9, abs=1e-9)


def test_frechet_distance_of_correlated_channels_is_that_of_the_matrix_root():
    sources = [rng().normal(size=(5, 5)) for _ in range(2)]
    maps = [
        np.einsum("ij,njyx->niyx", mix, np.random.default_rng(seed).normal(size=(30, 5, 3, 3)))
        for seed, mix in enumerate((sources[0], sources[1] @ np.diag([1, 2, 3, 4, 5.0])))
    ]
    one, two = (literal(m) for m in maps)
    root = scipy.linalg.sqrtm(one["channel_covariance"] @ two["channel_covariance"]).real
    expected = ((one["channel_means"] - two["channel_means"]) ** 2).sum()
    expected += np.trace(one["channel_covariance"]) + np.trace(two["channel_covariance"])
    expected -= 2 * np.trace(root)
    assert comparison.frechet(*map(measured, maps)) == pytest.approx(expected, rel=1e-8)


def test_distance_from_a_dead_layer_is_nan_without_a_warning():
    found = distances(np.zeros((3, 3, 4, 5)), reference_maps())
    assert all(math.isnan(found[name]) for name in MATRICES)


@pytest.mark.parametrize("options", [{"positions": 6}, {"radius": 1}])
def test_sets_of_different_kinds_are_not_compared(options):
    maps = reference_maps()
    with pytest.raises(ValueError, match="cannot be compared"):
        compare(measured(maps), measured(maps, **options))


def test_shards_add_up_in_the_file_to_what_all_maps_give(tmp_path):
    maps = np.random.default_rng(0).normal(size=(40, 3, 4, 5)).astype(np.float32)
    options = {"positions": 20, "radius": 1}
    paths = []
    for samples in (range(0, 16), range(16, 40)):
        paths.append(tmp_path / f"{samples.start}.h5")
        with create_hdf5(paths[-1], "statistics", {}) as file:
            streaming.write_sums(file, streaming.measure(maps, samples, **options))
    with create_hdf5(tmp_path / "x.h5", "statistics", {}) as file:
        streaming.write_statistics(file, streaming.read_all_sums(paths))
    whole = streaming.measure(maps, range(40), **options)
    found = read_arrays(tmp_path / "x.h5", "statistics")
    covariance = np.cov(maps.reshape(120, 20).T, bias=True)
    expected = {
        "covariance": covariance,
        "pseudo_inverse": np.linalg.pinv(covariance),
        "precision": whole.spatial_moments().sum().precision(),
        **{
            name: getattr(whole, name)
            for name in ("channel_covariance", "autocovariance", "gram", "gram_centred")
        },
        "of_images": whole.of_images,
        "of_channels": whole.of_channels,
    }
    assert list(found) == list(expected)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-6, atol=1e-9, err_msg=name)
    assert streaming.read_sums(tmp_path / "x.h5").count == 40
    with open_hdf5(tmp_path / "x.h5", "statistics") as file:
        assert file.attrs["grid"].tolist() == [4, 5]
