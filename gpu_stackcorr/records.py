"""Results: frozen records that carry r with what its interval needs, and write themselves as tables and figures."""

from __future__ import annotations

import csv
import io
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .errors import check_between

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from pandas import DataFrame

Floats = NDArray[np.float64]


class ConfidenceInterval(NamedTuple):
    """The bounds of an interval: floats, or arrays with one entry a slice."""

    low: Any
    high: Any


def correlation_interval(r: Any, standard_error: Any, df: Any, confidence_level: float) -> ConfidenceInterval:
    """Return ``tanh(atanh r -+ q standard_error)``, with q the quantile of Student's t (normal where df is infinite).

    Where the standard error is infinite the interval is (-1, 1); else r of -1 or 1 has the interval [r, r], as atanh
    makes of it.
    """
    confidence_level = check_between("confidence_level", confidence_level, 0, 1)
    r, standard_error, df = (np.asarray(a, np.float64) for a in (r, standard_error, df))
    beyond = (1 - confidence_level) / 2  # the small tail: its digits survive a level next to 1
    quantile: Any = -NormalDist().inv_cdf(beyond)
    if np.isfinite(df).any():
        from scipy.special import stdtrit  # half a second to import, and Fisher's intervals do without it

        quantile = np.where(np.isfinite(df), -stdtrit(df, beyond), quantile)
    with np.errstate(divide="ignore", invalid="ignore"):
        z, half = np.arctanh(r), quantile * standard_error
        low, high = np.tanh(z - half), np.tanh(z + half)
    unknown = np.isinf(standard_error) & ~np.isnan(r)
    low, high = np.where(unknown, -1.0, low), np.where(unknown, 1.0, high)
    return ConfidenceInterval(low[()], high[()])


class Table(ABC):
    """A result that is a table: columns of equal length, under names that stay."""

    @abstractmethod
    def columns(self, confidence_level: float = 0.95) -> dict[str, list[Any]]:
        """Return the table, a list a column; what is missing is None, what is not defined is NaN."""

    def to_dataframe(self, confidence_level: float = 0.95) -> DataFrame:
        """Return the table as a pandas DataFrame.

        Raises
        ------
        ImportError
            If pandas is not installed (``pip install pandas``).
        """
        try:
            from pandas import DataFrame
        except ImportError as error:
            raise ImportError("to_dataframe needs pandas: pip install pandas") from error
        return DataFrame(self.columns(confidence_level))

    def to_csv(self, path: str | PathLike[str] | None = None, confidence_level: float = 0.95) -> str:
        """Return the table as CSV, empty where a value is not defined; write it to `path` where given."""
        columns = self.columns(confidence_level)
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*(map(_or_none, column) for column in columns.values()), strict=True))
        if path is not None:
            Path(path).write_text(text.getvalue(), encoding="utf-8", newline="")
        return text.getvalue()

    def to_json(self, path: str | PathLike[str] | None = None, confidence_level: float = 0.95) -> str:
        """Return the table as JSON, an array a column, null where not defined; write it to `path` where given."""
        columns = {name: list(map(_or_none, column)) for name, column in self.columns(confidence_level).items()}
        text = json.dumps(columns, indent=1, allow_nan=False)
        if path is not None:
            Path(path).write_text(text + "\n", encoding="utf-8")
        return text


def _or_none(value: Any) -> Any:
    """Return None for NaN and infinity, which JSON has no words for."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True, slots=True)
class Correlation(Table):
    """The correlation of two images.

    Attributes
    ----------
    statistic : float
        Pearson's r; NaN where an image is constant.
    n : int
        Pixels compared.
    n_eff : float
        Independent pixels that would give the same standard error, ``3 + 1 / standard_error ** 2``.
    standard_error : float
        Of ``atanh(statistic)``; infinite where nothing is known of it.
    df : float
        Degrees of freedom of the standard error; infinite for a normal distribution.
    window : int
        Lag in cells at which ``"tiles"`` cut the covariances; 0 for other methods.
    saturated : bool
        Whether cells were still correlated there: the interval is then too narrow. Also set where the image has fewer
        than 16 pixels a side: the interval is then (-1, 1).
    method : str
        How the standard error was found: ``"tiles"``, ``"effective"``, ``"fisher"`` or ``"none"``.
    backend : str
        Where it was computed.
    """

    statistic: float
    n: int
    n_eff: float
    standard_error: float
    df: float
    window: int
    saturated: bool
    method: str
    backend: str

    def confidence_interval(self, confidence_level: float = 0.95) -> ConfidenceInterval:
        """Return the interval of the correlation at a confidence level between 0 and 1."""
        return correlation_interval(self.statistic, self.standard_error, self.df, confidence_level)

    def columns(self, confidence_level: float = 0.95) -> dict[str, list[Any]]:
        """Return a table of one row."""
        low, high = self.confidence_interval(confidence_level)
        row = {
            "r": self.statistic,
            "low": float(low),
            "high": float(high),
            "n": self.n,
            "n_eff": self.n_eff,
            "df": self.df,
            "window": self.window,
            "saturated": self.saturated,
        }
        return {name: [value] for name, value in row.items()}


def curve_label(transform: str, noise: float) -> str:
    """Return what a curve is called: the transform, and the noise where there is any."""
    if noise == 0:
        return transform
    added = "noise" if math.isnan(noise) else f"noise {noise:g}"
    return added if transform == "identity" else f"{transform}, {added}"


@dataclass(frozen=True, slots=True, eq=False)
class StackCorrelation(Table):
    """The correlation of a reference slice with every slice of a stack: arrays of shape (N,).

    Attributes
    ----------
    statistic : float64 array
        Pearson's r; NaN where a slice is constant or has NaN.
    distance : int64 array
        Slices between the reference and each slice, negative below it; the slice's index where the reference is an
        image of its own.
    n : int64 array
        Pixels compared.
    n_eff, standard_error, df : float64 arrays
    window : int64 array
    saturated : bool array
        As in `Correlation`.
    flags : tuple of str
        ``""``, ``"constant"`` or ``"nan"`` for each slice.
    reference : int or None
        Index of the reference slice; None where it is an image of its own.
    transform : str
        What was done to each slice before it was compared.
    noise : float
        Magnitude of the added noise in standard deviations of the slice; NaN for noise given as an array.
    method : str
        How the standard error was found.
    seed : int or None
        Of the random transforms; None where there were none.
    backend : str
        Where it was computed.
    spacing : float or None
        Distance between slices in nm, where known.
    """

    statistic: Floats
    distance: NDArray[np.int64]
    n: NDArray[np.int64]
    n_eff: Floats
    standard_error: Floats
    df: Floats
    window: NDArray[np.int64]
    saturated: NDArray[np.bool_]
    flags: tuple[str, ...]
    reference: int | None
    transform: str
    noise: float
    method: str
    seed: int | None
    backend: str
    spacing: float | None = None

    def __len__(self) -> int:
        return len(self.statistic)

    @property
    def label(self) -> str:
        """The transform, and the noise where there is any."""
        return curve_label(self.transform, self.noise)

    def confidence_interval(self, confidence_level: float = 0.95) -> ConfidenceInterval:
        """Return the bounds for each slice, at a confidence level between 0 and 1."""
        return correlation_interval(self.statistic, self.standard_error, self.df, confidence_level)

    def columns(self, confidence_level: float = 0.95) -> dict[str, list[Any]]:
        """Return the table: a row a slice."""
        low, high = self.confidence_interval(confidence_level)
        count = len(self)
        nm = [None] * count if self.spacing is None else (self.distance * self.spacing).tolist()
        return {
            "transform": [self.transform] * count,
            "noise": [self.noise] * count,
            "distance": self.distance.tolist(),
            "distance_nm": nm,
            "r": self.statistic.tolist(),
            "low": low.tolist(),
            "high": high.tolist(),
            "n": self.n.tolist(),
            "n_eff": self.n_eff.tolist(),
            "df": self.df.tolist(),
            "window": self.window.tolist(),
            "saturated": self.saturated.tolist(),
            "flag": list(self.flags),
        }

    def plot(self, ax: Axes | None = None, confidence_level: float = 0.95) -> Axes:
        """Draw r against distance with its band; returns the axes."""
        from .plots import plot_correlations

        return plot_correlations([self], ax=ax, confidence_level=confidence_level)


@dataclass(frozen=True, slots=True, eq=False)
class Battery(Table, Mapping[str, StackCorrelation]):
    """The correlations of one reference under several transforms, by label, in the order asked for."""

    results: tuple[StackCorrelation, ...]

    def __getitem__(self, label: str) -> StackCorrelation:
        for result in self.results:
            if result.label == label:
                return result
        raise KeyError(label)

    def __iter__(self) -> Iterator[str]:
        return (result.label for result in self.results)

    def __len__(self) -> int:
        return len(self.results)

    def columns(self, confidence_level: float = 0.95) -> dict[str, list[Any]]:
        """Return the tables of all results below each other."""
        return stack_columns([result.columns(confidence_level) for result in self.results])

    def plot(self, ax: Axes | None = None, confidence_level: float = 0.95) -> Axes:
        """Draw every curve with its band; returns the axes."""
        from .plots import plot_correlations

        return plot_correlations(self.results, ax=ax, confidence_level=confidence_level)


def stack_columns(tables: Sequence[dict[str, list[Any]]]) -> dict[str, list[Any]]:
    """Return tables of the same columns below each other."""
    return {name: [value for table in tables for value in table[name]] for name in tables[0]} if tables else {}


@dataclass(frozen=True, slots=True)
class DecorrelationDepth(Table):
    """The distance at which a correlation first falls below a threshold.

    Attributes
    ----------
    statistic : float
        The distance in slices, linearly interpolated between the last slice above and the first below; NaN where the
        correlation stays above.
    threshold : float
        What it falls below.
    first_below : int or None
        The first distance (a whole number of slices) at which r is below the threshold; None where there is none.
    farthest : int
        The largest distance that was looked at.
    spacing : float or None
        Distance between slices in nm, where known.
    bounds : callable or None
        Takes a confidence level, returns the interval; None where there is none to be had.
    """

    statistic: float
    threshold: float
    first_below: int | None
    farthest: int
    spacing: float | None = None
    bounds: Callable[[float], ConfidenceInterval] | None = field(default=None, repr=False, compare=False)

    def confidence_interval(self, confidence_level: float = 0.95) -> ConfidenceInterval:
        """Return the interval in slices, at a confidence level between 0 and 1.

        Its upper end is infinite where the upper bound of the correlation stays above the threshold: "more than
        `farthest`". Its lower end is then at most `farthest`. Both are NaN for the curve of a single reference.
        """
        check_between("confidence_level", confidence_level, 0, 1)
        return ConfidenceInterval(math.nan, math.nan) if self.bounds is None else self.bounds(confidence_level)

    @property
    def low(self) -> float:
        """The lower end of the 95 % interval in slices; NaN where there is none."""
        return float(self.confidence_interval().low)

    @property
    def high(self) -> float:
        """The upper end of the 95 % interval in slices, infinite for "more than `farthest`"; NaN where none is."""
        return float(self.confidence_interval().high)

    @property
    def nm(self) -> float | None:
        """The distance in nm, where the spacing is known."""
        return None if self.spacing is None else self.statistic * self.spacing

    def columns(self, confidence_level: float = 0.95) -> dict[str, list[Any]]:
        """Return a table of one row."""
        low, high = self.confidence_interval(confidence_level)
        row = {
            "threshold": self.threshold,
            "depth": self.statistic,
            "low": low,
            "high": high,
            "depth_nm": self.nm,
            "first_below": self.first_below,
            "farthest": self.farthest,
        }
        return {name: [value] for name, value in row.items()}
