"""Slices that do not fit their neighbours: missing, repeated, swapped, displaced, blank or damaged ones.

Correlations of a stack fall with distance. A fault changes which distance a pair of slices *looks like*, and each kind
of fault does so in its own way (d is the distance of a pair by its indices):

    missing     m slices between z and z + 1     pairs across the gap look like d + m
    duplicate   z + 1 repeats z                  pairs across look like d - 1, and z and z + 1 like nothing at all apart
    swapped     z and z + 1 in the wrong order   pairs of z with those below look like d + 1, of z + 1 like d - 1, ...
    jump        the stack goes on elsewhere      pairs across all look like the farthest, or worse
    damaged     slice z                          pairs of z have q r instead of r, pairs across z are as expected

Every hypothesis is tried at every place, against the median of the pairs at each distance nearby. All is done on
Fisher's z = atanh r, whose scatter hardly depends on r. The best hypothesis is taken as found and undone (slots are
left empty, removed or exchanged), and the search goes on until none explains anything.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .arrays import Stack, on_host
from .errors import ParameterError
from .matrices import correlation_matrix
from .outlier_search import Candidate, View, search
from .records import Table

Floats = NDArray[np.float64]

BAND = 10
"""Distances that are looked at by default: enough to count six missing slices."""

LEAST_BAND = 5
"""The pairs that hypotheses are tried on, and one distance more."""

FLAT = 0.05
"""A slice whose standard deviation is below that share of the median is blank."""

FAULTS = ("missing", "duplicate", "swapped", "jump", "damaged", "blank")


@dataclass(frozen=True, slots=True)
class Outlier:
    """One fault.

    Attributes
    ----------
    slice : int
        The slice at fault: of a duplicate the upper one, of a gap or a jump the one below it, of a swapped pair the
        lower one.
    fault : str
        One of FAULTS.
    count : int
        Slices missing, where that is known; else 0.
    r, expected : float
        The correlation that shows it best, and what its neighbours have there.
    score : float
        By how much the fault brings its pairs nearer to what is expected, on average, in units of their scatter.
        Infinite for blank slices and exact duplicates.
    text : str
        The same in a sentence.
    """

    slice: int
    fault: str
    count: int
    r: float
    expected: float
    score: float
    text: str


@dataclass(frozen=True, slots=True)
class OutlierSlices(Table):
    """The faults of a stack, in the order of its slices.

    Attributes
    ----------
    outliers : tuple of Outlier
    slices : int
        Of the stack.
    band : int
        Largest distance that was looked at.
    """

    outliers: tuple[Outlier, ...]
    slices: int
    band: int

    def __len__(self) -> int:
        return len(self.outliers)

    def __iter__(self) -> Iterator[Outlier]:
        return iter(self.outliers)

    def columns(self, confidence_level: float = 0.95) -> dict[str, list[Any]]:
        """Return the table: a row a fault."""
        names = ("slice", "fault", "count", "r", "expected", "score", "text")
        table = {name: [getattr(outlier, name) for outlier in self.outliers] for name in names}
        table["score"] = [score if np.isfinite(score) else None for score in table["score"]]
        return table


def find_outlier_slices(stack_or_matrix: Any, *, band: int = BAND, backend: str | None = None) -> OutlierSlices:
    """Return the slices of a stack that do not fit their neighbours.

    Found are missing slices, duplicates, swapped neighbours, jumps (more slices missing than can be counted, or a part
    that is displaced), damaged and blank slices.

    Parameters
    ----------
    stack_or_matrix : stack of shape (n, Y, X) or (n, 1, Y, X), CorrelationMatrix, or (n, n) float array
        A stack is read once. Of a matrix only the band is looked at; NaN stands for what is not known, and a slice
        with nothing but NaN is blank.
    band : int
        Largest distance of the pairs to look at, in slices: at least 5. Up to ``band - 4`` missing slices can be
        counted.
    backend : str, optional
        Where the correlations of a stack are computed.

    Returns
    -------
    OutlierSlices

    Raises
    ------
    ParameterError
        If the band, or the shape of what is given, is not allowed.

    Notes
    -----
    The expectation at each distance is the median over 10 slices to either side, the scatter the median absolute
    deviation from it over the whole stack, or a fifth of the step to the next distance where that is more. For missing
    slices log r is expected to grow as fast as it does, on either side of the gap, within four slices. A section
    1.6 times as thick as others and a slice that has lost a sixth of its correlation pass. What is reported wants to
    be looked at, for its cause cannot be seen in correlations: a slice that is displaced, folded or out of focus looks
    damaged, a section twice as thick looks like one that is missing.

    There is no interval here: the score counts scatters, and is no probability.

    What cannot be found: a missing slice, or a swap, where neighbours correlate like slices at distance 2 (within
    their scatter, which is large for small images and short correlations); damage where neighbours correlate by less
    than 0.1. A gap next to the first or the last slice looks like damage, and is called that. Two faults within four
    slices of each other may hide one another. With fewer than about 10 slices only blank slices and exact duplicates
    are found. Of 4 or more missing slices the number is rough; where nearly all correlation is lost across a gap it
    is a jump.

    Examples
    --------
    >>> import numpy as np
    >>> from gpu_stackcorr import phantom
    >>> stack = phantom((30, 128, 128), correlation_length=6.0, seed=1)
    >>> found = find_outlier_slices(np.delete(stack, 12, axis=0))
    >>> [(outlier.slice, outlier.fault, outlier.count) for outlier in found]
    [(11, 'missing', 1)]
    """
    if isinstance(band, bool) or not isinstance(band, (int, np.integer)) or band < LEAST_BAND:
        raise ParameterError(f"band = {band!r}: allowed are whole numbers from {LEAST_BAND} on")
    shape = np.shape(getattr(stack_or_matrix, "statistic", stack_or_matrix))
    if len(shape) == 2:
        r = _checked_matrix(getattr(stack_or_matrix, "statistic", stack_or_matrix))
        band = _reached(band, len(r))
        return OutlierSlices(tuple(_faults(r, band)), len(r), band)
    stack = Stack(stack_or_matrix)
    band = _reached(band, len(stack))
    r = correlation_matrix(stack.source, band=band, ci=None, nan_policy="propagate", backend=backend).statistic
    found = [faint_as_blank(stack, outlier) for outlier in _faults(r, band)]
    return OutlierSlices(tuple(found), len(r), band)


def _reached(band: int, count: int) -> int:
    """Return the largest distance that is worth looking at: beyond the number of slices there are no pairs."""
    return min(int(band), max(count, BAND))


def _checked_matrix(matrix: Any) -> Floats:
    """Return a matrix of correlations in float64; what one side of the diagonal lacks is taken from the other."""
    r = np.asarray(matrix, np.float64)
    if r.shape[0] != r.shape[1] or r.size == 0 or np.nanmax(np.abs(r), initial=0.0) > 1 + 1e-6:
        raise ParameterError(f"stack_or_matrix has shape {r.shape}: allowed are (n, Y, X), or (n, n) between -1 and 1")
    return np.where(np.isnan(r), r.T, r)


def faint_as_blank(stack: Stack, outlier: Outlier) -> Outlier:
    """Return a damaged slice as a blank one where it has hardly any contrast beside its neighbours."""
    if outlier.fault != "damaged":
        return outlier
    below = max(0, outlier.slice - 2)
    contrast = on_host(stack.slab(below, outlier.slice + 3).std(axis=(1, 2), dtype=np.float64))
    own, usual = float(contrast[outlier.slice - below]), float(np.median(contrast))
    if own >= FLAT * usual:
        return outlier
    text = (
        f"slice {outlier.slice} has hardly any contrast: standard deviation {own:.3g} where neighbours have {usual:.3g}"
    )
    return replace(outlier, fault="blank", text=text)


def _faults(r: Floats, band: int) -> list[Outlier]:
    """Return all faults in the order of the slices."""
    z = np.arange(len(r))
    beside = np.abs(np.subtract.outer(z, z))
    unknown = np.isnan(r) | (beside == 0) | (beside > band)
    blank = np.flatnonzero(unknown.all(axis=1) & (len(r) > 1)).tolist()
    found = [
        Outlier(n, "blank", 0, math.nan, math.nan, math.inf, f"slice {n} has no variance, or nothing but NaN")
        for n in blank
    ]
    found += [_outlier(view, fault) for view, fault in search(r, band)]
    return sorted(found, key=lambda outlier: outlier.slice)


def _outlier(view: View, fault: Candidate) -> Outlier:
    """Return a fault in words and numbers."""
    c, slots = fault.slot, view.slots
    expected = float(np.tanh(view.expected[1, c]))
    r = float(np.tanh(view.z[1, c])) if c + 1 < len(slots) else math.nan
    lower, upper = slots[c], slots[c + 1] if c + 1 < len(slots) else -1
    usual = f"r = {r:.3f} where neighbours have {expected:.3f}"
    at = lower
    match fault.fault:
        case "missing":
            name, many = "missing", f"{fault.count} slice{'s are' if fault.count > 1 else ' is'}"
            text = f"{many} missing between slices {lower} and {upper}: {usual}"
        case "jump":
            name = "jump"
            text = f"the stack goes on elsewhere between slices {lower} and {upper}: {usual}, and it stays low"
        case "swapped":
            name, at = "swapped", min(lower, upper)
            side = c - 1 if c > 0 and not np.isnan(view.z[1, c - 1]) else c + 1
            r = float(np.tanh(view.z[1, side]))
            text = f"slices {lower} and {upper} fit their neighbours if exchanged: r = {r:.3f}, expected {expected:.3f}"
        case "damaged":
            name = "damaged"
            r = float(np.tanh(np.fmin(view.z[1, c], view.z[1, c - 1] if c > 0 else math.nan)))
            text = (
                f"slice {lower} has {fault.quality:.0%} of the correlation expected with its neighbours, on both sides"
            )
        case "copy":
            name, r = "duplicate", 1.0
            text = f"slice {lower} repeats slice {fault.of}"
        case _:
            name, at = "duplicate", lower if fault.fault == "lower" else upper
            stands = "" if fault.fault == "inserted" else ", in the place of a slice that is missing"
            text = f"slice {at} repeats slice {lower + upper - at}{stands}: {usual}"
    return Outlier(int(at), name, fault.count, r, expected, fault.gain, text)
