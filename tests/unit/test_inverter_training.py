import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from deep_restoration import graph, inverters, runtime
from deep_restoration import inverter_training as training

REGIMES = ("separate", "joint", "end_to_end")


@pytest.fixture(scope="module")
def network(small_classifier):
    steps, state = small_classifier
    return graph.Network(steps, ["relu1", "conv2"]).load(state)


@pytest.fixture(scope="module")
def specs(small_classifier):
    layers, _ = graph.geometry(small_classifier[0], 21)
    specs = inverters.plan_chain(layers, "conv2", 8, modules="resolution")
    assert [spec.target for spec in specs] == ["relu1", "image"]
    return specs


@pytest.fixture(scope="module")
def pictures():
    """Thirty smooth pictures of 21 x 21 pixels."""
    coarse = torch.rand(30, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    return nn.functional.interpolate(coarse, size=21, mode="bilinear")


def settings(**changes):
    values = {"regime": "joint", "steps": 60, "batch": 6, "rate": 5e-3, "validation": 0.2}
    return training.Settings(**values | changes)


@pytest.fixture
def train(network, specs, pictures, tmp_path):
    def run(plan, seed=0, replicate=0, interval=1e9, images=pictures, read=None):
        checkpoint = runtime.Checkpoint(tmp_path / "inverter", "key", interval)
        return training.train(
            network,
            specs,
            read or (lambda rows: images[rows]),
            len(images),
            plan,
            seed,
            replicate,
            checkpoint,
        )

    return run


# ------------------------------------------------------------------------------ batches


def test_every_epoch_uses_all_images_once():
    batches = training.Epochs(20, 5, 0, "order")
    orders = []
    for epoch in range(3):
        found = [batches[4 * epoch + i] for i in range(4)]
        assert all(rows == sorted(rows) and len(rows) == 5 for rows in found)
        assert sorted(row for rows in found for row in rows) == list(range(20))
        orders.append(found)
    assert orders[0] != orders[1] != orders[2]


def test_batches_run_on_into_the_next_epoch():
    batches = training.Epochs(7, 3, 0, "order")
    seen = [row for step in range(7) for row in batches[step]]
    missing = 21 - len(seen)  # met twice in one batch
    assert all(2 <= seen.count(row) <= 3 for row in range(7))
    assert missing <= 2


def test_a_batch_depends_on_seed_and_step_alone():
    first, again = training.Epochs(50, 8, 3, "a"), training.Epochs(50, 8, 3, "a")
    assert again[19] == [first[step] for step in range(20)][-1]
    assert training.Epochs(50, 8, 4, "a")[0] != first[0] != training.Epochs(50, 8, 3, "b")[0]


def test_batches_read_ahead_come_in_order():
    asked = []

    def read(rows):
        asked.append(rows)
        return torch.tensor(rows)

    with training.ahead(read, [[i, i + 10] for i in range(9)], range(3, 9)) as batches:
        found = [batch.tolist() for batch in batches]
    assert found == asked == [[i, i + 10] for i in range(3, 9)]


def test_an_error_while_reading_ahead_arrives():
    def read(rows):
        if rows == [2]:
            raise OSError("the disk is gone")
        return torch.tensor(rows)

    with (
        pytest.raises(OSError, match="disk is gone"),
        training.ahead(read, [[0], [1], [2]], range(3)) as batches,
    ):
        assert [int(batch) for batch in batches] == [0, 1]


# ------------------------------------------------------------------------------ losses


@pytest.fixture
def chain(network, specs, pictures):
    torch.manual_seed(0)
    chain = inverters.Chain(specs)
    maps = network(pictures)
    chain.fit_scales([maps["conv2"], maps["relu1"], pictures])
    return chain


def literal(chain, network, x, regime, weight=0.0):
    """The loss as its docstring says, module by module."""
    with torch.no_grad():
        maps = network(x)

    def unit(values, index):
        mean, scale = chain.get_buffer(f"mean_{index}"), chain.get_buffer(f"scale_{index}")
        return (values - mean) / scale

    middle = chain.parts[0](unit(maps["conv2"], 0))
    image = chain.parts[1](unit(maps["relu1"], 1) if regime == "separate" else middle)
    loss = ((image - unit(x, 2)) ** 2).mean()
    if regime != "end_to_end":
        loss = loss + ((middle - unit(maps["relu1"], 1)) ** 2).mean()
    if weight:
        restored = image * chain.get_buffer("scale_2") + chain.get_buffer("mean_2")
        again = network(restored)["conv2"]
        scale = chain.get_buffer("scale_0")
        loss = loss + weight * (((again - maps["conv2"]) / scale) ** 2).mean()
    return loss


@pytest.mark.parametrize("weight", [0.0, 0.7])
@pytest.mark.parametrize("regime", REGIMES)
def test_losses_are_as_written(regime, weight, chain, network, pictures):
    plan = settings(regime=regime, representation=weight)
    loss, image = training.Losses(network, chain, plan)(pictures[:5])
    expected = literal(chain, network, pictures[:5], regime, weight)
    torch.testing.assert_close(loss, expected)
    parameters = list(chain.parameters())
    found = torch.autograd.grad(loss, parameters, allow_unused=True)
    wanted = torch.autograd.grad(expected, parameters, allow_unused=True)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    assert not image.requires_grad


def test_modules_trained_apart_do_not_see_each_other(chain, network, pictures):
    loss, _ = training.Losses(network, chain, settings(regime="separate"))(pictures[:5])
    first = torch.autograd.grad(loss, list(chain.parts[0].parameters()), retain_graph=True)
    with torch.no_grad():
        for parameter in chain.parts[1].parameters():
            parameter += 1
    changed, _ = training.Losses(network, chain, settings(regime="separate"))(pictures[:5])
    again = torch.autograd.grad(changed, list(chain.parts[0].parameters()))
    assert not torch.allclose(loss, changed)
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one, other)


def test_only_joint_training_couples_modules_and_holds_maps(chain, network, pictures):
    def slope(regime):
        loss, image = training.Losses(network, chain, settings(regime=regime))(pictures[:5])
        return loss, image, torch.autograd.grad(loss, chain.parts[0][0].weight)[0]

    apart, joint, whole = (slope(regime) for regime in REGIMES)
    torch.testing.assert_close(joint[2], apart[2] + whole[2], rtol=1e-4, atol=1e-6)
    assert torch.equal(whole[0], whole[1])


def test_the_stacked_error_is_that_of_the_image(chain, network, pictures):
    losses = training.Losses(network, chain, settings(regime="separate"))
    with torch.no_grad():
        difference = chain.image(network(pictures)["conv2"]) - pictures
    expected = difference.square().mean((1, 2, 3)).sum().item()
    assert losses.stacked(pictures) == pytest.approx(expected, rel=1e-5)


# ------------------------------------------------------------------------------ training


@pytest.mark.parametrize("regime", REGIMES)
def test_training_lowers_the_image_error(regime, train):
    chain, history = train(settings(regime=regime))
    assert [row[0] for row in history] == list(range(3, 61, 3))
    assert history[-1][1] < 0.85 * history[0][1]
    assert min(row[3] for row in history) < 0.95 * history[0][3]
    assert all(math.isfinite(value) for row in history for value in row)
    assert chain.specs[-1].target == "image"


def test_all_regimes_see_the_same_images_and_start_alike(train, pictures):
    asked, chains = [], []
    for regime in REGIMES:
        rows_of_regime = []

        def read(rows, seen=rows_of_regime):
            seen.append(rows)
            return pictures[rows]

        chain, _ = train(settings(regime=regime, steps=3, rate=1e-12), read=read)
        asked.append(rows_of_regime)
        chains.append(chain.state_dict())
    assert sorted(asked[0]) == sorted(asked[1]) == sorted(asked[2])
    for name, value in chains[0].items():
        torch.testing.assert_close(value, chains[1][name], rtol=0, atol=1e-9)
        torch.testing.assert_close(value, chains[2][name], rtol=0, atol=1e-9)


def test_replicates_differ_but_not_in_the_held_out_images(train, pictures):
    def run(replicate):
        seen = []

        def read(rows):
            seen.append(rows)
            return pictures[rows]

        chain, _ = train(settings(steps=10), replicate=replicate, read=read)
        return chain.state_dict(), {row for rows in seen for row in rows if len(rows) == 6}, seen

    (first, _, asked), (again, _, _), (other, _, others) = run(0), run(0), run(1)
    name = "parts.0.0.weight"
    assert torch.equal(first[name], again[name])
    assert not torch.allclose(first[name], other[name], atol=1e-3)
    order = torch.randperm(30, generator=runtime.generator(0, "inverter", "split")).tolist()
    held = sorted(order[:6])
    assert held in asked
    assert held in others
    assert [rows for rows in asked if rows != held] != [rows for rows in others if rows != held]


def test_the_weights_of_the_best_validation_are_kept(train, network, pictures):
    chain, history = train(settings(rate=0.05, steps=40))
    order = torch.randperm(30, generator=runtime.generator(0, "inverter", "split"))
    held = pictures[order[:6]]
    with torch.no_grad():
        error = (chain.image(network(held)["conv2"]) - held).square().mean().item()
    assert error == pytest.approx(min(row[3] for row in history), rel=1e-4)


@pytest.mark.parametrize("regime", REGIMES)
def test_a_resumed_training_ends_as_an_unbroken_one(regime, train, stopping_after):
    plan = settings(steps=12, regime=regime)
    whole, history = train(plan)
    with stopping_after(7):
        train(plan, interval=0)
    rest, continued = train(plan)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, rest.state_dict()[name]), name
    assert [tuple(row[:4]) for row in continued] == [row[:4] for row in history]


def test_a_resumed_training_keeps_the_best_weights_of_before(train, stopping_after):
    plan = settings(steps=40, rate=1.0)
    whole, history = train(plan)
    errors = [row[3] for row in history]
    best = history[errors.index(min(errors))][0]
    assert best < 30  # so high a rate that it gets worse
    with stopping_after(30):
        train(plan, interval=0)
    rest, _ = train(plan)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, rest.state_dict()[name]), name


def test_one_image_is_too_few(train, pictures):
    with pytest.raises(ValueError, match="too few"):
        train(settings(), images=pictures[:1])
    assert train(settings(steps=1), images=pictures[:2])[1]


def test_divergence_names_the_step(train):
    with pytest.raises(runtime.DivergedError, match=r"at step [1-9]"):
        train(settings(rate=1e30))


def test_mixed_precision_trains_to_about_the_same(train):
    _, exact = train(settings(steps=20))
    _, mixed = train(settings(steps=20, precision="mixed"))
    assert mixed[-1][1] == pytest.approx(exact[-1][1], rel=0.1)


def test_the_rate_rises_and_falls():
    rates = [training.rate_at(step, 1000) for step in range(1000)]
    assert rates[0] == pytest.approx(0.05)
    assert max(rates) == pytest.approx(1, abs=0.01)
    assert rates.index(max(rates)) == 19
    assert rates[500] == pytest.approx(0.5)
    assert rates[-1] == 0.01
    assert all(a >= b for a, b in pairwise(rates[19:]))
