"""How far from stationary feature maps are, as a number with an interval.

The covariance of a stationary field depends on the displacement of two positions alone: its matrix
is block-Toeplitz with Toeplitz blocks. The distance of a matrix M to that space, |M - T(M)|_F / |M|_F,
is 0 for such a field, but for one estimated from few images mostly noise. Two halves of the
images have independent noise, so that the products of their deviations measure what would remain
with unlimited images.

The inverse of a Toeplitz matrix is not quite Toeplitz: near the edges of a map a position has fewer
neighbours to be predicted from. A precision is therefore set beside what the most likely stationary
field would show on a map of that size, from as few images: halves do not make an inverse free of noise,
because it is not linear.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import cast

import numpy as np
from scipy.optimize import brentq

from .spatial import SpatialMoments

FORMS = ("covariance", "within", "precision")
COLUMNS = ("form", "border", "images", "distance", "distance_low", "distance_high")
COLUMNS += ("noise_free", "noise_free_low", "noise_free_high", "expected")
ITERATIONS = 100  # of expectation maximisation; 300 move a distance by 0.001 at most
LEAST = 1e-10  # of the mean variance: the smallest power of a field


def toeplitz(matrix: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The nearest (Frobenius) block-Toeplitz matrix with Toeplitz blocks.

    `matrix` is P x P over the row-major positions of a grid of `shape`. Such matrices are a linear
    space: the projection replaces each entry by the mean over all pairs of the same displacement.
    """
    kinds, counts = _displacement(shape)
    means = np.bincount(kinds, np.asarray(matrix, np.float64).ravel()) / counts
    return means[kinds].reshape(matrix.shape)


@lru_cache(maxsize=8)
def _displacement(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """For each of P x P pairs the number of its displacement, and how often each number occurs."""
    row, column = (index.ravel() for index in np.indices(shape))
    down = row[None] - row[:, None] + shape[0] - 1
    across = column[None] - column[:, None] + shape[1] - 1
    kinds = (down * (2 * shape[1] - 1) + across).ravel()
    return kinds, np.bincount(kinds)


def inner(shape: tuple[int, int], border: int) -> np.ndarray:
    """Row-major numbers of the positions at least `border` away from every edge."""
    rows, columns = (range(border, side - border) for side in shape)
    return (np.array(rows, int)[:, None] * shape[1] + np.array(columns, int)).ravel()


def distance(matrix: np.ndarray, shape: tuple[int, int], border: int = 0) -> float:
    """|M - T(M)|_F / |M|_F on the positions inside a border.

    NaN where fewer than two of them are left per side: then nothing could differ.
    """
    part, size = _inside(matrix, shape, border)
    if min(size) < 2 or not (norm := np.linalg.norm(part)) > 0:
        return float("nan")
    return float(np.linalg.norm(part - toeplitz(part, size)) / norm)


def _inside(
    matrix: np.ndarray, shape: tuple[int, int], border: int
) -> tuple[np.ndarray, tuple[int, int]]:
    """The entries of ... x P x P matrices for positions inside a border, and the shape of their grid."""
    keep = inner(shape, border)
    return matrix[..., keep[:, None], keep], (shape[0] - 2 * border, shape[1] - 2 * border)


def curve(
    moments: SpatialMoments,
    borders: Sequence[int] = (0, 1),
    *,
    forms: Sequence[str] = FORMS,
    replicates: int = 40,
    seed: int = 0,
    level: float = 0.95,
) -> list[dict]:
    """Distance from stationary against the number of images: rows of COLUMNS.

    Three matrices. `covariance`: each channel of each image a sample (the study's form). `within`: mean over
    channels of each channel's own covariance, without what the channels' different levels add, which is the
    same for all pairs of positions and so makes the distance smaller. `precision`: inverse of the first,
    shrunk after Ledoit and Wolf.

    Blocks of images are drawn: 2, 4, 8 ... and all of them. `distance` is the root mean square over
    `replicates` draws without replacement. `noise_free` is sqrt(<D_a, D_b> / <M_a, M_b>), D = M - T(M), of
    two halves a and b of the blocks drawn, mean over draws: independent noise cancels, and a stationary field
    gives 0 within its interval (a negative mean counts as 0). Intervals come from the bootstrap over blocks,
    for `noise_free` within each half, moved so that its mean falls on the estimate, because resampling adds
    noise of its own: where noise is most of a distance, they are wider than necessary. `expected` is what
    `noise_free` would be for the most likely stationary field, shrunk alike and estimated from as few
    samples. NaN where there are fewer than two positions per side. Raises ValueError for an unknown form.
    """
    rng, blocks = np.random.default_rng(seed), len(moments.images)
    sizes = sorted({min(2**k, blocks) for k in range(1, blocks.bit_length() + 1)})
    draws = {size: [_draw(rng, blocks, size) for _ in range(replicates)] for size in sizes}
    rows = []
    if unknown := set(forms) - set(FORMS):
        raise ValueError(f"no such forms: {', '.join(sorted(unknown))}; known: {', '.join(FORMS)}")
    for form in forms:
        found = _precision if form == "precision" else _linear
        expected = _expected(moments, draws) if form == "precision" else {}
        for border, by_size in found(moments, form, borders, draws).items():
            for size, measured in by_size.items():
                images = round(size * moments.images.sum() / blocks)
                row = {"form": form, "border": border, "images": images}
                row |= _interval(np.array(measured), level)
                field = expected.get(size)
                row["expected"] = 0.0 if field is None else distance(field, moments.shape, border)
                rows.append(row)
    return rows


def most_likely(
    covariance: np.ndarray, shape: tuple[int, int], iterations: int = ITERATIONS
) -> np.ndarray:
    """The block-Toeplitz covariance that makes Gaussian samples of this `covariance`, P x P, most likely.

    The nearest one has small eigenvalues of noise, negative ones too, which an inverse enlarges; this one is
    positive, and its inverse far less noisy. The field is a window of one on a torus of twice the
    height and width, whose spectrum is all that is unknown: expectation maximisation (Miller & Snyder 1987;
    Dembo, Mallows & Shepp 1989) from the periodogram, every step more likely than the one before.
    """
    height, width = 2 * shape[0], 2 * shape[1]
    row, column = (index.ravel() for index in np.indices(shape))
    down, across = (
        (index[:, None] - index) % side for index, side in ((row, height), (column, width))
    )
    kinds = (down * width + across).ravel()

    def spectrum(matrix: np.ndarray) -> np.ndarray:
        sums = np.bincount(kinds, matrix.ravel(), height * width)
        return np.fft.fft2(sums.reshape(height, width)).real

    least = LEAST * np.trace(covariance) / len(covariance)
    if not least > 0:  # constant maps
        return np.zeros_like(covariance)
    power = np.maximum(spectrum(covariance) / len(covariance), least)
    for _ in range(iterations):
        inverse = np.linalg.inv(np.fft.ifft2(power).real[down, across])
        slope = spectrum(inverse @ covariance @ inverse - inverse) / (height * width)
        power = np.maximum(power + power**2 * slope, least)
    return np.fft.ifft2(power).real[down, across]


def stationary_precision(field: np.ndarray, share: float, samples: float = math.inf) -> np.ndarray:
    """Inverse of a stationary covariance, shrunk by `share` as that of maps is (Ledoit & Wolf 2004).

    With `samples`, what inverses tend to on average over shrunk covariances of that many samples of the
    field T: that of (1 - share) / (1 + delta) T + share * level * I, which is more shrunk than any of them,
    see `_attenuation`.
    """
    values, vectors = np.linalg.eigh(field)
    if not values[-1] > 0:  # constant maps
        return np.zeros_like(field)
    own, added = (1 - share) * np.maximum(values, 0), share * np.trace(field) / len(field)
    values = _attenuation(own, added, samples) * own + added
    return (vectors / np.maximum(values, np.finfo(np.float64).eps * values[-1])) @ vectors.T


def _attenuation(own: np.ndarray, added: float, samples: float) -> float:
    """1 / (1 + delta), where delta = tr(A Q) / n, Q = (A / (1 + delta) + z I)^-1.

    Q is what (S + z I)^-1 is on average for the covariance S of n samples of covariance A, `own` its
    eigenvalues, z what is `added` (the deterministic equivalent of Marchenko and Pastur 1967,
    Silverstein and Bai 1995). 1 without anything added: then all eigenvalues change alike.
    """
    if not added > 0 or math.isinf(samples):
        return 1.0

    def excess(delta: float) -> float:
        return delta - float((own / (own / (1 + delta) + added)).sum()) / samples

    most = float(own.sum()) / (added * samples)
    return 1 / (1 + cast(float, brentq(excess, 0, most))) if most > 0 else 1.0


def _samples_an_image(moments: SpatialMoments) -> float:
    """How many independent Gaussian samples an image is worth: fewer than it has channels, if these are
    alike. From how much the covariances of blocks differ, within channels, whose levels are no noise: that
    of n samples is sqrt((tr^2 + norm^2) / n) away from the true one."""
    total, blocks = moments.sum(), len(moments.images)
    channels = moments.maps.shape[1]
    if blocks < 2:
        return channels
    counts = moments.images[:, None, None] * channels
    sums = _centred(moments, total.maps[0] / total.images[0])
    mean = sums.sum(0) / counts.sum()
    noise = (counts * np.square(sums / counts - mean)).sum() / (blocks - 1)
    if not noise > 0:
        return channels
    return channels * float((np.trace(mean) ** 2 + np.square(mean).sum()) / noise)


def _expected(moments: SpatialMoments, draws: dict[int, list[np.ndarray]]) -> dict[int, np.ndarray]:
    """The precision that `noise_free` is the distance of for a stationary field, by size of draws: that of
    the most likely field, shrunk as much as the halves of the draws are, by `share` and by their few
    samples."""
    field, worth = most_likely(moments.sum().covariance, moments.shape), _samples_an_image(moments)
    found = {}
    for size, drawn in draws.items():
        halves = [half for weights in drawn for half in weights[2:4] if half.any()]
        share = float(np.mean([moments.sum(half).shrinkage for half in halves]))
        images = float(np.mean([half @ moments.images for half in halves]))
        found[size] = stationary_precision(field, share, worth * images)
    return found


def _draw(rng: np.random.Generator, blocks: int, size: int) -> np.ndarray:
    """How often each block counts (6 x blocks) in a draw, in one with replacement, in the two halves of
    the first, and in these resampled."""
    chosen, again = rng.permutation(blocks)[:size], rng.choice(blocks, size)
    halves = [chosen[: size // 2], chosen[size // 2 :]]
    halves += [rng.choice(half, len(half)) if len(half) else half for half in halves]
    parts = (chosen, again, *halves)
    return np.array([np.bincount(part, minlength=blocks) for part in parts], np.float64)


def _linear(moments: SpatialMoments, form: str, borders: Sequence[int], draws: dict) -> dict:
    """Measures of draws for a matrix that is a weighted mean of its blocks'.

    It is so around the mean of all images. Then the inner products of the blocks are all that is needed.
    """
    total = moments.sum()
    mean_maps = total.maps[0] / total.images[0]
    sums = _centred(moments, mean_maps if form == "within" else None)
    result: dict[int, dict] = {}
    for border in borders:
        part, size = _inside(sums, moments.shape, border)
        flat = part.reshape(len(part), -1)
        norms = flat @ flat.T
        means = np.array([_means(block, size) for block in part]) if min(size) > 1 else norms
        deviations = norms - means @ means.T
        result[border] = {
            count: [_measure(deviations, norms, weights) for weights in drawn]
            if min(size) > 1
            else [[np.nan] * 4]
            for count, drawn in draws.items()
        }
    return result


def _centred(moments: SpatialMoments, levels: np.ndarray | None = None) -> np.ndarray:
    """Sums of products K x P x P around `levels`, C x P, or by default around the mean of all samples."""
    if levels is None:
        levels = np.tile(moments.sum().mean, (moments.maps.shape[1], 1))
    means = np.array([block.T @ levels for block in moments.maps])
    around = moments.images[:, None, None] * (levels.T @ levels)
    return moments.products - means - means.transpose(0, 2, 1) + around


def _measure(deviations: np.ndarray, norms: np.ndarray, weights: np.ndarray) -> list[float]:
    """Distance of a draw and of its resampling, squared noise-free distance of both."""
    plain = [_ratio(w @ deviations @ w, w @ norms @ w) ** 0.5 for w in weights[:2]]
    crossed = [
        _ratio(weights[a] @ deviations @ weights[a + 1], weights[a] @ norms @ weights[a + 1])
        for a in (2, 4)
    ]
    return [*plain, *crossed]


def _ratio(deviation: float, norm: float) -> float:
    """deviation / norm, rounding left out."""
    if not norm > 0:
        return np.nan
    ratio = deviation / norm
    return ratio if abs(ratio) > 1e-13 else 0.0


def _precision(moments: SpatialMoments, form: str, borders: Sequence[int], draws: dict) -> dict:
    """Measures of draws for the inverse of the shrunk covariance.

    A resampled draw is shrunk as much as the draw it comes from: repeated samples would pass for more.
    """
    result: dict[int, dict] = {border: {} for border in borders}

    def inverse(total: SpatialMoments, share: float) -> np.ndarray:
        if not total.count:  # a half of one block
            return np.zeros_like(moments.products[0])
        return total.precision(share)

    everything: np.ndarray | None = None
    for count, drawn in draws.items():
        for border in borders:
            result[border][count] = []
        for weights in drawn:
            totals = [moments.sum(part) for part in weights]
            plain = [totals[i].shrinkage if totals[i].count else 0.0 for i in (0, 2, 3)]
            shares = [plain[i] for i in (0, 0, 1, 2, 1, 2)]
            if everything is None or count < len(moments.images):
                whole = inverse(totals[0], shares[0])
            else:  # every draw of all blocks is the same
                whole = everything
            if count == len(moments.images):
                everything = whole
            rest = zip(totals[1:], shares[1:], strict=True)
            matrices = np.array([whole, *(inverse(total, share) for total, share in rest)])
            for border in borders:
                part, size = _inside(matrices, moments.shape, border)
                if min(size) < 2:
                    result[border][count].append([np.nan] * 4)
                    continue
                flat = part.reshape(6, -1)
                means = np.array([_means(matrix, size) for matrix in part])
                norms = flat @ flat.T
                measured = _measure(norms - means @ means.T, norms, np.eye(6))
                result[border][count].append(measured)
    return result


def _means(matrix: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Mean over the pairs of each displacement, times the root of their number: the Toeplitz projection
    in an orthonormal basis."""
    kinds, counts = _displacement(shape)
    return np.bincount(kinds, matrix.ravel()) / np.sqrt(counts)


def _interval(found: np.ndarray, level: float) -> dict[str, float]:
    """The figures of a row from replicates x (distance, resampled, squared noise-free, resampled)."""
    result = {}
    tails = (1 - level) / 2, (1 + level) / 2
    for name, plain, again in (
        ("distance", found[:, 0] ** 2, found[:, 1] ** 2),
        ("noise_free", found[:, 2], found[:, 3]),
    ):
        middle = plain.mean()
        low, high = middle + np.quantile(again - again.mean(), tails)
        values = [float(np.sqrt(max(v, 0.0))) if v == v else np.nan for v in (middle, low, high)]
        result |= dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))
    return result
