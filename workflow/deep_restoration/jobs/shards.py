"""Shards: a stage's samples in parts that are jobs of their own, and their files put together again.

A shard is a run of whole batches, so that what it computes is what a job of all samples computes of them.
Imports no torch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

from ..files.hdf5 import create_dataset, create_hdf5, open_hdf5, read_names, write_names
from ..files.tables import read_rows, write_csv

TRACE = ("batch", "iteration", "term", "value", "seconds")  # of a reconstruction


def count(samples: int, batch: int, most: int) -> int:
    """How many shards there are: `most`, or as many as there are batches."""
    return max(1, min(most, -(-samples // batch)))


def part(samples: int, batch: int, wildcards: Mapping[str, str]) -> slice:
    """The samples of `shard`, from 1, of `shards`; all of them where the wildcards name no shard.

    Empty where there are more shards than batches.
    """
    shard, shards = int(wildcards.get("shard", 1)), int(wildcards.get("shards", 1))
    batches = -(-samples // batch)
    first, last = (number * batches // shards for number in (shard - 1, shard))
    return slice(min(samples, first * batch), min(samples, last * batch))


def gather_arrays(paths: Sequence[str | os.PathLike], output: str | os.PathLike, stage: str) -> int:
    """Write the file that one job would have written, from those of the shards in order: every dataset
    joined along its axis of samples, chunk by chunk. Returns the number of samples."""
    with ExitStack() as opened:
        parts = [opened.enter_context(open_hdf5(path, stage)) for path in paths]
        names = [name for file in parts for name in read_names(file)]
        provenance = json.loads(parts[0].attrs["provenance"])
        whole = opened.enter_context(create_hdf5(output, stage, provenance))
        for key, first in parts[0].items():
            if key == "names":
                write_names(whole, names)
                continue
            axis, shape = int(first.attrs["samples"]), list(first.shape)
            shape[axis] = len(names)
            units = first.attrs["units"]
            data = create_dataset(whole, key, shape, first.dtype, units, samples=axis)
            before, filled = (slice(None),) * axis, 0
            for source in (file[key] for file in parts):
                for start in range(0, source.shape[axis], data.chunks[axis]):
                    block = source[(*before, slice(start, start + data.chunks[axis]))]
                    data[(*before, slice(filled, filled + block.shape[axis]))] = block
                    filled += block.shape[axis]
    return len(names)


def gather_rows(paths: Sequence[str | os.PathLike], output: str | os.PathLike) -> None:
    """The rows of the shards' tables, one below the other, as they stand there."""
    rows = [row for path in paths for row in read_rows(path)]
    write_csv(output, list(rows[0]), (row.values() for row in rows))


def gather_traces(
    paths: Sequence[str | os.PathLike], output: str | os.PathLike, images: int
) -> None:
    """The same of the traces of reconstructions; their last rows, the time of each, become that of all."""
    traces = [read_rows(path) for path in paths]
    seconds = sum(float(trace.pop()["seconds"]) for trace in traces)
    rows = [list(row.values()) for trace in traces for row in trace]
    write_csv(output, TRACE, [*rows, time_row(seconds, images)])


def time_row(seconds: float, images: int) -> tuple:
    """The last row of a trace: what an image took, and all of them."""
    return (0, 0, "seconds per image", seconds / max(1, images), seconds)
