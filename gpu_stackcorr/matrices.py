"""The correlations of all pairs of slices of a stack, or of those in a band, by products of matrices."""

from __future__ import annotations

from functools import partial, reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import Stack
from .backends.base import Backend
from .correlation import image_correlation
from .cross_moments import CrossMoments
from .depth_records import CorrelationMatrix
from .errors import ConstantSliceWarning, ParameterError, warn
from .intervals import check_method
from .records import Correlation
from .slice_pairs import Block, SlicePairs

BOX_PIXELS = 1 << 30
"""Pixels of a slice that a backend is given at once: it may be given fewer than 2^31."""


def correlation_matrix(
    stack: Any,
    *,
    band: int | None = None,
    mask: Any = None,
    ci: str | None = "tiles",
    nan_policy: str = "raise",
    backend: str | None = None,
) -> CorrelationMatrix:
    """Return Pearson's correlation of every slice of a stack with every other, or with those near it.

    Parameters
    ----------
    stack : array_like of shape (n, Y, X) or (n, 1, Y, X)
        As in `stack_correlation`; two slices or more. One on disk that is larger than half a gigabyte is read in
        blocks, of which three are held.
    band : int, optional
        The largest distance in slices, 1 or more; time and memory then grow with ``n * band``. All pairs by default.
    mask : (Y, X) bool array, optional
        Pixels that count.
    ci : {"tiles", "effective", "fisher", None}
        How ``.pair(i, j)`` finds its standard error: see ``gpu_stackcorr.intervals`` for what each assumes.
    nan_policy : {"raise", "propagate"}
        NaN pixels of a slice are an error, or make its correlations NaN.
    backend : str, optional
        Where to compute.

    Returns
    -------
    CorrelationMatrix
        ``.statistic`` is the symmetric (n, n) float64 matrix of r, NaN outside the band and for constant slices. For
        bool, int8, uint8, int16 and uint16 each r is the float64 nearest to its exact value, whatever the number of
        threads; otherwise computed from centred float64 sums, whose last bits may depend on n and on threads.
        ``.pair(i, j)`` compares two slices again, and has the interval. It keeps the stack, and reads it again.

    Raises
    ------
    ParameterError
        If a parameter is not allowed, the stack has one slice, or there are NaN and ``nan_policy="raise"``.

    Notes
    -----
    The interval of ``.pair(i, j)`` is that of `image_correlation`: ``"tiles"`` assumes that the slices are stationary
    and wider than a few of their structures; do not trust it where `.saturated` is set. It is that of its own pair: of
    many pairs some fall outside, and pairs that share a slice err together. For the mean over pairs use
    `lag_correlation`. Two slices with r = 0 need not be independent: r sees linear likeness at zero shift alone.

    Examples
    --------
    >>> import numpy as np
    >>> stack = np.random.default_rng(0).integers(0, 256, (4, 32, 32), np.uint8)
    >>> result = correlation_matrix(stack)
    >>> result.statistic.shape, float(result.statistic[2, 2])
    ((4, 4), 1.0)
    >>> result.pair(0, 3).statistic == float(result.statistic[0, 3])
    True
    """
    data = Stack(stack)
    engine = data.backend(backend)
    check_method(ci)
    pairs = SlicePairs(data, _checked_band(band, len(data)), mask, nan_policy)
    values = np.full((len(data), pairs.band + 1), np.nan)
    constant = np.zeros(len(data), bool)
    for a, b in pairs:
        moments = products(engine, a, b, pairs)
        fill(values, moments, a, b, pairs)
        if a is b:
            constant[a.start : a.stop] = constant_slices(moments)
    warn_of_constant(constant)
    return CorrelationMatrix(
        values=values,
        constant=tuple(np.flatnonzero(constant).tolist()),
        method=ci or "none",
        backend=engine.name,
        spacing=data.spacing,
        compare=partial(_compare, data, mask=pairs.mask, ci=ci, nan_policy=nan_policy, backend=engine.name),
    )


def _checked_band(band: int | None, count: int) -> int:
    """Return the band, at most the largest distance that there is."""
    if band is None:
        return count - 1
    if isinstance(band, bool) or not isinstance(band, (int, np.integer)) or band < 1:
        raise ParameterError(f"band = {band!r}: allowed are whole numbers from 1 on, or None for all pairs")
    return min(int(band), count - 1)


def _compare(stack: Stack, i: int, j: int, **how: Any) -> Correlation:
    """Return the correlation of two slices, read anew."""
    return image_correlation(stack.slab(i, i + 1)[0], stack.slab(j, j + 1)[0], **how)


def products_in_box(engine: Backend, a: Block, b: Block, mask: NDArray[np.bool_] | None, *box: slice) -> CrossMoments:
    """Return the moments of all pairs of two blocks over a box (y, x) of the slices."""
    return engine.cross_moments(
        a.slices[:, *box],
        None if a is b else b.slices[:, *box],  # as backends take a block with itself
        mask=None if mask is None else mask[box],
    )


def products(engine: Backend, a: Block, b: Block, pairs: SlicePairs) -> CrossMoments:
    """Return the moments of all pairs of two blocks over whole slices."""
    height, width = a.slices.shape[1:]
    rows = max(1, BOX_PIXELS // width)
    strips = (slice(top, top + rows) for top in range(0, height, rows))
    return reduce(CrossMoments.merge, (products_in_box(engine, a, b, pairs.mask, strip) for strip in strips))


def fill(values: NDArray[np.float64], moments: CrossMoments, a: Block, b: Block, pairs: SlicePairs) -> None:
    """Put the correlations of two blocks into ``values[i, j - i]``; a slice with itself has exactly 1."""
    rows, columns = pairs.wanted(a, b)
    distance = b.start + columns - a.start - rows
    r = moments.pairs(rows, columns).correlation()
    values[a.start + rows, distance] = np.where((distance == 0) & ~np.isnan(r), 1.0, r)


def constant_slices(moments: CrossMoments) -> NDArray[np.bool_]:
    """Return which slices of a block have no variance, from its moments with itself."""
    own = np.arange(len(moments.x))
    return moments.pairs(own, own).constant_x


def warn_of_constant(constant: NDArray[np.bool_]) -> None:
    """Warn, once, of slices without variance."""
    if constant.any():
        names = ", ".join(map(str, np.flatnonzero(constant)[:10])) + (", ..." if constant.sum() > 10 else "")
        warn(f"constant slices: {names}; their correlations are NaN", ConstantSliceWarning)
