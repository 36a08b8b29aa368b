"""The study's configuration: schema, meaning, and the words of the errors. Imports no torch.

`prepare` is all that the workflow calls: it fills in defaults, drops entries set to null, and checks
everything that can be checked before hours are spent.
"""

from __future__ import annotations

import difflib
import functools
import itertools
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import yaml

from . import inventory, search, visualisation_settings
from .fingerprint import installed, reached
from .kept import kept

UNTRAINED = {  # the options of priors that are not learned
    "alpha_norm": {"alpha", "centre"},
    "colour_norm": {"alpha", "B", "centre"},
    "tv": {"beta", "V"},
    "inverter": set(),  # the distance from the image of the recipe's inverse network
}
NAMED = ("classifiers", "patches", "priors", "inverters", "recipes", "visualisations")  # by users
TAKEN = {  # names that stand for something else beside the user's
    "priors": {"data", "image", "ssim", "total"},  # in the traces of a reconstruction
    "recipes": {"blurred", "natural", "original"},  # in figures and the tables of naturalness
}
EXPERTS = {  # what score matching on patches and on fields have in common
    "patches": "images",
    "expert": None,
    "filters": None,
    "dimensions": None,
    "floor": 1e-6,
    "whitening": "pca",
    "noise": 0.0,
    "steps": 4000,
    "batch": 500,
    "rate": 2e-2,
    "patience": None,
}
METHODS = {  # the keys of a learned prior, by how it is trained, with their defaults; None is required
    "patch": EXPERTS | {"unit": True, "variant": "full", "groups": 1, "multiplier": 4},
    "field": EXPERTS | {"start": 1000, "batch": 32, "rate": 1e-2, "middle": 16},
    "denoiser": {
        "of": "images",
        "width": 32,
        "blocks": 1,
        "fold": 2,
        "levels": [3.0, 30.0],
        "sigma": 5.0,
        "probes": 1,
        "steps": 1000,
        "batch": 32,
        "crop": 64,
        "rate": 1.5e-3,
        "precision": "float32",
    },
    "autoregressive": {
        "of": "images",
        "width": 64,
        "blocks": 2,
        "context": 7,
        "steps": 1500,
        "batch": 16,
        "crop": 64,
        "rate": 2e-3,
        "precision": "float32",
    },
}
EMBEDDED, EXEMPLAR = "embedded", "exemplar"
ImageFiles = Callable[[Path], list[str]]
STORE = "RESTORATION_STORE"  # an environment variable
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the former is ten times faster


class ConfigurationError(ValueError):
    """One or several faults of a configuration, a line each."""

    def __init__(self, faults: Iterable[str]):
        super().__init__(
            "\n".join(["the configuration is not valid:", *(f"  {f}" for f in faults)])
        )


def nearest(word: str, allowed: Iterable[str], count: int = 5) -> str:
    """The names most like `word`, or the first few where none is alike."""
    allowed = list(allowed)
    found = difflib.get_close_matches(str(word), allowed, count, 0.4)
    more = "" if len(allowed) <= count else f" ... ({len(allowed)} in all)"
    return ", ".join(found) if found else ", ".join(allowed[:count]) + more


def prepare(config: dict, schema_file: str | os.PathLike, planning: bool = False) -> dict:
    """The checked configuration with all defaults.

    When only `planning`, folders of images may be missing.

    Raises ConfigurationError with every fault found: schema first, then meaning.
    """
    schema = yaml.load(Path(schema_file).read_text(encoding="utf-8"), LOADER)
    config = json.loads(json.dumps(config, default=str))  # YAML reads 2026-01-01 as a date
    for section in NAMED:
        if isinstance(config.get(section), dict):
            config[section] = {k: v for k, v in config[section].items() if v is not None}
    # Most plans are of a configuration that passed before: they need not even import jsonschema.
    kept(
        "schema", [schema, config, Path(__file__).read_text("utf-8")], lambda: _pass(config, schema)
    )
    faults = [*method_faults(config.get("priors") or {})]
    faults += visualisation_settings.kind_faults(config.get("visualisations") or {})
    if faults:
        raise ConfigurationError(faults)
    fill(config, schema)
    for name, prior in config["priors"].items():
        defaults = json.loads(json.dumps(METHODS[prior["method"]]))
        config["priors"][name] = {"method": prior["method"]} | defaults | prior
    if config["starts"] and isinstance(config["starts"]["recipe"], str):
        config["starts"]["recipe"] = [config["starts"]["recipe"]]
    for name, entry in config["visualisations"].items():
        config["visualisations"][name] = visualisation_settings.complete(entry)
    meaning = (
        name_faults,
        prior_faults,
        recipe_faults,
        search_faults,
        starts_faults,
        adding_faults,
        figure_faults,
        visualisation_faults,
    )
    files = functools.cache(inventory.image_files)  # a folder may hold a million
    faults = [*path_faults(config, planning, files)]
    if faults := [*faults, *(f for check in meaning for f in check(config))]:
        raise ConfigurationError(faults)
    if faults := list(count_faults(config, image_counts(config, files))):
        raise ConfigurationError(faults)
    if faults := list(layer_faults(config)):
        raise ConfigurationError(faults)
    known = {
        name: describe(entry["architecture"], config["images"]["size"])
        for name, entry in config["classifiers"].items()
    }
    shown = config["visualisations"].items()
    check = visualisation_settings.faults
    if faults := [fault for name, entry in shown for fault in check(config, name, entry, known)]:
        raise ConfigurationError(faults)
    return config


def _pass(config: dict, schema: dict) -> bool:
    if faults := list(dict.fromkeys([*finite_faults(config), *schema_faults(config, schema)])):
        raise ConfigurationError(faults)
    return True


def with_store(config: dict) -> dict:
    """The configuration with the store that the environment names, if it does: it knows this machine,
    where a study may be another's. Set but empty, it stands for none."""
    return config | {"store": os.environ[STORE] or None} if STORE in os.environ else config


# ------------------------------------------------------------------------------ schema


def finite_faults(value: Any, key: str = "") -> Iterable[str]:
    """NaN and infinities, which no limit of a schema refuses: comparisons with NaN are false."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, inner in items:
            yield from finite_faults(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{key} is {value}; it must be a finite number"


def schema_faults(config: dict, schema: dict) -> Iterable[str]:
    """A line for each fault: the key, the value, and what is allowed. Those of `finite_faults` aside."""
    from jsonschema import Draft202012Validator, validators

    # JSON Schema takes 96.0 for an integer; a size or a count in Python must be one.
    def whole(_, value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool)

    kinds = Draft202012Validator.TYPE_CHECKER.redefine("integer", whole)
    errors = validators.extend(Draft202012Validator, type_checker=kinds)(schema).iter_errors(config)
    for error in sorted(errors, key=lambda e: [str(part) for part in e.absolute_path]):
        outer = error
        while error.context:  # of the alternatives, the one that came furthest
            error = max(error.context, key=lambda e: (len(e.absolute_path), e.validator != "type"))
        key = ".".join(str(part) for part in error.absolute_path)
        value = error.instance
        rule = error.schema.get("description") or outer.schema.get("description", "")
        rule = re.split(r"(?<!\.)(?<! al)\. ", rule)[0]  # its first sentence
        rule = rule and f" ({rule})"
        if isinstance(value, float) and not math.isfinite(value):
            continue
        hint = ""
        if error.validator in ("type", "enum"):
            wanted: set[str] = set()
            for alternative in outer.schema.get("anyOf", [error.schema]):
                named = alternative.get("type", [])
                wanted |= {named} if isinstance(named, str) else set(named)
            hint = _hint(value, wanted, outer.schema.get("minItems", 1))
        if error.validator == "additionalProperties":
            allowed = error.schema.get("properties", {})
            for name in sorted(set(value) - set(allowed)):
                where = f"{key}.{name}" if key else name
                yield f"{where} is not a key; did you mean {nearest(name, allowed)}?"
        elif error.validator == "required":
            missing = [name for name in error.validator_value if name not in value]
            yield f"{key or 'the configuration'} lacks {', '.join(missing)}"
        elif error.validator == "enum":
            allowed = ", ".join(str(item) for item in error.validator_value)
            yield f"{key} is {value!r}; allowed: {allowed}" + (hint + rule) * (error is not outer)
        elif "propertyNames" in error.absolute_schema_path:
            yield (
                f"{key}: the name {value!r} is not allowed; it must start with a letter or a digit, "
                "hold nothing but letters, digits, . _ + -, and have at most 100 of them"
            )
        else:
            yield f"{key} is {value!r}; {_limit(error)}{hint}{rule}"


def _limit(error: Any) -> str:
    words = {
        "type": "it must be of type {}",
        "minimum": "it must be at least {}",
        "maximum": "it must be at most {}",
        "exclusiveMinimum": "it must be more than {}",
        "exclusiveMaximum": "it must be less than {}",
        "minItems": "it needs {} entries or more",
        "minProperties": "it needs {} entries or more",
        "pattern": "it must match {}",
    }
    value = error.validator_value
    value = " or ".join(value) if isinstance(value, list) else value
    return words[error.validator].format(value) if error.validator in words else error.message


def _hint(value: Any, wanted: set[str], least: int) -> str:
    """How a value of the `wanted` types is written in YAML, where this one seems to be meant for one; a list
    of `least` entries or more."""
    if isinstance(value, float) and "integer" in wanted:
        return f" (write {int(value)})" if value.is_integer() else ""
    if wanted <= {"array"} and isinstance(value, int | float) and not isinstance(value, bool):
        return f" (write a list: [{', '.join([str(value)] * least)}])"
    if not isinstance(value, str):
        return ""
    if value == "None" and "null" in wanted:
        return " (write null)"
    number = _number(value) if wanted & {"number", "integer"} else None
    if number is not None:
        if "number" not in wanted:
            return f" (write {number:.0f})" if number.is_integer() else ""
        if "/" in value or "," in value:
            return f" (write {number:.6g})"
        mantissa, _, exponent = value.lower().partition("e")
        written = f"{mantissa}{'' if '.' in mantissa else '.0'}e{int(exponent):+}"
        return f" (YAML reads {value} as text: write {written})"
    try:
        meant = yaml.load(value, LOADER)
    except yaml.YAMLError:
        if value[:1] in ("{", "[") and wanted & {"object", "array"}:
            return " (it is text, because it is no valid YAML: are all brackets closed?)"
        return ""
    kinds = {bool: "boolean", int: "integer", float: "number", list: "array", dict: "object"}
    kind = "null" if meant is None else kinds.get(type(meant))
    if kind in wanted or (kind == "integer" and "number" in wanted):
        return (
            " (it is text: in a file, write it without quotes. Snakemake's --config makes text of "
            "all nested values: write them to a file, and give it to --configfile)"
        )
    return f" (write a list: [{value}])" if wanted <= {"array"} and least == 1 else ""


def _number(text: str) -> float | None:
    """The finite number that text is meant for which YAML does not read as one: 1e-3, 1.0e3, 0,5 or 1/255."""
    if re.fullmatch(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+", text):
        number = float(text)
    elif re.fullmatch(r"[-+]?\d+,\d+", text):
        number = float(text.replace(",", "."))
    elif (parts := re.fullmatch(r"(\d+\.?\d*) ?/ ?(\d+\.?\d*)", text)) and float(parts[2]):
        number = float(parts[1]) / float(parts[2])
    else:
        return None
    return number if math.isfinite(number) else None


def fill(config: Any, schema: dict) -> None:
    """Put the schema's defaults in place of missing keys, at every level."""
    if not isinstance(config, dict):
        return
    known = schema.get("properties", {})
    for name, rule in known.items():
        if name not in config and "default" in rule:
            config[name] = json.loads(json.dumps(rule["default"]))
    rest = schema.get("additionalProperties")
    for name, value in config.items():
        rule = known.get(name, rest if isinstance(rest, dict) else {})
        fill(value, rule)
        if isinstance(value, list) and isinstance(rule.get("items"), dict):
            for item in value:
                fill(item, rule["items"])


# ------------------------------------------------------------------------------ meaning


def folder(path: str) -> Path:
    return Path(os.path.expanduser(path))


def path_faults(
    config: dict, planning: bool = False, files: ImageFiles = inventory.image_files
) -> Iterable[str]:
    """Folders that hold no image or cannot be listed, and weights that are not there. When `planning`, a
    folder that is not there yet is none. `files` lists the images of a folder."""
    for split in ("train", "test"):
        source = config["images"][split]
        if source == EMBEDDED or (planning and not folder(source).exists()):
            continue
        try:
            files(folder(source))
        except (OSError, ValueError) as error:
            yield f"images.{split} is {source!r}: {error}"
    source = config["denoising"]["images"]
    if source not in (None, "test") and not (planning and not folder(source).exists()):
        try:
            files(folder(source))
        except (OSError, ValueError) as error:
            yield f"denoising.images is {source!r}: {error}; allowed: a folder, test, null"
    store = config["store"]
    if store in ("None", "none", "null"):
        yield f"store is {store!r}, text, which would be a folder; for none, write null without quotes"
    elif store and folder(store).exists() and not folder(store).is_dir():
        yield (
            f"store is {store!r}, which is no folder; allowed: a folder (made if its parent is there), "
            f"null. It is the key of the configuration, or the environment variable {STORE}, which wins"
        )
    for name, classifier in config["classifiers"].items():
        weights = classifier["weights"]
        if is_file(weights) and (why := _unusable(folder(weights))):
            yield (
                f"classifiers.{name}.weights is {weights!r}: {why}; allowed: a file, "
                f"{EXEMPLAR}, or a name of torchvision's weights such as IMAGENET1K_V1"
            )
        if classifier["sha256"] and not is_file(weights):
            yield (
                f"classifiers.{name}.sha256 is of a file, and weights is {weights!r}, which is none of "
                "yours; remove it"
            )


def _unusable(path: Path) -> str:
    """Why there is nothing to read; empty if there may be."""
    if path.is_file():
        if not os.access(path, os.R_OK):
            return "the file may not be read"
        return "" if path.stat().st_size else "the file is empty"
    if path.is_dir():
        return "it is a folder"
    return "it is a link that leads nowhere" if path.is_symlink() else "there is no such file"


def image_counts(config: dict, files: ImageFiles = inventory.image_files) -> dict[str, int]:
    """Number of training and of test images, `train` and `test`; not of folders that are not there yet."""
    images, found = config["images"], {}
    for split in ("train", "test"):
        if images[split] == EMBEDDED:
            found[split] = images[f"embedded_{split}"]
        elif folder(images[split]).exists():
            found[split] = len(files(folder(images[split])))
    if "test" in found and images["test_count"]:
        found["test"] = min(found["test"], images["test_count"])
    return found


def image_needs(config: dict) -> Iterable[tuple[str, str, int]]:
    """What needs how many images: `train` or `test`, a key of the configuration, the least number.

    Of two training images one is learned from and one held out. Priors that are networks are compared
    image by image, so that the unit of their energies, its spread, takes two that are held out.
    """
    share = config["images"]["held_out"]
    several = itertools.count(max(2, int(1.5 / share) - 1))
    two_held_out = next(n for n in several if inventory.held_out_count(n, share) > 1)
    yield "train", "statistics", 2  # stationarity compares the halves
    for name, entry in config["classifiers"].items():
        if entry["weights"] == EXEMPLAR:
            yield "train", f"classifiers.{name}", 2  # classes
    for section in ("patches", "inverters"):
        yield from (("train", f"{section}.{name}", 2) for name in config[section])
    for name, prior in config["priors"].items():
        network = prior["method"] in ("denoiser", "autoregressive")
        yield "train", f"priors.{name}", two_held_out if network else 2
    for name, entry in config["visualisations"].items():
        if "training_images" in entry:
            yield "train", f"visualisations.{name}", 2
        if entry.get("content"):
            yield "test", f"visualisations.{name}", 2  # the style is the next image's


def count_faults(config: dict, counts: dict[str, int]) -> Iterable[str]:
    """Fewer images than something needs. `counts`: of `image_counts`."""
    images, maps = config["images"], config["features"]["images"]
    lacking: dict[tuple[str, int], list[str]] = {}
    for split, who, least in image_needs(config):
        if counts.get(split, least) < least:
            lacking.setdefault((split, least), []).append(who)
        of_maps = who.startswith("priors.") and source_of(config, who[7:]) == "features"
        if of_maps and maps and maps < least:
            yield f"features.images is {maps}; {who} needs {_images(least, images)}"
    for (split, least), users in lacking.items():
        some = ", ".join(users[:4]) + (f" ... ({len(users)} in all)" if len(users) > 4 else "")
        yield (
            f"{_counted(images, split, counts[split])}; {some} need{'s' * (len(users) == 1)} "
            f"{_images(least, images)}"
        )


def _counted(images: dict, split: str, count: int) -> str:
    """The key that says how many images there are, and how many."""
    if images[split] == EMBEDDED and images[f"embedded_{split}"] == count:
        return f"images.embedded_{split} is {count}"
    if split == "test" and images["test_count"] == count:
        return f"images.test_count is {count}"
    return f"images.{split} is {images[split]!r}, which holds {count} image{'s' * (count != 1)}"


def _images(least: int, images: dict) -> str:
    if least == 2:
        return "at least 2"
    return (
        f"at least {least}, of which images.held_out, {images['held_out']}, keeps 2; with a larger "
        "share, fewer do"
    )


def is_file(weights: str) -> bool:
    """Whether `weights:` means a file: a path, a name with a suffix, or a file that is there."""
    path = folder(weights)
    suffix = path.suffix and "_Weights." not in weights  # ResNet18_Weights.DEFAULT is a name
    return weights != EXEMPLAR and (os.sep in weights or bool(suffix) or path.is_file())


def method_faults(priors: dict) -> Iterable[str]:
    """Learned priors with keys of another method than theirs, or without what theirs needs."""
    for name, prior in priors.items():
        method = prior.get("method", "patch")
        allowed = METHODS[method]
        if foreign := sorted(set(prior) - set(allowed) - {"method"}):
            yield (
                f"priors.{name}.{foreign[0]} is not a key of method {method}; "
                f"allowed: {', '.join(allowed)}"
            )
        needed = ("expert", "filters") if "expert" in allowed else ()
        if missing := [key for key in needed if key not in prior]:
            yield f"priors.{name} lacks {', '.join(missing)}"


def name_faults(config: dict) -> Iterable[str]:
    """Names that tables and figures would confuse with something of their own."""
    for section, taken in TAKEN.items():
        for name in sorted(taken & set(config[section])):
            yield f"{section}.{name}: tables and figures call something else {name}; rename it"


def source_of(config: dict, prior: str) -> str:
    """What a learned prior is trained on: images, grey or features; "" where its patches are not there."""
    entry = config["priors"][prior]
    return entry.get("of") or config["patches"].get(entry["patches"], {"of": ""})["of"]


def prior_faults(config: dict) -> Iterable[str]:
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
        if name in UNTRAINED:
            yield f"{where}: the name is taken by the prior {name}, which is not learned"
        if prior["method"] == "denoiser" and prior["levels"][0] > prior["levels"][1]:
            yield f"{where}.levels is {prior['levels']}; the least comes first"
        if prior["method"] == "autoregressive":
            if prior["of"] == "features":
                yield f"{where}.of is features; an autoregressive prior is one of images or grey ones"
            if min(prior["crop"], side) <= prior["context"]:
                yield f"{where}.context is {prior['context']}; it must be less than crop and images.size"
        if "patches" not in prior:
            continue
        if prior["patches"] not in sets:
            known = nearest(prior["patches"], sets) if sets else "none"
            yield f"{where}.patches is {prior['patches']!r}; known patch sets: {known}"
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


def recipe_faults(config: dict) -> Iterable[str]:
    for name, recipe in config["recipes"].items():
        where = f"recipes.{name}"
        if recipe.get("inverter"):
            if recipe["inverter"] not in config["inverters"]:
                known = nearest(recipe["inverter"], config["inverters"])
                yield f"{where}.inverter is {recipe['inverter']!r}; known inverters: {known or 'none'}"
            given = [key for key in recipe if key not in ("inverter", "unseen") and recipe[key]]
            if not given:
                continue
            if recipe.get("start"):
                yield f"{where}: it starts from the image of its inverter; remove start"
        if missing := [key for key in ("optimiser", "phases") if not recipe.get(key)]:
            lacking = " and ".join(missing)
            if recipe.get("inverter"):
                yield f"{where} needs {lacking} to go on from the image of its inverter"
            else:
                yield f"{where} needs either inverter, or {lacking}"
        for number, phase in enumerate(recipe.get("phases") or []):
            if phase["warmup"] > phase["iterations"]:
                yield (
                    f"{where}.phases.{number}.warmup is {phase['warmup']}; it must be at most the "
                    f"phase's iterations, {phase['iterations']}"
                )
        if recipe.get("data") == "mse" and recipe.get("data_weight") == "mahendran2016":
            yield (
                f"{where}.data_weight is 'mahendran2016', which weighs the normalised data term; "
                "with data mse give a number"
            )
        yield from _used_priors(config, where, recipe)
        if unseen := recipe.get("unseen"):
            fit = [
                name
                for name, prior in config["priors"].items()
                if (prior["method"], prior.get("of")) == ("autoregressive", "images")
            ]
            if unseen not in fit:
                known = nearest(unseen, fit) if fit else "none"
                yield (
                    f"{where}.unseen is {unseen!r}, which is no autoregressive prior of images; "
                    f"known ones: {known}"
                )


def _used_priors(config: dict, where: str, recipe: dict) -> Iterable[str]:
    """Priors of a recipe that are not there, or have options or weights of others."""
    for prior, options in (recipe.get("priors") or {}).items():
        known = [*UNTRAINED, *config["priors"]]
        if prior == "inverter" and not recipe.get("inverter"):
            yield f"{where}.priors.{prior} needs the key inverter in the recipe: whose image?"
        if prior not in known:
            yield f"{where}.priors.{prior}: no such prior; known priors: {nearest(prior, known)}"
            continue
        kind = config["priors"].get(prior, {}).get("method")
        options_of = {"units"} | {"denoiser": {"sigma"}, "autoregressive": set()}.get(
            kind, {"border", "lattice"}
        )
        source = source_of(config, prior) if prior in config["priors"] else "images"
        if source == "features":
            options_of.add("layers")
            yield from _layers_of_prior(config, f"{where}.priors.{prior}", options)
        allowed = {"weight", *UNTRAINED.get(prior, options_of)}
        if source == "grey":
            yield f"{where}.priors.{prior} is a prior of grey images; recipes restore colour"
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
        published = {"tv": "mahendran2015", "alpha_norm": "mahendran2015"}.get(prior)
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


def search_faults(config: dict) -> Iterable[str]:
    """Bounds in the wrong order or for what the recipe lacks, and updates that cannot go together."""
    for name, recipe in config["recipes"].items():
        where, priors = f"recipes.{name}", recipe.get("priors") or {}
        ranges = recipe.get("search") or {}
        if ranges and not recipe.get("phases"):
            yield f"{where}.search: without an optimisation there is nothing to search"
        for prior in ranges.get("priors") or {}:
            if prior not in priors:
                known = nearest(prior, priors) if priors else "none"
                yield f"{where}.search.priors.{prior}: the recipe has no such prior; it has: {known}"
        for prior in ranges.get("sigma") or {}:
            denoisers = [entry for entry in priors if _is_denoiser(config, entry)]
            if prior not in denoisers:
                yield (
                    f"{where}.search.sigma.{prior}: the recipe has no such denoiser; "
                    f"it has: {', '.join(denoisers) or 'none'}"
                )
        for key, (low, high) in search.parameters(ranges).items():
            if low >= high:
                yield f"{where}.search.{key} is [{low}, {high}]; the lower bound comes first"
        yield from _restless_gradients(where, recipe)


def _restless_gradients(where: str, recipe: dict) -> Iterable[str]:
    """L-BFGS together with what changes gradients by chance."""
    if recipe.get("optimiser") == "lbfgs":
        jitter = any(phase.get("jitter") for phase in recipe.get("phases") or [])
        lattice = any(
            (entry.get("lattice") or 1) > 1 for entry in (recipe.get("priors") or {}).values()
        )
        if jitter or lattice:
            yield (
                f"{where}.optimiser is lbfgs, which compares gradients: "
                f"it goes with no {'jitter' if jitter else 'lattice'}; take adam"
            )


def visualisation_faults(config: dict) -> Iterable[str]:
    """Recipes that are not there, optimisations that lack something or cannot be."""
    for name, entry in config["visualisations"].items():
        where = f"visualisations.{name}"
        if entry["kind"] == "attribution":
            continue
        if entry["recipe"] is not None and entry["recipe"] not in config["recipes"]:
            known = nearest(entry["recipe"], config["recipes"])
            yield f"{where}.recipe is {entry['recipe']!r}; known recipes: {known}"
            continue
        plan = visualisation_settings.plan(config, entry)
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
        yield from _used_priors(config, where, plan)
        yield from _restless_gradients(where, plan)


def starts_faults(config: dict) -> Iterable[str]:
    """Recipes that are not there, and those whose start is always the same."""
    for name in config["starts"]["recipe"] if config["starts"] else []:
        recipe = config["recipes"].get(name)
        if recipe is None:
            yield f"starts.recipe is {name!r}; known recipes: {nearest(name, config['recipes'])}"
            continue
        always = "the mean colour" if recipe.get("start") == "mean" else ""
        if recipe.get("inverter"):
            always = "the image of its inverter"
        if always:
            yield (
                f"starts.recipe is {name!r}, which always starts from {always}: there is no spread "
                "over starts; take a recipe that starts from noise"
            )


def adding_faults(config: dict) -> Iterable[str]:
    """A recipe or prior that is not there or of another kind, and studies without a layer in front."""
    if not config["adding"]:
        return
    name, prior = config["adding"]["recipe"], config["adding"]["prior"]
    recipe = config["recipes"].get(name)
    if recipe is None:
        yield f"adding.recipe is {name!r}; known recipes: {nearest(name, config['recipes'])}"
    elif not recipe.get("phases"):
        yield f"adding.recipe is {name!r}, which is no optimisation: nothing can be added to it"
    elif prior in (recipe.get("priors") or {}):
        yield f"adding.recipe is {name!r}, which has the prior {prior} already; take one without it"
    known = [p for p in config["priors"] if source_of(config, p) == "features"]
    if prior not in known:
        of_maps = nearest(prior, known) if known else "none"
        yield f"adding.prior is {prior!r}; known priors of feature maps: {of_maps}"


def figure_faults(config: dict) -> Iterable[str]:
    """Layers and recipes to be shown that the study does not have."""
    details = config["figures"]["details"]
    layers = {layer for entry in config["classifiers"].values() for layer in entry["layers"]}
    for key, known in (("layers", layers), ("recipes", config["recipes"])):
        for name in details[key] or []:
            if name not in known:
                yield (
                    f"figures.details.{key}: {name!r} is not one of the study's {key}; "
                    f"nearest: {nearest(name, sorted(known))}"
                )


def _is_denoiser(config: dict, prior: str) -> bool:
    return config["priors"].get(prior, {}).get("method") == "denoiser"


def layer_faults(config: dict) -> Iterable[str]:
    """Weights and layers that the architecture lacks, layers that the images are too small for, and patches
    larger than their maps."""
    size = config["images"]["size"]
    wanted = {n: p["size"] for n, p in config["patches"].items() if p["of"] == "features"}
    for name, classifier in config["classifiers"].items():
        where, architecture = f"classifiers.{name}", classifier["architecture"]
        known = describe(architecture, size)
        if "error" in known:
            yield f"{where}.architecture: {known['error']}"
            continue
        weights = classifier["weights"]
        if weights not in (EXEMPLAR, *known["weights"]) and not is_file(weights):
            names = [*known["weights"], EXEMPLAR]
            yield (
                f"{where}.weights is {weights!r}: torchvision publishes no such weights for "
                f"{architecture}; nearest: {nearest(weights, names)}; allowed, too: a file (with a suffix)"
            )
        whole = describe(architecture, 299)["layers"] if known["stop"] else known["layers"]
        for layer in classifier["layers"]:
            if layer == "image":
                yield f"{where}.layers: 'image' is the input, not a layer"
            elif layer in known["layers"]:
                shape = known["layers"][layer]["shape"]
                if len(shape) not in (1, 3):
                    yield (
                        f"{where}.layers: {layer!r} of {architecture} yields {' x '.join(map(str, shape))} "
                        "values, neither maps (channels x height x width) nor a vector; take another"
                    )
                for entry, patch in wanted.items():
                    if patch != "next" and len(shape) == 3 and patch > min(shape[1:]):
                        yield (
                            f"patches.{entry}.size is {patch}, but {where} layer {layer} has maps of "
                            f"{shape[1]} x {shape[2]} for images of {size} pixels; lower it to "
                            f"{min(shape[1:])} or set it to next"
                        )
            elif layer in whole:
                yield (
                    f"images.size is {size}: too small to reach layer {layer} of {architecture} "
                    f"(it ends at {known['stop']})"
                )
            else:
                names = [entry for entry in whole if entry != "image"]
                yield (
                    f"{where}.layers: {architecture} has no layer {layer!r}; "
                    f"nearest: {nearest(layer, names)}"
                )
    if config["adding"] and all(len(c["layers"]) < 2 for c in config["classifiers"].values()):
        yield "adding: no classifier has two layers, so that no layer has one in front; add layers"


@functools.cache
def describe(architecture: str, size: int) -> dict:
    """`{"layers": ..., "stop": ..., "weights": ...}` of an architecture at an image size, or
    `{"error": ...}`; weights are the names of those that torchvision publishes.

    Found out once in a process of its own, because importing torch takes seconds; kept (see `kept`) for this
    version of torch, torchvision and the code.
    """
    here = Path(__file__).parent
    pieces, _ = reached(here / "classifiers.py", here)
    versions = [installed("torch"), installed("torchvision")]
    material = [sorted(pieces.items()), versions, architecture, size]
    try:
        return kept("layers", material, functools.partial(_examine, architecture, size))
    except ValueError as error:
        return {"error": str(error)}


def _examine(architecture: str, size: int) -> dict:
    command = [sys.executable, "-m", "deep_restoration.classifiers", architecture, str(size)]
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    environment["PYTHONPATH"] = str(Path(__file__).parent.parent)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"{architecture} could not be examined: {done.stderr.strip()[-500:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    if "error" in found:
        raise ValueError(found["error"])
    return found
