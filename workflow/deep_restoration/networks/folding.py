"""Strided convolutions as unstrided ones: the pixels of every step x step square taken as channels.

The gradient of a convolution by its input is several times faster on a CPU when it moves by single positions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

# Neighbours in a row travel as one number of their size: several times faster than torch's pixel_shuffle
# (benchmarks/layers.py).
WIDE = {2: torch.int16, 4: torch.int32, 8: torch.int64, 16: torch.complex128}


def fold_filters(filters: torch.Tensor, step: int) -> torch.Tensor:
    """Filters K x C x h x w for folded maps: K x C step^2 x ceil(h / step) x ceil(w / step)."""
    height, width = filters.shape[2:]
    return F.pixel_unshuffle(F.pad(filters, (0, -width % step, 0, -height % step)), step)


def fold_maps(maps: torch.Tensor, step: int, size: Sequence[int]) -> torch.Tensor:
    """Maps N x C x H x W as N x C step^2 x `size`, channels last in memory; zeros beyond their end."""
    maps = _fit(maps, step * size[0], step * size[1])
    maps = _Fold.apply(maps, step) if step > 1 else maps
    return maps.contiguous(memory_format=torch.channels_last)


def unfold_maps(
    folded: torch.Tensor, step: int, size: Sequence[int], corner: tuple[int, int] = (0, 0)
) -> torch.Tensor:
    """Maps of `size` (height, width) from folded ones, from `corner` (top, left) on, which may lie in
    front of their start; zeros where they have nothing."""
    height, width = size
    return _fit(_Unfold.apply(folded, step) if step > 1 else folded, height, width, *corner)


class _Fold(torch.autograd.Function):
    """torch's pixel_unshuffle."""

    @staticmethod
    def forward(ctx, maps, step):
        ctx.step = step
        squares = maps.contiguous().unflatten(3, (-1, step)).unflatten(2, (-1, step))
        return _narrow(_wide(squares).permute(0, 2, 4, 1, 3, 5), maps).flatten(3).movedim(3, 1)

    @staticmethod
    def backward(ctx, gradient):
        return _Unfold.apply(gradient, ctx.step), None


class _Unfold(torch.autograd.Function):
    """torch's pixel_shuffle."""

    @staticmethod
    def forward(ctx, folded, step):
        ctx.step = step
        squares = folded.movedim(1, 3).contiguous().unflatten(3, (-1, step, step))
        return _narrow(_wide(squares).permute(0, 3, 1, 4, 2, 5), folded).flatten(4).flatten(2, 3)

    @staticmethod
    def backward(ctx, gradient):
        return _Fold.apply(gradient, ctx.step), None


def _wide(squares: torch.Tensor) -> torch.Tensor:
    """The innermost axis as one number, where there is a type of that size."""
    dtype = WIDE.get(squares.shape[-1] * squares.element_size())
    return squares if dtype is None else squares.view(dtype)


def _narrow(numbers: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return numbers.contiguous().view(like.dtype)


def _fit(maps: torch.Tensor, height: int, width: int, top: int = 0, left: int = 0) -> torch.Tensor:
    """Cut and padded with zeros to height x width from (top, left) on."""
    below, right = top + height - maps.shape[2], left + width - maps.shape[3]
    frame = (-left, right, -top, below)
    return F.pad(maps, frame) if any(frame) else maps
