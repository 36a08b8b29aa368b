"""Inverse networks: a chain of modules from the feature maps of a layer back to the image.

After Dosovitskiy & Brox 2016 and Harder 2017. Each module inverts the classifier from one resolution to
the next larger one: transposed convolution, ReLU, convolution. The targets in between are real layers.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
from torch import nn

from . import runtime, storage

log = logging.getLogger(__name__)

IMAGE = "image"


@dataclass(frozen=True)
class ModuleSpec:
    """One module: from layer `source` to layer `target` (shapes C, H, W), and its transposed
    convolution."""

    source: str
    target: str
    source_shape: tuple[int, int, int]
    target_shape: tuple[int, int, int]
    kernel: int
    stride: int
    padding: int
    hidden: int


def plan_chain(geometry: dict[str, dict], layer: str, width: int = 64) -> list[ModuleSpec]:
    """Modules from `layer` to the image, deepest first; sizes follow from the classifier alone.

    A module ends at the last layer of the next larger resolution through which all paths run. `width`
    bounds the hidden channels of the last module from below, those of the others are the target's, at
    most 256. Works for square maps and for flat layers (taken as 1 x 1 maps).
    """
    names, side = list(geometry), _as_map(geometry[layer]["shape"])[1]
    whole = _as_map(geometry[IMAGE]["shape"])[1]
    stations = []
    # Sides can grow with depth, too: behind small maps, networks enlarge what they flatten.
    for name in reversed(names[: names.index(layer)]):
        here = _as_map(geometry[name]["shape"])[1]
        if here <= side or not (geometry[name]["waypoint"] or name == IMAGE):
            continue
        side = here
        stations += [name] * (here < whole)
    specs, source = [], layer
    for target in [*stations, IMAGE]:
        a, b = _as_map(geometry[source]["shape"]), _as_map(geometry[target]["shape"])
        hidden = width if target == IMAGE else min(max(b[0], width), 256)
        specs.append(ModuleSpec(source, target, a, b, *_upscale(a[1], b[1]), hidden))
        source = target
    return specs


def _as_map(shape: list[int]) -> tuple[int, int, int]:
    channels, height, width = (*shape, 1, 1)[:3]
    return channels, height, width


def _upscale(small: int, large: int) -> tuple[int, int, int]:
    """Kernel, stride and padding of a transposed convolution from `small` to exactly `large`."""
    if small == 1:
        return large, 1, 0
    stride = max(1, (large - 1) // (small - 1)) if large < 2 * small else round(large / small)
    while (small - 1) * stride + 1 > large:
        stride -= 1
    kernel = large - (small - 1) * stride
    padding = max(0, math.ceil((max(2 * stride, 3) - kernel) / 2))
    return kernel + 2 * padding, stride, padding


class Chain(nn.Module):
    """Modules applied one after the other; `forward` returns every module's output, deepest first."""

    def __init__(self, specs: list[ModuleSpec]):
        super().__init__()
        self.specs = specs
        self.parts = nn.ModuleList(
            nn.Sequential(
                nn.ConvTranspose2d(
                    spec.source_shape[0], spec.hidden, spec.kernel, spec.stride, spec.padding
                ),
                nn.ReLU(),
                nn.Conv2d(spec.hidden, spec.target_shape[0], 3, padding=1),
            )
            for spec in specs
        )
        # Per channel mean and per layer scale of every layer on the way: modules see and predict
        # numbers of about unit size, so that no layer's loss drowns another's.
        for index, spec in enumerate(specs):
            self.register_buffer(f"mean_{index}", torch.zeros(1, spec.source_shape[0], 1, 1))
            self.register_buffer(f"scale_{index}", torch.ones(()))
        self.register_buffer(f"mean_{len(specs)}", torch.zeros(1, 3, 1, 1))
        self.register_buffer(f"scale_{len(specs)}", torch.ones(()))

    def fit_scales(self, maps: list[torch.Tensor]) -> None:
        """Set means and scales from sample maps of every layer, the target layer first."""
        for index, sample in enumerate(maps):
            sample = sample.reshape(len(sample), sample.shape[1], -1)
            mean = sample.mean((0, 2)).view(1, -1, 1, 1)
            getattr(self, f"mean_{index}").copy_(mean)
            getattr(self, f"scale_{index}").copy_(sample.std().clamp(min=1e-6))

    def normalise(self, maps: torch.Tensor, index: int) -> torch.Tensor:
        maps = maps.reshape(*maps.shape[:2], *(maps.shape[2:] or (1, 1)))
        return (maps - getattr(self, f"mean_{index}")) / getattr(self, f"scale_{index}")

    def forward(self, maps: torch.Tensor) -> list[torch.Tensor]:
        """Normalised predictions of every target, from raw maps of the layer."""
        here, results = self.normalise(maps, 0), []
        for part in self.parts:
            here = part(here)
            results.append(here)
        return results

    def image(self, maps: torch.Tensor) -> torch.Tensor:
        """The predicted image, N x 3 x H x W, not clipped."""
        last = len(self.parts)
        if not last:
            raise ValueError("the chain has no module")
        scale, mean = getattr(self, f"scale_{last}"), getattr(self, f"mean_{last}")
        return self(maps)[-1].float() * scale + mean


@dataclass(frozen=True)
class Settings:
    """How a chain is trained: steps, batch and rate of Adam; width of the last module's hidden maps;
    share of images held out for validation; precision float32 or mixed."""

    steps: int
    batch: int
    rate: float
    width: int
    validation: float
    precision: str = "float32"


def train(
    network: nn.Module,
    specs: list[ModuleSpec],
    read: Callable[[list[int]], torch.Tensor],
    count: int,
    settings: Settings,
    seed: int,
    checkpoint: runtime.Checkpoint,
) -> tuple[Chain, list[tuple]]:
    """Train a chain jointly: each module is fed the previous one's output, with a loss at every module.

    `network` yields the maps of the layer and of every station; `read` returns images N x 3 x H x W in
    [0, 1] by sorted indices below `count`. Adam at a constant rate, a tenth of it over the last
    fifth. Returns the chain with the weights of the best validation image error, and the history as
    rows (step, loss, image error, validation image error, seconds).
    """
    where = runtime.device()
    network.to(where, memory_format=torch.channels_last)
    order = torch.randperm(count, generator=runtime.generator(seed, "inverter", "split")).tolist()
    held = max(1, min(round(count * settings.validation), 256))
    held_out, pool = sorted(order[:held]), sorted(order[held:])
    if not pool:
        raise ValueError(f"{count} training images are too few to hold some out for validation")
    layers = [spec.source for spec in specs] + [IMAGE]

    def maps_of(indices: list[int]) -> list[torch.Tensor]:
        images = read(indices).to(where).contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            found = network(images)
        return [*(found[layer] for layer in layers[:-1]), images]

    torch.manual_seed(runtime.seed_of(seed, "inverter", "weights"))
    chain = Chain(specs).to(where, memory_format=torch.channels_last)
    chain.fit_scales(maps_of(sorted(pool[:64])))
    optimiser = torch.optim.Adam(chain.parameters(), lr=settings.rate)
    first, history, before = 0, [], 0.0
    best_error, best = float("inf"), {k: v.clone() for k, v in chain.state_dict().items()}
    if saved := checkpoint.load():
        tensors, values = saved
        chain.load_state_dict({k[6:]: v for k, v in tensors.items() if k.startswith("chain.")})
        best = {k[5:]: v for k, v in tensors.items() if k.startswith("best.")}
        runtime.restore_optimiser(optimiser, tensors)
        first, history, before = values["step"], values["history"], values["seconds"]
        best_error = values["best_error"]

    def losses(indices: list[int]) -> list[torch.Tensor]:
        maps = maps_of(indices)
        with runtime.precision_context(settings.precision, where):
            predictions = chain(maps[0])
        return [
            (prediction.float() - chain.normalise(target, index)).square().mean()
            for index, (prediction, target) in enumerate(
                zip(predictions, maps[1:], strict=True), start=1
            )
        ]

    def validate() -> float:
        scale = chain.get_buffer(f"scale_{len(specs)}") ** 2
        with torch.no_grad():
            total = sum(
                float(losses(held_out[i : i + settings.batch])[-1])
                * len(held_out[i : i + settings.batch])
                for i in range(0, len(held_out), settings.batch)
            )
        return total / len(held_out) * float(scale)

    started = time.monotonic() - before
    every = max(1, settings.steps // 20)
    for step in runtime.progress(range(first, settings.steps), "training the inverter"):
        optimiser.param_groups[0]["lr"] = settings.rate * (
            1.0 if step < 0.8 * settings.steps else 0.1
        )
        draw = runtime.generator(seed, "inverter", "batch", step)
        picked = torch.randint(len(pool), (settings.batch,), generator=draw).unique().tolist()
        terms = losses([pool[i] for i in picked])
        loss = torch.stack(terms).sum()
        if not torch.isfinite(loss):
            raise runtime.DivergedError(f"inverter training: the loss is {loss} at step {step}")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        if step % every == every - 1 or step == settings.steps - 1:
            scale = float(chain.get_buffer(f"scale_{len(specs)}") ** 2)
            error = validate()
            seconds = time.monotonic() - started
            history.append((step + 1, loss.item(), terms[-1].item() * scale, error, seconds))
            if error < best_error:
                best_error = error
                best = {k: v.clone() for k, v in chain.state_dict().items()}
        if checkpoint.due():
            tensors = {f"chain.{k}": v for k, v in chain.state_dict().items()}
            tensors |= {f"best.{k}": v for k, v in best.items()}
            tensors |= runtime.optimiser_state(optimiser)
            checkpoint.save(
                tensors,
                step=step + 1,
                history=history,
                best_error=best_error,
                seconds=time.monotonic() - started,
            )
    chain.load_state_dict(best)
    return chain, history


def save(path: str | os.PathLike, chain: Chain, provenance: dict) -> None:
    specs = [asdict(spec) for spec in chain.specs]
    storage.save_tensors(path, chain.state_dict(), "inverter", {**provenance, "specs": specs})


def load(path: str | os.PathLike) -> Chain:
    tensors, facts = storage.load_tensors(path, "inverter")
    specs = [
        ModuleSpec(**{k: tuple(v) if isinstance(v, list) else v for k, v in spec.items()})
        for spec in facts["specs"]
    ]
    chain = Chain(specs)
    chain.load_state_dict(tensors)
    return chain.eval().requires_grad_(False)
