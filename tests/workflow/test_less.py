"""Studies that start from less than the default one plan the jobs that they need, and no others."""

import subprocess
import sys

import pytest
from PIL import Image

from tests.tree import Tree

CLASSIFIER = "{architecture: squeezenet1_0, weights: exemplar, layers: [features.4, features.7]}"
NOT_ASKED_FOR = {
    *("linear_inverse", "plot_linear_inverse", "visualise", "plot_visualisations"),
    *(
        "train_feature_prior",
        "feature_patches",
        "discrimination_of_maps",
        "denoise",
        "plot_denoising",
    ),
    *("search", "reconstruct_restarts", "select_priors"),
}
OF_INVERTERS = {"train_inverter", "evaluate_inverters", "inverter_tables", "plot_inverters"}
OF_PRIORS = {
    *("image_patches", "train_prior", "describe_filters", "prior_tables", "plot_prior"),
    *("discrimination", "plot_discrimination", "plot_patches"),
}
# A study that starts from nothing, but for its recipes.
NOTHING = f"""
base: none
images: {{train: embedded, test: embedded, size: 96}}
classifiers: {{net: {CLASSIFIER}}}
linear_inverse: null
"""
RECIPE = (
    "{priors: {tv: {weight: mahendran2015}}, optimiser: adam, phases: [{iterations: 9, rate: 5.0}]}"
)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return Tree.fresh(tmp_path_factory.mktemp("less") / "tree")


def test_the_default_study_plans_what_a_first_look_needs(tree):
    jobs = tree.plan("--cores", "1")
    assert not NOT_ASKED_FOR & set(jobs)
    assert not OF_INVERTERS & set(jobs)
    expected = {
        "classifier": 1,
        "train_prior": 1,
        "fit_surrogates": 3,
        "reconstruct": 9,
        "report": 1,
    }
    assert {rule: jobs.get(rule) for rule in expected} == expected


def test_three_recipes_on_two_layers_plan_what_these_need(tree):
    study = f"""
        base: everything
        classifiers: {{alexnet: null, net: {CLASSIFIER}}}
        only: [tv, foe, inverter_joint]
    """
    jobs = tree.plan("--configfile", tree.config("only.yaml", study))
    assert not NOT_ASKED_FOR & set(jobs)
    assert set(jobs) >= OF_INVERTERS | OF_PRIORS | {"report"}
    expected = {
        **{"reconstruct": 3 * 2, "evaluate": 2, "images": 2, "classifier": 1},
        **{"train_prior": 1, "image_patches": 1},  # foe, on the patches `small`
        **{"train_inverter": 2 * 2},  # two replicates of joint a layer
    }
    assert {rule: jobs.get(rule) for rule in expected} == expected


def test_a_study_that_starts_from_nothing_plans_what_it_names(tree):
    study = f"{NOTHING}recipes: {{mine: {RECIPE}}}"
    jobs = tree.plan("--configfile", tree.config("none.yaml", study))
    assert not (NOT_ASKED_FOR | OF_INVERTERS | OF_PRIORS) & set(jobs)
    assert (jobs["reconstruct"], jobs["images"], jobs["report"]) == (2, 2, 1)


def test_a_recipe_with_a_fitted_data_term_plans_the_statistics_of_its_layer(tree):
    jobs = {}
    for data in ("normalised", "whitened"):
        recipe = f"{{data: {data}, optimiser: adam, phases: [{{iterations: 9, rate: 5.0}}]}}"
        study = f"{NOTHING}recipes: {{mine: {recipe}}}"
        target = "results/reconstructions/net/features.7/mine.h5"
        jobs[data] = tree.plan(target, "--configfile", tree.config(f"{data}.yaml", study))
    more = {rule: jobs["whitened"].pop(rule) for rule in ("features", "feature_statistics")}
    assert more == {"features": 1, "feature_statistics": 1}
    assert jobs["whitened"] == jobs["normalised"]
    assert jobs["normalised"]["reconstruct"] == 1


def test_a_single_photograph_is_a_study_s_test_image(tree):
    from deep_restoration.files.hdf5 import open_hdf5

    (tree.root / "photographs").mkdir()
    for name, colour in (("cat.png", "red"), ("dog.png", "blue")):
        Image.new("RGB", (120, 97), colour).save(tree.root / "photographs" / name)
    study = f"{NOTHING.replace('test: embedded', 'test: photographs/cat.png')}recipes: {{mine: {RECIPE}}}"
    config = tree.config("single.yaml", study)
    target = ("results/images/test.h5", "--configfile", config)
    assert tree.plan(*target) == {"images": 1}
    subprocess.run(
        [sys.executable, "-m", "snakemake", *target],
        cwd=tree.root,
        env=tree.environment(),
        check=True,
    )
    with open_hdf5(tree.root / "results/images/test.h5", "images") as file:
        assert list(file["names"].asstr()) == ["cat.png"]
        assert file["images"].shape == (1, 96, 96, 3)
        assert (file["images"][...] == (255, 0, 0)).all()
    Image.new("RGB", (120, 97), "lime").save(tree.root / "photographs/dog.png")
    assert tree.plan(*target) == {}
    Image.new("RGB", (120, 97), "lime").save(tree.root / "photographs/cat.png")
    assert tree.plan(*target) == {"images": 1}


def test_null_drops_the_linear_inverses_of_the_study_of_everything(tree):
    study = "{base: everything, linear_inverse: null, priors: {dae: null}}"
    jobs = tree.plan("--configfile", tree.config("null.yaml", study))
    assert "linear_inverse" not in jobs
    assert "plot_linear_inverse" not in jobs
    assert jobs["visualise"] > 0
    assert jobs["train_prior"] == 3
