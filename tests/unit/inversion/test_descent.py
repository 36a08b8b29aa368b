"""Hand-crafted priors' own gradients against autograd and finite differences."""

import pytest
import torch

from deep_restoration.priors.norms import AlphaNorm, ColourNorm, DistanceTo
from deep_restoration.priors.total_variation import TotalVariation

MEAN = torch.tensor([0.4, 0.5, 0.45], dtype=torch.float64).view(1, 3, 1, 1)
CENTRE = torch.rand(2, 3, 5, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
PRIORS = {
    "tv": TotalVariation(),
    "tv of 2016": TotalVariation(2.0, 12.31),
    "tv to a power": TotalVariation(1.5, 3.0),
    "alpha norm": AlphaNorm(MEAN),
    "alpha norm to another power": AlphaNorm(MEAN, 2.5),
    "colour norm": ColourNorm(MEAN),
    "colour norm to another power": ColourNorm(MEAN, 3.0, 60.0),
    "colour norm, squared": ColourNorm(MEAN, 2.0),
    "alpha norm around the image's mean": AlphaNorm(MEAN, centre="image"),
    "the same to another power": AlphaNorm(MEAN, 2.5, "image"),
    "colour norm around the image's mean": ColourNorm(MEAN, centre="image"),
    "the same, to a power of three": ColourNorm(MEAN, 3.0, 60.0, "image"),
    "distance": DistanceTo(CENTRE),
    "distance to all but the frame": DistanceTo(CENTRE[..., 1:4, 1:3]),
}


def images(dtype=torch.float64):
    draw = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, 5, 4, generator=draw, dtype=torch.float64).to(dtype)


def cast(prior, dtype):
    for name in ("mean", "centre"):
        if hasattr(prior, name):
            setattr(prior, name, getattr(prior, name).to(dtype))
    return prior


@pytest.mark.parametrize("name", PRIORS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradients_are_those_of_autograd(name, layout):
    prior = cast(PRIORS[name], torch.float64)
    x, before = images().contiguous(memory_format=layout), images().flip(0)
    into = before.clone()
    energy = prior.descend(x, 0.3, into)
    known = x.clone().requires_grad_()
    expected = prior.energy(known)
    (gradient,) = torch.autograd.grad(expected.sum(), known)
    torch.testing.assert_close(energy, expected.detach(), rtol=1e-12, atol=0)
    torch.testing.assert_close(into, before + 0.3 * gradient, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", PRIORS)
def test_gradients_are_those_of_finite_differences(name):
    prior = cast(PRIORS[name], torch.float64)
    x, into = images(), torch.zeros(2, 3, 5, 4, dtype=torch.float64)
    prior.descend(x, 1.0, into)
    draw = torch.Generator().manual_seed(2)
    for _ in range(5):
        step = 1e-6 * torch.randn(x.shape, generator=draw, dtype=torch.float64)
        change = prior.energy(x + step) - prior.energy(x - step)
        expected = 2 * (into * step).sum((1, 2, 3))
        torch.testing.assert_close(expected, change, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", PRIORS)
def test_single_precision_comes_near(name):
    prior, x = PRIORS[name], images()
    exact, into = torch.zeros_like(x), torch.zeros(2, 3, 5, 4)
    energy = cast(prior, torch.float64).descend(x, 1.0, exact)
    single = cast(prior, torch.float32).descend(x.float(), 1.0, into)
    cast(prior, torch.float64)
    torch.testing.assert_close(single.double(), energy, rtol=2e-6, atol=0)
    scale = exact.abs().max()
    assert ((into - exact).abs() / scale).max() < 1e-6


@pytest.mark.parametrize("kind", [AlphaNorm, ColourNorm])
def test_brightness_is_free_around_the_image_s_own_mean_alone(kind):
    brighter = images() + 0.2
    own, fixed = kind(MEAN, centre="image"), kind(MEAN)
    torch.testing.assert_close(own.energy(brighter), own.energy(images()))
    assert (fixed.energy(brighter) > 1.5 * fixed.energy(images())).all()
    into = torch.zeros(2, 3, 5, 4, dtype=torch.float64)
    own.descend(images(), 1.0, into)
    scale = into.abs().sum((1, 2, 3))
    assert (into.sum((1, 2, 3)).abs() < 1e-12 * scale).all()


@pytest.mark.parametrize("alpha", [1.0, 2.0, 6.0])
def test_gradients_at_the_mean_colour_are_nothing(alpha):
    x, into = MEAN.expand(1, 3, 4, 4).contiguous(), torch.zeros(1, 3, 4, 4, dtype=torch.float64)
    for prior in (AlphaNorm(MEAN, alpha), ColourNorm(MEAN, alpha)):
        assert abs(prior.descend(x, 1.0, into).item()) < 1e-12
    assert not into.any()


def test_a_distance_selects_its_images():
    prior = DistanceTo(CENTRE)
    some = prior.select(torch.tensor([1]))
    assert torch.equal(some.energy(images()[1:]), prior.energy(images())[1:])
    assert len(prior.centre) == 2
