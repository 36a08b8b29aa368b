"""The whole chain on the tiny study: what it makes, that it is done, that it is reproducible."""

import csv
import subprocess
import sys

from tests.tree import ROOT, Tree

COLUMNS = (
    "classifier,layer,recipe,image,mse,psnr,ssim,ssim_luminance,ssim_contrast,ssim_structure,"
    "representation_error,seconds"
)
RECIPES = ["pure", "tv", "mahendran2015", "mahendran2016", "ica", "inverter_joint"]


def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_table_has_a_row_for_every_layer_recipe_and_image(finished):
    path = finished.root / "results/tables/reconstruction.csv"
    assert path.read_text().splitlines()[0] == COLUMNS
    found = {(row["layer"], row["recipe"], row["image"]) for row in rows_of(path)}
    names = ("chelsea-000", "coffee-000")
    assert found == {(la, r, i) for la in ("conv1", "conv2") for r in RECIPES for i in names}


def test_summary_is_the_mean_of_the_table_within_its_interval(finished):
    tables = finished.root / "results/tables"
    rows = rows_of(tables / "reconstruction.csv")
    for line in rows_of(tables / "reconstruction_summary.csv"):
        mine = [
            float(r["ssim"])
            for r in rows
            if r["layer"] == line["layer"] and r["recipe"] == line["recipe"]
        ]
        assert abs(float(line["ssim"]) - sum(mine) / len(mine)) < 1e-12
        assert float(line["ssim_low"]) <= float(line["ssim"]) <= float(line["ssim_high"])


def test_report_stands_alone_and_shows_every_figure(finished):
    html = (finished.root / "results/report.html").read_text()
    pictures = list((finished.root / "results/figures").rglob("*.png"))
    assert html.count("data:image/png;base64,") == len(pictures) == 15
    assert all(path.with_suffix(".svg").exists() for path in pictures)
    for outside in ('src="http', 'href="http', "url(http", '<link rel="stylesheet'):
        assert outside not in html


def test_every_job_left_a_log_and_a_benchmark(finished):
    logs = {
        p.relative_to(finished.root / "logs").with_suffix("")
        for p in (finished.root / "logs").rglob("*.log")
    }
    folder = finished.root / "logs/benchmarks"
    benchmarks = {p.relative_to(folder).with_suffix("") for p in folder.rglob("*.tsv")}
    assert benchmarks == logs
    assert len(logs) == 40


def test_no_temporary_file_or_checkpoint_remains(finished):
    left = [
        p
        for p in (finished.root / "results").rglob("*")
        if ".tmp" in p.name or "checkpoint" in p.name
    ]
    assert left == []


def test_second_run_has_nothing_to_do(finished):
    assert finished.planned() == {}


def test_two_clean_runs_give_identical_results(finished, tmp_path):
    again = Tree.fresh(tmp_path / "again")
    again.snakemake("results/tables/reconstruction.csv")
    for path in sorted((again.root / "results").rglob("*")):
        name = path.relative_to(again.root / "results")
        twin = finished.root / "results" / name
        if path.suffix in (".h5", ".safetensors"):
            assert path.read_bytes() == twin.read_bytes(), name
    tables = [tree.root / "results/tables/reconstruction.csv" for tree in (again, finished)]
    here, there = (
        [{k: v for k, v in r.items() if k != "seconds"} for r in rows_of(t)] for t in tables
    )
    assert here == there


def test_shipped_configurations_are_planned(tmp_path):
    tree = Tree.fresh(tmp_path / "tree")
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--quiet"]
    done = subprocess.run(
        command, cwd=tree.root, env=tree.environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_lint_is_clean():
    command = [sys.executable, "-m", "snakemake", "--lint"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_snakefmt_is_clean():
    command = [sys.executable, "-m", "snakefmt", "--check", "Snakefile", "workflow/rules"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
