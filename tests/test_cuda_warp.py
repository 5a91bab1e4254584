"""warp.cu and map_coordinates.cu on an emulated device: launches, groups and slabs, labels with channels, borders."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from emulator import EmulatedDevice
from emulator.availability import require_emulator
from emulator.stand_in import cupy_stand_in

from gpu_stackcorr.arrays import get_backend
from gpu_stackcorr.backends.base import INTERPOLATION_MODES
from gpu_stackcorr.backends.cuda_ import layout, passes, pulling, slabs, warp
from gpu_stackcorr.backends.cuda_.backend import CudaBackend
from gpu_stackcorr.backends.cuda_.views import View

PLAIN = get_backend("numpy")


@pytest.fixture(autouse=True)
def _emulator():
    require_emulator()


@pytest.fixture(scope="module", params=["in order", "reversed", "random"])
def cuda(request):
    return CudaBackend(EmulatedDevice(request.param))


@pytest.fixture(scope="module")
def one():
    return CudaBackend(EmulatedDevice("random"))


def make_image(shape, dtype="float64", seed=0):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.normal(size=shape).astype(dtype)
    limits = (0, 1) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return rng.integers(*limits, shape, "uint64" if dtype == "uint64" else "int64", endpoint=True).astype(dtype)


def make_field(shape, size=5.0, dtype="float64"):
    """Multiples of 2^-16, some of them far outside."""
    field = np.rint(np.random.default_rng(1).normal(0, size, shape) * 2**16) / 2**16
    field.reshape(-1)[::23] *= 50
    return field.astype(dtype)


def check(backend, image, field, axes, order=1, mode="reflect", cval=2.0, labels=None):
    """One warp against the specification: to the bit at orders 0 and 1 of float64 and integers."""
    how = {"axes": axes, "order": order, "mode": mode, "cval": cval}
    if labels is None:
        results, expected = [backend.warp(image, field, **how)], [PLAIN.warp(image, field, **how)]
    else:
        results = backend.warp_with_labels(image, labels, field, **how)
        expected = PLAIN.warp_with_labels(image, labels, field, **how)
        np.testing.assert_array_equal(results[1], expected[1])
        assert results[1].dtype == expected[1].dtype
    assert results[0].dtype == expected[0].dtype
    tolerance = (1e-5 if image.dtype == np.float32 else 1e-12) if order > (image.dtype != np.float32) else 0
    np.testing.assert_allclose(results[0], expected[0], rtol=0, atol=tolerance * max(1.0, np.abs(image).max()))


# Launches


@pytest.mark.parametrize("order", [0, 1, 2])
@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((1,), (0,)),
        ((257,), (0,)),
        ((3, 300), (1,)),
        ((300, 3), (0,)),
        ((1, 33), (0, 1)),
        ((9, 31), (0, 1)),
        ((41, 65), (0, 1)),
        ((3, 7, 33), (1, 2)),
        ((7, 3, 33), (0, 2)),
        ((7, 33, 3), (0, 1)),
        ((5, 9, 34), (0, 1, 2)),
        ((2, 5, 9, 11), (1, 2, 3)),
        ((5, 2, 9, 11), (0, 2, 3)),
        ((5, 9, 11, 2), (0, 1, 2)),
        ((2, 3, 9, 11), (2, 3)),
        ((2, 3, 4, 11), (3,)),
        ((2, 11, 3, 4), (1,)),
    ],
)
def test_shapes_around_the_blocks(cuda, order, shape, axes):
    check(cuda, make_image(shape), make_field((len(axes), *shape)), axes, order, "mirror")


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("shared", list(product([False, True], repeat=3)))
def test_displacements_that_broadcast_over_any_batch_axes(one, order, shared):
    """A field a slice, channels that share it, and both in one call, with axes left over for the host."""
    shape = (2, 3, 2, 21)
    field = make_field((1, *(1 if alone else n for alone, n in zip(shared, shape, strict=False)), 21))
    check(one, make_image(shape), field, (3,), order, labels=make_image(shape, "uint16", 1) if order else None)


@pytest.mark.parametrize("shape", [(2, 9, 1), (2, 1, 11), (2, 1, 1), (1, 9, 11), (9, 1)])
def test_displacements_that_broadcast_along_what_moves(one, shape):
    check(one, make_image((3, 9, 11)), make_field(shape if shape[0] == 2 else (2, *shape)), (1, 2))


@pytest.mark.parametrize("blocks", [1, 16, 10_000])
def test_rows_and_channels_spread_over_blocks(cuda, monkeypatch, blocks):
    """From eight rows a thread to one, from all channels a thread to one."""
    monkeypatch.setattr(pulling, "BLOCKS", blocks)
    image = make_image((5, 70, 40), "float32")
    check(cuda, image, make_field((2, 5, 70, 40)), (1, 2), labels=make_image(image.shape, "uint8"))
    check(cuda, image, make_field((2, 1, 70, 40)), (1, 2), labels=make_image(image.shape, "int64"))


def test_grids_smaller_than_the_work(cuda, monkeypatch):
    monkeypatch.setattr(layout, "LARGEST_GRID", (2**31 - 1, 2, 2))
    check(cuda, make_image((5, 70, 9)), make_field((2, 5, 70, 9)), (1, 2), labels=make_image((5, 70, 9), "int16"))
    check(cuda, make_image((7, 40, 9)), make_field((3, 7, 40, 9)), (0, 1, 2))
    check(cuda, make_image((600, 5)), make_field((1, 600, 5)), (1,))


@pytest.mark.cross(order=range(6), ndim=[1, 2, 3], dtype=["uint8", "float32", "float64"])
def test_indices_of_64_bits(one, monkeypatch, order, ndim, dtype):
    """As for more than 2^31 samples."""
    monkeypatch.setattr(pulling, "NARROW", 0)
    image = make_image((19,) * ndim, dtype)
    check(one, image, make_field((ndim, *image.shape)), range(ndim), order, "grid-wrap")
    points = np.random.default_rng(2).uniform(-30, 60, (ndim, 200))
    found, expected = (b.map_coordinates(image, points, order=order, mode="mirror") for b in (one, PLAIN))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 if dtype == "float32" else 1e-12)


# Groups of slices, slabs of the host


@pytest.mark.parametrize("mode", ["reflect", "grid-constant"])
@pytest.mark.parametrize("group_bytes", [1, 3 * 44 * 45 * 8])
@pytest.mark.parametrize(("shape", "axes"), [((5, 20, 21), (1, 2)), ((20, 5, 21), (0, 2)), ((2, 3, 20, 21), (2, 3))])
def test_groups_of_coefficients(one, monkeypatch, mode, group_bytes, shape, axes):
    monkeypatch.setattr(passes, "GROUP_BYTES", group_bytes)
    check(one, make_image(shape), make_field((2, *shape)), axes, 3, mode, labels=make_image(shape, "uint32"))


@pytest.mark.parametrize("host_bytes", [1, 3000, 2**27])
@pytest.mark.parametrize("order", [0, 1, 3])
def test_slabs_of_the_host(one, monkeypatch, host_bytes, order):
    monkeypatch.setattr(slabs, "HOST_BYTES", host_bytes)
    for shape, axes in (((5, 20, 21), (1, 2)), ((20, 5, 21), (0, 2)), ((9, 20, 21), (0, 1, 2)), ((1, 20, 21), (1, 2))):
        labels = make_image(shape, "int8")
        check(one, make_image(shape), make_field((len(axes), *shape)), axes, order, "nearest", labels=labels)
        check(one, make_image(shape), make_field((len(axes), 1, 1, 1)), axes, order)
    image, points = make_image((19, 23)), np.random.default_rng(2).uniform(-9, 30, (2, 5, 40))
    for at in (points, points.transpose(0, 2, 1), points[:, ::2, ::-3]):
        found, expected = (b.map_coordinates(image, at, order=order, mode="wrap") for b in (one, PLAIN))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("order", [1, 3])
def test_a_stack_larger_than_the_device(order):
    """4 MB, with 16 MB of displacement, on a device of 6 MB; what is too much at first is taken in smaller slabs."""
    backend = CudaBackend(EmulatedDevice("random", memory_bytes=6_000_000))
    image, field = make_image((40, 160, 160), "float32"), make_field((2, 40, 160, 160), dtype="float64")
    how = {"axes": (1, 2), "order": order, "mode": "mirror"}
    np.testing.assert_allclose(backend.warp(image, field, **how), PLAIN.warp(image, field, **how), rtol=0, atol=2e-5)
    smooth = backend.gaussian_filter(image, [1.0, 1.0], axes=(1, 2), mode=["reflect"] * 2)
    np.testing.assert_allclose(
        smooth, PLAIN.gaussian_filter(image, [1.0, 1.0], axes=(1, 2), mode=["reflect"] * 2), rtol=0, atol=1e-5
    )
    spline = backend.spline_filter(image, 3, axes=(1, 2), mode="mirror")
    np.testing.assert_allclose(spline, PLAIN.spline_filter(image, 3, axes=(1, 2), mode="mirror"), rtol=0, atol=1e-4)
    assert backend.device.used_bytes == 0


def test_a_displacement_larger_than_the_device():
    """Of a volume that moves as a whole: 0.5 MB, with 12 MB of displacement."""
    backend = CudaBackend(EmulatedDevice("random", memory_bytes=4_000_000))
    image, field = make_image((80, 80, 80), "uint8"), make_field((3, 80, 80, 80))
    how = {"axes": (0, 1, 2), "order": 1, "mode": "reflect"}
    np.testing.assert_array_equal(backend.warp(image, field, **how), PLAIN.warp(image, field, **how))


def test_what_does_not_fit_is_an_error_of_memory():
    backend = CudaBackend(EmulatedDevice("random", memory_bytes=10_000))
    with pytest.raises(MemoryError):
        backend.warp(make_image((2, 100, 100)), make_field((2, 1, 1, 1)), axes=(1, 2), order=1, mode="reflect")


@pytest.mark.parametrize(("mode", "arrays"), [("mirror", 2), ("nearest", 3)])
def test_memory_beyond_arrays_is_bounded(monkeypatch, mode, arrays):
    """Coefficients of two slices and a scratch array of that size, or two where the mode pads."""
    shape, padding = (6, 30, 30), 24 if mode == "nearest" else 0
    monkeypatch.setattr(passes, "GROUP_BYTES", 2 * 54 * 54 * 8)
    needed = 4 * 6 * 30**2 * 8 + arrays * 2 * (30 + padding) ** 2 * 8  # image, two components, result
    device = EmulatedDevice("random", memory_bytes=needed)
    image, field = (device.to_device(array) for array in (make_image(shape), make_field((2, *shape))))
    pull = pulling.Pull(device, 2, 3, mode, 0.0)
    (result,) = warp._pulled(pull, {"image": image}, View.of(field), (0, 1, 2))
    expected = PLAIN.warp(image, field, axes=(1, 2), order=3, mode=mode)
    np.testing.assert_allclose(result, expected, rtol=0, atol=1e-12)


# Arrays of the device


@pytest.fixture(scope="module")
def cupy(tmp_path_factory):
    with cupy_stand_in(tmp_path_factory.mktemp("code")) as module:
        yield module


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("axes", [(1, 2), (0, 2), (0, 1), (0, 1, 2), (1,)])
def test_arrays_of_the_device_stay_there(cupy, order, axes):
    backend = get_backend("cuda")
    image, labels = make_image((5, 19, 20)), make_image((5, 19, 20), "uint16")
    field = make_field((len(axes), *image.shape))
    how = {"axes": axes, "order": order, "mode": "mirror"}
    expected = PLAIN.warp_with_labels(image, labels, field, **how)
    on_device = [cupy.asarray(array) for array in (image, labels, field)]
    for arrays in (on_device, (*on_device[:2], field), (on_device[0], labels, on_device[2])):
        results = backend.warp_with_labels(*arrays, **how)
        for array, result, wanted in zip(arrays, results, expected, strict=False):
            assert type(result) is type(array)
            np.testing.assert_allclose(backend.to_host(result), wanted, rtol=0, atol=1e-12 if order > 1 else 0)


@pytest.mark.parametrize("order", [0, 1, 3])
@pytest.mark.parametrize("dtype", ["float64", "float32", "int32"])
def test_coordinates_of_the_device(cupy, order, dtype):
    backend, image = get_backend("cuda"), make_image((19, 20))
    at = np.random.default_rng(0).uniform(-5, 25, (2, 3, 7)).astype(dtype)
    result = backend.map_coordinates(cupy.asarray(image), cupy.asarray(at), order=order, mode="mirror")
    assert type(result) is cupy.ndarray
    expected = PLAIN.map_coordinates(image, at, order=order, mode="mirror")
    np.testing.assert_allclose(backend.to_host(result), expected, rtol=0, atol=1e-12)
    nothing = backend.map_coordinates(cupy.asarray(image[:0]), cupy.asarray(at), order=order, mode="mirror", cval=3)
    assert type(nothing) is cupy.ndarray
    assert (backend.to_host(nothing) == 3).all()


@pytest.mark.parametrize("view", [np.s_[::2, 1::3], np.s_[::-1, ::-1]])
def test_views_of_the_device(cupy, view):
    backend = get_backend("cuda")
    image, field = make_image((24, 30))[view], make_field((2, 24, 30))[(slice(None), *view)]
    how = {"axes": (0, 1), "order": 1, "mode": "wrap"}
    result = backend.warp(cupy.asarray(make_image((24, 30)))[view], cupy.asarray(field), **how)
    np.testing.assert_array_equal(backend.to_host(result), PLAIN.warp(image, field, **how))


# Labels with images


@pytest.mark.cross(
    image=["bool", "int8", "uint16", "int32", "float32", "float64"],
    labels=["bool", "uint8", "int16", "uint32", "int64", "uint64"],
    order=range(6),
    mode=INTERPOLATION_MODES,
)
def test_labels_go_through_with_their_image(one, image, labels, order, mode):
    """Several channels, one field; both are what they are alone."""
    shape = (3, 20, 23)
    pixels = make_image(shape, image) // 2 if image == "int32" else make_image(shape, image)
    check(one, pixels, make_field((2, 1, *shape[1:])), (1, 2), order, mode, 1.0, make_image(shape, labels, 1))


def test_cval_of_labels_is_theirs(one):
    field = np.full((1, 1), 9.0)
    labels = np.array([1, 2, 3], np.uint64)
    how = {"axes": (0,), "order": 1, "mode": "constant"}
    result, copied = one.warp_with_labels(np.arange(3.0), labels, field, **how, cval=2**64 - 1)
    assert result.tolist() == [2.0**64] * 3
    assert copied.tolist() == [2**64 - 1] * 3
    result, copied = one.warp_with_labels(np.arange(3, dtype=np.int8), labels, field, **how, cval=-7.6)
    assert result.tolist() == [-8] * 3
    assert copied.tolist() == [0] * 3


# Borders


@pytest.mark.parametrize("order", range(6))
@pytest.mark.parametrize("mode", INTERPOLATION_MODES)
def test_positions_on_borders_and_where_no_image_is(one, order, mode):
    """On the first and the last sample, next to them by the last bit, far away, and nowhere."""
    ends = np.array([0.0, 22.0, -0.5, 22.5])
    at = np.concatenate([ends, np.nextafter(ends, -1e3), np.nextafter(ends, 1e3), [1e6, -1e6, 1e9, -3e9, 2.0**40]])
    far = np.array([np.nan, np.inf, -np.inf, 2.0**62, -(2.0**62), 1e300])
    image = make_image(23)
    for points in (np.concatenate([at, far]), np.append(np.float32(at[:4]), np.float32([np.nan, np.inf]))):
        d = (points - points.dtype.type(11))[np.newaxis]
        place = np.full((len(points), 23), image)
        moved = np.zeros((1, *place.shape), d.dtype)
        moved[0, :, 11] = d
        how = {"order": order, "mode": mode, "cval": 7.0}
        found, expected = (b.warp(place, moved, axes=(1,), **how) for b in (one, PLAIN))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12 if order > 1 else 0)
    found = one.map_coordinates(image, far[np.newaxis], **how)
    assert found.tolist() == [7.0] * len(far)


@pytest.mark.parametrize("order", range(1, 6))
@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (2, 3), (3, 1, 2), (4, 5), (5, 3)])
def test_images_smaller_than_the_taps(one, order, shape):
    for mode in INTERPOLATION_MODES:
        check(one, make_image(shape), make_field((len(shape), *shape), 3), range(len(shape)), order, mode)


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("order", [0, 1])
def test_a_block_has_the_bits_of_the_whole(cuda, dtype, order):
    """Whether a sample is folded, or goes by the fast way, may not show."""
    image, field = make_image((60, 90), dtype), np.random.default_rng(3).uniform(-4, 4, (2, 60, 90)).astype("f4")
    whole = cuda.warp(image, field, axes=(0, 1), order=order, mode="reflect")
    box = np.s_[7:40, 11:77]
    part = cuda.warp(image[box], field[(slice(None), *box)], axes=(0, 1), order=order, mode="nearest")
    np.testing.assert_array_equal(part[5:-5, 5:-5], whole[box][5:-5, 5:-5])


@pytest.mark.parametrize("shape", [(200,), (20, 23), (5, 7, 9)])
@pytest.mark.parametrize("mode", ["reflect", "wrap", "grid-constant"])
def test_constant_images_of_float32_stay_constant(one, shape, mode):
    """Not within rounding: by float32's rounding errors alone, r would be a number instead of NaN."""
    image, value = np.full(shape, 0.1, np.float32), float(np.float32(0.1))
    field = np.random.default_rng(4).normal(0, 3, (len(shape), *shape)).astype(np.float32)
    how = {"order": 1, "mode": mode, "cval": value}
    np.testing.assert_array_equal(one.warp(image, field, axes=range(len(shape)), **how), image)
    np.testing.assert_array_equal(one.map_coordinates(image, np.indices(shape) + field, **how), image)


def test_infinity_in_float32_spreads_as_scipy_s(one):
    image, how = make_image((20, 23), "float32"), {"axes": (0, 1), "order": 1, "mode": "mirror"}
    image[3, 4:6], image[9, 9], image[10, 9] = np.inf, np.inf, -np.inf
    field = make_field((2, 20, 23), dtype="float32")
    with np.errstate(invalid="ignore"):
        expected = PLAIN.warp(image, field, **how)
    found = one.warp(image, field, **how)
    assert np.isinf(expected).any()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("shape", [(0,), (3, 0, 2), (0, 4, 5)])
@pytest.mark.parametrize("order", [0, 1, 3])
def test_empty(one, shape, order):
    image, field = np.empty(shape, "uint8"), np.zeros((1, *shape))
    how = {"axes": (len(shape) - 1,), "order": order, "mode": "reflect"}
    for result in one.warp_with_labels(image, image, field, **how):
        assert result.shape == shape
        assert result.dtype == image.dtype
