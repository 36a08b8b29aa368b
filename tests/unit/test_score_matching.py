import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from deep_restoration import runtime, score_matching
from deep_restoration.priors.experts import EXPERTS

experts = pytest.mark.parametrize("expert", ["logistic", "student_t"])


def drawn(count=4, dimensions=5, filters=9, seed=0):
    """Data, unit filters and positive weights, over-complete, in float64."""
    draw = torch.Generator().manual_seed(seed)
    data = 2 * torch.randn(count, dimensions, generator=draw, dtype=torch.float64)
    weights = torch.randn(filters, dimensions, generator=draw, dtype=torch.float64)
    alphas = torch.rand(filters, generator=draw, dtype=torch.float64) + 0.1
    return data, F.normalize(weights, dim=1), alphas


def close(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


# ------------------------------------------------------------------------------ objective


LITERAL = {
    "logistic": (lambda s: -math.tanh(s), lambda s: -4 / (math.exp(s) + math.exp(-s)) ** 2),
    "student_t": (lambda s: -2 * s / (s**2 + 2), lambda s: 2 * (s**2 - 2) / (s**2 + 2) ** 2),
}


@experts
def test_objective_is_the_double_sum_over_experts(expert):
    data, filters, alphas = drawn()
    g, dg = LITERAL[expert]
    found = score_matching.objective(data, filters, alphas, EXPERTS[expert])
    x, w, a = data.tolist(), filters.tolist(), alphas.tolist()
    dot = lambda u, v: sum(p * q for p, q in zip(u, v, strict=True))  # noqa: E731
    for row in range(len(x)):
        expected = sum(a[k] * dg(dot(w[k], x[row])) * dot(w[k], w[k]) for k in range(len(w)))
        for j in range(len(w)):
            for k in range(len(w)):
                both = g(dot(w[j], x[row])) * g(dot(w[k], x[row]))
                expected += 0.5 * a[j] * a[k] * dot(w[j], w[k]) * both
        assert found[row].item() == pytest.approx(expected, rel=1e-10)


@experts
def test_objective_is_trace_of_the_hessian_and_half_the_squared_score(expert):
    data, filters, alphas = drawn()

    def log_density(x):
        return EXPERTS[expert].G(filters @ x) @ alphas

    found = score_matching.objective(data, filters, alphas, EXPERTS[expert])
    for row, x in enumerate(data):
        score = torch.autograd.functional.jacobian(log_density, x)
        trace = torch.autograd.functional.hessian(log_density, x).trace()
        close(found[row], trace + 0.5 * score.square().sum())


# ------------------------------------------------------------------------------ gradient


@experts
def test_gradient_is_that_of_autograd_with_the_length_fixed(expert):
    data, filters, alphas = drawn(count=7)
    filters.requires_grad_()
    alphas.requires_grad_()
    expected = score_matching.objective(data, filters, alphas, EXPERTS[expert]).mean()
    by_filters, by_alphas = torch.autograd.grad(expected, [filters, alphas])
    with torch.no_grad():
        found = score_matching.gradient(data, filters, alphas, EXPERTS[expert])
    for one, other in zip(found, (expected, by_filters, by_alphas), strict=True):
        close(one, other)


@experts
def test_tangential_gradient_is_that_of_the_objective_with_free_lengths(expert):
    data, filters, alphas = drawn(count=7)
    filters.requires_grad_()
    responses = data @ filters.T
    g, dg = EXPERTS[expert].g(responses), EXPERTS[expert].dg(responses)
    gram = filters @ filters.T
    pairs = torch.einsum("nj,nk,jk->n", alphas * g, alphas * g, gram)
    J = (dg @ (alphas * filters.square().sum(1)) + 0.5 * pairs).mean()
    (expected,) = torch.autograd.grad(J, filters)
    with torch.no_grad():
        _, found, _ = score_matching.gradient(data, filters, alphas, EXPERTS[expert])

    def tangential(v):
        return v - (v * filters).sum(1, keepdim=True) * filters

    close(tangential(found), tangential(expected))


# ------------------------------------------------------------------------------ experts


@experts
def test_experts_derivatives_follow_from_G(expert):
    s = torch.cat([torch.linspace(-9, 9, 36, dtype=torch.float64), torch.tensor([1e-3, -40.0])])
    s.requires_grad_()
    value = EXPERTS[expert].G(s)
    for name in ("g", "dg", "ddg"):
        (value,) = torch.autograd.grad(value.sum(), s, create_graph=True)
        found = getattr(EXPERTS[expert], name)(s)
        torch.testing.assert_close(found, value, rtol=1e-9, atol=1e-12)


def test_G_has_its_published_form():
    for s in (-3.0, -0.1, 0.0, 0.7, 20.0):
        t = torch.tensor(s, dtype=torch.float64)
        assert EXPERTS["logistic"].G(t).item() == pytest.approx(-math.log(math.cosh(s)), abs=1e-14)
        assert EXPERTS["student_t"].G(t).item() == pytest.approx(-math.log(1 + s * s / 2))


@experts
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_experts_are_finite_far_out(expert, dtype):
    s = torch.tensor([1e4, -1e4, 1e6, -1e6], dtype=dtype, requires_grad=True)
    for name in ("G", "g", "dg", "ddg"):
        value = getattr(EXPERTS[expert], name)(s)
        assert torch.isfinite(value).all()
        assert torch.isfinite(torch.autograd.grad(value.sum(), s)[0]).all()
    values = EXPERTS[expert].G(s).tolist()
    assert values[0] == values[1]
    log = {"logistic": math.log(2) - 1e4, "student_t": -math.log(1 + 1e8 / 2)}
    assert values[0] == pytest.approx(log[expert], rel=1e-6)


# ------------------------------------------------------------------------------ training


def settings(expert, steps, **changes):
    values = {"filters": 6, "dimensions": 6, "batch": 500, "rate": 0.02}
    return score_matching.Settings(expert=expert, steps=steps, **values | changes)


def sources(count, dimensions=6, seed=0):
    """Independent Laplace sources of unit variance, and an orthogonal mixing matrix."""
    rng = np.random.default_rng(seed)
    mixing, _ = np.linalg.qr(rng.standard_normal((dimensions, dimensions)))
    mixed = rng.laplace(scale=math.sqrt(0.5), size=(count, dimensions)) @ mixing.T
    return torch.from_numpy(mixed).float(), mixing


@experts
def test_planted_components_are_found(expert, tmp_path):
    data, mixing = sources(22000)
    checkpoint = runtime.Checkpoint(tmp_path / "prior", "key")
    filters, alphas, history = score_matching.train(
        data[2000:], data[:2000], settings(expert, 800), 0, checkpoint
    )
    likeness = np.abs(filters.numpy() @ mixing)  # rows filters, columns sources
    assert sorted(likeness.argmax(1)) == list(range(6))
    assert likeness.max(1).min() > 0.95
    assert np.sort(likeness, 1)[:, -2].max() < 0.3
    assert (alphas > 0).all()
    torch.testing.assert_close(filters.norm(dim=1), torch.ones(6))
    assert [row[0] for row in history] == list(range(100, 801, 100))
    assert history[-1][2] < history[0][2]


def test_the_filters_of_the_best_held_out_objective_are_kept(tmp_path):
    data, _ = sources(1500)
    filters, alphas, history = score_matching.train(
        data[500:], data[:500], settings("logistic", 400, rate=0.3), 0, checkpoint(tmp_path)
    )
    held = score_matching.objective(data[:500], filters, alphas, EXPERTS["logistic"]).mean()
    assert held.item() == pytest.approx(min(row[2] for row in history), rel=1e-5)


def checkpoint(folder, interval=1e9):
    return runtime.Checkpoint(folder / "prior", "key", interval)


def test_a_resumed_training_ends_as_an_unbroken_one(tmp_path, stopping_after):
    data, _ = sources(1000)
    plan = settings("student_t", 220, filters=9, batch=50)
    whole = score_matching.train(data[200:], data[:200], plan, 0, checkpoint(tmp_path))
    with stopping_after(130):
        score_matching.train(data[200:], data[:200], plan, 0, checkpoint(tmp_path, 0))
    rest = score_matching.train(data[200:], data[:200], plan, 0, checkpoint(tmp_path))
    assert torch.equal(rest[0], whole[0])
    assert torch.equal(rest[1], whole[1])
    assert [tuple(row[:3]) for row in rest[2]] == [row[:3] for row in whole[2]]


def test_another_seed_gives_other_filters(tmp_path):
    data, _ = sources(300)
    plan = settings("logistic", 5, batch=20)
    first, again, other = (
        score_matching.train(data, data, plan, seed, checkpoint(tmp_path))[0] for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=0.1)


def test_divergence_names_the_step(tmp_path):
    data, _ = sources(300)
    data[17] = float("nan")
    batches = (
        torch.randint(300, (20,), generator=runtime.generator(0, "ica", "batch", step))
        for step in range(100)
    )
    first = next(step for step, rows in enumerate(batches) if 17 in rows)
    assert first > 0
    plan = settings("logistic", 100, batch=20)
    with pytest.raises(runtime.DivergedError, match=f"at step {first}$"):
        score_matching.train(data, data, plan, 0, checkpoint(tmp_path))
