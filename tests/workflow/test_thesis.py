"""docs/thesis.md: every command can be planned."""

import re
from collections import defaultdict

import pytest

from tests.tree import ROOT, Tree

PAGE = (ROOT / "docs/thesis.md").read_text(encoding="utf-8")
TARGETS = defaultdict(list)  # by study
for arguments in re.findall(r"`snakemake ([^`]+)`", PAGE):
    targets, _, study = arguments.partition(" --configfile ")
    TARGETS[study] += targets.split()


def test_every_figure_of_the_thesis_has_its_command():
    rows = re.findall(r"^\| (\d+) \|.*`snakemake results/figures/", PAGE, re.M)
    assert rows == [str(number) for number in range(1, 11)]


@pytest.mark.parametrize("study", TARGETS)
def test_every_target_can_be_planned(study, tmp_path):
    tree = Tree.fresh(tmp_path / "tree")
    more = ["--configfile", study] if study else []
    assert sum(tree.plan("--cores", "2", *TARGETS[study], *more).values()) > 1
