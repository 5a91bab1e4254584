"""The mean correlation of all pairs of slices at each distance, with intervals that know of shared slices."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise, product
from math import fsum, prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import intervals
from .arrays import Stack
from .backends.base import Backend
from .cross_moments import CrossMoments
from .depth_records import LagCorrelation
from .errors import ParameterError
from .matrices import constant_slices, fill, products, products_in_box, warn_of_constant
from .slice_pairs import Block, SlicePairs
from .threads import use_threads

Floats = NDArray[np.float64]

THREADED_PRODUCTS = 1 << 26
"""Products of two blocks over a cell below which one thread is faster than several: with 96 slices of 768 x 1024 pixels
of uint8 two threads took 1.3 times as long as one (28 million products a cell), of 2048 x 2048 pixels 0.8 times."""


def lag_correlation(
    stack: Any,
    max_lag: int,
    *,
    mask: Any = None,
    ci: str | None = "tiles",
    nan_policy: str = "raise",
    backend: str | None = None,
) -> LagCorrelation:
    """Return the mean correlation of all pairs of slices at each distance from 0 to `max_lag`.

    Parameters
    ----------
    stack : array_like of shape (n, Y, X) or (n, 1, Y, X)
        As in `stack_correlation`; two slices or more. One on disk that is larger than half a gigabyte is read in
        blocks, each slice once as long as `max_lag` slices fit into 128 MiB.
    max_lag : int
        The largest distance in slices, from 1 to half the number of slices: beyond that the pairs at a distance leave
        out the middle of the stack.
    mask : (Y, X) bool array, optional
        Pixels that count.
    ci : {"tiles", "effective", "fisher", None}
        How the standard errors are found. ``"effective"`` is right for Gaussian stacks only, and takes a Fourier
        transform a slice. ``"fisher"`` takes the pixels of one slice as independent, and is far too narrow for
        micrographs.
    nan_policy : {"raise", "propagate"}
        NaN pixels of a slice are an error, or leave its pairs out.
    backend : str, optional
        Where to compute.

    Returns
    -------
    LagCorrelation
        Pairs with a constant slice are left out of the means.

    Raises
    ------
    ParameterError
        If a parameter is not allowed, the stack has one slice, or there are NaN and ``nan_policy="raise"``.

    Notes
    -----
    ``"tiles"``: with u, v the standardised slices of a pair and r its correlation, the influence ``u v - (r / 2)(u^2 +
    v^2)`` is summed over each cell of a 16 x 16 grid and averaged over all pairs at a distance: what is left is one sum
    a column of cells through the whole stack, in which slices that pairs share, and pairs that overlap, count as what
    they are. Its covariances between columns give the standard error, as in ``intervals.tile_uncertainty``. It assumes
    that the stack is stationary across the slices and wider than a few of its structures. Where `.saturated` is true,
    structures are too large for the image and the interval is too narrow.

    ``"effective"``: the covariance of the correlations of any two pairs is that of Gaussian slices, by Bartlett's
    formula along z and the effective number of pixels in the plane: see ``intervals.effective_of_means``. It assumes
    that the slices are Gaussian, that all have one autocorrelation, and that it is the same between slices, times a
    factor that depends on their distance alone. Other stacks vary more. Where `.saturated` is true, the correlation
    does not fall below 0.1 within `max_lag`: how much distant pairs have in common is then a guess.

    That the stack is typical of its tissue along z, no interval from it can know. Drift between slices lowers r like
    decorrelation does. A correlation of 0 is not independence: r sees linear likeness at zero shift alone.

    Examples
    --------
    >>> from gpu_stackcorr import phantom
    >>> result = lag_correlation(phantom((16, 64, 64), correlation_length=4.0, seed=1), 8)
    >>> result.statistic.shape, float(result.statistic[0])
    ((9,), 1.0)
    """
    data = Stack(stack)
    engine = data.backend(backend)
    intervals.check_method(ci)
    pairs = SlicePairs(data, _checked_lag(max_lag, len(data)), mask, nan_policy)
    sums = _Sums(engine, pairs, ci if min(data.shape[1:]) >= intervals.GRID else None)
    for a, b in pairs:
        sums.add(a, b)
    warn_of_constant(sums.constant)
    statistic, n_pairs = sums.means()
    found = _uncertainty(ci, statistic, sums)
    return LagCorrelation(
        statistic=statistic,
        distance=np.arange(pairs.band + 1),
        n_pairs=n_pairs,
        standard_error=found.standard_error,
        df=found.df,
        n_eff=found.n_eff,
        window=found.window,
        saturated=found.saturated,
        spacing=data.spacing,
        method=ci or "none",
        backend=engine.name,
    )


def _checked_lag(max_lag: int, count: int) -> int:
    """Return the largest distance, or raise where it is none or more than half the stack."""
    whole = isinstance(max_lag, (int, np.integer)) and not isinstance(max_lag, bool)
    if count > 1 and not (whole and 1 <= max_lag <= count // 2):
        raise ParameterError(
            f"max_lag = {max_lag!r}: allowed are 1 to {count // 2}, half the number of slices ({count})"
        )
    return int(max_lag)


class _Sums:
    """What is kept of the pairs: r of each, and sums over the cells of slices and of all pairs at a distance.

    Attributes
    ----------
    r : (n, max_lag + 1) array
        ``r[i, d]`` of slices i and i + d.
    squares : (n, cells) array
        Sums of squares of each standardised slice; 0 for a slice that has no r.
    products : (max_lag + 1, cells) array
        Sums of products of standardised slices, added over the pairs at a distance.
    pixels : (cells,) array
    seen : int
        Slices, from the first one on, whose means, standard deviations and squares are known.
    power : array
        ``intervals.lag_power`` of the standardised slices, added up; 0 unless ``"effective"`` asks for it.
    """

    def __init__(self, engine: Backend, pairs: SlicePairs, ci: str | None) -> None:
        count, shape = len(pairs.stack), pairs.stack.shape[1:]
        self.engine, self.pairs = engine, pairs
        self.tiles, self.effective = ci == "tiles", ci == "effective"
        self.edges = intervals.cell_edges(shape)
        self.boxes = list(product(*([slice(*ends) for ends in pairwise(e.tolist())] for e in self.edges)))
        self.r = np.full((count, pairs.band + 1), np.nan)
        self.mean, self.std = np.zeros(count), np.zeros(count)
        self.constant = np.zeros(count, bool)
        self.seen = 0
        self.pixels = np.zeros(len(self.boxes))
        self.squares = np.zeros((count if self.tiles else 0, len(self.boxes)))
        self.products = np.zeros((pairs.band + 1, len(self.boxes)))
        self.power = np.zeros(())

    def add(self, a: Block, b: Block) -> None:
        """Add the pairs of two blocks."""
        if self.tiles:
            self._see(b)  # a has been b before
            moments = self._by_cell(a, b)
        else:
            moments = products(self.engine, a, b, self.pairs)
        fill(self.r, moments, a, b, self.pairs)
        if a is b:
            self.constant[a.start : a.stop] = constant_slices(moments)
            if self.effective:
                self._add_power(a)

    def _see(self, block: Block) -> None:
        """Keep the means and standard deviations of a block's slices, and their sums of squares over cells."""
        block = block.part(self.seen, block.stop)
        if not len(block.slices):
            return
        mask = self.pairs.mask
        own = self.engine.moments([block.slices[0]], block.slices, reference_mask=mask, tiles=self.edges)[0]
        place = slice(block.start, block.stop)
        known = ~own.constant_y & np.isfinite(own.ss_y)
        self.seen = block.stop
        self.mean[place] = np.where(known, own.mean_y, 0.0)
        self.std[place] = np.where(known, own.std_y, np.inf)
        cells = intervals.cell_sums(own)
        self.pixels = cells.pixels[0].ravel()
        self.squares[place] = np.where(known[:, np.newaxis], cells.vv.reshape(len(known), -1), 0.0)

    def _add_power(self, block: Block) -> None:
        """Add the power spectra of a block's slices, standardised; those without r have none."""
        valid = self.valid()
        own = self.engine.moments([block.slices[0]], block.slices, reference_mask=self.pairs.mask)[0]
        for n in np.flatnonzero(~own.constant_y & np.isfinite(own.ss_y)):
            image = np.asarray(self.engine.to_host(block.slices[n]), np.float64)
            image = np.where(valid, (image - own.mean_y[n]) / own.std_y[n], 0.0)
            self.power = self.power + intervals.lag_power(image)

    def valid(self) -> NDArray[np.bool_]:
        """Return which pixels count."""
        return np.ones(self.pairs.stack.shape[1:], bool) if self.pairs.mask is None else self.pairs.mask

    def _by_cell(self, a: Block, b: Block) -> CrossMoments:
        """Add the products of two blocks over each cell; return the moments over all cells."""
        rows, columns = self.pairs.wanted(a, b)
        # A slice without r has NaN, or nothing to divide by: its products are left out.
        kept = np.isfinite(self.std[a.start + rows]) & np.isfinite(self.std[b.start + columns])
        rows, columns = rows[kept], columns[kept]
        distance = b.start + columns - a.start - rows
        scale = 1 / (self.std[a.start + rows] * self.std[b.start + columns])
        means = self.mean[a.start : a.stop], self.mean[b.start : b.stop]
        whole: CrossMoments | None = None
        with self._threads_of_cell(a, b):
            for cell, box in enumerate(self.boxes):
                moments = products_in_box(self.engine, a, b, self.pairs.mask, *box)
                centred = moments.about(*means, rows, columns)
                self.products[:, cell] += np.bincount(distance, centred * scale, len(self.products))
                whole = moments if whole is None else whole.merge(moments)
        assert whole is not None
        return whole

    def _threads_of_cell(self, a: Block, b: Block) -> AbstractContextManager[None]:
        """Return the context in which the products of two blocks over a cell are computed fastest."""
        pixels = prod(self.pairs.stack.shape[1:]) // len(self.boxes)
        few = len(a.slices) * len(b.slices) * pixels < THREADED_PRODUCTS
        return use_threads(1) if few else nullcontext()

    def means(self) -> tuple[Floats, NDArray[np.int64]]:
        """Return the mean r at each distance, correctly rounded from the sum on, and the number of pairs in it."""
        known = ~np.isnan(self.r)
        n_pairs = known.sum(axis=0)
        totals = [fsum(r[kept].tolist()) for r, kept in zip(self.r.T, known.T, strict=True)]
        statistic = np.full(len(totals), np.nan)
        np.divide(totals, n_pairs, out=statistic, where=n_pairs > 0)
        return statistic, n_pairs

    def influences(self) -> Floats:
        """Return the influence sums of the cells, averaged over the pairs at each distance: (max_lag + 1, cells)."""
        r = np.nan_to_num(self.r, nan=0.0)
        half = np.zeros_like(self.products)
        for d in range(len(half)):
            half[d] = np.einsum("n,n...->...", r[: len(r) - d, d], self.squares[: len(r) - d] + self.squares[d:]) / 2
        n_pairs = np.maximum((~np.isnan(self.r)).sum(axis=0), 1)
        return np.asarray((self.products - half) / n_pairs[:, np.newaxis])


def _uncertainty(ci: str | None, statistic: Floats, sums: _Sums) -> intervals.Uncertainty:
    """Return the uncertainty of the mean correlations."""
    if ci is None:
        return intervals.unknown(statistic.shape)
    valid = sums.valid()
    if ci == "fisher":
        return intervals.fisher(np.full(statistic.shape, valid.sum()))
    if min(valid.shape) < intervals.GRID:
        return intervals.too_small(statistic.shape)
    if ci == "effective":
        return intervals.effective_of_means(statistic, ~np.isnan(sums.r), sums.power, valid.astype(np.float64))
    grid = (intervals.GRID, intervals.GRID)
    influences = sums.influences().reshape(-1, *grid)
    pixels_of_cells = np.broadcast_to(sums.pixels.reshape(grid), influences.shape)
    return intervals.tile_uncertainty(statistic, influences, pixels_of_cells)
