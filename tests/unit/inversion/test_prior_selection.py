"""Priors of feature maps added one by one: the orders, what is asked how often, and what is reported."""

import itertools
import math

import numpy as np
import pytest
import torch

from deep_restoration.data import splits
from deep_restoration.evaluation import baselines, metrics
from deep_restoration.figures.study import prior_selection as lines_drawn
from deep_restoration.figures.study import prior_selection_images
from deep_restoration.files.hdf5 import create_hdf5, open_hdf5, write_array, write_names
from deep_restoration.files.tensors import save_tensors
from deep_restoration.inversion import prior_selection
from deep_restoration.inversion.recipe import Recipe
from deep_restoration.inversion.reconstructor import Reconstructor
from deep_restoration.priors.field import FieldOfExperts
from deep_restoration.runtime.checkpoints import Checkpoint
from deep_restoration.runtime.errors import DivergedError
from deep_restoration.runtime.memo import Memo

LAYERS = ("a", "b", "c")
WEIGHTS = (0.1, 1.0)
WORTH = {"a": 0.2, "b": -0.1, "c": 0.5}  # what each takes off the error, most at weight 1


def score(chosen):
    """Additive, but a and c know the same: together the worse of both is worth nothing."""
    gains = {layer: WORTH[layer] * (1 if weight == 1 else 0.5) for layer, weight in chosen.items()}
    if {"a", "c"} <= set(gains):
        gains["a"] = 0.0
    return 1 - sum(gains.values())


# ------------------------------------------------------------------------------ the orders


def test_orders_add_from_either_end_or_what_helps_most():
    found = prior_selection.add(LAYERS, WEIGHTS, score)
    assert {order: [step.layer for step in steps] for order, steps in found.items()} == {
        "deep": [None, "c", "b", "a"],
        "shallow": [None, "a", "b", "c"],
        "greedy": [None, "c", "a", "b"],
    }
    for steps in found.values():
        for before, step in itertools.pairwise(steps):
            assert step.chosen == before.chosen | {step.layer: step.weight}
            assert step.score == score(step.chosen)
    weights = {step.layer: step.weight for step in found["shallow"][1:]}
    assert weights == {"a": 1.0, "b": 0.1, "c": 1.0}  # what harms is added at its least weight


def test_greedy_is_the_best_of_all_next_steps():
    draw = np.random.default_rng(0)
    table = {}

    def rough(chosen):
        return table.setdefault(prior_selection.name_of(chosen), draw.random())

    steps = prior_selection.add(LAYERS, WEIGHTS, rough)["greedy"]
    for before, step in itertools.pairwise(steps):
        every = [
            rough(before.chosen | {layer: weight})
            for layer in LAYERS
            if layer not in before.chosen
            for weight in WEIGHTS
        ]
        assert step.score == min(every)


def test_sets_have_one_name_whichever_came_first():
    assert prior_selection.name_of({"b": 0.1, "a": 1e-4}) == prior_selection.name_of(
        {"a": 1e-4, "b": 0.1}
    )
    assert prior_selection.name_of({"b": 0.1, "a": 1e-4}) == "a=0.0001 b=0.1"
    assert prior_selection.name_of({}) == "none"


def test_an_order_ends_where_everything_diverges():
    found = prior_selection.add(LAYERS, WEIGHTS, lambda chosen: math.inf if "b" in chosen else 1.0)
    assert [step.layer for step in found["deep"]] == [None, "c"]
    assert [step.layer for step in found["shallow"]] == [None, "a"]
    assert [step.layer for step in found["greedy"]] == [None, "a", "c"]


def test_without_candidates_there_is_the_recipe_alone():
    assert all(len(steps) == 1 for steps in prior_selection.add([], WEIGHTS, score).values())


def test_priors_are_added_to_those_of_the_recipe():
    recipe = Recipe.of({"priors": {"tv": {"weight": 1.0}}, "optimiser": "adam"})
    found = recipe.with_prior("maps", {"a": 0.1})
    assert found.priors == {"tv": {"weight": 1.0}, "maps": {"weight": {"a": 0.1}}}
    assert recipe.priors == {"tv": {"weight": 1.0}}
    assert Recipe().with_prior("maps", {"a": 0.1}).priors == {"maps": {"weight": {"a": 0.1}}}
    assert recipe.with_prior("maps", {}) is recipe


# ------------------------------------------------------------------------------ reconstructions

RECIPE = {
    "optimiser": "adam",
    "phases": [{"iterations": 6, "rate": 6.0}],
    "priors": {"tv": {"weight": 1e-5}},
    "box": True,
}
SIDE = 21


@pytest.fixture(scope="module")
def reconstructor(small_classifier, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    steps, state = small_classifier
    description = {"steps": steps, "mean": [0.4, 0.5, 0.45], "std": [0.2, 0.2, 0.2]}
    save_tensors(folder / "net.safetensors", state, "classifier", description)
    for index, layer in enumerate(("relu1", "pool1")):
        (folder / layer).mkdir()
        filters = torch.randn(6, 8, 3, 3, generator=torch.Generator().manual_seed(index))
        options = {"mean": -3.0, "spread": 2.0}
        prior = FieldOfExperts(filters, torch.zeros(6), torch.ones(6), "student_t", **options)
        prior.save(folder / layer / "maps.safetensors", {})
    files = [folder / layer / "maps.safetensors" for layer in ("relu1", "pool1")]
    sees = {"receptive_field": 25, "stride": 4}
    return Reconstructor.load(folder / "net.safetensors", "conv2", sees, feature_priors=files)


@pytest.fixture
def sets(small_pictures):
    pixels = (255 * small_pictures).round().byte().permute(0, 2, 3, 1).numpy()
    return {"held_out": (["a"], pixels[:1]), "test": (["b", "c"], pixels[1:3])}


def trials_in(folder, reconstructor, sets, prior="maps", recipe=RECIPE):
    done = Memo(folder / "out", "key")
    return prior_selection.Trials(reconstructor, Recipe.of(recipe), prior, sets, 0, done)


def test_what_is_measured_is_what_the_recipe_with_these_priors_reconstructs(
    reconstructor, sets, tmp_path
):
    trials = trials_in(tmp_path, reconstructor, sets)
    chosen = {"pool1": 0.3, "relu1": 0.1}
    found = trials("test", chosen)
    names, pixels = sets["test"]
    entries = {"tv": {"weight": 1e-5}, "maps": {"weight": chosen}}
    truth = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    never = Checkpoint(tmp_path / "never", "key", math.inf)
    result = reconstructor.reconstruct(
        Recipe.of(RECIPE | {"priors": entries}), truth, names, 0, never
    )
    terms = {row[1] for row in result.trace}
    assert {"tv", "maps@relu1", "maps@pool1"} <= terms
    arrays = [batch.permute(0, 2, 3, 1).numpy() for batch in (truth, result.images)]
    assert found["mse"] == pytest.approx(metrics.mse(*arrays), rel=1e-12)
    assert found["psnr"] == pytest.approx(metrics.psnr(*arrays), rel=1e-12)
    assert found["ssim"] == pytest.approx(metrics.ssim(*arrays), rel=1e-12)
    maps = [reconstructor.network(images)["conv2"].double() for images in (truth, result.images)]
    errors = (maps[1] - maps[0]).square().sum((1, 2, 3)) / maps[0].square().sum((1, 2, 3))
    assert found["representation_error"] == pytest.approx(errors.tolist(), rel=1e-6)
    assert np.array_equal(trials.pictures["pool1=0.3 relu1=0.1"], arrays[1][0])
    assert trials("test", {}) != found


def test_batches_give_what_one_gives(reconstructor, sets, tmp_path, monkeypatch):
    chosen = {"relu1": 0.1}
    whole = trials_in(tmp_path, reconstructor, sets)("test", chosen)
    monkeypatch.setattr(prior_selection, "BATCH", 1)
    (tmp_path / "parts").mkdir()
    parts = trials_in(tmp_path / "parts", reconstructor, sets)("test", chosen)
    for measure in prior_selection.MEASURES:
        assert parts[measure] == pytest.approx(whole[measure], rel=1e-3)
    assert len(parts["seconds"]) == 2


def test_identical_sets_are_reconstructed_once_and_a_kill_repeats_none(
    reconstructor, sets, tmp_path, monkeypatch
):
    reconstructed, reconstruct = [], reconstructor.reconstruct

    def counting(recipe, truth, names, *more, **keywords):
        if len(reconstructed) == stop:
            raise KeyboardInterrupt
        weights = recipe.priors.get("maps", {}).get("weight", {})
        reconstructed.append((prior_selection.name_of(weights), tuple(names)))
        return reconstruct(recipe, truth, names, *more, **keywords)

    monkeypatch.setattr(reconstructor, "reconstruct", counting)

    def run(folder):
        trials = trials_in(folder, reconstructor, sets)
        orders = prior_selection.add(["relu1", "pool1"], [0.1, 1.0], trials.score)
        for step in itertools.chain.from_iterable(orders.values()):
            trials("test", step.chosen)
        held_out, test = (trials.found[name] for name in ("held_out", "test"))
        rows = [row[:-2] for row in prior_selection.summarise(orders, held_out, test, ["b"], 0, {})]
        return rows, [row[:-1] for row in trials.rows()], trials.pictures

    stop = -1
    whole = run(tmp_path)
    assert len(reconstructed) == len(set(reconstructed))
    assert 1 + 2 + 2 + 2 <= sum(names == ("a",) for _, names in reconstructed) <= 1 + 4 + 4
    unbroken = len(reconstructed)
    reconstructed.clear()
    (tmp_path / "killed").mkdir()
    stop = 5
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed")
    stop = -1
    again = run(tmp_path / "killed")
    assert len(reconstructed) == unbroken
    assert repr(again[:2]) == repr(whole[:2])
    assert again[2].keys() == whole[2].keys()
    assert all(np.array_equal(again[2][name], whole[2][name]) for name in whole[2])


def test_sets_that_diverge_are_lost_but_the_recipe_alone_must_not(
    reconstructor, sets, tmp_path, monkeypatch
):
    def diverges(*arguments, **keywords):
        raise DivergedError("at iteration 3")

    trials = trials_in(tmp_path, reconstructor, sets)
    monkeypatch.setattr(reconstructor, "reconstruct", diverges)
    assert trials.score({"relu1": 1.0}) == math.inf
    assert np.isnan(trials("test", {"relu1": 1.0})["ssim"]).all()
    with pytest.raises(DivergedError):
        trials.score({})


@pytest.mark.parametrize("batch", [1, 64])
def test_a_baseline_is_measured_on_every_set(batch, reconstructor, sets, tmp_path, monkeypatch):
    monkeypatch.setattr(prior_selection, "BATCH", batch)
    guess = np.linspace(0, 1, SIDE * SIDE * 3, dtype=np.float32).reshape(SIDE, SIDE, 3)
    found = trials_in(tmp_path, reconstructor, sets).guessed(guess)
    assert list(found) == ["held_out", "test"]
    image = torch.from_numpy(guess).permute(2, 0, 1)[None]
    for which, (names, pixels) in sets.items():
        truth = pixels / 255
        error = ((guess - truth) ** 2).mean((1, 2, 3))
        assert found[which]["mse"] == pytest.approx(error, rel=1e-5)
        assert found[which]["seconds"] == [0] * len(names)
        similar = metrics.ssim(truth, np.stack([guess] * len(names)))
        assert found[which]["ssim"] == pytest.approx(similar, rel=1e-4)
        maps = reconstructor.network(image)["conv2"].double()
        targets = reconstructor.network(torch.from_numpy(truth).float().permute(0, 3, 1, 2))[
            "conv2"
        ]
        expected = metrics.representation_error(maps.expand_as(targets), targets)
        assert found[which]["representation_error"] == pytest.approx(expected.tolist(), rel=1e-4)


# ------------------------------------------------------------------------------ what is reported


def names_of(count):
    return [f"{index}.jpg" for index in range(count)]


def measured(seed):
    draw = np.random.default_rng(seed)
    names = (*prior_selection.MEASURES, "seconds")
    return {name: draw.uniform(0.1, 1, 6).tolist() for name in names}


@pytest.fixture
def table():
    asked = {}

    def known(chosen):
        asked.setdefault(prior_selection.name_of(chosen), measured(len(asked)))
        return score(chosen)

    orders = prior_selection.add(LAYERS, WEIGHTS, known)
    names = dict.fromkeys(
        prior_selection.name_of(s.chosen) for steps in orders.values() for s in steps
    )
    test = {name: measured(100 + index) for index, name in enumerate(names)}
    rows = prior_selection.summarise(orders, asked, test, names_of(6), 0, {})
    columns = prior_selection.COLUMNS[2:]
    return [dict(zip(columns, row, strict=True)) for row in rows], asked, test


def test_rows_compare_the_same_images_with_and_without(table):
    rows, asked, test = table
    assert [row["order"] for row in rows] == [
        order for order in prior_selection.ORDERS for _ in range(4)
    ]
    for row in rows:
        found, base = test[row["set"]], test["none"]
        assert row["held_out_mse"] == pytest.approx(np.mean(asked[row["set"]]["mse"]))
        for name in ("mse", "representation_error"):
            ratio = sum(found[name]) / sum(base[name])
            assert row[f"{name}_ratio"] == pytest.approx(ratio)
        for name in ("psnr", "ssim"):
            changes = [a - b for a, b in zip(found[name], base[name], strict=True)]
            assert row[f"{name}_difference"] == pytest.approx(sum(changes) / 6)
            low, high = (row[f"{name}_difference{end}"] for end in ("_low", "_high"))
            assert low <= row[f"{name}_difference"] <= high
            assert min(changes) <= low
            assert high <= max(changes)
        if row["step"] == 0:
            assert (row["added"], row["weight"], row["set"]) == ("none", 0.0, "none")
            assert [row[f"mse_ratio{end}"] for end in ("", "_low", "_high")] == [1, 1, 1]


def test_baselines_stand_in_front_and_are_never_best(table):
    rows, asked, test = table
    orders = prior_selection.add(LAYERS, WEIGHTS, score)
    guesses = {
        name: {"held_out": measured(index), "test": measured(10 + index)}
        for index, name in enumerate(baselines.NAMES)
    }
    lines = prior_selection.summarise(orders, asked, test, names_of(6), 0, guesses)
    lines = [dict(zip(prior_selection.COLUMNS[2:], line, strict=True)) for line in lines]
    assert lines[2:] == rows
    for line, (name, sets) in zip(lines, guesses.items(), strict=False):
        assert (line["order"], line["step"], line["set"], line["best"]) == (name, 0, "", 0)
        assert line["held_out_mse"] == pytest.approx(np.mean(sets["held_out"]["mse"]))
        ratio = sum(sets["test"]["mse"]) / sum(test["none"]["mse"])
        assert line["mse_ratio"] == pytest.approx(ratio)
        assert line["ssim"] == pytest.approx(np.mean(sets["test"]["ssim"]))
    shown = [
        {"classifier": "net", "layer": "conv2"} | {k: str(v) for k, v in line.items()}
        for line in lines
    ]
    figure = lines_drawn(shown, ["conv2"], "title")
    assert [len(axis.containers) for axis in figure.axes] == [3, 3]


def test_the_best_set_of_an_order_is_marked(table):
    rows, *_ = table
    best = {row["order"]: row["set"] for row in rows if row["best"]}
    assert best == {"deep": "c=1.0", "shallow": "a=1.0 b=0.1 c=1.0", "greedy": "c=1.0"}


# ------------------------------------------------------------------------------ figures


def test_figure_has_a_panel_a_layer_a_line_an_order_and_a_ring_a_best_set(table):
    rows, *_ = table
    shown = [
        {key: str(value) for key, value in row.items()} | {"classifier": "net", "layer": layer}
        for layer in ("conv2", "conv3")
        for row in rows
    ]
    figure = lines_drawn(shown, ["conv2", "conv3"], "title")
    assert len(figure.axes) == 4
    for axis, name in zip(
        figure.axes, np.repeat(["mse_ratio", "representation_error_ratio"], 2), strict=True
    ):
        curves = [container.lines[0] for container in axis.containers]
        for order, curve in zip(prior_selection.ORDERS, curves, strict=True):
            values = [float(row[name]) for row in rows if row["order"] == order]
            assert curve.get_ydata() == pytest.approx(values)
        rings = [line for line in axis.get_lines() if line.get_markersize() == 10]
        assert [len(ring.get_xdata()) for ring in rings] == [1, 1, 1]


def test_few_photographs_have_no_intervals_and_no_bars(table):
    rows, asked, test = table
    orders = prior_selection.add(LAYERS, WEIGHTS, score)
    names = [f"cat-00{index}" for index in range(6)]
    lines = prior_selection.summarise(orders, asked, test, names, 0, {})
    shown = [
        {"classifier": "net", "layer": "conv2"}
        | {k: str(v) for k, v in zip(prior_selection.COLUMNS[2:], line, strict=True)}
        for line in lines
    ]
    for row, old in zip(shown, rows, strict=True):
        assert row["mse_ratio"] == str(old["mse_ratio"])
        assert {value for key, value in row.items() if key.endswith(("_low", "_high"))} == {""}
        assert (row["images"], row["photographs"]) == ("6", "1")
    figure = lines_drawn(shown, ["conv2"], "title")
    for axis in figure.axes:
        for container in axis.containers:
            assert np.isfinite(container.lines[0].get_ydata()).all()
            (bars,) = container.lines[2]
            assert all(np.isnan(bar[:, 1]).any() for bar in bars.get_segments() if len(bar))


def test_figure_of_images_tells_the_error_of_each():
    draw = np.random.default_rng(0)
    truth = draw.random((12, 12, 3)).astype(np.float32)
    images = {name: draw.random((12, 12, 3)) for name in ("none", *prior_selection.ORDERS)}
    figure = prior_selection_images(truth, {"conv2": images}, "title")
    assert [axis.get_title() for axis in figure.axes] == [
        *("original", "none", "all, deep", "all, shallow", "all, greedy", "greedy - none"),
    ]
    errors = [f"MSE {((image - truth) ** 2).mean():.4f}" for image in images.values()]
    assert [axis.get_xlabel() for axis in figure.axes[1:5]] == errors
    change = images["greedy"] - images["none"]
    expected = 0.5 + 0.5 * change / np.abs(change).max()
    np.testing.assert_allclose(figure.axes[5].images[0].get_array(), expected)


def test_sets_are_held_out_images_and_test_images(tmp_path):
    pixels = np.arange(20, dtype=np.uint8)[:, None, None, None] + np.zeros((20, 2, 2, 3), np.uint8)
    for split in ("train", "test"):
        with create_hdf5(tmp_path / f"{split}.h5", "images", {}) as file:
            write_array(file, "images", pixels)
            write_names(file, [f"{split} {index}" for index in range(20)])
    paths = tmp_path / "train.h5", tmp_path / "test.h5"
    found = prior_selection.read_sets(*paths, {"images": 2, "test": 4}, 0.2)
    kept = np.flatnonzero(splits.held_out(20, 0.2))[[1, 3]].tolist()
    assert found["held_out"][0] == [f"train {index}" for index in kept]
    assert found["held_out"][1][:, 0, 0, 0].tolist() == kept
    assert found["test"][0] == [f"test {index}" for index in (2, 7, 12, 17)]


def test_pictures_are_stored_by_the_name_of_their_set(tmp_path):
    pictures = {"none": np.zeros((2, 3, 3)), "a=0.1": np.ones((2, 3, 3))}
    original = np.full((1, 2, 3, 3), 9, np.uint8)
    with create_hdf5(tmp_path / "x.h5", "prior_selection", {}) as file:
        prior_selection.write_pictures(file, pictures, original)
    with open_hdf5(tmp_path / "x.h5", "prior_selection") as file:
        assert list(file.attrs["sets"]) == ["none", "a=0.1"]
        assert file["reconstructed"].dtype == np.float32
        np.testing.assert_array_equal(file["reconstructed"][...], np.stack(list(pictures.values())))
        np.testing.assert_array_equal(file["original"][...], original)


def test_every_step_is_tested_and_baselines_with_them(reconstructor, sets, tmp_path):
    trials = trials_in(tmp_path, reconstructor, sets)
    orders = prior_selection.add(["relu1"], [0.1], trials.score)
    assert not trials.found["test"]
    guesses = baselines.pictures(sets["test"][1].mean(0) / 255)
    rows = prior_selection.tested(trials, orders, guesses)
    assert set(trials.found["test"]) == {"none", "relu1=0.1"}
    guessed = {name: trials.guessed(guess) for name, guess in guesses.items()}
    found = trials.found["held_out"], trials.found["test"]
    expected = prior_selection.summarise(orders, *found, ["b", "c"], 0, guessed)
    assert rows == expected
    assert [row[0] for row in rows[:2]] == list(baselines.NAMES)
