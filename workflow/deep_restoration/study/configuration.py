"""What a completed configuration means, and what of it cannot be, in words. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from . import searched, visualisations
from .registry import FITTED, HAND_CRAFTED, LEARNED, PUBLISHED, annealing
from .wording import nearest

TAKEN = {  # names that stand for something else beside the user's
    "priors": {"data", "image", "ssim", "total"},  # in the traces of a reconstruction
    "recipes": {"blurred", "natural", "original"},  # in figures and the tables of discrimination
}
EMBEDDED, EXEMPLAR = "embedded", "exemplar"
MODULE = "module"  # weights: those that a module has when it is built
Dropped = dict[str, str]  # dotted key -> why it is not there, and what to do
ImageFiles = Callable[[Path], list[str]]
STORE = "RESTORATION_STORE"  # an environment variable


def why(dropped: Dropped, section: str, name: str) -> str:
    """Why an entry is not there, to be added to a fault that names it; empty where it never was.
    `dropped`: of `completion.completed`."""
    for key in (f"{section}.{name}", section):
        if key in dropped:
            return f"; {key} {dropped[key]}"
    return ""


class ConfigurationError(ValueError):
    """One or several faults of a configuration, a line each."""

    def __init__(self, faults: Iterable[str]):
        super().__init__(
            "\n".join(["the configuration is not valid:", *(f"  {f}" for f in faults)])
        )


def with_store(config: dict) -> dict:
    """The configuration with the store that the environment names, if it does: it knows this machine,
    where a study may be another's. Set but empty, it stands for none."""
    return config | {"store": os.environ[STORE] or None} if STORE in os.environ else config


def based(config: dict, given: dict, everything: Callable[[], dict]) -> dict:
    """What a study starts from: that of config/config.yaml with what the user has `given` over it (`config`),
    with `base: everything` that of config/everything.yaml (which the function reads) with the same over
    it, or with `base: none` what the user has given alone."""
    base = given.get("base")
    if base == "everything":
        return merged(everything(), given)
    return dict(given) if base == "none" else config


def merged(base: dict, changes: dict) -> dict:
    """A configuration with another over it, as Snakemake lays one file over another."""
    result = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def canonical(value: Any) -> Any:
    """Keys in order, at any depth, so that reordering the configuration is no change."""
    if isinstance(value, dict):
        return {key: canonical(value[key]) for key in sorted(value)}
    return [canonical(item) for item in value] if isinstance(value, list) else value


def folder(path: str) -> Path:
    return Path(os.path.expanduser(path))


def is_file(weights: str) -> bool:
    """Whether `weights:` means a file: a path, a name with a suffix, or a file that is there."""
    path = folder(weights)
    suffix = path.suffix and "_Weights." not in weights  # ResNet18_Weights.DEFAULT is a name
    return weights not in (EXEMPLAR, MODULE) and (
        os.sep in weights or bool(suffix) or path.is_file()
    )


def name_faults(config: dict) -> Iterable[str]:
    """Names that tables and figures would confuse with something of their own."""
    for section, taken in TAKEN.items():
        for name in sorted(taken & set(config[section])):
            yield f"{section}.{name}: tables and figures call something else {name}; rename it"


def source_of(config: dict, prior: str) -> str:
    """What a learned prior is trained on: images, grey or features; "" where its patches are not there."""
    entry = config["priors"][prior]
    return entry.get("of") or config["patches"].get(entry["patches"], {"of": ""})["of"]


def prior_faults(config: dict, dropped: Dropped) -> Iterable[str]:
    """Patch sets that are not there or too large, and preprocessing that does not fit together."""
    sets, side = config["patches"], config["images"]["size"]
    for name, entry in sets.items():
        if entry["of"] == "features":
            continue
        if entry["size"] == "next":
            yield f"patches.{name}.size is 'next', which only feature maps have; give a number"
        elif entry["size"] > side:
            yield f"patches.{name}.size is {entry['size']}; it must be at most images.size, {side}"
    for name, prior in config["priors"].items():
        where = f"priors.{name}"
        if name in HAND_CRAFTED:
            yield f"{where}: the name is taken by the prior {name}, which is not learned"
        if (levels := prior.get("noise_levels")) and levels[0] > levels[1]:
            yield f"{where}.noise_levels is {levels}; the least comes first"
        if prior["method"] == "unet":
            if levels[0] == levels[1]:
                yield f"{where}.noise_levels is {levels}; the second must be larger than the first"
            elif not levels[0] <= prior["sigma"] <= levels[1]:
                yield (
                    f"{where}.sigma is {prior['sigma']}, where the network has learned nothing; "
                    f"allowed: {levels[0]} to {levels[1]}, its noise_levels"
                )
        if prior["method"] == "ridge" and prior["filters"] % prior["group"]:
            count, group = prior["filters"], prior["group"]
            nearest_ones = [n for n in (count - count % group, count - count % group + group) if n]
            yield (
                f"{where}.filters is {count}, no multiple of its group, {group}; "
                f"nearest: {', '.join(map(str, nearest_ones))}"
            )
        if prior["method"] == "autoregressive":
            if prior["of"] == "features":
                yield f"{where}.of is features; an autoregressive prior is one of images or grey ones"
            if min(prior["crop"], side) <= prior["context"]:
                yield f"{where}.context is {prior['context']}; it must be less than crop and images.size"
        if "patches" not in prior:
            continue
        if prior["patches"] not in sets:
            known = nearest(prior["patches"], sets) if sets else "none"
            lost = why(dropped, "patches", prior["patches"])
            yield f"{where}.patches is {prior['patches']!r}; known patch sets: {known}{lost}"
            continue
        patches = sets[prior["patches"]]
        size, variant = patches["size"], prior.get("variant", "full")
        channels = {"images": 3, "grey": 1}.get(patches["of"])
        if channels and isinstance(size, int) and prior["dimensions"]:
            values = channels * size * size
            if prior["dimensions"] > values:
                yield (
                    f"{where}.dimensions is {prior['dimensions']}; a patch of {size} x {size} x "
                    f"{channels} has {values} values"
                )
        if patches["dc"] == "patch" and variant != "full":
            yield (
                f"{where}.variant is {variant}, but patches.{prior['patches']}.dc is patch, which "
                "couples the channels; set it to channel or none"
            )
        if prior["method"] == "field" and patches["contrast"]:
            yield (
                f"{where}: method field models whole images, whose contrast patches.{prior['patches']} "
                "would normalise patch by patch; set its contrast to null"
            )
        if prior["method"] == "field" and channels and isinstance(size, int):
            crop = prior["middle"] + 2 * (size - 1)
            if crop > side:
                yield f"{where}.middle is {prior['middle']}; with its frame, {crop}, it must fit {side}"


def recipe_faults(config: dict, dropped: Dropped) -> Iterable[str]:
    for name, recipe in config["recipes"].items():
        where = f"recipes.{name}"
        if recipe.get("inverter") and recipe["inverter"] not in config["inverters"]:
            known = nearest(recipe["inverter"], config["inverters"])
            lost = why(dropped, "inverters", recipe["inverter"])
            yield (
                f"{where}.inverter is {recipe['inverter']!r}; known inverters: {known or 'none'}{lost}"
            )
        if recipe.get("anneal"):
            yield from _annealing(config, dropped, f"{where}.anneal", recipe["anneal"])
            own = {**recipe["anneal"], "inverter": recipe.get("inverter")}
            yield from _used_priors(config, dropped, f"{where}.anneal", own)
        # What the optimisation goes on from, if there is one.
        begun = "annealing" if recipe.get("anneal") else recipe.get("inverter") and "inverter"
        if begun:
            whole = ("inverter", "anneal", "extrapolate")
            if not any(recipe[key] for key in recipe if key not in whole):
                continue
            if recipe.get("init"):
                yield f"{where}: it starts from the image of its {begun}; remove init"
        if missing := [key for key in ("optimiser", "phases") if not recipe.get(key)]:
            lacking = " and ".join(missing)
            if begun:
                yield f"{where} needs {lacking} to go on from the image of its {begun}"
            else:
                yield f"{where} needs either inverter, anneal, or {lacking}"
        for number, phase in enumerate(recipe.get("phases") or []):
            if phase["warmup"] > phase["iterations"]:
                yield (
                    f"{where}.phases.{number}.warmup is {phase['warmup']}; it must be at most the "
                    f"phase's iterations, {phase['iterations']}"
                )
        data = recipe.get("data", "normalised")
        if data != "normalised" and recipe.get("data_weight") == "mahendran2016":
            yield (
                f"{where}.data_weight is 'mahendran2016', which weighs the normalised data term; "
                f"with data {data} give a number"
            )
        for owner, options in FITTED.items():
            if foreign := sorted(options & set(recipe)) if data != owner else []:
                yield f"{where}.{foreign[0]} is an option of data {owner}; the recipe's data is {data}"
        yield from _used_priors(config, dropped, where, recipe)
        if extrapolate := recipe.get("extrapolate"):
            fit = [
                name
                for name, prior in config["priors"].items()
                if (prior["method"], prior.get("of")) == ("autoregressive", "images")
            ]
            if extrapolate not in fit:
                known = nearest(extrapolate, fit) if fit else "none"
                yield (
                    f"{where}.extrapolate is {extrapolate!r}, which is no autoregressive prior of images; "
                    f"known ones: {known}{why(dropped, 'priors', extrapolate)}"
                )


def _annealing(config: dict, dropped: Dropped, where: str, entry: dict) -> Iterable[str]:
    """A prior that cannot denoise images as annealing asks, or noise that does not fall."""
    prior = entry["prior"]
    fit = [
        name
        for name, known in config["priors"].items()
        if known["method"] in annealing() and known["of"] == "images"
    ]
    if prior not in fit:
        known = nearest(prior, fit) if fit else "none"
        yield (
            f"{where}.prior is {prior!r}, which is no prior of images of method {' or '.join(annealing())}; "
            f"known ones: {known}{why(dropped, 'priors', prior)}"
        )
    if entry["noise"][0] <= entry["noise"][1]:
        yield f"{where}.noise is {entry['noise']}; the largest comes first"


def _used_priors(config: dict, dropped: Dropped, where: str, recipe: dict) -> Iterable[str]:
    """Priors of a recipe that are not there, or have options or weights of others."""
    for prior, options in (recipe.get("priors") or {}).items():
        known = [*HAND_CRAFTED, *config["priors"]]
        if prior == "inverter" and not recipe.get("inverter"):
            yield f"{where}.priors.{prior} needs the key inverter in the recipe: whose image?"
        if prior not in known:
            lost = why(dropped, "priors", prior)
            yield f"{where}.priors.{prior}: no such prior; known priors: {nearest(prior, known)}{lost}"
            continue
        allowed, source = {"weight", *HAND_CRAFTED.get(prior, ())}, "images"
        if prior in config["priors"]:
            source = source_of(config, prior)
            if prior not in HAND_CRAFTED:
                allowed |= {"units", *LEARNED[config["priors"][prior]["method"]].options}
        if source == "features":
            allowed.add("layers")
            yield from _layers_of_prior(config, f"{where}.priors.{prior}", options)
        if source == "grey":
            yield f"{where}.priors.{prior} is a prior of grey images; recipes reconstruct colour"
        if foreign := sorted(set(options) - allowed):
            yield (
                f"{where}.priors.{prior}.{foreign[0]} is not an option of this prior; "
                f"allowed: {', '.join(sorted(allowed))}"
            )
        if isinstance(options["weight"], dict):
            key = f"{where}.priors.{prior}.weight"
            if source != "features":
                yield f"{key} is one by layer, which only priors of feature maps have"
            elif "layers" in options:
                yield f"{key} names its layers; remove layers"
            else:
                yield from _layers_known(config, key, options["weight"])
        published = PUBLISHED.get(prior)
        if isinstance(options["weight"], str) and options["weight"] != published:
            yield (
                f"{where}.priors.{prior}.weight is {options['weight']!r}; allowed: a number"
                + (f", {published}" if published else "")
            )


def _layers_of_prior(config: dict, where: str, options: dict) -> Iterable[str]:
    layers = options.get("layers", [])
    yield from _layers_known(config, f"{where}.layers", layers if isinstance(layers, list) else [])


def _layers_known(config: dict, where: str, layers: Iterable[str]) -> Iterable[str]:
    known = {layer for entry in config["classifiers"].values() for layer in entry["layers"]}
    for layer in layers:
        if layer not in known:
            yield (
                f"{where}: {layer!r} is no layer of this study, so that no prior of it is "
                f"learned; nearest: {nearest(layer, known)}"
            )


def search_faults(config: dict, dropped: Dropped) -> Iterable[str]:
    """Bounds in the wrong order or for what the recipe lacks, and updates that cannot go together."""
    for name, recipe in config["recipes"].items():
        where, priors = f"recipes.{name}", recipe.get("priors") or {}
        ranges = recipe.get("search") or {}
        anneal = recipe.get("anneal")
        if ranges.get("anneal") and not anneal:
            yield f"{where}.search.anneal: the recipe has no annealing"
        if ranges.get("anneal") and anneal and anneal["shrink"]:
            yield (
                f"{where}.search.anneal: what anneal.shrink learns belongs to the constants as they are; "
                "search without shrink, then set what was found"
            )
        if ranges.keys() - {"anneal"} and not recipe.get("phases"):
            but = " but anneal" if anneal else ""
            yield f"{where}.search: without an optimisation there is nothing to search{but}"
        for prior in ranges.get("priors") or {}:
            if prior not in priors:
                known = nearest(prior, priors) if priors else "none"
                lost = why(dropped, f"{where}.priors", prior)
                yield f"{where}.search.priors.{prior}: the recipe has no such prior; it has: {known}{lost}"
        for prior in ranges.get("sigma") or {}:
            denoisers = [entry for entry in priors if _is_denoiser(config, entry)]
            if prior not in denoisers:
                yield (
                    f"{where}.search.sigma.{prior}: the recipe has no such prior with a noise level; "
                    f"it has: {', '.join(denoisers) or 'none'}{why(dropped, f'{where}.priors', prior)}"
                )
        for key, (low, high) in searched.parameters(ranges).items():
            if low >= high:
                yield f"{where}.search.{key} is [{low}, {high}]; the lower bound comes first"
        yield from _restless_gradients(where, recipe)


def _restless_gradients(where: str, recipe: dict) -> Iterable[str]:
    """L-BFGS together with what changes gradients by chance."""
    if recipe.get("optimiser") == "lbfgs":
        jitter = any(phase.get("jitter") for phase in recipe.get("phases") or [])
        position_stride = any(
            (entry.get("position_stride") or 1) > 1
            for entry in (recipe.get("priors") or {}).values()
        )
        if jitter or position_stride:
            yield (
                f"{where}.optimiser is lbfgs, which compares gradients: "
                f"it goes with no {'jitter' if jitter else 'position_stride'}; take adam"
            )


def visualisation_faults(config: dict, dropped: Dropped) -> Iterable[str]:
    """Recipes that are not there, optimisations that lack something or cannot be."""
    for name, entry in config["visualisations"].items():
        where = f"visualisations.{name}"
        if entry["kind"] == "attribution":
            continue
        if entry["recipe"] is not None and entry["recipe"] not in config["recipes"]:
            known = nearest(entry["recipe"], config["recipes"])
            lost = why(dropped, "recipes", entry["recipe"])
            yield f"{where}.recipe is {entry['recipe']!r}; known recipes: {known}{lost}"
            continue
        plan = visualisations.plan(config, entry)
        if missing := [key for key in ("optimiser", "phases") if not plan.get(key)]:
            yield (
                f"{where} needs {' and '.join(missing)}: name a recipe with an optimisation, or give "
                "the keys here"
            )
        if "inverter" in (plan.get("priors") or {}):
            yield (
                f"{where}.priors.inverter: nothing is inverted here, so that no image is predicted; "
                "give priors of its own"
            )
            continue
        yield from _used_priors(config, dropped, where, plan)
        yield from _restless_gradients(where, plan)


def restarts_faults(config: dict, dropped: Dropped) -> Iterable[str]:
    """Recipes that are not there, and those whose start is always the same."""
    for name in config["restarts"]["recipe"] if config["restarts"] else []:
        recipe = config["recipes"].get(name)
        if recipe is None:
            known = nearest(name, config["recipes"])
            yield f"restarts.recipe is {name!r}; known recipes: {known}{why(dropped, 'recipes', name)}"
            continue
        always = "the mean colour" if recipe.get("init") == "mean" else ""
        if recipe.get("inverter"):
            always = "the image of its inverter"
        if always:
            yield (
                f"restarts.recipe is {name!r}, which always starts from {always}: there is no spread "
                "over restarts; take a recipe that starts from noise"
            )


def prior_selection_faults(config: dict, dropped: Dropped) -> Iterable[str]:
    """A recipe or prior that is not there or of another kind, and studies without a layer in front."""
    if not config["prior_selection"]:
        return
    name, prior = config["prior_selection"]["recipe"], config["prior_selection"]["prior"]
    recipe = config["recipes"].get(name)
    if recipe is None:
        known = nearest(name, config["recipes"])
        yield f"prior_selection.recipe is {name!r}; known recipes: {known}{why(dropped, 'recipes', name)}"
    elif not recipe.get("phases"):
        yield f"prior_selection.recipe is {name!r}, which is no optimisation: nothing can be added to it"
    elif prior in (recipe.get("priors") or {}):
        yield f"prior_selection.recipe is {name!r}, which has the prior {prior} already; take one without it"
    known = [p for p in config["priors"] if source_of(config, p) == "features"]
    if prior not in known:
        of_maps = nearest(prior, known) if known else "none"
        lost = why(dropped, "priors", prior)
        yield f"prior_selection.prior is {prior!r}; known priors of feature maps: {of_maps}{lost}"


def figure_faults(config: dict, dropped: Dropped) -> Iterable[str]:
    """Layers and recipes to be shown that the study does not have."""
    details = config["figures"]["details"]
    layers = {layer for entry in config["classifiers"].values() for layer in entry["layers"]}
    for key, known in (("layers", layers), ("recipes", config["recipes"])):
        for name in details[key] or []:
            if name not in known:
                yield (
                    f"figures.details.{key}: {name!r} is not one of the study's {key}; "
                    f"nearest: {nearest(name, sorted(known))}{why(dropped, key, name)}"
                )


def _is_denoiser(config: dict, prior: str) -> bool:
    entry = config["priors"].get(prior)
    return entry is not None and "sigma" in LEARNED[entry["method"]].options
