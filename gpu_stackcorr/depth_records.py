"""Results over pairs of slices: the matrix of correlations, their mean at each distance, and advice from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import ParameterError, on_one_line
from .records import ConfidenceInterval, Correlation, Table, correlation_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class CorrelationMatrix(Table):
    """The correlations of the slices of a stack with each other, all or those in a band.

    Attributes
    ----------
    values : (n, band + 1) float64 array
        r of slices i and i + d at ``values[i, d]``; NaN where there is no such slice, or one is constant or has NaN.
    constant : tuple of int
        Slices without variance.
    method : str
        How ``pair`` finds the standard error.
    backend : str
        Where it was computed.
    spacing : float or None
        Distance between slices in nm, where known.
    compare : callable
        Takes two indices, returns their `Correlation`.
    """

    values: Floats
    constant: tuple[int, ...]
    method: str
    backend: str
    spacing: float | None
    compare: Callable[[int, int], Correlation] = field(repr=False)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def band(self) -> int:
        """The largest distance between slices, in slices."""
        return int(self.values.shape[1]) - 1

    @property
    def statistic(self) -> Floats:
        """The symmetric (n, n) matrix of r, made anew: NaN outside the band and for slices that have no r."""
        matrix = np.full((len(self), len(self)), np.nan)
        i, j = self._indices()
        matrix[i, j] = matrix[j, i] = self.values[i, j - i]
        return matrix

    def pair(self, i: int, j: int) -> Correlation:
        """Return the correlation of slices i and j with its interval; the two are read and compared again.

        Raises
        ------
        ParameterError
            If there is no such slice, or slice i is constant.
        """
        for name, index in (("i", i), ("j", j)):
            whole = isinstance(index, (int, np.integer)) and not isinstance(index, bool)
            if not whole or not 0 <= index < len(self):
                raise ParameterError(f"{name} = {on_one_line(index)}: the stack has the slices 0 to {len(self) - 1}")
        return self.compare(i, j)

    def columns(self, confidence_level: float = 0.95) -> dict[str, list[Any]]:
        """Return the table: a row a pair i <= j inside the band, without intervals."""
        i, j = self._indices()
        return {"i": i.tolist(), "j": j.tolist(), "r": self.values[i, j - i].tolist()}

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the matrix as a heat map; returns the axes."""
        from .matrix_plots import plot_matrix

        return plot_matrix(self, ax=ax)

    def _indices(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Return the pairs i <= j inside the band, row by row."""
        j = np.arange(len(self))[:, np.newaxis] + np.arange(self.band + 1)
        i, d = np.nonzero(j < len(self))
        return i, i + d


@dataclass(frozen=True, slots=True, eq=False)
class LagCorrelation(Table):
    """The mean correlation of all pairs of slices at each distance: arrays of shape (max_lag + 1,).

    Attributes
    ----------
    statistic : float64 array
        Mean of r over the pairs; NaN where no pair has one.
    distance : int64 array
        0 to max_lag, in slices.
    n_pairs : int64 array
        Pairs in the mean.
    standard_error, df, n_eff : float64 arrays
    window : int64 array
    saturated : bool array
        As in `Correlation`, of the mean.
    spacing : float or None
        Distance between slices in nm, where known.
    method : str
        How the standard error was found.
    backend : str
        Where it was computed.
    """

    statistic: Floats
    distance: NDArray[np.int64]
    n_pairs: NDArray[np.int64]
    standard_error: Floats
    df: Floats
    n_eff: Floats
    window: NDArray[np.int64]
    saturated: NDArray[np.bool_]
    spacing: float | None
    method: str
    backend: str

    def __len__(self) -> int:
        return len(self.statistic)

    @property
    def max_lag(self) -> int:
        """The largest distance in slices."""
        return len(self) - 1

    def confidence_interval(self, confidence_level: float = 0.95) -> ConfidenceInterval:
        """Return the bounds of the mean at each distance, at a confidence level between 0 and 1."""
        return correlation_interval(self.statistic, self.standard_error, self.df, confidence_level)

    def columns(self, confidence_level: float = 0.95) -> dict[str, list[Any]]:
        """Return the table: a row a distance."""
        low, high = self.confidence_interval(confidence_level)
        nm = [None] * len(self) if self.spacing is None else (self.distance * self.spacing).tolist()
        return {
            "distance": self.distance.tolist(),
            "distance_nm": nm,
            "r": self.statistic.tolist(),
            "low": low.tolist(),
            "high": high.tolist(),
            "pairs": self.n_pairs.tolist(),
            "n_eff": self.n_eff.tolist(),
            "df": self.df.tolist(),
            "window": self.window.tolist(),
            "saturated": self.saturated.tolist(),
        }

    def plot(self, ax: Axes | None = None, confidence_level: float = 0.95) -> Axes:
        """Draw the mean r against distance with its band; returns the axes."""
        from .matrix_plots import plot_lags

        return plot_lags(self, ax=ax, confidence_level=confidence_level)


@dataclass(frozen=True, slots=True)
class SplitAdvice(Table):
    """How many slices must lie between training and validation data; ``str`` makes a sentence of it.

    Attributes
    ----------
    separation : int or None
        The first distance in slices whose upper bound is below `max_r`; None where there is none up to `farthest`.
    max_r : float
        The correlation that is tolerated.
    farthest : int
        The largest distance that was looked at.
    confidence_level : float
        Of the interval whose upper bound was taken.
    saturated : bool
        Whether that interval, or, without one, any of the intervals, is known to be too narrow.
    spacing : float or None
        Distance between slices in nm, where known.
    """

    separation: int | None
    max_r: float
    farthest: int
    confidence_level: float
    saturated: bool
    spacing: float | None = None

    @property
    def nm(self) -> float | None:
        """The distance in nm, where it and the spacing are known."""
        return None if self.separation is None or self.spacing is None else self.separation * self.spacing

    def columns(self, confidence_level: float = 0.95) -> dict[str, list[Any]]:
        """Return a table of one row; the level is that of the advice."""
        row = {
            "max_r": self.max_r,
            "separation": self.separation,
            "separation_nm": self.nm,
            "farthest": self.farthest,
            "confidence_level": self.confidence_level,
            "saturated": self.saturated,
        }
        return {name: [value] for name, value in row.items()}

    def __str__(self) -> str:
        level = f"{100 * self.confidence_level:g} % interval"
        if self.separation is None:
            far = f"{self.farthest} slices" + (
                "" if self.spacing is None else f" ({self.farthest * self.spacing:g} nm)"
            )
            text = f"Keep training and validation data more than max_lag, {far}, apart: "
            text += f"up to there the {level} of the correlation reaches {self.max_r:g}"
        else:
            nm = "" if self.nm is None else f" ({self.nm:g} nm)"
            slices = f"{self.separation} slice" + ("" if self.separation == 1 else "s")
            text = f"Keep training and validation data at least {slices}{nm} apart: "
            text += f"from there on the {level} of the correlation is below {self.max_r:g}"
        warning = "; structures are large for the image, and the interval is too narrow" if self.saturated else ""
        return f"{text}{warning}."
