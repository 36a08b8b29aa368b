"""What reruns when code or a file changes: the table of the README, case by case.

Snakemake judges code by the fingerprint among a rule's params alone, so that most edits are tried on
fingerprints and on the workflow's graph, as Snakemake recorded and draws them. Those in PLANNED are planned
for real, which shows that both are the same.
"""

import json
import os
import re
import shutil

import pytest

from deep_restoration.jobs.fingerprint import Library
from tests.tree import Tree
from tests.workflow.reruns import (
    ADDED,
    CLASSIFIED,
    COMPARED,
    DENOISED,
    GATHERED,
    INVERTED,
    LEARNED,
    MAPPED,
    MEASURED,
    MOVED,
    PAPERS,
    STARTED,
    TIMED,
    TOLD,
    VISUALISED,
    Reconstructed,
)

EDITS = {
    "a comment in a library module": (
        "workflow/deep_restoration/inversion/optimisers.py",
        "    def start_phase(self) -> None:\n        pass",
        "    # nothing to reset\n    def start_phase(self) -> None:\n        pass",
        set(),
    ),
    "the format of the log": (
        "workflow/deep_restoration/jobs/job.py",
        "%(asctime)s %(message)s",
        "%(asctime)s | %(message)s",
        set(),
    ),
    "how often a job looks for Snakemake": (
        "workflow/deep_restoration/runtime/parallel.py",
        "time.sleep(0.5)",
        "time.sleep(1.5)",
        set(),
    ),
    "the advice of an error": (
        "workflow/deep_restoration/files/atomic.py",
        "delete it and run again",
        "remove it and run again",
        set(),
    ),
    "the mend of a full disk": (
        "workflow/deep_restoration/files/wording.py",
        'errno.ENOSPC: "free some"',
        'errno.ENOSPC: "make room"',
        set(),
    ),
    "a line of the log": (
        "workflow/deep_restoration/inversion/search.py",
        "trial %d: %s gives",
        "trial %d: %s yields",
        set(),
    ),
    "a number beside words": (
        "workflow/deep_restoration/inversion/search.py",
        "LOST = 1e3",
        "LOST = 1e4",
        {"search"} | Reconstructed,
    ),
    "behaviour in metrics.py": (
        "workflow/deep_restoration/evaluation/metrics.py",
        "return -10 * np.log10",
        "return -10.5 * np.log10",
        {"evaluate"} | MEASURED | COMPARED | ADDED,
    ),
    "behaviour of a hand-crafted prior": (
        "workflow/deep_restoration/priors/total_variation.py",
        "return square.sum(1)",
        "return 2 * square.sum(1)",
        {"search"} | Reconstructed | STARTED | ADDED | VISUALISED,
    ),
    "behaviour of a learned prior's expert": (
        "workflow/deep_restoration/priors/experts.py",
        "(s * u).mul_(-2)",
        "(s * u).mul_(-3)",
        LEARNED
        | Reconstructed
        | {"train_feature_prior", "search", "fit_surrogates"}  # one script trains every prior
        | STARTED
        | ADDED
        | VISUALISED,
    ),
    "a script": (
        "workflow/scripts/plot_measures.py",
        "quality by layer",
        "quality of every layer",
        {"plot_measures", "report", "all"},
    ),
    "behaviour of stationarity": (
        "workflow/deep_restoration/statistics/stationarity.py",
        "if abs(ratio) > 1e-13",
        "if abs(ratio) > 1e-12",
        MAPPED,
    ),
    "behaviour of a sparsity measure": (
        "workflow/deep_restoration/statistics/sparsity.py",
        "(1 - activity) / (1 - 1 / count)",
        "1 - activity",
        MAPPED | {"evaluate"} | MEASURED,
    ),
    "behaviour of a distance between sets of maps": (
        "workflow/deep_restoration/statistics/comparison.py",
        "np.trace(one) + np.trace(two) - 2 * between",
        "np.trace(one) + np.trace(two) - 3 * between",
        {"evaluate"} | MEASURED,
    ),
    "behaviour of linear inverses": (
        "workflow/deep_restoration/linear/optimum.py",
        "1e-9 * flat.diagonal().mean()",
        "1e-8 * flat.diagonal().mean()",
        INVERTED,
    ),
    "behaviour of their study": (
        "workflow/deep_restoration/linear/study.py",
        "-10 * math.log10(mse)",
        "-20 * math.log10(mse)",
        INVERTED,
    ),
    "the training of inverters": (
        "workflow/deep_restoration/inverters/training.py",
        "warm=0.02",
        "warm=0.03",
        {"train_inverter"} | COMPARED | Reconstructed,
    ),
    "one figure": (
        "workflow/deep_restoration/figures/maps.py",
        "eigenvalue / largest",
        "share of the largest eigenvalue",
        {"plot_patches", "report", "all"},
    ),
    "the figure of stationarity": (
        "workflow/deep_restoration/figures/maps.py",
        "distance from Toeplitz",
        "distance from a Toeplitz matrix",
        {"plot_layers", "report", "all"},
    ),
    "the figures of linear inverses": (
        "workflow/deep_restoration/figures/maps.py",
        '"what edges change"',
        '"what the edges change"',
        {"plot_linear_inverse", "report", "all"},
    ),
    "the figure of a layer's statistics": (
        "workflow/deep_restoration/figures/maps.py",
        "np.quantile(np.abs(matrix), 0.995)",
        "np.quantile(np.abs(matrix), 0.99)",
        {"plot_statistics", "report", "all"},
    ),
    "how far restarts lie apart": (
        "workflow/deep_restoration/evaluation/restarts.py",
        "errors.std(axis=0, ddof=1)",
        "errors.std(axis=0, ddof=0)",
        {"measure_restarts"} | GATHERED,
    ),
    "how photographs are moved": (
        "workflow/deep_restoration/evaluation/moved.py",
        "top = MOST // 2",
        "top = 0",
        MOVED,
    ),
    "the order in which priors are added": (
        "workflow/deep_restoration/inversion/prior_selection.py",
        '"shallow": left[:1]',
        '"shallow": left[1:2]',
        ADDED,
    ),
    "the figure of several restarts": (
        "workflow/deep_restoration/figures/study.py",
        'cmap="magma"',
        'cmap="viridis"',
        {"plot_restarts", "report", "all"},
    ),
    "the figure of added priors": (
        "workflow/deep_restoration/figures/study.py",
        "priors added",
        "priors of feature maps added",
        {"plot_prior_selection", "report", "all"},
    ),
    "what is unnatural": (
        "workflow/deep_restoration/priors/discrimination.py",
        "10 / 255 * noise",
        "12 / 255 * noise",
        TOLD,
    ),
    "how an image is denoised": (
        "workflow/deep_restoration/priors/denoising.py",
        "LEFT = 0.6",
        "LEFT = 0.5",
        DENOISED,
    ),
    "the figure of discrimination": (
        "workflow/deep_restoration/figures/priors.py",
        "energy is further off",
        "energy is far off",
        {"plot_discrimination", "plot_discrimination_of_maps", "report", "all"},
    ),
    "the sentence of a verdict": (
        "workflow/deep_restoration/report/assembly.py",
        "too small to tell",
        "too few positions to tell",
        {"report", "all"},
    ),
    "the training of the classifier": (
        "workflow/deep_restoration/networks/exemplar.py",
        "weight_decay=1e-3",
        "weight_decay=1e-4",
        CLASSIFIED,
    ),
    "the loop of all trainings": (
        "workflow/deep_restoration/runtime/training.py",
        "step == options.steps - 1",
        "step == options.steps - 2",
        CLASSIFIED | LEARNED,
    ),
    "a published figure": (
        "resources/published/mahendran2015.csv",
        "20.3,5.0",
        "20.4,5.0",
        {"published_tables", "plot_published", "report", "all"},
    ),
    "what the papers measure": (
        "workflow/deep_restoration/evaluation/paper_measures.py",
        "distance / norm",
        "distance / (norm + 1e-9)",
        PAPERS,
    ),
    "when a quality is reached": (
        "workflow/deep_restoration/evaluation/time_to_quality.py",
        "found[1] >= threshold",
        "found[1] > threshold",
        TIMED,
    ),
    "the figure of details": (
        "workflow/deep_restoration/figures/closeups.py",
        "0.995",
        "0.99",
        {"plot_details", "report", "all"},
    ),
    "a caption": (
        "workflow/report/gallery.rst",
        "Images reconstructed",
        "Pictures reconstructed",
        {"report", "all"},
    ),
}


# Nothing, one rule, many: what the other edits rest on. Files that are inputs have no fingerprint.
PLANNED = [
    "a comment in a library module",
    "behaviour in metrics.py",
    "a script",
    "the training of the classifier",
    "a published figure",
    "a caption",
]


@pytest.mark.parametrize("change", PLANNED)
def test_changed_source_reruns_exactly(finished, change):
    *edit, expected = EDITS[change]
    with finished.edited(*edit):
        assert set(finished.planned()) == expected


def fingerprints(tree):
    library = Library(tree.root / "workflow/deep_restoration")
    scripts = (tree.root / "workflow/scripts").glob("*.py")
    return {path.name: library.fingerprint(path) for path in scripts}


@pytest.fixture(scope="module")
def before(finished):
    """The fingerprint of every script."""
    return fingerprints(finished)


@pytest.fixture(scope="module")
def scripts(finished, before):
    """Rule -> its script, by the fingerprint that Snakemake recorded among the rule's params."""
    names, found = {value: script for script, value in before.items()}, {}
    for path in (finished.root / ".snakemake/metadata").rglob("*"):
        if path.is_file():
            record = json.loads(path.read_text())
            (code,) = {value.strip("'") for value in record["params"]} & set(names)
            assert found.setdefault(record["rule"], names[code]) == names[code]
    return found


@pytest.fixture(scope="module")
def jobs(finished):
    """Job -> its rule, and job -> the jobs that read what it writes."""
    drawn = finished.snakemake("--dag").stdout
    rules = dict(re.findall(r'^\t(\d+)\[label = "(\w+)', drawn, re.M))
    users = {job: [] for job in rules}
    for maker, user in re.findall(r"^\t(\d+) -> (\d+)", drawn, re.M):
        users[maker].append(user)
    return rules, users


def rerun(changed, jobs):
    """The rules of all jobs that follow from those of the rules given."""
    rules, users = jobs
    found, todo = set(), [job for job, rule in rules.items() if rule in changed]
    while todo:
        job = todo.pop()
        if job not in found:
            found.add(job)
            todo += users[job]
    return {rules[job] for job in found}


@pytest.mark.parametrize("change", [name for name in EDITS if EDITS[name][0].endswith(".py")])
def test_changed_code_changes_the_fingerprints_of_exactly(finished, before, scripts, jobs, change):
    *edit, expected = EDITS[change]
    with finished.edited(*edit):
        now = fingerprints(finished)
    changed = {rule for rule, script in scripts.items() if now[script] != before[script]}
    assert rerun(changed, jobs) == expected


def test_every_rule_that_runs_a_script_has_its_fingerprint(before, scripts, jobs):
    assert set(jobs[0].values()) - set(scripts) == {"all"}
    # The others only shards, targets of their own and annealings that are shrunk need.
    others = {"gather.py", "gather_tables.py", "statistics_shard.py", "learn_shrinkage.py"}
    others |= {"denoising_levels.py", "denoising_levels_table.py", "denoising_agreement.py"}
    assert set(before) - set(scripts.values()) == others


def test_touched_files_rerun_nothing(finished):
    for path in ("results/images/train.h5", "results/patches/images.h5", "results/images/test.h5"):
        os.utime(finished.root / path)
    for folder in ("workflow", "config", "Snakefile"):
        for path in [finished.root / folder, *(finished.root / folder).rglob("*")]:
            os.utime(path)
    assert finished.planned() == {}


def test_a_copied_tree_reruns_nothing(finished, tmp_path):
    def copy(source, target):  # with fresh time stamps
        return shutil.copyfile(source, target)

    shutil.copytree(finished.root, tmp_path / "copy", copy_function=copy, symlinks=True)
    assert Tree(tmp_path / "copy").planned() == {}
