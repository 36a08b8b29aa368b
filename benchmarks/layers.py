"""Layers with an equal of our own against torch's: CPU time of forward and backward, side by side.

OMP_WAIT_POLICY=PASSIVE python benchmarks/layers.py
"""

import time

import torch
from torch import nn

from deep_restoration.graph import LocalResponseNorm


def seconds(layer: nn.Module, maps: torch.Tensor) -> float:
    started = time.process_time()
    torch.autograd.grad(layer(maps).square().sum(), maps)
    return time.process_time() - started


torch.manual_seed(0)
torch.set_num_threads(1)
print(f"{'response normalisation on':28}{'torch ms':>10}{'ours ms':>10}{'ratio':>7}")
for channels, side in ((96, 55), (96, 22), (256, 27), (256, 10)):
    maps = torch.randn(8, channels, side, side).to(memory_format=torch.channels_last)
    maps.requires_grad_()
    pair = nn.LocalResponseNorm(5), LocalResponseNorm(5)
    assert torch.allclose(pair[0](maps), pair[1](maps), atol=1e-5)
    times = [[seconds(layer, maps) for layer in pair] for _ in range(9)][1:]
    theirs, ours = (sorted(column)[len(column) // 2] * 1e3 for column in zip(*times, strict=True))
    print(f"{f'8 x {channels} x {side} x {side}':28}{theirs:10.1f}{ours:10.1f}{theirs / ours:7.1f}")
