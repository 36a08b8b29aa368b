"""What all figures share: style, words on axes, colours, differences of images, files."""

from __future__ import annotations

import os
from collections.abc import Sequence

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

from ..files.atomic import atomic
from .recipes import COLOURS

plt.rcParams.update(
    {
        "figure.dpi": 100,
        "font.size": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 10,
        "axes.grid": True,
        "grid.alpha": 0.25,
        "legend.frameon": False,
        "savefig.bbox": "tight",
    }
)

# What the words of the tables mean on an axis.
LABELS = {
    "mse": "MSE",
    "psnr": "PSNR (dB)",
    "ssim": "SSIM",
    "ssim_luminance": "SSIM: luminance",
    "ssim_contrast": "SSIM: contrast",
    "ssim_structure": "SSIM: structure",
    "representation_error": "representation error",
    "seconds": "seconds an image",
}


def number(cell: str) -> float:
    """A figure of a table; nan where the cell is empty."""
    return float(cell or "nan")


def palette(names: Sequence[str]) -> dict[str, str]:
    """A colour for each name, which colour-blind readers can tell apart; the same in every figure."""
    return {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(names)}


def signed_difference(
    truth: np.ndarray, reconstructed: np.ndarray, limit: float | None = None
) -> np.ndarray:
    """Truth minus reconstructed around grey: where the reconstructed image has too little blue, this is blue.

    Harder 2017, Sect. 4.2. A difference of `limit` or more is 1, of -limit or less 0; without a limit the
    largest magnitude in the image is the limit.
    """
    difference = truth - reconstructed
    limit = limit or np.abs(difference).max() or 1.0
    return 0.5 + 0.5 * np.clip(difference / limit, -1, 1)


def absolute_difference(truth: np.ndarray, reconstructed: np.ndarray) -> np.ndarray:
    """Magnitude of the difference, renormalised so that black is none and white the largest."""
    difference = np.abs(reconstructed - truth)
    largest = difference.max()
    return difference / largest if largest > 0 else difference


def tile(filters: np.ndarray, columns: int) -> np.ndarray:
    """Filters K x 3 x h x w as one picture, each stretched around grey by its own magnitude."""
    count, _, height, width = filters.shape
    rows = -(-count // columns)
    picture = np.ones((rows * (height + 1) - 1, columns * (width + 1) - 1, 3))
    for index, kernel in enumerate(filters):
        top, left = index // columns * (height + 1), index % columns * (width + 1)
        largest = np.abs(kernel).max() or 1.0
        square = (0.5 + 0.5 * kernel / largest).transpose(1, 2, 0)
        picture[top : top + height, left : left + width] = square
    return picture


def save_figure(figure, png: str | os.PathLike, svg: str | os.PathLike) -> None:
    """Write a matplotlib figure as PNG and SVG, the same bytes for the same picture."""
    matplotlib.rcParams["svg.hashsalt"] = "deep-restoration"  # stable ids in the SVG
    with atomic(png) as temporary:
        figure.savefig(temporary, format="png", dpi=150, metadata={"Software": None})
    with atomic(svg) as temporary:
        figure.savefig(temporary, format="svg", dpi=150, metadata={"Date": None, "Creator": None})
