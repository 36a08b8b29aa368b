"""kill -9 in the middle, and bad input at the command line."""

import json
import os
import signal
import subprocess
import time

import h5py
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
        "results/prior_selection/alexnet/conv2.h5",
        "results/prior_selection/alexnet/conv2.h5.checkpoint",
        "logs/select_priors/alexnet/conv2.log",
        "recipes: {pure: {phases: [{iterations: 200, rate: 8.0}]}}",
    ),
}


@pytest.mark.slow
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
    if stage == "training":  # Snakemake alone: its job must not go on beside its successor
        process.kill()
        while "Snakemake is gone" not in (root / log).read_text():
            assert time.monotonic() < deadline, "the job goes on"
            time.sleep(0.05)
    else:
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
    "a name that leads elsewhere": (
        'recipes: {"../../tv": {phases: [{iterations: 1, rate: 1.0}]}}',
        ["recipes: the name '../../tv' is not allowed"],
    ),
    "a name with a line break": (
        'recipes: {"tv\\n": {phases: [{iterations: 1, rate: 1.0}]}}',
        ["recipes: the name 'tv\\n' is not allowed"],
    ),
    "YAML that would run code": (
        "seed: !!python/object/apply:os.system [touch hacked]",
        ["Config file is not valid"],
    ),
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
    assert not (finished.root / "hacked").exists()


def test_test_images_among_the_training_images_are_refused(finished, tmp_path):
    from PIL import Image

    for split in ("train", "test"):
        (tmp_path / split).mkdir()
        for index in range(3):
            Image.new("RGB", (64, 64), (index, 2, 3)).save(tmp_path / split / f"{split}{index}.png")
    folders = f"train: {tmp_path / 'train'}, test: {tmp_path / 'test'}"
    change = f"images: {{{folders}, held_out: 0.5}}"
    done = finished.snakemake(
        "--dry-run", configs=(finished.config("change.yaml", change),), check=False
    )
    assert done.returncode == 1
    assert "3 of 3 test images are also training images" in done.stdout


def test_a_results_folder_that_cannot_be_written_to_is_named_before_any_job(tmp_path):
    tree = Tree.fresh(tmp_path / "tree")
    results = tree.root / "results"
    results.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", results]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system can be mounted only by root")
    try:
        done = tree.snakemake(check=False)
    finally:
        subprocess.run(["umount", results], check=True)
    assert done.returncode == 1
    assert "results cannot be written to: make it writable" in done.stdout
    assert "Traceback" not in done.stdout


NAMES = ["with space.png", 'it\'s "quoted".png', "two\nlines.png", "-rf.png", "Grüße 日本.png"]
NAMES = [*NAMES, "$(touch hacked).png", "{split}.png", os.fsdecode(b"\xff\xfe.png")]


def test_images_of_any_name_are_prepared_and_a_second_snakemake_is_refused(tmp_path):
    from PIL import Image

    from deep_restoration.files.hdf5 import open_hdf5, read_names

    tree = Tree.fresh(tmp_path / "a tree's; $(touch hacked)")
    folder = tmp_path / 'the "photographs"\n; $(touch hacked)'
    folder.mkdir()
    for index, name in enumerate(NAMES):
        Image.new("RGB", (64, 64), (20 * index, 2, 3)).save(folder / name)
    os.mkfifo(folder / "pipe.jpg")
    (folder / "nowhere.png").symlink_to("gone.png")
    change = tree.config(
        "change.yaml", f"images: {{test: {json.dumps(str(folder))}, test_count: null}}"
    )
    target = "results/images/test.h5"
    process = subprocess.Popen(
        tree.command(target, configs=(change,)),
        cwd=tree.root,
        env=tree.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    locks, deadline = tree.root / ".snakemake/locks", time.monotonic() + 300
    while not (locks.is_dir() and any(locks.iterdir())):
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGSTOP)  # as long as the second one looks
    refused = tree.snakemake(target, configs=(change,), check=False)
    process.send_signal(signal.SIGCONT)
    output, _ = process.communicate()
    assert refused.returncode == 1
    assert "Directory cannot be locked" in refused.stdout
    assert process.returncode == 0, output
    with open_hdf5(tree.root / target, "images") as file:
        assert sorted(read_names(file)) == sorted(NAMES)
    log = (tree.root / "logs/images/test.log").read_text()
    assert "2 of 10 images cannot be used" in log
    assert "pipe.jpg: no file but a pipe" in log
    assert "nowhere.png: not readable: No such file" in log
    assert not list(tmp_path.rglob("hacked"))
    assert not [path for path in tree.root.iterdir() if path.name not in KNOWN]


def test_what_is_not_taken_is_said_once_while_planning_and_in_the_log(tmp_path):
    from PIL import Image

    from deep_restoration.files.hdf5 import open_hdf5, read_names

    tree, folder = Tree.fresh(tmp_path / "tree"), tmp_path / "photographs"
    folder.mkdir()
    for name in ("a.png", "b"):
        Image.new("RGB", (64, 64), (ord(name[0]), 2, 3)).save(folder / name, "PNG")
    (folder / "raw.NEF").write_bytes(b"MM\0*" + bytes(90))
    (folder / "README.txt").write_text("Photographs of mine")
    change = tree.config("change.yaml", f"images: {{test: {folder}, test_count: null}}")
    target, words = (
        "results/images/test.h5",
        "not taken: 1 that may be images: raw.NEF (TIFF, perhaps",
    )
    planned = tree.snakemake(target, "-n", configs=(change,)).stdout
    assert planned.count(f"images.test: {words}") == 1
    done = tree.snakemake(target, configs=(change,)).stdout
    assert done.count(f"images.test: {words}") == 1  # not by every job
    log = (tree.root / "logs/images/test.log").read_text()
    assert words in log
    assert "; 1 that are none" in log
    with open_hdf5(tree.root / target, "images") as file:
        assert read_names(file) == ["a.png", "b"]


KNOWN = {"Snakefile", "config", "resources", "workflow", "profiles", "tests", "change.yaml"}
KNOWN |= {"results", "logs", ".snakemake"}


def test_every_array_of_the_study_has_a_checksum(finished):
    from deep_restoration.files.hdf5 import _unreadable, open_hdf5

    files = [*finished.root.glob("results/**/*.h5")]
    assert len(files) > 20
    for path in files:
        with h5py.File(path) as file:
            stage = file.attrs["stage"]
        with open_hdf5(path, stage) as file:  # which refuses arrays without
            assert _unreadable(file) == ""


def test_damaged_input_is_named_and_computed_again_once_deleted(finished, tmp_path):
    import shutil

    tree = Tree(tmp_path / "tree")
    shutil.copytree(finished.root, tree.root, symlinks=True)
    damaged = tree.root / "results/images/test.h5"
    before = damaged.stat()
    damaged.write_bytes(damaged.read_bytes()[:5000])
    os.utime(damaged, ns=(before.st_atime_ns, before.st_mtime_ns - 10**11))  # not being copied
    table = tree.root / "results/evaluation/alexnet/conv1.csv"
    table.unlink()
    done = tree.snakemake("results/evaluation/alexnet/conv1.csv", check=False)
    assert done.returncode == 1
    assert "results/images/test.h5 is damaged (not a readable HDF5 file" in done.stdout
    assert "delete it and run again" in done.stdout
    damaged.unlink()
    tree.snakemake(
        "results/images/test.h5"
    )  # itself: what was made of it before is there and right
    assert damaged.read_bytes() == (finished.root / "results/images/test.h5").read_bytes()
