"""Names that would make two jobs write one path are named, and no others."""

import pytest

from deep_restoration.jobs.outputs import Output, clashes

CLASSIFIER = "results/figures/{classifier}/overview.png"
PRIOR = "results/figures/priors/{prior}.png"
ERRORS, SHAPES = "linear/{classifier}.csv", "linear/{classifier}.shapes.csv"
IMAGES, MAPS = "patches/{patches}.h5", "patches/{patches}/{classifier}/conv1.h5"


def output(pattern, **names):
    keys = tuple(f"{wildcard}.{name}" for wildcard, name in names.items())
    return Output(pattern.format(**names), pattern, keys)


CASES = {
    "a classifier called as a folder of ours, and a prior as a figure": (
        [output(CLASSIFIER, classifier="priors"), output(PRIOR, prior="overview")],
        "classifier.priors, prior.overview: results/figures/priors/overview.png would be written twice",
    ),
    "a name that ends as one of our files does": (
        [output(SHAPES, classifier="a"), output(ERRORS, classifier="a.shapes")],
        "classifier.a, classifier.a.shapes: linear/a.shapes.csv would be written twice",
    ),
    "a file where a folder belongs": (
        [output(IMAGES, patches="a"), output(MAPS, patches="a.h5", classifier="net")],
        "patches.a, patches.a.h5: patches/a.h5 would be a file and a folder",
    ),
    "names that differ in case": (
        [output(PRIOR, prior="foe"), output(PRIOR, prior="FoE")],
        "prior.FoE, prior.foe: results/figures/priors/FoE.png would be written twice, "
        "where upper and lower case are one",
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("order", [1, -1])
def test_names_that_cannot_stand_beside_each_other_are_named_once(case, order):
    outputs, line = CASES[case]
    (found,) = clashes([*outputs, *outputs][::order])
    start, end = line.split(": ", 1)
    assert found.startswith(f"{start}: ")
    assert found.endswith("; rename one")
    if order == 1 or "case" not in end:
        assert end in found


@pytest.mark.parametrize(
    "outputs",
    [
        [output(CLASSIFIER, classifier="priors"), output(PRIOR, prior="foe")],
        [output(ERRORS, classifier="a"), output(SHAPES, classifier="a")],
        [output(IMAGES, patches="a"), output(MAPS, patches="a", classifier="net")],
        [
            output(PRIOR, prior="foe"),
            output(PRIOR, prior="foe"),
        ],  # of a rule and of its shards' gathering
    ],
)
def test_others_may(outputs):
    assert clashes(outputs) == []


def test_a_pair_of_names_is_told_once_however_many_paths_they_share():
    patterns = [f"results/{{recipe}}.{suffix}" for suffix in ("h5", "csv", "json")]
    outputs = [output(p, recipe=name) for p in patterns for name in ("tv", "TV", "pure")]
    assert len(clashes(outputs)) == 1
