"""Training of fields of experts, from patches and then from whole maps."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..data import patches
from ..files.hdf5 import open_hdf5
from ..runtime import devices
from ..runtime.checkpoints import Checkpoint
from . import score_matching, whitening
from .field import FieldOfExperts
from .material import Material


def train(
    material: Material, settings: dict, checkpoint: Checkpoint
) -> tuple[FieldOfExperts, list[tuple]]:
    """Experts by score matching of whitened patches (method `patch`), or of whole maps, which begins with a
    training on patches (method `field`). Returns also the history, rows as of `score_matching.train`."""
    maps, kept, patches_file = material
    assert patches_file is not None  # study.configuration accepts no other
    image, field = maps.dtype == np.uint8, settings["method"] == "field"
    with open_hdf5(patches_file, "patches") as file:
        shape, dc, contrast = file["patches"].shape[1:], file.attrs["dc"], file.attrs["contrast"]
        contrast = float(contrast) or None
        unit = (
            1 / 255
            if image
            else float(np.sqrt(np.trace(file["covariance"][...]) / file["mean"].size)) / 100
        )
        noise = settings["noise"] * unit
        options = ("variant", "groups", "multiplier", "dimensions", "floor", "whitening")
        projection = whitening.Projection.fit(
            shape,
            file["mean"][...],
            file["covariance"][...],
            str(dc),
            **{name: settings[name] for name in options if name in settings},
            noise=0.0 if contrast else noise,
        )
        data, held = (
            _whitened(file, name, projection, contrast) for name in ("patches", "held_out")
        )
    where, linear = devices.device(), projection.linear().astype(np.float32)
    unit_norm = settings.get("unit_norm", False)
    plan = score_matching.Settings(
        settings["expert"],
        settings["filters"],
        settings["start"] if field else settings["steps"],
        500 if field else settings["batch"],
        2e-2 if field else settings["rate"],
        unit_norm,
        None if field else settings["patience"],
    )
    noisy = torch.from_numpy(noise * linear).to(where) if noise and not contrast else None
    span = projection.span()
    span = None if span is None else torch.from_numpy(span).float().to(where)
    start: tuple[torch.Tensor, torch.Tensor] | None = None
    history: list[tuple] = []
    if plan.steps:
        problem = score_matching.Patches(data.to(where), held.to(where), noisy, span)
        filters, alphas, history = score_matching.train(
            problem, plan, settings["seed"], checkpoint.begun() if field else checkpoint
        )
        start = filters, alphas
    if field:
        # Every pixel is in as many patches as a patch has positions: together they count once.
        area = shape[1] * shape[2]
        if start:
            start = start[0], start[1] / area
        centre = projection.centre.reshape(shape[0], -1).mean(1)
        problem = score_matching.Fields(
            maps,
            kept,
            torch.from_numpy(linear[0]).to(where),
            shape[1],
            settings["middle"],
            torch.from_numpy(centre),
            noise,
            span,
        )
        plan = score_matching.Settings(
            settings["expert"],
            settings["filters"],
            settings["steps"],
            settings["batch"],
            settings["rate"],
            False,
            settings["patience"],
        )
        filters, alphas, history = score_matching.train(
            problem, plan, settings["seed"], checkpoint, start, "field"
        )
        start = filters, alphas
    assert start is not None  # one of the two was trained
    filters, alphas = (tensor.double().cpu().numpy() for tensor in start)
    folded = projection.fold(filters)
    if field:  # the mean that was subtracted is one colour
        colour = np.repeat(centre, area)
        folded["bias"] = -(filters[0] @ projection.linear()[0]) @ colour
    tensors: dict[str, Any] = {
        name: None if folded[name] is None else torch.from_numpy(folded[name]).float()
        for name in ("filters", "bias", "depthwise", "patterns")
    }
    prior = FieldOfExperts(
        **tensors,
        alphas=torch.from_numpy(alphas.reshape(-1)).float(),
        expert=settings["expert"],
        groups=folded["groups"],
        dc=str(dc),
        contrast=contrast,
    )
    return prior, history


def _whitened(file, name: str, projection: whitening.Projection, contrast: float | None):
    """Patches of a file as whitened data, G x n x d, read block by block."""
    source, scale, dc = file[name], float(file.attrs["scale"]), str(file.attrs["dc"])
    groups, dimensions = projection.matrix.shape[:2]
    result = np.empty((groups, len(source), dimensions), np.float32)
    for start in range(0, len(source), 10000):
        block = source[start : start + 10000].astype(np.float32) / scale
        flat = patches.normalise_contrast(patches.remove_dc(block, dc), contrast)
        result[:, start : start + len(block)] = projection.apply(flat)
    return torch.from_numpy(result)
