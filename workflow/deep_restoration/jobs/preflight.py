"""The study's configuration, checked before hours are spent: schema, meaning, folders, layers.

`prepare` is all that the workflow calls.
"""

from __future__ import annotations

import functools
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from ..data import inventory, spacing
from ..files.hashing import file_hash
from ..files.kept import kept
from ..networks.names import IMAGENET_MEAN, IMAGENET_STD, own_file
from ..study import visualisations
from ..study.completion import completed, keep_only
from ..study.configuration import (
    EMBEDDED,
    EXEMPLAR,
    MODULE,
    STORE,
    ConfigurationError,
    ImageFiles,
    figure_faults,
    folder,
    is_file,
    name_faults,
    prior_faults,
    prior_selection_faults,
    recipe_faults,
    restarts_faults,
    search_faults,
    source_of,
    visualisation_faults,
)
from ..study.registry import LEARNED
from ..study.wording import nearest
from .fingerprint import installed, reached

LIBRARY = Path(__file__).resolve().parents[1]


def prepare(config: dict, planning: bool = False) -> dict:
    """The checked configuration with all defaults.

    When only `planning`, folders of images may be missing.

    Raises ConfigurationError with every fault found: schema first, then meaning.
    """
    config = json.loads(json.dumps(config, default=str))  # YAML reads 2026-01-01 as a date
    config, dropped = completed(config)
    if faults := list(keep_only(config, dropped)):
        raise ConfigurationError(faults)
    files = functools.cache(inventory.image_files)  # a folder may hold a million
    if faults := [
        *path_faults(config, planning, files),
        *name_faults(config),
        *prior_faults(config, dropped),
        *recipe_faults(config, dropped),
        *search_faults(config, dropped),
        *restarts_faults(config, dropped),
        *prior_selection_faults(config, dropped),
        *figure_faults(config, dropped),
        *visualisation_faults(config, dropped),
    ]:
        raise ConfigurationError(faults)
    if faults := list(count_faults(config, image_counts(config, files))):
        raise ConfigurationError(faults)
    if faults := list(layer_faults(config)):
        raise ConfigurationError(faults)
    known = {
        name: describe(entry["architecture"], config["images"]["size"])
        for name, entry in config["classifiers"].items()
    }
    for name, entry in config["classifiers"].items():
        mean, std = known[name]["weights"].get(entry["weights"], (IMAGENET_MEAN, IMAGENET_STD))
        entry |= {"mean": entry["mean"] or list(mean), "std": entry["std"] or list(std)}
    shown = config["visualisations"].items()
    check = visualisations.faults
    if faults := [fault for name, entry in shown for fault in check(config, name, entry, known)]:
        raise ConfigurationError(faults)
    return config


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
                f"{EXEMPLAR}, {MODULE}, or a name of published weights such as IMAGENET1K_V1"
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

    Of two training images one is learned from and one held out. Energies of some priors are compared
    image by image, so that the unit of their energies, its spread, takes two that are held out.
    """
    share = config["images"]["held_out"]
    several = itertools.count(max(2, int(1.5 / share) - 1))
    two_held_out = next(n for n in several if spacing.held_out_count(n, share) > 1)
    yield "train", "statistics", 2  # stationarity compares the halves
    for name, entry in config["classifiers"].items():
        if entry["weights"] == EXEMPLAR:
            yield "train", f"classifiers.{name}", 2  # classes
    for section in ("patches", "inverters"):
        yield from (("train", f"{section}.{name}", 2) for name in config[section])
    for name, prior in config["priors"].items():
        per_image = LEARNED[prior["method"]].per_image
        yield "train", f"priors.{name}", two_held_out if per_image else 2
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
        names = [*known["weights"], EXEMPLAR, MODULE]
        if weights not in names and not is_file(weights):
            yield (
                f"{where}.weights is {weights!r}: there are no such published weights for "
                f"{architecture}; nearest: {nearest(weights, names)}; allowed, too: a file (with a suffix)"
            )
        whole = describe(architecture, 299)["layers"] if known["stop"] else known["layers"]
        for layer in classifier["layers"]:
            if layer == "image":
                yield f"{where}.layers: 'image' is the input, not a layer"
            elif layer in known["layers"]:
                shape = known["layers"][layer]["shape"]
                if not known["layers"][layer]["maps"]:
                    order = list(known["layers"])
                    place = order.index(layer)
                    usable = [i for i, n in enumerate(order) if known["layers"][n]["maps"] and i]
                    near = sorted(usable, key=lambda i, place=place: abs(i - place))[:3]
                    yield (
                        f"{where}.layers: {layer!r} of {architecture} yields {' x '.join(map(str, shape))} "
                        "values, of which it is not known which axis is what: neither maps (channels x "
                        "height x width), nor tokens, nor a vector; the nearest that can be inverted: "
                        f"{', '.join(order[i] for i in sorted(near))}"
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
    if config["prior_selection"] and all(
        len(c["layers"]) < 2 for c in config["classifiers"].values()
    ):
        yield "prior_selection: no classifier has two layers, so that no layer has one in front; add layers"


@functools.cache
def describe(architecture: str, size: int) -> dict:
    """`{"layers": ..., "stop": ..., "weights": ...}` of an architecture at an image size, or
    `{"error": ...}`; weights are the names of those that are published, with their colours.

    Found out once in a process of its own, because importing torch takes seconds; kept (see `kept`) for this
    version of torch, torchvision, timm and the code, and for the content of a file of the user's own.
    """
    pieces, _ = reached(LIBRARY / "networks" / "sources.py", LIBRARY)
    versions = [installed("torch"), installed("torchvision"), installed("timm")]
    material = [sorted(pieces.items()), versions, architecture, size]
    try:
        if path := own_file(architecture):
            material.append(file_hash(path))
        return kept("layers", material, functools.partial(_examine, architecture, size))
    except ValueError as error:
        return {"error": str(error)}


def _examine(architecture: str, size: int) -> dict:
    command = [sys.executable, "-m", "deep_restoration.networks.sources", architecture, str(size)]
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    environment["PYTHONPATH"] = str(LIBRARY.parent)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(f"{architecture} could not be examined: {done.stderr.strip()[-500:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    if "error" in found:
        raise ValueError(found["error"])
    return found
