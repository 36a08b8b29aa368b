"""What `visualisations` may say, and what follows from it."""

import copy
from pathlib import Path

import pytest
import yaml

from deep_restoration.jobs import preflight
from deep_restoration.jobs.preflight import describe
from deep_restoration.study import schema, visualisations
from deep_restoration.study.configuration import ConfigurationError

CONFIG = Path(__file__).parents[3] / "config"
SHIPPED = yaml.safe_load((CONFIG / "everything.yaml").read_text(encoding="utf-8"))


def study(entry, **more):
    config = copy.deepcopy(SHIPPED)
    config["visualisations"] = {"it": entry}
    config["classifiers"] |= more
    return config


def prepared(entry, **more):
    return preflight.prepare(study(entry, **more))


def refused(entry, **more):
    with pytest.raises(ConfigurationError) as caught:
        prepared(entry, **more)
    return str(caught.value)


MAXIMISATION = {"kind": "activation_maximisation", "recipe": "mahendran2016"}
ATTRIBUTION = {"kind": "attribution"}
SQUEEZENET = {
    "architecture": "squeezenet1_0",
    "weights": "DEFAULT",
    "layers": ["features.4", "features.12"],
}
EFFICIENTNET = {"architecture": "efficientnet_b0", "weights": "DEFAULT", "layers": ["features.1"]}


def test_shipped_visualisations_are_valid_and_those_absent_are_off():
    config = preflight.prepare(SHIPPED)
    assert {entry["kind"] for entry in config["visualisations"].values()} == {
        "activation_maximisation",
        "caricature",
        "attribution",
    }
    without = copy.deepcopy(SHIPPED)
    del without["visualisations"]
    assert preflight.prepare(without)["visualisations"] == {}
    none = copy.deepcopy(SHIPPED)
    none["visualisations"]["channels"] = None
    found = preflight.prepare(none)["visualisations"]
    assert "channels" not in found
    assert "caricature" in found


def test_entries_have_the_defaults_of_their_kind():
    config = prepared(MAXIMISATION)
    found = config["visualisations"]["it"]
    assert found == MAXIMISATION | {
        "layers": None,
        "data_weight": 1.0,
        "of": "channel",
        "units": 9,
        "training_images": 200,
        "leak": 0.05,
    }
    assert preflight.prepare(config) == config
    found = prepared(ATTRIBUTION)["visualisations"]["it"]
    assert found["methods"] == list(visualisations.ATTRIBUTIONS)
    assert "recipe" not in found


@pytest.mark.parametrize("kind", visualisations.kinds())
def test_every_key_of_a_kind_reaches_what_makes_the_pictures(kind):
    library = CONFIG.parent / "workflow/deep_restoration"
    making = (library / "inversion/visualisation.py").read_text(encoding="utf-8")
    planned = {
        "kind",
        "layers",
        "recipe",
        "data_weight",
    }  # which the rules have made into layers and plan
    own = schema.kinds(schema.entries("visualisations"))[kind]["properties"]
    for key in set(own) - visualisations.planned(kind) - planned:
        assert f'entry["{key}"]' in making or f'entry.get("{key}")' in making, key


def test_the_plan_is_the_recipe_with_the_keys_of_the_entry():
    own = {"phases": [{"iterations": 7, "rate": 2.0}], "data_weight": 3.0, "box": True}
    config = prepared(MAXIMISATION | own)
    found = visualisations.plan(config, config["visualisations"]["it"])
    recipe = SHIPPED["recipes"]["mahendran2016"]
    for key in ("priors", "optimiser", "init", "bound"):
        assert found[key] == recipe[key]
    assert found["phases"][0]["iterations"] == 7
    assert (found["data_weight"], found["box"]) == (3.0, True)
    config = prepared({"kind": "caricature", "recipe": "mahendran2016"})
    found = visualisations.plan(config, config["visualisations"]["it"])
    assert "init" not in found  # it starts at its image
    assert found["data_weight"] == 1.0  # not that of the recipe
    more = {"parametrisation": "fourier", "converged": {"change": 0.01, "over": 5}}
    config = prepared({"kind": "caricature", **PHASES, **more})
    found = visualisations.plan(config, config["visualisations"]["it"])
    assert more.items() <= found.items()
    config = prepared(ATTRIBUTION)
    assert visualisations.plan(config, config["visualisations"]["it"]) == {}


def test_layers_are_the_classifiers_own_or_those_asked_for_in_order():
    known = describe("squeezenet1_0", 96)["layers"]
    trained = describe("alexnet_lrn", 96)["layers"]
    alexnet = SHIPPED["classifiers"]["alexnet"]

    def layers(entry, classifier=SQUEEZENET, known=known):
        return visualisations.layers_of({"layers": None, **entry}, classifier, known)

    assert layers({}) == ["features.4", "features.12"]
    assert layers({"layers": ["features.7", "features.0", "conv1"]}) == ["features.0", "features.7"]
    assert layers({"of": "class"}) == ["flatten"]
    assert layers({"of": "class"}, alexnet, trained) == []
    assert layers({"layers": ["conv3", "pool5"]}, alexnet, trained) == ["conv3"]
    content = {"content": {"layer": "conv5"}}
    assert layers(content) == []
    assert layers(content, alexnet, trained) == ["conv1", "conv2", "conv5"]


PHASES = {"optimiser": "adam", "phases": [{"iterations": 1, "rate": 1.0}]}
FAULTS = {
    "no kind": ({"recipe": "tv"}, ["visualisations.it lacks kind"]),
    "unknown kind": (
        {"kind": "dream"},
        ["visualisations.it.kind is 'dream'; allowed: activation_maximisation, caricature"],
    ),
    "unknown key": (ATTRIBUTION | {"unit": 3}, ["visualisations.it.unit is not a key", "units"]),
    "key of another kind": (
        ATTRIBUTION | {"recipe": "tv"},
        ["visualisations.it.recipe is not a key of kind attribution; allowed: layers, methods"],
    ),
    "start of a caricature": (
        {"kind": "caricature", "recipe": "tv", "init": "mean"},
        ["visualisations.it.init is not a key of kind caricature"],
    ),
    "unknown recipe": (
        {"kind": "texture", "recipe": "tw"},
        ["visualisations.it.recipe is 'tw'; known recipes: tv"],
    ),
    "no recipe": ({"kind": "texture"}, ["visualisations.it needs optimiser and phases"]),
    "recipe without an optimisation": (
        {"kind": "texture", "recipe": "inverter_joint"},
        ["visualisations.it needs optimiser and phases"],
    ),
    "prior of an inverter": (
        {"kind": "texture", "recipe": "inverter_joint+foe"},
        ["visualisations.it.priors.inverter: nothing is inverted here"],
    ),
    "unknown prior": (
        {"kind": "caricature", **PHASES, "priors": {"fo": {"weight": 1}}},
        ["visualisations.it.priors.fo: no such prior", "foe"],
    ),
    "option of another prior": (
        {"kind": "caricature", **PHASES, "priors": {"foe": {"weight": 1, "beta": 2}}},
        ["visualisations.it.priors.foe.beta is not an option of this prior"],
    ),
    "jitter with lbfgs": (
        {
            "kind": "caricature",
            "optimiser": "lbfgs",
            "phases": [{"iterations": 1, "rate": 1.0, "jitter": True}],
        },
        ["visualisations.it.optimiser is lbfgs", "no jitter"],
    ),
    "published weight of other data": (
        MAXIMISATION | {"data_weight": "mahendran2016"},
        ["visualisations.it.data_weight is 'mahendran2016'; it must be of type number"],
    ),
    "no classes": (
        MAXIMISATION | {"of": "class"},
        ["visualisations.it.of is class, but no classifier has classes", "allowed: unit, channel"],
    ),
    "layer of no classifier": (
        ATTRIBUTION | {"layers": ["conv9"]},
        ["visualisations.it.layers: no classifier has a layer 'conv9'", "conv"],
    ),
    "layer behind the deepest": (
        ATTRIBUTION | {"layers": ["pool5"]},
        ["visualisations.it.layers: no classifier has a layer 'pool5'", "ends at the deepest"],
    ),
    "content of no classifier": (
        {"kind": "texture", "recipe": "tv", "content": {"layer": "conv55"}},
        ["visualisations.it.content.layer: no classifier has a layer 'conv55'", "conv5"],
    ),
    "style of one image": (
        {"kind": "texture", "recipe": "tv", "content": {"layer": "conv5"}, "images": 1},
        ["visualisations.it.images is 1; with content, the style is that of the next image"],
    ),
    "channels that are not there": (
        MAXIMISATION | {"units": [3, 96, 300]},
        ["units holds 96, but layer conv1 of alexnet has 96 channels", "units holds 300"],
    ),
    "no units": (MAXIMISATION | {"units": 0}, ["visualisations.it.units is 0"]),
    "unknown method": (
        ATTRIBUTION | {"methods": ["saliency"]},
        ["visualisations.it.methods.0 is 'saliency'", "gradient"],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_named_with_key_value_and_mend(fault):
    entry, parts = FAULTS[fault]
    message = refused(entry)
    for part in parts:
        assert part in message


def test_classes_have_one_layer():
    entry = MAXIMISATION | {"of": "class", "layers": ["features.4"]}
    assert "visualisations.it.layers: classes are the last layer's" in refused(
        entry, net=SQUEEZENET
    )
    entry = MAXIMISATION | {"of": "class", "units": [999, 1000]}
    message = refused(entry, net=SQUEEZENET)
    assert "units holds 1000, but layer flatten of net has 1000 channels" in message
    assert "999" not in message


def test_methods_without_a_rule_are_refused():
    message = refused(ATTRIBUTION, net=EFFICIENTNET)
    assert (
        "visualisations.it.methods: deconvnet of net features.1: there is no rule for SiLU"
        in message
    )
    assert "gradient of net" not in message
    prepared(ATTRIBUTION | {"methods": ["gradient"]}, net=EFFICIENTNET)


def test_patternnet_needs_weights():
    steps = [("image", "input"), ("relu1", "ReLU"), ("pool1", "MaxPool2d")]
    reason = visualisations.unruled("patternnet", steps)
    assert "neither a convolution nor a fully connected layer" in reason
    assert visualisations.unruled("patternnet", [("conv1", "Conv2d"), *steps]) is None
    assert visualisations.unruled("deconvnet", steps) is None
