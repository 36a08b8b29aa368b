"""Figures of the studies of restarts and of added priors. No torch, no files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ..evaluation import baselines, metrics
from ..evaluation.restarts import deviation
from .recipes import draw_baselines
from .style import LABELS, number, palette, plt, signed_difference

Rows = Sequence[dict[str, str]]


def restarts(truth: np.ndarray, reconstructed: dict[str, np.ndarray], title: str) -> Figure:
    """One image (H x W x 3) from every start, one row per layer, then their mean and standard deviation.

    `reconstructed[layer]` is restarts x H x W x 3. The standard deviations have one scale of colours, so that
    layers can be compared. Under a picture its SSIM.
    """
    count = len(next(iter(reconstructed.values())))
    names = ["original", *(f"start {index}" for index in range(count)), "mean", "deviation"]
    maps = {layer: deviation(images[:, None])[0] for layer, images in reconstructed.items()}
    largest = max(float(spread.max()) for spread in maps.values()) or 1.0
    figure, axes = _pictures(list(reconstructed), names)
    for line, (layer, images) in zip(axes, reconstructed.items(), strict=True):
        shown = [*images, images.mean(axis=0)]
        scores = metrics.ssim(np.stack([truth] * len(shown)), np.stack(shown))
        for axis, image in zip(line, [truth, *shown], strict=False):
            axis.imshow(image, interpolation="nearest", vmin=0, vmax=1)
        for axis, score in zip(line[1:-1], scores, strict=True):
            axis.set_xlabel(f"{score:.3f}", fontsize=8, labelpad=2)
        drawn = line[-1].imshow(
            maps[layer], cmap="magma", interpolation="nearest", vmin=0, vmax=largest
        )
        line[-1].set_xlabel(f"mean {maps[layer].mean():.3f}", fontsize=8, labelpad=2)
    figure.colorbar(drawn, ax=axes[:, -1], fraction=0.08, label="standard deviation (of 0..1)")
    figure.suptitle(title, fontsize=11)
    return figure


def ambiguity(rows: Rows, title: str) -> Figure:
    """Spread over restarts, its published counterpart in feature space, and what averaging gains, by layer.

    `rows` are those of the table of restarts of one classifier; bands are 95 % intervals. Baselines, which do
    not depend on a start, are left out but for their squared error.
    """
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    recipes = list(dict.fromkeys(row["recipe"] for row in baselines.of_recipes(rows)))
    colours = palette(recipes)
    guesses = {row["recipe"]: {} for row in rows if row["recipe"] in baselines.NAMES}
    for row in rows:
        if row["recipe"] in guesses:
            guesses[row["recipe"]][row["layer"]] = float(row["mse"])
    panels = {
        "spread": "standard deviation over restarts\nof a pixel (of 0..1)",
        "representation_error_spread": "standard deviation over restarts\nof the representation error",
        "pair_ssim": "SSIM of two restarts",
        "mse": "MSE: one start (full),\nmean over restarts (dashed)",
    }
    figure, axes = plt.subplots(2, 2, figsize=(9.6, 6.2), layout="constrained")
    for axis, (measure, label) in zip(axes.flat, panels.items(), strict=True):
        for recipe in recipes:
            part = [row for row in rows if row["recipe"] == recipe]
            lines = [(measure, "-"), *[("mse_of_mean", "--")] * (measure == "mse")]
            for name, style in lines:
                _line(
                    axis, part, name, layers, colours[recipe], style, recipe if style == "-" else ""
                )
        axis.set(ylabel=label, xticks=range(len(layers)), xticklabels=layers)
        axis.tick_params(axis="x", rotation=25 if max(map(len, layers)) > 8 else 0)
        if measure in ("mse", "representation_error_spread"):
            axis.set_yscale("log")
        else:
            axis.set_ylim(0, None)
    _legend(figure, axes[0, 0])
    draw_baselines(
        figure,
        {name: [[], [], [], [mse[x] for x in layers]] for name, mse in guesses.items()},
    )
    figure.suptitle(title, fontsize=11)
    return figure


def _line(axis, rows: Rows, measure: str, layers, colour: str, style: str, label: str) -> None:
    found = {row["layer"]: row for row in rows}
    mean, low, high = (
        np.array([number(found[layer][f"{measure}{end}"]) for layer in layers])
        for end in ("", "_low", "_high")
    )
    places = np.arange(len(layers))
    words = label.replace("_", " ") or None
    axis.plot(places, mean, style, color=colour, marker="o", ms=4, lw=1.3, label=words)
    axis.fill_between(places, low, high, color=colour, alpha=0.12, lw=0)


def prior_selection(rows: Rows, layers: Sequence[str], title: str) -> Figure:
    """Error relative to no prior of feature maps, against their number: a panel per layer, a line per order.

    The error of the image above, that of the layer's feature maps below; bars are 95 % intervals over test
    images, and a ring marks the set that was best on held-out images. `rows` are those of one classifier;
    baselines, to which no prior is added, are left out.
    """
    rows = baselines.of_recipes(rows, "order")
    orders = list(dict.fromkeys(row["order"] for row in rows))
    colours = palette(orders)
    figure, axes = plt.subplots(
        2,
        len(layers),
        figsize=(max(3.4 * len(layers), 6) + 0.6, 6.0),
        squeeze=False,
        layout="constrained",
        sharex="col",
    )
    for column, layer in enumerate(layers):
        for index, order in enumerate(orders):
            part = [row for row in rows if (row["layer"], row["order"]) == (layer, order)]
            places = np.array([int(row["step"]) for row in part])
            shift = 0.06 * (index - (len(orders) - 1) / 2)
            for axis, name in zip(
                axes[:, column], ("mse_ratio", "representation_error_ratio"), strict=True
            ):
                ratio, low, high = (
                    np.array([number(row[f"{name}{end}"]) for row in part])
                    for end in ("", "_low", "_high")
                )
                bars = np.maximum([ratio - low, high - ratio], 0)
                style = {"color": colours[order], "marker": "o", "ms": 4, "lw": 1.3, "capsize": 3}
                axis.errorbar(places + shift, ratio, bars, label=order, **style)
                best = [row["best"] == "1" for row in part]
                axis.plot(
                    (places + shift)[best], ratio[best], "o", ms=10, mfc="none", mec=colours[order]
                )
        axes[0, column].set_title(f"reconstructed from {layer}")
        axes[1, column].set(xlabel="priors added", xticks=range(max(places) + 1))
        for axis in axes[:, column]:
            axis.axhline(1, color="grey", lw=1, ls="--", zorder=0)
    axes[0, 0].set_ylabel(f"{LABELS['mse']}, relative to none")
    axes[1, 0].set_ylabel(f"{LABELS['representation_error']},\nrelative to none")
    _legend(figure, axes[0, 0])
    figure.suptitle(title, fontsize=11)
    return figure


def prior_selection_images(
    truth: np.ndarray, reconstructed: dict[str, dict[str, np.ndarray]], title: str
) -> Figure:
    """One image (H x W x 3) from each layer without priors of feature maps and with all, and what differs.

    `reconstructed[layer]` holds the image without, `none`, and the last of every order. Under a picture its
    mean squared error; the last order minus none is stretched to its largest value.
    """
    orders = [name for name in next(iter(reconstructed.values())) if name != "none"]
    names = ["original", "none", *(f"all, {order}" for order in orders)]
    figure, axes = _pictures(list(reconstructed), [*names, f"{orders[-1]} - none"])
    for line, images in zip(axes, reconstructed.values(), strict=True):
        shown = list(images.values())
        errors = metrics.mse(np.stack([truth] * len(shown)), np.stack(shown))
        difference = signed_difference(images[orders[-1]], images["none"])
        for axis, image in zip(line, [truth, *shown, difference], strict=True):
            axis.imshow(image, interpolation="nearest", vmin=0, vmax=1)
        for axis, error in zip(line[1:-1], errors, strict=True):
            axis.set_xlabel(f"MSE {error:.4f}", fontsize=8, labelpad=2)
    figure.suptitle(title, fontsize=11)
    return figure


def _pictures(rows: Sequence[str], columns: Sequence[str]) -> tuple:
    """A figure and its axes without ticks, rows and columns named."""
    figure, axes = plt.subplots(
        len(rows),
        len(columns),
        figsize=(1.6 * len(columns) + 0.4, 1.8 * len(rows) + 0.6),
        squeeze=False,
        layout="constrained",
    )
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    for axis, name in zip(axes[0], columns, strict=True):
        axis.set_title(name, fontsize=9)
    for axis, name in zip(axes[:, 0], rows, strict=True):
        axis.set_ylabel(name, fontsize=9)
    return figure, axes


def _legend(figure: Figure, axis) -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(labels)))
