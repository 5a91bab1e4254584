"""split_advice on curves made by hand, and with depth and lags on the real stacks."""

from __future__ import annotations

import math

import numpy as np
import pytest
from properties import given, st
from real_data import needs_real_data, real_data
from test_decorrelation import curve, lags

from gpu_stackcorr import decorrelation_depth, open_volume
from gpu_stackcorr.decorrelation import split_advice
from gpu_stackcorr.errors import InputTypeError, ParameterError
from gpu_stackcorr.lags import lag_correlation

NAN = math.nan
R = [1, 0.5, 0.3, 0.1, 0.08, 0.02, 0.0]


def test_the_upper_band_decides():
    # The upper bound is tanh(atanh r + 2.042 * 0.02), about r + 0.041.
    result = lags(R, 0.02)
    advice = split_advice(result)
    assert advice.separation == 5
    assert isinstance(advice.separation, int)
    assert split_advice(result, confidence_level=0.5).separation == 4
    assert split_advice(result, max_r=0.35).separation == 2
    assert split_advice(lags(R, 0.04)).separation == 6
    assert (advice.max_r, advice.farthest, advice.confidence_level, advice.saturated) == (0.1, 6, 0.95, False)
    assert advice.nm is None


def test_sentences():
    assert str(split_advice(lags(R, 0.02))) == (
        "Keep training and validation data at least 5 slices apart: "
        "from there on the 95 % interval of the correlation is below 0.1."
    )
    assert "at least 5 slices (40 nm) apart" in str(split_advice(lags(R, 0.02, spacing=8.0)))
    assert "at least 1 slice apart" in str(split_advice(lags(R, 0.02), max_r=0.6))
    far = split_advice(lags(R, 0.2, spacing=8.0), max_r=0.25)
    assert far.separation is None
    assert far.nm is None
    assert str(far) == (
        "Keep training and validation data more than max_lag, 6 slices (48 nm), apart: "
        "up to there the 95 % interval of the correlation reaches 0.25."
    )


def test_a_window_that_is_known_to_be_too_small_is_said():
    result = lags(R, 0.02)
    result.saturated[3] = True
    assert not split_advice(result).saturated
    result.saturated[5] = True
    assert split_advice(result).saturated
    assert str(split_advice(result)).endswith("; structures are large for the image, and the interval is too narrow.")
    assert split_advice(lags(R, 1.0)).saturated is False
    wide = lags(R, 1.0)
    wide.saturated[2] = True
    assert split_advice(wide).saturated


def test_table():
    assert split_advice(lags(R, 0.02, spacing=8.0), max_r=0.2, confidence_level=0.9).columns() == {
        "max_r": [0.2],
        "separation": [3],
        "separation_nm": [24.0],
        "farthest": [6],
        "confidence_level": [0.9],
        "saturated": [False],
    }


def test_distances_without_pairs_are_passed_over():
    assert split_advice(lags([1, 0.5, NAN, 0.01], 0.02)).separation == 3


@pytest.mark.parametrize("max_r", [0, 1, -0.1, 1.5, NAN])
def test_what_is_refused(max_r):
    with pytest.raises(ParameterError, match=r"^max_r = .*between 0 and 1"):
        split_advice(lags(R), max_r=max_r)


def test_results_that_are_refused():
    with pytest.raises(InputTypeError, match=r"^result is a StackCorrelation: allowed is what lag_correlation returns"):
        split_advice(curve(R))
    with pytest.raises(ParameterError, match=r"^result has no intervals"):
        split_advice(lags(R, NAN, method="none"))
    with pytest.raises(ParameterError, match=r"^confidence_level = 0: "):
        split_advice(lags(R), confidence_level=0)


@given(
    r=st.lists(st.floats(-0.9, 0.9), min_size=1, max_size=9),
    errors=st.tuples(st.floats(0.001, 0.5), st.floats(0.001, 0.5)),
    max_r=st.floats(0.01, 0.9),
)
def test_less_certain_is_never_nearer(r, errors, max_r):
    sure, unsure = (split_advice(lags([1, *r], error), max_r=max_r).separation for error in sorted(errors))
    assert (sure or 99) <= (unsure or 99)
    by_point = np.flatnonzero(np.array(r) < max_r)
    if sure is not None:
        assert sure >= 1 + by_point[0]


@needs_real_data
@pytest.mark.parametrize(
    ("path", "max_lag", "depth", "low", "high", "separation"),
    [("fibsem/fibsem_250.tif", 125, 12.1, 7.4, 23.4, 55), ("sstem", 10, 0.9, 0.8, 1.3, 7)],
)
def test_real_stacks(path, max_lag, depth, low, high, separation):
    """Figures that a prototype found, to the digits that it printed."""
    with open_volume(real_data() / path, voxel_size=8.0) as volume:
        result = lag_correlation(volume, max_lag)
    found = decorrelation_depth(result)
    assert [round(value, 1) for value in (found.statistic, found.low, found.high)] == [depth, low, high]
    advice = split_advice(result)
    assert advice.separation == separation
    assert advice.nm == 8 * separation
