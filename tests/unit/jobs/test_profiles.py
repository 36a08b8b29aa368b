"""The profiles say the same where they must, and the cluster's knows every rule."""

import re
import runpy
from pathlib import Path

import pytest
import yaml
import yte

ROOT = Path(__file__).resolve().parents[3]
PROFILES = ROOT / "workflow" / "profiles"
CLUSTER = (PROFILES / "slurm" / "config.yaml").read_text()


def filled(**variables: str) -> dict:
    """The cluster's profile as Snakemake reads it, with some of its variables changed."""
    text = CLUSTER
    for name, value in variables.items():
        text, found = re.subn(rf"^  {name}: \S+", f"  {name}: {value}", text, flags=re.M)
        assert found == 1
    return yte.process_yaml(text, require_use_yte=True)


@pytest.fixture(scope="module")
def rules() -> dict[str, str]:
    """Rule -> its text, of all rules that run a script."""
    text = "".join(path.read_text() for path in sorted((ROOT / "workflow/rules").glob("*.smk")))
    parts = re.split(r"^ *rule (\w+):$", text, flags=re.M)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    for name, other in re.findall(r"use rule (\w+) as (\w+) with:", text):
        found[other] = found[name]
    return {name: body for name, body in found.items() if "script:" in body}


def test_what_decides_on_reruns_is_the_same_here_and_on_a_cluster():
    default = yaml.safe_load((PROFILES / "default" / "config.yaml").read_text())
    cluster = filled()
    here_only = {"cores", "resources"}
    assert {key: cluster.get(key) for key in default.keys() - here_only} == {
        key: value for key, value in default.items() if key not in here_only
    }


def test_jobs_that_want_a_gpu_go_to_its_partition(rules):
    profile = filled(gpu_partition="a100s", gpu_type="a100")
    wanting = {name for name, body in rules.items() if "gpu=gpu," in body}
    assert len(wanting) > 10
    asked = {rule: more for rule, more in profile["set-resources"].items() if rule in wanting}
    assert asked == {name: {"slurm_partition": "a100s", "gpu_model": "a100"} for name in wanting}
    others = {rule: more for rule, more in profile["set-resources"].items() if rule not in wanting}
    assert not any("slurm_partition" in more for more in others.values())
    assert filled()["set-resources"]["reconstruct"] == {"slurm_partition": "gpu"}
    several = filled(training_gpus="4")["set-resources"]
    assert several["train_inverter"] == {"slurm_partition": "gpu", "gpu": 4, "nodes": 1}
    assert "gpu" not in several["train_prior"]


def test_account_and_partition_are_those_written_at_the_top():
    assert "slurm_account" not in filled()["default-resources"]
    resources = filled(account="vision", cpu_partition="long")["default-resources"]
    assert (resources["slurm_account"], resources["slurm_partition"]) == ("vision", "long")


def test_figures_per_layer_or_visualisation_share_jobs_that_count_them_one_by_one(rules):
    profile = filled()
    figure = re.compile(r'"results/figures/[^"]*\{(layer|visualisation)\}[^"]*\.png"')
    per_layer = {name for name, body in rules.items() if figure.search(body)}
    assert len(per_layer) >= 5
    groups = profile["groups"]
    assert groups == {name: name for name in per_layer}
    assert profile["group-components"].keys() == per_layer
    counted = {name for name, more in profile["set-resources"].items() if "one_by_one" in more}
    assert counted == per_layer
    assert profile["resources"] == ["one_by_one=1"]
    assert profile["set-resource-scopes"] == ["one_by_one=local"]


def test_every_job_may_grow_and_none_asks_for_more_cores_than_the_cluster_gives(rules):
    for name, body in rules.items():
        assert "mem_mb=grows(" in body, name
        assert "runtime=grows(" in body, name
        threads = re.search(r"^ *threads: (\d+)$", body, re.M)
        assert not threads or int(threads[1]) <= filled()["cores"], name


def test_the_start_on_a_cluster_finds_what_it_imports():
    found = runpy.run_path(str(ROOT / "workflow/profiles/slurm/start"), run_name="imported")
    assert found["launch"].is_dry_run(["-n"])
