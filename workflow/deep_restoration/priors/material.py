"""What learned priors are trained on: maps of a file, learned from and held out, and patches of them."""

from __future__ import annotations

import logging
import os
from typing import NamedTuple

import numpy as np
import torch

from ..data import images, splits
from ..data.splits import evenly_spaced
from ..files.hdf5 import open_hdf5, read_names
from ..runtime import devices

log = logging.getLogger(__name__)

HALVES = ("first_half", "second_half")
MEMORY = 2 << 30  # bytes of maps held at a time; more are thinned out evenly


class Material(NamedTuple):
    """maps, held_out: N x C x H x W, as of `load_maps`. patches: the file of patches, for methods that use
    one."""

    maps: np.ndarray
    held_out: np.ndarray
    patches: str | os.PathLike | None = None


def known(file, count: int, share: float, part: str = "all") -> tuple[np.ndarray, np.ndarray]:
    """Which of the `count` maps of an open file are learned from and which are held out, (count,) each.

    `share` of all maps is held out (images.held_out). Of a `part` of HALVES only every other photograph
    is learned from, all of its crops. Raises ValueError where that leaves none.
    """
    held = splits.held_out(count, share)
    if part == "all":
        return ~held, held
    shown = [images.photograph(name) for name in read_names(file)]
    numbers = {one: number for number, one in enumerate(dict.fromkeys(shown))}
    chosen = np.array([numbers[one] % 2 == HALVES.index(part) for one in shown]) & ~held
    if not chosen.any():
        raise ValueError(
            f"the {part} of the {len(numbers)} photographs in {file.filename} has none to learn from; "
            "more training photographs are needed, or part: all"
        )
    return chosen, held


def load_maps(
    path: str | os.PathLike, of: str, share: float, part: str = "all"
) -> tuple[np.ndarray, np.ndarray]:
    """Training and held-out maps N x C x H x W, as of `known`: uint8 of `images` or `grey`, float32 of
    `features`. Raises ValueError for fewer than two maps.
    """
    stage = "features" if of == "features" else "images"
    with open_hdf5(path, stage) as file:
        data = file[stage]
        if len(data) < 2:
            raise ValueError(f"{path} holds {len(data)} maps; a prior needs at least 2")
        parts = []
        for chosen in known(file, len(data), share, part):
            rows = np.flatnonzero(chosen).tolist()
            room = max(1, MEMORY // max(1, data[0].nbytes))
            if len(rows) > room:
                log.info("%d of %d maps fit into memory", room, len(rows))
                rows = evenly_spaced(rows, room)
            maps = data[rows]
            if of == "grey":
                maps = images.grey(maps)[:, None]
            elif of == "images":
                maps = maps.transpose(0, 3, 1, 2)
            parts.append(maps.reshape(*maps.shape, *(1, 1)[: 4 - maps.ndim]))
    return parts[0], parts[1]


def batches(maps: np.ndarray, size: int = 16):
    """Maps as float tensors on the device, images in [0, 1]."""
    scale = 255 if maps.dtype == np.uint8 else 1
    for start in range(0, len(maps), size):
        part = torch.from_numpy(np.ascontiguousarray(maps[start : start + size]))
        yield part.to(devices.device()).float().div_(scale)
