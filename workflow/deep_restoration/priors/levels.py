"""How well denoisers denoise at each noise level, on training images that were held out and on others."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import torch

from ..data import images as photographs
from ..data import splits
from ..data.splits import evenly_spaced
from ..evaluation import intervals
from ..files.hdf5 import open_hdf5
from .denoising import add_noise, psnr
from .material import batches

LEVELS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)  # of images in [0, 1]
COLUMNS = ("level", "images", "photographs", "psnr", "low", "high", "psnr_training")
MOST = 200  # images of a kind
BATCH = 16


class Crops(NamedTuple):
    """Names of images, and their planes N x C x H x W, uint8."""

    names: list[str]
    planes: np.ndarray


def crops(path: str | os.PathLike, of: str, held_out: float) -> tuple[Crops, Crops]:
    """Held-out images of a file, evenly spaced, at most MOST, and as many that were learned from, if there
    are. `of` is `images` or `grey`, `held_out` the share of them."""
    parts, count = [], MOST
    with open_hdf5(path, "images") as file:
        kept = splits.held_out(len(file["images"]), held_out)
        for chosen in (kept, ~kept):
            names, pixels = splits.named(
                file, evenly_spaced(np.flatnonzero(chosen).tolist(), count)
            )
            parts.append(Crops(names, np.stack([photographs.planes(x, of) for x in pixels])))
            count = min(count, len(names))
    return parts[0], parts[1]


@torch.no_grad()
def psnr_at(prior, images: Crops, level: float, seed: int) -> np.ndarray:
    """The PSNR of each image (N,), with noise of this standard deviation, when the prior's denoiser is told
    the level, be it one that it was trained on or not. An image's noise depends on its name and the level."""
    names, found = [f"{name} at {level:g}" for name in images.names], []
    for start, truth in enumerate(batches(images.planes, BATCH)):
        noisy = add_noise(truth, names[BATCH * start : BATCH * (start + 1)], level, seed)
        found.append(psnr(truth, prior.denoise(noisy, level)))
    return torch.cat(found).double().cpu().numpy()


def measured(prior, held: Crops, learned: Crops, seed: int) -> Iterable[tuple]:
    """Rows of COLUMNS, one per level: means over images, and the 95 % bootstrap interval over photographs of
    the held-out PSNR. Where the training images' mean is far above, they were learned by heart."""
    for level in LEVELS:
        ours, theirs = (psnr_at(prior, part, level, seed) for part in (held, learned))
        limits = intervals.cells(intervals.bootstrap_interval(ours, held.names, seed))
        counts = len(held.names), intervals.photographs(held.names)
        yield (level, *counts, float(ours.mean()), *limits, float(theirs.mean()))
