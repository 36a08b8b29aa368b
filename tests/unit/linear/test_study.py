"""Experiments with linear inverses: on planted fields, whose errors the prior foretells."""

import logging
import math
from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from deep_restoration.files.hdf5 import create_hdf5, write_array
from deep_restoration.linear import study
from deep_restoration.linear.optimum import Convolution, Moments, StationaryPrior
from deep_restoration.linear.study import CUT, OPTIMAL, PSEUDO, SINGLE, TRANSPOSED
from deep_restoration.networks import graph, trace
from deep_restoration.runtime import seeds

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
FLOOR = 1e-4


def random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def network_of(*layers, last="conv", **options):
    """The network of named layers up to `last`, with random weights."""
    model = nn.Sequential(OrderedDict(layers))
    network = graph.Network(trace.trace(model), [last], **options)
    state = {
        name: random(*value.shape, seed=len(name)).float() / 4
        for name, value in model.state_dict().items()
    }
    return network.load(state)


def convolution_of(outputs=8, kernel=5, stride=2, padding=0, **settings):
    weight = random(outputs, 3, kernel, kernel, seed=outputs) / kernel
    sides = (stride, stride), (padding, padding)
    return Convolution(weight, *sides, **settings)


FILTERS = random(3, 4, 4, 4, seed=1) / 4
FILTERS = FILTERS * torch.exp(-0.3 * torch.arange(4.0, dtype=torch.float64))[:, None]


def planted():
    """The prior of white noise filtered, and a little more of it."""
    far = FILTERS.shape[2] - 1
    found = F.conv2d(F.pad(FILTERS, (far,) * 4), FILTERS).permute(2, 3, 0, 1).flip(0, 1)
    found = found.contiguous()
    found[far, far] += FLOOR * torch.eye(3, dtype=torch.float64)
    return StationaryPrior(torch.zeros(3, dtype=torch.float64), found)


def field(count, side, seed=0):
    """Images of the planted prior."""
    noise = random(count, 4, side + 3, side + 3, seed=seed)
    images = F.conv2d(noise, FILTERS.flip(2, 3))
    return images + math.sqrt(FLOOR) * random(count, 3, side, side, seed=seed + 1)


def generator():
    return torch.Generator().manual_seed(5)


def test_the_planted_prior_is_that_of_the_planted_field():
    images, prior = field(60, 64), planted()
    for y, x in ((0, 0), (1, 0), (2, -1), (0, 3), (-3, 2)):
        moved = images.roll((-y, -x), (2, 3))[:, :, 3:-3, 3:-3]
        found = torch.einsum("niyx,njyx->ij", images[:, :, 3:-3, 3:-3], moved)
        found = found / moved[:, 0].numel()
        expected = prior.at(torch.tensor(y), torch.tensor(x))
        assert (found - expected).norm() < 0.02 * prior.variance.norm()


# ------------------------------------------------------------------------------ the network's


@pytest.mark.parametrize(
    "settings",
    [
        {"kernel_size": 5, "stride": 2},
        {"kernel_size": 3, "padding": 1},
        {"kernel_size": 3, "padding": 2, "dilation": 2, "bias": False},
        {"kernel_size": 3, "groups": 3},
    ],
)
def test_the_networks_convolution_holds_the_classifiers_scaling(settings):
    network = network_of(("conv", nn.Conv2d(3, 6, **settings)), mean=MEAN, std=STD)
    convolution = study.of_network(network)
    images = torch.rand(2, 3, 17, 14, generator=generator())
    mean = images.mean((0, 2, 3), keepdim=True).expand_as(images)
    found = convolution((images - mean).double())
    expected = network(images)["conv"] - network(mean)["conv"]
    assert torch.allclose(found.float(), expected, atol=1e-5)
    assert found.dtype == torch.float64


BETWEEN = {
    "a nonlinearity before it": [("relu", nn.ReLU()), ("conv", nn.Conv2d(3, 6, 3))],
    "pooling before it": [("pool", nn.AvgPool2d(2)), ("conv", nn.Conv2d(3, 6, 3))],
    "a second convolution": [("first", nn.Conv2d(3, 3, 3)), ("conv", nn.Conv2d(3, 6, 3))],
    "another padding": [("conv", nn.Conv2d(3, 6, 3, padding=1, padding_mode="reflect"))],
}


@pytest.mark.parametrize("case", BETWEEN)
def test_anything_but_a_convolution_of_the_image_is_refused(case):
    with pytest.raises(ValueError, match="convolution"):
        study.of_network(network_of(*BETWEEN[case], mean=MEAN, std=STD))


class Recoloured(nn.Module):
    """A convolution of colours scaled one by one, as in torchvision's Inception."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)

    def forward(self, x):
        channels = [x[:, i : i + 1] * (i + 1) - 0.1 * i for i in range(3)]
        return self.conv(torch.cat(channels, 1))


def test_an_affine_map_of_colours_before_the_convolution_counts_as_its_part():
    model = Recoloured()
    network = graph.Network(trace.trace(model), ["conv"], mean=MEAN, std=STD)
    network.load(model.state_dict())
    images = torch.rand(2, 3, 9, 8, generator=generator())
    found = study.of_network(network)((images - 0.5).double())
    expected = network(images)["conv"] - network(torch.full_like(images, 0.5))["conv"]
    assert torch.allclose(found.float(), expected, atol=1e-5)


def test_dense_inverses_too_large_to_hold_are_left_out(caplog, monkeypatch):
    monkeypatch.setattr(study, "ENTRIES", 20_000)
    with caplog.at_level(logging.INFO):
        rows = study.shapes(convolution_of(), planted(), 0.1)
    settings = {row["setting"] for row in rows}
    assert "periodic, stride 1" not in settings
    assert "no dense inverse of periodic, stride 1" in caplog.text


# ------------------------------------------------------------------------------ noise


@pytest.mark.parametrize("stride", [1, 2])
def test_noise_variance_is_a_share_of_the_maps_mean_square(stride):
    convolution, prior, share = convolution_of(stride=stride), planted(), 0.3
    found = study.noise_variance(Moments(convolution, prior, 0.0), share)
    matrix = convolution.matrix(5, 5)  # of one output
    expected = share**2 * (matrix @ prior.matrix(5, 5) @ matrix.T).trace() / len(matrix)
    assert found == pytest.approx(float(expected), rel=1e-10)
    measured = share**2 * convolution(field(40, 48)).square().mean()
    assert found == pytest.approx(float(measured), rel=0.05)


def test_the_torus_of_kernels_is_a_multiple_of_the_stride_and_holds_the_span_thrice():
    for kernel, stride, side in ((3, 1, 96), (11, 4, 96), (7, 2, 96), (5, 7, 98), (40, 32, 128)):
        convolution = convolution_of(outputs=2, kernel=kernel, stride=stride)
        assert study.kernel_side(convolution) == side


# ------------------------------------------------------------------------------ reconstructions

SIZES, SHARE = (4, 7, 10), 0.2
BORDER = 5 + 10 // 2


@pytest.fixture(scope="module")
def table():
    """Reconstructed images of the planted field, and the rows of their errors."""
    convolution, images = convolution_of(), field(24, 44, seed=3)
    found = study.reconstructions(convolution, planted(), images, SHARE, SIZES, generator())
    return found, study.errors(images, found, SHARE, BORDER)


def test_every_method_and_size_has_its_row(table):
    found, rows = table
    assert [(row["method"], row["size"]) for row in rows[2:]] == [
        (method, size) for size in SIZES for method in (TRANSPOSED, SINGLE, CUT)
    ]
    assert [row["method"] for row in rows[:2]] == [OPTIMAL, PSEUDO]
    assert all(math.isnan(row["size"]) for row in rows[:2])
    for entry, row in zip(found, rows, strict=True):
        assert entry.images.shape == (24, 3, 44, 44)
        assert tuple(row) == study.COLUMNS
        for key in ("noise", "mse", "mse_inside", "psnr", "relative_error"):
            assert math.isfinite(row[key]), key
        iterative = row["method"] in (OPTIMAL, PSEUDO)
        assert iterative == math.isfinite(row["iterations"]) == math.isfinite(row["residual"])
        assert math.isfinite(row["expected"]) == (row["method"] in (TRANSPOSED, SINGLE))


def test_measures_are_those_of_the_definition(table):
    images = field(24, 44, seed=3)
    for entry, row in zip(*table, strict=True):
        error = (entry.images - images).square()
        mse = float(error.mean())
        inside = float(error[:, :, BORDER:-BORDER, BORDER:-BORDER].mean())
        assert row["noise"] == SHARE
        assert row["mse"] == pytest.approx(mse)
        assert row["mse_inside"] == pytest.approx(inside)
        assert row["psnr"] == pytest.approx(10 * math.log10(1 / mse))
        assert row["relative_error"] == pytest.approx(mse / float(images.square().mean()))


def test_no_linear_method_is_better_than_the_optimal_inverse(table):
    best, *others = table[1]
    for row in others:
        assert best["mse"] < row["mse"], row
        assert best["mse_inside"] < row["mse_inside"] * 1.001, row


def test_the_prior_foretells_the_error_inside(table):
    for row in table[1]:
        if math.isfinite(row["expected"]):
            assert row["mse_inside"] == pytest.approx(row["expected"], rel=0.03), row


def test_larger_kernels_are_not_worse_and_single_ones_not_better(table):
    expected = {
        method: [row["expected"] for row in table[1] if row["method"] == method]
        for method in (TRANSPOSED, SINGLE)
    }
    for values in expected.values():
        assert values == sorted(values, reverse=True)
    assert all(a < b for a, b in zip(expected[TRANSPOSED], expected[SINGLE], strict=True))


def test_noise_repeats_with_its_seed(table):
    images = field(24, 44, seed=3)
    again = study.reconstructions(convolution_of(), planted(), images, SHARE, [4], generator())
    assert [entry.size for entry in again] == [None, None, 4, 4, 4]
    for first, second in zip(table[0], again, strict=False):
        assert torch.equal(first.images, second.images)


def test_stride_one_has_no_single_convolution_of_its_own():
    convolution, images = convolution_of(outputs=4, kernel=3, stride=1), field(1, 16)
    found = study.reconstructions(convolution, planted(), images, 0.1, [3], generator())
    assert [entry.method for entry in found] == [OPTIMAL, PSEUDO, TRANSPOSED, CUT]


def test_a_size_below_the_stride_has_no_single_convolution():
    convolution, images = convolution_of(outputs=2, stride=4), field(1, 16)
    found = study.reconstructions(convolution, planted(), images, 0.1, [3, 4], generator())
    sizes = {
        method: [e.size for e in found if e.method == method] for method in (TRANSPOSED, SINGLE)
    }
    assert sizes == {TRANSPOSED: [3, 4], SINGLE: [4]}


def test_sizes_that_take_too_large_a_regression_are_left_out_and_named(caplog):
    images = field(1, 16)
    with caplog.at_level(logging.INFO, "deep_restoration"):
        found = study.reconstructions(
            convolution_of(), planted(), images, 0.1, [4, 58], generator()
        )
    sizes = {
        method: [e.size for e in found if e.method == method]
        for method in (TRANSPOSED, SINGLE, CUT)
    }
    assert sizes == {TRANSPOSED: [4], SINGLE: [4], CUT: [4, 58]}
    assert caplog.messages == [
        f"no {TRANSPOSED} of 58 pixels: {29**2 * 8} unknowns",
        f"no {SINGLE} of 58 pixels: {57**2 * 8} unknowns",
    ]


def test_images_without_an_inside_have_no_error_there(table):
    rows = study.errors(field(24, 44, seed=3), table[0][:1], SHARE, 22)
    assert math.isnan(rows[0]["mse_inside"])
    assert math.isfinite(rows[0]["mse"])


# ------------------------------------------------------------------------------ shapes


@pytest.mark.parametrize("padding", [0, 2])
def test_only_periodic_edges_make_the_inverse_a_convolution(padding, monkeypatch):
    monkeypatch.setattr(study, "ENTRIES", 400_000)
    rows = study.shapes(convolution_of(padding=padding), planted(), 0.1)
    assert [tuple(row) for row in rows] == [study.SHAPE_COLUMNS] * 6
    found = {(row["setting"], row["method"]): row for row in rows}
    distances = study.SHAPE_COLUMNS[4:]
    for method in (OPTIMAL, PSEUDO):
        stride_one, periodic, real = (
            found[setting, method]
            for setting in ("periodic, stride 1", "periodic, stride 2", "as in the network")
        )
        assert (stride_one["stride"], periodic["stride"], real["stride"]) == (1, 2, 2)
        assert all(stride_one[name] < 1e-9 for name in distances)
        assert all(periodic[name] < 1e-9 for name in distances[:2])
        assert all(periodic[name] > 1e-3 for name in distances[2:])
        assert all(1e-3 < real[name] < 1 for name in (distances[0], distances[2]))
    edges = found["as in the network", OPTIMAL]
    assert edges["transposed_inside"] < 0.8 * edges["transposed"]
    assert {row["noise"] for row in rows} == {0.1}


def test_a_layer_of_stride_one_has_one_periodic_setting(monkeypatch):
    monkeypatch.setattr(study, "ENTRIES", 100_000)
    rows = study.shapes(convolution_of(outputs=4, kernel=3, stride=1), planted(), 0.1)
    assert [(row["setting"], row["method"]) for row in rows] == [
        (setting, method)
        for setting in ("periodic, stride 1", "as in the network")
        for method in (OPTIMAL, PSEUDO)
    ]


@pytest.mark.parametrize(
    "convolution",
    [
        convolution_of(),
        convolution_of(outputs=96, kernel=11, stride=4),
        convolution_of(outputs=64, kernel=3, stride=1, padding=1),
        convolution_of(outputs=64, kernel=7, stride=2, padding=3),
        convolution_of(outputs=16, kernel=3, stride=1, padding=2, dilation=(2, 2)),
    ],
    ids=["small", "alexnet", "vgg", "resnet", "dilated"],
)
def test_dense_inverses_have_the_largest_maps_within_the_limit(convolution):
    def entries(cells):
        side = study._side(convolution, cells)
        assert convolution.output_shape(side, side) == (cells, cells)
        assert convolution.output_shape(side - 1, side - 1) < (cells, cells)
        return len(convolution.weight) * cells**2 * 3 * side**2

    cells = study.dense_cells(convolution)
    assert entries(cells) <= study.ENTRIES < entries(cells + 1)


# ------------------------------------------------------------------------------ kernels


@pytest.mark.parametrize("stride", [1, 2])
def test_kernels_of_the_figure(stride, monkeypatch):
    monkeypatch.setattr(study, "ENTRIES", 600_000)
    convolution = convolution_of(stride=stride)
    found = study.kernels(convolution, planted(), 0.1)
    assert torch.equal(found["filters"], convolution.weight)
    for name in ("optimal", "pseudo_inverse"):
        assert found[name].shape == (8, 3, 96, 96)
        beyond = found[f"{name}_beyond"]
        assert 0 < beyond[0] < 1
        assert beyond[-1] == pytest.approx(0, abs=1e-9)
        assert (beyond.diff() < 1e-12).all()
    assert found["optimal_beyond"][40] < 1e-2 * found["optimal_beyond"][4]
    cells = study.dense_cells(convolution)
    side = study._side(convolution, cells)
    assert len(found["edge_correction"]) == (side + 1) // 2
    assert found["edge_correction"][0] > 3 * found["edge_correction"][-1]


# ------------------------------------------------------------------------------ of files, by noise


def test_images_are_spread_evenly_over_a_file(tmp_path):
    pixels = np.arange(10, dtype=np.uint8)[:, None, None, None] + np.zeros((10, 2, 3, 3), np.uint8)
    with create_hdf5(tmp_path / "x.h5", "images", {}) as file:
        write_array(file, "images", pixels)
    found = study.images_of(tmp_path / "x.h5", 2)
    assert (found.shape, found.dtype) == ((2, 3, 2, 3), torch.float64)
    torch.testing.assert_close(255 * found[:, 0, 0, 0], torch.tensor([2.0, 7.0]).double())


def test_every_share_of_noise_has_its_rows_around_the_mean(monkeypatch):
    convolution, prior = convolution_of(), planted()
    prior = replace(prior, mean=torch.tensor([0.2, 0.5, 0.4]).double())
    truth, seen = field(2, 24) + prior.mean.view(-1, 1, 1), []

    def reconstructions(convolution, prior, images, share, sizes, draw):
        seen.append((images, share, float(torch.rand(1, generator=draw))))
        return [study.Reconstructed("m", size, images + share, {}) for size in (None, *sizes)]

    monkeypatch.setattr(study, "reconstructions", reconstructions)
    rows, first = study.by_noise(convolution, prior, truth, [0.1, 0.3], [5], 9)
    assert [row["noise"] for row in rows] == [0.1, 0.1, 0.3, 0.3]
    assert [row["mse"] for row in rows] == pytest.approx([0.01, 0.01, 0.09, 0.09])
    for images, share, drawn in seen:
        torch.testing.assert_close(images, truth - prior.mean.view(-1, 1, 1))
        draw = seeds.generator(9, "linear inverse", share)
        assert drawn == float(torch.rand(1, generator=draw))
    assert study.labels(first) == ["m", "m 5"]
    shown = study.first_images(first, prior)
    torch.testing.assert_close(shown, torch.stack([truth[0] + 0.1] * 2))
