"""Schedules of pre-image optimisation: rates by iteration, and when an image is done."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch


@dataclass(frozen=True)
class Phase:
    """A run of iterations at one rate.

    Over the first `warmup` iterations the rate rises linearly; `decay` lets it fall by half a cosine to
    a hundredth in those after them. `jitter`: the image is shifted at random in each iteration. `priors`:
    whether they are part of the objective.
    """

    iterations: int
    rate: float
    jitter: bool = False
    decay: bool = False
    warmup: int = 0
    priors: bool = True

    def rate_at(self, iteration: int) -> float:
        """The rate of iteration 0, 1, ... of the phase."""
        if iteration < self.warmup:
            return self.rate * (iteration + 1) / self.warmup
        if not self.decay:
            return self.rate
        progress = (iteration - self.warmup) / (self.iterations - self.warmup)
        return self.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress)))


class Moment(NamedTuple):
    """An iteration: the number of its phase and its own in that phase, from 0; `count`, from 1, is its
    number in the run."""

    phase: int
    local: int
    count: int


def moments(phases: Sequence[Phase]) -> list[Moment]:
    """All iterations in order. Phases that follow each other and agree about jitter and priors make up a
    run."""
    found: list[Moment] = []
    count = 0
    for number, phase in enumerate(phases):
        if begins_run(phases, number):
            count = 0
        for local in range(phase.iterations):
            count += 1
            found.append(Moment(number, local, count))
    return found


def begins_run(phases: Sequence[Phase], number: int) -> bool:
    """Whether this phase differs from the one before in jitter or in priors, or is the first."""
    kinds = [(phase.jitter, phase.priors) for phase in phases]
    return number == 0 or kinds[number] != kinds[number - 1]


@dataclass(frozen=True)
class Plateau:
    """An image is done when its objective has fallen by less than the share `change` of its size over
    the last `over` iterations.

    Jitter and sampled positions move the objective by chance; with these, means over `over` iterations
    are compared, which takes twice as many.
    """

    change: float
    over: int

    def history(self, count: int, sampled: bool, device: torch.device) -> torch.Tensor:
        """Of the objectives of `count` images in a phase, which has not begun."""
        length = self.over + (self.over if sampled else 1)
        return torch.full((count, length), math.inf, device=device)

    def reached(self, history: torch.Tensor, objective: torch.Tensor) -> torch.Tensor:
        """Append the objectives (N,) to the others; which images are done, (N,)."""
        history.copy_(torch.cat([history[:, 1:], objective[:, None]], 1))
        width = history.shape[1] - self.over
        before, now = history[:, :width].mean(1), history[:, self.over :].mean(1)
        # False as long as there is no full history: infinity is not less than itself.
        return before - now < self.change * before.abs()
