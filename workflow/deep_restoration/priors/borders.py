"""What a field of experts sees at the edge of a map.

`reflect`: a patch centred at each position (Harder 2017, section 3.4.2). Beyond its edge the map is mirrored
at its outermost positions, which are not repeated, as numpy.pad does: d c b | a b c d | c b a. A map smaller
than its frame is mirrored again at the far side, and one of a single position has this position everywhere,
so that no map is too small. A patch of k positions has (k - 1) // 2 of them before its centre and k // 2
after it: an even one is centred at the position before its middle, as in Harder's code.

`valid`: whole patches alone; positions near the edge are in fewer of them.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F

BORDERS = ("reflect", "valid")


def in_front(patch: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of a patch before its centre."""
    return (patch[0] - 1) // 2, (patch[1] - 1) // 2


def mirrored(x: torch.Tensor, patch: tuple[int, int]) -> torch.Tensor:
    """Maps N x C x H x W with a mirrored frame, which hold H x W whole patches: N x C x H+h-1 x W+w-1."""
    return _Mirrored.apply(x, patch)


def folded_back(gradient: torch.Tensor, patch: tuple[int, int]) -> torch.Tensor:
    """The adjoint of `mirrored`: gradients by framed maps as those by the maps. Overwrites its argument.

    Line by line, in a fixed order: torch's own adds up in any order on a GPU, and takes no frame that is
    as large as the map.
    """
    size = [n - k + 1 for n, k in zip(gradient.shape[2:], patch, strict=True)]
    top, left = in_front(patch)
    for line, source in _frame(size[1], patch[1]):
        gradient[..., source] += gradient[..., line]
    for line, source in _frame(size[0], patch[0]):
        gradient[..., source, :] += gradient[..., line, :]
    return gradient[..., top : top + size[0], left : left + size[1]]


def _frame(size: int, patch: int) -> Iterator[tuple[int, int]]:
    """The lines of the frame, and those of the map that they repeat; both are counted in the framed map."""
    before, period = (patch - 1) // 2, max(1, 2 * (size - 1))
    for line in (*range(before), *range(before + size, size + patch - 1)):
        place = (line - before) % period
        yield line, before + min(place, period - place)


class _Mirrored(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, patch):
        ctx.patch = patch
        (top, left), (height, width) = in_front(patch), x.shape[2:]
        result = F.pad(x, (left, patch[1] // 2, top, patch[0] // 2))
        for line, source in _frame(height, patch[0]):
            result[..., line, :] = result[..., source, :]
        for line, source in _frame(width, patch[1]):
            result[..., line] = result[..., source]
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        return folded_back(gradient.clone(), ctx.patch), None
