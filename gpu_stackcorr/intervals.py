"""How uncertain a correlation is: the standard error of ``atanh r`` and its degrees of freedom, by several methods.

``"tiles"``, for images whose neighbouring pixels are alike: the image is cut into 16 x 16 cells, and the variance of r
is taken from the covariances between cells up to the lag at which they vanish. It assumes that the image is stationary
and wider than a few of its structures; where the cells are still correlated at a quarter of the image, the window is
*saturated* and the interval is too narrow. ``"effective"``: Fisher's with the number of independent pixels that the two
autocorrelations give; right for Gaussian fields of like lengths only. ``"fisher"``: takes all pixels as independent,
which those of a micrograph are not, and is then far too narrow.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import check_word
from .moments import Moments

Floats = NDArray[np.float64]
Edges = tuple[NDArray[np.intp], NDArray[np.intp]]

METHODS = ("tiles", "effective", "fisher", None)
"""The values of ``ci=``."""

GRID = 16
"""Cells along each axis of an image. An image with fewer pixels a side gets the interval (-1, 1)."""

VANISHED = 0.05
"""Share of the variance below which the covariance of cells counts as gone."""

LARGEST_WINDOW = GRID // 4
"""Lag in cells at which the search for that ends."""

FARTHEST = 2 * LARGEST_WINDOW - 1
"""The largest lag in cells along an axis at which a covariance may have weight."""

PAIRS = 64
"""Pairs whose cells are taken together: of 165 at once, half of the time went to memory that was cleared anew."""

TRUNCATION = 0.1
"""Autocorrelation at which ``"effective"`` begins to taper: what lies farther out is mostly noise."""


class Uncertainty(NamedTuple):
    """Of the correlation of each pair, arrays of one shape.

    Attributes
    ----------
    standard_error : float64 array
        Of ``atanh r``; infinite where nothing is known, NaN where nothing was asked.
    df : float64 array
        Its degrees of freedom; infinite for a normal distribution.
    n_eff : float64 array
        Independent pixels that would give the same standard error.
    window : int64 array
        Lag in cells at which covariances were cut; 0 for other methods than tiles.
    saturated : bool array
        Whether cells were still correlated at the largest window, or the image too small to say.
    """

    standard_error: Floats
    df: Floats
    n_eff: Floats
    window: NDArray[np.int64]
    saturated: NDArray[np.bool_]


class CellSums(NamedTuple):
    """Sums over each cell of two standardised images u and v, and its pixels: arrays (..., cells_y, cells_x)."""

    pixels: Floats
    uu: Floats
    vv: Floats
    uv: Floats


def check_method(ci: str | None) -> str | None:
    """Return `ci`, or raise ParameterError where it is not one of METHODS."""
    check_word("ci", ci, METHODS)
    return ci


def without_window(standard_error: Floats, df: Floats, n_eff: Floats) -> Uncertainty:
    """Return the uncertainty by a method that has no window."""
    shape = np.shape(standard_error)
    return Uncertainty(standard_error, df, n_eff, np.zeros(shape, np.int64), np.zeros(shape, bool))


def unknown(shape: tuple[int, ...]) -> Uncertainty:
    """Return the uncertainty that was not asked for: NaN."""
    nan = np.full(shape, np.nan)
    return without_window(nan, nan, nan)


def too_small(shape: tuple[int, ...]) -> Uncertainty:
    """Return the uncertainty of pairs of images with fewer pixels a side than the grid has cells: nothing is known."""
    return fisher(np.zeros(shape, np.int64))._replace(saturated=np.ones(shape, bool))


def fisher(count: NDArray[np.int64] | Floats) -> Uncertainty:
    """Return Fisher's standard error ``1 / sqrt(n - 3)``, which takes the n pixels as independent.

    Fewer than four pixels have an infinite standard error.

    R. A. Fisher, "On the 'probable error' of a coefficient of correlation deduced from a small sample", Metron 1
    (1921) 3-32.
    """
    with np.errstate(divide="ignore"):
        standard_error = np.where(count > 3, 1 / np.sqrt(np.maximum(count - 3.0, 0)), np.inf)
    return without_window(standard_error, np.full(np.shape(count), np.inf), np.asarray(count, np.float64))


def cell_edges(shape: tuple[int, ...]) -> Edges:
    """Return the edges of the cells of an image (Y, X)."""
    y, x = (np.rint(np.linspace(0, n, GRID + 1)).astype(np.intp) for n in shape)
    return y, x


def cell_sums(moments: Moments) -> CellSums:
    """Return the sums of the standardised images over the cells of each pair, from the cells' moments.

    With means M, m and standard deviations s of the whole and a cell, ``S_uv = (ss_xy + n (m_x - M_x)(m_y - M_y)) /
    (s_x s_y)``, and likewise for uu and vv.
    """
    xx, yy, xy = centred_cells(moments)
    std_x, std_y = (std[..., np.newaxis, np.newaxis] for std in (moments.std_x, moments.std_y))
    assert moments.cells is not None
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        pixels = moments.cells.count.astype(np.float64)
        return CellSums(pixels, xx / std_x / std_x, yy / std_y / std_y, xy / std_x / std_y)


def centred_cells(moments: Moments) -> tuple[Floats, Floats, Floats]:
    """Return the sums of squares and products of each cell about the means of the whole: xx, yy, xy."""
    cells = moments.cells
    assert cells is not None, "these moments were taken without tiles"
    with np.errstate(invalid="ignore", over="ignore"):
        delta_x = cells.mean_x - moments.mean_x[..., np.newaxis, np.newaxis]
        delta_y = cells.mean_y - moments.mean_y[..., np.newaxis, np.newaxis]
        n = cells.count
        return (
            cells.ss_x + n * delta_x * delta_x,
            cells.ss_y + n * delta_y * delta_y,
            cells.ss_xy + n * delta_x * delta_y,
        )


def influence(r: Floats, cells: CellSums) -> Floats:
    """Return the sums over cells of the influence of each pixel on r, ``u v - (r / 2)(u^2 + v^2)``; all add up to 0."""
    half = (np.asarray(r) / 2)[..., np.newaxis, np.newaxis]
    with np.errstate(invalid="ignore"):
        return np.asarray(cells.uv - half * (cells.uu + cells.vv))


def tiles(r: Floats, moments: Moments) -> Uncertainty:
    """Return the uncertainty of correlations (pairs,) from moments with cells: see `tile_uncertainty`."""
    parts = []
    for start in range(0, max(1, len(r)), PAIRS):
        part = slice(start, start + PAIRS)
        cells = cell_sums(moments[part])
        parts.append(tile_uncertainty(r[part], influence(r[part], cells), cells.pixels))
    return Uncertainty(*map(np.concatenate, zip(*parts, strict=True)))


def tile_uncertainty(r: Floats, influences: Floats, pixels: Floats) -> Uncertainty:
    """Return the uncertainty of correlations from the influence sums of their cells.

    Parameters
    ----------
    r : (...) array
    influences : (..., GRID, GRID) array
        See `influence`.
    pixels : (..., GRID, GRID) array
        Valid pixels of each cell.

    Notes
    -----
    With C(h) the sum of products of influences of cells at lag h, K(h) that of their counts, p(k) the ratio of their
    sums over the ring ``round(|h|) = k``, divided by that of k = 0, m the first k with p(k) < 0.05 (at most 4) and
    lambda(h) = clip(2 - |h| / m, 0, 1):  A = sum lambda K / N^2;  V = max(sum lambda C / (1 - A), C(0) / 2) / N^2;
    nu = N^2 / (K(0) sum lambda^2);  the standard error of atanh r is sqrt(V) / (1 - r^2) with nu degrees of freedom.
    """
    r = np.asarray(r, np.float64)
    total = pixels.sum(axis=(-2, -1))
    with np.errstate(divide="ignore", invalid="ignore"):
        same = pixels[(slice(1),) * (pixels.ndim - 2)]  # as all pairs have, but those with masks of their own
        c, k = _autocovariance(influences), _autocovariance(same if (pixels == same).all() else pixels)
        centre = (..., FARTHEST, FARTHEST)
        window, saturated = _window(c, k)
        taper = np.clip(2 - _DISTANCE / window[..., np.newaxis, np.newaxis], 0, 1)
        share = (taper * k).sum(axis=(-2, -1)) / total**2
        variance = (taper * c).sum(axis=(-2, -1)) / (1 - share)
        variance = np.maximum(variance, c[centre] / 2) / total**2
        df = total**2 / (k[centre] * (taper * taper).sum(axis=(-2, -1)))
        standard_error = np.sqrt(variance) / (1 - r * r)
        n_eff = 3 + 1 / (standard_error * standard_error)
    exact = np.abs(r) == 1  # nothing varies: 0 / 0 above
    standard_error = np.where(exact, 0.0, standard_error)
    return Uncertainty(standard_error, df, np.where(exact, total, n_eff), window, saturated & ~exact)


_LAG = np.arange(-FARTHEST, FARTHEST + 1)
_DISTANCE = np.hypot(_LAG[:, np.newaxis], _LAG)
_RINGS = [np.rint(_DISTANCE) == k for k in range(LARGEST_WINDOW + 1)]


def _autocovariance(cells: Floats) -> Floats:
    """Return the sums of products of cells at lags up to FARTHEST along each axis, lag 0 in the middle."""
    size = GRID + FARTHEST + 1
    spectrum = np.fft.rfft2(cells, (size, size))
    power = spectrum.real**2 + spectrum.imag**2
    # Power is real: half of its transform along y, of the lags (-y, x) from y = 0 on, has all of it, as lag (y, x) has
    # what (-y, -x) has.
    rows = np.fft.rfft(power, axis=-2)[..., : FARTHEST + 1, :]
    products = np.fft.irfft(rows, size, axis=-1) / size
    return np.asarray(products[..., np.abs(_LAG)[:, np.newaxis], np.where(_LAG[:, np.newaxis] > 0, -_LAG, _LAG)])


def _window(c: Floats, k: Floats) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the first ring at which the covariance of cells has vanished, and whether there was none."""
    rings = np.stack([c[..., ring].sum(-1) / np.maximum(k[..., ring].sum(-1), 1e-9) for ring in _RINGS], axis=-1)
    vanished = rings[..., 1:] / rings[..., :1] < VANISHED
    saturated = ~vanished.any(axis=-1)
    return np.where(saturated, LARGEST_WINDOW, vanished.argmax(axis=-1) + 1), saturated


def effective(image_1: Floats, image_2: Floats, mask: NDArray[np.bool_] | None = None) -> Uncertainty:
    """Return Fisher's standard error with an effective number of pixels, for one pair of images (Y, X).

    ``n_eff = 1 + N^2 / sum_h n_h rho_1(h) rho_2(h)`` over all lags h, n_h the pairs of valid pixels at that lag. The
    autocorrelations are tapered linearly to 0 between the radius at which they fall below 0.1 and twice that radius.
    Right for Gaussian fields of like lengths only: other images vary more.

    P. Clifford, S. Richardson and D. Hemon, Biometrics 45 (1989) 123-134; P. Dutilleul, Biometrics 49 (1993) 305-314.
    """
    valid = np.ones(image_1.shape) if mask is None else mask.astype(np.float64)
    if min(image_1.shape) < GRID:
        return too_small(())
    pairs = np.rint(_lag_products(lag_power(valid), valid.shape))
    rho_1, rho_2 = (_autocorrelation(image, valid, pairs) for image in (image_1, image_2))
    n = pairs[0, 0]
    n_eff = np.asarray(np.clip(1 + n * n / max((pairs * rho_1 * rho_2).sum(), 1.0), 1.0, n))
    return fisher(n_eff)._replace(n_eff=n_eff)


def effective_of_means(r: Floats, known: NDArray[np.bool_], power: Floats, valid: Floats) -> Uncertainty:
    """Return the uncertainty of the mean correlations of slices at each distance, by effective numbers of pixels.

    Parameters
    ----------
    r : (distances,) array
        Means over the pairs, from distance 0 on; NaN where there is none.
    known : (n, distances) bool array
        Whether slices i and i + d have an r.
    power : array
        `lag_power` of the standardised slices, 0 where a pixel does not count, added up.
    valid : (Y, X) array
        1 where a pixel counts, else 0.

    Notes
    -----
    In a stack of Gaussian slices of which two, m apart, have the covariance ``R(m) rho(h)`` at lag h in the plane, the
    correlations of the pairs (i, i + d) and (i + m, i + m + d) have to first order the covariance ``G(m) S``, with
    ``S = sum_h n_h rho(h)^2 / N^2`` as in `effective` and, by Bartlett, ::

        G(m) = R(m)^2 + R(m+d) R(m-d) - 2 R(d) R(m) (R(m+d) + R(m-d)) + R(d)^2 (R(m)^2 + (R(m+d)^2 + R(m-d)^2) / 2)

    G(0) is ``(1 - r^2)^2``, that of a pair alone. The mean over M pairs has the variance ``V = S sum G / M^2``, summed
    over all pairs of pairs, here at least half of what pairs have that share nothing; ``n_eff = 1 + (1 - r^2)^2 / V``.
    R is the curve of means, tapered linearly to 0 between the distance at which it falls below 0.1 and twice that;
    where it does not, the result is *saturated*. rho is the mean autocorrelation of the slices, tapered likewise.

    M. S. Bartlett, "On the theoretical specification and sampling properties of autocorrelated time-series",
    Supplement to the Journal of the Royal Statistical Society 8 (1946) 27-41.
    """
    if not known.any():
        return unknown(r.shape)
    pairs = np.rint(_lag_products(lag_power(valid), valid.shape))
    rho = _tapered(_lag_products(power, valid.shape), pairs)
    pixels = pairs[0, 0]
    share = max((pairs * rho * rho).sum(), 1.0) / pixels**2
    curve, vanished = _tapered_curve(r, len(known))
    of_pairs = known.sum(axis=0)
    factor = np.array([_bartlett(curve, d, known[:, d]) for d in range(len(r))])
    with np.errstate(divide="ignore", invalid="ignore"):
        n_eff = 1 + (1 - r * r) ** 2 / (share * factor)
        n_eff = np.clip(n_eff, 1.0, pixels * of_pairs)
    exact = np.abs(r) == 1  # nothing varies: 0 / 0 above
    n_eff = np.where(exact, pixels, n_eff)
    found = fisher(n_eff)
    standard_error = np.where(exact, 0.0, np.where(np.isnan(r), np.nan, found.standard_error))
    saturated = np.full(r.shape, not vanished) & ~exact
    return found._replace(standard_error=standard_error, n_eff=n_eff, saturated=saturated)


def _tapered_curve(r: Floats, count: int) -> tuple[Floats, bool]:
    """Return the mean correlation at all distances that slices and their pairs can have, and whether it vanishes."""
    distance = np.arange(count + len(r))
    known = np.flatnonzero(~np.isnan(r))
    curve = np.interp(distance, known, r[known])  # holds the last one
    below = np.flatnonzero(curve[: len(r)] < TRUNCATION)
    radius = int(below[0]) if below.size else len(r) - 1
    return curve * np.clip(2 - distance / max(radius, 1), 0, 1), bool(below.size)


def _bartlett(curve: Floats, d: int, known: NDArray[np.bool_]) -> float:
    """Return ``sum G / M^2`` over all pairs of pairs at a distance, those (i, i + d) for which i is known."""
    n = len(known)
    apart = np.fft.irfft(np.abs(np.fft.rfft(known, 2 * n)) ** 2, 2 * n)[:n]
    many = np.rint(apart)  # pairs of pairs that are m apart
    m = np.arange(n)
    here, above, below, r = curve[m], curve[m + d], curve[np.abs(m - d)], curve[d]
    g = here**2 + above * below - 2 * r * here * (above + below) + r * r * (here**2 + (above**2 + below**2) / 2)
    total = many[0] * g[0] + 2 * (many[1:] * g[1:]).sum()
    return float(max(total, many[0] * g[0] / 2) / max(many[0], 1.0) ** 2)


def lag_power(values: Floats) -> Floats:
    """Return the power spectrum of an image, zero-padded so that `_lag_products` does not wrap around."""
    return np.asarray(np.abs(np.fft.rfft2(values, _padded(values.shape))) ** 2)


def _lag_products(power: Floats, shape: tuple[int, ...]) -> Floats:
    """Return the sums of products of an image with itself at every lag, lag (0, 0) first, from its `lag_power`."""
    return np.asarray(np.fft.irfft2(power, _padded(shape)))


def _padded(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return twice a shape."""
    return tuple(2 * n for n in shape)


def _autocorrelation(image: Floats, valid: Floats, pairs: Floats) -> Floats:
    """Return the autocorrelation of an image at every lag, tapered to 0 where it has become small."""
    centred = np.where(valid > 0, image - (np.where(valid > 0, image, 0.0)).sum() / valid.sum(), 0.0)
    return _tapered(_lag_products(lag_power(centred), centred.shape), pairs)


def _tapered(products: Floats, pairs: Floats) -> Floats:
    """Return the autocorrelation from sums of products at every lag, tapered to 0 where it has become small."""
    rho = products / np.maximum(pairs, 1)
    rho /= rho[0, 0]
    lag_y, lag_x = (np.minimum(np.arange(n), n - np.arange(n)) for n in rho.shape)
    distance = np.hypot(lag_y[:, np.newaxis], lag_x)
    ring = np.rint(distance).astype(np.intp)
    weight = np.bincount(ring.ravel(), pairs.ravel())
    radial = np.bincount(ring.ravel(), (rho * pairs).ravel()) / np.maximum(weight, 1)
    radius = max(int(np.argmax(radial < TRUNCATION)), 1)
    return np.asarray(rho * np.clip(2 - distance / radius, 0, 1))
