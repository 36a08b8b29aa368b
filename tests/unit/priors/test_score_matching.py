"""Score matching against the formula written out, autograd, and models whose parameters are known."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from deep_restoration.priors import score_matching
from deep_restoration.priors.experts import EXPERTS
from deep_restoration.priors.score_matching import Fields, Patches
from deep_restoration.priors.whitening import whitening_matrix
from deep_restoration.runtime import seeds
from deep_restoration.runtime.checkpoints import Checkpoint
from deep_restoration.runtime.errors import DivergedError
from deep_restoration.statistics.moments import Moments

experts = pytest.mark.parametrize("expert", sorted(EXPERTS))

LITERAL = {  # G, g, g'
    "logistic": (
        lambda s: -math.log(math.cosh(s)),
        lambda s: -math.tanh(s),
        lambda s: -4 / (math.exp(s) + math.exp(-s)) ** 2,
    ),
    "student_t": (
        lambda s: -math.log(1 + s * s / 2),
        lambda s: -2 * s / (s**2 + 2),
        lambda s: 2 * (s**2 - 2) / (s**2 + 2) ** 2,
    ),
    "smooth_l1": (
        lambda s: -math.sqrt(1 + s * s),
        lambda s: -s / math.sqrt(1 + s * s),
        lambda s: -((1 + s * s) ** -1.5),
    ),
}


def drawn(count=4, dimensions=5, filters=9, groups=(), seed=0):
    """Data, filters of any length and positive weights, over-complete, in float64."""
    draw = torch.Generator().manual_seed(seed)
    data = 2 * torch.randn(*groups, count, dimensions, generator=draw, dtype=torch.float64)
    weights = 0.6 * torch.randn(*groups, filters, dimensions, generator=draw, dtype=torch.float64)
    alphas = torch.rand(*groups, filters, generator=draw, dtype=torch.float64) + 0.1
    return data, weights, alphas


def close(found, expected):
    scale = float(expected.abs().max())
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10 * scale)


# ------------------------------------------------------------------------------ experts


@experts
def test_experts_derivatives_follow_from_G(expert):
    s = torch.cat([torch.linspace(-9, 9, 36, dtype=torch.float64), torch.tensor([1e-3, -40.0])])
    s.requires_grad_()
    value = EXPERTS[expert].G(s)
    torch.testing.assert_close(
        EXPERTS[expert].g(s.detach()),
        EXPERTS[expert].derivatives(s.detach())[0],
        rtol=1e-12,
        atol=0,
    )
    for found in EXPERTS[expert].derivatives(s.detach()):
        (value,) = torch.autograd.grad(value.sum(), s, create_graph=True)
        torch.testing.assert_close(found, value, rtol=1e-9, atol=1e-14)


@experts
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rows", [1, 2, 5, 13, 40])
def test_energy_and_slope_at_once_are_those_one_by_one(expert, dtype, rows):
    s = torch.cat([torch.linspace(-9, 9, 36), torch.tensor([0.0, 1e-3, -40.0, 3e4])]).to(dtype)
    s = torch.stack([s.roll(shift) for shift in range(2 * rows)])
    s = s.view(2, rows, 1, 40).movedim(3, 1).contiguous()
    precise = {"rtol": 1e-5, "atol": 1e-6} if dtype == torch.float32 else {}
    sums, slope = EXPERTS[expert].energy(s.clone())
    assert sums.dtype == slope.dtype == dtype
    torch.testing.assert_close(-sums, EXPERTS[expert].G(s).sum((2, 3)), **precise)
    torch.testing.assert_close(-slope, EXPERTS[expert].g(s), **precise)


@experts
def test_energy_and_slope_are_finite_wherever_responses_are(expert):
    far = torch.tensor([1e20, -1e30, 3e38, 1e18, -1e19, 2.0]).view(1, 1, 6, 1)
    far = torch.cat([far, far.flip(2)], 1)
    for values in EXPERTS[expert].energy(far):
        assert torch.isfinite(values).all()


@experts
def test_experts_have_their_published_forms(expert):
    values = [-30.0, -3.0, -0.1, 0.0, 0.7, 20.0]
    s = torch.tensor(values, dtype=torch.float64)
    found = EXPERTS[expert].G(s), *EXPERTS[expert].derivatives(s)[:2]
    for one, literal in zip(found, LITERAL[expert], strict=True):
        assert one.tolist() == pytest.approx([literal(v) for v in values], rel=1e-12, abs=1e-15)


@experts
def test_experts_leave_their_argument_alone(expert):
    s = torch.linspace(-3, 3, 7)
    kept = s.clone()
    EXPERTS[expert].G(s)
    EXPERTS[expert].g(s)
    EXPERTS[expert].derivatives(s)
    assert torch.equal(s, kept)


@experts
def test_experts_are_even_and_finite_far_out(expert):
    s = torch.tensor([0, 1e-30, 1e4, 1e9, 1.1e9, 1e18, 1e19, 1e20, 1e30])
    own = EXPERTS[expert]
    for values in (own.G(s), own.g(s), *own.derivatives(s)):
        assert values.dtype == torch.float32
        assert torch.isfinite(values).all()
    assert torch.equal(EXPERTS[expert].G(s), EXPERTS[expert].G(-s))
    far = s[2:].clone().requires_grad_()
    assert torch.isfinite(torch.autograd.grad(EXPERTS[expert].G(far).sum(), far)[0]).all()
    expected = {
        "logistic": lambda v: math.log(2) - v,
        "student_t": lambda v: math.log(2) - 2 * math.log(v),
        "smooth_l1": lambda v: -v,
    }
    found = EXPERTS[expert].G(far).tolist()
    assert found == pytest.approx([expected[expert](v) for v in far.tolist()], rel=1e-6)
    slope = EXPERTS[expert].derivatives(far.detach())[0].tolist()
    assert slope == pytest.approx([-2 / v if expert == "student_t" else -1 for v in far.tolist()])


# ------------------------------------------------------------------------------ objective


def dot(u, v):
    return sum(p * q for p, q in zip(u, v, strict=True))


@experts
def test_objective_is_the_double_sum_over_experts(expert):
    data, filters, alphas = drawn()
    _, g, dg = LITERAL[expert]
    found = score_matching.objective(data, filters, alphas, EXPERTS[expert])
    w, a = filters.tolist(), alphas.tolist()
    for row, x in enumerate(data.tolist()):
        s = [dot(v, x) for v in w]
        expected = sum(a[k] * dg(s[k]) * dot(w[k], w[k]) for k in range(len(w)))
        for j in range(len(w)):
            for k in range(len(w)):
                expected += 0.5 * a[j] * a[k] * dot(w[j], w[k]) * g(s[j]) * g(s[k])
        assert found[row].item() == pytest.approx(expected, rel=1e-10)


def by_autograd(data, filters, alphas, expert):
    """Trace of the Hessian of the log density and half its squared score, of every sample."""
    x = data.detach().requires_grad_()
    log_density = (EXPERTS[expert].G(x @ filters.T) @ alphas).sum()
    (score,) = torch.autograd.grad(log_density, x, create_graph=True)
    rows = [
        torch.autograd.grad(score[:, i].sum(), x, create_graph=True)[0][:, i]
        for i in range(x.shape[1])
    ]
    return sum(rows) + 0.5 * score.square().sum(1)


@experts
def test_objective_is_trace_of_the_hessian_and_half_the_squared_score(expert):
    data, filters, alphas = drawn(20)
    found = score_matching.objective(data, filters, alphas, EXPERTS[expert])
    close(found, by_autograd(data, filters, alphas, expert).detach())


@experts
def test_gradient_is_that_of_autograd(expert):
    data, filters, alphas = drawn(20)
    filters.requires_grad_()
    alphas.requires_grad_()
    value = by_autograd(data, filters, alphas, expert).mean()
    expected = value.detach(), *torch.autograd.grad(value, [filters, alphas])
    with torch.no_grad():
        found = score_matching.gradient(data, filters, alphas, EXPERTS[expert])
    for one, other in zip(found, expected, strict=True):
        close(one, other)


@experts
def test_groups_are_what_they_are_one_by_one(expert):
    data, filters, alphas = drawn(7, groups=(3,))
    together = score_matching.gradient(data, filters, alphas, EXPERTS[expert])
    objectives = score_matching.objective(data, filters, alphas, EXPERTS[expert])
    assert objectives.shape == (3, 7)
    total = 0.0
    for group in range(3):
        one = data[group], filters[group], alphas[group], EXPERTS[expert]
        value, by_filters, by_alphas = score_matching.gradient(*one)
        total += value
        close(objectives[group], score_matching.objective(*one))
        close(together[1][group], by_filters)
        close(together[2][group], by_alphas)
    close(together[0], total)


@experts
@pytest.mark.parametrize("groups", [(), (2,)])
def test_a_batch_of_several_blocks_is_the_mean_of_its_samples(expert, groups):
    count = 2 * score_matching.BLOCK + 37
    data, filters, alphas = drawn(count, groups=groups)
    found = score_matching.gradient(data, filters, alphas, EXPERTS[expert])
    sums = [0.0, 0.0, 0.0]
    for part in data.split(100, -2):
        each = score_matching.gradient(part, filters, alphas, EXPERTS[expert])
        sums = [s + value * part.shape[-2] / count for s, value in zip(sums, each, strict=True)]
    for one, other in zip(found, sums, strict=True):
        close(one, other)
    values = score_matching.objective(data, filters, alphas, EXPERTS[expert])
    close(found[0], values.mean(-1).sum())


# ------------------------------------------------------------------------------ objective of fields


def field_by_autograd(crops, filters, alphas, expert):
    """What `by_autograd` gives for a field, for the middle of every crop, per value of it."""
    height, width = filters.shape[2] - 1, filters.shape[3] - 1
    x = crops.detach().requires_grad_()
    log_density = (EXPERTS[expert].G(F.conv2d(x, filters)).sum((2, 3)) @ alphas).sum()
    (score,) = torch.autograd.grad(log_density, x, create_graph=True)
    middle = score[:, :, height : x.shape[2] - height, width : x.shape[3] - width]
    total = 0.5 * middle.square().sum((1, 2, 3))
    for c in range(x.shape[1]):
        for i in range(height, x.shape[2] - height):
            for j in range(width, x.shape[3] - width):
                (row,) = torch.autograd.grad(score[:, c, i, j].sum(), x, create_graph=True)
                total = total + row[:, c, i, j]
    return total / middle[0].numel()


def drawn_field(size, crop, seed=0):
    draw = torch.Generator().manual_seed(seed)
    crops = torch.randn(3, 2, *crop, generator=draw, dtype=torch.float64)
    filters = 0.5 * torch.randn(4, 2, *size, generator=draw, dtype=torch.float64)
    return crops, filters, torch.rand(4, generator=draw, dtype=torch.float64) + 0.1


@experts
@pytest.mark.parametrize(
    ("size", "crop"), [((3, 3), (7, 8)), ((2, 2), (3, 3)), ((2, 3), (5, 6)), ((1, 1), (2, 3))]
)
def test_the_objective_of_a_field_is_that_of_the_middle_of_crops(expert, size, crop):
    crops, filters, alphas = drawn_field(size, crop)
    filters.requires_grad_()
    alphas.requires_grad_()
    each = field_by_autograd(crops, filters, alphas, expert)
    expected = each.mean().detach(), *torch.autograd.grad(each.mean(), [filters, alphas])
    with torch.no_grad():
        values = score_matching.field_objective(crops, filters, alphas, EXPERTS[expert])
        found = score_matching.field_gradient(crops, filters, alphas, EXPERTS[expert])
    close(values, each.detach())
    for one, other in zip(found, expected, strict=True):
        close(one, other)


@experts
def test_a_field_of_single_pixels_is_a_model_of_patches(expert):
    crops, filters, alphas = drawn_field((1, 1), (4, 5))
    found = score_matching.field_objective(crops, filters, alphas, EXPERTS[expert])
    pixels = crops.permute(0, 2, 3, 1).reshape(3, 20, 2)
    flat = filters[:, :, 0, 0].expand(3, -1, -1), alphas.expand(3, -1)
    expected = score_matching.objective(pixels, *flat, EXPERTS[expert]).sum(1) / 40
    close(found, expected)


@pytest.mark.parametrize("crop", [(4, 9), (9, 4)])
def test_crops_without_a_middle_are_refused(crop):
    crops, filters, alphas = drawn_field((3, 3), crop)
    for function in (score_matching.field_objective, score_matching.field_gradient):
        with pytest.raises(ValueError, match=f"crops of {crop[0]} x {crop[1]} have no pixel"):
            function(crops, filters, alphas, EXPERTS["logistic"])


# ------------------------------------------------------------------------------ planted models


def settings(expert, steps, **changes):
    values = {"filters": 6, "batch": 500, "rate": 0.03, "unit_norm": True, "patience": None}
    return score_matching.Settings(expert=expert, steps=steps, **values | changes)


def checkpoint(folder, interval=1e9):
    return Checkpoint(folder / "prior", "key", interval)


def amari(product):
    """Amari, Cichocki & Yang 1996, in 0..1: 0 for a scaled permutation."""
    size, product = len(product), np.abs(product)
    rows = (product / product.max(1, keepdims=True)).sum() - size
    columns = (product / product.max(0, keepdims=True)).sum() - size
    return (rows + columns) / (2 * size * (size - 1))


def test_the_amari_index_is_0_for_permutations_and_1_for_a_flat_matrix():
    permutation = np.diag([2.0, -3.0, 0.1])[[2, 0, 1]]
    assert amari(permutation) == 0
    assert amari(np.ones((5, 5))) == 1


@pytest.mark.parametrize(
    ("expert", "sources"),
    [("logistic", "laplace"), ("smooth_l1", "laplace"), ("student_t", "student")],
)
def test_sixteen_planted_components_are_separated(expert, sources, tmp_path):
    rng = np.random.default_rng(0)
    shape = (30000, 16)
    drawn = rng.laplace(size=shape) if sources == "laplace" else rng.standard_t(5, size=shape)
    mixing = rng.standard_normal((16, 16))
    mixed, moments = drawn @ mixing.T, Moments(16)
    moments.add(mixed)
    whitening = whitening_matrix(moments.covariance)
    data = torch.from_numpy((mixed - moments.mean) @ whitening.T).float()[None]
    filters, alphas, history = score_matching.train(
        Patches(data[:, 2000:], data[:, :2000]),
        settings(expert, 600, filters=16),
        0,
        checkpoint(tmp_path),
    )
    found = filters[0].double().numpy() @ whitening @ mixing
    assert sorted(np.abs(found).argmax(1)) == list(range(16))
    assert amari(found / np.linalg.norm(found, axis=1, keepdims=True)) < 0.05
    assert (alphas > 0).all()
    torch.testing.assert_close(filters.norm(dim=-1), torch.ones(1, 16))
    assert [row[0] for row in history] == list(range(100, 601, 100))
    assert history[-1][2] < history[0][2]


def sampled(log_density, x, step, leaps=6, rounds=60, seed=0):
    """Independent samples of a log density, one per row of the start x: hybrid Monte Carlo."""
    draw = torch.Generator().manual_seed(seed)
    axes = tuple(range(1, x.ndim))

    def of(x):
        x = x.detach().requires_grad_()
        value = log_density(x)
        return value.detach(), torch.autograd.grad(value.sum(), x)[0]

    value, slope = of(x)
    for _ in range(rounds):
        start = torch.randn(x.shape, generator=draw)
        y, there, uphill = x, value, slope
        speed = start + 0.5 * step * uphill
        for leap in range(leaps):
            y = y + step * speed
            there, uphill = of(y)
            speed = speed + (0.5 if leap == leaps - 1 else 1) * step * uphill
        change = there - value - 0.5 * (speed.square() - start.square()).sum(axes)
        accepted = torch.rand(len(x), generator=draw).log() < change
        value = torch.where(accepted, there, value)
        accepted = accepted.view(-1, *(1 for _ in axes))
        x, slope = torch.where(accepted, y, x), torch.where(accepted, uphill, slope)
    return x


def student(s):
    return -torch.log1p(s.square() / 2)


def test_the_sampler_samples():
    x = sampled(lambda x: 2.5 * student(x).sum(1), torch.ones(20000, 2), 0.4, rounds=30)
    assert x.mean().abs() < 0.03  # Student-t of 4 degrees of freedom, times the root of 1/2
    assert x.abs().mean().item() == pytest.approx(math.sqrt(0.5), rel=0.03)
    assert x.abs().median().item() == pytest.approx(0.7407 * math.sqrt(0.5), rel=0.03)


def matched(filters, planted):
    """For each planted filter (rows of unit length), which one found is most like it, and how much."""
    likeness = (F.normalize(filters, dim=-1) @ planted.T).abs()
    return likeness.argmax(0), likeness.max(0).values


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("unit", [True, False])
def test_twice_as_many_planted_experts_as_dimensions_are_found(unit, seed, tmp_path):
    hadamard = torch.tensor([[1.0, 1], [1, -1]])
    hadamard = torch.kron(hadamard, torch.kron(hadamard, hadamard)) / math.sqrt(8)
    planted = torch.cat([torch.eye(8), hadamard])
    start = torch.randn(20000, 8, generator=torch.Generator().manual_seed(0))
    x = sampled(lambda x: student(x @ planted.T).sum(1), start, 0.4, rounds=25)[None]
    filters, _, _ = score_matching.train(
        Patches(x[:, 1000:], x[:, :1000]),
        settings("student_t", 1200, filters=16, unit_norm=unit),
        seed,
        checkpoint(tmp_path),
    )
    _, likeness = matched(filters[0], planted)
    assert (likeness > 0.95).float().mean() >= 0.9


def test_planted_experts_get_their_weights(tmp_path):
    draw = torch.Generator().manual_seed(3)
    basis, _ = torch.linalg.qr(torch.randn(6, 6, generator=draw))
    more = F.normalize(torch.randn(2, 6, generator=draw), dim=1)
    planted, weights = torch.cat([basis, more]), torch.linspace(0.8, 2, 8)
    start = torch.randn(40000, 6, generator=draw)
    x = sampled(lambda x: student(x @ planted.T) @ weights, start, 0.4, rounds=25)[None]
    filters, alphas, _ = score_matching.train(
        Patches(x[:, 1000:], x[:, :1000]),
        settings("student_t", 800, filters=8, batch=1000),
        0,
        checkpoint(tmp_path),
    )
    order, likeness = matched(filters[0], planted)
    assert sorted(order.tolist()) == list(range(8))
    assert likeness.min() > 0.99
    torch.testing.assert_close(alphas[0, order], weights, rtol=0.1, atol=0)


@pytest.fixture(scope="module")
def planted_field():
    """Filters and weights of a field that its mirror image equals, and maps drawn from it."""
    filters = torch.tensor([[1, 0, 0, -0.5], [0, 1, -0.5, 0], [1, 1, 1, 1]])
    filters, weights = F.normalize(filters, dim=1), torch.tensor([1.0, 1.0, 0.7])
    start = torch.randn(250, 1, 20, 20, generator=torch.Generator().manual_seed(0))
    convolution = filters.view(3, 1, 2, 2)
    maps = sampled(
        lambda x: student(F.conv2d(x, convolution)).sum((2, 3)) @ weights, start, 0.2, rounds=40
    )
    return filters, weights, maps


def test_the_objective_of_a_field_is_least_at_the_planted_weights(planted_field):
    filters, weights, maps = planted_field
    crops, filters = maps.double(), filters.double().view(3, 1, 2, 2)

    def slope(alphas):
        return score_matching.field_gradient(crops, filters, alphas, EXPERTS["student_t"])[2]

    zero = slope(torch.zeros(3, dtype=torch.float64))  # the objective is quadratic in the weights
    curvature = torch.stack([slope(one) - zero for one in torch.eye(3, dtype=torch.float64)])
    found = -torch.linalg.solve(curvature, zero)
    torch.testing.assert_close(found, weights.double(), rtol=0.1, atol=0)


def test_a_planted_field_is_found(planted_field, tmp_path):
    planted, weights, maps = planted_field
    maps = maps.numpy()
    problem = Fields(maps[20:], maps[:20], torch.eye(4), 2, 18, torch.zeros(1))
    noise = torch.randn(3, 4, generator=torch.Generator().manual_seed(1))
    start = (planted + 0.2 * noise)[None], torch.ones(1, 3)
    filters, alphas, _ = score_matching.train(
        problem,
        settings("student_t", 200, filters=3, batch=32),
        0,
        checkpoint(tmp_path),
        start,
        "field",
    )
    order, likeness = matched(filters[0], planted)
    assert sorted(order.tolist()) == [0, 1, 2]
    assert likeness.min() > 0.99
    torch.testing.assert_close(alphas[0, order], weights, rtol=0.1, atol=0)


# ------------------------------------------------------------------------------ training


def sources(count, dimensions=6, groups=1, seed=0):
    """Groups of mixed independent Laplace sources of unit variance, groups x count x dimensions."""
    rng = np.random.default_rng(seed)
    mixing = np.linalg.qr(rng.standard_normal((groups, dimensions, dimensions)))[0]
    drawn = rng.laplace(scale=math.sqrt(0.5), size=(groups, count, dimensions))
    return torch.from_numpy(drawn @ mixing.transpose(0, 2, 1)).float()


def halves(data, *options):
    """The first 200 samples held out."""
    return Patches(data[:, 200:], data[:, :200], *options)


def noisy_patches():
    noise = 0.1 * torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(4))
    return halves(sources(1000, groups=2), noise)


def small_field():
    maps = np.random.default_rng(0).laplace(size=(9, 2, 12, 14)).astype(np.float32)
    matrix = torch.randn(6, 8, generator=torch.Generator().manual_seed(4))
    return Fields(maps[2:], maps[:2], matrix, 2, 5, torch.tensor([0.1, -0.2]), noise=0.05)


def plain_patches():
    return halves(sources(1000))


problems = pytest.mark.parametrize("problem", [plain_patches, noisy_patches, small_field])


@problems
def test_a_resumed_training_ends_as_an_unbroken_one(problem, tmp_path, stopping_after):
    plan = settings("student_t", 130, filters=9, batch=50, unit_norm=False, patience=9)
    whole = score_matching.train(problem(), plan, 0, checkpoint(tmp_path))
    with stopping_after(110):
        score_matching.train(problem(), plan, 0, checkpoint(tmp_path, 0))
    tensors, values = checkpoint(tmp_path).load()
    assert values["step"] == 109  # the last whose objective was seen to be finite
    rest = score_matching.train(problem(), plan, 0, checkpoint(tmp_path))
    assert torch.equal(rest[0], whole[0])
    assert torch.equal(rest[1], whole[1])
    assert [tuple(row[:3]) for row in rest[2]] == [row[:3] for row in whole[2]]
    assert not torch.equal(rest[0], tensors["network.filters"])


@problems
def test_the_weights_of_the_best_held_out_objective_are_kept(problem, tmp_path):
    plan = settings("logistic", 250, batch=20, rate=0.3)
    filters, alphas, history = score_matching.train(problem(), plan, 0, checkpoint(tmp_path))
    held = problem().held_out(filters, alphas, EXPERTS["logistic"])
    assert held == pytest.approx(min(row[2] for row in history), rel=1e-5)
    assert [row[0] for row in history] == [100, 200, 250]


@problems
@pytest.mark.parametrize("unit", [True, False])
def test_unit_filters_keep_their_length(problem, unit, tmp_path):
    plan = settings("smooth_l1", 60, batch=50, unit_norm=unit)
    filters, alphas, _ = score_matching.train(problem(), plan, 0, checkpoint(tmp_path))
    lengths = filters.norm(dim=-1)
    assert torch.allclose(lengths, torch.ones_like(lengths), atol=1e-5) == unit
    assert filters.shape[:2] == alphas.shape == (problem().shape[0], 6)


def test_held_out_objectives_are_those_of_the_samples_kept(tmp_path):
    data, problem = sources(5000, groups=2), halves(sources(5000, groups=2))
    plan = settings("logistic", 3, batch=20)
    filters, alphas, history = score_matching.train(problem, plan, 0, checkpoint(tmp_path))
    objective = score_matching.objective(data[:, :200], filters, alphas, EXPERTS["logistic"])
    assert history[0][0] == 3
    assert history[0][2] == pytest.approx(objective.mean(1).sum().item(), rel=1e-5)


def test_training_stops_when_patience_is_over(tmp_path):
    data = sources(260)
    problem = Patches(data[:, :60], data[:, 60:])
    plan = settings("student_t", 5000, filters=12, batch=60, unit_norm=False)
    plan = score_matching.Settings(**vars(plan) | {"patience": 3})
    history = score_matching.train(problem, plan, 0, checkpoint(tmp_path))[2]
    held = [row[2] for row in history]
    assert len(held) == int(np.argmin(held)) + 1 + 3
    assert len(held) < 50


def test_a_given_start_is_where_training_begins(tmp_path):
    filters = F.normalize(torch.randn(1, 6, 6, generator=torch.Generator().manual_seed(1)), dim=-1)
    start = filters, torch.full((1, 6), 0.3)
    kept = [tensor.clone() for tensor in start]
    found = score_matching.train(
        halves(sources(300)), settings("logistic", 1, rate=1e-6), 0, checkpoint(tmp_path), start
    )
    for one, given, before in zip(found[:2], start, kept, strict=True):
        torch.testing.assert_close(one, given, rtol=0, atol=1e-5)
        assert torch.equal(given, before)


def test_another_seed_gives_other_filters(tmp_path):
    plan = settings("logistic", 5, batch=20)
    first, again, other = (
        score_matching.train(halves(sources(300)), plan, seed, checkpoint(tmp_path))[0]
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=0.1)


def test_divergence_names_the_step(tmp_path):
    data = sources(300)
    data[0, 17] = float("nan")
    batches = (
        torch.randint(300, (20,), generator=seeds.generator(0, "prior", "batch", step))
        for step in range(100)
    )
    first = next(step for step, rows in enumerate(batches) if 17 in rows)
    assert first > 0
    plan = settings("logistic", 100, batch=20)
    with pytest.raises(DivergedError, match=f"training of the prior.* at step {first}; lower"):
        score_matching.train(Patches(data, data), plan, 0, checkpoint(tmp_path))


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("axes", ["own", "turned"])
def test_filters_keep_to_what_the_data_reach(axes, unit, tmp_path):
    data = torch.cat([sources(1200, 4), torch.zeros(1, 1200, 2)], 2)
    span = torch.diag(torch.tensor([1.0, 1, 1, 1, 0, 0]))
    if axes == "turned":
        turn, _ = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(2)))
        data, span = data @ turn.T, turn @ span @ turn.T
    plan = settings("logistic", 400, batch=100, unit_norm=unit)
    problem = Patches(data[:, 200:], data[:, :200], None, span[None])
    filters, alphas, _ = score_matching.train(problem, plan, 0, checkpoint(tmp_path))
    torch.testing.assert_close(filters @ span, filters, rtol=0, atol=1e-4)
    assert alphas.max() < 10


def test_a_group_without_data_learns_nothing(tmp_path):
    data = sources(600, groups=2)
    data[1] = 0
    span = torch.stack([torch.eye(6), torch.zeros(6, 6)])
    plan = settings("logistic", 200, batch=100)
    filters, alphas, _ = score_matching.train(
        halves(data, None, span), plan, 0, checkpoint(tmp_path)
    )
    assert (filters[1] == 0).all()
    assert (alphas[1] == 1).all()
    torch.testing.assert_close(filters[0].norm(dim=1), torch.ones(6))


# ------------------------------------------------------------------------------ noise


def test_patches_of_zero_are_their_noise():
    noise = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    zero = torch.zeros(2, 20000, 3)
    problem = Patches(zero, zero, noise)
    _, filters, alphas = (t.float() for t in drawn(1, 3, 4, (2,)))
    white = torch.randn(2, 20000, 5, generator=torch.Generator().manual_seed(7))
    each = score_matching.objective(white @ noise.mT, filters, alphas, EXPERTS["student_t"])
    expected, error = each.mean(1).sum().item(), math.sqrt(each.var(1).sum() / 20000)
    first, second = (
        problem.gradient(
            filters, alphas, EXPERTS["student_t"], 20000, torch.Generator().manual_seed(seed)
        )[0].item()
        for seed in (0, 1)
    )
    kept = [problem.held_out(filters, alphas, EXPERTS["student_t"]) for _ in range(2)]
    for value in (first, second, kept[0]):
        assert value == pytest.approx(expected, abs=4 * math.sqrt(2) * error)
    assert first != second
    assert kept[0] == kept[1]


def test_crops_get_noise_and_lose_their_centre():
    maps = np.full((4, 1, 30, 30), 0.25, np.float32)
    filters, alphas = torch.tensor([[[2.0]]]), torch.tensor([[0.7]])
    found = {}
    for noise in (0.0, 0.5):
        problem = Fields(maps, maps, torch.eye(1), 1, 30, torch.tensor([0.25]), noise)
        draw = torch.Generator().manual_seed(0)
        found[noise] = problem.gradient(filters, alphas, EXPERTS["student_t"], 50, draw)[0].item()
    white = torch.randn(1, 100000, 1, generator=torch.Generator().manual_seed(1))
    each = score_matching.objective(0.5 * white, filters, alphas, EXPERTS["student_t"])
    assert found[0.0] == pytest.approx(4 * 0.7 * -1)  # g'(0), nothing left of the centre
    assert found[0.5] == pytest.approx(each.mean().item(), abs=5 * each.std().item() / 200)


# ------------------------------------------------------------------------------ crops


def test_maps_smaller_than_a_crop_are_refused():
    maps = np.zeros((2, 1, 20, 11), np.float32)
    Fields(maps, maps, torch.eye(9), 3, 7, torch.zeros(1))
    with pytest.raises(ValueError, match="crops of 12 x 12 do not fit into maps of 20 x 11"):
        Fields(maps, maps, torch.eye(9), 3, 8, torch.zeros(1))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_crops_are_those_of_the_maps_upright(dtype):
    rng = np.random.default_rng(0)
    maps = rng.integers(0, 256, (2, 2, 6, 7)).astype(dtype)
    scaled = maps / 255
    if dtype == np.float32:
        maps = scaled = scaled.astype(dtype)
    matrix = torch.randn(6, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    centre = torch.tensor([0.2, 0.4], dtype=torch.float64)
    problem = Fields(maps, maps, matrix, 2, 3, centre)
    _, filters, alphas = drawn(1, 6, 4, (1,))
    folded = (filters[0] @ matrix).view(4, 2, 2, 2)

    def value(crop):
        crop = torch.from_numpy(crop.astype(np.float64)) - centre[:, None, None]
        return score_matching.field_objective(
            crop[None], folded, alphas[0], EXPERTS["logistic"]
        ).item()

    windows = [
        picture[:, i : i + 5, j : j + 5] for picture in scaled for i in range(2) for j in range(3)
    ]
    upright = {round(value(crop), 9) for crop in windows}
    mirrored = {round(value(crop[..., ::-1].copy()), 9) for crop in windows}
    found = set()
    for seed in range(300):
        draw = torch.Generator().manual_seed(seed)
        one = problem.gradient(filters, alphas, EXPERTS["logistic"], 1, draw)[0].item()
        found.add(round(one, 9))
    assert len(upright | mirrored) == 24
    assert upright <= found <= upright | mirrored
    if dtype == np.uint8:  # photographs are as natural when mirrored
        assert mirrored <= found


def test_the_gradient_of_a_field_is_by_filters_in_whitened_coordinates():
    maps = np.random.default_rng(0).normal(size=(1, 2, 5, 5))
    matrix = torch.randn(6, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    problem = Fields(maps, maps, matrix, 2, 3, torch.zeros(2, dtype=torch.float64))
    _, filters, alphas = drawn(1, 6, 4, (1,))
    filters.requires_grad_()
    crops = torch.from_numpy(maps)
    values = []
    for crop in (crops, crops.flip(3)):
        folded = (filters[0] @ matrix).view(4, 2, 2, 2)
        value = field_by_autograd(crop, folded, alphas[0], "logistic").mean()
        values.append((value.item(), torch.autograd.grad(value, filters)[0]))
    with torch.no_grad():
        draw = torch.Generator().manual_seed(0)
        found = problem.gradient(filters, alphas, EXPERTS["logistic"], 1, draw)
    _, expected = min(values, key=lambda pair: abs(pair[0] - found[0].item()))
    close(found[1], expected)
    assert found[2].shape == alphas.shape
