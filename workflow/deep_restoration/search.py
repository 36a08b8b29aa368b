"""Weights and rates of recipes, searched on training images that nothing has learned from."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Sequence

from . import runtime

log = logging.getLogger(__name__)

LOST = 1e3  # the score of values with which the optimisation diverges
COLUMNS = ("trial", "parameter", "value", "score")

Values = dict[str, float]


def parameters(ranges: dict) -> dict[str, tuple[float, float]]:
    """The bounds, by name, of `rate` and `data_weight`, of the weights of priors, `priors.<name>`, and of
    the noise levels of denoisers, `sigma.<name>`."""
    named = {name: tuple(ranges[name]) for name in ("rate", "data_weight") if name in ranges}
    for group in ("priors", "sigma"):
        named |= {f"{group}.{name}": tuple(b) for name, b in (ranges.get(group) or {}).items()}
    return named


def replace(recipe: dict, values: Values) -> dict:
    """The recipe with other values; `rate` is that of the first phase, to which others keep their ratio,
    and a denoiser's `sigma` the last, to which the first keeps its ratio."""
    result = {key: value for key, value in recipe.items() if key != "search"}
    for name, value in values.items():
        if name == "rate":
            factor = value / recipe["phases"][0]["rate"]
            result["phases"] = [{**p, "rate": p["rate"] * factor} for p in recipe["phases"]]
        elif name == "data_weight":
            result[name] = value
        else:
            group, _, prior = name.partition(".")
            entry = dict(result["priors"][prior])
            if group == "priors":
                entry["weight"] = value
            elif isinstance(level := entry.get("sigma"), list):
                entry["sigma"] = [level[0] * value / level[1], value]
            else:
                entry["sigma"] = value
            result["priors"] = {**result["priors"], prior: entry}
    return result


def shorter(recipe: dict, share: float) -> dict:
    """The recipe with a share of its iterations, at least one in every phase, and of its warm-ups."""
    phases = []
    for phase in recipe["phases"]:
        count, warmup = phase["iterations"], phase.get("warmup")
        more = {"warmup": round(warmup * share)} if warmup else {}
        phases.append({**phase, "iterations": max(1, round(count * share)), **more})
    return {**recipe, "phases": phases}


def apply(recipe: dict, found: Sequence[str | os.PathLike] = ()) -> dict:
    """The recipe with the values that a search has written to the file in `found`, if there is one."""
    from . import storage

    values: Values = {}
    for path in found:
        values = storage.read_json(path)["values"]
    return replace(recipe, values)


def search(
    score: Callable[[Values], float],
    ranges: dict,
    trials: int,
    seed: int,
    checkpoint: runtime.Checkpoint,
) -> tuple[Values, list[tuple]]:
    """Minimise `score` over values within log-uniform bounds, by a tree of Parzen estimators.

    The first trial is the recipe as it is, {}; a third are drawn at random. Returns the best values and
    rows of COLUMNS. Every trial draws from its own stream, so that a search continued from its
    checkpoint tries the same values (Akiba et al. 2019; Bergstra et al. 2011).
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    bounds = parameters(ranges)
    spaces = {n: optuna.distributions.FloatDistribution(*bounds[n], log=True) for n in bounds}
    study = optuna.create_study()
    done: list[tuple[Values, float]] = []
    if saved := checkpoint.load():
        done = [({n: v[n] for n in bounds if v}, value) for v, value in saved[1]["done"]]
    for values, value in done:
        if values:
            study.add_trial(
                optuna.trial.create_trial(params=values, distributions=spaces, value=value)
            )
    for number in runtime.progress(range(len(done), trials), "searching"):
        values, trial = {}, None
        if number:
            study.sampler = optuna.samplers.TPESampler(
                n_startup_trials=max(1, trials // 3),
                seed=runtime.seed_of(seed, "search", number) % 2**32,
            )
            trial = study.ask(spaces)
            values = {name: trial.params[name] for name in bounds}
        try:
            value = score(values)
        except runtime.DivergedError as error:
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
