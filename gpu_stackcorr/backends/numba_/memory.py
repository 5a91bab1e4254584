"""Working memory that is kept from call to call.

Memory that is new is mapped and cleared page by page: that was a third of the time of an elastic slice in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from gpu_stackcorr.backends.base import Array


class Memory:
    """One array at a time, in memory that grows to the largest of them. For one thread at a time."""

    def __init__(self) -> None:
        self._bytes = np.empty(0, np.uint8)

    def array(self, shape: Sequence[int], dtype: DTypeLike) -> Array:
        """Return an array, not initialised; the one before it may no longer be used."""
        size = prod(shape) * np.dtype(dtype).itemsize
        if self._bytes.size < size:
            self._bytes = np.empty(size, np.uint8)
        array: np.ndarray[Any, Any] = self._bytes[:size].view(dtype).reshape(shape)
        return array
