"""What figures make of stored arrays and tables before they draw."""

import numpy as np

from deep_restoration.figures import closeups, inverters, maps, visualisations
from deep_restoration.files.hdf5 import create_hdf5, write_array, write_names

DRAW = np.random.default_rng(0)


def test_scores_are_the_ssim_of_each_image_by_recipe():
    rows = [
        {"recipe": recipe, "ssim": str(ssim)} for recipe, ssim in (("a", 1), ("b", 2), ("a", 3))
    ]
    assert closeups.scores(rows, ["b", "a"]) == {"b": [2.0], "a": [1.0, 3.0]}


def test_trainings_are_grouped_by_layer_and_network():
    tables = [
        (f"results/inverters/alexnet/{layer}/{inverter}/{replicate}.history.csv", {"n": number})
        for number, (layer, inverter, replicate) in enumerate(
            [("conv2", "deep", 0), ("conv1", "deep", 0), ("conv2", "deep", 1), ("conv2", "flat", 0)]
        )
    ]
    assert inverters.by_layer(tables, ["conv1", "conv2"]) == {
        "conv1": {"deep": [{"n": 1}]},
        "conv2": {"deep": [{"n": 0}, {"n": 2}], "flat": [{"n": 3}]},
    }


def test_kernels_are_cut_to_their_middle():
    arrays = {
        "filters": DRAW.random((2, 3, 3, 3)),
        **{name: DRAW.random((2, 3, 11, 11)) for name in ("optimal", "pseudo_inverse")},
        **{f"{name}_beyond": DRAW.random(5) for name in ("optimal", "pseudo_inverse")},
    }
    kernels, beyond = maps.kernels_of(arrays)
    assert list(kernels) == ["filters", "optimal inverse", "pseudo-inverse"]
    np.testing.assert_array_equal(kernels["optimal inverse"], arrays["optimal"][:, :, 2:9, 2:9])
    cut = arrays["pseudo_inverse"][:, :, 2:9, 2:9]
    np.testing.assert_array_equal(kernels["pseudo-inverse"], cut)
    assert beyond["pseudo-inverse"] is arrays["pseudo_inverse_beyond"]
    assert beyond["optimal inverse"] is arrays["optimal_beyond"]


def test_errors_of_the_first_noise_alone_are_drawn():
    table = {"noise": np.array([0.1, 0.1, 0.3]), "method": np.array(["a", "b", "a"])}
    found = maps.of_first_noise(table)
    assert found["method"].tolist() == ["a", "b"]


def test_a_heading_names_an_entry_called_as_its_kind_once():
    assert visualisations.heading("alexnet", "texture", "texture") == "alexnet: texture"
    found = visualisations.heading("alexnet", "activation_maximisation", "of_classes")
    assert found == "alexnet: activation maximisation (of classes)"


def test_pictures_and_projections_are_read_by_layer(tmp_path):
    images, values = DRAW.random((2, 4, 4, 3)), DRAW.random(2)
    with create_hdf5(tmp_path / "x.h5", "visualisation", {}) as file:
        write_array(file, "images", images)
        write_names(file, ["a", "b"])
        write_array(file, "values", values)
    pictures, labels, found = visualisations.read_pictures({"conv1": tmp_path / "x.h5"})
    np.testing.assert_array_equal(pictures["conv1"], images)
    np.testing.assert_array_equal(found["conv1"], values)
    assert labels == {"conv1": ["a", "b"]}
    places = {"image": [0, 1], "units": [[1, 2, 3]] * 2, "extents": [[0, 0, 2, 2]] * 2}
    with create_hdf5(tmp_path / "y.h5", "visualisation", {}) as file:
        for name, place in places.items():
            write_array(file, name, place)
        group = file.create_group("maps")
        for method in ("gradient", "deconvnet"):
            write_array(group, method, images)
    found = visualisations.Attributions.read(tmp_path / "y.h5", ["gradient"])
    assert [getattr(found, name).tolist() for name in places] == list(places.values())
    assert list(found.maps) == ["gradient"]
    np.testing.assert_array_equal(found.maps["gradient"], images)
