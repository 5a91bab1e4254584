"""One row of an interpolated image: vectors where all taps are inside of it, sample by sample where they are not.

`source` is the flat memory of an image, or of its spline coefficients at orders above 1. `grid` says what lies there:
`origin`, the index of the first sample; `shape` and `strides` (in elements, of any sign) of three axes (z, y, x);
`margin`, the number of samples around the image that are written out as its boundary mode has them; `ndim`, how many
axes move, the last ones. `start` is the position of the row's first sample; along x positions increase by `along`, 1
or 0. `moves` are flat displacements, one an axis; those of axes that do not move are not looked at. `part` says where
the row begins in them, how many samples it has, and where it begins in the flat memory of results.

Rows have at most CHUNK samples. Order 1 stands apart from the others because splines take three times as long to
compile.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpu_stackcorr.backends.base import Array

from .compiler import borrowing, inner
from .gathering import linear_sums, spline_sums
from .memory import kept
from .placing import REACH, place_row
from .single_samples import copy_sample, interpolate_sample
from .splines import MOST_TAPS
from .window_places import FARTHEST_OFFSET
from .window_rows import WINDOW_BYTES
from .windows import (
    copied_windows_2d,
    copied_windows_3d,
    cubic_windows_2d,
    linear_windows_2d,
    linear_windows_3d,
)

CHUNK = 1024
"""Samples taken at once."""

SINGLE = 3 * MOST_TAPS
"""The taps of a single sample, at the beginning of working memory."""

LOST = SINGLE + 2 * CHUNK
"""Where the working memory of offsets notes that a displacement was NaN or infinite."""


def working_memory(order: int, dtype: type[np.floating[Any]]) -> tuple[Array, Array, Array]:
    """Return working memory for offsets and for fractions and weights, and a row to interpolate into."""
    rows = 3 + (2 + 3 * (order + 1) if order > 1 else 0)
    offsets = np.empty(LOST + 1, np.int64)
    offsets[LOST] = 0
    return offsets, np.empty(SINGLE + rows * CHUNK, dtype), np.empty(CHUNK, dtype)


def spline_values(count: int) -> Array:
    """Return memory of this thread for so many samples at orders above 1, before they become others than reals.

    Loops that write reals alone are compiled once for all dtypes of results.
    """
    return kept("samples of splines", 8 * count).array((count,), np.float64)


def write_values(values: Array, target: Array, limits: Array) -> None:
    """Write reals to `target`, unless they are there: rounded where it holds integers, within `limits`."""
    if target.dtype.kind != "f":
        _round_values(values, target, limits)
    elif values is not target:
        with np.errstate(over="ignore"):  # what float32 does not hold is infinite
            target[:] = values


@borrowing
def _round_values(values: Any, target: Any, limits: Any) -> None:
    """Let Python call ``round_row``."""
    round_row(values, target, limits)


@inner
def _place(grid: Any, start: Any, along: Any, moves: Any, part: Any, order: Any, offsets: Any, floats: Any) -> Any:
    """Fill offsets and fractions of a row; return whether some samples may be inside, and how many are outside.

    The numbers of the samples that are outside come after the offsets.
    """
    origin, shape, strides, margin, ndim = grid
    first, width, _ = part
    places = offsets[SINGLE : SINGLE + width]
    places[:] = origin
    most, some = 0, 0
    for axis in range(3 - ndim, 3):
        step = along if axis == 2 else 0
        row = floats[SINGLE + axis * CHUNK : SINGLE + axis * CHUNK + width]
        n, stride = shape[axis], strides[axis]
        count = place_row(moves[axis][first : first + width], step, start[axis], n, stride, margin, order, places, row)
        most, some = max(most, count), some + count
    if some:
        some = _list_outside(floats[SINGLE:], width, ndim, offsets[SINGLE + CHUNK :])
    return most < width, some


@inner
def _list_outside(fractions: Any, width: Any, ndim: Any, numbers: Any) -> Any:
    """List the samples of a row that are outside along any axis, without a branch, and return how many there are."""
    count = 0
    tz, ty, tx = fractions, fractions[CHUNK:], fractions[2 * CHUNK :]
    for x in range(width):
        numbers[np.uint64(count)] = x
        count += (tx[x] > 1) | ((ndim > 1) & (ty[x] > 1)) | ((ndim > 2) & (tz[x] > 1))
    return count


@inner
def _interpolate_outside(
    source: Any, grid: Any, start: Any, along: Any, moves: Any, part: Any, count: Any, order: Any, mode: Any, cval: Any,
    memory: Any,
) -> None:  # fmt: skip
    """Compute the samples of a row that are outside, one by one."""
    offsets, floats, values = memory
    for k in range(count):
        x = offsets[SINGLE + CHUNK + k]
        at = (start[0], start[1], start[2] + x * along)
        d = _displacement(moves, part[0] + x, offsets)
        values[part[2] + x] = interpolate_sample(source, grid, at, d, order, mode, cval, offsets, floats)


@inner
def _displacement(moves: Any, x: Any, offsets: Any) -> Any:
    """Return the displacement of one sample; note where it is lost, which no sample can be that is inside."""
    d = np.float64(moves[0][x]), np.float64(moves[1][x]), np.float64(moves[2][x])
    if not (np.isfinite(d[0]) and np.isfinite(d[1]) and np.isfinite(d[2])):
        offsets[LOST] = 1
    return d


@inner
def linear_row(
    source: Any, grid: Any, start: Any, along: Any, moves: Any, part: Any, mode: Any, cval: Any, memory: Any
) -> None:
    """Interpolate at position plus displacement at order 1, into ``memory[2]``."""
    offsets, floats, values = memory
    if grid[4] > 1 and _has_windows(grid, part[1], min(values.itemsize, moves[2].itemsize)):
        outside = _linear_windows(source, grid, start, along, moves, part, values, offsets)
    else:
        some_inside, outside = _place(grid, start, along, moves, part, 1, offsets, floats)
        if some_inside:
            out = values[part[2] : part[2] + part[1]]
            linear_sums(source, offsets[SINGLE:], grid[2], floats[SINGLE:], CHUNK, grid[4], out)
    if outside:
        _interpolate_outside(source, grid, start, along, moves, part, outside, 1, mode, cval, memory)


@inner
def _has_windows(grid: Any, size: Any, itemsize: Any) -> Any:
    """Whether neighbours along x lie side by side, and a row of numbers of a size fills a window."""
    return grid[2][2] == 1 and size * itemsize >= WINDOW_BYTES


@inner
def _linear_windows(
    source: Any, grid: Any, start: Any, along: Any, moves: Any, part: Any, out: Any, offsets: Any
) -> Any:
    """Fill `out` at order 1, two or three axes moving; list the samples outside in `offsets`.

    Return how many they are. Samples are outside, too, where their floors or offsets leave what is exact.
    """
    first, low, high, some_inside = _window_bounds(grid, start, 1)
    if not some_inside:
        return _list_all(offsets, part[1])
    if grid[4] == 2:
        windows = linear_windows_2d(
            source, first, grid[2], low, high, grid[3], along, moves, part, out, offsets, SINGLE
        )  # fmt: skip
    else:
        windows = linear_windows_3d(
            source, first, grid[2], low, high, grid[3], along, moves, part, out, offsets, SINGLE
        )  # fmt: skip
    return _list_bits(offsets, part[1], moves[2].itemsize) if windows else 0


@inner
def _cubic_windows(
    source: Any, grid: Any, start: Any, along: Any, moves: Any, part: Any, out: Any, offsets: Any
) -> Any:
    """Do the same at order 3, two axes moving."""
    first, low, high, some_inside = _window_bounds(grid, start, 3)
    if not some_inside:
        return _list_all(offsets, part[1])
    windows = cubic_windows_2d(source, first, grid[2], low, high, grid[3], along, moves, part, out, offsets, SINGLE)
    return _list_bits(offsets, part[1], moves[2].itemsize) if windows else 0


@inner
def _copied_windows(
    source: Any, grid: Any, start: Any, along: Any, moves: Any, part: Any, out: Any, offsets: Any
) -> Any:
    """Do the same at order 0, two or three axes moving."""
    first, low, high, some_inside = _window_bounds(grid, start, 0)
    if not some_inside:
        return _list_all(offsets, part[1])
    if grid[4] == 2:
        windows = copied_windows_2d(
            source, first, grid[2], low, high, grid[3], along, moves, part, out, offsets, SINGLE
        )  # fmt: skip
    else:
        windows = copied_windows_3d(
            source, first, grid[2], low, high, grid[3], along, moves, part, out, offsets, SINGLE
        )  # fmt: skip
    return _list_bits(offsets, part[1], moves[2].itemsize) if windows else 0


@inner
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


@inner
def _floors_inside(position: Any, n: Any, stride: Any, margin: Any, order: Any) -> Any:
    """Return the least and the greatest floor of a displacement with which all taps along an axis are inside."""
    reach = min(REACH, FARTHEST_OFFSET // max(1, abs(stride)))
    before, after = order // 2, max(order - order // 2, 1)  # order 0 takes either neighbour
    return max(before - margin - position, -reach), min(n - 1 - after + margin - position, reach)


@inner
def _list_all(offsets: Any, width: Any) -> Any:
    """List all samples of a row, and return how many there are."""
    for x in range(width):
        offsets[SINGLE + CHUNK + x] = x
    return width


@inner
def _list_bits(offsets: Any, size: Any, itemsize: Any) -> Any:
    """List the samples of a row whose bits are set, those of the last window once; return how many there are."""
    lanes = WINDOW_BYTES // itemsize
    count, done = 0, 0
    for window in range((size + lanes - 1) // lanes):
        first = min(window * lanes, size - lanes)
        bits = np.uint64(offsets[SINGLE + window]) >> np.uint64(done - first)
        x = done
        while bits:
            if bits & np.uint64(1):
                offsets[SINGLE + CHUNK + count] = x
                count += 1
            bits >>= np.uint64(1)
            x += 1
        done = first + lanes
    return count


@inner
def spline_row(
    source: Any, grid: Any, start: Any, along: Any, moves: Any, part: Any, order: Any, mode: Any, cval: Any, memory: Any
) -> None:
    """Interpolate at position plus displacement at orders above 1, into ``memory[2]``."""
    offsets, floats, values = memory
    if order == 3 and grid[4] == 2 and _has_windows(grid, part[1], min(values.itemsize, moves[2].itemsize)):
        outside = _cubic_windows(source, grid, start, along, moves, part, values, offsets)
    else:
        some_inside, outside = _place(grid, start, along, moves, part, order, offsets, floats)
        if some_inside:
            out = values[part[2] : part[2] + part[1]]
            spline_sums(source, offsets[SINGLE:], grid[2], floats[SINGLE:], CHUNK, grid[4], order, out)
    if outside:
        _interpolate_outside(source, grid, start, along, moves, part, outside, order, mode, cval, memory)


@inner
def copy_row(
    source: Any, grid: Any, start: Any, along: Any, moves: Any, part: Any, mode: Any, fill: Any, memory: Any, out: Any
) -> None:
    """Fill a row of `out` with samples next to position plus displacement (order 0), or `fill` where there are none."""
    offsets, floats, _ = memory
    if grid[4] > 1 and _has_windows(grid, part[1], moves[2].itemsize):
        outside = _copied_windows(source, grid, start, along, moves, part, out, offsets)
    else:
        some_inside, outside = _place(grid, start, along, moves, part, 0, offsets, floats)
        if some_inside:
            for x in range(part[1]):
                out[np.uint64(part[2] + x)] = source[np.uint64(offsets[SINGLE + x])]
    for k in range(outside):
        x = offsets[SINGLE + CHUNK + k]
        at = (start[0], start[1], start[2] + x * along)
        out[part[2] + x] = copy_sample(source, grid, at, _displacement(moves, part[0] + x, offsets), mode, fill)


@inner
def write_row(values: Any, target: Any, rounded: Any, limits: Any) -> None:
    """Write `values` to a row of the result: as they are, or `rounded` to integers."""
    if rounded:
        round_row(values, target, limits)
        return
    for x in range(target.size):
        target[x] = target.dtype.type(values[x])


@inner
def round_row(values: Any, target: Any, limits: Any) -> None:
    """Write `values` to integers: rounded, half away from zero, and clipped to the two `limits`; NaN becomes 0.

    `limits` has the dtype of `target`.
    """
    if target.itemsize <= 2:
        _round_to_narrow(values, target, limits)
    else:
        _round_to_wide(values, target, limits)


@inner
def _round_to_narrow(values: Any, target: Any, limits: Any) -> None:
    """Do it by way of 32-bit integers, which hold the limits: 1024 bytes in 176 ns, else 274 (a core of a Zen 4)."""
    number = target.dtype.type
    low, high = np.float64(limits[0]), np.float64(limits[1])
    for x in range(target.size):
        v = np.float64(values[x])
        v = v if v == v else np.float64(0.0)
        v += np.copysign(0.5, v)
        v = v if v > low else low
        target[x] = number(np.int32(v if v < high else high))


@inner
def _round_to_wide(values: Any, target: Any, limits: Any) -> None:
    """Do it by comparison: as floats the widest limits are 2^63 and 2^64, where not to be below is too much."""
    number = target.dtype.type
    least, most = limits[0], limits[1]
    low, high = np.float64(least), np.float64(most)
    for x in range(target.size):
        v = np.float64(values[x])
        rounded = np.trunc(v + np.copysign(0.5, v))
        whole = number(rounded if (rounded > low) & (rounded < high) else 0.0)
        whole = least if rounded <= low else whole
        target[x] = most if rounded >= high else whole
