"""Training of priors that are networks: crops of maps, and a loop that can be continued."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import nn

from ..runtime import devices, seeds
from ..runtime.batches import Batches
from ..runtime.checkpoints import Checkpoint, optimiser_state, restore_optimiser
from ..runtime.progress import progress

# (images of a part of the batch) -> its mean loss
Loss = Callable[[slice], tuple[torch.Tensor]]
TESTED = 64  # held-out crops


class Plan(Protocol):
    """steps, batch and rate of Adam."""

    steps: int
    batch: int
    rate: float


class Calibrating:
    """A prior whose energy is compared image by image: so are its `mean` and `spread`."""

    @torch.no_grad()
    def calibrate(self, maps) -> None:
        """Set `mean` and `spread`, per value, over natural maps: an iterable of batches N x C x H x W."""
        found = torch.cat([self.energy(x) / self.positions(x) for x in maps]).double()
        self.mean, self.spread = float(found.mean()), float(found.std(correction=0)) or 1.0


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
) -> list[tuple]:
    """Fit `network` by Adam to the losses of batches drawn from `maps`; `losses` is given these or the
    `held_out` ones, how many to draw and from what.

    `names`: of the kind of network, on which its random numbers depend, and of what is done. The rate
    rises over the first twentieth of the steps and falls by half a cosine. Batches that do not fit into
    memory are halved, and their gradients added up. Leaves the network with the weights of the best
    held-out objective. Returns rows (step, objective, held-out objective, seconds). Raises DivergedError
    naming the step.
    """
    (kind, what), where, parameters = names, devices.device(), list(network.parameters())
    optimiser = torch.optim.Adam(parameters, plan.rate)
    learning, testing = Batches(plan.batch, what), Batches(TESTED, what)
    first, history, before, best = 0, [], 0.0, float("inf")
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    if saved := checkpoint.load():
        tensors, values = saved
        network.load_state_dict({name: tensors[f"network.{name}"] for name in kept})
        kept = {name: tensors[f"best.{name}"].to(where) for name in kept}
        restore_optimiser(optimiser, tensors)
        first, history, before = values["step"], values["history"], values["seconds"]
        best = values["best"]
    started = time.monotonic() - before
    for step in progress(range(first, plan.steps), what):
        warm = min(1.0, (step + 1) / (0.05 * plan.steps))
        fall = 0.5 * (1 + np.cos(np.pi * step / plan.steps))
        optimiser.param_groups[0]["lr"] = plan.rate * warm * max(fall, 1e-3)
        loss = losses(maps, plan.batch, seeds.generator(seed, kind, "batch", step))
        (value,) = learning.backward(loss, plan.batch, parameters)
        checkpoint.check(f"training of the {kind}", step, value.item())
        if checkpoint.due():
            checkpoint.save(
                {f"network.{name}": value for name, value in network.state_dict().items()}
                | {f"best.{name}": value for name, value in kept.items()}
                | optimiser_state(optimiser),
                step=step,
                history=history,
                best=best,
                seconds=time.monotonic() - started,
            )
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        if step % 100 == 99 or step == plan.steps - 1:
            with torch.no_grad():
                loss = losses(held_out, TESTED, torch.Generator().manual_seed(0))
                held = sum(
                    value.item() * (part.stop - part.start) / TESTED
                    for part, (value,) in testing(loss, TESTED)
                )
            checkpoint.check(f"training of the {kind}", step, held)
            history.append((step + 1, value.item(), held, time.monotonic() - started))
            if held < best:
                best = held
                kept = {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(kept)
    return history


def units(maps: np.ndarray) -> tuple[torch.Tensor, float]:
    """Mean of every channel, and standard deviation of all, of maps N x C x H x W."""
    sample = maps[:: max(1, len(maps) // 200)].astype(np.float32)
    sample = sample / 255 if maps.dtype == np.uint8 else sample
    return torch.from_numpy(sample.mean((0, 2, 3))), float(sample.std()) or 1.0
