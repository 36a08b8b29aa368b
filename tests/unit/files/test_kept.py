"""Values that a user's processes share on disk."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deep_restoration.files import kept as module
from deep_restoration.files.kept import folder, kept

VALUE = {"names": ["a", "ß"], "number": 0.1, "none": None}


@pytest.fixture
def here(monkeypatch, tmp_path):
    monkeypatch.setenv("RESTORATION_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Compute:
    """Returns VALUE, and counts how often it was asked."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return VALUE


def test_the_same_material_is_computed_once(here):
    compute = Compute()
    for _ in range(3):
        assert kept("kind", ["x", 1], compute) == VALUE
    assert compute.calls == 1
    for kind, material in (("kind", ["x", 2]), ("kind", ["x", "1"]), ("other", ["x", 1])):
        assert kept(kind, material, compute) == VALUE
    assert compute.calls == 4


def test_another_process_finds_it(here):
    kept("kind", 1, lambda: VALUE)
    code = "from deep_restoration.files.kept import kept; print(kept('kind', 1, lambda: 1 / 0)['number'])"
    environment = os.environ | {"PYTHONPATH": str(Path(module.__file__).parents[2])}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "0.1\n"


@pytest.mark.parametrize(
    "harm",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content.replace(b"0.1", b"0.2"),
        lambda content: b"\xff\x00" * 50,
        lambda content: b"{}",
        lambda content: content.replace(b"\n", b""),
    ],
)
def test_a_damaged_value_is_computed_and_mended(here, harm):
    compute = Compute()
    kept("kind", 1, compute)
    (file,) = here.glob("kind/*")
    whole = file.read_bytes()
    file.write_bytes(harm(whole))
    assert kept("kind", 1, compute) == VALUE
    assert compute.calls == 2
    assert file.read_bytes() == whole
    assert list(here.glob("kind/*")) == [file]


def test_many_writers_do_no_harm(here):
    def work(index):
        return kept("kind", index % 5, lambda: [index % 5] * 20_000)

    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(work, range(400)))
    assert all(value == [index % 5] * 20_000 for index, value in enumerate(found))
    assert len(list(here.glob("kind/*"))) == 5


def test_where_nothing_can_be_kept_it_is_computed(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    compute = Compute()
    for place in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/none")):
        monkeypatch.setenv("RESTORATION_CACHE", str(place))
        assert kept("kind", 1, compute) == VALUE
    assert compute.calls == 3


def test_a_full_disk_keeps_nothing_and_leaves_nothing(monkeypatch, small_disk):
    monkeypatch.setenv("RESTORATION_CACHE", str(small_disk))
    large = ["x" * 3_000_000]
    assert kept("kind", 1, lambda: large) == large
    assert list(small_disk.glob("kind/*")) == []
    assert kept("kind", 2, lambda: VALUE) == VALUE
    assert len(list(small_disk.glob("kind/*"))) == 1


def test_what_fails_is_raised_and_not_kept(here):
    with pytest.raises(ZeroDivisionError):
        kept("kind", 1, lambda: 1 / 0)
    assert kept("kind", 1, lambda: VALUE) == VALUE


def test_the_older_half_goes_when_there_are_too_many(here, monkeypatch):
    monkeypatch.setattr(module, "MOST", 10)
    for index in range(10):
        kept("kind", index, lambda: VALUE)
        for file in here.glob("kind/*"):  # each a second older than the next
            os.utime(file, (file.stat().st_mtime - 1,) * 2)
    kept("kind", 10, lambda: VALUE)
    assert len(list(here.glob("kind/*"))) == 6
    for index in (10, 9, 8):
        kept("kind", index, lambda: pytest.fail("it is gone"))
    assert kept("kind", 0, lambda: "gone") == "gone"


def test_the_folder_is_the_users_cache(monkeypatch, tmp_path):
    for name in ("RESTORATION_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert folder() == tmp_path / ".cache/deep_restoration"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert folder() == tmp_path / "x/deep_restoration"
    monkeypatch.setenv("RESTORATION_CACHE", "~/mine")
    assert folder() == tmp_path / "mine"
