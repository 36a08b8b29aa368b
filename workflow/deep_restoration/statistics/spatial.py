"""Moments of maps over their positions: covariance, shrinkage, precision."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class SpatialMoments:
    """Sums over blocks of images (first axis): what the covariance over P positions follows from."""

    shape: tuple[int, int]
    images: np.ndarray  # (K,)
    maps: np.ndarray  # (K, C, P)
    products: np.ndarray  # (K, P, P)
    cubic: np.ndarray  # (K, P)
    quartic: np.ndarray  # (K,)

    def sum(self, weights: np.ndarray | None = None) -> SpatialMoments:
        """One block: the sum of all, each taken `weights` times."""
        weights = np.ones(len(self.images)) if weights is None else np.asarray(weights, float)
        arrays = (self.images, self.maps, self.products, self.cubic, self.quartic)
        return SpatialMoments(
            self.shape, *(np.tensordot(weights, value, 1)[None] for value in arrays)
        )

    @property
    def count(self) -> float:
        """Number of samples: images times channels."""
        return float(self.images.sum() * self.maps.shape[1])

    @property
    def mean(self) -> np.ndarray:
        return self.maps.sum((0, 1)) / self.count

    @property
    def covariance(self) -> np.ndarray:
        """Each channel of each image a sample."""
        return self.products.sum(0) / self.count - np.outer(self.mean, self.mean)

    @property
    def shrinkage(self) -> float:
        """Ledoit and Wolf's (2004, lemma 3.2-3.4) share of the scaled identity, samples taken as
        independent: min(1, beta / delta) with delta = |S - mu I|^2 and beta = mean |x x' - S|^2 / n."""
        count, mean, cov = self.count, self.mean, self.covariance
        products, cubic = self.products.sum(0), self.cubic.sum(0)
        square = mean @ mean
        quartic = (  # sum of |x - mean|^4
            self.quartic.sum()
            - 4 * cubic @ mean
            + 4 * mean @ products @ mean
            + 2 * square * np.trace(products)
            - 4 * square * count * square
            + count * square**2
        )
        norm = np.square(cov).sum()
        delta = norm - np.trace(cov) ** 2 / len(cov)
        beta = (quartic / count - norm) / count
        return float(np.clip(beta / delta, 0, 1)) if delta > 1e-12 * norm else 0.0

    def shrunk(self, share: float | None = None) -> np.ndarray:
        """The covariance shrunk towards the identity of the same trace (Ledoit & Wolf 2004)."""
        covariance = self.covariance
        share = self.shrinkage if share is None else share
        scale = np.trace(covariance) / len(covariance)
        return (1 - share) * covariance + share * scale * np.eye(len(covariance))

    def precision(self, share: float | None = None) -> np.ndarray:
        """Inverse of the shrunk covariance; the pseudo-inverse where even that is singular."""
        shrunk = self.shrunk(share)
        if math.isinf(condition_number(shrunk)):
            return pseudo_inverse(shrunk)
        return np.linalg.inv(shrunk)


def pseudo_inverse(covariance: np.ndarray) -> np.ndarray:
    """Moore-Penrose inverse of a covariance, as the study published it."""
    return np.linalg.pinv(covariance, hermitian=True)


def effective_rank(covariance: np.ndarray) -> float:
    """exp of the entropy of the normalised eigenvalues (Roy & Vetterli 2007)."""
    values = np.clip(np.linalg.eigvalsh(covariance), 0, None)
    if values.sum() == 0:
        return 0.0
    share = values[values > 0] / values.sum()
    return float(np.exp(-(share * np.log(share)).sum()))


def condition_number(covariance: np.ndarray) -> float:
    """Largest over smallest eigenvalue; infinite where rounding is all that is left of the smallest."""
    values = np.linalg.eigvalsh(covariance)
    floor = len(values) * np.finfo(np.float64).eps * values[-1]
    return float(values[-1] / values[0]) if values[0] > floor else math.inf
