"""Image classifiers: architectures, layer names of the literature, weights, the network cut at a layer.

A classifier is stored as safetensors with its traced steps (see `graph`); `load` rebuilds the part in
front of the layers asked for. It takes images in [0, 1]: its normalisation is inside.

Layer names: AlexNet and VGG have the literature's (conv1, relu1, norm1, pool1 ... fc8; conv1_1 ...
pool5), every other network those of its graph (`features.4`, `layer1.0.conv1`).
"""

from __future__ import annotations

import argparse
import functools
import json
import logging
import os
import re
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn

from . import graph, storage

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
log = logging.getLogger(__name__)

# Batch normalisation's training counter; older files, most of torchvision's among them, lack it.
COUNTER = ".num_batches_tracked"
# Names of tensors -> those in files that torchvision publishes, whose own loaders change them back
# (densenet._load_state_dict, vision_transformer.MLPBlock._load_from_state_dict).
OLDER = (
    (r"(denselayer\d+\.(?:norm|conv))([12]\.)", r"\1.\2"),
    (r"(encoder_layer_\d+\.mlp\.)0\.", r"\1linear_1."),
    (r"(encoder_layer_\d+\.mlp\.)3\.", r"\1linear_2."),
)
# Parts of a name, at any place, that DataParallel, torch.compile, FSDP and checkpointing put in.
WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
AVERAGED = re.compile("ema|average|swa|teacher|momentum|target|encoder_k")
FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
# How files begin that are taken for weights: by a failed download, or packed, or of another program.
OTHERS = (
    (rb"version https://git-lfs", "a pointer of Git LFS, not the file: git lfs pull"),
    (rb"\s*<", "a web page or XML, as a download leaves that failed: download it again"),
    (rb"\s*[{\[]", "JSON; of weights in several files, say, each of which is needed as one"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd|7z\xbc\xaf", "compressed: unpack it"),
    (rb".{257}ustar", "a tar archive: unpack it"),
    (rb"\x89HDF", "HDF5, as Keras writes it: convert it to a state dict of torch"),
    (rb"\x08.{0,40}(pytorch|onnx)", "an ONNX file, a program: save the model's state_dict()"),
    (rb"\x80[\x02-\x05]", "a pickle; if of tensors, save them by torch.save"),
    (rb"\0*\Z", "nothing but zeros, as a download leaves that broke off: download it again"),
    (rb"[\x20-\x7e\s]+\Z", "text"),
)


# ------------------------------------------------------------------------------ architectures


def alexnet_lrn(num_classes: int = 1000) -> nn.Sequential:
    """The network of Krizhevsky et al. 2012: grouped convolutions, response normalisation, then pooling.

    The convolutional part takes any image from 67 pixels a side; the fully connected one sees its
    last map pooled to 6 x 6, which at 227 x 227 changes nothing.
    """
    layers: list[tuple[str, nn.Module]] = []

    def convolution(number: int, *shape: int, **options: int) -> None:
        layers.append((f"conv{number}", nn.Conv2d(*shape, **options)))
        layers.append((f"relu{number}", nn.ReLU()))

    def shrink(number: int, normalise: bool) -> None:
        if normalise:
            layers.append((f"norm{number}", nn.LocalResponseNorm(5, 1e-4, 0.75, 1.0)))
        layers.append((f"pool{number}", nn.MaxPool2d(3, 2)))

    convolution(1, 3, 96, 11, stride=4)
    shrink(1, normalise=True)
    convolution(2, 96, 256, 5, padding=2, groups=2)
    shrink(2, normalise=True)
    convolution(3, 256, 384, 3, padding=1)
    convolution(4, 384, 384, 3, padding=1, groups=2)
    convolution(5, 384, 256, 3, padding=1, groups=2)
    shrink(5, normalise=False)
    layers += [("resize", nn.AdaptiveAvgPool2d(6)), ("flatten", nn.Flatten())]
    for number, (inputs, outputs) in {6: (9216, 4096), 7: (4096, 4096)}.items():
        layers.append((f"fc{number}", nn.Linear(inputs, outputs)))
        layers.append((f"relu{number}", nn.ReLU()))
        layers.append((f"drop{number}", nn.Dropout()))
    layers.append(("fc8", nn.Linear(4096, num_classes)))
    return nn.Sequential(OrderedDict(layers))


def build(architecture: str) -> nn.Module:
    """The untrained module of an architecture, in evaluation mode.

    Raises ValueError, with the nearest names, for one that neither torchvision nor this module has.
    """
    if architecture == "alexnet_lrn":
        return alexnet_lrn().eval()
    import torchvision.models as zoo

    if architecture not in zoo.list_models(module=zoo):
        from .configuration import nearest

        known = ["alexnet_lrn", *zoo.list_models(module=zoo)]
        raise ValueError(
            f"there is no architecture {architecture!r}; nearest: {nearest(architecture, known)}"
        )
    options = {}
    if architecture in ("inception_v3", "googlenet"):  # as their published weights were trained
        options = {"init_weights": False, "aux_logits": True, "transform_input": True}
    return zoo.get_model(architecture, weights=None, **options).eval()


def literature_names(architecture: str, model: nn.Module) -> dict[str, str]:
    """Qualified layer names of torchvision's AlexNet and VGG -> the literature's names."""
    if not architecture.startswith(("alexnet", "vgg")) or architecture == "alexnet_lrn":
        return {}
    names, block, number = {"avgpool": "resize", "flatten": "flatten"}, 1, 0
    for index, module in model.features.named_children():
        vgg = architecture.startswith("vgg")
        if isinstance(module, nn.Conv2d):
            number += 1
        label = f"{block}_{number}" if vgg else str(number)
        kind = {nn.Conv2d: "conv", nn.ReLU: "relu", nn.BatchNorm2d: "bn", nn.MaxPool2d: "pool"}
        word = kind[type(module)]
        names[f"features.{index}"] = word + (str(block) if word == "pool" and vgg else label)
        if word == "pool" and vgg:
            block, number = block + 1, 0
    linear = relu = dropout = 5
    for index, module in model.classifier.named_children():
        if isinstance(module, nn.Linear):
            names[f"classifier.{index}"] = f"fc{(linear := linear + 1)}"
        elif isinstance(module, nn.ReLU):
            names[f"classifier.{index}"] = f"relu{(relu := relu + 1)}"
        else:
            names[f"classifier.{index}"] = f"drop{(dropout := dropout + 1)}"
    return names


def steps_of(architecture: str, model: nn.Module | None = None) -> list[dict]:
    """The traced steps of an architecture under their readable names."""
    model = model if model is not None else build(architecture)
    if architecture == "alexnet_lrn":
        return graph.trace(model)
    from torchvision.models.feature_extraction import NodePathTracer

    return graph.trace(model, NodePathTracer(), literature_names(architecture, model))


# ------------------------------------------------------------------------------ weights


def read_weights(path: str | os.PathLike, sha256: str | None = None) -> dict[str, torch.Tensor]:
    """All tensors of a torch or a safetensors file by name, without executing pickled code.

    Those of dictionaries inside of others are named by both keys, `state_dict.conv1.weight`: what a
    checkpoint wraps around a state dict is one more prefix (see `fit`). Raises ValueError naming the file
    when its hash differs, it is damaged, or it holds anything but dictionaries of tensors, and OSError
    when it cannot be read.
    """
    from .inventory import file_hash

    if sha256 and (found := file_hash(path)) != sha256.lower():
        raise ValueError(f"{path} has sha256 {found}; the configuration says {sha256}")
    with open(path, "rb"):  # safetensors calls one that may not be read missing
        pass
    try:
        if _is_safetensors(path):
            from safetensors.torch import load_file

            content = load_file(path)
        else:
            with torch.serialization.safe_globals(_harmless()):
                content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if isinstance(error, MemoryError) or getattr(error, "errno", None):
            raise  # of the system, not of the file
        raise ValueError(
            f"{path} holds no readable weights; it must be a state dict of tensors saved by torch "
            f"or safetensors, and pickled code is never executed ({_reason(path, error)})"
        ) from None
    state = dict(_tensors(content))
    if not state:
        raise ValueError(f"{path} holds no state dict of tensors, but {_description(content)}")
    return state


def _harmless() -> list[type | tuple[object, str]]:
    """What many checkpoints hold beside tensors, and what only stores what it is given: the arguments of a
    training, and numbers of NumPy such as its best accuracy."""
    kinds = [np.dtype(kind) for kind in "?bhilqBHILQefd"]
    scalar = np.float64(0).__reduce__()[0]
    names = [f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")]
    return [argparse.Namespace, np.dtype, *map(type, kinds), *((scalar, name) for name in names)]


def _is_safetensors(path: str | os.PathLike) -> bool:
    """By its name, or by its start: the length of a header in JSON, and that header."""
    with open(path, "rb") as file:
        return str(path).lower().endswith(".safetensors") or file.read(9)[8:] == b"{"


def _reason(path: str | os.PathLike, error: Exception) -> str:
    """What the file is instead, or what torch says is wrong, without its advice to load it unprotected."""
    text = str(error).strip() or type(error).__name__
    if pickled := re.search(r"Unsupported global: GLOBAL (\S+)", text):
        return (
            f"it also pickles objects of {pickled[1]}: save its state dict alone, "
            "torch.save(model.state_dict(), FILE)"
        )
    if "TorchScript" in text:
        return "it is a TorchScript archive, a program: save the model's state_dict()"
    with open(path, "rb") as file:
        start = file.read(512)
    if not start:
        return "it is empty"
    if zipfile.is_zipfile(path):
        names = zipfile.ZipFile(path).namelist()
        if not any(name.endswith("data.pkl") for name in names):
            return f"it is a zip archive of {', '.join(names[:3])}{' ...' * (len(names) > 3)}"
    elif start.startswith(b"PK"):
        return "it is cut off: copy or download it again"
    for pattern, what in OTHERS:
        if re.match(pattern, start, re.DOTALL):
            return f"it is {what}"
    return text.splitlines()[0].split(". ")[0]


def _tensors(content: object, depth: int = 5) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and tensors of dictionaries, also of those in lists, at most so deep: a pickled one may hold
    itself."""
    if isinstance(content, list | tuple):
        content = {
            index: value for index, value in enumerate(content) if not torch.is_tensor(value)
        }
    for key, value in content.items() if isinstance(content, dict) and depth else ():
        if torch.is_tensor(value):
            yield str(key), value
        else:
            yield from ((f"{key}.{name}", tensor) for name, tensor in _tensors(value, depth - 1))


def _description(content: object) -> str:
    """The outside of what a file holds."""
    if isinstance(content, dict):
        some = ", ".join(map(str, list(content)[:5])) + " ..." * (len(content) > 5)
        return f"a dictionary with {f'the keys {some}' if some else 'no key'}"
    inside = content[:1] if isinstance(content, list | tuple) else ()
    return f"a {type(content).__name__}" + "".join(f" of {type(x).__name__}" for x in inside)


def published_names(architecture: str) -> list[str]:
    """Names of the weights that torchvision publishes for an architecture; none for `alexnet_lrn`."""
    if architecture == "alexnet_lrn":
        return []
    import torchvision.models as zoo

    names = list(zoo.get_model_weights(architecture).__members__)
    return list(dict.fromkeys([*names, "DEFAULT"])) if names else []


def published_weights(architecture: str, name: str) -> dict[str, torch.Tensor]:
    """Weights that torchvision publishes, downloaded or from its cache.

    Raises ValueError naming the file and its place when they cannot be downloaded or are others.
    """
    import torchvision.models as zoo

    from .inventory import file_hash

    if name not in (known := published_names(architecture)):
        raise ValueError(
            f"torchvision publishes no weights {name!r} for {architecture}; "
            f"allowed: {', '.join(known) or 'none'}"
        )
    choices = zoo.get_model_weights(architecture)
    weights = choices[name] if name != "DEFAULT" else choices.DEFAULT
    folder = os.path.join(torch.hub.get_dir(), "checkpoints")
    file = weights.url.rpartition("/")[2]
    path = os.path.join(folder, file)
    start = file.rpartition("-")[2].partition(".")[0]  # of its hash, as in every name
    try:
        if not os.path.exists(path):
            os.makedirs(folder, exist_ok=True)
            torch.hub.download_url_to_file(weights.url, path, start, sys.stderr.isatty())
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"the weights {name} of {architecture} could not be downloaded ({error}). Put the file "
            f"{file} from {weights.url} into {folder}, or name a file in `weights:`"
        ) from None
    state = read_weights(path)
    if not (found := file_hash(path)).startswith(start):
        raise ValueError(
            f"{path} is not the file that torchvision publishes: its sha256 is {found}"
        )
    return state


def class_names(architecture: str, count: int) -> list[str]:
    """The names of the classes that torchvision publishes for an architecture, if there are `count`."""
    if architecture == "alexnet_lrn":
        architecture = "alexnet"
    import torchvision.models as zoo

    published = zoo.get_model_weights(architecture).DEFAULT.meta.get("categories", [])
    return list(published) if len(published) == count else []


def expected(steps: Sequence[dict]) -> dict[str, dict[str, torch.Tensor]]:
    """The tensors of every step by name, as an architecture has them: shapes and types without values."""
    with torch.device("meta"):
        weights = graph.Network(steps, [step["name"] for step in steps]).weights
    found: dict[str, dict[str, torch.Tensor]] = {}
    for step in steps:
        found[step["name"]] = {}
        if step["kind"] == "module":
            inside = weights.get_submodule(step["path"]).state_dict()
            found[step["name"]] = {f"{step['path']}.{key}": value for key, value in inside.items()}
        elif step["kind"] == "parameter":
            dtype = getattr(torch, step["dtype"]["dtype"])
            value = torch.empty(step["shape"], dtype=dtype, device="meta")
            found[step["name"]] = {step["target"]: value}
    return found


def constants(steps: Sequence[dict], model: nn.Module) -> dict[str, torch.Tensor]:
    """What steps take from an architecture though nobody trains it: tables of positions, computed when the
    module was built or traced. Not every file has them."""
    found = {}
    for step in steps:
        if step["kind"] == "parameter":
            tensor = functools.reduce(getattr, step["target"].split("."), model)
            if not isinstance(tensor, nn.Parameter):
                found[step["target"]] = tensor
    return found


def fit(
    steps: Sequence[dict],
    layers: Sequence[str],
    state: dict[str, torch.Tensor],
    origin: str,
    own: dict[str, torch.Tensor] | None = None,
) -> dict[str, torch.Tensor]:
    """The tensors of a file under the architecture's names, floats as float32: all that `layers` need, and
    of the others those that fit.

    `state`: of `read_weights`. Its names may have one prefix in common, that of a wrapper, and be those of
    OLDER, or those inside of one part of the network, as of `model.features.state_dict()`. Behind `layers`
    tensors may be absent or have other shapes: a network without its head, or with one for other classes.
    `own`: `constants`, which a file may lack. Raises ValueError naming the first tensor that is absent, of
    another shape or type, or not finite.
    """
    tensors = expected(steps)
    wanted = {name: like for inside in tensors.values() for name, like in inside.items()}
    needed = {name for step in graph.cut(steps, layers) for name in tensors[step["name"]]}
    prefix, found = _named(state, wanted, origin)
    found = found or _of_a_part(state, wanted, origin)
    given, result, left_out = (own or {}) | found, {}, []
    for name, like in wanted.items():
        if name.endswith(COUNTER):
            continue
        if name in given and given[name].shape == like.shape:
            result[name] = _checked(f"{origin}: tensor {name}", given[name], like)
        elif name in needed:
            raise ValueError(_absent(origin, name, state, prefix, wanted, found))
        else:
            left_out.append(name)
    if left_out:
        what = "%s: %d tensors are absent or of other shapes, the first of them %s; no layer needs them"
        log.warning(what, origin, len(left_out), left_out[0])
    return result


def _named(
    state: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], origin: str
) -> tuple[str, dict[str, torch.Tensor]]:
    """The prefix under which most of the wanted tensors lie, and these under their own names.

    Of several as good ones, a running average comes last, otherwise the first in the file first.
    """
    known = {name: name for name in wanted}
    for pattern, older in OLDER:
        known |= {re.sub(pattern, older, name): name for name in wanted}
    plain: dict[str, torch.Tensor] = {}
    for key, value in state.items():
        plain.setdefault(".".join(part for part in key.split(".") if part not in WRAPPERS), value)
    places: dict[str, dict[str, torch.Tensor]] = {"": {}}
    for key, value in plain.items():
        parts = key.split(".")
        for start in range(len(parts)):
            if name := known.get(".".join(parts[start:])):
                places.setdefault("".join(f"{part}." for part in parts[:start]), {})[name] = value

    def score(prefix: str) -> tuple[int, bool]:
        found = places[prefix]
        right = sum(value.shape == wanted[name].shape for name, value in found.items())
        return right + len(found), not AVERAGED.search(prefix)

    best = max(places, key=score)
    for other in places:
        if other != best and score(other)[0] == score(best)[0] > 0:
            log.warning("%s: %r is taken, not %r", origin, f"{best}*", f"{other}*")
    return best, places[best]


def _of_a_part(
    state: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], origin: str
) -> dict[str, torch.Tensor]:
    """The tensors of a file that holds one part of the network, whole, under the names that it has inside;
    none if it holds no such part."""
    for part in dict.fromkeys(name.partition(".")[0] + "." for name in wanted):
        own = {name.removeprefix(part): v for name, v in wanted.items() if name.startswith(part)}
        _, found = _named(state, own, origin)
        needed = {name for name in own if not name.endswith(COUNTER)}
        if len(needed) > 2 and needed <= {k for k, v in found.items() if v.shape == own[k].shape}:
            return {part + name: value for name, value in found.items()}
    return {}


def _absent(
    origin: str,
    name: str,
    state: dict[str, torch.Tensor],
    prefix: str,
    wanted: dict[str, torch.Tensor],
    found: dict[str, torch.Tensor],
) -> str:
    """What a file has in place of a tensor that is absent or of another shape."""
    from .configuration import nearest

    right = [key for key, value in found.items() if value.shape == wanted[key].shape]
    share = f"{len(right)} of the architecture's {len(wanted)} tensors"
    if name in found:
        here, there = list(found[name].shape), list(wanted[name].shape)
        shapes = f"{origin}: tensor {name} has shape {here}, the architecture needs {there}"
        if here[1:] == there[1:] and name == [key for key in wanted if wanted[key].ndim > 1][-1]:
            return (
                f"{shapes}: the number of its classes is {here[0]} in place of {there[0]}, so that only "
                "layers in front of it can be taken"
            )
        return f"{shapes}; {share} are in the file in this shape"
    if not found:
        some = ", ".join(list(wanted)[:3])
        return (
            f"{origin} has no tensor {name}; it has {nearest(name, state)}; "
            f"expected: {some} ... ({len(wanted)} in all)"
        )
    under = f" under {prefix!r}" if prefix else ""
    return (
        f"{origin} has no tensor {name}; it has {share}{under}; nearest to this one: "
        f"{nearest(prefix + name, state)}"
    )


def _checked(what: str, value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The tensor as a network computes with it: float32, or whole numbers where these belong."""
    if like.is_floating_point():
        if value.dtype not in FLOATS or value.layout != torch.strided or value.is_meta:
            kind = "without values" if value.is_meta else f"of type {str(value.dtype)[6:]}"
            kind += "" if value.layout == torch.strided else f", {str(value.layout)[6:]}"
            names = ", ".join(str(dtype)[6:] for dtype in FLOATS)
            raise ValueError(f"{what} is {kind}; allowed: {names}, dense")
        value = value.float()
        if bad := int((~value.isfinite()).sum()):
            raise ValueError(
                f"{what} is not finite: {bad} of its {value.numel()} values, as float32; take the weights "
                "of an earlier checkpoint"
            )
    elif value.dtype.is_floating_point or value.dtype.is_complex or value.is_quantized:
        raise ValueError(f"{what} is of type {str(value.dtype)[6:]}; it must hold whole numbers")
    return value


def save(
    path: str | os.PathLike,
    steps: Sequence[dict],
    layers: Sequence[str],
    state: dict[str, torch.Tensor],
    mean: Sequence[float],
    std: Sequence[float],
    provenance: dict,
) -> None:
    """Store the part of a classifier in front of `layers`: its steps, normalisation, and weights, as far as
    `state` has them."""
    steps = graph.cut(steps, layers)
    with torch.device("meta"):
        needed = graph.Network(steps, layers).tensors()
    tensors = {}
    for name in sorted(needed):
        if name.endswith(COUNTER):
            tensors[name] = torch.tensor(0)
        elif name in state:
            value = state[name]
            tensors[name] = value.float() if value.is_floating_point() else value
    description = {"steps": steps, "mean": list(mean), "std": list(std), **provenance}
    storage.save_tensors(path, tensors, "classifier", description)


def load(path: str | os.PathLike, layers: Sequence[str]) -> graph.Network:
    """The frozen network that yields the maps of `layers`; only the weights it needs are read."""
    with storage.open_tensors(path, "classifier") as (file, description):
        with torch.device("meta"):
            network = graph.Network(
                description["steps"], layers, description["mean"], description["std"]
            )
        if absent := sorted(network.tensors() - set(file.names())):
            raise ValueError(
                f"{path} does not reach {', '.join(layers)}: the weights that it was made from have no "
                f"tensor {absent[0]} of the architecture's shape; take layers in front of it"
            )
        return network.load({name: file.get_tensor(name) for name in network.tensors()})


def first_convolution(path: str | os.PathLike) -> str:
    """Name of the first convolution of a stored classifier."""
    with storage.open_tensors(path, "classifier") as (_, description):
        for step in description["steps"]:
            if step.get("target", "").endswith(".Conv2d"):
                return step["name"]
    raise ValueError(f"{path}: the network has no convolution")


if __name__ == "__main__":  # python -m deep_restoration.classifiers ARCHITECTURE SIZE
    try:
        layers, stop = graph.geometry(steps_of(sys.argv[1]), int(sys.argv[2]))
        weights = published_names(sys.argv[1])
        print(json.dumps({"layers": layers, "stop": stop, "weights": weights}))
    except ValueError as error:
        print(json.dumps({"error": str(error)}))
