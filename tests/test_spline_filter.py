"""spline_filter: B-spline coefficients, as SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from gpu_stackcorr.backends.base import INTERPOLATION_MODES

KNOTS = {2: [0.75, 0.125], 3: [2 / 3, 1 / 6], 4: [115 / 192, 19 / 96, 1 / 384], 5: [11 / 20, 13 / 60, 1 / 120]}
"""B-splines at 0, 1, 2 (M. Unser, IEEE Signal Processing Magazine 16 (1999) 22-38)."""

PADDED = {"mirror": "reflect", "reflect": "symmetric", "grid-mirror": "symmetric", "grid-wrap": "wrap"}
"""What numpy.pad calls the modes whose prefilter is exact."""


def resampled(coefficients, order, mode):
    """The spline of some coefficients (1-D) at its knots."""
    reach = len(KNOTS[order]) - 1
    padded = np.pad(coefficients, reach, mode=PADDED[mode])
    kernel = np.array([*KNOTS[order][:0:-1], *KNOTS[order]])
    return np.convolve(padded, kernel, mode="valid")


@pytest.mark.parametrize("order", range(2, 6))
@pytest.mark.parametrize("mode", PADDED)
@pytest.mark.parametrize("n", [3, 5, 11, 17, 18, 40])
def test_the_spline_goes_through_the_samples(backend, order, mode, n):
    """Also on short lines, on which SciPy's does not in mode reflect."""
    samples = np.random.default_rng(0).normal(size=n)
    coefficients = backend.spline_filter(samples, order, axes=[0], mode=mode)
    np.testing.assert_allclose(resampled(coefficients, order, mode), samples, rtol=0, atol=1e-12)


def test_a_quadratic_by_hand(backend):
    """Mirrored, [0, 0, 1, 0, 0] has the coefficients [1, -2, 7, -2, 1] / 4 at order 3: (-2 + 28 - 2) / 4 / 6 = 1."""
    result = backend.spline_filter(np.array([0.0, 0, 1, 0, 0]), 3, axes=[0], mode="mirror")
    np.testing.assert_allclose(result, [0.25, -0.5, 1.75, -0.5, 0.25], rtol=0, atol=1e-14)


@pytest.mark.cross(
    dtype=["bool", "uint8", "int16", "uint16", "int64", "float32", "float64"],
    order=range(2, 6),
    mode=INTERPOLATION_MODES,
    shape=[(25,), (18, 21), (2, 19, 20), (1, 18)],
)
def test_as_scipy(backend, dtype, order, mode, shape):
    image = (np.random.default_rng(1).random(shape) * (1 if dtype in ("bool", "float64") else 100)).astype(dtype)
    axes = [axis for axis, n in enumerate(shape) if n > 2]
    expected = image.astype(np.float64)
    for axis in axes:
        expected = ndimage.spline_filter1d(expected, order, axis=axis, mode=mode)
    result = backend.spline_filter(image, order, axes=axes, mode=mode)
    tolerance = 1e-5 if dtype == "float32" else 1e-12
    np.testing.assert_allclose(result, expected, rtol=0, atol=tolerance * max(1, np.ptp(expected)))
    assert result.dtype == np.float64 or (image.dtype == np.float32 and result.dtype == np.float32)


def test_all_axes_are_scipys_spline_filter(backend):
    image = np.random.default_rng(2).random((19, 20, 21))
    result = backend.spline_filter(image, 3, axes=range(3), mode="mirror")
    np.testing.assert_allclose(result, ndimage.spline_filter(image), rtol=0, atol=1e-12)


@pytest.mark.parametrize("shape", [(0,), (0, 5), (1,), (1, 1)])
def test_empty_and_single(backend, shape):
    image = np.full(shape, 3.0)
    result = backend.spline_filter(image, 3, axes=range(len(shape)), mode="mirror")
    np.testing.assert_array_equal(result, image)


@pytest.mark.parametrize(
    "view",
    [lambda a: a[::2, ::3], lambda a: a[::-1, ::-1], lambda a: a.T, lambda a: a.astype(">f8")],
    ids=["strided", "reversed", "transposed", "big-endian"],
)
def test_layouts(backend, view):
    image = view(np.random.default_rng(3).random((60, 60)))
    image.flags.writeable = False
    before = image.copy()
    result = backend.spline_filter(image, 5, axes=[0, 1], mode="reflect")
    np.testing.assert_allclose(result, ndimage.spline_filter(before, 5, mode="reflect"), rtol=0, atol=1e-12)
    np.testing.assert_array_equal(image, before)


def test_no_axes_copy(backend):
    image = np.arange(6, dtype=np.uint8)
    result = backend.spline_filter(image, 3, axes=[], mode="mirror")
    assert result.dtype == np.float64
    np.testing.assert_array_equal(result, image)
