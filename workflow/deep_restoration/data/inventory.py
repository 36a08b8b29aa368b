"""Which image files a folder holds, or that a file is one, and why others are left out.

Standard library only.
"""

from __future__ import annotations

import errno
import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png"}
    | {".pnm", ".ppm", ".tga", ".tif", ".tiff", ".webp"}
)
HEIF = frozenset({".heic", ".heif", ".hif"})  # images where pillow-heif is installed
# Suffixes of files that may hold an image but do not belong to a study: partial downloads, copies, previews.
ASIDE = (
    ".part",
    ".partial",
    ".crdownload",
    ".download",
    ".tmp",
    ".bak",
    ".old",
    ".orig",
    "~",
    "_original",
    ".filepart",
    ".opdownload",
    ".!ut",
    ".!qb",
    ".thm",
)
# Folders that systems make: a file system's root, Windows, Synology, macOS's archives. Often nobody may read
# them, and what lies in them is lost, deleted or a small copy.
SYSTEMS = frozenset(
    {"lost+found", "$recycle.bin", "system volume information", "@eadir", "__macosx"}
)
# Errors of a disk, a network or a process, not of a file: no file may be left out because of them.
PASSING = {
    errno.EIO,
    errno.ESTALE,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
    errno.EBUSY,
    errno.EAGAIN,
}
PASSING |= {errno.ETIMEDOUT, errno.ENOTCONN, errno.ECONNRESET, errno.EHOSTDOWN, errno.EHOSTUNREACH}
# How files of each format begin: those that Pillow reads whatever they are called, ...
READABLE = {
    "JPEG": (b"\xff\xd8\xff",),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "GIF": (b"GIF87a", b"GIF89a"),
    "QOI": (b"qoif",),
    "PFM": (b"Pf\n",),
    "JPEG 2000": (b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"),
}
# ... and those that are not photographs yet. Most cameras' RAW files are TIFF, with a small preview first.
OTHER = {
    "TIFF": (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"),
    "RAW": (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\x00", b"FOVb", b"\x00MRM"),
    "Photoshop": (b"8BPS",),
    "JPEG XL": (b"\x00\x00\x00\x0cJXL \r\n\x87\n", b"\xff\x0a"),
    "OpenEXR": (b"\x76\x2f\x31\x01",),
    "Radiance HDR": (b"#?RADIANCE", b"#?RGBE"),
    "JPEG XR": (b"II\xbc\x01",),
    "BPG": (b"BPG\xfb",),
    "FLIF": (b"FLIF",),
    "FITS": (b"SIMPLE  =",),
    "DICOM": (),  # has its signature after 128 bytes of anything
    "GIMP": (b"gimp xcf ",),
}
NETPBM = re.compile(rb"P[1-6]\s(#[^\n]*\n|\s)*[0-9]+\s(#[^\n]*\n|\s)*[0-9]+\s")  # with its size
BRANDS = {  # of ISO's media files, which begin with their length, `ftyp` and the brand
    "AVIF": (b"avif", b"avis"),
    "HEIC": (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx"),
    "RAW": (b"crx ",),
}
SIGNATURES = [*READABLE.items(), *OTHER.items()]
HEIC = "HEIC, which needs pillow-heif: pip install pillow-heif"


class Survey(NamedTuple):
    """What lies below a folder, or that a single file is one: paths relative to its `folder_of`, sorted."""

    images: list[str]
    left_out: dict[str, str]  # what looks like an image and is not taken, and why
    others: int  # what is no image

    def __str__(self) -> str:
        """One line on what is not taken; empty if everything is."""
        first = list(self.left_out.items())[:3]
        shown = [f"{name if name.isprintable() else ascii(name)} ({why})" for name, why in first]
        more = len(self.left_out) - len(shown)
        parts = []
        if self.left_out:
            names = ", ".join(shown) + (f" and {more} more" if more else "")
            parts.append(f"not taken: {len(self.left_out)} that may be images: {names}")
        if self.others:
            parts.append(f"{self.others} that are none")
        return "; ".join(parts)


def folder_of(source: str | os.PathLike) -> Path:
    """The folder to which the paths of a `survey` are relative: `source`, or that of the single file."""
    source = Path(source)
    return source.parent if source.is_file() else source


def image_files(source: str | os.PathLike) -> list[str]:
    """Paths of the image files below a folder, relative to it, sorted; of a single file its name. Raises as
    `survey` does."""
    return survey(source).images


def survey(source: str | os.PathLike) -> Survey:
    """Which files below a folder are images. Links are followed once, hidden files and folders left alone. A
    `source` that is no folder but an image is that one.

    A file counts by its suffix, whatever its case. One of another suffix, or of none, counts by its first
    bytes; that costs 15 microseconds each where they are in memory, as much as looking up an image's hash.
    Raises FileNotFoundError when there is no such folder or file, and ValueError when one cannot be listed
    or none holds an image.
    """
    found, left_out, others, known = [], {}, 0, _suffixes()
    for name, entry in _single(source) if Path(source).is_file() else _walk(source):
        if os.path.splitext(name)[1].lower() in known:
            found.append(name)
            continue
        why = _objection(entry)
        if why is None:
            found.append(name)
        elif why:
            left_out[name] = why
        else:
            others += 1
    result = Survey(sorted(found), dict(sorted(left_out.items())), others)
    if not found:
        rest, suffixes = f"; {result}" if str(result) else "", " ".join(sorted(SUFFIXES))
        if Path(source).is_file():
            why = ", ".join(left_out.values()) or f"no image ({suffixes})"
            raise ValueError(f"file {source} is not taken: {why}")
        raise ValueError(f"folder {source} holds no image ({suffixes}){rest}")
    return result


def _suffixes() -> frozenset[str]:
    return SUFFIXES | HEIF if reads_heic() else SUFFIXES


def reads_heic() -> bool:
    """Whether pillow-heif, an optional package, is installed."""
    return importlib.util.find_spec("pillow_heif") is not None


def _single(file: str | os.PathLike) -> Iterator[tuple[str, os.DirEntry]]:
    """A file as `_walk` would find it in its folder, whatever else is there."""
    file = Path(file)
    with os.scandir(file.parent) as listing:
        yield from ((file.name, entry) for entry in listing if entry.name == file.name)


def _walk(folder: str | os.PathLike) -> Iterator[tuple[str, os.DirEntry]]:
    """Files below a folder, by relative path: every folder once, however many links lead to it.

    A folder that cannot be listed is an error: it may hold images.
    """
    root = Path(folder)
    if not root.is_dir():
        what = "file" if root.suffix.lower() in SUFFIXES | HEIF else "folder"
        raise FileNotFoundError(f"there is no {what} {folder}")
    seen, waiting = set(), [""]
    while waiting:
        inner = waiting.pop()
        here = os.path.join(root, inner)
        real = os.path.realpath(here)
        if real in seen:
            continue
        seen.add(real)
        folders = []
        try:
            with os.scandir(here) as listing:
                entries = [entry for entry in listing if not entry.name.startswith(".")]
            for entry in entries:
                if not _is_folder(entry):
                    yield inner + entry.name, entry
                elif entry.name.lower() not in SYSTEMS:
                    folders.append(f"{inner}{entry.name}/")
        except OSError as error:
            closed = error.errno in (errno.EACCES, errno.EPERM)
            mend = "make it readable" if closed else "see to that"
            raise ValueError(
                f"{(error.filename or here).rstrip('/')} cannot be listed ({error.strerror}): "
                f"{mend}, or move it out of the images' folder"
            ) from None
        waiting += sorted(folders, reverse=True)


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:
        if error.errno == errno.ELOOP or os.path.splitext(entry.name)[1].lower() in SUFFIXES:
            return False
        raise


def _objection(entry: os.DirEntry) -> str | None:
    """Why a file without a known suffix is not taken; empty for what is plainly no image, None for an
    image."""
    name = entry.name.lower()
    try:
        if not entry.is_file():  # never open a pipe or a device
            lost = entry.is_symlink() and not os.path.exists(entry.path)
            return "a link that leads nowhere" if lost else ""
        what = format_of(beginning(entry.path))
    except OSError as error:
        if error.errno in PASSING:
            raise OSError(error.errno, error.strerror, entry.path) from None
        return f"it cannot be read: {error.strerror}"
    if what and name.endswith(ASIDE):
        return f"{what}, but by its suffix a part, a copy or a preview of another"
    if (what == "HEIC" or os.path.splitext(name)[1] in HEIF) and not reads_heic():
        return HEIC
    if what == "TIFF":
        return "TIFF, perhaps a camera's RAW file; if it is a photograph, call it .tif"
    if what in OTHER:
        return f"{what}, which is not read: convert it"
    return None if what else ""


def beginning(path: str | os.PathLike) -> bytes:
    """The first 132 bytes of a file: DICOM has its signature there."""
    descriptor = os.open(path, os.O_RDONLY)  # a third of what `open` takes
    try:
        return os.read(descriptor, 132)
    finally:
        os.close(descriptor)


def format_of(start: bytes) -> str:
    """The format of an image file that begins with these bytes (see `beginning`); empty if it is no image."""
    if start[4:8] == b"ftyp":
        own, end = start[8:12], min(int.from_bytes(start[:4], "big"), len(start))
        for brand in (own, *(start[at : at + 4] for at in range(16, end, 4))):
            for what, brands in BRANDS.items():
                if brand in brands:
                    return what
        return "HEIC" if own in (b"mif1", b"msf1") else ""  # which holds any image
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "WebP"
    if start[:2] == b"BM":  # as some words begin: its header has one of few lengths
        return "BMP" if int.from_bytes(start[14:18], "little") in (12, 40, 56, 64, 108, 124) else ""
    for what, beginnings in SIGNATURES:
        if start.startswith(beginnings):
            return what
    if NETPBM.match(start):
        return "PNM"
    return "DICOM" if start[128:132] == b"DICM" else ""
