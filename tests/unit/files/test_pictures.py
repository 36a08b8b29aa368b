"""Images as PNG files."""

import numpy as np
from PIL import Image

from deep_restoration.files.pictures import write_pictures


def test_pictures_hold_the_rounded_images_under_their_names(tmp_path):
    images = np.random.default_rng(0).random((3, 5, 7, 3)).astype(np.float32)
    images[0, 0, 0] = (-0.5, 1.5, 0.5)
    names = ["cat.jpg", "cat.png", "deep/er/crop-000"]
    write_pictures(tmp_path / "tv", names, images)
    found = {str(p.relative_to(tmp_path / "tv")) for p in tmp_path.rglob("*") if p.is_file()}
    assert found == {"cat.jpg.png", "cat.png.png", "deep/er/crop-000.png"}
    for name, image in zip(names, images, strict=True):
        with Image.open(tmp_path / "tv" / f"{name}.png") as picture:
            pixels = np.asarray(picture)
        for place in np.ndindex(5, 7, 3):
            value = min(max(float(image[place]), 0.0), 1.0)
            assert abs(float(pixels[place]) - 255 * value) <= 0.5 + 1e-4
