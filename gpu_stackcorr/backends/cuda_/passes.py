"""Filters of several axes, one after the other, between two arrays and a scratch array."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import numpy as np

from gpu_stackcorr.backends.base import Array

from .device import Device

GROUP_BYTES = 2**28
"""Scratch memory that is enough to fill a GPU. Slices that no pass mixes are filtered in groups of so much, or one."""

REAL = {np.float32: "float", np.float64: "double"}
"""What kernels call the types in which they compute."""

TYPES = {
    "uint8": "u8",
    "int8": "signed char",
    "uint16": "u16",
    "int16": "short",
    "uint32": "u32",
    "int32": "int",
    "uint64": "u64",
    "int64": "i64",
    "float32": "float",
    "float64": "double",
}
"""What kernels call NumPy's types."""

Pass = Callable[[Array, Array, int], None]
"""Filters one array into another, along an axis."""


def real_type(dtype: np.dtype[Any]) -> type[np.float32 | np.float64]:
    """Return the type that samples are computed in: float32 for float32, else float64."""
    return np.float32 if dtype == np.float32 else np.float64


def samples(image: Array) -> Array:
    """Return a device array as kernels read it: bool as uint8."""
    return image.view(np.uint8) if image.dtype == bool else image


def around(shape: Sequence[int], axis: int) -> tuple[int, int, int]:
    """Return how many samples lie before, along and after an axis."""
    return prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])


def convert(device: Device, image: Array, target: Array) -> None:
    """Copy an array into one of the same shape and any dtype."""
    if image.size:
        name = f"convert<{TYPES[image.dtype.name]}, {TYPES[target.dtype.name]}>"
        blocks = min(-(-image.size // 256), 64 * device.multiprocessors)
        device.kernel("convert.cu", name)((blocks,), (256,), (image, target, np.int64(image.size)))


def run_passes(device: Device, image: Array, target: Array, axes: Sequence[int], passes: Sequence[Pass]) -> None:
    """Run one pass or more from `image` to `target`.

    A pass cannot run in place, as its tiles read beyond their own samples. Two passes or more take a scratch array of
    the size of a group of slices: at most GROUP_BYTES, or what lies behind the first axis filtered.
    """
    first = min(axes)
    source, result = (array.reshape(-1, *array.shape[first:]) for array in (image, target))
    step = len(result)
    if len(passes) > 1:
        step = min(step, max(1, GROUP_BYTES // (result.nbytes // step)))
        scratch = device.empty((step, *result.shape[1:]), result.dtype)
    for start in range(0, len(result), step):
        here, end = source[start : start + step], result[start : start + step]
        for number, (axis, one) in enumerate(zip(axes, passes, strict=True)):
            there = end if (len(passes) - number) % 2 else scratch[: len(end)]
            one(here, there, axis - first + 1)
            here = there
