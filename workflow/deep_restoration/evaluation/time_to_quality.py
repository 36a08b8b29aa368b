"""How long a recipe takes to reconstruct images to a given SSIM, from the traces of its optimisation."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

COLUMNS = (
    *("classifier", "layer", "recipe", "family", "images", "target", "ssim"),
    *("seconds", "iteration", "final_ssim", "final_seconds"),
)
STEP = 0.1  # between thresholds
FIRST = 2  # of them, in steps
BEST = "best hand-crafted"
HAND_CRAFTED = "hand-crafted"
Curve = tuple[np.ndarray, np.ndarray, np.ndarray]


def curve(trace: Iterable[dict[str, str]], term: str = "ssim") -> tuple[Curve, int]:
    """(iteration, value, seconds per image) of a trace's term over all its batches, and the number of images.

    `trace` are rows of batch, iteration, term, value, seconds; a batch is named by its first image. The value
    is the mean over images: a batch has the weight of its number of images. Batches run one after the other,
    so that seconds add up. One that stopped earlier counts as it was then. Raises ValueError where the trace
    lacks the term or the number of images.
    """
    marks: dict[int, list[tuple[int, float, float]]] = {}
    count = 0
    for row in trace:
        value, seconds = float(row["value"]), float(row["seconds"])
        if row["term"] == "seconds per image" and value > 0:
            count = round(seconds / value)
        if row["term"] == term:
            marks.setdefault(int(row["batch"]), []).append((int(row["iteration"]), value, seconds))
    if not marks or not count:
        raise ValueError(f"the trace has no {'seconds per image' if marks else term}")
    firsts = sorted(marks)
    sizes = np.diff([*firsts, count])
    iterations = np.unique([mark[0] for batch in marks.values() for mark in batch])
    iterations = iterations[iterations >= max(min(marks[first])[0] for first in firsts)]
    value, seconds = np.zeros(len(iterations)), np.zeros(len(iterations))
    for first, size in zip(firsts, sizes, strict=True):
        at, values, clock = np.array(sorted(marks[first])).T
        last = np.searchsorted(at, iterations, side="right") - 1
        value += size * values[last] / count
        seconds += clock[last] / count
    return (iterations, value, seconds), count


def thresholds(curves: Iterable[Curve], least: int = FIRST) -> list[float]:
    """0.2, 0.3 ... up to the last that any of the curves reaches."""
    highest = max(float(value.max()) for _, value, _ in curves)
    return [round(step * STEP, 10) for step in range(least, int(highest / STEP + 1e-9) + 1)]


def best_hand_crafted(curves: dict[str, Curve], families: dict[str, str]) -> str | None:
    """The hand-crafted recipe that ends with the highest SSIM; None where there is none."""
    mine = [recipe for recipe in curves if families[recipe] == HAND_CRAFTED]
    return max(mine, key=lambda recipe: curves[recipe][1][-1], default=None)


def best_final(curves: dict[str, Curve], families: dict[str, str]) -> float | None:
    """The SSIM with which it ends."""
    best = best_hand_crafted(curves, families)
    return None if best is None else float(curves[best][1][-1])


def reached(found: Curve, threshold: float) -> int | None:
    """Index of the first mark at which the curve is at the threshold or above; None where it never is."""
    above = np.flatnonzero(found[1] >= threshold)
    return int(above[0]) if len(above) else None


def table(
    classifier: str, layer: str, curves: dict[str, tuple[Curve, int]], families: dict[str, str]
) -> list[list]:
    """Rows of COLUMNS of a layer: every recipe for every threshold, and for the SSIM with which the best
    hand-crafted recipe ends; seconds per image and iteration, empty where it is never reached.

    SSIM is measured at iterations that lie half apart or closer, so that seconds may be half too many,
    never too few.
    """
    known = {recipe: found for recipe, (found, _) in curves.items()}
    targets = [(f"{threshold:.1f}", threshold) for threshold in thresholds(known.values())]
    if (best := best_final(known, families)) is not None:
        targets.append((BEST, best))
    rows = []
    for target, threshold in targets:
        for recipe, (found, count) in curves.items():
            iteration, value, seconds = found
            first = reached(found, threshold)
            when = ["", ""] if first is None else [float(seconds[first]), int(iteration[first])]
            start = [classifier, layer, recipe, families[recipe], count, target, threshold]
            rows.append([*start, *when, float(value[-1]), float(seconds[-1])])
    return rows
