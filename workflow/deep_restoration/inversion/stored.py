"""Images reconstructed batch by batch, on their way into a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from ..data.images import as_pixels, as_tensor
from ..evaluation.restarts import seed_of_restart
from ..files.hdf5 import create_dataset, write_names
from ..runtime.checkpoints import Checkpoint
from ..runtime.memo import Memo
from .preimage import Result
from .recipe import Recipe
from .reconstructor import Reconstructor

# Of the images of a start: which start, which images, n x H x W x 3.
Part = tuple[int, slice, np.ndarray]


def parts(count: int, size: int) -> list[slice]:
    """Batches of at most `size` of `count` images."""
    return [slice(start, start + size) for start in range(0, count, size)]


def batches(
    reconstructor: Reconstructor,
    recipe: Recipe,
    names: Sequence[str],
    pixels: np.ndarray,
    size: int,
    seed: int,
    first: int,
    checkpoint: Callable[[int], Checkpoint],
) -> Iterator[tuple[int, slice, Result]]:
    """Yield (number of its first image, part, result) of images N x H x W x 3 uint8, reconstructed `size`
    at a time; the number of the first of all is `first`. `checkpoint` makes that of the batch which begins
    with an image of that number; it is removed when the next batch is asked for."""
    for part in parts(len(names), size):
        own = checkpoint(first + part.start)
        result = reconstructor.reconstruct(recipe, as_tensor(pixels[part]), names[part], seed, own)
        yield first + part.start, part, result
        own.remove()


def further_restarts(
    reconstructor: Reconstructor,
    recipe: Recipe,
    names: Sequence[str],
    pixels: np.ndarray,
    size: int,
    seed: int,
    count: int,
    first: int,
    done: Memo,
) -> Iterator[Part]:
    """Yield the parts of images N x H x W x 3 uint8, `size` at a time, reconstructed from `count` restarts,
    but for start 0, that of the study. What was found lies in `done`, by the number of the start and that
    of the part's first image; `first` is the number of the first of all."""
    for start in range(1, count):
        own = seed_of_restart(seed, start)
        for part in parts(len(names), size):

            def compute(checkpoint: Checkpoint, seed: int = own, part: slice = part) -> tuple:
                truth = as_tensor(pixels[part])
                found = reconstructor.reconstruct(
                    recipe, truth, names[part], seed, checkpoint, watched=False
                )
                return found.images.cpu(), {"seconds": found.seconds}

            images, _ = done(f"start {start}, images from {first + part.start}", compute)
            yield start, part, as_pixels(images)


def write_reconstructed(
    file, found: Iterable[tuple[int, slice, Result]], shape: Sequence[int], names: Sequence[str]
) -> tuple[list[tuple], float]:
    """Write the images of `batches`, `shape` all of them, and their names into an open file. Returns the rows
    of their traces, each behind the number of its batch, and the seconds of all."""
    rows, seconds, units = [], 0.0, "sRGB, 0..1, N x H x W x 3"
    data = create_dataset(file, "images", shape, np.float32, units)
    for number, part, result in found:
        data[part] = as_pixels(result.images)
        rows += [(number, *row) for row in result.trace]
        seconds += result.seconds
    data.flush()
    write_names(file, names)
    return rows, seconds


def write_restarts(
    file,
    own: np.ndarray,
    further: Iterable[Part],
    count: int,
    pixels: np.ndarray,
    names: Sequence[str],
) -> None:
    """Write the images reconstructed from `count` restarts, their originals, N x H x W x 3 uint8, and their
    names into an open file: `own` from start 0, which are there already, and the parts of `further`
    ones."""
    shape, units = (count, *pixels.shape), "sRGB, 0..1, restarts x N x H x W x 3"
    data = create_dataset(file, "images", shape, np.float32, units, samples=1)
    data[0] = own
    for start, part, images in further:
        data[start, part] = images
    data.flush()
    units = "sRGB, 0..255, N x H x W x 3"
    originals = create_dataset(file, "originals", pixels.shape, np.uint8, units)
    originals[...] = pixels
    originals.flush()
    write_names(file, names)
