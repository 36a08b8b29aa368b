import math
from collections import OrderedDict
from itertools import pairwise

import pytest
import torch
from torch import nn

from deep_restoration import classifiers, graph, inverters, runtime


def geometry_of(architecture, size):
    with torch.device("meta"):
        steps = classifiers.steps_of(architecture, classifiers.build(architecture))
    layers, stop = graph.geometry(steps, size)
    assert stop is None
    return layers


def side(shape):
    return (*shape, 1, 1)[1]


# ------------------------------------------------------------------------------ plans


@pytest.mark.parametrize(
    ("architecture", "size"),
    [
        ("alexnet_lrn", 67),
        ("alexnet_lrn", 97),
        ("alexnet_lrn", 227),
        ("alexnet", 97),
        ("alexnet", 224),
        ("vgg11", 97),
        ("vgg11", 64),
        ("resnet18", 97),
        ("resnet18", 64),
        ("squeezenet1_0", 97),
        ("squeezenet1_0", 130),
    ],
)
def test_chains_of_all_layers_end_at_the_image(architecture, size):
    layers = geometry_of(architecture, size)
    order = list(layers)
    for layer, own in layers.items():
        if layer == "image":
            continue
        specs = inverters.plan_chain(layers, layer, modules="resolution")
        assert specs[0].source == layer
        assert specs[-1].target == "image"
        assert specs[-1].target_shape == (3, size, size)
        for spec, following in pairwise(specs):
            assert spec.target == following.source
            assert spec.target_shape == following.source_shape
            assert layers[spec.target]["waypoint"]
            assert order.index(following.source) > order.index(following.target)
        sides = [spec.source_shape[1] for spec in specs]
        assert sides == sorted(set(sides))
        if own["waypoint"]:
            assert order.index(layer) > order.index(specs[0].target)
        with torch.device("meta"):
            chain = inverters.Chain(specs)
            outputs = chain(torch.empty(2, *own["shape"]))
        for spec, output in zip(specs, outputs, strict=True):
            assert output.shape == (2, *spec.target_shape)


def test_modules_end_at_the_last_layer_of_a_resolution():
    layers = geometry_of("alexnet_lrn", 227)
    specs = inverters.plan_chain(layers, "conv5")
    assert [spec.target for spec in specs] == ["norm2", "norm1", "image"]
    specs = inverters.plan_chain(layers, "fc8")
    assert [spec.target for spec in specs] == ["resize", "relu5", "norm2", "norm1", "image"]
    assert [spec.target_shape[1] for spec in specs] == [6, 13, 27, 55, 227]


def test_modules_do_not_run_back_towards_the_layer():
    layers = geometry_of("alexnet_lrn", 97)  # its last map, 2 x 2, is resized to 6 x 6
    assert layers["pool5"]["shape"][1] < layers["relu5"]["shape"][1] < layers["resize"]["shape"][1]
    targets = [spec.target for spec in inverters.plan_chain(layers, "fc6")]
    assert targets == ["resize", "norm2", "norm1", "image"]


def test_a_block_is_inverted_as_its_last_layer_is():
    layers = geometry_of("squeezenet1_0", 97)
    block = inverters.plan_chain(layers, "features.4")
    layer = inverters.plan_chain(layers, "features.4.cat")
    assert [spec.target for spec in block] == [spec.target for spec in layer]
    assert [spec.target_shape for spec in block] == [spec.target_shape for spec in layer]


def test_a_block_is_not_inverted_by_way_of_the_layers_behind_it():
    from torchvision.models.feature_extraction import NodePathTracer

    body = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 5, 3, 2, 1))
    model = nn.Sequential(OrderedDict(body=body, resize=nn.AdaptiveAvgPool2d(6)))
    layers, _ = graph.geometry(graph.trace(model, NodePathTracer()), 16)
    assert [layers[name]["shape"][1] for name in ("body", "resize")] == [4, 6]
    for name in ("body", "body.1"):
        targets = [spec.target for spec in inverters.plan_chain(layers, name)]
        assert targets == ["body.0", "image"]


def test_width_bounds_the_hidden_channels():
    layers = geometry_of("alexnet_lrn", 227)
    assert [s.hidden for s in inverters.plan_chain(layers, "fc6", 32)] == [256, 256, 256, 96, 32]
    assert [s.hidden for s in inverters.plan_chain(layers, "conv2", 128)] == [128, 128]


def test_transposed_convolutions_hit_every_size_exactly():
    for small in range(1, 70):
        for large in range(small + 1, 71):
            kernel, stride, padding = inverters._upscale(small, large)
            assert stride >= 1
            assert padding >= 0
            assert (small - 1) * stride - 2 * padding + kernel == large
            assert kernel >= stride or small == 1  # every pixel is reached
            assert padding < kernel


@pytest.mark.parametrize(("small", "large"), [(1, 6), (2, 5), (6, 13), (23, 97), (13, 14), (3, 70)])
def test_transposed_convolutions_of_torch_agree(small, large):
    kernel, stride, padding = inverters._upscale(small, large)
    module = nn.ConvTranspose2d(1, 1, kernel, stride, padding)
    nn.init.ones_(module.weight)
    with torch.no_grad():
        maps = module(torch.ones(1, 1, small, small)) - module.bias
    assert maps.shape == (1, 1, large, large)
    assert maps.min() > 0.5


# ------------------------------------------------------------------------------ chains


@pytest.fixture(scope="module")
def network(small_classifier):
    steps, state = small_classifier
    return graph.Network(steps, ["conv1", "relu1", "conv2"]).load(state)


@pytest.fixture(scope="module")
def specs(small_classifier):
    layers, _ = graph.geometry(small_classifier[0], 21)
    specs = inverters.plan_chain(layers, "conv2", 8)
    assert [spec.target for spec in specs] == ["relu1", "image"]
    return specs


@pytest.fixture(scope="module")
def pictures():
    """Thirty smooth pictures of 21 x 21 pixels."""
    coarse = torch.rand(30, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    return nn.functional.interpolate(coarse, size=21, mode="bilinear")


def test_scales_make_every_layer_of_unit_size(network, specs, pictures):
    maps = network(pictures)
    samples = [maps["conv2"], maps["relu1"], pictures]
    chain = inverters.Chain(specs)
    chain.fit_scales(samples)
    for index, sample in enumerate(samples):
        unit = chain.normalise(sample, index)
        torch.testing.assert_close(
            unit.mean((0, 2, 3)), torch.zeros(sample.shape[1]), atol=1e-4, rtol=0
        )
        mean = sample.mean((0, 2, 3), keepdim=True)
        torch.testing.assert_close(unit, (sample - mean) / sample.std(), atol=1e-4, rtol=1e-4)


def test_the_image_is_in_the_units_of_the_image(network, specs, pictures):
    maps = network(pictures)
    chain = inverters.Chain(specs)
    chain.fit_scales([maps["conv2"], maps["relu1"], pictures])
    with torch.no_grad():
        image = chain.image(maps["conv2"])
        assert image.shape == pictures.shape
        normalised = chain(maps["conv2"])[-1]
    torch.testing.assert_close(chain.normalise(image, 2), normalised, atol=1e-5, rtol=1e-4)


def test_flat_layers_are_taken_as_maps_of_one_position():
    spec = inverters.ModuleSpec("fc", "image", (7, 1, 1), (3, 5, 5), 5, 1, 0, 4)
    chain = inverters.Chain([spec])
    codes = torch.randn(6, 7)
    chain.fit_scales([codes, torch.rand(6, 3, 5, 5)])
    assert torch.equal(chain.image(codes), chain.image(codes[:, :, None, None]))
    assert chain.image(codes).shape == (6, 3, 5, 5)


def test_a_chain_without_modules_has_no_image():
    with pytest.raises(ValueError, match="no module"):
        inverters.Chain([]).image(torch.zeros(1, 3, 4, 4))


def test_a_stored_chain_predicts_the_same_images(network, specs, pictures, tmp_path):
    chain = inverters.Chain(specs)
    maps = network(pictures)
    chain.fit_scales([maps["conv2"], maps["relu1"], pictures])
    inverters.save(tmp_path / "inverter.safetensors", chain, {"settings": {}})
    found = inverters.load(tmp_path / "inverter.safetensors")
    assert found.specs == chain.specs
    assert not any(parameter.requires_grad for parameter in found.parameters())
    with torch.no_grad():
        assert torch.equal(found.image(maps["conv2"]), chain.image(maps["conv2"]))


