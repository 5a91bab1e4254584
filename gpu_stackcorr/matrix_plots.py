"""Correlations of pairs of slices as figures: a heat map, and the mean against distance."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from .depth_records import CorrelationMatrix, LagCorrelation

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = "cividis"
"""Even steps of lightness, and alike to readers with and without colour blindness."""

UNKNOWN = "#d0d0d0"
LINE = "#0072B2"
BAND = "#9a9a9a"


def plot_matrix(result: CorrelationMatrix, ax: Axes | None = None) -> Axes:
    """Draw the correlations of all pairs as a heat map with a colour bar; what is not known is grey.

    Parameters
    ----------
    result : CorrelationMatrix
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from gpu_stackcorr.matrices import correlation_matrix
    >>> stack = np.random.default_rng(0).normal(size=(4, 16, 16))
    >>> plot_matrix(correlation_matrix(stack), ax=Figure().add_subplot()).get_xlabel()
    'Slice'
    """
    import matplotlib as mpl
    from matplotlib.ticker import MaxNLocator

    ax = ax or _new_axes()
    r = result.statistic
    # The colours of two stacks can be compared: they reach from 0 to 1, further only where r is negative.
    lowest = min(0.0, float(np.nanmin(r, initial=0.0)))
    colours = mpl.colormaps[COLOURS].with_extremes(bad=UNKNOWN)
    image = ax.imshow(r, cmap=colours, vmin=lowest, vmax=1.0, interpolation="nearest")
    bar = ax.figure.colorbar(image, ax=ax)
    bar.set_label("Correlation r")
    ax.set_xlabel("Slice")
    ax.set_ylabel("Slice")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    return ax


def plot_lags(result: LagCorrelation, ax: Axes | None = None, confidence_level: float = 0.95) -> Axes:
    """Draw the mean correlation against distance with its grey band.

    Parameters
    ----------
    result : LagCorrelation
        An axis in nm is added at the top where the spacing is known.
    ax : matplotlib.axes.Axes, optional
        Where to draw; a new figure by default.
    confidence_level : float
        Of the band, between 0 and 1.

    Returns
    -------
    matplotlib.axes.Axes

    Examples
    --------
    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from gpu_stackcorr.lags import lag_correlation
    >>> stack = np.random.default_rng(0).normal(size=(4, 16, 16))
    >>> plot_lags(lag_correlation(stack, 2), ax=Figure().add_subplot()).get_ylabel()
    'Mean correlation r'
    """
    from matplotlib.ticker import MaxNLocator

    low, high = result.confidence_interval(confidence_level)
    ax = ax or _new_axes()
    ax.fill_between(
        result.distance, low, high, color=BAND, alpha=0.45, linewidth=0.6, label=f"{100 * confidence_level:g} % band"
    )
    ax.plot(result.distance, result.statistic, color=LINE, linewidth=1.6, label="mean of all pairs")
    ax.set_xlabel("Distance in slices")
    ax.set_ylabel("Mean correlation r")
    ax.set_ylim(min(-0.05, float(np.nanmin(result.statistic, initial=0.0)) - 0.05), 1.05)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.legend(frameon=False)
    ax.spines["right"].set_visible(False)
    if result.spacing:
        spacing = result.spacing
        top = ax.secondary_xaxis("top", functions=(partial(np.multiply, spacing), partial(np.multiply, 1 / spacing)))
        top.set_xlabel("Distance in nm")
    else:
        ax.spines["top"].set_visible(False)
    return ax


def _new_axes() -> Axes:
    """Return the axes of a new figure."""
    from matplotlib import pyplot

    return pyplot.subplots(layout="constrained")[1]
