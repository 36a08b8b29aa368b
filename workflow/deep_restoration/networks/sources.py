"""Architectures by name, layer names of the literature, weights that torchvision publishes.

Layer names: AlexNet and VGG have the literature's (conv1, relu1, norm1, pool1 ... fc8; conv1_1 ...
pool5), every other network those of its graph (`features.4`, `layer1.0.conv1`).
"""

from __future__ import annotations

import json
import os
import sys
from collections import OrderedDict

import torch
from torch import nn

from . import receptive_fields, trace
from .weights import read_weights

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def alexnet_lrn(num_classes: int = 1000) -> nn.Sequential:
    """The network of Krizhevsky et al. 2012: grouped convolutions, response normalisation, then pooling.

    The convolutional part takes any image from 67 pixels per side; the fully connected part takes its
    last map pooled to 6 x 6, which at 227 x 227 changes nothing.
    """
    layers: list[tuple[str, nn.Module]] = []

    def convolution(
        number: int,
        inputs: int,
        outputs: int,
        side: int,
        stride: int = 1,
        padding: int = 0,
        groups: int = 1,
    ) -> None:
        module = nn.Conv2d(inputs, outputs, side, stride, padding, groups=groups)
        layers.append((f"conv{number}", module))
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
        from ..study.wording import nearest

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
    for index, module in model.get_submodule("features").named_children():
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
    for index, module in model.get_submodule("classifier").named_children():
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
        return trace.trace(model)
    from torchvision.models.feature_extraction import NodePathTracer

    return trace.trace(model, NodePathTracer(), literature_names(architecture, model))


def published_names(architecture: str) -> list[str]:
    """Names of the weights that torchvision publishes for an architecture; none for `alexnet_lrn`."""
    if architecture == "alexnet_lrn":
        return []
    import torchvision.models as zoo

    names = list(zoo.get_model_weights(architecture).__members__)
    return list(dict.fromkeys([*names, "DEFAULT"])) if names else []


def published_weights(architecture: str, name: str) -> dict[str, torch.Tensor]:
    """Weights that torchvision publishes, downloaded or from its cache.

    Raises ValueError naming the file and its place when they cannot be downloaded or differ.
    """
    import torchvision.models as zoo

    from ..files.hashing import file_hash

    if name not in (known := published_names(architecture)):
        raise ValueError(
            f"torchvision publishes no weights {name!r} for {architecture}; "
            f"allowed: {', '.join(known) or 'none'}"
        )
    weights = zoo.get_model_weights(architecture)[name]
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


def given_weights(
    architecture: str, weights: str, path: str | os.PathLike, sha256: str | None
) -> tuple[dict[str, torch.Tensor], str]:
    """The tensors that a classifier's `weights` name, and what errors call them: those of the `file` at a
    path, or those that torchvision publishes under this name."""
    if weights == "file":
        return read_weights(path, sha256), str(path)
    return published_weights(architecture, weights), weights


def class_names(architecture: str, count: int) -> list[str]:
    """The names of the classes that torchvision publishes for an architecture, if there are `count`."""
    if architecture == "alexnet_lrn":
        architecture = "alexnet"
    import torchvision.models as zoo

    published = zoo.get_model_weights(architecture)["DEFAULT"].meta.get("categories", [])
    return list(published) if len(published) == count else []


if __name__ == "__main__":  # python -m deep_restoration.networks.sources ARCHITECTURE SIZE
    try:
        layers, stop = receptive_fields.of_layers(steps_of(sys.argv[1]), int(sys.argv[2]))
        weights = published_names(sys.argv[1])
        print(json.dumps({"layers": layers, "stop": stop, "weights": weights}))
    except ValueError as error:
        print(json.dumps({"error": str(error)}))
