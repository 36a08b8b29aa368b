"""Decoding, cropping and streaming of photographs, on files written here."""

import errno
import os
import struct
import subprocess
import sys
import zlib
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deep_restoration.data import images, inventory, splits
from deep_restoration.data.images import UnusableImage, decode
from deep_restoration.files import hashing


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


def png_of(*chunks):
    result = b"\x89PNG\r\n\x1a\n"
    for kind, content in chunks:
        result += struct.pack(">I", len(content)) + kind + content
        result += struct.pack(">I", zlib.crc32(kind + content))
    return result


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


RAMP = np.linspace(0, 1, 40 * 60).reshape(40, 60)
WANTED = np.round(255 * RAMP)


def tiff(path, values, **options):
    import tifffile

    tifffile.imwrite(path, values, **options)
    return path


def with_pixel(values, value):
    values = values.astype(np.float32)
    values[3, 4] = value
    return values


NUMBERS = {  # values of a grey TIFF, by type, that are a ramp from black to white
    "floats in 0..1": RAMP.astype(np.float32),
    "doubles": RAMP,
    "halves": RAMP.astype(np.float16),
    "floats in 0..255": (255 * RAMP).astype(np.float32),
    "floats in 0..65535": (65535 * RAMP).astype(np.float32),
    "floats, sharpened": np.clip(1.4 * RAMP - 0.2, -0.2, 1.2).astype(np.float32),
    "unsigned 16": np.round(65535 * RAMP).astype(np.uint16),
    "unsigned 16, the other bytes first": np.round(65535 * RAMP).astype(">u2"),
    "unsigned 16 in 0..255": WANTED.astype(np.uint16),
    "signed 8": np.round(127 * RAMP).astype(np.int8),
    "signed 16": np.round(32767 * RAMP).astype(np.int16),
    "signed 16 in 0..255": WANTED.astype(np.int16),
    "signed 32 in 0..255": WANTED.astype(np.int32),
    "signed 32 in 0..65535": np.round(65535 * RAMP).astype(np.int32),
    "signed 32": np.round((2**31 - 1) * RAMP).astype(np.int32),
    "unsigned 32": np.round((2**32 - 1) * RAMP).astype(np.uint32),
}


@pytest.mark.parametrize(
    ("kind", "channels"),  # of 16-bit colours Pillow drops the lower bytes: see below
    [(k, n) for k in NUMBERS for n in (1, 3) if (k, n) != ("unsigned 16 in 0..255", 3)],
)
def test_tiff_of_any_numbers_has_its_range(tmp_path, kind, channels):
    values, expected = NUMBERS[kind], WANTED
    order = values.dtype.byteorder if values.dtype.byteorder == ">" else "<"
    if "sharpened" in kind:
        expected = np.round(255 * np.clip(1.4 * RAMP - 0.2, 0, 1))
    if channels == 3:
        values = np.stack([values, values[::-1], values[:, ::-1]], axis=2)
        expected = np.stack([expected, expected[::-1], expected[:, ::-1]], axis=2)
    else:
        expected = np.repeat(expected[..., None], 3, axis=2)
    colours = "rgb" if channels == 3 else "minisblack"
    path = tiff(tmp_path / "a.tif", values, photometric=colours, byteorder=order)
    close(decode(path), expected.astype(np.uint8), 2 if kind == "signed 8" else 1)


@pytest.mark.parametrize("kind", ["floats in 0..1", "unsigned 16", "signed 16"])
def test_tiff_with_a_plane_for_each_colour(tmp_path, kind):
    planes = np.stack([NUMBERS[kind], NUMBERS[kind][::-1], NUMBERS[kind][:, ::-1]])
    path = tiff(tmp_path / "a.tif", planes, photometric="rgb", planarconfig="separate")
    expected = np.stack([WANTED, WANTED[::-1], WANTED[:, ::-1]], axis=2)
    close(decode(path), expected.astype(np.uint8), 1)


@pytest.mark.parametrize("kind", ["floats in 0..1", "doubles", "unsigned 16", "signed 16"])
def test_tiff_whose_zero_is_white_is_no_negative(tmp_path, kind):
    found = decode(tiff(tmp_path / "a.tif", NUMBERS[kind], photometric="miniswhite"))
    close(found[..., 0], (255 - WANTED).astype(np.uint8), 1)


@pytest.mark.parametrize("kind", ["bytes", "unsigned 16", "halves"])
def test_orientation_of_a_tiff_is_applied_once(tmp_path, kind):
    values = WANTED.astype(np.uint8) if kind == "bytes" else NUMBERS[kind]
    path = tiff(tmp_path / "a.tif", values, extratags=[(274, 3, 1, 6, False)])
    close(decode(path)[..., 1], np.rot90(WANTED, -1).astype(np.uint8), 1)
    assert decode(path, 30).shape == (45, 30, 3)


IMPLAUSIBLE = {
    "NaN": (with_pixel(RAMP, np.nan), "1 of 2400 values are NaN or infinite"),
    "infinite": (with_pixel(RAMP, np.inf), "1 of 2400 values are NaN or infinite"),
    "minus infinite": (with_pixel(RAMP, -np.inf), "1 of 2400 values are NaN or infinite"),
    "a bright pixel among 0..1": (
        with_pixel(RAMP, 37),
        r"values from 0 to 37, nearly all up to 0\.99",
    ),
    "-1..1": (
        (2 * RAMP - 1).astype(np.float32),
        r"from -1 to 1.*\(0\.\.1, 0\.\.255, 0\.\.65535\): rescale",
    ),
    "10 bits as floats": ((1023 * RAMP).astype(np.float32), "from 0 to 1023"),
    "normalised doubles": (4.7 * RAMP - 2.1, r"from -2\.1 to 2\.6"),
    "12 bits as floats": ((4095 * RAMP).astype(np.float32), "from 0 to 4095"),
    "metres": ((4800 * RAMP).astype(np.float32), "from 0 to 4800"),
    "faint": ((0.003 * RAMP).astype(np.float32), r"from 0 to 0\.003.*rescale"),
    "no data": (with_pixel(200 * RAMP, -3.4e38), r"from -3\.4e\+38 to 200"),
    "14 bits": (np.round(16383 * RAMP).astype(np.uint16), r"from 0 to 16383.*rescale"),
    "Hounsfield": (np.round(4095 * RAMP - 1024).astype(np.int16), "from -1024 to 3071"),
    "counts": (np.round(3e6 * RAMP).astype(np.uint32), r"from 0 to 3e\+06"),
    "a mask": ((RAMP > 0.5).astype(np.int32), "from 0 to 1, "),
    "12 bits": (
        np.round(4095 * RAMP).astype(np.uint16),
        r"from 0 to 4095.*\(0\.\.255, 0\.\.65535\)",
    ),
    "labels": (np.round(5 * RAMP).astype(np.uint16), "from 0 to 5"),
    "differences": (np.round(500 * RAMP - 250).astype(np.int16), "from -250 to 250"),
    "signed bytes": (
        np.round(200 * RAMP - 100).astype(np.int8),
        r"from -100 to 100.*\(0\.\.127, 0\.\.255\)",
    ),
    "large integers": (np.round(1e6 * RAMP).astype(np.int32), r"from 0 to 1e\+06"),
    "complex": (RAMP.astype(np.complex64), "not readable: a TIFF of .*complex64.*convert it"),
}


@pytest.mark.parametrize("kind", IMPLAUSIBLE)
def test_tiff_of_numbers_that_fit_no_range_is_refused(tmp_path, kind):
    values, message = IMPLAUSIBLE[kind]
    with pytest.raises(UnusableImage, match=message):
        decode(tiff(tmp_path / "a.tif", values))


def test_colours_of_floats_that_are_not_finite_are_refused(tmp_path):
    values = np.stack([with_pixel(RAMP, np.nan)] * 3, axis=2)
    with pytest.raises(UnusableImage, match="3 of 7200 values are NaN"):
        decode(tiff(tmp_path / "a.tif", values, photometric="rgb"))
    with pytest.raises(
        UnusableImage, match=r"a TIFF of 40 x 60 x 2 values of float32, MINISBLACK; convert"
    ):
        decode(
            tiff(
                tmp_path / "b.tif", values[..., :2], photometric="minisblack", planarconfig="contig"
            )
        )


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("bits", [12, 14])
def test_fewer_bits_in_16_are_refused_in_colour_and_grey(tmp_path, suffix, bits):
    values = np.round((2**bits - 1) * RAMP).astype(np.uint16)
    path = tmp_path / f"a.{suffix}"
    with pytest.raises(UnusableImage, match=f"from 0 to {2**bits - 1}"):
        decode(save(path, values))
    colours = np.stack([values] * 3, axis=2)
    if suffix == "png":  # which Pillow does not write
        data = zlib.compress(b"".join(b"\0" + row.astype(">u2").tobytes() for row in colours))
        header = struct.pack(">IIBBBBB", 60, 40, 16, 2, 0, 0, 0)
        path.write_bytes(png_of((b"IHDR", header), (b"IDAT", data), (b"IEND", b"")))
    else:
        tiff(path, colours, photometric="rgb")
    with pytest.raises(UnusableImage, match="16-bit colours, nearly all below 16384: rescale"):
        decode(path)


@pytest.mark.parametrize("kind", [np.uint16, np.int16, np.int32, np.float32])
def test_black_is_black(tmp_path, kind):
    assert not decode(tiff(tmp_path / "a.tif", np.zeros((40, 60), kind))).any()


def test_packed_12_bits_say_what_white_is(tmp_path):
    values = np.round(4095 * RAMP).astype(int).ravel()
    first, second = values[::2], values[1::2]
    packed = np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], axis=1)
    tags = {256: 60, 257: 40, 258: 12, 259: 1, 262: 1, 273: 122, 277: 1, 278: 40, 279: packed.size}
    path = tmp_path / "a.tif"
    entries = b"".join(struct.pack("<HHII", key, 4, 1, value) for key, value in tags.items())
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    path.write_bytes(head + packed.astype(np.uint8).tobytes())
    close(decode(path)[..., 0], WANTED.astype(np.uint8), 1)


def test_pgm_says_what_white_is_and_may_be_dark(tmp_path):
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P5 60 40 4095\n" + np.round(200 * RAMP).astype(">u2").tobytes())
    close(decode(path)[..., 0], np.round(255 * 200 / 4095 * RAMP).astype(np.uint8), 1)


def test_preview_and_sensor_data_of_raw_files_are_refused(tmp_path):
    """A DNG has a small preview first, and what the sensor saw is one colour per pixel."""
    path = tiff(tmp_path / "a.tif", photo(), photometric="rgb", subfiletype=1)
    with pytest.raises(UnusableImage, match="a preview of a larger image comes first"):
        decode(path)
    pattern = [(33421, 3, 2, (2, 2), False), (33422, 1, 4, (0, 1, 1, 2), False)]
    values = NUMBERS["unsigned 16"]
    path = tiff(tmp_path / "b.tif", values, photometric="cfa", extratags=pattern)
    with pytest.raises(UnusableImage, match=r"not readable: a TIFF of .*CFA; convert it"):
        decode(path)


def white_of(values, whites):
    """The rule, word by word."""
    values = [float(value) for value in values]
    for top in whites:
        inside = all(-top / 4 <= value <= 1.25 * top for value in values) and max(values) >= 0
        black = all(value == 0 for value in values)
        bright = 1 / 64 if top == 1 else top / 4
        share = sum(value >= bright for value in values) / len(values)
        if inside and (len(whites) == 1 or black or share >= 1 / 1000):
            return top
    return None


def test_white_follows_its_rule():
    rng, found = np.random.default_rng(0), []
    for _ in range(600):
        high = 10.0 ** rng.uniform(-2, 6)
        values = rng.uniform(-high * rng.choice([0, 0.1, 0.5]), high, 1500)
        values[rng.uniform(size=1500) > 10 ** rng.uniform(-4, 0)] *= 10.0 ** rng.integers(-4, 1)
        whites = [(1, 255, 65535), (255, 65535), (4095,)][rng.integers(3)]
        found.append(images.white(values, whites))
        assert found[-1] == white_of(values, whites)
    assert min(found.count(item) for item in (1, 255, 65535, 4095, None)) > 15


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
    with pytest.raises(UnusableImage, match=r"^not readable: (?!.*built without).*\S$"):
        decode(path)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("floats in 0..1", {"compression": "zlib"}),
        ("floats in 0..255", {"tile": (16, 16)}),
        ("doubles", {"bigtiff": True}),
        ("halves", {"compression": "zlib", "tile": (32, 32)}),
        ("unsigned 16", {"imagej": True}),
    ],
)
def test_tiff_however_it_is_laid_out(tmp_path, kind, options):
    close(
        decode(tiff(tmp_path / "a.tif", NUMBERS[kind], **options))[..., 0],
        WANTED.astype(np.uint8),
        1,
    )


@pytest.mark.parametrize("packing", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "zstd"])
def test_packed_grey_tiff_with_and_without_differences(tmp_path, packing):
    for values, predictor in ((NUMBERS["floats in 0..255"], 3), (NUMBERS["unsigned 16"], 2)):
        options = {} if packing == "packbits" else {"tiffinfo": {317: predictor}}
        path = save(tmp_path / "a.tif", values, compression=packing, **options)
        close(decode(path)[..., 0], WANTED.astype(np.uint8), 1)


def packed_tiff(path, packing):
    """An RGB TIFF of floats that says it is packed, with nothing of use in it."""
    path = tiff(path, np.zeros((40, 60, 3), np.float32), photometric="rgb")
    content = bytearray(path.read_bytes())
    place = content.index(struct.pack("<HHI", 259, 3, 1)) + 8
    content[place : place + 2] = struct.pack("<H", packing)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("packing", "name"), [(5, "LZW"), (50000, "ZSTD"), (34887, "LERC")])
def test_packed_colours_of_floats_name_the_package_that_unpacks_them(
    tmp_path, monkeypatch, packing, name
):
    """Nothing says that the file is damaged."""
    path = packed_tiff(tmp_path / "a.tif", packing)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    forget_tifffile(monkeypatch)
    message = (
        f"^not readable: a TIFF of 40 x 60 x 3 values of float32, RGB, packed with {name}, needs "
    )
    with pytest.raises(UnusableImage, match=message + "imagecodecs: pip install imagecodecs$"):
        decode(path)


def forget_tifffile(monkeypatch):
    """It chooses once whether it unpacks by itself."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "tifffile"]:
        monkeypatch.delitem(sys.modules, name)


def test_packed_colours_of_floats_are_read_where_the_package_is(tmp_path, monkeypatch):
    pytest.importorskip("imagecodecs")
    forget_tifffile(monkeypatch)
    values = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], axis=2).astype(np.float32)
    options = {"photometric": "rgb", "compression": "lzw", "predictor": True}
    close(
        decode(tiff(tmp_path / "a.tif", values, **options)),
        np.round(255 * values).astype(np.uint8),
        1,
    )


AVIF_START = b"\0\0\0\x20ftypavif\0\0\0\0avifmif1miafMA1B"
INSTEAD = {
    b"": "an empty file",
    bytes(5000): "zeros alone",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n": r"Git LFS \(git lfs pull fetches",
    b"\xef\xbb\xbf\n<!DOCTYPE html><title>404": "a web page in place of the image",
    b'{"error": "rate limit"}': "JSON in place",
    b"words": "no image",
    AVIF_START: "AVIF, cut off or of an unknown kind",
}


@pytest.mark.parametrize("content", INSTEAD, ids=list(INSTEAD.values()))
def test_what_is_called_an_image_and_is_none_is_named(tmp_path, content):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(UnusableImage, match=f"^not readable: .*{INSTEAD[content]}"):
        decode(tmp_path / "a.jpg")


def test_unreadable_exif_takes_no_photograph_away(tmp_path):
    header = struct.pack(">IIBBBBB", 60, 40, 8, 2, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in photo()))
    chunks = [(b"IHDR", header), (b"eXIf", b"garbage"), (b"IDAT", data), (b"IEND", b"")]
    (tmp_path / "a.png").write_bytes(png_of(*chunks))
    assert np.array_equal(decode(tmp_path / "a.png"), photo())


@pytest.mark.parametrize("suffix", ["png", "webp", "avif", "heic"])
def test_orientation_is_applied_once_whatever_the_format(tmp_path, suffix):
    if suffix == "heic":
        pytest.importorskip("pillow_heif").register_heif_opener()
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.fromarray(photo())
    image.info["exif"] = exif.tobytes()  # from which HEIC's own turn is taken
    more = {"webp": {"lossless": True}, "png": {}}.get(suffix, {"quality": 95})
    path = save(tmp_path / f"a.{suffix}", image, exif=exif.tobytes(), **more)
    close(decode(path), np.rot90(photo(), -1), 12)
    assert decode(path, 30).shape == (45, 30, 3)


@pytest.mark.parametrize("suffix", ["webp", "png", "gif", "tif"])
def test_of_several_pictures_the_first_is_read(tmp_path, suffix):
    first, second = Image.fromarray(photo()), Image.fromarray(255 - photo())
    more = {"lossless": True} if suffix == "webp" else {}
    path = save(tmp_path / f"a.{suffix}", first, save_all=True, append_images=[second], **more)
    close(decode(path), photo(), 20)  # of GIF, colours of a palette


def test_what_only_its_decoder_calls_damaged_is_unusable(tmp_path):
    path = save(tmp_path / "a.avif", photo())  # libavif's errors are RuntimeErrors
    whole = path.read_bytes()
    head = whole.index(b"mdat") + 4
    path.write_bytes(whole[:head] + bytes(len(whole) - head))
    with pytest.raises(UnusableImage, match="not readable: Failed to decode"):
        decode(path)


def test_missing_file_is_unusable(tmp_path):
    with pytest.raises(UnusableImage, match="No such file"):
        decode(tmp_path / "a.png")


@pytest.mark.parametrize(
    "name", ["A.JPG", "b.JpEg", "Grüße 日本.png", "two\nlines.png", "it's {x} %s.png"]
)
def test_any_name_is_read(tmp_path, name):
    close(decode(save(tmp_path / name, photo(), quality=98)), photo(), 12)


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENOTCONN])
def test_no_image_is_left_out_for_what_the_system_does(tmp_path, monkeypatch, code):
    """With images.unusable: skip, it would be missing from then on."""
    path = save(tmp_path / "a.png", photo())

    def fail(*_, **__):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Image, "open", fail)
    with pytest.raises(OSError, match=rf"{os.strerror(code)}.*a\.png"):
        decode(path)


def test_an_image_without_permission_is_unusable_and_not_called_damaged(
    ordinary_folder, ordinary_user
):
    path = save(ordinary_folder / "a.png", photo())
    path.chmod(0)
    with ordinary_user(), pytest.raises(UnusableImage, match=r"^not readable: Permission denied"):
        decode(path)


HEIC = b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf" + bytes(100)


@pytest.mark.parametrize("suffix", ["heic", "jpg"])
def test_heic_names_the_package_that_reads_it(tmp_path, monkeypatch, suffix):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as if it were not installed
    monkeypatch.setattr(Image, "ID", [name for name in Image.ID if name != "HEIF"])
    assert not inventory.reads_heic()
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(HEIC)
    with pytest.raises(UnusableImage, match="HEIC, which needs pillow-heif: pip install"):
        decode(path)


def test_heic_is_read_where_the_package_is(tmp_path):
    pytest.importorskip("pillow_heif").register_heif_opener()
    path = save(tmp_path / "a.heic", photo(), quality=95)
    close(decode(path), photo(), 12)
    path.rename(tmp_path / "a.jpg")
    close(decode(tmp_path / "a.jpg"), photo(), 12)
    assert inventory.image_files(tmp_path) == ["a.jpg"]
    save(tmp_path / "b", photo(), format="HEIF")
    save(tmp_path / "c.HEIC", photo())
    assert inventory.image_files(tmp_path) == ["a.jpg", "b", "c.HEIC"]


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


def test_four_photographs_are_test_images_by_default():
    names = [name for name, _ in images.embedded_crops("test", 8, 32, 0)]
    assert [images.photograph(name) for name in names] == 2 * list(images.EMBEDDED["test"])
    assert len(images.EMBEDDED["test"]) == 4


@pytest.mark.parametrize(
    ("name", "photograph"),
    [
        ("chelsea-000", "chelsea"),
        ("grace_hopper-1499", "grace_hopper"),
        ("IMG-000.jpg", "IMG-000.jpg"),  # files are photographs of their own
        ("IMG-001.jpg", "IMG-001.jpg"),
        ("cat-01", "cat-01"),
    ],
)
def test_crops_share_their_photograph(name, photograph):
    assert images.photograph(name) == photograph


def test_embedded_splits_share_no_photograph():
    train, test = images.EMBEDDED["train"], images.EMBEDDED["test"]
    assert not set(train) & set(test)
    assert not set(train.values()) & set(test.values())


def test_embedded_photographs_come_with_the_packages_themselves():
    """Others of scikit-image's would be downloaded."""
    packages = {"skimage": "scikit-image", "sklearn": "scikit-learn", "matplotlib": "matplotlib"}
    for package, file in [*images.EMBEDDED["train"].values(), *images.EMBEDDED["test"].values()]:
        installed = {str(path) for path in metadata.files(packages[package]) or []}
        assert f"{package}/{file}" in installed


def test_first_test_crops_show_the_whole_centre_square():
    for name, image in images.embedded_crops("test", 4, 64, 0):
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
    kept = splits.held_out(count, share)
    rows = np.flatnonzero(kept)
    assert kept.shape == (count,)
    assert len(rows) == max(1, round(count * share))
    assert len(rows) < count
    gaps = np.diff([*rows, count + rows[0]])
    assert gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize(("count", "wanted"), [(800, 200), (97, 31), (40, 40), (10, 99), (1500, 2)])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.5])
def test_what_a_sample_holds_out_was_held_out_of_all(count, wanted, share):
    chosen = splits.sample(count, wanted, share)
    assert len(chosen) == len(set(chosen.tolist())) == min(count, wanted)
    kept = splits.held_out(count, share)
    assert np.array_equal(kept[chosen], splits.held_out(len(chosen), share))
    learned = np.sort(chosen[~kept[chosen]])
    assert np.diff([-1, *learned, count]).max() <= 2 * -(-count // max(1, len(learned))) + 1


@pytest.mark.parametrize("count", [1, 2, 3, 40])
def test_a_sample_of_no_given_size_is_all_images(count):
    assert sorted(splits.sample(count, None, 0.1)) == list(range(count))


def test_some_images_are_spread_over_all_or_over_those_held_out():
    file = {"names": np.array([f"{i}".encode() for i in range(40)]), "images": np.arange(40)}
    names, pixels = splits.some(file, 4)
    assert (names, pixels.tolist()) == (["5", "15", "25", "35"], [5, 15, 25, 35])
    held = np.flatnonzero(splits.held_out(40, 0.1)).tolist()
    names, pixels = splits.some(file, 100, 0.1)
    assert (names, pixels.tolist()) == ([str(i) for i in held], held)
    assert splits.some(file, 2, 0.1)[1].tolist() == splits.evenly_spaced(held, 2)


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
    hashes = hashing.content_hashes(folder, names, tmp_path / "cache.json")
    assert [name for name, value in hashes.items() if value] == ["a.png"]
    assert len(hashing.digest(hashes)) == 16
    found = dict(images.folder_images(folder, names, 32, 2))
    assert found["a.png"].shape == (32, 32, 3)
    for name in names[1:]:
        assert isinstance(found[name], UnusableImage)
    assert "a pipe, a device" in str(found["pipe.jpg"])
    assert "No such file" in str(found["nowhere.png"])
    with pytest.raises(ValueError, match=r"pipe\.jpg cannot be used .*take it out"):
        images.read(f"{folder}/pipe.jpg")


def black_png(path, width, height):
    """A two-coloured PNG of any size, a few bytes a million pixels."""
    packer, row = zlib.compressobj(9), bytes(1 + -(-width // 8))
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    path.write_bytes(png_of((b"IHDR", header), (b"IDAT", data), (b"IEND", b"")))
    return path


def memory_of(path, shorter_side=227):
    """What `decode` says, and by how many MiB it raises the memory of a fresh process."""
    code = (
        "import resource, sys; from PIL import Image; from deep_restoration.data import images\n"
        "def most(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "Image.preinit(); before = most()\n"
        "try: found = images.decode(sys.argv[1], int(sys.argv[2])).shape\n"
        "except images.UnusableImage as error: found = error\n"
        "print(found, most() - before, sep='|')"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(images.__file__).parents[2])}
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
