"""How recipes look in every figure: colour, line and marker by name and side, names as people read them."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist

from ..evaluation.baselines import COLOUR, IMAGE

# Seaborn's "colorblind" colours, without its import of seconds.
COLOURS = "#0173b2 #de8f05 #029e73 #d55e00 #cc78bc #ca9161 #fbafe4 #949494 #ece133 #56b4e9".split()
LINES = ("-", "--", ":", "-.")  # once the colours are used up
BASELINES = {COLOUR: (0, (5, 2)), IMAGE: (0, (1, 1.5))}  # lines, in grey
MARKERS = {"hand-crafted": "o", "learned": "s", "inverter": "D"}  # by side
PLACES = {1: ("center",), 2: ("left", "right"), 3: ("left", "center", "right")}


def styles(recipes: Sequence[str], families: dict[str, str]) -> dict[str, dict[str, Any]]:
    """`color`, `linestyle` and `marker` of every recipe; no two recipes have the same look, of 40."""
    return {
        recipe: {
            "color": COLOURS[index % len(COLOURS)],
            "linestyle": LINES[index // len(COLOURS) % len(LINES)],
            "marker": MARKERS[families[recipe]],
        }
        for index, recipe in enumerate(recipes)
    }


def spoken(name: str) -> str:
    return name.replace("_", " ")


def heading(name: str, width: int = 13) -> str:
    """A name over a column of `width` letters, broken at spaces and after a plus, a longer word before
    its number, then anywhere."""
    words = [
        re.sub(r"(?<=[a-z])(?=\d)", " ", word, count=1) if len(word) > width else word
        for word in spoken(name).replace("+", "+ ").split(" ")
    ]
    return textwrap.fill(" ".join(words), width).replace("+ ", "+")


def draw_baselines(figure, heights: Mapping[str, Sequence]) -> None:
    """Grey lines over the layers of a figure, and their legend: `heights` hold, by name of
    the baseline, one list of values by layer for each of the figure's axes."""
    lines = {}
    for name, values in heights.items():
        for axis, line in zip(figure.axes, values, strict=True):
            style = {"color": "0.5", "lw": 1.2, "zorder": 0, "ls": BASELINES[name]}
            places = np.arange(len(line))
            (lines[name],) = axis.plot(places, line, marker="_", ms=9, **style)
    if lines:
        names = [name.removeprefix("baseline: ") for name in lines]
        figure.legend(
            list(lines.values()),
            names,
            title="baselines",
            loc="outside right upper",
            fontsize=8,
            alignment="left",
        )


def legends(
    figure, handles: Mapping[str, Artist], families: dict[str, str], columns: int = 2
) -> None:
    """One legend per side below a figure of constrained layout: `handles` by recipe."""
    present = [side for side in MARKERS if any(families[recipe] == side for recipe in handles)]
    for side, place in zip(present, PLACES.get(len(present), ()), strict=True):
        mine = [recipe for recipe in handles if families[recipe] == side]
        figure.legend(
            [handles[recipe] for recipe in mine],
            [spoken(recipe) for recipe in mine],
            title=side,
            loc=f"outside lower {place}",
            ncols=min(columns * (4 - len(present)), len(mine)),
            fontsize=8,
            title_fontsize=9,
            alignment="left",
            handlelength=3,
        )
