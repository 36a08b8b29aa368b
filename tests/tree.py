"""Working copies of the project in which Snakemake is run."""

import csv
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("Snakefile", "config", "resources", "workflow", "profiles", "tests/workflow/tiny.yaml")
TINY = "tests/workflow/tiny.yaml"


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a table."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def same_content(one: Path, other: Path, stage: str) -> bool:
    """Whether two HDF5 files hold the same, bit for bit; HDF5 may have laid it out otherwise."""
    from deep_restoration.files.hdf5 import open_hdf5

    def content(path: Path) -> list:
        with open_hdf5(path, stage) as file:
            found = [(key, str(value)) for key, value in file.attrs.items()]
            for name, data in file.items():
                attributes = {key: str(value) for key, value in data.attrs.items()}
                values = data[...]
                raw = values.tolist() if values.dtype.hasobject else values.tobytes()
                found.append((name, data.shape, data.chunks, str(data.dtype), attributes, raw))
        return found

    return content(one) == content(other)


# Plans are many, and most of a plan is the import of Snakemake: each is a fork of one process that did it.
PLANS = multiprocessing.get_context("forkserver")
PLANS.set_forkserver_preload(["snakemake.cli"])


def _snakemake(arguments: list[str], root: Path, environment: dict[str, str], output: Path) -> None:
    """In a process of its own: `python -m snakemake` with these arguments."""
    from snakemake.cli import main

    os.chdir(root)
    os.environ.clear()
    os.environ.update(environment)
    with output.open("w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    sys.argv = ["snakemake", *arguments]
    main(arguments)


class Tree:
    """A working copy with its own results."""

    def __init__(self, root: Path):
        self.root = root

    @classmethod
    def fresh(cls, root: Path) -> "Tree":
        for part in PARTS:
            source, target = ROOT / part, root / part
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_symlink():
                target.symlink_to(os.readlink(source))
            elif source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target)
        return cls(root)

    def command(self, *arguments: str, configs: tuple[str, ...] = ()) -> list[str]:
        files = ["--configfile", TINY, *configs]
        return [sys.executable, "-m", "snakemake", *arguments, *files]

    def environment(self, **more: str) -> dict[str, str]:
        without = ("PYTHONPATH", "RESTORATION_STORE")
        return {key: v for key, v in os.environ.items() if key not in without} | more

    def snakemake(
        self, *arguments: str, configs: tuple[str, ...] = (), check: bool = True, **more: str
    ) -> subprocess.CompletedProcess:
        done = subprocess.run(
            self.command(*arguments, configs=configs),
            cwd=self.root,
            env=self.environment(**more),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=3600,  # for slow machines that are busy with other things
        )
        if check and done.returncode:
            pytest.fail(f"snakemake {' '.join(arguments)} failed:\n{done.stdout[-6000:]}")
        return done

    def planned(self, *configs: str) -> dict[str, int]:
        """Rule -> number of jobs that a run of the tiny study would start now."""
        return self.plan("--configfile", TINY, *configs)

    def plan(self, *arguments: str) -> dict[str, int]:
        """Rule -> number of jobs that `snakemake` with these arguments would start now."""
        file = self.root / ".snakemake" / "plan.txt"
        file.parent.mkdir(exist_ok=True)
        more = (["--dry-run", *arguments], self.root, self.environment(), file)
        process = PLANS.Process(target=_snakemake, args=more)
        process.start()
        process.join(600)
        output = file.read_text()
        assert process.exitcode == 0, output
        if "Nothing to be done" in output:
            return {}
        stats = output.split("Job stats:")[1].split("total")[0]
        return {name: int(count) for name, count in re.findall(r"^(\w+)\s+(\d+)$", stats, re.M)}

    def config(self, name: str, text: str) -> str:
        (self.root / name).write_text(text)
        return name

    @contextmanager
    def edited(self, file: str, old: str, new: str) -> Iterator[None]:
        path = self.root / file
        before = path.read_text()
        assert before.count(old) >= 1, f"{file} does not hold {old!r}"
        path.write_text(before.replace(old, new, 1))
        try:
            yield
        finally:
            path.write_text(before)
