"""What a study will cost, stage by stage, from the benchmark files of a smaller run that was made.

python benchmarks/cost.py --study config/paper.yaml --plan plan.txt --run FOLDER [FILE ...] > docs/cost.md

`--plan`: what `snakemake -n --configfile config/paper.yaml` printed. `--run`, as often as there are runs: the
folder with logs/ and results/, and the configuration files on top of what they start from.

The work of every job is counted (study_work.py). Two rates of this machine, operations and bytes a
second, and the time of a pass through a network are fitted to the reconstructions of the first run; each
rule then has a factor, measured / counted, for all that is not counted. A GPU's seconds are the same
work at a share of its data sheet's rates, times that factor: an assumption, not a measurement.
"""

from __future__ import annotations

import argparse
import csv
import re
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.optimize import nnls
from study_work import Counter, Job, Work, study

# Folders of benchmark files -> rules of the plan.
RULES = {"statistics": ["feature_statistics"], "patches": ["image_patches", "feature_patches"]}
RULES["discrimination"] = ["discrimination_of_maps"]
ON_CPU = ("images", "classifier", "patches")  # by NumPy, or hardly any work
FILES = {  # of a job's results, whose size is counted
    "images": "images/{}.h5",
    "classifier": "classifiers/{}.safetensors",
    "features": "features/{}.h5",
    "statistics": "statistics/{}.h5",
    "patches": "patches/{}.h5",
    "train_prior": "priors/{}.safetensors",
    "train_feature_prior": "priors/{}.safetensors",
    "train_inverter": "inverters/{}.safetensors",
    "reconstruct": "reconstructions/{}.h5",
    "reconstruct_restarts": "restarts/{}.h5",
    "visualise": "visualisations/{}.h5",
    "select_priors": "prior_selection/{}.h5",
}


class Measured(NamedTuple):
    """cpu: seconds of all cores. memory: bytes, resident at most."""

    cpu: float
    memory: float


class Run(NamedTuple):
    root: Path
    jobs: list[Job]
    measured: dict[tuple[str, str], Measured]


# ------------------------------------------------------------------------------ what was measured


def last_look(seconds: float) -> float:
    """When Snakemake last looked at a job's CPU time: every half second for 16 seconds, then every 30."""
    return seconds if seconds < 16 else 16 + 30 * ((seconds - 16) // 30)


def measurements(logs: Path) -> dict[tuple[str, str], Measured]:
    """Of every job by rule and name. CPU time is scaled from Snakemake's last look to the job's end."""
    found = {}
    for path in sorted((logs / "benchmarks").rglob("*.tsv")):
        rule, *rest = path.relative_to(logs / "benchmarks").with_suffix("").parts
        name = "/".join(rest)
        with open(path, newline="") as file:
            row = next(csv.DictReader(file, delimiter="\t"))
        if "NA" in (row["cpu_time"], row["max_rss"]) or float(row["cpu_time"]) <= 0:
            continue
        seconds = float(row["s"])
        cpu = float(row["cpu_time"]) * seconds / last_look(seconds)
        found[rule, name] = Measured(cpu, float(row["max_rss"]) * 2**20)
    return found


def iterations_done(log: str, images: int, planned: int) -> tuple[float, float]:
    """Shares of the planned iterations of one phase that an image took in the mean, and the last one,
    from the log of a reconstruction whose images leave when they have converged."""
    done = [int(n) for n in re.findall(r" is done at iteration (\d+)", log)]
    done += [planned] * (images - len(done))
    return sum(done) / len(done) / planned, max(done) / planned


def read_run(folder: str, *files: str) -> Run:
    """A run's jobs with the iterations that they really took, and what was measured of them; without jobs
    that continued an earlier one, of which only the rest was measured."""
    import h5py

    root, plan, counts = Path(folder), study(*files), []
    for split in ("train", "test"):
        with h5py.File(root / f"results/images/{split}.h5") as file:
            counts.append(len(file["images"]))
    measured, jobs = measurements(root / "logs"), []
    for job in Counter(plan, *counts)():
        path = root / "logs" / job.rule / f"{job.name}.log"
        log = path.read_text(encoding="utf-8") if path.exists() else ""
        if " continuing from " in log:
            measured.pop((job.rule, job.name), None)
        if job.rule == "reconstruct":
            phases = plan["recipes"][job.name.split("/")[-1]].get("phases") or []
            if len(phases) == 1:
                shares = iterations_done(log, counts[1], phases[0]["iterations"])
                job = job._replace(work=job.work.times(*shares))
        jobs.append(job)
    return Run(root, jobs, measured)


# ------------------------------------------------------------------------------ the model


class Machine(NamedTuple):
    """Seconds of an operation, of one in bfloat16, of a byte, and of a pass through a network."""

    flop: float
    mixed_flop: float
    byte: float
    call: float

    def seconds(self, work: Work) -> float:
        flop = self.mixed_flop if work.mixed else self.flop
        return work.flops * flop + work.bytes * self.byte + work.calls * self.call


def fit_machine(pairs: list[tuple[Work, float]], gflops: float) -> Machine:
    """Seconds of a byte and of a pass, none negative, with the least squares of relative errors of these
    jobs' CPU seconds, at a core's rate in large convolutions: operations and bytes of one network grow
    together, so that the jobs cannot tell all three. The CPU's bfloat16 is taken to be no faster."""
    flop = 1e-9 / gflops
    rows = np.array([[w.bytes, w.calls] for w, _ in pairs])
    seconds = np.array([s for _, s in pairs])
    rest = 1 - np.array([w.flops * flop for w, _ in pairs]) / seconds
    scale = np.where(rows.max(0) > 0, rows.max(0), 1)
    found, _ = nnls(rows / scale / seconds[:, None], rest)
    byte, call = found / scale
    return Machine(flop, flop, float(byte), float(call))


def gpu(tflops: float, mixed_tflops: float, bandwidth: float, share: float, call: float) -> Machine:
    """A GPU at a share of its data sheet's rates; `call` in milliseconds."""
    return Machine(
        1 / (tflops * 1e12 * share),
        1 / (mixed_tflops * 1e12 * share),
        1 / (bandwidth * 1e12 * share),
        call / 1000,
    )


class Rule(NamedTuple):
    """start: seconds of a job without work. factor: measured / counted seconds beyond that. base: bytes
    of a job without work, and slope: resident bytes for each counted one. spread: of measured / predicted
    seconds, the standard deviation of the logarithm. tells: whether the jobs measured were large enough for
    a factor of their own; otherwise it is 1, that of the reconstructions."""

    start: float
    factor: float
    base: float
    slope: float
    spread: float
    measured: int
    tells: bool


def fit_rule(pairs: list[tuple[Work, Measured]], machine: Machine, start: float) -> Rule:
    counted = np.array([machine.seconds(work) for work, _ in pairs])
    seconds = np.array([found.cpu for _, found in pairs])
    start = min(start, 0.9 * seconds.min())
    # Jobs that are mostly their own start tell nothing of a factor.
    tells = counted.sum() > 0.5 * start * len(pairs)
    factor = float((seconds - start).sum() / counted.sum()) if tells else 1.0
    predicted = start + factor * counted
    arrays = np.array([[1.0, work.memory / 2**30] for work, _ in pairs])
    resident = np.array([found.memory / 2**30 for _, found in pairs])
    (base, slope), _ = nnls(arrays, resident)
    # Too few or too small jobs to tell how memory grows: as it is counted.
    if arrays[:, 1].max() < 0.1 or slope == 0:
        base, slope = float(resident.min()), 1.0
    spread = float(np.log(seconds / predicted).std())
    return Rule(start, factor, base * 2**30, float(slope), spread, len(pairs), tells)


def fit_rules(runs: list[Run], machine: Machine, start: float) -> dict[str, Rule]:
    """Of every rule from the first run that has its jobs: the one named first counts."""
    rules: dict[str, Rule] = {}
    for run in runs:
        pairs = defaultdict(list)
        for job in run.jobs:
            if (found := run.measured.get((job.rule, job.name))) is not None:
                pairs[job.rule].append((job.work, found))
        for name, known in pairs.items():
            rules.setdefault(name, fit_rule(known, machine, start))
    return rules


def measured_work(runs: list[Run], rule: str) -> list[tuple[Job, Measured]]:
    return [
        (job, run.measured[rule, job.name])
        for run in runs
        for job in run.jobs
        if job.rule == rule and (rule, job.name) in run.measured
    ]


# ------------------------------------------------------------------------------ tables


def plan_counts(text: str) -> dict[str, int]:
    """Jobs by rule from a dry run's `Job stats`."""
    table = re.search(r"^Job stats:\n(.*?)^total", text, re.M | re.S)
    if table is None:
        raise ValueError("the plan holds no `Job stats`; it is what `snakemake -n` prints")
    return {name: int(n) for name, n in re.findall(r"^(\w+) +(\d+)$", table[1], re.M)}


def check_counts(jobs: list[Job], planned: dict[str, int]) -> None:
    """Raise ValueError where Snakemake plans another number of jobs than were counted."""
    counted: dict[str, int] = defaultdict(int)
    for job in jobs:
        counted[job.rule] += 1
    for rule, number in counted.items():
        expected = sum(planned.get(name, 0) for name in RULES.get(rule, [rule]))
        if number != expected:
            raise ValueError(f"{rule}: {number} jobs counted, {expected} planned by Snakemake")


def size(value: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if value >= 10 or unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"


def hours(seconds: float) -> str:
    return f"{seconds / 3600:,.1f}" if seconds < 360000 else f"{seconds / 3600:,.0f}"


def stage_table(
    jobs: list[Job], rules: dict[str, Rule], machine: Machine, card: Machine
) -> tuple[list[str], dict[str, float]]:
    """Rows of the table, and sums."""
    stages: dict[str, list[Work]] = defaultdict(list)
    for job in jobs:
        stages[job.rule].append(job.work)
    lines, total = [], defaultdict(float)
    for name, works in stages.items():
        disk = sum(work.disk for work in works)
        total["jobs"] += len(works)
        total["disk"] += disk
        row = [f"`{name}`", f"{len(works)}"]
        if (rule := rules.get(name)) is None:
            lines.append("| " + " | ".join([*row, "-", "-", "-", size(disk), "none"]) + " |")
            continue
        cpu = sum(rule.start + rule.factor * machine.seconds(work) for work in works)
        where = machine if name in ON_CPU else card
        factor = max(1.0, rule.factor)  # what the CPU has in its cache, a GPU may not have
        fast = sum(rule.start + factor * where.seconds(work) for work in works)
        memory = max(rule.base + rule.slope * work.memory for work in works)
        total["cpu"] += cpu
        row.append(hours(cpu))
        if name in ON_CPU:
            row.append("-")
        else:
            total["gpu"] += fast
            row.append(hours(fast))
        spread = f"{rule.measured}"
        if rule.tells:
            spread += f", x {rule.factor:.2g}, {100 * np.expm1(rule.spread):.0f} %"
        lines.append("| " + " | ".join([*row, size(memory), size(disk), spread]) + " |")
    return lines, total


def checked(runs: list[Run], gflops: float) -> list[str]:
    """One measured layer predicted from another: rows for the reconstructions."""
    lines = []
    pairs = measured_work(runs[:1], "reconstruct")
    layers = list(dict.fromkeys(job.name.split("/")[1] for job, _ in pairs))
    for source in layers:
        own = [(j.work, m.cpu) for j, m in pairs if j.name.split("/")[1] == source]
        rates = fit_machine(own, gflops)
        for target in layers:
            if target != source:
                other = [(j.work, m.cpu) for j, m in pairs if j.name.split("/")[1] == target]
                predicted = sum(rates.seconds(w) for w, _ in other)
                actual = sum(s for _, s in other)
                each = np.array([rates.seconds(w) / s for w, s in other])
                lines.append(
                    f"| `{source}` | `{target}` | {predicted:.0f} | {actual:.0f} "
                    f"| {100 * (predicted / actual - 1):+.0f} % "
                    f"| {each.min():.2f} to {each.max():.2f} |"
                )
    return lines


def files_checked(runs: list[Run]) -> list[str]:
    """Counted against real sizes of files."""
    lines = []
    for rule, pattern in FILES.items():
        found = [
            (job.work.disk, path.stat().st_size)
            for run in runs
            for job in run.jobs
            if job.rule == rule
            and (path := run.root / "results" / pattern.format(job.name)).exists()
        ]
        found = [pair for pair in found if pair[1] > 100_000]  # of smaller ones, headers are much
        if found:
            counted, real = (sum(column) for column in zip(*found, strict=True))
            worst = max(abs(a / b - 1) for a, b in found)
            lines.append(
                f"| `{rule}` | {len(found)} | {size(counted)} | {size(real)} "
                f"| {100 * (counted / real - 1):+.2f} % | {100 * worst:.1f} % |"
            )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--study", nargs="+", required=True)
    parser.add_argument("--train", type=int, default=48000, help="training images")
    parser.add_argument("--test", type=int, default=2000, help="test images")
    parser.add_argument("--plan", help="output of snakemake -n")
    parser.add_argument("--run", nargs="+", action="append", required=True)
    parser.add_argument("--start", type=float, default=4.0, help="CPU s of a job without work")
    parser.add_argument("--gflops", type=float, default=94, help="of a core in large convolutions")
    parser.add_argument("--tflops", type=float, default=67, help="its float32 rate")
    parser.add_argument("--mixed-tflops", type=float, default=989, help="its bfloat16 rate")
    parser.add_argument("--bandwidth", type=float, default=3.35, help="TB/s of its memory")
    parser.add_argument("--share", type=float, default=0.3, help="of these that is reached")
    parser.add_argument("--call", type=float, default=5.0, help="ms of a pass, at least")
    options = parser.parse_args()

    runs = [read_run(*entry) for entry in options.run]
    machine = fit_machine(
        [
            (job.work, found.cpu)
            for rule in ("reconstruct", "search")  # of many images and of few
            for job, found in measured_work(runs[:1], rule)
        ],
        options.gflops,
    )
    rules = fit_rules(runs, machine, options.start)
    jobs = list(Counter(study(*options.study), options.train, options.test)())
    planned = {}
    if options.plan:
        planned = plan_counts(Path(options.plan).read_text(encoding="utf-8"))
        check_counts(jobs, planned)
    card = gpu(options.tflops, options.mixed_tflops, options.bandwidth, options.share, options.call)
    lines, total = stage_table(jobs, rules, machine, card)
    head = "stage", "jobs", "CPU hours", "GPU hours", "memory of a job", "disk", "measured"
    print(f"| {' | '.join(head)} |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(lines))
    print(
        f"| all | {total['jobs']:.0f} | {hours(total['cpu'])} | {hours(total['gpu'])} | | "
        f"{size(total['disk'])} | |"
    )
    if planned:
        rest = sum(planned.values()) - total["jobs"]
        print(
            f"\nSnakemake plans {sum(planned.values()):,} jobs; the other {rest:,.0f} draw and gather."
        )
    print(
        f"\nThis machine: {1e-9 / machine.flop:.1f} GFLOP/s, "
        f"{1e-9 / machine.byte:.2f} GB/s, "
        f"{1000 * machine.call:.1f} ms a pass."
    )
    print(
        "\n| from | to | predicted CPU s | measured | error | single recipes |\n|---|---|---|---|---|---|"
    )
    print("\n".join(checked(runs, options.gflops)))
    print(
        "\n| files of | number | counted | real | all together | worst file |\n|---|---|---|---|---|---|"
    )
    print("\n".join(files_checked(runs)))


if __name__ == "__main__":
    main()
