"""Files: whole or absent, the same bytes twice, and errors that name the path."""

import errno
import logging
import os
import re
import resource
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import h5py
import numpy as np
import pytest

from deep_restoration.figures.style import save_figure
from deep_restoration.files import hdf5
from deep_restoration.files.atomic import (
    StorageError,
    UnreadableError,
    atomic,
    versions,
    write_text,
)
from deep_restoration.files.hdf5 import (
    _say_unlocked,
    create_dataset,
    create_hdf5,
    open_hdf5,
    read_names,
    write_array,
    write_names,
)
from deep_restoration.files.tables import (
    read_csv,
    read_json,
    read_rows,
    read_trace,
    write_csv,
    write_json,
)
from deep_restoration.files.tensors import load_arrays, load_tensors, open_tensors, save_tensors
from deep_restoration.inversion.recipe import Recipe
from deep_restoration.networks import first_layer

LIBRARY = str(Path(hdf5.__file__).parents[2])
NAMES = [
    "a.jpg",
    "two\nlines.jpg",
    "re\rturn.jpg",
    "Grüße 日本.jpg",
    os.fsdecode(b"\xff\xfe.jpg"),
    '",;',
]


def later(path, write):
    """Whether `write` gives the same bytes a second later."""
    write(path)
    first = path.read_bytes()
    time.sleep(1.1)
    path.unlink()
    write(path)
    return path.read_bytes() == first


# ------------------------------------------------------------------------------ atomic


def test_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "new/folder/a.txt"
    with atomic(path) as temporary:
        temporary.write_text("whole")
        assert temporary.parent == path.parent
        assert not path.exists()
    assert path.read_text() == "whole"
    assert os.listdir(path.parent) == ["a.txt"]


def test_failure_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail():
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise KeyError("x")

    with pytest.raises(KeyError):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_what_a_dead_process_left_is_swept(tmp_path):
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    host = socket.gethostname()
    dead = tmp_path / f".a.txt.{host}.{done.pid}.00000000.tmp"
    kept = [
        tmp_path / f".a.txt.{host}.{os.getpid()}.00000000.tmp",
        tmp_path / f".a.txt.other-{host}.{done.pid}.00000000.tmp",
        tmp_path / f".b.txt.{host}.{done.pid}.00000000.tmp",
        tmp_path / f".a.txt.{host}.{done.pid}.txt",
    ]
    for path in (dead, *kept):
        path.write_text("half")
    write_text(tmp_path / "a.txt", "whole")
    assert not dead.exists()
    assert all(path.exists() for path in kept)


def test_killed_writer_leaves_no_file_under_the_name(tmp_path):
    code = (
        "import os, sys; from deep_restoration.files import atomic\n"
        "with atomic.atomic(sys.argv[1]) as t:\n t.write_text('half'); os._exit(1)"
    )
    path = tmp_path / "a.txt"
    environment = {**os.environ, "PYTHONPATH": LIBRARY}
    subprocess.run([sys.executable, "-c", code, path], env=environment, check=False)
    assert len(os.listdir(tmp_path)) == 1
    assert not path.exists()
    write_text(path, "whole")
    assert os.listdir(tmp_path) == ["a.txt"]


# ------------------------------------------------------------------------------ HDF5


def write_hdf5(path):
    with create_hdf5(path, "features", {"b": 1, "a": [2, None]}) as file:
        data = create_dataset(file, "maps", (3, 2, 4), np.float32, "activation")
        data[...] = np.arange(24).reshape(3, 2, 4)
        write_names(file, NAMES)
        file.attrs["window"] = (1, 2)


def test_hdf5_holds_what_was_written(tmp_path):
    write_hdf5(tmp_path / "a.h5")
    with open_hdf5(tmp_path / "a.h5", "features") as file:
        assert np.array_equal(file["maps"], np.arange(24).reshape(3, 2, 4))
        assert file["maps"].attrs["units"] == "activation"
        assert file.attrs["provenance"] == '{"a": [2, null], "b": 1}'
        assert read_names(file) == NAMES


def test_hdf5_is_the_same_bytes_a_second_later(tmp_path):
    assert later(tmp_path / "a.h5", write_hdf5)


@pytest.mark.parametrize("names", [[], ["a"], NAMES, [f"{name} of many" for name in 400 * NAMES]])
def test_names_round_trip(tmp_path, names):
    with create_hdf5(tmp_path / "a.h5", "images", {}) as file:
        write_names(file, names)
    with open_hdf5(tmp_path / "a.h5", "images") as file:
        assert read_names(file) == names


@pytest.mark.parametrize(
    ("shape", "dtype", "rows"),
    [((500, 3, 96, 96), np.uint8, 37), ((5, 2), np.float32, 5), ((4, 1000, 1000), np.float64, 1)],
)
def test_chunks_hold_whole_samples_of_about_a_mebibyte(tmp_path, shape, dtype, rows):
    with create_hdf5(tmp_path / "a.h5", "features", {}) as file:
        data = create_dataset(file, "maps", shape, dtype, "")
        data[...] = np.ones(shape, dtype)  # a scalar takes h5py seconds
        assert data.chunks == (rows, *shape[1:])


def test_dataset_can_shrink(tmp_path):
    with create_hdf5(tmp_path / "a.h5", "features", {}) as file:
        data = create_dataset(file, "maps", (9, 3), np.uint8, "")
        data[:4] = 1
        data.resize(4, axis=0)
    with open_hdf5(tmp_path / "a.h5", "features") as file:
        assert file["maps"].shape == (4, 3)


def test_failed_hdf5_leaves_nothing(tmp_path):
    def fail():
        with create_hdf5(tmp_path / "a.h5", "features", {}) as file:
            create_dataset(file, "maps", (3, 2), np.uint8, "")
            raise ValueError("diverged")

    with pytest.raises(ValueError, match="diverged"):
        fail()
    assert os.listdir(tmp_path) == []


def read_hdf5(path, stage="features"):
    with open_hdf5(path, stage):
        pass


def settle(path):
    """Nobody has written to the file for long."""
    os.utime(path, (0, 0))


def check_error(path, message, read):
    if os.path.exists(path):
        settle(path)
    with pytest.raises(StorageError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)


def test_hdf5_of_another_stage_is_refused(tmp_path):
    write_hdf5(tmp_path / "a.h5")
    check_error(
        tmp_path / "a.h5",
        "made by stage 'features'; stage 'images' is needed",
        lambda path: read_hdf5(path, "images"),
    )


@pytest.mark.parametrize("share", [0, 0.3, 0.98])
def test_truncated_hdf5_is_refused(tmp_path, share):
    path = tmp_path / "a.h5"
    write_hdf5(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    check_error(path, r"damaged \(not a readable HDF5 file: .*\); delete it", read_hdf5)


def test_unfinished_hdf5_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.attrs["stage"] = "features"
    check_error(tmp_path / "a.h5", r"damaged \(unfinished\); delete it", read_hdf5)


def test_foreign_hdf5_is_refused(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = 1
    check_error(tmp_path / "a.h5", "made by stage 'none'", read_hdf5)


def test_missing_files_are_named(tmp_path):
    check_error(tmp_path / "a.h5", "does not exist; the stage that makes it", read_hdf5)
    check_error(tmp_path / "a.safetensors", "does not exist", lambda p: load_tensors(p, "prior"))


# ------------------------------------------------------------------------------ safetensors


def write_tensors(path):
    import torch

    tensors = {
        "weight": torch.arange(6.0).reshape(2, 3).T,
        "count": torch.tensor(3),
        "grad": torch.ones(2, requires_grad=True),
    }
    save_tensors(path, tensors, "prior", {"settings": {"b": 1, "a": 2}, "note": NAMES})


def test_tensors_and_provenance_round_trip(tmp_path):
    path = tmp_path / "a.safetensors"
    write_tensors(path)
    tensors, provenance = load_tensors(path, "prior")
    assert tensors["weight"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert tensors["count"].item() == 3
    assert not tensors["grad"].requires_grad
    assert provenance == {"settings": {"b": 1, "a": 2}, "note": NAMES}
    arrays = load_arrays(path, "prior")
    assert arrays["weight"].tolist() == [[0, 3], [1, 4], [2, 5]]
    assert isinstance(arrays["weight"], np.ndarray)


@pytest.mark.parametrize("length", range(0, 9, 3))
def test_tensors_are_aligned_however_long_the_facts_are(tmp_path, length):
    """Else the last digits of what is computed with them would depend on names in the provenance."""
    import torch

    tensors = {name: torch.arange(float(size)) for name, size in (("a", 3), ("b", 5), ("c", 70))}
    save_tensors(tmp_path / "x.safetensors", tensors, "prior", {"name": length * "x"})
    for tensor in load_tensors(tmp_path / "x.safetensors", "prior")[0].values():
        assert tensor.data_ptr() % 64 == 0


def test_safetensors_are_the_same_bytes_every_time(tmp_path):
    path, found = tmp_path / "a.safetensors", set()
    for _ in range(8):
        write_tensors(path)
        found.add(path.read_bytes())
    assert len(found) == 1


def test_safetensors_of_another_stage_or_none_are_refused(tmp_path):
    import torch
    from safetensors.torch import save_file

    path = tmp_path / "a.safetensors"
    write_tensors(path)
    check_error(path, "made by stage 'prior'", lambda p: load_tensors(p, "classifier"))
    save_file({"x": torch.ones(1)}, path)
    check_error(path, "made by stage 'none'", lambda p: load_tensors(p, "classifier"))


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_truncated_safetensors_are_refused(tmp_path, share):
    path = tmp_path / "a.safetensors"
    write_tensors(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    check_error(path, "not a readable safetensors file", lambda p: load_tensors(p, "prior"))


def test_first_filters_are_those_of_the_first_convolution(tmp_path):
    import torch

    path = tmp_path / "a.safetensors"
    steps = [
        {"path": "norm", "target": "torch.nn.BatchNorm2d"},
        {"path": "b", "target": "torch.nn.modules.conv.Conv2d"},
        {"path": "a", "target": "torch.nn.modules.conv.Conv2d"},
    ]
    tensors = {f"{name}.weight": torch.full((2, 3, 1, 1), ord(name[0])) for name in ("a", "b")}
    save_tensors(path, tensors, "classifier", {"steps": steps})
    assert np.all(first_layer.first_filters(path) == ord("b"))
    save_tensors(path, tensors, "classifier", {"steps": steps[:1]})
    check_error(path, "no convolution", first_layer.first_filters)


# ------------------------------------------------------------------------------ tables and text


def test_floats_read_back_exactly(tmp_path):
    values = [0.1, 1 / 3, 1e-300, 123456789.123456789, float("inf"), np.float64(2 / 3)]
    write_csv(tmp_path / "a.csv", ["value", "text"], [(v, "x") for v in values])
    table = read_csv(tmp_path / "a.csv")
    assert table["value"].dtype == np.float64
    assert table["value"].tolist() == [float(v) for v in values]
    assert table["text"].tolist() == ["x"] * len(values)


def test_tables_hold_any_file_name_in_a_row_of_utf8(tmp_path):
    path = tmp_path / "a.csv"
    write_csv(path, ["image", "value"], [(name, 1.5) for name in NAMES])
    path.read_text(encoding="utf-8")
    rows = read_rows(path)
    assert len(rows) == len(NAMES)
    assert [row["value"] for row in rows] == ["1.5"] * len(NAMES)
    assert rows[1]["image"] == "two\nlines.jpg"
    assert rows[2]["image"] == "re\\rturn.jpg"
    assert rows[4]["image"] == "\\udcff\\udcfe.jpg"
    assert rows[5]["image"] == NAMES[5]


def test_table_is_the_same_bytes_twice_and_ends_lines_plainly(tmp_path):
    write_csv(tmp_path / "a.csv", ["n"], [[1], [0.5]])
    write_csv(tmp_path / "b.csv", ["n"], [[1], [0.5]])
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes() == b"n\n1\n0.5\n"


def test_failing_rows_leave_the_old_table(tmp_path):
    write_csv(tmp_path / "a.csv", ["n"], [[1]])
    with pytest.raises(ZeroDivisionError):
        write_csv(tmp_path / "a.csv", ["n"], ([1 / n] for n in (1, 0)))
    assert (tmp_path / "a.csv").read_text() == "n\n1\n"


def test_table_without_rows_has_empty_columns(tmp_path):
    write_csv(tmp_path / "a.csv", ["a", "b"], [])
    table = read_csv(tmp_path / "a.csv")
    assert {name: len(column) for name, column in table.items()} == {"a": 0, "b": 0}
    assert read_rows(tmp_path / "a.csv") == []


def test_trace_is_split_by_term_and_keeps_the_first_batch(tmp_path):
    rows = [
        (batch, iteration, term, 10 * batch + iteration + len(term), iteration / 2)
        for batch in (0, 1)
        for iteration in (0, 5)
        for term in ("data", "tv")
    ]
    rows.append((1, 0, "late", 0.0, 0.0))
    columns = ["batch", "iteration", "term", "value", "seconds"]
    write_csv(tmp_path / "a.csv", columns, rows)
    trace = read_trace(tmp_path / "a.csv")
    assert set(trace) == {"data", "tv"}
    assert [column.tolist() for column in trace["data"]] == [[0, 5], [4, 9], [0, 2.5]]
    assert [column.tolist() for column in trace["tv"]] == [[0, 5], [2, 7], [0, 2.5]]


def test_text_is_utf8(tmp_path):
    write_text(tmp_path / "a.html", "∞ é\n")
    assert (tmp_path / "a.html").read_bytes() == "∞ é\n".encode()


def test_figures_are_the_same_bytes_a_second_later(tmp_path):
    from matplotlib.figure import Figure

    def write(png):
        figure = Figure((2, 1))
        axes = figure.add_subplot()
        axes.plot([0, 1], [1, 0], label="line")
        axes.legend()
        axes.fill_between([0, 1], [0, 1])
        save_figure(figure, png, png.with_suffix(".svg"))

    png, svg = tmp_path / "a.png", tmp_path / "a.svg"
    write(png)
    first = svg.read_bytes()
    assert later(png, write)
    assert svg.read_bytes() == first
    assert b"<dc:date>" not in first


def test_versions_are_those_installed():
    assert versions("numpy", "h5py") == {"numpy": np.__version__, "h5py": h5py.__version__}


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640)])
def test_tensors_can_be_read_by_whom_the_user_allows(umask, mode, tmp_path):
    import torch

    before = os.umask(umask)
    try:
        save_tensors(tmp_path / "prior", {"a": torch.ones(2)}, "prior", {})
        write_csv(tmp_path / "table.csv", ["a"], [[1]])
    finally:
        os.umask(before)
    for name in ("prior", "table.csv"):
        assert (tmp_path / name).stat().st_mode & 0o777 == mode


# ------------------------------------------------------------------------------ decay

VALUES = np.random.default_rng(0).standard_normal((12, 3, 4, 4)).astype(np.float32)


def write_all_of_hdf5(path):
    with create_hdf5(path, "features", {"settings": {"a": [1, 2.5, None]}}) as file:
        data = create_dataset(file, "maps", VALUES.shape, VALUES.dtype, "activation", 512)
        data[...] = VALUES
        write_names(file, NAMES)
        write_array(file, "covariance", -VALUES.reshape(12, -1), "activation squared")
        group = file.create_group("sums")
        write_array(group, "count", 3)
        write_array(group, "empty", np.zeros((0, 3)))
        group.attrs["name"] = NAMES[5]
        file.attrs["labels"] = NAMES[:3]


def read_all_of_hdf5(path):
    with open_hdf5(path, "features") as file:
        attributes = [(key, str(file.attrs[key])) for key in ("provenance", "labels")]
        attributes += [str(file["sums"].attrs["name"]), str(file["maps"].attrs["units"])]
        arrays = ("maps", "covariance", "sums/count", "sums/empty")
        return [file[key][()].tolist() for key in arrays], read_names(file), attributes


def write_all_of_tensors(path):
    import torch

    values = torch.from_numpy(VALUES[:2])
    tensors = {"w": values, "half": values.bfloat16(), "count": torch.tensor(3), "none": values[:0]}
    save_tensors(path, tensors, "prior", {"settings": {"rate": 0.1, "names": NAMES}})


def read_all_of_tensors(path):
    tensors, facts = load_tensors(path, "prior")
    return {k: (str(v.dtype), v.shape, v.tolist()) for k, v in tensors.items()}, facts


def write_table(path):
    write_csv(path, ["image", "value"], [(name, index / 3) for index, name in enumerate(NAMES)])


KINDS = {
    "hdf5": (write_all_of_hdf5, read_all_of_hdf5),
    "safetensors": (write_all_of_tensors, read_all_of_tensors),
    "table": (write_table, read_rows),
}


@pytest.mark.parametrize("kind", ["hdf5", "safetensors"])
def test_a_flipped_bit_anywhere_is_noticed_or_without_effect(tmp_path, kind):
    write, read = KINDS[kind]
    path = tmp_path / "file"
    write(path)
    whole, content = path.read_bytes(), read(path)
    said, rng = [], np.random.default_rng(1)
    for place in rng.integers(8 * len(whole), size=400).tolist():
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        settle(path)
        try:
            assert read(path) == content, f"bit {place} changes what is read"
        except StorageError as error:
            said.append(str(error))
    assert len(said) > 200
    allowed = (
        "is damaged .*delete it|not as it was written .*move it|made by stage|marked as open for"
    )
    assert all(re.search(allowed, words, re.DOTALL) for words in said)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_cut_anywhere_is_refused(tmp_path, kind):
    write, read = KINDS[kind]
    path = tmp_path / "file"
    write(path)
    whole = path.read_bytes()
    lines = [index + 1 for index, byte in enumerate(whole) if byte == ord("\n")]
    for length in np.random.default_rng(2).integers(len(whole), size=60).tolist():
        if kind == "table" and (length in lines or not length):
            continue  # a table without its last rows is a table
        path.write_bytes(whole[:length])
        settle(path)
        with pytest.raises(StorageError, match=r"(delete it|move it elsewhere) and run again"):
            read(path)


def flip_a_bit_of(path, value):
    whole = bytearray(path.read_bytes())
    whole[whole.index(value.tobytes()) + 7] ^= 4
    path.write_bytes(whole)
    settle(path)


def test_damaged_data_are_named_when_they_are_read_and_other_errors_are_left_alone(tmp_path):
    path = tmp_path / "a.h5"
    write_all_of_hdf5(path)
    flip_a_bit_of(path, VALUES[5])
    with pytest.raises(StorageError, match=r"a\.h5 is damaged \(/maps.*delete it and run again"):
        read_all_of_hdf5(path)
    write_all_of_hdf5(path)
    with pytest.raises(OSError, match="elsewhere"), open_hdf5(path, "features"):
        raise OSError("elsewhere")


def many_chunks(path, value):
    with create_hdf5(path, "features", {}) as file:
        data = create_dataset(file, "maps", VALUES.shape, np.float32, "activation", 512)
        data[...] = VALUES + value
        assert data.id.get_num_chunks() == 6


def chunk_of(path, index):
    """Where the bytes of a chunk lie, with their checksum."""
    with h5py.File(path) as file:
        chunk = file["maps"].id.get_chunk_info(index)
    return slice(chunk.byte_offset, chunk.byte_offset + chunk.size)


@pytest.mark.parametrize("left", ["zeros", "an older version"])
@pytest.mark.parametrize("index", [0, 3, 5])
def test_a_chunk_of_zeros_or_of_another_version_is_noticed(tmp_path, left, index):
    """As an interrupted copy or a disk without power leaves them; its own checksum fits either."""
    path, old = tmp_path / "a.h5", tmp_path / "old.h5"
    many_chunks(path, 0)
    many_chunks(old, 1)
    content, place = bytearray(path.read_bytes()), chunk_of(path, index)
    others = old.read_bytes()[chunk_of(old, index)]
    content[place] = bytes(len(others)) if left == "zeros" else others
    path.write_bytes(content)
    with h5py.File(path) as file:
        file["maps"][...]  # HDF5 says nothing
    check_error(path, r"not as it was written \(its values are others\).*move it", read_hdf5)


def test_chunks_that_are_zeros_are_read(tmp_path):
    many_chunks(tmp_path / "a.h5", -VALUES)
    with open_hdf5(tmp_path / "a.h5", "features") as file:
        assert not file["maps"][...].any()


CHANGES = {
    "an attribute": lambda file: file.attrs.__setitem__("note", "mine"),
    "a dataset": lambda file: file.__setitem__("note", [1, 2]),
    "a value": lambda file: file["maps"].__setitem__(0, 5),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_a_notebook_changed_is_not_called_damaged(tmp_path, what):
    path = tmp_path / "a.h5"
    many_chunks(path, 0)
    with h5py.File(path, "r+"):
        pass
    read_hdf5(path)
    with h5py.File(path, "r+") as file:
        CHANGES[what](file)
    check_error(path, r"not as it was written .*another program changed it.*move it", read_hdf5)
    with pytest.raises(StorageError) as caught:
        read_hdf5(path)
    assert not re.search("damaged|delete", str(caught.value))


@pytest.mark.parametrize("change", ["cut off", "written over"])
def test_a_file_written_to_while_it_is_read_is_refused(tmp_path, change):
    """HDF5 reads zeros after its end."""
    path = tmp_path / "a.h5"
    many_chunks(path, 0)
    content = path.read_bytes()

    def read(path):
        with open_hdf5(path, "features") as file:
            if change == "cut off":
                os.truncate(path, chunk_of(path, 0).start)
            else:
                path.write_bytes(content[:-9] + bytes(9))
            file["maps"][...]

    check_unreadable(path, "was written to by another program while it was read; run again", read)


def test_a_file_replaced_or_removed_while_it_is_read_is_read_whole(tmp_path):
    path = tmp_path / "a.h5"
    many_chunks(path, 0)
    with open_hdf5(path, "features") as file:
        many_chunks(path, 1)
        assert np.array_equal(file["maps"], VALUES)
        path.unlink()
        assert np.array_equal(file["maps"], VALUES)


def test_weights_are_checked_only_where_they_are_read(tmp_path):
    path = tmp_path / "a.safetensors"
    write_all_of_tensors(path)
    flip_a_bit_of(path, VALUES[1])
    with open_tensors(path, "prior") as (file, _):
        assert file.get_tensor("count") == 3
        with pytest.raises(StorageError, match=r"damaged \(tensor w does not"):
            file.get_tensor("w")
        with pytest.raises(StorageError, match="it has no tensor v"):
            file.get_tensor("v")


@pytest.mark.parametrize("text", ["", "a,b\n1\n", "a,b\n1,2", 'a,b\n"1,2\n', "a,b\n1,2,3\n"])
@pytest.mark.parametrize("read", [read_rows, read_csv])
def test_tables_cut_off_are_refused(tmp_path, text, read):
    path = tmp_path / "a.csv"
    path.write_text(text)
    check_error(path, "not as it was written .*move it elsewhere", read)
    path.write_bytes(b"a\n\xff\n")
    check_error(path, "not as it was written .*move it elsewhere", read)
    path.unlink()
    check_error(path, "does not exist", read)


def test_tables_that_a_spreadsheet_saved_are_read_or_named(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(b"\xef\xbb\xbfimage,value\r\nb.jpg,2.5\r\n")
    assert read_csv(path)["value"].tolist() == [2.5]
    assert read_rows(path) == [{"image": "b.jpg", "value": "2.5"}]
    path.write_bytes(b"image;value\nb.jpg;2,5\n")
    message = r"row 1 has 2 of 1 values\): another program changed it.* move it elsewhere"
    check_error(path, message, read_csv)
    path.write_bytes(b"image;value\nb.jpg;2.5\n")
    message = r"it has no column value, but image;value\): another program changed it"
    check_error(path, message, lambda path: read_csv(path)["value"])
    check_error(path, message, lambda path: read_rows(path)[0]["value"])


def test_json_is_read_as_it_was_written_and_has_a_line_per_value(tmp_path):
    value = {"values": {"rate": 0.1, "priors.tv": 1e-300}, "names": ["Grüße"]}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    assert (tmp_path / "a.json").read_text().count("\n") == 9


def test_values_found_by_a_search_are_refused_when_cut_off(tmp_path):
    path = tmp_path / "a.json"
    write_text(path, '{"values": {"rate": 2.0}}\n')
    recipe = {"phases": [{"iterations": 3, "rate": 1.0}]}
    assert Recipe.of(recipe, [path]).phases[0].rate == 2.0
    path.write_text('{"values": {"ra')
    check_error(path, "not as it was written .*move it", lambda p: Recipe.of(recipe, [p]))


# ------------------------------------------------------------------------------ hostile files


def link(file, tmp_path):
    with h5py.File(tmp_path / "secret.h5", "w") as other:
        other["maps"] = VALUES
    return h5py.ExternalLink(tmp_path / "secret.h5", "maps")


def virtual(file, tmp_path):
    link(file, tmp_path)
    layout = h5py.VirtualLayout(VALUES.shape, VALUES.dtype)
    layout[...] = h5py.VirtualSource(tmp_path / "secret.h5", "maps", VALUES.shape)
    file.create_virtual_dataset("maps", layout)


def external(file, tmp_path):
    (tmp_path / "secret").write_bytes(VALUES.tobytes())
    file.create_dataset(
        "maps", VALUES.shape, VALUES.dtype, external=[(str(tmp_path / "secret"), 0, VALUES.nbytes)]
    )


HOSTILE = {
    "link to another file": lambda f, p: f.__setitem__("maps", link(f, p)),
    "link within": lambda f, p: f.__setitem__("maps", h5py.SoftLink("/other")),
    "virtual": virtual,
    "external": external,
    "absurd": lambda f, p: f.create_dataset(
        "maps", (1 << 40, 64), np.float32, chunks=(1, 64), fletcher32=True
    ),
    "absurd and without chunks": lambda f, p: f.create_dataset("maps", (1 << 40, 64), np.float32),
    "inflated": lambda f, p: f.create_dataset(
        "maps", data=np.zeros(1 << 22), compression="gzip", chunks=(1 << 18,)
    ),
    "of any length": lambda f, p: f.create_dataset("maps", data=["a"], dtype=h5py.string_dtype()),
    "without checksum": lambda f, p: f.create_dataset("maps", data=VALUES),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hdf5_from_elsewhere_leads_nowhere_and_takes_no_memory(tmp_path, what):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file.attrs["stage"] = "features"
        HOSTILE[what](file, tmp_path)
        file.attrs["checksum"], file.attrs["complete"] = 0, True
    check_error(path, r"is not as it was written \(/?maps.*move it elsewhere", read_hdf5)
    with (
        pytest.raises(StorageError, match="maps"),  # nor is it written
        create_hdf5(tmp_path / "b.h5", "features", {}) as file,
    ):
        HOSTILE[what](file, tmp_path)
    assert not (tmp_path / "b.h5").exists()


def test_safetensors_with_absurd_shapes_are_refused(tmp_path):
    import json

    path = tmp_path / "a.safetensors"
    for shape, end in (([1 << 40, 64], 4), ([1 << 40, 64], 1 << 48), ([-1], 4)):
        entry = {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}
        header = json.dumps({"w": entry}).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
        check_error(path, "not a readable safetensors", lambda p: load_tensors(p, "prior"))
    path.write_bytes((1 << 62).to_bytes(8, "little") + b"{}")
    check_error(path, "not a readable safetensors", lambda p: load_tensors(p, "prior"))


# ------------------------------------------------------------------------------ good but not to be read


def check_unreadable(path, message, read):
    """What may be good is never called damaged, nor is it advised to delete it."""
    with pytest.raises(UnreadableError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert not re.search("damaged|delete", str(caught.value))


@contextmanager
def held_open(path, mode, options=""):
    """Another program, a notebook say, that has the file open; it is killed at the end."""
    code = (
        f"import h5py, time; file = h5py.File({str(path)!r}, {mode!r}{options})\n"
        "print(flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        yield
        process.kill()


def test_hdf5_that_another_program_holds_for_writing_is_no_damage(tmp_path):
    path = tmp_path / "a.h5"
    write_all_of_hdf5(path)
    whole = path.read_bytes()
    with held_open(path, "r+"):
        check_unreadable(path, "temporarily unavailable; another program holds it", read_hdf5)
    check_unreadable(path, "marked as open for writing.* killed.*h5clear", read_hdf5)
    path.write_bytes(whole)
    with held_open(path, "r+", ", locking=False"):
        check_unreadable(path, "marked as open for writing: another program has it", read_hdf5)
    path.write_bytes(whole)
    with held_open(path, "r"):
        read_all_of_hdf5(path)


READ = {
    "hdf5": (write_hdf5, read_hdf5),
    "safetensors": (write_all_of_tensors, read_all_of_tensors),
    "table": (write_table, read_csv),
    "rows": (write_table, read_rows),
    "json": (lambda path: write_text(path, "{}"), read_json),
}


@pytest.mark.parametrize("kind", READ)
def test_a_file_without_permission_is_no_damage(ordinary_folder, ordinary_user, kind):
    write, read = READ[kind]
    path = ordinary_folder / "file"
    write(path)
    path.chmod(0o444)
    with ordinary_user():
        read(path)
    path.chmod(0)
    with ordinary_user():
        check_unreadable(path, "Permission denied; make it readable", read)


@pytest.mark.parametrize("kind", READ)
def test_too_many_open_files_are_no_damage(tmp_path, kind):
    write, read = READ[kind]
    path = tmp_path / "file"
    write(path)
    limits, taken = resource.getrlimit(resource.RLIMIT_NOFILE), []
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    try:
        with suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        check_unreadable(path, r"Too many open files; raise the limit.*ulimit -n", read)
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    read(path)


@pytest.mark.parametrize("kind", READ)
def test_a_folder_or_a_pipe_in_its_place_is_named_and_never_waited_for(tmp_path, kind):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    check_unreadable(tmp_path / "folder", "is a folder, no file; move it", READ[kind][1])
    check_unreadable(tmp_path / "pipe", "is a pipe or a device", READ[kind][1])
    (tmp_path / "lost").symlink_to("nowhere")
    check_error(tmp_path / "lost", "does not exist", READ[kind][1])


@pytest.mark.parametrize(
    ("place", "word"), [("/", "Is a directory"), ("/proc/self/mem", "Input/output error")]
)
def test_errors_of_a_disk_while_hdf5_is_read_are_no_damage(tmp_path, place, word):
    """The open file is replaced by one that cannot be read: a stale handle, a broken disk."""
    path = tmp_path / "a.h5"
    write_all_of_hdf5(path)

    def read(path):
        with open_hdf5(path, "features") as file:
            other = os.open(place, os.O_RDONLY)
            os.dup2(other, file.id.get_vfd_handle())
            os.close(other)
            file["covariance"][...]

    check_unreadable(path, f"cannot be read: {word}", read)
    read_all_of_hdf5(path)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_written_a_moment_ago_may_be_copied_still(tmp_path, kind):
    write, read = KINDS[kind]
    path = tmp_path / "file"
    write(path)
    path.write_bytes(path.read_bytes()[:-1])
    message = r"not whole .* [0-9]+ seconds ago: perhaps it is still being copied; run again"
    with pytest.raises(StorageError, match=message) as caught:
        read(path)
    assert not re.search("damaged|delete", str(caught.value))
    settle(path)
    found = "is not as it was" if kind == "table" else "is damaged .*delete it and run again"
    check_error(path, found, read)


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_said_once_and_read_all_the_same(
    tmp_path, monkeypatch, caplog, code
):
    path = tmp_path / "a.h5"
    open_file = h5py.File

    def without_locks(name, mode, *, locking=None, **options):
        if locking is not False:
            words = f"Unable to open file (unable to lock file, errno = {code})"
            raise OSError(code, words)
        return open_file(name, mode, locking=locking, **options)

    monkeypatch.setattr(h5py, "File", without_locks)
    _say_unlocked.cache_clear()
    with caplog.at_level(logging.WARNING, "deep_restoration"):
        write_all_of_hdf5(path)
        content = read_all_of_hdf5(path)
        assert read_all_of_hdf5(path) == content
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "no locks" in caplog.text


@pytest.mark.parametrize(
    ("code", "message"),
    [(errno.EAGAIN, "another program holds"), (errno.EIO, "FILE_LOCKING=FALSE")],
)
def test_any_other_failure_to_lock_is_never_passed_over(tmp_path, monkeypatch, code, message):
    path = tmp_path / "a.h5"
    write_all_of_hdf5(path)

    def locked(name, mode, **options):
        assert "locking" not in options
        raise OSError(code, f"Unable to open file (unable to lock file, errno = {code})")

    monkeypatch.setattr(h5py, "File", locked)
    check_unreadable(path, message, read_hdf5)


def test_no_memory_is_no_damage(tmp_path, monkeypatch):
    path = tmp_path / "a.h5"
    write_all_of_hdf5(path)

    def fail(file):
        raise MemoryError

    monkeypatch.setattr(hdf5, "_check_plain", fail)
    with pytest.raises(MemoryError):
        read_hdf5(path)


# ------------------------------------------------------------------------------ full and closed disks

FULL = {
    "hdf5": """
with hdf5.create_hdf5(path, 'features', {}) as file:
    data = hdf5.create_dataset(file, 'maps', (900, 1000), np.float32, 'units')
    data[...] = 1
""",
    "hdf5, which fails when it is closed": """
with hdf5.create_hdf5(path, 'features', {}) as file:
    data = hdf5.create_dataset(file, 'maps', (550, 1000), np.float32, 'units')
    for row in range(550):
        data[row] = 1
""",
    "hdf5, a whole array": """
with hdf5.create_hdf5(path, 'features', {}) as file:
    hdf5.write_array(file, 'maps', np.ones((900, 1000)))
""",
    "safetensors": """
import torch
tensors.save_tensors(path, {'w': torch.ones(1 << 20)}, 'prior', {})
""",
    "table": "tables.write_csv(path, ['n'], ([n] for n in range(1 << 20)))",
    "text": "atomic.write_text(path, 'x' * (3 << 20))",
    "figure": """
from matplotlib.figure import Figure
figure = Figure((20, 20))
figure.add_subplot().imshow(np.random.default_rng(0).random((3000, 3000)))
style.save_figure(figure, path, path + '.svg')
""",
}


def run(code, *arguments):
    """In a process of its own, the way a job ends: HDF5 may crash when the interpreter does."""
    environment = {**os.environ, "PYTHONPATH": LIBRARY}
    body = "\n".join(f"    {line}" for line in code.strip().splitlines())
    code = (
        "import sys; import numpy as np; from types import SimpleNamespace\n"
        "from deep_restoration.files import atomic, hdf5, tables, tensors\n"
        "from deep_restoration.figures import style\n"
        "from deep_restoration.jobs import job\n"
        "path, log = sys.argv[1:]\n"
        f"with job.job(SimpleNamespace(log=[log], threads=1, params=dict())):\n{body}\n"
    )
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("what", FULL)
def test_a_full_disk_is_named_and_leaves_no_litter(small_disk, what):
    path = small_disk / "a.file"
    path.write_text("old")
    done = run(FULL[what], path, small_disk / "a.log")
    message = f"error: {path} cannot be written: No space left on device; free some and run again"
    assert done.stderr.strip() == message
    assert done.returncode == 1
    assert sorted(os.listdir(small_disk)) == ["a.file", "a.log"]
    assert path.read_text() == "old"
    room = os.statvfs(small_disk)
    assert room.f_bavail * room.f_bsize > 1.9e6


def test_what_hdf5_loses_without_an_error_is_noticed(small_disk):
    code = f"""
import os
filler = {str(small_disk / "filler")!r}
with hdf5.create_hdf5(path, 'features', {{}}) as file:
    with open(filler, 'wb') as full:
        full.write(bytes((2 << 20) - (64 << 10)))
    hdf5.create_dataset(file, 'maps', (200, 1000), np.float32, '')[...] = 1
    os.unlink(filler)
"""
    done = run(code, small_disk / "a.h5", small_disk / "a.log")
    assert "a.h5 could not be written whole: /maps lacks some of its values" in done.stderr
    assert done.returncode != 0
    assert os.listdir(small_disk) == ["a.log"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("folder", "Is a directory; move what stands in its place elsewhere"),
        ("file/a.h5", "(File exists|Not a directory); move what stands in place of its folder"),
        ("x" * 250, "File name too long; shorten the names"),
    ],
)
@pytest.mark.parametrize("write", [write_hdf5, write_tensors, write_table])
def test_a_place_that_cannot_be_written_to_is_named(tmp_path, name, message, write):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=f"^{tmp_path}/{name} cannot be written: {message}"):
        write(tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EPERM, errno.EBUSY])
def test_any_failure_to_write_names_the_file_and_no_other_is_called_one(tmp_path, code):
    def write(place):
        with atomic(tmp_path / "a.csv") as temporary:
            temporary.write_text("half")
            raise OSError(code, os.strerror(code), str(place or temporary))

    message = rf"/a\.csv cannot be written: {os.strerror(code)}; .* and run again$"
    with pytest.raises(StorageError, match=message):
        write(None)
    with pytest.raises(OSError, match=r"elsewhere/b\.csv"):
        write("/elsewhere/b.csv")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("kept", ["data = ", ""], ids=["dataset kept", "dataset let go"])
def test_a_file_longer_than_the_limit_is_named(tmp_path, kept):
    code = f"""
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
with hdf5.create_hdf5(path, 'features', {{}}) as file:
    {kept}hdf5.create_dataset(file, 'maps', (900, 1000), np.float32, 'units')
    file['maps'][...] = 1
"""
    done = run(code, tmp_path / "a.h5", tmp_path / "a.log")
    message = (
        "a.h5 cannot be written: File too large; raise the limit of file sizes (ulimit -f) and run"
    )
    assert message in done.stderr
    assert done.returncode != 0  # HDF5 may crash at the very end where it let a dataset go
    assert os.listdir(tmp_path) == ["a.log"]


def test_a_folder_that_cannot_be_written_to_is_named(small_disk, tmp_path):
    (small_disk / "results").mkdir()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    for path in (small_disk / "results/a.csv", small_disk / "new/folder/a.csv"):
        with pytest.raises(StorageError, match="Read-only file system; make its folder") as error:
            write_csv(path, ["n"], [[1]])
        assert str(path) in str(error.value)
