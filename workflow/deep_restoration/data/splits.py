"""Which images are held out, and samples of images at even distances."""

from __future__ import annotations

import numpy as np

from .spacing import evenly_spaced, held_out_count


def held_out(count: int, share: float) -> np.ndarray:
    """Which of `count` images are held out from all learning, (count,): a share, evenly spaced, at least
    one."""
    chosen = held_out_count(count, share)
    result = np.zeros(count, bool)
    result[(np.arange(chosen) * count) // chosen] = True
    return result


def sample(count: int, wanted: int | None, share: float) -> np.ndarray:
    """Indices of at most `wanted` of `count` images, or of all for None, placed so that the images which
    `held_out` selects from the sample are held out from the whole set, too."""
    wanted = min(wanted or count, count)
    kept, places = held_out(count, share), held_out(wanted, share)
    result = np.empty(wanted, int)
    for own, there in ((kept, places), (~kept, ~places)):
        result[there] = evenly_spaced(np.flatnonzero(own).tolist(), int(there.sum()))
    return result


def some(file, count: int, share: float | None = None) -> tuple[list[str], np.ndarray]:
    """Names and pixels (N x H x W x 3, uint8) of at most `count` images of an open file, spread
    evenly over the held-out images, if their `share` is given, or over all."""
    from ..files.hdf5 import read_names

    known = len(file["images"])
    own = np.arange(known) if share is None else np.flatnonzero(held_out(known, share))
    chosen, names = evenly_spaced(own.tolist(), count), read_names(file)
    return [names[index] for index in chosen], file["images"][chosen]


def named(file, rows: list[int] | slice) -> tuple[list[str], np.ndarray]:
    """Names and pixels (N x H x W x 3, uint8) of some of the images of an open file."""
    from ..files.hdf5 import read_names

    return np.array(read_names(file), object)[rows].tolist(), file["images"][rows]
