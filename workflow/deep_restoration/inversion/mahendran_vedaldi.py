"""Constants of Mahendran & Vedaldi 2015 and 2016, for any classifier, by the depth of the layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

REFERENCE_PIXELS = 227 * 227  # the image size of both papers
SIGMA = 27098.1157  # norm of a mean-subtracted natural image there (M&V 2015, released code)


def data_weight_2016(stride: float, receptive_field: int | None) -> float:
    """C of Mahendran & Vedaldi 2016 by depth: 300 for shallow layers down to 1 for the deepest.

    The bounds on receptive field and stride give back both published columns, AlexNet and VGG-16.
    """
    if receptive_field is None or stride >= 32:
        return 1.0
    return 300.0 if receptive_field < 100 else 100.0 if receptive_field < 150 else 20.0


def tile_2016(stride: int, receptive_field: int) -> int:
    """Side in pixels of one unit's tile in the mosaics of Mahendran & Vedaldi 2016.

    They maximise 25 units in one image, each in the middle of a square of max(round(1.1 rf / stride), 4)
    positions of the map, one more where that is even.
    """
    positions = max(math.floor(1.1 * receptive_field / stride + 0.5), 4)
    return (positions + 1 - positions % 2) * stride


def maximisation_weight_2016(receptive_field: int, tile: int, size: int) -> float:
    """10000 / rf^2 of Mahendran & Vedaldi 2016, in front of activations as shares of the largest one.

    It belongs to priors that are means over the pixels of a tile: in a mosaic of K tiles, whose priors
    are means over all of it, each unit has 1 / K of it. `tile`, `size`: sides in pixels of a tile and of the
    image. An image that is smaller than a tile is a part of one, with as much less of the priors.
    """
    return 1e4 / receptive_field**2 * max(1.0, tile / size) ** 2


def by_depth(weights: Sequence[float], receptive_field: int | None) -> float:
    """The entry of (shallow, middle, deep) for a layer, by the bounds of Mahendran & Vedaldi 2015.

    Shallow are receptive fields below 67 pixels (AlexNet to relu2), middle those below 163 (to relu4).
    """
    if receptive_field is None or receptive_field >= 163:
        return weights[2]
    return weights[0] if receptive_field < 67 else weights[1]


def tv_weight_2015(receptive_field: int | None) -> float:
    """lambda_V of Mahendran & Vedaldi 2015 by depth, 0.5, 5 or 50, for the mean over pixels.

    The published value belongs to sigma-scaled images and a sum over 227 x 227 pixels; beta = 2.
    """
    return by_depth((0.5, 5.0, 50.0), receptive_field) * REFERENCE_PIXELS / SIGMA**2


def alpha_weight_2015() -> float:
    """lambda_alpha = 2.16e8 of Mahendran & Vedaldi 2015 for the mean over pixels of |u|^6."""
    return 2.16e8 * REFERENCE_PIXELS / SIGMA**6


def jitter_of(stride: float) -> int:
    """T = max(round(stride / 4), 1) of Mahendran & Vedaldi 2016; shifts run from 0 to T - 1."""
    return max(math.floor(stride / 4 + 0.5), 1)


# Prior -> the names of its published weights -> the weight, by the receptive field of the layer.
WEIGHTS: dict[str, dict[str, Callable[[int | None], float]]] = {
    "tv": {"mahendran2015": tv_weight_2015},
    "alpha_norm": {"mahendran2015": lambda receptive_field: alpha_weight_2015()},
}
