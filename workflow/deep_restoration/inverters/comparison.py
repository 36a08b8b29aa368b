"""Inverse networks of a layer measured beside each other, and beside baselines that know no image."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ..evaluation.measurement import Measuring
from .chain import load_chain


def of_guesses(measuring: Measuring, guesses: dict[str, np.ndarray]) -> list[tuple]:
    """Rows of tables.INVERTER_COLUMNS from `inverter` on of baselines, H x W x 3 by name, as if each were an
    inverse network of no kind."""
    return [
        (name, "", "", 0, *row)
        for name, guess in guesses.items()
        for row in measuring.inversions(measuring.always(guess))[0]
    ]


def of_files(
    measuring: Measuring,
    paths: Iterable[str | os.PathLike],
    kinds: dict[str, str],
    regimes: dict[str, str],
) -> tuple[list[tuple], dict[str, np.ndarray]]:
    """The same of stored inverse networks, `<inverter>/<replicate>.safetensors`, kind and regime by inverter;
    and of the first replicate of each the first image, 1 x H x W x 3 float32 in [0, 1]."""
    rows, shown = [], {}
    for path in map(Path, paths):
        inverter, replicate = path.parent.name, int(path.stem)
        chain = load_chain(path).to(measuring.device)
        measured, first = measuring.inversions(chain.image)
        described = inverter, kinds[inverter], regimes[inverter], replicate
        rows += [(*described, *row) for row in measured]
        if replicate == 0:
            shown[inverter] = first.astype(np.float32)
    return rows, shown
