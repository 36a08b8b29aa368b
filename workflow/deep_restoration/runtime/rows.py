"""Tensors with a row for each image of a batch, of which some images may have left."""

from __future__ import annotations

import copy
from typing import Self

import torch


class PerImage:
    """Something that holds tensors with a row for each image, those whose names `PER_IMAGE` lists."""

    PER_IMAGE: tuple[str, ...] = ()

    def select(self, index: torch.Tensor) -> Self:
        """The same for the images of these numbers alone."""
        chosen = copy.copy(self)
        for name in self.PER_IMAGE:
            setattr(chosen, name, getattr(self, name)[index])
        return chosen


class Rows:
    """Named tensors of all images, with the rows of those at work together, to act on in place.

    `rows[name]` is that part: the whole tensor while nobody has left, otherwise compact, so that those
    that have left cost nothing. `active` holds the numbers of the images at work, in order.
    """

    def __init__(self, **tensors: torch.Tensor):
        self.whole = tensors
        first = next(iter(tensors.values()))
        self.everyone = torch.arange(len(first), device=first.device)
        self.active, self._here = self.everyone, dict(tensors)

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._here[name]

    def gather(self, name: str) -> torch.Tensor:
        """The whole tensor, with the present rows of those at work; not to be acted on."""
        if self._here[name] is not self.whole[name]:
            self.whole[name][self.active] = self._here[name]
        return self.whole[name]

    def choose(self, active: torch.Tensor) -> None:
        """From now on these images, by their numbers, are at work; the others keep what they have."""
        for name in self.whole:
            self.gather(name)
        self.active = active
        complete = len(active) == len(self.everyone)
        self._here = {n: t if complete else t[active] for n, t in self.whole.items()}

    def tensors(self) -> dict[str, torch.Tensor]:
        """All that a checkpoint needs."""
        return {name: self.gather(name) for name in self.whole} | {"active": self.active}

    def load(self, tensors: dict[str, torch.Tensor]) -> None:
        """Take over what `tensors` gave; others are ignored."""
        self.choose(self.everyone)
        for name, value in self.whole.items():
            value.copy_(tensors[name])
        self.choose(tensors["active"].to(self.everyone.device))
