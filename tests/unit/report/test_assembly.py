"""The report from small tables, with the template and captions of the project."""

import base64
import html as entities
import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from deep_restoration.evaluation import baselines, tables
from deep_restoration.linear import study
from deep_restoration.report import assembly
from deep_restoration.statistics import stationarity, streaming

SOURCES = Path(assembly.__file__).parents[2] / "report"
WORKFLOW = SOURCES / "workflow.svg"
CAPTIONS = {path.stem: path for path in SOURCES.glob("*.rst")}
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


COUNTED = {"images": "4", "photographs": "4", "note": ""}


def row(classifier, layer, recipe, **values):
    numbers = {measure: 1.0 for measure in tables.MEASURES} | values
    intervals = {f"{k}_{end}": v for k, v in numbers.items() for end in ("low", "high")}
    text = {k: str(v) for k, v in {**numbers, **intervals}.items()}
    return {"classifier": classifier, "layer": layer, "recipe": recipe, **COUNTED, **text}


SUMMARY = [
    row("net", "conv1", "pure", ssim=0.5, psnr=20, mse=0.02, representation_error=0.001),
    row("net", "conv1", "tv", ssim=0.9, psnr=25, mse=0.03, representation_error=0.02),
    row("net", "conv2", "pure", ssim=0.3, psnr=15, mse=0.05, representation_error=0.1),
    row("net", "conv2", "tv", ssim=0.3, psnr=14, mse=0.04, representation_error=0.1),
]


# ------------------------------------------------------------------------------ numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("0.123456", "0.123"),
        (0, "0"),
        (1, "1.00"),
        (-12.345, "-12.3"),
        (123.4, "123"),
        (98765.4, "98765"),
        (0.00123456, "0.00123"),
        (0.0000123456, "0.0000123"),
        (1.23456e-7, "1.23e-07"),
        ("nan", "-"),
        ("inf", "∞"),
    ],
)
def test_numbers_have_three_significant_digits(value, text):
    assert assembly.number(value) == text


def test_number_with_other_digits():
    assert assembly.number(3.14159, 5) == "3.1416"


# ------------------------------------------------------------------------------ tables


def test_best_recipe_of_each_layer_and_measure_is_marked():
    table = assembly.table_of("net", SUMMARY)
    best = {
        (line["layer"], line["recipe"]): {
            measure
            for measure, cell in zip(assembly.RECIPE_MEASURES, line["cells"], strict=True)
            if cell["best"]
        }
        for line in table["lines"]
    }
    assert best == {
        ("conv1", "pure"): {"mse", "representation_error", "seconds"},
        ("conv1", "tv"): {"ssim", "psnr", "seconds"},
        ("conv2", "pure"): {"ssim", "psnr", "representation_error", "seconds"},
        ("conv2", "tv"): {"ssim", "mse", "representation_error", "seconds"},
    }
    assert table["images"] == "4"


def test_tables_hold_their_classifier_only():
    rows = [*SUMMARY, row("other", "conv1", "pure", ssim=0.99)]
    assert len(assembly.table_of("net", rows)["lines"]) == 4
    assert assembly.table_of("other", rows)["lines"][0]["cells"][0]["best"]


def test_findings_name_the_closest_recipes_per_layer():
    found = assembly.findings(SUMMARY)
    names = [
        (f["layer"], f["ssim"]["recipe"], f["mse"]["recipe"], f["code"]["recipe"]) for f in found
    ]
    assert names == [("conv1", "tv", "pure", "pure"), ("conv2", "pure", "tv", "pure")]


GREY = row("net", "conv1", "inverter", ssim=0.95, psnr=26, mse=0.01, representation_error=0.51)
GUESSES = [
    row("net", "conv1", name, ssim=0.99, psnr=27, mse=0.005, representation_error=error, seconds=0)
    for name, error in zip(baselines.NAMES, (0.9, 0.8), strict=True)
]


def test_recipes_that_do_not_explain_the_layer_and_baselines_win_nothing():
    table = assembly.table_of("net", [*GUESSES, *SUMMARY, GREY])
    assert [line["mark"] for line in table["lines"]] == ["", "", "", "", "", "", "†"]
    for line in (*table["lines"][:2], table["lines"][-1]):
        assert not any(cell["best"] for cell in line["cells"])
    conv1, _ = assembly.findings([*GUESSES, *SUMMARY, GREY])
    assert (conv1["ssim"]["recipe"], conv1["mse"]["recipe"]) == ("tv", "pure")
    assert (conv1["ssim"]["mark"], conv1["mse"]["mark"]) == ("", "")
    guessed = [conv1[f"guessed_{name}"] for name in ("ssim", "mse", "code")]
    assert guessed == ["0.99", "0.005", "0.8"]


def test_a_winner_that_does_not_explain_the_layer_is_marked(tmp_path):
    rows = [*GUESSES, GREY]
    page = render(tmp_path, summary=rows)
    named = "inverter† 0.950 representation error 0.510"
    assert cells_of(page, "What came out</h2>") == [
        [
            *("net", "conv1", named, named.replace("0.950", "0.0100"), "inverter† 0.510"),
            "0.990, 0.00500, 0.800",
        ]
    ]
    assert [cells[1] for cells in cells_of(page, "All results</h2>")] == [
        *baselines.NAMES,
        "inverter†",
    ]


# ------------------------------------------------------------------------------ captions


def test_caption_is_html_with_its_wildcards():
    text = assembly.caption(CAPTIONS["gallery"], {"classifier": "net", "layer": "features.4"})
    assert "<strong>features.4</strong> of net" in text
    assert "{{" not in text


@pytest.mark.parametrize("name", ["net_", "_net", "a__b", "vgg16+bn", "r-50.v1"])
def test_caption_takes_any_name_literally(name):
    text = assembly.caption(CAPTIONS["gallery"], {"classifier": name, "layer": name})
    assert f"<strong>{name}</strong> of {name}," in text


def test_every_caption_of_the_project_renders():
    wildcards = "classifier layer prior recipe inverter split patches colour kind".split()
    names = dict.fromkeys(wildcards, "net")
    for path in CAPTIONS.values():
        text = assembly.caption(path, names)
        assert text.strip(), path
        assert "system-message" not in text


def test_broken_caption_is_an_error(tmp_path, capsys):
    path = tmp_path / "a.rst"
    path.write_text("See missing_ here")
    with pytest.raises(Exception, match="Unknown target name"):
        assembly.caption(path, {})
    capsys.readouterr()


# ------------------------------------------------------------------------------ the page


def render(tmp_path, **changes):
    picture = tmp_path / "a.png"
    picture.write_bytes(PNG)
    arguments = {
        "template": SOURCES / "report.html.j2",
        "workflow": WORKFLOW,
        "captions": CAPTIONS,
        "figures": [
            {
                "path": str(picture),
                "caption": "gallery",
                "section": "Reconstructed images",
                "wildcards": {"classifier": "net", "layer": "conv1"},
            },
            {
                "path": str(picture),
                "caption": "classifier",
                "section": "Classifiers",
                "wildcards": {"classifier": "net"},
            },
        ],
        "summary": SUMMARY,
        "statistics": [],
        "stationarity": [],
        "published": [],
        "quality": [],
        "maps": [],
        "priors": [],
        "denoising": [],
        "linear": [],
        "shapes": [],
        "accuracy": {"net": [{"classes": "200", "accuracy": "0.5", "chance": "0.005"}]},
        "study": {"images": {"train": "<b>&", "size": 96}},
        "versions": {"torch": "2.0"},
    }
    return assembly.render(**(arguments | changes))


def test_page_needs_no_other_file(tmp_path):
    page = render(tmp_path)
    assert page.startswith("<!doctype html>")
    sources = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert sources
    assert all(source.startswith(("data:", "#")) for source in sources)
    assert not re.search(r"url\(|@import", page)


def test_page_holds_figures_tables_findings_and_settings(tmp_path):
    page = render(tmp_path)
    assert page.count(base64.b64encode(PNG).decode()) == 2
    assert "Reconstructed images" in page
    for entry in SUMMARY:
        assert entry["recipe"] in page
    assert "0.900" in page
    assert "25.0" in page
    assert "tell 200 augmented" in page
    assert "50.0 % of new" in page
    settings = entities.unescape(page)
    assert yaml.safe_dump({"images": {"train": "<b>&", "size": 96}}, sort_keys=False) in settings


def test_page_shows_the_workflow_as_it_is(tmp_path):
    drawing = WORKFLOW.read_text(encoding="utf-8")
    assert drawing.startswith("<svg ")  # no declaration of XML, which HTML does not know
    assert not re.search(r"<style|<script|\bid=", drawing)  # which would count for the whole page
    section = render(tmp_path).split('<section id="workflow">')[1].split("</section>")[0]
    assert drawing in section
    assert "A change reruns the jobs that it reaches" in section


def test_every_box_of_the_workflow_is_a_stage():
    drawing = WORKFLOW.read_text(encoding="utf-8")
    boxes = re.findall(r'font-weight="600">(\w+)</text>', drawing)
    assert len(boxes) == drawing.count("<g><rect")
    assert set(boxes) <= {path.stem for path in (SOURCES.parent / "rules").glob("*.smk")}


def test_tables_of_few_photographs_have_no_brackets_and_say_why(tmp_path):
    empty = {f"{m}_{end}": "" for m in tables.MEASURES for end in ("low", "high")}
    note = {"photographs": "1", "note": "no intervals: 1 photograph, at least 4 are needed"}
    page = render(tmp_path, summary=[entry | empty | note for entry in SUMMARY])
    assert "show 1 photographs; no intervals: 1 photograph, at least 4 are needed;" in page
    assert not any("[" in cell for line in cells_of(page, "All results</h2>") for cell in line)
    rows = [denoised("tv", psnr_low="", psnr_high="", note=note["note"])]
    page = render(
        tmp_path, denoising=rows, figures=[figure_of(tmp_path, "Learned priors", "prior")]
    )
    assert "There are no intervals: 1 photograph, at least 4 are needed." in page
    assert cells_of(page, "Denoising:")[0][5] == "1.500"


def test_text_from_outside_is_escaped(tmp_path):
    page = render(tmp_path)
    assert "<b>&" not in page
    assert "&lt;b&gt;&amp;" in page


def figure_of(tmp_path, section, caption="statistics"):
    picture = tmp_path / "a.png"
    picture.write_bytes(PNG)
    wildcards = {"classifier": "net", "layer": "conv1"}
    return {
        "path": str(picture),
        "caption": caption,
        "section": section,
        "wildcards": wildcards,
    }


def cells_of(page, heading):
    """The rows of the first table after a heading: the texts of their cells."""
    table = page.split(heading)[1].split("<tbody>")[1].split("</tbody>")[0]
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", table, re.S)
    return [
        [
            " ".join(entities.unescape(re.sub(r"<[^>]+>", " ", cell)).split())
            for cell in re.findall(r"<td[^>]*>(.*?)</td>", row, re.S)
        ]
        for row in rows
    ]


def written(row):
    """A row as it comes back from its file."""
    return {key: str(value) for key, value in row.items()}


def test_statistics_appear_under_feature_maps(tmp_path):
    maps = streaming.FeatureStatistics(2, 5, 4)
    maps.add(np.random.default_rng(0).normal(size=(7, 2, 5, 4)))
    row = maps.summary() | {
        "effective_rank": 12.345,
        "condition": float("inf"),
        "condition_shrunk": 9876.5,
        "gini_image": 0.5,
        "gini_channel": 0.25,
        "hoyer_image": 0.75,
        "hoyer_channel": 1.0,
        "zeros_image": 0.125,
        "kurtosis_channel": float("nan"),
        "population_image": 0.0,
        "lifetime_channel": 0.625,
    }
    row = {"classifier": "net", "layer": "conv1", **row}
    figure = figure_of(tmp_path, "Feature maps")
    page = render(tmp_path, statistics=[written(row)], figures=[figure])
    assert cells_of(page, "Over training images") == [
        [
            *("net", "conv1", "2 x 5 x 4", "7", "12.3 of 20", "∞", "9876"),
            *("0.500 / 0.250", "0.750 / 1.00", "0.125", "-", "0", "0.625"),
        ]
    ]


# ------------------------------------------------------------------------------ stationarity


def curve_row(form, border, images, middle=0.3, low=None, high=None, layer="conv1", expected=0.0):
    low, high = middle if low is None else low, middle if high is None else high
    row = dict.fromkeys(stationarity.COLUMNS, 0.9)
    row |= {"form": form, "border": border, "images": images, "expected": expected}
    row |= {"noise_free": middle, "noise_free_low": low, "noise_free_high": high}
    return written({"classifier": "net", "layer": layer} | row)


def curve_of(layer="conv1", border=1, **values):
    """Rows of a layer: for `within` a distance of 0.3 from all images, elsewhere of 0.5."""
    return [
        curve_row(form, b, images, layer=layer, **({"middle": 0.5} if form != "within" else values))
        for form, b, images in itertools.product(stationarity.FORMS, (0, border), (2, 4, 120))
    ]


@pytest.mark.parametrize(
    ("interval", "sentence"),
    [
        ((0.0, 0.1, 0.15), "stationary as far as these images tell: 10 % [0, 15] from it"),
        ((0.0, 0.0, 0.4), "stationary as far as these images tell: 0 % [0, 40] from it"),
        (
            (0.05, 0.1, 0.15),
            "nearly stationary: 10 % [5, 15] from it, 99 % of the squared norm is",
        ),
        (
            (0.1, 0.15, 0.2),
            "not stationary: 15 % [10, 20] from it, though 98 % of the squared norm is",
        ),
        (
            (0.4, 0.5, 0.6),
            "not stationary: 50 % [40, 60] from it, though 75 % of the squared norm is",
        ),
        ((float("nan"),) * 3, "too small to tell"),
    ],
)
def test_verdict_says_what_the_interval_allows(interval, sentence):
    low, middle, high = interval
    assert assembly.verdict(curve_row("within", 0, 9, middle, low, high)) == sentence


def test_claims_take_all_images_and_both_borders():
    rows = [*curve_of(), *curve_of("conv2", border=3, middle=0.1, low=0.05)]
    rows[0]["noise_free"] = "0.7"  # of few images
    first, second = assembly.claims(rows)
    assert (first["classifier"], first["layer"], first["images"]) == ("net", "conv1", 120)
    assert set(first["rows"]) == set(itertools.product(stationarity.FORMS, (0, 1)))
    assert all(row["images"] == "120" for row in first["rows"].values())
    assert {row["border"] for row in second["rows"].values()} == {"0", "3"}
    assert second["rows"]["covariance", 1]["border"] == "3"
    assert first["verdict"].startswith("not stationary: 30 %")
    assert second["verdict"].startswith("nearly stationary: 10 % [5, 10]")


def test_claims_keep_classifiers_apart():
    other = [{**row, "classifier": "other"} for row in curve_of(middle=0.0)]
    found = assembly.claims([*curve_of(), *other])
    assert [(claim["classifier"], claim["verdict"].split(":")[0]) for claim in found] == [
        ("net", "not stationary"),
        ("other", "stationary as far as these images tell"),
    ]


def test_no_rows_make_no_claim():
    assert assembly.claims([]) == []


def test_claims_appear_under_feature_maps(tmp_path):
    rows = curve_of(middle=0.25, low=0.2, high=0.3)
    rows += curve_of("fc6", middle=float("nan"))
    for row in rows:
        if row["form"] == "precision":
            row["expected"] = "nan" if row["layer"] == "fc6" else "0.125"
    page = render(tmp_path, stationarity=rows, figures=[figure_of(tmp_path, "Feature maps")])
    conv1, fc6 = cells_of(page, "Are feature maps stationary?")
    rest = "0.50 (0.50) [0.50, 0.50]"
    assert conv1 == [
        *("net", "conv1", "120", rest, "0.25 (0.25) [0.20, 0.30]", rest, "0.12 (0.12)"),
        "not stationary: 25 % [20, 30] from it, though 94 % of the squared norm is",
    ]
    assert fc6[4] == "- (-) [-, -]"
    assert fc6[6:] == ["- (-)", "too small to tell"]


# ------------------------------------------------------------------------------ reconstructed maps


def distances(layer, recipe, **values):
    names = {"classifier": "net", "layer": layer, "recipe": recipe, "images": "4"}
    return [
        names | written({"measure": measure, "reference": 1, "other": 2, "distance": value})
        for measure, value in values.items()
    ]


MAPS = [
    *distances("conv1", "pure", mean=0.5, frechet=float("inf"), gini_image=-0.25),
    *distances("conv1", "tv", mean=0.0, frechet=float("nan"), gini_image=1.5),
    *distances("conv2", "pure", mean=12.5, frechet=0.001, gini_image=0.1),
]


def test_pivot_has_a_line_for_each_layer_and_recipe():
    found = assembly.pivot(MAPS)
    assert found["measures"] == ["mean", "frechet", "gini_image"]
    assert [key for key, _ in found["lines"]] == [
        ("net", "conv1", "pure"),
        ("net", "conv1", "tv"),
        ("net", "conv2", "pure"),
    ]
    assert found["lines"][0][1] == {"mean": "0.5", "frechet": "inf", "gini_image": "-0.25"}


def test_pivot_of_nothing_has_no_lines():
    assert assembly.pivot([]) == {"measures": [], "lines": []}


def test_distances_of_reconstructed_maps_appear_under_feature_maps(tmp_path):
    page = render(tmp_path, maps=MAPS, figures=[figure_of(tmp_path, "Feature maps")])
    assert "<th>gini image</th>" in page
    assert cells_of(page, "Feature maps of reconstructed images") == [
        ["net conv1", "pure", "0.50", "∞", "-0.25"],
        ["net conv1", "tv", "0", "-", "1.5"],
        ["net conv2", "pure", "12", "0.0010", "0.10"],
    ]


# ------------------------------------------------------------------------------ learned priors

PRIOR_ROWS = [
    {"prior": "ica", "layer": "image", "steps": 3000, "seconds": 12.34, "gabor_share": 0.625}
    | {"held_out_objective": -123.456},
    {"prior": "dae", "layer": "image", "steps": 300, "seconds": 0.5, "gabor_share": ""}
    | {"held_out_objective": 0.0625},
    {"prior": "maps", "layer": "net conv1", "steps": 1, "seconds": 1, "gabor_share": ""}
    | {"held_out_objective": float("nan")},
]


def denoised(prior, colour="grey", **values):
    facts = {"prior": prior, "colour": colour, "images": 68, "sigma": 25, "weight": 0.1234}
    facts["estimator"] = "MAP"
    measured = dict.fromkeys(
        ("psnr_noisy", "psnr", "ssim", "iterations", "residual", "seconds"), 1.5
    )
    interval = {"psnr_low": 20.0, "psnr_high": 30.0, "note": ""}
    return written({**facts, **measured, **interval, **values})


def test_learned_priors_appear_in_their_section(tmp_path):
    figure = figure_of(tmp_path, "Learned priors", "discrimination")
    page = render(tmp_path, priors=[written(row) for row in PRIOR_ROWS], figures=[figure])
    assert cells_of(page, "Training. Objectives") == [
        ["ica", "image", "3000", "12.3", "-123", "62 %"],
        ["dae", "image", "300", "0.500", "0.0625", ""],
        ["maps", "net conv1", "1", "1.00", "-", ""],
    ]
    assert "Denoising:" not in page


def test_denoising_appears_among_learned_priors(tmp_path):
    rows = [
        denoised("tv", psnr_noisy=20.1719, psnr=27.1234, psnr_low=26.5, psnr_high=27.75),
        denoised("foe", ssim=0.8125, iterations=123.4, residual=0.0987, seconds=3),
        denoised("tv", colour="images"),
    ]
    figure = figure_of(tmp_path, "Learned priors", "discrimination")
    page = render(tmp_path, denoising=rows, figures=[figure])
    first, second, third = cells_of(page, "Denoising:")
    assert first == [
        *("tv", "MAP", "grey", "68", "25", "27.12 [26.50, 27.75]", "20.17"),
        *("1.50", "0.123", "1.50", "1.5", "1.50"),
    ]
    assert second[0] == "foe"
    assert second[7:] == ["0.812", "0.123", "123", "0.099", "3.00"]
    assert third[:3] == ["tv", "MAP", "images"]


def test_a_line_parts_grey_denoising_from_that_of_colour(tmp_path):
    rows = [denoised(name, colour) for colour in ("images", "grey") for name in ("tv", "foe")]
    figure = figure_of(tmp_path, "Learned priors", "discrimination")
    page = render(tmp_path, denoising=rows, figures=[figure])
    table = page.split("Denoising:")[1].split("<tbody>")[1].split("</tbody>")[0]
    assert re.findall(r"<tr( class=\"first\")?>", table) == [' class="first"', ""] * 2


# ------------------------------------------------------------------------------ linear inverses


def test_linear_inverses_appear_in_their_section(tmp_path):
    empty = dict.fromkeys(study.COLUMNS, float("nan"))
    rows = [
        empty | {"method": study.OPTIMAL, "mse": 0.001, "mse_inside": 0.0005, "iterations": 12},
        empty | {"method": study.SINGLE, "size": 16, "expected": 0.02, "psnr": -0.8},
    ]
    linear = [{"classifier": "net", **written(row | {"noise": 0.1})} for row in rows]
    values = ("0.1", "periodic, stride 4", 4, study.PSEUDO, 1e-13, 0, 0.75, 0.5)
    shape = dict(zip(study.SHAPE_COLUMNS, values, strict=True))
    shapes = [{"classifier": "net", **written(shape)}]
    figure = figure_of(tmp_path, "Linear inverses", "linear_inverse")
    page = render(tmp_path, linear=linear, shapes=shapes, figures=[figure])
    assert cells_of(page, "Linear inverses</h2>") == [
        ["net", "0.1", "optimal linear inverse", "-", "0.00100", "0.000500", "-", "-", "-"],
        ["net", "0.1", "single convolution", "16", "-", "-", "0.0200", "-0.800", "-"],
    ]
    assert cells_of(page, "When is the inverse a convolution?") == [
        ["net", "periodic, stride 4", "pseudo-inverse", "1.0e-13 (0)", "0.75 (0.50)"]
    ]


def test_sections_without_figures_have_no_tables(tmp_path):
    rows = {"denoising": [denoised("tv")], "priors": [written(PRIOR_ROWS[0])]}
    page = render(tmp_path, maps=MAPS, stationarity=curve_of(), **rows)
    assert "Are feature maps stationary?" not in page
    assert "When is the inverse a convolution?" not in page
    assert "Denoising:" not in page
    assert "Training. Objectives" not in page


def test_absent_columns_are_an_error(tmp_path):
    with pytest.raises(Exception, match="accuracy"):
        render(tmp_path, accuracy={"net": [{"classes": "200", "chance": "0.1"}]})


def test_same_input_gives_the_same_page(tmp_path):
    assert render(tmp_path) == render(tmp_path)


def test_studies_of_starts_and_of_added_priors_have_their_tables(tmp_path):
    from deep_restoration.evaluation import restarts
    from deep_restoration.inversion import prior_selection

    picture = tmp_path / "b.png"
    picture.write_bytes(PNG)
    figures = [
        {"path": str(picture), "caption": caption, "section": section, "wildcards": names}
        for caption, section, names in (
            ("ambiguity", "Ambiguity", {"classifier": "net"}),
            ("restarts", "Ambiguity", {"classifier": "net", "recipe": "tv"}),
            ("prior_selection", "Adding priors of feature maps", {"classifier": "net"}),
        )
    ]
    columns, _ = restarts.summarise([], 0)
    several = dict.fromkeys(columns, "0.125") | {"classifier": "net", "layer": "conv4"}
    several |= {"recipe": "tv", "restarts": "7", "mse_ratio": "0.625", "note": ""}
    step = dict.fromkeys(prior_selection.COLUMNS, "0.125") | {"classifier": "net", "layer": "conv5"}
    step["note"] = ""
    steps = [
        step | {"order": order, "set": name, "best": best}
        for order, name, best in (
            ("baseline: mean colour", "", "0"),
            ("deep", "conv1=0.5", "1"),
            ("greedy", "conv2=0.5", "0"),
        )
    ]
    page = render(tmp_path, figures=figures, restarts=[several], prior_selection=steps)
    for words in ("net conv4", "0.625", "<td>7</td>", "net conv5", "conv1=0.5", "[0.125, 0.125]"):
        assert words in page
    assert page.count("baseline: mean colour") == 1
    assert "conv2=0.5" not in page  # not the best of its order
    assert "net conv4" not in render(tmp_path)


# ------------------------------------------------------------------------------ beside the papers


def beside(**changes):
    row = {"classifier": "net", "layer": "conv1", "recipe": "tv", "measure": "error_2015"}
    row |= {"unit": "percent", "ours": "12.3", "published": "10.0", "published_spread": "5.0"}
    row |= {"method": "lambda_V = 0.5", "source": "A & B 2015", "sure": "read", "note": ""}
    return row | changes


def results_page(tmp_path, **changes):
    picture = tmp_path / "b.png"
    picture.write_bytes(PNG)
    figure = {"path": str(picture), "caption": "measures", "section": "Results"}
    figures = [figure | {"wildcards": {"classifier": "net"}}]
    return render(tmp_path, figures=figures, **changes)


def test_published_figures_stand_beside_our_lowest_and_the_same_recipe(tmp_path):
    rows = [beside(), beside(recipe="foe", ours="9.87"), beside(recipe="mahendran2015", ours="15")]
    guess = beside(recipe=baselines.COLOUR, ours="1.0")
    found = assembly.beside([guess, *rows, beside(layer="conv2")])
    assert [line["figure"]["layer"] for line in found["lines"]] == ["conv1", "conv2"]
    first, second = found["lines"]
    assert (first["least"]["recipe"], first["same"]["ours"]) == ("foe", "15")
    assert (second["least"]["recipe"], second["same"]) == ("tv", None)
    page = results_page(tmp_path, published=rows)
    assert "10.0 ± 5.0" in page
    assert "A &amp; B 2015: lambda_V = 0.5" in page
    assert "foe <small>9.87</small>" in page
    assert "Nothing to compare with" not in page


def test_a_classifier_without_published_figures_says_why(tmp_path):
    nothing = beside(published="", note="the classifier is another")
    page = results_page(tmp_path, published=[nothing])
    assert "Nothing to compare with: the classifier is another." in page


def test_seconds_to_a_quality_are_a_column_a_threshold(tmp_path):
    def row(recipe, target, seconds):
        line = {"classifier": "net", "layer": "conv1", "recipe": recipe, "target": target}
        return line | {
            "seconds": seconds,
            "ssim": "0.31",
            "final_ssim": "0.4",
            "final_seconds": "9",
        }

    rows = [
        row(recipe, target, seconds)
        for target, times in {"0.2": "1 2", "best hand-crafted": "3 -", "0.3": "5 6"}.items()
        for recipe, seconds in zip(("tv", "foe"), times.replace("-", " ").split(" "), strict=False)
    ]
    found = assembly.seconds_to(rows)
    assert found["targets"] == ["0.2", "0.3", "best hand-crafted"]
    (_, tv), (_, foe) = found["lines"]
    assert (tv["0.2"], tv["0.3"], tv["best hand-crafted"]) == ("1", "5", "3")
    assert foe["best hand-crafted"] == ""
    lower = [row("tv", "0.2", "7") | {"layer": "conv2"}]  # where nothing comes as far as 0.3
    page = results_page(tmp_path, quality=[*rows, *lower])
    assert "<th>best hand-crafted</th>" in page
