"""A network by its name."""

import pytest
import torch

from deep_restoration.interface.named import Named, stages
from deep_restoration.networks import receptive_fields, sources


@pytest.fixture(scope="module")
def squeezenet():
    return Named.build("squeezenet1_1", 64)


def test_unknown_names_are_refused_with_the_nearest(squeezenet):
    with pytest.raises(ValueError, match="no architecture 'squeezenet9'; nearest: squeezenet1_"):
        Named.build("squeezenet9", 64)
    with pytest.raises(ValueError, match=r"has no layer 'features.99'; nearest: features.9"):
        squeezenet.check("features.99")
    with pytest.raises(ValueError, match="has no layer 'image'"):
        squeezenet.check("image")
    squeezenet.check("features.3")
    squeezenet.check("features.3.squeeze")


def test_a_layer_that_small_images_do_not_reach_is_refused_with_the_reason():
    small = Named.build("alexnet", 32)
    assert small.stop
    with pytest.raises(
        ValueError, match="images of 32 x 32 have no maps at pool5 of alexnet: pool"
    ):
        small.check("pool5")


def test_random_weights_follow_from_the_seed_and_nothing_else():
    torch.manual_seed(9)
    state = torch.random.get_rng_state()
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = []
    for seed in (0, 0, 1):
        named = Named.build("squeezenet1_1", 64, seed)
        network = named.weighted("random", ["features.3"])("features.3", "cpu")
        found.append(network(x)["features.3"])
        torch.rand(3)
    torch.random.set_rng_state(state)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


@pytest.mark.parametrize(
    ("architecture", "layer"),
    [("resnet18", "layer2"), ("shufflenet_v2_x0_5", "stage2"), ("swin_t", "features.1")],
)
def test_the_maps_are_those_of_the_module(architecture, layer):
    """With batch normalisation, in-place operations, and tables that are no weights."""
    size = 64
    named = Named.build(architecture, size)
    network = named.weighted("random", [layer])(layer, "cpu")
    x = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    kept = []
    module = named.model.get_submodule(layer)
    module.register_forward_hook(lambda *given: kept.append(given[2].detach().clone()))
    mean, std = (
        torch.tensor(colour).view(1, 3, 1, 1)
        for colour in (sources.IMAGENET_MEAN, sources.IMAGENET_STD)
    )
    with torch.no_grad():
        named.model((x - mean) / std)
        expected = kept[0].movedim(-1, 1) if architecture == "swin_t" else kept[0]
        torch.testing.assert_close(network(x)[layer], expected, rtol=1e-3, atol=1e-4)


def test_weights_of_a_file_are_fitted_as_the_workflow_does(squeezenet, tmp_path):
    state = {f"module.{key}": value + 1 for key, value in squeezenet.model.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "weights.pth")
    network = squeezenet.weighted(str(tmp_path / "weights.pth"), ["features.3"])(
        "features.3", "cpu"
    )
    name = "features.0.weight"
    found = network.weights.state_dict()[name]
    torch.testing.assert_close(found, squeezenet.model.state_dict()[name] + 1)
    with pytest.raises(ValueError, match=r"--weights is 'nowhere.pth', and there is no such file"):
        squeezenet.weighted("nowhere.pth", ["features.3"])
    with pytest.raises(
        ValueError, match="there are no published weights 'IMAGENET9' of squeezenet"
    ):
        squeezenet.weighted("IMAGENET9", ["features.3"])


def stages_of(architecture, size=64):
    layers, _ = receptive_fields.of_layers(sources.steps_of(architecture, size=size), size)
    return stages(layers)


def test_stages_are_the_blocks_of_the_first_depth_that_has_four():
    assert stages_of("resnet18") == ["layer1", "layer2", "layer3", "layer4"]
    fires = ("3", "4", "6", "7", "9", "10", "11", "12")
    assert stages_of("squeezenet1_1") == [f"features.{number}" for number in fires]
    blocks = (2, 4, 7, 9, 11, 14, 16, 18)  # of 19, as evenly as it goes
    assert stages_of("mobilenet_v2") == [f"features.{number}" for number in blocks]


def test_blocks_of_one_kind_are_stages_though_there_are_others_above():
    blocks = [f"blocks.{number}" for number in range(7)]
    assert stages_of("timm:tf_efficientnet_lite0", 64) == blocks
    assert stages_of("timm:test_vit", 160) == [f"blocks.{number}" for number in range(6)]


def test_without_blocks_stages_are_the_last_layers_of_each_shape():
    found = stages_of("alexnet", 224)
    assert len(found) == 8
    assert found[-1] == "fc8"
    layers, _ = receptive_fields.of_layers(sources.steps_of("alexnet"), 224)
    assert found == sorted(found, key=list(layers).index)
    assert stages(dict(list(layers.items())[:4])) == ["relu1", "pool1"]
