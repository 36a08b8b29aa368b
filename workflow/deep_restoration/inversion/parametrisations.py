"""What is optimised in place of pixels: one class per parametrisation, one protocol.

An image is u = 255 (x - mean colour), N x 3 x H x W; what the optimiser moves is the variable, a tensor
of four dimensions with one row per image. A parametrisation is linear and can be inverted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
import torch.nn.functional as F


class Parametrisation(Protocol):
    def to_image(self, variable: torch.Tensor) -> torch.Tensor:
        """u of the variable, differentiable."""
        ...

    def from_image(self, u: torch.Tensor) -> torch.Tensor:
        """The variable whose image is u."""
        ...

    def project(
        self, variable: torch.Tensor, rule: Callable[[torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        """The variable of the image that `rule`, which acts in place, makes of its image."""
        ...


class Pixels:
    """The image itself."""

    def __init__(self, height: int, width: int):
        pass

    def to_image(self, variable: torch.Tensor) -> torch.Tensor:
        return variable

    def from_image(self, u: torch.Tensor) -> torch.Tensor:
        return u

    def project(
        self, variable: torch.Tensor, rule: Callable[[torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        return rule(variable)


class Fourier:
    """Fourier coefficients of decorrelated colours (Olah, Mordvintsev & Schubert 2017).

    u = C irfft2(v / max(f, 1 / side)), f in cycles per pixel, side the longer of the image's, the transform
    orthonormal (the factor sqrt(H W) of their code): coefficients of natural images, whose spectra fall
    like 1 / f, are then of one size, and a step of equal size in each is a smooth one. The variable holds
    real and imaginary parts in turn along the last dimension, N x 3 x H x 2 (W // 2 + 1); imaginary parts
    of frequencies that do not occur in a real image have no effect.

    The colours' axes in C are those of Ohta, Kanade & Sakai 1980, R + G + B, R - B and R - 2 G + B, which
    decorrelate photographs of most kinds; their standard deviations are as 1 : 0.27 : 0.13, the lengths
    of the columns of the matrix that the authors' code took from ImageNet. Nothing here is measured on
    the study's images.

    Frequencies and colours are scaled together so that white noise keeps its root mean square: rates
    have the size in grey levels that they have for pixels.

    Bounds are those of pixels: an image is brought within them and transformed back, which is exact.
    """

    COLOURS = ((1.0, 1.0, 1.0), (1.0, 0.0, -1.0), (1.0, -2.0, 1.0))
    DEVIATIONS = (1.0, 0.27, 0.13)

    def __init__(self, height: int, width: int):
        self.size = height, width
        rows, columns = torch.fft.fftfreq(height)[:, None], torch.fft.fftfreq(width)[None]
        gain = 1 / torch.hypot(rows, columns).clamp(min=1 / max(height, width))
        # Half of a coefficient's square is that of its real part.
        gain /= gain.square().mean().sqrt() * math.sqrt(2)
        self.gain = gain[:, : width // 2 + 1]
        axes = F.normalize(torch.tensor(self.COLOURS), dim=1).T
        deviations = torch.tensor(self.DEVIATIONS)
        self.colours = axes * (deviations / deviations.square().mean().sqrt())
        self.decorrelate = torch.linalg.inv(self.colours)

    def to_image(self, variable: torch.Tensor) -> torch.Tensor:
        spectrum = torch.view_as_complex(variable.unflatten(3, (-1, 2)).contiguous())
        planes = torch.fft.irfft2(spectrum * self.gain.to(variable), s=self.size, norm="ortho")
        return F.conv2d(planes, self.colours.to(variable)[:, :, None, None])

    def from_image(self, u: torch.Tensor) -> torch.Tensor:
        planes = F.conv2d(u, self.decorrelate.to(u)[:, :, None, None])
        spectrum = torch.fft.rfft2(planes, norm="ortho") / self.gain.to(u)
        return torch.view_as_real(spectrum).flatten(3)

    def project(
        self, variable: torch.Tensor, rule: Callable[[torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        return variable.copy_(self.from_image(rule(self.to_image(variable))))


PARAMETRISATIONS: dict[str, type[Pixels] | type[Fourier]] = {"pixels": Pixels, "fourier": Fourier}
