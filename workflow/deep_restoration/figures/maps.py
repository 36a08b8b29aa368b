"""Figures of feature maps and of linear inverses, as in `figures`: data in, matplotlib Figure out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from .style import palette, plt, signed_difference, tile

FORMS = {
    "covariance": "covariance (channels as samples)",
    "within": "covariance within channels",
    "precision": "precision (channels as samples)",
}
MEASURES = {  # of images and of channels, in the order of statistics.IMAGE_MEASURES
    "Gini index": ("gini", "gini"),
    "Hoyer": ("hoyer", "hoyer"),
    "share of zeros": ("zeros", "zeros"),
    "excess kurtosis": ("kurtosis", "kurtosis"),
    "Treves-Rolls": ("population", "lifetime"),
}


def statistics(
    matrices: dict[str, np.ndarray],
    channels: np.ndarray,
    images: np.ndarray,
    title: str,
) -> Figure:
    """Matrices by name, and histograms of the sparsity of channels (C x 5) and images (N x 5).

    Each matrix has its own colours, symmetric around 0 and clipped at the 99.5th percentile.
    """
    figure, axes = plt.subplots(2, 5, figsize=(16, 6.6), height_ratios=[1.25, 1])
    for axis, (label, matrix) in zip(axes[0], matrices.items(), strict=True):
        limit = np.quantile(np.abs(matrix), 0.995) or np.abs(matrix).max() or 1.0
        shown = axis.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
        axis.set_title(label)
        axis.grid(False)
        axis.set(xticks=[], yticks=[])
        figure.colorbar(shown, ax=axis, fraction=0.046, pad=0.03)
    for index, (axis, label) in enumerate(zip(axes[1], MEASURES, strict=True)):
        both = [values[:, index][np.isfinite(values[:, index])] for values in (channels, images)]
        if label == "excess kurtosis":
            both = [np.maximum(values, -2) for values in both]
            high = max((np.quantile(v, 0.98) for v in both if len(v)), default=1.0)
            bins = np.linspace(-2, max(high, 1), 31)
        else:
            bins = np.linspace(0, 1, 31)
        for values, name in zip(both, ("channels", "images"), strict=True):
            if len(values):
                weights = np.full(len(values), 1 / len(values))
                values = np.clip(values, bins[0], bins[-1])
                axis.hist(values, bins, weights=weights, alpha=0.65, label=name)
        axis.set(xlabel=label, ylabel="share" if index == 0 else "")
    axes[1, 0].legend()
    figure.suptitle(title, fontsize=11)
    figure.tight_layout()
    return figure


def stationarity(curves: dict[str, dict[str, np.ndarray]], title: str) -> Figure:
    """Distance from stationary against the number of images, one line per layer.

    `curves[layer]` holds the columns of `stationarity.COLUMNS`. Left to right the three matrices, top
    to bottom without and with a border left out. Solid: as measured; dashed: without the noise
    of few images; dotted: what the most likely stationary field shows.
    """
    colours = palette(list(curves))
    first = next(iter(curves.values()))
    borders = sorted({int(value) for value in first["border"]})
    figure, axes = plt.subplots(
        len(borders), 3, figsize=(12, 3.1 * len(borders) + 0.6), squeeze=False, sharex=True
    )
    for row, border in enumerate(borders):
        for axis, form in zip(axes[row], FORMS, strict=True):
            for layer, curve in curves.items():
                here = (curve["form"] == form) & (curve["border"] == border)
                if not here.any():
                    continue
                x, colour = curve["images"][here], colours[layer]
                for name, style in (("distance", "-"), ("noise_free", "--")):
                    axis.plot(x, curve[name][here], style, color=colour, marker="o", ms=3, lw=1.3)
                    low, high = (curve[f"{name}_{end}"][here] for end in ("low", "high"))
                    axis.fill_between(x, low, high, color=colour, alpha=0.15, lw=0)
                expected = curve["expected"][here]
                if form == "precision":
                    axis.plot(x, expected, ":", color=colour, lw=1.2)
            axis.set_xscale("log")
            ticks = sorted(set(first["images"]))
            axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axis.minorticks_off()
            axis.set_ylim(bottom=0)
            axis.set_title(FORMS[form] if row == 0 else "")
        words = "whole grid" if border == 0 else f"border of {border} left out"
        axes[row, 0].set_ylabel(f"distance from Toeplitz\n({words})")
    for axis in axes[-1]:
        axis.set_xlabel("images")
    handles = [Line2D([], [], color=colour, label=name) for name, colour in colours.items()]
    for style, label in (("-", "measured"), ("--", "noise-free"), (":", "stationary field")):
        handles.append(Line2D([], [], color="0.4", ls=style, label=label))
    figure.legend(handles=handles, loc="outside lower center", ncols=min(8, len(handles)))
    figure.suptitle(title, fontsize=11)
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    return figure


def sparsity(channels: dict[str, np.ndarray], images: dict[str, np.ndarray], title: str) -> Figure:
    """Distribution of each sparsity measure over channels and over images, layer by layer.

    Arrays are channels or images x 5, by layer, shallow to deep.
    """
    figure, axes = plt.subplots(1, 5, figsize=(15, 3.6))
    layers = list(channels)
    colours = palette(["channels", "images"])
    for index, (axis, label) in enumerate(zip(axes, MEASURES, strict=True)):
        for shift, (name, sets) in enumerate((("channels", channels), ("images", images))):
            values = [sets[layer][:, index] for layer in layers]
            values = [v[np.isfinite(v)] for v in values]
            axis.boxplot(
                values,
                positions=np.arange(len(layers)) + 0.36 * shift - 0.18,
                widths=0.3,
                showfliers=False,
                patch_artist=True,
                boxprops={"facecolor": colours[name], "alpha": 0.7, "lw": 0.8},
                medianprops={"color": "black"},
                whiskerprops={"lw": 0.8},
                capprops={"lw": 0.8},
            )
        axis.set_xticks(range(len(layers)), layers, rotation=25 if max(map(len, layers)) > 8 else 0)
        axis.set_title(label)
        if label != "excess kurtosis":
            axis.set_ylim(-0.02, 1.02)
    boxes = [Rectangle((0, 0), 1, 1, fc=c, alpha=0.7, label=n) for n, c in colours.items()]
    figure.legend(handles=boxes, loc="outside lower center", ncols=2)
    figure.suptitle(title, fontsize=11)
    figure.tight_layout(rect=(0, 0.07, 1, 1))
    return figure


def of_first_noise(errors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The columns of a table of errors, of the rows with the noise of the first one."""
    first = errors["noise"] == errors["noise"][0]
    return {key: values[first] for key, values in errors.items()}


def kernels_of(
    arrays: dict[str, np.ndarray],
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What `linear_inverse` draws, of the arrays that a linear inverse stores: filters K x C x k x k and the
    middle 2 k + 1 pixels of the inverse kernels, and the energy of these outside of their middle."""
    side = 2 * arrays["filters"].shape[2] + 1
    cut = (arrays["optimal"].shape[2] - side) // 2
    middle = np.s_[:, :, cut : cut + side, cut : cut + side]
    inverses = {"optimal inverse": "optimal", "pseudo-inverse": "pseudo_inverse"}
    kernels = {label: arrays[name][middle] for label, name in inverses.items()}
    beyond = {label: arrays[f"{name}_beyond"] for label, name in inverses.items()}
    return {"filters": arrays["filters"], **kernels}, beyond


def linear_inverse(
    kernels: dict[str, np.ndarray],
    beyond: dict[str, np.ndarray],
    edge: np.ndarray,
    errors: dict[str, np.ndarray],
    title: str,
) -> Figure:
    """Kernels of filters and inverses, how far they reach, what size costs, and what edges change.

    `kernels` by name are K x 3 x k x k, the strongest of the last one's shown first; `beyond` by name is
    the share of energy outside a square of 1, 2 ... pixels; `edge` the relative correction by
    distance from the edge; `errors` the columns of the table of errors.
    """
    figure = plt.figure(figsize=(14, 8))
    grid = figure.add_gridspec(
        2, 1, height_ratios=[1.3, 1], hspace=0.16, top=0.94, bottom=0.07, left=0.06, right=0.98
    )
    top = grid[0].subgridspec(1, len(kernels), wspace=0.06)
    bottom = grid[1].subgridspec(1, 3, wspace=0.3)
    order = np.argsort([-np.square(kernel).sum() for kernel in list(kernels.values())[1]])[:24]
    for index, (name, found) in enumerate(kernels.items()):
        axis = figure.add_subplot(top[index])
        axis.imshow(tile(found[order], 6), interpolation="nearest")
        axis.set_axis_off()
        axis.set_title(f"{name} ({found.shape[2]} x {found.shape[2]})")

    axis = figure.add_subplot(bottom[0])
    for (name, share), colour in zip(beyond.items(), palette(list(beyond)).values(), strict=True):
        sizes = np.arange(1, len(share) + 1)
        axis.semilogy(sizes, np.maximum(share, 1e-7), label=name, color=colour)
    axis.set(
        xlabel="side of the square (pixels)", ylabel="share of energy outside", ylim=(1e-5, 1.5)
    )
    axis.legend()
    axis.set_title("how far the kernels reach")

    axis = figure.add_subplot(bottom[1])
    methods = dict.fromkeys(map(str, errors["method"]))
    for name, colour in zip(methods, palette(list(methods)).values(), strict=True):
        rows = errors["method"] == name
        sizes, mse = errors["size"][rows], errors["mse_inside"][rows]
        if np.isfinite(sizes).any():
            axis.semilogy(sizes, mse, "o-", ms=4, label=name, color=colour)
        else:
            axis.axhline(mse[0], ls="--", lw=1.2, label=name, color=colour)
    axis.set(xlabel="kernel size (pixels)", ylabel="MSE away from edges")
    axis.legend(fontsize=7.5)
    axis.set_title(f"what a kernel's size costs (noise {errors['noise'][0]:g})")

    axis = figure.add_subplot(bottom[2])
    axis.semilogy(edge, "o-", ms=4)
    axis.set(xlabel="distance from the edge (pixels)", ylabel="relative correction")
    axis.set_title("what edges change")
    figure.suptitle(title, fontsize=11)
    return figure


def linear_reconstructions(
    original: np.ndarray, reconstructed: np.ndarray, labels: Sequence[str], title: str
) -> Figure:
    """One image (H x W x 3) reconstructed by each method, and below the original minus each, four times
    enlarged: an error of an eighth is white or black."""
    names = ["original", *labels]
    columns = min(7, len(names))
    rows = -(-len(names) // columns)
    figure, axes = plt.subplots(
        2 * rows,
        columns,
        figsize=(1.75 * columns, 3.7 * rows + 0.5),
        squeeze=False,
        layout="constrained",
    )
    for axis in axes.flat:
        axis.set_axis_off()
    for index, name in enumerate(names):
        row, column = divmod(index, columns)
        image = original if index == 0 else reconstructed[index - 1]
        above, below = axes[2 * row, column], axes[2 * row + 1, column]
        above.imshow(np.clip(image, 0, 1), interpolation="nearest")
        above.set_title(_wrapped(name), fontsize=8)
        if index:
            error = signed_difference(original, image, 1 / 8)
            below.imshow(error, interpolation="nearest", vmin=0, vmax=1)
            below.set_title(f"MSE {np.square(image - original).mean():.2e}", fontsize=7.5)
    figure.suptitle(title, fontsize=11)
    return figure


def _wrapped(name: str, width: int = 18) -> str:
    import textwrap

    return "\n".join(textwrap.wrap(name, width))


def spectra(eigenvalues: dict[str, np.ndarray], title: str) -> Figure:
    """Eigenvalues of patch covariances, each divided by its largest, against their rank in per cent."""
    figure, axis = plt.subplots(figsize=(6.5, 3.8))
    for name, values in eigenvalues.items():
        share = np.arange(1, len(values) + 1) / len(values) * 100
        axis.semilogy(share, np.maximum(values / values[0], 1e-16), label=f"{name} ({len(values)})")
    axis.set(
        xlabel="rank (% of dimensions)", ylabel="eigenvalue / largest", title=title, ylim=(1e-9, 2)
    )
    axis.legend()
    return figure
