"""Expert functions G(s) of heavy-tailed models and their derivatives; overflow-free for any s.

Each is a class of static functions: `G`, `g` = G', `dg` = G'', `ddg` = G'''.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F


class Expert(Protocol):
    @staticmethod
    def G(s: torch.Tensor) -> torch.Tensor: ...  # noqa: N802
    @staticmethod
    def g(s: torch.Tensor) -> torch.Tensor: ...
    @staticmethod
    def dg(s: torch.Tensor) -> torch.Tensor: ...
    @staticmethod
    def ddg(s: torch.Tensor) -> torch.Tensor: ...


class Logistic:
    """G = -log cosh s."""

    @staticmethod
    def G(s: torch.Tensor) -> torch.Tensor:  # noqa: N802
        magnitude = s.abs()
        return 0.6931471805599453 - magnitude - F.softplus(-2 * magnitude)

    @staticmethod
    def g(s: torch.Tensor) -> torch.Tensor:
        return -torch.tanh(s)

    @staticmethod
    def dg(s: torch.Tensor) -> torch.Tensor:
        return torch.tanh(s).square() - 1

    @staticmethod
    def ddg(s: torch.Tensor) -> torch.Tensor:
        tanh = torch.tanh(s)
        return 2 * tanh * (1 - tanh.square())


class StudentT:
    """G = -log(1 + s^2 / 2)."""

    @staticmethod
    def G(s: torch.Tensor) -> torch.Tensor:  # noqa: N802
        return -torch.log1p(0.5 * s.square())

    @staticmethod
    def g(s: torch.Tensor) -> torch.Tensor:
        return -2 * s / (s.square() + 2)

    @staticmethod
    def dg(s: torch.Tensor) -> torch.Tensor:
        square = s.square()
        return 2 * (square - 2) / (square + 2).square()

    @staticmethod
    def ddg(s: torch.Tensor) -> torch.Tensor:
        square = s.square()
        return 4 * s * (6 - square) / (square + 2).pow(3)


EXPERTS: dict[str, type[Expert]] = {"logistic": Logistic, "student_t": StudentT}
