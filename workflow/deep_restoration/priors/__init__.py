"""Priors on images and feature maps: one class a prior, one protocol.

`energy(x)` takes N x C x H x W and returns one value per image, shape (N,): lower is more natural.
Images are in [0, 1].
"""

from __future__ import annotations

from typing import Protocol

import torch


class Prior(Protocol):
    def energy(self, x: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Energy per image, (N,). A prior that samples positions draws them from `generator`."""
        ...
