"""Files that are whole or absent, and errors that distinguish damaged files from those that may be good.

Every file is written under a unique temporary name and moved into place, so that a reader never sees
half a file.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .wording import HINDRANCES, OBSTACLES

# This long after its last change, a file counts as finished, even if the clocks of two machines differ.
SETTLED = 60  # seconds
FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}  # of these only what is written fails
ABSURD = {errno.EINVAL, errno.EFAULT, errno.EOVERFLOW}  # offsets that a damaged file asks for


class StorageError(ValueError):
    """A file that is missing, damaged, unfinished, of another stage, or not to be read or written now."""


class UnreadableError(StorageError):
    """A file that cannot be read now but may be good: it must not be treated as damaged."""


@contextmanager
def atomic(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path`; move it into place when the block succeeds.

    Raises StorageError naming `path` when the system refuses to write it.
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
        code, place = error_code(error), getattr(error, "filename", None)
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
def reading(path: str | os.PathLike) -> Iterator[None]:
    """Turn errors of the system, which do not depend on the file's content, into UnreadableError."""
    try:
        yield
    except UnreadableError:
        raise
    except Exception as error:
        if (code := error_code(error)) and code not in ABSURD:
            mend = OBSTACLES.get(code, "see to that")
            raise UnreadableError(
                f"{path} cannot be read: {os.strerror(code)}; {mend}, and run again"
            ) from error
        raise


def error_code(error: Exception) -> int:
    """The system's number of an error, 0 if it has none; HDF5 and safetensors give it in their message
    only."""
    words = re.search(r"\b(?:errno = |os error )(\d+)", str(error))
    return getattr(error, "errno", None) or (int(words[1]) if words else 0)


def damaged(path: str | os.PathLike, reason: object, proven: bool = True) -> StorageError:
    """The error for content that differs from what was written, or is not complete yet. Damage is not
    `proven` where another program, such as a notebook, may have added to the file or changed it."""
    with reading(path):
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


def write_text(path: str | os.PathLike, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_bytes(path: str | os.PathLike) -> bytes:
    require_file(path)
    with reading(path):
        return Path(path).read_bytes()


def require_file(path: str | os.PathLike) -> None:
    """Raise StorageError unless there is a file that can be opened."""
    with reading(path):
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


def check_stage(path: str | os.PathLike, found: str, expected: str) -> None:
    if found != expected:
        raise StorageError(f"{path} was made by stage '{found}'; stage '{expected}' is needed")
