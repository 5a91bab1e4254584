"""cross_moments: hand-worked sums, exactness, masks, NaN, merging, and agreement with moments."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from properties import given, st

from gpu_stackcorr.arrays import get_backend
from gpu_stackcorr.cross_moments import CrossMoments
from gpu_stackcorr.moments import EXACT_DTYPES


def all_pairs(moments):
    rows, columns = np.indices(moments.xy.shape).reshape(2, -1)
    return moments.pairs(rows, columns).correlation().reshape(moments.xy.shape)


def assert_same(one, two):
    assert (one.count, one.exact) == (two.count, two.exact)
    for a, b in zip(one.arrays(), two.arrays(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_integers_by_hand(backend):
    slices = np.array([[[0, 1], [2, 3]], [[5, 5], [5, 9]]], np.uint8)
    found = backend.cross_moments(slices)
    assert (found.count, found.exact) == (4, True)
    assert found.x.tolist() == found.y.tolist() == [6, 24]
    assert found.xx.tolist() == found.yy.tolist() == [14, 156]
    assert found.xy.tolist() == [[14, 42], [42, 156]]
    assert all_pairs(found)[0, 1] == pytest.approx(24 / np.sqrt(20 * 48), rel=1e-15)


def test_floats_by_hand(backend):
    slices = np.array([[[0, 1, 2, 3]], [[1, 1, 1, 5]]], np.float32)
    found = backend.cross_moments(slices, slices[:1])
    assert (found.count, found.exact) == (4, False)
    assert found.x.tolist() == [1.5, 2.0]
    assert found.y.tolist() == [1.5]
    assert found.xx.tolist() == [5.0, 12.0]
    assert found.yy.tolist() == [5.0]
    assert found.xy.tolist() == [[5.0], [6.0]]


@pytest.mark.parametrize("dtype", EXACT_DTYPES, ids=str)
@pytest.mark.parametrize("values", ["any", "largest", "smallest"])
def test_integers_are_exact(backend, dtype, values):
    """On more pixels than one product or chunk takes, at the ends of the range too."""
    low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    slices = np.random.default_rng(0).integers(low, high, (3, 32, 1031), endpoint=True).astype(dtype)
    if values != "any":
        slices[:2] = high if values == "largest" else low
    found = backend.cross_moments(slices, slices[1:])
    wide = slices.reshape(3, -1).astype(np.int64)
    assert found.xy.dtype == np.int64
    np.testing.assert_array_equal(found.xy, wide @ wide[1:].T)
    np.testing.assert_array_equal(found.x, wide.sum(axis=1))
    np.testing.assert_array_equal(found.y, wide[1:].sum(axis=1))
    np.testing.assert_array_equal(found.xx, (wide * wide).sum(axis=1))
    np.testing.assert_array_equal(found.yy, (wide * wide)[1:].sum(axis=1))
    assert_same(backend.cross_moments(slices[:, ::-1, ::-1], slices[1:, ::-1, ::-1]), found)


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4", "u8", "f4", "f8"])
def test_arrays_of_every_kind(backend, dtype):
    plain = np.random.default_rng(1).integers(0, 100, (4, 13, 17)).astype(dtype)
    expected = backend.cross_moments(plain)
    kinds = {
        "big-endian": plain.astype(np.dtype(dtype).newbyteorder(">")),
        "strided": np.repeat(np.repeat(plain, 2, axis=0), 3, axis=2)[::2, :, ::3],
        "reversed": np.ascontiguousarray(plain[:, :, ::-1])[:, :, ::-1],
        "Fortran": np.asfortranarray(plain),
    }
    kinds["read-only"] = plain.copy()
    kinds["read-only"].flags.writeable = False
    for name, array in kinds.items():
        before = array.copy()
        found = backend.cross_moments(array)
        np.testing.assert_allclose(all_pairs(found), all_pairs(expected), rtol=1e-14, err_msg=name)
        np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize("dtype", ["u1", "u2", "f4", "f8"])
def test_r_is_that_of_moments(backend, dtype):
    slices = (200 * np.random.default_rng(2).random((5, 30, 37))).astype(dtype)
    one_by_one = np.stack([m.correlation() for m in backend.moments(list(slices), slices)])
    found = all_pairs(backend.cross_moments(slices))
    if dtype[0] == "u":
        np.testing.assert_array_equal(found, one_by_one)
    np.testing.assert_allclose(found, one_by_one, atol=2e-15)
    np.testing.assert_allclose(found, np.corrcoef(slices.reshape(5, -1).astype(float)), atol=1e-14)


@pytest.mark.parametrize("ratio", [1e2, 1e4, 1e6])
def test_a_large_mean_costs_no_digits(backend, ratio):
    slices = np.random.default_rng(3).normal(size=(3, 50, 60))
    slices[1] += slices[0]
    offset = slices + ratio
    wide = offset.reshape(3, -1).astype(np.longdouble)
    wide = wide - wide.mean(axis=1, keepdims=True)
    square = (wide * wide).sum(axis=1)
    expected = (wide @ wide.T / np.sqrt(np.outer(square, square))).astype(np.float64)
    np.testing.assert_allclose(all_pairs(backend.cross_moments(offset)), expected, atol=1e-12)


@pytest.mark.parametrize("dtype", ["u1", "i2", "f4"])
def test_pixels_outside_the_mask_may_hold_anything(backend, dtype):
    rng = np.random.default_rng(4)
    slices = rng.integers(0, 100, (3, 11, 300)).astype(dtype)
    mask = rng.random((11, 300)) < 0.6
    expected = backend.cross_moments(slices[:, mask][:, np.newaxis])
    if dtype == "f4":
        slices[:, ~mask] = np.nan
    found = backend.cross_moments(slices, mask=mask)
    assert found.count == mask.sum()
    np.testing.assert_allclose(all_pairs(found), all_pairs(expected), atol=1e-15)
    nothing = backend.cross_moments(slices, mask=np.zeros_like(mask))
    assert nothing.count == 0
    assert_same(nothing.merge(found), found)
    assert_same(found.merge(nothing), found)


def test_nan_stays_with_its_pairs(backend):
    slices = np.random.default_rng(5).normal(size=(4, 9, 9))
    expected = all_pairs(backend.cross_moments(slices))
    slices[1, 2, 3] = np.nan
    slices[2, 0, 0] = np.inf
    found = all_pairs(backend.cross_moments(slices))
    assert np.isnan(found[1:3]).all()
    assert np.isnan(found[:, 1:3]).all()
    np.testing.assert_allclose(found[::3, ::3], expected[::3, ::3], atol=1e-15)


def test_constant_slices_have_no_r(backend):
    slices = np.random.default_rng(6).normal(size=(3, 9, 9))
    slices[1] = 0.1
    for found in (backend.cross_moments(slices), backend.cross_moments((slices * 9).astype(np.int8))):
        assert np.isnan(all_pairs(found)).tolist() == [[False, True, False], [True] * 3, [False, True, False]]


@pytest.mark.parametrize("dtype", ["u2", "f8"])
def test_boxes_merge_to_the_whole(backend, dtype):
    slices = (60000 * np.random.default_rng(7).random((4, 23, 19))).astype(dtype)
    whole = backend.cross_moments(slices)
    cuts = [0, 1, 8, 9, 23]
    parts = [backend.cross_moments(slices[:, a:b]) for a, b in pairwise(cuts)]
    merged = parts[0].merge(parts[1]).merge(parts[2].merge(parts[3]))
    if dtype == "u2":
        assert_same(merged, whole)
    assert merged.count == whole.count
    for a, b in zip(merged.arrays(), whole.arrays(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_sums_beyond_int64_become_python_integers():
    """2^30 + 2^30 pixels of 65535: their sum of squares still fits, twice that does not."""
    count = 2**30
    values = np.array([count * 65535], np.int64)
    squares = np.array([count * 65535**2], np.int64)
    part = CrossMoments(count, True, values, values, squares, squares, squares[:, np.newaxis])
    half = part.merge(part)
    whole = half.merge(half)
    assert whole.xy.dtype == object
    assert whole.xy[0, 0] == 4 * count * 65535**2 > 2**63


@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "f4", "f8"])
def test_about_other_means(backend, dtype):
    rng = np.random.default_rng(8)
    slices = rng.integers(0, 120, (3, 7, 31)).astype(dtype)
    mean_x, mean_y = rng.uniform(0, 120, 3), rng.uniform(0, 120, 2)
    rows, columns = np.array([0, 2, 1, 2]), np.array([1, 0, 1, 1])
    found = backend.cross_moments(slices, slices[:2]).about(mean_x, mean_y, rows, columns)
    values = slices.reshape(3, -1).astype(np.float64)
    expected = (values - mean_x[:, np.newaxis]) @ (values[:2] - mean_y[:, np.newaxis]).T
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, expected[rows, columns], rtol=1e-11, atol=1e-7)


@pytest.mark.parametrize("mean", [30000, 65000])
def test_about_keeps_the_digits_of_a_large_mean(backend, mean):
    slices = (mean + np.random.default_rng(9).integers(-2, 3, (2, 64, 64))).astype(np.uint16)
    means = slices.mean(axis=(1, 2)) + 0.25
    values = slices.reshape(2, -1) - means[:, np.newaxis]
    rows, columns = np.indices((2, 2)).reshape(2, -1)
    found = backend.cross_moments(slices).about(means, means, rows, columns)
    np.testing.assert_allclose(found, (values @ values.T).ravel(), rtol=1e-12)


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(1, 9)),
    dtype=st.sampled_from(["?", "i1", "u1", "i2", "u2"]),
)
def test_every_r_of_integers_is_that_of_moments(seed, shape, dtype):
    rng = np.random.default_rng(seed)
    slices = rng.integers(0, 2**16, shape).astype(dtype)
    engine = get_backend("numpy")
    expected = np.stack([m.correlation() for m in engine.moments(list(slices), slices)])
    np.testing.assert_array_equal(all_pairs(engine.cross_moments(slices)), expected)
