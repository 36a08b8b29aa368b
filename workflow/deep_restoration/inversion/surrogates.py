"""What the maps of a layer are expected to be, given a denoised image: a Gaussian per noise level.

At a noise level s a noisy image tells only the denoised one, D(x + c s n, s), c being NOISE, which lacks
what noise covers. Its maps are not those of x, not even in the mean, and how far they may lie from them
differs from direction to direction. So in the leading principal components U of a layer's channels, m their
mean,

    U'(Phi(x) - m) = A U'(Phi(D(x + c s n, s)) - m) + b + e,    e ~ N(0, R) at every position,

with A and b by ridge regression and R the covariance of what is left, all from natural images. `residual` is
R^(-1/2) e for the maps to be explained: its square is minus twice a log likelihood that knows what a
denoised guess cannot know.

To see what of it matters there are two simpler surrogates, with A = I, b = 0 and of R only its trace
measured: `whitened`, R proportional to the covariance of U'(Phi(x) - m), and `plain`, R proportional to I.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch

from ..data import splits
from ..data.images import as_tensor
from ..files.tensors import load_tensors, save_tensors
from ..networks import saved
from ..priors.annealing import load
from ..runtime import devices, seeds
from ..runtime.batches import Batches
from ..runtime.progress import progress
from ..statistics.moments import Moments
from .preimage import as_maps

log = logging.getLogger(__name__)

RIDGE = 0.003  # share of each regressor's variance; a tenth and ten times as much predict no better
HELD_OUT = 4  # one image in so many measures how far R is from that of other images
FLOOR = 0.02  # of the mean variance of e, added to each: no direction is known better than that
# An estimate on the way holds less noise than the level is named after, and none of the right structure: so
# much of it goes into the images that are denoised here. 1 reconstructs smoother images, 0 trusts R too much
# where the layer is deep (features.7 of SqueezeNet ends at a residual of 2.4 in place of 1/2).
NOISE = 0.5
Denoise = Callable[[torch.Tensor, float], torch.Tensor]
Maps = Callable[[torch.Tensor], torch.Tensor]  # of a layer, of images N x 3 x H x W


class Level(NamedTuple):
    """Of one noise level, all times R^(-1/2) from the left: A, k x k; b, (k,); and R^(-1/2), k x k."""

    expected: torch.Tensor
    offset: torch.Tensor
    whitening: torch.Tensor


class Surrogates:
    """A Gaussian per noise level. centre: m, (C,); components: U', k x C; noise: the levels s, in the units
    of images in [0, 1], falling; explained: the share of the variance of U'(Phi(x) - m) that each leaves
    less, on images held out."""

    def __init__(
        self,
        centre: torch.Tensor,
        components: torch.Tensor,
        noise: Sequence[float],
        levels: Sequence[Level],
        explained: Sequence[float],
    ):
        self.centre, self.components = centre, components
        self.noise, self.levels, self.explained = list(noise), list(levels), list(explained)

    def to(self, device: torch.device) -> Surrogates:
        self.centre, self.components = self.centre.to(device), self.components.to(device)
        self.levels = [Level(*(part.to(device) for part in level)) for level in self.levels]
        return self

    def leading(self, maps: torch.Tensor) -> torch.Tensor:
        """U'(maps - m), N x k x positions, of maps N x C x H x W or N x C."""
        return self.components @ (as_maps(maps).flatten(2) - self.centre[:, None])

    def target(self, number: int, leading: torch.Tensor) -> torch.Tensor:
        """R^(-1/2) (U'(y - m) - b) of the maps to be explained, given as `leading` has them."""
        level = self.levels[number]
        return level.whitening @ leading - level.offset[:, None]

    def residual(self, number: int, maps: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """R^(-1/2) e, N x k x positions, of the maps of denoised images and the target of this level."""
        return target - self.levels[number].expected @ self.leading(maps)

    def save(self, path: str | os.PathLike, provenance: dict) -> None:
        tensors = {"centre": self.centre, "components": self.components}
        for name in Level._fields:
            tensors[name] = torch.stack([getattr(level, name) for level in self.levels])
        facts = {"noise": self.noise, "explained": self.explained}
        save_tensors(path, tensors, "surrogates", {**provenance, **facts})

    @classmethod
    def load(cls, path: str | os.PathLike) -> Surrogates:
        """Raises StorageError for a file that is damaged or holds something else."""
        tensors, facts = load_tensors(path, "surrogates")
        levels = zip(*(tensors[name] for name in Level._fields), strict=True)
        parts = tensors["centre"], tensors["components"], facts["noise"]
        return cls(*parts, [Level(*level) for level in levels], facts["explained"])


def schedule(noise: Sequence[float], levels: int) -> list[float]:
    """So many noise levels from the largest of image values in 0..255 to the smallest, by the same factor,
    in the units of images in [0, 1]."""
    first, last = (level / 255 for level in noise)
    ratio = (last / first) ** (1 / max(1, levels - 1))
    return [first * ratio**number for number in range(levels)]


def images_needed(components: int, positions: int, known: int) -> int:
    """So many images that each of the coefficients of A has a hundred positions, at least 64, at most all."""
    return min(known, max(64, -(-100 * components // positions)))


def leading_components(
    maps_of: Maps, pixels: np.ndarray, components: int, where: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """m and U': mean and at most so many principal components over channels, the largest first, of the maps
    of images N x H x W x 3 uint8. Channels that never vary have none."""
    moments: Moments | None = None
    for maps in _each(maps_of, pixels, where):
        vectors = as_maps(maps).flatten(2).transpose(1, 2).flatten(0, 1)
        moments = moments or Moments(vectors.shape[1])
        moments.add(vectors.cpu().numpy())
    assert moments is not None
    values, vectors = np.linalg.eigh(moments.covariance)
    count = min(components, int((values > 1e-9 * values[-1]).sum()))
    leading = vectors[:, ::-1][:, :count].T
    return torch.from_numpy(moments.mean).float(), torch.from_numpy(leading.copy()).float()


def of_layer(
    network_file: str | os.PathLike,
    layer: str,
    prior_file: str | os.PathLike,
    file,
    noise: Sequence[float],
    components: int,
    held_out: float,
    seed: int,
    kind: str = "regression",
) -> Surrogates:
    """The surrogates of a layer of a stored classifier under a stored prior, from images of an open file
    which are not among the share `held_out`: searches judge by those."""
    where = devices.device()
    network = saved.load(network_file, [layer]).to(where)
    prior = load(prior_file).to(where)
    known = np.flatnonzero(~splits.held_out(len(file["images"]), held_out)).tolist()
    with torch.inference_mode():
        size = as_tensor(file["images"][:1]).to(where)
        positions = as_maps(network(size)[layer])[0, 0].numel()
    chosen = splits.evenly_spaced(known, images_needed(components, positions, len(known)))
    names, pixels = splits.named(file, chosen)
    log.info("%d images, %d positions each", len(names), positions)

    def maps_of(x: torch.Tensor) -> torch.Tensor:
        return network(x)[layer]

    return fit(maps_of, prior.denoise, pixels, names, noise, components, seed, where, kind)


def fit(
    maps_of: Maps,
    denoise: Denoise,
    pixels: np.ndarray,
    names: Sequence[str],
    noise: Sequence[float],
    components: int,
    seed: int,
    where: torch.device,
    kind: str = "regression",
) -> Surrogates:
    """The surrogates of a layer, `maps_of` images, for a denoiser and its noise levels.

    pixels: natural images N x H x W x 3 uint8, with their names, on which the noise depends; one in
    HELD_OUT tells by how much R has to grow. kind: `regression`, or one of the simpler ones.
    """
    centre, leading = leading_components(maps_of, pixels, components, where)
    found = Surrogates(centre, leading, noise, [], []).to(where)
    held = np.arange(len(pixels)) % HELD_OUT == HELD_OUT - 1
    wanted = torch.cat([found.leading(maps) for maps in _each(maps_of, pixels, where)])
    for number in progress(range(len(noise)), "fitting surrogates"):
        s = noise[number]

        def noisy(x: torch.Tensor, first: int, s: float = s, number: int = number) -> torch.Tensor:
            mine = names[first : first + len(x)]
            streams = [("surrogates", number, name) for name in mine]
            return denoise(x + NOISE * s * seeds.noise_like(x, seed, streams), s)

        guessed = torch.cat([found.leading(m) for m in _each(maps_of, pixels, where, noisy)])
        level, explained = _level(guessed.cpu(), wanted.cpu(), held, kind)
        found.levels.append(level)
        found.explained.append(explained)
        log.info("noise %.3f: %.1f %% explained", s, 100 * explained)
    return found


def _level(
    guessed: torch.Tensor, wanted: torch.Tensor, held: np.ndarray, kind: str
) -> tuple[Level, float]:
    """A level of that kind from U'(Phi - m) of denoised and of clean images, N x k x positions each, and the
    share of variance explained on the images held out."""
    k = wanted.shape[1]
    parts = [Moments(2 * k), Moments(2 * k)]
    for moments, chosen in zip(parts, (~held, held), strict=True):
        both = torch.cat([guessed, wanted], 1)[torch.from_numpy(chosen)]
        moments.add(both.transpose(1, 2).flatten(0, 1).numpy())
    learned, apart = parts

    def relation() -> tuple[np.ndarray, np.ndarray]:
        return _ridge(learned, k) if kind == "regression" else (np.eye(k), np.zeros(2 * k))

    slope, mean = relation()
    inside, outside = (_left(part, slope, mean, k) for part in parts)
    growth = max(1.0, float(np.trace(outside) / max(np.trace(inside), 1e-300)))
    total = np.trace(_left(apart, np.zeros((k, k)), learned.mean, k))
    for name in ("count", "total", "products"):
        setattr(learned, name, getattr(learned, name) + getattr(apart, name))
    slope, mean = relation()
    rest = growth * _left(learned, slope, mean, k)
    if kind != "regression":
        shape = learned.covariance[k:, k:] if kind == "whitened" else np.eye(k)
        rest = np.trace(rest) / max(np.trace(shape), 1e-300) * shape
    rest += np.eye(k) * max(FLOOR * np.trace(rest) / k, 1e-12)
    values, vectors = np.linalg.eigh(rest)
    root = (vectors / np.sqrt(values)) @ vectors.T
    offset = mean[k:] - slope @ mean[:k]
    arrays = (root @ slope, root @ offset, root)
    level = Level(*(torch.from_numpy(array).float() for array in arrays))
    return level, float(1 - np.trace(outside) / max(total, 1e-300))


def _ridge(moments: Moments, k: int) -> tuple[np.ndarray, np.ndarray]:
    """A, k x k, and the mean of regressors and of what they predict, (2 k,)."""
    covariance = moments.covariance
    gram = covariance[:k, :k]
    gram = gram + np.diag(RIDGE * gram.diagonal() + 1e-12)
    return np.linalg.solve(gram, covariance[:k, k:]).T, moments.mean


def _left(moments: Moments, slope: np.ndarray, mean: np.ndarray, k: int) -> np.ndarray:
    """Second moments of e, k x k, for a regression with this A and these means."""
    shift = moments.mean - mean
    second = moments.covariance + np.outer(shift, shift)
    take = np.hstack([-slope, np.eye(k)])
    return take @ second @ take.T


def _each(
    maps_of: Maps,
    pixels: np.ndarray,
    where: torch.device,
    change: Callable[[torch.Tensor, int], torch.Tensor] = lambda x, first: x,
):
    """Maps of the images, changed before, batch by batch; `change` is told the number of the first one."""

    def compute(part: slice) -> torch.Tensor:
        with torch.inference_mode():
            return maps_of(change(as_tensor(pixels[part]).to(where), part.start))

    for _, maps in Batches(16, "fitting surrogates")(compute, len(pixels)):
        yield maps
