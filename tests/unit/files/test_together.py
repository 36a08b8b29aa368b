"""Several arrays, files and tables at once."""

import numpy as np
import pytest

from deep_restoration.files.hdf5 import (
    create_hdf5,
    open_hdf5,
    open_images,
    read_arrays,
    read_images,
    write_array,
    write_arrays,
)
from deep_restoration.files.tables import read_rows, read_tables, write_csv, write_rows

ARRAYS = {"b": np.arange(6.0).reshape(2, 3), "a": np.arange(400, dtype=np.uint8)}


def test_arrays_are_written_in_their_order_and_read_by_name(tmp_path):
    with create_hdf5(tmp_path / "x.h5", "stage", {}) as file:
        write_arrays(file, ARRAYS, "metres")
        write_array(file.create_group("group"), "inside", [1])
    with open_hdf5(tmp_path / "x.h5", "stage") as file:
        assert [name for name in file if name != "group"] == ["b", "a"]
        assert file["a"].attrs["units"] == "metres"
    for names, expected in ((None, ["b", "a"]), (["a"], ["a"])):
        found = read_arrays(tmp_path / "x.h5", "stage", names)
        assert list(found) == expected
        for name, values in found.items():
            np.testing.assert_array_equal(values, ARRAYS[name])


def test_images_of_several_files_are_open_at_once(tmp_path):
    paths = {}
    for index, label in enumerate(("one", "two")):
        paths[label] = tmp_path / f"{index}.h5"
        with create_hdf5(paths[label], "stage", {}) as file:
            write_array(file, "images", np.full((3, 2), index))
    with open_images(paths, "stage") as found:
        assert list(found) == ["one", "two"]
        assert [images[1:].tolist() for images in found.values()] == [[[0, 0]] * 2, [[1, 1]] * 2]
    assert not any(images for images in found.values())  # closed
    shown = read_images(paths, "stage", 2)
    assert {label: images.tolist() for label, images in shown.items()} == {
        "one": [[0, 0]] * 2,
        "two": [[1, 1]] * 2,
    }


def test_rows_by_column_are_written_in_the_order_of_the_columns(tmp_path):
    rows = [{"a": 1, "b": 0.1}, {"b": 0.2, "a": 2}]
    write_rows(tmp_path / "x.csv", rows)
    assert (tmp_path / "x.csv").read_text() == "a,b\n1,0.1\n2,0.2\n"
    write_rows(tmp_path / "x.csv", rows, ("b",))
    assert (tmp_path / "x.csv").read_text() == "b\n0.1\n0.2\n"
    write_rows(tmp_path / "x.csv", [], ("a", "b"))
    assert (tmp_path / "x.csv").read_text() == "a,b\n"
    with pytest.raises(KeyError):
        write_rows(tmp_path / "x.csv", rows, ("c",))


def test_tables_are_read_one_below_the_other(tmp_path):
    for name in "ab":
        write_csv(tmp_path / f"{name}.csv", ("x",), [(name + "1",), (name + "2",)])
    paths = [tmp_path / "b.csv", tmp_path / "a.csv"]
    assert [row["x"] for row in read_tables(paths)] == ["b1", "b2", "a1", "a2"]
    assert read_tables(str(paths[1])) == read_rows(paths[1])
    assert read_tables([]) == []
