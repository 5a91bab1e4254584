"""How fast slices decorrelate with distance, and how far apart training and validation data must lie."""

from __future__ import annotations

from functools import partial
from math import e, inf, isnan, nan

import numpy as np
from numpy.typing import NDArray

from .depth_records import LagCorrelation, SplitAdvice
from .errors import InputTypeError, ParameterError, check_between
from .records import ConfidenceInterval, DecorrelationDepth, StackCorrelation

Floats = NDArray[np.float64]


def decorrelation_depth(result: StackCorrelation | LagCorrelation, *, threshold: float = 1 / e) -> DecorrelationDepth:
    """Return the distance at which the correlation first falls below a threshold.

    Parameters
    ----------
    result : LagCorrelation or StackCorrelation
        From `lag_correlation` the depth has an interval. Of a `StackCorrelation`, which is the curve of one reference,
        the slices above the reference are looked at, or those below where the reference is the topmost. Slices
        whose r is NaN are passed over.
    threshold : float
        Between -1 and 1; 1/e by default.

    Returns
    -------
    DecorrelationDepth
        The crossing, linearly interpolated between the last slice above the threshold and the first below it, and, of
        a `LagCorrelation`, ``.confidence_interval(level)``: where the lower and the upper band cross it.

    Raises
    ------
    InputTypeError
        If `result` is neither.
    ParameterError
        If the threshold is not a number between -1 and 1.

    Notes
    -----
    The interval is as good as the bands are. With ``ci="tiles"`` these assume a stack that is stationary and wider
    than a few of its structures, with ``"effective"`` a Gaussian one, as `lag_correlation` says; where they are
    saturated, and with ``"fisher"`` always, do not trust it: it is too narrow. Slices beyond this depth are less alike
    than the threshold, at zero shift and linearly; that is no proof of independence.

    The distance at which an interval first includes zero is not a measure of decorrelation: less data would make it
    smaller.

    Examples
    --------
    >>> from gpu_stackcorr import phantom, stack_correlation
    >>> stack = phantom((16, 128, 128), correlation_length=6.0, seed=1)
    >>> 4 < decorrelation_depth(stack_correlation(stack)).statistic < 9
    True
    >>> from gpu_stackcorr.lags import lag_correlation
    >>> depth = decorrelation_depth(lag_correlation(stack, 8), threshold=0.6)
    >>> low, high = depth.confidence_interval(0.9)
    >>> low < depth.statistic < high
    True
    """
    if not isinstance(result, (StackCorrelation, LagCorrelation)):
        raise InputTypeError(
            f"result is a {type(result).__name__}: allowed is what lag_correlation and stack_correlation return"
        )
    threshold = check_between("threshold", threshold, -1, 1)
    upwards = result.distance.max() > 0
    distance = result.distance if upwards else -result.distance[::-1]
    r = result.statistic if upwards else result.statistic[::-1]
    looked_at = (distance >= 0) & ~np.isnan(r)
    distance, r = distance[looked_at], r[looked_at]
    below = np.flatnonzero(r < threshold)
    bounds = None
    if isinstance(result, LagCorrelation) and result.method != "none":
        bounds = partial(_depth_interval, result, threshold)
    return DecorrelationDepth(
        statistic=_crossing(distance, r, threshold),
        threshold=threshold,
        first_below=int(distance[below[0]]) if below.size else None,
        farthest=int(distance.max(initial=0)),
        spacing=result.spacing,
        bounds=bounds,
    )


def _crossing(distance: NDArray[np.int64], r: Floats, threshold: float) -> float:
    """Return where a curve first falls below a threshold, between its points; NaN where it stays above."""
    below = np.flatnonzero(r < threshold)
    if not below.size:
        return nan
    first = int(below[0])
    if first == 0:
        return float(distance[0])
    share = (r[first - 1] - threshold) / (r[first - 1] - r[first])
    return float(distance[first - 1] + share * (distance[first] - distance[first - 1]))


def _depth_interval(result: LagCorrelation, threshold: float, confidence_level: float) -> ConfidenceInterval:
    """Return where the lower and the upper band of the mean correlations cross a threshold.

    A band that stays above says of its end only that it is beyond the largest distance: the lower end is then that
    distance, the upper one infinite.
    """
    ends = []
    for band, beyond in zip(result.confidence_interval(confidence_level), (float(result.max_lag), inf), strict=True):
        known = ~np.isnan(band)
        end = _crossing(result.distance[known], band[known], threshold)
        ends.append(beyond if isnan(end) else end)
    return ConfidenceInterval(*ends)


def split_advice(result: LagCorrelation, *, max_r: float = 0.1, confidence_level: float = 0.95) -> SplitAdvice:
    """Return how many slices must lie between training and validation data.

    Parameters
    ----------
    result : LagCorrelation
        From `lag_correlation`, with intervals.
    max_r : float
        The correlation that is tolerated, between 0 and 1.
    confidence_level : float
        Of the interval, between 0 and 1.

    Returns
    -------
    SplitAdvice
        The first distance at which the *upper* bound of the mean correlation is below `max_r`, in slices and nm; None
        and the text "more than max_lag" where there is none.

    Raises
    ------
    InputTypeError
        If `result` is not a `LagCorrelation`: the curve of one reference says little of other pairs.
    ParameterError
        If `max_r` or the level is not allowed, or `result` has no intervals (``ci=None``).

    Notes
    -----
    r itself falls below `max_r` too early in up to every second stack; the upper bound of an interval that holds does
    so in one of forty. An interval's including zero is no criterion: less data makes that happen
    earlier. The advice is as good as the intervals, which assume a stationary stack wider than a few of its structures
    (see `lag_correlation`): do not trust it where `.saturated` is set, with ``ci="fisher"``, or with ``"effective"`` of
    stacks that are not Gaussian. A small linear
    correlation at zero shift is no proof of independence: neurons that pass through both parts of a stack still do.

    Examples
    --------
    >>> from gpu_stackcorr import phantom
    >>> from gpu_stackcorr.lags import lag_correlation
    >>> stack = phantom((24, 64, 64), correlation_length=2.0, seed=1)
    >>> print(split_advice(lag_correlation(stack, 12), max_r=0.3))
    Keep training and validation data at least ... apart: ...
    """
    if not isinstance(result, LagCorrelation):
        raise InputTypeError(f"result is a {type(result).__name__}: allowed is what lag_correlation returns")
    max_r = check_between("max_r", max_r, 0, 1)
    if result.method == "none":
        raise ParameterError(
            "result has no intervals, ci = None: allowed are those of 'tiles', 'effective' and 'fisher'"
        )
    high = result.confidence_interval(confidence_level).high
    below = np.flatnonzero(high < max_r)
    separation = int(below[0]) if below.size else None
    saturated = result.saturated.any() if separation is None else result.saturated[separation]
    return SplitAdvice(separation, max_r, result.max_lag, confidence_level, bool(saturated), result.spacing)
