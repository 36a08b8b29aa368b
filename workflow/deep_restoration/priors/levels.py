"""How well denoisers denoise at each noise level, on training images that were held out and on others; and
whether two that learned from other images agree.

A denoiser that has learned its images by heart denoises them better than others; and one that has learned
what images are like denoises as another does that saw other images (Kadkhodaie et al. 2024).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch

from ..data import images as photographs
from ..data import splits
from ..data.splits import evenly_spaced
from ..evaluation import intervals
from ..files.hdf5 import open_hdf5
from .denoising import add_noise, psnr
from .material import batches, known

LEVELS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)  # of images in [0, 1]
COLUMNS = ("level", "images", "photographs", "psnr", "low", "high", "psnr_training")
AGREEMENT = (
    *("first", "second", "level", "images", "photographs", "psnr_between", "low", "high"),
    *("psnr_first", "psnr_second"),
)
MOST = 200  # images of a kind
BATCH = 16


class Crops(NamedTuple):
    """Names of images, and their planes N x C x H x W, uint8."""

    names: list[str]
    planes: np.ndarray


def crops(
    path: str | os.PathLike, of: str, held_out: float, part: str = "all"
) -> tuple[Crops, Crops]:
    """Held-out images of a file, evenly spaced, at most MOST, and as many that were learned from, if there
    are. `of` is `images` or `grey`, `held_out` the share of them, `part` as of material.known."""
    parts, count = [], MOST
    with open_hdf5(path, "images") as file:
        learned, held = known(file, len(file["images"]), held_out, part)
        for chosen in (held, learned):
            names, pixels = splits.named(
                file, evenly_spaced(np.flatnonzero(chosen).tolist(), count)
            )
            parts.append(Crops(names, np.stack([photographs.planes(x, of) for x in pixels])))
            count = min(count, len(names))
    return parts[0], parts[1]


Batch = tuple[torch.Tensor, torch.Tensor]  # images as they are and denoised, N x C x H x W each


@torch.no_grad()
def denoised_at(prior, images: Crops, level: float, seed: int) -> Iterator[Batch]:
    """Batches of the images, with noise of this standard deviation denoised when the prior's denoiser is told
    the level, be it one that it was trained on or not. An image's noise depends on its name and the level."""
    names = [f"{name} at {level:g}" for name in images.names]
    for start, truth in enumerate(batches(images.planes, BATCH)):
        noisy = add_noise(truth, names[BATCH * start : BATCH * (start + 1)], level, seed)
        yield truth, prior.denoise(noisy, level)


def psnr_at(prior, images: Crops, level: float, seed: int) -> np.ndarray:
    """The PSNR of each image (N,), as `denoised_at` the level."""
    return _joined(psnr(*batch) for batch in denoised_at(prior, images, level, seed))


def _joined(values: Iterable[torch.Tensor]) -> np.ndarray:
    return torch.cat(list(values)).double().cpu().numpy()


def measured(prior, held: Crops, learned: Crops, seed: int) -> Iterable[tuple]:
    """Rows of COLUMNS, one per level: means over images, and the 95 % bootstrap interval over photographs of
    the held-out PSNR. Where the training images' mean is far above, they were learned by heart."""
    for level in LEVELS:
        ours, theirs = (psnr_at(prior, part, level, seed) for part in (held, learned))
        limits = intervals.cells(intervals.bootstrap_interval(ours, held.names, seed))
        counts = len(held.names), intervals.photographs(held.names)
        yield (level, *counts, float(ours.mean()), *limits, float(theirs.mean()))


def agreement(first, second, held: Crops, seed: int) -> Iterable[tuple]:
    """Rows of AGREEMENT but for the names, one per level: the PSNR between what two priors make of the same
    noisy image, of images that neither saw, with its interval, and the PSNR of each.

    Where the first is far above the others, the two err alike: what they have learned are not their images.
    """
    counts = len(held.names), intervals.photographs(held.names)
    for level in LEVELS:
        between, ours, theirs = [], [], []
        both = (denoised_at(prior, held, level, seed) for prior in (first, second))
        for (truth, one), (_, other) in zip(*both, strict=True):
            between.append(psnr(one.clamp(0, 1), other))
            ours.append(psnr(truth, one))
            theirs.append(psnr(truth, other))
        values, *own = (_joined(part) for part in (between, ours, theirs))
        limits = intervals.cells(intervals.bootstrap_interval(values, held.names, seed))
        means = (float(part.mean()) for part in own)
        yield (level, *counts, float(values.mean()), *limits, *means)
