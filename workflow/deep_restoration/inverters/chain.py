"""The modules of an inverse network, one after the other; its file."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

import torch
from torch import nn

from ..files.tensors import load_tensors, save_tensors
from .modules import KINDS
from .plan import ModuleSpec


class Chain(nn.Module):
    """Modules applied one after the other; `forward` returns every module's output, deepest first."""

    def __init__(self, specs: list[ModuleSpec]):
        super().__init__()
        if not specs:
            raise ValueError("a chain needs a module")
        self.specs = specs
        self.parts = nn.ModuleList(KINDS[spec.kind](spec) for spec in specs)
        # Per channel mean and per layer scale of every layer on the way: modules see and predict
        # numbers of about unit size, so that no layer's loss dominates.
        channels = [*(spec.source_shape[0] for spec in specs), specs[-1].target_shape[0]]
        for index, count in enumerate(channels):
            self.register_buffer(f"mean_{index}", torch.zeros(1, count, 1, 1))
            self.register_buffer(f"scale_{index}", torch.ones(()))

    def fit_scales(self, maps: list[torch.Tensor]) -> None:
        """Set means and scales from sample maps of every layer, the chain's own first, the image last."""
        for index, sample in enumerate(maps):
            sample = sample.reshape(len(sample), sample.shape[1], -1)
            mean = sample.mean((0, 2)).view(1, -1, 1, 1)
            getattr(self, f"mean_{index}").copy_(mean)
            getattr(self, f"scale_{index}").copy_(sample.std().clamp(min=1e-6))

    def normalise(self, maps: torch.Tensor, index: int) -> torch.Tensor:
        maps = maps.reshape(*maps.shape[:2], *(maps.shape[2:] or (1, 1)))
        return (maps - getattr(self, f"mean_{index}")) / getattr(self, f"scale_{index}")

    def denormalise(self, maps: torch.Tensor, index: int) -> torch.Tensor:
        """The inverse of `normalise`, for maps of four dimensions."""
        return maps * getattr(self, f"scale_{index}") + getattr(self, f"mean_{index}")

    def forward(self, maps: torch.Tensor) -> list[torch.Tensor]:
        """Normalised predictions of every target, from raw maps of the layer."""
        here, results = self.normalise(maps, 0), []
        for part in self.parts:
            here = part(here)
            results.append(here)
        return results

    def apart(self, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        """The same, every module fed with the true maps of its source: one tensor per module, raw."""
        return [
            part(self.normalise(own, index))
            for index, (part, own) in enumerate(zip(self.parts, maps, strict=True))
        ]

    def image(self, maps: torch.Tensor) -> torch.Tensor:
        """The predicted image, N x 3 x H x W, not clipped."""
        return self.denormalise(self(maps)[-1].float(), len(self.parts))


def save_chain(path: str | os.PathLike, chain: Chain, provenance: dict) -> None:
    specs = [asdict(spec) for spec in chain.specs]
    save_tensors(path, chain.state_dict(), "inverter", {**provenance, "specs": specs})


def _spec(entry: dict[str, Any]) -> ModuleSpec:
    """The specification that JSON holds with lists in place of tuples."""
    entry = {key: tuple(v) if isinstance(v, list) else v for key, v in entry.items()}
    return ModuleSpec(**entry)


def load_chain(path: str | os.PathLike) -> Chain:
    """The chain that `save` wrote, frozen."""
    tensors, facts = load_tensors(path, "inverter")
    chain = Chain([_spec(entry) for entry in facts["specs"]])
    chain.load_state_dict(tensors)
    return chain.eval().requires_grad_(False)
