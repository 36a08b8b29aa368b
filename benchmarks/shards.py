"""Shards: the same images reconstructed by one job and by two side by side; and what starting jobs costs.

python benchmarks/shards.py                            about two minutes on two idle cores
python benchmarks/shards.py overhead [folder]          of a finished run, from its logs/, default: here

The first runs a small study through Snakemake on two cores in a temporary folder, one thread per job: 16
images of 96 x 96 pixels in batches of 4 from the conv2 of an AlexNet trained on the spot, 1000 iterations
under total variation. It prints the seconds of the whole command, start of Snakemake and of Python, reading
torch and gathering included, and of the scripts alone; and whether the reconstructed images are the same, bit
for bit. The second compares the seconds of each job (Snakemake's benchmark files) with those that its
script gives in its log, which count from its first line: the difference is the start of a process.
Reading torch is part of the script's seconds, and measured here apart.
"""

import csv
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
STUDY = """
base: everything
images: {size: 96, embedded_train: 100, embedded_test: 16}
classifiers: {alexnet: {layers: [conv2]}}
exemplar: {steps: 20}
recipes:
  tv: {phases: [{iterations: 1000, rate: 8.0}], converged: null}
batch: 4
"""
Reconstructed = "results/reconstructions/alexnet/conv2/tv.h5"


def seconds_of(folder: Path) -> list[tuple[str, float, float]]:
    """Rule, seconds of the job and of its script, of every job that has both."""
    found = []
    for path in sorted((folder / "logs" / "benchmarks").rglob("*.tsv")):
        relative = path.relative_to(folder / "logs" / "benchmarks")
        log = folder / "logs" / relative.with_suffix(".log")
        inside = re.search(r"done in ([\d.]+) s", log.read_text()) if log.exists() else None
        if inside:
            with open(path, newline="") as file:
                job = float(next(csv.DictReader(file, delimiter="\t"))["s"])
            found.append((relative.parts[0].removesuffix(".tsv"), job, float(inside[1])))
    return found


def overhead(folder: Path) -> None:
    jobs = seconds_of(folder)
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", "import torch"], check=True)
    torch = time.monotonic() - started
    whole, inside = (sum(row[column] for row in jobs) for column in (1, 2))
    starts = np.median([job - script for _, job, script in jobs])
    drawing = [row for row in jobs if row[0].startswith(("plot_", "report", "tables", "images"))]
    reading = torch * (len(jobs) - len(drawing))
    print(f"{len(jobs)} jobs, {whole:.0f} s in all, {inside:.0f} s in their scripts")
    print(f"start of a job: {starts:.2f} s (median), {whole - inside:.0f} s in all")
    print(
        f"reading torch: {torch:.1f} s now; at that, at most {reading:.0f} s of the scripts' time"
    )
    print(f"share of both: {(whole - inside + reading) / whole:.0%}")


def compare() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, found = Path(folder), {}
        (root / "study.yaml").write_text(STUDY)

        def run(*arguments: str, shards: int = 1) -> float:
            (root / "shards.yaml").write_text(f"shards: {shards}\n")
            command = [sys.executable, "-m", "snakemake", *arguments, "--quiet", "all"]
            command += ["--snakefile", str(ROOT / "Snakefile"), "--directory", folder]
            command += ["--workflow-profile", str(ROOT / "workflow" / "profiles" / "default")]
            command += ["--cores", "2", "--configfile", "study.yaml", "shards.yaml"]
            started = time.monotonic()
            subprocess.run(command, check=True, cwd=folder)
            return time.monotonic() - started

        run("results/images/test.h5", "results/classifiers/alexnet.safetensors")
        print(f"{'shards':8}{'seconds':>9}{'of which in scripts, each':>27}")
        for shards in (1, 2):
            (root / Reconstructed).unlink(missing_ok=True)
            whole = run(Reconstructed, shards=shards)
            path = f"reconstruct/alexnet/conv2/tv{'.shards' * (shards > 1)}"
            logs = sorted((root / "logs").glob(f"{path}*.log" if shards == 1 else f"{path}/*.log"))
            inside = [re.search(r"done in ([\d.]+)", log.read_text())[1] for log in logs]
            found[shards] = whole, content(root / Reconstructed)
            print(f"{shards:<8}{whole:9.1f}{', '.join(inside):>27}")
        (one, before), (two, after) = found[1], found[2]
        same = np.array_equal(before, after)
        print(f"{one / two:.2f} times as fast; {'the same' if same else 'NOT the same'} images")


def content(path: Path) -> np.ndarray:
    from deep_restoration.files.hdf5 import open_hdf5

    with open_hdf5(path, "reconstructions") as file:
        return file["images"][...]


if sys.argv[1:2] == ["overhead"]:
    overhead(Path(sys.argv[2] if len(sys.argv) > 2 else "."))
else:
    compare()
