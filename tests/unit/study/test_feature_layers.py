import pytest

from deep_restoration.study.feature_layers import acted_on


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"weight": 1.0}, ["a", "b", "c"]),
        ({"weight": 1.0, "layers": "all"}, ["a", "b", "c"]),
        ({"weight": 1.0, "layers": "first"}, ["a"]),
        ({"weight": [1.0, 2.0, 3.0], "layers": "last"}, ["c"]),
        ({"weight": 1.0, "layers": ["c", "z", "a"]}, ["a", "c"]),
        ({"weight": {"b": 1.0, "z": 2.0}}, ["b"]),
    ],
)
def test_layers_are_chosen_from_those_in_front(entry, expected):
    assert acted_on(entry, ["a", "b", "c"]) == expected
    assert acted_on(entry, []) == []
