"""What surrounds the script of a Snakemake job: threads, logs, the store, errors in a user's words.

Import this module before torch: it makes OpenMP wait passively, which beside busy neighbours is
ten times faster than the default spinning.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..runtime.devices import device, keep_memory
from ..runtime.errors import EXPECTED
from ..runtime.parallel import end_with_parent
from . import store

log = logging.getLogger("deep_restoration")


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
        if entry.fetch():
            sys.exit()
        yield
        entry.store()
        log.info("done in %.1f s", time.monotonic() - started)
    except EXPECTED as error:
        to_terminal.setLevel(logging.CRITICAL)
        log.exception("stopped after %.1f s", time.monotonic() - started)
        print(f"\nerror: {error}\n", file=sys.stderr)
        sys.exit(1)
    except Exception:
        log.exception("stopped after %.1f s", time.monotonic() - started)
        raise


def provenance_of(params) -> dict:
    """The record of a file's origin: settings (with the seed) and code of its rule, versions, device."""
    from ..files.atomic import versions

    facts = {
        "settings": params.settings,
        "code": params.code,
        "versions": versions("numpy", "torch"),
    }
    if "torch" in sys.modules:
        facts["device"] = device().type
    return facts
