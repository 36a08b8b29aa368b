"""A training whose objective is not finite stops by name and step, and its last good state stays."""

import numpy as np
import pytest
import torch

from deep_restoration.data import images
from deep_restoration.files.tensors import load_tensors
from deep_restoration.inverters import training
from deep_restoration.networks import exemplar, graph
from deep_restoration.priors import autoregressive, denoiser, ridge, score_matching, unet
from deep_restoration.runtime.checkpoints import Checkpoint
from deep_restoration.runtime.errors import DivergedError

ABSURD = 1e25
STEPS = 8


def photographs():
    return np.random.default_rng(0).integers(0, 256, (30, 3, 21, 21), dtype=np.uint8)


def train_patches(rate, checkpoint, _):
    data = torch.randn(1, 200, 6, generator=torch.Generator().manual_seed(0))
    plan = score_matching.Settings("logistic", 5, STEPS, 20, rate, unit_norm=False, patience=None)
    score_matching.train(score_matching.Patches(data, data), plan, 0, checkpoint)


def train_field(rate, checkpoint, _):
    matrix = torch.eye(27)
    problem = score_matching.Fields(photographs(), photographs(), matrix, 3, 4, torch.zeros(3))
    plan = score_matching.Settings("student_t", 5, STEPS, 8, rate, unit_norm=False, patience=None)
    score_matching.train(problem, plan, 0, checkpoint, what="field")


def train_denoiser(rate, checkpoint, _):
    plan = denoiser.Settings(4, 1, 2, (3.0, 30.0), 5.0, 1, STEPS, 4, rate, 12, "float32")
    denoiser.train(photographs(), photographs(), plan, 0, checkpoint)


def train_autoregressive(rate, checkpoint, _):
    plan = autoregressive.Settings(4, 1, 3, STEPS, 4, rate, 12, "float32")
    autoregressive.train(photographs(), photographs(), plan, 0, checkpoint)


def train_ridge(rate, checkpoint, _):
    plan = ridge.Settings(4, 2, 3, (20.0, 30.0), 25.0, 3, STEPS, 4, rate, 12)
    ridge.train(photographs(), photographs(), plan, 0, checkpoint)


def train_inverter(rate, checkpoint, request):
    steps, state = request.getfixturevalue("small_classifier")
    plan = request.getfixturevalue("small_plans")["layer"]
    network = graph.Network(steps, [spec.source for spec in plan]).load(state)
    pictures = images.as_tensor(photographs().transpose(0, 2, 3, 1))
    settings = training.Settings("joint", STEPS, 4, rate, 0.1, 0.0, False, 0, "float32", "cosine")
    training.train(network, plan, lambda i: pictures[i], 30, settings, 0, 0, checkpoint)


def train_classifier(rate, checkpoint, request):
    steps, _ = request.getfixturevalue("small_classifier")
    pictures = torch.from_numpy(photographs())
    settings = exemplar.Settings(8, 21, STEPS, 8, rate, "float32")
    colours = ((0.5,) * 3, (0.2,) * 3)
    exemplar.train(steps, "conv2", pictures, settings, *colours, 0, checkpoint)


def train_unet(rate, checkpoint, _):
    plan = unet.Settings(
        *("direct", (4, 6), 1, 2, (3.0, 300.0), 5.0, STEPS, 4, rate, 0.02, 12, "float32")
    )
    unet.train(photographs(), photographs(), plan, 0, checkpoint)


TRAININGS = {
    "prior": train_patches,
    "field": train_field,
    "denoiser": train_denoiser,
    "U-Net": train_unet,
    "autoregressive prior": train_autoregressive,
    "ridge energy": train_ridge,
    "inverter": train_inverter,
    "classifier": train_classifier,
}


def checkpoint(tmp_path, interval=0):
    return Checkpoint(tmp_path / "out", "key", interval)


@pytest.mark.parametrize("what", TRAININGS)
def test_the_last_good_state_is_kept_and_a_second_run_says_the_same(what, tmp_path, request):
    train, found = TRAININGS[what], []
    for _ in range(2):
        with pytest.raises(DivergedError, match=f"training of the {what}: ") as error:
            train(ABSURD, checkpoint(tmp_path), request)
        found.append(str(error.value))
        assert (
            f"the last good state is in {tmp_path / 'out.checkpoint'}; lower its rate" in found[-1]
        )
        step = int(found[-1].split("at step ")[1].split(";")[0])
        tensors, values = load_tensors(tmp_path / "out.checkpoint", "checkpoint")
        assert values["step"] in (step - 1, step)  # validated before or after its step
        assert all(tensor.isfinite().all() for tensor in tensors.values())
    assert found[0] == found[1]


@pytest.mark.parametrize("what", TRAININGS)
def test_nothing_comes_of_a_training_whose_last_step_diverges(what, tmp_path, request, monkeypatch):
    monkeypatch.setitem(globals(), "STEPS", 1)
    with pytest.raises(DivergedError, match="lower its rate"):
        TRAININGS[what](ABSURD, checkpoint(tmp_path, 60), request)
    assert list(tmp_path.iterdir()) == []
