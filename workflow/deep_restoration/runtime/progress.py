"""The progress of a loop: a bar on a terminal, a line in the log."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator

log = logging.getLogger(__name__)


def progress(
    steps: range, what: str, interval: float = 20.0, note: Callable[[], str] | None = None
) -> Iterator[int]:
    """Iterate with a bar on a terminal and a line in the log every `interval` seconds. `note` says what
    stands beside both, in the log with the time left; it is asked at most once a second."""
    from tqdm import tqdm

    bar = tqdm(steps, desc=what, disable=not sys.stderr.isatty(), leave=False, dynamic_ncols=True)
    shown = not getattr(bar, "disable", True)
    began = last = noted = time.monotonic()
    for number, step in enumerate(bar, 1):
        yield step
        now = time.monotonic()
        if note and shown and now - noted >= 1:
            noted = now
            bar.set_postfix_str(note())
        if now - last >= interval:
            last = now
            left = (now - began) / number * (len(steps) - number)
            beside = f", {note()}, {left:.0f} s left" if note else ""
            log.info("%s: %d of %d%s", what, step + 1, steps.stop, beside)
