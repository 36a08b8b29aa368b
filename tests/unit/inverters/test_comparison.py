"""Stored inverse networks and baselines, measured beside each other."""

import numpy as np
import pytest
import torch

from deep_restoration.evaluation import baselines
from deep_restoration.evaluation.measurement import Measuring
from deep_restoration.inverters import comparison
from deep_restoration.inverters.chain import Chain, save_chain

NAMES = ["a", "b"]


@pytest.fixture(scope="module")
def measuring(network, pictures):
    pixels = (255 * pictures[:2]).byte().permute(0, 2, 3, 1).numpy()
    return Measuring(network, NAMES, pixels)


def test_every_replicate_is_measured_and_the_first_of_each_shown(measuring, small_plans, tmp_path):
    places = [("linear", 0), ("linear", 1), ("deep", 0)]
    paths, expected, firsts = [], [], {}
    kinds, regimes = {"linear": "l", "deep": "d"}, {"linear": "greedy", "deep": "end_to_end"}
    for seed, (inverter, replicate) in enumerate(places):
        torch.manual_seed(seed)
        chain = Chain(small_plans["resolution"]).eval()
        paths.append(tmp_path / inverter / f"{replicate}.safetensors")
        paths[-1].parent.mkdir(exist_ok=True)
        save_chain(paths[-1], chain, {})
        measured, first = measuring.inversions(chain.image)
        described = (inverter, kinds[inverter], regimes[inverter], replicate)
        expected += [(*described, *row) for row in measured]
        firsts.setdefault(inverter, first)
    rows, shown = comparison.of_files(measuring, paths, kinds, regimes)
    assert [row[:5] for row in rows] == [row[:5] for row in expected]
    assert np.array([r[5:] for r in rows]) == pytest.approx(np.array([r[5:] for r in expected]))
    assert list(shown) == ["linear", "deep"]
    for inverter, image in shown.items():
        np.testing.assert_allclose(image, firsts[inverter], atol=1e-6)
        assert (image.shape, image.dtype) == ((1, 21, 21, 3), np.float32)


def test_baselines_are_inverse_networks_of_no_kind(measuring):
    guesses = baselines.pictures(measuring.pixels.mean(0) / 255)
    rows = comparison.of_guesses(measuring, guesses)
    assert [row[:5] for row in rows] == [
        (name, "", "", 0, image) for name in baselines.NAMES for image in NAMES
    ]
    for name, *_, image, mse, _, _, _ in rows:
        error = guesses[name] - measuring.pixels[NAMES.index(image)] / 255
        assert mse == pytest.approx(np.square(error).mean(), rel=1e-5)
