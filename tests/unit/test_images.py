"""Decoding, cropping and streaming of photographs, on files written here."""

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deep_restoration import images, inventory
from deep_restoration.images import UnusableImage, decode


def photo(height=40, width=60):
    """A smooth picture without symmetry, so that JPEG keeps it and every rotation shows."""
    y, x = np.mgrid[0:height, 0:width]
    return np.stack(
        [255 * x / (width - 1), 255 * y / (height - 1), 200 * x * y / (height * width)], axis=2
    ).astype(np.uint8)


def save(path, values, mode=None, **options):
    image = values if isinstance(values, Image.Image) else Image.fromarray(values)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def close(found, expected, most=6):
    assert found.shape == expected.shape
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= most


# ------------------------------------------------------------------------------ decode


def test_rgb_png_is_read_exactly(tmp_path):
    assert np.array_equal(decode(save(tmp_path / "a.png", photo())), photo())


@pytest.mark.parametrize(
    ("orientation", "turned"),
    [
        (1, lambda x: x),
        (2, lambda x: x[:, ::-1]),
        (3, lambda x: x[::-1, ::-1]),
        (6, lambda x: np.rot90(x, -1)),
        (8, lambda x: np.rot90(x)),
    ],
)
def test_exif_orientation_is_applied(tmp_path, orientation, turned):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.jpg", photo(), exif=exif, quality=98, subsampling=0)
    close(decode(path), turned(photo()))


def test_grey_is_repeated_over_the_channels(tmp_path):
    grey = photo()[..., 0]
    assert np.array_equal(decode(save(tmp_path / "a.png", grey)), np.repeat(grey[..., None], 3, 2))


def test_bilevel_becomes_black_and_white(tmp_path):
    grey = photo()[..., 0]
    path = save(tmp_path / "a.png", Image.fromarray(grey).point(lambda v: 255 * (v > 127), "1"))
    assert np.array_equal(decode(path)[..., 1], np.where(grey > 127, 255, 0))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_lies_over_white(tmp_path, mode):
    colour = photo() if mode == "RGBA" else photo()[..., :1]
    alpha = np.tile(np.linspace(0, 255, 60).astype(np.uint8), (40, 1))[..., None]
    path = save(tmp_path / "a.png", np.concatenate([colour, alpha], axis=2))
    with Image.open(path) as image:
        assert image.mode == mode
    share = alpha / 255
    over = np.round(colour * share + 255 * (1 - share))
    close(decode(path), np.broadcast_to(over, (40, 60, 3)), 1)


def test_transparent_palette_entry_becomes_white(tmp_path):
    indices = np.tile(np.arange(60, dtype=np.uint8) % 3, (40, 1))
    image = Image.fromarray(indices).convert("P")
    image.putdata(indices.ravel().tolist())
    image.putpalette([10, 20, 30, 200, 0, 0, 0, 0, 250])
    path = save(tmp_path / "a.png", image, transparency=1)
    colours = np.array([[10, 20, 30], [255, 255, 255], [0, 0, 250]], np.uint8)
    assert np.array_equal(decode(path), colours[indices])


def test_cmyk_jpeg_becomes_rgb(tmp_path):
    path = save(tmp_path / "a.jpg", photo(), "CMYK", quality=98, subsampling=0)
    with Image.open(path) as image:
        assert image.mode == "CMYK"
    close(decode(path), photo())


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bit_grey_is_scaled_by_65535(tmp_path, suffix):
    values = np.linspace(0, 65535, 40 * 60).reshape(40, 60).round().astype(np.uint16)
    found = decode(save(tmp_path / f"a.{suffix}", values))
    expected = np.round(values / 65535 * 255).astype(np.uint8)
    assert np.array_equal(found, np.repeat(expected[..., None], 3, axis=2))


def test_float_tiff_in_0_1_is_scaled_by_255(tmp_path):
    values = np.linspace(0, 1, 40 * 60, dtype=np.float32).reshape(40, 60)
    found = decode(save(tmp_path / "a.tif", values))
    assert np.array_equal(found[..., 2], np.round(values.astype(float) * 255))


@pytest.mark.parametrize("shape", [(400, 640), (640, 400), (97, 96), (96, 96)])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_shorter_side_is_met_and_the_ratio_kept(tmp_path, shape, suffix):
    found = decode(save(tmp_path / f"a.{suffix}", photo(*shape)), 96)
    assert min(found.shape[:2]) == 96
    assert abs(max(found.shape[:2]) - 96 * max(shape) / min(shape)) <= 1


def test_jpeg_decoded_at_reduced_size_shows_the_same(tmp_path):
    path = save(tmp_path / "a.jpg", photo(800, 1200), quality=95)
    whole = Image.fromarray(photo(800, 1200)).resize((60, 40), Image.Resampling.LANCZOS)
    close(decode(path, 40), np.asarray(whole), 8)


def test_rotated_image_is_reduced_by_its_upright_size(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "a.jpg", photo(100, 300), exif=exif)
    assert decode(path, 50).shape == (150, 50, 3)


def test_smaller_than_asked_names_both_sizes(tmp_path):
    path = save(tmp_path / "a.png", photo(40, 60))
    with pytest.raises(UnusableImage, match="too small: 60 x 40, 41 needed"):
        decode(path, 41)
    assert decode(path, 40).shape == (40, 60, 3)


def test_text_called_jpg_is_not_readable(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_text("no photograph\n" * 100)
    with pytest.raises(UnusableImage, match="not readable"):
        decode(path)


def test_empty_file_is_not_readable(tmp_path):
    path = tmp_path / "a.png"
    path.touch()
    with pytest.raises(UnusableImage, match="not readable"):
        decode(path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "avif"])
def test_truncated_file_is_damaged(tmp_path, suffix):
    rng = np.random.default_rng(0)
    path = save(tmp_path / f"a.{suffix}", rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 6 // 10])
    with pytest.raises(UnusableImage, match=r"damaged: \S|not readable: \S"):
        decode(path)


def test_what_only_its_decoder_calls_damaged_is_unusable(tmp_path):
    path = save(tmp_path / "a.avif", photo())  # libavif's errors are RuntimeErrors
    whole = path.read_bytes()
    head = whole.index(b"mdat") + 4
    path.write_bytes(whole[:head] + bytes(len(whole) - head))
    with pytest.raises(UnusableImage, match="damaged: Failed to decode"):
        decode(path)


def test_missing_file_is_unusable(tmp_path):
    with pytest.raises(UnusableImage, match="No such file"):
        decode(tmp_path / "a.png")


@pytest.mark.parametrize(
    "name", ["A.JPG", "b.JpEg", "Grüße 日本.png", "two\nlines.png", "it's {x} %s.png"]
)
def test_any_name_is_read(tmp_path, name):
    close(decode(save(tmp_path / name, photo(), quality=98)), photo(), 12)


# ------------------------------------------------------------------------------ crops and streams


def test_centre_crop_of_odd_margins():
    image = np.arange(7 * 4).reshape(7, 4, 1)
    assert np.array_equal(images.centre_crop(image, 4), image[1:5])
    assert np.array_equal(images.centre_crop(image, 3), image[2:5, 0:3])


@pytest.mark.parametrize("threads", [1, 3])
def test_folder_images_keeps_order_and_yields_what_is_unusable(tmp_path, threads):
    names = [f"{index:02d}.png" for index in range(20)]
    for index, name in enumerate(names):
        save(tmp_path / name, np.full((40 + index, 50, 3), 10 * index, np.uint8))
    (tmp_path / names[3]).write_text("text")
    save(tmp_path / names[7], photo(31, 90))
    order = names[::-1]
    found = list(images.folder_images(tmp_path, order, 32, threads))
    assert [name for name, _ in found] == order
    unusable = {name: str(image) for name, image in found if isinstance(image, UnusableImage)}
    assert set(unusable) == {names[3], names[7]}
    assert "31" in unusable[names[7]]
    for name, image in found:
        if name not in unusable:
            assert image.shape == (32, 32, 3)
            assert np.all(image == 10 * int(name[:2]))


def test_folder_images_reads_names_as_they_are_needed(tmp_path):
    save(tmp_path / "a.png", photo())
    asked = []

    def names():
        for index in range(10_000):
            asked.append(index)
            yield "a.png"

    stream = images.folder_images(tmp_path, names(), 32, 2)
    for _ in range(3):
        next(stream)
    assert len(asked) < 20
    stream.close()


@pytest.mark.parametrize("split", ["train", "test"])
def test_embedded_crops_are_named_sized_and_deterministic(split):
    first = list(images.embedded_crops(split, 7, 48, seed=3))
    again = list(images.embedded_crops(split, 7, 48, seed=3))
    assert len({name for name, _ in first}) == 7
    for (name, image), (name_again, image_again) in zip(first, again, strict=True):
        assert name == name_again
        assert image.shape == (48, 48, 3)
        assert image.dtype == np.uint8
        assert np.array_equal(image, image_again)
        assert image.std() > 0


def test_embedded_training_crops_depend_on_the_seed_and_test_crops_do_not():
    def differ(split):
        pairs = zip(
            images.embedded_crops(split, 6, 32, 0),
            images.embedded_crops(split, 6, 32, 1),
            strict=True,
        )
        return [not np.array_equal(a, b) for (_, a), (_, b) in pairs]

    assert all(differ("train"))
    assert not any(differ("test"))


def test_embedded_splits_share_no_photograph():
    train, test = images.EMBEDDED["train"], images.EMBEDDED["test"]
    assert not set(train) & set(test)
    assert not set(train.values()) & set(test.values())


def test_first_test_crops_show_the_whole_centre_square():
    for name, image in images.embedded_crops("test", 2, 64, 0):
        photograph = images._photograph(*images.EMBEDDED["test"][name[:-4]])
        square = images.centre_crop(photograph, min(photograph.shape[:2]))
        reduced = Image.fromarray(square).resize((64, 64), Image.Resampling.LANCZOS)
        assert np.abs(image.astype(int) - np.asarray(reduced)).mean() < 3


def test_embedded_test_crops_all_differ():
    crops = [image for _, image in images.embedded_crops("test", 32, 32, 0)]
    assert len({crop.tobytes() for crop in crops}) == 32


def test_as_tensor_moves_the_channels_and_scales():
    batch = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)
    found = images.as_tensor(batch)
    assert found.shape == (2, 3, 5, 4)
    assert np.allclose(found.numpy(), batch.transpose(0, 3, 1, 2) / 255, atol=1e-7)
    assert batch.max() > 1


@pytest.mark.parametrize("count", [2, 3, 10, 97, 1000])
@pytest.mark.parametrize("share", [0.001, 0.1, 0.25, 0.5])
def test_the_images_held_out_are_a_share_spread_evenly(count, share):
    kept = images.held_out(count, share)
    rows = np.flatnonzero(kept)
    assert kept.shape == (count,)
    assert len(rows) == max(1, round(count * share))
    assert len(rows) < count
    gaps = np.diff([*rows, count + rows[0]])
    assert gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize(("count", "wanted"), [(800, 200), (97, 31), (40, 40), (10, 99), (1500, 2)])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.5])
def test_what_a_sample_holds_out_was_held_out_of_all(count, wanted, share):
    chosen = images.sample(count, wanted, share)
    assert len(chosen) == len(set(chosen.tolist())) == min(count, wanted)
    kept = images.held_out(count, share)
    assert np.array_equal(kept[chosen], images.held_out(len(chosen), share))
    learned = np.sort(chosen[~kept[chosen]])
    assert np.diff([-1, *learned, count]).max() <= 2 * -(-count // max(1, len(learned))) + 1


def test_some_images_are_spread_over_all_or_over_those_held_out():
    file = {"names": np.array([f"{i}".encode() for i in range(40)]), "images": np.arange(40)}
    names, pixels = images.some(file, 4)
    assert (names, pixels.tolist()) == (["5", "15", "25", "35"], [5, 15, 25, 35])
    held = np.flatnonzero(images.held_out(40, 0.1)).tolist()
    names, pixels = images.some(file, 100, 0.1)
    assert (names, pixels.tolist()) == ([str(i) for i in held], held)
    assert images.some(file, 2, 0.1)[1].tolist() == inventory.spread(held, 2)


# ------------------------------------------------------------------------------ hostile and huge files


def hostile(folder):
    """Everything a folder of photographs should not hold, beside one photograph."""
    save(folder / "a.png", photo())
    os.mkfifo(folder / "pipe.jpg")
    (folder / "nowhere.png").symlink_to(folder / "gone.png")
    (folder / "itself.png").symlink_to(folder / "itself.png")
    (folder / "device.png").symlink_to("/dev/zero")
    (folder / "round").symlink_to(folder)
    return ["a.png", "device.png", "itself.png", "nowhere.png", "pipe.jpg"]


def test_pipes_devices_and_links_to_nowhere_are_named_and_hold_up_nothing(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    names = hostile(folder)
    assert inventory.image_files(folder) == names
    hashes = inventory.content_hashes(folder, names, tmp_path / "cache.json")
    assert [name for name, value in hashes.items() if value] == ["a.png"]
    assert len(inventory.digest(hashes)) == 16
    found = dict(images.folder_images(folder, names, 32, 2))
    assert found["a.png"].shape == (32, 32, 3)
    for name in names[1:]:
        assert isinstance(found[name], UnusableImage)
    assert "a pipe, a device" in str(found["pipe.jpg"])
    assert "No such file" in str(found["nowhere.png"])
    with pytest.raises(ValueError, match=r"pipe\.jpg cannot be used .*remove it"):
        images.read(f"{folder}/pipe.jpg")


def black_png(path, width, height):
    """A two-coloured PNG of any size, a few bytes a million pixels."""
    packer, row = zlib.compressobj(9), bytes(1 + -(-width // 8))
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for kind, content in ((b"IHDR", header), (b"IDAT", data), (b"IEND", b"")):
            file.write(struct.pack(">I", len(content)) + kind + content)
            file.write(struct.pack(">I", zlib.crc32(kind + content)))
    return path


def memory_of(path, shorter_side=227):
    """What `decode` says, and by how many MiB it raises the memory of a fresh process."""
    code = (
        "import resource, sys; from PIL import Image; from deep_restoration import images\n"
        "def most(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "Image.preinit(); before = most()\n"
        "try: found = images.decode(sys.argv[1], int(sys.argv[2])).shape\n"
        "except images.UnusableImage as error: found = error\n"
        "print(found, most() - before, sep='|')"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(images.__file__).parent.parent)}
    command = [sys.executable, "-W", "ignore", "-c", code, path, str(shorter_side)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found, more = done.stdout.split("|")
    return found, float(more)


def test_a_decompression_bomb_is_refused_before_it_is_decoded(tmp_path):
    path = black_png(tmp_path / "a.png", 60000, 60000)
    assert path.stat().st_size < 500_000
    found, more = memory_of(path)
    assert found.startswith("not readable: Image size (3600000000 pixels) exceeds limit")
    assert more < 50


LIMITS = {"jpg": 60, "RGB": 330, "RGBA": 560, "I;16": 480, "P": 400}


@pytest.mark.parametrize("kind", LIMITS)
def test_photographs_of_60_megapixels_take_bounded_memory(tmp_path, kind):
    """MiB beside what the libraries take; 60 million pixels of 3 bytes are 172."""
    line = np.linspace(0, 255, 9000).astype(np.uint8)
    grey = Image.fromarray(np.broadcast_to(line, (6667, 9000)).copy())
    path = tmp_path / ("a.jpg" if kind == "jpg" else "a.png")
    if kind == "I;16":
        Image.fromarray(np.asarray(grey).astype(np.uint16) * 257).save(path, compress_level=1)
    else:
        grey.convert("RGB" if kind == "jpg" else kind).save(path, compress_level=1)
    found, more = memory_of(path)
    assert found == "(227, 306, 3)"
    assert more < LIMITS[kind]
