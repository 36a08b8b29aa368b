"""Image metrics on N x H x W x 3 arrays in [0, 1]: MSE, PSNR, SSIM and its parts; intervals."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

SIGMA, TRUNCATE, RADIUS = 1.5, 3.5, 5  # Wang et al. 2004: 11 x 11 Gaussian window
C1, C2 = 0.01**2, 0.03**2
C3 = C2 / 2


def mse(truth: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """Mean squared error per image, (N,)."""
    difference = np.asarray(truth, np.float64) - np.asarray(restored, np.float64)
    return np.square(difference).mean(axis=(1, 2, 3))


def psnr(truth: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio in dB per image, (N,), for a peak of 1; infinite for equal images."""
    with np.errstate(divide="ignore"):
        return -10 * np.log10(mse(truth, restored))


def ssim(truth: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """SSIM per image, (N,): scikit-image with the published Gaussian window and constants.

    Wang, Bovik, Sheikh & Simoncelli 2004; mean over positions and colour channels. Images must have 11
    pixels a side or more.
    """
    return np.array(
        [
            structural_similarity(
                np.asarray(a, np.float64),
                np.asarray(b, np.float64),
                data_range=1.0,
                channel_axis=-1,
                gaussian_weights=True,
                sigma=SIGMA,
                use_sample_covariance=False,
            )
            for a, b in zip(truth, restored, strict=True)
        ]
    )


def ssim_parts(truth: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """Luminance, contrast and structure of SSIM per image, (N, 3), each a mean over positions.

    Wang et al. 2004, eqs. (6), (9), (10). At each position their product is the SSIM there; the
    product of the means is not the mean SSIM.
    """

    def blur(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, (0, SIGMA, SIGMA, 0), truncate=TRUNCATE)

    x, y = np.asarray(truth, np.float64), np.asarray(restored, np.float64)
    mean_x, mean_y = blur(x), blur(y)
    variance_x = np.maximum(blur(x * x) - mean_x**2, 0)
    variance_y = np.maximum(blur(y * y) - mean_y**2, 0)
    spread = np.sqrt(variance_x * variance_y)
    covariance = blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    contrast = (2 * spread + C2) / (variance_x + variance_y + C2)
    structure = (covariance + C3) / (spread + C3)
    inner = slice(RADIUS, -RADIUS)  # where the whole window lies on the image, as scikit-image does
    parts = [
        part[:, inner, inner].mean(axis=(1, 2, 3)) for part in (luminance, contrast, structure)
    ]
    return np.stack(parts, axis=1)


def bootstrap_interval(
    values: np.ndarray, seed: int, resamples: int = 2000, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over images; (nan, nan) for fewer than two."""
    values = np.asarray(values, np.float64)
    if len(values) < 2:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    means = values[rng.integers(len(values), size=(resamples, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


MEASURES = (
    "mse",
    "psnr",
    "ssim",
    "ssim_luminance",
    "ssim_contrast",
    "ssim_structure",
    "representation_error",
    "seconds",
)
COLUMNS = ("classifier", "layer", "recipe", "image", *MEASURES)


def summarise(rows: list[dict], seed: int) -> tuple[list[str], list[list]]:
    """Mean and 95 % bootstrap interval of every measure per classifier, layer and recipe.

    `rows` are those of the table of images, in its order; returns the columns and the summary's rows.
    """
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        groups.setdefault((row["classifier"], row["layer"], row["recipe"]), []).append(row)
    columns = ["classifier", "layer", "recipe", "images"]
    columns += [f"{measure}{part}" for measure in MEASURES for part in ("", "_low", "_high")]
    summary = []
    for key, group in groups.items():
        line: list = [*key, len(group)]
        for measure in MEASURES:
            values = np.array([float(row[measure]) for row in group])
            line += [float(values.mean()), *bootstrap_interval(values, seed)]
        summary.append(line)
    return columns, summary
