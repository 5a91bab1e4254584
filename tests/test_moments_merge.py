"""Moments and IntegerSums: adding, merging, totals, sides by side; all against exact arithmetic."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from exact_moments import assert_close, assert_same, exact_covariances, float_moments, is_nearest, sums_of
from properties import given, st

from gpu_stackcorr.moments import IntegerSums, Moments, concatenate

BIG = 2**31

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
