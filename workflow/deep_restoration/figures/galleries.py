"""Pictures side by side: filters, reconstructed images, their signed errors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .recipes import heading
from .style import absolute_difference, plt, signed_difference, tile


def classifier(
    filters: np.ndarray, history: dict[str, np.ndarray], chance: float | None, name: str
) -> Figure:
    """First-layer filters K x 3 x h x w, and for a classifier trained here its accuracy on the way."""
    trained = len(history.get("step", ())) > 0
    figure, axes = plt.subplots(
        1,
        2 if trained else 1,
        figsize=(11 if trained else 7, 4.6),
        squeeze=False,
        width_ratios=[1.5, 1][: 1 + trained],
    )
    axes = axes[0]
    if filters.shape[1] != 3:
        filters = np.repeat(filters.mean(1, keepdims=True), 3, axis=1)
    axes[0].imshow(
        tile(filters, int(np.ceil(np.sqrt(1.5 * len(filters))))), interpolation="nearest"
    )
    axes[0].set_axis_off()
    axes[0].set_title(f"{name}: {len(filters)} filters of the first convolution")
    if trained:
        axes[1].plot(history["step"], history["accuracy"], color="C0")
        axes[1].axhline(chance, color="grey", ls="--", lw=1)
        axes[1].annotate(
            "chance", (history["step"][-1], chance), ha="right", va="bottom", color="grey"
        )
        axes[1].set(
            xlabel="update", ylabel="accuracy on the batch", ylim=(0, None), title="training"
        )
    return figure


def gallery(
    truth: np.ndarray,
    reconstructed: dict[str, np.ndarray],
    scores: dict[str, np.ndarray],
    title: str,
    labels: Sequence[str] = (),
) -> Figure:
    """Originals beside every recipe's images (n x H x W x 3), one row per image, the score below each.

    `labels` name the rows.
    """
    columns, rows = 1 + len(reconstructed), len(truth)
    # A wide figure is shown smaller: larger letters, fewer in a line.
    size = min(9 + max(0, columns - 9) * 0.5, 12.5)
    letters = int(13 * 9.5 / size)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(1.55 * columns, (1.76 if scores else 1.6) * rows + 0.6),
        squeeze=False,
        layout="constrained",
    )
    for row in range(rows):
        for column, (name, images) in enumerate({"original": truth, **reconstructed}.items()):
            axis = axes[row, column]
            axis.imshow(images[row], interpolation="nearest", vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            if row == 0:
                axis.set_title(heading(name, letters), fontsize=size, linespacing=1.05)
            if labels and column == 0:
                axis.set_ylabel(labels[row], fontsize=size)
            if name in scores:
                axis.set_xlabel(f"{scores[name][row]:.3f}", fontsize=size - 1, labelpad=2)
    figure.suptitle(title, fontsize=size + 2)
    return figure


def errors(truth: np.ndarray, reconstructed: dict[str, np.ndarray], title: str) -> Figure:
    """One image (H x W x 3) by every recipe: whole, signed and absolute difference, and a detail."""
    side = truth.shape[0] // 3
    top, left = _busiest(truth, side)
    detail = (slice(top, top + side), slice(left, left + side))
    names = {"original": truth, **reconstructed}
    labels = ("reconstructed", "signed difference", "absolute difference", "detail")
    figure, axes = plt.subplots(
        4,
        len(names),
        figsize=(1.55 * len(names) + 0.3, 1.6 * 4 + 0.7),
        squeeze=False,
        layout="constrained",
    )
    for column, (name, image) in enumerate(names.items()):
        pictures = [image, None, None, image[detail]]
        if name != "original":
            pictures[1:3] = signed_difference(truth, image), absolute_difference(truth, image)
        for axis, picture, label in zip(axes[:, column], pictures, labels, strict=True):
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
            if picture is not None:
                axis.imshow(picture, interpolation="nearest", vmin=0, vmax=1)
            if column == 0:
                axis.set_ylabel(label, fontsize=8)
        axes[0, column].set_title(heading(name), fontsize=9, linespacing=1.05)
        frame = Rectangle((left - 0.5, top - 0.5), side, side, fill=False, ec="white", lw=1)
        axes[0, column].add_patch(frame)
    figure.suptitle(title, fontsize=11)
    return figure


def _busiest(image: np.ndarray, side: int) -> tuple[int, int]:
    """Top left corner of the square window with the most contrast, on a coarse grid."""
    height, width = image.shape[:2]
    grey = image.mean(2)
    corners = [
        (top, left)
        for top in range(0, height - side + 1, max(1, side // 4))
        for left in range(0, width - side + 1, max(1, side // 4))
    ]
    return max(corners, key=lambda c: grey[c[0] : c[0] + side, c[1] : c[1] + side].std())
