"""Symmetric FIR filters: of one line here, of many lines side by side in `fir_blocks`.

Each sum starts at the centre and goes on with the outermost pair, inwards, as in SciPy's ``NI_Correlate1D``:
``sum = w[0] x[0]``, then ``sum += (x[-t] + x[t]) w[t]`` for t from the radius to 1. In float64 each operation is
rounded as it stands there, and the result has SciPy's digits. In float32 a product and its sum may be fused into one
operation. The place of an output decides nothing, as the same instructions compute all: lengths are multiples of the
vectors', what lies beyond the end of a line is computed as well and dropped.

*Along a line* nothing is shared by the outputs of different vectors, and half of the reads straddle two cache lines,
which is a third as fast on a Zen 5: it is left with what has few lines, or lines that alternate in short rows. Lines of
the last axis are turned to lie side by side (see `transposing`).
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import overload

TOGETHER = 4
"""Pairs of taps that meet in registers. The code is written out for this number."""

GRAIN = 64
"""Outputs along a line are computed in multiples of this number, which is one of any vector length."""


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


@overload(filter_row, jit_options={"fastmath": {"contract"}})
def _row_in_float32(window: Any, step: Any, weights: Any, sums: Any) -> Any:  # noqa: ARG001
    return filter_row if weights.dtype == types.float32 else None


@overload(filter_row, jit_options={"fastmath": False})
def _row_in_float64(window: Any, step: Any, weights: Any, sums: Any) -> Any:  # noqa: ARG001
    return filter_row if weights.dtype == types.float64 else None
