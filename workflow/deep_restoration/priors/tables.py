"""What is known of learned priors, in rows: how they were trained, and how well they denoise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..evaluation import intervals
from . import filters

TRAINED = ("prior", "layer", "steps", "seconds", "held_out_objective", "gabor_share")
MEANS = ("psnr_noisy", "psnr", "ssim", "iterations", "residual", "seconds")
DENOISED = ("prior", "estimator", "colour", "images", "photographs", "sigma", "weight", *MEANS)
DENOISED += ("psnr_low", "psnr_high", "note")


def gabor_share(described: dict[str, np.ndarray]) -> float:
    """Share of the filters that a Gabor function describes well, of the columns of their table."""
    return float((described["explained"] >= filters.GOOD).mean())


def trained(history: dict[str, np.ndarray]) -> tuple[int, float, float]:
    """Of the columns of a training's history: steps, seconds, and the least objective on held-out data."""
    least = float(history["held_out_objective"].min())
    return int(history["step"][-1]), float(history["seconds"][-1]), least


def denoised(rows: Sequence[dict[str, str]], seed: int) -> tuple:
    """The row of DENOISED of a prior's table, a row per image: means over images, and the 95 % bootstrap
    interval over photographs of the PSNR."""
    first, pictures = rows[0], [row["image"] for row in rows]
    values = {key: [float(row[key]) for row in rows] for key in MEANS}
    limits = intervals.cells(intervals.bootstrap_interval(np.array(values["psnr"]), pictures, seed))
    facts = [first[key] for key in ("prior", "estimator", "colour")]
    facts += [len(rows), intervals.photographs(pictures), first["sigma"], first["weight"]]
    means = [sum(column) / len(column) for column in values.values()]
    return (*facts, *means, *limits, intervals.note(pictures))
