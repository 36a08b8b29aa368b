"""Expert functions G(s) of heavy-tailed models and their derivatives; overflow-free for any s.

An expert is a class of static functions: `G`, its derivative `g`, `energy`, which gives the sum of minus G
over the positions of responses N x K x H x W, (N, K), and minus g, and `derivatives`, which gives g, g'
and g'', because they share most of their arithmetic. `energy` may overwrite s, takes as few passes as it
can, is as accurate as a sum of many values needs, and may take |s| > 4e4 for 4e4. A new expert needs nothing
else but an entry in EXPERTS.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F

Derivatives = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class Expert(Protocol):
    @staticmethod
    def G(s: torch.Tensor) -> torch.Tensor: ...  # noqa: N802
    @staticmethod
    def g(s: torch.Tensor) -> torch.Tensor: ...
    @staticmethod
    def energy(s: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]: ...
    @staticmethod
    def derivatives(s: torch.Tensor) -> Derivatives: ...


class Logistic:
    """G = -log cosh s."""

    @staticmethod
    def G(s: torch.Tensor) -> torch.Tensor:  # noqa: N802
        magnitude = s.abs()
        return 0.6931471805599453 - magnitude - F.softplus(-2 * magnitude)

    @staticmethod
    def g(s: torch.Tensor) -> torch.Tensor:
        return torch.tanh(s).neg_()

    @staticmethod
    def energy(s: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        magnitude = s.abs()
        e = torch.exp(-2 * magnitude)
        slope = torch.sub(1, e).div_(e + 1).copysign_(s)
        constant = 0.6931471805599453 * s[0, 0].numel()
        return magnitude.sum((2, 3)) + _sum_of_logs(e.add_(1), 3) - constant, slope

    @staticmethod
    def derivatives(s: torch.Tensor) -> Derivatives:
        g = torch.tanh(s).neg_()
        dg = torch.addcmul(_constant(-1, g), g, g)
        return g, dg, torch.addcmul(_constant(0, g), g, dg, value=2)


class StudentT:
    """G = -log(1 + s^2 / 2)."""

    @staticmethod
    def G(s: torch.Tensor) -> torch.Tensor:  # noqa: N802
        # The root of 1 + s^2 / 2, without squares that overflow.
        return torch.hypot(s * 0.7071067811865476, _constant(1, s)).log() * -2

    @staticmethod
    def g(s: torch.Tensor) -> torch.Tensor:
        u = torch.addcmul(_constant(2, s), s, s).reciprocal_()  # 1 / (s^2 + 2), at most 1/2
        return u.mul_(s).mul_(-2)

    @staticmethod
    def energy(s: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        s.clamp_(-4e4, 4e4)  # far beyond any response; a product of four squares is finite
        u = torch.addcmul(_constant(1, s), s, s, value=0.5)
        slope = s.div_(u)
        return _sum_of_logs(u, 2), slope

    @staticmethod
    def derivatives(s: torch.Tensor) -> Derivatives:
        u = torch.addcmul(_constant(2, s), s, s).reciprocal_()  # 1 / (s^2 + 2), at most 1/2
        g = (s * u).mul_(-2)
        dg = torch.addcmul(_constant(2, u), u, _constant(-8, u)).mul_(u)
        ddg = torch.addcmul(_constant(2, u), u, _constant(-16, u)).mul_(u).mul_(g)
        return g, dg, ddg


class SmoothL1:
    """G = -sqrt(1 + s^2): between the logistic, which it resembles, and the absolute value."""

    @staticmethod
    def G(s: torch.Tensor) -> torch.Tensor:  # noqa: N802
        return -torch.hypot(s, _constant(1, s))

    @staticmethod
    def g(s: torch.Tensor) -> torch.Tensor:
        return torch.hypot(s, _constant(1, s)).reciprocal_().mul_(s).neg_()

    @staticmethod
    def energy(s: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        length = torch.hypot(s, _constant(1, s))
        return length.sum((2, 3)), s.div_(length)

    @staticmethod
    def derivatives(s: torch.Tensor) -> Derivatives:
        u = torch.hypot(s, _constant(1, s)).reciprocal_()  # (1 + s^2)^(-1/2)
        g = (s * u).neg_()
        dg = u.pow(3).neg_()
        return g, dg, u.mul_(dg).mul_(g).mul_(3)


EXPERTS: dict[str, type[Expert]] = {
    "logistic": Logistic,
    "student_t": StudentT,
    "smooth_l1": SmoothL1,
}


def _sum_of_logs(u: torch.Tensor, doublings: int) -> torch.Tensor:
    """Sum of log u over the positions of N x K x H x W, (N, K). Overwrites u.

    A logarithm costs as much as several products: it is taken of 2^doublings rows multiplied.
    """
    total = u.new_zeros(u.shape[:2])
    for _ in range(doublings):
        half = u.shape[2] // 2
        first, second, rest = u.split([half, half, u.shape[2] % 2], 2)
        total += rest.log().sum((2, 3))
        u = first.mul_(second)
    return total + u.log_().sum((2, 3))


def _constant(value: float, like: torch.Tensor) -> torch.Tensor:
    return torch.tensor(value, dtype=like.dtype, device=like.device)
