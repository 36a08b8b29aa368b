"""Words for errors: what is allowed, the nearest name, how a value is written in YAML."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from typing import Any

import yaml

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the former is ten times faster


def nearest(word: str, allowed: Iterable[str], count: int = 5) -> str:
    """The names most like `word`, or the first few where none is alike."""
    allowed = list(allowed)
    found = difflib.get_close_matches(str(word), allowed, count, 0.4)
    more = "" if len(allowed) <= count else f" ... ({len(allowed)} in all)"
    return ", ".join(found) if found else ", ".join(allowed[:count]) + more


def limit(error: Any) -> str:
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


def yaml_hint(value: Any, wanted: set[str], least: int) -> str:
    """How a value of the `wanted` types is written in YAML, where this one seems to be meant for one; a list
    of `least` entries or more."""
    if isinstance(value, float) and "integer" in wanted:
        return f" (write {int(value)})" if value.is_integer() else ""
    if (
        wanted <= {"array", "null"}
        and isinstance(value, int | float)
        and not isinstance(value, bool)
    ):
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
    return f" (write a list: [{value}])" if wanted <= {"array", "null"} and least == 1 else ""


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
