"""Which axis of a step's value is what: found from the traced operations, never from the order of axes.

Networks keep their values in many shapes: N x C x H x W, channels last (Swin, parts of ConvNeXt), tokens
N x T x D with or without a class token in front (ViT), windows and heads in attention. What an axis is
follows from the operations around it: a convolution takes and gives N x C x H x W, a permutation moves axes,
`flatten` joins rows and columns to tokens, a concatenation puts tokens in front, both terms of a sum have the
same axes. `label` carries that through the steps in both directions; what stays unknown is no layer that
an image could be reconstructed from. The result is kept as `axes` of the step, by which `graph.present`
turns a value into maps N x C x H x W.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from .graph import decode, inputs_of


@dataclass(frozen=True)
class Tokens:
    """An axis of `before` tokens (of the class, registers), then of one per position of rows x columns."""

    rows: int
    columns: int
    before: int = 0

    def __len__(self) -> int:
        return self.before + self.rows * self.columns


# What one axis is: number, channel, height, width, tokens, or unknown.
Axis = str | Tokens | None
Axes = tuple[Axis, ...]
Shape = tuple[int, ...]
NCHW: Axes = ("n", "c", "h", "w")

# Operations by the name of the module, function or method. These take maps and give maps.
OF_MAPS = (
    "conv2d conv_transpose2d max_pool2d avg_pool2d adaptive_avg_pool2d adaptive_max_pool2d lp_pool2d "
    "local_response_norm group_norm instance_norm batch_norm interpolate pixel_shuffle pixel_unshuffle "
    "upsample_bilinear2d upsample_nearest2d upsample_bicubic2d Conv2d ConvTranspose2d MaxPool2d AvgPool2d "
    "AdaptiveAvgPool2d AdaptiveMaxPool2d LPPool2d BatchNorm2d InstanceNorm2d LocalResponseNorm GroupNorm "
    "PixelShuffle PixelUnshuffle Upsample Dropout2d"
).split()
LINEAR = ("linear", "Linear")
# These mix all positions of an axis, or take axes for something else: nothing is known of what they give but
# what the steps after them say.
MIXING = (
    "matmul bmm baddbmm einsum scaled_dot_product_attention MultiheadAttention mm addmm dot outer "
    "index index_select gather take embedding"
).split()
CONCATENATIONS = ("cat", "concat", "concatenate")
RESHAPES = "view reshape _unsafe_view flatten Flatten unflatten Unflatten view_as".split()


def operation(step: dict) -> str:
    """The name of a step's module, function or method: `Conv2d`, `flatten`; `linear` of aten.linear."""
    target = step.get("target", step["kind"])
    if target.startswith("torch.ops.aten."):
        return target.split(".")[3]
    return target.rpartition(".")[2]


def is_opaque(step: dict) -> bool:
    """Whether a step is a function that torchvision has torch.fx leave whole, such as the windows of Swin:
    its axes stay in their places, its positions may be mixed. Stochastic depth is none in evaluation."""
    whole = step["kind"] == "function" and step["target"].startswith("torchvision.")
    return whole and operation(step) != "stochastic_depth"


def mixes(step: dict, known: dict[str, Axes]) -> bool:
    """Whether a linear layer acts on positions in place of channels, as in MLP-Mixer."""
    if operation(step) not in LINEAR:
        return False
    values = [step["name"], *inputs_of(step)[:1]]
    return any("c" in known[name][:-1] for name in values if name in known)


def label(steps: Sequence[dict], shapes: dict[str, Shape]) -> dict[str, Axes]:
    """The axes of every step's value whose shape is given, as far as they can be known."""
    known: dict[str, Axes] = {name: (None,) * len(shape) for name, shape in shapes.items()}
    for step in steps:
        if step["kind"] == "input":
            known[step["name"]] = NCHW
    while True:  # until the two directions tell each other nothing new
        before = dict(known)
        for step in steps:
            _Step(step, shapes, known).forward()
        for step in reversed(steps):
            _Step(step, shapes, known).backward()
        if known == before:
            return known


class _Step:
    """One step with the shapes and what is known of the axes around it."""

    def __init__(self, step: dict, shapes: dict[str, Shape], known: dict[str, Axes]):
        self.step, self.shapes, self.known, self.name = step, shapes, known, step["name"]
        self.operation = operation(step)
        self.inputs = [name for name in inputs_of(step) if name in shapes]

    def learn(self, name: str, axes: Axes) -> None:
        """What was known of an axis stays, an unknown one becomes known."""
        if len(axes) == len(self.known[name]):
            pairs = zip(self.known[name], axes, strict=True)
            self.known[name] = tuple(new if old is None else old for old, new in pairs)

    @property
    def arguments(self) -> list:
        """Those of the call, with None in place of the results of other steps."""
        step = self.step
        values = {name: None for name in inputs_of(step)}
        given = decode([*step["arguments"], *step["keywords"].values()], values)
        if step["kind"] == "module":
            settings = {key: decode(v, {}) for key, v in (step.get("settings") or {}).items()}
            given += [settings[key] for key in ("start_dim", "end_dim", "dim") if key in settings]
        return given

    def forward(self) -> None:
        """From what is known of the inputs to what is known of the value."""
        if self.name not in self.shapes or not self.inputs:
            return
        shape, source = self.shapes[self.name], self.inputs[0]
        before, axes = self.shapes[source], self.known[source]
        if self.operation in OF_MAPS:
            if len(shape) == 4:
                self.learn(self.name, NCHW)
        elif self.operation in MIXING or mixes(self.step, self.known):
            return
        elif self.operation in LINEAR:
            self.learn(self.name, (*axes[:-1], "c"))
        elif (order := self._order(len(before))) is not None:
            self.learn(self.name, tuple(axes[place] for place in order))
        elif self.operation in RESHAPES:
            self.learn(self.name, reshaped(before, axes, shape))
        elif self.operation in CONCATENATIONS:
            self._concatenated()
        elif self.operation in ("slice", "getitem", "narrow", "select"):
            self._taken(before, axes, shape)
        else:
            self._same()

    def _same(self) -> None:
        """The axes of inputs of the same shape, as of terms of a sum, and of what norms leave in place."""
        shape, source = self.shapes[self.name], self.inputs[0]
        for name in self.inputs:
            if self.shapes[name] == shape or is_opaque(self.step):
                self.learn(self.name, self.known[name])
        if self.operation in ("unsqueeze", "squeeze"):
            self.learn(self.name, reshaped(self.shapes[source], self.known[source], shape))

    def backward(self) -> None:
        """From what is known of the value to what is known of the inputs."""
        if self.name not in self.shapes or not self.inputs:
            return
        shape, axes, source = self.shapes[self.name], self.known[self.name], self.inputs[0]
        before = self.shapes[source]
        if self.operation in OF_MAPS:
            if len(before) == 4:
                self.learn(source, NCHW)
        elif self.operation in MIXING or mixes(self.step, self.known):
            return
        elif self.operation in LINEAR:
            self.learn(source, (*axes[:-1], "c"))
        elif (order := self._order(len(before))) is not None:
            inverse = sorted(range(len(order)), key=order.__getitem__)
            self.learn(source, tuple(axes[place] for place in inverse))
        elif self.operation in RESHAPES:
            self.learn(source, reshaped(shape, axes, before))
        elif self.operation not in CONCATENATIONS:
            for name in self.inputs:
                if self.shapes[name] == shape:
                    self.learn(name, axes)

    def _order(self, count: int) -> list[int] | None:
        """Where each axis of the value comes from, if the step only moves axes."""
        numbers = [v for v in self.arguments if isinstance(v, int) and not isinstance(v, bool)]
        lists = [list(v) for v in self.arguments if isinstance(v, list | tuple) and v]
        if self.operation in ("permute", "Permute") and (lists or numbers):
            return [place % count for place in (lists[0] if lists else numbers)]
        order = list(range(count))
        if self.operation in ("transpose", "swapaxes", "swapdims") and len(numbers) == 2:
            a, b = (number % count for number in numbers)
            order[a], order[b] = order[b], order[a]
            return order
        if self.operation in ("t", "T", "mT") and count > 1:
            return [*order[:-2], order[-1], order[-2]]
        return None

    def _concatenated(self) -> None:
        """Tokens put in front of others lengthen the axis; along other axes nothing changes."""
        shape = self.shapes[self.name]
        same = [name for name in self.inputs if len(self.shapes[name]) == len(shape)]
        along = [i for i, n in enumerate(shape) if any(self.shapes[name][i] != n for name in same)]
        known = [name for name in same if None not in self.known[name]]
        if len(along) != 1 or not known:
            return
        axes, (place,) = self.known[known[0]], along
        axis = axes[place]
        if isinstance(axis, Tokens):
            ahead = sum(self.shapes[name][place] for name in same[: same.index(known[0])])
            axis = replace(axis, before=axis.before + ahead)
            if len(axis) != shape[place]:  # others behind it
                return
        elif axis != "c":
            return
        self.learn(self.name, (*axes[:place], axis, *axes[place + 1 :]))

    def _taken(self, before: Shape, axes: Axes, shape: Shape) -> None:
        """A part of some axes: tokens without some of those in front; rows stay rows, channels channels."""
        if len(before) != len(shape):
            return
        found = list(axes)
        for place, (whole, part) in enumerate(zip(before, shape, strict=True)):
            axis = axes[place]
            if whole != part and isinstance(axis, Tokens):
                less = axis.before - (whole - part)
                cut = less < 0 or self._end_is_cut(whole)
                found[place] = None if cut else replace(axis, before=less)
        self.learn(self.name, tuple(found))

    def _end_is_cut(self, length: int) -> bool:
        """Whether a slice leaves out the end of an axis of that length."""
        slices = [
            part
            for argument in self.arguments
            for part in (argument if isinstance(argument, tuple) else [argument])
            if isinstance(part, slice)
        ]
        if slices:
            return any(part.stop is not None for part in slices)
        numbers = [v for v in self.arguments if isinstance(v, int)]
        return bool(numbers) and numbers[-1] < length


def reshaped(before: Shape, axes: Axes, after: Shape) -> Axes:
    """The axes of a value of shape `before` in the shape `after`: what stays one axis stays what it is, rows
    and columns become tokens and tokens rows and columns, neighbours become channels."""
    result: list[Axis] = []
    for old, new in _groups(before, after):
        inner = [i for i in old if before[i] != 1] or old[:1]
        outer = [j for j in new if after[j] != 1] or new[:1]
        found: dict[int, Axis] = {}
        if len(inner) == len(outer) == 1:
            found[outer[0]] = axes[inner[0]]
        elif len(outer) == 1 and [axes[i] for i in inner] == ["h", "w"]:
            found[outer[0]] = Tokens(before[inner[0]], before[inner[1]])
        elif len(inner) == 1 and len(outer) == 2:
            axis = axes[inner[0]]
            if axis == Tokens(after[outer[0]], after[outer[1]]):
                found = {outer[0]: "h", outer[1]: "w"}
            elif axis in ("h", "w"):
                found[outer[0]] = axis  # every so many rows; the other axis counts those between
        elif len(outer) == 1 and [axes[i] for i in inner if axes[i]] == ["c"]:
            found[outer[0]] = "c"  # with those between as more channels
        result += [found.get(j) for j in new]
    return tuple(result)


def _groups(before: Shape, after: Shape) -> list[tuple[list[int], list[int]]]:
    """Runs of axes of both shapes that hold equally many values, as short as possible."""
    groups, i, j = [], 0, 0
    while i < len(before) or j < len(after):
        old, new = [i] * (i < len(before)), [j] * (j < len(after))
        a, b = math.prod(before[k] for k in old), math.prod(after[k] for k in new)
        i, j = i + len(old), j + len(new)
        while a != b:
            if a < b and i < len(before):
                a, old, i = a * before[i], [*old, i], i + 1
            elif j < len(after):
                b, new, j = b * after[j], [*new, j], j + 1
            else:
                break
        groups.append((old, new))
    return groups


def presentation(axes: Axes) -> dict[str, Any] | None:
    """How a value of these axes becomes maps or a vector, as JSON: None if it cannot.

    `order`: where the axes of N x C x H x W, N x C x tokens or N x C come from; of tokens also `rows`,
    `columns` and how many are `before` them.
    """
    kinds = ["t" if isinstance(axis, Tokens) else axis for axis in axes]
    for wanted in ("nchw", "nct", "nc"):
        if sorted(map(str, kinds)) == sorted(wanted):
            order = [kinds.index(kind) for kind in wanted]
            found: dict[str, Any] = {"order": order}
            if wanted == "nct":
                tokens = axes[kinds.index("t")]
                assert isinstance(tokens, Tokens)
                found |= {"rows": tokens.rows, "columns": tokens.columns, "before": tokens.before}
            return found
    return None
