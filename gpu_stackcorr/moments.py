"""Second-order moments of pairs of images: what a backend returns, how parts merge, and r from them.

Two forms. Integer pairs travel as exact integer sums, so that r is the float64 nearest to its exact value, in whatever
order the parts were added. Floating pairs travel as counts, means and centred sums, merged by the formulas of
T. F. Chan, G. H. Golub and R. J. LeVeque, "Algorithms for computing the sample variance", The American Statistician
37 (1983); raw squares are never subtracted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .nearest_correlation import nearest, nearest_of_many

EXACT_DTYPES = tuple(np.dtype(t) for t in (np.bool_, np.int8, np.uint8, np.int16, np.uint16))
"""Dtypes whose pairs have exact integer sums."""

MANY_PAIRS = 100
"""Pairs from which on all are rounded at once: that takes as long as about 90 of them one by one."""

INT64_PIXELS = 2**31
"""Pixels up to which int64 holds a sum of uint16 products; beyond, sums are Python integers in object arrays."""

CONSTANT_ULPS = 8
"""A float image whose standard deviation is below this many units in the last place of its mean is constant."""

UNDERFLOW = 2.0**-960
"""Sums of squares below this have lost digits to underflow: such an image counts as constant."""


@dataclass(frozen=True, slots=True, eq=False)
class IntegerSums:
    """Exact sums over the pixels of integer pairs: arrays of one shape, int64 or Python integers."""

    count: NDArray[Any]
    x: NDArray[Any]
    y: NDArray[Any]
    xx: NDArray[Any]
    yy: NDArray[Any]
    xy: NDArray[Any]

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Return the sums in the order of the fields."""
        return (self.count, self.x, self.y, self.xx, self.yy, self.xy)

    def __add__(self, other: IntegerSums) -> IntegerSums:
        dtype = _sum_dtype(int(np.max(self.count, initial=0)) + int(np.max(other.count, initial=0)))
        pairs = zip(self.arrays(), other.arrays(), strict=True)
        return IntegerSums(*(a.astype(dtype) + b.astype(dtype) for a, b in pairs))

    def total(self) -> IntegerSums:
        """Return the sums over the last axis."""
        dtype = _sum_dtype(int(np.max(self.count.sum(axis=-1), initial=0)))
        return IntegerSums(*(np.asarray(a.astype(dtype).sum(axis=-1), dtype) for a in self.arrays()))

    def correlation(self) -> NDArray[np.float64]:
        """Return r of each pair, correctly rounded; NaN where an image is constant."""
        shape, flat = self.count.shape, IntegerSums(*(a.ravel() for a in self.arrays()))
        if self.count.size >= MANY_PAIRS and all(a.dtype == np.int64 for a in flat.arrays()):
            n, _, _, rest_x, rest_y, *raws = flat.about_integers()
            return nearest_of_many(n, rest_x, rest_y, raws).reshape(shape)
        pairs = zip(*(a.tolist() for a in flat.arrays()), strict=True)
        r = [nearest(n * xy - x * y, n * xx - x * x, n * yy - y * y) for n, x, y, xx, yy, xy in pairs]
        return np.array(r, np.float64).reshape(shape)

    def about_integers(self) -> list[NDArray[Any]]:
        """Return the counts, the integers nearest to the means of x and y, and sums about these: x, y, xx, yy and xy.

        What is afterwards subtracted from these sums is at most half of what it is subtracted from.
        """
        n, safe = self.count, np.maximum(self.count, 1)
        near_x, near_y = ((2 * s + safe) // (2 * safe) for s in (self.x, self.y))
        # Products may wrap around in int64; their sum fits and therefore comes out right.
        with np.errstate(over="ignore"):
            return [
                n,
                near_x,
                near_y,
                self.x - n * near_x,
                self.y - n * near_y,
                self.xx - 2 * near_x * self.x + n * near_x * near_x,
                self.yy - 2 * near_y * self.y + n * near_y * near_y,
                self.xy - near_y * self.x - near_x * self.y + n * near_x * near_y,
            ]


def _sum_dtype(pixels: int) -> type:
    """Return the dtype in which sums over so many pixels are exact."""
    return np.int64 if pixels < INT64_PIXELS else object


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """Moments of pairs (x, y) of images: arrays of one shape.

    Attributes
    ----------
    count : int64 array
        Pixels compared.
    mean_x, mean_y : float64 arrays
        Means over those pixels; 0 where there is none.
    ss_x, ss_y, ss_xy : float64 arrays
        Centred sums of squares and products, ``ss_xy = sum((x - mean_x) * (y - mean_y))``.
    sums : IntegerSums, optional
        The exact sums, where both images are of EXACT_DTYPES.
    cells : Moments, optional
        The same for each cell of a grid over the image: two axes more.
    """

    count: NDArray[np.int64]
    mean_x: NDArray[np.float64]
    mean_y: NDArray[np.float64]
    ss_x: NDArray[np.float64]
    ss_y: NDArray[np.float64]
    ss_xy: NDArray[np.float64]
    sums: IntegerSums | None = None
    cells: Moments | None = None

    @classmethod
    def from_sums(cls, sums: IntegerSums, cells: Moments | None = None) -> Moments:
        """Return the moments of exact integer sums, moved to integers near the means before anything is rounded."""
        n, shift_x, shift_y, rest_x, rest_y, raw_x, raw_y, raw_xy = (
            np.asarray(a, np.float64) for a in sums.about_integers()
        )
        safe = np.maximum(n, 1)
        return cls(
            count=np.asarray(sums.count, np.int64),
            mean_x=shift_x + rest_x / safe,
            mean_y=shift_y + rest_y / safe,
            ss_x=raw_x - rest_x * (rest_x / safe),
            ss_y=raw_y - rest_y * (rest_y / safe),
            ss_xy=raw_xy - rest_x * (rest_y / safe),
            sums=sums,
            cells=cells,
        )

    @property
    def std_x(self) -> NDArray[np.float64]:
        """Standard deviation of x (n in the denominator, as ``numpy.std``)."""
        return np.sqrt(self.ss_x / np.maximum(self.count, 1))

    @property
    def std_y(self) -> NDArray[np.float64]:
        """Standard deviation of y (n in the denominator, as ``numpy.std``)."""
        return np.sqrt(self.ss_y / np.maximum(self.count, 1))

    @property
    def constant_x(self) -> NDArray[np.bool_]:
        """Where x has no variance that float64 can tell from rounding."""
        return self._constant(self.ss_x, self.mean_x)

    @property
    def constant_y(self) -> NDArray[np.bool_]:
        """Where y has no variance that float64 can tell from rounding."""
        return self._constant(self.ss_y, self.mean_y)

    def _constant(self, ss: NDArray[np.float64], mean: NDArray[np.float64]) -> NDArray[np.bool_]:
        ulps = 0 if self.sums is not None else CONSTANT_ULPS
        smallest = ulps * np.finfo(np.float64).eps * np.abs(mean)
        with np.errstate(over="ignore", invalid="ignore"):
            constant: NDArray[np.bool_] = (ss <= self.count * smallest * smallest) | (ss < UNDERFLOW)
        return constant

    def correlation(self) -> NDArray[np.float64]:
        """Return r of each pair: exact to the last bit from sums; NaN where an image is constant."""
        if self.sums is not None:
            return self.sums.correlation()
        known = ~(self.constant_x | self.constant_y) & np.isfinite(self.ss_x) & np.isfinite(self.ss_y)
        r = divide_by_roots(self.ss_xy, self.ss_x, self.ss_y)
        return np.where(known, np.clip(r, -1.0, 1.0), np.nan)

    def merge(self, other: Moments) -> Moments:
        """Return the moments of the same pairs over the pixels of both parts. Cells are not merged."""
        if self.sums is not None and other.sums is not None:
            return Moments.from_sums(self.sums + other.sums)
        with np.errstate(over="ignore", invalid="ignore"):
            return self._merge_centred(other)

    def _merge_centred(self, other: Moments) -> Moments:
        """Return the merged moments by the formulas of Chan, Golub and LeVeque."""
        count = self.count + other.count
        share = other.count / np.maximum(count, 1)
        delta_x, delta_y = other.mean_x - self.mean_x, other.mean_y - self.mean_y
        weight = self.count * share
        return Moments(
            count=count,
            mean_x=self.mean_x + delta_x * share,
            mean_y=self.mean_y + delta_y * share,
            ss_x=self.ss_x + other.ss_x + delta_x * delta_x * weight,
            ss_y=self.ss_y + other.ss_y + delta_y * delta_y * weight,
            ss_xy=self.ss_xy + other.ss_xy + delta_x * delta_y * weight,
        )

    def total(self) -> Moments:
        """Return the moments over all cells of the last axis, at once.

        Cells deviate from the mean of the whole as pixels do from a cell's. That mean is corrected by what the
        deviations add up to, and is then as good as one that was merged cell by cell.
        """
        if self.sums is not None:
            return Moments.from_sums(self.sums.total())
        with np.errstate(over="ignore", invalid="ignore"):
            count = self.count.sum(axis=-1)
            share = self.count / np.maximum(count, 1)[..., np.newaxis]
            mean_x, slip_x, between_x = _spread(share, self.mean_x)
            mean_y, slip_y, between_y = _spread(share, self.mean_y)
            return Moments(
                count=count,
                mean_x=mean_x,
                mean_y=mean_y,
                ss_x=_sum_of_cells(self.ss_x + self.count * between_x * between_x) - count * slip_x * slip_x,
                ss_y=_sum_of_cells(self.ss_y + self.count * between_y * between_y) - count * slip_y * slip_y,
                ss_xy=_sum_of_cells(self.ss_xy + self.count * between_x * between_y) - count * slip_x * slip_y,
            )

    def __getitem__(self, key: Any) -> Moments:
        """Return some of the pairs, with their cells."""
        cells = None if self.cells is None else self.cells[key]
        return self._on_arrays(lambda array: array[key]).with_cells(cells)

    def reshape(self, *shape: int) -> Moments:
        """Return the same pairs in another shape, without cells."""
        return self._on_arrays(lambda array: array.reshape(shape))

    def with_cells(self, cells: Moments | None) -> Moments:
        """Return these moments with those of their cells."""
        return replace(self, cells=cells)

    def with_sums(self, sums: IntegerSums | None) -> Moments:
        """Return these moments with their exact sums."""
        return replace(self, sums=sums)

    def _on_arrays(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Moments:
        """Return moments whose every array is changed in the same way, without cells."""
        sums = None if self.sums is None else IntegerSums(*map(change, self.sums.arrays()))
        return Moments.from_arrays(map(change, self.arrays())).with_sums(sums)

    @classmethod
    def from_arrays(cls, arrays: Iterable[NDArray[Any]]) -> Moments:
        """Return the moments of arrays in the order of `arrays`."""
        count, mean_x, mean_y, ss_x, ss_y, ss_xy = arrays
        return cls(count, mean_x, mean_y, ss_x, ss_y, ss_xy)

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Return count, means and centred sums, in the order of the fields."""
        return (self.count, self.mean_x, self.mean_y, self.ss_x, self.ss_y, self.ss_xy)


def _spread(share: NDArray[np.float64], means: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Return the mean of cells with these shares of the pixels; what their deviations add up to; the deviations."""
    mean = _sum_of_cells(share * means)
    deviations = means - mean[..., np.newaxis]
    slip = _sum_of_cells(share * deviations)
    return mean + slip, slip, deviations


def _sum_of_cells(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return sums over the last axis, in an order that knows nothing of other axes."""
    return np.asarray(np.ascontiguousarray(values).sum(axis=-1))


def concatenate(parts: Sequence[Moments], axis: int = 0) -> Moments:
    """Return the moments of further pairs side by side; sums and cells are kept where all parts have them."""
    sums = [part.sums.arrays() for part in parts if part.sums is not None]
    cells = [part.cells for part in parts if part.cells is not None]
    joined = Moments.from_arrays(np.concatenate(a, axis) for a in zip(*(p.arrays() for p in parts), strict=True))
    if len(sums) == len(parts):
        joined = joined.with_sums(IntegerSums(*(np.concatenate(arrays, axis) for arrays in zip(*sums, strict=True))))
    return joined.with_cells(concatenate(cells, axis)) if len(cells) == len(parts) else joined


def divide_by_roots(
    product: NDArray[np.float64], square_x: NDArray[np.float64], square_y: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return ``product / sqrt(square_x * square_y)`` without overflow, and exactly 1 where all three are equal."""
    mantissa_x, exponent_x = np.frexp(square_x)
    mantissa_y, exponent_y = np.frexp(square_y)
    exponent = exponent_x + exponent_y
    odd = exponent % 2
    with np.errstate(all="ignore"):
        root = np.sqrt(np.ldexp(mantissa_x * mantissa_y, odd))
        return np.asarray(np.ldexp(product, (odd - exponent) // 2) / root)
