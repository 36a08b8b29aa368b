"""From a module to its steps: traced once, and every step becomes plain JSON."""

from __future__ import annotations

import functools
import inspect
from typing import Any

import torch
from torch import nn
from torch.fx.node import _get_qualified_name

from .graph import INPUT, cut


def trace(model: nn.Module, tracer: torch.fx.Tracer | None = None, names: dict | None = None):
    """The steps of a module that takes one image batch: a list of JSON-ready dictionaries.

    `names` renames layers (qualified name -> literature's name). Each step has `name`, `kind` (input,
    module, function, method, parameter), `target`, `arguments` and `keywords`; a module step also
    has `settings`, its constructor's arguments, and `path`, the prefix of its weights. Further arguments of
    `forward` have their defaults. The last step is the network's output, of several the first.
    """
    tracer = tracer or torch.fx.Tracer()
    image, *others = inspect.signature(model.forward).parameters.values()
    fixed = {p.name: p.default for p in others if p.default is not p.empty}
    graph = tracer.trace(model.eval(), concrete_args=fixed or None)
    qualified = getattr(tracer, "node_to_qualname", {})
    modules = dict(model.named_modules())
    called: dict[str, str] = {}
    steps: list[dict] = []
    for node in graph.nodes:
        if node.op == "output":
            return _up_to(node, steps, called)
        if node.op == "placeholder" and node.target != image.name:
            continue  # it has its default
        if any(source.name not in called for source in node.all_input_nodes):
            continue  # torch.fx's check that it has
        name = qualified.get(node, node.name)
        name = called[node.name] = (
            INPUT if node.op == "placeholder" else (names or {}).get(name, name)
        )
        step: dict[str, Any] = {"name": name}
        if node.op == "placeholder":
            step["kind"] = "input"
        elif node.op == "get_attr":
            steps.append(parameter(name, node.target, model))
            continue
        elif node.op == "call_module":
            module = modules[node.target]
            step |= {"kind": "module", "path": node.target, "target": name_of(type(module))}
            step["settings"] = settings_of(module)
        elif node.op == "call_function":
            step |= {"kind": "function", "target": name_of(node.target)}
        else:
            step |= {"kind": "method", "target": node.target}
        step["arguments"] = [encode(value, called) for value in node.args]
        step["keywords"] = {
            key: encode(value, called)
            for key, value in node.kwargs.items()
            if not (key == "inplace" and value)
        }
        steps.append(step)
    raise AssertionError("torch.fx ends every graph with its output")


def _up_to(output: torch.fx.Node, steps: list[dict], called: dict[str, str]) -> list[dict]:
    """The steps, the last of which gives the output. Raises ValueError where torch.fx has lost it."""
    results = output.all_input_nodes
    if not results or results[0].name not in called:
        raise ValueError("its output does not depend on the image alone")
    last = called[results[0].name]
    return steps if steps[-1]["name"] == last else cut(steps, [last])


def parameter(name: str, target: str, model: nn.Module) -> dict:
    """The step that gives a weight, or another tensor, of a module."""
    tensor: Any = functools.reduce(getattr, target.split("."), model)
    step = {"name": name, "kind": "parameter", "target": target, "shape": list(tensor.shape)}
    return {**step, "dtype": encode(tensor.dtype, {}), "arguments": [], "keywords": {}}


def name_of(thing: Any) -> str:
    """Where a class or function is to be found."""
    if inspect.isclass(thing):
        return f"{thing.__module__}.{thing.__qualname__}"
    return _get_qualified_name(thing)


def settings_of(module: nn.Module) -> dict:
    """The constructor's arguments of a torch module, read back from its attributes.

    Raises ValueError for one that does not keep them.
    """
    settings = {}
    for name, argument in inspect.signature(type(module).__init__).parameters.items():
        if name in ("self", "device", "dtype", "inplace"):
            continue
        if name == "bias":
            bias = getattr(module, "bias", getattr(module, "in_proj_bias", None))
            settings[name] = bias is not None
        elif hasattr(module, name):
            settings[name] = encode(getattr(module, name), {})
        elif argument.default is argument.empty and argument.kind not in (
            argument.VAR_POSITIONAL,
            argument.VAR_KEYWORD,
        ):
            raise ValueError(f"cannot describe a {type(module).__name__}: no attribute {name}")
    return settings


def encode(value: Any, called: dict[str, str]) -> Any:
    """An argument as JSON, see `graph.decode`; `called`: names of nodes -> names of their steps."""
    if isinstance(value, torch.fx.Node):
        return {"step": called[value.name]}
    if isinstance(value, tuple):  # torch.Size, too
        return {"tuple": [encode(item, called) for item in value]}
    if isinstance(value, list):
        return [encode(item, called) for item in value]
    if isinstance(value, slice):
        parts = (value.start, value.stop, value.step)
        return {"slice": [encode(item, called) for item in parts]}
    if value is Ellipsis:
        return {"ellipsis": True}
    if isinstance(value, torch.dtype | torch.memory_format):
        kind = "dtype" if isinstance(value, torch.dtype) else "memory_format"
        return {kind: str(value).removeprefix("torch.")}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"cannot describe the argument {value!r}")
