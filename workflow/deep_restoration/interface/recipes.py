"""Which recipes one image can be inverted by, and what each takes. Imports no torch.

The recipes by name are those of config/everything.yaml, which is part of the package
(`everything.yaml`, a link). One of your own is a dictionary in the same format.
"""

from __future__ import annotations

import functools
import json
import os
from importlib.resources import files
from pathlib import Path

import yaml

from ..files.tensors import open_tensors
from ..study.completion import completed
from ..study.configuration import ConfigurationError, recipe_faults, search_faults, source_of
from ..study.registry import HAND_CRAFTED, named_priors
from ..study.wording import LOADER, nearest

Files = str | os.PathLike | dict[str, str | os.PathLike]
OWN = "yours"  # what errors call a recipe without a name
SUFFIX = ".safetensors"
# Kind of a learned prior in files -> what the configuration would say of it.
ENTRIES: dict[str, dict[str, str]] = {
    kind: {"method": "patch" if kind == "field" else kind, "of": "images"}
    for kind in ("autoregressive", "denoiser", "field", "ridge", "unet", "wiener")
}


@functools.cache
def _everything() -> dict:
    text = (files("deep_restoration.interface") / "everything.yaml").read_text("utf-8")
    return yaml.load(text, LOADER)


def recipes() -> dict[str, dict]:
    """The entries of the recipes of config/everything.yaml by name, a copy to change: what `invert` takes as
    `recipe`.

    Those that need what a study makes layer by layer are there, too; `needs` says what it is.
    """
    return json.loads(json.dumps(_everything()["recipes"]))


def needs(entry: dict) -> str:
    """What a recipe needs that one call cannot have, in words; empty if there is nothing. `entry`: one that
    fits the schema."""
    if "inverter" in entry:
        return "an inverse network, trained for each layer"
    if "anneal" in entry:
        return "an annealing, fitted to each layer on training images"
    if entry.get("data") == "whitened":
        return "statistics of the layer's maps of training images"
    for name, options in (entry.get("priors") or {}).items():
        by_layer = "layers" in options or isinstance(options["weight"], dict)
        if by_layer or name in _priors_of_maps():
            return f"a prior of feature maps, {name}, trained for each layer"
    if entry.get("search"):
        return "a search of its values on held-out images (without the key search: its own values)"
    return ""


@functools.cache
def _priors_of_maps() -> list[str]:
    study, _ = completed(_everything())
    return [name for name in study["priors"] if source_of(study, name) == "features"]


def learned(entry: dict) -> list[str]:
    """The learned priors of images that a recipe names."""
    return [name for name in named_priors(entry) if name not in HAND_CRAFTED]


def chosen(recipe: str | dict, priors: Files | None = None) -> tuple[dict, dict[str, Path]]:
    """The complete entry of a recipe, and the files of the learned priors that it names.

    `recipe`: a name of `recipes()`, or an entry in the configuration's format. `priors`: a folder of files
    `<name>.safetensors`, or a dictionary of files by name. Raises ValueError for a name that is not there,
    for a recipe that needs more than one image, and for a prior without a file; ConfigurationError for
    whatever is wrong in an entry.
    """
    name, entry = (recipe, recipes().get(recipe)) if isinstance(recipe, str) else (OWN, recipe)
    if entry is None:
        raise ValueError(f"there is no recipe {name!r}; nearest: {nearest(name, recipes())}")
    if not isinstance(entry, dict):
        raise ValueError(
            f"recipe is of type {type(entry).__name__}; allowed: a name ({', '.join(recipes())}), or a "
            "dictionary of a recipe's keys"
        )
    study = _everything()
    config, dropped = completed(study | {"recipes": {name: entry}})
    entry = config["recipes"][name]
    if reason := needs(entry):
        raise ValueError(
            f"the recipe {name!r} needs {reason}, which one image cannot give: reconstruct with a study that "
            "has this recipe (snakemake reconstructions --configfile my-study.yaml), or take another one: "
            f"{', '.join(other for other, keys in recipes().items() if not needs(keys))}"
        )
    given = _files(name, learned(entry), priors)
    config["priors"] |= {prior: _entry_of(path) for prior, path in given.items()}
    if faults := [*recipe_faults(config, dropped), *search_faults(config, dropped)]:
        raise ConfigurationError(faults)
    return entry, given


def _files(recipe: str, names: list[str], priors: Files | None) -> dict[str, Path]:
    """The files of these learned priors, all of which must be there."""
    found = {}
    for name in names:
        if isinstance(priors, dict):
            path = priors.get(name)
        else:
            path = None if priors is None else Path(priors) / f"{name}{SUFFIX}"
        if path is None or not Path(path).is_file():
            lacking = f"there is no file {path}" if path else "priors names no file of it"
            raise ValueError(
                f"the recipe {recipe!r} needs the learned prior {name!r}: {lacking}. priors is a folder with "
                f"{name}{SUFFIX} in it, or in Python a dictionary of files by name; a study that has the "
                f"prior makes it: snakemake results/priors/{name}{SUFFIX}"
            )
        found[name] = Path(path)
    return found


def _entry_of(path: Path) -> dict[str, str]:
    """That of the prior in a file."""
    with open_tensors(path, "prior", "np") as (_, facts):
        return ENTRIES[facts["kind"]]


def summary(entry: dict) -> str:
    """A recipe in a line: where the image comes from, its priors, its optimisation."""
    parts = []
    if "inverter" in entry:
        parts.append(f"the inverse network {entry['inverter']}")
    if "anneal" in entry:
        parts.append(f"annealed under {entry['anneal'].get('prior', 'wiener')}")
    if phases := entry.get("phases"):
        count = sum(phase["iterations"] for phase in phases)
        priors = ", ".join(entry.get("priors") or {}) or "no prior"
        parts.append(f"{count} iterations of {entry['optimiser']}, {priors}")
    return "; then ".join(parts)
