"""Rows of what is known of learned priors."""

import numpy as np
import pytest

from deep_restoration.evaluation import intervals
from deep_restoration.priors import filters, tables


def test_the_share_of_good_filters_counts_the_limit():
    described = {"explained": np.array([filters.GOOD, 0.1, 0.95, filters.GOOD - 1e-9])}
    assert tables.gabor_share(described) == 0.5


def test_a_training_is_its_end_and_its_least_objective():
    history = {
        "step": np.array([0.0, 50, 100]),
        "seconds": np.array([0.0, 1.5, 3.25]),
        "held_out_objective": np.array([3.0, 1.0, 2.0]),
    }
    assert tables.trained(history) == (100, 3.25, 1.0)


@pytest.mark.parametrize("count", [3, 6])
def test_denoising_is_means_with_an_interval(count):
    draw, facts = np.random.default_rng(0), ("tv", "MAP", "grey")
    rows = [
        {
            **dict(zip(("prior", "estimator", "colour"), facts, strict=True)),
            **{"image": f"{index}.png", "sigma": "25", "weight": "0.1"},
            **{key: repr(float(draw.random())) for key in tables.MEANS},
        }
        for index in range(count)
    ]
    found = dict(zip(tables.DENOISED, tables.denoised(rows, 7), strict=True))
    assert tuple(found.values())[:7] == (*facts, count, count, "25", "0.1")
    for key in tables.MEANS:
        assert found[key] == pytest.approx(np.mean([float(row[key]) for row in rows]))
    names = [row["image"] for row in rows]
    psnr = [float(row["psnr"]) for row in rows]
    limits = intervals.cells(intervals.bootstrap_interval(psnr, names, 7))
    assert [found["psnr_low"], found["psnr_high"]] == limits
    assert bool(found["note"]) == (count == 3) == (limits == ["", ""])
