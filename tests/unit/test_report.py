"""The report from small tables, with the template and captions of the project."""

import base64
import html as entities
import re
from pathlib import Path

import pytest
import yaml

from deep_restoration import metrics, report

SOURCES = Path(report.__file__).parent.parent / "report"
CAPTIONS = {path.stem: path for path in SOURCES.glob("*.rst")}
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def row(classifier, layer, recipe, **values):
    numbers = {measure: 1.0 for measure in metrics.MEASURES} | values
    intervals = {f"{k}_{end}": v for k, v in numbers.items() for end in ("low", "high")}
    text = {k: str(v) for k, v in {**numbers, **intervals}.items()}
    return {"classifier": classifier, "layer": layer, "recipe": recipe, "images": "4", **text}


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
    assert report.number(value) == text


def test_number_with_other_digits():
    assert report.number(3.14159, 5) == "3.1416"


# ------------------------------------------------------------------------------ tables


def test_best_recipe_of_each_layer_and_measure_is_marked():
    table = report.table_of("net", SUMMARY)
    best = {
        (line["layer"], line["recipe"]): {
            measure
            for measure, cell in zip(report.RECIPE_MEASURES, line["cells"], strict=True)
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
    assert len(report.table_of("net", rows)["lines"]) == 4
    assert report.table_of("other", rows)["lines"][0]["cells"][0]["best"]


def test_findings_name_the_closest_recipes_per_layer():
    found = report.findings(SUMMARY)
    names = [
        (f["layer"], f["ssim"]["recipe"], f["mse"]["recipe"], f["code"]["recipe"]) for f in found
    ]
    assert names == [("conv1", "tv", "pure", "pure"), ("conv2", "pure", "tv", "pure")]


# ------------------------------------------------------------------------------ captions


def test_caption_is_html_with_its_wildcards():
    text = report.caption(CAPTIONS["gallery"], {"classifier": "net", "layer": "features.4"})
    assert "<strong>features.4</strong> of net" in text
    assert "{{" not in text


@pytest.mark.parametrize("name", ["net_", "_net", "a__b", "vgg16+bn", "r-50.v1"])
def test_caption_takes_any_name_literally(name):
    text = report.caption(CAPTIONS["gallery"], {"classifier": name, "layer": name})
    assert f"<strong>{name}</strong> of {name}," in text


def test_every_caption_of_the_project_renders():
    names = dict.fromkeys(("classifier", "layer", "prior", "recipe", "inverter", "split"), "net")
    for path in CAPTIONS.values():
        text = report.caption(path, names)
        assert text.strip(), path
        assert "system-message" not in text


def test_broken_caption_is_an_error(tmp_path, capsys):
    path = tmp_path / "a.rst"
    path.write_text("See missing_ here")
    with pytest.raises(Exception, match="Unknown target name"):
        report.caption(path, {})
    capsys.readouterr()


# ------------------------------------------------------------------------------ the page


def render(tmp_path, **changes):
    picture = tmp_path / "a.png"
    picture.write_bytes(PNG)
    arguments = {
        "template": SOURCES / "report.html.j2",
        "captions": CAPTIONS,
        "figures": [
            {
                "path": str(picture),
                "caption": "gallery",
                "section": "Restored images",
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
        "accuracy": {"net": [{"classes": "200", "accuracy": "0.5", "chance": "0.005"}]},
        "study": {"images": {"train": "<b>&", "size": 96}},
        "versions": {"torch": "2.0"},
    }
    return report.render(**(arguments | changes))


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
    assert "Restored images" in page
    for entry in SUMMARY:
        assert entry["recipe"] in page
    assert "0.900" in page
    assert "25.0" in page
    assert "tell 200 augmented" in page
    assert "50.0 % of new" in page
    settings = entities.unescape(page)
    assert yaml.safe_dump({"images": {"train": "<b>&", "size": 96}}, sort_keys=False) in settings


def test_text_from_outside_is_escaped(tmp_path):
    page = render(tmp_path)
    assert "<b>&" not in page
    assert "&lt;b&gt;&amp;" in page


def test_statistics_appear_under_feature_maps(tmp_path):
    statistics = {
        "classifier": "net", "layer": "conv1", "channels": "96", "height": "22", "width": "21",
        "images": "7", "effective_rank": "12.345", "window_height": "4", "window_width": "5",
        "gini_image": "0.5", "gini_channel": "0.25", "zeros": "0.125",
    }  # fmt: skip
    picture = tmp_path / "a.png"
    figure = {
        "path": str(picture),
        "caption": "statistics",
        "section": "Feature maps",
        "wildcards": {"classifier": "net", "layer": "conv1"},
    }
    page = render(tmp_path, statistics=[statistics], figures=[figure])
    assert "96 x 22 x 21" in page
    assert "12.3 of 20" in page


def test_absent_columns_are_an_error(tmp_path):
    with pytest.raises(Exception, match="accuracy"):
        render(tmp_path, accuracy={"net": [{"classes": "200", "chance": "0.1"}]})


def test_same_input_gives_the_same_page(tmp_path):
    assert render(tmp_path) == render(tmp_path)
