"""One row of an interpolated image: vectors where all taps are inside of it, sample by sample where they are not.

`source` is the flat memory of an image, or of its spline coefficients at orders above 1. `grid` says what lies there:
`origin`, the index of the first sample; `shape` and `strides` (in elements, of any sign) of three axes (z, y, x);
`margin`, the number of samples around the image that are written out as its boundary mode has them; `ndim`, how many
axes move, the last ones. `start` is the position of the row's first sample; along x positions increase by `along`, 1
or 0. `moves` are rows of displacements, one an axis; those of axes that do not move are not looked at.

Rows have at most CHUNK samples. Order 1 stands apart from the others because splines take three times as long to
compile.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpu_stackcorr.backends.base import Array

from .compiler import jit
from .gathering import linear_sums, spline_sums
from .placing import REACH, place_row
from .single_samples import copy_sample, interpolate_sample
from .splines import MOST_TAPS
from .windows import (
    FARTHEST_OFFSET,
    WINDOW_BYTES,
    copied_windows_2d,
    copied_windows_3d,
    cubic_windows_2d,
    linear_windows_2d,
    linear_windows_3d,
)

CHUNK = 1024
"""Samples taken at once. A chunk costs 0.2 microseconds, a seventh of order 1 where it has 512 samples, on two cores of
a Zen 5; working memory that grows beyond a first cache, as at order 5, costs no more than that."""

SINGLE = 3 * MOST_TAPS
"""The taps of a single sample, at the beginning of working memory."""


def working_memory(order: int, dtype: type[np.floating[Any]]) -> tuple[Array, Array, Array]:
    """Return working memory for offsets and for fractions and weights, and a row to interpolate into."""
    rows = 3 + (2 + 3 * (order + 1) if order > 1 else 0)
    return np.empty(SINGLE + 2 * CHUNK, np.int64), np.empty(SINGLE + rows * CHUNK, dtype), np.empty(CHUNK, dtype)


@jit
def chunks(moves: Any, z: Any, y: Any, x: Any) -> Any:
    """Return CHUNK displacements of each axis from a place in a block on, or those that are left of the row."""
    return moves[0][z, y][x : x + CHUNK], moves[1][z, y][x : x + CHUNK], moves[2][z, y][x : x + CHUNK]


@jit
def _place(grid: Any, start: Any, along: Any, moves: Any, order: Any, offsets: Any, floats: Any) -> Any:
    """Fill offsets and fractions of a row; return whether some samples may be inside, and how many are outside.

    The numbers of the samples that are outside come after the offsets.
    """
    origin, shape, strides, margin, ndim = grid
    width = moves[2].size
    places = offsets[SINGLE : SINGLE + width]
    places[:] = origin
    most, some = 0, 0
    for axis in range(3 - ndim, 3):
        step = along if axis == 2 else 0
        row = floats[SINGLE + axis * CHUNK : SINGLE + axis * CHUNK + width]
        n, stride = shape[axis], strides[axis]
        count = place_row(moves[axis], step, start[axis], n, stride, margin, order, places, row)
        most, some = max(most, count), some + count
    if some:
        some = _list_outside(floats[SINGLE:], width, ndim, offsets[SINGLE + CHUNK :])
    return most < width, some


@jit
def _list_outside(fractions: Any, width: Any, ndim: Any, numbers: Any) -> Any:
    """List the samples of a row that are outside along any axis, without a branch, and return how many there are."""
    count = 0
    tz, ty, tx = fractions, fractions[CHUNK:], fractions[2 * CHUNK :]
    for x in range(width):
        numbers[np.uint64(count)] = x
        count += (tx[x] > 1) | ((ndim > 1) & (ty[x] > 1)) | ((ndim > 2) & (tz[x] > 1))
    return count


@jit
def _interpolate_outside(
    source: Any, grid: Any, start: Any, along: Any, moves: Any, count: Any, order: Any, mode: Any, cval: Any,
    memory: Any,
) -> None:  # fmt: skip
    """Compute the samples of a row that are outside, one by one."""
    offsets, floats, values = memory
    for k in range(count):
        x = offsets[SINGLE + CHUNK + k]
        d = (np.float64(moves[0][x]), np.float64(moves[1][x]), np.float64(moves[2][x]))
        at = (start[0], start[1], start[2] + x * along)
        values[x] = interpolate_sample(source, grid, at, d, order, mode, cval, offsets, floats)


@jit
def linear_row(source: Any, grid: Any, start: Any, along: Any, moves: Any, mode: Any, cval: Any, memory: Any) -> None:
    """Interpolate at position plus displacement at order 1, into the row ``memory[2]``."""
    offsets, floats, values = memory
    out = values[: moves[2].size]
    if grid[4] > 1 and _has_windows(grid, out.size, out.itemsize):
        outside = _linear_windows(source, grid, start, along, moves, out, offsets[SINGLE:])
    else:
        some_inside, outside = _place(grid, start, along, moves, 1, offsets, floats)
        if some_inside:
            linear_sums(source, offsets[SINGLE:], grid[2], floats[SINGLE:], CHUNK, grid[4], out)
    if outside:
        _interpolate_outside(source, grid, start, along, moves, outside, 1, mode, cval, memory)


@jit
def _has_windows(grid: Any, size: Any, itemsize: Any) -> Any:
    """Whether neighbours along x lie side by side, and a row of numbers of a size fills a window."""
    return grid[2][2] == 1 and size * itemsize >= WINDOW_BYTES


@jit
def _linear_windows(source: Any, grid: Any, start: Any, along: Any, moves: Any, out: Any, numbers: Any) -> Any:
    """Fill `out` at order 1, two or three axes moving; list the samples outside behind the first CHUNK of `numbers`.

    Return how many they are. Samples are outside, too, where their floors or offsets leave what is exact.
    """
    first, low, high, some_inside = _window_bounds(grid, start, 1)
    if not some_inside:
        return _list_all(numbers, out)
    if grid[4] == 2:
        windows = linear_windows_2d(source, first, grid[2], low, high, grid[3], along, moves, out, numbers)
    else:
        windows = linear_windows_3d(source, first, grid[2], low, high, grid[3], along, moves, out, numbers)
    return _list_bits(numbers, out.size, out.itemsize) if windows else 0


@jit
def _cubic_windows(source: Any, grid: Any, start: Any, along: Any, moves: Any, out: Any, numbers: Any) -> Any:
    """Do the same at order 3, two axes moving."""
    first, low, high, some_inside = _window_bounds(grid, start, 3)
    if not some_inside:
        return _list_all(numbers, out)
    windows = cubic_windows_2d(source, first, grid[2], low, high, grid[3], along, moves, out, numbers)
    return _list_bits(numbers, out.size, out.itemsize) if windows else 0


@jit
def _copied_windows(source: Any, grid: Any, start: Any, along: Any, moves: Any, out: Any, numbers: Any) -> Any:
    """Do the same at order 0, two or three axes moving."""
    first, low, high, some_inside = _window_bounds(grid, start, 0)
    if not some_inside:
        return _list_all(numbers, out)
    if grid[4] == 2:
        windows = copied_windows_2d(source, first, grid[2], low, high, grid[3], along, moves, out, numbers)
    else:
        windows = copied_windows_3d(source, first, grid[2], low, high, grid[3], along, moves, out, numbers)
    return _list_bits(numbers, out.size, moves[2].itemsize) if windows else 0


@jit
def _window_bounds(grid: Any, start: Any, order: Any) -> Any:
    """Return where the first tap of a row lies, the least and greatest floors inside, and whether there are any."""
    origin, shape, strides, margin, ndim = grid
    before = order // 2
    z0, z1 = _floors_inside(start[0], shape[0], strides[0], margin, order)
    y0, y1 = _floors_inside(start[1], shape[1], strides[1], margin, order)
    x0, x1 = _floors_inside(start[2], shape[2], strides[2], margin, order)
    some_inside = x0 <= x1 and y0 <= y1 and (ndim < 3 or z0 <= z1)
    first = origin + (start[1] - before) * strides[1] + (start[2] - before) * strides[2]
    if ndim > 2:
        first += (start[0] - before) * strides[0]
    return first, (z0, y0, x0), (z1, y1, x1), some_inside


@jit
def _floors_inside(position: Any, n: Any, stride: Any, margin: Any, order: Any) -> Any:
    """Return the least and the greatest floor of a displacement with which all taps along an axis are inside."""
    reach = min(REACH, FARTHEST_OFFSET // max(1, abs(stride)))
    before, after = order // 2, max(order - order // 2, 1)  # order 0 takes either neighbour
    return max(before - margin - position, -reach), min(n - 1 - after + margin - position, reach)


@jit
def _list_all(numbers: Any, out: Any) -> Any:
    """List all samples of a row, and return how many there are."""
    for x in range(out.size):
        numbers[CHUNK + x] = x
    return out.size


@jit
def _list_bits(numbers: Any, size: Any, itemsize: Any) -> Any:
    """List the samples of a row whose bits are set, those of the last window once; return how many there are."""
    lanes = WINDOW_BYTES // itemsize
    count, done = 0, 0
    for window in range((size + lanes - 1) // lanes):
        first = min(window * lanes, size - lanes)
        bits = np.uint64(numbers[window]) >> np.uint64(done - first)
        x = done
        while bits:
            if bits & np.uint64(1):
                numbers[CHUNK + count] = x
                count += 1
            bits >>= np.uint64(1)
            x += 1
        done = first + lanes
    return count


@jit
def spline_row(
    source: Any, grid: Any, start: Any, along: Any, moves: Any, order: Any, mode: Any, cval: Any, memory: Any
) -> None:
    """Interpolate at position plus displacement at orders above 1, into the row ``memory[2]``."""
    offsets, floats, values = memory
    out = values[: moves[2].size]
    if order == 3 and grid[4] == 2 and _has_windows(grid, out.size, out.itemsize):
        outside = _cubic_windows(source, grid, start, along, moves, out, offsets[SINGLE:])
    else:
        some_inside, outside = _place(grid, start, along, moves, order, offsets, floats)
        if some_inside:
            spline_sums(source, offsets[SINGLE:], grid[2], floats[SINGLE:], CHUNK, grid[4], order, out)
    if outside:
        _interpolate_outside(source, grid, start, along, moves, outside, order, mode, cval, memory)


@jit
def copy_row(
    source: Any, grid: Any, start: Any, along: Any, moves: Any, mode: Any, fill: Any, memory: Any, out: Any
) -> None:
    """Fill `out` with the samples next to position plus displacement (order 0); `fill` where there are none."""
    offsets, floats, _ = memory
    if grid[4] > 1 and _has_windows(grid, out.size, moves[2].itemsize):
        outside = _copied_windows(source, grid, start, along, moves, out, offsets[SINGLE:])
    else:
        some_inside, outside = _place(grid, start, along, moves, 0, offsets, floats)
        if some_inside:
            places = offsets[SINGLE:]
            for x in range(out.size):
                out[x] = source[np.uint64(places[x])]
    for k in range(outside):
        x = offsets[SINGLE + CHUNK + k]
        d = (np.float64(moves[0][x]), np.float64(moves[1][x]), np.float64(moves[2][x]))
        at = (start[0], start[1], start[2] + x * along)
        out[x] = copy_sample(source, grid, at, d, mode, fill)


@jit
def write_row(values: Any, target: Any, rounded: Any, limits: Any) -> None:
    """Write `values` to a row of the result: as they are, or `rounded` to integers."""
    if rounded:
        round_row(values, target, limits)
        return
    for x in range(target.size):
        target[x] = target.dtype.type(values[x])


@jit
def round_row(values: Any, target: Any, limits: Any) -> None:
    """Write `values` to integers: rounded, half away from zero, and clipped to the two `limits`; NaN becomes 0.

    `limits` has the dtype of `target`. As floats the widest are 2^63 and 2^64: there, not to be below is too much.
    """
    number = target.dtype.type
    least, most = limits[0], limits[1]
    low, high = np.float64(least), np.float64(most)
    for x in range(target.size):
        v = np.float64(values[x])
        rounded = np.trunc(v + np.copysign(0.5, v))
        whole = number(rounded if (rounded > low) & (rounded < high) else 0.0)
        whole = least if rounded <= low else whole
        target[x] = most if rounded >= high else whole
