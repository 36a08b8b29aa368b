"""What the command deep-restoration does. Each imports what it needs."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from ..study.wording import LOADER
from . import recipes

log = logging.getLogger(__name__)


def show_recipes(given: argparse.Namespace) -> None:
    found = recipes.recipes()
    rows = []
    for name, entry in found.items():
        files = ", ".join(f"{prior}{recipes.SUFFIX}" for prior in recipes.learned(entry))
        takes = recipes.needs(entry) or (f"{files} in --priors" if files else "")
        study = "no: it takes " if recipes.needs(entry) else "with "
        rows.append((name, recipes.summary(entry), study + takes if takes else "yes"))
    print(table(("recipe", "what it does", "by `invert`"), rows))
    print("\nOf your own: --recipe-file FILE, with keys as config/README.md describes them.")


def show_layers(given: argparse.Namespace) -> None:
    from ..networks import sources

    _, _, found, stop = sources.examined(given.network, given.size)
    rows = [
        (
            name,
            facts["operation"],
            " x ".join(map(str, facts["shape"])),
            f"{facts['stride']:g}",
            f"{facts['receptive_field'] or 'all'}{' and a mean' if facts['global'] else ''}"
            if facts["maps"]
            else "cannot be inverted",
        )
        for name, facts in found.items()
    ]
    print(table(("layer", "kind", "shape", "stride", "receptive field"), rows, right=2))
    if stop:
        print(f"\nImages of {given.size} x {given.size} reach no further: {stop}")


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]], right: int = 0) -> str:
    """Columns two spaces apart, the last `right` of them aligned to the right."""
    cells = [[str(cell) for cell in row] for row in (heads, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(heads))]
    first = len(heads) - right

    def line(row: list[str]) -> str:
        parts = [
            cell.ljust(width) if column < first else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "  ".join(parts).rstrip()

    return "\n".join(map(line, cells))


def invert(given: argparse.Namespace) -> None:
    """Of one layer the reconstructed image, of every stage a strip."""
    entry, files = recipes.chosen(_recipe(given), given.priors)
    # These take torch with them.
    from ..runtime.devices import keep_memory
    from ..runtime.errors import DivergedError
    from . import pictures, strip
    from .inverting import format_of, of_network, picture, write
    from .named import RANDOM, Named, stages

    output = Path(given.output or _name_of(given))
    format_of(output)  # rather now than at the end
    truth = pictures.of_any(given.photo, given.size)
    where = _device(given.device)
    named = Named.build(given.network, given.size, given.seed)
    layers = [given.layer] if given.layer else stages(named.layers)
    for layer in layers:
        named.check(layer)
    network = named.weighted(given.weights, layers)
    if given.weights == RANDOM:
        _say(
            f"ATTENTION: {given.network} has RANDOM weights. The images show what its architecture keeps, "
            "and nothing that it has learned."
        )
    keep_memory()
    found, lost = [], None
    for number, layer in enumerate(layers, 1):
        _say(layer + f" ({number} of {len(layers)})" * (len(layers) > 1))
        about = network(layer, where), layer, named.sees(layer), truth, entry, files
        try:
            one = of_network(*about, iterations=given.iterations, seed=given.seed)
        except DivergedError as error:  # the other stages are worth their time
            _say(f"{layer} is left out: {error}")
            lost = error
            continue
        values = one.measures
        print(
            f"{layer}: PSNR {values['psnr']:.2f} dB, SSIM {values['ssim']:.3f}, MSE {values['mse']:.5f}, "
            f"representation error {values['representation_error']:.3g}, {one.seconds:.1f} s",
            flush=True,
        )
        found.append(one)
    if lost and not found:
        raise lost
    if given.layer:
        write(found[0].image, output)
    else:
        shown = [(one.layer, f"SSIM {one.measures['ssim']:.3f}", one.image) for one in found]
        title = given.network + (" with random weights" if given.weights == RANDOM else "")
        write(strip.draw([("original", title, picture(truth[0])), *shown]), output)
    print(output)


def _recipe(given: argparse.Namespace) -> str | dict:
    """The name of a recipe, or the entry in the user's file."""
    if not given.recipe_file:
        return given.recipe
    import yaml

    text = Path(given.recipe_file).read_text("utf-8")
    try:
        found = yaml.load(text, LOADER)
    except yaml.YAMLError as error:
        raise ValueError(f"{given.recipe_file} is no valid YAML: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(
            f"{given.recipe_file} holds no recipe: its keys are optimiser, phases, priors ..."
        )
    if "recipes" not in found:
        return found
    entries = found["recipes"]
    if not isinstance(entries, dict) or len(entries) != 1:
        count = len(entries) if isinstance(entries, dict) else "no"
        raise ValueError(
            f"{given.recipe_file} has {count} recipes; it must hold the keys of one, or recipes with one"
        )
    return next(iter(entries.values()))


def _device(name: str):
    import torch

    from ..runtime.devices import device

    if name == "auto":
        return device()
    try:
        where = torch.device(name)
        torch.zeros(1, device=where)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"--device is {name!r}, which this machine does not have: {reason}"
        ) from None
    return where


def _name_of(given: argparse.Namespace) -> str:
    network = Path(given.network).name if Path(given.network).suffix else given.network
    parts = [Path(given.photo).stem, network, *filter(None, [given.layer])]
    return "-".join(part.replace("/", "_").replace(":", "_") for part in parts) + ".png"


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "invert": invert,
    "layers": show_layers,
    "recipes": show_recipes,
}
