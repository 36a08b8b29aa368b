"""What a pre-image is to do to the classifier's maps: one class a term, one protocol.

`energy(found)` takes the maps of a batch by layer name and returns one value per image, shape (N,),
lower is better. `scale` (N,) is its size where nothing is achieved, by which divergence is judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

Maps = dict[str, torch.Tensor]


class DataTerm(Protocol):
    scale: torch.Tensor

    def energy(self, found: Maps) -> torch.Tensor:
        """Per image, (N,), in float32."""
        ...


class Matching:
    """|Phi(x) - Phi_0|^2 / |Phi_0|^2 for one layer (Mahendran & Vedaldi 2015, eq. 3).

    target: Phi_0, N x ...; names: of its images, for the error. Raises ValueError naming the images
    whose maps are all zero.
    """

    def __init__(self, layer: str, target: torch.Tensor, names: Sequence[str]):
        self.layer, self.target = layer, target
        self.norm = target.flatten(1).square().sum(1)
        self.scale = torch.ones_like(self.norm)
        if not (self.norm > 0).all():
            dead = [n for n, value in zip(names, self.norm.tolist(), strict=True) if value == 0]
            raise ValueError(
                f"the feature maps of {', '.join(dead)} are all zero; nothing to restore"
            )

    def energy(self, found: Maps) -> torch.Tensor:
        difference = found[self.layer].float() - self.target
        return difference.flatten(1).square().sum(1) / self.norm
