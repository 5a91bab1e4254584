"""Control grids: the spline along the last axis of the few rows of control points, then row by row of the image.

Along the last axis every voxel has taps of its own, gathered one by one; but only rows of control points are
interpolated there, in a volume one for every ``distance ** 2`` rows of the image. What is done for every row of the
image adds four rows, each times one weight: loops over float64 vectors, on rows that lie in the cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from gpu_stackcorr.backends.base import Array, Box
from gpu_stackcorr.control_grids import PREFILTER, TAPS, ControlGrid, Taps
from gpu_stackcorr.random_fields import whole_box

from .boundary import MIRROR
from .compiler import inner, jit
from .gaussian import Pass, smooth_floats
from .parallel import cut, run
from .random_field import random_field

GROUP = 1 << 21
"""Numbers that are held at once beside the fields: these are made in groups, or one by one."""

PART = 1 << 16
"""Voxels that are worth a task of their own."""


def control_grid(
    seed: int,
    stream: int | NDArray[np.uint64],
    shape: Sequence[int],
    *,
    alpha: float | NDArray[np.float64],
    distance: Sequence[float],
    box: Box | None = None,
    dtype: DTypeLike = np.float32,
) -> Array:
    """See ``Backend.control_grid``."""
    box = whole_box(shape) if box is None else box
    leading = np.broadcast_shapes(np.shape(alpha), np.shape(stream))
    sizes = tuple(stop - start for start, stop in box)
    fields = np.empty((prod(leading), *sizes), dtype)
    if fields.size:
        grid = ControlGrid.over(shape, distance, box)
        streams = np.broadcast_to(np.asarray(stream, np.uint64), leading).reshape(-1)
        scales = np.broadcast_to(np.asarray(alpha, np.float64), leading).reshape(-1, *(1,) * len(shape))
        drawn = prod(stop - start for start, stop in grid.box)
        rows = prod(part.stop - part.start for part in grid.inner[:-1])
        step = max(1, GROUP // max(drawn, rows * sizes[-1]))
        for start in range(0, len(fields), step):
            group = slice(start, start + step)
            coefficients = np.ascontiguousarray(_coefficients(seed, streams[group], grid) * scales[group])
            _interpolate(coefficients, grid.taps, fields[group])
    return fields.reshape(leading + sizes)


def _coefficients(seed: int, streams: NDArray[np.uint64], grid: ControlGrid) -> Array:
    """Return the coefficients of the splines through the normal numbers of some streams."""
    vectors = random_field(seed, streams, grid.shape, box=grid.box, distribution="normal", dtype=np.float64)
    axes = range(1, vectors.ndim)
    smooth_floats(vectors, vectors, [Pass(axis, PREFILTER, MIRROR, np.float64(0)) for axis in axes])
    inside: tuple[Any, ...] = (..., *grid.inner)
    coefficients: Array = vectors[inside]
    return coefficients


def _interpolate(coefficients: Array, taps: Sequence[Taps], fields: Array) -> None:
    """Fill fields (n, ...) from contiguous coefficients (n, ...)."""
    *outer, (first, weights) = taps
    points, width = coefficients.shape[-1], fields.shape[-1]
    grid_rows = coefficients.reshape(-1, points)
    rows = np.empty((len(grid_rows), width))
    parts = cut(len(rows), rows.size // PART)

    def interpolate_rows(number: int) -> None:
        part = parts[number]
        _along_rows(grid_rows[part], first, weights, rows[part])

    run(interpolate_rows, len(parts))
    if not outer:
        np.copyto(fields, rows, casting="same_kind")
        return
    planes = rows.reshape(-1, coefficients.shape[-2] * width)
    lines = fields.reshape(-1, width)
    height, depth = fields.shape[-2], len(planes) // len(fields)
    through, down = (Taps(np.empty(0, np.int64), np.empty((TAPS, 0))), *outer)[-2:]
    parts = cut(len(lines), lines.size // PART)

    def fill_part(number: int) -> None:
        part = parts[number]
        _fill_lines(lines[part], part.start, height, planes, depth, *through, *down)

    run(fill_part, len(parts))


@jit
def _along_rows(grid_rows: Any, first: Any, weights: Any, rows: Any) -> None:
    """Interpolate rows of control points at every voxel of a row."""
    for k in range(len(rows)):
        points, row = grid_rows[k], rows[k]
        for x in range(row.size):
            i = first[x]
            total = points[i] * weights[0, x] + points[i + 1] * weights[1, x]
            total += points[i + 2] * weights[2, x]
            row[x] = total + points[i + 3] * weights[3, x]


@jit
def _fill_lines(
    lines: Any,
    start: Any,
    height: Any,
    planes: Any,
    depth: Any,
    z_first: Any,
    z_weights: Any,
    y_first: Any,
    y_weights: Any,
) -> None:
    """Fill lines, of all lines of all fields those from `start` on.

    Parameters
    ----------
    lines : (n, X) array
    start : int
    height : int
        Lines of a plane of a field.
    planes : (fields * depth, rows * X) float64 array
        Rows of control points, interpolated along x.
    depth : int
        Planes of control points of a field.
    z_first, z_weights : arrays
        Taps of the planes of a field; empty where a field is a plane.
    y_first, y_weights : arrays
        Taps of the lines of a plane.
    """
    width = lines.shape[1]
    between = np.empty(planes.shape[1], np.float64)
    done = 0
    while done < len(lines):
        number, y = divmod(start + done, height)
        end = min(height, y + len(lines) - done)
        plane = planes[number]
        if z_first.size:
            field, z = divmod(number, z_first.size)
            first, to = y_first[y] * width, (y_first[end - 1] + 4) * width
            k = field * depth + z_first[z]
            a, b, c, d = planes[k][first:to], planes[k + 1][first:to], planes[k + 2][first:to], planes[k + 3][first:to]
            _add_four(a, b, c, d, z_weights, z, between[first:to].reshape((1, to - first)))
            plane = between
        while y < end:  # the lines of one cell at once: looking up rows for each doubles the time of 128 voxels a line
            stop = y + 1
            while stop < end and y_first[stop] == y_first[y]:
                stop += 1
            rows = plane[y_first[y] * width :]
            a, b, c, d = rows[:width], rows[width:], rows[2 * width :], rows[3 * width :]
            _add_four(a, b, c, d, y_weights, y, lines[done : done + stop - y])
            done, y = done + stop - y, stop


@inner
def _add_four(a: Any, b: Any, c: Any, d: Any, weights: Any, at: Any, lines: Any) -> None:
    """Fill lines with the sum of four others, each times its weight of a line, from number `at` on."""
    for k in range(len(lines)):
        w0, w1, w2, w3 = weights[0, at + k], weights[1, at + k], weights[2, at + k], weights[3, at + k]
        for x in range(lines.shape[1]):
            lines[k, x] = ((a[x] * w0 + b[x] * w1) + c[x] * w2) + d[x] * w3
