"""When recipes reach which SSIM: traces of several batches, thresholds, the table and its picture."""

import numpy as np
import pytest

from deep_restoration.evaluation import time_to_quality
from deep_restoration.evaluation.time_to_quality import BEST, COLUMNS
from deep_restoration.figures import quality

FAMILIES = {"tv": "hand-crafted", "pure": "hand-crafted", "foe": "learned", "inverter": "inverter"}


def trace(*batches, images, seconds, term="ssim"):
    rows = [
        {"batch": start, "iteration": iteration, "term": term, "value": value, "seconds": clock}
        for start, marks in batches
        for iteration, value, clock in marks
    ]
    last = {"batch": 0, "iteration": 0, "term": "seconds per image"}
    rows.append(last | {"value": seconds / images, "seconds": seconds})
    return [{key: str(value) for key, value in row.items()} for row in rows]


@pytest.fixture
def two_batches():
    """Sixty-four images and sixteen."""
    one = (0, [(1, 0.1, 2.0), (2, 0.3, 4.0), (4, 0.5, 8.0)])
    two = (64, [(1, 0.2, 1.0), (2, 0.6, 2.0), (4, 0.7, 3.5)])
    return trace(one, two, images=80, seconds=11.5)


def test_batches_weigh_by_their_images_and_their_seconds_add_up(two_batches):
    (iteration, value, seconds), count = time_to_quality.curve(two_batches)
    assert count == 80
    assert iteration.tolist() == [1, 2, 4]
    expected = [(64 * a + 16 * b) / 80 for a, b in ((0.1, 0.2), (0.3, 0.6), (0.5, 0.7))]
    assert value == pytest.approx(expected, rel=1e-14)
    assert seconds == pytest.approx([3 / 80, 6 / 80, 11.5 / 80], rel=1e-14)


def test_order_of_rows_does_not_matter(two_batches):
    straight, _ = time_to_quality.curve(two_batches)
    turned, _ = time_to_quality.curve(reversed(two_batches))
    for one, two in zip(straight, turned, strict=True):
        assert one == pytest.approx(two, rel=1e-14)


def test_a_batch_that_stopped_earlier_counts_as_it_was():
    one = (0, [(1, 0.1, 2.0), (2, 0.3, 4.0)])
    two = (2, [(2, 0.5, 2.0), (3, 0.9, 3.0)])
    (iteration, value, seconds), _ = time_to_quality.curve(trace(one, two, images=4, seconds=7))
    assert iteration.tolist() == [2, 3]  # before, the second one has no mark
    assert value == pytest.approx([0.4, 0.6])
    assert seconds == pytest.approx([6 / 4, 7 / 4])


def test_an_inverse_network_is_one_point():
    found, count = time_to_quality.curve(trace((0, [(0, 0.45, 0.08)]), images=4, seconds=0.08))
    assert [values.tolist() for values in found] == [[0], [0.45], [0.02]]
    assert count == 4


def test_a_trace_without_the_term_is_an_error(two_batches):
    with pytest.raises(ValueError, match="no image"):
        time_to_quality.curve(two_batches, "image")
    with pytest.raises(ValueError, match="no seconds per image"):
        time_to_quality.curve(two_batches[:-1])


def curve(*values, each=1.0):
    count = len(values)
    return np.arange(1, count + 1), np.array(values), each * np.arange(1, count + 1)


def test_thresholds_run_up_to_what_any_recipe_reaches():
    assert time_to_quality.thresholds([curve(0.1, 0.35), curve(0.2, 0.61)]) == [
        *(0.2, 0.3, 0.4, 0.5, 0.6)
    ]
    assert time_to_quality.thresholds([curve(0.1, 0.3)]) == [0.2, 0.3]  # 3 times 0.1 is not 0.3
    assert time_to_quality.thresholds([curve(0.1)]) == []


def test_first_mark_at_a_threshold_by_search():
    found = curve(0.1, 0.5, 0.4, 0.7)
    for threshold in (0.05, 0.1, 0.3, 0.5, 0.6, 0.7, 0.71):
        expected = next((i for i, v in enumerate(found[1]) if v >= threshold), None)
        assert time_to_quality.reached(found, threshold) == expected


@pytest.fixture
def curves():
    return {
        "pure": (curve(0.1, 0.2, 0.25), 4),
        "tv": (curve(0.2, 0.5, 0.45), 4),  # ends below what it had
        "foe": (curve(0.3, 0.4, 0.46, 0.6, each=3.0), 4),
        "inverter": (curve(0.5, each=0.02), 4),
    }


def test_table_of_a_layer(curves):
    rows = [
        dict(zip(COLUMNS, row, strict=True))
        for row in time_to_quality.table("net", "conv1", curves, FAMILIES)
    ]
    targets = ["0.2", "0.3", "0.4", "0.5", "0.6", BEST]
    assert [(row["target"], row["recipe"]) for row in rows] == [
        (target, recipe) for target in targets for recipe in curves
    ]
    seconds = {(row["target"], row["recipe"]): row["seconds"] for row in rows}
    assert [seconds["0.2", recipe] for recipe in curves] == [2.0, 1.0, 3.0, 0.02]
    assert [seconds["0.5", recipe] for recipe in curves] == ["", 2.0, 12.0, 0.02]
    assert [seconds["0.6", recipe] for recipe in curves] == ["", "", 12.0, ""]
    assert [seconds[BEST, recipe] for recipe in curves] == ["", 2.0, 9.0, 0.02]
    last = rows[-2]
    assert (last["ssim"], last["iteration"], last["family"], last["images"]) == (
        0.45,
        3,
        "learned",
        4,
    )
    assert (last["final_ssim"], last["final_seconds"]) == (0.6, 12.0)


def test_without_hand_crafted_recipes_there_is_no_best_of_them(curves):
    mine = {"foe": curves["foe"]}
    targets = {row[5] for row in time_to_quality.table("net", "conv1", mine, FAMILIES)}
    assert BEST not in targets
    assert time_to_quality.best_final({"foe": curves["foe"][0]}, FAMILIES) is None


def test_picture_marks_where_recipes_are_as_good_as_the_best_hand_crafted_one(curves):
    known = {recipe: found for recipe, (found, _) in curves.items()}
    layers = {"conv1": known, "conv2": {"foe": known["foe"]}}
    figure = quality.quality_against_time(layers, FAMILIES, "title")
    one, two = figure.axes
    rings = [tuple(line.get_xydata()[0]) for line in one.lines if line.get_markersize() == 10]
    assert rings == [(2.0, 0.5), (9.0, 0.46), (0.02, 0.5)]
    (dashed,) = [line for line in one.lines if list(line.get_ydata()) == [0.45, 0.45]]
    assert dashed.get_linestyle() == "--"
    assert one.texts[0].get_text() == "dashed: tv ends at 0.45"
    assert (len(two.lines), len(two.texts)) == (1, 0)
    assert [axis.get_title() for axis in figure.axes] == ["conv1", "conv2"]
    titles = [legend.get_title().get_text() for legend in figure.legends]
    assert titles == ["hand-crafted", "learned", "inverter"]
    figure.draw_without_rendering()
