"""Networks of many families, tried one by one: traced and checked against the module, layers and geometry,
a few iterations of a recipe and updates of an inverse network from one layer in the middle. Prints the
table of docs/networks.md; names on the command line choose some.

OMP_WAIT_POLICY=PASSIVE python benchmarks/zoo.py
"""

import functools
import sys
import tempfile
import time
from typing import NamedTuple

import torch

from deep_restoration.inversion import preimage
from deep_restoration.inversion.data_terms import DATA_TERMS, Given
from deep_restoration.inversion.preimage import Plan, Term
from deep_restoration.inversion.schedules import Phase
from deep_restoration.inverters.chain import Chain
from deep_restoration.inverters.plan import plan_chain
from deep_restoration.networks import graph, receptive_fields, sources
from deep_restoration.priors.registry import HAND_CRAFTED
from deep_restoration.priors.registry import Given as Known
from deep_restoration.runtime.checkpoints import Checkpoint

UPDATES = 10

# Small ones of timm have the structure of their families in a few hundred thousand weights.
SMALL = [
    ("timm:test_resnet", 96), ("timm:test_byobnet", 96), ("timm:test_nfnet", 96),
    ("timm:test_efficientnet", 96), ("timm:test_efficientnet_gn", 96),
    ("timm:test_efficientnet_ln", 96), ("timm:test_efficientnet_evos", 96),
    ("timm:test_convnext", 96), ("timm:test_convnext2", 96), ("timm:test_convnext3", 96),
    ("timm:test_mambaout", 96), ("timm:test_maxvit", 96), ("timm:test_coatnet", 96),
    ("timm:test_vit", 96), ("timm:test_vit2", 96), ("timm:test_vit3", 96), ("timm:test_vit4", 96),
    ("timm:test_vit_relpos", 96), ("squeezenet1_1", 96), ("mobilenet_v3_small", 96),
]  # fmt: skip
LARGE = [
    ("alexnet", 128), ("alexnet_lrn", 128), ("vgg11", 96), ("resnet18", 96), ("resnet50", 96),
    ("densenet121", 96), ("googlenet", 96), ("inception_v3", 128), ("regnet_y_400mf", 96),
    ("efficientnet_b0", 96), ("mnasnet0_5", 96), ("shufflenet_v2_x0_5", 96), ("convnext_tiny", 96),
    ("swin_t", 96), ("swin_v2_t", 128), ("vit_b_16", 96), ("maxvit_t", 224),
    ("timm:tf_efficientnet_lite0", 128), ("timm:resnet26", 96), ("timm:convnext_atto", 96),
    ("timm:vit_tiny_patch16_224", 96), ("timm:deit3_small_patch16_224", 96),
    ("timm:vit_small_patch14_reg4_dinov2", 98), ("timm:vit_base_patch32_clip_224", 96),
    ("timm:swin_tiny_patch4_window7_224", 224), ("timm:efficientvit_b0", 96), ("timm:levit_128s", 224),
    ("timm:mobilevit_xxs", 128), ("timm:poolformer_s12", 96), ("timm:mixer_s32_224", 224),
]  # fmt: skip


class Tried(NamedTuple):
    """What came of a network. layers: how many, and how many of them can be inverted; middle: the layer that
    was inverted, with its shape; fell: by which share three iterations lowered the distance of its maps."""

    layers: int
    usable: int
    middle: str
    shape: list[int]
    stride: float
    field: int | None
    fell: float
    loss: float
    seconds: float


def tried(architecture: str, size: int) -> Tried:
    """Raises ValueError, with the sentence that a user reads, where the network cannot be used."""
    started = time.process_time()
    model, steps = sources.traced(architecture, size)
    state = sources.tensors_of(steps, model)
    build = functools.partial(graph.Network, steps)
    layers, stop = receptive_fields.of_layers(steps, size, lambda names: build(names).load(state))
    if stop:
        raise ValueError(f"images of {size} pixels are too small: {stop}")
    maps = [name for name, facts in layers.items() if facts["maps"] and len(facts["shape"]) == 3]
    maps = [
        name for name in maps if layers[name]["waypoint"] and min(layers[name]["shape"][1:]) > 1
    ]
    middle = maps[len(maps) // 2]
    network = build([middle], mean=(0.5,) * 3, std=(0.25,) * 3).load(state)
    truth = smooth(size)
    with torch.no_grad():
        target = network(truth)[middle]
    facts = layers[middle]
    assert list(target.shape[1:]) == facts["shape"], middle
    return Tried(
        len(layers),
        sum(layer["maps"] for layer in layers.values()),
        middle,
        facts["shape"],
        facts["stride"],
        facts["receptive_field"],
        _optimised(network, middle, target, size),
        _inverted(layers, middle, lambda names: build(names).load(state), target, truth),
        time.process_time() - started,
    )


def smooth(size: int) -> torch.Tensor:
    """Two images of soft blobs."""
    draw = torch.Generator().manual_seed(0)
    coarse = torch.rand(2, 3, 8, 8, generator=draw)
    return torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic").clamp(0, 1)


def _optimised(network, layer: str, target: torch.Tensor, size: int) -> float:
    term = DATA_TERMS["normalised"](Given(layer, target, ["a", "b"]))
    terms = {"tv": Term(1e-5, HAND_CRAFTED["tv"](Known(network.mean, None)))}
    plan = Plan(1.0, "lbfgs", (Phase(5, 10.0),), init="uniform")
    with tempfile.TemporaryDirectory() as folder:
        here = network, term, ["a", "b"], size, network.mean, terms, plan, 0
        trace = preimage.reconstruct(*here, Checkpoint(f"{folder}/x", [])).trace
    values = [row[2] for row in trace if row[1] == "data"]
    return values[-1] / values[0]


def _inverted(layers: dict, layer: str, network, target, truth: torch.Tensor) -> float:
    """The mean squared error of an inverse network after some updates, as a multiple of that before."""
    torch.manual_seed(0)
    specs = plan_chain(layers, layer, width=8, modules="resolution")
    chain = Chain(specs)
    with torch.no_grad():
        maps = network([spec.source for spec in specs])(truth)
        chain.fit_scales([*maps.values(), truth])
    optimiser = torch.optim.Adam(chain.parameters(), 3e-4)
    losses = []
    for _ in range(UPDATES):
        losses.append((chain.image(target) - truth).square().mean())
        optimiser.zero_grad()
        losses[-1].backward()
        optimiser.step()
    return float(losses[-1].detach() / losses[0].detach())


def main(names: list[str]) -> None:
    chosen = [entry for entry in SMALL + LARGE if not names or entry[0] in names]
    print("| network | pixels | layers, of which usable | in the middle | shape | stride | sees |")
    print("|---|---|---|---|---|---|---|")
    for architecture, size in chosen:
        try:
            found = tried(architecture, size)
        except ValueError as error:
            print(f"| {architecture} | {size} | refused: {error} | | | | |", flush=True)
            continue
        shape = " x ".join(map(str, found.shape))
        sees = "all" if found.field is None else found.field
        print(
            f"| {architecture} | {size} | {found.layers}, {found.usable} | {found.middle} | {shape} | "
            f"{found.stride:g} | {sees} |",
            flush=True,
        )
        print(
            f"{architecture}: data {found.fell:.3f} of the first, inverse network {found.loss:.3f}, "
            f"{found.seconds:.0f} CPU s",
            file=sys.stderr,
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1:])
