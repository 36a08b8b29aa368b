"""Samples at even distances, and how many are held out. Standard library only: planning needs it."""

from __future__ import annotations


def evenly_spaced(items: list, count: int | None) -> list:
    """`count` items at even distances over the list, all of them for None or a larger count."""
    if count is None or count >= len(items):
        return items
    return [items[(2 * i + 1) * len(items) // (2 * count)] for i in range(count)]


def held_out_count(count: int, share: float) -> int:
    """How many of `count` images are held out from all learning: a share of them, at least one."""
    return max(1, round(count * share))
