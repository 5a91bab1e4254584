"""What the machine can do at most: bandwidth of memory, measured with compiled loops on all threads."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpu_stackcorr.backends.numba_.compiler import jit
from gpu_stackcorr.backends.numba_.parallel import cut, run

BLOCKS = 64
"""Pieces that the threads share out."""


@jit
def _sum(words: Any) -> int:
    """Add up words: the cheapest that can be done with every byte."""
    total = np.uint64(0)
    for k in range(words.size):
        total += words[k]
    return total


def read(array: Any) -> int:
    """Read an array once, on all threads."""
    words = array.reshape(-1).view(np.uint8)
    words = words[: words.size // 8 * 8].view(np.uint64)
    pieces = cut(words.size, BLOCKS)
    totals = [0] * len(pieces)

    def task(k: int) -> None:
        totals[k] = _sum(words[pieces[k]])

    run(task, len(pieces))
    return sum(totals)
