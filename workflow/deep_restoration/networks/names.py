"""Names of networks: of which kind they are. Imports no torch, because planning asks."""

from __future__ import annotations

import importlib.util
from pathlib import Path

# Mean and spread of the colours of ImageNet, by which most classifiers normalise.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
OWN = "own"
PREFIXES = ("timm",)  # of names that are neither torchvision's nor the user's own


def kind(architecture: str) -> str:
    """`torchvision`, `alexnet_lrn`, a prefix (`timm`), or `own`: a function of the user's,
    `path/to/file.py:factory` or `package.module:factory`."""
    prefix, colon, _ = architecture.partition(":")
    if not colon:
        return "alexnet_lrn" if architecture == "alexnet_lrn" else "torchvision"
    return prefix if prefix in PREFIXES else OWN


def own_file(architecture: str) -> Path | None:
    """The file whose function makes a network of the user's own; None of another network.

    Raises ValueError if it is not there.
    """
    if kind(architecture) != OWN:
        return None
    place = architecture.rpartition(":")[0]
    if place.endswith(".py"):
        path = Path(place).expanduser()
        if not path.is_file():
            raise ValueError(f"{architecture}: there is no file {place}")
        return path
    try:
        found = importlib.util.find_spec(place)
    except (ImportError, ValueError):
        found = None
    if found is None or not found.origin:
        prefixes = ", ".join(f"{prefix}:NAME" for prefix in PREFIXES)
        raise ValueError(
            f"{architecture}: there is no module {place}; allowed: names of torchvision, {prefixes}, "
            "path/to/file.py:factory, package.module:factory"
        )
    return Path(found.origin)
