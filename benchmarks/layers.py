"""Layers with an equal of our own against torch's: CPU time of forward and backward, side by side; then
pixel_unshuffle and pixel_shuffle, as they are used before and after folded convolutions.

OMP_WAIT_POLICY=PASSIVE python benchmarks/layers.py
"""

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from deep_restoration.networks.folding import fold_maps, unfold_maps
from deep_restoration.networks.operations import Conv2d, LocalResponseNorm
from deep_restoration.runtime import devices


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
    tell(name, *(lambda layer=layer: seconds(layer, maps, mixed) for layer in (theirs, ours)))


def tell(name: str, theirs: Callable[[], float], ours: Callable[[], float], rounds=9) -> None:
    """Medians of seconds that both report in turn; the first round warms up."""
    times = [[theirs(), ours()] for _ in range(rounds)][1:]
    took = [sorted(column)[len(column) // 2] * 1e3 for column in zip(*times, strict=True)]
    print(f"{name:40}{took[0]:10.2f}{took[1]:10.2f}{took[0] / took[1]:7.1f}")


def compare_folding(name: str, theirs, ours, maps: torch.Tensor) -> None:
    assert torch.equal(theirs(maps), ours(maps))

    def took(function) -> float:
        started = time.process_time()
        function(maps)
        return time.process_time() - started

    tell(name, lambda: took(theirs), lambda: took(ours), rounds=19)


torch.manual_seed(0)
torch.set_num_threads(1)
MIXED = devices.computes_in_bfloat16(torch.device("cpu"))  # otherwise bfloat16 is emulated
print(f"{'':40}{'torch ms':>10}{'ours ms':>10}{'ratio':>7}")
for channels, side in ((96, 55), (96, 22), (256, 27), (256, 10)):
    name = f"normalisation, 8 x {channels} x {side} x {side}"
    compare(name, nn.LocalResponseNorm(5), LocalResponseNorm(5), (8, channels, side, side))
for network, *settings, side in (
    ("AlexNet", 64, 11, 4, 2, 224),
    ("SqueezeNet", 96, 7, 2, 0, 224),
    ("ResNet", 64, 7, 2, 3, 224),
):
    for precision in ("float32", "mixed") if MIXED else ("float32",):
        pair = nn.Conv2d(3, *settings), Conv2d(3, *settings)
        name = f"first convolution of {network}, {precision}"
        compare(name, *pair, (8, 3, side, side), precision == "mixed")
for dtype in (torch.float32, torch.bfloat16) if MIXED else (torch.float32,):
    images = torch.rand(8, 3, 224, 224).to(dtype)
    compare_folding(
        f"folding 8 x 3 x 224 x 224 by 4, {str(dtype)[6:]}",
        lambda maps: F.pixel_unshuffle(maps, 4).contiguous(memory_format=torch.channels_last),
        lambda maps: fold_maps(maps, 4, (56, 56)),
        images,
    )
    compare_folding(
        f"unfolding 8 x 48 x 56 x 56, {str(dtype)[6:]}",
        lambda maps: F.pixel_shuffle(maps, 4),
        lambda maps: unfold_maps(maps, 4, (224, 224)),
        F.pixel_unshuffle(images, 4).contiguous(memory_format=torch.channels_last),
    )
