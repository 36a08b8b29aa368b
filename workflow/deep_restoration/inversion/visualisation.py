"""Other pictures that a layer gives: activation maximisation, caricatures, textures, attribution.

The first three are pre-images with another data term, under the same priors and by the same
optimisers as reconstructed images (Mahendran & Vedaldi 2016; Gatys et al. 2015).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from ..data import images as photographs
from ..data import splits
from ..files.hdf5 import open_hdf5, read_names, write_array, write_arrays, write_names
from ..networks import attribution, graph, receptive_fields, saved, sources
from ..runtime import devices
from ..runtime.checkpoints import Checkpoint
from ..study.visualisations import RECTIFIERS
from . import preimage
from .data_terms import DataTerm, Gram, InnerProduct
from .mahendran_vedaldi import maximisation_weight_2016, tile_2016
from .recipe import Paths, Recipe, build, by_layer

log = logging.getLogger(__name__)

# Gives batches of training images, N x 3 x H x W in [0, 1], afresh with each call.
Training = Callable[[], Iterable[torch.Tensor]]


class Pictures(NamedTuple):
    """images: N x 3 x H x W in [0, 1]. labels: of each. values: (N,), of each, in the unit that `measure`
    names."""

    images: torch.Tensor
    labels: list[str]
    values: torch.Tensor
    measure: str

    def write(self, file) -> None:
        """Into an open file, the images as N x H x W x 3."""
        write_array(file, "images", _pixels(self.images), "sRGB, 0..1, N x H x W x 3")
        write_names(file, self.labels)
        write_array(file, "values", self.values.cpu().numpy())
        file.attrs["measure"] = self.measure


class Projections(NamedTuple):
    """Units projected to the image. image: (K,) index of the image; units: K x 3, channel, row, column;
    extents: K x 4, top, left, bottom, right of the pixels that the unit depends on; maps: by method,
    K x 3 x H x W."""

    image: list[int]
    units: list[tuple[int, ...]]
    extents: list[tuple[int, int, int, int]]
    maps: dict[str, torch.Tensor]

    def write(self, file) -> None:
        """Into an open file, the maps as K x H x W x 3."""
        places = {"image": self.image, "units": self.units, "extents": self.extents}
        write_arrays(file, places)
        maps = {method: _pixels(found) for method, found in self.maps.items()}
        write_arrays(file.create_group("maps"), maps, "sensitivity, K x H x W x 3")


def _pixels(images: torch.Tensor) -> np.ndarray:
    """N x H x W x 3 float32 of N x 3 x H x W on any device."""
    return photographs.as_pixels(images).astype(np.float32)


# ------------------------------------------------------------------------------ units
def largest(maps: Iterable[torch.Tensor]) -> torch.Tensor:
    """C: the largest activation of each channel over batches of maps of training images."""
    result = None
    for batch in maps:
        top = batch.float().reshape(*batch.shape[:2], -1).amax((0, 2))
        result = top if result is None else torch.maximum(result, top)
    if result is None:
        raise ValueError("there are no training images to measure activations on")
    return result


def chosen_units(units: int | Sequence[int], activations: torch.Tensor) -> list[int]:
    """The channels to show: those given, or that number of channels, evenly spaced over those that are ever
    active.

    Raises ValueError naming a given channel that no training image activates.
    """
    active = (activations > 0).nonzero().flatten().tolist()
    if isinstance(units, int):
        if not active:
            raise ValueError("no channel of the layer is active on any training image")
        return splits.evenly_spaced(active, units)
    if dead := [unit for unit in units if unit not in set(active)]:
        raise ValueError(
            f"channel {dead[0]} is active on no training image, so that there is nothing to compare "
            f"with; active are {len(active)} of {len(activations)} channels"
        )
    return list(units)


def one_hot(shape: Sequence[int], channels: Sequence[int], of: str) -> torch.Tensor:
    """Phi_0, N x ..., one for each channel: 1 in the middle of its map, or 1 / (H W) all over it."""
    target = torch.zeros(len(channels), *shape)
    for index, channel in enumerate(channels):
        if len(shape) == 1:
            target[index, channel] = 1
        elif of == "channel":
            target[index, channel] = 1 / (shape[1] * shape[2])
        else:
            target[index, channel, shape[1] // 2, shape[2] // 2] = 1
    return target


class Leaky(nn.Module):
    """A network whose last ReLUs before a layer have a slope below zero; earlier ones, which belong to other
    units, stay as they are."""

    def __init__(self, network: graph.Network, layer: str, slope: float):
        super().__init__()
        self.network, self.slope = network, slope
        steps = {step["name"]: step for step in network.steps}
        self.last, waiting = set(), [network.layers[layer]]
        while waiting:
            name = waiting.pop()
            if attribution.operation(steps[name]) in RECTIFIERS:
                self.last.add(name)
            else:
                waiting += graph.inputs_of(steps[name])

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return self.network(images, self._call)

    def _call(self, step: dict, function: Callable, arguments: list, keywords: dict) -> Any:
        if step["name"] not in self.last:
            return function(*arguments, **keywords)
        below = self.slope * arguments[0].clamp(max=0)  # first: the function may work in place
        return function(*arguments, **keywords) + below


# ------------------------------------------------------------------------------ pictures
class Visualiser:
    """Makes pictures from one layer of a stored classifier.

    `more`: further layers that the pictures need; `sees`: stride and receptive field of the layer;
    `priors`, `feature_priors`: files as of a `Reconstructor`. `files`: all that it has read.
    """

    def __init__(
        self,
        network_file: str | os.PathLike,
        layer: str,
        sees: dict,
        more: Sequence[str] = (),
        priors: Paths = (),
        feature_priors: Paths = (),
    ):
        self.layer, self.sees, self.where = layer, sees, devices.device()
        self.files = [network_file, *priors, *feature_priors]
        self.learned = by_layer(priors, feature_priors)
        inside = {place for files in self.learned.values() for place in files if place}
        needed = [layer, *sorted({*inside, *more} - {layer})]
        self.network = saved.load(network_file, needed)
        self.network.to(self.where).to(memory_format=torch.channels_last)

    def maps(self, batches: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
        """The layer's maps of batches of images."""
        for images in batches:
            with torch.no_grad():
                yield self.network(images.to(self.where))[self.layer]

    def maximise(
        self,
        recipe: Recipe,
        of: str,
        units: int | Sequence[int],
        training: Training,
        size: int,
        seed: int,
        checkpoint: Checkpoint,
        names: Sequence[str] = (),
        leak: float = 0.0,
    ) -> Pictures:
        """The images that excite units most (Mahendran & Vedaldi 2016, activation maximisation).

        The objective is -10000 / rf^2 * activation / largest activation on training images, plus the
        priors of `recipe` as means over the image. `of`: `unit`, whose image is its tile of the
        paper's mosaics, of at most `size` pixels a side; `channel`, the mean over positions, as of a mosaic
        that repeats the unit; or `class`, in an image of `size`. `names`: of all channels, for the labels.
        `leak`: slope below zero of the layer's last ReLUs while the image is sought, without which a unit
        that is silent at the start has no gradient. Each unit is divided by its own largest activation;
        the released code divides all by that of one channel, the 25th for a mosaic, the first for a class.
        Values are the activations reached, without the leak, in units of the largest ones; of a channel, the
        mean over positions.
        """
        activations = largest(self.maps(training())).cpu()
        channels = chosen_units(units, activations)
        size, weight = self._scale(of, size)
        (shape,) = (maps.shape[1:] for maps in self.maps([torch.zeros(1, 3, size, size)]))
        target = one_hot(shape, channels, of)
        top = activations[channels]
        target *= weight / top.view(-1, *[1] * (target.ndim - 1))
        scale = torch.full((len(channels),), weight, device=self.where)
        term = InnerProduct(self.layer, target.to(self.where), scale)
        labels = [f"{c} {names[c]}" if names else str(c) for c in channels]
        noise = [f"{self.layer} {channel}" for channel in channels]
        network = Leaky(self.network, self.layer, leak) if leak else self.network
        found = self._optimise(term, noise, size, recipe, seed, checkpoint, network=network)
        values = -term.energy(self._look(found)) / weight
        return Pictures(found, labels, values, "times the largest activation")

    def _scale(self, of: str, size: int) -> tuple[int, float]:
        """Side of the image in which a unit, channel or class is maximised, and the weight of activations.

        Where a unit sees the whole image, the image is the tile.
        """
        field, tile = self.sees["receptive_field"], size
        if field is None:
            field = receptive_fields.reach(
                receptive_fields.of_layers(self.network.steps, size)[0], self.layer
            )
        else:
            tile = tile_2016(self.sees["stride"], field)
        weight = maximisation_weight_2016(field, tile, size)
        return min(tile, size) if of == "unit" else size, weight

    def caricature(
        self,
        recipe: Recipe,
        images: torch.Tensor,
        names: Sequence[str],
        seed: int,
        checkpoint: Checkpoint,
    ) -> Pictures:
        """Images in which what the layer sees is exaggerated (Mahendran & Vedaldi 2016).

        -<Phi(x), Phi_0> with Phi_0 = max(Phi(x_0), 0) / |max(Phi(x_0), 0)|^2, from x_0 itself. The
        released code takes Phi_0 alone from an x_0 without the mean colour subtracted, which is not followed
        here. Values are the inner products reached, 1 at x_0. Raises ValueError naming images without an
        activation.
        """
        images = images.to(self.where)
        positive = self._look(images)[self.layer].float().clamp(min=0)
        norm = positive.flatten(1).square().sum(1)
        if not (norm > 0).all():
            dead = [n for n, value in zip(names, norm.tolist(), strict=True) if value == 0]
            raise ValueError(f"nothing of {self.layer} is active in {', '.join(dead)}")
        target = positive / norm.view(-1, *[1] * (positive.ndim - 1))
        term = InnerProduct(self.layer, target, torch.ones_like(norm))
        size = images.shape[-1]
        found = self._optimise(term, names, size, recipe, seed, checkpoint, images)
        return Pictures(found, list(names), -term.energy(self._look(found)), "times the original")

    def texture(
        self,
        recipe: Recipe,
        layers: Sequence[str],
        images: torch.Tensor,
        names: Sequence[str],
        seed: int,
        checkpoint: Checkpoint,
        relative: bool = True,
        content: dict | None = None,
    ) -> Pictures:
        """Images with the Gram matrices that other images have in `layers` (Gatys et al. 2015).

        One new image for each of `images`, with its Gram matrices; with `content` (layer, weight), with those
        of the next one, while the maps of that layer are kept. Values are the losses reached, as shares of
        those where all maps are zero.
        """
        images = images.to(self.where)
        maps = self._look(images)
        kept, weight = None, 1.0
        if content is not None:
            kept, weight = (content["layer"], maps[content["layer"]].float()), content["weight"]
        style = {
            layer: maps[layer].roll(-1, 0) if content is not None else maps[layer]
            for layer in layers
        }
        term = Gram(style, content=kept, content_weight=weight, relative=relative)
        found = self._optimise(term, names, images.shape[-1], recipe, seed, checkpoint)
        with torch.no_grad():
            values = term.energy(self._look(found)) / term.scale
        return Pictures(found, list(names), values, "of the loss at zero")

    def attribute(
        self,
        methods: Sequence[str],
        channels: int,
        images: torch.Tensor,
        training: Training,
    ) -> Projections:
        """The strongest unit of the `channels` most active channels of each image, projected to it.

        A channel's activity counts in units of its largest on training images, on which the patterns of
        PatternNet are learned, too. Raises ValueError as `attribution.check`.
        """
        attribution.check(self.network, methods)
        images, patterns = images.to(self.where), None
        if "patternnet" in methods:
            batches = (batch.to(self.where) for batch in training())
            patterns = attribution.fit_patterns(self.network, batches)
        top = largest(self.maps(training()))
        maps = self._look(images)[self.layer].float()
        image, units = [], []
        for index, values in enumerate(maps):
            found = attribution.strongest(values, top, channels)
            image += [index] * len(found)
            units += found
        batch = images[image]

        def project(method: str) -> torch.Tensor:
            return attribution.project(self.network, self.layer, batch, units, method, patterns)

        extents = [attribution.extent(signal) for signal in project("gradient")]
        whole = [(*unit, 0, 0)[:3] for unit in units]
        return Projections(image, whole, extents, {name: project(name) for name in methods})

    def _look(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            return self.network(images.to(self.where))

    def _optimise(
        self,
        term: DataTerm,
        names: Sequence[str],
        size: int,
        recipe: Recipe,
        seed: int,
        checkpoint: Checkpoint,
        start: torch.Tensor | None = None,
        network: nn.Module | None = None,
    ) -> torch.Tensor:
        network, mean = network or self.network, self.network.mean
        terms = build(recipe.priors, self.learned, self.sees, mean)
        how = recipe.plan(self.sees)
        result = preimage.reconstruct(
            network, term, names, size, mean, terms, how, seed, checkpoint, start=start
        )
        log.info("%d pictures in %.1f s", len(names), result.seconds)
        return result.images


def training_batches(
    path: str | os.PathLike, count: int, held_out: float, batch: int = 32
) -> Iterator[torch.Tensor]:
    """Batches of `count` of the training images in a file, evenly spaced, N x 3 x H x W in [0, 1].

    None of them is held out from learning.
    """
    with open_hdf5(path, "images") as file:
        kept = ~splits.held_out(len(file["images"]), held_out)
        rows = splits.evenly_spaced(np.flatnonzero(kept).tolist(), count)
        for start in range(0, len(rows), batch):
            yield photographs.as_tensor(file["images"][rows[start : start + batch]])


def first_images(path: str | os.PathLike, count: int) -> tuple[torch.Tensor, list[str]]:
    """The first `count` test images of a file, N x 3 x H x W in [0, 1], and their names."""
    with open_hdf5(path, "images") as file:
        return photographs.as_tensor(file["images"][:count]), read_names(file)[:count]


def layers_of(settings: dict) -> list[str]:
    """Layers that the pictures of a job need besides their own: those of a texture, and of its content."""
    content = settings["entry"].get("content")
    return [*settings["layers"], *([content["layer"]] if content else [])]


def make(
    visualiser: Visualiser,
    settings: dict,
    train: Sequence[str | os.PathLike],
    test: Sequence[str | os.PathLike],
    checkpoint: Checkpoint,
) -> Pictures | Projections:
    """The pictures that an `entry` of the study asks for, of its kind; `settings` also hold its `plan`, the
    `layers` of a texture, the `size` of images, the `held_out` share of them, the `seed`, and of classes the
    `architecture` and how many `channels` the layer has. `train` and `test` name the files of images, where
    the kind needs them."""
    entry, seed, recipe = settings["entry"], settings["seed"], Recipe.of(settings["plan"])

    def training() -> Iterator[torch.Tensor]:
        return training_batches(train[0], entry["training_images"], settings["held_out"])

    kind = entry["kind"]
    if kind == "activation_maximisation":
        of, names = entry["of"], []
        if of == "class":
            names = sources.class_names(settings["architecture"], settings["channels"])
        sought = (of, entry["units"], training, settings["size"])
        return visualiser.maximise(recipe, *sought, seed, checkpoint, names, entry["leak"])
    images, names = first_images(test[0], entry["images"])
    if kind == "caricature":
        return visualiser.caricature(recipe, images, names, seed, checkpoint)
    if kind == "texture":
        layers, how = settings["layers"], (entry["relative"], entry["content"])
        return visualiser.texture(recipe, layers, images, names, seed, checkpoint, *how)
    return visualiser.attribute(entry["methods"], entry["channels"], images, training)
