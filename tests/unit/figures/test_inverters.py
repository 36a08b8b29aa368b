import numpy as np
import pytest
from matplotlib import pyplot

from deep_restoration.evaluation import baselines
from deep_restoration.figures import inverters, reconstructions

LAYERS = ("conv1", "conv2", "conv3")


@pytest.fixture(autouse=True)
def close():
    yield
    pyplot.close("all")


def labels(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def history(factor):
    return {"step": np.arange(1, 5), "validation_image_error": factor * np.geomspace(1, 0.1, 4)}


def test_training_has_a_panel_a_layer_and_a_line_a_replicate():
    histories = {
        layer: {"joint": [history(1), history(2)], "end_to_end": [history(3)]} for layer in LAYERS
    }
    figure = inverters.training(histories, "title")
    assert figure.get_suptitle() == "title"
    assert [axis.get_title() for axis in figure.axes] == list(LAYERS)
    assert labels(figure) == ["joint", "end to end"]
    for axis in figure.axes:
        assert axis.get_yscale() == "log"
        assert len(axis.lines) == 3
        for line, factor in zip(axis.lines, (1, 2, 3), strict=True):
            np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3, 4])
            np.testing.assert_array_equal(
                line.get_ydata(), history(factor)["validation_image_error"]
            )
        first, second, other = (line.get_color() for line in axis.lines)
        assert first == second != other


def test_networks_keep_their_colours_where_layers_have_them_in_another_order():
    tables = {"joint": [history(1)], "separate": [history(2)]}
    turned = dict(reversed(tables.items()))
    figure = inverters.training({"conv1": tables, "conv2": turned}, "title")
    first, second = ([line.get_color() for line in axis.lines] for axis in figure.axes)
    assert first == second[::-1]


ENDS = {"": 2.0, "_low": 1.0, "_high": 3.0, "_least": 1.5, "_most": 2.25}
MEASURES = ("mse", "psnr", "ssim", "representation_error")


def summary(names, ends=ENDS):
    """Rows of a table: the n-th measure of the n-th layer and network is n times another."""
    return [
        {"layer": layer, "inverter": name}
        | {
            f"{measure}{end}": "" if value == "" else str((1 + i) * (1 + j) * (1 + k) * value)
            for k, measure in enumerate(MEASURES)
            for end, value in ends.items()
        }
        for i, layer in enumerate(LAYERS)
        for j, name in enumerate(names)
    ]


def test_error_by_depth_shows_means_and_the_range_of_replicates():
    rows = summary(("joint", "end_to_end"))
    figure = inverters.by_depth(rows[::-1], LAYERS, "title")
    assert labels(figure) == ["end to end", "joint"]
    names = ["MSE", "PSNR (dB)", "SSIM", "representation error"]
    assert [axis.get_ylabel() for axis in figure.axes] == names
    assert [axis.get_yscale() for axis in figure.axes] == ["log", "linear", "linear", "log"]
    for k, axis in enumerate(figure.axes):
        assert [label.get_text() for label in axis.get_xticklabels()] == list(LAYERS)
        assert len(axis.containers) == 2
        for j, errors in zip((1, 0), axis.containers, strict=True):
            factors = (1 + j) * (1 + k) * np.array([1, 2, 3])
            np.testing.assert_allclose(errors.lines[0].get_ydata(), 2 * factors)
            bars = np.array([sorted(bar[:, 1]) for bar in errors.lines[2][0].get_segments()])
            np.testing.assert_allclose(bars, factors[:, None] * [1.5, 2.25])
        for j, band in zip((1, 0), axis.collections[1::2], strict=True):
            heights = band.get_paths()[0].vertices[:, 1]
            factor = (1 + j) * (1 + k)
            assert (heights.min(), heights.max()) == pytest.approx((factor, 9 * factor))


def test_error_by_depth_of_few_photographs_has_no_band():
    rows = summary(("joint",), ENDS | {"_low": "", "_high": ""})
    figure = inverters.by_depth(rows, LAYERS, "title")
    figure.canvas.draw()
    for axis in figure.axes:
        assert len(axis.containers[0].lines[0].get_ydata()) == 3
        assert axis.collections[1].get_paths() == []


def test_baselines_are_grey_lines_beside_the_networks():
    rows = summary((*baselines.NAMES, "joint"))
    figure = inverters.by_depth(rows, LAYERS, "title")
    assert labels(figure) == ["mean colour", "mean image", "joint"]
    for k, axis in enumerate(figure.axes):
        assert len(axis.containers) == 1
        grey = [line for line in axis.lines if line.get_color() == "0.5"]
        for j, line in enumerate(grey, 1):
            np.testing.assert_allclose(line.get_ydata(), 2 * j * (1 + k) * np.array([1, 2, 3]))
        assert len(grey) == 2


def test_inversions_show_both_error_images_of_every_layer():
    truth = np.random.default_rng(0).random((8, 8, 3))
    reconstructed = {name: [truth * share for share in (1, 0.9, 0.5)] for name in ("a", "b")}
    figure = inverters.inversions(truth, reconstructed, LAYERS, "title")
    axes = np.array(figure.axes).reshape(6, 4)
    shown = [[len(axis.images) for axis in line] for line in axes]
    assert shown == [[1, 1, 1, 1], [0, 1, 1, 1], [0, 1, 1, 1]] * 2
    assert [axis.get_title() for axis in axes[0]] == ["original", *LAYERS]
    names = ["a", "signed difference", "absolute difference"]
    names += ["b", "signed difference", "absolute difference"]
    assert [axis.get_ylabel() for axis in axes[:, 0]] == names
    np.testing.assert_array_equal(axes[0, 0].images[0].get_array(), truth)
    np.testing.assert_array_equal(axes[1, 1].images[0].get_array(), np.full((8, 8, 3), 0.5))
    np.testing.assert_array_equal(axes[3, 3].images[0].get_array(), truth * 0.5)
    np.testing.assert_allclose(axes[4, 3].images[0].get_array(), 0.5 + 0.5 * truth / truth.max())
    np.testing.assert_allclose(axes[5, 3].images[0].get_array(), truth / truth.max())


def test_traces_show_error_by_iteration_and_by_seconds():
    iterations, seconds = np.array([1, 2, 3]), np.array([0.1, 0.2, 0.3])
    many = {
        "data": (iterations, np.array([0.5, 0.2, 0.1]), seconds),
        "image": (iterations, np.array([0.4, 0.3, 0.25]), seconds),
    }
    once = (np.array([0]), np.array([0.04]), np.array([0.01]))
    many["ssim"] = (iterations[[0, 2]], np.array([0.2, 0.6]), seconds[[0, 2]])
    curves = {"tv": many, "inverter_joint": {"image": once, "ssim": once}}
    families = {"tv": "hand-crafted", "inverter_joint": "inverter"}
    figure = reconstructions.traces(curves, families, "title")
    left, right, last = figure.axes
    np.testing.assert_array_equal(last.lines[0].get_xydata(), [[0.1, 0.2], [0.3, 0.6]])
    np.testing.assert_array_equal(last.lines[1].get_xydata(), [[0.01, 0.04]])
    assert [line.get_marker() for line in last.lines] == ["o", "D"]
    assert last.get_ylabel() == "SSIM"
    assert (len(left.lines), len(right.lines)) == (1, 2)
    np.testing.assert_array_equal(left.lines[0].get_xdata(), iterations)
    np.testing.assert_array_equal(left.lines[0].get_ydata(), many["data"][1])
    np.testing.assert_array_equal(right.lines[0].get_xdata(), seconds)
    np.testing.assert_array_equal(right.lines[0].get_ydata(), many["image"][1])
    np.testing.assert_array_equal(right.lines[1].get_xydata(), [[0.01, 0.04]])
    assert [line.get_marker() for line in right.lines] == ["None", "D"]
    assert left.lines[0].get_color() == right.lines[0].get_color() != right.lines[1].get_color()
    assert (left.get_ylabel(), right.get_ylabel()) == ("representation error", "image MSE")
    assert labels(figure) == ["tv", "inverter joint"]


def test_traces_of_nothing_have_no_legend():
    figure = reconstructions.traces({"tv": {}}, {"tv": "hand-crafted"}, "title")
    assert [len(axis.lines) for axis in figure.axes] == [0, 0, 0]
    assert figure.legends == []
