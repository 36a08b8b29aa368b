"""Figures of details, how recipes are told apart, and the papers' measures as a picture."""

import numpy as np
import pytest

from deep_restoration.evaluation import baselines
from deep_restoration.figures import closeups, galleries, quality, recipes, reconstructions

FAMILIES = {
    "pure": "hand-crafted",
    "tv": "hand-crafted",
    "foe": "learned",
    "dae": "learned",
    "inverter_joint": "inverter",
}


def rows(**errors):
    return [
        {"recipe": recipe, "mse": str(v), "ssim": str(1 - v), "psnr": str(20 + v)}
        | {"representation_error": "0.25"}
        for recipe, values in errors.items()
        for v in values
    ]


ERRORS = rows(
    pure=(0.1, 0.5), tv=(0.2, 0.3), foe=(0.4, 0.1), dae=(0.0, 0.9), inverter_joint=(0.2, 0.2)
)


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    truth = np.full((3, 20, 24, 3), 0.5)
    truth[:, 8:16, 12:20] = rng.random((3, 8, 8, 3))
    reconstructed = {
        "foe": np.clip(truth + rng.normal(0, 0.05, truth.shape), 0, 1),
        "tv": np.clip(truth + rng.normal(0, 0.1, truth.shape), 0, 1),
    }
    return truth, reconstructed


# ------------------------------------------------------------------------------ which recipes


def test_best_of_each_side_by_error_over_all_images():
    assert closeups.choose(ERRORS, FAMILIES) == ["inverter_joint", "tv"]
    without = [row for row in ERRORS if row["recipe"] != "inverter_joint"]
    assert closeups.choose(without, FAMILIES) == ["foe", "tv"]


def test_recipes_may_be_named():
    assert closeups.choose(ERRORS, FAMILIES, ["pure", "dae", "tv"]) == ["pure", "dae", "tv"]


def test_a_side_without_recipes_has_no_column():
    assert closeups.choose(rows(tv=(0.1,), pure=(0.2,)), FAMILIES) == ["tv"]
    assert closeups.choose(rows(foe=(0.1,)), FAMILIES) == ["foe"]


def test_the_best_recipe_explains_the_layer():
    grey = [row | {"representation_error": "0.75"} for row in rows(pure=(0.0, 0.1))]
    guesses = [row | {"recipe": name} for row in grey for name in baselines.NAMES]
    others = [row for row in ERRORS if row["recipe"] != "pure"]
    found = [*guesses, *others, *grey]
    assert closeups.choose(found, FAMILIES) == ["inverter_joint", "tv"]
    assert closeups.choose(grey, FAMILIES) == ["pure"]  # where none does, the best of all
    assert (
        "SSIM 0.950, 20.1 dB\nerror of maps 0.75 †"
        in closeups.headings(grey, FAMILIES, ["pure"])["pure"]
    )


def test_headings_name_recipe_side_and_means():
    found = closeups.headings(ERRORS, FAMILIES, ["inverter_joint", "tv"])
    assert found["tv"] == "tv\nhand-crafted\nSSIM 0.750, 20.2 dB\nerror of maps 0.25"
    assert found["inverter_joint"].startswith("inverter joint\ninverter\n")


# ------------------------------------------------------------------------------ the figure


def details(truth, reconstructed, **options):
    labels = {recipe: recipe.upper() for recipe in reconstructed}
    scores = {recipe: [0.1, 0.2, 0.3] for recipe in reconstructed}
    return closeups.details(truth, reconstructed, labels, scores, 8, "title", **options)


def panels(figure):
    """Rows x columns of axes of each image."""
    parts = [part for part in figure.subfigs if part.axes]
    return [np.array([a for a in part.axes if a.get_gridspec()]).reshape(3, -1) for part in parts]


def test_details_hold_whole_detail_and_error(pictures):
    truth, reconstructed = pictures
    figure = details(truth, reconstructed)
    found = panels(figure)
    assert len(found) == 3
    limit = closeups.error_limit(truth, list(reconstructed.values()))
    for index, axes in enumerate(found):
        assert axes.shape == (3, 3)
        assert [axis.get_title() for axis in axes[0]] == ["original", "FOE", "TV"]
        for column, images in enumerate((truth, *reconstructed.values())):
            image = images[index]
            np.testing.assert_array_equal(axes[0, column].images[0].get_array(), image)
            np.testing.assert_array_equal(
                axes[1, column].images[0].get_array(), image[8:16, 12:20]
            )  # the square with the most contrast
            assert axes[1, column].images[0].get_interpolation() == "nearest"
            if column:
                expected = 0.5 + 0.5 * np.clip((truth[index] - image) / limit, -1, 1)
                np.testing.assert_allclose(axes[2, column].images[0].get_array(), expected)
        assert not axes[2, 0].images
        assert axes[0, 1].get_xlabel() == f"SSIM 0.{index + 1}00"
    figure.draw_without_rendering()


def test_errors_share_one_scale(pictures):
    truth, reconstructed = pictures
    figure = details(truth, reconstructed)
    spread = {
        title: np.mean([axes[2, column].images[0].get_array().std() for axes in panels(figure)])
        for column, title in ((1, "foe"), (2, "tv"))
    }
    assert spread["tv"] / spread["foe"] == pytest.approx(2, rel=0.1)


def test_equal_images_have_grey_errors(pictures):
    truth, _ = pictures
    figure = details(truth, {"foe": truth})
    for axes in panels(figure):
        np.testing.assert_array_equal(
            axes[2, 1].images[0].get_array(), np.full(truth[0].shape, 0.5)
        )


@pytest.mark.parametrize("across", [1, 2, 5])
def test_images_side_by_side(pictures, across):
    assert len(panels(details(*pictures, across=across))) == 3


def test_a_detail_is_no_larger_than_the_image(pictures):
    truth, reconstructed = pictures
    figure = closeups.details(truth, reconstructed, {}, {}, 56, "title")
    assert panels(figure)[0][1, 0].images[0].get_array().shape == (20, 20, 3)


# ------------------------------------------------------------------------------ many recipes


MANY = [f"recipe_{index}" for index in range(23)]
MANY_SIDES = {r: list(recipes.MARKERS)[i % 3] for i, r in enumerate(MANY)}


def test_no_two_recipes_look_alike():
    look = recipes.styles(MANY, MANY_SIDES)
    assert len({(style["color"], style["linestyle"]) for style in look.values()}) == len(MANY)
    assert look["recipe_4"]["marker"] == "s"


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("tv", "tv"),
        ("mahendran2015", "mahendran2015"),
        ("inverter_end_to_end+foe_field", "inverter end\nto end+foe\nfield"),
        ("foe_field+features", "foe field+\nfeatures"),
        ("somebodysname2015", "somebodysname\n2015"),
        ("a_name_withoutanyplacetobreakit", "a name without\nanyplacetobrea\nkit"),
    ],
)
def test_headings_fit_their_column(name, lines):
    assert recipes.heading(name, 14) == lines


def legend_entries(figure):
    return {
        legend.get_title().get_text(): [text.get_text() for text in legend.get_texts()]
        for legend in figure.legends
    }


def test_curves_of_many_recipes_are_told_apart_and_grouped():
    line = (np.array([1, 2]), np.array([0.5, 0.2]), np.array([0.1, 0.2]))
    curves = {recipe: {"data": line, "image": line, "ssim": line} for recipe in MANY}
    figure = reconstructions.traces(curves, MANY_SIDES, "title")
    looks = {(line.get_color(), line.get_linestyle()) for line in figure.axes[2].lines}
    assert len(looks) == len(MANY)
    entries = legend_entries(figure)
    assert list(entries) == ["hand-crafted", "learned", "inverter"]
    assert sorted(n for names in entries.values() for n in names) == sorted(
        r.replace("_", " ") for r in MANY
    )
    figure.draw_without_rendering()


MEASURED = ("ssim", "psnr", "mse", "representation_error")


def summary(heights, layers=("conv1", "conv2"), limits=("", "")):
    """Rows of a summary: the value of the n-th layer is n above that of the first."""
    return [
        {"layer": layer, "recipe": recipe}
        | {
            f"{measure}{end}": str(value + number + limit) if limit != "" else ""
            for measure in MEASURED
            for end, limit in (("", 0.0), ("_low", limits[0]), ("_high", limits[1]))
        }
        for number, layer in enumerate(layers)
        for recipe, value in heights.items()
    ]


def test_measures_of_many_recipes_keep_their_looks():
    rows = summary({recipe: 0.1 + index for index, recipe in enumerate(MANY)}, limits=(-0.05, 0.1))
    figure = reconstructions.measures_by_layer(rows, ["conv1", "conv2"], MANY, MANY_SIDES, "title")
    entries = legend_entries(figure)
    assert [len(names) for names in entries.values()] == [8, 8, 7]
    look = recipes.styles(MANY, MANY_SIDES)
    for axis in figure.axes:
        drawn = [container.lines[0] for container in axis.containers]
        for key, value in (("linestyle", "get_linestyle"), ("color", "get_color")):
            assert [getattr(line, value)() for line in drawn] == [look[r][key] for r in MANY]
    figure.draw_without_rendering()


def test_measures_are_means_with_the_intervals_of_the_summary():
    rows = summary({"tv": 0.5, "foe": 0.7}, limits=(-0.25, 0.125))
    figure = reconstructions.measures_by_layer(
        rows, ["conv1", "conv2"], ["tv", "foe"], FAMILIES, "title"
    )
    assert [axis.get_yscale() for axis in figure.axes] == ["linear", "linear", "log", "log"]
    for axis in figure.axes:
        assert [label.get_text() for label in axis.get_xticklabels()] == ["conv1", "conv2"]
        for container, value in zip(axis.containers, (0.5, 0.7), strict=True):
            assert container.lines[0].get_ydata() == pytest.approx([value, value + 1])
            (bars,) = container.lines[2]
            for number, bar in enumerate(bars.get_segments()):
                assert sorted(bar[:, 1]) == pytest.approx(
                    [value + number - 0.25, value + number + 0.125]
                )


def test_measures_of_few_photographs_have_no_bars():
    rows = summary({"tv": 0.5})
    figure = reconstructions.measures_by_layer(rows, ["conv1", "conv2"], ["tv"], FAMILIES, "title")
    figure.canvas.draw()
    for axis in figure.axes:
        (container,) = axis.containers
        assert container.lines[0].get_ydata() == pytest.approx([0.5, 1.5])
        (bars,) = container.lines[2]
        assert all(np.isnan(bar[:, 1]).any() for bar in bars.get_segments() if len(bar))


def test_baselines_are_grey_lines_beside_the_recipes():
    heights = {baselines.COLOUR: 0.25, baselines.IMAGE: 0.5, "tv": 0.75}
    figure = reconstructions.measures_by_layer(
        summary(heights), ["conv1", "conv2"], ["tv"], FAMILIES, "title"
    )
    for axis in figure.axes:
        grey = [line for line in axis.lines if line.get_color() == "0.5"]
        for line, name in zip(grey, baselines.NAMES, strict=True):
            assert line.get_ydata() == pytest.approx([heights[name], heights[name] + 1])
        assert len(axis.containers) == 1
    assert legend_entries(figure) == {
        "baselines": ["mean colour", "mean image"],
        "hand-crafted": ["tv"],
    }


def test_overview_of_many_recipes_has_larger_letters():
    truth = np.zeros((2, 8, 8, 3))
    sizes = []
    for count in (3, 15):
        reconstructed = {recipe: truth for recipe in MANY[:count]}
        figure = galleries.gallery(truth, reconstructed, {}, "title", ["conv1", "conv2"])
        sizes.append(figure.axes[0].title.get_fontsize())
    assert sizes[1] > sizes[0] == 9


# ------------------------------------------------------------------------------ published


def test_published_figures_are_drawn_at_their_layer_in_their_unit():
    measures = [
        {"layer": layer, "recipe": "tv", "error_2015": "0.2", "image_error": "0.3"}
        | {"mse_255": "100", "naturalness": "0.9"}
        for layer in ("conv1", "conv2")
        for _ in range(2)
    ]
    common = {"source": "A & B 2015 (arXiv 1)", "sure": "read", "note": ""}
    published = [
        common | {"method": "lambda = 5", "layer": "conv2", "measure": "error_2015"}
        | {"unit": "percent", "published": "14.4"},
        common | {"method": "nets", "layer": "conv1", "measure": "mse_255", "sure": "unverified"}
        | {"unit": "1", "published": "88"},
    ]  # fmt: skip
    figure = quality.measures_of_papers(measures, published, FAMILIES, "title")
    feature, image, mse, naturalness = figure.axes
    assert feature.lines[0].get_ydata() == pytest.approx([20, 20])
    assert feature.lines[1].get_xydata().tolist() == [[1, 14.4]]
    assert mse.lines[1].get_xydata().tolist() == [[0, 88]]
    assert len(image.lines) == len(naturalness.lines) == 1
    assert image.lines[0].get_ydata() == pytest.approx([30, 30])
    assert legend_entries(figure)["published"] == ["A & B 2015", "A & B 2015: nets (unverified)"]


def test_baselines_of_the_papers_measures_are_grey_lines():
    values = {"error_2015": "0.2", "image_error": "0.3", "mse_255": "100", "naturalness": "0.9"}
    guess = values | {"mse_255": "200"}
    names = {"tv": values, baselines.COLOUR: guess}
    rows = [{"layer": "conv1", "recipe": name} | line for name, line in names.items()]
    figure = quality.measures_of_papers(rows, [], FAMILIES, "title")
    tv, grey = figure.axes[2].lines
    assert (tv.get_ydata()[0], grey.get_ydata()[0]) == (100, 200)
    assert legend_entries(figure) == {"baselines": ["mean colour"], "hand-crafted": ["tv"]}


def test_the_note_of_a_classifier_without_published_figures_stands_below_the_title():
    measures = [
        {"layer": "conv1", "recipe": "tv", "error_2015": "0.2", "image_error": "0.3"}
        | {"mse_255": "100", "naturalness": "0.9"}
    ]
    nothing = [{"published": "", "measure": "", "note": "the classifier is another"}]
    figure = quality.measures_of_papers(measures, nothing, FAMILIES, "title")
    assert figure.get_suptitle() == "title\nthe classifier is another"
    assert "published" not in legend_entries(figure)
