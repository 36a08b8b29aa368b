"""What `null`, `only` and `base` leave of a study, and that a configuration is completed once."""

import copy
import json
from pathlib import Path

import pytest
import yaml

from deep_restoration.jobs import preflight
from deep_restoration.study import completion, configuration, schema
from deep_restoration.study.completion import completed
from deep_restoration.study.configuration import ConfigurationError

CONFIG = Path(__file__).parents[3] / "config"
SHIPPED = yaml.safe_load((CONFIG / "everything.yaml").read_text(encoding="utf-8"))
DEFAULT = yaml.safe_load((CONFIG / "config.yaml").read_text(encoding="utf-8"))
DENOISER = {"method": "denoiser"}
MAPS = {"recipe": "tv", "prior": "features"}


def study(changes):
    """The shipped configuration with changes by dotted key."""
    result = copy.deepcopy(SHIPPED)
    for key, value in changes.items():
        *path, last = key.split(".")
        place = result
        for part in path:
            place = place.setdefault(part, {})
        place[last] = value
    return result


def based(given):
    """What a study starts from that a user has given, as the rules ask."""
    under = configuration.merged(DEFAULT, given)
    return configuration.based(under, given, lambda: copy.deepcopy(SHIPPED))


def value(config, key):
    """What stands at a dotted key; None where nothing does."""
    for part in key.split("."):
        config = (config or {}).get(part)
    return config


def refused(changes):
    with pytest.raises(ConfigurationError) as caught:
        preflight.prepare(study(changes))
    return str(caught.value).splitlines()[1:]


# ------------------------------------------------------------------------------ null


@pytest.mark.parametrize(
    "key",
    [
        "recipes.pure",
        "recipes.foe.priors.foe",
        "recipes.inverter_joint+foe.priors.inverter",
        "visualisations.channels",
        "recipes.tv.box",
        "recipes.mahendran2016.bound",
        "recipes.mahendran2016.data_weight",
        "visualisations.channels.phases",
    ],
)
def test_null_drops_entries_and_keys_that_may_be_left_out(key):
    assert value(SHIPPED, key) is not None
    found, dropped = completed(study({key: None}))
    section, _, name = key.rpartition(".")
    assert name not in value(found, section)
    assert list(dropped) == [key]
    assert preflight.prepare(study({key: None})) == preflight.prepare(found)


def test_null_drops_what_an_entry_of_another_kind_has():
    given = {"method": "denoiser"} | dict.fromkeys(
        ("expert", "filters", "patches", "unit_norm", "noise")
    )
    given |= {"steps": 7}
    found, _ = completed(study({f"priors.foe.{key}": value for key, value in given.items()}))
    assert found["priors"]["foe"] == schema.filled("priors", {"method": "denoiser", "steps": 7})


def test_null_in_one_place_of_a_search_drops_its_bounds():
    bounds = {"rate": [1.0, 2.0], "priors": {"tv": [0.1, 1.0], "foe": None}}
    found, _ = completed(study({"recipes.tv.search": bounds}))
    assert found["recipes"]["tv"]["search"] == {"rate": [1.0, 2.0], "priors": {"tv": [0.1, 1.0]}}


def test_a_section_of_entries_set_to_null_has_none():
    found = preflight.prepare(study({"visualisations": None}))
    assert found["visualisations"] == {}
    bare = {
        "patches": None,
        "priors": None,
        "recipes.foe": None,
        "recipes.annealed": None,
        "recipes.inverter_joint+foe": None,
    }
    found = preflight.prepare(study(bare))
    assert (found["patches"], found["priors"]) == ({}, {})


def test_parts_of_a_study_set_to_null_are_left_out():
    found = preflight.prepare(study(dict.fromkeys(completion.STUDIES)))
    assert (found["linear_inverse"], found["restarts"], found["prior_selection"]) == (
        None,
        None,
        None,
    )
    assert found["denoising"] == completed(SHIPPED)[0]["denoising"] | {"images": None} | {
        "tuning": 8, "iterations": 300, "tolerance": 0.1,
    }  # fmt: skip
    assert preflight.prepare(found) == found


def test_null_where_it_is_a_value_is_kept():
    keys = ("images.test_count", "patches.images.contrast", "priors.ica.dimensions", "store")
    found, dropped = completed(study(dict.fromkeys(keys)))
    assert [value(found, key) for key in keys] == [None] * 4
    assert "contrast" in found["patches"]["images"]
    assert not dropped


DANGLING = {  # what is set to null, with what else; the start of the line; what it says was dropped
    "prior of a recipe": ({"priors.foe": None}, "recipes.foe.priors.foe: no such prior", "priors.foe"),
    "all priors": ({"priors": None}, "recipes.foe.priors.foe: no such prior", "priors"),
    "prior of a visualisation": (
        {"priors.dae": None, "visualisations.channels.priors": {"dae": {"weight": 1.0}}},
        "visualisations.channels.priors.dae: no such prior",
        "priors.dae",
    ),
    "patches of a prior": (
        {"patches.small": None},
        "priors.foe.patches is 'small'; known patch sets: images, features",
        "patches.small",
    ),
    "inverter of a recipe": (
        {"inverters.joint": None},
        "recipes.inverter_joint.inverter is 'joint'; known inverters: separate",
        "inverters.joint",
    ),
    "recipe of a visualisation": (
        {"recipes.mahendran2016": None},
        "visualisations.channels.recipe is 'mahendran2016'; known recipes: mahendran2015",
        "recipes.mahendran2016",
    ),
    "recipe of restarts": (
        {"recipes.tv": None, "restarts": {"recipe": ["pure", "tv"]}},
        "restarts.recipe is 'tv'; known recipes:",
        "recipes.tv",
    ),
    "recipe of prior_selection": (
        {"recipes.tv": None, "prior_selection": MAPS},
        "prior_selection.recipe is 'tv'; known recipes:",
        "recipes.tv",
    ),
    "prior of prior_selection": (
        {"priors.features": None, "prior_selection": MAPS},
        "prior_selection.prior is 'features'; known priors of feature maps: none",
        "priors.features",
    ),
    "recipe of details": (
        {"recipes.tv": None, "figures.details": {"recipes": ["tv"]}},
        "figures.details.recipes: 'tv' is not one of the study's recipes",
        "recipes.tv",
    ),
    "prior of extrapolate pixels": (
        {"priors.edge": None, "recipes.tv.extrapolate": "edge"},
        "recipes.tv.extrapolate is 'edge', which is no autoregressive prior of images",
        "priors.edge",
    ),
    "prior of a search": (
        {"recipes.tv.priors.tv": None, "recipes.tv.search": {"priors": {"tv": [0.1, 1.0]}}},
        "recipes.tv.search.priors.tv: the recipe has no such prior; it has: none",
        "recipes.tv.priors.tv",
    ),
    "denoiser of a search": (
        {"recipes.tv.priors.dae": None, "recipes.tv.search": {"sigma": {"dae": [1.0, 2.0]}}},
        "recipes.tv.search.sigma.dae: the recipe has no such prior with a noise level; it has: none",
        "recipes.tv.priors.dae",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", DANGLING)
def test_what_names_a_dropped_entry_is_told_what_dropped_it(case):
    changes, start, lost = DANGLING[case]
    (line, *_) = [line for line in refused(changes) if line.startswith(f"  {start}")]
    assert line.endswith(f"; {lost} was set to null (dropped): keep it, or drop what names it, too")


def test_what_never_was_is_not_said_to_be_dropped():
    (line,) = refused({"recipes.tv.priors.fo": {"weight": 1.0}, "priors.more": None})
    assert line.startswith("  recipes.tv.priors.fo: no such prior")
    assert "dropped" not in line


# ------------------------------------------------------------------------------ only


def test_only_keeps_recipes_and_what_they_need():
    found = preflight.prepare(
        study({"only": ["tv", "foe", "inverter_joint"], "restarts": {"recipe": "pure"}})
    )
    assert list(found["recipes"]) == ["tv", "foe", "inverter_joint"]
    assert (list(found["priors"]), list(found["patches"])) == (["foe"], ["small"])
    assert list(found["inverters"]) == ["joint"]
    assert found["visualisations"] == {}
    assert (found["linear_inverse"], found["restarts"], found["prior_selection"]) == (
        None,
        None,
        None,
    )
    assert found["denoising"]["images"] is None
    assert preflight.prepare(found) == found


def test_only_keeps_what_else_it_names():
    more = {"prior_selection": MAPS, "restarts": {"recipe": "pure"}, "priors.dae": DENOISER}
    named = [
        "tv",
        "ica",
        "separate",
        "linear_inverse",
        "prior_selection",
        "restarts",
        "denoising",
        "attribution",
    ]
    found = preflight.prepare(study(more | {"only": named}))
    assert list(found["recipes"]) == ["pure", "tv"]  # restarts need pure
    assert list(found["priors"]) == ["ica", "features"]  # prior_selection needs features
    assert list(found["patches"]) == ["images", "features"]
    assert list(found["inverters"]) == ["separate"]
    assert list(found["visualisations"]) == ["attribution"]
    assert found["linear_inverse"]["window"] == 64
    assert found["denoising"]["images"] == "test"


def test_only_keeps_the_prior_of_unseen_pixels():
    more = {"priors.edge": {"method": "autoregressive"}, "recipes.tv.extrapolate": "edge"}
    assert list(preflight.prepare(study(more | {"only": ["tv"]}))["priors"]) == ["edge"]


def test_only_is_told_apart_from_null():
    (line,) = refused({"only": ["tv", "channels"]})
    assert line.startswith("  visualisations.channels.recipe is 'mahendran2016'; known recipes: tv")
    assert line.endswith(
        "recipes.mahendran2016 is not among what `only` names and needs (dropped): name it there"
    )


@pytest.mark.parametrize(
    ("only", "parts"),
    [
        (["tv", "foo"], ["only holds 'foo'", "foe"]),
        (["foo"], ["only holds 'foo'", "foe"]),
        (["ica"], ["only names no recipe; known recipes: pure, tv"]),
        ([], ["only is []", "1 entries or more"]),
        ("tv", ["only is 'tv'", "(write a list: [tv])"]),
    ],
)  # fmt: skip
def test_only_must_name_recipes_that_are_there(only, parts):
    lines = refused({"only": only})
    assert any(all(part in line for part in parts) for line in lines), lines


# ------------------------------------------------------------------------------ base


def test_a_study_starts_from_the_default_one_or_from_nothing():
    given = {key: SHIPPED[key] for key in ("images", "classifiers")}
    given |= {"recipes": {"pure": SHIPPED["recipes"]["pure"]}}
    assert based(given)["recipes"] == DEFAULT["recipes"] | given["recipes"]
    assert based(given)["figures"] == DEFAULT["figures"]
    given |= {"base": "none"}
    found = preflight.prepare(based(given))
    assert list(found["recipes"]) == ["pure"]
    for section in ("priors", "patches", "inverters", "visualisations"):
        assert found[section] == {}
    assert found["exemplar"]["steps"] == 220  # the default of the key; everything.yaml has 170


def test_a_study_that_starts_from_nothing_has_to_name_what_it_is_of():
    given = {"base": "none", "recipes": {"pure": SHIPPED["recipes"]["pure"]}}
    with pytest.raises(ConfigurationError, match="the configuration lacks images, classifiers"):
        preflight.prepare(based(given))


def test_a_study_may_start_from_everything():
    changes = {"base": "everything", "recipes": {"tv": {"box": False}, "pure": None}}
    found = based(changes)
    assert found["classifiers"] == SHIPPED["classifiers"]
    assert found["recipes"]["tv"] == SHIPPED["recipes"]["tv"] | {"box": False}
    assert list(preflight.prepare(found)["recipes"]) == [
        name for name in SHIPPED["recipes"] if name != "pure"
    ]
    assert preflight.prepare(based({"base": "everything"})) == preflight.prepare(
        SHIPPED | {"base": "everything"}
    )


# ------------------------------------------------------------------------------ kept


def test_a_configuration_is_checked_and_completed_once(monkeypatch, tmp_path):
    monkeypatch.setenv("RESTORATION_CACHE", str(tmp_path))
    changes = {"priors.foe": None, "recipes.foe": None, "recipes.inverter_joint+foe": None}
    first = completed(study(changes))

    def again(*_):
        raise AssertionError("checked again")

    monkeypatch.setattr(completion, "schema_faults", again)
    assert completed(study(changes)) == first
    for changed in ({"seed": 1}, {"priors.dae": None}):
        with pytest.raises(AssertionError, match="checked again"):
            completed(study(changes | changed))
    sources = schema.sources()
    monkeypatch.setattr(schema, "sources", lambda: [*sources, "an edit"])
    with pytest.raises(AssertionError, match="checked again"):
        completed(study(changes))


def test_faults_are_not_kept(monkeypatch, tmp_path):
    monkeypatch.setenv("RESTORATION_CACHE", str(tmp_path))
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="seed is -1"):
            completed(study({"seed": -1}))
    assert not list(tmp_path.glob("study/*"))


def test_completing_shares_nothing_with_what_was_given():
    given = study({"priors.foe": None})
    before = json.dumps(given)
    completed(given)[0]["images"]["size"] = 1
    assert json.dumps(given) == before
