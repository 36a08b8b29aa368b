from deep_restoration.study import families
from deep_restoration.study.configuration import canonical

STUDY = {
    "priors": {"foe": {}, "wiener": {}, "features": {}},
    "recipes": {
        "tv": {"priors": {"tv": {"weight": 1.0}}},
        "start": {"inverter": "joint", "priors": {"tv": {"weight": 1.0}}},
        "none": {"inverter": None, "priors": None},
        "foe": {"priors": {"foe": {"weight": 1.0}}},
        "both": {"inverter": "joint", "priors": {"foe": {"weight": 1.0}}},
        "annealed": {"anneal": {"prior": "wiener"}, "priors": {"tv": {"weight": 1.0}}},
        "within": {"anneal": {"prior": "wiener", "priors": {"features": {"weight": 1.0}}}},
        "elsewhere": {"priors": {"ica": {"weight": 1.0}}},  # a name that this study does not learn
    },
}


def test_learned_recipes_are_those_with_anything_learned_in_the_order_of_the_study():
    assert families.learned(STUDY) == ["start", "foe", "both", "annealed", "within"]


def test_every_recipe_is_of_one_family_and_they_are_in_canonical_order():
    assert list(families.of_recipes(STUDY).items()) == [
        ("annealed", "learned"),
        ("both", "inverter"),
        ("elsewhere", "hand-crafted"),
        ("foe", "learned"),
        ("none", "hand-crafted"),
        ("start", "inverter"),
        ("tv", "hand-crafted"),
        ("within", "learned"),
    ]


def test_canonical_values_have_their_keys_in_order_at_any_depth_and_lists_as_they_are():
    given = {"b": [{"z": 1, "a": 2}, 3], "a": {"d": None, "c": ["y", "x"]}}
    found = canonical(given)
    assert found == given
    assert list(found) == ["a", "b"]
    assert list(found["a"]) == ["c", "d"]
    assert list(found["b"][0]) == ["a", "z"]
    assert found["a"]["c"] == ["y", "x"]
