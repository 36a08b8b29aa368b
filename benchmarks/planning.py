"""CPU seconds that Snakemake takes to plan a study, beside those of `snakemake --version`.

    python benchmarks/planning.py [ARGUMENTS FOR SNAKEMAKE, default: none, the default study]

Run in the folder that holds the results: where these are complete, a run with nothing to do is measured,
too. The first dry run has an empty cache (`files/kept.py`): a user's first plan of all. Medians
of several rounds, in turn.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SNAKEMAKE = (sys.executable, "-m", "snakemake")
VERSION = "--version"
ROUNDS = 5
GOAL = "1.5 x --version + 0.5"


def cpu_seconds(*arguments: str, **environment: str) -> float:
    """User and system time of one call, with those of its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [*SNAKEMAKE, *arguments]
    subprocess.run(command, env=os.environ | environment, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(*study: str) -> None:
    here = ["--snakefile", str(ROOT / "Snakefile"), *study]
    calls = {
        VERSION: [VERSION],
        "dry run": [*here, "--dry-run"],
        "--list-rules": [*here, "--list-rules"],
    }
    plan = subprocess.run([*SNAKEMAKE, *calls["dry run"]], capture_output=True, text=True)
    if "Nothing to be done" in plan.stdout + plan.stderr:
        calls["nothing to be done"] = here
    with tempfile.TemporaryDirectory() as empty:
        first = cpu_seconds(*calls["dry run"], RESTORATION_CACHE=empty)
    seconds = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, arguments in calls.items():
            seconds[name].append(cpu_seconds(*arguments))
    base = statistics.median(seconds[VERSION])
    for name, found in seconds.items():
        median = statistics.median(found)
        print(
            f"{name:20} {median:6.2f} s {median / base:6.2f} x   {min(found):.2f} to {max(found):.2f}"
        )
    print(f"{'first dry run':20} {first:6.2f} s {first / base:6.2f} x")
    print(f"{GOAL:20} {1.5 * base + 0.5:6.2f} s")


if __name__ == "__main__":
    main(*sys.argv[1:])
