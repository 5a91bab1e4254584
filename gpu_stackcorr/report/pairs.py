"""What all pairs of slices tell: how fast a stack decorrelates, how far apart its parts must be, what does not fit."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpu_stackcorr.decorrelation import decorrelation_depth, split_advice
from gpu_stackcorr.depth_records import LagCorrelation, SplitAdvice
from gpu_stackcorr.errors import ConstantSliceWarning
from gpu_stackcorr.lags import lag_correlation
from gpu_stackcorr.outliers import OutlierSlices, find_outlier_slices
from gpu_stackcorr.records import DecorrelationDepth

if TYPE_CHECKING:
    from .analysis import ReportOptions

FARTHEST = 128
"""The largest distance of pairs, in slices; half the stack where that is less."""

FEWEST_SLICES = 4
"""A stack with fewer slices has too few pairs to speak of."""


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


def compare_all(volume: Any, options: ReportOptions) -> AllPairs | None:
    """Compare all pairs of slices; None where that was not asked for or the stack has too few."""
    count = volume.shape[0]
    if not options.pairs or count < FEWEST_SLICES:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantSliceWarning)  # the curves have warned of them
        lags = lag_correlation(volume, min(FARTHEST, count // 2), nan_policy="propagate", backend=options.backend)
        outliers = find_outlier_slices(volume, backend=options.backend)
    return AllPairs(
        lags=lags,
        depth=decorrelation_depth(lags),
        advice=split_advice(lags, confidence_level=options.confidence_level),
        outliers=outliers,
    )
