"""The study's figures: a function a figure, data in, matplotlib Figure out. No torch, no files."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from . import baselines
from .recipe_styles import COLOURS, draw_baselines, heading, legends, styles

STYLE = {
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
plt.rcParams.update(STYLE)

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
    """A colour for each name, told apart by colour-blind readers, the same in every figure."""
    return {name: COLOURS[index % len(COLOURS)] for index, name in enumerate(names)}


def signed_difference(
    truth: np.ndarray, restored: np.ndarray, limit: float | None = None
) -> np.ndarray:
    """Truth minus restored around grey: where the restored image has too little blue, this is blue.

    Harder 2017, Sect. 4.2. A difference of `limit` or more is 1, of -limit or less 0; without a limit the
    largest magnitude in the image is the limit.
    """
    difference = truth - restored
    limit = limit or np.abs(difference).max() or 1.0
    return 0.5 + 0.5 * np.clip(difference / limit, -1, 1)


def absolute_difference(truth: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """Magnitude of the difference, renormalised so that black is none and white the largest."""
    difference = np.abs(restored - truth)
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
    restored: dict[str, np.ndarray],
    scores: dict[str, np.ndarray],
    title: str,
    labels: Sequence[str] = (),
) -> Figure:
    """Originals beside every recipe's images (n x H x W x 3), a row an image, its score under each.

    `labels` name the rows.
    """
    columns, rows = 1 + len(restored), len(truth)
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
        for column, (name, images) in enumerate({"original": truth, **restored}.items()):
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


def errors(truth: np.ndarray, restored: dict[str, np.ndarray], title: str) -> Figure:
    """One image (H x W x 3) by every recipe: whole, signed and absolute difference, and a detail."""
    side = truth.shape[0] // 3
    top, left = _busiest(truth, side)
    detail = (slice(top, top + side), slice(left, left + side))
    names = {"original": truth, **restored}
    labels = ("restored", "signed difference", "absolute difference", "detail")
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
        frame = plt.Rectangle((left - 0.5, top - 0.5), side, side, fill=False, ec="white", lw=1)
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


def traces(
    curves: dict[str, dict[str, tuple[np.ndarray, ...]]], sides: dict[str, str], title: str
) -> Figure:
    """Every recipe's representation error against iterations, image error and SSIM against seconds.

    `curves[recipe][term]` = (iteration, value, seconds); a recipe of one step is a point. `sides` says of
    each whether it is hand-crafted, learned, or of an inverter.
    """
    figure, axes = plt.subplots(1, 3, figsize=(13.5, 5.0), layout="constrained")
    look, handles = styles(list(curves), sides), {}
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
            handles[recipe] = plt.Line2D([], [], marker=marker, ms=4, **style)
    axes[0].set(xlabel="iteration", ylabel="representation error")
    axes[1].set(xlabel="seconds, all images at once", ylabel="image MSE")
    axes[2].set(xlabel="seconds, all images at once", ylabel="SSIM")
    legends(figure, handles, sides)
    figure.suptitle(title, fontsize=11)
    return figure


def measures_by_layer(
    rows: Sequence[dict[str, str]],
    layers: Sequence[str],
    recipes: Sequence[str],
    sides: dict[str, str],
    title: str,
) -> Figure:
    """MSE, PSNR, SSIM and representation error against layer, a line a recipe, bars of 95 % intervals.

    `rows` are those of the summary of one classifier; where it has no intervals, there are no bars. Baselines
    are grey lines. `sides` as for `traces`.
    """
    look = styles(recipes, sides)
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
    handles = {r: plt.Line2D([], [], lw=1.3, ms=4, **look[r]) for r in recipes}
    legends(figure, handles, sides)
    figure.suptitle(title, fontsize=11)
    return figure


def rule_graph(edges: Sequence[tuple[str, str]]) -> Figure:
    """The workflow's rules as boxes and what feeds what as lines, from left to right."""
    import networkx as nx

    graph = nx.DiGraph(edges)
    column: dict[str, int] = {}
    for node in nx.topological_sort(graph):
        column[node] = max((column[source] + 1 for source in graph.predecessors(node)), default=0)
    for node in reversed(list(nx.topological_sort(graph))):  # draw sources next to what they feed
        if graph.out_degree(node) and not graph.in_degree(node):
            column[node] = min(column[target] for target in graph.successors(node)) - 1
    columns: dict[int, list[str]] = {}
    for node in sorted(graph, key=lambda n: (column[n], n)):
        columns.setdefault(column[node], []).append(node)
    row: dict[str, float] = {}
    for members in columns.values():
        for index, node in enumerate(members):
            row[node] = index - (len(members) - 1) / 2
    for _ in range(20):  # pull each column into the order of its neighbours
        for members in columns.values():
            near = {
                n: np.mean([row[m] for m in (*graph.predecessors(n), *graph.successors(n))] or [0])
                for n in members
            }
            for index, node in enumerate(sorted(members, key=lambda n: (near[n], n))):
                row[node] = index - (len(members) - 1) / 2
    width, height = max(columns) + 1, max(map(len, columns.values()))
    figure, axis = plt.subplots(figsize=(1.75 * width, 0.75 * height + 0.3))
    for source, target in graph.edges:
        axis.annotate(
            "",
            (column[target] - 0.4, -row[target]),
            (column[source] + 0.4, -row[source]),
            arrowprops={
                "arrowstyle": "-|>",
                "color": "0.65",
                "lw": 0.9,
                "connectionstyle": "arc3,rad=0.06",
                "shrinkA": 0,
                "shrinkB": 0,
            },
            zorder=0,
        )
    for node in graph:
        box = plt.matplotlib.patches.FancyBboxPatch(
            (column[node] - 0.38, -row[node] - 0.24),
            0.76,
            0.48,
            boxstyle="round,pad=0.02",
            fc="#e8f0fa",
            ec="#3b6ea5",
            lw=1,
        )
        axis.add_patch(box)
        label = textwrap.fill(node.replace("_", " "), 16)
        axis.text(column[node], -row[node], label, ha="center", va="center", fontsize=8)
    axis.set(xlim=(-0.6, width - 0.4), ylim=(-height / 2 - 0.1, height / 2 + 0.1))
    axis.set_axis_off()
    return figure
