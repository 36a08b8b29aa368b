"""Results of long computations by name, kept while a job runs: a job that was killed repeats none of them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from .checkpoints import Checkpoint

log = logging.getLogger(__name__)


class Memo:
    """Results by name, each a tensor and facts (JSON), saved in the checkpoint of `output` as it is found.

    `key` is that of checkpoints.Checkpoint: results of other settings, code or inputs are left aside. What
    is in work when the job is killed goes on from a checkpoint of its own.
    """

    def __init__(self, output: str | os.PathLike, key: object):
        self.output, self.key = output, key
        self.checkpoint = Checkpoint(output, key)
        self.tensors, values = self.checkpoint.load() or ({}, {"facts": {}})
        self.facts: dict[str, dict] = values["facts"]

    def __call__(self, name: str, compute: Callable[[Checkpoint], tuple]) -> tuple:
        """The tensor and facts of this name: those kept, or what `compute` returns, given its checkpoint."""
        if name not in self.facts:
            own = self._own(name)
            self.tensors[name], self.facts[name] = compute(own)
            if self.checkpoint.save(self.tensors, facts=self.facts):
                own.remove()
            log.info("%s: done, %d in all", name, len(self.facts))
        return self.tensors[name], self.facts[name]

    def _own(self, name: str) -> Checkpoint:
        return Checkpoint(f"{self.output}.now", [self.key, name])

    def remove(self) -> None:
        """Forget everything: the output is written."""
        self.checkpoint.remove()
        self._own("").remove()
