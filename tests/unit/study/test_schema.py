"""The schema that the models give: plain rules, branches by kind, defaults."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from deep_restoration.jobs import preflight
from deep_restoration.jobs.fingerprint import Library
from deep_restoration.study import models, schema
from deep_restoration.study.completion import completed

ROOT = Path(__file__).parents[3]
SHIPPED = yaml.safe_load((ROOT / "config/everything.yaml").read_text(encoding="utf-8"))


def rules(rule):
    """A rule and all rules inside it."""
    yield rule
    inner = [*rule.get("properties", {}).values(), *rule.get("anyOf", []), *rule.get("oneOf", [])]
    for part in ("items", "additionalProperties"):
        inner += [rule[part]] if isinstance(rule.get(part), dict) else []
    for one in inner:
        yield from rules(one)


def test_rules_are_plain():
    found = list(rules(schema.of_study()))
    assert len(found) > 300
    for rule in found:
        assert not {"$ref", "$defs", "const", "patternProperties"} & set(rule)
        assert {"type": "null"} not in rule.get("anyOf", [])
        assert not {"type", "enum"} <= set(rule)
        assert rule.get("properties") is None or rule["additionalProperties"] is False


def test_what_may_be_null_is_so_among_its_types():
    study = schema.of_study()["properties"]
    assert study["images"]["properties"]["test_count"]["type"] == ["integer", "null"]
    assert study["restarts"]["type"] == ["object", "null"]
    assert study["restarts"]["default"] is None
    assert study["restarts"]["required"] == ["recipe"]
    assert study["figures"]["type"] == "object"


def test_keys_are_required_or_have_a_default_or_may_be_left_out():
    recipe = schema.entries("recipes")
    assert "required" not in recipe
    assert not [name for name, rule in recipe["properties"].items() if "default" in rule]
    phase = recipe["properties"]["phases"]["items"]
    assert phase["required"] == ["iterations", "rate"]
    assert phase["properties"]["priors"]["default"] is True


def test_an_entry_has_the_rule_of_its_kind():
    prior = schema.entries("priors")
    methods = ["patch", "field", "denoiser", "autoregressive", "wiener", "unet", "ridge"]
    assert list(schema.kinds(prior)) == methods
    assert schema.default_kind(prior) == "patch"
    assert schema.default_kind(schema.entries("visualisations")) is None
    assert "unit_norm" in schema.branch(prior, {})["properties"]
    assert "start" in schema.branch(prior, {"method": "field"})["properties"]
    assert schema.branch(prior, {"method": "ica"}) == {}
    assert schema.branch(prior, 3) is prior
    assert schema.branch(recipe := schema.entries("recipes"), {"method": "field"}) is recipe


def test_filled_entries_keep_what_is_given_and_share_nothing():
    given = {"method": "denoiser", "noise_levels": [1.0, 2.0]}
    found = schema.filled("priors", given)
    assert (found["noise_levels"], found["of"], found["fold"]) == ([1.0, 2.0], "images", 2)
    found["noise_levels"].append(3.0)
    assert given["noise_levels"] == [1.0, 2.0]
    others = [schema.filled("priors", {"method": "denoiser"}) for _ in range(2)]
    others[0]["noise_levels"].append(3.0)
    assert others[1]["noise_levels"] == [3.0, 30.0]
    plan = {"kind": "caricature", "phases": [{"iterations": 3, "rate": 1.0}]}
    assert schema.filled("visualisations", plan)["phases"][0]["jitter"] is False


def test_the_schema_is_made_once(monkeypatch, tmp_path):
    monkeypatch.setenv("RESTORATION_CACHE", str(tmp_path))
    fresh = schema.of_study.__wrapped__
    first = fresh()

    def again():
        raise AssertionError("made again")

    monkeypatch.setattr(schema, "generate", again)
    assert fresh() == first
    monkeypatch.setattr(schema, "sources", lambda: ["an edit"])
    with pytest.raises(AssertionError, match="made again"):
        fresh()


def test_the_models_themselves_accept_a_completed_study():
    found, _ = completed(SHIPPED)
    study = models.Study.model_validate(found)
    assert study.priors["dae"].width == SHIPPED["priors"]["dae"]["width"]
    assert isinstance(study.visualisations["caricature"], models.Caricature)


def test_a_study_that_passed_is_planned_without_pydantic_and_jsonschema():
    expected = preflight.prepare(SHIPPED)
    code = (
        "import json, sys\n"
        "from deep_restoration.jobs import preflight\n"
        "found = preflight.prepare(json.load(sys.stdin))\n"
        "print(json.dumps([found, sorted({'pydantic', 'jsonschema'} & set(sys.modules))]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(SHIPPED),
        cwd=ROOT / "workflow",
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [expected, []]


def test_no_job_depends_on_what_the_models_say():
    """Another description or limit is no reason to make results again, and no job imports pydantic."""
    library = Library(ROOT / "workflow" / "deep_restoration")
    scripts = sorted((ROOT / "workflow" / "scripts").glob("*.py"))
    assert len(scripts) > 40
    for script in scripts:
        pieces, packages = library.reached(script)
        modules = {piece.partition(":")[0] for piece in pieces}
        assert not {f"deep_restoration.study.{name}" for name in ("models", "schema")} & modules
        assert not {"pydantic", "jsonschema"} & packages
