"""Natural and unnatural: what the unnatural sets are, and how energies are compared."""

import itertools

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from deep_restoration.priors import discrimination
from deep_restoration.priors.field import FieldOfExperts

NAMES = ["a", "b"]
SETS = ["blurred", "noise added", "pixels shuffled", "white noise"]


@pytest.fixture(scope="module")
def natural():
    """Two images in the middle of the range, which no noise clips: N x 3 x 40 x 50."""
    draw = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, 3, 8, 10, generator=draw)
    smooth = torch.nn.functional.interpolate(coarse, scale_factor=5, mode="bilinear")
    return 0.45 + 0.1 * smooth


@pytest.fixture(scope="module")
def sets(natural):
    return discrimination.unnatural(natural, NAMES, 3)


# ------------------------------------------------------------------------------ unnatural sets


def test_there_are_as_many_unnatural_images_of_each_kind(natural, sets):
    assert list(sets) == SETS
    for images in sets.values():
        assert images.shape == natural.shape
        assert images.dtype == natural.dtype
        assert images.min() >= 0
        assert images.max() <= 1


def test_blurred_images_are_each_channel_under_a_gaussian(natural, sets):
    for image, blurred in zip(natural, sets["blurred"], strict=True):
        for plane, found in zip(image.numpy(), blurred.numpy(), strict=True):
            np.testing.assert_allclose(found, gaussian_filter(plane, 1, mode="nearest"), atol=1e-6)


def test_added_noise_has_the_promised_spread(natural, sets):
    noise = 255 * (sets["noise added"] - natural)
    for one in noise:
        assert one.std().item() == pytest.approx(10, rel=0.05)
        assert abs(one.mean().item()) < 0.6
    assert abs((noise[..., 1:] * noise[..., :-1]).mean().item()) < 5


def test_shuffled_images_keep_their_pixels_with_their_colours(natural, sets):
    for image, shuffled in zip(natural, sets["pixels shuffled"], strict=True):
        before, after = (x.flatten(1).T.tolist() for x in (image, shuffled))
        assert sorted(before) == sorted(after)
        assert sum(a != b for a, b in zip(before, after, strict=True)) > 1900
    first, second = (
        [x.flatten(1)[0].argsort().tolist() for x in pair]
        for pair in zip(natural, sets["pixels shuffled"], strict=True)
    )
    assert first != second


def test_white_noise_has_the_mean_and_spread_of_each_channel(natural, sets):
    noise = sets["white noise"]
    torch.testing.assert_close(noise.mean((2, 3)), natural.mean((2, 3)), rtol=0, atol=2.5e-3)
    torch.testing.assert_close(noise.std((2, 3)), natural.std((2, 3)), rtol=0.08, atol=0)
    centred = noise - noise.mean((2, 3), keepdim=True)
    neighbours = (centred[..., 1:] * centred[..., :-1]).mean() / centred.square().mean()
    assert abs(neighbours.item()) < 0.05


def test_unnatural_images_are_clipped():
    extreme = torch.zeros(1, 3, 20, 20)
    extreme[..., 10:] = 1
    for name, images in discrimination.unnatural(extreme, ["a"], 0).items():
        assert images.min() >= 0, name
        assert images.max() <= 1, name


def test_an_unnatural_image_depends_on_its_name_and_the_seed(natural, sets):
    alone = discrimination.unnatural(natural[1:], NAMES[1:], 3)
    again = discrimination.unnatural(natural[1:], NAMES[1:], 4)
    other = discrimination.unnatural(natural[1:], ["c"], 3)
    for name in SETS:
        assert torch.equal(alone[name], sets[name][1:]), name
        assert torch.equal(again[name], alone[name]) == (name == "blurred")
        assert torch.equal(other[name], alone[name]) == (name == "blurred")


# ------------------------------------------------------------------------------ energies


def test_energies_are_in_spreads_per_position(natural):
    draw = torch.Generator().manual_seed(1)
    filters = torch.randn(4, 3, 3, 3, generator=draw)
    prior = FieldOfExperts(filters, torch.zeros(4), torch.ones(4), "logistic", mean=2.0, spread=0.5)
    found = discrimination.energies(prior, natural.split(1))
    expected = [(prior.energy(x[None]).item() / (40 * 50) - 2.0) / 0.5 for x in natural]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert found.dtype == np.float64


# ------------------------------------------------------------------------------ sets


def field(of="images", channels=3):
    draw = torch.Generator().manual_seed(1)
    filters = torch.randn(4, channels, 3, 3, generator=draw)
    prior = FieldOfExperts(filters, torch.zeros(4), torch.ones(4), "logistic", mean=2.0, spread=0.5)
    prior.facts = {"of": of}
    return prior


def test_sets_are_the_images_what_is_made_of_them_and_what_was_reconstructed():
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (5, 8, 9, 3), dtype=np.uint8)
    reconstructed = {"tv": draw.random((5, 8, 9, 3), np.float32)}
    names = list("abcde")
    found = discrimination.sets_of(pixels, names, reconstructed, 3)(slice(1, 4))
    assert list(found) == ["natural", *SETS, "tv"]
    natural = torch.from_numpy(pixels[1:4] / 255).permute(0, 3, 1, 2)
    torch.testing.assert_close(found["natural"].double(), natural)
    for name, images in discrimination.unnatural(found["natural"], names[1:4], 3).items():
        assert torch.equal(found[name], images)
    np.testing.assert_array_equal(found["tv"].permute(0, 2, 3, 1).numpy(), reconstructed["tv"][1:4])


def test_a_prior_looks_at_images_at_their_grey_or_at_their_maps(network, pictures):
    assert torch.equal(discrimination.looking(field(), None)(pictures), pictures)
    found = discrimination.looking(field("grey", 1), None)(pictures)
    red, green, blue = pictures.unbind(1)
    torch.testing.assert_close(found[:, 0], 0.299 * red + 0.587 * green + 0.114 * blue)
    found = discrimination.looking(field("features", 6), network)(pictures)
    torch.testing.assert_close(found, network(pictures)["conv2"])
    found.requires_grad_()  # what inference mode made could not


@pytest.mark.parametrize("batch", [2, 16])
def test_energies_of_sets_are_those_of_single_images(batch):
    prior, images = field(), torch.rand(5, 3, 7, 8)
    sets = {"one": images, "other": 1 - images}
    found = discrimination.energies_of_sets(
        prior, lambda part: {k: v[part] for k, v in sets.items()}, 5, lambda x: 2 * x, batch
    )
    for name, values in found.items():
        expected = [(prior.energy(2 * x[None]).item() / 56 - 2.0) / 0.5 for x in sets[name]]
        np.testing.assert_allclose(values, expected, rtol=1e-5)


# ------------------------------------------------------------------------------ areas


def pairs(natural, other):
    """The area as what it means: over all pairs."""
    found = [(b > a) + 0.5 * (b == a) for a, b in itertools.product(natural, other)]
    return sum(found) / len(found)


@pytest.mark.parametrize("seed", range(5))
def test_area_is_the_share_of_pairs(seed):
    rng = np.random.default_rng(seed)
    natural, other = rng.integers(0, 6, 13).astype(float), rng.integers(1, 8, 9).astype(float)
    assert discrimination.auc(natural, other) == pytest.approx(pairs(natural, other), rel=1e-12)


def test_area_goes_from_none_to_all():
    low, high = np.array([1.0, 2.0]), np.array([3.0, 4.0, 5.0])
    assert discrimination.auc(low, high) == 1
    assert discrimination.auc(high, low) == 0
    assert discrimination.auc(low, low) == 0.5


def test_rows_compare_each_set_with_the_natural_one():
    rng = np.random.default_rng(0)
    found = {
        "natural": rng.normal(0, 1, 15),
        "above": rng.normal(2, 1, 8),
        "blurred": rng.normal(-3, 0.5, 7),
        "both sides": np.array([-4.0, 5.0, -6.0, 7.0]),
    }
    rows = discrimination.compare(found)
    middle = np.median(found["natural"])
    for (name, values), row in zip(found.items(), rows, strict=True):
        cells = dict(zip(discrimination.COLUMNS, row, strict=True))
        assert (cells["set"], cells["images"]) == (name, len(values))
        assert cells["mean"] == pytest.approx(values.mean())
        assert cells["spread"] == pytest.approx(values.std())
        assert cells["auc"] == pytest.approx(pairs(found["natural"], values))
        away = [np.abs(x - middle) for x in (found["natural"], values)]
        assert cells["auc_either_side"] == pytest.approx(pairs(*away))
    areas = {row[0]: row[4:] for row in rows}
    assert areas["natural"] == (0.5, 0.5)
    assert areas["blurred"][0] < 0.05  # less energy than natural ...
    assert areas["blurred"][1] > 0.95  # ... but as far off
    assert areas["both sides"] == (0.5, 1)
