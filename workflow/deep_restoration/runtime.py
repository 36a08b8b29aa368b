"""What every job needs around its mathematics: threads, device, seeds, logging, progress, checkpoints.

Import this module before torch: it makes OpenMP wait passively, which beside busy neighbours is
ten times faster than the default spinning.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import ctypes
import functools
import hashlib
import json
import logging
import math
import platform
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

from . import store

log = logging.getLogger("deep_restoration")


class DivergedError(RuntimeError):
    """An optimisation whose objective became NaN or infinite; the message names the iteration."""


EXPECTED = (ValueError, OSError, DivergedError)  # their message is all that a user needs


@contextmanager
def job(snakemake) -> Iterator[None]:
    """Surround a script of the given job: log to its file and to the terminal, write what breaks it into
    the log. Where the store has the job's files, they are put in place and the script ends here.

    Expected errors (EXPECTED) end the job with their message alone on the
    terminal; the log always holds the whole traceback.
    """
    end_with_parent()
    keep_memory()
    # Read by OpenMP and MKL when torch is imported.
    os.environ["OMP_NUM_THREADS"] = str(snakemake.threads)
    # NumPy's matrices are small here: a second thread of OpenBLAS, which spins, makes them up to ten
    # times slower beside a busy neighbour.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    Path(snakemake.log[0]).parent.mkdir(parents=True, exist_ok=True)
    to_file = logging.FileHandler(
        snakemake.log[0], "w", encoding="utf-8", errors="backslashreplace"
    )
    to_file.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    to_terminal = logging.StreamHandler(sys.stderr)
    to_terminal.setLevel(logging.WARNING)
    logging.captureWarnings(True)
    logging.raiseExceptions = False  # on a full disk, the message must be seen all the same
    log.setLevel(logging.INFO)
    for logger in (log, logging.getLogger("py.warnings")):
        logger.addHandler(to_file)
        logger.addHandler(to_terminal)
    started = time.monotonic()
    try:
        entry = store.Entry(snakemake)
        if entry.take():
            sys.exit()
        yield
        entry.publish()
        log.info("done in %.1f s", time.monotonic() - started)
    except EXPECTED as error:
        to_terminal.setLevel(logging.CRITICAL)
        log.exception("stopped after %.1f s", time.monotonic() - started)
        print(f"\nerror: {error}\n", file=sys.stderr)
        sys.exit(1)
    except Exception:
        log.exception("stopped after %.1f s", time.monotonic() - started)
        raise


def keep_memory() -> None:
    """Let this process keep the memory it frees, for what it needs next.

    The C library of Linux would give every large map back and ask for it again in the next iteration, and
    the kernel clears all its pages each time: up to half of what an iteration costs on a CPU
    (benchmarks/memory.py). Nothing happens where the C library is another.
    """
    keep, whole = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(whole, 2**30)
    mallopt(keep, 2**31 - 1)


def end_with_parent(job: int | None = None) -> None:
    """End this process soon after the one that started it, or the process `job`, has gone.

    Snakemake killed outright leaves its jobs behind: one that went on, with settings of then, could
    write over the file of its successor.
    """
    parent = os.getppid()

    def alive() -> bool:
        try:
            return os.getppid() == parent and (job is None or os.kill(job, 0) is None)
        except ProcessLookupError:
            return False

    def watch() -> None:
        while alive():
            time.sleep(0.5)
        log.error("stopped, because Snakemake is gone; the next run goes on from the checkpoint")
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def device():
    """The first CUDA device that torch sees, otherwise the CPU."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def computes_in_bfloat16(where) -> bool:
    """Whether a device has arithmetic in bfloat16: GPUs since Ampere, CPUs with AVX512-BF16 or AMX, or Arm's.

    Others emulate it: a convolution on a CPU with AVX2 alone takes 20 times as long as in float32.
    """
    import torch

    if where.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    on_x86 = platform.machine().lower() in ("x86_64", "amd64")
    own = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return own or not on_x86


def lowers(precision: str, where) -> bool:
    """Whether `precision` means bfloat16 on this device: `mixed` does where the device computes in it, and
    is float32 elsewhere, which is said once. Raises ValueError for any word but float32 and mixed."""
    if precision not in ("float32", "mixed"):
        raise ValueError(f"precision is {precision!r}; allowed: float32, mixed")
    if precision == "float32" or computes_in_bfloat16(where):
        return precision == "mixed"
    _say_once(
        f"precision mixed: this {where.type} has no arithmetic in bfloat16; computing in float32"
    )
    return False


@functools.cache
def _say_once(message: str) -> None:
    log.info(message)


def precision_context(precision: str, where):
    """Autocast to bfloat16 where `precision` lowers it (see `lowers`), otherwise nothing."""
    import torch

    if lowers(precision, where):
        return torch.autocast(where.type, dtype=torch.bfloat16)
    return nullcontext()


def seed_of(seed: int, *names: object) -> int:
    """A 63-bit seed from the study's seed and the names of what it is for.

    Streams with different names are independent, and a stream depends on nothing but its names:
    an image's start noise is the same whichever images stand beside it in the batch.
    """
    text = json.dumps([seed, *map(str, names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: object):
    """A CPU torch.Generator seeded by `seed_of`, so that every device draws the same numbers."""
    import torch

    return torch.Generator().manual_seed(seed_of(seed, *names))


def progress(steps: range, what: str, interval: float = 20.0) -> Iterator[int]:
    """Iterate with a bar on a terminal and a line in the log every `interval` seconds."""
    from tqdm import tqdm

    bar = tqdm(steps, desc=what, disable=not sys.stderr.isatty(), leave=False, dynamic_ncols=True)
    last = time.monotonic()
    for step in bar:
        yield step
        now = time.monotonic()
        if now - last >= interval:
            last = now
            log.info("%s: %d of %d", what, step + 1, steps.stop)


def provenance(params) -> dict:
    """What a file says of its origin: settings (with the seed) and code of its rule, versions, device."""
    from .storage import versions

    facts = {
        "settings": params.settings,
        "code": params.code,
        "versions": versions("numpy", "torch"),
    }
    if "torch" in sys.modules:
        facts["device"] = device().type
    return facts


def stamps(*paths: str | os.PathLike) -> list[str]:
    """Content hashes of input files, for a checkpoint's key; an empty path has none."""
    from .inventory import file_hash

    return [file_hash(path) for path in paths if path]


class Checkpoint:
    """The state of a long computation beside its output: `<output>.checkpoint`.

    It is valid only for the same `key` (settings, code and inputs); any other state, or a damaged file,
    is left aside and said so. One that cannot be read now (no permission, too many open files) is an error:
    hours may be in it. Where none can be saved, the computation goes on. Tensors and JSON only, no
    pickles. Saved every `interval` seconds, by default those of the environment variable
    RESTORATION_CHECKPOINT_SECONDS, or 20.
    """

    def __init__(self, output: str | os.PathLike, key: object, interval: float | None = None):
        if interval is None:
            interval = float(os.environ.get("RESTORATION_CHECKPOINT_SECONDS", 20))
        self.path = Path(f"{output}.checkpoint")
        self.key = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        self.interval = interval
        self.last = time.monotonic()
        self.exists = False  # a state of this computation
        self.failed = False
        self.parts: list[Checkpoint] = []

    def part(self, of: slice) -> Checkpoint:
        """That of a part of the computation, which is removed with this one."""
        own = Checkpoint(
            f"{self.path}.{of.start}-{of.stop}", [self.key, of.start, of.stop], self.interval
        )
        self.parts.append(own)
        return own

    def load(self) -> tuple[dict, dict] | None:
        """The tensors and the values last saved, or None."""
        from . import storage

        if not self.path.exists():
            return None
        try:
            tensors, values = storage.load_tensors(self.path, "checkpoint")
        except storage.UnreadableError:
            raise
        except storage.StorageError as error:
            log.warning("%s; starting afresh", error)
            return None
        if values.pop("key") != self.key:
            log.info("%s belongs to other settings; starting afresh", self.path)
            return None
        log.info("continuing from %s", self.path)
        self.exists = True
        return tensors, values

    def due(self) -> bool:
        """Whether `interval` seconds have passed since the last save."""
        return time.monotonic() - self.last >= self.interval

    def save(self, tensors: dict, **values: object) -> bool:
        """Whether it could be saved; if not, that is said once, and an earlier one stays."""
        from . import storage

        try:
            storage.save_tensors(self.path, tensors, "checkpoint", {"key": self.key, **values})
        except (storage.StorageError, OSError) as error:
            say = log.info if self.failed else log.warning
            say("no checkpoint, the computation goes on without: %s", error)
            self.failed = True
        else:
            self.exists, self.failed = True, False
        self.last = time.monotonic()
        return not self.failed

    def diverged(self, what: str) -> DivergedError:
        """The error of a training, with what is left of it."""
        left = f"; the last good state is in {self.path}" * self.exists
        return DivergedError(f"{what}{left}; lower its rate")

    def check(self, what: str, step: int, objective: float) -> None:
        """Raise DivergedError unless the objective is finite: the state that has it may be saved."""
        if not math.isfinite(objective):
            raise self.diverged(f"{what}: the objective is {objective} at step {step}")

    def remove(self) -> None:
        for own in (self, *self.parts):
            own.path.unlink(missing_ok=True)


def optimiser_state(optimiser) -> dict:
    """The tensors of a torch optimiser's state, flat, as `state.<parameter>.<name>`."""
    import torch

    return {
        f"state.{index}.{name}": torch.as_tensor(value)
        for index, values in optimiser.state_dict()["state"].items()
        for name, value in values.items()
    }


def restore_optimiser(optimiser, tensors: dict) -> None:
    """The inverse of `optimiser_state`; entries with other names are ignored."""
    state: dict = {}
    for key, value in tensors.items():
        if key.startswith("state."):
            _, index, name = key.split(".", 2)
            state.setdefault(int(index), {})[name] = value
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})
