"""What the units of each layer see: shape, stride, receptive field, by a walk over the steps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from .graph import Network, blocks, decode, inputs_of, look_up, method_of


def of_layers(steps: Sequence[dict], size: int) -> tuple[dict[str, dict], str | None]:
    """Per layer and block that yields a tensor: shape, stride, receptive field, waypoint, operation.

    For images of size x size pixels, without weights (meta device). `shape` excludes the batch.
    `receptive_field` is the side in pixels of the square that one unit sees, None for the whole image.
    `operation` is the name of the module, function or method. A waypoint is a layer through which all paths
    from the image run: the rest of the network can be computed from it alone. The second value is None, or
    the reason why the walk ended before the last layer: mostly because the image is too small for a pooling.
    """
    with torch.device("meta"):
        network = Network(steps, [step["name"] for step in steps])
    image = torch.empty(2, 3, size, size, device="meta")
    network.mean, network.std = network.mean.to("meta"), network.std.to("meta")
    values: dict[str, Any] = {}
    seen: dict[str, tuple[float, float]] = {}  # stride, receptive field
    result: dict[str, dict] = {}
    last_reader = {name: i for i, step in enumerate(steps) for name in inputs_of(step)}
    open_until = -1
    for index, step in enumerate(steps):
        name = step["name"]
        try:
            values[name] = _run(network, step, values, image)
        except (RuntimeError, ValueError) as error:
            return _with_blocks(steps, result), f"{name}: {error}".splitlines()[0]
        before = [seen[source] for source in inputs_of(step) if source in seen] or [(1, 1)]
        stride = max(s for s, _ in before)
        field = max(f for _, f in before)
        stride, field = _widen(step, values, stride, field)
        seen[name] = stride, field
        if isinstance(values[name], torch.Tensor) and values[name].ndim > 1:
            result[name] = {
                "shape": list(values[name].shape[1:]),
                "stride": stride,
                "receptive_field": None if math.isinf(field) else int(field),
                "waypoint": open_until <= index,
                "operation": step.get("target", step["kind"]).rpartition(".")[2],
            }
        open_until = max(open_until, last_reader.get(name, index))
    return _with_blocks(steps, result), None


def reach(layers: dict[str, dict], layer: str) -> int:
    """The side in pixels of what a unit would see of an unlimited image.

    `layers` as `of_layers` returns them. It is the receptive field, or, where a unit sees the whole image,
    what all positions of the last maps before it see together: 355 pixels for the classes of AlexNet.
    """
    if (own := layers[layer]["receptive_field"]) is not None:
        return own
    before = list(layers.values())[: list(layers).index(layer)]
    last = [facts for facts in before if facts["receptive_field"] is not None][-1]
    return last["receptive_field"] + (max(last["shape"][1:]) - 1) * last["stride"]


def seen(network: nn.Module, layer: str, size: int) -> tuple[slice, slice]:
    """Rows and columns of a size x size image within which all pixels lie that the layer depends on.

    Where windows move by several pixels, the last ones may be in none: at the right and at the bottom.
    Found by the gradients of images of noise; all of them, if there are none.
    """
    draw = torch.Generator().manual_seed(0)
    noise = torch.rand(4, 3, size, size, generator=draw).to(network.get_buffer("mean").device)
    noise.requires_grad_()
    with torch.enable_grad(), torch.autocast(noise.device.type, enabled=False):
        maps = network(noise)[layer]
        (gradient,) = torch.autograd.grad(maps.square().sum(), noise)
    touched = (gradient != 0).any(1).any(0)
    if not touched.any():
        return slice(0, size), slice(0, size)
    places = (touched.any(axis).nonzero().flatten().tolist() for axis in (1, 0))
    rows, columns = (slice(found[0], found[-1] + 1) for found in places)
    return rows, columns


def _with_blocks(steps: Sequence[dict], layers: dict[str, dict]) -> dict[str, dict]:
    """The layers, with each block's name after that of the step that yields its output."""
    ends: dict[str, list[str]] = {}
    for block, name in blocks(steps).items():
        ends.setdefault(name, []).append(block)
    result = {}
    for name, facts in layers.items():
        result[name] = facts
        own = {**facts, "waypoint": False, "operation": "block"}
        result |= {block: dict(own) for block in ends.get(name, ())}
    return result


def _run(network: Network, step: dict, values: dict, image: torch.Tensor) -> Any:
    if step["kind"] == "input":
        return image
    if step["kind"] == "parameter":
        return torch.empty(step["shape"], dtype=decode(step["dtype"], values), device="meta")
    arguments = decode(step["arguments"], values)
    keywords = {key: decode(value, values) for key, value in step["keywords"].items()}
    if step["kind"] == "module":
        return network.weights.get_submodule(step["path"])(*arguments)
    if step["kind"] == "function":
        return look_up(step["target"])(*arguments, **keywords)
    return method_of(arguments[0], step["target"])(*arguments[1:], **keywords)


def _widen(step: dict, values: dict, stride: float, field: float) -> tuple[float, float]:
    """Stride and receptive field after a step, from those before it."""
    target = step.get("target", "").rpartition(".")[2]
    settings = step.get("settings") or {}
    first = values.get(inputs_of(step)[0]) if inputs_of(step) else None
    here = values[step["name"]]
    if not isinstance(here, torch.Tensor) or not isinstance(first, torch.Tensor):
        return stride, field
    if target in ("adaptive_avg_pool2d", "AdaptiveAvgPool2d", "AdaptiveMaxPool2d", "mean"):
        if here.shape[2:] == first.shape[2:]:
            return stride, field
        return stride, math.inf
    if target in ("max_pool2d", "avg_pool2d"):
        options = [decode(v, values) for v in step["arguments"][1:]]
        names = ("kernel_size", "stride", "padding", "dilation")
        settings = dict(zip(names, options, strict=False))
        settings |= {k: decode(v, values) for k, v in step["keywords"].items() if k in names}
        settings["stride"] = settings.get("stride") or settings["kernel_size"]
    elif step["kind"] == "module":
        settings = {key: decode(value, {}) for key, value in settings.items()}
    if "kernel_size" in settings:
        kernel, step_, dilation = (
            _side(settings.get(key) or 1) for key in ("kernel_size", "stride", "dilation")
        )
        return stride * step_, field + (kernel - 1) * dilation * stride
    flat = here.ndim == 2 and first.ndim == 4 and first.shape[2] * first.shape[3] > 1
    return stride, math.inf if flat else field


def _side(value: int | Sequence[int]) -> int:
    return value if isinstance(value, int) else max(value)
