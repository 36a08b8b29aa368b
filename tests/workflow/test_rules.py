"""Rules say what they do, and are written as Snakemake's linter wants them, in every study."""

import re

import pytest

from tests.tree import Tree


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """The tiny study, which has all the stages that a study may leave out, and shards of them."""
    tree = Tree.fresh(tmp_path_factory.mktemp("rules") / "tree")
    tree.config("shards.yaml", "shards: 2")
    return tree


def test_every_rule_says_in_one_sentence_what_it_does(tree):
    done = tree.snakemake("--list-rules", configs=("shards.yaml",))
    listed = dict(re.findall(r"^([a-z_]+)(?: \((.*)\))?$", done.stdout, re.M))
    assert {"all", "images", "select_priors", "reconstruct_restarts_shard"} <= set(listed)
    silent = [name for name, text in listed.items() if not re.fullmatch(r"[A-Z][^.]+\.", text)]
    assert silent == []
    assert len(set(listed.values())) == len(listed), "two rules say the same"


def test_snakemake_finds_nothing_to_mend(tree):
    done = tree.snakemake("--lint", configs=("shards.yaml",), check=False)
    assert "your workflow is in a good condition" in done.stdout, done.stdout
