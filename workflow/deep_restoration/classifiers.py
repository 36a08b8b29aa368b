"""Image classifiers: architectures, layer names of the literature, weights, the network cut at a layer.

A classifier is stored as safetensors with its traced steps (see `graph`); `load` rebuilds the part in
front of the layers asked for. It takes images in [0, 1]: its normalisation is inside.

Layer names: AlexNet and VGG have the literature's (conv1, relu1, norm1, pool1 ... fc8; conv1_1 ...
pool5), every other network those of its graph (`features.4`, `layer1.0.conv1`).
"""

from __future__ import annotations

import json
import os
import sys
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import nn

from . import graph, storage

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Batch normalisation's training counter; older files, most of torchvision's among them, lack it.
COUNTER = ".num_batches_tracked"


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
    """A state dict from a torch or a safetensors file, without executing pickled code.

    Raises ValueError naming the file when its hash differs, it is damaged, or it holds anything but
    tensors, and OSError when it cannot be read.
    """
    from .inventory import file_hash

    if sha256 and (found := file_hash(path)) != sha256.lower():
        raise ValueError(f"{path} has sha256 {found}; the configuration says {sha256}")
    with open(path, "rb"):  # safetensors calls one that may not be read missing
        pass
    try:
        if str(path).endswith(".safetensors"):
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if isinstance(error, MemoryError) or getattr(error, "errno", None):
            raise  # of the system, not of the file
        # The first sentence only: torch goes on to advise loading without protection.
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0]
        raise ValueError(
            f"{path} holds no readable weights; it must be a state dict of tensors saved by torch "
            f"or safetensors, and pickled code is never executed ({reason})"
        ) from None
    if isinstance(state, dict):  # checkpoints often wrap their state dict once
        for key in ("state_dict", "model"):
            if isinstance(state.get(key), dict):
                state = state[key]
    if not isinstance(state, dict) or not all(torch.is_tensor(v) for v in state.values()):
        raise ValueError(f"{path} holds no state dict of tensors")
    return {name.removeprefix("module."): value for name, value in state.items()}


def published_weights(architecture: str, name: str) -> dict[str, torch.Tensor]:
    """Weights that torchvision publishes, downloaded or from its cache.

    Raises ValueError naming the file and its place when they cannot be downloaded or are others.
    """
    import torchvision.models as zoo

    from .inventory import file_hash

    choices = zoo.get_model_weights(architecture)
    if name not in (*choices.__members__, "DEFAULT"):
        raise ValueError(
            f"torchvision publishes no weights {name!r} for {architecture}; "
            f"allowed: {', '.join(choices.__members__) or 'none'}, DEFAULT"
        )
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


def check_weights(
    steps: Sequence[dict], layers: Sequence[str], state: dict[str, torch.Tensor], origin: str
) -> None:
    """Raise ValueError naming the first tensor of `layers` that is absent or has another shape."""
    with torch.device("meta"):
        network = graph.Network(steps, layers)
    expected = {name: list(value.shape) for name, value in network.weights.state_dict().items()}
    expected |= {s["target"]: s["shape"] for s in network.steps if s["kind"] == "parameter"}
    for name, shape in expected.items():
        if name not in state and name.endswith(COUNTER):
            continue
        if name not in state:
            raise ValueError(f"{origin} has no tensor {name}; is it of another architecture?")
        if list(state[name].shape) != shape:
            found = list(state[name].shape)
            raise ValueError(
                f"{origin}: tensor {name} has shape {found}, the architecture needs {shape}"
            )


def save(
    path: str | os.PathLike,
    steps: Sequence[dict],
    layers: Sequence[str],
    state: dict[str, torch.Tensor],
    mean: Sequence[float],
    std: Sequence[float],
    provenance: dict,
) -> None:
    """Store the part of a classifier in front of `layers`: its steps, weights and normalisation."""
    steps = graph.cut(steps, layers)
    with torch.device("meta"):
        needed = graph.Network(steps, layers).tensors()
    tensors = {}
    for name in sorted(needed):
        value = torch.tensor(0) if name.endswith(COUNTER) else state[name]
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
        print(json.dumps({"layers": layers, "stop": stop}))
    except ValueError as error:
        print(json.dumps({"error": str(error)}))
