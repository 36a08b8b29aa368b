"""Fields of experts: over-complete ICA and its kin, used over all positions of images or feature maps."""

from __future__ import annotations

import math
import os

import torch
import torch.nn.functional as F

from ..files.tensors import save_tensors
from ..networks import folding
from . import borders
from .base import LearnedPrior
from .experts import EXPERTS

ROOM = 20_000_000  # responses held at a time where no gradient is needed
BLOCK = 1_500_000  # responses held at a time for each thread of a CPU: they stay in its cache


class _Energy(torch.autograd.Function):
    """FieldOfExperts._descend as a function of autograd."""

    @staticmethod
    def forward(ctx, x, field, step, corner):
        energy, gradient = field._descend(x, step, corner)
        ctx.save_for_backward(gradient)
        return energy

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, outer):
        (gradient,) = ctx.saved_tensors
        return outer[:, None, None, None] * gradient, None, None, None


class _Summed(torch.autograd.Function):
    """Sum over positions and experts of alpha_k G(s_k), (N,), from responses s, N x K x H x W.

    An expert computes its own derivative, so that only the responses are kept for it.
    """

    @staticmethod
    def forward(ctx, s, alphas, expert):
        ctx.save_for_backward(s, alphas)
        ctx.expert = expert
        return expert.G(s).sum((2, 3)) @ alphas

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, outer):
        s, alphas = ctx.saved_tensors
        weight = outer[:, None] * alphas
        return ctx.expert.g(s).mul_(weight[:, :, None, None]), None, None


def _folded(x: torch.Tensor, filters: torch.Tensor, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Maps and filters whose convolution of stride 1 is that of x and `filters` with stride `step`."""
    size = [
        (n - k) // step + -(-k // step) for n, k in zip(x.shape[2:], filters.shape[2:], strict=True)
    ]
    return folding.fold_maps(x, step, size), folding.fold_filters(filters, step)


class FieldOfExperts(LearnedPrior):
    """Energy: minus the sum over positions and experts of alpha_k G(w_k'p), p the preprocessed patch there.

    DC removal and whitening are folded into the filters, so that convolutions evaluate all patches:
    `filters` K x C/groups x k x k on maps as they are (images in [0, 1]) and `bias` (K,). A separable
    field first applies `depthwise`, C*m x 1 x k x k, every channel its own m filters (`groups` is then
    C); its `filters` are K x C*m x 1 x 1. With `contrast` every patch is divided by its root mean
    square, at least `contrast`, after the DC that `dc` names was removed.

    `border`, one of borders.BORDERS, decides which patches there are at the edge of a map. `calibration` has
    the mean and the spread of the energy per position on held-out natural data for each border; `mean` and
    `spread` are those for the field's own. `patterns` (K x C/groups x k x k) are what the filters respond
    to, for pictures: filters undo the correlation of neighbours and look like noise, their patterns have it.
    """

    kind = "field"
    OPTIONS = ("border", "position_stride")

    def __init__(
        self,
        filters: torch.Tensor,
        bias: torch.Tensor,
        alphas: torch.Tensor,
        expert: str,
        *,
        groups: int = 1,
        depthwise: torch.Tensor | None = None,
        dc: str = "none",
        contrast: float | None = None,
        mean: float = 0.0,
        spread: float = 1.0,
        position_stride: int = 1,
        border: str = "reflect",
        patterns: torch.Tensor | None = None,
        facts: dict | None = None,
    ):
        self.filters, self.bias, self.alphas = filters, bias, alphas
        self.groups, self.depthwise = groups, depthwise
        self.dc, self.contrast = dc, contrast
        self.expert_name, self.expert = expert, EXPERTS[expert]
        if border not in borders.BORDERS:
            raise ValueError(f"border is {border!r}; allowed: {', '.join(borders.BORDERS)}")
        self.position_stride, self.border = position_stride, border
        self.calibration: dict[str, tuple[float, float]]
        self.calibration = dict.fromkeys(borders.BORDERS, (mean, spread))
        self.patterns = filters if patterns is None else patterns
        self.facts = facts or {}

    @property
    def sampled(self) -> bool:
        return self.position_stride > 1

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the patches."""
        height, width = (self.filters if self.depthwise is None else self.depthwise).shape[2:]
        return height, width

    @property
    def channels(self) -> int:
        return self.groups * (self.filters.shape[1] if self.depthwise is None else 1)

    @property
    def mean(self) -> float:
        return self.calibration[self.border][0]

    @property
    def spread(self) -> float:
        return self.calibration[self.border][1]

    def to(self, device: torch.device) -> FieldOfExperts:
        for name in ("filters", "bias", "alphas", "depthwise"):
            if (tensor := getattr(self, name)) is not None:
                setattr(self, name, tensor.to(device))
        return self

    def _places(self, x: torch.Tensor) -> tuple[int, int]:
        """Rows and columns of the patches of each map of x. Raises ValueError where there are none."""
        (height, width), (rows, columns) = self.size, x.shape[2:]
        if self.border == "reflect":
            return rows, columns
        if rows < height or columns < width:
            raise ValueError(
                f"maps of {rows} x {columns} hold no whole patch of {height} x {width}; "
                "take a prior of smaller patches, or border: reflect"
            )
        return rows - height + 1, columns - width + 1

    def _framed(self, x: torch.Tensor) -> torch.Tensor:
        """Maps whose whole patches are those of x."""
        self._places(x)
        return borders.mirrored(x, self.size) if self.border == "reflect" else x

    def responses(
        self, x: torch.Tensor, step: int = 1, corner: tuple[int, int] = (0, 0)
    ) -> torch.Tensor:
        """w_k'p at every `step`-th position from `corner` on: N x K x H' x W'."""
        return self._respond(self._framed(x)[..., corner[0] :, corner[1] :], step)

    def _respond(self, x: torch.Tensor, step: int) -> torch.Tensor:
        """Responses to whole patches of x."""
        filters = self.filters.to(x)
        bias = self.bias.to(x)
        if self.depthwise is None and self.groups == 1 and step > 1:
            result = F.conv2d(*_folded(x, filters, step), None if self.contrast else bias)
        elif self.depthwise is None:
            result = F.conv2d(x, filters, None if self.contrast else bias, step, groups=self.groups)
        else:
            inner = F.conv2d(x, self.depthwise.to(x), None, step, groups=self.groups)
            result = F.conv2d(inner, filters, None if self.contrast else bias)
        if self.contrast:
            result = result / self._contrast_of(x, step, self.contrast) + bias[:, None, None]
        return result

    def _contrast_of(self, x: torch.Tensor, step: int, least: float) -> torch.Tensor:
        """Root mean square of each patch without its DC, at least `least`: N x 1 x H' x W'."""
        square = F.avg_pool2d(x.square().mean(1, keepdim=True), self.size, step)
        if self.dc == "patch":
            square = square - F.avg_pool2d(x.mean(1, keepdim=True), self.size, step).square()
        elif self.dc == "channel":
            means = F.avg_pool2d(x, self.size, step)
            square = square - means.square().mean(1, keepdim=True)
        return square.clamp_min(least**2).sqrt()

    def energy(self, x: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Energy (N,) over all positions.

        With `position_stride` s > 1 and a generator, only every s-th position in both directions from a
        random offset, multiplied by s^2: an unbiased estimate at 1/s^2 of the cost.
        """
        step, corner = self.position_stride if generator is not None else 1, (0, 0)
        if step > 1:
            top, left = corner = tuple(torch.randint(step, (2,), generator=generator).tolist())
            rows, columns = self._places(x)
            if top >= rows or left >= columns:
                return 0 * x.sum((1, 2, 3))  # a stride so wide that it meets no patch
        if torch.is_grad_enabled():
            if self._plain:
                return _Energy.apply(x, self, step, corner)
            return -(step**2) * self._summed(x, step, corner)
        room = max(1, ROOM // (len(self.alphas) * x[0, 0].numel()))
        return -(step**2) * torch.cat([self._summed(part, step, corner) for part in x.split(room)])

    def _summed(self, x: torch.Tensor, step: int, corner: tuple[int, int]) -> torch.Tensor:
        responses = self.responses(x, step, corner).to(x.dtype)
        return _Summed.apply(responses, self.alphas.to(x), self.expert)

    @property
    def _plain(self) -> bool:
        """Whether responses are one convolution."""
        return self.depthwise is None and self.groups == 1 and not self.contrast

    def _descend(
        self, x: torch.Tensor, step: int = 1, corner: tuple[int, int] = (0, 0)
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Energy (N,) and its gradient by x of a plain field at every `step`-th position from `corner` on,
        block by block, so that responses are neither written to memory nor kept. Convolutions are in the
        precision of autocast, if it is on.
        """
        kind = x.device.type
        mixed = torch.is_autocast_enabled(kind)
        dtype = torch.get_autocast_dtype(kind) if mixed else x.dtype
        framed = self._framed(x)
        seen = framed[..., corner[0] :, corner[1] :]
        u, filters = _folded(seen.to(dtype), self.filters.to(x), step)
        height, width = filters.shape[2:]
        rows, columns = u.shape[2] - height + 1, u.shape[3] - width + 1
        alphas = step**2 * self.alphas.to(x)
        back = (alphas[:, None, None, None] * filters).to(dtype)
        filters, bias = filters.to(dtype), self.bias.to(dtype)
        gradient, energies = torch.zeros_like(u, dtype=x.dtype), []
        block = BLOCK * torch.get_num_threads() if kind == "cpu" else ROOM
        room = max(1, block // (len(alphas) * columns))
        together, band = max(1, room // rows), min(rows, room)
        with torch.autocast(kind, enabled=False):
            for part, into in zip(u.split(together), gradient.split(together), strict=True):
                energy = x.new_zeros(len(part))
                for top in range(0, rows, band):
                    end = min(top + band, rows) + height - 1
                    s = F.conv2d(part[:, :, top:end], filters, bias).to(x.dtype)
                    values, slopes = self.expert.energy(s)
                    energy += values @ alphas
                    into[:, :, top:end] += F.conv_transpose2d(slopes.to(dtype), back)
                energies.append(energy)
        before = (-corner[0], -corner[1])
        gradient = folding.unfold_maps(gradient, step, framed.shape[2:], before)
        return torch.cat(energies), self._unframed(gradient)

    def _unframed(self, gradient: torch.Tensor) -> torch.Tensor:
        """A gradient by framed maps as that by the maps. May overwrite its argument."""
        return borders.folded_back(gradient, self.size) if self.border == "reflect" else gradient

    def positions(self, x: torch.Tensor) -> int:
        """Number of patches in each map of x."""
        return math.prod(self._places(x))

    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        """Gradient of the energy by x, without an autograd graph where no contrast is normalised."""
        if self._plain:
            return self._descend(x)[1]
        if self.contrast:
            with torch.enable_grad():
                x = x.detach().requires_grad_()
                return torch.autograd.grad(self.energy(x).sum(), x)[0]
        g = self.expert.g(self.responses(x))
        g.mul_(-self.alphas.to(x)[:, None, None])
        if self.depthwise is not None:
            g = F.conv_transpose2d(g, self.filters.to(x))
            return self._unframed(F.conv_transpose2d(g, self.depthwise.to(x), groups=self.groups))
        return self._unframed(F.conv_transpose2d(g, self.filters.to(x), groups=self.groups))

    @torch.no_grad()
    def calibrate(self, maps) -> None:
        """Set `calibration` from an iterable of natural maps, each a batch N x C x H x W; of large ones every
        n-th position is seen. Whole patches are those that a reflected border leaves alone."""
        before = borders.in_front(self.size)
        found: dict[str, list[tuple]] = {border: [] for border in borders.BORDERS}
        for x in maps:
            for single in x.split(1):
                step = 1 + math.isqrt(len(self.alphas) * single[0, 0].numel() // ROOM)
                top, left = (
                    b % step for b in before
                )  # so that one of the centres is the first inside
                seen = borders.mirrored(single, self.size)[..., top:, left:]
                energy = self.expert.G(self._respond(seen, step))
                energy = energy.mul_(-self.alphas.to(x)[:, None, None]).sum(1).double().cpu()
                rows, columns = (
                    [b <= centre <= n - k + b for centre in range(b % step, n, step)]
                    for b, n, k in zip(before, single.shape[2:], self.size, strict=True)
                )
                for border, part in (("reflect", energy), ("valid", energy[:, rows][..., columns])):
                    sums = part.numel(), float(part.sum()), float(part.square().sum())
                    found[border].append(sums)
        for border, rows in found.items():
            count, total, squares = (sum(column) for column in zip(*rows, strict=True))
            if count:  # maps smaller than a patch hold no whole one
                mean = total / count
                spread = max(squares / count - mean**2, 0.0) ** 0.5 or 1.0
                self.calibration[border] = mean, spread

    def save(self, path: str | os.PathLike, provenance: dict) -> None:
        tensors = {"filters": self.filters, "bias": self.bias, "alphas": self.alphas}
        tensors["patterns"] = self.patterns.clone()  # may be the filters
        if self.depthwise is not None:
            tensors["depthwise"] = self.depthwise
        names = ("kind", "groups", "dc", "contrast", "calibration", "facts")
        facts = {name: getattr(self, name) for name in names} | {"expert": self.expert_name}
        save_tensors(path, tensors, "prior", {**provenance, **facts})

    @classmethod
    def of(
        cls, tensors: dict, facts: dict, position_stride: int = 1, border: str = "reflect"
    ) -> FieldOfExperts:
        """From what `save` wrote."""
        names = ("expert", "groups", "dc", "contrast", "facts")
        options = {name: facts[name] for name in names}
        field = cls(**tensors, **options, position_stride=position_stride, border=border)
        field.calibration = facts["calibration"]
        return field
