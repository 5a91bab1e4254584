"""Correlations as figures, in colours that colour-blind readers can tell apart and line styles that print in grey."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import ParameterError
from .records import ConfidenceInterval, StackCorrelation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Expected = Callable[[NDArray[np.int64]], Any]
"""A known correlation as a function of distances in slices."""

# The palette of M. Okabe and K. Ito, "Color Universal Design" (2008), without its yellow, which is faint on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINE_STYLES = ("-", (0, (6, 2)), (0, (6, 2, 1.2, 2)), (0, (2, 1.6)), (0, (6, 2, 1.2, 2, 1.2, 2)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
BAND = "#9a9a9a"

WIDEST_BAND = 0.4
"""How far below the lowest r a band is shown."""
GUIDE = "#555555"

FEW_SLICES = 32
"""Up to that many slices, a curve has a marker at each."""

MARKERS_APART = 14
"""Of a longer curve: as many markers, evenly apart."""


def plot_correlations(
    results: Sequence[StackCorrelation],
    ax: Axes | None = None,
    confidence_level: float = 0.95,
    expected: Expected | None = None,
) -> Axes:
    """Draw correlation against distance, a curve with its grey band for each result.

    Parameters
    ----------
    results : sequence of StackCorrelation
        At least one. An axis in nm is added at the top where all have the same spacing.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.
    confidence_level : float
        Of the bands, between 0 and 1.
    expected : callable, optional
        A known correlation: a function of an array of distances in slices, drawn at the distances of the first result.

    Returns
    -------
    matplotlib.axes.Axes

    Raises
    ------
    ParameterError
        If there is no result, or the confidence level is not between 0 and 1.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from gpu_stackcorr import phantom, stack_correlation
    >>> result = stack_correlation(phantom((5, 32, 32)))
    >>> plot_correlations([result], ax=Figure().add_subplot()).get_ylabel()
    'Correlation r'
    """
    if not results:
        raise ParameterError("results is empty: allowed are one or more")
    if ax is None:
        from matplotlib import pyplot

        ax = pyplot.subplots(layout="constrained")[1]
    bands = [result.confidence_interval(confidence_level) for result in results]
    drawn = len(ax.lines)
    alone = drawn + len(results) == 1
    for number, (result, (low, high)) in enumerate(zip(results, bands, strict=True), start=drawn):
        # Bands that overlap are told apart by the colours of their curves; one alone is grey, as in the notebook. The
        # edge keeps a band visible that is thinner than a line of the screen.
        style: dict[str, Any] = (
            {"color": BAND, "alpha": 0.45} if alone else {"color": COLOURS[number % len(COLOURS)], "alpha": 0.14}
        )
        ax.fill_between(result.distance, low, high, linewidth=0.6, zorder=1.5, **style)
    for number, result in enumerate(results, start=drawn):
        ax.plot(
            result.distance, result.statistic, label=curve_name(result), **_line(result, number, drawn + len(results))
        )
    if expected is not None:
        distance = results[0].distance
        known = np.asarray(expected(distance), np.float64)
        ax.plot(distance, known, color="black", linestyle=(0, (1, 1.4)), linewidth=2.2, zorder=4, label="expected")
    _label_axes(ax, results, lowest=min(map(_lowest, results, bands)))
    # The band's own entry in the legend, once for all curves.
    if (band := band_name(results, confidence_level)) not in ax.get_legend_handles_labels()[1]:
        ax.fill_between([], [], color=BAND, alpha=0.45, label=band)
    ax.legend(frameon=False)
    return ax


def mark_threshold(ax: Axes, threshold: float, name: str) -> None:
    """Draw a thin horizontal line at a threshold, and write its name at its right end."""
    ax.axhline(threshold, color=GUIDE, linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
    ax.annotate(
        name, (1, threshold), xycoords=("axes fraction", "data"), xytext=(-4, 3), textcoords="offset points",
        ha="right", va="bottom", color=GUIDE,
    )  # fmt: skip


def curve_name(result: StackCorrelation) -> str:
    """Return what a figure calls a result: its label, in words."""
    return result.label.replace("_", " ")


def band_name(results: Sequence[StackCorrelation], confidence_level: float) -> str:
    """Return what a figure calls the bands: the level, and the method where all results share one."""
    methods = {result.method for result in results}
    method = (
        {"fisher": " (Fisher)", "effective": " (effective pixels)"}.get(methods.pop(), "") if len(methods) == 1 else ""
    )
    return f"{100 * confidence_level:g} % band{method}"


def _line(result: StackCorrelation, number: int, count: int) -> dict[str, Any]:
    """Return how a result is drawn, the curve with that number among `count` curves."""
    step = 1 if len(result) <= FEW_SLICES else math.ceil(len(result) / MARKERS_APART)
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": LINE_STYLES[number % len(LINE_STYLES)],
        "marker": MARKERS[number % len(MARKERS)],
        # Curves that lie on each other show their markers in turn.
        "markevery": (number * step // count, step),
        "markersize": 5,
        "linewidth": 1.6,
        "zorder": 3 - number / 100,
    }


def _lowest(result: StackCorrelation, band: ConfidenceInterval) -> float:
    """Return the lowest r to show: that of the band, unless it is so wide that the curve would be flat."""
    known = ~np.isnan(result.statistic)
    if not known.any():
        return 0.0
    r = float(result.statistic[known].min())
    return max(float(np.nanmin(band.low, initial=r)), r - WIDEST_BAND)


def _label_axes(ax: Axes, results: Sequence[StackCorrelation], lowest: float) -> None:
    """Name the axes, add that in nm, and choose the range of r."""
    from matplotlib.ticker import MaxNLocator

    references = {result.reference for result in results}
    reference = references.pop() if len(references) == 1 else None
    own_image = any(result.reference is None for result in results)
    where = "Slice" if own_image else "Distance from the reference slice, in slices"
    ax.set_xlabel(where if reference is None else f"Distance from slice {reference}, in slices")
    ax.set_ylabel("Correlation r")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    # Curves that were there before stay in sight.
    below = ax.get_ylim()[0] if ax.get_legend() else 0.0
    ax.set_ylim(min(-0.05, lowest - 0.05, below), 1.05)
    ax.spines[["right"]].set_visible(False)
    spacings = {result.spacing for result in results}
    spacing = spacings.pop() if len(spacings) == 1 else None
    if ax.child_axes:
        return
    if spacing and not own_image:
        top = ax.secondary_xaxis("top", functions=(partial(np.multiply, spacing), partial(np.multiply, 1 / spacing)))
        top.set_xlabel("Distance in nm")
    else:
        ax.spines[["top"]].set_visible(False)


def scale_bar(ax: Axes, share: float, name: str) -> None:
    """Draw a bar as long as that share of the width, and its length on a dark ground: legible on any picture."""
    from matplotlib.patches import Rectangle

    ground = {"boxstyle": "square,pad=0.25", "facecolor": "black", "edgecolor": "none", "alpha": 0.6}
    ax.add_patch(Rectangle((0.04, 0.04), share, 0.012, transform=ax.transAxes, facecolor="white", edgecolor="black"))
    ax.text(0.04 + share / 2, 0.075, name, transform=ax.transAxes, color="white", ha="center", va="bottom", bbox=ground)


def round_length(longest: float) -> float:
    """Return the largest of 1, 2 and 5 times a power of ten that is at most `longest`."""
    power = 10.0 ** math.floor(math.log10(longest))
    return max(factor * power for factor in (1, 2, 5) if factor * power <= longest)
