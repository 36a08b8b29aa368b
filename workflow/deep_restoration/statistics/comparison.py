"""How far the statistics of one set of feature maps are from those of another."""

from __future__ import annotations

import math

import numpy as np

from .streaming import CHANNEL_MEASURES, IMAGE_MEASURES, FeatureStatistics


def style_distance(first: np.ndarray, second: np.ndarray) -> float:
    """Gatys et al. 2015, eq. (4), of Gram matrices F F' / (H W): sum of squares / (4 C^2)."""
    return float(np.square(np.asarray(first) - second).sum() / (4 * len(first) ** 2))


COMPARISON = ("measure", "reference", "other", "distance")
DISTANCES = ("mean", "covariance", "precision", "channel_covariance", "autocovariance", "gram")
DISTANCES += ("gram_centred", "frechet", "style")


def compare(reference: FeatureStatistics, other: FeatureStatistics) -> list[dict]:
    """Rows of measure, reference, other, distance: how far one set of maps is from another.

    For matrices the distance is |A - B|_F / |A|_F. `frechet` is the squared Frechet distance of the
    Gaussians with the channels' means and covariances (Heusel et al. 2017), divided by the
    reference's variance; `style` the distance of the mean Gram matrices divided by the mean
    one of two images of the reference. For figures it is the difference.
    """
    if reference.kind != other.kind:
        raise ValueError(f"maps cannot be compared: {reference.kind} and {other.kind}")
    pairs = {
        "mean": (reference.channel_means, other.channel_means),
        "covariance": (reference.covariance, other.covariance),
        "precision": tuple(s.spatial_moments().sum().precision() for s in (reference, other)),
        "channel_covariance": (reference.channel_covariance, other.channel_covariance),
        "autocovariance": tuple(np.nan_to_num(s.autocovariance) for s in (reference, other)),
        "gram": (reference.gram, other.gram),
        "gram_centred": (reference.gram_centred, other.gram_centred),
    }
    found: dict[str, tuple[float, float, float]] = {}
    for name, (a, b) in pairs.items():
        sizes = float(np.linalg.norm(a)), float(np.linalg.norm(b))
        found[name] = (*sizes, _ratio(float(np.linalg.norm(a - b)), sizes[0]))
    trace, other_trace = (float(np.trace(s.channel_covariance)) for s in (reference, other))
    found["frechet"] = (trace, other_trace, _ratio(frechet(reference, other), trace))
    spread, other_spread = reference.style_spread[0], other.style_spread[0]
    found["style"] = (
        spread,
        other_spread,
        _ratio(style_distance(reference.gram, other.gram), spread),
    )
    ours, theirs = reference.summary(), other.summary()
    for name in [f"{m}_image" for m in IMAGE_MEASURES] + [f"{m}_channel" for m in CHANNEL_MEASURES]:
        found[name] = ours[name], theirs[name], theirs[name] - ours[name]
    return [dict(zip(COMPARISON, (name, *values), strict=True)) for name, values in found.items()]


def _ratio(value: float, scale: float) -> float:
    return value / scale if scale > 0 else math.nan


def frechet(first: FeatureStatistics, second: FeatureStatistics) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of the channels."""
    one, two = first.channel_covariance, second.channel_covariance
    values, vectors = np.linalg.eigh(one)
    root = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    between = np.sqrt(np.clip(np.linalg.eigvalsh(root @ two @ root), 0, None)).sum()
    shift = first.channel_means - second.channel_means
    return float(max(shift @ shift + np.trace(one) + np.trace(two) - 2 * between, 0.0))
