"""Image metrics against scikit-image and literal formulas."""

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.metrics import mean_squared_error, peak_signal_noise_ratio, structural_similarity

from deep_restoration.evaluation import baselines, intervals, metrics, tables

OPTIONS = {
    "data_range": 1.0,
    "channel_axis": -1,
    "gaussian_weights": True,
    "sigma": 1.5,
    "use_sample_covariance": False,
}


@pytest.fixture(scope="module")
def pair():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:24, 0:31] / 10
    smooth = 0.5 + 0.4 * np.sin(x + 2 * y)[..., None] * np.array([1, 0.5, -0.7])
    truth = np.stack([smooth, rng.random((24, 31, 3)), np.full((24, 31, 3), 0.3)])
    reconstructed = np.clip(truth + rng.normal(0, 0.1, truth.shape), 0, 1)
    reconstructed[2] = 0.8
    return truth, reconstructed


def test_mse_and_psnr_by_loops(pair):
    truth, reconstructed = pair
    for index in range(3):
        total = sum(
            (a - b) ** 2 for a, b in zip(truth[index].flat, reconstructed[index].flat, strict=True)
        )
        error = total / truth[index].size
        assert metrics.mse(*pair)[index] == pytest.approx(error, rel=1e-12)
        assert metrics.psnr(*pair)[index] == pytest.approx(10 * math.log10(1 / error), rel=1e-12)


def test_mse_and_psnr_are_those_of_scikit_image(pair):
    for a, b, error, decibel in zip(*pair, metrics.mse(*pair), metrics.psnr(*pair), strict=True):
        assert error == pytest.approx(mean_squared_error(a, b), rel=1e-12)
        assert decibel == pytest.approx(peak_signal_noise_ratio(a, b, data_range=1), rel=1e-12)


def test_equal_images_have_no_error(pair):
    truth, _ = pair
    assert metrics.mse(truth, truth).tolist() == [0, 0, 0]
    assert metrics.psnr(truth, truth).tolist() == [math.inf] * 3
    assert np.allclose(metrics.ssim(truth, truth), 1)
    assert np.allclose(metrics.ssim_parts(truth, truth), 1)


def test_ssim_is_that_of_scikit_image(pair):
    expected = [structural_similarity(a, b, **OPTIONS) for a, b in zip(*pair, strict=True)]
    assert metrics.ssim(*pair) == pytest.approx(expected, abs=1e-12)


def test_ssim_by_an_explicit_window(pair):
    """One position of Wang et al. 2004, with an 11 x 11 window written out."""
    x, y = pair[0][0, :11, :11, 0], pair[1][0, :11, :11, 0]
    weights = np.zeros((11, 11))
    for row in range(11):
        for column in range(11):
            weights[row, column] = math.exp(-((row - 5) ** 2 + (column - 5) ** 2) / (2 * 1.5**2))
    weights /= weights.sum()
    mx, my = (weights * x).sum(), (weights * y).sum()
    vx, vy = (weights * (x - mx) ** 2).sum(), (weights * (y - my) ** 2).sum()
    cxy = (weights * (x - mx) * (y - my)).sum()
    c1, c2 = 0.01**2, 0.03**2
    expected = (2 * mx * my + c1) * (2 * cxy + c2) / (mx**2 + my**2 + c1) / (vx + vy + c2)
    corner = np.repeat(x[..., None], 3, 2)[None], np.repeat(y[..., None], 3, 2)[None]
    assert metrics.ssim(*corner)[0] == pytest.approx(expected, abs=1e-12)
    parts = metrics.ssim_parts(*corner)[0]
    assert parts.prod() == pytest.approx(expected, abs=1e-12)  # of a single position
    assert parts[0] == pytest.approx((2 * mx * my + c1) / (mx**2 + my**2 + c1), abs=1e-12)
    contrast = (2 * math.sqrt(vx * vy) + c2) / (vx + vy + c2)
    assert parts[1] == pytest.approx(contrast, abs=1e-12)
    structure = (cxy + c2 / 2) / (math.sqrt(vx * vy) + c2 / 2)
    assert parts[2] == pytest.approx(structure, abs=1e-12)


def test_parts_multiply_to_the_ssim_map_at_each_position(pair):
    def blur(values):
        return gaussian_filter(values, (1.5, 1.5, 0), truncate=3.5)

    for index, (x, y) in enumerate(zip(*pair, strict=True)):
        mx, my = blur(x), blur(y)
        vx, vy = np.maximum(blur(x * x) - mx**2, 0), np.maximum(blur(y * y) - my**2, 0)
        cxy, c1, c2 = blur(x * y) - mx * my, 0.01**2, 0.03**2
        luminance = (2 * mx * my + c1) / (mx**2 + my**2 + c1)
        contrast = (2 * np.sqrt(vx * vy) + c2) / (vx + vy + c2)
        structure = (cxy + c2 / 2) / (np.sqrt(vx * vy) + c2 / 2)
        _, whole = structural_similarity(x, y, full=True, **OPTIONS)
        assert np.allclose(luminance * contrast * structure, whole, atol=1e-10)
        means = [part[5:-5, 5:-5].mean() for part in (luminance, contrast, structure)]
        assert metrics.ssim_parts(*pair)[index] == pytest.approx(means, abs=1e-12)


def test_parts_see_what_they_are_named_for(pair):
    truth = pair[0][1:2] * 0.5
    brighter = metrics.ssim_parts(truth, truth + 0.4)[0]
    assert brighter[0] < 0.95
    assert brighter[1:] == pytest.approx([1, 1], abs=1e-6)
    negative = metrics.ssim_parts(truth, 1 - truth)[0]
    assert negative[1] == pytest.approx(1, abs=1e-6)
    assert negative[2] < -0.5


def test_float32_and_float64_agree(pair):
    single = [images.astype(np.float32) for images in pair]
    assert metrics.ssim(*single) == pytest.approx(metrics.ssim(*pair), abs=1e-5)


def test_images_below_the_window_are_refused():
    small = np.zeros((1, 10, 10, 3))
    with pytest.raises(ValueError, match="win_size"):
        metrics.ssim(small, small)


# ------------------------------------------------------------------------------ intervals and tables


def files(count):
    """Names of so many files, each a photograph of its own."""
    return [f"{index}.jpg" for index in range(count)]


def test_bootstrap_interval_holds_the_mean_and_follows_its_seed():
    values = np.random.default_rng(1).normal(3, 2, 40)
    low, high = intervals.bootstrap_interval(values, files(40), 0)
    assert low < values.mean() < high
    assert intervals.bootstrap_interval(values, files(40), 0) == (low, high)
    assert intervals.bootstrap_interval(values, files(40), 1) != (low, high)


def test_bootstrap_interval_is_near_that_of_the_normal_distribution():
    values = np.random.default_rng(1).normal(3, 2, 400)
    low, high = intervals.bootstrap_interval(values, files(400), 0)
    error = values.std() / math.sqrt(400)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.25 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.25 * error)


# Five photographs, one of them a file, in no order: their crops are drawn together.
CROPS = ["a-000", "b-000", "mine-000.png", "a-001", "c-d-000", "c-d-001", "a-002", "e-1234"]
SHOWN = {"a": (0, 3, 6), "b": (1,), "mine": (2,), "c-d": (4, 5), "e": (7,)}


def test_bootstrap_draws_photographs_by_loops():
    values, rng = np.random.default_rng(2).random(len(CROPS)), np.random.default_rng(5)
    photographs, means = list(SHOWN.values()), []
    for row in rng.integers(5, size=(200, 5)):
        drawn = [values[image] for index in row for image in photographs[index]]
        means.append(sum(drawn) / len(drawn))
    expected = np.quantile(means, [0.05, 0.95])
    found = intervals.bootstrap_interval(values, CROPS, 5, resamples=200, level=0.9)
    assert found == pytest.approx(tuple(expected))


def test_crops_of_few_photographs_have_the_wider_interval_of_photographs():
    """Eight crops that say the same as four photographs tell no more than these do."""
    values = np.array([0.1, 0.5, 0.2, 0.9])
    crops = [f"{name}-00{index}" for index in (0, 1) for name in "abcd"]
    one = intervals.bootstrap_interval(values, files(4), 0)
    assert intervals.bootstrap_interval(np.tile(values, 2), crops, 0) == pytest.approx(one)
    low, high = intervals.bootstrap_interval(np.tile(values, 2), files(8), 0)
    assert one[0] < low < high < one[1]


@pytest.mark.parametrize(
    ("names", "count"),
    [([], 0), (files(1), 1), (files(3), 3), ([f"a-{i:03}" for i in range(9)], 1)],
)
def test_fewer_than_four_photographs_have_no_interval(names, count):
    values = np.arange(len(names), dtype=float)
    assert all(math.isnan(limit) for limit in intervals.bootstrap_interval(values, names, 0))
    assert intervals.note(names).startswith(f"no intervals: {count} photograph")


def test_four_photographs_need_no_note():
    assert intervals.note(files(4)) == intervals.note(CROPS) == ""
    assert intervals.photographs(CROPS) == 5
    assert intervals.note(["a-000", "a-001"]) == (
        "no intervals: 1 photograph, at least 4 are needed"
    )


def test_bootstrap_interval_of_equal_values_is_a_point():
    assert intervals.bootstrap_interval(np.full(5, 0.25), files(5), 0) == (0.25, 0.25)


def test_tables_of_few_photographs_have_empty_cells_and_a_note():
    rows = [
        {"classifier": "net", "layer": "conv1", "recipe": recipe, "image": f"cat-00{image}"}
        | dict.fromkeys(tables.MEASURES, str(0.25 + image))
        for recipe in ("tv", "foe")
        for image in range(3)
    ]
    columns, summary = tables.summarise(rows, 0)
    families = tables.compare_families(rows, ["foe"], 0)
    for names, line in ((columns, summary[0]), (tables.FAMILIES, families[0])):
        row = dict(zip(names, line, strict=True))
        assert (row["images"], row["photographs"]) == (3, 1)
        assert {value for key, value in row.items() if key.endswith(("_low", "_high"))} == {""}
        assert row["note"] == "no intervals: 1 photograph, at least 4 are needed"


def test_summary_has_a_row_per_recipe_with_mean_and_interval():
    rng = np.random.default_rng(0)
    rows = [
        dict(
            zip(
                tables.COLUMNS,
                ("net", layer, recipe, f"{image}.jpg", *map(str, rng.random(8))),
                strict=True,
            )
        )
        for layer in ("conv1", "conv2")
        for recipe in ("tv", "pure")
        for image in range(4)
    ]
    columns, summary = tables.summarise(rows, seed=3)
    assert columns[:5] == ["classifier", "layer", "recipe", "images", "photographs"]
    assert [row[:5] for row in summary] == [
        ["net", layer, recipe, 4, 4] for layer in ("conv1", "conv2") for recipe in ("tv", "pure")
    ]
    for row in summary:
        group = [r for r in rows if [r["layer"], r["recipe"]] == row[1:3]]
        for measure in tables.MEASURES:
            values = [float(r[measure]) for r in group]
            at = columns.index(measure)
            assert columns[at : at + 3] == [measure, f"{measure}_low", f"{measure}_high"]
            assert row[at] == pytest.approx(sum(values) / 4)
            assert row[at + 1 : at + 3] == list(intervals.bootstrap_interval(values, files(4), 3))


def inversions():
    """Rows of two layers, three networks of two replicates (one has one), and four images."""
    rng = np.random.default_rng(0)
    networks = [("j", "deconv", "joint", 2), ("e", "deconv", "end_to_end", 2)]
    networks.append(("other", "resize_conv", "joint", 1))
    keys = ("classifier", "layer", "inverter", "kind", "regime", "replicate", "image")
    return [
        dict(zip(keys, ("net", layer, *network, str(replicate), f"{image}.jpg"), strict=True))
        | dict(zip(tables.INVERTER_MEASURES, map(str, rng.random(4)), strict=True))
        for layer in ("conv1", "conv2")
        for *network, replicates in networks
        for replicate in range(replicates)
        for image in range(4)
    ]


def test_summary_of_inverters_by_loops():
    rows = inversions()
    columns, summary = tables.summarise_inverters(rows, seed=3)
    assert len(summary) == 6
    for line in summary:
        row = dict(zip(columns, line, strict=True))
        mine = [r for r in rows if (r["layer"], r["inverter"]) == (row["layer"], row["inverter"])]
        assert row["replicates"] == len({r["replicate"] for r in mine})
        assert row["images"] == 4
        for measure in tables.INVERTER_MEASURES:
            means = [
                np.mean([float(r[measure]) for r in mine if r["replicate"] == str(replicate)])
                for replicate in range(row["replicates"])
            ]
            each = [
                np.mean([float(r[measure]) for r in mine if r["image"] == f"{image}.jpg"])
                for image in range(4)
            ]
            assert row[measure] == pytest.approx(np.mean(means))
            assert row[f"{measure}_least"] == pytest.approx(min(means))
            assert row[f"{measure}_most"] == pytest.approx(max(means))
            interval = intervals.bootstrap_interval(np.array(each), files(4), 3)
            assert (row[f"{measure}_low"], row[f"{measure}_high"]) == pytest.approx(interval)


def test_inverters_are_compared_with_training_end_to_end():
    columns, summary = tables.summarise_inverters(inversions(), seed=3)
    rows = [dict(zip(columns, line, strict=True)) for line in summary]
    for layer in ("conv1", "conv2"):
        j, e, other = (row for row in rows if row["layer"] == layer)
        assert j["mse_ratio"] == pytest.approx(j["mse"] / e["mse"])
        assert j["mse_ratio_low"] < j["mse_ratio"] < j["mse_ratio_high"]
        assert e["mse_ratio"] == ""
        assert other["mse_ratio"] == ""  # of its kind, none was trained so


def test_ratios_compare_means_over_replicates_image_by_image():
    rows = inversions()
    columns, summary = tables.summarise_inverters(rows, seed=3)
    found = dict(zip(columns, summary[0], strict=True))
    assert (found["layer"], found["inverter"]) == ("conv1", "j")

    def errors(inverter):
        chosen = [r for r in rows if (r["layer"], r["inverter"]) == ("conv1", inverter)]
        return np.array(
            [
                np.mean([float(r["mse"]) for r in chosen if r["image"] == f"{image}.jpg"])
                for image in range(4)
            ]
        )

    expected = intervals.ratio_interval(errors("j"), errors("e"), files(4), 3)
    ratios = [found[f"mse_ratio{end}"] for end in ("", "_low", "_high")]
    assert ratios == pytest.approx(expected)


def test_networks_of_other_classifiers_are_no_rivals():
    rows = inversions()
    for row in rows:
        if row["inverter"] == "e":
            row["classifier"] = "other"
    columns, summary = tables.summarise_inverters(rows, seed=3)
    at = columns.index("mse_ratio")
    assert all(line[at : at + 3] == ["", "", ""] for line in summary)


def test_ratio_interval_by_loops():
    values, others = np.random.default_rng(2).uniform(0.1, 1, (2, len(CROPS)))
    photographs, ratios = list(SHOWN.values()), []
    for row in np.random.default_rng(5).integers(5, size=(200, 5)):
        drawn = [image for index in row for image in photographs[index]]
        ratios.append(sum(values[i] for i in drawn) / sum(others[i] for i in drawn))
    expected = np.quantile(ratios, [0.05, 0.95])
    found = intervals.ratio_interval(values, others, CROPS, 5, resamples=200, level=0.9)
    assert found == pytest.approx((values.sum() / others.sum(), *expected))


def test_ratio_of_equal_shares_is_certain():
    others = np.array([0.3, 0.8, 0.1, 0.5])
    assert intervals.ratio_interval(2 * others, others, files(4), 0) == pytest.approx((2, 2, 2))
    alone = intervals.ratio_interval(others[:1], others[1:2], files(1), 0)
    assert alone[0] == pytest.approx(0.375)
    assert all(math.isnan(limit) for limit in alone[1:])


def test_inverters_are_not_compared_where_two_could_be_meant():
    rows = inversions()
    rows += [r | {"inverter": "e2"} for r in rows if r["inverter"] == "e"]
    columns, summary = tables.summarise_inverters(rows, seed=3)
    assert {dict(zip(columns, line, strict=True))["mse_ratio"] for line in summary} == {""}


def test_representation_error_equals_a_loop():
    import torch

    maps, target = torch.randn(2, 3, 2, 4, 5, generator=torch.Generator().manual_seed(0))
    for value, one, other in zip(
        metrics.representation_error(maps, target).tolist(), maps, target, strict=True
    ):
        pairs = list(zip(one.flatten().tolist(), other.flatten().tolist(), strict=True))
        expected = sum((a - b) ** 2 for a, b in pairs) / sum(b**2 for _, b in pairs)
        assert value == pytest.approx(expected, rel=1e-12)
    flat = metrics.representation_error(maps[:, :, 0, 0], target[:, :, 0, 0])
    assert flat.shape == (3,)


# ------------------------------------------------------------------------------ families


def rows_of(layer, recipe, errors, seconds, unlike=0.25):
    return [
        {
            **{"classifier": "net", "layer": layer, "recipe": recipe, "image": f"{index}.png"},
            **{"mse": str(error), "psnr": str(-10 * math.log10(error)), "ssim": str(1 - error)},
            **{"representation_error": str(unlike), "seconds": str(seconds)},
        }
        for index, error in enumerate(errors)
    ]


def test_the_best_of_either_side_are_compared_image_by_image():
    errors = {
        "pure": [0.5, 0.6, 0.9, 0.6],
        "tv": [0.4, 0.2, 0.3, 0.3],
        "foe": [0.3, 0.3, 0.3, 0.3],
        "inverter": [0.2, 0.1, 0.3, 0.2],
    }
    rows = [row for name, e in errors.items() for row in rows_of("conv2", name, e, len(name))]
    rows += rows_of("conv1", "tv", [0.1, 0.2], 1.0)  # nothing learned there
    found = tables.compare_families(rows, ["foe", "inverter"], 0)
    assert [row[:3] for row in found] == [["net", "conv2", m] for m in ("mse", "psnr", "ssim")]
    for row in found:
        line = dict(zip(tables.FAMILIES, row, strict=True))
        assert (line["hand_crafted"], line["learned"], line["images"]) == ("tv", "inverter", 4)
        assert (line["hand_crafted_seconds"], line["learned_seconds"]) == (2.0, 8.0)
    mse = dict(zip(tables.FAMILIES, found[0], strict=True))
    assert mse["hand_crafted_value"] == pytest.approx(0.3)
    assert mse["learned_value"] == pytest.approx(0.2)
    assert mse["difference"] == pytest.approx(-0.1)
    differences = np.array(errors["inverter"]) - errors["tv"]
    assert (mse["difference_low"], mse["difference_high"]) == pytest.approx(
        intervals.bootstrap_interval(differences, files(4), 0)
    )
    assert mse["ratio"] == pytest.approx(2 / 3)
    assert mse["ratio_low"] < 2 / 3 < mse["ratio_high"] <= 1


def test_a_grey_rectangle_wins_nothing():
    rows = [
        *rows_of("fc6", baselines.COLOUR, [0.1, 0.2], 0.0, unlike=0.9),
        *rows_of("fc6", baselines.IMAGE, [0.1, 0.1], 0.0, unlike=0.8),
        *rows_of("fc6", "inverter", [0.1, 0.1], 1.0, unlike=0.75),
        *rows_of("fc6", "foe", [0.3, 0.3], 1.0, unlike=0.5),
        *rows_of("fc6", "tv", [0.4, 0.4], 1.0, unlike=0.625),
        *rows_of("fc6", "pure", [0.5, 0.5], 1.0, unlike=0.75),
    ]
    found = tables.compare_families(rows, {"foe", "inverter"}, 0)
    lines = [dict(zip(tables.FAMILIES, row, strict=True)) for row in found]
    assert [line["measure"] for line in lines] == ["mse", "psnr", "ssim"]
    for line in lines:
        assert (line["learned"], line["learned_representation_error"]) == ("foe", 0.5)
        # Of the hand-crafted ones none explains the layer: the best of them, and it is said.
        assert (line["hand_crafted"], line["hand_crafted_representation_error"]) == ("tv", 0.625)
        assert line["unexplained"] == "hand-crafted"
        assert line["baseline"] == baselines.IMAGE
    assert [line["baseline_value"] for line in lines] == pytest.approx([0.1, 10, 0.9])


def test_each_measure_has_its_own_best_recipe():
    rows = rows_of("fc6", "tv", [0.4, 0.4], 1.0) + rows_of("fc6", "foe", [0.3, 0.3], 1.0)
    sharp = rows_of("fc6", "dae", [0.5, 0.5], 1.0)
    for row in sharp:
        row["ssim"] = "0.95"
    found = tables.compare_families(rows + sharp, {"foe", "dae"}, 0)
    assert [row[tables.FAMILIES.index("learned")] for row in found] == ["foe", "foe", "dae"]
