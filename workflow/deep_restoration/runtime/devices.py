"""The device, its arithmetic and its memory."""

from __future__ import annotations

import ctypes
import functools
import logging
import platform
from contextlib import nullcontext

log = logging.getLogger(__name__)


def keep_memory() -> None:
    """Let this process keep the memory it frees, for what it needs next.

    The C library of Linux would return the memory of every large map and request it again in the next
    iteration, and the kernel clears all its pages each time: up to half of what an iteration costs on a CPU
    (benchmarks/memory.py). Nothing happens where the C library is another.
    """
    keep, whole = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(whole, 2**30)
    mallopt(keep, 2**31 - 1)


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
    is float32 elsewhere, which is logged once. Raises ValueError for any word but float32 and mixed."""
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
