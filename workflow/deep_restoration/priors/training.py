"""Learned priors from stored material: patches, images, feature maps."""

from __future__ import annotations

import os

from ..runtime import devices
from ..runtime.checkpoints import Checkpoint
from .base import LearnedPrior
from .material import Material, batches, load_maps
from .registry import TRAINERS

CALIBRATION = 64  # held-out maps, at most, for mean and spread


def train(
    settings: dict,
    maps_file: str | os.PathLike,
    patches_file: str | os.PathLike | None,
    output: str | os.PathLike,
    key: list,
) -> tuple[LearnedPrior, list[tuple]]:
    """Train and calibrate the prior that `settings` describe (the keys of its method in study/models.py; also
    `of`, `held_out`, `seed`). `output` and `key` name its checkpoint.

    Returns it and the history as rows (step, objective, held-out objective, seconds).
    """
    learned = settings["of"], settings["held_out"], settings.get("part", "all")
    maps, kept = load_maps(maps_file, *learned)
    checkpoint = Checkpoint(output, key)
    material = Material(maps, kept, patches_file)
    prior, history = TRAINERS[settings["method"]](material, settings, checkpoint)
    prior.to(devices.device())
    prior.calibrate(batches(kept[:: -(-len(kept) // CALIBRATION)]))
    prior.facts |= {"of": settings["of"], "held_out_objective": min(row[2] for row in history)}
    checkpoint.remove()
    return prior, history
