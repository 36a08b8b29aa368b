"""Wiener's filter and a U-Net that corrects it: a denoiser for every noise level, as a prior.

Of maps x with white noise of standard deviation s in them

    D(x, s) = W(x, s) + g(s) e(s) U([(W - m) / q, (x - W) / s], log s),

W Wiener's filter of spectral.py, e(s) its root mean square error, m and q mean and spread of the maps. Inputs
and output of the network U are of order 1 at every level (preconditioning, after Karras et al. 2022): it sees
what the filter has kept and what it has taken away. The loss is |D - x_0|^2 / e(s)^2, so that levels weigh
alike, and its value says how much of the filter's error is left. Before training U is 0, and D is W.

The gate g says at which levels the network is used: where its error on held-out maps is below the filter's.

`form: gradient_step` makes of the same network a denoiser that is the gradient step of an energy (Hurault,
Leclaire & Papadakis 2022, eqs. (5) and (6)):

    h(x, s) = 1/2 |x - N(x, s)|^2,     D = x - grad_x h = N + J_N'(x - N),

exact by automatic differentiation. N = R + g e U with the filter R whose own gradient step is W: of gains
1 - s / sqrt(v + s^2). h / s^2 is the energy, -log p of maps with noise, and with U = 0 exactly that of
spectral.py.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..files.tensors import save_tensors
from ..runtime import devices, seeds
from ..runtime.checkpoints import Checkpoint
from . import networks, spectral
from .base import Denoising, Distance
from .material import Material, batches
from .spectral import Spectral

KNOTS = 8  # levels at which the gate is found, even on a logarithmic scale
GATED = 64  # held-out maps, at most, that it is found on
EMBEDDED = 64  # values that stand for log s in the network


class Block(nn.Module):
    """x + conv(silu(a conv(silu(x)) + b)), a and b per channel, from the level. At first the identity."""

    def __init__(self, width: int):
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.level = nn.Linear(EMBEDDED, 2 * width)
        for layer in (self.second, self.level):
            _to_zero(layer)

    def forward(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        gain, offset = self.level(level)[:, :, None, None].chunk(2, 1)
        return x + self.second(F.silu(self.first(F.silu(x)) * (1 + gain) + offset))


class Scale(nn.ModuleList):
    """Blocks one after the other."""

    def forward(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        for block in self:
            x = block(x, level)
        return x


class Network(nn.Module):
    """A residual U-Net that is told the noise level: 0 before training.

    U(x, level) of x, N x 2C x H x W with any H and W, and level (N,): N x C x H x W. `widths`: channels at
    each scale, the finest first, each of half the resolution. `blocks` are at each scale on the way down and
    as many on the way up. Pixels are first folded `fold` x `fold` into channels. Smooth in x.
    """

    def __init__(self, channels: int, widths: Sequence[int], blocks: int, fold: int):
        super().__init__()
        self.fold, finest = fold, widths[0]
        self.multiple = fold * 2 ** (len(widths) - 1)
        self.embed = nn.Sequential(
            nn.Linear(1, EMBEDDED), nn.SiLU(), nn.Linear(EMBEDDED, EMBEDDED), nn.SiLU()
        )
        self.enter = nn.Conv2d(2 * channels * fold**2, finest, 3, padding=1)
        steps = list(pairwise(widths))
        self.down = nn.ModuleList(nn.Conv2d(fine, coarse, 2, 2) for fine, coarse in steps)
        self.up = nn.ModuleList(nn.ConvTranspose2d(coarse, fine, 2, 2) for fine, coarse in steps)
        self.before, self.after = (
            nn.ModuleList(Scale(Block(width) for _ in range(blocks)) for width in part)
            for part in (widths, widths[:-1])
        )
        self.leave = nn.Conv2d(finest, channels * fold**2, 3, padding=1)
        _to_zero(self.leave)

    def forward(self, x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[2:]
        # One row or column may be all there is: repeat the edge.
        missing = (0, -width % self.multiple, 0, -height % self.multiple)
        folded = F.pixel_unshuffle(F.pad(x, missing, mode="replicate"), self.fold)
        told = self.embed(level[:, None])
        u = self.enter(folded.contiguous(memory_format=torch.channels_last))
        passed = []
        for number, scale in enumerate(self.before):
            if number:
                passed.append(u)
                u = self.down[number - 1](u)
            u = scale(u, told)
        for scale, up in zip(reversed(self.after), reversed(self.up), strict=True):
            u = scale(passed.pop() + up(u), told)
        return F.pixel_shuffle(self.leave(F.silu(u)), self.fold)[..., :height, :width]


def _to_zero(layer: nn.Module) -> None:
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


class Gate(NamedTuple):
    """Where the network counts: shares `open` (K,) at noise levels `levels` (K,), which rise evenly on a
    logarithmic scale, in the units of the maps."""

    levels: torch.Tensor
    open: torch.Tensor

    def __call__(self, s: torch.Tensor) -> torch.Tensor:
        """g(s), (N,): linear in log s between the levels, and 0 beyond them, where no network was trained."""
        least, most = self.levels[0].log(), self.levels[-1].log()
        last = len(self.levels) - 1
        place = (s.log() - least) / (most - least) * last
        hats = (1 - (place.clamp(0, last)[:, None] - torch.arange(last + 1).to(s)).abs()).clamp(
            min=0
        )
        inside = (place > -1e-3) & (place < last + 1e-3)
        return torch.where(inside, hats @ self.open.to(s), 0)


def knots(least: float, most: float) -> torch.Tensor:
    """The levels of a gate, (KNOTS,)."""
    return torch.linspace(math.log(least), math.log(most), KNOTS).exp()


class Correction(NamedTuple):
    """What the network adds to a filter; `unit` is q, the spread of the maps."""

    network: Network
    spectrum: Spectral
    unit: float

    @classmethod
    def of(cls, network: Network, spectrum: Spectral) -> Correction:
        return cls(network, spectrum, float(spectrum.variances.mean().sqrt()))

    def __call__(self, x: torch.Tensor, filtered: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        """e(s) U([(filtered - m) / q, (x - filtered) / s], log s), of maps or crops, with levels (N,)."""
        level = s.view(-1, 1, 1, 1)
        centre = self.spectrum.centre.to(x)[:, None, None]
        seen = torch.cat([(filtered - centre) / self.unit, (x - filtered) / level], 1)
        own = self.network.leave.weight.dtype
        found = self.network(seen.to(own), (0.5 * (s / self.unit).log()).to(own))
        return self.spectrum.error(s).sqrt().to(x).view(-1, 1, 1, 1) * found.to(x)


def moved(
    correct: Correction, x: torch.Tensor, s: torch.Tensor, share: torch.Tensor
) -> torch.Tensor:
    """x - N(x, s), for levels and shares of the network (N,)."""
    filtered = correct.spectrum.root(x, s)
    return x - filtered - share.view(-1, 1, 1, 1) * correct(x, filtered, s)


def descended(
    correct: Correction, x: torch.Tensor, s: torch.Tensor, share: torch.Tensor
) -> torch.Tensor:
    """x - grad_x of 1/2 |x - N(x, s)|^2. Where gradients are on, autograd goes through."""
    through = torch.is_grad_enabled()
    with torch.inference_mode(False), torch.enable_grad():
        # Copies, because autograd takes no tensors of inference mode.
        own, s, share = (
            x if x.requires_grad else x.clone().requires_grad_(),
            s.clone(),
            share.clone(),
        )
        h = 0.5 * moved(correct, own, s, share).square().sum()
        (slope,) = torch.autograd.grad(h, own, create_graph=through)
    return x - slope


class UNet(Denoising):
    """The denoiser D as a prior; `form` is `direct` or `gradient_step` (see above).

    Its gradient is (x - D(x)) / sigma^2, which estimates -d log p_sigma(x) / dx (Tweedie's formula). In the
    form gradient_step it is exactly that of `energy`, |x - N(x)|^2 / (2 sigma^2). In the direct form no
    energy has it; `energy` gives |x - D(x)|^2 / (2 sigma^2), how far maps are from where D would move them.
    """

    kind = "unet"
    estimators = ("map", "mean")
    every_level = True

    def __init__(
        self,
        spectrum: Spectral,
        network: Network,
        gate: Gate,
        form: str,
        sigma: float,
        *,
        mean: float = 0.0,
        spread: float = 1.0,
        facts: dict | None = None,
    ):
        self.correct = Correction.of(network, spectrum)
        self.gate, self.form, self.sigma = gate, form, sigma
        self.mean, self.spread, self.facts = mean, spread, facts or {}
        network.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    @property
    def channels(self) -> int:
        return self.correct.spectrum.channels

    def to(self, device: torch.device) -> UNet:
        self.correct.network.to(device)
        self.correct.spectrum.to(device)
        self.gate = Gate(*(part.to(device) for part in self.gate))
        return self

    def denoise(self, x: torch.Tensor, sigma: float | torch.Tensor | None = None) -> torch.Tensor:
        """D(x, s) for noise of standard deviation s = `sigma`, one or one per map (N,), by default the
        prior's own. In the precision of x; autograd goes through."""
        s = self._levels(x, sigma)
        share = self.gate(s)
        with torch.autocast(x.device.type, enabled=False):
            if self.form == "gradient_step" and share.any():
                return descended(self.correct, x, s, share)
            filtered = self.correct.spectrum.denoise(x, s)
            if not share.any():
                return filtered
            return filtered + share.view(-1, 1, 1, 1) * self.correct(x, filtered, s)

    def energy(self, x: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        if self.form == "direct":
            return Distance.apply(x, self.denoise(x.detach()), self.sigma)
        s = self._levels(x, None)
        with torch.autocast(x.device.type, enabled=False):
            left = moved(self.correct, x, s, self.gate(s))
            return 0.5 * left.square().sum((1, 2, 3)) / self.sigma**2

    @torch.no_grad()
    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        return (x - self.denoise(x)) / self.sigma**2

    def positions(self, x: torch.Tensor) -> int:
        """Number of values of each map of x."""
        return x[0].numel()

    def _levels(self, x: torch.Tensor, sigma: float | torch.Tensor | None) -> torch.Tensor:
        """s per map, (N,), on the device of x, where the prior goes as well."""
        self.to(x.device)
        level = self.sigma if sigma is None else sigma
        return torch.as_tensor(level, dtype=x.dtype, device=x.device).expand(len(x))

    def save(self, path: str | os.PathLike, provenance: dict) -> None:
        spectrum, network = self.correct.spectrum, self.correct.network
        tensors = {f"spectrum.{name}": getattr(spectrum, name) for name in spectral.PARTS}
        tensors |= {f"network.{name}": value for name, value in network.state_dict().items()}
        names = ("kind", "form", "sigma", "mean", "spread", "facts")
        facts = {name: getattr(self, name) for name in names}
        save_tensors(path, tensors | self.gate._asdict(), "prior", {**provenance, **facts})

    @classmethod
    def of(cls, tensors: dict, facts: dict, sigma: float | Sequence[float] | None = None) -> UNet:
        """From what `save` wrote; `sigma` as of `Noised.asked_at`."""
        centre, basis, variances = (tensors.pop(f"spectrum.{name}") for name in spectral.PARTS)
        gate, options = Gate(tensors.pop("levels"), tensors.pop("open")), facts["facts"]
        network = Network(len(centre), options["widths"], options["blocks"], options["fold"])
        network.load_state_dict({k.removeprefix("network."): v for k, v in tensors.items()})
        more = {name: facts[name] for name in ("mean", "spread", "facts")}
        spectrum = Spectral(centre, basis, variances, facts["sigma"])
        return cls(spectrum, network, gate, facts["form"], facts["sigma"], **more).asked_at(sigma)


@dataclass(frozen=True)
class Settings:
    """form, widths, blocks, fold: see Network and UNet. noise_levels: least and largest standard deviation
    (of image values in 0..255, of feature maps in percent of their spread), sigma: that at which the prior
    is asked. steps, batch, rate: of Adam. average: of the steps, the share over which weights are averaged.
    crop: side in pixels or positions."""

    form: str
    widths: Sequence[int]
    blocks: int
    fold: int
    noise_levels: Sequence[float]
    sigma: float
    steps: int
    batch: int
    rate: float
    average: float
    crop: int
    precision: str

    @property
    def decay(self) -> float:
        """Of the moving average of the weights: so many of the latest steps count."""
        return 1 - 1 / max(1.0, self.average * self.steps)


def train(
    maps: np.ndarray,
    held_out: np.ndarray,
    settings: Settings,
    seed: int,
    checkpoint: Checkpoint,
) -> tuple[UNet, list[tuple]]:
    """Fit the spectrum, then the network, to maps N x C x H x W: uint8 images in steps of 1/255, or feature
    maps; then find the gate.

    Levels are log-uniform. The filter of the direct form sees whole maps with noise, the network a crop of
    both: the spectrum belongs to their size, and what it knows of large structures reaches into the crop. The
    gradient of the other form goes through the filter, so that all of it sees the crop. Returns also the
    history of networks.train; its objective is the squared error as a share of the filter's.
    """
    where = devices.device()
    spectrum = spectral.train(maps, held_out, settings.sigma)[0].to(where)
    unit = spectrum.sigma / settings.sigma
    least, most = (unit * level for level in settings.noise_levels)
    torch.manual_seed(seeds.seed_of(seed, "unet", "start"))
    network = Network(maps.shape[1], settings.widths, settings.blocks, settings.fold)
    network.to(where).to(memory_format=torch.channels_last)
    correct, whole = Correction.of(network, spectrum), min(maps.shape[2:])
    side = min(settings.crop, whole)

    def losses(source: np.ndarray, count: int, draw: torch.Generator) -> networks.Loss:
        seen = side if settings.form == "gradient_step" else whole
        clean = networks.crops(source, count, seen, draw)
        s = (least * (most / least) ** torch.rand(count, generator=draw)).to(where)
        corners = torch.randint(seen - side + 1, (count, 2), generator=draw).tolist()
        noise = torch.randn(clean.shape, generator=draw).to(where)

        def loss(part: slice) -> tuple[torch.Tensor]:
            level, truth = s[part], clean[part]
            noisy = truth + level.view(-1, 1, 1, 1) * noise[part]
            with devices.precision_context(settings.precision, where):
                if settings.form == "gradient_step":
                    found = descended(correct, noisy, level, torch.ones_like(level))
                else:
                    both = noisy, spectrum.denoise(noisy, level), truth
                    noisy, filtered, truth = (cut(x, corners[part], side) for x in both)
                    found = filtered + correct(noisy, filtered, level)
            errors = (found - truth).square().mean((1, 2, 3))
            return ((errors / spectrum.error(level).to(errors)).mean(),)

        return loss

    names = ("unet", "U-Net")
    history = networks.train(
        network, losses, maps, held_out, settings, names, seed, checkpoint, settings.decay
    )
    gate = Gate(knots(least, most), torch.ones(KNOTS))
    prior = UNet(spectrum, network, gate, settings.form, spectrum.sigma, facts=asdict(settings))
    prior.gate = gate._replace(open=better(prior, held_out, seed))
    return prior.to(where), history


def cut(x: torch.Tensor, corners: Sequence[Sequence[int]], side: int) -> torch.Tensor:
    """The crops of maps N x C x H x W whose upper left corners these are, a row and a column per map."""
    parts = zip(x, corners, strict=True)
    return torch.stack([one[:, i : i + side, j : j + side] for one, (i, j) in parts])


@torch.no_grad()
def better(prior: UNet, held_out: np.ndarray, seed: int) -> torch.Tensor:
    """1 at the levels of its gate where the prior has a smaller squared error on held-out maps than Wiener's
    filter, 0 elsewhere: (KNOTS,)."""
    some, filtered = held_out[:: -(-len(held_out) // GATED)], prior.correct.spectrum.denoise
    opened = []
    for number, level in enumerate(prior.gate.levels.tolist()):
        draw = seeds.generator(seed, "unet", "gate", number)
        ours = theirs = 0.0
        for x in batches(some):
            noisy = x + level * torch.randn(x.shape, generator=draw).to(x)
            ours += float((prior.denoise(noisy, level) - x).square().sum())
            theirs += float((filtered(noisy, level) - x).square().sum())
        opened.append(float(ours < theirs))
    return torch.tensor(opened)


def trained(material: Material, settings: dict, checkpoint: Checkpoint) -> tuple[UNet, list[tuple]]:
    """`train` with the settings of a study."""
    plan = Settings(**{field.name: settings[field.name] for field in fields(Settings)})
    return train(material.maps, material.held_out, plan, settings["seed"], checkpoint)
