"""The measures of the papers, beside which ours stand, so that their figures can be compared with ours.

Every paper normalises its error in its own way, and the same word means another number in each. The
names here say whose it is; `metrics` holds the measures of this study.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from scipy.ndimage import sobel

from ..data.images import as_tensor

FEATURE_MEASURES = ("error_2015", "error_2015_released", "error_2016", "feature_cosine")
IMAGE_MEASURES = ("image_error", "naturalness", "mse_255", "nmse")
MEASURES = (*FEATURE_MEASURES, *IMAGE_MEASURES, "same_label")
COLUMNS = ("classifier", "layer", "recipe", "image", *MEASURES)
BINS = 18  # of gradient orientations
GREY = (0.2989, 0.5870, 0.1140)  # MATLAB's rgb2gray
COLUMNS_AT_ONCE = 1 << 13  # of a Gram matrix, whose float64 copies stay small


class Distances(NamedTuple):
    """How far apart codes are: `mean` of the Euclidean distance over pairs of two images, `square` of
    the squared one over all pairs, those of an image with itself included."""

    mean: float
    square: float


def mean_distances(
    codes: Callable[[int, int], torch.Tensor], count: int, batch: int = 64, memory: int = 1 << 30
) -> Distances:
    """The distances between `count` codes; `codes(start, stop)` yields a part of them, n x ...

    No more than `memory` bytes of codes and a batch are held at a time: a block of them stays, the
    later ones stream past it as Gram matrices, in float64. Codes that do not fit are asked for again
    for each block. (nan, nan) for a single image.
    """
    total = square = 0.0
    low = 0
    while low < count:
        held = codes(low, min(low + batch, count)).flatten(1)
        parts, high = [held], low + len(held)
        room = max(len(held), memory // max(1, held[0].numel() * held.element_size()))
        while high < count and high - low + batch <= room:
            parts.append(codes(high, min(high + batch, count)).flatten(1))
            high += len(parts[-1])
        held = torch.cat(parts)
        del parts
        for start in range(low, count, batch):
            stop = min(start + batch, count)
            inside = stop <= high
            others = held[start - low : stop - low] if inside else codes(start, stop).flatten(1)
            found = _squared_distances(held, others)
            if inside:  # each pair once
                here = torch.arange(low, high, device=found.device)[:, None]
                found = found[here < torch.arange(start, stop, device=found.device)]
            total += found.sqrt().sum().item()
            square += found.sum().item()
        low = high
    pairs = count * (count - 1) / 2
    if not pairs:
        return Distances(float("nan"), float("nan"))
    return Distances(total / pairs, 2 * square / count**2)


def _squared_distances(one: torch.Tensor, two: torch.Tensor) -> torch.Tensor:
    """|a - b|^2 of every row a of `one` with every row b of `two`, in float64."""
    result = torch.zeros(len(one), len(two), dtype=torch.float64, device=one.device)
    for first in range(0, one.shape[1], COLUMNS_AT_ONCE):
        a, b = (values[:, first : first + COLUMNS_AT_ONCE].double() for values in (one, two))
        result += a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T
    return result.clamp(min=0)


def feature_measures(
    maps: torch.Tensor, target: torch.Tensor, distances: Distances
) -> dict[str, torch.Tensor]:
    """The errors of codes N x ... against their targets, per image, (N,), in float64.

    error_2015: |Phi - Phi_0| / N_Phi (Mahendran & Vedaldi 2015, Sect. 4), N_Phi the mean distance between
    the codes of two test images. error_2015_released: |Phi - Phi_0|^2 by the mean of its square over
    all pairs, an image with itself included, as their released evaluator has it. error_2016: |Phi -
    Phi_0| / |Phi_0| (2016). feature_cosine: the cosine of the angle between both, 1 is equal.
    `distances` are those of the targets of all test images.
    """
    found, wanted = maps.double().flatten(1), target.double().flatten(1)
    distance, norm = (found - wanted).norm(dim=1), wanted.norm(dim=1)
    values = (
        distance / distances.mean,
        distance.square() / distances.square,
        distance / norm,
        (found * wanted).sum(1) / (norm * found.norm(dim=1)),
    )
    return dict(zip(FEATURE_MEASURES, values, strict=True))


def image_measures(
    truth: np.ndarray, reconstructed: np.ndarray, distance: float
) -> dict[str, np.ndarray]:
    """The errors of images N x H x W x 3 in [0, 1], per image, (N,).

    image_error: |x - x_0| / N, N = `distance`, the mean distance between two test images (Dosovitskiy &
    Brox 2016). naturalness: see `naturalness`. mse_255: mean squared error on the scale 0 to 255, nmse:
    sum (t - r)^2 / sum t r (Harder 2017); infinite for a black image.
    """
    one, two = (np.asarray(a, np.float64).reshape(len(a), -1) for a in (truth, reconstructed))
    square = np.square(two - one).sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        nmse = square / (one * two).sum(1)
    errors = (
        np.sqrt(square) / distance,
        naturalness(truth, reconstructed),
        255**2 * square / one.shape[1],
        nmse,
    )
    return dict(zip(IMAGE_MEASURES, errors, strict=True))


Seen = tuple[torch.Tensor, torch.Tensor | None]
See = Callable[[torch.Tensor], Seen]


def seeing(
    network: torch.nn.Module, layer: str, output: str | None, device: torch.device | str = "cpu"
) -> See:
    """What a network that gives the maps of `layer` and of `output` makes of images: codes, and labels, the
    largest of its outputs; None without an `output`."""

    def seen(images: torch.Tensor) -> Seen:
        with torch.inference_mode():
            found = network(images.to(device))
        return found[layer], found[output].flatten(1).argmax(1) if output else None

    return seen


class Measuring:
    """Measures for one layer, against the originals `pixels`, N x H x W x 3 uint8. `seen` returns for images
    n x 3 x H x W their codes in the layer and their labels, or None where the network has no labels."""

    def __init__(self, seen: See, pixels: np.ndarray):
        self.seen, self.pixels = seen, pixels
        codes = mean_distances(lambda a, b: seen(as_tensor(pixels[a:b]))[0], len(pixels))
        images = mean_distances(lambda a, b: torch.from_numpy(self._truth(a, b)), len(pixels))
        self.apart, self.images_apart = codes, images.mean

    def _truth(self, start: int, stop: int) -> np.ndarray:
        return self.pixels[start:stop].astype(np.float64) / 255

    def __call__(self, found: np.ndarray, batch: int = 64) -> list[tuple]:
        """The values of MEASURES of each of the images `found`, N x H x W x 3; `same_label` is empty where
        there are no labels."""
        values: dict[str, list] = {measure: [] for measure in MEASURES}
        for start in range(0, len(self.pixels), batch):
            stop = min(start + batch, len(self.pixels))
            reconstructed = np.ascontiguousarray(found[start:stop])
            target, label = self.seen(as_tensor(self.pixels[start:stop]))
            maps, again = self.seen(torch.from_numpy(reconstructed).permute(0, 3, 1, 2))
            errors = feature_measures(maps, target, self.apart)
            errors |= image_measures(self._truth(start, stop), reconstructed, self.images_apart)
            for key, part in errors.items():
                values[key] += part.tolist()
            same = [""] * len(maps) if label is None else (label == again).int().tolist()
            values["same_label"] += same
        return list(zip(*values.values(), strict=True))


def naturalness(truth: np.ndarray, reconstructed: np.ndarray) -> np.ndarray:
    """Intersection of the gradient orientation histograms of images N x H x W x 3, (N,), at most 1.

    Mahendran & Vedaldi 2016, by their released code: of each image in grey the Sobel gradient, its
    magnitude summed in 18 bins of the signed orientation and divided by the sum. 0 where an image has
    no gradient at all. Images are not rounded to 8 bits.
    """
    pairs = zip(truth, reconstructed, strict=True)
    return np.array([np.minimum(orientations(a), orientations(b)).sum() for a, b in pairs])


def orientations(image: np.ndarray) -> np.ndarray:
    """The histogram, (18,), of an image H x W x 3; bins are closed above, the first also below."""
    grey = np.asarray(image, np.float64) @ np.array(GREY)
    across, down = (sobel(grey, axis, mode="nearest") for axis in (1, 0))
    angle = np.degrees(np.arctan2(-down, across)).ravel()
    edges = np.linspace(-180, 180, BINS + 1)
    bins = np.clip(np.searchsorted(edges, angle, side="left") - 1, 0, BINS - 1)
    sums = np.bincount(bins, np.hypot(across, down).ravel(), BINS)
    whole = sums.sum()
    return sums / whole if whole > 1e-9 * grey.size else np.zeros(BINS)
