"""Experiments with linear inverses: how well they reconstruct images, and how far they are from convolutions.

Everything is a table: rows as dictionaries, in the order of COLUMNS or SHAPE_COLUMNS.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from ..data.images import as_tensor
from ..data.splits import evenly_spaced
from ..files.hdf5 import open_hdf5
from ..networks import graph
from ..runtime import seeds
from . import optimum as li

log = logging.getLogger(__name__)

COLUMNS = ("noise", "method", "size", "mse", "mse_inside", "psnr", "relative_error", "expected")
COLUMNS += ("iterations", "residual")
SHAPE_COLUMNS = ("noise", "setting", "stride", "method", "transposed", "transposed_inside")
SHAPE_COLUMNS += ("toeplitz", "toeplitz_inside")
OPTIMAL, PSEUDO = "optimal linear inverse", "pseudo-inverse"
TRANSPOSED, SINGLE, CUT = "transposed convolution", "single convolution", "optimal kernel, cut"
LARGEST = 6500  # unknowns of a regression for a kernel; beyond them it takes minutes and gigabytes
ENTRIES = 6_000_000  # of a dense inverse


def of_network(network: graph.Network) -> li.Convolution:
    """The convolution at the end of a network that begins with it, as a map of images in [0, 1]; what the
    network does to colours before it (the classifier's scaling, and more in Inception) is included.

    Raises ValueError where anything but an affine map of each pixel's colours comes before it.
    """
    last = network.steps[-1]
    error = ValueError(f"{last['name']} is not a convolution of the image alone")
    module = network.weights.get_submodule(last["path"]) if last["kind"] == "module" else None
    if not isinstance(module, torch.nn.Conv2d):
        raise error
    found = li.Convolution.of(module)
    mean, std = (value.flatten().tolist() for value in (network.mean, network.std))
    front = graph.Network(network.steps, graph.inputs_of(last), mean, std)
    if front.tensors():
        raise error

    def colours(images: torch.Tensor) -> torch.Tensor:
        (seen,) = front(images).values()
        return seen.double()

    random = torch.rand(1, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    pure = torch.cat([torch.zeros(1, 3), torch.eye(3)])[:, :, None, None].expand(-1, -1, 5, 5)
    black, *primaries = colours(pure)[:, :, 0, 0]
    mixing = torch.stack(primaries, 1) - black[:, None]  # colours seen x colours of the image
    affine = torch.einsum("dc,ncyx->ndyx", mixing, random.double()) + black[:, None, None]
    seen = colours(random)
    if seen.shape != affine.shape or not torch.allclose(seen, affine, atol=1e-4):
        raise error
    weight = torch.einsum("kdyx,dc->kcyx", found.dense_weight(), mixing)
    return replace(found, weight=weight, groups=1)


def noise_variance(moments: li.Moments, share: float) -> float:
    """Variance of noise whose standard deviation is `share` of the maps' root mean square."""
    return share**2 * float(moments.maps(0, 0).trace()) / moments.outputs


def kernel_side(convolution: li.Convolution) -> int:
    """Pixels of the torus on which kernels without limit of size are computed."""
    stride = convolution.stride[0]
    return stride * -(-max(96, 3 * convolution.span[0]) // stride)


@dataclass(frozen=True)
class Reconstructed:
    """What a method makes of the maps: N x C x H x W images, and its column of the table."""

    method: str
    size: int | None
    images: torch.Tensor
    facts: dict


def reconstructions(
    convolution: li.Convolution,
    prior: li.StationaryPrior,
    images: torch.Tensor,
    share: float,
    sizes: Sequence[int],
    generator: torch.Generator,
) -> list[Reconstructed]:
    """Every method's images from the maps of `images` (around the prior's mean), noise of a `share` of
    the maps' root mean square added.

    `sizes` are kernel sizes in pixels; one that would need a regression of more than LARGEST unknowns
    is left out; the log names it.
    """
    height, width = images.shape[2:]
    noise = noise_variance(li.Moments(convolution, prior, 0.0), share)
    moments = li.Moments(convolution, prior, noise)
    maps = convolution(images)
    random = torch.randn(maps.shape, generator=generator, dtype=torch.float64)
    maps = maps + math.sqrt(noise) * random.to(maps)

    def solved(method: str, prior: li.StationaryPrior, noise: float) -> Reconstructed:
        found = li.reconstruct(convolution, prior, noise, maps, height, width)
        facts = {"iterations": found.iterations, "residual": found.residual}
        return Reconstructed(method, None, found.images, facts)

    result = [solved(OPTIMAL, prior, noise)]
    # The least noise that rounding allows stands for no noise.
    tiny = 1e-9 * float(convolution.weight.square().sum())
    result.append(solved(PSEUDO, li.StationaryPrior.white(prior.channels).to(images.device), tiny))
    centre, stride = li.centre_of(convolution), convolution.stride[0]
    unlimited = li.periodic_kernel(convolution, prior, noise, kernel_side(convolution))
    for size in sizes:
        cells, taps = -(-size // stride), size - stride + 1
        candidates = {TRANSPOSED: (cells**2, li.best_kernel)}
        if stride > 1 and taps > 0:
            candidates[SINGLE] = (taps**2, li.best_resize_kernel)
        for method, (places, make) in candidates.items():
            if (unknowns := places * moments.outputs) > LARGEST:
                log.info("no %s of %d pixels: %d unknowns", method, size, unknowns)
                continue
            kernel, error = make(moments, size)
            reconstructed = kernel(maps, height, width)
            result.append(Reconstructed(method, size, reconstructed, {"expected": error}))
        if size <= unlimited.size:
            reconstructed = unlimited.cut(size, centre)(maps, height, width)
            result.append(Reconstructed(CUT, size, reconstructed, {}))
    return result


def images_of(path: str | os.PathLike, count: int) -> torch.Tensor:
    """At most `count` of the images in a file, evenly spaced, N x 3 x H x W float64 in [0, 1]."""
    with open_hdf5(path, "images") as file:
        chosen = evenly_spaced(list(range(len(file["images"]))), count)
        return as_tensor(file["images"][chosen]).double()


def by_noise(
    convolution: li.Convolution,
    prior: li.StationaryPrior,
    truth: torch.Tensor,
    shares: Sequence[float],
    sizes: Sequence[int],
    seed: int,
) -> tuple[list[dict], list[Reconstructed]]:
    """Rows of COLUMNS for `truth`, N x C x H x W, reconstructed from maps with noise of each of the
    `shares`, and what was reconstructed from those of the first one."""
    centred, border = truth - prior.mean.view(-1, 1, 1), convolution.span[0] + max(sizes) // 2
    rows, first = [], []
    for share in shares:
        generator = seeds.generator(seed, "linear inverse", share)
        found = reconstructions(convolution, prior, centred, share, sizes, generator)
        rows += errors(centred, found, share, border)
        first = first or found
        log.info("noise %g done", share)
    return rows, first


def labels(found: Sequence[Reconstructed]) -> list[str]:
    """What stands over the images of each method."""
    return [f"{entry.method} {entry.size}" if entry.size else entry.method for entry in found]


def first_images(found: Sequence[Reconstructed], prior: li.StationaryPrior) -> torch.Tensor:
    """The first image of each method, in its own colours: methods x C x H x W."""
    return torch.stack([entry.images[0] + prior.mean.view(-1, 1, 1) for entry in found])


def errors(
    images: torch.Tensor, found: Sequence[Reconstructed], share: float, border: int
) -> list[dict]:
    """Rows of COLUMNS. `mse_inside` leaves out a border; `expected` is the error that the prior predicts for
    the inside; the pixels' scale is 0 to 1."""
    rows = []
    if 2 * border >= min(images.shape[2:]):
        log.info("no inside: the images are smaller than a border of %d on each side", border)
    inside = slice(border, images.shape[2] - border), slice(border, images.shape[3] - border)
    for entry in found:
        error = entry.images - images
        mse = float(error.square().mean())
        row = dict.fromkeys(COLUMNS, math.nan) | {
            "noise": share,
            "method": entry.method,
            "size": entry.size if entry.size else math.nan,
            "mse": mse,
            "mse_inside": float(error[:, :, *inside].square().mean()),
            "psnr": -10 * math.log10(mse),
            "relative_error": float(error.square().sum() / images.square().sum()),
        }
        rows.append(row | entry.facts)
    return rows


def dense_cells(convolution: li.Convolution) -> int:
    """Cells per side of the largest square maps whose dense inverse has at most ENTRIES entries."""
    outputs, channels = len(convolution.weight), convolution.channels
    cells = 2
    while outputs * (cells + 1) ** 2 * channels * _side(convolution, cells + 1) ** 2 <= ENTRIES:
        cells += 1
    return cells


def _side(convolution: li.Convolution, cells: int) -> int:
    span, stride, padding = convolution.span[0], convolution.stride[0], convolution.padding[0]
    return (cells - 1) * stride + span - 2 * padding


def shapes(convolution: li.Convolution, prior: li.StationaryPrior, share: float) -> list[dict]:
    """Rows of SHAPE_COLUMNS: how far dense inverses are from transposed convolutions, and what they make
    of an image from a convolution, with periodic edges at stride 1 and at the layer's, and as
    the layer is. The `inside` columns leave out pixels nearer to an edge than the layer's span."""
    noise = noise_variance(li.Moments(convolution, prior, 0.0), share)
    stride, span = convolution.stride[0], convolution.span[0]
    torus = stride * -(-max(span, 12) // stride)
    periodic = replace(convolution, periodic=True)
    settings = {
        "periodic, stride 1": (replace(periodic, stride=(1, 1)), torus),
        f"periodic, stride {stride}": (periodic, torus),
        "as in the network": (convolution, _side(convolution, dense_cells(convolution))),
    }
    rows = []
    for setting, (layer, side) in settings.items():
        cells = math.prod(layer.output_shape(side, side))
        if (entries := cells * len(layer.weight) * prior.channels * side**2) > 10 * ENTRIES:
            log.info("no dense inverse of %s: %d entries", setting, entries)
            continue
        matrix = layer.matrix(side, side)
        inverses = {
            OPTIMAL: li.dense_inverse(layer, prior, noise, side, side),
            PSEUDO: li.dense_pseudo_inverse(layer, side, side),
        }
        both = (side, side), layer.output_shape(side, side)
        border = min(span, side // 3) if not layer.periodic else 0
        for method, inverse in inverses.items():
            image = inverse @ matrix
            found = [
                li.transposed_distance(inverse, both, layer.stride[0], b) for b in (0, border)
            ] + [li.toeplitz_distance(image, (side, side), b) for b in (0, border)]
            values = (share, setting, layer.stride[0], method, *found)
            rows.append(dict(zip(SHAPE_COLUMNS, values, strict=True)))
    return rows


def kernels(convolution: li.Convolution, prior: li.StationaryPrior, share: float) -> dict:
    """What the figure shows: filters, optimal and pseudo-inverse kernels without limit of size (K x C x
    k x k), the share of each one's energy outside a square of 1, 2 ... pixels, and the
    relative correction of the optimal inverse by distance from the edge."""
    noise = noise_variance(li.Moments(convolution, prior, 0.0), share)
    side, centre = kernel_side(convolution), li.centre_of(convolution)
    optimal = li.periodic_kernel(convolution, prior, noise, side)
    pseudo = li.periodic_kernel(convolution, None, 0.0, side)
    small = _side(convolution, dense_cells(convolution))
    inverse = li.dense_inverse(convolution, prior, noise, small, small)
    both = (small, small), convolution.output_shape(small, small)
    return {
        "filters": convolution.weight,
        "optimal": optimal.weight,
        "pseudo_inverse": pseudo.weight,
        "optimal_beyond": optimal.beyond(centre),
        "pseudo_inverse_beyond": pseudo.beyond(centre),
        "edge_correction": li.edge_correction(inverse, both, optimal),
    }
