"""One sample at a time, wherever it lies: the exact path beside the vectors of ``rows``.

Its arithmetic is that of ``gathering``, in the same order, so that which path a sample takes does not show at orders 0
and 1. Beside a border one sample in thirty comes here; working memory is indexed, not sliced, because each slice of an
array costs two atomic operations (that made a sample take ten times as long).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiler import inner
from .folding import GRID_CONSTANT, enter, fold, nearest
from .splines import MOST_TAPS, spline_weights

FARTHEST = 2.0**62
"""Displacements from here on, like those that are not finite, give `cval`."""

REPLACED = -(2**63)
"""Stands for the offset of a tap whose value is `cval`."""


@inner
def split(d: Any) -> Any:
    """Return floor and fraction of a displacement, and whether it is lost: -1e-17 is 0 + 0.0, not -1 + 1.0."""
    if not abs(d) < FARTHEST:
        return np.int64(0), 0.0, True
    floor = np.floor(d)
    i, f = np.int64(floor), d - floor
    if f >= 1.0:
        return i + 1, 0.0, False
    return i, f, False


@inner
def place(position: Any, d: Any, n: Any, mode: Any) -> Any:
    """Return where a position plus displacement is after what the mode does to it: integer, fraction, whether lost."""
    i, f, lost = split(d)
    if lost:
        return i, f, True
    i, lost = enter(position + i, f, n, mode)
    return i, f, lost


@inner
def _offset(index: Any, n: Any, stride: Any, mode: Any) -> Any:
    """Return the offset of a tap along an axis, folded into the image, or REPLACED."""
    if mode == GRID_CONSTANT and not 0 <= index < n:
        return np.int64(REPLACED)
    return np.int64(fold(index, n, mode) * stride)


@inner
def interpolate_sample(
    source: Any, grid: Any, at: Any, moves: Any, order: Any, mode: Any, cval: Any, taps: Any, weights: Any
) -> Any:
    """Return one sample; orders 1 to 5. `taps` and `weights` are working memory, MOST_TAPS an axis.

    Order 1 adds in SciPy's order: taps in C order, weights axis by axis. Orders above sum axis by axis from the last.
    """
    number = weights.dtype.type
    origin, shape, strides, _, ndim = grid
    for axis in range(3):
        first = axis * MOST_TAPS
        taps[first], weights[first] = 0, number(1)
        if axis >= 3 - ndim:
            i, f, lost = place(at[axis], moves[axis], shape[axis], mode)
            if lost:
                return number(cval)
            i -= order // 2
            if order % 2 == 0:
                i, f = (i + 1, f - 0.5) if f >= 0.5 else (i, f + 0.5)
            spline_weights(number(f), order, weights, first)
            for k in range(order + 1):
                taps[first + k] = _offset(i + k, shape[axis], strides[axis], mode)
    total = number(0)
    for k in range(order + 1 if ndim > 2 else 1):
        plane = number(0)
        for j in range(order + 1 if ndim > 1 else 1):
            line = number(0)
            for i in range(order + 1):
                z, y, x = taps[k], taps[MOST_TAPS + j], taps[2 * MOST_TAPS + i]
                value = number(cval)
                if z != REPLACED and y != REPLACED and x != REPLACED:
                    value = number(source[np.uint64(origin + z + y + x)])
                if order == 1:
                    total += value * weights[k] * weights[MOST_TAPS + j] * weights[2 * MOST_TAPS + i]
                else:
                    line += value * weights[2 * MOST_TAPS + i]
            plane += line * weights[MOST_TAPS + j]
        if order > 1:
            total += plane * weights[k]
    return total


@inner
def copy_sample(source: Any, grid: Any, at: Any, moves: Any, mode: Any, fill: Any) -> Any:
    """Return the sample next to one position; `fill` where there is none."""
    offset, shape, strides, _, ndim = grid
    for axis in range(3 - ndim, 3):
        i, f, lost = place(at[axis], moves[axis], shape[axis], mode)
        if lost:
            return fill
        along = _offset(nearest(i, f, shape[axis], mode), shape[axis], strides[axis], mode)
        if along == REPLACED:
            return fill
        offset += along
    return source[np.uint64(offset)]
