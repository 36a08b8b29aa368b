"""What the maps of a pre-image should be: one class per data term, one protocol.

`energy(found)` takes the maps of a batch by layer name and returns one value per image, shape (N,),
lower is better. `scale` (N,) is its size before any progress, the measure of divergence.
`select(index)` is the same term for some of the images, when others have left the batch.
"""

from __future__ import annotations

import copy
import functools
import logging
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, Self

import numpy as np
import torch

from ..files.hdf5 import read_arrays
from ..priors.whitening import whitening_matrix
from ..runtime.rows import PerImage

log = logging.getLogger(__name__)
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
        raise ValueError(
            f"the feature maps of {', '.join(dead)} are all zero; nothing to reconstruct"
        )


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
    """Mean over elements of (Phi(x) - Phi_0)^2 for one layer, in the units of its maps (Harder's code, 2018).

    Arguments and errors as those of Matching. A prior's weight beside it holds for one layer of one
    classifier: the mean square of maps, which is its `scale`, differs by orders of magnitude between layers.
    """

    PER_IMAGE = ("target", "scale")

    def __init__(self, layer: str, target: torch.Tensor, names: Sequence[str]):
        refuse_dead(target, names)
        self.layer, self.target = layer, target
        self.scale = target.flatten(1).square().mean(1)

    def energy(self, found: Maps) -> torch.Tensor:
        difference = found[self.layer].float() - self.target
        return difference.flatten(1).square().mean(1)


def channel_whitening(layer: str, statistics: str | os.PathLike, components: int) -> torch.Tensor:
    """W = diag(lambda)^(-1/2) U', k x C in float32, of the k leading principal components over channels.

    `statistics`: the file of the layer's statistics, whose `channel_covariance` is centred by the mean of
    each channel over images and positions. k is `components`, but at most half the number of samples
    (positions of images), and without components whose variance is below a millionth of the largest,
    such as those of dead channels. Raises ValueError for maps without any variance.
    """
    names = ("channel_covariance", "of_images", "sums/size")
    covariance, images, size = read_arrays(statistics, "statistics", names).values()
    samples = len(images) * int(np.prod(size[1:3]))
    matrix = whitening_matrix(covariance, min(components, max(1, samples // 2)))
    matrix = matrix[matrix.any(1)]
    if not len(matrix):
        raise ValueError(
            f"the feature maps of {layer} are the same in all images, {statistics} says, so that they "
            "cannot be whitened; use data normalised"
        )
    log.info("%d principal components over the %d channels of %s", *matrix.shape, layer)
    return torch.from_numpy(matrix).float()


class Whitened(PerImage):
    """Mean over positions and k components of (W (Phi(x) - Phi_0))^2 for one layer.

    This is the squared Mahalanobis distance in the leading principal components over channels, divided by k.
    whitening: W, k x C (see channel_whitening). Other arguments and errors as those of Matching. On average
    it is 1 from the mean of natural maps to those of a natural image, and 2 between two natural images.
    `scale` is that 1 for every target: a dull one that lies near the mean is no reason for a narrow limit.
    """

    PER_IMAGE = ("target", "scale")

    def __init__(
        self, layer: str, target: torch.Tensor, names: Sequence[str], whitening: torch.Tensor
    ):
        refuse_dead(target, names)
        self.layer, self.target = layer, target.float()
        self.whitening = whitening.to(target.device)
        self.scale = torch.ones(len(target), device=target.device)

    def energy(self, found: Maps) -> torch.Tensor:
        difference = found[self.layer].float() - self.target
        whitened = difference.movedim(1, -1) @ self.whitening.T
        return whitened.square().flatten(1).mean(1)


class Given(NamedTuple):
    """What a data term may refer to: the layer, its maps Phi_0, N x ..., the names of their images, and of
    one that is fitted to statistics the whitening of channels, k x C."""

    layer: str
    target: torch.Tensor
    names: Sequence[str]
    whitening: torch.Tensor | None = None


def _whitened(given: Given) -> Whitened:
    assert given.whitening is not None  # the rules know from study.registry.FITTED what to give
    return Whitened(given.layer, given.target, given.names, given.whitening)


# What a recipe may name.
DATA_TERMS: dict[str, Callable[[Given], DataTerm]] = {
    "normalised": lambda given: Matching(given.layer, given.target, given.names),
    "mse": lambda given: MeanSquared(given.layer, given.target, given.names),
    "whitened": _whitened,
}


class InnerProduct(PerImage):
    """-<Phi(x), Phi_0> for one layer: activation maximisation and caricature (Mahendran & Vedaldi 2016).

    target: Phi_0, N x ..., its own weight included. scale: what the product is on a natural image, (N,).
    """

    PER_IMAGE = ("target", "scale")

    def __init__(self, layer: str, target: torch.Tensor, scale: torch.Tensor):
        self.layer, self.target, self.scale = layer, target, scale

    def energy(self, found: Maps) -> torch.Tensor:
        return -(found[self.layer].float() * self.target).flatten(1).sum(1)


def gram(maps: torch.Tensor) -> torch.Tensor:
    """G = F F^T, N x C x C, of maps N x C x H x W, F being C x (H W); of a flat layer, of one position."""
    flat = maps.float().flatten(2) if maps.ndim > 2 else maps.float()[..., None]
    return flat @ flat.transpose(1, 2)


def _content(maps: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    return 0.5 * (maps.float() - wanted).square().flatten(1).sum(1)


class Gram:
    """Style and texture of Gatys et al. 2015: sum over layers of w_l E_l, and the content of a layer.

    E_l = 1 / (4 C^2 M^2) |G_l - A_l|^2 with C channels and M positions, the content is 1/2 |F - P|^2.
    maps: those whose Gram matrices are A_l, N x ..., by layer. weights: w_l by layer, 1 / layers each
    where not given. content: layer and P; content_weight: its factor. relative: each E_l and the
    content are divided by their value where all maps are zero, so that layers of any scale count alike;
    a content weight of 1 then counts like all Gram matrices together.

    Raises ValueError naming the layer whose maps are all zero.
    """

    def __init__(
        self,
        maps: Maps,
        weights: dict[str, float] | None = None,
        content: tuple[str, torch.Tensor] | None = None,
        content_weight: float = 1.0,
        relative: bool = True,
    ):
        self.weights = weights or dict.fromkeys(maps, 1 / len(maps))
        self.grams = {layer: gram(values) for layer, values in maps.items()}
        self.sizes = {
            layer: 4.0 * values.shape[1] ** 2 * values[0, 0].numel() ** 2
            for layer, values in maps.items()
        }
        self.content, self.content_weight = content, content_weight
        zero = {layer: torch.zeros_like(values) for layer, values in maps.items()}
        empty = {layer: self._style(layer, values) for layer, values in zero.items()}
        if content is not None:
            empty["content"] = _content(torch.zeros_like(content[1]), content[1])
        for layer, values in empty.items():
            if not (values > 0).all():
                name = content[0] if content is not None and layer == "content" else layer
                raise ValueError(f"the maps of {name} are all zero; there is no texture in them")
        self.units = empty if relative else {k: torch.ones_like(v) for k, v in empty.items()}
        self.scale = self._sum(empty)

    def _style(self, layer: str, values: torch.Tensor) -> torch.Tensor:
        difference = gram(values) - self.grams[layer]
        return difference.square().flatten(1).sum(1) / self.sizes[layer]

    def _sum(self, terms: Maps) -> torch.Tensor:
        weights = {**self.weights, "content": self.content_weight}
        parts = (weights[name] * value / self.units[name] for name, value in terms.items())
        return functools.reduce(torch.add, parts)

    def energy(self, found: Maps) -> torch.Tensor:
        terms = {layer: self._style(layer, found[layer]) for layer in self.grams}
        if self.content is not None:
            layer, wanted = self.content
            terms["content"] = _content(found[layer], wanted)
        return self._sum(terms)

    def select(self, index: torch.Tensor) -> Gram:
        chosen = copy.copy(self)
        for name in ("grams", "units"):
            values = getattr(self, name)
            setattr(chosen, name, {layer: value[index] for layer, value in values.items()})
        if self.content is not None:
            chosen.content = (self.content[0], self.content[1][index])
        chosen.scale = self.scale[index]
        return chosen
