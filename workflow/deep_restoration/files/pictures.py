"""Images as PNG files, for other programs: what is measured stays in HDF5, unrounded."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np


def write_pictures(
    folder: str | os.PathLike, names: Sequence[str], images: Sequence[np.ndarray]
) -> None:
    """Write images H x W x 3 in [0, 1] as sRGB of 8 bits, each to `<folder>/<name>.png`.

    A name may hold folders, and keeps its own suffix (cat.jpg.png): cat.jpg and cat.png may be of one study.
    """
    from PIL import Image

    for name, image in zip(names, images, strict=True):
        path = Path(folder) / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image.clip(0, 1) * 255).round().astype(np.uint8)).save(path)
