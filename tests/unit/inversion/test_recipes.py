"""Recipes: what a configuration's entries become, and images reconstructed by them."""

import math

import numpy as np
import pytest
import torch

from deep_restoration.files.hdf5 import create_hdf5
from deep_restoration.files.tensors import load_tensors, save_tensors
from deep_restoration.inversion import preimage, surrogates
from deep_restoration.inversion.data_terms import Whitened, channel_whitening
from deep_restoration.inversion.mahendran_vedaldi import by_depth
from deep_restoration.inversion.recipe import Recipe, build
from deep_restoration.inversion.reconstructor import Reconstructor, learn_shrinkage
from deep_restoration.inversion.shrinkage import Shrinkage
from deep_restoration.inverters.chain import Chain, load_chain, save_chain
from deep_restoration.inverters.plan import plan_chain
from deep_restoration.networks import graph, receptive_fields
from deep_restoration.priors import autoregressive, spectral, unet
from deep_restoration.priors.base import Calibrated, PerPosition
from deep_restoration.priors.borders import BORDERS
from deep_restoration.priors.denoiser import Denoiser, Network
from deep_restoration.priors.field import FieldOfExperts
from deep_restoration.priors.norms import AlphaNorm, ColourNorm, DistanceTo
from deep_restoration.priors.spectral import Spectral
from deep_restoration.priors.total_variation import TotalVariation
from deep_restoration.runtime.checkpoints import Checkpoint
from deep_restoration.statistics import streaming

MEAN = torch.tensor([0.4, 0.5, 0.45], dtype=torch.float64).view(1, 3, 1, 1)
NEVER = Checkpoint("/nonexistent/never", "key", math.inf)
SEES = {"receptive_field": 25, "stride": 4}


def images(count=2, height=5, width=4, channels=3, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(count, channels, height, width, generator=draw, dtype=torch.float64)


def field(channels, size=3, seed=5, **options):
    draw = torch.Generator().manual_seed(seed)
    filters = torch.randn(6, channels, size, size, generator=draw)
    values = {"mean": -3.0, "spread": 2.0, **options}
    return FieldOfExperts(filters, torch.zeros(6), torch.ones(6), "student_t", **values)


# ------------------------------------------------------------------------------ terms


def see(reach):
    return {"receptive_field": reach, "stride": 4}


@pytest.mark.parametrize(
    ("reach", "published"), [(11, 0.5), (51, 0.5), (67, 5), (131, 5), (163, 50), (None, 50)]
)
def test_recipes_know_the_weights_of_2015_by_depth(reach, published):
    entries = {
        "tv": {"weight": "mahendran2015"},
        "alpha_norm": {"weight": "mahendran2015", "alpha": 6.0},
    }
    own = {"alpha_norm": {"weight": 1.0, "centre": "image"}}
    (term,) = build(own, {}, see(reach), MEAN).values()
    assert (term.prior.own, AlphaNorm(MEAN).own) == (True, False)
    built = build(entries, {}, see(reach), MEAN)
    sigma, pixels = 27098.1157, 227**2
    weight, prior, _ = built["tv"]
    assert isinstance(prior, TotalVariation)
    assert weight == pytest.approx(published * pixels / sigma**2)
    assert (prior.beta, prior.V) == (2, 1)
    weight, prior, _ = built["alpha_norm"]
    assert isinstance(prior, AlphaNorm)
    assert weight == pytest.approx(2.16e8 * pixels / sigma**6)
    x = images(1, 6, 6)
    u = 255 * (x - MEAN) / sigma
    on_sigma_scale = 2.16e8 * u.abs().pow(6).sum() * pixels / 36
    assert (weight * prior.energy(x)).item() == pytest.approx(on_sigma_scale.item())


@pytest.mark.parametrize(("reach", "expected"), [(11, 0.01), (67, 0.1), (163, 1.0), (None, 1.0)])
def test_recipes_take_weights_by_depth(reach, expected, tmp_path):
    prior = field(3, mean=1.0)
    prior.save(tmp_path / "ica.safetensors", {})
    entries = {
        "ica": {"weight": [0.01, 0.1, 1.0], "position_stride": 4},
        "colour_norm": {"weight": 2, "B": 70.0},
    }
    built = build(entries, {"ica": {None: tmp_path / "ica.safetensors"}}, see(reach), MEAN)
    weight, learned, _ = built["ica"]
    assert weight == expected
    assert isinstance(learned, Calibrated)
    assert (learned.prior.position_stride, learned.prior.spread) == (4, 2.0)
    weight, norm, _ = built["colour_norm"]
    assert (weight, norm.B, norm.alpha) == (2.0, 70.0, 6.0)
    assert isinstance(norm, ColourNorm)


def test_recipes_weigh_the_distance_to_an_image_by_depth():
    entries = {"inverter": {"weight": [1.0, 2.0, 3.0]}, "tv": {"weight": 1.0}}
    built = build(entries, {}, see(70), MEAN, images())
    assert list(built) == ["inverter", "tv"]
    assert built["inverter"][0] == 2.0


def test_recipes_build_the_distance_to_an_inverter_s_image():
    predicted = images(2, 5, 4)
    weight, prior, _ = build({"inverter": {"weight": 0.5}}, {}, see(70), MEAN, predicted)[
        "inverter"
    ]
    assert isinstance(prior, DistanceTo)
    assert (weight, prior.centre is predicted) == (0.5, True)


def test_building_changes_no_recipe():
    entries = {"tv": {"weight": [1.0, 2.0, 3.0], "beta": 1.5}}
    built = build(entries, {}, see(70), MEAN)
    assert built["tv"][0] == by_depth([1.0, 2.0, 3.0], 70) == 2.0
    assert entries == {"tv": {"weight": [1.0, 2.0, 3.0], "beta": 1.5}}


def test_a_prior_of_maps_is_a_term_of_every_layer(tmp_path):
    files = {}
    for layer, channels in (("relu1", 8), ("pool1", 8)):
        files[layer] = tmp_path / layer / "features.safetensors"
        files[layer].parent.mkdir()
        field(channels).save(files[layer], {})
    entries = {
        "features": {"weight": 0.5, "layers": "all", "position_stride": 2},
        "tv": {"weight": 1.0},
    }
    built = build(entries, {"features": files}, SEES, MEAN)
    assert list(built) == ["features@relu1", "features@pool1", "tv"]
    assert [term.layer for term in built.values()] == ["relu1", "pool1", None]
    assert all(term.weight == 0.5 for term in list(built.values())[:2])
    assert all(term.prior.prior.position_stride == 2 for term in list(built.values())[:2])


def test_a_prior_of_maps_may_have_a_weight_a_layer(tmp_path):
    files = {}
    for layer in ("relu1", "pool1", "conv2"):
        files[layer] = tmp_path / layer / "features.safetensors"
        files[layer].parent.mkdir()
        field(8).save(files[layer], {})
    entries = {"features": {"weight": {"conv2": 0.25, "relu1": 0.5}, "position_stride": 2}}
    built = build(entries, {"features": files}, SEES, MEAN)
    assert {name: term.weight for name, term in built.items()} == {
        "features@relu1": 0.5,
        "features@conv2": 0.25,
    }
    assert [term.layer for term in built.values()] == ["relu1", "conv2"]
    assert all(term.prior.prior.position_stride == 2 for term in built.values())


def test_a_prior_of_maps_without_a_layer_is_no_term():
    entries = {"features": {"weight": 0.5, "layers": "all"}, "tv": {"weight": 1.0}}
    assert list(build(entries, {}, SEES, MEAN)) == ["tv"]


@pytest.mark.parametrize(
    ("layers", "used"),
    [(None, "abc"), ("first", "a"), ("last", "c"), (["c", "a"], "ac"), ("all", "abc")],
)
def test_a_prior_acts_on_its_own_layers_where_others_have_files_too(tmp_path, layers, used):
    """The annealing of a recipe and its objective share their files."""
    field(8).save(tmp_path / "features.safetensors", {})
    files = {"features": dict.fromkeys("abc", tmp_path / "features.safetensors")}
    entry = {"weight": 1.0} | ({"layers": layers} if layers else {})
    built = build({"features": entry}, files, SEES, MEAN)
    assert list(built) == [f"features@{layer}" for layer in used]


@pytest.mark.parametrize(("given", "first", "last"), [(20.0, 20.0, 20.0), ([40.0, 4.0], 40.0, 4.0)])
def test_a_denoiser_is_asked_at_one_noise_level_or_at_falling_ones(given, first, last, tmp_path):
    facts = {"width": 4, "blocks": 1, "fold": 1, "sigma": 10.0}
    denoiser = Denoiser(Network(3, 4, 1, 1), 0.5, torch.zeros(3), 10 / 255, facts=facts)
    denoiser.save(tmp_path / "dae.safetensors", {})
    entries = {"dae": {"weight": 1.0, "sigma": given}}
    term = build(entries, {"dae": {None: tmp_path / "dae.safetensors"}}, SEES, MEAN)["dae"]
    for progress, expected in ((0.0, first), (1.0, last), (0.5, math.sqrt(first * last))):
        term.prior.anneal(progress)
        assert term.prior.prior.sigma == pytest.approx(expected / 255)


def test_a_spectrum_is_asked_at_falling_noise_levels_too(tmp_path):
    one, like = torch.ones(3, 4, 4, dtype=torch.float64), torch.eye(3, dtype=torch.float64)
    spectrum = Spectral(0.5 * like[0], like, one, 10 / 255, facts={"sigma": 10.0})
    spectrum.save(tmp_path / "wiener.safetensors", {})
    entries = {"wiener": {"weight": 1.0, "sigma": [40.0, 4.0]}}
    learned = {"wiener": {None: tmp_path / "wiener.safetensors"}}
    term = build(entries, learned, SEES, MEAN)["wiener"]
    for progress, expected in ((0.0, 40.0), (1.0, 4.0), (0.5, math.sqrt(160.0))):
        term.prior.anneal(progress)
        assert term.prior.prior.sigma == pytest.approx(expected / 255)


def literal_mean_energy(prior, x, border):
    """Mean over patches of sum_k alpha_k log(1 + s_k^2 / 2): the prior loss of Harder 2017."""
    result = []
    for image in x:
        if border == "reflect":
            framed = np.pad(image.numpy(), [(0, 0), (1, 1), (1, 1)], mode="reflect")
            image = torch.from_numpy(framed)
        sums = []
        for i in range(image.shape[1] - 2):
            for j in range(image.shape[2] - 2):
                patch = image[:, i : i + 3, j : j + 3].double()
                s = (prior.filters.double() * patch).sum((1, 2, 3))
                sums.append(
                    sum(a * math.log(1 + v**2 / 2) for a, v in zip(prior.alphas, s, strict=True))
                )
        result.append(sum(sums) / len(sums))
    return torch.stack(result)


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("units", ["raw", "spread", None])
def test_units_are_those_of_the_spread_or_those_of_a_mean_over_patches(units, border, tmp_path):
    prior = field(3)
    prior.save(tmp_path / "foe.safetensors", {})
    entry = {"weight": 1e-4, "position_stride": 1, "border": border} | (
        {"units": units} if units else {}
    )
    built = build({"foe": entry}, {"foe": {None: tmp_path / "foe.safetensors"}}, SEES, MEAN)
    x = images(2, 6, 5).float()
    mean = literal_mean_energy(prior, x, border)
    expected = mean if units == "raw" else (mean + 3.0) / 2.0
    assert type(built["foe"].prior) is (PerPosition if units == "raw" else Calibrated)
    torch.testing.assert_close(built["foe"].prior.energy(x), expected.float(), rtol=1e-5, atol=0)


def test_priors_whose_energies_differ_by_chance_say_so():
    assert not PerPosition(field(3)).sampled
    assert Calibrated(field(3, position_stride=2)).sampled
    facts = {"width": 4, "blocks": 1, "fold": 1, "sigma": 10.0}
    for noise_samples in (0, 1):
        network = Network(3, 4, 1, 1)
        denoiser = Denoiser(
            network, 0.5, torch.zeros(3), 0.1, facts=facts, noise_samples=noise_samples
        )
        assert Calibrated(denoiser).sampled == bool(noise_samples)


# ------------------------------------------------------------------------------ images


@pytest.fixture(scope="module")
def study(small_classifier, small_plans, tmp_path_factory):
    """Files of a classifier, of priors of images and of two layers, and of an untrained inverter."""
    folder = tmp_path_factory.mktemp("study")
    steps, state = small_classifier
    description = {"steps": steps, "mean": [0.4, 0.5, 0.45], "std": [0.2, 0.2, 0.2]}
    save_tensors(folder / "net.safetensors", state, "classifier", description)
    for layer, channels in (("", 3), ("relu1", 8), ("pool1", 8)):
        (folder / layer).mkdir(exist_ok=True)
        field(channels).save(folder / layer / ("maps" if layer else "foe.safetensors"), {})
    for layer in ("relu1", "pool1"):
        (folder / layer / "maps").rename(folder / layer / "maps.safetensors")
    torch.manual_seed(0)
    chain = Chain(small_plans["resolution"])
    save_chain(folder / "inverter.safetensors", chain, {})
    return folder


def recipe_of(priors=None, iterations=25, **more):
    phases = [{"iterations": iterations, "rate": 6.0, "decay": True}]
    return {"optimiser": "adam", "phases": phases, "priors": priors or {}, "box": True, **more}


def reconstructor(study, **files):
    return Reconstructor.load(study / "net.safetensors", "conv2", SEES, **files)


def test_what_was_read_is_named_in_order(study):
    """Checkpoints are valid for the content of these files, in this order."""
    images, maps = study / "foe.safetensors", study / "relu1" / "maps.safetensors"
    one = reconstructor(
        study, inverter=[study / "inverter.safetensors"], priors=[images], feature_priors=[maps]
    )
    network = study / "net.safetensors"
    assert one.files == [network, images, study / "inverter.safetensors", maps]
    assert one.learned == {"foe": {None: images}, "maps": {"relu1": maps}}
    assert set(one.network(one.mean.expand(1, 3, 21, 21))) == {"conv2", "relu1"}


def test_images_are_reconstructed_from_their_maps_alone(study, small_pictures):
    names = ["a", "b"]
    found = reconstructor(study).reconstruct(
        Recipe.of(recipe_of()), small_pictures[:2], names, 0, NEVER
    )
    data = [row[2] for row in found.trace if row[1] == "data"]
    assert data[-1] < 0.2 * data[0]
    assert found.images.shape == small_pictures[:2].shape
    assert {row[1] for row in found.trace} == {"total", "data", "image", "ssim"}
    alone = reconstructor(study).reconstruct(
        Recipe.of(recipe_of()), small_pictures[:2], names, 0, NEVER, watched=False
    )
    assert torch.equal(alone.images, found.images)
    assert {row[1] for row in alone.trace} == {"total", "data"}


def test_the_data_term_may_be_the_mean_squared_error(study, small_pictures):
    values = {}
    for data in ("normalised", "mse"):
        found = reconstructor(study).reconstruct(
            Recipe.of(recipe_of(iterations=1, data=data)), small_pictures[:1], ["a"], 0, NEVER
        )
        values[data] = {row[1]: row[2] for row in found.trace}["data"]
    target = reconstructor(study).network(small_pictures[:1])["conv2"]
    ratio = target.square().mean().item()
    assert values["mse"] == pytest.approx(values["normalised"] * ratio, rel=1e-5)


def annealing(**changes):
    plan = {"prior": "wiener", "noise": [380.0, 8.0], "levels": 4, "steps": 3, "rate": 0.2}
    return plan | {"pull": 0.6, "renoise": 0.0, "components": 3, "samples": 1} | changes


@pytest.fixture
def annealed(study, small_pictures, tmp_path):
    """A reconstructor with a spectrum and what an annealing expects of the layer."""
    pixels = bytes_of(small_pictures)
    prior, _ = spectral.train(pixels.transpose(0, 3, 1, 2), pixels[:1].transpose(0, 3, 1, 2), 5.0)
    return annealing_under(prior, study, pixels, tmp_path / "wiener.safetensors")


def bytes_of(pictures):
    return (255 * pictures.permute(0, 2, 3, 1)).round().byte().numpy()


def annealing_under(prior, study, pixels, path):
    """A reconstructor with a prior, stored there, and what an annealing under it expects of the layer."""
    prior.save(path, {})
    network = reconstructor(study).network
    plan = Recipe.of({"anneal": annealing()}).anneal
    found = surrogates.fit(
        lambda x: network(x)["conv2"],
        prior.denoise,
        pixels,
        [str(number) for number in range(len(pixels))],
        surrogates.schedule(plan.noise, plan.levels),
        plan.components,
        0,
        torch.device("cpu"),
    )
    found.save(path.with_name("surrogates.safetensors"), {})
    return reconstructor(
        study, priors=[path], surrogates=[path.with_name("surrogates.safetensors")]
    )


@pytest.mark.parametrize("form", ["direct", "gradient_step"])
def test_an_annealing_asks_the_prior_that_its_recipe_names(form, study, small_pictures, tmp_path):
    """A U-Net whose network does nothing is its filter; one that does something leads elsewhere."""
    pixels, names, truth = bytes_of(small_pictures), ["a", "b"], small_pictures[:2]
    planes = pixels.transpose(0, 3, 1, 2)
    spectrum, _ = spectral.train(planes, planes[:1], 5.0)
    facts = {"widths": [4, 6], "blocks": 1, "fold": 2}
    gate = unet.Gate(unet.knots(0.01, 2.0), torch.ones(unet.KNOTS))
    found = {}
    for name in ("wiener", "idle", "busy"):
        prior = spectrum
        if name != "wiener":
            network = unet.Network(3, **facts)
            if name == "busy":
                torch.nn.init.constant_(network.leave.bias, 0.5)
            prior = unet.UNet(spectrum, network, gate, form, spectrum.sigma, facts=facts)
        one = annealing_under(prior, study, pixels, tmp_path / f"{name}.safetensors")
        recipe = Recipe.of({"anneal": annealing(prior=name)})
        found[name] = one.reconstruct(recipe, truth, names, 0, NEVER).images
    torch.testing.assert_close(found["idle"], found["wiener"], rtol=0, atol=1e-3)
    assert not torch.allclose(found["busy"], found["wiener"], rtol=0, atol=1e-2)


def test_an_annealed_image_is_what_the_optimisation_goes_on_from(annealed, small_pictures):
    names, truth = ["a", "b"], small_pictures[:2]
    alone = annealed.reconstruct(Recipe.of({"anneal": annealing()}), truth, names, 0, NEVER)
    assert {row[1] for row in alone.trace} == {"residual", "image", "ssim"}
    assert [row[0] for row in alone.trace if row[1] == "residual"] == [3, 6, 9, 12]
    recipe = Recipe.of(recipe_of(iterations=2) | {"anneal": annealing()})
    both = annealed.reconstruct(recipe, truth, names, 0, NEVER)
    assert [tuple(row[:3]) for row in both.trace[: len(alone.trace)]] == [
        tuple(row[:3]) for row in alone.trace
    ]
    errors = [(row[0], row[2]) for row in both.trace if row[1] == "image"]
    assert [at for at, _ in errors] == [3, 6, 9, 12, 13, 14]
    assert errors[4][1] == pytest.approx(float((alone.images - truth).square().mean()), rel=1e-4)
    seconds = [row[3] for row in both.trace]
    assert seconds == sorted(seconds)
    assert both.seconds >= seconds[-1]


def test_an_annealing_may_go_on_from_an_inverse_network(annealed, small_pictures, monkeypatch):
    class Inverter:
        def image(self, maps):
            return torch.full((len(maps), 3, *small_pictures.shape[2:]), 0.25)

    begun = []

    def anneal(*arguments):
        begun.append(arguments[7])
        return preimage.Result(arguments[7], [], 0.0)

    monkeypatch.setattr("deep_restoration.inversion.reconstructor.anneal", anneal)
    recipe = Recipe.of({"anneal": annealing()})
    annealed.reconstruct(recipe, small_pictures[:1], ["a"], 0, NEVER)
    annealed.inverter = Inverter()
    annealed.reconstruct(recipe, small_pictures[:1], ["a"], 0, NEVER)
    mean = annealed.network.mean.expand_as(small_pictures[:1])
    assert torch.equal(begun[0], mean)
    assert (begun[1] == 0.25).all()


def test_an_annealed_image_is_shrunk_as_its_held_out_ones_say(
    annealed, study, small_pictures, tmp_path
):
    names, truth = ["a", "b"], small_pictures[:2]
    recipe = Recipe.of(recipe_of(iterations=2) | {"anneal": annealing(shrink=2)})
    alone = Recipe.of({"anneal": annealing(shrink=2)})
    before = annealed.reconstruct(alone, truth, names, 0, NEVER)
    pixels = (255 * truth.permute(0, 2, 3, 1)).round().byte().numpy()
    learned = learn_shrinkage(annealed, recipe, pixels, names, 0, NEVER)
    rounded = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    again = annealed.reconstruct(alone, rounded, names, 0, NEVER)
    expected = Shrinkage.fit(again.images, rounded, annealed.network.mean)
    assert torch.allclose(learned.rho, expected.rho)
    assert (learned.rho < 1).any()
    learned.save(tmp_path / "shrinkage.safetensors", {})
    own = reconstructor(
        study,
        priors=[tmp_path / "wiener.safetensors"],
        surrogates=[tmp_path / "surrogates.safetensors", tmp_path / "shrinkage.safetensors"],
    )
    assert own.files[-1] == tmp_path / "shrinkage.safetensors"
    after = own.reconstruct(alone, truth, names, 0, NEVER)
    assert torch.allclose(after.images, learned(before.images), atol=1e-6)
    assert [row[:2] for row in after.trace] == [row[:2] for row in before.trace]
    errors = [row[2] for row in after.trace if row[1] == "image"]
    assert errors[:-1] == [row[2] for row in before.trace if row[1] == "image"][:-1]
    assert errors[-1] == pytest.approx(float((after.images - truth).square().mean()), rel=1e-4)
    # The optimisation goes on from the estimate.
    both = own.reconstruct(recipe, truth, names, 0, NEVER)
    assert [row[2] for row in both.trace if row[1] == "image"][:4] == errors


def test_the_data_term_may_be_whitened(study, small_pictures, tmp_path):
    network = reconstructor(study).network
    with torch.no_grad():
        maps = network(small_pictures)["conv2"]
    with create_hdf5(tmp_path / "conv2.h5", "statistics", {}) as file:
        streaming.write_statistics(file, streaming.measure(maps, range(len(maps)), radius=0))
    own = reconstructor(study, statistics=[tmp_path / "conv2.h5"])
    assert own.files[-1] == tmp_path / "conv2.h5"
    for components in (3, 2):
        recipe = recipe_of(data="whitened", components=components)
        found = own.reconstruct(Recipe.of(recipe), small_pictures[:2], ["a", "b"], 0, NEVER)
        whitening = channel_whitening("conv2", tmp_path / "conv2.h5", components)
        term = Whitened("conv2", maps[:2], ["a", "b"], whitening)
        start = preimage.init_noise("uniform", (3, 21, 21), 0, "a")[None] / 255 + network.mean
        rows = [row[2] for row in found.trace if row[1] == "data"]
        single = own.reconstruct(Recipe.of(recipe), small_pictures[:1], ["a"], 0, NEVER)
        expected = term.select(torch.tensor([0])).energy(network(start.float()))
        assert single.trace[1][2] == pytest.approx(expected.item(), rel=1e-4)
        assert term.energy(network(found.images)).mean().item() < 0.2 * rows[0]


def test_an_optimisation_that_images_leave_stays_near_its_inverter_s(study, small_pictures):
    own = reconstructor(study, inverter=[study / "inverter.safetensors"])
    more = {"inverter": "joint", "converged": {"change": 0.2, "over": 4}, "data_weight": 50.0}
    more["optimiser"] = "lbfgs"
    recipe = recipe_of({"inverter": {"weight": 1e-3}}, 40, **more)
    names = ["a", "b", "c"]
    together = own.reconstruct(Recipe.of(recipe), small_pictures[:3], names, 0, NEVER)
    lengths = []
    for row in range(3):
        alone = own.reconstruct(
            Recipe.of(recipe), small_pictures[row : row + 1], [names[row]], 0, NEVER
        )
        lengths.append(alone.trace[-1][0])
        assert (alone.images[0] - together.images[row]).abs().max() < 1e-3
    assert len(set(lengths)) > 1
    assert together.trace[-1][0] == max(lengths)


def test_priors_of_maps_see_the_maps_of_their_layer(study, small_pictures):
    files = {
        "priors": [study / "foe.safetensors"],
        "feature_priors": [study / "relu1/maps.safetensors", study / "pool1/maps.safetensors"],
    }
    entries = {"foe": {"weight": 0.1}, "maps": {"weight": 0.3}}
    own = reconstructor(study, **files)
    found = own.reconstruct(
        Recipe.of(recipe_of(entries, 1)), small_pictures[:2], ["a", "b"], 0, NEVER
    )
    terms = {row[1]: row[2] for row in found.trace}
    assert list(terms) == ["total", "data", "foe", "maps@relu1", "maps@pool1", "image", "ssim"]
    total = terms["data"] + 0.1 * terms["foe"] + 0.3 * (terms["maps@relu1"] + terms["maps@pool1"])
    assert terms["total"] == pytest.approx(total, rel=1e-5)
    # From the images themselves the energies are those of their own maps.
    steps = load_tensors(study / "net.safetensors", "classifier")[1]["steps"]
    tensors, facts = load_tensors(study / "net.safetensors", "classifier")
    network = graph.Network(steps, ["relu1"], facts["mean"], facts["std"]).load(tensors)
    start = preimage.init_noise("uniform", (3, 21, 21), 0, "a")[None]
    x = torch.tensor(facts["mean"]).view(1, 3, 1, 1) + start / 255
    single = own.reconstruct(Recipe.of(recipe_of(entries, 1)), small_pictures[:1], ["a"], 0, NEVER)
    value = {row[1]: row[2] for row in single.trace}["maps@relu1"]
    expected = Calibrated(field(8)).energy(network(x)["relu1"])
    assert value == pytest.approx(expected.item(), rel=1e-4)


def test_priors_of_maps_change_the_image(study, small_pictures):
    def run(weight):
        files = {"feature_priors": [study / "pool1/maps.safetensors"]}
        entries = {"maps": {"weight": weight}} if weight else {}
        own = reconstructor(study, **files)
        result = own.reconstruct(
            Recipe.of(recipe_of(entries, 60)), small_pictures[:2], ["a", "b"], 0, NEVER
        )
        energy = Calibrated(field(8)).energy
        with torch.no_grad():
            return energy(own.network(result.images)["pool1"]).sum().item()

    assert run(1.0) < run(0.0) - 0.1


def test_an_inverter_alone_reconstructs_at_once(study, small_pictures):
    own = reconstructor(study, inverter=[study / "inverter.safetensors"])
    found = own.reconstruct(
        Recipe.of({"inverter": "joint"}), small_pictures[:3], ["a", "b", "c"], 0, NEVER
    )
    chain = load_chain(study / "inverter.safetensors")
    with torch.no_grad():
        expected = chain.image(own.network(small_pictures[:3])["conv2"]).clamp(0, 1)
    torch.testing.assert_close(found.images, expected)
    (iteration, term, error, seconds), (_, last, similar, _) = found.trace
    assert (last, 0 < similar < 1) == ("ssim", True)
    assert (iteration, term, seconds) == (0, "image", found.seconds)
    assert error == pytest.approx((expected - small_pictures[:3]).square().mean().item(), rel=1e-5)


def test_an_optimisation_goes_on_from_the_inverter_s_image(study, small_pictures):
    own = reconstructor(study, inverter=[study / "inverter.safetensors"])
    recipe = recipe_of({"inverter": {"weight": 1e9}}, 3, inverter="joint")
    pulled = own.reconstruct(Recipe.of(recipe), small_pictures[:2], ["a", "b"], 0, NEVER)
    alone = own.reconstruct(
        Recipe.of({"inverter": "joint"}), small_pictures[:2], ["a", "b"], 0, NEVER
    )
    assert pulled.trace[2][2] == pytest.approx(0, abs=1e-6)  # its distance from where it starts
    assert (pulled.images - alone.images).abs().max() < 0.1
    assert pulled.trace[0][3] > alone.seconds / 100


def edge(folder):
    """The file of an autoregressive prior with random weights."""
    torch.manual_seed(4)
    made = autoregressive.Network(3, 6, 1, 4)
    torch.nn.init.normal_(made.leave.weight, 0, 0.2)
    facts = {"width": 6, "blocks": 1, "context": 4}
    prior = autoregressive.Autoregressive(made, 0.25, facts=facts)
    prior.save(folder / "edge.safetensors", {})
    return prior, folder / "edge.safetensors"


@pytest.mark.parametrize("inverter", [False, True])
def test_pixels_that_no_unit_sees_are_those_expected(inverter, study, tmp_path):
    """Of images of 22 pixels, the small classifier's windows leave out the last row and column."""
    prior, file = edge(tmp_path)
    draw = torch.Generator().manual_seed(2)
    truth, names = torch.rand(2, 3, 22, 22, generator=draw), ["a", "b"]
    if inverter:
        layers, _ = receptive_fields.of_layers(
            load_tensors(study / "net.safetensors", "classifier")[1]["steps"], 22
        )
        chain = Chain(plan_chain(layers, "conv2", 8))
        save_chain(tmp_path / "inverter.safetensors", chain, {})
        recipe = {"inverter": "joint"}
        own = reconstructor(study, priors=[file], inverter=[tmp_path / "inverter.safetensors"])
    else:
        recipe, own = recipe_of(iterations=5), reconstructor(study, priors=[file])
    plain = own.reconstruct(Recipe.of(recipe), truth, names, 0, NEVER)
    found = own.reconstruct(Recipe.of(recipe | {"extrapolate": "edge"}), truth, names, 0, NEVER)
    assert torch.equal(found.images[..., :21, :21], plain.images[..., :21, :21])
    expected = prior.complete(plain.images, (slice(0, 21), slice(0, 21))).clamp(0, 1)
    torch.testing.assert_close(found.images, expected)
    assert not torch.equal(found.images, plain.images)
    last = {row[1]: row[2] for row in found.trace}
    assert last["image"] == pytest.approx((found.images - truth).square().mean().item(), rel=1e-5)
    with torch.no_grad():
        maps = [own.network(result.images)["conv2"] for result in (plain, found)]
    assert torch.equal(*maps)


def test_an_image_that_is_seen_whole_is_left_as_it_is(study, small_pictures, tmp_path):
    _, file = edge(tmp_path)
    own = reconstructor(study, priors=[file])
    runs = [
        own.reconstruct(
            Recipe.of(recipe_of(iterations=5, **more)), small_pictures[:1], ["a"], 0, NEVER
        ).images
        for more in ({}, {"extrapolate": "edge"})
    ]
    assert torch.equal(*runs)


def test_a_reconstructor_names_the_files_it_read(study):
    files = {
        "priors": [study / "foe.safetensors"],
        "inverter": [study / "inverter.safetensors"],
        "feature_priors": [study / "relu1/maps.safetensors"],
    }
    found = reconstructor(study, **files).files
    assert set(found) == {
        study / "net.safetensors",
        *(f for group in files.values() for f in group),
    }
