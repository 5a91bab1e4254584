"""gaussian_filter: smoothing by direct convolution, as SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from properties import given, st
from scipy import ndimage

from gpu_stackcorr.backends.base import INTERPOLATION_MODES

DTYPES = ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")


def make_image(dtype, shape, seed=0):
    return (np.random.default_rng(seed).random(shape) * (1 if np.dtype(dtype).kind in "bf" else 120)).astype(dtype)


def assert_as_scipy(result, image, sigma, *, axes, mode, cval=0.0, truncate=4.0):
    expected = ndimage.gaussian_filter(image, sigma, mode=mode, cval=cval, truncate=truncate, axes=tuple(axes))
    assert result.dtype == expected.dtype
    if image.dtype == np.float32:
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-5 * np.ptp(image))
    else:
        np.testing.assert_array_equal(result, expected)


def test_an_impulse_by_hand(backend):
    """sigma 1, truncate 1: a radius of 1, weights in the ratio exp(-1/2) : 1 : exp(-1/2)."""
    side = np.exp(-0.5) / (1 + 2 * np.exp(-0.5))
    image = np.array([0.0, 0, 1, 0, 0])
    result = backend.gaussian_filter(image, [1.0], axes=[0], mode=["constant"], truncate=1.0)
    np.testing.assert_allclose(result, [0, side, 1 - 2 * side, side, 0], rtol=0, atol=1e-15)


def test_cval_enters_from_outside(backend):
    side = np.exp(-0.5) / (1 + 2 * np.exp(-0.5))
    result = backend.gaussian_filter(np.zeros(3), [1.0], axes=[0], mode=["constant"], cval=2.0, truncate=1.0)
    np.testing.assert_allclose(result, [2 * side, 0, 2 * side], rtol=0, atol=1e-15)


def test_integers_are_truncated(backend):
    """0.7 of the mass stays: 9 * 0.787 = 7.08 and 9 * 0.107 = 0.96 become 7 and 0."""
    result = backend.gaussian_filter(
        np.array([0, 0, 9, 0, 0], np.uint8), [0.5], axes=[0], mode=["reflect"], truncate=2.0
    )
    assert result.dtype == np.uint8
    assert result.tolist() == [0, 0, 7, 0, 0]


def test_the_radius_is_rounded(backend):
    """int(4 * 0.37 + 0.5) = 1 and int(4 * 0.38 + 0.5) = 2."""
    image = np.zeros(9)
    image[4] = 1
    reach = [
        np.flatnonzero(backend.gaussian_filter(image, [s], axes=[0], mode=["constant"])).tolist() for s in (0.37, 0.38)
    ]
    assert reach == [[3, 4, 5], [2, 3, 4, 5, 6]]


@pytest.mark.parametrize("dtype", DTYPES)
def test_sigma_0_leaves_an_axis_alone(backend, dtype):
    image = make_image(dtype, (6, 7))
    result = backend.gaussian_filter(image, [0.0, 0.0], axes=[0, 1], mode=["reflect"] * 2)
    assert result is not image
    assert result.dtype == image.dtype
    np.testing.assert_array_equal(result, image)
    one = backend.gaussian_filter(image, [0.0, 1.5], axes=[0, 1], mode=["reflect"] * 2)
    for row, smoothed in zip(image, one, strict=True):
        alone = backend.gaussian_filter(row, [1.5], axes=[0], mode=["reflect"])
        np.testing.assert_array_equal(smoothed, alone)


@pytest.mark.cross(
    dtype=DTYPES,
    mode=INTERPOLATION_MODES,
    shape=[(31,), (13, 17), (7, 11, 5), (2, 3, 5, 7)],
    sigma=[0.3, 1.7, 12.0],
    truncate=[1.0, 4.0],
)
def test_as_scipy(backend, dtype, mode, shape, sigma, truncate):
    image = make_image(dtype, shape)
    axes, count = range(len(shape)), len(shape)
    result = backend.gaussian_filter(
        image, [sigma] * count, axes=axes, mode=[mode] * count, cval=0.5, truncate=truncate
    )
    assert_as_scipy(result, image, sigma, axes=axes, mode=mode, cval=0.5, truncate=truncate)


@pytest.mark.parametrize("axes", [(0,), (2,), (1, 2), (2, 0), (1, 0, 2)])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_axes_in_the_order_given_each_with_its_mode(backend, axes, dtype):
    image = make_image(dtype, (5, 6, 7))
    sigma, mode = [1.0, 2.0, 0.7][: len(axes)], ["constant", "wrap", "mirror"][: len(axes)]
    result = backend.gaussian_filter(image, sigma, axes=axes, mode=mode, cval=1.0)
    assert_as_scipy(result, image, sigma, axes=axes, mode=mode, cval=1.0)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0), (1,), (1, 1), (1, 9), (2, 1, 3)])
@pytest.mark.parametrize("mode", INTERPOLATION_MODES)
def test_empty_and_small(backend, shape, mode):
    image = make_image("float64", shape)
    axes, count = range(len(shape)), len(shape)
    result = backend.gaussian_filter(image, [2.0] * count, axes=axes, mode=[mode] * count)
    assert result.shape == shape
    if image.size:
        assert_as_scipy(result, image, 2.0, axes=axes, mode=mode)


@pytest.mark.parametrize(
    "view",
    [lambda a: a[::2, ::3], lambda a: a[::-1, ::-1], lambda a: a.T, lambda a: a.astype(">f8"), np.asfortranarray],
    ids=["strided", "reversed", "transposed", "big-endian", "Fortran"],
)
def test_layouts(backend, view):
    image = view(make_image("float64", (20, 30)))
    image.flags.writeable = False
    before = image.copy()
    result = backend.gaussian_filter(image, [1.0, 2.0], axes=[0, 1], mode=["reflect"] * 2)
    assert result.dtype == np.float64
    assert_as_scipy(result, before, [1.0, 2.0], axes=(0, 1), mode="reflect")
    np.testing.assert_array_equal(image, before)


def test_nan_reaches_as_far_as_the_filter(backend):
    image = np.zeros(20)
    image[10] = np.nan
    result = backend.gaussian_filter(image, [1.0], axes=[0], mode=["reflect"], truncate=2.0)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(result)), range(8, 13))


@given(
    start=st.integers(0, 30),
    size=st.integers(1, 20),
    sigma=st.floats(0.1, 3.0),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_a_block_with_its_margin_is_that_block_of_the_whole(backend, start, size, sigma, dtype):
    image = make_image(dtype, (3, 80))
    margin = int(4 * sigma + 0.5)
    whole = backend.gaussian_filter(image, [sigma], axes=[1], mode=["constant"])
    low, high = max(0, start - margin), min(80, start + size + margin)
    part = backend.gaussian_filter(image[:, low:high], [sigma], axes=[1], mode=["constant"])
    np.testing.assert_array_equal(part[:, start - low : start - low + size], whole[:, start : start + size])


@given(seed=st.integers(0, 2**32), sigma=st.floats(0.1, 4.0))
def test_the_mean_stays_where_the_border_wraps(backend, seed, sigma):
    image = make_image("float64", (9, 10), seed)
    result = backend.gaussian_filter(image, [sigma] * 2, axes=[0, 1], mode=["wrap"] * 2)
    assert result.mean() == pytest.approx(image.mean(), abs=1e-13)
    assert result.var() <= image.var() + 1e-13
