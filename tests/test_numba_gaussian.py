"""gaussian_filter of the numba backend: the borders of its blocks and windows, and threads."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from gpu_stackcorr.arrays import available_backends
from gpu_stackcorr.backends.base import INTERPOLATION_MODES
from gpu_stackcorr.threads import use_threads

if not available_backends()["numba"].available:
    pytest.skip(available_backends()["numba"].reason, allow_module_level=True)

from gpu_stackcorr.backends.numba_ import gaussian
from gpu_stackcorr.backends.numba_.boundary import MODES, sample_at
from gpu_stackcorr.backends.numba_.fir import GRAIN
from gpu_stackcorr.backends.numba_.fir_blocks import BLOCK, LANES
from gpu_stackcorr.backends.numba_.gaussian import gaussian_filter, half_kernel
from gpu_stackcorr.backends.numba_.lines import ROW, SEGMENT

LENGTHS = [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT + 3]
SIDES = [2, 3, GRAIN - 1, GRAIN, GRAIN + 1, LANES - 1, LANES, LANES + 1, 2 * LANES + 3]
LINES = [GRAIN - 1, GRAIN + 1, ROW - 1, ROW, ROW + 1, 2 * ROW, 2 * ROW + 37]


def noise(shape, dtype="float64", seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def smooth(image, sigma, mode="reflect", axes=None, **kwargs):
    axes = range(image.ndim) if axes is None else axes
    return gaussian_filter(image, [sigma] * len(axes), axes=axes, mode=[mode] * len(axes), **kwargs)


@pytest.mark.parametrize("sigma", [1e-8, 0.1, 0.49, 1.0, 3.7, 10.0, 123.4])
def test_the_weights_are_scipys_to_the_bit(sigma):
    weights = half_kernel(sigma, 4.0, np.float64)
    radius = int(4 * sigma + 0.5)
    impulse = np.zeros(2 * radius + 1)
    impulse[radius] = 1
    response = ndimage.gaussian_filter1d(impulse, sigma, mode="constant")
    np.testing.assert_array_equal(response, np.concatenate([weights[:0:-1], weights]))


@pytest.mark.parametrize("mode", INTERPOLATION_MODES)
@pytest.mark.parametrize("length", [1, 2, 3, 7])
def test_beyond_the_border_as_scipy(mode, length):
    """A filter of one tap reads the sample at each distance."""
    line = np.arange(1.0, length + 1)
    for distance in range(5 * length):
        weights = np.zeros(2 * distance + 1)
        weights[-1] = 1
        expected = ndimage.correlate1d(line, weights, mode=mode, cval=-9.0)
        sources = [sample_at(k + distance, length, MODES[mode]) for k in range(length)]
        assert [-9.0 if k < 0 else line[k] for k in sources] == expected.tolist()


@pytest.mark.cross(length=LENGTHS, side=SIDES, sigma=[0.4, 1.3, 5.0, 80.0], mode=INTERPOLATION_MODES)
def test_lines_side_by_side(length, side, sigma, mode):
    image = noise((length, side))
    result = smooth(image, sigma, mode, axes=[0], cval=0.3)
    expected = ndimage.gaussian_filter1d(image, sigma, axis=0, mode=mode, cval=0.3)
    np.testing.assert_array_equal(result, expected)


@pytest.mark.cross(length=LINES, side=[1, 2, 3], sigma=[0.4, 1.3, 5.0, 400.0], mode=INTERPOLATION_MODES)
def test_along_lines(length, side, sigma, mode):
    image = noise((2, length, side))
    expected = ndimage.gaussian_filter1d(image, sigma, axis=1, mode=mode, cval=0.3)
    np.testing.assert_array_equal(smooth(image, sigma, mode, axes=[1], cval=0.3), expected)
    image.flags.writeable = False  # copied first, and filtered in place
    np.testing.assert_array_equal(smooth(image, sigma, mode, axes=[1], cval=0.3), expected)


@pytest.mark.cross(
    lines=[1, 2, 7, 257], length=[1, 3, 31, 128, 200], side=[1, 2, 3], sigma=[0.4, 5.0, 40.0], mode=INTERPOLATION_MODES
)
def test_short_lines_share_a_window(lines, length, side, sigma, mode):
    image = noise((lines, length, side))
    expected = ndimage.gaussian_filter1d(image, sigma, axis=1, mode=mode, cval=0.3)
    for threads in (1, 3):
        with use_threads(threads):
            np.testing.assert_array_equal(smooth(image, sigma, mode, axes=[1], cval=0.3), expected)


@pytest.mark.parametrize("mode", ["reflect", "wrap", "constant"])
def test_long_lines_are_cut_and_read_beyond_the_cuts(mode):
    line = noise(50 * ROW + 11)
    with use_threads(3):
        result = smooth(line, 4.0, mode)
    np.testing.assert_array_equal(result, ndimage.gaussian_filter(line, 4.0, mode=mode))
    image = noise((2, 30 * ROW + 1))
    np.testing.assert_array_equal(smooth(image, 4.0, mode), ndimage.gaussian_filter(image, 4.0, mode=mode))


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("shape", [(5001,), (300, 301), (3, 70, 131), (40, 210, 257)])
def test_threads_change_no_bit(dtype, shape):
    image = noise(shape, "float64") * 30 + 120
    image = image.astype(dtype)
    results = []
    for threads in (1, 2, 3, 7):
        with use_threads(threads):
            results.append(smooth(image, 2.0, axes=range(max(0, len(shape) - 2), len(shape))))
    for result in results[1:]:
        np.testing.assert_array_equal(result, results[0])


@pytest.mark.parametrize("sigma", [0.7, 3.0, 9.0])
def test_the_bits_of_a_float32_line_do_not_depend_on_its_place(sigma):
    image = noise((300, 2 * LANES + 5), "float32")
    columns, rows = smooth(image, sigma, axes=[0]), smooth(image, sigma, axes=[1])
    for k in (0, 1, LANES - 1, LANES, 2 * LANES + 4):
        np.testing.assert_array_equal(smooth(image[:, k], sigma), columns[:, k])
        np.testing.assert_array_equal(smooth(image[k], sigma), rows[k])
    np.testing.assert_array_equal(smooth(image.T, sigma, axes=[1]), columns.T)


@pytest.mark.parametrize("mode", INTERPOLATION_MODES)
@pytest.mark.parametrize("sigma", [0.5, 2.0, 20.0, 150.0])
def test_float32_within_a_millionth(sigma, mode):
    image = noise((130, 170), "float32")
    expected = ndimage.gaussian_filter(image.astype(np.float64), sigma, mode=mode)
    assert np.abs(smooth(image, sigma, mode) - expected).max() <= 1e-6 * np.ptp(image)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int16", "uint16", "int32", "int64"])
@pytest.mark.parametrize("cval", [-3.0, 3.0, 300.0, 70000.0])
def test_what_does_not_fit_into_an_integer(dtype, cval):
    image = (noise((20, LANES + 3)) > 0).astype(dtype)
    result = smooth(image, 2.0, "constant", cval=cval)
    np.testing.assert_array_equal(
        result.view(f"u{result.itemsize}"),
        ndimage.gaussian_filter(image, 2.0, mode="constant", cval=cval).view(f"u{result.itemsize}"),
    )


@pytest.mark.parametrize("dtype", ["int64", "uint64", "int16"])
def test_integers_at_their_limits(dtype):
    limits = np.iinfo(dtype)
    image = np.random.default_rng(0).choice([limits.min, limits.max // 2, limits.max // 3], (9, 140)).astype(dtype)
    np.testing.assert_array_equal(smooth(image, 1.5), ndimage.gaussian_filter(image, 1.5))


def test_nan_and_infinity_reach_as_far_as_the_filter():
    """The last vector of a line, and the rows of a block that nobody asked for, must not see more."""
    for shape, axis in [((37, 131), 0), ((37, 131), 1), ((1, 37), 1)]:
        image = noise(shape)
        image[shape[0] // 2, shape[1] // 2] = np.nan
        image[0, 0] = np.inf
        expected = ndimage.gaussian_filter1d(image, 1.3, axis=axis)
        np.testing.assert_array_equal(smooth(image, 1.3, axes=[axis]), expected)


def test_a_radius_too_large_is_left_to_scipy(monkeypatch):
    image = noise((5, 6))
    monkeypatch.setattr(gaussian, "LARGEST_RADIUS", 7)
    monkeypatch.setattr(gaussian, "make_scratch", None)
    np.testing.assert_array_equal(smooth(image, 2.0), ndimage.gaussian_filter(image, 2.0))


def test_a_negative_radius_is_scipys_error():
    with pytest.raises(ValueError, match="Radius"):
        smooth(noise((3, 4)), 1.0, truncate=-2.0)
