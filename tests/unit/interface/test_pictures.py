"""A user's image in whatever form."""

import numpy as np
import pytest
import torch
from PIL import Image

from deep_restoration.data.images import as_tensor, centre_crop, decode
from deep_restoration.interface.pictures import of_any


@pytest.fixture
def photo(tmp_path):
    """A smooth photograph of 40 x 30 pixels, as a file without loss."""
    rows, columns = np.mgrid[:30, :40]
    pixels = np.stack([6 * rows, 5 * columns, 3 * (rows + columns)], -1).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_a_file_is_read_as_the_workflow_reads_it(photo):
    expected = as_tensor(centre_crop(decode(photo, 20), 20).copy()[None])
    for path in (photo, str(photo)):
        assert torch.equal(of_any(path, 20), expected)


def test_all_forms_are_the_same_image(photo):
    pixels = np.asarray(Image.open(photo))[:, 5:35]
    expected = as_tensor(pixels.copy()[None])
    forms = {
        "picture": Image.open(photo).convert("RGBA"),
        "bytes": pixels,
        "floats": pixels / 255,
        "tensor": expected[0],
        "batch": expected.double(),
    }
    for name, image in forms.items():
        side = 30 if name == "picture" else None
        torch.testing.assert_close(of_any(image, side), expected, rtol=0, atol=1e-7, msg=name)
    assert of_any(torch.cat([expected, expected])).shape == (2, 3, 30, 30)
    assert of_any(photo, 30).shape == (1, 3, 30, 30)


def test_size_reduces_and_crops(photo):
    expected = of_any(photo, 15)
    found = of_any(as_tensor(np.array(Image.open(photo))[None]), 15)
    assert found.shape == (1, 3, 15, 15)
    assert (found - expected).abs().max() < 0.02  # another filter


def test_a_turned_picture_is_turned_back(photo, tmp_path):
    with Image.open(photo) as image:
        exif = image.getexif()
        exif[274] = 6
        image.save(tmp_path / "turned.jpg", exif=exif, quality=95)
    with Image.open(tmp_path / "turned.jpg") as image:
        found = of_any(image, 20)
    assert (found - of_any(tmp_path / "turned.jpg", 20)).abs().max() < 0.02


def test_the_users_values_are_not_changed():
    image = torch.rand(3, 16, 16)
    before = image.clone()
    of_any(image).zero_()
    assert torch.equal(image, before)
    pixels = np.zeros((16, 16, 3), np.uint8)
    of_any(pixels).fill_(1)
    assert not pixels.any()


NAN = torch.full((3, 16, 16), torch.nan)


@pytest.mark.parametrize(
    ("image", "size", "words"),
    [
        ("nowhere.jpg", None, "there is no image nowhere.jpg"),
        (torch.rand(3, 16, 20), None, "16 x 20 pixels; give size to crop a square"),
        (torch.rand(3, 16, 20), 18, "16 x 20 pixels; size is 18"),
        (torch.rand(3, 16, 16), 10, "size is 10; it must be at least 11"),
        (torch.rand(3, 8, 8), None, "8 x 8 pixels; it must have 11 a side"),
        (torch.rand(1, 16, 16), None, "a tensor 1 x 16 x 16; allowed: a path"),
        (torch.rand(16, 16), None, "a tensor 16 x 16; allowed"),
        (torch.rand(0, 3, 16, 16), None, "a tensor 0 x 3 x 16 x 16; allowed"),
        (2 * torch.ones(3, 16, 16), None, r"values from 2 to 2; they must be in \[0, 1\]"),
        (-torch.ones(3, 16, 16), None, "values from -1 to -1"),
        (NAN, None, "values from nan to nan"),
        (torch.ones(3, 16, 16, dtype=torch.uint8), None, "of torch.uint8; divide by 255"),
        (np.zeros((16, 16), np.uint8), None, "an array 16 x 16; allowed"),
        (np.zeros((16, 16, 3), np.int64), None, "an array of int64; allowed"),
        (17, None, "of type int; allowed"),
    ],
)
def test_what_is_no_image_is_refused_by_what_it_is(image, size, words):
    with pytest.raises(ValueError, match=words):
        of_any(image, size)


def test_a_file_that_cannot_be_used_is_named(photo, tmp_path):
    with pytest.raises(ValueError, match=r"photo.png cannot be used: too small: 40 x 30, 224"):
        of_any(photo)
    with (
        Image.open(photo) as image,
        pytest.raises(ValueError, match="the image cannot be used: too"),
    ):
        of_any(image)
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(ValueError, match=r"text.jpg cannot be used: not readable: no image"):
        of_any(tmp_path / "text.jpg")
