import re

import numpy as np
import pytest

from deep_restoration.evaluation import baselines
from deep_restoration.study import schema


def row(recipe, error, **values):
    return {"recipe": recipe, "representation_error": str(error)} | {
        key: str(value) for key, value in values.items()
    }


def test_baselines_are_the_mean_colour_and_the_mean_image():
    mean = np.random.default_rng(0).random((5, 4, 3))
    found = baselines.pictures(mean)
    assert tuple(found) == baselines.NAMES
    np.testing.assert_allclose(found[baselines.IMAGE], mean, rtol=1e-6)
    for channel in range(3):
        colour = sum(mean[y, x, channel] for y in range(5) for x in range(4)) / 20
        np.testing.assert_allclose(found[baselines.COLOUR][..., channel], colour, rtol=1e-6)
    assert {picture.dtype for picture in found.values()} == {np.dtype("float32")}


def test_no_recipe_can_be_called_like_a_baseline():
    known = schema.of_study()["properties"]
    for entries in ("recipes", "inverters"):
        allowed = re.compile(known[entries]["propertyNames"]["pattern"])
        assert allowed.search("tv")
        assert not any(allowed.search(name) for name in baselines.NAMES)


@pytest.mark.parametrize(("measure", "best"), [("ssim", "b"), ("psnr", "b"), ("mse", "a")])
def test_the_winner_is_the_best_of_those_that_explain_the_layer(measure, best):
    rows = [
        row(baselines.COLOUR, 0.1, **{measure: 9}),
        row("a", 0.5, **{measure: 1}),
        row("b", 0.2, **{measure: 2}),
        row("grey", 0.500001, **{measure: 3 if measure != "mse" else 0}),
    ]
    assert baselines.winner(rows, measure)["recipe"] == best
    assert [r["recipe"] for r in baselines.eligible(rows)] == ["a", "b"]


def test_where_no_recipe_explains_the_layer_the_best_of_all_wins_but_no_baseline():
    rows = [row(baselines.IMAGE, 0.1, mse=0), row("a", 0.9, mse=2), row("b", 0.8, mse=3)]
    assert baselines.winner(rows, "mse")["recipe"] == "a"
    assert not baselines.explains(rows[1])
