"""gaussian.cu, displacement.cu and boundary.cuh on an emulated device: tiles, chunks of taps, groups of slices."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from emulator import EmulatedDevice
from scipy import ndimage

from gpu_stackcorr.backends.base import INTERPOLATION_MODES
from gpu_stackcorr.backends.cuda_ import displacement, gaussian, layout, passes
from gpu_stackcorr.backends.cuda_.backend import CudaBackend

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the emulator needs g++")

SCHEDULES = ("in order", "reversed", "random")


@pytest.fixture(scope="module", params=SCHEDULES)
def device(request):
    return EmulatedDevice(request.param)


@pytest.fixture(scope="module")
def one_device():
    return EmulatedDevice("random")


def make_image(shape, dtype="float64", seed=0):
    return (np.random.default_rng(seed).random(shape) * (1 if np.dtype(dtype).kind in "bf" else 120)).astype(dtype)


def check(device, image, sigma, axis, mode="reflect", *, truncate=4.0, cval=0.5):
    """One axis of one image, against SciPy to the last bit; float32 to 1e-6."""
    result = gaussian.gaussian_filter(device, image, [sigma], axes=[axis], mode=[mode], cval=cval, truncate=truncate)
    expected = ndimage.gaussian_filter(image, sigma, axes=(axis,), mode=mode, cval=cval, truncate=truncate)
    assert result.dtype == expected.dtype
    if image.dtype == np.float32:
        np.testing.assert_allclose(result, expected, rtol=0, atol=1e-6 * max(1, np.ptp(image)))
    else:
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("radius", [1, 7, 8, 9, 16, 21])
def test_radii_around_the_steps_of_a_thread(device, dtype, radius):
    image = make_image((67, 37), dtype)
    for axis in (0, 1):
        check(device, image, radius / 4, axis)


@pytest.mark.parametrize("shape", [(1, 63), (2, 64), (1, 65), (3, 129), (33, 255), (2, 256), (9, 257), (1, 521)])
def test_lengths_around_the_tiles(device, shape):
    image = make_image(shape)
    check(device, image, 1.5, 1)
    check(device, np.ascontiguousarray(image.T), 1.5, 0)


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint8", "int16", "uint32", "int64", "float32", "float64"])
@pytest.mark.parametrize("shape", [(3, 20, 32), (2, 21, 36), (2, 9, 5), (5, 11, 2), (1, 70, 1), (2, 3, 2, 7)])
def test_lines_side_by_side(one_device, dtype, shape):
    """With and without loads of several lines at once, lines of several slices in one block, lanes without a line."""
    check(one_device, make_image(shape, dtype), 1.2, 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mode", ["reflect", "wrap", "constant"])
@pytest.mark.parametrize("axis", [0, 1])
def test_radii_that_are_taken_in_chunks(device, dtype, mode, axis):
    """The window holds a radius of 128 to 552; beyond it come two to seven chunks."""
    shape = (70, 3) if axis == 0 else (2, 300)
    for sigma in (60.2, 139.0) if axis == 0 else (139.0, 260.0):
        check(device, make_image(shape, dtype), sigma, axis, mode)


@pytest.mark.parametrize("mode", INTERPOLATION_MODES)
@pytest.mark.parametrize("length", [1, 2, 5])
def test_radii_of_many_lengths(one_device, mode, length):
    check(one_device, make_image((length, 3)), 11.0, 0, mode)
    check(one_device, make_image((3, length)), 11.0, 1, mode)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_thousand_radii(one_device, axis):
    check(one_device, make_image((3, 5)), 700.0, axis, "mirror")


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"])
@pytest.mark.parametrize("cval", [-40.0, 70_000.0, 3e9, -1e19])
def test_sums_out_of_range_are_cast_as_scipys_are(one_device, dtype, cval):
    check(one_device, make_image((12, 3), dtype), 1.0, 0, "constant", cval=cval)


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_the_largest_integers(one_device, dtype):
    image = np.full((4, 9), np.iinfo(dtype).max, dtype)
    image[1] = np.iinfo(dtype).min
    check(one_device, image, 0.7, 0)


def test_a_view_that_is_not_aligned(one_device):
    """Loads of 16 bytes begin at multiples of 16."""
    memory = one_device.to_device(make_image(1 + 24 * 32, "float32"))
    image = memory[1:].reshape(24, 32)
    assert one_device.to_device(image) is image
    check(one_device, image, 1.0, 0)


@pytest.mark.parametrize("axis", [0, 1])
def test_more_lines_than_the_grid_has_blocks(one_device, monkeypatch, axis):
    monkeypatch.setattr(layout, "LARGEST_GRID", (2**31 - 1, 2, 2))
    shape = (8, 130) if axis == 0 else (40, 8)
    check(one_device, make_image(shape), 1.0, axis)


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 1), (1, 2), (2,), (1, 0)])
@pytest.mark.parametrize("group_bytes", [1, 2 * 6 * 7 * 8, 2**28])
def test_groups_of_slices(one_device, monkeypatch, axes, group_bytes):
    monkeypatch.setattr(passes, "GROUP_BYTES", group_bytes)
    image = make_image((5, 6, 7))
    result = gaussian.gaussian_filter(one_device, image, [1.0] * len(axes), axes=axes, mode=["mirror"] * len(axes))
    np.testing.assert_array_equal(result, ndimage.gaussian_filter(image, 1.0, axes=axes, mode="mirror"))


def test_scratch_memory_is_bounded(monkeypatch):
    """Result, image on the device, scratch of two slices and a few weights."""
    monkeypatch.setattr(passes, "GROUP_BYTES", 2 * 64 * 64 * 4)
    image = make_image((10, 64, 64), "float32")
    device = EmulatedDevice(memory_bytes=2 * image.nbytes + 2 * 64 * 64 * 4 + 1000)
    gaussian.gaussian_filter(device, image, [1.0, 1.0], axes=[1, 2], mode=["reflect"] * 2)


def test_results_are_new_arrays_on_the_device(one_device):
    image = make_image((6, 7))
    there = one_device.to_device(image)
    for sigma in (0.0, 1.0):
        result = gaussian.gaussian_filter(one_device, there, [sigma], axes=[0], mode=["reflect"])
        assert one_device.to_device(result) is result
        assert result is not there
        np.testing.assert_array_equal(result, ndimage.gaussian_filter(image, sigma, axes=(0,)))
    np.testing.assert_array_equal(there, image)


def test_a_negative_radius_is_scipys_error(one_device):
    with pytest.raises(ValueError, match="Radius must be a nonnegative integer"):
        gaussian.gaussian_filter(one_device, np.zeros(3), [1.0], axes=[0], mode=["reflect"], truncate=-3.0)


@pytest.mark.parametrize("sigma", [(1.0, 1.0), (0.0, 1.5), (2.0, 0.0), (0.0, 0.0)])
@pytest.mark.parametrize("fields_a_group", [1, 2, 100])
@pytest.mark.parametrize("box", [None, ((3, 9), (0, 11)), ((0, 12), (2, 11)), ((4, 5), (6, 7)), ((5, 5), (0, 11))])
def test_displacements_are_the_composition(device, monkeypatch, sigma, fields_a_group, box):
    """Streams (2, 3), an alpha a component: noise, Gaussian and product, one after the other, have the same bits."""
    monkeypatch.setattr(displacement, "GROUP_BYTES", fields_a_group * 12 * 11 * 4)
    shape, alpha = (12, 11), np.array([[3.0], [7.0]])
    streams = np.arange(6, dtype=np.uint64).reshape(2, 3)
    fields = displacement.displacement(device, 5, streams, shape, alpha=alpha, sigma=sigma, box=box)
    whole = CudaBackend(device).random_field(5, streams, shape)
    smooth = gaussian.gaussian_filter(device, 2 * whole - 1, sigma, axes=[2, 3], mode=["constant"] * 2)
    expected = smooth * alpha.astype(np.float32)[..., np.newaxis, np.newaxis]
    inside = (...,) if box is None else (..., *(slice(*ends) for ends in box))
    np.testing.assert_array_equal(fields, expected[inside])


def test_more_alphas_than_streams(one_device):
    """alpha (3, 1) and streams (2,) broadcast to (3, 2) fields."""
    alpha, streams = np.array([[1.0], [2.0], [4.0]]), np.array([3, 4], np.uint64)
    fields = displacement.displacement(one_device, 1, streams, (9,), alpha=alpha, sigma=[1.0], dtype=np.float64)
    assert fields.shape == (3, 2, 9)
    alone = displacement.displacement(one_device, 1, streams, (9,), alpha=1.0, sigma=[1.0], dtype=np.float64)
    np.testing.assert_array_equal(fields, alpha[..., np.newaxis] * alone)
