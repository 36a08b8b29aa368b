"""Measures of moved photographs: real shifts, literal values, the table and its picture."""

import numpy as np
import pytest
from matplotlib import pyplot
from PIL import Image

from deep_restoration.data import images
from deep_restoration.evaluation import intervals, metrics, moved
from deep_restoration.figures import quality
from deep_restoration.networks import graph

SIZE = 24


@pytest.fixture(autouse=True)
def close():
    yield
    pyplot.close("all")


@pytest.fixture(scope="module")
def photograph():
    """Where each pixel says its place: row, column, and their sum."""
    rows, columns = np.indices((SIZE + 8, 40))
    return np.stack([rows, columns, rows + columns], -1).astype(np.uint8)


def test_windows_are_cut_from_the_photograph_and_not_turned_round(photograph):
    found = moved.windows(photograph, SIZE)
    assert found.shape == (9, SIZE, SIZE, 3)
    left = (40 - SIZE - 8) // 2
    for pixels, window in enumerate(found):
        for row in range(SIZE):
            for column in range(SIZE):
                place = (row + 4, column + left + pixels)
                assert tuple(window[row, column]) == (*place, sum(place))


def test_photographs_are_large_enough_and_no_crops():
    found = dict(moved.photographs("embedded", "", [], SIZE))
    assert list(found) == list(images.EMBEDDED["test"])
    for shown in found.values():
        assert min(shown.shape[:2]) == SIZE + 8
        assert max(shown.shape[:2]) > SIZE + 8 or shown.shape[0] == shown.shape[1]


def test_files_that_are_too_small_or_unreadable_are_left_out(tmp_path):
    for name, side in {"a.png": SIZE + 8, "b.png": SIZE + 7, "c.png": 50}.items():
        Image.new("RGB", (side, side), "red").save(tmp_path / name)
    (tmp_path / "d.png").write_bytes(b"nothing")
    names = ["a.png", "b.png", "c.png", "d.png"]
    found = list(moved.photographs("folder", str(tmp_path), names, SIZE))
    assert [(name, shown.shape) for name, shown in found] == [
        ("a.png", (SIZE + 8, SIZE + 8, 3)),
        ("c.png", (SIZE + 8, SIZE + 8, 3)),
    ]


def test_of_many_files_some_are_measured(tmp_path):
    for index in range(20):
        Image.new("RGB", (SIZE + 8, SIZE + 8)).save(tmp_path / f"{index:02}.png")
    names = sorted(path.name for path in tmp_path.iterdir())
    assert len(list(moved.photographs("folder", str(tmp_path), names, SIZE))) == 16


def test_values_are_those_of_the_windows_one_by_one(small_classifier):
    steps, state = small_classifier
    network = graph.Network(steps, ["conv1", "conv2"]).load(state)
    (_, photograph), *_ = moved.photographs("embedded", "", [], SIZE)
    shown = moved.windows(photograph, SIZE)
    found = moved.measure(shown, network)
    assert list(found) == ["conv1", "conv2"]
    targets = network(images.as_tensor(shown[:1]))
    for pixels, window in enumerate(shown):
        alone = network(images.as_tensor(window[None]))
        mse = np.square(window / 255 - shown[0] / 255).mean()
        similar = metrics.ssim(shown[:1] / 255, window[None] / 255)[0]
        for layer, values in found.items():
            error = (alone[layer] - targets[layer]).square().sum() / targets[layer].square().sum()
            assert values[pixels] == pytest.approx((mse, similar, float(error)), rel=1e-4, abs=1e-9)


def test_ssim_and_mse_are_not_translation_invariant():
    """The answer to Harder's question, on photographs of this size: one pixel is seen by every measure."""
    for _, photograph in moved.photographs("embedded", "", [], 96):
        shown = moved.windows(photograph, 96) / 255
        similar = metrics.ssim(shown[[0] * 9], shown)
        assert similar[0] == pytest.approx(1)
        steps = -np.diff(similar)
        assert (steps[:3] > 0).all()
        assert steps[:2].sum() > steps[2:].sum()
        assert similar[1] < 0.99
        assert (metrics.mse(shown[[0] * 9], shown)[1:] > 0).all()


def rows(photographs=5):
    draw = np.random.default_rng(0)
    return [
        dict(zip(moved.COLUMNS, ("net", layer, f"{image}.jpg", str(pixels), *values), strict=True))
        for layer in ("conv1", "conv2")
        for image in range(photographs)
        for pixels in range(9)
        for values in [map(str, draw.random(3) * pixels)]
    ]


def test_summary_is_the_mean_over_photographs_with_its_interval():
    lines = rows()
    columns, summary = moved.summarise(lines, 0)
    assert len(summary) == 2 * 9
    for line in summary:
        row = dict(zip(columns, line, strict=True))
        mine = [r for r in lines if (r["layer"], r["pixels"]) == (row["layer"], row["pixels"])]
        assert (row["photographs"], row["note"]) == (5, "")
        for name in moved.MEASURES:
            values = [float(r[name]) for r in mine]
            assert row[name] == pytest.approx(sum(values) / 5)
            limits = intervals.bootstrap_interval(values, [r["image"] for r in mine], 0)
            assert (row[f"{name}_low"], row[f"{name}_high"]) == limits


@pytest.mark.parametrize("photographs", [5, 3])
def test_figure_has_a_line_for_images_and_one_a_layer_for_maps(photographs):
    columns, summary = moved.summarise(rows(photographs), 0)
    table = [{k: str(v) for k, v in zip(columns, line, strict=True)} for line in summary]
    figure = quality.moved(table, "title")
    assert [len(axis.get_lines()) for axis in figure.axes] == [1, 1, 2]
    for axis, name in zip(figure.axes, ("ssim", "mse", "representation_error"), strict=True):
        for line, layer in zip(axis.get_lines(), ("conv1", "conv2"), strict=False):
            expected = [float(row[name]) for row in table if row["layer"] == layer]
            assert line.get_xdata().tolist() == list(range(9))
            assert line.get_ydata() == pytest.approx(expected)
        for band in axis.collections:
            assert bool(band.get_paths()) == (photographs >= intervals.FEWEST)


def test_figure_of_nothing_says_so():
    figure = quality.moved([], "title")
    assert "no test photograph is large enough" in figure.get_suptitle()
    figure.draw_without_rendering()
