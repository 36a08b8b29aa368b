"""Denoising auto-encoders as priors, for images and for feature maps."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..files.tensors import save_tensors
from ..runtime import devices, seeds
from ..runtime.checkpoints import Checkpoint
from . import networks
from .base import Denoising, Distance
from .material import Material


class Block(nn.Module):
    """x + conv(relu(conv(x))), the identity before training."""

    def __init__(self, width: int):
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        for parameter in self.parameters():
            nn.init.zeros_(parameter)
        nn.init.kaiming_normal_(self.first.weight, nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(F.relu(self.first(x)))


class Network(nn.Module):
    """A residual U-Net of two scales that is told the noise level.

    R(x, sigma) of x (N x C x H x W, any H and W) and sigma (N,), both in units of the data's `scale`
    around its `centre`. Pixels are first folded `fold` x `fold` into channels, which makes it `fold`^2
    times cheaper.
    """

    def __init__(self, channels: int, width: int, blocks: int, fold: int):
        super().__init__()
        self.fold, inner = fold, channels * fold**2
        self.enter = nn.Conv2d(inner + 1, width, 3, padding=1)
        self.fine = nn.Sequential(*(Block(width) for _ in range(blocks)))
        self.down = nn.Conv2d(width, 2 * width, 2, 2)
        self.coarse = nn.Sequential(*(Block(2 * width) for _ in range(blocks)))
        self.up = nn.ConvTranspose2d(2 * width, width, 2, 2)
        self.last = nn.Sequential(*(Block(width) for _ in range(blocks)))
        self.leave = nn.Conv2d(width, inner, 3, padding=1)
        for parameter in self.leave.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[2:]
        multiple, level = 2 * self.fold, sigma.view(-1, 1, 1, 1)
        # One row or column may be all there is: repeat the edge.
        padded = F.pad(x, (0, -width % multiple, 0, -height % multiple), mode="replicate")
        u = F.pixel_unshuffle(padded, self.fold)
        u = torch.cat([u, level.expand(-1, 1, *u.shape[2:])], 1)
        u = self.enter(u.contiguous(memory_format=torch.channels_last))
        fine = self.fine(u)
        u = self.last(fine + self.up(self.coarse(self.down(fine))))
        noise = F.pixel_shuffle(self.leave(u), self.fold)[..., :height, :width]
        return x - level * noise.to(x.dtype)


@dataclass(frozen=True)
class Settings:
    """width: channels at the fine scale. blocks: at each place. fold: of pixels into channels. noise_levels:
    least and largest standard deviation (of image values in 0..255, of feature maps in percent of
    their spread), sigma: that at which the prior is asked, noise_samples: how (see Denoiser). steps, batch,
    rate: of Adam. crop: side in pixels or positions."""

    width: int
    blocks: int
    fold: int
    noise_levels: Sequence[float]
    sigma: float
    noise_samples: int
    steps: int
    batch: int
    rate: float
    crop: int
    precision: str


class Denoiser(Denoising):
    """A denoising auto-encoder R trained by denoising score matching, as a prior (after Nguyen et al. 2017).

    Its gradient is (x - R(x)) / sigma^2, which estimates -d log p_sigma(x) / dx (Alain & Bengio 2014).
    R has only seen noisy images and mistakes the texture of a clean one for noise; so with `noise_samples` it
    is asked about x + sigma n and x - sigma n for as many noises n, and its answers are averaged (after
    Bigdeli et al. 2017). No energy has exactly this gradient; `energy` gives |x - R(x)|^2 / (2 sigma^2),
    how far an image is from where R would move it. `sigma` is in the units of x.
    """

    kind = "denoiser"
    estimators = ("map", "mean")

    def __init__(
        self,
        network: Network,
        scale: float,
        centre: torch.Tensor,
        sigma: float,
        *,
        noise_samples: int = 0,
        mean: float = 0.0,
        spread: float = 1.0,
        facts: dict | None = None,
    ):
        self.network, self.scale, self.centre, self.sigma = network, scale, centre, sigma
        self.noise_samples = noise_samples
        self.mean, self.spread, self.facts = mean, spread, facts or {}
        self.network.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    @property
    def sampled(self) -> bool:
        return self.noise_samples > 0

    @property
    def channels(self) -> int:
        return len(self.centre)

    def to(self, device: torch.device) -> Denoiser:
        self.network.to(device)
        self.centre = self.centre.to(device)
        return self

    def denoise(self, x: torch.Tensor, sigma: float | None = None) -> torch.Tensor:
        """R(x) for noise of standard deviation `sigma`, by default the prior's own.

        In the precision of x, however it was trained: a gradient is a small difference times
        1 / sigma^2, and with the steps of bfloat16 in it a descent never comes to rest.
        """
        self.to(x.device)
        level = x.new_full((len(x),), (self.sigma if sigma is None else sigma) / self.scale)
        centre = self.centre.to(x)[:, None, None]
        with torch.no_grad(), torch.autocast(x.device.type, enabled=False):
            return self.network((x - centre) / self.scale, level) * self.scale + centre

    def expected(self, x: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """R(x), or its mean over the noise_samples: new ones from `generator`, or always the same."""
        if not self.noise_samples:
            return self.denoise(x)
        draw = generator or torch.Generator().manual_seed(0)
        total = torch.zeros_like(x)
        for _ in range(self.noise_samples):
            noise = self.sigma * torch.randn(x[0].shape, generator=draw).to(x)
            total += self.denoise(x + noise) + self.denoise(x - noise)
        return total / (2 * self.noise_samples)

    def energy(self, x: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        return Distance.apply(x, self.expected(x.detach(), generator), self.sigma)

    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        return (x - self.expected(x)) / self.sigma**2

    def positions(self, x: torch.Tensor) -> int:
        """Number of values of each map of x."""
        return x[0].numel()

    def save(self, path: str | os.PathLike, provenance: dict) -> None:
        tensors = {"centre": self.centre, **self.network.state_dict()}
        names = ("kind", "scale", "sigma", "noise_samples", "mean", "spread", "facts")
        facts = {name: getattr(self, name) for name in names}
        save_tensors(path, tensors, "prior", {**provenance, **facts})

    @classmethod
    def of(
        cls, tensors: dict, facts: dict, sigma: float | Sequence[float] | None = None
    ) -> Denoiser:
        """From what `save` wrote; `sigma`, if given, replaces the one that it was calibrated at (see
        `Noised.asked_at`)."""
        centre, options = tensors.pop("centre"), facts["facts"]
        network = Network(len(centre), options["width"], options["blocks"], options["fold"])
        network.load_state_dict(tensors)
        names = ("noise_samples", "mean", "spread", "facts")
        more = {name: facts[name] for name in names}
        return cls(network, facts["scale"], centre, facts["sigma"], **more).asked_at(sigma)


def train(
    maps: np.ndarray,
    held_out: np.ndarray,
    settings: Settings,
    seed: int,
    checkpoint: Checkpoint,
) -> tuple[Denoiser, list[tuple]]:
    """Fit a denoiser to crops of maps N x C x H x W: uint8 images in steps of 1/255, or feature maps.

    The loss is the mean squared error of the noise in units of its standard deviation, every level
    counting alike: denoising score matching (Vincent 2011). Returns also the history of networks.train.
    """
    where, image = devices.device(), maps.dtype == np.uint8
    centre, scale = networks.units(maps)
    unit = (1 / 255 if image else scale / 100) / scale
    noise_levels = [unit * level for level in settings.noise_levels]
    side = min(settings.crop, *maps.shape[2:])
    torch.manual_seed(seeds.seed_of(seed, "denoiser", "start"))
    network = Network(maps.shape[1], settings.width, settings.blocks, settings.fold)
    network.to(where).to(memory_format=torch.channels_last)

    def losses(source: np.ndarray, count: int, draw: torch.Generator) -> networks.Loss:
        clean = networks.crops(source, count, side, draw)
        clean = (clean - centre.to(where)[:, None, None]) / scale
        sigma = (
            torch.rand(count, generator=draw) * (noise_levels[1] - noise_levels[0])
            + noise_levels[0]
        )
        sigma, noise = sigma.to(where), torch.randn(clean.shape, generator=draw).to(where)

        def loss(part: slice) -> tuple[torch.Tensor]:
            level = sigma[part].view(-1, 1, 1, 1)
            with devices.precision_context(settings.precision, where):
                reconstructed = network(clean[part] + level * noise[part], sigma[part])
            return (((reconstructed - clean[part]) / level).square().mean(),)

        return loss

    names = ("denoiser", "denoiser")
    history = networks.train(network, losses, maps, held_out, settings, names, seed, checkpoint)
    sigma = settings.sigma * unit * scale
    prior = Denoiser(
        network, scale, centre, sigma, noise_samples=settings.noise_samples, facts=asdict(settings)
    )
    return prior, history


def trained(
    material: Material, settings: dict, checkpoint: Checkpoint
) -> tuple[Denoiser, list[tuple]]:
    """`train` with the settings of a study."""
    plan = Settings(**{field.name: settings[field.name] for field in fields(Settings)})
    return train(material.maps, material.held_out, plan, settings["seed"], checkpoint)
