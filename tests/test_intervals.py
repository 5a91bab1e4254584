"""Intervals of correlations: Fisher's and Student's against SciPy, the ends of the range, what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.stats
from properties import given, st

from gpu_stackcorr.correlation import image_correlation, stack_correlation
from gpu_stackcorr.errors import ParameterError
from gpu_stackcorr.intervals import METHODS, check_method, fisher, unknown
from gpu_stackcorr.records import Correlation, correlation_interval


def correlation(r: float, n: int) -> Correlation:
    """Return a correlation with Fisher's standard error."""
    found = fisher(np.array([n]))
    return Correlation(
        r, n, float(found.n_eff[0]), float(found.standard_error[0]), math.inf, 0, False, "fisher", "numpy"
    )


def test_by_hand() -> None:
    # r = 0 of 103 pixels: standard error 1/10, bounds -+tanh(0.1959963984540054).
    low, high = correlation(0.0, 103).confidence_interval()
    bound = math.tanh(0.1959963984540054)
    assert (low, high) == pytest.approx((-bound, bound), rel=1e-14)
    named = correlation(0.0, 103).confidence_interval(0.95)
    assert (named.low, named.high) == (low, high)


@pytest.mark.parametrize(
    ("level", "critical"),
    [(0.5, 0.6744897501960817), (0.68, 0.994457883209753), (0.9, 1.6448536269514722), (0.95, 1.959963984540054),
     (0.99, 2.5758293035489004), (0.999, 3.2905267314918945), (0.999999, 4.891638475698725)],
)  # fmt: skip
def test_critical_values(level: float, critical: float) -> None:
    low, high = correlation_interval(0.0, 0.01, math.inf, level)
    assert math.atanh(high) / 0.01 == pytest.approx(critical, rel=1e-10)
    assert low == -high


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("n", [4, 5, 12, 1001])
def test_fisher_is_that_of_scipy(level: float, n: int) -> None:
    rng = np.random.default_rng(n)
    x = rng.normal(size=n)
    y = x + rng.normal(size=n)
    expected = scipy.stats.pearsonr(x, y)
    result = image_correlation(x[None], y[None], ci="fisher")
    assert result.statistic == pytest.approx(expected.statistic, rel=1e-13)
    low, high = result.confidence_interval(level)
    assert (low, high) == pytest.approx(tuple(expected.confidence_interval(level)), rel=1e-12)
    many = stack_correlation(np.stack([x, y, -y])[:, None], transform=None, ci="fisher")
    low, high = many.confidence_interval(level)
    np.testing.assert_allclose([low[1], high[1]], expected.confidence_interval(level), rtol=1e-12)
    np.testing.assert_allclose([-high[2], -low[2]], expected.confidence_interval(level), rtol=1e-12)


@given(st.floats(-0.9999, 0.9999), st.integers(4, 10**7), st.floats(0.01, 0.999), st.floats(0.01, 0.999))
def test_intervals_hold_r_and_widen_with_the_level(r: float, n: int, level_1: float, level_2: float) -> None:
    inner = correlation(r, n).confidence_interval(min(level_1, level_2))
    outer = correlation(r, n).confidence_interval(max(level_1, level_2))
    room = 4e-16
    assert -1 <= outer.low <= inner.low + room
    assert inner.low <= r + room
    assert r <= inner.high + room
    assert inner.high <= outer.high + room
    assert outer.high <= 1


@pytest.mark.parametrize("df", [1, 2, 3.7, 15, 255])
@pytest.mark.parametrize("level", [0.5, 0.9, 0.95, 0.99])
def test_finite_degrees_of_freedom_take_student(df: float, level: float) -> None:
    r, standard_error = 0.6, 0.05
    quantile = scipy.stats.t.ppf((1 + level) / 2, df)
    expected = np.tanh(np.arctanh(r) + np.array([-1, 1]) * quantile * standard_error)
    assert tuple(correlation_interval(r, standard_error, df, level)) == pytest.approx(tuple(expected), rel=1e-12)


def test_finite_and_infinite_degrees_of_freedom_side_by_side() -> None:
    r, errors, df = np.array([0.3, 0.3, 1.0, np.nan]), np.full(4, 0.1), np.array([np.inf, 5.0, 5.0, 5.0])
    low, high = correlation_interval(r, errors, df, 0.95)
    for n in range(4):
        np.testing.assert_array_equal(
            [low[n], high[n]], correlation_interval(r[n], errors[n], df[n], 0.95), err_msg=str(n)
        )
    assert high[1] > high[0]
    assert (low[2], high[2]) == (1, 1)
    assert np.isnan([low[3], high[3]]).all()


@pytest.mark.parametrize("r", [1.0, -1.0])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.999999])
def test_exact_correlations_have_no_width(r: float, level: float) -> None:
    assert tuple(correlation(r, 4).confidence_interval(level)) == (r, r)
    assert tuple(correlation(r, 10**9).confidence_interval(level)) == (r, r)


@pytest.mark.parametrize("r", [-1.0, -0.3, 0.0, 0.999, 1.0])
@pytest.mark.parametrize("n", [2, 3])
def test_fewer_than_four_pixels_say_nothing(r: float, n: int) -> None:
    assert tuple(correlation(r, n).confidence_interval()) == (-1, 1)


@pytest.mark.parametrize("n", [0, 3, 4, 1000])
def test_the_interval_of_nan_is_nan(n: int) -> None:
    assert np.isnan(correlation(math.nan, n).confidence_interval()).all()


@pytest.mark.parametrize("level", [0, 1, -0.5, 1.5, 95, math.nan, math.inf])
def test_levels_outside_are_refused(level: float) -> None:
    for call in (correlation(0.5, 100).confidence_interval, correlation(0.5, 100).columns):
        with pytest.raises(ParameterError, match=r"confidence_level = .* between 0 and 1"):
            call(level)


@pytest.mark.parametrize("level", [math.nextafter(1, 0), 1 - 1e-12, 1e-12, 5e-324])
def test_levels_next_to_the_ends_are_allowed(level: float) -> None:
    low, high = correlation_interval(0.0, 0.01, math.inf, level)
    # SciPy's quantile of the upper tail, which keeps its digits next to 1.
    assert high == pytest.approx(math.tanh(0.01 * scipy.stats.norm.isf((1 - level) / 2)), rel=1e-6, abs=1e-17)
    assert low == -high


# Methods.


def test_fisher_standard_error() -> None:
    found = fisher(np.array([0, 1, 3, 4, 7, 103, 2**40]))
    np.testing.assert_array_equal(found.standard_error[:6], [np.inf, np.inf, np.inf, 1, 0.5, 0.1])
    assert found.standard_error[6] == pytest.approx(2.0**-20, rel=1e-11)
    assert np.isinf(found.df).all()
    assert found.n_eff.tolist() == [0, 1, 3, 4, 7, 103, 2**40]
    assert found.n_eff.dtype == np.float64


def test_methods() -> None:
    assert METHODS == ("tiles", "effective", "fisher", None)
    for name in METHODS:
        assert check_method(name) == name


@pytest.mark.parametrize("ci", ["fischer", "", "tile", 0.95, False])
def test_unknown_methods_are_refused(ci: Any) -> None:
    with pytest.raises(ParameterError, match=r"ci = .*'fisher', None"):
        check_method(ci)
    image = np.arange(6.0).reshape(2, 3)
    with pytest.raises(ParameterError, match="ci = "):
        image_correlation(image, image[::-1], ci=ci)
    with pytest.raises(ParameterError, match="ci = "):
        stack_correlation(np.stack([image, image]), ci=ci)


def test_no_method_gives_no_bounds() -> None:
    image = np.arange(12.0).reshape(3, 4) ** 2
    found = unknown((3,))
    assert all(np.isnan(a).all() for a in (found.standard_error, found.df, found.n_eff))
    assert not found.saturated.any()
    result = image_correlation(image, image.T.reshape(3, 4), ci=None)
    assert result.method == "none"
    assert 0 < result.statistic < 1
    assert np.isnan(result.confidence_interval()).all()
    assert math.isnan(result.n_eff)
    assert math.isnan(result.standard_error)
    many = stack_correlation(np.stack([image[::-1], image]), image**2, ci=None)
    assert many.method == "none"
    assert np.isnan(many.confidence_interval()).all()
    assert many.n.tolist() == [12, 12]
