"""Moments and IntegerSums: r to the last bit, merging, totals, sides by side; all against exact arithmetic."""

from __future__ import annotations

import itertools
import math
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from properties import given, st

from gpu_stackcorr.moments import EXACT_DTYPES, IntegerSums, Moments, concatenate, divide_by_roots

BIG = 2**31


def is_nearest(r: float, covariance: int, variance_x: int, variance_y: int) -> bool:
    """Whether no float64 is nearer than r to covariance / sqrt(variance_x variance_y): integers and fractions only."""

    def signed_square(value: Fraction) -> Fraction:
        return value * abs(value)

    target = signed_square(Fraction(covariance)) / (variance_x * variance_y)
    below, above = (Fraction(math.nextafter(r, toward)) for toward in (-math.inf, math.inf))
    lower, upper = (Fraction(r) + below) / 2, (Fraction(r) + above) / 2
    return signed_square(lower) <= target <= signed_square(upper)


def exact_covariances(x: Any, y: Any) -> tuple[int, int, int]:
    """Return n sum(xy) - sum(x) sum(y), and the same of x with x and y with y, of integers in Python."""
    x, y = (np.ravel(a).astype(object) * 1 for a in (x, y))
    n, sx, sy = len(x), int(x.sum()), int(y.sum())
    return (
        n * int((x * y).sum()) - sx * sy,
        n * int((x * x).sum()) - sx * sx,
        n * int((y * y).sum()) - sy * sy,
    )


def sums_of(x: Any, y: Any, shape: tuple[int, ...] = (1,), dtype: Any = np.int64) -> IntegerSums:
    """Return the sums of one pair of integer images, by Python."""
    x, y = (np.ravel(a).astype(object) * 1 for a in (x, y))
    values = (len(x), x.sum(), y.sum(), (x * x).sum(), (y * y).sum(), (x * y).sum())
    return IntegerSums(*(np.full(shape, int(value), dtype) for value in values))


def float_moments(x: Any, y: Any) -> Moments:
    """Return the moments of one pair of float images, each the float64 nearest to its exact value."""
    a, b = ([Fraction(float(value)) for value in np.ravel(image)] for image in (x, y))
    n = max(len(a), 1)
    mean_a, mean_b = sum(a) / n, sum(b) / n
    centred = [(p - mean_a, q - mean_b) for p, q in zip(a, b, strict=True)]
    values = (mean_a, mean_b, *(sum(f(p, q) for p, q in centred) for f in (_xx, _yy, _xy)))
    return Moments(np.array([len(a)]), *(np.array([float(value)]) for value in values))


def _xx(p: Fraction, q: Fraction) -> Fraction:
    return p * p


def _yy(p: Fraction, q: Fraction) -> Fraction:
    return q * q


def _xy(p: Fraction, q: Fraction) -> Fraction:
    return p * q


def assert_same(a: Moments, b: Moments) -> None:
    """Assert that two moments have the same bits, and the same exact sums."""
    for one, other in zip(a.arrays(), b.arrays(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (a.sums is None) == (b.sums is None)
    if a.sums is not None and b.sums is not None:
        for one, other in zip(a.sums.arrays(), b.sums.arrays(), strict=True):
            assert np.asarray(one).tolist() == np.asarray(other).tolist()


def assert_close(a: Moments, b: Moments, rtol: float = 1e-12) -> None:
    """Assert that two moments agree: sums of products relative to the root of the product of the squares."""
    np.testing.assert_array_equal(a.count, b.count)
    np.testing.assert_allclose(a.mean_x, b.mean_x, rtol=rtol, atol=rtol * np.max(a.std_x, initial=0))
    np.testing.assert_allclose(a.mean_y, b.mean_y, rtol=rtol, atol=rtol * np.max(a.std_y, initial=0))
    np.testing.assert_allclose(a.ss_x, b.ss_x, rtol=rtol)
    np.testing.assert_allclose(a.ss_y, b.ss_y, rtol=rtol)
    np.testing.assert_array_less(np.abs(a.ss_xy - b.ss_xy), rtol * np.sqrt(a.ss_x * a.ss_y) + 1e-300)


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


# Adding and totals.


def test_sums_add_up() -> None:
    total = sums_of([1, 2], [3, 4]) + sums_of([5], [7])
    assert [a.tolist() for a in total.arrays()] == [[3], [8], [14], [30], [74], [46]]


def test_sums_beyond_int64_do_not_wrap() -> None:
    # 2^31 - 1 pixels fit int64; two such parts of 65535s and one of 0s do not: 3 * 2^31 * 2^32 > 2^63.
    n, top = BIG - 1, 65535
    bright = IntegerSums(*(np.array([v]) for v in (n, n * top, n * top, n * top**2, n * top**2, n * top**2)))
    dark = IntegerSums(*(np.array([v]) for v in (n, 0, n * top, 0, n * top**2, 0)))
    assert bright.xx.dtype == np.int64
    total = bright + bright + dark + bright
    assert [int(a[0]) for a in total.arrays()] == [
        4 * n, 3 * n * top, 4 * n * top, 3 * n * top**2, 4 * n * top**2, 3 * n * top**2,
    ]  # fmt: skip
    moments = Moments.from_sums(total)
    assert moments.count.dtype == np.int64
    assert moments.count.tolist() == [4 * n]
    assert moments.mean_x[0] == 0.75 * top
    assert moments.ss_x[0] == pytest.approx(float(4 * n * Fraction(3, 16) * top**2), rel=1e-15)
    assert moments.constant_x.tolist() == [False]
    assert moments.constant_y.tolist() == [True]


def test_merge_beyond_int64_gives_the_nearest_r() -> None:
    rng = np.random.default_rng(5)
    x, y = rng.integers(60000, 65536, (2, 4, 64))
    parts = [sums_of(a, b, dtype=object) for a, b in zip(x, y, strict=True)]
    factor = 2**25 - 1  # 64 * factor pixels each: below 2^31, together above
    parts = [IntegerSums(*((a * factor).astype(np.int64) for a in part.arrays())) for part in parts]
    merged = Moments.from_sums(parts[0])
    for part in parts[1:]:
        merged = merged.merge(Moments.from_sums(part))
    assert merged.count.tolist() == [4 * 64 * factor]
    assert is_nearest(float(merged.correlation()[0]), *exact_covariances(x, y))
    assert merged.mean_x[0] == pytest.approx(x.mean(), rel=1e-15)
    assert merged.ss_y[0] == pytest.approx(float(y.astype(float).var() * 256 * factor), rel=1e-12)
    side_by_side = IntegerSums(*(np.stack([getattr(p, f) for p in parts], -1) for f in IntegerSums.__slots__))
    assert_same(Moments.from_sums(side_by_side).total(), merged)


@pytest.mark.parametrize("count", [3, BIG])
def test_totals_and_merges_of_single_pairs(count: int) -> None:
    # Arrays of one pair without axes: shape () is a shape too, on both sides of 2^31 pixels.
    values = np.array([count] * 4), np.array([count] * 4), np.zeros(4, np.int64)
    n, ones, zeros = values
    row = Moments.from_sums(IntegerSums(n, ones, zeros, ones, n * 2, zeros))
    total = row.total()
    assert np.shape(total.count) == ()
    assert int(total.count) == 4 * count
    assert float(total.ss_y) == 8 * count
    merged = row[0].merge(row[1])
    assert int(merged.count) == 2 * count
    assert float(merged.ss_y) == 4 * count
    assert float(merged.mean_x) == 1


@given(
    pixels=st.lists(st.tuples(st.integers(-32768, 65535), st.integers(0, 255)), min_size=1, max_size=30),
    cuts=st.lists(st.integers(0, 30), max_size=5),
)
def test_integer_parts_merge_to_the_same_bits(pixels: list[tuple[int, int]], cuts: list[int]) -> None:
    x, y = np.array(pixels).T
    whole = Moments.from_sums(sums_of(x, y))
    edges = [0, *sorted(min(cut, len(x)) for cut in cuts), len(x)]
    parts = [Moments.from_sums(sums_of(x[a:b], y[a:b])) for a, b in itertools.pairwise(edges)]
    forward, backward = parts[0], parts[-1]
    for part in parts[1:]:
        forward = forward.merge(part)
    for part in reversed(parts[:-1]):
        backward = backward.merge(part)
    cells = concatenate([part.reshape(1, 1) for part in parts], axis=1)
    for merged in (forward, backward, cells.total()):
        assert_same(merged, whole)
        np.testing.assert_array_equal(merged.correlation(), whole.correlation())


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


# Floating moments.


def test_merge_by_hand() -> None:
    # x = 1 3 | 5, y = 2 2 | 8: means 3 and 4, centred sums 4 + 0 + 4, 4 + 4 + 16, 4 + 0 + 8.
    left, right = float_moments([1, 3], [2, 2]), float_moments([5], [8])
    assert [float(a[0]) for a in left.merge(right).arrays()] == [3, 3, 4, 8, 24, 12]
    assert [float(a[0]) for a in right.merge(left).arrays()] == [3, 3, 4, 8, 24, 12]


@given(
    st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(1e8, 1e8 + 100)), min_size=1, max_size=24),
    st.lists(st.integers(0, 24), max_size=5),
)
def test_float_parts_merge_to_the_whole(pixels: list[tuple[float, float]], cuts: list[int]) -> None:
    x, y = np.array(pixels).T
    whole = float_moments(x, y)
    edges = [0, *sorted(min(cut, len(x)) for cut in cuts), len(x)]
    parts = [float_moments(x[a:b], y[a:b]) for a, b in itertools.pairwise(edges)]
    merged = parts[0]
    for part in parts[1:]:
        merged = merged.merge(part)
    cells = concatenate([part.reshape(1, 1) for part in parts], axis=1)
    for result in (merged, cells.total()):
        assert result.count.tolist() == [len(x)]
        # Means of 1e8 are known to 1e-8, and centred sums to what that leaves.
        assert result.mean_x[0] == pytest.approx(whole.mean_x[0], rel=1e-15, abs=1e-9)
        assert result.mean_y[0] == pytest.approx(whole.mean_y[0], rel=1e-15)
        assert result.ss_x[0] == pytest.approx(whole.ss_x[0], rel=1e-12, abs=1e-6 * len(x))
        assert result.ss_y[0] == pytest.approx(whole.ss_y[0], rel=1e-6, abs=1e-12 * len(x))


@pytest.mark.parametrize("scale", [1.0, 1e150, 1e-150])
def test_an_empty_part_changes_nothing(scale: float) -> None:
    part = float_moments(scale * np.array([1.0, 2.0, 4.0]), scale * np.array([3.0, -1.0, 2.0]))
    empty = float_moments([], [])
    assert_same(part.merge(empty), part)
    assert_same(empty.merge(part), part)
    both = empty.merge(empty)
    assert [float(a[0]) for a in both.arrays()] == [0] * 6
    np.testing.assert_array_equal(both.correlation(), [np.nan])


def test_merge_of_integer_with_float_parts_drops_the_sums() -> None:
    merged = Moments.from_sums(sums_of([1, 3], [2, 2])).merge(float_moments([5], [8]))
    assert merged.sums is None
    assert [float(a[0]) for a in merged.arrays()] == [3, 3, 4, 8, 24, 12]


@given(st.integers(1, 40))
def test_total_is_in_fixed_order_and_right(length: int) -> None:
    rng = np.random.default_rng(length)
    x, y = rng.normal(100, 1, (2, length, 5))
    cells = concatenate([float_moments(a, b).reshape(1, 1) for a, b in zip(x, y, strict=True)], axis=1)
    total = cells.total()
    assert total.count.shape == (1,)
    assert_close(total, float_moments(x, y), rtol=1e-11)
    assert_same(cells.total(), total)
    stacked = concatenate([cells, cells[:, ::-1], cells])
    assert stacked.count.shape == (3, length)
    assert_same(stacked.total()[2:], total)  # a row does not know its neighbours


# Shapes.


def test_concatenate_keeps_what_all_parts_have() -> None:
    integer = Moments.from_sums(sums_of([1, 2, 4], [3, 1, 2]))
    floating = float_moments([1, 2, 4], [3, 1, 2])
    both = concatenate([integer, integer])
    assert both.sums is not None
    assert both.count.shape == (2,)
    assert both.correlation().tolist() == integer.correlation().tolist() * 2
    mixed = concatenate([integer, floating])
    assert mixed.sums is None
    assert mixed.count.tolist() == [3, 3]
    grid = concatenate([integer.reshape(1, 1, 1)] * 6, axis=2).reshape(1, 2, 3)
    with_cells = integer.with_cells(grid)
    joined = concatenate([with_cells, with_cells])
    assert joined.cells is not None
    assert joined.cells.count.shape == (2, 2, 3)
    assert concatenate([with_cells, integer]).cells is None


def test_selection_takes_the_cells_along() -> None:
    integer = Moments.from_sums(sums_of([1, 2, 4], [3, 1, 2]))
    other = Moments.from_sums(sums_of([1, 2, 5], [3, 1, 7]))
    three = concatenate(
        [m.with_cells(concatenate([m.reshape(1, 1, 1)] * 2, axis=2)) for m in (integer, other, integer)]
    )
    chosen = three[1:2]
    assert_same(chosen, other)
    assert chosen.cells is not None
    assert chosen.cells.count.shape == (1, 1, 2)
    assert_same(chosen.cells[:, 0, :1][:, 0], other)


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


def test_exact_dtypes_are_those_of_the_design() -> None:
    assert {dtype.name for dtype in EXACT_DTYPES} == {"bool", "int8", "uint8", "int16", "uint16"}
