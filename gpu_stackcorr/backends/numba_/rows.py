"""One row of an interpolated image: vectors where all taps are inside of it, sample by sample where they are not.

`source` is the flat memory of an image, or of its spline coefficients at orders above 1; `origin` is where its first
sample lies in that, `shape` and `strides` (in elements, of any sign) are those of three axes (z, y, x), of which the
last `ndim` move. `start` is the position of the row's first sample; along x positions increase by `along`, 1 or 0.
`moves` are rows of displacements, one an axis; those of axes that do not move are not looked at.

Rows have at most CHUNK samples. Order 1 stands apart from the others because splines take three times as long to
compile.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gpu_stackcorr.backends.base import Array

from .compiler import jit
from .gathering import linear_sums, spline_sums
from .placing import place_row
from .single_samples import copy_sample, interpolate_sample
from .splines import MOST_TAPS

CHUNK = 512
"""Samples taken at once: their intermediate rows fill half of a first cache of 32 KiB at order 1."""

FRACTIONS = 3 * MOST_TAPS
"""Where the fractions begin in working memory, after the weights of a single sample."""


def working_memory(order: int, dtype: type[np.floating[Any]]) -> tuple[Array, Array, Array]:
    """Return working memory for offsets and for fractions and weights, and a row to interpolate into."""
    rows = 3 + (2 + 3 * (order + 1) if order > 1 else 0)
    floats = np.empty(FRACTIONS + rows * CHUNK, dtype)
    return np.empty(3 * MOST_TAPS + CHUNK, np.int64), floats, np.empty(CHUNK, dtype)


@jit
def chunks(moves: Any, z: Any, y: Any, x: Any) -> Any:
    """Return CHUNK displacements of each axis from a place in a block on, or those that are left of the row."""
    return moves[0][z, y][x : x + CHUNK], moves[1][z, y][x : x + CHUNK], moves[2][z, y][x : x + CHUNK]


@jit
def _place(
    origin: Any, shape: Any, strides: Any, start: Any, along: Any, moves: Any, ndim: Any, order: Any,
    offsets: Any, floats: Any,
) -> Any:  # fmt: skip
    """Fill offsets and fractions of a row; return whether some samples may be inside, and whether some are outside."""
    width = moves[2].size
    places = offsets[3 * MOST_TAPS : 3 * MOST_TAPS + width]
    places[:] = origin
    most, total = 0, 0
    for axis in range(3 - ndim, 3):
        step = along if axis == 2 else 0
        row = floats[FRACTIONS + axis * CHUNK : FRACTIONS + axis * CHUNK + width]
        count = place_row(moves[axis], step, start[axis], shape[axis], strides[axis], order, places, row)
        most, total = max(most, count), total + count
    return most < width, total > 0


@jit
def _is_outside(floats: Any, ndim: Any, x: Any) -> Any:
    """Whether sample x of the row has to be computed alone."""
    outside = False
    for axis in range(3 - ndim, 3):
        outside |= floats[FRACTIONS + axis * CHUNK + x] > 1
    return outside


@jit
def _interpolate_outside(
    source: Any, origin: Any, shape: Any, strides: Any, start: Any, along: Any, moves: Any, ndim: Any, order: Any,
    mode: Any, cval: Any, offsets: Any, floats: Any, out: Any,
) -> None:  # fmt: skip
    """Compute the samples of a row that `place_row` found outside."""
    for x in range(out.size):
        if _is_outside(floats, ndim, x):
            d = (np.float64(moves[0][x]), np.float64(moves[1][x]), np.float64(moves[2][x]))
            at = (start[0], start[1], start[2] + x * along)
            out[x] = interpolate_sample(source, origin, shape, strides, at, d, ndim, order, mode, cval, offsets, floats)


@jit
def linear_row(
    source: Any, origin: Any, shape: Any, strides: Any, start: Any, along: Any, moves: Any, ndim: Any,
    mode: Any, cval: Any, memory: Any,
) -> None:  # fmt: skip
    """Interpolate at position plus displacement at order 1, into the row ``memory[2]``."""
    offsets, floats, values = memory
    out = values[: moves[2].size]
    some_inside, some_outside = _place(origin, shape, strides, start, along, moves, ndim, 1, offsets, floats)
    if some_inside:
        linear_sums(source, offsets[3 * MOST_TAPS :], strides, floats[FRACTIONS:], CHUNK, ndim, out)
    if some_outside:
        _interpolate_outside(
            source, origin, shape, strides, start, along, moves, ndim, 1, mode, cval, offsets, floats, out
        )


@jit
def spline_row(
    source: Any, origin: Any, shape: Any, strides: Any, start: Any, along: Any, moves: Any, ndim: Any, order: Any,
    mode: Any, cval: Any, memory: Any,
) -> None:  # fmt: skip
    """Interpolate at position plus displacement at orders above 1, into the row ``memory[2]``."""
    offsets, floats, values = memory
    out = values[: moves[2].size]
    some_inside, some_outside = _place(origin, shape, strides, start, along, moves, ndim, order, offsets, floats)
    if some_inside:
        spline_sums(source, offsets[3 * MOST_TAPS :], strides, floats[FRACTIONS:], CHUNK, ndim, order, out)
    if some_outside:
        _interpolate_outside(
            source, origin, shape, strides, start, along, moves, ndim, order, mode, cval, offsets, floats, out
        )


@jit
def copy_row(
    source: Any, origin: Any, shape: Any, strides: Any, start: Any, along: Any, moves: Any, ndim: Any,
    mode: Any, fill: Any, memory: Any, out: Any,
) -> None:  # fmt: skip
    """Fill `out` with the samples next to position plus displacement (order 0); `fill` where there are none."""
    offsets, floats, _ = memory
    some_inside, some_outside = _place(origin, shape, strides, start, along, moves, ndim, 0, offsets, floats)
    places = offsets[3 * MOST_TAPS :]
    if some_inside:
        for x in range(out.size):
            out[x] = source[np.uint64(places[x])]
    if some_outside:
        for x in range(out.size):
            if _is_outside(floats, ndim, x):
                d = (np.float64(moves[0][x]), np.float64(moves[1][x]), np.float64(moves[2][x]))
                at = (start[0], start[1], start[2] + x * along)
                out[x] = copy_sample(source, origin, shape, strides, at, d, ndim, mode, fill)


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
