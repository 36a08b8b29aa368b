"""Tensors with one row per image of a batch, which images leave when they are done."""

from __future__ import annotations

import copy
from typing import Self

import torch


class PerImage:
    """A base for what holds tensors with one row per image; `PER_IMAGE` lists their names."""

    PER_IMAGE: tuple[str, ...] = ()

    def select(self, index: torch.Tensor) -> Self:
        """The same for the images of these numbers alone."""
        chosen = copy.copy(self)
        for name in self.PER_IMAGE:
            setattr(chosen, name, getattr(self, name)[index])
        return chosen


class Rows:
    """Named tensors of all images, with the rows of the active images together, to act on in place.

    `rows[name]` is that part: the whole tensor while all images are active, otherwise compact, so that
    the others cost nothing. `active` holds the numbers of the active images, in order.
    """

    def __init__(self, **tensors: torch.Tensor):
        self.whole = tensors
        first = next(iter(tensors.values()))
        self.everyone = torch.arange(len(first), device=first.device)
        self.active, self._here = self.everyone, dict(tensors)

    def __getitem__(self, name: str) -> torch.Tensor:
        return self._here[name]

    def gather(self, name: str) -> torch.Tensor:
        """The whole tensor, with the present rows of the active images; not to be acted on."""
        if self._here[name] is not self.whole[name]:
            self.whole[name][self.active] = self._here[name]
        return self.whole[name]

    def choose(self, active: torch.Tensor) -> None:
        """Make these images, by their numbers, the active ones; the rows of the others stay as they are."""
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
