"""r of moments, to the last bit where sums are exact, and the means and centred sums of those."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from fractions import Fraction

import numpy as np
import pytest
from exact_moments import exact_covariances, is_nearest, sums_of
from properties import given, st

from gpu_stackcorr.moments import EXACT_DTYPES, IntegerSums, Moments, divide_by_roots

# The check itself.


def test_the_check_of_nearness_finds_neighbours() -> None:
    # 1 / sqrt(2 * 5) = 0.316227766016837933199889354...
    nearest = 0.31622776601683794
    assert is_nearest(nearest, 1, 2, 5)
    assert is_nearest(-nearest, -1, 2, 5)
    assert not is_nearest(math.nextafter(nearest, 1), 1, 2, 5)
    assert not is_nearest(math.nextafter(nearest, 0), 1, 2, 5)
    assert not is_nearest(nearest, -1, 2, 5)


# r from exact sums.


def test_r_by_hand() -> None:
    # x = 0 1 2 3, y = 1 3 2 4: n = 4, sums 6 and 10, squares 14 and 30, products 19;
    # covariance 4 * 19 - 60 = 16, variances 4 * 14 - 36 = 20 and 4 * 30 - 100 = 20: r = 16 / 20.
    sums = IntegerSums(*(np.array([value]) for value in (4, 6, 10, 14, 30, 19)))
    assert sums.correlation().tolist() == [0.8]
    moments = Moments.from_sums(sums)
    assert moments.count.tolist() == [4]
    assert [a[0] for a in moments.arrays()[1:]] == [1.5, 2.5, 5.0, 5.0, 4.0]
    assert moments.std_x.tolist() == [math.sqrt(1.25)]
    assert moments.correlation().tolist() == [0.8]


@pytest.mark.parametrize(
    ("x", "y", "r"),
    [
        ([0, 1], [0, 1], 1.0),
        ([0, 1], [1, 0], -1.0),
        ([0, 1, 0, 1], [0, 0, 1, 1], 0.0),
        ([65535, 0, 65535], [-32768, 32767, -32768], -1.0),
        ([1, 2, 4], [7, 7, 7], math.nan),
        ([7, 7, 7], [1, 2, 4], math.nan),
        ([5], [6], math.nan),
        ([], [], math.nan),
    ],
)
def test_r_of_small_pairs(x: list[int], y: list[int], r: float) -> None:
    np.testing.assert_array_equal(sums_of(x, y).correlation(), [r])


def test_constant_images_are_flagged_only_where_all_values_are_equal() -> None:
    moments = Moments.from_sums(sums_of([7, 7, 7], [65535, 65535, 65534]))
    assert moments.constant_x.tolist() == [True]
    assert moments.constant_y.tolist() == [False]


@given(
    pixels=st.lists(st.tuples(st.integers(-32768, 65535), st.integers(-32768, 65535)), min_size=2, max_size=40),
    scale=st.sampled_from([1, 3, 2**20, 2**33]),
)
def test_r_is_the_nearest_float(pixels: list[tuple[int, int]], scale: int) -> None:
    x, y = zip(*pixels, strict=True)
    one = sums_of(x, y, dtype=object)
    # The same image many times over: counts beyond 2^31 and sums beyond 2^63.
    sums = IntegerSums(*(a * scale for a in one.arrays()))
    covariance, variance_x, variance_y = exact_covariances(x, y)
    r = float(sums.correlation()[0])
    if variance_x == 0 or variance_y == 0:
        assert math.isnan(r)
    else:
        assert is_nearest(r, covariance, variance_x, variance_y)
        assert -1 <= r <= 1


@given(
    n=st.integers(2, 2**40),
    variance_x=st.integers(1, 2**80),
    variance_y=st.integers(1, 2**80),
    share=st.floats(-1, 1),
)
def test_r_is_the_nearest_float_for_any_covariances(n: int, variance_x: int, variance_y: int, share: float) -> None:
    # Sums with chosen covariances: with x and y summing to 0, n xx is the variance.
    covariance = int(Fraction(share) * math.isqrt(variance_x * variance_y))
    sums = IntegerSums(*(np.array([v], object) for v in (n, 0, 0, variance_x, variance_y, covariance)))
    r = float(sums.correlation()[0])
    assert is_nearest(r, n * covariance, n * variance_x, n * variance_y)
    with localcontext() as context:
        context.prec = 120
        exact = Decimal(covariance) / (Decimal(variance_x) * Decimal(variance_y)).sqrt()
        assert abs(Decimal(r) - exact) <= abs(Decimal(math.ulp(r))) / 2


def test_r_next_to_one_and_halfway_cases() -> None:
    # A perfect square below: sqrt((k^2 - 1) / k^2) for large k rounds to 1 or to its neighbour, never beyond.
    for k in (2**25, 2**26, 2**26 + 2**25, 2**27, 2**28):
        sums = IntegerSums(*(np.array([v], object) for v in (1, 0, 0, k * k, 1, math.isqrt(k * k - 1))))
        r = float(sums.correlation()[0])
        assert is_nearest(r, math.isqrt(k * k - 1), k * k, 1)
        assert r <= 1
    # Exactly between two floats: (2^53 + 1) / 2^54 is a tie, which goes to the even mantissa.
    tie = IntegerSums(*(np.array([v], object) for v in (1, 0, 0, 2**108, 1, 2**53 + 1)))
    assert tie.correlation().tolist() == [0.5]
    above = IntegerSums(*(np.array([v], object) for v in (1, 0, 0, 2**108 - 1, 1, 2**53 + 1)))
    assert above.correlation().tolist() == [math.nextafter(0.5, 1)]


def test_exact_dtypes_are_those_of_the_design() -> None:
    assert {dtype.name for dtype in EXACT_DTYPES} == {"bool", "int8", "uint8", "int16", "uint16"}


# r from floating moments.


@pytest.mark.parametrize("scale_x", [1e-300, 1e-150, 1.0, 1e150, 1e300])
@pytest.mark.parametrize("scale_y", [1e-300, 1.0, 1e300])
def test_divide_by_roots_does_not_overflow(scale_x: float, scale_y: float) -> None:
    # 3 / sqrt(4 * 9) = 1/2, with squares at the ends of float64.
    product = 3 * math.sqrt(scale_x) * math.sqrt(scale_y)
    r = divide_by_roots(np.array([product]), np.array([4 * scale_x]), np.array([9 * scale_y]))
    assert r[0] == pytest.approx(0.5, rel=1e-15)


@given(st.floats(5e-324, 1.7e308))
def test_divide_by_roots_of_equals_is_one(square: float) -> None:
    value = np.array([square])
    assert divide_by_roots(value, value, value).tolist() == [1.0]
    assert divide_by_roots(-value, value, value).tolist() == [-1.0]


def test_float_r_is_clipped_and_nan_where_constant() -> None:
    count, mean = np.full(4, 10), np.zeros(4)
    ss_x, ss_y = np.array([1.0, 1.0, 0.0, 1.0]), np.array([1.0, 1.0, 1.0, 0.0])
    moments = Moments(count, mean, mean, ss_x, ss_y, np.array([1 + 1e-15, -1 - 1e-15, 0.0, 0.0]))
    np.testing.assert_array_equal(moments.correlation(), [1, -1, np.nan, np.nan])
    assert moments.constant_x.tolist() == [False, False, True, False]
    assert moments.constant_y.tolist() == [False, False, False, True]


@pytest.mark.parametrize("mean", [1.0, -1e6, 1e-20])
def test_a_spread_of_a_few_units_in_the_last_place_is_rounding(mean: float) -> None:
    # Standard deviations of 1 and of 1000 eps times the mean, over 50 pixels.
    count, means = np.full(2, 50), np.full(2, mean)
    squares = 50 * (np.array([1, 1000]) * 2.0**-52 * mean) ** 2
    moments = Moments(count, means, means, squares, squares, squares)
    assert moments.constant_x.tolist() == moments.constant_y.tolist() == [True, False]
    np.testing.assert_array_equal(moments.correlation(), [np.nan, 1])


# From sums to means and centred sums.


@given(
    st.lists(st.tuples(st.integers(-32768, 65535), st.integers(65500, 65535)), min_size=1, max_size=40),
    st.sampled_from([1, 2**20]),
)
def test_moments_of_sums_keep_their_digits(pixels: list[tuple[int, int]], scale: int) -> None:
    x, y = zip(*pixels, strict=True)
    sums = IntegerSums(*((a * scale).astype(np.int64) for a in sums_of(x, y, dtype=object).arrays()))
    moments = Moments.from_sums(sums)
    n = len(x)
    covariance, variance_x, variance_y = exact_covariances(x, y)
    assert moments.mean_x[0] == pytest.approx(float(Fraction(sum(x), n)), rel=4e-16, abs=1e-300)
    assert moments.mean_y[0] == pytest.approx(float(Fraction(sum(y), n)), rel=4e-16)
    # The centred sums are the covariances over n, and 0 exactly where the exact value is.
    assert moments.ss_x[0] == pytest.approx(float(Fraction(scale * variance_x, n)), rel=2e-15, abs=0)
    assert moments.ss_y[0] == pytest.approx(float(Fraction(scale * variance_y, n)), rel=2e-15, abs=0)
    room = 2e-15 * math.sqrt(moments.ss_x[0] * moments.ss_y[0])
    assert moments.ss_xy[0] == pytest.approx(float(Fraction(scale * covariance, n)), rel=0, abs=room + 1e-300)


@pytest.mark.parametrize("top", [65535, -32768])
def test_two_to_the_twenty_pixels_at_the_top(top: int) -> None:
    # All pixels `top` but one: variance n - 1 over n of 1, among sums of 2^52.
    n, other = 2**20, top + (1 if top < 0 else -1)
    total, squares = (n - 1) * top + other, (n - 1) * top * top + other * other
    products = (n - 2) * top * top + 2 * top * other  # the odd pixel is another one in y
    sums = IntegerSums(*(np.array([value]) for value in (n, total, total, squares, squares, products)))
    moments = Moments.from_sums(sums)
    assert moments.ss_x[0] == pytest.approx(1 - 2**-20, rel=1e-15)
    assert moments.ss_xy[0] == pytest.approx(-(2.0**-20), rel=1e-15)
    assert is_nearest(float(moments.correlation()[0]), -1, n - 1, n - 1)
