"""Traces of an optimisation, and measures of restored images by layer. No torch, no files."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch

from ..evaluation import baselines
from .recipes import draw_baselines, legends, styles
from .style import LABELS, number, plt


def traces(
    curves: dict[str, dict[str, tuple[np.ndarray, ...]]], sides: dict[str, str], title: str
) -> Figure:
    """Every recipe's representation error against iterations, image error and SSIM against seconds.

    `curves[recipe][term]` = (iteration, value, seconds); a recipe of one step is a point. `sides`
    names the side of each: hand-crafted, learned, or inverter.
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
            handles[recipe] = Line2D([], [], marker=marker, ms=4, **style)
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
    """MSE, PSNR, SSIM and representation error against layer: one line per recipe, bars of 95 % intervals.

    `rows` are the summary's rows of one classifier; where it has no intervals, there are no bars. Baselines
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
    handles = {r: Line2D([], [], lw=1.3, ms=4, **look[r]) for r in recipes}
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
        box = FancyBboxPatch(
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
