"""Moments in exact arithmetic, by Python, and how others are held against them."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np

from gpu_stackcorr.moments import IntegerSums, Moments


def is_nearest(r: float, covariance: int, variance_x: int, variance_y: int) -> bool:
    """Whether no float64 is nearer than r to covariance / sqrt(variance_x variance_y): integers and fractions only."""

    def signed_square(value: Fraction) -> Fraction:
        return value * abs(value)

    target = signed_square(Fraction(covariance)) / (variance_x * variance_y)
    below, above = (Fraction(math.nextafter(r, toward)) for toward in (-math.inf, math.inf))
    lower, upper = (Fraction(r) + below) / 2, (Fraction(r) + above) / 2
    return signed_square(lower) <= target <= signed_square(upper)


def exact_covariances(x: Any, y: Any) -> tuple[int, int, int]:
    """Return n sum(xy) - sum(x) sum(y), and the same of x with x and y with y, of integers in Python."""
    x, y = (np.ravel(a).astype(object) * 1 for a in (x, y))
    n, sx, sy = len(x), int(x.sum()), int(y.sum())
    return (
        n * int((x * y).sum()) - sx * sy,
        n * int((x * x).sum()) - sx * sx,
        n * int((y * y).sum()) - sy * sy,
    )


def sums_of(x: Any, y: Any, shape: tuple[int, ...] = (1,), dtype: Any = np.int64) -> IntegerSums:
    """Return the sums of one pair of integer images, by Python."""
    x, y = (np.ravel(a).astype(object) * 1 for a in (x, y))
    values = (len(x), x.sum(), y.sum(), (x * x).sum(), (y * y).sum(), (x * y).sum())
    return IntegerSums(*(np.full(shape, int(value), dtype) for value in values))


def float_moments(x: Any, y: Any) -> Moments:
    """Return the moments of one pair of float images, each the float64 nearest to its exact value."""
    a, b = ([Fraction(float(value)) for value in np.ravel(image)] for image in (x, y))
    n = max(len(a), 1)
    mean_a, mean_b = sum(a) / n, sum(b) / n
    centred = [(p - mean_a, q - mean_b) for p, q in zip(a, b, strict=True)]
    values = (mean_a, mean_b, *(sum(f(p, q) for p, q in centred) for f in (_xx, _yy, _xy)))
    return Moments(np.array([len(a)]), *(np.array([float(value)]) for value in values))


def _xx(p: Fraction, q: Fraction) -> Fraction:
    return p * p


def _yy(p: Fraction, q: Fraction) -> Fraction:
    return q * q


def _xy(p: Fraction, q: Fraction) -> Fraction:
    return p * q


def assert_same(a: Moments, b: Moments) -> None:
    """Assert that two moments have the same bits, and the same exact sums."""
    for one, other in zip(a.arrays(), b.arrays(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (a.sums is None) == (b.sums is None)
    if a.sums is not None and b.sums is not None:
        for one, other in zip(a.sums.arrays(), b.sums.arrays(), strict=True):
            assert np.asarray(one).tolist() == np.asarray(other).tolist()


def assert_close(a: Moments, b: Moments, rtol: float = 1e-12) -> None:
    """Assert that two moments agree: sums of products relative to the root of the product of the squares."""
    np.testing.assert_array_equal(a.count, b.count)
    np.testing.assert_allclose(a.mean_x, b.mean_x, rtol=rtol, atol=rtol * np.max(a.std_x, initial=0))
    np.testing.assert_allclose(a.mean_y, b.mean_y, rtol=rtol, atol=rtol * np.max(a.std_y, initial=0))
    np.testing.assert_allclose(a.ss_x, b.ss_x, rtol=rtol)
    np.testing.assert_allclose(a.ss_y, b.ss_y, rtol=rtol)
    np.testing.assert_array_less(np.abs(a.ss_xy - b.ss_xy), rtol * np.sqrt(a.ss_x * a.ss_y) + 1e-300)
