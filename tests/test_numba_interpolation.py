"""Compiled warping, sampling and prefiltering: both paths, threads, layouts, and coordinates that lead astray."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy import ndimage

from gpu_stackcorr.arrays import available_backends, get_backend
from gpu_stackcorr.backends.base import INTERPOLATION_MODES
from gpu_stackcorr.threads import use_threads

if not available_backends()["numba"].available:
    pytest.skip(available_backends()["numba"].reason, allow_module_level=True)

from gpu_stackcorr.backends.numba_ import flat_images, margins

COMPILED, PLAIN = get_backend("numba"), get_backend("numpy")
SHAPES = {1: (1100,), 2: (19, 1060), 3: (9, 21, 60)}


def field(shape: tuple[int, ...], scale: float, dtype: str = "float64") -> np.ndarray:
    """Return a displacement that is larger than the image in places."""
    rng = np.random.default_rng(1)
    d = scale * rng.standard_normal((len(shape), *shape))
    d.reshape(-1)[::97] *= 50
    return d.astype(dtype)


@pytest.mark.cross(ndim=[1, 2, 3], order=list(range(6)), mode=INTERPOLATION_MODES)
def test_float64_warps_as_the_specification(ndim, order, mode):
    image = np.random.default_rng(0).random(SHAPES[ndim])
    d = field(image.shape, 3)
    options = {"axes": tuple(range(ndim)), "order": order, "mode": mode, "cval": 0.25}
    expected = PLAIN.warp(image, d, **options)
    np.testing.assert_allclose(COMPILED.warp(image, d, **options), expected, rtol=0, atol=0 if order < 2 else 1e-12)


@pytest.mark.cross(ndim=[1, 2, 3], order=list(range(6)), mode=INTERPOLATION_MODES)
def test_float32_stays_within_its_digits(ndim, order, mode):
    image = np.random.default_rng(0).random(SHAPES[ndim], np.float32)
    d = field(image.shape, 2, "float32")
    options = {"axes": tuple(range(ndim)), "order": order, "mode": mode, "cval": 0.25}
    found = COMPILED.warp(image, d, **options)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, PLAIN.warp(image.astype(np.float64), d, **options), rtol=0, atol=2e-5)


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_threads_change_no_bit(dtype, order):
    image = (200 * np.random.default_rng(0).random((3, 65, 1201))).astype(dtype)
    d = field((65, 1201), 4)[:, np.newaxis]
    results = set()
    for threads in (1, 2, 3, 7):
        with use_threads(threads):
            results.add(COMPILED.warp(image, d, axes=(1, 2), order=order, mode="reflect").tobytes())
    assert len(results) == 1


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_row_has_the_same_bits_with_borders_near_and_far(dtype, order):
    """Whether a sample is computed among vectors or alone may not show."""
    image = np.random.default_rng(0).random((60, 700)).astype(dtype)
    d = np.random.default_rng(1).uniform(-4, 4, (2, 60, 700)).astype(dtype)
    whole = COMPILED.warp(image, d, axes=(0, 1), order=order, mode="nearest")
    for y, x in ((5, 9), (20, 500)):
        box = np.s_[y : y + 20, x : x + 30]
        block = COMPILED.warp(image[y - 5 : y + 25, x - 5 : x + 35], np.pad(d[:, *box], ((0, 0), (5, 5), (5, 5))),
                              axes=(0, 1), order=order, mode="nearest")  # fmt: skip
        np.testing.assert_array_equal(block[5:-5, 5:-5], whole[box])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e300, -1e300])
@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_displacements_that_lead_nowhere_give_cval(order, value):
    image = np.random.default_rng(0).random((20, 40))
    d = np.zeros((2, 20, 40))
    d[0, 3, 5] = d[1, 7, 39] = value
    for mode in INTERPOLATION_MODES:
        found = COMPILED.warp(image, d, axes=(0, 1), order=order, mode=mode, cval=-7)
        assert found[3, 5] == found[7, 39] == -7
        assert np.count_nonzero(found == -7) == 2


@pytest.mark.parametrize("dtype", ["uint64", "int64", "uint32", "int16", "bool"])
def test_labels_keep_every_bit_from_any_layout(dtype):
    rng = np.random.default_rng(0)
    limit = 1 if dtype == "bool" else np.iinfo(dtype).max
    labels = rng.integers(0, limit, (40, 60), np.uint64, endpoint=True).astype(dtype)
    d = field((20, 30), 2)
    views = (labels[::2, ::2], labels[::-2, ::-2], np.asfortranarray(labels[:20, :30]),
             labels[:20, :30].astype(labels.dtype.newbyteorder(">")))  # fmt: skip
    for view in views:
        found = COMPILED.warp(view, d, axes=(0, 1), order=0, mode="reflect")
        assert found.dtype == labels.dtype
        np.testing.assert_array_equal(found, PLAIN.warp(view, d, axes=(0, 1), order=0, mode="reflect"))


@pytest.mark.parametrize("mode", INTERPOLATION_MODES)
@pytest.mark.parametrize("shape", [(11, 40), (6, 9, 40), (5, 3), (3, 4, 5)])
def test_halves_beyond_the_border_go_as_in_scipy(shape, mode):
    """Next to which sample a half is depends on the mode there, in margins as without."""
    labels = np.arange(np.prod(shape), dtype=np.uint32).reshape(shape)
    d = np.random.default_rng(4).integers(-60, 60, (len(shape), *shape)) / 2
    for dtype in (np.float32, np.float64):
        coordinates = np.indices(shape) + d
        expected = ndimage.map_coordinates(labels.astype(np.float64), coordinates, order=0, mode=mode, cval=7)
        options = {"axes": range(len(shape)), "order": 0, "mode": mode, "cval": 7}
        np.testing.assert_array_equal(COMPILED.warp(labels, d.astype(dtype), **options), expected)


@pytest.mark.cross(
    dtype=["uint8", "int16", "uint64", "float32"], order=[0, 1, 3], mode=["mirror", "grid-wrap", "constant"]
)
def test_coordinates_as_the_specification(dtype, order, mode):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 200, (31, 47)).astype(dtype)
    points = rng.uniform(-40, 90, (2, 3, 401))
    points[:, 0, :5] = [[0, 30, 29.5, -0.5, 31], [46, 0, 46, 46.5, 0.5]]
    expected = PLAIN.map_coordinates(image, points, order=order, mode=mode, cval=3)
    found = COMPILED.map_coordinates(image, points, order=order, mode=mode, cval=3)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3 if dtype == "float32" else 0)


@pytest.mark.parametrize("mode", ["mirror", "grid-wrap", "reflect"])
@pytest.mark.parametrize("order", [2, 3, 4, 5])
def test_coefficients_interpolate(order, mode):
    """Sampled at the grid, coefficients give the image back: on short lines in mode reflect too."""
    rng = np.random.default_rng(0)
    for n in (2, 3, 5, 8, 17, 18, 64, 65):
        image = rng.random((n, 7))
        coefficients = COMPILED.spline_filter(image, order, axes=(0, 1), mode=mode)
        back = COMPILED.map_coordinates(coefficients, np.indices(image.shape, float), order=order, mode=mode)
        np.testing.assert_allclose(back, image, rtol=0, atol=1e-12)


@pytest.mark.parametrize("order", [1, 3])
def test_rows_too_far_apart_for_32_bits(order):
    """Rows half a gigabyte apart, of which a few pages are ever touched: offsets of two rows leave 32 bits."""
    rng = np.random.default_rng(2)
    wide = np.zeros((6, (1 << 29) + 64), np.uint8)[:, :90]
    wide[...] = rng.integers(0, 200, wide.shape)
    d = rng.uniform(-5, 5, (2, *wide.shape)).astype(np.float32)
    options = {"axes": (0, 1), "order": order, "mode": "constant", "cval": 7.0}
    np.testing.assert_array_equal(COMPILED.warp(wide, d, **options), COMPILED.warp(wide.copy(), d, **options))


@pytest.mark.parametrize("width", [7, 8, 15, 16, 17, 31, 33, 1023, 1024, 1025, 1100])
@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32", "float64"])
@pytest.mark.parametrize("of_field", ["float32", "float64"])
def test_rows_of_every_length_in_windows(dtype, order, width, of_field):
    """The last window of a row ends with it, and has samples of the one before; displacements may have others."""
    image = np.random.default_rng(3).integers(0, 200, (9, width)).astype(dtype)
    d = field(image.shape, 2, "float32").astype(of_field)
    options = {"axes": (0, 1), "order": order, "mode": "mirror"}
    expected, found = PLAIN.warp(image, d, **options), COMPILED.warp(image, d, **options)
    np.testing.assert_allclose(found, expected, rtol=0, atol={"float32": 2e-3, "float64": 1e-10}.get(dtype, 0))


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("of_field", ["float32", "float64"])
def test_what_has_no_place_in_a_window_goes_by_itself(dtype, order, of_field):
    """Fractions that round to 1, displacements far out of the image and its integers, and what is no number."""
    image = np.random.default_rng(4).integers(0, 200, (12, 90)).astype(dtype)
    d = field(image.shape, 2, of_field).reshape(-1)
    for n, value in enumerate([-1e-9, 0.5, -2.5, 3e9, -1e12, 1e30, np.nan, np.inf, -np.inf]):
        d[n :: 37 + 2 * n] = value
    d = d.reshape(2, *image.shape)
    options = {"axes": (0, 1), "order": order, "mode": "reflect", "cval": 7.0}
    found, lost = COMPILED.warp(image, d, **options), ~np.isfinite(d).all(axis=0)
    assert (found[lost] == 7).all()
    expected = PLAIN.warp(image, np.where(lost, 0, d), **options)
    near = {"float32": 2e-3, "float64": 1e-10}.get(dtype, 0) if order else 0
    np.testing.assert_allclose(found[~lost], expected[~lost], rtol=0, atol=near)


@pytest.mark.parametrize("order", range(6))
@pytest.mark.parametrize("mode", ["reflect", "constant"])
def test_a_constant_slice_stays_constant(order, mode):
    """In float32 too, where the weights of taps do not add up to 1: such a slice has no variance and no correlation."""
    slices = np.stack([np.full((40, 60), 0.1, np.float32), np.random.default_rng(0).random((40, 60), np.float32)])
    d = field((40, 60), 3, "float32")[:, np.newaxis]
    d[0, 0, 3, 4] = np.nan
    warped = COMPILED.warp(slices, d, axes=(1, 2), order=order, mode=mode, cval=7.0)
    assert set(np.unique(warped[0])) == {np.float32(0.1), np.float32(7.0)}
    streams = np.arange(4, dtype=np.uint64).reshape(2, 2)
    (moments,) = COMPILED.warp_moments(
        slices[1:], slices, seed=1, stream=streams, alpha=30.0, sigma=(3.0, 3.0), order=order
    )
    assert moments.ss_y[0] == 0 < moments.ss_y[1]


def test_a_slice_of_infinity_is_no_warning():
    """Its samples are infinite, or NaN where a tap has no weight, as in SciPy."""
    warped = COMPILED.warp(
        np.full((40, 60), np.inf, np.float32), field((40, 60), 1, "float32"), axes=(0, 1), order=1, mode="reflect"
    )
    assert np.isposinf(warped[~np.isnan(warped)]).all()


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("layout", ["big-endian", "strided", "memory-mapped"])
def test_no_copy_of_a_large_image_is_made(order, layout, monkeypatch, tmp_path):
    monkeypatch.setattr(flat_images, "COPIED_BYTES", 2**16)
    monkeypatch.setitem(margins.LARGEST, 2, 2**14)
    backend = get_backend("numba")
    plain = np.random.default_rng(0).normal(size=(2000, 2000)).astype(np.float32)
    image = {"big-endian": plain.astype(">f4"), "strided": np.repeat(plain, 2, axis=1)[:, ::2]}.get(layout)
    if image is None:
        np.save(tmp_path / "image.npy", plain)
        image = np.load(tmp_path / "image.npy", mmap_mode="r")
    points, field = np.array([[3.5, 990.25], [7.0, 12.5]]), np.full((2, 1, 1), 0.25)
    expected = backend.map_coordinates(plain, points, order=order, mode="reflect")
    warped = backend.warp(plain, field, axes=(0, 1), order=order, mode="reflect")
    tracemalloc.start()
    sampled = backend.map_coordinates(image, points, order=order, mode="reflect")
    peak_of_samples = tracemalloc.get_traced_memory()[1]
    tracemalloc.reset_peak()
    result = backend.warp(image, field, axes=(0, 1), order=order, mode="reflect")
    peak_of_warp = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_allclose(sampled, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(result, warped, rtol=0, atol=1e-5)
    assert peak_of_samples < plain.nbytes / 4
    assert peak_of_warp < 1.5 * plain.nbytes  # the result, and pieces of the displacement
