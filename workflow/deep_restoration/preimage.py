"""Pre-image optimisation: the image whose feature maps match those of a target, under priors.

All images are one batch and losses are per image and summed, so that a batch of N gives what N single
runs give. The optimised variable is u = 255 (x - mean colour) on a canvas that is larger than the
image by the jitter, in the units of Mahendran & Vedaldi, so that their constants can be read off.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from . import metrics, runtime
from .data_terms import DataTerm
from .optimisers import OPTIMISERS
from .priors import Prior
from .published import REFERENCE_PIXELS, SIGMA, data_weight_2016, jitter_of

log = logging.getLogger(__name__)


class Term(NamedTuple):
    """A prior in the objective, of the image or of the maps of a layer."""

    weight: float
    prior: Prior
    layer: str | None = None


@dataclass(frozen=True)
class Phase:
    """A run of iterations at one rate; `decay` lets the rate fall by half a cosine to a hundredth."""

    iterations: int
    rate: float
    jitter: bool = False
    decay: bool = False


@dataclass(frozen=True)
class Plan:
    """Everything that varies between recipes.

    data_weight: C in front of the normalised data term. optimiser: a name of OPTIMISERS. phases: in
    order. jitter: T, shifts 0..T-1. start: `gaussian` (norm sigma, 2015), `uniform` (2016) or `mean`.
    bound: hard limit on each pixel's colour norm of u, or None. box: whether x is kept in [0, 1].
    precision: float32 or mixed.
    """

    data_weight: float
    optimiser: str
    phases: Sequence[Phase]
    jitter: int = 1
    start: str = "uniform"
    bound: float | None = None
    box: bool = False
    precision: str = "float32"


def plan_of(recipe: dict, geometry: dict) -> Plan:
    """The plan of a recipe's configuration for a layer of that stride and receptive field."""
    stride, field_ = geometry["stride"], geometry["receptive_field"]
    weight = recipe.get("data_weight") or 1.0
    if weight == "mahendran2016":
        weight = data_weight_2016(stride, field_)
    phases = [Phase(**phase) for phase in recipe["phases"]]
    optional = {key: recipe[key] for key in ("start", "bound", "box", "precision") if key in recipe}
    jitter = jitter_of(stride) if any(phase.jitter for phase in phases) else 1
    return Plan(float(weight), recipe["optimiser"], phases, jitter, **optional)


@dataclass
class Result:
    """images: N x 3 x H x W in [0, 1]. trace: rows (iteration, term, mean over images, seconds)."""

    images: torch.Tensor
    trace: list[tuple] = field(default_factory=list)
    seconds: float = 0.0


def start_noise(kind: str, shape: tuple[int, int, int], seed: int, name: str) -> torch.Tensor:
    """The start u of one image, never derived from its target; depends on the seed and its name only."""
    draw = runtime.generator(seed, "preimage", name)
    if kind == "mean":
        return torch.zeros(shape)
    if kind == "gaussian":  # 2015: i.i.d. Gaussian of the norm of a natural image
        noise = torch.randn(shape, generator=draw)
        return noise * (
            SIGMA * math.sqrt(shape[1] * shape[2] / REFERENCE_PIXELS) / noise.norm().item()
        )
    if kind == "uniform":  # 2016: uniform, its 0.95 quantile at B / sqrt 3
        noise = 2 * torch.rand(shape, generator=draw) - 1
        ranked = noise.flatten().sort().values
        return noise * (80 / math.sqrt(3)) / ranked[int(0.95 * len(ranked))]
    raise ValueError(f"start is {kind!r}; allowed: gaussian, uniform, mean")


def reconstruct(
    network: nn.Module,
    data_term: DataTerm,
    names: Sequence[str],
    size: int,
    mean: torch.Tensor,
    terms: dict[str, Term],
    plan: Plan,
    seed: int,
    checkpoint: runtime.Checkpoint,
    start: torch.Tensor | None = None,
    truth: torch.Tensor | None = None,
) -> Result:
    """Minimise C * data term + sum of weight * energy over a batch of images.

    `network` yields the layers that the data term and the priors see; `names` are the images' names, on
    which their start noise depends; `mean` is the mean colour, 1 x 3 x 1 x 1 in [0, 1]; `terms` are the
    priors by name. `start`, images N x 3 x H x W in
    [0, 1], replaces the start noise. `truth`, likewise, is only compared with: the mean squared error
    of the images becomes the term `image` of the trace, and now and then their SSIM the term `ssim`.

    The published step sizes are too large for some networks and images. An image whose objective is not
    finite or exceeds a thousand times its first value (or C times the data term's scale, where it starts
    below: near its target, or at a natural image, whose calibrated energies are negative) goes back
    to the start of the phase at a quarter of the rate, alone. Raises DivergedError naming image and
    iteration when that happens a sixth time, or when an image ends so.
    """
    where, shift = data_term.scale.device, plan.jitter - 1
    side = size + shift
    mean, middle = mean.to(where), shift // 2
    if start is None:
        noise = [start_noise(plan.start, (3, side, side), seed, name) for name in names]
        u = torch.stack(noise).to(where)
    else:  # beyond the image, its edge
        frame = (middle, shift - middle, middle, shift - middle)
        u = 255 * (F.pad(start.to(where), frame, mode="replicate") - mean)
    u = u.contiguous(memory_format=torch.channels_last)
    low, high = -255 * mean, 255 * (1 - mean)
    optimiser = OPTIMISERS[plan.optimiser](u)
    floor = plan.data_weight * data_term.scale
    draws = runtime.generator(seed, "preimage", "jitter")
    anchor, share = u.clone(), torch.ones(len(u), 1, 1, 1, device=where)
    limit = torch.full((len(u),), math.inf, device=where)
    first, trace, before = 0, [], 0.0
    if saved := checkpoint.load():
        tensors, values = saved
        for tensor, name in ((u, "u"), (anchor, "anchor"), (share, "share"), (limit, "limit")):
            tensor.copy_(tensors[name])
        for key, value in optimiser.state.items():
            value.copy_(tensors[f"optimiser.{key}"])
        draws.set_state(tensors["draws"])
        first, before, trace = values["iteration"], values["seconds"], values["trace"]
    schedule = [(phase, i) for phase in plan.phases for i in range(phase.iterations)]
    started = time.monotonic() - before
    recent: list[tuple[int, float, torch.Tensor]] = []
    labels = ("total", "data", *terms, *["image"] * (truth is not None))
    marks = {round(1.5**k) for k in range(40)} | {len(schedule) - 1} if truth is not None else set()
    annealed = [term.prior for term in terms.values() if hasattr(term.prior, "anneal")]

    def inner(canvas: torch.Tensor) -> torch.Tensor:
        return canvas[..., middle : middle + size, middle : middle + size]

    def flush() -> None:
        for iteration, seconds, values in recent:
            trace.extend(
                (iteration, label, value, seconds)
                for label, value in zip(labels, values.tolist(), strict=True)
            )
        recent.clear()

    for iteration in runtime.progress(range(first, len(schedule)), "reconstructing"):
        phase, local = schedule[iteration]
        if local == 0:
            optimiser.start_phase()
            anchor.copy_(u)
        top, left = middle, middle
        if phase.jitter and shift:
            top, left = torch.randint(shift + 1, (2,), generator=draws).tolist()
        for prior in annealed:
            prior.anneal(iteration / max(1, len(schedule) - 1))
        u.requires_grad_(True)
        x = mean + u / 255
        with runtime.precision_context(plan.precision, where):
            found = network(x[..., top : top + size, left : left + size])
            energies = [
                term.prior.energy(x if term.layer is None else as_maps(found[term.layer]), draws)
                for term in terms.values()
            ]
        data = data_term.energy(found)
        total = plan.data_weight * data
        for term, energy in zip(terms.values(), energies, strict=True):
            total = total + term.weight * energy
        (gradient,) = torch.autograd.grad(total.sum(), u)
        measured = [total, data, *energies]
        if truth is not None:
            error = inner(x.detach()).clamp(0, 1) - truth
            measured.append(error.square().flatten(1).mean(1))
        values = torch.stack(measured).detach().mean(1)
        recent.append((iteration + 1, time.monotonic() - started, values))
        if iteration in marks:
            flush()
            paused = time.monotonic()
            similar = similarity(truth, inner(x.detach()).clamp(0, 1))
            trace.append((iteration + 1, "ssim", similar, paused - started))
            started += time.monotonic() - paused  # the clock stands while we look
        with torch.no_grad():
            u = u.detach()
            if iteration == 0:
                limit.copy_(1000 * torch.maximum(total, floor))
            rate = phase.rate * share
            if phase.decay:
                progress = local / phase.iterations
                rate *= 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))
            diverged = ~(torch.isfinite(total) & (total <= limit))
            optimiser.step(u, gradient, rate, iteration + 1)
            if diverged.any():
                share[diverged] /= 4
                for index in diverged.nonzero().flatten().tolist():
                    place = f"{names[index]} at iteration {iteration + 1}"
                    if share[index].item() < 4**-5:
                        raise runtime.DivergedError(
                            f"the optimisation of {place} diverged at ever smaller rates: "
                            f"objective {total[index]:.3g}, data term {data[index]:.3g}"
                        )
                    log.info("restarting %s at a quarter of the rate", place)
                u[diverged] = anchor[diverged]
                for state in optimiser.state.values():
                    state[diverged] = 0
            if plan.bound is not None:
                u.mul_((plan.bound / u.norm(dim=1, keepdim=True).clamp(min=1e-12)).clamp(max=1))
            if plan.box:
                u.copy_(torch.maximum(torch.minimum(u, high), low))
        if len(recent) >= 50:
            flush()
        if checkpoint.due():
            flush()
            tensors = {f"optimiser.{key}": value for key, value in optimiser.state.items()}
            checkpoint.save(
                {
                    "u": u,
                    "anchor": anchor,
                    "share": share,
                    "limit": limit,
                    "draws": draws.get_state(),
                    **tensors,
                },
                iteration=iteration + 1,
                trace=trace,
                seconds=time.monotonic() - started,
            )
    flush()
    x = inner(mean + u / 255)
    with torch.no_grad():
        error = data_term.energy(network(x))
    if not (fine := torch.isfinite(error) & (plan.data_weight * error <= limit)).all():
        lost = ", ".join(name for name, good in zip(names, fine.tolist(), strict=True) if not good)
        raise runtime.DivergedError(
            f"the optimisation of {lost} diverged at iteration {len(schedule)}"
        )
    return Result(x.clamp(0, 1), trace, time.monotonic() - started)


def similarity(truth: torch.Tensor, restored: torch.Tensor) -> float:
    """Mean SSIM of images N x 3 x H x W in [0, 1]."""
    arrays = (images.permute(0, 2, 3, 1).cpu().numpy() for images in (truth, restored))
    return float(metrics.ssim(*arrays).mean())


def as_maps(values: torch.Tensor) -> torch.Tensor:
    """Maps N x C x H x W in float32; of a flat layer, maps of one position."""
    return values.float().reshape(*values.shape, *(1, 1)[: 4 - values.ndim])
