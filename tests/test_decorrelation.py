"""decorrelation_depth on curves made by hand."""

from __future__ import annotations

import json
import math
import pickle

import numpy as np
import pytest
import scipy.stats
from properties import given, st

from gpu_stackcorr import decorrelation_depth
from gpu_stackcorr.depth_records import LagCorrelation
from gpu_stackcorr.errors import ParameterError
from gpu_stackcorr.records import StackCorrelation

NAN = math.nan


def curve(r, reference=0, spacing=None):
    r = np.array(r, np.float64)
    n = len(r)
    return StackCorrelation(
        statistic=r,
        distance=np.arange(n) - (reference or 0),
        n=np.full(n, 100),
        n_eff=np.full(n, 100.0),
        standard_error=np.full(n, 0.1),
        df=np.full(n, np.inf),
        window=np.zeros(n, np.int64),
        saturated=np.zeros(n, bool),
        flags=tuple("nan" if math.isnan(value) else "" for value in r),
        reference=reference,
        transform="identity",
        noise=0.0,
        method="fisher",
        seed=None,
        backend="numpy",
        spacing=spacing,
    )


@pytest.mark.parametrize(
    ("r", "reference", "threshold", "depth", "first_below", "farthest"),
    [
        ([1, 0.75, 0.5, 0.25, 0], 0, 0.5, 2.0, 3, 4),
        ([1, 0.75, 0.5, 0.25, 0], 0, 0.375, 2.5, 3, 4),
        ([1, 0.5, 0], 0, 0.875, 0.25, 1, 2),
        ([1, 0.5, -0.5], 0, 0, 1.5, 2, 2),
        ([1, 0.5, -0.5], 0, -0.25, 1.75, 2, 2),
        ([1, 0.25, 1, 0.25], 0, 0.5, 2 / 3, 1, 3),  # the first time, though it rises again
        ([1, 0.75, NAN, 0.25], 0, 0.5, 2.0, 3, 3),  # across a slice that is passed over
        ([1, NAN, NAN, 0.25, 0], 0, 0.625, 1.5, 3, 4),
        ([0.25, 0.1], 0, 0.5, 0.0, 0, 1),  # below from the start, as noise makes it
        ([NAN, 0.25], 0, 0.5, 1.0, 1, 1),
        ([0, 0.25, 1, 0.75, 0.25], 2, 0.5, 1.5, 2, 2),  # above the reference alone
        ([0, 0.25, 0.5, 1], 3, 0.625, 0.75, 1, 3),  # below it where it is the topmost
        ([0, NAN, 0.5, 1], 3, 0.25, 2.0, 3, 3),
        ([0.9, 0.5, 0.1], None, 0.5, 1.0, 2, 2),  # an image of its own: the slice's index
    ],
)
def test_crossings(r, reference, threshold, depth, first_below, farthest):
    result = decorrelation_depth(curve(r, reference), threshold=threshold)
    assert result.statistic == pytest.approx(depth, abs=1e-12)
    assert result.first_below == first_below
    assert isinstance(result.first_below, int)
    assert result.farthest == farthest
    assert result.threshold == threshold
    assert result.spacing is None
    assert result.nm is None


@pytest.mark.parametrize(
    ("r", "farthest"), [([1, 0.9, 0.8], 2), ([1, 0.5], 1), ([1], 0), ([1, 0.9, NAN], 1), ([NAN, NAN], 0)]
)
def test_a_curve_that_stays_above(r, farthest):
    result = decorrelation_depth(curve(r, spacing=8.0), threshold=0.5)
    assert math.isnan(result.statistic)
    assert result.first_below is None
    assert result.farthest == farthest
    assert math.isnan(result.nm)


def test_the_threshold_is_one_over_e():
    result = decorrelation_depth(curve(np.exp(-np.arange(12) / 4.5)))
    assert result.threshold == 1 / math.e
    assert result.first_below == 5
    assert 4 < result.statistic < 5


def test_the_last_slice_above_may_be_at_the_threshold():
    result = decorrelation_depth(curve([1, 0.5, 0.5, 0.25]), threshold=0.5)
    assert result.statistic == 2.0
    assert result.first_below == 3


def test_spacing():
    result = decorrelation_depth(curve([1, 0.75, 0.25], spacing=45.0), threshold=0.5)
    assert result.statistic == 1.5
    assert result.spacing == 45.0
    assert result.nm == 67.5
    assert result.columns() == {
        "threshold": [0.5],
        "depth": [1.5],
        "low": [pytest.approx(NAN, nan_ok=True)],
        "high": [pytest.approx(NAN, nan_ok=True)],
        "depth_nm": [67.5],
        "first_below": [2],
        "farthest": [2],
    }


@pytest.mark.parametrize("threshold", [-1, 1, 1.5, -3, NAN, math.inf])
def test_thresholds_that_are_not_allowed(threshold):
    with pytest.raises(ParameterError, match=r"^threshold = .*between -1 and 1"):
        decorrelation_depth(curve([1, 0.5]), threshold=threshold)


@given(
    r=st.lists(st.floats(-1, 1) | st.just(NAN), min_size=1, max_size=12),
    threshold=st.floats(-0.99, 0.99),
    spacing=st.none() | st.floats(1, 100),
)
def test_the_crossing_lies_between_its_neighbours(r, threshold, spacing):
    result = decorrelation_depth(curve(r, spacing=spacing), threshold=threshold)
    valid = [(d, value) for d, value in enumerate(r) if not math.isnan(value)]
    below = [d for d, value in valid if value < threshold]
    assert result.first_below == (below[0] if below else None)
    assert result.farthest == (valid[-1][0] if valid else 0)
    if below:
        above = [d for d, _ in valid if d < below[0]]
        assert (above[-1] if above else below[0]) <= result.statistic <= below[0]
        assert result.nm == (None if spacing is None else result.statistic * spacing)
    else:
        assert math.isnan(result.statistic)
    topmost = decorrelation_depth(curve(r[::-1], reference=len(r) - 1, spacing=spacing), threshold=threshold)
    np.testing.assert_equal(topmost.columns(), result.columns())


# Of mean correlations at each distance, with intervals.


def lags(r, standard_error=0.1, spacing=None, method="tiles"):
    r = np.array(r, np.float64)
    n = len(r)
    error = np.broadcast_to(np.asarray(standard_error, np.float64), n).copy()
    error[0] = 0
    return LagCorrelation(
        statistic=r,
        distance=np.arange(n),
        n_pairs=2 * n - np.arange(n),
        standard_error=error,
        df=np.full(n, 30.0),
        n_eff=3 + 1 / np.maximum(error, 1e-9) ** 2,
        window=np.ones(n, np.int64),
        saturated=np.zeros(n, bool),
        spacing=spacing,
        method=method,
        backend="numpy",
    )


def test_the_interval_is_where_the_bands_cross():
    r = [1, 0.8, 0.6, 0.4, 0.2, 0.0]
    result = lags(r, spacing=10.0)
    depth = decorrelation_depth(result, threshold=0.5)
    assert depth.statistic == pytest.approx(2.5)
    assert depth.nm == pytest.approx(25)
    half = 0.1 * scipy.stats.t.ppf(0.95, 30)
    for end, sign in zip(depth.confidence_interval(0.9), (-1, 1), strict=True):
        band = np.tanh(np.arctanh(r[1:]) + sign * half)
        # Both bands fall: their values as the abscissa.
        assert end == pytest.approx(np.interp(0.5, np.append(band[::-1], 1), [5, 4, 3, 2, 1, 0]), rel=1e-12)
    assert depth.confidence_interval(0.5).low > depth.confidence_interval(0.9).low > depth.low
    assert depth.confidence_interval(0.5).high < depth.confidence_interval(0.9).high < depth.high
    assert (depth.low, depth.high) == depth.confidence_interval(0.95)
    assert depth.columns(0.9)["low"] == [depth.confidence_interval(0.9).low]


def test_a_band_that_stays_above():
    depth = decorrelation_depth(lags([1, 0.8, 0.55, 0.45], 0.2), threshold=0.5)
    assert 2 < depth.statistic < 3
    assert depth.low < depth.statistic
    assert depth.high == math.inf
    both = decorrelation_depth(lags([1, 0.95, 0.9]), threshold=0.5)
    assert math.isnan(both.statistic)
    assert (both.low, both.high) == (2, math.inf)
    assert json.loads(both.to_json())["high"] == [None]


def test_without_intervals_there_is_none():
    for result in (curve([1, 0.5, 0]), lags([1, 0.5, 0], NAN, method="none")):
        depth = decorrelation_depth(result)
        assert depth.statistic > 1
        assert math.isnan(depth.low)
        assert math.isnan(depth.high)


def test_a_depth_is_compared_and_pickled():
    depth = decorrelation_depth(lags([1, 0.5, 0]))
    again = pickle.loads(pickle.dumps(depth))
    assert again == depth
    assert again.confidence_interval(0.8) == depth.confidence_interval(0.8)


def test_levels_that_are_not_allowed():
    with pytest.raises(ParameterError, match=r"^confidence_level = 1: "):
        decorrelation_depth(lags([1, 0.5, 0])).confidence_interval(1)


@given(
    r=st.lists(st.floats(-0.99, 0.99), min_size=1, max_size=12),
    threshold=st.floats(-0.95, 0.95),
    error=st.floats(0.001, 1),
)
def test_the_depth_lies_in_its_interval(r, threshold, error):
    depth = decorrelation_depth(lags([1, *r], error), threshold=threshold)
    assert 0 <= depth.low <= depth.high
    if math.isnan(depth.statistic):
        assert depth.high == math.inf
    else:
        assert depth.low <= depth.statistic <= depth.high
