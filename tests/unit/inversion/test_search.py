import json
import math
from dataclasses import replace

import numpy as np
import pytest

from deep_restoration.evaluation import metrics
from deep_restoration.inversion import search
from deep_restoration.inversion.preimage import Result
from deep_restoration.inversion.recipe import Recipe
from deep_restoration.inversion.schedules import Phase
from deep_restoration.runtime.checkpoints import Checkpoint
from deep_restoration.runtime.errors import DivergedError
from deep_restoration.study import searched

RECIPE = {
    "data_weight": 2.0,
    "priors": {"tv": {"weight": "mahendran2015", "beta": 2.0}, "ica": {"weight": [1.0, 2.0, 3.0]}},
    "phases": [{"iterations": 30, "rate": 4.0}, {"iterations": 1, "rate": 1.0, "jitter": True}],
    "search": {"rate": [1.0, 2.0]},
}
RANGES = {"rate": [0.1, 100.0], "priors": {"tv": [1e-4, 10.0]}}


def bowl(values):
    """Least at rate 3 and weight 0.01; the recipe as it is is worse than that."""
    if not values:
        return 5.0
    rate, weight = values["rate"], values["priors.tv"]
    return math.log10(rate / 3) ** 2 + math.log10(weight / 0.01) ** 2


@pytest.fixture
def run(tmp_path):
    def start(score=bowl, trials=30, seed=0, interval=1e9, ranges=RANGES):
        checkpoint = Checkpoint(tmp_path / "found", "key", interval)
        return search.search(score, ranges, trials, seed, checkpoint)

    return start


def test_bounds_have_the_names_of_what_they_bound():
    found = searched.parameters({"data_weight": [1, 2], "rate": [3, 4], "priors": {"a.b": [5, 6]}})
    assert found == {"rate": (3, 4), "data_weight": (1, 2), "priors.a.b": (5, 6)}


def test_values_take_the_place_of_the_recipe_s():
    before, recipe = json.dumps(RECIPE), Recipe.of(RECIPE)
    values = {"rate": 8.0, "data_weight": 5.0, "priors.tv": 0.5}
    found = recipe.with_values(values)
    expected = {
        "data_weight": 5.0,
        "priors": {"tv": {"weight": 0.5, "beta": 2.0}, "ica": {"weight": [1.0, 2.0, 3.0]}},
        "phases": [{"iterations": 30, "rate": 8.0}, {"iterations": 1, "rate": 2.0, "jitter": True}],
    }
    assert found == Recipe.of(expected)
    assert recipe == Recipe.of(RECIPE)
    assert json.dumps(RECIPE) == before


def test_the_noise_levels_of_denoisers_may_be_searched():
    assert searched.parameters({"sigma": {"dae": [1, 20]}, "priors": {"dae": [2, 3]}}) == {
        "priors.dae": (2, 3),
        "sigma.dae": (1, 20),
    }
    for given, expected in ((None, 5.0), (3.0, 5.0), ([40.0, 4.0], [50.0, 5.0])):
        entry = {"weight": 1.0} | ({} if given is None else {"sigma": given})
        recipe = {**RECIPE, "priors": {"dae": entry, "tv": {"weight": 1.0}}}
        found = Recipe.of(recipe).with_values({"sigma.dae": 5.0, "priors.dae": 0.5})
        assert found.priors == {"dae": {"weight": 0.5, "sigma": expected}, "tv": {"weight": 1.0}}
        assert recipe["priors"]["dae"] == entry


def test_constants_of_an_annealing_may_be_searched():
    bounds = searched.parameters({"anneal": {"rate": [0.1, 1], "pull": [0.3, 3]}})
    assert bounds == {"anneal.rate": (0.1, 1), "anneal.pull": (0.3, 3)}
    anneal = dict(prior="wiener", noise=[380, 8], levels=12, steps=8, rate=0.3, pull=0.6)
    recipe = Recipe.of({"anneal": anneal | {"renoise": 0, "components": 64, "samples": 1}})
    found = recipe.with_values({"anneal.rate": 0.5, "anneal.pull": 1.0})
    assert found == replace(recipe, anneal=replace(recipe.anneal, rate=0.5, pull=1.0))
    assert recipe.anneal.rate == 0.3


def test_shorter_recipes_have_shorter_warm_ups():
    phases = [{"iterations": 30, "rate": 4.0, "warmup": 10}, {"iterations": 1, "rate": 1.0}]
    found = Recipe.of({"phases": phases}).shorter(0.3)
    assert found.phases == (Phase(9, 4.0, warmup=3), Phase(1, 1.0))


def test_a_recipe_without_a_search_stays_as_it_is():
    assert Recipe.of(RECIPE) == Recipe.of({k: v for k, v in RECIPE.items() if k != "search"})


def test_what_was_found_is_read_from_its_file(tmp_path):
    file = tmp_path / "tv.json"
    file.write_text(json.dumps({"values": {"priors.ica": 0.25}, "score": 1.0}))
    assert Recipe.of(RECIPE, [file]).priors["ica"] == {"weight": 0.25}


def test_shorter_recipes_keep_an_iteration_of_every_phase():
    found = Recipe.of(RECIPE).shorter(0.5).phases
    assert [phase.iterations for phase in found] == [15, 1]
    assert [phase.rate for phase in found] == [4.0, 1.0]


def test_a_search_finds_the_bottom_of_a_bowl(run):
    values, rows = run()
    assert 1 < values["rate"] < 9
    assert 0.001 < values["priors.tv"] < 0.1
    assert len(rows) == 60
    scores = [row[3] for row in rows]
    assert bowl(values) == min(scores)
    assert min(scores[:22]) > min(scores)  # what was drawn at random was not the best


def test_values_lie_within_their_bounds_and_spread_over_magnitudes(run):
    _, rows = run(trials=40)
    weights = [row[2] for row in rows if row[1] == "priors.tv" and row[0] > 0]
    assert min(weights) >= 1e-4
    assert max(weights) <= 10
    assert sum(weight < 0.03 for weight in weights[:13]) >= 3


def test_the_first_trial_is_the_recipe_as_it_is_and_may_win(run):
    values, rows = run(score=lambda values: float(bool(values)))
    assert values == {}
    assert rows[0][:2] == (0, "rate")
    assert math.isnan(rows[0][2])
    assert rows[0][3] == 0.0


def test_searches_of_another_seed_try_other_values(run):
    first, again, other = (run(trials=6, seed=seed)[1] for seed in (0, 0, 1))
    assert repr(first) == repr(again) != repr(other)


@pytest.mark.parametrize("stop", [1, 4, 9])
def test_a_resumed_search_tries_what_an_unbroken_one_does(stop, run, stopping_after):
    whole = run(trials=12)
    with stopping_after(stop):
        run(trials=12, interval=0)
    asked = []

    def counting(values):
        asked.append(values)
        return bowl(values)

    assert repr(run(counting, trials=12)) == repr(whole)
    assert len(asked) == 12 - stop


@pytest.mark.parametrize("lost", [math.nan, math.inf, None])
def test_values_that_diverge_lose(lost, run):
    def score(values):
        if values and values["rate"] > 1:
            if lost is None:
                raise DivergedError("at iteration 3")
            return lost
        return bowl(values)

    values, rows = run(score)
    assert values["rate"] <= 1
    assert max(row[3] for row in rows) == search.LOST


@pytest.mark.parametrize("measure", ["mse", "ssim"])
def test_values_are_judged_by_what_they_reconstruct_in_a_share_of_the_iterations(measure, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    recipe = Recipe.of({"phases": [{"iterations": 40, "rate": 1.0}]})
    never, asked = Checkpoint(tmp_path / "x", None, math.inf), []

    class Reconstructor:
        def reconstruct(self, *arguments, watched):
            asked.append((*arguments, watched))
            return Result(arguments[1] * 0.5)

    how = {"iterations": 0.25, "measure": measure}
    score = search.scoring(Reconstructor(), recipe, ["a", "b"], pixels, how, 3, never)
    truth = pixels / 255
    reconstructed = (truth * 0.5).astype(np.float32)
    expected = {
        "mse": float(np.mean((truth / 2) ** 2)),
        "ssim": 1 - float(metrics.ssim(truth, reconstructed).mean()),
    }
    assert score({"rate": 2.0}) == pytest.approx(expected[measure], rel=1e-5)
    tried, images, names, seed, checkpoint, watched = asked[0]
    assert tried == Recipe.of({"phases": [{"iterations": 10, "rate": 2.0}]})
    np.testing.assert_allclose(images.permute(0, 2, 3, 1), truth, rtol=1e-6)
    assert (names, seed, checkpoint, watched) == (["a", "b"], 3, never, False)
