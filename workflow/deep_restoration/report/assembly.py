"""The report: figures, captions and tables in one HTML file that needs no network and no neighbour."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import yaml

from ..evaluation import baselines

RECIPE_MEASURES = ("ssim", "psnr", "mse", "representation_error", "seconds")


def render(
    template: Path,
    workflow: Path,
    captions: dict[str, Path],
    figures: list[dict],
    summary: list[dict[str, str]],
    statistics: list[dict[str, str]],
    stationarity: list[dict[str, str]],
    published: list[dict[str, str]],
    quality: list[dict[str, str]],
    maps: list[dict[str, str]],
    priors: list[dict[str, str]],
    denoising: list[dict[str, str]],
    linear: list[dict[str, str]],
    shapes: list[dict[str, str]],
    accuracy: dict[str, list[dict[str, str]]],
    study: dict,
    versions: dict[str, str],
    restarts: Sequence[dict[str, str]] = (),
    prior_selection: Sequence[dict[str, str]] = (),
) -> str:
    """The report's HTML.

    `workflow` is an SVG of the stages, which becomes part of the page. `captions` are texts by name,
    `figures` entries of path, caption (one of these names), section and wildcards, in order; the others
    rows of tables: `summary` of the results, `statistics` and `stationarity` of feature maps, `published`
    figures beside ours, `quality` against time, `maps` of the feature maps of reconstructed images,
    `priors` and `denoising` of learned priors, `linear` and `shapes` of linear inverses; `accuracy` rows by
    classifier; `study` the configuration; `restarts` and `prior_selection` of the studies of several
    restarts and of added priors, if there are any.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters["number"] = number
    sections: dict[str, list[dict]] = {}
    for entry in figures:
        text = caption(captions[entry["caption"]], entry["wildcards"])
        shown = {"data": data_uri(Path(entry["path"])), "text": text, **entry}
        shown["label"] = " ".join([*entry["wildcards"].values(), entry["caption"]])
        sections.setdefault(entry["section"], []).append(shown)
    return environment.from_string(template.read_text(encoding="utf-8")).render(
        introduction=caption(captions["introduction"], {}),
        workflow=workflow.read_text(encoding="utf-8"),
        stages=caption(captions["workflow"], {}),
        sections=sections,
        tables=[
            table_of(name, summary) for name in dict.fromkeys(r["classifier"] for r in summary)
        ],
        findings=findings(summary),
        statistics=statistics,
        claims=claims(stationarity),
        published=beside(published),
        quality=seconds_to(quality),
        maps=pivot(maps),
        priors=priors,
        denoising=denoising,
        linear=linear,
        shapes=shapes,
        accuracy=accuracy,
        restarts=restarts,
        prior_selection=prior_selection,
        study=yaml.safe_dump(study, sort_keys=False, width=100),
        versions=versions,
    )


def caption(path: Path, wildcards: dict[str, str]) -> str:
    """HTML of a caption: reStructuredText with Jinja fields, as `snakemake --report` reads it."""
    from docutils.core import publish_parts
    from jinja2 import Template

    literal = {key: re.sub(r"([\\*_`|])", r"\\\1", value) for key, value in wildcards.items()}
    context = SimpleNamespace(wildcards=SimpleNamespace(**literal))
    text = Template(path.read_text(encoding="utf-8")).render(snakemake=context)
    settings = {
        "report_level": 2,
        "halt_level": 3,
        "file_insertion_enabled": False,
        "raw_enabled": False,
    }
    parts = publish_parts(text, writer="html5", settings_overrides=settings)
    return cast(dict[str, str], parts)["body"]


def data_uri(png: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(png.read_bytes()).decode()


def number(value: str | float, digits: int = 3) -> str:
    """A figure as people read it: `digits` significant digits, no exponent where it can be avoided."""
    value = float(value)
    if math.isnan(value) or math.isinf(value):
        return "-" if math.isnan(value) else "∞"
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(value)))
    if magnitude < -5:
        return f"{value:.{digits - 1}e}"
    return f"{value:.{max(0, digits - 1 - magnitude)}f}"


def table_of(classifier: str, summary: list[dict[str, str]]) -> dict:
    """A classifier's rows for the page, the best recipe of each layer marked per measure, and which recipes
    do not explain it."""
    rows = [row for row in summary if row["classifier"] == classifier]
    best: dict[tuple[str, str], float] = {}
    may_win: list[dict[str, str]] = []
    for layer in dict.fromkeys(row["layer"] for row in rows):
        may_win += (found := baselines.eligible(row for row in rows if row["layer"] == layer))
        for measure in RECIPE_MEASURES:
            best[layer, measure] = float(baselines.best(found, measure)[measure])
    lines = []
    for row in rows:
        cells = [
            {
                "value": row[measure],
                "low": row[f"{measure}_low"],
                "high": row[f"{measure}_high"],
                "best": row in may_win and float(row[measure]) == best[row["layer"], measure],
            }
            for measure in RECIPE_MEASURES
        ]
        names = {"layer": row["layer"], "recipe": row["recipe"], "mark": mark(row)}
        lines.append(names | {"cells": cells})
    facts = {key: rows[0][key] for key in ("images", "photographs", "note")}
    return {"classifier": classifier, "lines": lines, **facts}


def mark(row: dict[str, str]) -> str:
    """The mark beside a recipe that does not explain the layer; empty for others and for baselines."""
    recipe = row["recipe"] not in baselines.NAMES
    return baselines.MARK if recipe and not baselines.explains(row) else ""


def findings(summary: list[dict[str, str]]) -> list[dict]:
    """Per layer, which recipe came closest to the image, of those that explain the layer, and which to the
    feature maps; and the better baseline."""
    found = []
    for key in dict.fromkeys((row["classifier"], row["layer"]) for row in summary):
        rows = [row for row in summary if (row["classifier"], row["layer"]) == key]
        guesses = [row for row in rows if row["recipe"] in baselines.NAMES]
        line: dict = {"classifier": key[0], "layer": key[1]}
        for name, measure in (("ssim", "ssim"), ("mse", "mse"), ("code", "representation_error")):
            line[name] = (won := baselines.winner(rows, measure)) | {"mark": mark(won)}
            line[f"guessed_{name}"] = baselines.best(guesses, measure)[measure] if guesses else ""
        found.append(line)
    return found


def beside(published: list[dict[str, str]]) -> dict:
    """Published figures, each with the recipe of ours that has the least error by its definition and with
    `mahendran2015`, where the study has it; and the notes of classifiers without any."""
    groups: dict[tuple[str, ...], list[dict[str, str]]] = {}
    notes = [row["note"] for row in published if not row["published"]]
    for row in published:
        if row["published"]:
            key = tuple(row[c] for c in ("classifier", "layer", "measure", "source", "method"))
            groups.setdefault(key, []).append(row)
    lines = []
    for rows in groups.values():
        least = min(baselines.of_recipes(rows), key=lambda row: float(row["ours"]))
        same = next((row for row in rows if row["recipe"] == "mahendran2015"), None)
        lines.append({"figure": rows[0], "least": least, "same": same})
    return {"lines": lines, "notes": notes}


def seconds_to(quality: list[dict[str, str]]) -> dict:
    """Seconds per image to each SSIM: a line per layer and recipe, a column per threshold, the last the SSIM
    with which the layer's best hand-crafted recipe ends."""
    last = [t for t in dict.fromkeys(r["target"] for r in quality) if not t[0].isdigit()]
    targets = sorted({row["target"] for row in quality} - set(last)) + last
    lines: dict[tuple[str, str, str], dict[str, str]] = {}
    for row in quality:
        key = row["classifier"], row["layer"], row["recipe"]
        ends = {"final": row["final_ssim"], "all": row["final_seconds"]}
        # A layer where nothing comes so far has no rows for a threshold.
        line = lines.setdefault(key, dict.fromkeys(targets, "") | ends)
        line[row["target"]] = row["seconds"]
        if row["target"] in last:
            line["best"] = row["ssim"]
    return {"targets": targets, "lines": list(lines.items())}


def claims(stationarity: list[dict[str, str]]) -> list[dict]:
    """Per layer, from all images: how far the covariance within channels and the precision are from
    stationary, and the sentence that follows."""
    found = []
    for key in dict.fromkeys((row["classifier"], row["layer"]) for row in stationarity):
        rows = [row for row in stationarity if (row["classifier"], row["layer"]) == key]
        most = max(int(row["images"]) for row in rows)
        borders = sorted({int(row["border"]) for row in rows})
        last = {
            (row["form"], borders.index(int(row["border"]))): row
            for row in rows
            if int(row["images"]) == most
        }
        names = {"classifier": key[0], "layer": key[1], "images": most, "rows": last}
        found.append(names | {"verdict": verdict(last["within", 0])})
    return found


def verdict(row: dict[str, str]) -> str:
    """What an interval of the noise-free distance means for the claim that feature maps are stationary."""
    low, middle, high = (float(row[f"noise_free{end}"]) for end in ("_low", "", "_high"))
    if math.isnan(middle):
        return "too small to tell"
    interval = f"{100 * middle:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"
    if low == 0:
        return f"stationary as far as these images tell: {interval} from it"
    share = f"{100 * (1 - middle**2):.0f} %"
    if high < 0.2:
        return f"nearly stationary: {interval} from it, {share} of the squared norm is"
    return f"not stationary: {interval} from it, though {share} of the squared norm is"


def pivot(maps: list[dict[str, str]]) -> dict:
    """Distances of reconstructed images' feature maps: one line per layer and recipe, one column per measure.
    Distances of reconstructed images' feature maps: one line per layer and recipe, one column per measure."""
    measures = list(dict.fromkeys(row["measure"] for row in maps))
    lines: dict[tuple[str, str, str], dict[str, str]] = {}
    for row in maps:
        key = row["classifier"], row["layer"], row["recipe"]
        lines.setdefault(key, {})[row["measure"]] = row["distance"]
    return {"measures": measures, "lines": list(lines.items())}
