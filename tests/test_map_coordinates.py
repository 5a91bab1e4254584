"""map_coordinates: samples at coordinates, as SciPy's with prefilter=False."""

from __future__ import annotations

import numpy as np
import pytest
from properties import given, st
from scipy import ndimage

from gpu_stackcorr.backends.base import INTERPOLATION_MODES

INTEGERS = ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")
NUMBERS = (*INTEGERS[1:], "float32", "float64")


def make_image(dtype, shape):
    rng = np.random.default_rng(0)
    if np.dtype(dtype).kind == "f":
        return rng.normal(size=shape).astype(dtype)
    return rng.integers(0, 2 if dtype == "bool" else 120, shape).astype(dtype)


def coordinates_in(shape, points, seed=1):
    """From two periods below to two above; one in four is a multiple of a half."""
    rng = np.random.default_rng(seed)
    size = np.reshape(shape, (-1, *(1,) * len(points)))
    x = rng.uniform(-2 * size - 2, 3 * size + 2, (len(shape), *points))
    return np.where(rng.random(x.shape) < 0.25, np.rint(2 * x) / 2, x)


def test_by_hand(backend):
    image = np.arange(12.0).reshape(4, 3)
    at = np.array([[0.5, 2.0, 3.0], [0.5, 1.0, 1.25]])
    assert backend.map_coordinates(image, at, order=1, mode="constant").tolist() == [2, 7, 10.25]
    assert backend.map_coordinates(image, at, order=0, mode="constant").tolist() == [4, 7, 10]


def test_coefficients_are_not_filtered_again(backend):
    """An impulse of coefficients is the B-spline itself: 1/6, 2/3, 1/6, and 23/48 half-way at order 3."""
    impulse = np.array([0.0, 0, 0, 1, 0, 0, 0])
    result = backend.map_coordinates(impulse, np.array([[2.0, 3.0, 3.5, 5.0]]), order=3, mode="mirror")
    np.testing.assert_allclose(result, [1 / 6, 2 / 3, 23 / 48, 0], rtol=0, atol=1e-15)


def test_result_has_the_shape_of_one_coordinate(backend):
    image = np.arange(6.0)
    for points in [(), (1,), (2, 3), (0,), (2, 0, 3)]:
        for order in (0, 1):
            result = backend.map_coordinates(image, np.ones((1, *points)), order=order, mode="nearest")
            assert result.shape == points
            assert np.all(result == 1)


@pytest.mark.parametrize("mode", INTERPOLATION_MODES)
@pytest.mark.parametrize("shape", [(1,), (2,), (5,), (1, 4), (7, 6), (3, 1, 5), (4, 3, 5)])
def test_order_0_goes_where_scipy_goes(backend, mode, shape):
    image = np.arange(1, np.prod(shape) + 1, dtype=np.int32).reshape(shape)
    at = coordinates_in(shape, (40, 50))
    result = backend.map_coordinates(image, at, order=0, mode=mode, cval=-7)
    expected = ndimage.map_coordinates(image, at, order=0, mode=mode, cval=-7, prefilter=False)
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("dtype", [*INTEGERS, ">u8", ">i2", "float32", "float64"])
def test_order_0_keeps_every_bit(backend, dtype):
    dtype = np.dtype(dtype)
    if dtype.kind == "u":
        image = np.array([2 ** (8 * dtype.itemsize) - 1, 1, 0, min(2**53 + 1, 2 ** (8 * dtype.itemsize) - 2)], dtype)
    elif dtype.kind == "i":
        image = np.array([np.iinfo(dtype).min, np.iinfo(dtype).max, -1, np.iinfo(dtype).max - 1], dtype)
    else:
        image = np.array([1, 0, 1, 1], dtype)
    result = backend.map_coordinates(image, np.array([[3.0, 1.6, 2.4, -0.2]]), order=0, mode="nearest")
    assert result.dtype == dtype.newbyteorder("=")
    assert result.tolist() == image[[3, 2, 2, 0]].tolist()


def test_order_0_keeps_nan_and_copies_nothing_else(backend):
    image = np.array([0.0, np.nan, np.inf, 3.0])
    result = backend.map_coordinates(image, np.array([[0.4, 1.0, 2.2, 2.6]]), order=0, mode="reflect")
    np.testing.assert_array_equal(result, image)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
@pytest.mark.parametrize("mode", INTERPOLATION_MODES)
def test_a_coordinate_that_is_no_number_gives_cval_at_order_0(backend, bad, mode):
    result = backend.map_coordinates(np.arange(1.0, 5), np.array([[bad, 1.0]]), order=0, mode=mode, cval=9.0)
    assert result.tolist() == [9, 2]


@pytest.mark.cross(
    dtype=NUMBERS, order=range(6), mode=INTERPOLATION_MODES, shape=[(19,), (11, 7), (5, 6, 7)], points=[(60,), (6, 7)]
)
def test_as_scipy(backend, dtype, order, mode, shape, points):
    image = make_image(dtype, shape)
    at = coordinates_in(shape, points)
    result = backend.map_coordinates(image, at, order=order, mode=mode, cval=3.0)
    expected = ndimage.map_coordinates(image, at, order=order, mode=mode, cval=3.0, prefilter=False)
    assert result.dtype == expected.dtype
    if image.dtype.kind == "f":
        tolerance = 1e-12 if dtype == "float64" else 1e-5
        np.testing.assert_allclose(result, expected, rtol=0, atol=tolerance * np.ptp(image))
        return
    exact = ndimage.map_coordinates(image, at, order=order, mode=mode, cval=3.0, prefilter=False, output=np.float64)
    clear = np.abs(np.abs(exact - np.trunc(exact)) - 0.5) > 1e-9
    np.testing.assert_array_equal(result[clear], expected[clear])
    np.testing.assert_allclose(result.astype(float), expected.astype(float), rtol=0, atol=1)


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "float64"])
def test_the_dtype_of_the_result(backend, order, dtype):
    image = np.random.default_rng(4).uniform(-50, 400, (12, 13))
    at = coordinates_in(image.shape, (50,))
    result = backend.map_coordinates(image, at, order=order, mode="mirror", dtype=dtype)
    expected = ndimage.map_coordinates(image, at, output=dtype, order=order, mode="mirror", prefilter=False)
    assert result.dtype == dtype
    tolerance = 1e-12 if dtype == "float64" else 1e-3 if dtype == "float32" else 1
    np.testing.assert_allclose(result.astype(float), expected.astype(float), rtol=0, atol=tolerance)


def test_integers_to_floats_and_back_at_order_0(backend):
    floats = np.array([-3.5, -0.4, 0.5, 2.5, 300.0, -1e9])
    at = np.arange(6.0)[np.newaxis]
    rounded = backend.map_coordinates(floats, at, order=0, mode="nearest", dtype=np.int8)
    assert rounded.tolist() == [-4, 0, 1, 3, 127, -128]
    integers = np.array([1, 2, 3], np.int16)
    wide = backend.map_coordinates(
        integers, np.array([[0.0, 2.0, 9.0]]), order=0, mode="constant", cval=0.5, dtype="f4"
    )
    assert wide.dtype == np.float32
    assert wide.tolist() == [1, 3, 0.5]


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_an_empty_image_has_cval_everywhere(backend, order, dtype):
    result = backend.map_coordinates(np.empty((0, 3), dtype), np.zeros((2, 4)), order=order, mode="reflect", cval=5.0)
    assert result.tolist() == [5] * 4


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize(
    "view",
    [lambda a: a[..., ::2, ::3], lambda a: a[..., ::-1, ::-1], lambda a: a.swapaxes(-1, -2), lambda a: a.astype(">f8")],
    ids=["strided", "reversed", "transposed", "big-endian"],
)
def test_layouts(backend, order, view):
    image = view(make_image("float64", (12, 15)))
    at = view(coordinates_in((12, 15), (20, 30)))
    for array in (image, at):
        array.flags.writeable = False
    before = image.copy()
    result = backend.map_coordinates(image, at, order=order, mode="reflect")
    expected = ndimage.map_coordinates(before, at.astype(float), order=order, mode="reflect", prefilter=False)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-12 * np.ptp(image))
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("dtype", ["int64", "uint16", "float32"])
def test_coordinates_of_other_dtypes(backend, dtype):
    at = np.array([[0, 3, 2, 5]], dtype)
    assert backend.map_coordinates(np.arange(6.0), at, order=0, mode="nearest").tolist() == [0, 3, 2, 5]
    assert backend.map_coordinates(np.arange(6.0), at, order=1, mode="nearest").tolist() == [0, 3, 2, 5]


@given(
    n=st.integers(1, 12),
    doubled=st.integers(-200, 200),
    mode=st.sampled_from(INTERPOLATION_MODES),
)
def test_halves_at_order_0(backend, n, doubled, mode):
    image, at = np.arange(n, dtype=np.uint8), np.array([[doubled / 2]])
    result = backend.map_coordinates(image, at, order=0, mode=mode, cval=200)
    assert result[0] == ndimage.map_coordinates(image, at, order=0, mode=mode, cval=200)[0]
