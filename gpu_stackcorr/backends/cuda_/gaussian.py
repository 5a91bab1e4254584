"""Gaussian smoothing: launches ``kernels/gaussian.cu``, a pass an axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from gpu_stackcorr.backends.base import Array

from .boundary import FILTER
from .device import Device
from .layout import grid
from .passes import TYPES, around, convert, real_type, run_passes, samples

LANES, WARPS, OUT = 32, 8, 8
"""As in the kernels."""

SMALLEST_SIGMA = 1e-15
"""SciPy leaves an axis alone up to this one."""

SHARED_BYTES = 48 * 1024
"""Of a block: the halo of radius 128 in float32 and 64 in float64, along an axis that is not the last. Larger radii
are taken in chunks, which costs them a second read of each tile a chunk."""


@dataclass(frozen=True)
class Smoothing:
    """The filter of one axis, for arrays on the device.

    Attributes
    ----------
    weights : device array
        At distances 1 to `radius`, then zeros up to a multiple of OUT.
    centre : numpy.floating
        The weight at distance 0; of the type that is computed in, as are the others.
    radius : int
    mode : int
        From ``boundary.FILTER``.
    cval : numpy.floating
    """

    device: Device
    weights: Array
    centre: Any
    radius: int
    mode: int
    cval: Any

    def __call__(self, source: Array, target: Array, axis: int, scales: Array | None = None) -> None:
        """Filter an array into another, part k of len(scales) of what lies before the axis times ``scales[k]``."""
        outer, length, inner = around(source.shape, axis)
        real = self.weights.dtype
        rows = inner == 1
        span, lines = (OUT * LANES, WARPS) if rows else (OUT * WARPS, LANES)
        kind = "rows" if rows else "columns"
        words_a_step = OUT + 1 if rows else OUT  # rows are padded
        capacity = SHARED_BYTES // (lines * words_a_step * real.itemsize) * OUT
        halo = up(self.radius, OUT)
        window = span + 2 * halo
        chunk = halo
        if window > capacity:  # one window for each side
            chunk = (capacity // 2 - span) // OUT * OUT
            window = 2 * (span + chunk)
        self.device.kernel("gaussian.cu", f"gaussian_{kind}<{TYPES[source.dtype.name]}>")(
            grid(-(-length // span), -(-(outer * inner) // lines)),
            (LANES * WARPS,),
            (
                source,
                target,
                np.int64(outer),
                np.int64(length),
                *([] if rows else [np.int64(inner)]),
                self.weights,
                self.centre,
                np.int32(self.radius),
                np.int32(chunk),
                np.int32(self.mode),
                self.cval,
                self.weights if scales is None else scales,
                np.int64(0 if scales is None else outer // len(scales)),
            ),
            shared_bytes=window // OUT * words_a_step * lines * real.itemsize,
        )


def smoothings(
    device: Device,
    sigma: Sequence[float],
    *,
    axes: Sequence[int],
    mode: Sequence[str],
    cval: float,
    truncate: float,
    dtype: DTypeLike,
) -> tuple[list[int], list[Smoothing]]:
    """Return the axes that are filtered, and their filters; `dtype` is float32 or float64."""
    real: Any = np.dtype(dtype).type
    filtered, filters = [], []
    for axis, width, name in zip(axes, sigma, mode, strict=True):
        weights = half_kernel(width, truncate, real)
        if len(weights) > 1:  # one weight is 1
            filtered.append(axis)
            filters.append(symmetric_filter(device, weights, name, real(cval)))
    return filtered, filters


def symmetric_filter(device: Device, weights: Array, mode: str, cval: Any) -> Smoothing:
    """Return the filter with weights at distances 0 to len(weights) - 1, of which there are two or more."""
    radius = len(weights) - 1
    padded = np.zeros(up(radius, OUT), weights.dtype)
    padded[:radius] = weights[1:]
    return Smoothing(device, device.to_device(padded), weights[0], radius, FILTER[mode], cval)


def up(value: int, multiple: int) -> int:
    """Return the least multiple that is not below a value."""
    return -(-value // multiple) * multiple


def half_kernel(sigma: float, truncate: float, dtype: DTypeLike) -> Array:
    """Return the weights at distances 0 to ``int(truncate * sigma + 0.5)``, as SciPy computes them.

    Empty where SciPy leaves the axis alone.
    """
    if not sigma > SMALLEST_SIGMA:
        return np.empty(0, dtype)
    radius = int(truncate * float(sigma) + 0.5)
    if radius < 0:
        raise ValueError("Radius must be a nonnegative integer.")  # in SciPy's words
    distance = np.arange(-radius, radius + 1)
    bell = np.exp(-0.5 / (sigma * sigma) * distance**2)
    weights: Array = (bell / bell.sum())[::-1][radius::-1].astype(dtype)
    return weights


def gaussian_filter(
    device: Device,
    image: Array,
    sigma: Sequence[float],
    *,
    axes: Sequence[int],
    mode: Sequence[str],
    cval: float = 0.0,
    truncate: float = 4.0,
) -> Array:
    """See ``Backend.gaussian_filter``; on the device. Beside the result it takes the scratch of ``run_passes``."""
    source = device.to_device(image)
    result = device.empty(source.shape, source.dtype)
    if source.size == 0:
        return result
    filtered, filters = smoothings(
        device, sigma, axes=axes, mode=mode, cval=cval, truncate=truncate, dtype=real_type(source.dtype)
    )
    if filters:
        run_passes(device, samples(source), samples(result), filtered, filters)
    else:
        convert(device, samples(source), samples(result))
    return result
