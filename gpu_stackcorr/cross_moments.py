"""Moments of all pairs of two sets of images over one box: what a backend returns, how boxes merge, and r from them.

As in ``moments``: integer images travel as exact integer sums, floating ones as means and centred sums, merged by the
formulas of Chan, Golub and LeVeque (1983). Of a pair only the product is stored; what belongs to one image is stored
once an image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .moments import INT64_PIXELS, IntegerSums, Moments

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class CrossMoments:
    """Moments of N images x with M images y over the same pixels.

    Attributes
    ----------
    count : int
        Pixels.
    exact : bool
        Whether the arrays are sums of integers: int64, or Python integers in object arrays from 2^31 pixels on.
    x, y : (N,) and (M,) arrays
        Exact sums of the pixels, or float64 means.
    xx, yy : (N,) and (M,) arrays
        Exact sums of squares, or float64 sums of squares about the means.
    xy : (N, M) array
        Exact sums of products, or float64 sums of products about the means.
    """

    count: int
    exact: bool
    x: NDArray[Any]
    y: NDArray[Any]
    xx: NDArray[Any]
    yy: NDArray[Any]
    xy: NDArray[Any]

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Return the arrays in the order of the fields."""
        return (self.x, self.y, self.xx, self.yy, self.xy)

    def merge(self, other: CrossMoments) -> CrossMoments:
        """Return the moments of the same pairs over the pixels of both boxes."""
        count = self.count + other.count
        if self.exact:
            # From here on a sum of uint16 products may not fit into int64.
            dtype = np.int64 if count < INT64_PIXELS else object
            pairs = zip(self.arrays(), other.arrays(), strict=True)
            return CrossMoments(count, True, *(np.add(a, b, dtype=dtype) for a, b in pairs))
        share = other.count / max(count, 1)
        weight = self.count * share
        with np.errstate(over="ignore", invalid="ignore"):
            delta_x, delta_y = other.x - self.x, other.y - self.y
            return CrossMoments(
                count,
                False,
                self.x + delta_x * share,
                self.y + delta_y * share,
                self.xx + other.xx + delta_x * delta_x * weight,
                self.yy + other.yy + delta_y * delta_y * weight,
                self.xy + other.xy + np.outer(delta_x * weight, delta_y),
            )

    def pairs(self, rows: Indices, columns: Indices) -> Moments:
        """Return the moments of some pairs: image ``rows[k]`` of x with image ``columns[k]`` of y."""
        count = np.full(rows.shape, self.count, np.int64)
        x, y, xx, yy = self.x[rows], self.y[columns], self.xx[rows], self.yy[columns]
        if self.exact:
            return Moments.from_sums(IntegerSums(count, x, y, xx, yy, self.xy[rows, columns]))
        return Moments(count, x, y, xx, yy, self.xy[rows, columns])

    def about(self, mean_x: Floats, mean_y: Floats, rows: Indices, columns: Indices) -> Floats:
        """Return the sums of products of some pairs, as of `pairs`, about given means instead of the box's own.

        The means are those of all images x and y, (N,) and (M,). Integer sums are moved to the integers nearest to them
        before anything is rounded: what is subtracted afterwards is small beside what it is subtracted from.
        """
        n, xy = self.count, self.xy[rows, columns]
        if not self.exact:
            with np.errstate(over="ignore", invalid="ignore"):
                return np.asarray(xy + (n * (self.x - mean_x))[rows] * (self.y - mean_y)[columns])
        near_x, near_y = (np.rint(mean).astype(np.int64) for mean in (mean_x, mean_y))
        # Products may wrap around in int64; the result fits and therefore comes out right.
        with np.errstate(over="ignore"):
            rest_x, rest_y = self.x - n * near_x, self.y - n * near_y
            # sum (x - a)(y - b) = sum xy - b sum x - a sum (y - b)
            moved = xy - self.x[rows] * near_y[columns] - near_x[rows] * rest_y[columns]
        off_x, off_y = mean_x - near_x, mean_y - near_y
        rest = rest_x[rows] * off_y[columns] + off_x[rows] * (rest_y - n * off_y)[columns]
        return np.asarray(moved - rest, np.float64)
