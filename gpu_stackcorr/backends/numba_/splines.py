"""B-splines: the weights of their taps, for one sample and for a row of samples.

De Boor's recursion on uniform knots (C. de Boor, J. Approx. Theory 6 (1972) 50-62), as in ``numpy_.interpolation``:
every term is positive. The division by the order is a product with its reciprocal, which is five times as fast and one
unit in the last place off. Rows hold one weight of many samples, so that each step is a loop over vectors.
"""

from __future__ import annotations

from typing import Any

from .compiler import inner

MOST_TAPS = 6


@inner
def spline_weights(t: Any, order: Any, weights: Any, first: Any) -> None:
    """Fill order + 1 weights, left to right, from index `first`, at a fraction `t` of a knot interval; `order` >= 1."""
    number = weights.dtype.type
    one = number(1)
    weights[first] = one - t
    weights[first + 1] = t
    for m in range(2, order + 1):
        scale = one / number(m)
        weights[first + m] = t * weights[first + m - 1] * scale
        for j in range(first + m - 1, first, -1):
            k = j - first
            weights[j] = ((t + number(m - k)) * weights[j - 1] + (number(1 + k) - t) * weights[j]) * scale
        weights[first] = (one - t) * weights[first] * scale


@inner
def spline_weight_rows(t: Any, order: Any, rows: Any, width: Any) -> None:
    """Fill `rows` with order + 1 rows of weights, `width` apart, at the fractions of the row `t`."""
    number = rows.dtype.type
    one = number(1)
    first = rows[: t.size]
    second = rows[width : width + t.size]
    for x in range(t.size):
        first[x] = one - t[x]
        second[x] = t[x]
    for m in range(2, order + 1):
        scale = one / number(m)
        last = rows[m * width : m * width + t.size]
        before = rows[(m - 1) * width : (m - 1) * width + t.size]
        for x in range(t.size):
            last[x] = t[x] * before[x] * scale
        for j in range(m - 1, 0, -1):
            this = rows[j * width : j * width + t.size]
            left = rows[(j - 1) * width : (j - 1) * width + t.size]
            rising, falling = number(m - j), number(1 + j)
            for x in range(t.size):
                this[x] = ((t[x] + rising) * left[x] + (falling - t[x]) * this[x]) * scale
        for x in range(t.size):
            first[x] = (one - t[x]) * first[x] * scale
