"""The priors that a recipe names, with their weights."""

from __future__ import annotations

import os

import torch

from ..preimage import alpha_weight_2015, by_depth, tv_weight_2015
from . import Calibrated, Prior, load
from .norms import AlphaNorm, ColourNorm, DistanceTo
from .total_variation import TotalVariation


def build(
    entries: dict[str, dict],
    learned: dict[str, str | os.PathLike],
    geometry: dict,
    mean: torch.Tensor,
    predicted: torch.Tensor | None = None,
) -> dict[str, tuple[float, Prior]]:
    """Name -> (weight, prior) for the `priors` of a recipe.

    `learned` maps the names of learned priors to their files, `geometry` is that of the layer (its
    receptive field, for weights by depth), `mean` the mean colour, 1 x 3 x 1 x 1 in [0, 1], `predicted`
    the images of the recipe's inverse network, N x 3 x H x W.
    """
    result: dict[str, tuple[float, Prior]] = {}
    for name, entry in entries.items():
        options = {key: value for key, value in entry.items() if key != "weight"}
        weight, field = entry["weight"], geometry["receptive_field"]
        if isinstance(weight, list):
            weight = by_depth(weight, field)
        if name in learned:
            if "sigma" in options:
                options["sigma"] /= 255
            prior: Prior = Calibrated(load(learned[name], **options))
        elif name == "tv":
            prior = TotalVariation(**options)
            if weight == "mahendran2015":
                weight = tv_weight_2015(field)
        elif name == "alpha_norm":
            prior = AlphaNorm(mean, **options)
            weight = alpha_weight_2015() if weight == "mahendran2015" else weight
        elif name == "inverter":
            prior = DistanceTo(predicted)
        else:
            prior = ColourNorm(mean, **options)
        result[name] = float(weight), prior
    return result
