import math

import numpy as np
import pytest
import torch

from deep_restoration import patches, preimage
from deep_restoration.priors import recipe
from deep_restoration.priors.ica import Calibrated, IndependentComponents
from deep_restoration.priors.norms import AlphaNorm, ColourNorm
from deep_restoration.priors.total_variation import TotalVariation

MEAN = torch.tensor([0.4, 0.5, 0.45], dtype=torch.float64).view(1, 3, 1, 1)


def images(count=2, height=5, width=4, channels=3, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(count, channels, height, width, generator=draw, dtype=torch.float64)


# ------------------------------------------------------------------------------ literal loops


def total_variation(x, beta, V):
    channels, height, width = x.shape
    total = 0.0
    for c in range(channels):
        for i in range(height):
            for j in range(width):
                right = x[c][i][j + 1] - x[c][i][j] if j + 1 < width else 0.0
                down = x[c][i + 1][j] - x[c][i][j] if i + 1 < height else 0.0
                total += ((255 * right) ** 2 + (255 * down) ** 2) ** (beta / 2) / V**beta
    return total / (height * width)


@pytest.mark.parametrize(("beta", "V"), [(2.0, 1.0), (2.0, 12.31), (1.0, 1.0), (1.5, 12.31)])
def test_total_variation_equals_a_loop(beta, V):
    found = TotalVariation(beta, V).energy(images())
    expected = [total_variation(x.numpy(), beta, V) for x in images()]
    np.testing.assert_allclose(found, expected, rtol=1e-10 if beta == 2 else 1e-5)


def test_alpha_norm_equals_a_loop():
    found = AlphaNorm(MEAN, 6.0).energy(images())
    for value, x in zip(found.tolist(), images().numpy(), strict=True):
        total = 0.0
        for c in range(3):
            for i in range(5):
                for j in range(4):
                    total += abs(255 * (x[c, i, j] - MEAN[0, c, 0, 0].item())) ** 6
        assert value == pytest.approx(total / 20, rel=1e-12)


def test_colour_norm_equals_a_loop():
    found = ColourNorm(MEAN, 6.0, 80.0).energy(images())
    for value, x in zip(found.tolist(), images().numpy(), strict=True):
        total = 0.0
        for i in range(5):
            for j in range(4):
                colour = [255 * (x[c, i, j] - MEAN[0, c, 0, 0].item()) for c in range(3)]
                total += sum(v * v for v in colour) ** 3 / 80**6
        assert value == pytest.approx(total / 20, rel=1e-12)


# ------------------------------------------------------------------------------ gradients


def components(dtype=torch.float64, expert="student_t", lattice=1, channels=3, side=3, count=4):
    draw = torch.Generator().manual_seed(5)
    return IndependentComponents(
        torch.randn(count, channels, side, side, generator=draw, dtype=dtype),
        torch.randn(count, generator=draw, dtype=dtype),
        torch.rand(count, generator=draw, dtype=dtype) + 0.1,
        expert,
        lattice=lattice,
    )


@pytest.mark.parametrize(
    "prior",
    [
        TotalVariation(2.0, 12.31),
        TotalVariation(1.5, 12.31),
        AlphaNorm(MEAN),
        ColourNorm(MEAN),
        components(),
        components(expert="logistic"),
    ],
    ids=["tv 2", "tv 1.5", "alpha", "colour", "student_t", "logistic"],
)
def test_gradients_are_finite_differences(prior):
    x = images().requires_grad_()
    (found,) = torch.autograd.grad(prior.energy(x).sum(), x)
    step = 1e-6
    for index in [(0, 0, 0, 0), (0, 1, 2, 3), (1, 2, 4, 3), (1, 0, 4, 1)]:
        up, down = images(), images()
        up[index] += step
        down[index] -= step
        slope = (prior.energy(up).sum() - prior.energy(down).sum()) / (2 * step)
        assert found[index].item() == pytest.approx(slope.item(), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("beta", [1.0, 1.5, 2.0])
def test_total_variation_of_a_flat_image_has_a_gradient(beta):
    x = torch.full((1, 3, 4, 4), 0.5, requires_grad=True)
    energy = TotalVariation(beta).energy(x)
    (gradient,) = torch.autograd.grad(energy.sum(), x)
    assert energy.item() < 1e-3
    assert (gradient == 0).all()


@pytest.mark.parametrize(
    "prior", [TotalVariation(), AlphaNorm(MEAN), ColourNorm(MEAN), components()]
)
def test_energies_of_a_batch_are_those_of_its_images(prior):
    batch = images(3)
    singly = torch.cat([prior.energy(x[None]) for x in batch])
    torch.testing.assert_close(prior.energy(batch), singly, rtol=1e-12, atol=0)


# ------------------------------------------------------------------------------ learned prior


@pytest.mark.parametrize("expert", ["logistic", "student_t"])
@pytest.mark.parametrize("dc", ["patch", "channel"])
def test_learned_energy_is_the_sum_over_all_whitened_patches(expert, dc):
    rng = np.random.default_rng(0)
    shape, d, K = (3, 2, 2), 7, 10
    D = patches.dc_matrix(shape, dc)
    V, m = rng.standard_normal((d, 12)), 0.1 * rng.standard_normal(12)
    w = torch.from_numpy(rng.standard_normal((K, d)))
    alphas = torch.from_numpy(rng.uniform(0.1, 1, K))
    prior = IndependentComponents.from_whitened(w, alphas, V, m, D, shape, expert)
    x = images(2, 5, 6)
    found = prior.energy(x.float())
    for n in range(2):
        expected = 0.0
        for i in range(5 - 1):
            for j in range(6 - 1):
                patch = x[n, :, i : i + 2, j : j + 2].numpy().reshape(-1)
                white = V @ (D @ patch - m)
                for k in range(K):
                    s = float(w[k].numpy() @ white)
                    G = -math.log(math.cosh(s)) if expert == "logistic" else -math.log1p(s * s / 2)
                    expected -= alphas[k].item() * G
        assert found[n].item() == pytest.approx(expected, rel=1e-5)
    assert prior.positions(x) == 4 * 5


def test_a_pattern_is_what_its_filter_alone_responds_to():
    rng = np.random.default_rng(0)
    shape, d = (3, 2, 2), 7
    D = patches.dc_matrix(shape, "none")
    V, m = rng.standard_normal((d, 12)), np.zeros(12)
    w = torch.eye(d, dtype=torch.float64)
    alphas = torch.ones(d, dtype=torch.float64)
    prior = IndependentComponents.from_whitened(w, alphas, V, m, D, shape, "student_t")
    responses = prior.patterns.flatten(1) @ prior.filters.flatten(1).T
    torch.testing.assert_close(responses, torch.eye(d), rtol=0, atol=1e-5)


@pytest.mark.parametrize("lattice", [2, 3, 4])
@pytest.mark.parametrize("size", [(9, 9), (10, 13), (8, 12)])
def test_the_mean_over_all_offsets_of_the_lattice_is_the_full_energy(lattice, size):
    prior = components(lattice=lattice)
    x = images(2, *size)
    full = prior.energy(x)
    estimates = {}
    generator = torch.Generator()
    for seed in range(400):
        offset = tuple(torch.randint(lattice, (2,), generator=generator.manual_seed(seed)).tolist())
        if offset not in estimates:
            estimates[offset] = prior.energy(x, generator.manual_seed(seed))
    assert len(estimates) == lattice**2
    mean = torch.stack(list(estimates.values())).mean(0)
    torch.testing.assert_close(mean, full, rtol=1e-12, atol=0)
    assert not torch.allclose(estimates[0, 0], full, rtol=1e-6)


def test_a_map_smaller_than_patch_and_offset_counts_for_nothing():
    prior = components(lattice=4)
    x = images(2, 4, 4)  # four patches: most offsets hit none
    generator = torch.Generator()
    estimates = {}
    for seed in range(400):
        offset = tuple(torch.randint(4, (2,), generator=generator.manual_seed(seed)).tolist())
        estimates[offset] = prior.energy(x, generator.manual_seed(seed))
    assert len(estimates) == 16
    mean = torch.stack(list(estimates.values())).mean(0)
    torch.testing.assert_close(mean, prior.energy(x), rtol=1e-12, atol=0)


def test_without_a_generator_the_energy_is_exact():
    x = images(2, 9, 9)
    assert torch.equal(components(lattice=3).energy(x), components().energy(x))


def test_a_stored_prior_is_the_same_prior(tmp_path):
    prior = components(torch.float32, "logistic")
    prior.mean, prior.spread = -3.5, 1.25
    prior.save(tmp_path / "ica.safetensors", {"settings": {"seed": 1}})
    found = IndependentComponents.load(tmp_path / "ica.safetensors", lattice=3)
    x = images(2, 9, 9).float()
    assert torch.equal(found.energy(x), prior.energy(x))
    assert torch.equal(found.patterns, prior.patterns)
    assert (found.mean, found.spread, found.lattice) == (-3.5, 1.25, 3)
    assert (found.expert_name, prior.lattice) == ("logistic", 1)


def test_a_calibrated_prior_counts_in_spreads_per_position():
    prior = components(lattice=2)
    prior.mean, prior.spread = 2.0, 0.5
    x = images(2, 9, 8)
    expected = (prior.energy(x) / (7 * 6) - 2.0) / 0.5
    torch.testing.assert_close(Calibrated(prior).energy(x), expected, rtol=1e-12, atol=0)
    draw = torch.Generator()
    found = Calibrated(prior).energy(x, draw.manual_seed(3))
    expected = (prior.energy(x, draw.manual_seed(3)) / (7 * 6) - 2.0) / 0.5
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


# ------------------------------------------------------------------------------ recipes


def see(field):
    return {"receptive_field": field, "stride": 4}


@pytest.mark.parametrize(
    ("field", "published"), [(11, 0.5), (51, 0.5), (67, 5), (131, 5), (163, 50), (None, 50)]
)
def test_recipes_know_the_weights_of_2015_by_depth(field, published):
    entries = {
        "tv": {"weight": "mahendran2015"},
        "alpha_norm": {"weight": "mahendran2015", "alpha": 6.0},
    }
    built = recipe.build(entries, {}, see(field), MEAN)
    sigma, pixels = 27098.1157, 227**2
    weight, prior = built["tv"]
    assert isinstance(prior, TotalVariation)
    assert weight == pytest.approx(published * pixels / sigma**2)
    assert (prior.beta, prior.V) == (2, 1)
    weight, prior = built["alpha_norm"]
    assert isinstance(prior, AlphaNorm)
    assert weight == pytest.approx(2.16e8 * pixels / sigma**6)
    x = images(1, 6, 6)
    u = 255 * (x - MEAN) / sigma
    on_sigma_scale = 2.16e8 * u.abs().pow(6).sum() * pixels / 36
    assert (weight * prior.energy(x)).item() == pytest.approx(on_sigma_scale.item())


@pytest.mark.parametrize(("field", "expected"), [(11, 0.01), (67, 0.1), (163, 1.0), (None, 1.0)])
def test_recipes_take_weights_by_depth(field, expected, tmp_path):
    prior = components(torch.float32)
    prior.mean, prior.spread = 1.0, 2.0
    prior.save(tmp_path / "ica.safetensors", {})
    entries = {
        "ica": {"weight": [0.01, 0.1, 1.0], "lattice": 4},
        "colour_norm": {"weight": 2, "B": 70.0},
    }
    built = recipe.build(entries, {"ica": tmp_path / "ica.safetensors"}, see(field), MEAN)
    weight, learned = built["ica"]
    assert weight == expected
    assert isinstance(learned, Calibrated)
    assert (learned.prior.lattice, learned.prior.spread) == (4, 2.0)
    weight, norm = built["colour_norm"]
    assert (weight, norm.B, norm.alpha) == (2.0, 70.0, 6.0)
    assert isinstance(norm, ColourNorm)


def test_building_changes_no_recipe():
    entries = {"tv": {"weight": [1.0, 2.0, 3.0], "beta": 1.5}}
    built = recipe.build(entries, {}, see(70), MEAN)
    assert built["tv"][0] == preimage.by_depth([1.0, 2.0, 3.0], 70) == 2.0
    assert entries == {"tv": {"weight": [1.0, 2.0, 3.0], "beta": 1.5}}
