"""Does a prior separate natural from unnatural? Energies of natural maps and of others, and how far apart.

A prior is evaluated on sets of images, or of their feature maps. The area under the ROC
curve is the chance that a member of the set has a higher energy than a natural one: 0.5 is no separation.
Smoothed images have *less* energy than natural ones, so that the distance from the natural energy, in
either direction, is scored as well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from scipy.stats import rankdata

from ..data.images import as_tensor
from ..evaluation.measurement import maps_of
from ..runtime import seeds
from .base import Calibrated

COLUMNS = ("set", "images", "mean", "spread", "auc", "auc_either_side")
NATURAL = "natural"
GREY = (0.299, 0.587, 0.114)  # weights of ITU-R BT.601

Sets = Callable[
    [slice], dict[str, torch.Tensor]
]  # of a part of the images, N x C x H x W in [0, 1]


def unnatural(images: torch.Tensor, names: list[str], seed: int) -> dict[str, torch.Tensor]:
    """Sets made of images N x C x H x W in [0, 1], each of N: blurred (standard deviation 1 pixel),
    with noise (10 of 255), white noise of the image's own mean and spread, and its pixels shuffled."""
    white, noisy, shuffled = [], [], []
    for name, image in zip(names, images, strict=True):
        # The stream keeps the name that it began with, and tables their numbers.
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


def sets_of(natural, names: list[str], reconstructed: dict, seed: int) -> Sets:
    """What gives every set of a part of the images: `natural` ones, N x H x W x 3 uint8, those made of them,
    and the `reconstructed` ones by label, N x H x W x 3 in [0, 1]; arrays, or datasets of open files."""

    def sets(part: slice) -> dict[str, torch.Tensor]:
        truth = as_tensor(natural[part])
        found = {NATURAL: truth} | unnatural(truth, names[part], seed)
        for label, images in reconstructed.items():
            found[label] = torch.from_numpy(images[part]).permute(0, 3, 1, 2).contiguous()
        return found

    return sets


def looking(
    prior, network: torch.nn.Module | None, device: torch.device | str = "cpu"
) -> Callable[[torch.Tensor], torch.Tensor]:
    """What a prior sees of images N x 3 x H x W: their maps in a network that gives those of one layer, their
    grey where it knows no colours, or themselves."""
    if network is not None:
        maps = maps_of(network, device)
        return lambda images: maps(images).clone()  # a prior may need gradients
    if prior.facts["of"] == "grey":
        return lambda images: grey(images.to(device))
    return lambda images: images.to(device)


def grey(images: torch.Tensor) -> torch.Tensor:
    """The luma, N x 1 x H x W, of images N x 3 x H x W."""
    return (images * images.new_tensor(GREY)[:, None, None]).sum(1, True)


@torch.no_grad()
def energies(prior, batches) -> np.ndarray:
    """Energy per position, in units of the prior's spread, of batches of maps: one value per map."""
    calibrated = Calibrated(prior)
    found = [calibrated.energy(x) for x in batches]
    return torch.cat(found).double().cpu().numpy()


def energies_of_sets(
    prior, sets: Sets, count: int, look: Callable, batch: int = 16
) -> dict[str, np.ndarray]:
    """`energies` of all `count` images of every set, as the prior sees them by `look`."""
    found = defaultdict(list)
    for start in range(0, count, batch):
        for label, images in sets(slice(start, start + batch)).items():
            found[label].append(energies(prior, [look(images)]))
    return {label: np.concatenate(parts) for label, parts in found.items()}


def auc(natural: np.ndarray, other: np.ndarray) -> float:
    """Chance that a value of `other` lies above one of `natural`, ties counting half.

    From the ranks, exact but for one division: sklearn.metrics.roc_auc_score adds up the parts of a curve,
    often rounds to another last digit, which tables show, and refuses a prior's energy that is no number.
    """
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
