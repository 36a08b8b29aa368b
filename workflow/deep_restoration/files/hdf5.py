"""Arrays as HDF5 with a description of themselves: stage, provenance, layout, and no time stamp, so that
equal content gives equal bytes.

Readers check the stage and checksums before they trust the content: HDF5's own of its structure,
Fletcher's of every chunk, CRC-32 of these and of the rest. They detect decay, not malice;
against malice, only files that consist of plain arrays within themselves are read.
"""

from __future__ import annotations

import errno
import functools
import json
import logging
import math
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress

import numpy as np

from .atomic import (
    ABSURD,
    StorageError,
    UnreadableError,
    atomic,
    check_stage,
    damaged,
    error_code,
    reading,
    require_file,
)

log = logging.getLogger(__name__)
NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}  # of a file system without them


class ForeignError(ValueError):
    """Content that HDF5 reads without an error but that `create_hdf5` never writes."""


@contextmanager
def create_hdf5(path: str | os.PathLike, stage: str, provenance: dict) -> Iterator:
    """Write an HDF5 file; `complete` is set last, and the file appears only when it is whole."""
    import h5py

    with atomic(path) as temporary:
        # No other process opens the temporary file: a file system without locks is enough.
        file = h5py.File(temporary, "w", libver="latest", track_order=True, locking=False)
        descriptor = file.id.get_vfd_handle()
        try:
            file.attrs["stage"] = stage
            file.attrs["provenance"] = json.dumps(provenance, sort_keys=True)
            yield file
            file.flush()
            try:
                _check_plain(file)
            except ForeignError as error:
                raise StorageError(f"{path} could not be written whole: {error}") from None
            file.attrs["chunks"] = _checksum_of_chunks(file)
            file.attrs["checksum"] = _checksum_of_attributes(file)
            file.attrs["complete"] = True
            file.flush()
        except BaseException:
            # HDF5 cannot close a file that it cannot write (a full disk): the space would stay taken
            # and the process end with a segmentation fault. What is still to be written goes nowhere.
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)
            with suppress(
                Exception
            ):  # what nowhere does not take hides why the file could not be written
                file.close()
            raise
        file.close()


@contextmanager
def open_hdf5(path: str | os.PathLike, stage: str) -> Iterator:
    """Read an HDF5 file of a stage.

    Raises StorageError when it is missing, not HDF5, of another stage, unfinished, changed, or damaged;
    damaged data raise it when they are read. Raises UnreadableError when damage is not proven, and at the end
    when the file was written to meanwhile.
    """
    require_file(path)
    with _opened(path) as file:
        descriptor = file.id.get_vfd_handle()
        before = _state(descriptor)
        _check(file, path, stage)
        try:
            yield file
        except (OSError, KeyError, RuntimeError) as error:
            if isinstance(error, OSError) or error_code(
                error
            ):  # otherwise it does not come from a file
                with reading(path):
                    fault = _unreadable(file)
                if fault:  # otherwise it is another file's
                    _require_unchanged(path, descriptor, before)
                    raise damaged(path, fault) from error
            raise
        _require_unchanged(path, descriptor, before)


@contextmanager
def open_images(paths: Mapping[str, str | os.PathLike], stage: str) -> Iterator[dict]:
    """The datasets `images` of files of a stage, by the same labels: read in parts, because at full size all
    of them are a terabyte."""
    with ExitStack() as opened:
        yield {
            label: opened.enter_context(open_hdf5(path, stage))["images"]
            for label, path in paths.items()
        }


def read_images(
    paths: Mapping[str, str | os.PathLike], stage: str, count: int
) -> dict[str, np.ndarray]:
    """The first `count` of the `images` in files of a stage, by the same labels."""
    with open_images(paths, stage) as found:
        return {label: images[:count] for label, images in found.items()}


def read_arrays(
    path: str | os.PathLike, stage: str, names: Iterable[str] | None = None
) -> dict[str, np.ndarray]:
    """Whole arrays of a file by name; all that do not lie in groups, if no `names` are given."""
    with open_hdf5(path, stage) as file:
        if names is None:
            names = [name for name, item in file.items() if hasattr(item, "shape")]
        return {name: file[name][...] for name in names}


def _opened(path: str | os.PathLike):
    """The h5py file, not looked at yet. Raises as `open_hdf5`."""
    try:
        return _open_locked(path)
    except OSError as error:
        if "already open for write" in str(error):
            raise UnreadableError(
                f"{path} is marked as open for writing: another program has it open, or was killed while it "
                "had. Close it there, or take the mark away (h5clear -s FILE), or move the file elsewhere, "
                "and run again"
            ) from None
        raise damaged(path, f"not a readable HDF5 file: {error}") from None


def _check(file, path: str | os.PathLike, stage: str) -> None:
    """Raise as `open_hdf5` where a file is of another stage, unfinished, changed or damaged."""
    altered = ""
    try:
        with reading(path):
            found, complete = str(file.attrs.get("stage", "none")), "complete" in file.attrs
            check_stage(path, found, stage)
            if complete:
                _check_plain(file)
                complete = file.attrs["complete"]
                if file.attrs["checksum"] != _checksum_of_attributes(file):
                    altered = "its attributes do not have their checksum"
                elif file.attrs.get("chunks") not in (None, _checksum_of_chunks(file)):
                    altered = "its values are others"
    except (StorageError, MemoryError):
        raise
    except ForeignError as error:
        altered = str(error)
    except Exception as error:  # what h5py raises on damaged files is not one family
        raise damaged(path, error) from None
    if altered:
        raise damaged(path, altered, proven=False)
    if not complete:
        raise damaged(path, "unfinished")


def _state(descriptor: int) -> tuple[int, int]:
    """What changes when an open file is written to: size and time."""
    found = os.fstat(descriptor)
    return found.st_size, found.st_mtime_ns


def _require_unchanged(path: str | os.PathLike, descriptor: int, before: tuple[int, int]) -> None:
    """Raise UnreadableError for a file that was written to: where it is cut off, HDF5 reads zeros."""
    if _state(descriptor) != before:
        raise UnreadableError(
            f"{path} was written to by another program while it was read; run again when none does"
        )


def _open_locked(path: str | os.PathLike):
    """The open file, locked against programs that would write it, where its file system has locks."""
    import h5py

    with reading(path):
        try:
            return h5py.File(path, "r")
        except OSError as error:
            code = error_code(error)
            if code not in NO_LOCKS | {errno.EAGAIN} and "lock file" in str(error):
                raise UnreadableError(
                    f"{path} cannot be locked: {os.strerror(code)}; if no other program writes it, set "
                    "HDF5_USE_FILE_LOCKING=FALSE and run again"
                ) from None
            if code not in NO_LOCKS:
                raise
        _say_unlocked()
        return h5py.File(path, "r", locking=False)


@functools.cache
def _say_unlocked() -> None:
    log.warning(
        "the file system has no locks, so that files are read without: write to none of them with another "
        "program meanwhile (HDF5_USE_FILE_LOCKING=FALSE silences this)"
    )


def _objects(file) -> list:
    """The file itself, its groups and its datasets."""
    found = [file]
    file.visititems(lambda _, item: found.append(item))
    return found


def _check_plain(file) -> None:
    """Raise ForeignError unless the file holds nothing but whole, checksummed arrays, within itself.

    A chunk can be missing where a full disk kept HDF5 from writing it, without an error from h5py. A file
    from elsewhere might lead to other files, or claim arrays that no memory holds.
    """
    import h5py

    size = os.path.getsize(file.filename)
    for item in _objects(file):
        if isinstance(item, h5py.Group):
            for name in item:
                if not isinstance(item.get(name, getlink=True), h5py.HardLink):
                    raise ForeignError(f"{name} is a link to elsewhere")
            continue
        plan, name = item.id.get_create_plist(), item.name
        if item.dtype.hasobject or item.is_virtual or item.external:
            raise ForeignError(f"{name} does not hold its values itself")
        if item.nbytes > size:
            raise ForeignError(f"{name} claims more bytes than the file has")
        if item.chunks:
            chunks = math.prod(-(-n // m) for n, m in zip(item.shape, item.chunks, strict=True))
            if item.id.get_num_chunks() != chunks:
                raise ForeignError(f"{name} lacks some of its values")
        checked = plan.get_nfilters() == 1 and plan.get_filter(0)[0] == h5py.h5z.FILTER_FLETCHER32
        # HDF5 keeps a compact array within its own structure, which has a checksum.
        if item.size and not checked and plan.get_layout() != h5py.h5d.COMPACT:
            raise ForeignError(f"{name} has no checksum of its kind")


def _checksum_of_attributes(file) -> int:
    """CRC-32 of all attributes but those that mark the file as complete; HDF5 has no checksum for texts of
    variable length."""
    texts = [
        f"{item.name} {key} {np.asarray(value).tolist()!r}"
        for item in _objects(file)
        for key, value in sorted(item.attrs.items())
        if key not in ("checksum", "complete")
    ]
    return zlib.crc32("\n".join(texts).encode("utf-8", "surrogateescape"))


def _checksum_of_chunks(file) -> int:
    """CRC-32 of the checksums that HDF5 keeps at the end of each chunk. Fletcher's checksum of zeros is zero:
    HDF5 alone does not notice zeros left by a copy or a disk, nor chunks of an older version of the file."""
    descriptor, result = file.id.get_vfd_handle(), 0
    for item in _objects(file):
        places: list = []  # of h5py's StoreInfo
        if getattr(item, "chunks", None):
            item.id.chunk_iter(lambda chunk, places=places: places.append(chunk))
        for chunk in sorted(places, key=lambda chunk: chunk.chunk_offset):
            end = chunk.byte_offset + chunk.size
            result = zlib.crc32(os.pread(descriptor, 4, end - 4), result)
    return result


def _unreadable(file) -> str:
    """Why the data are no longer what was written; empty if they are. Raises errors of the system."""
    for item in _objects(file):
        try:
            for rows in item.iter_chunks() if getattr(item, "chunks", None) else ():
                item[rows]
        except OSError as error:
            if error_code(error) and error_code(error) not in ABSURD:
                raise
            return f"{item.name}: {error}"
    return ""


def create_dataset(
    file,
    name: str,
    shape: Sequence[int],
    dtype,
    units: str,
    chunk_bytes: int = 1 << 20,
    samples: int = 0,
):
    """A chunked, uncompressed dataset with its units; `samples` is the axis that counts samples.

    Chunks hold whole samples, about `chunk_bytes` of them, and a checksum. Keep the dataset until the
    file is closed: what HDF5 fails to write when it closes a dataset that nobody holds is lost without
    an error (a full disk), and only `create_hdf5` notices.
    """
    before, inside = shape[:samples], shape[samples + 1 :]
    sample = int(np.prod(inside)) * np.dtype(dtype).itemsize
    rows = int(min(max(1, chunk_bytes // max(sample, 1)), max(1, shape[samples])))
    options = {"chunks": (*(1 for _ in before), rows, *inside), "fletcher32": True}
    if not all(shape):  # an empty dataset: HDF5 refuses chunks larger than their dataset
        options = {}
    result = file.create_dataset(
        name, shape, dtype=dtype, track_times=False, fillvalue=np.zeros((), dtype)[()], **options
    )
    result.attrs["samples"] = samples
    if units:
        result.attrs["units"] = units
    return result


def write_array(file, name: str, values, units: str = "") -> None:
    """Write a whole array of any shape, with a checksum."""
    import h5py

    values = np.asarray(values)
    if values.nbytes < 1024:  # within HDF5's structure; a chunk would have to hold something
        layout = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        layout.set_layout(h5py.h5d.COMPACT)
        layout.set_obj_track_times(False)
        kind = h5py.h5t.py_create(values.dtype, logical=True)
        space = h5py.h5s.create_simple(values.shape)
        if values.ndim == 0:  # for which h5py's own create_dataset takes no layout
            space = h5py.h5s.create(h5py.h5s.SCALAR)
        data = h5py.Dataset(h5py.h5d.create(file.id, name.encode(), kind, space, layout))
        if values.size:
            data[...] = values
        if units:
            data.attrs["units"] = units
    else:
        data = create_dataset(file, name, values.shape, values.dtype, units)
        data[...] = values
        data.flush()


def write_arrays(file, arrays: Mapping, units: str = "") -> None:
    """Write whole arrays by name, in their order."""
    for name, values in arrays.items():
        write_array(file, name, values, units)


def write_names(file, names: Sequence[str]) -> None:
    """Write file names, those that are not UTF-8 as the bytes they are."""
    encoded = [name.encode("utf-8", "surrogateescape") for name in names]
    write_array(file, "names", np.array(encoded, f"S{max(map(len, encoded), default=1) or 1}"))


def read_names(file) -> list[str]:
    return [name.decode("utf-8", "surrogateescape") for name in file["names"][...]]
