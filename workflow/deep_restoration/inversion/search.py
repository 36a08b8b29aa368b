"""Weights and rates of recipes, searched on training images that are held out from all learning."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence

import numpy as np

from ..data.images import as_pixels, as_tensor
from ..evaluation import metrics
from ..runtime import seeds
from ..runtime.checkpoints import Checkpoint
from ..runtime.errors import DivergedError
from ..runtime.progress import progress
from ..study.searched import parameters
from .recipe import Recipe, Values

log = logging.getLogger(__name__)
LOST = 1e3  # the score of values with which the optimisation diverges
COLUMNS = ("trial", "parameter", "value", "score")


def scoring(
    reconstructor,
    recipe: Recipe,
    names: Sequence[str],
    pixels: np.ndarray,
    how: dict,
    seed: int,
    never: Checkpoint,
) -> Callable[[Values], float]:
    """What values of a recipe are judged by, less is better: 1 - SSIM or the mean squared error, as the
    `measure` of `how` says, of images N x H x W x 3 uint8 that a Reconstructor reconstructs with them in the
    share `iterations` of the recipe's. `never` is a checkpoint that is never due."""
    truth, target = pixels.astype(np.float64) / 255, as_tensor(pixels)

    def score(values: Values) -> float:
        tried = recipe.with_values(values).shorter(how["iterations"])
        result = reconstructor.reconstruct(tried, target, names, seed, never, watched=False)
        reconstructed = as_pixels(result.images)
        if how["measure"] == "ssim":
            return 1 - float(metrics.ssim(truth, reconstructed).mean())
        return float(metrics.mse(truth, reconstructed).mean())

    return score


def search(
    score: Callable[[Values], float],
    ranges: dict,
    trials: int,
    seed: int,
    checkpoint: Checkpoint,
) -> tuple[Values, list[tuple]]:
    """Minimise `score` over values within log-uniform bounds, by a tree of Parzen estimators.

    The first trial is the recipe as it is, {}; a third are drawn at random. Returns the best values and
    rows of COLUMNS. Every trial draws from its own stream, so that a search continued from its
    checkpoint tries the same values (Akiba et al. 2019; Bergstra et al. 2011).
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    bounds = parameters(ranges)
    spaces: dict[str, optuna.distributions.BaseDistribution] = {
        n: optuna.distributions.FloatDistribution(*bounds[n], log=True) for n in bounds
    }
    study = optuna.create_study()
    done: list[tuple[Values, float]] = []
    if saved := checkpoint.load():
        done = [({n: v[n] for n in bounds if v}, value) for v, value in saved[1]["done"]]
    for values, value in done:
        if values:
            study.add_trial(
                optuna.trial.create_trial(params=values, distributions=spaces, value=value)
            )
    for number in progress(range(len(done), trials), "searching"):
        values, trial = {}, None
        if number:
            study.sampler = optuna.samplers.TPESampler(
                n_startup_trials=max(1, trials // 3),
                seed=seeds.seed_of(seed, "search", number) % 2**32,
            )
            trial = study.ask(spaces)
            values = {name: trial.params[name] for name in bounds}
        try:
            value = score(values)
        except DivergedError as error:
            log.info("trial %d: %s", number, error)
            value = LOST
        value = value if math.isfinite(value) else LOST
        log.info("trial %d: %s gives %.5g", number, values or "the recipe as it is", value)
        if trial is not None:
            study.tell(trial, value)
        done.append((values, value))
        if checkpoint.due():
            checkpoint.save({}, done=done)
    best = min(done, key=lambda pair: pair[1])[0]
    rows = [
        (number, name, values.get(name, math.nan), value)
        for number, (values, value) in enumerate(done)
        for name in bounds
    ]
    return best, rows
