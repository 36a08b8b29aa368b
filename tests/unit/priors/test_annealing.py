"""Which learned priors annealing can ask."""

import pytest

from deep_restoration.files.atomic import StorageError
from deep_restoration.files.tensors import save_tensors
from deep_restoration.priors import annealing


def test_a_prior_that_annealing_cannot_ask_is_named(tmp_path):
    save_tensors(tmp_path / "foe.safetensors", {}, "prior", {"kind": "field"})
    with pytest.raises(
        ValueError, match="holds a field, where one of method wiener or unet is needed"
    ):
        annealing.load(tmp_path / "foe.safetensors")


def test_a_file_of_another_stage_is_refused(tmp_path):
    save_tensors(tmp_path / "a.safetensors", {}, "surrogates", {"kind": "wiener"})
    with pytest.raises(StorageError, match="prior"):
        annealing.load(tmp_path / "a.safetensors")
