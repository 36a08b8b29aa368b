"""Recipes by name and of the user's own, and what of them one image cannot have."""

import pytest

from deep_restoration.files.atomic import StorageError
from deep_restoration.interface import recipes
from deep_restoration.study.configuration import ConfigurationError

ADAM = {"optimiser": "adam", "phases": [{"iterations": 3, "rate": 5.0}]}


@pytest.fixture
def foe(tmp_path):
    """A folder with a field of experts of colour images, without values that matter."""
    import torch

    from deep_restoration.priors.field import FieldOfExperts

    ones = torch.ones(2, 3, 2, 2), torch.zeros(2), torch.ones(2)
    field = FieldOfExperts(*ones, "student_t", dc="patch")
    field.save(tmp_path / "foe.safetensors", {})
    return tmp_path


def test_the_recipes_are_those_of_everything():
    from pathlib import Path

    import yaml

    root = Path(__file__).resolve().parents[3]
    study = yaml.safe_load((root / "config" / "everything.yaml").read_text())
    found = recipes.recipes()
    assert found == study["recipes"]
    found["tv"]["optimiser"] = "adam"  # a copy
    assert recipes.recipes()["tv"]["optimiser"] == "lbfgs"


def test_an_entry_is_completed_with_the_defaults():
    entry, files = recipes.chosen("tv")
    assert entry["phases"] == [
        {
            **{"iterations": 100, "rate": 10.0, "jitter": False},
            **{"decay": False, "warmup": 0, "priors": True},
        }
    ]
    assert files == {}


def test_an_unknown_recipe_is_refused_with_the_nearest_names():
    with pytest.raises(ValueError, match="there is no recipe 'tvv'; nearest: tv"):
        recipes.chosen("tvv")
    with pytest.raises(ValueError, match="recipe is of type list"):
        recipes.chosen([])


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"optimizer": "adam"}, "recipes.yours.optimizer is not a key; did you mean optimiser"),
        ({"optimiser": "adam"}, "recipes.yours needs either inverter, anneal, or phases"),
        (ADAM | {"optimiser": "sgd"}, "recipes.yours.optimiser is 'sgd'; allowed: momentum"),
        (ADAM | {"phases": [{"iterations": 0, "rate": 1.0}]}, "must be at least 1"),
        (ADAM | {"priors": {"tv": {}}}, "recipes.yours.priors.tv lacks weight"),
        (ADAM | {"priors": {"tv": {"weight": 1.0, "B": 2.0}}}, "B is not an option of this prior"),
        (ADAM | {"priors": "tv"}, "recipes.yours.priors is 'tv'; it must be of type object"),
        (ADAM | {"priors": {"inverter": {"weight": 1.0}}}, "needs the key inverter"),
    ],
)
def test_what_is_wrong_in_an_entry_is_said_as_of_a_study(entry, words):
    with pytest.raises(ConfigurationError, match=words):
        recipes.chosen(entry)


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("inverter_joint", "'inverter_joint' needs an inverse network, trained for each layer"),
        ("annealed", "'annealed' needs an annealing, fitted to each layer"),
        (ADAM | {"data": "whitened"}, "'yours' needs statistics of the layer's maps"),
        (
            ADAM | {"priors": {"features": {"weight": 0.1}}},
            "'yours' needs a prior of feature maps, features",
        ),
        (
            ADAM | {"priors": {"other": {"weight": 0.1, "layers": "all"}}},
            "'yours' needs a prior of feature maps, other",
        ),
        (
            ADAM | {"priors": {"other": {"weight": {"conv1": 0.1}}}},
            "'yours' needs a prior of feature maps, other",
        ),
        (ADAM | {"search": {"rate": [1.0, 2.0]}}, "'yours' needs a search of its values"),
    ],
)
def test_what_takes_more_than_one_image_is_refused_with_what_to_run(recipe, words):
    with pytest.raises(ValueError, match=f"the recipe {words}.*snakemake.*or take.*: pure, tv"):
        recipes.chosen(recipe)


def test_learned_priors_are_files_by_name_or_in_a_folder(foe):
    entry, files = recipes.chosen("foe", foe)
    assert files == {"foe": foe / "foe.safetensors"}
    assert entry["priors"] == {"foe": {"weight": [0.01, 0.1, 0.1]}}
    own = ADAM | {"priors": {"mine": {"weight": 0.1, "border": "valid"}}}
    assert recipes.chosen(own, {"mine": foe / "foe.safetensors"})[1] == {
        "mine": foe / "foe.safetensors"
    }


def test_a_learned_prior_without_its_file_is_refused_with_the_rule_that_makes_it(foe):
    words = "needs the learned prior 'foe': {}.*snakemake results/priors/foe.safetensors"
    with pytest.raises(ValueError, match=words.format("priors names no file of it")):
        recipes.chosen("foe")
    with pytest.raises(ValueError, match=words.format("priors names no file of it")):
        recipes.chosen("foe", {"other": foe / "foe.safetensors"})
    with pytest.raises(ValueError, match=words.format("there is no file nowhere/foe.safetensors")):
        recipes.chosen("foe", "nowhere")


def test_options_are_those_of_the_prior_in_the_file(foe):
    own = ADAM | {"priors": {"mine": {"weight": 0.1, "sigma": 3.0}}}
    with pytest.raises(
        ConfigurationError, match=r"sigma is not an option .* border, position_stride"
    ):
        recipes.chosen(own, {"mine": foe / "foe.safetensors"})
    (foe / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(StorageError, match=r"broken.safetensors"):
        recipes.chosen(own, {"mine": foe / "broken.safetensors"})


def test_every_kind_of_learned_prior_may_be_named():
    from deep_restoration.priors.registry import LEARNED
    from deep_restoration.study import registry

    assert set(recipes.ENTRIES) == set(LEARNED)
    for kind, entry in recipes.ENTRIES.items():
        assert registry.LEARNED[entry["method"]].options == set(LEARNED[kind].OPTIONS)


def test_a_summary_says_what_a_recipe_does():
    found = {name: recipes.summary(entry) for name, entry in recipes.recipes().items()}
    assert found["pure"] == "100 iterations of lbfgs, no prior"
    assert found["mahendran2016"] == "350 iterations of adagrad2016, colour_norm, tv"
    assert found["annealed"] == "annealed under wiener; then 35 iterations of lbfgs, tv"
    assert found["inverter_joint"] == "the inverse network joint"
