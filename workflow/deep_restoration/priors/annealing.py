"""The learned priors that annealing can ask: their `denoise` takes gradients, at any noise level.

A module of its own, so that what is fitted for an annealing depends on the code of no other prior.
"""

from __future__ import annotations

import os

from ..files.tensors import load_tensors
from .base import Denoising
from .spectral import Spectral
from .unet import UNet

# Kind in files, which is the method in the configuration -> its class.
ANNEALING: dict[str, type[Denoising]] = {kind.kind: kind for kind in (Spectral, UNet)}


def load(path: str | os.PathLike) -> Denoising:
    """The prior of a file. Raises StorageError for a file that is damaged or no prior, ValueError for one
    that annealing cannot ask."""
    tensors, facts = load_tensors(path, "prior")
    if facts["kind"] not in ANNEALING:
        methods = " or ".join(ANNEALING)
        raise ValueError(f"{path} holds a {facts['kind']}, where one of method {methods} is needed")
    return ANNEALING[facts["kind"]].of(tensors, facts)
