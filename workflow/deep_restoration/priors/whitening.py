"""Whitening of patches, and the projection of a patch onto what a prior models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data.patches import dc_matrix

VARIANTS = ("full", "channelwise", "groups", "separable")


def whitening_matrix(
    covariance: np.ndarray, dimensions: int | None = None, floor: float = 1e-6, kind: str = "pca"
) -> np.ndarray:
    """The map W, d x D, of centred vectors to uncorrelated ones of unit variance.

    `pca`: onto the leading `dimensions` eigenvectors, or all D. Rows whose eigenvalue is below `floor`
    times the largest are zero. `zca`: D x D, back in the axes of the data; smaller eigenvalues are
    raised to the floor, except those that are zero but for rounding. Raises ValueError for any other
    kind.
    """
    if kind not in ("pca", "zca"):
        raise ValueError(f"whitening is {kind!r}; allowed: pca, zca")
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = np.maximum(values[::-1], 0), vectors[:, ::-1].T
    least = floor * values[0]
    if kind == "zca":
        there = values > 1e-12 * values[0]
        return (vectors.T * (there / np.sqrt(np.maximum(values, least) + ~there))) @ vectors
    signs = np.sign(vectors[np.arange(len(vectors)), np.abs(vectors).argmax(axis=1)])
    kept = values > least
    scale = np.where(kept, signs / np.sqrt(np.where(kept, values, 1)), 0)
    return (scale[:, None] * vectors)[:dimensions]


def rank(eigenvalues: np.ndarray, floor: float = 1e-6) -> int:
    """Number of eigenvalues above `floor` times the largest."""
    return int((eigenvalues > floor * eigenvalues.max()).sum())


@dataclass(frozen=True)
class Projection:
    """From DC-free patches to the whitened data of independent models, one per group of channels.

    `matrix` is G x d x D, `centre` G x D with D values of a group's patch. A separable projection first
    takes each channel's leading principal components, `depthwise` C x m x k*k; its one group has
    D = C*m values.
    """

    shape: tuple[int, int, int]
    matrix: np.ndarray
    centre: np.ndarray
    dc: str
    depthwise: np.ndarray | None = None

    @classmethod
    def fit(
        cls,
        shape: tuple[int, int, int],
        mean: np.ndarray,
        covariance: np.ndarray,
        dc: str,
        *,
        variant: str = "full",
        groups: int = 1,
        multiplier: int = 4,
        dimensions: int | None = None,
        floor: float = 1e-6,
        whitening: str = "pca",
        noise: float = 0.0,
    ) -> Projection:
        """For patches of `shape` C x k x k with this mean (C*k*k) and covariance, after the DC was removed.

        Groups hold neighbouring channels. White noise of standard deviation `noise` is counted in.
        Raises ValueError for groups that do not divide the channels, and for an unknown variant.
        """
        channels, area = shape[0], shape[1] * shape[2]
        if variant not in VARIANTS:
            raise ValueError(f"variant is {variant!r}; allowed: {', '.join(VARIANTS)}")
        groups = {"channelwise": channels, "groups": groups}.get(variant, 1)
        if channels % groups:
            raise ValueError(f"{groups} groups do not divide {channels} channels")
        if dc == "patch" and (groups > 1 or variant == "separable"):
            raise ValueError(f"dc patch couples the channels, which {variant} models apart")
        if noise:
            free = dc_matrix(shape, dc)
            covariance = covariance + noise**2 * (free @ free.T)
        options = {"dimensions": dimensions, "floor": floor, "kind": whitening}
        if variant == "separable":
            blocks = _blocks(covariance, channels)
            least = floor * np.trace(covariance) / len(covariance)
            depthwise = np.linalg.eigh(blocks + least * np.eye(area))[1][:, :, ::-1]
            depthwise = depthwise[:, :, :multiplier].transpose(0, 2, 1)  # C x m x k*k
            spread = _spread(depthwise)
            matrix = whitening_matrix(spread @ covariance @ spread.T, **options)
            return cls(shape, _reached(matrix[None]), (spread @ mean)[None], dc, depthwise)
        matrix = np.stack([whitening_matrix(b, **options) for b in _blocks(covariance, groups)])
        return cls(shape, _reached(matrix), mean.reshape(groups, -1), dc)

    @property
    def groups(self) -> int:
        return len(self.matrix)

    def span(self) -> np.ndarray | None:
        """G x d x d, the projection onto the whitened values that patches can have; None for all."""
        found = self.matrix @ np.linalg.pinv(self.matrix)
        everything = np.eye(found.shape[1])
        return None if np.allclose(found, everything, atol=1e-6) else found

    def linear(self) -> np.ndarray:
        """G x d x D' from a group's patch, its DC still there, to whitened values (without the centre)."""
        if self.depthwise is not None:
            return (self.matrix[0] @ _spread(self.depthwise) @ dc_matrix(self.shape, self.dc))[None]
        part = (self.shape[0] // self.groups, *self.shape[1:])
        return self.matrix @ dc_matrix(part, self.dc)

    def apply(self, flat: np.ndarray) -> np.ndarray:
        """Whitened values G x n x d of n DC-free flat patches."""
        if self.depthwise is not None:
            channels = self.shape[0]
            parts = flat.reshape(len(flat), channels, -1)
            parts = np.einsum("ncp,cmp->ncm", parts, self.depthwise.astype(flat.dtype))
            flat = parts.reshape(len(flat), -1)
        parts = flat.reshape(len(flat), self.groups, -1) - self.centre.astype(flat.dtype)
        return parts.transpose(1, 0, 2) @ self.matrix.astype(flat.dtype).transpose(0, 2, 1)

    def fold(self, filters: np.ndarray) -> dict[str, Any]:
        """What a field of experts needs of filters G x K x d on whitened values: `filters`, `bias`,
        `groups`, `depthwise`, `patterns`, those of all groups one after the other."""
        count, (channels, height, width) = filters.shape[1], self.shape
        rows = filters @ self.matrix  # G x K x D
        bias = -np.einsum("gkd,gd->gk", rows, self.centre).reshape(-1)
        patterns = filters @ np.linalg.pinv(self.matrix).transpose(0, 2, 1)
        part = (self.groups * count, channels // self.groups, height, width)
        if self.depthwise is not None:
            free = dc_matrix(
                (1, height, width), self.dc
            )  # of one channel: `patch` is not separable
            return {
                "filters": rows[0][:, :, None, None],
                "bias": bias,
                "groups": channels,
                "depthwise": (self.depthwise @ free).reshape(-1, 1, height, width),
                "patterns": (patterns[0] @ _spread(self.depthwise)).reshape(part),
            }
        free = dc_matrix((channels // self.groups, height, width), self.dc)
        return {
            "filters": (rows @ free).reshape(part),
            "bias": bias,
            "groups": self.groups,
            "depthwise": None,
            "patterns": patterns.reshape(part),
        }


def _blocks(matrix: np.ndarray, count: int) -> np.ndarray:
    """The `count` square blocks on the diagonal."""
    side = len(matrix) // count
    return np.stack([matrix[i : i + side, i : i + side] for i in range(0, len(matrix), side)])


def _reached(matrix: np.ndarray) -> np.ndarray:
    """Without the rows that are zero in every group, all but one."""
    return matrix[:, : max(1, int((matrix != 0).any(-1).sum(-1).max()))]


def _spread(depthwise: np.ndarray) -> np.ndarray:
    """C x m x p as a block-diagonal matrix, C*m x C*p."""
    channels, multiplier, area = depthwise.shape
    result = np.zeros((channels, multiplier, channels, area))
    result[np.arange(channels), :, np.arange(channels)] = depthwise
    return result.reshape(channels * multiplier, channels * area)
