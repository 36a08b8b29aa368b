"""Inverse networks: a chain of modules from the feature maps of a layer back to the image.

After Dosovitskiy & Brox 2016 and Harder 2017. Each module inverts a small part of the classifier: a
convolution with its activation, a pooling, a normalisation, a fully connected layer, or a block with
parallel paths as a whole. What lies between two modules is a real layer.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import nn

from . import storage

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


# ------------------------------------------------------------------------------ plans


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
        wanted = _kernel(geometry[target], geometry[source]) if modules == "layer" else 3
        specs.append(ModuleSpec(source, target, a, b, *_upscale(a[1], b[1], wanted), hidden, kind))
        source = target
    return specs


def _parts(geometry: dict[str, dict], layer: str) -> list[str]:
    """The last layers of all parts in front of the one that `layer` is of, deepest first."""
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
    # Sides can grow with depth, too: behind small maps, networks enlarge what they flatten.
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


def _kernel(front: dict, back: dict) -> int:
    """Side, in positions of `front`, of what one position of `back` looks at."""
    fields = front["receptive_field"], back["receptive_field"]
    if None in fields:
        return 3
    return min(int(1 + (fields[1] - fields[0]) / front["stride"]), LARGEST_KERNEL)


def _upscale(small: int, large: int, wanted: int = 3) -> tuple[int, int, int]:
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


# ------------------------------------------------------------------------------ modules


def _deconvolution(spec: ModuleSpec, channels: int, into: int) -> nn.Module:
    return nn.ConvTranspose2d(channels, into, spec.kernel, spec.stride, spec.padding)


def _convolution(channels: int, into: int) -> nn.Module:
    return nn.Conv2d(channels, into, 3, padding=1)


def deconv_relu_conv(spec: ModuleSpec) -> nn.Module:
    """Transposed convolution, ReLU, convolution: Harder's best."""
    first = _deconvolution(spec, spec.source_shape[0], spec.hidden)
    return nn.Sequential(first, nn.ReLU(), _convolution(spec.hidden, spec.target_shape[0]))


def deconv(spec: ModuleSpec) -> nn.Module:
    """One transposed convolution, linear."""
    return _deconvolution(spec, spec.source_shape[0], spec.target_shape[0])


def conv_deconv(spec: ModuleSpec) -> nn.Module:
    """Convolution, ReLU, transposed convolution."""
    first = _convolution(spec.source_shape[0], spec.hidden)
    return nn.Sequential(first, nn.ReLU(), _deconvolution(spec, spec.hidden, spec.target_shape[0]))


class Resize(nn.Module):
    """To `size` x `size` positions by nearest neighbours."""

    def __init__(self, size: int):
        super().__init__()
        self.size = size

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        return F.interpolate(maps, size=(self.size, self.size))


def resize_conv(spec: ModuleSpec) -> nn.Module:
    """Nearest neighbours, then two convolutions: no checkerboard (Odena et al. 2016)."""
    if spec.source_shape[1] == 1:  # one position has no neighbours: its values would be everywhere
        return deconv_relu_conv(spec)
    return nn.Sequential(
        Resize(spec.target_shape[1]),
        _convolution(spec.source_shape[0], spec.hidden),
        nn.ReLU(),
        _convolution(spec.hidden, spec.target_shape[0]),
    )


class Residual(nn.Module):
    """x + conv(relu(conv(relu(norm(x))))), the identity before training."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.GroupNorm(math.gcd(width, 8), width)
        self.first, self.second = _convolution(width, width), _convolution(width, width)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(F.relu(self.first(F.relu(self.norm(x)))))


class SubPixel(nn.Module):
    """Convolution to stride^2 maps for each one wanted, interleaved (Shi et al. 2016), then cut, or its
    edge repeated, to `size`."""

    def __init__(self, channels: int, into: int, stride: int, size: int):
        super().__init__()
        self.conv, self.stride, self.size = _convolution(channels, into * stride**2), stride, size

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        large = F.pixel_shuffle(self.conv(maps), self.stride)
        more = self.size - large.shape[2]
        before = more // 2
        frame = (before, more - before, before, more - before)
        return F.pad(large, frame, mode="replicate" if more > 0 else "constant")


class ResidualUp(nn.Module):
    """Residual blocks with normalisation at the small resolution, then sub-pixel convolution, beside a
    transposed convolution that carries what is linear."""

    def __init__(self, spec: ModuleSpec, blocks: int = 2):
        super().__init__()
        source, target = spec.source_shape, spec.target_shape
        self.linear = _deconvolution(spec, source[0], target[0])
        self.enter = _convolution(source[0], spec.hidden)
        self.blocks = nn.Sequential(*(Residual(spec.hidden) for _ in range(blocks)))
        self.up = SubPixel(spec.hidden, spec.hidden, spec.stride, target[1])
        self.leave = _convolution(spec.hidden, target[0])
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        inner = self.up(self.blocks(self.enter(maps)))
        return self.linear(maps) + self.leave(F.relu(inner))


def residual(spec: ModuleSpec) -> nn.Module:
    """See ResidualUp."""
    return deconv_relu_conv(spec) if spec.source_shape[1] == 1 else ResidualUp(spec)


KINDS: dict[str, Callable[[ModuleSpec], nn.Module]] = {
    "deconv_relu_conv": deconv_relu_conv,
    "deconv": deconv,
    "conv_deconv": conv_deconv,
    "resize_conv": resize_conv,
    "residual": residual,
}


# ------------------------------------------------------------------------------ chains


class Chain(nn.Module):
    """Modules applied one after the other; `forward` returns every module's output, deepest first."""

    def __init__(self, specs: list[ModuleSpec]):
        super().__init__()
        if not specs:
            raise ValueError("a chain needs a module")
        self.specs = specs
        self.parts = nn.ModuleList(KINDS[spec.kind](spec) for spec in specs)
        # Per channel mean and per layer scale of every layer on the way: modules see and predict
        # numbers of about unit size, so that no layer's loss drowns another's.
        channels = [*(spec.source_shape[0] for spec in specs), specs[-1].target_shape[0]]
        for index, count in enumerate(channels):
            self.register_buffer(f"mean_{index}", torch.zeros(1, count, 1, 1))
            self.register_buffer(f"scale_{index}", torch.ones(()))

    def fit_scales(self, maps: list[torch.Tensor]) -> None:
        """Set means and scales from sample maps of every layer, the chain's own first, the image last."""
        for index, sample in enumerate(maps):
            sample = sample.reshape(len(sample), sample.shape[1], -1)
            mean = sample.mean((0, 2)).view(1, -1, 1, 1)
            getattr(self, f"mean_{index}").copy_(mean)
            getattr(self, f"scale_{index}").copy_(sample.std().clamp(min=1e-6))

    def normalise(self, maps: torch.Tensor, index: int) -> torch.Tensor:
        maps = maps.reshape(*maps.shape[:2], *(maps.shape[2:] or (1, 1)))
        return (maps - getattr(self, f"mean_{index}")) / getattr(self, f"scale_{index}")

    def restore(self, maps: torch.Tensor, index: int) -> torch.Tensor:
        """The inverse of `normalise`, for maps of four dimensions."""
        return maps * getattr(self, f"scale_{index}") + getattr(self, f"mean_{index}")

    def forward(self, maps: torch.Tensor) -> list[torch.Tensor]:
        """Normalised predictions of every target, from raw maps of the layer."""
        here, results = self.normalise(maps, 0), []
        for part in self.parts:
            here = part(here)
            results.append(here)
        return results

    def apart(self, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        """The same, every module fed with the true maps of its source: one a module, raw."""
        return [
            part(self.normalise(own, index))
            for index, (part, own) in enumerate(zip(self.parts, maps, strict=True))
        ]

    def image(self, maps: torch.Tensor) -> torch.Tensor:
        """The predicted image, N x 3 x H x W, not clipped."""
        return self.restore(self(maps)[-1].float(), len(self.parts))


def save(path: str | os.PathLike, chain: Chain, provenance: dict) -> None:
    specs = [asdict(spec) for spec in chain.specs]
    storage.save_tensors(path, chain.state_dict(), "inverter", {**provenance, "specs": specs})


def load(path: str | os.PathLike) -> Chain:
    """The chain that `save` wrote, frozen."""
    tensors, facts = storage.load_tensors(path, "inverter")
    specs = [
        ModuleSpec(**{k: tuple(v) if isinstance(v, list) else v for k, v in spec.items()})
        for spec in facts["specs"]
    ]
    chain = Chain(specs)
    chain.load_state_dict(tensors)
    return chain.eval().requires_grad_(False)
