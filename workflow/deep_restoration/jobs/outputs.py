"""Checks of the paths that jobs write: no two equal, and none below another. Standard library only.

A path is made of fixed words and of names that a user has chosen. Two jobs that write the same file, or a
file where another needs a folder, would be noticed by Snakemake in the middle of a run, if at all.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import NamedTuple


class Output(NamedTuple):
    """A path, the pattern that it comes from, and the configuration's keys whose names are in it."""

    path: str
    pattern: str
    keys: tuple[str, ...]


def clashes(outputs: Iterable[Output]) -> list[str]:
    """One line per group of names that cannot stand beside each other, with the path they would share.

    Paths count as equal where they differ in case only, as on the file systems of macOS and Windows.
    The same path from the same pattern and names is that of one job.
    """
    files: dict[str, Output] = {}
    folders: dict[str, Output] = {}
    found: dict[tuple[str, ...], str] = {}

    def clash(one: Output, other: Output, place: str, what: str) -> None:
        """Named are the keys that only one has and that the shared path holds."""
        keys = set(one.keys) ^ set(other.keys)
        keys = {key for key in keys if key.partition(".")[2].casefold() in place}
        names = tuple(sorted(keys))
        found.setdefault(names, f"{', '.join(names)}: {what}; rename one")

    for output in outputs:
        place = output.path.casefold()
        first = files.setdefault(place, output)
        if (first.pattern, first.keys) != (output.pattern, output.keys):
            what = "would be written twice"
            if first.path != output.path:
                what += ", where upper and lower case are one"
            clash(first, output, place, f"{output.path} {what}")
        folder = os.path.dirname(place)
        while folder and folder not in folders:
            folders[folder] = output
            folder = os.path.dirname(folder)
    for place in sorted(files.keys() & folders.keys()):
        path = files[place].path
        clash(files[place], folders[place], place, f"{path} would be a file and a folder")
    return list(found.values())
