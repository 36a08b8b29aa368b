"""Patches of images and of feature maps: sampling, DC removal, contrast.

A patch is C x k x k; a flattened one is C-major (channel, row, column).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..files.hdf5 import create_dataset
from ..runtime.progress import progress
from . import images

DC_MODES = ("patch", "channel", "none")
BLOCK = 20_000  # patches held at a time, those of one map more


def plan(count: int, maps: int, positions: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Positions to sample from each of `maps` maps so that `count` patches are drawn uniformly.

    Every position of every map is equally likely, without storing any other patch. Sampling is
    without replacement within a map as far as its positions reach.
    """
    shares = rng.multinomial(count, np.full(maps, 1 / maps))
    return [
        rng.choice(positions, share, replace=share > positions) if share else np.empty(0, np.int64)
        for share in shares
    ]


def gather(maps: np.ndarray, size: int, positions: np.ndarray) -> np.ndarray:
    """Patches n x C x size x size of one C x H x W map at flat positions of its top left corners."""
    windows = np.lib.stride_tricks.sliding_window_view(maps, (size, size), axis=(1, 2))
    rows, columns = np.divmod(positions, windows.shape[2])
    return windows[:, rows, columns].transpose(1, 0, 2, 3)


class Sampler:
    """Draws patches uniformly from all positions of stored maps: N x H x W x 3 uint8 of `images` or `grey`,
    N x C x H x W or N x C float32 of `features`, an array or a dataset of an open file, read map by map.

    `shape`: of a patch, C x k x k; `scale`: what 1 is among its values. `dc` and `contrast`: what learning
    takes out of them, see `remove_dc` and `normalise_contrast`. Raises ValueError where a patch of `size`
    does not fit.
    """

    def __init__(
        self,
        maps,
        rng: np.random.Generator,
        of: str,
        size: int,
        dc: str = "none",
        contrast: float | None = None,
    ):
        self.maps, self.rng, self.of, self.dc, self.contrast = maps, rng, of, dc, contrast
        if of == "features":
            channels, *sides = (*maps.shape[1:], 1, 1)[:3]
        else:
            channels, sides = 1 if of == "grey" else 3, maps.shape[1:3]
        if size > min(sides):
            raise ValueError(
                f"patches of {size} x {size} do not fit into maps of {sides[0]} x {sides[1]}"
            )
        self.shape, self.scale = (channels, size, size), 1 if of == "features" else 255
        self.positions = (sides[0] - size + 1) * (sides[1] - size + 1)

    def planes(self, index: int) -> np.ndarray:
        """One of the maps, C x H x W."""
        found = self.maps[index]
        if self.of != "features":
            return images.planes(found, self.of)
        return found.reshape(*found.shape, *(1, 1)[: 3 - found.ndim])

    def blocks(self, rows: np.ndarray, count: int) -> Iterator[np.ndarray]:
        """`count` patches of the maps `rows`, n x C x k x k at a time, map by map."""
        waiting: list[np.ndarray] = []
        shares = plan(count, len(rows), self.positions, self.rng)
        for index in progress(range(len(rows)), "sampling patches"):
            waiting.append(gather(self.planes(rows[index]), self.shape[1], shares[index]))
            if sum(map(len, waiting)) >= BLOCK or index == len(rows) - 1:
                yield np.concatenate(waiting)
                waiting = []

    def prepared(self, patches: np.ndarray) -> np.ndarray:
        """What is learned from, of patches n x C x k x k: n x (C k k) float64, no DC, of equal contrast."""
        flat = remove_dc(patches.astype(np.float64) / self.scale, self.dc)
        return normalise_contrast(flat, self.contrast)

    def store(
        self,
        file,
        name: str,
        rows: np.ndarray,
        count: int,
        see: Callable[[np.ndarray], None] | None = None,
    ) -> None:
        """Write the patches of `blocks` as a dataset of an open file; `see` is given what learning sees of
        each block, too."""
        kind, units = (np.float32, "activation") if self.scale == 1 else (np.uint8, "0..255")
        data = create_dataset(file, name, (count, *self.shape), kind, f"{units}, n x C x k x k")
        start = 0
        for block in self.blocks(rows, count):
            data[start : start + len(block)] = block
            start += len(block)
            if see:
                see(self.prepared(block))
        data.flush()


def remove_dc(patches: np.ndarray, mode: str) -> np.ndarray:
    """Flat n x (C*k*k) patches without their mean: over the whole patch, or over each channel.

    Raises ValueError for a mode that is not in DC_MODES.
    """
    if mode not in DC_MODES:
        raise ValueError(f"dc is {mode!r}; allowed: {', '.join(DC_MODES)}")
    flat = patches.reshape(len(patches), -1)
    if mode == "patch":
        return flat - flat.mean(axis=1, keepdims=True)
    if mode == "channel":
        return (patches - patches.mean(axis=(2, 3), keepdims=True)).reshape(len(patches), -1)
    return flat


def dc_matrix(shape: tuple[int, int, int], mode: str) -> np.ndarray:
    """The linear map of `remove_dc` on flat patches of `shape` (C, k, k): d x d."""
    dimensions = int(np.prod(shape))
    return remove_dc(np.eye(dimensions).reshape(dimensions, *shape), mode).T


def normalise_contrast(flat: np.ndarray, floor: float | None) -> np.ndarray:
    """DC-free flat patches divided by their root mean square, at least `floor`; None leaves them."""
    if not floor:
        return flat
    scale = np.sqrt(np.square(flat).mean(axis=1, keepdims=True))
    return flat / np.maximum(scale, floor)
