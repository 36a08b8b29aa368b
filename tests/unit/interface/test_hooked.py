"""Any module as a network whose layer is read by a hook."""

from collections import OrderedDict
from contextlib import suppress

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from deep_restoration.interface.hooked import Hooked, geometry, lent
from deep_restoration.networks import graph, receptive_fields, trace

MEAN, STD = (0.4, 0.5, 0.45), (0.2, 0.25, 0.3)
SIDE = 24


def images(count=2, side=SIDE):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(1))


def plain():
    """Two convolutions, whose values an activation and a layer of the next module change in place."""
    torch.manual_seed(0)
    layers = [
        ("conv1", nn.Conv2d(3, 4, 3, padding=1)),
        ("relu1", nn.ReLU(inplace=True)),
        ("drop", nn.Dropout(0.5)),
        ("conv2", nn.Conv2d(4, 5, 3, stride=2, padding=1)),
        ("norm", nn.BatchNorm2d(5)),
    ]
    return nn.Sequential(OrderedDict(layers))


def normalised(x):
    return (x - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)


def maps(model, layer, x):
    with lent(model):
        return Hooked(model, layer, MEAN, STD, x.shape[-1])(x)[layer]


def test_the_maps_are_what_the_layer_gives():
    model, x = plain(), images()
    found = maps(model, "conv2", x)
    first = model.eval().conv1(normalised(x)).relu()
    torch.testing.assert_close(found, model.conv2(first))


def test_what_later_layers_do_in_place_does_not_count():
    model, x = plain(), images()
    found = maps(model, "conv1", x)
    torch.testing.assert_close(found, model.conv1(normalised(x)))
    assert (found < 0).any()  # relu1 would have left none


def test_gradients_are_those_of_the_layer():
    model, x = plain(), images()
    with lent(model):
        network = Hooked(model, "conv2", MEAN, STD, SIDE)
        there = x.clone().requires_grad_()
        (found,) = torch.autograd.grad(network(there)["conv2"].square().sum(), there)
        here = x.clone().requires_grad_()
        value = model.conv2(model.conv1(normalised(here)).relu())
        (expected,) = torch.autograd.grad(value.square().sum(), here)
    torch.testing.assert_close(found, expected)


def state_of(model):
    """What a user may notice: of every module its flag and hooks; of every tensor itself and its facts."""
    modules = {
        name: (module.training, len(module._forward_hooks), len(module._forward_pre_hooks))
        for name, module in model.named_modules()
    }
    tensors = {
        name: (
            id(value),
            value.clone(),
            value.requires_grad,
            value.grad,
            value.stride(),
            value.dtype,
        )
        for name, value in [*model.named_parameters(), *model.named_buffers()]
    }
    return modules, tensors


def same(one, other):
    assert one[0] == other[0]
    for name, (identity, value, *facts) in one[1].items():
        assert identity == other[1][name][0]
        assert torch.equal(value, other[1][name][1])
        assert facts == list(other[1][name][2:])


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_left_as_it_was(fails):
    model = plain()
    model.conv1.weight.requires_grad_(False)
    model.norm.eval()
    model.conv2.register_forward_hook(lambda *given: None)
    before = state_of(model)
    assert model.training
    with suppress(ZeroDivisionError), lent(model):
        assert not any(module.training for module in model.modules())
        assert not any(value.requires_grad for value in model.parameters())
        network = Hooked(model, "conv2", MEAN, STD, SIDE)
        network(images())
        _ = 1 / (not fails)
    same(before, state_of(model))


class Behind(nn.Module):
    """Its last layer counts how often it is called."""

    def __init__(self):
        super().__init__()
        self.front, self.calls = nn.Conv2d(3, 2, 3), 0

    def forward(self, x):
        x = self.front(x)
        self.calls += 1
        return x


def test_the_rest_of_the_model_is_not_computed():
    model = Behind()
    with lent(model):
        network = Hooked(model, "front", MEAN, STD, SIDE)
        assert model.calls == 1  # to see how often the layer is called
        for _ in range(3):
            network(images())
    assert model.calls == 1


def test_a_model_may_fail_after_the_layer():
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Linear(7, 1))
    assert maps(model, "0", images()).shape == (2, 2, 22, 22)
    with pytest.raises(RuntimeError), lent(model):
        Hooked(model, "1", MEAN, STD, SIDE)


class Repeated(nn.Module):
    """One activation, used at three places; catches what its layers raise."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))
        self.act = nn.ReLU()

    def forward(self, x):
        for conv in self.convs:
            try:
                x = self.act(conv(x))
            except Exception:
                return x
        return x


def test_of_a_module_called_several_times_the_last_value_counts():
    torch.manual_seed(0)
    model, x = Repeated(), images()
    torch.testing.assert_close(maps(model, "act", x), model(normalised(x)))


def test_a_module_of_two_names_is_found_under_both():
    conv = nn.Conv2d(3, 3, 3, padding=1)
    model, x = nn.Sequential(OrderedDict(first=conv, second=conv)), images()
    for layer in ("first", "second"):
        torch.testing.assert_close(maps(model, layer, x), conv(conv(normalised(x))))


class Giving(nn.Module):
    def __init__(self, give):
        super().__init__()
        self.inner, self.give = nn.Conv2d(3, 4, 1), give

    def forward(self, x):
        return self.give(self.inner(x))


@pytest.mark.parametrize("give", [lambda y: (y, 1), lambda y: [y], lambda y: {"a": y, "b": 2}])
def test_of_several_values_the_first_counts(give):
    model, x = nn.Sequential(Giving(give)), images()
    torch.testing.assert_close(maps(model, "0", x), model[0].inner(normalised(x)))


@pytest.mark.parametrize(
    ("give", "words"),
    [
        (lambda y: "text", "gives no tensor of numbers but a str"),
        (lambda y: (1, y), "gives no tensor of numbers but a tuple without one"),
        (lambda y: {}, "gives no tensor of numbers but a dict without one"),
        (lambda y: y.long(), "gives no tensor of numbers but a Tensor"),
        (lambda y: y.transpose(0, 1), r"gives \[4, 2, 24, 24\] for 2 images"),
        (lambda y: y.mean(), r"gives \[\] for 2 images"),
    ],
)
def test_other_values_are_refused_by_name(give, words):
    with pytest.raises(ValueError, match=f"the layer '0' {words}"):
        maps(nn.Sequential(Giving(give)), "0", images())


def test_unknown_and_silent_layers_are_refused_by_name():
    with pytest.raises(ValueError, match="the model has no layer 'conv3'; nearest: conv"):
        maps(plain(), "conv3", images())
    model = Behind()
    model.add_module("aside", nn.ReLU())
    with pytest.raises(ValueError, match="does not call its layer 'aside'"):
        maps(model, "aside", images())


def test_a_model_of_other_precision_is_asked_in_its_own():
    model, x = plain().double(), images()
    found = maps(model, "conv2", x)
    assert found.dtype == torch.float32
    expected = model.eval().conv2(model.conv1(normalised(x.double())).relu())
    torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=1e-6)


def literal_field(model, layer, side):
    """The pixels on which the middle unit depends, changed one by one."""
    x = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(2))
    with lent(model), torch.no_grad():
        network = Hooked(model, layer, MEAN, STD, side)
        before = network(x)[layer]
        middle = (slice(None), slice(None), before.shape[2] // 2, before.shape[3] // 2)
        rows = set()
        for row in range(side):
            for column in range(side):
                changed = x.clone()
                changed[:, :, row, column] += 1
                if not torch.equal(network(changed)[layer][middle], before[middle]):
                    rows.add(row)
    return max(rows) - min(rows) + 1


def test_the_receptive_field_is_what_changes_the_middle_unit():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 5, 2), nn.Tanh(), nn.Conv2d(4, 4, 3, dilation=2))
    with lent(model):
        found = geometry(Hooked(model, "2", MEAN, STD, 27), 27)
    assert found["receptive_field"] == literal_field(model, "2", 27) == 13
    assert found["stride"] == 27 / 8


def module_of(state) -> nn.Sequential:
    """The module whose traced steps `small_classifier` gives."""
    model = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, 8, 5, stride=2),
            relu1=nn.ReLU(inplace=True),
            pool1=nn.MaxPool2d(3, 2),
            conv2=nn.Conv2d(8, 6, 3, padding=1),
        )
    )
    model.load_state_dict(state)
    return model


def test_geometry_is_that_of_the_traced_network(small_classifier):
    """Where images are small, a larger one says what a unit would see of it."""
    steps, state = small_classifier
    layers, _ = receptive_fields.of_layers(steps, 64)
    model = module_of(state)
    for size in (16, 64):
        for layer in ("conv1", "relu1", "conv2"):
            with lent(model):
                found = geometry(Hooked(model, layer, MEAN, STD, size), size)
            assert found["receptive_field"] == layers[layer]["receptive_field"]
    assert found["stride"] == 64 / layers["conv2"]["shape"][1]


@pytest.mark.parametrize(
    "give",
    [
        lambda y: y.flatten(1),
        lambda y: y.flatten(2).transpose(1, 2),
        lambda y: y.mean((2, 3), keepdim=True),
    ],
)
def test_vectors_and_tokens_see_the_whole_image(give):
    model = nn.Sequential(Giving(give))
    with lent(model):
        found = geometry(Hooked(model, "0", MEAN, STD, SIDE), SIDE)
    assert found == {"stride": 32, "receptive_field": None}


class Global(nn.Module):
    """A map whose every unit sees the whole image, of one size of images."""

    def forward(self, x):
        assert x.shape[2] == SIDE
        return F.avg_pool2d(x, 4) + x.mean((1, 2, 3), keepdim=True)


def test_a_map_of_a_model_of_one_size_may_see_the_whole_image():
    model = nn.Sequential(Global())
    with lent(model):
        found = geometry(Hooked(model, "0", MEAN, STD, SIDE), SIDE)
    assert found == {"stride": 4, "receptive_field": None}


def test_it_is_a_network_as_others_are(small_classifier):
    """The same maps, and the same pixels seen, as by the traced network."""
    steps, state = small_classifier
    network = graph.Network(steps, ["conv2"], MEAN, STD).load(state)
    torch.manual_seed(3)
    model = module_of(state)
    assert [step["name"] for step in trace.trace(model)] == [step["name"] for step in steps]
    with lent(model):
        hooked = Hooked(model, "conv2", MEAN, STD, SIDE)
        torch.testing.assert_close(hooked(images())["conv2"], network(images())["conv2"])
        seen = receptive_fields.seen(hooked, "conv2", SIDE)
    assert seen == receptive_fields.seen(network, "conv2", SIDE)
