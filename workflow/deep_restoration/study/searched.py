"""A recipe's values that are searched: their bounds, and the recipe with other values."""

from __future__ import annotations

import os
from collections.abc import Sequence

Values = dict[str, float]


def parameters(ranges: dict) -> dict[str, tuple[float, float]]:
    """The bounds, by name, of `rate` and `data_weight`, of the weights of priors, `priors.<name>`, and of
    the noise levels of denoisers, `sigma.<name>`."""
    named = {name: tuple(ranges[name]) for name in ("rate", "data_weight") if name in ranges}
    for group in ("priors", "sigma"):
        named |= {f"{group}.{name}": tuple(b) for name, b in (ranges.get(group) or {}).items()}
    return named


def replace(recipe: dict, values: Values) -> dict:
    """The recipe with other values; `rate` is that of the first phase, to which others keep their ratio,
    and a denoiser's `sigma` the last, to which the first keeps its ratio."""
    result = {key: value for key, value in recipe.items() if key != "search"}
    for name, value in values.items():
        if name == "rate":
            factor = value / recipe["phases"][0]["rate"]
            result["phases"] = [{**p, "rate": p["rate"] * factor} for p in recipe["phases"]]
        elif name == "data_weight":
            result[name] = value
        else:
            group, _, prior = name.partition(".")
            entry = dict(result["priors"][prior])
            if group == "priors":
                entry["weight"] = value
            elif isinstance(level := entry.get("sigma"), list):
                entry["sigma"] = [level[0] * value / level[1], value]
            else:
                entry["sigma"] = value
            result["priors"] = {**result["priors"], prior: entry}
    return result


def shorter(recipe: dict, share: float) -> dict:
    """The recipe with a share of its iterations, at least one in every phase, and of its warm-ups."""
    phases = []
    for phase in recipe["phases"]:
        count, warmup = phase["iterations"], phase.get("warmup")
        more = {"warmup": round(warmup * share)} if warmup else {}
        phases.append({**phase, "iterations": max(1, round(count * share)), **more})
    return {**recipe, "phases": phases}


def apply(recipe: dict, found: Sequence[str | os.PathLike] = ()) -> dict:
    """The recipe with the values that a search has written to the file in `found`, if there is one."""
    from ..files.tables import read_json

    values: Values = {}
    for path in found:
        values = read_json(path)["values"]
    return replace(recipe, values)
