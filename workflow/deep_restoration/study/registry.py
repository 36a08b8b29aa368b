"""What recipes may name of priors, and what planning knows of how they are learned. Imports no torch.

The classes behind these names are in `priors.registry`; tests/unit/study/test_registries.py compares the two.
"""

from __future__ import annotations

from typing import NamedTuple

# The options of priors that are not learned, by name.
HAND_CRAFTED: dict[str, set[str]] = {
    "alpha_norm": {"alpha", "centre"},
    "colour_norm": {"alpha", "B", "centre"},
    "tv": {"beta", "V"},
    "inverter": set(),  # the distance from the image of the recipe's inverse network
}
PUBLISHED = {"tv": "mahendran2015", "alpha_norm": "mahendran2015"}  # their weights by name

# Data terms that are fitted to the statistics of a layer's maps, and their options.
FITTED: dict[str, set[str]] = {"whitened": {"components"}}


# What of an annealing its surrogates depend on.
EXPECTED = ("prior", "noise", "levels", "components", "surrogate")


def expecting(recipes: dict[str, dict], name: str) -> str:
    """The first of the recipes whose annealing has the same surrogates as that one. Their file has its name,
    so that they are fitted again where another recipe becomes the first."""
    wanted = [recipes[name]["anneal"][key] for key in EXPECTED]
    return next(
        other
        for other, recipe in recipes.items()
        if (anneal := recipe.get("anneal")) and [anneal[key] for key in EXPECTED] == wanted
    )


def named_priors(recipe: dict) -> list[str]:
    """The priors that a recipe names, learned and others: of its objective, of its annealing, and what
    completes its images."""
    anneal = recipe.get("anneal") or {}
    named = [name for name, _ in prior_entries(recipe)]
    named += [anneal.get("prior"), recipe.get("extrapolate")]
    return list(dict.fromkeys(name for name in named if name))


def prior_entries(recipe: dict) -> list[tuple[str, dict]]:
    """Name and options of the priors of a recipe's objective and of that of its annealing."""
    anneal = recipe.get("anneal") or {}
    return [*(recipe.get("priors") or {}).items(), *(anneal.get("priors") or {}).items()]


class Method(NamedTuple):
    """A way to learn a prior. options: what a recipe may say of it, besides units. objective: what its
    training minimises, in words. per_image: whether its energies are compared image by image, so that
    their spread takes two held-out ones. estimators: the names of priors.denoising for what it can make
    of a noisy image. denoises: whether it is a denoiser, asked at any noise level in one pass. anneals:
    whether annealing can ask it: autograd goes through its `denoise`."""

    options: set[str]
    objective: str
    per_image: bool
    estimators: tuple[str, ...] = ("map",)
    denoises: bool = False
    anneals: bool = False


LEARNED = {
    "patch": Method({"border", "position_stride"}, "score matching", False),
    "field": Method({"border", "position_stride"}, "score matching", False),
    "denoiser": Method(
        {"sigma"}, "squared error of the noise / its variance", True, ("map", "mean"), True
    ),
    "autoregressive": Method(set(), "squared error / variance of the images", True),
    "wiener": Method(
        {"sigma"}, "negative log likelihood per value", True, denoises=True, anneals=True
    ),
    "unet": Method(
        {"sigma"}, "squared error / that of Wiener's filter", True, ("map", "mean"), True, True
    ),
    "ridge": Method({"sigma"}, "squared error of the minimum / variance of the noise", True),
}


def annealing() -> list[str]:
    """The methods whose priors annealing can ask."""
    return [name for name, method in LEARNED.items() if method.anneals]
