"""What a configuration may be, and that every fault names its key, its value and what is allowed."""

import copy
import datetime
import math
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from PIL import Image

from deep_restoration.data import splits
from deep_restoration.jobs import preflight
from deep_restoration.jobs.preflight import describe
from deep_restoration.study import configuration, schema
from deep_restoration.study.configuration import ConfigurationError
from deep_restoration.study.wording import nearest

CONFIG = Path(__file__).parents[3] / "config"
SHIPPED = yaml.safe_load((CONFIG / "everything.yaml").read_text(encoding="utf-8"))
DROP = object()


def study(*changes):
    """The shipped configuration with (dotted key, value) changes."""
    result = copy.deepcopy(SHIPPED)
    for key, value in changes:
        *path, last = key.split(".")
        place = result
        for part in path:
            place = place.setdefault(part, {})
        if value is DROP:
            del place[last]
        else:
            place[last] = value
    return result


def refused(config, planning=False):
    with pytest.raises(ConfigurationError) as caught:
        preflight.prepare(config, planning)
    return str(caught.value)


@pytest.fixture
def no_process(monkeypatch):
    """Nothing may start another process, which would import torch."""

    def refuse(*_, **__):
        raise AssertionError("another process was started")

    monkeypatch.setattr(subprocess, "run", refuse)


# ------------------------------------------------------------------------------ what is valid


def test_shipped_configuration_is_valid_and_complete():
    found = preflight.prepare(SHIPPED)
    for section, value in SHIPPED.items():
        if section != "recipes":
            assert value == found[section] or set(value) <= set(found[section])
    assert found["classifiers"]["alexnet"]["mean"] == [0.485, 0.456, 0.406]
    assert found["inverters"]["joint"]["precision"] == "float32"
    assert found["recipes"]["tv"]["phases"] == [
        {
            "iterations": 100,
            "rate": 10.0,
            "decay": False,
            "jitter": False,
            "warmup": 0,
            "priors": True,
        }
    ]
    assert found["classifiers"]["alexnet"]["sha256"] is None


def test_configuration_given_stays_as_it_was():
    given = study(("recipes.pure", None))
    before = copy.deepcopy(given)
    preflight.prepare(given)
    assert given == before


def test_shortest_study_gets_every_default():
    config = {
        "images": {"train": "embedded", "test": "embedded", "size": 96},
        "classifiers": {
            "net": {"architecture": "alexnet_lrn", "weights": "exemplar", "layers": ["conv1"]}
        },
        "recipes": {"pure": {"optimiser": "adam", "phases": [{"iterations": 1, "rate": 1}]}},
    }
    found = preflight.prepare(config)
    assert set(found) == set(schema.of_study()["properties"])
    assert found["seed"] == 0
    assert found["images"]["held_out"] == 0.05
    assert (found["shards"], found["batch"]) == (1, 64)
    assert found["patches"] == found["priors"] == found["inverters"] == {}
    assert found["denoising"]["images"] == "test"
    assert found["exemplar"]["rate"] == 5e-4
    assert preflight.prepare(found) == found


def test_filling_does_not_share_defaults():
    config = study(("classifiers.second", copy.deepcopy(SHIPPED["classifiers"]["alexnet"])))
    found = preflight.prepare(config)["classifiers"]
    assert found["alexnet"]["mean"] is not found["second"]["mean"]


def test_studies_of_starts_and_of_added_priors_have_defaults():
    config = study(
        ("restarts", {"recipe": "tv"}), ("prior_selection", {"recipe": "tv", "prior": "features"})
    )
    found = preflight.prepare(config)
    assert found["restarts"] == {"recipe": ["tv"], "count": 4, "images": 4}
    assert found["prior_selection"] == config["prior_selection"] | {
        "weights": [1e-4, 1e-3, 1e-2],
        "images": 4,
        "test": 8,
    }
    assert preflight.prepare(found) == found
    without = preflight.prepare(study(("restarts", DROP), ("prior_selection", DROP)))
    assert (without["restarts"], without["prior_selection"]) == (None, None)


def test_priors_of_maps_may_have_a_weight_a_layer():
    weights = {"conv1": 1.0e-3, "conv2": 0}
    config = study(("recipes.tv.priors.features", {"weight": weights}))
    found = preflight.prepare(config)
    assert found["recipes"]["tv"]["priors"]["features"] == {"weight": weights}


def test_sets_of_patches_have_defaults():
    default = {"size": 8, "count": 100000, "dc": "patch", "contrast": None}
    config = study(
        ("patches.maps", {"of": "features", "size": 2}), ("patches.more", {"of": "grey"})
    )
    found = preflight.prepare(config)["patches"]
    assert found["more"] == default | {"of": "grey"}
    assert found["maps"] == default | {"of": "features", "size": 2}
    assert list(found) == ["images", "small", "features", "maps", "more"]


EXPERTS = {
    "patches": "images",
    "dimensions": None,
    "floor": 1e-6,
    "whitening": "pca",
    "noise": 0.0,
    "steps": 4000,
    "patience": None,
}


@pytest.mark.parametrize(
    ("given", "defaults"),
    [
        (
            {"expert": "logistic", "filters": 9},
            EXPERTS
            | {"method": "patch", "batch": 500, "rate": 2e-2}
            | {"unit_norm": True, "variant": "full", "groups": 1, "multiplier": 4},
        ),
        (
            {"method": "field", "expert": "logistic", "filters": 9},
            EXPERTS | {"batch": 32, "rate": 1e-2, "start": 1000, "middle": 16},
        ),
        (
            {"method": "denoiser"},
            {
                "of": "images",
                "width": 32,
                "blocks": 1,
                "fold": 2,
                "noise_levels": [3.0, 30.0],
                "sigma": 5.0,
                "noise_samples": 1,
            }
            | {"steps": 1000, "batch": 32, "crop": 64, "rate": 1.5e-3, "precision": "float32"},
        ),
        (
            {"method": "autoregressive"},
            {"of": "images", "width": 64, "blocks": 2, "context": 7, "precision": "float32"}
            | {"steps": 1500, "batch": 16, "crop": 64, "rate": 2e-3},
        ),
        ({"method": "wiener"}, {"of": "images", "sigma": 5.0, "isotropic": True}),
        (
            {"method": "unet"},
            {"of": "images", "form": "direct", "widths": [32, 48, 64, 96], "blocks": 1, "fold": 2}
            | {"noise_levels": [2.5, 510.0], "sigma": 5.0, "part": "all", "precision": "float32"}
            | {"steps": 10000, "batch": 8, "crop": 64, "rate": 2e-3, "average": 0.02},
        ),
        (
            {"method": "ridge"},
            {"of": "images", "filters": 48, "group": 2, "size": 7, "iterations": 60}
            | {"noise_levels": [3.0, 50.0], "sigma": 5.0}
            | {"steps": 800, "batch": 4, "crop": 40, "rate": 2e-2},
        ),
    ],
    ids=["patch", "field", "denoiser", "autoregressive", "wiener", "unet", "ridge"],
)
def test_learned_priors_have_the_defaults_of_their_method(given, defaults):
    found = preflight.prepare(study(("priors.new", given)))
    assert found["priors"]["new"] == defaults | given
    other = {"steps" if "steps" in defaults else "sigma": 7}
    changed = study(("priors.new", given | other))
    prepared = preflight.prepare(changed)
    assert prepared["priors"]["new"] == defaults | given | other
    assert preflight.prepare(prepared) == prepared


def test_priors_do_not_share_defaults():
    config = study(("priors.a", {"method": "denoiser"}), ("priors.b", {"method": "denoiser"}))
    found = preflight.prepare(config)["priors"]
    found["a"]["noise_levels"][0] = 99.0
    assert (
        found["b"]["noise_levels"]
        == schema.filled("priors", {"method": "denoiser"})["noise_levels"]
        == [3.0, 30.0]
    )


def test_priors_know_what_they_learn_from():
    config = study(
        ("patches.fours", {"of": "grey", "size": 4}),
        ("priors.grey", {"patches": "fours", "expert": "logistic", "filters": 9}),
        ("priors.maps", {"method": "denoiser", "of": "features"}),
    )
    found = preflight.prepare(config)
    sources = {name: configuration.source_of(found, name) for name in found["priors"]}
    assert sources == {
        **{"ica": "images", "foe": "images", "dae": "images", "features": "features"},
        **{"wiener": "images"},
        **{"grey": "grey", "maps": "features"},
    }


def test_a_study_over_another_may_drop_a_search():
    bounds = {"rate": [1.0, 30.0]}
    for search in (bounds, None):
        found = preflight.prepare(study(("recipes.tv.search", search)))
        assert found["recipes"]["tv"].get("search") == search


def test_a_recipe_sets_the_options_of_its_learned_priors():
    priors = {
        "dae": {"weight": 1.0, "sigma": 3.0},
        "wiener": {"weight": 1.0, "sigma": [30.0, 3.0]},
        "foe": {"weight": 1.0, "position_stride": 2, "border": "valid"},
    }
    changes = ("recipes.tv.priors", priors), ("recipes.tv.optimiser", "adam")
    found = preflight.prepare(study(*changes))
    assert found["recipes"]["tv"]["priors"] == priors


OPTIMISED = {"optimiser": "adam", "phases": [{"iterations": 3, "rate": 2.0}]}


@pytest.mark.parametrize(
    "recipe",
    [
        {"inverter": "joint"},
        {"inverter": "joint"} | OPTIMISED,
        {"inverter": "joint", "priors": {"inverter": {"weight": 0.5}}} | OPTIMISED,
        {"inverter": "joint", "priors": {"inverter": {"weight": [1, 2, 3]}}, "box": True}
        | OPTIMISED,
    ],
)
def test_a_recipe_takes_the_image_of_an_inverter_or_goes_on_from_it(recipe):
    found = preflight.prepare(study(("recipes.tv", recipe)))["recipes"]["tv"]
    assert {key: found[key] for key in recipe if key != "phases"} == {
        key: value for key, value in recipe.items() if key != "phases"
    }
    assert "init" not in found
    assert ("phases" in found) == ("phases" in recipe)


def test_the_denoising_test_has_its_folder_or_none(tmp_path):
    (tmp_path / "a.png").touch()
    for source in (str(tmp_path), "test", None):
        found = preflight.prepare(study(("denoising.images", source)))
        assert found["denoising"] == {
            **{"images": source, "sigma": 25, "tuning": 2, "iterations": 60},
            **{"tolerance": 0.5, "shown": 3},
        }


SECTIONS = ("classifiers", "patches", "priors", "inverters", "recipes", "visualisations")


@pytest.mark.parametrize("section", SECTIONS)
def test_entries_set_to_null_are_left_out(section):
    config = study((f"{section}.unwanted", None))
    assert "unwanted" not in preflight.prepare(config)[section]


def test_folders_of_images_and_files_of_weights_are_accepted(tmp_path):
    (tmp_path / "photos/deep").mkdir(parents=True)
    for index in range(30):
        (tmp_path / f"photos/deep/{index}.JPG").touch()
    (tmp_path / "net.pth").write_bytes(b"weights")
    config = study(
        ("images.train", str(tmp_path / "photos")),
        ("classifiers.alexnet.weights", str(tmp_path / "net.pth")),
    )
    preflight.prepare(config)


def test_home_folder_is_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").touch()
    preflight.prepare(study(("images.test", "~/photos")))


def test_a_store_is_a_folder_there_or_not_and_none_by_default(tmp_path):
    prepared = preflight.prepare(study(("store", DROP)))
    assert prepared["store"] is None
    for path in (tmp_path, tmp_path / "not there"):
        prepared = preflight.prepare(study(("store", str(path))))
        assert prepared["store"] == str(path)


def test_the_store_of_the_environment_wins(monkeypatch):
    given = {"seed": 3, "store": "of the study"}
    monkeypatch.delenv("RESTORATION_STORE", raising=False)
    assert configuration.with_store(given) == given
    assert configuration.with_store({"seed": 3}) == {"seed": 3}
    for value, store in (("of the machine", "of the machine"), ("", None)):
        monkeypatch.setenv("RESTORATION_STORE", value)
        assert configuration.with_store(given) == {"seed": 3, "store": store}
        assert configuration.with_store({"seed": 3}) == {"seed": 3, "store": store}
    assert given["store"] == "of the study"


def test_a_file_is_no_store(tmp_path):
    (tmp_path / "file").write_text("")
    message = refused(study(("store", str(tmp_path / "file"))))
    assert f"store is '{tmp_path / 'file'}', which is no folder" in message
    assert "RESTORATION_STORE" in message


def test_linear_inverses_and_statistics_have_defaults():
    found = preflight.prepare(study(("linear_inverse", DROP), ("statistics", DROP)))
    assert found["statistics"] == {"positions": 400, "radius": 2, "border": 1, "replicates": 40}
    assert found["linear_inverse"] == {
        "noise": [0.1],
        "sizes": [4, 8, 12, 16],
        "images": 4,
        "prior_images": 200,
        "window": 64,
    }


def test_the_prior_of_linear_inverses_may_take_all_images():
    config = study(("linear_inverse.prior_images", None))
    found = preflight.prepare(config)
    assert found["linear_inverse"]["prior_images"] is None


# ------------------------------------------------------------------------------ plans

FILES = {path.stem: path for path in CONFIG.glob("*.yaml")}


def read(name):
    return yaml.safe_load(FILES[name].read_text(encoding="utf-8"))


def shipped(name):
    """A shipped study, over what it starts from."""
    given = read(name)
    config = configuration.merged(read("config"), given)
    return configuration.based(config, given, lambda: read("everything"))


@pytest.mark.parametrize("name", FILES)
def test_shipped_studies_are_planned_before_their_images_are_there(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = preflight.prepare(shipped(name), planning=True)
    assert found["images"]["train"] == shipped(name)["images"]["train"]
    folders = {f"images.{split}": found["images"][split] for split in ("train", "test")}
    folders["denoising.images"] = found["denoising"]["images"]
    given = ("embedded", "test", None)
    folders = {key: source for key, source in folders.items() if source not in given}
    assert bool(folders) == (name not in ("config", "everything"))
    if folders:
        lines = lines_of(refused(shipped(name)))
        assert [line.split(";")[0] for line in lines] == [
            f"  {key} is {source!r}: there is no folder {source}" for key, source in folders.items()
        ]


def test_the_recipes_of_2017_and_2018_are_those_on_record():
    """Rates are on the scale 0..255; section 4.3 has them for images in 0..1."""
    found = preflight.prepare(shipped("paper-harder"), planning=True)
    assert found["classifiers"]["alexnet"]["layers"] == ["relu1", "conv4"]
    recipes = {name: entry for name, entry in found["recipes"].items() if "harder" in name}
    assert set(recipes) == {"harder2017", "harder2017_conv4", "harder2018"}
    assert all((r["optimiser"], r["init"]) == ("adam", "mean") for r in recipes.values())

    def steps(name):  # rate at each iteration
        return [p["rate"] for p in recipes[name]["phases"] for _ in range(p["iterations"])]

    for name, weight in (("harder2017", 1e-4), ("harder2017_conv4", 1e-3)):
        assert "data" not in recipes[name]  # normalised
        assert recipes[name].get("data_weight", 1.0) == 1.0
        assert recipes[name]["priors"] == {"ica": {"weight": weight, "units": "raw"}}
        assert not any(phase["jitter"] for phase in recipes[name]["phases"])
    assert (found["priors"]["ica"]["expert"], found["priors"]["ica"]["filters"]) == (
        "logistic",
        512,
    )
    assert steps("harder2017") == [pytest.approx(0.004 * 255)] * 5000
    falls = {0: 0.01, 1000: 4e-3, 1200: 1e-3, 3000: 4e-4, 6000: 1e-4, 9000: 4e-5}
    published = [max((i, rate) for i, rate in falls.items() if i <= t)[1] for t in range(10000)]
    assert steps("harder2017_conv4") == pytest.approx([255 * rate for rate in published])

    later = recipes["harder2018"]
    assert later["data"] == "mse"
    assert later["priors"] == {"foe512": {"weight": 1e-4, "units": "raw"}}
    prior = found["priors"]["foe512"]
    assert (prior["expert"], prior["filters"], prior["unit_norm"]) == ("student_t", 512, True)
    assert steps("harder2018") == [1.0] * 10000
    stages = [(p["priors"], p["jitter"]) for p in later["phases"] for _ in range(p["iterations"])]
    assert stages == [(t >= 5000, t % 5000 < 3200) for t in range(10000)]


def test_the_study_at_full_size_inverts_the_studys_layer():
    found = preflight.prepare(shipped("paper"), planning=True)
    chosen = {name: c["layers"] for name, c in found["classifiers"].items()}
    assert set(chosen) == {"alexnet", "vgg16"}
    assert "pool5" in chosen["vgg16"]
    layers = describe("vgg16", found["images"]["size"])["layers"]
    assert layers["pool5"]["shape"] == [512, 7, 7]


@pytest.mark.parametrize("planning", [False, True])
def test_a_folder_to_denoise_must_hold_images(planning, tmp_path):
    source = str(tmp_path)
    (line,) = lines_of(refused(study(("denoising.images", source)), planning))
    assert f"denoising.images is '{source}'" in line
    assert "holds no image" in line
    assert "allowed: a folder, test, null" in line


def test_a_plan_refuses_a_folder_without_images(tmp_path):
    (tmp_path / "photos").mkdir()
    source = str(tmp_path / "photos")
    message = refused(study(("images.train", "/nowhere"), ("images.test", source)), True)
    (line,) = lines_of(message)
    assert f"images.test is '{source}'" in line
    assert "holds no image" in line


def test_a_plan_refuses_a_file_that_is_no_image(tmp_path):
    (tmp_path / "photos").touch()
    source = str(tmp_path / "photos")
    (line,) = lines_of(refused(study(("images.train", source)), True))
    assert f"images.train is '{source}': file {source} is not taken: no image" in line


def test_a_single_photograph_may_be_reconstructed_but_is_too_little_to_learn_from(tmp_path):
    source = str(tmp_path / "cat.png")
    Image.new("RGB", (4, 4)).save(source)
    found = preflight.prepare(study(("images.test", source)))
    assert preflight.image_counts(found)["test"] == 1
    (line, *_) = lines_of(refused(study(("images.train", source))))
    assert f"images.train is '{source}', which holds 1 image; " in line
    assert line.endswith("at least 2")


def test_a_single_photograph_that_is_not_there_is_a_file(tmp_path):
    source = str(tmp_path / "cat.png")
    (line,) = lines_of(refused(study(("images.test", source))))
    assert line == f"  images.test is '{source}': there is no file {source}"


# ------------------------------------------------------------------------------ faults

NAN = math.nan
STYLE = {"kind": "texture", "recipe": "tv", "content": {"layer": "conv2"}}
FIELD = {"method": "field", "expert": "student_t", "filters": 8}
FAULTS = {
    "unknown key": (
        [("images.sizes", 96)],
        ["images.sizes is not a key", "did you mean size"],
    ),
    "unknown section": (
        [("classifier", {})],
        ["classifier is not a key", "did you mean classifiers"],
    ),
    "missing key": (
        [("images.size", DROP)],
        ["images lacks size"],
    ),
    "missing section": (
        [("recipes", DROP)],
        ["the configuration lacks recipes"],
    ),
    "wrong type": (
        [("images.size", "large")],
        ["images.size is 'large'", "must be of type integer", "Side in pixels"],
    ),
    "truth for a number": (
        [("seed", True)],
        ["seed is True", "of type integer"],
    ),
    "no dot": (
        [("inverters.joint.rate", "3e-4")],
        ["inverters.joint.rate is '3e-4'", "of type number", "YAML reads 3e-4 as text: write 3.0e-4"],
    ),
    "no dot among alternatives": (
        [("recipes.tv.priors.tv.weight", "1e-3")],
        ["recipes.tv.priors.tv.weight is '1e-3'", "write 1.0e-3", "a number", "mahendran2015"],
    ),
    "no alternative": (
        [("recipes.tv.data_weight", "much")],
        ["recipes.tv.data_weight is 'much'", "a number", "mahendran2016"],
    ),
    "too small a number": (
        [("images.size", 31)],
        ["images.size is 31", "at least 32"],
    ),
    "too large a number": (
        [("images.held_out", 0.9)],
        ["images.held_out is 0.9", "at most 0.5"],
    ),
    "not positive": (
        [("priors.ica.rate", 0)],
        ["priors.ica.rate is 0", "more than 0"],
    ),
    "negative weight": (
        [("recipes.tv.priors.tv.weight", -1)],
        ["recipes.tv.priors.tv.weight is -1", "at least 0"],
    ),
    "too few weights": (
        [("recipes.tv.priors.tv.weight", [1.0, 2.0])],
        ["recipes.tv.priors.tv.weight is [1.0, 2.0]", "3 entries or more"],
    ),
    "text among weights": (
        [("recipes.tv.priors.tv.weight", [1.0, 2.0, "x"])],
        ["recipes.tv.priors.tv.weight.2 is 'x'", "of type number"],
    ),
    "enum": (
        [("images.unusable", "ignore")],
        ["images.unusable is 'ignore'", "allowed: skip, refuse"],
    ),
    "enum of a definition": (
        [("patches.images.dc", "mean")],
        ["patches.images.dc is 'mean'", "allowed: patch, channel, none"],
    ),
    "enum in a recipe": (
        [("recipes.tv.optimiser", "sgd")],
        ["recipes.tv.optimiser is 'sgd'", "allowed: momentum, adagrad2016, adam"],
    ),
    "pattern": (
        [("classifiers.alexnet.sha256", "abc")],
        ["classifiers.alexnet.sha256 is 'abc'", "must match ^[0-9a-fA-F]{64}$"],
    ),
    "name with a blank": (
        [("recipes.my recipe", SHIPPED["recipes"]["pure"])],
        ["recipes: the name 'my recipe'", "letters, digits"],
    ),
    "name with a leading dash": (
        [("classifiers.-net", SHIPPED["classifiers"]["alexnet"])],
        ["classifiers: the name '-net'", "start with a letter or a digit"],
    ),
    "layer twice": (
        [("classifiers.alexnet.layers", ["{conv1}", "{conv1}"])],
        ["classifiers.alexnet.layers", "non-unique"],
    ),
    "no layer": (
        [("classifiers.alexnet.layers", [])],
        ["classifiers.alexnet.layers is []", "1 entries or more"],
    ),
    "no classifier left": (
        [("classifiers.alexnet", None)],
        ["classifiers is {}", "1 entries or more"],
    ),
    "section set to null": (
        [("figures", None)],
        ["figures is None", "of type object"],
    ),
    "details of a layer that is not studied": (
        [("figures.details", {"layers": ["conv1", "conv4"]})],
        ["figures.details.layers: 'conv4' is not one of the study's layers", "nearest: conv"],
    ),
    "details of an unknown recipe": (
        [("figures.details", {"recipes": ["mahendran2017"]})],
        ["figures.details.recipes: 'mahendran2017'", "nearest: mahendran201"],
    ),
    "no recipe in the details": (
        [("figures.details", {"recipes": []})],
        ["figures.details.recipes is []", "1 entries or more"],
    ),
    "details of no size": (
        [("figures.details", {"side": 4})],
        ["figures.details.side is 4", "at least 8"],
    ),
    "missing folder": (
        [("images.train", "/nowhere/photos")],
        ["images.train is '/nowhere/photos'", "there is no folder"],
    ),
    "missing weights": (
        [("classifiers.alexnet.weights", "nets/a.pth")],
        ["classifiers.alexnet.weights is 'nets/a.pth'", "no such file", "exemplar", "IMAGENET1K_V1"],
    ),
    "a checkpoint in the working folder that is not there": (
        [("classifiers.alexnet.weights", "lightning.ckpt")],
        ["classifiers.alexnet.weights is 'lightning.ckpt'", "no such file"],
    ),
    "a file of torchvision's that is not there": (
        [("classifiers.alexnet.weights", "resnet50-0676ba61.pth")],
        ["classifiers.alexnet.weights is 'resnet50-0676ba61.pth'", "no such file"],
    ),
    "mean of images in 0..255": (
        [("classifiers.alexnet.mean", [123.675, 116.28, 103.53])],
        ["classifiers.alexnet.mean.0 is 123.675", "at most 1", "divide", "by 255"],
    ),
    "mean below black": (
        [("classifiers.alexnet.mean", [-1.0, 0.5, 0.5])],
        ["classifiers.alexnet.mean.0 is -1.0", "at least 0", "divide", "by 255"],
    ),
    "spread of images in 0..255": (
        [("classifiers.alexnet.std", [58.395, 57.12, 57.375])],
        ["classifiers.alexnet.std.2 is 57.375", "at most 1", "divide", "by 255"],
    ),
    "no spread": (
        [("classifiers.alexnet.std", [0.2, 0, 0.2])],
        ["classifiers.alexnet.std.1 is 0", "at least 0.001"],
    ),
    "spread divided twice": (
        [("classifiers.alexnet.std", [0.229 / 255] * 3)],
        ["classifiers.alexnet.std.0 is 0.000898", "at least 0.001"],
    ),
    "NaN in a mean": (
        [("classifiers.alexnet.mean", [0.4, NAN, 0.4])],
        ["classifiers.alexnet.mean.1 is nan", "finite number"],
    ),
    "NaN for a share": ([("images.held_out", NAN)], ["images.held_out is nan", "finite number"]),
    "an infinite rate": (
        [("recipes.tv.phases", [{"iterations": 5, "rate": math.inf}])],
        ["recipes.tv.phases.0.rate is inf", "finite number"],
    ),
    "an infinite weight of a layer": (
        [("recipes.tv.priors.features", {"weight": {"conv1": -math.inf}})],
        ["recipes.tv.priors.features.weight.conv1 is -inf", "finite number"],
    ),
    "NaN for a whole number": ([("seed", NAN)], ["seed is nan", "finite number"]),
    "NaN among alternatives": (
        [("recipes.tv.priors.tv.weight", [1.0, NAN, 1.0])],
        ["recipes.tv.priors.tv.weight.1 is nan", "finite number"],
    ),
    "NaN under an unknown key": ([("unknown", NAN)], ["unknown is nan", "finite number"]),
    "a date": (
        [("seed", datetime.date(2026, 1, 1))],
        ["seed is '2026-01-01'", "of type integer"],
    ),
    "a whole number with a point": (
        [("images.size", 96.0)],
        ["images.size is 96.0", "of type integer", "(write 96)"],
    ),
    "a whole number in powers of ten": (
        [("inverters.joint.steps", "2e3")],
        ["inverters.joint.steps is '2e3'", "of type integer", "(write 2000)"],
    ),
    "a number in quotes, or nested after --config": (
        [("images.size", "64")],
        ["images.size is '64'", "of type integer", "without quotes", "--config ", "--configfile"],
    ),
    "a section as text": (
        [("images", "{size: 64}")],
        ["images is '{size: 64}'", "of type object", "without quotes", "--configfile"],
    ),
    "a section as text with an open bracket": (
        [("images", "{size: 64")],
        ["images is '{size: 64'", "no valid YAML", "brackets closed"],
    ),
    "null as text": (
        [("images.test_count", "null")],
        ["images.test_count is 'null'", "integer or null", "without quotes"],
    ),
    "truth as text": ([("recipes.tv.box", "true")], ["recipes.tv.box is 'true'", "without quotes"]),
    "a list as text": (
        [("classifiers.alexnet.layers", "[conv1]")],
        ["classifiers.alexnet.layers is '[conv1]'", "of type array", "without quotes"],
    ),
    "a number as text among alternatives": (
        [("recipes.tv.data_weight", "5")],
        ["recipes.tv.data_weight is '5'", "without quotes"],
    ),
    "a decimal comma": (
        [("inverters.joint.rate", "0,5")],
        ["inverters.joint.rate is '0,5'", "of type number", "(write 0.5)"],
    ),
    "a name of more than 100 characters": (
        [("recipes." + 101 * "a", SHIPPED["recipes"]["pure"])],
        ["recipes: the name 'aaa", "at most 100"],
    ),
    "fewer images than a network's spread needs": (
        [("images.embedded_train", 29)],
        [
            "images.embedded_train is 29; priors.dae, priors.wiener need at least 30",
            "held_out, 0.05, keeps 2",
        ],
    ),
    "one test image for a style": (
        [("images.test_count", 1), ("visualisations.style", STYLE)],
        ["images.test_count is 1; visualisations.style needs at least 2"],
    ),
    "one embedded test image for a style": (
        [("images.embedded_test", 1), ("visualisations.style", STYLE)],
        ["images.embedded_test is 1; visualisations.style needs at least 2"],
    ),
    "fewer maps than a network's spread needs": (
        [("features.images", 20), ("priors.maps", {"method": "denoiser", "of": "features"})],
        ["features.images is 20; priors.maps needs at least 30"],
    ),
    "missing weights without a folder": (
        [("classifiers.alexnet.weights", "a.safetensors")],
        ["classifiers.alexnet.weights is 'a.safetensors'", "no such file"],
    ),
    "unknown prior": (
        [("recipes.tv.priors.tvv", {"weight": 1.0})],
        ["recipes.tv.priors.tvv: no such prior", "known priors: tv"],
    ),
    "prior that was left out": (
        [("priors.foe", None)],
        ["recipes.foe.priors.foe: no such prior", "alpha_norm, colour_norm, tv"],
    ),
    "learned prior with a taken name": (
        [("priors.tv", {"expert": "logistic", "filters": 9})],
        ["priors.tv: the name is taken", "the prior tv"],
    ),
    "more dimensions than values": (
        [("priors.ica.dimensions", 193)],
        ["priors.ica.dimensions is 193", "8 x 8 x 3", "192 values"],
    ),
    "unknown inverter": (
        [("recipes.inverter_joint.inverter", "jiont")],
        ["recipes.inverter_joint.inverter is 'jiont'", "known inverters: joint"],
    ),
    "no inverter at all": (
        [("inverters.joint", None)],
        ["recipes.inverter_joint.inverter is 'joint'", "known inverters: separate, end_to_end"],
    ),
    "inverter with phases": (
        [("recipes.inverter_joint.phases", [{"iterations": 1, "rate": 1.0}])],
        ["recipes.inverter_joint needs optimiser to go on from the image of its inverter"],
    ),
    "inverter with a start": (
        [("recipes.inverter_joint+foe.init", "mean")],
        ["recipes.inverter_joint+foe: it starts from the image of its inverter; remove init"],
    ),
    "annealing with a start": (
        [("recipes.annealed.init", "mean")],
        ["recipes.annealed: it starts from the image of its annealing; remove init"],
    ),
    "annealing with an optimisation by halves": (
        [("recipes.annealed.optimiser", DROP)],
        ["recipes.annealed needs optimiser to go on from the image of its annealing"],
    ),
    "annealing under a prior that does not denoise": (
        [("recipes.annealed.anneal.prior", "foe")],
        [
            "recipes.annealed.anneal.prior is 'foe', which is no prior of images of method wiener or unet",
            "known ones: wiener",
        ],
    ),
    "annealing under a prior that is not there": (
        [("priors.wiener", None)],
        ["recipes.annealed.anneal.prior is 'wiener'", "priors.wiener was set to null"],
    ),
    "annealing under a prior of maps": (
        [("priors.wiener.of", "features")],
        ["recipes.annealed.anneal.prior is 'wiener', which is no prior of images"],
    ),
    "annealing with growing noise": (
        [("recipes.annealed.anneal.noise", [8.0, 380.0])],
        ["recipes.annealed.anneal.noise is [8.0, 380.0]; the largest comes first"],
    ),
    "annealing in no step": (
        [("recipes.annealed.anneal.steps", 0)],
        ["recipes.annealed.anneal.steps is 0", "at least 1"],
    ),
    "annealing shrunk by less than no image": (
        [("recipes.annealed.anneal.shrink", -1)],
        ["recipes.annealed.anneal.shrink is -1", "at least 0"],
    ),
    "distance to the image of no inverter": (
        [("recipes.tv.priors.inverter", {"weight": 1.0})],
        ["recipes.tv.priors.inverter needs the key inverter"],
    ),
    "option of the distance to an inverter's image": (
        [
            ("recipes.inverter_joint+foe.priors.inverter", {"weight": 1.0, "position_stride": 2}),
        ],
        ["priors.inverter.position_stride is not an option", "allowed: weight"],
    ),
    "published weight of that distance": (
        [("recipes.inverter_joint+foe.priors.inverter", {"weight": "mahendran2015"})],
        ["priors.inverter.weight is 'mahendran2015'", "allowed: a number"],
    ),
    "inverter with priors alone": (
        [("recipes.inverter_joint.priors", {"inverter": {"weight": 1.0}})],
        ["recipes.inverter_joint needs optimiser and phases to go on from the image"],
    ),
    "bounds in the wrong order": (
        [("recipes.tv.search", {"rate": [3.0, 2.0]})],
        ["recipes.tv.search.rate is [3.0, 2.0]", "the lower bound comes first"],
    ),
    "bounds for a prior that the recipe lacks": (
        [("recipes.tv.search", {"priors": {"foe": [0.1, 1.0]}})],
        ["recipes.tv.search.priors.foe: the recipe has no such prior", "it has: tv"],
    ),
    "a search without an optimisation": (
        [("recipes.inverter_joint.search", {"rate": [1.0, 2.0]})],
        ["recipes.inverter_joint.search: without an optimisation"],
    ),
    "a prior of an annealing that is none": (
        [("recipes.annealed.anneal.priors", {"fo": {"weight": 1.0}})],
        ["recipes.annealed.anneal.priors.fo: no such prior", "foe"],
    ),
    "the distance from an image that no inverse network predicts": (
        [("recipes.annealed.anneal.priors", {"inverter": {"weight": 1.0}})],
        ["recipes.annealed.anneal.priors.inverter needs the key inverter in the recipe"],
    ),
    "a search of an annealing that is shrunk": (
        [
            ("recipes.annealed.anneal.shrink", 4),
            ("recipes.annealed.search", {"anneal": {"rate": [0.1, 1.0]}}),
        ],
        ["recipes.annealed.search.anneal: what anneal.shrink learns", "search without shrink"],
    ),
    "one noise level of a U-Net": (
        [("priors.new", {"method": "unet", "noise_levels": [25.0, 25.0], "sigma": 25.0})],
        ["priors.new.noise_levels is [25.0, 25.0]; the second must be larger"],
    ),
    "a noise level that a U-Net has not learned": (
        [("priors.new", {"method": "unet", "noise_levels": [20.0, 30.0]})],
        ["priors.new.sigma is 5.0", "allowed: 20.0 to 30.0"],
    ),
    "a search of an annealing that the recipe lacks": (
        [("recipes.tv.search", {"anneal": {"rate": [0.1, 1.0]}})],
        ["recipes.tv.search.anneal: the recipe has no annealing"],
    ),
    "bounds of an annealing in the wrong order": (
        [("recipes.annealed.search", {"anneal": {"pull": [2.0, 1.0]}})],
        ["recipes.annealed.search.anneal.pull is [2.0, 1.0]", "the lower bound comes first"],
    ),
    "a search of the noise level of what is no denoiser": (
        [
            ("recipes.foe.priors.dae", {"weight": 1.0}),
            ("recipes.foe.search", {"sigma": {"foe": [1.0, 9.0]}}),
        ],
        ["recipes.foe.search.sigma.foe: the recipe has no such prior with a noise level; it has: dae"],
    ),
    "a search of the noise level of a denoiser that the recipe lacks": (
        [("recipes.tv.search", {"sigma": {"dae": [1.0, 9.0]}})],
        ["recipes.tv.search.sigma.dae: the recipe has no such prior with a noise level; it has: none"],
    ),
    "a search of the noise level of one of two that have any": (
        [
            ("recipes.tv.priors.wiener", {"weight": 1.0}),
            ("recipes.tv.search", {"sigma": {"wiener": [1.0, 9.0], "dae": [1.0, 9.0]}}),
        ],
        ["recipes.tv.search.sigma.dae: the recipe has no such prior with a noise level; it has: wiener"],
    ),
    "bounds of a noise level in the wrong order": (
        [
            ("recipes.tv.priors.dae", {"weight": 1.0}),
            ("recipes.tv.search", {"sigma": {"dae": [9.0, 1.0]}}),
        ],
        ["recipes.tv.search.sigma.dae is [9.0, 1.0]", "the lower bound comes first"],
    ),
    "no shard": ([("shards", 0)], ["shards is 0; it must be at least 1"]),
    "half a batch": ([("batch", 0.5)], ["batch is 0.5; it must be of type integer"]),
    "a warm-up longer than its phase": (
        [("recipes.tv.phases", [{"iterations": 5, "rate": 1.0, "warmup": 6}])],
        ["recipes.tv.phases.0.warmup is 6", "at most the phase's iterations, 5"],
    ),
    "a warm-up of less than nothing": (
        [("recipes.tv.phases", [{"iterations": 5, "rate": 1.0, "warmup": -1}])],
        ["recipes.tv.phases.0.warmup is -1; it must be at least 0"],
    ),
    "an unknown data term": (
        [("recipes.tv.data", "l1")],
        ["recipes.tv.data is 'l1'; allowed: normalised, mse, whitened"],
    ),
    "components of a data term that is not whitened": (
        [("recipes.tv.components", 32)],
        ["recipes.tv.components is an option of data whitened; the recipe's data is normalised"],
    ),
    "no components": (
        [("recipes.tv.data", "whitened"), ("recipes.tv.components", 0)],
        ["recipes.tv.components is 0; it must be at least 1"],
    ),
    "published weights of the normalised data term for the whitened one": (
        [("recipes.mahendran2016.data", "whitened")],
        ["recipes.mahendran2016.data_weight", "with data whitened give a number"],
    ),
    "weights of the normalised data term for the mean squared one": (
        [("recipes.mahendran2016.data", "mse")],
        ["recipes.mahendran2016.data_weight is 'mahendran2016'", "with data mse give a number"],
    ),
    "a prior that a phase is to have": (
        [("recipes.tv.phases", [{"iterations": 3, "rate": 1.0, "priors": ["tv"]}])],
        ["recipes.tv.phases.0.priors is ['tv']", "it must be of type boolean"],
    ),
    "an unknown centre": (
        [("recipes.mahendran2015.priors.alpha_norm.centre", "median")],
        ["recipes.mahendran2015.priors.alpha_norm.centre is 'median'; allowed: colour, image"],
    ),
    "a centre of what is no range": (
        [("recipes.tv.priors.tv.centre", "image")],
        ["recipes.tv.priors.tv.centre is not an option", "allowed: V, beta, weight"],
    ),
    "units of a prior that is not learned": (
        [("recipes.tv.priors.tv.units", "raw")],
        ["recipes.tv.priors.tv.units is not an option", "allowed: V, beta, weight"],
    ),
    "unknown units": (
        [("recipes.foe.priors.foe.units", "grey")],
        ["recipes.foe.priors.foe.units is 'grey'; allowed: spread, raw"],
    ),
    "an unknown parametrisation": (
        [("recipes.tv.parametrisation", "wavelets")],
        ["recipes.tv.parametrisation is 'wavelets'; allowed: pixels, fourier"],
    ),
    "a plateau without its length": (
        [("recipes.tv.converged", {"change": 1e-3})],
        ["recipes.tv.converged lacks over"],
    ),
    "a plateau of no change at all": (
        [("recipes.tv.converged", {"change": 0, "over": 20})],
        ["recipes.tv.converged.change is 0; it must be more than 0"],
    ),
    "lbfgs with jitter": (
        [("recipes.tv.phases", [{"iterations": 3, "rate": 1.0, "jitter": True}])],
        ["recipes.tv.optimiser is lbfgs", "it goes with no jitter; take adam"],
    ),
    "lbfgs with a position_stride": (
        [("recipes.foe.priors.foe.position_stride", 2)],
        ["recipes.foe.optimiser is lbfgs", "it goes with no position_stride; take adam"],
    ),
    "unknown schedule": (
        [("inverters.joint.schedule", "step")],
        ["inverters.joint.schedule is 'step'", "allowed: cosine, constant"],
    ),
    "unknown kind of module": (
        [("inverters.joint.kind", "unet")],
        ["inverters.joint.kind is 'unet'", "allowed: deconv_relu_conv, deconv, conv_deconv"],
    ),
    "unknown modules": (
        [("inverters.joint.modules", "block")],
        ["inverters.joint.modules is 'block'", "allowed: layer, resolution"],
    ),
    "no replicate": (
        [("inverters.joint.replicates", 0)],
        ["inverters.joint.replicates is 0", "at least 1"],
    ),
    "prior with the name of that distance": (
        [("priors.inverter", {"expert": "logistic", "filters": 9, "patches": "images"})],
        ["priors.inverter: the name is taken"],
    ),
    "unknown regime": (
        [("inverters.joint.regime", "together")],
        ["inverters.joint.regime is 'together'", "separate, joint, end_to_end"],
    ),
    "recipe without optimiser": (
        [("recipes.pure.optimiser", DROP)],
        ["recipes.pure needs either inverter, anneal, or optimiser"],
    ),
    "empty recipe": (
        [("recipes.pure", {})],
        ["recipes.pure needs either inverter, anneal, or optimiser and phases"],
    ),
    "option of another prior": (
        [("recipes.tv.priors.tv.alpha", 6)],
        ["recipes.tv.priors.tv.alpha is not an option", "allowed: V, beta, weight"],
    ),
    "option of a hand-crafted prior": (
        [("recipes.foe.priors.foe.beta", 2)],
        ["recipes.foe.priors.foe.beta is not an option", "allowed: border, position_stride, units, weight"],
    ),
    "published weight of another prior": (
        [("recipes.foe.priors.foe.weight", "mahendran2015")],
        ["recipes.foe.priors.foe.weight is 'mahendran2015'", "allowed: a number"],
    ),
    "too few positions": (
        [("statistics.positions", 3)],
        ["statistics.positions is 3", "at least 4", "Largest number of positions"],
    ),
    "too large a radius": (
        [("statistics.radius", 17)],
        ["statistics.radius is 17", "at most 16", "autocovariance"],
    ),
    "no border": (
        [("statistics.border", 0)],
        ["statistics.border is 0", "at least 1", "stationarity"],
    ),
    "too few draws": (
        [("statistics.replicates", 9)],
        ["statistics.replicates is 9", "at least 10", "interval"],
    ),
    "half a draw": (
        [("statistics.replicates", 40.5)],
        ["statistics.replicates is 40.5", "of type integer"],
    ),
    "unknown key of the statistics": (
        [("statistics.borders", 2)],
        ["statistics.borders is not a key", "did you mean border"],
    ),
    "no noise": (
        [("linear_inverse.noise", [0.1, 0])],
        ["linear_inverse.noise.1 is 0", "more than 0"],
    ),
    "noise that is no list": (
        [("linear_inverse.noise", 0.1)],
        ["linear_inverse.noise is 0.1", "of type array", "Standard deviations"],
    ),
    "no level of noise": (
        [("linear_inverse.noise", [])],
        ["linear_inverse.noise is []", "1 entries or more"],
    ),
    "noise as text": (
        [("linear_inverse.noise", ["1e-2"])],
        ["linear_inverse.noise.0 is '1e-2'", "of type number", "write 1.0e-2"],
    ),
    "too large a kernel": (
        [("linear_inverse.sizes", [8, 65])],
        ["linear_inverse.sizes.1 is 65", "at most 64"],
    ),
    "a kernel of no pixels": (
        [("linear_inverse.sizes", [0])],
        ["linear_inverse.sizes.0 is 0", "at least 1"],
    ),
    "a size twice": (
        [("linear_inverse.sizes", [8, 8])],
        ["linear_inverse.sizes", "non-unique"],
    ),
    "no images for linear inverses": (
        [("linear_inverse.images", 0)],
        ["linear_inverse.images is 0", "at least 1"],
    ),
    "all images for linear inverses": (
        [("linear_inverse.images", None)],
        ["linear_inverse.images is None", "of type integer"],
    ),
    "too small a window": (
        [("linear_inverse.window", 7)],
        ["linear_inverse.window is 7", "at least 8", "windows behind the prior"],
    ),
    "patches larger than images": (
        [("images.size", 48), ("patches.images.size", 64)],
        ["patches.images.size is 64", "at most images.size, 48"],
    ),
    "patches of nothing": (
        [("patches.more", {"size": 8})],
        ["patches.more lacks of"],
    ),
    "patches of an unknown source": (
        [("patches.more", {"of": "gray"})],
        ["patches.more.of is 'gray'", "allowed: images, grey, features"],
    ),
    "image patches of the next kernel": (
        [("patches.images.size", "next")],
        ["patches.images.size is 'next'", "only feature maps", "give a number"],
    ),
    "grey patches of the next kernel": (
        [("patches.more", {"of": "grey", "size": "next"})],
        ["patches.more.size is 'next'", "only feature maps"],
    ),
    "patches of a size in words": (
        [("patches.features.size", "whole")],
        ["patches.features.size is 'whole'", "allowed: next", "Side in pixels or positions"],
    ),
    "too large patches": (
        [("patches.features.size", 65)],
        ["patches.features.size is 65", "at most 64"],
    ),
    "no contrast at all": (
        [("patches.images.contrast", 0)],
        ["patches.images.contrast is 0", "more than 0", "root mean square"],
    ),
    "set of patches with a blank": (
        [("patches.my set", {"of": "images"})],
        ["patches: the name 'my set'", "letters, digits"],
    ),
    "nothing held out": (
        [("images.held_out", 0)],
        ["images.held_out is 0", "more than 0", "no inverse network learns from"],
    ),
    "more held out than left": (
        [("images.held_out", 0.6)],
        ["images.held_out is 0.6", "at most 0.5"],
    ),
    "unknown set of patches": (
        [("priors.ica.patches", "imags")],
        ["priors.ica.patches is 'imags'", "known patch sets: images"],
    ),
    "set of patches that was left out": (
        [("patches.features", None)],
        ["priors.features.patches is 'features'", "known patch sets: images"],
    ),
    "no set of patches left": (
        [("patches.features", None), ("patches.images", None), ("patches.small", None)],
        ["priors.ica.patches is 'images'", "known patch sets: none"],
    ),
    "unknown method": (
        [("priors.ica.method", "ica")],
        [
            "priors.ica.method is 'ica'",
            "allowed: patch, field, denoiser, autoregressive, wiener, unet, ridge",
        ],
    ),
    "key of the method field": (
        [("priors.ica.start", 10)],
        ["priors.ica.start is not a key of method patch", "allowed: patches, expert", "multiplier"],
    ),
    "key of the method patch": (
        [("priors.foe.method", "field")],
        ["priors.foe.unit_norm is not a key of method field", "allowed: patches", "middle"],
    ),
    "key of the method denoiser": (
        [("priors.foe.of", "grey")],
        ["priors.foe.of is not a key of method patch"],
    ),
    "filters of a denoiser": (
        [("priors.dae.filters", 64)],
        ["priors.dae.filters is not a key of method denoiser", "allowed: of, width", "crop"],
    ),
    "steps of a prior in closed form": (
        [("priors.wiener.steps", 100)],
        ["priors.wiener.steps is not a key of method wiener", "allowed: of, sigma, isotropic"],
    ),
    "a form of a U-Net that is none": (
        [("priors.new", {"method": "unet", "form": "energy"})],
        ["priors.new.form is 'energy'", "allowed: direct, gradient_step"],
    ),
    "a third half": (
        [("priors.new", {"method": "unet", "part": "third"})],
        ["priors.new.part is 'third'", "first_half, second_half"],
    ),
    "no scale of a U-Net": (
        [("priors.new", {"method": "unet", "widths": []})],
        ["priors.new.widths is []"],
    ),
    "noise_levels of a U-Net in the wrong order": (
        [("priors.new", {"method": "unet", "noise_levels": [510.0, 2.5]})],
        ["priors.new.noise_levels is [510.0, 2.5]; the least comes first"],
    ),
    "a border of a prior that has none": (
        [("recipes.tv.priors.wiener", {"weight": 1.0, "border": "valid"})],
        ["recipes.tv.priors.wiener.border is not an option", "allowed: sigma, units, weight"],
    ),
    "an exponent without a sign": (
        [("inverters.joint.rate", "1.5e3")],
        ["inverters.joint.rate is '1.5e3'", "YAML reads 1.5e3 as text: write 1.5e+3"],
    ),
    "a division": (
        [("classifiers.alexnet.std", ["1/255", 0.5, 0.5])],
        ["classifiers.alexnet.std.0 is '1/255'", "(write 0.00392157)"],
    ),
    "a number where a list belongs": (
        [("linear_inverse", {"noise": 0.1})],
        ["linear_inverse.noise is 0.1", "of type array", "(write a list: [0.1])"],
    ),
    "a number where a list of three belongs": (
        [("classifiers.alexnet.mean", 0.5)],
        ["classifiers.alexnet.mean is 0.5", "(write a list: [0.5, 0.5, 0.5])"],
    ),
    "names where a list belongs": (
        [("classifiers.alexnet.layers", "conv1, conv2")],
        ["layers is 'conv1, conv2'", "of type array", "(write a list: [conv1, conv2])"],
    ),
    "None for no store": (
        [("store", "None")],
        ["store is 'None', text, which would be a folder; for none, write null"],
    ),
    "None for null": (
        [("images.test_count", "None")],
        ["images.test_count is 'None'", "of type integer or null", "(write null)"],
    ),
    "a number beyond all": (
        [("inverters.joint.rate", "1.0e400")],
        ["inverters.joint.rate is '1.0e400'; it must be of type number (Learning rate of Adam)"],
    ),
    "a prior called as the data term in traces": (
        [("priors.data", FIELD | {"patches": "small"})],
        ["priors.data: tables and figures call something else data; rename it"],
    ),
    "a recipe called as the originals in figures": (
        [("recipes.original", {"inverter": "joint"}), ("recipes.natural", {"inverter": "joint"})],
        ["recipes.natural: tables and figures call something else natural; rename it"],
    ),
    "no expert and no filters": (
        [("priors.new", {"steps": 10})],
        ["priors.new lacks expert, filters"],
    ),
    "no filters": (
        [("priors.new", {"method": "field", "expert": "logistic"})],
        ["priors.new lacks filters"],
    ),
    "expert set to null": (
        [("priors.ica.expert", None)],
        ["priors.ica.expert is None", "allowed: logistic, student_t, smooth_l1"],
    ),
    "more dimensions than grey values": (
        [("patches.images.of", "grey"), ("priors.ica.dimensions", 65)],
        ["priors.ica.dimensions is 65", "8 x 8 x 1", "64 values"],
    ),
    "models of channels of patches without their common mean": (
        [("priors.ica.variant", "channelwise")],
        ["priors.ica.variant is channelwise", "patches.images.dc is patch", "channel or none"],
    ),
    "groups of patches without their common mean": (
        [("patches.features.dc", "patch"), ("priors.features.variant", "groups")],
        ["priors.features.variant is groups", "patches.features.dc is patch", "channel or none"],
    ),
    "field of patches of equal contrast": (
        [("patches.images.contrast", 0.05), ("priors.foe", FIELD)],
        ["priors.foe: method field", "patches.images", "set its contrast to null"],
    ),
    "field larger than images": (
        [("priors.foe", FIELD | {"middle": 83})],
        ["priors.foe.middle is 83", "with its frame, 97", "fit 96"],
    ),
    "noise_levels of a ridge energy in the wrong order": (
        [("priors.new", {"method": "ridge", "noise_levels": [30.0, 3.0]})],
        ["priors.new.noise_levels is [30.0, 3.0]", "the least comes first"],
    ),
    "filters of a ridge energy that are no whole groups": (
        [("priors.new", {"method": "ridge", "filters": 50, "group": 4})],
        ["priors.new.filters is 50, no multiple of its group, 4", "nearest: 48, 52"],
    ),
    "fewer filters of a ridge energy than a group has": (
        [("priors.new", {"method": "ridge", "filters": 3, "group": 4})],
        ["priors.new.filters is 3, no multiple of its group, 4", "nearest: 4"],
    ),
    "filters of a ridge energy of a single pixel": (
        [("priors.new", {"method": "ridge", "size": 1})],
        ["priors.new.size is 1", "at least 2"],
    ),
    "noise_levels in the wrong order": (
        [("priors.dae.noise_levels", [30.0, 3.0])],
        ["priors.dae.noise_levels is [30.0, 3.0]", "the least comes first"],
    ),
    "one level": (
        [("priors.dae.noise_levels", [3.0])],
        ["priors.dae.noise_levels is [3.0]", "2 entries or more", "least and largest"],
    ),
    "three noise_levels": (
        [("priors.dae.noise_levels", [3.0, 4.0, 5.0])],
        ["priors.dae.noise_levels", "too long"],
    ),
    "level of no noise": (
        [("priors.dae.noise_levels", [0, 3.0])],
        ["priors.dae.noise_levels.0 is 0", "more than 0"],
    ),
    "grey prior in a recipe": (
        [("priors.dae.of", "grey"), ("recipes.tv.priors.dae", {"weight": 1.0})],
        ["recipes.tv.priors.dae is a prior of grey images", "reconstruct colour"],
    ),
    "prior of grey patches in a recipe": (
        [("patches.small.of", "grey")],
        ["recipes.foe.priors.foe is a prior of grey images", "reconstruct colour"],
    ),
    "prior of the maps of an unknown layer": (
        [("recipes.tv.priors.features", {"weight": 1.0, "layers": ["conv1", "con2"]})],
        ["recipes.tv.priors.features.layers: 'con2' is no layer of this study", "nearest: conv2"],
    ),
    "weights by layer of an unknown layer": (
        [("recipes.tv.priors.features", {"weight": {"conv1": 1.0, "con2": 1.0}})],
        ["recipes.tv.priors.features.weight: 'con2' is no layer of this study", "nearest: conv2"],
    ),
    "weights by layer beside layers": (
        [("recipes.tv.priors.features", {"weight": {"conv1": 1.0}, "layers": ["conv1"]})],
        ["recipes.tv.priors.features.weight names its layers", "remove layers"],
    ),
    "weights by layer of a prior of images": (
        [("recipes.tv.priors.tv.weight", {"conv1": 1.0})],
        ["recipes.tv.priors.tv.weight is one by layer, which only priors of feature maps have"],
    ),
    "weights by layer of no layer": (
        [("recipes.tv.priors.features", {"weight": {}})],
        ["recipes.tv.priors.features.weight is {}", "1 entries or more"],
    ),
    "a negative weight of a layer": (
        [("recipes.tv.priors.features", {"weight": {"conv1": -1.0}})],
        ["recipes.tv.priors.features.weight.conv1 is -1.0", "at least 0"],
    ),
    "restarts of an unknown recipe": (
        [("restarts", {"recipe": "tvv"})],
        ["restarts.recipe is 'tvv'", "known recipes: tv"],
    ),
    "restarts of two recipes, one unknown": (
        [("restarts", {"recipe": ["tv", "puree"]})],
        ["restarts.recipe is 'puree'", "known recipes: pure"],
    ),
    "starts of an inverse network": (
        [("restarts", {"recipe": "inverter_joint"})],
        ["restarts.recipe is 'inverter_joint'", "the image of its inverter", "no spread", "noise"],
    ),
    "restarts of a recipe from an inverter's image": (
        [("restarts", {"recipe": ["pure", "inverter_joint+foe"]})],
        ["restarts.recipe is 'inverter_joint+foe'", "the image of its inverter", "no spread"],
    ),
    "restarts of a recipe from the mean colour": (
        [("recipes.tv.init", "mean"), ("restarts", {"recipe": "tv"})],
        ["restarts.recipe is 'tv'", "the mean colour", "no spread", "starts from noise"],
    ),
    "one start": (
        [("restarts", {"recipe": "tv", "count": 1})],
        ["restarts.count is 1", "at least 2"],
    ),
    "restarts of no recipe": ([("restarts", {"count": 2})], ["restarts lacks recipe"]),
    "misspelt count of restarts": (
        [("restarts", {"recipe": "tv", "cuont": 2})],
        ["restarts.cuont is not a key", "count"],
    ),
    "priors added to an unknown recipe": (
        [("prior_selection", {"recipe": "tvv", "prior": "features"})],
        ["prior_selection.recipe is 'tvv'", "known recipes: tv"],
    ),
    "priors added to an inverse network": (
        [("prior_selection", {"recipe": "inverter_joint", "prior": "features"})],
        ["prior_selection.recipe is 'inverter_joint'", "no optimisation", "nothing can be added"],
    ),
    "priors added to a recipe that has them": (
        [
            ("recipes.tv.priors.features", {"weight": 1.0}),
            ("prior_selection", {"recipe": "tv", "prior": "features"}),
        ],
        ["prior_selection.recipe is 'tv'", "has the prior features already"],
    ),
    "a prior of images added": (
        [("prior_selection", {"recipe": "tv", "prior": "foe"})],
        ["prior_selection.prior is 'foe'", "known priors of feature maps: features"],
    ),
    "an unknown prior added": (
        [("prior_selection", {"recipe": "tv", "prior": "featuers"})],
        ["prior_selection.prior is 'featuers'", "known priors of feature maps: features"],
    ),
    "a weight of 0 added": (
        [("prior_selection", {"recipe": "tv", "prior": "features", "weights": [0, 1.0]})],
        ["prior_selection.weights.0 is 0", "more than 0"],
    ),
    "priors added without a prior": (
        [("prior_selection", {"recipe": "tv"})],
        ["prior_selection lacks prior"],
    ),
    "noise level of a field": (
        [("recipes.foe.priors.foe.sigma", 3.0)],
        ["recipes.foe.priors.foe.sigma is not an option", "allowed: border, position_stride, units, weight"],
    ),
    "an autoregressive prior of feature maps": (
        [("priors.new", {"method": "autoregressive", "of": "features"})],
        ["priors.new.of is features; an autoregressive prior is one of images or grey ones"],
    ),
    "a context as large as the crops": (
        [("priors.new", {"method": "autoregressive", "context": 16, "crop": 16})],
        ["priors.new.context is 16; it must be less than crop and images.size"],
    ),
    "pixels completed by a denoiser": (
        [("recipes.tv.extrapolate", "dae")],
        ["recipes.tv.extrapolate is 'dae'", "no autoregressive prior of images; known ones: none"],
    ),
    "pixels completed by a prior of grey images": (
        [
            ("priors.edge", {"method": "autoregressive"}),
            ("priors.grey", {"method": "autoregressive", "of": "grey"}),
            ("recipes.tv.extrapolate", "grey"),
        ],
        ["recipes.tv.extrapolate is 'grey'", "known ones: edge"],
    ),
    "noise level of an autoregressive prior": (
        [
            ("priors.edge", {"method": "autoregressive"}),
            ("recipes.tv.priors.edge", {"weight": 1.0, "sigma": 2.0}),
        ],
        ["recipes.tv.priors.edge.sigma is not an option", "allowed: units, weight"],
    ),
    "position_stride of a denoiser": (
        [("recipes.tv.priors.dae", {"weight": 1.0, "position_stride": 2})],
        ["recipes.tv.priors.dae.position_stride is not an option", "allowed: sigma, units, weight"],
    ),
    "position_stride of total variation": (
        [("recipes.tv.priors.tv.position_stride", 2)],
        ["recipes.tv.priors.tv.position_stride is not an option", "allowed: V, beta, weight"],
    ),
    "border of total variation": (
        [("recipes.tv.priors.tv.border", "valid")],
        ["recipes.tv.priors.tv.border is not an option", "allowed: V, beta, weight"],
    ),
    "border of a denoiser": (
        [("recipes.tv.priors.dae", {"weight": 1.0, "border": "valid"})],
        ["recipes.tv.priors.dae.border is not an option", "allowed: sigma, units, weight"],
    ),
    "unknown border": (
        [("recipes.foe.priors.foe.border", "zero")],
        ["recipes.foe.priors.foe.border is 'zero'", "allowed: reflect, valid"],
    ),
    "denoising without noise": (
        [("denoising.sigma", 0)],
        ["denoising.sigma is 0", "more than 0", "Standard deviation of the noise"],
    ),
    "missing folder to denoise": (
        [("denoising.images", "/nowhere/photos")],
        ["denoising.images is '/nowhere/photos'", "there is no folder", "a folder, test, null"],
    ),
    "misspelt test images to denoise": (
        [("denoising.images", "tset")],
        ["denoising.images is 'tset'", "there is no folder", "a folder, test, null"],
    ),
}  # fmt: skip

RESNET = (
    ("classifiers.alexnet.architecture", "resnet18"),
    ("classifiers.alexnet.layers", ["conv1", "layer1"]),
)
# Hints that do not fit: the value is none of what they would mend.
UNHINTED = {
    "a word": ("images.size", "large"),
    "a word that Python reads as a number": ("inverters.joint.rate", "nan"),
    "a part where a whole belongs": ("images.size", "1e-3"),
    "a number where a word belongs": ("images.unusable", "1e-3"),
    "text where another type of text belongs": ("images.unusable", "5"),
    "a list of words where a number belongs": ("images.size", "[a, b]"),
}


@pytest.mark.parametrize("case", UNHINTED)
def test_hints_stand_only_where_they_fit(case):
    (line,) = lines_of(refused(study(UNHINTED[case])))
    for hint in ("1.0e-3", "quotes", "--config", "write ", "brackets", "with a point"):
        assert hint not in line


DEEP_FAULTS = {
    "a misspelt name of weights": (
        [*RESNET, ("classifiers.alexnet.weights", "IMAGENT1K_V1")],
        ["classifiers.alexnet.weights is 'IMAGENT1K_V1'", "for resnet18", "nearest: IMAGENET1K_V1"],
    ),
    "the name of weights as torchvision's code has it": (
        [*RESNET, ("classifiers.alexnet.weights", "ResNet18_Weights.IMAGENET1K_V1")],
        ["weights is 'ResNet18_Weights.IMAGENET1K_V1'", "nearest: IMAGENET1K_V1"],
    ),
    "weights that another architecture has": (
        [*RESNET, ("classifiers.alexnet.weights", "IMAGENET1K_V2")],
        ["classifiers.alexnet.weights is 'IMAGENET1K_V2'", "nearest: IMAGENET1K_V1"],
    ),
    "a misspelt exemplar": (
        [("classifiers.alexnet.weights", "exampler")],
        ["classifiers.alexnet.weights is 'exampler'", "nearest: exemplar", "a file"],
    ),
    "published weights of an architecture without any": (
        [("classifiers.alexnet.weights", "IMAGENET1K_V1")],
        ["weights is 'IMAGENET1K_V1'", "no such published weights for alexnet_lrn", "nearest: exemplar"],
    ),
    "priors added where no layer is in front": (
        [
            ("classifiers.alexnet.layers", ["conv1"]),
            ("prior_selection", {"recipe": "tv", "prior": "features"}),
        ],
        ["prior_selection: no classifier has two layers", "add layers"],
    ),
    "unknown layer": (
        [("classifiers.alexnet.layers", ["conv1", "con2"])],
        ["classifiers.alexnet.layers: alexnet_lrn has no layer 'con2'", "nearest: conv2"],
    ),
    "image as a layer": (
        [("classifiers.alexnet.layers", ["image"])],
        ["classifiers.alexnet.layers: 'image' is the input"],
    ),
    "image too small for a layer": (
        [("images.size", 64), ("classifiers.alexnet.layers", ["conv1", "fc6"])],
        ["images.size is 64", "too small to reach layer fc6 of alexnet_lrn", "ends at pool5"],
    ),
    "unknown layer where the image is too small": (
        [("images.size", 64), ("classifiers.alexnet.layers", ["fc9"])],
        ["alexnet_lrn has no layer 'fc9'", "nearest: fc"],
    ),
    "values that are no maps": (
        [
            ("classifiers.alexnet.architecture", "googlenet"),
            ("classifiers.alexnet.layers", ["getitem"]),
        ],
        ["classifiers.alexnet.layers: 'getitem' of googlenet yields 96 x 96 values", "neither maps"],
    ),
    "patch larger than a map": (
        [("patches.features.size", 5)],
        ["patches.features.size is 5", "layer conv5 has maps of 4 x 4", "96 pixels", "lower it to 4"],
    ),
}  # fmt: skip


FOLDERS = ("missing folder", "missing folder to denoise", "misspelt test images to denoise")


def lines_of(message):
    first, *lines = message.splitlines()
    assert first == "the configuration is not valid:"
    assert len(lines) == len(set(lines))
    return lines


@pytest.mark.parametrize("case", FAULTS)
def test_fault_names_key_value_and_what_is_allowed(case, no_process):
    changes, parts = FAULTS[case]
    lines = lines_of(refused(study(*changes)))
    assert any(all(part in line for part in parts) for line in lines), lines


@pytest.mark.parametrize("case", [case for case in FAULTS if case not in FOLDERS])
def test_a_plan_refuses_every_other_fault(case):
    changes, parts = FAULTS[case]
    lines = lines_of(refused(study(*changes), planning=True))
    assert any(all(part in line for part in parts) for line in lines), lines


@pytest.mark.parametrize("case", DEEP_FAULTS)
def test_fault_of_layers_names_what_fits(case):
    changes, parts = DEEP_FAULTS[case]
    (line,) = lines_of(refused(study(*changes)))
    assert all(part in line for part in parts), line


def test_unknown_architecture_names_the_nearest():
    (line,) = lines_of(refused(study(("classifiers.alexnet.architecture", "vgg166"))))
    assert "classifiers.alexnet.architecture: there is no architecture 'vgg166'" in line
    assert "nearest: vgg16" in line


def test_empty_folder_is_named(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/notes.txt").touch()
    source = str(tmp_path / "photos")
    (line,) = lines_of(refused(study(("images.test", source))))
    assert f"images.test is '{source}'" in line
    assert "holds no image" in line
    assert ".jpg" in line


def test_all_faults_are_told_at_once():
    wrong = study(("images.size", 8), ("seed", -1), ("patches.features.dc", "x"))
    assert len(lines_of(refused(wrong))) == 3
    wrong = study(("images.train", "/no"), ("images.test", "/no"), ("recipes.pure.optimiser", DROP))
    assert len(lines_of(refused(wrong))) == 3


def test_faults_of_all_priors_are_told_at_once():
    wrong = study(
        ("images.train", "/no"),
        ("patches.images.size", "next"),
        ("priors.ica.patches", "imags"),
        ("priors.dae.noise_levels", [9.0, 3.0]),
        ("denoising.images", "/no"),
    )
    assert len(lines_of(refused(wrong))) == 5
    wrong = study(("priors.ica.of", "grey"), ("priors.new", {}), ("priors.dae.unit_norm", True))
    assert len(lines_of(refused(wrong))) == 3


def test_each_absent_key_is_told_once():
    assert lines_of(refused({**SHIPPED, "images": {}})) == ["  images lacks train, test, size"]


def test_maps_of_vectors_take_any_patch():
    config = study(("classifiers.alexnet.layers", ["fc6"]), ("patches.features.size", 5))
    preflight.prepare(config)


def test_patches_as_large_as_the_next_kernel_fit_every_map():
    config = study(("classifiers.alexnet.layers", ["pool5"]), ("patches.features.size", "next"))
    preflight.prepare(config)


def test_no_feature_patches_fit_every_map():
    config = study(
        ("classifiers.alexnet.layers", ["pool5"]),
        ("patches.features", None),
        ("priors.features", None),
    )
    assert list(preflight.prepare(config)["patches"]) == ["images", "small"]


# ------------------------------------------------------------------------------ pieces


def test_architecture_is_described_once_for_all_processes(monkeypatch, tmp_path):
    started, run = [], subprocess.run

    def counted(command, **options):
        started.append(command[-2:])
        return run(command, **options)

    monkeypatch.setattr(subprocess, "run", counted)
    monkeypatch.setenv("RESTORATION_CACHE", str(tmp_path))
    for _ in range(2):
        describe.cache_clear()  # as another process
        found = describe("alexnet_lrn", 67)
        assert (found["stop"], found["layers"]["conv5"]["shape"]) == (None, [256, 3, 3])
    assert started == [["alexnet_lrn", "67"]]
    for _ in range(2):  # what went wrong is not kept: it may go right another time
        describe.cache_clear()
        assert "there is no architecture 'vgg166'" in describe("vgg166", 67)["error"]
    assert len(started) == 3
    assert len(list(tmp_path.glob("layers/*"))) == 1
    describe.cache_clear()


def test_nearest_names_the_alike_or_the_first_few():
    layers = ["conv1", "conv2", "pool1", "fc6", "fc7", "fc8"]
    assert nearest("conv", layers) == "conv2, conv1"
    assert nearest("xyz", layers) == "conv1, conv2, pool1, fc6, fc7 ... (6 in all)"
    assert nearest("xyz", ["a", "b"]) == "a, b"
    assert nearest("xyz", []) == ""


@pytest.mark.parametrize(
    ("weights", "file"),
    [
        ("exemplar", False),
        ("IMAGENET1K_V1", False),
        ("DEFAULT", False),
        ("net.pth", True),
        ("net.pt", True),
        ("net.safetensors", True),
        ("nets/net", True),
        ("~/net", True),
        ("lightning.ckpt", True),
        ("last.bin", True),
        ("there", True),
        ("folder", False),
        ("ResNet18_Weights.IMAGENET1K_V1", False),
    ],
)
def test_weights_are_files_by_their_look_or_because_they_are_there(
    weights, file, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for name in ("there", "exemplar"):
        (tmp_path / name).touch()
    (tmp_path / "folder").mkdir()
    assert configuration.is_file(weights) is file


def test_weights_that_cannot_be_read_are_refused_with_the_reason(tmp_path, no_process):
    (tmp_path / "folder.pth").mkdir()
    (tmp_path / "link.pth").symlink_to("gone.pth")
    (tmp_path / "empty.pth").touch()
    words = {
        "folder.pth": "it is a folder",
        "link.pth": "it is a link that leads nowhere",
        "empty.pth": "the file is empty",
        "gone.pth": "there is no such file",
    }
    for name, why in words.items():
        path = str(tmp_path / name)
        (line,) = lines_of(refused(study(("classifiers.alexnet.weights", path)), planning=True))
        assert f"classifiers.alexnet.weights is {path!r}: {why}; allowed: a file" in line


def test_a_hash_without_a_file_of_ones_own_is_refused():
    (line,) = lines_of(refused(study(("classifiers.alexnet.sha256", "a" * 64))))
    assert "sha256 is of a file, and weights is 'exemplar', which is none of yours" in line


def test_number_of_images_each_part_of_a_study_needs(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    given = [("images.train", str(photos)), ("priors.wiener", None), ("recipes.annealed", None)]
    given.append(("priors.dae", None))
    for count, faults in ((1, 1), (2, 0), (3, 0)):
        (photos / f"{count}.png").touch()
        config = study(*given)
        if not faults:
            preflight.prepare(config)
            continue
        (line,) = lines_of(refused(config, planning=True))
        assert f"images.train is '{photos}', which holds 1 image; statistics, classifiers" in line
        assert "(13 in all) need at least 2" in line
    (line,) = lines_of(refused(study(*given[:-1])))
    assert "which holds 3 images; priors.dae needs at least 30" in line
    preflight.prepare(study(*given[:-1], ("images.held_out", 0.5)))  # two of three


@pytest.mark.parametrize("share", [1e-9, 0.0123, 0.05, 0.1, 0.15, 0.3, 0.5])
def test_the_least_number_of_which_two_are_held_out(share):
    config = preflight.prepare(study(("images.embedded_train", 10**10)))
    config["images"]["held_out"] = share
    needs = {who: least for _, who, least in preflight.image_needs(config)}
    least = needs["priors.dae"]
    assert splits.held_out_count(least, share) == 2
    assert splits.held_out_count(least - 1, share) == 1
    assert {needs[name] for name in ("priors.ica", "patches.images", "inverters.joint")} == {2}


def test_names_that_tables_and_figures_use_themselves_are_taken():
    import torch

    from deep_restoration.priors import discrimination

    rules = schema.of_study()["properties"]
    allowed = re.compile(rules["recipes"]["propertyNames"]["pattern"])
    sets = {discrimination.NATURAL, *discrimination.unnatural(torch.zeros(1, 3, 4, 4), ["x"], 0)}
    assert {name for name in sets if allowed.match(name)} <= configuration.TAKEN["recipes"]


def test_folders_that_are_not_there_have_no_count():
    config = preflight.prepare(study(("images.train", "/nowhere")), planning=True)
    assert preflight.image_counts(config) == {"test": 8}
