"""The priors that there are, and how learned ones are trained. A new one is a class and a line here; its keys
and options are told to planning in `study/models.py` and `study/registry.py`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

from ..files.tensors import load_tensors
from ..runtime.checkpoints import Checkpoint
from . import autoregressive, denoiser, expert_training, ridge, spectral, unet
from .autoregressive import Autoregressive
from .base import LearnedPrior, Prior
from .denoiser import Denoiser
from .field import FieldOfExperts
from .material import Material
from .norms import AlphaNorm, ColourNorm, DistanceTo
from .ridge import Ridge
from .spectral import Spectral
from .total_variation import TotalVariation
from .unet import UNet


class Given(NamedTuple):
    """What a hand-crafted prior may refer to: the mean colour, 1 x 3 x 1 x 1 in [0, 1], and the images that
    the recipe's inverse network predicts, N x 3 x H x W, if it has one."""

    mean: torch.Tensor
    predicted: torch.Tensor | None = None


# Name in recipes -> the prior, of what is given and of the recipe's options.
HAND_CRAFTED: dict[str, Callable[..., Prior]] = {
    "tv": lambda given, **options: TotalVariation(**options),
    "alpha_norm": lambda given, **options: AlphaNorm(given.mean, **options),
    "colour_norm": lambda given, **options: ColourNorm(given.mean, **options),
    "inverter": lambda given: DistanceTo(given.predicted),
}
# Kind in files -> its class.
LEARNED: dict[str, type[LearnedPrior]] = {
    kind.kind: kind for kind in (FieldOfExperts, Denoiser, Autoregressive, Spectral, UNet, Ridge)
}

# Method in the configuration -> its training, which returns the prior and its history.
TRAINERS: dict[str, Callable[[Material, dict, Checkpoint], tuple[LearnedPrior, list[tuple]]]] = {
    "patch": expert_training.train,
    "field": expert_training.train,
    "denoiser": denoiser.trained,
    "autoregressive": autoregressive.trained,
    "wiener": spectral.trained,
    "unet": unet.trained,
    "ridge": ridge.trained,
}


def load(path: str | os.PathLike, **options: Any) -> LearnedPrior:
    """The learned prior of a file, with OPTIONS of its kind, such as `sigma` of a denoiser.

    Of its result `energy(x)` is one value per image, (N,), lower for more natural ones, and `gradient(x)`
    the gradient of their sum, N x C x H x W; x is N x C x H x W, of images with three channels in [0, 1].
    What it holds goes to the device of x. `channels`, `facts` (how it was trained), `positions(x)`: see
    `LearnedPrior`.

    Raises StorageError for a file that is damaged or no prior, ValueError for a foreign option.
    """
    tensors, facts = load_tensors(path, "prior")
    kind = LEARNED[facts["kind"]]
    if foreign := sorted(set(options) - set(kind.OPTIONS)):
        raise ValueError(
            f"{path} holds a {facts['kind']}, which has no option {foreign[0]}; "
            f"allowed: {', '.join(kind.OPTIONS) or 'none'}"
        )
    return kind.of(tensors, facts, **options)
