"""Rules say what they do, and are written as Snakemake's linter wants them, in every study."""

import re
from collections import Counter

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


def readers_of_statistics(tree, *configs):
    """Rule -> the number of jobs of it that read the statistics of a layer."""
    drawn = tree.snakemake("--dag", configs=configs).stdout
    rules = dict(re.findall(r'^\t(\d+)\[label = "(\w+)', drawn, re.M))
    edges = re.findall(r"^\t(\d+) -> (\d+)", drawn, re.M)
    makers = ("feature_statistics", "gather_statistics")
    return Counter(rules[reader] for maker, reader in edges if rules[maker] in makers)


def test_jobs_read_statistics_where_a_data_term_is_fitted_to_them(tree):
    fitted = "{pure: {data: whitened}, tv+features: {data: whitened}}"
    whitened = tree.config("whitened.yaml", f"{{shards: 2, recipes: {fitted}}}")
    more = readers_of_statistics(tree, whitened)
    more.subtract(readers_of_statistics(tree, "shards.yaml"))
    assert {rule: number for rule, number in more.items() if number} == {
        **{"search": 2, "reconstruct_shard": 8, "gather_reconstructions": 4},
        **{"reconstruct_restarts_shard": 4, "gather_restarts": 2},
        "select_priors": 1,  # of two layers, the one that has another in front of it
    }
