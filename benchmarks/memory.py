"""What an iteration costs when freed memory is kept, and when the C library gives it back to the kernel.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/memory.py [ARCHITECTURE LAYER SIZE BATCH]

Pre-image optimisation with total variation; each measurement in a process of its own, in turn: CPU
milliseconds per iteration and image, pages asked for in an iteration, and the peak of memory.
"""

import resource
import subprocess
import sys
import time

import numpy as np
import torch

from deep_restoration.inversion import preimage
from deep_restoration.inversion.data_terms import Matching
from deep_restoration.inversion.preimage import Plan, Term
from deep_restoration.inversion.schedules import Phase
from deep_restoration.networks import graph, sources
from deep_restoration.priors.total_variation import TotalVariation
from deep_restoration.runtime import devices
from deep_restoration.runtime.checkpoints import Checkpoint

ROUNDS, SHORT, LONG = 3, 3, 8


def measure(architecture: str, layer: str, size: int, batch: int, precision: str) -> tuple:
    torch.set_num_threads(2)
    torch.manual_seed(0)
    model = sources.build(architecture)
    network = graph.Network(sources.steps_of(architecture, model), [layer])
    network.load(model.state_dict()).to(memory_format=torch.channels_last)
    truth = torch.rand(batch, 3, size, size)
    with torch.no_grad():
        target = network(truth)[layer]
    names, never = list(map(str, range(batch))), Checkpoint("/nonexistent/never", [], 1e9)
    terms = {"tv": Term(1.0, TotalVariation(V=12.31))}

    def run(iterations: int) -> np.ndarray:
        plan = Plan(1.0, "adam", [Phase(iterations, 8.0)], box=True, precision=precision)
        before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        data = Matching(layer, target, names)
        preimage.reconstruct(network, data, names, size, network.mean, terms, plan, 0, never)
        after = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        return np.subtract(after, before)

    run(SHORT)
    seconds, pages = (run(LONG) - run(SHORT)) / (LONG - SHORT)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return 1000 * seconds / batch, pages, peak


def main(architecture="vgg16", layer="conv2_2", size="224", batch="8") -> None:
    print(f"{architecture} {layer}, {batch} images of {size} x {size}")
    print(f"{'':24}{'CPU ms an image':>18}{'pages':>10}{'peak MiB':>10}")
    mixed = devices.computes_in_bfloat16(torch.device("cpu"))  # otherwise bfloat16 is emulated
    for precision in ("float32", "mixed") if mixed else ("float32",):
        found = {"given back": [], "kept": []}
        for _ in range(ROUNDS):
            for memory, rows in found.items():
                command = [sys.executable, __file__, architecture, layer, size, batch, precision]
                done = subprocess.run([*command, memory], capture_output=True, check=True)
                rows.append([float(value) for value in done.stdout.split()])
        for memory, rows in found.items():
            took, pages, peak = np.median(rows, 0)
            print(f"{precision + ', ' + memory:24}{took:18.1f}{pages:10.0f}{peak:10.0f}")
        ratio = np.median(np.divide(found["given back"], found["kept"])[:, 0])
        print(f"{precision}: kept, {ratio:.2f} x as fast")


if __name__ == "__main__":
    if len(sys.argv) == 7:
        *where, size, batch, precision, memory = sys.argv[1:]
        if memory == "kept":
            devices.keep_memory()
        print(*measure(*where, int(size), int(batch), precision))
    else:
        main(*sys.argv[1:])
