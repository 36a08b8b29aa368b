"""Images in batches that fit into memory: one that does not is halved.

Images do not depend on each other, so that halves give what the whole gives, but for the last digits:
libraries choose other algorithms, and take sums in another order, for other sizes of a batch. A GPU says
when its memory is not enough; for the machine's own, Linux does where it is limited (ulimit -v), and
otherwise kills the process. Accelerate's find_executable_batch_size halves batches, too, but begins the whole
work again each time; here images that are done stay done.
"""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

log = logging.getLogger(__name__)

# Messages of plain RuntimeErrors of the CPU's allocator, cuBLAS and cuDNN; and of oneDNN, which gives no
# reason, but hardly ever has another one.
WORDS = ("can't allocate memory", "not enough memory", "_STATUS_ALLOC_FAILED")
WORDS += (
    "could not create a primitive",
    "could not create a memory",
    "could not execute a primitive",
)


class TooLargeError(ValueError):
    """Work that does not fit into memory even for a single image."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory was not enough, the GPU's or the machine's."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error) for word in WORDS)


class Batches:
    """Batches of at most `size` images. Where memory is not enough for one, `size` becomes half of it and
    stays so; `what` names in the log and in errors what is done with them."""

    def __init__(self, size: int, what: str):
        self.size, self.what = size, what

    def __call__(self, compute: Callable[[slice], Any], count: int) -> Iterator[tuple[slice, Any]]:
        """Yield (part, compute(part)) for slices that cover `count` images in order.

        `compute` may be called again for images of a part with which it failed. Raises TooLargeError when
        memory is not enough for a single image.
        """
        start, told = 0, time.monotonic()
        while start < count:
            part = slice(start, min(start + self.size, count))
            refused = ""
            try:
                result = compute(part)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                refused = str(error).strip().partition("\n")[0]
            if refused:  # only here is the error gone, with all that its frames hold
                self._halve(part.stop - part.start, refused)
                continue
            yield part, result
            result, start = None, part.stop
            if time.monotonic() - told > 20:
                told = time.monotonic()
                log.info("%s: %d of %d", self.what, start, count)

    def _halve(self, images: int, refused: str) -> None:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if images == 1:
            raise TooLargeError(
                f"{self.what}: there is not enough memory for a single image, so that a smaller batch is of "
                f"no use; set images.size lower, or run where there is more memory ({refused})"
            )
        self.size = -(-images // 2)
        log.warning(
            "%s: not enough memory for %d images; going on with %d", self.what, images, self.size
        )

    def join(self, compute: Callable[[slice], torch.Tensor], count: int) -> torch.Tensor:
        """The results of `compute` for all `count` images, one row per image."""
        rows = [found for _, found in self(compute, count)]
        return rows[0] if len(rows) == 1 else torch.cat(rows)

    def backward(
        self,
        losses: Callable[[slice], tuple[torch.Tensor, ...]],
        count: int,
        parameters: Sequence[torch.nn.Parameter],
    ) -> list[torch.Tensor]:
        """Set the gradients of the first of the `losses`, means over the images of a part, for the mean over
        all `count`. Returns these means, detached."""
        total: list[torch.Tensor] = []
        sums: list[torch.Tensor] = []

        # Not by `backward`, which might be interrupted with half of the gradients added.
        def compute(part: slice) -> tuple:
            found = losses(part)
            return [loss.detach() for loss in found], torch.autograd.grad(found[0], parameters)

        for part, (found, gradients) in self(compute, count):
            share = (part.stop - part.start) / count
            if share == 1:
                total = found
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    parameter.grad = gradient
                break
            if not total:
                total = [torch.zeros_like(loss) for loss in found]
                sums = [torch.zeros_like(parameter) for parameter in parameters]
                for parameter, own in zip(parameters, sums, strict=True):
                    parameter.grad = own
            for loss, value in zip(total, found, strict=True):
                loss.add_(value, alpha=share)
            for own, gradient in zip(sums, gradients, strict=True):
                own.add_(gradient, alpha=share)
        return total
