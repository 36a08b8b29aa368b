"""What a reconstructed image must beat: images that do not depend on the original.

A blurred guess has a small squared error and a high SSIM where the original is smooth, without any of
its content. Two such guesses are measured as if a recipe had reconstructed them: the mean colour and the mean
of all training images. And a recipe wins only if its image also explains the layer, see `winner`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import numpy as np

from ..files.hdf5 import open_hdf5

COLOUR, IMAGE = "baseline: mean colour", "baseline: mean image"  # no recipe can be called so
NAMES = (COLOUR, IMAGE)
MARK = "†"  # beside a winner that does not explain the layer
EXPLAINED = 0.5  # the largest representation error of an image that explains a layer
Row = TypeVar("Row", bound=Mapping[str, Any])  # of a table: names and numbers by column


def pictures(mean: np.ndarray) -> dict[str, np.ndarray]:
    """The baselines, H x W x 3 float32 by name, of the mean H x W x 3 of the training images."""
    mean = np.asarray(mean, np.float64)
    colour = np.broadcast_to(mean.mean((0, 1)), mean.shape)
    return {COLOUR: colour.astype(np.float32), IMAGE: mean.astype(np.float32)}


def read(train: str | os.PathLike) -> dict[str, np.ndarray]:
    """The same, from the file of the training images."""
    with open_hdf5(train, "images") as file:
        return pictures(file["mean"][...])


def of_recipes(rows: Iterable[Row], column: str = "recipe") -> list[Row]:
    """The rows of a table without those of the baselines."""
    return [row for row in rows if row[column] not in NAMES]


def explains(row: Mapping[str, Any]) -> bool:
    """Whether a row's representation error leaves at least half of the layer's energy explained."""
    return float(row["representation_error"]) <= EXPLAINED


def best(rows: Iterable[Row], measure: str) -> Row:
    """The row with the largest PSNR or SSIM, or the least of any other measure."""
    chosen = max if measure in ("psnr", "ssim") else min
    return chosen(rows, key=lambda row: float(row[measure]))


def eligible(rows: Iterable[Row]) -> list[Row]:
    """The rows of a layer that may win: those of recipes that explain it, or of all recipes where none
    does; never those of baselines."""
    recipes = of_recipes(rows)
    return list(filter(explains, recipes)) or recipes


def winner(rows: Iterable[Row], measure: str) -> Row:
    """The best row by a measure among the eligible rows of a layer, means over images."""
    return best(eligible(rows), measure)
