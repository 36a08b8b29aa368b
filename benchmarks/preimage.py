"""An iteration of pre-image optimisation against the plain loop, and how far mixed precision gets.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/preimage.py [ARCHITECTURE LAYER SIZE BATCH]

The plain loop is what cannot be left out in float32: the network's forward pass to the layer, the
backward pass to the image and a step along the gradient, all by torch's own modules; in torch's
ordinary memory layout, as most tools run it, with channels last, and so in bfloat16. Recipes run as the
workflow runs them, with their priors, jitter, bounds and trace; the learned one has 256 filters of
8 x 8 with random values. Everything is measured in turn, in CPU seconds of this process per iteration
and image; medians of rounds, ratios to the plain loops of the same round; freed memory is kept,
as in the workflow's jobs, for the plain loops as well. Then the final error of a recipe in either
precision, measured in float32, and the peak of memory. Where the CPU only emulates bfloat16, it is left
out.
"""

import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow"))

from deep_restoration.evaluation import metrics
from deep_restoration.inversion import preimage
from deep_restoration.inversion.data_terms import Matching
from deep_restoration.inversion.mahendran_vedaldi import jitter_of
from deep_restoration.inversion.preimage import Plan, Term
from deep_restoration.inversion.schedules import Phase
from deep_restoration.networks import graph, operations, receptive_fields, sources
from deep_restoration.priors.base import Calibrated
from deep_restoration.priors.field import FieldOfExperts
from deep_restoration.priors.norms import ColourNorm
from deep_restoration.priors.total_variation import TotalVariation
from deep_restoration.runtime import devices
from deep_restoration.runtime.checkpoints import Checkpoint

# Both lengths look at the SSIM equally often, so that it cancels.
ROUNDS, SHORT, LONG, END = 9, 13, 18, 100
NEVER = Checkpoint("/nonexistent/never", [], 1e9)
torch.set_num_threads(2)
devices.keep_memory()
MIXED = devices.computes_in_bfloat16(torch.device("cpu"))
PRECISIONS = ("float32", "mixed") if MIXED else ("float32",)
Run = Callable[[int], object]  # does so many iterations


def plain_loop(maps_of, truth, target, layout, mixed: bool, iterations: int) -> None:
    """Gradient descent as anybody would write it."""
    x, aim = truth.contiguous(memory_format=layout), target.contiguous(memory_format=layout)
    for _ in range(iterations):
        x = x.detach().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            maps = maps_of(x)
        loss = (maps - aim).square().sum()
        x = x - 1e-9 * torch.autograd.grad(loss, x)[0]


def cost(run: Run, batch: int) -> float:
    """Milliseconds per iteration and image, without what a run does once."""
    took = []
    for iterations in (SHORT, LONG):
        started = time.process_time()
        run(iterations)
        took.append(time.process_time() - started)
    return 1000 * (took[1] - took[0]) / (LONG - SHORT) / batch


def print_costs(runs: dict[str, Run], bases: list[str], batch: int) -> None:
    """The median cost of each run, and its ratios to those of the bases, round by round."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for round_ in range(ROUNDS + 1):
        for name, run in runs.items():
            value = cost(run, batch)
            if round_:  # the first warms up
                times[name].append(value)
    for name, values in times.items():
        ratios = [np.median(np.divide(values, times[base])) for base in bases]
        shown = " ".join(f"{ratio:7.2f} x" for ratio in ratios)
        print(f"{name:28s} {np.median(values):7.1f} {shown}")


def main(architecture="alexnet", layer="conv5", size="224", batch="8") -> None:
    size, batch = int(size), int(batch)
    torch.manual_seed(0)
    model = sources.build(architecture)
    steps = sources.steps_of(architecture, model)
    network = graph.Network(steps, [layer]).load(model.state_dict())
    with patch.dict(operations.FASTER, clear=True):  # torch's modules alone
        plain, last = (graph.Network(steps, [layer]).load(model.state_dict()) for _ in range(2))
    for net in (network, last):
        net.to(memory_format=torch.channels_last)
    mean = network.mean
    coarse = torch.rand(batch, 3, size // 16, size // 16)
    truth = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear")
    names = [str(index) for index in range(batch)]
    with torch.no_grad():
        target = network(truth)[layer]
    known, _ = receptive_fields.of_layers(steps, size)
    jitter = jitter_of(known[layer]["stride"])
    filters = torch.randn(256, 3, 8, 8) / 14
    field = FieldOfExperts(
        filters, torch.zeros(256), torch.ones(256), "student_t", position_stride=4
    )
    tv, norm = Term(1.0, TotalVariation(V=12.31)), Term(1.0, ColourNorm(mean))
    adam = {"data_weight": 1.0, "optimiser": "adam", "box": True}
    lbfgs = {**adam, "optimiser": "lbfgs"}
    published = {"data_weight": 300.0, "optimiser": "adagrad2016", "bound": 160.0, "jitter": jitter}
    ways = {
        "pure": (adam, {}),
        "tv": (adam, {"tv": tv}),
        "tv, lbfgs": (lbfgs, {"tv": tv}),
        "mahendran2016": (published, {"colour_norm": norm, "tv": tv}),
        "ica, stride 4": (adam, {"ica": Term(0.1, Calibrated(field))}),
    }

    def ours(name: str, precision: str, iterations: int) -> preimage.Result:
        options, terms = ways[name]
        rate = 53.33 if options is published else 8.0
        phases = [Phase(iterations, rate, jitter=options is published)]
        plan = Plan(**options, phases=phases, precision=precision)
        return preimage.reconstruct(
            network,
            Matching(layer, target, names),
            names,
            size,
            mean,
            terms,
            plan,
            0,
            NEVER,
            truth=truth,
        )

    def loop(net, layout, mixed: bool) -> Run:
        return lambda n: plain_loop(lambda x: net(x)[layer], truth, target, layout, mixed, n)

    runs: dict[str, Run] = {
        "plain loop": loop(plain, torch.contiguous_format, False),
        "plain loop, channels last": loop(last, torch.channels_last, False),
    }
    if MIXED:
        runs["plain loop, last, bfloat16"] = loop(last, torch.channels_last, True)
    bases = list(runs)
    for name in ways:
        for precision in PRECISIONS:
            runs[f"{name}, {precision}"] = lambda n, a=name, b=precision: ours(a, b, n)
    print(
        f"{architecture} {layer}, {batch} images of {size} x {size}, CPU ms per iteration and image"
    )
    print_costs(runs, bases, batch)
    for name in ("tv", "mahendran2016"):
        ends = []
        for precision in PRECISIONS:
            reconstructed = ours(name, precision, END).images
            with torch.no_grad():
                maps = network(reconstructed)[layer]
            ends.append(float(metrics.representation_error(maps, target).mean()))
        shown = ", ".join(f"{p} {end:.5f}" for p, end in zip(PRECISIONS, ends, strict=True))
        print(f"{name}: error after {END} iterations: {shown}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")


if __name__ == "__main__":
    main(*sys.argv[1:])
