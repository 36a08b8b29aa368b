"""Reconstructed images measured against the originals, by themselves and by their feature maps."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import torch

from ..data.images import as_pixels, as_tensor
from ..files.hdf5 import open_hdf5, read_names
from ..files.tables import read_rows
from ..runtime.batches import Batches
from ..statistics.comparison import compare
from ..statistics.streaming import FeatureStatistics
from . import baselines, metrics, restarts

Maps = Callable[[torch.Tensor], torch.Tensor]
See = Callable[[int, torch.Tensor, torch.Tensor], None]


def read(
    test: str | os.PathLike, train: str | os.PathLike
) -> tuple[list[str], np.ndarray, dict[str, np.ndarray]]:
    """Names and pixels (N x H x W x 3 uint8) of the test images, and the baselines that the training images
    make, from the files of both."""
    with open_hdf5(test, "images") as file:
        names, pixels = read_names(file), file["images"][...]
    return names, pixels, baselines.read(train)


def _tensor(images: np.ndarray) -> torch.Tensor:
    """N x 3 x H x W float32 of images N x H x W x 3 in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(images, np.float32)).permute(0, 3, 1, 2)


def everywhere(guess: np.ndarray, pixels: np.ndarray) -> np.ndarray:
    """A baseline H x W x 3 as if it had been reconstructed for every image, ... x H x W x 3."""
    return np.broadcast_to(guess, pixels.shape)


def maps_of(network: torch.nn.Module, device: torch.device | str = "cpu") -> Maps:
    """A function from images N x 3 x H x W to maps N x C x H x W, for a network that gives the maps of one
    layer. A layer without positions gives maps of one position."""

    def maps(images: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            (found,) = network(images.to(device)).values()
        return found.reshape(*found.shape, *(1, 1)[: 4 - found.ndim])

    return maps


def of_restarts(
    maps: Maps, names: list[str], pixels: np.ndarray, images: np.ndarray, batch: int = 64
) -> list[tuple]:
    """Rows (name, values of restarts.MEASURES), one per image, of `images` restarts x N x H x W x 3. `maps`
    is from `maps_of`; `names` and `pixels` (N x H x W x 3 uint8) are those of the originals."""
    rows = []
    for first in range(0, len(names), batch):
        part = slice(first, first + batch)
        truth, some = pixels[part] / 255, images[:, part]
        target = maps(_tensor(truth))
        errors = [
            metrics.representation_error(maps(_tensor(one)), target).cpu().numpy()
            for one in (*some, some.mean(axis=0))
        ]
        found = restarts.measure(truth, some, np.stack(errors[:-1]), errors[-1])
        columns = [found[name].tolist() for name in restarts.MEASURES]
        rows += zip(names[part], *columns, strict=True)
    return rows


def of_restarts_in(
    maps: Maps, recipe: str, path: str | os.PathLike, guesses: dict[str, np.ndarray]
) -> list[tuple]:
    """Rows (name, image, restarts, restarts.MEASURES) of the images in a file of a recipe's restarts;
    before them those of baselines, H x W x 3 by name, which are the same whatever the start."""
    with open_hdf5(path, "restarts") as file:
        names, truth, images = read_names(file), file["originals"][...], file["images"][...]
    shown = {name: everywhere(guess, images) for name, guess in guesses.items()} | {recipe: images}
    return [
        (name, image, len(images), *values)
        for name, found in shown.items()
        for image, *values in of_restarts(maps, names, truth, found)
    ]


class Measuring:
    """Measures images reconstructed from one layer. `network` gives the maps of this layer alone; `names` and
    `pixels` (N x H x W x 3 uint8) are those of the originals."""

    def __init__(
        self,
        network: torch.nn.Module,
        names: list[str],
        pixels: np.ndarray,
        device: torch.device | str = "cpu",
    ):
        self.network, self.names, self.pixels, self.device = network, names, pixels, device
        self.maps = maps_of(network, device)
        self.measured = Batches(32, "measuring reconstructed images")
        self.inverted = Batches(64, "inverting test images")

    def images(self, found: np.ndarray, see: See | None = None) -> list[tuple]:
        """Rows (name, mse, psnr, ssim, its parts, representation error), one for each of the images `found`,
        N x H x W x 3 (an array, or one of a file, read in parts). `see` is called for each part with the
        index of its first image, its target maps and its maps."""
        rows = []

        def both(part: slice) -> tuple[torch.Tensor, torch.Tensor]:
            reconstructed = torch.from_numpy(np.ascontiguousarray(found[part])).permute(0, 3, 1, 2)
            return self.maps(as_tensor(self.pixels[part])), self.maps(reconstructed)

        for part, (target, maps) in self.measured(both, len(self.names)):
            if see:
                see(part.start, target, maps)
            truth, reconstructed = self.pixels[part].astype(np.float64) / 255, found[part]
            columns = (
                metrics.mse(truth, reconstructed).tolist(),
                metrics.psnr(truth, reconstructed).tolist(),
                metrics.ssim(truth, reconstructed).tolist(),
                *metrics.ssim_parts(truth, reconstructed).T.tolist(),
                metrics.representation_error(maps, target).tolist(),
            )
            rows += zip(self.names[part], *columns, strict=True)
        return rows

    def inversions(
        self, image_of: Callable[[torch.Tensor], torch.Tensor]
    ) -> tuple[list[tuple], np.ndarray]:
        """Measures of the images, clipped to [0, 1], that `image_of` makes of the target maps: rows (name,
        values of tables.INVERTER_MEASURES), one per image, and the first image, 1 x H x W x 3."""

        def invert(part: slice) -> tuple[np.ndarray, list[float]]:
            with torch.inference_mode():
                (target,) = self.network(as_tensor(self.pixels[part]).to(self.device)).values()
                reconstructed = image_of(target).clamp(0, 1)
                (again,) = self.network(reconstructed).values()
            errors = metrics.representation_error(again, target).tolist()
            return as_pixels(reconstructed), errors

        parts, errors = [], []
        for _, (reconstructed, wrong) in self.inverted(invert, len(self.names)):
            parts.append(reconstructed)
            errors += wrong
        truth, found = self.pixels.astype(np.float64) / 255, np.concatenate(parts)
        values = (measure(truth, found) for measure in (metrics.mse, metrics.psnr, metrics.ssim))
        rows = zip(self.names, *(v.tolist() for v in values), errors, strict=True)
        return list(rows), found[:1]

    def always(self, guess: np.ndarray) -> Callable[[torch.Tensor], torch.Tensor]:
        """A baseline H x W x 3 as an inverse network that returns it for any maps."""
        picture = torch.from_numpy(guess).permute(2, 0, 1).contiguous().to(self.device)
        return lambda target: picture.repeat(len(target), 1, 1, 1)


class MapStatistics:
    """Statistics of the maps of reconstructed images beside those of the originals; `options` are those of
    FeatureStatistics."""

    def __init__(self, device: torch.device | str = "cpu", **options):
        self.device, self.options = device, options
        self.natural: FeatureStatistics | None = None

    def _like(self, maps: torch.Tensor) -> FeatureStatistics:
        return FeatureStatistics(*maps.shape[1:], device=self.device, **self.options)

    def rows(self, measuring: Measuring, found: np.ndarray) -> tuple[list[tuple], list[dict]]:
        """The rows of `measuring.images`, and those of comparison.compare for the maps of the same images."""
        reconstructed: FeatureStatistics | None = None
        first = self.natural is None

        def see(start: int, target: torch.Tensor, maps: torch.Tensor) -> None:
            nonlocal reconstructed
            natural, reconstructed = (
                self.natural or self._like(maps),
                reconstructed or self._like(maps),
            )
            self.natural = natural
            reconstructed.add(maps, start)
            if first:
                natural.add(target, start)

        rows = measuring.images(found, see)
        assert self.natural is not None  # there are images
        assert reconstructed is not None
        return rows, compare(self.natural, reconstructed)


def of_guesses(measuring: Measuring, guesses: dict[str, np.ndarray]) -> list[tuple]:
    """Rows (name, image, metrics) of baselines, H x W x 3 by name, as if each had been reconstructed for
    every image in no time. They have no statistics of maps: those of equal images say nothing."""
    return [
        (name, *row, 0.0)
        for name, guess in guesses.items()
        for row in measuring.images(everywhere(guess, measuring.pixels))
    ]


def of_reconstructed(
    measuring: Measuring,
    statistics: MapStatistics,
    reconstructed: str | os.PathLike,
    trace: str | os.PathLike,
) -> tuple[list[tuple], list[tuple]]:
    """Rows (image, metrics) of the images of a file, their seconds from the trace beside it, and those
    (images, comparison) of the statistics of their maps."""
    terms = {row["term"]: row["value"] for row in read_rows(trace)}
    seconds = float(terms["seconds per image"])
    with open_hdf5(reconstructed, "reconstructions") as file:
        measured, compared = statistics.rows(measuring, file["images"])
    count = len(measuring.names)
    return [(*row, seconds) for row in measured], [(count, *row.values()) for row in compared]
