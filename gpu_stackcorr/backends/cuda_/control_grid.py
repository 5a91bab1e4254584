"""Control grids: drawn and filtered on the device as noise is, then interpolated axis by axis.

Launches ``kernels/control_grid.cu``, and those of random fields and of symmetric filters for the coefficients.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpu_stackcorr.backends.base import Array, Box
from gpu_stackcorr.control_grids import PREFILTER, ControlGrid
from gpu_stackcorr.random_fields import whole_box

from .device import Device
from .displacement import smooth_box
from .gaussian import symmetric_filter
from .layout import grid
from .passes import GROUP_BYTES, REAL, around
from .random_field import random_field

THREADS, TILE = 256, (64, 128)
"""As in the kernels; a block of columns takes so many positions and neighbours."""

ROWS = 8
"""Rows that a thread takes at most while its taps are at hand."""


def control_grid(
    device: Device,
    seed: int,
    stream: int | NDArray[np.uint64],
    shape: Sequence[int],
    *,
    alpha: float | NDArray[np.float64],
    distance: Sequence[float],
    box: Box | None = None,
    dtype: DTypeLike = np.float32,
) -> Array:
    """See ``Backend.control_grid``; on the device.

    Beside the result it takes four arrays of GROUP_BYTES, or of the control points of one field with their margin or
    interpolated along all axes but one.
    """
    box = whole_box(shape) if box is None else box
    leading = np.broadcast_shapes(np.shape(alpha), np.shape(stream))
    sizes = tuple(stop - start for start, stop in box)
    fields = device.empty((prod(leading), *sizes), dtype)
    if not fields.size:
        return fields.reshape(leading + sizes)
    points = ControlGrid.over(shape, distance, box)
    taps = [(device.to_device(along.first), device.to_device(along.weights)) for along in points.taps]
    needed = tuple((g + part.start, g + part.stop) for (g, _), part in zip(points.box, points.inner, strict=True))
    prefilter = symmetric_filter(device, PREFILTER, "mirror", np.float64(0))
    axes = range(1, len(shape) + 1)
    streams = np.broadcast_to(np.asarray(stream, np.uint64), leading).reshape(-1)
    scales = np.broadcast_to(np.asarray(alpha, np.float64), leading).reshape(-1)
    counts, drawn = ([stop - start for start, stop in ends] for ends in (needed, points.box))
    between = [*map(max, counts[:-2], sizes[:-2]), *counts[-2:-1], sizes[-1]]
    step = max(1, GROUP_BYTES // (8 * max(prod(drawn), prod(between))))
    for start in range(0, len(fields), step):
        group = slice(start, start + step)
        vectors = random_field(
            device, seed, streams[group], points.shape, box=points.box, distribution="normal", dtype=np.float64
        )
        coefficients = device.empty((len(vectors), *counts), np.float64)
        factors = device.to_device(scales[group])
        smooth_box(device, vectors, coefficients, axes, [prefilter] * len(axes), factors, needed, points.box)
        _interpolate(device, coefficients, taps, fields[group])
    return fields.reshape(leading + sizes)


def _interpolate(device: Device, coefficients: Array, taps: Sequence[tuple[Array, Array]], fields: Array) -> None:
    """Fill fields (n, ...) from coefficients (n, ...): along the last axis first, then along the others in order."""
    values = coefficients
    axes = (fields.ndim - 1, *range(1, fields.ndim - 1))
    for axis in axes:
        first, weights = taps[axis - 1]
        outer, count, inner = around(values.shape, axis)
        length = len(first)
        target = fields
        if axis != axes[-1]:
            target = device.empty([*values.shape[:axis], length, *values.shape[axis + 1 :]], np.float64)
        kind, sizes = "rows", [outer, count, length]
        blocks = grid(-(-length // THREADS), -(-outer // ROWS))
        if axis != axes[0]:
            kind, sizes = "columns", [*sizes, inner]
            blocks = grid(-(-inner // TILE[1]), -(-length // TILE[0]), outer)
        name = f"control_{kind}<{REAL[target.dtype.type]}>"
        device.kernel("control_grid.cu", name)(
            blocks, (THREADS,), (values, target, first, weights, *map(np.int64, sizes))
        )
        values = target
