"""The state of a long computation beside its output, so that a killed job goes on where it was."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import time
from pathlib import Path

from .errors import DivergedError

log = logging.getLogger(__name__)


def content_stamps(*paths: str | os.PathLike) -> list[str]:
    """Content hashes of input files, for a checkpoint's key; an empty path has none."""
    from ..files.hashing import file_hash

    return [file_hash(path) for path in paths if path]


class Checkpoint:
    """The state of a long computation beside its output: `<output>.checkpoint`.

    It is valid only for the same `key` (settings, code and inputs); any other state, or a damaged file, is
    left aside, with a message. One that cannot be read now (no permission, too many open files) is an error:
    hours may be in it. Where none can be saved, the computation goes on. Tensors and JSON only, no pickles.
    Saved every `interval` seconds, by default those of the environment variable
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

    def begun(self) -> Checkpoint:
        """That of a computation this one begins with, which is removed with this one."""
        own = Checkpoint(f"{str(self.path).removesuffix('.checkpoint')}.start", None, self.interval)
        own.key = self.key
        self.parts.append(own)
        return own

    def load(self) -> tuple[dict, dict] | None:
        """The tensors and the values last saved, or None."""
        from ..files.atomic import StorageError, UnreadableError
        from ..files.tensors import load_tensors

        if not self.path.exists():
            return None
        try:
            tensors, values = load_tensors(self.path, "checkpoint")
        except UnreadableError:
            raise
        except StorageError as error:
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
        """Save the state; returns whether it could be saved. A failure is logged once, and an earlier state
        stays."""
        from ..files.atomic import StorageError
        from ..files.tensors import save_tensors

        try:
            save_tensors(self.path, tensors, "checkpoint", {"key": self.key, **values})
        except (StorageError, OSError) as error:
            say = log.info if self.failed else log.warning
            say("no checkpoint, the computation goes on without: %s", error)
            self.failed = True
        else:
            self.exists, self.failed = True, False
        self.last = time.monotonic()
        return not self.failed

    def diverged(self, what: str) -> DivergedError:
        """The error of a training that diverged, which names the last good state."""
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
