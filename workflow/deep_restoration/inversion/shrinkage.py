"""How much of an annealed image to believe, frequency by frequency.

What the maps of a layer leave open, annealing makes up: its images are sharp, but made-up detail costs about
twice the squared error of none. In opponent colours and the frequencies of the DCT, the linear estimate of an
image x from the annealed one, a, around the mean colour m is

    m + T' DCT' [rho DCT T (a - m)],    rho = sum of (x - m) (a - m) / sum of (a - m)^2,

one rho, in [0, 1], for each colour and each half octave of frequencies, from images that nothing has learned
from.
"""

from __future__ import annotations

import os

import torch
import torch.nn.functional as F

from ..files.tensors import load_tensors, save_tensors
from ..priors.spectral import dct_matrix
from .parametrisations import Fourier

OPPONENT = F.normalize(torch.tensor(Fourier.COLOURS), dim=1)  # T


def bands(height: int, width: int) -> torch.Tensor:
    """The number of each frequency's band, height x width: 0 is that of the mean colour alone; half octaves
    follow, of half cycles over the larger side of the image, from 1 on."""
    side = max(height, width)
    rows, columns = (torch.arange(n, dtype=torch.float64) * side / n for n in (height, width))
    half_cycles = torch.hypot(rows[:, None], columns[None])
    octaves = half_cycles.clamp(min=1).log2()
    return torch.where(half_cycles > 0, 1 + (2 * octaves + 1e-9).floor(), 0).long()


class Shrinkage:
    """rho: 3 x bands, of opponent colours. mean: m, 1 x 3 x 1 x 1."""

    def __init__(self, rho: torch.Tensor, mean: torch.Tensor):
        self.rho, self.mean = rho, mean

    def to(self, device: torch.device) -> Shrinkage:
        return Shrinkage(self.rho.to(device), self.mean.to(device))

    @classmethod
    def fit(cls, found: torch.Tensor, truth: torch.Tensor, mean: torch.Tensor) -> Shrinkage:
        """From annealed images and the true ones, N x 3 x H x W."""
        a, x = (_analysed(images - mean) for images in (found, truth))
        number = bands(*found.shape[2:]).to(a.device).flatten()
        rho = torch.zeros(3, int(number.max()) + 1, dtype=a.dtype, device=a.device)
        squares = torch.zeros_like(rho)
        for total, values in ((rho, x * a), (squares, a.square())):
            total.index_add_(1, number, values.sum(0).flatten(1))
        return cls((rho / squares.clamp(min=1e-12)).clamp(0, 1), mean)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """The estimates from annealed images, N x 3 x H x W, in [0, 1]."""
        gain = self.rho[:, bands(*images.shape[2:]).to(self.rho.device)]
        a = gain * _analysed(images - self.mean)
        return (self.mean + _turned(a)).clamp(0, 1).to(images)

    def save(self, path: str | os.PathLike, provenance: dict) -> None:
        save_tensors(path, {"rho": self.rho, "mean": self.mean}, "shrinkage", provenance)

    @classmethod
    def load(cls, path: str | os.PathLike) -> Shrinkage:
        """Raises StorageError for a file that is damaged or holds something else."""
        tensors, _ = load_tensors(path, "shrinkage")
        return cls(tensors["rho"], tensors["mean"])


def _analysed(x: torch.Tensor) -> torch.Tensor:
    """DCT T x, of images N x 3 x H x W."""
    rows, columns = (dct_matrix(side).to(x) for side in x.shape[2:])
    return rows @ torch.einsum("kc,nchw->nkhw", OPPONENT.to(x), x) @ columns.T


def _turned(a: torch.Tensor) -> torch.Tensor:
    """T' DCT' a."""
    rows, columns = (dct_matrix(side).to(a) for side in a.shape[2:])
    return torch.einsum("kc,nkhw->nchw", OPPONENT.to(a), rows.T @ a @ columns)
