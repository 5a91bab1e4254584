"""Rows at orders 0, 1 and 3 where neighbours along x lie side by side: placed window by window, then filled.

A window is as many samples as a vector of 64 bytes holds. Its displacements become 32-bit offsets in vectors (see
``window_places``); the neighbours along x that a sample needs of each line come by one load, a sample at a time, and
weights and sums are vectors again (``window_sums``). In one loop a window would wait for its own offsets before it
could pick, and no processor looks far enough ahead to hide that: 16 samples at order 1 took 17.5 ns on a core of a
Zen 5, in two loops 13.7.

It is written in vectors, as LLVM IR without any instruction of a particular processor, since LLVM does not make them
of a plain loop: with loops over samples (``placing``, ``gathering``), or where it takes hardware gathers of single
samples, a row takes two (orders 0 and 1) to three times (order 3) as long.

At order 0 a sample is a word of its size, whatever it stands for. At order 1 taps are added as in SciPy: in C order,
weights axis by axis. Nothing is contracted, so that a sample has the same bits here and alone.
"""

from __future__ import annotations

from typing import Any

from numba.core import types
from numba.extending import intrinsic

from .window_places import place_windows
from .window_rows import Row
from .window_sums import fill_windows

tuples: Any = types


def _windows(ndim: int, order: int) -> Any:
    """Return the intrinsic for the last `ndim` axes of three."""

    @intrinsic
    def windows(
        _typing: Any, source: Any, _first: Any, _strides: Any, _low: Any, _high: Any, _margin: Any, _along: Any,
        moves: Any, _part: Any, out: Any, outside: Any, _outside_at: Any,
    ) -> Any:  # fmt: skip
        """Fill `out` with samples, and return in how many windows some are outside.

        Parameters
        ----------
        source : flat array
        _first : int
            Index of the first tap of the row's first sample, not displaced.
        _strides : three ints
            In elements; that of x is 1.
        _low, _high : three ints each
            Where floors, counted from the row's first sample, have all their taps inside.
        _margin : int
            How much of that lies beyond the image, where order 0 does not take halves: which way they go depends on the
            mode.
        _along : int
            By how much the position along x increases from sample to sample: 1 or 0.
        moves : three flat arrays of displacements
        _part : three ints
            Where the row begins in them, its samples, a window or more, and where it begins in `out`.
        out : flat array of float32 or float64, at order 0 of words
        outside : int64 array
            From `_outside_at` on, for each window of displacements its samples that are outside, as bits. The last
            window ends with the row. Behind that is working memory, half a word a sample.
        """
        triple = tuples.UniTuple(types.int64, 3)
        integer = types.int64
        before = (source, integer, triple, triple, triple, integer, integer, moves)
        signature = types.int64(*before, triple, out, outside, integer)

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            row = Row(context, builder, signature, arguments, ndim, order)
            some_outside = place_windows(row)
            fill_windows(row)
            return some_outside

        return signature, generate

    return windows


copied_windows_2d = _windows(2, 0)
copied_windows_3d = _windows(3, 0)
linear_windows_2d = _windows(2, 1)
linear_windows_3d = _windows(3, 1)
cubic_windows_2d = _windows(2, 3)
