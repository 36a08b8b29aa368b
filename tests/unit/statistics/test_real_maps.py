"""Statistics and linear inverses of a published network's maps of real photographs."""

import numpy as np
import pytest
import torch

from deep_restoration.data import images, inventory, splits
from deep_restoration.linear import study
from deep_restoration.linear.optimum import StationaryPrior
from deep_restoration.networks import graph, sources
from deep_restoration.networks.weights import read_weights
from deep_restoration.runtime import seeds
from deep_restoration.statistics import stationarity
from deep_restoration.statistics.streaming import FeatureStatistics

SIZE = 96


@pytest.fixture(scope="module")
def sample(real_data):
    """SqueezeNet up to a layer, and a number of photographs of a split: two functions."""
    weights = real_data / "weights" / "squeezenet1_0-imagenet.pth"
    folder = real_data / "data" / "imagenet-sample"
    if not (weights.is_file() and (folder / "train").is_dir() and (folder / "test").is_dir()):
        pytest.skip("RESTORATION_DATA holds no ImageNet weights and photographs")
    with torch.device("meta"):
        steps = sources.steps_of("squeezenet1_0", sources.build("squeezenet1_0"))
    state = read_weights(weights)

    def network(layer):
        found = graph.Network(steps, [layer], sources.IMAGENET_MEAN, sources.IMAGENET_STD)
        return found.load(state)

    def photographs(split, count):
        names = splits.evenly_spaced(inventory.image_files(folder / split), 2 * count)
        found = [
            pixels
            for _, pixels in images.folder_images(folder / split, names, SIZE, 2)
            if not isinstance(pixels, images.UnusableImage)
        ]
        assert len(found) >= count
        return images.as_tensor(np.stack(found[:count]))

    return network, photographs


def test_statistics_of_real_maps_are_finite_and_shards_add_up(sample):
    network, photographs = sample
    with torch.inference_mode():
        maps = network("features.1")(photographs("train", 40))["features.1"]
    whole, *shards = (FeatureStatistics(*maps.shape[1:], positions=121) for _ in range(3))
    whole.add(maps)
    shards[0].add(maps[:23])
    shards[1].add(maps[23:], 23)
    merged = FeatureStatistics.from_state(shards[0].state())
    merged.merge(FeatureStatistics.from_state(shards[1].state()))

    assert whole.count == merged.count == 40
    names = ("covariance", "channel_covariance", "autocovariance", "gram", "gram_centred")
    for name in (*names, "of_images", "of_channels"):
        one, two = getattr(whole, name), getattr(merged, name)
        assert np.isfinite(one).all(), name
        assert np.allclose(one, two, rtol=1e-9, atol=1e-12 * np.abs(one).max()), name
    summary = whole.summary()
    assert all(np.isfinite(value) for value in summary.values())
    assert merged.summary() == pytest.approx(summary, rel=1e-6)
    assert 0.05 < summary["zeros_image"] < 0.95  # after a ReLU
    assert 1 < summary["effective_rank"] < whole.grid.positions
    precision = whole.spatial_moments().sum().precision()
    assert np.linalg.eigvalsh(precision)[0] > 0

    rows = stationarity.curve(whole.spatial_moments(), (0, 1), forms=["within"], replicates=20)
    for row in rows:
        assert 0 <= row["noise_free"] <= row["distance"] + 0.05 <= 1.05
    last = [row for row in rows if row["images"] == 40]
    assert len(last) == 2


@pytest.mark.slow
def test_the_optimal_inverse_beats_single_convolutions_and_the_pseudo_inverse(sample):
    network, photographs = sample
    convolution = study.of_network(network("features.0"))
    assert convolution.weight.shape == (96, 3, 7, 7)
    prior = StationaryPrior.fit(photographs("train", 40).split(16), 48)
    centred = photographs("test", 3).double() - prior.mean[:, None, None]
    generator = seeds.generator(0, "real photographs")
    found = study.reconstructions(convolution, prior, centred, 0.1, [4, 7], generator)
    rows = study.errors(centred, found, 0.1, 7 + 4)
    best, *others = rows
    assert best["method"] == study.OPTIMAL
    methods = [row["method"] for row in others]
    assert methods.count(study.SINGLE) == 2
    for row in others:
        assert best["mse_inside"] < row["mse_inside"], row
    assert best["relative_error"] < 0.1
    assert best["mse_inside"] < 0.005
