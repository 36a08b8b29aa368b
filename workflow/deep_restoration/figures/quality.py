"""Quality against time, and measures of the papers beside what they report, one line per recipe."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..evaluation import baselines
from ..evaluation import time_to_quality as timing
from .recipes import draw_baselines, legends, spoken, styles
from .style import LABELS, number, palette, plt

# Of the papers' measures, those that are drawn: the words on the axis, the factor, and the scale.
PANELS = {
    "error_2015": ("feature error of 2015 (%)", 100, "linear"),
    "image_error": ("image error (%)", 100, "linear"),
    "mse_255": ("MSE, 0 to 255", 1, "log"),
    "naturalness": ("naturalness of gradients", 1, "linear"),
}
SIGNS = "XPv^<>*d"  # of published figures, by method


def quality_against_time(
    layers: dict[str, dict[str, timing.Curve]], families: dict[str, str], title: str
) -> Figure:
    """SSIM against seconds per image: one panel per layer, one line per recipe.

    `layers[layer][recipe]` is a curve.
    A dashed line marks the SSIM with which the best hand-crafted recipe ends, and a ring the first point of
    each recipe that reaches it.
    """
    columns = 2 if len(layers) == 4 else min(3, len(layers))
    rows = -(-len(layers) // columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(max(7.5, 4.6 * columns), 3.4 * rows + 1.4),
        squeeze=False,
        sharex=True,
        layout="constrained",
    )
    recipes = list(dict.fromkeys(recipe for curves in layers.values() for recipe in curves))
    look = styles(recipes, families)
    for axis, (layer, curves) in zip(axes.flat, layers.items(), strict=False):
        best = timing.best_final(curves, families)
        for recipe, curve in curves.items():
            _, value, seconds = curve
            axis.semilogx(seconds, value, **look[recipe], lw=1.4, ms=7 if len(value) == 1 else 3)
            first = None if best is None else timing.reached(curve, best)
            if first is not None:
                ring = {"ms": 10, "mfc": "none", "mec": "black", "mew": 1.1}
                axis.plot(seconds[first], value[first], "o", **ring, zorder=5)
        if best is not None and (name := timing.best_hand_crafted(curves, families)):
            axis.axhline(best, color="0.4", ls="--", lw=0.9, zorder=0)
            axis.annotate(
                f"dashed: {spoken(name)} ends at {best:.2f}",
                (0.99, 0.03),
                xycoords="axes fraction",
                ha="right",
                fontsize=8,
                color="0.3",
            )
        axis.set_title(layer)
        axis.set_ylim(bottom=min(0, *axis.get_ylim()))
    for axis in list(axes.flat)[len(layers) :]:
        axis.set_visible(False)
    for column in range(columns):
        drawn = [axes[row, column] for row in range(rows) if row * columns + column < len(layers)]
        drawn[-1].set_xlabel("seconds an image")
        drawn[-1].tick_params(labelbottom=True)
    for row in range(rows):
        axes[row, 0].set_ylabel("SSIM")
    handles = {recipe: Line2D([], [], lw=1.4, ms=4, **look[recipe]) for recipe in recipes}
    legends(figure, handles, families)
    figure.suptitle(title, fontsize=11)
    return figure


def measures_of_papers(
    rows: Sequence[dict[str, str]],
    published: Sequence[dict[str, str]],
    families: dict[str, str],
    title: str,
) -> Figure:
    """The papers' measures against layer: one line per recipe, grey lines for baselines, and the published
    values in black.

    `rows` are a classifier's rows of the table of the papers' measures, `published` its rows of the table of
    published figures. Where there is nothing to compare with, its note stands below the title.
    """
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    recipes = list(dict.fromkeys(row["recipe"] for row in baselines.of_recipes(rows)))
    guesses = {row["recipe"]: [] for row in rows if row["recipe"] in baselines.NAMES}
    figure, axes = plt.subplots(
        2, 2, figsize=(max(10, 0.75 * len(layers) * 2), 8), layout="constrained"
    )
    look, handles = styles(recipes, families), {}
    methods = dict.fromkeys(
        _origin(row) for row in published if row["published"] and row["measure"] in PANELS
    )
    signs = {key: SIGNS[index % len(SIGNS)] for index, key in enumerate(methods)}
    told: dict[str, Artist] = {}
    for axis, (measure, (label, factor, scale)) in zip(axes.flat, PANELS.items(), strict=True):
        values: dict[tuple[str, str], list[float]] = {}
        for row in rows:
            values.setdefault((row["recipe"], row["layer"]), []).append(float(row[measure]))
        lines = {
            name: [factor * np.mean(values.get((name, layer), np.nan)) for layer in layers]
            for name in (*recipes, *guesses)
        }
        for recipe in recipes:
            (handles[recipe],) = axis.plot(lines[recipe], **look[recipe], lw=1.3, ms=4)
        for name, heights in guesses.items():
            heights.append(lines[name])
        points = {
            (_origin(row), row["layer"]): row
            for row in published
            if row["measure"] == measure and row["published"]
        }
        for (origin, layer), row in points.items():
            size = {"percent": 1.0, "1": float(factor)}[row["unit"]]
            (told[origin],) = axis.plot(
                layers.index(layer),
                size * float(row["published"]),
                signs[origin],
                color="black",
                mec="white",
                ms=9,
                zorder=6,
            )
        axis.set_yscale(scale)
        axis.set_ylabel(label)
        axis.set_xticks(range(len(layers)), layers)
        if max(map(len, layers)) > 8 or len(layers) > 8:
            axis.tick_params(axis="x", rotation=25)
    legends(figure, handles, families)
    draw_baselines(figure, guesses)
    if told:
        figure.legend(
            list(told.values()),
            list(told),
            title="published",
            loc="outside right upper",
            fontsize=8,
            alignment="left",
        )
    notes = dict.fromkeys(row["note"] for row in published if not row["published"])
    figure.suptitle("\n".join([title, *notes]), fontsize=11)
    return figure


def moved(rows: Sequence[dict[str, str]], title: str) -> Figure:
    """SSIM, MSE and representation error (one line per layer) between a photograph and itself moved, against
    the number of pixels by which it is moved; bands are 95 % intervals.

    `rows` are a classifier's rows of the table of moved photographs.
    """
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    figure, axes = plt.subplots(1, 3, figsize=(12.5, 3.9), layout="constrained")
    lines = {"ssim": layers[:1], "mse": layers[:1], "representation_error": layers}
    for axis, (measure, shown) in zip(axes, lines.items(), strict=True):
        for layer, colour in zip(shown, palette(shown).values(), strict=True):
            mine = [row for row in rows if row["layer"] == layer]
            pixels = [int(row["pixels"]) for row in mine]
            mean, low, high = (
                np.array([number(row[f"{measure}{end}"]) for row in mine])
                for end in ("", "_low", "_high")
            )
            axis.plot(pixels, mean, color=colour, marker="o", ms=4, lw=1.3, label=layer)
            axis.fill_between(pixels, low, high, color=colour, alpha=0.12, lw=0)
        axis.set(xlabel="moved by (pixels)", ylabel=LABELS[measure], ylim=(0, None))
    if layers:
        axes[-1].legend(fontsize=8, ncols=2 if len(layers) > 6 else 1)
    else:
        title += "\nno test photograph is large enough to be moved"
    figure.suptitle(title, fontsize=11)
    return figure


def _origin(row: dict[str, str]) -> str:
    """Source and method of a published figure, as they stand in the legend."""
    source, method = row["source"].split(" (")[0], row["method"]
    chosen = source if " = " in method else f"{source}: {method}"  # a weight chosen by layer
    return f"{chosen} (unverified)" if "unverified" in row["sure"] else chosen
