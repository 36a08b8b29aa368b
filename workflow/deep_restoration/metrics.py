"""Image metrics on N x H x W x 3 arrays in [0, 1]: MSE, PSNR, SSIM and its parts; intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from . import baselines
from .images import photograph

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


FEWEST = 4  # photographs of which an interval is made


def _resampled(values: Sequence, names: Sequence[str], seed: int, resamples: int) -> np.ndarray:
    """Means over images, K x resamples, of each of K x N values, when photographs are drawn with replacement.

    `names` are those of the N images. Crops of one photograph are drawn together, because they are no
    samples of their own. Of fewer than FEWEST photographs nothing is drawn: K x 0.
    """
    numbers: dict[str, int] = {}
    shows = np.array([numbers.setdefault(photograph(name), len(numbers)) for name in names], int)
    if len(numbers) < FEWEST:
        return np.empty((len(values), 0))
    counts = np.bincount(shows)
    sums = np.array([np.bincount(shows, np.asarray(row, np.float64)) for row in values])
    drawn = np.random.default_rng(seed).integers(len(counts), size=(resamples, len(counts)))
    return sums[:, drawn].sum(2) / counts[drawn].sum(1)


def _limits(drawn: np.ndarray, level: float) -> tuple[float, float]:
    if not len(drawn):
        return float("nan"), float("nan")
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_interval(
    values: np.ndarray, names: Sequence[str], seed: int, resamples: int = 2000, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval over photographs of the mean over images of these `names`; (nan, nan)
    for fewer than FEWEST photographs."""
    return _limits(_resampled([values], names, seed, resamples)[0], level)


def ratio_interval(
    values: np.ndarray,
    others: np.ndarray,
    names: Sequence[str],
    seed: int,
    resamples: int = 2000,
    level: float = 0.95,
) -> tuple[float, float, float]:
    """Mean of `values` over mean of `others`, pairs of the same images, with its percentile bootstrap
    interval over photographs; (ratio, nan, nan) for fewer than FEWEST."""
    ours, theirs = _resampled([values, others], names, seed, resamples)
    return float(np.mean(values) / np.mean(others)), *_limits(ours / theirs, level)


def cells(values: Iterable[float]) -> list[float | str]:
    """Figures and their limits as a table has them: what is not known is empty."""
    return ["" if math.isnan(value) else value for value in values]


def photographs(names: Iterable[str]) -> int:
    """How many photographs images of these names show."""
    return len({photograph(name) for name in names})


def note(names: Iterable[str]) -> str:
    """What a table says where it has no intervals."""
    count = photographs(names)
    if count >= FEWEST:
        return ""
    return f"no intervals: {count} photograph{'s' * (count != 1)}, at least {FEWEST} are needed"


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

    `rows` are those of the table of images, in its order; returns the columns and the summary's rows. `note`
    says why there are no intervals, where there are none.
    """
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        groups.setdefault((row["classifier"], row["layer"], row["recipe"]), []).append(row)
    columns = ["classifier", "layer", "recipe", "images", "photographs"]
    columns += [f"{measure}{part}" for measure in MEASURES for part in ("", "_low", "_high")]
    columns.append("note")
    summary = []
    for key, group in groups.items():
        names = [row["image"] for row in group]
        line: list = [*key, len(group), photographs(names)]
        for measure in MEASURES:
            values = np.array([float(row[measure]) for row in group])
            line += [float(values.mean()), *cells(bootstrap_interval(values, names, seed))]
        summary.append([*line, note(names)])
    return columns, summary


COMPARED = ("mse", "psnr", "ssim", "representation_error")
SIDES = (
    *("classifier", "layer", "measure", "images", "photographs"),
    *("hand_crafted", "hand_crafted_value"),
    *("learned", "learned_value", "difference", "difference_low", "difference_high"),
    *("ratio", "ratio_low", "ratio_high", "hand_crafted_seconds", "learned_seconds"),
    *("hand_crafted_representation_error", "learned_representation_error", "unexplained"),
    *("baseline", "baseline_value", "note"),
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
            names = [row["image"] for row in recipes[best["learned"]["recipe"]]]
            line: list = [*key, measure, len(ours), photographs(names)]
            for row in best.values():
                line += [row["recipe"], float(row[measure])]
            change = ours - theirs
            line += [float(change.mean()), *cells(bootstrap_interval(change, names, seed))]
            line += cells(ratio_interval(ours, theirs, names, seed))
            line += [float(recipes[row["recipe"]][0]["seconds"]) for row in best.values()]
            line += [float(row["representation_error"]) for row in best.values()]
            line.append(", ".join(s for s, row in best.items() if not baselines.explains(row)))
            guess = baselines.best(guesses, measure) if guesses else {"recipe": "", measure: ""}
            result.append([*line, guess["recipe"], guess[measure], note(names)])
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
    columns.append("photographs")
    parts = ("", "_low", "_high", "_least", "_most")
    columns += [f"{measure}{part}" for measure in INVERTER_MEASURES for part in parts]
    columns += ["mse_ratio", "mse_ratio_low", "mse_ratio_high", "note"]
    # replicates x images x measures
    tables = {
        key: np.array([list(r.values()) for r in group.values()]) for key, group in groups.items()
    }
    summary = []
    for key, table in tables.items():
        names = list(next(iter(groups[key].values())))
        line: list = [*key, *table.shape[:2], photographs(names)]
        for values in np.moveaxis(table, 2, 0):
            limits = bootstrap_interval(values.mean(0), names, seed)
            line += [float(values.mean()), *cells(limits)]
            line += [float(values.mean(1).min()), float(values.mean(1).max())]
        classifier, layer, _, kind, regime = key
        rivals = [
            other
            for k, other in tables.items()
            if (k[0], k[1], k[3], k[4]) == (classifier, layer, kind, "end_to_end")
        ]
        if len(rivals) == 1 and regime != "end_to_end":
            errors = (found[..., 0].mean(0) for found in (table, rivals[0]))
            line += cells(ratio_interval(*errors, names, seed))
        else:
            line += ["", "", ""]
        summary.append([*line, note(names)])
    return columns, summary
