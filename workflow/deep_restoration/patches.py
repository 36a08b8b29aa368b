"""Patches of images and of feature maps: sampling, DC removal, whitening.

A patch is C x k x k; a flattened one is C-major (channel, row, column).
"""

from __future__ import annotations

from dataclasses import dataclass

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


class Moments:
    """Mean and covariance of a stream of vectors, in float64."""

    def __init__(self, dimensions: int):
        self.count = 0
        self.total = np.zeros(dimensions)
        self.products = np.zeros((dimensions, dimensions))

    def add(self, vectors: np.ndarray) -> None:
        """Take in n x d vectors."""
        vectors = np.asarray(vectors, dtype=np.float64)
        self.count += len(vectors)
        self.total += vectors.sum(axis=0)
        self.products += vectors.T @ vectors

    @property
    def mean(self) -> np.ndarray:
        return self.total / self.count

    @property
    def covariance(self) -> np.ndarray:
        """The covariance, normalised by the count (maximum likelihood)."""
        return self.products / self.count - np.outer(self.mean, self.mean)


@dataclass(frozen=True)
class Whitening:
    """PCA of DC-free patches: mean (d), eigenvalues descending (d), eigenvectors as rows (d x d)."""

    mean: np.ndarray
    eigenvalues: np.ndarray
    eigenvectors: np.ndarray

    @classmethod
    def fit(cls, moments: Moments) -> Whitening:
        values, vectors = np.linalg.eigh(moments.covariance)
        vectors = vectors[:, ::-1].T
        signs = np.sign(vectors[np.arange(len(vectors)), np.abs(vectors).argmax(axis=1)])
        return cls(moments.mean, np.maximum(values[::-1], 0), vectors * signs[:, None])

    def rank(self, floor: float = 1e-6) -> int:
        """Number of eigenvalues above `floor` times the largest."""
        return int((self.eigenvalues > floor * self.eigenvalues[0]).sum())

    def matrix(self, dimensions: int) -> np.ndarray:
        """`dimensions` x d: projects centred patches to unit covariance.

        Raises ValueError when the data do not span so many dimensions.
        """
        if not 1 <= dimensions <= self.rank():
            raise ValueError(
                f"cannot whiten to {dimensions} dimensions; the data span {self.rank()}"
            )
        return self.eigenvectors[:dimensions] / np.sqrt(self.eigenvalues[:dimensions, None])
