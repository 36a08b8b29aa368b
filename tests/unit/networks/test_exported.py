import copy
import json

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from deep_restoration.networks import exported, graph
from deep_restoration.networks.weights import constants

SIZE = 16


class Depends(nn.Module):
    """What torch.fx cannot follow: a branch on a size. Operations in place, constants, a module twice."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm, self.act = nn.BatchNorm2d(4), nn.ReLU(inplace=True)
        self.weight = nn.Parameter(torch.randn(4, 4))
        self.register_buffer("shift", torch.randn(4), persistent=False)

    def forward(self, image, double=False):
        x = self.conv(image)
        if x.shape[2] > 8:
            x = self.norm(x)
        y = self.act(x) + torch.arange(x.shape[3]).div(10)
        y += self.shift[:, None, None]
        z = F.linear(y.movedim(1, -1), self.weight).movedim(-1, 1)
        return self.act(z - 0.1).sub_(1) if not double else z


class Slices(nn.Module):
    """Changes a part of a tensor in place, and with it the tensor."""

    def forward(self, image):
        x = image * 2
        x[:, :, ::2] += 1
        return x.relu()


def run(model, layers):
    model.eval().requires_grad_(False)
    own = copy.deepcopy(model)
    steps = json.loads(json.dumps(exported.trace(own, SIZE)))
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    state = {**constants(steps, own), **state}
    return graph.Network(steps, layers or [steps[-1]["name"]]).load(copy.deepcopy(state))


def image(count=3):
    return torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("module", [Depends, Slices])
def test_what_is_exported_computes_what_the_module_computes(module):
    torch.manual_seed(0)
    model = module()
    (found,) = run(model, None)(image()).values()
    assert torch.equal(found, model(image()))


def test_modules_of_torch_stay_modules_under_their_names():
    steps = {step["name"]: step for step in exported.trace(Depends().eval(), SIZE)}
    modules = {name: step["path"] for name, step in steps.items() if step["kind"] == "module"}
    assert modules == {"conv": "conv", "norm": "norm", "act": "act", "act_1": "act"}
    assert steps["conv"]["settings"]["bias"] is False
    assert next(iter(steps)) == "image"


def test_maps_are_recorded_before_they_are_changed_in_place():
    torch.manual_seed(0)
    model = Depends()
    network = run(model, ["norm", "act"])
    found = network(image())
    plain = model.norm(model.conv(image()))
    assert plain.min() < 0
    assert torch.equal(found["norm"], plain)
    assert torch.equal(found["act"], plain.relu())


def test_a_network_that_needs_an_argument_is_refused():
    class Two(nn.Module):
        def forward(self, image, other):
            return image + other

    with pytest.raises(ValueError, match="cannot be traced for images of 16 pixels"):
        exported.trace(Two().eval(), SIZE)


def test_code_that_fixes_the_number_of_images_is_named():
    class Fixed(nn.Module):
        def forward(self, image):
            return image.reshape(len(image), -1)

    with pytest.raises(ValueError, match=r"fixes the number of images \(as len\(x\) does"):
        exported.trace(Fixed().eval(), SIZE)


@pytest.mark.parametrize("name", ["from_file.default", "add_.Tensor", "set.source_Storage"])
def test_operations_that_reach_outside_or_change_tensors_are_refused(name):
    with pytest.raises(ValueError, match="a network may not call"):
        graph.look_up(f"torch.ops.aten.{name}")


def test_an_operation_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"has no torch\.ops\.aten\.nothing\.default"):
        graph.look_up("torch.ops.aten.nothing.default")
