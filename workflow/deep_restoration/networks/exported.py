"""From a module to its steps by torch.export, for networks that torch.fx cannot follow.

torch.fx runs a network without numbers, so that a size on which Python code depends stops it; most
transformers of timm are such. torch.export runs it for one size of images and records the operations of ATen.
The steps are the same kind of data (see `graph`), with two differences: they are right for images of
that size alone, and what is no module of torch.nn is called by its functions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.fx.node import map_arg

from .graph import INPUT
from .trace import encode, name_of, parameter, settings_of

# Arguments of functions that make tensors: those come out on the device of the network.
PLACES = ("device", "layout", "pin_memory")


def trace(model: nn.Module, size: int) -> list[dict]:
    """The steps of a module in evaluation mode that takes image batches of size x size pixels.

    Tensors that the network makes without looking at image or weights become buffers of `model`. Raises
    ValueError if torch.export, too, cannot follow it.
    """
    batch = {0: torch.export.Dim.DYNAMIC}
    try:
        with torch.no_grad():
            example = (torch.rand(2, 3, size, size),)
            program = torch.export.export(model, example, dynamic_shapes=(batch,), strict=False)
            if any(map(_changes_a_view, program.graph.nodes)):
                program = program.run_decompositions({})  # without changes in place; takes long
    except Exception as error:  # of many kinds, from anywhere in the network's own code
        why = (str(error).strip() or type(error).__name__).splitlines()[0]
        if "Constraints violated" in why:
            why = "its code fixes the number of images (as len(x) does; x.shape[0] does not)"
        raise ValueError(f"it cannot be traced for images of {size} pixels: {why}") from None
    return _Exported(model, program).steps


class _Exported:
    """`steps`: those of an exported program."""

    def __init__(self, model: nn.Module, program: torch.export.ExportedProgram):
        self.model, self.program, self.steps = model, program, []
        self.modules = dict(model.named_modules())
        self.called: dict[str, str] = {}  # name of a node -> name of its step
        self.fixed: dict[str, Any] = {}  # values of nodes that depend on neither image nor weights
        self.names: dict[str, int] = {}
        signature = program.graph_signature
        self.weights = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        constants = signature.inputs_to_lifted_tensor_constants
        for node in program.graph.nodes:
            if node.op == "placeholder" and node.name in constants:
                self.fixed[node.name] = program.constants[constants[node.name]]
            elif node.op == "placeholder" and node.name not in self.weights:
                self.called[node.name] = INPUT
                self._add(INPUT, "input", (), {})
            elif node.op == "get_attr":
                raise ValueError("it switches autocast or gradients on the way, which no step can")
            elif node.op == "call_function" and self._counts(node) and not self._is_fixed(node):
                self._call(node)

    def _counts(self, node: torch.fx.Node) -> bool:
        """Whether anything depends on it: not on checks of sizes and types."""
        changed = _changed(node)
        return bool(node.users) or (changed is not None and changed.name not in self.weights)

    def _add(self, name: str, kind: str, arguments: Any, keywords: dict, **more: Any) -> None:
        step = {"name": name, "kind": kind, **more}
        step["arguments"] = [encode(value, self.called) for value in arguments]
        step["keywords"] = {key: encode(value, self.called) for key, value in keywords.items()}
        self.steps.append(step)

    def _name(self, path: str) -> str:
        """The path, or, where a step has that name, path_1, path_2 ..."""
        count = self.names[path] = self.names.get(path, -1) + 1
        return f"{path}_{count}" if count else path

    def _is_fixed(self, node: torch.fx.Node) -> bool:
        """Whether a node's value is the same for all images and weights; it is computed then."""
        if any(source.name not in self.fixed for source in node.all_input_nodes):
            return False

        def fixed(value: Any) -> Any:
            return map_arg(value, lambda source: self.fixed[source.name])

        assert callable(node.target)
        self.fixed[node.name] = node.target(*fixed(node.args), **fixed(node.kwargs))
        return True

    def _call(self, node: torch.fx.Node) -> None:
        path = self._inside(node)
        sources = [source for source in node.all_input_nodes if source.name not in self.weights]
        module = self.modules[path]
        if len(sources) == 1 and self._is_all_of(node, path, module):
            name = self._name(path)
            more = {"path": path, "target": name_of(type(module)), "settings": settings_of(module)}
            self._add(name, "module", sources, {}, **more)
        else:
            target, word = _target(node.target)
            arguments = map_arg(node.args, self._source)
            keywords = {k: v for k, v in node.kwargs.items() if k not in PLACES}
            keywords = map_arg(keywords, self._source)
            name = self._name(f"{path}.{word}" if path else word)
            self._add(name, "function", arguments, keywords, target=target)
        self.called[node.name] = name
        if (changed := _changed(node)) is not None:
            self.called[changed.name] = name  # what reads it from here on reads the result

    def _inside(self, node: torch.fx.Node) -> str:
        """The path of the innermost module that a node was recorded in."""
        stack = (node.meta.get("nn_module_stack") or {}).values()
        paths = [path.partition("@")[0] for path, *_ in stack]  # name@1: its second call
        return [path for path in ["", *paths] if path in self.modules][-1]

    def _is_all_of(self, node: torch.fx.Node, path: str, module: nn.Module) -> bool:
        """Whether the node is the whole call of a module of torch.nn."""
        if not path or not type(module).__module__.startswith("torch.nn.modules."):
            return False
        beside = (other for other in (node.prev, node.next) if other.op == "call_function")
        if any(other.users and self._inside(other) == path for other in beside):
            return False
        names = [source.name for source in node.all_input_nodes if source.name in self.weights]
        if any(self.weights[name].rpartition(".")[0] != path for name in names):
            return False
        try:
            settings_of(module)
        except ValueError:
            return False
        return True

    def _source(self, node: torch.fx.Node) -> Any:
        """What a function is given: a node with a step, which is added for weights and constants."""
        if node.name in self.called:
            return node
        if node.name in self.weights:
            target = self.weights[node.name]
        elif isinstance(value := self.fixed[node.name], torch.Tensor):
            target = f"constant_{sum(name.startswith('constant_') for name in self.names)}"
            self.model.register_buffer(target, value, persistent=False)
        else:
            return value
        self.called[node.name] = name = self._name(target)
        self.steps.append(parameter(name, target, self.model))
        return node


def _changes_a_view(node: torch.fx.Node) -> bool:
    """Whether a part of another tensor is changed in place, and with it that tensor."""
    part = _changed(node)
    return (
        part is not None and isinstance(part.target, torch._ops.OpOverload) and part.target.is_view
    )


def _changed(node: torch.fx.Node) -> torch.fx.Node | None:
    """What the node changes in place, if anything."""
    function = node.target
    if not isinstance(function, torch._ops.OpOverload) or not function._schema.name.endswith("_"):
        return None
    first = node.args[0]
    return first if isinstance(first, torch.fx.Node) else None


def _target(function: Any) -> tuple[str, str]:
    """The full name of a function, and the word that names its steps. Of one that changes its first argument
    in place, those of the one that does not."""
    if isinstance(function, torch._ops.OpOverload) and function.namespace == "aten":
        word = function._schema.name.partition("::")[2].removesuffix("_")
        return f"torch.ops.aten.{word}.{function._overloadname}", word
    place = "_operator" if getattr(function, "__module__", "") != "math" else "math"
    return f"{place}.{function.__name__}", function.__name__
