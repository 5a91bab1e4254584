"""Symmetric FIR filters: of many lines side by side, and of one line.

Each sum starts at the centre and goes on with the outermost pair, inwards, as in SciPy's ``NI_Correlate1D``:
``sum = w[0] x[0]``, then ``sum += (x[-t] + x[t]) w[t]`` for t from the radius to 1. In float64 each operation is
rounded as it stands there, and the result has SciPy's digits. In float32 a product and its sum may be fused into one
operation. The place of an output decides nothing, as the same instructions compute all: lengths are multiples of the
vectors', what lies beyond the end of a line is computed as well and dropped.

*Side by side*, the vector loop runs across the lines, and four outputs and four pairs of taps meet in registers:
18 reads serve 16 additions and 16 multiplications. Lines of the last axis are turned for it (see `transposing`). *Along
a line* nothing is shared by the outputs of different vectors, and half of the reads straddle two cache lines, which is
a third as fast on a Zen 5: it is left with what has few lines, or lines that alternate in short rows.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import overload

LANES = 128
"""Lines side by side: a constant of the code, since known only at run time it halves the speed. 64 and 32 lose by the
way in which they read memory, a row of a page at a time (2.1 and 1.8 ms against 1.2 ms for 768 x 1024, radius 20)."""

BLOCK = 16
"""Outputs of each of the lines side by side that one call computes."""

TOGETHER = 4
"""Outputs, and pairs of taps, that meet in registers. The code of the filters is written out for this number."""

GRAIN = 64
"""Outputs along a line are computed in multiples of this number, which is one of any vector length."""


def filter_block(window: Any, weights: Any, sums: Any) -> Any:
    """Filter BLOCK positions of LANES lines.

    Parameters
    ----------
    window : array of (BLOCK + 2 * radius) * LANES or more
        The first output is at row `radius`.
    weights : array of radius + 1
        Weights of the samples at distances 0 to `radius`.
    sums : array of BLOCK * LANES
        Where the outputs go.
    """
    radius = weights.size - 1
    for row in range(0, BLOCK, TOGETHER):
        total = sums[row * LANES : (row + TOGETHER) * LANES]
        centre = window[(row + radius) * LANES : (row + radius + TOGETHER) * LANES]
        for c in range(TOGETHER * LANES):
            total[c] = centre[c] * weights[0]
        t = radius
        while t >= TOGETHER:
            w0, w1, w2, w3 = weights[t], weights[t - 1], weights[t - 2], weights[t - 3]
            a = window[(row + radius - t) * LANES : (row + radius - t + 2 * TOGETHER - 1) * LANES]
            b = window[(row + radius + t - 3) * LANES : (row + radius + t + TOGETHER) * LANES]
            for c in range(LANES):
                s0, s1, s2, s3 = total[c], total[c + LANES], total[c + 2 * LANES], total[c + 3 * LANES]
                s0 += (a[c] + b[c + 3 * LANES]) * w0
                s1 += (a[c + LANES] + b[c + 4 * LANES]) * w0
                s2 += (a[c + 2 * LANES] + b[c + 5 * LANES]) * w0
                s3 += (a[c + 3 * LANES] + b[c + 6 * LANES]) * w0
                s0 += (a[c + LANES] + b[c + 2 * LANES]) * w1
                s1 += (a[c + 2 * LANES] + b[c + 3 * LANES]) * w1
                s2 += (a[c + 3 * LANES] + b[c + 4 * LANES]) * w1
                s3 += (a[c + 4 * LANES] + b[c + 5 * LANES]) * w1
                s0 += (a[c + 2 * LANES] + b[c + LANES]) * w2
                s1 += (a[c + 3 * LANES] + b[c + 2 * LANES]) * w2
                s2 += (a[c + 4 * LANES] + b[c + 3 * LANES]) * w2
                s3 += (a[c + 5 * LANES] + b[c + 4 * LANES]) * w2
                s0 += (a[c + 3 * LANES] + b[c]) * w3
                s1 += (a[c + 4 * LANES] + b[c + LANES]) * w3
                s2 += (a[c + 5 * LANES] + b[c + 2 * LANES]) * w3
                s3 += (a[c + 6 * LANES] + b[c + 3 * LANES]) * w3
                total[c], total[c + LANES], total[c + 2 * LANES], total[c + 3 * LANES] = s0, s1, s2, s3
            t -= TOGETHER
        while t > 0:
            w0 = weights[t]
            a = window[(row + radius - t) * LANES : (row + radius - t + TOGETHER) * LANES]
            b = window[(row + radius + t) * LANES : (row + radius + t + TOGETHER) * LANES]
            for c in range(TOGETHER * LANES):
                total[c] += (a[c] + b[c]) * w0
            t -= 1


def filter_row(window: Any, step: Any, weights: Any, sums: Any) -> Any:
    """Filter neighbouring positions of one line, or of `step` lines that alternate.

    Parameters
    ----------
    window : array of ``sums.size + 2 * radius * step`` or more
        The first output is at position ``radius * step``.
    step : int
        Distance of neighbours on a line.
    weights : array of radius + 1
        Weights of the samples at distances 0 to `radius`.
    sums : array
        Where the outputs go; its size is a multiple of GRAIN.
    """
    t = weights.size - 1
    count = sums.size
    middle = t * step
    centre = window[middle : middle + count]
    for c in range(count):
        sums[c] = centre[c] * weights[0]
    while t >= TOGETHER:
        w0, w1, w2, w3 = weights[t], weights[t - 1], weights[t - 2], weights[t - 3]
        a0, b0 = window[middle - t * step :], window[middle + t * step :]
        a1, b1 = window[middle - (t - 1) * step :], window[middle + (t - 1) * step :]
        a2, b2 = window[middle - (t - 2) * step :], window[middle + (t - 2) * step :]
        a3, b3 = window[middle - (t - 3) * step :], window[middle + (t - 3) * step :]
        for c in range(count):
            total = sums[c]
            total += (a0[c] + b0[c]) * w0
            total += (a1[c] + b1[c]) * w1
            total += (a2[c] + b2[c]) * w2
            total += (a3[c] + b3[c]) * w3
            sums[c] = total
        t -= TOGETHER
    while t > 0:
        w0 = weights[t]
        a0, b0 = window[middle - t * step :], window[middle + t * step :]
        for c in range(count):
            sums[c] += (a0[c] + b0[c]) * w0
        t -= 1


@overload(filter_block, jit_options={"fastmath": {"contract"}})
def _block_in_float32(window: Any, weights: Any, sums: Any) -> Any:  # noqa: ARG001
    return filter_block if weights.dtype == types.float32 else None


@overload(filter_block, jit_options={"fastmath": False})
def _block_in_float64(window: Any, weights: Any, sums: Any) -> Any:  # noqa: ARG001
    return filter_block if weights.dtype == types.float64 else None


@overload(filter_row, jit_options={"fastmath": {"contract"}})
def _row_in_float32(window: Any, step: Any, weights: Any, sums: Any) -> Any:  # noqa: ARG001
    return filter_row if weights.dtype == types.float32 else None


@overload(filter_row, jit_options={"fastmath": False})
def _row_in_float64(window: Any, step: Any, weights: Any, sums: Any) -> Any:  # noqa: ARG001
    return filter_row if weights.dtype == types.float64 else None
