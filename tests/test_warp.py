"""warp: pull an image through a displacement."""

from __future__ import annotations

import numpy as np
import pytest
from properties import given, st
from scipy import ndimage

from gpu_stackcorr import warp
from gpu_stackcorr.backends.base import INTERPOLATION_MODES
from gpu_stackcorr.errors import ParameterError

INTEGERS = ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
ENOUGH = (20, 23)
"""A shape on which SciPy's prefilter is exact: up to 1.17, in mode reflect, it is off by |z|^(2n - 1) of the range, z
the pole (-0.43 at order 5) and n the length of an axis: 1e-3 at 3, 1e-6 at 7, below 1e-13 from 18 on."""
NUMBERS = (*INTEGERS[1:], "float32", "float64")


def make_image(dtype, shape, seed=0):
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return rng.normal(size=shape).astype(dtype)
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    limits = np.iinfo(dtype)
    low, high = max(limits.min, -(2**32)), min(limits.max, 2**32)
    return rng.integers(low, high, shape, endpoint=True).astype(dtype)


def exact_displacement(shape, size=6.0, seed=1):
    """Multiples of 2^-20: p + d is exact in float64. One in eight is a multiple of a half."""
    rng = np.random.default_rng(seed)
    d = rng.normal(0, size, shape)
    return np.where(rng.random(shape) < 0.125, np.rint(d * 2) / 2, np.rint(d * 2**20) / 2**20)


def scipy_warp(image, displacement, *, axes, order, mode, cval=0.0, output=None):
    """The same by scipy.ndimage.map_coordinates, slice by slice."""
    field = np.broadcast_to(displacement, (len(axes), *image.shape)).astype(np.float64)
    result = np.empty(image.shape, image.dtype if output is None else output)
    batch = [a for a in range(image.ndim) if a not in axes]
    moved, out = np.moveaxis(image, batch, range(len(batch))), np.moveaxis(result, batch, range(len(batch)))
    field = np.moveaxis(field, [a + 1 for a in batch], range(1, len(batch) + 1))
    for place in np.ndindex(*moved.shape[: len(batch)]):
        d = field[(slice(None), *place)]
        out[place] = ndimage.map_coordinates(
            moved[place], np.indices(d.shape[1:]) + d, output=result.dtype, order=order, mode=mode, cval=cval
        )
    return result


def assert_as_scipy(result, image, displacement, **kwargs):
    """To 1e-12 of the range in float64, 1e-5 in float32; integers equal but where SciPy's value is a half."""
    assert result.dtype == image.dtype.newbyteorder("=")
    assert result.shape == image.shape
    if kwargs["order"] == 0:
        np.testing.assert_array_equal(result, scipy_warp(image, displacement, **kwargs))
        return
    exact = scipy_warp(image, displacement, **kwargs, output=np.float64)
    extent = max(float(np.ptp(image.astype(np.float64))), abs(kwargs.get("cval", 0.0)))
    if image.dtype.kind == "f":
        tolerance = 1e-12 if image.dtype == np.float64 else 1e-5
        np.testing.assert_allclose(result, exact, rtol=0, atol=tolerance * extent)
        return
    expected = scipy_warp(image, displacement, **kwargs)
    near_half = np.abs(np.abs(exact - np.trunc(exact)) - 0.5) <= 1e-12 * extent
    np.testing.assert_array_equal(result[~near_half], expected[~near_half])
    assert near_half.mean() < 0.5
    assert np.all(np.abs(result[near_half].astype(np.float64) - expected[near_half].astype(np.float64)) <= 1)


# By hand


def test_order_1_between_two_samples(backend):
    image = np.array([0.0, 10.0, 20.0, 40.0])
    result = backend.warp(image, np.array([[0.25, -0.5, 0.75, 0.5]]), axes=(0,), order=1, mode="reflect")
    assert result.tolist() == [2.5, 5.0, 35.0, 40.0]


def test_the_displacement_pulls(backend):
    image = np.arange(12.0).reshape(3, 4)
    result = backend.warp(image, np.array([1.0, -1.0]).reshape(2, 1, 1), axes=(0, 1), order=1, mode="nearest")
    assert result.tolist() == [[4, 4, 5, 6], [8, 8, 9, 10], [8, 8, 9, 10]]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("reflect", [2, 1, 1, 2, 3, 4, 4, 3]),
        ("grid-mirror", [2, 1, 1, 2, 3, 4, 4, 3]),
        ("mirror", [3, 2, 1, 2, 3, 4, 3, 2]),
        ("nearest", [1, 1, 1, 2, 3, 4, 4, 4]),
        ("constant", [9, 9, 1, 2, 3, 4, 9, 9]),
        ("grid-constant", [9, 9, 1, 2, 3, 4, 9, 9]),
        ("grid-wrap", [3, 4, 1, 2, 3, 4, 1, 2]),
        ("wrap", [2, 3, 1, 2, 3, 4, 2, 3]),
    ],
)
@pytest.mark.parametrize("order", [0, 1])
def test_modes_at_whole_positions(backend, mode, expected, order):
    for position, value in zip(range(-2, 6), expected, strict=True):
        d = np.array([[float(position), 0, 0, 0]])
        result = backend.warp(np.array([1.0, 2, 3, 4]), d, axes=(0,), order=order, mode=mode, cval=9.0)
        assert result.tolist() == [value, 2, 3, 4]


def test_integers_round_half_away_from_zero_and_clip(backend):
    image = np.array([-3, -2, 2, 3, 3], np.int8)
    result = backend.warp(image, np.array([[0.5, 0.5, 0.5, 0.0, 9.0]]), axes=(0,), order=1, mode="constant", cval=1e3)
    assert result.tolist() == [-3, 0, 3, 3, 127]


def test_a_bool_image_is_rounded(backend):
    image = np.array([False, True, True, False])
    result = backend.warp(image, np.array([[0.75, 0.25, 0.75, 0.0]]), axes=(0,), order=1, mode="nearest")
    assert result.dtype == bool
    assert result.tolist() == [True, True, False, False]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("shape", [(40,), (9, 40), (3, 9, 40), (9, 5), (2, 0)])
def test_a_displacement_that_is_to_be_finite(backend, bad, order, shape):
    """A backend may find a bad value on its way, in vectors or sample by sample; where it need not, it says nothing."""
    rng = np.random.default_rng(0)
    image, axes = rng.random(shape, np.float32), range(len(shape))
    d = rng.normal(0, 2, (len(shape), *(max(n, 1) for n in shape))).astype(np.float32)
    how = {"axes": axes, "order": order, "mode": "reflect"}
    found = backend.warp_if_finite(image, d, **how)
    assert (found is None) == (backend.name != "numba" or not image.size)
    if found is not None:
        np.testing.assert_array_equal(found, backend.warp(image, d, **how))
    for place in rng.integers(0, d.size, 3):
        spoilt = d.copy()
        spoilt.flat[place] = bad
        assert backend.warp_if_finite(image, spoilt, **how) is None
        with pytest.raises(ParameterError, match=r"^displacement has 1 values that are NaN or infinite"):
            warp(image, spoilt, order=order, backend=backend.name)


@pytest.mark.parametrize("order", range(6))
def test_a_tiny_negative_displacement_is_none(backend, order):
    """floor(-1e-17) is -1 and the fraction rounds to 1: that is a carry, not a position outside."""
    image = np.arange(1.0, 9.0)
    result = backend.warp(image, np.full((1, 8), -1e-17), axes=(0,), order=order, mode="constant", cval=99.0)
    np.testing.assert_allclose(result, image, rtol=0, atol=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300, -1e300])
@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("mode", INTERPOLATION_MODES)
def test_a_displacement_that_is_no_number_gives_cval(backend, bad, order, mode):
    d = np.zeros((2, *ENOUGH))
    d[1, 2, 3] = bad
    result = backend.warp(np.ones(ENOUGH), d, axes=(0, 1), order=order, mode=mode, cval=7.0)
    assert result[2, 3] == 7
    result[2, 3] = 1
    np.testing.assert_allclose(result, 1, rtol=0, atol=1e-6 if mode == "grid-constant" else 1e-12)


def test_nan_and_infinity_spread_to_what_touches_them(backend):
    image = np.arange(8.0)
    image[3] = np.nan
    result = backend.warp(image, np.array([[0, 0.5, 0, 0, 0, -0.5, 0, 0]]), axes=(0,), order=1, mode="reflect")
    # 2 + 0 touches sample 3 with weight 0
    np.testing.assert_array_equal(np.isnan(result), [False, False, True, True, False, False, False, False])
    image[3] = np.inf
    result = backend.warp(image, np.full((1, 8), 0.5), axes=(0,), order=1, mode="reflect")
    np.testing.assert_array_equal(result, [0.5, 1.5, np.inf, np.inf, 4.5, 5.5, 6.5, 7])
    np.testing.assert_array_equal(backend.warp(image, np.zeros((1, 1)), axes=(0,), order=0, mode="reflect"), image)


# Labels


@pytest.mark.parametrize("dtype", [*INTEGERS, ">u8", ">i2"])
@pytest.mark.parametrize("mode", ["reflect", "constant"])
def test_labels_keep_every_bit(backend, dtype, mode):
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        image = np.array([True, False, True, True])
    else:
        limits = np.iinfo(dtype)
        image = np.array([limits.max, limits.max - 1, limits.min, limits.max // 3], dtype)
    shift = np.array([[1.0, -1.0, 0.4, -0.4]])
    result = backend.warp(image, shift, axes=(0,), order=0, mode=mode)
    assert result.dtype == dtype.newbyteorder("=")
    assert result.tolist() == image[[1, 0, 2, 3]].tolist()


def test_labels_beyond_2_to_the_53(backend):
    image = np.array([[2**64 - 1, 2**53 + 1], [2**63 + 1, 2**53 - 1]], np.uint64)
    result = backend.warp(image, np.ones((2, 1, 1)), axes=(0, 1), order=0, mode="grid-wrap")
    assert result.tolist() == image[::-1, ::-1].tolist()
    outside = backend.warp(image, np.full((2, 1, 1), 9.0), axes=(0, 1), order=0, mode="constant", cval=2**64 - 1)
    assert set(outside.ravel().tolist()) == {2**64 - 1}


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("one_field", [False, True])
def test_labels_go_with_their_image(backend, order, one_field):
    image, labels = make_image("float32", (3, *ENOUGH)), make_image("uint64", (3, *ENOUGH))
    d = exact_displacement((2, 1 if one_field else 3, *ENOUGH))
    kwargs = {"axes": (1, 2), "order": order, "mode": "constant", "cval": 5.0}
    warped, copied = backend.warp_with_labels(image, labels, d, **kwargs)
    np.testing.assert_array_equal(warped, backend.warp(image, d, **kwargs))
    np.testing.assert_array_equal(copied, backend.warp(labels, d, **{**kwargs, "order": 0}))


@pytest.mark.parametrize("mode", INTERPOLATION_MODES)
@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_halves_go_where_scipy_sends_them(backend, mode, n):
    """Every position k / 2 from four periods below to four above."""
    image = np.arange(1.0, n + 1)
    for position in np.arange(-8 * n, 8 * n + 1) / 2:
        d = position - np.arange(n)[np.newaxis]
        result = backend.warp(image, d, axes=(0,), order=0, mode=mode, cval=-1)
        expected = ndimage.map_coordinates(image, np.full((1, n), position), order=0, mode=mode, cval=-1)
        assert result.tolist() == expected.tolist(), position


# Agreement with SciPy


@pytest.mark.cross(
    dtype=NUMBERS, order=range(6), mode=INTERPOLATION_MODES, shape=[(29,), ENOUGH, (18, 19, 21)], moving=["all", "last"]
)
def test_as_scipy(backend, dtype, order, mode, shape, moving):
    image = make_image(dtype, shape)
    axes = tuple(range(len(shape))) if moving == "all" else (len(shape) - 1,)
    d = exact_displacement((len(axes), *shape))
    kwargs = {"axes": axes, "order": order, "mode": mode, "cval": 2.0}
    assert_as_scipy(backend.warp(image, d, **kwargs), image, d, **kwargs)


@pytest.mark.cross(
    order=range(6),
    mode=INTERPOLATION_MODES,
    axes_and_shape=[((1, 2), (3, 18, 19)), ((0, 2), (20, 2, 18)), ((1,), (2, 18, 3)), ((1, 2, 3), (2, 18, 19, 18))],
    one_field=[False, True],
)
def test_batches(backend, order, mode, axes_and_shape, one_field):
    axes, shape = axes_and_shape
    image = make_image("float64", shape)
    d = exact_displacement((len(axes), *(1 if one_field and a not in axes else n for a, n in enumerate(shape))))
    kwargs = {"axes": axes, "order": order, "mode": mode, "cval": -1.0}
    assert_as_scipy(backend.warp(image, d, **kwargs), image, d, **kwargs)


@pytest.mark.parametrize("order", range(6))
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (2, 2), (3, 2)])
def test_small_images(backend, order, shape):
    image = make_image("float64", shape)
    d = exact_displacement((2, *shape), 2.0)
    for mode in INTERPOLATION_MODES:
        if order > 1 and mode in ("reflect", "grid-mirror"):
            continue  # see ENOUGH
        kwargs = {"axes": (0, 1), "order": order, "mode": mode, "cval": 0.5}
        assert_as_scipy(backend.warp(image, d, **kwargs), image, d, **kwargs)


@pytest.mark.parametrize("shape", [(0,), (0, 4), (4, 0), (3, 0, 2)])
def test_empty_images(backend, shape):
    image = np.empty(shape, np.uint8)
    for order in (0, 1, 3):
        result = backend.warp(image, np.zeros((1, *shape)), axes=(len(shape) - 1,), order=order, mode="reflect")
        assert result.shape == shape
        assert result.dtype == np.uint8


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize(
    "view",
    [
        lambda a: a[::2, 1::3],
        lambda a: a[::-1, ::-1],
        lambda a: a.T,
        lambda a: a.astype(">f8"),
        lambda a: np.asfortranarray(a),
        lambda a: np.broadcast_to(a[0], a.shape),
    ],
    ids=["strided", "reversed", "transposed", "big-endian", "Fortran", "broadcast"],
)
def test_layouts_of_image_and_displacement(backend, order, view):
    image = view(make_image("float64", (24, 30)))
    image.flags.writeable = False
    before = image.copy()
    d = np.stack([view(c) for c in exact_displacement((2, 24, 30))])
    d = np.moveaxis(np.ascontiguousarray(np.moveaxis(d, 0, -1)), -1, 0).astype(image.dtype)
    d.flags.writeable = False
    kwargs = {"axes": (0, 1), "order": order, "mode": "reflect"}
    assert_as_scipy(backend.warp(image, d, **kwargs), before, d, **kwargs)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_an_image_of_several_chunks(backend, order):
    image = make_image("float32", (3, 210, 331))
    d = exact_displacement((2, *image.shape), 30.0)
    kwargs = {"axes": (1, 2), "order": order, "mode": "reflect"}
    assert_as_scipy(backend.warp(image, d, **kwargs), image, d, **kwargs)


def test_a_float32_displacement_is_taken_as_it_is(backend):
    image = make_image("float64", (20, 21))
    d = exact_displacement((2, 20, 21)).astype(np.float32)
    kwargs = {"axes": (0, 1), "order": 1, "mode": "mirror"}
    result = backend.warp(image, d, **kwargs)
    np.testing.assert_allclose(result, backend.warp(image, d.astype(np.float64), **kwargs), rtol=0, atol=1e-5)


# Properties


@pytest.mark.cross(dtype=("bool", *NUMBERS), order=range(6), mode=INTERPOLATION_MODES)
def test_no_displacement_returns_the_image(backend, dtype, order, mode):
    image = make_image(dtype, ENOUGH)
    result = backend.warp(image, np.zeros((2, 1, 1)), axes=(0, 1), order=order, mode=mode)
    assert result.dtype == image.dtype
    if order < 2 or image.dtype.kind != "f":
        np.testing.assert_array_equal(result, image)
    else:
        tolerance = 1e-12 if image.dtype == np.float64 else 1e-5
        np.testing.assert_allclose(result, image, rtol=0, atol=tolerance * np.ptp(image))


def test_precision_does_not_fall_with_the_position(backend):
    """The same fraction gives the same weights at p = 0 and p = 2^20; p + d would have lost 20 bits of it."""
    n = (1 << 20) + 4
    image = np.tile([0.0, 1.0], n // 2)
    d = np.full((1, n), 1 / 3)
    result = backend.warp(image, d, axes=(0,), order=1, mode="grid-wrap")
    assert set(result[::2].tolist()) == {result[0]}
    assert set(result[1::2].tolist()) == {result[1]}


@given(
    top=st.integers(0, 20),
    left=st.integers(0, 20),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    order=st.sampled_from([0, 1]),
    dtype=st.sampled_from([np.float32, np.float64, np.uint8]),
)
def test_a_block_of_a_warp_is_that_block_of_the_whole(backend, top, left, height, width, order, dtype):
    """A crop with a margin as wide as the displacement, to the bit."""
    margin = 5
    image = make_image(dtype, (32 + 2 * margin, 32 + 2 * margin))
    d = np.clip(np.random.default_rng(3).normal(0, 2, (2, *image.shape)), -margin + 1, margin - 1).astype(np.float32)
    whole = backend.warp(image, d, axes=(0, 1), order=order, mode="reflect")
    crop = (slice(top, top + height + 2 * margin), slice(left, left + width + 2 * margin))
    part = backend.warp(image[crop], d[(slice(None), *crop)], axes=(0, 1), order=order, mode="reflect")
    inner = (slice(margin, margin + height), slice(margin, margin + width))
    np.testing.assert_array_equal(part[inner], whole[crop][inner])


@pytest.mark.parametrize("order", [2, 3, 4, 5])
def test_a_block_at_orders_with_a_prefilter(backend, order):
    """The prefilter reaches beyond every margin, but falls by more than half a sample."""
    image = make_image("float64", (150, 160))
    d = exact_displacement((2, *image.shape), 1.0)
    whole = backend.warp(image, d, axes=(0, 1), order=order, mode="mirror")
    crop = (slice(20, 140), slice(10, 150))
    part = backend.warp(image[crop], d[(slice(None), *crop)], axes=(0, 1), order=order, mode="mirror")
    inner = (slice(50, 70), slice(50, 90))
    np.testing.assert_allclose(part[inner], whole[crop][inner], rtol=0, atol=1e-12)


@given(seed=st.integers(0, 2**32), order=st.integers(0, 5), mode=st.sampled_from(INTERPOLATION_MODES))
def test_a_constant_image_stays_constant(backend, seed, order, mode):
    d = np.random.default_rng(seed).normal(0, 20, (2, *ENOUGH))
    result = backend.warp(np.full(ENOUGH, 3.0), d, axes=(0, 1), order=order, mode=mode, cval=3.0)
    np.testing.assert_allclose(result, 3.0, rtol=0, atol=1e-5 if mode == "grid-constant" else 1e-12)


def test_nothing_is_modified(backend):
    image, d = make_image("float64", (8, 9)), exact_displacement((2, 8, 9))
    copies = image.copy(), d.copy()
    for order in range(6):
        backend.warp(image, d, axes=(0, 1), order=order, mode="constant")
    np.testing.assert_array_equal(image, copies[0])
    np.testing.assert_array_equal(d, copies[1])
