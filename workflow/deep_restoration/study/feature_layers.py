"""On which layers a prior of feature maps acts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

Layer = TypeVar("Layer")


def acted_on(entry: dict, front: Sequence[Layer]) -> list[Layer]:
    """Of the layers in front of the one to reconstruct from, shallow to deep, those on which a recipe's prior
    acts, by its `layers` or its weights by layer."""
    weight = entry["weight"]
    chosen = list(weight) if isinstance(weight, dict) else entry.get("layers", "all")
    if isinstance(chosen, list):
        return [layer for layer in front if layer in chosen]
    return list({"all": front, "first": front[:1], "last": front[-1:]}[chosen])
