"""Annealed reconstruction: images found from coarse to fine, under a denoiser as the prior.

At a noise level s the estimate so far, x_s, tells nothing of what is finer than noise of that size. Of all
denoised images D(z, s) with z near x_s the level takes one that explains the maps,

    min over z:  1/2 |R_s^(-1/2) e(D(z, s))|^2 + pull / 2 |z - x_s|^2 / s^2,

e the residual of surrogates.py, which does not ask of a denoised image what it cannot have. It is minus the
log of p(y | x_0) p(x_0 | x_s), but that the second factor is too sharp: of a Gaussian prior of variances v
its precision is pull (v + s^2) / v times the exact one. x_0 = D(z, s) is the estimate of the next level,
with `renoise` times the noise of that level. So large structures settle first, without the local minima that
fine ones make, and a gradient through D moves together what the prior couples.

Adam takes the steps, in pixels: with its sizes per frequency in place of per pixel it ends at three times the
error (SqueezeNet, features.7). The start is noise around an image that knows nothing of the target, or around
that of an inverse network. Without noise on the way the result is one estimate. With `renoise: 1` several
differ, but they are no exact posterior samples: each level is an optimisation. Their mean has less error than
each of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from ..runtime import batches, seeds
from ..runtime.checkpoints import Checkpoint
from ..runtime.progress import progress
from .preimage import Result, Term, as_maps, joined, select, similarity
from .surrogates import Denoise, Surrogates, schedule

# Of images N x 3 x H x W their maps by layer.
Network = Callable[[torch.Tensor], dict[str, torch.Tensor]]


@dataclass(frozen=True)
class Annealing:
    """noise: largest and smallest level, of image values in 0..255; levels: how many, geometric. steps: of
    Adam per level, their size: `rate` (see `step_size`). pull: weight of the second term, 1 or a little less.
    renoise: noise added after a level, as a share of the next level. components: of the maps that count, at
    most. samples: from so many starts, whose mean is taken. shrink: from how many held-out images the
    reconstructor learns how much of the result to believe (see `shrinkage`), 0 for all of it. surrogate: its
    kind, see surrogates.py. priors: more of them, as in a recipe."""

    prior: str
    noise: tuple[float, float]
    levels: int
    steps: int
    rate: float
    pull: float
    renoise: float
    components: int
    samples: int
    shrink: int = 0
    surrogate: str = "regression"
    priors: dict[str, dict] = field(default_factory=dict)

    def step_size(self, residuals: int, values: int) -> float:
        """Of a step in each value of the image, in units of the level: rate * sqrt(residuals / values), at
        most the rate. So many residuals determine as many directions of an image at most, in each of which
        it is about one level away: that is the root mean square over all of its values."""
        return self.rate * min(1.0, residuals / values) ** 0.5


def anneal(
    network: Network,
    layer: str,
    denoise: Denoise,
    surrogates: Surrogates,
    plan: Annealing,
    target: torch.Tensor,
    names: Sequence[str],
    start: torch.Tensor,
    seed: int,
    checkpoint: Checkpoint,
    truth: torch.Tensor | None = None,
    terms: dict[str, Term] | None = None,
) -> Result:
    """The images, N x 3 x H x W, that `target`, maps of a layer, N x ..., stem from.

    `network` gives the maps of images in [0, 1]; `denoise(x, s)` is D, through which autograd goes; `start`,
    N x 3 x H x W, is what noise of the first level is added to. `terms` are more priors, of denoised images
    or of their maps at other layers: the objective has weight * number of residuals * energy, so that a
    weight stands beside half the mean squared residual; their noise levels fall with the levels. Noise
    depends on seed, name, sample and level only, so that the result of an image does not depend on its
    neighbours (but for priors that sample positions, which are those of all images). `truth` is only compared
    with, as in preimage.reconstruct; an iteration of the trace is a gradient, `residual` the mean of half
    the squared one, about one half where all is as expected.

    Raises DivergedError naming images that are not finite; the checkpoint then holds the state before the
    level. Images that do not fit into memory together are reconstructed half by half.
    """
    count = len(names)

    def run(part: slice) -> Result:
        kept = checkpoint if part == slice(0, count) else checkpoint.part(part)
        known = None if truth is None else truth[part]
        index = torch.arange(part.start, part.stop, device=start.device)
        run = _Run(
            network,
            layer,
            denoise,
            surrogates,
            plan,
            surrogates.leading(target[part]),
            names[part],
            seed,
            kept,
            known,
            select(terms or {}, index),
        )
        return run(start[part])

    return joined([result for _, result in batches.Batches(count, "annealing images")(run, count)])


class _Run:
    """The state of an annealing and what a level does with it."""

    def __init__(
        self,
        network: Network,
        layer: str,
        denoise: Denoise,
        surrogates: Surrogates,
        plan: Annealing,
        leading: torch.Tensor,
        names: Sequence[str],
        seed: int,
        checkpoint: Checkpoint,
        truth: torch.Tensor | None,
        terms: dict[str, Term],
    ):
        self.network, self.layer, self.denoise = network, layer, denoise
        self.surrogates = surrogates
        self.plan, self.leading, self.names, self.seed = plan, leading, names, seed
        self.checkpoint, self.truth, self.terms = checkpoint, truth, terms
        self.levels = schedule(plan.noise, plan.levels)
        self.trace: list[tuple] = []

    def __call__(self, start: torch.Tensor) -> Result:
        total, x = torch.zeros_like(start), torch.zeros_like(start)
        first, before = 0, 0.0
        if saved := self.checkpoint.load():
            tensors, values = saved
            total, x = (tensors[name].to(start) for name in ("total", "x"))
            first, before, self.trace = values["level"], values["seconds"], values["trace"]
        self.started = time.monotonic() - before
        count = len(self.levels)
        for done in progress(range(first, count * self.plan.samples), "annealing"):
            sample, number = divmod(done, count)
            if number == 0:
                x = start + self.levels[0] * self._noise(sample, 0, start)
            x, data = self._level(number, x)
            self._check(number, x, data)
            if number + 1 == count:
                total += x
                self._watch(done + 1, data, total / (sample + 1))
            else:
                self._watch(done + 1, data, x)
                size = self.plan.renoise * self.levels[number + 1]
                x = x + size * self._noise(sample, number + 1, start)
            if self.checkpoint.due():
                self._save(done + 1, total, x)
        images = (total / self.plan.samples).clamp(0, 1)
        return Result(images, self.trace, time.monotonic() - self.started)

    def _level(self, number: int, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """D(z, s) for the z of this level, and half the mean squared residual before its last step, (N,)."""
        s, target = self.levels[number], self.surrogates.target(number, self.leading)
        draws = seeds.generator(self.seed, "anneal", "positions", number)
        for _, prior, _ in self.terms.values():
            prior.anneal(number / max(1, len(self.levels) - 1))
        z, data = x.clone(), x.new_zeros(len(x))
        rate = self.plan.step_size(target[0].numel(), z[0].numel())
        first, second = torch.zeros_like(z), torch.zeros_like(z)
        for step in range(1, self.plan.steps + 1):
            z.requires_grad_()
            denoised = self.denoise(z, s)
            found = self.network(denoised)
            residual = self.surrogates.residual(number, found[self.layer], target)
            data = 0.5 * residual.square().flatten(1).sum(1)
            total = data + 0.5 * self.plan.pull * (z - x).square().flatten(1).sum(1) / s**2
            for weight, prior, layer in self.terms.values():
                seen = denoised if layer is None else as_maps(found[layer])
                total = total + weight * target[0].numel() * prior.energy(seen, draws)
            (gradient,) = torch.autograd.grad(total.sum(), z)
            with torch.no_grad():  # Adam with a state of this level's own, betas .9 and .99
                first.lerp_(gradient, 0.1)
                second.lerp_(gradient.square(), 0.01)
                size = (second / (1 - 0.99**step)).sqrt_().add_(1e-12)
                z = z - rate * s / (1 - 0.9**step) * first / size
        with torch.no_grad():
            return self.denoise(z, s), data.detach() / target[0].numel()

    def _noise(self, sample: int, number: int, like: torch.Tensor) -> torch.Tensor:
        streams = [("anneal", sample, number, name) for name in self.names]
        return seeds.noise_like(like, self.seed, streams)

    def _check(self, number: int, x: torch.Tensor, data: torch.Tensor) -> None:
        finite = torch.isfinite(data) & torch.isfinite(x).flatten(1).all(1)
        if not finite.all():
            lost = [n for n, fine in zip(self.names, finite.tolist(), strict=True) if not fine]
            level = f"noise level {self.levels[number]:.3g} of image values in [0, 1]"
            raise self.checkpoint.diverged(
                f"the annealing of {', '.join(lost)} diverged at {level}"
            )

    def _watch(self, done: int, data: torch.Tensor, images: torch.Tensor) -> None:
        """Trace of a level; the clock stands while images are compared."""
        paused = time.monotonic()
        at, seconds = done * self.plan.steps, paused - self.started
        self.trace.append((at, "residual", float(data.mean()), seconds))
        if self.truth is not None:
            images = images.clamp(0, 1)
            error = float((images - self.truth).square().mean())
            self.trace.append((at, "image", error, seconds))
            self.trace.append((at, "ssim", similarity(self.truth, images), seconds))
        self.started += time.monotonic() - paused

    def _save(self, level: int, total: torch.Tensor, x: torch.Tensor) -> None:
        seconds = time.monotonic() - self.started
        tensors = {"total": total, "x": x}
        self.checkpoint.save(tensors, level=level, trace=self.trace, seconds=seconds)


def gradients(plan: Annealing) -> int:
    """How many gradients of the classifier an image takes."""
    return plan.levels * plan.steps * plan.samples
