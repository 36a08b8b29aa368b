"""Over-complete ICA, trained on patches, used as a field over all positions."""

from __future__ import annotations

import os

import numpy as np
import torch
import torch.nn.functional as F

from .. import storage
from .experts import EXPERTS


class IndependentComponents:
    """Energy sum over positions and experts of -alpha_k G(w_k'p), p the whitened patch there.

    DC removal and whitening are folded into the filters, so that one convolution evaluates all
    patches. `filters` is K x C x k x k on maps as they are (images in [0, 1]), `bias` (K,).
    `mean` and `spread` are those of the energy per position on held-out natural patches. `patterns`
    (K x C x k x k) are what the filters respond to, for pictures: filters undo the correlation of
    neighbours and look like noise, their patterns have it.
    """

    def __init__(
        self,
        filters: torch.Tensor,
        bias: torch.Tensor,
        alphas: torch.Tensor,
        expert: str,
        mean: float = 0.0,
        spread: float = 1.0,
        lattice: int = 1,
        patterns: torch.Tensor | None = None,
    ):
        self.patterns = filters if patterns is None else patterns
        self.filters, self.bias, self.alphas = filters, bias, alphas
        self.expert_name, self.expert = expert, EXPERTS[expert]
        self.mean, self.spread, self.lattice = mean, spread, lattice

    @classmethod
    def from_whitened(
        cls,
        white_filters: torch.Tensor,
        alphas: torch.Tensor,
        whitening: np.ndarray,
        centre: np.ndarray,
        dc: np.ndarray,
        shape: tuple[int, int, int],
        expert: str,
    ) -> IndependentComponents:
        """From filters K x d on whitened patches: p = whitening (d x D) ((dc (D x D)) patch - centre)."""
        folded = white_filters.double().cpu().numpy() @ whitening
        bias = torch.from_numpy(-folded @ centre).float()
        filters = torch.from_numpy(folded @ dc).float().reshape(-1, *shape)
        patterns = white_filters.double().cpu().numpy() @ np.linalg.pinv(whitening).T
        patterns = torch.from_numpy(patterns).float().reshape(-1, *shape)
        return cls(filters, bias, alphas.float().cpu(), expert, patterns=patterns)

    def energy(self, x: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Energy (N,) over all positions.

        With `lattice` s > 1 and a generator, only every s-th position in both directions from a random
        offset, multiplied by s^2: an unbiased estimate at 1/s^2 of the cost.
        """
        step = self.lattice if generator is not None else 1
        filters, bias = self.filters.to(x.device), self.bias.to(x.device)
        if step > 1:
            top, left = torch.randint(step, (2,), generator=generator).tolist()
            x = x[..., top:, left:]
            if x.shape[2] < filters.shape[2] or x.shape[3] < filters.shape[3]:
                return 0 * x.sum((1, 2, 3))  # a lattice so wide that it meets no patch
        responses = F.conv2d(x, filters, bias, stride=step)
        per_filter = self.expert.G(responses).sum((2, 3))
        return -(step**2) * per_filter @ self.alphas.to(x.device)

    def positions(self, x: torch.Tensor) -> int:
        """Number of patches in each map of x."""
        height, width = self.filters.shape[2:]
        return (x.shape[2] - height + 1) * (x.shape[3] - width + 1)

    def save(self, path: str | os.PathLike, provenance: dict) -> None:
        tensors = {"filters": self.filters, "bias": self.bias, "alphas": self.alphas}
        tensors["patterns"] = self.patterns.clone()  # may be the filters
        facts = {"expert": self.expert_name, "mean": self.mean, "spread": self.spread}
        storage.save_tensors(path, tensors, "prior", {**provenance, **facts})

    @classmethod
    def load(cls, path: str | os.PathLike, lattice: int = 1) -> IndependentComponents:
        tensors, facts = storage.load_tensors(path, "prior")
        return cls(
            tensors["filters"],
            tensors["bias"],
            tensors["alphas"],
            facts["expert"],
            facts["mean"],
            facts["spread"],
            lattice,
            tensors["patterns"],
        )


class Calibrated:
    """A learned prior in units of its own spread per position on natural data, so that a weight of 1
    means the same for each of them."""

    def __init__(self, prior: IndependentComponents):
        self.prior = prior

    def energy(self, x: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        per_position = self.prior.energy(x, generator) / self.prior.positions(x)
        return (per_position - self.prior.mean) / self.prior.spread
