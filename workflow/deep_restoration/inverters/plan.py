"""Which modules lead from the feature maps of a layer back to the image, and of what size."""

from __future__ import annotations

import math
from dataclasses import dataclass

IMAGE = "image"
LARGEST_KERNEL = 7
# Steps that begin a part of the classifier; others (activations, normalisation by batch statistics,
# dropout) end the part that they follow.
PARTS = ("Conv", "Linear", "Pool", "pool", "LocalResponseNorm", "mean")


@dataclass(frozen=True)
class ModuleSpec:
    """One module: from layer `source` to layer `target` (shapes C, H, W), the transposed convolution that
    leads from one size to the other, and how it is built around it: a name of KINDS."""

    source: str
    target: str
    source_shape: tuple[int, int, int]
    target_shape: tuple[int, int, int]
    kernel: int
    stride: int
    padding: int
    hidden: int
    kind: str = "deconv_relu_conv"


def plan_chain(
    geometry: dict[str, dict],
    layer: str,
    width: int = 64,
    kind: str = "deconv_relu_conv",
    modules: str = "layer",
) -> list[ModuleSpec]:
    """Modules from `layer` to the image, deepest first; sizes follow from the classifier alone.

    `modules` is `layer` (one for each part of the classifier) or `resolution` (one from each resolution to
    the next larger one: fewer and cheaper). `width` is the number of hidden channels of the last module;
    those of the others are the target's, between `width` and 4 `width`. Flat layers are taken as 1 x 1
    maps.
    """
    targets = {"layer": _parts, "resolution": _resolutions}[modules](geometry, layer)
    specs, source = [], layer
    for target in [*targets, IMAGE]:
        a, b = _as_map(geometry[source]["shape"]), _as_map(geometry[target]["shape"])
        hidden = width if target == IMAGE else min(max(b[0], width), 4 * width)
        wanted = kernel_of(geometry[target], geometry[source]) if modules == "layer" else 3
        specs.append(ModuleSpec(source, target, a, b, *upscaling(a[1], b[1], wanted), hidden, kind))
        source = target
    return specs


def _parts(geometry: dict[str, dict], layer: str) -> list[str]:
    """The last layers of all parts before the part of `layer`, deepest first."""
    names = list(geometry)
    names = names[: names.index(layer) + 1]
    folders = {prefix for name in names for prefix in _prefixes(name)}
    steps = [name for name in names if name not in folders]
    inside = _inside_blocks(geometry, steps)
    found: list[str] = []
    part: list[str] = []
    skipped = False
    for name in [*steps, *[layer] * (layer in folders)]:
        if name != layer and (name in inside or not geometry[name]["waypoint"]):
            skipped |= any(word in geometry[name]["operation"] for word in PARTS)
            continue
        if skipped or _begins(geometry, part, name):
            # A map that is flattened has the same values: the part ends at the map.
            same = [p for p in part if geometry[p]["shape"] == geometry[part[0]]["shape"]]
            found += [same[-1]] * (part[0] != IMAGE)
            part, skipped = [], False
        part.append(name)
    return found[::-1]


def _begins(geometry: dict[str, dict], part: list[str], name: str) -> bool:
    """Whether `name` begins a part; a pooling that changes no size does not."""
    operation = geometry[name]["operation"]
    if not part or not any(word in operation for word in PARTS):
        return False
    same = geometry[name]["shape"] == geometry[part[-1]]["shape"]
    return not (same and "pool" in operation.lower())


def _inside_blocks(geometry: dict[str, dict], steps: list[str]) -> set[str]:
    """Layers within a block of parallel paths, without the last, where all have met.

    A block is the innermost name (`features.4` of `features.4.expand1x1`) around a layer on one of
    several paths whose last layer all paths run through.
    """
    last = {prefix: name for name in steps for prefix in _prefixes(name)}
    blocks = set()
    for name in steps:
        if not geometry[name]["waypoint"]:
            whole = [p for p in _prefixes(name) if geometry[last[p]]["waypoint"]]
            blocks |= set(whole[-1:])
    return {n for n in steps for p in _prefixes(n) if p in blocks and n != last[p]}


def _prefixes(name: str) -> list[str]:
    """The blocks around a layer, outermost first."""
    words = name.split(".")
    return [".".join(words[:end]) for end in range(1, len(words))]


def _resolutions(geometry: dict[str, dict], layer: str) -> list[str]:
    """The last layer of each larger resolution through which all paths run, deepest first."""
    names, side = list(geometry), _as_map(geometry[layer]["shape"])[1]
    whole = _as_map(geometry[IMAGE]["shape"])[1]
    found = []
    # Sides can grow with depth, too: after small maps, networks enlarge what they flatten.
    for name in reversed(names[: names.index(layer)]):
        here = _as_map(geometry[name]["shape"])[1]
        if here <= side or not (geometry[name]["waypoint"] or name == IMAGE):
            continue
        side = here
        found += [name] * (here < whole)
    return found


def _as_map(shape: list[int]) -> tuple[int, int, int]:
    channels, height, width = (*shape, 1, 1)[:3]
    return channels, height, width


def kernel_of(front: dict, back: dict) -> int:
    """Side, in positions of `front`, of the window that one position of `back` depends on."""
    fields = front["receptive_field"], back["receptive_field"]
    if None in fields:
        return 3
    return min(int(1 + (fields[1] - fields[0]) / front["stride"]), LARGEST_KERNEL)


def upscaling(small: int, large: int, wanted: int = 3) -> tuple[int, int, int]:
    """Kernel, stride and padding of a transposed convolution from `small` to exactly `large`.

    The kernel is at least `wanted`, 3 and twice the stride; from a single position it is the whole map.
    """
    if small == 1:
        return large, 1, 0
    stride = max(1, (large - 1) // (small - 1)) if large < 2 * small else round(large / small)
    while stride > 1 and (small - 1) * stride + 1 > large:
        stride -= 1
    kernel = large - (small - 1) * stride
    padding = max(0, math.ceil((max(2 * stride, wanted, 3) - kernel) / 2))
    return kernel + 2 * padding, stride, padding
