"""Classifiers as files: safetensors with the traced steps, of which `load` rebuilds the part up to
the layers asked for. A stored classifier takes images in [0, 1]: its normalisation is inside.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch

from ..files.tensors import open_tensors, save_tensors
from . import graph
from .weights import COUNTER


def save(
    path: str | os.PathLike,
    steps: Sequence[dict],
    layers: Sequence[str],
    state: dict[str, torch.Tensor],
    mean: Sequence[float],
    std: Sequence[float],
    provenance: dict,
) -> None:
    """Store the part of a classifier up to `layers`: its steps, normalisation, and weights, as far as
    `state` has them."""
    steps = graph.cut(steps, layers)
    with torch.device("meta"):
        needed = graph.Network(steps, layers).tensors()
    tensors = {}
    for name in sorted(needed):
        if name.endswith(COUNTER):
            tensors[name] = torch.tensor(0)
        elif name in state:
            value = state[name]
            tensors[name] = value.float() if value.is_floating_point() else value
    description = {"steps": steps, "mean": list(mean), "std": list(std), **provenance}
    save_tensors(path, tensors, "classifier", description)


def load(path: str | os.PathLike, layers: Sequence[str]) -> graph.Network:
    """The frozen network that yields the maps of `layers`; only the weights it needs are read."""
    with open_tensors(path, "classifier") as (file, description):
        with torch.device("meta"):
            network = graph.Network(
                description["steps"], layers, description["mean"], description["std"]
            )
        if absent := sorted(network.tensors() - set(file.names())):
            raise ValueError(
                f"{path} does not reach {', '.join(layers)}: the weights that it was made from have no "
                f"tensor {absent[0]} of the architecture's shape; take layers in front of it"
            )
        return network.load({name: file.get_tensor(name) for name in network.tensors()})
