"""Activation maximisation, caricatures, textures, attribution: what they make larger or smaller."""

import numpy as np
import pytest
import torch

from deep_restoration.figures import visualisations
from deep_restoration.files.hdf5 import create_hdf5, open_hdf5, write_array, write_names
from deep_restoration.inversion import mahendran_vedaldi, visualisation
from deep_restoration.inversion.data_terms import gram
from deep_restoration.inversion.recipe import Recipe
from deep_restoration.networks import graph, saved, sources, trace
from deep_restoration.runtime.checkpoints import Checkpoint

SIZE = 21
DRAW = np.random.default_rng(0)
PLAN = {
    "optimiser": "adam",
    "init": "uniform",
    "phases": [{"iterations": 40, "rate": 4.0}],
    "data_weight": 1.0,
    "priors": {"tv": {"weight": 1e-6}},
    "box": True,
}
SEES = {"stride": 4, "receptive_field": 17}


@pytest.fixture
def never(tmp_path):
    return Checkpoint(tmp_path / "x", None, float("inf"))


@pytest.fixture(scope="module")
def stored(small_classifier, tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "small.safetensors"
    steps, state = small_classifier
    saved.save(path, steps, ["conv2"], state, (0.4, 0.5, 0.6), (0.2, 0.3, 0.4), {})
    return path


@pytest.fixture(scope="module")
def visualiser(stored):
    return visualisation.Visualiser(stored, "conv2", SEES, ["relu1"])


@pytest.fixture(scope="module")
def training(small_pictures):
    return lambda: small_pictures.split(7)


# ------------------------------------------------------------------------------ units


def test_the_largest_activation_is_that_over_images_and_positions():
    maps = torch.arange(24.0).view(2, 3, 2, 2)
    assert torch.equal(visualisation.largest(iter([maps, -maps])), torch.tensor([15.0, 19, 23]))
    flat = torch.tensor([[1.0, -2], [0, -1]])
    assert torch.equal(visualisation.largest([flat]), torch.tensor([1.0, -1]))
    with pytest.raises(ValueError, match="no training images"):
        visualisation.largest([])


def test_units_are_spread_over_those_that_are_ever_active():
    activations = torch.tensor([1.0, 0, 2, 3, -1, 4])
    assert visualisation.chosen_units(2, activations) == [2, 5]
    assert visualisation.chosen_units(9, activations) == [0, 2, 3, 5]
    assert visualisation.chosen_units([5, 0], activations) == [5, 0]
    with pytest.raises(ValueError, match=r"channel 4 is active on no training image.* 4 of 6"):
        visualisation.chosen_units([0, 4], activations)
    with pytest.raises(ValueError, match="no channel of the layer is active"):
        visualisation.chosen_units(2, torch.zeros(3))


def test_targets_are_one_in_the_middle_or_the_mean():
    unit = visualisation.one_hot((4, 3, 5), [2, 0], "unit")
    assert unit.sum() == 2
    assert unit[0, 2, 1, 2] == 1
    assert unit[1, 0, 1, 2] == 1
    channel = visualisation.one_hot((4, 3, 5), [2], "channel")
    assert torch.allclose(channel[0, 2], torch.full((3, 5), 1 / 15))
    assert channel.sum().isclose(torch.tensor(1.0))
    assert visualisation.one_hot((4,), [3], "class").tolist() == [[0, 0, 0, 1]]


ALEXNET = {  # stride, receptive field, positions of a tile
    "conv1": (4, 11, 5),
    "pool1": (8, 19, 5),
    "conv2": (8, 51, 7),
    "conv3": (16, 99, 7),
    "conv4": (16, 131, 9),
    "conv5": (16, 163, 11),
    "pool5": (32, 195, 7),
}


def literal_tile(stride, field):
    """Positions of a unit's place, as the released code of 2016 counts them for more than one unit."""
    positions = int(np.floor(field / stride * 1.1 + 0.5))
    positions = max(positions, 4)
    if positions % 2 == 0:
        positions = positions + 1
    return positions


def test_tiles_of_2016():
    for stride, field, positions in ALEXNET.values():
        assert literal_tile(stride, field) == positions
        assert mahendran_vedaldi.tile_2016(stride, field) == positions * stride
    for stride in (1, 2, 4, 8, 16, 32):
        for field in range(1, 500):
            assert (
                mahendran_vedaldi.tile_2016(stride, field) == literal_tile(stride, field) * stride
            )


def literal_mosaic(count, tile, field):
    """Weights of a unit and of a pixel in a mosaic of `count` tiles: both relative to one tile."""
    unit = (10000 / field**2) / count
    pixel = 1 / (count * tile**2)
    return unit / pixel


@pytest.mark.parametrize("size", [20, 96, 224, 600])
def test_a_unit_has_the_weight_beside_a_pixel_that_it_has_in_a_mosaic(size):
    for stride, field, _ in ALEXNET.values():
        tile = mahendran_vedaldi.tile_2016(stride, field)
        side = min(tile, size)
        found = mahendran_vedaldi.maximisation_weight_2016(field, tile, size) * side**2
        assert found == pytest.approx(literal_mosaic(25, tile, field))
    assert mahendran_vedaldi.maximisation_weight_2016(355, 227, 227) == pytest.approx(
        10000 / 355**2
    )


def test_the_steps_of_a_tile_are_those_of_its_mosaic():
    """AdaGrad's: K times smaller gradients beside K times as many pixels."""
    from deep_restoration.inversion.optimisers import AdaGrad2016

    tile, count = 6, 4
    draw = torch.Generator().manual_seed(0)
    gradient = torch.randn(10, 1, 3, tile, tile, generator=draw, dtype=torch.float64) * 0.01
    alone, inside = (torch.zeros(1, 3, tile, tile, dtype=torch.float64) for _ in range(2))
    one = AdaGrad2016(alone, tile**2)
    mosaic = AdaGrad2016(inside, count * tile**2)
    for step in gradient:
        one.step(alone, step, 53.33, 1)
        mosaic.step(inside, step / count, 53.33, 1)
    torch.testing.assert_close(alone, inside, rtol=1e-12, atol=0)
    assert alone.abs().min() > 0


# ------------------------------------------------------------------------------ pictures


@pytest.mark.parametrize("of", ["unit", "channel"])
def test_maximised_units_are_more_active_than_on_any_training_image(
    visualiser, training, small_pictures, never, of
):
    found = visualiser.maximise(Recipe.of(PLAN), of, 3, training, SIZE, 0, never)
    side = 20 if of == "unit" else SIZE  # a tile has 5 positions
    assert found.images.shape == (3, 3, side, side)
    assert found.images.min() >= 0
    assert found.images.max() <= 1
    assert (found.values > (1.2 if of == "unit" else 0.6)).all()
    # The values are what they say.
    network = visualiser.network
    natural = network(small_pictures)["conv2"].amax((0, 2, 3))
    maps = network(found.images)["conv2"]
    for index, channel in enumerate(map(int, found.labels)):
        own = maps[index, channel]
        reached = own.mean() if of == "channel" else own[own.shape[0] // 2, own.shape[1] // 2]
        assert found.values[index].item() == pytest.approx(
            (reached / natural[channel]).item(), rel=1e-4
        )


def test_the_objective_is_the_published_one(visualiser, training, small_pictures, tmp_path):
    """By its first value, of an image of the mean colour, where no prior has an energy."""
    from deep_restoration.inversion import preimage

    seen = []
    original = preimage.reconstruct

    def watched(*arguments, **more):
        seen.append(original(*arguments, **more))
        return seen[-1]

    still = PLAN | {"init": "mean", "phases": [{"iterations": 1, "rate": 1e-9}]}
    top = visualiser.network(small_pictures)["conv2"].amax((0, 2, 3))
    kinds = {"unit": (20, 1.0), "channel": (40, 1.0), "small": (SIZE - 4, (20 / 17) ** 2)}
    for of, (side, share) in kinds.items():
        never = Checkpoint(tmp_path / of, None, float("inf"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(preimage, "reconstruct", watched)
            size = 40 if of != "small" else side
            kind = of if of != "small" else "unit"
            visualiser.maximise(Recipe.of(still), kind, [2], training, size, 0, never)
        flat = torch.as_tensor((0.4, 0.5, 0.6)).view(1, 3, 1, 1).expand(1, 3, side, side)
        maps = visualiser.network(flat)["conv2"][0, 2]
        reached = maps.mean() if kind == "channel" else maps[maps.shape[0] // 2, maps.shape[1] // 2]
        (total,) = (row[2] for row in seen[-1].trace if row[1] == "total")
        expected = -10000 / 17**2 * share * (reached / top[2]).item()
        assert total == pytest.approx(expected, rel=1e-4), of


def test_units_do_not_depend_on_those_beside_them(visualiser, training, never):
    together = visualiser.maximise(Recipe.of(PLAN), "channel", [0, 2, 4], training, SIZE, 0, never)
    alone = visualiser.maximise(Recipe.of(PLAN), "channel", [2], training, SIZE, 0, never)
    assert torch.allclose(together.images[1], alone.images[0], atol=2e-3)
    named = visualiser.maximise(
        Recipe.of(PLAN), "channel", [2], training, SIZE, 0, never, [f"name {i}" for i in range(6)]
    )
    assert named.labels == ["2 name 2"]
    assert torch.equal(named.images, alone.images)


def test_a_unit_that_is_silent_at_the_start_needs_a_leak(small_classifier, tmp_path, never):
    from collections import OrderedDict

    model = torch.nn.Sequential(OrderedDict(conv=torch.nn.Conv2d(3, 2, 3), relu=torch.nn.ReLU()))
    steps, state = trace.trace(model), {k: v.clone() for k, v in model.state_dict().items()}
    state["conv.weight"][:] = 1.0
    state["conv.bias"][:] = -18.0  # of 27 weights: only bright images excite it
    path = tmp_path / "silent.safetensors"
    saved.save(path, steps, ["relu"], state, (0.4, 0.4, 0.4), (1, 1, 1), {})
    seen = visualisation.Visualiser(path, "relu", {"stride": 1, "receptive_field": 3})
    plan = PLAN | {"init": "mean", "priors": {}}

    def training():
        return [torch.ones(1, 3, SIZE, SIZE) * 1.2]

    made = [
        seen.maximise(Recipe.of(plan), "unit", [0], training, SIZE, 0, never, leak=x)
        for x in (0, 0.05)
    ]
    assert made[0].values.item() == 0
    leaky = visualisation.Leaky(seen.network, "relu", 0.05)(torch.zeros(1, 3, 5, 5))["relu"]
    assert leaky[0, 0, 0, 0].item() == pytest.approx(0.05 * (-18 - 27 * 0.4), rel=1e-5)
    middle = made[1].images[0, :, 1:4, 1:4]  # of its tile, 5 pixels per side
    assert middle.min() > made[0].images[0, :, 1:4, 1:4].max() + 0.3


def test_only_the_last_relus_leak():
    class Fork(torch.nn.Module):
        def forward(self, x):
            x = torch.relu(x)
            return torch.cat([torch.relu(x - 0.5), (x - 2).relu_()], 1) * 2

    steps = trace.trace(Fork())
    network = graph.Network(steps, [steps[-1]["name"]])
    leaky = visualisation.Leaky(network, steps[-1]["name"], 0.1)
    first, *last = (step["name"] for step in steps if "relu" in step.get("target", ""))
    assert leaky.last == set(last)
    assert first not in leaky.last
    x = torch.tensor([-3.0, 0.2, 3.0]).view(1, 3, 1, 1)
    (found,) = leaky(x).values()
    assert torch.allclose(
        found.flatten(), torch.tensor([-0.1, -0.06, 5.0, -0.4, -0.36, 2.0]), atol=1e-6
    )


def test_a_caricature_starts_at_its_image_and_exaggerates_it(visualiser, small_pictures, never):
    given = small_pictures[:3]
    still = PLAN | {"phases": [{"iterations": 1, "rate": 1e-6}]}
    found = visualiser.caricature(Recipe.of(still), given, ["a", "b", "c"], 0, never)
    assert torch.allclose(found.images, given, atol=1e-4)
    assert torch.allclose(found.values, torch.ones(3), atol=1e-3)
    # Phi_0 = max(Phi(x_0), 0) / |max(Phi(x_0), 0)|^2
    found = visualiser.caricature(Recipe.of(PLAN), given, ["a", "b", "c"], 0, never)
    assert (found.values > 1.5).all()
    before = visualiser.network(given)["conv2"].clamp(min=0)
    after = visualiser.network(found.images)["conv2"]
    for index in range(3):
        expected = (after[index] * before[index]).sum() / before[index].square().sum()
        assert found.values[index].item() == pytest.approx(expected.item(), rel=1e-4)


def test_an_image_without_activations_has_no_caricature(small_classifier, tmp_path, never):
    steps, state = small_classifier
    dead = {**state, "conv2.bias": torch.full((6,), -1e3)}
    path = tmp_path / "dead.safetensors"
    saved.save(path, steps, ["conv2"], dead, (0, 0, 0), (1, 1, 1), {})
    dead = visualisation.Visualiser(path, "conv2", SEES)
    with pytest.raises(ValueError, match="nothing of conv2 is active in a, b"):
        dead.caricature(Recipe.of(PLAN), torch.rand(2, 3, SIZE, SIZE), ["a", "b"], 0, never)


def test_a_texture_has_the_gram_matrices_and_not_the_pixels(visualiser, small_pictures, never):
    given = small_pictures[:2]
    plan = PLAN | {"phases": [{"iterations": 150, "rate": 6.0, "decay": True}]}
    found = visualiser.texture(Recipe.of(plan), ["relu1", "conv2"], given, ["a", "b"], 0, never)
    assert (found.values < 0.02).all()
    with torch.no_grad():
        wanted, reached = visualiser.network(given), visualiser.network(found.images)
    for layer in ("relu1", "conv2"):
        error = (gram(reached[layer]) - gram(wanted[layer])).flatten(1).norm(dim=1)
        assert (error < 0.25 * gram(wanted[layer]).flatten(1).norm(dim=1)).all()
        difference = (reached[layer] - wanted[layer]).flatten(1).norm(dim=1)
        assert (difference > 0.2 * wanted[layer].flatten(1).norm(dim=1)).all()


def test_style_transfer_takes_the_gram_matrices_of_the_next_image(
    visualiser, small_pictures, never
):
    given = small_pictures[:2]
    plan = PLAN | {"phases": [{"iterations": 150, "rate": 6.0, "decay": True}]}
    kept = {"layer": "conv2", "weight": 1e-4}
    found = visualiser.texture(
        Recipe.of(plan), ["relu1"], given, ["a", "b"], 0, never, content=kept
    )
    with torch.no_grad():
        wanted, reached = (gram(visualiser.network(x)["relu1"]) for x in (given, found.images))
    for index in range(2):
        own, other = (
            (reached[index] - wanted[place]).norm().item() for place in (index, 1 - index)
        )
        assert other < 0.3 * own
    strong = {"layer": "conv2", "weight": 100.0}
    found = visualiser.texture(
        Recipe.of(plan), ["relu1"], given, ["a", "b"], 0, never, content=strong
    )
    with torch.no_grad():
        wanted, reached = (visualiser.network(x)["conv2"] for x in (given, found.images))
    assert (reached - wanted).norm() < 0.2 * wanted.norm()


def test_projections_are_of_the_strongest_units(visualiser, small_pictures, training):
    methods = ["gradient", "deconvnet", "guided_backpropagation", "patternnet"]
    found = visualiser.attribute(methods, 2, small_pictures[:3], training)
    assert found.image == [0, 0, 1, 1, 2, 2]
    maps = visualiser.network(small_pictures[:3])["conv2"]
    for image, (channel, row, column) in zip(found.image, found.units, strict=True):
        assert maps[image, channel, row, column] == maps[image, channel].max()
    assert list(found.maps) == methods
    for shown in found.maps.values():
        assert shown.shape == (6, 3, SIZE, SIZE)
        assert torch.isfinite(shown).all()
    for (top, left, bottom, right), signal in zip(
        found.extents, found.maps["gradient"], strict=True
    ):
        outside = signal.clone()
        outside[:, top:bottom, left:right] = 0
        assert outside.abs().max() == 0
        assert bottom - top <= 17
        assert right - left <= 17


def test_attribution_is_refused_before_anything_is_computed(tmp_path):
    from collections import OrderedDict

    model = torch.nn.Sequential(OrderedDict(conv=torch.nn.Conv2d(3, 2, 3), act=torch.nn.GELU()))
    path = tmp_path / "gelu.safetensors"
    steps = trace.trace(model)
    saved.save(path, steps, ["act"], model.state_dict(), (0, 0, 0), (1, 1, 1), {})
    seen = visualisation.Visualiser(path, "act", SEES)

    def training():
        raise AssertionError

    with pytest.raises(ValueError, match="deconvnet: there is no rule for GELU"):
        seen.attribute(["gradient", "deconvnet"], 1, torch.rand(1, 3, 9, 9), training)


def test_training_batches_hold_no_held_out_image(tmp_path):
    from deep_restoration.data import splits

    pixels = np.zeros((40, 4, 4, 3), np.uint8)
    pixels[:] = np.arange(40, dtype=np.uint8)[:, None, None, None]
    with create_hdf5(tmp_path / "x.h5", "images", {}) as file:
        write_array(file, "images", pixels)
    kept = set(np.flatnonzero(splits.held_out(40, 0.2)).tolist())
    batches = list(visualisation.training_batches(tmp_path / "x.h5", 20, 0.2, batch=8))
    everything = list(visualisation.training_batches(tmp_path / "x.h5", 1000, 0.2))
    assert [len(batch) for batch in batches] == [8, 8, 4]
    seen = {round(255 * float(image.max())) for batch in batches for image in batch}
    assert len(seen) == 20
    assert not seen & kept
    assert sum(map(len, everything)) == 40 - len(kept)


def test_classes_have_the_names_that_torchvision_publishes():
    names = sources.class_names("squeezenet1_0", 1000)
    assert (names[100], names[99], names[933]) == ("black swan", "goose", "cheeseburger")
    assert sources.class_names("alexnet_lrn", 1000) == names
    assert sources.class_names("squeezenet1_0", 10) == []


# ------------------------------------------------------------------------------ figures


def test_figure_of_maximised_units_breaks_long_rows():
    pictures = {"a": DRAW.random((12, 6, 6, 3)), "b": DRAW.random((2, 6, 6, 3))}
    labels = {"a": [str(i) for i in range(12)], "b": ["7", "8 coffee_mug"]}
    values = {"a": np.arange(12.0), "b": np.array([0.5, 2])}
    figure = visualisations.maximisation(pictures, labels, values, "title")
    axes = np.array(figure.axes).reshape(3, 6)
    assert [[len(axis.images) for axis in row] for row in axes] == [
        [1] * 6,
        [1] * 6,
        [1, 1, 0, 0, 0, 0],
    ]
    assert axes[1, 0].get_title() == "6"
    assert axes[1, 0].get_xlabel() == "× 6.00"
    assert axes[2, 1].get_title() == "8 coffee mug"
    assert np.array_equal(axes[1, 2].images[0].get_array(), pictures["a"][8])


def test_figure_of_attributions_frames_what_the_unit_sees():
    truth = DRAW.random((2, 8, 8, 3))
    maps = {m: DRAW.standard_normal((3, 8, 8, 3)) for m in ("gradient", "deconvnet")}
    extents = np.array([[1, 2, 5, 7], [0, 0, 8, 8], [3, 3, 6, 6]])
    found = visualisations.Attributions(
        np.array([0, 0, 1]), np.array([[4, 0, 0], [2, 1, 1], [9, 2, 2]]), extents, maps
    )
    figure = visualisations.attribution(truth, {"conv1": found}, "title")
    axes = np.array(figure.axes).reshape(2, 7)
    assert np.allclose(axes[0, 1].images[0].get_array(), truth[0, 1:5, 2:7])
    shown = axes[0, 3].images[0].get_array()
    inside = maps["deconvnet"][0, 1:5, 2:7]
    assert np.allclose(shown, 0.5 + 0.5 * inside / np.abs(inside).max())
    assert axes[1, 1].get_xlabel() == "channel 9"
    assert not axes[1, 4].images  # the second image has one unit
    (frame, whole) = axes[0, 0].patches
    assert frame.get_bbox().bounds == (1.5, 0.5, 5, 4)
    assert whole.get_bbox().bounds == (-0.5, -0.5, 8, 8)


# ------------------------------------------------------------------------------ of an entry, into a file


class Asked:
    """Stands for a visualiser: says which method was asked, and how."""

    def __getattr__(self, name):
        def method(*arguments):
            kept = [list(a()) if callable(a) else a for a in arguments]
            return name, kept

        return method


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Training and test images, each of one value."""
    folder = tmp_path_factory.mktemp("images")
    for split, first in (("train", 0), ("test", 100)):
        values = np.arange(first, first + 20, dtype=np.uint8)[:, None, None, None]
        with create_hdf5(folder / f"{split}.h5", "images", {}) as file:
            write_array(file, "images", values + np.zeros((20, 2, 2, 3), np.uint8))
            write_names(file, [f"{split} {index}" for index in range(20)])
    return [folder / "train.h5"], [folder / "test.h5"]


ENTRIES = {
    "activation_maximisation": {"of": "class", "units": 3, "training_images": 9, "leak": 0.1},
    "caricature": {"images": 2},
    "texture": {"images": 2, "relative": False, "content": {"layer": "conv4", "weight": 2.0}},
    "attribution": {"images": 2, "methods": ["gradient"], "channels": 5, "training_images": 9},
}


@pytest.mark.parametrize("kind", ENTRIES)
def test_an_entry_is_made_by_its_kind(kind, files, never, monkeypatch):
    monkeypatch.setattr(sources, "class_names", lambda *asked: list(asked))
    entry = {"kind": kind, **ENTRIES[kind]}
    settings = {"entry": entry, "plan": PLAN, "layers": ["a", "b"], "size": 64, "held_out": 0.2}
    settings |= {"seed": 4, "architecture": "alexnet", "channels": 1000}
    needs = "training_images" in entry, "images" in entry
    train, test = (path if needed else [] for path, needed in zip(files, needs, strict=True))
    name, found = visualisation.make(Asked(), settings, train, test, never)
    batches = list(visualisation.training_batches(*files[0], 9, 0.2))
    images, names = visualisation.first_images(*files[1], 2)
    assert names == ["test 0", "test 1"]
    assert [round(255 * float(image.max())) for image in images] == [100, 101]
    expected = {
        "activation_maximisation": (
            "maximise",
            [Recipe.of(PLAN), "class", 3, batches, 64, 4, never, ["alexnet", 1000], 0.1],
        ),
        "caricature": ("caricature", [Recipe.of(PLAN), images, names, 4, never]),
        "texture": (
            "texture",
            [Recipe.of(PLAN), ["a", "b"], images, names, 4, never, False, entry.get("content")],
        ),
        "attribution": ("attribute", [["gradient"], 5, images, batches]),
    }[kind]
    assert name == expected[0]
    for one, other in zip(found, expected[1], strict=True):
        if isinstance(other, list) and torch.is_tensor(other[0]):
            assert torch.equal(torch.cat(one), torch.cat(other))
        else:
            assert torch.equal(one, other) if torch.is_tensor(other) else one == other
    needed = ["a", "b", "conv4"] if kind == "texture" else ["a", "b"]
    assert visualisation.layers_of(settings) == needed


def test_pictures_and_projections_are_read_as_they_were_written(tmp_path):
    images = torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    made = visualisation.Pictures(images, ["a", "b"], torch.tensor([1.0, 2.0]), "times")
    projected = visualisation.Projections(
        [0, 1], [(1, 2, 3)] * 2, [(0, 0, 2, 2)] * 2, {"gradient": images}
    )
    for name, what in (("x", made), ("y", projected)):
        with create_hdf5(tmp_path / f"{name}.h5", "visualisation", {}) as file:
            what.write(file)
    pictures, labels, values = visualisations.read_pictures({"conv1": tmp_path / "x.h5"})
    expected = images.permute(0, 2, 3, 1).numpy()
    np.testing.assert_array_equal(pictures["conv1"], expected)
    assert (labels["conv1"], values["conv1"].tolist()) == (["a", "b"], [1.0, 2.0])
    with open_hdf5(tmp_path / "x.h5", "visualisation") as file:
        assert file.attrs["measure"] == "times"
    found = visualisations.Attributions.read(tmp_path / "y.h5", ["gradient"])
    np.testing.assert_array_equal(found.maps["gradient"], expected)
    assert found.image.tolist() == [0, 1]
    assert found.units.tolist() == [[1, 2, 3]] * 2
    assert found.extents.tolist() == [[0, 0, 2, 2]] * 2
