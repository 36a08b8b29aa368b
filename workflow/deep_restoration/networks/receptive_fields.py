"""What the units of each layer see: shape, stride, receptive field, by a walk over the steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn

from . import axes
from .graph import CLASS, Network, blocks, decode, inputs_of, look_up, method_of, present

BATCH = 2


# How many axes a vector and maps have, behind the first.
VECTOR, MAPS = 1, 3
# Operations in which every position may depend on every other, or on others than a window says: how far is
# measured, with weights, or taken for the whole image.
MIXING = {*axes.MIXING, "roll", "cumsum", "softmax"}
POOLING = ("kernel_size", "stride", "padding", "dilation")
WINDOWS = {  # functions with a window: their arguments behind the first
    "max_pool2d": POOLING,
    "avg_pool2d": ("kernel_size", "stride", "padding"),
    "conv2d": ("weight", "bias", "stride", "padding", "dilation"),
}
GLOBAL = (
    "adaptive_avg_pool2d",
    "AdaptiveAvgPool2d",
    "AdaptiveMaxPool2d",
    "adaptive_max_pool2d",
    "mean",
)

MOVING = (*axes.RESHAPES, "getitem", "slice")

Build = Callable[[Sequence[str]], Network]


def of_layers(
    steps: Sequence[dict], size: int, network: Build | None = None
) -> tuple[dict[str, dict], str | None]:
    """What is known per layer and block that yields a tensor, for images of size x size pixels.

    `shape` is that of maps, C x H x W, or of a vector, without the batch; `maps` says whether it is
    one of these: other layers cannot be inverted. `stride` and `receptive_field` are in pixels: the side of
    the square that one unit sees, None for the whole image. `global`: whether the unit depends, besides, on
    a mean over the whole map (squeeze-and-excitation). `operation` is the name of the module, function
    or method. A waypoint is a layer through which all paths from the image run: the rest of the network can
    be computed from it alone. Layers of tokens with others in front of those of positions (class, registers)
    are followed by one of these, `<layer>.class`.

    `network` builds the network up to some layers with its weights, for receptive fields that do not
    follow from windows (attention); without it those are taken for the whole image. The second value
    is None, or the reason why the walk ended before the last layer: mostly because the image is too
    small for a pooling.
    """
    values, stop = _values(steps, size)
    seen: dict[str, _Sight] = {}
    result: dict[str, dict] = {}
    last_reader = {name: i for i, step in enumerate(steps) for name in inputs_of(step)}
    open_until = -1
    for index, step in enumerate(steps):
        name = step["name"]
        if name not in values:
            break
        value, sources = values[name], inputs_of(step)
        if step["kind"] != "input" and not any(source in seen for source in sources):
            continue  # what does not depend on the image is no layer
        if not isinstance(value, torch.Tensor | tuple | list):
            continue  # nor is a size
        seen[name] = here = _sight(step, values, seen)
        if isinstance(value, torch.Tensor) and value.ndim > 1:
            how = step.get("axes", {"order": list(range(value.ndim))})
            shape = present(value, how).shape[1:] if how else value.shape[1:]
            maps = how is not None and len(shape) in (VECTOR, MAPS)
            if here.unknown and maps:
                field = math.inf
                if network and len(shape) == MAPS:
                    field = _measured(network([name]), name, size)
                stride = size / shape[1] if len(shape) == MAPS else here.stride
                here = _Sight(stride, max(here.field, field), here.beyond)
            seen[name] = here = here.at(shape[1]) if maps and len(shape) == MAPS else here
            result[name] = {
                "shape": list(shape),
                "maps": maps,
                "stride": int(here.stride) if here.stride == int(here.stride) else here.stride,
                "receptive_field": None if math.isinf(here.field) else int(here.field),
                "global": here.beyond,
                "waypoint": maps and open_until <= index,
                "operation": axes.operation(step),
            }
            if how and how.get("before"):
                own = {"shape": [how["before"] * shape[0]], "receptive_field": None}
                result[name + CLASS] = {**result[name], **own, "waypoint": False}
        open_until = max(open_until, last_reader.get(name, index))
    return _with_blocks(steps, result), stop


def with_axes(steps: Sequence[dict], size: int) -> list[dict]:
    """The steps, with `axes` where a value is no maps N x C x H x W and no vector as it is: how it
    becomes such, or None if it cannot; and with `mixes` where a linear layer acts on positions.

    Checked at twice the size, as far as the steps can be run there: channels may not grow with the image.
    """
    values, _ = _values(steps, size)
    tensors = {n: v for n, v in values.items() if isinstance(v, torch.Tensor)}
    known = axes.label(steps, {name: tuple(value.shape) for name, value in tensors.items()})
    larger, _ = _values(steps, 2 * size)
    result = []
    for step in steps:
        if axes.mixes(step, known):
            step = {**step, "mixes": True}
        value = tensors.get(step["name"])
        if value is not None and value.ndim > 1 and step["kind"] != "parameter":
            how = axes.presentation(known[step["name"]])
            if how is None and value.ndim == 2 and len(value) == BATCH:
                how = {"order": [0, 1]}
            if how and value.ndim > 2 and not _keeps_channels(value, larger.get(step["name"]), how):
                how = None
            if how != {"order": list(range(value.ndim))}:
                step = {**step, "axes": how}
        result.append(step)
    return result


def _keeps_channels(value: torch.Tensor, larger: Any, how: dict) -> bool:
    """Whether a value for an image of twice the size has as many channels."""
    channels = how["order"][1]
    return not isinstance(larger, torch.Tensor) or larger.shape[channels] == value.shape[channels]


def _values(steps: Sequence[dict], size: int) -> tuple[dict[str, Any], str | None]:
    """The values of all steps for images of size x size pixels, without weights (meta device), and why they
    end before the last one, if they do."""
    with torch.device("meta"):
        network = Network(steps, [step["name"] for step in steps])
    image = torch.empty(BATCH, 3, size, size, device="meta")
    values: dict[str, Any] = {}
    for step in steps:
        try:
            values[step["name"]] = _run(network, step, values, image)
        except (RuntimeError, ValueError, AssertionError) as error:
            return values, f"{step['name']}: {error}".splitlines()[0]
    return values, None


class _Sight(NamedTuple):
    """What a unit sees: stride and receptive field, whether a mean of the whole map reaches it besides,
    whether positions were mixed in a way that windows do not describe, how many rows the last map had,
    and whether it was only reshaped since."""

    stride: float = 1
    field: float = 1
    beyond: bool = False
    unknown: bool = False
    rows: int = 0
    moved: bool = False

    def at(self, rows: int) -> _Sight:
        """The same at maps of so many rows. After a reshaping to fewer, neighbours have become channels."""
        if self.moved and rows < self.rows:
            stride = self.stride * self.rows / rows
            return self._replace(
                stride=stride, field=self.field + stride - self.stride, rows=rows, moved=False
            )
        return self._replace(rows=rows, moved=False)


def _sight(step: dict, values: dict, seen: dict[str, _Sight]) -> _Sight:
    sources = [name for name in inputs_of(step) if name in seen]
    here, before = values[step["name"]], [seen[name] for name in sources] or [_Sight()]
    stride, unknown = max(s.stride for s in before), any(s.unknown for s in before)
    beyond, fields = any(s.beyond for s in before), [s.field for s in before]
    # A mean over the map that scales its channels: the window is that of the map.
    shapes = {name: getattr(values[name], "shape", None) for name in sources}
    whole = getattr(here, "shape", None)
    means = [n for n in sources if math.isinf(seen[n].field) and shapes[n] != whole]
    if means and any(shapes[name] == whole for name in sources):
        fields, beyond = [seen[name].field for name in sources if name not in means], True
    stride, field = _widen(step, values, stride, max(fields))
    operation = axes.operation(step)
    beyond |= operation in ("group_norm", "GroupNorm", "instance_norm", "InstanceNorm2d")
    unknown |= operation in MIXING or axes.is_opaque(step) or step.get("mixes", False)
    moved = operation in MOVING or any(s.moved for s in before)
    return _Sight(stride, field, beyond, unknown, max(s.rows for s in before), moved)


def _measured(network: Network, layer: str, size: int) -> float:
    """The receptive field of a layer, by the gradients of two units in the middle: the largest of theirs,
    which differ where windows meet. Infinite if it is the whole image."""
    draw = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, size, size, generator=draw).requires_grad_()
    sides = [1]
    with torch.enable_grad():
        maps = network(image)[layer]
        for row, column in zip(*map(_middle, maps.shape[2:]), strict=True):
            total = maps[0, :, row, column].square().sum()
            (gradient,) = torch.autograd.grad(total, image, retain_graph=True)
            sides += [places[-1] - places[0] + 1 for places in touched(gradient) if places]
    return max(sides) if max(sides) < size else math.inf


def _middle(count: int) -> tuple[int, int]:
    return max(0, count // 2 - 1), count // 2


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
    places = touched(gradient)
    if not all(places):
        return slice(0, size), slice(0, size)
    rows, columns = (slice(found[0], found[-1] + 1) for found in places)
    return rows, columns


def touched(gradient: torch.Tensor) -> tuple[list[int], list[int]]:
    """Rows and columns, each in order, in which any of the images N x 3 x H x W has a gradient."""
    pixels = (gradient != 0).any(1).any(0)
    rows, columns = (pixels.any(axis).nonzero().flatten().tolist() for axis in (1, 0))
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
        end = CLASS if name.endswith(CLASS) else ""
        result |= {block + end: dict(own) for block in ends.get(name.removesuffix(CLASS), ())}
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
    target = axes.operation(step)
    settings = step.get("settings") or {}
    first = values.get(inputs_of(step)[0]) if inputs_of(step) else None
    here = values[step["name"]]
    if not isinstance(here, torch.Tensor) or not isinstance(first, torch.Tensor):
        return stride, field
    if target in GLOBAL:
        if here.shape[2:] == first.shape[2:]:
            return stride, field
        return stride, math.inf
    if target in WINDOWS:
        options = [decode(v, values) for v in step["arguments"][1:]]
        settings = dict(zip(WINDOWS[target], options, strict=False))
        settings |= {
            k: decode(v, values) for k, v in step["keywords"].items() if k in WINDOWS[target]
        }
        if "weight" in settings:
            settings["kernel_size"] = tuple(settings["weight"].shape[2:])
        settings["stride"] = settings.get("stride") or (
            1 if "weight" in settings else settings["kernel_size"]
        )
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
