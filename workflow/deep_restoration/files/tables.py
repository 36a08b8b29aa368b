"""Tables as CSV: floats in the shortest form that reads back exactly."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from .atomic import StorageError, atomic, damaged, read_bytes, write_text


def write_csv(path: str | os.PathLike, columns: Sequence[str], rows: Iterable[Iterable]) -> None:
    """Write a table; floats in the shortest form that reads back exactly.

    In names, bytes that are not UTF-8 are written as \\udcXX and carriage returns as \\r, so that any
    program reads the table.
    """
    with (
        atomic(path) as temporary,
        open(temporary, "w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(
            [value.replace("\r", "\\r") if isinstance(value, str) else value for value in row]
            for row in rows
        )


def write_rows(
    path: str | os.PathLike, rows: Sequence[Mapping], columns: Iterable[str] | None = None
) -> None:
    """The same of rows that are values by column; `columns` are those of the first row, if none are given."""
    columns = list(rows[0] if columns is None else columns)
    write_csv(path, columns, ([row[column] for column in columns] for row in rows))


class Columns(dict):
    """Values of a table by column. One that is not there is an error that names the table: a spreadsheet may
    have saved it in its own way."""

    def __init__(self, path: str | os.PathLike, values: Iterable[tuple]):
        super().__init__(values)
        self.path = path

    def __missing__(self, column: str):
        reason = f"it has no column {column}, but {', '.join(self) or 'none'}"
        raise damaged(self.path, reason, proven=False)


def _read_table(path: str | os.PathLike) -> tuple[list[str], list[list[str]]]:
    """Columns and rows. Raises StorageError where the table was cut off or is no text."""
    try:
        text = read_bytes(path).decode("utf-8-sig")  # with the mark of a spreadsheet or without
        columns, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    except StorageError:
        raise
    except (ValueError, csv.Error) as error:
        raise damaged(path, error, proven=False) from None
    for number, row in enumerate(rows, 1):
        if len(row) != len(columns):
            reason = f"row {number} has {len(row)} of {len(columns)} values"
            raise damaged(path, reason, proven=False)
    if not text.endswith("\n"):
        raise damaged(path, "its last line does not end", proven=False)
    return columns, rows


def read_rows(path: str | os.PathLike) -> list[dict[str, str]]:
    """A table's rows as they stand in the file."""
    columns, rows = _read_table(path)
    return [Columns(path, zip(columns, row, strict=True)) for row in rows]


def read_tables(
    paths: str | os.PathLike | Iterable[str | os.PathLike],
) -> list[dict[str, str]]:
    """The rows of tables, or of a single one, one below the other."""
    if isinstance(paths, str | os.PathLike):
        paths = [paths]
    return [row for path in paths for row in read_rows(path)]


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


def write_json(path: str | os.PathLike, value: object) -> None:
    """Write JSON that people read, too: a line per value."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def read_json(path: str | os.PathLike) -> dict:
    try:
        return json.loads(read_bytes(path))
    except StorageError:
        raise
    except ValueError as error:
        raise damaged(path, error, proven=False) from None


def read_trace(path: str | os.PathLike) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Term -> (iteration, value, seconds) of a reconstruction's first batch."""
    table = read_csv(path)
    first = table["batch"] == 0
    return {
        str(term): (table["iteration"][rows], table["value"][rows], table["seconds"][rows])
        for term in np.unique(table["term"])
        if (rows := first & (table["term"] == term)).any()
    }
