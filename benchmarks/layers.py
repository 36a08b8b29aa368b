"""Layers with an equal of our own against torch's: CPU time of forward and backward, side by side.

OMP_WAIT_POLICY=PASSIVE python benchmarks/layers.py
"""

import time

import torch
from torch import nn

from deep_restoration.graph import Conv2d, LocalResponseNorm


def seconds(layer: nn.Module, maps: torch.Tensor, mixed: bool) -> float:
    started = time.process_time()
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        found = layer(maps)
    torch.autograd.grad(found, maps, found.detach())
    return time.process_time() - started


def compare(name: str, theirs: nn.Module, ours: nn.Module, shape, mixed: bool = False) -> None:
    maps = torch.randn(shape).to(memory_format=torch.channels_last).requires_grad_()
    ours.load_state_dict(theirs.state_dict())
    for layer in (theirs, ours):
        layer.requires_grad_(False).to(memory_format=torch.channels_last)
    assert torch.allclose(theirs(maps), ours(maps), atol=1e-4)
    times = [[seconds(layer, maps, mixed) for layer in (theirs, ours)] for _ in range(9)][1:]
    took = [sorted(column)[len(column) // 2] * 1e3 for column in zip(*times, strict=True)]
    print(f"{name:40}{took[0]:10.1f}{took[1]:10.1f}{took[0] / took[1]:7.1f}")


torch.manual_seed(0)
torch.set_num_threads(1)
print(f"{'':40}{'torch ms':>10}{'ours ms':>10}{'ratio':>7}")
for channels, side in ((96, 55), (96, 22), (256, 27), (256, 10)):
    name = f"normalisation, 8 x {channels} x {side} x {side}"
    compare(name, nn.LocalResponseNorm(5), LocalResponseNorm(5), (8, channels, side, side))
for network, *settings, side in (
    ("AlexNet", 64, 11, 4, 2, 224),
    ("SqueezeNet", 96, 7, 2, 0, 224),
    ("ResNet", 64, 7, 2, 3, 224),
):
    for precision in ("float32", "mixed"):
        pair = nn.Conv2d(3, *settings), Conv2d(3, *settings)
        name = f"first convolution of {network}, {precision}"
        compare(name, *pair, (8, 3, side, side), precision == "mixed")
