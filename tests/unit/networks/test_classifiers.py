import argparse
import dataclasses
import gzip
import io
import os
import pickle
import re
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from deep_restoration.data import images
from deep_restoration.files.atomic import StorageError
from deep_restoration.files.hashing import file_hash
from deep_restoration.files.tensors import open_tensors, save_tensors
from deep_restoration.networks import graph, saved, sources, trace
from deep_restoration.networks.weights import COUNTER, constants, fit_weights, read_weights

MEAN, STD = sources.IMAGENET_MEAN, sources.IMAGENET_STD


def normalised(batch):
    return (batch - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)


# ------------------------------------------------------------------------------ architectures


def test_unknown_architectures_name_the_nearest():
    with pytest.raises(ValueError, match=r"'squeezenet'; nearest: .*squeezenet1_0"):
        sources.build("squeezenet")
    with pytest.raises(ValueError, match=r"nearest: .*alexnet_lrn"):
        sources.build("alexnetlrn")


def test_detectors_are_no_classifiers():
    with pytest.raises(ValueError, match="fasterrcnn_resnet50_fpn"):
        sources.build("fasterrcnn_resnet50_fpn")


def test_only_alexnet_and_vgg_have_literature_names():
    with torch.device("meta"):
        for architecture in ("squeezenet1_0", "resnet18"):
            model = sources.build(architecture)
            assert sources.literature_names(architecture, model) == {}
        model = sources.build("vgg11_bn")
    names = sources.literature_names("vgg11_bn", model)
    assert list(names.values())[2:10] == (
        "conv1_1 bn1_1 relu1_1 pool1 conv2_1 bn2_1 relu2_1 pool2".split()
    )
    assert names["features.27"] == "relu5_2"
    assert names["classifier.6"] == "fc8"


# ------------------------------------------------------------------------------ save and load


@pytest.fixture(scope="module")
def squeezenet():
    torch.manual_seed(0)
    model = sources.build("squeezenet1_0")
    return model, sources.steps_of("squeezenet1_0", model)


@pytest.fixture
def stored(squeezenet, tmp_path):
    model, steps = squeezenet
    path = tmp_path / "network.safetensors"
    layers = ["features.0", "features.3", "features.4.squeeze"]
    saved.save(path, steps, layers, model.state_dict(), MEAN, STD, {"origin": "random"})
    return path, layers


def test_a_stored_classifier_normalises_inside_and_yields_the_same_maps(squeezenet, stored):
    model, _ = squeezenet
    path, layers = stored
    batch = torch.rand(2, 3, 63, 63)
    with torch.no_grad():
        found = saved.load(path, layers)(batch)
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
    with open_tensors(path, "classifier") as (file, description):
        names = set(file.names())
    assert description["origin"] == "random"
    assert "features.4.squeeze.weight" in names
    assert not any(name.startswith(("features.4.expand", "features.5")) for name in names)
    shallow = saved.load(path, ["features.0"])
    assert shallow.tensors() == {"features.0.weight", "features.0.bias"}


def test_layers_behind_the_stored_part_are_refused(stored):
    with pytest.raises(ValueError, match=r"features\.9"):
        saved.load(stored[0], ["features.9"])


def test_files_of_another_stage_are_refused(tmp_path):
    save_tensors(tmp_path / "x.safetensors", {"a": torch.zeros(1)}, "prior", {})
    with pytest.raises(StorageError, match="prior"):
        saved.load(tmp_path / "x.safetensors", ["conv1"])


def test_half_precision_weights_are_stored_as_float32(small_classifier, tmp_path):
    steps, state = small_classifier
    half = {name: value.half() for name, value in state.items()}
    path = tmp_path / "half.safetensors"
    saved.save(path, steps, ["conv2"], half, MEAN, STD, {})
    network = saved.load(path, ["conv2"])
    assert network(torch.rand(1, 3, 20, 20))["conv2"].dtype == torch.float32


# ------------------------------------------------------------------------------ reading weights


STATE = {"conv1.weight": torch.arange(6.0).view(2, 3), "conv1.bias": torch.ones(2)}


def assert_state(found):
    assert found.keys() == STATE.keys()
    for name, value in STATE.items():
        assert torch.equal(found[name], value)


def test_tensors_in_dictionaries_are_named_by_all_keys(tmp_path):
    content = {"epoch": 3, "net": {"state_dict": STATE, "arch": "alexnet"}, 7: [torch.ones(2)]}
    torch.save(content, tmp_path / "weights.pth")
    found = read_weights(tmp_path / "weights.pth")
    prefix = "net.state_dict."
    assert all(name.startswith(prefix) for name in found)
    assert_state({name.removeprefix(prefix): value for name, value in found.items()})


def test_a_dictionary_that_holds_itself_ends(tmp_path):
    content = {"state_dict": dict(STATE)}
    content["again"] = content
    torch.save(content, tmp_path / "weights.pth")
    found = read_weights(tmp_path / "weights.pth")
    assert torch.equal(found["state_dict.conv1.bias"], STATE["conv1.bias"])


def test_the_arguments_of_a_training_are_only_stored(tmp_path):
    torch.save({"model": STATE, "args": argparse.Namespace(lr=0.1)}, tmp_path / "weights.pth")
    assert set(read_weights(tmp_path / "weights.pth")) == {f"model.{n}" for n in STATE}


def test_numbers_of_numpy_are_only_stored_and_objects_refused(tmp_path):
    path = tmp_path / "weights.pth"
    best = {"best": np.float64(93.1), "epoch": np.int64(3), "half": np.float16(1), "yes": np.True_}
    torch.save({"model": STATE, **best}, path)
    assert set(read_weights(path)) == {f"model.{n}" for n in STATE}
    torch.save({"model": STATE, "curve": np.array([object()])}, path)
    with pytest.raises(ValueError, match="it also pickles objects of numpy"):
        read_weights(path)


@pytest.mark.parametrize(
    "name", ["weights.safetensors", "WEIGHTS.SAFETENSORS", "pytorch_model.bin"]
)
def test_safetensors_are_read_under_any_name(tmp_path, name):
    save_file(STATE, tmp_path / name)
    assert_state(read_weights(tmp_path / name))


def test_the_hash_of_a_weights_file_is_checked(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(STATE, path)
    assert_state(read_weights(path, file_hash(path).upper()))
    with pytest.raises(ValueError, match=rf"weights\.pth has sha256 {file_hash(path)}.*{'0' * 64}"):
        read_weights(path, "0" * 64)


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
        read_weights(path)
    assert not target.exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_whole_pickled_modules_are_refused_with_the_mend(tmp_path, zipped):
    path = tmp_path / "module.pth"
    torch.save(nn.Conv2d(1, 1, 1), path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(ValueError, match=r"module\.pth holds no readable weights") as caught:
        read_weights(path)
    assert "it also pickles objects of torch.nn.modules.conv.Conv2d" in str(caught.value)
    assert "torch.save(model.state_dict(), FILE)" in str(caught.value)
    assert "weights_only" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")
def test_programs_of_torchscript_are_refused_with_the_mend(tmp_path):
    traced = torch.jit.trace(nn.Conv2d(1, 1, 1), torch.ones(1, 1, 2, 2))
    traced.save(tmp_path / "program.pt")
    with pytest.raises(ValueError, match=r"TorchScript archive.*state_dict\(\)"):
        read_weights(tmp_path / "program.pt")


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("keep", [0, 10, 0.5])
def test_truncated_files_are_named(tmp_path, suffix, keep):
    path = tmp_path / f"cut.{suffix}"
    torch.save(STATE, path) if suffix == "pth" else save_file(STATE, path)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep == 0.5 else keep])
    with pytest.raises(ValueError, match=rf"cut\.{suffix} holds no readable weights"):
        read_weights(path)


UNNAMED = {
    "a dictionary with the keys epoch, lr": {"epoch": 3, "lr": 0.1},
    "a dictionary with the keys 0, 1, 2, 3, 4 ...": {index: index for index in range(6)},
    "a dictionary with no key": {},
    "a list of Tensor": [torch.zeros(2)],
    "a tuple of str": ("a", 3),
    "a list": [],
    "a Tensor": torch.zeros(2),
}


@pytest.mark.parametrize("what", UNNAMED)
def test_anything_but_named_tensors_is_refused_and_described(tmp_path, what):
    torch.save(UNNAMED[what], tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth holds no state dict of tensors") as caught:
        read_weights(tmp_path / "other.pth")
    assert str(caught.value).endswith(f"tensors, but {what}")


def packed(write):
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def archive(file):
    with zipfile.ZipFile(file, "w") as target:
        for name in ("a.npy", "b.npy", "c.npy", "d.npy"):
            target.writestr(name, "x")


def tape(file):
    with tarfile.open(fileobj=file, mode="w") as target:
        target.addfile(tarfile.TarInfo("weights.pth"))


NO_WEIGHTS = {
    "empty": (b"", "it is empty"),
    "Git LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "git lfs pull"),
    "a web page": (b"\n<!DOCTYPE html><html></html>", "a web page or XML"),
    "an error of a store": (b'<?xml version="1.0"?><Code>AccessDenied</Code>', "download it again"),
    "an index of several files": (b'{"weight_map": {"a": "model-1-of-2.safetensors"}}', "JSON"),
    "gzip": (gzip.compress(packed(lambda file: torch.save(STATE, file))), "compressed: unpack it"),
    "tar": (packed(tape), "a tar archive: unpack it"),
    "zip": (packed(archive), "a zip archive of a.npy, b.npy, c.npy ..."),
    "half of a zip": (packed(lambda file: torch.save(STATE, file))[:700], "it is cut off"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(90), "HDF5, as Keras writes it"),
    "ONNX": (b"\x08\x07\x12\x07pytorch\x1a\x052.0.0:" + bytes(90), "an ONNX file"),
    "a pickle": (pickle.dumps({"w": [1.0]}), "a pickle"),
    "zeros": (bytes(5000), "nothing but zeros"),
    "text": (b"/data/weights/real.pth\n", "it is text"),
}


@pytest.mark.parametrize("case", NO_WEIGHTS)
def test_what_is_taken_for_weights_is_called_by_its_name(tmp_path, case):
    content, words = NO_WEIGHTS[case]
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"weights\.pth holds no readable weights") as caught:
        read_weights(path)
    assert words in str(caught.value)


def test_a_missing_weights_file_is_a_missing_file(tmp_path):
    for name in ("absent.pth", "absent.safetensors"):
        with pytest.raises(FileNotFoundError):
            read_weights(tmp_path / name)


# ------------------------------------------------------------------------------ fitting weights


def published(architecture, state):
    """The names of torchvision's files, whose loaders change them."""
    if architecture.startswith("densenet"):
        return {
            re.sub(r"(denselayer\d+\.(norm|conv))([12])", r"\1.\3", name): value
            for name, value in state.items()
            if not name.endswith(COUNTER)  # these files are older
        }
    new = {".mlp.0.": ".mlp.linear_1.", ".mlp.3.": ".mlp.linear_2."}
    return {re.sub(r"\.mlp\.[03]\.", lambda found: new[found[0]], k): v for k, v in state.items()}


@pytest.mark.parametrize("architecture", ["densenet121", "vit_b_32", "maxvit_t"])
def test_published_names_are_read_as_torchvision_reads_them(architecture, monkeypatch, tmp_path):
    from torchvision.models import densenet

    torch.manual_seed(0)
    model = sources.build(architecture)
    written = {
        name: torch.rand_like(v) if v.is_floating_point() else v
        for name, v in model.state_dict().items()
    }
    file = published(architecture, written) if architecture != "maxvit_t" else written
    assert (file.keys() != written.keys()) == (architecture != "maxvit_t")
    if architecture == "densenet121":

        class Weights:
            def get_state_dict(self, **_):
                return dict(file)

        densenet._load_state_dict(model, Weights(), False)
    else:
        model.load_state_dict(dict(file))
    theirs = model.state_dict()
    steps = sources.steps_of(architecture, model)
    last = steps[-1]["name"]
    own = constants(steps, model)
    found = fit_weights(steps, [last], file, "file.pth", own)
    needed = graph.Network(steps, [last]).tensors()
    assert needed - set(found) <= {name for name in needed if name.endswith(COUNTER)}
    for name, value in found.items():
        assert torch.equal(value, theirs[name] if name in theirs else own[name])
    assert bool(own) == (architecture == "maxvit_t")
    saved.save(tmp_path / "x.safetensors", steps, [last], found, MEAN, STD, {})
    assert saved.load(tmp_path / "x.safetensors", [last]).tensors() == needed


def renamed(state, prefix):
    return {f"{prefix}{name}": value for name, value in state.items()}


def inside(state, word, part):
    """A wrapped submodule: the part of the names after `part`."""
    return {name.replace(part, f"{part}{word}.", 1): value for name, value in state.items()}


WRAPPED = {
    "plain": lambda s: s,
    "wrapped": lambda s: {"state_dict": s, "epoch": 3},
    "twice wrapped": lambda s: {"model": {"model_state_dict": s}},
    "net": lambda s: {"net": s, "acc": 93.1},
    "DataParallel": lambda s: {"state_dict": renamed(s, "module.")},
    "DataParallel of a part": lambda s: inside(s, "module", "features."),
    "torch.compile": lambda s: renamed(s, "_orig_mod."),
    "torch.compile of DataParallel": lambda s: renamed(s, "module._orig_mod."),
    "Lightning": lambda s: {"state_dict": renamed(s, "model.") | {"loss.weight": torch.ones(3)}},
    "any prefix": lambda s: renamed(s, "student.backbone.encoder."),
    "beside an optimiser": lambda s: {
        "model": s,
        "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}},
    },
    "in a list": lambda s: [{"epoch": 3}, s],
    "in a tuple": lambda s: (renamed(s, "module."), 0.93),
    "MoCo": lambda s: (
        renamed({n: v + 1 for n, v in s.items()}, "encoder_k.") | renamed(s, "encoder_q.")
    ),
    "a running average alone": lambda s: {"ema": renamed(s, "module.") | {"n": torch.tensor(2)}},
    "a running average first": lambda s: {
        "model_ema": {name: value + 1 for name, value in s.items()},
        "model": s,
    },
    "half": lambda s: {name: value.bfloat16() for name, value in s.items()},
    "double": lambda s: {name: value.double() for name, value in s.items()},
}


@pytest.mark.parametrize("how", WRAPPED)
def test_weights_are_found_in_the_usual_wrappings(squeezenet, tmp_path, how):
    model, steps = squeezenet
    state = {n: v.bfloat16().float() for n, v in model.state_dict().items()}  # exact in each type
    torch.save(WRAPPED[how](state), tmp_path / "weights.ckpt")
    read = read_weights(tmp_path / "weights.ckpt")
    found = fit_weights(steps, [steps[-1]["name"]], read, "weights.ckpt")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], value) for name, value in state.items())
    assert {value.dtype for value in found.values()} == {torch.float32}


def test_real_weights_are_found_in_a_checkpoint_of_lightning(real_data, tmp_path):
    weights = real_data / "weights" / "squeezenet1_0-imagenet.pth"
    if not weights.is_file():
        pytest.skip("RESTORATION_DATA holds no weights of SqueezeNet")
    with torch.device("meta"):
        steps = sources.steps_of("squeezenet1_0", sources.build("squeezenet1_0"))
    plain_ = fit_weights(steps, [steps[-1]["name"]], read_weights(weights), "w")
    torch.save({"state_dict": renamed(plain_, "net._orig_mod.")}, tmp_path / "last.ckpt")
    read = read_weights(tmp_path / "last.ckpt")
    found = fit_weights(steps, [steps[-1]["name"]], read, "last.ckpt")
    assert all(torch.equal(found[name], value) for name, value in plain_.items())


def cut_head(state):
    return {name: value for name, value in state.items() if not name.startswith("classifier")}


def ten_classes(state):
    shapes = {"classifier.1.weight": (10, 512, 1, 1), "classifier.1.bias": (10,)}
    return state | {name: torch.ones(shape) for name, shape in shapes.items()}


@pytest.mark.parametrize("change", [cut_head, ten_classes])
def test_layers_in_front_of_another_head_or_of_none_are_there(squeezenet, tmp_path, change):
    model, steps = squeezenet
    path, layers = tmp_path / "network.safetensors", ["features.3", "features.12"]
    found = fit_weights(steps, layers, change(model.state_dict()), "w.pth")
    assert found.keys() == cut_head(model.state_dict()).keys()
    saved.save(path, steps, [steps[-1]["name"]], found, MEAN, STD, {})
    assert saved.load(path, layers)(torch.rand(1, 3, 63, 63)).keys() == set(layers)
    with pytest.raises(
        ValueError, match=r"does not reach classifier\.1.*no tensor classifier\.1\.bias"
    ):
        saved.load(path, ["classifier.1"])


@pytest.mark.parametrize("prefix", ["", "module.net."])
def test_a_part_of_the_network_alone_is_read(squeezenet, prefix):
    model, steps = squeezenet
    part = renamed(model.features.state_dict(), prefix)
    found = fit_weights(steps, ["features.12"], part, "features.pth")
    assert found.keys() == cut_head(model.state_dict()).keys()
    assert all(torch.equal(found[name], model.state_dict()[name]) for name in found)
    other = part | {f"{prefix}0.weight": torch.ones(2)}
    with pytest.raises(ValueError, match=r"has no tensor features\.0\.weight; it has .*0\.weight"):
        fit_weights(steps, ["features.12"], other, "features.pth")


def test_another_number_of_classes_is_named_where_the_head_is_needed(squeezenet):
    model, steps = squeezenet
    with pytest.raises(
        ValueError, match=r"tensor classifier\.1\.weight has shape \[10, "
    ) as caught:
        fit_weights(steps, ["classifier.1"], ten_classes(model.state_dict()), "w.pth")
    assert "its classes is 10 in place of 1000, so that only layers in front" in str(caught.value)


def test_missing_tensors_are_named_with_the_nearest(small_classifier):
    steps, state = small_classifier
    lacking = {name: value for name, value in state.items() if name != "conv2.bias"}
    lacking["conv2.bais"] = state["conv2.bias"]
    assert fit_weights(steps, ["conv1"], lacking, "weights.pth").keys() < state.keys()
    message = r"weights\.pth has no tensor conv2\.bias; it has 3 of the architecture's 4 tensors"
    with pytest.raises(ValueError, match=message + r"; nearest to this one: conv2\.bais"):
        fit_weights(steps, ["conv2"], lacking, "weights.pth")
    with pytest.raises(ValueError, match=r"3 of the architecture's 4 tensors under 'net\.'"):
        fit_weights(steps, ["conv2"], renamed(lacking, "net."), "weights.pth")


def test_names_of_another_kind_are_set_beside_those_expected(small_classifier):
    steps, state = small_classifier
    other = {f"0.{index}": value for index, value in enumerate(state.values())}
    with pytest.raises(ValueError, match=r"w has no tensor conv1\.weight") as caught:
        fit_weights(steps, ["conv2"], other, "w")
    assert "it has 0.0, 0.1, 0.2, 0.3; expected: conv1.weight, conv1.bias, " in str(caught.value)
    assert "another architecture" not in str(caught.value)


def test_tensors_of_another_shape_are_named(small_classifier):
    steps, state = small_classifier
    other = {**state, "conv1.weight": torch.zeros(8, 3, 7, 7)}
    message = r"weights\.pth: tensor conv1\.weight has shape \[8, 3, 7, 7\].*\[8, 3, 5, 5\]"
    with pytest.raises(ValueError, match=message + r"; 3 of the architecture's 4 tensors"):
        fit_weights(steps, ["conv2"], other, "weights.pth")


def spoilt(value, place):
    value = value.clone()
    value.view(-1)[place] = torch.tensor(float("nan") if place else float("-inf"))
    return value


UNUSABLE = {
    "NaN": (lambda v: spoilt(v, 3), r"is not finite: 1 of its \d+ values"),
    "infinite": (lambda v: spoilt(v, 0), r"is not finite: 1 of its \d+ values"),
    "beyond float32": (lambda v: v.double() + 1e300, r"is not finite: (\d+) of its \1 values"),
    "whole numbers": (lambda v: v.to(torch.int8), "is of type int8; allowed: float32, float64"),
    "complex": (lambda v: v.to(torch.complex64), "is of type complex64; allowed: float32"),
    "8 bits": (lambda v: v.to(torch.float8_e4m3fn), "is of type float8_e4m3fn; allowed: float32"),
    "quantised": (
        lambda v: torch.quantize_per_tensor(v, 0.1, 0, torch.qint8),
        "is of type qint8; allowed: float32",
    ),
    "sparse": (lambda v: v.to_sparse(), "is of type float32, sparse_coo; allowed: .*, dense"),
    "without values": (lambda v: v.to("meta"), "is without values; allowed: float32"),
}


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
@pytest.mark.parametrize("case", UNUSABLE)
def test_tensors_that_no_network_computes_with_are_named(small_classifier, case):
    steps, state = small_classifier
    change, words = UNUSABLE[case]
    other = {**state, "conv1.weight": change(state["conv1.weight"])}
    with pytest.raises(ValueError, match=r"w\.pth: tensor conv1\.weight " + words):
        fit_weights(steps, ["conv2"], other, "w.pth")


def test_batch_normalisation_without_its_training_counter_is_accepted(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    model[1].running_mean.normal_()
    steps = trace.trace(model)
    last = steps[-1]["name"]
    state = {n: v for n, v in model.state_dict().items() if not n.endswith("batches_tracked")}
    found = fit_weights(steps, [last], state, "old.pth")
    saved.save(tmp_path / "old.safetensors", steps, [last], found, MEAN, STD, {})
    batch = torch.rand(2, 3, 6, 6)
    with torch.no_grad():
        found = saved.load(tmp_path / "old.safetensors", [last])(batch)[last]
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
        sources.published_weights("squeezenet1_0", "IMAGENET1K_V1")
    message = str(caught.value)
    assert re.search(r"the file squeezenet1_0-[0-9a-f]{8}\.pth from https://", message)
    assert str(offline / "hub" / "checkpoints") in message


def test_published_weights_that_do_not_exist_list_those_that_do(offline):
    with pytest.raises(ValueError, match=r"'V9' of resnet50; allowed: .*_V1, .*_V2, DEFAULT"):
        sources.published_weights("resnet50", "V9")


def test_names_of_published_weights():
    assert sources.published_names("resnet18") == ["IMAGENET1K_V1", "DEFAULT"]
    assert "IMAGENET1K_SWAG_E2E_V1" in sources.published_names("vit_b_16")
    assert sources.published_names("alexnet_lrn") == []


def test_damaged_weights_in_the_cache_are_not_used(offline):
    from torchvision.models import SqueezeNet1_0_Weights

    folder = offline / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / SqueezeNet1_0_Weights.IMAGENET1K_V1.url.rpartition("/")[2]).write_bytes(b"no")
    with pytest.raises(ValueError, match=r"squeezenet1_0-.*\.pth holds no readable weights"):
        sources.published_weights("squeezenet1_0", "IMAGENET1K_V1")


def test_published_weights_in_the_cache_need_no_network(offline, monkeypatch):
    from torchvision.models import SqueezeNet1_0_Weights

    folder = offline / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    path = folder / SqueezeNet1_0_Weights.IMAGENET1K_V1.url.rpartition("/")[2]
    torch.save(STATE, path)
    with pytest.raises(ValueError, match="is not the file that torchvision publishes"):
        sources.published_weights("squeezenet1_0", "DEFAULT")
    published = dataclasses.replace(
        SqueezeNet1_0_Weights.IMAGENET1K_V1.value,
        url=f"https://example.org/squeezenet1_0-{file_hash(path)[:8]}.pth",
    )
    monkeypatch.setattr(SqueezeNet1_0_Weights.DEFAULT, "_value_", published)
    path.rename(folder / published.url.rpartition("/")[2])
    assert_state(sources.published_weights("squeezenet1_0", "DEFAULT"))


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
        steps = sources.steps_of("squeezenet1_0", sources.build("squeezenet1_0"))
    state = read_weights(weights)
    last = steps[-1]["name"]
    state = fit_weights(steps, [last], state, str(weights))
    saved.save(tmp_path / "network.safetensors", steps, [last], state, MEAN, STD, {})
    network = saved.load(tmp_path / "network.safetensors", [last])
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
        read_weights(path)
    path.chmod(0o644)
    with ordinary_user():
        assert read_weights(path)["w"].tolist() == [1, 1]
