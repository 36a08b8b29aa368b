"""Ridge energies: literal sums over positions, derivatives, the minimum and its derivatives, training."""

import math

import numpy as np
import pytest
import torch

from deep_restoration.priors import borders, denoising, ridge
from deep_restoration.priors.base import Calibrated
from deep_restoration.priors.registry import load
from deep_restoration.runtime.checkpoints import Checkpoint
from deep_restoration.runtime.errors import DivergedError

pytestmark = pytest.mark.usefixtures("one_thread")

GROUPS, TERMS = 3, 2


def experts(group=2, channels=2, size=3, levels=1, seed=0):
    draw = torch.Generator().manual_seed(seed)

    def drawn(*shape):
        return torch.randn(shape, generator=draw, dtype=torch.float64)

    count = GROUPS * group
    weights, widths = (drawn(levels, GROUPS, TERMS).exp() for _ in range(2))
    return ridge.Experts(drawn(count, channels, size, size), drawn(count), weights, widths)


def prior(group=2, channels=2, size=3, sigma=0.4, seed=0, **options):
    made = experts(group, channels, size, seed=seed)
    powers = torch.tensor([[0.3, -0.2, 0.0], [1.0, 0.5, 2.0]], dtype=torch.float64)
    parts = (made.filters, made.bias, made.weights[0].log(), made.widths[0].log(), powers)
    return ridge.Ridge(*parts, 0.8, sigma, **options)


def maps(count=2, channels=2, height=6, width=5, seed=1, dtype=torch.float64):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(count, channels, height, width, generator=draw, dtype=dtype)


# ------------------------------------------------------------------------------ energy


def literal(x, one, index=0):
    """The energy of a map C x H x W, term by term; numpy's `reflect` mirrors the map."""
    filters, bias, weights, widths = (tensor.numpy() for tensor in one)
    size, group = filters.shape[2], len(filters) // weights.shape[1]
    before, after = (size - 1) // 2, size // 2
    framed = np.pad(x.numpy(), ((0, 0), (before, after), (before, after)), mode="reflect")
    total = 0.0
    for row in range(x.shape[1]):
        for column in range(x.shape[2]):
            patch = framed[:, row : row + size, column : column + size]
            for g in range(weights.shape[1]):
                members = range(g * group, (g + 1) * group)
                q = sum(((filters[k] * patch).sum() + bias[k]) ** 2 for k in members)
                for a, c in zip(weights[index, g], widths[index, g], strict=True):
                    total += a * math.log(1 + q / (2 * c))
    return total


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("group", [1, 3])
def test_the_energy_is_the_sum_over_positions_groups_and_terms(group, size):
    x, one = maps(), experts(group, size=size)
    expected = [literal(single, one) for single in x]
    assert ridge.energy_of(x, one).tolist() == pytest.approx(expected, rel=1e-10)


def test_every_map_has_the_experts_of_its_level():
    x, both = maps(), experts(levels=2)
    expected = [literal(single, both, index) for index, single in enumerate(x)]
    assert ridge.energy_of(x, both).tolist() == pytest.approx(expected, rel=1e-10)
    alone = [ridge.gradient_of(x[i : i + 1], both.of(slice(i, i + 1))) for i in range(2)]
    torch.testing.assert_close(ridge.gradient_of(x, both), torch.cat(alone))


def test_one_term_and_one_filter_are_the_student_t_expert():
    from deep_restoration.priors.field import FieldOfExperts

    made = experts(group=1)
    made = made._replace(weights=made.weights[..., :1], widths=torch.ones(1, GROUPS, 1).double())
    field = FieldOfExperts(made.filters, made.bias, made.weights[0, :, 0], "student_t")
    x = maps()
    torch.testing.assert_close(ridge.energy_of(x, made), field.energy(x))
    torch.testing.assert_close(ridge.gradient_of(x, made), field.gradient(x))


@pytest.mark.parametrize("group", [1, 3])
def test_the_gradient_is_that_of_finite_differences_and_of_autograd(group):
    x, one = maps(1), experts(group)
    found, step = ridge.gradient_of(x, one), 1e-5
    for place in [(0, 0, 0, 0), (0, 1, 5, 4), (0, 0, 2, 3)]:
        moved = torch.zeros_like(x)
        moved[place] = step
        ends = ridge.energy_of(torch.cat([x + moved, x - moved]), one)
        assert float(found[place]) == pytest.approx(float(ends[0] - ends[1]) / (2 * step), rel=1e-5)
    seen = x.clone().requires_grad_()
    (by_autograd,) = torch.autograd.grad(ridge.energy_of(seen, one).sum(), seen)
    torch.testing.assert_close(found, by_autograd, rtol=1e-5, atol=1e-8)


def test_blocks_give_what_the_whole_gives(monkeypatch):
    x, one = maps(3, height=9), experts(levels=3)
    energy, gradient = ridge.energy_of(x, one), ridge.gradient_of(x, one)
    for block in (1, 70, 400):  # a row, rows, whole maps at a time
        monkeypatch.setattr(ridge, "BLOCK", block)
        torch.testing.assert_close(ridge.energy_of(x, one), energy)
        torch.testing.assert_close(ridge.gradient_of(x, one), gradient)


def test_a_prior_scales_weights_and_widths_by_powers_of_the_level():
    one, x = prior(sigma=0.4), maps()
    ratio = 0.4 / 0.8
    weights = one.weights.exp() * ratio ** one.powers[0][:, None]
    widths = one.widths.exp() * ratio ** one.powers[1][:, None]
    made = ridge.Experts(one.filters, one.bias, weights[None], widths[None])
    torch.testing.assert_close(one.energy(x), ridge.energy_of(x, made))
    torch.testing.assert_close(one.gradient(x), ridge.gradient_of(x, made))
    other = prior(sigma=1.7)
    torch.testing.assert_close(one.slope_for(1.7)(x), other.gradient(x))


def test_energies_of_an_optimisation_have_their_gradients():
    one, x = prior(), maps().requires_grad_()
    energy = one.energy(x)
    (found,) = torch.autograd.grad((torch.tensor([2.0, -3.0]).double() * energy).sum(), x)
    expected = one.gradient(x.detach()) * torch.tensor([2.0, -3.0]).view(-1, 1, 1, 1)
    torch.testing.assert_close(found, expected)
    with torch.no_grad():
        torch.testing.assert_close(one.energy(x), energy.detach())


def test_mixed_precision_does_not_lower_it():
    one, x = prior(), maps(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        energy, gradient = one.energy(x), one.gradient(x)
    assert torch.equal(energy, one.energy(x))
    assert torch.equal(gradient, one.gradient(x))


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 2)])
def test_maps_of_any_size_can_be_asked_of(size):
    one, x = prior(size=5), maps(height=size[0], width=size[1])
    assert one.energy(x).tolist() == pytest.approx(
        [ridge.energy_of(single[None], one.experts(x)).item() for single in x]
    )
    assert one.gradient(x).shape == x.shape
    assert one.positions(x) == size[0] * size[1]


# ------------------------------------------------------------------------------ curvature


def hessian(one, x, step=1e-5):
    """By central differences of the gradient, a column for each value of a map 1 x C x H x W."""
    moves = step * torch.eye(x.numel(), dtype=x.dtype).view(-1, *x.shape[1:])
    made = one.experts(x)
    ends = (ridge.gradient_of(x + sign * moves, made).flatten(1) for sign in (1, -1))
    found = (next(ends) - next(ends)) / (2 * step)
    return (found + found.mT) / 2


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("scale", [0.1, 1.0, 5.0])
def test_no_map_bends_down_more_than_the_bound(scale, channels):
    one = prior(channels=channels)
    bound = one.least_curvature(6, 5)
    least = min(
        float(torch.linalg.eigvalsh(hessian(one, scale * maps(1, channels, seed=seed))).min())
        for seed in range(3)
    )
    assert bound <= least
    assert bound < 0


def test_the_bound_is_met_by_one_response_to_one_filter():
    """A filter of one position, as steep as it gets at sqrt(6 c): its Hessian is diagonal there."""
    ones = torch.ones(1, 1, dtype=torch.float64)
    filters = 2 * torch.ones(1, 1, 1, 1, dtype=torch.float64)
    one = ridge.Ridge(
        filters, torch.zeros(1).double(), ones, (3 * ones).log(), torch.zeros(2, 1), 1.0, 1.0
    )
    x = torch.full((1, 1, 2, 2), math.sqrt(6 * 3) / 2, dtype=torch.float64)
    least = float(torch.linalg.eigvalsh(hessian(one, x)).min())
    assert one.least_curvature(2, 2) == pytest.approx(least, rel=1e-6)
    assert least == pytest.approx(-math.e * 4 / (8 * 3))


# ------------------------------------------------------------------------------ the minimum


def test_the_most_probable_image_is_found_at_the_level_of_the_noise():
    one, noisy = prior(sigma=9.0), maps()
    limits = {"tolerance": 1e-9, "iterations": 3000}
    found = denoising.most_probable(one, 0.3, noisy, 0.7, **limits)
    left = (found.images - noisy) / 0.3**2 + 0.7 * prior(sigma=0.3).gradient(found.images)
    assert float(left.abs().max()) < 1e-6


def test_derivatives_along_a_direction_are_those_of_the_energy():
    x, v, both = maps(), maps(seed=2), experts(levels=2)
    found = ridge.slope_along(v, x, both)
    expected = (v * ridge.gradient_of(x, both)).sum((1, 2, 3))
    torch.testing.assert_close(found, expected)


def test_conjugate_gradients_solve_with_the_hessian(monkeypatch):
    monkeypatch.setattr(ridge, "CONJUGATE", 200)
    monkeypatch.setattr(ridge, "SOLVED", 1e-12)
    one = prior()
    x, u = maps(1), maps(1, seed=2)
    power = torch.full((1, 1, 1, 1), 0.01, dtype=torch.float64)
    found = ridge._solved(u, x, power, one.experts(x))
    matrix = torch.eye(x.numel()).double() + 0.01 * hessian(one, x)
    torch.testing.assert_close(
        found.flatten(), torch.linalg.solve(matrix, u.flatten()), rtol=1e-6, atol=1e-8
    )


def test_the_gradient_of_a_training_is_that_of_the_minimum(monkeypatch):
    """Derivatives of the minimum by the experts against minima of experts that are slightly others."""
    monkeypatch.setattr(ridge, "CONJUGATE", 200)
    monkeypatch.setattr(ridge, "SOLVED", 1e-12)
    monkeypatch.setattr(ridge, "NEAR", 1e-10)
    noisy, clean = (maps(height=3, width=4, seed=seed) for seed in (1, 3))
    sigma = torch.tensor([0.1, 0.15]).double()
    made = experts(levels=2)

    def loss(*tensors):
        found = ridge._Minimum.apply(noisy, sigma, 1000, *tensors)
        return (found - clean).square().sum()

    given = [tensor.clone().requires_grad_() for tensor in made]
    slopes = torch.autograd.grad(loss(*given), given)
    draw, step = torch.Generator().manual_seed(7), 1e-4
    for index, slope in enumerate(slopes):
        way = torch.randn(slope.shape, generator=draw, dtype=torch.float64) * 0.1
        ends = []
        for sign in (1, -1):
            moved = list(made)
            moved[index] = moved[index] + sign * step * way
            ends.append(float(loss(*moved)))
        expected = (ends[0] - ends[1]) / (2 * step)
        assert float((slope * way).sum()) == pytest.approx(expected, rel=1e-4)


# ------------------------------------------------------------------------------ files


def test_a_stored_prior_is_the_same(tmp_path):
    one = prior(mean=1.5, spread=2.5, facts={"sigma": 40.0})
    one.save(tmp_path / "a.safetensors", {"by": "test"})
    found = load(tmp_path / "a.safetensors")
    x = maps()
    assert torch.equal(found.energy(x), one.energy(x))
    assert (found.kind, found.channels, found.mean, found.spread) == ("ridge", 2, 1.5, 2.5)
    assert found.facts == {"sigma": 40.0}
    asked = load(tmp_path / "a.safetensors", sigma=[80.0, 20.0])
    assert asked.sigma == pytest.approx(0.8)
    asked.anneal(1.0)
    assert asked.sigma == pytest.approx(0.2)
    torch.testing.assert_close(asked.energy(x), prior(sigma=0.2).energy(x))


def test_energies_are_calibrated_by_image():
    one, x = prior(), maps(5)
    one.calibrate([x[:2], x[2:]])
    found = Calibrated(one).energy(x)
    assert float(found.mean()) == pytest.approx(0, abs=1e-10)
    assert float(found.std(correction=0)) == pytest.approx(1)


# ------------------------------------------------------------------------------ training


def blobs(count, seed, channels=1, side=14):
    """uint8 images of a few flat rectangles: what filters of small patches know well."""
    draw = np.random.default_rng(seed)
    x = np.zeros((count, channels, side, side))
    for image in x:
        for _ in range(4):
            top, left = draw.integers(0, side - 3, 2)
            image[:, top : top + draw.integers(3, 9), left : left + draw.integers(3, 9)] = (
                draw.uniform(0, 1, (channels, 1, 1))
            )
    return np.rint(255 * x).astype(np.uint8)


def settings(**changes):
    values = {"filters": 8, "group": 2, "size": 3, "noise_levels": (20.0, 30.0), "sigma": 25.0}
    values |= {"iterations": 60, "steps": 20, "batch": 4, "rate": 2e-2, "crop": 10}
    return ridge.Settings(**values | changes)


@pytest.fixture
def train(tmp_path):
    def run(plan, seed=0, interval=1e9, learned=None, kept=None):
        learned = blobs(20, 0) if learned is None else learned
        kept = blobs(8, 1) if kept is None else kept
        return ridge.train(learned, kept, plan, seed, Checkpoint(tmp_path / "p", "key", interval))

    return run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    checkpoint = Checkpoint(tmp_path_factory.mktemp("ridge") / "prior", "key", 1e9)
    return ridge.train(blobs(40, 0), blobs(8, 1), settings(steps=110), 0, checkpoint)


def test_training_lowers_the_held_out_objective(trained):
    one, history = trained
    assert [row[0] for row in history] == [100, 110]
    assert history[1][2] < history[0][2] < 0.5
    assert one.facts["curvature"] == one.sigma**2 * one.least_curvature(10, 10) < 0


def test_what_is_learned_denoises_images_it_has_not_seen(trained):
    """The weight 1 is about the best: so it was trained."""
    one, _ = trained
    clean = torch.from_numpy(blobs(12, 2)).float() / 255
    noisy = clean + 25 / 255 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    found = {
        weight: float(
            denoising.psnr(
                clean, denoising.most_probable(one, 25 / 255, noisy, weight).images
            ).mean()
        )
        for weight in (0.25, 1.0, 4.0)
    }
    assert found[1.0] > float(denoising.psnr(clean, noisy).mean()) + 4
    assert found[1.0] > max(found[0.25], found[4.0])


def test_filters_of_images_do_not_see_the_mean_of_a_channel(trained):
    one, _ = trained
    assert float(one.filters.sum((2, 3)).abs().max()) < 1e-4 * float(one.filters.abs().max())
    assert one.sigma == pytest.approx(25 / 255)
    assert one.reference == pytest.approx(math.sqrt(20 * 30) / 255)


def test_filters_of_maps_see_them_around_their_centre(train):
    features = 3 + 2 * np.random.default_rng(0).standard_normal((20, 2, 6, 6)).astype(np.float32)
    one, _ = train(settings(steps=2), learned=features, kept=features[:4])
    centre = torch.from_numpy(features.mean((0, 2, 3)))[None, :, None, None].expand(1, 2, 6, 6)
    framed = borders.mirrored(centre, (3, 3))
    responses = one.experts(centre).respond(framed)
    assert float(responses.abs().max()) < 1e-4
    assert float(one.filters.sum((2, 3)).abs().max()) > 1e-2
    assert one.sigma == pytest.approx(0.25 * features.std(), rel=1e-2)


def test_a_resumed_training_ends_as_an_unbroken_one(train, stopping_after):
    whole, history = train(settings(steps=6))
    with stopping_after(4):
        train(settings(steps=6), interval=0)
    rest, continued = train(settings(steps=6))
    for name in ridge.TENSORS:
        assert torch.equal(getattr(rest, name), getattr(whole, name)), name
    assert [row[:3] for row in map(tuple, continued)] == [row[:3] for row in history]


def test_another_seed_gives_another_prior(train):
    first, again, other = (train(settings(steps=1), seed)[0].filters for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-2)


def test_divergence_names_the_step(train):
    with pytest.raises(DivergedError, match=r"ridge energy.* at step [1-9]"):
        train(settings(rate=1e30))
