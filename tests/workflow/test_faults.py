"""kill -9 in the middle, and bad input at the command line."""

import os
import signal
import subprocess
import time

import pytest

from tests.tree import Tree

SLOW = {
    "training": (
        "results/priors/ica.safetensors",
        "results/priors/ica.safetensors.checkpoint",
        "logs/train_prior/ica.log",
        "priors: {ica: {steps: 6000, batch: 1000}}",
    ),
    "reconstruction": (
        "results/reconstructions/alexnet/conv1/tv.h5",
        "results/reconstructions/alexnet/conv1/tv.h5.0.checkpoint",
        "logs/reconstruct/alexnet/conv1/tv.log",
        "recipes: {tv: {phases: [{iterations: 1500, rate: 8.0, decay: true}]}}",
    ),
    "adding priors": (
        "results/adding/alexnet/conv2.h5",
        "results/adding/alexnet/conv2.h5.checkpoint",
        "logs/add_priors/alexnet/conv2.log",
        "recipes: {pure: {phases: [{iterations: 200, rate: 8.0}]}}",
    ),
}


@pytest.mark.parametrize("stage", SLOW)
def test_killed_in_the_middle_the_next_run_continues(finished, tmp_path, stage):
    import shutil

    target, checkpoint, log, change = SLOW[stage]
    root = tmp_path / "tree"
    shutil.copytree(finished.root, root, symlinks=True)
    tree = Tree(root)
    change = tree.config("change.yaml", change)
    whole = Tree(tmp_path / "whole")
    shutil.copytree(root, whole.root, symlinks=True)

    command = tree.command(target, configs=(change,))
    quick = {"RESTORATION_CHECKPOINT_SECONDS": "0.5"}
    process = subprocess.Popen(
        command,
        cwd=root,
        env=tree.environment(**quick),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not (root / checkpoint).exists():
        assert process.poll() is None, (root / log).read_text()
        assert time.monotonic() < deadline, "no checkpoint was written"
        time.sleep(0.05)
    time.sleep(0.7)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (root / target).exists()  # neither whole nor truncated

    refused = tree.snakemake(target, configs=(change,), check=False)
    assert refused.returncode == 1
    assert "--unlock" in refused.stdout
    tree.snakemake("--unlock", configs=(change,))
    tree.snakemake(target, configs=(change,), **quick)
    assert "continuing from" in (root / log).read_text()
    assert not (root / checkpoint).exists()

    whole.snakemake(target, configs=(change,))
    assert (root / target).read_bytes() == (whole.root / target).read_bytes()


FAULTS = {
    "unknown key": ("images: {siez: 64}", ["images.siez", "did you mean size"]),
    "unknown layer": (
        "classifiers: {alexnet: {layers: [conv11]}}",
        ["alexnet_lrn has no layer 'conv11'", "conv1"],
    ),
    "missing folder": ("images: {train: no/such/folder}", ["images.train", "no/such/folder"]),
    "unknown prior": (
        "recipes: {tv: {priors: {tvv: {weight: 1}}}}",
        ["recipes.tv.priors.tvv", "tv"],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_configuration_stops_before_any_job(finished, fault):
    text, words = FAULTS[fault]
    done = finished.snakemake(configs=(finished.config("change.yaml", text),), check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stdout
    for word in words:
        assert word in done.stdout


def test_test_images_among_the_training_images_are_refused(finished, tmp_path):
    from PIL import Image

    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        for index in range(3):
            Image.new("RGB", (64, 64), (index, 2, 3)).save(tmp_path / split / f"{split}{index}.png")
    change = f"images: {{train: {tmp_path / 'train'}, test: {tmp_path / 'test'}}}"
    done = finished.snakemake(
        "--dry-run", configs=(finished.config("change.yaml", change),), check=False
    )
    assert done.returncode == 1
    assert "3 of 3 test images are also training images" in done.stdout


def test_damaged_input_is_named(finished, tmp_path):
    import shutil

    tree = Tree(tmp_path / "tree")
    shutil.copytree(finished.root, tree.root, symlinks=True)
    damaged = tree.root / "results/images/test.h5"
    damaged.write_bytes(damaged.read_bytes()[:5000])
    done = tree.snakemake("results/evaluation/alexnet/conv1.csv", check=False)
    assert done.returncode == 1
    assert "results/images/test.h5 is not a readable HDF5 file" in done.stdout
