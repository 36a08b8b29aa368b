"""Mean and covariance of vectors in one streaming pass."""

from __future__ import annotations

import numpy as np


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

    @property
    def spectrum(self) -> np.ndarray:
        """The eigenvalues of the covariance, the largest first; those that rounding makes negative are 0."""
        return np.maximum(np.linalg.eigvalsh(self.covariance)[::-1], 0)
