"""What a study may name is what the library has: a new entry of a registry is missed nowhere."""

import pytest
import torch

from deep_restoration.inversion.data_terms import DATA_TERMS
from deep_restoration.inversion.mahendran_vedaldi import WEIGHTS
from deep_restoration.inversion.optimisers import OPTIMISERS
from deep_restoration.inversion.parametrisations import PARAMETRISATIONS
from deep_restoration.inverters.modules import KINDS
from deep_restoration.priors.annealing import ANNEALING
from deep_restoration.priors.base import UNITS, Calibrating, Denoising
from deep_restoration.priors.borders import BORDERS
from deep_restoration.priors.denoising import ESTIMATORS
from deep_restoration.priors.experts import EXPERTS
from deep_restoration.priors.registry import HAND_CRAFTED, LEARNED, TRAINERS, Given
from deep_restoration.study import registry, schema

RECIPE = schema.entries("recipes")["properties"]
OPTIONS = RECIPE["priors"]["additionalProperties"]["properties"]
METHODS = schema.kinds(schema.entries("priors"))
KIND_OF = {"patch": "field", "field": "field"}  # method -> kind in files, where another name


@pytest.mark.parametrize(
    ("named", "known"),
    [
        (RECIPE["data"]["enum"], DATA_TERMS),
        (RECIPE["optimiser"]["enum"], OPTIMISERS),
        (RECIPE["parametrisation"]["enum"], PARAMETRISATIONS),
        (OPTIONS["units"]["enum"], UNITS),
        (OPTIONS["border"]["enum"], BORDERS),
        (METHODS["patch"]["properties"]["expert"]["enum"], EXPERTS),
        (schema.entries("inverters")["properties"]["kind"]["enum"], KINDS),
        (METHODS, registry.LEARNED),
        (METHODS, TRAINERS),
        (registry.annealing(), ANNEALING),
        (registry.HAND_CRAFTED, HAND_CRAFTED),
        (registry.PUBLISHED, WEIGHTS),
    ],
)
def test_a_study_may_name_what_the_library_has(named, known):
    assert sorted(named) == sorted(known)


def test_published_weights_have_the_names_that_are_known():
    for prior, name in registry.PUBLISHED.items():
        assert list(WEIGHTS[prior]) == [name]


@pytest.mark.parametrize("method", METHODS)
def test_options_of_a_learned_prior_are_those_of_its_class(method):
    kind = LEARNED[KIND_OF.get(method, method)]
    assert registry.LEARNED[method].options == set(kind.OPTIONS)
    assert registry.LEARNED[method].options <= set(OPTIONS)
    assert registry.LEARNED[method].per_image == issubclass(kind, Calibrating)
    assert registry.LEARNED[method].estimators == kind.estimators
    assert registry.LEARNED[method].denoises == issubclass(kind, Denoising)
    assert set(kind.estimators) <= set(ESTIMATORS)


@pytest.mark.parametrize("name", HAND_CRAFTED)
def test_options_of_a_hand_crafted_prior_are_those_of_its_class(name):
    given = Given(torch.zeros(1, 3, 1, 1), torch.zeros(1, 3, 4, 4))
    values = {"alpha": 4.0, "beta": 1.5, "V": 2.0, "B": 9.0, "centre": "image"}
    assert registry.HAND_CRAFTED[name] <= set(OPTIONS)
    for option, value in values.items():
        if option in registry.HAND_CRAFTED[name]:
            HAND_CRAFTED[name](given, **{option: value})
        else:
            with pytest.raises(TypeError):
                HAND_CRAFTED[name](given, **{option: value})
    assert registry.HAND_CRAFTED[name] <= set(values)


def test_data_terms_that_are_fitted_have_their_options():
    assert set(registry.FITTED) <= set(DATA_TERMS)
    assert set().union(*registry.FITTED.values()) <= set(RECIPE)


def test_recipes_whose_annealings_expect_the_same_share_the_first_one_s_surrogates():
    anneal = {"prior": "wiener", "noise": [380, 8], "levels": 12, "components": 64}
    anneal |= {"surrogate": "regression", "steps": 8}
    recipes = {"tv": {}, "a": {"anneal": anneal}, "b": {"anneal": anneal | {"steps": 4}}}
    recipes["c"] = {"anneal": anneal | {"levels": 6}}
    assert [registry.expecting(recipes, name) for name in "abc"] == ["a", "a", "c"]
