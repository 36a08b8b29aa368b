"""The whole chain on the tiny study: what it makes, that it is done, that it is reproducible."""

import base64
import re
import shutil
import subprocess
import sys

import pytest

from deep_restoration.evaluation import baselines
from deep_restoration.files import kept
from deep_restoration.files.kept import FOLDER
from tests.tree import ROOT, Tree, rows_of

COLUMNS = (
    "classifier,layer,recipe,image,mse,psnr,ssim,ssim_luminance,ssim_contrast,ssim_structure,"
    "representation_error,seconds"
)
LAYERS = ("conv1", "conv2")
RECIPES = [
    "pure",
    "tv",
    "mahendran2015",
    "mahendran2016",
    "foe",
    "annealed",
    "inverter_joint",
    "inverter_joint+foe",
    "tv+features",
]


def test_table_has_a_row_for_every_layer_recipe_and_image(finished):
    path = finished.root / "results/tables/reconstruction.csv"
    assert path.read_text().splitlines()[0] == COLUMNS
    found = {(row["layer"], row["recipe"], row["image"]) for row in rows_of(path)}
    names = ("chelsea-000", "coffee-000")
    measured = (*baselines.NAMES, *RECIPES)
    assert found == {(la, r, i) for la in LAYERS for r in measured for i in names}


def test_every_reconstructed_image_is_a_picture(finished):
    import numpy as np
    from PIL import Image

    from deep_restoration.files.hdf5 import open_hdf5

    folder = finished.root / "results/pictures/alexnet"
    names = ("chelsea-000", "coffee-000")
    expected = {f"{la}/{r}/{i}.png" for la in LAYERS for r in RECIPES for i in names}
    assert {p.relative_to(folder).as_posix() for p in folder.rglob("*.png")} == expected
    path = finished.root / "results/reconstructions/alexnet/conv2/tv.h5"
    with (
        open_hdf5(path, "reconstructions") as file,
        Image.open(folder / "conv2/tv/coffee-000.png") as picture,
    ):
        assert np.abs(np.asarray(picture) / 255 - file["images"][1]).max() < 0.51 / 255


def test_baselines_are_made_of_the_training_images_and_measured_in_every_table(finished):
    import numpy as np

    from deep_restoration.files.hdf5 import open_hdf5

    folder = finished.root / "results"
    pixels = {}
    for split in ("train", "test"):
        with open_hdf5(folder / f"images/{split}.h5", "images") as file:
            pixels[split] = file["images"][...] / 255
    mean = pixels["train"].mean(0)
    guesses = {baselines.COLOUR: mean.mean((0, 1)), baselines.IMAGE: mean}
    tables = {"reconstruction": "recipe", "inversions": "inverter", "paper_measures": "recipe"}
    for table, column in tables.items():
        for name, guess in guesses.items():
            rows = [r for r in rows_of(folder / f"tables/{table}.csv") if r[column] == name]
            errors = np.square(pixels["test"] - guess).mean((1, 2, 3))
            found = [float(r["mse"] if "mse" in r else r["mse_255"]) for r in rows]
            scale = 1 if "mse" in rows[0] else 255**2
            assert found == pytest.approx([*(scale * errors)] * len(LAYERS), rel=1e-5)
            if "representation_error" in rows[0]:
                assert all(float(r["representation_error"]) > 0.05 for r in rows)


def test_a_search_tells_what_it_tried_and_what_it_found(finished):
    import json

    for layer in LAYERS:
        path = finished.root / f"results/search/alexnet/{layer}/tv+features"
        found = json.loads(path.with_suffix(".json").read_text())
        rows = rows_of(path.with_suffix(".csv"))
        assert [(row["trial"], row["parameter"]) for row in rows] == [
            ("0", "priors.features"),
            ("1", "priors.features"),
        ]
        scores = [float(row["score"]) for row in rows]
        assert found["score"] == min(scores)
        assert found["values"] == (
            {} if scores[0] <= scores[1] else {"priors.features": float(rows[1]["value"])}
        )
        assert len(found["images"]) == 1


def test_priors_of_maps_count_behind_the_layers_they_are_of(finished):
    folder = finished.root / "results/reconstructions/alexnet"
    terms = {
        layer: {row["term"] for row in rows_of(folder / layer / "tv+features.trace.csv")}
        for layer in LAYERS
    }
    assert terms["conv2"] - terms["conv1"] == {"features@conv1"}
    assert "features" not in terms["conv1"]


def test_start_0_is_the_image_that_is_reconstructed_anyway(finished):
    import numpy as np

    from deep_restoration.evaluation import restarts
    from deep_restoration.files.hdf5 import open_hdf5, read_names

    folder = finished.root / "results"
    for layer in LAYERS:
        with open_hdf5(
            folder / f"reconstructions/alexnet/{layer}/pure.h5", "reconstructions"
        ) as file:
            ordinary, names = file["images"][...], read_names(file)
        with open_hdf5(folder / f"restarts/alexnet/{layer}/pure.h5", "restarts") as file:
            assert read_names(file) == names
            found = file["images"][...]
        assert found.shape == (2, 2, 48, 48, 3)
        assert np.array_equal(found[0], ordinary)
        assert np.abs(found[1] - found[0]).mean() > 0.01
        rows = rows_of(folder / f"restarts/alexnet/{layer}.csv")
        assert tuple(rows[0]) == restarts.COLUMNS
        guesses = [row["recipe"] for row in rows if row["recipe"] != "pure"]
        assert guesses == [name for name in baselines.NAMES for _ in names]
        rows = [row for row in rows if row["recipe"] == "pure"]
        assert [row["image"] for row in rows] == names
        spread = np.abs(found[1] - found[0]).mean(axis=(1, 2, 3)) / np.sqrt(2)
        assert [float(row["spread"]) for row in rows] == pytest.approx(spread.tolist(), rel=1e-5)
    *guesses, summary = [
        r for r in rows_of(folder / "tables/restarts.csv") if r["layer"] == "conv2"
    ]
    assert [row["recipe"] for row in guesses] == list(baselines.NAMES)
    assert (summary["recipe"], summary["restarts"], summary["images"]) == ("pure", "2", "2")
    assert float(summary["spread"]) == pytest.approx(spread.mean(), rel=1e-5)
    single = {
        (r["layer"], r["recipe"], r["image"]): r
        for r in rows_of(folder / "tables/reconstruction.csv")
    }
    for row in rows:  # beside start 0, measured by the evaluation
        error = float(single["conv2", "pure", row["image"]]["mse"])
        assert 0.2 < float(row["mse"]) / error < 5
        assert float(row["mse_of_mean"]) < float(row["mse"])


def test_priors_of_maps_are_added_in_three_orders(finished):
    from deep_restoration.inversion import prior_selection

    folder = finished.root / "results"
    assert not (folder / "prior_selection/alexnet/conv1.csv").exists()  # no layer in front
    everything = rows_of(folder / "tables/prior_selection.csv")
    assert tuple(everything[0]) == prior_selection.COLUMNS
    rows = baselines.of_recipes(everything, "order")
    assert [row["order"] for row in everything if row not in rows] == list(baselines.NAMES)
    assert [(row["layer"], row["order"], row["step"], row["added"]) for row in rows] == [
        ("conv2", order, step, added)
        for order in prior_selection.ORDERS
        for step, added in (("0", "none"), ("1", "conv1"))
    ]
    trials = rows_of(folder / "prior_selection/alexnet/conv2.trials.csv")
    assert tuple(trials[0]) == prior_selection.TRIALS
    weights = {row["set"] for row in trials if row["images"] == "held_out"}
    assert weights == {"none", "conv1=0.001", "conv1=0.1"}
    errors = {row["set"]: float(row["mse"]) for row in trials if row["images"] == "held_out"}
    assert rows[1]["set"] == min(sorted(weights - {"none"}), key=errors.get)
    assert {row["best"] for row in rows if row["step"] == "0"} == (
        {"1"} if errors["none"] <= errors[rows[1]["set"]] else {"0"}
    )
    assert len([row for row in trials if row["images"] == "test"]) == 4
    names = [row["image"] for row in trials if row["images"] == "test"]
    assert names == ["chelsea-000", "coffee-000"] * 2


def test_the_best_learned_recipe_stands_beside_the_best_hand_crafted_one(finished):
    rows = rows_of(finished.root / "results/tables/comparison.csv")
    assert [(row["layer"], row["measure"]) for row in rows] == [
        (layer, measure) for layer in LAYERS for measure in ("mse", "psnr", "ssim")
    ]
    learned = {"foe", "annealed", "inverter_joint+foe", "inverter_joint", "tv+features"}
    assert {row["learned"] for row in rows} <= learned
    assert {row["hand_crafted"] for row in rows} <= set(RECIPES) - learned
    means = {
        (row["layer"], row["recipe"]): row
        for row in rows_of(finished.root / "results/tables/reconstruction_summary.csv")
    }
    for row in rows:
        assert row["baseline"] in baselines.NAMES
        for side in ("hand_crafted", "learned"):
            error = means[row["layer"], row[side]]["representation_error"]
            assert float(row[f"{side}_representation_error"]) == pytest.approx(float(error))
            assert (float(error) > 0.5) == (side.replace("_", "-") in row["unexplained"])


def test_summary_is_the_mean_of_the_table(finished):
    tables = finished.root / "results/tables"
    rows = rows_of(tables / "reconstruction.csv")
    for line in rows_of(tables / "reconstruction_summary.csv"):
        mine = [
            float(r["ssim"])
            for r in rows
            if r["layer"] == line["layer"] and r["recipe"] == line["recipe"]
        ]
        assert abs(float(line["ssim"]) - sum(mine) / len(mine)) < 1e-12
        # Two photographs are too few for an interval.
        assert (line["images"], line["photographs"]) == ("2", "2")
        assert line["ssim_low"] == line["ssim_high"] == ""
        assert line["note"].startswith("no intervals: 2 photographs")


def test_table_of_feature_maps_has_a_row_for_every_layer_recipe_and_measure(finished):
    from deep_restoration.statistics import comparison, streaming

    rows = rows_of(finished.root / "results/tables/feature_statistics.csv")
    assert tuple(rows[0]) == ("classifier", "layer", "recipe", "images", *comparison.COMPARISON)
    measures = list(comparison.DISTANCES)
    measures += [f"{name}_image" for name in streaming.IMAGE_MEASURES]
    measures += [f"{name}_channel" for name in streaming.CHANNEL_MEASURES]
    assert [(row["layer"], row["recipe"], row["measure"]) for row in rows] == [
        (la, r, m) for la in LAYERS for r in RECIPES for m in measures
    ]
    for row in rows:
        assert (row["classifier"], row["images"]) == ("alexnet", "2")
        if row["measure"] in comparison.DISTANCES:
            assert float(row["distance"]) >= 0
    references = {(row["layer"], row["measure"]): set() for row in rows}
    for row in rows:
        references[row["layer"], row["measure"]].add(row["reference"])
    assert all(len(values) == 1 for values in references.values())  # the same test images


@pytest.mark.parametrize("layer", LAYERS)
def test_stationarity_of_a_layer_is_a_row_for_every_form_border_and_number_of_images(
    finished, layer
):
    from deep_restoration.statistics import stationarity

    rows = rows_of(finished.root / f"results/statistics/alexnet/{layer}.stationarity.csv")
    assert tuple(rows[0]) == ("classifier", "layer", *stationarity.COLUMNS)
    assert {(row["classifier"], row["layer"]) for row in rows} == {("alexnet", layer)}
    assert [(row["form"], row["border"], row["images"]) for row in rows] == [
        (form, border, images)
        for form in stationarity.FORMS
        for border in ("0", "1")
        for images in ("2", "4", "8")
    ]
    for row in rows:
        for name in ("distance", "noise_free"):
            low, value, high = (float(row[f"{name}{end}"]) for end in ("_low", "", "_high"))
            assert 0 <= low <= value <= high <= 2
        assert float(row["distance"]) <= 1
        assert (float(row["expected"]) > 0) == (row["form"] == "precision")


@pytest.mark.parametrize("layer", LAYERS)
def test_stored_sums_continue_the_statistics(finished, layer):
    import numpy as np

    from deep_restoration.files.hdf5 import open_hdf5
    from deep_restoration.statistics import spatial, streaming

    path = finished.root / f"results/statistics/alexnet/{layer}.h5"
    with open_hdf5(path, "statistics") as file:
        state = {name: file["sums"][name][...] for name in file["sums"]}
        stored = {name: file[name][...] for name in file if name != "sums"}
        grid = tuple(file.attrs["grid"])
    found = streaming.FeatureStatistics.from_state(state)
    assert (found.count, found.grid.shape) == (8, grid)
    names = ("covariance", "channel_covariance", "autocovariance", "gram", "gram_centred")
    for name in (*names, "of_images", "of_channels"):
        assert np.array_equal(getattr(found, name), stored[name], equal_nan=True), name
    precision = found.spatial_moments().sum().precision()
    assert np.allclose(precision, stored["precision"], rtol=1e-9, atol=0)
    pseudo = spatial.pseudo_inverse(found.covariance)
    assert np.allclose(
        pseudo, stored["pseudo_inverse"], rtol=1e-9, atol=1e-9 * np.abs(pseudo).max()
    )
    (row,) = rows_of(finished.root / f"results/statistics/alexnet/{layer}.csv")
    summary = found.summary()
    assert row.keys() == {"classifier", "layer", *summary}
    assert (row["classifier"], row["layer"]) == ("alexnet", layer)
    for key, value in summary.items():  # eigenvalues differ in the last digits from run to run
        assert float(row[key]) == pytest.approx(value, rel=1e-9, nan_ok=True), key

    found.merge(streaming.FeatureStatistics.from_state(state))
    assert found.count == 16
    assert np.allclose(found.covariance, stored["covariance"], rtol=1e-12, atol=1e-15)


def test_linear_inverses_are_measured_and_compared_with_convolutions(finished):
    from deep_restoration.files.hdf5 import open_hdf5
    from deep_restoration.linear import study

    folder = finished.root / "results/linear_inverse"
    errors, shapes = rows_of(folder / "alexnet.csv"), rows_of(folder / "alexnet.shapes.csv")
    assert tuple(errors[0]) == ("classifier", *study.COLUMNS)
    assert tuple(shapes[0]) == ("classifier", *study.SHAPE_COLUMNS)
    best = min(errors, key=lambda row: float(row["mse"]))
    assert best["method"] == study.OPTIMAL
    sizes = {row["size"] for row in errors if row["method"] == study.TRANSPOSED}
    assert sizes == {"4", "8"}
    for row in shapes:
        if row["setting"].startswith("periodic"):
            assert float(row["transposed"]) < 1e-6
        else:
            assert float(row["transposed"]) > 1e-3
    with open_hdf5(folder / "alexnet.h5", "linear_inverse") as file:
        labels, reconstructed = list(file.attrs["labels"]), file["reconstructed"][...]
        assert file.attrs["stride"] == 4
        assert file["filters"].shape == (96, 3, 11, 11)
        assert file["original"].shape == (3, 48, 48)
    assert labels == [f"{r['method']} {r['size']}".removesuffix(" nan") for r in errors]
    assert reconstructed.shape == (len(errors), 3, 48, 48)


def test_priors_are_told_apart_by_what_they_do(finished):
    from deep_restoration.files.tensors import load_arrays
    from deep_restoration.priors import denoising, discrimination

    tables = finished.root / "results/tables"
    trained = {(row["prior"], row["layer"]) for row in rows_of(tables / "priors.csv")}
    images = ("ica", "foe", "dae", "edge", "wiener")
    assert trained == {(p, "image") for p in images} | {
        ("features", f"alexnet {la}") for la in LAYERS
    }
    denoised = rows_of(tables / "denoising.csv")
    assert [(row["prior"], row["estimator"]) for row in denoised] == [
        *((prior, "MAP") for prior in ("tv", "ica", "foe", "dae")),
        *(("dae", "posterior mean"), ("wiener", "MAP"), ("edge", "MAP")),
    ]
    assert all(row["colour"] == "images" and row["images"] == "2" for row in denoised)
    for row in rows_of(finished.root / "results/denoising/foe.map.images.csv"):
        assert tuple(row) == denoising.COLUMNS
        assert float(row["psnr"]) > float(row["psnr_noisy"]) + 2
    rows = rows_of(tables / "discrimination.csv")
    assert tuple(rows[0]) == ("prior", "layer", *discrimination.COLUMNS)
    sets = ["natural", "blurred", "noise added", "pixels shuffled", "white noise"]
    reconstructed = [f"{recipe} of alexnet {layer}" for layer in LAYERS for recipe in RECIPES]
    mine = [row["set"] for row in rows if row["prior"] == "foe"]
    assert mine == sets + reconstructed
    maps = [row["set"] for row in rows if (row["prior"], row["layer"]) == ("features", "conv1")]
    assert maps == sets + RECIPES
    natural = [float(row["auc"]) for row in rows if row["set"] == "natural"]
    assert natural == [0.5] * 7
    tensors = load_arrays(
        finished.root / "results/priors/alexnet/conv2/features.safetensors", "prior"
    )
    assert tensors["filters"].shape == (4 * 256, 1, 2, 2)


def test_reconstructed_images_are_measured_as_the_papers_did(finished):
    from deep_restoration.evaluation import literature, paper_measures

    rows = rows_of(finished.root / "results/tables/paper_measures.csv")
    assert tuple(rows[0]) == paper_measures.COLUMNS
    found = [(row["layer"], row["recipe"], row["image"]) for row in rows]
    names = ("chelsea-000", "coffee-000")
    measured = (*baselines.NAMES, *RECIPES)
    assert found == [(la, r, i) for la in LAYERS for r in measured for i in names]
    ours = rows_of(finished.root / "results/tables/reconstruction.csv")
    for row, line in zip(rows, ours, strict=True):
        assert float(row["error_2016"]) ** 2 == pytest.approx(
            float(line["representation_error"]), rel=1e-6
        )
        assert float(row["mse_255"]) == pytest.approx(255**2 * float(line["mse"]), rel=1e-9)
        assert 0 <= float(row["naturalness"]) <= 1
        assert row["same_label"] == ""  # the study's classifier ends at conv2
    (row,) = rows_of(finished.root / "results/tables/published.csv")
    assert tuple(row) == literature.COLUMNS
    assert row["note"] == literature.reason("alexnet", "alexnet_lrn", "exemplar")


def test_moved_photographs_are_measured_for_every_layer(finished):
    from deep_restoration.data import images
    from deep_restoration.evaluation import moved

    folder = finished.root / "results"
    rows = rows_of(folder / "moved/alexnet.csv")
    assert tuple(rows[0]) == moved.COLUMNS
    assert [(row["image"], row["layer"], row["pixels"]) for row in rows] == [
        (name, layer, str(pixels))
        for name in images.EMBEDDED["test"]
        for layer in LAYERS
        for pixels in range(9)
    ]
    for row in rows_of(folder / "tables/moved.csv"):
        assert (row["photographs"], row["note"]) == ("4", "")
        for name in moved.MEASURES:
            low, mean, high = (float(row[f"{name}{end}"]) for end in ("_low", "", "_high"))
            assert low <= mean <= high
        same = [float(row[name]) for name in moved.MEASURES]
        assert (same == pytest.approx([0, 1, 0])) == (row["pixels"] == "0")


def test_time_to_quality_follows_from_the_traces(finished):
    from deep_restoration.evaluation import time_to_quality

    rows = rows_of(finished.root / "results/tables/time_to_quality.csv")
    assert tuple(rows[0]) == time_to_quality.COLUMNS
    best = [row for row in rows if row["target"] == time_to_quality.BEST]
    assert [(row["layer"], row["recipe"]) for row in best] == [
        (la, r) for la in LAYERS for r in RECIPES
    ]
    families = {row["recipe"]: row["family"] for row in rows}
    assert (families["tv"], families["foe"]) == ("hand-crafted", "learned")
    assert (families["inverter_joint+foe"], families["tv+features"]) == ("inverter", "learned")
    for row in rows:
        assert row["images"] == "2"
        if row["seconds"]:
            assert 0 < float(row["seconds"]) <= float(row["final_seconds"])
    for layer in LAYERS:
        assert any(row["seconds"] for row in best if row["layer"] == layer)


def test_visualisations_are_of_the_layers_and_units_asked_for(finished):
    from deep_restoration.files.hdf5 import open_hdf5, read_names

    folder = finished.root / "results/visualisations/alexnet"
    found = {str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.h5")}
    assert found == {
        *("conv1/channels", "conv2/caricature", "relu1/texture", "conv2/texture", "conv2/style"),
        *("conv1/attribution", "conv2/attribution"),
    }
    labels = {"conv1/channels": ["3", "5"]}
    for name in sorted(found - {"conv1/attribution", "conv2/attribution"}):
        with open_hdf5(folder / f"{name}.h5", "visualisation") as file:
            assert file["images"].shape == (2, 48, 48, 3)
            assert 0 <= file["images"][...].min() <= file["images"][...].max() <= 1
            assert read_names(file) == labels.get(name, ["chelsea-000", "coffee-000"])
            assert (file["values"][...] > 0).all()
    for layer in LAYERS:
        with open_hdf5(folder / f"{layer}/attribution.h5", "visualisation") as file:
            assert file["image"][...].tolist() == [0, 1]
            methods = ["deconvnet", "gradient", "guided_backpropagation", "patternnet"]
            assert sorted(file["maps"]) == methods
            maps = [file["maps"][method][...] for method in methods]
        assert all(shown.shape == (2, 48, 48, 3) and abs(shown).max() > 0 for shown in maps)


def test_report_stands_alone_and_shows_every_figure(finished):
    html = (finished.root / "results/report.html").read_text()
    pictures = list((finished.root / "results/figures").rglob("*.png"))
    shown = [base64.b64decode(d) for d in re.findall(r'src="data:image/png;base64,([^"]+)"', html)]
    assert [path for path in pictures if path.read_bytes() not in shown] == []
    assert len(shown) == len(pictures)
    assert all(path.with_suffix(".svg").exists() for path in pictures)
    for outside in ('src="http', 'href="http', "url(http", '<link rel="stylesheet'):
        assert outside not in html


def test_every_figure_that_a_rule_can_draw_is_drawn(finished):
    rules = "".join(path.read_text() for path in (finished.root / "workflow/rules").glob("*.smk"))
    patterns = set(re.findall(r'"(results/figures/[^"]+\.png)"', rules))
    assert "results/figures/{classifier}/{layer}/gallery.png" in patterns
    figures = (finished.root / "results/figures").rglob("*.png")
    drawn = [str(path.relative_to(finished.root)) for path in figures]
    kinds = {pattern: re.sub(r"\\{\w+\\}", "[^/]+", re.escape(pattern)) for pattern in patterns}
    missing = [p for p, kind in kinds.items() if not any(re.fullmatch(kind, d) for d in drawn)]
    assert missing == []


def test_every_job_left_a_log_and_a_benchmark(finished):
    logs = {
        p.relative_to(finished.root / "logs").with_suffix("")
        for p in (finished.root / "logs").rglob("*.log")
    }
    folder = finished.root / "logs/benchmarks"
    benchmarks = {p.relative_to(folder).with_suffix("") for p in folder.rglob("*.tsv")}
    assert benchmarks == logs
    run = "".join(p.read_text() for p in (finished.root / ".snakemake/log").iterdir())
    jobs = int(re.search(r"(\d+) of \1 steps \(100%\) done", run)[1])
    assert len(logs) == jobs - 1  # the target has none


def test_no_temporary_file_or_checkpoint_remains(finished):
    left = [
        p
        for p in (finished.root / "results").rglob("*")
        if ".tmp" in p.name or "checkpoint" in p.name
    ]
    assert left == []


def test_second_run_has_nothing_to_do(finished):
    assert finished.planned() == {}


def test_planning_in_another_checkout_reads_neither_torch_nor_sources_anew(finished, tmp_path):
    others = shutil.ignore_patterns("*.tmp")  # of tests beside this one
    cache = shutil.copytree(kept.folder(), tmp_path / "cache", ignore=others)
    before = {path: path.stat().st_mtime_ns for path in cache.rglob("*")}
    tree = Tree.fresh(tmp_path / "another")
    more = {"PYTHONPROFILEIMPORTTIME": "1", FOLDER: str(cache)}
    output = tree.snakemake("--dry-run", **more).stdout
    imported = set(re.findall(r"^import time:.*\| +(\S+)$", output, re.M))
    assert "deep_restoration.study.configuration" in imported
    assert not imported & {"torch", "torchvision", "matplotlib", "skimage"}
    assert before == {path: path.stat().st_mtime_ns for path in cache.rglob("*")}


@pytest.mark.slow
def test_two_clean_runs_give_identical_results(finished, tmp_path):
    again = Tree.fresh(tmp_path / "again")
    again.snakemake(
        "results/tables/reconstruction.csv", "statistics", "restarts", "prior_selection"
    )
    for path in sorted((again.root / "results").rglob("*")):
        name = path.relative_to(again.root / "results")
        twin = finished.root / "results" / name
        measured = name.parts[0] in ("statistics", "linear_inverse") and path.suffix == ".csv"
        if path.suffix in (".h5", ".safetensors") or measured:
            assert path.read_bytes() == twin.read_bytes(), name
    tables = [tree.root / "results/tables/reconstruction.csv" for tree in (again, finished)]
    here, there = (
        [{k: v for k, v in r.items() if k != "seconds"} for r in rows_of(t)] for t in tables
    )
    assert here == there


def test_a_folder_may_be_called_test(tmp_path):
    from PIL import Image

    from deep_restoration.files.hdf5 import open_hdf5, read_names

    tree = Tree.fresh(tmp_path / "tree")
    (tree.root / "test").mkdir()
    for name in ("mine.png", "yours.png"):
        Image.new("RGB", (60, 50), (80, 90, 40)).save(tree.root / "test" / name)
    change = tree.config("change.yaml", "images: {test: test}")
    tree.snakemake("results/images/test.h5", configs=(change,))
    with open_hdf5(tree.root / "results/images/test.h5", "images") as file:
        assert read_names(file) == ["mine.png", "yours.png"]


def test_shipped_configurations_are_planned(tmp_path):
    tree = Tree.fresh(tmp_path / "tree")
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet"]
    done = subprocess.run(
        command, cwd=tree.root, env=tree.environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_study_at_full_size_is_planned_before_its_images_are_there(tmp_path):
    tree = Tree.fresh(tmp_path / "tree")
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--configfile",
        "config/paper.yaml",
        "--cores",
        "2",
    ]

    def run(*more):
        return subprocess.run(
            [*command, *more], cwd=tree.root, env=tree.environment(), capture_output=True, text=True
        )

    done = run("-n")
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    for path in ("statistics/vgg16/pool5.h5", "linear_inverse/vgg16.csv"):
        assert f"results/{path}" in output
    stats = dict(re.findall(r"^(\w+) +(\d+)$", output, re.M))
    assert (stats["feature_statistics"], stats["linear_inverse"]) == ("54", "2")
    assert stats["train_inverter"] == "162"  # 18 layers of AlexNet, 36 of VGG16, three regimes
    assert stats["reconstruct"] == "864"  # and sixteen recipes
    assert "select_priors" not in stats  # paper-inverters.yaml has them, at few layers
    assert stats["reconstruct_restarts"] == "162"  # three recipes
    for split in ("train", "test"):
        assert output.count(f"images.{split}: there is no imagenet/{split} yet") == 1

    done = run()
    output = done.stdout + done.stderr
    assert done.returncode == 1
    assert "Traceback" not in output
    for split in ("train", "test"):
        assert f"images.{split} is 'imagenet/{split}': there is no folder" in output
    assert not (tree.root / "results").exists()


def test_lint_is_clean():
    command = [sys.executable, "-m", "snakemake", "--lint"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_snakefmt_is_clean():
    command = [sys.executable, "-m", "snakefmt", "--check", "Snakefile", "workflow/rules"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
