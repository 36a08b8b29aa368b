"""Figures that papers report, beside ours by the same definition and for the layer of the same name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from . import intervals, paper_measures

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    *("classifier", "layer", "recipe", "images", "measure", "unit", "ours", "ours_spread"),
    *("published", "published_spread", "method", "layer_in_source", "source", "sure", "note"),
)
ALEXNETS = ("alexnet", "alexnet_lrn")  # architectures whose layers the published ones are
MOVED = ("norm1", "pool1", "norm2", "pool2")  # CaffeNet pools, then normalises


def reason(classifier: str, architecture: str, weights: str) -> str:
    """Why the published figures do not apply to this classifier; empty where they do."""
    if architecture not in ALEXNETS:
        return f"the classifier {classifier} is {architecture}; published figures are of AlexNet"
    if weights == "exemplar":
        return (
            f"{classifier} is AlexNet, but trained on the spot; published figures are of ImageNet's"
        )
    return ""


def compare(
    rows: Iterable[dict[str, str]],
    published: Iterable[dict[str, str]],
    classifiers: dict[str, dict],
    size: int,
) -> list[list]:
    """Rows of COLUMNS: for every published figure of a layer of the study, every recipe beside it.

    `rows` are the rows of the table of the papers' measures, `published` those of the files in `resources`,
    of which the selected ones count; `classifiers` holds architecture and weights by name, `size` is the
    side of our images in pixels. `ours` is the mean over images in the published unit, the spreads are
    standard deviations over images. A classifier without anything to compare with has one row, whose
    note gives the reason.
    """
    known = [row for row in published if row["selected"] == "yes"]
    table = intervals.frame(rows, ("classifier", "layer", "recipe", *paper_measures.MEASURES), ())
    groups = {
        key: {recipe: group for (recipe,), group in intervals.split(layer, ("recipe",)).items()}
        for key, layer in intervals.split(table, ("classifier", "layer")).items()
    }
    result = []
    for name, entry in classifiers.items():
        layers = [layer for classifier, layer in groups if classifier == name]
        lines = []
        if not (why := reason(name, entry["architecture"], entry["weights"])):
            for layer in layers:
                for figure in known:
                    if figure["layer"] == layer and figure["measure"] in paper_measures.MEASURES:
                        remark = note(entry["architecture"], figure, size)
                        for recipe, group in groups[name, layer].items():
                            lines.append(_line(name, layer, recipe, group, figure, remark))
            why = f"no figure is published of {', '.join(layers)}"
        result += lines or [[name, *[""] * (len(COLUMNS) - 2), why]]
    return result


def _line(
    classifier: str,
    layer: str,
    recipe: str,
    group: pd.DataFrame,
    figure: dict[str, str],
    remark: str,
) -> list:
    unit = figure["unit"]
    values = group[figure["measure"]].to_numpy(np.float64)
    values = values * {"percent": 100.0, "1": 1.0}[unit]
    spread = float(values.std(ddof=1)) if len(values) > 1 else ""
    said = [figure[key] for key in ("value", "spread", "method", "layer_in_source", "source")]
    start = [classifier, layer, recipe, len(values), figure["measure"], unit, float(values.mean())]
    return [*start, spread, *said, figure["sure"], remark]


def note(architecture: str, figure: dict[str, str], size: int) -> str:
    """What else differs between a published figure and ours."""
    remarks = []
    if architecture == "alexnet":
        remarks.append("torchvision's AlexNet has other widths and no response normalisation")
    elif figure["layer"] in MOVED and figure["network"] == "CaffeNet":
        remarks.append("the published network pools before it normalises")
    if figure["size"] and int(figure["size"]) != size:
        remarks.append(f"published for images of {figure['size']} pixels a side, ours have {size}")
    return "; ".join(remarks)
