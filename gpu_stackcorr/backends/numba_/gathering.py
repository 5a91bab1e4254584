"""Weighted sums of taps at the offsets of a row, where all taps are inside of the image.

For what `windows` does not take: one dimension, images with gaps along x, short rows, order 3 in three dimensions, and
the other orders.

Loads are scalar, and what is done with them runs in vectors: hardware gathers are slower on processors of AMD, and a
separate pass that picks samples into row buffers was no faster on two cores of a Zen 3 (2.0 against 1.9 ns a sample;
picking two neighbours as one 64-bit word 1.5, within the noise once the image leaves the first cache).

Order 1 multiplies and adds in SciPy's order: taps in C order, weights axis by axis. Nothing is contracted, so that one
sample gives the same bits here and alone. A tap of weight 0 is a tap: NaN spreads from it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .compiler import inner
from .splines import spline_weight_rows


@inner
def linear_sums(source: Any, offsets: Any, strides: Any, fractions: Any, width: Any, ndim: Any, out: Any) -> None:
    """Fill `out` with sums of 2, 4 or 8 taps a sample; `fractions` has three rows, `width` apart."""
    tz, ty, tx = fractions, fractions[width:], fractions[2 * width :]
    number = out.dtype.type
    one = number(1)
    sz, sy, sx = strides
    if ndim == 1:
        for x in range(out.size):
            p = offsets[x]
            out[x] = number(source[np.uint64(p)]) * (one - tx[x]) + number(source[np.uint64(p + sx)]) * tx[x]
        return
    if ndim == 2:
        for x in range(out.size):
            p, y1, x1 = offsets[x], ty[x], tx[x]
            y0, x0 = one - y1, one - x1
            total = number(source[np.uint64(p)]) * y0 * x0
            total += number(source[np.uint64(p + sx)]) * y0 * x1
            total += number(source[np.uint64(p + sy)]) * y1 * x0
            total += number(source[np.uint64(p + sy + sx)]) * y1 * x1
            out[x] = total
        return
    for x in range(out.size):
        p, z1, y1, x1 = offsets[x], tz[x], ty[x], tx[x]
        z0, y0, x0 = one - z1, one - y1, one - x1
        total = number(source[np.uint64(p)]) * z0 * y0 * x0
        total += number(source[np.uint64(p + sx)]) * z0 * y0 * x1
        total += number(source[np.uint64(p + sy)]) * z0 * y1 * x0
        total += number(source[np.uint64(p + sy + sx)]) * z0 * y1 * x1
        p += sz
        total += number(source[np.uint64(p)]) * z1 * y0 * x0
        total += number(source[np.uint64(p + sx)]) * z1 * y0 * x1
        total += number(source[np.uint64(p + sy)]) * z1 * y1 * x0
        total += number(source[np.uint64(p + sy + sx)]) * z1 * y1 * x1
        out[x] = total


@inner
def spline_sums(
    source: Any, offsets: Any, strides: Any, floats: Any, width: Any, ndim: Any, order: Any, out: Any
) -> None:
    """Fill `out` with sums of (order + 1)^ndim taps a sample, axis by axis from the last.

    `floats` begins with three rows of fractions, `width` apart; what follows is working memory.
    """
    taps = order + 1
    line, plane = floats[3 * width : 3 * width + out.size], floats[4 * width : 4 * width + out.size]
    for axis in range(3 - ndim, 3):
        weights = floats[(5 + axis * taps) * width :]
        spline_weight_rows(floats[axis * width : axis * width + out.size], order, weights, width)
    wx = floats[(5 + 2 * taps) * width :]
    for k in range(taps if ndim > 2 else 1):
        for j in range(taps if ndim > 1 else 1):
            delta = (k * strides[0] if ndim > 2 else 0) + (j * strides[1] if ndim > 1 else 0)
            if order == 3:
                _cubic_line(source, offsets, delta, strides[2], wx, width, line)
            else:
                _spline_line(source, offsets, delta, strides[2], wx, width, order, line)
            if ndim > 1:
                wy = floats[(5 + taps + j) * width :]
                _weigh(line, wy, j == 0, plane)
        if ndim > 2:
            _weigh(plane, floats[(5 + k) * width :], k == 0, out)
    if ndim < 3:
        sums = line if ndim == 1 else plane
        for x in range(out.size):
            out[x] = sums[x]


@inner
def _spline_line(
    source: Any, offsets: Any, delta: Any, sx: Any, weights: Any, width: Any, order: Any, out: Any
) -> None:
    """Fill `out` with the sums of order + 1 taps along the last axis, a pass a tap; `weights` are rows."""
    number = out.dtype.type
    out[:] = number(0)
    for k in range(order + 1):
        shift = delta + k * sx
        row = weights[k * width : k * width + out.size]
        for x in range(out.size):
            out[x] += number(source[np.uint64(offsets[x] + shift)]) * row[x]


@inner
def _cubic_line(source: Any, offsets: Any, delta: Any, sx: Any, weights: Any, width: Any, out: Any) -> None:
    """Do the same for the four taps of order 3, in one pass: 1.5 times as fast."""
    number = out.dtype.type
    w0, w1, w2, w3 = weights, weights[width:], weights[2 * width :], weights[3 * width :]
    for x in range(out.size):
        p = offsets[x] + delta
        total = number(source[np.uint64(p)]) * w0[x]
        total += number(source[np.uint64(p + sx)]) * w1[x]
        total += number(source[np.uint64(p + 2 * sx)]) * w2[x]
        total += number(source[np.uint64(p + 3 * sx)]) * w3[x]
        out[x] = total


@inner
def _weigh(values: Any, weight: Any, first: Any, out: Any) -> None:
    """Add values times weight to `out`, which holds nothing yet where this is the `first`."""
    if first:
        out[:] = out.dtype.type(0)
    for x in range(out.size):
        out[x] += values[x] * weight[x]
