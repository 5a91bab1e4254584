"""The operation `moments`: counts, means and centred sums of references with slices, against exact arithmetic."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from exact_moments import assert_close, assert_same, exact_covariances, is_nearest, sums_of
from numpy.typing import NDArray
from properties import given, st

from gpu_stackcorr.backends.base import Backend
from gpu_stackcorr.moments import Moments

Image = NDArray[Any]

INTEGERS = (np.bool_, np.int8, np.uint8, np.int16, np.uint16)
WIDE = (np.int32, np.uint32, np.int64, np.uint64)


def random_images(dtype: Any, shape: tuple[int, ...], seed: int = 0) -> Image:
    """Return correlated images over the whole range of an integer dtype, or around 1000 for floats."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=shape[-2:])
    mixed = common + rng.normal(size=shape)
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return mixed > 0
    if dtype.kind == "f":
        return (1000 + mixed).astype(dtype)
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    scaled = np.clip((np.tanh(mixed) + 1) / 2, 0, 1) * (float(high) - float(low)) + float(low)
    return np.clip(scaled, low, np.nextafter(float(high), 0) if dtype.itemsize == 8 else high).astype(dtype)


def brute(x: Image, y: Image) -> list[float]:
    """Return count, means and centred sums of selected pixels, each rounded once from its exact value."""
    a, b = ([_fraction(value) for value in image.ravel().tolist()] for image in (x, y))
    n = len(a)
    mean_a, mean_b = (sum(v) / max(n, 1) for v in (a, b))
    pairs = list(zip((v - mean_a for v in a), (v - mean_b for v in b), strict=True))
    squares = (sum(p * p for p, _ in pairs), sum(q * q for _, q in pairs), sum(p * q for p, q in pairs))
    return [n, *(float(value) for value in (mean_a, mean_b, *squares))]


def _fraction(value: Any) -> Fraction:
    # Wide integers are compared as what float64 makes of them.
    return Fraction(value if isinstance(value, int) and abs(value) < 2**53 else float(value))


def assert_brute(moments: Moments, n: Any, x: Image, y: Image, rtol: float = 1e-12) -> None:
    """Assert that one entry of `moments` is that of the pixels given."""
    count, *rest = brute(x, y)
    found = [a[n] for a in moments.arrays()]
    assert found[0] == count
    spread_x, spread_y = (math.sqrt(s / max(count, 1)) for s in rest[2:4])
    assert found[1] == pytest.approx(rest[0], rel=1e-15, abs=rtol * spread_x)
    assert found[2] == pytest.approx(rest[1], rel=1e-15, abs=rtol * spread_y)
    # What the rounding of a mean to float64 may leave in the sum of squares of an image that is constant or nearly so.
    floor_x, floor_y = (count * (4e-16 * abs(m)) ** 2 for m in rest[:2])
    assert found[3] == pytest.approx(rest[2], rel=rtol, abs=floor_x)
    assert found[4] == pytest.approx(rest[3], rel=rtol, abs=floor_y)
    room = math.sqrt((rest[2] + floor_x) * (rest[3] + floor_y))
    assert found[5] == pytest.approx(rest[4], rel=0, abs=rtol * room + math.sqrt(floor_x * floor_y) + 1e-320)


def assert_nearest(moments: Moments, n: Any, x: Image, y: Image) -> None:
    """Assert that r of one entry is the float64 nearest to the exact value for the integer pixels given."""
    r = float(moments.correlation()[n])
    covariances = exact_covariances(x, y)
    if 0 in covariances[1:]:
        assert math.isnan(r)
    else:
        assert is_nearest(r, *covariances)


# By hand.


def test_by_hand(backend: Backend) -> None:
    # x = 0 1 2 3; y = 1 3 2 4, 3 2 1 0 and 5 5 5 5.
    x = np.array([[0, 1], [2, 3]], np.uint8)
    y = np.array([[[1, 3], [2, 4]], [[3, 2], [1, 0]], [[5, 5], [5, 5]]], np.uint8)
    for reference, slices in ((x, y), (x.astype(float), y), (x, y.astype(np.float32)), (x.astype(">f8"), y - 0.0)):
        (moments,) = backend.moments([reference], slices)
        assert moments.count.tolist() == [4, 4, 4]
        assert moments.count.dtype == np.int64
        assert moments.mean_x.tolist() == [1.5, 1.5, 1.5]
        assert moments.mean_y.tolist() == [2.5, 1.5, 5]
        assert moments.ss_x.tolist() == [5, 5, 5]
        assert moments.ss_y.tolist() == [5, 5, 0]
        assert moments.ss_xy.tolist() == [4, -5, 0]
        assert all(a.dtype == np.float64 for a in moments.arrays()[1:])
        assert moments.constant_x.tolist() == [False] * 3
        assert moments.constant_y.tolist() == [False, False, True]
        np.testing.assert_array_equal(moments.correlation(), [0.8, -1, np.nan])
        assert moments.cells is None


def test_masks_by_hand(backend: Backend) -> None:
    x = np.array([[0, 1, 2], [3, 9, 9]], np.int16)
    y = np.array([[[1, 3, 2], [4, -7, 70]]], np.int16)
    mask = np.array([[True, True, True], [True, False, False]])
    for kind in (np.int16, np.float64):
        for arguments in (
            {"reference_mask": mask},
            {"reference_mask": mask[None]},
            {"slice_mask": mask},
            {"slice_mask": mask[None]},
            {"reference_mask": np.array([[True] * 3, [True, False, True]]), "slice_mask": mask | (y[0] == -7)},
        ):
            (moments,) = backend.moments([x.astype(kind)], y, **arguments)
            assert [a[0] for a in moments.arrays()] == [4, 1.5, 2.5, 5, 5, 4]


def test_cells_by_hand(backend: Backend) -> None:
    x = np.array([[0, 2, 10], [2, 0, 20]], np.uint8)
    y = np.array([[[1, 3, 5], [3, 1, 5]]], np.uint8)
    for kind in (np.uint8, np.float64):
        (moments,) = backend.moments([x.astype(kind)], y, tiles=(np.array([0, 1, 2]), np.array([0, 2, 3])))
        cells = moments.cells
        assert cells is not None
        assert cells.count.tolist() == [[[2, 1], [2, 1]]]
        assert cells.mean_x.tolist() == [[[1, 10], [1, 20]]]
        assert cells.mean_y.tolist() == [[[2, 5], [2, 5]]]
        assert cells.ss_x.tolist() == [[[2, 0], [2, 0]]]
        assert cells.ss_y.tolist() == [[[2, 0], [2, 0]]]
        assert cells.ss_xy.tolist() == [[[2, 0], [2, 0]]]
        assert moments.count.tolist() == [6]


# Integers are exact.


@pytest.mark.parametrize("reference_dtype", INTEGERS)
@pytest.mark.parametrize("dtype", INTEGERS)
def test_integers_are_exact(backend: Backend, reference_dtype: Any, dtype: Any) -> None:
    x, y = random_images(reference_dtype, (13, 7), 1), random_images(dtype, (3, 13, 7), 2)
    (moments,) = backend.moments([x], y)
    assert moments.sums is not None
    for n, image in enumerate(y):
        for found, exact in zip(moments.sums.arrays(), sums_of(x, image).arrays(), strict=True):
            assert int(found[n]) == int(exact[0])
        assert_brute(moments, n, x, image)
        assert_nearest(moments, n, x, image)


@given(data=st.data())
def test_r_of_random_integers_is_the_nearest_float(backend: Backend, data: Any) -> None:
    dtypes = st.sampled_from(INTEGERS)
    shape = data.draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))

    def draw(dtype: Any) -> Image:
        low, high = (0, 1) if dtype is np.bool_ else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        values = st.one_of(st.integers(low, high), st.sampled_from([low, high, high - 1]))
        size = math.prod(shape)
        return np.array(data.draw(st.lists(values, min_size=size, max_size=size)), dtype).reshape(shape)

    x, y = draw(data.draw(dtypes)), draw(data.draw(dtypes))
    mask = draw(np.bool_) if data.draw(st.booleans()) else np.ones(shape, bool)
    (moments,) = backend.moments([x], y[None], reference_mask=mask)
    assert_nearest(moments, 0, x[mask], y[mask])
    assert moments.constant_x[0] == (mask.sum() == 0 or len(set(x[mask].tolist())) == 1)
    assert moments.constant_y[0] == (mask.sum() == 0 or len(set(y[mask].tolist())) == 1)


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [(np.uint16, 65535, 65535), (np.uint16, 65530, 65535), (np.uint16, 0, 65535), (np.int16, -32768, -32766),
     (np.int16, -32768, 32767), (np.uint8, 254, 255), (np.int8, -128, -127), (np.bool_, 0, 1)],
)  # fmt: skip
def test_two_to_the_twenty_pixels(backend: Backend, dtype: Any, low: int, high: int) -> None:
    rng = np.random.default_rng(3)
    x, y = rng.integers(low, high + 1, (2, 1024, 1024)).astype(dtype)
    if low == high:  # constant but for one pixel each
        x[-1, -1] -= 1
        y[0, 0] -= 1
    (moments,) = backend.moments([x], y[None])
    wide_x, wide_y = (a.ravel().astype(np.int64) for a in (x, y))  # every sum is below 2^52 and exact
    n, sx, sy = wide_x.size, int(wide_x.sum()), int(wide_y.sum())
    xx, yy, xy = (int(np.dot(a, b)) for a, b in ((wide_x, wide_x), (wide_y, wide_y), (wide_x, wide_y)))
    assert moments.sums is not None
    assert [int(a[0]) for a in moments.sums.arrays()] == [n, sx, sy, xx, yy, xy]
    covariances = n * xy - sx * sy, n * xx - sx * sx, n * yy - sy * sy
    assert is_nearest(float(moments.correlation()[0]), *covariances)
    assert moments.ss_x[0] == pytest.approx(float(Fraction(covariances[1], n)), rel=1e-15)
    assert moments.ss_y[0] == pytest.approx(float(Fraction(covariances[2], n)), rel=1e-15)
    assert moments.mean_x[0] == pytest.approx(float(Fraction(sx, n)), rel=2e-16)


@pytest.mark.parametrize("shape", [(1, 2**18), (2**18, 1), (3, 70001)])
@pytest.mark.parametrize(("x", "y"), [(65535, 65535), (-32768, 65535), (-32768, -32768), (True, 65535)])
def test_long_rows_do_not_overflow(backend: Backend, shape: tuple[int, int], x: Any, y: Any) -> None:
    reference = np.full(shape, x, np.bool_ if x is True else np.int16 if x < 0 else np.uint16)
    slices = np.full((1, *shape), y, np.int16 if y < 0 else np.uint16)
    tiles = np.array([0, shape[0]]), np.array([0, shape[1]])
    (moments,) = backend.moments([reference], slices, tiles=tiles)
    n, x, y = math.prod(shape), int(x), int(y)
    for part in (moments, moments.cells):
        assert part is not None
        assert part.sums is not None
        assert [int(a.item()) for a in part.sums.arrays()] == [n, n * x, n * y, n * x * x, n * y * y, n * x * y]


@pytest.mark.parametrize("dtype", INTEGERS)
def test_bands_merge_to_the_bits_of_the_whole(backend: Backend, dtype: Any) -> None:
    x, y = random_images(dtype, (61, 43), 4), random_images(dtype, (3, 61, 43), 5)
    mask = np.random.default_rng(6).random((3, 61, 43)) < 0.8
    for slice_mask in (None, mask):
        (whole,) = backend.moments([x], y, slice_mask=slice_mask)
        for edges in ([0, 30, 61], [0, 1, 2, 59, 61], [0, 20, 40, 61]):
            bands = [slice(a, b) for a, b in itertools.pairwise(edges)]
            parts = [
                backend.moments([x[b]], y[:, b], slice_mask=None if slice_mask is None else slice_mask[:, b])[0]
                for b in bands
            ]
            merged = parts[0]
            for part in parts[1:]:
                merged = merged.merge(part)
            assert_same(merged, whole)
            np.testing.assert_array_equal(merged.correlation(), whole.correlation())


@pytest.mark.parametrize("dtype", [*INTEGERS, np.float32, np.float64])
def test_tiles_leave_the_whole_as_it_is(backend: Backend, dtype: Any) -> None:
    x, y = random_images(dtype, (61, 43), 4), random_images(dtype, (3, 61, 43), 5)
    edges = tuple(np.rint(np.linspace(0, n, 17)).astype(np.intp) for n in (61, 43))
    (plain,), (tiled,) = backend.moments([x], y), backend.moments([x], y, tiles=edges)
    assert tiled.cells is not None
    assert tiled.cells.count.shape == (3, 16, 16)
    merged = tiled.cells.reshape(3, 256).total()
    if np.dtype(dtype).kind == "f":
        assert_close(tiled, plain)
        assert_close(merged, plain)
    else:
        assert_same(tiled.with_cells(None), plain)
        assert_same(merged, plain)


# Floats are centred.


@pytest.mark.parametrize("dtype", [np.float32, np.float64, *WIDE])
@pytest.mark.parametrize("shape", [(1, 2), (3, 5), (13, 7), (1, 97), (89, 1)])
def test_floats_and_wide_integers(backend: Backend, dtype: Any, shape: tuple[int, int]) -> None:
    x, y = random_images(dtype, shape, 1), random_images(dtype, (2, *shape), 2)
    (moments,) = backend.moments([x], y)
    assert moments.sums is None
    for n, image in enumerate(y):
        assert_brute(moments, n, x, image)


@given(data=st.data())
def test_random_floats(backend: Backend, data: Any) -> None:
    shape = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    size = math.prod(shape)
    centre = data.draw(st.sampled_from([0, 1, -1e6, 1e9]))
    values = st.lists(st.floats(-1e3, 1e3, allow_subnormal=False), min_size=size, max_size=size)
    x, y = (np.array(data.draw(values)).reshape(shape) + centre for _ in range(2))
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size))).reshape(shape)
    (moments,) = backend.moments([x], y[None], slice_mask=mask)
    a, b = x[mask], y[mask]
    count, mean_x, mean_y, ss_x, ss_y, ss_xy = brute(a, b)
    found = [float(part[0]) for part in moments.arrays()]
    assert found[0] == count
    for mean, exact, ss in ((found[1], mean_x, ss_x), (found[2], mean_y, ss_y)):
        assert mean == pytest.approx(exact, rel=1e-15, abs=1e-15 * math.sqrt(ss) + 1e-300)
    floor_x, floor_y = (size * (4e-16 * m) ** 2 + 1e-300 for m in (mean_x, mean_y))
    assert found[3] == pytest.approx(ss_x, rel=1e-12, abs=floor_x)
    assert found[4] == pytest.approx(ss_y, rel=1e-12, abs=floor_y)
    room = 1e-12 * math.sqrt(ss_x + floor_x) * math.sqrt(ss_y + floor_y) + math.sqrt(floor_x) * math.sqrt(floor_y)
    assert found[5] == pytest.approx(ss_xy, rel=0, abs=room)


@pytest.mark.parametrize(
    ("dtype", "mean", "step"),
    [(np.float32, 1e6, 16), (np.float32, -1e6, 16), (np.float64, 1e8, 1024), (np.float64, -3e8, 1024),
     (np.float64, 1e12, 256)],
)  # fmt: skip
@pytest.mark.parametrize("shape", [(211, 307), (512, 1024)])
def test_large_means_keep_their_digits(
    backend: Backend, dtype: Any, mean: float, step: int, shape: tuple[int, int]
) -> None:
    # Values mean + k / step with a standard deviation near 1 are exact in dtype, and so are the sums of k.
    rng = np.random.default_rng(7)
    common = rng.normal(size=shape)
    k = [np.rint(step * (common + rng.normal(size=shape)) / math.sqrt(2)).astype(np.int64).ravel() for _ in range(2)]
    x, y = ((mean + a / step).astype(dtype).reshape(shape) for a in k)
    assert all(((image.astype(float) - mean) * step == a.reshape(shape)).all() for image, a in zip((x, y), k))  # noqa: B905
    n = x.size
    s = [int(a.sum()) for a in k]
    cov, var_x, var_y = (n * int(np.dot(k[i], k[j])) - s[i] * s[j] for i, j in ((0, 1), (0, 0), (1, 1)))
    (moments,) = backend.moments([x], y[None])
    exact = cov / math.sqrt(var_x) / math.sqrt(var_y)
    assert 0.3 < exact < 0.7
    # Six digits are what the design asks for. Parts merge by the differences of their means, which float64 rounds.
    room = max(1e-11, 1e-18 * abs(mean))
    assert moments.correlation()[0] == pytest.approx(exact, rel=room)
    assert moments.ss_x[0] == pytest.approx(var_x / n / step**2, rel=room)
    assert moments.mean_x[0] == pytest.approx(mean + s[0] / n / step, rel=1e-15)


def test_slices_of_very_different_means(backend: Backend) -> None:
    # A shift taken from another slice, or from the reference, would lose every digit here.
    rng = np.random.default_rng(8)
    x = rng.normal(size=(40, 50)) + 1e9
    y = rng.normal(size=(5, 40, 50)) + np.array([0, 1e8, -1e8, 1e12, 3])[:, None, None]
    (moments,) = backend.moments([x], y)
    for n, image in enumerate(y):
        assert_brute(moments, n, x, image, rtol=1e-9)


def test_cells_are_centred_on_their_own(backend: Backend) -> None:
    # Halves 1e9 apart: cells around the mean of the whole would keep no digit of their variance.
    rng = np.random.default_rng(9)
    x, y = rng.normal(size=(2, 40, 50))
    x[:20] += 1e9
    y[:, 25:] -= 1e9
    y[0, 0] = 1e12
    edges = np.array([0, 10, 20, 30, 40]), np.array([0, 25, 50])
    (moments,) = backend.moments([x], y[None], tiles=edges)
    for i, j in itertools.product(range(4), range(2)):
        cell = slice(10 * i, 10 * i + 10), slice(25 * j, 25 * j + 25)
        assert_brute(moments.cells, (0, i, j), x[cell], y[cell], rtol=1e-9)
    assert_brute(moments, 0, x, y, rtol=1e-9)


def test_masked_pixels_do_not_shift_the_sums(backend: Backend) -> None:
    # Huge and undefined values under the masks, in every corner where a shift might be taken from.
    rng = np.random.default_rng(10)
    x, y = rng.normal(size=(31, 37)), rng.normal(size=(3, 31, 37))
    hidden = rng.random((31, 37)) < 0.3
    hidden[0], hidden[-1], hidden[:, 0], hidden[:, -1] = True, True, True, True
    edges = tuple(np.rint(np.linspace(0, n, 6)).astype(int) for n in x.shape)
    for bad in (np.nan, np.inf, -np.inf, 1e30, -1e308):
        bad_x, bad_y = np.where(hidden, bad, x), np.where(hidden, bad, y)
        by_reference = backend.moments([bad_x], bad_y, reference_mask=~hidden, tiles=edges)[0]
        by_slice = backend.moments([bad_x], bad_y, slice_mask=np.stack([~hidden] * 3), tiles=edges)[0]
        for moments in (by_reference, by_slice):
            for n in range(3):
                assert_brute(moments, n, x[~hidden], y[n][~hidden])
            seen = ~hidden[edges[0][1] : edges[0][2], edges[1][2] : edges[1][3]]
            cell = slice(edges[0][1], edges[0][2]), slice(edges[1][2], edges[1][3])
            assert_brute(moments.cells, (1, 1, 2), x[cell][seen], y[1][cell][seen])


@pytest.mark.parametrize("scale", [1e-140, 1e-70, 1e70, 1e140])
def test_r_does_not_depend_on_the_unit(backend: Backend, scale: float) -> None:
    x, y = random_images(np.float64, (17, 19), 1) - 1000, random_images(np.float64, (2, 17, 19), 2)
    (plain,), (scaled,) = backend.moments([x], y), backend.moments([x * scale], y / scale)
    np.testing.assert_allclose(scaled.correlation(), plain.correlation(), rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-310, 1e-300, 1e-160, 1e160, 1e250, 1e300])
@pytest.mark.parametrize("other_scale", [1.0, 1e-150, 1e150, None])
def test_extreme_values_give_r_or_nan_without_a_warning(
    backend: Backend, scale: float, other_scale: float | None
) -> None:
    x, y = random_images(np.float64, (17, 19), 1) - 999, random_images(np.float64, (2, 17, 19), 2) - 1000
    edges = np.array([0, 5, 17]), np.array([0, 7, 19])
    (plain,) = backend.moments([x], y)
    (scaled,) = backend.moments([x * scale], y * (scale if other_scale is None else other_scale), tiles=edges)
    r = scaled.correlation()
    right = np.isclose(r, plain.correlation(), rtol=1e-6, atol=0)
    assert (right | np.isnan(r)).all(), (r, plain.correlation())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nan_and_inf_spoil_their_own_pair_only(backend: Backend, bad: float, dtype: Any) -> None:
    x, y = random_images(dtype, (17, 19), 1), random_images(dtype, (3, 17, 19), 2)
    (clean,) = backend.moments([x], y)
    y[1, 3, 4] = bad
    (moments,) = backend.moments([x], y)
    r = moments.correlation()
    assert np.isnan(r).tolist() == [False, True, False]
    assert_same(moments[0:3:2], clean[0:3:2])
    assert moments.count.tolist() == [17 * 19] * 3
    assert moments.constant_y.tolist() == [False] * 3
    x[0, 0] = bad
    assert np.isnan(backend.moments([x], y)[0].correlation()).all()
