from collections import OrderedDict

import pytest
import torch
from torch import nn

from deep_restoration.data import images
from deep_restoration.files.hdf5 import create_hdf5, write_array
from deep_restoration.networks import exemplar, sources, trace
from deep_restoration.networks.saved import load, save
from deep_restoration.networks.weights import fit_weights
from deep_restoration.runtime.checkpoints import Checkpoint
from deep_restoration.runtime.errors import DivergedError

MEAN, STD = sources.IMAGENET_MEAN, sources.IMAGENET_STD


@pytest.fixture(scope="module")
def photographs():
    """A dozen uint8 crops of real photographs."""
    import numpy as np

    crops = np.stack([crop for _, crop in images.embedded_crops("test", 12, 40, 0)])
    return torch.from_numpy(crops).permute(0, 3, 1, 2).contiguous()


@pytest.fixture(scope="module")
def lrn_steps():
    with torch.device("meta"):
        return trace.trace(sources.alexnet_lrn())


@pytest.fixture(scope="module")
def dropping_steps():
    """Two layers with batch normalisation and dropout between them."""
    layers = [("conv1", nn.Conv2d(3, 6, 5, 2)), ("bn1", nn.BatchNorm2d(6)), ("relu1", nn.ReLU())]
    layers += [("drop1", nn.Dropout()), ("conv2", nn.Conv2d(6, 5, 3))]
    return trace.trace(nn.Sequential(OrderedDict(layers)))


def settings(**changes):
    values = {"exemplars": 10, "crop": 32, "steps": 6, "batch": 8, "rate": 1e-3}
    values |= {"precision": "float32"}
    return exemplar.Settings(**values | changes)


def checkpoint(folder, interval=1e9):
    return Checkpoint(folder / "network", "key", interval)


# ------------------------------------------------------------------------------ augmentation


@pytest.mark.parametrize(("height", "width", "size"), [(40, 40, 24), (40, 52, 24), (16, 16, 24)])
def test_views_are_images_of_the_size_asked_for(height, width, size):
    pool = torch.rand(5, 3, height, width)
    views = exemplar.augment(pool, size, torch.Generator().manual_seed(0))
    assert views.shape == (5, 3, size, size)
    assert views.min() >= 0
    assert views.max() <= 1
    assert torch.isfinite(views).all()


def test_views_depend_on_the_generator_only(photographs):
    pool = photographs.float() / 255
    first, again, other = (
        exemplar.augment(pool, 24, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert (first - other).abs().mean() > 0.02


def test_views_of_one_image_differ_and_stay_like_it(photographs):
    pool = (photographs.float() / 255)[:1].expand(20, -1, -1, -1)
    views = exemplar.augment(pool, 40, torch.Generator().manual_seed(0))
    assert all((a - b).abs().mean() > 0.01 for a, b in zip(views[1:], views[:-1], strict=True))
    assert (views.mean((0, 2, 3)) - pool.mean((0, 2, 3))).abs().max() < 0.15


def test_views_do_not_reach_beyond_the_image_by_much():
    pool = torch.zeros(200, 3, 64, 64)
    pool[:, :, 8:56, 8:56] = 0.5  # a view of half the size lies inside up to its place
    views = exemplar.augment(pool, 32, torch.Generator().manual_seed(0))
    assert views.std((2, 3)).mean() > 0.01


# ------------------------------------------------------------------------------ k-means filters


def test_kmeans_filters_have_their_shape_and_unit_responses(photographs):
    pool, std = photographs.float() / 255, torch.tensor(STD).view(1, 3, 1, 1)
    draw = torch.Generator().manual_seed(0)
    filters = exemplar.kmeans_filters(pool, torch.Size([16, 3, 7, 5]), std, draw)
    assert filters.shape == (16, 3, 7, 5)
    assert torch.isfinite(filters).all()
    normal = (pool - torch.tensor(MEAN).view(1, 3, 1, 1)) / std
    responses = nn.functional.conv2d(normal, filters)
    spread = responses.std((0, 2, 3))
    assert spread.min() > 0.5
    assert spread.max() < 2
    # Patches are centred first: filters see no flat colour.
    assert filters.sum((1, 2, 3)).abs().max() < 1e-3 * filters.abs().sum((1, 2, 3)).min()
    cosine = nn.functional.normalize(filters.flatten(1), dim=1)
    assert (cosine @ cosine.T - torch.eye(16)).max() < 0.99


def test_kmeans_filters_are_reproducible(photographs):
    pool, std = photographs.float() / 255, torch.tensor(STD).view(1, 3, 1, 1)
    shape = torch.Size([4, 3, 5, 5])
    first, again, other = (
        exemplar.kmeans_filters(pool, shape, std, torch.Generator().manual_seed(seed))
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-2)


# ------------------------------------------------------------------------------ training


def train(steps, layer, photographs, plan, saved, seed=0):
    return exemplar.train(steps, layer, photographs, plan, MEAN, STD, seed, saved)


def test_alexnet_trains_and_loads_as_a_classifier(lrn_steps, photographs, tmp_path):
    state, history, accuracy = train(
        lrn_steps, "pool1", photographs, settings(), checkpoint(tmp_path)
    )
    assert state.keys() == {"conv1.weight", "conv1.bias"}
    assert [row[0] for row in history] == [6]
    assert 0 <= accuracy <= 1
    path = tmp_path / "network.safetensors"
    fit_weights(lrn_steps, ["pool1"], state, "trained")
    save(path, lrn_steps, ["pool1"], state, MEAN, STD, {})
    maps = load(path, ["pool1"])(photographs[:2].float() / 255)["pool1"]
    assert torch.isfinite(maps).all()
    assert maps.max() > 0


def test_training_is_reproducible(dropping_steps, photographs, tmp_path):
    first, again, other = (
        train(dropping_steps, "conv2", photographs, settings(), checkpoint(tmp_path), seed)[0]
        for seed in (0, 0, 1)
    )
    for name, value in first.items():
        assert torch.equal(value, again[name])
    assert not torch.allclose(first["conv2.weight"], other["conv2.weight"], atol=1e-3)


def test_training_learns_to_tell_the_exemplars_apart(dropping_steps, photographs, tmp_path):
    plan = settings(steps=60, batch=32, rate=1e-2, exemplars=4)
    _, history, accuracy = train(dropping_steps, "conv2", photographs, plan, checkpoint(tmp_path))
    assert [row[0] for row in history] == [10, 20, 30, 40, 50, 60]
    assert history[-1][1] < history[0][1]
    assert accuracy > 0.5  # 0.25 by chance


@pytest.mark.parametrize(("steps", "layer"), [("lrn_steps", "conv1"), ("dropping_steps", "conv2")])
def test_a_resumed_training_ends_as_an_unbroken_one(
    steps, layer, photographs, tmp_path, stopping_after, request
):
    steps = request.getfixturevalue(steps)
    whole = train(steps, layer, photographs, settings(), checkpoint(tmp_path))
    with stopping_after(3):
        train(steps, layer, photographs, settings(), checkpoint(tmp_path, 0))
    rest = train(steps, layer, photographs, settings(), checkpoint(tmp_path))
    for name, value in whole[0].items():
        assert torch.equal(value, rest[0][name]), name
    assert [row[:3] for row in rest[1]] == [row[:3] for row in whole[1]]
    assert rest[2] == whole[2]


def test_divergence_names_the_step(dropping_steps, photographs, tmp_path):
    with pytest.raises(DivergedError, match=r"at step [1-5]; lower its rate$"):
        train(dropping_steps, "conv2", photographs, settings(rate=1e38), checkpoint(tmp_path))


def test_fewer_images_than_exemplars_are_enough(dropping_steps, photographs, tmp_path):
    plan = settings(exemplars=500, steps=1)
    assert train(dropping_steps, "conv2", photographs, plan, checkpoint(tmp_path))[0]


def test_a_file_is_trained_on_and_its_accuracy_has_a_row(dropping_steps, photographs, tmp_path):
    pixels = photographs.permute(0, 2, 3, 1).contiguous()
    with create_hdf5(tmp_path / "images.h5", "images", {}) as file:
        write_array(file, "images", pixels.numpy())
    plan = settings(steps=3, exemplars=20)
    colours = (0.5,) * 3, (0.2,) * 3
    state, history, accuracy = exemplar.train_on(
        tmp_path / "images.h5", dropping_steps, "conv2", plan, *colours, 0, checkpoint(tmp_path)
    )
    expected, steps, right = exemplar.train(
        dropping_steps, "conv2", pixels.permute(0, 3, 1, 2), plan, *colours, 0, checkpoint(tmp_path)
    )
    assert all(torch.equal(state[name], value) for name, value in expected.items())
    assert [row[:3] for row in history] == [row[:3] for row in steps]
    assert accuracy == [("new views of the exemplars", right, 1 / 12, 12)]
