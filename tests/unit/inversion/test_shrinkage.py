"""How much of an annealed image is believed, against the formula by loops."""

import math

import numpy as np
import pytest
import torch

from deep_restoration.files.atomic import StorageError
from deep_restoration.inversion.shrinkage import Shrinkage, bands

HEIGHT, WIDTH = 6, 4
MEAN = torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1)
COLOURS = [[1, 1, 1], [1, 0, -1], [1, -2, 1]]


def pictures(count, seed):
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, HEIGHT, WIDTH, generator=draw, dtype=torch.float64)


def basis(colour, u, v):
    """The image 3 x H x W whose one coefficient is 1."""
    own = np.array(COLOURS[colour]) / math.sqrt(sum(c * c for c in COLOURS[colour]))
    scale = math.sqrt((1 + (u > 0)) * (1 + (v > 0)) / (HEIGHT * WIDTH))
    result = np.empty((3, HEIGHT, WIDTH))
    for c, y, x in np.ndindex(*result.shape):
        waves = math.cos(math.pi * u * (y + 0.5) / HEIGHT) * math.cos(
            math.pi * v * (x + 0.5) / WIDTH
        )
        result[c, y, x] = own[c] * scale * waves
    return torch.from_numpy(result)


def band(u, v):
    """Of rho: by the half cycles over the larger side, the height."""
    half_cycles = math.hypot(u, v * HEIGHT / WIDTH)
    if half_cycles == 0:
        return 0
    number = 1
    while 2 ** (number / 2) <= half_cycles * (1 + 1e-9):
        number += 1
    return number


def test_bands_are_half_octaves():
    found = bands(HEIGHT, WIDTH)
    for u, v in np.ndindex(HEIGHT, WIDTH):
        assert found[u, v] == band(u, v)
    assert bands(1, 1).tolist() == [[0]]
    assert bands(8, 8)[0].tolist() == [0, 1, 3, 4, 5, 5, 6, 6]


def test_an_estimate_is_the_regression_by_hand():
    truth, found = pictures(5, 1), 0.5 * pictures(5, 1) + 0.5 * pictures(5, 2)
    mean = MEAN.double()
    sums = {}
    for colour, u, v in np.ndindex(3, HEIGHT, WIDTH):
        wave = basis(colour, u, v)
        products, squares = sums.get((colour, band(u, v)), (0.0, 0.0))
        for x, a in zip(truth - mean, found - mean, strict=True):
            products += float((x * wave).sum() * (a * wave).sum())
            squares += float((a * wave).sum() ** 2)
        sums[colour, band(u, v)] = products, squares
    rho = {key: min(max(p / s, 0), 1) for key, (p, s) in sums.items()}
    assert len(set(rho.values())) > 3  # not all at a limit
    learned = Shrinkage.fit(found, truth, mean)
    images = pictures(2, 3)
    for image, estimate in zip(images, learned(images), strict=True):
        expected = mean[0].expand_as(image).clone()
        for colour, u, v in np.ndindex(3, HEIGHT, WIDTH):
            wave = basis(colour, u, v)
            expected += rho[colour, band(u, v)] * ((image - mean[0]) * wave).sum() * wave
        assert torch.allclose(estimate, expected.clamp(0, 1), atol=1e-6)


def test_images_that_are_right_stay_and_those_that_say_nothing_become_grey():
    truth = pictures(4, 1).float()
    assert torch.allclose(Shrinkage.fit(truth, truth, MEAN)(truth), truth, atol=1e-5)
    opposite = 2 * MEAN - truth
    assert torch.allclose(Shrinkage.fit(opposite, truth, MEAN)(truth), MEAN.expand_as(truth))
    same = MEAN.expand_as(truth)  # 0 by 0
    assert torch.allclose(Shrinkage.fit(same, truth, MEAN)(same), same)


def test_the_error_on_what_it_was_learned_from_never_grows():
    truth, found = pictures(6, 1).float(), pictures(6, 2).float()
    estimate = Shrinkage.fit(found, truth, MEAN)(found)
    assert (estimate - truth).square().mean() < 0.8 * (found - truth).square().mean()


def test_files_give_back_what_was_saved(tmp_path):
    learned = Shrinkage.fit(pictures(2, 1).float(), pictures(2, 2).float(), MEAN)
    learned.save(tmp_path / "a.safetensors", {})
    again = Shrinkage.load(tmp_path / "a.safetensors")
    assert torch.equal(again.rho, learned.rho)
    assert torch.equal(again.mean, learned.mean)
    (tmp_path / "b.safetensors").write_bytes(b"nothing")
    with pytest.raises(StorageError):
        Shrinkage.load(tmp_path / "b.safetensors")
