"""Tables of measures: means with intervals per recipe and per inverse network, best of both families."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import baselines
from .intervals import (
    bootstrap_interval,
    cells,
    frame,
    groups,
    limited,
    means,
    note,
    photographs,
    ratio_interval,
    split,
)

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

    `rows` are the rows of the table of images, in its order; returns the columns and the summary's rows.
    `note` gives the reason where there are no intervals.
    """
    by = ("classifier", "layer", "recipe")
    columns = [*by, "images", "photographs", *limited(MEASURES), "note"]
    summary: list[list] = []
    for group in groups(rows, by, MEASURES):
        names = group.images
        counts = (len(names), photographs(names))
        summary.append([*group.key, *counts, *means(group, seed), note(names)])
    return columns, summary


COMPARED = ("mse", "psnr", "ssim", "representation_error")
FAMILIES = (
    *("classifier", "layer", "measure", "images", "photographs"),
    *("hand_crafted", "hand_crafted_value"),
    *("learned", "learned_value", "difference", "difference_low", "difference_high"),
    *("ratio", "ratio_low", "ratio_high", "hand_crafted_seconds", "learned_seconds"),
    *("hand_crafted_representation_error", "learned_representation_error", "unexplained"),
    *("baseline", "baseline_value", "note"),
)


def compare_families(rows: list[dict], learned: Sequence[str], seed: int) -> list[list]:
    """The best of the `learned` recipes beside the best of the others, per layer and measure.

    Rows of FAMILIES from those of the table of images. Best is the recipe with the least mean squared error,
    or the largest mean PSNR or SSIM, among those that explain the layer (`baselines.winner`); a family where
    none does is named in `unexplained`. `difference` is learned minus hand-crafted, `ratio` learned over
    hand-crafted, each with its 95 % bootstrap interval over images, the same ones for both; seconds are
    per image. `baseline` is the better one of the baselines, if there are any. Layers that have
    only one family are left out.
    """
    table = frame(rows, ("classifier", "layer", "recipe", "image"), (*COMPARED, "seconds"))
    result = []
    for key, layer in split(table, ("classifier", "layer")).items():
        recipes = {name: group for (name,), group in split(layer, ("recipe",)).items()}
        averages: list[dict[str, Any]] = [
            {"recipe": recipe} | {m: float(group[m].to_numpy().mean()) for m in COMPARED}
            for recipe, group in recipes.items()
        ]
        real = baselines.of_recipes(averages)
        guesses = [row for row in averages if row not in real]
        families = {
            family: [row for row in real if (row["recipe"] in learned) == wanted]
            for family, wanted in (("hand-crafted", False), ("learned", True))
        }
        if not all(families.values()):
            continue
        for measure in ("mse", "psnr", "ssim"):
            best = {name: baselines.winner(rows, measure) for name, rows in families.items()}
            theirs, ours = (recipes[row["recipe"]][measure].to_numpy() for row in best.values())
            names = recipes[best["learned"]["recipe"]]["image"].tolist()
            line: list = [*key, measure, len(ours), photographs(names)]
            for row in best.values():
                line += [row["recipe"], float(row[measure])]
            change = ours - theirs
            line += [float(change.mean()), *cells(bootstrap_interval(change, names, seed))]
            line += cells(ratio_interval(ours, theirs, names, seed))
            line += [float(recipes[row["recipe"]]["seconds"].iloc[0]) for row in best.values()]
            line += [float(row["representation_error"]) for row in best.values()]
            line.append(", ".join(s for s, row in best.items() if not baselines.explains(row)))
            guess = baselines.best(guesses, measure) if guesses else {"recipe": "", measure: ""}
            result.append([*line, guess["recipe"], guess[measure], note(names)])
    return result


INVERTER_MEASURES = ("mse", "psnr", "ssim", "representation_error")
INVERTER_COLUMNS = (
    *("classifier", "layer", "inverter", "kind", "regime", "replicate", "image"),
    *INVERTER_MEASURES,
)


def summarise_inverters(rows: list[dict], seed: int) -> tuple[list[str], list[list]]:
    """Means of every measure per inverse network, and its image error beside that of training end to end.

    `rows` are of INVERTER_COLUMNS. `_low` and `_high` are 95 % bootstrap intervals over images of the mean
    over replicates; `_least` and `_most` the means of the replicates that differ most. `mse_ratio` is the
    mean squared error divided by that of the network of the same kind and layer that was trained end to end,
    its interval over the same images for both; empty where there is none, or more than one to choose from.
    """
    by = ["classifier", "layer", "inverter", "kind", "regime"]
    table = frame(rows, (*by, "replicate", "image"), INVERTER_MEASURES)
    replicates = {
        key: list(split(group, ("replicate",)).values()) for key, group in split(table, by).items()
    }
    columns = [*by, "replicates", "images", "photographs"]
    parts = ("", "_low", "_high", "_least", "_most")
    columns += [f"{measure}{part}" for measure in INVERTER_MEASURES for part in parts]
    columns += ["mse_ratio", "mse_ratio_low", "mse_ratio_high", "note"]
    # replicates x images x measures
    tables = {
        key: np.array([one[[*INVERTER_MEASURES]].to_numpy() for one in ones])
        for key, ones in replicates.items()
    }
    summary = []
    for key, measured in tables.items():
        names = replicates[key][0]["image"].tolist()
        line: list = [*key, *measured.shape[:2], photographs(names)]
        for values in np.moveaxis(measured, 2, 0):
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
            ours, theirs = (found[..., 0].mean(0) for found in (measured, rivals[0]))
            line += cells(ratio_interval(ours, theirs, names, seed))
        else:
            line += ["", "", ""]
        summary.append([*line, note(names)])
    return columns, summary
