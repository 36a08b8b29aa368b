"""config/schema.json and config/README.md say what the models say."""

import json

import pytest

from deep_restoration.study import __main__ as command
from deep_restoration.study import reference, schema


@pytest.mark.parametrize("path", command.FILES, ids=lambda path: path.name)
def test_generated_files_follow_the_models(path):
    text = path.read_text(encoding="utf-8")
    assert text == command.FILES[path](), f"run: make schema (which writes {path.name})"


def test_the_schema_is_one():
    from jsonschema import Draft202012Validator

    Draft202012Validator.check_schema(json.loads(reference.schema_json()))


def keys(rule, where=""):
    """The dotted names and rules of all keys, those of every kind of an entry, too."""
    for name, inner in rule.get("properties", {}).items():
        yield f"{where}.{name}", inner
        yield from keys(inner, f"{where}.{name}")
    for inner in rule.get("oneOf", []):
        yield from keys(inner, where)
    for part in ("additionalProperties", "items"):
        if isinstance(rule.get(part), dict):
            yield from keys(rule[part], f"{where}.*")


def test_every_key_is_described_and_has_a_row():
    tags = {".priors.*.method", ".visualisations.*.kind"}  # headings
    text = reference.readme()
    found = dict(keys(schema.generate()))
    assert len(found) > 200
    for key, rule in found.items():
        if key in tags:
            continue
        assert rule.get("description"), key
        if "properties" in rule or "oneOf" in rule.get("additionalProperties", {}):
            continue
        name = key.rpartition(".")[2]
        assert f"{name}` |" in text or f"## `{name}`" in text, key


def row(text, section, key):
    """The cells of a key's row in the section of this heading."""
    part = text[text.index(f"\n## `{section}`") :]
    line = next(line for line in part.splitlines() if line.startswith(f"| `{key}` |"))
    return [cell.strip() for cell in line.strip("|").split(" | ")]


def test_a_row_has_type_limits_default_and_description():
    text = reference.readme()
    assert row(text, "images", "held_out")[:4] == [
        *("`held_out`", "number", "more than 0, at most 0.5", "`0.05`"),
    ]
    assert row(text, "classifiers", "std")[1:4] == [
        *("list of numbers (at least 0.001, at most 1) or null", "3 entries", "`null`"),
    ]
    assert row(text, "patches", "size")[1:4] == [
        *("integer (at least 1, at most 64), or `next`", "", "`8`"),
    ]
    assert row(text, "recipes", "phases[].rate")[1:4] == ["number", "more than 0", "required"]
    assert row(text, "recipes", "init")[1:4] == [
        *("`gaussian`, `uniform` or `mean`", "", "left out"),
    ]
    assert row(text, "inverters", "rate")[3] == "`3.0e-4`"
    assert row(text, "linear_inverse", "prior_images")[1] == "integer or null"
