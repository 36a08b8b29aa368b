"""The kinds of inverse modules, after Dosovitskiy & Brox 2016 and Harder 2017."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from .plan import ModuleSpec


def _deconvolution(spec: ModuleSpec, channels: int, into: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(channels, into, spec.kernel, spec.stride, spec.padding)


def _convolution(channels: int, into: int) -> nn.Conv2d:
    return nn.Conv2d(channels, into, 3, padding=1)


def deconv_relu_conv(spec: ModuleSpec) -> nn.Module:
    """Transposed convolution, ReLU, convolution: Harder's best."""
    first = _deconvolution(spec, spec.source_shape[0], spec.hidden)
    return nn.Sequential(first, nn.ReLU(), _convolution(spec.hidden, spec.target_shape[0]))


def deconv(spec: ModuleSpec) -> nn.Module:
    """One transposed convolution, linear."""
    return _deconvolution(spec, spec.source_shape[0], spec.target_shape[0])


def conv_deconv(spec: ModuleSpec) -> nn.Module:
    """Convolution, ReLU, transposed convolution."""
    first = _convolution(spec.source_shape[0], spec.hidden)
    return nn.Sequential(first, nn.ReLU(), _deconvolution(spec, spec.hidden, spec.target_shape[0]))


class Resize(nn.Module):
    """To `size` x `size` positions by nearest neighbours."""

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return F.interpolate(maps, size=(self.size, self.size))


def resize_conv(spec: ModuleSpec) -> nn.Module:
    """Nearest neighbours, then two convolutions: no checkerboard (Odena et al. 2016)."""
    if spec.source_shape[1] == 1:  # one position has no neighbours: its values would be everywhere
        return deconv_relu_conv(spec)
    return nn.Sequential(
        Resize(spec.target_shape[1]),
        _convolution(spec.source_shape[0], spec.hidden),
        nn.ReLU(),
        _convolution(spec.hidden, spec.target_shape[0]),
    )


class Residual(nn.Module):
    """x + conv(relu(conv(relu(norm(x))))), the identity before training."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.GroupNorm(math.gcd(width, 8), width)
        self.first, self.second = _convolution(width, width), _convolution(width, width)
        for parameter in self.second.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(F.relu(self.first(F.relu(self.norm(x)))))


class SubPixel(nn.Module):
    """Convolution to stride^2 maps for each map wanted, interleaved (Shi et al. 2016), then cut, or its
    edge repeated, to `size`."""

    def __init__(self, channels: int, into: int, stride: int, size: int):
        super().__init__()
        self.conv, self.stride, self.size = _convolution(channels, into * stride**2), stride, size

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        large = F.pixel_shuffle(self.conv(maps), self.stride)
        more = self.size - large.shape[2]
        before = more // 2
        frame = (before, more - before, before, more - before)
        return F.pad(large, frame, mode="replicate" if more > 0 else "constant")


class ResidualUp(nn.Module):
    """Residual blocks with normalisation at the small resolution, then sub-pixel convolution, beside a
    transposed convolution that carries what is linear."""

    def __init__(self, spec: ModuleSpec, blocks: int = 2):
        super().__init__()
        source, target = spec.source_shape, spec.target_shape
        self.linear = _deconvolution(spec, source[0], target[0])
        self.enter = _convolution(source[0], spec.hidden)
        self.blocks = nn.Sequential(*(Residual(spec.hidden) for _ in range(blocks)))
        self.up = SubPixel(spec.hidden, spec.hidden, spec.stride, target[1])
        self.leave = _convolution(spec.hidden, target[0])
        for parameter in self.leave.parameters():
            nn.init.zeros_(parameter)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        inner = self.up(self.blocks(self.enter(maps)))
        return self.linear(maps) + self.leave(F.relu(inner))


def residual(spec: ModuleSpec) -> nn.Module:
    """See ResidualUp."""
    return deconv_relu_conv(spec) if spec.source_shape[1] == 1 else ResidualUp(spec)


KINDS: dict[str, Callable[[ModuleSpec], nn.Module]] = {
    "deconv_relu_conv": deconv_relu_conv,
    "deconv": deconv,
    "conv_deconv": conv_deconv,
    "resize_conv": resize_conv,
    "residual": residual,
}
