"""The spectrum of natural maps as a prior: a stationary Gaussian, learned and asked in closed form."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from ..files.tensors import save_tensors
from ..runtime.checkpoints import Checkpoint
from . import networks
from .base import Denoising
from .material import Material, batches

# Added to every variance, as a share of the mean one. Of photographs in [0, 1], whose variance is about .07,
# it is 1e-6: a quarter of a grey level, less than rounding to 8 bits adds.
FLOOR = 1.5e-5
PARTS = ("centre", "basis", "variances")  # what a spectrum is made of, by name


def dct_matrix(size: int) -> torch.Tensor:
    """The orthonormal DCT-II as a matrix, size x size, in double precision; its rows are the basis.

    Row k at position i: sqrt(2 / n) cos(pi k (2 i + 1) / (2 n)), row 0 divided by sqrt(2).
    """
    k, i = torch.arange(size, dtype=torch.float64)[:, None], torch.arange(size)
    result = (math.pi * k * (2 * i + 1) / (2 * size)).cos() * math.sqrt(2 / size)
    result[0] /= math.sqrt(2)
    return result


def interpolation(size: int, known: int) -> torch.Tensor:
    """What takes values at the frequencies of `known` positions to those of `size`, size x known.

    Coefficient k of n positions has k / 2n cycles per position, so that k of `size` lies at place
    k known / size: linear between neighbours, and the last value beyond the last place.
    """
    place = (torch.arange(size, dtype=torch.float64) * known / size).clamp(max=known - 1)
    return (1 - (place[:, None] - torch.arange(known)).abs()).clamp(min=0)


class _Sized(NamedTuple):
    """What maps of one size are transformed by, in their precision and on their device: DCT matrices H x H
    and W x W, variances C x H x W, basis C x C, centre C x 1."""

    rows: torch.Tensor
    columns: torch.Tensor
    variances: torch.Tensor
    basis: torch.Tensor
    centre: torch.Tensor

    def analyse(self, x: torch.Tensor) -> torch.Tensor:
        """a, of maps N x C x H x W."""
        mixed = self.basis @ (x.flatten(2) - self.centre)
        return self.rows @ mixed.view_as(x) @ self.columns.mT

    def turn(self, a: torch.Tensor) -> torch.Tensor:
        """Maps around 0 of coefficients N x C x H x W."""
        mixed = self.rows.mT @ a @ self.columns
        return (self.basis.mT @ mixed.flatten(2)).view_as(a)

    def synthesise(self, a: torch.Tensor) -> torch.Tensor:
        """Maps of coefficients N x C x H x W."""
        return self.turn(a) + self.centre[..., None]


class Spectral(Denoising):
    """Maps x = centre + T' DCT' a, the a(c, f) independent Gaussians of mean 0 and variance v(c, f).

    T is orthonormal over channels (of photographs close to opponent colours), the DCT orthonormal over
    height and width: what is stationary has independent coefficients, nearly. With white noise of standard
    deviation s in the maps the variances are v + s^2, so that all is known in closed form: the density,
    and the mean of the maps that noisy ones may stem from, which is Wiener's filter. `energy` is that of
    maps with noise of the level `sigma` in them. `variances` are those of maps of one size; those of others
    follow from it (see `variances_of`).

    centre: C. basis: T, C x C. variances: C x H x W. All in double precision.
    """

    kind = "wiener"
    gaussian = True

    def __init__(
        self,
        centre: torch.Tensor,
        basis: torch.Tensor,
        variances: torch.Tensor,
        sigma: float,
        *,
        mean: float = 0.0,
        spread: float = 1.0,
        facts: dict | None = None,
    ):
        self.centre, self.basis, self.variances, self.sigma = centre, basis, variances, sigma
        self.mean, self.spread, self.facts = mean, spread, facts or {}
        self._latest: tuple[tuple, _Sized] | None = None

    @property
    def channels(self) -> int:
        return len(self.centre)

    def to(self, device: torch.device) -> Spectral:
        for name in PARTS:
            setattr(self, name, getattr(self, name).to(device))
        return self

    def variances_of(self, height: int, width: int) -> torch.Tensor:
        """v of maps of another size, C x height x width: log v, bilinear between the frequencies.

        A coefficient of the orthonormal DCT of what is stationary has the spectral density at its frequency
        for variance, whatever the size. So has the first one, the mean times the root of the number of
        positions, if maps are larger than what correlates in them. Photographs are not: from 64 to 128
        pixels, variances between the lowest and the highest frequencies come out within 10 %, that of the
        mean at a third of the true one, and those of the means of rows and of columns at half to all of it.
        """
        rows, columns = (
            interpolation(size, known).to(self.variances)
            for size, known in zip((height, width), self.variances.shape[1:], strict=True)
        )
        return (rows @ self.variances.log() @ columns.mT).exp()

    def _of(self, x: torch.Tensor) -> _Sized:
        """What maps like x are transformed by; that of the latest ones is kept."""
        key = (x.shape[2:], x.dtype, x.device)
        if self._latest is None or self._latest[0] != key:
            with torch.inference_mode(False):  # autograd takes no tensors of inference mode
                v = self.variances
                v = v if v.shape[1:] == x.shape[2:] else self.variances_of(*x.shape[2:])
                parts = (*map(dct_matrix, x.shape[2:]), v, self.basis, self.centre[:, None])
                self._latest = key, _Sized(*(part.to(x) for part in parts))
        return self._latest[1]

    def denoise(self, x: torch.Tensor, sigma: float | torch.Tensor | None = None) -> torch.Tensor:
        """The mean of the maps that x, N x C x H x W, may stem from: centre + T' DCT' [v / (v + s^2) a].

        sigma: the standard deviation s of the noise in x, one or one per map (N,), by default the prior's
        own. Autograd goes through.
        """
        return self._filtered(x, sigma, lambda v, s: v / (v + s**2))

    def root(self, x: torch.Tensor, sigma: float | torch.Tensor | None = None) -> torch.Tensor:
        """R(x) = centre + T' DCT' [1 - s / sqrt(v + s^2)] a, whose gradient step is `denoise`: the gradient
        of |x - R(x)|^2 / 2 by x is x - denoise(x). Arguments as of `denoise`."""
        return self._filtered(x, sigma, lambda v, s: 1 - s / (v + s**2).sqrt())

    def _filtered(
        self,
        x: torch.Tensor,
        sigma: float | torch.Tensor | None,
        gain: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    ) -> torch.Tensor:
        """centre + T' DCT' [gain(v, s) a], s of a shape that goes with v."""
        level = self.sigma if sigma is None else sigma
        level = torch.as_tensor(level, dtype=x.dtype, device=x.device).view(-1, 1, 1, 1)
        with torch.autocast(x.device.type, enabled=False):
            sized = self._of(x)
            return sized.synthesise(gain(sized.variances, level) * sized.analyse(x))

    def energy(self, x: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """sum over coefficients of a^2 / 2 (v + sigma^2): -log p of maps with noise, but for a constant."""
        with torch.autocast(x.device.type, enabled=False):
            sized = self._of(x)
            a = sized.analyse(x)
            return 0.5 * (a.square() / (sized.variances + self.sigma**2)).sum((1, 2, 3))

    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        with torch.autocast(x.device.type, enabled=False):
            sized = self._of(x)
            return sized.turn(sized.analyse(x) / (sized.variances + self.sigma**2))

    def sample(self, shape: Sequence[int], generator: torch.Generator) -> torch.Tensor:
        """Maps N x C x H x W (`shape`) of the prior, without noise, on the device of the generator."""
        noise = torch.randn(tuple(shape), generator=generator, device=generator.device)
        sized = self._of(noise)
        return sized.synthesise(sized.variances.sqrt() * noise)

    def error(
        self, sigma: float | torch.Tensor, size: tuple[int, int] | None = None
    ) -> torch.Tensor:
        """The expected squared error per value of `denoise` at noise levels `sigma` of any shape, where maps
        are those of the prior: the mean of v s^2 / (v + s^2). `size`: of the maps, by default the learned
        one. Returns a tensor of the shape of sigma, in double precision."""
        v = self.variances if size is None else self.variances_of(*size)
        noise = torch.as_tensor(sigma, dtype=v.dtype, device=v.device)[..., None].square()
        return (v.flatten() * noise / (v.flatten() + noise)).mean(-1)

    def positions(self, x: torch.Tensor) -> int:
        """Number of values of each map of x."""
        return x[0].numel()

    def save(self, path: str | os.PathLike, provenance: dict) -> None:
        tensors = {name: getattr(self, name) for name in PARTS}
        names = ("kind", "sigma", "mean", "spread", "facts")
        facts = {name: getattr(self, name) for name in names}
        save_tensors(path, tensors, "prior", {**provenance, **facts})

    @classmethod
    def of(
        cls, tensors: dict, facts: dict, sigma: float | Sequence[float] | None = None
    ) -> Spectral:
        """From what `save` wrote; `sigma` as of `Noised.asked_at`."""
        more = {name: facts[name] for name in ("mean", "spread", "facts")}
        return cls(**tensors, sigma=facts["sigma"], **more).asked_at(sigma)


def radial(power: torch.Tensor) -> torch.Tensor:
    """The mean of power, C x H x W, over the frequencies of a ring, at each of them.

    A ring is a sixth of an octave of the frequency's length in cycles per position, sqrt((k / 2H)^2 +
    (l / 2W)^2). The first coefficient, the mean, stays alone.
    """
    height, width = power.shape[1:]
    rows, columns = (torch.arange(size).double() / (2 * size) for size in (height, width))
    length = (rows[:, None].square() + columns.square()).sqrt()
    length[0, 0] = 0.25 / (2 * max(height, width))  # two octaves below the next
    _, ring = (6 * length.log2()).round().unique(return_inverse=True)
    ring, values = ring.flatten().to(power.device), power.flatten(1)
    count = torch.bincount(ring)
    total = values.new_zeros(len(values), len(count)).index_add_(1, ring, values)
    return (total / count)[:, ring].view_as(power)


def train(
    maps: np.ndarray, held_out: np.ndarray, sigma: float, isotropic: bool = False
) -> tuple[Spectral, list[tuple]]:
    """Learn the prior of maps N x C x H x W: uint8 images in steps of 1/255, or feature maps.

    The centre is the mean of each channel over maps and positions; T the eigenvectors of the covariance of
    channels, the largest first, of each the largest entry positive; v the mean of a^2, and FLOOR. With
    `isotropic` it is the mean over all directions, too (see `radial`): long straight edges give the rows and
    columns of the DCT more, out of which samples and reconstructions under a Gaussian would make grids. Sums
    are in double precision, maps are taken in batches. sigma: of image values in 0..255, of feature maps in
    percent of their spread. Returns also the history, a row (1, objective, held-out objective, seconds):
    the negative log likelihood per value, which these v minimise (of all, or of all isotropic ones).
    """
    began = time.monotonic()
    centre, basis = _colours(maps)
    squares, held = (_power(part, centre, basis) for part in (maps, held_out))
    v = radial(squares) if isotropic else squares
    v = v + FLOOR * (squares.mean().item() or 1.0)
    unit = 1 / 255 if maps.dtype == np.uint8 else networks.units(maps)[1] / 100
    prior = Spectral(centre, basis, v, sigma * unit, facts={"sigma": sigma})
    objectives = (0.5 * float((s / v + (2 * math.pi * v).log()).mean()) for s in (squares, held))
    return prior, [(1, *objectives, time.monotonic() - began)]


def _colours(maps: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """The centre, C, and the basis, C x C."""
    total, product = 0.0, 0.0
    for x in batches(maps):
        values = x.double().transpose(0, 1).flatten(1)
        total, product = total + values.sum(1), product + values @ values.T
    count = maps.size // maps.shape[1]
    centre = total / count
    covariance = product / count - torch.outer(centre, centre)
    basis = torch.linalg.eigh(covariance.cpu()).eigenvectors.T.flip(0)
    largest = basis.gather(1, basis.abs().argmax(1, keepdim=True))
    return centre, (basis * largest.sign()).to(centre)


def _power(maps: np.ndarray, centre: torch.Tensor, basis: torch.Tensor) -> torch.Tensor:
    """The mean of a^2 over maps, C x H x W."""
    rows, columns = (dct_matrix(size).to(centre) for size in maps.shape[2:])
    total = torch.zeros(maps.shape[1:]).to(centre)
    sized = _Sized(rows, columns, total, basis, centre[:, None])
    for x in batches(maps):
        total += sized.analyse(x.double()).square().sum(0)
    return total / len(maps)


def trained(
    material: Material, settings: dict, checkpoint: Checkpoint
) -> tuple[Spectral, list[tuple]]:
    """`train` with the settings of a study; it takes seconds, so that no checkpoint is saved."""
    asked = settings["sigma"], settings["isotropic"]
    return train(material.maps, material.held_out, *asked)
