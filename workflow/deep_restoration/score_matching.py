"""Score matching of over-complete ICA in closed form: value and gradient, no autograd graph.

Model: log p(x) = sum_k alpha_k G(w_k'x) - log Z on whitened x (d), unit-norm filters w_k, alpha_k > 0.
Objective per sample (Hyvaerinen 2005; eq. (8) of the study, here with the double sum over experts
written as the squared norm it is):

    J = sum_k alpha_k g'(w_k'x) + 1/2 || sum_k alpha_k g(w_k'x) w_k ||^2
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from . import runtime
from .priors.experts import EXPERTS, Expert

log = logging.getLogger(__name__)


def objective(
    data: torch.Tensor, filters: torch.Tensor, alphas: torch.Tensor, expert: Expert
) -> torch.Tensor:
    """J per sample, shape (B,), for whitened data B x d, unit filters K x d, alphas (K,)."""
    responses = data @ filters.T
    score = (alphas * expert.g(responses)) @ filters
    return expert.dg(responses) @ alphas + 0.5 * score.square().sum(1)


def gradient(
    data: torch.Tensor, filters: torch.Tensor, alphas: torch.Tensor, expert: Expert
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mean J over the batch, and its gradients by filters (K x d) and alphas (K,).

    The gradient by the filters leaves out the pull on their length, which is fixed to 1.
    """
    count = len(data)
    responses = data @ filters.T
    g, dg = expert.g(responses), expert.dg(responses)
    weighted = alphas * g
    score = weighted @ filters
    back = score @ filters.T
    value = dg.mean(0) @ alphas + 0.5 * score.square().sum() / count
    by_response = alphas * (expert.ddg(responses) + dg * back)
    by_filters = (by_response.T @ data + weighted.T @ score) / count
    by_alphas = (dg + g * back).mean(0)
    return value, by_filters, by_alphas


@dataclass(frozen=True)
class Settings:
    """expert: a name of EXPERTS. filters: K. dimensions: d. steps, batch, rate: of Adam."""

    expert: str
    filters: int
    dimensions: int
    steps: int
    batch: int
    rate: float


def train(
    data: torch.Tensor,
    held_out: torch.Tensor,
    settings: Settings,
    seed: int,
    checkpoint: runtime.Checkpoint,
) -> tuple[torch.Tensor, torch.Tensor, list[tuple]]:
    """Fit filters (K x d) and alphas (K,) to whitened data n x d.

    Adam with a cosine schedule on the filters (renormalised after every step) and on log alpha.
    Returns them and the history as rows (step, objective, held-out objective, seconds); the weights
    of the best held-out objective are kept. Raises DivergedError naming the step.
    """
    expert = EXPERTS[settings.expert]
    draw = runtime.generator(seed, "ica", "start")
    filters = torch.randn(settings.filters, data.shape[1], generator=draw).to(data.device)
    filters = F.normalize(filters, dim=1).requires_grad_()
    log_alphas = torch.zeros(settings.filters, device=data.device).requires_grad_()
    optimiser = torch.optim.Adam([filters, log_alphas], lr=settings.rate, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.steps)
    first, history, before = 0, [], 0.0
    best = (float("inf"), filters.detach().clone(), log_alphas.detach().exp())
    if saved := checkpoint.load():
        tensors, values = saved
        with torch.no_grad():
            filters.copy_(tensors["filters"])
            log_alphas.copy_(tensors["log_alphas"])
        runtime.restore_optimiser(optimiser, tensors)
        first, history, before = values["step"], values["history"], values["seconds"]
        best = values["best"], tensors["best.filters"], tensors["best.alphas"]
        optimiser.param_groups[0]["lr"] = values["rate"]
        schedule.last_epoch = first
    started = time.monotonic() - before
    for step in runtime.progress(range(first, settings.steps), "training the ICA prior"):
        rows = runtime.generator(seed, "ica", "batch", step)
        picked = torch.randint(len(data), (settings.batch,), generator=rows).to(data.device)
        with torch.no_grad():
            alphas = log_alphas.exp()
            value, by_filters, by_alphas = gradient(data[picked], filters, alphas, expert)
            if not torch.isfinite(value):
                raise runtime.DivergedError(
                    f"ICA training: the objective is {value} at step {step}"
                )
            radial = (by_filters * filters).sum(1, keepdim=True) * filters
            filters.grad, log_alphas.grad = by_filters - radial, by_alphas * alphas
            optimiser.step()
            schedule.step()
            filters.copy_(F.normalize(filters, dim=1))
            if step % 100 == 99 or step == settings.steps - 1:
                alphas = log_alphas.exp()
                held = objective(held_out, filters, alphas, expert).mean().item()
                history.append((step + 1, value.item(), held, time.monotonic() - started))
                if held < best[0]:
                    best = held, filters.detach().clone(), alphas.clone()
        if checkpoint.due():
            checkpoint.save(
                {
                    "filters": filters,
                    "log_alphas": log_alphas,
                    "best.filters": best[1],
                    "best.alphas": best[2],
                    **runtime.optimiser_state(optimiser),
                },
                step=step + 1,
                history=history,
                best=best[0],
                rate=optimiser.param_groups[0]["lr"],
                seconds=time.monotonic() - started,
            )
    return best[1], best[2], history
