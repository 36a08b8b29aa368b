"""Pre-image optimisation: the image whose feature maps match those of a target, under priors.

All images are one batch and losses are per image and summed, so that a batch of N gives what N single
runs give. The image is u = 255 (x - mean colour) in the units of Mahendran & Vedaldi, so that their
constants can be read off; what is optimised are its pixels or what a parametrisation puts in their place.

As in their released code of 2016, jitter crops the image from a canvas that is larger than it, and an
optimisation is a sequence of runs: phases that follow each other and agree about jitter and priors. Each
run begins with the image of the one before, on a canvas of its own (with jitter, the image in a frame of
the mean colour; without, the image alone), and with a new optimiser. So no optimiser remembers gradients
of another objective, and without jitter there is no frame that priors would see and the classifier not.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn

import torch
import torch.nn.functional as F
from torch import nn

from ..data.images import as_pixels
from ..evaluation import metrics
from ..networks.graph import in_bfloat16
from ..priors.base import Prior
from ..runtime import batches, devices, seeds
from ..runtime.checkpoints import Checkpoint
from ..runtime.errors import DivergedError
from ..runtime.progress import progress
from ..runtime.rows import Rows
from .data_terms import DataTerm
from .mahendran_vedaldi import REFERENCE_PIXELS, SIGMA
from .optimisers import OPTIMISERS
from .parametrisations import PARAMETRISATIONS
from .schedules import Phase, Plateau, begins_run, moments

log = logging.getLogger(__name__)


class Term(NamedTuple):
    """A prior in the objective, of the image or of the maps of a layer."""

    weight: float
    prior: Prior
    layer: str | None = None


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a recipe of the configuration says of the optimisation, and a plan takes over as it is.

    init: `gaussian` (norm sigma, 2015), `uniform` (2016) or `mean`. bound: hard limit on each pixel's colour
    norm of u, or None. box: whether x is kept in [0, 1]. precision: float32 or mixed. parametrisation: a name
    of PARAMETRISATIONS. converged: when an image is done before the end of a phase, or None.
    """

    init: str = "uniform"
    bound: float | None = None
    box: bool = False
    precision: str = "float32"
    parametrisation: str = "pixels"
    converged: Plateau | None = None


@dataclass(frozen=True)
class Plan(Options):
    """How one layer is inverted.

    data_weight: C in front of the data term. optimiser: a name of OPTIMISERS. phases: in order. jitter: T,
    shifts 0..T-1.
    """

    data_weight: float
    optimiser: str
    phases: Sequence[Phase]
    jitter: int = 1


@dataclass
class Result:
    """images: N x 3 x H x W in [0, 1]. trace: rows (iteration, term, mean over images, seconds)."""

    images: torch.Tensor
    trace: list[tuple] = field(default_factory=list)
    seconds: float = 0.0


def init_noise(kind: str, shape: tuple[int, int, int], seed: int, name: str) -> torch.Tensor:
    """The start u of one image, never derived from its target; depends on the seed and its name only."""
    draw = seeds.generator(seed, "preimage", name)
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
    checkpoint: Checkpoint,
    start: torch.Tensor | None = None,
    truth: torch.Tensor | None = None,
) -> Result:
    """Minimise C * data term + sum of weight * energy over a batch of images.

    `network` yields the layers that the data term and the priors see; `names` are the images' names, on
    which their start noise depends; `mean` is the mean colour, 1 x 3 x 1 x 1 in [0, 1]; `terms` are the
    priors by name. `start`, images N x 3 x H x W in [0, 1], replaces the start noise. `truth`, likewise,
    is only compared with: the mean squared error of the images becomes the term `image` of the trace,
    and now and then their SSIM the term `ssim`.

    The published step sizes are too large for some networks and images. An image whose objective is not
    finite or exceeds a thousand times its first value in the run (or C times the data term's scale, where
    it starts below: near its target, or at a natural image, whose calibrated energies are negative) goes
    back to the start of the phase at a quarter of the rate, alone. Raises DivergedError naming image and
    iteration when that happens a sixth time, or when an image ends so; the checkpoint then holds the
    last state in which all was well, and the same optimisation raises the error again at once.

    A phase without priors has no values of theirs in the trace.

    With `plan.converged` an image that is done waits, as it is, for the next phase, in which it takes
    part again; a phase ends when all are done. Iterations keep their numbers, those of no image are
    left out.

    Images that do not fit into memory together are optimised half by half, each with a checkpoint of its
    own. Raises batches.TooLargeError when a single one does not fit.
    """
    count = len(names)

    def run(part: slice) -> Result:
        if part == slice(0, count):
            own = (data_term, terms, checkpoint, truth, start)
        else:
            index = torch.arange(part.start, part.stop, device=data_term.scale.device)
            own = (
                data_term.select(index),
                select(terms, index),
                checkpoint.part(part),
                None if truth is None else truth[part],
                None if start is None else start[part],
            )
        term, priors, kept, compared, begin = own
        optimisation = _Run(
            network, term, names[part], size, mean, priors, plan, seed, kept, compared
        )
        return optimisation(begin)

    return joined([result for _, result in batches.Batches(count, "optimising images")(run, count)])


def select(terms: dict[str, Term], index: torch.Tensor) -> dict[str, Term]:
    """The terms for the images of these numbers alone."""
    return {name: term._replace(prior=term.prior.select(index)) for name, term in terms.items()}


def joined(parts: Sequence[Result]) -> Result:
    """One result of images that were optimised in parts, one after the other.

    The trace has means over all images; a part that stopped earlier counts as it was then. Seconds are
    those that all parts took so far.
    """
    if len(parts) == 1:
        return parts[0]
    images = torch.cat([part.images for part in parts])
    tables = [{tuple(row[:2]): row[2:] for row in part.trace} for part in parts]
    shares = [len(part.images) / len(images) for part in parts]
    latest: list[dict] = [{} for _ in parts]
    labels = list(dict.fromkeys(row[1] for row in parts[0].trace))
    trace = []
    for key in sorted(set().union(*tables), key=lambda key: (key[0], labels.index(key[1]))):
        for table, last in zip(tables, latest, strict=True):
            if key in table:
                last[key[1]] = table[key]
        known = [last[key[1]] for last in latest if key[1] in last]
        if len(known) == len(parts):
            value = sum(share * value for share, (value, _) in zip(shares, known, strict=True))
            trace.append((*key, value, sum(seconds for _, seconds in known)))
    return Result(images, trace, sum(part.seconds for part in parts))


class _Run:
    """The state of an optimisation and what an iteration does with it."""

    def __init__(
        self,
        network: nn.Module,
        data_term: DataTerm,
        names: Sequence[str],
        size: int,
        mean: torch.Tensor,
        terms: dict[str, Term],
        plan: Plan,
        seed: int,
        checkpoint: Checkpoint,
        truth: torch.Tensor | None,
    ):
        self.network, self.names, self.size, self.plan = network, names, size, plan
        lowered = devices.lowers(plan.precision, data_term.scale.device)
        self.working = in_bfloat16(network) if lowered else network
        self.seed, self.checkpoint = seed, checkpoint
        self.all = (data_term, terms, truth)  # of the whole batch
        self.where = data_term.scale.device
        self.mean = mean.to(self.where)
        self.colour = self.mean.flatten().tolist()
        self.schedule = moments(plan.phases)
        self.draws = seeds.generator(seed, "preimage", "jitter")
        self.annealed = [term.prior for term in terms.values()]
        self.labels = ("total", "data", *terms, *["image"] * (truth is not None))
        self.trace: list[tuple] = []
        self.recent: list[tuple[int, float, torch.Tensor]] = []

    def __call__(self, start: torch.Tensor | None) -> Result:
        self._lay_out(0)
        self._prepare(self._start(start))
        first, before = self._load()
        self.started = time.monotonic() - before
        truth, last = self.all[2], len(self.schedule) - 1
        marks = {round(1.5**k) for k in range(40)} | {last} if truth is not None else set()
        iterations = range(first, len(self.schedule))
        for iteration in progress(iterations, "reconstructing", note=self._objective):
            number = self.schedule[iteration].phase
            phase = self.plan.phases[number]
            if self.schedule[iteration].local == 0:
                self._begin(number)
            if not len(self.rows.active):
                continue
            for prior in self.annealed:
                prior.anneal(iteration / max(1, last))
            measured, gradient = self._evaluate(phase)
            self._record(iteration, measured)
            if iteration in marks:
                self._watch(iteration)
            self._step(iteration, phase, measured, gradient)
            ended = not len(self.rows.active) and number == len(self.plan.phases) - 1
            if ended and marks and iteration not in marks:
                self._watch(iteration)
            if self.checkpoint.due():
                self._save(iteration + 1)
        self._flush()
        return self._finish()

    # -------------------------------------------------------------------------- state

    def _lay_out(self, number: int) -> None:
        """The canvas of the run that this phase belongs to."""
        phases = self.plan.phases
        self.shift = self.plan.jitter - 1 if phases and phases[number].jitter else 0
        self.middle, self.side = self.shift // 2, self.size + self.shift
        self.form = PARAMETRISATIONS[self.plan.parametrisation](self.side, self.side)

    def _start(self, start: torch.Tensor | None) -> torch.Tensor:
        """The first u of a run: start noise all over the canvas, or images in a frame of the mean colour."""
        if start is None:
            shape = (3, self.side, self.side)
            noise = [init_noise(self.plan.init, shape, self.seed, name) for name in self.names]
            return torch.stack(noise).to(self.where)
        before, behind = self.middle, self.shift - self.middle
        return F.pad(255 * (start.to(self.where) - self.mean), (before, behind, before, behind))

    def _move(self, number: int) -> None:
        """Take the images to the canvas of the run that begins with this phase."""
        images, before = self._images(), self.rows
        self._lay_out(number)
        self._prepare(self._start(images))
        self.rows["share"].copy_(before.gather("share"))

    def _prepare(self, u: torch.Tensor) -> None:
        variable = self.form.from_image(u).contiguous()
        count = len(variable)
        self.optimiser = OPTIMISERS[self.plan.optimiser](variable, self.size**2)
        plateau, (_, terms, _) = self.plan.converged, self.all
        more = {}
        if plateau:
            sampled = any(term.prior.sampled for term in terms.values())
            sampled = sampled or (self.plan.jitter > 1 and any(p.jitter for p in self.plan.phases))
            more["history"] = plateau.history(count, sampled, self.where)
        self.rows = Rows(
            variable=variable,
            anchor=variable.clone(),
            share=variable.new_ones(count, 1, 1, 1),
            limit=variable.new_full((count,), math.inf),
            measured=variable.new_zeros(count, len(self.labels)),
            **more,
            **{f"optimiser.{key}": value for key, value in self.optimiser.state.items()},
        )
        self._choose(self.rows.everyone)

    def _choose(self, active: torch.Tensor) -> None:
        """Let these images, by their numbers, be at work."""
        rows, (data_term, terms, truth) = self.rows, self.all
        rows.choose(active)
        self.optimiser.state = {key: rows[f"optimiser.{key}"] for key in self.optimiser.state}
        complete = len(active) == len(rows.everyone)
        if not complete:
            data_term, truth = data_term.select(active), None if truth is None else truth[active]
            terms = select(terms, active)
        self.data_term, self.terms, self.truth = data_term, terms, truth

    def _begin(self, number: int) -> None:
        """All images start a phase together, with a stream of numbers of its own, however many
        iterations those before it took."""
        self._choose(self.rows.everyone)
        variable, anchor = self.rows["variable"], self.rows["anchor"]
        lost = ~torch.isfinite(variable).flatten(1).all(1)  # by the last step of the phase before
        variable[lost] = anchor[lost]
        if number and begins_run(self.plan.phases, number):
            self._move(number)
        self.optimiser.start_phase()
        self.rows["anchor"].copy_(self.rows["variable"])
        stream = ("preimage", "jitter", *[number] * (number > 0))
        self.draws.manual_seed(seeds.seed_of(self.seed, *stream))
        if self.plan.converged:
            self.rows["history"].fill_(math.inf)

    def _load(self) -> tuple[int, float]:
        """The next iteration and the seconds taken before."""
        if not (saved := self.checkpoint.load()):
            return 0, 0.0
        tensors, values = saved
        if values["diverged"]:
            raise DivergedError(values["diverged"])
        number = self.schedule[values["iteration"] - 1].phase  # of the last iteration that was done
        if self.plan.phases[number].jitter != self.plan.phases[0].jitter:
            self._move(number)
        self.rows.load(tensors)
        self._choose(self.rows.active)
        self.draws.set_state(tensors["draws"])
        self.trace = values["trace"]
        return values["iteration"], values["seconds"]

    def _save(self, iteration: int, diverged: str = "") -> bool:
        self._flush()
        return self.checkpoint.save(
            {**self.rows.tensors(), "draws": self.draws.get_state()},
            iteration=iteration,
            trace=self.trace,
            seconds=time.monotonic() - self.started,
            diverged=diverged,
        )

    # -------------------------------------------------------------------------- an iteration

    def _evaluate(self, phase: Phase) -> tuple[torch.Tensor, torch.Tensor]:
        """Total, data term, energies and error of the images at work, terms x images; and the
        gradient of the total by the variable."""
        top, left, size = self.middle, self.middle, self.size
        if phase.jitter and self.shift:
            top, left = torch.randint(self.shift + 1, (2,), generator=self.draws).tolist()
        terms = self.terms if phase.priors else {}
        variable = self.rows["variable"].detach().requires_grad_()
        u = self.form.to_image(variable)
        x = torch.add(self.mean, u.detach(), alpha=1 / 255).requires_grad_()
        energies: dict[str, torch.Tensor] = {}
        known = {}  # priors that know their gradient
        with devices.precision_context(self.plan.precision, self.where):
            found = self.working(x[..., top : top + size, left : left + size])
            for name, (_, prior, layer) in terms.items():
                if layer is None and prior.descends:
                    known[name] = prior
                else:
                    seen = x if layer is None else as_maps(found[layer])
                    energies[name] = prior.energy(seen, self.draws)
        data = self.data_term.energy(found)
        total = self.plan.data_weight * data
        for name, energy in energies.items():
            total = total + terms[name].weight * energy
        (gradient,) = torch.autograd.grad(total.sum(), x)
        with torch.no_grad():
            gradient = gradient.contiguous()
            for name, prior in known.items():
                weight = terms[name].weight
                energies[name] = prior.descend(x.detach(), weight, gradient)
                total = total + weight * energies[name]
            gradient.mul_(1 / 255)
            absent = torch.full_like(data, math.nan)
            measured = [total, data, *(energies.get(name, absent) for name in self.terms)]
            if self.truth is not None:
                error = self._inner(x).clamp(0, 1).sub_(self.truth)
                measured.append(error.square_().mean((1, 2, 3)))
            measured = torch.stack([values.detach() for values in measured])
        if u is not variable:
            (gradient,) = torch.autograd.grad(u, variable, gradient)
        return measured, gradient

    def _step(
        self, iteration: int, phase: Phase, measured: torch.Tensor, gradient: torch.Tensor
    ) -> None:
        rows, total = self.rows, measured[0]
        _, local, count = self.schedule[iteration]
        if count == 1:
            floor = self.plan.data_weight * self.data_term.scale
            rows["limit"].copy_(1000 * torch.maximum(total, floor))
        diverged = ~(torch.isfinite(total) & (total <= rows["limit"]))
        restarts = bool(diverged.any())
        if restarts:
            self._restart(iteration, measured, diverged)
        if self.plan.converged and local >= phase.warmup:
            done = self.plan.converged.reached(rows["history"], total)
            rows["history"][diverged] = math.inf
            done &= ~diverged
            if done.any():
                stays = ~done
                for number in rows.active[done].tolist():
                    log.info("%s is done at iteration %d", self.names[number], iteration + 1)
                self._choose(rows.active[stays])
                gradient, diverged = gradient[stays], diverged[stays]
        if not len(rows.active):
            return
        variable = rows["variable"]
        rate = phase.rate_at(local) * rows["share"]
        self.optimiser.step(variable, gradient, rate, count)
        if restarts:
            variable[diverged] = rows["anchor"][diverged]
            for state in self.optimiser.state.values():
                state[diverged] = 0
        if self.plan.bound is not None or self.plan.box:
            self.form.project(variable, self._bounded)

    def _restart(self, iteration: int, measured: torch.Tensor, diverged: torch.Tensor) -> None:
        """A quarter of the rate for those that diverged, from the start of the phase."""
        share = self.rows["share"]
        for index in diverged.nonzero().flatten().tolist():
            place = f"{self.names[int(self.rows.active[index])]} at iteration {iteration + 1}"
            if share[index].item() <= 4**-5:
                objective, data = measured[:2, index].tolist()
                error = (
                    f"the optimisation of {place} diverged at ever smaller rates: "
                    f"objective {objective:.3g}, data term {data:.3g}"
                )
                self._give_up(iteration, error, diverged)
            log.info("restarting %s at a quarter of the rate", place)
        share[diverged] /= 4

    def _give_up(self, iteration: int, error: str, diverged: torch.Tensor) -> NoReturn:
        """Leave the last good state behind: the images before this iteration's step, those that have
        diverged as they were at the start of the phase."""
        if math.isfinite(self.checkpoint.interval):  # the trials of a search leave nothing
            self.rows["variable"][diverged] = self.rows["anchor"][diverged]
            for state in self.optimiser.state.values():
                state[diverged] = 0
            told = (
                f"{error}; the last good state is in {self.checkpoint.path}: remove it to try again"
            )
            if self._save(iteration, told):
                error = told
        raise DivergedError(error)

    def _bounded(self, u: torch.Tensor) -> torch.Tensor:
        if self.plan.bound is not None:
            length = u.square().sum(1, keepdim=True).sqrt_()  # torch's norm is ten times slower
            u.mul_(length.clamp_(min=1e-12).reciprocal_().mul_(self.plan.bound).clamp_(max=1))
        if self.plan.box:
            for channel, mean in enumerate(self.colour):  # torch is slow with a tensor's bounds
                u[:, channel].clamp_(-255 * mean, 255 * (1 - mean))
        return u

    # -------------------------------------------------------------------------- results and trace

    def _inner(self, canvas: torch.Tensor) -> torch.Tensor:
        end = self.middle + self.size
        return canvas[..., self.middle : end, self.middle : end]

    def _images(self) -> torch.Tensor:
        """All images as they are, in and out of [0, 1]."""
        with torch.no_grad():
            u = self.form.to_image(self.rows.gather("variable"))
            return self._inner(self.mean + u / 255)

    def _record(self, iteration: int, measured: torch.Tensor) -> None:
        """Means over all images, those that are done with their last values."""
        self.rows["measured"].copy_(measured.T)
        values = self.rows.gather("measured").mean(0)
        self.recent.append((iteration + 1, time.monotonic() - self.started, values))
        if len(self.recent) >= 50:
            self._flush()

    def _flush(self) -> None:
        for iteration, seconds, values in self.recent:
            priors = self.plan.phases[self.schedule[iteration - 1].phase].priors
            self.trace.extend(
                (iteration, label, value, seconds)
                for label, value in zip(self.labels, values.tolist(), strict=True)
                if priors or label not in self.all[1]
            )
        self.recent.clear()

    def _objective(self) -> str:
        """The latest objective, for whoever waits."""
        self._flush()
        totals = (value for _, label, value, _ in reversed(self.trace) if label == "total")
        return f"objective {next(totals):.4g}"

    def _watch(self, iteration: int) -> None:
        """SSIM with the truth; the clock stands while we look."""
        truth = self.all[2]
        assert truth is not None
        self._flush()
        paused = time.monotonic()
        similar = similarity(truth, self._images().clamp(0, 1))
        self.trace.append((iteration + 1, "ssim", similar, paused - self.started))
        self.started += time.monotonic() - paused

    def _finish(self) -> Result:
        self._choose(self.rows.everyone)
        x, limit = self._images(), self.rows["limit"]
        with torch.no_grad():
            error = self.data_term.energy(self.network(x))
        lost = ~(torch.isfinite(error) & (self.plan.data_weight * error <= limit))
        if lost.any():
            gone = lost.tolist()
            named = ", ".join(n for n, is_lost in zip(self.names, gone, strict=True) if is_lost)
            count = len(self.schedule)
            place = f"the optimisation of {named} diverged at iteration {count}"
            self._give_up(count, place, lost)
        return Result(x.clamp(0, 1), self.trace, time.monotonic() - self.started)


def similarity(truth: torch.Tensor, reconstructed: torch.Tensor) -> float:
    """Mean SSIM of images N x 3 x H x W in [0, 1]."""
    return float(metrics.ssim(as_pixels(truth), as_pixels(reconstructed)).mean())


def as_maps(values: torch.Tensor) -> torch.Tensor:
    """Maps N x C x H x W in float32; of a flat layer, maps of one position."""
    return values.float().reshape(*values.shape, *(1, 1)[: 4 - values.ndim])
