"""Learning-rate schedules: the share of an optimiser's rate at a step, from 0, of so many steps."""

from __future__ import annotations

import math
from collections.abc import Callable

Schedule = Callable[[int, int], float]  # (step, steps) -> share of the rate


def constant(step: int, steps: int) -> float:
    """The whole rate at every step."""
    return 1.0


def cosine(step: int, steps: int) -> float:
    """Down by half a cosine (Loshchilov & Hutter 2017, eq. (5), without restarts): 0 after the last step."""
    return 0.5 * (1 + math.cos(math.pi * step / steps))


def warm_cosine(step: int, steps: int, warm: float, least: float) -> float:
    """`cosine`, not below `least`, times a linear rise over the first share `warm` of the steps."""
    return min(1.0, (step + 1) / (warm * steps)) * max(least, cosine(step, steps))


def one_cycle(step: int, steps: int) -> float:
    """A linear rise from a tenth over the first tenth of the steps, then half a cosine down to 0."""
    share = step / steps
    if share < 0.1:
        return 0.1 + 9 * share
    return 0.5 * (1 + math.cos(math.pi * (share - 0.1) / 0.9))
