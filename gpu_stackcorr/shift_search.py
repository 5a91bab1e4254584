"""The search for the shift at which a slice is most like a reference.

A normalised cross-correlation: for every shift (dy, dx) up to a largest one, Pearson's r of the parts of the two images
that overlap, with the means and variances of those parts. Sums of products come from one FFT a slice, sums over boxes
from cumulative sums. The FFT only finds the shift; r there is then computed from the parts by the backend's moments,
exactly as without a shift.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from . import intervals
from .arrays import get_backend
from .backends.base import Array, Backend
from .errors import ParameterError
from .moments import Moments

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FLAT = 1e-9
"""A part whose variance is below that share of its image's is flat: its r would be rounding."""

TIE = 1e-9
"""Shifts whose r by FFT is that near to the best are compared exactly."""

MOST_TIES = 64
"""At most so many, the nearest to no shift first: of a periodic image there may be thousands."""


class BestShifts(NamedTuple):
    """The best shift of each slice of a slab: arrays (N,).

    Attributes
    ----------
    r : float64 array
        Pearson's r of the overlapping parts at that shift; NaN where the slice is flat.
    dy, dx : int64 arrays
        What is at (y, x) in the reference is at (y + dy, x + dx) in the slice.
    peak_y, peak_x : float64 arrays
        The same to a fraction of a pixel: the top of a parabola through the best shift and its neighbours.
    n : int64 array
        Pixels compared.
    uncertainty : intervals.Uncertainty
        Of r as if that shift had been known beforehand.
    flags : array of str
        ``""`` or ``"constant"``.
    """

    r: Floats
    dy: Ints
    dx: Ints
    peak_y: Floats
    peak_x: Floats
    n: Ints
    uncertainty: intervals.Uncertainty
    flags: NDArray[np.str_]


class _Search:
    """A reference made ready for the search: its spectrum, and the sums over the part that each shift leaves."""

    def __init__(self, reference: Array, mask: Array | None, max_shift: int) -> None:
        from scipy.fft import next_fast_len

        self.shape = reference.shape
        self.masked = mask is not None
        self.shifts = np.arange(-max_shift, max_shift + 1)
        self.size = tuple(next_fast_len(n + max_shift, real=True) for n in self.shape)
        weight = np.ones(self.shape) if mask is None else mask.astype(np.float64)
        x = _standard(np.asarray(reference, np.float64), weight)
        self.count = np.rint(self._boxes(weight, -self.shifts))
        self.sum_x = self._boxes(x, -self.shifts)
        self.sum_xx = self._boxes(x * x, -self.shifts)
        self.spectrum = self._spectrum(x).conj()
        self.mask_spectrum = self._spectrum(weight).conj() if self.masked else None

    def _spectrum(self, image: Floats) -> NDArray[np.complex128]:
        from scipy.fft import rfft2

        return np.asarray(rfft2(image, self.size))

    def _products(self, spectrum: NDArray[np.complex128], other: NDArray[np.complex128]) -> Floats:
        """Return the sums of products at every shift, of images with these spectra (the first conjugated)."""
        from scipy.fft import irfft2

        return np.asarray(irfft2(spectrum * other, self.size))[np.ix_(self.shifts, self.shifts)]

    def _boxes(self, image: Floats, shifts: Ints) -> Floats:
        """Return the sums over the part of an image that overlaps with one moved back by each shift."""
        sums = np.pad(image, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
        (y0, y1), (x0, x1) = ((np.maximum(shifts, 0), np.minimum(n, n + shifts)) for n in image.shape)
        return np.asarray(sums[np.ix_(y1, x1)] - sums[np.ix_(y0, x1)] - sums[np.ix_(y1, x0)] + sums[np.ix_(y0, x0)])

    def correlations(self, image: Array) -> Floats:
        """Return r at every shift (2 m + 1, 2 m + 1); -inf where a part is flat."""
        y = _standard(np.asarray(image, np.float64), np.ones(self.shape))
        spectrum = self._spectrum(y)
        if self.mask_spectrum is None:
            sum_y, sum_yy = self._boxes(y, self.shifts), self._boxes(y * y, self.shifts)
        else:
            sum_y = self._products(self.mask_spectrum, spectrum)
            sum_yy = self._products(self.mask_spectrum, self._spectrum(y * y))
        n = np.maximum(self.count, 1)
        var_x, var_y = self.sum_xx - self.sum_x**2 / n, sum_yy - sum_y**2 / n
        known = (self.count > 1) & (var_x > FLAT * n) & (var_y > FLAT * n)
        product = self._products(self.spectrum, spectrum) - self.sum_x * sum_y / n
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(np.where(known, product / np.sqrt(var_x * var_y), -np.inf))


def _standard(image: Floats, weight: Floats) -> Floats:
    """Return an image less its mean over its standard deviation where it counts, 0 elsewhere."""
    count = weight.sum()
    centred = (image - (image * weight).sum() / count) * weight
    scale = math.sqrt(float((centred * centred).sum() / count))
    return np.asarray(centred / scale if scale > 0 else centred)


def best_shifts(
    reference: Array,
    slices: Array,
    max_shift: int,
    *,
    mask: Array | None = None,
    ci: str | None = None,
    engine: Backend | None = None,
) -> BestShifts:
    """Return the best shift of each slice of a slab, and r there; see `shifted_correlation`.

    Nothing is remembered between calls: slabs may be given in any order, from any thread.

    Parameters
    ----------
    reference : (Y, X) array
    slices : (N, Y, X) array
    max_shift : int
        0 to the smaller side less 1.
    mask : (Y, X) bool array, optional
        Pixels of the reference that count.
    ci : {"tiles", "effective", "fisher", None}
    engine : Backend, optional
        Where r is computed.

    Raises
    ------
    ParameterError
        If the reference is constant.
    """
    engine = engine or get_backend()
    intervals.check_method(ci)
    own = engine.moments([reference], reference[np.newaxis], reference_mask=mask)[0]
    if own.constant_x[0]:
        raise ParameterError(f"the reference is constant (value {own.mean_x[0]:g}): it correlates with nothing")
    search = _Search(reference, mask, max_shift) if max_shift else None
    rows = [_best(search, engine, reference, image, mask, ci) for image in slices]
    r, dy, dx, peak_y, peak_x, n, of_r, flags = zip(*rows, strict=True) if rows else [()] * 8
    uncertainty = [np.array(values) for values in zip(*of_r, strict=True)] or [np.empty(0)] * 5
    return BestShifts(
        r=np.array(r, np.float64),
        dy=np.array(dy, np.int64),
        dx=np.array(dx, np.int64),
        peak_y=np.array(peak_y, np.float64),
        peak_x=np.array(peak_x, np.float64),
        n=np.array(n, np.int64),
        uncertainty=intervals.Uncertainty(*uncertainty),
        flags=np.array(flags, np.str_),
    )


def _best(
    search: _Search | None, engine: Backend, reference: Array, image: Array, mask: Array | None, ci: str | None
) -> tuple[Any, ...]:
    """Return r, dy, dx, their peak, n, uncertainty and flag of one slice."""
    r = np.zeros((1, 1)) if search is None else search.correlations(image)
    far = len(r) // 2
    near = np.argwhere(r >= r.max() - TIE) - far if np.isfinite(r.max()) else np.zeros((1, 2), np.int64)
    if not np.isfinite(r[far, far]):
        near = np.concatenate([near, [[0, 0]]])  # flat beside its own outliers, but r at no shift may be known
    order = np.lexsort((near[:, 1], near[:, 0], (near**2).sum(axis=1)))[:MOST_TIES]
    pairs = [_Overlap.of(reference, image, mask, *shift) for shift in near[order].tolist()]
    exact = [float(np.nan_to_num(pair.moments(engine).correlation()[0], nan=-math.inf)) for pair in pairs]
    pair = pairs[int(np.argmax(exact))]
    value, count, of_r = pair.measured(engine, ci)
    peak_y, peak_x = (
        shift + _parabola(np.take(r, other + far, axis=1 - axis), shift + far)
        for axis, (shift, other) in enumerate(((pair.dy, pair.dx), (pair.dx, pair.dy)))
    )
    flag = "constant" if math.isnan(value) else ""
    return value, pair.dy, pair.dx, peak_y, peak_x, count, of_r, flag


def _parabola(r: Floats, top: int) -> float:
    """Return how far beside its highest value the top of a curve lies; 0 where a neighbour is not known."""
    if not 0 < top < len(r) - 1 or not np.isfinite(r[top - 1 : top + 2]).all():
        return 0.0
    below, at, above = r[top - 1 : top + 2].tolist()
    bend = below - 2 * at + above
    return float(np.clip((below - above) / (2 * bend), -0.5, 0.5)) if bend < 0 else 0.0


@dataclass(frozen=True, slots=True, eq=False)
class _Overlap:
    """The parts of a reference and a slice that overlap at a shift."""

    first: Array
    second: Array
    mask: Array | None
    dy: int
    dx: int

    @classmethod
    def of(cls, reference: Array, image: Array, mask: Array | None, dy: int, dx: int) -> _Overlap:
        Y, X = reference.shape
        here = slice(max(0, -dy), min(Y, Y - dy)), slice(max(0, -dx), min(X, X - dx))
        there = slice(max(0, dy), min(Y, Y + dy)), slice(max(0, dx), min(X, X + dx))
        return cls(reference[here], image[there], None if mask is None else mask[here], dy, dx)

    def moments(self, engine: Backend, tiles: intervals.Edges | None = None) -> Moments:
        """Return the moments of the two parts."""
        return engine.moments([self.first], self.second[np.newaxis], reference_mask=self.mask, tiles=tiles)[0]

    def measured(self, engine: Backend, ci: str | None) -> tuple[float, int, tuple[Any, ...]]:
        """Return r, the pixels compared, and the uncertainty of r."""
        tiles = ci == "tiles" and min(self.first.shape) >= intervals.GRID
        pair = self.moments(engine, intervals.cell_edges(self.first.shape) if tiles else None)
        r = pair.correlation()
        if ci is None:
            of_r = intervals.unknown(r.shape)
        elif ci == "fisher":
            of_r = intervals.fisher(pair.count)
        elif ci == "effective":
            first, second = (np.asarray(part, np.float64) for part in (self.first, self.second))
            of_r = intervals.effective(first, second, self.mask)
        elif tiles:
            of_r = intervals.tiles(r, pair)
        else:
            of_r = intervals.too_small(r.shape)
        return float(r[0]), int(pair.count[0]), tuple(np.ravel(values)[0] for values in of_r)
