"""From a module to its steps: torch.fx traces it once, and every step becomes plain JSON."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import torch
from torch import nn
from torch.fx.node import _get_qualified_name

from .graph import INPUT


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
            tensor: Any = functools.reduce(getattr, node.target.split("."), model)
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
    return _get_qualified_name(thing)


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
