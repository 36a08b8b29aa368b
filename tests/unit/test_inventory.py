"""Image folders and the fingerprint of their content."""

import itertools
import json
import os
import random

import pytest

from deep_restoration import inventory


def write(path, text="x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


# ------------------------------------------------------------------------------ image_files


def test_images_are_found_at_any_depth_and_sorted(tmp_path):
    for name in ("b/2.jpg", "b/1.PNG", "a.jpeg", "b/c/d.TiFf", "z.webp"):
        write(tmp_path / name)
    assert inventory.image_files(tmp_path) == [
        "a.jpeg",
        "b/1.PNG",
        "b/2.jpg",
        "b/c/d.TiFf",
        "z.webp",
    ]


def test_other_and_hidden_files_do_not_count(tmp_path):
    for name in ("a.jpg", "a.txt", "jpg", ".b.jpg", ".cache/c.jpg", "d/.e/f.png", "g.jpg.part"):
        write(tmp_path / name)
    assert inventory.image_files(tmp_path) == ["a.jpg"]


def test_a_hidden_folder_asked_for_by_name_counts(tmp_path):
    write(tmp_path / ".photos/a.jpg")
    assert inventory.image_files(tmp_path / ".photos") == ["a.jpg"]


def test_names_with_newline_and_foreign_bytes_are_found(tmp_path):
    names = ["two\nlines.jpg", os.fsdecode(b"\xff.jpg"), "Grüße.jpg"]
    for name in names:
        write(tmp_path / name)
    assert inventory.image_files(tmp_path) == sorted(names)
    hashes = inventory.content_hashes(tmp_path, sorted(names), tmp_path / "cache.json")
    assert set(hashes) == set(names)
    assert len(inventory.digest(hashes)) == 16


def test_link_loops_end(tmp_path):
    write(tmp_path / "photos/a/1.jpg")
    (tmp_path / "photos/a/back").symlink_to(tmp_path / "photos")
    (tmp_path / "photos/self").symlink_to(".")
    assert inventory.image_files(tmp_path / "photos") == ["a/1.jpg"]


def test_linked_folders_and_files_count(tmp_path):
    write(tmp_path / "elsewhere/1.jpg")
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "photos/2.jpg").symlink_to(tmp_path / "elsewhere/1.jpg")
    assert inventory.image_files(tmp_path / "photos") == ["2.jpg", "link/1.jpg"]


def test_missing_and_empty_folders_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        inventory.image_files(tmp_path / "nowhere")
    write(tmp_path / "docs/a.txt")
    with pytest.raises(ValueError, match=r"docs holds no image .*\.jpg"):
        inventory.image_files(tmp_path / "docs")


# ------------------------------------------------------------------------------ spread


@pytest.mark.parametrize("length", [1, 2, 7, 10, 31])
def test_spread_is_ordered_distinct_and_even(length):
    items = list(range(length))
    for count in range(1, length + 1):
        chosen = inventory.spread(items, count)
        assert len(chosen) == count
        assert chosen == sorted(set(chosen))
        steps = [b - a for a, b in itertools.pairwise(chosen)]
        assert not steps or max(steps) - min(steps) <= 1
        before, after = chosen[0], length - 1 - chosen[-1]
        assert abs(before - after) <= 1


@pytest.mark.parametrize("count", [None, 5, 6])
def test_spread_of_none_or_more_is_everything(count):
    assert inventory.spread(list("abcde"), count) == list("abcde")


# ------------------------------------------------------------------------------ content_hashes


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        write(folder / name, name)
    return folder


@pytest.fixture
def reads(monkeypatch):
    """The files that are hashed, in a list."""
    read, original = [], inventory.file_hash

    def counting(path):
        read.append(os.path.basename(path))
        return original(path)

    monkeypatch.setattr(inventory, "file_hash", counting)
    return read


def digest(folder, cache):
    return inventory.digest(inventory.content_hashes(folder, inventory.image_files(folder), cache))


def test_unchanged_files_are_read_once(photos, reads, tmp_path):
    cache = tmp_path / "cache/hashes.json"
    first = digest(photos, cache)
    assert sorted(reads) == ["a.jpg", "b.jpg", "c.jpg"]
    reads.clear()
    assert digest(photos, cache) == first
    assert reads == []


def test_touched_file_is_reread_and_the_digest_stays(photos, reads, tmp_path):
    cache = tmp_path / "hashes.json"
    first = digest(photos, cache)
    reads.clear()
    os.utime(photos / "b.jpg", ns=(1, 1))
    assert digest(photos, cache) == first
    assert reads == ["b.jpg"]


def test_changed_content_of_equal_size_changes_the_digest(photos, tmp_path):
    cache = tmp_path / "hashes.json"
    first = digest(photos, cache)
    (photos / "b.jpg").write_text("B.jpg")
    os.utime(photos / "b.jpg", ns=(1, 1))
    assert digest(photos, cache) != first


def test_changed_content_behind_an_old_time_stamp_is_seen(photos, tmp_path):
    cache, path = tmp_path / "hashes.json", photos / "b.jpg"
    first, stat = digest(photos, cache), path.stat()
    path.write_text("B.jpg")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size
    assert digest(photos, cache) != first


def test_files_read_must_hold_what_was_planned(photos, tmp_path):
    cache, names = tmp_path / "hashes.json", inventory.image_files(photos)
    planned = digest(photos, cache)
    inventory.require(planned, photos, names, cache)
    (photos / "b.jpg").write_text("B.jpg")
    with pytest.raises(ValueError, match=r"images of .*photos changed since the run was planned"):
        inventory.require(planned, photos, names, cache)


def test_added_removed_and_renamed_files_change_the_digest(photos, tmp_path):
    cache = tmp_path / "hashes.json"
    found = [digest(photos, cache)]
    write(photos / "d.jpg", "a.jpg")
    found.append(digest(photos, cache))
    (photos / "d.jpg").rename(photos / "e.jpg")
    found.append(digest(photos, cache))
    (photos / "e.jpg").unlink()
    assert digest(photos, cache) == found[0]
    assert len(set(found)) == 3


def test_copied_folder_has_the_same_digest(photos, tmp_path):
    copy = tmp_path / "copy"
    for file in photos.iterdir():
        write(copy / file.name, file.read_text())
    cache = tmp_path / "hashes.json"
    assert digest(photos, cache) == digest(copy, cache)
    assert len(json.loads(cache.read_text())) == 6


@pytest.mark.parametrize("content", ["", "{", "\x00"])
def test_damaged_cache_is_made_anew(photos, tmp_path, content):
    cache = write(tmp_path / "hashes.json", content)
    first = digest(photos, cache)
    cache.unlink()
    assert digest(photos, cache) == first


def test_digest_does_not_depend_on_the_order():
    hashes = {f"{index}.jpg": f"{index:02x}" for index in range(20)}
    shuffled = list(hashes.items())
    random.Random(0).shuffle(shuffled)
    assert inventory.digest(dict(shuffled)) == inventory.digest(hashes)
