"""What all pairs of slices tell: how fast a stack decorrelates, how far apart its parts must be, what does not fit."""

from __future__ import annotations

import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from gpu_stackcorr.arrays import Stack
from gpu_stackcorr.decorrelation import decorrelation_depth, split_advice
from gpu_stackcorr.depth_records import LagCorrelation, SplitAdvice
from gpu_stackcorr.errors import ConstantSliceWarning
from gpu_stackcorr.lags import lag_correlation
from gpu_stackcorr.outliers import OutlierSlices, find_outlier_slices
from gpu_stackcorr.pipeline import Cost
from gpu_stackcorr.records import DecorrelationDepth
from gpu_stackcorr.slice_pairs import SlicePairs

if TYPE_CHECKING:
    from .analysis import ReportOptions

FARTHEST = 128
"""The largest distance of pairs, in slices; half the stack where that is less."""

FEWEST_SLICES = 4
"""A stack with fewer slices has too few pairs to speak of."""


WORK_BYTES = 96 * 2**20
"""Bytes that the comparison needs beside the slices it holds."""


@dataclass(frozen=True, slots=True, eq=False)
class AllPairs:
    """What all pairs of slices tell.

    Attributes
    ----------
    lags : LagCorrelation
        The mean correlation at each distance.
    depth : DecorrelationDepth
        Where that falls below 1/e, with an interval.
    advice : SplitAdvice
        How many slices must lie between training and validation data.
    outliers : OutlierSlices
        Slices that do not fit their neighbours.
    """

    lags: LagCorrelation
    depth: DecorrelationDepth
    advice: SplitAdvice
    outliers: OutlierSlices

    def summary(self, confidence_level: float) -> dict[str, Any]:
        """Return the columns of everything, for results.json."""
        parts = {"lags": self.lags, "depth": self.depth, "advice": self.advice, "outliers": self.outliers}
        return {name: part.columns(confidence_level) for name, part in parts.items()}


def farthest(volume: Any, options: ReportOptions) -> int:
    """Return the largest distance of pairs that are compared; 0 where none was asked for or the stack has too few."""
    count = int(volume.shape[0])
    return min(FARTHEST, count // 2) if options.pairs and count >= FEWEST_SLICES else 0


def estimate_all(volume: Any, options: ReportOptions) -> Cost:
    """Return what `compare_all` would cost, from the first slices timed here.

    The work is a share for each slice and one for each product of two slices, which two samples tell apart.
    """
    max_lag, count = farthest(volume, options), int(volume.shape[0])
    if not max_lag:
        return Cost(0.0, 0)
    few, more = min(count, 4), min(count, 12)
    stack = np.asarray(volume[:more])
    seconds = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantSliceWarning)
        for size in (few, few, more):  # the first one loads what is loaded once
            start = time.perf_counter()
            lag_correlation(stack[:size], size // 2, nan_policy="propagate", backend=options.backend)
            seconds.append(time.perf_counter() - start)
    product = max(0.0, (few * seconds[2] - more * seconds[1]) / (few * more * max(1, more - few)))
    each = max(0.0, seconds[1] / few - few * product)
    # Each slice twice, for the faults too; blocks of slices meet those up to two blocks on.
    total = 2 * count * each + count * min(count, 3 * max_lag) * product
    return Cost(total, SlicePairs(Stack(volume), max_lag, None, "propagate").held_bytes + WORK_BYTES)


def compare_all(volume: Any, options: ReportOptions) -> AllPairs | None:
    """Compare all pairs of slices; None where that was not asked for or the stack has too few."""
    max_lag = farthest(volume, options)
    if not max_lag:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantSliceWarning)  # the curves have warned of them
        lags = lag_correlation(volume, max_lag, nan_policy="propagate", backend=options.backend)
        outliers = find_outlier_slices(volume, backend=options.backend)
    return AllPairs(
        lags=lags,
        depth=decorrelation_depth(lags),
        advice=split_advice(lags, confidence_level=options.confidence_level),
        outliers=outliers,
    )
