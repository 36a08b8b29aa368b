"""Photographs of one split stored as the study uses them; those that cannot be used are named."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import numpy as np

from ..files.hdf5 import create_dataset, write_array, write_names
from ..runtime.progress import progress
from .images import UnusableImage

log = logging.getLogger(__name__)
LISTED = 20  # images that a message names


def store(
    file, stream: Iterable[tuple[str, np.ndarray | UnusableImage]], count: int, size: int
) -> tuple[list[str], list[str]]:
    """Write the images of a stream of `count` pairs (name, size x size x 3 uint8), their mean and their names
    into an open file. Returns the names of those kept, and a line for each that cannot be used."""
    kept, rejected, total = [], [], np.zeros((size, size, 3))
    shape = (count, size, size, 3)
    data = create_dataset(file, "images", shape, np.uint8, "sRGB, 0..255, N x H x W x 3")
    for (name, image), _ in zip(stream, progress(range(count), "preparing images"), strict=True):
        if isinstance(image, UnusableImage):
            rejected.append(f"{name}: {image}")
            continue
        data[len(kept)] = image
        kept.append(name)
        total += image
    data.resize(len(kept), axis=0)
    data.flush()
    mean = (total / max(1, len(kept)) / 255).astype(np.float32)
    write_array(file, "mean", mean, "sRGB, 0..1, H x W x 3")
    write_names(file, kept)
    log.info("%d images kept, %d rejected", len(kept), len(rejected))
    return kept, rejected


def require(
    kept: list[str], rejected: list[str], unusable: str, least: int = 1, user: str = ""
) -> None:
    """Raise ValueError where images cannot be used and `unusable` is to refuse them, or where fewer than the
    `least` are left that `user` needs; otherwise a warning names them."""
    if not rejected:
        return
    listing = "\n  ".join(rejected[:LISTED] + ["..."] * (len(rejected) > LISTED))
    count = len(kept) + len(rejected)
    message = f"{len(rejected)} of {count} images cannot be used:\n  {listing}"
    if unusable == "refuse" or not kept:
        raise ValueError(f"{message}\nmend them or take them out, or set images.unusable to skip")
    log.warning(message)
    if len(kept) < least:
        raise ValueError(f"{message}\n{user} needs at least {least}: add images")
