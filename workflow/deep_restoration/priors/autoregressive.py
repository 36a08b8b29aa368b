"""What lies beyond the edge of an image: a model of each pixel given those on one side of it."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, fields

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..files.tensors import save_tensors
from ..runtime import devices, seeds
from ..runtime.checkpoints import Checkpoint
from . import networks
from .base import Calibrating, Completing
from .material import Material

# Quarter turns counter-clockwise after which an image's bottom, right, top or left edge is at the bottom.
DIRECTIONS = (0, -1, 2, 1)


class Network(nn.Module):
    """The row that follows `context` rows of maps, from a window of that many rows and 2 context - 1 columns.

    f(x), N x C x (H - context + 1) x W, of x, N x C x H x W: row i of f(x) follows rows i to
    i + context - 1 of x. It sees differences from the pixel next to the one it predicts, so that it adds
    a constant to what it says when one is added to the maps, and repeats that pixel before training.
    """

    def __init__(self, channels: int, width: int, blocks: int, context: int):
        super().__init__()
        self.context = context
        self.enter = nn.Conv2d(channels, width, (context, 2 * context - 1))
        self.blocks = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(blocks))
        self.leave = nn.Conv2d(width, channels, 1)
        for parameter in self.leave.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        aside = self.context - 1
        last = x[:, :, aside:]
        seen = self.enter(F.pad(x, (aside, aside, 0, 0), mode="replicate"))
        u = seen - F.conv2d(last, self.enter.weight.sum((2, 3), keepdim=True))
        for block in self.blocks:
            u = block(F.relu(u))
        return last + self.leave(F.relu(u)).to(x.dtype)


@dataclass(frozen=True)
class Settings:
    """width: hidden channels. blocks: hidden layers behind the first. context: rows seen. steps, batch,
    rate: of Adam. crop: side in pixels."""

    width: int
    blocks: int
    context: int
    steps: int
    batch: int
    rate: float
    crop: int
    precision: str


class Autoregressive(Calibrating, Completing):
    """Every pixel Gaussian around what a network expects from the pixels on one side of it.

    The energy is the sum over the four directions of sum |x_i - f(the rows before i)|^2 / (2 scale^2),
    over the rows that have enough before them: but for a factor and a constant, minus the log of a
    composite likelihood (Lindsay 1988) of conditionals as in autoregressive models (Theis & Bethge 2015).
    What it is for: to `complete` an image where nothing else is known of it.
    """

    kind = "autoregressive"

    def __init__(
        self,
        network: Network,
        scale: float,
        *,
        mean: float = 0.0,
        spread: float = 1.0,
        facts: dict | None = None,
    ):
        self.network, self.scale = network, scale
        self.mean, self.spread, self.facts = mean, spread, facts or {}
        self.network.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    @property
    def channels(self) -> int:
        return self.network.leave.out_channels

    def to(self, device: torch.device) -> Autoregressive:
        self.network.to(device)
        return self

    def expected(self, x: torch.Tensor) -> torch.Tensor:
        """f(x), in the precision of x."""
        self.to(x.device)
        with torch.autocast(x.device.type, enabled=False):
            return self.network(x / self.scale) * self.scale

    def energy(self, x: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        total = x.new_zeros(len(x))
        for turns in DIRECTIONS:
            turned = x.rot90(turns, (2, 3))
            error = self.expected(turned[:, :, :-1]) - turned[:, :, self.network.context :]
            total = total + error.square().sum((1, 2, 3))
        return total / (2 * self.scale**2)

    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            return torch.autograd.grad(self.energy(x).sum(), x)[0]

    def positions(self, x: torch.Tensor) -> int:
        """Number of values that are predicted, all directions together."""
        channels, height, width = x.shape[1:]
        context = self.network.context
        return 2 * channels * ((height - context) * width + height * (width - context))

    @torch.no_grad()
    def complete(self, images: torch.Tensor, seen: tuple[slice, slice]) -> torch.Tensor:
        """Images N x C x H x W that are known in the rows and columns `seen` alone, with the means
        expected beyond: row by row below, then columns to the right, above and to the left."""
        rows, columns = seen
        height, width = images.shape[2:]
        known, context = images[:, :, rows, columns], self.network.context
        missing = (height - rows.stop, width - columns.stop, rows.start, columns.start)
        for turns, count in zip(DIRECTIONS, missing, strict=True):
            known = known.rot90(turns, (2, 3))
            for _ in range(count):
                before = known[:, :, -context:]
                lacking = context - before.shape[2]
                before = F.pad(before, (0, 0, lacking, 0), mode="replicate")
                known = torch.cat([known, self.expected(before)], 2)
            known = known.rot90(-turns, (2, 3))
        return known

    def save(self, path: str | os.PathLike, provenance: dict) -> None:
        names = ("kind", "scale", "mean", "spread", "facts")
        facts = {name: getattr(self, name) for name in names}
        save_tensors(path, self.network.state_dict(), "prior", {**provenance, **facts})

    @classmethod
    def of(cls, tensors: dict, facts: dict) -> Autoregressive:
        """From what `save` wrote."""
        options = facts["facts"]
        channels = len(tensors["leave.bias"])
        network = Network(channels, *(options[name] for name in ("width", "blocks", "context")))
        network.load_state_dict(tensors)
        more = {name: facts[name] for name in ("mean", "spread", "facts")}
        return cls(network, facts["scale"], **more)


def train(
    maps: np.ndarray,
    held_out: np.ndarray,
    settings: Settings,
    seed: int,
    checkpoint: Checkpoint,
) -> tuple[Autoregressive, list[tuple]]:
    """Fit the network to crops of uint8 images N x C x H x W: maximum likelihood, so least squares.

    The loss is the mean squared error of a pixel in units of the images' variance. Returns also the
    history of networks.train. Raises ValueError for images that are no larger than the context.
    """
    where, (_, scale) = devices.device(), networks.units(maps)
    side, context = min(settings.crop, *maps.shape[2:]), settings.context
    if side <= context:
        raise ValueError(f"images of {side} pixels have no row behind a context of {context}")
    torch.manual_seed(seeds.seed_of(seed, "autoregressive", "start"))
    network = Network(maps.shape[1], settings.width, settings.blocks, context)
    network.to(where).to(memory_format=torch.channels_last)

    def losses(source: np.ndarray, count: int, draw: torch.Generator) -> networks.Loss:
        data = networks.crops(source, count, side, draw).div_(scale)
        data = data.contiguous(memory_format=torch.channels_last)

        def loss(part: slice) -> tuple[torch.Tensor]:
            with devices.precision_context(settings.precision, where):
                expected = network(data[part, :, :-1])
            return ((expected.float() - data[part, :, context:]).square().mean(),)

        return loss

    names = ("autoregressive", "autoregressive prior")
    history = networks.train(network, losses, maps, held_out, settings, names, seed, checkpoint)
    return Autoregressive(network, scale, facts=asdict(settings)), history


def trained(
    material: Material, settings: dict, checkpoint: Checkpoint
) -> tuple[Autoregressive, list[tuple]]:
    """`train` with the settings of a study."""
    plan = Settings(**{field.name: settings[field.name] for field in fields(Settings)})
    return train(material.maps, material.held_out, plan, settings["seed"], checkpoint)
