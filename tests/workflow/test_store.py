"""Two working copies that share a store: nothing is done twice, and nothing stale is served."""

import shutil

import pytest

from tests.tree import ROOT, Tree

pytestmark = pytest.mark.slow

TARGET = "results/tables/reconstruction_summary.csv"
# One layer, one recipe, its prior and its inverse network, over the tiny study.
SMALL = """
images: {test: photographs}
classifiers: {alexnet: {layers: [conv1]}}
patches: {images: null, features: null}
priors: {ica: null, dae: null, wiener: null, features: null, edge: null}
inverters: {joint: {replicates: 1}, end_to_end: null}
recipes:
  {pure: null, tv: null, mahendran2015: null, mahendran2016: null, foe: null, annealed: null,
   inverter_joint: null, tv+features: null, inverter_joint+foe: {extrapolate: null}}
visualisations: {channels: null, caricature: null, texture: null, style: null, attribution: null}
restarts: null
prior_selection: null
"""
SHARED = {
    "images/train",
    "images/test",
    "classifier/alexnet",
    "patches/small",
    "train_prior/foe",
    "train_inverter/alexnet/conv1/joint/0",
    "reconstruct/alexnet/conv1/inverter_joint+foe",
    "evaluate/alexnet/conv1",
}
RECONSTRUCTED = {name for name in SHARED if name.startswith(("reconstruct", "evaluate"))}


class SharingTree(Tree):
    """A working copy with photographs of its own and a store."""

    def prepare(self, store):
        from skimage import data, io

        self.store = store
        self.config("small.yaml", SMALL)
        (self.root / "photographs").mkdir()
        for name, crop in {"a": (0, 64), "b": (100, 180)}.items():
            picture = data.chelsea()[crop[0] : crop[1], 150:250]
            io.imsave(self.root / f"photographs/{name}.png", picture, check_contrast=False)
        return self

    def study(self, text="", **more):
        """Run the study with a change; job -> whether it was `taken` or `computed`, of those that ran."""
        shutil.rmtree(self.root / "logs", ignore_errors=True)
        configs = ("small.yaml", self.config("change.yaml", text or "{}"))
        self.snakemake(TARGET, configs=configs, **{"RESTORATION_STORE": str(self.store)} | more)
        logs = self.root / "logs"
        said = {str(path.relative_to(logs))[:-4]: path.read_text() for path in logs.rglob("*.log")}
        assert not any("Traceback" in text or "cannot be used" in text for text in said.values())
        return {
            name: "taken" if "taken from the store" in text else "computed"
            for name, text in said.items()
            if name in SHARED
        }

    def results(self):
        """Every result but the tables' time of writing."""
        folder = self.root / "results"
        files = [path for path in folder.rglob("*") if path.is_file()]
        return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    """Two working copies that did the same study one after the other, and what their jobs did."""
    root = tmp_path_factory.mktemp("sharing")
    first, second = (SharingTree.fresh(root / name).prepare(root / "store") for name in ("a", "b"))
    return first, second, first.study(), second.study()


@pytest.fixture
def second(copies):
    """The second working copy, as it was when it had taken everything."""
    first, second, *_ = copies
    assert second.results() == first.results()
    yield second
    assert second.results() == first.results()


def test_the_second_working_copy_computes_nothing(copies):
    first, second, did, took = copies
    assert did == dict.fromkeys(SHARED, "computed")
    assert took == dict.fromkeys(SHARED, "taken")
    assert second.results() == first.results()
    assert len(first.results()) >= len(SHARED)
    for rule in {"train_inverter", "images"}:  # what the store says of itself
        assert len(list(first.store.glob(f"{rule}/*/manifest.json"))) == 1 + (rule == "images")
    assert list(first.store.glob("unfinished/*")) == []


def test_what_was_taken_is_done_for_snakemake(copies):
    _, second, *_ = copies
    other = str(second.root / "another store")
    for store in (str(second.store), other, ""):
        output = second.snakemake(
            "--dry-run", TARGET, configs=("small.yaml",), RESTORATION_STORE=store
        ).stdout
        assert "Nothing to be done" in output


def test_a_changed_setting_is_computed_and_the_former_taken(second):
    change = "recipes: {inverter_joint+foe: {phases: [{iterations: 5, rate: 2.0}]}}"
    before = second.results()
    assert second.study(change) == dict.fromkeys(RECONSTRUCTED, "computed")
    path = "reconstructions/alexnet/conv1/inverter_joint+foe.h5"
    assert second.results()[path] != before[path]
    assert second.study() == dict.fromkeys(RECONSTRUCTED, "taken")


def test_a_changed_photograph_is_computed_and_the_former_taken(second):
    path, before = second.root / "photographs/b.png", second.results()
    kept = path.read_bytes()
    path.write_bytes((second.root / "photographs/a.png").read_bytes())
    behind = RECONSTRUCTED | {"images/test"}
    assert second.study() == dict.fromkeys(behind, "computed")
    for name in ("images/test.h5", "evaluation/alexnet/conv1.csv"):
        assert second.results()[name] != before[name]
    path.write_bytes(kept)
    assert second.study() == dict.fromkeys(behind, "taken")


def test_code_that_changes_numbers_is_computed_and_the_former_taken(second):
    before = second.results()["evaluation/alexnet/conv1.csv"]
    edit = (
        "workflow/deep_restoration/evaluation/metrics.py",
        "return -10 * np.log10",
        "return -11 * np.log10",
    )
    evaluated = {"evaluate/alexnet/conv1"}
    with second.edited(*edit):
        assert second.study() == dict.fromkeys(evaluated, "computed")
        assert second.results()["evaluation/alexnet/conv1.csv"] != before
    assert second.study() == dict.fromkeys(evaluated, "taken")


def test_the_stores_own_code_changes_no_key(second):
    source = (ROOT / "workflow/deep_restoration/jobs/store.py").read_text()
    assert "1 << 20" in source
    with second.edited("workflow/deep_restoration/jobs/store.py", "1 << 20", "1 << 19"):
        assert second.study() == {}
        shutil.rmtree(second.root / "results")
        assert second.study() == dict.fromkeys(SHARED, "taken")
