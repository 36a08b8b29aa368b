"""A network by its name, traced, with weights, cut at a layer: as the workflow's classifier stage has it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from ..networks import receptive_fields, sources
from ..networks.graph import INPUT, Network
from ..networks.weights import constants, fit_weights
from ..study.configuration import folder, is_file
from ..study.wording import nearest

MOST = 8  # stages that are shown


@dataclass(frozen=True)
class Named:
    """An architecture, its untrained module and steps, and what `receptive_fields.of_layers` says of its
    layers
    at a size of images; `stop`: why it ended before the last layer, if it did."""

    architecture: str
    size: int
    model: nn.Module
    steps: list[dict]
    layers: dict[str, dict]
    stop: str | None

    @classmethod
    def build(cls, architecture: str, size: int, seed: int = 0) -> Named:
        """Raises ValueError, with the nearest names, for an architecture that is not known. Weights that
        nobody
        replaces follow from the seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = sources.build(architecture)
        steps = sources.steps_of(architecture, model)
        return cls(architecture, size, model, steps, *receptive_fields.of_layers(steps, size))

    def check(self, layer: str) -> None:
        """Raise ValueError for a layer that is not there, or that images of this size do not reach."""
        if layer in self.layers and layer != INPUT:
            return
        names = [name for name in self.layers if name != INPUT]
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

        `weights`: a name of those that torchvision publishes, a file, or `random`. Raises ValueError, as
        `sources.given_weights` and `fit_weights`, for weights that are not there or do not fit.
        """
        if weights == "random":
            state, origin = dict(self.model.state_dict()), "random weights"
        elif is_file(weights):
            path = folder(weights)
            if not path.is_file():
                raise ValueError(f"--weights is {weights!r}, and there is no such file")
            state, origin = sources.given_weights(self.architecture, "file", path, None)
        else:
            state, origin = sources.given_weights(self.architecture, weights, "", None)
        own = constants(self.steps, self.model)
        state = fit_weights(self.steps, layers, state, origin, own)

        def cut(layer: str, where: torch.device | str) -> Network:
            network = Network(self.steps, [layer], sources.IMAGENET_MEAN, sources.IMAGENET_STD)
            counters = {name: torch.tensor(0) for name in network.tensors() - set(state)}
            return network.load(state | counters).to(where).to(memory_format=torch.channels_last)

        return cut


def stages(layers: dict[str, dict], most: int = MOST) -> list[str]:
    """The stages of a network, at most so many, in order: its blocks at the first depth of names at which
    there are four (`layer1` ... of a ResNet, `features.3` ... of SqueezeNet), or where names have no such
    depth the last
    layer of each shape of maps. Where there are more, as evenly as it goes, the last one among them."""
    blocks = [name for name, facts in layers.items() if facts["operation"] == "block"]
    found: list[str] = []
    for depth in range(1, 1 + max((name.count(".") + 1 for name in blocks), default=0)):
        found = [name for name in blocks if name.count(".") + 1 == depth]
        if len(found) >= 4:
            break
    if len(found) < 4:
        by_shape = {
            str(facts["shape"]): name
            for name, facts in layers.items()
            if facts["waypoint"] and name != INPUT
        }
        found = list(by_shape.values())
    if len(found) > most:
        found = [found[round((len(found) - 1) * (n + 1) / most)] for n in range(most)]
    return found
