"""Range priors: how far an image strays from the mean colour."""

from __future__ import annotations

import torch

from ..runtime.rows import PerImage
from .base import Prior


class _Range(Prior):
    """What the range priors share: u = 255 (x - centre).

    `centre`: `colour`, a fixed colour `mean`, 1 x 3 x 1 x 1 in [0, 1], as in the code of Mahendran & Vedaldi,
    whose weights and bounds belong to it; or `image`, the mean over all values of x itself (Harder 2017,
    eq. 4, and his code). The latter does not change when all of x gets brighter, so that it limits
    contrast, not range: it is not the default.
    """

    descends = True

    def __init__(self, mean: torch.Tensor, alpha: float, centre: str):
        if centre not in ("colour", "image"):
            raise ValueError(f"centre is {centre!r}; allowed: colour, image")
        self.mean, self.alpha, self.own = mean, alpha, centre == "image"

    def _from_centre(self, x: torch.Tensor) -> torch.Tensor:
        return x - (x.mean((1, 2, 3), keepdim=True) if self.own else self.mean)

    def _add(self, slope: torch.Tensor, u: torch.Tensor, value: float, into: torch.Tensor) -> None:
        """into += value * slope * u; where x moves its own centre, without the mean over an image."""
        into.addcmul_(slope, u, value=value)
        if self.own:
            into.sub_((slope * u).mean((1, 2, 3), keepdim=True), alpha=value)


class AlphaNorm(_Range):
    """Mean over pixels of sum_k |u_k|^alpha, with u = 255 (x - centre).

    Mahendran & Vedaldi 2015, R_alpha, divided by the number of pixels H*W. centre: see _Range.
    """

    def __init__(self, mean: torch.Tensor, alpha: float = 6.0, centre: str = "colour"):
        super().__init__(mean, alpha, centre)

    def energy(self, x: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        u = 255 * self._from_centre(x)
        return u.abs().pow(self.alpha).sum(1).mean((1, 2))

    def descend(self, x: torch.Tensor, weight: float, into: torch.Tensor) -> torch.Tensor:
        pixels = x.shape[2] * x.shape[3]
        u = self._from_centre(x).mul_(255)
        size = u.abs()
        power = _power(size, self.alpha - 1)
        self._add(power, u.sign_(), 255 * self.alpha * weight / pixels, into)
        return power.mul_(size).sum((1, 2, 3)).div_(pixels)


class ColourNorm(_Range):
    """Mean over pixels of (|u| / B)^alpha, with |u| the norm of the colour vector 255 (x - centre).

    Mahendran & Vedaldi 2016, the refined range prior: isotropic in colour space. B in units of 0..255.
    centre: see _Range.
    """

    def __init__(
        self, mean: torch.Tensor, alpha: float = 6.0, B: float = 80.0, centre: str = "colour"
    ):
        super().__init__(mean, alpha, centre)
        self.B = B

    def energy(self, x: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        u = 255 * self._from_centre(x) / self.B
        return u.square().sum(1).pow(self.alpha / 2).mean((1, 2))

    def descend(self, x: torch.Tensor, weight: float, into: torch.Tensor) -> torch.Tensor:
        scale, pixels = 255 / self.B, x.shape[2] * x.shape[3]
        u = self._from_centre(x).mul_(scale)
        length = u.square().sum(1, keepdim=True)
        power = _power(length.clamp(min=1e-30), self.alpha / 2 - 1)
        self._add(power, u, scale * self.alpha * weight / pixels, into)
        return power.mul_(length).sum((1, 2, 3)).div_(pixels)


class DistanceTo(PerImage, Prior):
    """Mean over pixels of |x - centre|^2 in units of 0..255: a Gaussian prior around images N x 3 x H x W.

    x may lie on a larger canvas, with the images in its middle.
    """

    PER_IMAGE = ("centre",)
    descends = True

    def __init__(self, centre: torch.Tensor):
        self.centre = centre

    def _inner(self, x: torch.Tensor) -> torch.Tensor:
        height, width = self.centre.shape[2:]
        top, left = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
        return x[..., top : top + height, left : left + width]

    def energy(self, x: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        return (255 * (self._inner(x) - self.centre)).square().sum(1).mean((1, 2))

    def descend(self, x: torch.Tensor, weight: float, into: torch.Tensor) -> torch.Tensor:
        pixels = self.centre.shape[2] * self.centre.shape[3]
        difference = self._inner(x) - self.centre
        self._inner(into).add_(difference, alpha=2 * 255**2 * weight / pixels)
        return difference.square_().sum((1, 2, 3)).mul_(255**2 / pixels)


def _power(x: torch.Tensor, exponent: float) -> torch.Tensor:
    """x >= 0 to a power; whole ones by products, which are ten times faster than torch's powers."""
    if exponent in (1, 2, 3, 4, 5):
        result = x.clone()
        for _ in range(int(exponent) - 1):
            result.mul_(x)
        return result
    return x.pow(exponent)
