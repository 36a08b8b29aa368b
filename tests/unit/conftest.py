import os
import shutil
import tempfile
from collections import OrderedDict
from contextlib import contextmanager
from pathlib import Path

import pytest


@pytest.fixture
def ordinary_folder():
    """A folder that every user may enter: tests of root's are closed to others."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def ordinary_user():
    """A block in which permissions count: root may read everything."""

    @contextmanager
    def block():
        own = os.geteuid()
        if own == 0:
            os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(own)

    return block


@pytest.fixture(scope="module")
def one_thread():
    """So small problems take a second thread only to wait for it."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def bfloat16(monkeypatch):
    """Mixed precision is bfloat16 even where this machine only emulates it."""
    from deep_restoration.runtime import devices

    monkeypatch.setattr(devices, "computes_in_bfloat16", lambda where: True)


@pytest.fixture
def stopping_after(monkeypatch):
    """A block in which a training breaks off after its n-th step, as if it were killed."""

    class Killed(Exception):
        pass

    @contextmanager
    def block(count):
        def bar(steps, **options):
            for index, step in enumerate(steps):
                if index == count:
                    raise Killed
                yield step

        with monkeypatch.context() as patch:
            patch.setattr("tqdm.tqdm", bar)
            with pytest.raises(Killed):
                yield

    return block


@pytest.fixture(scope="session")
def small_classifier():
    """Steps and weights of a network of stride 4 (conv1, relu1, pool1, conv2) with random weights."""
    import torch
    from torch import nn

    from deep_restoration.networks import trace

    with torch.random.fork_rng():
        torch.manual_seed(3)
        layers = [
            ("conv1", nn.Conv2d(3, 8, 5, stride=2)),
            ("relu1", nn.ReLU(inplace=True)),
            ("pool1", nn.MaxPool2d(3, 2)),
            ("conv2", nn.Conv2d(8, 6, 3, padding=1)),
        ]
        model = nn.Sequential(OrderedDict(layers))
    return trace.trace(model), model.state_dict()


@pytest.fixture(scope="session")
def network(small_classifier):
    """The small classifier, yielding the maps of conv2 of images around a mean colour."""
    from deep_restoration.networks import graph

    steps, state = small_classifier
    return graph.Network(steps, ["conv2"], (0.45, 0.5, 0.4), (0.2, 0.2, 0.2)).load(state)


@pytest.fixture(scope="session")
def pictures():
    """Three smooth images of 21 x 21 for it."""
    import torch
    import torch.nn.functional as F

    coarse = torch.rand(3, 3, 5, 5, generator=torch.Generator().manual_seed(0))
    return F.interpolate(coarse, size=21, mode="bilinear")


@pytest.fixture(scope="session")
def small_network(small_classifier):
    """The small classifier, yielding the maps of relu1, pool1 and conv2."""
    from deep_restoration.networks import graph

    steps, state = small_classifier
    return graph.Network(steps, ["relu1", "pool1", "conv2"]).load(state)


@pytest.fixture(scope="session")
def small_plans(small_classifier):
    """Plans from conv2 to images of 21 x 21 pixels: `resolution` of two modules, `layer` of three."""
    from deep_restoration.inverters.plan import plan_chain
    from deep_restoration.networks import receptive_fields

    layers, _ = receptive_fields.of_layers(small_classifier[0], 21)
    return {
        modules: plan_chain(layers, "conv2", 8, modules=modules)
        for modules in ("resolution", "layer")
    }


@pytest.fixture(scope="session")
def small_pictures():
    """Thirty smooth pictures of 21 x 21 pixels."""
    import torch

    coarse = torch.rand(30, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, size=21, mode="bilinear")


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of its own with room for 2 MB."""
    import subprocess

    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system can be mounted only by root")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)
