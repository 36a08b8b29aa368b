"""Image folders and the fingerprint of their content."""

import errno
import itertools
import json
import os
import random

import pytest

from deep_restoration.data import inventory, splits
from deep_restoration.files import hashing


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
    hashes = hashing.content_hashes(tmp_path, sorted(names), tmp_path / "cache.json")
    assert set(hashes) == set(names)
    assert len(hashing.digest(hashes)) == 16


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


@pytest.mark.parametrize("name", ["a.jpg", "b.PNG", "c.txt", "link.jpg"])
def test_a_single_image_is_all_that_there_is(tmp_path, name):
    write(tmp_path / "other.jpg")
    write(tmp_path / "a.jpg")
    write(tmp_path / "b.PNG")
    (tmp_path / "c.txt").write_bytes(JPEG)
    (tmp_path / "link.jpg").symlink_to(tmp_path / "a.jpg")
    file = tmp_path / name
    assert inventory.survey(file) == inventory.Survey([name], {}, 0)
    assert inventory.folder_of(file) == inventory.folder_of(tmp_path) == tmp_path
    assert (inventory.folder_of(file) / name).is_file()


def test_a_single_file_that_is_no_image_or_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"file .*a\.txt is not taken: no image \(.*\.jpg"):
        inventory.survey(write(tmp_path / "a.txt"))
    (tmp_path / "a.jpg.part").write_bytes(JPEG)
    with pytest.raises(ValueError, match=r"a\.jpg\.part is not taken: JPEG, but by its suffix"):
        inventory.survey(tmp_path / "a.jpg.part")
    with pytest.raises(FileNotFoundError, match=r"there is no file .*b\.jpg"):
        inventory.survey(tmp_path / "b.jpg")


def test_missing_and_empty_folders_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        inventory.image_files(tmp_path / "nowhere")
    write(tmp_path / "docs/a.txt")
    with pytest.raises(ValueError, match=r"docs holds no image .*\.jpg"):
        inventory.image_files(tmp_path / "docs")


def test_a_folder_that_cannot_be_listed_is_named(ordinary_folder, ordinary_user):
    """It would be left out without a word."""
    write(ordinary_folder / "a.jpg")
    write(ordinary_folder / "deep/closed/b.jpg")
    (ordinary_folder / "deep/closed").chmod(0o300)
    with (
        ordinary_user(),
        pytest.raises(
            ValueError, match=r"deep/closed cannot be listed \(Permission denied\): make"
        ),
    ):
        inventory.image_files(ordinary_folder)
    (ordinary_folder / "deep/closed").chmod(0o755)
    with ordinary_user():
        assert inventory.image_files(ordinary_folder) == ["a.jpg", "deep/closed/b.jpg"]


def test_the_folder_itself_or_a_linked_one_that_cannot_be_listed(ordinary_folder, ordinary_user):
    write(ordinary_folder / "photos/a.jpg")
    write(ordinary_folder / "closed/inside/b.jpg")
    (ordinary_folder / "photos/link").symlink_to(ordinary_folder / "closed/inside")
    (ordinary_folder / "closed").chmod(0)
    with ordinary_user():
        with pytest.raises(ValueError, match=r"photos/link cannot be listed \(Permission denied"):
            inventory.image_files(ordinary_folder / "photos")
        with pytest.raises(ValueError, match=r"closed cannot be listed \(Permission denied"):
            inventory.image_files(ordinary_folder / "closed")


SYSTEMS = [
    "lost+found",
    ".hidden",
    "$RECYCLE.BIN",
    "System Volume Information",
    "@eaDir",
    "__MACOSX",
]


def test_closed_folders_that_hold_no_photographs_are_left_alone(ordinary_folder, ordinary_user):
    write(ordinary_folder / "a.jpg")
    for name in SYSTEMS:
        (ordinary_folder / name).mkdir(mode=0)
    with ordinary_user():
        assert inventory.image_files(ordinary_folder) == ["a.jpg"]


def test_deleted_photographs_and_small_copies_of_them_do_not_count(tmp_path):
    write(tmp_path / "a.jpg")
    for name in SYSTEMS:
        write(tmp_path / f"b/{name}/a.jpg/SYNOPHOTO_THUMB_M.jpg")
    assert inventory.image_files(tmp_path) == ["a.jpg"]
    assert inventory.image_files(tmp_path / "b/@eaDir") == ["a.jpg/SYNOPHOTO_THUMB_M.jpg"]


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.ENAMETOOLONG, errno.ENOENT])
def test_what_is_no_matter_of_permissions_is_not_mended_by_them(tmp_path, monkeypatch, code):
    """A network that fails, a path of more than 4096 bytes, a folder that is removed meanwhile."""
    write(tmp_path / "a.jpg")
    (tmp_path / "b").mkdir()
    scandir = os.scandir

    def fail(path):
        if str(path).rstrip("/").endswith("/b"):
            raise OSError(code, os.strerror(code), str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", fail)
    message = rf"/b cannot be listed \({os.strerror(code)}\): see to that, or move it out"
    with pytest.raises(ValueError, match=message):
        inventory.image_files(tmp_path)


@pytest.mark.parametrize("code", [errno.EIO, errno.EMFILE, errno.ESTALE, errno.ENOTCONN])
def test_no_file_is_left_out_for_what_the_system_does(tmp_path, monkeypatch, code):
    write(tmp_path / "a.jpg")
    file(tmp_path / "b", JPEG)

    def fail(path):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(inventory, "beginning", fail)
    with pytest.raises(OSError, match=rf"{os.strerror(code)}: '.*/b'"):
        inventory.survey(tmp_path)


def test_a_folder_called_like_an_image_is_a_folder(tmp_path):
    write(tmp_path / "a.jpg/b.jpg")
    assert inventory.image_files(tmp_path) == ["a.jpg/b.jpg"]


# ------------------------------------------------------------------------------ content

JPEG, PNG = b"\xff\xd8\xff\xe0" + bytes(80), b"\x89PNG\r\n\x1a\n" + bytes(80)
TIFF = b"II*\0" + bytes(80)
HEIC = b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf" + bytes(80)
AVIF = b"\0\0\0\x20ftypavif\0\0\0\0avifmif1miafMA1B" + bytes(80)


def file(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


@pytest.fixture(params=[False, True], ids=["without pillow-heif", "with pillow-heif"])
def heic(request, monkeypatch):
    monkeypatch.setattr(inventory, "reads_heic", lambda: request.param)
    return request.param


def test_images_count_by_content_whatever_they_are_called(tmp_path, heic):
    for name, content in {
        "a.jpg": b"text",  # unusable, which the stage of images says
        "jpeg": JPEG,
        "png.txt": PNG,
        "avif": AVIF,
        "mif1": AVIF.replace(b"ftypavif", b"ftypmif1"),
        "photo.jpg_large": JPEG,
        "bitmap": b"BM" + bytes(12) + b"\x28\0\0\0" + bytes(40),
        "webp.img": b"RIFF\x10\0\0\0WEBPVP8 ",
        "gif.dat": b"GIF89a" + bytes(9),
        "grey": b"P5 # by a scanner\n60 40\n255\n" + bytes(2400),
        "plain.dat": b"P3\n2 2 255\n",
        "film still.heics.1": AVIF.replace(b"ftypavif", b"ftypavis"),
        os.fsdecode(b"caf\xe9\n"): JPEG,
        "IMG (1)": JPEG,
    }.items():
        file(tmp_path / name, content)
    found = inventory.survey(tmp_path)
    assert found.images == sorted(os.listdir(tmp_path))
    assert (found.left_out, found.others, str(found)) == ({}, 0, "")


def test_what_may_be_an_image_and_is_not_taken_is_named(tmp_path, heic):
    for name, content in {
        "a.jpg": JPEG,
        "IMG_1.HEIC": HEIC,
        "phone": HEIC,
        "empty.heif": b"",
        "raw.NEF": TIFF,
        "raw.dng": b"MM\0*" + bytes(80),
        "raw.CR3": b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom",
        "half.jpg.part": JPEG,
        "old.jpg~": JPEG,
        "film.THM": JPEG,
        "layers.psd": b"8BPS\0\1",
        "new.jxl": b"\xff\x0a\0\0",
        "a.jpg_original": JPEG,
        "b.JPG.filepart": JPEG,
        "scan": bytes(128) + b"DICM" + bytes(9),
        "sky.fits": b"SIMPLE  =                    T",
        "drawing.xcf": b"gimp xcf v011",
        "slide.jxr": b"II\xbc\x01",
    }.items():
        file(tmp_path / name, content)
    (tmp_path / "disk").symlink_to(tmp_path / "unmounted")
    found = inventory.survey(tmp_path)
    phones = ["IMG_1.HEIC", "empty.heif", "phone"]
    assert found.images == sorted(["a.jpg", *(phones if heic else [])])
    expected = {
        "raw.NEF": "TIFF, perhaps a camera's RAW",
        "raw.dng": "TIFF, perhaps",
        "raw.CR3": "RAW",
    }
    expected |= {"half.jpg.part": "JPEG, but by its suffix a part", "old.jpg~": "JPEG, but"}
    expected |= {"film.THM": "JPEG, but", "layers.psd": "Photoshop, which is not read: convert it"}
    expected |= {
        "a.jpg_original": "JPEG, but",
        "b.JPG.filepart": "JPEG, but",
        "scan": "DICOM, which",
    }
    expected |= {"sky.fits": "FITS", "drawing.xcf": "GIMP", "slide.jxr": "JPEG XR"}
    expected |= {"new.jxl": "JPEG XL", "disk": "a link that leads nowhere"}
    expected |= {} if heic else dict.fromkeys(phones, "HEIC, which needs pillow-heif: pip install")
    assert list(found.left_out) == sorted(expected)
    for name, words in expected.items():
        assert found.left_out[name].startswith(words)
    assert found.others == 0


def test_the_line_counts_and_names_the_first(tmp_path):
    file(tmp_path / "a.jpg", JPEG)
    for index in range(7):
        file(tmp_path / f"b/{index}.psd", b"8BPS")
        file(tmp_path / f"{index}.txt", b"BMW: no photograph\n" * 9)
    assert str(inventory.survey(tmp_path)) == (
        "not taken: 7 that may be images: b/0.psd (Photoshop, which is not read: convert it), b/1.psd "
        "(Photoshop, which is not read: convert it), b/2.psd (Photoshop, which is not read: convert it) "
        "and 4 more; 7 that are none"
    )


def test_the_line_is_one_whatever_the_files_are_called(tmp_path):
    file(tmp_path / "a.jpg", JPEG)
    for name in ("new\nline.psd", os.fsdecode(b"caf\xe9.psd"), "Grüße 日本.psd"):
        file(tmp_path / name, b"8BPS")
    words = str(inventory.survey(tmp_path))
    assert words.isprintable()
    for name in (r"'new\nline.psd' (", r"'caf\udce9.psd' (", "Grüße 日本.psd ("):
        assert name in words


@pytest.mark.parametrize(
    "content", [b"", b"x", b"BM", b"II", b"P5 paragraphs", b"P1 2024 was", b"RIFF0000WAVE", b"%PDF"]
)
def test_other_files_are_counted(tmp_path, content):
    file(tmp_path / "a.jpg", JPEG)
    file(tmp_path / "notes", content)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    assert inventory.survey(tmp_path) == (["a.jpg"], {}, 3)


def test_a_file_that_cannot_be_looked_into_is_named(ordinary_folder, ordinary_user):
    file(ordinary_folder / "a.jpg", JPEG)
    file(ordinary_folder / "closed", JPEG)
    (ordinary_folder / "closed").chmod(0)
    with ordinary_user():
        found = inventory.survey(ordinary_folder)
    assert found.left_out == {"closed": "it cannot be read: Permission denied"}


def test_a_folder_with_nothing_but_heic_says_what_it_needs(tmp_path, monkeypatch):
    monkeypatch.setattr(inventory, "reads_heic", lambda: False)
    file(tmp_path / "a.heic", HEIC)
    with pytest.raises(
        ValueError, match=r"holds no image .*1 that may be .*pillow-heif: pip install"
    ):
        inventory.survey(tmp_path)


def test_pillow_heif_changes_which_images_a_study_has(tmp_path, monkeypatch):
    file(tmp_path / "a.jpg", JPEG)
    file(tmp_path / "b.heic", HEIC)
    found = []
    for installed in (False, True):
        monkeypatch.setattr(inventory, "reads_heic", lambda installed=installed: installed)
        found.append(digest(tmp_path, tmp_path.parent / "hashes.json"))
    assert found[0] != found[1]


# ------------------------------------------------------------------------------ spread


@pytest.mark.parametrize("length", [1, 2, 7, 10, 31])
def test_spread_is_ordered_distinct_and_even(length):
    items = list(range(length))
    for count in range(1, length + 1):
        chosen = splits.evenly_spaced(items, count)
        assert len(chosen) == count
        assert chosen == sorted(set(chosen))
        steps = [b - a for a, b in itertools.pairwise(chosen)]
        assert not steps or max(steps) - min(steps) <= 1
        before, after = chosen[0], length - 1 - chosen[-1]
        assert abs(before - after) <= 1


@pytest.mark.parametrize("count", [None, 5, 6])
def test_spread_of_none_or_more_is_everything(count):
    assert splits.evenly_spaced(list("abcde"), count) == list("abcde")


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
    read, original = [], hashing.file_hash

    def counting(path):
        read.append(os.path.basename(path))
        return original(path)

    monkeypatch.setattr(hashing, "file_hash", counting)
    return read


def digest(folder, cache):
    return hashing.digest(hashing.content_hashes(folder, inventory.image_files(folder), cache))


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
    hashing.require(planned, photos, names, cache)
    (photos / "b.jpg").write_text("B.jpg")
    with pytest.raises(ValueError, match=r"images of .*photos changed since the run was planned"):
        hashing.require(planned, photos, names, cache)


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
    assert hashing.digest(dict(shuffled)) == hashing.digest(hashes)
