"""Training of priors that are networks, on crops of maps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import nn

from ..runtime import devices, seeds
from ..runtime.batches import Batches
from ..runtime.checkpoints import Checkpoint
from ..runtime.schedules import warm_cosine
from ..runtime.training import Options, fit

# (images of a part of the batch) -> its mean loss
Loss = Callable[[slice], tuple[torch.Tensor]]
TESTED = 64  # held-out crops


class Plan(Protocol):
    """steps, batch and rate of Adam."""

    @property
    def steps(self) -> int: ...

    @property
    def batch(self) -> int: ...

    @property
    def rate(self) -> float: ...


def crops(source: np.ndarray, count: int, side: int, draw: torch.Generator) -> torch.Tensor:
    """Crops, count x C x side x side, of maps N x C x H x W drawn at random: of uint8 images in [0, 1].

    Images are turned and mirrored, which leaves photographs natural; maps of such images are other maps.
    """
    image = source.dtype == np.uint8
    limits = (len(source), source.shape[2] - side + 1, source.shape[3] - side + 1, 8)
    numbers = torch.stack([torch.randint(n, (count,), generator=draw) for n in limits], 1)
    result = np.empty((count, source.shape[1], side, side), np.float32)
    for crop, (index, top, left, turn) in zip(result, numbers.tolist(), strict=True):
        part = source[index, :, top : top + side, left : left + side]
        if image:
            part = np.rot90(part, turn // 2, (1, 2))
            part = part[..., ::-1] if turn % 2 else part
        crop[...] = part
    return torch.from_numpy(result).to(devices.device()).div_(255 if image else 1)


def train(
    network: nn.Module,
    losses: Callable[[np.ndarray, int, torch.Generator], Loss],
    maps: np.ndarray,
    held_out: np.ndarray,
    plan: Plan,
    names: tuple[str, str],
    seed: int,
    checkpoint: Checkpoint,
    average: float | None = None,
) -> list[tuple]:
    """Fit `network` by Adam to the losses of batches drawn from `maps`; `losses` is given these or the
    `held_out` ones, how many to draw and from what.

    `names`: of the kind of network, on which its random numbers depend, and in messages. `average`: as of
    runtime.training.Options. The rate rises over the first twentieth of the steps and falls by half a
    cosine. Batches that do not fit into memory are halved, and their gradients added up. Leaves the network
    with the weights of the best held-out objective. Returns rows (step, objective, held-out objective,
    seconds). Raises DivergedError naming the step.
    """
    (kind, what), parameters = names, list(network.parameters())
    learning = Batches(plan.batch, f"training the {what}")
    testing = Batches(TESTED, f"training the {what}")

    def gradient(step: int) -> list[torch.Tensor]:
        loss = losses(maps, plan.batch, seeds.generator(seed, kind, "batch", step))
        return learning.backward(loss, plan.batch, parameters)

    def objective() -> float:
        loss = losses(held_out, TESTED, torch.Generator().manual_seed(0))
        return sum(
            value.item() * (part.stop - part.start) / TESTED
            for part, (value,) in testing(loss, TESTED)
        )

    optimiser = torch.optim.Adam(parameters, plan.rate)
    options = Options(
        plan.steps, partial(warm_cosine, warm=0.05, least=1e-3), clip=1.0, average=average
    )
    return fit(what, network, optimiser, gradient, options, checkpoint, objective)


def units(maps: np.ndarray) -> tuple[torch.Tensor, float]:
    """Mean of every channel, and standard deviation of all, of maps N x C x H x W."""
    sample = maps[:: max(1, len(maps) // 200)].astype(np.float32)
    sample = sample / 255 if maps.dtype == np.uint8 else sample
    return torch.from_numpy(sample.mean((0, 2, 3))), float(sample.std()) or 1.0
