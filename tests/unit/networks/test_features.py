"""Feature maps of stored images, in the order asked for."""

import numpy as np
import pytest
import torch

from deep_restoration.files.hdf5 import create_hdf5, open_hdf5, write_array
from deep_restoration.networks import features


@pytest.mark.parametrize("rows", [[3, 0, 7], list(range(40))[::-1]])
def test_maps_are_those_of_the_images_asked_for_in_that_order(rows, network, tmp_path):
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (40, 21, 21, 3), dtype=np.uint8)
    with create_hdf5(tmp_path / "images.h5", "images", {}) as file:
        write_array(file, "images", pixels)
    with (
        open_hdf5(tmp_path / "images.h5", "images") as source,
        create_hdf5(tmp_path / "features.h5", "features", {}) as file,
    ):
        parts = features.maps_of(network, source["images"], np.array(rows), "cpu")
        shape = features.store(file, parts, len(rows))
    with open_hdf5(tmp_path / "features.h5", "features") as file:
        found = file["features"][...]
    assert found.shape == shape
    truth = torch.from_numpy(pixels[rows] / 255).float().permute(0, 3, 1, 2)
    with torch.no_grad():
        expected = network(truth)["conv2"].numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
