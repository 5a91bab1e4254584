"""How fast slices decorrelate with distance."""

from __future__ import annotations

from math import e, nan

import numpy as np

from .errors import ParameterError
from .records import DecorrelationDepth, StackCorrelation


def decorrelation_depth(result: StackCorrelation, *, threshold: float = 1 / e) -> DecorrelationDepth:
    """Return the distance at which the correlation first falls below a threshold.

    Parameters
    ----------
    result : StackCorrelation
        Its slices above the reference are looked at, or those below where the reference is the topmost. Slices whose
        r is NaN are passed over.
    threshold : float
        Between -1 and 1; 1/e by default.

    Returns
    -------
    DecorrelationDepth
        The crossing, linearly interpolated between the last slice above the threshold and the first below it.

    Notes
    -----
    The distance at which an interval first includes zero is not a measure of decorrelation: less data would make it
    smaller.

    Examples
    --------
    >>> from gpu_stackcorr import phantom, stack_correlation
    >>> stack = phantom((16, 128, 128), correlation_length=6.0, seed=1)
    >>> 4 < decorrelation_depth(stack_correlation(stack)).statistic < 9
    True
    """
    if not -1 < threshold < 1:
        raise ParameterError(f"threshold = {threshold!r}: allowed are numbers between -1 and 1")
    distance = result.distance if result.distance.max() > 0 else -result.distance[::-1]
    r = result.statistic if result.distance.max() > 0 else result.statistic[::-1]
    looked_at = (distance >= 0) & ~np.isnan(r)
    distance, r = distance[looked_at], r[looked_at]
    farthest = int(distance.max(initial=0))
    below = np.flatnonzero(r < threshold)
    if not below.size:
        return DecorrelationDepth(nan, threshold, None, farthest, result.spacing)
    first = int(below[0])
    crossing = float(distance[first])
    if first > 0:
        share = (r[first - 1] - threshold) / (r[first - 1] - r[first])
        crossing = float(distance[first - 1] + share * (distance[first] - distance[first - 1]))
    return DecorrelationDepth(crossing, threshold, int(distance[first]), farthest, result.spacing)
