"""The loop of every training: networks, experts, inverse networks.

A training brings what is its own: the gradient of a step (batches and random numbers are drawn there, by
the step's number, so that a continued training draws the same), the held-out objective, and the figures of
a row of the history. The loop does the rest, always in this order:

    rate, state to save, gradient, check of the loss, checkpoint, clipping, update, average of the weights;
    and every so many steps the held-out objective, its check, a row, the best weights.

So a checkpoint holds the last state whose loss was finite, from before its update, and a training that was
killed takes the same steps as one that was not, bit by bit. Mixed precision is for the forward pass in
`gradient` (devices.precision_context); weights, their averages and the optimiser's state stay in float32.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from .checkpoints import Checkpoint, optimiser_state, restore_optimiser
from .parallel import Workers
from .progress import progress
from .schedules import Schedule

log = logging.getLogger(__name__)
Weights = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Options:
    """How a training goes on.

    steps: number of updates. schedule: share of the optimiser's rate at each (runtime.schedules). every:
    steps per row of the history; the last step has one, too. clip: largest norm of the gradient, None for
    any. patience: rows without a better held-out objective before the training stops, None for never.
    average: d of the moving average d a + (1 - d) w of the weights w, from those at the start, which is
    then held out and kept in their place; None for none. watch: whether the loss is looked at in each step,
    which waits for the device, or only where a row or a checkpoint is due.
    """

    steps: int
    schedule: Schedule
    every: int = 100
    clip: float | None = None
    patience: int | None = None
    average: float | None = None
    watch: bool = True


def fit(
    what: str,
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    gradient: Callable[[int], Sequence[torch.Tensor]],
    options: Options,
    checkpoint: Checkpoint,
    held_out: Callable[[], float] | None = None,
    figures: Callable[..., Sequence[float]] = lambda step, *values: values,
    workers: Workers | None = None,
) -> list[tuple]:
    """Train the parameters of `module`, and return the history.

    `what` is trained, in messages. `gradient(step)` sets the gradients and returns scalars, the loss first.
    A row of the history is (updates, *figures(step, *these scalars), held-out objective, seconds). With
    `held_out`, the objective of the module as it is, the module ends with the weights of its least value, the
    first if there are several; without, the row has none, and the module ends with the last weights.
    Of `workers` that train together the first saves checkpoints, and all read the one they go on from.

    Raises DivergedError, naming the step, for a loss or a held-out objective that is not finite.
    """
    rates = [group["lr"] for group in optimiser.param_groups]
    average = _copy(module) if options.average is not None else {}
    first, history, before, best = _resumed(checkpoint, module, optimiser, average)
    workers = workers or Workers()
    workers.wait()  # all have read before the first writes another
    started = time.monotonic() - before
    for step in progress(range(first, options.steps), f"training the {what}"):
        if options.patience and _rows_since_best(history) >= options.patience:
            log.info("no better held-out objective for %d checks: stopped", options.patience)
            break
        for group, rate in zip(optimiser.param_groups, rates, strict=True):
            group["lr"] = rate * options.schedule(step, options.steps)
        shown = step % options.every == options.every - 1 or step == options.steps - 1
        due = workers.first and checkpoint.due()
        # As it is now: a forward pass moves running means.
        state = _named("network", _copy(module)) if due else {}
        optimiser.zero_grad(set_to_none=True)
        scalars = gradient(step)
        if options.watch or shown or due:
            checkpoint.check(f"training of the {what}", step, scalars[0].item())
        if due:
            state |= _named("best", best) | _named("average", average) | optimiser_state(optimiser)
            seconds = time.monotonic() - started
            checkpoint.save(state, step=step, history=history, seconds=seconds)
        if options.clip is not None:
            nn.utils.clip_grad_norm_(module.parameters(), options.clip)
        optimiser.step()
        if options.average is not None:
            follow(average, module, options.average)
        if shown:
            row = [step + 1, *figures(step, *(scalar.item() for scalar in scalars))]
            if not held_out:
                history.append((*row, time.monotonic() - started))
                continue
            with torch.no_grad(), _weighted(module, average):
                row.append(held_out())
                checkpoint.check(f"training of the {what}", step, row[-1])
                history.append((*row, time.monotonic() - started))
                if _rows_since_best(history) == 0:
                    best = _copy(module)
    if kept := best or average:
        module.load_state_dict(kept)
    return history


def _resumed(
    checkpoint: Checkpoint,
    module: nn.Module,
    optimiser: torch.optim.Optimizer,
    average: Weights,
) -> tuple[int, list[tuple], float, Weights]:
    """The next step, the history, the seconds and the best weights so far; the others are set to what was
    saved. Those of the start, if nothing was."""
    if not (saved := checkpoint.load()):
        return 0, [], 0.0, {}
    tensors, values = saved
    for name, value in _under("average", tensors).items():
        average[name].copy_(value)
    module.load_state_dict(_under("network", tensors))
    restore_optimiser(optimiser, tensors)
    history = [tuple(row) for row in values["history"]]
    return values["step"], history, values["seconds"], _under("best", tensors)


@torch.no_grad()
def follow(average: Weights, module: nn.Module, decay: float) -> None:
    """Move the average towards the parameters: a <- d a + (1 - d) w, d the `decay`. What no gradient trains,
    running means and counts, is taken over as it is."""
    trained = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    for name, value in module.state_dict().items():
        if name in trained:
            average[name].lerp_(value, 1 - decay)
        else:
            average[name].copy_(value)


@contextmanager
def _weighted(module: nn.Module, weights: Weights) -> Iterator[None]:
    """The module with these weights, if there are any; afterwards again with its own."""
    own = _copy(module) if weights else {}
    if weights:
        module.load_state_dict(weights)
    yield
    if weights:
        module.load_state_dict(own)


def _rows_since_best(history: list[tuple]) -> int:
    """How many rows came after the first with the least held-out objective."""
    held = [row[-2] for row in history]
    return len(held) - 1 - held.index(min(held)) if held else 0


def _copy(module: nn.Module) -> Weights:
    return {name: value.clone() for name, value in module.state_dict().items()}


def _named(prefix: str, weights: Weights) -> Weights:
    return {f"{prefix}.{name}": value for name, value in weights.items()}


def _under(prefix: str, tensors: Weights) -> Weights:
    """The inverse of `_named`; tensors with other prefixes are left out."""
    start = f"{prefix}."
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
