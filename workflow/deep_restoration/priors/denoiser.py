"""Denoising auto-encoders as priors, for images and for feature maps."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from .. import runtime, storage
from ..batches import Batches

log = logging.getLogger(__name__)


class Block(nn.Module):
    """x + conv(relu(conv(x))), the identity before training."""

    def __init__(self, width: int):
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.kaiming_normal_(self.first.weight, nonlinearity="relu")
        nn.init.zeros_(self.second.weight)
        for layer in (self.first, self.second):
            nn.init.zeros_(layer.bias)

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
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

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
    """width: channels at the fine scale. blocks: at each place. fold: of pixels into channels. noise:
    least and largest standard deviation (of image values in 0..255, of feature maps in percent of
    their spread), sigma: that at which the prior is asked, probes: how (see Denoiser). steps, batch,
    rate: of Adam. crop: side in pixels or positions."""

    width: int
    blocks: int
    fold: int
    noise: tuple[float, float]
    sigma: float
    probes: int
    steps: int
    batch: int
    rate: float
    crop: int
    precision: str = "float32"


class _Prior(torch.autograd.Function):
    """|x - R(x)|^2 / (2 sigma^2) with the gradient (x - R(x)) / sigma^2."""

    @staticmethod
    def forward(ctx, x, denoised, sigma):
        difference = (x - denoised) / sigma
        ctx.save_for_backward(difference)
        ctx.sigma = sigma
        return 0.5 * difference.square().sum((1, 2, 3))

    @staticmethod
    def backward(ctx, outer):
        (difference,) = ctx.saved_tensors
        return outer.view(-1, 1, 1, 1) * difference / ctx.sigma, None, None


class Denoiser:
    """A denoising auto-encoder R trained by denoising score matching, as a prior (after Nguyen et al. 2017).

    Its gradient is (x - R(x)) / sigma^2, which estimates -d log p_sigma(x) / dx (Alain & Bengio 2014).
    R has only seen noisy images and mistakes the texture of a clean one for noise; so with `probes` it
    is asked about x + sigma n and x - sigma n for as many noises n, and its answers are averaged (after
    Bigdeli et al. 2017). No energy has exactly this gradient; `energy` gives |x - R(x)|^2 / (2 sigma^2),
    how far an image is from where R would move it. `sigma` is in the units of x.
    """

    kind = "denoiser"

    def __init__(
        self,
        network: Network,
        scale: float,
        centre: torch.Tensor,
        sigma: float,
        *,
        probes: int = 0,
        mean: float = 0.0,
        spread: float = 1.0,
        facts: dict | None = None,
        levels: tuple[float, float] | None = None,
    ):
        self.levels = levels
        self.network, self.scale, self.centre, self.sigma = network, scale, centre, sigma
        self.probes = probes
        self.mean, self.spread, self.facts = mean, spread, facts or {}
        self.network.eval().requires_grad_(False).to(memory_format=torch.channels_last)

    @property
    def channels(self) -> int:
        return len(self.centre)

    def to(self, device: torch.device) -> Denoiser:
        self.network.to(device)
        self.centre = self.centre.to(device)
        return self

    def anneal(self, progress: float) -> None:
        """Ask at a noise level between the first and the last, evenly on a logarithmic scale."""
        if self.levels:
            first, last = self.levels
            self.sigma = first ** (1 - progress) * last**progress

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
        """R(x), or its mean over the probes: new ones from `generator`, or always the same."""
        if not self.probes:
            return self.denoise(x)
        draw = generator or torch.Generator().manual_seed(0)
        total = torch.zeros_like(x)
        for _ in range(self.probes):
            noise = self.sigma * torch.randn(x[0].shape, generator=draw).to(x)
            total += self.denoise(x + noise) + self.denoise(x - noise)
        return total / (2 * self.probes)

    def energy(self, x: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        return _Prior.apply(x, self.expected(x.detach(), generator), self.sigma)

    def gradient(self, x: torch.Tensor) -> torch.Tensor:
        return (x - self.expected(x)) / self.sigma**2

    def positions(self, x: torch.Tensor) -> int:
        """Number of values of each map of x."""
        return x[0].numel()

    @torch.no_grad()
    def calibrate(self, maps) -> None:
        """Set `mean` and `spread`, per value, over natural maps: an iterable of batches N x C x H x W."""
        found = torch.cat([self.energy(x) / self.positions(x) for x in maps]).double()
        self.mean, self.spread = float(found.mean()), float(found.std(correction=0)) or 1.0

    def save(self, path: str | os.PathLike, provenance: dict) -> None:
        tensors = {"centre": self.centre, **self.network.state_dict()}
        names = ("kind", "scale", "sigma", "probes", "mean", "spread", "facts")
        facts = {name: getattr(self, name) for name in names}
        storage.save_tensors(path, tensors, "prior", {**provenance, **facts})

    @classmethod
    def of(cls, tensors: dict, facts: dict, sigma: Sequence[float] | None = None) -> Denoiser:
        """From what `save` wrote; `sigma`, the first and the last noise level in the units of the
        configuration, replaces the one that it was calibrated at."""
        centre, options = tensors.pop("centre"), facts["facts"]
        network = Network(len(centre), options["width"], options["blocks"], options["fold"])
        network.load_state_dict(tensors)
        names = ("probes", "mean", "spread", "facts")
        more = {name: facts[name] for name in names}
        own, levels = facts["sigma"], None
        if sigma is not None:
            unit = own / options["sigma"]
            own, levels = sigma[0] * unit, (sigma[0] * unit, sigma[1] * unit)
        return cls(network, facts["scale"], centre, own, **more, levels=levels)


def train(
    maps: np.ndarray,
    held_out: np.ndarray,
    settings: Settings,
    seed: int,
    checkpoint: runtime.Checkpoint,
) -> tuple[Denoiser, list[tuple]]:
    """Fit a denoiser to crops of maps N x C x H x W: uint8 images in steps of 1/255, or feature maps.

    The loss is the mean squared error of the noise in units of its standard deviation, every level
    counting alike: denoising score matching (Vincent 2011). Images are turned and mirrored at random.
    History rows: (step, objective, held-out objective, seconds); the weights of the best held-out
    objective are kept. Batches that do not fit into memory are halved, and their gradients added up.
    Raises DivergedError naming the step.
    """
    where, image = runtime.device(), maps.dtype == np.uint8
    sample = maps[:: max(1, len(maps) // 200)].astype(np.float32) / (255 if image else 1)
    centre = torch.from_numpy(sample.mean((0, 2, 3)))
    scale = float(sample.std()) or 1.0
    unit = (1 / 255 if image else scale / 100) / scale
    levels = [unit * level for level in settings.noise]
    side = min(settings.crop, *maps.shape[2:])
    torch.manual_seed(runtime.seed_of(seed, "denoiser", "start"))
    network = Network(maps.shape[1], settings.width, settings.blocks, settings.fold)
    network.to(where, memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(network.parameters(), settings.rate)

    def batch(source: np.ndarray, count: int, draw: torch.Generator):
        limits = (len(source), source.shape[2] - side + 1, source.shape[3] - side + 1, 8)
        numbers = torch.stack([torch.randint(n, (count,), generator=draw) for n in limits], 1)
        crops = np.empty((count, source.shape[1], side, side), np.float32)
        for crop, (index, top, left, turn) in zip(crops, numbers.tolist(), strict=True):
            part = source[index, :, top : top + side, left : left + side]
            if (
                image
            ):  # turned and mirrored photographs are natural; maps of such images are other maps
                part = np.rot90(part, turn // 2, (1, 2))
                part = part[..., ::-1] if turn % 2 else part
            crop[...] = part
        clean = torch.from_numpy(crops).to(where).div_(255 if image else 1)
        clean = (clean - centre.to(where)[:, None, None]) / scale
        sigma = torch.rand(count, generator=draw) * (levels[1] - levels[0]) + levels[0]
        noise = torch.randn(clean.shape, generator=draw).to(where)
        return clean, sigma.to(where), noise

    def losses(source: np.ndarray, count: int, draw: torch.Generator):
        clean, sigma, noise = batch(source, count, draw)

        def loss(part: slice) -> tuple[torch.Tensor]:
            level = sigma[part].view(-1, 1, 1, 1)
            with runtime.precision_context(settings.precision, where):
                restored = network(clean[part] + level * noise[part], sigma[part])
            return (((restored - clean[part]) / level).square().mean(),)

        return loss

    what, parameters = "training the denoiser", list(network.parameters())
    learning, testing = Batches(settings.batch, what), Batches(64, what)

    first, history, before, best = 0, [], 0.0, float("inf")
    kept = {name: value.clone() for name, value in network.state_dict().items()}
    if saved := checkpoint.load():
        tensors, values = saved
        network.load_state_dict({name: tensors[f"network.{name}"] for name in kept})
        kept = {name: tensors[f"best.{name}"].to(where) for name in kept}
        runtime.restore_optimiser(optimiser, tensors)
        first, history, before = values["step"], values["history"], values["seconds"]
        best = values["best"]
    started = time.monotonic() - before
    for step in runtime.progress(range(first, settings.steps), "training the denoiser"):
        warm = min(1.0, (step + 1) / (0.05 * settings.steps))
        fall = 0.5 * (1 + np.cos(np.pi * step / settings.steps))
        optimiser.param_groups[0]["lr"] = settings.rate * warm * max(fall, 1e-3)
        loss = losses(maps, settings.batch, runtime.generator(seed, "denoiser", "batch", step))
        (value,) = learning.backward(loss, settings.batch, parameters)
        checkpoint.check("training of the denoiser", step, value.item())
        if checkpoint.due():
            checkpoint.save(
                {f"network.{name}": value for name, value in network.state_dict().items()}
                | {f"best.{name}": value for name, value in kept.items()}
                | runtime.optimiser_state(optimiser),
                step=step,
                history=history,
                best=best,
                seconds=time.monotonic() - started,
            )
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        if step % 100 == 99 or step == settings.steps - 1:
            with torch.no_grad():
                loss = losses(held_out, 64, torch.Generator().manual_seed(0))
                held = sum(
                    value.item() * (part.stop - part.start) / 64
                    for part, (value,) in testing(loss, 64)
                )
            checkpoint.check("training of the denoiser", step, held)
            history.append((step + 1, value.item(), held, time.monotonic() - started))
            if held < best:
                best = held
                kept = {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(kept)
    sigma = settings.sigma * unit * scale
    prior = Denoiser(network, scale, centre, sigma, probes=settings.probes, facts=asdict(settings))
    return prior, history
