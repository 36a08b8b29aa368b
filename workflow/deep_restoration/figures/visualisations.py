"""Figures of the pictures that layers give besides reconstructed images. No torch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..files.hdf5 import open_hdf5, read_names
from .recipes import COLOURS
from .style import plt

COLUMNS = 10  # pictures in a row


class Attributions(NamedTuple):
    """One layer's: image (K,), units K x 3, extents K x 4 (top, left, bottom, right), maps by method,
    K x H x W x 3."""

    image: np.ndarray
    units: np.ndarray
    extents: np.ndarray
    maps: dict[str, np.ndarray]

    @classmethod
    def read(cls, path: str | os.PathLike, methods: Sequence[str]) -> Attributions:
        """From a file, with the maps of these methods."""
        with open_hdf5(path, "visualisation") as file:
            maps = {name: file["maps"][name][...] for name in methods}
            return cls(file["image"][...], file["units"][...], file["extents"][...], maps)


def read_pictures(paths: Mapping[str, str | os.PathLike]) -> tuple[dict, dict, dict]:
    """By layer, from a file each: pictures n x H x W x 3, their labels, their values."""
    pictures, labels, values = {}, {}, {}
    for layer, path in paths.items():
        with open_hdf5(path, "visualisation") as file:
            pictures[layer], values[layer] = file["images"][...], file["values"][...]
            labels[layer] = read_names(file)
    return pictures, labels, values


def heading(classifier: str, kind: str, name: str) -> str:
    """The title of a figure; an entry that is called as its kind is named once."""
    kind, name = kind.replace("_", " "), name.replace("_", " ")
    return f"{classifier}: {kind}" + f" ({name})" * (kind != name)


def maximisation(
    pictures: dict[str, np.ndarray],
    labels: dict[str, list[str]],
    values: dict[str, np.ndarray],
    title: str,
) -> Figure:
    """By layer: pictures n x H x W x 3, a label above each and the activation reached below it."""
    lines = []  # layer, index of the first picture of the line, number in it
    for layer, images in pictures.items():
        count = len(images)
        in_line = -(-count // -(-count // COLUMNS))
        lines += [(layer, s, min(in_line, count - s)) for s in range(0, count, in_line)]
    columns = max(count for *_, count in lines)
    figure, axes = plt.subplots(
        len(lines),
        columns,
        figsize=(1.4 * columns + 0.4, 1.85 * len(lines) + 0.5),
        squeeze=False,
        layout="constrained",
    )
    for row, (layer, start, count) in zip(axes, lines, strict=True):
        for offset, axis in enumerate(row):
            _bare(axis)
            if offset >= count:
                continue
            index = start + offset
            axis.imshow(pictures[layer][index], interpolation="nearest", vmin=0, vmax=1)
            axis.set_title(labels[layer][index].replace("_", " "), fontsize=8, pad=3)
            axis.set_xlabel(f"× {values[layer][index]:.2f}", fontsize=8, labelpad=2)
        row[0].set_ylabel(layer, fontsize=9)
    figure.suptitle(title, fontsize=11)
    return figure


def attribution(truth: np.ndarray, layers: dict[str, Attributions], title: str) -> Figure:
    """One row per layer and image (n x H x W x 3): the image with the frames of its units, then for each unit
    the framed patch and what every method projects to it, stretched around grey."""
    first = next(iter(layers.values()))
    methods = list(first.maps)
    units = max(int(np.bincount(found.image).max()) for found in layers.values())
    rows = [(layer, index) for layer in layers for index in range(len(truth))]
    columns = 1 + units * (1 + len(methods))
    figure, axes = plt.subplots(
        len(rows),
        columns,
        figsize=(1.12 * columns + 0.4, 1.3 * len(rows) + 0.6),
        squeeze=False,
        layout="constrained",
    )
    for row, (layer, index) in enumerate(rows):
        found = layers[layer]
        for axis in axes[row]:
            _bare(axis)
        axes[row, 0].imshow(truth[index], interpolation="nearest", vmin=0, vmax=1)
        axes[row, 0].set_ylabel(layer, fontsize=8)
        for unit, place in enumerate(np.flatnonzero(found.image == index)):
            top, left, bottom, right = found.extents[place]
            frame = (left - 0.5, top - 0.5), right - left, bottom - top
            colour = COLOURS[unit + 1]
            axes[row, 0].add_patch(Rectangle(*frame, fill=False, ec=colour, lw=1.5))
            column = 1 + unit * (1 + len(methods))
            inside = slice(top, bottom), slice(left, right)
            pictures = [truth[index][inside]]
            pictures += [_stretched(found.maps[name][place][inside]) for name in methods]
            for offset, picture in enumerate(pictures):
                axis = axes[row, column + offset]
                axis.imshow(picture, interpolation="nearest", vmin=0, vmax=1)
                if row == 0:
                    text = ["patch", *methods][offset].replace("_", " ")
                    axis.set_title(text.replace("guided ", "guided\n"), fontsize=8)
            patch = axes[row, column]
            patch.set_xlabel(f"channel {found.units[place][0]}", fontsize=7, labelpad=2)
            patch.spines[:].set(visible=True, color=colour, linewidth=1.5)
    figure.suptitle(title, fontsize=11)
    return figure


def _bare(axis) -> None:
    axis.set(xticks=[], yticks=[])
    axis.spines[:].set_visible(False)


def _stretched(signal: np.ndarray) -> np.ndarray:
    """A signed picture around grey by its own largest magnitude."""
    return 0.5 + 0.5 * signal / (np.abs(signal).max() or 1.0)
