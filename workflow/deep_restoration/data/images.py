"""Photographs as stored material: decoded, oriented, cropped to squares, uint8 RGB.

Two sources: the natural colour photographs that scikit-image, scikit-learn and matplotlib carry in
their packages (`embedded`, train and test photographs disjoint), and a folder of image files.
"""

from __future__ import annotations

import functools
import math
import os
import re
import stat
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from importlib.resources import files
from pathlib import Path
from typing import IO

import numpy as np

from ..files.hdf5 import open_hdf5
from .inventory import HEIC, PASSING, beginning, format_of, reads_heic

# Photographs only: no drawings, textures, microscopy or sky surveys.
EMBEDDED = {
    "train": {
        "astronaut": ("skimage", "data/astronaut.png"),
        "china": ("sklearn", "datasets/images/china.jpg"),
        "hubble": ("skimage", "data/hubble_deep_field.jpg"),
        "motorcycle": ("skimage", "data/motorcycle_left.png"),
        "rocket": ("skimage", "data/rocket.jpg"),
    },
    "test": {
        "chelsea": ("skimage", "data/chelsea.png"),
        "coffee": ("skimage", "data/coffee.png"),
        "flower": ("sklearn", "datasets/images/flower.jpg"),
        "grace_hopper": ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg"),
    },
}

# Where the closer test views lie, as fractions of the free width and height.
QUARTERS = ((0.1, 0.2), (0.9, 0.8), (0.9, 0.2), (0.1, 0.8))

# Larger ones, in pixels, are decoded one at a time, whatever the number of threads: they take up to
# 8 bytes per pixel, and Pillow refuses images of more than 179 million.
LARGE = 40_000_000
_large = threading.Lock()


# Tags of TIFF that describe its values, by number.
PREVIEW, BITS, PHOTOMETRIC, ORIENTATION, PLANAR, KIND = 254, 258, 262, 274, 284, 339
WHITE_IS_ZERO, SIGNED = 0, 2


# How files begin that are named like images but hold something else, in small letters.
INSTEAD = {
    b"version https://git-lfs": "a pointer of Git LFS (git lfs pull fetches the file)",
    b"<!doctype html": "a web page",
    b"<html": "a web page",
    b"<svg": "an SVG drawing",
    b"<?xml": "XML",
    b"{": "JSON",
    b"%pdf": "a PDF",
}


class UnusableImage(ValueError):  # noqa: N818 (a fact about a file, not about the program)
    """An image file that cannot be used; the message says why."""


def decode(path: str | os.PathLike | IO[bytes], shorter_side: int | None = None) -> np.ndarray:
    """Read any photograph as H x W x 3 uint8 sRGB.

    Grey, 16-bit, float, palette, CMYK and transparent images are converted (transparency over white),
    and the EXIF orientation is applied. Colour profiles are not, as where the published classifiers were
    trained: wide colours are a little paler. With `shorter_side`, the image is reduced so that its shorter
    side has that many pixels; large JPEGs are then decoded at reduced size, which is much faster.
    Raises UnusableImage when the file cannot be read, is smaller than `shorter_side`, or holds numbers
    that fit no range of brightness (see `white`), and OSError for faults of a disk or network.
    """
    from PIL import Image, ImageOps

    _read_heic_too()
    try:
        if isinstance(path, str | os.PathLike) and not stat.S_ISREG(os.stat(path).st_mode):
            raise UnusableImage("no file but a pipe, a device or a folder")
        with _open(path) as image:
            width, height = image.size
            if shorter_side and min(width, height) < shorter_side:
                raise UnusableImage(f"too small: {width} x {height}, {shorter_side} needed")
            large = width * height > LARGE
            if shorter_side and image.format == "JPEG":
                scale = 2 * shorter_side / min(width, height)  # twice the size keeps it sharp
                image.draft(None, (int(width * scale), int(height * scale)))
            with _large if large else nullcontext():
                cut = _is_cut_to_8_bits(image)
                with suppress(SyntaxError):  # malformed EXIF gives no orientation
                    ImageOps.exif_transpose(image, in_place=True)
                rgb = _to_rgb(image, shorter_side)
                if cut and not _shows(np.asarray(rgb), 64):
                    raise UnusableImage("16-bit colours, nearly all below 16384: rescale them")
    except (UnusableImage, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise UnusableImage(f"not readable: {error}") from None
    except Exception as error:  # what Pillow's decoders raise on damaged files is not one family
        code = getattr(error, "errno", None)
        if code in PASSING:
            raise OSError(code, os.strerror(code), str(path)) from error
        reason = " ".join(str(error).split()) or type(error).__name__
        if reason.startswith("decoder error"):
            reason += ", of a damaged file or of a compression that this Pillow was built without"
        raise UnusableImage(f"not readable: {os.strerror(code) if code else reason}") from None
    return np.asarray(rgb)


@functools.cache
def _read_heic_too() -> None:
    with suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()


def of_pillow(image, shorter_side: int | None = None) -> np.ndarray:
    """A Pillow image as H x W x 3 uint8 sRGB, turned, converted and reduced as `decode` does with a file."""
    from PIL import ImageOps

    if shorter_side and min(image.size) < shorter_side:
        width, height = image.size
        raise UnusableImage(f"too small: {width} x {height}, {shorter_side} needed")
    return np.asarray(_to_rgb(ImageOps.exif_transpose(image), shorter_side))


def read(path: str) -> np.ndarray:
    """`decode`, but what cannot be used is a ValueError that names the file."""
    try:
        return decode(path)
    except UnusableImage as error:
        raise ValueError(
            f"the image {path} cannot be used ({error}); mend it or take it out of its folder"
        ) from None


def _open(path):
    """The Pillow image of a file, not decoded yet, except for kinds of TIFF that Pillow does not read."""
    from PIL import Image, TiffImagePlugin, UnidentifiedImageError, features

    try:
        image = Image.open(path)
    except UnidentifiedImageError:
        start = beginning(path) if isinstance(path, str | os.PathLike) else b""
        what = format_of(start)
        if what == "TIFF":
            return _open_tiff(path)
        if what == "HEIC" and not reads_heic():
            found = HEIC
        elif what == "AVIF" and not features.check("avif"):
            found = "AVIF, which this Pillow was built without"
        else:
            found = f"{what}, cut off or of an unknown kind" if what else _no_image(start)
        raise UnusableImage(f"not readable: {found}") from None
    if image.format != "TIFF" or not isinstance(image, TiffImagePlugin.TiffImageFile):
        return image
    image.filename = ""  # else Pillow maps the file into memory, and reads turned images as noise
    bits, tags = max(image.tag_v2.get(BITS, (1,))), image.tag_v2
    # It also reads planes of more than 8 bits as noise, and signed bytes as unsigned ones.
    if (tags.get(PLANAR) == 2 and bits > 8) or (SIGNED in tags.get(KIND, ()) and bits == 8):
        image.close()
        return _open_tiff(path)
    if tags.get(PREVIEW, 0) & 1:
        image.close()
        raise UnusableImage("a preview of a larger image comes first: a camera's RAW file?")
    return image


def _no_image(start: bytes) -> str:
    """What a file with this beginning is, if its name is that of an image but its content is not."""
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for sign, what in INSTEAD.items():
        if text.startswith(sign):
            return f"{what} in place of the image"
    return "no image" if start.strip(b"\0") else "zeros alone" if start else "an empty file"


def _open_tiff(path):
    """A TIFF of one or three channels of floats or integers as an image of 8 bits."""
    import tifffile
    from PIL import Image

    with suppress(ImportError):
        import imagecodecs  # noqa: F401 (tifffile's own; named for the fingerprint, as it decides what is read)

    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        form, colours = " x ".join(map(str, page.shape)), page.photometric
        kind = f"a TIFF of {form} values of {page.dtype}, {getattr(colours, 'name', colours)}"
        if page.subfiletype & 1 or page.photometric not in (WHITE_IS_ZERO, 1, 2):
            raise UnusableImage(f"not readable: {kind}; convert it")
        if page.dtype is None or page.dtype.kind not in "iuf":
            raise UnusableImage(f"not readable: {kind}; convert it")
        if math.prod(page.shape) > 3 * LARGE:
            raise UnusableImage(f"too large for its kind: {kind}")
        try:
            values = page.asarray()
        except (ValueError, ImportError) as error:
            if isinstance(error, ImportError) or "imagecodecs" in str(error):
                packed = getattr(page.compression, "name", page.compression)
                raise UnusableImage(
                    f"not readable: {kind}, packed with {packed}, needs imagecodecs: pip install imagecodecs"
                ) from None
            raise
        if page.planarconfig == 2 and values.ndim == 3:
            values = values.transpose(1, 2, 0)
        if values.ndim != 2 and values.shape[2:] != (3,):
            raise UnusableImage(f"not readable: {kind}; convert it")
        inverted = page.photometric == WHITE_IS_ZERO
        image = Image.fromarray(_to_8_bits(values, _whites(values.dtype), inverted))
        if orientation := page.tags.get(ORIENTATION):
            image.getexif()[ORIENTATION] = orientation.value
    return image


def _is_cut_to_8_bits(image) -> bool:
    """Whether Pillow keeps the upper halves of 16-bit colours only, so that their range is lost."""
    raw = " ".join(str(tile[3]) for tile in getattr(image, "tile", ()))
    return image.format in ("PNG", "TIFF") and image.mode in ("RGB", "RGBA", "LA") and ";16" in raw


def _to_rgb(image, shorter_side: int | None):
    """A Pillow image in RGB, made in few copies because an image may be large: reduced first where
    possible."""
    from PIL import Image

    if image.mode.startswith("I") or image.mode == "F":
        image = _in_8_bits(image)
    elif image.has_transparency_data:
        image = image if image.mode == "RGBA" else image.convert("RGBA")
    elif image.mode not in ("L", "RGB"):
        image = image.convert("L" if image.mode == "1" else "RGB")
    if shorter_side:
        image = _reduce(image, shorter_side)
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _in_8_bits(image):
    """An 8-bit grey Pillow image of one that holds floats or more bits."""
    from PIL import Image

    values, tags = np.asarray(image), getattr(image, "tag_v2", {})
    whites = _whites(values.dtype)
    if image.mode == "F":
        pass
    elif image.format in ("PPM", "JPEG2000"):
        whites = (65535,)  # what they call white, as Pillow scales it
    elif image.format == "TIFF":  # Pillow has one mode for most
        bits, signed = tags[BITS][0], SIGNED in tags.get(KIND, ())
        if bits % 16:
            whites = (2**bits - 1,)
        else:
            values = values.view(np.uint32) if bits == 32 and not signed else values
            whites = _whites(np.dtype(f"{'i' if signed else 'u'}{bits // 8}"))
    return Image.fromarray(_to_8_bits(values, whites, tags.get(PHOTOMETRIC) == WHITE_IS_ZERO))


def _whites(kind: np.dtype) -> tuple[float, ...]:
    """The values that may be white for a type of number: the file itself does not define it."""
    if kind.kind == "f":
        return 1, 255, 65535
    most = int(np.iinfo(kind).max)
    return tuple(sorted({255, min(65535, most), most}))


def white(values: np.ndarray, whites: tuple[float, ...]) -> float | None:
    """What is white among finite values: the first of `whites` that they fit, if any.

    They fit when they exceed 0..white by at most a quarter of white, as after resampling and sharpening, and
    when at least one in a thousand reaches a quarter of white: otherwise 14 bits in 16, or floats in 0..1
    with one bright pixel, would become dark images without a warning. For white 1, the smallest candidate, a
    64th is enough; where there is a single candidate, because the file declares it, values may be of any
    darkness.
    """
    low, high = values.min(), values.max()
    for top in whites:
        inside = -top / 4 <= low and 0 <= high <= 1.25 * top
        least = 1 / 64 if top == 1 else top / 4
        if inside and (len(whites) == 1 or low == high == 0 or _shows(values, least)):
            return top
    return None


def _shows(values: np.ndarray, least: float) -> bool:
    """Whether at least one value in a thousand is as bright as this."""
    return 1000 * int(np.count_nonzero(values >= least)) >= values.size


def _to_8_bits(values: np.ndarray, whites: tuple[float, ...], inverted: bool) -> np.ndarray:
    """uint8 of values of any type; `inverted` where the file's zero is white.

    Raises UnusableImage for values that are not finite or fit no range.
    """
    if not (math.isfinite(values.min()) and math.isfinite(values.max())):
        lost = int(np.count_nonzero(~np.isfinite(values)))
        raise UnusableImage(f"{lost} of {values.size} values are NaN or infinite: replace them")
    top = white(values, whites)
    if top is None:
        ranges = ", ".join(f"0..{item}" for item in whites)
        most = np.quantile(values, 0.999)
        raise UnusableImage(
            f"values from {values.min():g} to {values.max():g}, nearly all up to {most:g}, fit no range of "
            f"brightness ({ranges}): rescale them"
        )
    result = np.empty(values.shape, np.uint8)
    for start in range(0, len(values), 64):
        block = np.clip(values[start : start + 64].astype(np.float64) / top, 0, 1)
        result[start : start + 64] = ((1 - block if inverted else block) * 255).round()
    return result


def _reduce(image, shorter_side: int):
    from PIL import Image

    width, height = image.size
    scale = shorter_side / min(width, height)
    size = max(shorter_side, round(width * scale)), max(shorter_side, round(height * scale))
    return image if size == image.size else image.resize(size, Image.Resampling.LANCZOS)


def centre_crop(image: np.ndarray, size: int) -> np.ndarray:
    """The central size x size square of an H x W x 3 image."""
    top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
    return image[top : top + size, left : left + size]


def folder_images(
    folder: str | os.PathLike, names: Iterable[str], size: int, threads: int = 1
) -> Iterator[tuple[str, np.ndarray | UnusableImage]]:
    """Yield (name, size x size x 3 uint8 centre crop of the reduced image) in the given order.

    An unusable file yields its UnusableImage instead. Decoding runs in `threads` threads with a
    bounded look-ahead, so that any number of images streams.
    """

    def load(name: str) -> np.ndarray | UnusableImage:
        try:
            return centre_crop(decode(Path(folder) / name, size), size)
        except UnusableImage as error:
            return error

    with ThreadPoolExecutor(threads) as pool:
        waiting: deque = deque()
        for name in names:
            waiting.append((name, pool.submit(load, name)))
            if len(waiting) > 4 * threads:
                first, future = waiting.popleft()
                yield first, future.result()
        for first, future in waiting:
            yield first, future.result()


def embedded_crops(
    split: str, count: int, size: int, seed: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield `count` named size x size x 3 uint8 crops of the embedded photographs of a split.

    Training crops lie anywhere, at any scale from the whole photograph down to `size` pixels of it.
    Test crops follow a fixed plan: of each photograph in turn the whole centre square, then ever
    closer views of its four quarters, so that few crops already show different things.
    """
    photographs = {name: _photograph(*source) for name, source in EMBEDDED[split].items()}
    names = list(photographs)
    rng = np.random.default_rng(seed)
    for index in range(count):
        name = names[index % len(names)]
        image = photographs[name]
        height, width = image.shape[:2]
        side, round_ = min(height, width), index // len(names)
        if split == "test":
            zoom, quarter = divmod(round_ + 3, 4)  # round 0: the whole; then four per zoom
            side = int(side * 0.6**zoom)
            across, down = QUARTERS[quarter] if round_ else (0.5, 0.5)
        else:
            side = int(np.exp(rng.uniform(np.log(min(size, side)), np.log(side))))
            across, down = rng.uniform(size=2)
        side = max(side, min(size, min(height, width)))
        top, left = round(down * (height - side)), round(across * (width - side))
        yield (
            f"{name}-{round_:03d}",
            _resize(image[top : top + side, left : left + side], (size, size)),
        )


def photograph(name: str) -> str:
    """The photograph that an image of this name shows: crops of an embedded one share theirs."""
    crop = re.fullmatch(r"(.+)-\d{3,}", name)  # a file's name ends with its suffix
    return crop[1] if crop else name


def _photograph(package: str, file: str) -> np.ndarray:
    with (files(package) / file).open("rb") as source:
        return decode(source)


def photograph_of(package: str, file: str, shorter_side: int) -> np.ndarray:
    """An embedded photograph, H x W x 3 uint8, reduced so that its shorter side has `shorter_side` pixels."""
    image = _photograph(package, file)
    height, width = image.shape[:2]
    scale = shorter_side / min(height, width)
    size = max(shorter_side, round(width * scale)), max(shorter_side, round(height * scale))
    return _resize(image, size)


def _resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.LANCZOS))


def as_tensor(images: np.ndarray):
    """N x H x W x 3 uint8 to N x 3 x H x W float32 in [0, 1]."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float().div_(255)


def as_pixels(images) -> np.ndarray:
    """N x H x W x 3 of a tensor N x 3 x H x W on any device, as it is."""
    return images.permute(0, 2, 3, 1).cpu().numpy()


def originals(path: str | os.PathLike, count: int) -> np.ndarray:
    """The first `count` images of a file, as figures show them: N x H x W x 3 float32 in [0, 1]."""
    with open_hdf5(path, "images") as file:
        return file["images"][:count].astype(np.float32) / 255


def planes(image: np.ndarray, of: str) -> np.ndarray:
    """C x H x W of an image H x W x 3: its colours, or of `grey` its one plane, see `grey`."""
    return grey(image)[None] if of == "grey" else image.transpose(2, 0, 1)


def grey(pixels: np.ndarray) -> np.ndarray:
    """uint8 luma ... x H x W of uint8 RGB ... x H x W x 3, weights of ITU-R BT.601."""
    return np.rint(pixels @ np.array([0.299, 0.587, 0.114])).astype(np.uint8)
