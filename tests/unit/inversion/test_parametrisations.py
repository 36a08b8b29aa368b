"""What is optimised in place of pixels, and reconstructions by it."""

import math

import numpy as np
import pytest
import torch

from deep_restoration.files.tensors import load_tensors
from deep_restoration.inversion import preimage
from deep_restoration.inversion.data_terms import Matching
from deep_restoration.inversion.optimisers import OPTIMISERS
from deep_restoration.inversion.parametrisations import PARAMETRISATIONS, Fourier
from deep_restoration.inversion.preimage import Plan, Term
from deep_restoration.inversion.schedules import Phase
from deep_restoration.priors.norms import ColourNorm
from deep_restoration.priors.total_variation import TotalVariation
from deep_restoration.runtime.checkpoints import Checkpoint

MEAN = torch.tensor([0.45, 0.5, 0.4]).view(1, 3, 1, 1)
SIZE = 21


def images(height, width, dtype=torch.float64):
    draw = torch.Generator().manual_seed(0)
    return 60 * torch.randn(2, 3, height, width, generator=draw, dtype=dtype)


def literal_image(variable, height, width):
    """The sum of waves, frequency by frequency, and the colours, in float64."""
    half = width // 2 + 1
    parts = variable.reshape(*variable.shape[:3], half, 2)
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    gains, waves = np.zeros((height, width)), {}
    for k in range(height):
        for m in range(width):
            fy, fx = min(k, height - k) / height, min(m, width - m) / width
            gains[k, m] = 1 / max(math.sqrt(fy**2 + fx**2), 1 / max(height, width))
            waves[k, m] = np.exp(2j * np.pi * (k * rows / height + m * columns / width))
    gains /= math.sqrt(2 * np.mean(gains**2))
    planes = np.zeros((*variable.shape[:2], height, width))
    for k in range(height):
        for m in range(half):
            value = (parts[:, :, k, m, 0] + 1j * parts[:, :, k, m, 1]) * gains[k, m]
            if m == 0 or 2 * m == width:  # without a mirror image beyond the half
                value = value / 2
            wave = value[..., None, None] * waves[k, m]
            # A mirrored frequency adds the conjugate.
            planes += (wave + wave.conj()).real / math.sqrt(height * width)
    deviations = np.array([1, 0.27, 0.13])
    deviations /= math.sqrt(np.mean(deviations**2))
    axes = np.array([[1, 1, 1], [1, 0, -1], [1, -2, 1]])
    axes = axes / np.linalg.norm(axes, axis=1, keepdims=True)
    colours = axes.T * deviations
    return np.einsum("ck,nkhw->nchw", colours, planes)


@pytest.mark.parametrize(("height", "width"), [(6, 8), (5, 7), (7, 4)])
def test_fourier_images_are_their_literal_transcription(height, width):
    shape = (2, 3, height, 2 * (width // 2 + 1))
    variable = torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = Fourier(height, width).to_image(variable)
    expected = literal_image(variable.numpy(), height, width)
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-6 * abs(expected).max())


@pytest.mark.parametrize("name", sorted(PARAMETRISATIONS))
@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 9), (6, 11), (227, 227)])
def test_images_survive_the_way_there_and_back(name, height, width):
    u = images(height, width, torch.float32)
    form = PARAMETRISATIONS[name](height, width)
    variable = form.from_image(u)
    assert (variable.ndim, len(variable)) == (4, 2)
    again = form.to_image(variable)
    assert again.shape == u.shape
    assert (again - u).abs().max() < 1e-5 * u.abs().max()
    torch.testing.assert_close(form.from_image(again), variable, rtol=1e-4, atol=1e-3)


def test_white_coefficients_give_images_of_their_own_size_and_smooth():
    variable = torch.randn(20, 3, 96, 98, generator=torch.Generator().manual_seed(0))
    u = Fourier(96, 96).to_image(variable)
    assert u.square().mean().sqrt().item() == pytest.approx(1, rel=0.1)
    neighbours = (u[..., 1:] * u[..., :-1]).mean() / u.square().mean()
    assert neighbours > 0.7  # white pixels have none
    luminance = u.mean(1).square().mean() / u.square().mean()
    assert luminance > 0.85


def test_gradients_of_coefficients_are_those_of_differences():
    form = Fourier(5, 6)
    form.gain, form.colours = form.gain.double(), form.colours.double()
    variable = form.from_image(images(5, 6)).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: form.to_image(v).pow(3).mean(), variable)


@pytest.mark.parametrize("name", sorted(PARAMETRISATIONS))
def test_projections_are_those_of_the_image(name):
    u = images(9, 9, torch.float32)
    form = PARAMETRISATIONS[name](9, 9)
    variable = form.from_image(u.clone())
    form.project(variable, lambda image: image.clamp_(-20, 30))
    torch.testing.assert_close(form.to_image(variable), u.clamp(-20, 30), rtol=0, atol=1e-3)


# ------------------------------------------------------------------------------ reconstruction


TERMS = {"tv": Term(1.0, TotalVariation(V=12.31)), "r": Term(1.0, ColourNorm(MEAN))}
RATES = {"adam": 6.0, "lbfgs": 6.0, "adagrad2016": 50.0, "momentum": 1e-4}


@pytest.fixture
def reconstruct(network, pictures, tmp_path):
    def run(rows=(0, 1, 2), interval=1e9, optimiser="adam", start=None, phases=None, **changes):
        rows = list(rows)
        names = ["abc"[row] for row in rows]
        jitter = optimiser != "lbfgs"
        phases = phases or [
            Phase(7, RATES[optimiser], jitter=jitter),
            Phase(5, RATES[optimiser] / 10, decay=True),
        ]
        plan = Plan(20.0, optimiser, phases, 4 if jitter else 1, **changes)
        data = Matching("conv2", network(pictures[rows])["conv2"], names)
        checkpoint = Checkpoint(tmp_path / "x", ["key", rows], interval)
        return preimage.reconstruct(
            network, data, names, SIZE, MEAN, TERMS, plan, 0, checkpoint, start, pictures[rows]
        )

    return run


@pytest.mark.parametrize("optimiser", sorted(OPTIMISERS))
def test_a_batch_gives_what_single_runs_give(reconstruct, optimiser):
    together = reconstruct(optimiser=optimiser, parametrisation="fourier", box=True)
    for row in range(3):
        alone = reconstruct([row], optimiser=optimiser, parametrisation="fourier", box=True)
        assert (alone.images[0] - together.images[row]).abs().max() < 2e-4
    assert (together.images[0] - together.images[1]).abs().mean() > 0.01


@pytest.mark.parametrize("optimiser", sorted(OPTIMISERS))
def test_a_resumed_reconstruction_ends_as_an_unbroken_one(reconstruct, stopping_after, optimiser):
    more = {"optimiser": optimiser, "parametrisation": "fourier", "bound": 150.0}
    whole = reconstruct(**more)
    for stop in (3, 6):
        with stopping_after(stop):
            reconstruct(interval=0, **more)
    rest = reconstruct(**more)
    assert torch.equal(rest.images, whole.images)
    assert [tuple(row[:3]) for row in rest.trace] == [row[:3] for row in whole.trace]


def test_both_parametrisations_start_from_the_same_image(reconstruct, pictures):
    for start in (None, pictures.flip(3)):
        first = [
            reconstruct(start=start, parametrisation=name, phases=[Phase(1, 1e-6)])
            for name in ("pixels", "fourier")
        ]
        torch.testing.assert_close(first[0].images, first[1].images, rtol=0, atol=1e-5)
        values = [[row[2] for row in result.trace] for result in first]
        assert values[0] == pytest.approx(values[1], rel=1e-3)


def test_coefficients_take_another_way_down_and_get_there(reconstruct):
    ends = {}
    for name in PARAMETRISATIONS:
        result = reconstruct(parametrisation=name, phases=[Phase(150, 6.0, decay=True)])
        data = [row[2] for row in result.trace if row[1] == "data"]
        ends[name] = result.images
        assert data[-1] < 0.2 * data[0]
    assert (ends["pixels"] - ends["fourier"]).abs().mean() > 0.01


@pytest.mark.parametrize(("bounds", "least"), [({"box": True}, 0.0), ({"bound": 40.0}, None)])
def test_bounds_hold_for_the_image(reconstruct, tmp_path, bounds, least):
    reconstruct(parametrisation="fourier", phases=[Phase(4, 60.0)], interval=0, **bounds)
    variable = load_tensors(tmp_path / "x.checkpoint", "checkpoint")[0]["variable"]
    u = Fourier(SIZE, SIZE).to_image(variable)  # no jitter, no frame
    if least is None:
        assert 39.9 < u.norm(dim=1).max() < 40.01
    else:
        x = MEAN + u / 255
        assert -1e-5 < x.min() < 1e-4
        assert 1 - 1e-4 < x.max() < 1 + 1e-5
