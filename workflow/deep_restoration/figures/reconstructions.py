"""Traces of an optimisation, and measures of reconstructed images by layer. No torch, no files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..evaluation import baselines
from .recipes import draw_baselines, legends, styles
from .style import LABELS, number, plt


def traces(
    curves: dict[str, dict[str, tuple[np.ndarray, ...]]], families: dict[str, str], title: str
) -> Figure:
    """Every recipe's representation error against iterations, image error and SSIM against seconds.

    `curves[recipe][term]` = (iteration, value, seconds); a recipe of one step is a point. `families`
    names the side of each: hand-crafted, learned, or inverter.
    """
    figure, axes = plt.subplots(1, 3, figsize=(13.5, 5.0), layout="constrained")
    look, handles = styles(list(curves), families), {}
    for recipe, terms in curves.items():
        marker = look[recipe].pop("marker")
        style = {**look[recipe], "lw": 1.4}
        if "data" in terms:
            iteration, value, _ = terms["data"]
            axes[0].semilogy(iteration, value, **style)
        if "image" in terms:
            _, value, seconds = terms["image"]
            mark = marker if len(value) == 1 else None
            axes[1].loglog(seconds, value, marker=mark, **style)
        if "ssim" in terms:
            _, value, seconds = terms["ssim"]
            axes[2].semilogx(seconds, value, marker=marker, ms=6 if len(value) == 1 else 3, **style)
        # What the legend shows: the marker, too, which not every panel has.
        if terms:
            handles[recipe] = Line2D([], [], marker=marker, ms=4, **style)
    axes[0].set(xlabel="iteration", ylabel="representation error")
    axes[1].set(xlabel="seconds, all images at once", ylabel="image MSE")
    axes[2].set(xlabel="seconds, all images at once", ylabel="SSIM")
    legends(figure, handles, families)
    figure.suptitle(title, fontsize=11)
    return figure


def measures_by_layer(
    rows: Sequence[dict[str, str]],
    layers: Sequence[str],
    recipes: Sequence[str],
    families: dict[str, str],
    title: str,
) -> Figure:
    """MSE, PSNR, SSIM and representation error against layer: one line per recipe, bars of 95 % intervals.

    `rows` are the summary's rows of one classifier; where it has no intervals, there are no bars. Baselines
    are grey lines. `families` as for `traces`.
    """
    look = styles(recipes, families)
    found = {(row["recipe"], row["layer"]): row for row in rows}
    heights: dict[str, list] = {
        row["recipe"]: [] for row in rows if row["recipe"] in baselines.NAMES
    }
    crowd = min(0.6, 0.04 * len(recipes) + 0.02)
    shifts = np.linspace(-crowd / 2, crowd / 2, len(recipes)) if len(recipes) > 1 else [0.0]
    figure, axes = plt.subplots(
        2, 2, figsize=(max(10, 2.2 * len(layers)), 8.0), layout="constrained"
    )
    for axis, measure in zip(
        axes.flat, ("ssim", "psnr", "mse", "representation_error"), strict=True
    ):
        for recipe, shift in zip(recipes, shifts, strict=True):
            mean, low, high = (
                np.array([number(found[recipe, layer][f"{measure}{end}"]) for layer in layers])
                for end in ("", "_low", "_high")
            )
            bars = np.maximum([mean - low, high - mean], 0)
            style = {"ms": 4, "lw": 1.3, "elinewidth": 1.2, **look[recipe]}
            axis.errorbar(np.arange(len(layers)) + shift, mean, bars, **style)
        for name, values in heights.items():
            values.append([float(found[name, layer][measure]) for layer in layers])
        axis.set(ylabel=LABELS[measure], xticks=range(len(layers)), xticklabels=layers)
        axis.tick_params(axis="x", rotation=25 if max(map(len, layers)) > 8 else 0)
        if measure in ("mse", "representation_error"):
            axis.set_yscale("log")
    draw_baselines(figure, heights)
    handles = {r: Line2D([], [], lw=1.3, ms=4, **look[r]) for r in recipes}
    legends(figure, handles, families)
    figure.suptitle(title, fontsize=11)
    return figure
