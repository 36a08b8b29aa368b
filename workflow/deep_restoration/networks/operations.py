"""Layers that are faster than torch's own on a CPU, and yield the same."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from . import folding


class LocalResponseNorm(nn.Module):
    """b_c = a_c / (k + alpha/n * sum of a^2 over n neighbouring channels)^beta.

    Krizhevsky et al. 2012, section 3.3, with alpha counted as in Caffe and torch. The sum over
    channels is a 1 x 1 convolution with a band matrix; torch's own layer pools in three dimensions,
    which is several times slower on a CPU (benchmarks/layers.py).
    """

    def __init__(self, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0):
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        channels = maps.shape[1]
        index = torch.arange(channels, device=maps.device)
        offset = index[None, :] - index[:, None]
        half = self.size // 2
        band = ((offset >= -half) & (offset <= (self.size - 1) // 2)).to(maps.dtype)
        total = F.conv2d(maps * maps, band[:, :, None, None])
        return maps * (self.k + self.alpha / self.size * total).pow(-self.beta)


class Conv2d(nn.Conv2d):
    """torch's convolution, with a faster gradient to an image on a CPU.

    The gradient of a strided convolution by its three input channels leaves most of a vector register
    idle, and costs several times the forward pass. With the pixels of every stride x stride square taken
    as channels the convolution moves by single positions and has stride^2 times as many of them: the
    same sums, and forward and backward pass together cost half as much (benchmarks/layers.py).
    """

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        learns = any(parameter.requires_grad for parameter in self.parameters())
        if learns or not (maps.requires_grad and maps.device.type == "cpu" and self._folds):
            return super().forward(maps)
        return _FoldedGradient.apply(maps, self.weight, self.bias, self.stride[0], self.padding)

    @property
    def _folds(self) -> bool:
        rows, columns = self.stride
        plain = self.groups == 1 and self.dilation == (1, 1) and self.padding_mode == "zeros"
        few = self.in_channels <= 4 and 1 < rows == columns <= min(self.kernel_size)
        return plain and few and not isinstance(self.padding, str)


class _FoldedGradient(torch.autograd.Function):
    """A convolution whose gradient is found by an unstrided one, frozen weights."""

    @staticmethod
    def forward(ctx, maps, weight, bias, stride, padding):
        ctx.save_for_backward(weight)
        ctx.size, ctx.dtype, ctx.stride, ctx.padding = maps.shape[2:], maps.dtype, stride, padding
        return F.conv2d(maps, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx, gradient):
        (weight,), stride = ctx.saved_tensors, ctx.stride
        filters = folding.fold_filters(weight.to(gradient.dtype), stride)
        filters = filters.contiguous(memory_format=torch.channels_last)
        folded = F.conv_transpose2d(gradient, filters)
        # Rows and columns of padding at the start; at the end, those that no window covers are missing.
        found = folding.unfold_maps(folded, stride, ctx.size, ctx.padding)
        return found.to(ctx.dtype), None, None, None, None


# Modules of torch that have a faster equal here.
FASTER = {
    "torch.nn.modules.conv.Conv2d": Conv2d,
    "torch.nn.modules.normalization.LocalResponseNorm": LocalResponseNorm,
}
