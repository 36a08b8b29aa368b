import copy
import json
import math

import networkx
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from deep_restoration.networks import graph, operations, receptive_fields, sources, trace


def steps_of(architecture):
    with torch.device("meta"):
        return sources.steps_of(architecture, sources.build(architecture))


@pytest.fixture(scope="module")
def alexnet_steps():
    return steps_of("alexnet")


@pytest.fixture(scope="module")
def lrn_steps():
    return steps_of("alexnet_lrn")


@pytest.fixture(scope="module")
def squeezenet():
    torch.manual_seed(0)
    model = sources.build("squeezenet1_0")
    return model, sources.steps_of("squeezenet1_0", model)


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(0)
    model = sources.build("resnet18")
    for name, buffer in model.named_buffers():  # statistics that do something
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.1)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    return model, sources.steps_of("resnet18", model)


def traced(model, steps, layers):
    return graph.Network(steps, layers).load(model.state_dict())


def image(size, count=1):
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1))


# ------------------------------------------------------------------------------ equal outputs


@pytest.mark.parametrize(("architecture", "size"), [("inception_v3", 80), ("googlenet", 64)])
def test_traced_branches_compute_what_the_module_computes(architecture, size):
    torch.manual_seed(0)
    model = sources.build(architecture)
    steps = sources.steps_of(architecture, model)
    images = image(size, 2)
    with torch.no_grad():
        (found,) = traced(model, steps, [steps[-1]["name"]])(images).values()
        assert torch.equal(found, model(images))


def test_squeezenet_traced_computes_what_the_module_computes(squeezenet):
    model, steps = squeezenet
    images = image(65, 2)
    with torch.no_grad():
        (found,) = traced(model, steps, [steps[-1]["name"]])(images).values()
        assert torch.equal(found, model(images))


def test_resnet_traced_computes_what_the_module_computes(resnet):
    model, steps = resnet
    images = image(64, 2)
    with torch.no_grad():
        (found,) = traced(model, steps, ["fc"])(images).values()
        assert torch.equal(found, model(images))


def test_vgg_without_its_fully_connected_layers_computes_what_the_module_computes():
    from torchvision.models.vgg import cfgs, make_layers

    features = make_layers(cfgs["A"]).eval()
    state = {f"features.{name}": value for name, value in features.state_dict().items()}
    network = graph.Network(steps_of("vgg11"), ["pool5"]).load(state)
    images = image(48)
    with torch.no_grad():
        assert torch.equal(network(images)["pool5"], features(images))


def test_alexnet_traced_computes_what_the_module_computes(alexnet_steps):
    torch.manual_seed(0)
    model = sources.build("alexnet")
    images = image(70)
    with torch.no_grad():
        found = traced(model, alexnet_steps, ["conv1", "relu1", "fc8"])(images)
        assert torch.equal(found["fc8"], model(images))
        assert torch.equal(found["conv1"], model.features[0](images))
        assert torch.equal(found["relu1"], found["conv1"].relu())
    assert found["conv1"].min() < 0


def test_alexnet_lrn_traced_computes_what_the_module_computes(lrn_steps):
    torch.manual_seed(0)
    model = sources.alexnet_lrn().eval()
    images = image(80) * 100  # large enough for the normalisation to act
    with torch.no_grad():
        (found,) = traced(model, lrn_steps, ["fc8"])(images).values()
        expected = model(images)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


def test_maps_before_an_in_place_relu_keep_their_negative_values(squeezenet):
    model, steps = squeezenet
    images = image(65)
    with torch.no_grad():
        found = traced(model, steps, ["features.0", "features.1"])(images)
        plain = copy.deepcopy(model.features[0])(images)
    assert torch.equal(found["features.0"], plain)
    assert found["features.0"].min() < 0
    assert found["features.1"].min() == 0


def test_maps_before_an_in_place_addition_are_not_added_to(resnet):
    model, steps = resnet
    names = ["maxpool", "layer1.0.bn2", "layer1.0.add", "layer1.0.relu_1"]
    with torch.no_grad():
        found = traced(model, steps, names)(image(64))
        block = model.layer1[0]
        inner = block.bn2(block.conv2(block.bn1(block.conv1(found["maxpool"])).relu()))
    assert torch.equal(found["layer1.0.bn2"], inner)
    assert torch.equal(found["layer1.0.add"], inner + found["maxpool"])
    assert torch.equal(found["layer1.0.relu_1"], found["layer1.0.add"].relu())


def test_all_layers_at_once_equal_each_layer_alone(small_classifier):
    steps, state = small_classifier
    names = ["conv1", "relu1", "pool1", "conv2"]
    images = image(20, 2)
    together = graph.Network(steps, names).load(state)(images)
    for name in names:
        assert torch.equal(graph.Network(steps, [name]).load(state)(images)[name], together[name])


def test_normalisation_comes_before_the_first_layer(small_classifier):
    steps, state = small_classifier
    mean, std = (0.1, 0.5, 0.7), (0.2, 0.3, 0.4)
    images = image(20)
    plain = graph.Network(steps, ["conv2"]).load(state)
    inside = graph.Network(steps, ["conv2"], mean, std).load(state)
    moved = (images - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
    torch.testing.assert_close(inside(images)["conv2"], plain(moved)["conv2"])


class Odd(nn.Module):
    """Parameters, an index buffer, slices, sizes, in-place functions and methods."""

    def __init__(self):
        super().__init__()
        self.shift = nn.Parameter(torch.randn(3, 1, 1))
        self.register_buffer("order", torch.tensor([2, 0, 1]))
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, x):
        y = x[:, self.order][:, :, 1:, ...] + self.shift
        y = F.relu(y, inplace=True)
        y = self.conv(y)
        z = torch.cat([y, y.flip(3)], 1)
        return z.reshape(z.size(0), -1).clamp(min=-0.5)


def test_parameters_slices_sizes_and_methods_survive_json():
    torch.manual_seed(0)
    model = Odd().eval()
    steps = json.loads(json.dumps(trace.trace(model)))
    network = graph.Network(steps, [steps[-1]["name"]]).load(model.state_dict())
    assert network.tensors() == {"shift", "order", "conv.weight", "conv.bias"}
    assert receptive_fields.of_layers(steps, 9)[1] is None
    for count, size in ((1, 7), (3, 9)):
        (found,) = network(image(size, count)).values()
        assert torch.equal(found, model(image(size, count)))


def test_loaded_networks_are_frozen_and_in_evaluation_mode(resnet):
    model, steps = resnet
    network = traced(model, steps, ["layer1.0.bn1"])
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    maps = network(image(64).requires_grad_())["layer1.0.bn1"]
    assert maps.requires_grad  # gradients still reach the image


# ------------------------------------------------------------------------------ cutting and names


def test_cutting_removes_the_weights_behind_the_layer(alexnet_steps):
    with torch.device("meta"):
        network = graph.Network(alexnet_steps, ["relu2"])
    expected = {f"features.{i}.{kind}" for i in (0, 3) for kind in ("weight", "bias")}
    assert network.tensors() == expected


def test_cutting_keeps_just_the_branches_in_front(squeezenet):
    _, steps = squeezenet
    names = {step["name"] for step in graph.cut(steps, ["features.3.expand1x1"])}
    assert "features.3.squeeze" in names
    assert not any("expand3x3" in name or name.startswith("features.4") for name in names)


def test_block_names_mean_the_output_of_the_block(squeezenet, resnet):
    model, steps = squeezenet
    images = image(65)
    with torch.no_grad():
        found = traced(model, steps, ["features.4"])(images)
        assert torch.equal(found["features.4"], model.features[:5](images))
        model, steps = resnet
        found = traced(model, steps, ["layer1", "layer2.0"])(images)
        stem = model.maxpool(model.bn1(model.conv1(images)).relu())
        assert torch.equal(found["layer1"], model.layer1(stem))
        assert torch.equal(found["layer2.0"], model.layer2[0](model.layer1(stem)))


def test_unknown_layers_are_refused(alexnet_steps):
    with pytest.raises(ValueError, match="conv9"):
        graph.resolve(alexnet_steps, "conv9")


def test_literature_names_of_alexnet_in_their_order(alexnet_steps):
    assert [step["name"] for step in alexnet_steps] == (
        "image conv1 relu1 pool1 conv2 relu2 pool2 conv3 relu3 conv4 relu4 conv5 relu5 pool5 "
        "resize flatten drop6 fc6 relu6 drop7 fc7 relu7 fc8"
    ).split()


def test_literature_names_of_vgg16_in_their_order():
    expected = ["image"]
    for block, depth in enumerate((2, 2, 3, 3, 3), start=1):
        for number in range(1, depth + 1):
            expected += [f"conv{block}_{number}", f"relu{block}_{number}"]
        expected.append(f"pool{block}")
    expected += "resize flatten fc6 relu6 drop6 fc7 relu7 drop7 fc8".split()
    assert [step["name"] for step in steps_of("vgg16")] == expected


def test_alexnet_lrn_normalises_before_it_pools(lrn_steps):
    assert [step["name"] for step in lrn_steps] == (
        "image conv1 relu1 norm1 pool1 conv2 relu2 norm2 pool2 conv3 relu3 conv4 relu4 conv5 relu5 "
        "pool5 resize flatten fc6 relu6 drop6 fc7 relu7 drop7 fc8"
    ).split()


# ------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    "target", ["os.system", "subprocess.Popen", "builtins.eval", "torch.os.system", "eval"]
)
def test_functions_from_outside_torch_are_refused(target):
    steps = [
        {"name": "image", "kind": "input", "arguments": [], "keywords": {}},
        {
            "name": "bad",
            "kind": "function",
            "target": target,
            "arguments": [{"step": "image"}],
            "keywords": {},
        },
    ]
    with pytest.raises(ValueError, match=target):
        graph.Network(steps, ["bad"])(image(4))


def test_modules_from_outside_torch_are_refused():
    steps = [{"name": "image", "kind": "input", "arguments": [], "keywords": {}}]
    steps += [{"name": "bad", "kind": "module", "path": "a", "target": "subprocess.Popen"}]
    steps[1] |= {"settings": {"args": "true"}, "arguments": [{"step": "image"}], "keywords": {}}
    with pytest.raises(ValueError, match=r"subprocess\.Popen"):
        graph.Network(steps, ["bad"])


def test_attributes_of_tensors_other_than_their_shape_are_refused():
    steps = [{"name": "image", "kind": "input", "arguments": [], "keywords": {}}]
    steps += [{"name": "bad", "kind": "function", "target": "getattr", "keywords": {}}]
    steps[1]["arguments"] = [{"step": "image"}, "__class__"]
    with pytest.raises(ValueError, match="__class__"):
        graph.Network(steps, ["bad"])(image(4))


# ------------------------------------------------------------------------------ local response


@pytest.mark.parametrize(("size", "channels"), [(5, 12), (5, 3), (4, 9), (3, 2), (1, 4)])
def test_local_response_norm_equals_that_of_torch(size, channels):
    maps = 30 * torch.randn(2, channels, 4, 5, dtype=torch.float64)
    found = operations.LocalResponseNorm(size, 1e-2, 0.75, 2.0)(maps)
    expected = F.local_response_norm(maps, size, 1e-2, 0.75, 2.0)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


def test_local_response_norm_equals_a_loop():
    maps = 20 * torch.randn(1, 7, 2, 1, dtype=torch.float64)
    found = operations.LocalResponseNorm(5, 1e-2, 0.75, 1.0)(maps)
    for channel in range(7):
        for row in range(2):
            near = range(max(0, channel - 2), min(7, channel + 3))
            total = sum(maps[0, c, row, 0].item() ** 2 for c in near)
            expected = maps[0, channel, row, 0].item() / (1 + 1e-2 / 5 * total) ** 0.75
            assert found[0, channel, row, 0].item() == pytest.approx(expected, rel=1e-12)


# ------------------------------------------------------------------------------ what is seen


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "size", "last"),
    [
        *((3, 1, 0, 9, 9), (3, 2, 0, 9, 9), (3, 2, 0, 10, 9), (5, 4, 0, 11, 9), (3, 2, 1, 10, 10)),
        (2, 5, 0, 14, 12),  # windows with gaps between them: up to the last
    ],
)
def test_windows_that_move_by_several_pixels_may_leave_out_the_last(
    kernel, stride, padding, size, last
):
    torch.manual_seed(0)
    model = nn.Sequential()
    model.add_module("conv1", nn.Conv2d(3, 4, kernel, stride, padding))
    model.add_module("relu1", nn.ReLU())
    network = graph.Network(trace.trace(model), ["relu1"]).load(model.state_dict())
    assert receptive_fields.seen(network, "relu1", size) == (slice(0, last), slice(0, last))


def test_of_a_dead_layer_all_pixels_count_as_seen():
    model = nn.Sequential()
    model.add_module("conv1", nn.Conv2d(3, 4, 3, 2))
    model.add_module("relu1", nn.ReLU())
    nn.init.constant_(model.conv1.bias, -100)
    network = graph.Network(trace.trace(model), ["relu1"]).load(model.state_dict())
    assert receptive_fields.seen(network, "relu1", 10) == (slice(0, 10), slice(0, 10))


@pytest.mark.parametrize(("size", "last"), [(128, 127), (129, 129)])
@pytest.mark.parametrize("layer", ["features.1", "features.7"])
def test_squeezenet_does_not_see_the_last_of_128_pixels(size, last, layer):
    torch.manual_seed(0)
    model = sources.build("squeezenet1_0")
    network = graph.Network(sources.steps_of("squeezenet1_0", model), [layer]).load(
        model.state_dict()
    )
    assert receptive_fields.seen(network, layer, size) == (slice(0, last), slice(0, last))


# ------------------------------------------------------------------------------ mixed precision


def test_a_network_with_weights_cast_beforehand_computes_what_autocast_computes():
    model = sources.build("resnet18")
    steps = sources.steps_of("resnet18", model)
    network = graph.Network(steps, ["fc"]).load(model.state_dict())
    kept = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    working = graph.in_bfloat16(network)
    images = image(64).requires_grad_()
    found = []
    for each in (network, working):
        with torch.autocast("cpu", torch.bfloat16):
            maps = each(images)["fc"]
        found.append((maps, *torch.autograd.grad(maps.float().square().sum(), images)))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
    cast = {
        name for name, tensor in working.state_dict().items() if tensor.dtype != kept[name].dtype
    }
    assert {"weights.conv1.weight", "weights.fc.weight", "weights.fc.bias"} <= cast
    assert not any("bn" in name for name in cast)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, kept[name])
        shared = working.state_dict()[name].data_ptr() == tensor.data_ptr()
        assert shared == (name not in cast)


# ------------------------------------------------------------------------------ convolutions of images


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "size"),
    [
        *((11, 4, 2, 64), (11, 4, 0, 66), (7, 2, 0, 32), (7, 2, 3, 31), (3, 2, 1, 9), (2, 2, 0, 7)),
        *(((5, 3), 2, (2, 0), 13), (5, 3, (0, 4), 17)),
    ],
)
def test_convolutions_of_images_have_the_gradient_of_torch(kernel, stride, padding, size):
    ours = operations.Conv2d(3, 5, kernel, stride, padding).double().requires_grad_(False)
    images = torch.rand(2, 3, size, size + 1, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(ours(images).shape, dtype=torch.float64)
    found = torch.autograd.grad((ours(images) * weights).sum(), images)[0]
    same = F.conv2d(images, ours.weight, ours.bias, stride, padding)
    expected = torch.autograd.grad((same * weights).sum(), images)[0]
    torch.testing.assert_close(ours(images), same)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    assert ours(images).grad_fn.name() == "_FoldedGradientBackward"


def test_gradients_of_convolutions_of_images_equal_finite_differences():
    layer = operations.Conv2d(2, 3, 4, 2, 1).double().requires_grad_(False)
    images = torch.rand(1, 2, 7, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, images)
    assert torch.autograd.gradgradcheck(layer, images)


def test_convolutions_of_images_in_mixed_precision_give_a_gradient_in_that_of_the_image():
    layer = operations.Conv2d(3, 8, 5, 2).requires_grad_(False)
    images = torch.rand(2, 3, 20, 20, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        maps = layer(images)
    assert maps.dtype == torch.bfloat16
    (found,) = torch.autograd.grad(maps.float().square().sum(), images)
    (expected,) = torch.autograd.grad(layer(images).square().sum(), images)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02 * expected.abs().max().item())


@pytest.mark.parametrize(
    "options",
    [
        *({"stride": 1}, {"stride": (2, 1)}, {"stride": 4}, {"stride": 1, "padding": "same"}),
        *({"groups": 3}, {"dilation": 2}, {"padding_mode": "circular", "padding": 1}),
    ],
)
def test_other_convolutions_are_those_of_torch(options):
    options = {"stride": 2, **options}
    ours = operations.Conv2d(3, 6, 3, **options).requires_grad_(False)
    theirs = torch.nn.Conv2d(3, 6, 3, **options)
    theirs.load_state_dict(ours.state_dict())
    images = torch.rand(1, 3, 12, 12, requires_grad=True)
    torch.testing.assert_close(ours(images), theirs(images))
    assert "Folded" not in ours(images).grad_fn.name()


def test_convolutions_that_learn_get_gradients_of_their_weights():
    layer = operations.Conv2d(3, 4, 3, 2)
    images = torch.rand(2, 3, 9, 9, requires_grad=True)
    layer(images).square().sum().backward()
    assert all(values.grad.any() for values in (images, layer.weight, layer.bias))


# ------------------------------------------------------------------------------ geometry


@pytest.mark.parametrize("architecture", ["alexnet", "alexnet_lrn"])
def test_receptive_fields_and_strides_of_alexnet(architecture):
    layers, stop = receptive_fields.of_layers(steps_of(architecture), 227)
    assert stop is None
    fields = {"conv1": 11, "pool1": 19, "conv2": 51, "pool2": 67}
    fields |= {"conv3": 99, "conv4": 131, "conv5": 163, "pool5": 195}
    strides = {"conv1": 4, "pool1": 8, "conv2": 8, "pool2": 16}
    strides |= {"conv3": 16, "conv4": 16, "conv5": 16, "pool5": 32}
    assert {name: layers[name]["receptive_field"] for name in fields} == fields
    assert {name: layers[name]["stride"] for name in strides} == strides
    assert {layers[f"fc{i}"]["receptive_field"] for i in (6, 7, 8)} == {None}
    for i in (1, 2, 3, 4, 5):
        assert layers[f"relu{i}"]["receptive_field"] == layers[f"conv{i}"]["receptive_field"]


def test_map_sizes_and_groups_of_alexnet_lrn_at_227(lrn_steps):
    layers, _ = receptive_fields.of_layers(lrn_steps, 227)
    shapes = {"conv1": [96, 55, 55], "norm1": [96, 55, 55], "pool1": [96, 27, 27]}
    shapes |= {"conv2": [256, 27, 27], "pool2": [256, 13, 13], "conv3": [384, 13, 13]}
    shapes |= {"conv4": [384, 13, 13], "conv5": [256, 13, 13], "pool5": [256, 6, 6]}
    shapes |= {"flatten": [9216], "fc6": [4096], "fc7": [4096], "fc8": [1000]}
    assert {name: layers[name]["shape"] for name in shapes} == shapes
    groups = {s["name"]: s["settings"]["groups"] for s in lrn_steps if s["name"][:4] == "conv"}
    assert groups == {"conv1": 1, "conv2": 2, "conv3": 1, "conv4": 2, "conv5": 2}


def test_receptive_fields_and_strides_of_vgg16():
    layers, _ = receptive_fields.of_layers(steps_of("vgg16"), 224)
    field, stride = 1, 1
    for block, depth in enumerate((2, 2, 3, 3, 3), start=1):
        for number in range(1, depth + 1):
            field += 2 * stride
            assert layers[f"conv{block}_{number}"]["receptive_field"] == field
            assert layers[f"conv{block}_{number}"]["stride"] == stride
        field, stride = field + stride, 2 * stride
        assert layers[f"pool{block}"]["receptive_field"] == field
        assert layers[f"pool{block}"]["stride"] == stride
    assert layers["conv4_3"]["receptive_field"] == 92
    assert layers["pool5"]["receptive_field"] == 212


def test_receptive_field_is_where_the_gradient_can_reach(small_classifier):
    steps, state = small_classifier
    layers, _ = receptive_fields.of_layers(steps, 41)
    for name in ("conv1", "pool1", "conv2"):
        network = graph.Network(steps, [name]).load(
            {key: torch.ones_like(value) for key, value in state.items()}
        )
        reached = torch.zeros(41, 41)
        for seed in range(30):  # a maximum passes its gradient to one pixel only
            images = torch.rand(1, 3, 41, 41, generator=torch.Generator().manual_seed(seed))
            maps = network(images.requires_grad_())[name]
            middle = maps.shape[2] // 2
            maps[0, 0, middle, middle].backward()
            reached += images.grad[0].abs().sum(0)
        rows = reached.sum(1).nonzero().flatten()
        assert rows.max() - rows.min() + 1 == layers[name]["receptive_field"]


def test_dilation_widens_the_receptive_field():
    model = nn.Sequential(nn.Conv2d(3, 2, 3, stride=2, dilation=3), nn.AvgPool2d(2))
    layers, _ = receptive_fields.of_layers(trace.trace(model), 32)
    last = list(layers)[-1]
    assert layers[last]["receptive_field"] == 1 + 2 * 3 + 1 * 2
    assert layers[last]["stride"] == 4


@pytest.mark.parametrize(("architecture", "size"), [("resnet18", 97), ("googlenet", 64)])
def test_geometry_gives_the_shapes_of_real_maps(architecture, size):
    torch.manual_seed(0)
    model = sources.build(architecture)
    steps = sources.steps_of(architecture, model)
    layers, _ = receptive_fields.of_layers(steps, size)
    with torch.no_grad():
        maps = traced(model, steps, list(layers))(image(size, 2))
    for name, value in layers.items():
        assert value["shape"] == list(maps[name].shape[1:])


@pytest.mark.parametrize("architecture", ["squeezenet1_0", "resnet18", "googlenet", "alexnet"])
def test_waypoints_are_the_layers_without_which_the_image_is_cut_off(architecture):
    steps = steps_of(architecture)
    layers, _ = receptive_fields.of_layers(steps, 96)
    paths = networkx.DiGraph(
        (source, step["name"]) for step in steps for source in graph.inputs_of(step)
    )
    last = steps[-1]["name"]
    for name in (step["name"] for step in steps if step["name"] in layers):
        without = paths.copy()
        without.remove_node(name)
        cut_off = name in ("image", last) or not networkx.has_path(without, "image", last)
        assert layers[name]["waypoint"] == cut_off, name


def test_no_branch_of_a_fire_module_is_a_waypoint(squeezenet):
    layers, _ = receptive_fields.of_layers(squeezenet[1], 96)
    inside = [name for name in layers if ".expand" in name]
    assert len(inside) == 8 * 4
    assert not any(layers[name]["waypoint"] for name in inside)
    assert layers["features.3.cat"]["waypoint"]
    assert not layers["features.3"]["waypoint"]  # blocks only repeat a layer


def test_too_small_images_are_reported(lrn_steps):
    layers, stop = receptive_fields.of_layers(lrn_steps, 66)
    assert stop.startswith("pool5: ")
    assert "relu5" in layers
    assert "pool5" not in layers
    layers, stop = receptive_fields.of_layers(lrn_steps, 67)
    assert stop is None
    assert layers["pool5"]["shape"] == [256, 1, 1]
    assert math.prod(layers["flatten"]["shape"]) == 9216


def test_what_classes_would_see_of_an_image_without_end(alexnet_steps):
    """As MatConvNet tells it, by which Mahendran & Vedaldi 2016 weigh activations."""
    alexnet, _ = receptive_fields.of_layers(alexnet_steps, 227)
    vgg, _ = receptive_fields.of_layers(steps_of("vgg16"), 224)
    assert {receptive_fields.reach(alexnet, layer) for layer in ("fc6", "relu7", "fc8")} == {
        195 + 5 * 32
    }
    assert receptive_fields.reach(vgg, "fc8") == 404
    assert (receptive_fields.reach(alexnet, "conv5"), receptive_fields.reach(alexnet, "pool5")) == (
        163,
        195,
    )
