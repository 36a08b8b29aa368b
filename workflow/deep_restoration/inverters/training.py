"""Three ways to train a chain of inverse modules: apart, together, and end to end.

`separate`: each module on true pairs of feature maps, then stacked. `joint`: stacked, each module fed the
output of the one before, with a loss at every module. `end_to_end`: stacked, the loss at the image
alone. All three start from the same weights and see the same images in the same order.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..data.images import as_tensor
from ..data.splits import evenly_spaced, held_out
from ..files.hdf5 import open_hdf5
from ..files.tables import write_csv
from ..networks.saved import load
from ..runtime import devices, parallel, schedules, seeds
from ..runtime.checkpoints import Checkpoint, content_stamps
from ..runtime.training import Options, fit
from .chain import Chain, save_chain
from .plan import ModuleSpec, plan_chain

log = logging.getLogger(__name__)
Read = Callable[[list[int]], torch.Tensor]
COLUMNS = ("step", "loss", "image_error", "validation_image_error", "seconds")
VALIDATION_IMAGES = 256


@dataclass(frozen=True)
class Settings:
    """regime: separate, joint or end_to_end. steps, batch and rate of Adam. schedule: a name of SCHEDULES,
    the share of the rate at each step. held_out: share of the
    images that are only validated on (images.held_out). representation: weight of the error of the
    layer's maps of the predicted image, in units of their variance. mirror: whether every image is
    turned left to right at random. shift: by how many pixels at most it is moved at random, down or up
    and aside, its edge repeated. precision: float32 or mixed."""

    regime: str
    steps: int
    batch: int
    rate: float
    held_out: float
    representation: float
    mirror: bool
    shift: int
    precision: str
    schedule: str


SCHEDULES = {
    # Up over the first fiftieth of the steps, then down by half a cosine to a hundredth.
    "cosine": partial(schedules.warm_cosine, warm=0.02, least=0.01),
    "constant": schedules.constant,  # Harder 2017, section 4.2, with a rate of 3e-4
}


class Epochs:
    """Batches of indices below `count`: every epoch a new random order, all of it used once."""

    def __init__(self, count: int, batch: int, seed: int, *names: object):
        self.count, self.batch, self.seed, self.names = count, batch, seed, names
        self.orders: dict[int, list[int]] = {}

    def __getitem__(self, step: int) -> list[int]:
        """Sorted, without repetition: where one epoch ends and another begins, fewer."""
        places = range(step * self.batch, (step + 1) * self.batch)
        return sorted({self._order(place // self.count)[place % self.count] for place in places})

    def _order(self, epoch: int) -> list[int]:
        if epoch not in self.orders:
            draw = seeds.generator(self.seed, *self.names, epoch)
            kept = {e: order for e, order in self.orders.items() if e == epoch - 1}
            self.orders = {**kept, epoch: torch.randperm(self.count, generator=draw).tolist()}
        return self.orders[epoch]


@contextmanager
def ahead(
    read: Read, batches: Epochs | list, steps: int
) -> Iterator[Callable[[int], torch.Tensor]]:
    """A function that gives the images of a step below `steps`; while they are used, the next are read."""
    waiting: dict[int, Future] = {}

    def images_of(step: int) -> torch.Tensor:
        here = waiting.pop(step, None) or reader.submit(read, batches[step])
        if step + 1 < steps:
            waiting[step + 1] = reader.submit(read, batches[step + 1])
        return here.result()

    with ThreadPoolExecutor(1) as reader:
        yield images_of


class Losses(nn.Module):
    """The losses of a batch of images under one of the regimes."""

    def __init__(self, network: nn.Module, chain: Chain, settings: Settings):
        super().__init__()
        self.network, self.chain, self.settings = network, chain, settings
        self.layers = [spec.source for spec in chain.specs]

    def maps_of(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Maps of every layer of the chain, deepest first, the images last."""
        images = images.contiguous(memory_format=torch.channels_last)
        with torch.no_grad():
            found = self.network(images)
        return [*(found[layer] for layer in self.layers), images]

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The loss to minimise, and the error of the image in units of its variance."""
        chain, regime, maps = self.chain, self.settings.regime, self.maps_of(images)
        with devices.precision_context(self.settings.precision, images.device):
            found = chain.apart(maps[:-1]) if regime == "separate" else chain(maps[0])
        last = len(found)
        image = (found[-1].float() - chain.normalise(images, last)).square().mean()
        loss = image
        if regime != "end_to_end":
            for index, (prediction, target) in enumerate(
                zip(found[:-1], maps[1:-1], strict=True), 1
            ):
                loss = loss + (prediction.float() - chain.normalise(target, index)).square().mean()
        if self.settings.representation:
            reconstructed = chain.denormalise(found[-1].float(), last)
            (again,) = (self.network(reconstructed)[layer] for layer in self.layers[:1])
            error = (chain.normalise(again, 0) - chain.normalise(maps[0], 0)).square().mean()
            loss = loss + self.settings.representation * error
        return loss, image.detach()

    @torch.no_grad()
    def stacked(self, images: torch.Tensor) -> float:
        """Sum over images of the mean squared error of the image, modules stacked."""
        maps = self.maps_of(images)
        with devices.precision_context(self.settings.precision, images.device):
            error = self.chain.image(maps[0]) - images
        return float(error.square().flatten(1).mean(1).sum())


def train(
    network: nn.Module,
    specs: list[ModuleSpec],
    read: Read,
    count: int,
    settings: Settings,
    seed: int,
    replicate: int,
    checkpoint: Checkpoint,
    workers: parallel.Workers | None = None,
) -> tuple[Chain, list[tuple]]:
    """Train a chain in one of the regimes.

    `network` yields the maps of the layer and of every target between it and the image; `read`
    returns images N x 3 x H x W in [0, 1] by sorted indices below `count`, and is called from
    another thread. `replicate` numbers repetitions with other weights and another order of the images,
    but the same held-out ones. The rate of Adam rises over the first fiftieth of the steps and falls
    by half a cosine. Returns the chain with the weights of the best validation image error (stacked, in
    every regime), and the history as rows of COLUMNS, errors in squares of image values. `workers` share
    every batch and the held-out images; each returns the same, the first saves checkpoints.

    Raises ValueError for too few images and DivergedError naming the step.
    """
    workers = workers or parallel.Workers()
    where = workers.device()
    network.to(where).to(memory_format=torch.channels_last)
    kept = held_out(count, settings.held_out)
    held, pool = np.flatnonzero(kept).tolist(), np.flatnonzero(~kept).tolist()
    if not pool:
        raise ValueError(f"{count} training images are too few to hold some out for validation")
    held = evenly_spaced(held, VALIDATION_IMAGES)
    names = ("inverter", replicate)

    torch.manual_seed(seeds.seed_of(seed, *names, "weights"))
    chain = Chain(specs).to(where).to(memory_format=torch.channels_last)
    losses = Losses(network, chain, settings)
    # Of images drawn at random: in the order of their files, the first may be all of one class.
    drawn = torch.randperm(len(pool), generator=seeds.generator(seed, "inverter", "scales"))
    sample = sorted(pool[index] for index in drawn[:64].tolist())
    chain.fit_scales(losses.maps_of(read(sample).to(where)))
    step_losses = workers.wrap(losses)

    def validate() -> float:
        own = held[workers.rank :: workers.count]
        parts = [own[i : i + settings.batch] for i in range(0, len(own), settings.batch)]
        (error,) = workers.total(sum(losses.stacked(read(part).to(where)) for part in parts))
        return error / len(held)

    def read_part(rows: list[int]) -> torch.Tensor:
        return read([pool[rows[place]] for place in workers.part(len(rows))[0]])

    batches = Epochs(len(pool), settings.batch, seed, *names, "order")
    scale = float(chain.get_buffer(f"scale_{len(specs)}") ** 2)

    def gradient(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        images, whole = images_of(step), len(batches[step])
        places, weight = workers.part(whole)
        if settings.mirror:  # one stream per step, so that a continued training mirrors the same
            draw = seeds.generator(seed, *names, "mirror", step)
            turned = torch.randint(2, (whole, 1, 1, 1), generator=draw).bool()[places]
            images = torch.where(turned, images.flip(3), images)
        if settings.shift:
            draw = seeds.generator(seed, *names, "shift", step)
            corners = torch.randint(2 * settings.shift + 1, (whole, 2), generator=draw)
            images = moved(images, corners[places].tolist(), settings.shift)
        loss, image_error = step_losses(images.to(where, non_blocking=True))
        (weight * loss).backward()
        return loss, image_error

    def figures(step: int, loss: float, image_error: float) -> tuple[float, float]:
        _, weight = workers.part(len(batches[step]))
        shares = (weight * value / workers.count for value in (loss, image_error))
        loss, image_error = workers.total(*shares)
        return loss, image_error * scale

    optimiser = torch.optim.Adam(chain.parameters(), lr=settings.rate)
    every = max(1, settings.steps // 20)
    options = Options(settings.steps, SCHEDULES[settings.schedule], every, watch=False)
    with ahead(read_part, batches, settings.steps) as images_of:
        history = fit(
            "inverter", chain, optimiser, gradient, options, checkpoint, validate, figures, workers
        )
    return chain, history


def train_stored(
    network: str,
    images_file: str,
    inverter: str,
    history: str,
    layers: dict[str, dict],
    layer: str,
    settings: dict,
    replicate: int,
    provenance: dict,
) -> None:
    """Train from and to files, in as many processes as parallel.run has started.

    `network`, `images_file`: files of the classifier and of the training images. `inverter`, `history`: those
    to write. `layers`: the geometry of all layers up to `layer`. `settings`: of the inverter in the
    configuration, with seed and share of held-out images.
    """
    workers, settings = parallel.Workers(), dict(settings)
    seed = settings.pop("seed")
    plan = {key: settings.pop(key) for key in ("width", "kind", "modules")}
    specs = plan_chain(layers, layer, **plan)
    stamps = content_stamps(network, images_file)
    checkpoint = Checkpoint(inverter, [provenance, *stamps])
    with open_hdf5(images_file, "images") as file:
        data = file["images"]
        chain, rows = train(
            load(network, [spec.source for spec in specs]),
            specs,
            lambda indices: as_tensor(data[indices]),
            len(data),
            Settings(**settings),
            seed,
            replicate,
            checkpoint,
            workers,
        )
    if workers.first:
        save_chain(inverter, chain, provenance)
        write_csv(history, COLUMNS, rows)
        checkpoint.remove()
        log.info("best validation image error %.5f", min(row[3] for row in rows))


def moved(images: torch.Tensor, corners: list[list[int]], shift: int) -> torch.Tensor:
    """Windows of images N x 3 x H x W whose edges are repeated by `shift` pixels on every side: each of
    the same size, from its corner (top, left)."""
    height, width = images.shape[2:]
    framed = F.pad(images, (shift,) * 4, mode="replicate")
    return torch.stack(
        [
            image[:, top : top + height, left : left + width]
            for image, (top, left) in zip(framed, corners, strict=True)
        ]
    )
