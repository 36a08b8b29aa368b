"""The loop of every training, on problems small enough to be written out beside it."""

import itertools
import logging
import math
import os

import pytest
import torch
from torch import nn

from deep_restoration.runtime import parallel, schedules, training
from deep_restoration.runtime.checkpoints import Checkpoint
from deep_restoration.runtime.errors import DivergedError

pytestmark = pytest.mark.usefixtures("one_thread")

STEPS = 7


class Model(nn.Module):
    """A line through normalised values: parameters, running means and a count."""

    def __init__(self):
        super().__init__()
        self.norm, self.line = nn.BatchNorm1d(3), nn.Linear(3, 1)

    def forward(self, x):
        return self.line(self.norm(x))


@pytest.fixture
def run(tmp_path):
    """Train a line on a fresh batch per step; the model's weights and the history."""

    def train(interval=1e9, optimiser=torch.optim.Adam, held_out=None, each=None, **changes):
        torch.manual_seed(0)
        model = Model()
        values = {"steps": STEPS, "schedule": schedules.cosine, "every": 2} | changes

        def batch(number):
            x = torch.randn(8, 3, generator=torch.Generator().manual_seed(number))
            return x, x.sum(1, keepdim=True) ** 2

        def gradient(step):
            x, y = batch(step)
            error = model(x) - y
            loss = error.square().mean()
            loss.backward()
            if each:
                each(step, model)
            return loss, error.abs().max()

        def objective():
            x, y = batch(1000)
            model.eval()
            error = (model(x) - y).square().mean().item()
            model.train()
            return error

        history = training.fit(
            "line",
            model,
            optimiser(model.parameters(), lr=0.1),
            gradient,
            training.Options(**values),
            Checkpoint(tmp_path / "line", "key", interval),
            held_out or objective,
        )
        return {name: value.clone() for name, value in model.state_dict().items()}, history

    return train


@pytest.fixture
def fit_numbers(tmp_path):
    """Count up a single weight by gradient descent, with held-out objectives and losses as given."""

    def train(held=None, losses=None, interval=1e9, workers=None, figures=None, **changes):
        weight = nn.Parameter(torch.zeros(1))
        module = nn.ParameterDict({"weight": weight})
        values = {"schedule": schedules.constant, "every": 1} | changes
        if held:
            values |= {"steps": len(held)}

        def gradient(step):
            weight.grad = -torch.ones(1)
            return (torch.tensor(losses[step] if losses else 1.0),)

        def objective():
            return held[int(weight.item()) - 1]

        options = {"figures": figures} if figures else {}
        history = training.fit(
            "number",
            module,
            torch.optim.SGD(module.parameters(), lr=1.0),
            gradient,
            training.Options(**values),
            Checkpoint(tmp_path / "number", "key", interval),
            objective if held else None,
            workers=workers,
            **options,
        )
        return weight.item(), history

    return train


def equal(first, second):
    return all(torch.equal(value, second[name]) for name, value in first.items())


# ------------------------------------------------------------------------------ going on


@pytest.mark.parametrize("average", [None, 0.7])
@pytest.mark.parametrize("stop", range(1, STEPS))
def test_a_training_stopped_after_any_step_ends_as_an_unbroken_one(
    stop, average, run, stopping_after
):
    whole, history = run(average=average)
    with stopping_after(stop):
        run(interval=0, average=average)
    rest, continued = run(average=average)
    assert equal(whole, rest)
    assert [row[:-1] for row in continued] == [row[:-1] for row in history]
    assert all(later[-1] > row[-1] for row, later in itertools.pairwise(continued))


def test_a_training_stopped_after_every_step_ends_as_an_unbroken_one(run, stopping_after):
    whole, history = run(average=0.7)
    for again in range(STEPS - 1):  # a continued one first redoes the step of its checkpoint
        with stopping_after(2 if again else 1):
            run(interval=0, average=0.7)
    rest, continued = run(average=0.7)
    assert equal(whole, rest)
    assert [row[:-1] for row in continued] == [row[:-1] for row in history]


def test_a_checkpoint_is_the_state_before_the_step_that_it_names(run, tmp_path, stopping_after):
    """Running means included, which the forward pass of that step moves."""
    states = []

    def watch(step, model):
        states.append({name: value.clone() for name, value in model.line.state_dict().items()})

    with stopping_after(5):
        run(interval=0, each=watch)
    tensors, values = Checkpoint(tmp_path / "line", "key").load()
    assert values["step"] == 4
    assert torch.equal(tensors["network.line.weight"], states[4]["weight"])
    assert int(tensors["network.norm.num_batches_tracked"]) == 4
    assert [row[0] for row in values["history"]] == [2, 4]


def test_only_the_first_of_several_workers_saves(fit_numbers, tmp_path, monkeypatch):
    waited = []
    monkeypatch.setattr(parallel.Workers, "wait", lambda self: waited.append(self.rank))
    workers = parallel.Workers()
    for rank in (1, 0):
        workers.rank = rank
        fit_numbers(steps=3, interval=0, workers=workers)
        assert os.path.exists(tmp_path / "number.checkpoint") == (rank == 0)
    assert waited == [1, 0]


# ------------------------------------------------------------------------------ steps


def literal(clip=None, decay=None):
    """The weights after each step of plain gradient descent, and their averages, written out."""
    torch.manual_seed(0)
    model = Model()
    average = {name: value.clone() for name, value in model.state_dict().items()}
    weights, averages = [], []
    for step in range(STEPS):
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        loss = (model(x) - x.sum(1, keepdim=True) ** 2).square().mean()
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        norm = math.sqrt(sum((g**2).sum().item() for g in gradients))
        factor = 1 if clip is None else min(1, clip / norm)
        rate = 0.1 * (1 + math.cos(math.pi * step / STEPS)) / 2
        with torch.no_grad():
            for parameter, gradient in zip(model.parameters(), gradients, strict=True):
                parameter -= rate * factor * gradient
        weights.append({name: value.clone() for name, value in model.state_dict().items()})
        trained = dict(model.named_parameters())
        for name, value in weights[-1].items():
            old = average[name]
            kept = decay is not None and name in trained
            average[name] = decay * old + (1 - decay) * value if kept else value
        averages.append(dict(average))
    return weights, averages


@pytest.mark.parametrize("clip", [None, 0.5])
def test_steps_are_those_of_a_literal_transcription(clip, run):
    expected, _ = literal(clip)
    seen = []
    run(
        optimiser=torch.optim.SGD,
        clip=clip,
        each=lambda step, model: seen.append(model.line.weight.detach().clone()),
    )
    for weights, found in zip(expected, seen[1:], strict=False):
        torch.testing.assert_close(found, weights["line.weight"])
    lengths = [(b - a).norm() for a, b in itertools.pairwise(seen)]
    assert (max(lengths) > 0.1 * 0.5) == (clip is None)


def test_the_rates_of_all_groups_follow_the_schedule(tmp_path):
    module = nn.ParameterDict(
        {"a": nn.Parameter(torch.zeros(1)), "b": nn.Parameter(torch.zeros(1))}
    )
    groups = [{"params": [module["a"]], "lr": 1.0}, {"params": [module["b"]], "lr": 0.1}]
    optimiser, seen = torch.optim.SGD(groups), []

    def gradient(step):
        seen.append([group["lr"] for group in optimiser.param_groups])
        return (torch.zeros(()),)

    options = training.Options(4, lambda step, steps: (step + 1) / steps)
    training.fit("pair", module, optimiser, gradient, options, Checkpoint(tmp_path / "x", "key"))
    assert seen == [[s, 0.1 * s] for s in (0.25, 0.5, 0.75, 1.0)]


# ------------------------------------------------------------------------------ history, best weights


def test_rows_come_every_so_many_steps_and_at_the_end(fit_numbers):
    weight, history = fit_numbers(
        steps=8, every=3, figures=lambda step, loss: (10 * step, loss + 1)
    )
    assert weight == 8  # without a held-out objective, the last
    assert [row[:-1] for row in history] == [(3, 20, 2.0), (6, 50, 2.0), (8, 70, 2.0)]
    assert all(row[-1] >= 0 for row in history)


@pytest.mark.parametrize(
    ("held", "best"), [([3, 2, 1], 3), ([1, 2, 3], 1), ([3, 1, 2, 1, 4], 2), ([5.0], 1)]
)
def test_the_first_weights_of_the_least_held_out_objective_are_kept(held, best, fit_numbers):
    weight, history = fit_numbers(held)
    assert weight == best
    assert [row[:-1] for row in history] == [(i + 1, 1.0, h) for i, h in enumerate(held)]


def test_the_best_weights_of_before_an_interruption_are_kept(fit_numbers, stopping_after):
    held = [3, 1, 2, 4, 5, 6]
    with stopping_after(5):
        fit_numbers(held, interval=0)
    assert fit_numbers(held)[0] == 2


def test_training_stops_when_patience_is_over(fit_numbers, caplog):
    held = [5, 4, 6, 4, 3, 9, 9, 9, 1, 1]
    with caplog.at_level(logging.INFO, logger="deep_restoration"):
        weight, history = fit_numbers(held, patience=3)
    assert weight == 5
    assert [row[2] for row in history] == held[:8]
    assert "no better held-out objective for 3 checks: stopped" in caplog.text
    assert fit_numbers(held, patience=4)[0] == 9
    assert fit_numbers(held)[0] == 9


def test_patience_counts_rows_of_before_an_interruption(fit_numbers, stopping_after):
    held = [5, 1, 6, 4, 3, 9, 9, 9]
    with stopping_after(4):
        fit_numbers(held, patience=3, interval=0)
    weight, history = fit_numbers(held, patience=3)
    assert weight == 2
    assert len(history) == 5


# ------------------------------------------------------------------------------ average of the weights


def test_the_average_is_that_of_a_literal_transcription(run):
    weights, averages = literal(decay=0.7)
    found, _ = run(optimiser=torch.optim.SGD, average=0.7, held_out=iter([3, 2, 1, 0]).__next__)
    assert not torch.allclose(averages[-1]["line.weight"], weights[-1]["line.weight"], rtol=1e-3)
    for name, value in averages[-1].items():
        torch.testing.assert_close(found[name], value, msg=name)
    assert int(found["norm.num_batches_tracked"]) == STEPS


def test_the_average_is_what_is_held_out_and_kept_and_steps_go_on_from_the_weights(tmp_path):
    weight, seen, objectives = nn.Parameter(torch.zeros(1)), [], iter([3.0, 1.0, 2.0])

    def gradient(step):
        seen.append(("step", weight.item()))
        weight.grad = -torch.ones(1)
        return (torch.zeros(()),)

    def held_out():
        seen.append(("held out", weight.item()))
        return next(objectives)

    training.fit(
        "number",
        nn.ParameterDict({"weight": weight}),
        torch.optim.SGD([weight], lr=1.0),
        gradient,
        training.Options(3, schedules.constant, every=1, average=0.5),
        Checkpoint(tmp_path / "number", "key"),
        held_out,
    )
    steps, averages = [seen[i::2] for i in (0, 1)]
    assert steps == [("step", 0), ("step", 1), ("step", 2)]
    assert averages == [("held out", 0.5), ("held out", 1.25), ("held out", 2.125)]
    assert weight.item() == 1.25


def test_without_a_held_out_objective_the_last_average_is_kept(fit_numbers):
    assert fit_numbers(steps=3, average=0.5)[0] == 2.125
    assert fit_numbers(steps=3, average=0.0)[0] == 3


def test_without_an_average_a_checkpoint_has_none(run, tmp_path, stopping_after):
    for average, expected in ((None, 0), (0.9, len(Model().state_dict()))):
        with stopping_after(2):
            run(interval=0, average=average)
        tensors, _ = Checkpoint(tmp_path / "line", "key").load()
        assert sum(name.startswith("average.") for name in tensors) == expected
        os.remove(tmp_path / "line.checkpoint")


# ------------------------------------------------------------------------------ divergence


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_ends_it_and_leaves_the_last_good_state(
    value, fit_numbers, tmp_path
):
    losses = [1.0, 1.0, 1.0, value, 1.0]
    for _ in range(2):  # the second goes on from the first, and says the same
        with pytest.raises(DivergedError) as error:
            fit_numbers(losses=losses, steps=5, interval=0)
        assert str(error.value) == (
            f"training of the number: the objective is {value} at step 3; the last good state is in "
            f"{tmp_path / 'number.checkpoint'}; lower its rate"
        )
    tensors, values = Checkpoint(tmp_path / "number", "key").load()
    assert values["step"] == 2
    assert float(tensors["network.weight"]) == 2


def test_a_held_out_objective_that_is_not_finite_ends_it(fit_numbers, tmp_path):
    with pytest.raises(DivergedError, match=r"training of the number.* at step 2; lower its rate"):
        fit_numbers([3, 2, math.nan, 1])
    assert not list(tmp_path.iterdir())


def test_unwatched_losses_are_looked_at_with_rows_and_checkpoints_alone(fit_numbers):
    losses = [1.0, math.nan, 1.0, 1.0, math.nan, 1.0]
    with pytest.raises(DivergedError, match="at step 4"):
        fit_numbers(losses=losses, steps=6, every=5, watch=False)
    with pytest.raises(DivergedError, match="at step 1;"):
        fit_numbers(losses=losses, steps=6, every=5, watch=False, interval=0)
    assert fit_numbers(losses=losses, steps=4, every=4, watch=False)[0] == 4
