import logging

import numpy as np
import pytest
import torch

from deep_restoration.files.hdf5 import create_hdf5, write_array
from deep_restoration.files.tables import read_csv
from deep_restoration.inverters import training
from deep_restoration.inverters.chain import load_chain
from deep_restoration.networks import receptive_fields, saved
from deep_restoration.runtime import parallel
from deep_restoration.runtime.errors import DivergedError


def test_alone_there_is_one_worker_that_has_the_whole_batch(monkeypatch):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    workers = parallel.Workers()
    assert workers.first
    assert workers.part(5) == ([0, 1, 2, 3, 4], 1.0)
    assert workers.total(2.0, 3.0) == [2.0, 3.0]
    module = torch.nn.Linear(1, 1)
    assert workers.wrap(module) is module


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8])
@pytest.mark.parametrize("processes", [2, 3])
def test_parts_of_a_batch_have_the_mean_of_the_batch(count, processes, monkeypatch):
    values = np.random.default_rng(0).normal(size=count)
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    total, seen = 0.0, []
    for rank in range(processes):
        monkeypatch.setenv("RANK", str(rank))
        places, weight = parallel.Workers().part(count)
        assert places
        seen += places if weight else []
        total += weight * values[places].mean() / processes
    assert sorted(seen) == list(range(count))
    assert total == pytest.approx(values.mean(), rel=1e-12)


@pytest.fixture(scope="module")
def train(small_classifier, small_pictures, tmp_path_factory):
    """Train from files by so many processes; the weights and the history."""
    folder = tmp_path_factory.mktemp("parallel")
    steps, state = small_classifier
    layers, _ = receptive_fields.of_layers(steps, 21)
    means = (0.45, 0.5, 0.4), (0.2, 0.2, 0.2)
    saved.save(folder / "network.safetensors", steps, ["conv2"], state, *means, {})
    with create_hdf5(folder / "images.h5", "images", {}) as file:
        pixels = (255 * small_pictures).byte().permute(0, 2, 3, 1).numpy()
        write_array(file, "images", pixels, "sRGB")

    def run(name, processes, **changes):
        settings = {"regime": "joint", "steps": 30, "batch": 5, "rate": 5e-3, "held_out": 0.2}
        settings |= {"mirror": True, "shift": 2, "seed": 0, "width": 8, "kind": "deconv_relu_conv"}
        settings |= {"representation": 0.0, "precision": "float32", "schedule": "cosine"}
        arguments = {
            "network": str(folder / "network.safetensors"),
            "images_file": str(folder / "images.h5"),
            "inverter": str(folder / f"{name}.safetensors"),
            "history": str(folder / f"{name}.csv"),
            "layers": layers,
            "layer": "conv2",
            "settings": settings | {"modules": "layer"} | changes,
            "replicate": 0,
            "provenance": {"code": "here"},
        }
        parallel.run(training.train_stored, arguments, processes)
        assert not (folder / f"{name}.safetensors.checkpoint").exists()
        chain = load_chain(folder / f"{name}.safetensors")
        return chain.state_dict(), read_csv(folder / f"{name}.csv")

    return run


def test_two_processes_train_what_one_does(train, caplog):
    alone, history = train("one", 1)
    with caplog.at_level(logging.INFO, logger="deep_restoration"):
        weights, rows = train("two", 2)
    assert "2 processes" in caplog.text
    assert caplog.text.count("best validation image error") == 1  # the first speaks for all
    for name, value in alone.items():
        torch.testing.assert_close(weights[name], value, rtol=1e-3, atol=1e-5)
    for column in ("step", "loss", "image_error", "validation_image_error"):
        np.testing.assert_allclose(rows[column], history[column], rtol=1e-4)


@pytest.mark.slow
def test_a_batch_smaller_than_the_processes_trains_the_same(train):
    (alone, _), (weights, _) = (train(f"small{n}", n, batch=2, steps=10) for n in (1, 3))
    for name, value in alone.items():
        torch.testing.assert_close(weights[name], value, rtol=1e-3, atol=1e-5)


def test_an_expected_error_of_a_process_is_the_jobs(train):
    with pytest.raises(DivergedError, match="step"):
        train("diverged", 2, rate=1e12)
