"""A configuration with all defaults, without what is dropped, checked against the schema. Imports no
torch.

`null` drops: an entry by name (`recipes.tv: null`, `recipes.tv.priors.foe: null`), all entries of a
section (`visualisations: null`), and a key that has no default (`recipes.tv.bound: null`). `only` drops
what the recipes that it names do not need.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from ..files.kept import kept
from . import schema
from .configuration import ConfigurationError, Dropped
from .registry import named_priors
from .schema import Rule
from .wording import limit, nearest, yaml_hint

NULL = "was set to null (dropped): keep it, or drop what names it, too"
ONLY = "is not among what `only` names and needs (dropped): name it there"
CHOSEN = ("recipes", "priors", "inverters", "visualisations")  # whose entries `only` may name
STUDIES = (
    "linear_inverse",
    "denoising",
    "restarts",
    "prior_selection",
)  # sections that it may name


def completed(config: dict) -> tuple[dict, Dropped]:
    """The configuration with all defaults, and what was dropped from it.

    Raises ConfigurationError with every fault against the schema. Most plans are of a configuration that
    passed before: it is kept (see `kept`), so that they need neither pydantic nor jsonschema.
    """

    def compute() -> list:
        found, dropped = json.loads(json.dumps(config)), {}
        rule = schema.of_study()
        drop_null(found, rule, dropped)
        if faults := list(dict.fromkeys([*finite_faults(found), *schema_faults(found, rule)])):
            raise ConfigurationError(faults)
        if "denoising" in found and found["denoising"] is None:
            found["denoising"] = {"images": None}
        schema.fill(found, rule)
        if found["restarts"] and isinstance(found["restarts"]["recipe"], str):
            found["restarts"]["recipe"] = [found["restarts"]["recipe"]]
        return [found, dropped]

    found, dropped = kept("study", [config, version("jsonschema"), *schema.sources()], compute)
    return found, dropped


def drop_null(value: Any, rule: Rule, dropped: Dropped, path: str = "") -> None:
    """Remove what is set to null and may be, in place, and note it in `dropped`."""
    for name, inner, its_rule in list(schema.inner_rules(rule, value)):
        key = f"{path}.{name}" if path else str(name)
        if inner is not None or not isinstance(value, dict):
            drop_null(inner, its_rule, dropped, key)
        elif "null" in its_rule.get("type", []):
            continue  # a value
        elif isinstance(its_rule.get("additionalProperties"), dict) and not path:
            value[name], dropped[key] = {}, NULL
        elif _may_lack(rule, value, name):
            del value[name]
            dropped[key] = NULL


def _may_lack(rule: Rule, value: dict, name: str) -> bool:
    """Whether a dictionary is as valid without this key, and the same with it nowhere: an entry by a
    name, a key without a default, and one of another kind than the dictionary's, which a file over
    another may change."""
    own = schema.branch(rule, value)
    if name not in own.get("properties", {}):
        others = schema.kinds(rule).values() if "discriminator" in rule else ()
        by_name = isinstance(own.get("additionalProperties"), dict)
        return by_name or any(name in other["properties"] for other in others)
    return name not in own.get("required", []) and "default" not in own["properties"][name]


def keep_only(config: dict, dropped: Dropped) -> Iterable[str]:
    """Remove what `only` neither names nor needs from a completed configuration, in place; a line for
    each fault.

    A recipe needs its priors and its inverse network; priors need their patches; studies of restarts and of
    added priors need their recipes and priors.
    """
    if config["only"] is None:
        return
    named = set(config["only"])
    entries = {section: named & set(config[section]) for section in CHOSEN}
    known = [name for section in CHOSEN for name in config[section]] + [*STUDIES]
    for name in config["only"]:
        if name not in known:
            yield f"only holds {name!r}; known recipes, priors, inverters, ...: {nearest(name, known)}"
    if not entries["recipes"]:
        yield f"only names no recipe; known recipes: {', '.join(config['recipes'])}"
    if config["restarts"] and "restarts" in named:
        entries["recipes"] |= set(config["restarts"]["recipe"])
    if config["prior_selection"] and "prior_selection" in named:
        entries["recipes"].add(config["prior_selection"]["recipe"])
        entries["priors"].add(config["prior_selection"]["prior"])
    users = [config["recipes"].get(name, {}) for name in entries["recipes"]]
    users += [config["visualisations"][name] for name in entries["visualisations"]]
    for user in users:
        entries["priors"] |= set(named_priors(user))
        entries["inverters"].add(user.get("inverter"))
    priors = [config["priors"][name] for name in entries["priors"] if name in config["priors"]]
    entries["patches"] = {prior["patches"] for prior in priors if "patches" in prior}
    for section, names in entries.items():
        dropped |= {f"{section}.{name}": ONLY for name in config[section] if name not in names}
        config[section] = {name: e for name, e in config[section].items() if name in names}
    for section in STUDIES:
        if section not in named:
            config[section] = (
                config["denoising"] | {"images": None} if section == "denoising" else None
            )


def finite_faults(value: Any, key: str = "") -> Iterable[str]:
    """NaN and infinities, which no limit of a schema refuses: comparisons with NaN are false."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, inner in items:
            yield from finite_faults(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{key} is {value}; it must be a finite number"


def schema_faults(config: dict, rule_of_all: Rule) -> Iterable[str]:
    """A line for each fault: the key, the value, and what is allowed. Those of `finite_faults` aside."""
    from jsonschema import Draft202012Validator, validators

    # JSON Schema takes 96.0 for an integer; a size or a count in Python must be one.
    def whole(_, value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool)

    types = Draft202012Validator.TYPE_CHECKER.redefine("integer", whole)
    validator = validators.extend(Draft202012Validator, {"oneOf": _of_its_kind}, type_checker=types)
    errors = validator(rule_of_all).iter_errors(config)
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
            hint = yaml_hint(value, wanted, outer.schema.get("minItems", 1))
        if error.validator == "foreign":
            yield f"{key} {error.message}"
        elif error.validator == "additionalProperties":
            allowed = error.schema.get("properties", {})
            for name in sorted(set(error.instance) - set(allowed)):
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
            yield f"{key} is {value!r}; {limit(error)}{hint}{rule}"


def _of_its_kind(validator: Any, branches: list[Rule], entry: Any, rule: Rule) -> Iterable[Any]:
    """The errors of an entry that is of one kind of several, by the rule of its kind alone."""
    from jsonschema import ValidationError

    tag, kinds = rule["discriminator"]["propertyName"], schema.kinds(rule)
    if not isinstance(entry, dict):
        yield from validator.descend(entry, {"type": "object"})
        return
    if tag not in entry and schema.default_kind(rule) is None:
        yield from validator.descend(entry, {"required": [tag]})
        return
    kind = entry.get(tag, schema.default_kind(rule))
    if not isinstance(kind, str) or kind not in kinds:
        yield from validator.descend(kind, {"enum": list(kinds)}, path=tag)
        return
    own = kinds[kind]["properties"]
    others = {name: {} for other in branches for name in other["properties"] if name not in own}
    allowed = ", ".join(name for name in own if name != tag)
    for name in sorted(set(entry) & set(others)):
        words = f"is not a key of {tag} {kind}; allowed: {allowed}"
        yield ValidationError(words, validator="foreign", path=[name])
    yield from validator.descend(entry, kinds[kind] | {"properties": own | others})
