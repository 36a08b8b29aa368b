"""Figures of inverse networks. No torch, no files."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePath

import numpy as np
from matplotlib.figure import Figure

from ..evaluation import baselines
from .recipes import draw_baselines
from .style import LABELS, absolute_difference, number, palette, plt, signed_difference


def by_layer(
    tables: Iterable[tuple[str, dict]], layers: Sequence[str]
) -> dict[str, dict[str, list[dict]]]:
    """The tables of trainings, each beside its path `.../<layer>/<inverter>/<replicate>...`, as `training`
    takes them."""
    found: dict[str, dict[str, list[dict]]] = {layer: {} for layer in layers}
    for path, table in tables:
        layer, inverter = PurePath(path).parts[-3:-1]
        found[layer].setdefault(inverter, []).append(table)
    return found


def training(histories: dict[str, dict[str, list[dict]]], title: str) -> Figure:
    """Validation image error against updates: a panel per layer, a colour per network, a line per replicate.

    `histories[layer][inverter]` is a list of tables, one per replicate.
    """
    figure, axes = plt.subplots(
        1,
        len(histories),
        figsize=(3.1 * len(histories) + 0.6, 3.3),
        squeeze=False,
        sharey=True,
        layout="constrained",
    )
    colours = palette(list(next(iter(histories.values()))))
    for axis, (layer, networks) in zip(axes[0], histories.items(), strict=True):
        for inverter, replicates in networks.items():
            for index, table in enumerate(replicates):
                axis.semilogy(
                    table["step"],
                    table["validation_image_error"],
                    color=colours[inverter],
                    lw=1.2,
                    label=None if index else inverter.replace("_", " "),
                )
        axis.set(xlabel="update", title=layer)
    axes[0, 0].set_ylabel("validation image MSE")
    _legend(figure, axes[0, 0])
    figure.suptitle(title, fontsize=11)
    return figure


def by_depth(rows: list[dict[str, str]], layers: Sequence[str], title: str) -> Figure:
    """Image error, PSNR, SSIM and representation error against the layer, one line per network.

    Bars run from the lowest to the highest mean of the replicates; bands are 95 % intervals over images.
    `rows` are the rows of the networks' table; baselines among them are grey lines.
    """
    networks = baselines.of_recipes(rows, "inverter")
    names = list(dict.fromkeys(row["inverter"] for row in networks))
    guesses = {row["inverter"]: [] for row in rows if row not in networks}
    colours = palette(names)
    figure, axes = plt.subplots(2, 2, figsize=(9.6, 6.2), layout="constrained")
    for axis, measure in zip(
        axes.flat, ("mse", "psnr", "ssim", "representation_error"), strict=True
    ):
        for index, name in enumerate(names):
            found = {row["layer"]: row for row in rows if row["inverter"] == name}
            part = [found[layer] for layer in layers]
            mean, low, high, least, most = (
                np.array([number(row[f"{measure}{end}"]) for row in part])
                for end in ("", "_low", "_high", "_least", "_most")
            )
            places = np.arange(len(layers)) + 0.08 * (index - (len(names) - 1) / 2)
            colour = colours[name]
            axis.errorbar(
                places,
                mean,
                np.maximum([mean - least, most - mean], 0),
                color=colour,
                marker="o",
                ms=4,
                lw=1.3,
                capsize=3,
                label=name.replace("_", " "),
            )
            axis.fill_between(places, low, high, color=colour, alpha=0.1, lw=0)
        for name, heights in guesses.items():
            means = {r["layer"]: float(r[measure]) for r in rows if r["inverter"] == name}
            heights.append([means[layer] for layer in layers])
        axis.set(ylabel=LABELS[measure], xticks=range(len(layers)), xticklabels=layers)
        if measure in ("mse", "representation_error"):
            axis.set_yscale("log")
    draw_baselines(figure, guesses)
    _legend(figure, axes[0, 0])
    figure.suptitle(title, fontsize=11)
    return figure


def inversions(
    truth: np.ndarray, reconstructed: dict[str, list[np.ndarray]], layers: Sequence[str], title: str
) -> Figure:
    """One image (H x W x 3) reconstructed from every layer by every network, each with its two error images:
    the signed one is original minus reconstructed."""
    rows = [
        (name, kind) for name in reconstructed for kind in ("reconstructed", "signed", "absolute")
    ]
    figure, axes = plt.subplots(
        len(rows),
        1 + len(layers),
        figsize=(1.6 * (1 + len(layers)) + 0.4, 1.62 * len(rows) + 0.5),
        squeeze=False,
        layout="constrained",
    )
    for line, (name, kind) in zip(axes, rows, strict=True):
        draw = {
            "reconstructed": lambda image: image,
            "signed": lambda image: signed_difference(truth, image),
            "absolute": lambda image: absolute_difference(truth, image),
        }[kind]
        pictures = [truth if kind == "reconstructed" else None, *map(draw, reconstructed[name])]
        for axis, picture in zip(line, pictures, strict=True):
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            if picture is not None:
                axis.imshow(picture, interpolation="nearest", vmin=0, vmax=1)
        label = name.replace("_", " ") if kind == "reconstructed" else f"{kind} difference"
        line[0].set_ylabel(label, fontsize=8)
    for axis, layer in zip(axes[0], ["original", *layers], strict=True):
        axis.set_title(layer, fontsize=9)
    figure.suptitle(title, fontsize=11)
    return figure


def _legend(figure: Figure, axis) -> None:
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(labels)))
