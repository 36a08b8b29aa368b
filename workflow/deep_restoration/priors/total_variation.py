"""Total variation with a power."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .base import Prior


class TotalVariation(Prior):
    """Mean over pixels of sum_k (dx^2 + dy^2)^(beta/2) / V^beta on the scale 0..255.

    Mahendran & Vedaldi 2015 (V = 1) and 2016 (V = B/6.5): finite differences to the right and down,
    zero beyond the border, summed over colours, divided by the number of pixels H*W.
    """

    descends = True

    def __init__(self, beta: float = 2.0, V: float = 1.0):
        self.beta, self.V = beta, V

    def energy(self, x: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        u = x * (255 / self.V)
        right = F.pad(u[..., :, 1:] - u[..., :, :-1], (0, 1, 0, 0))
        down = F.pad(u[..., 1:, :] - u[..., :-1, :], (0, 0, 0, 1))
        square = right.square() + down.square()
        if self.beta != 2:  # the root has no gradient at 0
            square = (square + 1e-8).pow(self.beta / 2)
        return square.sum(1).mean((1, 2))

    def descend(self, x: torch.Tensor, weight: float, into: torch.Tensor) -> torch.Tensor:
        scale, pixels = 255 / self.V, x.shape[2] * x.shape[3]
        right = x[..., :, 1:] - x[..., :, :-1]
        down = x[..., 1:, :] - x[..., :-1, :]
        if self.beta == 2:
            energy = square(right).add_(square(down)).mul_(scale**2 / pixels)
            factor = 2 * weight * scale**2 / pixels
        else:
            length = torch.full_like(x, 1e-8)
            length[..., :, :-1].addcmul_(right, right, value=scale**2)
            length[..., :-1, :].addcmul_(down, down, value=scale**2)
            power = length.pow(self.beta / 2 - 1)
            energy = (power * length).sum((1, 2, 3)) / pixels
            right.mul_(power[..., :, :-1])
            down.mul_(power[..., :-1, :])
            factor = self.beta * weight * scale**2 / pixels
        into[..., :, 1:].add_(right, alpha=factor)
        into[..., :, :-1].sub_(right, alpha=factor)
        into[..., 1:, :].add_(down, alpha=factor)
        into[..., :-1, :].sub_(down, alpha=factor)
        return energy


def square(x: torch.Tensor) -> torch.Tensor:
    """Sum of squares of each row, (N,), in one pass."""
    return torch.linalg.vector_norm(x, dim=(1, 2, 3)).square_()
