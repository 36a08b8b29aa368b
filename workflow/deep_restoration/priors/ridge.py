"""Ridge energies: sums over positions of learned functions of a few filter responses, trained so that the map
of least energy beside a noisy one is the clean one.

After three learned regularisers: trained through the minimiser (Chen, Ranftl & Pock 2014), with filters
without mean and profiles scaled by the noise level (Goujon, Neumayer & Unser 2024), and with experts of
several responses (Ducotterd et al. 2025). Profiles here are in closed form, where Goujon et al. have splines.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..files.tensors import save_tensors
from ..runtime import devices, seeds
from ..runtime.checkpoints import Checkpoint
from . import borders, networks
from .base import Noised
from .descent import denoise
from .field import ROOM
from .material import Material
from .spectral import dct_matrix

LADDER = (0.25, 1.0, 4.0)  # widths of the terms of a profile before training
BLOCK = 600_000  # responses held at a time for each thread of a CPU: they and their squares stay in its cache
FLOOR = 0.03  # least width, where noise alone has squared responses of about 1: sharper ones converge slowly
NEAR = 0.01  # of the noise: how close to its minimum a training descends, root mean square
CONJUGATE = 15  # steps of conjugate gradients for the gradient of a training, at most
SOLVED = 0.1  # residual at which they stop, as a share of the first


class Experts(NamedTuple):
    """Filters, and what their responses are turned into energy by, at one noise level or one per map.

    filters: K x C x k x k. bias: K. weights a and widths c: n x G x J, n 1 or the number of maps, for G
    groups of K / G filters that follow each other. With q the sum of the squared responses of a group, its
    profile is sum_j a_j log(1 + q / (2 c_j)). With one term and one filter that is the Student-t expert.
    """

    filters: torch.Tensor
    bias: torch.Tensor
    weights: torch.Tensor
    widths: torch.Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the patches."""
        height, width = self.filters.shape[2:]
        return height, width

    def of(self, maps: slice) -> Experts:
        """Those of some maps of a batch."""
        if len(self.weights) == 1:
            return self
        return self._replace(weights=self.weights[maps], widths=self.widths[maps])

    def grouped(self, s: torch.Tensor) -> torch.Tensor:
        """Responses N x K x H x W as N x G x K/G x H x W, without a copy."""
        return s.unflatten(1, (self.weights.shape[1], -1))

    def squares(self, s: torch.Tensor) -> torch.Tensor:
        """q of grouped responses: N x G x H x W."""
        return s.square().sum(2)

    def _terms(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """a_j and c_j, each n x G x 1 x 1."""
        for a, c in zip(self.weights.unbind(-1), self.widths.unbind(-1), strict=True):
            yield a[..., None, None], c[..., None, None]

    def energy(self, q: torch.Tensor) -> torch.Tensor:
        """Sum over positions and groups of the profiles: (N,)."""
        terms = ((a * torch.log1p(q / (2 * c))).sum((1, 2, 3)) for a, c in self._terms())
        return functools.reduce(torch.add, terms)

    def slope(self, q: torch.Tensor) -> torch.Tensor:
        """Twice the derivative of the profiles, sum_j a_j / (c_j + q / 2): times the responses s of a group
        the derivative of the energy by them."""
        terms = (a / torch.add(c, q, alpha=0.5) for a, c in self._terms())
        return functools.reduce(torch.Tensor.add_, terms)

    def bend(self, q: torch.Tensor) -> torch.Tensor:
        """Four times the second derivative of the profiles: along t the derivative of slope(q) s is
        slope(q) t + bend(q) s (s't)."""
        terms = (a / torch.add(c, q, alpha=0.5).square_() for a, c in self._terms())
        return functools.reduce(torch.Tensor.add_, terms).neg_()

    def respond(self, framed: torch.Tensor) -> torch.Tensor:
        """Grouped responses to the whole patches of maps."""
        return self.grouped(F.conv2d(framed, self.filters, self.bias))

    def answer(self, slopes: torch.Tensor) -> torch.Tensor:
        """The adjoint of `respond`, but for the bias: derivatives by grouped responses as those by maps."""
        return F.conv_transpose2d(slopes.flatten(1, 2), self.filters)


def _blocks(framed: torch.Tensor, experts: Experts) -> Iterator[tuple[slice, slice]]:
    """Maps and rows of patches whose responses are computed together: on a CPU they stay in the cache."""
    (height, width), (lines, length) = experts.size, framed.shape[2:]
    rows, columns = lines - height + 1, length - width + 1
    block = BLOCK * torch.get_num_threads() if framed.device.type == "cpu" else ROOM
    room = max(1, block // (len(experts.filters) * columns))
    together, band = max(1, room // rows), min(rows, room)
    for first in range(0, len(framed), together):
        for top in range(0, rows, band):
            yield slice(first, first + together), slice(top, min(top + band, rows) + height - 1)


def energy_of(x: torch.Tensor, experts: Experts) -> torch.Tensor:
    """Energy (N,) of maps x under experts in their precision; patches are those of border `reflect`."""
    framed = borders.mirrored(x, experts.size)
    total = x.new_zeros(len(x))
    for maps, rows in _blocks(framed, experts):
        own = experts.of(maps)
        total[maps] += own.energy(own.squares(own.respond(framed[maps, :, rows])))
    return total


def gradient_of(
    x: torch.Tensor, experts: Experts, energies: torch.Tensor | None = None
) -> torch.Tensor:
    """Gradient of the energy by x. Adds the energies to `energies`, (N,), if these are asked for."""
    framed = borders.mirrored(x, experts.size)
    gradient = torch.zeros_like(framed)
    for maps, rows in _blocks(framed, experts):
        own = experts.of(maps)
        s = own.respond(framed[maps, :, rows])
        q = own.squares(s)
        if energies is not None:
            energies[maps] += own.energy(q)
        gradient[maps, :, rows] += own.answer(s.mul_(own.slope(q).unsqueeze(2)))
    return borders.folded_back(gradient, experts.size)


class _Energy(torch.autograd.Function):
    """energy_of as a function of autograd."""

    @staticmethod
    def forward(ctx, x, experts):
        energies = x.new_zeros(len(x))
        ctx.save_for_backward(gradient_of(x, experts, energies))
        return energies

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, outer):
        (gradient,) = ctx.saved_tensors
        return outer[:, None, None, None] * gradient, None


class Ridge(Noised):
    """Energy: the sum over positions and groups of filters of their profiles (see Experts), at the noise
    level `sigma`, in the units of the maps.

    filters: K x C x k x k on maps as they are, bias: K. A weight of a group's profile at noise s is
    exp(weights) (s / reference)^powers[0], a width exp(widths) (s / reference)^powers[1]; weights and widths
    are G x J, powers 2 x G. At the edge maps are mirrored (see `borders`).

    The minimum of |x - y|^2 / (2 sigma^2) + E(x) is trained to be the clean image of a noisy y. So E at a
    level is not the negative log-density of images, and a step along its gradient not the posterior mean.
    """

    kind = "ridge"

    def __init__(
        self,
        filters: torch.Tensor,
        bias: torch.Tensor,
        weights: torch.Tensor,
        widths: torch.Tensor,
        powers: torch.Tensor,
        reference: float,
        sigma: float,
        *,
        mean: float = 0.0,
        spread: float = 1.0,
        facts: dict | None = None,
    ):
        self.filters, self.bias = filters, bias
        self.weights, self.widths, self.powers = weights, widths, powers
        self.reference, self.sigma = reference, sigma
        self.mean, self.spread, self.facts = mean, spread, facts or {}

    @property
    def channels(self) -> int:
        return self.filters.shape[1]

    def to(self, device: torch.device) -> Ridge:
        for name in TENSORS:
            setattr(self, name, getattr(self, name).to(device))
        return self

    def experts(self, x: torch.Tensor, sigma: float | None = None) -> Experts:
        """In the precision and on the device of x, at a noise level, by default the prior's own."""
        level = math.log((self.sigma if sigma is None else sigma) / self.reference)
        made = scaled(self.weights, self.widths, self.powers, torch.tensor([level]).to(self.powers))
        return Experts(*(tensor.to(x) for tensor in (self.filters, self.bias, *made)))

    def energy(self, x: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            experts = self.experts(x)
            return _Energy.apply(x, experts) if x.requires_grad else energy_of(x, experts)

    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        return self._gradient_at(x, self.sigma)

    def _gradient_at(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            return gradient_of(x, self.experts(x, sigma))

    def slope_for(self, sigma: float) -> Callable[[torch.Tensor], torch.Tensor]:
        """The gradient at the level of the noise: so it was trained."""
        return lambda x: self._gradient_at(x, sigma)

    def positions(self, x: torch.Tensor) -> int:
        """Number of positions of each map of x."""
        return x[0, 0].numel()

    def least_curvature(self, height: int, width: int, sigma: float | None = None) -> float:
        """A bound from below for the eigenvalues of the Hessian of the energy, whatever the map of this size.

        A term a log(1 + r^2 / (2 c)) has second derivatives of at least -a / (8 c), along r. With b_g the sum
        of a / (8 c) over its terms, the energy bends along x by at least minus the sum over groups of
        b_g |W_g x|^2. A circular convolution of the framed map has all these responses, and its frequencies
        are apart: so the sum is at most |framed x|^2 times the largest eigenvalue of sum b_g w(f) w(f)* over
        filters w, of all frequencies f. A frame repeats a pixel as often as the adjoint of framing says.
        """
        like = torch.zeros(1, self.channels, height, width, dtype=torch.float64)
        experts = self.experts(like, sigma)
        framed = borders.mirrored(like, experts.size)
        repeats = borders.folded_back(torch.ones_like(framed), experts.size).max()
        down = (experts.weights / (8 * experts.widths)).sum(2)[0]
        down = down.repeat_interleave(len(experts.filters) // len(down))
        root = experts.filters * down.sqrt()[:, None, None, None]
        w = torch.fft.rfft2(root, framed.shape[2:]).flatten(2).permute(2, 1, 0)
        product = (
            w @ w.mH if w.shape[1] < w.shape[2] else w.mH @ w
        )  # they have the same largest eigenvalue
        return -float(repeats * torch.linalg.eigvalsh(product).max())

    def save(self, path: str | os.PathLike, provenance: dict) -> None:
        tensors = {name: getattr(self, name) for name in TENSORS}
        names = ("kind", "reference", "sigma", "mean", "spread", "facts")
        facts = {name: getattr(self, name) for name in names}
        save_tensors(path, tensors, "prior", {**provenance, **facts})

    @classmethod
    def of(cls, tensors: dict, facts: dict, sigma: float | Sequence[float] | None = None) -> Ridge:
        """From what `save` wrote; `sigma` as of `Noised.asked_at`."""
        names = ("reference", "sigma", "mean", "spread", "facts")
        return cls(**tensors, **{name: facts[name] for name in names}).asked_at(sigma)


TENSORS = ("filters", "bias", "weights", "widths", "powers")  # of a Ridge


def scaled(
    weights: torch.Tensor, widths: torch.Tensor, powers: torch.Tensor, level: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights and widths n x G x J at noise levels, given as log(sigma / reference), (n,); see Ridge."""
    grown = level[:, None, None] * powers[:, None, :, None]  # 2 x n x G x 1
    return (weights + grown[0]).exp(), (widths + grown[1]).exp()


# ------------------------------------------------------------------------------ training


@dataclass(frozen=True)
class Settings:
    """filters: their number, in groups of `group`, size x size. noise_levels: least and largest standard
    deviation (of image values in 0..255, of feature maps in percent of their spread), sigma: that at which
    the prior is asked. iterations: of the descent to the minimum. steps, batch, rate: of Adam. crop: side in
    pixels or positions."""

    filters: int
    group: int
    size: int
    noise_levels: Sequence[float]
    sigma: float
    iterations: int
    steps: int
    batch: int
    rate: float
    crop: int


class Model(nn.Module):
    """The parameters of a Ridge for maps of mean 0 and spread 1, and `reference`, their middle noise level.

    Filters are combinations of the products of channels and discrete cosines; of images without the constant
    cosine, so that the energy does not see the mean of a channel.
    """

    planes: torch.Tensor

    def __init__(self, plan: Settings, channels: int, reference: float, mean: bool):
        super().__init__()
        groups, size = plan.filters // plan.group, plan.size
        cosines = dct_matrix(size).float()
        planes = torch.einsum("ui,vj->uvij", cosines, cosines).flatten(0, 1)
        frequency = torch.arange(size).square()
        order = (frequency[:, None] + frequency).flatten().argsort(stable=True)
        self.register_buffer("planes", planes[order][0 if mean else 1 :], persistent=False)
        self.reference = reference
        # The finer, the weaker: so is what photographs and their maps are made of.
        fading = torch.linspace(1, 0.2, len(self.planes))
        start = torch.randn(plan.filters, channels, len(self.planes)) * fading
        self.mixing = nn.Parameter(start / start.flatten(1).norm(dim=1)[:, None, None])
        # Near 0 the energy bends about as much as the data term: neither hides the other.
        ladder = torch.tensor(LADDER).log().expand(groups, -1)
        even = math.log(2 * channels / plan.filters / len(LADDER))
        self.widths = nn.Parameter(ladder.clone())
        self.weights = nn.Parameter(ladder + even)
        self.powers = nn.Parameter(torch.zeros(2, groups))

    def filters(self) -> torch.Tensor:
        """K x C x k x k; as long as noise of the reference alone has responses of about 1."""
        length = self.mixing.square().sum((1, 2), keepdim=True).sqrt() * self.reference
        return torch.einsum("kcf,fij->kcij", self.mixing / length, self.planes)

    def spreads(self) -> torch.Tensor:
        """The logarithms of widths, G x J."""
        return (FLOOR + self.widths.exp()).log()

    def experts(self, sigma: torch.Tensor) -> Experts:
        """At the noise level of each map, (N,)."""
        filters = self.filters()
        level = (sigma / self.reference).log()
        made = scaled(self.weights, self.spreads(), self.powers, level)
        return Experts(filters, filters.new_zeros(len(filters)), *made)


class _Minimum(torch.autograd.Function):
    """The maps x of least |x - y|^2 / (2 sigma^2) + E(x) for noisy ones y, as a function of the experts.

    At the minimum x - y + sigma^2 grad E(x) = 0; so (Samuel & Tappen 2009) a loss of gradient u by x has the
    derivative -sigma^2 d/dtheta v'grad E(x) by a parameter, with v = (I + sigma^2 Hessian)^-1 u, found by
    conjugate gradients.
    """

    @staticmethod
    def forward(ctx, noisy, sigma, iterations, *experts):
        power, given = sigma.square().view(-1, 1, 1, 1), Experts(*experts)
        found = denoise(
            lambda x: power * gradient_of(x, given),
            noisy,
            1.0,
            1.0,
            iterations=iterations,
            tolerance=NEAR * float(sigma.min()),
        )
        # Where a step too long has left no finite gradient, or weights of 0, the descent gives back noisy
        # maps, whose error is finite: the loss has to say so.
        sound = math.isfinite(found.residual) and bool((given.weights > 0).all())
        x = found.images if sound else torch.full_like(noisy, math.nan)
        ctx.save_for_backward(x, power, *experts)
        return x

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, outer):
        x, power, *experts = ctx.saved_tensors
        v = _solved(outer, x, power, Experts(*experts))
        with torch.enable_grad():
            given = [tensor.detach().requires_grad_() for tensor in experts]
            slope = -(power.flatten() * slope_along(v, x, Experts(*given))).sum()
            return None, None, None, *torch.autograd.grad(slope, given)


def slope_along(v: torch.Tensor, x: torch.Tensor, experts: Experts) -> torch.Tensor:
    """v'grad E(x) per map, (N,), for autograd by the experts.

    By products with unfolded patches: gradients of a convolution by its filters are slow on a CPU.
    """
    size, weights = experts.size, experts.filters.flatten(1)
    unfolded = (F.unfold(borders.mirrored(maps, size), size) for maps in (x, v))
    s, t = (experts.grouped((weights @ part)[..., None]) for part in unfolded)
    s = s + experts.grouped(experts.bias[None])[..., None, None]
    return (experts.slope(experts.squares(s)) * (s * t).sum(2)).sum((1, 2, 3))


def _solved(
    u: torch.Tensor, x: torch.Tensor, power: torch.Tensor, experts: Experts
) -> torch.Tensor:
    """(I + power Hessian(x))^-1 u by a few steps of conjugate gradients, one map apart from the other."""
    without = experts._replace(bias=None)
    s = experts.respond(borders.mirrored(x, experts.size))
    q = experts.squares(s)
    slope, bend = experts.slope(q).unsqueeze(2), experts.bend(q).unsqueeze(2)

    def product(v: torch.Tensor) -> torch.Tensor:
        t = without.respond(borders.mirrored(v, experts.size))
        along = bend * (s * t).sum(2, keepdim=True)
        answer = experts.answer(t.mul_(slope).addcmul_(s, along))
        return v + power * borders.folded_back(answer, experts.size)

    def dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a * b).sum((1, 2, 3), keepdim=True)

    v, rest, way = torch.zeros_like(u), u, u
    left = dot(rest, rest)
    first = left
    for _ in range(CONJUGATE):
        if bool((left <= SOLVED**2 * first).all()):
            break
        bent = product(way)
        curvature = dot(way, bent)
        # Short of a minimum the energy may bend down: such a map keeps what it has.
        step = torch.where(curvature > 0, left / curvature, 0)
        v, rest = v + step * way, rest - step * bent
        now = dot(rest, rest)
        way = rest + torch.where(left > 0, now / left, 0) * way
        left = now
    return v


def train(
    maps: np.ndarray, held_out: np.ndarray, plan: Settings, seed: int, checkpoint: Checkpoint
) -> tuple[Ridge, list[tuple]]:
    """Fit a ridge energy to crops of maps N x C x H x W: uint8 images in steps of 1/255, or feature maps.

    The loss is the mean squared error of the minimum beside noisy crops, in units of the variance of the
    noise; levels are drawn evenly on a logarithmic scale. Returns also the history of networks.train.
    """
    where, image = devices.device(), maps.dtype == np.uint8
    centre, scale = networks.units(maps)
    unit = (1 / 255 if image else scale / 100) / scale
    low, high = (math.log(unit * level) for level in plan.noise_levels)
    side = min(plan.crop, *maps.shape[2:])
    torch.manual_seed(seeds.seed_of(seed, "ridge", "start"))
    model = Model(plan, maps.shape[1], math.exp((low + high) / 2), not image).to(where)

    def losses(source: np.ndarray, count: int, draw: torch.Generator) -> networks.Loss:
        clean = networks.crops(source, count, side, draw)
        clean = (clean - centre.to(where)[:, None, None]) / scale
        sigma = (low + (high - low) * torch.rand(count, generator=draw)).exp().to(where)
        noise = torch.randn(clean.shape, generator=draw).to(where)

        def loss(part: slice) -> tuple[torch.Tensor]:
            level = sigma[part].view(-1, 1, 1, 1)
            noisy = clean[part] + level * noise[part]
            found = _Minimum.apply(noisy, sigma[part], plan.iterations, *model.experts(sigma[part]))
            return (((found - clean[part]) / level).square().mean(),)

        return loss

    names = ("ridge", "ridge energy")
    history = networks.train(model, losses, maps, held_out, plan, names, seed, checkpoint)
    filters = model.filters().detach() / scale
    bias = -torch.einsum("kcij,c->k", filters, centre.to(filters))
    sigma = plan.sigma * unit * scale
    prior = Ridge(
        filters,
        bias,
        model.weights.detach(),
        model.spreads().detach(),
        model.powers.detach(),
        model.reference * scale,
        sigma,
        facts=asdict(plan),
    )
    # In units of the data term's: above -1 there is one minimum beside a noisy map.
    prior.facts["curvature"] = sigma**2 * prior.least_curvature(side, side)
    return prior, history


def trained(
    material: Material, settings: dict, checkpoint: Checkpoint
) -> tuple[Ridge, list[tuple]]:
    """`train` with the settings of a study."""
    plan = Settings(**{field.name: settings[field.name] for field in fields(Settings)})
    return train(material.maps, material.held_out, plan, settings["seed"], checkpoint)
