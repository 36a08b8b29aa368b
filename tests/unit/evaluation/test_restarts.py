"""Several restarts: seeds, measures against literal ones, identities, what a kill leaves, figures."""

import math
from itertools import combinations

import numpy as np
import pytest
import torch

from deep_restoration.evaluation import baselines, metrics, restarts
from deep_restoration.figures.study import ambiguity
from deep_restoration.figures.study import restarts as drawn
from deep_restoration.files.tensors import save_tensors
from deep_restoration.inversion import preimage
from deep_restoration.inversion.recipe import Recipe
from deep_restoration.inversion.reconstructor import Reconstructor
from deep_restoration.runtime.checkpoints import Checkpoint
from deep_restoration.runtime.memo import Memo

SIDE = 16
SEES = {"receptive_field": 25, "stride": 4}
RECIPE = {"optimiser": "adam", "phases": [{"iterations": 8, "rate": 6.0}], "box": True}


def case(count=4, images=3, seed=0):
    """Originals, reconstructed images restarts x N x H x W x 3, and representation errors."""
    draw = np.random.default_rng(seed)
    truth = draw.random((images, SIDE, SIDE, 3))
    reconstructed = np.clip(
        truth + 0.2 * draw.standard_normal((count, images, SIDE, SIDE, 3)), 0, 1
    )
    return truth, reconstructed, draw.random((count, images)), draw.random(images)


# ------------------------------------------------------------------------------ seeds


def test_start_0_is_the_one_that_everything_is_reconstructed_from():
    assert restarts.seed_of_restart(7, 0) == 7
    seeds = [restarts.seed_of_restart(seed, start) for seed in (0, 7) for start in range(5)]
    assert len(set(seeds)) == 10


def test_starts_of_an_image_are_independent_noises():
    noises = [
        preimage.init_noise(
            "uniform", (3, 40, 40), restarts.seed_of_restart(0, start), "a"
        ).flatten()
        for start in range(4)
    ]
    again = preimage.init_noise("uniform", (3, 40, 40), 0, "a").flatten()
    assert torch.equal(noises[0], again)
    correlation = np.corrcoef(torch.stack(noises).numpy()) - np.eye(4)
    assert np.abs(correlation).max() < 5 / math.sqrt(4800)


@pytest.fixture(scope="module")
def reconstructor(small_classifier, tmp_path_factory):
    folder = tmp_path_factory.mktemp("net")
    steps, state = small_classifier
    description = {"steps": steps, "mean": [0.4, 0.5, 0.45], "std": [0.2, 0.2, 0.2]}
    save_tensors(folder / "net.safetensors", state, "classifier", description)
    return Reconstructor.load(folder / "net.safetensors", "conv2", SEES)


def test_reconstructing_from_start_0_is_reconstructing(reconstructor, small_pictures, tmp_path):
    never = Checkpoint(tmp_path / "never", "key", math.inf)
    names, truth = ["a", "b"], small_pictures[:2]
    found = [
        reconstructor.reconstruct(
            Recipe.of(RECIPE), truth, names, restarts.seed_of_restart(3, start), never, False
        ).images
        for start in (0, 1)
    ]
    ordinary = reconstructor.reconstruct(Recipe.of(RECIPE), truth, names, 3, never).images
    assert torch.equal(found[0], ordinary)
    assert (found[1] - ordinary).abs().mean() > 0.01


# ------------------------------------------------------------------------------ measures


def literal(truth, reconstructed):
    """The measures of one image, by loops over restarts and pixels in float64."""
    count = len(reconstructed)
    mean = sum(reconstructed) / count
    spread = 0.0
    for row in range(SIDE):
        for column in range(SIDE):
            for colour in range(3):
                values = [float(image[row, column, colour]) for image in reconstructed]
                middle = sum(values) / count
                spread += math.sqrt(sum((v - middle) ** 2 for v in values) / (count - 1))
    pairs = list(combinations(range(count), 2))

    def similar(a, b):
        return metrics.ssim(a[None], b[None])[0]

    return {
        "spread": spread / (3 * SIDE * SIDE),
        "pair_mse": sum(((reconstructed[a] - reconstructed[b]) ** 2).mean() for a, b in pairs)
        / len(pairs),
        "pair_ssim": sum(similar(reconstructed[a], reconstructed[b]) for a, b in pairs)
        / len(pairs),
        "mse": sum(((image - truth) ** 2).mean() for image in reconstructed) / count,
        "mse_of_mean": ((mean - truth) ** 2).mean(),
        "ssim": sum(similar(image, truth) for image in reconstructed) / count,
        "ssim_of_mean": similar(mean, truth),
    }


@pytest.mark.parametrize("count", [2, 5])
def test_measures_are_those_of_loops(count):
    truth, reconstructed, errors, of_mean = case(count)
    found = restarts.measure(truth, reconstructed, errors, of_mean)
    assert tuple(found) == restarts.MEASURES
    for image in range(len(truth)):
        expected = literal(truth[image], reconstructed[:, image])
        middle = sum(errors[:, image]) / count
        squares = sum((error - middle) ** 2 for error in errors[:, image])
        expected |= {
            "representation_error": middle,
            "representation_error_spread": math.sqrt(squares / (count - 1)),
            "representation_error_of_mean": of_mean[image],
        }
        assert {name: values[image] for name, values in found.items()} == pytest.approx(expected)


def test_error_of_single_starts_is_that_of_their_mean_plus_their_variance():
    truth, reconstructed, errors, of_mean = case()
    found = restarts.measure(truth, reconstructed, errors, of_mean)
    variance = reconstructed.var(axis=0).mean(axis=(1, 2, 3))
    assert found["mse"] == pytest.approx(found["mse_of_mean"] + variance, rel=1e-12)
    assert found["pair_mse"] / 2 * 3 / 4 == pytest.approx(variance, rel=1e-12)


def test_equal_starts_have_no_spread():
    truth, reconstructed, errors, of_mean = case()
    found = restarts.measure(
        truth, np.stack([reconstructed[0]] * 3), np.stack([errors[0]] * 3), of_mean
    )
    for name in ("spread", "pair_mse", "representation_error_spread"):
        assert np.abs(found[name]).max() < 1e-12, name
    assert found["pair_ssim"] == pytest.approx(np.ones(3))
    assert found["mse"] == pytest.approx(found["mse_of_mean"])


def test_deviation_keeps_the_place():
    reconstructed = np.zeros((3, 2, 4, 4, 3))
    reconstructed[:, 1, 2, 3] = np.array([0.1, 0.2, 0.3])[:, None]
    found = restarts.deviation(reconstructed)
    assert found.shape == (2, 4, 4)
    assert found[1, 2, 3] == pytest.approx(0.1)
    assert np.count_nonzero(found > 1e-12) == 1


def rows(seed=0, layers=("conv1", "conv2"), recipe="tv", images=4):
    result = []
    for index, layer in enumerate(layers):
        truth, reconstructed, errors, of_mean = case(images=images, seed=seed + index)
        found = restarts.measure(truth, reconstructed, errors, of_mean)
        for image in range(len(truth)):
            values = [str(found[name][image]) for name in restarts.MEASURES]
            line = ("net", layer, recipe, f"{image}.png", "4", *values)
            result.append(dict(zip(restarts.COLUMNS, line, strict=True)))
    return result


def test_summary_is_the_mean_over_images_within_its_interval():
    lines = rows()
    columns, summary = restarts.summarise(lines, 0)
    assert [line[:6] for line in summary] == [
        ["net", layer, "tv", "4", 4, 4] for layer in ("conv1", "conv2")
    ]
    for line in summary:
        row = dict(zip(columns, line, strict=True))
        mine = [entry for entry in lines if entry["layer"] == row["layer"]]
        for name in restarts.MEASURES:
            values = [float(entry[name]) for entry in mine]
            assert row[name] == pytest.approx(sum(values) / 4)
            assert row[f"{name}_low"] - 1e-12 <= row[name] <= row[f"{name}_high"] + 1e-12
            assert row[f"{name}_low"] < row[f"{name}_high"]
        assert row["mse_ratio"] == pytest.approx(row["mse_of_mean"] / row["mse"])
        assert row["mse_ratio"] < 1


def test_starts_of_few_photographs_have_no_intervals_and_no_bands():
    columns, summary = restarts.summarise(rows(images=3), 0)
    table = [{k: str(v) for k, v in zip(columns, line, strict=True)} for line in summary]
    for row in table:
        assert {row[f"{name}{end}"] for name in restarts.MEASURES for end in ("_low", "_high")} == {
            ""
        }
        assert row["note"] == "no intervals: 3 photographs, at least 4 are needed"
    figure = ambiguity(table, "title")
    for axis in figure.axes:
        assert [band.get_paths() for band in axis.collections] == [[]] * len(axis.collections)
        assert len(axis.get_lines()[0].get_ydata()) == 2


# ------------------------------------------------------------------------------ results kept


def test_what_was_found_before_a_kill_is_not_asked_again(tmp_path):
    asked = []

    def compute(value):
        def answer(checkpoint):
            assert checkpoint.load() is None
            if value == "killed":
                checkpoint.save({"u": torch.ones(1)}, iteration=3)
                raise KeyboardInterrupt
            asked.append(value)
            return torch.full((2,), float(len(asked))), {"value": [value, math.inf]}

        return answer

    first = Memo(tmp_path / "out", ["key", 1])
    first("a", compute("a"))
    first("b", compute("b"))
    first("a", compute("a"))
    with pytest.raises(KeyboardInterrupt):
        first("c", compute("killed"))
    second = Memo(tmp_path / "out", ["key", 1])
    tensor, facts = second("b", compute("b"))
    assert torch.equal(tensor, torch.full((2,), 2.0))
    assert facts == {"value": ["b", math.inf]}

    def goes_on(checkpoint):
        assert checkpoint.load()[1]["iteration"] == 3
        return torch.zeros(2), {}

    second("c", goes_on)
    assert asked == ["a", "b"]
    assert Memo(tmp_path / "out", ["key", 2]).facts == {}
    second.remove()
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------ figures


def test_figure_shows_every_start_the_mean_and_one_scale_of_deviations():
    truth, reconstructed, *_ = case()
    shown = {"conv1": reconstructed[:, 0], "conv2": 0.5 + 0.1 * (reconstructed[:, 1] - 0.5)}
    figure = drawn(truth[0].astype(np.float32), shown, "title")
    panels = [axis for axis in figure.axes if axis.get_images()]
    assert len(panels) == 2 * 7
    assert [axis.get_title() for axis in panels[:7]] == [
        *("original", "start 0", "start 1", "start 2", "start 3", "mean", "deviation"),
    ]
    maps = [panels[index].get_images()[0] for index in (6, 13)]
    assert maps[0].get_clim() == maps[1].get_clim()
    assert maps[0].get_array().mean() > 5 * maps[1].get_array().mean()
    assert np.allclose(maps[0].get_array(), restarts.deviation(reconstructed[:, :1])[0])


def test_figure_of_ambiguity_has_a_line_a_recipe_and_panel():
    lines = rows() + rows(5, recipe="pure")
    columns, summary = restarts.summarise(lines, 0)
    table = [{k: str(v) for k, v in zip(columns, line, strict=True)} for line in summary]
    figure = ambiguity(table, "title")
    assert [len(axis.get_lines()) for axis in figure.axes] == [2, 2, 2, 4]
    spread = [float(row["spread"]) for row in table if row["recipe"] == "tv"]
    assert figure.axes[0].get_lines()[0].get_ydata() == pytest.approx(spread)


def test_baselines_are_grey_lines_of_the_squared_error_alone():
    lines = rows() + rows(5, recipe=baselines.COLOUR) + rows(6, recipe=baselines.IMAGE)
    columns, summary = restarts.summarise(lines, 0)
    table = [{k: str(v) for k, v in zip(columns, line, strict=True)} for line in summary]
    figure = ambiguity(table, "title")
    for axis, count in zip(figure.axes, (1, 1, 1, 4), strict=True):
        assert len([line for line in axis.get_lines() if len(line.get_xdata())]) == count
    for line, name in zip(figure.axes[3].get_lines()[-2:], baselines.NAMES, strict=True):
        expected = [float(row["mse"]) for row in table if row["recipe"] == name]
        assert line.get_ydata() == pytest.approx(expected)
    titles = [legend.get_title().get_text() for legend in figure.legends]
    assert "baselines" in titles
