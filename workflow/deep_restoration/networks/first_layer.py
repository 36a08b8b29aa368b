"""The first convolution of a stored classifier, read without torch."""

from __future__ import annotations

import os

import numpy as np

from ..files.atomic import StorageError
from ..files.tensors import open_tensors


def first_convolution(path: str | os.PathLike) -> str:
    """Name of the first convolution of a stored classifier."""
    with open_tensors(path, "classifier") as (_, description):
        for step in description["steps"]:
            if _filters(step):
                return step["name"]
    raise ValueError(f"{path}: the network has no convolution")


def first_filters(path: str | os.PathLike) -> np.ndarray:
    """Filters K x 3 x h x w of the first convolution of a stored classifier."""
    with open_tensors(path, "classifier", "numpy") as (file, description):
        for step in description["steps"]:
            if name := _filters(step):
                return file.get_tensor(name)
    raise StorageError(f"{path}: the network has no convolution")


def _filters(step: dict) -> str:
    """The name of the weights of a convolution of images, a module or a function; empty of other steps."""
    target = step.get("target", "")
    if target.endswith(".Conv2d"):
        return f"{step['path']}.weight"
    return step["arguments"][1]["step"] if ".conv2d" in target else ""
