"""How arrays are told to kernels: the struct ``Axes`` of ``common.cuh``, and sizes of grids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

MAX_AXES = 4
"""Axes of the struct; as in ``common.cuh``."""

LARGEST_GRID = (2**31 - 1, 65535, 65535)
"""What CUDA allows along x, y and z. Kernels stride over what is more."""

AXES = np.dtype([("size", np.int64, MAX_AXES), ("step", np.int64, MAX_AXES)])


def axes(sizes: Sequence[int], steps: Sequence[int]) -> Any:
    """Return an ``Axes``; axes that are missing stand in front, with the size 1."""
    missing = MAX_AXES - len(sizes)
    packed = np.zeros((), AXES)
    packed["size"] = [1] * missing + list(sizes)
    packed["step"] = [0] * missing + list(steps)
    return packed[()]


def grid(*sizes: int) -> tuple[int, int, int]:
    """Return a grid of at least one block along each axis, and no more than is allowed."""
    full = (*sizes, 1, 1)[:3]
    x, y, z = (max(1, min(size, largest)) for size, largest in zip(full, LARGEST_GRID, strict=True))
    return x, y, z
