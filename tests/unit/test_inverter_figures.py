import numpy as np
import pytest
from matplotlib import pyplot

from deep_restoration import figures, inverter_figures

LAYERS = ("conv1", "conv2", "conv3")


@pytest.fixture(autouse=True)
def close():
    yield
    pyplot.close("all")


def labels(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def test_training_has_a_panel_a_layer_and_a_line_a_replicate():
    table = {"step": np.arange(1, 5), "validation_image_error": np.geomspace(1, 0.1, 4)}
    histories = {layer: {"joint": [table, table], "end_to_end": [table]} for layer in LAYERS}
    figure = inverter_figures.training(histories, "title")
    assert [axis.get_title() for axis in figure.axes] == list(LAYERS)
    assert all(len(axis.lines) == 3 for axis in figure.axes)
    assert labels(figure) == ["joint", "end to end"]


def test_error_by_depth_shows_means_and_the_range_of_replicates():
    measures = ("mse", "psnr", "ssim", "representation_error")
    ends = {"": 2.0, "_low": 1.0, "_high": 3.0, "_least": 1.5, "_most": 2.25}
    rows = [
        {"layer": layer, "inverter": name}
        | {f"{measure}{end}": str(value) for measure in measures for end, value in ends.items()}
        for layer in LAYERS
        for name in ("joint", "separate")
    ]
    figure = inverter_figures.by_depth(rows, LAYERS, "title")
    assert labels(figure) == ["joint", "separate"]
    for axis in figure.axes:
        assert len(axis.containers) == 2
        bars = axis.containers[0].lines[2][0].get_segments()
        assert [sorted(bar[:, 1]) for bar in bars] == [[1.5, 2.25]] * 3
        assert [label.get_text() for label in axis.get_xticklabels()] == list(LAYERS)


def test_inversions_show_both_error_images_of_every_layer():
    truth = np.random.default_rng(0).random((8, 8, 3))
    restored = {name: [truth * share for share in (1, 0.9, 0.5)] for name in ("a", "b")}
    figure = inverter_figures.inversions(truth, restored, LAYERS, "title")
    axes = np.array(figure.axes).reshape(6, 4)
    shown = [[len(axis.images) for axis in line] for line in axes]
    assert shown == [[1, 1, 1, 1], [0, 1, 1, 1], [0, 1, 1, 1]] * 2
    assert [axis.get_title() for axis in axes[0]] == ["original", *LAYERS]
    np.testing.assert_array_equal(axes[1, 1].images[0].get_array(), np.full((8, 8, 3), 0.5))
    np.testing.assert_array_equal(axes[3, 3].images[0].get_array(), truth * 0.5)


def test_traces_show_error_by_iteration_and_by_seconds():
    many = (np.array([1, 2, 3]), np.array([0.5, 0.2, 0.1]), np.array([0.1, 0.2, 0.3]))
    once = (np.array([0]), np.array([0.04]), np.array([0.01]))
    curves = {"tv": {"data": many, "image": many}, "inverter_joint": {"image": once}}
    figure = figures.traces(curves, "title")
    left, right = figure.axes
    assert (len(left.lines), len(right.lines)) == (1, 2)
    assert right.lines[1].get_marker() == "D"
    np.testing.assert_array_equal(right.lines[0].get_xdata(), many[2])
    assert labels(figure) == ["tv", "inverter joint"]
