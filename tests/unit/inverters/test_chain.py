from collections import OrderedDict
from itertools import pairwise

import pytest
import torch
from torch import nn

from deep_restoration.inverters import modules
from deep_restoration.inverters.chain import Chain, load_chain, save_chain
from deep_restoration.inverters.plan import ModuleSpec, plan_chain, upscaling
from deep_restoration.networks import receptive_fields, sources, trace


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def geometry_of(architecture, size):
    with torch.device("meta"):
        steps = sources.steps_of(architecture, sources.build(architecture))
    layers, stop = receptive_fields.of_layers(steps, size)
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
        specs = plan_chain(layers, layer, modules="resolution")
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
            chain = Chain(specs)
            outputs = chain(torch.empty(2, *own["shape"]))
        for spec, output in zip(specs, outputs, strict=True):
            assert output.shape == (2, *spec.target_shape)


def by_resolution(layers, layer, width=64):
    return plan_chain(layers, layer, width, modules="resolution")


def test_modules_end_at_the_last_layer_of_a_resolution():
    layers = geometry_of("alexnet_lrn", 227)
    specs = by_resolution(layers, "conv5")
    assert [spec.target for spec in specs] == ["norm2", "norm1", "image"]
    specs = by_resolution(layers, "fc8")
    assert [spec.target for spec in specs] == ["resize", "relu5", "norm2", "norm1", "image"]
    assert [spec.target_shape[1] for spec in specs] == [6, 13, 27, 55, 227]


def test_modules_do_not_run_back_towards_the_layer():
    layers = geometry_of("alexnet_lrn", 97)  # its last map, 2 x 2, is resized to 6 x 6
    assert layers["pool5"]["shape"][1] < layers["relu5"]["shape"][1] < layers["resize"]["shape"][1]
    targets = [spec.target for spec in by_resolution(layers, "fc6")]
    assert targets == ["resize", "norm2", "norm1", "image"]


def test_a_block_is_inverted_as_its_last_layer_is():
    layers = geometry_of("squeezenet1_0", 97)
    block = plan_chain(layers, "features.4")
    layer = plan_chain(layers, "features.4.cat")
    assert [spec.target for spec in block] == [spec.target for spec in layer]
    assert [spec.target_shape for spec in block] == [spec.target_shape for spec in layer]


def test_a_block_is_not_inverted_by_way_of_the_layers_behind_it():
    from torchvision.models.feature_extraction import NodePathTracer

    body = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 5, 3, 2, 1))
    model = nn.Sequential(OrderedDict(body=body, resize=nn.AdaptiveAvgPool2d(6)))
    layers, _ = receptive_fields.of_layers(trace.trace(model, NodePathTracer()), 16)
    assert [layers[name]["shape"][1] for name in ("body", "resize")] == [4, 6]
    for name in ("body", "body.1"):
        targets = [spec.target for spec in by_resolution(layers, name)]
        assert targets == ["body.0", "image"]


PARTS = {
    (
        "alexnet_lrn",
        227,
        "fc7",
    ): "drop6 resize relu5 relu4 relu3 pool2 norm2 relu2 pool1 norm1 relu1",
    ("alexnet", 224, "relu6"): "resize relu5 relu4 relu3 pool2 relu2 pool1 relu1",
    ("vgg11", 64, "pool3"): "relu3_2 relu3_1 pool2 relu2_1 pool1 relu1_1",
    # Fire modules as a whole; within one, what lies on all paths.
    ("squeezenet1_0", 128, "features.4"): "features.3.cat features.2 features.1",
    ("squeezenet1_0", 128, "features.4.cat"): "features.3.cat features.2 features.1",
    ("squeezenet1_0", 128, "features.4.squeeze"): "features.3.cat features.2 features.1",
    ("squeezenet1_0", 128, "features.4.squeeze_activation"): "features.3.cat features.2 features.1",
    ("squeezenet1_0", 128, "features.4.expand3x3_activation"): (
        "features.4.squeeze_activation features.3.cat features.2 features.1"
    ),
    ("resnet18", 97, "layer2"): "layer2.0.relu_1 layer1.1.relu_1 layer1.0.relu_1 maxpool relu",
    ("resnet18", 97, "layer1.1.conv2"): "layer1.0.relu_1 maxpool relu",
    ("squeezenet1_0", 128, "features.12"): (
        "features.11 features.10.cat features.9.cat features.8.cat features.7.cat features.6 "
        "features.5.cat features.4.cat features.3.cat features.2 features.1"
    ),
    # Its own normalisation of the input is no part.
    ("googlenet", 128, "inception3b"): (
        "inception3a.cat maxpool2 conv3.relu conv2.relu maxpool1 conv1.relu"
    ),
}


@pytest.mark.parametrize(("architecture", "size", "layer"), PARTS)
def test_a_module_inverts_a_part_of_the_classifier(architecture, size, layer):
    layers = geometry_of(architecture, size)
    found = [spec.target for spec in plan_chain(layers, layer)]
    assert found == [*PARTS[architecture, size, layer].split(), "image"]


@pytest.mark.parametrize(
    ("architecture", "size", "last"),
    [
        ("alexnet_lrn", 97, "fc8"),
        ("alexnet_lrn", 227, "fc8"),
        ("alexnet", 97, "fc8"),
        ("vgg11", 64, "fc8"),
        ("vgg16", 64, "pool5"),
        ("squeezenet1_0", 97, "features.12"),
        ("squeezenet1_1", 98, "features.12"),
        ("resnet18", 97, "avgpool"),
        ("resnet50", 65, "layer4"),
        ("googlenet", 97, "inception5a"),
        ("inception_v3", 139, "Mixed_6b"),
        ("densenet121", 97, "features.denseblock3"),
        ("mobilenet_v2", 97, "features.14"),
    ],
)
def test_chains_of_parts_have_exact_shapes(architecture, size, last):
    layers = geometry_of(architecture, size)
    order = list(layers)
    names = [n for n in order[1 : order.index(last) + 1] if len(layers[n]["shape"]) != 2]
    for layer in [*names[:: max(1, len(names) // 25)], last]:
        specs = plan_chain(layers, layer, 4)
        for spec, following in pairwise(specs):
            assert spec.target == following.source
            assert spec.target_shape == following.source_shape
            assert layers[spec.target]["waypoint"]
            assert order.index(spec.source) > order.index(spec.target)
        assert specs[-1].target_shape == (3, size, size)
        with torch.device("meta"):
            chain = Chain(specs)
            outputs = chain(torch.empty(2, *layers[layer]["shape"]))
        for spec, output in zip(specs, outputs, strict=True):
            assert output.shape == (2, *spec.target_shape)


def test_a_plan_is_of_parts_unless_told_otherwise():
    layers = geometry_of("alexnet_lrn", 97)
    assert plan_chain(layers, "fc6") == plan_chain(layers, "fc6", modules="layer")
    assert len(plan_chain(layers, "fc6")) > len(by_resolution(layers, "fc6"))


def test_a_pooling_that_changes_no_size_is_no_part():
    layers = [
        ("conv1", nn.Conv2d(3, 4, 3)),
        ("relu1", nn.ReLU()),
        ("same", nn.MaxPool2d(3, 1, 1)),
        ("conv2", nn.Conv2d(4, 4, 3, padding=1)),
        ("halved", nn.MaxPool2d(2)),
        ("conv3", nn.Conv2d(4, 5, 3)),
    ]
    found, _ = receptive_fields.of_layers(trace.trace(nn.Sequential(OrderedDict(layers))), 16)
    targets = [spec.target for spec in plan_chain(found, "conv3")]
    assert targets == ["halved", "conv2", "same", "image"]
    assert [spec.target for spec in plan_chain(found, "same")] == ["image"]


def test_a_resizing_is_a_part_only_where_it_resizes():
    rest = "relu5 relu4 relu3 pool2 norm2 relu2 pool1 norm1 relu1 image".split()
    for size, expected in ((227, ["resize"]), (97, ["resize", "pool5"])):
        layers = geometry_of("alexnet_lrn", size)
        targets = [spec.target for spec in plan_chain(layers, "fc6")]
        assert targets == expected + rest


@pytest.mark.parametrize("kind", modules.KINDS)
@pytest.mark.parametrize(
    ("architecture", "size", "layer"),
    [("alexnet_lrn", 97, "fc6"), ("alexnet", 67, "relu6"), ("squeezenet1_0", 97, "features.12")],
)
def test_chains_of_every_kind_have_exact_shapes(architecture, size, layer, kind):
    layers = geometry_of(architecture, size)
    specs = plan_chain(layers, layer, 4, kind)
    assert {spec.kind for spec in specs} == {kind}
    with torch.device("meta"):
        outputs = Chain(specs)(torch.empty(1, *layers[layer]["shape"]))
    assert [output.shape for output in outputs] == [(1, *spec.target_shape) for spec in specs]
    if architecture != "squeezenet1_0":  # sizes also fall, and there are maps of one position
        assert any(spec.source_shape[1] > spec.target_shape[1] for spec in specs)
        assert any(spec.source_shape[1] == 1 for spec in specs)


def test_kernels_follow_what_a_part_looks_at():
    layers = geometry_of("alexnet_lrn", 227)
    kernels = {s.source: (s.kernel, s.stride) for s in plan_chain(layers, "conv5")}
    assert kernels["relu1"] == (11, 4)  # to the image
    assert kernels["relu2"] == (5, 1)
    assert kernels["relu3"] == (3, 1)
    assert kernels["pool1"][1] == 2


def test_width_bounds_the_hidden_channels():
    layers = geometry_of("alexnet_lrn", 227)
    assert [s.hidden for s in by_resolution(layers, "fc6", 32)] == [128, 128, 128, 96, 32]
    assert [s.hidden for s in by_resolution(layers, "conv2", 128)] == [128, 128]


def test_transposed_convolutions_hit_every_size_exactly():
    for small in range(1, 70):
        for large in range(small + 1, 71):
            kernel, stride, padding = upscaling(small, large)
            assert stride >= 1
            assert padding >= 0
            assert (small - 1) * stride - 2 * padding + kernel == large
            assert kernel >= stride or small == 1  # every pixel is reached
            assert padding < kernel


@pytest.mark.parametrize("wanted", [1, 4, 7])
def test_kernels_are_no_smaller_than_what_a_part_looks_at(wanted):
    for small in range(2, 40):
        for large in range(1, 80):
            kernel, stride, padding = upscaling(small, large, wanted)
            assert (small - 1) * stride - 2 * padding + kernel == large
            assert kernel >= max(wanted, 3, 2 * stride)
            assert padding == 0 or kernel - 2 < max(wanted, 3, 2 * stride)  # nor larger than needed


@pytest.mark.parametrize(("small", "large"), [(1, 6), (2, 5), (6, 13), (23, 97), (13, 14), (3, 70)])
def test_transposed_convolutions_of_torch_agree(small, large):
    kernel, stride, padding = upscaling(small, large)
    module = nn.ConvTranspose2d(1, 1, kernel, stride, padding)
    nn.init.ones_(module.weight)
    with torch.no_grad():
        maps = module(torch.ones(1, 1, small, small)) - module.bias
    assert maps.shape == (1, 1, large, large)
    assert maps.min() > 0.5


# ------------------------------------------------------------------------------ chains


@pytest.fixture
def specs(small_plans):
    return small_plans["resolution"]


def test_scales_make_every_layer_of_unit_size(small_network, specs, small_pictures):
    maps = small_network(small_pictures)
    samples = [maps["conv2"], maps["relu1"], small_pictures]
    chain = Chain(specs)
    chain.fit_scales(samples)
    for index, sample in enumerate(samples):
        unit = chain.normalise(sample, index)
        torch.testing.assert_close(
            unit.mean((0, 2, 3)), torch.zeros(sample.shape[1]), atol=1e-4, rtol=0
        )
        mean = sample.mean((0, 2, 3), keepdim=True)
        torch.testing.assert_close(unit, (sample - mean) / sample.std(), atol=1e-4, rtol=1e-4)


def test_the_image_is_in_the_units_of_the_image(small_network, specs, small_pictures):
    maps = small_network(small_pictures)
    chain = Chain(specs)
    chain.fit_scales([maps["conv2"], maps["relu1"], small_pictures])
    with torch.no_grad():
        image = chain.image(maps["conv2"])
        assert image.shape == small_pictures.shape
        normalised = chain(maps["conv2"])[-1]
    torch.testing.assert_close(chain.normalise(image, 2), normalised, atol=1e-5, rtol=1e-4)


def test_flat_layers_are_taken_as_maps_of_one_position():
    spec = ModuleSpec("fc", "image", (7, 1, 1), (3, 5, 5), 5, 1, 0, 4)
    chain = Chain([spec])
    codes = torch.randn(6, 7)
    chain.fit_scales([codes, torch.rand(6, 3, 5, 5)])
    assert torch.equal(chain.image(codes), chain.image(codes[:, :, None, None]))
    assert chain.image(codes).shape == (6, 3, 5, 5)


def test_a_chain_without_modules_is_none():
    with pytest.raises(ValueError, match="needs a module"):
        Chain([])


SIZES = [(1, 1), (1, 6), (6, 6), (6, 13), (13, 27), (7, 15), (15, 31), (13, 14), (5, 23)]
SIZES += [(6, 2), (6, 1), (6, 5)]


@pytest.mark.parametrize("kind", modules.KINDS)
@pytest.mark.parametrize(("small", "large"), SIZES)
def test_every_kind_of_module_hits_every_size(kind, small, large):
    shape = upscaling(small, large, 4)
    spec = ModuleSpec("a", "b", (5, small, small), (7, large, large), *shape, 8, kind)
    module = modules.KINDS[kind](spec)
    maps = torch.randn(2, 5, small, small, requires_grad=True)
    found = module(maps)
    assert found.shape == (2, 7, large, large)
    (slope,) = torch.autograd.grad(found[0].square().sum(), maps)
    assert (slope[1] == 0).all()  # images of a batch do not mix
    assert float(slope[0].abs().sum()) > 0 or large < small


def test_residual_modules_are_linear_before_training():
    spec = ModuleSpec("a", "b", (5, 6, 6), (7, 13, 13), 3, 2, 0, 8, "residual")
    module = modules.residual(spec)
    maps = torch.randn(2, 5, 6, 6)
    torch.testing.assert_close(module(maps), module.linear(maps))
    block = module.blocks[0]
    inner = torch.randn(2, 8, 6, 6)
    assert torch.equal(block(inner), inner)


def test_subpixel_convolution_is_a_convolution_interleaved():
    module = modules.SubPixel(3, 2, 2, 9)
    maps = torch.randn(1, 3, 4, 4)
    whole = module.conv(maps)
    found = module(maps)
    assert found.shape == (1, 2, 9, 9)
    for channel, row, column in ((0, 0, 0), (1, 5, 2), (0, 7, 6)):
        source = whole[0, 4 * channel + 2 * (row % 2) + column % 2, row // 2, column // 2]
        assert torch.equal(found[0, channel, row, column], source)


@pytest.mark.parametrize("size", [1, 5, 7, 8, 9, 12])
def test_subpixel_convolution_is_cut_or_its_edge_repeated(size):
    module = modules.SubPixel(3, 2, 2, size)
    maps = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = module(maps)
        whole = nn.functional.pixel_shuffle(module.conv(maps), 2)
    assert found.shape == (1, 2, size, size)
    first = -((size - 8) // 2)  # the place in the whole of the first row
    rows = (torch.arange(size) + first).clamp(0, 7)
    assert torch.equal(found, whole[..., rows, :][..., rows])


def test_modules_apart_are_fed_true_maps(small_network, specs, small_pictures):
    maps = small_network(small_pictures)
    chain = Chain(specs)
    chain.fit_scales([maps["conv2"], maps["relu1"], small_pictures])
    first, second = chain.apart([maps["conv2"], maps["relu1"]])
    assert torch.equal(first, chain.parts[0](chain.normalise(maps["conv2"], 0)))
    assert torch.equal(second, chain.parts[1](chain.normalise(maps["relu1"], 1)))


def test_modules_apart_fed_with_predictions_are_the_chain(
    small_network, small_plans, small_pictures
):
    maps = small_network(small_pictures)
    own = [maps["conv2"], maps["pool1"], maps["relu1"]]
    chain = Chain(small_plans["layer"])
    chain.fit_scales([*own, small_pictures])
    with torch.no_grad():
        stacked = chain(own[0])
        raw = [chain.denormalise(found, index) for index, found in enumerate(stacked, 1)]
        apart = chain.apart([own[0], *raw[:-1]])
    for one, other in zip(apart, stacked, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_reconstructing_inverts_normalising(small_network, small_plans, small_pictures):
    maps = small_network(small_pictures)
    samples = [maps["conv2"], maps["pool1"], maps["relu1"], small_pictures]
    chain = Chain(small_plans["layer"])
    chain.fit_scales(samples)
    for index, sample in enumerate(samples):
        back = chain.denormalise(chain.normalise(sample, index), index)
        torch.testing.assert_close(back, sample, rtol=1e-5, atol=1e-5)


def test_layers_that_never_change_have_a_scale(specs):
    chain = Chain(specs)
    shapes = [specs[0].source_shape, *(spec.target_shape for spec in specs)]
    samples = [torch.full((4, *shape), 2.0) for shape in shapes]
    chain.fit_scales(samples)
    for index, sample in enumerate(samples):
        assert (chain.normalise(sample, index) == 0).all()
        assert (chain.denormalise(torch.zeros_like(sample), index) == 2).all()


@pytest.mark.parametrize("kind", modules.KINDS)
def test_every_kind_is_stored_and_read(kind, tmp_path):
    shape = upscaling(6, 13)
    spec = ModuleSpec("a", "image", (5, 6, 6), (3, 13, 13), *shape, 4, kind)
    chain = Chain([spec])
    save_chain(tmp_path / "inverter.safetensors", chain, {"settings": {}})
    maps = torch.randn(2, 5, 6, 6)
    found = load_chain(tmp_path / "inverter.safetensors")
    assert found.specs == [spec]
    assert torch.equal(found.image(maps), chain.image(maps).detach())


def test_a_stored_chain_predicts_the_same_images(small_network, specs, small_pictures, tmp_path):
    chain = Chain(specs)
    maps = small_network(small_pictures)
    chain.fit_scales([maps["conv2"], maps["relu1"], small_pictures])
    save_chain(tmp_path / "inverter.safetensors", chain, {"settings": {}})
    found = load_chain(tmp_path / "inverter.safetensors")
    assert found.specs == chain.specs
    assert not any(parameter.requires_grad for parameter in found.parameters())
    with torch.no_grad():
        assert torch.equal(found.image(maps["conv2"]), chain.image(maps["conv2"]))
