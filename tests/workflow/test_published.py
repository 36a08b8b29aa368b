"""A network down to its last layer, with weights from a file, measured as the papers did."""

from pathlib import Path

import pytest
import torch

from deep_restoration.evaluation import baselines, literature
from tests.tree import Tree, rows_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """A tiny study of AlexNet down to its last layer, with weights from a file."""
    from deep_restoration.networks import sources

    tree = Tree.fresh(tmp_path_factory.mktemp("published"))
    torch.manual_seed(0)
    torch.save(sources.build("alexnet_lrn").state_dict(), tree.root / "alexnet.pth")
    tree.config(
        "real.yaml",
        "images: {size: 67}\n"
        "classifiers: {alexnet: {weights: ./alexnet.pth, layers: [pool1, conv2, fc8]}}\n"
        "recipes: {tv+features: null, foe: null, inverter_joint: null, inverter_joint+foe: null,\n"
        "  mahendran2015: null, annealed: null}\n"
        "visualisations: {texture: null, style: null, channels: null, caricature: null}\n",
    )
    tree.snakemake("results/figures/alexnet/published.png", configs=("real.yaml",))
    return tree.root / "results"


def test_a_study_of_alexnet_stands_beside_the_papers(study):
    rows = rows_of(study / "tables/published.csv")
    assert tuple(rows[0]) == literature.COLUMNS
    pool1 = [row for row in rows if row["layer"] == "pool1"]
    assert [row["recipe"] for row in pool1] == [
        *(*baselines.NAMES, "pure", "tv", "mahendran2016"),
    ]
    assert {(row["published"], row["published_spread"]) for row in pool1} == {("21.9", "9.2")}
    measures = rows_of(study / "tables/paper_measures.csv")
    for row in pool1:
        mine = [
            float(m["error_2015"])
            for m in measures
            if (m["layer"], m["recipe"]) == ("pool1", row["recipe"])
        ]
        assert float(row["ours"]) == pytest.approx(100 * sum(mine) / 2)


def test_measures_of_the_chain_are_those_of_the_stored_images(study):
    from deep_restoration.data import images
    from deep_restoration.files.hdf5 import open_hdf5
    from deep_restoration.networks import saved

    network = saved.load(study / "classifiers/alexnet.safetensors", ["conv2", "fc8"])
    with open_hdf5(study / "images/test.h5", "images") as file:
        pixels = file["images"][...]
    with open_hdf5(study / "reconstructions/alexnet/conv2/tv.h5", "reconstructions") as f:
        reconstructed = f["images"][...]
    with torch.no_grad():
        target = network(images.as_tensor(pixels))
        found = network(torch.from_numpy(reconstructed).permute(0, 3, 1, 2))
    apart = (target["conv2"][0] - target["conv2"][1]).double().norm().item()
    rows = rows_of(study / "evaluation/alexnet/conv2.papers.csv")
    rows = [row for row in rows if row["recipe"] == "tv"]
    for index, row in enumerate(rows):
        error = (found["conv2"][index] - target["conv2"][index]).double().norm().item()
        assert float(row["error_2015"]) == pytest.approx(error / apart, rel=1e-5)
        # of two images, two of four pairs are of an image with itself
        assert float(row["error_2015_released"]) == pytest.approx(
            error**2 / (apart**2 / 2), rel=1e-5
        )
        same = found["fc8"][index].argmax() == target["fc8"][index].argmax()
        assert row["same_label"] == str(int(same))
