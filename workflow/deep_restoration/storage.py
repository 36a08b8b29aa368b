"""Files that explain themselves: HDF5 for arrays, safetensors for weights, CSV for tables.

Every file is written under a unique temporary name and moved into place, so that a reader never sees
half a file. It carries its stage, its provenance and its layout, and no time stamp: equal content
gives equal bytes. Readers check the stage before they trust the content.
"""

from __future__ import annotations

import csv
import json
import os
import secrets
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np


class StorageError(ValueError):
    """A file that is missing, damaged, unfinished, or made by another stage."""


@contextmanager
def atomic(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path`; move it into place when the block succeeds."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    name = f".{path.name}.{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(4)}.tmp"
    temporary = path.with_name(name)
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _sweep(path: Path) -> None:
    """Remove what dead processes of this host left behind for `path`."""
    prefix = f".{path.name}.{socket.gethostname()}."
    for candidate in path.parent.iterdir():
        if candidate.name.startswith(prefix) and candidate.name.endswith(".tmp"):
            pid = candidate.name[len(prefix) :].split(".")[0]
            if pid.isdigit() and not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
                candidate.unlink(missing_ok=True)


def versions(*packages: str) -> dict[str, str]:
    """Installed versions of packages, without importing them."""
    from importlib.metadata import version

    return {package: version(package) for package in packages}


@contextmanager
def create_hdf5(path: str | os.PathLike, stage: str, provenance: dict) -> Iterator:
    """Write an HDF5 file; `complete` is set last, and the file appears only when it is whole."""
    import h5py

    with (
        atomic(path) as temporary,
        h5py.File(temporary, "w", libver="latest", track_order=True) as file,
    ):
        file.attrs["stage"] = stage
        file.attrs["provenance"] = json.dumps(provenance, sort_keys=True)
        yield file
        file.attrs["complete"] = True


@contextmanager
def open_hdf5(path: str | os.PathLike, stage: str) -> Iterator:
    """Read an HDF5 file of a stage.

    Raises StorageError when it is missing, not HDF5, of another stage, or unfinished.
    """
    import h5py

    _require(path)
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise StorageError(
            f"{path} is not a readable HDF5 file ({error}); delete it and run again"
        ) from None
    with file:
        _check_stage(path, str(file.attrs.get("stage", "none")), stage)
        if not file.attrs.get("complete", False):
            raise StorageError(f"{path} is unfinished; delete it and run again")
        yield file


def dataset(
    file,
    name: str,
    shape: Sequence[int],
    dtype,
    units: str,
    chunk_bytes: int = 1 << 20,
    samples: int = 0,
):
    """A chunked, uncompressed dataset with its units; `samples` is the axis that counts samples.

    Chunks hold whole samples, about `chunk_bytes` of them.
    """
    before, inside = shape[:samples], shape[samples + 1 :]
    sample = int(np.prod(inside)) * np.dtype(dtype).itemsize
    rows = int(min(max(1, chunk_bytes // max(sample, 1)), max(1, shape[samples])))
    # Nothing at all has no chunks: HDF5 wants none larger than its dataset.
    chunks = (*(1 for _ in before), rows, *inside) if all(shape) else None
    result = file.create_dataset(
        name, shape, dtype=dtype, chunks=chunks, track_times=False, fillvalue=0
    )
    result.attrs.update({"units": units, "samples": samples})
    return result


def write_names(file, names: Sequence[str]) -> None:
    """Write file names, those that are not UTF-8 as the bytes they are."""
    import h5py

    data = file.create_dataset("names", (len(names),), h5py.string_dtype(), track_times=False)
    data[...] = [name.encode("utf-8", "surrogateescape") for name in names]


def read_names(file) -> list[str]:
    return [name.decode("utf-8", "surrogateescape") for name in file["names"][...]]


def save_tensors(path: str | os.PathLike, tensors: dict, stage: str, provenance: dict) -> None:
    """Write torch tensors as safetensors with their stage and provenance."""
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    # One entry only: safetensors writes several in an order that changes from run to run.
    metadata = {"deep_restoration": json.dumps({"stage": stage, **provenance}, sort_keys=True)}
    with atomic(path) as temporary:
        save_file(tensors, temporary, metadata)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # safetensors lets nobody else read


@contextmanager
def open_tensors(path: str | os.PathLike, stage: str, framework: str = "pt") -> Iterator[tuple]:
    """Yield (handle, provenance) of a safetensors file; tensors are read one by one.

    Raises StorageError as `open_hdf5` does.
    """
    from safetensors import SafetensorError, safe_open

    _require(path)
    try:
        handle = safe_open(path, framework)
    except (SafetensorError, OSError) as error:
        raise StorageError(
            f"{path} is not a readable safetensors file ({error}); delete it and run again"
        ) from None
    with handle as file:
        metadata = json.loads((file.metadata() or {}).get("deep_restoration", '{"stage": "none"}'))
        _check_stage(path, metadata.pop("stage"), stage)
        yield file, metadata


def load_tensors(path: str | os.PathLike, stage: str) -> tuple[dict, dict]:
    """All tensors and the provenance of a safetensors file of a stage."""
    with open_tensors(path, stage) as (file, provenance):
        return {name: file.get_tensor(name) for name in file.keys()}, provenance  # noqa: SIM118


def write_csv(path: str | os.PathLike, columns: Sequence[str], rows: Iterable[Sequence]) -> None:
    """Write a table; floats in the shortest form that reads back exactly.

    In names, bytes that are not UTF-8 are written as \\udcXX and carriage returns as \\r, so that any
    program reads the table.
    """
    options = {"newline": "", "encoding": "utf-8", "errors": "backslashreplace"}
    with atomic(path) as temporary, open(temporary, "w", **options) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(
            [value.replace("\r", "\\r") if isinstance(value, str) else value for value in row]
            for row in rows
        )


def read_rows(path: str | os.PathLike) -> list[dict[str, str]]:
    """A table's rows as they stand in the file."""
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def read_csv(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """A table's columns; those that hold only numbers as float64."""
    with open(path, newline="", encoding="utf-8") as file:
        columns, *rows = list(csv.reader(file))
    result = {}
    for index, column in enumerate(columns):
        values = np.array([row[index] for row in rows])
        try:
            result[column] = values.astype(np.float64)
        except ValueError:
            result[column] = values
    return result


def read_trace(path: str | os.PathLike) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Term -> (iteration, value, seconds) of a reconstruction's first batch."""
    table = read_csv(path)
    first = table["batch"] == 0
    return {
        str(term): tuple(table[column][rows] for column in ("iteration", "value", "seconds"))
        for term in np.unique(table["term"])
        if (rows := first & (table["term"] == term)).any()
    }


def load_arrays(path: str | os.PathLike, stage: str) -> dict[str, np.ndarray]:
    """All tensors of a safetensors file of a stage as NumPy arrays, without importing torch."""
    with open_tensors(path, stage, "numpy") as (file, _):
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def first_filters(path: str | os.PathLike) -> np.ndarray:
    """Filters K x 3 x h x w of the first convolution of a stored classifier."""
    with open_tensors(path, "classifier", "numpy") as (file, description):
        for step in description["steps"]:
            if step.get("target", "").endswith(".Conv2d"):
                return file.get_tensor(f"{step['path']}.weight")
    raise StorageError(f"{path}: the network has no convolution")


def write_text(path: str | os.PathLike, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def save_figure(figure, png: str | os.PathLike, svg: str | os.PathLike) -> None:
    """Write a matplotlib figure as PNG and SVG, the same bytes for the same picture."""
    import matplotlib

    matplotlib.rcParams["svg.hashsalt"] = "deep-restoration"  # stable ids in the SVG
    with atomic(png) as temporary:
        figure.savefig(temporary, format="png", dpi=150, metadata={"Software": None})
    with atomic(svg) as temporary:
        figure.savefig(temporary, format="svg", dpi=150, metadata={"Date": None, "Creator": None})


def _require(path: str | os.PathLike) -> None:
    if not Path(path).exists():
        raise StorageError(f"{path} does not exist; the stage that makes it has not run")


def _check_stage(path: str | os.PathLike, found: str, expected: str) -> None:
    if found != expected:
        raise StorageError(f"{path} was made by stage '{found}'; stage '{expected}' is needed")
