"""Image metrics on N x H x W x 3 arrays in [0, 1]: MSE, PSNR, SSIM and its parts; representation error."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

SIGMA, TRUNCATE, RADIUS = 1.5, 3.5, 5  # Wang et al. 2004: 11 x 11 Gaussian window
C1, C2 = 0.01**2, 0.03**2
C3 = C2 / 2


def mse(truth: np.ndarray, reconstructed: np.ndarray) -> np.ndarray:
    """Mean squared error per image, (N,)."""
    difference = np.asarray(truth, np.float64) - np.asarray(reconstructed, np.float64)
    return np.square(difference).mean(axis=(1, 2, 3))


def psnr(truth: np.ndarray, reconstructed: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio in dB per image, (N,), for a peak of 1; infinite for equal images."""
    with np.errstate(divide="ignore"):
        return -10 * np.log10(mse(truth, reconstructed))


def ssim(truth: np.ndarray, reconstructed: np.ndarray) -> np.ndarray:
    """SSIM per image, (N,): scikit-image with the published Gaussian window and constants.

    Wang, Bovik, Sheikh & Simoncelli 2004; mean over positions and colour channels. Images must have at
    least 11 pixels per side.
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
            for a, b in zip(truth, reconstructed, strict=True)
        ]
    )


def ssim_parts(truth: np.ndarray, reconstructed: np.ndarray) -> np.ndarray:
    """Luminance, contrast and structure of SSIM per image, (N, 3), each a mean over positions.

    Wang et al. 2004, eqs. (6), (9), (10). At each position their product is the SSIM there; the
    product of the means is not the mean SSIM.
    """

    def blur(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, (0, SIGMA, SIGMA, 0), truncate=TRUNCATE)

    x, y = np.asarray(truth, np.float64), np.asarray(reconstructed, np.float64)
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


def representation_error(maps, target):
    """|Phi(x) - Phi_0|^2 / |Phi_0|^2 per image, (N,), in float64, of tensors of maps N x ...

    The data term of Mahendran & Vedaldi 2015, eq. (3).
    """
    difference = (maps.double() - target.double()).flatten(1).square().sum(1)
    return difference / target.double().flatten(1).square().sum(1)
