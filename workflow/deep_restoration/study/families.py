"""Families of recipes: what has a part in them. Imports no torch."""

from __future__ import annotations

from .configuration import canonical
from .registry import named_priors


def learned(study: dict) -> list[str]:
    """Names of the recipes of a completed configuration that use anything learned, in its order."""
    return [
        name
        for name, recipe in study["recipes"].items()
        if recipe.get("inverter") or set(named_priors(recipe)) & set(study["priors"])
    ]


def of_recipes(study: dict) -> dict[str, str]:
    """Of every recipe: `inverter`, if an inverse network has a part in it, `learned`, or `hand-crafted`."""
    found = dict.fromkeys(study["recipes"], "hand-crafted")
    for name in learned(study):
        found[name] = "inverter" if study["recipes"][name].get("inverter") else "learned"
    return canonical(found)
