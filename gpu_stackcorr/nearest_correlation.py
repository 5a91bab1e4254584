"""The float64 nearest to the correlation of a pair of images, from exact integer sums.

r = A / sqrt(B C), where A, B and C are integers of up to 96 bits: n times the centred sums of products and squares.
Python's integers round a single pair. Of many pairs NumPy finds r to about 100 bits, as sums of two float64 (T. J.
Dekker, "A floating-point technique for extending the available precision", Numerische Mathematik 18 (1971) 224-242);
the few that lie so near to the middle between two float64 that 100 bits do not tell them apart are left to Python.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt, ldexp

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Double = tuple[Floats, Floats]
"""A number as an unevaluated sum; the second is at most half a unit in the last place of the first."""

LOW = (1 << 32) - 1

SPLITTER = 2.0**27 + 1

UNSURE = 2.0**-40
"""Units in the last place from the middle between two float64 within which Python decides: errors are below 2^-48."""


def nearest(covariance: int, variance_x: int, variance_y: int) -> float:
    """Return the float64 nearest to covariance / sqrt(variance_x * variance_y); NaN where that is 0 / 0."""
    denominator = variance_x * variance_y
    if denominator == 0:
        return float("nan")
    numerator = covariance * covariance
    # Scale the quotient to at least 2^110, its root to at least 2^55: 53 bits and two more to round by.
    shift = (112 - numerator.bit_length() + denominator.bit_length()) // 2 + 1
    scaled = numerator << (2 * shift)
    root = isqrt(scaled // denominator)
    inexact = root * root * denominator != scaled
    # The sticky bit stands for everything below the root, so that Python's own rounding of int to float is right.
    magnitude = ldexp(float(2 * root + inexact), -shift - 1)
    return magnitude if covariance >= 0 else -magnitude


def nearest_of_many(n: Integers, rest_x: Integers, rest_y: Integers, raws: Sequence[Integers]) -> Floats:
    """Return the float64 nearest to each r; NaN where an image is constant.

    Parameters
    ----------
    n : (pairs,) int64 array
        Pixels, fewer than 2^31.
    rest_x, rest_y : (pairs,) int64 arrays
        Sums of x and of y about an integer near their mean: at most n / 2.
    raws : three (pairs,) int64 arrays
        Sums of xx, yy and xy about these integers.
    """
    x, y = np.stack([rest_x, rest_x, rest_y]), np.stack([rest_x, rest_y, rest_y])
    raw_x, raw_y, raw_xy = raws
    high, low = _difference(n, np.stack([raw_x, raw_xy, raw_y]), x * y)
    most, rests = _of_parts(high, low)
    variance_x, covariance, variance_y = zip(most, rests, strict=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        r, rest = _divide(covariance, _root(_product(variance_x, variance_y)))
        off, unit = np.abs(rest), np.spacing(np.abs(r))
        # Below a power of two the middle is half as far.
        unsure = np.minimum(np.abs(off - unit / 2), np.abs(off - unit / 4)) <= UNSURE * unit
    for i in np.flatnonzero(unsure):
        of_x, of_both, of_y = ((int(high[k, i]) << 32) + int(low[k, i]) for k in range(3))
        r[i] = nearest(of_both, of_x, of_y)
    return np.where((variance_x[0] > 0) & (variance_y[0] > 0), r, np.nan)


def _difference(n: Integers, raw: Integers, product: Integers) -> tuple[Integers, Integers]:
    """Return ``n raw - product`` as high 2^32 + low, low from 0 to 2^32 - 1."""
    low = n * (raw & LOW) - (product & LOW)
    return n * (raw >> 32) - (product >> 32) + (low >> 32), low & LOW


def _of_parts(high: Integers, low: Integers) -> Double:
    """Return high 2^32 + low, exactly."""
    most = high.astype(np.float64)
    rest = ((high - most.astype(np.int64)) << 32) + low
    return _sum(most * 2.0**32, rest.astype(np.float64))


def _sum(a: Floats, b: Floats) -> Double:
    """Return a + b, exactly; b is smaller."""
    total = a + b
    return total, b - (total - a)


def _split(a: Floats) -> Double:
    """Return halves of a float64 of 26 bits each."""
    scaled = SPLITTER * a
    high = scaled - (scaled - a)
    return high, a - high


def _exact_product(a: Floats, b: Floats) -> Double:
    """Return a b, exactly."""
    product, (a_1, a_2), (b_1, b_2) = a * b, _split(a), _split(b)
    return product, a_2 * b_2 - (((product - a_1 * b_1) - a_2 * b_1) - a_1 * b_2)


def _product(a: Double, b: Double) -> Double:
    """Return a b."""
    product, rest = _exact_product(a[0], b[0])
    return _sum(product, rest + (a[0] * b[1] + a[1] * b[0]))


def _root(a: Double) -> Double:
    """Return the square root: a step of Newton's from that of float64."""
    root = np.sqrt(a[0])
    square, rest = _exact_product(root, root)
    return _sum(root, ((a[0] - square) - rest + a[1]) / (2 * root))


def _divide(a: Double, b: Double) -> Double:
    """Return a / b, by long division."""
    quotient = a[0] / b[0]
    product, rest = _product((quotient, np.zeros_like(quotient)), b)
    return _sum(quotient, ((a[0] - product) - rest + a[1]) / b[0])
