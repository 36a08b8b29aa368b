"""How ambiguous a layer is: the same images reconstructed from several start noises, and how they differ.

What the layer has forgotten is left to the start and the prior, so that reconstructed images that differ
while their feature maps agree show what it forgot (Mahendran & Vedaldi 2016, several solutions).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from ..runtime import seeds
from . import intervals, metrics

MEASURES = (
    *("spread", "pair_mse", "pair_ssim"),
    *("representation_error", "representation_error_spread", "representation_error_of_mean"),
    *("mse", "mse_of_mean", "ssim", "ssim_of_mean"),
)
COLUMNS = ("classifier", "layer", "recipe", "image", "restarts", *MEASURES)


def seed_of_restart(seed: int, start: int) -> int:
    """The seed of a start; start 0 has the study's own, with which everything else is reconstructed."""
    return seed if start == 0 else seeds.seed_of(seed, "start", start)


def deviation(images: np.ndarray) -> np.ndarray:
    """Standard deviation over restarts at each pixel, mean over colours: from images,
    restarts x N x H x W x 3, to N x H x W.

    Of a sample (divided by restarts - 1), so that its square does not depend on the number of restarts.
    """
    return np.asarray(images, np.float64).std(axis=0, ddof=1).mean(axis=-1)


def measure(
    truth: np.ndarray, images: np.ndarray, errors: np.ndarray, error_of_mean: np.ndarray
) -> dict[str, np.ndarray]:
    """MEASURES per image, (N,) each, of `images` restarts x N x H x W x 3 in [0, 1] and the N originals.

    `errors`, restarts x N, are their representation errors, `error_of_mean`, (N,), that of the mean over
    restarts. `spread` is the mean `deviation`; `pair_*` are means over pairs of restarts;
    `representation_error_spread` is the standard deviation over restarts of the relative squared error
    (of a sample), the published measure; `mse` and `ssim` are means over single restarts, `*_of_mean` those
    of the mean image. The mean squared error of single restarts is that of their mean plus their variance,
    (restarts - 1) / restarts * pair_mse / 2.
    """
    images = np.asarray(images, np.float64)
    mean, pairs = images.mean(axis=0), list(combinations(images, 2))
    return {
        "spread": deviation(images).mean(axis=(1, 2)),
        "pair_mse": np.mean([metrics.mse(a, b) for a, b in pairs], axis=0),
        "pair_ssim": np.mean([metrics.ssim(a, b) for a, b in pairs], axis=0),
        "representation_error": errors.mean(axis=0),
        "representation_error_spread": errors.std(axis=0, ddof=1),
        "representation_error_of_mean": np.asarray(error_of_mean),
        "mse": np.mean([metrics.mse(truth, one) for one in images], axis=0),
        "mse_of_mean": metrics.mse(truth, mean),
        "ssim": np.mean([metrics.ssim(truth, one) for one in images], axis=0),
        "ssim_of_mean": metrics.ssim(truth, mean),
    }


def summarise(rows: Sequence[dict], seed: int) -> tuple[list[str], list[list]]:
    """Means over images with 95 % bootstrap intervals over photographs, per classifier, layer and recipe.

    `rows` are of COLUMNS. `mse_ratio` is the mean squared error of the mean over restarts divided by that of
    single restarts: what averaging leaves.
    """
    by = ("classifier", "layer", "recipe", "restarts")
    columns = [*by, "images", "photographs", *intervals.limited((*MEASURES, "mse_ratio")), "note"]
    summary: list[list] = []
    for group in intervals.groups(rows, by, MEASURES):
        names, values = group.images, group.values
        ratio = intervals.ratio_interval(values["mse_of_mean"], values["mse"], names, seed)
        line = [*group.key, len(names), intervals.photographs(names)]
        line += [*intervals.means(group, seed), *intervals.cells(ratio)]
        summary.append([*line, intervals.note(names)])
    return columns, summary
