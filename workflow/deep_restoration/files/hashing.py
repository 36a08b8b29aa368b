"""Hashes of files' content, kept by path, size and time stamps, so that planning reads a file once."""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def content_hashes(
    folder: str | os.PathLike, files: list[str], cache: Path
) -> dict[str, str | None]:
    """SHA-256 of each file, by its relative path; those unchanged since the last call come from
    `cache`. None for what cannot be read: pipes, devices, links that lead nowhere."""
    try:
        known = json.loads(cache.read_text())
    except (OSError, ValueError):
        known = {}
    fresh: dict[str, list] = {}
    wanted: dict[str, list] = {}
    for name in files:
        path = os.path.abspath(os.path.join(folder, name))
        if not os.path.isfile(path) or not os.access(path, os.R_OK):
            continue
        now, entry = stamp(path), known.get(path)
        if entry and entry[:-1] == now:
            fresh[path] = entry
        else:
            wanted[path] = now
    if wanted:
        with ThreadPoolExecutor(8) as pool:
            for (path, now), digest in zip(
                wanted.items(), pool.map(file_hash, wanted), strict=True
            ):
                fresh[path] = [*now, digest]
        cache.parent.mkdir(parents=True, exist_ok=True)
        temporary = cache.with_name(f"{cache.name}.{socket.gethostname()}.{os.getpid()}")
        temporary.write_text(json.dumps({**known, **fresh}))
        os.replace(temporary, cache)
    paths = {name: os.path.abspath(os.path.join(folder, name)) for name in files}
    return {name: fresh.get(path, [None])[-1] for name, path in paths.items()}


def require(
    content: str, folder: str | os.PathLike, files: list[str], cache: str | os.PathLike
) -> None:
    """Raise ValueError when files that were just read no longer hold what the run was planned with."""
    if digest(content_hashes(folder, files, Path(cache))) != content:
        raise ValueError(f"images of {folder} changed since the run was planned; run again")


def stamp(path: str | os.PathLike) -> list[int]:
    """What changes when a file is written to or replaced, even where its time stamp is set back."""
    stat = os.stat(path)
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def file_hash(path: str | os.PathLike) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(hashes: Mapping[str, str | None]) -> str:
    """One fingerprint of names and contents."""
    return hashlib.sha256(json.dumps(sorted(hashes.items())).encode()).hexdigest()[:16]
