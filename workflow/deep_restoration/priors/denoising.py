"""Denoising as a test of priors: the most probable image under a prior and white noise.

Minimised over x for a noisy y:  |x - y|^2 / (2 sigma^2) + weight * energy(x).  One weight is tuned, and
every image runs until it has converged, because stopping early flatters a weak prior. (Under a Gaussian prior
the minimum is known in closed form.)

A denoiser can give another estimate, too: the mean of the images that a noisy one may stem from, which has
the least squared error. Beside the most probable images of other priors it measures the estimator as much as
the prior; so both have a row, and the column `estimator` tells them apart.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
import torch

from ..data import images as photographs
from ..data.splits import evenly_spaced
from ..evaluation import metrics
from ..files.hdf5 import open_hdf5, read_names, write_arrays
from ..runtime import seeds
from .descent import Denoised, denoise
from .material import batches, load_maps

log = logging.getLogger(__name__)
MEASURES = ("psnr_noisy", "psnr", "ssim", "iterations", "residual", "seconds")
COLUMNS = (
    "prior",
    "estimator",
    "colour",
    "image",
    "sigma",
    "weight",
    *MEASURES,
)
START = 0.1  # the weight that tuning tries first
LEFT = 0.6  # of the noise, in the image whose mean is sought
GOLDEN = (math.sqrt(5) - 1) / 2


def most_probable(prior, sigma: float, noisy: torch.Tensor, weight: float, **limits) -> Denoised:
    """`denoise` under a learned prior, its energy weighted as it is, not calibrated.

    Under a Gaussian the most probable image is the mean, by Wiener's filter: a weight multiplies the noise.
    """
    with torch.no_grad():
        if prior.gaussian:
            return Denoised(prior.denoise(noisy, math.sqrt(weight) * sigma), 0, 0.0)
        return denoise(prior.slope_for(sigma), noisy, sigma, weight, **limits)


def posterior_mean(prior, sigma: float, noisy: torch.Tensor, weight: float, **limits) -> Denoised:
    """An estimate of the mean of the images that a noisy one may stem from, by a denoiser R.

    R(y) is that mean as far as R has learned it. A level s with less noise is learned better: so first z,
    the most probable image with noise of level s left in it, of which y is a noisy observation, then R(z),
    the mean for z. Where the images are Gaussian, it is the mean for y.

    One that has learned every level alike (`unet`) is asked for y itself; a weight multiplies the noise.
    """
    level = LEFT * sigma
    with torch.no_grad():
        if prior.every_level:
            return Denoised(prior.denoise(noisy, math.sqrt(weight) * sigma), 0, 0.0)
        rest = math.sqrt(sigma**2 - level**2)
        found = denoise(prior.slope_at(level), noisy, rest, weight, **limits)
        return found._replace(images=prior.denoise(found.images, level))


ESTIMATORS = {"map": most_probable, "mean": posterior_mean}
NAMES = {"map": "MAP", "mean": "posterior mean"}  # in tables and figures


def total_variation(noisy: torch.Tensor, weight: float) -> Denoised:
    """The minimiser of |x - y|^2 / 2 + weight TV(x) (Rudin, Osher & Fatemi 1992), by scikit-image."""
    from skimage.restoration import denoise_tv_chambolle

    images = [
        denoise_tv_chambolle(
            image.permute(1, 2, 0).double().numpy(), weight, 1e-5, 500, channel_axis=-1
        )
        for image in noisy.cpu()
    ]
    return Denoised(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).to(noisy), 0, 0.0)


def denoising_by(prior, estimator: str, sigma: float, **limits) -> Callable[..., Denoised]:
    """What denoises N x C x H x W images, given them and a weight: under a learned prior, by an estimator of
    ESTIMATORS; without one the minimiser of total variation."""
    if prior is None:
        return total_variation
    return partial(ESTIMATORS[estimator], prior, sigma, **limits)


def middles(maps: np.ndarray, side: int = 160) -> torch.Tensor:
    """The middle, at most `side` pixels per side, of uint8 images N x C x H x W, as a float tensor on the
    device: for tuning, which costs as much as many images."""
    side = min(side, *maps.shape[2:])
    top, left = ((length - side) // 2 for length in maps.shape[2:])
    return next(batches(maps[:, :, top : top + side, left : left + side], len(maps)))


def tuning_images(path: str | os.PathLike, of: str, held_out: float, count: int) -> torch.Tensor:
    """The `middles` of at most `count` of the held-out training images, evenly spaced; `of` is `images` or
    `grey`, `held_out` the share of them."""
    _, held = load_maps(path, of, held_out)
    return middles(held[evenly_spaced(list(range(len(held))), count)])


def read_photographs(
    test: Sequence[str | os.PathLike], folder: str, files: Sequence[str]
) -> Iterable[tuple[str, np.ndarray]]:
    """Names and pixels (H x W x 3 uint8) of what is denoised: the study's test images, from the file in
    `test` if there is one, or photographs as they are, `files` of a folder, read one by one."""
    for path in test:
        with open_hdf5(path, "images") as file:
            return zip(read_names(file), file["images"][...], strict=True)
    return ((name, photographs.read(f"{folder}/{name}")) for name in files)


def tuned(denoise: Callable[..., Denoised], clean: torch.Tensor, sigma: float, seed: int) -> float:
    """The weight with which `denoise` gives the largest mean PSNR on `clean` images made noisy."""
    noisy = add_noise(clean, [f"tuning {i}" for i in range(len(clean))], sigma, seed)

    def score(weight: float) -> float:
        return float(psnr(clean, denoise(noisy, weight).images).mean())

    return tune(score, START)


def measure(
    denoise: Callable[..., Denoised],
    weight: float,
    planes: np.ndarray,
    name: str,
    sigma: float,
    seed: int,
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Denoise one photograph, its planes C x H x W uint8: the values of MEASURES, and the
    `clean`, `noisy` and `denoised` image, H x W x C uint8."""
    truth = next(batches(planes[None]))
    noisy = add_noise(truth, [name], sigma, seed)
    began = time.monotonic()
    found = denoise(noisy, weight)
    seconds = time.monotonic() - began
    before, after = (float(psnr(truth, x)) for x in (noisy, found.images))
    flat = [photographs.as_pixels(x.clamp(0, 1)) for x in (truth, noisy, found.images)]
    values = (before, after, float(metrics.ssim(flat[0], flat[2])[0]))
    values += (found.iterations, 255 * found.residual, seconds)
    shown = (np.rint(255 * x[0]).astype(np.uint8) for x in flat)
    return (
        dict(zip(MEASURES, values, strict=True)),
        dict(zip(("clean", "noisy", "denoised"), shown, strict=True)),
    )


def measure_all(
    denoise: Callable[..., Denoised],
    weight: float,
    images: Iterable[tuple[str, np.ndarray]],
    of: str,
    sigma: float,
    seed: int,
    most: int,
) -> tuple[list[tuple], dict[str, dict[str, np.ndarray]]]:
    """`measure` all photographs, pairs of a name and H x W x 3 uint8, as `images` or in `grey`: rows of a
    name and MEASURES, and by name the pictures of the first ones, at `most` so many."""
    rows, shown = [], {}
    for name, image in images:
        planes = photographs.planes(image, of)
        values, pictures = measure(denoise, weight, planes, name, sigma, seed)
        rows.append((name, *values.values()))
        if len(shown) < most:
            shown[name] = pictures
    psnr = 1 + MEASURES.index("psnr")
    log.info("weight %.4g: %.2f dB", weight, np.mean([row[psnr] for row in rows]))
    return rows, shown


def write_pictures(file, shown: dict[str, dict[str, np.ndarray]]) -> None:
    """Write the pictures of some photographs, by name and kind, into an open file: a group each."""
    for index, (image, pictures) in enumerate(shown.items()):
        group = file.create_group(f"{index:03}")
        group.attrs["name"] = image.encode("utf-8", "surrogateescape")
        write_arrays(group, pictures)


def add_noise(images: torch.Tensor, names: list[str], sigma: float, seed: int) -> torch.Tensor:
    """White Gaussian noise, not clipped; an image's noise depends on its name alone."""
    noise = seeds.noise_like(images, seed, [("denoising", name) for name in names])
    return images + sigma * noise


def psnr(truth: torch.Tensor, denoised: torch.Tensor) -> torch.Tensor:
    """In dB, per image (N,), after clipping to [0, 1]."""
    return -10 * (denoised.clamp(0, 1) - truth).square().mean((1, 2, 3)).log10()


def tune(
    score: Callable[[float], float], start: float, factor: float = 3.0, refine: int = 4
) -> float:
    """The weight of the highest score: steps of `factor` from `start` until it falls on both sides, then
    `refine` golden section steps on the logarithm.

    Not by scipy.optimize.minimize_scalar: its `golden` starts from the middle of the bracket and its
    `bounded` takes parabolas, so that both find other weights and change the tables of a study.
    """
    found: dict[float, float] = {}

    def at(place: float) -> float:
        if place not in found:
            found[place] = score(math.exp(place))
            log.info("weight %.4g: %.3f dB", math.exp(place), found[place])
        return found[place]

    stride, index = math.log(factor), 0
    while abs(index) < 12:
        # Whole steps, so that a point met again is the same number: otherwise ties could cycle for ever.
        places = {k: math.log(start) + k * stride for k in (index, index - 1, index + 1)}
        best = max(places, key=lambda k: at(places[k]))
        if best == index:
            break
        index = best
    middle = math.log(start) + index * stride
    low, high = middle - stride, middle + stride
    left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
    for _ in range(refine):
        if at(left) >= at(right):
            high, right = right, left
            left = high - GOLDEN * (high - low)
        else:
            low, left = left, right
            right = low + GOLDEN * (high - low)
    return math.exp(max(found, key=lambda place: found[place]))
