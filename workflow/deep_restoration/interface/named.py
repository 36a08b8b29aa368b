"""A network by its name, traced, with weights, cut at a layer: as the workflow's classifier stage has it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from ..networks import sources
from ..networks.graph import INPUT, Network
from ..networks.names import OWN, kind
from ..study.configuration import MODULE, folder, is_file
from ..study.wording import nearest

RANDOM = "random"  # weights
FEWEST, MOST = 4, 8  # stages that are shown


@dataclass(frozen=True)
class Named:
    """An architecture, its untrained module and steps, and what `receptive_fields.of_layers` says of its
    layers at a size of images; `stop`: why it ended before the last layer, if it did."""

    architecture: str
    size: int
    model: nn.Module
    steps: list[dict]
    layers: dict[str, dict]
    stop: str | None

    @classmethod
    def build(cls, architecture: str, size: int, seed: int = 0) -> Named:
        """Raises ValueError, with the nearest names, for an architecture that is not known. Weights that
        nobody replaces follow from the seed."""
        model, steps, layers, stop = sources.examined(architecture, size, seed)
        return cls(architecture, size, model, steps, layers, stop)

    def check(self, layer: str) -> None:
        """Raise ValueError for a layer that is not there, that images of this size do not reach, or whose
        values are no maps."""
        names = [name for name, facts in self.layers.items() if name != INPUT and facts["maps"]]
        if layer in names:
            return
        if layer != INPUT and layer in self.layers:
            raise ValueError(
                f"what {layer} of {self.architecture} yields is neither maps nor a vector; nearest layers "
                f"that can be inverted: {nearest(layer, names)}"
            )
        if layer in {step["name"] for step in self.steps} - {INPUT}:
            images = f"images of {self.size} x {self.size}"
            reason = self.stop or "it gives no maps"
            raise ValueError(f"{images} have no maps at {layer} of {self.architecture}: {reason}")
        raise ValueError(
            f"{self.architecture} has no layer {layer!r}; nearest: {nearest(layer, names)}"
        )

    def sees(self, layer: str) -> dict:
        """Stride and receptive field of a layer."""
        return {key: self.layers[layer][key] for key in ("stride", "receptive_field")}

    def weighted(
        self, weights: str, layers: list[str]
    ) -> Callable[[str, torch.device | str], Network]:
        """A function from one of these layers and a device to the network that ends there.

        `weights`: a name of those that are published, a file, or `random`. DEFAULT of a function of the
        user's own are those of the module that it returns. Raises ValueError, as `sources.weights_of`, for
        weights that are not there or do not fit.
        """
        path, known = "", sources.published(self.architecture)
        colours = known.get(weights, sources.Colours())
        if weights == RANDOM or (weights == "DEFAULT" and kind(self.architecture) == OWN):
            weights = MODULE
        elif weights not in known and is_file(weights):
            path, weights = folder(weights), "file"
            colours = next(iter(known.values()), colours)
            if not path.is_file():
                raise ValueError(f"--weights is {str(path)!r}, and there is no such file")
        given = weights, path, None, layers, self.size
        state = sources.weights_of(self.architecture, self.model, self.steps, *given)

        def cut(layer: str, where: torch.device | str) -> Network:
            network = Network(self.steps, [layer], *colours)
            counters = {name: torch.tensor(0) for name in network.tensors() - set(state)}
            return network.load(state | counters).to(where).to(memory_format=torch.channels_last)

        return cut


def stages(layers: dict[str, dict], most: int = MOST) -> list[str]:
    """The stages of a network, at most so many, in order: its blocks at the first depth of names at which
    four differ in a number alone (`layer1` ... of a ResNet, `blocks.0` ... of a ViT), or at which there are
    four, or where names have no such depth the last layer of each shape of maps. Where there are more, as
    evenly as it goes, the last one among them."""
    usable = {name: facts for name, facts in layers.items() if facts["maps"]}
    maps = {name: facts for name, facts in usable.items() if len(facts["shape"]) > 1}
    blocks = [name for name, facts in maps.items() if facts["operation"] == "block"]
    depths = range(1, 1 + max((name.count(".") + 1 for name in blocks), default=0))
    levels = [[name for name in blocks if name.count(".") + 1 == depth] for depth in depths]
    candidates = [*map(_numbered, levels), *levels]
    found = next((level for level in candidates if len(level) >= FEWEST), [])
    if not found:
        by_shape = {
            str(facts["shape"]): name
            for name, facts in usable.items()
            if facts["waypoint"] and name != INPUT
        }
        found = list(by_shape.values())
    if len(found) > most:
        found = [found[round((len(found) - 1) * (n + 1) / most)] for n in range(most)]
    return found


def _numbered(names: list[str]) -> list[str]:
    """Of these names the largest group that differs in numbers alone."""
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(re.sub(r"\d+", "#", name), []).append(name)
    return max(groups.values(), key=len, default=[])
