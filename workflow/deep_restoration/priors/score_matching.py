"""Score matching of products of experts in closed form: value and gradient, no autograd graph.

Model of whitened patches x (d): log p(x) = sum_k alpha_k G(w_k'x) - log Z, alpha_k > 0. Objective per
sample (Hyvaerinen 2005; eq. (8) of the study, here for filters of any length and with the double sum
over experts written as the squared norm it is):

    J = sum_k alpha_k |w_k|^2 g'(w_k'x) + 1/2 || sum_k alpha_k g(w_k'x) w_k ||^2

Model of images (Koster, Lindgren & Hyvaerinen 2007): the sum also runs over all positions, so that the
score of a pixel gathers every patch that covers it. Here its objective is that of the middle of a crop
given a frame as wide as a patch, per pixel: every pixel of the middle has all its patches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.grad import conv2d_weight

from ..runtime import devices, seeds
from ..runtime.checkpoints import Checkpoint
from ..runtime.schedules import cosine
from ..runtime.training import Options, fit
from .experts import EXPERTS, Expert

BLOCK = 512  # samples whose responses stay in the cache


# ------------------------------------------------------------------------------ patches
def objective(
    data: torch.Tensor, filters: torch.Tensor, alphas: torch.Tensor, expert: Expert
) -> torch.Tensor:
    """J per sample, (..., B), for whitened data ... x B x d, filters ... x K x d, alphas ... x K."""
    g, dg, _ = expert.derivatives(data @ filters.mT)
    score = (g * alphas[..., None, :]) @ filters
    weights = alphas * filters.square().sum(-1)
    return (dg @ weights[..., None]).squeeze(-1) + 0.5 * score.square().sum(-1)


def gradient(
    data: torch.Tensor, filters: torch.Tensor, alphas: torch.Tensor, expert: Expert
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mean J over the batch, summed over leading axes, and its gradients by filters and alphas.

    Shapes as for `objective`. Five matrix products; their operands stay in the cache, block by block, and
    all that is linear in a filter waits until the samples are summed.
    """
    count = data.shape[-2]
    lengths, weighted = filters.square().sum(-1), alphas[..., None] * filters
    slopes, value = torch.zeros_like(alphas), 0.0
    by_response, by_score = torch.zeros_like(filters), torch.zeros_like(filters)
    for block in data.split(BLOCK, -2):
        g, dg, ddg = expert.derivatives(block @ filters.mT)
        score = g @ weighted
        value += 0.5 * score.square().sum()
        slopes += dg.sum(-2)
        by_score += g.mT @ score
        change = dg.mul_(score @ filters.mT).addcmul_(ddg, lengths[..., None, :])
        by_response += change.mT @ block
    value = (value + (slopes * alphas * lengths).sum()) / count
    by_alphas = (by_score * filters).sum(-1) + slopes * lengths
    by_filters = alphas[..., None] * (by_response + by_score) + 2 * slopes[..., None] * weighted
    return value, by_filters / count, by_alphas / count


# ------------------------------------------------------------------------------ fields
def field_objective(
    crops: torch.Tensor, filters: torch.Tensor, alphas: torch.Tensor, expert: Expert
) -> torch.Tensor:
    """J per crop and per value of its middle, (B,), for crops B x C x n x n and filters K x C x k x k.

    Raises ValueError for crops without a middle, n < 2 k - 1.
    """
    g, dg, _ = expert.derivatives(F.conv2d(crops, filters))
    score, reached = _middle(crops, filters, g * alphas[:, None, None])
    each = (dg * reached).sum((2, 3)) @ alphas + 0.5 * score.square().sum((1, 2, 3))
    return each / score[0].numel()


def field_gradient(
    crops: torch.Tensor, filters: torch.Tensor, alphas: torch.Tensor, expert: Expert
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mean of `field_objective`, and its gradients by filters and alphas."""
    size = filters.shape[2:]
    g, dg, ddg = expert.derivatives(F.conv2d(crops, filters))
    weighted = g * alphas[:, None, None]
    score, reached = _middle(crops, filters, weighted)
    frame = (size[1] - 1, size[1] - 1, size[0] - 1, size[0] - 1)
    back = F.conv2d(F.pad(score, frame), filters)
    value = ((dg * reached).sum((0, 2, 3)) @ alphas) + 0.5 * score.square().sum()
    by_alphas = (dg * reached).sum((0, 2, 3)) + g.mul_(back).sum((0, 2, 3))
    inside = _inside(crops, size)
    slopes = conv2d_weight(
        inside, (len(filters), 1, *size), (dg * alphas[:, None, None]).sum(0, keepdim=True)
    )
    by_response = dg.mul_(back).addcmul_(ddg, reached).mul_(alphas[:, None, None])
    by_filters = conv2d_weight(crops, filters.shape, by_response)
    by_filters += conv2d_weight(F.pad(score, frame), filters.shape, weighted)
    by_filters += 2 * slopes * filters
    count = score.numel()
    return value / count, by_filters / count, by_alphas / count


def _inside(crops: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """1 in the middle of a crop, 0 in its frame: 1 x 1 x n x n."""
    height, width = (n - 2 * (k - 1) for n, k in zip(crops.shape[2:], size, strict=True))
    if height < 1 or width < 1:
        raise ValueError(
            f"crops of {crops.shape[2]} x {crops.shape[3]} have no pixel that all its patches of "
            f"{size[0]} x {size[1]} cover"
        )
    middle = crops.new_ones(1, 1, height, width)
    return F.pad(middle, (size[1] - 1, size[1] - 1, size[0] - 1, size[0] - 1))


def _middle(
    crops: torch.Tensor, filters: torch.Tensor, weighted: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The score in the middle of the crops, and for each response how much of its filter's squared
    length lies there (1 x K x n' x n')."""
    size = filters.shape[2:]
    inside = _inside(crops, size)
    reached = F.conv2d(inside, filters.square().sum(1, keepdim=True))
    score = F.conv_transpose2d(weighted, filters, padding=(size[0] - 1, size[1] - 1))
    return score, reached


# ------------------------------------------------------------------------------ training
@dataclass(frozen=True)
class Settings:
    """expert: a name of EXPERTS. filters: K, of each group. steps, batch, rate: of Adam. unit: keep the
    filters' length at 1. patience: checks of the held-out objective without a better one before the
    training stops, None for never."""

    expert: str
    filters: int
    steps: int
    batch: int
    rate: float
    unit_norm: bool
    patience: int | None


class Problem(Protocol):
    """What is fitted: filters G x K x d in whitened coordinates, alphas G x K.

    `span` (G x d x d) projects onto the directions that the data reach, None where they reach all: in
    others a density could rise without limit, and filters have nothing to learn.
    """

    shape: tuple[int, int]  # G, d
    span: torch.Tensor | None

    def gradient(
        self, filters: torch.Tensor, alphas: torch.Tensor, expert: Expert, count: int, draw
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Of a batch of `count`, drawn by the generator."""
        ...

    def held_out(self, filters: torch.Tensor, alphas: torch.Tensor, expert: Expert) -> float:
        """The objective on data kept for it."""
        ...


class Patches:
    """Independent whitened patches, G x n x d. `noise` (G x d x D), where given, maps white noise on the
    D values of a patch to whitened coordinates; every batch gets its own."""

    def __init__(
        self,
        data: torch.Tensor,
        held_out: torch.Tensor,
        noise: torch.Tensor | None = None,
        span: torch.Tensor | None = None,
    ):
        self.data, self.kept, self.noise = data, held_out, noise
        self.shape = data.shape[0], data.shape[2]
        self.span = span

    def _noisy(self, data: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
        if self.noise is None:
            return data
        white = torch.randn(*data.shape[:2], self.noise.shape[2], generator=draw)
        return data + white.to(data) @ self.noise.mT

    def gradient(self, filters, alphas, expert, count, draw):
        rows = torch.randint(self.data.shape[1], (count,), generator=draw).to(self.data.device)
        return gradient(self._noisy(self.data[:, rows], draw), filters, alphas, expert)

    def held_out(self, filters, alphas, expert):
        kept = self._noisy(self.kept, torch.Generator().manual_seed(0))
        blocks = kept.split(4 * BLOCK, 1)
        total = sum(float(objective(b, filters, alphas, expert).sum()) for b in blocks)
        return total / kept.shape[1]


class Fields:
    """Crops of maps N x C x H x W (uint8 images in steps of 1/255, or floats), whose patches `matrix`
    (d x C*k*k) maps to whitened coordinates. `middle` is the side of what is scored; `centre` (C,) is
    subtracted, `noise` the standard deviation of what every crop gets.

    A crop lies inside a map and its frame is not scored, so that no border enters: what lies beyond an edge
    is chosen where a field is used (priors.borders), and would teach it mirrored patches, which no map has.
    """

    def __init__(
        self,
        maps: np.ndarray,
        held_out: np.ndarray,
        matrix: torch.Tensor,
        size: int,
        middle: int,
        centre: torch.Tensor,
        noise: float = 0.0,
        span: torch.Tensor | None = None,
    ):
        self.maps, self.kept, self.matrix, self.size = maps, held_out, matrix, size
        self.crop, self.noise = middle + 2 * (size - 1), noise
        self.centre = centre.to(matrix)[:, None, None]
        self.shape, self.span = (1, len(matrix)), span
        if min(maps.shape[2:]) < self.crop:
            raise ValueError(
                f"crops of {self.crop} x {self.crop} do not fit into maps of "
                f"{maps.shape[2]} x {maps.shape[3]}; lower `middle`"
            )

    def _crops(self, maps: np.ndarray, count: int, draw: torch.Generator) -> torch.Tensor:
        """Photographs are mirrored at random, which leaves them natural; feature maps are not, because
        the maps of a mirrored image are other ones."""
        side = self.crop
        limits = (len(maps), maps.shape[2] - side + 1, maps.shape[3] - side + 1, 2)
        numbers = torch.stack([torch.randint(n, (count,), generator=draw) for n in limits], 1)
        crops = np.empty((count, maps.shape[1], side, side), maps.dtype)
        for crop, (index, top, left, flip) in zip(crops, numbers.tolist(), strict=True):
            part = maps[index, :, top : top + side, left : left + side]
            crop[...] = part[..., ::-1] if flip and maps.dtype == np.uint8 else part
        scale = 255 if maps.dtype == np.uint8 else 1
        result = torch.from_numpy(crops).to(self.matrix).div_(scale) - self.centre
        if self.noise:
            result += self.noise * torch.randn(result.shape, generator=draw).to(result)
        return result

    def _folded(self, filters: torch.Tensor) -> torch.Tensor:
        return (filters[0] @ self.matrix).reshape(-1, len(self.centre), self.size, self.size)

    def gradient(self, filters, alphas, expert, count, draw):
        crops = self._crops(self.maps, count, draw)
        value, by_filters, by_alphas = field_gradient(
            crops, self._folded(filters), alphas[0], expert
        )
        return value, (by_filters.flatten(1) @ self.matrix.T)[None], by_alphas[None]

    def held_out(self, filters, alphas, expert):
        crops = self._crops(self.kept, 128, torch.Generator().manual_seed(0))
        return float(field_objective(crops, self._folded(filters), alphas[0], expert).mean())


def train(
    problem: Problem,
    settings: Settings,
    seed: int,
    checkpoint: Checkpoint,
    start: tuple[torch.Tensor, torch.Tensor] | None = None,
    what: str = "prior",
) -> tuple[torch.Tensor, torch.Tensor, list[tuple]]:
    """Fit filters (G x K x d) and alphas (G x K); `start` gives those to begin with.

    Adam with a cosine schedule on the filters (renormalised after every step where they are `unit`)
    and on log alpha. Returns them and the history as rows (step, objective, held-out objective,
    seconds); the weights of the best held-out objective are kept. Raises DivergedError naming the
    step.
    """
    expert, groups = EXPERTS[settings.expert], problem.shape[0]
    if start is None:
        draw = seeds.generator(seed, what, "start")
        drawn = torch.randn(groups, settings.filters, problem.shape[1], generator=draw)
        if problem.span is not None:
            drawn = drawn @ problem.span.cpu()
        start = F.normalize(drawn, dim=-1), torch.ones(groups, settings.filters)
    where = devices.device()
    if problem.span is not None:
        start = start[0].to(problem.span) @ problem.span, start[1]
    filters = nn.Parameter(start[0].to(where, torch.float32, copy=True))
    log_alphas = nn.Parameter(start[1].to(where, torch.float32, copy=True).log_())
    weights = nn.ParameterDict({"filters": filters, "log_alphas": log_alphas})
    optimiser = torch.optim.Adam(weights.values(), lr=settings.rate, betas=(0.9, 0.99))

    @torch.no_grad()
    def gradient(step: int) -> tuple[torch.Tensor]:
        alphas, draw = log_alphas.exp(), seeds.generator(seed, what, "batch", step)
        value, by_filters, by_alphas = problem.gradient(
            filters, alphas, expert, settings.batch, draw
        )
        if problem.span is not None:
            by_filters = by_filters @ problem.span
        if settings.unit_norm:
            by_filters -= (by_filters * filters).sum(-1, keepdim=True) * filters
        filters.grad, log_alphas.grad = by_filters, by_alphas * alphas
        return (value,)

    @torch.no_grad()
    def constrain(*_) -> None:
        if problem.span is not None:  # Adam's steps turn away from the gradient
            filters.copy_(filters @ problem.span)
        if settings.unit_norm:
            filters.copy_(F.normalize(filters, dim=-1))

    def held_out() -> float:
        return problem.held_out(filters, log_alphas.exp(), expert)

    optimiser.register_step_post_hook(constrain)
    options = Options(settings.steps, cosine, patience=settings.patience)
    history = fit(what, weights, optimiser, gradient, options, checkpoint, held_out)
    return filters.detach(), log_alphas.detach().exp(), history
