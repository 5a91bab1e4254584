"""Working memory: from a cache line on, or kept from call to call.

Memory that is new is mapped and cleared page by page: that was a third of the time of an elastic slice in float64. An
allocator keeps what was freed for the next call, or does not, as the process has used memory before: the same slice
took 6.4 ms in one process and 14 in another.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from gpu_stackcorr.backends.base import Array

KEPT_BYTES = 1 << 25
"""Arrays up to which a thread keeps memory: a field over 2048 x 2048 in float32."""

LINE_BYTES = 64
"""Of a cache line, and of the widest vectors that there are."""

_thread = threading.local()


def aligned(count: int, dtype: DTypeLike) -> Array:
    """Return an array of so many values, not initialised, from a cache line on: no vector lies in two."""
    memory = np.empty(count * np.dtype(dtype).itemsize + LINE_BYTES, np.uint8)
    skipped = -memory.ctypes.data % LINE_BYTES
    array: np.ndarray[Any, Any] = memory[skipped : skipped + memory.size - LINE_BYTES].view(dtype)
    return array


class Memory:
    """One array at a time, in memory that grows to the largest of them. For one thread at a time."""

    def __init__(self) -> None:
        self._bytes = np.empty(0, np.uint8)

    def array(self, shape: Sequence[int], dtype: DTypeLike) -> Array:
        """Return an array, not initialised; the one before it may no longer be used."""
        size = prod(shape) * np.dtype(dtype).itemsize
        if self._bytes.size < size:
            self._bytes = aligned(size, np.uint8)
        array: np.ndarray[Any, Any] = self._bytes[:size].view(dtype).reshape(shape)
        return array


def kept(purpose: str, size: int) -> Memory:
    """Return the memory that this thread keeps for a purpose; for arrays of too many bytes, memory of one call."""
    return vars(_thread).setdefault(purpose, Memory()) if size <= KEPT_BYTES else Memory()
