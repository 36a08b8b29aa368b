"""Means over images with bootstrap intervals over photographs. Crops of one photograph are drawn together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np

from ..data.images import photograph

if TYPE_CHECKING:
    import pandas as pd

FEWEST = 4  # photographs that an interval needs at least


def _resampled(values: Sequence, names: Sequence[str], seed: int, resamples: int) -> np.ndarray:
    """Means over images, K x resamples, of each of K x N values, when photographs are drawn with replacement.

    `names` are those of the N images. Crops of one photograph are drawn together, because they are not
    independent samples. From fewer than FEWEST photographs nothing is drawn: K x 0.
    """
    numbers: dict[str, int] = {}
    shows = np.array([numbers.setdefault(photograph(name), len(numbers)) for name in names], int)
    if len(numbers) < FEWEST:
        return np.empty((len(values), 0))
    counts = np.bincount(shows)
    sums = np.array([np.bincount(shows, np.asarray(row, np.float64)) for row in values])
    drawn = np.random.default_rng(seed).integers(len(counts), size=(resamples, len(counts)))
    return sums[:, drawn].sum(2) / counts[drawn].sum(1)


def _limits(drawn: np.ndarray, level: float) -> tuple[float, float]:
    if not len(drawn):
        return float("nan"), float("nan")
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_interval(
    values: np.ndarray, names: Sequence[str], seed: int, resamples: int = 2000, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval over photographs of the mean over images of these `names`; (nan, nan)
    for fewer than FEWEST photographs."""
    return _limits(_resampled([values], names, seed, resamples)[0], level)


def ratio_interval(
    values: np.ndarray,
    others: np.ndarray,
    names: Sequence[str],
    seed: int,
    resamples: int = 2000,
    level: float = 0.95,
) -> tuple[float, float, float]:
    """Mean of `values` over mean of `others`, pairs of the same images, with its percentile bootstrap
    interval over photographs; (ratio, nan, nan) for fewer than FEWEST."""
    ours, theirs = _resampled([values, others], names, seed, resamples)
    return float(np.mean(values) / np.mean(others)), *_limits(ours / theirs, level)


def cells(values: Iterable[float]) -> list[float | str]:
    """Numbers as cells of a table: empty where they are not known."""
    return ["" if math.isnan(value) else value for value in values]


def photographs(names: Iterable[str]) -> int:
    """How many photographs the images of these names show."""
    return len({photograph(name) for name in names})


def note(names: Iterable[str]) -> str:
    """What a table says where it has no intervals."""
    count = photographs(names)
    if count >= FEWEST:
        return ""
    return f"no intervals: {count} photograph{'s' * (count != 1)}, at least {FEWEST} are needed"


def frame(rows: Iterable[Mapping], names: Sequence[str], measures: Sequence[str]) -> pd.DataFrame:
    """Rows of a table as a data frame of the columns `names`, as they are, and `measures`, as float64."""
    import pandas as pd

    table = pd.DataFrame(rows, columns=pd.Index([*names, *measures]), dtype=object)
    return table.astype(dict.fromkeys(measures, np.float64))


def split(table: pd.DataFrame, by: Sequence[str]) -> dict[tuple, pd.DataFrame]:
    """The rows of a table that agree in the columns `by`, in the order of the table."""
    parts = table.groupby(list(by), sort=False)
    return {cast(tuple, key): part for key, part in parts}


class Group(NamedTuple):
    """What a table of images says of one `key`: the `images`' names, and `values` of every measure, (N,)."""

    key: tuple
    images: list[str]
    values: dict[str, np.ndarray]


def groups(rows: Iterable[Mapping], by: Sequence[str], measures: Sequence[str]) -> Iterator[Group]:
    """The rows of a table of images that agree in the columns `by`, in the order of the table."""
    table = frame(rows, [*by, "image"], measures)
    for key, group in split(table, by).items():
        yield Group(key, group["image"].tolist(), {m: group[m].to_numpy() for m in measures})


def means(group: Group, seed: int) -> list[float | str]:
    """Cells of a group: of every measure the mean over images and its interval over photographs."""
    found = []
    for values in group.values.values():
        found += [float(values.mean()), *cells(bootstrap_interval(values, group.images, seed))]
    return found


def limited(measures: Iterable[str]) -> list[str]:
    """The columns of `means`."""
    return [f"{measure}{end}" for measure in measures for end in ("", "_low", "_high")]
