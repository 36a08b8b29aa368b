"""Results shared by studies and working copies: a job whose work was done before takes the files made then.

A store is a folder. `<rule>/<key>/` in it holds the files that a job wrote and `manifest.json`: the key's
material in clear, each file's SHA-256, and who made them. The key is the SHA-256 of all that decides
what the job writes:

- rule, wildcards, names of inputs and outputs: scripts write such names into their files;
- every param (settings, and `code`, the fingerprint of script and library), in the order it is handed
  over. Those in UNRECORDED, which Snakemake does not record either, say where files lie or what the study
  will ask of the result, not what is in it: of the images of a folder, names and hashes are among the
  other params, and the script that reads them stops when they are no longer these;
- the content of every input;
- the installed packages, Python, the kind of processor and of device (cpu or cuda).

A script has no other way to learn anything: tests/unit/jobs/test_store.py reads all of them for what they ask
of Snakemake. What the key says must still hold when the work is done: where an input, the script or the
library was touched meanwhile, or the device was another, nothing is published.

Not in the key is what only rounds: the number of threads and of GPUs, the model of either, what the
environment tells torch of speed. Sums are taken in another order and their last digits may differ, as they
do when a results tree moves to another machine or runs on more cores, for which Snakemake reruns nothing
either. Files say on which kind of device they were made, and hold seconds that are those of the machine
that the manifest names. Nor is this module: it moves bytes and decides none, and the fingerprint leaves
it out (fingerprint.ASIDE).

Snakemake's own cache (`--cache`) is not used: its key holds every param, also where a folder lies, but
without conda neither the installed packages nor the kind of device, and it does not check what it hands out.

Files are copied, by reference where the file system can, never linked: no working copy can change the
store or another. Standard library only: a job that finds its files imports nothing else.
"""

from __future__ import annotations

import ctypes
import fcntl
import glob
import hashlib
import json
import logging
import os
import platform
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..files import hashing

log = logging.getLogger(__name__)
FORMAT = 1  # of keys and manifests
UNRECORDED = frozenset({"folder", "store", "used", "least"})
HASHES = Path(".snakemake") / "deep_restoration" / "hashes.json"
LIBRARY = Path(__file__).resolve().parents[1]
FICLONE = 0x40049409  # Linux: copy by reference
UNFINISHED, DAMAGED = "unfinished", "damaged"  # folders beside those of rules


class DamagedError(Exception):
    """An entry that is not what it was when it was published; the message says why."""


class Entry:
    """The place of a job in its store, if it has one.

    A store that cannot be used is named in a warning, and the job goes on as if there were none.
    """

    def __init__(self, job) -> None:
        self.job, self.root = job, job.params.get("store")
        self.path: Path | None = None
        if not self.root:
            return
        with self._sparing_the_job():
            self.watched = [*job.input, _script(), *LIBRARY.rglob("*.py")]
            self.stamps = _stamps(self.watched)
            self.material = material(job)
            self.path = Path(self.root, job.rule, key(self.material))

    def fetch(self) -> bool:
        """Put the files of the entry in place, new as if they had just been made, if there is one.

        All are copied and checked before the first is moved. A damaged entry is moved aside.
        """
        if self.path is None:
            return False
        with self._sparing_the_job():
            if not self.path.is_dir():
                return False
            try:
                made = self._place(self.path)
            except DamagedError as error:
                log.warning("%s in the store is damaged (%s); computing it again", self.path, error)
                self._move_aside(self.path)
                return False
            with suppress(PermissionError):  # published by somebody who lets nobody else write
                os.utime(self.path)  # the folder's time stamp is that of its last use
            log.info("taken from the store: %s, made %s on %s", self.path, made["at"], made["host"])
            return True
        return False

    def store(self) -> None:
        """Copy the job's files into the store, where they appear all at once or not at all.

        Whoever publishes the same second leaves it at that.
        """
        if self.path is None or self.path.exists():
            return
        with self._sparing_the_job():
            if reason := self._no_longer_true():
                log.warning("not published in the store: %s", reason)
                return
            temporary = Path(self.root, UNFINISHED, _unique(self.path.name))
            try:
                for folder in (Path(self.root), temporary.parent, temporary, self.path.parent):
                    folder.mkdir(mode=0o775, exist_ok=True)
                files = []
                for index, output in enumerate(self.job.output):
                    name = f"{index}-{Path(output).name}"
                    _copy(output, temporary / name, 0o444)
                    files.append(
                        {"output": output, "name": name, "sha256": hashing.file_hash(output)}
                    )
                made = {
                    "at": time.strftime("%Y-%m-%d %H:%M"),
                    "host": socket.gethostname(),
                    "threads": self.job.threads,
                }
                manifest = {"material": self.material, "files": files, "made": made}
                _write(temporary / "manifest.json", json.dumps(manifest, indent=1))
                try:
                    os.rename(temporary, self.path)
                except OSError:
                    if not self.path.exists():
                        raise
                else:
                    log.info("published in the store: %s", self.path)
            finally:
                shutil.rmtree(temporary, ignore_errors=True)

    def _place(self, entry: Path) -> dict:
        """Copy, check, and move into place. Who made the files, of the manifest."""
        outputs = list(self.job.output)
        temporaries = [Path(path).with_name(f".{_unique(Path(path).name)}") for path in outputs]
        try:
            try:
                manifest = json.loads((entry / "manifest.json").read_text(encoding="utf-8"))
                if key(manifest["material"]) != entry.name:
                    raise DamagedError("its manifest is that of another job")
                if [file["output"] for file in manifest["files"]] != outputs:
                    raise DamagedError("its manifest names other files")
                for file, temporary in zip(manifest["files"], temporaries, strict=True):
                    temporary.parent.mkdir(parents=True, exist_ok=True)
                    _copy(entry / file["name"], temporary, 0o666)
                    if hashing.file_hash(temporary) != file["sha256"]:
                        raise DamagedError(f"{file['name']} is not as it was published")
                made = manifest["made"]
            except FileNotFoundError as error:
                raise DamagedError(f"{Path(error.filename).name} is missing") from None
            except (ValueError, KeyError, TypeError):
                raise DamagedError("manifest.json cannot be read") from None
            for temporary, output in zip(temporaries, outputs, strict=True):
                os.replace(temporary, output)
                for left in glob.glob(f"{glob.escape(output)}.*checkpoint"):
                    Path(left).unlink(missing_ok=True)  # of a computation that is not needed now
        finally:
            for temporary in temporaries:
                temporary.unlink(missing_ok=True)
        return made

    def _no_longer_true(self) -> str:
        """What of the key does not hold for the files just made; empty if all of it does."""
        from .fingerprint import fingerprint

        now = _stamps(self.watched)
        if touched := [str(path) for path in self.watched if now[path] != self.stamps[path]]:
            return f"{', '.join(touched[:3])} changed while the job ran"
        if fingerprint(_script(), LIBRARY) != self.job.params.code:
            return "code was edited after the run was planned"
        torch = sys.modules.get("torch")
        if torch and torch.cuda.is_available() != (self.material["device"] == "cuda"):
            return f"torch does not compute on {self.material['device']}, as the driver let expect"
        return ""

    def _move_aside(self, entry: Path) -> None:
        aside = Path(self.root, DAMAGED, f"{self.job.rule}.{_unique(entry.name)}")
        aside.parent.mkdir(mode=0o775, exist_ok=True)
        os.rename(entry, aside)

    @contextmanager
    def _sparing_the_job(self) -> Iterator[None]:
        try:
            yield
        except (OSError, SyntaxError) as error:
            log.warning("the store %s cannot be used: %s; going on without it", self.root, error)


def _script() -> str:
    """The file that this process runs."""
    file = sys.modules["__main__"].__file__
    assert file is not None
    return file


def material(job) -> dict:
    """All that decides what a job writes, as JSON."""
    return {
        "format": FORMAT,
        "rule": job.rule,
        "wildcards": dict(job.wildcards.items()),
        "params": {name: v for name, v in job.params.items() if name not in UNRECORDED},
        "inputs": hashing.content_hashes(".", list(job.input), HASHES),
        "input_names": dict(job.input.items()),
        "outputs": list(job.output),
        "output_names": dict(job.output.items()),
        "packages": packages(),
        "python": sys.version,
        "machine": platform.machine(),
        "device": device(),
    }


def key(of: dict) -> str:
    """SHA-256 of the material. Keys keep their order: a script may follow it."""
    return hashlib.sha256(json.dumps(of).encode()).hexdigest()


def packages() -> list[str]:
    """Every installed package with its version, but Snakemake's plugins, which no job imports."""
    found = set()
    for folder in filter(os.path.isdir, sys.path):
        found |= {name for name in os.listdir(folder) if name.endswith(".dist-info")}
    return sorted(name for name in found if not name.startswith("snakemake_"))


def device() -> str:
    """cuda where the driver shows this process a GPU, otherwise cpu: what torch will find, without it."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "cpu"
    count = ctypes.c_int(0)
    fine = driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
    return "cuda" if fine and count.value else "cpu"


def _stamps(paths: Iterable[str | os.PathLike]) -> dict:
    """What changes when a file is written to or replaced; None where there is none."""
    found: dict = dict.fromkeys(paths)
    for path in found:
        with suppress(FileNotFoundError):
            found[path] = hashing.stamp(path)
    return found


def _unique(name: str) -> str:
    """As in atomic.atomic, which removes what a dead process left beside a result."""
    return f"{name}.{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(4)}.tmp"


def _copy(source: str | os.PathLike, target: Path, mode: int) -> None:
    """Copy to a new file of this mode, less the umask."""
    with (
        open(source, "rb") as old,
        open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as new,
    ):
        try:
            fcntl.ioctl(new.fileno(), FICLONE, old.fileno())
        except OSError:
            shutil.copyfileobj(old, new, 1 << 20)
        new.flush()
        os.fsync(new.fileno())


def _write(path: Path, text: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
