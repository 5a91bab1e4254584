"""Samples as interpolating kernels take and give them: codes of types, words, and copies in another type."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpu_stackcorr.backends.base import SPLINE_PADDING, Array
from gpu_stackcorr.backends.numpy_.interpolation import fill_value

from . import spline
from .boundary import GRID_CONSTANT, NEAREST
from .device import Device
from .layout import axes as axes_of
from .layout import grid
from .passes import TYPES, real_type, samples

THREADS = 256
"""As in the kernels."""

SAMPLES = 4
"""Of a row that a thread of ``pad.cu`` takes: what it computes once a row is three times what it does for each."""

CODES = ("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")
"""NumPy's types in the order of ``Type`` of ``kernels/samples.cuh``."""

PADDED = {"nearest": NEAREST, "grid-constant": GRID_CONSTANT}
"""The modes without an exact prefilter, and what stands around the samples instead."""


def code(dtype: np.dtype[Any]) -> np.int32:
    """Return what kernels call the type that they write."""
    return np.int32(CODES.index(dtype.name))


def word(value: float, dtype: np.dtype[Any]) -> np.uint64:
    """Return the bits of a value of a type: what order 0 writes where there is no sample."""
    fill = np.asarray(fill_value(value, dtype), dtype.newbyteorder("="))[np.newaxis]
    return np.uint64(fill.view(f"u{dtype.itemsize}")[0])


def cast(device: Device, image: Array, dtype: np.dtype[Any]) -> Array:
    """Return a device array in another type, rounded and clipped; the array itself where it has that type."""
    return image if image.dtype == dtype else _padded(device, image, dtype, 0, 0, NEAREST, 0.0)


def coefficients(device: Device, image: Array, fixed: int, *, order: int, mode: str, cval: float) -> tuple[Array, int]:
    """Return the B-spline coefficients along the axes after the first `fixed`, and how far those axes were padded.

    Beside them it takes a scratch array of their size, or two where axes are padded.
    """
    padding = SPLINE_PADDING if mode in PADDED else 0
    if padding:
        dtype = np.dtype(real_type(image.dtype))
        image = _padded(device, image, dtype, fixed, padding, PADDED[mode], cval)
    return spline.spline_filter(device, image, order, axes=range(fixed, image.ndim), mode=mode), padding


def _padded(
    device: Device, image: Array, dtype: np.dtype[Any], fixed: int, padding: int, mode: int, cval: float
) -> Array:
    """Return a copy with samples around the axes after the first `fixed`, of which there are at most three."""
    padded = device.empty([n + (2 * padding if axis >= fixed else 0) for axis, n in enumerate(image.shape)], dtype)
    if not padded.size:
        return padded
    sizes, margins = _four(image.shape, fixed, padding)
    steps = [int(np.prod(sizes[axis + 1 :])) for axis in range(4)]
    planes, rows, width = (n + 2 * margin for n, margin in zip(sizes[1:], margins[1:], strict=True))
    device.kernel("pad.cu", f"pad<{TYPES[samples(image).dtype.name]}>")(
        grid(-(-width // (SAMPLES * THREADS)), rows, sizes[0] * planes),
        (THREADS,),
        (
            samples(image),
            padded,
            np.int32(dtype.itemsize),
            code(dtype),
            axes_of(sizes, steps),
            axes_of(margins, [0] * 4),
            np.int32(mode),
            np.float64(cval),
        ),
    )
    return padded


def _four(shape: Sequence[int], fixed: int, padding: int) -> tuple[list[int], list[int]]:
    """Return four sizes, of which the first is that of all fixed axes, and how far each is padded."""
    sizes = [int(np.prod(shape[:fixed])), *shape[fixed:]] if padding else [1, int(np.prod(shape))]
    missing = 4 - len(sizes)
    margins = [0] * (missing + 1) + [padding] * (len(sizes) - 1)
    return [sizes[0]] + [1] * missing + sizes[1:], margins
