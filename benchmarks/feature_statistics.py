"""The pass over feature maps against the classifier's forward pass, its floor, and numpy.cov.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/feature_statistics.py [state dict of squeezenet1_0]

CPU seconds of this process, medians of rounds in which everything is measured side by side. The floor is
the time that the pass's matrix products take at the machine's measured float64 rate. Memory is the
peak of a process of its own above what its imports take.
"""

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torchvision.models import squeezenet1_0

from deep_restoration.statistics.streaming import FeatureStatistics

THREADS, BATCH, SIZE, ROUNDS = 2, 8, 227, 7
LAYERS = {1: (96, 111, 111), 6: (256, 27, 27), 11: (512, 13, 13)}


def maps_of(shape: tuple[int, ...], count: int) -> torch.Tensor:
    """Sparse and smooth, as maps after a ReLU are."""
    noise = torch.randn(count, *shape, generator=torch.Generator().manual_seed(count))
    return torch.relu(torch.nn.functional.avg_pool2d(noise, 3, 1, 1))


def memory(what: str, layer: int, count: int) -> None:
    """Print the peak in MB of one way to the covariances of `count` images, 8 of them at a time."""
    shape = LAYERS[layer]
    maps_of(shape, BATCH)
    Path("/proc/self/clear_refs").write_text("5")  # start the peak anew
    before = resident("VmRSS")
    if what == "numpy":
        stacked = np.empty((count, *shape))
        for start in range(0, count, BATCH):
            stacked[start : start + BATCH] = maps_of(shape, BATCH)
        np.cov(stacked.reshape(count * shape[0], -1), rowvar=False, bias=True)
        np.cov(stacked.transpose(1, 0, 2, 3).reshape(shape[0], -1), bias=True)
    else:
        found = FeatureStatistics(*shape)
        for start in range(0, count, BATCH):
            found.add(maps_of(shape, BATCH), start)
    print((resident("VmHWM") - before) / 1024)


def resident(what: str) -> int:
    """kB of this process: VmRSS now, VmHWM at its peak (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what))


def peak(what: str, layer: int, count: int) -> float:
    command = [sys.executable, __file__, "memory", what, str(layer), str(count)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def seconds(work) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def products(found: FeatureStatistics) -> float:
    """Multiplications of the pass's matrix products for an image, times two."""
    channels, height, width = found.shape
    points = found.grid.positions
    lagged = len(found.lags) * channels**2 * found.anchors.positions
    return 2.0 * (channels**2 * height * width + channels * points**2 + lagged)


def main() -> None:
    torch.set_num_threads(THREADS)
    network = squeezenet1_0()
    if len(sys.argv) > 1:
        network.load_state_dict(torch.load(sys.argv[1], weights_only=True))
    network = network.eval().to(memory_format=torch.channels_last)
    images = torch.rand(BATCH, 3, SIZE, SIZE).contiguous(memory_format=torch.channels_last)
    square = torch.randn(1024, 1024, dtype=torch.float64)
    passes = {layer: FeatureStatistics(*shape) for layer, shape in LAYERS.items()}
    with torch.inference_mode():
        maps = {layer: network.features[: layer + 1](images).contiguous() for layer in LAYERS}
    stacked = {layer: value.double().numpy() for layer, value in maps.items()}

    def forward() -> None:
        with torch.inference_mode():
            network(images)

    def covariances(layer: int) -> None:
        samples = passes[layer].grid.take(torch.from_numpy(stacked[layer])).flatten(0, 1)
        np.cov(samples.numpy(), rowvar=False, bias=True)
        np.cov(stacked[layer].transpose(1, 0, 2, 3).reshape(LAYERS[layer][0], -1), bias=True)

    work = {"forward": forward, "product": lambda: square @ square}
    for layer in LAYERS:
        work[f"pass {layer}"] = lambda layer=layer: passes[layer].add(maps[layer])
        work[f"numpy {layer}"] = lambda layer=layer: covariances(layer)
    rounds = [{name: seconds(job) for name, job in work.items()} for _ in range(ROUNDS + 1)][1:]
    middle = {name: float(np.median([found[name] for found in rounds])) for name in work}
    rate = 2 * 1024**3 / middle["product"]
    forward_ms = middle["forward"] / BATCH * 1e3
    print(f"forward pass of squeezenet1_0 at {SIZE}: {forward_ms:.1f} CPU ms an image")
    print(f"float64 matrix products: {rate / 1e9:.0f} GFLOP per CPU second\n")
    head = ("layer", "pass ms", "/ forward", "floor ms", "/ floor", "numpy ms", "/ numpy")
    print("".join(f"{word:>11}" for word in head))
    for layer in LAYERS:
        mine, theirs = (middle[f"{name} {layer}"] / BATCH * 1e3 for name in ("pass", "numpy"))
        floor = products(passes[layer]) / rate * 1e3
        values = (mine, mine / forward_ms, floor, mine / floor, theirs, mine / theirs)
        print(f"{f'features.{layer}':>11}" + "".join(f"{value:11.2f}" for value in values))
    print("\npeak memory, MB above imports")
    layer = 11
    ours = {count: peak("pass", layer, count) for count in (200, 800)}
    numpy = peak("numpy", layer, 200)
    print(f"features.{layer}: pass {ours[200]:.0f} (200 images), {ours[800]:.0f} (800 images)")
    print(f"numpy.cov {numpy:.0f} (200 images, {numpy / ours[200]:.1f} times the pass)")
    ours = {count: peak("pass", 1, count) for count in (100, 400)}
    print(f"features.1: pass {ours[100]:.0f} (100 images), {ours[400]:.0f} (400 images)")


if __name__ == "__main__":
    if sys.argv[1:2] == ["memory"]:
        torch.set_num_threads(THREADS)
        memory(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
