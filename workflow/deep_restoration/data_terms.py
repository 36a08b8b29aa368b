"""What a pre-image is to do to the classifier's maps: one class a term, one protocol.

`energy(found)` takes the maps of a batch by layer name and returns one value per image, shape (N,),
lower is better. `scale` (N,) is its size where nothing is achieved, by which divergence is judged.
`select(index)` is the same term for some of the images, when others have left the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self

import torch

from .rows import PerImage

Maps = dict[str, torch.Tensor]


class DataTerm(Protocol):
    scale: torch.Tensor

    def energy(self, found: Maps) -> torch.Tensor:
        """Per image, (N,), in float32."""
        ...

    def select(self, index: torch.Tensor) -> Self: ...


def refuse_dead(target: torch.Tensor, names: Sequence[str]) -> None:
    """Raise ValueError naming the images whose maps are all zero."""
    if dead := [name for name, maps in zip(names, target, strict=True) if not maps.any()]:
        raise ValueError(f"the feature maps of {', '.join(dead)} are all zero; nothing to restore")


class Matching(PerImage):
    """|Phi(x) - Phi_0|^2 / |Phi_0|^2 for one layer (Mahendran & Vedaldi 2015, eq. 3).

    target: Phi_0, N x ...; names: of its images, for the error. Raises ValueError naming the images
    whose maps are all zero.
    """

    PER_IMAGE = ("target", "norm", "scale")

    def __init__(self, layer: str, target: torch.Tensor, names: Sequence[str]):
        refuse_dead(target, names)
        self.layer, self.target = layer, target
        self.norm = target.flatten(1).square().sum(1)
        self.scale = torch.ones_like(self.norm)

    def energy(self, found: Maps) -> torch.Tensor:
        difference = found[self.layer].float() - self.target
        return difference.flatten(1).square().sum(1) / self.norm


class MeanSquared(PerImage):
    """Mean over elements of (Phi(x) - Phi_0)^2 for one layer, in the units of its maps (Harder 2017).

    Arguments and errors as those of Matching. A weight beside it holds for one layer of one classifier:
    the mean square of maps, which is its `scale`, differs by orders of magnitude between layers.
    """

    PER_IMAGE = ("target", "scale")

    def __init__(self, layer: str, target: torch.Tensor, names: Sequence[str]):
        refuse_dead(target, names)
        self.layer, self.target = layer, target
        self.scale = target.flatten(1).square().mean(1)

    def energy(self, found: Maps) -> torch.Tensor:
        difference = found[self.layer].float() - self.target
        return difference.flatten(1).square().mean(1)


DATA_TERMS: dict[str, type[Matching] | type[MeanSquared]] = {
    "normalised": Matching,
    "mse": MeanSquared,
}
