"""Patches of images and of feature maps: sampling, DC removal, contrast.

A patch is C x k x k; a flattened one is C-major (channel, row, column).
"""

from __future__ import annotations

import numpy as np

DC_MODES = ("patch", "channel", "none")


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
