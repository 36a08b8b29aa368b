"""The papers' measures against literal transcriptions, and published figures beside ours."""

import math

import numpy as np
import pytest
import torch

from deep_restoration.evaluation import literature, paper_measures
from deep_restoration.evaluation.paper_measures import Distances
from tests.tree import ROOT, rows_of

RESOURCES = ROOT / "resources" / "published"


@pytest.fixture(scope="module")
def codes():
    generator = torch.Generator().manual_seed(0)
    return 3 + torch.randn(13, 5, 6, 7, generator=generator)


@pytest.fixture(scope="module")
def pair():
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:17, 0:23] / 6
    smooth = 0.5 + 0.4 * np.sin(x + 2 * y)[..., None] * np.array([1, 0.5, -0.7])
    truth = np.stack([smooth, rng.random((17, 23, 3)), np.tile(x[..., None] / 4, 3)])
    return truth, np.clip(truth + rng.normal(0, 0.1, truth.shape), 0, 1)


# ------------------------------------------------------------------------------ distances


def literal_distances(codes):
    rows = codes.double().flatten(1).tolist()
    squares = [
        [sum((a - b) ** 2 for a, b in zip(one, two, strict=True)) for two in rows] for one in rows
    ]
    pairs = [(i, j) for i in range(len(rows)) for j in range(len(rows)) if i != j]
    mean = sum(math.sqrt(squares[i][j]) for i, j in pairs) / len(pairs)
    return mean, sum(map(sum, squares)) / len(rows) ** 2


@pytest.mark.parametrize("batch", [1, 4, 64])
@pytest.mark.parametrize("images_in_memory", [1, 5, 100])
def test_mean_distances_by_loops_whatever_fits_in_memory(codes, batch, images_in_memory):
    room = images_in_memory * codes[0].numel() * codes.element_size()
    found = paper_measures.mean_distances(lambda a, b: codes[a:b], len(codes), batch, room)
    assert found == pytest.approx(literal_distances(codes), rel=1e-12)


def test_no_more_codes_are_held_than_fit(codes):
    asked = []

    def part(start, stop):
        asked.append((start, stop))
        return codes[start:stop]

    room = 4 * codes[0].numel() * codes.element_size()
    paper_measures.mean_distances(part, len(codes), 2, room)
    assert asked[:2] == [(0, 2), (2, 4)]  # the first block, four images, stays
    assert asked[2:7] == [(4, 6), (6, 8), (8, 10), (10, 12), (12, 13)]  # the rest streams past
    assert asked[7:9] == [(4, 6), (6, 8)]  # the second block
    assert asked[-1] == (12, 13)


def test_distances_of_nearly_equal_codes_do_not_drown_in_rounding():
    base = 1000 + torch.rand(1, 5000)
    near = base + 0.01 * torch.randn(6, 5000, generator=torch.Generator().manual_seed(1))
    found = paper_measures.mean_distances(lambda a, b: near[a:b], 6, 2, 1)
    assert found == pytest.approx(literal_distances(near), rel=1e-5)


def test_a_single_image_is_no_distance_from_any_other(codes):
    found = paper_measures.mean_distances(lambda a, b: codes[:1][a:b], 1)
    assert math.isnan(found.mean)
    assert math.isnan(found.square)  # errors divided by it are no numbers, rather than infinite


def test_maps_wider_than_the_columns_taken_at_once(monkeypatch, codes):
    monkeypatch.setattr(paper_measures, "COLUMNS_AT_ONCE", 11)
    found = paper_measures.mean_distances(lambda a, b: codes[a:b], len(codes), 4)
    assert found == pytest.approx(literal_distances(codes), rel=1e-12)


# ------------------------------------------------------------------------------ errors


def test_feature_measures_by_loops(codes):
    target, maps = codes[:5], codes[5:10]
    mean, square = literal_distances(codes)
    found = paper_measures.feature_measures(maps, target, Distances(mean, square))
    assert tuple(found) == paper_measures.FEATURE_MEASURES
    for index in range(5):
        x, y = (values[index].double().flatten().tolist() for values in (maps, target))
        error = sum((a - b) ** 2 for a, b in zip(x, y, strict=True))
        norms = [math.sqrt(sum(a * a for a in values)) for values in (x, y)]
        dot = sum(a * b for a, b in zip(x, y, strict=True))
        expected = {
            "error_2015": math.sqrt(error) / mean,
            "error_2015_released": error / square,
            "error_2016": math.sqrt(error / norms[1] ** 2),
            "feature_cosine": dot / (norms[0] * norms[1]),
        }
        for name, value in expected.items():
            assert found[name][index].item() == pytest.approx(value, rel=1e-12), name


def test_the_three_errors_of_one_paper_differ(codes):
    apart = paper_measures.mean_distances(lambda a, b: codes[a:b], len(codes))
    found = paper_measures.feature_measures(codes[5:10], codes[:5], apart)
    values = [found[name].mean().item() for name in paper_measures.FEATURE_MEASURES[:3]]
    assert min(abs(a - b) for a, b in zip(values, values[1:] + values[:1], strict=True)) > 0.02


def test_errors_of_a_batch_are_those_of_single_images(codes, pair):
    apart = Distances(2.0, 5.0)
    whole = paper_measures.feature_measures(codes[5:10], codes[:5], apart)
    for index in range(5):
        alone = paper_measures.feature_measures(
            codes[5 + index : 6 + index], codes[index : index + 1], apart
        )
        assert all(torch.equal(alone[name][0], whole[name][index]) for name in alone)


def test_image_measures_by_loops(pair):
    truth, reconstructed = pair
    found = paper_measures.image_measures(truth, reconstructed, 7.5)
    assert tuple(found) == paper_measures.IMAGE_MEASURES
    for index in range(3):
        t, r = (255 * values[index].ravel() for values in pair)
        square = sum((a - b) ** 2 for a, b in zip(t, r, strict=True))
        product = sum(a * b for a, b in zip(t, r, strict=True))
        assert found["mse_255"][index] == pytest.approx(square / len(t), rel=1e-12)
        assert found["nmse"][index] == pytest.approx(square / product, rel=1e-12)
        assert found["image_error"][index] == pytest.approx(
            math.sqrt(square) / 255 / 7.5, rel=1e-12
        )


def test_a_black_image_has_no_finite_nmse(pair):
    truth = pair[0][:1]
    found = paper_measures.image_measures(truth, np.zeros_like(truth), 1.0)
    assert math.isinf(found["nmse"][0])
    assert found["naturalness"][0] == 0


# ------------------------------------------------------------------------------ naturalness


def literal_orientations(image):
    """MATLAB's rgb2gray, imgradient (Sobel, replicated edges) and 18 bins, pixel by pixel."""
    height, width, _ = image.shape
    grey = [[0.2989 * r + 0.5870 * g + 0.1140 * b for r, g, b in line] for line in image.tolist()]
    sums = [0.0] * 18
    for y in range(height):
        for x in range(width):

            def at(dy, dx, y=y, x=x):
                return grey[min(max(y + dy, 0), height - 1)][min(max(x + dx, 0), width - 1)]

            across = sum(w * (at(d, 1) - at(d, -1)) for d, w in ((-1, 1), (0, 2), (1, 1)))
            down = sum(w * (at(1, d) - at(-1, d)) for d, w in ((-1, 1), (0, 2), (1, 1)))
            angle = math.degrees(math.atan2(-down, across))
            for index in range(18):
                low, high = -180 + 20 * index, -160 + 20 * index
                if low < angle <= high or (index == 0 and angle == low):
                    sums[index] += math.hypot(across, down)
    return [value / sum(sums) for value in sums]


def test_orientations_by_loops(pair):
    for image in np.concatenate(pair):
        found = paper_measures.orientations(image)
        assert found == pytest.approx(literal_orientations(image), abs=1e-9)
        assert found.sum() == pytest.approx(1)


def test_naturalness_is_the_intersection_of_histograms(pair):
    expected = [
        sum(min(a, b) for a, b in zip(*map(literal_orientations, images), strict=True))
        for images in zip(*pair, strict=True)
    ]
    assert paper_measures.naturalness(*pair) == pytest.approx(expected, abs=1e-9)
    assert paper_measures.naturalness(pair[0], pair[0]) == pytest.approx([1, 1, 1])


def test_orientations_are_signed():
    ramp = np.tile(np.linspace(0.1, 0.9, 12)[None, :, None], (12, 1, 3))
    assert paper_measures.naturalness(ramp[None], ramp[None, :, ::-1]) == pytest.approx(0, abs=1e-9)
    assert paper_measures.orientations(ramp).argmax() == 8  # at 0 degrees, closed above


def test_a_flat_image_is_not_natural(pair):
    flat = np.full((1, 17, 23, 3), 0.3)
    assert paper_measures.naturalness(pair[0][:1], flat).tolist() == [0]


# ------------------------------------------------------------------------------ published figures


PUBLISHED = [row for path in sorted(RESOURCES.glob("*.csv")) for row in rows_of(path)]


def test_published_figures_say_where_they_stand():
    from deep_restoration.networks import sources

    steps = sources.steps_of("alexnet_lrn")
    layers = {step["name"] for step in steps}
    assert len(PUBLISHED) == 60 + 54 + 24
    for row in PUBLISHED:
        assert all(row[key] for key in ("source", "place", "sure", "method"))
        assert row["layer"] in layers
        assert row["measure"] in (*paper_measures.MEASURES, "vgg_score")
        assert row["unit"] in ("percent", "1")
        assert float(row["value"]) > 0
        assert row["selected"] in ("yes", "no")


def test_table_3_has_one_selected_weight_a_layer():
    rows = rows_of(RESOURCES / "mahendran2015.csv")
    chosen = {row["layer"]: row for row in rows if row["selected"] == "yes"}
    assert len(chosen) == 20 == len(rows) / 3
    assert chosen["conv1"]["value"] == "10.0"
    assert chosen["relu4"]["method"] == "lambda_V = 5"
    assert (chosen["pool5"]["value"], chosen["pool5"]["layer_in_source"]) == ("19.0", "mpool5")
    assert (chosen["fc8"]["value"], chosen["fc8"]["spread"]) == ("8.5", "1.3")


def test_figures_from_memory_are_marked():
    for row in rows_of(RESOURCES / "dosovitskiy2016.csv"):
        assert "unverified" in row["sure"]


def ours(classifier, layer, recipe, image, value):
    errors = dict.fromkeys(paper_measures.MEASURES, str(value))
    return {"classifier": classifier, "layer": layer, "recipe": recipe, "image": image, **errors}


OURS = [
    ours("net", layer, recipe, image, value)
    for layer in ("norm1", "pool1", "conv3")
    for recipe, values in {"tv": (0.1, 0.3), "foe": (0.2, 0.2)}.items()
    for image, value in zip("ab", values, strict=True)
]
REAL = {"architecture": "alexnet_lrn", "weights": "file"}


def compare(rows, size=227, **entry):
    found = literature.compare(rows, PUBLISHED, {"net": REAL | entry}, size)
    return [dict(zip(literature.COLUMNS, row, strict=True)) for row in found]


def test_rows_are_matched_by_the_name_of_the_layer():
    mine = [row for row in compare(OURS) if row["source"].startswith("Mahendran")]
    expected = {"norm1": "20.3", "pool1": "21.9", "conv3": "14.4"}  # in CaffeNet pool1 comes first
    assert [(row["layer"], row["recipe"]) for row in mine] == [
        (layer, recipe) for layer in expected for recipe in ("tv", "foe")
    ]
    for row in mine:
        assert row["published"] == expected[row["layer"]]
        assert (row["measure"], row["unit"], row["images"]) == ("error_2015", "percent", 2)
        assert row["ours"] == pytest.approx(20)
    assert mine[0]["ours_spread"] == pytest.approx(np.std([10, 30], ddof=1))
    assert mine[0]["layer_in_source"] == "norm1"
    assert "pools before" in mine[0]["note"]
    assert mine[4]["note"] == ""


def test_units_are_the_published_ones():
    rows = [row for row in compare(OURS) if row["measure"] == "nmse"]
    assert {row["layer"] for row in rows} == {"conv3"}
    assert len(rows) == 3 * 2
    assert all(row["ours"] == pytest.approx(0.2) and row["unit"] == "1" for row in rows)


def test_what_differs_is_noted():
    rows = compare(OURS, size=96, architecture="alexnet")
    assert all("torchvision's AlexNet" in row["note"] for row in rows)
    assert "227 pixels a side, ours have 96" in rows[0]["note"]


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"architecture": "squeezenet1_0"}, "is squeezenet1_0; published figures are of AlexNet"),
        ({"weights": "exemplar"}, "trained on the spot"),
    ],
)
def test_a_classifier_without_published_figures_says_why(entry, words):
    (row,) = compare(OURS, **entry)
    assert words in row["note"]
    assert [row[key] for key in literature.COLUMNS[1:-1]] == [""] * (len(literature.COLUMNS) - 2)


def test_layers_without_published_figures_say_so():
    (row,) = compare([ours("net", "drop6", "tv", "a", 0.1)])
    assert row["note"] == "no figure is published of drop6"


# ------------------------------------------------------------------------------ a layer's images


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("batch", [2, 64])
def test_images_of_a_layer_are_measured_one_by_one(labelled, batch):
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (5, 12, 12, 3), dtype=np.uint8)
    found = draw.random(pixels.shape).astype(np.float32)

    def seen(images):
        codes = images[:, :, ::2, ::3] ** 2
        return codes, codes.flatten(1).argmax(1) % 3 if labelled else None

    def of(image):
        return seen(torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None])

    rows = paper_measures.Measuring(seen, pixels)(found, batch)
    targets, truth = [of(image / 255) for image in pixels], pixels / 255
    codes = torch.cat([code for code, _ in targets])
    apart = paper_measures.mean_distances(lambda a, b: codes[a:b], 5)
    pictures = paper_measures.mean_distances(lambda a, b: torch.from_numpy(truth[a:b]), 5)
    for i, (row, (target, label)) in enumerate(zip(rows, targets, strict=True)):
        values = dict(zip(paper_measures.MEASURES, row, strict=True))
        maps, again = of(found[i])
        expected = paper_measures.feature_measures(maps, target, apart)
        expected |= paper_measures.image_measures(truth[i : i + 1], found[i : i + 1], pictures.mean)
        for name, value in expected.items():
            assert values[name] == pytest.approx(float(value[0]), rel=1e-5)
        assert values["same_label"] == (int(label == again) if labelled else "")
    if labelled:
        assert {row[-1] for row in rows} == {0, 1}


@pytest.mark.parametrize("output", ["out", None])
def test_a_network_is_seen_as_codes_and_labels(output):
    maps = torch.rand(4, 2, 3, 3)
    scores = torch.tensor([[0.0, 2, 1], [3, 0, 1], [0, 0, 1], [5, 1, 7]])
    seen = paper_measures.seeing(
        lambda x: {"layer": maps, "out": scores[..., None]}, "layer", output
    )
    codes, labels = seen(torch.rand(4, 3, 5, 5))
    assert torch.equal(codes, maps)
    assert labels is None if output is None else labels.tolist() == [1, 0, 2, 2]
