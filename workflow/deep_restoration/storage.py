"""Files that explain themselves: HDF5 for arrays, safetensors for weights, CSV for tables.

Every file is written under a unique temporary name and moved into place, so that a reader never sees
half a file. It carries its stage, its provenance and its layout, and no time stamp: equal content
gives equal bytes. Readers check the stage and checksums before they trust the content: HDF5's own of
its structure, Fletcher's of every chunk, CRC-32 of these, of the rest and of tensors. They are there to
notice decay, not malice; against that, a file is read as plain arrays within itself or not at all.
"""

from __future__ import annotations

import csv
import errno
import functools
import io
import json
import logging
import math
import os
import re
import secrets
import socket
import stat
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

log = logging.getLogger(__name__)

# So long after it was last written to, nobody is writing it any more, whatever the clocks of two machines.
SETTLED = 60  # seconds
# Why a file cannot be written though nothing is wrong with it, and what to do.
HINDRANCES = {
    errno.ENOSPC: "free some",
    errno.EDQUOT: "free some",
    errno.EFBIG: "raise the limit of file sizes (ulimit -f)",
    errno.EROFS: "make its folder writable, or run elsewhere (snakemake --directory)",
    errno.EACCES: "make its folder writable, or run elsewhere (snakemake --directory)",
    errno.EPERM: "make it and its folder writable",
    errno.EIO: "see to its disk or network",
    errno.ESTALE: "see to the network's file system",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENAMETOOLONG: "shorten the names that it is made of",
    errno.EISDIR: "move what stands in its place elsewhere",
    errno.EEXIST: "move what stands in place of its folder elsewhere",
    errno.ENOTDIR: "move what stands in place of its folder elsewhere",
}
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}  # of these only what is written fails
# Why a file cannot be read though nothing may be wrong with it, and what to do.
OBSTACLES = {
    errno.EAGAIN: "another program holds it open for writing; close it there",
    errno.EACCES: "make it readable",
    errno.EPERM: "make it readable",
    errno.EIO: "see to its disk or network",
    errno.ESTALE: "see to the network's file system",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "let other programs close files",
    errno.ENOMEM: "free memory",
}
ABSURD = {errno.EINVAL, errno.EFAULT, errno.EOVERFLOW}  # offsets that a damaged file asks for
NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP}  # of a file system without them


class StorageError(ValueError):
    """A file that is missing, damaged, unfinished, of another stage, or not to be read or written now."""


class ForeignError(ValueError):
    """What HDF5 reads without an error, and what `create_hdf5` does not write."""


class UnreadableError(StorageError):
    """A file that cannot be read now and may be good: nothing may be done as if it were damaged."""


@contextmanager
def atomic(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path`; move it into place when the block succeeds.

    Raises StorageError naming `path` when the system does not let it be written.
    """
    path = Path(path)
    name = f".{path.name}.{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(4)}.tmp"
    temporary = path.with_name(name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except StorageError:
        raise
    except Exception as error:
        code, place = _code(error), getattr(error, "filename", None)
        own = place in (str(temporary), *map(str, path.parents)) or temporary.name in str(error)
        if code and (own or (place is None and code in FULL)):
            words = f"{os.strerror(code)}; {HINDRANCES.get(code, 'see to that')} and run again"
            raise StorageError(f"{path} cannot be written: {words}") from error
        raise
    finally:
        with suppress(OSError):  # a folder that cannot be written to
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

    with atomic(path) as temporary:
        # Nobody else knows the temporary file: a file system without locks will do.
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
    where the data are, when they are read. Raises UnreadableError when nothing proves that it is damaged,
    and at the end when it was written to meanwhile.
    """
    _require(path)
    try:
        file = _open_locked(path)
    except OSError as error:
        if "already open for write" in str(error):
            raise UnreadableError(
                f"{path} is marked as open for writing: another program has it open, or was killed while it "
                "had. Close it there, or take the mark away (h5clear -s FILE), or move the file elsewhere, "
                "and run again"
            ) from None
        raise _damaged(path, f"not a readable HDF5 file: {error}") from None
    with file:
        descriptor, altered = file.id.get_vfd_handle(), ""
        before = _state(descriptor)
        try:
            with _reading(path):
                found, complete = str(file.attrs.get("stage", "none")), "complete" in file.attrs
                _check_stage(path, found, stage)
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
            raise _damaged(path, error) from None
        if altered:
            raise _damaged(path, altered, proven=False)
        if not complete:
            raise _damaged(path, "unfinished")
        try:
            yield file
        except (OSError, KeyError, RuntimeError) as error:
            if isinstance(error, OSError) or _code(error):  # otherwise it does not come from a file
                with _reading(path):
                    fault = _unreadable(file)
                if fault:  # otherwise it is another file's
                    _require_unchanged(path, descriptor, before)
                    raise _damaged(path, fault) from error
            raise
        _require_unchanged(path, descriptor, before)


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
    """The open file, locked against programs that would write it, where its file system knows locks."""
    import h5py

    with _reading(path):
        try:
            return h5py.File(path, "r")
        except OSError as error:
            code = _code(error)
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


@contextmanager
def _reading(path: str | os.PathLike) -> Iterator[None]:
    """Errors of the system, which say nothing of the file's content, become UnreadableError."""
    try:
        yield
    except UnreadableError:
        raise
    except Exception as error:
        if (code := _code(error)) and code not in ABSURD:
            mend = OBSTACLES.get(code, "see to that")
            raise UnreadableError(
                f"{path} cannot be read: {os.strerror(code)}; {mend}, and run again"
            ) from error
        raise


def _code(error: Exception) -> int:
    """The system's number of an error, 0 if it has none; HDF5 and safetensors say it in words alone."""
    words = re.search(r"\b(?:errno = |os error )(\d+)", str(error))
    return getattr(error, "errno", None) or (int(words[1]) if words else 0)


def _damaged(path: str | os.PathLike, reason: object, proven: bool = True) -> StorageError:
    """The error for content that is not what was written, or is not all there yet. It is not `proven` to be
    damaged where another program, a notebook say, may have added to it or changed it."""
    with _reading(path):
        age = time.time() - os.stat(path).st_mtime
    if abs(age) < SETTLED:
        return StorageError(
            f"{path} is not whole ({reason}), and was written to {max(age, 0):.0f} seconds ago: perhaps it "
            f"is still being copied; run again when it is not, at least {SETTLED} seconds later"
        )
    if not proven:
        return StorageError(
            f"{path} is not as it was written ({reason}): another program changed it, or its disk did; move "
            "it elsewhere and run again"
        )
    return StorageError(f"{path} is damaged ({reason}); delete it and run again")


def _objects(file) -> list:
    """The file itself, its groups and its datasets."""
    found = [file]
    file.visititems(lambda _, item: found.append(item))
    return found


def _check_plain(file) -> None:
    """Raise ForeignError unless the file holds nothing but whole, checksummed arrays, within itself.

    A chunk can be missing where a full disk kept HDF5 from writing it: h5py does not say so. A file
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
    """Of all but those that say that the file is whole; HDF5 has none of texts of any length."""
    texts = [
        f"{item.name} {key} {np.asarray(value).tolist()!r}"
        for item in _objects(file)
        for key, value in sorted(item.attrs.items())
        if key not in ("checksum", "complete")
    ]
    return zlib.crc32("\n".join(texts).encode("utf-8", "surrogateescape"))


def _checksum_of_chunks(file) -> int:
    """Of the checksums that HDF5 keeps at the end of each chunk. Fletcher's of zeros is zero: HDF5 alone does
    not notice where a copy or a disk left zeros, nor chunks of an older version of the file."""
    descriptor, result = file.id.get_vfd_handle(), 0
    for item in _objects(file):
        places: list[tuple] = []
        if getattr(item, "chunks", None):
            item.id.chunk_iter(lambda chunk, places=places: places.append(chunk))
        for chunk in sorted(places, key=lambda chunk: chunk.chunk_offset):
            end = chunk.byte_offset + chunk.size
            result = zlib.crc32(os.pread(descriptor, 4, end - 4), result)
    return result


def _unreadable(file) -> str:
    """Why the data are no longer what was written, or nothing. Raises what the system says."""
    for item in _objects(file):
        try:
            for rows in item.iter_chunks() if getattr(item, "chunks", None) else ():
                item[rows]
        except OSError as error:
            if _code(error) and _code(error) not in ABSURD:
                raise
            return f"{item.name}: {error}"
    return ""


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

    Chunks hold whole samples, about `chunk_bytes` of them, and a checksum. Keep the dataset until the
    file is closed: what HDF5 fails to write when it closes a dataset that nobody holds is lost without
    an error (a full disk), and only `create_hdf5` notices.
    """
    before, inside = shape[:samples], shape[samples + 1 :]
    sample = int(np.prod(inside)) * np.dtype(dtype).itemsize
    rows = int(min(max(1, chunk_bytes // max(sample, 1)), max(1, shape[samples])))
    options = {"chunks": (*(1 for _ in before), rows, *inside), "fletcher32": True}
    if not all(shape):  # nothing at all: HDF5 wants no chunks larger than their dataset
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
        data = dataset(file, name, values.shape, values.dtype, units)
        data[...] = values
        data.flush()


def write_names(file, names: Sequence[str]) -> None:
    """Write file names, those that are not UTF-8 as the bytes they are."""
    encoded = [name.encode("utf-8", "surrogateescape") for name in names]
    write_array(file, "names", np.array(encoded, f"S{max(map(len, encoded), default=1) or 1}"))


def read_names(file) -> list[str]:
    return [name.decode("utf-8", "surrogateescape") for name in file["names"][...]]


def save_tensors(path: str | os.PathLike, tensors: dict, stage: str, provenance: dict) -> None:
    """Write torch tensors as safetensors with their stage, provenance and checksums."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    checksums = {name: _checksum(tensor) for name, tensor in tensors.items()}
    facts = {"stage": stage, **provenance, "checksums": checksums}
    facts["checksum"] = _checksum_of_facts(facts)
    # One entry only: safetensors writes several in an order that changes from run to run.
    metadata = {"deep_restoration": json.dumps(facts, sort_keys=True)}
    with atomic(path) as temporary:
        try:
            save_file(tensors, temporary, metadata)
        except SafetensorError as error:  # in words alone, and not of which file
            if code := _code(error):
                raise OSError(code, os.strerror(code), str(temporary)) from error
            raise
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # safetensors lets nobody else read


class Tensors:
    """The tensors of an open safetensors file, each held against its checksum when it is read."""

    def __init__(self, path: str | os.PathLike, handle, checksums: dict[str, int]):
        self.path, self._handle, self._checksums = path, handle, checksums

    def names(self) -> list[str]:
        return sorted(self._checksums)

    def get_tensor(self, name: str):
        """Raises StorageError when it is damaged or not there."""
        if name not in self._checksums:
            raise _damaged(self.path, f"it has no tensor {name}")
        tensor = self._handle.get_tensor(name)
        if _checksum(tensor) != self._checksums[name]:
            raise _damaged(self.path, f"tensor {name} does not have its checksum")
        return tensor


def _checksum(tensor) -> int:
    """CRC-32 of kind, shape and values of a torch tensor or a NumPy array."""
    kind = f"{str(tensor.dtype).rpartition('.')[2]} {list(tensor.shape)}"
    flat = tensor.reshape(-1)
    if not isinstance(flat, np.ndarray):
        import torch

        flat = flat.view(torch.uint8).numpy()
    return zlib.crc32(flat.view(np.uint8), zlib.crc32(kind.encode()))


def _checksum_of_facts(facts: dict) -> int:
    rest = {key: value for key, value in facts.items() if key != "checksum"}
    return zlib.crc32(json.dumps(rest, sort_keys=True).encode())


@contextmanager
def open_tensors(path: str | os.PathLike, stage: str, framework: str = "pt") -> Iterator[tuple]:
    """Yield (Tensors, provenance) of a safetensors file; tensors are read one by one.

    Raises StorageError as `open_hdf5` does.
    """
    from safetensors import SafetensorError, safe_open

    _require(path)
    try:
        with _reading(path):
            handle = safe_open(path, framework)
    except SafetensorError as error:
        raise _damaged(path, f"not a readable safetensors file: {error}") from None
    with handle as file:
        try:
            facts = json.loads((file.metadata() or {}).get("deep_restoration", "{}"))
            found = facts.pop("stage", "none")
        except (ValueError, AttributeError) as error:
            raise _damaged(path, error) from None
        _check_stage(path, found, stage)
        if facts.pop("checksum", None) != _checksum_of_facts({"stage": found, **facts}):
            raise _damaged(path, "its facts do not have their checksum")
        checksums = facts.pop("checksums")
        if set(checksums) != set(file.keys()):
            raise _damaged(path, "its tensors are not those that were written")
        yield Tensors(path, file, checksums), facts


def load_tensors(path: str | os.PathLike, stage: str) -> tuple[dict, dict]:
    """All tensors and the provenance of a safetensors file of a stage."""
    with open_tensors(path, stage) as (file, provenance):
        return {name: file.get_tensor(name) for name in file.names()}, provenance


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


class Columns(dict):
    """Values of a table by column. One that is not there is an error that names the table: a spreadsheet may
    have saved it in its own way."""

    def __init__(self, path: str | os.PathLike, values: Iterable[tuple]):
        super().__init__(values)
        self.path = path

    def __missing__(self, column: str):
        reason = f"it has no column {column}, but {', '.join(self) or 'none'}"
        raise _damaged(self.path, reason, proven=False)


def _read_table(path: str | os.PathLike) -> tuple[list[str], list[list[str]]]:
    """Columns and rows. Raises StorageError where the table was cut off or is no text."""
    try:
        text = _read_bytes(path).decode("utf-8-sig")  # with the mark of a spreadsheet or without
        columns, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    except StorageError:
        raise
    except (ValueError, csv.Error) as error:
        raise _damaged(path, error, proven=False) from None
    for number, row in enumerate(rows, 1):
        if len(row) != len(columns):
            reason = f"row {number} has {len(row)} of {len(columns)} values"
            raise _damaged(path, reason, proven=False)
    if not text.endswith("\n"):
        raise _damaged(path, "its last line does not end", proven=False)
    return columns, rows


def read_rows(path: str | os.PathLike) -> list[dict[str, str]]:
    """A table's rows as they stand in the file."""
    columns, rows = _read_table(path)
    return [Columns(path, zip(columns, row, strict=True)) for row in rows]


def read_csv(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """A table's columns; those that hold only numbers as float64."""
    columns, rows = _read_table(path)
    result = Columns(path, ())
    for index, column in enumerate(columns):
        values = np.array([row[index] for row in rows])
        try:
            result[column] = values.astype(np.float64)
        except ValueError:
            result[column] = values
    return result


def read_json(path: str | os.PathLike) -> dict:
    try:
        return json.loads(_read_bytes(path))
    except StorageError:
        raise
    except ValueError as error:
        raise _damaged(path, error, proven=False) from None


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
        return {name: file.get_tensor(name) for name in file.names()}


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


def _read_bytes(path: str | os.PathLike) -> bytes:
    _require(path)
    with _reading(path):
        return Path(path).read_bytes()


def _require(path: str | os.PathLike) -> None:
    """Raise StorageError unless there is a file that can be opened."""
    with _reading(path):
        try:
            kind = os.stat(path).st_mode
        except (FileNotFoundError, NotADirectoryError):
            raise StorageError(
                f"{path} does not exist; the stage that makes it has not run"
            ) from None
        if not stat.S_ISREG(kind):
            what = "folder" if stat.S_ISDIR(kind) else "pipe or a device"
            raise UnreadableError(f"{path} is a {what}, no file; move it elsewhere and run again")
        with open(path, "rb"):  # safetensors calls one that may not be read missing
            pass


def _check_stage(path: str | os.PathLike, found: str, expected: str) -> None:
    if found != expected:
        raise StorageError(f"{path} was made by stage '{found}'; stage '{expected}' is needed")
