"""Statistics of feature maps, streamed: spatial covariance and its inverse, Gram matrix, sparsity."""

from __future__ import annotations

import numpy as np

from .patches import Moments


def window(height: int, width: int, most: int) -> tuple[slice, slice]:
    """The central window of a map with at most `most` positions, the whole map where it is smaller."""
    side = int(np.sqrt(most))
    rows = min(height, max(side, most // width))
    columns = min(width, most // rows)
    top, left = (height - rows) // 2, (width - columns) // 2
    return slice(top, top + rows), slice(left, left + columns)


def gini(values: np.ndarray) -> np.ndarray:
    """Gini index of the magnitudes along the last axis: 0 for equal ones, 1 - 1/n for a single one.

    Textbook form, ranks k from 1 on ascending c: 1 - 2 sum_k c_k/|c|_1 (n - k + 1/2)/n (Hurley &
    Rickard 2009, table I). A vector of zeros counts as 0.
    """
    ascending = np.sort(np.abs(values).astype(np.float64), axis=-1)
    n = ascending.shape[-1]
    total = ascending.sum(axis=-1)
    ranks = (n - np.arange(1, n + 1) + 0.5) / n
    return np.where(total > 0, 1 - 2 * (ascending @ ranks) / np.where(total > 0, total, 1), 0.0)


class FeatureStatistics:
    """One pass over N x C x H x W maps; memory does not grow with N.

    `covariance`: positions x positions (row-major positions of the window), each channel of each image
    a sample. `gram`: C x C, mean over images of F F' / (H W) with F the C x (H W) map. `sparsity`:
    Gini index of each image and of each channel, and the share of zeros.
    """

    def __init__(self, channels: int, height: int, width: int, most_positions: int = 1024):
        self.rows, self.columns = window(height, width, most_positions)
        self.shape = (self.rows.stop - self.rows.start, self.columns.stop - self.columns.start)
        self._moments = Moments(self.shape[0] * self.shape[1])
        self._gram = np.zeros((channels, channels))
        self._gini_channels = np.zeros(channels)
        self._zeros = 0.0
        self.gini_images: list[float] = []

    def add(self, maps: np.ndarray) -> None:
        """Take in n x C x H x W maps."""
        flat = maps.reshape(*maps.shape[:2], -1)
        for image, positions in zip(maps, flat, strict=True):
            part = image[:, self.rows, self.columns]
            self._moments.add(part.reshape(len(part), -1))
            self._gram += positions.astype(np.float64) @ positions.T / positions.shape[1]
        self.gini_images += gini(maps.reshape(len(maps), -1)).tolist()
        self._gini_channels += gini(flat).sum(axis=0)
        self._zeros += float((maps == 0).mean(axis=(1, 2, 3)).sum())

    @property
    def count(self) -> int:
        return len(self.gini_images)

    @property
    def covariance(self) -> np.ndarray:
        return self._moments.covariance

    @property
    def gram(self) -> np.ndarray:
        return self._gram / self.count

    @property
    def gini_channels(self) -> np.ndarray:
        """Gini index of each channel over its positions, mean over images: (C,)."""
        return self._gini_channels / self.count

    @property
    def zeros(self) -> float:
        """Share of entries that are exactly zero."""
        return self._zeros / self.count


def pseudo_inverse(covariance: np.ndarray) -> np.ndarray:
    """Moore-Penrose inverse of a covariance, as the study published it."""
    return np.linalg.pinv(covariance, hermitian=True)


def effective_rank(covariance: np.ndarray) -> float:
    """exp of the entropy of the normalised eigenvalues (Roy & Vetterli 2007)."""
    values = np.clip(np.linalg.eigvalsh(covariance), 0, None)
    share = values[values > 0] / values.sum()
    return float(np.exp(-(share * np.log(share)).sum()))
