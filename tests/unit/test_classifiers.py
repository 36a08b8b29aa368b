import dataclasses
import os
import pickle
import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from deep_restoration import classifiers, graph, images, storage
from deep_restoration.inventory import file_hash

MEAN, STD = classifiers.IMAGENET_MEAN, classifiers.IMAGENET_STD


def normalised(batch):
    return (batch - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)


# ------------------------------------------------------------------------------ architectures


def test_unknown_architectures_name_the_nearest():
    with pytest.raises(ValueError, match=r"'squeezenet'; nearest: .*squeezenet1_0"):
        classifiers.build("squeezenet")
    with pytest.raises(ValueError, match=r"nearest: .*alexnet_lrn"):
        classifiers.build("alexnetlrn")


def test_detectors_are_no_classifiers():
    with pytest.raises(ValueError, match="fasterrcnn_resnet50_fpn"):
        classifiers.build("fasterrcnn_resnet50_fpn")


def test_only_alexnet_and_vgg_have_literature_names():
    with torch.device("meta"):
        for architecture in ("squeezenet1_0", "resnet18"):
            model = classifiers.build(architecture)
            assert classifiers.literature_names(architecture, model) == {}
        model = classifiers.build("vgg11_bn")
    names = classifiers.literature_names("vgg11_bn", model)
    assert list(names.values())[2:10] == (
        "conv1_1 bn1_1 relu1_1 pool1 conv2_1 bn2_1 relu2_1 pool2".split()
    )
    assert names["features.27"] == "relu5_2"
    assert names["classifier.6"] == "fc8"


# ------------------------------------------------------------------------------ save and load


@pytest.fixture(scope="module")
def squeezenet():
    torch.manual_seed(0)
    model = classifiers.build("squeezenet1_0")
    return model, classifiers.steps_of("squeezenet1_0", model)


@pytest.fixture
def stored(squeezenet, tmp_path):
    model, steps = squeezenet
    path = tmp_path / "network.safetensors"
    layers = ["features.0", "features.3", "features.4.squeeze"]
    classifiers.save(path, steps, layers, model.state_dict(), MEAN, STD, {"origin": "random"})
    return path, layers


def test_a_stored_classifier_normalises_inside_and_yields_the_same_maps(squeezenet, stored):
    model, _ = squeezenet
    path, layers = stored
    batch = torch.rand(2, 3, 63, 63)
    with torch.no_grad():
        found = classifiers.load(path, layers)(batch)
        inside = normalised(batch)
        expected = {
            "features.0": model.features[0](inside),
            "features.3": model.features[:4](inside.clone()),
            "features.4.squeeze": model.features[4].squeeze(model.features[:4](inside.clone())),
        }
    assert list(found) == layers
    for name in layers:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-5)


def test_a_stored_classifier_holds_only_what_its_layers_need(stored):
    path, _ = stored
    with storage.open_tensors(path, "classifier") as (file, description):
        names = set(file.names())
    assert description["origin"] == "random"
    assert "features.4.squeeze.weight" in names
    assert not any(name.startswith(("features.4.expand", "features.5")) for name in names)
    shallow = classifiers.load(path, ["features.0"])
    assert shallow.tensors() == {"features.0.weight", "features.0.bias"}


def test_layers_behind_the_stored_part_are_refused(stored):
    with pytest.raises(ValueError, match=r"features\.9"):
        classifiers.load(stored[0], ["features.9"])


def test_files_of_another_stage_are_refused(tmp_path):
    storage.save_tensors(tmp_path / "x.safetensors", {"a": torch.zeros(1)}, "prior", {})
    with pytest.raises(storage.StorageError, match="prior"):
        classifiers.load(tmp_path / "x.safetensors", ["conv1"])


def test_half_precision_weights_are_stored_as_float32(small_classifier, tmp_path):
    steps, state = small_classifier
    half = {name: value.half() for name, value in state.items()}
    path = tmp_path / "half.safetensors"
    classifiers.save(path, steps, ["conv2"], half, MEAN, STD, {})
    network = classifiers.load(path, ["conv2"])
    assert network(torch.rand(1, 3, 20, 20))["conv2"].dtype == torch.float32


# ------------------------------------------------------------------------------ reading weights


STATE = {"conv1.weight": torch.arange(6.0).view(2, 3), "conv1.bias": torch.ones(2)}


def assert_state(found):
    assert found.keys() == STATE.keys()
    for name, value in STATE.items():
        assert torch.equal(found[name], value)


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"state_dict": STATE, "epoch": 3, "arch": "alexnet"},
        {"model": STATE},
        {f"module.{name}": value for name, value in STATE.items()},
        {"state_dict": {f"module.{name}": value for name, value in STATE.items()}},
    ],
    ids=["plain", "state_dict", "model", "module", "state_dict-module"],
)
def test_state_dicts_of_torch_are_read_in_their_usual_wrappings(tmp_path, content):
    torch.save(content, tmp_path / "weights.pth")
    assert_state(classifiers.read_weights(tmp_path / "weights.pth"))


def test_safetensors_are_read(tmp_path):
    save_file(STATE, tmp_path / "weights.safetensors")
    assert_state(classifiers.read_weights(tmp_path / "weights.safetensors"))


def test_the_hash_of_a_weights_file_is_checked(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(STATE, path)
    assert_state(classifiers.read_weights(path, file_hash(path).upper()))
    with pytest.raises(ValueError, match=rf"weights\.pth has sha256 {file_hash(path)}.*{'0' * 64}"):
        classifiers.read_weights(path, "0" * 64)


class Bomb:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize("wrap", [torch.save, lambda x, path: path.write_bytes(pickle.dumps(x))])
def test_pickled_code_is_not_executed(tmp_path, wrap):
    path, target = tmp_path / "bomb.pth", tmp_path / "executed"
    wrap({"conv1.weight": Bomb(target)}, path)
    with pytest.raises(ValueError, match=r"bomb\.pth"):
        classifiers.read_weights(path)
    assert not target.exists()


def test_whole_pickled_modules_are_refused(tmp_path):
    torch.save(nn.Conv2d(1, 1, 1), tmp_path / "module.pth")
    with pytest.raises(ValueError, match=r"module\.pth holds no readable weights"):
        classifiers.read_weights(tmp_path / "module.pth")


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("keep", [0, 10, 0.5])
def test_truncated_files_are_named(tmp_path, suffix, keep):
    path = tmp_path / f"cut.{suffix}"
    torch.save(STATE, path) if suffix == "pth" else save_file(STATE, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep == 0.5 else keep])
    with pytest.raises(ValueError, match=rf"cut\.{suffix} holds no readable weights"):
        classifiers.read_weights(path)


@pytest.mark.parametrize("content", [{"epoch": 3}, [torch.zeros(2)], torch.zeros(2), {"a": "b"}])
def test_anything_but_named_tensors_is_refused(tmp_path, content):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth holds no state dict of tensors"):
        classifiers.read_weights(tmp_path / "other.pth")


def test_a_missing_weights_file_is_a_missing_file(tmp_path):
    for name in ("absent.pth", "absent.safetensors"):
        with pytest.raises(FileNotFoundError):
            classifiers.read_weights(tmp_path / name)


# ------------------------------------------------------------------------------ checking weights


def test_missing_tensors_are_named(small_classifier):
    steps, state = small_classifier
    classifiers.check_weights(steps, ["conv2"], state, "weights.pth")
    lacking = {name: value for name, value in state.items() if name != "conv2.bias"}
    classifiers.check_weights(steps, ["conv1"], lacking, "weights.pth")
    with pytest.raises(ValueError, match=r"weights\.pth has no tensor conv2\.bias"):
        classifiers.check_weights(steps, ["conv2"], lacking, "weights.pth")


def test_tensors_of_another_shape_are_named(small_classifier):
    steps, state = small_classifier
    other = {**state, "conv1.weight": torch.zeros(8, 3, 7, 7)}
    message = r"weights\.pth: tensor conv1\.weight has shape \[8, 3, 7, 7\].*\[8, 3, 5, 5\]"
    with pytest.raises(ValueError, match=message):
        classifiers.check_weights(steps, ["conv2"], other, "weights.pth")


def test_batch_normalisation_without_its_training_counter_is_accepted(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    model[1].running_mean.normal_()
    steps = graph.trace(model)
    last = steps[-1]["name"]
    state = {n: v for n, v in model.state_dict().items() if not n.endswith("batches_tracked")}
    classifiers.check_weights(steps, [last], state, "old.pth")
    classifiers.save(tmp_path / "old.safetensors", steps, [last], state, MEAN, STD, {})
    batch = torch.rand(2, 3, 6, 6)
    with torch.no_grad():
        found = classifiers.load(tmp_path / "old.safetensors", [last])(batch)[last]
        torch.testing.assert_close(found, model(normalised(batch)), rtol=1e-5, atol=1e-5)


# ------------------------------------------------------------------------------ published weights


@pytest.fixture
def offline(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # a port that nothing listens on
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def test_published_weights_without_a_network_say_which_file_to_put_where(offline):
    with pytest.raises(ValueError, match="could not be downloaded") as caught:
        classifiers.published_weights("squeezenet1_0", "IMAGENET1K_V1")
    message = str(caught.value)
    assert re.search(r"the file squeezenet1_0-[0-9a-f]{8}\.pth from https://", message)
    assert str(offline / "hub" / "checkpoints") in message


def test_published_weights_that_do_not_exist_list_those_that_do(offline):
    with pytest.raises(ValueError, match=r"'V9' for resnet50; allowed: .*_V1, .*_V2, DEFAULT"):
        classifiers.published_weights("resnet50", "V9")


def test_damaged_weights_in_the_cache_are_not_used(offline):
    from torchvision.models import SqueezeNet1_0_Weights

    folder = offline / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / SqueezeNet1_0_Weights.IMAGENET1K_V1.url.rpartition("/")[2]).write_bytes(b"no")
    with pytest.raises(ValueError, match=r"squeezenet1_0-.*\.pth holds no readable weights"):
        classifiers.published_weights("squeezenet1_0", "IMAGENET1K_V1")


def test_published_weights_in_the_cache_need_no_network(offline, monkeypatch):
    from torchvision.models import SqueezeNet1_0_Weights

    folder = offline / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    path = folder / SqueezeNet1_0_Weights.IMAGENET1K_V1.url.rpartition("/")[2]
    torch.save(STATE, path)
    with pytest.raises(ValueError, match="is not the file that torchvision publishes"):
        classifiers.published_weights("squeezenet1_0", "DEFAULT")
    published = dataclasses.replace(
        SqueezeNet1_0_Weights.IMAGENET1K_V1.value,
        url=f"https://example.org/squeezenet1_0-{file_hash(path)[:8]}.pth",
    )
    monkeypatch.setattr(SqueezeNet1_0_Weights.DEFAULT, "_value_", published)
    path.rename(folder / published.url.rpartition("/")[2])
    assert_state(classifiers.published_weights("squeezenet1_0", "DEFAULT"))


# ------------------------------------------------------------------------------ real weights


def plain(name):
    return re.sub(r"[^a-z0-9]", "", name.lower())


def labelled_photographs(folder):
    """Paths with class indices, by the labels in the file names; ambiguous labels left out."""
    from torchvision.models import SqueezeNet1_0_Weights

    names = [plain(n) for n in SqueezeNet1_0_Weights.IMAGENET1K_V1.meta["categories"]]
    found = []
    for path in sorted(folder.iterdir()):
        label = plain(path.stem.partition("_")[2])
        if names.count(label) == 1:
            found.append((path, names.index(label)))
    return found


def usable(photographs, size):
    """As the images stage prepares them: reduced by the shorter side, cropped; smaller ones left out."""
    for path, label in photographs:
        try:
            yield images.centre_crop(images.decode(path, size), size), label
        except images.UnusableImage:
            continue


def test_squeezenet_with_real_weights_recognises_real_photographs(real_data, tmp_path):
    weights = real_data / "weights" / "squeezenet1_0-imagenet.pth"
    folder = real_data / "data" / "imagenet-sample" / "test"
    if not (weights.is_file() and folder.is_dir()):
        pytest.skip("RESTORATION_DATA holds no ImageNet weights and photographs")
    with torch.device("meta"):
        steps = classifiers.steps_of("squeezenet1_0", classifiers.build("squeezenet1_0"))
    state = classifiers.read_weights(weights)
    last = steps[-1]["name"]
    classifiers.check_weights(steps, [last], state, str(weights))
    classifiers.save(tmp_path / "network.safetensors", steps, [last], state, MEAN, STD, {})
    network = classifiers.load(tmp_path / "network.safetensors", [last])
    photographs = list(usable(labelled_photographs(folder), 227))
    assert len(photographs) >= 80
    right = 0
    for start in range(0, len(photographs), 20):
        part = photographs[start : start + 20]
        batch = images.as_tensor(np.stack([pixels for pixels, _ in part]))
        with torch.inference_mode():
            best = network(batch)[last].argmax(1).tolist()
        right += sum(b == label for b, (_, label) in zip(best, part, strict=True))
    share = right / len(photographs)
    print(f"top-1: {right} of {len(photographs)} ({share:.1%})")
    assert share > 0.55, f"top-1: {right} of {len(photographs)} ({share:.1%})"


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_weights_without_permission_are_not_called_unreadable(
    ordinary_folder, ordinary_user, suffix
):
    path = ordinary_folder / f"weights.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)({"w": torch.ones(2)}, path)
    path.chmod(0)
    with ordinary_user(), pytest.raises(PermissionError, match=f"Permission denied.*{suffix}"):
        classifiers.read_weights(path)
    path.chmod(0o644)
    with ordinary_user():
        assert classifiers.read_weights(path)["w"].tolist() == [1, 1]
