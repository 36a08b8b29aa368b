"""Is a measure translation invariant? Test photographs measured against themselves, moved by some pixels.

Harder (2017, Sect. 5.3) asks this of SSIM. Nothing is reconstructed here: what a measure says of an image
that is right but for its place is what it would say of a reconstruction that is right but for its place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ..data import images
from ..data.splits import evenly_spaced
from . import intervals, metrics

MOST = 8  # pixels
PHOTOGRAPHS = 16  # at most
MEASURES = ("mse", "ssim", "representation_error")
COLUMNS = ("classifier", "layer", "image", "pixels", *MEASURES)


def photographs(
    source: str, folder: str, names: Sequence[str], size: int
) -> Iterable[tuple[str, np.ndarray]]:
    """Yield (name, H x W x 3 uint8) of the test photographs, `embedded` ones or those of a folder, their
    shorter side `size` + MOST pixels long: from a larger one a real shift is cut out. Those of a folder that
    cannot be read or are smaller are left out."""
    if source == "embedded":
        for name, place in images.EMBEDDED["test"].items():
            yield name, images.photograph_of(*place, size + MOST)
        return
    for name, found in images.folder_images(
        folder, evenly_spaced(list(names), PHOTOGRAPHS), size + MOST
    ):
        if not isinstance(found, images.UnusableImage):
            yield name, found


def windows(photograph: np.ndarray, size: int) -> np.ndarray:
    """(MOST + 1) x size x size x 3 windows around the middle of a photograph; from one to the next what it
    shows moves by one pixel to the left."""
    square = images.centre_crop(photograph, size + MOST)
    top = MOST // 2
    return np.stack([square[top : top + size, x : x + size] for x in range(MOST + 1)])


def measure(shown: np.ndarray, network) -> dict[str, list[tuple]]:
    """Per layer of a network the values of MEASURES of every window N x H x W x 3 against the first one."""
    import torch

    with torch.inference_mode():
        maps = network(images.as_tensor(shown))
    truth, found = np.stack([shown[0]] * len(shown)) / 255, shown / 255
    image = (metrics.mse(truth, found).tolist(), metrics.ssim(truth, found).tolist())
    return {
        layer: list(
            zip(
                *image,
                metrics.representation_error(part, part[:1].expand_as(part)).tolist(),
                strict=True,
            )
        )
        for layer, part in maps.items()
    }


def summarise(rows: Sequence[dict], seed: int) -> tuple[list[str], list[list]]:
    """Means over photographs with 95 % bootstrap intervals, a row per classifier, layer and pixels.

    `rows` are of COLUMNS; MSE and SSIM are the same for every layer.
    """
    by = ("classifier", "layer", "pixels")
    columns = [*by, "photographs", *intervals.limited(MEASURES), "note"]
    summary: list[list] = []
    for group in intervals.groups(rows, by, MEASURES):
        line = [*group.key, len(group.images), *intervals.means(group, seed)]
        summary.append([*line, intervals.note(group.images)])
    return columns, summary
