"""The seconds and the peak memory that some work takes."""

from __future__ import annotations

import ctypes
import time
from pathlib import Path

import torch

_GLIBC_TRIM = "malloc_trim"
_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


class Meter:
    """The time of a ``with`` block, and the peak of memory above its start.

    On CUDA this is the peak of the allocator. On Linux it is the peak of the resident set, which
    the kernel lets a process reset. Elsewhere ``peak_memory`` is None.
    """

    def __init__(self, device: torch.device):
        self._cuda = device if device.type == "cuda" else None
        self.seconds = 0.0
        self.peak_memory: int | None = None

    def __enter__(self) -> Meter:
        if self._cuda is not None:
            torch.cuda.synchronize(self._cuda)
            torch.cuda.reset_peak_memory_stats(self._cuda)
            self._before = torch.cuda.memory_allocated(self._cuda)
        else:
            self._resettable = _reset_peak()
            self._before = _resident("VmRSS")
        self._start = time.perf_counter()
        return self

    def __exit__(self, *raised: object) -> None:
        if self._cuda is not None:
            torch.cuda.synchronize(self._cuda)
        self.seconds = time.perf_counter() - self._start
        if self._cuda is not None:
            self.peak_memory = torch.cuda.max_memory_allocated(self._cuda) - self._before
        elif self._resettable:
            self.peak_memory = max(0, _resident("VmHWM") - self._before)


def _reset_peak() -> bool:
    if not _CLEAR.exists():
        return False
    # Freed memory that the C library holds back would hide what is used again.
    trim = getattr(ctypes.CDLL(None), _GLIBC_TRIM, None)
    if trim is not None:
        trim(0)
    try:
        _CLEAR.write_text("5")
    except OSError:
        return False
    return True


def _resident(field: str) -> int:
    for line in _STATUS.read_text().splitlines() if _STATUS.exists() else ():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return 0
