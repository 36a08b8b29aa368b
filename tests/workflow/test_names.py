"""No name that a study may use makes two jobs write one path: whatever names the rules use themselves."""

import re

import pytest

from tests.tree import ROOT, Tree

FIXED = re.compile(r"[\"']results/([^\"']+)[\"']")


def fixed_folders():
    """The folders of results in the rules' paths that no wildcard names."""
    words = set()
    for path in (ROOT / "workflow" / "rules").rglob("*.smk"):
        for pattern in FIXED.findall(path.read_text(encoding="utf-8")):
            words.update(part for part in pattern.split("/")[:-1] if "{" not in part)
    return sorted(words)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return Tree.fresh(tmp_path_factory.mktemp("names") / "tree")


def plan(tree, study):
    config = tree.config("names.yaml", study)
    return tree.snakemake("--dry-run", configs=(config,), check=False)


def test_the_folders_of_the_rules_are_found():
    found = {"denoising", "figures", "discrimination", "priors", "restarts", "tables"}
    assert found <= set(fixed_folders())


def test_classifiers_may_be_called_as_the_rules_own_folders(tree):
    network = "{architecture: alexnet_lrn, weights: exemplar, layers: [conv1]}"
    wanted = ", ".join(f"{word}: {network}" for word in fixed_folders())
    left_out = ("mahendran2015", "foe", "inverter_joint", "inverter_joint+foe")
    done = plan(
        tree,
        f"classifiers: {{{wanted}}}\nrecipes: {{{', '.join(f'{name}: null' for name in left_out)}}}",
    )
    assert done.returncode == 0, done.stdout[-3000:]


NETWORK = "architecture: alexnet_lrn, weights: exemplar, layers: [conv1]"
REFUSED = {
    "priors beside a prior called as a figure": (
        f"classifiers: {{priors: {{{NETWORK}}}}}\n"
        "priors: {overview: {expert: student_t, filters: 8}}",
        ["classifiers.priors, priors.overview: results/figures/priors/overview.png", "rename one"],
    ),
    "one that ends as a table does": (
        f"classifiers: {{alexnet.shapes: {{{NETWORK}}}}}",
        ["classifiers.alexnet, classifiers.alexnet.shapes: results/linear_inverse/alexnet.shapes.csv"],
    ),
    "one that is the file of a prior": (
        f"classifiers: {{foe.safetensors: {{{NETWORK}}}}}",
        ["classifiers.foe.safetensors, priors.foe", "results/priors/foe.safetensors would be a file"],
    ),
    "sets of patches, a file and a folder": (
        "patches: {small.h5: {of: features, size: 2}}",
        ["patches.small, patches.small.h5: ", "results/patches/small.h5 would be a file and a folder"],
    ),
    "recipes that differ in case": (
        "recipes: {TV: {optimiser: adam, phases: [{iterations: 1, rate: 1.0}]}}",
        ["recipes.TV, recipes.tv: ", "upper and lower case"],
    ),
    "a figure of all": (
        f"classifiers: {{discrimination.png: {{{NETWORK}}}}}",
        ["classifiers.discrimination.png: results/figures/discrimination.png would be a file and a folder"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_names_that_collide_are_refused_by_a_plan(tree, case):
    study, words = REFUSED[case]
    done = plan(tree, study)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout
    for word in words:
        assert word in done.stdout
