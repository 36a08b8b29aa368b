"""What reruns when a setting or an image changes: the table of the README, case by case."""

import os
import shutil
from pathlib import Path

import pytest

from tests.tree import TINY
from tests.workflow.reruns import (
    ADDED,
    COMPARED,
    DENOISED,
    INVERTED,
    LEARNED,
    MAPPED,
    MEASURED,
    STARTED,
    VISUALISED,
    Reconstructed,
)

SETTINGS = {
    "the iterations of a visualisation": (
        "visualisations: {channels: {phases: [{iterations: 5, rate: 53.33}]}}",
        VISUALISED,
    ),
    "the training images behind patterns": (
        "visualisations: {attribution: {training_images: 9}}",
        VISUALISED,
    ),
    "one recipe's weight": (
        "recipes: {tv: {priors: {tv: {weight: 1.0e-4}}}}",
        Reconstructed | VISUALISED,
    ),
    "the number of filters of a prior": (
        "priors: {foe: {filters: 12}}",
        LEARNED | Reconstructed,
    ),
    "the training of a prior that no recipe uses": (
        "priors: {dae: {steps: 7}}",
        (LEARNED | {"plot_discrimination"}) - {"describe_filters"},
    ),
    "the training of a prior of feature maps": (
        "priors: {features: {steps: 41}}",
        {"train_feature_prior", "search"} | Reconstructed | ADDED | VISUALISED,
    ),
    "the noise of denoising": ("denoising: {sigma: 20}", DENOISED),
    "the training of an inverter": (
        "inverters: {joint: {steps: 7}}",
        {"train_inverter"} | COMPARED | Reconstructed,
    ),
    "the number of replicates": (
        "inverters: {joint: {replicates: 3}}",
        {"train_inverter"} | COMPARED,
    ),
    "the iterations from an inverter's image": (
        "recipes: {inverter_joint+foe: {phases: [{iterations: 5, rate: 2.0}]}}",
        Reconstructed,
    ),
    "the test images": (
        "images: {embedded_test: 3}",
        {"images"} | Reconstructed | INVERTED | DENOISED | COMPARED | STARTED | ADDED | VISUALISED,
    ),
    "the positions of the covariance": (
        "statistics: {positions: 64}",
        MAPPED | {"evaluate"} | MEASURED,
    ),
    "the radius of the autocovariance": (
        "statistics: {radius: 1}",
        MAPPED | {"evaluate"} | MEASURED,
    ),
    "the border of stationarity": ("statistics: {border: 2}", MAPPED),
    "the draws behind an interval": ("statistics: {replicates: 20}", MAPPED),
    "the sizes of linear inverses": ("linear_inverse: {sizes: [4, 6]}", INVERTED),
    "the images of linear inverses": ("linear_inverse: {images: 1}", INVERTED),
    "the pictures in a gallery": (
        "figures: {images: 1}",
        {"plot_reconstructions", "plot_details", "report", "all"},
    ),
    "no images as files": ("figures: {files: false}", {"report", "all"}),
    "the size of a detail": ("figures: {details: {side: 20}}", {"plot_details", "report", "all"}),
    "the recipes shown in detail": (
        "figures: {details: {recipes: [tv, foe]}}",
        {"plot_details", "report", "all"},
    ),
    "the patches of feature maps": (
        "patches: {features: {count: 600}}",
        {"feature_patches", "plot_patches", "train_feature_prior", "search"}
        | Reconstructed
        | ADDED
        | VISUALISED,
    ),
    "the trials of a search": ("search: {trials: 3}", {"search"} | Reconstructed),
    "the levels of an annealing": (
        "recipes: {annealed: {anneal: {levels: 4}}}",
        {"fit_surrogates"} | Reconstructed,
    ),
    "the steps of an annealing": (
        "recipes: {annealed: {anneal: {steps: 3}}}",
        Reconstructed,
    ),
    "the images that an annealing is shrunk by": (
        "recipes: {annealed: {anneal: {shrink: 1}}}",
        {"learn_shrinkage"} | Reconstructed,
    ),
    "another prior of an annealing": (
        "recipes: {annealed: {anneal: {priors: {features: {weight: 0.1}}}}}",
        Reconstructed,
    ),
    "the prior of an annealing": (
        "priors: {wiener: {sigma: 6}}",
        (LEARNED | {"fit_surrogates", "plot_discrimination"} | Reconstructed)
        - {"describe_filters"},
    ),
    "the bounds of a search": (
        "recipes: {tv+features: {search: {priors: {features: [1.0e-4, 1.0e-1]}}}}",
        {"search"} | Reconstructed,
    ),
    "the number of restarts": ("restarts: {count: 3}", STARTED),
    "the images reconstructed from several restarts": ("restarts: {images: 1}", STARTED),
    "a recipe with several restarts more": ("restarts: {recipe: [pure, tv]}", STARTED),
    "no several restarts": ("restarts: null", {"report", "all"}),
    "the recipe of several restarts and of added priors": (
        "recipes: {pure: {phases: [{iterations: 5, rate: 8.0}]}}",
        Reconstructed | STARTED | ADDED,
    ),
    "the weights of added priors": ("prior_selection: {weights: [1.0e-3]}", ADDED),
    "the images that added priors are tested on": ("prior_selection: {test: 1}", ADDED),
    "where results are shared": ("store: shared", set()),
    "the images reconstructed together": ("batch: 2", Reconstructed | STARTED),
    "nothing but the order of keys": (
        "exemplar: {steps: 4, batch: 8, crop: 48, exemplars: 8}",
        set(),
    ),
}


@pytest.mark.parametrize("change", SETTINGS)
def test_changed_setting_reruns_exactly(finished, change):
    text, expected = SETTINGS[change]
    assert set(finished.planned(finished.config("change.yaml", text))) == expected


def test_a_recipe_reruns_alone(finished):
    change = finished.config("change.yaml", SETTINGS["one recipe's weight"][0])
    assert finished.planned(change)["reconstruct"] == 2  # its two layers, of 16 jobs in all


def test_a_visualisation_reruns_alone(finished):
    change = finished.config("change.yaml", SETTINGS["the iterations of a visualisation"][0])
    jobs = finished.planned(change)
    assert (jobs["visualise"], jobs["plot_visualisations"]) == (1, 1)


def test_new_test_images_change_no_maximised_channel(finished):
    jobs = finished.planned(finished.config("change.yaml", "images: {embedded_test: 3}"))
    assert (jobs["visualise"], jobs["plot_visualisations"]) == (6, 4)


def test_a_further_layer_leaves_the_others_alone(finished):
    change = finished.config(
        "change.yaml", "classifiers: {alexnet: {layers: [conv1, norm1, conv2]}}"
    )
    jobs = finished.planned(change)
    assert not {"classifier", "linear_inverse", "plot_linear_inverse"} & set(jobs)
    assert (jobs["feature_statistics"], jobs["plot_layers"], jobs["evaluate"]) == (1, 1, 1)
    assert (jobs["features"], jobs["train_inverter"], jobs["reconstruct"]) == (1, 3, 9)
    # Another layer in front of conv2 is another prior to add.
    assert (jobs["reconstruct_restarts"], jobs["select_priors"]) == (1, 2)


def test_folder_of_images_is_followed_by_content(finished, tmp_path):
    from PIL import Image

    photographs = tmp_path / "my photographs"
    photographs.mkdir()
    for index in range(3):
        Image.new("RGB", (60 + index, 50), (80 * index, 90, 40)).save(photographs / f"{index}.png")
    change = finished.config("change.yaml", f"images: {{test: {photographs!s}}}")
    target = "results/images/test.h5"

    def planned() -> bool:
        output = finished.snakemake("--dry-run", target, configs=(change,)).stdout
        return "Nothing to be done" not in output

    kept = Path(finished.root / target).read_bytes()
    metadata = finished.root / ".snakemake" / "metadata"
    shutil.copytree(metadata, tmp_path / "metadata")
    try:
        finished.snakemake(target, configs=(change,))
        assert not planned()
        os.utime(photographs / "1.png")
        assert not planned()
        Image.new("RGB", (70, 70), "red").save(photographs / "1.png")
        assert planned()
    finally:
        (finished.root / target).write_bytes(kept)
        shutil.rmtree(metadata)
        shutil.copytree(tmp_path / "metadata", metadata)


@pytest.mark.parametrize(("steps", "compared"), [(2, 1), (3, 0)])
def test_halves_are_compared_that_differ_in_nothing_else(finished, steps, compared):
    half = "{{method: unet, widths: [4], steps: {}, part: {}}}"
    priors = f"one: {half.format(2, 'first_half')}, other: {half.format(steps, 'second_half')}"
    config = finished.config("halves.yaml", f"priors: {{{priors}}}")
    jobs = finished.plan("denoising", "--configfile", TINY, config)
    assert jobs["train_prior"] >= 2
    assert jobs.get("denoising_agreement", 0) == compared
