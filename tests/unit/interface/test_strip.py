"""Pictures in a row."""

import numpy as np
from PIL import Image

from deep_restoration.interface.strip import GAP, draw, fitting


def test_pictures_stand_in_a_row_pixel_by_pixel():
    colours = ("red", "green", "blue")
    shown = [(name, "SSIM 0.5", Image.new("RGB", (40, 30), name)) for name in colours]
    whole = np.asarray(draw(shown))
    assert whole.shape[1] == 4 * GAP + 3 * 40
    for number, (_, _, picture) in enumerate(shown):
        left = GAP + number * (40 + GAP)
        there = whole[-GAP - 30 : -GAP, left : left + 40]
        assert np.array_equal(there, np.asarray(picture))
    assert (whole[: -GAP - 30] < 128).any()  # words


def test_words_that_do_not_fit_are_cut_off():
    assert fitting("features.10", len, 11) == "features.10"
    assert fitting("features.10", len, 8) == "featu..."
    assert fitting("features.10", len, 0) == "..."
