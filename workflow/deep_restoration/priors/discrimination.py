"""Does a prior separate natural from unnatural? Energies of natural maps and of others, and how far apart.

A prior is evaluated on sets of images, or of their feature maps. The area under the ROC
curve is the chance that a member of the set has a higher energy than a natural one: 0.5 is no separation.
Smoothed images have *less* energy than natural ones, so that the distance from the natural energy, in
either direction, is scored as well.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import rankdata

from ..runtime import seeds

COLUMNS = ("set", "images", "mean", "spread", "auc", "auc_either_side")
NATURAL = "natural"


def unnatural(images: torch.Tensor, names: list[str], seed: int) -> dict[str, torch.Tensor]:
    """Sets made of images N x C x H x W in [0, 1], each of N: blurred (standard deviation 1 pixel),
    with noise (10 of 255), white noise of the image's own mean and spread, and its pixels shuffled."""
    white, noisy, shuffled = [], [], []
    for name, image in zip(names, images, strict=True):
        draw = seeds.generator(seed, "naturalness", name)
        noise = torch.randn(image.shape, generator=draw).to(image)
        mean, spread = image.mean((1, 2), keepdim=True), image.std((1, 2), keepdim=True)
        white.append(mean + spread * noise)
        noisy.append(image + 10 / 255 * noise)
        order = torch.randperm(image[0].numel(), generator=draw).to(image.device)
        shuffled.append(image.flatten(1)[:, order].view_as(image))
    blurred = gaussian_filter(images.cpu().numpy(), (0, 0, 1, 1), mode="nearest")
    return {
        "blurred": torch.from_numpy(blurred).to(images),
        "noise added": torch.stack(noisy).clamp(0, 1),
        "pixels shuffled": torch.stack(shuffled),
        "white noise": torch.stack(white).clamp(0, 1),
    }


@torch.no_grad()
def energies(prior, batches) -> np.ndarray:
    """Energy per position, in units of the prior's spread, of batches of maps: one value per map."""
    found = [(prior.energy(x) / prior.positions(x) - prior.mean) / prior.spread for x in batches]
    return torch.cat(found).double().cpu().numpy()


def auc(natural: np.ndarray, other: np.ndarray) -> float:
    """Chance that a value of `other` lies above one of `natural`, ties counting half."""
    ranks = rankdata(np.concatenate([natural, other]))[len(natural) :]
    return float((ranks.sum() - len(other) * (len(other) + 1) / 2) / (len(other) * len(natural)))


def compare(found: dict[str, np.ndarray]) -> list[tuple]:
    """Rows of COLUMNS for energies by set, `natural` among them."""
    natural = found[NATURAL]
    middle = np.median(natural)
    rows = []
    for name, values in found.items():
        both = (natural, values), (np.abs(natural - middle), np.abs(values - middle))
        areas = [auc(*pair) for pair in both]
        rows.append((name, len(values), float(values.mean()), float(values.std()), *areas))
    return rows
