"""The feature maps of one layer over stored images, on their way into a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch

from ..data.images import as_tensor
from ..files.hdf5 import create_dataset
from ..runtime.batches import Batches


def maps_of(
    network: torch.nn.Module, images, rows: np.ndarray, device: torch.device | str = "cpu"
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield (part, maps n x C x H x W float32) of these rows of images N x H x W x 3 uint8, an array or a
    dataset of an open file, in their order. The network gives the maps of one layer."""

    def compute(part: slice) -> np.ndarray:
        chosen = rows[part]
        order = np.argsort(chosen)  # files are read in ascending order
        pixels = as_tensor(images[chosen[order]][np.argsort(order)])
        with torch.inference_mode():
            (maps,) = network(pixels.to(device)).values()
        return maps.float().cpu().numpy()

    return Batches(32, "computing feature maps")(compute, len(rows))


def store(file, parts: Iterable[tuple[slice, np.ndarray]], count: int) -> tuple[int, ...]:
    """Write the maps of `count` images into an open file; returns their shape, N x C x H x W."""
    shape, data = (count,), None
    for part, maps in parts:
        if data is None:
            shape, units = (count, *maps.shape[1:]), "activation, N x C x H x W"
            data = create_dataset(file, "features", shape, np.float32, units)
        data[part] = maps
    if data is not None:
        data.flush()
    return shape
