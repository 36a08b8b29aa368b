"""Denoising auto-encoders: the network, its use as a prior, and what training makes of Gaussian data."""

import math

import numpy as np
import pytest
import torch

from deep_restoration.files.tensors import load_tensors
from deep_restoration.priors import denoiser
from deep_restoration.priors.base import Calibrated
from deep_restoration.priors.denoiser import Denoiser, Network
from deep_restoration.priors.registry import load
from deep_restoration.runtime.checkpoints import Checkpoint
from deep_restoration.runtime.errors import DivergedError

pytestmark = pytest.mark.usefixtures("one_thread")


def seeded(count=2, channels=2, height=6, width=5, seed=0, dtype=torch.float32):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(count, channels, height, width, generator=draw, dtype=dtype)


def network(channels=2, width=4, blocks=1, fold=1):
    """One whose layers are all random, not the identity."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        result = Network(channels, width, blocks, fold)
        for parameter in result.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return result


def prior(sigma=0.4, noise_samples=0, **options):
    facts = {"width": 4, "blocks": 1, "fold": 1}
    centre = torch.tensor([0.3, -0.2])
    return Denoiser(
        network(), 0.7, centre, sigma, noise_samples=noise_samples, facts=facts, **options
    )


# ------------------------------------------------------------------------------ the network


@pytest.mark.parametrize("fold", [1, 2, 3])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 2), (8, 8), (13, 9)])
def test_maps_of_any_size_keep_it(fold, size):
    with torch.no_grad():
        x = seeded(3, 2, *size)
        found = network(fold=fold)(x, torch.full((3,), 0.5))
    assert found.shape == x.shape
    assert torch.isfinite(found).all()
    assert not torch.allclose(found, x, atol=1e-3)


@pytest.mark.parametrize("fold", [1, 2])
def test_a_network_is_the_identity_before_training(fold):
    x = seeded(3, 2, 7, 5)
    with torch.no_grad():
        assert torch.equal(Network(2, 4, 2, fold)(x, torch.tensor([0.1, 1.0, 9.0])), x)


@pytest.mark.parametrize("size", [(7, 5), (1, 6)])
def test_odd_sizes_are_filled_up_with_the_edge(size):
    x, level = seeded(2, 2, *size), torch.tensor([0.2, 0.7])
    filled = np.pad(x.numpy(), ((0, 0), (0, 0), (0, 8 - size[0]), (0, 8 - size[1])), "edge")
    with torch.no_grad():
        whole = network(fold=2)(torch.from_numpy(filled[..., : -(-size[0] // 4) * 4, :]), level)
        found = network(fold=2)(x, level)
    torch.testing.assert_close(found, whole[..., : size[0], : size[1]], rtol=1e-4, atol=1e-5)


def test_every_image_has_its_own_noise_level():
    x, noise_levels = seeded(3), torch.tensor([0.1, 0.5, 2.0])
    with torch.no_grad():
        together = network()(x, noise_levels)
        alone = torch.cat([network()(x[i : i + 1], noise_levels[i : i + 1]) for i in range(3)])
        same = network()(x[:1].expand(3, -1, -1, -1), noise_levels)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert not torch.allclose((x[0] - same[0]) / 0.1, (x[0] - same[2]) / 2.0, atol=1e-2)


# ------------------------------------------------------------------------------ as a prior


def test_denoising_knows_the_units_of_its_data():
    """R is the network's answer around the centre and in units of the scale."""
    x, level = seeded(), torch.full((2,), 0.35 / 0.7)
    centre = torch.tensor([0.3, -0.2]).view(1, 2, 1, 1)
    with torch.no_grad():
        expected = 0.7 * network()((x - centre) / 0.7, level) + centre
    torch.testing.assert_close(prior().denoise(x, 0.35), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(prior(sigma=0.35).denoise(x), prior().denoise(x, 0.35))


@pytest.mark.parametrize("noise_samples", [0, 1, 3])
def test_energy_and_gradient_are_those_of_the_distance_moved(noise_samples):
    one = prior(sigma=0.4, noise_samples=noise_samples)
    x = seeded().requires_grad_()
    moved = x.detach() - one.expected(x.detach())
    energy = one.energy(x)
    for value, difference in zip(energy.tolist(), moved.double().numpy(), strict=True):
        assert value == pytest.approx((difference**2).sum() / (2 * 0.4**2), rel=1e-5)
    (slope,) = torch.autograd.grad(energy.sum(), x)
    torch.testing.assert_close(slope, moved / 0.4**2, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(one.gradient(x.detach()), slope, rtol=1e-5, atol=1e-6)
    assert moved.abs().mean() > 0.01


def test_gradients_of_a_weighted_sum_are_weighted():
    x = seeded().requires_grad_()
    (plain,) = torch.autograd.grad(prior().energy(x).sum(), x)
    (weighted,) = torch.autograd.grad(prior().energy(x) @ torch.tensor([2.0, -3.0]), x)
    torch.testing.assert_close(weighted[0], 2 * plain[0])
    torch.testing.assert_close(weighted[1], -3 * plain[1])


def test_without_probes_the_answer_is_the_network_s():
    x = seeded()
    assert torch.equal(prior(noise_samples=0).expected(x), prior().denoise(x))


def test_probes_are_pairs_of_opposite_noise():
    """Two samples of noise by hand, from the same generator."""
    x, one = seeded(), prior(sigma=0.4, noise_samples=2)
    draw = torch.Generator().manual_seed(9)
    total = torch.zeros_like(x)
    for _ in range(2):
        noise = 0.4 * torch.randn(2, 6, 5, generator=draw)
        total += one.denoise(x + noise) + one.denoise(x - noise)
    found = one.expected(x, torch.Generator().manual_seed(9))
    torch.testing.assert_close(found, total / 4, rtol=1e-5, atol=1e-6)


def test_probes_are_the_same_unless_a_generator_draws_new_ones():
    x, one = seeded(), prior(noise_samples=1)
    assert torch.equal(one.energy(x), one.energy(x))
    draw = torch.Generator().manual_seed(3)
    first, second = one.energy(x, draw), one.energy(x, draw)
    assert not torch.allclose(first, second, rtol=1e-4)
    assert torch.equal(first, one.energy(x, torch.Generator().manual_seed(3)))


@pytest.mark.parametrize("noise_samples", [0, 2])
def test_energies_of_a_batch_are_those_of_its_images(noise_samples):
    x, one = seeded(3), prior(noise_samples=noise_samples)
    alone = torch.cat([one.energy(image[None]) for image in x])
    torch.testing.assert_close(one.energy(x), alone, rtol=1e-4, atol=1e-5)


def test_calibration_is_the_mean_and_spread_per_value():
    one = prior(noise_samples=1)
    first, second = seeded(3, seed=1), seeded(2, seed=2)
    values = [one.energy(x[None]).item() / (2 * 6 * 5) for x in (*first, *second)]
    one.calibrate([first, second])
    assert one.mean == pytest.approx(np.mean(values), rel=1e-5)
    assert one.spread == pytest.approx(np.std(values), rel=1e-4)
    assert one.positions(first) == 60
    x = seeded(seed=4)
    expected = (one.energy(x) / 60 - one.mean) / one.spread
    torch.testing.assert_close(Calibrated(one).energy(x), expected)


def test_equal_maps_have_a_spread_that_can_be_divided_by():
    one = prior()
    one.calibrate([seeded(1)])
    assert one.spread == 1.0


def test_a_stored_denoiser_is_the_same(tmp_path):
    path = tmp_path / "dae.safetensors"
    one = prior(sigma=0.25, noise_samples=2, mean=1.5, spread=0.125)
    one.facts["of"] = "grey"
    one.save(path, {"settings": {"seed": 1}})
    found = load(path)
    x = seeded()
    assert torch.equal(found.energy(x), one.energy(x))
    assert torch.equal(found.gradient(x), one.gradient(x))
    assert (found.kind, found.channels, found.sigma, found.noise_samples) == (
        "denoiser",
        2,
        0.25,
        2,
    )
    assert (found.mean, found.spread, found.scale) == (1.5, 0.125, 0.7)
    assert found.facts == one.facts
    assert load_tensors(path, "prior")[1]["settings"] == {"seed": 1}


def test_another_noise_level_can_be_asked_for(tmp_path):
    path = tmp_path / "dae.safetensors"
    one = prior(sigma=0.25)
    one.facts["sigma"] = 5.0  # in the units of the configuration
    one.save(path, {})
    found = load(path, sigma=[18.0, 2.0])
    assert found.sigma == pytest.approx(0.9)
    expected = prior(sigma=0.9).energy(seeded())
    torch.testing.assert_close(found.energy(seeded()), expected)
    for progress, level in ((0.0, 0.9), (0.5, 0.3), (1.0, 0.1)):
        Calibrated(found).anneal(progress)
        assert found.sigma == pytest.approx(level)
    with pytest.raises(
        ValueError, match=r"holds a denoiser, which has no option position_stride.*sigma"
    ):
        load(path, position_stride=2)


# ------------------------------------------------------------------------------ training

SIDE, LOW, HIGH = 8, 0.3, 1.0
STEPS = np.subtract.outer(np.arange(SIDE), np.arange(SIDE))
SMOOTH = np.exp(-0.5 * (STEPS / 1.5) ** 2)
COVARIANCE = np.kron(SMOOTH, SMOOTH)  # of smooth Gaussian fields of 8 x 8
CENTRE = 3.0


def fields(count, seed, spread=1.0):
    """Smooth Gaussian fields of standard deviation `spread` around a mean, N x 1 x 8 x 8."""
    values, vectors = np.linalg.eigh(COVARIANCE)
    root = vectors * np.sqrt(values.clip(0))
    white = np.random.default_rng(seed).standard_normal((count, SIDE**2))
    return (CENTRE + spread * white @ root.T).reshape(-1, 1, SIDE, SIDE).astype(np.float32)


def settings(**changes):
    values = {
        "width": 4,
        "blocks": 1,
        "fold": 1,
        "noise_levels": (100 * LOW, 100 * HIGH),
        "sigma": 50,
    }
    values |= {
        "noise_samples": 0,
        "steps": 12,
        "batch": 8,
        "rate": 1e-2,
        "crop": SIDE,
        "precision": "float32",
    }
    return denoiser.Settings(**values | changes)


@pytest.fixture
def train(tmp_path):
    def run(plan, seed=0, interval=1e9, maps=None, kept=None):
        maps = fields(60, 0) if maps is None else maps
        kept = fields(20, 1) if kept is None else kept
        checkpoint = Checkpoint(tmp_path / "prior", "key", interval)
        return denoiser.train(maps, kept, plan, seed, checkpoint)

    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A denoiser of fields whose spread is 5, which its noise levels in percent must follow."""
    checkpoint = Checkpoint(tmp_path_factory.mktemp("dae") / "prior", "key", 1e9)
    plan = settings(width=16, steps=150, batch=32)
    return denoiser.train(fields(400, 0, 5.0), fields(40, 1, 5.0), plan, 0, checkpoint)


@pytest.mark.parametrize("level", [LOW, HIGH])
def test_training_on_gaussian_fields_comes_close_to_the_wiener_filter(level, trained):
    one, _ = trained
    sigma = 5 * level
    clean = torch.from_numpy(fields(300, 2, 5.0))
    noisy = clean + sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    error = (one.denoise(noisy, sigma) - clean).square().mean().item() / sigma**2
    inverse = np.linalg.inv(COVARIANCE + level**2 * np.eye(SIDE**2))
    least = np.trace(COVARIANCE @ inverse) / SIDE**2  # of the variance of the noise
    assert least < 0.5
    assert 0.95 * least < error < 1.1 * least


def test_the_gradient_of_gaussian_fields_is_their_score(trained):
    one, _ = trained
    level = one.sigma / 5
    assert level == pytest.approx(0.5, rel=0.05)  # 50 % of the spread
    clean = torch.from_numpy(fields(300, 2, 5.0))
    noisy = clean + one.sigma * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    inverse = np.linalg.inv(COVARIANCE + level**2 * np.eye(SIDE**2)) / 25
    score = (noisy.flatten(1).double().numpy() - CENTRE) @ inverse
    found = one.gradient(noisy).flatten(1).double().numpy()
    assert np.square(found - score).mean() < 0.05 * np.square(score).mean()


def test_the_objective_is_the_squared_error_in_units_of_the_noise(trained):
    _, history = trained
    assert [row[0] for row in history] == [100, 150]
    assert all(0.1 < value < 0.6 for row in history for value in row[1:3])
    assert history[0][3] < history[1][3]


def test_an_untrained_denoiser_leaves_the_noise(train):
    """Its objective, the squared error of the noise in units of its variance, is 1."""
    _, history = train(settings(rate=1e-12, steps=1))
    assert history[0][1] == pytest.approx(1, abs=0.3)
    assert history[0][2] == pytest.approx(1, abs=0.1)


def unlike(count):
    """Held-out maps that training on smooth fields gets ever worse at, at a high rate."""
    white = np.random.default_rng(2).standard_normal((count, 1, SIDE, SIDE))
    return (9 * white).astype(np.float32)


WORSE = {"steps": 102, "width": 2, "batch": 2, "rate": 0.3}


def test_the_weights_of_the_best_held_out_objective_are_kept(train, stopping_after, tmp_path):
    with stopping_after(101):
        train(settings(**WORSE), interval=0, kept=unlike(20))
    checkpoint = Checkpoint(tmp_path / "prior", "key")
    tensors, values = checkpoint.load()
    assert values["step"] == 100
    checkpoint.remove()
    whole, history = train(settings(**WORSE), kept=unlike(20))
    assert [row[0] for row in history] == [100, 102]
    assert history[0][2] < history[1][2]
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, tensors[f"network.{name}"]), name


def test_images_are_bytes_in_steps_of_one_in_255(train):
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (12, 3, 20, 16), dtype=np.uint8)
    one, _ = train(
        settings(steps=2, noise_levels=(3.0, 30.0), sigma=5.0, crop=64, noise_samples=1),
        maps=pixels,
        kept=pixels,
    )
    assert one.sigma == pytest.approx(5 / 255)
    assert one.channels == 3
    assert one.noise_samples == 1
    assert one.scale == pytest.approx(pixels.std() / 255, rel=1e-4)
    torch.testing.assert_close(one.centre.double(), torch.from_numpy(pixels.mean((0, 2, 3)) / 255))
    assert one.facts["noise_levels"] == (3.0, 30.0)


def test_maps_of_one_position_are_denoised_too(train):
    codes = np.random.default_rng(0).standard_normal((30, 5, 1, 1)).astype(np.float32)
    one, history = train(settings(steps=3, fold=2), maps=codes, kept=codes[:4])
    assert one.denoise(torch.from_numpy(codes)).shape == (30, 5, 1, 1)
    assert math.isfinite(history[-1][2])


def test_flat_maps_can_be_learned_from(train):
    flat = np.full((6, 1, 4, 4), 2.5, np.float32)
    one, history = train(settings(steps=2), maps=flat, kept=flat[:2])
    assert math.isfinite(history[-1][1])
    assert one.scale == 1.0


def test_a_resumed_training_ends_as_an_unbroken_one(train, stopping_after):
    plan = settings()
    whole, history = train(plan)
    with stopping_after(7):
        train(plan, interval=0)
    rest, continued = train(plan)
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, rest.network.state_dict()[name]), name
    assert [row[:3] for row in map(tuple, continued)] == [row[:3] for row in history]


def test_a_resumed_training_keeps_the_best_weights_of_before(train, stopping_after):
    plan = settings(**WORSE)
    whole, history = train(plan, kept=unlike(20))
    assert history[0][2] < history[1][2]
    with stopping_after(101):
        train(plan, interval=0, kept=unlike(20))
    rest, _ = train(plan, kept=unlike(20))
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, rest.network.state_dict()[name]), name


def test_another_seed_gives_another_denoiser(train):
    first, again, other = (
        train(settings(steps=2), seed)[0].network.state_dict() for seed in (0, 0, 1)
    )
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert not torch.allclose(first["enter.weight"], other["enter.weight"], atol=1e-3)


def test_training_leaves_the_weights_fixed(train):
    one, _ = train(settings(steps=1))
    assert not any(parameter.requires_grad for parameter in one.network.parameters())
    assert not one.network.training


def test_divergence_names_the_step(train):
    with pytest.raises(DivergedError, match=r"denoiser.* at step [1-9]"):
        train(settings(rate=1e30))


def test_mixed_precision_trains_to_about_the_same(train, bfloat16):
    _, exact = train(settings())
    mixed, history = train(settings(precision="mixed"))
    assert history[-1][2] == pytest.approx(exact[-1][2], rel=0.1)
    assert mixed.denoise(seeded(1, 1, 8, 8)).dtype == torch.float32
