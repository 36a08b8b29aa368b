"""The AlexNet of 2012, and the names of the literature for the layers of torchvision's AlexNet and VGG."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn


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
