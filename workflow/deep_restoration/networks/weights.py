"""Weights as they are distributed: state dicts in any wrapping, compared with what an architecture needs."""

from __future__ import annotations

import argparse
import functools
import logging
import os
import re
import zipfile
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import nn

from . import graph

log = logging.getLogger(__name__)

# Batch normalisation's training counter; older files, most of torchvision's among them, lack it.
COUNTER = ".num_batches_tracked"
# Names of tensors -> those in files that torchvision publishes, whose own loaders change them back
# (densenet._load_state_dict, vision_transformer.MLPBlock._load_from_state_dict).
OLDER = (
    (r"(denselayer\d+\.(?:norm|conv))([12]\.)", r"\1.\2"),
    (r"(encoder_layer_\d+\.mlp\.)0\.", r"\1linear_1."),
    (r"(encoder_layer_\d+\.mlp\.)3\.", r"\1linear_2."),
)
# Parts of a name, at any place, that DataParallel, torch.compile, FSDP and checkpointing put in.
WRAPPERS = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
AVERAGED = re.compile("ema|average|swa|teacher|momentum|target|encoder_k")
FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
# How files begin that users mistake for weights: failed downloads, archives, files of other programs.
OTHERS = (
    (rb"version https://git-lfs", "a pointer of Git LFS, not the file: git lfs pull"),
    (rb"\s*<", "a web page or XML, as a download leaves that failed: download it again"),
    (rb"\s*[{\[]", "JSON; of weights in several files, say, each of which is needed as one"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|\x28\xb5\x2f\xfd|7z\xbc\xaf", "compressed: unpack it"),
    (rb".{257}ustar", "a tar archive: unpack it"),
    (rb"\x89HDF", "HDF5, as Keras writes it: convert it to a state dict of torch"),
    (rb"\x08.{0,40}(pytorch|onnx)", "an ONNX file, a program: save the model's state_dict()"),
    (rb"\x80[\x02-\x05]", "a pickle; if of tensors, save them by torch.save"),
    (rb"\0*\Z", "nothing but zeros, as a download leaves that broke off: download it again"),
    (rb"[\x20-\x7e\s]+\Z", "text"),
)


def read_weights(path: str | os.PathLike, sha256: str | None = None) -> dict[str, torch.Tensor]:
    """All tensors of a torch or a safetensors file by name, without executing pickled code.

    Those of dictionaries inside of others are named by both keys, `state_dict.conv1.weight`: what a
    checkpoint wraps around a state dict is one more prefix (see `fit`). Raises ValueError naming the file
    when its hash differs, it is damaged, or it holds anything but dictionaries of tensors, and OSError
    when it cannot be read.
    """
    from ..files.hashing import file_hash

    if sha256 and (found := file_hash(path)) != sha256.lower():
        raise ValueError(f"{path} has sha256 {found}; the configuration says {sha256}")
    with open(path, "rb"):  # safetensors calls one that may not be read missing
        pass
    try:
        if _is_safetensors(path):
            from safetensors.torch import load_file

            content = load_file(path)
        else:
            with torch.serialization.safe_globals(_harmless()):
                content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if isinstance(error, MemoryError) or getattr(error, "errno", None):
            raise  # of the system, not of the file
        raise ValueError(
            f"{path} holds no readable weights; it must be a state dict of tensors saved by torch "
            f"or safetensors, and pickled code is never executed ({_reason(path, error)})"
        ) from None
    state = dict(_tensors(content))
    if not state:
        raise ValueError(f"{path} holds no state dict of tensors, but {_description(content)}")
    return state


def _harmless() -> list:
    """Types that many checkpoints hold beside tensors and that only store values: the arguments of a
    training, and numbers of NumPy such as its best accuracy."""
    kinds = [np.dtype(kind) for kind in "?bhilqBHILQefd"]
    scalar = np.float64(0).__reduce__()[0]
    names = [f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")]
    return [argparse.Namespace, np.dtype, *map(type, kinds), *((scalar, name) for name in names)]


def _is_safetensors(path: str | os.PathLike) -> bool:
    """By its name, or by its start: the length of a header in JSON, and that header."""
    with open(path, "rb") as file:
        return str(path).lower().endswith(".safetensors") or file.read(9)[8:] == b"{"


def _reason(path: str | os.PathLike, error: Exception) -> str:
    """What the file is instead, or torch's message without its advice to load the file unprotected."""
    text = str(error).strip() or type(error).__name__
    if pickled := re.search(r"Unsupported global: GLOBAL (\S+)", text):
        return (
            f"it also pickles objects of {pickled[1]}: save its state dict alone, "
            "torch.save(model.state_dict(), FILE)"
        )
    if "TorchScript" in text:
        return "it is a TorchScript archive, a program: save the model's state_dict()"
    with open(path, "rb") as file:
        start = file.read(512)
    if not start:
        return "it is empty"
    if zipfile.is_zipfile(path):
        names = zipfile.ZipFile(path).namelist()
        if not any(name.endswith("data.pkl") for name in names):
            return f"it is a zip archive of {', '.join(names[:3])}{' ...' * (len(names) > 3)}"
    elif start.startswith(b"PK"):
        return "it is cut off: copy or download it again"
    for pattern, what in OTHERS:
        if re.match(pattern, start, re.DOTALL):
            return f"it is {what}"
    return text.splitlines()[0].split(". ")[0]


def _tensors(content: object, depth: int = 5) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and tensors of dictionaries, also of those in lists, down to a fixed depth: a pickled one may
    hold itself."""
    if isinstance(content, list | tuple):
        content = {
            index: value for index, value in enumerate(content) if not torch.is_tensor(value)
        }
    for key, value in content.items() if isinstance(content, dict) and depth else ():
        if torch.is_tensor(value):
            yield str(key), value
        else:
            yield from ((f"{key}.{name}", tensor) for name, tensor in _tensors(value, depth - 1))


def _description(content: object) -> str:
    """The outermost type of what a file holds."""
    if isinstance(content, dict):
        some = ", ".join(map(str, list(content)[:5])) + " ..." * (len(content) > 5)
        return f"a dictionary with {f'the keys {some}' if some else 'no key'}"
    inside = content[:1] if isinstance(content, list | tuple) else ()
    return f"a {type(content).__name__}" + "".join(f" of {type(x).__name__}" for x in inside)


def expected(steps: Sequence[dict]) -> dict[str, dict[str, torch.Tensor]]:
    """The tensors of every step by name, as an architecture has them: shapes and types without values."""
    with torch.device("meta"):
        weights = graph.Network(steps, [step["name"] for step in steps]).weights
    found: dict[str, dict[str, torch.Tensor]] = {}
    for step in steps:
        found[step["name"]] = {}
        if step["kind"] == "module":
            inside = weights.get_submodule(step["path"]).state_dict()
            found[step["name"]] = {f"{step['path']}.{key}": value for key, value in inside.items()}
        elif step["kind"] == "parameter":
            dtype = getattr(torch, step["dtype"]["dtype"])
            value = torch.empty(step["shape"], dtype=dtype, device="meta")
            found[step["name"]] = {step["target"]: value}
    return found


def constants(steps: Sequence[dict], model: nn.Module) -> dict[str, torch.Tensor]:
    """Tensors of an architecture that steps use but that are not trained: tables of positions, computed when
    the module was built or traced. Not every file has them."""
    found = {}
    for step in steps:
        if step["kind"] == "parameter":
            tensor = functools.reduce(getattr, step["target"].split("."), model)
            if not isinstance(tensor, nn.Parameter):
                found[step["target"]] = tensor
    return found


def fit_weights(
    steps: Sequence[dict],
    layers: Sequence[str],
    state: dict[str, torch.Tensor],
    origin: str,
    own: dict[str, torch.Tensor] | None = None,
) -> dict[str, torch.Tensor]:
    """The tensors of a file under the architecture's names, floats as float32: all that `layers` need, and
    of the others those that fit.

    `state`: of `read_weights`. Its names may have one prefix in common, that of a wrapper, and be those of
    OLDER, or those inside of one part of the network, as of `model.features.state_dict()`. After `layers`,
    tensors may be absent or have other shapes: a network without its head, or with one for other classes.
    `own`: `constants`, which a file may lack. Raises ValueError naming the first tensor that is absent, of
    another shape or type, or not finite.
    """
    tensors = expected(steps)
    wanted = {name: like for inside in tensors.values() for name, like in inside.items()}
    needed = {name for step in graph.cut(steps, layers) for name in tensors[step["name"]]}
    prefix, found = _named(state, wanted, origin)
    found = found or _of_a_part(state, wanted, origin)
    given, result, left_out = (own or {}) | found, {}, []
    for name, like in wanted.items():
        if name.endswith(COUNTER):
            continue
        if name in given and given[name].shape == like.shape:
            result[name] = _checked(f"{origin}: tensor {name}", given[name], like)
        elif name in needed:
            raise ValueError(_absent(origin, name, state, prefix, wanted, found))
        else:
            left_out.append(name)
    if left_out:
        what = "%s: %d tensors are absent or of other shapes, the first of them %s; no layer needs them"
        log.warning(what, origin, len(left_out), left_out[0])
    return result


def _named(
    state: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], origin: str
) -> tuple[str, dict[str, torch.Tensor]]:
    """The prefix under which most of the wanted tensors lie, and these under their own names.

    Of several as good ones, a running average comes last, otherwise the first in the file first.
    """
    known = {name: name for name in wanted}
    for pattern, older in OLDER:
        known |= {re.sub(pattern, older, name): name for name in wanted}
    plain: dict[str, torch.Tensor] = {}
    for key, value in state.items():
        plain.setdefault(".".join(part for part in key.split(".") if part not in WRAPPERS), value)
    places: dict[str, dict[str, torch.Tensor]] = {"": {}}
    for key, value in plain.items():
        parts = key.split(".")
        for start in range(len(parts)):
            if name := known.get(".".join(parts[start:])):
                places.setdefault("".join(f"{part}." for part in parts[:start]), {})[name] = value

    def score(prefix: str) -> tuple[int, bool]:
        found = places[prefix]
        right = sum(value.shape == wanted[name].shape for name, value in found.items())
        return right + len(found), not AVERAGED.search(prefix)

    best = max(places, key=score)
    for other in places:
        if other != best and score(other)[0] == score(best)[0] > 0:
            log.warning("%s: %r is taken, not %r", origin, f"{best}*", f"{other}*")
    return best, places[best]


def _of_a_part(
    state: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor], origin: str
) -> dict[str, torch.Tensor]:
    """The tensors of a file that holds one part of the network, whole, under the names that it has inside;
    none if it holds no such part."""
    for part in dict.fromkeys(name.partition(".")[0] + "." for name in wanted):
        own = {name.removeprefix(part): v for name, v in wanted.items() if name.startswith(part)}
        _, found = _named(state, own, origin)
        needed = {name for name in own if not name.endswith(COUNTER)}
        if len(needed) > 2 and needed <= {k for k, v in found.items() if v.shape == own[k].shape}:
            return {part + name: value for name, value in found.items()}
    return {}


def _absent(
    origin: str,
    name: str,
    state: dict[str, torch.Tensor],
    prefix: str,
    wanted: dict[str, torch.Tensor],
    found: dict[str, torch.Tensor],
) -> str:
    """What a file has in place of a tensor that is absent or of another shape."""
    from ..study.wording import nearest

    right = [key for key, value in found.items() if value.shape == wanted[key].shape]
    share = f"{len(right)} of the architecture's {len(wanted)} tensors"
    if name in found:
        here, there = list(found[name].shape), list(wanted[name].shape)
        shapes = f"{origin}: tensor {name} has shape {here}, the architecture needs {there}"
        if here[1:] == there[1:] and name == [key for key in wanted if wanted[key].ndim > 1][-1]:
            return (
                f"{shapes}: the number of its classes is {here[0]} in place of {there[0]}, so that only "
                "layers in front of it can be taken"
            )
        return f"{shapes}; {share} are in the file in this shape"
    if not found:
        some = ", ".join(list(wanted)[:3])
        return (
            f"{origin} has no tensor {name}; it has {nearest(name, state)}; "
            f"expected: {some} ... ({len(wanted)} in all)"
        )
    under = f" under {prefix!r}" if prefix else ""
    return (
        f"{origin} has no tensor {name}; it has {share}{under}; nearest to this one: "
        f"{nearest(prefix + name, state)}"
    )


def _checked(what: str, value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """The tensor as a network computes with it: float32, or whole numbers where these belong."""
    if like.is_floating_point():
        if value.dtype not in FLOATS or value.layout != torch.strided or value.is_meta:
            kind = "without values" if value.is_meta else f"of type {str(value.dtype)[6:]}"
            kind += "" if value.layout == torch.strided else f", {str(value.layout)[6:]}"
            names = ", ".join(str(dtype)[6:] for dtype in FLOATS)
            raise ValueError(f"{what} is {kind}; allowed: {names}, dense")
        value = value.float()
        if bad := int((~value.isfinite()).sum()):
            raise ValueError(
                f"{what} is not finite: {bad} of its {value.numel()} values, as float32; take the weights "
                "of an earlier checkpoint"
            )
    elif value.dtype.is_floating_point or value.dtype.is_complex or value.is_quantized:
        raise ValueError(f"{what} is of type {str(value.dtype)[6:]}; it must hold whole numbers")
    return value
