"""Range priors: how far an image strays from the mean colour."""

from __future__ import annotations

import torch


class AlphaNorm:
    """Mean over pixels of sum_k |u_k|^alpha, with u = 255 (x - mean colour).

    Mahendran & Vedaldi 2015, R_alpha, divided by the number of pixels H*W.
    """

    def __init__(self, mean: torch.Tensor, alpha: float = 6.0):
        self.mean, self.alpha = mean, alpha

    def energy(self, x: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        u = 255 * (x - self.mean)
        return u.abs().pow(self.alpha).sum(1).mean((1, 2))


class ColourNorm:
    """Mean over pixels of (|u| / B)^alpha, with |u| the norm of the colour vector 255 (x - mean colour).

    Mahendran & Vedaldi 2016, the refined range prior: isotropic in colour space. B in units of 0..255.
    """

    def __init__(self, mean: torch.Tensor, alpha: float = 6.0, B: float = 80.0):
        self.mean, self.alpha, self.B = mean, alpha, B

    def energy(self, x: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        u = 255 * (x - self.mean) / self.B
        return u.square().sum(1).pow(self.alpha / 2).mean((1, 2))


class DistanceTo:
    """Mean over pixels of |x - centre|^2 in units of 0..255: a Gaussian prior around images N x 3 x H x W.

    x may lie on a larger canvas, with the images in its middle.
    """

    def __init__(self, centre: torch.Tensor):
        self.centre = centre

    def energy(self, x: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        height, width = self.centre.shape[2:]
        top, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
        inner = x[..., top : top + height, left : left + width]
        return (255 * (inner - self.centre)).square().sum(1).mean((1, 2))
