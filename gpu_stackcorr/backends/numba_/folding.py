"""Boundary modes for one sample: where a position enters an image, and which sample a tap outside of it stands for.

The integers and their meaning are those of ``numpy_.interpolation``: positions are an integer `i` and a fraction `f` in
[0, 1), `n` is the number of samples along an axis, and nothing is folded in floating point. Inside of an image none of
this runs, so that clarity comes before speed; a single reflection is nevertheless spared the division.
"""

from __future__ import annotations

from typing import Any

from .compiler import inner

REFLECT, MIRROR, CONSTANT, WRAP, GRID_WRAP, NEAREST, GRID_CONSTANT = range(7)

MODE_CODES = {
    "reflect": REFLECT,
    "grid-mirror": REFLECT,
    "mirror": MIRROR,
    "constant": CONSTANT,
    "wrap": WRAP,
    "grid-wrap": GRID_WRAP,
    "nearest": NEAREST,
    "grid-constant": GRID_CONSTANT,
}
"""What compiled loops call SciPy's modes."""


@inner
def enter(i: Any, f: Any, n: Any, mode: Any) -> Any:
    """Apply what `mode` does to a position: return its integer part, and whether it is lost."""
    if mode != CONSTANT and mode != WRAP:
        return i, False
    if 0 <= i < n - 1 or (i == n - 1 and f == 0.0):
        return i, False
    if mode == CONSTANT:
        return i, True
    period = max(n - 1, 1)
    if i < 0:
        return i + period * ((-i - (f > 0.0)) // period + 1), False  # floor(-x / period) in integers
    return i % period, False


@inner
def fold(index: Any, n: Any, mode: Any) -> Any:
    """Return the sample that a tap at `index` takes: 0 to n - 1. (In mode grid-constant its value is replaced.)"""
    if 0 <= index < n:
        return index
    if mode == REFLECT:  # d c b a | a b c d | d c b a
        if -n <= index < 0:
            return -1 - index
        index %= 2 * n
        return min(index, 2 * n - 1 - index)
    if mode in (MIRROR, CONSTANT, WRAP):  # d c b | a b c d | c b a
        if n == 1:
            return index * 0
        index %= 2 * n - 2
        return min(index, 2 * n - 2 - index)
    if mode == GRID_WRAP:  # a b c d | a b c d | a b c d
        return index % n
    return min(max(index, 0), n - 1)  # a a a a | a b c d | d d d d


@inner
def nearest(i: Any, f: Any, n: Any, mode: Any) -> Any:
    """Return the index next to a position, not folded yet: a half goes up as the image is read.

    Where a reflection is read backwards "up" is down: SciPy folds first and rounds then, and so it is here.
    """
    index = i + (f >= 0.5)
    if f == 0.5 and n > 1:
        if mode == REFLECT and i % (2 * n) >= n:
            return i
        if mode == MIRROR and i % (2 * n - 2) >= (n - 1 if i < 0 else n):
            return i
    return index
