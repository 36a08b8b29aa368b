"""Reconstructed images measured against the originals, and maps against maps: by loops over single images."""

import numpy as np
import pytest
import torch

from deep_restoration.evaluation import baselines, measurement, metrics, restarts, tables
from deep_restoration.evaluation.measurement import MapStatistics, Measuring
from deep_restoration.files.hdf5 import create_hdf5, write_array, write_names
from deep_restoration.files.tables import write_csv
from deep_restoration.statistics.comparison import compare
from deep_restoration.statistics.streaming import FeatureStatistics

COUNT, SIDE = 5, 16
NAMES = [f"photograph {i}" for i in range(COUNT)]


def rng():
    return np.random.default_rng(0)


PIXELS = rng().integers(0, 256, (COUNT, SIDE, SIDE, 3), dtype=np.uint8)


class Layer(torch.nn.Module):
    """Maps of a convolution, or with `flat` their means: codes without positions."""

    def __init__(self, flat=False):
        super().__init__()
        torch.manual_seed(0)
        self.convolution, self.flat = torch.nn.Conv2d(3, 4, 3, stride=2), flat
        self.sizes = []

    def forward(self, x):
        self.sizes.append(len(x))
        maps = torch.relu(self.convolution(x))
        return {"layer": maps.mean((2, 3)) if self.flat else maps}


def reconstructed(seed=1):
    noise = np.random.default_rng(seed).normal(0, 0.1, PIXELS.shape)
    return np.clip(PIXELS / 255 + noise, 0, 1).astype(np.float32)


def codes(network, image):
    """Maps of an image H x W x 3 in [0, 1]."""
    with torch.inference_mode():
        return network(torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None])["layer"]


def expected_error(network, image, original):
    found, target = codes(network, image).double(), codes(network, original / 255).double()
    return float(((found - target) ** 2).sum() / (target**2).sum())


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("batch", [2, 32])
def test_an_image_is_measured_alone(flat, batch):
    network, found = Layer(flat), reconstructed()
    measuring = Measuring(network, NAMES, PIXELS)
    measuring.measured.size = batch
    rows = measuring.images(found)
    assert [row[0] for row in rows] == NAMES
    for i, (_, *values) in enumerate(rows):
        truth = PIXELS[i : i + 1] / 255
        row = dict(zip(tables.MEASURES[:-1], values, strict=True))
        assert row["mse"] == pytest.approx(((found[i] - truth[0]) ** 2).mean(), rel=1e-6)
        assert row["psnr"] == pytest.approx(-10 * np.log10(row["mse"]))
        assert row["ssim"] == pytest.approx(metrics.ssim(truth, found[i : i + 1])[0])
        parts = [row[f"ssim_{part}"] for part in ("luminance", "contrast", "structure")]
        assert parts == pytest.approx(metrics.ssim_parts(truth, found[i : i + 1])[0].tolist())
        error = expected_error(network, found[i], PIXELS[i])
        assert error > 0.001
        assert row["representation_error"] == pytest.approx(error, rel=1e-4)


def test_an_image_like_the_original_has_no_error():
    rows = Measuring(Layer(), NAMES, PIXELS).images((PIXELS / 255).astype(np.float32))
    for row in rows:
        values = dict(zip(tables.MEASURES[:-1], row[1:], strict=True))
        assert values["mse"] < 1e-12
        assert values["ssim"] == pytest.approx(1)
        assert values["representation_error"] < 1e-9


def test_parts_are_seen_in_order_with_targets_and_maps():
    network, seen = Layer(), []
    measuring = Measuring(network, NAMES, PIXELS)
    measuring.measured.size = 2
    measuring.images(reconstructed(), lambda *part: seen.append(part))
    assert [start for start, _, _ in seen] == [0, 2, 4]
    for images, k in ((PIXELS / 255, 1), (reconstructed(), 2)):
        every = torch.cat([part[k] for part in seen])
        alone = torch.cat([codes(network, image) for image in images])
        torch.testing.assert_close(every, alone)


def test_maps_without_positions_have_one():
    found = Measuring(Layer(flat=True), NAMES, PIXELS).maps(torch.rand(2, 3, SIDE, SIDE))
    assert found.shape == (2, 4, 1, 1)


def test_statistics_are_those_of_all_maps_and_the_originals_count_once():
    network, options = Layer(), {"positions": 9, "radius": 1}
    measuring, maps = Measuring(network, NAMES, PIXELS), MapStatistics(**options)
    measuring.measured.size = 2
    for seed in (1, 2):
        found = reconstructed(seed)
        rows, compared = maps.rows(measuring, found)
        assert rows == measuring.images(found)
        families = []
        for images in (PIXELS / 255, found):
            side = FeatureStatistics(4, 7, 7, **options)
            side.add(torch.cat([codes(network, image) for image in images]))
            families.append(side)
        assert maps.natural.count == COUNT
        for row, expected in zip(compared, compare(*families), strict=True):
            assert row["measure"] == expected["measure"]
            for name in ("reference", "other", "distance"):
                assert row[name] == pytest.approx(expected[name], rel=1e-4, abs=1e-6), row


def test_inversions_are_clipped_and_measured_alone():
    network, asked = Layer(), []

    def image_of(maps):
        asked.append(maps)
        return maps.mean((1, 2, 3)).view(-1, 1, 1, 1) * torch.linspace(-9, 99, SIDE).expand(
            len(maps), 3, SIDE, SIDE
        )

    measuring = Measuring(network, NAMES, PIXELS)
    measuring.inverted.size = 3
    rows, first = measuring.inversions(image_of)
    assert [len(maps) for maps in asked] == [3, 2]
    assert [row[0] for row in rows] == NAMES
    for i, (_, *values) in enumerate(rows):
        target = codes(network, PIXELS[i] / 255)
        image = image_of(target).clamp(0, 1)[0].permute(1, 2, 0).numpy()
        assert (image.min(), image.max()) == (0, 1)
        row = dict(zip(tables.INVERTER_MEASURES, values, strict=True))
        truth = PIXELS[i] / 255
        assert row["mse"] == pytest.approx(((image - truth) ** 2).mean(), rel=1e-5)
        assert row["psnr"] == pytest.approx(-10 * np.log10(row["mse"]))
        assert row["ssim"] == pytest.approx(metrics.ssim(truth[None], image[None])[0], rel=1e-4)
        error = expected_error(network, image, PIXELS[i])
        assert row["representation_error"] == pytest.approx(error, rel=1e-4)
        if i == 0:
            np.testing.assert_allclose(first, image[None], atol=1e-6)


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("batch", [2, 64])
def test_starts_are_measured_one_image_at_a_time(flat, batch):
    network, images = Layer(flat), np.stack([reconstructed(seed) for seed in (1, 2, 3)])
    rows = measurement.of_restarts(measurement.maps_of(network), NAMES, PIXELS, images, batch)
    assert [row[0] for row in rows] == NAMES
    for i, (_, *values) in enumerate(rows):
        original, some = PIXELS[i], images[:, i]
        errors = [expected_error(network, image, original) for image in (*some, some.mean(0))]
        errors = np.array(errors)[:, None]
        found = restarts.measure(
            original[None] / 255, images[:, i : i + 1], errors[:-1], errors[-1]
        )
        assert values == pytest.approx([found[name][0] for name in restarts.MEASURES], rel=1e-3)


def test_a_baseline_is_the_same_from_every_start():
    guess = baselines.pictures(PIXELS.mean(0) / 255)[baselines.COLOUR]
    images = np.broadcast_to(guess, (4, *PIXELS.shape))
    for _, *values in measurement.of_restarts(measurement.maps_of(Layer()), NAMES, PIXELS, images):
        row = dict(zip(restarts.MEASURES, values, strict=True))
        for name in ("spread", "pair_mse", "representation_error_spread"):
            assert row[name] == pytest.approx(0, abs=1e-7)
        assert row["pair_ssim"] == pytest.approx(1)
        for name in ("mse", "ssim", "representation_error"):
            assert row[name] == pytest.approx(row[f"{name}_of_mean"], rel=1e-6)


@pytest.mark.parametrize("flat", [False, True])
def test_a_baseline_is_measured_alike_as_an_inverse_network_and_as_a_recipe(flat):
    guess = baselines.pictures(PIXELS.mean(0) / 255)[baselines.IMAGE]
    measuring = Measuring(Layer(flat), NAMES, PIXELS)
    by_image = measuring.images(measurement.everywhere(guess, PIXELS))
    by_maps, first = measuring.inversions(measuring.always(guess))
    np.testing.assert_array_equal(first[0], guess)
    columns = [tables.MEASURES.index(name) + 1 for name in tables.INVERTER_MEASURES]
    for row, other in zip(by_image, by_maps, strict=True):
        assert row[0] == other[0]
        assert [row[c] for c in columns] == pytest.approx(other[1:], rel=1e-5)


def test_baselines_are_read_of_the_training_images(tmp_path):
    mean = np.linspace(0, 1, SIDE * SIDE * 3).reshape(SIDE, SIDE, 3)
    for split in ("test", "train"):
        with create_hdf5(tmp_path / f"{split}.h5", "images", {}) as file:
            write_array(file, "images", PIXELS)
            write_names(file, NAMES)
            write_array(file, "mean", mean if split == "train" else 0 * mean)
    names, pixels, guesses = measurement.read(tmp_path / "test.h5", tmp_path / "train.h5")
    assert names == NAMES
    assert np.array_equal(pixels, PIXELS)
    np.testing.assert_allclose(guesses[baselines.IMAGE], mean, atol=1e-7)
    np.testing.assert_allclose(guesses[baselines.COLOUR], mean.mean((0, 1)) + 0 * mean, atol=1e-7)


def test_baselines_are_measured_as_if_reconstructed_for_every_image():
    measuring, guesses = Measuring(Layer(), NAMES, PIXELS), baselines.pictures(PIXELS.mean(0) / 255)
    rows = measurement.of_guesses(measuring, guesses)
    assert [row[:2] for row in rows] == [(g, name) for g in baselines.NAMES for name in NAMES]
    for name, image, *values in rows:
        alone = Measuring(Layer(), [image], PIXELS[[NAMES.index(image)]])
        ((_, *expected),) = alone.images(guesses[name][None])
        assert values == pytest.approx([*expected, 0.0], rel=1e-5)


def test_reconstructed_images_have_the_seconds_of_their_trace(tmp_path):
    found = reconstructed()
    with create_hdf5(tmp_path / "x.h5", "reconstructions", {}) as file:
        write_array(file, "images", found)
    trace = [(0, 9, "image", 0.5, 2.0), (0, 0, "seconds per image", 0.75, 3.75)]
    write_csv(tmp_path / "x.csv", ("batch", "iteration", "term", "value", "seconds"), trace)
    options = {"positions": 9, "radius": 1}
    measuring = Measuring(Layer(), NAMES, PIXELS)
    files = tmp_path / "x.h5", tmp_path / "x.csv"
    rows, compared = measurement.of_reconstructed(measuring, MapStatistics(**options), *files)
    measured, statistics = MapStatistics(**options).rows(measuring, found)
    assert rows == [(*row, 0.75) for row in measured]
    assert compared == [(COUNT, *row.values()) for row in statistics]


def test_starts_are_read_and_baselines_come_before_them(tmp_path):
    images = np.stack([reconstructed(seed) for seed in (1, 2)])
    with create_hdf5(tmp_path / "x.h5", "restarts", {}) as file:
        write_array(file, "images", images)
        write_array(file, "originals", PIXELS)
        write_names(file, NAMES)
    maps, guesses = measurement.maps_of(Layer()), baselines.pictures(PIXELS.mean(0) / 255)
    rows = measurement.of_restarts_in(maps, "tv", tmp_path / "x.h5", guesses)
    expected = [
        (name, image, 2, *values)
        for name, shown in {
            **{g: np.stack([[guess] * COUNT] * 2) for g, guess in guesses.items()},
            "tv": images,
        }.items()
        for image, *values in measurement.of_restarts(maps, NAMES, PIXELS, shown)
    ]
    assert rows == expected
    assert measurement.of_restarts_in(maps, "tv", tmp_path / "x.h5", {}) == expected[2 * COUNT :]
