"""Image metrics on N x H x W x 3 arrays in [0, 1]: MSE, PSNR, SSIM and its parts; intervals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from . import baselines

SIGMA, TRUNCATE, RADIUS = 1.5, 3.5, 5  # Wang et al. 2004: 11 x 11 Gaussian window
C1, C2 = 0.01**2, 0.03**2
C3 = C2 / 2


def mse(truth: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """Mean squared error per image, (N,)."""
    difference = np.asarray(truth, np.float64) - np.asarray(restored, np.float64)
    return np.square(difference).mean(axis=(1, 2, 3))


def psnr(truth: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio in dB per image, (N,), for a peak of 1; infinite for equal images."""
    with np.errstate(divide="ignore"):
        return -10 * np.log10(mse(truth, restored))


def ssim(truth: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """SSIM per image, (N,): scikit-image with the published Gaussian window and constants.

    Wang, Bovik, Sheikh & Simoncelli 2004; mean over positions and colour channels. Images must have 11
    pixels a side or more.
    """
    return np.array(
        [
            structural_similarity(
                np.asarray(a, np.float64),
                np.asarray(b, np.float64),
                data_range=1.0,
                channel_axis=-1,
                gaussian_weights=True,
                sigma=SIGMA,
                use_sample_covariance=False,
            )
            for a, b in zip(truth, restored, strict=True)
        ]
    )


def ssim_parts(truth: np.ndarray, restored: np.ndarray) -> np.ndarray:
    """Luminance, contrast and structure of SSIM per image, (N, 3), each a mean over positions.

    Wang et al. 2004, eqs. (6), (9), (10). At each position their product is the SSIM there; the
    product of the means is not the mean SSIM.
    """

    def blur(values: np.ndarray) -> np.ndarray:
        return gaussian_filter(values, (0, SIGMA, SIGMA, 0), truncate=TRUNCATE)

    x, y = np.asarray(truth, np.float64), np.asarray(restored, np.float64)
    mean_x, mean_y = blur(x), blur(y)
    variance_x = np.maximum(blur(x * x) - mean_x**2, 0)
    variance_y = np.maximum(blur(y * y) - mean_y**2, 0)
    spread = np.sqrt(variance_x * variance_y)
    covariance = blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + C1) / (mean_x**2 + mean_y**2 + C1)
    contrast = (2 * spread + C2) / (variance_x + variance_y + C2)
    structure = (covariance + C3) / (spread + C3)
    inner = slice(RADIUS, -RADIUS)  # where the whole window lies on the image, as scikit-image does
    parts = [
        part[:, inner, inner].mean(axis=(1, 2, 3)) for part in (luminance, contrast, structure)
    ]
    return np.stack(parts, axis=1)


def representation_error(maps, target):
    """|Phi(x) - Phi_0|^2 / |Phi_0|^2 per image, (N,), in float64, of tensors of maps N x ...

    The data term of Mahendran & Vedaldi 2015, eq. (3).
    """
    difference = (maps.double() - target.double()).flatten(1).square().sum(1)
    return difference / target.double().flatten(1).square().sum(1)


def bootstrap_interval(
    values: np.ndarray, seed: int, resamples: int = 2000, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean over images; (nan, nan) for fewer than two."""
    values = np.asarray(values, np.float64)
    if len(values) < 2:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    means = values[rng.integers(len(values), size=(resamples, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


MEASURES = (
    "mse",
    "psnr",
    "ssim",
    "ssim_luminance",
    "ssim_contrast",
    "ssim_structure",
    "representation_error",
    "seconds",
)
COLUMNS = ("classifier", "layer", "recipe", "image", *MEASURES)


def summarise(rows: list[dict], seed: int) -> tuple[list[str], list[list]]:
    """Mean and 95 % bootstrap interval of every measure per classifier, layer and recipe.

    `rows` are those of the table of images, in its order; returns the columns and the summary's rows.
    """
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        groups.setdefault((row["classifier"], row["layer"], row["recipe"]), []).append(row)
    columns = ["classifier", "layer", "recipe", "images"]
    columns += [f"{measure}{part}" for measure in MEASURES for part in ("", "_low", "_high")]
    summary = []
    for key, group in groups.items():
        line: list = [*key, len(group)]
        for measure in MEASURES:
            values = np.array([float(row[measure]) for row in group])
            line += [float(values.mean()), *bootstrap_interval(values, seed)]
        summary.append(line)
    return columns, summary


COMPARED = ("mse", "psnr", "ssim", "representation_error")
SIDES = (
    *("classifier", "layer", "measure", "images", "hand_crafted", "hand_crafted_value"),
    *("learned", "learned_value", "difference", "difference_low", "difference_high"),
    *("ratio", "ratio_low", "ratio_high", "hand_crafted_seconds", "learned_seconds"),
    *("hand_crafted_representation_error", "learned_representation_error", "unexplained"),
    *("baseline", "baseline_value"),
)


def compare_sides(rows: list[dict], learned: Sequence[str], seed: int) -> list[list]:
    """The best of the `learned` recipes beside the best of the others, per layer and measure.

    Rows of SIDES from those of the table of images. Best is the recipe with the least mean squared error,
    or the largest mean PSNR or SSIM, among those that explain the layer (`baselines.winner`); a side where
    none does is named by `unexplained`. `difference` is learned minus hand-crafted, `ratio` learned over
    hand-crafted, each with its 95 % bootstrap interval over images, the same ones for both; seconds are
    those of an image. `baseline` is the better one of the baselines, if there are any. Layers that have
    only one side are left out.
    """
    groups: dict[tuple, dict[str, list[dict]]] = {}
    for row in rows:
        place = groups.setdefault((row["classifier"], row["layer"]), {})
        place.setdefault(row["recipe"], []).append(row)
    result = []
    for key, recipes in groups.items():
        means = [
            {"recipe": recipe}
            | {m: float(np.mean([float(row[m]) for row in group])) for m in COMPARED}
            for recipe, group in recipes.items()
        ]
        real = baselines.of_recipes(means)
        guesses = [row for row in means if row not in real]
        sides = {
            side: [row for row in real if (row["recipe"] in learned) == wanted]
            for side, wanted in (("hand-crafted", False), ("learned", True))
        }
        if not all(sides.values()):
            continue
        for measure in ("mse", "psnr", "ssim"):
            best = {side: baselines.winner(rows, measure) for side, rows in sides.items()}
            theirs, ours = (
                np.array([float(row[measure]) for row in recipes[row["recipe"]]])
                for row in best.values()
            )
            line: list = [*key, measure, len(ours)]
            for row in best.values():
                line += [row["recipe"], float(row[measure])]
            line += [float((ours - theirs).mean()), *bootstrap_interval(ours - theirs, seed)]
            line += ratio_interval(ours, theirs, seed)
            line += [float(recipes[row["recipe"]][0]["seconds"]) for row in best.values()]
            line += [float(row["representation_error"]) for row in best.values()]
            line.append(", ".join(s for s, row in best.items() if not baselines.explains(row)))
            guess = baselines.best(guesses, measure) if guesses else {"recipe": "", measure: ""}
            result.append([*line, guess["recipe"], guess[measure]])
    return result


INVERTER_MEASURES = ("mse", "psnr", "ssim", "representation_error")


def summarise_inverters(rows: list[dict], seed: int) -> tuple[list[str], list[list]]:
    """Means of every measure per inverse network, and its image error beside that of training end to end.

    `rows` hold classifier, layer, inverter, kind, regime, replicate, image and the measures. `_low` and
    `_high` are 95 % bootstrap intervals over images of the mean over replicates; `_least` and `_most` the
    means of the replicates that differ most. `mse_ratio` is the mean squared error divided by that of the
    network of the same kind and layer that was trained end to end, its interval over the same
    images for both; empty where there is none, or more than one to choose from.
    """
    groups: dict[tuple, dict[str, dict[str, list[float]]]] = {}
    for row in rows:
        key = tuple(row[c] for c in ("classifier", "layer", "inverter", "kind", "regime"))
        images = groups.setdefault(key, {}).setdefault(row["replicate"], {})
        images[row["image"]] = [float(row[measure]) for measure in INVERTER_MEASURES]
    columns = ["classifier", "layer", "inverter", "kind", "regime", "replicates", "images"]
    parts = ("", "_low", "_high", "_least", "_most")
    columns += [f"{measure}{part}" for measure in INVERTER_MEASURES for part in parts]
    columns += ["mse_ratio", "mse_ratio_low", "mse_ratio_high"]
    # replicates x images x measures
    tables = {
        key: np.array([list(r.values()) for r in group.values()]) for key, group in groups.items()
    }
    summary = []
    for key, table in tables.items():
        line: list = [*key, *table.shape[:2]]
        for values in np.moveaxis(table, 2, 0):
            line += [float(values.mean()), *bootstrap_interval(values.mean(0), seed)]
            line += [float(values.mean(1).min()), float(values.mean(1).max())]
        classifier, layer, _, kind, regime = key
        rivals = [
            other
            for k, other in tables.items()
            if (k[0], k[1], k[3], k[4]) == (classifier, layer, kind, "end_to_end")
        ]
        if len(rivals) == 1 and regime != "end_to_end":
            line += ratio_interval(table[..., 0].mean(0), rivals[0][..., 0].mean(0), seed)
        else:
            line += ["", "", ""]
        summary.append(line)
    return columns, summary


def ratio_interval(
    values: np.ndarray, others: np.ndarray, seed: int, resamples: int = 2000, level: float = 0.95
) -> tuple[float, float, float]:
    """Mean of `values` over mean of `others`, pairs of the same images, with its percentile bootstrap
    interval over images; (ratio, nan, nan) for fewer than two."""
    ratio = float(values.mean() / others.mean())
    if len(values) < 2:
        return ratio, float("nan"), float("nan")
    picked = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    ratios = values[picked].mean(1) / others[picked].mean(1)
    low, high = np.quantile(ratios, [(1 - level) / 2, (1 + level) / 2])
    return ratio, float(low), float(high)
