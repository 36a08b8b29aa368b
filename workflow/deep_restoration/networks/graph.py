"""A network as data: named steps that can be listed, cut, measured and run without its library.

torch.fx traces any torchvision or own architecture once; the trace is kept as plain JSON beside the
weights. Later stages rebuild only the part before the layers they need, load only those weights,
and never import torchvision (seconds per process) or unpickle anything. Every layer of the trace has a
readable name, and in-place operations are traced as out-of-place ones: what is recorded at a layer is
what the layer computed, not what a later ReLU left of it. No
form of torch's own does this: create_feature_extractor needs the model with its library and all of its
weights, torch.export and TorchScript fix what layers are read when the file is written.
"""

from __future__ import annotations

import copy
import functools
import importlib
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from .operations import FASTER

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
ATEN = "torch.ops.aten."  # what torch.export records
OPERATORS = vars(torch._C)["_VariableFunctions"]  # torch's own; its type stubs lack the name
INPUT = "image"
CLASS = ".class"  # after the name of a layer of tokens: those in front of the tokens of positions
# (step, function, arguments, keywords) -> value
Call = Callable[[dict, Callable, list, dict], Any]


def _attribute(tensor: torch.Tensor, name: str) -> Any:
    if name not in ("shape", "ndim", "dtype", "device"):
        raise ValueError(f"a network may not read the attribute {name}")
    return getattr(tensor, name)


@functools.cache
def look_up(name: str) -> Any:
    if name == "getattr":
        return _attribute
    if name.startswith(ATEN):
        return _of_aten(name)
    *place, last = name.split(".")
    operator = place == ["torch"] and (hasattr(OPERATORS, last) or last == "_assert")
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


def _of_aten(name: str) -> Any:
    """An operation of ATen, `torch.ops.aten.conv2d.default`: none that changes a tensor or opens a file."""
    word, _, overload = name.removeprefix(ATEN).partition(".")
    if word.endswith("_") or word in ("from_file", "resize", "set"):
        raise ValueError(f"a network may not call {name}")
    packet = getattr(torch.ops.aten, word, None)
    if not hasattr(packet, overload):
        raise ValueError(f"this installation has no {name}")
    return getattr(packet, overload)


def method_of(thing: Any, name: str) -> Any:
    if name.startswith("_"):
        raise ValueError(f"a network may not call the method {name}")
    return getattr(thing, name)


def _call_method(name: str, thing: Any, *arguments: Any, **keywords: Any) -> Any:
    return method_of(thing, name)(*arguments, **keywords)


def decode(value: Any, values: dict) -> Any:
    if isinstance(value, list):
        return [decode(item, values) for item in value]
    if not isinstance(value, dict):
        return value
    (kind, content), *_ = value.items()
    if kind == "step":
        return values[content]
    if kind == "tuple":
        return tuple(decode(item, values) for item in content)
    if kind == "slice":
        return slice(*(decode(item, values) for item in content))
    if kind in ("dtype", "memory_format"):
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
    """The step that the name of a layer or block stands for.

    Raises ValueError for a name that is neither.
    """
    layer = layer.removesuffix(CLASS)
    if any(step["name"] == layer for step in steps):
        return layer
    if layer in (known := blocks(steps)):
        return known[layer]
    raise ValueError(f"the network has no layer {layer!r}")


def present(value: torch.Tensor, how: dict) -> torch.Tensor:
    """A value as maps N x C x H x W, of tokens those of positions, or as a vector N x C. `how`: of
    `axes.presentation`."""
    value = value.permute(how["order"])
    if "rows" not in how:
        return value
    tokens, sides = value[:, :, how["before"] :], (how["rows"], how["columns"])
    if math.prod(sides) != tokens.shape[2]:  # images of another size than it was traced for
        sides = (math.isqrt(tokens.shape[2]),) * 2
    return tokens.unflatten(2, sides)


def tokens_before(value: torch.Tensor, how: dict) -> torch.Tensor:
    """The tokens in front of those of positions (of the class, registers) as a vector."""
    return value.permute(how["order"])[:, :, : how["before"]].flatten(1)


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


class Network(nn.Module):
    """A runnable list of steps that ends at `layers` and begins with the classifier's normalisation.

    Takes images in [0, 1], N x 3 x H x W; returns the maps of all `layers` as a dictionary: N x C x H x W
    whatever the network calls them (see `axes`), or vectors N x C. Weights
    keep their architecture's names. Frozen and in evaluation mode unless trained on purpose.
    `mean` and `std` of the colours are 1 x 3 x 1 x 1.
    """

    mean: torch.Tensor
    std: torch.Tensor

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
        known = {step["name"]: step for step in self.steps}
        self._axes = {layer: known[name].get("axes") for layer, name in self.layers.items()}
        self.weights = nn.Module()
        last_use = {name: step["name"] for step in self.steps for name in inputs_of(step)}
        self._release: dict[str, list[str]] = {}
        for name, user in last_use.items():
            if name not in self.layers.values():
                self._release.setdefault(user, []).append(name)
        for step in self.steps:
            if step["kind"] == "module" and not _has(self.weights, step["path"]):
                settings = {key: decode(value, {}) for key, value in step["settings"].items()}
                module = FASTER.get(step["target"]) or look_up(step["target"])
                _attach(self.weights, step["path"], module(**settings))
        for name, colour in (("mean", mean), ("std", std)):
            values = torch.tensor(colour, device="cpu").view(1, 3, 1, 1)
            self.register_buffer(name, values, persistent=False)

    def tensors(self) -> set[str]:
        """Names of the weights that this cut of the network needs."""
        direct = {step["target"] for step in self.steps if step["kind"] == "parameter"}
        return set(self.weights.state_dict()) | direct

    def forward(self, images: torch.Tensor, call: Call | None = None) -> dict[str, torch.Tensor]:
        """Maps by layer. `call`, if given, computes every step but the image and the weights."""
        values: dict[str, Any] = {}
        for step in self.steps:
            name, kind = step["name"], step["kind"]
            arguments = decode(step["arguments"], values)
            if kind == "input":
                values[name] = torch.addcmul(-self.mean / self.std, images, 1 / self.std)
            elif kind == "parameter":
                values[name] = _fetch(self.weights, step["target"])
            else:
                keywords = {key: decode(v, values) for key, v in step["keywords"].items()}
                if kind == "module":
                    function = self.weights.get_submodule(step["path"])
                elif kind == "function":
                    function = look_up(step["target"])
                else:
                    function = functools.partial(_call_method, step["target"])
                if call is None:
                    values[name] = function(*arguments, **keywords)
                else:
                    values[name] = call(step, function, arguments, keywords)
            for unused in self._release.get(name, ()):
                del values[unused]
        return {layer: self._presented(layer, values[name]) for layer, name in self.layers.items()}

    def _presented(self, layer: str, value: Any) -> Any:
        how = self._axes[layer]
        if how is None:
            return value
        return tokens_before(value, how) if layer.endswith(CLASS) else present(value, how)

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
        inner = root._modules.get(folder)
        if inner is None:
            inner = nn.Module()
            root.add_module(folder, inner)
        root = inner
    setattr(root, last, thing)


def _fetch(root: nn.Module, path: str) -> torch.Tensor:
    folder, _, last = path.rpartition(".")
    return getattr(root.get_submodule(folder), last)
