"""Several GPUs of one node: a training in one process per GPU, the batch split among them.

`run` calls a function in this process, or, where the job sees several GPUs, in as many processes that
torchrun restarts and that torch's DistributedDataParallel keeps in step. Inside, `Workers` says who one is.
What comes out is the same but for rounding: gradients are means over the whole batch.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from . import devices
from .errors import EXPECTED

log = logging.getLogger(__name__)

STOPPED = "stopped.txt"


class Workers:
    """The processes that train together: this one's number and how many there are; alone, 0 of 1."""

    def __init__(self):
        self.rank, self.count = (
            int(os.environ.get(k, d)) for k, d in (("RANK", 0), ("WORLD_SIZE", 1))
        )

    @property
    def first(self) -> bool:
        """Whether this one writes what all have computed."""
        return self.rank == 0

    def device(self):
        """The GPU of this process; the CPU where there is none."""
        import torch

        where = devices.device()
        return torch.device("cuda", self.rank) if where.type == "cuda" else where

    def part(self, count: int) -> tuple[list[int], float]:
        """The places of a batch of `count` that are this process's, and the weight of their mean in the mean
        over processes that makes it the mean over the batch. A process that is left without takes the
        first with weight 0, because all must compute a gradient."""
        own = list(range(self.rank, count, self.count))
        return (own, self.count * len(own) / count) if own else ([0], 0.0)

    def wrap(self, module):
        """A module whose gradients are averaged over all processes."""
        if self.count == 1:
            return module
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(module, broadcast_buffers=False)

    def total(self, *values: float) -> list[float]:
        """Sums over all processes, the same in each."""
        if self.count == 1:
            return list(values)
        import torch

        sums = torch.tensor(values, dtype=torch.float64, device=self.device())
        torch.distributed.all_reduce(sums)
        return sums.tolist()

    def wait(self) -> None:
        """Until all are here."""
        self.total(0.0)


def run(function: Callable, arguments: dict, processes: int | None = None) -> None:
    """Call `function(**arguments)`, a function of a module of this library, with arguments that JSON knows.

    In `processes` processes, by default one per GPU that this job sees. Raises what the function raises
    where it is one of runtime.EXPECTED, and RuntimeError for anything else that ends a process.
    """
    count = gpus() if processes is None else processes
    if count < 2:
        function(**arguments)
        return
    log.info("%d processes, one per GPU", count)
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder, "job.json")
        job.write_text(json.dumps([function.__module__, function.__qualname__, arguments]))
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node", str(count), "-m", __name__, str(job)]
        threads = str(max(1, int(os.environ.get("OMP_NUM_THREADS", 1)) // count))
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": threads,
            "RESTORATION_JOB": str(os.getpid()),
        }
        with subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            for line in process.stdout or ():
                log.info(line.rstrip())
        if process.returncode:
            stopped = Path(folder, STOPPED)
            if stopped.exists():
                kind, message = stopped.read_text(encoding="utf-8").split(" ", 1)
                raise {error.__name__: error for error in EXPECTED}[kind](message)
            raise RuntimeError(f"one of {count} processes ended; its last words are in the log")


def gpus() -> int:
    """How many GPUs this job sees."""
    import torch

    return torch.cuda.device_count()


def main(path: str) -> None:
    """What each process does."""
    import logging

    import torch

    module, name, arguments = json.loads(Path(path).read_text(encoding="utf-8"))
    end_with_parent(int(os.environ["RESTORATION_JOB"]))
    workers = Workers()
    if workers.first:
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    where = workers.device()
    if where.type == "cuda":
        torch.cuda.set_device(where)
    torch.distributed.init_process_group("nccl" if where.type == "cuda" else "gloo")
    # Not a computed import in the sense of the fingerprint: the script that calls `run` names it.
    function = getattr(importlib.import_module(module), name)
    try:
        function(**arguments)
    except EXPECTED as error:
        kind = next(k.__name__ for k in EXPECTED if isinstance(error, k))
        Path(path).with_name(STOPPED).write_text(f"{kind} {error}", encoding="utf-8")
        raise
    torch.distributed.destroy_process_group()


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


if __name__ == "__main__":
    main(sys.argv[1])
