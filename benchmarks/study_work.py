"""How much work each job of a study is: floating-point operations, bytes, calls, memory, disk.

Counted from the configuration and the networks' shapes; nothing is run. An operation is an addition
or a multiplication, of convolutions and matrix products; bytes are what layers write and read, in
float32, as if nothing stayed in a cache. `jobs` names every job as its benchmark file is called.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from torch.utils.flop_counter import FlopCounterMode

from deep_restoration.files.kept import kept
from deep_restoration.inversion.surrogates import images_needed
from deep_restoration.inverters.chain import Chain
from deep_restoration.inverters.plan import plan_chain
from deep_restoration.jobs import preflight
from deep_restoration.jobs.fingerprint import installed, reached
from deep_restoration.networks import graph, sources
from deep_restoration.priors import autoregressive, denoiser, ridge, unet
from deep_restoration.study import configuration, registry, visualisations
from deep_restoration.study.feature_layers import acted_on

ROOT = Path(__file__).parents[1]
BATCH = 64  # images reconstructed at once
CHUNK = 1 << 20  # hdf5.create_dataset
STATISTICS_BLOCKS = 32  # statistics.BLOCKS
HALVES = 6  # matrices inverted for a draw of blocks (stationarity)


@dataclass(frozen=True)
class Work:
    """flops, bytes: in all. calls: passes through a network with all its small steps, which cost time
    even of an empty batch. memory: bytes held at once beside what an empty job holds. disk: bytes
    written to stay. mixed: whether most of it may be computed in bfloat16."""

    flops: float = 0.0
    bytes: float = 0.0
    calls: float = 0.0
    memory: float = 0.0
    disk: float = 0.0
    mixed: bool = False

    def __add__(self, other: Work) -> Work:
        """Both, one after the other."""
        return Work(
            self.flops + other.flops,
            self.bytes + other.bytes,
            self.calls + other.calls,
            max(self.memory, other.memory),
            self.disk + other.disk,
            self.mixed or other.mixed,
        )

    def times(self, count: float, calls: float = 1) -> Work:
        """The work of so many images, in so many calls."""
        more = {"flops": self.flops * count, "bytes": self.bytes * count}
        return replace(self, **more, calls=self.calls * calls)


class Job(NamedTuple):
    rule: str
    name: str  # classifier/layer/recipe, as its benchmark file is called
    work: Work


# ------------------------------------------------------------------------------ studies and networks


def study(*files: str | Path) -> dict:
    """The checked configuration of these files, as Snakemake merges them."""

    def read(file: str | Path) -> dict:
        return yaml.safe_load(Path(file).read_text(encoding="utf-8"))

    given: dict = functools.reduce(configuration.merged, map(read, files), {})
    config = configuration.merged(read(ROOT / "config/config.yaml"), given)
    everything = functools.partial(read, ROOT / "config/everything.yaml")
    return preflight.prepare(configuration.based(config, given, everything), planning=True)


@functools.cache
def steps_of(architecture: str) -> list[dict]:
    """As sources.steps_of; kept, because importing torchvision takes seconds."""

    def trace() -> list[dict]:
        with torch.device("meta"):
            return sources.steps_of(architecture)

    code = Path(sources.__file__)
    pieces, _ = reached(code, code.parent)
    return kept("steps", [sorted(pieces.items()), installed("torchvision"), architecture], trace)


def counted(function: Callable, *arguments: Any, **keywords: Any) -> tuple[Any, int]:
    """What a call yields, and its operations: those of convolutions and matrix products."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        result = function(*arguments, **keywords)
    return result, counter.get_total_flops()


@functools.cache
def _walk(architecture: str, size: int, layers: tuple[str, ...]) -> dict[str, tuple[int, int]]:
    """Operations of every step for one image, and the numbers it yields."""
    found: dict[str, tuple[int, int]] = {}
    with torch.device("meta"):
        network = graph.Network(steps_of(architecture), layers)
    network.mean, network.std = network.mean.to("meta"), network.std.to("meta")

    def call(step, function, arguments, keywords):
        result, flops = counted(function, *arguments, **keywords)
        found[step["name"]] = flops, result.numel() if isinstance(result, torch.Tensor) else 0
        return result

    network(torch.empty(1, 3, size, size, device="meta"), call)
    return found


def forward(architecture: str, size: int, layers: tuple[str, ...], layer: str) -> Work:
    """An image through the network up to a layer; `memory` is that of all maps on the way."""
    walked = _walk(architecture, size, layers)
    steps = [walked[s["name"]] for s in graph.cut(steps_of(architecture), [layer])[1:]]
    numbers = 3 * size**2 + sum(count for _, count in steps)
    return Work(sum(flops for flops, _ in steps), 8 * numbers, 1, 4 * numbers)


@functools.cache
def network_bytes(architecture: str, layers: tuple[str, ...]) -> int:
    with torch.device("meta"):
        network = graph.Network(steps_of(architecture), layers)
    return sum(t.numel() * t.element_size() for t in network.weights.state_dict().values())


def module_work(module: torch.nn.Module, *inputs: torch.Tensor) -> Work:
    """A call of a module on meta tensors; `disk` is that of its weights."""
    numbers = 0

    def note(part, given, result):
        nonlocal numbers
        numbers += result.numel()

    leaves = [part for part in module.modules() if not list(part.children())]
    hooks = [part.register_forward_hook(note) for part in leaves]
    _, flops = counted(module, *inputs)
    for hook in hooks:
        hook.remove()
    weights = sum(t.numel() * t.element_size() for t in module.state_dict().values())
    return Work(flops, 8 * numbers, 1, 4 * numbers, weights)


def dataset_bytes(count: int, *sample: int, item: int = 4) -> int:
    """Size in the file of `hdf5.create_dataset`: whole chunks, each with its checksum."""
    one = math.prod(sample) * item
    rows = min(max(1, CHUNK // max(one, 1)), max(1, count))
    return math.ceil(count / rows) * (rows * one + 4)


# ------------------------------------------------------------------------------ jobs


class Counter:
    """The jobs of one study, with all iterations of every recipe. `train` and `test`: numbers of images,
    which for folders only the folder knows."""

    def __init__(self, study: dict, train: int, test: int):
        self.study, self.train, self.test = study, train, test
        self.size = study["images"]["size"]
        self.pixels = 3 * self.size**2

    def __call__(self) -> Iterator[Job]:
        for split, count in (("train", self.train), ("test", self.test)):
            disk = dataset_bytes(count, self.pixels, item=1)
            yield Job("images", split, Work(bytes=count * self.pixels, disk=disk))
        yield from self._of_images()
        for name in self.study["classifiers"]:
            classifier = Classifier(self, name)
            yield Job("classifier", name, Work(disk=classifier.disk))
            for layer in classifier.layers:
                yield from classifier.jobs(layer)

    def held_out(self, count: int) -> int:
        return max(1, round(count * self.study["images"]["held_out"]))

    def priors_of(self, source: str) -> list[str]:
        return [p for p in self.study["priors"] if configuration.source_of(self.study, p) == source]

    def _of_images(self) -> Iterator[Job]:
        for name, entry in self.study["patches"].items():
            if entry["of"] != "features":
                channels = 1 if entry["of"] == "grey" else 3
                yield Job("patches", name, patches(entry, (channels, *[entry["size"]] * 2), 1))
        for source, channels in (("images", 3), ("grey", 1)):
            for name in self.priors_of(source):
                entry = self.study["priors"][name]
                side = self.study["patches"][entry["patches"]]["size"] if "patches" in entry else 0
                shape = (channels, side, side)
                yield Job("train_prior", name, training(self.study, entry, shape, self.size))

    def iterations(self, recipe: str) -> int:
        return sum(p["iterations"] for p in self.study["recipes"][recipe].get("phases") or [])


class Classifier:
    """The jobs of one classifier's layers."""

    def __init__(self, counter: Counter, name: str):
        self.counter, self.name, self.study = counter, name, counter.study
        self.entry = self.study["classifiers"][name]
        self.architecture = self.entry["architecture"]
        found = preflight.describe(self.architecture, counter.size)
        self.geometry = found["layers"]
        self.layers = sorted(self.entry["layers"], key=list(self.geometry).index)
        shown = self.study["visualisations"].values()
        wanted = [visualisations.layers_of(e, self.entry, self.geometry) for e in shown]
        every = {*self.layers, *(layer for layers in wanted for layer in layers)}
        self.walked = tuple(sorted(every, key=list(self.geometry).index))
        # One trained on the spot ends at its deepest layer, published weights are stored whole.
        exemplar = self.entry["weights"] == configuration.EXEMPLAR
        ends = self.walked if exemplar else (steps_of(self.architecture)[-1]["name"],)
        self.disk = network_bytes(self.architecture, ends)

    def forward(self, layer: str) -> Work:
        return forward(self.architecture, self.counter.size, self.walked, layer)

    def shape(self, layer: str) -> tuple[int, int, int]:
        return (*self.geometry[layer]["shape"], 1, 1)[:3]

    def jobs(self, layer: str) -> Iterator[Job]:
        """All jobs of a layer but figures and tables."""
        study, counter, here = self.study, self.counter, f"{self.name}/{layer}"
        images = min(study["features"]["images"] or counter.train, counter.train)
        shape, once = self.shape(layer), self.forward(layer)
        stored = dataset_bytes(images, *shape)
        held = replace(once.times(images, images / 32), memory=32 * once.memory, disk=stored)
        yield Job("features", here, held)
        yield Job("statistics", here, statistics(study["statistics"], shape, images))
        for name, entry in study["patches"].items():
            if entry["of"] == "features":
                yield Job("patches", f"{name}/{here}", patches(entry, self._patch(entry, layer), 4))
        for name in counter.priors_of("features"):
            entry = study["priors"][name]
            patch = shape
            if "patches" in entry:
                patch = self._patch(study["patches"][entry["patches"]], layer)
            work = training(study, entry, patch, shape[1])
            yield Job("train_feature_prior", f"{here}/{name}", work)
        if study["inverters"]:
            yield from self._inverse_networks(layer, here)
        for recipe, entry in study["recipes"].items():
            yield from self._reconstructions(layer, recipe, entry)
        reconstructed = len(study["recipes"]) * counter.test
        looked = once + Work(bytes=40 * 8 * counter.pixels)  # measures in float64
        looked = looked.times(2 * reconstructed, 2 * reconstructed / BATCH)
        table = replace(looked, memory=(9 * 8 * BATCH + counter.test) * counter.pixels)
        yield Job("evaluate", here, table)
        yield Job("paper_measures", here, table)
        if counter.priors_of("features"):
            yield Job("discrimination", here, self._discrimination(layer))
        if study["restarts"]:
            seen = study["restarts"]["count"] * min(study["restarts"]["images"], counter.test)
            seen *= len(study["restarts"]["recipe"])
            yield Job("measure_restarts", here, replace(once.times(seen, seen / BATCH), disk=0))
        yield from self._pictures(layer)

    def _inverse_networks(self, layer: str, here: str) -> Iterator[Job]:
        """The jobs of a layer's inverse networks."""
        counter, inverters = self.counter, self.study["inverters"]
        each, count = Work(), sum(entry["replicates"] for entry in inverters.values())
        for name, entry in inverters.items():
            chain = self._inverter(layer, entry)
            each = each + chain.times(entry["replicates"])
            for replicate in range(entry["replicates"]):
                work = self._inverter_training(layer, entry, chain)
                yield Job("train_inverter", f"{here}/{name}/{replicate}", work)
        work = (self.forward(layer) + each).times(counter.test, count * counter.test / 64)
        shown = min(counter.test, self.study["figures"]["images"])
        disk = count * dataset_bytes(shown, counter.pixels)
        yield Job("evaluate_inverters", here, replace(work, disk=disk))

    def _discrimination(self, layer: str) -> Work:
        """Energies of a layer's priors for the maps of all reconstructed images."""
        study, counter, once = self.study, self.counter, self.forward(layer)
        total, asked = (len(study["recipes"]) + 4) * counter.test, Work()
        for name in counter.priors_of("features"):
            entry = study["priors"][name]
            one = energy(entry, self._prior_patch(entry, layer), self.shape(layer))
            asked = asked + once + replace(one, flops=one.flops / 2, bytes=one.bytes / 2)
        memory = 4 * 16 * (total // counter.test) * counter.pixels
        return replace(asked.times(total, total / 16), memory=memory, disk=0)

    # -------------------------------------------------------------------------- reconstructions

    def iteration(self, layer: str) -> Work:
        """An image's update but its priors: forward, backward to the image, and the optimiser, which
        reads or writes forty copies of the image."""
        once, copies = self.forward(layer), 4 * 40 * self.counter.pixels
        return replace(once.times(2), memory=2 * once.memory) + Work(bytes=copies)

    def _prior_patch(self, entry: dict, place: str | None) -> tuple[int, int, int]:
        if "patches" not in entry:
            return (3, 0, 0) if place is None else (self.shape(place)[0], 0, 0)
        patch = self.study["patches"][entry["patches"]]
        return (3, patch["size"], patch["size"]) if place is None else self._patch(patch, place)

    def plan(self, layer: str, recipe: dict) -> Work:
        """An image's update by a recipe, with the gradients of its learned priors, in the mean over phases
        with and without them."""
        phases = recipe.get("phases") or []
        every = sum(phase["iterations"] for phase in phases)
        share = sum(phase["iterations"] for phase in phases if phase.get("priors", True)) / max(
            every, 1
        )
        work = self._under_priors(layer, recipe, share)
        return replace(work, mixed=recipe.get("precision") == "mixed", disk=0)

    def _under_priors(self, layer: str, owner: dict, share: float = 1) -> Work:
        """An image's gradient with, in a share of the iterations, those of the learned priors that a recipe
        or its annealing has, of the image and of its maps in front."""
        front = self.layers[: self.layers.index(layer)] if layer in self.layers else []
        work = self.iteration(layer)
        for name, entry in (owner.get("priors") or {}).items():
            if name not in self.study["priors"]:
                continue
            trained = self.study["priors"][name]
            places: list[str | None] = [None]
            if configuration.source_of(self.study, name) == "features":
                places = [*acted_on(entry, front)]
            for place in places:
                size = self.counter.size
                shape = (3, size, size) if place is None else self.shape(place)
                patch = self._prior_patch(trained, place)
                options = {key: entry[key] for key in ("position_stride", "border") if key in entry}
                one = energy(trained, patch, shape, **options)
                memory = work.memory + one.memory
                work = replace(work + one.times(share, share), memory=memory)
        return work

    def annealing(self, layer: str, plan: dict) -> Work:
        """An image's annealing: of every gradient the classifier, and the denoiser and its gradient, each a
        transform there and one back, and a pass of its network, if it has one."""
        gradients = plan["levels"] * plan["steps"] * plan["samples"]
        shape = (3, self.counter.size, self.counter.size)
        denoised = energy(self.study["priors"][plan["prior"]], (3, 0, 0), shape).times(2)
        one = self._under_priors(layer, plan) + denoised
        return one.times(gradients, gradients)

    def _surrogates(self, layer: str, here: str, plan: dict) -> Job:
        """As inversion.surrogates.of_layer: every image through the classifier at every level, and once more
        each for components and targets."""
        counter, shape = self.counter, self.shape(layer)
        known = counter.train - counter.held_out(counter.train)
        k = min(plan["components"], shape[0])
        count = (plan["levels"] + 2) * images_needed(k, shape[1] * shape[2], known)
        return Job("fit_surrogates", here, self.forward(layer).times(count, count / BATCH))

    def _reconstructions(self, layer: str, name: str, recipe: dict) -> Iterator[Job]:
        counter, study, here = self.counter, self.study, f"{self.name}/{layer}/{name}"
        count, iterations = counter.test, counter.iterations(name)
        one = self.plan(layer, recipe)
        first = self.forward(layer)
        if recipe.get("inverter"):
            first = first + self._inverter(layer, study["inverters"][recipe["inverter"]])
        if plan := recipe.get("anneal"):
            if registry.expecting(study["recipes"], name) == name:  # others share the file
                yield self._surrogates(layer, here, plan)
            first = first + self.annealing(layer, plan)
            if plan["shrink"]:
                images = min(plan["shrink"], counter.held_out(counter.train))
                yield Job("learn_shrinkage", here, first.times(images))
        group = min(BATCH, count)

        def reconstructed(images: int, iterations: float) -> Work:
            calls, most = math.ceil(images / BATCH), min(BATCH, images)
            work = one.times(images * iterations, calls * iterations)
            return replace(work + first.times(images, calls), memory=most * one.memory, disk=0)

        if recipe.get("search"):
            how = study["search"]
            images = min(how["images"], counter.held_out(counter.train))
            trial = reconstructed(images, iterations * how["iterations"])
            work = trial.times(how["trials"], how["trials"])
            yield Job("search", here, work)
        memory = group * one.memory + 3 * 4 * count * counter.pixels
        disk = dataset_bytes(count, counter.pixels)
        yield Job(
            "reconstruct", here, replace(reconstructed(count, iterations), memory=memory, disk=disk)
        )
        restarts = study["restarts"]
        if restarts and name in restarts["recipe"]:
            images, more = min(restarts["images"], count), restarts["count"] - 1
            work = reconstructed(images, iterations).times(more, more)
            disk = dataset_bytes(restarts["count"] * images, counter.pixels)
            yield Job("reconstruct_restarts", here, replace(work, disk=disk))

    # -------------------------------------------------------------------------- inverters

    def _inverter(self, layer: str, entry: dict) -> Work:
        return _chain(
            self.architecture,
            self.counter.size,
            layer,
            entry["width"],
            entry["kind"],
            entry["modules"],
        )

    def _inverter_training(self, layer: str, entry: dict, chain: Work) -> Work:
        """The classifier forward, the chain forward, and backward at twice that; validation now and
        then. Weights, their gradients, both moments of Adam and the best weights are held."""
        once, batch = self.forward(layer), entry["batch"]
        step = once.times(batch) + chain.times(3 * batch)
        if entry.get("representation"):
            step = step + once.times(3 * batch)
        looks = min(entry["steps"], 20) * min(256, self.counter.held_out(self.counter.train))
        work = step.times(entry["steps"], entry["steps"]) + (once + chain).times(
            looks, looks / batch
        )
        memory = batch * (once.memory + 2 * chain.memory) + 5 * chain.disk
        mixed = entry.get("precision") == "mixed"
        return replace(work, memory=memory, disk=chain.disk, mixed=mixed)

    # -------------------------------------------------------------------------- other studies

    def _pictures(self, layer: str) -> Iterator[Job]:
        study, counter = self.study, self.counter
        selection, front = study["prior_selection"], self.layers[: self.layers.index(layer)]
        if selection and front:
            recipe = study["recipes"][selection["recipe"]]
            trials, tested = sets_to_try(len(front), len(selection["weights"]))
            priors = {**(recipe.get("priors") or {}), selection["prior"]: {"weight": 0.0}}
            full, bare = self.plan(layer, {**recipe, "priors": priors}), self.plan(layer, recipe)
            half = replace(  # sets hold half of the layers, evenly from none to all
                full, flops=(full.flops + bare.flops) / 2, bytes=(full.bytes + bare.bytes) / 2
            )
            its = counter.iterations(selection["recipe"])
            test = min(selection["test"], counter.test)
            images = trials * selection["images"] + tested * test
            work = half.times(images * its, (trials + tested) * its)
            memory = max(selection["images"], min(test, BATCH)) * full.memory
            disk = dataset_bytes(tested, counter.pixels)
            yield Job(
                "select_priors", f"{self.name}/{layer}", replace(work, memory=memory, disk=disk)
            )
        for name, entry in study["visualisations"].items():
            shown = visualisations.layers_of(entry, self.entry, self.geometry)
            last = layer == self.layers[-1]
            others = [place for place in shown if place not in self.layers]
            for place in [layer] * (layer in shown) + others * last:
                yield Job("visualise", f"{self.name}/{place}/{name}", self._visualise(place, entry))

    def _visualise(self, layer: str, entry: dict) -> Work:
        counter = self.counter
        once = self.forward(layer)
        seen = min(entry.get("training_images", 0), counter.train)
        work = once.times(seen, seen / 16)
        units = entry.get("units", entry.get("images", 1))
        count = len(units) if isinstance(units, list) else units
        if entry["kind"] == "attribution":
            count = entry["images"] * entry["channels"]
            each = once.times(2 * len(entry["methods"]) * count, len(entry["methods"]) * count)
            disk = len(entry["methods"]) * dataset_bytes(count, counter.pixels)
            return replace(work + each, memory=3 * count * once.memory, disk=disk)
        plan = visualisations.plan(self.study, entry)
        one, its = self.plan(layer, plan), sum(p["iterations"] for p in plan["phases"])
        made = one.times(count * its, its)  # too much for a unit, whose image is smaller
        disk = dataset_bytes(count, counter.pixels)
        return replace(work + made, memory=count * one.memory, disk=disk)

    def _patch(self, entry: dict, layer: str) -> tuple[int, int, int]:
        """Shape of the patches of a layer: rules/functions/patches.smk, next_kernel."""
        channels, height, width = self.shape(layer)
        flat = len(self.geometry[layer]["shape"]) < 3
        if flat:
            return channels, 1, 1
        size = entry["size"]
        if size == "next":
            names = list(self.geometry)
            fields = [self.geometry[n]["receptive_field"] for n in names[names.index(layer) + 1 :]]
            own, stride = self.geometry[layer]["receptive_field"], self.geometry[layer]["stride"]
            wider = (field - own for field in fields if field is not None)
            size = min(1 + next((w // stride for w in wider if w > 0), 0), height, width)
        return channels, size, size


@functools.cache
def _chain(architecture: str, size: int, layer: str, width: int, kind: str, modules: str) -> Work:
    geometry = preflight.describe(architecture, size)["layers"]
    with torch.device("meta"):
        chain = Chain(plan_chain(geometry, layer, width, kind, modules))
        return module_work(chain, torch.empty(1, *geometry[layer]["shape"]))


def sets_to_try(layers: int, weights: int) -> tuple[int, int]:
    """Sets of added priors, on held-out and on test images, at most: the greedy order tries every layer
    that is left, the two others one, of which the first is among the greedy order's."""
    greedy = weights * layers * (layers + 1) // 2
    others = 2 * weights * max(0, layers - 1)
    return 1 + greedy + others, 1 + 3 * layers


# ------------------------------------------------------------------------------ priors, patches, statistics


def patches(entry: dict, shape: tuple[int, int, int], item: int) -> Work:
    """Sampling: products of all pairs of a patch's values, and their eigenvalues (4/3 d^3)."""
    d, count = math.prod(shape), entry["count"]
    kept = max(100, count // 20)
    disk = dataset_bytes(count, *shape, item=item) + dataset_bytes(kept, *shape, item=item)
    disk += 8 * (d * d + 2 * d)
    block = 8 * 20000 * d * 3
    return Work(2 * count * d * d + 4 / 3 * d**3, 24 * count * d, 1, 4 * 8 * d * d + block, disk)


def _groups(entry: dict, shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Groups, values of a group's patch, whitened dimensions."""
    d, variant = math.prod(shape), entry.get("variant", "full")
    groups = {"channelwise": shape[0], "groups": entry.get("groups", 1)}.get(variant, 1)
    if variant == "separable":
        d = shape[0] * min(entry["multiplier"], shape[1] * shape[2])
    inner = d // groups
    return groups, inner, min(entry.get("dimensions") or inner, inner)


@functools.cache
def _denoiser(channels: int, height: int, width: int, *options: int) -> Work:
    with torch.device("meta"):
        network = denoiser.Network(channels, *options)
        return module_work(network, torch.empty(1, channels, height, width), torch.empty(1))


@functools.cache
def _unet(channels: int, height: int, width: int, *options) -> Work:
    with torch.device("meta"):
        network = unet.Network(channels, *options)
        seen = torch.empty(1, 2 * channels, height, width)
        return module_work(network, seen, torch.empty(1))


@functools.cache
def _autoregressive(channels: int, height: int, width: int, *options: int) -> Work:
    with torch.device("meta"):
        network = autoregressive.Network(channels, *options)
        return module_work(network, torch.empty(1, channels, height, width))


def _network(entry: dict, channels: int, height: int, width: int) -> Work | None:
    """A pass of the network that the prior is, if it is one."""
    if entry["method"] == "denoiser":
        options = (entry["width"], entry["blocks"], entry["fold"])
        return _denoiser(channels, height, width, *options)
    if entry["method"] == "unet":
        options = (tuple(entry["widths"]), entry["blocks"], entry["fold"])
        return _unet(channels, height, width, *options)
    if entry["method"] == "autoregressive":
        options = (entry["width"], entry["blocks"], entry["context"])
        return _autoregressive(channels, height, width, *options)
    return None


def training(study: dict, entry: dict, shape: tuple[int, int, int], side: int) -> Work:
    """Training a prior: whitening, then five products per step on patches, five convolutions on fields,
    three passes of the network for a denoiser or an autoregressive prior, twice as many where the network
    makes an energy; of a ridge energy a convolution and its transpose per step of the descent and of the
    conjugate gradients. A spectrum takes seconds."""
    if entry["method"] == "wiener":
        return Work(disk=8 * shape[0] * side**2)
    crop = min(entry.get("crop", side), side)
    if entry["method"] == "ridge":
        one = energy(entry, shape, (shape[0], crop, crop))
        asked = entry["steps"] * (entry["iterations"] + ridge.CONJUGATE + 3)
        work = one.times(entry["batch"] * asked, asked)
        disk = 4 * entry["filters"] * shape[0] * entry["size"] ** 2
        return replace(work, memory=4 * entry["batch"] * one.memory, disk=disk)
    if one := _network(entry, shape[0], crop, crop):
        passes = 6 if entry.get("form") == "gradient_step" else 3
        work = one.times(passes * entry["batch"] * entry["steps"], entry["steps"])
        memory = 2 * entry["batch"] * one.memory + 5 * one.disk
        return replace(work, memory=memory, disk=one.disk, mixed=entry["precision"] == "mixed")
    count = study["patches"][entry["patches"]]["count"]
    held = max(100, count // 20)
    groups, inner, d = _groups(entry, shape)
    k, batch = entry["filters"], entry["batch"]
    whiten = groups * (2 * (count + held) * inner * d + 9 * inner**3)
    step = 10 * groups * batch * k * d + 4 * groups * held * k * d / 100
    moved = 4 * groups * (12 * batch * k + 12 * k * d + 2 * held * k / 100)
    if entry["method"] == "field":
        crop = entry["middle"] + 2 * (shape[1] - 1)
        places = (crop - shape[1] + 1) ** 2
        step = 10 * k * math.prod(shape) * places * batch
        moved = 4 * 12 * batch * k * places
    numbers = k * groups * (2 * math.prod(shape) // groups + 2)
    if entry.get("variant") == "separable":
        numbers = k * (inner + math.prod(shape)) + inner * shape[1] * shape[2]
    data = 4 * groups * (count + held) * d + 8 * 3 * (groups * inner) ** 2 // groups
    work = Work(whiten, 8 * count * math.prod(shape), 1)
    work = work + Work(step * entry["steps"], moved * entry["steps"], entry["steps"])
    return replace(work, memory=data + 8 * 4 * groups * k * d, disk=4 * numbers)


def energy(
    entry: dict,
    patch: tuple,
    shape: tuple[int, int, int],
    position_stride: int = 1,
    border: str = "reflect",
) -> Work:
    """A prior's energy on a map, and its gradient: a convolution and its transpose for experts, both
    noise samples of a denoiser, whose gradient is its answer; four directions, there and back, of an
    autoregressive one; products of a map with the bases of its channels, rows and columns, there and back,
    of a spectrum, and of a U-Net beside its pass, both a second time where its network makes an energy."""
    channels, height, width = shape
    values = math.prod(shape)
    transforms = Work(4 * values * sum(shape), 8 * 4 * values, 1, 8 * 4 * values)
    if entry["method"] == "wiener":
        return transforms
    if one := _network(entry, *shape):
        if entry["method"] == "unet":
            passes = 2 if entry["form"] == "gradient_step" else 1
            both = (transforms + one).times(passes, passes)
            return replace(both, memory=transforms.memory + one.memory, disk=0)
        asked = max(1, 2 * entry["noise_samples"]) if "noise_samples" in entry else 8
        return Work(asked * one.flops, asked * one.bytes, asked, one.memory)
    if entry["method"] == "ridge":
        responses = height * width * entry["filters"]
        flops = 4 * responses * channels * entry["size"] ** 2
        return Work(flops, 4 * 8 * responses, 1, 4 * 3 * responses)
    groups, _, _ = _groups(entry, patch)
    side = patch[1]
    lost = side - 1 if border == "valid" else 0
    places = (height - lost) * (width - lost) / position_stride**2
    k = entry["filters"]
    if entry.get("variant") == "separable":
        inner = channels * min(entry["multiplier"], side * side)
        flops = 4 * places * inner * (side * side + k)
        responses = places * (inner + k)
    else:
        flops = 4 * places * k * math.prod(patch)
        responses = places * k * groups
    return Work(flops, 4 * 6 * responses, 1, 4 * 3 * responses)


def statistics(settings: dict, shape: tuple[int, int, int], images: int) -> Work:
    """One pass of products, and the inverses for intervals of stationarity (9 P^3 each)."""
    from deep_restoration.statistics.streaming import Grid, displacements

    channels, height, width = shape
    points = Grid.of(height, width, settings["positions"]).positions
    anchors = Grid.of(height, width, max(1, settings["positions"] // 4)).positions
    lags = len(displacements(settings["radius"], height, width))
    each = 2 * channels**2 * (height * width + lags * anchors) + 2 * channels * points**2
    draws = HALVES * settings["replicates"] * STATISTICS_BLOCKS.bit_length()
    inverses = 9 * points**3 * (draws - HALVES * settings["replicates"] + 3)
    side = 2 * settings["radius"] + 1
    sums = STATISTICS_BLOCKS * (1 + channels * points + points**2 + points + 1)
    sums += channels**2 * (2 + lags) + channels * (8 + 2 * lags) + 2
    kept = 3 * points**2 + (3 + side**2) * channels**2 + 5 * (channels + images)
    disk = 8 * (sums + kept + 5 * images)
    moved = 8 * images * channels * height * width * 6
    return Work(images * each + inverses, moved, images, 8 * (sums + kept), disk)
