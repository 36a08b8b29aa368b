"""A classifier trained on the spot to tell augmented crops apart, after Exemplar-CNN.

Dosovitskiy, Springenberg, Riedmiller & Brox, "Discriminative unsupervised feature learning with
convolutional neural networks", NIPS 2014: every crop (exemplar) is a class, its random transformations
(place, scale, rotation, contrast, colour) are the class's samples. No labels and no download, and still
the first layer learns oriented and colour-opponent filters. The first convolution starts from k-means
centres of whitened patches (Coates & Ng 2012; Kraehenbuehl et al. 2016), the rest from He's
initialisation.
"""

from __future__ import annotations

import logging
import math
import os
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from ..files.hdf5 import open_hdf5
from ..runtime import devices, schedules, seeds
from ..runtime.checkpoints import Checkpoint
from ..runtime.training import Options, fit
from . import graph

log = logging.getLogger(__name__)
HISTORY = ("step", "loss", "accuracy", "seconds")
ACCURACY = ("task", "accuracy", "chance", "classes")


@dataclass(frozen=True)
class Settings:
    """How an exemplar classifier is trained.

    exemplars: number of classes. crop: side in pixels of a training view. steps, batch, rate: of
    Adam, with a one-cycle schedule. precision: float32 or mixed.
    """

    exemplars: int
    crop: int
    steps: int
    batch: int
    rate: float
    precision: str


class ExemplarNetwork(nn.Module):
    """The network up to its deepest layer, spatially averaged, and a linear layer to the exemplars."""

    def __init__(self, trunk: graph.Network, exemplars: int, size: int):
        super().__init__()
        self.trunk = trunk
        with torch.no_grad():
            (maps,) = trunk(torch.zeros(1, 3, size, size)).values()
        channels = maps.shape[1]
        self.head = nn.Linear(channels, exemplars)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        (maps,) = self.trunk(images).values()
        return self.head(maps.flatten(2).mean(2) if maps.ndim > 2 else maps)


def augment(images: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
    """Random views of N x 3 x H x W images in [0, 1]: N x 3 x size x size.

    Place, scale (0.7 to 1.4 of a `size` crop), rotation (+-20 degrees), mirror; contrast, brightness
    and a random rotation of colour space towards other channels.
    """
    count, _, height, width = images.shape

    def uniform(low: float, high: float, *shape: int) -> torch.Tensor:
        values = torch.rand((count, *shape), generator=generator)
        return (low + (high - low) * values).to(images.device)

    angle = uniform(-math.pi / 9, math.pi / 9)
    scale = torch.exp(uniform(math.log(0.7), math.log(1.4))) * size / min(height, width)
    scale = scale.clamp(max=1.0)
    mirror = torch.sign(uniform(-1, 1))
    cos, sin = torch.cos(angle) * scale, torch.sin(angle) * scale
    free = (1 - scale)[:, None]
    place = uniform(-1, 1, 2) * free
    rows = torch.stack(
        [
            torch.stack([cos * mirror, -sin, place[:, 0]], 1),
            torch.stack([sin * mirror, cos, place[:, 1]], 1),
        ],
        1,
    )
    grid = F.affine_grid(rows, [count, 3, size, size], align_corners=False)
    views = F.grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    mixing = torch.eye(3, device=images.device) + uniform(-0.12, 0.12, 3, 3)
    mean = views.mean((2, 3), keepdim=True)
    contrast = torch.exp(uniform(-0.4, 0.4, 1, 1, 1))
    views = torch.einsum("nij,njhw->nihw", mixing, (views - mean) * contrast) + mean
    return (views + uniform(-0.1, 0.1, 1, 1, 1)).clamp(0, 1)


def kmeans_filters(
    images: torch.Tensor, shape: torch.Size, std: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """First-layer filters of `shape` (K, 3, h, w): k-means centres of whitened image patches.

    Patches are contrast-normalised and whitened, clustered on the sphere (Coates & Ng 2012), and the
    centres whitened once more, which turns them into filters; scaled so that the filters' responses
    have about unit variance on normalised images.
    """
    count, channels, height, width = shape
    samples = 100 * count
    which = torch.randint(len(images), (samples,), generator=generator)
    top = torch.randint(images.shape[2] - height + 1, (samples,), generator=generator)
    left = torch.randint(images.shape[3] - width + 1, (samples,), generator=generator)
    down = top[:, None, None, None] + torch.arange(height)[:, None]
    across = left[:, None, None, None] + torch.arange(width)
    patches = images[
        which[:, None, None, None], torch.arange(channels)[:, None, None], down, across
    ]
    flat = (patches / std.cpu()).flatten(1).double()
    flat = flat - flat.mean(1, keepdim=True)
    raw = flat
    flat = flat / (flat.std(1, keepdim=True) + 0.15)
    mean = flat.mean(0)
    values, vectors = torch.linalg.eigh(torch.cov((flat - mean).T))
    floor = values.max() * 1e-2
    whiten = vectors * (values.clamp(min=0) + floor).rsqrt() @ vectors.T
    white = ((flat - mean) @ whiten).float()
    centres = F.normalize(white[torch.randperm(samples, generator=generator)[:count]], dim=1)
    for _ in range(12):
        similarity = white @ centres.T
        best = similarity.argmax(1)
        strength = similarity.gather(1, best[:, None])
        centres = torch.zeros_like(centres).index_add_(0, best, white * strength)
        empty = centres.norm(dim=1) == 0
        if empty.any():
            chosen = torch.randint(samples, (int(empty.sum()),), generator=generator)
            centres[empty] = white[chosen]
        centres = F.normalize(centres, dim=1)
    filters = (centres.double() @ whiten).float()
    response = (raw.float() @ filters.T).std(0)
    return (filters / response[:, None]).reshape(shape)


def train(
    steps: list[dict],
    layer: str,
    images: torch.Tensor,
    settings: Settings,
    mean: tuple,
    std: tuple,
    seed: int,
    checkpoint: Checkpoint,
) -> tuple[dict[str, torch.Tensor], list[tuple], float]:
    """Train the network up to `layer` on uint8 images N x 3 x H x W.

    Returns its state dict, the history as rows (step, loss, accuracy, seconds), and the accuracy on
    new views of the exemplars. Raises DivergedError with the step at which the loss is not finite.
    """
    where = devices.device()
    generator = seeds.generator(seed, "exemplar", "start")
    chosen = torch.randperm(len(images), generator=generator)[: settings.exemplars]
    pool = images[chosen].float().div_(255)
    classes = len(pool)
    torch.manual_seed(seeds.seed_of(seed, "exemplar", "weights"))
    trunk = graph.Network(steps, [layer], mean, std)
    network = ExemplarNetwork(trunk, classes, settings.crop)
    _initialise(network, pool, generator)
    network.to(where).to(memory_format=torch.channels_last)
    pool = pool.to(where)
    optimiser = torch.optim.AdamW(network.parameters(), lr=settings.rate, weight_decay=1e-3)

    def views(stream: str, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        draw = seeds.generator(seed, "exemplar", stream, step)
        labels = torch.randint(classes, (settings.batch,), generator=draw).to(where)
        batch = augment(pool[labels], settings.crop, draw)
        return batch.contiguous(memory_format=torch.channels_last), labels

    def gradient(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        batch, labels = views("train", step)
        torch.manual_seed(seeds.seed_of(seed, "exemplar", "dropout", step))
        with devices.precision_context(settings.precision, where):
            scores = network(batch)
        loss = F.cross_entropy(scores.float(), labels)
        loss.backward()
        return loss, (scores.argmax(1) == labels).float().mean()

    network.train()
    options = Options(settings.steps, schedules.one_cycle, every=10, clip=5.0)
    history = fit("classifier", network, optimiser, gradient, options, checkpoint)
    network.eval()
    right = total = 0
    with torch.no_grad():
        for step in range(math.ceil(4 * classes / settings.batch)):
            batch, labels = views("held-out", step)
            scores = network(batch)
            if not scores.isfinite().all():
                raise checkpoint.diverged("training of the classifier: its last step is not finite")
            right += int((scores.argmax(1) == labels).sum())
            total += len(labels)
    return trunk.weights.state_dict(), history, right / total


def _initialise(network: ExemplarNetwork, pool: torch.Tensor, generator: torch.Generator) -> None:
    """He's initialisation with layers rescaled to unit variance on real images (Kraehenbuehl et al.
    2016, section 3), and k-means filters in the first convolution."""
    convolutions = [m for m in network.trunk.weights.modules() if isinstance(m, nn.Conv2d)]
    for module in network.trunk.weights.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    first = convolutions[0]
    if first.in_channels == 3 and max(first.kernel_size) > 1:
        std = network.trunk.std
        with torch.no_grad():
            first.weight.copy_(kmeans_filters(pool, first.weight.shape, std, generator))
    batch = pool[: min(64, len(pool))]
    for module in network.trunk.weights.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and module is not first:
            _unit_variance(module, network, batch)


def _unit_variance(module: nn.Conv2d | nn.Linear, network: nn.Module, batch: torch.Tensor) -> None:
    seen = []
    handle = module.register_forward_hook(
        lambda _module, _inputs, output: seen.append(output.std())
    )
    with torch.no_grad():
        network(batch)
        if seen and seen[0] > 0:
            module.weight.div_(seen[0])
    handle.remove()


def train_on(
    path: str | os.PathLike,
    steps: list[dict],
    layer: str,
    settings: Settings,
    mean: tuple,
    std: tuple,
    seed: int,
    checkpoint: Checkpoint,
) -> tuple[dict[str, torch.Tensor], list[tuple], list[tuple]]:
    """`train` on the images of a file. Returns the state dict, rows of HISTORY, and a row of ACCURACY."""
    with open_hdf5(path, "images") as file:
        images = torch.from_numpy(file["images"][...]).permute(0, 3, 1, 2)
    state, history, right = train(steps, layer, images, settings, mean, std, seed, checkpoint)
    classes = min(settings.exemplars, len(images))
    log.info("accuracy on new views %.3f, chance %.4f", right, 1 / classes)
    return state, history, [("new views of the exemplars", right, 1 / classes, classes)]
