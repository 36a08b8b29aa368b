"""What reruns when something changes: the table of the README, case by case."""

import os
import shutil
from pathlib import Path

import pytest

from tests.tree import Tree

# What always follows a change of reconstructions, of measures, of pictures.
MEASURED = {"tables", "plot_measures", "plot_reconstructions", "plot_details", "report", "all"}
# What follows from measuring as the papers did, from the traces.
PAPERS = {"paper_measures", "published_tables", "plot_published", "report", "all"}
TIMED = {"time_to_quality", "plot_time_to_quality", "report", "all"}
# What is told of learned priors, of images and of maps; restored images are among what they are asked.
MAPS_TOLD = {"naturalness_of_maps", "plot_naturalness_of_maps", "prior_tables", "report", "all"}
TOLD = {"naturalness", "plot_naturalness"} | MAPS_TOLD
RESTORED = {"reconstruct", "evaluate", "plot_overview"} | MEASURED | PAPERS | TIMED | TOLD
DENOISED = {"denoise", "plot_denoising", "prior_tables", "report", "all"}
LEARNED = {"train_prior", "describe_filters", "plot_prior", "naturalness"} | DENOISED
# What follows a change of inverse networks, besides the recipes that use them.
COMPARED = {"evaluate_inverters", "inverter_tables", "plot_inverters", "report", "all"}
# What always follows a change of the statistics of feature maps, of linear inverses.
MAPPED = {"feature_statistics", "plot_statistics", "plot_layers", "report", "all"}
INVERTED = {"linear_inverse", "plot_linear_inverse", "report", "all"}
# What follows a change of the images from several starts, of the study of added priors.
GATHERED = {"starts_table", "plot_ambiguity", "report", "all"}
STARTED = {"restore_starts", "measure_starts", "plot_starts"} | GATHERED
ADDED = {"add_priors", "adding_table", "plot_adding", "report", "all"}

# What follows a change of pictures other than restored images.
VISUALISED = {"visualise", "plot_visualisations", "report", "all"}

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
        RESTORED | VISUALISED,
    ),
    "the number of filters of a prior": (
        "priors: {foe: {filters: 12}}",
        LEARNED | RESTORED,
    ),
    "the training of a prior that no recipe uses": (
        "priors: {dae: {steps: 7}}",
        (LEARNED | {"plot_naturalness"}) - {"describe_filters"},
    ),
    "the training of a prior of feature maps": (
        "priors: {features: {steps: 41}}",
        {"train_feature_prior", "search"} | RESTORED | ADDED | VISUALISED,
    ),
    "the noise of denoising": ("denoising: {sigma: 20}", DENOISED),
    "the training of an inverter": (
        "inverters: {joint: {steps: 7}}",
        {"train_inverter"} | COMPARED | RESTORED,
    ),
    "the number of replicates": (
        "inverters: {joint: {replicates: 3}}",
        {"train_inverter"} | COMPARED,
    ),
    "the iterations from an inverter's image": (
        "recipes: {inverter_joint+foe: {phases: [{iterations: 5, rate: 2.0}]}}",
        RESTORED,
    ),
    "the test images": (
        "images: {embedded_test: 3}",
        {"images"} | RESTORED | INVERTED | DENOISED | COMPARED | STARTED | ADDED | VISUALISED,
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
    "the size of a detail": ("figures: {details: {side: 20}}", {"plot_details", "report", "all"}),
    "the recipes shown in detail": (
        "figures: {details: {recipes: [tv, foe]}}",
        {"plot_details", "report", "all"},
    ),
    "the patches of feature maps": (
        "patches: {features: {count: 600}}",
        {"feature_patches", "plot_patches", "train_feature_prior", "search"}
        | RESTORED
        | ADDED
        | VISUALISED,
    ),
    "the trials of a search": ("search: {trials: 3}", {"search"} | RESTORED),
    "the bounds of a search": (
        "recipes: {tv+features: {search: {priors: {features: [1.0e-4, 1.0e-1]}}}}",
        {"search"} | RESTORED,
    ),
    "the number of starts": ("starts: {count: 3}", STARTED),
    "the images restored from several starts": ("starts: {images: 1}", STARTED),
    "a recipe with several starts more": ("starts: {recipe: [pure, tv]}", STARTED),
    "no several starts": ("starts: null", {"report", "plot_workflow", "all"}),
    "the recipe of several starts and of added priors": (
        "recipes: {pure: {phases: [{iterations: 5, rate: 8.0}]}}",
        RESTORED | STARTED | ADDED,
    ),
    "the weights of added priors": ("adding: {weights: [1.0e-3]}", ADDED),
    "the images that added priors are tested on": ("adding: {test: 1}", ADDED),
    "where results are shared": ("store: shared", set()),
    "the images restored together": ("batch: 2", RESTORED | STARTED),
    "nothing but the order of keys": (
        "exemplar: {steps: 4, batch: 8, crop: 48, exemplars: 8}",
        set(),
    ),
}

EDITS = {
    "a comment in a library module": (
        "workflow/deep_restoration/optimisers.py",
        "    def start_phase(self) -> None:\n        pass",
        "    # nothing to reset\n    def start_phase(self) -> None:\n        pass",
        set(),
    ),
    "behaviour in metrics.py": (
        "workflow/deep_restoration/metrics.py",
        "return -10 * np.log10",
        "return -10.5 * np.log10",
        {"evaluate"} | MEASURED | COMPARED | ADDED,
    ),
    "behaviour of a hand-crafted prior": (
        "workflow/deep_restoration/priors/total_variation.py",
        "return square.sum(1)",
        "return 2 * square.sum(1)",
        {"search"} | RESTORED | STARTED | ADDED | VISUALISED,
    ),
    "behaviour of a learned prior's expert": (
        "workflow/deep_restoration/priors/experts.py",
        "(s * u).mul_(-2)",
        "(s * u).mul_(-3)",
        LEARNED | RESTORED | {"train_feature_prior", "search"} | STARTED | ADDED | VISUALISED,
    ),
    "a script": (
        "workflow/scripts/plot_measures.py",
        "quality by layer",
        "quality of every layer",
        {"plot_measures", "report", "all"},
    ),
    "behaviour of stationarity": (
        "workflow/deep_restoration/stationarity.py",
        "if abs(ratio) > 1e-13",
        "if abs(ratio) > 1e-12",
        MAPPED,
    ),
    "behaviour of a sparsity measure": (
        "workflow/deep_restoration/statistics.py",
        "(1 - activity) / (1 - 1 / count)",
        "1 - activity",
        MAPPED | {"evaluate"} | MEASURED,
    ),
    "behaviour of a distance between sets of maps": (
        "workflow/deep_restoration/statistics.py",
        "np.trace(one) + np.trace(two) - 2 * between",
        "np.trace(one) + np.trace(two) - 3 * between",
        {"evaluate"} | MEASURED,
    ),
    "behaviour of linear inverses": (
        "workflow/deep_restoration/linear_inverse.py",
        "1e-9 * flat.diagonal().mean()",
        "1e-8 * flat.diagonal().mean()",
        INVERTED,
    ),
    "behaviour of their study": (
        "workflow/deep_restoration/linear_study.py",
        "-10 * math.log10(mse)",
        "-20 * math.log10(mse)",
        INVERTED,
    ),
    "the training of inverters": (
        "workflow/deep_restoration/inverter_training.py",
        "0.02 * steps",
        "0.03 * steps",
        {"train_inverter"} | COMPARED | RESTORED,
    ),
    "one figure": (
        "workflow/deep_restoration/map_figures.py",
        "eigenvalue / largest",
        "share of the largest eigenvalue",
        {"plot_patches", "report", "all"},
    ),
    "the figure of stationarity": (
        "workflow/deep_restoration/map_figures.py",
        "distance from Toeplitz",
        "distance from a Toeplitz matrix",
        {"plot_layers", "report", "all"},
    ),
    "the figures of linear inverses": (
        "workflow/deep_restoration/map_figures.py",
        '"what edges change"',
        '"what the edges change"',
        {"plot_linear_inverse", "report", "all"},
    ),
    "the figure of a layer's statistics": (
        "workflow/deep_restoration/map_figures.py",
        "np.quantile(np.abs(matrix), 0.995)",
        "np.quantile(np.abs(matrix), 0.99)",
        {"plot_statistics", "report", "all"},
    ),
    "how far starts lie apart": (
        "workflow/deep_restoration/starts.py",
        "errors.std(axis=0, ddof=1)",
        "errors.std(axis=0, ddof=0)",
        {"measure_starts"} | GATHERED,
    ),
    "the order in which priors are added": (
        "workflow/deep_restoration/adding.py",
        '"shallow": left[:1]',
        '"shallow": left[1:2]',
        ADDED,
    ),
    "the figure of several starts": (
        "workflow/deep_restoration/study_figures.py",
        'cmap="magma"',
        'cmap="viridis"',
        {"plot_starts", "report", "all"},
    ),
    "the figure of added priors": (
        "workflow/deep_restoration/study_figures.py",
        "priors added",
        "priors of feature maps added",
        {"plot_adding", "report", "all"},
    ),
    "what is unnatural": (
        "workflow/deep_restoration/naturalness.py",
        "10 / 255 * noise",
        "12 / 255 * noise",
        TOLD,
    ),
    "how an image is denoised": (
        "workflow/deep_restoration/denoising.py",
        "0.1 * sigma**2).to(x)",
        "0.2 * sigma**2).to(x)",
        DENOISED,
    ),
    "the figure of naturalness": (
        "workflow/deep_restoration/prior_figures.py",
        "energy is further off",
        "energy is far off",
        {"plot_naturalness", "plot_naturalness_of_maps", "report", "all"},
    ),
    "the sentence of a verdict": (
        "workflow/deep_restoration/report.py",
        "too small to tell",
        "too few positions to tell",
        {"report", "all"},
    ),
    "the training of the classifier": (
        "workflow/deep_restoration/exemplar.py",
        "weight_decay=1e-3",
        "weight_decay=1e-4",
        {"classifier", "plot_classifier", "features", "search"}
        | {"feature_patches", "plot_patches", "train_inverter", "train_feature_prior"}
        | COMPARED
        | (MAPPED | INVERTED | RESTORED | STARTED | ADDED | VISUALISED),
    ),
    "a published figure": (
        "resources/published/mahendran2015.csv",
        "20.3,5.0",
        "20.4,5.0",
        {"published_tables", "plot_published", "report", "all"},
    ),
    "what the papers measure": (
        "workflow/deep_restoration/paper_measures.py",
        "distance / norm",
        "distance / (norm + 1e-9)",
        PAPERS,
    ),
    "when a quality is reached": (
        "workflow/deep_restoration/time_to_quality.py",
        "found[1] >= threshold",
        "found[1] > threshold",
        TIMED,
    ),
    "the figure of details": (
        "workflow/deep_restoration/detail_figures.py",
        "0.995",
        "0.99",
        {"plot_details", "report", "all"},
    ),
    "a caption": (
        "workflow/report/gallery.rst",
        "Images restored",
        "Pictures restored",
        {"report", "all"},
    ),
}


@pytest.mark.parametrize("change", SETTINGS)
def test_changed_setting_reruns_exactly(finished, change):
    text, expected = SETTINGS[change]
    assert set(finished.planned(finished.config("change.yaml", text))) == expected


@pytest.mark.parametrize("change", EDITS)
def test_changed_source_reruns_exactly(finished, change):
    *edit, expected = EDITS[change]
    with finished.edited(*edit):
        assert set(finished.planned()) == expected


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
    assert (jobs["features"], jobs["train_inverter"], jobs["reconstruct"]) == (1, 3, 8)
    # Another layer in front of conv2 is another prior to add.
    assert (jobs["restore_starts"], jobs["add_priors"]) == (1, 2)


def test_touched_files_rerun_nothing(finished):
    for path in ("results/images/train.h5", "results/patches/images.h5", "results/images/test.h5"):
        os.utime(finished.root / path)
    for folder in ("workflow", "config", "Snakefile"):
        for path in [finished.root / folder, *(finished.root / folder).rglob("*")]:
            os.utime(path)
    assert finished.planned() == {}


def test_a_copied_tree_reruns_nothing(finished, tmp_path):
    def copy(source, target):  # with fresh time stamps
        return shutil.copyfile(source, target)

    shutil.copytree(finished.root, tmp_path / "copy", copy_function=copy, symlinks=True)
    assert Tree(tmp_path / "copy").planned() == {}


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
