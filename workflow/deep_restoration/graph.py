"""A network as data: named steps that can be listed, cut, measured and run without its library.

torch.fx traces any torchvision or own architecture once; the trace is kept as plain JSON beside the
weights. Later stages rebuild just the part in front of the layers they need, load just those weights,
and never import torchvision (seconds a process) or unpickle anything. Every layer of the trace has a
readable name, and in-place operations are traced as out-of-place ones: what is recorded at a layer is
what the layer computed, not what a later ReLU left of it.
"""

from __future__ import annotations

import copy
import functools
import importlib
import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from . import folding

# Functions and modules are looked up by name in these places only, besides torch's own operators: a
# classifier's file may come from anywhere, and must not be able to load or run anything else.
TRUSTED = (
    "torch.nn",
    "torch._C._nn",
    "torch.functional",
    "torchvision.ops",
    "torchvision.models",
    "_operator",
    "math",
)
INPUT = "image"
# (step, function, arguments, keywords) -> value
Call = Callable[[dict, Callable, list, dict], Any]


# ------------------------------------------------------------------------------ network to steps


def trace(model: nn.Module, tracer: torch.fx.Tracer | None = None, names: dict | None = None):
    """The steps of a module that takes one image batch: a list of JSON-ready dictionaries.

    `names` renames layers (qualified name -> literature's name). Each step has `name`, `kind` (input,
    module, function, method, parameter), `target`, `arguments` and `keywords`; a module step also
    has `settings`, its constructor's arguments, and `path`, the prefix of its weights.
    """
    tracer = tracer or torch.fx.Tracer()
    graph = tracer.trace(model.eval())
    qualified = getattr(tracer, "node_to_qualname", {})
    modules = dict(model.named_modules())
    called: dict[str, str] = {}
    steps: list[dict] = []
    for node in graph.nodes:
        if node.op == "output":
            break
        name = qualified.get(node, node.name)
        name = called[node.name] = (
            INPUT if node.op == "placeholder" else (names or {}).get(name, name)
        )
        step: dict[str, Any] = {"name": name}
        if node.op == "placeholder":
            step["kind"] = "input"
        elif node.op == "get_attr":
            tensor = functools.reduce(getattr, node.target.split("."), model)
            step |= {"kind": "parameter", "target": node.target, "shape": list(tensor.shape)}
            step["dtype"] = _encode(tensor.dtype, called)
        elif node.op == "call_module":
            module = modules[node.target]
            step |= {"kind": "module", "path": node.target, "target": _name_of(type(module))}
            step["settings"] = _settings(module)
        elif node.op == "call_function":
            step |= {"kind": "function", "target": _name_of(node.target)}
        else:
            step |= {"kind": "method", "target": node.target}
        step["arguments"] = [_encode(value, called) for value in node.args]
        step["keywords"] = {
            key: _encode(value, called)
            for key, value in node.kwargs.items()
            if not (key == "inplace" and value)
        }
        steps.append(step)
    return steps


def _name_of(thing: Any) -> str:
    if inspect.isclass(thing):
        return f"{thing.__module__}.{thing.__qualname__}"
    return torch.fx.node._get_qualified_name(thing)


def _settings(module: nn.Module) -> dict:
    """The constructor's arguments of a torch module, read back from its attributes."""
    settings = {}
    for name, parameter in inspect.signature(type(module).__init__).parameters.items():
        if name in ("self", "device", "dtype", "inplace"):
            continue
        if name == "bias":
            bias = getattr(module, "bias", getattr(module, "in_proj_bias", None))
            settings[name] = bias is not None
        elif hasattr(module, name):
            settings[name] = _encode(getattr(module, name), {})
        elif parameter.default is parameter.empty and parameter.kind not in (
            parameter.VAR_POSITIONAL,
            parameter.VAR_KEYWORD,
        ):
            raise ValueError(f"cannot describe a {type(module).__name__}: no attribute {name}")
    return settings


def _encode(value: Any, called: dict[str, str]) -> Any:
    if isinstance(value, torch.fx.Node):
        return {"step": called[value.name]}
    if isinstance(value, tuple):  # torch.Size, too
        return {"tuple": [_encode(item, called) for item in value]}
    if isinstance(value, list):
        return [_encode(item, called) for item in value]
    if isinstance(value, slice):
        parts = (value.start, value.stop, value.step)
        return {"slice": [_encode(item, called) for item in parts]}
    if value is Ellipsis:
        return {"ellipsis": True}
    if isinstance(value, torch.dtype):
        return {"dtype": str(value).removeprefix("torch.")}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"cannot describe the argument {value!r}")


# ------------------------------------------------------------------------------ steps to network


def _attribute(tensor: torch.Tensor, name: str) -> Any:
    if name not in ("shape", "ndim", "dtype", "device"):
        raise ValueError(f"a network may not read the attribute {name}")
    return getattr(tensor, name)


@functools.cache
def _look_up(name: str) -> Any:
    if name == "getattr":
        return _attribute
    *place, last = name.split(".")
    operator = place == ["torch"] and (
        hasattr(torch._C._VariableFunctions, last) or last == "_assert"
    )
    if not (operator or name.startswith(tuple(f"{prefix}." for prefix in TRUSTED))):
        raise ValueError(f"a network may not call {name}; allowed places: {', '.join(TRUSTED)}")
    parts = name.split(".")
    for split in range(len(parts) - 1, 0, -1):  # the longest prefix that is a module
        try:
            found = importlib.import_module(".".join(parts[:split]))
        except ModuleNotFoundError:
            continue
        found = functools.reduce(getattr, parts[split:], found)
        home = getattr(found, "__module__", None) or parts[0]  # torch.nn.init.os is not torch's
        if home.partition(".")[0] not in ("torch", "torchvision", "_operator", "math"):
            raise ValueError(f"a network may not call {name}; it belongs to {home}")
        return found
    raise ValueError(f"this installation has no {name}")


def _method(thing: Any, name: str) -> Any:
    if name.startswith("_"):
        raise ValueError(f"a network may not call the method {name}")
    return getattr(thing, name)


def _call_method(name: str, thing: Any, *arguments: Any, **keywords: Any) -> Any:
    return _method(thing, name)(*arguments, **keywords)


def _decode(value: Any, values: dict) -> Any:
    if isinstance(value, list):
        return [_decode(item, values) for item in value]
    if not isinstance(value, dict):
        return value
    (kind, content), *_ = value.items()
    if kind == "step":
        return values[content]
    if kind == "tuple":
        return tuple(_decode(item, values) for item in content)
    if kind == "slice":
        return slice(*(_decode(item, values) for item in content))
    if kind == "dtype":
        return getattr(torch, content)
    return Ellipsis


def _references(value: Any) -> list[str]:
    if isinstance(value, list):
        return [name for item in value for name in _references(item)]
    if isinstance(value, dict):
        if "step" in value:
            return [value["step"]]
        return [name for item in value.values() for name in _references(item)]
    return []


def inputs_of(step: dict) -> list[str]:
    """Names of the steps whose results a step uses."""
    return _references(step["arguments"]) + _references(step["keywords"])


def blocks(steps: Sequence[dict]) -> dict[str, str]:
    """Names of whole blocks (`layer1`, `features.4`) -> the step that yields the block's output."""
    names = {step["name"] for step in steps}
    found: dict[str, str] = {}
    for step in steps:
        parts = step["name"].split(".")
        for end in range(1, len(parts)):
            prefix = ".".join(parts[:end])
            if prefix not in names:
                found[prefix] = step["name"]
    return found


def resolve(steps: Sequence[dict], layer: str) -> str:
    """The step that a layer's or a block's name means.

    Raises ValueError for a name that is neither.
    """
    if any(step["name"] == layer for step in steps):
        return layer
    if layer in (known := blocks(steps)):
        return known[layer]
    raise ValueError(f"the network has no layer {layer!r}")


def cut(steps: Sequence[dict], layers: Sequence[str]) -> list[dict]:
    """The steps that the given layers (or blocks) need, and no other."""
    known = {step["name"]: step for step in steps}
    needed, waiting = set(), [resolve(steps, layer) for layer in layers]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += inputs_of(known[name])
    return [step for step in steps if step["name"] in needed]


class LocalResponseNorm(nn.Module):
    """b_c = a_c / (k + alpha/n * sum of a^2 over n neighbouring channels)^beta.

    Krizhevsky et al. 2012, section 3.3, with alpha counted as in Caffe and torch. The sum over
    channels is a 1 x 1 convolution with a band matrix; torch's own layer pools in three dimensions,
    which is several times slower on a CPU (benchmarks/layers.py).
    """

    def __init__(self, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0):
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        channels = maps.shape[1]
        index = torch.arange(channels, device=maps.device)
        offset = index[None, :] - index[:, None]
        half = self.size // 2
        band = ((offset >= -half) & (offset <= (self.size - 1) // 2)).to(maps.dtype)
        total = F.conv2d(maps * maps, band[:, :, None, None])
        return maps * (self.k + self.alpha / self.size * total).pow(-self.beta)


class Conv2d(nn.Conv2d):
    """torch's convolution, with a faster gradient to an image on a CPU.

    The gradient of a strided convolution by its three input channels leaves most of a vector register
    idle, and costs several times the forward pass. With the pixels of every stride x stride square taken
    as channels the convolution moves by single positions and has stride^2 times as many of them: the
    same sums, and forward and backward pass together cost half as much (benchmarks/layers.py).
    """

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        learns = any(parameter.requires_grad for parameter in self.parameters())
        if learns or not (maps.requires_grad and maps.device.type == "cpu" and self._folds):
            return super().forward(maps)
        return _FoldedGradient.apply(maps, self.weight, self.bias, self.stride[0], self.padding)

    @property
    def _folds(self) -> bool:
        rows, columns = self.stride
        plain = self.groups == 1 and self.dilation == (1, 1) and self.padding_mode == "zeros"
        few = self.in_channels <= 4 and 1 < rows == columns <= min(self.kernel_size)
        return plain and few and not isinstance(self.padding, str)


class _FoldedGradient(torch.autograd.Function):
    """A convolution whose gradient is found by an unstrided one, frozen weights."""

    @staticmethod
    def forward(ctx, maps, weight, bias, stride, padding):
        ctx.save_for_backward(weight)
        ctx.size, ctx.dtype, ctx.stride, ctx.padding = maps.shape[2:], maps.dtype, stride, padding
        return F.conv2d(maps, weight, bias, stride, padding)

    @staticmethod
    def backward(ctx, gradient):
        (weight,), stride = ctx.saved_tensors, ctx.stride
        filters = folding.fold_filters(weight.to(gradient.dtype), stride)
        filters = filters.contiguous(memory_format=torch.channels_last)
        folded = F.conv_transpose2d(gradient, filters)
        # Rows and columns of padding in front; behind, what no window has seen is missing.
        found = folding.unfold_maps(folded, stride, ctx.size, ctx.padding)
        return found.to(ctx.dtype), None, None, None, None


# Modules of torch that have a faster equal here.
FASTER = {
    "torch.nn.modules.conv.Conv2d": Conv2d,
    "torch.nn.modules.normalization.LocalResponseNorm": LocalResponseNorm,
}


class Network(nn.Module):
    """A runnable list of steps, cut behind `layers`, with the classifier's normalisation in front.

    Takes images in [0, 1], N x 3 x H x W; returns the maps of all `layers` as a dictionary. Weights
    keep their architecture's names. Frozen and in evaluation mode unless trained on purpose.
    """

    def __init__(
        self,
        steps: Sequence[dict],
        layers: Sequence[str],
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
    ):
        super().__init__()
        self.steps = cut(steps, layers)
        self.layers = {layer: resolve(self.steps, layer) for layer in layers}
        self.weights = nn.Module()
        last_use = {name: step["name"] for step in self.steps for name in inputs_of(step)}
        self._release: dict[str, list[str]] = {}
        for name, user in last_use.items():
            if name not in self.layers.values():
                self._release.setdefault(user, []).append(name)
        for step in self.steps:
            if step["kind"] == "module" and not _has(self.weights, step["path"]):
                settings = {key: _decode(value, {}) for key, value in step["settings"].items()}
                module = FASTER.get(step["target"]) or _look_up(step["target"])
                _attach(self.weights, step["path"], module(**settings))
        mean, std = (torch.tensor(v, device="cpu").view(1, 3, 1, 1) for v in (mean, std))
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def tensors(self) -> set[str]:
        """Names of the weights that this cut of the network needs."""
        direct = {step["target"] for step in self.steps if step["kind"] == "parameter"}
        return set(self.weights.state_dict()) | direct

    def forward(self, images: torch.Tensor, call: Call | None = None) -> dict[str, torch.Tensor]:
        """Maps by layer. `call`, if given, computes every step but the image and the weights."""
        values: dict[str, Any] = {}
        for step in self.steps:
            name, kind = step["name"], step["kind"]
            arguments = _decode(step["arguments"], values)
            if kind == "input":
                values[name] = torch.addcmul(-self.mean / self.std, images, 1 / self.std)
            elif kind == "parameter":
                values[name] = _fetch(self.weights, step["target"])
            else:
                keywords = {key: _decode(v, values) for key, v in step["keywords"].items()}
                if kind == "module":
                    function = self.weights.get_submodule(step["path"])
                elif kind == "function":
                    function = _look_up(step["target"])
                else:
                    function = functools.partial(_call_method, step["target"])
                if call is None:
                    values[name] = function(*arguments, **keywords)
                else:
                    values[name] = call(step, function, arguments, keywords)
            for unused in self._release.get(name, ()):
                del values[unused]
        return {layer: values[name] for layer, name in self.layers.items()}

    def load(self, tensors: dict[str, torch.Tensor]) -> Network:
        """Put in the weights named by `tensors()`, and freeze."""
        direct = {step["target"] for step in self.steps if step["kind"] == "parameter"}
        for name in direct:
            _attach(self.weights, name, nn.Parameter(tensors[name], requires_grad=False))
        state = {name: tensors[name] for name in self.weights.state_dict()}
        self.weights.load_state_dict(state, assign=True)
        return self.eval().requires_grad_(False)


def in_bfloat16(network: nn.Module) -> nn.Module:
    """The frozen network for use under autocast alone: it shares all but the weights of convolutions and
    linear layers, which autocast need then not cast in every pass."""
    tensors = [*network.parameters(), *network.buffers()]
    result = copy.deepcopy(network, {id(tensor): tensor for tensor in tensors})
    for module in result.modules():
        if isinstance(module, nn.modules.conv._ConvNd) or type(module) is nn.Linear:
            for name, tensor in list(module.named_parameters(recurse=False)):
                lowered = nn.Parameter(tensor.to(torch.bfloat16), requires_grad=False)
                setattr(module, name, lowered)
    return result


def _has(root: nn.Module, path: str) -> bool:
    try:
        root.get_submodule(path)
    except AttributeError:
        return False
    return True


def _attach(root: nn.Module, path: str, thing: Any) -> None:
    *folders, last = path.split(".")
    for folder in folders:
        if folder not in root._modules:
            root.add_module(folder, nn.Module())
        root = root._modules[folder]
    setattr(root, last, thing)


def _fetch(root: nn.Module, path: str) -> torch.Tensor:
    folder, _, last = path.rpartition(".")
    return getattr(root.get_submodule(folder), last)


# ------------------------------------------------------------------------------ what a layer sees


def geometry(steps: Sequence[dict], size: int) -> tuple[dict[str, dict], str | None]:
    """Per layer and block that yields a tensor: shape, stride, receptive field, waypoint, operation.

    For images of size x size pixels, without weights (meta device). `shape` excludes the batch.
    `receptive_field` is the side in pixels of the square that one unit sees, None for the whole
    image. `operation` is the name of the module, function or method. A waypoint is a layer through
    which all paths from the image run: the network behind it can be computed from it alone. The
    second value is None, or why the walk ended before the last layer: mostly because the image is too
    small for a pooling.
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
    """The side in pixels of what a unit would see of an image without end.

    `layers` as `geometry` has them. It is the receptive field, or, where a unit sees the whole image, what
    all positions of the last maps in front of it see together: 355 pixels for the classes of AlexNet.
    """
    if (own := layers[layer]["receptive_field"]) is not None:
        return own
    before = list(layers.values())[: list(layers).index(layer)]
    last = [facts for facts in before if facts["receptive_field"] is not None][-1]
    return last["receptive_field"] + (max(last["shape"][1:]) - 1) * last["stride"]


def seen(network: Network, layer: str, size: int) -> tuple[slice, slice]:
    """Rows and columns of a size x size image within which all pixels lie that the layer depends on.

    Where windows move by several pixels, the last ones may be in none: at the right and at the bottom.
    Found by the gradients of images of noise; all of them, if there are none.
    """
    draw = torch.Generator().manual_seed(0)
    noise = torch.rand(4, 3, size, size, generator=draw).to(network.mean.device)
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
    """The layers with each block's name behind that of the step that yields its output."""
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
        return torch.empty(step["shape"], dtype=_decode(step["dtype"], values), device="meta")
    arguments = _decode(step["arguments"], values)
    keywords = {key: _decode(value, values) for key, value in step["keywords"].items()}
    if step["kind"] == "module":
        return network.weights.get_submodule(step["path"])(*arguments)
    if step["kind"] == "function":
        return _look_up(step["target"])(*arguments, **keywords)
    return _method(arguments[0], step["target"])(*arguments[1:], **keywords)


def _widen(step: dict, values: dict, stride: float, field: float) -> tuple[float, float]:
    """Stride and receptive field behind a step, from those before it."""
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
        options = [_decode(v, values) for v in step["arguments"][1:]]
        names = ("kernel_size", "stride", "padding", "dilation")
        settings = dict(zip(names, options, strict=False))
        settings |= {k: _decode(v, values) for k, v in step["keywords"].items() if k in names}
        settings["stride"] = settings.get("stride") or settings["kernel_size"]
    elif step["kind"] == "module":
        settings = {key: _decode(value, {}) for key, value in settings.items()}
    if "kernel_size" in settings:
        kernel, step_, dilation = (
            _side(settings.get(key) or 1) for key in ("kernel_size", "stride", "dilation")
        )
        return stride * step_, field + (kernel - 1) * dilation * stride
    flat = here.ndim == 2 and first.ndim == 4 and first.shape[2] * first.shape[3] > 1
    return stride, math.inf if flat else field


def _side(value: int | Sequence[int]) -> int:
    return value if isinstance(value, int) else max(value)
