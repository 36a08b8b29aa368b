import math
import threading
from itertools import pairwise

import numpy as np
import pytest
import torch

from deep_restoration.data import splits
from deep_restoration.inverters import training as training
from deep_restoration.inverters.chain import Chain
from deep_restoration.inverters.plan import plan_chain
from deep_restoration.networks import graph, receptive_fields, sources
from deep_restoration.runtime import seeds
from deep_restoration.runtime.checkpoints import Checkpoint
from deep_restoration.runtime.errors import DivergedError

REGIMES = ("separate", "joint", "end_to_end")


@pytest.fixture
def specs(small_plans):
    return small_plans["resolution"]


def settings(**changes):
    values = {"regime": "joint", "steps": 60, "batch": 6, "rate": 5e-3, "held_out": 0.2}
    values |= {"representation": 0.0, "mirror": False, "shift": 0}
    values |= {"precision": "float32", "schedule": "cosine"}
    return training.Settings(**values | changes)


@pytest.fixture
def train(small_network, specs, small_pictures, tmp_path):
    def run(plan, seed=0, replicate=0, interval=1e9, images=small_pictures, read=None):
        checkpoint = Checkpoint(tmp_path / "inverter", "key", interval)
        return training.train(
            small_network,
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
    batches = training.Epochs(2000, 20, 0, "order")
    orders = []
    for epoch in range(3):
        found = [batches[100 * epoch + i] for i in range(100)]
        assert all(rows == sorted(rows) and len(rows) == 20 for rows in found)
        assert sorted(row for rows in found for row in rows) == list(range(2000))
        orders.append(found)
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_batches_run_on_into_the_next_epoch():
    batches = training.Epochs(7, 3, 0, "order")
    found = [batches[step] for step in range(7)]
    assert all(rows == sorted(set(rows)) for rows in found)
    seen = [row for rows in found for row in rows]
    missing = 21 - len(seen)  # met twice in one batch
    assert all(2 <= seen.count(row) <= 3 for row in range(7))
    assert missing <= 2


def test_a_batch_depends_on_seed_and_step_alone():
    first, again = training.Epochs(50, 8, 3, "a"), training.Epochs(50, 8, 3, "a")
    assert again[19] == [first[step] for step in range(20)][-1]
    assert training.Epochs(50, 8, 4, "a")[0] != first[0] != training.Epochs(50, 8, 3, "b")[0]


def test_a_batch_may_be_larger_than_an_epoch():
    batches = training.Epochs(4, 10, 0, "order")
    assert [batches[step] for step in range(3)] == [[0, 1, 2, 3]] * 3


def test_orders_of_past_epochs_are_forgotten():
    batches = training.Epochs(20, 5, 0, "order")
    for step in range(40):
        batches[step]
    assert len(batches.orders) == 2


def test_batches_read_ahead_come_in_order():
    asked = []

    def read(rows):
        asked.append(rows)
        return torch.tensor(rows)

    with training.ahead(read, [[i, i + 10] for i in range(9)], 9) as images_of:
        found = [images_of(step).tolist() for step in range(3, 9)]
    assert found == asked == [[i, i + 10] for i in range(3, 9)]


def test_the_next_batch_is_read_while_one_is_used():
    asked, second = [], threading.Event()

    def read(rows):
        asked.append(rows)
        if rows == [1]:
            second.set()
        return torch.tensor(rows)

    with training.ahead(read, [[0], [1], [2]], 3) as images_of:
        images_of(0)
        assert second.wait(10)
        assert [2] not in asked  # no further
        assert [int(images_of(step)) for step in (1, 2)] == [1, 2]


def test_nothing_is_read_before_the_first_step_or_beyond_the_last():
    with training.ahead(lambda rows: pytest.fail("read"), [[0]], 1):
        pass
    asked = []
    with training.ahead(lambda rows: asked.append(rows) or rows, [[0], [1], [2]], 2) as images_of:
        assert images_of(1) == [1]
    assert asked == [[1]]


def test_an_error_while_reading_ahead_arrives():
    def read(rows):
        if rows == [2]:
            raise OSError("the disk is gone")
        return torch.tensor(rows)

    with (
        pytest.raises(OSError, match="disk is gone"),
        training.ahead(read, [[0], [1], [2]], 3) as images_of,
    ):
        assert [int(images_of(step)) for step in range(3)] == [0, 1]


# ------------------------------------------------------------------------------ losses


def fitted(specs, network, pictures):
    torch.manual_seed(0)
    chain = Chain(specs)
    maps = network(pictures)
    chain.fit_scales([*(maps[spec.source] for spec in specs), pictures])
    return chain


@pytest.fixture
def chain(small_network, specs, small_pictures):
    return fitted(specs, small_network, small_pictures)


def literal(chain, network, x, regime, weight=0.0):
    """The terms of the loss as its docstring says: of each module, the image's last, then of the maps."""
    count = len(chain.parts)
    scales = [(getattr(chain, f"mean_{i}"), getattr(chain, f"scale_{i}")) for i in range(count + 1)]
    with torch.no_grad():
        found = network(x)
    maps = [*(found[spec.source] for spec in chain.specs), x]
    units = [(m - mean) / scale for m, (mean, scale) in zip(maps, scales, strict=True)]
    here, terms = units[0], []
    for index in range(count):
        here = chain.parts[index](units[index] if regime == "separate" else here)
        terms.append(((here - units[index + 1]) ** 2).mean())
    if regime == "end_to_end":
        terms = terms[-1:]
    if weight:
        again = network(here * scales[-1][1] + scales[-1][0])[chain.specs[0].source]
        terms.append(weight * (((again - maps[0]) / scales[0][1]) ** 2).mean())
    return terms


@pytest.mark.parametrize("modules", ["resolution", "layer"])
@pytest.mark.parametrize("weight", [0.0, 0.7])
@pytest.mark.parametrize("regime", REGIMES)
def test_losses_are_as_written(regime, weight, modules, small_plans, small_network, small_pictures):
    chain = fitted(small_plans[modules], small_network, small_pictures)
    plan = settings(regime=regime, representation=weight)
    loss, image = training.Losses(small_network, chain, plan)(small_pictures[:5])
    terms = literal(chain, small_network, small_pictures[:5], regime, weight)
    assert len(terms) == (1 if regime == "end_to_end" else len(chain.parts)) + bool(weight)
    torch.testing.assert_close(loss, sum(terms))
    torch.testing.assert_close(image, terms[-2 if weight else -1].detach())
    parameters = list(chain.parameters())
    found = torch.autograd.grad(loss, parameters)
    wanted = torch.autograd.grad(sum(terms), parameters)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    assert not image.requires_grad


def test_apart_a_module_has_the_gradient_of_its_own_term(
    small_plans, small_network, small_pictures
):
    chain = fitted(small_plans["layer"], small_network, small_pictures)
    plan = settings(regime="separate")
    loss, _ = training.Losses(small_network, chain, plan)(small_pictures[:5])
    terms = literal(chain, small_network, small_pictures[:5], "separate")
    for index, part in enumerate(chain.parts):
        own = list(part.parameters())
        found = torch.autograd.grad(loss, own, retain_graph=True)
        wanted = torch.autograd.grad(terms[index], own, retain_graph=True)
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
            assert one.abs().sum() > 0


def test_the_error_of_maps_reaches_only_the_last_module_of_those_apart(
    chain, small_network, small_pictures
):
    def slopes(weight):
        plan = settings(regime="separate", representation=weight)
        loss, _ = training.Losses(small_network, chain, plan)(small_pictures[:5])
        return torch.autograd.grad(loss, [part[0].weight for part in chain.parts])

    (first, last), (same, other) = slopes(0.0), slopes(0.7)
    assert torch.equal(first, same)
    assert not torch.allclose(last, other, rtol=1e-3)


def test_modules_trained_apart_do_not_see_each_other(chain, small_network, small_pictures):
    loss, _ = training.Losses(small_network, chain, settings(regime="separate"))(small_pictures[:5])
    first = torch.autograd.grad(loss, list(chain.parts[0].parameters()), retain_graph=True)
    with torch.no_grad():
        for parameter in chain.parts[1].parameters():
            parameter += 1
    changed, _ = training.Losses(small_network, chain, settings(regime="separate"))(
        small_pictures[:5]
    )
    again = torch.autograd.grad(changed, list(chain.parts[0].parameters()))
    assert not torch.allclose(loss, changed)
    for one, other in zip(first, again, strict=True):
        assert torch.equal(one, other)


def test_only_joint_training_couples_modules_and_holds_maps(chain, small_network, small_pictures):
    def slope(regime):
        loss, image = training.Losses(small_network, chain, settings(regime=regime))(
            small_pictures[:5]
        )
        return loss, image, torch.autograd.grad(loss, chain.parts[0][0].weight)[0]

    apart, joint, whole = (slope(regime) for regime in REGIMES)
    torch.testing.assert_close(joint[2], apart[2] + whole[2], rtol=1e-4, atol=1e-6)
    assert torch.equal(whole[0], whole[1])


def test_the_stacked_error_is_that_of_the_image(chain, small_network, small_pictures):
    losses = training.Losses(small_network, chain, settings(regime="separate"))
    with torch.no_grad():
        difference = chain.image(small_network(small_pictures)["conv2"]) - small_pictures
    expected = difference.square().mean((1, 2, 3)).sum().item()
    assert losses.stacked(small_pictures) == pytest.approx(expected, rel=1e-5)


# ------------------------------------------------------------------------------ training


def split():
    """The held-out rows of thirty, and those to learn from."""
    kept = splits.held_out(30, 0.2)
    return np.flatnonzero(kept).tolist(), np.flatnonzero(~kept).tolist()


def batches_in(asked):
    """Of all rows that were read, those of batches, in their order."""
    held, pool = split()
    return [rows for rows in asked if rows not in (held, pool)]


@pytest.mark.parametrize("regime", REGIMES)
def test_training_lowers_the_image_error(regime, train):
    chain, history = train(settings(regime=regime, steps=200))
    assert [row[0] for row in history] == list(range(10, 201, 10))
    losses = [row[1] for row in history]
    assert sum(losses[-4:]) < 0.95 * sum(losses[:4])
    assert min(row[3] for row in history) < 0.95 * history[0][3]
    assert all(math.isfinite(value) for row in history for value in row)
    assert chain.specs[-1].target == "image"


def test_all_regimes_see_the_same_images_and_start_alike(train, small_pictures):
    asked, chains = [], []
    for regime in REGIMES:
        rows_of_regime = []

        def read(rows, seen=rows_of_regime):
            seen.append(rows)
            return small_pictures[rows]

        chain, _ = train(settings(regime=regime, steps=3, rate=1e-12), read=read)
        asked.append(rows_of_regime)
        chains.append(chain.state_dict())
    assert sorted(asked[0]) == sorted(asked[1]) == sorted(asked[2])
    assert batches_in(asked[0]) == batches_in(asked[1]) == batches_in(asked[2])
    for name, value in chains[0].items():
        torch.testing.assert_close(value, chains[1][name], rtol=0, atol=1e-9)
        torch.testing.assert_close(value, chains[2][name], rtol=0, atol=1e-9)


def test_batches_take_all_images_in_turn_but_no_held_out_one(train, small_pictures):
    asked = []

    def read(rows):
        asked.append(rows)
        return small_pictures[rows]

    train(settings(steps=8), read=read)
    pool, epochs = split()[1], training.Epochs(24, 6, 0, "inverter", 0, "order")
    assert batches_in(asked) == [[pool[row] for row in epochs[step]] for step in range(8)]
    assert sorted(row for rows in batches_in(asked)[:4] for row in rows) == pool


def test_the_history_has_errors_in_squares_of_image_values(
    train, specs, small_network, small_pictures
):
    _, ((step, _, error, validation, seconds),) = train(settings(steps=1, rate=1e-12))
    torch.manual_seed(seeds.seed_of(0, "inverter", 0, "weights"))
    chain = Chain(specs)
    held, pool = split()
    maps = small_network(small_pictures[pool])
    chain.fit_scales([maps["conv2"], maps["relu1"], small_pictures[pool]])
    batch = [pool[row] for row in training.Epochs(24, 6, 0, "inverter", 0, "order")[0]]

    def literal_error(rows):
        with torch.no_grad():
            predicted = chain.image(small_network(small_pictures[rows])["conv2"])
        return ((predicted - small_pictures[rows]) ** 2).mean().item()

    assert step == 1
    assert error == pytest.approx(literal_error(batch), rel=1e-4)
    assert validation == pytest.approx(literal_error(held), rel=1e-4)
    assert seconds > 0


def test_no_more_images_are_held_out_than_are_needed(train, small_pictures, monkeypatch):
    monkeypatch.setattr(training, "VALIDATION_IMAGES", 2)
    asked = []

    def read(rows):
        asked.append(rows)
        return small_pictures[rows]

    train(settings(steps=5), read=read)
    held, pool = split()
    chosen = splits.evenly_spaced(held, 2)
    assert chosen in asked
    assert {row for rows in asked for row in rows if rows != chosen} == set(pool)


def test_replicates_differ_but_not_in_the_held_out_images(train, small_pictures):
    def run(replicate):
        seen = []

        def read(rows):
            seen.append(rows)
            return small_pictures[rows]

        chain, _ = train(settings(steps=10), replicate=replicate, read=read)
        return chain.state_dict(), seen

    (first, asked), (again, repeated), (other, others) = run(0), run(0), run(1)
    name = "parts.0.0.weight"
    assert torch.equal(first[name], again[name])
    assert not torch.allclose(first[name], other[name], atol=1e-3)
    held, _ = split()
    assert held in asked
    assert held in others
    assert batches_in(asked) == batches_in(repeated) != batches_in(others)


def test_another_seed_gives_other_weights(train):
    first, other = (train(settings(steps=1), seed)[0].state_dict() for seed in (0, 1))
    name = "parts.0.0.weight"
    assert not torch.allclose(first[name], other[name], atol=1e-3)


def test_the_weights_of_the_best_validation_are_kept(train, small_network, small_pictures):
    chain, history = train(settings(rate=0.3, steps=40))
    assert history[-1][3] > 1.5 * min(
        row[3] for row in history
    )  # so high a rate that it gets worse
    held = small_pictures[split()[0]]
    with torch.no_grad():
        error = (chain.image(small_network(held)["conv2"]) - held).square().mean().item()
    assert error == pytest.approx(min(row[3] for row in history), rel=1e-4)


def test_training_for_the_error_of_maps_lowers_it(train, small_network, small_pictures):
    maps = small_network(small_pictures)["conv2"]

    def error(weight):
        chain, _ = train(settings(steps=200, representation=weight))
        with torch.no_grad():
            return (small_network(chain.image(maps))["conv2"] - maps).square().mean().item()

    assert error(10.0) < 0.8 * error(0.0)


def test_mirrored_images_are_turned_at_random_and_others_are_left(
    train, monkeypatch, small_pictures
):
    seen = []

    class Watching(training.Losses):
        def __call__(self, images):
            seen.extend(images.clone())
            return super().__call__(images)

    monkeypatch.setattr(training, "Losses", Watching)

    def shares():
        ways = [small_pictures, small_pictures.flip(3)]
        return [sum((way == image).all((1, 2, 3)).any().item() for image in seen) for way in ways]

    train(settings(steps=20))
    assert shares() == [len(seen), 0]
    seen.clear()
    train(settings(steps=20, mirror=True))
    left, turned = shares()
    assert left + turned == len(seen)
    assert 0.25 < turned / len(seen) < 0.75


@pytest.mark.parametrize("regime", REGIMES)
def test_a_resumed_training_ends_as_an_unbroken_one(regime, train, stopping_after):
    plan = settings(steps=12, regime=regime, mirror=True, shift=3)
    whole, history = train(plan)
    with stopping_after(7):
        train(plan, interval=0)
    rest, continued = train(plan)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, rest.state_dict()[name]), name
    assert [tuple(row[:4]) for row in continued] == [row[:4] for row in history]


def test_a_resumed_training_keeps_the_best_weights_of_before(train, stopping_after):
    plan = settings(steps=40, rate=0.3)
    whole, history = train(plan)
    errors = [row[3] for row in history]
    best = history[errors.index(min(errors))][0]
    assert best < 30  # so high a rate that it gets worse
    with stopping_after(30):
        train(plan, interval=0)
    rest, _ = train(plan)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, rest.state_dict()[name]), name


def test_moved_images_are_windows_of_their_framed_ones():
    images = torch.rand(3, 3, 5, 6)
    corners = [[0, 0], [2, 2], [4, 1]]
    found = training.moved(images, corners, 2)
    assert torch.equal(found[1], images[1])
    for number, (top, left) in enumerate(corners):
        for row in range(5):
            for column in range(6):
                y, x = min(max(row + top - 2, 0), 4), min(max(column + left - 2, 0), 5)
                assert torch.equal(found[number, :, row, column], images[number, :, y, x])


def test_images_are_moved_at_random_and_held_out_ones_are_left(train, small_pictures, monkeypatch):
    asked, moved = [], training.moved

    def spy(images, corners, shift):
        asked.append((len(images), corners, shift))
        return moved(images, corners, shift)

    monkeypatch.setattr(training, "moved", spy)
    train(settings(steps=30, shift=3))
    corners = [corner for _, found, _ in asked for corner in found]
    assert len(asked) == 30  # the images validated on are never moved
    assert {shift for *_, shift in asked} == {3}
    assert {value for corner in corners for value in corner} == set(range(7))


def test_one_image_is_too_few(train, small_pictures):
    with pytest.raises(ValueError, match="too few"):
        train(settings(), images=small_pictures[:1])
    assert train(settings(steps=1), images=small_pictures[:2])[1]


def test_divergence_names_the_step(train):
    with pytest.raises(DivergedError, match=r"at step [1-9]"):
        train(settings(rate=1e30))


def test_mixed_precision_trains_to_about_the_same(train, bfloat16):
    _, exact = train(settings(steps=20))
    _, mixed = train(settings(steps=20, precision="mixed"))
    assert mixed[-1][1] == pytest.approx(exact[-1][1], rel=0.1)


def test_the_rate_rises_and_falls():
    rates = [training.SCHEDULES["cosine"](step, 1000) for step in range(1000)]
    assert rates[0] == pytest.approx(0.05)
    assert max(rates) == pytest.approx(1, abs=0.01)
    assert rates.index(max(rates)) == 19
    assert rates[500] == pytest.approx(0.5)
    assert rates[-1] == 0.01
    assert all(a >= b for a, b in pairwise(rates[19:]))


def test_the_rate_may_be_constant(train, monkeypatch):
    asked, step = [], torch.optim.Adam.step

    def watched(self, *args):
        asked.append(self.param_groups[0]["lr"])
        return step(self, *args)

    monkeypatch.setattr(torch.optim.Adam, "step", watched)
    train(settings(steps=5, rate=3e-4, schedule="constant"))
    assert asked == [3e-4] * 5


def test_scales_come_from_images_of_all_places(train, small_pictures):
    many = small_pictures.repeat(10, 1, 1, 1)
    asked = []

    def read(rows):
        asked.append(rows)
        return many[rows]

    train(settings(steps=1), images=many, read=read)
    assert len(asked[0]) == 64
    assert asked[0] == sorted(asked[0])
    assert max(asked[0]) > 250


# ------------------------------------------------------------------------------ real classifiers


@pytest.mark.parametrize(
    ("architecture", "size"),
    [
        ("alexnet_lrn", 67),
        ("alexnet", 65),
        pytest.param("vgg11_bn", 34, marks=pytest.mark.slow),
        pytest.param("resnet18", 33, marks=pytest.mark.slow),
        ("squeezenet1_0", 65),
        pytest.param("googlenet", 35, marks=pytest.mark.slow),
    ],
)
def test_chains_of_all_layers_learn_from_their_first_step(architecture, size):
    """Local response normalisation, grouped convolutions, blocks and fully connected layers alike."""
    model = sources.build(architecture).eval()
    steps = sources.steps_of(architecture, model)
    layers, _ = receptive_fields.of_layers(steps, size)
    # Values that are neither maps nor vectors are no layers to reconstruct from.
    names = [n for n, own in layers.items() if n != "image" and len(own["shape"]) in (1, 3)]
    network = graph.Network(steps, names).load(model.state_dict())
    images = torch.rand(2, 3, size, size)
    network(images)
    for regime in REGIMES:
        for name in names if regime == "joint" else names[-1:]:
            specs = plan_chain(layers, name, 2, modules="resolution")
            chain = Chain(specs)
            losses = training.Losses(network, chain, settings(regime=regime))
            chain.fit_scales(losses.maps_of(images))
            loss, _ = losses(images)
            loss.backward()
            assert math.isfinite(loss.item())
            assert loss.item() > 0
            for parameter in chain.parts[-1].parameters():
                assert torch.isfinite(parameter.grad).all()
            assert all(p.grad.abs().sum() > 0 for p in list(chain.parts[-1].parameters())[-2:])
            assert chain.image(losses.maps_of(images)[0]).shape == images.shape
