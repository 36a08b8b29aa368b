"""The descent to the most probable image beside a noisy one."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

Gradient = Callable[[torch.Tensor], torch.Tensor]


class Denoised(NamedTuple):
    """images N x C x H x W; iterations of the slowest; residual: how far a full step would still move
    an image, root mean square, the largest."""

    images: torch.Tensor
    iterations: int
    residual: float


def denoise(
    gradient: Gradient,
    noisy: torch.Tensor,
    sigma: float,
    weight: float,
    *,
    iterations: int = 300,
    tolerance: float = 0.1 / 255,
) -> Denoised:
    """Minimise by gradient descent with the steps of Barzilai and Borwein (1988), one per image.

    `gradient` is that of the energy. The energy itself is not needed, so that a denoiser's gradient, which
    belongs to no energy, is treated like any other; steps are at most sigma^2, that of the data term alone.
    An image has converged when sigma^2 times the whole gradient is below `tolerance`.
    """
    x = noisy.clone()
    before: tuple[torch.Tensor, torch.Tensor] | None = None
    step = torch.full((len(x), 1, 1, 1), 0.1 * sigma**2).to(x)
    smallest, best = torch.full((len(x),), float("inf")).to(x), noisy.clone()
    for iteration in range(iterations + 1):
        slope = (x - noisy) / sigma**2 + weight * gradient(x)
        residual = slope.square().mean((1, 2, 3)).sqrt() * sigma**2
        better = residual < smallest
        best[better], smallest = x[better], torch.where(better, residual, smallest)
        if iteration == iterations or bool((smallest < tolerance).all()):
            break
        if before is not None:
            moved, bent = x - before[0], slope - before[1]
            both = _dot(moved, bent)
            # Long and short steps in turn; where the energy bends down, a cautious one.
            step = _dot(moved, moved) / both if iteration % 2 else both / _dot(bent, bent)
            step = torch.where(both > 0, step.clamp(1e-4 * sigma**2, sigma**2), 0.1 * sigma**2)
        before = x, slope
        x = x - torch.where(residual.view(-1, 1, 1, 1) < tolerance, 0, step) * slope
    return Denoised(best, iteration, float(smallest.max()))


def _dot(first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
    return (first * second).sum((1, 2, 3), keepdim=True)
