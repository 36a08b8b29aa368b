"""Learning-rate schedules beside their formulas."""

import math
from itertools import pairwise

import pytest
import torch

from deep_restoration.runtime import schedules


def test_a_constant_rate_is_the_whole_one():
    assert {schedules.constant(step, 9) for step in range(9)} == {1.0}


@pytest.mark.filterwarnings("ignore:Detected call of")
@pytest.mark.parametrize("steps", [1, 2, 7, 1000])
def test_the_cosine_is_that_of_torch(steps):
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    annealing = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    for step in range(steps):
        rate = 0.3 * schedules.cosine(step, steps)
        assert rate == pytest.approx(optimiser.param_groups[0]["lr"], rel=1e-9)
        annealing.step()
    assert schedules.cosine(steps, steps) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize(("warm", "least"), [(0.02, 0.01), (0.05, 1e-3)])
@pytest.mark.parametrize("steps", [1, 10, 400])
def test_a_warm_cosine_is_its_formula(warm, least, steps):
    for step in range(steps):
        rise = (step + 1) / (warm * steps)
        fall = (1 + math.cos(math.pi * step / steps)) / 2
        expected = (rise if rise < 1 else 1) * (fall if fall > least else least)
        found = schedules.warm_cosine(step, steps, warm=warm, least=least)
        assert found == pytest.approx(expected, rel=1e-12)


def test_one_cycle_rises_over_a_tenth_and_falls_to_zero():
    rates = [schedules.one_cycle(step, 100) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[10] == 1 == max(rates)
    assert rates[55] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0, abs=1e-12)
    assert all(b > a for a, b in pairwise(rates[:11]))
    assert all(b < a for a, b in pairwise(rates[10:]))
