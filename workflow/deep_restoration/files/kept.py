"""Values kept on disk under what they follow from: computed once per user, for all studies and checkouts.

They lie in the user's cache folder, `~/.cache/deep_restoration` (or below XDG_CACHE_HOME); RESTORATION_CACHE
names another folder. Everything there may be deleted at any time. Standard library only.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

FOLDER = "RESTORATION_CACHE"  # an environment variable
MOST = 2000  # values of a kind; beyond, the older half goes


def folder() -> Path | None:
    """The cache folder, there or not; None where the user has no home."""
    if FOLDER in os.environ:
        return Path(os.environ[FOLDER]).expanduser()
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        return None
    return Path(base) / "deep_restoration"


def kept(kind: str, material: object, compute: Callable[[], Any]) -> Any:
    """The value (JSON) of a kind that follows from `material` (JSON): from disk, or else from `compute`.

    Each value is a file of its own with a checksum, put in place in one move, so that concurrent writers are
    safe; a damaged file counts as absent. Where nothing can be kept, `compute` is called every time. What
    `compute` raises is raised, and nothing is kept.
    """
    here = folder()
    if here is None:
        return compute()
    name = hashlib.sha256(json.dumps([kind, material]).encode()).hexdigest()
    path = here / kind / f"{name}.json"
    try:
        checksum, _, text = path.read_bytes().partition(b"\n")
        if hashlib.sha256(text).hexdigest().encode() == checksum:
            return json.loads(text)
    except OSError:
        pass
    value = compute()
    text = json.dumps(value).encode()
    with suppress(OSError):
        _write(path, hashlib.sha256(text).hexdigest().encode() + b"\n" + text)
    return value


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    files = list(path.parent.iterdir())
    if len(files) > MOST:
        ages = {}
        for file in files:
            with suppress(FileNotFoundError):  # another process is at it, too
                ages[file] = file.stat().st_mtime
        for file in sorted(ages, key=ages.__getitem__)[: len(ages) // 2]:
            file.unlink(missing_ok=True)
