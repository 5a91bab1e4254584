"""decorrelation_depth on curves made by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from properties import given, st

from gpu_stackcorr import decorrelation_depth
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
