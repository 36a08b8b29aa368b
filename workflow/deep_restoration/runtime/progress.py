"""The progress of a loop: a bar on a terminal, a line in the log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator

log = logging.getLogger(__name__)


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
