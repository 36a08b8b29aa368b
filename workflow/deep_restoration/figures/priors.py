"""Figures of learned priors: one function per figure, data in, matplotlib Figure out."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.projections.polar import PolarAxes

from ..priors import filters
from ..study.registry import LEARNED
from .style import palette, plt, tile

SHOWN = 240


def prior(
    patterns: np.ndarray,
    alphas: np.ndarray,
    described: dict[str, np.ndarray],
    history: dict[str, np.ndarray],
    title: str,
) -> Figure:
    """Patterns K x C x k x k that the filters respond to, by frequency and orientation; where their waves
    lie; alphas; the objective on the way. `described` holds the columns of filters.COLUMNS."""
    frequency, orientation = described["frequency"], described["orientation"]
    order = filters.order(frequency, orientation, described["colour"])
    shown = order[np.linspace(0, len(order) - 1, min(len(order), SHOWN)).round().astype(int)]
    figure = plt.figure(figsize=(12, 7), layout="constrained")
    grid = figure.add_gridspec(2, 3, width_ratios=[1.9, 1, 1])
    axis = figure.add_subplot(grid[:, 0])
    axis.imshow(tile(patterns[shown], 16), interpolation="nearest", cmap="gray")
    axis.set_axis_off()
    axis.set_title(f"{len(shown)} of {len(patterns)} filters, by colour, frequency and orientation")
    axis = figure.add_subplot(grid[0, 1:], projection="polar")
    good = described["explained"] >= filters.GOOD
    for chosen, label, colour in (
        (good, f"Gabor fit explains {100 * filters.GOOD:.0f} % or more", "C0"),
        (~good, "less", "0.7"),
    ):
        size = 4 + 30 * described["alpha"][chosen] / max(described["alpha"].max(), 1e-12)
        for turn in (0, 180):  # a wave has no direction
            axis.scatter(
                np.radians(orientation[chosen] + turn),
                frequency[chosen],
                s=size,
                color=colour,
                alpha=0.7,
                lw=0,
                label=f"{label}: {100 * chosen.mean():.0f} %" if turn == 0 else None,
            )
    assert isinstance(axis, PolarAxes)
    axis.set_rmax(0.75)
    axis.set_title("orientation and frequency (cycles a pixel)")
    axis.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), frameon=False)
    axis = figure.add_subplot(grid[1, 1])
    objective(axis, history)
    axis = figure.add_subplot(grid[1, 2])
    axis.plot(np.sort(alphas)[::-1])
    axis.set(xlabel="filter", ylabel="alpha", ylim=(0, None))
    figure.suptitle(title, fontsize=11)
    return figure


def objective(axis, history: dict[str, np.ndarray]) -> None:
    marker = "o" if len(history["step"]) == 1 else None  # one point is no line
    axis.plot(
        history["step"], history["objective"], lw=0.8, alpha=0.6, marker=marker, label="batch"
    )
    axis.plot(history["step"], history["held_out_objective"], marker=marker, label="held out")
    # The first steps are far above all others.
    late = history["held_out_objective"][len(history["step"]) // 4 :]
    low, high = np.min(late), np.max(late)
    if high > low:
        axis.set_ylim(low - 0.3 * (high - low), high + 2 * (high - low))
    axis.set(xlabel="update", ylabel="objective", title="score matching")
    axis.legend()


def network(history: dict[str, np.ndarray], method: str, title: str) -> Figure:
    """What the training of a network has minimised, on the way."""
    figure, axis = plt.subplots(figsize=(6.5, 3.6), layout="constrained")
    objective(axis, history)
    axis.set(title=title, ylabel=LEARNED[method].objective)
    return figure


def denoising(
    shown: dict[str, dict[str, np.ndarray]], psnr: dict[str, dict[str, float]], title: str
) -> Figure:
    """Details of images, a row each: clean, noisy, and under each prior with its PSNR.

    `shown` holds uint8 H x W x C by image and column, `psnr` dB by image and column.
    """
    columns = list(next(iter(shown.values())))
    figure, axes = plt.subplots(
        len(shown),
        len(columns),
        figsize=(2.1 * len(columns), 2.25 * len(shown)),
        squeeze=False,
        layout="constrained",
    )
    for row, (image, pictures) in zip(axes, shown.items(), strict=True):
        for axis, column in zip(row, columns, strict=True):
            picture = pictures[column]
            side = min(144, *picture.shape[:2])
            top, left = ((length - side) // 2 for length in picture.shape[:2])
            detail = picture[top : top + side, left : left + side].squeeze()
            axis.imshow(detail, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            value = psnr[image].get(column)
            axis.set_title(column + (f"\n{value:.2f} dB" if value else ""), fontsize=9)
            axis.set_axis_off()
    figure.suptitle(title, fontsize=11)
    return figure


def discrimination(rows: list[dict[str, str]], title: str) -> Figure:
    """The area under the ROC curve of every prior for every set, one panel each: energy above a natural
    one, and distance from the natural energy."""
    priors = list(dict.fromkeys(row["prior"] for row in rows))
    sets = list(dict.fromkeys(row["set"] for row in rows if row["set"] != "natural"))
    colours = palette(priors)
    figure, axes = plt.subplots(
        1,
        2,
        figsize=(10, 1.2 + 0.24 * len(sets) * max(1, len(priors) / 2)),
        sharey=True,
        layout="constrained",
    )
    measures = {"auc": "energy is higher", "auc_either_side": "energy is further off"}
    places = np.arange(len(sets))[::-1]
    for axis, (measure, label) in zip(axes, measures.items(), strict=True):
        for index, name in enumerate(priors):
            found = {r["set"]: float(r[measure]) for r in rows if r["prior"] == name}
            height = 0.8 / len(priors)
            at = places + 0.4 - (index + 0.5) * height
            axis.barh(at, [found[s] for s in sets], height, color=colours[name], label=name)
        axis.axvline(0.5, color="0.3", lw=0.8)
        axis.set(
            xlim=(0, 1), xlabel="area under the ROC curve", title=f"than of natural ones: {label}"
        )
        axis.set_yticks(places, sets)
    axes[1].legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False)
    figure.suptitle(title, fontsize=11)
    return figure
