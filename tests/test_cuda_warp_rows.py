"""``warp_rows`` of warp.cu on an emulated device: several rows at once, borders among them, bytes by way of float32."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
from emulator import EmulatedDevice
from emulator.availability import require_emulator

from gpu_stackcorr.arrays import get_backend
from gpu_stackcorr.backends.base import INTERPOLATION_MODES
from gpu_stackcorr.backends.cuda_ import layout, pulling, warp
from gpu_stackcorr.backends.cuda_.backend import CudaBackend
from gpu_stackcorr.backends.cuda_.views import View

PLAIN = get_backend("numpy")
DTYPES = ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")
SHAPES = [
    ((2, 2), (0, 1)),
    ((3, 33), (0, 1)),
    ((2, 31, 34), (1, 2)),
    ((3, 37, 8), (1, 2)),
    ((65, 40), (0, 1)),
    ((2, 13, 136), (1, 2)),
    ((2, 3, 2), (0, 1, 2)),
    ((3, 5, 9, 33), (1, 2, 3)),
]


class Noting(EmulatedDevice):
    """Remembers the kernels that were asked for."""

    def __init__(self, schedule="random"):
        super().__init__(schedule)
        self.names = []

    def kernel(self, file, name):
        self.names.append(name)
        return super().kernel(file, name)


@pytest.fixture(autouse=True)
def _emulator():
    require_emulator()


@pytest.fixture(scope="module", params=["in order", "random"])
def cuda(request):
    return CudaBackend(Noting(request.param))


@pytest.fixture(scope="module")
def one():
    return CudaBackend(Noting())


def make_image(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.normal(size=shape).astype(dtype)
    limits = (0, 1) if dtype == "bool" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return rng.integers(*limits, shape, "uint64" if dtype == "uint64" else "int64", endpoint=True).astype(dtype)


def make_field(ndim, shape, size=3.0, seed=1):
    """Some far outside, some -1e-17 or no number."""
    field = np.random.default_rng(seed).normal(0, size, (ndim, *shape)).astype(np.float32)
    flat = field.reshape(-1)
    flat[::23] *= 50
    for k, odd in enumerate((-1e-17, np.nan, np.inf, -3e9)):
        flat[k::101] = odd
    return field


def rows_and_others(backend, image, field, **how):
    """Warp by ``warp_rows``, and by the kernel that takes pixel by pixel."""
    backend.device.names.clear()
    rows = backend.warp(image, field, order=1, **how)
    assert {name.partition("<")[0] for name in backend.device.names} == {"warp_rows"}
    with mock.patch.object(pulling._Launch, "_is_plain", return_value=False):
        return rows, backend.warp(image, field, order=1, **how)


@pytest.mark.parametrize(("shape", "axes"), SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_at_once_have_the_bits_of_single_pixels(cuda, dtype, shape, axes):
    image, field = make_image(shape, dtype), make_field(len(axes), shape)
    rows, others = rows_and_others(cuda, image, field, axes=axes, mode="reflect")
    np.testing.assert_array_equal(rows, others)
    expected = PLAIN.warp(image, field, axes=axes, order=1, mode="reflect")
    np.testing.assert_allclose(rows, expected, rtol=0, atol=1e-5 if dtype == "float32" else 0)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "float32"])
@pytest.mark.parametrize("mode", INTERPOLATION_MODES)
@pytest.mark.parametrize("width", [35, 36])
def test_borders_in_all_modes(one, dtype, mode, width):
    image, field = make_image((2, 37, width), dtype), make_field(2, (2, 37, width), 8.0)
    rows, others = rows_and_others(one, image, field, axes=(1, 2), mode=mode, cval=2.0)
    np.testing.assert_array_equal(rows, others)
    expected = PLAIN.warp(image, field, axes=(1, 2), order=1, mode=mode, cval=2.0)
    np.testing.assert_allclose(rows, expected, rtol=0, atol=1e-5 if dtype == "float32" else 0)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("width", [67, 68])
@pytest.mark.parametrize("near", [0.0, 1e-7, 3e-6, 1e-5, 1e-4, 1e-3])
def test_bytes_next_to_a_half_are_rounded_as_in_float64(one, dtype, ndim, width, near):
    """Fractions are 1/2, 1/4 and the like, or a little off."""
    shape = (40, width) if ndim == 2 else (5, 12, width)
    rng = np.random.default_rng(2)
    field = rng.integers(-8, 8, (ndim, *shape)) / rng.choice([1.0, 2.0, 4.0, 8.0], (ndim, *shape))
    field = (field + rng.uniform(-near, near, field.shape)).astype(np.float32)
    image, how = make_image(shape, dtype), {"axes": range(ndim), "mode": "mirror"}
    rows, others = rows_and_others(one, image, field, **how)
    np.testing.assert_array_equal(rows, others)
    np.testing.assert_array_equal(rows, PLAIN.warp(image, field, order=1, **how))


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("ndim", [2, 3])
def test_float32_tells_bytes_to_less_than_what_is_taken_for_a_half(dtype, ndim):
    """The error of three or seven sums, as the kernel makes them, on samples from end to end of the range."""
    rng, limits = np.random.default_rng(3), np.iinfo(dtype)
    samples = rng.choice([limits.min, limits.max, 0, 1, limits.max - 1], (*(2,) * ndim, 100_000)).astype(np.float64)
    t = rng.uniform(0, 1, (ndim, 100_000))
    exact, single = samples, samples.astype(np.float32)
    for here in t:
        exact = exact[0] * (1 - here) + exact[1] * here
        a, b, narrow = single[0], single[1] - single[0], here.astype(np.float32)
        single = (narrow.astype(np.float64) * b + a).astype(np.float32)  # as fmaf, but for a second rounding
    assert np.abs(single - exact).max() < 1e-4


def test_images_at_the_end_of_memory(one):
    """Nothing is read beside an image of two rows, or of what is left of a slab of rows."""
    image, field = make_image((2, 2, 2), "float32"), np.full((2, 2, 2, 2), -0.25, np.float32)
    field[:, :, 0, 0] = 0.25
    rows, others = rows_and_others(one, image, field, axes=(1, 2), mode="nearest")
    np.testing.assert_array_equal(rows, others)


@pytest.mark.parametrize(
    ("shape", "axes", "dtype", "start", "words"),
    [
        ((2, 9, 8), (1, 2), "uint8", 0, "true"),
        ((2, 9, 8), (1, 2), "bool", 0, "true"),
        ((2, 9, 8), (1, 2), "int8", 4, "true"),
        ((2, 9, 8), (1, 2), "int8", 1, "false"),
        ((2, 9, 6), (1, 2), "uint8", 0, "false"),
        ((2, 9, 8), (1, 2), "uint16", 0, "false"),
        ((2, 9, 8), (0, 1, 2), "uint8", 0, "false"),
    ],
)
def test_bytes_by_words(one, shape, axes, dtype, start, words):
    """Where all rows begin with a word, that of the image in memory as well."""
    device, ndim = one.device, len(axes)
    image, field = make_image(shape, dtype), make_field(ndim, shape)
    memory = np.zeros(image.size + start, dtype)
    memory[start:] = image.reshape(-1)
    held = View(device.to_device(memory), start, shape, (shape[1] * shape[2], shape[2], 1))
    result, numbers = device.empty(shape, np.dtype(dtype)), View.of(device.to_device(field))
    device.names.clear()
    pulling.Pull(device, ndim, 1, "reflect", 0.0)(numbers, image=pulling.Moved(held, View.of(result)))
    assert device.names[0].endswith(f"{words}>")
    expected = PLAIN.warp(image, field, axes=axes, order=1, mode="reflect")
    np.testing.assert_array_equal(device.to_host(result), expected)


@pytest.mark.parametrize("blocks", [1, 10_000])
def test_rows_spread_over_blocks(one, monkeypatch, blocks):
    """One block that strides over all rows it is given, or as many blocks as there can be."""
    monkeypatch.setattr(pulling, "BLOCKS", blocks)
    for width in (35, 36):
        image = make_image((2, 150, width), "uint8")
        rows, others = rows_and_others(one, image, make_field(2, image.shape), axes=(1, 2), mode="wrap")
        np.testing.assert_array_equal(rows, others)


def test_grids_of_few_rows(one, monkeypatch):
    monkeypatch.setattr(layout, "LARGEST_GRID", (2**31 - 1, 2, 2))
    image = make_image((2, 150, 35), "uint8")
    rows, others = rows_and_others(one, image, make_field(2, image.shape), axes=(1, 2), mode="wrap")
    np.testing.assert_array_equal(rows, others)


@pytest.mark.parametrize(
    ("shape", "axes", "fields", "dtype"),
    [
        ((3, 9, 9), (0, 1, 2), (2, 3, 9, 9), "f8"),
        ((3, 9, 9), (0, 1, 2), (2, 1, 9, 9), "f4"),
        ((9, 3, 9), (0, 1, 2), (1, 9, 3, 9), "f4"),
        ((9, 9, 3), (2, 0, 1), (2, 9, 9, 3), "f4"),
        ((3, 1, 9), (0, 1, 2), (2, 3, 1, 9), "f4"),
        ((3, 9, 1), (0, 1, 2), (2, 3, 9, 1), "f4"),
    ],
)
def test_what_is_left_to_the_other_kernel(one, shape, axes, fields, dtype):
    """Fields of float64 or shared, lines, an image that lies across, and one sample along an axis."""
    image = make_image(shape, "uint8")
    one.device.names.clear()
    device = one.device
    field = View.of(device.to_device(np.zeros(fields, dtype))).transpose([0, *(1 + axis for axis in axes)])
    pull = pulling.Pull(device, fields[0], 1, "reflect", 0.0)
    (result,) = warp._pulled(pull, {"image": device.to_device(image)}, field, axes)
    np.testing.assert_array_equal(device.to_host(result), image)
    assert {name.partition("<")[0] for name in one.device.names} == {"warp"}


def test_more_planes_than_a_grid_has_are_left_to_the_other_kernel(one, monkeypatch):
    monkeypatch.setattr(layout, "LARGEST_GRID", (2**31 - 1, 2, 2))
    image, field = make_image((3, 9, 33), "uint8"), make_field(2, (3, 9, 33))
    one.device.names.clear()
    found = one.warp(image, field, axes=(1, 2), order=1, mode="reflect")
    np.testing.assert_array_equal(found, PLAIN.warp(image, field, axes=(1, 2), order=1, mode="reflect"))
    assert not any(name.startswith("warp_rows") for name in one.device.names)
