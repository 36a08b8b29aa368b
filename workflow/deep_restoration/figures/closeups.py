"""Originals, the best of each family, and what they get wrong, close enough to see the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..evaluation import baselines
from ..evaluation.time_to_quality import HAND_CRAFTED
from .galleries import _busiest
from .recipes import heading
from .style import plt, signed_difference

ROWS = ("whole", "detail", "error")


def choose(
    rows: Sequence[dict[str, str]], families: dict[str, str], wanted: Sequence[str] | None = None
) -> list[str]:
    """The recipes to show: those `wanted`, or the best learned and the best hand-crafted one.

    `rows` are the rows of a layer's table of images; best is the least mean squared error over all of them
    among recipes that explain the layer (`baselines.winner`). Anything learned is in the learned family,
    inverse networks too; a family without recipes has no best.
    """
    if wanted:
        return list(wanted)
    recipes = dict.fromkeys(row["recipe"] for row in baselines.of_recipes(rows))
    means: list[dict[str, Any]] = [{"recipe": recipe} | _means(rows, recipe) for recipe in recipes]
    chosen = []
    for hand_crafted in (False, True):
        family = [row for row in means if (families[row["recipe"]] == HAND_CRAFTED) == hand_crafted]
        if family:
            chosen.append(baselines.winner(family, "mse")["recipe"])
    return chosen


def _means(rows: Sequence[dict[str, str]], recipe: str) -> dict[str, float]:
    """Means of a recipe over all test images."""
    mine = [row for row in rows if row["recipe"] == recipe]
    measures = ("mse", "psnr", "ssim", "representation_error")
    return {key: float(np.mean([float(row[key]) for row in mine])) for key in measures}


def headings(
    rows: Sequence[dict[str, str]], families: dict[str, str], recipes: Sequence[str]
) -> dict[str, str]:
    """What stands over a recipe's column: its name, family, mean SSIM, PSNR and representation error of all
    test images, the last one marked where it explains less than half of the layer."""
    result = {}
    for recipe in recipes:
        mean = _means(rows, recipe)
        lines = [
            heading(recipe, 20),
            families[recipe],
            f"SSIM {mean['ssim']:.3f}, {mean['psnr']:.1f} dB",
        ]
        mark = "" if baselines.explains(mean) else f" {baselines.MARK}"
        lines.append(f"error of maps {mean['representation_error']:.2g}{mark}")
        result[recipe] = "\n".join(lines)
    return result


def scores(rows: Sequence[dict[str, str]], recipes: Sequence[str]) -> dict[str, list[float]]:
    """The SSIM of every image by recipe, of the rows of a layer's table of images."""
    return {
        recipe: [float(row["ssim"]) for row in rows if row["recipe"] == recipe]
        for recipe in recipes
    }


def details(
    truth: np.ndarray,
    reconstructed: dict[str, np.ndarray],
    labels: dict[str, str],
    scores: dict[str, np.ndarray],
    side: int,
    title: str,
    across: int = 2,
) -> Figure:
    """Every image (n x H x W x 3) whole, in detail, and its signed error, one column per recipe.

    `labels` stand over the columns, `scores` (of each image) below the whole ones. The detail is the square
    of `side` pixels with the most contrast in the original, its pixels enlarged and not smoothed. Errors
    are original minus reconstructed and share one scale over the whole figure: grey is none, and what is
    beyond the 99.5 % quantile of their magnitude is white or black. `across` images stand side by side.
    """
    images = {"original": truth, **reconstructed}
    count, columns = len(truth), len(images)
    side = min(side, *truth.shape[1:3])
    across = min(across, count)
    bands = -(-count // across)
    limit = error_limit(truth, list(reconstructed.values()))
    figure = plt.figure(
        figsize=(1.75 * columns * across + 0.4 * across, 5.4 * bands + 1.0), layout="constrained"
    )
    grid = figure.subfigures(bands, across, squeeze=False)
    for index in range(count):
        part = grid[index // across, index % across]
        axes = part.subplots(len(ROWS), columns, squeeze=False)
        top, left = _busiest(truth[index], side)
        window = (slice(top, top + side), slice(left, left + side))
        for column, (name, pictures) in enumerate(images.items()):
            picture = pictures[index]
            error = signed_difference(truth[index], picture, limit)
            shown = (picture, picture[window], None if name == "original" else error)
            for axis, values, row in zip(axes[:, column], shown, ROWS, strict=True):
                axis.set(xticks=[], yticks=[])
                axis.spines[:].set_visible(False)
                if values is not None:
                    axis.imshow(values, interpolation="nearest", vmin=0, vmax=1)
                if column == 0 and index % across == 0:
                    axis.set_ylabel(f"{row}, {side} x {side}" if row == "detail" else row)
            for colour, width in (("black", 2.2), ("white", 1.0)):
                corner = (left - 0.5, top - 0.5)
                box = Rectangle(corner, side, side, fill=False, ec=colour, lw=width)
                axes[0, column].add_patch(box)
            axes[0, column].set_title(labels.get(name, name), fontsize=8.5)
            if name in scores:
                axes[0, column].set_xlabel(
                    f"SSIM {scores[name][index]:.3f}", fontsize=8, labelpad=2
                )
        _scale(axes[2, 0], limit)
    figure.suptitle(title, fontsize=11)
    return figure


def error_limit(truth: np.ndarray, reconstructed: Sequence[np.ndarray]) -> float:
    """The magnitude of error that is shown white or black: its 99.5 % quantile over all pixels."""
    size = np.concatenate([np.abs(images - truth).ravel() for images in reconstructed])
    return float(np.quantile(size, 0.995)) or 1.0


def _scale(axis, limit: float) -> None:
    """The shades of the errors and their values, where the original has none."""
    ramp = np.linspace(1, 0, 100)[:, None].repeat(12, 1)
    inset = axis.inset_axes((0.3, 0.1, 0.12, 0.8))
    inset.imshow(ramp, cmap="gray", vmin=0, vmax=1, aspect="auto")
    inset.set(xticks=[], yticks=[0, 49.5, 99])
    inset.grid(False)
    inset.yaxis.tick_right()
    ticks = [f"+{limit:.2f}, too dark", "0", f"-{limit:.2f}, too light"]
    inset.set_yticklabels(ticks, fontsize=6.5)
