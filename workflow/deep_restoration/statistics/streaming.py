"""Statistics of feature maps in one streaming pass: covariances, precision, Gram matrices, sparsity.

`FeatureStatistics` keeps sums only, in float64: its memory does not grow with the number of images,
and passes over parts of the images add up to the pass over all of them, but for the rounding of sums
taken in another order. Everything else here is derived from those sums. Covariances are normalised by
the count (maximum likelihood).

Maps of more positions than asked for are sampled on a grid: every s-th position of every s-th row,
over the whole map. A stationary field stays stationary on it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from ..files.hdf5 import open_hdf5, write_array, write_arrays
from ..runtime.progress import progress
from .sparsity import gini, hoyer, kurtosis, treves_rolls
from .spatial import SpatialMoments, condition_number, effective_rank, pseudo_inverse

# Images are dealt to this many blocks, whose sums are kept apart: enough for bootstrap intervals.
BLOCKS = 32
BATCH = 16  # maps read at once
CACHED = 1 << 17  # numbers that a CPU core's cache holds
IMAGE_MEASURES = ("gini", "hoyer", "zeros", "kurtosis", "population")
CHANNEL_MEASURES = ("gini", "hoyer", "zeros", "kurtosis", "lifetime")


@dataclass(frozen=True)
class Grid:
    """Every `step`-th row and column of a height x width map, centred, at most `most` positions."""

    height: int
    width: int
    step: int

    @classmethod
    def of(cls, height: int, width: int, most: int) -> Grid:
        if most < 1:
            raise ValueError(f"a grid of at most {most} positions is none")
        step = 1
        while -(-height // step) * -(-width // step) > most:
            step += 1
        return cls(height, width, step)

    @property
    def rows(self) -> range:
        return range((self.height - 1) % self.step // 2, self.height, self.step)

    @property
    def columns(self) -> range:
        return range((self.width - 1) % self.step // 2, self.width, self.step)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.rows), len(self.columns)

    @property
    def positions(self) -> int:
        return len(self.rows) * len(self.columns)

    def take(self, maps: torch.Tensor) -> torch.Tensor:
        """... x H x W -> ... x positions, row-major."""
        rows, columns = self.rows, self.columns
        return maps[..., rows.start :: self.step, columns.start :: self.step].flatten(-2)


def displacements(radius: int, height: int, width: int) -> list[tuple[int, int]]:
    """(dy, dx) up to `radius` that a map has room for, one of each pair d and -d, (0, 0) first."""
    down, across = min(radius, height - 1), min(radius, width - 1)
    every = [(y, x) for y in range(down + 1) for x in range(-across, across + 1)]
    return [(y, x) for y, x in every if y > 0 or x >= 0]


class FeatureStatistics:
    """Sums over N x C x H x W maps, from which the statistics below follow.

    `positions`: most positions of the spatial covariance and of the Gini indices. `radius`: largest
    displacement of the autocovariance. `device`: where to compute.
    """

    def __init__(
        self,
        channels: int,
        height: int,
        width: int,
        *,
        positions: int = 400,
        radius: int = 2,
        device: torch.device | str = "cpu",
    ):
        self.shape = (channels, height, width)
        self.positions = positions
        self.grid = Grid.of(height, width, positions)
        # Neighbours are nearly equal: a quarter of the positions is enough for the autocovariance, which
        # costs most of all in layers of many channels.
        self.anchors = Grid.of(height, width, max(1, positions // 4))
        self.radius = radius
        self.lags = displacements(radius, height, width)
        points, lags = self.grid.positions, len(self.lags)
        # Where p + d lies in the flat map, and whether it lies on the map: lags x positions.
        lag = torch.tensor(self.lags, device=device)[:, :, None]
        rows, columns = (
            torch.tensor(list(places)) for places in (self.anchors.rows, self.anchors.columns)
        )
        place = torch.cartesian_prod(rows, columns).to(device).T + lag
        self._index = place[:, 0].clamp(0, height - 1) * width + place[:, 1].clamp(0, width - 1)
        limits = torch.tensor([height, width], device=device)[:, None]
        self._valid = ((place >= 0) & (place < limits)).all(1).double()
        shapes = {
            "images": (BLOCKS,),
            # The spatial covariance: each channel of each image a sample of the grid's positions.
            "maps": (BLOCKS, channels, points),
            "products": (BLOCKS, points, points),
            "cubic": (BLOCKS, points),  # of |x|^2 x, and of |x|^4: what Ledoit-Wolf needs
            "quartic": (BLOCKS,),
            # Channels: each position of each image a sample.
            "means": (channels,),
            "mean_products": (channels, channels),
            "gram": (channels, channels),
            "gram_norms": (2,),  # |G|^2 of each image's Gram matrix, raw and centred
            "powers": (channels, 4),  # x, x^2, x^3, x^4
            "magnitudes": (channels,),
            "zeros": (channels,),
            "gini": (channels,),
            # The autocovariance by displacement: products of p and p + d, and both of their sums.
            "lagged": (channels, lags, channels),  # channel at p + d, lag, channel at p
            "heads": (lags, channels),
            "tails": (lags, channels),
        }
        self.sums = {
            name: torch.zeros(shape, dtype=torch.float64, device=device)
            for name, shape in shapes.items()
        }
        self._of_images: list[list[float]] = []

    # -------------------------------------------------------------------------- the pass

    def add(self, maps: torch.Tensor | np.ndarray, first: int = 0) -> None:
        """Take in n x C x H x W maps, those of image number `first` and the following.

        Raises ValueError for maps of another shape, or with an entry that is not finite.
        """
        maps = torch.as_tensor(maps).to(self.sums["gram"].device)
        if tuple(maps.shape[1:]) != self.shape:
            raise ValueError(f"maps are {tuple(maps.shape[1:])}; {self.shape} was announced")
        group = max(1, CACHED * 8 // (len(self.lags) * self.shape[0] * self.anchors.positions))
        for start in range(0, len(maps), group):
            part = maps[start : start + group]
            done = 0
            try:
                for number, image in enumerate(part, start=first + start):
                    self._add_image(image, number)
                    done += 1
            finally:  # the images before a refused one count in all sums
                if done:
                    self._add_lagged(part[:done])

    def _add_image(self, image: torch.Tensor, number: int) -> None:
        """All sums but those of the autocovariance."""
        sums, flat, block = self.sums, image.flatten(1), number % BLOCKS
        channels, count = flat.shape
        chunk = CACHED // channels + 1 if flat.device.type == "cpu" else count
        gram = flat.new_zeros(channels, channels, dtype=torch.float64)
        powers = flat.new_zeros(channels, 4, dtype=torch.float64)
        absolute, zeros = flat.new_zeros(2, channels, dtype=torch.float64)
        population = flat.new_zeros((), dtype=torch.float64)
        signed = bool(image.min() < 0)
        for start in range(0, count, chunk):  # pieces that stay in the CPU's cache
            part = flat[:, start : start + chunk].double()
            product, square, magnitude = (
                part @ part.T,
                part.square(),
                part.abs() if signed else part,
            )
            third, fourth = (square[:, None] @ other[:, :, None] for other in (part, square))
            gram += product
            first, second = part.sum(1), product.diagonal()
            powers += torch.stack([first, second, third.flatten(), fourth.flatten()], 1)
            absolute += magnitude.sum(1) if signed else first
            zeros += (part == 0).sum(1).double()
            population += treves_rolls(magnitude.sum(0), square.sum(0), channels).sum()
        if not torch.isfinite(powers).all():
            raise ValueError(f"the feature maps of image {number} are not finite")
        gram, mean = gram / count, powers[:, 0] / count
        outer = torch.outer(mean, mean)
        sums["means"] += mean
        sums["mean_products"] += outer
        sums["gram"] += gram
        sums["gram_norms"][0] += gram.square().sum()
        sums["gram_norms"][1] += (gram - outer).square().sum()
        sums["powers"] += powers
        sums["magnitudes"] += absolute
        sums["zeros"] += zeros

        seen = self.grid.take(image)
        grid = seen.double()
        sums["gini"] += gini(seen)
        sums["images"][block] += 1
        sums["maps"][block] += grid
        sums["products"][block].addmm_(grid.T, grid)
        norms = grid.square().sum(1)
        sums["cubic"][block] += norms @ grid
        sums["quartic"][block] += norms @ norms

        whole = powers.sum(0)
        measures = (
            gini(seen.flatten()),
            hoyer(absolute.sum(), whole[1], flat.numel()),
            zeros.sum() / flat.numel(),
            kurtosis(whole, flat.numel()),
            population / count,
        )
        self._of_images.append([float(value) for value in torch.stack(measures).cpu()])

    def _add_lagged(self, maps: torch.Tensor) -> None:
        """The sums of the autocovariance, for several images in one matrix product."""
        heads = self.anchors.take(maps).double()
        shape = (self.shape[0], len(self.lags), len(maps), self.anchors.positions)
        shifted = torch.empty(shape, dtype=torch.float64, device=heads.device)
        for number, image in enumerate(maps.flatten(2)):
            shifted[:, :, number] = image[:, self._index]
        shifted *= self._valid[:, None]
        columns = heads.permute(0, 2, 1).flatten(0, 1)  # images x positions, channels
        self.sums["lagged"].view(-1, shape[0]).addmm_(shifted.view(-1, len(columns)), columns)
        self.sums["heads"] += self._valid @ heads.sum(0).T
        self.sums["tails"] += shifted.sum((2, 3)).T

    @property
    def kind(self) -> str:
        """What must be equal for sums to be added or statistics to be compared."""
        size = " x ".join(map(str, self.shape))
        return f"{size}, at most {self.positions} positions, radius {self.radius}"

    def merge(self, other: FeatureStatistics) -> None:
        """Add the sums of another part of the same images.

        Raises ValueError when the parts were measured differently.
        """
        if self.kind != other.kind:
            raise ValueError(f"parts cannot be merged: {self.kind} and {other.kind}")
        for name, value in other.sums.items():
            self.sums[name] += value.to(self.sums[name].device)
        self._of_images += other._of_images

    def state(self) -> dict[str, np.ndarray]:
        """Everything that `from_state` needs, as arrays."""
        size = (*self.shape, self.positions, self.radius)
        arrays = {name: value.cpu().numpy().copy() for name, value in self.sums.items()}
        return {"size": np.array(size), "of_images": self.of_images, **arrays}

    @classmethod
    def from_state(cls, state: dict[str, np.ndarray]) -> FeatureStatistics:
        channels, height, width, positions, radius = (int(value) for value in state["size"])
        result = cls(channels, height, width, positions=positions, radius=radius)
        for name in result.sums:
            result.sums[name] = torch.from_numpy(np.array(state[name]))
        result._of_images = np.asarray(state["of_images"]).tolist()
        return result

    # -------------------------------------------------------------------------- what follows

    @property
    def count(self) -> int:
        return int(self.sums["images"].sum())

    @property
    def of_images(self) -> np.ndarray:
        """The IMAGE_MEASURES of every image: N x 5. `population` is Treves and Rolls' sparseness over
        the channels at a position, mean over positions; the others are over all entries (the Gini
        index over those on the grid)."""
        return np.array(self._of_images).reshape(-1, len(IMAGE_MEASURES))

    @property
    def of_channels(self) -> np.ndarray:
        """The CHANNEL_MEASURES of every channel: C x 5, over all images and positions; the Gini index
        over the positions on the grid, mean over images."""
        sums, count = self.sums, self.count * self.shape[1] * self.shape[2]
        measures = (
            sums["gini"] / self.count,
            hoyer(sums["magnitudes"], sums["powers"][:, 1], count),
            sums["zeros"] / count,
            kurtosis(sums["powers"], count),
            treves_rolls(sums["magnitudes"], sums["powers"][:, 1], count),
        )
        return torch.stack(measures, 1).cpu().numpy()

    @property
    def covariance(self) -> np.ndarray:
        """Positions x positions of the grid, each channel of each image a sample: the study's form."""
        moments = self.spatial_moments().sum()
        return moments.covariance

    @property
    def channel_means(self) -> np.ndarray:
        return (self.sums["means"] / self.count).cpu().numpy()

    @property
    def channel_covariance(self) -> np.ndarray:
        """C x C, each position of each image a sample."""
        mean = self.sums["means"] / self.count
        return (self.sums["gram"] / self.count - torch.outer(mean, mean)).cpu().numpy()

    @property
    def autocovariance(self) -> np.ndarray:
        """The stationary model of the maps: R[dy + r, dx + r] is the C x C covariance of the channels
        at p with those at p + d, around the mean of each channel over all positions.

        (2 r + 1) x (2 r + 1) x C x C; pairs that the map is too small for are NaN. p runs over
        a coarser grid, `anchors`, p + d over all positions.
        """
        sums, mean = self.sums, self.sums["means"] / self.count
        pairs = (self._valid.sum(1) * self.count)[:, None, None]
        heads, tails = sums["heads"][:, :, None], sums["tails"][:, None, :]
        products = sums["lagged"].permute(1, 2, 0) - heads * mean - mean[:, None] * tails
        found = (products / pairs + torch.outer(mean, mean)).cpu().numpy()
        side, channels = 2 * self.radius + 1, len(mean)
        result = np.full((side, side, channels, channels), np.nan)
        for (y, x), matrix in zip(self.lags, found, strict=True):
            result[self.radius - y, self.radius - x] = matrix.T
            result[self.radius + y, self.radius + x] = matrix
        return result

    @property
    def gram(self) -> np.ndarray:
        """Mean over images of F F' / (H W), F the C x (H W) map."""
        return (self.sums["gram"] / self.count).cpu().numpy()

    @property
    def gram_centred(self) -> np.ndarray:
        """The same with each image's own channel means taken out."""
        return ((self.sums["gram"] - self.sums["mean_products"]) / self.count).cpu().numpy()

    @property
    def style_spread(self) -> tuple[float, float]:
        """Mean style distance of two different images of the set: by raw and by centred Gram matrices.

        From sums alone: the mean of |G_i - G_j|^2 over pairs is 2 N / (N - 1) times the variance.
        """
        if self.count < 2:
            return math.nan, math.nan
        scale = 2 * self.count / (self.count - 1) / (4 * self.shape[0] ** 2)
        second = (self.sums["gram_norms"] / self.count).cpu().numpy()
        first = [np.square(gram).sum() for gram in (self.gram, self.gram_centred)]
        raw, centred = (scale * np.maximum(second - first, 0)).tolist()
        return raw, centred

    def spatial_moments(self) -> SpatialMoments:
        """The spatial sums block by block, for resampling; blocks without images are left out."""
        sums = {
            name: self.sums[name].cpu().numpy()
            for name in ("images", "maps", "products", "cubic", "quartic")
        }
        used = sums["images"] > 0
        return SpatialMoments(self.grid.shape, *(value[used] for value in sums.values()))

    def summary(self) -> dict[str, float | int]:
        """The layer's statistics as one row of numbers."""
        covariance, images, channels = self.covariance, self.of_images, self.of_channels
        moments = self.spatial_moments().sum()
        row: dict[str, float | int] = {
            "images": self.count,
            **dict(zip(("channels", "height", "width"), self.shape, strict=True)),
            "grid_height": self.grid.shape[0],
            "grid_width": self.grid.shape[1],
            "effective_rank": effective_rank(covariance),
            "condition": condition_number(covariance),
            "shrinkage": moments.shrinkage,
            "condition_shrunk": condition_number(moments.shrunk()),
            "channel_effective_rank": effective_rank(self.channel_covariance),
        }
        row |= dict(zip(("style_spread", "style_spread_centred"), self.style_spread, strict=True))
        for of, names, values in (
            ("image", IMAGE_MEASURES, images),
            ("channel", CHANNEL_MEASURES, channels),
        ):
            for name, column in zip(names, values.T, strict=True):
                known = column[np.isfinite(column)]  # those that vary at all have a kurtosis
                row[f"{name}_{of}"] = known.mean() if len(known) else math.nan
        return {
            name: value if isinstance(value, int) else float(value) for name, value in row.items()
        }


def measure(maps, samples: range, **options) -> FeatureStatistics:
    """The statistics of these samples of an array or HDF5 dataset N x C x H x W, or N x C, read BATCH at a
    time.

    `options` are those of FeatureStatistics.
    """
    shape = (*maps.shape[1:], 1, 1)[:3]
    found = FeatureStatistics(*shape, **options)
    for start in progress(samples[::BATCH], "measuring feature maps"):
        part = maps[start : min(start + BATCH, samples.stop)]
        found.add(part.reshape(len(part), *shape), start)
    return found


def write_sums(file, found: FeatureStatistics) -> None:
    """Into the group `sums` of an open HDF5 file."""
    sums = file.create_group("sums")
    for key, value in found.state().items():
        write_array(sums, key, value)


def write_statistics(file, found: FeatureStatistics) -> None:
    """What there is to say of maps, and the sums that it comes from, into an open HDF5 file."""
    arrays = {
        "covariance": found.covariance,
        "pseudo_inverse": pseudo_inverse(found.covariance),
        "precision": found.spatial_moments().sum().precision(),
    }
    names = ("channel_covariance", "autocovariance", "gram", "gram_centred")
    names += ("of_images", "of_channels")
    write_arrays(file, arrays | {name: getattr(found, name) for name in names})
    write_sums(file, found)
    file.attrs["grid"] = found.grid.shape


def read_all_sums(paths: Iterable[str | os.PathLike]) -> FeatureStatistics:
    """From the files of all shards, in order."""
    first, *rest = map(read_sums, paths)
    for other in rest:
        first.merge(other)
    return first


def read_sums(path: str | os.PathLike) -> FeatureStatistics:
    """From a file of the stage, to be added to."""
    with open_hdf5(path, "statistics") as file:
        state = {key: data[...] for key, data in file["sums"].items()}
    return FeatureStatistics.from_state(state)
