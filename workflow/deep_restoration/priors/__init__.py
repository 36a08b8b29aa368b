"""Priors on images and feature maps: one class per prior, one protocol.

`energy(x)` takes N x C x H x W and returns one value per image, shape (N,): lower is more natural.
Images are in [0, 1]. Learned priors are files, which `load` reads.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, Protocol, runtime_checkable

import torch


class Prior(Protocol):
    def energy(self, x: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Energy per image, (N,). A prior that samples positions draws them from `generator`."""
        ...


class Descending(Prior, Protocol):
    """A prior of images that computes its own gradient: no autograd graph, no full-size temporaries."""

    def descend(self, x: torch.Tensor, weight: float, into: torch.Tensor) -> torch.Tensor:
        """Add weight * gradient by x to `into`, N x 3 x H x W, in place; returns the energy, (N,)."""
        ...


class LearnedPrior(Prior, Protocol):
    """`mean` and `spread` are those of the energy per position on held-out natural data."""

    kind: str
    channels: int
    mean: float
    spread: float

    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        """Of the energy by x, N x C x H x W, or what stands for it."""
        ...

    def positions(self, x: torch.Tensor) -> int:
        """Number of terms that the energy of one of x sums."""
        ...

    def calibrate(self, maps: Iterable[torch.Tensor]) -> None:
        """Set `mean` and `spread` from batches of natural maps."""
        ...

    def save(self, path: str | os.PathLike, provenance: dict) -> None: ...


@runtime_checkable
class Annealing(Protocol):
    """A prior that changes while an image is optimised."""

    def anneal(self, progress: float) -> None:
        """Called before each iteration with the progress of the optimisation, 0..1."""
        ...


@runtime_checkable
class Completing(Protocol):
    """A prior of images that predicts what lies beyond a known part of them."""

    def complete(self, images: torch.Tensor, seen: tuple[slice, slice]) -> torch.Tensor:
        """The images, N x C x H x W, with new values outside of the rows and columns `seen`."""
        ...


class PerPosition:
    """A learned prior per position: of a field the mean over patches of sum_k -alpha_k G(w_k'p).

    These are the units of Harder, whose weights stand beside the normalised error in 2017 (1e-4 and 1e-3) and
    beside the data term `mse` in his code of 2018 (1e-6 to 3e-3). His priors saw images in 0..255, ours see
    them in 0..1, which does not matter: both whiten patches before the experts see them, so that responses
    have no units. (He removed the mean of each channel over all patches; here the patch set's `dc` decides
    whether the mean of each patch is removed as well.) What the weights of 2018 do depend on is the size of
    the feature maps, squared in `mse`. His came from classifiers of images in 0..255 around a mean colour;
    their size is not on record. Maps of a classifier of standardised images are some 57 times smaller up to
    its first normalisation; `data_weight` can make up for that.
    """

    def __init__(self, prior: LearnedPrior):
        self.prior = prior

    @property
    def sampled(self) -> bool:
        """Whether the energy of the same images differs by chance."""
        return getattr(self.prior, "lattice", 1) > 1 or getattr(self.prior, "probes", 0) > 0

    def anneal(self, progress: float) -> None:
        if isinstance(self.prior, Annealing):
            self.prior.anneal(progress)

    def energy(self, x: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        return self.prior.energy(x, generator) / self.prior.positions(x)


class Calibrated(PerPosition):
    """A learned prior in units of its own spread per position on natural data, so that a weight of 1
    means the same for each of them."""

    def energy(self, x: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        return (super().energy(x, generator) - self.prior.mean) / self.prior.spread


UNITS = {"spread": Calibrated, "raw": PerPosition}


def load(path: str | os.PathLike, **options: Any) -> LearnedPrior:
    """The learned prior of a file, with options of its kind: `lattice` and `border` of a field;
    `sigma` of a denoiser, its noise level at the first iteration and at the last. An autoregressive one
    has none.

    Raises files.atomic.StorageError for a file that is damaged or no prior, ValueError for a foreign option.
    """
    from ..files.tensors import load_tensors
    from .autoregressive import Autoregressive
    from .denoiser import Denoiser
    from .field import FieldOfExperts

    tensors, facts = load_tensors(path, "prior")
    kinds = {
        "field": (FieldOfExperts, ["border", "lattice"]),
        "denoiser": (Denoiser, ["sigma"]),
        "autoregressive": (Autoregressive, []),
    }
    kind, allowed = kinds[facts["kind"]]
    if foreign := sorted(set(options) - set(allowed)):
        raise ValueError(
            f"{path} holds a {facts['kind']}, which has no option {foreign[0]}; "
            f"allowed: {', '.join(allowed) or 'none'}"
        )
    return kind.of(tensors, facts, **options)
