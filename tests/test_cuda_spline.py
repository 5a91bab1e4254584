"""spline.cu on an emulated device: tiles, lines of any length, groups of slices."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from emulator import EmulatedDevice
from scipy import ndimage

from gpu_stackcorr.backends.base import INTERPOLATION_MODES
from gpu_stackcorr.backends.cuda_ import layout, passes, spline

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")


@pytest.fixture(scope="module", params=["in order", "reversed", "random"])
def device(request):
    return EmulatedDevice(request.param)


@pytest.fixture(scope="module")
def one_device():
    return EmulatedDevice("random")


def make_image(shape, dtype="float64"):
    return (np.random.default_rng(0).random(shape) * (1 if np.dtype(dtype).kind in "bf" else 200)).astype(dtype)


def check(device, image, order, axis, mode="mirror"):
    result = spline.spline_filter(device, image, order, axes=[axis], mode=mode)
    expected = ndimage.spline_filter1d(image.astype(np.float64), order, axis=axis, mode=mode)
    assert result.dtype == passes.real_type(image.dtype)
    tolerance = 1e-5 if image.dtype == np.float32 else 1e-13
    np.testing.assert_allclose(result, expected, rtol=0, atol=tolerance * max(1.0, np.abs(expected).max()))


@pytest.mark.parametrize("order", range(2, 6))
@pytest.mark.parametrize("shape", [(127, 2), (128, 33), (129, 31), (257, 3), (400, 1)])
def test_lengths_around_the_tiles(device, order, shape):
    for mode in ("mirror", "reflect", "grid-wrap"):
        check(device, make_image(shape), order, 0, mode)
        check(device, make_image(shape[::-1]), order, 1, mode)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "uint32", "int64", "float32", "float64"])
@pytest.mark.parametrize("shape", [(3, 20, 32), (2, 21, 5), (5, 19, 2), (40, 22, 1), (1, 33, 1), (2, 3, 1, 7)])
def test_lines_side_by_side(one_device, dtype, shape):
    check(one_device, make_image(shape, dtype), 3, 1)


@pytest.mark.parametrize("mode", sorted({*INTERPOLATION_MODES} - {"reflect", "grid-mirror", "nearest"}))
@pytest.mark.parametrize("length", [2, 3, 4, 7])
def test_lines_shorter_than_the_reach(one_device, mode, length):
    """In mode reflect SciPy up to 1.17 is off on short lines."""
    for order in range(2, 6):
        check(one_device, make_image((length, 5)), order, 0, mode)
        check(one_device, make_image((5, length)), order, 1, mode)


@pytest.mark.parametrize("order", range(2, 6))
@pytest.mark.parametrize("length", [2, 3, 5, 9])
def test_short_reflected_lines_are_those_of_a_longer_one(one_device, order, length):
    """A line and its image, six times over: in the middle the ends are far enough away not to count."""
    line = make_image(length)
    repeated = np.concatenate([line, line[::-1]] * 30)
    far = ndimage.spline_filter1d(repeated, order, mode="mirror")[28 * length : 29 * length]
    result = spline.spline_filter(one_device, line, order, axes=[0], mode="reflect")
    np.testing.assert_allclose(result, far, rtol=0, atol=1e-13 * np.abs(far).max())


@pytest.mark.parametrize("axis", [0, 1])
def test_more_lines_than_the_grid_has_blocks(device, monkeypatch, axis):
    monkeypatch.setattr(layout, "LARGEST_GRID", (2**31 - 1, 2, 2))
    check(device, make_image((300, 150) if axis == 0 else (150, 300)), 3, axis)


@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 2), (2,), (0,), (0, 2)])
@pytest.mark.parametrize("group_bytes", [1, 2 * 18 * 19 * 8, 2**28])
def test_groups_of_slices(one_device, monkeypatch, axes, group_bytes):
    monkeypatch.setattr(passes, "GROUP_BYTES", group_bytes)
    image = make_image((5, 18, 19), "uint8")
    expected = image.astype(np.float64)
    for axis in axes:
        expected = ndimage.spline_filter1d(expected, 3, axis=axis)
    result = spline.spline_filter(one_device, image, 3, axes=axes, mode="mirror")
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-11)


def test_results_are_new_arrays_on_the_device(one_device):
    image = one_device.to_device(make_image((20, 21)))
    for axes in ([], [0, 1]):
        result = spline.spline_filter(one_device, image, 3, axes=axes, mode="mirror")
        assert one_device.to_device(result) is result
        assert result is not image
    np.testing.assert_array_equal(image, make_image((20, 21)))
