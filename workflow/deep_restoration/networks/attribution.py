"""What in an image drives a unit: gradient, deconvolutional network, guided back-propagation, PatternNet.

All four are a backward pass from one unit to the image with other rules:

    gradient            ReLUs let pass what entered them with a positive value
    deconvnet           ReLUs rectify the backward signal itself, max-pooling returns it to the places of
                        the maxima, response normalisation is left out (Zeiler & Fergus 2014)
    guided_backpropagation  both conditions of ReLUs at once (Springenberg et al. 2015)
    patternnet          as the gradient, with the patterns of the signal in place of the weights
                        (Kindermans et al. 2017)

They run on a `graph.Network` by taking the place of its functions, whether a ReLU is a module, a
function or a method, in place or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..study.visualisations import ATTRIBUTIONS, RECTIFIERS, unruled
from . import graph

Patterns = dict[str, torch.Tensor]
NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d)
CONVOLUTIONS = (nn.Conv2d, nn.Linear)


def operation(step: dict) -> str:
    """The last part of a step's target: `ReLU`, `relu_`, `Conv2d`."""
    return step.get("target", step["kind"]).rpartition(".")[2]


def check(network: graph.Network, methods: Sequence[str]) -> None:
    """Raise ValueError naming the step for which a method has no rule, or what PatternNet lacks."""
    if foreign := [method for method in methods if method not in ATTRIBUTIONS]:
        raise ValueError(f"method is {foreign[0]!r}; allowed: {', '.join(ATTRIBUTIONS)}")
    steps = [(step["name"], operation(step)) for step in network.steps]
    for method in methods:
        if reason := unruled(method, steps):
            raise ValueError(f"{method}: {reason}")
        if method != "patternnet":
            continue
        for step in network.steps:
            if step["kind"] != "module" and operation(step) in ("conv2d", "linear"):
                raise ValueError(
                    f"patternnet: {step['name']} has no module whose weights it may learn"
                )
            if step["kind"] == "module" and operation(step) == "Conv2d":
                mode = network.weights.get_submodule(step["path"]).padding_mode
                if mode != "zeros":
                    raise ValueError(f"patternnet: {step['name']} pads with {mode}, not with zeros")


# ------------------------------------------------------------------------------ backward rules
class _Rectifier(torch.autograd.Function):
    """min(max(x, 0), cap), with the backward rule of a method."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, method: str, cap: float) -> torch.Tensor:
        ctx.method = method
        ctx.save_for_backward((x > 0) & (x < cap))
        return x.clamp(0, cap)

    @staticmethod
    def backward(ctx: Any, *signals: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (passed,), (signal,) = ctx.saved_tensors, signals
        if ctx.method in ("deconvnet", "guided_backpropagation"):
            signal = signal.clamp(min=0)
        if ctx.method != "deconvnet":
            signal = signal * passed
        return signal, None, None


class _Substituted(torch.autograd.Function):
    """A value with the gradient of a substitute for it."""

    @staticmethod
    def forward(ctx: Any, value: torch.Tensor, substitute: torch.Tensor) -> torch.Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *signals: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return None, signals[0]


def rules(network: graph.Network, method: str, patterns: Patterns | None = None) -> graph.Call:
    """The call that replaces the network's functions for a method; `patterns` by path of the module."""

    learned = patterns or {}

    def call(step: dict, function: Callable, arguments: list, keywords: dict) -> Any:
        kind = operation(step)
        if kind in RECTIFIERS:
            cap = 6.0 if kind.lower().startswith("relu6") else float("inf")
            return _Rectifier.apply(arguments[0], method, cap)
        value = function(*arguments, **keywords)
        if kind in ("LocalResponseNorm", "local_response_norm") and method == "deconvnet":
            return _Substituted.apply(value, arguments[0])
        if method == "patternnet" and step["kind"] == "module":
            if isinstance(function, CONVOLUTIONS):
                return _Substituted.apply(
                    value, _linear(function, arguments[0], learned[step["path"]])
                )
            if isinstance(function, NORMALISATIONS):
                # A linear neuron with one weight w per channel: w a = 1.
                slope = _slope(function)
                pattern = torch.where(slope == 0, 0, 1 / torch.where(slope == 0, 1, slope))
                shape = (1, -1, *[1] * (value.ndim - 2))
                return _Substituted.apply(value, arguments[0] * pattern.view(shape))
        return value

    return call


def _linear(module: nn.Conv2d | nn.Linear, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The convolution or linear map of a module with another weight, without bias."""
    if isinstance(module, nn.Linear):
        return F.linear(x, weight)
    return F.conv2d(x, weight, None, module.stride, module.padding, module.dilation, module.groups)


def _slope(module: nn.BatchNorm1d | nn.BatchNorm2d) -> torch.Tensor:
    assert module.running_var is not None  # a trained classifier's
    scale = torch.rsqrt(module.running_var + module.eps)
    return scale if module.weight is None else scale * module.weight


def project(
    network: graph.Network,
    layer: str,
    images: torch.Tensor,
    units: Sequence[tuple[int, ...]],
    method: str,
    patterns: Patterns | None = None,
) -> torch.Tensor:
    """Of each image one unit, (channel, row, column) or (channel,), projected to the image.

    images: N x 3 x H x W in [0, 1], `units` one for each. Returns N x 3 x H x W. The gradient and guided
    back-propagation are per image value in [0, 1]; deconvnet and PatternNet give an image: theirs is
    the classifier's normalised one, taken back to [0, 1] without the mean. Raises ValueError as `check`.
    """
    check(network, [method])
    if method == "patternnet" and patterns is None:
        raise ValueError("patternnet needs patterns; fit them on training images")
    images = images.detach().requires_grad_(True)
    maps = network(images, rules(network, method, patterns))[layer]
    rows = torch.arange(len(units), device=maps.device)
    places = torch.tensor(units, device=maps.device).T
    if not maps.requires_grad:
        return torch.zeros_like(images)
    (signal,) = torch.autograd.grad(maps[(rows, *places)].sum(), images)
    # Towards the image the chain rule has divided by the normalisation's spread.
    return signal * network.std**2 if method in ("deconvnet", "patternnet") else signal


# ------------------------------------------------------------------------------ patterns
class _Sums:
    """Sums for one neuron per channel: of x y, x and the number of samples where the unit is active,
    and of y and the number of all; in float64. x is what the weights see, so that sums over x have the
    weights' shape: they are the gradients of a convolution by its weights."""

    def __init__(self, module: nn.Conv2d | nn.Linear):
        weight = module.weight
        self.module = module
        self.xy, self.x = (torch.zeros_like(weight, dtype=torch.float64) for _ in range(2))
        self.y = torch.zeros(len(weight), dtype=torch.float64, device=weight.device)
        self.count = 0

    def add(self, x: torch.Tensor, y: torch.Tensor, active: torch.Tensor) -> None:
        """x: the module's input. y: w^T x, without the bias. active: where the unit is, as y."""
        active = active.to(y)
        self.xy += self._correlate(x, active * y)
        self.x += self._correlate(x, active)
        if isinstance(self.module, nn.Linear):
            y = y.flatten(0, -2)
            self.y += y.double().sum(0)
            self.count += len(y)
        else:
            self.y += y.double().sum((0, 2, 3))
            self.count += y.shape[0] * y.shape[2] * y.shape[3]

    def _correlate(self, x: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        weight = torch.zeros_like(self.module.weight).requires_grad_(True)
        with torch.enable_grad():
            (sums,) = torch.autograd.grad(
                _linear(self.module, x, weight), weight, grad_outputs=output.contiguous()
            )
        return sums.double()

    def pattern(self) -> torch.Tensor:
        """a = (E+[x y] - E+[x] E[y]) / (w^T of the same), zero denominators replaced by 1."""
        shape = (-1, *[1] * (self.xy.ndim - 1))
        covariance = self.xy - self.x * (self.y / max(self.count, 1)).view(shape)
        scale = (self.module.weight.double() * covariance).flatten(1).sum(1)
        scale = torch.where(scale == 0, 1, scale).view(shape)
        return (covariance / scale).to(self.module.weight.dtype)


def fit_patterns(network: graph.Network, batches: Iterable[torch.Tensor]) -> Patterns:
    """The pattern of every convolution and fully connected layer, by path, in the weights' shape.

    `batches`: training images N x 3 x H x W in [0, 1]. Per output channel, over all positions
    (Kindermans et al. 2017, eq. 8): a = (E+[x y] - E+[x] E[y]) / (w^T E+[x y] - w^T E+[x] E[y]), with E+
    over samples whose unit passes the ReLU that follows, E over all, and y = w^T x without the bias. Where no
    ReLU follows, all samples count, which gives the linear estimator cov(x, y) / (w^T cov(x, y)).
    The pattern of a unit that is never active is zero. Raises ValueError as `check`.
    """
    check(network, ["patternnet"])
    readers: dict[str, list[dict]] = {}
    for step in network.steps:
        for name in graph.inputs_of(step):
            readers.setdefault(name, []).append(step)

    def rectified(name: str) -> str | None:
        """The step after a convolution that a ReLU follows: the convolution itself or its normalisation; or
        none."""
        behind = readers.get(name, [])
        if any(operation(step) in RECTIFIERS for step in behind):
            return name
        if len(behind) == 1 and operation(behind[0]) in ("BatchNorm1d", "BatchNorm2d"):
            return rectified(behind[0]["name"])
        return None

    sums: dict[str, _Sums] = {}
    waiting: dict[str, list[tuple]] = {}

    def call(step: dict, function: Callable, arguments: list, keywords: dict) -> Any:
        value, name = function(*arguments, **keywords), step["name"]
        if isinstance(function, CONVOLUTIONS):
            path, x = step["path"], arguments[0]
            mine = sums.setdefault(path, _Sums(function))
            y = _linear(function, x, function.weight)
            if gate := rectified(name):
                waiting.setdefault(gate, []).append((mine, x, y))
            else:
                mine.add(x, y, torch.ones_like(y, dtype=torch.bool))
        for mine, x, y in waiting.pop(name, []):
            mine.add(x, y, value > 0)
        return value

    with torch.no_grad():
        for images in batches:
            network(images, call)
    if not sums or not any(mine.count for mine in sums.values()):
        raise ValueError("patternnet needs training images")
    return {path: mine.pattern() for path, mine in sums.items()}


# ------------------------------------------------------------------------------ units
def strongest(values: torch.Tensor, largest: torch.Tensor, count: int) -> list[tuple[int, ...]]:
    """The strongest unit of each of the `count` channels that come closest to the largest value they had.

    values: C x H x W or C of one image; largest: C. Channels that were never active are left out.
    """
    flat = values.reshape(len(values), -1)
    top, place = flat.max(1)
    share = torch.where(largest > 0, top / largest.clamp(min=1e-12), -torch.inf)
    found = []
    for channel in share.topk(min(count, len(share))).indices.tolist():
        unit = [channel]
        if values.ndim > 1:
            unit += divmod(int(place[channel]), values.shape[2])
        found.append(tuple(unit))
    return found


def extent(signal: torch.Tensor) -> tuple[int, int, int, int]:
    """Top, left, bottom, right of the pixels of 3 x H x W that are not zero; the whole image if none is."""
    seen = signal.abs().sum(0) > 0
    if not seen.any():
        return 0, 0, signal.shape[1], signal.shape[2]
    rows, columns = (seen.any(axis).nonzero().flatten() for axis in (1, 0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
