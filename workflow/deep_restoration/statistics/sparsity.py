"""Measures of sparsity, from values or from their streamed sums."""

from __future__ import annotations

import math

import torch


def gini(values: torch.Tensor) -> torch.Tensor:
    """Gini index of the magnitudes along the last axis: 0 for equal ones, 1 - 1/n for a single one.

    Textbook form, ranks k from 1 on ascending c: 1 - 2 sum_k c_k/|c|_1 (n - k + 1/2)/n (Hurley &
    Rickard 2009, table I). A vector of zeros counts as 0.
    """
    ascending = torch.as_tensor(values).abs().double().sort(dim=-1).values
    n = ascending.shape[-1]
    total = ascending.sum(-1)
    ranks = (n - torch.arange(1, n + 1, device=total.device).double() + 0.5) / n
    return torch.where(total > 0, 1 - 2 * (ascending @ ranks) / total, 0.0)


def hoyer(absolute: torch.Tensor, square: torch.Tensor, count: int) -> torch.Tensor:
    """(sqrt n - |x|_1 / |x|_2) / (sqrt n - 1) from the sums of |x| and x^2 over n values (Hoyer 2004):
    0 for equal magnitudes, 1 for a single one. Zeros alone, or one value, count as 0."""
    if count == 1:
        return torch.zeros_like(absolute)
    root = math.sqrt(count)
    return torch.where(square > 0, (root - absolute / square.sqrt()) / (root - 1), 0.0)


def treves_rolls(absolute: torch.Tensor, square: torch.Tensor, count: int) -> torch.Tensor:
    """(1 - (mean r)^2 / mean r^2) / (1 - 1/n) from the sums of r = |x| and r^2 over n values.

    Treves & Rolls 1991, turned and scaled by Vinje & Gallant 2000: 0 for equal responses, 1 for a
    single one. Over stimuli it is a channel's lifetime sparseness, over channels a stimulus'
    population sparseness. Zeros alone, or one value, count as 0.
    """
    if count == 1:
        return torch.zeros_like(absolute)
    activity = absolute.square() / (count * square)
    return torch.where(square > 0, (1 - activity) / (1 - 1 / count), 0.0)


def kurtosis(powers: torch.Tensor, count: int) -> torch.Tensor:
    """Excess kurtosis from the sums of x, x^2, x^3, x^4 (... x 4) over n values: 0 for a Gaussian; NaN
    where the values do not vary."""
    first, second, third, fourth = (powers / count).unbind(-1)
    variance = second - first.square()
    central = fourth - 4 * first * third + 6 * first.square() * second - 3 * first**4
    return torch.where(
        variance > 1e-12 * second, central / variance.square() - 3, torch.full_like(first, math.nan)
    )
