"""The protocol of priors on images and feature maps, and the units in which learned ones are weighed.

`energy(x)` takes N x C x H x W and returns one value per image, shape (N,): lower is more natural.
Images are in [0, 1]. What else a prior can do it declares: nothing is found out by looking for methods.

An optimisation calls `energy` on its own device, under autocast where its precision is mixed. A prior that
holds a network computes in the precision of x all the same, and moves the network to the device of x.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import ClassVar, Self

import torch

SHARP = 0.2  # of the noise: the level of the density whose most probable image is sought


class Prior(ABC):
    """`sampled`: whether the energy of the same images differs by chance, because positions or noise are
    drawn. `descends`: whether `descend` does the work of `energy` and of autograd at once."""

    sampled: bool = False
    descends: ClassVar[bool] = False

    @abstractmethod
    def energy(self, x: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Energy per image, (N,). What a sampled prior draws comes from `generator`."""

    def descend(self, x: torch.Tensor, weight: float, into: torch.Tensor) -> torch.Tensor:
        """Add weight * gradient by x to `into`, N x C x H x W, in place, without autograd graph or
        temporaries of full size; returns the energy, (N,). Of priors of images that declare `descends`."""
        raise NotImplementedError

    def anneal(self, progress: float) -> None:  # noqa: B027 (most do not change on the way)
        """Called before each iteration with the share of the optimisation that is done, 0..1."""

    def select(self, index: torch.Tensor) -> Self:
        """The prior of some images of a batch, where it holds something per image."""
        return self


class LearnedPrior(Prior):
    """`kind` is its name in files. `mean` and `spread` are those of the energy per position on held-out
    natural data. `facts` say how it was trained. OPTIONS are what a recipe may say of it beside weight and
    units. `estimators` are those of denoising.ESTIMATORS that it has. `gaussian`: whether the mean of what a
    noisy map may stem from is the most probable one.
    """

    kind: ClassVar[str]
    OPTIONS: ClassVar[tuple[str, ...]] = ()
    estimators: ClassVar[tuple[str, ...]] = ("map",)
    gaussian: ClassVar[bool] = False
    mean: float
    spread: float
    facts: dict

    def to(self, device: torch.device) -> Self:
        """The prior itself, with all that it holds on a device."""
        return self

    @property
    @abstractmethod
    def channels(self) -> int: ...

    @abstractmethod
    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        """Of the energy by x, N x C x H x W, without autograd; of a denoiser R, whose energy compares x with
        R(x), what stands for it: (x - R(x)) / sigma^2."""

    def slope_for(self, sigma: float) -> Callable[[torch.Tensor], torch.Tensor]:
        """The gradient by which images with white noise of standard deviation sigma are denoised."""
        return self.gradient

    @abstractmethod
    def positions(self, x: torch.Tensor) -> int:
        """Number of terms that the energy of one of x sums."""

    @abstractmethod
    def calibrate(self, maps: Iterable[torch.Tensor]) -> None:
        """Set `mean` and `spread` from batches of natural maps."""

    @abstractmethod
    def save(self, path: str | os.PathLike, provenance: dict) -> None: ...

    @classmethod
    @abstractmethod
    def of(cls, tensors: dict, facts: dict, **options: object) -> Self:
        """The prior of a file that `save` wrote, with OPTIONS of a recipe."""


class Calibrating(LearnedPrior):
    """A prior whose energy is compared image by image: so are its `mean` and `spread`."""

    @torch.no_grad()
    def calibrate(self, maps) -> None:
        """Set `mean` and `spread`, per value, over natural maps: an iterable of batches N x C x H x W."""
        found = torch.cat([self.energy(x) / self.positions(x) for x in maps]).double()
        self.mean, self.spread = float(found.mean()), float(found.std(correction=0)) or 1.0


class Distance(torch.autograd.Function):
    """|x - R|^2 / (2 sigma^2) of x and a denoised R, with the gradient (x - R) / sigma^2 by x alone."""

    @staticmethod
    def forward(ctx, x, denoised, sigma):
        difference = (x - denoised) / sigma
        ctx.save_for_backward(difference)
        ctx.sigma = sigma
        return 0.5 * difference.square().sum((1, 2, 3))

    @staticmethod
    def backward(ctx, outer):
        (difference,) = ctx.saved_tensors
        return outer.view(-1, 1, 1, 1) * difference / ctx.sigma, None, None


class Noised(Calibrating):
    """A prior of maps with white noise of standard deviation `sigma` in them, in the units of the maps.

    `facts` hold the sigma of the configuration, in its units."""

    OPTIONS = ("sigma",)
    sigma: float
    noise_levels: tuple[float, float] | None = None

    def anneal(self, progress: float) -> None:
        """Ask at a noise level between the first and the last, evenly on a logarithmic scale."""
        if self.noise_levels:
            first, last = self.noise_levels
            self.sigma = first ** (1 - progress) * last**progress

    def asked_at(self, sigma: float | Sequence[float] | None) -> Self:
        """The prior itself, asked from now on at the noise level `sigma`, or at the first and the last of
        two, in the units of the configuration; for None at its own."""
        if sigma is not None:
            first, last = sigma if isinstance(sigma, Sequence) else (sigma, sigma)
            unit = self.sigma / self.facts["sigma"]
            self.noise_levels = (first * unit, last * unit)
            self.sigma = self.noise_levels[0]
        return self


class Denoising(Noised):
    """A prior that gives the mean of the maps that noisy ones may stem from, at any noise level.

    `every_level`: whether it has learned them all alike, so that one answer is the mean; otherwise it knows
    little noise better."""

    every_level: ClassVar[bool] = False

    @abstractmethod
    def denoise(self, x: torch.Tensor, sigma: float | None = None) -> torch.Tensor:
        """Of x, N x C x H x W, without noise of standard deviation `sigma`, by default the prior's own."""

    def slope_at(self, level: float) -> Callable[[torch.Tensor], torch.Tensor]:
        """-d log p / dx of the density of maps with noise of this level in them, of a denoiser R that has
        learned to give their mean: exactly (x - R(x)) / level^2 (Alain & Bengio 2014, Tweedie's formula)."""
        return lambda x: (x - self.denoise(x, level)) / level**2

    def slope_for(self, sigma: float) -> Callable[[torch.Tensor], torch.Tensor]:
        """That of the density of maps with little noise in them, which is nearly the density of maps."""
        return self.slope_at(SHARP * sigma)


class Completing(LearnedPrior):
    """A prior of images that predicts what lies beyond a known part of them."""

    @abstractmethod
    def complete(self, images: torch.Tensor, seen: tuple[slice, slice]) -> torch.Tensor:
        """The images, N x C x H x W, with new values outside of the rows and columns `seen`."""


class PerPosition(Prior):
    """A learned prior per position: of a field the mean over patches of sum_k -alpha_k G(w_k'p).

    These are the units of Harder, whose weights stand beside the normalised error in 2017 (1e-4 and 1e-3)
    and beside the data term `mse` in his code of 2018 (1e-6 to 3e-3). His priors saw images in 0..255, ours
    see them in 0..1, which does not matter: both whiten patches before the experts see them, so that
    responses have no units. (He removed the mean of each channel over all patches; whether that of each
    patch goes as well is for the patch set's `dc` to say.) What the weights of 2018 do depend on is the size
    of the feature maps, squared in `mse`. His came from classifiers of images in 0..255 around a mean
    colour; their size is not on record. Maps of a classifier of standardised images are some 57 times
    smaller up to its first normalisation; `data_weight` can make up for that.
    """

    def __init__(self, prior: LearnedPrior):
        self.prior = prior

    @property
    def sampled(self) -> bool:
        return self.prior.sampled

    def anneal(self, progress: float) -> None:
        self.prior.anneal(progress)

    def energy(self, x: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        return self.prior.energy(x, generator) / self.prior.positions(x)


class Calibrated(PerPosition):
    """A learned prior in units of its own spread per position on natural data, so that a weight of 1
    means the same for each of them."""

    def energy(self, x: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        return (super().energy(x, generator) - self.prior.mean) / self.prior.spread


UNITS = {"spread": Calibrated, "raw": PerPosition}
