"""A training step of an inverse network against the plain loop, and what reading costs.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/inverters.py [ARCHITECTURE LAYER SIZE]

The plain loop is what cannot be left out: the classifier's forward pass, the chain's forward and backward
pass with one squared error per module, and Adam, on images that lie in memory. Ours also reads, checks,
normalises and logs. Both are timed in turn, in wall seconds, medians. Then the seconds that reading an epoch
of 1000 images takes alone, and for comparison the reading of its feature maps from HDF5, which would save the
classifier's pass.
"""

import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "workflow"))

from deep_restoration.data import images
from deep_restoration.inverters import training as training
from deep_restoration.inverters.chain import Chain
from deep_restoration.inverters.plan import plan_chain
from deep_restoration.networks import graph, receptive_fields, sources
from deep_restoration.runtime.checkpoints import Checkpoint

BATCH, WIDTH, IMAGES, ROUNDS, STEPS = 8, 16, 1000, 7, 3
REST = {
    "representation": 0.0,
    "mirror": False,
    "shift": 0,
    "precision": "float32",
    "schedule": "cosine",
}
torch.set_num_threads(2)


def seconds(work) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def plain_loop(network, chain, source, targets, batches):
    optimiser = torch.optim.Adam(chain.parameters())
    for x in batches:
        with torch.no_grad():
            maps = network(x)
        found = chain(maps[source])
        loss = sum(
            (f - t).square().mean()
            for f, t in zip(found, [*(maps[t] for t in targets), x], strict=True)
        )
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()


def main(architecture="squeezenet1_0", layer="features.7", size="128") -> None:
    size = int(size)
    steps = sources.steps_of(architecture)
    geometry, _ = receptive_fields.of_layers(steps, size)
    specs = plan_chain(geometry, layer, WIDTH)
    torch.manual_seed(0)
    model = sources.build(architecture)
    network = graph.Network(steps, [spec.source for spec in specs]).load(model.state_dict())
    network.to(memory_format=torch.channels_last)
    chain = Chain(specs).to(memory_format=torch.channels_last)
    pixels = np.random.default_rng(0).integers(0, 256, (IMAGES, size, size, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder, h5py.File(f"{folder}/images.h5", "w") as file:
        file["images"] = pixels
        data = file["images"]

        def read(rows: list[int]) -> torch.Tensor:
            return images.as_tensor(data[rows])

        def ours() -> None:
            plan = training.Settings("joint", STEPS, BATCH, 1e-3, 1e-3, **REST)
            training.train(network, specs, read, IMAGES, plan, 0, 0, NEVER)

        def start() -> None:  # what a training does once: scales, one validation
            plan = training.Settings("joint", 1, BATCH, 1e-3, 1e-3, **REST)
            training.train(network, specs, read, IMAGES, plan, 0, 0, NEVER)

        order = training.Epochs(IMAGES, BATCH, 0)
        ready = [
            read(order[i]).contiguous(memory_format=torch.channels_last) for i in range(STEPS - 1)
        ]
        targets = [spec.target for spec in specs[:-1]]
        plain_loop(network, chain, layer, targets, ready)
        times = {"ours": [], "plain": []}
        for _ in range(ROUNDS):
            times["ours"].append(seconds(ours) - seconds(start))
            times["plain"].append(
                seconds(lambda: plain_loop(network, chain, layer, targets, ready))
            )
        medians = {way: np.median(values) / (STEPS - 1) for way, values in times.items()}
        ratio = np.median(np.divide(times["ours"], times["plain"]))
        print(f"{architecture} {layer} at {size} pixels, batch {BATCH}, {len(specs)} modules")
        print(f"step: {1000 * medians['ours']:.0f} ms, {ratio:.2f} x the plain loop")
        epoch = [order[i] for i in range(IMAGES // BATCH)]
        reading = seconds(lambda: [read(rows) for rows in epoch])
        print(f"reading an epoch of {IMAGES} images: {reading:.2f} s")
        with torch.no_grad():
            maps = network(ready[0])
        forward = np.median([seconds(lambda: network(ready[0])) for _ in range(ROUNDS)])
        print(f"classifier's pass for an epoch: {forward * len(epoch):.2f} s")
        for name, value in maps.items():
            file[f"maps/{name}"] = np.zeros((200, *value.shape[1:]), np.float32)
        rows = [sorted(np.random.default_rng(i).choice(200, BATCH, False)) for i in range(20)]
        stored = seconds(lambda: [[file[f"maps/{name}"][r] for name in maps] for r in rows])
        size_of = sum(value[0].numel() * 4 for value in maps.values()) / 1e6
        print(
            f"reading its maps from HDF5: {stored / 20 * len(epoch):.2f} s, {size_of:.1f} MB an image"
        )


NEVER = Checkpoint("/nonexistent/never", [], 1e9)

if __name__ == "__main__":
    main(*sys.argv[1:])
