"""Learned priors from stored material: patches, images, feature maps."""

from __future__ import annotations

import logging
import os
from typing import Any

import numpy as np
import torch

from ..data import images, patches, splits
from ..data.splits import evenly_spaced
from ..files.hdf5 import open_hdf5
from ..runtime import devices
from ..runtime.checkpoints import Checkpoint
from . import autoregressive, denoiser, score_matching, whitening
from .base import LearnedPrior
from .field import FieldOfExperts

log = logging.getLogger(__name__)

MEMORY = 2 << 30  # bytes of maps held at a time; more are thinned out evenly
CALIBRATION = 64  # held-out maps, at most, for mean and spread


def load_maps(path: str | os.PathLike, of: str, share: float) -> tuple[np.ndarray, np.ndarray]:
    """Training and held-out maps N x C x H x W: uint8 of `images` or `grey`, float32 of `features`.

    `share` of all maps is held out (images.held_out). Raises ValueError for fewer than two maps.
    """
    stage = "features" if of == "features" else "images"
    with open_hdf5(path, stage) as file:
        data = file[stage]
        if len(data) < 2:
            raise ValueError(f"{path} holds {len(data)} maps; a prior needs at least 2")
        kept = splits.held_out(len(data), share)
        parts = []
        for chosen in (~kept, kept):
            rows = np.flatnonzero(chosen).tolist()
            room = max(1, MEMORY // max(1, data[0].nbytes))
            if len(rows) > room:
                log.info("%d of %d maps fit into memory", room, len(rows))
                rows = evenly_spaced(rows, room)
            part = data[rows]
            if of == "grey":
                part = images.grey(part)[:, None]
            elif of == "images":
                part = part.transpose(0, 3, 1, 2)
            parts.append(part.reshape(*part.shape, *(1, 1)[: 4 - part.ndim]))
    return parts[0], parts[1]


def batches(maps: np.ndarray, size: int = 16):
    """Maps as float tensors on the device, images in [0, 1]."""
    scale = 255 if maps.dtype == np.uint8 else 1
    for start in range(0, len(maps), size):
        part = torch.from_numpy(np.ascontiguousarray(maps[start : start + size]))
        yield part.to(devices.device()).float().div_(scale)


def fit(
    settings: dict,
    maps_file: str | os.PathLike,
    patches_file: str | os.PathLike | None,
    output: str | os.PathLike,
    key: list,
) -> tuple[LearnedPrior, list[tuple]]:
    """Train and calibrate the prior that `settings` describe (the keys of its method in study/models.py; also
    `of`, `held_out`, `seed`). `output` and `key` name its checkpoints.

    Returns it and the history as rows (step, objective, held-out objective, seconds).
    """
    of, seed = settings["of"], settings["seed"]
    maps, kept = load_maps(maps_file, of, settings["held_out"])
    checkpoint = Checkpoint(output, key)
    if method := {"denoiser": denoiser, "autoregressive": autoregressive}.get(settings["method"]):
        names = method.Settings.__dataclass_fields__
        plan = method.Settings(**{name: settings[name] for name in names})
        prior, history = method.train(maps, kept, plan, seed, checkpoint)
    else:
        early = Checkpoint(f"{output}.start", key)
        prior, history = _experts(settings, maps, kept, patches_file, checkpoint, early)
        early.remove()
    prior.to(devices.device())
    prior.calibrate(batches(kept[:: -(-len(kept) // CALIBRATION)]))
    prior.facts |= {"of": of, "held_out_objective": min(row[2] for row in history)}
    checkpoint.remove()
    return prior, history


def _experts(settings, maps, kept, patches_file, checkpoint, early) -> tuple:
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
            problem, plan, settings["seed"], early if field else checkpoint
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
