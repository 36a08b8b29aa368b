"""One photograph reconstructed from one layer of any network, in one call."""

import math
from collections import OrderedDict

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

import deep_restoration
from deep_restoration import invert, load_prior
from deep_restoration.evaluation import metrics
from deep_restoration.files.atomic import StorageError
from deep_restoration.interface import inverting
from deep_restoration.inversion.recipe import Recipe
from deep_restoration.inversion.reconstructor import Reconstructor
from deep_restoration.networks import graph, receptive_fields, saved, sources
from deep_restoration.priors import spectral
from deep_restoration.priors.field import FieldOfExperts
from deep_restoration.runtime.checkpoints import Checkpoint

NEVER = Checkpoint("/nonexistent/never", "key", math.inf)
ADAM = {"optimiser": "adam", "init": "uniform", "box": True}
ADAM |= {"phases": [{"iterations": 60, "rate": 12.0, "decay": True}]}

pytestmark = pytest.mark.usefixtures("one_thread")


def images(count=2, side=24):
    coarse = torch.rand(count, 3, 5, 5, generator=torch.Generator().manual_seed(4))
    return F.interpolate(coarse, size=side, mode="bilinear")


def invertible():
    """A strided convolution of as many channels as pixels in its windows, with orthonormal filters, and an
    activation that loses nothing: the maps determine the image."""
    model = nn.Sequential(
        OrderedDict(conv=nn.Conv2d(3, 48, 4, stride=4, bias=False), act=nn.LeakyReLU(0.5))
    )
    with torch.no_grad():
        nn.init.orthogonal_(model.conv.weight.view(48, 48))
    return model


def test_what_a_layer_keeps_whole_is_found():
    torch.manual_seed(0)
    found = invert(invertible(), "act", images(), "pure")
    assert found.measures["mse"] < 1e-4
    assert found.measures["representation_error"] < 1e-3
    assert (found.images - found.truth).abs().max() < 0.1


def test_what_a_layer_forgets_is_not_found():
    """The mean over windows knows nothing else of them."""
    model = nn.Sequential(nn.AvgPool2d(4))
    found = invert(model, "0", images(), ADAM)
    pooled = F.avg_pool2d(found.images, 4) - F.avg_pool2d(found.truth, 4)
    assert pooled.abs().max() < 0.05
    assert found.measures["mse"] > 20 * pooled.square().mean()


def small():
    torch.manual_seed(3)
    layers = OrderedDict(conv=nn.Conv2d(3, 8, 5, stride=2), relu=nn.ReLU(), deep=nn.Conv2d(8, 6, 3))
    return nn.Sequential(layers)


def test_the_result_is_measured_as_a_study_measures():
    model, truth = small(), images()
    found = invert(model, "relu", truth, ADAM, iterations=5)
    assert torch.equal(found.truth, truth)
    assert found.layer == "relu"
    pair = [one.permute(0, 2, 3, 1).numpy() for one in (found.truth, found.images)]
    for name, measure in (("mse", metrics.mse), ("psnr", metrics.psnr), ("ssim", metrics.ssim)):
        expected = measure(*pair).tolist()
        assert [one[name] for one in found.per_image] == pytest.approx(expected)
        assert found.measures[name] == pytest.approx(np.mean(expected))
    mean, std = (
        torch.tensor(colour).view(1, 3, 1, 1)
        for colour in (sources.IMAGENET_MEAN, sources.IMAGENET_STD)
    )
    with torch.no_grad():
        maps = [model.conv((one - mean) / std).relu() for one in (found.truth, found.images)]
    for number, values in enumerate(found.per_image):
        wrong = (maps[1][number] - maps[0][number]).square().sum()
        expected = float(wrong / maps[0][number].square().sum())
        assert values["representation_error"] == pytest.approx(expected, rel=1e-3)
    assert [row[0] for row in found.trace if row[1] == "total"] == [1, 2, 3, 4, 5]
    assert found.seconds > 0


def test_the_same_seed_gives_the_same_image_whatever_was_drawn_before():
    model = small()
    one = invert(model, "relu", images(), ADAM, iterations=4)
    torch.rand(7)
    state = torch.random.get_rng_state()
    again = invert(model, "relu", images(), ADAM, iterations=4)
    assert torch.equal(torch.random.get_rng_state(), state)
    other = invert(model, "relu", images(), ADAM, iterations=4, seed=1)
    assert torch.equal(one.images, again.images)
    assert not torch.equal(one.images, other.images)
    alone = invert(model, "relu", images(), ADAM, iterations=4, watched=False)
    assert torch.equal(one.images, alone.images)
    assert {row[1] for row in one.trace} - {row[1] for row in alone.trace} == {"image", "ssim"}


def test_a_batch_gives_what_its_images_give():
    model, truth = small(), images(1)
    both = invert(model, "relu", torch.cat([truth, images(2)[1:]]), ADAM, iterations=4)
    alone = invert(model, "relu", truth, ADAM, iterations=4)
    torch.testing.assert_close(both.images[:1], alone.images, rtol=0, atol=1e-5)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_it_works_in_any_context_and_leaves_the_model_as_it_was(context):
    model = small().train()
    expected = invert(model, "relu", images(), ADAM, iterations=2).images
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with context():
        found = invert(model, "relu", images(), ADAM, iterations=2)
    assert torch.equal(found.images, expected)
    assert not found.images.is_inference()
    assert not found.truth.is_inference()
    assert model.training
    assert all(value.requires_grad and value.grad is None for value in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not model.relu._forward_hooks


def test_iterations_are_shared_among_the_phases():
    phases = [{"iterations": 30, "rate": 5.0}, {"iterations": 10, "rate": 1.0}]
    recipe = ADAM | {"phases": phases}
    for total, expected in ((8, 8), (80, 80), (2, 2)):
        found = invert(small(), "relu", images(1), recipe, iterations=total)
        assert max(row[0] for row in found.trace if row[1] == "total") == expected
    plan = Recipe.of({"phases": [phases[0] | {"warmup": 15}, phases[1], phases[1]]})
    for total, expected in ((100, [60, 20, 20]), (5, [3, 1, 1]), (3, [1, 1, 1]), (4, [2, 1, 1])):
        found = inverting.lasting(plan, total).phases
        assert [phase.iterations for phase in found] == expected
        assert found[0].warmup <= found[0].iterations
    assert inverting.lasting(plan, 100).phases[0].warmup == 30
    with pytest.raises(ValueError, match="iterations is 1; it must be at least 2"):
        invert(small(), "relu", images(1), recipe, iterations=1)


@pytest.mark.parametrize("recipe", ["tv", "mahendran2016"])
def test_it_is_what_the_workflow_reconstructs(recipe, tmp_path):
    """The same network, stored and read again, whose geometry is computed and not measured."""
    torch.manual_seed(0)
    architecture, layer, size = "squeezenet1_1", "features.6", 64
    model = sources.build(architecture)
    for module in model.modules():  # so that maps of random weights do not vanish
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_uniform_(module.weight)
    steps = sources.steps_of(architecture, model)
    colours = sources.IMAGENET_MEAN, sources.IMAGENET_STD
    path = tmp_path / "net.safetensors"
    saved.save(path, steps, [layer], model.state_dict(), *colours, {})
    layers, _ = receptive_fields.of_layers(steps, size)
    entry, truth = deep_restoration.recipes()[recipe], images(1, size)
    plan = Recipe.of(entry).shorter(8 / sum(phase["iterations"] for phase in entry["phases"]))
    stored = Reconstructor.load(path, layer, layers[layer])
    expected = stored.reconstruct(plan, truth, ["image 0"], 3, NEVER)
    found = invert(model, layer, truth, recipe, iterations=8, seed=3)
    torch.testing.assert_close(found.images, expected.images, rtol=0, atol=2e-3)
    assert (found.images - images(1, size)).abs().mean() > 0.05  # it is no matter of course
    rows = [[row[:2] for row in trace] for trace in (found.trace, expected.trace)]
    assert rows[0] == rows[1]
    for row, other in zip(found.trace, expected.trace, strict=True):
        assert row[2] == pytest.approx(other[2], rel=0.02)


def test_a_learned_prior_changes_the_image(tmp_path):
    filters = torch.randn(6, 3, 3, 3, generator=torch.Generator().manual_seed(5))
    filters -= filters.mean((1, 2, 3), keepdim=True)
    field = FieldOfExperts(
        filters, torch.zeros(6), torch.ones(6), "student_t", mean=3.0, spread=0.5
    )
    field.save(tmp_path / "mine.safetensors", {})
    recipe = ADAM | {"priors": {"mine": {"weight": 1.0}}}
    without = invert(small(), "relu", images(1), ADAM, iterations=20).images
    for priors in (tmp_path, {"mine": tmp_path / "mine.safetensors"}):
        found = invert(small(), "relu", images(1), recipe, iterations=20, priors=priors)
        assert "mine" in {row[1] for row in found.trace}
        assert field.energy(found.images) < field.energy(without)
    grey = FieldOfExperts(filters[:, :1], torch.zeros(6), torch.ones(6), "student_t")
    grey.save(tmp_path / "mine.safetensors", {})
    with pytest.raises(ValueError, match="holds no prior of colour images, but one of 1 channels"):
        invert(small(), "relu", images(1), recipe, priors=tmp_path)


def test_errors_name_what_there_is():
    with pytest.raises(ValueError, match="the model has no layer 'reul'; nearest: relu"):
        invert(small(), "reul", images())
    with pytest.raises(ValueError, match="there is no recipe 'tw'; nearest: tv"):
        invert(small(), "relu", images(), "tw")
    with pytest.raises(ValueError, match="the feature maps of image 0, image 1 are all zero"):
        invert(nn.Sequential(nn.Threshold(9.0, 0.0)), "0", images(), ADAM)


def test_the_first_image_is_a_picture_in_a_file(tmp_path):
    found = invert(small(), "relu", images(), ADAM, iterations=2)
    expected = (255 * found.images[0].permute(1, 2, 0)).round().byte().numpy()
    assert np.array_equal(np.asarray(found.image), expected)
    for name in ("kept.png", "kept", "folder/kept.PNG"):
        found.save(tmp_path / name)
        with Image.open(tmp_path / name) as image:
            assert image.format == "PNG"
            assert np.array_equal(np.asarray(image), expected)
    found.save(str(tmp_path / "kept.jpg"))
    with Image.open(tmp_path / "kept.jpg") as image:
        assert image.format == "JPEG"
    with pytest.raises(ValueError, match=r"no image can be written as .*kept.txt; name it .png"):
        found.save(tmp_path / "kept.txt")


def test_a_learned_prior_is_read_with_its_energy_and_gradient(tmp_path):
    pixels = (255 * images(6)).byte().numpy()
    wiener, _ = spectral.train(pixels, pixels[:2], 5.0)
    wiener.save(tmp_path / "wiener.safetensors", {})
    filters = torch.randn(6, 3, 3, 3, generator=torch.Generator().manual_seed(5))
    field = FieldOfExperts(filters, torch.zeros(6), torch.ones(6), "logistic", dc="patch")
    field.save(tmp_path / "field.safetensors", {})
    for name in ("wiener", "field"):
        prior, x = load_prior(tmp_path / f"{name}.safetensors"), images()
        energy = prior.energy(x.requires_grad_())
        assert energy.shape == (2,)
        (expected,) = torch.autograd.grad(energy.sum(), x)
        torch.testing.assert_close(prior.gradient(x.detach()), expected, rtol=1e-4, atol=1e-4)
    one = load_prior(tmp_path / "wiener.safetensors", sigma=10.0)
    two = load_prior(tmp_path / "wiener.safetensors", sigma=[10.0, 10.0])
    assert one.sigma == two.sigma == 2 * wiener.sigma
    with pytest.raises(ValueError, match="holds a field, which has no option sigma"):
        load_prior(tmp_path / "field.safetensors", sigma=1.0)
    with pytest.raises(StorageError, match="nowhere"):
        load_prior(tmp_path / "nowhere.safetensors")


def test_a_network_of_the_workflow_may_be_asked_by_its_own_modules():
    """A `Network` is a module like others."""
    torch.manual_seed(3)
    steps = [
        {"name": "image", "kind": "input", "arguments": [], "keywords": {}},
        {
            "name": "conv",
            "kind": "module",
            "path": "conv",
            "target": "torch.nn.modules.conv.Conv2d",
            "settings": {"in_channels": 3, "out_channels": 4, "kernel_size": 3},
            "arguments": [{"step": "image"}],
            "keywords": {},
        },
    ]
    network = graph.Network(steps, ["conv"])
    plain = {"mean": (0, 0, 0), "std": (1, 1, 1)}
    found = invert(network, "weights.conv", images(), ADAM, iterations=2, **plain)
    assert found.images.shape == (2, 3, 24, 24)
