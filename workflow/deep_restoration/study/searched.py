"""What a search may vary of a recipe."""

from __future__ import annotations


def parameters(ranges: dict) -> dict[str, tuple[float, float]]:
    """The bounds, by name, of `rate` and `data_weight`, of the weights of priors, `priors.<name>`, of the
    noise levels of denoisers, `sigma.<name>`, and of an annealing's constants, `anneal.<name>`."""
    named = {name: tuple(ranges[name]) for name in ("rate", "data_weight") if name in ranges}
    for group in ("priors", "sigma", "anneal"):
        named |= {f"{group}.{name}": tuple(b) for name, b in (ranges.get(group) or {}).items()}
    return named
